//! Plans: which one serves a request, for which credentials and subscriptions, and what those who are refused see.

use serde_json::{Value, json};

use crate::support::client::{Response, fetch_with};
use crate::support::control_plane::{ControlPlane, now_ms};
use crate::support::definition::{Definition, v2, v4};
use crate::support::gateway::Start;
use crate::support::server::{Answer, Server};
use crate::support::site::Site;
use crate::support::tokens::{Rsa, claims};
use crate::support::wait::{PATIENCE, until};

/// Tells the backend who came, by plan, application, subscription, and user.
pub(super) fn telling(definition: Definition) -> Definition {
    let attribute = |name: &str| format!("{{#context.attributes['{name}']}}");
    definition.request(
        "transform-headers",
        json!({ "addHeaders": [
            { "name": "X-Plan", "value": attribute("plan") },
            { "name": "X-Application", "value": attribute("application") },
            { "name": "X-Subscription", "value": attribute("user-id") },
        ] }),
    )
}

/// The V4 definition whose plans are these.
pub(super) fn planned(site: &str, api: &str, plans: &[(&str, &str, Value)]) -> Definition {
    telling(v4(api, &format!("/{api}"), site)).plans(plans)
}

pub(super) fn get(site: &Site, path: &str, fields: &[(&str, &str)]) -> Response {
    fetch_with(site.port(), path, fields)
}

pub(super) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The request is let in by this plan and this subscription.
#[track_caller]
pub(super) fn assert_let_in(
    site: &Site,
    path: &str,
    fields: &[(&str, &str)],
    plan: &str,
    subscription: &str,
) {
    let response = get(site, path, fields);
    assert_eq!(
        response.status,
        200,
        "{path} {fields:?}: {}",
        response.text()
    );
    let head = site.backend.last().head;
    assert_eq!(head.field("X-Plan"), Some(plan), "{path}");
    assert_eq!(head.field("X-Subscription"), Some(subscription), "{path}");
}

/// The request is refused with this status and key, and the backend hears nothing of it.
#[track_caller]
pub(super) fn assert_refused(
    site: &Site,
    path: &str,
    fields: &[(&str, &str)],
    status: u16,
    key: &str,
) {
    let before = site.backend.requests();
    let response = get(site, path, fields);
    assert_eq!(
        response.status,
        status,
        "{path} {fields:?}: {}",
        response.text()
    );
    site.expect_key(&response, key);
    assert_eq!(site.backend.requests(), before, "{path}");
}

pub(super) const UNRESOLVABLE: &str = "GATEWAY_PLAN_UNRESOLVABLE";

#[test]
fn a_key_less_plan_lets_everybody_in_with_and_without_credentials() {
    let site = Site::prepared(Start::new(), |plane, backend| {
        plane.deploy(&telling(v4("four", "/four", &backend.target(""))));
        plane.deploy(&telling(v2("two", "/two", &backend.target(""))));
        plane.deploy(&v4("plain", "/plain", &backend.target("")));
    });
    for fields in [
        &[][..],
        &[("X-Gravitee-Api-Key", "nonsense")],
        &[("Authorization", "Bearer nonsense")],
    ] {
        assert_let_in(&site, "/four/x", fields, "four-plan", "127.0.0.1");
        assert_eq!(site.backend.last().head.field("X-Application"), Some("1"));
        assert_let_in(&site, "/two/x", fields, "two-plan", "127.0.0.1");
        assert_eq!(get(&site, "/plain/x", fields).status, 200);
        // Nobody looked for it, so nobody takes it away.
        if let Some((name, value)) = fields.first() {
            assert_eq!(site.backend.last().head.field(name), Some(*value));
        }
    }
}

