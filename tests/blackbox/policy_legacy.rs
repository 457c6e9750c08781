//! Plans of V2 definitions on the legacy engine: the policy of a plan for bearer tokens speaks first, the subscription is looked for
//! behind it, and both have keys of their own.

use serde_json::{Value, json};

use super::policy_plans::{
    UNRESOLVABLE, assert_let_in, assert_refused, bearer, get, introspection, telling,
};
use crate::support::control_plane::now_ms;
use crate::support::definition::{Definition, v2};
use crate::support::gateway::Start;
use crate::support::server::{Answer, Asked, Server};
use crate::support::site::Site;
use crate::support::tokens::{Rsa, claims};

/// A definition for the legacy engine with these plans, and an authorization server called `server`.
fn legacy(target: &str, api: &str, plans: &[(&str, &str, Value)], server: &Server) -> Definition {
    telling(v2(api, &format!("/{api}"), target))
        .resource("server", "oauth2", introspection(server))
        .with(|definition| {
            definition["execution_mode"] = json!("v3");
            definition["plans"] = plans
                .iter()
                .map(|(id, security, configuration)| {
                    json!({
                        "id": id, "name": id, "status": "PUBLISHED", "security": security,
                        "securityDefinition": configuration.to_string(),
                    })
                })
                .collect();
        })
}

fn introspected(asked: &Asked) -> Answer {
    let good =
        |client: Value| Answer::json(&json!({ "active": true, "client_id": client, "scope": "a" }));
    match &*asked.body {
        b"token=opaque" => good(json!("me")),
        b"token=stranger" => good(json!("stranger")),
        b"token=late" => good(json!("late")),
        b"token=nobody" => good(json!(null)),
        b"token=blank" => good(json!(" ")),
        b"token=broken" => Answer::new(500, "no"),
        _ => Answer::json(&json!({ "active": false })),
    }
}

const DENIED: &str = "GATEWAY_OAUTH2_ACCESS_DENIED";
const QUOTED: Option<&str> = Some("Bearer realm=\"gravitee.io\"");
const UNQUOTED: Option<&str> = Some("Bearer realm=gravitee.io");

#[test]
fn the_policy_of_a_bearer_plan_speaks_before_the_subscription_is_looked_for() {
    let server = Server::start(introspected);
    let (rsa, other) = (Rsa::generate(), Rsa::generate());
    let pem = rsa.pem();
    let bare: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let site = Site::prepared(Start::new(), |plane, backend| {
        let scoped = json!({ "oauthResource": "server", "checkRequiredScopes": true, "requiredScopes": ["b"] });
        for (api, security, configuration) in [
            (
                "jwt",
                "JWT",
                json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() }),
            ),
            ("any", "JWT", json!({ "resolverParameter": rsa.pem() })),
            // The armour of a key is no matter.
            (
                "bare",
                "JWT",
                json!({ "signature": "RSA_RS256", "resolverParameter": bare }),
            ),
            ("oauth2", "OAUTH2", json!({ "oauthResource": "server" })),
            ("scoped", "OAUTH2", scoped),
            ("homeless", "OAUTH2", json!({ "oauthResource": "none" })),
        ] {
            let plan = format!("{api}-plan");
            let plans = [(&*plan, security, configuration)];
            plane.deploy(&legacy(&backend.target(""), api, &plans, &server));
            plane.subscribe_to(api, &plan, &format!("{api}-s"), json!({ "clientId": "me" }));
            let ended = json!({ "clientId": "late", "endingAt": now_ms() - 1_000 });
            plane.subscribe_to(api, &plan, &format!("{api}-late"), ended);
        }
    });
    let of = |client: &str| rsa.token(&claims(client, json!({})));
    let longer = rsa.sign(&json!({ "alg": "RS512" }), &claims("me", json!({})));
    for (api, token) in [
        ("jwt", of("me")),
        // No algorithm means any of RSA.
        ("any", longer.clone()),
        ("bare", of("me")),
        ("oauth2", "opaque".to_owned()),
    ] {
        let fields = [("Authorization", &*bearer(&token))];
        let (plan, subscription) = (format!("{api}-plan"), format!("{api}-s"));
        assert_let_in(&site, &format!("/{api}/x"), &fields, &plan, &subscription);
        assert_eq!(
            site.backend.last().head.field("X-Application"),
            Some("application")
        );
    }
    let nameless = rsa.token(&json!({ "sub": "user" }));
    for (api, token, status, key, challenge) in [
        ("jwt", of("stranger"), 401, DENIED, None),
        ("jwt", of("late"), 401, DENIED, None),
        (
            "jwt",
            other.token(&claims("stranger", json!({}))),
            401,
            "JWT_INVALID_TOKEN",
            None,
        ),
        ("jwt", longer, 401, "JWT_INVALID_TOKEN", None),
        ("jwt", nameless, 401, UNRESOLVABLE, Some("Bearer")),
        ("jwt", "x".to_owned(), 401, UNRESOLVABLE, Some("Bearer")),
        ("oauth2", "stranger".to_owned(), 401, DENIED, None),
        ("oauth2", "late".to_owned(), 401, DENIED, None),
        (
            "oauth2",
            "nobody".to_owned(),
            401,
            "GATEWAY_OAUTH2_INVALID_CLIENT",
            QUOTED,
        ),
        (
            "oauth2",
            "blank".to_owned(),
            401,
            "GATEWAY_OAUTH2_INVALID_CLIENT",
            QUOTED,
        ),
        (
            "oauth2",
            "inactive".to_owned(),
            401,
            "OAUTH2_INVALID_ACCESS_TOKEN",
            UNQUOTED,
        ),
        (
            "oauth2",
            "broken".to_owned(),
            503,
            "OAUTH2_SERVER_UNAVAILABLE",
            UNQUOTED,
        ),
        (
            "scoped",
            "opaque".to_owned(),
            401,
            "OAUTH2_INSUFFICIENT_SCOPE",
            QUOTED,
        ),
        (
            "homeless",
            "opaque".to_owned(),
            401,
            "OAUTH2_MISSING_SERVER",
            None,
        ),
    ] {
        let path = format!("/{api}/x");
        let fields = [("Authorization", &*bearer(&token))];
        assert_refused(&site, &path, &fields, status, key);
        let response = get(&site, &path, &fields);
        let case = format!("{api} {key}");
        assert_eq!(response.field("WWW-Authenticate"), challenge, "{case}");
        assert!(response.closes(), "{case}");
        if status == 401 {
            assert_eq!(response.text(), "Unauthorized", "{case}");
        }
    }
    // The token of an OAuth2 plan is in the header or nowhere.
    let asked = server.asked().len();
    assert_refused(
        &site,
        "/oauth2/x?access_token=opaque",
        &[],
        401,
        UNRESOLVABLE,
    );
    assert_refused(&site, "/oauth2/x", &[], 401, UNRESOLVABLE);
    assert_refused(
        &site,
        "/oauth2/x",
        &[("Authorization", "Bearer ")],
        401,
        UNRESOLVABLE,
    );
    assert_eq!(server.asked().len(), asked);
    let query = format!("/jwt/x?access_token={}", of("me"));
    assert_let_in(&site, &query, &[], "jwt-plan", "jwt-s");
    site.reports_are_as_expected();
}

