//! The policy as a step of a flow: errors, attributes, revocation, bound certificates, scopes, remembered tokens.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::*;
use crate::exchange::ClientCertificate;
use crate::need::{DocumentContent, Errand, HttpReply, Need};
use crate::policy::testing::{Bench, build, build_with_settings, failure};
use crate::security::jwt::testing::*;

fn configuration(changes: &Value) -> Value {
    let mut configuration = json!({"signature": "HMAC_HS256", "resolverParameter": SECRET});
    for (name, value) in changes.as_object().expect("changes") {
        configuration[name] = value.clone();
    }
    configuration
}

fn token(changes: &Value) -> String {
    Signer::HS256.sign(&json!({"alg": "HS256"}), &claims_with(changes))
}

fn present(exchange: &mut Exchange<'_>, token: &str) {
    let value = format!("Bearer {token}");
    exchange
        .request
        .headers
        .set("Authorization", value)
        .expect("a header");
}

fn outcome(policy: &dyn Policy, exchange: &mut Exchange<'_>) -> Result<(), String> {
    match policy.on_request(exchange) {
        Verdict::Continue => Ok(()),
        verdict => {
            let failure = failure(verdict);
            let message = failure.message.clone().unwrap_or_default();
            Err(format!(
                "{} {} {message}",
                failure.status,
                failure.key_str()
            ))
        }
    }
}

fn judge(changes: &Value, token: &str) -> Result<(), String> {
    let policy = build("jwt", &configuration(changes)).expect("a policy");
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    present(&mut exchange, token);
    outcome(&*policy, &mut exchange)
}

const INVALID: &str = "401 JWT_INVALID_TOKEN Unauthorized";

#[test]
fn a_missing_an_empty_and_a_bad_token_have_their_own_keys() {
    let policy = build("jwt", &configuration(&json!({}))).expect("a policy");
    let good = token(&json!({}));
    for (header, query, expected) in [
        (None, "", Err("401 JWT_MISSING_TOKEN Unauthorized")),
        (
            Some("Basic abc"),
            "",
            Err("401 JWT_MISSING_TOKEN Unauthorized"),
        ),
        (Some("Bearer"), "", Err(INVALID)),
        (Some("Bearer  "), "", Err(INVALID)),
        (Some("Bearer a.b.c"), "", Err(INVALID)),
        (None, "access_token=", Err(INVALID)),
        (None, &format!("a=1&access_token={good}"), Ok(())),
        (
            Some(&format!("bEARER   {good} ")),
            "access_token=nonsense",
            Ok(()),
        ),
        (
            Some("Bearer nonsense"),
            &format!("access_token={good}"),
            Err(INVALID),
        ),
    ] {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange.request.query = query.to_owned();
        if let Some(value) = header {
            exchange
                .request
                .headers
                .set("Authorization", value)
                .expect("a header");
        }
        let found = outcome(&*policy, &mut exchange);
        assert_eq!(found, expected.map_err(str::to_owned), "{header:?} {query}");
    }
}

#[test]
fn a_good_token_leaves_its_facts_behind() {
    for (changes, claims, user, client) in [
        (json!({}), json!({}), Some("alice"), Some("client")),
        (
            json!({"userClaim": "name"}),
            json!({"name": "bob"}),
            Some("bob"),
            Some("client"),
        ),
        (
            json!({"userClaim": "  "}),
            json!({"name": "bob"}),
            Some("alice"),
            Some("client"),
        ),
        (
            json!({"userClaim": "realm.user"}),
            json!({"realm": {"user": "carol"}}),
            Some("carol"),
            Some("client"),
        ),
        (
            json!({"userClaim": "none"}),
            json!({}),
            Some("alice"),
            Some("client"),
        ),
        (
            json!({"clientIdClaim": "realm.client"}),
            json!({"realm": {"client": ["c", "d"]}}),
            Some("alice"),
            Some("c"),
        ),
        (
            json!({"clientIdClaim": "none"}),
            json!({}),
            Some("alice"),
            None,
        ),
        (json!({}), json!({"sub": null, "azp": null}), None, None),
    ] {
        let policy = build("jwt", &configuration(&changes)).expect("a policy");
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        let raw = token(&claims);
        present(&mut exchange, &raw);
        assert_eq!(outcome(&*policy, &mut exchange), Ok(()), "{changes}");
        assert_eq!(exchange.user.as_deref(), user, "{changes}");
        let attribute = |name: &str| {
            exchange
                .attributes
                .get(name)
                .and_then(crate::el::Value::as_text)
        };
        assert_eq!(attribute("oauth.client_id"), client, "{changes}");
        assert_eq!(attribute("jwt.token"), Some(raw.as_str()));
        assert!(exchange.attributes.get("jwt.claims").is_none());
        assert!(exchange.request.headers.contains("Authorization"));
    }
    let changes = json!({"extractClaims": "true", "propagateAuthHeader": false});
    let policy = build("jwt", &configuration(&changes)).expect("a policy");
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    present(&mut exchange, &token(&json!({"n": 7})));
    assert_eq!(outcome(&*policy, &mut exchange), Ok(()));
    assert!(!exchange.request.headers.contains("Authorization"));
    let Some(crate::el::Value::Map(claims)) = exchange.attributes.get("jwt.claims") else {
        panic!("no claims");
    };
    let n = claims.iter().find(|(name, _)| name.as_text() == Some("n"));
    assert!(matches!(n, Some((_, crate::el::Value::Long(7)))));
}

