//! Attacks on tokens, and the parts of reading them that need no policy.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::algorithm::{Algorithm, Key};
use super::testing::*;
use super::*;

const NOW_MS: u64 = NOW as u64 * 1_000;

fn keys(algorithm: Algorithm, text: &str) -> Keys {
    let key = Key::from_text(algorithm, text, false).expect("a key");
    Keys::Given([key].into())
}

fn check(raw: &str, algorithm: Algorithm, keys: &Keys) -> Result<(), String> {
    let token = Token::parse(raw).map_err(|error| error.into_owned())?;
    verify(&token, &[algorithm], &Typ::Usual, keys, NOW_MS).map_err(str::to_owned)
}

fn rs256(raw: &str) -> Result<(), String> {
    check(
        raw,
        Algorithm::Rs256,
        &keys(Algorithm::Rs256, &public_pem(rsa_key())),
    )
}

fn hs256(raw: &str) -> Result<(), String> {
    check(raw, Algorithm::Hs256, &keys(Algorithm::Hs256, SECRET))
}

#[test]
fn a_good_token_passes_with_every_algorithm() {
    let pem = public_pem(rsa_key());
    let base64_secret = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        SECRET.as_bytes(),
    );
    for (algorithm, signer, key) in [
        (Algorithm::Rs256, Signer::rs256(), pem.as_str()),
        (Algorithm::Rs384, Signer::rs384(), &pem),
        (Algorithm::Rs512, Signer::rs512(), &pem),
        (Algorithm::Rs256, Signer::rs256(), &ssh_rsa(rsa_key())),
        (Algorithm::Hs256, Signer::HS256, SECRET),
        (Algorithm::Hs256, Signer::HS256, &base64_secret),
        (
            Algorithm::Hs384,
            Signer::Hmac(hmac::HMAC_SHA384, SECRET.as_bytes()),
            SECRET,
        ),
        (
            Algorithm::Hs512,
            Signer::Hmac(hmac::HMAC_SHA512, SECRET.as_bytes()),
            SECRET,
        ),
    ] {
        let token = signer.sign(&json!({"alg": algorithm.name(), "typ": "JWT"}), &claims());
        assert_eq!(
            check(&token, algorithm, &keys(algorithm, key)),
            Ok(()),
            "{algorithm:?} {key}"
        );
        let other = keys(Algorithm::Rs256, &public_pem(other_rsa_key()));
        assert!(check(&token, algorithm, &other).is_err(), "{algorithm:?}");
    }
}

#[test]
fn a_certificate_is_a_key() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
    let certificate = rcgen::CertificateParams::new(["issuer".to_owned()])
        .expect("parameters")
        .self_signed(&pair)
        .expect("a certificate");
    assert!(Key::from_text(Algorithm::Rs256, &certificate.pem(), false).is_ok());
    let elliptic = rcgen::generate_simple_self_signed(["issuer".to_owned()]).expect("one");
    assert!(Key::from_text(Algorithm::Rs256, &elliptic.cert.pem(), false).is_err());
}

