//! `cache`: answers from a cache what the backend answered before (contract policies 8.1), and the resources that hold the entries.

mod lifetime;
mod memory;
mod resource;
mod stored;

pub use memory::MemoryCache;
pub use resource::{CacheResource, Lookup};
pub(super) use resource::{MEMORY, REDIS};

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_optional_bool, de_optional_number, de_optional_text, de_text};
use super::pairs;
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Stage, Verdict};
use crate::el::{Overlay, Scope as _, Template};
use crate::error::Failure;
use crate::exchange::{Body, Call, Exchange};
use crate::http::{Known, Method};
use crate::need::{Answer, Need};
use stored::{Format, Stored};

pub(super) const ENTRY: Entry = Entry {
    id: "cache",
    phases: Phases::REQUEST,
    summary: "answers from a cache what the backend answered before",
    members: &[
        "cacheName",
        "key",
        "timeToLiveSeconds",
        "methods",
        "responseCondition",
        "useResponseCacheHeaders",
        "scope",
        "allowRefreshAction",
    ],
    differences: "a response is stored before it is sent on; one above 4 MiB (or gateway.policies.bodyBytesMax, if that is less) is passed on and not stored; an event stream, one whose headers give it no time to live, and one that is no UTF-8 although its type is text, in Redis as TEXT, are not stored either; policy.cache.serialization also knows FRAME, the format of version 4 of the policy",
    build,
};

/// Bytes of a body that is stored.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Header that tells what to do with the cache.
const ACTION_HEADER: &str = "X-Gravitee-Cache";

/// Query parameter that tells it where the header is absent.
const ACTION_PARAMETER: &str = "cache";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    #[serde(deserialize_with = "de_text")]
    cache_name: String,
    #[serde(deserialize_with = "de_optional_text")]
    key: Option<String>,
    #[serde(deserialize_with = "de_optional_number")]
    time_to_live_seconds: Option<i64>,
    methods: Option<Vec<String>>,
    #[serde(deserialize_with = "de_optional_text")]
    response_condition: Option<String>,
    #[serde(deserialize_with = "de_bool")]
    use_response_cache_headers: bool,
    scope: Option<CacheScope>,
    #[serde(deserialize_with = "de_optional_bool")]
    allow_refresh_action: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum CacheScope {
    Api,
    #[default]
    Application,
}

#[derive(Debug)]
struct Cache {
    name: Box<str>,
    /// The resource; `None` when the API has none of this name: the reference answers requests with 500.
    resource: Option<Arc<CacheResource>>,
    key: Option<Template>,
    ttl_seconds: u64,
    methods: Box<[Method]>,
    condition: Option<Template>,
    use_response_headers: bool,
    scope: CacheScope,
    allow_refresh: bool,
    /// How entries of a shared cache are written.
    format: Format,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let mut methods = Vec::new();
    for (index, name) in configuration.methods.iter().flatten().enumerate() {
        match Method::of(name.to_ascii_uppercase().as_bytes()) {
            Method::Other => {
                return Err(ConfigError::new(
                    format!("methods[{index}]"),
                    format!("a method such as GET, not {name:?}"),
                ));
            }
            method => methods.push(method),
        }
    }
    if methods.is_empty() {
        methods = vec![Method::Get, Method::Options, Method::Head];
    }
    let setting = builder.gateway.settings.get("policy.cache.serialization");
    let format = Format::of(setting.map_or("", |setting| setting))
        .ok_or_else(|| ConfigError::new("", "policy.cache.serialization: TEXT, BINARY or FRAME"))?;
    Ok(Arc::new(Cache {
        resource: builder
            .resources
            .get(&*configuration.cache_name)
            .and_then(|resource| resource.get()),
        name: configuration.cache_name.into(),
        key: pairs::template(configuration.key),
        ttl_seconds: u64::try_from(configuration.time_to_live_seconds.unwrap_or(600)).unwrap_or(0),
        methods: methods.into(),
        condition: pairs::template(configuration.response_condition),
        use_response_headers: configuration.use_response_cache_headers,
        scope: configuration.scope.unwrap_or_default(),
        allow_refresh: configuration.allow_refresh_action.unwrap_or(true),
        format,
    }))
}

/// What the client asks of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Nothing special.
    Use,
    /// A new answer, which is stored.
    Refresh,
    /// No caching.
    ByPass,
}

