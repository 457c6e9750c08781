//! The policy as a step of a flow: errors, attributes, scopes, and the cache resource.

use serde_json::{Value as Json, json};

use super::*;
use crate::need::{HttpCall, HttpReply};
use crate::policy::Resource;
use crate::policy::registry::GatewayParts;
use crate::policy::resource::{self, ResourceBuilder};
use crate::policy::testing::{Bench, failure};

fn resource(kind: &str, configuration: &Json) -> Resource {
    let entry = resource::find(kind).expect("a known type");
    let instance = (entry.build)(&ResourceBuilder {
        name: "resource",
        api_id: "api",
        configuration,
        gateway: &GatewayParts::default(),
    });
    Resource {
        kind: entry.kind.into(),
        instance: instance.expect("a resource"),
    }
}

fn resources() -> HashMap<Box<str>, Resource> {
    let server = json!({
        "authorizationServerUrl": "http://as", "introspectionEndpoint": "introspect", "tokenIsSuppliedByQueryParam": true,
        "userClaim": "name",
    });
    [
        ("server".into(), resource("oauth2", &server)),
        (
            "memory".into(),
            resource("cache", &json!({"timeToLiveSeconds": 600})),
        ),
        ("redis".into(), resource("cache-redis", &json!({}))),
    ]
    .into()
}

fn build(changes: &Json, legacy_engine: bool) -> Result<OAuth2, ConfigError> {
    let mut configuration = json!({"oauthResource": "server"});
    for (name, value) in changes.as_object().expect("changes") {
        configuration[name] = value.clone();
    }
    OAuth2::build(&Builder {
        configuration: &configuration,
        legacy_engine,
        resources: &resources(),
        gateway: &GatewayParts::default(),
    })
}

fn present(exchange: &mut Exchange<'_>, value: &str) {
    exchange
        .request
        .headers
        .set("Authorization", value)
        .expect("a header");
}

