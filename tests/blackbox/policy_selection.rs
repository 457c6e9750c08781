//! Which of an API's plans serves a request: certificates, several plans at once, selection rules.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::policy_plans::{
    UNRESOLVABLE, assert_let_in, assert_refused, bearer, get, introspection, planned, telling,
};
use crate::support::control_plane::now_ms;
use crate::support::definition::v2;
use crate::support::gateway::Start;
use crate::support::server::{Answer, Asked, Server};
use crate::support::site::Site;
use crate::support::tokens::{Rsa, claims, hmac_token};
use crate::support::wait::{PATIENCE, until};

const SECRET: &str = "a secret that is shared by everybody who signs or reads!";

/// A certificate as a proxy in front of the gateway sends it.
fn header_value(pem: &str) -> String {
    pem.replace('+', "%2B").replace('\n', "%0A")
}

#[test]
fn mtls_plans_go_by_the_certificate_that_a_trusted_proxy_sends() {
    let made =
        |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let (one, two, three, stranger) = (made("one"), made("two"), made("three"), made("stranger"));
    let wire = |pem: &str| BASE64_STANDARD.encode(pem);
    let hour = 3_600_000;
    let start = Start::new().set("http.ssl.clientAuthHeader.name", "X-Client-Cert");
    let site = Site::prepared(start, |plane, backend| {
        plane.deploy(&planned(
            &backend.target(""),
            "api1",
            &[("api1-plan", "mtls", json!({}))],
        ));
        // A subscription with a certificate is found by nothing else.
        plane.subscribe_to(
            "api1",
            "api1-plan",
            "s1",
            json!({ "clientCertificate": wire(&one.cert.pem()), "clientId": "me" }),
        );
        plane.subscribe_to("api1", "api1-plan", "s2", json!({
            "clientCertificate": wire(&two.cert.pem()), "startingAt": now_ms() - hour, "endingAt": now_ms() + hour,
        }));
        plane.subscribe_to(
            "api1",
            "api1-plan",
            "s3",
            json!({ "clientCertificate": wire(&three.cert.pem()), "startingAt": now_ms() + hour }),
        );
    });
    for (certificate, subscription) in [(&one, "s1"), (&two, "s2")] {
        let der = BASE64_STANDARD.encode(certificate.cert.der());
        let der = der.trim_end().to_owned();
        for value in [
            header_value(&certificate.cert.pem()),
            certificate.cert.pem().trim().replace('\n', "\t"),
            der,
        ] {
            assert_let_in(
                &site,
                "/api1/x",
                &[("X-Client-Cert", &value)],
                "api1-plan",
                subscription,
            );
        }
    }
    let pem = header_value(&one.cert.pem());
    for value in [
        header_value(&three.cert.pem()),
        header_value(&stranger.cert.pem()),
        pem.replace("CERTIFICATE", "PUBLIC KEY"),
        pem[..pem.len() / 2].to_owned(),
        "nonsense".to_owned(),
        "A".repeat(400),
        "%00".to_owned(),
        String::new(),
    ] {
        let response = get(&site, "/api1/x", &[("X-Client-Cert", &value)]);
        assert!(
            matches!(response.status, 400 | 401),
            "{value}: {}",
            response.status
        );
    }
    assert_refused(&site, "/api1/x", &[], 401, UNRESOLVABLE);
    assert_refused(
        &site,
        "/api1/x",
        &[("X-Other-Cert", &pem)],
        401,
        UNRESOLVABLE,
    );
    assert_refused(
        &site,
        "/api1/x",
        &[("Authorization", "Bearer me")],
        401,
        UNRESOLVABLE,
    );
    // The certificate of a subscription changes.
    site.plane.subscribe_to(
        "api1",
        "api1-plan",
        "s1",
        json!({ "clientCertificate": wire(&stranger.cert.pem()) }),
    );
    until("the new certificate", PATIENCE, || {
        let value = header_value(&stranger.cert.pem());
        (get(&site, "/api1/x", &[("X-Client-Cert", &value)]).status == 200).then_some(())
    });
    assert_refused(
        &site,
        "/api1/x",
        &[("X-Client-Cert", &pem)],
        401,
        UNRESOLVABLE,
    );
    site.reports_are_as_expected();
}

