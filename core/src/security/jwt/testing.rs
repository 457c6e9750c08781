//! Tokens and keys for tests.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The time of the tests, Unix seconds.
pub(crate) const NOW: i64 = 1_700_000_000;
pub(crate) const SECRET: &str = "This is a shared secret of many bytes!";

/// An RSA key made for the tests, once.
pub(crate) fn rsa_key() -> &'static RsaKeyPair {
    static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
    KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
}

/// Another one.
pub(crate) fn other_rsa_key() -> &'static RsaKeyPair {
    static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
    KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
}

fn public_der(key: &RsaKeyPair) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().expect("DER");
    der.as_ref().to_vec()
}

/// The public half as PEM.
pub(crate) fn public_pem(key: &RsaKeyPair) -> String {
    pem("PUBLIC KEY", &public_der(key))
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// Modulus and exponent, big endian.
pub(crate) fn components(key: &RsaKeyPair) -> (Vec<u8>, Vec<u8>) {
    // The modulus ends the PKCS#1 form together with the exponent; x509-parser knows how.
    let der = public_der(key);
    let (_, info) = <x509_parser::x509::SubjectPublicKeyInfo<'_> as x509_parser::prelude::FromDer<
        '_,
        _,
    >>::from_der(&der)
    .expect("a public key");
    match info.parsed() {
        Ok(x509_parser::public_key::PublicKey::RSA(key)) => {
            (key.modulus.to_vec(), key.exponent.to_vec())
        }
        other => panic!("not RSA: {other:?}"),
    }
}

/// The public half as an OpenSSH key.
pub(crate) fn ssh_rsa(key: &RsaKeyPair) -> String {
    let (modulus, exponent) = components(key);
    let mut blob = Vec::new();
    for part in [b"ssh-rsa".to_vec(), exponent, modulus] {
        blob.extend_from_slice(&(part.len() as u32).to_be_bytes());
        blob.extend_from_slice(&part);
    }
    format!("ssh-rsa {} someone@somewhere", STANDARD.encode(blob))
}

/// A JWK of the public half.
pub(crate) fn jwk(key: &RsaKeyPair, kid: &str) -> Value {
    let (modulus, exponent) = components(key);
    let start = modulus.iter().take_while(|byte| **byte == 0).count();
    json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
        "n": URL_SAFE_NO_PAD.encode(&modulus[start..]), "e": URL_SAFE_NO_PAD.encode(exponent),
    })
}

pub(crate) fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Header and claims, joined.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    )
}

/// What signs a token.
#[derive(Clone, Copy)]
pub(crate) enum Signer<'s> {
    Rsa(&'static RsaKeyPair, &'static dyn RsaEncoding),
    Hmac(hmac::Algorithm, &'s [u8]),
}

impl Signer<'_> {
    pub(crate) const HS256: Signer<'static> = Signer::Hmac(hmac::HMAC_SHA256, SECRET.as_bytes());

    pub(crate) fn rs256() -> Signer<'static> {
        Signer::Rsa(rsa_key(), &RSA_PKCS1_SHA256)
    }

    pub(crate) fn rs384() -> Signer<'static> {
        Signer::Rsa(rsa_key(), &RSA_PKCS1_SHA384)
    }

    pub(crate) fn rs512() -> Signer<'static> {
        Signer::Rsa(rsa_key(), &RSA_PKCS1_SHA512)
    }

    pub(crate) fn ps256() -> Signer<'static> {
        Signer::Rsa(rsa_key(), &RSA_PSS_SHA256)
    }

    pub(crate) fn signature(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .expect("a signature");
                signature
            }
            Self::Hmac(algorithm, secret) => {
                hmac::sign(&hmac::Key::new(algorithm, secret), message)
                    .as_ref()
                    .to_vec()
            }
        }
    }

    /// A token of these very texts.
    pub(crate) fn sign_text(self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.signature(message.as_bytes()));
        format!("{message}.{signature}")
    }

    pub(crate) fn sign(self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }
}

/// Claims of a good token.
pub(crate) fn claims() -> Value {
    json!({"sub": "alice", "azp": "client", "iss": "https://issuer.example.com", "exp": NOW + 600, "jti": "token-1"})
}

/// The claims with some replaced; null removes one.
pub(crate) fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("changes") {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().expect("claims").remove(name);
        }
    }
    claims
}
