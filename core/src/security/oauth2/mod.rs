//! Access tokens that an authorization server knows (contract policies 5): the servers, and what they say about a token.

mod am;
mod cache;
mod generic;
mod payload;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use am::ENTRY as AM_ENTRY;
pub(crate) use cache::{CacheAnswer, TokenCache};
pub(crate) use generic::ENTRY as GENERIC_ENTRY;
pub use payload::Payload;
pub use server::AuthorizationServer;

/// What is known about a token.
#[derive(Debug, Clone)]
pub enum Introspection {
    /// The server accepts it.
    Accepted(std::sync::Arc<Payload>),
    /// The server does not accept it, and why; never told to the client.
    Rejected(Box<str>),
    /// The server could not be asked, or its answer makes no sense.
    Unavailable(Box<str>),
}

/// What was learned about one token from one resource, for the rest of the exchange.
#[derive(Debug)]
pub struct Introspected {
    pub(crate) resource: Box<str>,
    pub(crate) token: Secret,
    pub(crate) result: Introspection,
}

/// A text that never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(crate) Box<str>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
