//! JWT and OAuth2 plans: where keys come from, which tokens hold, what the authorization server is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Response, fetch_with};
use crate::support::control_plane::now_ms;
use crate::support::definition::{Definition, v4};
use crate::support::gateway::Start;
use crate::support::server::{Answer, Asked, Server};
use crate::support::site::Site;
use crate::support::tokens::{Rsa, claims, hmac_token};
use crate::support::wait::{PATIENCE, until};

const SECRET: &str = "a secret that is shared by everybody who signs or reads!";

/// An API with one plan, `<api>-plan`, that tells the backend who came.
fn planned(target: &str, api: &str, security: &str, configuration: Value) -> Definition {
    let attribute = |name: &str| format!("{{#context.attributes['{name}']}}");
    v4(api, &format!("/{api}"), target)
        .plans(&[(&format!("{api}-plan"), security, configuration)])
        .request(
            "transform-headers",
            json!({ "addHeaders": [
                { "name": "X-Subscription", "value": attribute("user-id") },
                { "name": "X-User", "value": attribute("user") },
                { "name": "X-Client", "value": attribute("oauth.client_id") },
            ] }),
        )
}

/// A status, and the error key of the report.
type Outcome = (u16, &'static str);

const LET_IN: Outcome = (200, "");

/// The request ends like this; an answer other than 200 leaves the backend in peace.
#[track_caller]
fn assert_outcome(site: &Site, path: &str, fields: &[(&str, &str)], (status, key): Outcome) {
    let before = site.backend.requests();
    let response = fetch_with(site.port(), path, fields);
    assert_eq!(
        response.status,
        status,
        "{path} {fields:?}: {}",
        response.text()
    );
    let served = u64::from(status == 200);
    assert_eq!(
        site.backend.requests(),
        before + served,
        "{path} {fields:?}"
    );
    if status != 200 {
        site.expect_key(&response, key);
    }
}

#[track_caller]
fn assert_token(site: &Site, api: &str, token: &str, expected: Outcome) {
    let value = format!("Bearer {token}");
    let fields = [("Authorization", &*value)];
    assert_outcome(site, &format!("/{api}/x"), &fields, expected);
}

fn with_token(site: &Site, api: &str, token: &str) -> Response {
    let value = format!("Bearer {token}");
    fetch_with(
        site.port(),
        &format!("/{api}/x"),
        &[("Authorization", &value)],
    )
}

const UNRESOLVABLE: &str = "GATEWAY_PLAN_UNRESOLVABLE";
const INVALID: &str = "JWT_INVALID_TOKEN";

#[test]
fn tokens_are_verified_with_the_key_that_the_plan_names() {
    let (rsa, other) = (Rsa::generate(), Rsa::generate());
    let keys = Server::always(Answer::json(
        &json!({ "keys": [other.jwk("other"), rsa.jwk("mine")] }),
    ));
    let indented = |text: &str| text.trim().replace('\n', "\n          ");
    let start = Start::new().file(&format!(
        "policy:\n  jwt:\n    issuer:\n      https://as.example/a:\n        one: |\n          {}\n        two: |\n          {}\n      default:\n        only: |\n          {}\n",
        indented(&rsa.pem()), indented(&other.pem()), indented(&other.pem()),
    ));
    let site = Site::prepared(start, |plane, backend| {
        for (api, configuration) in [
            (
                "given",
                json!({ "signature": "RSA_RS256", "publicKeyResolver": "GIVEN_KEY", "resolverParameter": rsa.pem() }),
            ),
            (
                "hmac",
                json!({ "signature": "HMAC_HS256", "publicKeyResolver": "GIVEN_KEY", "resolverParameter": SECRET }),
            ),
            (
                "hmac512",
                json!({ "signature": "HMAC_HS512", "publicKeyResolver": "GIVEN_KEY", "resolverParameter": SECRET }),
            ),
            (
                "gateway",
                json!({ "signature": "RSA_RS256", "publicKeyResolver": "GATEWAY_KEYS" }),
            ),
            (
                "jwks",
                json!({ "signature": "RSA_RS256", "publicKeyResolver": "JWKS_URL", "resolverParameter": keys.url("/jwks") }),
            ),
            (
                "chosen",
                json!({ "signature": "RSA_RS256", "publicKeyResolver": "GIVEN_KEY", "resolverParameter": "{#context.attributes['jwt'].claims['who'] == 'me' ? #properties['mine'] : #properties['other']}" }),
            ),
        ] {
            let definition =
                planned(&backend.target(""), api, "jwt", configuration).with(|definition| {
                    definition["properties"] = json!([
                        { "key": "mine", "value": rsa.pem() },
                        { "key": "other", "value": other.pem() },
                    ]);
                });
            plane.deploy(&definition);
            plane.subscribe_to(
                api,
                &format!("{api}-plan"),
                &format!("{api}-s"),
                json!({ "clientId": "me" }),
            );
        }
    });
    let (me, from) = (claims("me", json!({})), |issuer: &str| {
        claims("me", json!({ "iss": issuer }))
    });
    let header = |kid: &str| json!({ "alg": "RS256", "kid": kid });
    for (api, token, expected) in [
        ("given", rsa.token(&me), LET_IN),
        ("given", rsa.sign(&header("no such key"), &me), LET_IN),
        ("given", other.token(&me), (401, INVALID)),
        (
            "given",
            rsa.sign(&json!({ "alg": "RS512" }), &me),
            (401, INVALID),
        ),
        (
            "given",
            rsa.token(&claims("you", json!({}))),
            (401, UNRESOLVABLE),
        ),
        (
            "given",
            other.token(&claims("you", json!({}))),
            (401, UNRESOLVABLE),
        ),
        (
            "hmac",
            hmac_token(SECRET.as_bytes(), &json!({ "alg": "HS256" }), &me),
            LET_IN,
        ),
        (
            "hmac",
            hmac_token(
                b"another secret of forty or more characters",
                &json!({ "alg": "HS256" }),
                &me,
            ),
            (401, INVALID),
        ),
        (
            "hmac",
            hmac_token(SECRET.as_bytes(), &json!({ "alg": "HS384" }), &me),
            (401, INVALID),
        ),
        (
            "hmac512",
            hmac_token(SECRET.as_bytes(), &json!({ "alg": "HS512" }), &me),
            LET_IN,
        ),
        ("gateway", rsa.token(&from("https://as.example/a")), LET_IN),
        (
            "gateway",
            other.sign(&header("one"), &from("https://as.example/a")),
            LET_IN,
        ),
        ("gateway", other.token(&me), LET_IN),
        ("gateway", rsa.token(&me), (401, INVALID)),
        (
            "gateway",
            rsa.token(&from("https://as.example")),
            (401, INVALID),
        ),
        ("jwks", rsa.sign(&header("mine"), &me), LET_IN),
        ("jwks", rsa.token(&me), LET_IN),
        ("jwks", other.sign(&header("other"), &me), LET_IN),
        ("jwks", rsa.sign(&header("other"), &me), (401, INVALID)),
        ("jwks", rsa.sign(&header("unknown"), &me), (401, INVALID)),
        (
            "chosen",
            rsa.token(&claims("me", json!({ "who": "me" }))),
            LET_IN,
        ),
        (
            "chosen",
            other.token(&claims("me", json!({ "who": "you" }))),
            LET_IN,
        ),
        (
            "chosen",
            other.token(&claims("me", json!({ "who": "me" }))),
            (401, INVALID),
        ),
    ] {
        assert_token(&site, api, &token, expected);
        if expected.0 == 200 {
            let head = site.backend.last().head;
            assert_eq!(head.field("X-Subscription"), Some(&*format!("{api}-s")));
            assert_eq!(
                (head.field("X-User"), head.field("X-Client")),
                (Some("user"), Some("me"))
            );
            assert_eq!(
                head.field("Authorization"),
                Some(&*format!("Bearer {token}"))
            );
        }
    }
    assert_eq!(keys.asked().len(), 1, "unknown keys fetch nothing");
    site.reports_are_as_expected();
}

#[test]
fn tokens_are_read_where_the_contract_says_and_their_claims_decide() {
    let rsa = Rsa::generate();
    let base = json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() });
    let with = |changes: Value| {
        let mut configuration = base.clone();
        for (name, value) in changes.as_object().into_iter().flatten() {
            configuration[name] = value.clone();
        }
        configuration
    };
    let site = Site::prepared(Start::new(), |plane, backend| {
        for (api, changes) in [
            ("usual", json!({})),
            ("hidden", json!({ "propagateAuthHeader": false })),
            (
                "named",
                json!({ "clientIdClaim": "ids.app", "userClaim": "profile.name" }),
            ),
            (
                "typed",
                json!({ "tokenTypValidation": { "enabled": true, "expectedValues": ["special"] } }),
            ),
            (
                "scoped",
                json!({ "checkRequiredScopes": true, "requiredScopes": ["a", "b"] }),
            ),
            (
                "loose",
                json!({ "checkRequiredScopes": true, "requiredScopes": ["a", "b"], "modeStrict": false }),
            ),
            ("unsigned", json!({ "signature": null })),
            ("keyless", json!({ "resolverParameter": "no key" })),
        ] {
            plane.deploy(&planned(&backend.target(""), api, "jwt", with(changes)));
            for client in ["me", "azp", "aud"] {
                plane.subscribe_to(
                    api,
                    &format!("{api}-plan"),
                    &format!("{api}-{client}"),
                    json!({ "clientId": client }),
                );
            }
        }
    });
    let now = now_ms() / 1_000;
    let me = |changes: Value| rsa.token(&claims("me", changes));
    let typ = |typ: &str| {
        rsa.sign(
            &json!({ "alg": "RS256", "typ": typ }),
            &claims("me", json!({})),
        )
    };
    for (api, token, expected) in [
        ("usual", me(json!({ "exp": now - 30 })), LET_IN),
        ("usual", me(json!({ "exp": now - 90 })), (401, INVALID)),
        ("usual", me(json!({ "exp": null })), LET_IN),
        ("usual", me(json!({ "nbf": now + 30 })), LET_IN),
        ("usual", me(json!({ "nbf": now + 90 })), (401, INVALID)),
        (
            "usual",
            me(json!({ "client_id": null })),
            (401, UNRESOLVABLE),
        ),
        (
            "usual",
            me(json!({ "client_id": null, "aud": ["me", "x"] })),
            LET_IN,
        ),
        (
            "usual",
            me(json!({ "azp": "", "aud": "me", "client_id": "x" })),
            LET_IN,
        ),
        (
            "usual",
            me(json!({ "azp": "x", "aud": "me" })),
            (401, UNRESOLVABLE),
        ),
        (
            "usual",
            me(json!({ "azp": "azp", "aud": "x", "client_id": "x" })),
            LET_IN,
        ),
        ("usual", typ("at+jwt"), LET_IN),
        (
            "usual",
            rsa.sign(&json!({ "alg": "RS256" }), &claims("me", json!({}))),
            LET_IN,
        ),
        (
            "named",
            me(json!({ "ids": { "app": "me" }, "client_id": "x" })),
            LET_IN,
        ),
        (
            "named",
            me(json!({ "ids.app": "me", "client_id": "x" })),
            LET_IN,
        ),
        ("named", me(json!({ "ids": { "app": ["me"] } })), LET_IN),
        (
            "named",
            me(json!({ "ids": { "other": "me" } })),
            (401, UNRESOLVABLE),
        ),
        ("named", me(json!({})), (401, UNRESOLVABLE)),
        ("typed", typ("special"), LET_IN),
        ("typed", typ("JWT"), (401, INVALID)),
        (
            "typed",
            rsa.sign(&json!({ "alg": "RS256" }), &claims("me", json!({}))),
            (401, INVALID),
        ),
        ("scoped", me(json!({ "scope": "b c a" })), LET_IN),
        ("scoped", me(json!({ "scp": ["a", "b"] })), LET_IN),
        (
            "scoped",
            me(json!({ "scope": "a ab" })),
            (401, "JWT_INSUFFICIENT_SCOPE"),
        ),
        ("scoped", me(json!({})), (401, "JWT_INSUFFICIENT_SCOPE")),
        ("loose", me(json!({ "scope": "b" })), LET_IN),
        (
            "loose",
            me(json!({ "scope": "c" })),
            (401, "JWT_INSUFFICIENT_SCOPE"),
        ),
        ("unsigned", me(json!({})), (401, INVALID)),
        ("keyless", me(json!({})), (401, INVALID)),
    ] {
        assert_token(&site, api, &token, expected);
    }
    // Where the token is.
    let token = me(json!({ "ids": { "app": "me" }, "profile": { "name": "Mia" } }));
    let lower = format!("bEaReR   {token}");
    let basic = "Basic dTpw";
    let value = format!("Bearer {token}");
    let query = format!("?access_token={token}&a=1");
    for (fields, query, status) in [
        (&[("Authorization", &*lower)][..], "", 200),
        (
            &[("Authorization", basic), ("Authorization", &value)],
            "",
            200,
        ),
        (&[], &*query, 200),
        (&[("Authorization", basic)], &query, 200),
        (&[("Authorization", "Bearer x")], &query, 401),
        (&[("Authorization", "Bearer ")], "", 401),
        (&[("Authorization", basic)], "", 401),
        (&[("X-Gravitee-Api-Key", &token)], "", 401),
    ] {
        let response = fetch_with(site.port(), &format!("/usual/x{query}"), fields);
        assert_eq!(response.status, status, "{fields:?} {query}");
        if status == 200 && !query.is_empty() {
            assert_eq!(site.backend.last().target, format!("/x{query}"));
        }
    }
    assert_token(&site, "hidden", &token, LET_IN);
    assert_eq!(site.backend.last().head.field("Authorization"), None);
    assert_token(&site, "named", &token, LET_IN);
    assert_eq!(site.backend.last().head.field("X-User"), Some("Mia"));
    site.reports_are_as_expected();
}