#[test]
fn a_certificate_header_that_nobody_configured_is_no_certificate() {
    let made = rcgen::generate_simple_self_signed(["one".to_owned()]).expect("a certificate");
    let site = Site::prepared(Start::new(), |plane, backend| {
        plane.deploy(&planned(
            &backend.target(""),
            "api1",
            &[("api1-plan", "mtls", json!({}))],
        ));
        plane.subscribe_to(
            "api1",
            "api1-plan",
            "s1",
            json!({ "clientCertificate": BASE64_STANDARD.encode(made.cert.pem()) }),
        );
    });
    let pem = header_value(&made.cert.pem());
    for name in [
        "X-Client-Cert",
        "ssl-client-cert",
        "X-Gravitee-Client-Cert",
        "X-Forwarded-Client-Cert",
    ] {
        assert_refused(&site, "/api1/x", &[(name, &pem)], 401, UNRESOLVABLE);
    }
    site.reports_are_as_expected();
}

/// DER: a tag, the length of the content, the content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short content");
    let [high, low] = length.to_be_bytes();
    let head = match (high, low) {
        (0, low) if low < 0x80 => vec![tag, low],
        (high, low) => vec![tag, 0x82, high, low],
    };
    [head, content.to_vec()].concat()
}

/// A PKCS#7 bundle of these certificates, which nobody signed.
fn bundle(certificates: &[&[u8]]) -> Vec<u8> {
    let oid = |last: u8| {
        der(
            0x06,
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, last],
        )
    };
    let signed = [
        der(0x02, &[1]),
        der(0x31, &[]),
        der(0x30, &oid(1)),
        der(0xa0, &certificates.concat()),
        der(0x31, &[]),
    ];
    let content = der(0xa0, &der(0x30, &signed.concat()));
    der(0x30, &[oid(2), content].concat())
}

#[test]
fn a_subscription_may_have_several_certificates() {
    let made: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|name| rcgen::generate_simple_self_signed([(*name).to_owned()]).expect("made"))
        .collect();
    let start = Start::new().set("http.ssl.clientAuthHeader.name", "X-Client-Cert");
    let site = Site::prepared(start, |plane, backend| {
        let pems = format!("{}{}", made[0].cert.pem(), made[1].cert.pem());
        let binary = bundle(&[made[0].cert.der(), made[1].cert.der()]);
        let armoured = format!(
            "-----BEGIN PKCS7-----\n{}\n-----END PKCS7-----\n",
            BASE64_STANDARD.encode(&binary)
        );
        for (api, certificates) in [
            ("pems", BASE64_STANDARD.encode(pems)),
            ("binary", BASE64_STANDARD.encode(&binary)),
            ("armoured", BASE64_STANDARD.encode(armoured)),
        ] {
            let plan = format!("{api}-plan");
            plane.deploy(&planned(
                &backend.target(""),
                api,
                &[(&plan, "mtls", json!({}))],
            ));
            let changes = json!({ "clientCertificate": certificates });
            plane.subscribe_to(api, &plan, &format!("{api}-s"), changes);
        }
    });
    for api in ["pems", "binary", "armoured"] {
        let path = format!("/{api}/x");
        for (index, certificate) in made.iter().enumerate() {
            let pem = header_value(&certificate.cert.pem());
            let fields = [("X-Client-Cert", &*pem)];
            if index < 2 {
                assert_let_in(
                    &site,
                    &path,
                    &fields,
                    &format!("{api}-plan"),
                    &format!("{api}-s"),
                );
            } else {
                assert_refused(&site, &path, &fields, 401, UNRESOLVABLE);
            }
        }
    }
    site.reports_are_as_expected();
}

