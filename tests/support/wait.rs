//! Waiting for conditions, never for times.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// How often the watch of [`timely`] looks.
const TICK: Duration = Duration::from_millis(10);

/// Does something that must be over within `bound`. Time in which this machine stood still does not count: a thread that does nothing but wake
/// up every few milliseconds tells how late it was.
pub(crate) fn timely<T>(what: &str, bound: Duration, deed: impl FnOnce() -> T) -> T {
    let stalled_before = stalled();
    let started = Instant::now();
    let done = deed();
    let took = started.elapsed();
    if took > bound {
        // The watch may not have been awake since.
        pause(3 * TICK);
        let stalled = stalled() - stalled_before;
        assert!(
            took <= bound + stalled,
            "{what} took {took:?}, {stalled:?} of it without this machine"
        );
    }
    done
}

/// How late the watch has been altogether.
fn stalled() -> Duration {
    static WATCH: Once = Once::new();
    static LATE_NS: AtomicU64 = AtomicU64::new(0);
    WATCH.call_once(|| {
        std::thread::spawn(|| {
            loop {
                let started = Instant::now();
                pause(TICK);
                let late = started.elapsed().saturating_sub(TICK);
                LATE_NS.fetch_add(late.as_nanos() as u64, Ordering::Relaxed);
            }
        });
    });
    Duration::from_nanos(LATE_NS.load(Ordering::Relaxed))
}
