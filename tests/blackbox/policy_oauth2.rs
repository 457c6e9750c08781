//! What OAuth2 resources ask an authorization server, whom they trust, and how long an answer is remembered.

use serde_json::{Value, json};

use super::policy_plans::{UNRESOLVABLE, assert_let_in, assert_refused, bearer, get, telling};
use crate::support::backend::Backend;
use crate::support::control_plane::{ControlPlane, now_ms};
use crate::support::definition::v4;
use crate::support::gateway::Start;
use crate::support::server::{Answer, Asked, Server};
use crate::support::site::Site;
use crate::support::tls;
use crate::support::wait::{PATIENCE, until};

const TROUBLE: &str = "GATEWAY_PLAN_RESOLUTION_FAILURE";

/// An API with one OAuth2 plan and the resources `server`, `brief`, and `lasting`, to which the client `me` is subscribed. It tells the backend the
/// payload, the user, and the roles.
fn deploy(plane: &ControlPlane, backend: &Backend, api: &str, plan: Value, server: (&str, Value)) {
    let mut configuration = json!({ "oauthResource": "server", "extractPayload": true });
    for (name, value) in plan.as_object().into_iter().flatten() {
        configuration[name] = value.clone();
    }
    let id = format!("{api}-plan");
    let attribute = |name: &str| format!("{{#context.attributes['{name}']}}");
    let definition = telling(v4(api, &format!("/{api}"), &backend.target("")))
        .request(
            "transform-headers",
            json!({ "addHeaders": [
                { "name": "X-Payload", "value": attribute("oauth.payload") },
                { "name": "X-User", "value": attribute("user") },
                { "name": "X-Role", "value": "{#context.attributes['user.roles'].isEmpty() ? '' : #context.attributes['user.roles'][0]}" },
            ] }),
        )
        .plans(&[(&id, "oauth2", configuration)])
        .resource("server", server.0, server.1)
        .resource("brief", "cache", json!({ "name": "brief", "timeToLiveSeconds": 1 }))
        .resource("lasting", "cache", json!({ "name": "lasting", "timeToLiveSeconds": 600 }));
    plane.deploy(&definition);
    plane.subscribe_to(api, &id, api, json!({ "clientId": "me" }));
}

#[track_caller]
fn assert_good(site: &Site, api: &str, token: &str) {
    let fields = [("Authorization", &*bearer(token))];
    assert_let_in(
        site,
        &format!("/{api}/x"),
        &fields,
        &format!("{api}-plan"),
        api,
    );
}

#[track_caller]
fn assert_bad(site: &Site, api: &str, token: &str, status: u16, key: &str) {
    let fields = [("Authorization", &*bearer(token))];
    assert_refused(site, &format!("/{api}/x"), &fields, status, key);
}

/// Everybody is `me`.
fn accepted() -> Answer {
    Answer::json(&json!({
        "active": true, "client_id": "me", "sub": "subject", "email": "me@example.com", "scope": "a,b c",
    }))
}

/// The last request to an endpoint.
#[track_caller]
fn last(server: &Server) -> Asked {
    server.asked().pop().expect("a question")
}

