//! `aws-lambda`: invokes a function of AWS Lambda (contract policies 10).

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::aws::credentials::{Credentials, element};
use super::aws::sigv4::{self, Unsigned, encode};
use super::lenient::{de_bool, de_number, de_optional_text, de_text};
use super::pairs::{self, Pair, Placement, Scope};
use super::registry::{Entry, GatewayParts};
use super::{BodyNeeds, Builder, ConfigError, Phase, Phases, Policy, Stage, Verdict};
use crate::el::{Object, Overlay, Template, Value};
use crate::error::Failure;
use crate::exchange::{Body, Exchange};
use crate::need::{Answer, Errand, HttpCall, HttpOptions, HttpReply, Need};

pub(super) const ENTRY: Entry = Entry {
    id: "aws-lambda",
    phases: Phases::BOTH,
    summary: "invokes a function of AWS Lambda",
    members: &[
        "scope",
        "region",
        "accessKey",
        "secretKey",
        "function",
        "qualifier",
        "invocationType",
        "logType",
        "payload",
        "roleArn",
        "roleSessionName",
        "variables",
        "sendToConsumer",
        "connectionTimeoutMs",
        "readTimeoutMs",
        "apiCallAttemptTimeoutMs",
        "apiCallTimeoutMs",
        "ssl",
    ],
    differences: "credentials come from the configuration, the AWS_* variables or a container's agent: profile files, web identity and instance metadata are not read; a call is made once; ssl takes PEM content only",
    build,
};

/// Limit of a call without a configured one, milliseconds.
const CALL_TIMEOUT_MS: u64 = 60_000;

/// Bytes of an answer: Lambda's own limit is 6 MB.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Bytes of an answer that brings credentials.
const CREDENTIALS_BYTES_MAX: usize = 64 << 10;

