//! JSON web tokens, honest and forged, and keys to sign them with.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::control_plane::now_ms;

/// An RSA key of 2 048 bits.
pub(crate) struct Rsa(RsaKeyPair);

impl Rsa {
    pub(crate) fn generate() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
    }

    fn der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().expect("a public key");
        der.as_ref().to_vec()
    }

    /// The public half.
    pub(crate) fn pem(&self) -> String {
        let body = BASE64_STANDARD.encode(self.der());
        let lines: Vec<_> = body
            .as_bytes()
            .chunks(64)
            .map(String::from_utf8_lossy)
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// The modulus, as key sets write it.
    pub(crate) fn modulus(&self) -> String {
        let der = self.der();
        // A key of this size has one form: 33 bytes of structure, 256 of modulus, 5 of exponent.
        assert_eq!(der.len(), 294);
        BASE64_URL_SAFE_NO_PAD.encode(&der[33..289])
    }

    /// The public half as OpenSSH writes it: the name of the kind, the exponent and the modulus, each behind its length.
    pub(crate) fn ssh(&self) -> String {
        let der = self.der();
        // The zero in front of the modulus says that the number is not negative.
        let modulus = [&[0], &der[33..289]].concat();
        let mut wire = Vec::new();
        for part in [&b"ssh-rsa"[..], &[1, 0, 1], &modulus] {
            let length = u32::try_from(part.len()).expect("a short part");
            wire.extend_from_slice(&length.to_be_bytes());
            wire.extend_from_slice(part);
        }
        format!(
            "ssh-rsa {} somebody@somewhere",
            BASE64_STANDARD.encode(wire)
        )
    }

    /// The public half as an entry of a key set.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": self.modulus(), "e": "AQAB" })
    }

    /// A token; the signature is of the kind that `alg` in the header names, RS256 for unknown ones.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(
            header["alg"].as_str().unwrap_or_default(),
            &header.to_string(),
            &claims.to_string(),
        )
    }

    /// A token of any texts.
    pub(crate) fn sign_text(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let encoding = match algorithm {
            "RS384" => &RSA_PKCS1_SHA384,
            "RS512" => &RSA_PKCS1_SHA512,
            "PS256" => &RSA_PSS_SHA256,
            _ => &RSA_PKCS1_SHA256,
        };
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                encoding,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .expect("a signature");
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token of these claims, signed with RS256.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": "RS256", "typ": "JWT" }), claims)
    }
}

/// A token with an HMAC, of the kind that `alg` in the header names.
pub(crate) fn hmac_token(secret: &[u8], header: &Value, claims: &Value) -> String {
    let kind = match header["alg"].as_str() {
        Some("HS384") => hmac::HMAC_SHA384,
        Some("HS512") => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let signed = format!(
        "{}.{}",
        part(&header.to_string()),
        part(&claims.to_string())
    );
    let tag = hmac::sign(&hmac::Key::new(kind, secret), signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

/// A part of a token.
pub(crate) fn part(text: &str) -> String {
    part_of(text.as_bytes())
}

/// A part of a token, or a thumbprint, of any bytes.
pub(crate) fn part_of(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The JSON in a part of a token: 0 is the header, 1 the claims.
pub(crate) fn read(token: &str, part: usize) -> Value {
    let text = token.split('.').nth(part).expect("a part");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Claims of a client that are good for an hour; `changes` overwrite them, null takes one away.
pub(crate) fn claims(client_id: &str, changes: Value) -> Value {
    let mut claims =
        json!({ "sub": "user", "client_id": client_id, "exp": now_ms() / 1_000 + 3_600 });
    for (name, value) in changes.as_object().into_iter().flatten() {
        if value.is_null() {
            claims.as_object_mut().expect("claims").remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}
