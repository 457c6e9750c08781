//! Which batch is sent next, and when: the retry rules without clock or socket.
//!
//! # Rules
//! - The contract's schedule (`retry.initialDelay` x 1.5^n up to `retry.maxDelay`) belongs to the *endpoint*: after a failure
//!   nothing is sent until the delay is over, then one batch at a time tries whether it is back. The first accepted batch ends
//!   the trouble. A `Retry-After` that is longer than the delay replaces it.
//! - `retry.maxRetries` counts failures of one batch *while the endpoint accepts others*. An endpoint that is down altogether
//!   uses up nobody's retries: batches wait, and only the memory limit drops (the oldest first). A Cloud Gate that is away for
//!   a minute, or an hour within the limit, loses nothing. (The reference drops a batch after about a minute.)
//! - A batch that failed goes behind those that never did, so that one bad batch cannot block the rest.
//! - 401 and 403 stop everything for a minute: the token is at fault, and it is read anew for the next attempt.

use std::collections::VecDeque;

use super::batch::Batch;
use super::stats::DropReason;

/// Attempts that run at once while the endpoint is well. At a round trip of 100 ms and 1 000 records a batch this carries
/// 40 000 reports a second.
pub(crate) const IN_FLIGHT_MAX: usize = 4;
/// Delay after 401 or 403.
pub(crate) const UNAUTHORIZED_DELAY_MS: u64 = 60_000;
/// A longer `Retry-After` is taken for this: the operator should not have to restart a gateway because of a typing error there.
const RETRY_AFTER_MS_MAX: u64 = 300_000;
/// Factor between delays (contract reporting 6).
const BACKOFF: f64 = 1.5;

/// Limits and delays, from `reporters.cloud.*`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxSettings {
    pub(crate) retry_delay_ms: u64,
    pub(crate) retry_delay_ms_max: u64,
    pub(crate) retries_max: u32,
    pub(crate) bytes_max: usize,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The endpoint has the batch.
    Accepted,
    /// The endpoint finds it too large: it is cut in two.
    TooLarge,
    /// The credentials were refused.
    Unauthorized {
        /// Status of the answer.
        status: u16,
    },
    /// It failed, or its outcome is not known; the same batch is sent again under the same id.
    Retry {
        /// What the endpoint asked for, milliseconds.
        after_ms: Option<u64>,
        /// Why, for the log.
        cause: String,
    },
    /// The endpoint will never take it.
    Rejected {
        /// Status of the answer.
        status: u16,
    },
}

/// A change of the endpoint's condition that is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The first failure after success.
    Failing { cause: String },
    /// The credentials are refused.
    Refused { status: u16 },
    /// Accepted again after failures.
    Recovered,
}

/// What followed from an attempt.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) accepted_records: usize,
    pub(crate) dropped: Vec<(DropReason, usize)>,
    pub(crate) change: Option<Change>,
}

/// A batch on its way.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) batch: Batch,
    sequence: u64,
    failures: u32,
    /// Batches that had been accepted when this one last failed, or was made.
    accepted_seen: u64,
    /// The endpoint's level of trouble when the attempt began.
    level: u32,
}

#[derive(Debug)]
struct Entry {
    attempt: Attempt,
    not_before_ms: u64,
}

/// Batches that wait or are on their way.
#[derive(Debug)]
pub(crate) struct Outbox {
    settings: OutboxSettings,
    /// Never tried, oldest first.
    fresh: VecDeque<Entry>,
    /// Failed before, in the order of their failures.
    failed: VecDeque<Entry>,
    in_flight: usize,
    /// Waiting and in flight.
    records: usize,
    bytes: usize,
    next_sequence: u64,
    accepted: u64,
    /// Rounds of failures since a batch was accepted; 0 is a healthy endpoint.
    level: u32,
    refused: bool,
    retry_at_ms: u64,
}

