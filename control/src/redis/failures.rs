//! Failures that repeat are logged sparingly (contract policies 6.6).

use std::sync::atomic::{AtomicU64, Ordering};

/// The first failures are all logged …
const ALL: u64 = 10;
/// … later ones every so often.
const EVERY: u64 = 10_000;

/// Failures of one kind.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: AtomicU64,
}

impl Failures {
    /// Counts one; the number when it is to be logged.
    pub(super) fn note(&self) -> Option<u64> {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        (number <= ALL || number.is_multiple_of(EVERY)).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_and_every_ten_thousandth_are_logged() {
        let failures = Failures::default();
        let logged: Vec<u64> = (0..30_000).filter_map(|_| failures.note()).collect();
        assert_eq!(logged[..10], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(logged[10..], [10_000, 20_000, 30_000]);
    }
}