const INVALID_RESPONSE: (u16, &str, &str) = (
    500,
    "AWS_LAMBDA_INVALID_RESPONSE",
    "An error occurs while invoking lambda function.",
);
const INVALID_STATUS: (u16, &str, &str) = (
    400,
    "AWS_LAMBDA_INVALID_STATUS_CODE",
    "Invalid status code from lambda function response.",
);
const VARIABLE_FAILED: (u16, &str, &str) = (
    500,
    "AWS_LAMBDA_TEMPLATE_VARIABLE_EXCEPTION",
    "An error occurs while processing context variables.",
);

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Configuration {
    scope: Option<Scope>,
    #[serde(deserialize_with = "de_optional_text")]
    region: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    access_key: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    secret_key: Option<String>,
    #[serde(deserialize_with = "de_text")]
    function: String,
    #[serde(deserialize_with = "de_optional_text")]
    qualifier: Option<String>,
    invocation_type: Option<InvocationType>,
    log_type: Option<LogType>,
    #[serde(deserialize_with = "de_optional_text")]
    payload: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    role_arn: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    role_session_name: Option<String>,
    variables: Option<Vec<Pair>>,
    #[serde(deserialize_with = "de_bool")]
    send_to_consumer: bool,
    #[serde(deserialize_with = "de_number")]
    connection_timeout_ms: u64,
    #[serde(deserialize_with = "de_number")]
    read_timeout_ms: u64,
    #[serde(deserialize_with = "de_number")]
    api_call_attempt_timeout_ms: u64,
    #[serde(deserialize_with = "de_number")]
    api_call_timeout_ms: u64,
    ssl: Option<Ssl>,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum InvocationType {
    #[default]
    RequestResponse,
    Event,
    DryRun,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum LogType {
    #[default]
    None,
    Tail,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ssl {
    #[serde(deserialize_with = "de_bool")]
    trust_all: bool,
    #[serde(deserialize_with = "de_optional_text")]
    trust_store_type: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    trust_store_path: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    trust_store_content: Option<String>,
}

/// Where a service of AWS is.
#[derive(Debug, Clone)]
struct Endpoint {
    /// Scheme and authority.
    origin: Box<str>,
    /// `Host` of requests to it.
    host: Box<str>,
    /// Path in front of the service's own; empty, or begins with `/`.
    path: Box<str>,
}

impl Endpoint {
    fn new(url: &str) -> Option<Self> {
        let (scheme, rest) = url.trim().split_once("://")?;
        let default_port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return None,
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let is_plain = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_graphic() && !b"@?#\"<>\\".contains(&b))
        };
        if authority.is_empty() || !is_plain(authority) || !is_plain(path) {
            return None;
        }
        Some(Self {
            origin: format!("{scheme}://{authority}").into(),
            host: authority
                .strip_suffix(default_port)
                .unwrap_or(authority)
                .into(),
            path: path.trim_end_matches('/').into(),
        })
    }

    /// The endpoint of a service: one that a variable names, else that of AWS.
    fn of(
        service: &str,
        variable: &str,
        region: &str,
        gateway: &GatewayParts,
    ) -> Result<Self, ConfigError> {
        for name in [variable, "AWS_ENDPOINT_URL"] {
            let url = gateway.environment.get(name).filter(|url| !url.is_empty());
            if let Some(url) = url {
                return Self::new(url).ok_or_else(|| {
                    ConfigError::new("", format!("{name} is not an http or https URL"))
                });
            }
        }
        let domain = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        Self::new(&format!("https://{service}.{region}.{domain}"))
            .ok_or_else(|| ConfigError::new("region", "not the name of a region"))
    }
}

/// Where the first credentials come from.
#[derive(Debug)]
enum Base {
    Given(Arc<Credentials>),
    /// The agent of the container, and what it wants as `Authorization`.
    Container(Endpoint, Option<Box<str>>),
    /// There are none; why.
    None(&'static str),
}

/// A role to take on.
#[derive(Debug)]
struct Role {
    endpoint: Endpoint,
    arn: Box<str>,
    session: Box<str>,
}

/// Temporary credentials, shared by every worker.
#[derive(Debug, Default)]
struct Kept {
    base: Option<Arc<Credentials>>,
    role: Option<Arc<Credentials>>,
}

#[derive(Debug)]
struct Lambda {
    placement: Placement,
    region: Box<str>,
    endpoint: Endpoint,
    /// Path of the invocation, encoded.
    path: Box<str>,
    /// Query of the invocation; empty without a qualifier.
    query: Box<str>,
    function: Box<str>,
    invocation_type: &'static str,
    tail: bool,
    payload: Option<Template>,
    variables: Box<[(Box<str>, Option<Template>)]>,
    send_to_consumer: bool,
    base: Base,
    role: Option<Role>,
    kept: Mutex<Kept>,
    options: Arc<HttpOptions>,
    credentials_options: Arc<HttpOptions>,
    needs: BodyNeeds,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let configuration: Configuration = builder.configuration()?;
    let gateway = builder.gateway;
    if configuration.function.trim().is_empty() {
        return Err(ConfigError::new("function", "a name or an ARN is needed"));
    }
    let region = pairs::filled(configuration.region.clone());
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    if !region
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        return Err(ConfigError::new("region", "not the name of a region"));
    }
    let endpoint = Endpoint::of("lambda", "AWS_ENDPOINT_URL_LAMBDA", &region, gateway)?;
    let role = match pairs::filled(configuration.role_arn.clone()) {
        Some(arn) => Some(Role {
            endpoint: Endpoint::of("sts", "AWS_ENDPOINT_URL_STS", &region, gateway)?,
            arn: arn.into(),
            session: pairs::filled(configuration.role_session_name.clone())
                .unwrap_or_else(|| "gravitee".to_owned())
                .into(),
        }),
        None => None,
    };
    let options = options(&configuration)?;
    let payload = pairs::template(configuration.payload);
    let variables: Box<[(Box<str>, Option<Template>)]> = configuration
        .variables
        .into_iter()
        .flatten()
        .filter_map(|pair| {
            let name = pairs::filled(pair.name)?;
            Some((name.into(), pair.value.as_deref().map(Template::new)))
        })
        .collect();
    let needs = variables
        .iter()
        .filter_map(|(_, value)| value.as_ref())
        .chain(&payload)
        .fold(BodyNeeds::default(), |needs, template| {
            needs.and(template.needs())
        });
    let qualifier = pairs::filled(configuration.qualifier);
    Ok(Arc::new(Lambda {
        placement: Placement::new(configuration.scope, builder.legacy_engine),
        path: format!(
            "{}/2015-03-31/functions/{}/invocations",
            endpoint.path,
            encode(configuration.function.trim(), false)
        )
        .into(),
        query: qualifier
            .map(|qualifier| format!("Qualifier={}", encode(&qualifier, false)))
            .unwrap_or_default()
            .into(),
        function: configuration.function.into(),
        region: region.into(),
        endpoint,
        invocation_type: match configuration.invocation_type.unwrap_or_default() {
            InvocationType::RequestResponse => "RequestResponse",
            InvocationType::Event => "Event",
            InvocationType::DryRun => "DryRun",
        },
        tail: configuration.log_type == Some(LogType::Tail),
        payload,
        variables,
        send_to_consumer: configuration.send_to_consumer,
        base: base(configuration.access_key, configuration.secret_key, gateway),
        role,
        kept: Mutex::default(),
        credentials_options: Arc::new(HttpOptions {
            body_bytes_max: CREDENTIALS_BYTES_MAX,
            timeout_ms: 10_000,
            ..options.clone()
        }),
        options: Arc::new(options),
        needs,
    }))
}

fn options(configuration: &Configuration) -> Result<HttpOptions, ConfigError> {
    let ssl = configuration.ssl.as_ref();
    let filled = |text: Option<&String>| text.is_some_and(|text| !text.trim().is_empty());
    if let Some(ssl) = ssl {
        if filled(ssl.trust_store_path.as_ref()) {
            return Err(ConfigError::new(
                "ssl.trustStorePath",
                "files are not read here: give trustStoreContent with type PEM",
            ));
        }
        let is_pem = |kind: &String| kind.eq_ignore_ascii_case("PEM");
        if filled(ssl.trust_store_content.as_ref())
            && !ssl.trust_store_type.as_ref().is_some_and(is_pem)
        {
            return Err(ConfigError::new("ssl.trustStoreType", "PEM is needed"));
        }
    }
    let timeout_ms = [
        configuration.api_call_timeout_ms,
        configuration.api_call_attempt_timeout_ms,
        configuration.read_timeout_ms,
    ]
    .into_iter()
    .filter(|timeout_ms| *timeout_ms > 0)
    .min();
    Ok(HttpOptions {
        connect_timeout_ms: match configuration.connection_timeout_ms {
            0 => 10_000,
            timeout_ms => timeout_ms,
        },
        timeout_ms: timeout_ms.unwrap_or(CALL_TIMEOUT_MS),
        body_bytes_max: ANSWER_BYTES_MAX,
        follow_redirects: false,
        system_proxy: false,
        trust_all: ssl.is_some_and(|ssl| ssl.trust_all),
        trust_pem: ssl
            .and_then(|ssl| pairs::filled(ssl.trust_store_content.clone()))
            .map(Into::into),
    })
}

fn base(access_key: Option<String>, secret_key: Option<String>, gateway: &GatewayParts) -> Base {
    let given = |access: &str, secret: &str, token: Option<&str>| {
        Base::Given(Arc::new(Credentials::new(access, secret, token)))
    };
    if let (Some(access), Some(secret)) = (pairs::filled(access_key), pairs::filled(secret_key)) {
        return given(&access, &secret, None);
    }
    let variable = |name: &str| {
        let value = gateway.environment.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    };
    if let (Some(access), Some(secret)) = (
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    ) {
        return given(access, secret, variable("AWS_SESSION_TOKEN"));
    }
    let agent = match (
        variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ) {
        (Some(path), _) => Endpoint::new(&format!("http://169.254.170.2{path}")),
        (None, Some(url)) => Endpoint::new(url),
        (None, None) => None,
    };
    match agent {
        Some(agent) => Base::Container(
            agent,
            variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Into::into),
        ),
        None => Base::None(
            "no credentials: neither accessKey and secretKey, nor AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor a container's agent",
        ),
    }
}

