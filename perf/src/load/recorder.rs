//! What a run measured: the latency histogram and the counts of what went right and wrong inside the window.

use std::fmt;
use std::ops::Range;

use hdrhistogram::Histogram;

/// Latencies beyond this are recorded as this: ten minutes, longer than any run may wait.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// No connection could be opened.
    Connect,
    /// The request could not be written.
    Send,
    /// The connection broke while the response was awaited.
    Receive,
    /// The peer closed before the response was complete.
    ClosedEarly,
    /// The bytes were not an HTTP response, or came unasked.
    Malformed,
    /// Another status than expected.
    Status,
    /// Another body length than expected.
    BodyLength,
    /// No response within the request time-out.
    Timeout,
    /// Due inside the window, but not answered when the run had to stop.
    Unanswered,
}

impl Failure {
    /// Every kind, in the order of the counters.
    pub(crate) const ALL: [Self; 9] = [
        Self::Connect,
        Self::Send,
        Self::Receive,
        Self::ClosedEarly,
        Self::Malformed,
        Self::Status,
        Self::BodyLength,
        Self::Timeout,
        Self::Unanswered,
    ];
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Receive => "receive",
            Self::ClosedEarly => "closed_early",
            Self::Malformed => "malformed",
            Self::Status => "status",
            Self::BodyLength => "body_length",
            Self::Timeout => "timeout",
            Self::Unanswered => "unanswered",
        })
    }
}

/// Collects one run.
///
/// Latency is kept for requests whose *due time* lies in the window, throughput counts those *completed* in it: the first makes
/// a stall visible in full, the second matches the CPU time read at the window's edges.
#[derive(Debug)]
pub(crate) struct Recorder {
    window_ns: Range<u64>,
    histogram: Histogram<u64>,
    completed: u64,
    body_bytes: u64,
    failures: [u64; Failure::ALL.len()],
}

impl Recorder {
    pub(crate) fn new(window_ns: Range<u64>) -> Self {
        Self {
            window_ns,
            histogram: empty_histogram(),
            completed: 0,
            body_bytes: 0,
            failures: [0; Failure::ALL.len()],
        }
    }

    /// A request that was due at `due_ns` was answered as expected at `now_ns`.
    pub(crate) fn success(&mut self, due_ns: u64, now_ns: u64, body_bytes: u64) {
        if self.window_ns.contains(&due_ns) {
            self.histogram
                .saturating_record(now_ns.saturating_sub(due_ns));
        }
        if self.window_ns.contains(&now_ns) {
            self.completed += 1;
            self.body_bytes += body_bytes;
        }
    }

    /// Something went wrong. Failures count from the first request on: a warm-up that fails is worth knowing.
    pub(crate) fn failure(&mut self, failure: Failure) {
        self.failures[failure as usize] += 1;
    }

    /// A request due at `due_ns` will never be answered: its age is the least that its latency could have been.
    pub(crate) fn unanswered(&mut self, due_ns: u64, now_ns: u64) {
        if self.window_ns.contains(&due_ns) {
            self.histogram
                .saturating_record(now_ns.saturating_sub(due_ns));
            self.failure(Failure::Unanswered);
        }
    }

    /// Responses completed in the window so far.
    pub(crate) fn completed(&self) -> u64 {
        self.completed
    }

    /// Payload bytes of those responses.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Kinds of failure that happened, with their numbers.
    pub(crate) fn failures(&self) -> Vec<(Failure, u64)> {
        Failure::ALL
            .into_iter()
            .zip(self.failures)
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    pub(crate) fn into_histogram(self) -> Histogram<u64> {
        self.histogram
    }
}

/// A histogram of nanoseconds with three significant digits. Its memory is taken at once: nothing grows during a run.
pub(crate) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
        .expect("the bounds are constants in the range that the crate accepts")
}

#[cfg(test)]
mod tests {
    use super::super::pacing::{Dispatcher, Pacing};
    use super::*;

    const MS: u64 = 1_000_000;

    /// Plays a server that takes 1 ms per request on one connection and stalls once for a second.
    fn play(pacing: Pacing) -> Histogram<u64> {
        let end_ns = 10_000 * MS;
        let mut dispatcher = Dispatcher::new(pacing, end_ns);
        let mut recorder = Recorder::new(0..end_ns);
        let mut now_ns = 0;
        let mut stalled = false;
        loop {
            let Some(ticket) = dispatcher.take(now_ns) else {
                match dispatcher.next_due_ns() {
                    Some(due_ns) => now_ns = now_ns.max(due_ns),
                    None => break,
                }
                continue;
            };
            now_ns += MS;
            if now_ns > 5_000 * MS && !stalled {
                stalled = true;
                now_ns += 1_000 * MS;
            }
            recorder.success(ticket.due_ns, now_ns, 0);
        }
        recorder.into_histogram()
    }

    /// One stall of a second in ten at 100 requests per second delays about a hundred requests, half of them by more than half
    /// a second. An open loop must show that; the closed loop, for comparison, sees a single slow request.
    #[test]
    fn a_stall_is_seen_by_every_request_that_was_due_in_it() {
        let open = play(Pacing::Rate(100.0));
        assert_eq!(open.len(), 1_000);
        let slow = open.count_between(100 * MS, u64::MAX);
        assert!((90..=110).contains(&slow), "{slow} requests waited");
        let very_slow = open.count_between(500 * MS, u64::MAX);
        assert!(
            (45..=60).contains(&very_slow),
            "{very_slow} requests waited for long"
        );
        assert!(
            open.value_at_quantile(0.99) > 800 * MS,
            "p99 hides the stall"
        );
        let closed = play(Pacing::Saturate);
        assert_eq!(closed.count_between(100 * MS, u64::MAX), 1);
    }

    /// The window chooses latencies by due time and completions by completion time.
    #[test]
    fn the_window_has_two_edges_with_two_meanings() {
        let mut recorder = Recorder::new(100..200);
        recorder.success(90, 110, 5);
        recorder.success(190, 210, 5);
        recorder.success(150, 160, 5);
        recorder.success(10, 20, 5);
        assert_eq!((recorder.completed(), recorder.body_bytes()), (2, 10));
        assert_eq!(recorder.into_histogram().len(), 2);
    }

    /// Requests that never got an answer weigh in with their age and are counted.
    #[test]
    fn unanswered_requests_are_not_forgotten() {
        let mut recorder = Recorder::new(0..100);
        recorder.unanswered(50, 5_000_000_000);
        recorder.unanswered(100, 5_000_000_000);
        recorder.failure(Failure::Status);
        assert_eq!(
            recorder.failures(),
            [(Failure::Status, 1), (Failure::Unanswered, 1)]
        );
        assert!(recorder.into_histogram().max() > 4_900_000_000);
    }
}
