//! JSON web tokens: reading, keys, verification (contract policies 4).
//!
//! The algorithm is configured, never taken from the token; a key is built for one algorithm. Header members that name or bring keys
//! (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.

pub(crate) mod algorithm;
pub(crate) mod json;
pub(crate) mod jwks;
pub(crate) mod keys;
pub(crate) mod revocation;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod token;
pub(crate) mod verified;

pub use token::Token;

use algorithm::Algorithm;
use json::Json;
use keys::Keys;

/// Values of `typ` that pass when the configuration says nothing about it.
const USUAL_TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// What the header member `typ` must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typ {
    /// Absent or one of the usual.
    Usual,
    /// As configured (`tokenTypValidation`).
    Expected {
        values: Box<[Box<str>]>,
        ignore_missing: bool,
        ignore_case: bool,
    },
}

impl Typ {
    fn accepts(&self, typ: Option<&str>) -> bool {
        match (self, typ) {
            (Self::Usual, None) => true,
            (Self::Usual, Some(typ)) => USUAL_TYPES
                .iter()
                .any(|usual| usual.eq_ignore_ascii_case(typ)),
            (Self::Expected { ignore_missing, .. }, None) => *ignore_missing,
            (
                Self::Expected {
                    values,
                    ignore_case,
                    ..
                },
                Some(typ),
            ) => values.iter().any(|value| {
                if *ignore_case {
                    value.eq_ignore_ascii_case(typ)
                } else {
                    **value == *typ
                }
            }),
        }
    }
}

/// The algorithm of a token, when it is one of those configured and its header asks for nothing else.
pub(crate) fn check_header(
    token: &Token,
    algorithms: &[Algorithm],
    typ: &Typ,
) -> Result<Algorithm, &'static str> {
    let named = token.header_text("alg").ok_or("the header has no `alg`")?;
    let algorithm = algorithms
        .iter()
        .copied()
        .find(|algorithm| algorithm.name() == named)
        .ok_or("Signed JWT rejected: Another algorithm expected, or no matching key(s) found")?;
    if json::member(&token.header, "crit").is_some() {
        return Err("the header has critical members that are unknown");
    }
    let text_or_absent = |name: &str| {
        matches!(
            json::member(&token.header, name),
            None | Some(Json::Text(_))
        )
    };
    if !text_or_absent("kid") || !text_or_absent("typ") {
        return Err("a header member that must be text is none");
    }
    if !typ.accepts(token.header_text("typ")) {
        return Err("the token's `typ` is not accepted");
    }
    Ok(algorithm)
}

/// Whether the token is what it says, and valid at `now_ms`.
pub(crate) fn verify(
    token: &Token,
    algorithms: &[Algorithm],
    typ: &Typ,
    keys: &Keys,
    now_ms: u64,
) -> Result<(), &'static str> {
    let algorithm = check_header(token, algorithms, typ)?;
    // Cheap checks come first: an outdated token costs no cryptography.
    token.check_claims(now_ms)?;
    if !keys.verify(algorithm, token) {
        return Err("Signed JWT rejected: Invalid signature");
    }
    Ok(())
}