#[test]
fn of_several_plans_the_credentials_choose_one_whose_answer_is_final() {
    let server = Server::start(introspected);
    let (rsa, other) = (Rsa::generate(), Rsa::generate());
    let key = json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() });
    let site = Site::prepared(Start::new(), |plane, backend| {
        let all = [
            ("open", "KEY_LESS", json!({})),
            ("key", "API_KEY", json!({})),
            ("oauth2", "OAUTH2", json!({ "oauthResource": "server" })),
            ("jwt", "JWT", key.clone()),
        ];
        let without_oauth2 = [all[0].clone(), all[1].clone(), all[3].clone()];
        for (api, plans) in [("all", &all[..]), ("three", &without_oauth2)] {
            plane.deploy(&legacy(&backend.target(""), api, plans, &server));
            let subscription = json!({ "plan": "key", "id": format!("{api}-key") });
            let record = json!({ "subscriptions": [format!("{api}-key")] });
            plane.subscribe(
                api,
                "right",
                json!({ "subscription": subscription, "key": record }),
            );
            for plan in ["jwt", "oauth2"] {
                plane.subscribe_to(
                    api,
                    plan,
                    &format!("{api}-{plan}"),
                    json!({ "clientId": "me" }),
                );
            }
        }
        // Two plans of one kind, and rules.
        let pair = [("gold", "JWT", key.clone()), ("silver", "JWT", key.clone())];
        plane.deploy(&legacy(&backend.target(""), "pair", &pair, &server));
        plane.subscribe_to("pair", "silver", "pair-silver", json!({ "clientId": "me" }));
        let ruled = legacy(&backend.target(""), "ruled", &pair, &server).with(|definition| {
            for (index, tier) in ["gold", "silver"].iter().enumerate() {
                definition["plans"][index]["selectionRule"] = json!(format!(
                    "#context.attributes['jwt'].claims['tier'] == '{tier}'"
                ));
            }
        });
        plane.deploy(&ruled);
        let doors = [
            ("token", "JWT", key.clone()),
            ("open", "KEY_LESS", json!({})),
        ];
        for (api, rule) in [
            ("refusing", "#request.method == 'POST'"),
            ("breaking", "#request.nope.nope"),
            ("silent", "#request.headers['X-None']"),
        ] {
            let definition = legacy(&backend.target(""), api, &doors, &server);
            plane.deploy(&definition.with(|definition| {
                definition["plans"][0]["selectionRule"] = json!(rule);
            }));
        }
        plane.subscribe_to(
            "ruled",
            "silver",
            "ruled-silver",
            json!({ "clientId": "me" }),
        );
    });
    let right = ("X-Gravitee-Api-Key", "right");
    let token = |client: &str| bearer(&rsa.token(&claims(client, json!({}))));
    let (mine, strange) = (token("me"), token("stranger"));
    let forged = bearer(&other.token(&claims("me", json!({}))));
    for (api, fields, plan) in [
        ("all", &[right][..], "key"),
        ("all", &[("Authorization", &*mine)], "jwt"),
        ("all", &[("Authorization", &*mine), right], "jwt"),
        ("all", &[("Authorization", "Bearer opaque")], "oauth2"),
        (
            "all",
            &[("Authorization", "Bearer opaque"), right],
            "oauth2",
        ),
        ("three", &[("Authorization", "Bearer opaque"), right], "key"),
        ("three", &[("Authorization", &*mine)], "jwt"),
    ] {
        assert_let_in(
            &site,
            &format!("/{api}/x"),
            fields,
            plan,
            &format!("{api}-{plan}"),
        );
    }
    assert_let_in(&site, "/all/x", &[], "open", "127.0.0.1");
    assert_let_in(
        &site,
        "/pair/x",
        &[("Authorization", &mine)],
        "silver",
        "pair-silver",
    );
    for (api, fields, key) in [
        ("all", &[("X-Gravitee-Api-Key", "wrong")][..], UNRESOLVABLE),
        // The client has no subscription to the JWT plan: the next plan for such tokens takes it, and does not know it.
        (
            "all",
            &[("Authorization", &*strange), right],
            "OAUTH2_INVALID_ACCESS_TOKEN",
        ),
        (
            "all",
            &[("Authorization", "Bearer nobody"), right],
            "GATEWAY_OAUTH2_INVALID_CLIENT",
        ),
        (
            "all",
            &[("Authorization", "Bearer stranger"), right],
            DENIED,
        ),
        (
            "all",
            &[("Authorization", &*forged), right],
            "JWT_INVALID_TOKEN",
        ),
        // The last plan for such tokens keeps it.
        ("three", &[("Authorization", &*strange), right], DENIED),
        (
            "three",
            &[("Authorization", &*forged), right],
            "JWT_INVALID_TOKEN",
        ),
        ("three", &[("Authorization", "Bearer opaque")], UNRESOLVABLE),
        ("pair", &[("Authorization", &*strange)], DENIED),
    ] {
        assert_refused(&site, &format!("/{api}/x"), fields, 401, key);
    }
    let tier = |tier: &str| bearer(&rsa.token(&claims("me", json!({ "tier": tier }))));
    assert_let_in(
        &site,
        "/ruled/x",
        &[("Authorization", &tier("silver"))],
        "silver",
        "ruled-silver",
    );
    // A rule that says no drops the token; one that breaks or says nothing does not open the door.
    let presented = [("Authorization", &*mine)];
    assert_let_in(&site, "/refusing/x", &presented, "open", "127.0.0.1");
    for path in ["/breaking/x", "/silent/x"] {
        assert_refused(&site, path, &presented, 401, UNRESOLVABLE);
        assert_let_in(&site, path, &[], "open", "127.0.0.1");
    }
    // A plan that its rule chose is chosen, subscription or not.
    assert_refused(
        &site,
        "/ruled/x",
        &[("Authorization", &tier("gold"))],
        401,
        DENIED,
    );
    assert_refused(
        &site,
        "/ruled/x",
        &[("Authorization", &tier("iron"))],
        401,
        UNRESOLVABLE,
    );
    site.reports_are_as_expected();
}