#[test]
fn a_key_set_that_cannot_be_had_fails_requests_until_it_can() {
    let rsa = Rsa::generate();
    let set = json!({ "keys": [rsa.jwk("k")] });
    let good = Arc::new(AtomicBool::new(false));
    let is_good = Arc::clone(&good);
    let server = Server::start(move |asked| {
        if is_good.load(Ordering::SeqCst) {
            return Answer::json(&set);
        }
        match &*asked.target {
            "/status" => Answer::new(500, "no"),
            "/missing" => Answer::new(404, "no"),
            "/garbage" => Answer::new(200, "<html>"),
            "/shape" => Answer::json(&json!({ "keys": 7 })),
            "/large" => Answer::new(200, vec![b' '; 6 << 20]),
            "/redirect" => Answer::new(302, "").field("Location", "/trap"),
            _ => Answer::json(&set).after(Duration::from_secs(4)),
        }
    });
    let closed = crate::support::ports::free();
    let site = Site::prepared(Start::new(), |plane, backend| {
        for api in [
            "status", "missing", "garbage", "shape", "large", "redirect", "slow", "down",
        ] {
            let url = match api {
                "down" => format!("http://127.0.0.1:{closed}/jwks"),
                _ => server.url(&format!("/{api}")),
            };
            let configuration = json!({
                "signature": "RSA_RS256", "publicKeyResolver": "JWKS_URL",
                "resolverParameter": url, "requestTimeout": 200, "connectTimeout": 200,
            });
            plane.deploy(&planned(&backend.target(""), api, "jwt", configuration));
            plane.subscribe_to(
                api,
                &format!("{api}-plan"),
                api,
                json!({ "clientId": "me" }),
            );
        }
    });
    let token = rsa.token(&claims("me", json!({})));
    for api in [
        "status", "missing", "garbage", "shape", "large", "redirect", "slow", "down",
    ] {
        let expected = (500, "JWT_JWKS_RESOLUTION_ERROR");
        assert_token(&site, api, &token, expected);
        // Tokens that are refused whatever the keys are ask for nothing.
        assert_token(&site, api, "x", (401, UNRESOLVABLE));
    }
    assert!(server.asked().iter().all(|asked| asked.target != "/trap"));
    good.store(true, Ordering::SeqCst);
    for api in ["status", "garbage", "slow"] {
        until("the keys", PATIENCE, || {
            (with_token(&site, api, &token).status == 200).then_some(())
        });
    }
    // What is known stays known when the server fails again.
    good.store(false, Ordering::SeqCst);
    assert_token(&site, "status", &token, LET_IN);
    site.reports_are_as_expected();
}

