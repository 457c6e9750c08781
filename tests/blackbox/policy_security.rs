//! Security as steps of flows, and attacks on tokens through the door that users use.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::client::{Client, Response, fetch_with, request};
use crate::support::control_plane::now_ms;
use crate::support::definition::v4;
use crate::support::gateway::Start;
use crate::support::server::{Answer, Server};
use crate::support::site::Site;
use crate::support::tokens::{Rsa, claims, hmac_token, part, part_of, read};

const SECRET: &str = "a secret of sixty-four characters or more, for the longest of hashes!";

fn get(site: &Site, path: &str, fields: &[(&str, &str)]) -> Response {
    fetch_with(site.port(), path, fields)
}

/// The request is refused, and the backend hears nothing of it.
#[track_caller]
fn assert_refused(
    site: &Site,
    path: &str,
    fields: &[(&str, &str)],
    status: u16,
    key: &str,
) -> Response {
    let before = site.backend.requests();
    let response = get(site, path, fields);
    assert_eq!(
        response.status,
        status,
        "{path} {fields:?}: {}",
        response.text()
    );
    assert_eq!(site.backend.requests(), before, "{path} {fields:?}");
    site.expect_key(&response, key);
    response
}

fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

#[test]
fn basic_authentication_and_roles_decide_who_gets_through() {
    let users = json!({ "users": [
        { "username": "ann", "password": "a:pass:word", "roles": ["reader", "writer"] },
        { "username": "bob", "password": "p", "roles": ["reader"] },
        { "username": "cid", "password": "" },
    ] });
    let more = json!({ "users": [{ "username": "dan", "password": "d" }, { "username": "bob", "password": "second" }] });
    let site = Site::prepared(Start::new(), |plane, backend| {
        let show = json!({ "addHeaders": [{ "name": "X-User", "value": "{#context.attributes['user']}" }] });
        let api = |id: &str, providers: Value, realm: Value| {
            v4(id, &format!("/{id}"), &backend.target(""))
                .resource("one", "auth-provider-inline-resource", users.clone())
                .resource("two", "auth-provider-inline-resource", more.clone())
                .request(
                    "policy-basic-authentication",
                    json!({ "authenticationProviders": providers, "realm": realm }),
                )
        };
        plane.deploy(
            &api("basic", json!(["one", "two"]), json!("my \"home\""))
                .request("transform-headers", show),
        );
        plane.deploy(&api("nobody", json!([]), Value::Null));
        let roles = |roles: Value, strict: bool| json!({ "roles": roles, "strict": strict });
        plane.deploy(
            &api("all", json!(["one", "two"]), Value::Null)
                .request("rbac", roles(json!(["reader", "writer"]), true)),
        );
        plane.deploy(
            &api("any", json!(["one", "two"]), Value::Null)
                .request("rbac", roles(json!(["admin", "reader"]), false)),
        );
        let attribute = |value: &str| json!({ "scope": "REQUEST", "attributes": [{ "name": "gravitee.attribute.user.roles", "value": value }] });
        for (id, value) in [
            ("text", "reader, writer"),
            ("array", "[\"reader\",\"writer\"]"),
            ("other", "reader"),
        ] {
            plane.deploy(
                &v4(id, &format!("/{id}"), &backend.target(""))
                    .request("policy-assign-attributes", attribute(value))
                    .request("rbac", roles(json!(["writer"]), true)),
            );
        }
    });
    for (pair, user) in [
        ("ann:a:pass:word", "ann"),
        ("bob:p", "bob"),
        ("cid:", "cid"),
        ("dan:d", "dan"),
        ("bob:second", "bob"),
    ] {
        let value = basic(pair);
        assert_eq!(
            get(&site, "/basic/x", &[("Authorization", &value)]).status,
            200,
            "{pair}"
        );
        assert_eq!(site.backend.last().head.field("X-User"), Some(user));
        let lower = value.replacen("Basic", "bAsIc", 1);
        assert_eq!(
            get(&site, "/basic/x", &[("Authorization", &lower)]).status,
            200,
            "{pair}"
        );
    }
    for value in [
        basic("ann:wrong"),
        basic("ann:"),
        basic("ann"),
        basic(":p"),
        basic("eve:p"),
        basic(""),
        "Bearer x".to_owned(),
        "Basic".to_owned(),
    ] {
        let refused = assert_refused(&site, "/basic/x", &[("Authorization", &value)], 401, "");
        assert_eq!(refused.text(), "Unauthorized");
        assert_eq!(
            refused.field("WWW-Authenticate"),
            Some("Basic realm=\"my \\\"home\\\"\"")
        );
    }
    assert_refused(&site, "/basic/x", &[], 401, "");
    assert_refused(
        &site,
        "/basic/x",
        &[("Authorization", "Basic !!!")],
        500,
        "internal_error",
    );
    let nobody = assert_refused(
        &site,
        "/nobody/x",
        &[("Authorization", &basic("bob:p"))],
        401,
        "",
    );
    assert_eq!(
        nobody.text(),
        "No authentication provider has been provided"
    );
    assert_eq!(
        nobody.field("WWW-Authenticate"),
        Some("Basic realm=\"gravitee.io\"")
    );

    let (ann, bob, cid) = (basic("ann:a:pass:word"), basic("bob:p"), basic("cid:"));
    for (path, value) in [("/all/x", &ann), ("/any/x", &ann), ("/any/x", &bob)] {
        let response = get(&site, path, &[("Authorization", value)]);
        assert_eq!(response.status, 200, "{path}");
    }
    let forbidden = assert_refused(
        &site,
        "/all/x",
        &[("Authorization", &bob)],
        403,
        "RBAC_FORBIDDEN",
    );
    assert_eq!(
        forbidden.text(),
        "User is not allowed to access this route."
    );
    let none = assert_refused(
        &site,
        "/any/x",
        &[("Authorization", &cid)],
        403,
        "RBAC_NO_USER_ROLE",
    );
    assert_eq!(
        none.text(),
        "There is no user role associated to the current request."
    );
    assert_eq!(get(&site, "/text/x", &[]).status, 200);
    assert_eq!(get(&site, "/array/x", &[]).status, 200);
    assert_refused(&site, "/other/x", &[], 403, "RBAC_FORBIDDEN");
    site.reports_are_as_expected();
}

