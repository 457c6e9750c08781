//! `mock`: answers in the backend's place (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_optional_number, de_optional_text};
use super::pairs::{self, Named, Pair};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::el::Template;
use crate::error::Failure;
use crate::exchange::{Body, Exchange};

pub(super) const ENTRY: Entry = Entry {
    id: "mock",
    phases: Phases::REQUEST,
    summary: "answers in the backend's place",
    members: &["status", "headers", "content"],
    differences: "a status outside 200 to 599 and a name that is no header name are refused at deployment",
    build,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    #[serde(deserialize_with = "de_optional_number")]
    status: Option<u16>,
    headers: Option<Vec<Pair>>,
    #[serde(deserialize_with = "de_optional_text")]
    content: Option<String>,
}

#[derive(Debug)]
struct Mock {
    status: u16,
    headers: Box<[Named]>,
    content: Option<Template>,
    /// Guessed from the template of the content.
    content_type: &'static str,
    needs: BodyNeeds,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let status = configuration.status.unwrap_or(200);
    if !(200..=599).contains(&status) {
        return Err(ConfigError::new(
            "status",
            format!("200 to 599, not {status}"),
        ));
    }
    let headers = pairs::headers("headers", configuration.headers)?;
    let content = pairs::template(configuration.content);
    let needs = content.as_ref().map(Template::needs).unwrap_or_default();
    Ok(Arc::new(Mock {
        status,
        content_type: content
            .as_ref()
            .map_or("text/plain", |content| content_type(content.source())),
        needs: needs.and(pairs::needs(&headers)),
        headers,
        content,
    }))
}

/// What a content looks like.
fn content_type(content: &str) -> &'static str {
    let content = content.trim();
    let is_object =
        content.starts_with('{') && content.ends_with('}') && !content.starts_with("{#");
    let is_list = content.starts_with('[') && content.ends_with(']');
    if is_object || is_list {
        "application/json"
    } else if content.starts_with('<') && content.ends_with('>') {
        "text/xml"
    } else {
        "text/plain"
    }
}

impl Policy for Mock {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        pairs::needs_in(phase, self.needs)
    }

    fn on_request(&self, _exchange: &mut Exchange<'_>) -> Verdict {
        Verdict::Wrap(None)
    }

    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let content = match &self.content {
            None => Vec::new(),
            Some(content) => match content.eval_text(&*exchange) {
                Ok(Some(text)) => text.into_owned().into_bytes(),
                Ok(None) => {
                    return Verdict::fail(Failure::status(500).saying("Unable to evaluate body"));
                }
                Err(error) => {
                    return Verdict::fail(Failure::status(500).saying(error.to_string()));
                }
            },
        };
        exchange.response.answer(self.status);
        let headers = &mut exchange.response.headers;
        let _ = headers.set("Content-Length", content.len().to_string());
        if self.content.is_some() && !headers.contains("Content-Type") {
            let _ = headers.set("Content-Type", self.content_type);
        }
        for named in &self.headers {
            // A value that cannot be evaluated or sent is left out, as in the reference.
            let Ok(Some(value)) = named.value.eval_text(&*exchange) else {
                continue;
            };
            let value = value.into_owned();
            let _ = exchange.response.headers.set(&named.name, value);
        }
        exchange.response.body = Body::Buffered(content);
        Verdict::Interrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use serde_json::json;

    #[test]
    fn the_mock_answers_with_status_headers_and_content() {
        let policy = build(
            "mock",
            &json!({
                "status": "400",
                "headers": [{"name": "X-A", "value": "a"}, {"name": "", "value": "b"}, {"name": "X-C", "value": "c\nd"}],
                "content": "mockContent",
            }),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Wrap(None)
        ));
        assert!(matches!(
            policy.before_call(&mut exchange),
            Verdict::Interrupt
        ));
        let response = &exchange.response;
        assert_eq!(response.status, 400);
        assert_eq!(response.body, Body::Buffered(b"mockContent".to_vec()));
        let headers: Vec<_> = response.headers.iter().map(|field| field.value).collect();
        assert_eq!(headers, [&b"11"[..], b"text/plain", b"a"]);
    }

    #[test]
    fn an_answer_given_twice_has_its_headers_once() {
        let policy =
            build("mock", &json!({"headers": [{"name": "X-A", "value": "a"}]})).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange
            .response
            .headers
            .add("X-Own", "b")
            .expect("a field");
        for _ in 0..2 {
            assert!(matches!(
                policy.before_call(&mut exchange),
                Verdict::Interrupt
            ));
            assert_eq!(exchange.response.headers.len(), 3);
            exchange.response.forget();
            assert_eq!(exchange.response.headers.len(), 1);
        }
    }

    #[test]
    fn the_content_type_is_guessed_unless_it_is_given() {
        for (content, expected) in [
            (" {\"a\": 1} ", "application/json"),
            ("[1, 2]", "application/json"),
            ("<a/>", "text/xml"),
            ("{#request.id}", "text/plain"),
            ("plain", "text/plain"),
        ] {
            assert_eq!(content_type(content), expected, "{content}");
        }
        let given =
            json!({"headers": [{"name": "content-type", "value": "text/csv"}], "content": "{}"});
        let policy = build("mock", &given).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        assert!(matches!(
            policy.before_call(&mut exchange),
            Verdict::Interrupt
        ));
        let types: Vec<_> = exchange.response.headers.values("Content-Type").collect();
        assert_eq!(types, [b"text/csv"]);
    }

    #[test]
    fn a_content_that_cannot_be_evaluated_fails_the_call() {
        let policy = build("mock", &json!({"content": "{#request.nothing}"})).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let verdict = policy.before_call(&mut exchange);
        let Verdict::Fail(failure) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(failure.status, 500);
        assert!(failure.message.is_some());
        let policy = build("mock", &json!({"content": "{#request.content}"})).expect("a policy");
        assert!(policy.body_needs(Phase::Request).request_body);
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (json!({"status": "soon"}), "status"),
            (json!({"status": 100}), "status"),
            (
                json!({"headers": [{"name": "a:b", "value": "c"}]}),
                "headers[0].name",
            ),
            (json!({"content": {}}), "content"),
        ] {
            let error = build("mock", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }
}
