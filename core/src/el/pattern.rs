//! Regular expressions in expressions: each search is paid for from the budget of the evaluation.

use super::ElError;
use super::limits::Budget;
use crate::java_regex::{BadReplacement, Bounds, Extent, Found, JavaRegex, TooHard};

/// What one search with backtracking costs of the budget of an evaluation, besides one step for each byte of the text.
const BACKTRACKING_STEPS: u64 = 1_000;
/// Steps that compiling a pattern costs.
pub(super) const COMPILE_STEPS: u64 = 500;

/// A compiled pattern, for whole texts or for parts of them.
#[derive(Debug)]
pub(super) struct Pattern(JavaRegex);

impl From<TooHard> for ElError {
    fn from(_: TooHard) -> Self {
        Self::evaluation("a regular expression takes too many steps")
    }
}

impl From<BadReplacement> for ElError {
    fn from(bad: BadReplacement) -> Self {
        Self::runtime(bad.to_string())
    }
}

impl Pattern {
    /// Compiles a pattern; `Err` tells what is wrong with it.
    pub(super) fn new(pattern: &str, extent: Extent) -> Result<Self, &'static str> {
        JavaRegex::new(pattern, extent, &Bounds::EXPRESSION_LANGUAGE)
            .map(Self)
            .map_err(|bad| bad.summary())
    }

    fn pay_for_search(&self, text: &str, budget: &mut Budget<'_>) -> Result<(), ElError> {
        if self.0.backtracks() {
            budget.spend(BACKTRACKING_STEPS + text.len() as u64)?;
        }
        Ok(())
    }

    /// Whether the text matches.
    pub(super) fn matches(&self, text: &str, budget: &mut Budget<'_>) -> Result<bool, ElError> {
        budget.walk(text.len())?;
        self.pay_for_search(text, budget)?;
        Ok(self.0.is_match(text)?)
    }

    /// Every match from the beginning on, up to `limit`, without overlaps.
    pub(super) fn find_all(
        &self,
        text: &str,
        limit: usize,
        budget: &mut Budget<'_>,
    ) -> Result<Vec<Found>, ElError> {
        budget.walk(text.len())?;
        let mut matches = self.0.find_all(text);
        let mut all = Vec::new();
        while all.len() < limit {
            budget.spend(1)?;
            self.pay_for_search(text, budget)?;
            match matches.next().transpose()? {
                Some(found) => all.push(found),
                None => break,
            }
        }
        Ok(all)
    }

    /// Replaces up to `limit` matches; `$1`, `${name}` and `\` mean what they mean in Java.
    pub(super) fn replace(
        &self,
        text: &str,
        replacement: &str,
        limit: usize,
        budget: &mut Budget<'_>,
    ) -> Result<String, ElError> {
        let mut result = String::new();
        let mut copied = 0;
        for found in self.find_all(text, limit, budget)? {
            let (start, end) = found.whole;
            result.push_str(&text[copied..start]);
            let before = result.len();
            self.0.expand(text, &found, replacement, &mut result)?;
            budget.take(result.len() - before)?;
            copied = end;
        }
        result.push_str(&text[copied..]);
        budget.take(text.len())?;
        Ok(result)
    }
}