#[test]
fn generated_tokens_reach_the_backend_and_verify() {
    let pkcs8 = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .expect("a key");
    let private = pkcs8.serialize_pem();
    let site = Site::prepared(Start::new(), |plane, backend| {
        let send = json!({ "addHeaders": [{ "name": "X-Token", "value": "{#context.attributes['jwt.generated']}" }] });
        for (id, configuration) in [
            (
                "hmac",
                json!({
                    "signature": "HMAC_HS256", "keyResolver": "INLINE", "content": SECRET, "kid": "k1",
                    "issuer": "me", "subject": "{#request.headers['X-Sub'][0]}", "audiences": ["a", "b"],
                    "expiresIn": 2, "expiresInUnit": "MINUTES", "id": "id-{#request.method}",
                    "customClaims": [
                        { "name": "text", "value": "{#request.path}" },
                        { "name": "number", "value": "{(1 + 1)}" },
                        { "name": "list", "value": "{({'x', 'y'})}" },
                    ],
                }),
            ),
            (
                "rsa",
                json!({ "signature": "RSA_RS256", "keyResolver": "INLINE", "content": private, "expiresIn": 0, "audiences": ["only"] }),
            ),
            (
                "bad",
                json!({ "signature": "HMAC_HS256", "keyResolver": "INLINE", "content": SECRET, "subject": "{#request.nope.nope}" }),
            ),
        ] {
            plane.deploy(
                &v4(id, &format!("/{id}"), &backend.target(""))
                    .request("policy-generate-jwt", configuration)
                    .request("transform-headers", send.clone()),
            );
        }
        // A gateway behind this one takes the token for good.
        plane.deploy(&v4("behind", "/behind", &backend.target("")).request(
            "jwt",
            json!({ "signature": "RSA_RS256", "resolverParameter": pkcs8.public_key_pem() }),
        ));
    });
    assert_eq!(
        get(&site, "/hmac/x", &[("X-Sub", "\"quoted\"")]).status,
        200
    );
    let token = site
        .backend
        .last()
        .head
        .field("X-Token")
        .expect("a token")
        .to_owned();
    let (header, body) = (read(&token, 0), read(&token, 1));
    assert_eq!(
        (&header["alg"], &header["kid"]),
        (&json!("HS256"), &json!("k1"))
    );
    for (name, value) in [
        ("iss", json!("me")),
        ("sub", json!("\"quoted\"")),
        ("aud", json!(["a", "b"])),
        ("jti", json!("id-GET")),
        ("text", json!("/hmac/x")),
        ("number", json!(2)),
        ("list", json!(["x", "y"])),
    ] {
        assert_eq!(body[name], value, "{name}");
    }
    let issued = body["iat"].as_i64().expect("a time");
    assert!((now_ms() / 1_000 - issued).abs() < 60);
    assert_eq!(body["exp"], issued + 120);
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    let (head, claims_part) = signed.split_once('.').expect("two parts");
    let tag = aws_lc_rs::hmac::sign(
        &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes()),
        signed.as_bytes(),
    );
    assert_eq!(
        token,
        format!("{head}.{claims_part}.{}", part_of(tag.as_ref()))
    );

    assert_eq!(get(&site, "/rsa/x", &[]).status, 200);
    let token = site
        .backend
        .last()
        .head
        .field("X-Token")
        .expect("a token")
        .to_owned();
    let body = read(&token, 1);
    assert_eq!(
        (&body["aud"], &body["iss"]),
        (&json!("only"), &json!("urn://gravitee-api-gw"))
    );
    assert!(body.get("exp").is_none() && body["jti"].is_string());
    let value = format!("Bearer {token}");
    assert_eq!(
        get(&site, "/behind/x", &[("Authorization", &value)]).status,
        200
    );

    let bad = assert_refused(&site, "/bad/x", &[], 500, "");
    assert!(
        bad.text().starts_with("Unable to generate JWT token: "),
        "{}",
        bad.text()
    );
    site.reports_are_as_expected();
}

