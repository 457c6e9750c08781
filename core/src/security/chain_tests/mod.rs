//! The chain over plans of every kind: which plan is selected, what waits, and what a refused request gets.

mod documents;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::jwt::testing::*;
use super::*;
use crate::definition::{ApiKeyPlan, Engine};
use crate::el::Template;
use crate::exchange::{Body, ClientCertificate, Exchange, Memory};
use crate::need::{Answer, DocumentContent, Errand, HttpError, HttpReply, Need, SharedDocument};
use crate::policy::registry::GatewayParts;
use crate::policy::resource::{self, ResourceBuilder};
use crate::policy::{Builder, Resource};
use crate::report::SecurityType;
use crate::snapshot::DeployedApi;

const NOW_MS: u64 = NOW as u64 * 1_000;

fn server(configuration: &Value) -> Resource {
    let entry = resource::find("oauth2").expect("a known type");
    let instance = (entry.build)(&ResourceBuilder {
        name: "server",
        api_id: "api",
        configuration,
        gateway: &GatewayParts::default(),
    });
    Resource {
        kind: entry.kind.into(),
        instance: instance.expect("a server"),
    }
}

fn secured(kind: &str, configuration: &Value, parts: &GatewayParts) -> PlanSecurity {
    let resources: HashMap<Box<str>, Resource> = [(
        "server".into(),
        server(&json!({
            "authorizationServerUrl": "https://as.example.com//", "introspectionEndpoint": "/introspect",
            "introspectionEndpointMethod": "POST", "tokenIsSuppliedByFormUrlEncoded": true,
            "useClientAuthorizationHeader": true, "clientId": "gateway", "clientSecret": "secret",
        })),
    )]
    .into();
    build_plan(
        kind,
        &Builder {
            configuration,
            legacy_engine: false,
            resources: &resources,
            gateway: parts,
        },
    )
    .expect("a known kind")
    .expect("a plan")
}

fn jwt() -> PlanSecurity {
    let configuration = json!({"signature": "HMAC_HS256", "resolverParameter": SECRET});
    secured("jwt", &configuration, &GatewayParts::default())
}

fn oauth2() -> PlanSecurity {
    secured(
        "oauth2",
        &json!({"oauthResource": "server"}),
        &GatewayParts::default(),
    )
}

fn mtls() -> PlanSecurity {
    secured("mtls", &json!({}), &GatewayParts::default())
}

fn keys() -> PlanSecurity {
    PlanSecurity::ApiKey(ApiKeyPlan::default())
}

struct Bench {
    deployed: DeployedApi,
    settings: ApiKeySettings,
}

/// Subscriptions of the client `client` to every plan, and an API key `good` for the plan `key`.
fn bench(plans: Vec<(&str, PlanSecurity, Option<&str>)>) -> Bench {
    let mut deployed = crate::policy::testing::Bench::new().deployed;
    let mut table = Subscriptions::default();
    let mut subscribe =
        |plan: &str, client: Option<&str>, thumbprint: Option<&str>, ending_at_ms| {
            let subscription = Arc::new(Subscription {
                id: format!("subscription-{plan}").into(),
                plan_id: plan.into(),
                application_id: "application".into(),
                client_id: client.map(Into::into),
                thumbprints: thumbprint.map(Into::into).into_iter().collect(),
                ending_at_ms,
                ..Subscription::default()
            });
            table.register(&subscription);
            if plan == "key" && ending_at_ms.is_none() {
                table.keys.insert(
                    "good".into(),
                    ApiKey {
                        subscription,
                        expire_at_ms: None,
                    },
                );
            }
        };
    for (id, _, _) in &plans {
        let thumbprint = (*id == "mtls").then(|| certificate::thumbprint(&client_certificate()));
        subscribe(id, Some("client"), thumbprint.as_deref(), None);
        subscribe(id, Some("ended"), None, Some(NOW_MS));
    }
    let api = Arc::get_mut(&mut deployed.api).expect("the only one");
    api.plans = plans
        .into_iter()
        .map(|(id, security, rule)| Plan {
            id: id.into(),
            name: id.into(),
            security,
            selection_rule: rule.map(Template::new),
            flows: Default::default(),
        })
        .collect();
    deployed.subscriptions = Arc::new(table);
    Bench {
        deployed,
        settings: ApiKeySettings::default(),
    }
}

