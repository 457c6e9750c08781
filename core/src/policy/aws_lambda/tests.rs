use std::collections::HashMap;

use super::*;
use crate::need::HttpError;
use crate::policy::testing::{Bench, build, build_with};
use serde_json::{Value as Json, json};

const NOW_MS: u64 = 1_700_000_000_000;

fn policy(more: Json, environment: &[(&str, &str)]) -> Arc<dyn Policy> {
    policy_on(more, environment, false)
}

fn policy_on(more: Json, environment: &[(&str, &str)], legacy: bool) -> Arc<dyn Policy> {
    let mut configuration = json!({"function": "f"});
    for (name, value) in more.as_object().expect("an object") {
        configuration[name] = value.clone();
    }
    let gateway = GatewayParts {
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..GatewayParts::default()
    };
    build_with(
        "aws-lambda",
        &configuration,
        legacy,
        &HashMap::new(),
        &gateway,
    )
    .expect("a policy")
}

fn keys() -> Json {
    json!({"accessKey": "AKID", "secretKey": "hidden"})
}

fn with(mut configuration: Json, more: Json) -> Json {
    for (name, value) in more.as_object().expect("an object") {
        configuration[name] = value.clone();
    }
    configuration
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

fn header<'c>(call: &'c HttpCall, name: &str) -> Option<&'c str> {
    let found = call.headers.iter().find(|(own, _)| own == name);
    found.map(|(_, value)| value.as_str())
}

fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    Answer::Http(Ok(Box::new(HttpReply {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.as_bytes().to_vec(),
    })))
}

