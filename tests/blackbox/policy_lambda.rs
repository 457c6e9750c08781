//! `aws-lambda` against a server of the shape of Lambda and of STS, which checks every signature.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use serde_json::{Value, json};

use super::policy_traffic::{ENGINES, both};
use crate::support::client::{exchange, fetch, request};
use crate::support::gateway::Start;
use crate::support::server::{Answer, Asked, Server};
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, until};

/// Secret keys by access key.
const KEYS: [(&str, &str); 4] = [
    ("ENVIRONMENT", "environment-secret"),
    ("STATIC", "static-secret"),
    ("ROLE", "role-secret"),
    ("CONTAINER", "container-secret"),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encodes a path once more, as signatures of every service but S3 want it.
fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Checks the signature (version 4) of a request; the access key that signed it.
fn signer(asked: &Asked, service: &str) -> Result<String, String> {
    let authorization = asked.head.field("Authorization").ok_or("not signed")?;
    let fields = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or("another algorithm")?;
    let part = |name: &str| {
        fields
            .split(',')
            .find_map(|part| part.trim().strip_prefix(name))
            .ok_or_else(|| format!("no {name} in {authorization}"))
    };
    let credential = part("Credential=")?;
    let (access, scope) = credential.split_once('/').ok_or("no scope")?;
    let (_, secret) = KEYS
        .iter()
        .find(|(known, _)| *known == access)
        .ok_or_else(|| format!("unknown key {access}"))?;
    let time = asked.head.field("X-Amz-Date").ok_or("no date")?;
    let expected = format!("{}/eu-west-3/{service}/aws4_request", &time[..8]);
    if scope != expected {
        return Err(format!("{scope} is not {expected}"));
    }
    let names = part("SignedHeaders=")?;
    for needed in ["host", "x-amz-date"] {
        if !names.split(';').any(|name| name == needed) {
            return Err(format!("{needed} is not signed"));
        }
    }
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let mut canonical = format!("{}\n{}\n{query}\n", asked.method, encoded(path));
    for name in names.split(';') {
        let value = asked
            .head
            .field(name)
            .ok_or_else(|| format!("{name} is not there"))?;
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
    }
    let body = hex(digest(&SHA256, &asked.body).as_ref());
    canonical.push_str(&format!("\n{names}\n{body}"));
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        key = sign(&Key::new(HMAC_SHA256, &key), part.as_bytes())
            .as_ref()
            .to_vec();
    }
    let signature = hex(sign(&Key::new(HMAC_SHA256, &key), text.as_bytes()).as_ref());
    if part("Signature=")? == signature {
        Ok(access.to_owned())
    } else {
        Err("the signature is wrong".to_owned())
    }
}

/// Answers as Lambda, STS and the agent of a container do. The function's name says what it does.
fn aws(asked: &Asked) -> Answer {
    if asked.target == "/credentials" {
        return Answer::json(&json!({
            "AccessKeyId": "CONTAINER", "SecretAccessKey": "container-secret", "Token": "container-token",
            "Expiration": "2099-01-01T00:00:00Z",
        }));
    }
    let is_role = asked.target == "/";
    let access = match signer(asked, if is_role { "sts" } else { "lambda" }) {
        Ok(access) => access,
        Err(reason) => return Answer::new(403, reason),
    };
    if is_role {
        return Answer::new(
            200,
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>\
             <AccessKeyId>ROLE</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey>\
             <SessionToken>role-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
             </Credentials></AssumeRoleResult></AssumeRoleResponse>",
        );
    }
    let function = asked
        .target
        .strip_prefix("/2015-03-31/functions/")
        .and_then(|rest| rest.split_once("/invocations"))
        .map_or("", |(function, _)| function);
    match function {
        "handled" => {
            Answer::new(200, "{\"errorMessage\":\"no\"}").field("X-Amz-Function-Error", "Unhandled")
        }
        "missing" => Answer::new(404, "{\"Message\":\"not found\"}"),
        "late" => Answer::new(200, "late").after(Duration::from_secs(10)),
        "accepted" => Answer::new(202, ""),
        _ => Answer::json(&json!({
            "by": access,
            "token": asked.head.field("X-Amz-Security-Token"),
            "type": asked.head.field("X-Amz-Invocation-Type"),
            "log": asked.head.field("X-Amz-Log-Type"),
            "target": asked.target,
            "payload": String::from_utf8_lossy(&asked.body),
        })),
    }
}

/// A configuration with these members.
fn configuration(members: &Value) -> Value {
    let mut configuration = json!({ "region": "eu-west-3", "function": "echo" });
    for (member, value) in members.as_object().expect("an object") {
        configuration[member] = value.clone();
    }
    configuration
}

