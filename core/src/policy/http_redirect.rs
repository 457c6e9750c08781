//! `http-redirect`: answers with a redirection (contract policies 14).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_optional_number, de_text};
use super::pairs;
use super::path_rules::{self, Outcome, PathRule};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::error::Failure;
use crate::exchange::Exchange;

pub(super) const ENTRY: Entry = Entry {
    id: "http-redirect",
    phases: Phases::REQUEST,
    summary: "answers with a redirection",
    members: &["rules"],
    differences: "a status outside 300 to 399 is refused at deployment; the cache of matched paths is not needed",
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    rules: Option<Vec<Rule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rule {
    #[serde(deserialize_with = "de_text")]
    path: String,
    #[serde(deserialize_with = "de_text")]
    location: String,
    #[serde(deserialize_with = "de_optional_number")]
    status: Option<u16>,
}

#[derive(Debug)]
struct HttpRedirect {
    rules: Box<[PathRule]>,
    /// Status of each rule.
    statuses: Box<[u16]>,
    needs: BodyNeeds,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let mut rules = Vec::new();
    let mut statuses = Vec::new();
    for (index, rule) in configuration.rules.into_iter().flatten().enumerate() {
        let status = rule.status.unwrap_or(301);
        if !(300..=399).contains(&status) {
            return Err(ConfigError::new(
                format!("rules[{index}].status"),
                format!("300 to 399, not {status}"),
            ));
        }
        rules.push(PathRule::new(&rule.path, &rule.location));
        statuses.push(status);
    }
    Ok(Arc::new(HttpRedirect {
        needs: path_rules::needs(&rules),
        rules: rules.into(),
        statuses: statuses.into(),
    }))
}

impl Policy for HttpRedirect {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        pairs::needs_in(phase, self.needs)
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self.rules.is_empty() {
            return Verdict::Continue;
        }
        let (index, location) = match path_rules::find(&self.rules, exchange) {
            Ok(Outcome::NoRule) => return Verdict::Continue,
            Ok(Outcome::Rule(index, location)) => (index, location.unwrap_or_default()),
            Err(failure) => return Verdict::Fail(failure),
        };
        let response = &mut exchange.response;
        if let Err(error) = response.headers.set("Location", &location) {
            return Verdict::fail(Failure::internal().because(format!("location: {error}")));
        }
        response.status = self.statuses.get(index).copied().unwrap_or(301);
        Verdict::Interrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use serde_json::json;

    fn configuration() -> serde_json::Value {
        json!({
            "rules": [
                {"path": "/headers", "location": "https://example.com//headers", "status": "302"},
                {"path": "/old/.*", "location": "https://example.com/new"},
                {"path": "/split", "location": "a\r\nSet-Cookie: b"},
            ],
            "cache": {"maxItems": 5},
        })
    }

    #[test]
    fn a_path_that_matches_is_redirected_and_any_other_goes_on() {
        let policy = build("http-redirect", &configuration()).expect("a policy");
        for (path, expected) in [
            ("/headers", Some((302, "https://example.com//headers"))),
            ("/old/a/b", Some((301, "https://example.com/new"))),
            ("/headers/x", None),
        ] {
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.request.path = format!("/api{path}");
            let verdict = policy.on_request(&mut exchange);
            let found = exchange
                .response
                .headers
                .text("location")
                .map(|location| (exchange.response.status, location));
            assert_eq!(found, expected, "{path}");
            assert_eq!(matches!(verdict, Verdict::Interrupt), expected.is_some());
            assert_eq!(matches!(verdict, Verdict::Continue), expected.is_none());
        }
    }

    #[test]
    fn a_location_that_would_end_a_line_is_never_sent() {
        let policy = build("http-redirect", &configuration()).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.path = "/api/split".to_owned();
        assert!(matches!(policy.on_request(&mut exchange), Verdict::Fail(_)));
        assert!(exchange.response.headers.is_empty());
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (
                json!({"rules": [{"path": "/", "status": 200}]}),
                "rules[0].status",
            ),
            (
                json!({"rules": [{"path": "/", "status": "soon"}]}),
                "rules[0].status",
            ),
            (json!({"rules": [{"path": []}]}), "rules[0].path"),
        ] {
            let error = build("http-redirect", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }
}