#[test]
fn api_keys_are_found_where_the_plan_says_and_are_kept_from_the_backend_unless_it_says_so() {
    let places = [
        ("usual", json!({})),
        ("propagated", json!({ "propagateApiKey": true })),
        ("custom", json!({ "apiKeyHeader": "X-Custom" })),
        ("bearer", json!({ "source": "BEARER" })),
        ("query", json!({ "source": "QUERY_PARAMETER" })),
    ];
    let start = Start::new()
        .set("policy.api-key.header", "X-Own-Key")
        .set("policy.api-key.param", "own");
    let site = Site::prepared(start, |plane, backend| {
        for (api, configuration) in &places {
            // With steps and without: the two roads of a request through the gateway.
            let plain = v4(api, &format!("/{api}"), &backend.target(""));
            let plan = format!("{api}-plan");
            plane.deploy(&plain.plans(&[(&plan, "api-key", configuration.clone())]));
            plane.subscribe(api, "key", json!({}));
            let stepped = format!("{api}-steps");
            let plan = format!("{stepped}-plan");
            plane.deploy(&planned(
                &backend.target(""),
                &stepped,
                &[(&plan, "api-key", configuration.clone())],
            ));
            plane.subscribe(&stepped, "key", json!({}));
        }
    });
    for (api, fields, query, status, left) in [
        ("usual", &[("X-Own-Key", "key")][..], "", 200, ""),
        ("usual", &[("x-own-key", "key")], "?a=1", 200, "a=1"),
        ("usual", &[], "?own=key", 200, ""),
        ("usual", &[], "?a=1&own=key&b=2", 200, "a=1&b=2"),
        // The header is there, so the parameter is not looked at; both go.
        ("usual", &[("X-Own-Key", "key")], "?own=none", 200, ""),
        ("usual", &[("X-Own-Key", "none")], "?own=key", 401, ""),
        ("usual", &[("X-Own-Key", "")], "?own=key", 401, ""),
        ("usual", &[("X-Own-Key", "KEY")], "", 401, ""),
        ("usual", &[("X-Gravitee-Api-Key", "key")], "", 401, ""),
        ("usual", &[("Authorization", "Bearer key")], "", 401, ""),
        ("usual", &[], "?api-key=key", 401, ""),
        ("usual", &[], "", 401, ""),
        ("propagated", &[("X-Own-Key", "key")], "?a=1", 200, "a=1"),
        ("propagated", &[], "?own=key", 200, "own=key"),
        ("custom", &[("X-Custom", "key")], "", 200, ""),
        ("custom", &[], "?own=key", 200, ""),
        ("custom", &[("X-Own-Key", "key")], "", 401, ""),
        ("bearer", &[("Authorization", "Bearer key")], "", 200, ""),
        ("bearer", &[("Authorization", "bearer key")], "", 200, ""),
        ("bearer", &[("Authorization", "Basic key")], "", 401, ""),
        ("bearer", &[("X-Own-Key", "key")], "", 401, ""),
        ("bearer", &[], "?own=key", 401, ""),
        ("query", &[], "?own=key&b=2", 200, "b=2"),
        ("query", &[("X-Own-Key", "key")], "", 401, ""),
    ] {
        for api in [api.to_owned(), format!("{api}-steps")] {
            let before = site.backend.requests();
            let response = get(&site, &format!("/{api}/x{query}"), fields);
            let case = format!("{api} {fields:?} {query}");
            assert_eq!(response.status, status, "{case}");
            if status != 200 {
                assert_eq!(response.text(), "Unauthorized", "{case}");
                assert_eq!(response.field("WWW-Authenticate"), None, "{case}");
                assert_eq!(site.backend.requests(), before, "{case}");
                continue;
            }
            let head = site.backend.last().head;
            let target = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
            let left_query = target.split_once('?').map_or("", |(_, query)| query);
            assert_eq!(left_query, left, "{case}");
            for (name, value) in fields {
                let expected = api.starts_with("propagated").then_some(*value);
                assert_eq!(head.field(name), expected, "{case}");
            }
        }
    }
}

