//! `policy-request-validation`: checks parts of a request against rules (contract policies 13).

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde::Deserialize;

use super::date_pattern::DatePattern;
use super::lenient::{de_bool, de_number, de_optional_text};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::el::{ElError, Scope, Template, Value};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::java_regex::{BadRegex, Bounds, Extent, JavaRegex};

pub(super) const ENTRY: Entry = Entry {
    id: "policy-request-validation",
    phases: Phases::REQUEST,
    summary: "checks parts of a request against rules",
    members: &["scope", "status", "rules"],
    differences: "DATE knows the patterns of SimpleDateFormat in English, and the whole text must be a date",
    build,
};

static MAIL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^[A-Z0-9._%+-]+(@|%40)[A-Z0-9.-]+\.[A-Z]{2,6}$").expect("an expression")
});

#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(default = "bad_request", deserialize_with = "de_number")]
    status: u16,
    #[serde(default)]
    rules: Option<Vec<RuleConfiguration>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleConfiguration {
    #[serde(default, deserialize_with = "de_optional_text")]
    input: Option<String>,
    #[serde(default = "yes", deserialize_with = "de_bool")]
    is_required: bool,
    #[serde(default)]
    constraint: Option<ConstraintConfiguration>,
}

#[derive(Debug, Deserialize)]
struct ConstraintConfiguration {
    #[serde(default, rename = "type")]
    kind: Kind,
    #[serde(default)]
    parameters: Option<Vec<Parameter>>,
    #[serde(default, deserialize_with = "de_optional_text")]
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Parameter(#[serde(deserialize_with = "de_optional_text")] Option<String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Kind {
    #[default]
    NotNull,
    Min,
    Max,
    Mail,
    Date,
    Pattern,
    Size,
    Enum,
}

impl Kind {
    fn message(self) -> &'static str {
        match self {
            Self::NotNull => "'%s' can not be null.",
            Self::Min => "'%s' must be higher or equals to '%s'",
            Self::Max => "'%s' must be lower or equals to '%s'",
            Self::Mail => "%s is not a valid email.",
            Self::Date => "'%s' is not valid (format: '%s')",
            Self::Pattern => "'%s' is not valid (pattern: '%s')",
            Self::Size => {
                "'%s' length must be higher or equals to '%s' and lower or equals to '%s'"
            }
            Self::Enum => "'%s' not included in ENUM",
        }
    }
}

fn bad_request() -> u16 {
    400
}

fn yes() -> bool {
    true
}

#[derive(Debug)]
struct RequestValidation {
    status: u16,
    rules: Box<[Rule]>,
}

#[derive(Debug)]
struct Rule {
    input: Template,
    required: bool,
    kind: Kind,
    parameters: Box<[Template]>,
    message: Option<Box<str>>,
    /// What could be compiled at deployment, because the parameter is no expression.
    prepared: Prepared,
}

#[derive(Debug)]
enum Prepared {
    Nothing,
    Pattern(JavaRegex),
    Date(DatePattern),
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    if !(200..600).contains(&configuration.status) {
        return Err(ConfigError::new(
            "status",
            format!("{} is no final status", configuration.status),
        ));
    }
    let rules = configuration
        .rules
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(index, rule)| prepare(index, rule))
        .collect::<Result<_, _>>()?;
    Ok(Arc::new(RequestValidation {
        status: configuration.status,
        rules,
    }))
}

fn prepare(index: usize, rule: RuleConfiguration) -> Result<Rule, ConfigError> {
    let constraint = rule.constraint.ok_or_else(|| {
        ConfigError::new(
            format!("rules[{index}].constraint"),
            "a constraint is required",
        )
    })?;
    let input = rule
        .input
        .ok_or_else(|| ConfigError::new(format!("rules[{index}].input"), "an input is required"))?;
    let parameters: Box<[Template]> = constraint
        .parameters
        .unwrap_or_default()
        .into_iter()
        .map(|Parameter(parameter)| Template::new(&parameter.unwrap_or_default()))
        .collect();
    let first = parameters.first().and_then(Template::literal);
    let refuse = |reason: String| {
        ConfigError::new(format!("rules[{index}].constraint.parameters[0]"), reason)
    };
    let prepared = match (constraint.kind, first) {
        (Kind::Pattern, Some(pattern)) => {
            Prepared::Pattern(compile(pattern).map_err(|bad| refuse(bad.to_string()))?)
        }
        (Kind::Date, Some(pattern)) => Prepared::Date(DatePattern::new(pattern).map_err(refuse)?),
        _ => Prepared::Nothing,
    };
    Ok(Rule {
        input: Template::new(&input),
        required: rule.is_required,
        kind: constraint.kind,
        parameters,
        message: constraint
            .message
            .filter(|message| !message.is_empty())
            .map(Into::into),
        prepared,
    })
}

