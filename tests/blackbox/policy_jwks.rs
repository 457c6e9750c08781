//! Keys of JWT plans: the forms they come in, and key sets and revocation lists that change while requests come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::policy_plans::{assert_let_in, assert_refused, bearer, get, planned};
use crate::support::backend::Backend;
use crate::support::control_plane::ControlPlane;
use crate::support::gateway::Start;
use crate::support::server::{Answer, Server};
use crate::support::site::Site;
use crate::support::tls;
use crate::support::tokens::{Rsa, claims, hmac_token, part, part_of};
use crate::support::wait::{PATIENCE, until};

const SECRET: &str = "a secret that is shared by everybody who signs or reads!";
const INVALID: &str = "JWT_INVALID_TOKEN";

/// An API with one JWT plan, to which the client `me` is subscribed.
fn deploy(plane: &ControlPlane, backend: &Backend, api: &str, configuration: Value) {
    let plan = format!("{api}-plan");
    let definition = planned(&backend.target(""), api, &[(&plan, "jwt", configuration)]);
    plane.deploy(&definition);
    plane.subscribe_to(api, &plan, api, json!({ "clientId": "me" }));
}

fn key_set(url: &str) -> Value {
    json!({
        "signature": "RSA_RS256", "publicKeyResolver": "JWKS_URL", "resolverParameter": url,
        "requestTimeout": 1_000,
    })
}

/// The status that a token gets.
fn status(site: &Site, api: &str, token: &str) -> u16 {
    let fields = [("Authorization", &*bearer(token))];
    get(site, &format!("/{api}/x"), &fields).status
}

/// A token that names its key.
fn signed(rsa: &Rsa, kid: &str) -> String {
    rsa.sign(
        &json!({ "alg": "RS256", "kid": kid }),
        &claims("me", json!({})),
    )
}

#[test]
fn a_key_set_that_rotates_is_followed_by_one_fetch_while_the_old_keys_serve() {
    let (kept, old, new) = (Rsa::generate(), Rsa::generate(), Rsa::generate());
    let before = json!({ "keys": [kept.jwk("kept"), old.jwk("old")] });
    let after = json!({ "keys": [kept.jwk("kept"), new.jwk("new")] });
    let rotated = Arc::new(AtomicBool::new(false));
    let is_rotated = Arc::clone(&rotated);
    let keys = Server::start(move |_| {
        if is_rotated.load(Ordering::SeqCst) {
            Answer::json(&after).after(Duration::from_millis(500))
        } else {
            Answer::json(&before)
        }
    });
    let start = Start::new().set("policy.jwt.jwks.ageMax", "1000");
    let site = Site::prepared(start, |plane, backend| {
        deploy(plane, backend, "api", key_set(&keys.url("/jwks")));
    });
    let token = signed(&kept, "kept");
    let (old, new) = (signed(&old, "old"), signed(&new, "new"));
    assert_eq!(status(&site, "api", &token), 200);
    assert_eq!(status(&site, "api", &old), 200);
    rotated.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                until("the new key", PATIENCE, || {
                    // Nobody waits for the fetch, and nobody is refused because of it.
                    assert_eq!(status(&site, "api", &token), 200);
                    (status(&site, "api", &new) == 200).then_some(())
                });
            });
        }
    });
    assert_eq!(keys.asked().len(), 2, "one fetch for everybody");
    // What was verified with a key that is gone is not remembered.
    assert_eq!(status(&site, "api", &old), 401);
}