fn asked(verdict: Verdict) -> HttpCall {
    match verdict {
        Verdict::Await(Need::Errand(errand)) => match *errand {
            Errand::Http(call) => *call,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn reply(status: u16, body: &str) -> Answer {
    Answer::Http(Ok(Box::new(HttpReply {
        status,
        headers: Vec::new(),
        body: body.into(),
    })))
}

/// Status, key, message and challenge of a refusal.
fn refused(verdict: Verdict, exchange: &Exchange<'_>) -> (u16, String, String, String) {
    let failure = failure(verdict);
    (
        failure.status,
        failure.key_str().to_owned(),
        failure.message.clone().unwrap_or_default().into_owned(),
        exchange
            .response
            .headers
            .text("WWW-Authenticate")
            .unwrap_or_default()
            .to_owned(),
    )
}

const QUOTED: &str = "Bearer realm=\"gravitee.io\"";
const BARE: &str = "Bearer realm=gravitee.io";

#[test]
fn every_failure_has_its_key_and_its_challenge() {
    let good = r#"{"active":true,"client_id":"client","scope":"read"}"#;
    let scopes = json!({"checkRequiredScopes": true, "requiredScopes": ["read", "write"]});
    let unauthorized = |key: &str, challenge: &str| {
        (
            401,
            key.to_owned(),
            "Unauthorized".to_owned(),
            challenge.to_owned(),
        )
    };
    let unavailable = |challenge: &str| {
        (
            503,
            "OAUTH2_SERVER_UNAVAILABLE".to_owned(),
            "temporarily_unavailable".to_owned(),
            challenge.to_owned(),
        )
    };
    for (changes, legacy, header, answer, expected) in [
        (
            json!({"oauthResource": "missing"}),
            false,
            Some("Bearer t"),
            None,
            unauthorized("OAUTH2_MISSING_SERVER", ""),
        ),
        (
            json!({"oauthResource": null}),
            false,
            Some("Bearer t"),
            None,
            unauthorized("OAUTH2_MISSING_SERVER", ""),
        ),
        (
            json!({"oauthResource": "memory"}),
            false,
            Some("Bearer t"),
            None,
            unauthorized("OAUTH2_MISSING_SERVER", ""),
        ),
        (
            json!({}),
            false,
            None,
            None,
            unauthorized("OAUTH2_MISSING_HEADER", QUOTED),
        ),
        (
            json!({}),
            false,
            Some("Basic t"),
            None,
            unauthorized("OAUTH2_MISSING_HEADER", QUOTED),
        ),
        (
            json!({}),
            false,
            Some("Bearer  "),
            None,
            unauthorized("OAUTH2_MISSING_ACCESS_TOKEN", QUOTED),
        ),
        (
            json!({}),
            false,
            Some("Bearer t"),
            Some(reply(200, r#"{"active":false}"#)),
            unauthorized("OAUTH2_INVALID_ACCESS_TOKEN", QUOTED),
        ),
        (
            json!({}),
            true,
            Some("Bearer t"),
            Some(reply(200, r#"{"active":false}"#)),
            unauthorized("OAUTH2_INVALID_ACCESS_TOKEN", BARE),
        ),
        (
            json!({}),
            false,
            Some("Bearer t"),
            Some(reply(401, good)),
            unavailable(QUOTED),
        ),
        (
            json!({}),
            true,
            Some("Bearer t"),
            Some(reply(500, "")),
            unavailable(BARE),
        ),
        (
            json!({}),
            false,
            Some("Bearer t"),
            Some(reply(200, "no JSON")),
            unavailable(QUOTED),
        ),
        (
            json!({}),
            false,
            Some("Bearer t"),
            Some(Answer::Refused),
            unavailable(QUOTED),
        ),
        (
            scopes,
            false,
            Some("Bearer t"),
            Some(reply(200, good)),
            unauthorized("OAUTH2_INSUFFICIENT_SCOPE", QUOTED),
        ),
    ] {
        let policy = build(&changes, legacy).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        if let Some(value) = header {
            present(&mut exchange, value);
        }
        let verdict = policy.on_request(&mut exchange);
        let verdict = match answer {
            None => verdict,
            Some(answer) => {
                asked(verdict);
                policy.resume(Stage::Request, &mut exchange, answer)
            }
        };
        assert_eq!(
            refused(verdict, &exchange),
            expected,
            "{changes} {header:?}"
        );
    }
}

#[test]
fn a_good_token_leaves_its_facts_behind() {
    let policy = build(
        &json!({"extractPayload": true, "propagateAuthHeader": false}),
        false,
    )
    .expect("a policy");
    let payload =
        r#"{"active":true,"client_id":"client","name":"alice","sub":"x","scp":["a","b"]}"#;
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    present(&mut exchange, "bearer token-1");
    let call = asked(policy.on_request(&mut exchange));
    assert_eq!(
        (&*call.method, &*call.url),
        ("GET", "http://as/introspect?token=token-1")
    );
    assert!(call.body.is_empty());
    let verdict = policy.resume(Stage::Request, &mut exchange, reply(200, payload));
    assert!(matches!(verdict, Verdict::Continue), "{verdict:?}");
    let text = |name: &str| exchange.attributes.get(name).and_then(Value::as_text);
    assert_eq!(text("oauth.access_token"), Some("token-1"));
    assert_eq!(text("oauth.token"), Some("token-1"));
    assert_eq!(text("oauth.client_id"), Some("client"));
    assert_eq!(text("oauth.payload"), Some(payload));
    assert_eq!(exchange.user.as_deref(), Some("alice"));
    assert_eq!(exchange.security_type, SecurityType::OAuth2);
    assert_eq!(exchange.security_token, "client");
    assert!(!exchange.request.headers.contains("Authorization"));
    let Some(Value::List(roles)) = exchange.attributes.find("user.roles") else {
        panic!("no roles");
    };
    assert_eq!(roles.len(), 2);
    // A second step asks nobody.
    let again = build(&json!({}), false).expect("a policy");
    present(&mut exchange, "Bearer token-1");
    assert!(matches!(again.on_request(&mut exchange), Verdict::Continue));
}

#[test]
fn a_token_without_a_client_or_user_passes_as_a_step() {
    let policy = build(&json!({}), false).expect("a policy");
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    exchange.request.query = "access_token=token%2D1".to_owned();
    let call = asked(policy.on_request(&mut exchange));
    assert!(call.url.ends_with("?token=token-1"), "{}", call.url);
    let verdict = policy.resume(Stage::Request, &mut exchange, reply(200, "{}"));
    assert!(matches!(verdict, Verdict::Continue), "{verdict:?}");
    assert!(exchange.user.is_none());
    assert!(exchange.attributes.get("oauth.client_id").is_none());
    // The old engine looks into the header only.
    let policy = build(&json!({}), true).expect("a policy");
    let mut exchange = bench.exchange();
    exchange.request.query = "access_token=token".to_owned();
    let verdict = policy.on_request(&mut exchange);
    assert_eq!(refused(verdict, &exchange).1, "OAUTH2_MISSING_HEADER");
}

#[test]
fn scopes_are_compared_as_configured() {
    for (required, strict, payload, good) in [
        (json!(["a", "b"]), true, r#"{"scope":"b a c"}"#, true),
        (json!(["a", "b"]), true, r#"{"scope":"a"}"#, false),
        (json!(["a", "b"]), false, r#"{"scope":"a"}"#, true),
        (json!(["a", "b"]), false, r#"{"scope":["b"]}"#, true),
        (
            json!(["a", "b"]),
            false,
            r#"{"scope":"c","scp":"a"}"#,
            false,
        ),
        (json!(["a"]), true, r#"{"scp":["a"]}"#, true),
        (json!(["a"]), true, r#"{"scope":"a,b"}"#, false),
        (json!(["a"]), true, "{}", false),
        (json!([]), true, "{}", true),
        (json!(null), true, "{}", true),
    ] {
        let changes =
            json!({"checkRequiredScopes": true, "requiredScopes": required, "modeStrict": strict});
        let policy = build(&changes, false).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        present(&mut exchange, "Bearer t");
        asked(policy.on_request(&mut exchange));
        let verdict = policy.resume(Stage::Request, &mut exchange, reply(200, payload));
        assert_eq!(
            matches!(verdict, Verdict::Continue),
            good,
            "{changes} {payload}"
        );
    }
}

#[test]
fn a_good_payload_is_remembered_until_it_ends_and_a_bad_one_never() {
    let now = 1_700_000_000;
    for (payload, later_seconds, remembered) in [
        (json!({"active": true}), 599, true),
        (json!({"active": true}), 601, false),
        (json!({"active": true, "exp": now + 60}), 59, true),
        (json!({"active": true, "exp": now + 60}), 61, false),
        (json!({"active": true, "exp": now - 60}), 599, true),
        (json!({"active": false}), 0, false),
    ] {
        let policy = build(&json!({"oauthCacheResource": "memory"}), false).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        present(&mut exchange, "Bearer t");
        asked(policy.on_request(&mut exchange));
        policy.resume(
            Stage::Request,
            &mut exchange,
            reply(200, &payload.to_string()),
        );
        let mut exchange = bench.exchange();
        exchange.now_ms += later_seconds * 1_000;
        present(&mut exchange, "Bearer t");
        let verdict = policy.on_request(&mut exchange);
        assert_eq!(
            matches!(verdict, Verdict::Continue),
            remembered,
            "{payload} {later_seconds}"
        );
        // Another token is another entry.
        let mut exchange = bench.exchange();
        present(&mut exchange, "Bearer u");
        asked(policy.on_request(&mut exchange));
    }
    let error = build(&json!({"oauthCacheResource": "server"}), false).expect_err("no cache");
    assert_eq!(error.member, "oauthCacheResource");
    assert!(build(&json!({"oauthCacheResource": "missing"}), false).is_ok());
}

#[test]
fn a_cache_in_redis_is_asked_first_and_told_afterwards() {
    let policy = build(&json!({"oauthCacheResource": "redis"}), false).expect("a policy");
    let payload = r#"{"active":true,"name":"alice"}"#;
    for (cached, asks) in [
        (Answer::Cache(Some(payload.into())), false),
        (Answer::Cache(None), true),
        (Answer::Refused, true),
    ] {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        present(&mut exchange, "Bearer t");
        let Verdict::Await(Need::Errand(errand)) = policy.on_request(&mut exchange) else {
            panic!("the cache is not asked");
        };
        assert!(matches!(*errand, Errand::CacheGet { ref key, .. } if &**key == "t"));
        let mut verdict = policy.resume(Stage::Request, &mut exchange, cached);
        if asks {
            asked(verdict);
            verdict = policy.resume(Stage::Request, &mut exchange, reply(200, payload));
            assert!(
                matches!(&exchange.detached[..], [Errand::CachePut { value, .. }] if &**value == payload.as_bytes())
            );
        }
        assert!(matches!(verdict, Verdict::Continue), "{verdict:?}");
        assert_eq!(exchange.user.as_deref(), Some("alice"));
    }
    // What another gateway wrote may be damaged: such an entry is no success.
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    present(&mut exchange, "Bearer t");
    policy.on_request(&mut exchange);
    let verdict = policy.resume(
        Stage::Request,
        &mut exchange,
        Answer::Cache(Some(b"damaged".to_vec())),
    );
    assert_eq!(
        refused(verdict, &exchange).1,
        "OAUTH2_INVALID_SERVER_RESPONSE"
    );
}