#[test]
fn ssl_enforcement_judges_the_connection_and_the_certificate_in_a_header() {
    let made = |name: &str| {
        let mut parameters =
            rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        parameters
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "Acme");
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        pem.replace('+', "%2B").replace('\n', "%0A")
    };
    let (good, other) = (made("good"), made("other"));
    let site = Site::prepared(Start::new(), |plane, backend| {
        for (id, configuration) in [
            ("tls", json!({})),
            ("proto", json!({ "useXForwardedProto": true })),
            (
                "client",
                json!({ "requiresSsl": false, "requiresClientAuthentication": true, "certificateLocation": "HEADER", "certificateHeaderName": "X-Cert" }),
            ),
            (
                "listed",
                json!({
                    "requiresSsl": false, "requiresClientAuthentication": true, "certificateLocation": "HEADER",
                    "whitelistClientCertificates": ["CN=nobody,O=Acme", "O=Acme,CN=go*"],
                }),
            ),
            (
                "session",
                json!({ "requiresSsl": false, "requiresClientAuthentication": true, "certificateLocation": "SESSION" }),
            ),
        ] {
            plane.deploy(
                &v4(id, &format!("/{id}"), &backend.target(""))
                    .request("ssl-enforcement", configuration),
            );
        }
    });
    for (api, field, status, key) in [
        ("tls", None, 403, "SSL_ENFORCEMENT_SSL_REQUIRED"),
        (
            "tls",
            Some(("X-Forwarded-Proto", "https")),
            403,
            "SSL_ENFORCEMENT_SSL_REQUIRED",
        ),
        ("proto", None, 403, "SSL_ENFORCEMENT_SSL_REQUIRED"),
        ("proto", Some(("X-Forwarded-Proto", "https")), 200, ""),
        (
            "client",
            None,
            401,
            "SSL_ENFORCEMENT_AUTHENTICATION_REQUIRED",
        ),
        (
            "client",
            Some(("ssl-client-cert", &*good)),
            401,
            "SSL_ENFORCEMENT_AUTHENTICATION_REQUIRED",
        ),
        (
            "client",
            Some(("X-Cert", "nonsense")),
            401,
            "SSL_ENFORCEMENT_AUTHENTICATION_REQUIRED",
        ),
        ("client", Some(("X-Cert", &good)), 200, ""),
        ("listed", Some(("ssl-client-cert", &good)), 200, ""),
        (
            "listed",
            Some(("ssl-client-cert", &other)),
            403,
            "SSL_ENFORCEMENT_CLIENT_FORBIDDEN",
        ),
        (
            "session",
            Some(("ssl-client-cert", &good)),
            401,
            "SSL_ENFORCEMENT_AUTHENTICATION_REQUIRED",
        ),
    ] {
        let fields: Vec<_> = field.into_iter().collect();
        let path = format!("/{api}/x");
        if status == 200 {
            assert_eq!(get(&site, &path, &fields).status, 200, "{api} {field:?}");
        } else {
            assert_refused(&site, &path, &fields, status, key);
        }
    }
    site.reports_are_as_expected();
}

