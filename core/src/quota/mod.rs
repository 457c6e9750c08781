//! Counting against limits (contract policies 6): what is counted, under which key and for how long, and where the counters are.
//!
//! # The nouns
//! - [`Quotas`]: every counter that this process keeps itself, lent to the policies, and the way to those it does not keep;
//! - [`Hit`]: one request that is counted; [`Counted`]: what came of it, at once or after an errand;
//! - [`CounterKey`]: whose counter it is; [`Period`]: when its window ends; [`Slice`]: the small windows of `spike-arrest`.

mod bucket;
mod key;
mod lease;
mod ledger;
mod period;
mod slice;
mod stats;
mod table;

pub use key::{CounterKey, java_hash};
pub use lease::{GiveBack, Grant, LeaseSettings};
pub use ledger::{Counted, Hit, QuotaSettings, Quotas, Store, TokenHit, TokensCounted};
pub use period::{CHRONO_UNITS, Period, PeriodUnit, TIME_UNITS};
pub use slice::Slice;
pub use stats::QuotaStats;

/// One count against a fixed window, as the shared store keeps it (contract policies 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountRequest {
    /// Key of the counter, without the store's prefix `ratelimit:`.
    pub key: Box<str>,
    /// How much to count, normally 1. With leases, 0 counts nothing and only refills what this process holds.
    pub weight: u64,
    /// Limit that is stored beside a new counter; the decision is made with the configured one.
    pub limit: i64,
    /// End of the window if this count opens it, Unix milliseconds.
    pub reset_at_ms: u64,
    /// Subscription that is stored beside a new counter; may be empty.
    pub subscription: Box<str>,
}

/// A counter after a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Counted in this window, this count included.
    pub counter: i64,
    /// End of the window, Unix milliseconds.
    pub reset_at_ms: u64,
}

/// One take from a token bucket (contract policies 6.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBucketRequest {
    /// Key of the bucket, without the store's prefix `tokenbucket:`.
    pub key: Box<str>,
    /// Tokens to take, normally 1.
    pub tokens: u64,
    /// Tokens that a full bucket holds.
    pub capacity: u64,
    /// Tokens added per period.
    pub refill: u64,
    /// Period, milliseconds.
    pub period_ms: u64,
    /// The time, Unix milliseconds.
    pub now_ms: u64,
    /// Subscription that is stored beside a new bucket; may be empty.
    pub subscription: Box<str>,
}

/// A bucket after a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// Whether the tokens were taken.
    pub allowed: bool,
    /// Tokens left.
    pub left: u64,
}

/// Why a counter could not be asked: the policy's error strategy decides what follows (contract policies 6.5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// `ratelimit.type` is `none`.
    #[error("no store for counters is configured (ratelimit.type: none)")]
    NoStore,
    /// There is no connection to the store.
    #[error("Connection to Redis not available")]
    NotConnected,
    /// The store has not answered several times in a row: it is not asked until it answers a probe.
    #[error("Redis does not answer: it is not asked until it answers a probe")]
    Suspended,
    /// The store did not answer in time, milliseconds.
    #[error("Operation on Redis took more than {0}ms")]
    Timeout(u64),
    /// The store answered with an error.
    #[error("{0}")]
    Store(Box<str>),
    /// This process keeps as many counters as it may (`ratelimit.maxKeys`).
    #[error("too many counters are kept in this process (ratelimit.maxKeys)")]
    TooManyKeys,
}