#[test]
fn keys_that_are_known_serve_on_when_their_server_fails() {
    let rsa = Rsa::generate();
    let set = json!({ "keys": [rsa.jwk("k")] });
    let failing = Arc::new(AtomicBool::new(false));
    let is_failing = Arc::clone(&failing);
    let keys = Server::start(move |asked| {
        if !is_failing.load(Ordering::SeqCst) {
            return Answer::json(&set);
        }
        match &*asked.target {
            "/status" => Answer::new(500, "no"),
            "/garbage" => Answer::new(200, "<html>"),
            _ => Answer::json(&set).after(Duration::from_secs(5)),
        }
    });
    let apis = ["status", "garbage", "slow"];
    let start = Start::new().set("policy.jwt.jwks.ageMax", "1000");
    let site = Site::prepared(start, |plane, backend| {
        for api in apis {
            let mut configuration = key_set(&keys.url(&format!("/{api}")));
            configuration["requestTimeout"] = json!(100);
            deploy(plane, backend, api, configuration);
        }
    });
    let token = signed(&rsa, "k");
    for api in apis {
        assert_eq!(status(&site, api, &token), 200, "{api}");
    }
    failing.store(true, Ordering::SeqCst);
    let fetches = |api: &str| {
        let target = format!("/{api}");
        let asked = keys.asked();
        asked.iter().filter(|it| it.target == target).count()
    };
    for api in apis {
        until("a fetch that fails", PATIENCE, || {
            assert_eq!(status(&site, api, &token), 200, "{api}");
            (fetches(api) == 2).then_some(())
        });
    }
    for api in apis {
        for _ in 0..10 {
            assert_eq!(status(&site, api, &token), 200, "{api}");
        }
        assert_eq!(fetches(api), 2, "a server that fails is left in peace");
    }
}

#[test]
fn a_revocation_list_that_grows_is_followed_and_outlives_its_server() {
    let rsa = Rsa::generate();
    let stage = Arc::new(std::sync::Mutex::new(Answer::new(200, "another\n")));
    let current = Arc::clone(&stage);
    let list = Server::start(move |_| current.lock().expect("nobody panics").clone());
    let site = Site::prepared(Start::new(), |plane, backend| {
        let configuration = json!({
            "signature": "RSA_RS256", "resolverParameter": rsa.pem(),
            "revocationCheck": { "enabled": true, "revocationListUrl": list.url("/list"), "refreshInterval": 1 },
        });
        deploy(plane, backend, "api", configuration);
    });
    let mine = bearer(&rsa.token(&claims("me", json!({ "jti": "mine" }))));
    let fields = [("Authorization", &*mine)];
    until("the list", PATIENCE, || {
        assert_eq!(get(&site, "/api/x", &fields).status, 200);
        (!list.asked().is_empty()).then_some(())
    });
    *stage.lock().expect("nobody panics") = Answer::new(200, "another\nmine\n");
    until("the longer list", PATIENCE, || {
        (get(&site, "/api/x", &fields).status == 401).then_some(())
    });
    assert_refused(&site, "/api/x", &fields, 401, "JWT_REVOKED");
    *stage.lock().expect("nobody panics") = Answer::new(500, "no");
    let asked = list.asked().len();
    until("a fetch that fails", PATIENCE, || {
        assert_eq!(get(&site, "/api/x", &fields).status, 401);
        (list.asked().len() > asked).then_some(())
    });
    assert_eq!(get(&site, "/api/x", &fields).status, 401);
    site.reports_are_as_expected();
}

