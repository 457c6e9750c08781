//! The counters of this process, and the way to those it does not keep.
//!
//! | `ratelimit.type` | step not `async` | step `async` |
//! |---|---|---|
//! | `none` | store failure | counted here, for this process alone |
//! | `local` | counted here, exactly | the same |
//! | `redis` | one errand per hit, or a lease | counted here, reconciled in the background (contract policies 6.7) |
//!
//! A key has one counter per process, whichever worker serves the request.

use std::sync::atomic::Ordering;

use jiff::tz::TimeZone;

use super::bucket::Bucket;
use super::lease::{GiveBack, Grant, Lease, LeaseSettings};
use super::table::{Entry, SHARDS, Table};
use super::{CountError, CountRequest, QuotaStats, Rate, TokenBucketRequest, Tokens};

/// Where counters are kept (`ratelimit.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Store {
    /// Nowhere.
    #[default]
    None,
    /// In this process.
    Local,
    /// In a Redis that gateways share.
    Redis,
}

/// How this process counts.
#[derive(Debug, Clone)]
pub struct QuotaSettings {
    /// Where counters are kept.
    pub store: Store,
    /// Whether steps may count asynchronously (`services.ratelimit.enabled`); otherwise `async` steps count like the others.
    pub asynchronous: bool,
    /// Takes parts of a limit in advance; only with [`Store::Redis`].
    pub lease: Option<LeaseSettings>,
    /// Counters kept in this process at most.
    pub keys_max: usize,
    /// Time zone of days, months and years.
    pub zone: TimeZone,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self {
            store: Store::None,
            asynchronous: true,
            lease: None,
            keys_max: 200_000,
            zone: TimeZone::UTC,
        }
    }
}

/// One hit of a limit.
#[derive(Debug, Clone, Copy)]
pub struct Hit<'a> {
    /// Key of the counter.
    pub key: &'a str,
    /// Limit.
    pub limit: i64,
    /// End of the window if this hit opens it, Unix milliseconds.
    pub reset_at_ms: u64,
    /// Subscription; may be empty.
    pub subscription: &'a str,
    /// The step counts asynchronously.
    pub is_async: bool,
    /// The time, Unix milliseconds.
    pub now_ms: u64,
}

impl Hit<'_> {
    pub(super) fn request(&self, weight: u64) -> CountRequest {
        CountRequest {
            key: self.key.into(),
            weight,
            limit: self.limit,
            reset_at_ms: self.reset_at_ms,
            subscription: self.subscription.into(),
        }
    }
}

/// What came of a hit.
#[derive(Debug, PartialEq, Eq)]
pub enum Counted {
    /// It is decided.
    Now(Result<Rate, CountError>),
    /// It is decided, and this is to be sent off without waiting for its answer.
    NowAndSend(Rate, CountRequest),
    /// The store has to be asked.
    Ask(CountRequest),
}

/// One take from a token bucket.
#[derive(Debug, Clone, Copy)]
pub struct TokenHit<'a> {
    /// Key of the bucket.
    pub key: &'a str,
    /// Tokens that a full bucket holds.
    pub capacity: u64,
    /// Tokens added per period.
    pub refill: u64,
    /// Period, milliseconds.
    pub period_ms: u64,
    /// Subscription; may be empty.
    pub subscription: &'a str,
    /// The step counts asynchronously.
    pub is_async: bool,
    /// The time, Unix milliseconds.
    pub now_ms: u64,
}

impl TokenHit<'_> {
    pub(super) fn request(&self, tokens: u64) -> TokenBucketRequest {
        TokenBucketRequest {
            key: self.key.into(),
            tokens,
            capacity: self.capacity,
            refill: self.refill,
            period_ms: self.period_ms,
            now_ms: self.now_ms,
            subscription: self.subscription.into(),
        }
    }
}

/// What came of a take.
#[derive(Debug, PartialEq, Eq)]
pub enum TokensCounted {
    /// It is decided.
    Now(Result<Tokens, CountError>),
    /// The store has to be asked.
    Ask(TokenBucketRequest),
}

/// A fixed window that is counted here.
#[derive(Debug)]
struct Window {
    /// Hits in this window as far as known, unsent ones included.
    counter: i64,
    /// Hits that the store has not been told.
    unsent: u64,
    /// Hits that are on their way to the store.
    sending: u64,
    limit: i64,
    reset_at_ms: u64,
    subscription: Box<str>,
}

