//! `policy-http-callout`: calls an HTTP server and keeps what it answers (contract policies 13).

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::lenient::{de_bool, de_optional_number, de_optional_text, de_text};
use super::pairs::{self, Named, Pair, Placement, Scope};
use super::registry::Entry;
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Stage, Verdict};
use crate::el::{ElError, Object, Overlay, Template, Value};
use crate::error::Failure;
use crate::exchange::{Exchange, Headers, is_field_value};
use crate::http::Method;
use crate::need::{Answer, Errand, HttpCall, HttpOptions, HttpReply, Need};

pub(super) const ENTRY: Entry = Entry {
    id: "policy-http-callout",
    phases: Phases::BOTH,
    summary: "calls an HTTP server and keeps what it answers",
    members: &[
        "scope",
        "method",
        "url",
        "headers",
        "body",
        "variables",
        "fireAndForget",
        "exitOnError",
        "errorCondition",
        "errorStatusCode",
        "errorContent",
        "useSystemProxy",
    ],
    differences: "a call ends after 60 seconds and its answer may hold 5 MiB; the URL must not be empty",
    build,
};

/// Limit of a call, milliseconds: the reference has none but that of connecting.
const CALL_TIMEOUT_MS: u64 = 60_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    scope: Option<Scope>,
    #[serde(deserialize_with = "de_optional_text")]
    method: Option<String>,
    #[serde(deserialize_with = "de_text")]
    url: String,
    headers: Option<Vec<Pair>>,
    #[serde(deserialize_with = "de_optional_text")]
    body: Option<String>,
    variables: Option<Vec<Pair>>,
    #[serde(deserialize_with = "de_bool")]
    fire_and_forget: bool,
    #[serde(deserialize_with = "de_bool")]
    exit_on_error: bool,
    #[serde(deserialize_with = "de_optional_text")]
    error_condition: Option<String>,
    #[serde(deserialize_with = "de_optional_number")]
    error_status_code: Option<u16>,
    #[serde(deserialize_with = "de_optional_text")]
    error_content: Option<String>,
    #[serde(deserialize_with = "de_bool")]
    use_system_proxy: bool,
}

#[derive(Debug)]
struct HttpCallout {
    placement: Placement,
    method: Method,
    url: Template,
    headers: Box<[Named]>,
    body: Option<Template>,
    /// Attributes to set; one without a value is cleared.
    variables: Box<[(Box<str>, Option<Template>)]>,
    fire_and_forget: bool,
    exit_on_error: bool,
    error_condition: Option<Template>,
    error_status: u16,
    error_content: Option<Template>,
    options: Arc<HttpOptions>,
    needs: BodyNeeds,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    if configuration.url.trim().is_empty() {
        return Err(ConfigError::new("url", "a URL is needed"));
    }
    let method = configuration.method.as_deref().unwrap_or("GET");
    let method = match Method::of(method.as_bytes()) {
        Method::Other => {
            let reason = format!("a method such as GET, not {method:?}");
            return Err(ConfigError::new("method", reason));
        }
        method => method,
    };
    let error_status = configuration.error_status_code.unwrap_or(500);
    if !(200..=599).contains(&error_status) && configuration.exit_on_error {
        return Err(ConfigError::new(
            "errorStatusCode",
            format!("200 to 599, not {error_status}"),
        ));
    }
    let url = Template::new(&configuration.url);
    let headers = pairs::headers("headers", configuration.headers)?;
    let body = configuration.body.as_deref().map(Template::new);
    let variables: Box<[(Box<str>, Option<Template>)]> = configuration
        .variables
        .into_iter()
        .flatten()
        .filter_map(|pair| {
            let name = pairs::filled(pair.name)?;
            Some((name.into(), pair.value.as_deref().map(Template::new)))
        })
        .collect();
    let error_condition = pairs::template(configuration.error_condition);
    let error_content = configuration.error_content.as_deref().map(Template::new);
    let needs = [&body, &error_condition, &error_content]
        .into_iter()
        .flatten()
        .chain(variables.iter().filter_map(|(_, value)| value.as_ref()))
        .fold(
            url.needs().and(pairs::needs(&headers)),
            |needs, template| needs.and(template.needs()),
        );
    Ok(Arc::new(HttpCallout {
        placement: Placement::new(configuration.scope, builder.legacy_engine),
        method,
        url,
        headers,
        body,
        variables,
        fire_and_forget: configuration.fire_and_forget,
        exit_on_error: configuration.exit_on_error,
        error_condition,
        error_status,
        error_content,
        options: Arc::new(HttpOptions {
            connect_timeout_ms: CALL_TIMEOUT_MS,
            timeout_ms: CALL_TIMEOUT_MS,
            system_proxy: configuration.use_system_proxy,
            ..HttpOptions::default()
        }),
        needs,
    }))
}