impl Outbox {
    pub(crate) fn new(settings: OutboxSettings) -> Self {
        Self {
            settings,
            fresh: VecDeque::new(),
            failed: VecDeque::new(),
            in_flight: 0,
            records: 0,
            bytes: 0,
            next_sequence: 0,
            accepted: 0,
            level: 0,
            refused: false,
            retry_at_ms: 0,
        }
    }

    /// Records that wait or are on their way.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Memory of the batches that wait or are on their way.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory limit.
    pub(crate) fn bytes_max(&self) -> usize {
        self.settings.bytes_max
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// True when a new batch would be sent soon. While it would not, an open batch may as well go on collecting.
    pub(crate) fn is_flowing(&self) -> bool {
        self.is_empty() || (self.level == 0 && !self.refused && self.fresh.is_empty())
    }

    /// Takes a new batch; returns the records of old ones that had to make room.
    pub(crate) fn push(&mut self, batch: Batch) -> usize {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.insert_counts(&batch);
        let attempt = Attempt {
            batch,
            sequence,
            failures: 0,
            accepted_seen: self.accepted,
            level: 0,
        };
        self.fresh.push_back(Entry {
            attempt,
            not_before_ms: 0,
        });
        self.enforce_limit()
    }

    /// The next batch to send, if one may be sent now.
    pub(crate) fn next(&mut self, now_ms: u64) -> Option<Attempt> {
        let troubled = self.level > 0 || self.refused;
        let in_flight_max = if troubled { 1 } else { IN_FLIGHT_MAX };
        if self.in_flight >= in_flight_max || (troubled && now_ms < self.retry_at_ms) {
            return None;
        }
        let due = self
            .failed
            .front()
            .is_some_and(|entry| entry.not_before_ms <= now_ms);
        // A probe of a troubled endpoint prefers a batch that did not fail yet: if that one is accepted, the endpoint is well.
        let mut entry = if due && !troubled {
            self.failed.pop_front()
        } else {
            self.fresh.pop_front()
        };
        if entry.is_none() && due {
            entry = self.failed.pop_front();
        }
        let mut attempt = entry?.attempt;
        attempt.level = self.level;
        self.in_flight += 1;
        Some(attempt)
    }

    /// Books the outcome of an attempt.
    pub(crate) fn complete(
        &mut self,
        attempt: Attempt,
        delivery: Delivery,
        now_ms: u64,
    ) -> Verdict {
        self.in_flight -= 1;
        let records = attempt.batch.records;
        let mut verdict = Verdict::default();
        match delivery {
            Delivery::Accepted => {
                self.remove_counts(&attempt.batch);
                self.endpoint_answers(&mut verdict);
                self.accepted += 1;
                verdict.accepted_records = records;
            }
            Delivery::Rejected { .. } => {
                self.remove_counts(&attempt.batch);
                self.endpoint_answers(&mut verdict);
                verdict.dropped.push((DropReason::Rejected, records));
            }
            Delivery::TooLarge => {
                self.remove_counts(&attempt.batch);
                self.endpoint_answers(&mut verdict);
                match attempt.batch.split() {
                    Ok(Some((first, second))) => {
                        for half in [second, first] {
                            self.insert_counts(&half);
                            let attempt = Attempt {
                                batch: half,
                                failures: 0,
                                level: 0,
                                ..attempt
                            };
                            self.fresh.push_front(Entry {
                                attempt,
                                not_before_ms: 0,
                            });
                        }
                    }
                    Ok(None) | Err(_) => verdict.dropped.push((DropReason::Rejected, records)),
                }
            }
            Delivery::Unauthorized { status } => {
                if !self.refused {
                    verdict.change = Some(Change::Refused { status });
                }
                self.refused = true;
                self.retry_at_ms = self.retry_at_ms.max(now_ms + UNAUTHORIZED_DELAY_MS);
                self.fresh.push_front(Entry {
                    attempt,
                    not_before_ms: 0,
                });
            }
            Delivery::Retry { after_ms, cause } => {
                self.retry(attempt, after_ms, cause, now_ms, &mut verdict)
            }
        }
        let overflow = self.enforce_limit();
        if overflow > 0 {
            verdict.dropped.push((DropReason::QueueFull, overflow));
        }
        verdict
    }

    /// Gives up every batch that waits; returns their records. Those in flight are not touched.
    pub(crate) fn abandon(&mut self) -> usize {
        let mut records = 0;
        for entry in std::mem::take(&mut self.fresh)
            .into_iter()
            .chain(std::mem::take(&mut self.failed))
        {
            self.remove_counts(&entry.attempt.batch);
            records += entry.attempt.batch.records;
        }
        records
    }

    /// Forgets what is in flight and cannot be waited for; returns the records.
    pub(crate) fn abandon_in_flight(&mut self) -> usize {
        let waiting = self.abandon();
        let in_flight = std::mem::take(&mut self.records);
        self.in_flight = 0;
        self.bytes = 0;
        waiting + in_flight
    }

    /// Lets the next attempt begin at once: a shutdown has no time for delays.
    pub(crate) fn hurry(&mut self) {
        self.retry_at_ms = 0;
        for entry in &mut self.failed {
            entry.not_before_ms = 0;
        }
    }

    fn retry(
        &mut self,
        mut attempt: Attempt,
        after_ms: Option<u64>,
        cause: String,
        now_ms: u64,
        verdict: &mut Verdict,
    ) {
        if self.level == 0 {
            verdict.change = Some(Change::Failing { cause });
        }
        self.refused = false;
        // Attempts that ran side by side fail together: they are one round.
        self.level = self.level.max(attempt.level.saturating_add(1));
        let delay_ms = self
            .delay_ms(self.level)
            .max(after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX));
        self.retry_at_ms = self.retry_at_ms.max(now_ms + delay_ms);
        if self.accepted > attempt.accepted_seen {
            attempt.failures += 1;
            attempt.accepted_seen = self.accepted;
        }
        if attempt.failures > self.settings.retries_max {
            self.remove_counts(&attempt.batch);
            verdict
                .dropped
                .push((DropReason::RetriesExhausted, attempt.batch.records));
            return;
        }
        let not_before_ms = now_ms + self.delay_ms(attempt.failures.max(1));
        self.failed.push_back(Entry {
            attempt,
            not_before_ms,
        });
    }

