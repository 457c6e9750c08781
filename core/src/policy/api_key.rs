//! `api-key`: lets requests with a valid API key through (contract policies 3), as a step of a flow. As security of a plan it is part of
//! the chain itself; what is found in a request and which keys are good is decided by the same code.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_optional_text};
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::definition::{ApiKeyPlan, ApiKeySource};
use crate::error::{ErrorKey, Failure};
use crate::exchange::Exchange;
use crate::report::SecurityType;
use crate::security::{self, ApiKeySettings};

pub(super) const ENTRY: Entry = Entry {
    id: "api-key",
    phases: Phases::REQUEST,
    summary: "lets requests with a valid API key through",
    members: &["apiKeyHeader", "propagateApiKey", "source"],
    differences: "",
    build,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default, deserialize_with = "de_bool")]
    propagate_api_key: bool,
    #[serde(default, deserialize_with = "de_optional_text")]
    api_key_header: Option<String>,
    #[serde(default)]
    source: Option<Source>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Source {
    Header,
    Bearer,
    QueryParameter,
}

#[derive(Debug)]
struct ApiKey {
    place: ApiKeyPlan,
    settings: ApiKeySettings,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let Configuration {
        propagate_api_key,
        api_key_header,
        source,
    } = builder.configuration()?;
    Ok(Arc::new(ApiKey {
        place: ApiKeyPlan {
            header: api_key_header
                .filter(|name| !name.trim().is_empty())
                .map(String::into_boxed_str),
            source: match source {
                None | Some(Source::Header) => ApiKeySource::Header,
                Some(Source::Bearer) => ApiKeySource::Bearer,
                Some(Source::QueryParameter) => ApiKeySource::QueryParameter,
            },
            propagate: propagate_api_key,
        },
        settings: settings(&builder.gateway.settings),
    }))
}

/// The gateway's own names; an empty one switches its place off.
fn settings(settings: &HashMap<String, String>) -> ApiKeySettings {
    let default = ApiKeySettings::default();
    let name = |setting: &str, default: Option<Box<str>>| match settings.get(setting) {
        None => default,
        Some(name) if name.trim().is_empty() => None,
        Some(name) => Some(name.trim().into()),
    };
    ApiKeySettings {
        header: name("policy.api-key.header", default.header),
        parameter: name("policy.api-key.param", default.parameter),
        ..ApiKeySettings::default()
    }
}

impl ApiKey {
    fn judge(&self, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
        let subscriptions = exchange.subscriptions;
        let found = {
            let request = &*exchange.request;
            let presented = exchange
                .api_key
                .as_deref()
                .map(str::as_bytes)
                .or_else(|| security::extract(&self.place, &self.settings, request))
                .ok_or_else(|| Failure::of(ErrorKey::ApiKeyMissing))?;
            std::str::from_utf8(presented)
                .ok()
                .and_then(|text| subscriptions.keys.get_key_value(text))
        };
        let invalid = |cause: &str| Failure::of(ErrorKey::ApiKeyInvalid).because(cause);
        let (text, key) = found.ok_or_else(|| invalid("the API key is unknown or revoked"))?;
        let subscription = &*key.subscription;
        exchange.application_id = Cow::Borrowed(&subscription.application_id);
        exchange.subscription_id = Cow::Borrowed(&subscription.id);
        exchange.subscription = Some(subscription);
        let api = exchange.api;
        if let Some(plan) = api
            .plans
            .iter()
            .find(|plan| plan.id == subscription.plan_id)
        {
            exchange.plan = Some(plan);
        }
        exchange.api_key = Some(Cow::Borrowed(text));
        exchange.security_type = SecurityType::ApiKey;
        exchange.security_token = Cow::Borrowed(text);
        let now_ms = exchange.request.timestamp_ms;
        if key.expire_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return Err(invalid("the API key has expired"));
        }
        Ok(())
    }
}