#[test]
fn without_a_usable_key_or_algorithm_every_token_is_refused() {
    let good = token(&json!({}));
    for changes in [
        json!({"signature": null}),
        json!({"resolverParameter": ""}),
        json!({"resolverParameter": null}),
        json!({"resolverParameter": "too short"}),
        json!({"signature": "RSA_RS256"}),
        json!({"publicKeyResolver": "GATEWAY_KEYS"}),
    ] {
        assert_eq!(judge(&changes, &good), Err(INVALID.to_owned()), "{changes}");
    }
    for (changes, member) in [
        (json!({"signature": "none"}), "signature"),
        (
            json!({"publicKeyResolver": "GIVEN_ISSUER"}),
            "publicKeyResolver",
        ),
        (
            json!({"revocationCheck": {"enabled": true}}),
            "revocationCheck.revocationListUrl",
        ),
        (
            json!({"revocationCheck": {"enabled": true, "revocationListUrl": "http://a", "auth": {"type": "magic"}}}),
            "revocationCheck.auth.type",
        ),
    ] {
        let error = build("jwt", &configuration(&changes)).expect_err("refused");
        assert_eq!(error.member, member);
    }
}

#[test]
fn gateway_keys_belong_to_issuers_whose_names_have_dots() {
    let pem = public_pem(rsa_key());
    let other = public_pem(other_rsa_key());
    let settings = [
        (
            "policy.jwt.issuer.https://issuer.example.com.old",
            other.as_str(),
        ),
        ("policy.jwt.issuer.https://issuer.example.com.new", &pem),
        (
            "policy.jwt.issuer.https://issuer.example.com.bad",
            "nonsense",
        ),
        ("policy.jwt.issuer.default.k", &pem),
        ("policy.jwt.issuer.else.k", &other),
    ];
    let configuration = json!({"signature": "RSA_RS256", "publicKeyResolver": "GATEWAY_KEYS"});
    let policy = build_with_settings("jwt", &configuration, &settings).expect("a policy");
    for (issuer, good) in [
        (json!("https://issuer.example.com"), true),
        (Value::Null, true),
        (json!("else"), false),
        (json!("unknown"), false),
        (json!("https://issuer"), false),
        (json!(7), false),
    ] {
        let header = json!({"alg": "RS256", "kid": "whatever"});
        let raw = Signer::rs256().sign(&header, &claims_with(&json!({"iss": issuer})));
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        present(&mut exchange, &raw);
        assert_eq!(outcome(&*policy, &mut exchange).is_ok(), good, "{issuer}");
    }
}

#[test]
fn the_old_engine_takes_any_rsa_algorithm_when_none_is_configured() {
    let bare: String = public_pem(rsa_key())
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let configuration = json!({"resolverParameter": bare});
    let builder = Builder {
        configuration: &configuration,
        legacy_engine: true,
        resources: &Default::default(),
        gateway: &Default::default(),
    };
    let policy = Jwt::build(&builder).expect("a policy");
    for (alg, signer, good) in [
        ("RS256", Signer::rs256(), true),
        ("RS384", Signer::rs384(), true),
        ("RS512", Signer::rs512(), true),
        ("RS512", Signer::rs256(), false),
        (
            "HS256",
            Signer::Hmac(aws_lc_rs::hmac::HMAC_SHA256, bare.as_bytes()),
            false,
        ),
        ("PS256", Signer::ps256(), false),
    ] {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        present(&mut exchange, &signer.sign(&json!({"alg": alg}), &claims()));
        assert_eq!(outcome(&policy, &mut exchange).is_ok(), good, "{alg}");
    }
}

