//! What became of the reports: written by the reporter, read by the node API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use turnpike_core::stats::WorkerStats;

/// Why a report was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// A worker's ring was full (counted by the worker).
    RingFull,
    /// The batches that waited had reached the memory limit: the oldest made room.
    QueueFull,
    /// The endpoint will never take it (a 4xx answer).
    Rejected,
    /// Its batch failed `retry.maxRetries` times while the endpoint accepted others.
    RetriesExhausted,
    /// It could not be sent in the time that a shutdown leaves.
    Shutdown,
}

impl DropReason {
    /// Every reason, in the order of the metrics.
    pub const ALL: [Self; 5] = [
        Self::RingFull,
        Self::QueueFull,
        Self::Rejected,
        Self::RetriesExhausted,
        Self::Shutdown,
    ];

    /// The text used as a metric label and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::RetriesExhausted => "retries_exhausted",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Counters of one [`Reporter`](super::Reporter). Every received report is in exactly one of sent, dropped (but
/// [`DropReason::RingFull`], which was never received) and pending.
#[derive(Debug, Default)]
pub struct ReporterStats {
    workers: Vec<Arc<WorkerStats>>,
    received: AtomicU64,
    sent: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    pending_records: AtomicU64,
    pending_bytes: AtomicU64,
    batches_sent: AtomicU64,
    failures: AtomicU64,
    last_success_ms: AtomicU64,
}

impl ReporterStats {
    /// Counters of a reporter that drains the rings of `workers`.
    pub fn new(workers: Vec<Arc<WorkerStats>>) -> Self {
        Self {
            workers,
            ..Self::default()
        }
    }

    /// Reports taken from the workers' rings.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Reports that the endpoint accepted.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Reports lost for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        match reason {
            DropReason::RingFull => self
                .workers
                .iter()
                .map(|worker| worker.reports_dropped.get())
                .sum(),
            _ => self.dropped[reason as usize].load(Ordering::Relaxed),
        }
    }

    /// Reports lost for any reason.
    pub fn dropped_total(&self) -> u64 {
        DropReason::ALL
            .into_iter()
            .map(|reason| self.dropped(reason))
            .sum()
    }

    /// Reports received and neither sent nor dropped yet.
    pub fn pending_records(&self) -> u64 {
        self.pending_records.load(Ordering::Relaxed)
    }

    /// Memory held by reports that wait, bytes, compressed where already batched.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    /// Batches that the endpoint accepted.
    pub fn batches_sent(&self) -> u64 {
        self.batches_sent.load(Ordering::Relaxed)
    }

    /// Attempts that failed and are made again.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// When the endpoint last accepted a batch, Unix milliseconds; `None` before the first.
    pub fn last_success_ms(&self) -> Option<u64> {
        Some(self.last_success_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0)
    }

    pub(crate) fn add_received(&self, records: u64) {
        self.received.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn add_sent(&self, records: u64, now_unix_ms: u64) {
        self.sent.fetch_add(records, Ordering::Relaxed);
        self.batches_sent.fetch_add(1, Ordering::Relaxed);
        self.last_success_ms.store(now_unix_ms, Ordering::Relaxed);
    }

    pub(crate) fn add_dropped(&self, reason: DropReason, records: u64) {
        self.dropped[reason as usize].fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn add_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_pending(&self, records: u64, bytes: u64) {
        self.pending_records.store(records, Ordering::Relaxed);
        self.pending_bytes.store(bytes, Ordering::Relaxed);
    }
}
