//! `policy-assign-content`: writes a body from a template (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::freemarker::{Model, Template};
use super::lenient::de_text;
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Verdict};
use crate::el::{Scope as _, Value};
use crate::error::Failure;
use crate::exchange::{Body, Exchange, Headers};

pub(super) const ENTRY: Entry = Entry {
    id: "policy-assign-content",
    phases: Phases::BOTH,
    summary: "writes a body from a template",
    members: &["scope", "body"],
    differences: "a subset of FreeMarker: macros, functions, includes, dates and a few built-ins are refused at deployment",
    build,
};

#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(default)]
    scope: Option<Scope>,
    #[serde(default, deserialize_with = "de_text")]
    body: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Scope {
    #[serde(alias = "REQUEST_CONTENT")]
    Request,
    #[serde(alias = "RESPONSE_CONTENT")]
    Response,
}

#[derive(Debug)]
struct AssignContent {
    template: Template,
    /// The template speaks of query or path parameters, which are gathered for it then.
    reads_parameters: bool,
    /// A template of the response phase may read the request's body.
    reads_request_body: bool,
    /// The one phase in which the old engine runs it; the others run it wherever it stands.
    only: Option<Phase>,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let Configuration { scope, body } = builder.configuration()?;
    let template =
        Template::new(&body).map_err(|error| ConfigError::new("body", error.to_string()))?;
    Ok(Arc::new(AssignContent {
        reads_parameters: body.contains("arams"),
        reads_request_body: body.contains("request")
            && ["content", "Content"]
                .iter()
                .any(|word| body.contains(word)),
        template,
        only: builder.legacy_engine.then_some(match scope {
            Some(Scope::Response) => Phase::Response,
            _ => Phase::Request,
        }),
    }))
}

/// Names and values as a map of lists, in the order of the names' appearance.
fn multimap<'v>(
    pairs: impl Iterator<Item = (std::borrow::Cow<'v, str>, std::borrow::Cow<'v, str>)>,
) -> Value<'v> {
    let mut map: Vec<(String, Vec<Value<'v>>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (name, value) in pairs {
        let at = *places.entry(name.clone().into_owned()).or_insert_with(|| {
            map.push((name.into_owned(), Vec::new()));
            map.len() - 1
        });
        if let Some((_, values)) = map.get_mut(at) {
            values.push(Value::Text(value));
        }
    }
    Value::map(
        map.into_iter()
            .map(|(name, values)| (Value::from(name), Value::list(values)))
            .collect(),
    )
}

impl AssignContent {
    fn render(&self, exchange: &Exchange<'_>, phase: Phase) -> Result<String, String> {
        let request = &*exchange.request;
        let mut more = Vec::new();
        if self.reads_parameters {
            more.push(("params", multimap(request.parameters())));
            let path = request.path_parameters.iter();
            let path = path.map(|(name, value)| (name.as_str().into(), value.as_str().into()));
            more.push(("pathParams", multimap(path)));
        }
        let mut model = Model::default();
        model.object("request", request, more);
        if phase == Phase::Response {
            model.object("response", &*exchange.response, Vec::new());
        }
        model.object(
            "context",
            exchange,
            ["dictionaries", "properties"]
                .map(|name| (name, exchange.variable(name)))
                .into(),
        );
        self.template
            .render(&model)
            .map_err(|error| error.to_string())
    }

    fn runs(&self, phase: Phase) -> bool {
        self.only.is_none_or(|only| only == phase)
    }
}

/// The length of what was written takes the place of whatever framed the old body.
fn frame(headers: &mut Headers, length: usize) {
    headers.remove("Transfer-Encoding");
    // A number is always a header value; when there is no more room for it, the worker's own framing stands.
    let _ = headers.set("Content-Length", length.to_string());
}

fn failed(cause: String) -> Verdict {
    Verdict::fail(
        Failure::policy(500, "ASSIGN_CONTENT_ERROR", "Unable to assign body content")
            .because(cause),
    )
}