#[test]
fn keys_are_taken_in_every_form_of_the_contract_and_in_no_other() {
    let (rsa, other) = (Rsa::generate(), Rsa::generate());
    let pkcs8 = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .expect("a key");
    let certificate = rcgen::CertificateParams::new(["issuer".to_owned()])
        .and_then(|params| params.self_signed(&pkcs8))
        .expect("a certificate");
    let (config, _) = tls::server(&["localhost"]);
    let published = json!({ "keys": [rsa.jwk("k")] });
    let secure = Server::with_tls(config, move |_| Answer::json(&published));
    let bare = rsa
        .pem()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<String>();
    let start = Start::new().file(&format!(
        "policy:\n  jwt:\n    issuer:\n      as.example.com:\n        one: {}\n        two: nonsense\n",
        rsa.ssh(),
    ));
    let given = |signature: &str, key: &str| json!({ "signature": signature, "publicKeyResolver": "GIVEN_KEY", "resolverParameter": key });
    let site = Site::prepared(start, |plane, backend| {
        for (api, configuration) in [
            ("ssh", given("RSA_RS256", &rsa.ssh())),
            ("cut", given("RSA_RS256", &rsa.ssh()[..200])),
            (
                "dss",
                given("RSA_RS256", &rsa.ssh().replace("ssh-rsa", "ssh-dss")),
            ),
            ("bare", given("RSA_RS256", &bare)),
            ("certificate", given("RSA_RS256", &certificate.pem())),
            (
                "base64",
                given("HMAC_HS256", &BASE64_STANDARD.encode(SECRET)),
            ),
            (
                "issuer",
                json!({ "signature": "RSA_RS256", "publicKeyResolver": "GATEWAY_KEYS" }),
            ),
            // Every certificate is trusted, as in the reference.
            ("secure", key_set(&secure.named_url("localhost", "/jwks"))),
            ("address", key_set(&secure.url("/jwks"))),
        ] {
            deploy(plane, backend, api, configuration);
        }
    });
    let me = claims("me", json!({}));
    let of = |issuer: &str| claims("me", json!({ "iss": issuer }));
    let header = json!({ "alg": "HS256" });
    let generated = {
        let text = format!("{}.{}", part("{\"alg\":\"RS256\"}"), part(&me.to_string()));
        let key =
            aws_lc_rs::signature::RsaKeyPair::from_pkcs8(&pkcs8.serialize_der()).expect("a key");
        let mut signature = vec![0; key.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        key.sign(
            &aws_lc_rs::signature::RSA_PKCS1_SHA256,
            &random,
            text.as_bytes(),
            &mut signature,
        )
        .expect("a signature");
        format!("{text}.{}", part_of(&signature))
    };
    for (api, token, is_good) in [
        ("ssh", rsa.token(&me), true),
        ("ssh", other.token(&me), false),
        ("ssh", hmac_token(rsa.ssh().as_bytes(), &header, &me), false),
        ("cut", rsa.token(&me), false),
        ("dss", rsa.token(&me), false),
        ("bare", rsa.token(&me), false),
        ("certificate", generated, true),
        ("certificate", rsa.token(&me), false),
        ("base64", hmac_token(SECRET.as_bytes(), &header, &me), true),
        (
            "base64",
            hmac_token(BASE64_STANDARD.encode(SECRET).as_bytes(), &header, &me),
            false,
        ),
        ("base64", hmac_token(b"", &header, &me), false),
        ("base64", rsa.token(&me), false),
        ("issuer", rsa.token(&of("as.example.com")), true),
        ("issuer", other.token(&of("as.example.com")), false),
        ("issuer", rsa.token(&of("as.example")), false),
        ("issuer", rsa.token(&of("as.example.com.one")), false),
        ("issuer", rsa.token(&of("default")), false),
        (
            "issuer",
            hmac_token(rsa.ssh().as_bytes(), &header, &of("as.example.com")),
            false,
        ),
        ("secure", signed(&rsa, "k"), true),
        ("secure", signed(&other, "k"), false),
        ("address", signed(&rsa, "k"), true),
    ] {
        let path = format!("/{api}/x");
        let fields = [("Authorization", &*bearer(&token))];
        if is_good {
            assert_let_in(&site, &path, &fields, &format!("{api}-plan"), api);
        } else {
            assert_refused(&site, &path, &fields, 401, INVALID);
        }
    }
    site.reports_are_as_expected();
}

#[test]
fn of_a_key_set_only_the_key_that_fits_in_every_member_verifies() {
    let (rsa, second) = (Rsa::generate(), Rsa::generate());
    let with = |kid: &str, name: &str, value: Value| {
        let mut key = rsa.jwk(kid);
        key[name] = value;
        key
    };
    let mut nameless = second.jwk("");
    nameless.as_object_mut().expect("a key").remove("kid");
    let published = json!({ "keys": [
        with("encryption", "use", json!("enc")),
        with("longer", "alg", json!("RS512")),
        with("curve", "kty", json!("EC")),
        with("damaged", "n", json!("not base64!")),
        with("large", "n", json!("A".repeat(5_000))),
        with("tiny", "n", json!("AQAB")),
        with("typeless", "kty", json!(7)),
        { "kty": "oct", "kid": "secret", "k": part(SECRET) },
        // The public key's modulus as a secret: what a careless reader would make of a set of both kinds.
        { "kty": "oct", "kid": "modulus", "k": rsa.modulus() },
        "no key", null, [],
        with("good", "alg", json!("RS256")),
        nameless,
    ] });
    let keys = Server::always(Answer::json(&published));
    let site = Site::prepared(Start::new(), |plane, backend| {
        deploy(plane, backend, "rsa", key_set(&keys.url("/jwks")));
        let mut hmac = key_set(&keys.url("/jwks"));
        hmac["signature"] = json!("HMAC_HS256");
        deploy(plane, backend, "hmac", hmac);
    });
    let me = claims("me", json!({}));
    let hs =
        |kid: &str, secret: &[u8]| hmac_token(secret, &json!({ "alg": "HS256", "kid": kid }), &me);
    for (api, token, is_good) in [
        ("rsa", signed(&rsa, "good"), true),
        ("rsa", rsa.token(&me), true),
        ("rsa", second.token(&me), true),
        ("rsa", signed(&second, "good"), false),
        ("rsa", signed(&second, ""), false),
        ("rsa", signed(&rsa, "encryption"), false),
        ("rsa", signed(&rsa, "longer"), false),
        ("rsa", signed(&rsa, "curve"), false),
        ("rsa", signed(&rsa, "damaged"), false),
        ("rsa", signed(&rsa, "large"), false),
        ("rsa", signed(&rsa, "tiny"), false),
        ("rsa", signed(&rsa, "typeless"), false),
        ("rsa", signed(&rsa, "secret"), false),
        ("rsa", signed(&rsa, "GOOD"), false),
        ("rsa", hs("secret", SECRET.as_bytes()), false),
        ("rsa", hs("good", rsa.pem().as_bytes()), false),
        ("hmac", hs("secret", SECRET.as_bytes()), true),
        ("hmac", hs("good", SECRET.as_bytes()), false),
        ("hmac", hs("good", rsa.pem().as_bytes()), false),
        ("hmac", signed(&rsa, "good"), false),
    ] {
        let path = format!("/{api}/x");
        let fields = [("Authorization", &*bearer(&token))];
        if is_good {
            assert_let_in(&site, &path, &fields, &format!("{api}-plan"), api);
        } else {
            assert_refused(&site, &path, &fields, 401, INVALID);
        }
    }
    assert_eq!(keys.asked().len(), 1, "unknown key ids fetch nothing");
    site.reports_are_as_expected();
}

#[test]
fn a_token_in_the_query_is_read_as_strictly_as_one_in_the_header() {
    let rsa = Rsa::generate();
    let site = Site::prepared(Start::new(), |plane, backend| {
        let configuration = json!({ "signature": "RSA_RS256", "resolverParameter": rsa.pem() });
        deploy(plane, backend, "api", configuration);
    });
    let good = rsa.token(&claims("me", json!({})));
    let forged = Rsa::generate().token(&claims("me", json!({})));
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let (header, body) = signed.split_once('.').expect("two parts");
    let unsigned = format!("{}.{body}.", part("{\"alg\":\"none\"}"));
    for (query, is_good) in [
        (format!("access_token={good}"), true),
        (
            format!("a=1&access_token={good}&access_token={forged}"),
            true,
        ),
        (format!("access_token={forged}&access_token={good}"), false),
        (format!("Access_Token={good}"), false),
        (format!("access_token={good}="), false),
        (format!("access_token={good}%3D%3D"), false),
        (
            format!("access_token={header}.%20{body}.{signature}"),
            false,
        ),
        (
            format!("access_token={header}.{body}%0A.{signature}"),
            false,
        ),
        (
            format!("access_token={header}.{body}.{signature}%00"),
            false,
        ),
        (
            format!("access_token={header}.{body}.%2B{signature}"),
            false,
        ),
        (format!("access_token={header}.{body}."), false),
        (format!("access_token={header}.{body}"), false),
        (format!("access_token={unsigned}"), false),
        ("access_token=".to_owned(), false),
        ("access_token".to_owned(), false),
    ] {
        let served = site.backend.requests();
        let response = get(&site, &format!("/api/x?{query}"), &[]);
        let expected = if is_good { 200 } else { 401 };
        assert_eq!(response.status, expected, "{query}");
        assert_eq!(
            site.backend.requests(),
            served + u64::from(is_good),
            "{query}"
        );
    }
}