    fn endpoint_answers(&mut self, verdict: &mut Verdict) {
        if self.level > 0 || self.refused {
            verdict.change = Some(Change::Recovered);
        }
        self.level = 0;
        self.refused = false;
        self.retry_at_ms = 0;
    }

    /// Delay before the `round`th retry, counted from 1.
    fn delay_ms(&self, round: u32) -> u64 {
        let factor = BACKOFF.powi(round.saturating_sub(1).min(64) as i32);
        ((self.settings.retry_delay_ms as f64 * factor) as u64)
            .min(self.settings.retry_delay_ms_max)
    }

    fn enforce_limit(&mut self) -> usize {
        let mut dropped = 0;
        while self.bytes > self.settings.bytes_max {
            let oldest_failed = self
                .failed
                .front()
                .map_or(u64::MAX, |entry| entry.attempt.sequence);
            let oldest_fresh = self
                .fresh
                .front()
                .map_or(u64::MAX, |entry| entry.attempt.sequence);
            let queue = if oldest_failed < oldest_fresh {
                &mut self.failed
            } else {
                &mut self.fresh
            };
            let Some(entry) = queue.pop_front() else {
                break; // Everything is in flight, which is bounded by itself.
            };
            dropped += entry.attempt.batch.records;
            self.remove_counts(&entry.attempt.batch);
        }
        dropped
    }

    fn insert_counts(&mut self, batch: &Batch) {
        self.records += batch.records;
        self.bytes += batch.bytes();
    }

    fn remove_counts(&mut self, batch: &Batch) {
        self.records -= batch.records;
        self.bytes -= batch.bytes();
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
