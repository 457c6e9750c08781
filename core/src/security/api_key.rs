//! Where an API key is found in a request, and what is taken out of the request afterwards (contract request-lifecycle 5.3,
//! 5.5).

use super::{ApiKeySettings, Credentials, Strip};
use crate::definition::{ApiKeyPlan, ApiKeySource};

const AUTHORIZATION: &str = "Authorization";

/// The key of a request as this plan looks for it; `None` when the request has none. An empty header is a key too, an
/// invalid one: only an absent header leads to the query parameter.
pub(crate) fn extract<'r>(
    plan: &ApiKeyPlan,
    settings: &ApiKeySettings,
    credentials: &'r impl Credentials,
) -> Option<&'r [u8]> {
    let parameter = || {
        settings
            .parameter
            .as_deref()
            .and_then(|name| credentials.parameter(name))
    };
    match plan.source {
        ApiKeySource::Header => header_of(plan, settings)
            .and_then(|name| credentials.header(name))
            .or_else(parameter),
        ApiKeySource::Bearer => credentials.bearer(),
        ApiKeySource::QueryParameter => parameter(),
    }
}

/// What is not forwarded once this plan was selected. The header and the parameter both go, wherever the key was found: the
/// other one may hold a second key.
pub(crate) fn strip<'a>(plan: &'a ApiKeyPlan, settings: &'a ApiKeySettings) -> Strip<'a> {
    if plan.propagate {
        return Strip::Nothing;
    }
    let parameter = settings.parameter.as_deref();
    match plan.source {
        ApiKeySource::Header => Strip::ApiKey {
            header: header_of(plan, settings),
            parameter,
        },
        ApiKeySource::Bearer => Strip::ApiKey {
            header: Some(AUTHORIZATION),
            parameter: None,
        },
        ApiKeySource::QueryParameter => Strip::ApiKey {
            header: None,
            parameter,
        },
    }
}

fn header_of<'a>(plan: &'a ApiKeyPlan, settings: &'a ApiKeySettings) -> Option<&'a str> {
    plan.header.as_deref().or(settings.header.as_deref())
}

/// The token of an `Authorization` value of the scheme `Bearer` (any case), without the white space around it. As in the
/// reference everything after the word counts, even without a space: such a value is an attempt to authenticate, and must
/// not pass for none.
pub fn bearer_token(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("Bearer".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer")
        .then(|| token.trim_ascii())
}

/// Nothing but white space, as Java's `isBlank` sees it in ASCII.
pub(super) fn is_blank(key: &[u8]) -> bool {
    key.iter()
        .all(|byte| matches!(byte, b'\t'..=b'\r' | 0x1c..=0x1f | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case_and_the_token_is_trimmed() {
        for (value, token) in [
            (&b"Bearer abc"[..], Some(&b"abc"[..])),
            (b"bEARER   abc ", Some(b"abc")),
            (b"Bearer", Some(b"")),
            (b"Bearerabc", Some(b"abc")),
            (b"Basic abc", None),
            (b"Bear", None),
            (b"", None),
        ] {
            assert_eq!(bearer_token(value), token, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn blank_is_white_space_only() {
        for blank in [&b""[..], b" ", b"\t \x0b\x1c"] {
            assert!(is_blank(blank), "{}", blank.escape_ascii());
        }
        for key in [&b" a"[..], b"\0", b"\xa0"] {
            assert!(!is_blank(key), "{}", key.escape_ascii());
        }
    }
}