#[test]
fn the_token_is_handed_over_as_the_resource_says() {
    let server = Server::always(accepted());
    let cases = [
        (
            "query",
            json!({ "tokenIsSuppliedByQueryParam": true, "tokenQueryParamName": "t" }),
        ),
        (
            "header",
            json!({ "tokenIsSuppliedByHttpHeader": true, "tokenHeaderName": "X-Token" }),
        ),
        (
            "form",
            json!({ "introspectionEndpointMethod": "POST", "tokenIsSuppliedByFormUrlEncoded": true, "tokenFormUrlEncodedName": "t" }),
        ),
        // A form needs a body, and GET has none.
        (
            "get-form",
            json!({ "tokenIsSuppliedByFormUrlEncoded": true, "tokenFormUrlEncodedName": "t" }),
        ),
        (
            "all",
            json!({
                "introspectionEndpointMethod": "POST", "tokenIsSuppliedByQueryParam": true,
                "tokenIsSuppliedByHttpHeader": true, "tokenHeaderName": "X-Token", "tokenIsSuppliedByFormUrlEncoded": true,
            }),
        ),
        // What is absent is not done.
        ("nothing", json!({})),
        (
            "client",
            json!({
                "useClientAuthorizationHeader": true, "clientId": "{#properties['id']}", "clientSecret": "hush",
                "clientAuthorizationHeaderName": "X-Client", "clientAuthorizationHeaderScheme": "Own",
            }),
        ),
    ];
    let site = Site::prepared(Start::new(), |plane, backend| {
        for (api, resource) in &cases {
            let mut resource = resource.clone();
            resource["authorizationServerUrl"] = json!(server.url("/as/"));
            resource["introspectionEndpoint"] = json!("//introspect");
            deploy(plane, backend, api, json!({}), ("oauth2", resource));
        }
    });
    for (api, method, target, header, body) in [
        ("query", "GET", "/as/introspect?t=opaque", None, ""),
        (
            "header",
            "GET",
            "/as/introspect",
            Some(("X-Token", "opaque")),
            "",
        ),
        ("form", "POST", "/as/introspect", None, "t=opaque"),
        ("get-form", "GET", "/as/introspect", None, ""),
        (
            "all",
            "POST",
            "/as/introspect?token=opaque",
            Some(("X-Token", "opaque")),
            "token=opaque",
        ),
        ("nothing", "GET", "/as/introspect", None, ""),
        (
            "client",
            "GET",
            "/as/introspect",
            Some(("X-Client", "Own Omh1c2g=")),
            "",
        ),
    ] {
        assert_good(&site, api, "opaque");
        let asked = last(&server);
        assert_eq!((&*asked.method, &*asked.target), (method, target), "{api}");
        assert_eq!(asked.body, body.as_bytes(), "{api}");
        assert_eq!(asked.head.field("Accept"), Some("application/json"));
        assert_eq!(asked.head.field("Authorization"), None, "{api}");
        for name in ["X-Token", "X-Client"] {
            let expected = header.filter(|(own, _)| *own == name);
            assert_eq!(
                asked.head.field(name),
                expected.map(|(_, value)| value),
                "{api} {name}"
            );
        }
    }
    // A token cannot add parameters or fields of its own.
    for token in ["a&active=true", "a#b", "a%26b", "a b", "a?x"] {
        assert_good(&site, "query", token);
        let target = last(&server).target;
        let sent = target
            .strip_prefix("/as/introspect?t=")
            .expect("one parameter");
        assert!(
            !sent.contains(['&', '#', ' ', '?']),
            "{token} is sent as {sent}"
        );
        assert_good(&site, "form", token);
        let body = last(&server).body;
        assert_eq!(
            body.iter().filter(|&&byte| byte == b'&').count(),
            0,
            "{token}"
        );
    }
}

