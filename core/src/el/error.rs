//! Why an expression has no value.

use std::borrow::Cow;

/// The three kinds of the contract (section 7): callers treat them differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElErrorKind {
    /// The text is not an expression.
    Parse,
    /// A property, method, conversion or operand that does not fit, or a limit that was exceeded.
    Evaluation,
    /// A called method failed.
    Runtime,
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ElError {
    /// Kind of the error.
    pub kind: ElErrorKind,
    /// What was wrong, naming the part of the expression. Never holds request data longer than a few characters.
    pub message: Cow<'static, str>,
}

impl ElError {
    /// A parse error.
    pub fn parse(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: ElErrorKind::Parse,
            message: message.into(),
        }
    }

    /// An evaluation error.
    pub fn evaluation(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: ElErrorKind::Evaluation,
            message: message.into(),
        }
    }

    /// A runtime error.
    pub fn runtime(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: ElErrorKind::Runtime,
            message: message.into(),
        }
    }
}
