//! Where a request goes: the balancer's endpoint, or what policies named instead (contract request-lifecycle 8.1, 8.2, 8.6).

use std::net::Ipv6Addr;

use super::{Api, Endpoint};
use crate::http::query;

/// Longest URI that is called, bytes.
pub const URI_BYTES_MAX: usize = 64 * 1_024;
/// Longest host name, bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// What policies said about the target of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'w> {
    /// Attribute `request.endpoint`, evaluated.
    pub endpoint: Option<&'w str>,
    /// Attribute `request.endpoint.override`: a relative endpoint replaces the path of the target.
    pub replaces_path: bool,
}

/// Why a request cannot be sent anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// There is no endpoint, or none of the name that was wished for.
    #[error("no endpoint is there, or none of the name that a policy gave")]
    NoEndpoint,
    /// What was wished for is no URL that can be called.
    #[error("the endpoint that a policy gave cannot be called: {0}")]
    Invalid(&'static str),
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a, 'w> {
    /// The endpoint whose connection options, headers and target query apply.
    pub endpoint: &'a Endpoint,
    is_v2: bool,
    place: Place<'w>,
}

#[derive(Debug, Clone, Copy)]
enum Place<'w> {
    /// Target path and path info.
    Own,
    /// Target path and this path and query.
    Below(&'w str),
    /// This path and query on the endpoint's origin.
    Instead(&'w str),
    /// Another origin altogether.
    Elsewhere(Origin<'w>, &'w str),
    /// Where a response pointed to: nothing is added to it.
    Redirect(Origin<'w>, &'w str),
}

/// Scheme, host and port of an absolute URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'w> {
    /// `https`.
    pub secure: bool,
    /// Host name or address literal, without brackets.
    pub host: &'w str,
    /// Port.
    pub port: u16,
    /// Host as written, in brackets when it is an IPv6 literal.
    written_host: &'w str,
}

impl<'w> Origin<'w> {
    /// The origin of an absolute URL.
    pub fn parse(url: &'w str) -> Option<Self> {
        parse(url).ok().map(|(origin, _)| origin)
    }

    fn default_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }

    /// Value of `Host`: without the port when it is the scheme's default.
    pub fn write_authority(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.written_host.as_bytes());
        if self.port != self.default_port() {
            out.push(b':');
            crate::http::decimal(out, u64::from(self.port));
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.secure {
            b"https://"
        } else {
            &b"http://"[..]
        });
        self.write_authority(out);
    }
}

impl<'a, 'w> Target<'a, 'w> {
    /// Decides where a request of `api` goes.
    pub fn choose(api: &'a Api, wish: Wish<'w>) -> Result<Self, TargetError> {
        let is_v2 = api.engine.is_v2();
        let Some(wished) = wish.endpoint else {
            let endpoint = default_endpoint(api)?;
            return Ok(Self {
                endpoint,
                is_v2,
                place: Place::Own,
            });
        };
        if is_v2 {
            return Self::choose_v2(api, wished);
        }
        let (endpoint, rest) = match reference(wished) {
            Some((name, rest)) => (named(api, name)?, rest),
            None => (default_endpoint(api)?, wished),
        };
        let place = if is_absolute(rest) {
            let (origin, tail) = parse(rest)?;
            Place::Elsewhere(origin, tail)
        } else if wish.replaces_path {
            Place::Instead(rest)
        } else {
            Place::Below(rest)
        };
        Ok(Self {
            endpoint,
            is_v2,
            place,
        })
    }

    /// The place that a response of `endpoint` pointed to, an absolute URL.
    pub fn redirected(endpoint: &'a Endpoint, url: &'w str) -> Result<Self, TargetError> {
        let (origin, tail) = parse(url)?;
        Ok(Self {
            endpoint,
            is_v2: false,
            place: Place::Redirect(origin, tail),
        })
    }

    fn choose_v2(api: &'a Api, wished: &'w str) -> Result<Self, TargetError> {
        let target = |endpoint, place| Self {
            endpoint,
            is_v2: true,
            place,
        };
        if is_absolute(wished) {
            let (origin, tail) = parse(wished)?;
            let prefix = api.groups.iter().flat_map(|group| &group.endpoints);
            let endpoint = match prefix.into_iter().find(|endpoint| covers(endpoint, wished)) {
                Some(endpoint) => endpoint,
                None => default_endpoint(api)?,
            };
            return Ok(target(endpoint, Place::Elsewhere(origin, tail)));
        }
        if wished.is_empty() || wished.starts_with('/') {
            return Ok(target(default_endpoint(api)?, Place::Below(wished)));
        }
        let (name, rest) = wished.split_once(':').unwrap_or((wished, ""));
        let endpoint = named(api, name)?;
        if is_absolute(rest) {
            let (origin, tail) = parse(rest)?;
            return Ok(target(endpoint, Place::Elsewhere(origin, tail)));
        }
        Ok(target(endpoint, Place::Below(rest)))
    }

