//! `json-validation`: checks bodies against a JSON schema (contract policies 13).

use std::fmt;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Validator};
use serde::Deserialize;
use serde_json::Value;

use super::lenient::{de_bool, de_optional_text};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::el::Template;
use crate::error::Failure;
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "json-validation",
    phases: Phases::BOTH,
    summary: "checks bodies against a JSON schema",
    members: &[
        "scope",
        "errorMessage",
        "schema",
        "schemaSource",
        "validateUnchecked",
        "deepCheck",
        "straightRespondMode",
    ],
    differences: "a schema that refers to another document is refused; returnDetailedErrorReport has no effect",
    build,
};

/// Steps back that a `pattern` may take on one text.
const BACKTRACKS_MAX: usize = 100_000;
/// Errors that the report of one body names.
const REPORTED_MAX: usize = 5;
/// Bytes of that report.
const REPORT_BYTES_MAX: usize = 2_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    scope: Option<Scope>,
    #[serde(default, deserialize_with = "de_optional_text")]
    error_message: Option<String>,
    #[serde(default, deserialize_with = "de_optional_text")]
    schema: Option<String>,
    #[serde(default)]
    schema_source: Option<SchemaSource>,
    #[serde(default, deserialize_with = "de_bool")]
    straight_respond_mode: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Scope {
    #[serde(alias = "REQUEST")]
    RequestContent,
    #[serde(alias = "RESPONSE")]
    ResponseContent,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaSource {
    #[serde(default)]
    source_type: Option<SourceType>,
    #[serde(default, deserialize_with = "de_optional_text")]
    static_schema: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum SourceType {
    StaticSchema,
    SchemaRegistryResource,
}

struct JsonValidation {
    /// A schema that is none fails every check, as in the reference.
    schema: Result<Validator, Box<str>>,
    message: Option<Template>,
    straight: bool,
    /// The one phase in which the old engine runs it; the others run it wherever it stands.
    only: Option<Phase>,
}

impl fmt::Debug for JsonValidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonValidation")
            .field("schema", &self.schema.as_ref().map(|_| ()))
            .field("straight", &self.straight)
            .finish_non_exhaustive()
    }
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let (member, text) = match configuration.schema_source {
        Some(source) if source.source_type == Some(SourceType::SchemaRegistryResource) => {
            return Err(ConfigError::new(
                "schemaSource.sourceType",
                "schema registries are not supported",
            ));
        }
        Some(source) if source.static_schema.is_some() => {
            ("schemaSource.staticSchema", source.static_schema)
        }
        _ => ("schema", configuration.schema),
    };
    let text = text.ok_or_else(|| ConfigError::new(member, "a schema is required"))?;
    let scope = configuration.scope.unwrap_or(Scope::RequestContent);
    Ok(Arc::new(JsonValidation {
        schema: compile(member, &text)?,
        message: configuration
            .error_message
            .filter(|message| !message.is_empty())
            .map(|message| Template::new(&message)),
        straight: configuration.straight_respond_mode,
        only: builder.legacy_engine.then_some(match scope {
            Scope::RequestContent => Phase::Request,
            Scope::ResponseContent => Phase::Response,
        }),
    }))
}

/// Every schema is read as draft 4, whatever it says, because the reference knows no newer one: keywords of later drafts say nothing.
fn compile(member: &str, text: &str) -> Result<Result<Validator, Box<str>>, ConfigError> {
    let mut schema: Value = match serde_json::from_str(text) {
        Ok(schema) => schema,
        Err(error) => return Ok(Err(error.to_string().into())),
    };
    if let Some(reference) = outside_reference(&schema) {
        return Err(ConfigError::new(
            member,
            format!("the reference {reference:?} leads to another document"),
        ));
    }
    if let Value::Object(members) = &mut schema {
        members.remove("$schema");
    }
    let compiled = jsonschema::options()
        .with_draft(Draft::Draft4)
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS_MAX))
        .build(&schema);
    Ok(compiled.map_err(|error| error.to_string().into()))
}