#[test]
fn api_keys_count_only_while_key_and_subscription_hold() {
    let hour = 3_600_000;
    let (past, future) = (now_ms() - hour, now_ms() + hour);
    let cases = [
        ("good", json!({}), ""),
        (
            "running",
            json!({ "subscription": { "startingAt": past, "endingAt": future }, "key": { "expireAt": future } }),
            "",
        ),
        (
            "pending",
            json!({ "subscription": { "status": "PENDING" } }),
            UNRESOLVABLE,
        ),
        (
            "paused",
            json!({ "subscription": { "status": "PAUSED" } }),
            UNRESOLVABLE,
        ),
        (
            "closed",
            json!({ "subscription": { "status": "CLOSED" } }),
            UNRESOLVABLE,
        ),
        (
            "rejected",
            json!({ "subscription": { "status": "REJECTED" } }),
            UNRESOLVABLE,
        ),
        (
            "ended",
            json!({ "subscription": { "endingAt": past } }),
            UNRESOLVABLE,
        ),
        (
            "future",
            json!({ "subscription": { "startingAt": future } }),
            UNRESOLVABLE,
        ),
        (
            "elsewhere",
            json!({ "subscription": { "plan": "another-plan" } }),
            UNRESOLVABLE,
        ),
        (
            "revoked",
            json!({ "key": { "revoked": true } }),
            UNRESOLVABLE,
        ),
        ("halted", json!({ "key": { "paused": true } }), UNRESOLVABLE),
        (
            "federated",
            json!({ "key": { "federated": true } }),
            UNRESOLVABLE,
        ),
        ("unknown", Value::Null, UNRESOLVABLE),
        // It may still be in the store when its time is over, or was never loaded: both are 401.
        (
            "expired",
            json!({ "key": { "expireAt": past } }),
            "API_KEY_INVALID or unresolvable",
        ),
    ];
    let site = Site::prepared(Start::new(), |plane, backend| {
        plane.deploy(&v4("plain", "/plain", &backend.target("")).api_key());
        plane.deploy(&telling(
            v4("steps", "/steps", &backend.target("")).api_key(),
        ));
        let two = telling(v2("two", "/two", &backend.target(""))).with(|definition| {
            definition["plans"][0]["security"] = json!("API_KEY");
            definition["plans"][0]["securityDefinition"] = json!("{\"propagateApiKey\":true}");
        });
        plane.deploy(&two);
        for (key, changes, _) in &cases {
            for api in ["plain", "steps", "two"] {
                if !changes.is_null() {
                    plane.subscribe(api, key, changes.clone());
                }
            }
        }
    });
    for (key, _, refused) in &cases {
        for api in ["plain", "steps", "two"] {
            let path = format!("/{api}/x");
            let fields = [("X-Gravitee-Api-Key", *key)];
            match *refused {
                "" if api == "plain" => assert_eq!(get(&site, &path, &fields).status, 200, "{key}"),
                "" => {
                    let subscription = format!("{api}-{key}-subscription");
                    assert_let_in(&site, &path, &fields, &format!("{api}-plan"), &subscription);
                    let head = site.backend.last().head;
                    assert_eq!(head.field("X-Application"), Some("application"));
                }
                UNRESOLVABLE => assert_refused(&site, &path, &fields, 401, UNRESOLVABLE),
                _ => assert_eq!(get(&site, &path, &fields).status, 401, "{key}"),
            }
        }
    }
    site.reports_are_as_expected();
}

