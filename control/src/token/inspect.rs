//! A token in words, for people. The signature part is never shown.

use std::fmt;

use serde_json::Value;
use turnpike_config::CloudVerification;

use super::claims::{CloudToken, TokenState, decode_json, split};
use super::error::TokenError;
use super::verify::public_key;

/// What is known about a token's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureCheck {
    /// It matches the given key.
    Verified,
    /// No key was given.
    NotChecked,
    /// It does not match, for this reason.
    Invalid(String),
}

/// A token, printable.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Header as it is in the token.
    pub header: Value,
    /// Claims as they are in the token.
    pub claims: Value,
    /// Where it stands in its life.
    pub state: TokenState,
    /// Expiry in words.
    pub expiry: String,
    /// Result of the signature check.
    pub signature: SignatureCheck,
    /// Why a gateway with default settings would refuse it; empty when it would not.
    pub problems: Vec<String>,
}

/// Reads a token at `now_s` (Unix seconds), verifying its signature when a public key PEM is given.
pub fn inspect(
    text: &str,
    public_key_pem: Option<&str>,
    now_s: i64,
) -> Result<Inspection, TokenError> {
    let parts = split(text)?;
    let header: Value = decode_json(parts.header, "header")?;
    let claims: Value = decode_json(parts.payload, "payload")?;
    let mut problems = Vec::new();
    let mut state = TokenState::Valid;
    let mut expiry = "unknown".to_owned();
    let mut signature = SignatureCheck::NotChecked;
    match CloudToken::parse(text) {
        Err(reason) => problems.push(reason.to_string()),
        Ok(token) => {
            let expected = CloudVerification::default();
            if let Err(reason) = token.check(&expected) {
                problems.push(reason.to_string());
            }
            state = token.claims.state(now_s);
            expiry = token
                .claims
                .exp
                .map_or_else(|| "never".to_owned(), |exp| expiry_in_words(exp, now_s));
            if let Some(pem) = public_key_pem {
                signature = match public_key(pem).verify(&token, &expected.algorithms) {
                    Ok(()) => SignatureCheck::Verified,
                    Err(reason) => SignatureCheck::Invalid(reason.to_string()),
                };
            }
        }
    }
    Ok(Inspection {
        header,
        claims,
        state,
        expiry,
        signature,
        problems,
    })
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "header:    {:#}", self.header)?;
        writeln!(f, "claims:    {:#}", self.claims)?;
        writeln!(f, "state:     {}", self.state.as_str())?;
        writeln!(f, "expires:   {}", self.expiry)?;
        match &self.signature {
            SignatureCheck::Verified => writeln!(f, "signature: verified")?,
            SignatureCheck::NotChecked => {
                writeln!(f, "signature: not checked (no public key was given)")?
            }
            SignatureCheck::Invalid(reason) => writeln!(f, "signature: INVALID: {reason}")?,
        }
        for problem in &self.problems {
            writeln!(f, "problem:   {problem}")?;
        }
        Ok(())
    }
}

/// `in 3 days and 4 hours (2026-01-02T03:04:05Z)`, or the same with `ago`.
fn expiry_in_words(exp: i64, now_s: i64) -> String {
    let distance = exp.abs_diff(now_s);
    let (days, hours, minutes) = (
        distance / 86_400,
        distance % 86_400 / 3_600,
        distance % 3_600 / 60,
    );
    let count =
        |number: u64, unit: &str| format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
    let words = match (days, hours, minutes) {
        (0, 0, 0) => count(distance, "second"),
        (0, 0, minutes) => count(minutes, "minute"),
        (0, hours, minutes) => format!("{} and {}", count(hours, "hour"), count(minutes, "minute")),
        (days, hours, _) => format!("{} and {}", count(days, "day"), count(hours, "hour")),
    };
    let date = jiff::Timestamp::from_second(exp)
        .map_or_else(|_| format!("{exp} s"), |date| date.to_string());
    if exp >= now_s {
        format!("in {words} ({date})")
    } else {
        format!("{words} ago ({date})")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{IssueRequest, SigningKey, issue};
    use super::*;

    #[test]
    fn a_token_is_shown_with_its_expiry_and_without_its_signature() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SigningKey::load_or_create(folder.path()).expect("a key");
        let request = IssueRequest::new("acme", vec!["dev".to_owned()], 1_000_000, 90_000);
        let text = issue(&request, &key).expect("a token");
        let shown = inspect(&text, Some(key.public_key_pem()), 1_000_000).expect("a token");
        assert_eq!(shown.signature, SignatureCheck::Verified);
        assert_eq!(shown.expiry, "in 1 day and 1 hour (1970-01-13T14:46:40Z)");
        assert_eq!(shown.problems, Vec::<String>::new());
        let printed = shown.to_string();
        assert!(printed.contains("\"org\": \"acme\""), "{printed}");
        assert!(!printed.contains(text.rsplit('.').next().expect("a signature")));
    }

    #[test]
    fn an_expired_token_of_another_key_says_so() {
        let (folder, other) = (
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        );
        let key = SigningKey::load_or_create(folder.path()).expect("a key");
        let other = SigningKey::load_or_create(other.path()).expect("a key");
        let text = issue(
            &IssueRequest::new("acme", vec!["dev".to_owned()], 0, 10),
            &key,
        )
        .expect("a token");
        let shown = inspect(&text, Some(other.public_key_pem()), 200).expect("a token");
        assert_eq!(shown.state, TokenState::Expired);
        assert_eq!(shown.expiry, "3 minutes ago (1970-01-01T00:00:10Z)");
        assert!(matches!(shown.signature, SignatureCheck::Invalid(_)));
    }
}
