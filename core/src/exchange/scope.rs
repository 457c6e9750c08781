//! The variables that expressions see (contract expression-language 4). Nothing is copied until an expression asks for it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{ATTRIBUTE_PREFIX, Body, Exchange, PathParameterValues, Request, Response};
use crate::definition::{Api, Properties, Subscription};
use crate::el::{ElError, Lookup, MultiLookup, Object, Scope, Value, json_content, xml_to_value};
use crate::http::Version;
use crate::snapshot::NodeFacts;

impl Scope for Exchange<'_> {
    fn variable(&self, name: &str) -> Value<'_> {
        match name {
            "request" => Value::Object(&*self.request),
            "response" => Value::Object(&*self.response),
            "context" => Value::Object(self),
            "api" => Value::Object(self.api),
            "properties" => Value::Lookup(&self.api.processing.properties),
            "dictionaries" => Value::Lookup(&self.platform.dictionaries),
            "endpoints" => Value::Lookup(self.api),
            "node" => Value::Object(&self.platform.node),
            "subscription" => self
                .subscription
                .map_or(Value::Null, |subscription| Value::Object(subscription)),
            _ => Value::Null,
        }
    }

    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn random(&self) -> u64 {
        Exchange::random(self)
    }
}

impl Exchange<'_> {
    /// An attribute as expressions and policies see it: what a policy set, else the gateway's own; the prefix `gravitee.attribute.` may be
    /// left out.
    pub fn attribute(&self, name: &str) -> Value<'_> {
        if let Some(value) = self.attributes.get(name) {
            return value.lend();
        }
        match name.strip_prefix(ATTRIBUTE_PREFIX) {
            Some(own) => self.own_attribute(own),
            None => match self.attributes.gateway(name) {
                Some(value) => value.lend(),
                None => self.own_attribute(name),
            },
        }
    }

    /// The gateway's own attributes (contract request-lifecycle 14).
    fn own_attribute(&self, name: &str) -> Value<'_> {
        match name {
            "api" => Value::text(&self.api.id),
            "api.name" => Value::text(&self.api.name),
            "api.deployed-at" => Value::Long(self.api.deployed_at_ms as i64),
            "organization" => optional(filled(&self.api.organization_id)),
            "environment" => optional(filled(&self.api.environment_id)),
            "context-path" => Value::text(&self.request.context_path),
            "plan" => optional(self.plan.map(|plan| &*plan.id)),
            "application" if self.plan.is_some() => Value::text(&self.application_id),
            "user-id" => optional(filled(&self.subscription_id)),
            "user" => optional(self.user.as_deref()),
            "api-key" => optional(self.api_key.as_deref()),
            "mapped-path" => optional(self.mapped_path),
            // Not verified before the policy has let it pass: selection rules see it earlier.
            "jwt" => match &self.tokens.jwt {
                Some(token) => Value::Lookup(&**token),
                None => Value::Null,
            },
            _ => Value::Null,
        }
    }

    const OWN_ATTRIBUTES: [&'static str; 12] = [
        "api",
        "api.name",
        "api.deployed-at",
        "organization",
        "environment",
        "context-path",
        "plan",
        "application",
        "user-id",
        "user",
        "api-key",
        "mapped-path",
    ];
}

/// `context`.
impl Object for Exchange<'_> {
    fn kind(&self) -> &'static str {
        "context"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        (name == "attributes").then_some(Value::Lookup(self))
    }
}

/// `context.attributes`.
impl Lookup for Exchange<'_> {
    fn get(&self, key: &str) -> Value<'_> {
        self.attribute(key)
    }

    fn contains_key(&self, key: &str) -> bool {
        self.attributes.find(key).is_some() || !self.attribute(key).is_null()
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let own = Self::OWN_ATTRIBUTES
            .into_iter()
            .filter(|name| !self.own_attribute(name).is_null())
            .map(|name| Cow::Owned(format!("{ATTRIBUTE_PREFIX}{name}")))
            .filter(|name| self.attributes.get(name).is_none())
            .collect::<Vec<_>>();
        self.attributes
            .iter()
            .map(|(name, _)| Cow::Borrowed(name))
            .chain(own)
            .collect()
    }
}

impl Object for Request {
    fn kind(&self) -> &'static str {
        "request"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "id" => Value::text(&self.id),
            "transactionId" => Value::text(&self.transaction_id),
            "uri" => Value::text(&self.uri),
            "path" => Value::text(&self.path),
            "paths" => segments(&self.path),
            "pathInfo" => Value::text(self.path_info()),
            "pathInfos" => segments(self.path_info()),
            "contextPath" => Value::text(&self.context_path),
            "headers" => Value::Headers(&self.headers),
            "method" => Value::text(self.method.as_str()),
            "scheme" => Value::text(if self.tls { "https" } else { "http" }),
            "host" => Value::text(&self.host),
            "version" => Value::text(match self.version {
                Version::Http10 => "HTTP_1_0",
                Version::Http11 => "HTTP_1_1",
            }),
            "timestamp" => Value::Long(self.timestamp_ms as i64),
            "remoteAddress" => Value::text(&self.remote),
            "localAddress" => Value::text(&self.local),
            "params" => Value::Params(self),
            "pathParams" => Value::Params(&self.path_parameters),
            "content" => content(&self.body),
            "jsonContent" => json_content(self.body.bytes().unwrap_or_default()),
            "xmlContent" => xml_content(&self.body),
            "ssl" => Value::Object(self.ssl()),
            _ => return None,
        })
    }
}