/// A `$ref` that does not stay inside the schema.
fn outside_reference(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(members) => members.iter().find_map(|(name, value)| match value {
            Value::String(text) if name == "$ref" => {
                (!text.starts_with('#')).then_some(text.as_str())
            }
            // What is listed here are values, not schemas.
            _ if name == "enum" || name == "default" => None,
            value => outside_reference(value),
        }),
        Value::Array(items) => items.iter().find_map(outside_reference),
        _ => None,
    }
}

/// Why a body is refused.
enum Fault {
    /// It does not fit the schema.
    Invalid(String),
    /// It is not JSON, or the schema is none.
    Unreadable(String),
}

impl JsonValidation {
    fn check(&self, body: &[u8]) -> Result<(), Fault> {
        let unreadable = |error: serde_json::Error| Fault::Unreadable(error.to_string());
        let body: Value = serde_json::from_slice(body).map_err(unreadable)?;
        let schema = self
            .schema
            .as_ref()
            .map_err(|error| Fault::Unreadable(format!("the schema is none: {error}")))?;
        if schema.is_valid(&body) {
            return Ok(());
        }
        let mut report = String::new();
        for error in schema.iter_errors(&body).take(REPORTED_MAX) {
            if !report.is_empty() {
                report.push_str("; ");
            }
            // Where, not what: values of the body stay out of reports.
            let path = error.instance_path().to_string();
            report.push_str(if path.is_empty() { "/" } else { &path });
            report.push_str(": ");
            report.push_str(&error.schema_path().to_string());
        }
        let end = (0..=REPORT_BYTES_MAX.min(report.len()))
            .rev()
            .find(|end| report.is_char_boundary(*end))
            .unwrap_or_default();
        report.truncate(end);
        Err(Fault::Invalid(report))
    }

    fn fail(
        &self,
        exchange: &Exchange<'_>,
        status: u16,
        key: &'static str,
        default: &'static str,
        cause: String,
    ) -> Verdict {
        let message = match &self.message {
            None => None,
            Some(template) => match template.eval_text(exchange) {
                Ok(message) => message.map(std::borrow::Cow::into_owned),
                Err(error) => {
                    return Verdict::fail(
                        Failure::internal().because(format!("errorMessage: {error}")),
                    );
                }
            },
        };
        let mut failure = Failure::policy(status, key, default).because(cause);
        failure.is_json = true;
        if let Some(message) = message {
            failure = failure.saying(message);
        }
        Verdict::fail(failure)
    }
}

impl Policy for JsonValidation {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        if self.only.is_some_and(|only| only != phase) {
            return BodyNeeds::default();
        }
        let own = BodyNeeds {
            request_body: phase == Phase::Request,
            response_body: phase == Phase::Response,
        };
        self.message
            .as_ref()
            .map_or(own, |message| own.and(message.needs()))
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self.only == Some(Phase::Response) {
            return Verdict::Continue;
        }
        let checked = match exchange.request.body.bytes() {
            None | Some([]) => return Verdict::Continue,
            Some(body) => self.check(body),
        };
        let (key, cause) = match checked {
            Ok(()) => return Verdict::Continue,
            Err(Fault::Invalid(cause)) => ("JSON_INVALID_PAYLOAD", cause),
            Err(Fault::Unreadable(cause)) => ("JSON_INVALID_FORMAT", cause),
        };
        self.fail(exchange, 400, key, "Bad Request", cause)
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self.only == Some(Phase::Request) {
            return Verdict::Continue;
        }
        let checked = match exchange.response.body.bytes() {
            None | Some([]) => return Verdict::Continue,
            Some(body) => self.check(body),
        };
        // The two keys are exchanged in the reference; response templates rely on it.
        let (key, cause) = match checked {
            Ok(()) => return Verdict::Continue,
            Err(Fault::Invalid(cause)) => ("JSON_INVALID_RESPONSE_FORMAT", cause),
            Err(Fault::Unreadable(cause)) => ("JSON_INVALID_RESPONSE_PAYLOAD", cause),
        };
        if self.straight {
            exchange.warn(key, cause);
            return Verdict::Continue;
        }
        self.fail(exchange, 500, key, "Internal Error", cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Body;
    use crate::policy::testing::{Bench, build};
    use proptest::prelude::*;
    use serde_json::json;

    const SCHEMA: &str = r#"{"$schema":"http://json-schema.org/draft-04/schema#","type":"object",
        "properties":{"name":{"type":"string","pattern":"^[a-z]+$"},"age":{"type":"integer","minimum":0,"exclusiveMinimum":true}},"required":["name"]}"#;

