//! Key sets that an authorization server publishes (contract policies 4.4).

use std::any::Any;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::algorithm::{Algorithm, Key};
use crate::need::HttpReply;

/// Bytes of a key set at most.
pub(crate) const BODY_BYTES_MAX: usize = 5_242_880;
/// Age from which a key set is refreshed unless the settings say otherwise, milliseconds.
pub(crate) const AGE_MAX_MS: u64 = 300_000;
/// Keys of a set that are looked at.
const KEYS_MAX: usize = 1_000;
/// Characters of an encoded modulus at most: twice what 8 192 bits need.
const MODULUS_CHARACTERS_MAX: usize = 4_096;

/// A key set, ready to verify with.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Box<[(Option<Box<str>>, Key)]>,
}

impl KeySet {
    /// Keys of `algorithm`; those called `kid` when the token names one.
    pub(crate) fn candidates<'s>(
        &'s self,
        algorithm: Algorithm,
        kid: Option<&'s str>,
    ) -> impl Iterator<Item = &'s Key> {
        self.keys
            .iter()
            .filter(move |(own, key)| {
                key.algorithm() == algorithm && kid.is_none_or(|kid| own.as_deref() == Some(kid))
            })
            .map(|(_, key)| key)
    }
}

/// What a [`crate::need::SharedDocument`] keeps of a key set.
pub(crate) fn parse(reply: &HttpReply) -> Result<Arc<dyn Any + Send + Sync>, String> {
    if !(200..300).contains(&reply.status) {
        return Err(format!("the key set's server answered {}", reply.status));
    }
    let document: Value =
        serde_json::from_slice(&reply.body).map_err(|error| format!("the key set: {error}"))?;
    let keys = document
        .get("keys")
        .and_then(Value::as_array)
        .ok_or("the key set has no `keys`")?;
    let keys: Vec<_> = keys.iter().take(KEYS_MAX).flat_map(read).collect();
    Ok(Arc::new(KeySet { keys: keys.into() }))
}

/// The key, once per algorithm that it may be used with. A key that cannot be used is passed over.
fn read(jwk: &Value) -> Vec<(Option<Box<str>>, Key)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return Vec::new();
    }
    let decoded = |name: &str| {
        text(name)
            .filter(|value| value.len() <= MODULUS_CHARACTERS_MAX)
            .and_then(|value| URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).ok())
    };
    let algorithms = match text("kty") {
        Some("RSA") => Algorithm::RSA,
        Some("oct") => Algorithm::HMAC,
        _ => return Vec::new(),
    };
    algorithms
        .into_iter()
        .filter(|algorithm| text("alg").is_none_or(|alg| alg == algorithm.name()))
        .filter_map(|algorithm| {
            let key = if text("kty") == Some("RSA") {
                Key::from_components(algorithm, &decoded("n")?, &decoded("e")?)
            } else {
                Key::from_secret(algorithm, &decoded("k")?)
            };
            Some((text("kid").map(Into::into), key.ok()?))
        })
        .collect()
}