#[test]
fn selection_rules_choose_among_plans_for_certificates() {
    let made = rcgen::generate_simple_self_signed(["one".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["two".to_owned()]).expect("a certificate");
    let start = Start::new().set("http.ssl.clientAuthHeader.name", "X-Client-Cert");
    let site = Site::prepared(start, |plane, backend| {
        let plans = [
            ("gold", "mtls", json!({})),
            ("silver", "mtls", json!({})),
            ("open", "key-less", json!({})),
        ];
        let definition = planned(&backend.target(""), "api1", &plans).with(|definition| {
            for (index, tier) in ["gold", "silver"].iter().enumerate() {
                definition["plans"][index]["selectionRule"] =
                    json!(format!("{{#request.headers['X-Tier'][0] == '{tier}'}}"));
            }
        });
        plane.deploy(&definition);
        for plan in ["gold", "silver"] {
            let certificate = BASE64_STANDARD.encode(made.cert.pem());
            let changes = json!({ "clientCertificate": certificate });
            plane.subscribe_to("api1", plan, plan, changes);
        }
    });
    let (mine, strange) = (
        header_value(&made.cert.pem()),
        header_value(&other.cert.pem()),
    );
    for tier in ["gold", "silver"] {
        let fields = [("X-Client-Cert", &*mine), ("X-Tier", tier)];
        assert_let_in(&site, "/api1/x", &fields, tier, tier);
        let fields = [("X-Client-Cert", &*strange), ("X-Tier", tier)];
        assert_refused(&site, "/api1/x", &fields, 401, UNRESOLVABLE);
    }
    // No rule takes the certificate: it is dropped, and the open door is open.
    let fields = [("X-Client-Cert", &*mine), ("X-Tier", "iron")];
    assert_let_in(&site, "/api1/x", &fields, "open", "127.0.0.1");
    assert_let_in(&site, "/api1/x", &[], "open", "127.0.0.1");
    site.reports_are_as_expected();
}

fn introspected(asked: &Asked) -> Answer {
    match &*asked.body {
        b"token=opaque" => Answer::json(&json!({ "active": true, "client_id": "opaque-client" })),
        b"token=broken" => Answer::new(500, "no"),
        _ => Answer::json(&json!({ "active": false })),
    }
}

#[test]
fn of_several_plans_the_credentials_choose_and_bad_ones_never_reach_the_open_door() {
    let server = Server::start(introspected);
    let certificate =
        rcgen::generate_simple_self_signed(["one".to_owned()]).expect("a certificate");
    let (rsa, other) = (Rsa::generate(), Rsa::generate());
    let start = Start::new().set("http.ssl.clientAuthHeader.name", "X-Client-Cert");
    let key = json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() });
    let site = Site::prepared(start, |plane, backend| {
        let plans = [
            // In an order that is not the one they are tried in.
            ("open", "key-less", json!({})),
            ("key", "api-key", json!({})),
            ("oauth2", "oauth2", json!({ "oauthResource": "server" })),
            ("jwt", "jwt", key.clone()),
            ("mtls", "mtls", json!({})),
        ];
        let four = planned(&backend.target(""), "four", &plans).resource(
            "server",
            "oauth2",
            introspection(&server),
        );
        plane.deploy(&four);
        let two = telling(v2("two", "/two", &backend.target("")))
            .resource("server", "oauth2", introspection(&server))
            .with(|definition| {
                definition["plans"] = plans[..4]
                    .iter()
                    .map(|(id, security, configuration)| {
                        json!({
                            "id": id, "name": id, "status": "PUBLISHED",
                            "security": security.replace('-', "_").to_uppercase(),
                            "securityDefinition": configuration.to_string(),
                        })
                    })
                    .collect();
            });
        plane.deploy(&two);
        for api in ["four", "two"] {
            let subscription = json!({ "plan": "key", "id": format!("{api}-key") });
            plane.subscribe(api, "right", json!({ "subscription": subscription, "key": { "subscriptions": [format!("{api}-key")] } }));
            plane.subscribe_to(
                api,
                "jwt",
                &format!("{api}-jwt"),
                json!({ "clientId": "jwt-client" }),
            );
            plane.subscribe_to(
                api,
                "oauth2",
                &format!("{api}-oauth2"),
                json!({ "clientId": "opaque-client" }),
            );
        }
        plane.subscribe_to(
            "four",
            "mtls",
            "four-mtls",
            json!({ "clientCertificate": BASE64_STANDARD.encode(certificate.cert.pem()) }),
        );
    });
    let signed = bearer(&rsa.token(&claims("jwt-client", json!({}))));
    let unsubscribed = bearer(&rsa.token(&claims("nobody", json!({}))));
    let expired = bearer(&rsa.token(&claims("jwt-client", json!({ "exp": 1_000 }))));
    let forged = bearer(&other.token(&claims("jwt-client", json!({}))));
    let pem = header_value(&certificate.cert.pem());
    for api in ["four", "two"] {
        let path = format!("/{api}/x");
        let by = |plan: &str| format!("{api}-{plan}");
        assert_let_in(&site, &path, &[], "open", "127.0.0.1");
        for (fields, plan) in [
            (&[("X-Gravitee-Api-Key", "right")][..], "key"),
            (&[("Authorization", &*signed)], "jwt"),
            (&[("Authorization", "Bearer opaque")], "oauth2"),
            // The first that passes, in the order of the plans.
            (
                &[("X-Gravitee-Api-Key", "right"), ("Authorization", &signed)],
                "jwt",
            ),
            (
                &[("X-Gravitee-Api-Key", "wrong"), ("Authorization", &signed)],
                "jwt",
            ),
            // A token that fits no plan leaves the key its chance.
            (
                &[
                    ("X-Gravitee-Api-Key", "right"),
                    ("Authorization", "Bearer nonsense"),
                ],
                "key",
            ),
            (
                &[
                    ("X-Gravitee-Api-Key", "right"),
                    ("Authorization", "Bearer broken"),
                ],
                "key",
            ),
            (
                &[
                    ("X-Gravitee-Api-Key", "right"),
                    ("Authorization", &unsubscribed),
                ],
                "key",
            ),
        ] {
            assert_let_in(&site, &path, fields, plan, &by(plan));
        }
        for (fields, status, key) in [
            (&[("X-Gravitee-Api-Key", "wrong")][..], 401, UNRESOLVABLE),
            (&[("X-Gravitee-Api-Key", "")], 401, UNRESOLVABLE),
            (&[("Authorization", "Bearer nonsense")], 401, UNRESOLVABLE),
            (&[("Authorization", "Bearer ")], 401, UNRESOLVABLE),
            (&[("Authorization", &*unsubscribed)], 401, UNRESOLVABLE),
            (
                &[("Authorization", "Bearer broken")],
                503,
                "GATEWAY_PLAN_RESOLUTION_FAILURE",
            ),
            // The plan was chosen: its outcome is final, whatever else the request holds.
            (&[("Authorization", &*expired)], 401, "JWT_INVALID_TOKEN"),
            (
                &[("Authorization", &*forged), ("X-Gravitee-Api-Key", "right")],
                401,
                "JWT_INVALID_TOKEN",
            ),
        ] {
            assert_refused(&site, &path, fields, status, key);
        }
        // Credentials that no plan asks for are no attempt.
        assert_let_in(
            &site,
            &path,
            &[("Authorization", "Basic dTpw")],
            "open",
            "127.0.0.1",
        );
    }
    assert_let_in(
        &site,
        "/four/x",
        &[("X-Client-Cert", &pem)],
        "mtls",
        "four-mtls",
    );
    let both = [("X-Client-Cert", &*pem), ("Authorization", &*forged)];
    assert_let_in(&site, "/four/x", &both, "mtls", "four-mtls");
    // What is no certificate is an attempt all the same.
    assert_refused(
        &site,
        "/four/x",
        &[("X-Client-Cert", "nonsense")],
        401,
        UNRESOLVABLE,
    );
    assert_let_in(
        &site,
        "/four/x",
        &[("X-Client-Cert", "")],
        "open",
        "127.0.0.1",
    );
    let stranger = rcgen::generate_simple_self_signed(["x".to_owned()]).expect("a certificate");
    let pem = header_value(&stranger.cert.pem());
    assert_refused(
        &site,
        "/four/x",
        &[("X-Client-Cert", &pem)],
        401,
        UNRESOLVABLE,
    );
    site.reports_are_as_expected();
}

