//! A JSON web token, taken apart. Taking it apart proves nothing: [`super::verify`] does.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::json::{self, Json, Object};
use crate::el::{Lookup, Value};

/// Bytes of a token at most. Header limits of the listeners are below it; a query parameter may be longer.
pub(crate) const TOKEN_BYTES_MAX: usize = 64 * 1_024;

/// Seconds that clocks may differ by.
pub(crate) const SKEW_SECONDS: i64 = 60;

/// A token that could be read: three parts, of which the first two are JSON objects. Nothing in it is trusted.
pub struct Token {
    raw: Box<str>,
    /// Where the signature begins in `raw`: behind the second dot.
    signature_start: usize,
    pub(crate) header: Object,
    pub(crate) claims: Object,
}

/// The token itself is a secret.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

impl Token {
    /// Takes a token apart; the error says why it cannot be.
    pub(crate) fn parse(raw: &str) -> Result<Self, Cow<'static, str>> {
        if raw.len() > TOKEN_BYTES_MAX {
            return Err("the token is too long".into());
        }
        let mut parts = raw.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("the token does not have three parts".into());
        };
        Ok(Self {
            header: part(header).map_err(|error| format!("the token's header: {error}"))?,
            claims: part(claims).map_err(|error| format!("the token's claims: {error}"))?,
            signature_start: raw.len() - signature.len(),
            raw: raw.into(),
        })
    }

    /// The token as it was presented.
    pub(crate) fn raw(&self) -> &str {
        &self.raw
    }

    /// The bytes that are signed.
    pub(crate) fn signed(&self) -> &[u8] {
        &self.raw.as_bytes()[..self.signature_start.saturating_sub(1)]
    }

    /// The signature; `None` when it is empty or not in canonical base64.
    pub(crate) fn signature(&self) -> Option<Vec<u8>> {
        let text = &self.raw[self.signature_start..];
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .filter(|signature| !signature.is_empty())
    }

    /// A member of the header, as text.
    pub(crate) fn header_text(&self, name: &str) -> Option<&str> {
        json::member(&self.header, name).and_then(Json::as_text)
    }

    /// A claim.
    pub(crate) fn claim(&self, name: &str) -> Option<&Json> {
        json::member(&self.claims, name)
    }

    /// A claim as text.
    pub(crate) fn claim_text(&self, name: &str) -> Option<&str> {
        self.claim(name).and_then(Json::as_text)
    }

    /// `exp` in Unix seconds, when it is there and a number.
    pub(crate) fn expires_at(&self) -> Option<i64> {
        self.claim("exp").and_then(seconds)
    }

    /// The client that the token was issued for (contract policies 4.3): the configured claim and nothing else, or the usual ones.
    pub(crate) fn client_id(&self, configured: Option<&str>) -> Option<&str> {
        if let Some(path) = configured {
            return json::at_path(&self.claims, path).and_then(first_text);
        }
        let named = |name| {
            self.claim(name)
                .and_then(first_text)
                .filter(|id| !id.is_empty())
        };
        self.claim_text("azp")
            .filter(|id| !id.is_empty())
            .or_else(|| named("aud"))
            .or_else(|| self.claim_text("client_id"))
    }

    /// The user: the configured claim, or the subject.
    pub(crate) fn user(&self, claim: &str) -> Option<Cow<'_, str>> {
        match json::at_path(&self.claims, claim)? {
            Json::Null | Json::List(_) | Json::Object(_) => None,
            Json::Text(text) => Some(Cow::Borrowed(text)),
            Json::Bool(flag) => Some(flag.to_string().into()),
            Json::Long(number) => Some(number.to_string().into()),
            Json::Double(number) => Some(number.to_string().into()),
        }
    }

    /// Scopes: `scope` as text divided at white space or a list, else `scp`.
    pub(crate) fn has_scopes(&self, required: &[Box<str>], strict: bool) -> bool {
        let claim = ["scope", "scp"]
            .into_iter()
            .find_map(|name| self.claim(name).filter(|value| !value.is_null()));
        let has = |scope: &str| match claim {
            Some(Json::Text(text)) => text.split_whitespace().any(|own| own == scope),
            Some(Json::List(items)) => items.iter().any(|own| own.as_text() == Some(scope)),
            _ => false,
        };
        if required.is_empty() {
            return true;
        }
        if strict {
            required.iter().all(|scope| has(scope))
        } else {
            required.iter().any(|scope| has(scope))
        }
    }

    /// Whether the registered claims have the types that they must have, and the token is valid now (Unix milliseconds).
    pub(crate) fn check_claims(&self, now_ms: u64) -> Result<(), &'static str> {
        for name in ["iss", "sub", "jti"] {
            if self
                .claim(name)
                .is_some_and(|value| !matches!(value, Json::Text(_) | Json::Null))
            {
                return Err("a claim that must be text is none");
            }
        }
        let now = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
        for name in ["exp", "nbf", "iat"] {
            let Some(claim) = self.claim(name) else {
                continue;
            };
            let at = seconds(claim).ok_or("a claim that must be a time is none")?;
            match name {
                "exp" if at <= now.saturating_sub(SKEW_SECONDS) => return Err("Expired JWT"),
                "nbf" if at >= now.saturating_add(SKEW_SECONDS) => {
                    return Err("JWT before use time");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The attribute `jwt`: `token`, `headers`, `claims`.
impl Lookup for Token {
    fn get(&self, key: &str) -> Value<'_> {
        match key {
            "token" => Value::text(&self.raw),
            "headers" => Value::Lookup(&self.header),
            "claims" => Value::Lookup(&self.claims),
            _ => Value::Null,
        }
    }

    fn contains_key(&self, key: &str) -> bool {
        matches!(key, "token" | "headers" | "claims")
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        ["token", "headers", "claims"].map(Cow::Borrowed).into()
    }
}

fn part(text: &str) -> Result<Object, String> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| "not canonical base64url".to_owned())?;
    json::object(&bytes)
}

/// A time in Unix seconds: a number, whose fraction is cut off.
fn seconds(value: &Json) -> Option<i64> {
    match value {
        Json::Long(seconds) => Some(*seconds),
        Json::Double(seconds) if seconds.is_finite() && seconds.abs() < 1e15 => {
            Some(*seconds as i64)
        }
        _ => None,
    }
}

/// The text, or the first element of a list.
fn first_text(value: &Json) -> Option<&str> {
    match value {
        Json::Text(text) => Some(text),
        Json::List(items) => items.first().and_then(Json::as_text),
        _ => None,
    }
}