impl Policy for ApiKey {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let judged = self.judge(exchange);
        security::strip_key(exchange, security::strip(&self.place, &self.settings));
        match judged {
            Ok(()) => Verdict::Continue,
            Err(failure) => Verdict::fail(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Subscription;
    use crate::policy::testing::{Bench, build, build_with_settings, failure};
    use serde_json::{Value, json};

    fn bench() -> Bench {
        let mut bench = Bench::new();
        let mut subscriptions = crate::definition::Subscriptions::default();
        for (text, expire_at_ms) in [("good", None), ("old", Some(1))] {
            subscriptions.keys.insert(
                text.into(),
                crate::definition::ApiKey {
                    subscription: Arc::new(Subscription {
                        id: "subscription".into(),
                        plan_id: "plan".into(),
                        application_id: "application".into(),
                        ..Subscription::default()
                    }),
                    expire_at_ms,
                },
            );
        }
        bench.deployed.subscriptions = Arc::new(subscriptions);
        bench
    }

    #[test]
    fn a_step_judges_the_key_and_takes_it_out_of_the_request() {
        for (configuration, header, query, expected) in [
            (json!({}), Some(("X-Gravitee-Api-Key", "good")), "", Ok(())),
            (json!(null), None, "api-key=good&a=1", Ok(())),
            (
                json!({"apiKeyHeader": "X-Own"}),
                Some(("X-Own", "good")),
                "",
                Ok(()),
            ),
            (
                json!({"source": "BEARER"}),
                Some(("Authorization", "bearer good")),
                "",
                Ok(()),
            ),
            (
                json!({"source": "QUERY_PARAMETER"}),
                None,
                "api-key=good",
                Ok(()),
            ),
            (
                json!({"source": "QUERY_PARAMETER"}),
                Some(("X-Gravitee-Api-Key", "good")),
                "",
                Err("API_KEY_MISSING"),
            ),
            (json!({}), None, "", Err("API_KEY_MISSING")),
            (
                json!({}),
                Some(("X-Gravitee-Api-Key", "")),
                "",
                Err("API_KEY_INVALID"),
            ),
            (
                json!({}),
                Some(("X-Gravitee-Api-Key", "old")),
                "",
                Err("API_KEY_INVALID"),
            ),
            (
                json!({}),
                Some(("X-Gravitee-Api-Key", "unknown")),
                "",
                Err("API_KEY_INVALID"),
            ),
        ] {
            let policy = build("api-key", &configuration).expect("a policy");
            let mut bench = bench();
            let mut exchange = bench.exchange();
            exchange.request.query = query.to_owned();
            if let Some((name, value)) = header {
                exchange.request.headers.set(name, value).expect("a header");
            }
            match (policy.on_request(&mut exchange), expected) {
                (Verdict::Continue, Ok(())) => {
                    assert_eq!(exchange.application_id, "application", "{configuration}");
                    if let Some((name, _)) = header {
                        assert!(!exchange.request.headers.contains(name), "{configuration}");
                    }
                    assert!(exchange.request.parameter("api-key").is_none());
                }
                (verdict, Err(key)) => {
                    let failure = failure(verdict);
                    assert_eq!((failure.status, failure.key_str()), (401, key));
                    assert_eq!(failure.message.as_deref(), Some("Unauthorized"));
                }
                (verdict, _) => panic!("{configuration}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn the_gateway_names_the_places_and_may_switch_them_off() {
        for (name, value, header, query, granted) in [
            ("policy.api-key.header", "X-K", "X-K", "", true),
            ("policy.api-key.header", "", "X-Gravitee-Api-Key", "", false),
            ("policy.api-key.param", "k", "X-None", "k=good", true),
            ("policy.api-key.param", "", "X-None", "api-key=good", false),
        ] {
            let policy =
                build_with_settings("api-key", &Value::Null, &[(name, value)]).expect("a policy");
            let mut bench = bench();
            let mut exchange = bench.exchange();
            exchange.request.query = query.to_owned();
            if query.is_empty() {
                exchange
                    .request
                    .headers
                    .set(header, "good")
                    .expect("a header");
            }
            let verdict = policy.on_request(&mut exchange);
            assert_eq!(
                matches!(verdict, Verdict::Continue),
                granted,
                "{name} {value}"
            );
        }
    }

    #[test]
    fn a_key_may_be_handed_on() {
        let policy = build("api-key", &json!({"propagateApiKey": true})).expect("a policy");
        let mut bench = bench();
        let mut exchange = bench.exchange();
        exchange
            .request
            .headers
            .set("X-Gravitee-Api-Key", "good")
            .expect("a header");
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
        assert!(exchange.request.headers.contains("X-Gravitee-Api-Key"));
    }
}
