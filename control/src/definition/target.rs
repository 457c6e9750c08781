//! Targets of endpoints: a small, strict URL parser (contract api-definition 3.3.2).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::reader::quote;

/// Longest target, bytes: it becomes part of every request line.
const TARGET_BYTES_MAX: usize = 4_096;

/// Longest host name, bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// A parsed `http` or `https` target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `https`.
    pub(super) secure: bool,
    /// Host name in lower case, or an address literal without brackets.
    pub(super) host: Box<str>,
    /// Host as written, address literals in brackets.
    pub(super) written_host: Box<str>,
    pub(super) port: u16,
    /// Path as written, possibly empty.
    pub(super) path: Box<str>,
    /// Query without `?`, `None` when empty.
    pub(super) query: Option<Box<str>>,
}

/// Why a text is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    #[error("expected a URL such as `http://host:port/path`, found no scheme")]
    NoScheme,
    #[error("expected the scheme `http` or `https`, found `{0}`")]
    UnknownScheme(String),
    #[error("the scheme `{0}`")]
    UnsupportedScheme(&'static str),
    #[error("user information before `@`")]
    UserInfo,
    #[error("expected a host name or an address, found {0}")]
    Host(String),
    #[error("expected a port from 1 to 65535, found {0}")]
    Port(String),
    #[error("expected visible ASCII characters, found another at byte {0}")]
    Character(usize),
    #[error("expected at most {TARGET_BYTES_MAX} bytes, found {0}")]
    TooLong(usize),
}

impl TargetError {
    /// Whether the reference would serve this target, and Turnpike does not yet.
    pub(super) fn is_unsupported(&self) -> bool {
        matches!(self, Self::UnsupportedScheme(_) | Self::UserInfo)
    }
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if text.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong(text.len()));
        }
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::NoScheme)?;
        let secure = read_scheme(scheme)?;
        if let Some(at) = text.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(TargetError::Character(at));
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(TargetError::UserInfo);
        }
        let (written_host, port) = split_port(authority)?;
        let host = read_host(written_host)?;
        let port = match port {
            None => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(digits) => read_port(digits)?,
        };
        let tail = tail.split('#').next().unwrap_or_default();
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        Ok(Self {
            secure,
            host,
            written_host: written_host.into(),
            port,
            path: path.into(),
            query: (!query.is_empty()).then(|| query.into()),
        })
    }

    /// The authority, without a port that `leave_out` says to be implied.
    pub(super) fn authority(&self, leave_out: impl Fn(u16) -> bool) -> String {
        if leave_out(self.port) {
            self.written_host.to_string()
        } else {
            format!("{}:{}", self.written_host, self.port)
        }
    }

    /// The port that the scheme implies.
    pub(super) fn default_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