#[test]
fn what_happens_to_subscriptions_and_keys_is_followed_while_requests_come() {
    let rsa = Rsa::generate();
    let token = bearer(&rsa.token(&claims("me", json!({}))));
    let site = Site::prepared(Start::new(), |plane, backend| {
        plane.deploy(&telling(v4("keys", "/keys", &backend.target("")).api_key()));
        plane.subscribe("keys", "key", json!({}));
        let plan = (
            "tokens-plan",
            "jwt",
            json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() }),
        );
        plane.deploy(&planned(&backend.target(""), "tokens", &[plan]));
        plane.subscribe_to("tokens", "tokens-plan", "s", json!({ "clientId": "me" }));
    });
    let key_fields = [("X-Gravitee-Api-Key", "key")];
    let token_fields = [("Authorization", &*token)];
    let becomes = |what: &str, path: &str, fields: &[(&str, &str)], status: u16| {
        until(what, PATIENCE, || {
            (get(&site, path, fields).status == status).then_some(())
        });
    };
    becomes("the key", "/keys/x", &key_fields, 200);
    for (what, changes, status) in [
        (
            "paused",
            json!({ "subscription": { "status": "PAUSED" } }),
            401,
        ),
        ("resumed", json!({}), 200),
        ("revoked", json!({ "key": { "revoked": true } }), 401),
        ("back", json!({}), 200),
        ("key paused", json!({ "key": { "paused": true } }), 401),
        ("key resumed", json!({}), 200),
        ("ended", json!({ "subscription": { "endingAt": 1 } }), 401),
        ("lasting", json!({}), 200),
        (
            "closed",
            json!({ "subscription": { "status": "CLOSED" } }),
            401,
        ),
    ] {
        site.plane.subscribe("keys", "key", changes);
        becomes(what, "/keys/x", &key_fields, status);
    }
    becomes("the client", "/tokens/x", &token_fields, 200);
    for (what, changes, status) in [
        (
            "paused",
            json!({ "clientId": "me", "status": "PAUSED" }),
            401,
        ),
        ("resumed", json!({ "clientId": "me" }), 200),
        ("another client", json!({ "clientId": "you" }), 401),
        ("mine again", json!({ "clientId": "me" }), 200),
        (
            "another plan",
            json!({ "clientId": "me", "plan": "no-plan" }),
            401,
        ),
        ("mine again", json!({ "clientId": "me" }), 200),
        (
            "closed",
            json!({ "clientId": "me", "status": "CLOSED" }),
            401,
        ),
    ] {
        site.plane
            .subscribe_to("tokens", "tokens-plan", "s", changes);
        becomes(what, "/tokens/x", &token_fields, status);
    }
}

/// One API per kind of plan, the plan of each being `<kind>-plan`.
fn one_of_each(plane: &ControlPlane, target: &str, server: &Server, rsa: &Rsa) {
    for (api, security, configuration) in [
        ("key", "api-key", json!({})),
        (
            "jwt",
            "jwt",
            json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() }),
        ),
        (
            "meta",
            "jwt",
            json!({
                "signature": "RSA_RS256", "resolverParameter": rsa.pem(),
                "protectedResourceMetadata": { "authorizationServers": ["https://as.example"] },
            }),
        ),
        ("oauth2", "oauth2", json!({ "oauthResource": "server" })),
        (
            "scoped",
            "oauth2",
            json!({ "oauthResource": "server", "checkRequiredScopes": true, "requiredScopes": ["a", "b"] }),
        ),
        ("mtls", "mtls", json!({})),
    ] {
        let plan = format!("{api}-plan");
        let definition = planned(target, api, &[(&plan, security, configuration)]).resource(
            "server",
            "oauth2",
            introspection(server),
        );
        plane.deploy(&definition);
    }
}

