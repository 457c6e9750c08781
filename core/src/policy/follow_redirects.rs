//! `followRedirects` of an endpoint: calls the place that a response points to (contract request-lifecycle 8.4). Not a policy of flows: the
//! chain puts it around the call, further in than any other wrapper.

use std::sync::Arc;

use super::{Policy, Verdict};
use crate::exchange::{Body, Call, Exchange, Redirect};
use crate::flow::{NOT_COUNTED, Step};
use crate::http::{Method, RequestBody};

/// Redirects followed for one request; the next one is the answer.
const HOPS_MAX: u32 = 16;
/// Longest URL that is followed, bytes.
const URL_BYTES_MAX: usize = 8 * 1_024;

#[derive(Debug)]
struct FollowRedirects;

/// The step that the chain puts around the call.
pub fn step() -> Step {
    Step {
        name: "followRedirects".into(),
        policy_index: NOT_COUNTED,
        policy: Arc::new(FollowRedirects),
        conditions: [].into(),
        needs: Default::default(),
    }
}

impl Policy for FollowRedirects {
    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        // A call that a wrapper further out repeats begins where the first one did.
        if exchange.carry.is_none() {
            exchange.redirect = None;
        }
        Verdict::Continue
    }

    fn after_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let hops = exchange.carried::<u32>().map_or(0, |hops| *hops);
        let followed = redirect(exchange).filter(|_| hops < HOPS_MAX);
        let Some((redirect, same_origin)) = followed else {
            exchange.carry = None;
            return Verdict::Continue;
        };
        let request = &mut exchange.request;
        // Credentials are for the origin that they were sent to.
        let dropped: &[&str] = if same_origin {
            &["cookie"]
        } else {
            &["authorization", "cookie", "proxy-authorization"]
        };
        for name in dropped {
            request.headers.remove(name);
        }
        request.body = Body::None;
        request.framing = RequestBody::None;
        exchange.redirect = Some(redirect);
        exchange.carry = Some(Box::new(hops + 1));
        Verdict::Again(0)
    }
}

/// Where the response points to, and whether that is where it came from; `None` when it is not to be followed.
fn redirect(exchange: &Exchange<'_>) -> Option<(Redirect, bool)> {
    if !matches!(exchange.call, Call::Answered) || !exchange.endpoint?.follow_redirects {
        return None;
    }
    let asked = exchange
        .redirect
        .as_ref()
        .map_or(exchange.request.method, |redirect| redirect.method);
    let method = match exchange.response.status {
        303 => Method::Get,
        301 | 302 | 307 | 308 if matches!(asked, Method::Get | Method::Head) => asked,
        _ => return None,
    };
    let location = exchange.response.headers.text("location")?;
    let base = &exchange.called_uri;
    let url = resolve(base, location)?;
    let same_origin = origin(base)? == origin(&url)?;
    Some((Redirect { url, method }, same_origin))
}

/// Scheme and authority of an absolute URL.
fn origin(url: &str) -> Option<&str> {
    let after = url.find("://")? + 3;
    let length = url[after..].find(['/', '?']).unwrap_or(url.len() - after);
    Some(&url[..after + length])
}

/// The absolute URL of a location in an answer of `base` (RFC 3986 5.2). `None` for another scheme than HTTP, and for anything that a
/// request line cannot hold.
fn resolve(base: &str, location: &str) -> Option<Box<str>> {
    let location = location.trim().split('#').next().unwrap_or_default();
    if location.is_empty()
        || location.len() > URL_BYTES_MAX
        || location
            .bytes()
            .any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\')
    {
        return None;
    }
    let has_scheme = |scheme: &str| {
        location
            .get(..scheme.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    let url = if has_scheme("http://") || has_scheme("https://") {
        let end = location.find("://")?;
        format!(
            "{}{}",
            location[..end].to_ascii_lowercase(),
            &location[end..]
        )
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{}://{rest}", base.split("://").next()?)
    } else {
        let origin = origin(base)?;
        let path = base[origin.len()..].split('?').next().unwrap_or_default();
        if location.starts_with('/') {
            format!("{origin}{}", without_dots(location))
        } else if location.starts_with('?') {
            format!("{origin}{path}{location}")
        } else if location.split(['/', '?']).next()?.contains(':') {
            return None;
        } else {
            let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
            format!("{origin}{}", without_dots(&format!("{folder}{location}")))
        }
    };
    // A user in the authority is a way to hide the host.
    let authority = origin(&url)?.split("://").nth(1)?;
    (!authority.is_empty() && !authority.contains('@')).then(|| url.into())
}

/// A path, with its query, without its dot segments.
fn without_dots(path: &str) -> String {
    let (path, query) = path.find('?').map_or((path, ""), |at| path.split_at(at));
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_resolved_against_the_url_that_was_called() {
        let base = "http://a.example:81/one/two?q=1";
        for (location, expected) in [
            ("http://b.example/x?y#z", Some("http://b.example/x?y")),
            ("HTTPS://b.example", Some("https://b.example")),
            ("//b.example/x", Some("http://b.example/x")),
            ("/x/y", Some("http://a.example:81/x/y")),
            ("x", Some("http://a.example:81/one/x")),
            ("../x?y", Some("http://a.example:81/x?y")),
            ("./", Some("http://a.example:81/one/")),
            ("/a/../../x", Some("http://a.example:81/x")),
            ("?q=2", Some("http://a.example:81/one/two?q=2")),
            ("", None),
            ("#top", None),
            ("ftp://b.example/x", None),
            ("javascript:alert(1)", None),
            ("http://user@b.example/", None),
            ("http:///x", None),
            ("/a b", None),
            ("/a\r\nX: y", None),
            ("\\\\b.example", None),
        ] {
            assert_eq!(resolve(base, location).as_deref(), expected, "{location:?}");
        }
    }

    #[test]
    fn an_origin_is_scheme_and_authority() {
        for (url, expected) in [
            ("http://a/b", Some("http://a")),
            ("https://a:1?q", Some("https://a:1")),
            ("http://a", Some("http://a")),
            ("/b", None),
        ] {
            assert_eq!(origin(url), expected, "{url}");
        }
    }
}