#[test]
fn plan_policies_work_as_steps_and_answer_with_their_own_keys() {
    let rsa = Rsa::generate();
    let server = Server::start(|asked| match &*asked.body {
        b"token=good" => Answer::json(&json!({ "active": true, "sub": "user" })),
        b"token=broken" => Answer::new(500, "no"),
        _ => Answer::json(&json!({ "active": false })),
    });
    let site = Site::prepared(Start::new(), |plane, backend| {
        let api = |id: &str| v4(id, &format!("/{id}"), &backend.target(""));
        plane.deploy(&api("key").api_key().request("api-key", json!({})));
        plane.subscribe("key", "right", json!({}));
        plane.deploy(
            &api("step")
                .plans(&[
                    ("step-plan", "api-key", json!({})),
                    ("open", "key-less", json!({})),
                ])
                .request("api-key", json!({ "apiKeyHeader": "X-Key" })),
        );
        plane.subscribe("step", "right", json!({}));
        plane.deploy(&api("jwt").request(
            "jwt",
            json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() }),
        ));
        for (id, resource) in [("oauth2", "server"), ("homeless", "none")] {
            plane.deploy(
                &api(id)
                    .resource(
                        "server",
                        "oauth2",
                        json!({
                            "introspectionEndpoint": server.url("/introspect"),
                            "introspectionEndpointMethod": "POST",
                            "tokenIsSuppliedByFormUrlEncoded": true,
                        }),
                    )
                    .request("oauth2", json!({ "oauthResource": resource })),
            );
        }
    });
    assert_refused(&site, "/step/x", &[], 401, "API_KEY_MISSING");
    assert_refused(
        &site,
        "/step/x",
        &[("X-Key", "wrong")],
        401,
        "API_KEY_INVALID",
    );
    assert_eq!(get(&site, "/step/x", &[("X-Key", "right")]).status, 200);
    assert_eq!(site.backend.last().head.field("X-Key"), None);

    // No client id is needed: there is no subscription to look for.
    let good = format!("Bearer {}", rsa.token(&json!({ "sub": "user" })));
    assert_eq!(
        get(&site, "/jwt/x", &[("Authorization", &good)]).status,
        200
    );
    assert_refused(&site, "/jwt/x", &[], 401, "JWT_MISSING_TOKEN");
    assert_refused(
        &site,
        "/jwt/x",
        &[("Authorization", "Basic dTpw")],
        401,
        "JWT_MISSING_TOKEN",
    );
    assert_refused(
        &site,
        "/jwt/x",
        &[("Authorization", "Bearer")],
        401,
        "JWT_INVALID_TOKEN",
    );
    assert_refused(
        &site,
        "/jwt/x",
        &[("Authorization", "Bearer a.b.c")],
        401,
        "JWT_INVALID_TOKEN",
    );

    assert_eq!(
        get(&site, "/oauth2/x", &[("Authorization", "Bearer good")]).status,
        200
    );
    for (api, field, status, key, challenged) in [
        (
            "homeless",
            Some("Bearer good"),
            401,
            "OAUTH2_MISSING_SERVER",
            false,
        ),
        ("oauth2", None, 401, "OAUTH2_MISSING_HEADER", true),
        (
            "oauth2",
            Some("Basic dTpw"),
            401,
            "OAUTH2_MISSING_HEADER",
            true,
        ),
        (
            "oauth2",
            Some("Bearer "),
            401,
            "OAUTH2_MISSING_ACCESS_TOKEN",
            true,
        ),
        (
            "oauth2",
            Some("Bearer bad"),
            401,
            "OAUTH2_INVALID_ACCESS_TOKEN",
            true,
        ),
        (
            "oauth2",
            Some("Bearer broken"),
            503,
            "OAUTH2_SERVER_UNAVAILABLE",
            true,
        ),
    ] {
        let fields: Vec<_> = field
            .map(|value| ("Authorization", value))
            .into_iter()
            .collect();
        let refused = assert_refused(&site, &format!("/{api}/x"), &fields, status, key);
        let message = if status == 401 {
            "Unauthorized"
        } else {
            "temporarily_unavailable"
        };
        assert_eq!(refused.text(), message, "{api} {field:?}");
        let challenge = challenged.then_some("Bearer realm=\"gravitee.io\"");
        assert_eq!(
            refused.field("WWW-Authenticate"),
            challenge,
            "{api} {field:?}"
        );
    }
    site.reports_are_as_expected();
}

