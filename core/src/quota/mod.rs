//! Counting against limits (contract policies 6): what is counted, and what the counters say.

/// One count against a fixed window, as the shared store keeps it (contract policies 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountRequest {
    /// Key of the counter, without the store's prefix `ratelimit:`.
    pub key: Box<str>,
    /// How much to count, normally 1.
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
    /// The store did not answer in time, milliseconds.
    #[error("Operation on Redis took more than {0}ms")]
    Timeout(u64),
    /// The store answered with an error.
    #[error("{0}")]
    Store(Box<str>),
}
