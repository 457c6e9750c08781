//! Failures that the gateway answers itself: their keys, status and rendering (contract request-lifecycle 7).

mod key;
mod render;

pub use key::ErrorKey;
pub use render::{Rendered, render};

/// Who failed. Decides what an operator looks at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The client's request was at fault, or the client went away.
    Client,
    /// The backend failed.
    Upstream,
    /// The gateway itself.
    Gateway,
}

/// An answer that the gateway makes instead of the backend (`ExecutionFailure`, contract request-lifecycle 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// Error key, reported and used for response templates; some failures have none.
    pub key: Option<ErrorKey>,
    /// Text sent to the client; `None` sends an empty body and no `Content-Type`.
    pub message: Option<&'static str>,
    /// What happened, for the report and the log; never sent to the client.
    pub cause: Option<Box<str>>,
}

impl Failure {
    /// The failure of `key` with its own status and message.
    pub fn of(key: ErrorKey) -> Self {
        Self {
            status: key.status(),
            key: Some(key),
            message: key.message(),
            cause: None,
        }
    }

    /// The same failure with a cause for the operator.
    pub fn because(mut self, cause: impl Into<Box<str>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}