fn compile(pattern: &str) -> Result<JavaRegex, BadRegex> {
    JavaRegex::new(pattern, Extent::Part, &Bounds::POLICY)
}

/// A number as the reference compares it: read as a double, then cut to an integer.
fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let number: f64 = match text {
        "NaN" => f64::NAN,
        "Infinity" | "+Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ if text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte)) =>
        {
            text.parse().ok()?
        }
        _ => return None,
    };
    Some(number as i64)
}

impl Rule {
    /// The message of the violation, if there is one.
    fn violation(&self, scope: &dyn Scope) -> Result<Option<String>, ElError> {
        let value = self.input.eval_text(scope)?;
        if !self.required && value.is_none() {
            return Ok(None);
        }
        let parameters = self
            .parameters
            .iter()
            .map(|parameter| Ok(parameter.eval_text(scope)?.unwrap_or(Cow::Borrowed("null"))))
            .collect::<Result<Vec<_>, ElError>>()?;
        if self.holds(value.as_deref(), &parameters) {
            return Ok(None);
        }
        let message = self
            .message
            .as_deref()
            .unwrap_or_else(|| self.kind.message());
        Ok(Some(filled(message, self.input.source(), &parameters)))
    }

    fn holds(&self, value: Option<&str>, parameters: &[Cow<'_, str>]) -> bool {
        let Some(value) = value else {
            return false;
        };
        let parameter = |index: usize| parameters.get(index).map(|parameter| &**parameter);
        let bound = |index: usize| parameter(index).and_then(number);
        match self.kind {
            Kind::NotNull => !value.is_empty(),
            Kind::Min => number(value)
                .zip(bound(0))
                .is_some_and(|(value, min)| value >= min),
            Kind::Max => number(value)
                .zip(bound(0))
                .is_some_and(|(value, max)| value <= max),
            Kind::Mail => MAIL.is_match(value),
            Kind::Date => match &self.prepared {
                Prepared::Date(pattern) => pattern.matches(value),
                _ => parameter(0)
                    .and_then(|pattern| DatePattern::new(pattern).ok())
                    .is_some_and(|pattern| pattern.matches(value)),
            },
            Kind::Pattern => match &self.prepared {
                Prepared::Pattern(regex) => regex.is_match(value) == Ok(true),
                _ => parameter(0)
                    .and_then(|pattern| compile(pattern).ok())
                    .is_some_and(|regex| regex.is_match(value) == Ok(true)),
            },
            Kind::Size => {
                let length = value.encode_utf16().count() as i64;
                bound(0)
                    .zip(bound(1))
                    .is_some_and(|(min, max)| (min..=max).contains(&length))
            }
            Kind::Enum => parameters.iter().any(|parameter| **parameter == *value),
        }
    }
}

/// Puts the input and the parameters where the message has `%s`, in this order.
fn filled(message: &str, input: &str, parameters: &[Cow<'_, str>]) -> String {
    let mut arguments = std::iter::once(input).chain(parameters.iter().map(|own| &**own));
    let mut pieces = message.split("%s");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str(arguments.next().unwrap_or("%s"));
        out.push_str(piece);
    }
    out
}

impl Policy for RequestValidation {
    fn body_needs(&self, _phase: Phase) -> BodyNeeds {
        self.rules
            .iter()
            .flat_map(|rule| std::iter::once(&rule.input).chain(&rule.parameters))
            .fold(BodyNeeds::default(), |needs, template| {
                needs.and(template.needs())
            })
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let mut violations = Vec::new();
        let mut cause = None;
        for rule in &self.rules {
            match rule.violation(&*exchange) {
                Ok(None) => {}
                Ok(Some(violation)) => violations.push(violation),
                Err(error) => {
                    violations = vec![format!(
                        "Unable to evaluate expression: {} -> It might be related to an invalid request body",
                        rule.input.source()
                    )];
                    cause = Some(error.to_string());
                    break;
                }
            }
        }
        if violations.is_empty() {
            return Verdict::Continue;
        }
        let constraints = serde_json::to_string(&violations).unwrap_or_default();
        let message = format!(
            "{{\"message\":\"Request is not valid according to constraint rules\",\"constraints\":{constraints}}}"
        );
        let mut failure = Failure::policy(self.status, "REQUEST_VALIDATION_INVALID", message).with(
            "violations",
            Value::List(violations.into_iter().map(Value::from).collect()),
        );
        failure.is_json = true;
        failure.cause = cause.map(Into::into);
        Verdict::fail(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    fn run(configuration: &Json) -> Option<Failure> {
        let policy = build("policy-request-validation", configuration).expect("a policy");
        let mut bench = Bench::new();
        match policy.on_request(&mut bench.exchange()) {
            Verdict::Continue => None,
            Verdict::Fail(failure) => Some(*failure),
            other => panic!("{other:?}"),
        }
    }

    fn rule(kind: &str, parameters: &[&str]) -> Rule {
        let configuration =
            json!({"input": "in", "constraint": {"type": kind, "parameters": parameters}});
        prepare(0, serde_json::from_value(configuration).expect("a rule")).expect("a rule")
    }

    #[test]
    fn constraints_hold_for_what_they_describe() {
        for (kind, parameters, value, expected) in [
            ("NOT_NULL", &[][..], Some("a"), true),
            ("NOT_NULL", &[], Some(""), false),
            ("NOT_NULL", &[], None, false),
            ("MIN", &["20"], Some("20"), true),
            ("MIN", &["20"], Some("20.9"), true),
            ("MIN", &["20.9"], Some("20"), true),
            ("MIN", &["20"], Some("19.9"), false),
            ("MIN", &["20"], Some("old"), false),
            ("MIN", &["young"], Some("20"), false),
            ("MIN", &[], Some("20"), false),
            ("MAX", &["20"], Some("20"), true),
            ("MAX", &["20"], Some("21"), false),
            ("MAX", &["20"], Some("-1e3"), true),
            ("MAX", &["20"], Some("0x1"), false),
            ("MAX", &["20"], None, false),
            ("MAIL", &[], Some("a.b@example.com"), true),
            ("MAIL", &[], Some("A%40example.com"), true),
            ("MAIL", &[], Some("a@b"), false),
            ("MAIL", &[], Some(""), false),
            ("MAIL", &[], None, false),
            ("DATE", &["yyyy-MM-dd"], Some("2020-02-29"), true),
            ("DATE", &["yyyy-MM-dd"], Some("2020-02-30"), false),
            ("DATE", &["yyyy-MM-dd"], None, false),
            ("DATE", &[], Some("2020-02-29"), false),
            ("PATTERN", &["b+"], Some("abbc"), true),
            ("PATTERN", &["^b+$"], Some("abbc"), false),
            ("PATTERN", &["(?=b)b"], Some("abbc"), true),
            ("PATTERN", &["b"], None, false),
            ("SIZE", &["2", "3"], Some("ab"), true),
            ("SIZE", &["2", "3"], Some("abcd"), false),
            ("SIZE", &["2", "x"], Some("ab"), false),
            ("SIZE", &["2"], Some("ab"), false),
            ("SIZE", &["1", "1"], Some("é"), true),
            ("ENUM", &["A", "B"], Some("B"), true),
            ("ENUM", &["A", "B"], Some("b"), false),
            ("ENUM", &["A", "B"], None, false),
        ] {
            let own: Vec<Cow<'_, str>> = parameters
                .iter()
                .map(|parameter| Cow::Borrowed(*parameter))
                .collect();
            assert_eq!(
                rule(kind, parameters).holds(value, &own),
                expected,
                "{kind} {parameters:?} {value:?}"
            );
        }
    }

    #[test]
    fn parameters_that_are_compiled_at_run_time_hold_as_well() {
        for (kind, parameter, value, expected) in [
            ("PATTERN", "^a$", "a", true),
            ("PATTERN", "(", "a", false),
            ("DATE", "yyyy", "2020", true),
            ("DATE", "bb", "2020", false),
        ] {
            let mut rule = rule(kind, &[]);
            rule.prepared = Prepared::Nothing;
            assert_eq!(
                rule.holds(Some(value), &[parameter.into()]),
                expected,
                "{kind} {parameter}"
            );
        }
    }

    #[test]
    fn every_violation_is_told_in_order() {
        let configuration = json!({"status": "422", "rules": [
            {"input": "abc", "constraint": {"type": "MIN", "parameters": ["5"]}},
            {"input": "abc", "constraint": {"type": "NOT_NULL"}},
            {"input": "abc", "constraint": {"type": "SIZE", "parameters": [4, 9]}},
            {"input": "abc", "constraint": {"type": "MAIL"}},
            {"input": "abc", "constraint": {"type": "ENUM", "parameters": ["A"], "message": "Not \"%s\""}},
        ]});
        let failure = run(&configuration).expect("a failure");
        assert_eq!(failure.status, 422);
        assert_eq!(failure.key_str(), "REQUEST_VALIDATION_INVALID");
        assert!(failure.is_json);
        assert_eq!(
            failure.message.as_deref(),
            Some(
                r#"{"message":"Request is not valid according to constraint rules","constraints":["'abc' must be higher or equals to '5'","'abc' length must be higher or equals to '4' and lower or equals to '9'","abc is not a valid email.","Not \"abc\""]}"#
            )
        );
        assert!(
            matches!(&failure.parameters[..], [(name, Value::List(list))] if name == "violations" && list.len() == 4)
        );
    }

    #[test]
    fn without_a_violation_the_request_goes_on() {
        for configuration in [
            json!(null),
            json!({"rules": null}),
            json!({"rules": [{"input": "a", "constraint": {"type": "NOT_NULL"}}]}),
            json!({"scope": "REQUEST_CONTENT", "rules": [{"input": "7", "isRequired": false, "constraint": {"type": "MAX", "parameters": ["8"]}}]}),
        ] {
            assert!(run(&configuration).is_none(), "{configuration}");
        }
        let empty = json!({"rules": [{"input": "", "isRequired": false, "constraint": {"type": "NOT_NULL"}}]});
        assert_eq!(run(&empty).expect("empty is not absent").status, 400);
    }

    #[test]
    fn inputs_and_parameters_are_expressions() {
        let rule = |input: &str, required: bool, kind: &str, parameters: Json| json!({"rules": [{"input": input, "isRequired": required, "constraint": {"type": kind, "parameters": parameters}}]});
        let name = "{#jsonPath(#request.content, '$.name')}";
        let none = "{#jsonPath(#request.content, '$.none')}";
        for (configuration, body, expected) in [
            (
                rule(name, true, "NOT_NULL", json!([])),
                r#"{"name":"a"}"#,
                "",
            ),
            (
                rule(
                    name,
                    true,
                    "PATTERN",
                    json!(["{#request.id.substring(0, 3)}"]),
                ),
                r#"{"name":"xreqx"}"#,
                "",
            ),
            (
                rule(name, true, "ENUM", json!(["{#request.id}"])),
                r#"{"name":"a"}"#,
                "'{#jsonPath(#request.content, '$.name')}' not included in ENUM",
            ),
            (rule(none, false, "MAIL", json!([])), r#"{"name":"a"}"#, ""),
            (
                rule(none, true, "NOT_NULL", json!([])),
                r#"{"name":"a"}"#,
                "'{#jsonPath(#request.content, '$.none')}' can not be null.",
            ),
            (
                rule("{#request.headers['X'][0]}", false, "NOT_NULL", json!([])),
                "",
                "Unable to evaluate expression: {#request.headers['X'][0]} -> It might be related to an invalid request body",
            ),
            (
                rule(name, true, "NOT_NULL", json!([])),
                "",
                "Unable to evaluate expression: {#jsonPath(#request.content, '$.name')} -> It might be related to an invalid request body",
            ),
        ] {
            let policy = build("policy-request-validation", &configuration).expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.request.body = crate::exchange::Body::Buffered(body.into());
            match policy.on_request(&mut exchange) {
                Verdict::Continue => assert_eq!(expected, "", "{configuration}"),
                Verdict::Fail(failure) => {
                    let message: Json =
                        serde_json::from_str(&failure.message.unwrap_or_default()).expect("JSON");
                    assert_eq!(message["constraints"], json!([expected]), "{configuration}");
                    assert_eq!(
                        policy.body_needs(Phase::Request).request_body,
                        expected.contains("content")
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_collected_samples_are_understood() {
        crate::policy::testing::builds_samples("policy-request-validation", &[]);
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        let rules = |constraint: Json| json!({"rules": [{"input": "a", "constraint": constraint}]});
        for (configuration, member) in [
            (json!({"status": "teapot"}), "status"),
            (json!({"status": 100}), "status"),
            (json!({"rules": [{"input": "a"}]}), "rules[0].constraint"),
            (
                json!({"rules": [{"constraint": {"type": "MAIL"}}]}),
                "rules[0].input",
            ),
            (rules(json!({"type": "LENGTH"})), "rules[0].constraint.type"),
            (
                rules(json!({"type": "PATTERN", "parameters": ["("]})),
                "rules[0].constraint.parameters[0]",
            ),
            (
                rules(json!({"type": "DATE", "parameters": ["bb"]})),
                "rules[0].constraint.parameters[0]",
            ),
        ] {
            let error = build("policy-request-validation", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }

    proptest! {
        #[test]
        fn any_value_is_judged(value in ".{0,40}", kind in prop::sample::select(vec!["MIN", "MAX", "MAIL", "SIZE", "ENUM", "NOT_NULL"])) {
            let _ = rule(kind, &["1", "2"]).holds(Some(&value), &["1".into(), "2".into()]);
        }
    }
}
