//! Bounds of one template and of one evaluation (contract expression-language 1, "Limits").

use std::sync::OnceLock;

use super::ElError;

/// What one expression may cost. Exceeding `expression_chars` or `depth` is a parse error, anything else an evaluation error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest expression, characters (UTF-16 units).
    pub expression_chars: usize,
    /// Longest pattern of the operator `matches`, characters.
    pub pattern_chars: usize,
    /// Longest result of `text * number`, characters.
    pub repeat_chars: usize,
    /// Longest result of one concatenation, characters.
    pub concat_chars: usize,
    /// Deepest nesting of expressions.
    pub depth: usize,
    /// Steps of one evaluation. A step is one node of the tree; what walks long texts or lists costs more.
    pub steps: u64,
    /// What one evaluation may build in all: bytes of text, 32 for each element.
    pub result_bytes: usize,
}

impl Limits {
    /// The limits of the contract, and our own.
    pub const DEFAULT: Self = Self {
        expression_chars: 10_000,
        pattern_chars: 1_000,
        repeat_chars: 256,
        concat_chars: 100_000,
        depth: 96,
        steps: 200_000,
        result_bytes: 16 * 1_024 * 1_024,
    };
}

/// What the process was told at its start.
static IN_FORCE: OnceLock<Limits> = OnceLock::new();

impl Limits {
    /// The limits of [`crate::el::Template::new`]: those of [`Limits::put_in_force`], else [`Limits::DEFAULT`].
    pub fn in_force() -> &'static Self {
        IN_FORCE.get().unwrap_or(&Self::DEFAULT)
    }

    /// Makes these the limits of the process, once and before anything is compiled. False when there are others already.
    pub fn put_in_force(self) -> bool {
        let put = IN_FORCE.set(self.clone()).is_ok();
        put || *Self::in_force() == self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is left of the limits of one evaluation.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    pub(super) limits: &'a Limits,
    steps: u64,
    bytes: usize,
}

impl<'a> Budget<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            steps: limits.steps,
            bytes: limits.result_bytes,
        }
    }

    /// Spends steps.
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), ElError> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(ElError::evaluation("the expression takes too many steps")),
        }
    }

    /// Spends the steps of walking over `bytes` bytes.
    pub(super) fn walk(&mut self, bytes: usize) -> Result<(), ElError> {
        self.spend(1 + bytes as u64 / 64)
    }

    /// Takes memory for a result, and the steps to fill it.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), ElError> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => self.bytes = left,
            None => {
                return Err(ElError::evaluation(
                    "the results of the expression are too large",
                ));
            }
        }
        self.walk(bytes)
    }

    /// Takes memory for `count` elements of a list or map.
    pub(super) fn take_items(&mut self, count: usize) -> Result<(), ElError> {
        self.take(count.saturating_mul(32))
    }
}
