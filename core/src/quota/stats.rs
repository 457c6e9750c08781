//! What operators want to know about limits.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of all limits of this process, written by workers and by the control thread.
#[derive(Debug, Default)]
pub struct QuotaStats {
    /// Requests refused because a limit was reached.
    pub refused: AtomicU64,
    /// Requests that a limit was not applied to, because the store failed and the step lets them pass.
    pub bypassed: AtomicU64,
    /// Requests refused because the store failed and the step blocks them.
    pub blocked: AtomicU64,
    /// Hits that the store could not count, for whatever reason; time-outs included.
    pub store_failures: AtomicU64,
    /// Hits that the store did not count in time.
    pub store_timeouts: AtomicU64,
    /// Hits that could not be counted in this process because `ratelimit.maxKeys` was reached.
    pub dropped_keys: AtomicU64,
    /// Unsent hits of the asynchronous mode that were lost because their window ended first.
    pub lost_hits: AtomicU64,
    /// Leased units that were neither used nor given back.
    pub lost_units: AtomicU64,
}

impl QuotaStats {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}
