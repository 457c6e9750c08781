//! Waiting for conditions, never for times.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `probe` has an answer; fails the test after `limit`.
pub(crate) fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        pause(Duration::from_millis(10));
    }
}

/// Lets time pass: between two looks, and for fakes whose fault is slowness.
#[expect(
    clippy::disallowed_methods,
    reason = "tests and their fakes run on threads of their own"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
