//! CORS of an API (contracts api-definition 2.5, request-lifecycle 10).

use turnpike_core::flow::{Cors, full_match};

use super::Scope;
use super::reader::{Node, quote};
use super::refusal::Refusal;

/// `holder.cors`; `None` when it is absent or switched off.
pub(super) fn read(
    holder: Option<&Node<'_>>,
    scope: &mut Scope<'_>,
) -> Result<Option<Box<Cors>>, Refusal> {
    let Some(node) = holder
        .map(|holder| holder.object("cors"))
        .transpose()?
        .flatten()
    else {
        return Ok(None);
    };
    if !node.boolean("enabled", false)? {
        return Ok(None);
    }
    let texts = |member: &str| -> Result<Box<[Box<str>]>, Refusal> {
        Ok(node.texts(member)?.into_iter().map(Into::into).collect())
    };
    let origins = texts("allowOrigin")?;
    let mut origin_patterns = Vec::new();
    for (index, origin) in origins.iter().enumerate() {
        if **origin == *"*" || !origin.contains(['(', '[', '*']) {
            continue;
        }
        match full_match(origin) {
            Ok(pattern) => origin_patterns.push(pattern),
            Err(reason) => {
                let member = node.path_of(&format!("allowOrigin[{index}]"));
                let text = format!(
                    "{} is no regular expression ({reason}): it matches as a text only",
                    quote(origin)
                );
                scope.notes.push(member, text);
            }
        }
    }
    let max_age_s = node.integer("maxAge", -1)?;
    Ok(Some(Box::new(Cors {
        origins,
        origin_patterns: origin_patterns.into_boxed_slice(),
        methods: texts("allowMethods")?,
        headers: texts("allowHeaders")?,
        expose_headers: texts("exposeHeaders")?,
        credentials: node.boolean("allowCredentials", false)?,
        max_age_s: (max_age_s > -1).then_some(max_age_s),
        run_policies: node.boolean("runPolicies", false)?,
        private_network: node.boolean("allowPrivateNetwork", false)?,
    })))
}
