//! Redirects (contract request-lifecycle 8.4): which are followed, with which method, where to, and what stays behind. One set of rules for
//! backends and for the calls of policies and resources.

use crate::definition::Origin;

/// Redirects followed for one request; the response to the last of them is the answer, whatever it is.
pub const HOPS_MAX: usize = 16;
/// Longest `Location` that is followed, bytes.
const LOCATION_BYTES_MAX: usize = 8 * 1_024;

/// The method with which a redirect is followed; `None` when it is not.
pub fn method_after(status: u16, method: &str) -> Option<&str> {
    match status {
        303 => Some("GET"),
        301 | 302 | 307 | 308 if matches!(method, "GET" | "HEAD" | "QUERY") => Some(method),
        _ => None,
    }
}

/// Names of the header fields that are not sent on. Credentials are for the origin that they were sent to, and so is its name.
pub fn left_behind(crosses_origins: bool) -> &'static [&'static str] {
    const ALWAYS: usize = 2;
    const NAMES: [&str; 5] = [
        "cookie",
        "content-length",
        "authorization",
        "proxy-authorization",
        "host",
    ];
    if crosses_origins {
        &NAMES
    } else {
        NAMES.split_at(ALWAYS).0
    }
}

/// Whether two absolute URLs have one scheme, host and port.
pub fn is_same_origin(one: &str, other: &str) -> bool {
    match (Origin::parse(one), Origin::parse(other)) {
        (Some(one), Some(other)) => {
            one.secure == other.secure
                && one.port == other.port
                && one.host.eq_ignore_ascii_case(other.host)
        }
        _ => false,
    }
}

/// The absolute URL that a `Location` in an answer of `base` leads to (RFC 3986 5.2), without fragment and without user information: a
/// backend has no say in the credentials that the gateway presents. `None` for what cannot be called over HTTP, for anything that a request
/// line cannot hold or that others read differently, and for a location that leads to `base` itself.
pub fn resolve(base: &str, location: &str) -> Option<Box<str>> {
    let reference = location.trim().split('#').next().unwrap_or_default();
    let is_unusable = |byte: u8| byte <= b' ' || byte == 0x7f || byte == b'\\';
    if reference.is_empty()
        || reference.len() > LOCATION_BYTES_MAX
        || reference.bytes().any(is_unusable)
    {
        return None;
    }
    let (base_origin, base_tail) = split(base)?;
    let base_scheme = base.split("://").next()?;
    let first_segment = reference.split(['/', '?']).next()?;
    let (origin, tail) = if let Some((scheme, _)) = first_segment.split_once(':') {
        let rest = reference[scheme.len()..].strip_prefix("://")?;
        absolute(&scheme.to_ascii_lowercase(), rest)
    } else if let Some(rest) = reference.strip_prefix("//") {
        absolute(base_scheme, rest)
    } else {
        let path = base_tail.split('?').next().unwrap_or_default();
        let tail = if reference.starts_with('/') {
            reference.to_owned()
        } else if reference.starts_with('?') {
            format!("{path}{reference}")
        } else {
            let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
            format!("{folder}{reference}")
        };
        (base_origin.to_owned(), tail)
    };
    // Whatever is called has a host and a port that can be.
    Origin::parse(&origin)?;
    Some(format!("{origin}{}", without_dots(&tail)).into())
}

/// An absolute URL as scheme with authority, and what follows them.
fn split(url: &str) -> Option<(&str, &str)> {
    let start = url.find("://")? + 3;
    let length = url[start..].find(['/', '?']);
    Some(url.split_at(length.map_or(url.len(), |length| start + length)))
}

/// The origin without user information, and the tail, of what follows `scheme://`.
fn absolute(scheme: &str, rest: &str) -> (String, String) {
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    (format!("{scheme}://{host}"), tail.to_owned())
}