/// Counts connections to a port that nobody has any business with.
fn trap() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, count)
}

#[test]
fn forged_tokens_are_refused_and_never_reach_the_backend_or_anybody_else() {
    let (rsa, other) = (Rsa::generate(), Rsa::generate());
    let (port, trapped) = trap();
    let keys = Server::always(Answer::json(&json!({ "keys": [rsa.jwk("k")] })));
    let start = Start::new().set("http.maxHeaderSize", "131072");
    let site = Site::prepared(start, |plane, backend| {
        for (api, configuration) in [
            (
                "rsa",
                json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() }),
            ),
            (
                "jwks",
                json!({ "signature": "RSA_RS256", "publicKeyResolver": "JWKS_URL", "resolverParameter": keys.url("/jwks") }),
            ),
        ] {
            let plan = format!("{api}-plan");
            plane.deploy(&v4(api, &format!("/{api}"), &backend.target("")).plans(&[
                (&plan, "jwt", configuration.clone()),
                ("open", "key-less", json!({})),
            ]));
            plane.subscribe_to(api, &plan, api, json!({ "clientId": "me" }));
            // The same as a step: nothing is asked before the signature is verified.
            let step = format!("{api}-step");
            plane.deploy(
                &v4(&step, &format!("/{step}"), &backend.target("")).request("jwt", configuration),
            );
        }
    });
    let apis = ["rsa", "jwks", "rsa-step", "jwks-step"];
    let me = claims("me", json!({}));
    let good = rsa.token(&me);
    let send = |api: &str, token: &str| {
        let value = format!("Bearer {token}");
        get(&site, &format!("/{api}/x"), &[("Authorization", &value)])
    };
    for api in apis {
        assert_eq!(send(api, &good).status, 200, "{api}");
    }
    let served = site.backend.requests();

    let body = part(&me.to_string());
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let header = |text: &str| format!("{}.{body}", part(text));
    let mut forged = Vec::new();
    // No algorithm, or one that needs no key.
    for alg in ["none", "None", "nOnE", "NONE", ""] {
        let head = header(&json!({ "alg": alg, "typ": "JWT" }).to_string());
        forged.extend([
            format!("{head}."),
            head.clone(),
            format!("{head}.{signature}"),
        ]);
    }
    for head in [
        "{\"typ\":\"JWT\"}",
        "{\"alg\":null}",
        "{\"alg\":[\"RS256\"]}",
        "{\"alg\":7}",
        "[]",
        "null",
        "",
    ] {
        forged.push(format!("{}.{signature}", header(head)));
        forged.push(rsa.sign_text("RS256", head, &me.to_string()));
    }
    // The public key as an HMAC's secret, in all its spellings.
    let pem = rsa.pem();
    for secret in [
        pem.clone(),
        pem.trim().to_owned(),
        pem.replace('\n', ""),
        rsa.modulus(),
        String::new(),
    ] {
        for alg in ["HS256", "HS384", "HS512"] {
            forged.push(hmac_token(
                secret.as_bytes(),
                &json!({ "alg": alg, "kid": "k" }),
                &me,
            ));
        }
        forged.push(hmac_token(
            secret.as_bytes(),
            &json!({ "alg": "RS256", "kid": "k" }),
            &me,
        ));
    }
    // Algorithms that are good, but not the plan's.
    for alg in ["RS384", "RS512", "PS256", "ES256", "rs256", "RS256 "] {
        forged.push(rsa.sign(&json!({ "alg": alg }), &me));
    }
    // Keys that the token brings or names itself.
    let url = format!("http://127.0.0.1:{port}/keys");
    for extra in [
        json!({ "jku": url }),
        json!({ "x5u": url }),
        json!({ "jwk": other.jwk("k") }),
        json!({ "x5c": [BASE64_STANDARD.encode(other.pem())] }),
        json!({ "kid": "../../dev/null" }),
        json!({ "kid": "/proc/self/environ" }),
        json!({ "kid": "' OR 1=1--" }),
        json!({ "kid": url }),
        json!({ "kid": "k".repeat(10_000) }),
        json!({ "kid": ["k"] }),
        json!({ "kid": null, "jku": url, "jwk": other.jwk("k"), "x5u": url }),
    ] {
        let mut head = json!({ "alg": "RS256" });
        for (name, value) in extra.as_object().into_iter().flatten() {
            head[name] = value.clone();
        }
        forged.push(other.sign(&head, &me));
    }
    // Good signatures around what two readers read in two ways.
    let text = me.to_string();
    let twice = |name: &str, value: &str| format!("{{\"{name}\":{value},{}", &text[1..]);
    for claims in [
        twice("client_id", "\"you\""),
        twice("exp", "1"),
        twice("sub", "\"admin\""),
        format!("{text}x"),
        "[]".to_owned(),
        "7".to_owned(),
    ] {
        forged.push(rsa.sign_text("RS256", "{\"alg\":\"RS256\"}", &claims));
    }
    forged.push(rsa.sign_text("RS256", "{\"alg\":\"none\",\"alg\":\"RS256\"}", &text));
    forged.push(rsa.sign_text(
        "RS256",
        "{\"alg\":\"RS256\",\"kid\":\"k\",\"kid\":\"k\"}",
        &text,
    ));
    forged.push(rsa.sign_text(
        "RS256",
        "{\"alg\":\"RS256\",\"crit\":[\"x\"],\"x\":1}",
        &text,
    ));
    forged.push(rsa.sign_text(
        "RS256",
        "{\"alg\":\"RS256\",\"typ\":\"secevent+jwt\"}",
        &text,
    ));
    // Nested deeply, claims of wrong types.
    let deep = format!(
        "{{\"client_id\":\"me\",\"a\":{}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    forged.push(rsa.sign_text("RS256", "{\"alg\":\"RS256\"}", &deep));
    for (name, value) in [
        ("exp", json!("9999999999")),
        ("exp", json!([9_999_999_999_u64])),
        ("exp", json!(-1)),
        ("exp", json!(true)),
        ("nbf", json!("0")),
        ("nbf", json!({})),
        ("iat", json!("now")),
    ] {
        forged.push(rsa.token(&claims("me", json!({ name: value }))));
    }
    forged.push(rsa.sign_text(
        "RS256",
        "{\"alg\":\"RS256\"}",
        "{\"client_id\":\"me\",\"exp\":1e400}",
    ));
    // Signatures that are none.
    for signature in [
        String::new(),
        part("x"),
        part_of(&[0; 256]),
        part_of(&[0xff; 256]),
        part_of(&[0; 255]),
    ] {
        forged.push(format!("{signed}.{signature}"));
    }
    forged.push(other.token(&me));
    // The right bytes, written in other ways.
    forged.extend([
        format!("{good}="),
        format!("{good}=="),
        format!("{good}."),
        format!("{good}.x"),
        format!(".{good}"),
        good.replace('.', ".."),
        format!("{good}%00"),
        format!("{good}, {good}"),
        format!("{good} {good}"),
        signed.to_owned(),
        "..".to_owned(),
        ".".to_owned(),
        "a.b.c.d.e".to_owned(),
    ]);
    let standard = signature.replace('-', "+").replace('_', "/");
    if standard != signature {
        forged.push(format!("{signed}.{standard}"));
    }
    // 256 bytes leave four bits of the last character unused: a different last character would decode to the same bytes.
    let last = signature.chars().last().expect("a signature");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).expect("base64");
    let next = alphabet
        .chars()
        .nth(at + 1)
        .expect("the unused bits are zero");
    forged.push(format!(
        "{signed}.{}{next}",
        &signature[..signature.len() - 1]
    ));

    for token in &forged {
        for api in apis {
            let response = send(api, token);
            assert_eq!(response.status, 401, "{api}: {token}");
            assert_eq!(response.text(), "Unauthorized", "{api}: {token}");
        }
    }
    // Too large for a token, too large for a head.
    for (size, expected) in [(70_000, 401), (1 << 20, 431)] {
        let value = format!("Bearer {}.{}", good, "a".repeat(size));
        let bytes = request("GET", "/rsa/x", &[("Authorization", &value)], b"");
        let mut client = Client::open(site.port());
        let _ = client.try_send(&bytes);
        assert_eq!(client.response().status, expected, "{size}");
    }
    assert_eq!(site.backend.requests(), served, "the backend hears of none");
    assert_eq!(
        trapped.load(Ordering::SeqCst),
        0,
        "nobody is asked for keys"
    );
    assert_eq!(keys.asked().len(), 1, "the key set is fetched once");
    for api in apis {
        assert_eq!(send(api, &good).status, 200, "{api} still serves");
    }
}