fn client_certificate() -> Vec<u8> {
    static DER: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    DER.get_or_init(|| {
        rcgen::generate_simple_self_signed(["client".to_owned()])
            .expect("a certificate")
            .cert
            .der()
            .to_vec()
    })
    .clone()
}

impl Bench {
    fn exchange(&self) -> Exchange<'_> {
        let mut exchange = Exchange::new(Memory::default(), &self.deployed);
        exchange.request.remote = "10.1.2.3".into();
        exchange.request.host = "gateway.example.com".into();
        exchange.request.path = "/api/orders".into();
        exchange.request.context_path = "/api/".into();
        exchange.request.path_info_start = 4;
        exchange.request.timestamp_ms = NOW_MS;
        exchange.now_ms = NOW_MS;
        exchange.seed.set(7);
        exchange
    }

    fn with<'b>(&'b self, headers: &[(&str, &str)]) -> Exchange<'b> {
        let mut exchange = self.exchange();
        for (name, value) in headers {
            exchange.request.headers.add(name, value).expect("a header");
        }
        exchange
    }

    /// The chain to its end, when nothing waits: the plan, or the key of the failure.
    fn outcome(&self, exchange: &mut Exchange<'_>) -> Result<String, String> {
        // The lifetime of the settings is that of the bench.
        let selection = self.start(exchange).1;
        ended(selection, exchange)
    }

    fn start(&self, exchange: &mut Exchange<'_>) -> (Selector, Selection) {
        let mut selector = Selector::default();
        let settings = Box::leak(Box::new(self.settings.clone()));
        let selection = selector.advance(exchange, settings);
        (selector, selection)
    }

    fn resume(
        &self,
        selector: &mut Selector,
        exchange: &mut Exchange<'_>,
        answer: Answer,
    ) -> Selection {
        let settings = Box::leak(Box::new(self.settings.clone()));
        selector.resume(exchange, settings, answer)
    }
}

fn ended(selection: Selection, exchange: &Exchange<'_>) -> Result<String, String> {
    match selection {
        Selection::Granted => Ok(exchange.plan.expect("a plan").id.to_string()),
        Selection::Failed(failure) => Err(format!("{} {}", failure.status, failure.key_str())),
        other => panic!("{other:?}"),
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn token(changes: &Value) -> String {
    Signer::HS256.sign(&json!({"alg": "HS256"}), &claims_with(changes))
}

fn introspected(selection: Selection) -> crate::need::HttpCall {
    match selection {
        Selection::Await(Need::Errand(errand)) => match *errand {
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
        body: body.as_bytes().to_vec(),
    })))
}

const UNRESOLVABLE: &str = "401 GATEWAY_PLAN_UNRESOLVABLE";

#[test]
fn plans_are_tried_in_the_order_of_their_kind() {
    let mut plans = [PlanSecurity::KeyLess, keys(), oauth2(), jwt(), mtls()];
    plans.sort_by_key(PlanSecurity::order);
    let orders: Vec<_> = plans.iter().map(PlanSecurity::order).collect();
    assert_eq!(orders, [-100, 0, 100, 500, 1_000]);
    let parts = GatewayParts::default();
    let builder = Builder {
        configuration: &Value::Null,
        legacy_engine: false,
        resources: &HashMap::new(),
        gateway: &parts,
    };
    assert!(build_plan("api-key", &builder).is_none());
}

