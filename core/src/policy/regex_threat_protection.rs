//! `regex-threat-protection`: refuses requests in which an expression finds something (contract policies 14).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_text};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::error::Failure;
use crate::exchange::Exchange;
use crate::http::query;
use crate::java_regex::{Bounds, Extent, JavaRegex, TooHard};

pub(super) const ENTRY: Entry = Entry {
    id: "regex-threat-protection",
    phases: Phases::REQUEST,
    summary: "refuses requests in which an expression finds something",
    members: &[
        "regex",
        "caseSensitive",
        "fullMatching",
        "checkHeaders",
        "checkPath",
        "checkBody",
    ],
    differences: "an expression that needs too many steps on a text counts as found",
    build,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default, deserialize_with = "de_text")]
    regex: String,
    #[serde(default, deserialize_with = "de_bool")]
    case_sensitive: bool,
    #[serde(default, deserialize_with = "de_bool")]
    full_matching: bool,
    #[serde(default = "yes", deserialize_with = "de_bool")]
    check_headers: bool,
    #[serde(default = "yes", deserialize_with = "de_bool")]
    check_path: bool,
    #[serde(default = "yes", deserialize_with = "de_bool")]
    check_body: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug)]
struct RegexThreatProtection {
    regex: JavaRegex,
    headers: bool,
    path: bool,
    body: bool,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    if configuration.regex.is_empty() {
        return Err(ConfigError::new("regex", "an expression is required"));
    }
    let extent = if configuration.full_matching {
        Extent::Whole
    } else {
        Extent::Part
    };
    let compile = if configuration.case_sensitive {
        JavaRegex::new
    } else {
        JavaRegex::ignoring_case
    };
    let regex = compile(&configuration.regex, extent, &Bounds::POLICY)
        .map_err(|bad| ConfigError::new("regex", bad.to_string()))?;
    Ok(Arc::new(RegexThreatProtection {
        regex,
        headers: configuration.check_headers,
        path: configuration.check_path,
        body: configuration.check_body,
    }))
}

impl RegexThreatProtection {
    fn finds(&self, bytes: &[u8]) -> Result<bool, TooHard> {
        self.regex.is_match(&String::from_utf8_lossy(bytes))
    }

