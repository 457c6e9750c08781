//! Failures that the gateway answers itself: their keys, status and rendering (contract request-lifecycle 7).

mod key;
mod render;

use std::borrow::Cow;

pub use key::{ErrorKey, FailureKey};
pub use render::{Rendered, render};

use crate::el::Value;

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
#[derive(Debug, Clone)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// Error key, reported and used for response templates; some failures have none.
    pub key: Option<FailureKey>,
    /// Text sent to the client; `None` sends an empty body and no `Content-Type`.
    pub message: Option<Cow<'static, str>>,
    /// Parameters that a response template may read.
    pub parameters: Vec<(Cow<'static, str>, Value<'static>)>,
    /// The message is JSON already: it is sent as it is to a client that accepts JSON.
    pub is_json: bool,
    /// What happened, for the report and the log; never sent to the client.
    pub cause: Option<Box<str>>,
}

impl Failure {
    /// The failure of `key` with its own status and message.
    pub fn of(key: ErrorKey) -> Self {
        Self {
            status: key.status(),
            key: Some(FailureKey::Gateway(key)),
            message: key.message().map(Cow::Borrowed),
            parameters: Vec::new(),
            is_json: false,
            cause: None,
        }
    }

    /// A failure without key and message.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            key: None,
            message: None,
            parameters: Vec::new(),
            is_json: false,
            cause: None,
        }
    }

    /// A failure of a policy.
    pub fn policy(
        status: u16,
        key: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            key: Some(FailureKey::Policy(key.into())),
            message: Some(message.into()),
            ..Self::status(status)
        }
    }

    /// The failure of an unexpected error in a phase: 500 `Internal Server Error`, no key.
    pub fn internal() -> Self {
        Self {
            message: Some(Cow::Borrowed("Internal Server Error")),
            ..Self::status(500)
        }
    }

    /// The same failure with a message for the client.
    pub fn saying(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// The same failure with a parameter for response templates.
    pub fn with(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Value<'static>>,
    ) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// The text of the key, empty when there is none.
    pub fn key_str(&self) -> &str {
        self.key.as_ref().map_or("", FailureKey::as_str)
    }

    /// The same failure with a cause for the operator.
    pub fn because(mut self, cause: impl Into<Box<str>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}