/// What a step of an exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Container,
    Role,
    Function,
}

/// What is remembered while it waits.
#[derive(Debug)]
struct Progress {
    payload: Vec<u8>,
    waiting: Waiting,
    /// Credentials that this exchange fetched: it uses them whatever the clock says.
    base: Option<Arc<Credentials>>,
    role: Option<Arc<Credentials>>,
}

/// An answer of the function, to be sent in the backend's place.
#[derive(Debug)]
struct Prepared {
    status: u16,
    body: Vec<u8>,
}

/// `lambdaResponse`.
#[derive(Debug)]
struct LambdaResponse {
    status: u16,
    content: String,
}

impl Object for LambdaResponse {
    fn kind(&self) -> &'static str {
        "lambdaResponse"
    }

    fn property(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "status" => Some(Value::Int(i32::from(self.status))),
            "content" => Some(Value::text(&self.content)),
            _ => None,
        }
    }
}

impl Lambda {
    fn fail(
        &self,
        (status, key, message): (u16, &'static str, &'static str),
        cause: Option<String>,
    ) -> Verdict {
        let mut failure = match &cause {
            Some(cause) => Failure::policy(status, key, format!("{message} Details: [{cause}]")),
            None => Failure::policy(status, key, message),
        };
        if self.placement.is_legacy() {
            failure = failure
                .with("function", self.function.to_string())
                .with("region", self.region.to_string())
                .with("error", cause.clone().unwrap_or_default());
        }
        if let Some(cause) = cause {
            failure = failure.because(cause);
        }
        Verdict::fail(failure)
    }