/// A gateway that finds AWS at `aws` and its credentials in the environment.
fn start(aws: &Server) -> Start {
    Start::new()
        .environment("AWS_ENDPOINT_URL_LAMBDA", &aws.url(""))
        .environment("AWS_ENDPOINT_URL_STS", &aws.url(""))
        .environment("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
        .environment("AWS_SECRET_ACCESS_KEY", "environment-secret")
        .environment("AWS_SESSION_TOKEN", "environment-token")
}

#[test]
fn a_function_is_invoked_with_the_credentials_that_apply_and_a_valid_signature() {
    let aws = Server::start(aws);
    let keys = json!({ "accessKey": "STATIC", "secretKey": "static-secret" });
    let cases = [
        (
            "environment",
            json!({ "payload": "{#request.headers['X-Who'][0]}" }),
            json!({
                "by": "ENVIRONMENT", "token": "environment-token", "type": "RequestResponse",
                "target": "/2015-03-31/functions/echo/invocations", "payload": "me",
            }),
        ),
        (
            "static",
            json!({ "accessKey": "STATIC", "secretKey": "static-secret" }),
            json!({ "by": "STATIC", "token": null, "payload": "" }),
        ),
        (
            "role",
            json!({
                "accessKey": keys["accessKey"], "secretKey": keys["secretKey"],
                "roleArn": "arn:aws:iam::123456789012:role/caller", "payload": "{\"a\": 1}",
            }),
            json!({ "by": "ROLE", "token": "role-token", "payload": "{\"a\": 1}" }),
        ),
        (
            "arn",
            json!({
                "function": "arn:aws:lambda:eu-west-3:123456789012:function:echo",
                "qualifier": "$LATEST", "invocationType": "Event", "logType": "Tail",
            }),
            json!({
                "target": "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-3%3A123456789012%3Afunction%3Aecho/invocations?Qualifier=%24LATEST",
                "type": "Event", "log": "Tail",
            }),
        ),
    ];
    let site = Site::with(start(&aws), |backend| {
        let mut all = Vec::new();
        for (name, members, _) in &cases {
            let mut members = members.clone();
            members["sendToConsumer"] = json!(true);
            for phase in ["request", "response"] {
                all.extend(both(
                    &format!("{name}-{phase}"),
                    &backend.target(""),
                    |api| api.step(phase, "aws-lambda", configuration(&members)),
                ));
            }
        }
        all
    });
    for engine in ENGINES {
        for phase in ["request", "response"] {
            for (name, _, expected) in &cases {
                for _ in 0..2 {
                    let before = site.backend.requests();
                    let path = format!("/{name}-{phase}-{engine}/x");
                    let mut client = site.client();
                    let response = client
                        .send(&request("POST", &path, &[("X-Who", "me")], b"data"))
                        .response();
                    assert_eq!(response.status, 200, "{path}: {}", response.text());
                    let said = response.json();
                    for (member, value) in expected.as_object().expect("an object") {
                        assert_eq!(said[member], *value, "{path} {member}");
                    }
                    let called = site.backend.requests() - before;
                    assert_eq!(called, u64::from(phase == "response"), "{path}");
                    if phase == "request" {
                        assert_eq!(response.field("Content-Type"), None, "{path}");
                    }
                    let next = client
                        .send(&request("GET", "/api/next", &[], b""))
                        .response();
                    assert_eq!(next.json()["target"], "/next", "{path}");
                }
            }
        }
    }
    // The role is taken on once for each of the four steps.
    let roles: Vec<_> = aws
        .asked()
        .into_iter()
        .filter(|asked| asked.target == "/")
        .collect();
    assert_eq!(roles.len(), 4);
    let text = String::from_utf8_lossy(&roles[0].body).into_owned();
    assert!(text.contains("RoleSessionName=gravitee"), "{text}");
    assert!(text.contains("role%2Fcaller"), "{text}");
}

#[test]
fn the_answer_of_a_function_feeds_variables_while_the_backend_is_called() {
    let aws = Server::start(aws);
    let members = json!({
        "payload": "hello",
        "variables": [
            { "name": "said", "value": "{#jsonPath(#lambdaResponse.content, '$.payload')}" },
            { "name": "status", "value": "{#lambdaResponse.status}" },
            { "name": "none", "value": null },
        ],
    });
    let show = json!({ "addHeaders": [{
        "name": "X-Shown",
        "value": "{#context.attributes['said']} {#context.attributes['status']} {#context.attributes['none'] == null}",
    }] });
    let site = Site::with(start(&aws), |backend| {
        ["request", "response"]
            .iter()
            .flat_map(|phase| {
                both(phase, &backend.target(""), |api| {
                    api.step(phase, "aws-lambda", configuration(&members)).step(
                        phase,
                        "transform-headers",
                        show.clone(),
                    )
                })
            })
            .collect()
    });
    for engine in ENGINES {
        for phase in ["request", "response"] {
            let path = format!("/{phase}-{engine}/x");
            let response = exchange(site.port(), &request("POST", &path, &[], b"data"));
            assert_eq!(response.json()["target"], "/x", "{path}");
            let backend = site.backend.last();
            assert_eq!(backend.body, b"data", "{path}");
            let head = if phase == "request" {
                backend.head
            } else {
                response.head
            };
            assert_eq!(head.field("X-Shown"), Some("hello 200 true"), "{path}");
        }
    }
}

#[test]
fn what_goes_wrong_with_a_function_is_answered_with_its_key() {
    let aws = Server::start(aws);
    let invalid = "An error occurs while invoking lambda function.";
    let cases = [
        (
            "handled",
            json!({ "function": "handled" }),
            500,
            "AWS_LAMBDA_INVALID_RESPONSE",
            invalid,
        ),
        (
            "missing",
            json!({ "function": "missing" }),
            400,
            "AWS_LAMBDA_INVALID_STATUS_CODE",
            "Invalid status code from lambda function response.",
        ),
        (
            "refused",
            json!({ "accessKey": "STATIC", "secretKey": "another" }),
            400,
            "AWS_LAMBDA_INVALID_STATUS_CODE",
            "Invalid status code from lambda function response.",
        ),
        (
            "late",
            json!({ "function": "late", "readTimeoutMs": 200 }),
            500,
            "AWS_LAMBDA_INVALID_RESPONSE",
            &*format!("{invalid} Details: ["),
        ),
        (
            "variable",
            json!({ "variables": [{ "name": "a", "value": "{#lambdaResponse.nope}" }] }),
            500,
            "AWS_LAMBDA_TEMPLATE_VARIABLE_EXCEPTION",
            "An error occurs while processing context variables.",
        ),
    ];
    let site = Site::with(start(&aws), |backend| {
        let mut all = Vec::new();
        for (name, members, ..) in &cases {
            for phase in ["request", "response"] {
                all.extend(both(
                    &format!("{name}-{phase}"),
                    &backend.target(""),
                    |api| api.step(phase, "aws-lambda", configuration(members)),
                ));
            }
        }
        all.extend(both("accepted", &backend.target(""), |api| {
            let members = json!({ "function": "accepted", "invocationType": "Event", "sendToConsumer": true });
            api.request("aws-lambda", configuration(&members))
        }));
        all
    });
    let mut reported = Vec::new();
    for engine in ENGINES {
        for phase in ["request", "response"] {
            for (name, _, status, key, text) in &cases {
                let path = format!("/{name}-{phase}-{engine}/x");
                let response = fetch(site.port(), &path);
                assert_eq!(response.status, *status, "{path}: {}", response.text());
                let said = response.text();
                assert!(said.starts_with(text), "{path}: {said}");
                // Secrets of the configuration are never shown.
                assert!(!said.contains("secret"), "{path}: {said}");
                let id = response.field("X-Gravitee-Request-Id").expect("an id");
                reported.push((id.to_owned(), *key, path));
            }
        }
        let accepted = fetch(site.port(), &format!("/accepted-{engine}/x"));
        assert_eq!((accepted.status, accepted.body.len()), (202, 0), "{engine}");
    }
    for (id, key, path) in reported {
        assert_eq!(site.plane.report_of(&id)["error-key"], *key, "{path}");
    }
}

#[test]
fn credentials_come_from_the_agent_of_the_container_and_their_lack_is_told() {
    let aws = Server::start(aws);
    let plain = Start::new().environment("AWS_ENDPOINT_URL", &aws.url(""));
    let container = Start::new()
        .environment("AWS_ENDPOINT_URL", &aws.url(""))
        .environment(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            &aws.url("/credentials"),
        )
        .environment("AWS_CONTAINER_AUTHORIZATION_TOKEN", "agent-token");
    let site = Site::with(plain, |backend| {
        both("some", &backend.target(""), |api| {
            api.request(
                "aws-lambda",
                configuration(&json!({ "sendToConsumer": true })),
            )
        })
    });
    let second = container.control_plane(&site.plane).ready();
    for engine in ENGINES {
        let path = format!("/some-{engine}/x");
        let without = fetch(site.port(), &path);
        assert_eq!(without.status, 500, "{engine}");
        assert!(
            without.text().contains("no credentials"),
            "{}",
            without.text()
        );
        let with = until("an answer", PATIENCE, || {
            Some(fetch(second.port, &path)).filter(|response| response.status != 404)
        });
        assert_eq!(with.status, 200, "{}", with.text());
        assert_eq!(with.json()["by"], "CONTAINER", "{engine}");
        assert_eq!(with.json()["token"], "container-token", "{engine}");
    }
    let agent = aws
        .asked()
        .into_iter()
        .find(|asked| asked.target == "/credentials");
    let agent = agent.expect("the agent is asked").head;
    assert_eq!(agent.field("Authorization"), Some("agent-token"));
}