/// What is kept around the call.
#[derive(Debug)]
struct Around {
    refresh: bool,
    key: String,
    /// The entry was served: there is nothing to store.
    served: bool,
}

/// Reads what the client asks, and takes it off the request.
fn action(exchange: &mut Exchange<'_>) -> Action {
    let request = &mut exchange.request;
    let text = match request.headers.text(ACTION_HEADER) {
        Some(text) => {
            let text = text.to_owned();
            request.headers.remove(ACTION_HEADER);
            text
        }
        None => match request.parameter(ACTION_PARAMETER) {
            Some(text) => {
                let text = crate::http::query::decode(text.as_bytes()).into_owned();
                request.remove_parameter(ACTION_PARAMETER);
                text
            }
            None => return Action::Use,
        },
    };
    match text.trim().to_ascii_uppercase().as_str() {
        "REFRESH" => Action::Refresh,
        "BY_PASS" => Action::ByPass,
        _ => Action::Use,
    }
}

/// Java's hash of a text, over its UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The query as part of a key: `name=[v1, v2]` after each other, names and values in order.
fn parameters(exchange: &Exchange<'_>) -> String {
    use std::collections::BTreeMap;
    let mut sorted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, value) in exchange.request.parameters() {
        sorted.entry(name).or_default().push(value);
    }
    let mut text = String::new();
    for (name, mut values) in sorted {
        values.sort_unstable();
        text.push_str(&name);
        text.push_str("=[");
        text.push_str(&values.join(", "));
        text.push(']');
    }
    text
}

impl Cache {
    fn key(
        &self,
        resource: &CacheResource,
        exchange: &Exchange<'_>,
    ) -> Result<String, Box<Failure>> {
        let separator = resource.separator();
        let mut key = String::with_capacity(128);
        key.push_str(&exchange.api.id);
        key.push(separator);
        if self.scope == CacheScope::Application {
            key.push_str(&exchange.application_id);
            key.push(separator);
        }
        let path = java_hash(&exchange.request.path);
        let query = java_hash(&parameters(exchange));
        key.push_str(&format!("{path}{separator}{query}"));
        if let Some(own) = &self.key {
            let text = own
                .eval_text(exchange)
                .map_err(|error| Box::new(Failure::internal().because(format!("key: {error}"))))?;
            key.push(separator);
            key.push_str(&text.unwrap_or_default());
        }
        Ok(key)
    }

    /// Serves an entry: true when it could be read.
    fn serve(&self, exchange: &mut Exchange<'_>, entry: &[u8]) -> bool {
        let Some(stored) = Stored::read(entry, self.format) else {
            return false;
        };
        if let Some(around) = exchange.carried::<Around>() {
            around.served = true;
        }
        let response = &mut exchange.response;
        response.answer(stored.status);
        for (name, value) in &stored.headers {
            let known = Known::of(name.as_bytes());
            if !known.is_framing() && !known.is_hop_by_hop() {
                let _ = response.headers.add(name, value);
            }
        }
        response.body = Body::Buffered(stored.body);
        true
    }

    fn forget(&self, exchange: &mut Exchange<'_>, resource: &CacheResource, key: &str) {
        let errand = resource.evict(exchange.api, key);
        exchange.detached.extend(errand);
    }

    /// Whether the answer is to be stored; its condition sees it as `upstreamResponse`.
    fn is_stored(&self, exchange: &Exchange<'_>) -> bool {
        match &self.condition {
            None => (200..300).contains(&exchange.response.status),
            Some(condition) => {
                let extra = [("upstreamResponse", exchange.variable("response"))];
                let scope = Overlay {
                    base: exchange,
                    extra: &extra,
                };
                matches!(condition.eval_bool(&scope), Ok(Some(true)))
            }
        }
    }

    /// The life of an entry, seconds, 0 for no limit; `None` when the answer says that it has none.
    fn ttl_seconds(&self, exchange: &Exchange<'_>) -> Option<u64> {
        if !self.use_response_headers {
            return Some(self.ttl_seconds);
        }
        let headers = &exchange.response.headers;
        let own = headers
            .text("cache-control")
            .and_then(lifetime::cache_control_seconds)
            .or_else(|| {
                headers
                    .text("expires")
                    .and_then(|value| lifetime::expires_seconds(value, exchange.now_ms))
            });
        match own {
            Some(0) => None,
            Some(own) if self.ttl_seconds == 0 => Some(own),
            Some(own) => Some(own.min(self.ttl_seconds)),
            None => Some(self.ttl_seconds),
        }
    }

