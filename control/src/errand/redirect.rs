//! Redirects of HTTP errands (contract request-lifecycle 8.4): which are followed, with which method, and where to.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{HeaderMap, Method, Uri};

/// Redirects that are followed in one call; the response after the last one is the answer, whatever it is.
pub(super) const HOPS_MAX: usize = 16;

/// The method with which a redirect is followed; `None` when it is not.
pub(super) fn method_after(status: u16, method: &Method) -> Option<Method> {
    match status {
        303 => Some(Method::GET),
        301 | 302 | 307 | 308
            if method == Method::GET || method == Method::HEAD || method == "QUERY" =>
        {
            Some(method.clone())
        }
        _ => None,
    }
}

/// Takes away what must not travel on.
pub(super) fn strip(headers: &mut HeaderMap, from: &Uri, to: &Uri) {
    headers.remove(COOKIE);
    headers.remove(CONTENT_LENGTH);
    if origin(from) != origin(to) {
        headers.remove(AUTHORIZATION);
        headers.remove(PROXY_AUTHORIZATION);
        // It named the server that was asked first.
        headers.remove(HOST);
    }
}

/// Scheme, host and port.
fn origin(uri: &Uri) -> (bool, String, u16) {
    let https = uri.scheme() == Some(&Scheme::HTTPS);
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    (
        https,
        uri.host().unwrap_or_default().to_ascii_lowercase(),
        port,
    )
}

/// An absolute `http` or `https` address as it is called: without fragment and user information. The error says what is wrong with it.
pub(super) fn parse(url: &str) -> Result<Uri, String> {
    let url = url.split('#').next().unwrap_or_default();
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| "expected an absolute `http` or `https` address".to_owned())?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err("expected the scheme `http` or `https`".to_owned());
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let uri: Uri = format!("{scheme}://{authority}{path}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let host = uri.host().filter(|host| !host.is_empty());
    let port = host
        .and_then(|host| authority.strip_prefix(host))
        .ok_or_else(|| "expected a host".to_owned())?;
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return Err("expected a port between 1 and 65535".to_owned());
    }
    Ok(uri)
}

/// Where a `Location` leads from `base` (RFC 3986 5.2); `None` when it is no address that can be called.
pub(super) fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.trim().split('#').next()?;
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    if let Some(rest) = location.strip_prefix("//") {
        return parse(&format!("{scheme}://{rest}")).ok();
    }
    if has_scheme(location) {
        return parse(location).ok();
    }
    let (path, query) = match location.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (location, None),
    };
    let (path, query) = if path.is_empty() {
        (base.path().to_owned(), query.or_else(|| base.query()))
    } else if path.starts_with('/') {
        (without_dots(path), query)
    } else {
        let folder = &base.path()[..=base.path().rfind('/').unwrap_or(0)];
        (without_dots(&format!("{folder}{path}")), query)
    };
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    parse(&format!("{scheme}://{authority}{path}{query}")).ok()
}

