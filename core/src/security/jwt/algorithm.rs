//! Algorithms and keys. A key belongs to one algorithm from the moment it is built, and the algorithm comes from the configuration:
//! nothing that a token says can make an RSA key serve as an HMAC secret.

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters,
};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::security::certificate::{self, Pem};

/// Secrets of fewer bytes are refused, as in the reference.
const SECRET_BYTES_MIN: usize = 32;

/// Standard alphabet, padding as one likes, as Java's basic decoder reads it.
pub(crate) const BASE64_LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A signature algorithm, as configurations name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub(crate) enum Algorithm {
    #[serde(rename = "RSA_RS256")]
    Rs256,
    #[serde(rename = "RSA_RS384")]
    Rs384,
    #[serde(rename = "RSA_RS512")]
    Rs512,
    #[serde(rename = "HMAC_HS256")]
    Hs256,
    #[serde(rename = "HMAC_HS384")]
    Hs384,
    #[serde(rename = "HMAC_HS512")]
    Hs512,
}

/// Which key material an algorithm works with.
pub(crate) enum Family {
    Rsa(&'static RsaParameters),
    Hmac(hmac::Algorithm),
}

impl Algorithm {
    pub(crate) const RSA: [Self; 3] = [Self::Rs256, Self::Rs384, Self::Rs512];
    pub(crate) const HMAC: [Self; 3] = [Self::Hs256, Self::Hs384, Self::Hs512];

    /// The value of the header member `alg`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::Rs256 => Family::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Family::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Family::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Self::Hs256 => Family::Hmac(hmac::HMAC_SHA256),
            Self::Hs384 => Family::Hmac(hmac::HMAC_SHA384),
            Self::Hs512 => Family::Hmac(hmac::HMAC_SHA512),
        }
    }
}

/// A key of one algorithm.
#[derive(Clone)]
pub(crate) struct Key {
    algorithm: Algorithm,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Rsa(ParsedPublicKey),
    Hmac(Box<hmac::Key>),
}

/// Secrets never show.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.algorithm).finish()
    }
}

impl Key {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` over `message` was made with this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa(key) => key.verify_sig(message, signature).is_ok(),
            Material::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }

    /// A key of `algorithm` from what an operator configured as text (contract policies 4.4). `bare` also takes a public key in base64
    /// without armour, as the old engine does.
    pub(crate) fn from_text(algorithm: Algorithm, text: &str, bare: bool) -> Result<Self, String> {
        match algorithm.family() {
            Family::Hmac(_) => {
                let secret = BASE64_LENIENT
                    .decode(text)
                    .unwrap_or_else(|_| text.as_bytes().to_vec());
                Self::from_secret(algorithm, &secret)
            }
            Family::Rsa(parameters) => {
                let text = text.trim();
                if text.starts_with("ssh-rsa") {
                    let (exponent, modulus) = ssh_rsa(text).ok_or("not an ssh-rsa public key")?;
                    return Self::from_components(algorithm, &modulus, &exponent);
                }
                let der = match certificate::pem(text) {
                    Some(Pem {
                        label: "CERTIFICATE",
                        der,
                    }) => certificate::public_key(&der).ok_or("the certificate cannot be read")?,
                    Some(Pem {
                        label: "PUBLIC KEY" | "RSA PUBLIC KEY",
                        der,
                    }) => der,
                    Some(_) => return Err("the PEM text holds no public key".to_owned()),
                    None if bare => BASE64_LENIENT
                        .decode(text)
                        .map_err(|_| "neither PEM nor base64")?,
                    None => return Err("not PEM".to_owned()),
                };
                let key = ParsedPublicKey::new(parameters, der)
                    .map_err(|_| "not an RSA public key".to_owned())?;
                Ok(Self {
                    algorithm,
                    material: Material::Rsa(key),
                })
            }
        }
    }

    /// An HMAC key.
    pub(crate) fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, String> {
        let Family::Hmac(parameters) = algorithm.family() else {
            return Err("a secret is no RSA key".to_owned());
        };
        if secret.len() < SECRET_BYTES_MIN {
            return Err("the secret is shorter than 256 bits".to_owned());
        }
        if secret.iter().all(|byte| *byte == 0) {
            return Err("the secret is all zeros".to_owned());
        }
        Ok(Self {
            algorithm,
            material: Material::Hmac(Box::new(hmac::Key::new(parameters, secret))),
        })
    }

    /// An RSA key from modulus and exponent, big endian.
    pub(crate) fn from_components(
        algorithm: Algorithm,
        modulus: &[u8],
        exponent: &[u8],
    ) -> Result<Self, String> {
        let Family::Rsa(parameters) = algorithm.family() else {
            return Err("an RSA key is no secret".to_owned());
        };
        let trimmed = |bytes: &[u8]| -> Vec<u8> {
            bytes
                .iter()
                .copied()
                .skip_while(|byte| *byte == 0)
                .collect()
        };
        let components: PublicKeyComponents<Vec<u8>> = PublicKeyComponents {
            n: trimmed(modulus),
            e: trimmed(exponent),
        };
        let key = components
            .to_parsed_public_key(parameters)
            .map_err(|_| "not an RSA public key".to_owned())?;
        Ok(Self {
            algorithm,
            material: Material::Rsa(key),
        })
    }
}

/// Exponent and modulus of an OpenSSH public key.
fn ssh_rsa(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let blob = BASE64_LENIENT
        .decode(text.split_ascii_whitespace().nth(1)?)
        .ok()?;
    let mut rest = blob.as_slice();
    let mut next = || -> Option<Vec<u8>> {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (value, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = tail;
        Some(value.to_vec())
    };
    let (kind, exponent, modulus) = (next()?, next()?, next()?);
    (kind == b"ssh-rsa").then_some((exponent, modulus))
}