#[test]
fn a_key_set_is_fetched_once_however_many_wait_for_it() {
    let rsa = Rsa::generate();
    let set = json!({ "keys": [rsa.jwk("k")] });
    let keys = Server::always(Answer::json(&set).after(Duration::from_millis(500)));
    let site = Site::prepared(Start::new(), |plane, backend| {
        for api in ["one", "two"] {
            let configuration = json!({
                "signature": "RSA_RS256", "publicKeyResolver": "JWKS_URL", "resolverParameter": keys.url("/jwks"),
            });
            plane.deploy(&planned(&backend.target(""), api, "jwt", configuration));
            plane.subscribe_to(
                api,
                &format!("{api}-plan"),
                api,
                json!({ "clientId": "me" }),
            );
        }
    });
    std::thread::scope(|scope| {
        for number in 0..20 {
            let token = rsa.token(&claims("me", json!({ "jti": number.to_string() })));
            let site = &site;
            let api = if number % 2 == 0 { "one" } else { "two" };
            scope.spawn(move || assert_eq!(with_token(site, api, &token).status, 200));
        }
    });
    assert_eq!(keys.asked().len(), 1, "two APIs share a set by its URL");
}

#[test]
fn revoked_and_bound_tokens_are_told_apart() {
    let rsa = Rsa::generate();
    let list = Server::always(Answer::new(200, " gone \n\nlost\n"));
    let certificate =
        rcgen::generate_simple_self_signed(["client".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).expect("a certificate");
    let key = json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() });
    let site = Site::prepared(Start::new(), |plane, backend| {
        let mut revoked = key.clone();
        revoked["revocationCheck"] =
            json!({ "enabled": true, "revocationListUrl": list.url("/list") });
        let mut bound = key.clone();
        bound["confirmationMethodValidation"] = json!({
            "certificateBoundThumbprint": { "enabled": true, "extractCertificateFromHeader": true, "headerName": "X-Cert" },
        });
        let mut lenient = bound.clone();
        lenient["confirmationMethodValidation"]["ignoreMissing"] = json!(true);
        for (api, configuration) in [("revoked", revoked), ("bound", bound), ("lenient", lenient)] {
            plane.deploy(&planned(&backend.target(""), api, "jwt", configuration));
            plane.subscribe_to(
                api,
                &format!("{api}-plan"),
                api,
                json!({ "clientId": "me" }),
            );
        }
    });
    let me = |changes: Value| rsa.token(&claims("me", changes));
    assert_token(&site, "revoked", &me(json!({ "jti": "kept" })), LET_IN);
    let gone = me(json!({ "jti": "gone" }));
    until("the list", PATIENCE, || {
        (with_token(&site, "revoked", &gone).status == 401).then_some(())
    });
    assert_token(&site, "revoked", &gone, (401, "JWT_REVOKED"));
    assert_token(&site, "revoked", &me(json!({ "jti": "kept" })), LET_IN);
    assert_token(&site, "revoked", &me(json!({})), LET_IN);

    let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.cert.der());
    let thumbprint = crate::support::tokens::part_of(thumbprint.as_ref());
    let bound = me(json!({ "cnf": { "x5t#S256": thumbprint } }));
    let free = me(json!({}));
    let mismatch = "JWT_INVALID_CERTIFICATE_BOUND_THUMBPRINT";
    for (api, token, presented, expected) in [
        ("bound", &bound, Some(&certificate), LET_IN),
        ("bound", &bound, Some(&other), (401, mismatch)),
        ("bound", &bound, None, (401, mismatch)),
        ("bound", &free, Some(&certificate), (401, mismatch)),
        ("lenient", &free, Some(&certificate), LET_IN),
        ("lenient", &free, None, LET_IN),
        ("lenient", &bound, Some(&other), (401, mismatch)),
        ("lenient", &bound, Some(&certificate), LET_IN),
    ] {
        let value = format!("Bearer {token}");
        let pem = presented.map(|it| it.cert.pem().replace('\n', "%0A").replace('+', "%2B"));
        let mut fields = vec![("Authorization", &*value)];
        fields.extend(pem.as_deref().map(|pem| ("X-Cert", pem)));
        assert_outcome(&site, &format!("/{api}/x"), &fields, expected);
    }
    site.reports_are_as_expected();
}