    fn run(configuration: &Value, phase: Phase, body: &[u8]) -> Option<Failure> {
        let policy = build("json-validation", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let verdict = match phase {
            Phase::Request => {
                exchange.request.body = Body::Buffered(body.to_vec());
                policy.on_request(&mut exchange)
            }
            Phase::Response => {
                exchange.response.body = Body::Buffered(body.to_vec());
                policy.on_response(&mut exchange)
            }
        };
        match verdict {
            Verdict::Continue => None,
            Verdict::Fail(failure) => Some(*failure),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bodies_are_checked_with_the_keys_of_their_phase() {
        let plain = json!({"schema": SCHEMA});
        let source =
            json!({"schemaSource": {"sourceType": "STATIC_SCHEMA", "staticSchema": SCHEMA}});
        let straight = json!({"schema": SCHEMA, "straightRespondMode": true});
        let broken = json!({"schema": "{nope"});
        let wrong = json!({"schema": r#"{"type": 5}"#});
        let broken_straight = json!({"schema": "{nope", "straightRespondMode": true});
        use Phase::{Request, Response};
        for (configuration, phase, body, status, key) in [
            (&plain, Request, r#"{"name":"a","age":1}"#, 0, ""),
            (&source, Request, r#"{"name":"a"}"#, 0, ""),
            (&plain, Request, "", 0, ""),
            (&plain, Request, r#"{"age":1}"#, 400, "JSON_INVALID_PAYLOAD"),
            (
                &source,
                Request,
                r#"{"age":1}"#,
                400,
                "JSON_INVALID_PAYLOAD",
            ),
            (
                &plain,
                Request,
                r#"{"name":"a","age":0}"#,
                400,
                "JSON_INVALID_PAYLOAD",
            ),
            (
                &plain,
                Request,
                r#"{"name":"A"}"#,
                400,
                "JSON_INVALID_PAYLOAD",
            ),
            (&plain, Request, "[]", 400, "JSON_INVALID_PAYLOAD"),
            (&plain, Request, "{nope", 400, "JSON_INVALID_FORMAT"),
            (&broken, Request, "{}", 400, "JSON_INVALID_FORMAT"),
            (&wrong, Request, "{}", 400, "JSON_INVALID_FORMAT"),
            (&plain, Response, r#"{"name":"a"}"#, 0, ""),
            (&plain, Response, "{}", 500, "JSON_INVALID_RESPONSE_FORMAT"),
            (
                &plain,
                Response,
                "{nope",
                500,
                "JSON_INVALID_RESPONSE_PAYLOAD",
            ),
            (
                &broken,
                Response,
                "{}",
                500,
                "JSON_INVALID_RESPONSE_PAYLOAD",
            ),
            (&straight, Response, "{}", 0, ""),
            (&broken_straight, Response, "{}", 0, ""),
            (&straight, Request, "{}", 400, "JSON_INVALID_PAYLOAD"),
        ] {
            let failure = run(configuration, phase, body.as_bytes());
            assert_eq!(
                failure.as_ref().map_or(0, |failure| failure.status),
                status,
                "{configuration} {phase:?} {body}"
            );
            assert_eq!(
                failure.as_ref().map_or("", Failure::key_str),
                key,
                "{configuration} {phase:?} {body}"
            );
            if let Some(failure) = failure {
                let expected = if status == 400 {
                    "Bad Request"
                } else {
                    "Internal Error"
                };
                assert_eq!(failure.message.as_deref(), Some(expected));
                assert!(failure.is_json && failure.cause.is_some());
            }
        }
    }

    #[test]
    fn a_message_of_ones_own_is_sent_as_it_is() {
        let configuration = json!({"schema": SCHEMA, "errorMessage": r#"{"wrong":true}"#});
        let failure = run(&configuration, Phase::Request, b"{}").expect("a failure");
        assert_eq!(failure.message.as_deref(), Some(r#"{"wrong":true}"#));
    }

    #[test]
    fn a_message_may_be_an_expression() {
        for (message, status, expected) in [
            ("id {#request.id}", 400, "id request-id"),
            ("{#context.attributes['none']}", 400, "Bad Request"),
            ("{#request.nope}", 500, "Internal Server Error"),
        ] {
            let configuration = json!({"schema": SCHEMA, "errorMessage": message});
            let failure = run(&configuration, Phase::Request, b"{}").expect("a failure");
            assert_eq!(
                (failure.status, failure.message.as_deref()),
                (status, Some(expected)),
                "{message}"
            );
        }
    }

    #[test]
    fn keywords_of_later_drafts_say_nothing() {
        let schema = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"a":{"const":1}},"required":["a"]}"#;
        let configuration = json!({"schema": schema});
        assert!(run(&configuration, Phase::Request, br#"{"a":2}"#).is_none());
        assert!(run(&configuration, Phase::Request, b"{}").is_some());
    }

    #[test]
    fn references_stay_inside_the_schema() {
        let inside = r##"{"definitions":{"a":{"type":"integer"}},"properties":{"a":{"$ref":"#/definitions/a"}}}"##;
        assert!(run(&json!({"schema": inside}), Phase::Request, br#"{"a":1}"#).is_none());
        assert!(run(&json!({"schema": inside}), Phase::Request, br#"{"a":"x"}"#).is_some());
    }

    #[test]
    fn reports_name_places_and_no_values() {
        let failure = run(
            &json!({"schema": SCHEMA}),
            Phase::Request,
            br#"{"name":"TOP-SECRET"}"#,
        )
        .expect("a failure");
        let cause = failure.cause.expect("a cause");
        assert!(
            cause.contains("/name") && !cause.contains("SECRET"),
            "{cause}"
        );
    }

    #[test]
    fn the_old_engine_honours_the_scope() {
        let configuration = json!({"schema": SCHEMA, "scope": "RESPONSE_CONTENT"});
        let resources = std::collections::HashMap::new();
        let policy = (ENTRY.build)(&Builder {
            configuration: &configuration,
            legacy_engine: true,
            resources: &resources,
            gateway: &Default::default(),
        })
        .expect("a policy");
        assert!(!policy.body_needs(Phase::Request).request_body);
        assert!(policy.body_needs(Phase::Response).response_body);
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.body = Body::Buffered(b"{}".to_vec());
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
    }

    #[test]
    fn deep_and_large_bodies_are_judged() {
        let deep = "[".repeat(100_000);
        assert_eq!(
            run(&json!({"schema": SCHEMA}), Phase::Request, deep.as_bytes())
                .expect("a failure")
                .key_str(),
            "JSON_INVALID_FORMAT"
        );
        let large = format!("[{}1]", "1,".repeat(500_000));
        assert_eq!(
            run(&json!({"schema": SCHEMA}), Phase::Request, large.as_bytes())
                .expect("a failure")
                .key_str(),
            "JSON_INVALID_PAYLOAD"
        );
    }

    #[test]
    fn the_collected_samples_are_understood() {
        crate::policy::testing::builds_samples("json-validation", &[]);
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (json!({}), "schema"),
            (json!({"schema": SCHEMA, "scope": "ELSEWHERE"}), "scope"),
            (json!({"schema": r#"{"$ref":"http://h/s.json"}"#}), "schema"),
            (
                json!({"schemaSource": {"sourceType": "SCHEMA_REGISTRY_RESOURCE", "resourceName": "r", "schemaMapping": "m"}}),
                "schemaSource.sourceType",
            ),
        ] {
            let error = build("json-validation", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }

    proptest! {
        #[test]
        fn bodies_of_any_bytes_are_judged(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = run(&json!({"schema": SCHEMA}), Phase::Request, &body);
        }
    }
}