#[test]
fn the_payload_says_who_the_user_is_and_what_they_may() {
    let server = Server::always(accepted());
    let resource = |changes: Value| {
        let mut resource = json!({
            "introspectionEndpoint": server.url("/introspect"), "tokenIsSuppliedByQueryParam": true,
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            resource[name] = value.clone();
        }
        ("oauth2", resource)
    };
    let scopes = |scopes: &[&str]| json!({ "checkRequiredScopes": true, "requiredScopes": scopes });
    let mut any = scopes(&["x", "c"]);
    any["modeStrict"] = json!(false);
    let site = Site::prepared(Start::new(), |plane, backend| {
        for (api, plan, changes) in [
            ("usual", json!({}), json!({})),
            ("named", json!({}), json!({ "userClaim": "email" })),
            ("absent", json!({}), json!({ "userClaim": "nobody" })),
            ("quiet", json!({ "extractPayload": false }), json!({})),
            // The separator is one blank, whatever is configured.
            (
                "separated",
                scopes(&["a,b", "c"]),
                json!({ "scopeSeparator": "," }),
            ),
            ("split", scopes(&["a"]), json!({ "scopeSeparator": "," })),
            ("any", any, json!({})),
            ("none", scopes(&[]), json!({})),
        ] {
            deploy(plane, backend, api, plan, resource(changes));
        }
    });
    let payload = String::from_utf8(accepted().body).expect("text");
    for (api, user) in [
        ("usual", Some("subject")),
        ("named", Some("me@example.com")),
        ("absent", None),
        ("quiet", Some("subject")),
        ("separated", Some("subject")),
        ("any", Some("subject")),
        ("none", Some("subject")),
    ] {
        assert_good(&site, api, "opaque");
        let head = site.backend.last().head;
        let found = head.field("X-User").filter(|user| !user.is_empty());
        assert_eq!(found, user, "{api}");
        assert_eq!(head.field("X-Role"), Some("a,b"), "{api}");
        let told = head.field("X-Payload").filter(|text| !text.is_empty());
        assert_eq!(told, (api != "quiet").then_some(&*payload), "{api}");
    }
    assert_bad(&site, "split", "opaque", 401, "OAUTH2_INSUFFICIENT_SCOPE");
    let refused = get(&site, "/split/x", &[("Authorization", "Bearer opaque")]);
    let challenge = Some("Bearer realm=\"gravitee.io\"");
    assert_eq!(refused.field("WWW-Authenticate"), challenge);
    site.reports_are_as_expected();
}

#[test]
fn access_management_is_asked_where_its_version_has_the_endpoint() {
    let server = Server::start(|asked| match &*asked.body {
        b"token=good" => accepted(),
        // Old versions do not say whether a token is active: their 200 says it.
        b"token=unsaid" => Answer::json(&json!({ "client_id": "me" })),
        b"token=inactive" => Answer::json(&json!({ "active": false, "client_id": "me" })),
        _ => Answer::new(400, "{\"error\":\"invalid_token\"}"),
    });
    let versions = [("one", "V1_X"), ("two", "V2_X"), ("three", "V3_X")];
    let site = Site::prepared(Start::new(), |plane, backend| {
        for (api, version) in versions {
            let resource = json!({
                "serverURL": server.url("/am/"), "version": version, "securityDomain": "domain",
                "clientId": "gateway", "clientSecret": "hush", "userClaim": "email",
            });
            deploy(
                plane,
                backend,
                api,
                json!({}),
                ("oauth2-am-resource", resource),
            );
        }
    });
    for (api, version) in versions {
        assert_good(&site, api, "good");
        let head = site.backend.last().head;
        assert_eq!(head.field("X-User"), Some("me@example.com"), "{api}");
        let asked = last(&server);
        let endpoint = if version == "V1_X" {
            "/am/domain/oauth/check_token"
        } else {
            "/am/domain/oauth/introspect"
        };
        assert_eq!((&*asked.method, &*asked.target), ("POST", endpoint));
        let authorization = asked.head.field("Authorization");
        assert_eq!(authorization, Some("Basic Z2F0ZXdheTpodXNo"), "{api}");
        if version == "V1_X" {
            assert_good(&site, api, "unsaid");
        } else {
            assert_bad(&site, api, "unsaid", 401, UNRESOLVABLE);
        }
        assert_bad(&site, api, "inactive", 401, UNRESOLVABLE);
        assert_bad(&site, api, "unknown", 503, TROUBLE);
    }
    site.reports_are_as_expected();
}

#[test]
fn an_answer_that_makes_no_sense_lets_nobody_in() {
    let server = Server::start(|asked| match asked.target.rsplit('=').next() {
        Some("empty") => Answer::new(200, ""),
        Some("list") => Answer::new(200, "[true]"),
        Some("null") => Answer::new(200, "null"),
        Some("cut") => Answer::new(200, "{\"active\":true,\"client_id\":\"me\""),
        Some("two") => Answer::new(200, "{\"active\":true,\"client_id\":\"me\"}{}"),
        Some("no-content") => Answer::new(204, ""),
        Some("created") => Answer::new(201, accepted().body),
        Some("redirect") => Answer::new(302, "").field("Location", "/introspect?token=good"),
        Some("large") => {
            let mut body = accepted().body;
            body.extend(vec![b' '; 2 << 20]);
            Answer::new(200, body)
        }
        Some("text") => Answer::json(&json!({ "active": "yes", "client_id": ["me"] })),
        Some("number") => Answer::json(&json!({ "active": true, "client_id": 7 })),
        Some("object") => Answer::json(&json!({ "active": true, "client_id": { "me": 1 } })),
        Some("twice") => Answer::new(
            200,
            "{\"active\":true,\"client_id\":\"me\",\"active\":false}",
        ),
        _ => accepted(),
    });
    let site = Site::prepared(Start::new(), |plane, backend| {
        let resource = json!({ "introspectionEndpoint": server.url("/introspect"), "tokenIsSuppliedByQueryParam": true });
        deploy(plane, backend, "api", json!({}), ("oauth2", resource));
    });
    for token in [
        "empty",
        "list",
        "null",
        "cut",
        "two",
        "no-content",
        "created",
        "redirect",
        "large",
    ] {
        assert_bad(&site, "api", token, 503, TROUBLE);
    }
    for token in ["text", "number", "object", "twice"] {
        let fields = [("Authorization", &*bearer(token))];
        let served = site.backend.requests();
        let response = get(&site, "/api/x", &fields);
        assert!(
            matches!(response.status, 401 | 503),
            "{token}: {}",
            response.status
        );
        assert_eq!(site.backend.requests(), served, "{token}");
    }
    assert_good(&site, "api", "good");
    site.reports_are_as_expected();
}

#[test]
fn an_authorization_server_behind_tls_is_trusted_as_far_as_the_resource_says() {
    let (config, pem) = tls::server(&["localhost"]);
    let (_, stranger) = tls::server(&["localhost"]);
    let server = Server::with_tls(config, |_| accepted());
    let store =
        |kind: &str, content: &str| json!({ "trustStore": { "type": kind, "content": content } });
    let also = |mut ssl: Value, trust_all: bool| {
        ssl["trustAll"] = json!(trust_all);
        ssl
    };
    let cases = [
        // The reference trusts everybody who is not named otherwise.
        ("silent", Value::Null, true),
        ("empty", json!({}), true),
        ("every", json!({ "trustAll": true }), true),
        ("system", json!({ "trustAll": false }), false),
        ("named", also(store("PEM", &pem), false), true),
        ("only-named", store("PEM", &pem), true),
        ("other", also(store("PEM", &stranger), false), false),
        ("only-other", store("PEM", &stranger), false),
        ("every-other", also(store("PEM", &stranger), true), true),
        ("no-store", also(store("NONE", ""), false), false),
    ];
    let refused = [
        ("java", also(store("JKS", "abcd"), false)),
        (
            "file",
            json!({ "trustStore": { "type": "PEM", "path": "/etc/ca.pem" } }),
        ),
        (
            "missing",
            json!({ "trustAll": false, "trustStore": { "type": "PEM" } }),
        ),
    ];
    let site = Site::prepared(Start::new(), |plane, backend| {
        let all = cases.iter().map(|(api, ssl, _)| (api, ssl));
        for (api, ssl) in all.chain(refused.iter().map(|(api, ssl)| (api, ssl))) {
            let mut resource = json!({
                "introspectionEndpoint": server.named_url("localhost", "/introspect"),
                "tokenIsSuppliedByQueryParam": true,
            });
            if !ssl.is_null() {
                resource["ssl"] = ssl.clone();
            }
            deploy(plane, backend, api, json!({}), ("oauth2", resource));
        }
    });
    for (api, _, is_trusted) in &cases {
        if *is_trusted {
            assert_good(&site, api, "opaque");
        } else {
            let asked = server.asked().len();
            assert_bad(&site, api, "opaque", 503, TROUBLE);
            assert_eq!(server.asked().len(), asked, "{api}: a stranger sees tokens");
        }
    }
    // A resource that cannot be used as it is written is left out: its plan has nobody to ask.
    let asked = server.asked().len();
    for (api, _) in &refused {
        assert_bad(&site, api, "opaque", 401, UNRESOLVABLE);
    }
    assert_eq!(server.asked().len(), asked);
    site.reports_are_as_expected();
}

#[test]
fn an_accepted_token_is_remembered_as_long_as_it_or_the_cache_lives() {
    let server = Server::start(|asked| {
        let expires_in = match asked.target.rsplit('=').next() {
            Some("short") => Some(2),
            Some("long") => Some(3_600),
            Some("past") => Some(-3_600),
            _ => None,
        };
        let mut payload = json!({ "active": true, "client_id": "me" });
        if let Some(seconds) = expires_in {
            payload["exp"] = json!(now_ms() / 1_000 + seconds);
        }
        Answer::json(&payload)
    });
    let site = Site::prepared(Start::new(), |plane, backend| {
        for cache in ["brief", "lasting"] {
            let url = server.url(&format!("/{cache}"));
            let resource =
                json!({ "introspectionEndpoint": url, "tokenIsSuppliedByQueryParam": true });
            let plan = json!({ "oauthCacheResource": cache });
            deploy(plane, backend, cache, plan, ("oauth2", resource));
        }
    });
    let asked = |cache: &str, token: &str| {
        let target = format!("/{cache}?token={token}");
        let all = server.asked();
        all.iter().filter(|it| it.target == target).count()
    };
    let tokens = ["silent", "long", "short", "past"];
    for cache in ["brief", "lasting"] {
        for token in tokens {
            assert_good(&site, cache, token);
        }
    }
    for token in tokens {
        assert_good(&site, "lasting", token);
        assert_eq!(asked("lasting", token), 1, "{token}");
    }
    // The shorter of the two lives counts.
    let forgotten = tokens.map(|token| ("brief", token));
    for (cache, token) in forgotten.into_iter().chain([("lasting", "short")]) {
        until("another question", PATIENCE, || {
            assert_good(&site, cache, token);
            (asked(cache, token) >= 2).then_some(())
        });
    }
    for token in ["silent", "long", "past"] {
        assert_good(&site, "lasting", token);
        assert_eq!(asked("lasting", token), 1, "{token}");
    }
}