/// `calloutResponse`.
#[derive(Debug)]
struct CalloutResponse {
    status: u16,
    headers: Headers,
    content: String,
}

impl CalloutResponse {
    fn new(reply: HttpReply) -> Self {
        let mut headers = Headers::default();
        for (name, value) in &reply.headers {
            // A field that could not be sent is not shown.
            let _ = headers.add(name, value);
        }
        Self {
            status: reply.status,
            headers,
            content: match String::from_utf8(reply.body) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            },
        }
    }
}

impl Object for CalloutResponse {
    fn kind(&self) -> &'static str {
        "calloutResponse"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "status" => Some(Value::Int(i32::from(self.status))),
            "headers" => Some(Value::Headers(&self.headers)),
            "content" => Some(Value::text(&self.content)),
            _ => None,
        }
    }
}

/// A text that falls back to what was configured.
fn text(template: &Template, exchange: &Exchange<'_>) -> Result<String, String> {
    match template.eval_text(exchange) {
        Ok(text) => Ok(text.map_or_else(|| template.source().to_owned(), Cow::into_owned)),
        Err(error) => Err(error.to_string()),
    }
}

fn broken(error: ElError) -> Verdict {
    Verdict::fail(Failure::internal().because(error.to_string()))
}

impl HttpCallout {
    fn call(&self, exchange: &Exchange<'_>) -> Result<HttpCall, String> {
        let url = text(&self.url, exchange)?;
        let mut headers = Vec::with_capacity(self.headers.len());
        for named in &self.headers {
            let value = text(&named.value, exchange)?;
            if !is_field_value(value.as_bytes()) {
                return Err(format!(
                    "{}: the value holds a control character",
                    named.name
                ));
            }
            // The last value of a name is the one that is sent.
            headers.retain(|(name, _): &(Cow<'static, str>, String)| {
                !name.eq_ignore_ascii_case(&named.name)
            });
            headers.push((named.name.to_string().into(), value));
        }
        let body = match &self.body {
            Some(body) => text(body, exchange)?.into_bytes(),
            None => Vec::new(),
        };
        if !body.is_empty() {
            // The client frames the body itself.
            headers.retain(|(name, _)| {
                !["content-length", "transfer-encoding"]
                    .iter()
                    .any(|framing| name.eq_ignore_ascii_case(framing))
            });
        }
        if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err("the URL holds a space or a control character".to_owned());
        }
        Ok(HttpCall {
            method: self.method.as_str().into(),
            url: url.into(),
            headers,
            body,
            options: Arc::clone(&self.options),
        })
    }

    fn start(&self, exchange: &mut Exchange<'_>, phase: Phase) -> Verdict {
        if !self.placement.acts_in(phase) {
            return Verdict::Continue;
        }
        match self.call(exchange) {
            Ok(call) if self.fire_and_forget => {
                exchange.detached.push(Errand::Http(Box::new(call)));
                Verdict::Continue
            }
            Ok(call) => Verdict::Await(Need::Errand(Box::new(Errand::Http(Box::new(call))))),
            Err(cause) => self.failed(cause),
        }
    }

    /// The call could not be made.
    fn failed(&self, cause: String) -> Verdict {
        if self.exit_on_error {
            return Verdict::fail(
                Failure::policy(self.error_status, "CALLOUT_HTTP_ERROR", cause.clone())
                    .because(cause),
            );
        }
        if self.placement.is_legacy() {
            return Verdict::Continue;
        }
        Verdict::fail(Failure::internal().because(cause))
    }

    fn answered(&self, exchange: &mut Exchange<'_>, response: &CalloutResponse) -> Verdict {
        let extra = [("calloutResponse", Value::Object(response))];
        let mut set = Vec::with_capacity(self.variables.len());
        {
            let scope = Overlay {
                base: &*exchange,
                extra: &extra,
            };
            if self.exit_on_error
                && let Some(condition) = &self.error_condition
            {
                match condition.eval_bool(&scope) {
                    Ok(Some(true)) => return self.terminated(&scope),
                    Ok(None | Some(false)) => {}
                    Err(error) => return broken(error),
                }
            }
            for (name, template) in &self.variables {
                let value = match template.as_ref().map(|value| value.eval_text(&scope)) {
                    None => None,
                    Some(Ok(text)) => text.map(Cow::into_owned),
                    Some(Err(error)) => return broken(error),
                };
                set.push((name, value));
            }
        }
        for (name, value) in set {
            match value {
                Some(value) => {
                    let _ = exchange.attributes.set(name.to_string(), value.into());
                }
                None => exchange.attributes.remove(name),
            }
        }
        Verdict::Continue
    }

    fn terminated(&self, scope: &Overlay<'_>) -> Verdict {
        let content = match self
            .error_content
            .as_ref()
            .map(|text| text.eval_text(scope))
        {
            None | Some(Ok(None)) => "Request is terminated.".to_owned(),
            Some(Ok(Some(text))) => text.into_owned(),
            Some(Err(error)) => return broken(error),
        };
        Verdict::fail(Failure::policy(
            self.error_status,
            "CALLOUT_EXIT_ON_ERROR",
            content,
        ))
    }
}