#[test]
fn without_subscription_validation_a_good_token_is_enough() {
    let server = Server::start(introspected);
    let start = Start::new().set("api.validateSubscription", "false");
    let site = Site::prepared(start, |plane, backend| {
        let plans = [("plan", "OAUTH2", json!({ "oauthResource": "server" }))];
        plane.deploy(&legacy(&backend.target(""), "api", &plans, &server));
    });
    for (token, status) in [("stranger", 200), ("nobody", 200), ("inactive", 401)] {
        let response = get(&site, "/api/x", &[("Authorization", &*bearer(token))]);
        assert_eq!(response.status, status, "{token}");
    }
}

#[test]
fn refusals_of_the_legacy_engine_have_templates_of_their_own() {
    let server = Server::start(introspected);
    let site = Site::prepared(Start::new(), |plane, backend| {
        let plans = [("plan", "OAUTH2", json!({ "oauthResource": "server" }))];
        let template = |body: &str| json!({ "*/*": { "status": 403, "body": body } });
        let definition = legacy(&backend.target(""), "api", &plans, &server);
        plane.deploy(&definition.with(|definition| {
            definition["response_templates"] = json!({
                DENIED: template("no subscription"),
                "GATEWAY_OAUTH2_INVALID_CLIENT": template("no client"),
                "OAUTH2_INVALID_ACCESS_TOKEN": template("no token"),
            });
        }));
    });
    for (token, body) in [
        ("stranger", "no subscription"),
        ("nobody", "no client"),
        ("inactive", "no token"),
    ] {
        let response = get(&site, "/api/x", &[("Authorization", &*bearer(token))]);
        let found = (response.status, &*response.text());
        assert_eq!(found, (403, body), "{token}");
    }
}
