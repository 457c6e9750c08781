//! Leases: a process takes a part of what is left of a limit in advance, and serves from it without asking (our own mode).
//!
//! # The bound
//! The store's counter is what all gateways have admitted plus what they hold unused. A lease never takes it beyond the limit, so all
//! gateways together never admit more than the limit. What is held unused can make another gateway refuse early: at most one part per
//! process, until it is given back (at each settle interval, at the stop) or the window ends. Units whose grant or whose return was lost
//! on the way stay counted until then.

use super::table::Entry;
use super::{CountRequest, Counted, Hit, Rate};

/// How leases are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSettings {
    /// One part of a limit, percent of it, at least one unit.
    pub percent: u64,
    /// When the store had nothing left it is asked again after this time, milliseconds: others may have given something back.
    pub retry_ms: u64,
}

impl LeaseSettings {
    /// One part of this limit.
    pub(super) fn units(&self, limit: i64) -> u64 {
        let limit = u64::try_from(limit).unwrap_or(0);
        (u128::from(limit) * u128::from(self.percent) / 100)
            .try_into()
            .unwrap_or(limit)
            .clamp(1, limit.max(1))
    }
}

/// What the store granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Units.
    pub units: u64,
    /// The store's counter, these units included.
    pub counter: i64,
    /// End of the window, Unix milliseconds.
    pub reset_at_ms: u64,
    /// Limit that was asked with.
    pub limit: i64,
    /// Nothing was left beyond these units.
    pub is_last: bool,
}

/// Units to give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GiveBack {
    /// Key of the counter.
    pub key: Box<str>,
    /// Units.
    pub units: u64,
    /// The window they were granted in, Unix milliseconds.
    pub reset_at_ms: u64,
}

/// What this process holds of one limit.
#[derive(Debug)]
pub(super) struct Lease {
    reset_at_ms: u64,
    /// Limit that the store was last asked with.
    limit: i64,
    /// Units held.
    units: u64,
    /// The store's counter as last told, the units held included.
    counter: i64,
    /// Units used since they were last looked through.
    used: u64,
    /// A request is on its way.
    is_asking: bool,
    /// Nothing was left: not asked before this time, Unix milliseconds.
    dry_until_ms: u64,
}

impl Entry for Lease {
    fn is_over(&self, now_ms: u64) -> bool {
        self.reset_at_ms <= now_ms
    }
}

impl Lease {
    pub(super) fn new(hit: &Hit<'_>) -> Self {
        Self {
            reset_at_ms: hit.reset_at_ms,
            limit: hit.limit,
            units: 0,
            counter: 0,
            used: 0,
            is_asking: false,
            dry_until_ms: 0,
        }
    }

    pub(super) fn hit(&mut self, hit: &Hit<'_>, settings: &LeaseSettings) -> Counted {
        if self.reset_at_ms <= hit.now_ms {
            let is_asking = self.is_asking;
            *self = Self::new(hit);
            self.is_asking = is_asking;
        }
        let held = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
        // Steps with another limit may share the key: nobody may use units that were granted beyond its own limit.
        if self.units > 0 && self.counter.saturating_sub(held(self.units)) < hit.limit {
            self.units -= 1;
            self.used += 1;
            let rate = Rate {
                counter: self.counter.saturating_sub(held(self.units)),
                reset_at_ms: self.reset_at_ms,
            };
            let is_low = self.units <= settings.units(hit.limit) / 2;
            if is_low && !self.is_asking && hit.now_ms >= self.dry_until_ms {
                self.is_asking = true;
                return Counted::NowAndSend(rate, hit.request(0));
            }
            return Counted::Now(Ok(rate));
        }
        if hit.now_ms < self.dry_until_ms && hit.limit <= self.limit {
            return Counted::Now(Ok(Rate {
                counter: self.counter.max(hit.limit).saturating_add(1),
                reset_at_ms: self.reset_at_ms,
            }));
        }
        self.is_asking = true;
        Counted::Ask(CountRequest {
            reset_at_ms: hit.reset_at_ms,
            ..hit.request(1)
        })
    }

    /// Takes units in; those that belong to another window come back.
    pub(super) fn granted(&mut self, grant: &Grant, now_ms: u64, retry_ms: u64) -> u64 {
        self.is_asking = false;
        if grant.reset_at_ms != self.reset_at_ms {
            if grant.reset_at_ms <= now_ms {
                // It ended on the way.
                return grant.units;
            }
            self.reset_at_ms = grant.reset_at_ms;
            self.units = 0;
            self.used = 0;
        }
        self.units += grant.units;
        self.counter = grant.counter;
        self.limit = grant.limit;
        self.dry_until_ms = if grant.is_last {
            now_ms.saturating_add(retry_ms).min(self.reset_at_ms)
        } else {
            0
        };
        0
    }

    /// Units held.
    pub(super) fn units(&self) -> u64 {
        self.units
    }

    pub(super) fn not_granted(&mut self) {
        self.is_asking = false;
    }

    /// Keeps as many units as were used since the last call, and gives the rest.
    pub(super) fn unused(&mut self, key: &str, now_ms: u64, all: bool) -> Option<GiveBack> {
        let kept = if all { 0 } else { self.used };
        self.used = 0;
        let units = self.units.saturating_sub(kept);
        if units == 0 || self.reset_at_ms <= now_ms {
            return None;
        }
        self.units -= units;
        self.counter = self
            .counter
            .saturating_sub(i64::try_from(units).unwrap_or(i64::MAX));
        self.dry_until_ms = 0;
        Some(GiveBack {
            key: key.into(),
            units,
            reset_at_ms: self.reset_at_ms,
        })
    }
}
