//! Base URLs of the control plane, checked once.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// An `http` or `https` URL with its path and without a trailing slash, user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    host: String,
    is_https: bool,
}

impl BaseUrl {
    /// Checks a URL; the error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains(['?', '#']) {
            return Err("expected a URL without query and fragment".to_owned());
        }
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("expected a URL, found {text:?}: {error}"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => {
                return Err(format!(
                    "expected a URL that starts with http:// or https://, found {text:?}"
                ));
            }
        };
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        if authority.contains('@') {
            return Err(
                "expected a URL without user and password; use the authentication settings"
                    .to_owned(),
            );
        }
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase();
        if host.is_empty() {
            return Err(format!("expected a URL with a host, found {text:?}"));
        }
        let path = uri.path().trim_end_matches('/');
        let text = format!(
            "{}://{authority}{path}",
            if is_https { "https" } else { "http" }
        );
        Ok(Self {
            text,
            host,
            is_https,
        })
    }

    /// Whether a credential may travel to it: it is `https`, or leads to this machine.
    pub fn keeps_secrets(&self) -> bool {
        self.is_https
            || self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// The same URL with a path appended.
    #[must_use]
    pub fn with_path(&self, path: &str) -> Self {
        Self {
            text: format!("{}{path}", self.text),
            ..self.clone()
        }
    }

    /// The URL as text, without trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_path_and_loses_its_trailing_slash() {
        let cases = [
            ("https://a.example/", "https://a.example"),
            ("http://A.example:8080/x/y/", "http://A.example:8080/x/y"),
            (" https://a.example/sync\n", "https://a.example/sync"),
        ];
        for (written, text) in cases {
            assert_eq!(BaseUrl::parse(written).expect(written).as_str(), text);
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for text in [
            "",
            "/sync",
            "ftp://a",
            "a.example",
            "https://",
            "https://u:p@a",
            "https://a?x=1",
            "https://a#x",
        ] {
            BaseUrl::parse(text).expect_err(text);
        }
    }

    #[test]
    fn only_https_and_loopback_keep_secrets() {
        let cases = [
            ("https://a.example", true),
            ("http://localhost:8070", true),
            ("http://LOCALHOST", true),
            ("http://127.0.0.9:1", true),
            ("http://[::1]:80", true),
            ("http://gate.localhost", true),
            ("http://a.example", false),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
        ];
        for (text, keeps) in cases {
            assert_eq!(
                BaseUrl::parse(text).expect(text).keeps_secrets(),
                keeps,
                "{text}"
            );
        }
    }
}