#[test]
fn selection_rules_decide_between_plans_of_one_kind_and_drop_the_credential() {
    let rsa = Rsa::generate();
    let key = json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() });
    let site = Site::prepared(Start::new(), |plane, backend| {
        let ruled = |api: &str, plans: &[(&str, &str, Value, &str)]| {
            let bare: Vec<_> = plans
                .iter()
                .map(|(id, kind, configuration, _)| (*id, *kind, configuration.clone()))
                .collect();
            planned(&backend.target(""), api, &bare).with(|definition| {
                for (index, (_, _, _, rule)) in plans.iter().enumerate() {
                    definition["plans"][index]["selectionRule"] = json!(rule);
                }
            })
        };
        plane.deploy(&ruled(
            "tiers",
            &[
                (
                    "gold",
                    "jwt",
                    key.clone(),
                    "{#context.attributes['jwt'].claims['tier'] == 'gold'}",
                ),
                (
                    "silver",
                    "jwt",
                    key.clone(),
                    "{#context.attributes['jwt'].claims['tier'] == 'silver'}",
                ),
                ("open", "key-less", json!({}), " "),
            ],
        ));
        plane.deploy(&ruled(
            "keys",
            &[
                (
                    "one",
                    "api-key",
                    json!({}),
                    "{#request.headers['X-One'] != null}",
                ),
                ("two", "api-key", json!({}), ""),
                (
                    "open",
                    "key-less",
                    json!({}),
                    "{#request.headers['X-Open'] != null}",
                ),
            ],
        ));
        plane.deploy(&ruled(
            "off",
            &[
                ("one", "api-key", json!({}), "{#request.method == 'NONE'}"),
                ("open", "key-less", json!({}), "{#request.method == 'GET'}"),
            ],
        ));
        plane.deploy(&ruled(
            "broken",
            &[
                ("one", "api-key", json!({}), "{#request.nope.nope}"),
                ("open", "key-less", json!({}), ""),
            ],
        ));
        // The old form of rules, without braces.
        let old = telling(v2("old", "/old", &backend.target(""))).with(|definition| {
            definition["plans"][0]["selection_rule"] = json!("#request.headers['X-Open'] != null");
            definition["plans"][0]["selectionRule"] = json!("#request.headers['X-Open'] != null");
        });
        plane.deploy(&old);
        for plan in ["gold", "silver"] {
            plane.subscribe_to("tiers", plan, plan, json!({ "clientId": "me" }));
        }
        for (api, plan) in [
            ("keys", "one"),
            ("keys", "two"),
            ("off", "one"),
            ("broken", "one"),
        ] {
            plane.subscribe(api, plan, json!({ "subscription": { "plan": plan } }));
        }
    });
    let tier = |tier: &str| bearer(&rsa.token(&claims("me", json!({ "tier": tier }))));
    for plan in ["gold", "silver"] {
        assert_let_in(
            &site,
            "/tiers/x",
            &[("Authorization", &tier(plan))],
            plan,
            plan,
        );
    }
    // No rule takes the token: it is dropped, and the open door is open again.
    assert_let_in(
        &site,
        "/tiers/x",
        &[("Authorization", &tier("iron"))],
        "open",
        "127.0.0.1",
    );
    assert_let_in(&site, "/tiers/x", &[], "open", "127.0.0.1");
    assert_refused(
        &site,
        "/tiers/x",
        &[("Authorization", "Bearer x")],
        401,
        UNRESOLVABLE,
    );

    let one = ("X-Gravitee-Api-Key", "one");
    let two = ("X-Gravitee-Api-Key", "two");
    assert_let_in(
        &site,
        "/keys/x",
        &[one, ("X-One", "1")],
        "one",
        "keys-one-subscription",
    );
    assert_let_in(&site, "/keys/x", &[two], "two", "keys-two-subscription");
    assert_let_in(
        &site,
        "/keys/x",
        &[two, ("X-One", "1")],
        "two",
        "keys-two-subscription",
    );
    assert_refused(&site, "/keys/x", &[one, ("X-Open", "1")], 401, UNRESOLVABLE);
    assert_refused(&site, "/keys/x", &[], 401, UNRESOLVABLE);
    assert_let_in(&site, "/keys/x", &[("X-Open", "1")], "open", "127.0.0.1");

    assert_let_in(&site, "/off/x", &[one], "open", "127.0.0.1");
    assert_refused(
        &site,
        "/broken/x",
        &[one],
        503,
        "GATEWAY_PLAN_RESOLUTION_FAILURE",
    );
    assert_let_in(&site, "/broken/x", &[], "open", "127.0.0.1");
    assert_let_in(&site, "/old/x", &[("X-Open", "1")], "old-plan", "127.0.0.1");
    assert_refused(&site, "/old/x", &[], 401, UNRESOLVABLE);
    site.reports_are_as_expected();
}