fn read_scheme(scheme: &str) -> Result<bool, TargetError> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok(false),
        "https" => Ok(true),
        "ws" => Err(TargetError::UnsupportedScheme("ws")),
        "wss" => Err(TargetError::UnsupportedScheme("wss")),
        "grpc" => Err(TargetError::UnsupportedScheme("grpc")),
        "grpcs" => Err(TargetError::UnsupportedScheme("grpcs")),
        _ => Err(TargetError::UnknownScheme(
            scheme
                .chars()
                .filter(|c| c.is_ascii_graphic())
                .take(20)
                .collect(),
        )),
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), TargetError> {
    if authority.starts_with('[') {
        let end = authority
            .find(']')
            .ok_or_else(|| TargetError::Host(quote(authority)))?;
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(TargetError::Host(quote(authority))),
        };
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

fn read_port(digits: &str) -> Result<u16, TargetError> {
    let wrong = || TargetError::Port(quote(digits));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    digits
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(wrong)
}

fn read_host(written: &str) -> Result<Box<str>, TargetError> {
    let wrong = || TargetError::Host(quote(written));
    if let Some(literal) = written
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let address: Ipv6Addr = literal.parse().map_err(|_| wrong())?;
        return Ok(address.to_string().into());
    }
    // A name whose last label is a number is an IPv4 address (RFC 3986, 3.2.2; URL standard).
    let last = written
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        let address: Ipv4Addr = written.parse().map_err(|_| wrong())?;
        return Ok(address.to_string().into());
    }
    let labels = written.strip_suffix('.').unwrap_or(written);
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if written.len() > HOST_BYTES_MAX || !labels.split('.').all(good) {
        return Err(wrong());
    }
    Ok(written.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (bool, String, u16, String, Option<String>) {
        let target = Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let query = target.query.map(String::from);
        (
            target.secure,
            target.host.into(),
            target.port,
            target.path.into(),
            query,
        )
    }

    #[test]
    fn the_parts_of_a_target_are_kept_as_written() {
        let own = |query: &str| Some(query.to_owned());
        assert_eq!(parsed("http://h"), (false, "h".into(), 80, "".into(), None));
        assert_eq!(
            parsed("HTTPS://Api.Example.COM/"),
            (true, "api.example.com".into(), 443, "/".into(), None)
        );
        assert_eq!(
            parsed("http://h:8080/a//b/"),
            (false, "h".into(), 8080, "/a//b/".into(), None)
        );
        assert_eq!(
            parsed("http://h?x=1&y#f"),
            (false, "h".into(), 80, "".into(), own("x=1&y"))
        );
        assert_eq!(
            parsed("http://h/a?b?c=/#"),
            (false, "h".into(), 80, "/a".into(), own("b?c=/"))
        );
        assert_eq!(
            parsed("http://h/a?"),
            (false, "h".into(), 80, "/a".into(), None)
        );
        assert_eq!(
            parsed("http://h/#a?b"),
            (false, "h".into(), 80, "/".into(), None)
        );
        assert_eq!(
            parsed("http://127.0.0.1:1"),
            (false, "127.0.0.1".into(), 1, "".into(), None)
        );
        assert_eq!(
            parsed("https://[::1]:65535/x"),
            (true, "::1".into(), 65_535, "/x".into(), None)
        );
        assert_eq!(
            parsed("http://my_svc.ns.svc.cluster.local."),
            (
                false,
                "my_svc.ns.svc.cluster.local.".into(),
                80,
                "".into(),
                None
            )
        );
        assert_eq!(
            parsed("http://h/%7Ea{b}"),
            (false, "h".into(), 80, "/%7Ea{b}".into(), None)
        );
        assert_eq!(
            parsed(" http://h/ "),
            (false, "h".into(), 80, "/".into(), None)
        );
    }

    #[test]
    fn an_authority_leaves_out_only_the_implied_port() {
        let target = Target::parse("https://[2001:DB8::1]:80").expect("a target");
        assert_eq!(
            target.authority(|port| port == target.default_port()),
            "[2001:DB8::1]:80"
        );
        let target = Target::parse("http://Host:80").expect("a target");
        assert_eq!(
            target.authority(|port| port == target.default_port()),
            "Host"
        );
    }

    #[test]
    fn what_is_not_a_target_is_refused_with_its_reason() {
        for text in ["", "h:80", "/a", "http:/h", "localhost:8080/team"] {
            assert_eq!(Target::parse(text), Err(TargetError::NoScheme), "{text}");
        }
        for text in ["ftp://h", "://h", "javascript://h"] {
            assert!(
                matches!(Target::parse(text), Err(TargetError::UnknownScheme(_))),
                "{text}"
            );
        }
        for text in ["ws://h", "wss://h", "grpc://h", "GRPCS://h"] {
            assert!(
                Target::parse(text).expect_err(text).is_unsupported(),
                "{text}"
            );
        }
        for text in ["http://u@h", "http://u:p@h:80/", "http://@h"] {
            assert_eq!(Target::parse(text), Err(TargetError::UserInfo), "{text}");
        }
        for text in [
            "http://",
            "http:///a",
            "http://.",
            "http://a..b",
            "http://a\\b",
            "http://[::1",
            "http://[::1]x",
            "http://[h]",
            "http://1.2.3",
            "http://1.2.3.256",
            "http://a_%41",
            "http://{h}",
            "http://[::1%25eth0]",
        ] {
            assert!(
                matches!(Target::parse(text), Err(TargetError::Host(_))),
                "{text}: {:?}",
                Target::parse(text)
            );
        }
        for text in [
            "http://h:",
            "http://h:0",
            "http://h:65536",
            "http://h:+1",
            "http://h:a",
            "http://h:1:2",
            "http://::1",
        ] {
            let error = Target::parse(text).expect_err(text);
            assert!(
                matches!(error, TargetError::Port(_) | TargetError::Host(_)),
                "{text}: {error}"
            );
        }
        for text in [
            "http://h/a b",
            "http://h/a\r\nb",
            "http://h/\u{e9}",
            "http://h\0/",
            "http://h/?a\tb",
        ] {
            assert!(
                matches!(Target::parse(text), Err(TargetError::Character(_))),
                "{text:?}"
            );
        }
        assert!(matches!(
            Target::parse(&format!("http://h/{}", "a".repeat(5_000))),
            Err(TargetError::TooLong(_))
        ));
        assert!(matches!(
            Target::parse(&format!("http://{}", "a.".repeat(200))),
            Err(TargetError::Host(_))
        ));
    }
}
