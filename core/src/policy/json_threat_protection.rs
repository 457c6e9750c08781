//! `json-threat-protection`: limits on JSON request bodies (contract policies 14).

use std::sync::Arc;

use serde::Deserialize;

use super::json_scan::{JsonLimits, JsonThreat, scan};
use super::lenient::{de_bool, de_number};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::error::Failure;
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "json-threat-protection",
    phases: Phases::REQUEST,
    summary: "limits on JSON request bodies",
    members: &[
        "maxEntries",
        "maxArraySize",
        "maxDepth",
        "maxNameLength",
        "maxValueLength",
        "preventDuplicateKey",
        "enforceJson",
    ],
    differences: "maxValueLength bounds numbers, too",
    build,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default = "hundred", deserialize_with = "de_number")]
    max_entries: i64,
    #[serde(default = "hundred", deserialize_with = "de_number")]
    max_array_size: i64,
    #[serde(default = "hundred", deserialize_with = "de_number")]
    max_depth: i64,
    #[serde(default = "hundred", deserialize_with = "de_number")]
    max_name_length: i64,
    #[serde(default = "hundred", deserialize_with = "de_number")]
    max_value_length: i64,
    #[serde(default = "yes", deserialize_with = "de_bool")]
    prevent_duplicate_key: bool,
    #[serde(default = "yes", deserialize_with = "de_bool")]
    enforce_json: bool,
}

fn hundred() -> i64 {
    100
}

fn yes() -> bool {
    true
}

#[derive(Debug)]
struct JsonThreatProtection {
    limits: JsonLimits,
    enforce: bool,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    // A negative number sets no limit.
    let limit = |number: i64| usize::try_from(number).ok();
    Ok(Arc::new(JsonThreatProtection {
        limits: JsonLimits {
            entries_max: limit(configuration.max_entries),
            array_max: limit(configuration.max_array_size),
            depth_max: limit(configuration.max_depth),
            name_max: limit(configuration.max_name_length),
            value_max: limit(configuration.max_value_length),
            unique_names: configuration.prevent_duplicate_key,
        },
        enforce: configuration.enforce_json,
    }))
}

fn key(threat: JsonThreat) -> &'static str {
    match threat {
        JsonThreat::Syntax(_) | JsonThreat::DuplicateName => "JSON_THREAT_DETECTED",
        JsonThreat::Depth => "JSON_THREAT_MAX_DEPTH",
        JsonThreat::Entries => "JSON_THREAT_MAX_ENTRIES",
        JsonThreat::ArraySize => "JSON_MAX_ARRAY_SIZE",
        JsonThreat::NameLength => "JSON_THREAT_MAX_NAME_LENGTH",
        JsonThreat::ValueLength => "JSON_THREAT_MAX_VALUE_LENGTH",
    }
}

/// Whether a media type is JSON: `application/json` or one of its kin (`+json`).
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence
            .get(essence.len().saturating_sub(5)..)
            .is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
}