impl Policy for HttpCallout {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        self.placement.needs(phase, self.needs)
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.start(exchange, Phase::Request)
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.start(exchange, Phase::Response)
    }

    fn resume(&self, _stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        match answer {
            Answer::Http(Ok(reply)) => self.answered(exchange, &CalloutResponse::new(*reply)),
            Answer::Http(Err(error)) => self.failed(error.to_string()),
            _ => self.failed("the call could not be made".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::need::HttpError;
    use crate::policy::testing::{Bench, build, build_legacy};
    use serde_json::{Value as Json, json};

    fn reply(status: u16, body: &str) -> Answer {
        Answer::Http(Ok(Box::new(HttpReply {
            status,
            headers: vec![("X-Answer".to_owned(), "yes".to_owned())],
            body: body.as_bytes().to_vec(),
        })))
    }

    fn no_connection() -> Answer {
        Answer::Http(Err(HttpError::Connect("connection refused".to_owned())))
    }

    fn called(verdict: Verdict) -> HttpCall {
        match verdict {
            Verdict::Await(Need::Errand(errand)) => match *errand {
                Errand::Http(call) => *call,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn failure(verdict: Verdict) -> (u16, String, Option<String>) {
        match verdict {
            Verdict::Fail(failure) => (
                failure.status,
                failure.key_str().to_owned(),
                failure.message.map(Cow::into_owned),
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_call_is_made_as_configured() {
        let policy = build(
            "policy-http-callout",
            &json!({
                "method": "POST", "url": "http://localhost/callout", "body": "text",
                "headers": [{"name": "X-A", "value": "a"}, {"name": "Content-Length", "value": "99"}, {"name": "X-B"}],
            }),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        let call = called(policy.on_request(&mut bench.exchange()));
        assert_eq!(
            (&*call.method, &*call.url),
            ("POST", "http://localhost/callout")
        );
        assert_eq!(call.headers, [("X-A".into(), "a".to_owned())]);
        assert_eq!(call.body, b"text");
        assert!(call.options.trust_all && !call.options.follow_redirects);
    }

    #[test]
    fn a_header_that_would_end_a_line_is_never_sent() {
        let policy = build(
            "policy-http-callout",
            &json!({"url": "http://h/", "headers": [{"name": "X-A", "value": "a\r\nX-B: b"}]}),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        assert_eq!(failure(policy.on_request(&mut bench.exchange())).0, 500);
        let policy =
            build("policy-http-callout", &json!({"url": "http://h/ x"})).expect("a policy");
        assert_eq!(failure(policy.on_request(&mut bench.exchange())).0, 500);
    }

    #[test]
    fn variables_are_set_from_the_answer() {
        let policy = build(
            "policy-http-callout",
            &json!({"url": "http://h/", "variables": [
                {"name": "fixed", "value": "v"},
                {"name": "cleared"},
                {"name": "status", "value": "{#calloutResponse.status}"},
                {"name": "content", "value": "{#calloutResponse.content}"},
                {"name": "header", "value": "{#calloutResponse.headers['x-answer'][0]}"},
            ]}),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.attributes.set("cleared", "before".into());
        let verdict = policy.resume(Stage::Response, &mut exchange, reply(500, "text"));
        assert!(
            matches!(verdict, Verdict::Continue),
            "any status is an answer"
        );
        let found = |name| exchange.attributes.get(name).and_then(Value::as_text);
        assert_eq!(found("fixed"), Some("v"));
        assert!(exchange.attributes.get("cleared").is_none());
        assert_eq!(found("status"), Some("500"));
        assert_eq!(found("content"), Some("text"));
        assert_eq!(found("header"), Some("yes"));
    }

    #[test]
    fn a_call_that_nobody_waits_for_is_sent_off() {
        let policy = build(
            "policy-http-callout",
            &json!({"url": "http://h/", "fireAndForget": true}),
        )
        .expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        assert!(matches!(
            policy.on_request(&mut exchange),
            Verdict::Continue
        ));
        assert!(matches!(exchange.detached[..], [Errand::Http(_)]));
    }

    #[test]
    fn errors_end_the_request_only_when_they_are_told_to() {
        let with = |more: Json| {
            let mut configuration = json!({"url": "http://h/"});
            for (name, value) in more.as_object().expect("an object") {
                configuration[name] = value.clone();
            }
            configuration
        };
        let cases = [
            (
                with(json!({})),
                no_connection(),
                Some((500, "", Some("Internal Server Error"))),
            ),
            (
                with(json!({"exitOnError": true, "errorStatusCode": "501"})),
                no_connection(),
                Some((501, "CALLOUT_HTTP_ERROR", Some("connection refused"))),
            ),
            (with(json!({"exitOnError": true})), reply(500, ""), None),
            (
                with(json!({"errorCondition": "true"})),
                reply(500, ""),
                None,
            ),
            (
                with(json!({"exitOnError": true, "errorCondition": "true"})),
                reply(200, ""),
                Some((500, "CALLOUT_EXIT_ON_ERROR", Some("Request is terminated."))),
            ),
            (
                with(
                    json!({"exitOnError": true, "errorCondition": "true", "errorContent": "No.", "errorStatusCode": 403}),
                ),
                reply(200, ""),
                Some((403, "CALLOUT_EXIT_ON_ERROR", Some("No."))),
            ),
            (
                with(json!({"exitOnError": true, "errorCondition": "false"})),
                reply(200, ""),
                None,
            ),
        ];
        for (configuration, answer, expected) in cases {
            let policy = build("policy-http-callout", &configuration).expect("a policy");
            let mut bench = Bench::new();
            let verdict = policy.resume(Stage::Request, &mut bench.exchange(), answer);
            match expected {
                None => assert!(matches!(verdict, Verdict::Continue), "{configuration}"),
                Some((status, key, message)) => assert_eq!(
                    failure(verdict),
                    (status, key.to_owned(), message.map(str::to_owned)),
                    "{configuration}"
                ),
            }
        }
        let policy = build_legacy("policy-http-callout", &with(json!({}))).expect("a policy");
        let mut bench = Bench::new();
        let verdict = policy.resume(Stage::Request, &mut bench.exchange(), no_connection());
        assert!(
            matches!(verdict, Verdict::Continue),
            "the old engine goes on"
        );
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member() {
        for (configuration, member) in [
            (json!(null), "url"),
            (json!({"url": "u", "method": "FETCH"}), "method"),
            (
                json!({"url": "u", "exitOnError": true, "errorStatusCode": "100"}),
                "errorStatusCode",
            ),
            (
                json!({"url": "u", "errorStatusCode": "soon"}),
                "errorStatusCode",
            ),
            (
                json!({"url": "u", "headers": [{"name": "a b", "value": ""}]}),
                "headers[0].name",
            ),
        ] {
            let error = build("policy-http-callout", &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
        }
    }
}