#[test]
fn scopes_are_asked_for_when_configured() {
    let strict = json!({"checkRequiredScopes": true, "requiredScopes": ["read", "write"]});
    let any = json!({"checkRequiredScopes": true, "requiredScopes": ["read", "write"], "modeStrict": false});
    let off = json!({"requiredScopes": ["read"]});
    let lacking = Err("401 JWT_INSUFFICIENT_SCOPE Unauthorized".to_owned());
    for (changes, claims, expected) in [
        (&strict, json!({"scope": "read  write more"}), Ok(())),
        (&strict, json!({"scope": ["write", "read"]}), Ok(())),
        (&strict, json!({"scp": ["write", "read"]}), Ok(())),
        (&strict, json!({"scp": "read write"}), Ok(())),
        (&strict, json!({"scope": "read"}), lacking.clone()),
        (
            &strict,
            json!({"scope": "read", "scp": "read write"}),
            lacking.clone(),
        ),
        (&strict, json!({}), lacking.clone()),
        (&any, json!({"scope": "write"}), Ok(())),
        (&any, json!({"scope": "other"}), lacking),
        (&off, json!({}), Ok(())),
    ] {
        assert_eq!(
            judge(changes, &token(&claims)),
            expected,
            "{changes} {claims}"
        );
    }
}

fn client() -> Vec<u8> {
    rcgen::generate_simple_self_signed(["client".to_owned()])
        .expect("a certificate")
        .cert
        .der()
        .to_vec()
}

#[test]
fn a_bound_token_needs_its_certificate() {
    let mine = client();
    let bound = certificate::thumbprint(&mine);
    let session =
        json!({"confirmationMethodValidation": {"certificateBoundThumbprint": {"enabled": true}}});
    let lenient = json!({"confirmationMethodValidation": {"ignoreMissing": true, "certificateBoundThumbprint": {"enabled": true}}});
    let header = json!({"confirmationMethodValidation": {"certificateBoundThumbprint": {
        "enabled": true, "extractCertificateFromHeader": true, "headerName": "x-cert",
    }}});
    let cnf = json!({"cnf": {"x5t#S256": bound}});
    let in_header = pem("CERTIFICATE", &mine).trim_end().replace('\n', "\t");
    let wrong = Err("401 JWT_INVALID_CERTIFICATE_BOUND_THUMBPRINT Unauthorized".to_owned());
    for (changes, claims, certificate, value, expected) in [
        (&session, &cnf, Some(mine.clone()), None, Ok(())),
        (&session, &cnf, Some(client()), None, wrong.clone()),
        (&session, &cnf, None, None, wrong.clone()),
        (&session, &cnf, None, Some(&in_header), wrong.clone()),
        (
            &session,
            &json!({}),
            Some(mine.clone()),
            None,
            wrong.clone(),
        ),
        (
            &session,
            &json!({"cnf": {"x5t#S256": " "}}),
            Some(mine.clone()),
            None,
            wrong.clone(),
        ),
        (
            &session,
            &json!({"cnf": bound}),
            Some(mine.clone()),
            None,
            wrong.clone(),
        ),
        (&lenient, &json!({}), None, None, Ok(())),
        (&lenient, &cnf, None, None, wrong.clone()),
        (&header, &cnf, None, Some(&in_header), Ok(())),
        (&header, &cnf, Some(mine), None, wrong.clone()),
        (&header, &cnf, None, Some(&"nonsense".to_owned()), wrong),
    ] {
        let policy = build("jwt", &configuration(changes)).expect("a policy");
        // A remembered token is bound all the same.
        for _ in 0..2 {
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            present(&mut exchange, &token(claims));
            exchange.request.certificate = certificate
                .clone()
                .map(|der| ClientCertificate { der: der.into() });
            if let Some(value) = value {
                exchange
                    .request
                    .headers
                    .set("X-Cert", value)
                    .expect("a header");
            }
            assert_eq!(
                outcome(&*policy, &mut exchange),
                expected,
                "{changes} {claims}"
            );
        }
    }
}

