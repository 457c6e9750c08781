//! `dynamic-routing`: chooses the backend by the path of the request (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::de_text;
use super::pairs;
use super::path_rules::{self, Outcome, PathRule};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::error::Failure;
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "dynamic-routing",
    phases: Phases::REQUEST,
    summary: "chooses the backend by the path of the request",
    members: &["rules"],
    differences: "",
    build,
};

/// Attribute of the endpoint to call.
pub(super) const ENDPOINT: &str = "gravitee.attribute.request.endpoint";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    rules: Option<Vec<Rule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    #[serde(deserialize_with = "de_text")]
    pattern: String,
    #[serde(deserialize_with = "de_text")]
    url: String,
}

#[derive(Debug)]
struct DynamicRouting {
    rules: Box<[PathRule]>,
    needs: BodyNeeds,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let rules: Box<[PathRule]> = configuration
        .rules
        .into_iter()
        .flatten()
        .map(|rule| PathRule::new(&rule.pattern, &rule.url))
        .collect();
    Ok(Arc::new(DynamicRouting {
        needs: path_rules::needs(&rules),
        rules,
    }))
}

impl Policy for DynamicRouting {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        pairs::needs_in(phase, self.needs)
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self.rules.is_empty() {
            return Verdict::Continue;
        }
        match path_rules::find(&self.rules, exchange) {
            Ok(Outcome::Rule(_, Some(url))) => {
                exchange.set_attribute(ENDPOINT, url);
                Verdict::Continue
            }
            Ok(Outcome::Rule(_, None)) => {
                Verdict::fail(Failure::internal().because("url: the expression has no value"))
            }
            Ok(Outcome::NoRule) => {
                Verdict::fail(Failure::status(400).saying("No routing rule is matching path"))
            }
            Err(failure) => Verdict::Fail(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::el::Value;
    use crate::policy::testing::{Bench, build};
    use serde_json::{Value as Json, json};

    fn run(configuration: &Json, path: &str) -> Result<Option<String>, (u16, String)> {
        let policy = build("dynamic-routing", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.path = format!("/api{path}");
        match policy.on_request(&mut exchange) {
            Verdict::Continue => Ok(exchange
                .attributes
                .find("request.endpoint")
                .and_then(Value::as_text)
                .map(str::to_owned)),
            Verdict::Fail(failure) => Err((
                failure.status,
                failure.message.clone().unwrap_or_default().into_owned(),
            )),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_rule_that_matches_chooses_the_endpoint() {
        let rules = json!({"rules": [
            {"pattern": "/v1/.*", "url": "http://one.example.com"},
            {"pattern": "/v1/.*|/v2/.*", "url": "http://two.example.com"},
        ]});
        assert_eq!(
            run(&rules, "/v1/a"),
            Ok(Some("http://one.example.com".to_owned()))
        );
        assert_eq!(
            run(&rules, "/v2/a"),
            Ok(Some("http://two.example.com".to_owned()))
        );
        assert_eq!(
            run(&rules, "/v3/a"),
            Err((400, "No routing rule is matching path".to_owned()))
        );
        assert_eq!(run(&rules, "/%g"), Err((500, "Invalid path".to_owned())));
    }

    #[test]
    fn without_rules_nothing_happens_and_a_bad_pattern_fails_the_request() {
        assert_eq!(run(&json!(null), "/a"), Ok(None));
        assert_eq!(run(&json!({"rules": []}), "/%g"), Ok(None));
        assert_eq!(
            run(&json!({"rules": [{"pattern": "/[", "url": "x"}]}), "/a"),
            Err((500, "Invalid pattern syntax".to_owned()))
        );
    }

    #[test]
    fn patterns_and_urls_may_hold_expressions() {
        let rules =
            json!({"rules": [{"pattern": "/{#request.method}/(.*)", "url": "group:/{#group[0]}"}]});
        assert_eq!(run(&rules, "/GET/x"), Ok(Some("group:/x".to_owned())));
    }

    #[test]
    fn a_configuration_that_cannot_be_read_names_its_member() {
        let error = build("dynamic-routing", &json!({"rules": [{"url": []}]})).expect_err("a list");
        assert_eq!(error.member, "rules[0].url");
    }
}
