//! Addresses that errands call, and redirects in the terms of the HTTP client. The rules are core's.

use http::{HeaderMap, Method, Uri};
use turnpike_core::redirect;

/// Where a response leads, and with which method; `None` when it is not to be followed.
pub(super) fn next(
    status: u16,
    location: &str,
    (method, uri): (&Method, &Uri),
) -> Option<(Method, Uri)> {
    let method = redirect::method_after(status, method.as_str())?;
    let url = redirect::resolve(&uri.to_string(), location)?;
    Some((
        Method::from_bytes(method.as_bytes()).ok()?,
        parse(&url).ok()?,
    ))
}

/// Takes away what must not travel on.
pub(super) fn strip(headers: &mut HeaderMap, from: &Uri, to: &Uri) {
    let crosses_origins = !redirect::is_same_origin(&from.to_string(), &to.to_string());
    for name in redirect::left_behind(crosses_origins) {
        headers.remove(*name);
    }
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

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION};

    use super::*;

    #[test]
    fn a_redirect_leads_to_an_address_without_its_user() {
        let from = parse("http://h/a").expect("an address");
        for (location, expected) in [
            ("/b", Some("http://h/b")),
            ("http://user:secret@g", Some("http://g/")),
            ("ftp://g/", None),
        ] {
            let next = next(302, location, (&Method::GET, &from));
            let url = next.map(|(_, uri)| uri.to_string());
            assert_eq!(url.as_deref(), expected, "{location}");
        }
        assert_eq!(next(302, "/b", (&Method::POST, &from)), None);
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
}