/// An authorization server: the token says what it answers.
fn authorization_server(asked: &Asked) -> Answer {
    let text = [asked.target.as_bytes(), &asked.body].concat();
    let text = String::from_utf8_lossy(&text);
    let has = |token: &str| text.contains(&format!("token={token}"));
    let good = |changes: Value| {
        let mut payload =
            json!({ "active": true, "client_id": "me", "sub": "user", "scope": "a b" });
        for (name, value) in changes.as_object().into_iter().flatten() {
            payload[name] = value.clone();
        }
        Answer::json(&payload)
    };
    match () {
        () if has("inactive") => Answer::json(&json!({ "active": false })),
        () if has("unsaid") => Answer::json(&json!({ "client_id": "me", "sub": "user" })),
        () if has("nobody") => good(json!({ "client_id": null })),
        () if has("audience") => good(json!({ "client_id": null, "aud": ["me"] })),
        () if has("stranger") => good(json!({ "client_id": "stranger" })),
        () if has("narrow") => good(json!({ "scope": "a" })),
        () if has("listed") => good(json!({ "scope": null, "scp": ["b", "a"] })),
        () if has("other-scope") => good(json!({ "scope": "ab" })),
        () if has("expiring") => good(json!({ "exp": now_ms() / 1_000 + 3_600 })),
        () if has("denied") => Answer::new(401, "{\"active\":true,\"client_id\":\"me\"}"),
        () if has("bad") => Answer::new(400, "{}"),
        () if has("broken") => Answer::new(500, "no"),
        () if has("text") => Answer::new(200, "hello"),
        () if has("list") => Answer::new(200, "[true]"),
        () if has("slow") => good(json!({})).after(Duration::from_secs(5)),
        () if has("good") => good(json!({})),
        () => Answer::json(&json!({ "active": false })),
    }
}