#[test]
fn without_subscription_validation_good_credentials_are_enough() {
    let rsa = Rsa::generate();
    let start = Start::new().set("api.validateSubscription", "false");
    let site = Site::prepared(start, |plane, backend| {
        let key = json!({ "signature": "HMAC_HS256", "resolverParameter": SECRET });
        plane.deploy(&planned(
            &backend.target(""),
            "tokens",
            &[("jwt", "jwt", key)],
        ));
        plane.deploy(&planned(
            &backend.target(""),
            "keys",
            &[("keys-plan", "api-key", json!({}))],
        ));
        plane.subscribe("keys", "key", json!({}));
    });
    let header = json!({ "alg": "HS256" });
    let good = bearer(&hmac_token(
        SECRET.as_bytes(),
        &header,
        &claims("anybody", json!({})),
    ));
    assert_eq!(
        get(&site, "/tokens/x", &[("Authorization", &good)]).status,
        200
    );
    assert_eq!(site.backend.last().head.field("X-Plan"), Some("jwt"));
    let forged = bearer(&rsa.token(&claims("anybody", json!({}))));
    assert_refused(
        &site,
        "/tokens/x",
        &[("Authorization", &forged)],
        401,
        "JWT_INVALID_TOKEN",
    );
    assert_eq!(
        get(&site, "/keys/x", &[("X-Gravitee-Api-Key", "key")]).status,
        200
    );
    assert_refused(
        &site,
        "/keys/x",
        &[("X-Gravitee-Api-Key", "none")],
        401,
        "API_KEY_INVALID",
    );
    site.reports_are_as_expected();
}