impl Policy for JsonThreatProtection {
    fn body_needs(&self, _phase: Phase) -> BodyNeeds {
        BodyNeeds {
            request_body: true,
            response_body: false,
        }
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let body = match exchange.request.body.bytes() {
            None | Some([]) => return Verdict::Continue,
            Some(body) => body,
        };
        if !exchange
            .request
            .headers
            .text("Content-Type")
            .is_some_and(is_json)
        {
            return if self.enforce {
                Verdict::fail(Failure::policy(
                    400,
                    "JSON_THREAT_ENFORCE_JSON",
                    "Bad Request",
                ))
            } else {
                Verdict::Continue
            };
        }
        match scan(body, &self.limits) {
            Ok(()) => Verdict::Continue,
            Err(threat) => Verdict::fail(
                Failure::policy(400, key(threat), "Bad Request").because(threat.to_string()),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Body;
    use crate::policy::testing::{Bench, build};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// The key of the failure, empty when the request passes.
    fn refused(configuration: &Value, media_type: &str, body: &[u8]) -> String {
        let policy = build("json-threat-protection", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        if !media_type.is_empty() {
            exchange
                .request
                .headers
                .add("Content-Type", media_type)
                .expect("a field");
        }
        exchange.request.body = Body::Buffered(body.to_vec());
        match policy.on_request(&mut exchange) {
            Verdict::Continue => String::new(),
            Verdict::Fail(failure) => {
                assert_eq!(
                    (failure.status, failure.message.as_deref()),
                    (400, Some("Bad Request"))
                );
                failure.key_str().to_owned()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_beyond_a_limit_is_refused_with_the_key_of_the_limit() {
        let five = json!({"maxEntries": 5, "maxArraySize": "5", "maxDepth": 5, "maxNameLength": 5, "maxValueLength": 5});
        let mut free = five.clone();
        free["preventDuplicateKey"] = json!(false);
        let none = json!({"maxEntries": -1, "maxArraySize": -1, "maxDepth": -1, "maxNameLength": -1, "maxValueLength": -1});
        for (configuration, body, expected) in [
            (&five, r#"{"a":"b"}"#, ""),
            (&five, "", ""),
            (&five, r#"{"a":1,"a":2}"#, "JSON_THREAT_DETECTED"),
            (&free, r#"{"a":1,"a":2}"#, ""),
            (&five, "{nope", "JSON_THREAT_DETECTED"),
            (&five, r#"{"too-long":1}"#, "JSON_THREAT_MAX_NAME_LENGTH"),
            (&five, r#"{"a":"too long"}"#, "JSON_THREAT_MAX_VALUE_LENGTH"),
            (&five, "[1,2,3,4,5,6]", "JSON_MAX_ARRAY_SIZE"),
            (
                &five,
                r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}"#,
                "JSON_THREAT_MAX_ENTRIES",
            ),
            (&five, "[[[[[[]]]]]]", "JSON_THREAT_MAX_DEPTH"),
            (
                &none,
                r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":[[[[[[1,2,3,4,5,6]]]]]]}"#,
                "",
            ),
            (&json!(null), r#"{"a":"b"}"#, ""),
        ] {
            assert_eq!(
                refused(configuration, "application/json", body.as_bytes()),
                expected,
                "{configuration} {body}"
            );
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(101));
        assert_eq!(
            refused(&json!(null), "application/json", long.as_bytes()),
            "JSON_THREAT_MAX_VALUE_LENGTH"
        );
    }

    #[test]
    fn what_is_not_announced_as_json_is_refused_when_json_is_enforced() {
        for (enforce, media_type, body, expected) in [
            (true, "application/xml", "<a/>", "JSON_THREAT_ENFORCE_JSON"),
            (true, "", "{}", "JSON_THREAT_ENFORCE_JSON"),
            (true, "application/xml", "", ""),
            (false, "application/xml", "<a/>", ""),
            (
                false,
                "application/json; charset=utf-8",
                "<a/>",
                "JSON_THREAT_DETECTED",
            ),
            (true, "application/problem+JSON", "{}", ""),
        ] {
            assert_eq!(
                refused(
                    &json!({"enforceJson": enforce}),
                    media_type,
                    body.as_bytes()
                ),
                expected,
                "{enforce} {media_type} {body}"
            );
        }
    }

    #[test]
    fn the_collected_samples_are_understood() {
        crate::policy::testing::builds_samples("json-threat-protection", &[]);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_names_its_member() {
        for member in [
            "maxEntries",
            "maxArraySize",
            "maxDepth",
            "maxNameLength",
            "maxValueLength",
            "preventDuplicateKey",
            "enforceJson",
        ] {
            let error =
                build("json-threat-protection", &json!({member: "much"})).expect_err("unreadable");
            assert_eq!(error.member, member);
        }
    }

    proptest! {
        #[test]
        fn bodies_of_any_bytes_are_judged(body in prop::collection::vec(any::<u8>(), 0..200)) {
            refused(&json!(null), "application/json", &body);
        }
    }
}
