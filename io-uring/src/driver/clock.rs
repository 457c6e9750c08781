//! The worker's clocks.

use rustix::time::{ClockId, clock_gettime};

/// A monotonic clock in milliseconds since the worker started, and the wall clock.
///
/// Both are the kernel's coarse clocks: they move with its tick (1 to 10 ms) and cost a few nanoseconds where a precise reading costs tens. Deadlines
/// and report time stamps need no more; durations in reports are measured with [`std::time::Instant`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin_ms: u64,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self {
            origin_ms: read_ms(ClockId::MonotonicCoarse),
        }
    }

    /// Milliseconds since the start, at least 1.
    pub(crate) fn now_ms(&self) -> u64 {
        read_ms(ClockId::MonotonicCoarse) - self.origin_ms + 1
    }

    /// Unix milliseconds.
    pub(crate) fn wall_ms() -> u64 {
        read_ms(ClockId::RealtimeCoarse)
    }
}

fn read_ms(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Both parts are positive on any machine whose clock is past 1970.
    (time.tv_sec.max(0) as u64) * 1_000 + (time.tv_nsec.max(0) as u64) / 1_000_000
}
