//! The worker's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock in milliseconds since the worker started, and the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Milliseconds since the start, at least 1.
    pub(crate) fn now_ms(&self) -> u64 {
        self.at_ms(Instant::now())
    }

    /// The moment of `instant` on this clock.
    pub(crate) fn at_ms(&self, instant: Instant) -> u64 {
        instant.duration_since(self.origin).as_millis() as u64 + 1
    }

    /// Unix milliseconds.
    pub(crate) fn wall_ms() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64)
    }
}
