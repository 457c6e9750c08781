//! Response templates (contracts api-definition 2.14, request-lifecycle 7.4).

use turnpike_core::el::Template;
use turnpike_core::flow::{MediaTemplate, ResponseTemplates};

use super::Scope;
use super::header::check_name;
use super::reader::Node;
use super::refusal::Refusal;

/// Status of a template that has none.
const STATUS: i64 = 500;

/// `root.<member>`: templates by error key and media type.
pub(super) fn read(
    root: &Node<'_>,
    member: &str,
    scope: &mut Scope<'_>,
) -> Result<ResponseTemplates, Refusal> {
    let Some(templates) = root.object(member)? else {
        return Ok(ResponseTemplates::default());
    };
    let mut by_key = Vec::new();
    for (key, media_types) in templates.members() {
        if !media_types.is_object() {
            return Err(media_types.refuse("expected templates by media type"));
        }
        let mut of_key = Vec::new();
        for (media, node) in media_types.members() {
            if !node.is_object() {
                return Err(node.refuse("expected a template"));
            }
            of_key.push(template(media, &node, scope)?);
        }
        if !of_key.is_empty() {
            by_key.push((key.into(), of_key.into_boxed_slice()));
        }
    }
    Ok(ResponseTemplates {
        by_key: by_key.into_boxed_slice(),
    })
}

fn template(media: &str, node: &Node<'_>, scope: &mut Scope<'_>) -> Result<MediaTemplate, Refusal> {
    if node.member("status").is_none() {
        let text = format!("has no status: {STATUS} is sent");
        scope.notes.push(node.path(), text);
    }
    let written = node.integer("status", STATUS)?;
    let Some(status) = u16::try_from(written)
        .ok()
        .filter(|status| (200..=599).contains(status))
    else {
        let reason = format!("expected a status from 200 to 599, found {written}");
        return Err(node.refuse_member("status", reason));
    };
    let mut headers = Vec::new();
    if let Some(fields) = node.object("headers")? {
        for (name, value) in fields.members() {
            check_name(&value, name)?;
            let text = value.as_text()?;
            if text
                .bytes()
                .any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
            {
                return Err(value.refuse("a header value may not have control characters"));
            }
            headers.push((name.into(), text.trim_matches([' ', '\t']).into()));
        }
    }
    let body = node.text("body")?.filter(|body| !body.is_empty());
    Ok(MediaTemplate {
        media: media.into(),
        status,
        headers: headers.into_boxed_slice(),
        body: body.map(|body| Template::new(&body)),
        propagate_error_key: node.boolean("propagateErrorKeyToLogs", false)?,
    })
}
