//! The Cloud Token: what it says, whether it is usable, and which settings follow from it (contract sync 1).
//!
//! - [`CloudToken`]: a parsed token, [`CloudToken::check`]ed against `cloud.verification.*`;
//! - [`derive()`]: one [`ControlPlaneSettings`] for the bridge client, the synchronizer and the reporter;
//! - [`issue`], [`SigningKey`], [`inspect`]: what the local Cloud Gate and the command line need.
//!
//! A token is a credential: neither it nor its signature part is ever logged; `jti`, `org` and `cpg` may be.

mod claims;
mod derive;
mod error;
mod inspect;
mod issue;
mod verify;

pub use claims::{Claims, CloudToken, TOKEN_BYTES_MAX, TokenState};
pub use derive::{BridgePath, ControlPlaneSettings, TokenFacts, derive};
pub use error::{TokenError, Unusable};
pub use inspect::{Inspection, SignatureCheck, inspect};
pub use issue::{IssueRequest, KeyError, SigningKey, issue};
pub use verify::{VerificationKey, public_key};