    fn store(&self, exchange: &mut Exchange<'_>) {
        let (Some(resource), Some(ttl_seconds)) = (&self.resource, self.ttl_seconds(exchange))
        else {
            return;
        };
        let response = &exchange.response;
        let Some(body) = response.body.bytes().filter(|b| b.len() <= BODY_BYTES_MAX) else {
            return;
        };
        let stored = Stored {
            status: response.status,
            headers: response
                .received()
                .filter(|field| !field.known.is_hop_by_hop() && !field.known.is_framing())
                .map(|field| {
                    let name = String::from_utf8_lossy(field.name).into_owned();
                    (name, field.value.to_vec())
                })
                .collect(),
            body: body.to_vec(),
        };
        let format = if resource.is_remote() {
            self.format
        } else {
            Format::Frame
        };
        let Some(entry) = stored.write(format) else {
            return;
        };
        let Some(key) = exchange
            .carried::<Around>()
            .map(|around| std::mem::take(&mut around.key))
        else {
            return;
        };
        let ttl_ms = ttl_seconds.saturating_mul(1_000);
        let errand = resource.put(exchange.api, &key, entry.into(), ttl_ms, exchange.now_ms);
        exchange.detached.extend(errand);
    }
}

/// Whether the body comes bit by bit, for a client that reads along.
fn is_event_stream(exchange: &Exchange<'_>) -> bool {
    let content_type = exchange.response.headers.text("content-type");
    content_type
        .and_then(|content_type| content_type.get(..17))
        .is_some_and(|start| start.eq_ignore_ascii_case("text/event-stream"))
}

impl Policy for Cache {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        let needs = self.key.as_ref().map(Template::needs).unwrap_or_default();
        pairs::needs_in(phase, needs)
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let action = match action(exchange) {
            Action::ByPass => return Verdict::Continue,
            Action::Refresh if !self.allow_refresh => Action::Use,
            action => action,
        };
        if !self.methods.contains(&exchange.request.method) {
            return Verdict::Continue;
        }
        if self.resource.is_none() {
            return Verdict::fail(
                Failure::status(500)
                    .saying(format!("No cache has been defined with name {}", self.name)),
            );
        }
        Verdict::Wrap(Some(Box::new(Around {
            refresh: action == Action::Refresh,
            key: String::new(),
            served: false,
        })))
    }

    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Some(resource) = &self.resource else {
            return Verdict::Continue;
        };
        let key = match self.key(resource, exchange) {
            Ok(key) => key,
            Err(failure) => return Verdict::Fail(failure),
        };
        let Some(around) = exchange.carried::<Around>() else {
            return Verdict::Continue;
        };
        around.key.clone_from(&key);
        around.served = false;
        if around.refresh {
            return Verdict::Continue;
        }
        match resource.get(exchange.api, &key, exchange.now_ms) {
            Lookup::Missing => Verdict::Continue,
            Lookup::Ask(errand) => Verdict::Await(Need::Errand(Box::new(errand))),
            Lookup::Found(entry) => {
                if self.serve(exchange, &entry) {
                    return Verdict::Interrupt;
                }
                self.forget(exchange, resource, &key);
                Verdict::Continue
            }
        }
    }

    fn after_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let served = exchange
            .carried::<Around>()
            .is_none_or(|around| around.served);
        if served || !matches!(exchange.call, Call::Answered) || !self.is_stored(exchange) {
            return Verdict::Continue;
        }
        if exchange.response.body.is_streaming() {
            if is_event_stream(exchange) || self.ttl_seconds(exchange).is_none() {
                return Verdict::Continue;
            }
            return Verdict::Await(Need::SmallResponseBody {
                bytes_max: BODY_BYTES_MAX,
            });
        }
        self.store(exchange);
        Verdict::Continue
    }

    fn resume(&self, stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        match (stage, answer) {
            (Stage::BeforeCall, Answer::Cache(Some(entry))) => {
                if self.serve(exchange, &entry) {
                    return Verdict::Interrupt;
                }
                let key = exchange
                    .carried::<Around>()
                    .map(|around| around.key.clone());
                if let (Some(resource), Some(key)) = (&self.resource, key) {
                    self.forget(exchange, resource, &key);
                }
            }
            // Which stores nothing of a body that turned out too large and streams on.
            (Stage::AfterCall, _) => self.store(exchange),
            _ => {}
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests;