#[test]
fn v2_definitions_on_both_engines_have_the_same_plans() {
    let (rsa, other) = (Rsa::generate(), Rsa::generate());
    let kinds = [
        ("open", "KEY_LESS", json!({})),
        ("key", "API_KEY", json!({})),
        (
            "jwt",
            "JWT",
            json!({
                "signature": "RSA_RS256",
                "publicKeyResolver": "GIVEN_KEY",
                "resolverParameter": rsa.pem(),
                "clientIdClaim": "ids.app",
                "userClaim": "profile.name",
            }),
        ),
    ];
    let site = Site::prepared(Start::new(), |plane, backend| {
        for (engine, mode) in [("two", "v4-emulation-engine"), ("old", "v3")] {
            for (kind, security, configuration) in &kinds {
                let api = format!("{engine}-{kind}");
                let definition = v2(&api, &format!("/{api}"), &backend.target(""));
                let definition = telling(definition).with(|definition| {
                    definition["execution_mode"] = json!(mode);
                    definition["plans"][0]["security"] = json!(security);
                    definition["plans"][0]["securityDefinition"] = json!(configuration.to_string());
                });
                plane.deploy(&definition);
                let plan = format!("{api}-plan");
                match *kind {
                    "key" => {
                        plane.subscribe(&api, "right", json!({}));
                        let revoked = json!({ "key": { "revoked": true } });
                        plane.subscribe(&api, "revoked", revoked);
                        let expired = json!({ "key": { "expireAt": now_ms() - 1_000 } });
                        plane.subscribe(&api, "expired", expired);
                        let ended = json!({ "subscription": { "endingAt": now_ms() - 1_000 } });
                        plane.subscribe(&api, "ended", ended);
                    }
                    "jwt" => {
                        plane.subscribe_to(&api, &plan, &api, json!({ "clientId": "me" }));
                    }
                    _ => {}
                }
            }
        }
    });
    let nested = |app: Value| claims("x", json!({ "ids": app }));
    let right = bearer(&rsa.token(&nested(json!({ "app": "me" }))));
    let flat = bearer(&rsa.token(&claims("x", json!({ "ids.app": "me" }))));
    let leafless = bearer(&rsa.token(&nested(json!({ "other": "me" }))));
    let stranger = bearer(&rsa.token(&nested(json!({ "app": "you" }))));
    let forged = bearer(&other.token(&nested(json!({ "app": "me" }))));
    let mut late = nested(json!({ "app": "me" }));
    late["exp"] = json!(1_000);
    let late = bearer(&rsa.token(&late));
    let key = |key| Some(("X-Gravitee-Api-Key", key));
    for engine in ["two", "old"] {
        for (kind, field, status) in [
            ("open", None, 200),
            ("open", key("nonsense"), 200),
            ("open", Some(("Authorization", &*forged)), 200),
            ("key", key("right"), 200),
            ("key", None, 401),
            ("key", key("wrong"), 401),
            ("key", key("revoked"), 401),
            ("key", key("expired"), 401),
            ("key", key("ended"), 401),
            ("key", Some(("Authorization", &right)), 401),
            ("jwt", Some(("Authorization", &right)), 200),
            ("jwt", Some(("Authorization", &flat)), 200),
            ("jwt", None, 401),
            ("jwt", key("right"), 401),
            ("jwt", Some(("Authorization", &leafless)), 401),
            ("jwt", Some(("Authorization", &stranger)), 401),
            ("jwt", Some(("Authorization", &forged)), 401),
            ("jwt", Some(("Authorization", &late)), 401),
        ] {
            let fields: Vec<_> = field.into_iter().collect();
            let before = site.backend.requests();
            let response = get(&site, &format!("/{engine}-{kind}/x"), &fields);
            let case = format!("{engine} {kind} {field:?}");
            assert_eq!(response.status, status, "{case}");
            if status == 200 {
                let head = site.backend.last().head;
                let plan = format!("{engine}-{kind}-plan");
                assert_eq!(head.field("X-Plan"), Some(&*plan), "{case}");
            } else {
                assert_eq!(response.text(), "Unauthorized", "{case}");
                assert_eq!(site.backend.requests(), before, "{case}");
            }
        }
    }
}
