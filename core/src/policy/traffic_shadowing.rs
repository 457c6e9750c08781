//! `traffic-shadowing`: sends a copy of each request to another endpoint (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::de_text;
use super::pairs::{self, Named, Pair};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::definition::{Api, Endpoint};
use crate::el::{Template, Value};
use crate::exchange::{Exchange, Headers};
use crate::http::{Known, query};
use crate::need::{Errand, HttpCall, HttpOptions};

pub(super) const ENTRY: Entry = Entry {
    id: "traffic-shadowing",
    phases: Phases::REQUEST,
    summary: "sends a copy of each request to another endpoint",
    members: &["target", "headers"],
    differences: "nobody waits for the copy; a request body above 5 MiB is not copied; the copy carries no client certificate",
    build,
};

/// Bytes of a body that is copied.
const BODY_BYTES_MAX: usize = 5 << 20;

/// Attribute of the method to forward.
const METHOD: &str = "request.method";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    #[serde(deserialize_with = "de_text")]
    target: String,
    headers: Option<Vec<Pair>>,
}

#[derive(Debug)]
struct TrafficShadowing {
    target: Template,
    headers: Box<[Named]>,
    needs: BodyNeeds,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let target = Template::new(&configuration.target);
    let headers = pairs::headers("headers", configuration.headers)?;
    Ok(Arc::new(TrafficShadowing {
        needs: target.needs().and(pairs::needs(&headers)),
        target,
        headers,
    }))
}

/// The endpoint of this name, else the next one of the group of this name.
fn endpoint<'a>(api: &'a Api, name: &str) -> Option<&'a Endpoint> {
    api.groups
        .iter()
        .flat_map(|group| group.endpoints.iter())
        .find(|endpoint| &*endpoint.name == name)
        .or_else(|| api.groups.iter().find(|group| &*group.name == name)?.next())
}

/// The URL of the copy.
fn url(exchange: &Exchange<'_>, endpoint: &Endpoint) -> String {
    let request = &exchange.request;
    let mut url = Vec::with_capacity(128);
    url.extend_from_slice(endpoint.origin.as_bytes());
    url.extend_from_slice(endpoint.target_path.as_bytes());
    url.extend_from_slice(request.path_info().as_bytes());
    let own = endpoint.target_query.as_deref().unwrap_or_default();
    query::write(&mut url, request.query.as_bytes(), own.as_bytes(), None);
    String::from_utf8_lossy(&url).into_owned()
}

/// The header fields of the copy: those of the request that are forwarded, then those of the endpoint and of the policy.
fn fields(exchange: &Exchange<'_>, endpoint: &Endpoint, own: &[Named]) -> Headers {
    let mut headers = Headers::default();
    for field in exchange.request.headers.iter() {
        let is_kept = match field.known {
            Known::Host => false,
            Known::AcceptEncoding => endpoint.propagate_client_accept_encoding,
            known => !known.is_hop_by_hop() && !known.is_framing() && !field.nominated,
        };
        if is_kept && let Ok(name) = std::str::from_utf8(field.name) {
            let _ = headers.add(name, field.value);
        }
    }
    for (name, value) in &endpoint.headers {
        let _ = headers.set(name, &**value);
    }
    for named in own {
        // What cannot be evaluated or sent is left out: the copy never harms the request.
        if let Ok(Some(value)) = named.value.eval_text(exchange) {
            let _ = headers.set(&named.name, value.as_bytes());
        }
    }
    headers
}

impl TrafficShadowing {
    fn copy(&self, exchange: &Exchange<'_>) -> Option<HttpCall> {
        let target = self.target.eval_text(exchange).ok().flatten()?;
        let endpoint = endpoint(exchange.api, target.strip_suffix(':').unwrap_or(&target))?;
        let body = exchange.request.body.bytes().unwrap_or_default();
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
        let headers = fields(exchange, endpoint, &self.headers)
            .iter()
            .filter_map(|field| {
                let name = String::from_utf8(field.name.to_vec()).ok()?;
                let value = String::from_utf8(field.value.to_vec()).ok()?;
                Some((name.into(), value))
            })
            .collect();
        let method = exchange
            .attributes
            .find(METHOD)
            .and_then(Value::as_text)
            .unwrap_or_else(|| exchange.request.method.as_str());
        let options = &endpoint.connector.options;
        let tls = endpoint.connector.tls.as_ref();
        let trust_pem = tls
            .and_then(|tls| tls.trust_pem.as_deref())
            .and_then(|pem| std::str::from_utf8(pem).ok());
        Some(HttpCall {
            method: method.into(),
            url: url(exchange, endpoint).into(),
            headers,
            body: body.to_vec(),
            options: Arc::new(HttpOptions {
                connect_timeout_ms: u64::from(options.connect_timeout_ms),
                timeout_ms: u64::from(options.read_timeout_ms),
                trust_all: tls.is_some_and(|tls| tls.trust_all),
                trust_pem: trust_pem.map(Into::into),
                ..HttpOptions::default()
            }),
        })
    }
}