/// `request.params`: the query, decoded.
impl MultiLookup for Request {
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(Cow<'a, str>)) {
        for (own, value) in self.parameters() {
            if own == name {
                each(value);
            }
        }
    }

    fn names(&self) -> Vec<Cow<'_, str>> {
        let mut names: Vec<Cow<'_, str>> = Vec::new();
        for (name, _) in self.parameters() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// `request.pathParams`.
impl MultiLookup for PathParameterValues {
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(Cow<'a, str>)) {
        if let Some((_, value)) = self.iter().find(|(own, _)| own == name) {
            each(Cow::Borrowed(value));
        }
    }

    fn names(&self) -> Vec<Cow<'_, str>> {
        self.iter()
            .map(|(name, _)| Cow::Borrowed(&**name))
            .collect()
    }
}

impl Object for Response {
    fn kind(&self) -> &'static str {
        "response"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "status" => Value::Int(i32::from(self.status)),
            "headers" => Value::Headers(&self.headers),
            "content" => content(&self.body),
            "jsonContent" => json_content(self.body.bytes().unwrap_or_default()),
            "xmlContent" => xml_content(&self.body),
            _ => return None,
        })
    }
}

impl Object for Api {
    fn kind(&self) -> &'static str {
        "api"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "id" => Value::text(&self.id),
            "name" => Value::text(&self.name),
            "version" => Value::text(&self.version),
            "properties" => Value::Lookup(&self.processing.properties),
            _ => return None,
        })
    }
}

/// `endpoints`: `name:` for every endpoint and group.
impl Lookup for Api {
    fn get(&self, key: &str) -> Value<'_> {
        if self.contains_key(key) {
            Value::Text(Cow::Owned(format!("{key}:")))
        } else if self.engine.is_v2() {
            Value::text("ref:unknown")
        } else {
            Value::Null
        }
    }

    fn contains_key(&self, key: &str) -> bool {
        self.groups.iter().any(|group| {
            *group.name == *key
                || group
                    .endpoints
                    .iter()
                    .any(|endpoint| *endpoint.name == *key)
        })
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.groups
            .iter()
            .flat_map(|group| {
                std::iter::once(&*group.name)
                    .chain(group.endpoints.iter().map(|endpoint| &*endpoint.name))
            })
            .map(Cow::Borrowed)
            .collect()
    }
}

impl Object for NodeFacts {
    fn kind(&self) -> &'static str {
        "node"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "id" => Value::text(&self.id),
            "version" => Value::text(&self.version),
            "tenant" => optional(self.tenant.as_deref()),
            "shardingTags" => Value::List(
                self.sharding_tags
                    .iter()
                    .map(|tag| Value::text(tag))
                    .collect(),
            ),
            "zone" => optional(self.zone.as_deref()),
            _ => return None,
        })
    }
}

impl Object for Subscription {
    fn kind(&self) -> &'static str {
        "subscription"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "id" => Value::text(&self.id),
            "type" => Value::text(&self.kind),
            "metadata" => Value::Lookup(&self.metadata),
            "applicationName" => optional(filled(&self.application_name)),
            "clientId" => optional(self.client_id.as_deref()),
            // Only subscriptions to API products have one, and those are not served.
            "apiProductId" => Value::Null,
            _ => return None,
        })
    }
}

/// `properties`: a value may refer to others by `{{name}}`, and is put together when it is read.
impl Lookup for Properties {
    fn get(&self, key: &str) -> Value<'_> {
        self.try_get(key).unwrap_or_default()
    }

    fn contains_key(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.0.keys().map(|key| Cow::Borrowed(&**key)).collect()
    }

    fn try_get(&self, key: &str) -> Result<Value<'_>, ElError> {
        let Some(written) = self.0.get(key) else {
            return Ok(Value::Null);
        };
        if !written.contains("{{") {
            return Ok(Value::text(written));
        }
        let mut text = String::new();
        self.expand(written, &mut text, 0)
            .map_err(ElError::runtime)?;
        Ok(Value::from(text))
    }

    fn converts_keys(&self) -> bool {
        true
    }
}

impl Lookup for BTreeMap<Box<str>, Box<str>> {
    fn get(&self, key: &str) -> Value<'_> {
        self.get(key)
            .map_or(Value::Null, |value| Value::text(value))
    }

    fn contains_key(&self, key: &str) -> bool {
        self.contains_key(key)
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.keys().map(|key| Cow::Borrowed(&**key)).collect()
    }
}