    /// The origin of an absolute URL that is not the endpoint's own: connections to it are not the endpoint's.
    pub fn elsewhere(&self) -> Option<Origin<'w>> {
        let (Place::Elsewhere(origin, _) | Place::Redirect(origin, _)) = self.place else {
            return None;
        };
        let connector = &self.endpoint.connector;
        let same = connector.tls.is_some() == origin.secure
            && connector.port == origin.port
            && connector.host.eq_ignore_ascii_case(origin.host);
        (!same).then_some(origin)
    }

    /// Appends the absolute URI to call to `uri`, which is empty, and returns where its path begins.
    pub fn write_uri(
        &self,
        uri: &mut Vec<u8>,
        path_info: &str,
        request_query: &str,
    ) -> Result<usize, TargetError> {
        let endpoint = self.endpoint;
        match &self.place {
            Place::Elsewhere(origin, _) | Place::Redirect(origin, _) => origin.write(uri),
            _ => uri.extend_from_slice(endpoint.origin.as_bytes()),
        }
        let start = uri.len();
        let (base, tail) = match self.place {
            Place::Own => (&*endpoint.target_path, path_info),
            Place::Below(tail) => (&*endpoint.target_path, tail),
            Place::Instead(tail) | Place::Elsewhere(_, tail) | Place::Redirect(_, tail) => {
                ("", tail)
            }
        };
        // The path that was received is taken as it is: its `?` has been cut off, and `#` was refused.
        let (path, own_query) = match self.place {
            Place::Own => (tail, ""),
            _ => {
                let tail = tail.split('#').next().unwrap_or_default();
                tail.split_once('?').unwrap_or((tail, ""))
            }
        };
        if base.is_empty() && !path.starts_with('/') {
            // Nothing but a path may follow an authority.
            uri.push(b'/');
        }
        uri.extend_from_slice(base.as_bytes());
        uri.extend_from_slice(path.as_bytes());
        if matches!(self.place, Place::Redirect(..)) {
            if !own_query.is_empty() {
                uri.push(b'?');
                uri.extend_from_slice(own_query.as_bytes());
            }
            return check(uri, start);
        }
        let target_query = endpoint.target_query.as_deref().unwrap_or_default();
        if own_query.is_empty() {
            query::write(uri, request_query.as_bytes(), target_query.as_bytes(), None);
        } else if self.is_v2 {
            let first = [own_query, "&", request_query].concat();
            query::write(uri, first.as_bytes(), target_query.as_bytes(), None);
        } else {
            let last = [target_query, "&", own_query].concat();
            query::write(uri, request_query.as_bytes(), last.as_bytes(), None);
        }
        check(uri, start)
    }
}

/// Whether the URI may be written into a request line; where its path begins.
fn check(uri: &[u8], start: usize) -> Result<usize, TargetError> {
    if uri.len() > URI_BYTES_MAX {
        return Err(TargetError::Invalid("it is too long"));
    }
    let written = &uri[start..];
    if written
        .iter()
        .any(|byte| *byte <= b' ' || matches!(byte, 0x7f | b'#'))
    {
        return Err(TargetError::Invalid(
            "it holds a character that URIs do not have",
        ));
    }
    Ok(start)
}

fn default_endpoint(api: &Api) -> Result<&Endpoint, TargetError> {
    api.groups
        .first()
        .and_then(|group| group.next())
        .ok_or(TargetError::NoEndpoint)
}

/// The endpoint of this name, else the next endpoint of the group of this name.
fn named<'a>(api: &'a Api, name: &str) -> Result<&'a Endpoint, TargetError> {
    api.groups
        .iter()
        .flat_map(|group| &group.endpoints)
        .find(|endpoint| &*endpoint.name == name)
        .or_else(|| {
            api.groups
                .iter()
                .find(|group| &*group.name == name)
                .and_then(|group| group.next())
        })
        .ok_or(TargetError::NoEndpoint)
}

/// `^([^/:][^:]*):(.*)$` whose first part is no scheme.
fn reference(wished: &str) -> Option<(&str, &str)> {
    let (name, rest) = wished.split_once(':')?;
    let is_scheme = matches!(name, "http" | "https" | "ws" | "wss");
    (!name.is_empty() && !name.starts_with('/') && !is_scheme).then_some((name, rest))
}