impl Entry for Window {
    fn is_over(&self, now_ms: u64) -> bool {
        self.reset_at_ms <= now_ms
    }
}

/// Every counter that this process keeps, and how it counts.
#[derive(Debug)]
pub struct Quotas {
    settings: QuotaSettings,
    windows: Table<Window>,
    leases: Table<Lease>,
    buckets: Table<Bucket>,
    stats: QuotaStats,
}

impl Default for Quotas {
    fn default() -> Self {
        Self::new(QuotaSettings::default())
    }
}

impl Quotas {
    /// No counter yet.
    pub fn new(settings: QuotaSettings) -> Self {
        Self {
            windows: Table::new(settings.keys_max),
            leases: Table::new(settings.keys_max),
            buckets: Table::new(settings.keys_max),
            stats: QuotaStats::default(),
            settings,
        }
    }

    /// How this process counts.
    pub fn settings(&self) -> &QuotaSettings {
        &self.settings
    }

    /// Time zone of days, months and years.
    pub fn zone(&self) -> &TimeZone {
        &self.settings.zone
    }

    /// What happened so far.
    pub fn stats(&self) -> &QuotaStats {
        &self.stats
    }

    /// Counters that are kept in this process.
    pub fn tracked_keys(&self) -> usize {
        self.windows.len() + self.leases.len() + self.buckets.len()
    }

    /// Whether a step that asks for it is counted here and reconciled later.
    fn is_background(&self, is_async: bool) -> bool {
        is_async && self.settings.asynchronous
    }

    /// Counts a hit.
    pub fn count(&self, hit: &Hit<'_>) -> Counted {
        let background = self.is_background(hit.is_async);
        match self.settings.store {
            Store::None if !background => Counted::Now(Err(CountError::NoStore)),
            Store::Redis if !background => match &self.settings.lease {
                Some(settings) => self.count_leased(hit, settings),
                None => Counted::Ask(hit.request(1)),
            },
            store => match self.count_here(hit, store == Store::Redis) {
                Some(rate) => Counted::Now(Ok(rate)),
                None => {
                    QuotaStats::add(&self.stats.dropped_keys, 1);
                    // Better exact and slow than not at all.
                    match store {
                        Store::Redis => Counted::Ask(hit.request(1)),
                        _ => Counted::Now(Err(CountError::TooManyKeys)),
                    }
                }
            },
        }
    }

    fn count_here(&self, hit: &Hit<'_>, is_reconciled: bool) -> Option<Rate> {
        let lost = &self.stats.lost_hits;
        let fresh = || Window {
            counter: 0,
            unsent: 0,
            sending: 0,
            limit: hit.limit,
            reset_at_ms: hit.reset_at_ms,
            subscription: hit.subscription.into(),
        };
        self.windows.enter(hit.key, hit.now_ms, fresh, |window| {
            if window.reset_at_ms <= hit.now_ms {
                // A window that ended before it was reconciled: the reference forgets its last hits, too.
                QuotaStats::add(lost, window.unsent);
                *window = fresh();
            }
            window.counter = window.counter.saturating_add(1);
            if is_reconciled {
                window.unsent += 1;
            }
            Rate {
                counter: window.counter,
                reset_at_ms: window.reset_at_ms,
            }
        })
    }

    fn count_leased(&self, hit: &Hit<'_>, settings: &LeaseSettings) -> Counted {
        let entered = self.leases.enter(
            hit.key,
            hit.now_ms,
            || Lease::new(hit),
            |lease| lease.hit(hit, settings),
        );
        entered.unwrap_or_else(|| {
            QuotaStats::add(&self.stats.dropped_keys, 1);
            Counted::Ask(hit.request(1))
        })
    }