#[test]
fn a_token_selects_its_plan_and_its_subscription() {
    let bench = bench(vec![
        ("jwt", jwt(), None),
        ("key", keys(), None),
        ("open", PlanSecurity::KeyLess, None),
    ]);
    let good = token(&json!({}));
    let mut exchange = bench.with(&[("Authorization", &bearer(&good))]);
    assert_eq!(bench.outcome(&mut exchange), Ok("jwt".to_owned()));
    assert_eq!(exchange.application_id, "application");
    assert_eq!(exchange.subscription_id, "subscription-jwt");
    assert_eq!(
        exchange.subscription.map(|subscription| &*subscription.id),
        Some("subscription-jwt")
    );
    assert_eq!(exchange.security_type, SecurityType::Jwt);
    assert_eq!(exchange.security_token, "client");
    assert_eq!(exchange.user.as_deref(), Some("alice"));
    assert!(!exchange.attribute("jwt").is_null());
    let mut exchange = bench.exchange();
    exchange.request.query = format!("access_token={good}");
    assert_eq!(bench.outcome(&mut exchange), Ok("jwt".to_owned()));
    let mut exchange = bench.with(&[("X-Gravitee-Api-Key", "good")]);
    assert_eq!(bench.outcome(&mut exchange), Ok("key".to_owned()));
    assert_eq!(exchange.api_key.as_deref(), Some("good"));
    assert!(!exchange.request.headers.contains("X-Gravitee-Api-Key"));
    let mut exchange = bench.exchange();
    assert_eq!(bench.outcome(&mut exchange), Ok("open".to_owned()));
    assert_eq!(
        (&*exchange.application_id, &*exchange.subscription_id),
        ("1", "10.1.2.3")
    );
}

#[test]
fn a_bad_credential_never_falls_back_to_key_less() {
    let bench = bench(vec![
        ("jwt", jwt(), None),
        ("key", keys(), None),
        ("open", PlanSecurity::KeyLess, None),
    ]);
    let invalid = "401 JWT_INVALID_TOKEN";
    let forged = Signer::Hmac(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32])
        .sign(&json!({"alg": "HS256"}), &claims());
    let unsigned = format!("{}.", unsigned(&json!({"alg": "none"}), &claims()));
    for (value, expected) in [
        ("Bearer".to_owned(), UNRESOLVABLE),
        (bearer("nonsense"), UNRESOLVABLE),
        (bearer("a.b.c.d.e"), UNRESOLVABLE),
        (bearer(&token(&json!({"azp": "unknown"}))), UNRESOLVABLE),
        (bearer(&token(&json!({"azp": null}))), UNRESOLVABLE),
        (bearer(&token(&json!({"azp": "ended"}))), UNRESOLVABLE),
        (bearer(&forged), invalid),
        (bearer(&unsigned), invalid),
        (bearer(&token(&json!({"exp": NOW - 100}))), invalid),
    ] {
        let mut exchange = bench.with(&[("Authorization", &value)]);
        assert_eq!(
            bench.outcome(&mut exchange),
            Err(expected.to_owned()),
            "{value}"
        );
        assert!(exchange.user.is_none());
    }
    let mut exchange = bench.with(&[("X-Gravitee-Api-Key", "unknown")]);
    assert_eq!(bench.outcome(&mut exchange), Err(UNRESOLVABLE.to_owned()));
}