#[test]
fn texts_that_are_no_key_are_refused() {
    let pem = public_pem(rsa_key());
    let bare: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    for (algorithm, text) in [
        (Algorithm::Rs256, ""),
        (Algorithm::Rs256, "nonsense"),
        (Algorithm::Rs256, SECRET),
        (Algorithm::Rs256, "ssh-rsa"),
        (Algorithm::Rs256, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ"),
        (Algorithm::Rs256, bare.as_str()),
        (Algorithm::Hs256, ""),
        (Algorithm::Hs256, "too short"),
        (Algorithm::Hs256, &"A".repeat(44)),
    ] {
        assert!(
            Key::from_text(algorithm, text, false).is_err(),
            "{algorithm:?} {text}"
        );
    }
    assert!(
        Key::from_text(Algorithm::Rs256, &bare, true).is_ok(),
        "the old engine takes it"
    );
}

#[test]
fn a_token_without_a_signature_is_refused() {
    for alg in [
        json!("none"),
        json!("None"),
        json!("nOnE"),
        json!("NONE"),
        json!(""),
        Value::Null,
    ] {
        let mut header = json!({"typ": "JWT"});
        if !alg.is_null() {
            header["alg"] = alg.clone();
        }
        let message = unsigned(&header, &claims());
        let real = encode(Signer::rs256().signature(message.as_bytes()));
        let mac = encode(Signer::HS256.signature(message.as_bytes()));
        for raw in [
            message.clone(),
            format!("{message}."),
            format!("{message}.."),
            format!("{message}.{real}"),
            format!("{message}.{mac}"),
            format!("{message}.AA"),
        ] {
            assert!(rs256(&raw).is_err() && hs256(&raw).is_err(), "{alg} {raw}");
        }
    }
    // The right algorithm does not help without a signature.
    let message = unsigned(&json!({"alg": "RS256"}), &claims());
    assert!(rs256(&format!("{message}.")).is_err());
}

#[test]
fn the_public_key_is_never_a_secret() {
    let pem = public_pem(rsa_key());
    let (modulus, _) = components(rsa_key());
    let published = jwk(rsa_key(), "k");
    let n = published["n"].as_str().expect("n").to_owned();
    for secret in [
        pem.as_bytes(),
        pem.trim().as_bytes(),
        modulus.as_slice(),
        n.as_bytes(),
        published.to_string().as_bytes(),
    ] {
        for (alg, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
            ("RS256", hmac::HMAC_SHA256),
        ] {
            let token = Signer::Hmac(algorithm, secret).sign(&json!({"alg": alg}), &claims());
            assert!(rs256(&token).is_err(), "{alg}");
            let set = key_set(&json!({"keys": [published]}));
            assert!(check(&token, Algorithm::Rs256, &set).is_err(), "{alg}");
            assert!(check(&token, Algorithm::Hs256, &set).is_err(), "{alg}");
        }
    }
}

#[test]
fn another_algorithm_than_configured_is_refused_even_with_a_good_signature() {
    for (alg, signer) in [
        ("RS384", Signer::rs384()),
        ("RS512", Signer::rs512()),
        ("PS256", Signer::ps256()),
        ("rs256", Signer::rs256()),
        ("RS256 ", Signer::rs256()),
        ("ES256", Signer::rs256()),
        ("HS256", Signer::HS256),
        // The name is right, the signature is of another kind.
        ("RS256", Signer::rs384()),
        ("RS256", Signer::ps256()),
    ] {
        let token = signer.sign(&json!({"alg": alg}), &claims());
        assert!(rs256(&token).is_err(), "{alg}");
    }
    let token = Signer::rs256().sign(&json!({"alg": ["RS256"]}), &claims());
    assert!(rs256(&token).is_err());
}

#[test]
fn keys_that_a_token_brings_or_names_are_never_used() {
    let own = other_rsa_key();
    let signer = Signer::Rsa(own, &aws_lc_rs::signature::RSA_PKCS1_SHA256);
    for (name, value) in [
        ("jwk", jwk(own, "own")),
        ("jku", json!("http://127.0.0.1:9/jwks")),
        ("x5u", json!("http://127.0.0.1:9/certificate")),
        ("x5c", json!(["MIIB"])),
        ("kid", json!("../../dev/null")),
        ("kid", json!("/proc/self/environ")),
        ("kid", json!("' OR 1=1--")),
        ("kid", json!("k".repeat(10_000))),
    ] {
        let token = signer.sign(&json!({"alg": "RS256", name: value}), &claims());
        assert!(rs256(&token).is_err(), "{name}");
    }
    // A key id says nothing where the key is configured.
    let token = Signer::rs256().sign(&json!({"alg": "RS256", "kid": "whatever"}), &claims());
    assert_eq!(rs256(&token), Ok(()));
}

#[test]
fn what_is_not_exactly_three_canonical_parts_is_refused() {
    let good = Signer::rs256().sign(&json!({"alg": "RS256"}), &claims());
    assert_eq!(rs256(&good), Ok(()));
    let (message, signature) = good.rsplit_once('.').expect("a signature");
    let (header, payload) = message.split_once('.').expect("a payload");
    // 256 bytes leave four bits of the last character unused.
    let last = signature.chars().last().expect("a character");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).expect("in the alphabet");
    let trailing = alphabet.as_bytes()[at + 1] as char;
    let stem = &signature[..signature.len() - 1];
    for raw in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "a.b.c".to_owned(),
        format!("{good}."),
        format!(".{good}"),
        format!("{header}..{payload}.{signature}"),
        format!("{good}.{signature}.{signature}"),
        format!("{message}.{stem}{trailing}"),
        format!("{good}=="),
        format!("{header}==.{payload}.{signature}"),
        format!("{message}.{}", signature.replace(['-', '_'], "+")),
        format!("{message}. {signature}"),
        format!("{message}\n.{signature}"),
        good.replacen('.', "%2e", 1),
        format!("{message}.{}", encode([0; 256])),
        format!("{message}.{}", encode([255; 256])),
        format!("{message}.{}", encode([0; 64])),
        "a".repeat(1 << 20),
        format!("{message}.{}", "A".repeat(1 << 20)),
    ] {
        assert!(rs256(&raw).is_err(), "{raw:.100}");
    }
}

