//! Verification of a token's signature, when the operator configured a key (contract sync 1.2.4).

use std::path::Path;

use jsonwebtoken::jwk::{AlgorithmParameters, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey};
use turnpike_config::CloudVerification;

use super::claims::CloudToken;
use super::error::Unusable;

/// Largest key file that is read.
const KEY_BYTES_MAX: u64 = 1 << 20;

/// What a signature is verified with, and the setting that gave it.
#[derive(Clone)]
pub struct VerificationKey {
    setting: &'static str,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Pem(String),
    Jwks(JwkSet),
}

/// A key given as PEM text rather than by `cloud.verification.*`.
pub fn public_key(pem: &str) -> VerificationKey {
    VerificationKey {
        setting: "the given public key",
        material: Material::Pem(pem.to_owned()),
    }
}

impl VerificationKey {
    /// The key that the settings name; `None` when they name none.
    pub(super) fn from_settings(settings: &CloudVerification) -> Result<Option<Self>, Unusable> {
        if let Some(pem) = &settings.public_key {
            let material = Material::Pem(pem.clone());
            return Ok(Some(Self {
                setting: "cloud.verification.publicKey",
                material,
            }));
        }
        if let Some(path) = &settings.public_key_path {
            let setting = "cloud.verification.publicKeyPath";
            return Ok(Some(Self {
                setting,
                material: Material::Pem(read(setting, path)?),
            }));
        }
        if let Some(path) = &settings.jwks_path {
            let setting = "cloud.verification.jwksPath";
            let keys =
                serde_json::from_str(&read(setting, path)?).map_err(|error| Unusable::Key {
                    key: setting,
                    reason: format!("expected a JWKS: {error}"),
                })?;
            return Ok(Some(Self {
                setting,
                material: Material::Jwks(keys),
            }));
        }
        Ok(None)
    }

    /// Verifies the signature; only algorithms of `allowed` are accepted, and never one that needs a shared secret.
    pub(super) fn verify(&self, token: &CloudToken, allowed: &[String]) -> Result<(), Unusable> {
        let named = &token.header.alg;
        let refused = || Unusable::Algorithm {
            found: named.clone(),
            allowed: allowed.join(", "),
        };
        if !allowed
            .iter()
            .any(|algorithm| algorithm.eq_ignore_ascii_case(named))
        {
            return Err(refused());
        }
        let algorithm: Algorithm = named.parse().map_err(|_| refused())?;
        let family = Family::of(algorithm).ok_or_else(refused)?;
        for key in self.candidates(token, family)? {
            let signature = token.signature_part.as_ref();
            if let Ok(true) = jsonwebtoken::crypto::verify(
                signature,
                token.signed_part.as_bytes(),
                &key,
                algorithm,
            ) {
                return Ok(());
            }
        }
        Err(Unusable::Signature { key: self.setting })
    }

    fn candidates(&self, token: &CloudToken, family: Family) -> Result<Vec<DecodingKey>, Unusable> {
        let unusable = |error: jsonwebtoken::errors::Error| Unusable::Key {
            key: self.setting,
            reason: error.to_string(),
        };
        match &self.material {
            Material::Pem(pem) => {
                let key = match family {
                    Family::Rsa => DecodingKey::from_rsa_pem(pem.as_bytes()),
                    Family::Ec => DecodingKey::from_ec_pem(pem.as_bytes()),
                };
                Ok(vec![key.map_err(unusable)?])
            }
            Material::Jwks(set) => set
                .keys
                .iter()
                .filter(|jwk| match (&token.header.kid, &jwk.common.key_id) {
                    (Some(wanted), Some(found)) => wanted == found,
                    _ => true,
                })
                .filter(|jwk| match jwk.algorithm {
                    AlgorithmParameters::RSA(_) => family == Family::Rsa,
                    AlgorithmParameters::EllipticCurve(_) => family == Family::Ec,
                    _ => false,
                })
                .map(|jwk| DecodingKey::from_jwk(jwk).map_err(unusable))
                .collect(),
        }
    }
}

/// Kinds of public keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Rsa,
    Ec,
}

impl Family {
    fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Some(Self::Rsa),
            Algorithm::ES256 | Algorithm::ES384 => Some(Self::Ec),
            _ => None,
        }
    }
}

fn read(setting: &'static str, path: &Path) -> Result<String, Unusable> {
    let failed = |reason: String| Unusable::KeyFile {
        key: setting,
        path: path.to_owned(),
        reason,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if length > KEY_BYTES_MAX {
        return Err(failed(format!(
            "it has {length} bytes, at most {KEY_BYTES_MAX} are accepted"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::{IssueRequest, SigningKey, issue};
    use super::*;

    fn signed() -> (CloudToken, SigningKey) {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::load_or_create(folder.path()).expect("a key");
        let request = IssueRequest::new("org", vec!["env".to_owned()], 1_000, 3_600);
        (
            CloudToken::parse(&issue(&request, &key).expect("a token")).expect("a token"),
            key,
        )
    }

    #[test]
    fn a_signature_verifies_with_its_key_only() {
        let (token, key) = signed();
        let (_, other) = signed();
        let allowed = CloudVerification::default().algorithms;
        public_key(key.public_key_pem())
            .verify(&token, &allowed)
            .expect("verified");
        let error = public_key(other.public_key_pem())
            .verify(&token, &allowed)
            .expect_err("another key");
        assert_eq!(
            error,
            Unusable::Signature {
                key: "the given public key"
            }
        );
    }

    #[test]
    fn a_changed_claim_breaks_the_signature() {
        let (mut token, key) = signed();
        token.signed_part = token.signed_part.replace('.', "A.").into();
        let allowed = CloudVerification::default().algorithms;
        assert!(
            public_key(key.public_key_pem())
                .verify(&token, &allowed)
                .is_err()
        );
    }

    #[test]
    fn algorithms_outside_the_list_and_those_with_shared_secrets_are_refused() {
        let (mut token, key) = signed();
        let allow = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        for (named, allowed) in [
            ("none", allow(&["ES256"])),
            ("none", allow(&["none"])),
            ("HS256", allow(&["HS256"])),
        ] {
            named.clone_into(&mut token.header.alg);
            let error = public_key(key.public_key_pem())
                .verify(&token, &allowed)
                .expect_err("refused");
            assert!(matches!(error, Unusable::Algorithm { .. }), "{error}");
        }
        "ES256".clone_into(&mut token.header.alg);
        assert!(
            public_key(key.public_key_pem())
                .verify(&token, &allow(&["RS256"]))
                .is_err()
        );
    }

    #[test]
    fn a_key_file_that_is_missing_is_named() {
        let settings = CloudVerification {
            public_key_path: Some("/nonexistent/key.pem".into()),
            ..CloudVerification::default()
        };
        let error = VerificationKey::from_settings(&settings)
            .err()
            .expect("no file")
            .to_string();
        assert!(
            error.starts_with("the verification key file /nonexistent/key.pem"),
            "{error}"
        );
    }
}