#[test]
fn a_good_key_beside_a_useless_token_is_still_a_good_key() {
    let bench = bench(vec![("jwt", jwt(), None), ("key", keys(), None)]);
    let useless = bearer(&token(&json!({"azp": "unknown"})));
    let mut exchange = bench.with(&[("Authorization", &useless), ("X-Gravitee-Api-Key", "good")]);
    assert_eq!(bench.outcome(&mut exchange), Ok("key".to_owned()));
    // A plan that passed is final: a forged token of a known client is not saved by a key.
    let forged = Signer::Hmac(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
    let forged = bearer(&forged.sign(&json!({"alg": "HS256"}), &claims()));
    let mut exchange = bench.with(&[("Authorization", &forged), ("X-Gravitee-Api-Key", "good")]);
    assert_eq!(
        bench.outcome(&mut exchange),
        Err("401 JWT_INVALID_TOKEN".to_owned())
    );
}

#[test]
fn a_selection_rule_takes_a_plan_out_and_drops_its_token() {
    let failure = "503 GATEWAY_PLAN_RESOLUTION_FAILURE";
    for (engine, rule, expected) in [
        (Engine::V4, "true", Ok("jwt")),
        (Engine::V4, "false", Ok("open")),
        (Engine::V4, "", Err(UNRESOLVABLE)),
        (Engine::V4, "nonsense", Err(failure)),
        (Engine::V2Emulation, "nonsense", Err(failure)),
        (Engine::V2Legacy, "false", Ok("open")),
        (Engine::V2Legacy, "", Err(UNRESOLVABLE)),
        (Engine::V2Legacy, "nonsense", Err(UNRESOLVABLE)),
    ] {
        let mut bench = bench(vec![
            ("jwt", jwt(), Some(rule)),
            ("open", PlanSecurity::KeyLess, None),
        ]);
        Arc::get_mut(&mut bench.deployed.api)
            .expect("the only one")
            .engine = engine;
        let mut exchange = bench.with(&[("Authorization", &bearer(&token(&json!({}))))]);
        let outcome = bench.outcome(&mut exchange);
        assert_eq!(
            outcome.as_deref().map_err(String::as_str),
            expected,
            "{engine:?} {rule}"
        );
    }
    // A rule is not asked about a token that is unusable, and does not drop it.
    let bench = bench(vec![
        ("jwt", jwt(), Some("false")),
        ("open", PlanSecurity::KeyLess, None),
    ]);
    let mut exchange = bench.with(&[("Authorization", "Bearer nonsense")]);
    assert_eq!(bench.outcome(&mut exchange), Err(UNRESOLVABLE.to_owned()));
}

#[test]
fn the_legacy_engine_looks_for_the_subscription_behind_the_policy() {
    let denied = Err("401 GATEWAY_OAUTH2_ACCESS_DENIED");
    let one = || vec![("jwt", jwt(), None), ("key", keys(), None)];
    let two = || vec![("first", jwt(), None), ("jwt", jwt(), None)];
    let ruled = || vec![("jwt", jwt(), Some("true")), ("second", jwt(), None)];
    for (plans, client, expected) in [
        (one(), "client", Ok("jwt")),
        (one(), "ended", denied),
        (one(), "stranger", denied),
        // Not the last plan for such tokens: the subscription chooses.
        (two(), "client", Ok("first")),
        (two(), "stranger", denied),
        // The rule has chosen.
        (ruled(), "stranger", denied),
    ] {
        let mut bench = bench(plans);
        Arc::get_mut(&mut bench.deployed.api)
            .expect("the only one")
            .engine = Engine::V2Legacy;
        let bearer = bearer(&token(
            &json!({ "client_id": client, "azp": null, "aud": null }),
        ));
        let mut exchange = bench.with(&[("Authorization", &bearer)]);
        let outcome = bench.outcome(&mut exchange);
        assert_eq!(
            outcome.as_deref().map_err(String::as_str),
            expected,
            "{client}"
        );
        let is_known = exchange.subscription.is_some();
        assert_eq!(is_known, expected.is_ok(), "{client}");
        // Where nobody asks for subscriptions a good token is enough.
        bench.settings.validate_subscription = false;
        let mut exchange = bench.with(&[("Authorization", &bearer)]);
        assert!(bench.outcome(&mut exchange).is_ok(), "{client}");
    }
}

#[test]
fn a_key_less_plan_may_have_a_rule_too() {
    let two = bench(vec![
        ("closed", PlanSecurity::KeyLess, Some("false")),
        ("open", PlanSecurity::KeyLess, Some("true")),
    ]);
    assert_eq!(two.outcome(&mut two.exchange()), Ok("open".to_owned()));
    let none = bench(vec![("closed", PlanSecurity::KeyLess, Some("false"))]);
    assert_eq!(
        none.outcome(&mut none.exchange()),
        Err(UNRESOLVABLE.to_owned())
    );
}

#[test]
fn the_refused_are_told_how_to_authenticate_and_why_only_if_so_set() {
    let scoped = || {
        let configuration = json!({"oauthResource": "server", "checkRequiredScopes": true, "requiredScopes": ["read", "write"]});
        secured("oauth2", &configuration, &GatewayParts::default())
    };
    let described = || {
        let configuration = json!({
            "signature": "HMAC_HS256", "resolverParameter": SECRET,
            "protectedResourceMetadata": {"authorizationServers": ["https://as.example.com"]},
        });
        secured("jwt", &configuration, &GatewayParts::default())
    };
    for (plans, challenge) in [
        (
            vec![("jwt", jwt(), None), ("oauth2", scoped(), None)],
            Some("Bearer"),
        ),
        (
            vec![("oauth2", scoped(), None)],
            Some("Bearer scope=\"read write\""),
        ),
        (
            vec![("jwt", described(), None)],
            Some(
                "Bearer resource_metadata=\"http://gateway.example.com/.well-known/oauth-protected-resource/api/orders\"",
            ),
        ),
        (vec![("key", keys(), None), ("mtls", mtls(), None)], None),
    ] {
        let bench = bench(plans);
        let mut exchange = bench.exchange();
        assert_eq!(bench.outcome(&mut exchange), Err(UNRESOLVABLE.to_owned()));
        assert_eq!(
            exchange.response.headers.text("WWW-Authenticate"),
            challenge
        );
    }
    for (value, rule, text) in [
        (
            None,
            None,
            "The request did not include an authentication token",
        ),
        (
            Some(bearer("nonsense")),
            None,
            "The provided authentication token is invalid",
        ),
        (
            Some(bearer(&token(&json!({"azp": "unknown"})))),
            None,
            "The provided credentials are not authorized",
        ),
        (
            Some(bearer(&token(&json!({"azp": "ended"})))),
            None,
            "Access has expired for the provided credentials",
        ),
        (
            Some(bearer(&token(&json!({})))),
            Some("false"),
            "No plan matched the request",
        ),
    ] {
        for verbose in [false, true] {
            let mut bench = bench(vec![("jwt", jwt(), rule)]);
            bench.settings.verbose_401 = verbose;
            let headers: Vec<_> = value
                .iter()
                .map(|value| ("Authorization", value.as_str()))
                .collect();
            let mut exchange = bench.with(&headers);
            let Selection::Failed(failure) = bench.start(&mut exchange).1 else {
                panic!("not refused");
            };
            let expected = if verbose { text } else { "Unauthorized" };
            assert_eq!(failure.message.as_deref(), Some(expected));
            assert_eq!(failure.cause.as_deref(), Some(text));
        }
    }
}

#[test]
fn without_subscription_validation_a_verified_token_is_enough() {
    let mut bench = bench(vec![("jwt", jwt(), None)]);
    bench.settings.validate_subscription = false;
    let mut exchange =
        bench.with(&[("Authorization", &bearer(&token(&json!({"azp": "unknown"}))))]);
    assert_eq!(bench.outcome(&mut exchange), Ok("jwt".to_owned()));
    let mut exchange = bench.with(&[("Authorization", &bearer(&token(&json!({"azp": null}))))]);
    assert_eq!(bench.outcome(&mut exchange), Err(UNRESOLVABLE.to_owned()));
}

#[test]
fn a_certificate_selects_its_subscription() {
    let bench = bench(vec![
        ("mtls", mtls(), None),
        ("open", PlanSecurity::KeyLess, None),
    ]);
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).expect("one");
    for (der, expected) in [
        (Some(client_certificate()), Ok("mtls")),
        (Some(other.cert.der().to_vec()), Err(UNRESOLVABLE)),
        (Some(b"nonsense".to_vec()), Err(UNRESOLVABLE)),
        (None, Ok("open")),
    ] {
        let mut exchange = bench.exchange();
        exchange.request.tls = true;
        exchange.request.certificate = der.map(|der| ClientCertificate { der: der.into() });
        let outcome = bench.outcome(&mut exchange);
        assert_eq!(outcome.as_deref().map_err(String::as_str), expected);
    }
}