#[test]
fn an_encrypted_token_is_refused() {
    let header = encode(json!({"alg": "RSA-OAEP", "enc": "A256GCM"}).to_string());
    assert!(Token::parse(&format!("{header}.AAAA.AAAA.AAAA.AAAA")).is_err());
    let nested = Signer::rs256().sign_text(r#"{"alg":"RS256","cty":"JWT"}"#, "a.b.c.d.e");
    assert!(rs256(&nested).is_err());
}

#[test]
fn members_that_appear_twice_are_refused_with_a_good_signature() {
    let good_claims = claims().to_string();
    for (header, claims) in [
        (r#"{"alg":"RS256","alg":"none"}"#, good_claims.as_str()),
        (r#"{"alg":"none","alg":"RS256"}"#, &good_claims),
        (r#"{"alg":"RS256","kid":"a","kid":"b"}"#, &good_claims),
        (r#"{"alg":"RS256"}"#, r#"{"azp":"a","azp":"b"}"#),
        (r#"{"alg":"RS256"}"#, r#"{"azp":"a","x":{"y":1,"y":2}}"#),
        (r#"{"alg":"RS256"}"#, "[]"),
        (r#"{"alg":"RS256"}"#, "not JSON"),
        (r#"{"alg":"RS256"} {}"#, &good_claims),
    ] {
        assert!(
            rs256(&Signer::rs256().sign_text(header, claims)).is_err(),
            "{header} {claims}"
        );
    }
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(rs256(&Signer::rs256().sign_text(r#"{"alg":"RS256"}"#, &deep)).is_err());
}

#[test]
fn unknown_critical_members_are_refused() {
    for crit in [
        json!(["x"]),
        json!([]),
        json!(["exp"]),
        json!("x"),
        json!(["b64"]),
    ] {
        let token = Signer::rs256().sign(&json!({"alg": "RS256", "crit": crit}), &claims());
        assert!(rs256(&token).is_err(), "{crit}");
    }
}

#[test]
fn times_have_sixty_seconds_of_tolerance_and_must_be_numbers() {
    for (changes, good) in [
        (json!({"exp": null}), true),
        (json!({"exp": NOW - 59}), true),
        (json!({"exp": NOW - 60}), false),
        (json!({"exp": NOW - 61}), false),
        (json!({"exp": -1}), false),
        (json!({"exp": NOW as f64 + 0.5}), true),
        (json!({"exp": 0}), false),
        (json!({"exp": (NOW + 600).to_string()}), false),
        (json!({"exp": [NOW + 600]}), false),
        (json!({"exp": {}}), false),
        (json!({"exp": true}), false),
        (json!({"nbf": NOW + 59}), true),
        (json!({"nbf": NOW + 60}), false),
        (json!({"nbf": (NOW - 600).to_string()}), false),
        (json!({"nbf": -1}), true),
        (json!({"iat": "yesterday"}), false),
        (json!({"iat": NOW + 600}), true),
        (json!({"aud": ["a", "b"]}), true),
        (json!({"iss": 7}), false),
        (json!({"sub": ["a"]}), false),
        (json!({"jti": {}}), false),
    ] {
        let token = Signer::HS256.sign(&json!({"alg": "HS256"}), &claims_with(&changes));
        assert_eq!(hs256(&token).is_ok(), good, "{changes}");
    }
    for claims in [
        r#"{"exp":null}"#,
        r#"{"exp":1e400}"#,
        r#"{"exp":1e300}"#,
        r#"{"exp":-1e300}"#,
    ] {
        let token = Signer::HS256.sign_text(r#"{"alg":"HS256"}"#, claims);
        assert!(hs256(&token).is_err(), "{claims}");
    }
}

#[test]
fn the_type_of_a_token_is_checked() {
    let expected = |values: &[&str], ignore_missing, ignore_case| Typ::Expected {
        values: values.iter().map(|value| Box::from(*value)).collect(),
        ignore_missing,
        ignore_case,
    };
    for (typ, rule, good) in [
        (Value::Null, Typ::Usual, true),
        (json!("JWT"), Typ::Usual, true),
        (json!("jwt"), Typ::Usual, true),
        (json!("at+jwt"), Typ::Usual, true),
        (json!("application/AT+JWT"), Typ::Usual, true),
        (json!("logout+jwt"), Typ::Usual, false),
        (json!(7), Typ::Usual, false),
        (Value::Null, expected(&["JWT"], false, false), false),
        (Value::Null, expected(&["JWT"], true, false), true),
        (json!("JWT"), expected(&["JWT"], false, false), true),
        (json!("jwt"), expected(&["JWT"], false, false), false),
        (json!("jwt"), expected(&["JWT"], false, true), true),
        (json!("b"), expected(&["a", "b"], false, false), true),
        (json!("at+jwt"), expected(&["JWT"], false, true), false),
    ] {
        let mut header = json!({"alg": "HS256"});
        if !typ.is_null() {
            header["typ"] = typ.clone();
        }
        let token = Token::parse(&Signer::HS256.sign(&header, &claims())).expect("a token");
        let keys = keys(Algorithm::Hs256, SECRET);
        let verified = verify(&token, &[Algorithm::Hs256], &rule, &keys, NOW_MS);
        assert_eq!(verified.is_ok(), good, "{typ} {rule:?}");
    }
}

#[test]
fn the_client_is_named_by_the_configured_claim_or_else_by_the_usual_ones() {
    for (claims, configured, expected) in [
        (
            json!({"azp": "a", "aud": "b", "client_id": "c"}),
            None,
            Some("a"),
        ),
        (
            json!({"azp": "", "aud": "b", "client_id": "c"}),
            None,
            Some("b"),
        ),
        (
            json!({"aud": ["b", "d"], "client_id": "c"}),
            None,
            Some("b"),
        ),
        (json!({"aud": [], "client_id": "c"}), None, Some("c")),
        (json!({"client_id": "c"}), None, Some("c")),
        (json!({}), None, None),
        (json!({"azp": 7}), None, None),
        (json!({"azp": "a", "own": "o"}), Some("own"), Some("o")),
        (
            json!({"azp": "a", "own": ["o", "p"]}),
            Some("own"),
            Some("o"),
        ),
        (json!({"azp": "a"}), Some("own"), None),
        (
            json!({"azp": "a", "own": {"id": "o"}}),
            Some("own.id"),
            Some("o"),
        ),
        (
            json!({"own.id": "flat", "own": {"id": "o"}}),
            Some("own.id"),
            Some("flat"),
        ),
        (json!({"own": {"id": 7}}), Some("own.id"), None),
    ] {
        let token = Token::parse(&Signer::HS256.sign(&json!({"alg": "HS256"}), &claims));
        let token = token.expect("a token");
        assert_eq!(
            token.client_id(configured),
            expected,
            "{claims} {configured:?}"
        );
    }
}

fn key_set(document: &Value) -> Keys {
    let parsed = jwks::parse(&crate::need::HttpReply {
        status: 200,
        headers: Vec::new(),
        body: document.to_string().into_bytes(),
    })
    .expect("a key set");
    Keys::Set(parsed.downcast().expect("a key set"))
}

#[test]
fn a_published_set_is_searched_by_key_id_algorithm_and_use() {
    let key = || jwk(rsa_key(), "one");
    let with = |name: &str, value: Value| {
        let mut key = key();
        key[name] = value;
        key
    };
    let without = |name: &str| {
        let mut key = key();
        key.as_object_mut().expect("a key").remove(name);
        key
    };
    let other = || jwk(other_rsa_key(), "two");
    for (keys, kid, good) in [
        (vec![key()], Some("one"), true),
        (vec![key()], None, true),
        (vec![key()], Some("two"), false),
        (vec![key()], Some(""), false),
        (vec![other(), key()], Some("one"), true),
        (vec![other(), key()], None, true),
        (vec![other(), key()], Some("two"), false),
        (vec![without("kid")], Some("one"), false),
        (vec![without("kid")], None, true),
        (vec![without("alg")], Some("one"), true),
        (vec![without("use")], Some("one"), true),
        (vec![with("use", json!("enc"))], Some("one"), false),
        (vec![with("alg", json!("RS512"))], Some("one"), false),
        (vec![with("alg", json!("PS256"))], Some("one"), false),
        (vec![with("kty", json!("EC"))], Some("one"), false),
        (vec![with("kty", json!("oct"))], Some("one"), false),
        (vec![with("n", json!("AA"))], Some("one"), false),
        (vec![with("n", json!("!"))], Some("one"), false),
        (vec![with("e", json!(""))], Some("one"), false),
        (vec![json!(7), json!({}), key()], Some("one"), true),
        (vec![], Some("one"), false),
    ] {
        let mut header = json!({"alg": "RS256"});
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        let token = Signer::rs256().sign(&header, &claims());
        let set = key_set(&json!({"keys": keys}));
        assert_eq!(
            check(&token, Algorithm::Rs256, &set).is_ok(),
            good,
            "{keys:?} {kid:?}"
        );
    }
    let secret = json!({"kty": "oct", "kid": "s", "k": encode(SECRET)});
    let token = Signer::HS256.sign(&json!({"alg": "HS256", "kid": "s"}), &claims());
    let set = key_set(&json!({"keys": [secret]}));
    assert_eq!(check(&token, Algorithm::Hs256, &set), Ok(()));
    assert!(check(&token, Algorithm::Rs256, &set).is_err());
}

#[test]
fn an_answer_that_is_no_key_set_is_an_error() {
    for (status, body) in [
        (500, r#"{"keys":[]}"#),
        (404, ""),
        (302, r#"{"keys":[]}"#),
        (200, "<html>"),
        (200, "{}"),
        (200, r#"{"keys":7}"#),
    ] {
        let reply = crate::need::HttpReply {
            status,
            headers: Vec::new(),
            body: body.into(),
        };
        assert!(jwks::parse(&reply).is_err(), "{status} {body}");
    }
}

#[test]
fn secrets_do_not_show() {
    let raw = Signer::HS256.sign(&json!({"alg": "HS256"}), &claims());
    let token = Token::parse(&raw).expect("a token");
    let key = Key::from_text(Algorithm::Hs256, SECRET, false).expect("a key");
    let given = keys::Given::new(&[Algorithm::Hs256], SECRET, false);
    for shown in [
        format!("{token:?}"),
        format!("{key:?}"),
        format!("{given:?}"),
    ] {
        assert!(
            !shown.contains("shared secret") && !shown.contains(&raw[..20]),
            "{shown}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_a_token_panic(raw in "[A-Za-z0-9_=.-]{0,200}|.{0,100}") {
        if let Ok(token) = Token::parse(&raw) {
            proptest::prop_assert!(verify(&token, &[Algorithm::Hs256], &Typ::Usual, &keys(Algorithm::Hs256, SECRET), NOW_MS).is_err());
        }
    }

    #[test]
    fn no_changed_byte_of_a_good_token_passes(at in 0_usize..400, to in 0_u8..128) {
        let good = Signer::HS256.sign(&json!({"alg": "HS256"}), &claims());
        let mut bytes = good.into_bytes();
        let at = at % bytes.len();
        proptest::prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        proptest::prop_assert!(hs256(&changed).is_err());
    }
}