/// `^\w{2,}://`.
fn is_absolute(wished: &str) -> bool {
    wished.split_once("://").is_some_and(|(scheme, _)| {
        scheme.len() >= 2
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Whether the endpoint's target is a prefix of an absolute URL.
fn covers(endpoint: &Endpoint, url: &str) -> bool {
    url.strip_prefix(&*endpoint.origin)
        .is_some_and(|rest| rest.starts_with(&*endpoint.target_path))
}

/// Origin, and what follows it.
fn parse(url: &str) -> Result<(Origin<'_>, &str), TargetError> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or(TargetError::Invalid("it has no scheme"))?;
    let secure = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(TargetError::Invalid("its scheme is not http or https")),
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let invalid_host = TargetError::Invalid("its host is not valid");
    let (written_host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let host = match written_host.strip_prefix('[') {
        Some(literal) => {
            let literal = literal.strip_suffix(']').ok_or(invalid_host)?;
            literal.parse::<Ipv6Addr>().map_err(|_| invalid_host)?;
            literal
        }
        None => written_host,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty()
        || host.len() > HOST_BYTES_MAX
        || (host.len() == written_host.len() && !host.bytes().all(is_name))
    {
        return Err(invalid_host);
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => {
            if secure {
                443
            } else {
                80
            }
        }
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(TargetError::Invalid("its port is not valid"))?,
        _ => return Err(TargetError::Invalid("its port is not valid")),
    };
    Ok((
        Origin {
            secure,
            host,
            port,
            written_host,
        },
        tail,
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::definition::{
        AddressCell, Addresses, Balancing, Connector, ConnectorId, ConnectorOptions, EndpointGroup,
        Engine, LoadBalancer,
    };
    use crate::policy::testing::Bench;
    use crate::snapshot::Platform;

    fn endpoint(name: &str, host: &str, path: &str, query: Option<&str>) -> Endpoint {
        Endpoint {
            name: name.into(),
            connector: Arc::new(Connector {
                id: ConnectorId(1),
                host: host.into(),
                port: 80,
                authority: host.into(),
                tls: None,
                options: ConnectorOptions::default(),
                addresses: AddressCell::new(Addresses::Unresolved),
            }),
            target_path: path.into(),
            target_query: query.map(Into::into),
            origin: format!("http://{host}").into(),
            headers: [].into(),
            weight: 1,
            secondary: false,
            propagate_client_host: false,
            propagate_client_accept_encoding: false,
            follow_redirects: false,
        }
    }

    fn api(engine: Engine) -> Arc<Api> {
        let mut bench = Bench::with(engine, Default::default(), Platform::default());
        let api = Arc::get_mut(&mut bench.deployed.api).expect("nobody else holds it");
        let group = |name: &str, endpoints: Vec<Endpoint>| EndpointGroup {
            name: name.into(),
            balancer: LoadBalancer::new(Balancing::RoundRobin, &[(1, false)]),
            endpoints: endpoints.into(),
        };
        api.groups = [
            group("default", vec![endpoint("one", "one", "/base", None)]),
            group("others", vec![endpoint("two", "two", "", Some("t=1"))]),
        ]
        .into();
        Arc::clone(&bench.deployed.api)
    }

    fn uri(api: &Api, wished: Option<&str>, replaces_path: bool) -> Result<String, TargetError> {
        let wish = Wish {
            endpoint: wished,
            replaces_path,
        };
        let mut uri = Vec::new();
        Target::choose(api, wish)?.write_uri(&mut uri, "/info", "a=1")?;
        Ok(String::from_utf8(uri).expect("UTF-8"))
    }

    #[test]
    fn the_v4_engine_resolves_references_relative_and_absolute_targets() {
        let api = api(Engine::V4);
        for (wished, expected) in [
            (None, Ok("http://one/base/info?a=1")),
            (Some("/x"), Ok("http://one/base/x?a=1")),
            (Some("?b=2"), Ok("http://one/base?a=1&b=2")),
            (Some(""), Ok("http://one/base?a=1")),
            (Some("two:/x?b=2#f"), Ok("http://two/x?a=1&t=1&b=2")),
            (Some("two:"), Ok("http://two/?a=1&t=1")),
            (Some("two:x"), Ok("http://two/x?a=1&t=1")),
            (Some("others:/y"), Ok("http://two/y?a=1&t=1")),
            (Some("three:/y"), Err(TargetError::NoEndpoint)),
            (Some("http://h/x"), Ok("http://h/x?a=1")),
            (Some("http://h"), Ok("http://h/?a=1")),
            (Some("https://h:8443/x?c"), Ok("https://h:8443/x?a=1&c")),
            (Some("https://h:443/x"), Ok("https://h/x?a=1")),
            (Some("http://[::1]:81/"), Ok("http://[::1]:81/?a=1")),
            (Some("two:http://h/x"), Ok("http://h/x?a=1&t=1")),
        ] {
            assert_eq!(uri(&api, wished, false).as_deref(), expected.as_deref());
        }
        assert_eq!(
            uri(&api, Some("/x"), true).as_deref(),
            Ok("http://one/x?a=1")
        );
        assert_eq!(
            uri(&api, Some("evil@h/x"), true).as_deref(),
            Ok("http://one/evil@h/x?a=1"),
            "a path cannot become part of the authority"
        );
    }

    #[test]
    fn the_v2_engines_take_names_alone_and_put_own_parameters_first() {
        for engine in [Engine::V2Emulation, Engine::V2Legacy] {
            let api = api(engine);
            for (wished, expected) in [
                (None, Ok("http://one/base/info?a=1")),
                (Some("/x?b=2"), Ok("http://one/base/x?b=2&a=1")),
                (Some(""), Ok("http://one/base?a=1")),
                (Some("two"), Ok("http://two/?a=1&t=1")),
                (Some("two:/x?b=2"), Ok("http://two/x?b=2&a=1&t=1")),
                (Some("others"), Ok("http://two/?a=1&t=1")),
                (Some("nobody"), Err(TargetError::NoEndpoint)),
                (Some("http://two/z"), Ok("http://two/z?a=1&t=1")),
                (Some("http://h/z"), Ok("http://h/z?a=1")),
            ] {
                assert_eq!(uri(&api, wished, false).as_deref(), expected.as_deref());
            }
        }
    }

    #[test]
    fn what_is_no_url_is_not_called() {
        let api = api(Engine::V4);
        for wished in [
            "http://user@h/",
            "http://user:pass@h/",
            "http://h:0/",
            "http://h:65536/",
            "http://h:8x/",
            "http://h:/",
            "http:///x",
            "http://a b/",
            "http://h\r\n/",
            "http://[::1/",
            "http://[zz]/",
            "http://[::1]x/",
            "https://é/",
            "two:ftp://h/",
            "/a b",
            "/a\r\nX: y",
            "two:/\u{7f}",
        ] {
            assert!(
                matches!(uri(&api, Some(wished), false), Err(TargetError::Invalid(_))),
                "{wished:?}"
            );
        }
    }

    #[test]
    fn a_redirect_is_followed_as_it_is() {
        let api = api(Engine::V4);
        let endpoint = &api.groups[1].endpoints[0];
        let mut uri = Vec::new();
        let target = Target::redirected(endpoint, "https://h/x?b=1&a=2&b=3").expect("a target");
        assert_eq!(target.write_uri(&mut uri, "/info", "a=1"), Ok(9));
        assert_eq!(uri, b"https://h/x?b=1&a=2&b=3");
        assert!(target.elsewhere().is_some());
        assert!(Target::redirected(endpoint, "https://u@h/").is_err());
    }

    #[test]
    fn connections_of_the_endpoint_are_used_for_its_own_origin() {
        let api = api(Engine::V4);
        for (wished, elsewhere) in [
            ("http://ONE:80/x", false),
            ("http://one:81/x", true),
            ("https://one:80/x", true),
            ("http://two/x", true),
            ("/x", false),
        ] {
            let wish = Wish {
                endpoint: Some(wished),
                replaces_path: false,
            };
            let target = Target::choose(&api, wish).expect("a target");
            assert_eq!(target.elsewhere().is_some(), elsewhere, "{wished}");
        }
    }

    proptest! {
        #[test]
        fn no_wish_writes_a_uri_that_is_more_than_one_word(wished in "(http://|two:|/|)\\PC{0,40}", replaces_path: bool) {
            let api = api(Engine::V4);
            if let Ok(uri) = uri(&api, Some(&wished), replaces_path) {
                prop_assert!(uri.starts_with("http"));
                prop_assert!(!uri.bytes().any(|byte| byte <= b' ' || byte == 0x7f));
                let authority = uri.split('/').nth(2).expect("an authority");
                prop_assert!(!authority.contains('@') && !authority.is_empty(), "{uri}");
            }
        }
    }
}