fn failure(verdict: Verdict) -> (u16, String, String) {
    match verdict {
        Verdict::Fail(failure) => (
            failure.status,
            failure.key_str().to_owned(),
            failure.message.unwrap_or_default().into_owned(),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_function_is_invoked_as_configured() {
    let policy = policy(
        with(
            keys(),
            json!({
                "function": "arn:aws:lambda:eu-west-1:1:function:f", "region": "eu-west-1", "qualifier": "$LATEST",
                "invocationType": "Event", "logType": "Tail", "payload": "{\"a\": 1}", "readTimeoutMs": 7,
            }),
        ),
        &[],
    );
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    let call = called(policy.on_request(&mut exchange));
    assert_eq!(
        &*call.url,
        "https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/\
         arn%3Aaws%3Alambda%3Aeu-west-1%3A1%3Afunction%3Af/invocations?Qualifier=%24LATEST"
    );
    assert_eq!((&*call.method, &*call.body), ("POST", &b"{\"a\": 1}"[..]));
    assert_eq!(header(&call, "x-amz-invocation-type"), Some("Event"));
    assert_eq!(header(&call, "x-amz-log-type"), Some("Tail"));
    assert_eq!(header(&call, "x-amz-date"), Some("20231114T221320Z"));
    assert!(
        header(&call, "authorization").is_some_and(|text| text.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKID/20231114/eu-west-1/lambda/aws4_request, \
         SignedHeaders=host;x-amz-date;x-amz-invocation-type;x-amz-log-type, Signature="
        ))
    );
    assert!(!call.options.trust_all && call.options.timeout_ms == 7);
}

#[test]
fn the_result_feeds_variables_and_goes_nowhere_else() {
    let configuration = with(
        keys(),
        json!({"variables": [
            {"name": "fixed", "value": "v"},
            {"name": "none"},
            {"name": "content", "value": "{#lambdaResponse.content}"},
            {"name": "status", "value": "{#lambdaResponse.status}"},
        ]}),
    );
    let policy = policy(configuration, &[]);
    let mut bench = Bench::new();
    for stage in [Stage::Request, Stage::Response] {
        let mut exchange = bench.exchange();
        called(match stage {
            Stage::Request => policy.on_request(&mut exchange),
            _ => policy.on_response(&mut exchange),
        });
        let verdict = policy.resume(stage, &mut exchange, reply(202, &[], "result"));
        assert!(matches!(verdict, Verdict::Continue));
        let found = |name| exchange.attributes.get(name).and_then(Value::as_text);
        assert_eq!(found("fixed"), Some("v"));
        assert!(exchange.attributes.get("none").is_some_and(Value::is_null));
        assert_eq!(found("content"), Some("result"));
        assert_eq!(found("status"), Some("202"));
        assert!(matches!(exchange.response.body, Body::None));
    }
}

#[test]
fn the_result_takes_the_place_of_the_backend_when_it_is_told_to() {
    let configuration = || with(keys(), json!({"sendToConsumer": true}));
    for legacy in [false, true] {
        let policy = policy_on(configuration(), &[], legacy);
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        called(policy.on_request(&mut exchange));
        let verdict = policy.resume(Stage::Request, &mut exchange, reply(202, &[], "result"));
        let Verdict::Wrap(carry) = verdict else {
            panic!("{verdict:?}");
        };
        exchange.carry = carry;
        assert!(matches!(
            policy.before_call(&mut exchange),
            Verdict::Interrupt
        ));
        assert_eq!(exchange.response.status, 202);
        assert_eq!(exchange.response.body, Body::Buffered(b"result".to_vec()));
        assert!(!exchange.response.headers.contains("Content-Type"));
        assert_eq!(exchange.response.headers.contains("Content-Length"), legacy);
    }
    let policy = policy(configuration(), &[]);
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    called(policy.on_response(&mut exchange));
    let headers = &mut exchange.response.headers;
    headers.add("Content-Length", "99").expect("a field");
    let verdict = policy.resume(Stage::Response, &mut exchange, reply(200, &[], "result"));
    assert!(matches!(verdict, Verdict::Continue));
    assert_eq!(exchange.response.body, Body::Buffered(b"result".to_vec()));
    assert!(exchange.response.headers.is_empty());
}

#[test]
fn failures_have_the_keys_of_the_reference() {
    let message = "An error occurs while invoking lambda function.";
    for (answer, status, key, expected) in [
        (
            reply(200, &[("X-Amz-Function-Error", "Unhandled")], "{}"),
            500,
            "AWS_LAMBDA_INVALID_RESPONSE",
            message.to_owned(),
        ),
        (
            reply(404, &[], "{}"),
            400,
            "AWS_LAMBDA_INVALID_STATUS_CODE",
            "Invalid status code from lambda function response.".to_owned(),
        ),
        (
            Answer::Http(Err(HttpError::Connect("refused".to_owned()))),
            500,
            "AWS_LAMBDA_INVALID_RESPONSE",
            format!("{message} Details: [refused]"),
        ),
    ] {
        let policy = policy(keys(), &[]);
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        called(policy.on_request(&mut exchange));
        let found = failure(policy.resume(Stage::Request, &mut exchange, answer));
        assert_eq!(found, (status, key.to_owned(), expected));
    }
    let configuration = with(
        keys(),
        json!({"variables": [{"name": "a", "value": "{#lambdaResponse.nothing}"}]}),
    );
    let policy = policy(configuration, &[]);
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    called(policy.on_request(&mut exchange));
    let verdict = policy.resume(Stage::Request, &mut exchange, reply(200, &[], ""));
    let (status, key, message) = failure(verdict);
    assert_eq!(
        (status, &*key),
        (500, "AWS_LAMBDA_TEMPLATE_VARIABLE_EXCEPTION")
    );
    assert!(message.starts_with("An error occurs while processing context variables. Details: ["));
}

#[test]
fn without_keys_the_variables_of_the_process_are_used() {
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKENV"),
        ("AWS_SECRET_ACCESS_KEY", "hidden"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_ENDPOINT_URL", "http://localhost:4566/prefix/"),
    ];
    let policy = policy(json!({"accessKey": "only half"}), &environment);
    let mut bench = Bench::new();
    let call = called(policy.on_request(&mut bench.exchange()));
    assert_eq!(
        &*call.url,
        "http://localhost:4566/prefix/2015-03-31/functions/f/invocations"
    );
    assert_eq!(header(&call, "x-amz-security-token"), Some("token"));
    let authorization = header(&call, "authorization").expect("a signature");
    assert!(authorization.contains("Credential=AKENV/"));
    let policy = self::policy(json!({}), &[]);
    let (status, key, message) = failure(policy.on_request(&mut bench.exchange()));
    assert_eq!((status, &*key), (500, "AWS_LAMBDA_INVALID_RESPONSE"));
    assert!(message.contains("no credentials"));
}

const ROLE: &str = "<AssumeRoleResponse><AccessKeyId>AKROLE</AccessKeyId>\
    <SecretAccessKey>hidden</SecretAccessKey><SessionToken>token</SessionToken>\
    <Expiration>2023-11-14T23:13:20Z</Expiration></AssumeRoleResponse>";

#[test]
fn a_role_is_taken_on_once_and_again_before_it_ends() {
    let configuration = with(
        keys(),
        json!({"roleArn": "arn:aws:iam::1:role/r", "payload": "text"}),
    );
    let policy = policy(configuration, &[("AWS_ENDPOINT_URL_STS", "http://sts:1")]);
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    let call = called(policy.on_request(&mut exchange));
    assert_eq!(&*call.url, "http://sts:1/");
    assert_eq!(
        std::str::from_utf8(&call.body),
        Ok(
            "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=gravitee"
        )
    );
    let authorization = header(&call, "authorization").expect("a signature");
    assert!(authorization.contains("Credential=AKID/20231114/us-east-1/sts/"));
    let call = called(policy.resume(Stage::Request, &mut exchange, reply(200, &[], ROLE)));
    let authorization = header(&call, "authorization").expect("a signature");
    assert!(authorization.contains("Credential=AKROLE/20231114/us-east-1/lambda/"));
    assert_eq!(call.body, b"text");

    for (later_ms, fetches) in [(3_400_000, false), (3_500_000, true)] {
        let mut exchange = bench.exchange();
        exchange.now_ms = NOW_MS + later_ms;
        let call = called(policy.on_request(&mut exchange));
        assert_eq!(call.url.starts_with("http://sts:1"), fetches, "{later_ms}");
    }
}

#[test]
fn a_role_that_is_denied_fails_the_request_and_says_why() {
    let configuration = with(keys(), json!({"roleArn": "arn:aws:iam::1:role/r"}));
    let policy = policy(configuration, &[]);
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    called(policy.on_request(&mut exchange));
    let answer = reply(403, &[], "<Error><Message>not allowed</Message></Error>");
    let (status, key, message) = failure(policy.resume(Stage::Request, &mut exchange, answer));
    assert_eq!((status, &*key), (500, "AWS_LAMBDA_INVALID_RESPONSE"));
    assert!(message.ends_with("[STS answered 403 without credentials: not allowed]"));
}

#[test]
fn a_container_s_agent_is_asked_with_its_token() {
    let environment = [
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        ),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "agent-token"),
    ];
    let policy = policy(json!({}), &environment);
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    let call = called(policy.on_request(&mut exchange));
    assert_eq!(&*call.url, "http://169.254.170.23/v1/credentials");
    assert_eq!(header(&call, "Authorization"), Some("agent-token"));
    let answer = r#"{"AccessKeyId": "AKTASK", "SecretAccessKey": "hidden", "Token": "token", "Expiration": "2023-11-14T23:13:20Z"}"#;
    let call = called(policy.resume(Stage::Request, &mut exchange, reply(200, &[], answer)));
    let authorization = header(&call, "authorization").expect("a signature");
    assert!(authorization.contains("Credential=AKTASK/"));
    let call = called(policy.on_request(&mut bench.exchange()));
    assert!(
        call.url.contains("/2015-03-31/"),
        "the credentials are kept"
    );
}

#[test]
fn a_configuration_that_cannot_be_used_names_its_member_and_keeps_its_secret() {
    for (configuration, member) in [
        (json!({}), "function"),
        (json!({"function": "f", "region": "us.evil.com/"}), "region"),
        (
            json!({"function": "f", "invocationType": "Never"}),
            "invocationType",
        ),
        (json!({"function": "f", "logType": "All"}), "logType"),
        (
            json!({"function": "f", "readTimeoutMs": -1}),
            "readTimeoutMs",
        ),
        (
            json!({"function": "f", "ssl": {"trustStorePath": "/x"}}),
            "ssl.trustStorePath",
        ),
        (
            json!({"function": "f", "ssl": {"trustStoreType": "JKS", "trustStoreContent": "x"}}),
            "ssl.trustStoreType",
        ),
    ] {
        let error = build("aws-lambda", &configuration).expect_err("unusable");
        assert_eq!(error.member, member);
    }
    assert!(!format!("{:?}", policy(keys(), &[])).contains("hidden"));
}