/// An absolute path, with its query, without its dot segments (RFC 3986 5.2.4).
fn without_dots(tail: &str) -> String {
    let (path, query) = tail.split_at(tail.find('?').unwrap_or(tail.len()));
    let Some(path) = path.strip_prefix('/') else {
        return tail.to_owned();
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if segments.peek().is_none() {
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_safe_methods_are_repeated_and_303_is_always_a_get() {
        for (status, method, expected) in [
            (301, "GET", Some("GET")),
            (302, "HEAD", Some("HEAD")),
            (307, "QUERY", Some("QUERY")),
            (308, "POST", None),
            (302, "POST", None),
            (303, "POST", Some("GET")),
            (303, "HEAD", Some("GET")),
            (300, "GET", None),
            (304, "GET", None),
            (200, "GET", None),
        ] {
            assert_eq!(method_after(status, method), expected, "{status} {method}");
        }
    }

    #[test]
    fn locations_are_resolved_as_the_rfc_says() {
        let base = "http://a:81/b/c/d;p?q";
        // The normal and abnormal examples of RFC 3986 5.4, those that HTTP can call.
        for (location, expected) in [
            ("http://g", "http://g"),
            ("HTTPS://G/x#y", "https://G/x"),
            ("http://g/a/../b?c/../d", "http://g/b?c/../d"),
            ("//g", "http://g"),
            ("//g:8/x?y", "http://g:8/x?y"),
            ("//g?y", "http://g?y"),
            ("g", "http://a:81/b/c/g"),
            ("./g", "http://a:81/b/c/g"),
            ("g/", "http://a:81/b/c/g/"),
            ("/g", "http://a:81/g"),
            (" /g ", "http://a:81/g"),
            ("?y", "http://a:81/b/c/d;p?y"),
            ("g?y", "http://a:81/b/c/g?y"),
            (";x", "http://a:81/b/c/;x"),
            (".", "http://a:81/b/c/"),
            ("..", "http://a:81/b/"),
            ("../g", "http://a:81/b/g"),
            ("../../g", "http://a:81/g"),
            ("../../../g", "http://a:81/g"),
            ("/./g", "http://a:81/g"),
            ("/a/../../g", "http://a:81/g"),
            ("g/./h/../i", "http://a:81/b/c/g/i"),
            ("g?y/../x", "http://a:81/b/c/g?y/../x"),
            ("a/b:c", "http://a:81/b/c/a/b:c"),
        ] {
            assert_eq!(
                resolve(base, location).as_deref(),
                Some(expected),
                "{location:?}"
            );
        }
        for location in [
            "",
            "#top",
            "ftp://g/",
            "mailto:x",
            "javascript:alert(1)",
            "http:g",
            "http:///x",
            "http://h:0/",
            "http://h:99999/",
            "http://[::1/",
            "/a b",
            "/a\r\nX: y",
            "//",
            "\\\\b.example",
            "http://g\\@h/",
        ] {
            assert_eq!(resolve(base, location), None, "{location:?}");
        }
        assert_eq!(resolve(base, &format!("/{:09000}", 0)), None);
    }

    #[test]
    fn user_information_is_never_sent_on() {
        for (location, expected) in [
            ("http://user@g/x", Some("http://g/x")),
            ("//user:secret@g:8?y", Some("http://g:8?y")),
            ("http://a@b@g/", Some("http://g/")),
            ("http://a.example@g", Some("http://g")),
            ("http://user@/x", None),
            ("/x@y", Some("http://a/x@y")),
            ("//g?x=a@b", Some("http://g?x=a@b")),
        ] {
            assert_eq!(
                resolve("http://a/b", location).as_deref(),
                expected,
                "{location:?}"
            );
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let one = "http://h/a";
        for (other, same) in [
            ("http://h:80/b?c", true),
            ("http://H", true),
            ("https://h/a", false),
            ("http://h:81/a", false),
            ("http://g/a", false),
            ("/a", false),
        ] {
            assert_eq!(is_same_origin(one, other), same, "{other}");
        }
    }

    #[test]
    fn credentials_stay_with_the_origin_that_got_them() {
        assert_eq!(left_behind(false), ["cookie", "content-length"]);
        for name in ["cookie", "authorization", "proxy-authorization", "host"] {
            assert!(left_behind(true).contains(&name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_location_is_resolved_to_something_that_can_be_called_or_to_nothing(
            location in "(https?:)?(//)?[a-z@:/?.#\\\\é \\[\\]]{0,20}",
        ) {
            if let Some(url) = resolve("http://a/b/c?d", &location) {
                prop_assert!(Origin::parse(&url).is_some(), "{url}");
                let (origin, _) = split(&url).expect("an absolute URL");
                prop_assert!(!origin.contains('@'), "{url}");
            }
        }
    }
}
