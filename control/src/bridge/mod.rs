//! The HTTP bridge protocol of the control plane: its wire types and our client (contract sync 2 and 3).
//!
//! - [`wire`]: objects as they travel;
//! - [`BaseUrl`]: a checked base URL;
//! - [`http`]: the HTTP client of the control thread, also used by the reporter;
//! - [`BridgeClient`]: the protocol's calls and the handshake.

mod body;
mod client;
mod error;
#[cfg(test)]
pub(crate) mod fake;
pub mod http;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
mod url;
pub mod wire;

pub use client::{BridgeClient, Group, ServerVersion};
pub use error::{BridgeError, BridgeErrorKind};
pub use http::{HttpClient, HttpError};
pub use url::BaseUrl;
