//! Counters of one worker: written by that worker alone, read by the control thread when it is scraped.
//!
//! A counter is an `AtomicU64` used as a plain cell (`load` + `store`, relaxed): one writer, so no locked instruction is
//! needed and no cache line is contended.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or gauge with one writer.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `amount`. Only the owning worker may call this.
    pub fn add(&self, amount: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(amount),
            Ordering::Relaxed,
        );
    }

    /// Subtracts `amount` (gauges). Only the owning worker may call this.
    pub fn sub(&self, amount: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_sub(amount),
            Ordering::Relaxed,
        );
    }

    /// Sets the value. Only the owning worker may call this.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Raises the value to `value` if that is larger. Only the owning worker may call this.
    pub fn max(&self, value: u64) {
        if value > self.0.load(Ordering::Relaxed) {
            self.set(value);
        }
    }

    /// The value, as of some recent moment.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Method classes of the metrics, in the order of [`crate::http::Method::index`].
pub const METHODS: usize = 10;
/// Status codes 100..=599 are counted one by one; others as 0.
pub const STATUSES: usize = 501;

/// Upper bounds of the latency buckets, microseconds; a last bucket takes the rest.
pub const LATENCY_BUCKETS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 30_000_000,
];

/// Requests and their summed times for one method and status.
#[derive(Debug, Default)]
pub struct RequestCell {
    /// Responses completed.
    pub count: Cell,
    /// Summed response time, nanoseconds.
    pub time_ns_sum: Cell,
    /// Largest response time, nanoseconds.
    pub time_ns_max: Cell,
    /// Summed response body bytes.
    pub response_bytes_sum: Cell,
}

/// What the steps of one policy did.
#[derive(Debug, Default)]
pub struct PolicyCell {
    /// Steps that ended, however.
    pub executed: Cell,
    /// Of these, steps that ended the chain without a failure.
    pub interrupted: Cell,
    /// Of these, steps that failed the exchange.
    pub failed: Cell,
    /// Summed time inside the policy without its waits, nanoseconds.
    pub time_ns_sum: Cell,
}

/// Counters of one worker. Names follow the metrics of contract operations 4.
#[derive(Debug)]
pub struct WorkerStats {
    /// By method and status: index `method * STATUSES + (status - 99)`, status class 0 for others.
    requests: Box<[RequestCell]>,
    /// Requests begun and not yet ended.
    pub active_requests: Cell,
    /// Open client connections.
    pub active_connections: Cell,
    /// Client connections accepted since start.
    pub connections_accepted: Cell,
    /// Connections refused because the limit was reached.
    pub connections_refused: Cell,
    /// Bytes read from clients, heads included.
    pub bytes_read: Cell,
    /// Bytes written to clients, heads included.
    pub bytes_written: Cell,
    /// Summed request body bytes.
    pub request_bytes_sum: Cell,
    /// Requests refused while they were parsed (400, 408, 414, 431).
    pub request_errors: Cell,
    /// Clients that went away before their response was complete.
    pub client_aborts: Cell,
    /// Requests sent to backends.
    pub upstream_requests: Cell,
    /// Failures towards backends.
    pub upstream_errors: Cell,
    /// Summed time until the backend's head, nanoseconds.
    pub upstream_time_ns_sum: Cell,
    /// Bytes read from backends, heads included.
    pub upstream_bytes_read: Cell,
    /// Bytes written to backends, heads included.
    pub upstream_bytes_written: Cell,
    /// Connections opened to backends.
    pub upstream_connects: Cell,
    /// Open backend connections, busy and idle.
    pub upstream_connections: Cell,
    /// Idle pooled backend connections.
    pub upstream_idle_connections: Cell,
    /// Requests waiting for a backend connection.
    pub upstream_queue: Cell,
    /// Requests sent again because a pooled connection had died.
    pub upstream_retries: Cell,
    /// Response bodies passed on without a policy that wanted them, because they are too large: the cache has not stored them.
    pub bodies_not_kept: Cell,
    /// Reports pushed to the ring.
    pub reports_pushed: Cell,
    /// Reports dropped because the ring was full.
    pub reports_dropped: Cell,
    /// Response times by bucket of [`LATENCY_BUCKETS_US`]; the last is the overflow.
    pub latency_buckets: [Cell; LATENCY_BUCKETS_US.len() + 1],
    /// Turns of the worker's heartbeat, about one a second; a stalled worker stops counting.
    pub heartbeats: Cell,
    /// By index of the policy in [`crate::policy::registry::REGISTRY`].
    pub policies: Box<[PolicyCell]>,
    /// Errands sent to the control thread.
    pub errands_sent: Cell,
    /// Errands that could not be sent because too many were on their way.
    pub errands_refused: Cell,
}

