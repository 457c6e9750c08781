//! Headers that an endpoint forces on its requests.

use super::reader::{Node, quote};
use super::refusal::Refusal;
use super::{Scope, endpoint::Fault};

/// Names and values.
type Headers = Box<[(Box<str>, Box<str>)]>;

/// Headers that describe the connection or the length of a message. An endpoint that forced one of them would let the gateway
/// and the backend disagree about where a request ends.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// Reads `headers`: an array of `{name, value}`, or (V2) an object from name to value; then the legacy `hostHeader`.
pub(super) fn forced_headers(holder: &Node<'_>, scope: &mut Scope<'_>) -> Result<Headers, Fault> {
    let mut headers: Vec<(Box<str>, Box<str>)> = Vec::new();
    if let Some(node) = holder.member("headers") {
        if node.is_object() && scope.engine.is_v2() {
            for (name, value) in node.members() {
                push(&mut headers, name, &value, scope)?;
            }
        } else {
            for item in holder.objects("headers")? {
                let Some(name) = item.text("name")? else {
                    return Err(Fault::Refuse(
                        item.refuse_member("name", "expected a header name, found nothing"),
                    ));
                };
                let Some(value) = item.member("value") else {
                    scope.notes.push(item.path(), "has no value: ignored");
                    continue;
                };
                push(&mut headers, &name, &value, scope)?;
            }
        }
    }
    if scope.engine.is_v2()
        && let Some(node) = holder.member("hostHeader")
        && !node.as_text()?.trim().is_empty()
    {
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
        push(&mut headers, "Host", &node, scope)?;
    }
    Ok(headers.into_boxed_slice())
}

fn push(
    headers: &mut Vec<(Box<str>, Box<str>)>,
    name: &str,
    node: &Node<'_>,
    scope: &Scope<'_>,
) -> Result<(), Fault> {
    let name = name.trim();
    check_name(node, name).map_err(Fault::Refuse)?;
    if RESERVED
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved))
    {
        return Err(Fault::Refuse(
            node.refuse(format!(
                "the header `{name}` belongs to the connection and cannot be forced"
            ))
            .hint("remove it from the endpoint's headers"),
        ));
    }
    let written = node.as_text()?;
    let value = scope
        .properties
        .expand(&written)
        .map_err(|unexpanded| unexpanded.fault(node))?;
    // The value is never shown: it is often a credential.
    if let Some(at) = value
        .bytes()
        .position(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)
    {
        let reason =
            format!("the value of the header `{name}` has a control character at byte {at}");
        return Err(Fault::Refuse(node.refuse(reason)));
    }
    headers.push((name.into(), value.trim_matches([' ', '\t']).into()));
    Ok(())
}

/// Refuses what is not a header name (RFC 9110, token).
pub(super) fn check_name(node: &Node<'_>, name: &str) -> Result<(), Refusal> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(token) {
        return Err(node.refuse(format!("expected a header name, found {}", quote(name))));
    }
    Ok(())
}