fn waits_for(verdict: Verdict) -> Arc<SharedDocument> {
    match verdict {
        Verdict::Await(Need::Errand(errand)) => match *errand {
            Errand::Refresh(document) => document,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_revoked_token_is_refused_and_a_missing_list_revokes_nobody() {
    let changes = json!({"revocationCheck": {
        "enabled": true, "revocationListUrl": "https://issuer.example.com/revoked", "refreshInterval": 60,
        "auth": {"type": "basic", "basic": {"username": "u", "password": "p"}},
    }});
    let policy = build("jwt", &configuration(&changes)).expect("a policy");
    let good = token(&json!({}));
    let mut bench = Bench::new();
    let mut exchange = bench.exchange();
    present(&mut exchange, &good);
    let list = waits_for(policy.on_request(&mut exchange));
    assert_eq!(
        list.call.headers,
        [("Authorization".into(), "Basic dTpw".to_owned())]
    );
    // The list could not be loaded: the token passes, and the list is asked for again later, without waiting.
    list.failed_at_ms.store(exchange.now_ms, Ordering::Relaxed);
    let verdict = policy.resume(Stage::Request, &mut exchange, Answer::Done);
    assert!(matches!(verdict, Verdict::Continue), "{verdict:?}");
    let mut exchange = bench.exchange();
    present(&mut exchange, &good);
    exchange.now_ms += 31_000;
    assert_eq!(outcome(&*policy, &mut exchange), Ok(()));
    assert_eq!(exchange.detached.len(), 1);
    list.asked.store(false, Ordering::Relaxed);
    list.failed_at_ms.store(0, Ordering::Relaxed);
    let reply = |body: &str| HttpReply {
        status: 200,
        headers: Vec::new(),
        body: body.into(),
    };
    let content = |body: &str, fetched_at_ms| {
        Some(Arc::new(DocumentContent {
            fetched_at_ms,
            parsed: (list.parse)(&reply(body)).expect("a list"),
        }))
    };
    let now_ms = bench.exchange().now_ms;
    for (body, jti, expected) in [
        ("token-1\n", json!("token-1"), false),
        ("\n other \r\n\ttoken-1 \n", json!("token-1"), false),
        ("token-10\nTOKEN-1", json!("token-1"), true),
        ("", json!("token-1"), true),
        ("token-1", Value::Null, true),
    ] {
        list.content.store(content(body, now_ms));
        let mut exchange = bench.exchange();
        present(&mut exchange, &token(&json!({"jti": jti})));
        let found = outcome(&*policy, &mut exchange);
        let revoked = Err("401 JWT_REVOKED Unauthorized".to_owned());
        assert_eq!(
            found,
            if expected { Ok(()) } else { revoked },
            "{body} {jti}"
        );
        assert!(exchange.detached.is_empty());
    }
    // An old list still counts while a new one is fetched.
    list.content.store(content("token-1", now_ms - 61_000));
    let mut exchange = bench.exchange();
    present(&mut exchange, &good);
    assert_eq!(
        outcome(&*policy, &mut exchange),
        Err("401 JWT_REVOKED Unauthorized".to_owned())
    );
    assert_eq!(exchange.detached.len(), 1);
}

#[test]
fn a_remembered_token_expires_and_their_number_is_bounded() {
    let configuration = configuration(&json!({}));
    let policy = Jwt::build(&Builder {
        configuration: &configuration,
        legacy_engine: false,
        resources: &Default::default(),
        gateway: &Default::default(),
    })
    .expect("a policy");
    let mut bench = Bench::new();
    let mut run = |raw: &str, later_ms: u64| {
        let mut exchange = bench.exchange();
        exchange.now_ms += later_ms;
        present(&mut exchange, raw);
        outcome(&policy, &mut exchange)
    };
    let short = token(&json!({"exp": NOW + 10}));
    assert_eq!(run(&short, 0), Ok(()));
    assert_eq!(policy.verified.len(), 1);
    assert_eq!(run(&short, 69_000), Ok(()));
    assert_eq!(run(&short, 70_000), Err(INVALID.to_owned()));
    assert_eq!(policy.verified.len(), 0);
    assert_eq!(run(&token(&json!({"exp": null})), 0), Ok(()));
    assert_eq!(policy.verified.len(), 0, "without an end it is not kept");
    for number in 0..3_000 {
        assert_eq!(run(&token(&json!({"jti": number.to_string()})), 0), Ok(()));
    }
    assert!(policy.verified.len() <= 1_000 && policy.verified.len() > 900);
    // What differs in one character is another token.
    let good = token(&json!({}));
    assert_eq!(run(&good, 0), Ok(()));
    let (message, _) = good.rsplit_once('.').expect("a signature");
    assert_eq!(
        run(&format!("{message}.{}", encode([0; 32])), 0),
        Err(INVALID.to_owned())
    );
    assert_eq!(run(&format!("{message}."), 0), Err(INVALID.to_owned()));
}