/// `dictionaries`.
impl Lookup for BTreeMap<Box<str>, BTreeMap<Box<str>, Box<str>>> {
    fn get(&self, key: &str) -> Value<'_> {
        self.get(key)
            .map_or(Value::Null, |dictionary| Value::Lookup(dictionary))
    }

    fn contains_key(&self, key: &str) -> bool {
        self.contains_key(key)
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.keys().map(|key| Cow::Borrowed(&**key)).collect()
    }
}

fn optional(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Null, Value::text)
}

fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The parts of a path between its slashes; trailing empty ones are dropped, as `String.split` does.
fn segments(path: &str) -> Value<'_> {
    let mut parts: Vec<&str> = path.split('/').collect();
    while parts.len() > 1 && parts.last() == Some(&"") {
        parts.pop();
    }
    Value::array(parts.into_iter().map(Value::text).collect())
}

/// A body as a map; what is no XML is an empty one.
fn xml_content(body: &Body) -> Value<'static> {
    let bytes = body.bytes().unwrap_or_default();
    xml_to_value(bytes).unwrap_or_else(|| Value::map(Vec::new()))
}

/// A body as text. A body that was not read has none: what reads it was announced before.
fn content(body: &Body) -> Value<'_> {
    match body.bytes() {
        Some(bytes) => Value::Text(String::from_utf8_lossy(bytes)),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Engine, Processing};
    use crate::policy::testing::Bench;
    use crate::snapshot::Platform;

    fn text(value: Value<'_>) -> Option<String> {
        value.into_text().expect("text").map(Cow::into_owned)
    }

    #[test]
    fn an_attribute_of_the_gateway_is_hidden_by_one_that_a_policy_set() {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        assert_eq!(text(exchange.attribute("api")).as_deref(), Some("api"));
        let full = exchange.attribute("gravitee.attribute.api");
        assert_eq!(text(full).as_deref(), Some("api"));
        assert!(exchange.attribute("plan").is_null(), "before security");
        exchange.set_attribute("gravitee.attribute.api", "other".to_owned());
        assert_eq!(text(exchange.attribute("api")).as_deref(), Some("other"));
        exchange.attributes.set("api", Value::text("mine"));
        assert_eq!(text(exchange.attribute("api")).as_deref(), Some("mine"));
        let full = exchange.attribute("gravitee.attribute.api");
        assert_eq!(text(full).as_deref(), Some("other"));
    }

    #[test]
    fn the_keys_of_the_attributes_are_those_that_have_a_value() {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.attributes.set("mine", Value::Null);
        let keys = Lookup::keys(&exchange);
        assert_eq!(keys.first().map(|key| &**key), Some("mine"));
        assert!(
            keys.iter()
                .any(|key| key == "gravitee.attribute.context-path")
        );
        assert!(!keys.iter().any(|key| key == "gravitee.attribute.plan"));
    }

    #[test]
    fn a_request_shows_what_the_contract_lists() {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.body = Body::Buffered(b"hello".to_vec());
        let request = &*exchange.request;
        for (name, expected) in [
            ("id", "request-id"),
            ("transactionId", "transaction-id"),
            ("uri", "/api/orders?a=1"),
            ("path", "/api/orders"),
            ("paths", ",api,orders"),
            ("pathInfo", "/orders"),
            ("contextPath", "/api/"),
            ("method", "GET"),
            ("scheme", "http"),
            ("version", "HTTP_1_1"),
            ("remoteAddress", "10.1.2.3"),
            ("content", "hello"),
        ] {
            let value = request.property(name).expect("a property");
            let found = match value {
                Value::Array(items) => items
                    .iter()
                    .filter_map(Value::as_text)
                    .collect::<Vec<_>>()
                    .join(","),
                other => text(other).expect("text"),
            };
            assert_eq!(found, expected, "{name}");
        }
        assert!(request.property("nope").is_none());
        assert!(request.property("class").is_none());
    }

    #[test]
    fn trailing_empty_segments_are_dropped() {
        for (path, expected) in [("/a/b//", 3), ("", 1), ("/", 1), ("a", 1)] {
            let Value::Array(items) = segments(path) else {
                panic!("no list");
            };
            assert_eq!(items.len(), expected, "{path:?}");
        }
    }

    #[test]
    fn an_unknown_endpoint_is_null_on_v4_and_unknown_on_v2() {
        for (engine, expected) in [
            (Engine::V4, None),
            (Engine::V2Emulation, Some("ref:unknown")),
        ] {
            let mut bench = Bench::with(engine, Processing::default(), Platform::default());
            let exchange = bench.exchange();
            let Value::Lookup(endpoints) = exchange.variable("endpoints") else {
                panic!("no look-up");
            };
            assert_eq!(
                text(endpoints.get("nope")).as_deref(),
                expected,
                "{engine:?}"
            );
        }
    }
}