#[test]
fn an_access_token_is_looked_up_once_at_the_server() {
    let bench = bench(vec![("oauth2", oauth2(), None)]);
    let mut exchange = bench.with(&[("Authorization", "Bearer opaque")]);
    let (mut selector, selection) = bench.start(&mut exchange);
    let call = introspected(selection);
    assert_eq!(
        (&*call.method, &*call.url),
        ("POST", "https://as.example.com/introspect")
    );
    assert_eq!(call.body, b"token=opaque");
    let header = |name: &str| {
        call.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(header("Authorization"), Some("Basic Z2F0ZXdheTpzZWNyZXQ="));
    assert_eq!(
        header("Content-Type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(header("X-Gravitee-Request-Id").map(str::len), Some(36));
    let answer = reply(
        200,
        r#"{"active":true,"client_id":"client","sub":"alice","scope":"a b"}"#,
    );
    let selection = bench.resume(&mut selector, &mut exchange, answer);
    assert_eq!(ended(selection, &exchange), Ok("oauth2".to_owned()));
    assert_eq!(exchange.subscription_id, "subscription-oauth2");
    assert_eq!(exchange.user.as_deref(), Some("alice"));
    assert_eq!(exchange.security_type, SecurityType::OAuth2);
    assert!(exchange.attributes.get("oauth.access_token").is_some());
}

#[test]
fn what_the_server_says_decides() {
    let unavailable = "503 GATEWAY_PLAN_RESOLUTION_FAILURE";
    let broken = || Answer::Http(Err(HttpError::Timeout(1)));
    for (answer, expected) in [
        (
            reply(200, r#"{"active":true,"client_id":"client"}"#),
            Ok("oauth2"),
        ),
        (reply(200, r#"{"client_id":"client"}"#), Ok("oauth2")),
        (
            reply(200, r#"{"active":false,"client_id":"client"}"#),
            Err(UNRESOLVABLE),
        ),
        (
            reply(200, r#"{"active":"no","client_id":"client"}"#),
            Err(UNRESOLVABLE),
        ),
        (reply(200, r#"{"active":true}"#), Err(UNRESOLVABLE)),
        (
            reply(200, r#"{"active":true,"client_id":" "}"#),
            Err(UNRESOLVABLE),
        ),
        (
            reply(200, r#"{"active":true,"client_id":"unknown"}"#),
            Err(UNRESOLVABLE),
        ),
        (
            reply(200, r#"{"active":true,"client_id":"ended"}"#),
            Err(UNRESOLVABLE),
        ),
        (reply(200, "<html>"), Err(unavailable)),
        (reply(200, "[]"), Err(unavailable)),
        (
            reply(401, r#"{"active":true,"client_id":"client"}"#),
            Err(unavailable),
        ),
        (reply(400, ""), Err(unavailable)),
        (reply(500, ""), Err(unavailable)),
        (broken(), Err(unavailable)),
        (Answer::Refused, Err(unavailable)),
    ] {
        let shown = format!("{answer:?}");
        let bench = bench(vec![
            ("oauth2", oauth2(), None),
            ("open", PlanSecurity::KeyLess, None),
        ]);
        let mut exchange = bench.with(&[("Authorization", "Bearer opaque")]);
        let (mut selector, _) = bench.start(&mut exchange);
        let selection = bench.resume(&mut selector, &mut exchange, answer);
        let outcome = ended(selection, &exchange);
        assert_eq!(
            outcome.as_deref().map_err(String::as_str),
            expected,
            "{shown}"
        );
    }
    // Another plan may still pass when the server is down.
    let bench = bench(vec![("oauth2", oauth2(), None), ("key", keys(), None)]);
    let mut exchange = bench.with(&[
        ("Authorization", "Bearer opaque"),
        ("X-Gravitee-Api-Key", "good"),
    ]);
    let (mut selector, _) = bench.start(&mut exchange);
    let selection = bench.resume(&mut selector, &mut exchange, broken());
    assert_eq!(ended(selection, &exchange), Ok("key".to_owned()));
}

#[test]
fn two_plans_ask_the_same_server_once() {
    let bench = bench(vec![
        ("oauth2", oauth2(), Some("false")),
        ("second", oauth2(), None),
    ]);
    let mut exchange = bench.with(&[("Authorization", "Bearer opaque")]);
    let (mut selector, selection) = bench.start(&mut exchange);
    introspected(selection);
    let answer = reply(200, r#"{"active":true,"client_id":"client"}"#);
    let selection = bench.resume(&mut selector, &mut exchange, answer);
    assert_eq!(ended(selection, &exchange), Ok("second".to_owned()));
}

#[test]
fn a_token_cannot_add_parameters_to_the_question() {
    let bench = bench(vec![("oauth2", oauth2(), None)]);
    let mut exchange = bench.with(&[("Authorization", "Bearer a&b=c d#e")]);
    let call = introspected(bench.start(&mut exchange).1);
    assert_eq!(call.body, b"token=a%26b=c%20d%23e");
}