    /// Takes a token.
    pub fn take(&self, hit: &TokenHit<'_>) -> TokensCounted {
        let background = self.is_background(hit.is_async);
        let is_reconciled = match self.settings.store {
            Store::None if !background => return TokensCounted::Now(Err(CountError::NoStore)),
            Store::Redis if !background => return TokensCounted::Ask(hit.request(1)),
            store => store == Store::Redis,
        };
        let taken = self.buckets.enter(
            hit.key,
            hit.now_ms,
            || Bucket::full(hit),
            |bucket| bucket.take(hit, is_reconciled),
        );
        match taken {
            Some(tokens) => TokensCounted::Now(Ok(tokens)),
            None => {
                QuotaStats::add(&self.stats.dropped_keys, 1);
                if is_reconciled {
                    TokensCounted::Ask(hit.request(1))
                } else {
                    TokensCounted::Now(Err(CountError::TooManyKeys))
                }
            }
        }
    }

    /// The parts that [`Quotas::unsent`] and the other walks take one after the other.
    pub fn parts() -> std::ops::Range<usize> {
        0..SHARDS
    }

    /// Hits and takes of one part that the store has not been told: they count as sent until [`Quotas::sent`] and [`Quotas::taken`] say
    /// otherwise. Windows that ended are forgotten.
    pub fn unsent(&self, part: usize, now_ms: u64) -> (Vec<CountRequest>, Vec<TokenBucketRequest>) {
        let mut counts = Vec::new();
        self.windows.walk(part, |key, window| {
            if window.is_over(now_ms) {
                QuotaStats::add(&self.stats.lost_hits, window.unsent);
                return false;
            }
            if window.unsent > 0 && window.sending == 0 {
                window.sending = std::mem::take(&mut window.unsent);
                counts.push(CountRequest {
                    key: key.into(),
                    weight: window.sending,
                    limit: window.limit,
                    reset_at_ms: window.reset_at_ms,
                    subscription: window.subscription.clone(),
                });
            }
            true
        });
        let mut takes = Vec::new();
        self.buckets.walk(part, |key, bucket| {
            takes.extend(bucket.unsent(key, now_ms));
            !bucket.is_over(now_ms)
        });
        (counts, takes)
    }

    /// What the store said to a request of [`Quotas::unsent`]. `Ok(None)`: the key was gone at once, nothing is known.
    pub fn sent(&self, request: &CountRequest, result: Result<Option<Rate>, CountError>) {
        self.windows.update(&request.key, |window| {
            if window.reset_at_ms != request.reset_at_ms {
                return;
            }
            window.sending = 0;
            match result {
                Ok(Some(rate)) => {
                    let unsent = i64::try_from(window.unsent).unwrap_or(i64::MAX);
                    window.counter = rate.counter.saturating_add(unsent);
                }
                Ok(None) => {}
                Err(_) => window.unsent += request.weight,
            }
        });
    }

    /// What the store said to a take of [`Quotas::unsent`].
    pub fn taken(&self, request: &TokenBucketRequest, result: Result<Tokens, CountError>) {
        self.buckets
            .update(&request.key, |bucket| bucket.taken(request, result));
    }

    /// Units to ask the store for when so many hits wait: never more than fill up one part, so that no process holds more than that.
    pub fn lease_units(&self, key: &str, limit: i64, waiting: u64) -> u64 {
        let part = self
            .settings
            .lease
            .as_ref()
            .map_or(1, |settings| settings.units(limit));
        let held = self.leases.update(key, |lease| lease.units()).unwrap_or(0);
        part.saturating_sub(held).max(waiting)
    }

    /// Stores units of a lease for later hits. The units that cannot be kept here come back: they are to be given back.
    pub fn granted(&self, key: &str, grant: &Grant, now_ms: u64) -> u64 {
        let retry_ms = self
            .settings
            .lease
            .as_ref()
            .map_or(1_000, |settings| settings.retry_ms);
        self.leases
            .update(key, |lease| lease.granted(grant, now_ms, retry_ms))
            .unwrap_or(grant.units)
    }

    /// The store could not be asked for a lease.
    pub fn not_granted(&self, key: &str) {
        self.leases.update(key, Lease::not_granted);
    }

    /// Units of one part that were not needed since the last call; `all` of them when the process stops. They are no longer here.
    pub fn unused(&self, part: usize, now_ms: u64, all: bool) -> Vec<GiveBack> {
        let mut back = Vec::new();
        self.leases.walk(part, |key, lease| {
            back.extend(lease.unused(key, now_ms, all));
            !lease.is_over(now_ms)
        });
        back
    }

    /// A giving back failed: the units stay counted until the window ends.
    pub fn lost(&self, units: u64) {
        self.stats.lost_units.fetch_add(units, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
