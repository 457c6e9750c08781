//! Why a token, or the settings around it, cannot be used.

use std::path::PathBuf;

/// A start-up error of the control-plane settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token itself.
    #[error("cloud token is not usable: {0}")]
    Unusable(Unusable),
    /// A setting beside it.
    #[error("{setting}: {problem}\nhint: {hint}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What was expected and found.
        problem: String,
        /// What the operator can do.
        hint: &'static str,
    },
}

// Written by hand: the text holds the reason already, so it must not be named as the source once more.
impl From<Unusable> for TokenError {
    fn from(reason: Unusable) -> Self {
        Self::Unusable(reason)
    }
}

/// The reason in `cloud token is not usable: <reason>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Longer than [`super::TOKEN_BYTES_MAX`].
    #[error("it has {found} bytes, at most {max} are accepted")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes accepted.
        max: usize,
    },
    /// Not a compact JWS.
    #[error("expected three base64url parts separated by dots, found {found}")]
    Parts {
        /// Number of parts found.
        found: usize,
    },
    /// A part is not base64url.
    #[error("the {part} is not base64url")]
    Encoding {
        /// `header`, `payload` or `signature`.
        part: &'static str,
    },
    /// A part is not the JSON object it should be.
    #[error("the {part} cannot be read: {reason}")]
    Json {
        /// `header` or `payload`.
        part: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// A claim that must be there is absent or empty.
    #[error("claim `{0}` is missing or empty")]
    ClaimMissing(&'static str),
    /// A claim has another value than expected.
    #[error("claim `{claim}`: expected {expected}, found {found}")]
    Claim {
        /// Name of the claim.
        claim: &'static str,
        /// Expected value.
        expected: String,
        /// Found value.
        found: String,
    },
    /// The signature algorithm is not allowed.
    #[error(
        "signature algorithm {found:?} is not one of cloud.verification.algorithms ({allowed})"
    )]
    Algorithm {
        /// `alg` of the header.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// The signature does not match the configured key.
    #[error("its signature does not match the key in {key}")]
    Signature {
        /// Setting that gave the key.
        key: &'static str,
    },
    /// The verification key cannot be used.
    #[error("the verification key in {key} cannot be used: {reason}")]
    Key {
        /// Setting that gave the key.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// The verification key's file cannot be read.
    #[error("the verification key file {} of {key} cannot be read: {reason}", path.display())]
    KeyFile {
        /// Setting that named the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}