impl Policy for TrafficShadowing {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        BodyNeeds {
            request_body: phase == Phase::Request,
            ..pairs::needs_in(phase, self.needs)
        }
    }

    fn on_request(&self, _exchange: &mut Exchange<'_>) -> Verdict {
        Verdict::Wrap(None)
    }

    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if let Some(call) = self.copy(exchange) {
            exchange.detached.push(Errand::Http(Box::new(call)));
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{
        AddressCell, Addresses, Balancing, Connector, ConnectorId, ConnectorOptions, EndpointGroup,
        LoadBalancer,
    };
    use crate::exchange::Body;
    use crate::policy::testing::{Bench, build};
    use serde_json::json;

    fn bench() -> Bench {
        let mut bench = Bench::new();
        let api = Arc::get_mut(&mut bench.deployed.api).expect("the only owner");
        api.groups = [EndpointGroup {
            name: "shadows".into(),
            endpoints: [Endpoint {
                name: "shadow".into(),
                connector: Arc::new(Connector {
                    id: ConnectorId(1),
                    host: "shadow.example.com".into(),
                    port: 80,
                    authority: "shadow.example.com".into(),
                    tls: None,
                    options: ConnectorOptions::default(),
                    addresses: AddressCell::new(Addresses::Unresolved),
                }),
                target_path: "/copy".into(),
                target_query: Some("b=2".into()),
                origin: "http://shadow.example.com".into(),
                headers: [("X-Endpoint".into(), "e".into())].into(),
                weight: 1,
                secondary: false,
                propagate_client_host: false,
                propagate_client_accept_encoding: false,
                follow_redirects: false,
            }]
            .into(),
            balancer: LoadBalancer::new(Balancing::RoundRobin, &[(1, false)]),
        }]
        .into();
        bench
    }

    fn run(configuration: &serde_json::Value) -> Option<HttpCall> {
        let policy = build("traffic-shadowing", configuration).expect("a policy");
        assert!(policy.body_needs(Phase::Request).request_body);
        let mut bench = bench();
        let mut exchange = bench.exchange();
        for (name, value) in [
            ("Host", "gateway.example.com"),
            ("Connection", "close"),
            ("Accept-Encoding", "gzip"),
            ("Content-Length", "4"),
            ("X-A", "a"),
        ] {
            exchange.request.headers.add(name, value).expect("a field");
        }
        exchange.request.body = Body::Buffered(b"body".to_vec());
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Wrap(None)
        ));
        assert!(matches!(
            policy.before_call(&mut exchange),
            Verdict::Continue
        ));
        match exchange.detached.pop() {
            None => None,
            Some(Errand::Http(call)) => Some(*call),
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_copy_goes_to_the_named_endpoint_with_headers_of_its_own() {
        for target in ["shadow", "shadow:", "shadows"] {
            let call = run(&json!({"target": target, "headers": [
                {"name": "X-Shadow", "value": "s"}, {"name": "X-Bad", "value": "a\nb"},
            ]}))
            .expect("a copy");
            assert_eq!(&*call.method, "GET");
            assert_eq!(&*call.url, "http://shadow.example.com/copy/orders?a=1&b=2");
            assert_eq!(call.body, b"body");
            let names: Vec<_> = call.headers.iter().map(|(name, _)| &**name).collect();
            assert_eq!(names, ["X-A", "X-Endpoint", "X-Shadow"]);
        }
    }

    #[test]
    fn an_unknown_endpoint_makes_no_copy() {
        assert!(run(&json!({"target": "nowhere"})).is_none());
        assert!(run(&json!(null)).is_none());
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (json!({"target": []}), "target"),
            (
                json!({"headers": [{"name": "a b", "value": "c"}]}),
                "headers[0].name",
            ),
        ] {
            let error = build("traffic-shadowing", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }
}