/// Whether a reference begins with a scheme (RFC 3986 3.1).
fn has_scheme(reference: &str) -> bool {
    let head = &reference[..reference.find(['/', '?']).unwrap_or(reference.len())];
    head.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// Takes `.` and `..` out of an absolute path (RFC 3986 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_safe_methods_are_repeated_and_303_is_always_a_get() {
        let query = Method::from_bytes(b"QUERY").expect("a method");
        let cases = [
            (301, Method::GET, Some(Method::GET)),
            (302, Method::HEAD, Some(Method::HEAD)),
            (307, query.clone(), Some(query)),
            (308, Method::POST, None),
            (302, Method::POST, None),
            (303, Method::POST, Some(Method::GET)),
            (303, Method::HEAD, Some(Method::GET)),
            (300, Method::GET, None),
            (304, Method::GET, None),
            (200, Method::GET, None),
        ];
        for (status, method, expected) in cases {
            assert_eq!(method_after(status, &method), expected, "{status} {method}");
        }
    }

    #[test]
    fn locations_are_resolved_as_the_rfc_says() {
        let base = parse("http://a:81/b/c/d;p?q").expect("an address");
        // The normal and abnormal examples of RFC 3986 5.4, those that http can call.
        let cases = [
            ("http://g", "http://g/"),
            ("HTTPS://G/x#y", "https://G/x"),
            ("http://user:secret@g/", "http://g/"),
            ("//g", "http://g/"),
            ("//g:8/x?y", "http://g:8/x?y"),
            ("g", "http://a:81/b/c/g"),
            ("./g", "http://a:81/b/c/g"),
            ("g/", "http://a:81/b/c/g/"),
            ("/g", "http://a:81/g"),
            ("?y", "http://a:81/b/c/d;p?y"),
            ("g?y", "http://a:81/b/c/g?y"),
            ("#s", "http://a:81/b/c/d;p?q"),
            (";x", "http://a:81/b/c/;x"),
            ("", "http://a:81/b/c/d;p?q"),
            (".", "http://a:81/b/c/"),
            ("..", "http://a:81/b/"),
            ("../g", "http://a:81/b/g"),
            ("../../g", "http://a:81/g"),
            ("../../../g", "http://a:81/g"),
            ("/./g", "http://a:81/g"),
            ("g/./h/../i", "http://a:81/b/c/g/i"),
            ("g?y/../x", "http://a:81/b/c/g?y/../x"),
            ("a/b:c", "http://a:81/b/c/a/b:c"),
        ];
        for (location, expected) in cases {
            let resolved = resolve(&base, location).map(|uri| uri.to_string());
            assert_eq!(resolved.as_deref(), Some(expected), "{location:?}");
        }
        for location in [
            "ftp://g/",
            "mailto:x",
            "http:///x",
            "http://h:0/",
            "/a b",
            "//",
        ] {
            assert_eq!(resolve(&base, location), None, "{location:?}");
        }
    }

    #[test]
    fn addresses_that_cannot_be_called_are_refused() {
        for url in [
            "",
            "/path",
            "ftp://h/",
            "http://",
            "http://h:99999/",
            "http://h:/",
            "http://h/a\r\nb",
            "http://h\r\nx/",
            "http://h/é\u{0}",
        ] {
            assert!(parse(url).is_err(), "{url:?}");
        }
        for (url, expected) in [
            ("http://h", "http://h/"),
            ("HTTP://u:p@h:8/x?y#z", "http://h:8/x?y"),
            ("https://[::1]:8/", "https://[::1]:8/"),
            ("http://h?x=a@b", "http://h/?x=a@b"),
        ] {
            assert_eq!(
                parse(url).map(|uri| uri.to_string()).as_deref(),
                Ok(expected)
            );
        }
    }

    #[test]
    fn credentials_stay_with_the_origin_that_got_them() {
        let full = || {
            let names = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, HOST];
            let mut headers = HeaderMap::new();
            for name in names {
                headers.insert(name, "x".parse().expect("a value"));
            }
            headers.insert("accept", "x".parse().expect("a value"));
            headers
        };
        let from = parse("http://h/a").expect("an address");
        for (to, left) in [
            ("http://h:80/b", 4),
            ("http://H/b", 4),
            ("https://h/b", 1),
            ("http://h:81/b", 1),
            ("http://g/b", 1),
        ] {
            let mut headers = full();
            strip(&mut headers, &from, &parse(to).expect("an address"));
            assert_eq!(headers.len(), left, "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_location_is_resolved_to_something_that_can_be_called_or_to_nothing(location in ".{0,40}") {
            let base = parse("http://a/b/c?d").expect("an address");
            if let Some(uri) = resolve(&base, &location) {
                prop_assert!(uri.host().is_some_and(|host| !host.is_empty()));
                prop_assert_eq!(parse(&uri.to_string()), Ok(uri));
            }
        }
    }
}