impl WorkerStats {
    /// All counters at zero.
    pub fn new() -> Self {
        Self {
            requests: (0..METHODS * STATUSES)
                .map(|_| RequestCell::default())
                .collect(),
            active_requests: Cell::default(),
            active_connections: Cell::default(),
            connections_accepted: Cell::default(),
            connections_refused: Cell::default(),
            bytes_read: Cell::default(),
            bytes_written: Cell::default(),
            request_bytes_sum: Cell::default(),
            request_errors: Cell::default(),
            client_aborts: Cell::default(),
            upstream_requests: Cell::default(),
            upstream_errors: Cell::default(),
            upstream_time_ns_sum: Cell::default(),
            upstream_bytes_read: Cell::default(),
            upstream_bytes_written: Cell::default(),
            upstream_connects: Cell::default(),
            upstream_connections: Cell::default(),
            upstream_idle_connections: Cell::default(),
            upstream_queue: Cell::default(),
            upstream_retries: Cell::default(),
            bodies_not_kept: Cell::default(),
            reports_pushed: Cell::default(),
            reports_dropped: Cell::default(),
            latency_buckets: Default::default(),
            heartbeats: Cell::default(),
            policies: crate::policy::registry::REGISTRY
                .iter()
                .map(|_| PolicyCell::default())
                .collect(),
            errands_sent: Cell::default(),
            errands_refused: Cell::default(),
        }
    }

    /// Counters of one method (index below [`METHODS`]) and status.
    pub fn request(&self, method: usize, status: u16) -> &RequestCell {
        let class = if (100..=599).contains(&status) {
            usize::from(status) - 99
        } else {
            0
        };
        &self.requests[method.min(METHODS - 1) * STATUSES + class]
    }

    /// Counts a completed response.
    pub fn record(&self, method: usize, status: u16, time_ns: u64, response_bytes: u64) {
        let cell = self.request(method, status);
        cell.count.add(1);
        cell.time_ns_sum.add(time_ns);
        cell.time_ns_max.max(time_ns);
        cell.response_bytes_sum.add(response_bytes);
        let time_us = time_ns / 1_000;
        let bucket = LATENCY_BUCKETS_US.partition_point(|bound| *bound < time_us);
        self.latency_buckets[bucket].add(1);
    }
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_counted_under_its_method_status_and_bucket() {
        let stats = WorkerStats::new();
        stats.record(2, 404, 60_000, 40);
        let cell = stats.request(2, 404);
        assert_eq!(
            (
                cell.count.get(),
                cell.time_ns_sum.get(),
                cell.response_bytes_sum.get()
            ),
            (1, 60_000, 40)
        );
        assert_eq!(stats.latency_buckets[1].get(), 1, "60 us lies in (50, 100]");
        assert_eq!(stats.request(2, 200).count.get(), 0);
    }

    #[test]
    fn statuses_outside_100_to_599_share_one_cell() {
        let stats = WorkerStats::new();
        stats.record(0, 0, 1, 0);
        stats.record(0, 999, 1, 0);
        assert_eq!(stats.request(0, 7).count.get(), 2);
        assert_eq!(stats.request(0, 100).count.get(), 0);
        assert_eq!(stats.request(0, 599).count.get(), 0);
    }
}
