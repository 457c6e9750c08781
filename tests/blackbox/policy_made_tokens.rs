//! Tokens that the gateway makes for its backends: every algorithm, and the certificate that goes with the key.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::client::fetch_with;
use crate::support::definition::v4;
use crate::support::gateway::Start;
use crate::support::site::Site;
use crate::support::tokens::{part_of, read};

/// Long enough for the longest of hashes.
const SECRET: &str = "a secret of sixty-four characters or more, for the longest of hashes!";

/// What the backend of an API that was asked for got.
fn made(site: &Site, api: &str) -> String {
    let response = fetch_with(site.port(), &format!("/{api}/x"), &[]);
    assert_eq!(response.status, 200, "{api}: {}", response.text());
    let head = site.backend.last().head;
    head.field("X-Token").expect("a token").to_owned()
}

#[test]
fn tokens_are_made_with_every_algorithm_and_carry_their_certificates() {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .expect("a key");
    let signed = |name: &str| {
        rcgen::CertificateParams::new([name.to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate")
    };
    let (leaf, root) = (signed("leaf"), signed("root"));
    let chain = format!("{}{}", leaf.pem(), root.pem());
    let hmac = |signature: &str, content: &str| json!({ "signature": signature, "keyResolver": "INLINE", "content": content });
    let rsa = |resolver: &str, content: String, x5c: &str| {
        json!({
            "signature": "RSA_RS256", "keyResolver": resolver, "content": content, "x509CertificateChain": x5c,
        })
    };
    let mut encoded = hmac("HMAC_HS256", &BASE64_STANDARD.encode(SECRET));
    encoded["secretBase64Encoded"] = json!(true);
    let private = key.serialize_pem();
    let site = Site::prepared(Start::new(), |plane, backend| {
        let deploy = |api: &str, steps: &[(&str, Value)]| {
            let definition = v4(api, &format!("/{api}"), &backend.target(""));
            let definition =
                steps
                    .iter()
                    .fold(definition, |definition, (policy, configuration)| {
                        definition.request(policy, configuration.clone())
                    });
            plane.deploy(&definition);
        };
        let send = json!({ "addHeaders": [{ "name": "X-Token", "value": "{#context.attributes['jwt.generated']}" }] });
        for (api, configuration) in [
            ("hs256", hmac("HMAC_HS256", SECRET)),
            ("hs384", hmac("HMAC_HS384", SECRET)),
            ("hs512", hmac("HMAC_HS512", SECRET)),
            ("encoded", encoded),
            ("x5c", rsa("INLINE", format!("{private}{chain}"), "X5C")),
            // The order within the text is no matter.
            ("pem", rsa("PEM", format!("{chain}{private}"), "X5C")),
            ("plain", rsa("PEM", format!("{chain}{private}"), "NONE")),
            // Refused: too short for the hash, without a certificate, no key at all, a store.
            ("short", hmac("HMAC_HS512", &SECRET[..63])),
            ("bare", rsa("INLINE", private.clone(), "X5C")),
            ("keyless", rsa("INLINE", chain.clone(), "X5C")),
            ("store", rsa("JKS", private.clone(), "NONE")),
        ] {
            deploy(
                api,
                &[
                    ("policy-generate-jwt", configuration),
                    ("transform-headers", send.clone()),
                ],
            );
        }
        // The next gateway takes these tokens, and knows the key by the certificate.
        for (api, signature, key) in [
            ("behind-hs384", "HMAC_HS384", SECRET.to_owned()),
            ("behind-hs512", "HMAC_HS512", SECRET.to_owned()),
            ("behind-x5c", "RSA_RS256", leaf.pem()),
        ] {
            deploy(
                api,
                &[(
                    "jwt",
                    json!({ "signature": signature, "resolverParameter": key }),
                )],
            );
        }
    });
    for (api, algorithm, name) in [
        ("hs256", hmac::HMAC_SHA256, "HS256"),
        ("hs384", hmac::HMAC_SHA384, "HS384"),
        ("hs512", hmac::HMAC_SHA512, "HS512"),
        ("encoded", hmac::HMAC_SHA256, "HS256"),
    ] {
        let token = made(&site, api);
        assert_eq!(read(&token, 0), json!({ "alg": name }), "{api}");
        let (text, signature) = token.rsplit_once('.').expect("three parts");
        let tag = hmac::sign(
            &hmac::Key::new(algorithm, SECRET.as_bytes()),
            text.as_bytes(),
        );
        assert_eq!(signature, part_of(tag.as_ref()), "{api}");
    }
    let certificates = json!([
        BASE64_STANDARD.encode(leaf.der()),
        BASE64_STANDARD.encode(root.der())
    ]);
    for (api, expected) in [
        ("x5c", &certificates),
        ("pem", &certificates),
        ("plain", &Value::Null),
    ] {
        let header = read(&made(&site, api), 0);
        assert_eq!(
            (&header["alg"], &header["x5c"]),
            (&json!("RS256"), expected),
            "{api}"
        );
    }
    for (api, behind, status) in [
        ("hs384", "behind-hs384", 200),
        ("hs512", "behind-hs512", 200),
        ("hs512", "behind-hs384", 401),
        ("x5c", "behind-x5c", 200),
        ("pem", "behind-x5c", 200),
        ("hs512", "behind-x5c", 401),
    ] {
        let value = format!("Bearer {}", made(&site, api));
        let response = fetch_with(
            site.port(),
            &format!("/{behind}/x"),
            &[("Authorization", &value)],
        );
        assert_eq!(response.status, status, "{api} {behind}");
    }
    for (api, member) in [
        ("short", "content"),
        ("bare", "x509CertificateChain"),
        ("keyless", "content"),
        ("store", "keyResolver"),
    ] {
        let reason = site.gateway.refusal(api).unwrap_or_default();
        assert!(reason.contains(member), "{api}: {reason}");
    }
}