pub(super) fn introspection(server: &Server) -> Value {
    json!({
        "authorizationServerUrl": server.url("/as/"),
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
fn refusals_take_the_form_that_the_client_accepts_and_name_a_challenge() {
    let (server, rsa) = (
        Server::always(Answer::json(&json!({ "active": false }))),
        Rsa::generate(),
    );
    let site = Site::prepared(Start::new(), |plane, backend| {
        one_of_each(plane, &backend.target(""), &server, &rsa);
    });
    let json_body = "{\"message\":\"Unauthorized\",\"http_status_code\":401}";
    for (api, challenge) in [
        ("key", None),
        ("jwt", Some("Bearer".to_owned())),
        ("meta", Some("Bearer resource_metadata=\"http://localhost/.well-known/oauth-protected-resource/meta/x\"".to_owned())),
        ("oauth2", Some("Bearer".to_owned())),
        ("scoped", Some("Bearer scope=\"a b\"".to_owned())),
        ("mtls", None),
    ] {
        for (accept, content_type, body) in [
            (None, "text/plain", "Unauthorized"),
            (Some("application/json"), "application/json", json_body),
            (Some("*/*"), "application/json", json_body),
            (Some("text/html, application/json;q=0.1"), "application/json", json_body),
            (Some("text/html"), "text/plain", "Unauthorized"),
            (Some("application/*"), "text/plain", "Unauthorized"),
        ] {
            let fields: Vec<_> = accept.map(|accept| ("Accept", accept)).into_iter().collect();
            let response = get(&site, &format!("/{api}/x"), &fields);
            let case = format!("{api} {accept:?}");
            assert_eq!((response.status, &*response.text()), (401, body), "{case}");
            assert_eq!(response.field("Content-Type"), Some(content_type), "{case}");
            assert_eq!(response.field("WWW-Authenticate"), challenge.as_deref(), "{case}");
            assert!(!response.closes(), "{case}");
        }
    }
    let document = get(&site, "/meta/.well-known/oauth-protected-resource", &[]);
    assert_eq!(document.status, 200);
    assert_eq!(
        document.json()["authorization_servers"],
        json!(["https://as.example"])
    );
    assert_eq!(site.backend.requests(), 0);
}

#[test]
fn verbose_refusals_say_why() {
    let (server, rsa) = (
        Server::always(Answer::json(&json!({ "active": false }))),
        Rsa::generate(),
    );
    let hour = 3_600_000;
    let start = Start::new().set("api.security.verbose401", "true");
    let site = Site::prepared(start, |plane, backend| {
        one_of_each(plane, &backend.target(""), &server, &rsa);
        plane.deploy(&v4("plain", "/plain", &backend.target("")).api_key());
        let ended = json!({ "subscription": { "endingAt": now_ms() + 2 * hour, "startingAt": now_ms() + hour } });
        plane.subscribe("plain", "early", ended.clone());
        plane.subscribe("key", "early", ended);
        let rule = telling(v4("rule", "/rule", &backend.target(""))).with(|definition| {
            definition["plans"][0]["selectionRule"] = json!("{#request.headers['X-In'] != null}");
        });
        plane.deploy(&rule);
    });
    let token = bearer(&rsa.token(&claims("me", json!({}))));
    let no_token = "The request did not include an authentication token";
    let invalid = "The provided authentication token is invalid";
    let unauthorized = "The provided credentials are not authorized";
    let early = "The subscription has not yet started for the provided credentials";
    for (api, field, message) in [
        ("plain", None, no_token),
        ("plain", Some(("X-Gravitee-Api-Key", "")), invalid),
        ("plain", Some(("X-Gravitee-Api-Key", "none")), unauthorized),
        ("plain", Some(("X-Gravitee-Api-Key", "early")), early),
        ("key", Some(("X-Gravitee-Api-Key", "early")), early),
        ("key", None, no_token),
        ("jwt", None, no_token),
        ("jwt", Some(("Authorization", "Bearer x")), invalid),
        ("jwt", Some(("Authorization", &*token)), unauthorized),
        ("oauth2", Some(("Authorization", "Bearer x")), invalid),
        ("mtls", None, no_token),
        ("rule", None, "No plan matched the request"),
    ] {
        let fields: Vec<_> = field.into_iter().collect();
        let response = get(&site, &format!("/{api}/x"), &fields);
        assert_eq!(
            (response.status, &*response.text()),
            (401, message),
            "{api} {field:?}"
        );
    }
}