    fn in_headers(&self, exchange: &Exchange<'_>) -> Result<bool, TooHard> {
        for field in exchange.request.headers.iter() {
            if self.finds(field.name)? || self.finds(field.value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The path below the context path and the query parameters, as received and decoded.
    fn in_path(&self, exchange: &Exchange<'_>) -> Result<bool, TooHard> {
        let request = &exchange.request;
        let path = request.path_info();
        if self.regex.is_match(path)? || self.regex.is_match(&query::decode(path.as_bytes()))? {
            return Ok(true);
        }
        for parameter in query::parameters(request.query.as_bytes()) {
            let name = query::name(parameter);
            let value = parameter.get(name.len() + 1..).unwrap_or_default();
            if self.finds(name)?
                || self.finds(value)?
                || self.regex.is_match(&query::decode(name))?
                || self.regex.is_match(&query::decode(value))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn in_body(&self, exchange: &Exchange<'_>) -> Result<bool, TooHard> {
        match exchange.request.body.bytes() {
            None | Some([]) => Ok(false),
            Some(bytes) => self.finds(bytes),
        }
    }
}

fn refused(found: Result<bool, TooHard>, key: &'static str) -> Option<Verdict> {
    let failure = Failure::policy(400, key, "Bad Request");
    match found {
        Ok(false) => None,
        Ok(true) => Some(Verdict::fail(failure)),
        Err(error) => Some(Verdict::fail(failure.because(error.to_string()))),
    }
}

impl Policy for RegexThreatProtection {
    fn body_needs(&self, _phase: Phase) -> BodyNeeds {
        BodyNeeds {
            request_body: self.body,
            response_body: false,
        }
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let headers = self
            .headers
            .then(|| refused(self.in_headers(exchange), "REGEX_THREAT_HEADER_DETECTED"));
        let path = || {
            self.path
                .then(|| refused(self.in_path(exchange), "REGEX_THREAT_PATH_DETECTED"))
                .flatten()
        };
        let body = || {
            self.body
                .then(|| refused(self.in_body(exchange), "REGEX_THREAT_BODY_DETECTED"))
                .flatten()
        };
        headers
            .flatten()
            .or_else(path)
            .or_else(body)
            .unwrap_or(Verdict::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Body;
    use crate::policy::testing::{Bench, build};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// The key of the failure, empty when the request passes. The request holds `evil` where `place` says.
    fn key(configuration: &Value, place: &str, text: &str) -> String {
        let policy = build("regex-threat-protection", configuration).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let request = &mut exchange.request;
        match place {
            "header" => request.headers.add("X-A", text).expect("a field"),
            "path" => request.path = format!("/api/{text}"),
            "query" => request.query = format!("q={text}"),
            "body" => request.body = Body::Buffered(text.into()),
            _ => {}
        }
        match policy.on_request(&mut exchange) {
            Verdict::Continue => String::new(),
            Verdict::Fail(failure) => {
                assert_eq!(failure.status, 400);
                assert_eq!(failure.message.as_deref(), Some("Bad Request"));
                failure.key_str().to_owned()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_expression_finds_is_refused_where_it_is_looked_for() {
        let part = json!({"regex": "evil"});
        let whole = json!({"regex": ".*evil.*", "fullMatching": true});
        for (configuration, place, text, expected) in [
            (
                &part,
                "header",
                "an EVIL one",
                "REGEX_THREAT_HEADER_DETECTED",
            ),
            (&part, "path", "an-evil-one", "REGEX_THREAT_PATH_DETECTED"),
            (&part, "path", "%65vil", "REGEX_THREAT_PATH_DETECTED"),
            (&part, "query", "evi%6C", "REGEX_THREAT_PATH_DETECTED"),
            (&part, "body", "more evil", "REGEX_THREAT_BODY_DETECTED"),
            (&part, "body", "", ""),
            (&part, "nowhere", "", ""),
            (
                &whole,
                "header",
                "an evil one",
                "REGEX_THREAT_HEADER_DETECTED",
            ),
            (
                &json!({"regex": "evil", "fullMatching": true}),
                "header",
                "an evil one",
                "",
            ),
            (
                &json!({"regex": "evil", "caseSensitive": true}),
                "header",
                "EVIL",
                "",
            ),
            (
                &json!({"regex": "evil", "checkHeaders": false}),
                "header",
                "evil",
                "",
            ),
            (
                &json!({"regex": "evil", "checkPath": false}),
                "path",
                "evil",
                "",
            ),
            (
                &json!({"regex": "evil", "checkBody": false}),
                "body",
                "evil",
                "",
            ),
            (
                &json!({"regex": "(?=evil)e"}),
                "body",
                "evil",
                "REGEX_THREAT_BODY_DETECTED",
            ),
        ] {
            assert_eq!(
                key(configuration, place, text),
                expected,
                "{configuration} {place} {text}"
            );
        }
    }

    #[test]
    fn an_expression_that_takes_too_long_refuses_the_request() {
        let configuration = json!({"regex": r"(x+x+)+(?=y)\1"});
        assert_eq!(
            key(&configuration, "body", &"x".repeat(64)),
            "REGEX_THREAT_BODY_DETECTED"
        );
    }

    #[test]
    fn the_body_is_asked_for_only_when_it_is_looked_at() {
        for (check, needed) in [(true, true), (false, false)] {
            let policy = build(
                "regex-threat-protection",
                &json!({"regex": "a", "checkBody": check}),
            )
            .expect("a policy");
            assert_eq!(policy.body_needs(Phase::Request).request_body, needed);
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (json!({}), "regex"),
            (json!({"regex": "("}), "regex"),
            (json!({"regex": "a", "checkBody": "perhaps"}), "checkBody"),
        ] {
            let error = build("regex-threat-protection", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }

    proptest! {
        #[test]
        fn bodies_of_any_bytes_are_looked_at(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let policy = build("regex-threat-protection", &json!({"regex": "a(?!b)|\\d"})).expect("a policy");
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange.request.body = Body::Buffered(body);
            let _ = policy.on_request(&mut exchange);
        }
    }
}