    fn start(&self, exchange: &mut Exchange<'_>, phase: Phase) -> Verdict {
        if !self.placement.acts_in(phase) {
            return Verdict::Continue;
        }
        let payload = match self
            .payload
            .as_ref()
            .map(|payload| payload.eval_text(&*exchange))
        {
            None | Some(Ok(None)) => Vec::new(),
            Some(Ok(Some(text))) => text.into_owned().into_bytes(),
            Some(Err(error)) => {
                return Verdict::fail(Failure::internal().because(format!("payload: {error}")));
            }
        };
        self.advance(
            exchange,
            Progress {
                payload,
                waiting: Waiting::Function,
                base: None,
                role: None,
            },
        )
    }

    /// Goes on to the next call: for credentials as long as some are missing, then of the function.
    fn advance(&self, exchange: &mut Exchange<'_>, mut progress: Progress) -> Verdict {
        let now_ms = exchange.now_ms;
        let (kept_base, kept_role) = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = |kept: &Option<Arc<Credentials>>| {
                kept.clone().filter(|kept| kept.are_fresh(now_ms))
            };
            (fresh(&kept.base), fresh(&kept.role))
        };
        let role = progress.role.clone().or(kept_role);
        let (call, waiting) = match (&self.role, role) {
            (Some(_), Some(credentials)) => (
                self.invocation(&credentials, &mut progress, now_ms),
                Waiting::Function,
            ),
            (role, _) => {
                let base = match &self.base {
                    Base::Given(credentials) => Some(Arc::clone(credentials)),
                    Base::Container(..) => progress.base.clone().or(kept_base),
                    Base::None(reason) => {
                        return self.fail(INVALID_RESPONSE, Some((*reason).to_owned()));
                    }
                };
                match (base, role, &self.base) {
                    (Some(base), None, _) => (
                        self.invocation(&base, &mut progress, now_ms),
                        Waiting::Function,
                    ),
                    (Some(base), Some(role), _) => (self.role(role, &base, now_ms), Waiting::Role),
                    (None, _, Base::Container(agent, token)) => {
                        (self.agent(agent, token.as_deref()), Waiting::Container)
                    }
                    (None, ..) => return self.fail(INVALID_RESPONSE, None),
                }
            }
        };
        progress.waiting = waiting;
        exchange.carry = Some(Box::new(progress));
        Verdict::Await(Need::Errand(Box::new(Errand::Http(Box::new(call)))))
    }

    fn invocation(
        &self,
        credentials: &Credentials,
        progress: &mut Progress,
        now_ms: u64,
    ) -> HttpCall {
        let body = std::mem::take(&mut progress.payload);
        let headers = [
            ("x-amz-invocation-type", self.invocation_type),
            ("x-amz-log-type", if self.tail { "Tail" } else { "None" }),
        ];
        let headers = sigv4::sign(
            &Unsigned {
                method: "POST",
                host: &self.endpoint.host,
                path: &self.path,
                query: &self.query,
                headers: &headers,
                body: &body,
                region: &self.region,
                service: "lambda",
            },
            credentials,
            now_ms,
        );
        let mark = if self.query.is_empty() { "" } else { "?" };
        HttpCall {
            method: "POST".into(),
            url: format!("{}{}{mark}{}", self.endpoint.origin, self.path, self.query).into(),
            headers,
            body,
            options: Arc::clone(&self.options),
        }
    }

    fn role(&self, role: &Role, base: &Credentials, now_ms: u64) -> HttpCall {
        let body = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleArn={}&RoleSessionName={}",
            encode(&role.arn, false),
            encode(&role.session, false)
        );
        let path = format!("{}/", role.endpoint.path);
        let headers = sigv4::sign(
            &Unsigned {
                method: "POST",
                host: &role.endpoint.host,
                path: &path,
                query: "",
                headers: &[(
                    "content-type",
                    "application/x-www-form-urlencoded; charset=utf-8",
                )],
                body: body.as_bytes(),
                region: &self.region,
                service: "sts",
            },
            base,
            now_ms,
        );
        HttpCall {
            method: "POST".into(),
            url: format!("{}{path}", role.endpoint.origin).into(),
            headers,
            body: body.into_bytes(),
            options: Arc::clone(&self.credentials_options),
        }
    }

    fn agent(&self, agent: &Endpoint, token: Option<&str>) -> HttpCall {
        HttpCall {
            method: "GET".into(),
            url: format!("{}{}", agent.origin, agent.path).into(),
            headers: token
                .map(|token| (Cow::Borrowed("Authorization"), token.to_owned()))
                .into_iter()
                .collect(),
            body: Vec::new(),
            options: Arc::clone(&self.credentials_options),
        }
    }

    /// Takes an answer that brings credentials.
    fn take(
        &self,
        exchange: &mut Exchange<'_>,
        mut progress: Progress,
        reply: &HttpReply,
    ) -> Verdict {
        let is_role = progress.waiting == Waiting::Role;
        let credentials = match (reply.status, is_role) {
            (200, true) => Credentials::of_role(&reply.body),
            (200, false) => Credentials::of_container(&reply.body),
            _ => None,
        };
        let Some(credentials) = credentials.map(Arc::new) else {
            let who = if is_role {
                "STS"
            } else {
                "the container's agent"
            };
            let said = std::str::from_utf8(&reply.body)
                .ok()
                .and_then(|body| element(body, "Message"))
                .map(|message| format!(": {}", message.chars().take(200).collect::<String>()));
            return self.fail(
                INVALID_RESPONSE,
                Some(format!(
                    "{who} answered {} without credentials{}",
                    reply.status,
                    said.unwrap_or_default()
                )),
            );
        };
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if is_role {
                kept.role = Some(Arc::clone(&credentials));
            } else {
                kept.base = Some(Arc::clone(&credentials));
            }
        }
        if is_role {
            progress.role = Some(credentials);
        } else {
            progress.base = Some(credentials);
        }
        self.advance(exchange, progress)
    }

    /// Takes the function's answer.
    fn finish(&self, stage: Stage, exchange: &mut Exchange<'_>, reply: HttpReply) -> Verdict {
        let failed = reply.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("x-amz-function-error")
                && matches!(value.trim(), "Handled" | "Unhandled")
        });
        if failed {
            return self.fail(INVALID_RESPONSE, None);
        }
        if !(200..300).contains(&reply.status) {
            return self.fail(INVALID_STATUS, None);
        }
        let HttpReply { status, body, .. } = reply;
        if !self.variables.is_empty() {
            let response = LambdaResponse {
                status,
                content: String::from_utf8_lossy(&body).into_owned(),
            };
            if let Err(cause) = self.set_variables(exchange, &response)
                && !self.placement.is_legacy()
            {
                return self.fail(VARIABLE_FAILED, Some(cause));
            }
        }
        if !self.send_to_consumer {
            return Verdict::Continue;
        }
        match stage {
            Stage::Request => Verdict::Wrap(Some(Box::new(Prepared { status, body }))),
            _ => {
                let response = &mut exchange.response;
                response.headers.remove("Content-Length");
                response.status = status;
                response.reason.clear();
                response.body = Body::Buffered(body);
                Verdict::Continue
            }
        }
    }

    fn set_variables(
        &self,
        exchange: &mut Exchange<'_>,
        response: &LambdaResponse,
    ) -> Result<(), String> {
        let mut values = Vec::with_capacity(self.variables.len());
        let mut failed = None;
        {
            let extra = [("lambdaResponse", Value::Object(response))];
            let scope = Overlay {
                base: &*exchange,
                extra: &extra,
            };
            for (name, template) in &self.variables {
                match template.as_ref().map(|template| template.eval_text(&scope)) {
                    None => values.push((name, None)),
                    Some(Ok(text)) => values.push((name, text.map(Cow::into_owned))),
                    Some(Err(error)) => {
                        failed = Some(error.to_string());
                        break;
                    }
                }
            }
        }
        for (name, value) in values {
            let value = value.map_or(Value::Null, Value::from);
            exchange.attributes.set(name.to_string(), value);
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Policy for Lambda {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        self.placement.needs(phase, self.needs)
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.start(exchange, Phase::Request)
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        self.start(exchange, Phase::Response)
    }

    fn resume(&self, stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        let Some(progress) = exchange.take_carried::<Progress>() else {
            return self.fail(INVALID_RESPONSE, None);
        };
        match answer {
            Answer::Http(Ok(reply)) => match progress.waiting {
                Waiting::Function => self.finish(stage, exchange, *reply),
                Waiting::Container | Waiting::Role => self.take(exchange, progress, &reply),
            },
            Answer::Http(Err(error)) => self.fail(INVALID_RESPONSE, Some(error.to_string())),
            _ => self.fail(
                INVALID_RESPONSE,
                Some("the call could not be made".to_owned()),
            ),
        }
    }

    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let Some(Prepared { status, body }) = exchange.carried() else {
            return Verdict::Continue;
        };
        // Kept for another call: a wrapper further out may ask for one.
        let (status, body) = (*status, body.clone());
        exchange.response.answer(status);
        if self.placement.is_legacy() {
            let length = body.len().to_string();
            let _ = exchange.response.headers.set("Content-Length", length);
        }
        exchange.response.body = Body::Buffered(body);
        Verdict::Interrupt
    }
}

#[cfg(test)]
mod tests;
