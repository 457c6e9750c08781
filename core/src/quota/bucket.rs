//! Token buckets that are kept in this process (contract policies 6.8).

use super::table::Entry;
use super::{CountError, TokenBucketRequest, TokenHit, Tokens};

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: u64,
    /// Up to when refills have been credited, Unix milliseconds.
    anchor_ms: u64,
    capacity: u64,
    refill: u64,
    period_ms: u64,
    /// Tokens taken that the store has not been told.
    unsent: u64,
    /// Tokens whose take is on its way to the store.
    sending: u64,
    subscription: Box<str>,
}

impl Entry for Bucket {
    /// A full bucket that nobody waits for is as good as none.
    fn is_over(&self, now_ms: u64) -> bool {
        self.unsent == 0
            && self.sending == 0
            && (self.refill > 0 || self.period_ms == 0)
            && self.tokens.saturating_add(self.earned(now_ms)) >= self.capacity
    }
}

impl Bucket {
    pub(super) fn full(hit: &TokenHit<'_>) -> Self {
        Self {
            tokens: hit.capacity,
            anchor_ms: hit.now_ms,
            capacity: hit.capacity,
            refill: hit.refill,
            period_ms: hit.period_ms,
            unsent: 0,
            sending: 0,
            subscription: hit.subscription.into(),
        }
    }

    /// Whole tokens earned since the anchor.
    fn earned(&self, now_ms: u64) -> u64 {
        let elapsed = u128::from(now_ms.saturating_sub(self.anchor_ms));
        let earned = elapsed * u128::from(self.refill) / u128::from(self.period_ms.max(1));
        u64::try_from(earned).unwrap_or(u64::MAX)
    }

    pub(super) fn take(&mut self, hit: &TokenHit<'_>, is_reconciled: bool) -> Tokens {
        // The configuration of the moment decides.
        (self.capacity, self.refill, self.period_ms) = (hit.capacity, hit.refill, hit.period_ms);
        let earned = self.earned(hit.now_ms);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned);
            // The part of a token that is not earned yet is not lost.
            let credited =
                u128::from(earned) * u128::from(self.period_ms) / u128::from(self.refill.max(1));
            self.anchor_ms = self
                .anchor_ms
                .saturating_add(u64::try_from(credited).unwrap_or(u64::MAX));
        }
        if self.tokens >= self.capacity {
            self.tokens = self.capacity;
            self.anchor_ms = self.anchor_ms.max(hit.now_ms);
        }
        let allowed = self.tokens > 0;
        if allowed {
            self.tokens -= 1;
            if is_reconciled {
                self.unsent += 1;
            }
        }
        Tokens {
            allowed,
            left: self.tokens,
        }
    }

    pub(super) fn unsent(&mut self, key: &str, now_ms: u64) -> Option<TokenBucketRequest> {
        if self.unsent == 0 || self.sending > 0 {
            return None;
        }
        self.sending = std::mem::take(&mut self.unsent);
        Some(TokenBucketRequest {
            key: key.into(),
            tokens: self.sending,
            capacity: self.capacity,
            refill: self.refill,
            period_ms: self.period_ms,
            now_ms,
            subscription: self.subscription.clone(),
        })
    }

    pub(super) fn taken(
        &mut self,
        request: &TokenBucketRequest,
        result: Result<Tokens, CountError>,
    ) {
        self.sending = 0;
        match result {
            Ok(tokens) if tokens.allowed => {
                self.tokens = tokens.left.saturating_sub(self.unsent);
                self.anchor_ms = self.anchor_ms.max(request.now_ms);
            }
            // All gateways together took more than there was: this one stands still until something is earned.
            Ok(_) => {
                self.tokens = 0;
                self.anchor_ms = self.anchor_ms.max(request.now_ms);
            }
            Err(_) => self.unsent += request.tokens,
        }
    }
}