impl Policy for AssignContent {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        match phase {
            _ if !self.runs(phase) => BodyNeeds::default(),
            Phase::Request => BodyNeeds {
                request_body: true,
                response_body: false,
            },
            Phase::Response => BodyNeeds {
                request_body: self.reads_request_body,
                response_body: true,
            },
        }
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if !self.runs(Phase::Request) {
            return Verdict::Continue;
        }
        match self.render(exchange, Phase::Request) {
            Ok(body) => {
                frame(&mut exchange.request.headers, body.len());
                exchange.request.body = Body::Buffered(body.into_bytes());
                Verdict::Continue
            }
            Err(cause) => failed(cause),
        }
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if !self.runs(Phase::Response) {
            return Verdict::Continue;
        }
        match self.render(exchange, Phase::Response) {
            Ok(body) => {
                frame(&mut exchange.response.headers, body.len());
                exchange.response.body = Body::Buffered(body.into_bytes());
                Verdict::Continue
            }
            Err(cause) => failed(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Bench, build};
    use proptest::prelude::*;
    use serde_json::json;

    fn assigned(phase: Phase, template: &str, body: Body) -> Result<String, Failure> {
        let policy = build("policy-assign-content", &json!({"body": template})).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange
            .request
            .headers
            .add("requestHeader", "one")
            .expect("a field");
        exchange
            .request
            .headers
            .add("Transfer-Encoding", "chunked")
            .expect("a field");
        exchange
            .response
            .headers
            .add("responseHeader", "two")
            .expect("a field");
        exchange
            .response
            .headers
            .add("Content-Length", "999")
            .expect("a field");
        exchange
            .request
            .path_parameters
            .push(("id".to_owned(), "7".to_owned()));
        exchange.request.query = "a=1&b=%20x&a=3".to_owned();
        exchange.attributes.set("mine", Value::text("attribute"));
        let verdict = match phase {
            Phase::Request => {
                exchange.request.body = body;
                policy.on_request(&mut exchange)
            }
            Phase::Response => {
                exchange.request.body = Body::Buffered(b"asked".to_vec());
                exchange.response.status = 200;
                exchange.response.body = body;
                policy.on_response(&mut exchange)
            }
        };
        let (headers, body) = match phase {
            Phase::Request => (&exchange.request.headers, &exchange.request.body),
            Phase::Response => (&exchange.response.headers, &exchange.response.body),
        };
        match verdict {
            Verdict::Continue => {
                let body =
                    String::from_utf8(body.bytes().expect("a body").to_vec()).expect("UTF-8");
                assert_eq!(
                    headers.text("Content-Length"),
                    Some(&*body.len().to_string())
                );
                assert!(!headers.contains("Transfer-Encoding"));
                Ok(body)
            }
            Verdict::Fail(failure) => Err(*failure),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bodies_are_written_from_what_the_exchange_holds() {
        let body = || Body::Buffered("été".into());
        for (phase, template, body, expected) in [
            (
                Phase::Request,
                "built: ${request.headers['requestHeader'][0]}",
                body(),
                "built: one",
            ),
            (Phase::Request, "${request.content}!", body(), "été!"),
            (Phase::Request, "${request.content}!", Body::None, "!"),
            (
                Phase::Request,
                "${request.content}",
                Body::Buffered(vec![b'a', 0xff, b'b']),
                "a\u{fffd}b",
            ),
            (Phase::Request, "", body(), ""),
            (
                Phase::Request,
                "${request.params['a'][1]}${request.params.b[0]} ${request.pathParams['id'][0]}",
                body(),
                "3 x 7",
            ),
            (
                Phase::Request,
                "${request.pathInfos[1]} ${request.method} ${request.id}",
                body(),
                "orders GET request-id",
            ),
            (
                Phase::Request,
                "${context.attributes['mine']} ${context.attributes['api']}",
                body(),
                "attribute api",
            ),
            (
                Phase::Request,
                "${context.attributes['none']!'-'}${context.dictionaries['none']!'-'}",
                body(),
                "--",
            ),
            (
                Phase::Request,
                "{\"a\": \"{#request.id}\"}",
                body(),
                "{\"a\": \"{#request.id}\"}",
            ),
            (
                Phase::Response,
                "${response.headers['responseHeader'][0]} / ${response.content} / ${response.status}",
                body(),
                "two / été / 200",
            ),
            (
                Phase::Response,
                "${request.content} ${response.content}",
                body(),
                "asked été",
            ),
        ] {
            assert_eq!(
                assigned(phase, template, body).map_err(|failure| failure.cause),
                Ok(expected.to_owned()),
                "{template}"
            );
        }
    }

    #[test]
    fn a_template_that_cannot_be_rendered_fails_the_request() {
        for (phase, template) in [
            (Phase::Request, "${request.headers['none'][0]}"),
            (Phase::Request, "${response.status}"),
            (Phase::Response, "${nope}"),
        ] {
            let failure = assigned(phase, template, Body::None).expect_err("a failure");
            assert_eq!(failure.status, 500);
            assert_eq!(failure.key_str(), "ASSIGN_CONTENT_ERROR");
            assert_eq!(
                failure.message.as_deref(),
                Some("Unable to assign body content")
            );
            assert!(failure.cause.is_some());
        }
    }

    #[test]
    fn what_could_reach_the_platform_is_refused_at_deployment() {
        for (template, part) in [
            (
                "<#assign ex=\"freemarker.template.utility.Execute\"?new()>${ex('id')}",
                "?new",
            ),
            (
                "<#assign oc=\"freemarker.template.utility.ObjectConstructor\"?new()>",
                "?new",
            ),
            ("${request?api.getClass()}", "?api"),
        ] {
            let error =
                build("policy-assign-content", &json!({"body": template})).expect_err("refused");
            assert_eq!(error.member, "body");
            assert!(error.reason.contains(part), "{}", error.reason);
        }
        let error =
            build("policy-assign-content", &json!({"scope": "ELSEWHERE"})).expect_err("no scope");
        assert_eq!(error.member, "scope");
    }

    #[test]
    fn the_bodies_of_its_phase_are_needed() {
        for (template, needed) in [
            ("x", false),
            ("${request.content}", true),
            ("${request.headers.a}", false),
        ] {
            let policy =
                build("policy-assign-content", &json!({"body": template})).expect("a policy");
            let request = policy.body_needs(Phase::Request);
            let response = policy.body_needs(Phase::Response);
            assert!(request.request_body && !request.response_body);
            assert!(response.response_body);
            assert_eq!(response.request_body, needed, "{template}");
        }
    }

    #[test]
    fn the_collected_samples_are_understood() {
        crate::policy::testing::builds_samples("policy-assign-content", &[]);
    }

    proptest! {
        #[test]
        fn bodies_of_any_bytes_are_read(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = String::from_utf8_lossy(&body).into_owned();
            prop_assert_eq!(assigned(Phase::Request, "${request.content}", Body::Buffered(body)).ok(), Some(text));
        }
    }
}