fn server_of(url: &str) -> Value {
    json!({
        "authorizationServerUrl": url,
        "introspectionEndpoint": "/introspect",
        "introspectionEndpointMethod": "POST",
        "useClientAuthorizationHeader": true,
        "clientAuthorizationHeaderName": "Authorization",
        "clientAuthorizationHeaderScheme": "Basic",
        "clientId": "gateway",
        "clientSecret": "hush",
        "tokenIsSuppliedByFormUrlEncoded": true,
        "tokenFormUrlEncodedName": "token",
    })
}

#[test]
fn oauth2_plans_go_by_what_the_authorization_server_says() {
    let server = Server::start(authorization_server);
    let closed = crate::support::ports::free();
    let start = Start::new().set("http.requestTimeout", "3000");
    let mut impatient = server_of(&server.url("/as"));
    impatient["http"] = json!({ "readTimeout": 200 });
    let site = Site::prepared(start, |plane, backend| {
        for (api, changes) in [
            ("usual", json!({})),
            ("hidden", json!({ "propagateAuthHeader": false })),
            (
                "scoped",
                json!({ "checkRequiredScopes": true, "requiredScopes": ["a", "b"] }),
            ),
            (
                "loose",
                json!({ "checkRequiredScopes": true, "requiredScopes": ["x", "a"], "modeStrict": false }),
            ),
            ("homeless", json!({ "oauthResource": "no such resource" })),
            ("down", json!({ "oauthResource": "down" })),
            ("query", json!({ "oauthResource": "query" })),
            ("impatient", json!({ "oauthResource": "impatient" })),
            ("cached", json!({ "oauthCacheResource": "cache" })),
        ] {
            let mut configuration = json!({ "oauthResource": "{#api.id != '' ? 'server' : ''}" });
            for (name, value) in changes.as_object().into_iter().flatten() {
                configuration[name] = value.clone();
            }
            let definition = planned(&backend.target(""), api, "oauth2", configuration)
                .resource("server", "oauth2", server_of(&server.url("/as//")))
                .resource("down", "oauth2", server_of(&format!("http://127.0.0.1:{closed}")))
                                .resource("impatient", "oauth2", impatient.clone())
.resource("query", "oauth2", json!({
                    "introspectionEndpoint": server.url("/query"),
                    "tokenIsSuppliedByQueryParam": true,
                    "tokenQueryParamName": "token",
                }))
                .resource("cache", "cache", json!({ "name": "tokens", "maxEntriesLocalHeap": 100, "timeToLiveSeconds": 600, "timeToIdleSeconds": 600 }));
            plane.deploy(&definition);
            plane.subscribe_to(
                api,
                &format!("{api}-plan"),
                &format!("{api}-s"),
                json!({ "clientId": "me" }),
            );
        }
    });
    const TROUBLE: Outcome = (503, "GATEWAY_PLAN_RESOLUTION_FAILURE");
    for (api, token, expected) in [
        ("usual", "good", LET_IN),
        ("usual", "unsaid", LET_IN),
        ("usual", "audience", LET_IN),
        ("usual", "inactive", (401, UNRESOLVABLE)),
        ("usual", "nobody", (401, UNRESOLVABLE)),
        ("usual", "stranger", (401, UNRESOLVABLE)),
        ("usual", "", (401, UNRESOLVABLE)),
        ("usual", "denied", TROUBLE),
        ("usual", "bad", TROUBLE),
        ("usual", "broken", TROUBLE),
        ("usual", "text", TROUBLE),
        ("down", "good", TROUBLE),
        ("usual", "slow", (504, "REQUEST_TIMEOUT")),
        ("impatient", "slow", TROUBLE),
        ("impatient", "good", LET_IN),
        ("homeless", "good", (401, UNRESOLVABLE)),
        ("scoped", "good", LET_IN),
        ("scoped", "listed", LET_IN),
        ("scoped", "narrow", (401, "OAUTH2_INSUFFICIENT_SCOPE")),
        ("scoped", "other-scope", (401, "OAUTH2_INSUFFICIENT_SCOPE")),
        ("loose", "narrow", LET_IN),
        ("loose", "other-scope", (401, "OAUTH2_INSUFFICIENT_SCOPE")),
        ("query", "good", LET_IN),
        ("query", "inactive", (401, UNRESOLVABLE)),
    ] {
        let before = server.asked().len();
        assert_token(&site, api, token, expected);
        let asked = usize::from(!token.is_empty() && !matches!(api, "down" | "homeless"));
        if token != "slow" {
            assert_eq!(
                server.asked().len(),
                before + asked,
                "once per request: {api} {token}"
            );
        }
        if expected.0 == 200 {
            let head = site.backend.last().head;
            assert_eq!(head.field("X-Subscription"), Some(&*format!("{api}-s")));
            assert_eq!(
                head.field("Authorization"),
                Some(&*format!("Bearer {token}"))
            );
            assert_eq!(
                (head.field("X-User"), head.field("X-Client")),
                (Some("user"), Some("me"))
            );
        }
    }
    // Nothing to ask about.
    let before = server.asked().len();
    assert_outcome(&site, "/usual/x", &[], (401, UNRESOLVABLE));
    assert_eq!(server.asked().len(), before);
    assert_outcome(&site, "/usual/x?access_token=good", &[], LET_IN);
    assert_token(&site, "hidden", "good", LET_IN);
    assert_eq!(site.backend.last().head.field("Authorization"), None);
    // What the server was asked.
    let asked = server
        .asked()
        .into_iter()
        .find(|asked| asked.body == b"token=good")
        .expect("a question");
    assert_eq!((&*asked.method, &*asked.target), ("POST", "/as/introspect"));
    for (name, value) in [
        ("Authorization", "Basic Z2F0ZXdheTpodXNo"),
        ("Accept", "application/json"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ] {
        assert_eq!(asked.head.field(name), Some(value), "{name}");
    }
    assert!(asked.head.field("X-Gravitee-Request-Id").is_some());
    assert!(
        server
            .asked()
            .iter()
            .any(|asked| asked.method == "GET" && asked.target == "/query?token=good")
    );
    // Accepted tokens are remembered, others are not.
    for (token, questions) in [("good", 1), ("expiring", 1), ("inactive", 3), ("broken", 3)] {
        let before = server.asked().len();
        for _ in 0..3 {
            with_token(&site, "cached", token);
        }
        assert_eq!(server.asked().len(), before + questions, "{token}");
    }
    site.reports_are_as_expected();
}
