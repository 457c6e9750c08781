//! Deadlines of one worker.
//!
//! A deadline belongs to a connection and is moved at every step of an exchange, which must cost next to nothing. So moving it only writes a
//! number; the queue is touched when the new moment is earlier than the one it is queued for, and a deadline that comes up too early is queued
//! again for its real moment. Nothing is cancelled and no timer is created per request.
//!
//! When a deadline passes, its socket is shut down: whatever waits on it wakes up, sees [`Deadline::has_passed`], and says which limit it was.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::{Clock, Cut, Either, cut, race, sleep};

const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Entry {
    at_ms: Cell<u64>,
    queued_ms: Cell<u64>,
    passed: Cell<bool>,
    fd: Cell<RawFd>,
    cut: Cell<Cut>,
    idle: Cell<bool>,
}

/// The deadline of one connection.
#[derive(Debug)]
pub(crate) struct Deadline(Rc<Entry>);

impl Deadline {
    /// A deadline for the socket `fd` that never comes until it is set.
    pub(crate) fn new(fd: RawFd) -> Self {
        Self(Rc::new(Entry {
            at_ms: Cell::new(NEVER),
            queued_ms: Cell::new(NEVER),
            passed: Cell::new(false),
            fd: Cell::new(fd),
            cut: Cell::new(Cut::Both),
            idle: Cell::new(false),
        }))
    }

    /// Moves the deadline to `at_ms` on the worker's clock, when `what` is shut down.
    pub(crate) fn set(&self, timers: &Timers, at_ms: u64, what: Cut) {
        self.0.cut.set(what);
        self.0.at_ms.set(at_ms);
        if at_ms < self.0.queued_ms.get() {
            timers.queue(&self.0, at_ms);
        }
    }

    /// Moves the deadline to `limit_ms` after `now_ms`; a limit of 0 is none.
    pub(crate) fn after(&self, timers: &Timers, now_ms: u64, limit_ms: u64, what: Cut) {
        if limit_ms == 0 {
            self.clear();
        } else {
            self.set(timers, now_ms.saturating_add(limit_ms), what);
        }
    }

    /// Says whether the connection waits for a request, so that a stop may end it.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.0.idle.set(idle);
    }

    /// A second handle, for the worker's list of connections.
    pub(crate) fn handle(&self) -> DeadlineHandle {
        DeadlineHandle(Rc::clone(&self.0))
    }

    /// Moves the deadline to never.
    pub(crate) fn clear(&self) {
        self.0.at_ms.set(NEVER);
    }

    /// Resets the connection now.
    pub(crate) fn reset(&self) {
        cut(self.0.fd.get(), Cut::Reset);
    }

    /// Whether the deadline passed and the socket was shut down.
    pub(crate) fn has_passed(&self) -> bool {
        self.0.passed.get()
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.0.fd.set(-1);
        self.0.at_ms.set(NEVER);
    }
}

/// A deadline as the worker sees it from outside its connection.
pub(crate) struct DeadlineHandle(Rc<Entry>);

impl DeadlineHandle {
    /// Ends the connection at `at_ms` if it waits for a request now and would not end earlier anyway.
    pub(crate) fn end_if_idle(&self, timers: &Timers, at_ms: u64) {
        if self.0.idle.get() && at_ms < self.0.at_ms.get() {
            self.0.at_ms.set(at_ms);
            self.0.cut.set(Cut::Read);
            if at_ms < self.0.queued_ms.get() {
                timers.queue(&self.0, at_ms);
            }
        }
    }
}

struct Queued(u64, Rc<Entry>);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// The queue of deadlines.
#[derive(Default)]
pub(crate) struct Timers {
    heap: RefCell<BinaryHeap<Reverse<Queued>>>,
    sweeper: RefCell<Option<Waker>>,
    sleeping_until_ms: Cell<u64>,
}

impl Timers {
    fn queue(&self, entry: &Rc<Entry>, at_ms: u64) {
        entry.queued_ms.set(at_ms);
        self.heap
            .borrow_mut()
            .push(Reverse(Queued(at_ms, Rc::clone(entry))));
        if at_ms < self.sleeping_until_ms.get()
            && let Some(sweeper) = self.sweeper.borrow_mut().take()
        {
            sweeper.wake();
        }
    }

    /// Passes every deadline that is due, and returns the moment of the next one.
    pub(crate) fn pass_due(&self, now_ms: u64, mut pass: impl FnMut(RawFd, Cut)) -> Option<u64> {
        loop {
            let mut heap = self.heap.borrow_mut();
            let Reverse(Queued(queued_ms, _)) = heap.peek()?;
            if *queued_ms > now_ms {
                return Some(*queued_ms);
            }
            let Reverse(Queued(queued_ms, entry)) = heap.pop()?;
            if entry.queued_ms.get() != queued_ms {
                continue; // It was queued again for an earlier moment, which has been dealt with.
            }
            entry.queued_ms.set(NEVER);
            let at_ms = entry.at_ms.get();
            if at_ms == NEVER {
                continue;
            }
            if at_ms > now_ms {
                entry.queued_ms.set(at_ms);
                heap.push(Reverse(Queued(at_ms, entry)));
                continue;
            }
            drop(heap);
            entry.at_ms.set(NEVER);
            entry.passed.set(true);
            pass(entry.fd.get(), entry.cut.get());
        }
    }
}

/// Passes deadlines for ever; one task per worker. Sleeps for as long as nothing is queued.
pub(crate) async fn sweep(timers: &Timers, clock: Clock) {
    loop {
        let next = timers.pass_due(clock.now_ms(), cut);
        timers.sleeping_until_ms.set(next.unwrap_or(NEVER));
        let mut waited = false;
        let earlier = std::future::poll_fn(|context| {
            if waited && timers.sweeper.borrow().is_none() {
                return Poll::Ready(());
            }
            waited = true;
            *timers.sweeper.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        });
        match next {
            None => earlier.await,
            Some(at_ms) => {
                let wait = Duration::from_millis(at_ms.saturating_sub(clock.now_ms()).max(1));
                if let Either::Second(()) = race(sleep(wait), earlier).await {
                    continue;
                }
            }
        }
        timers.sweeper.borrow_mut().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(timers: &Timers, now_ms: u64) -> (Vec<RawFd>, Option<u64>) {
        let mut fds = Vec::new();
        let next = timers.pass_due(now_ms, |fd, _| fds.push(fd));
        (fds, next)
    }

    #[test]
    fn a_deadline_passes_once_at_its_moment_and_not_before() {
        let timers = Timers::default();
        let deadline = Deadline::new(7);
        deadline.set(&timers, 100, Cut::Both);
        assert_eq!(passed(&timers, 99), (vec![], Some(100)));
        assert!(!deadline.has_passed());
        assert_eq!(passed(&timers, 100), (vec![7], None));
        assert!(deadline.has_passed());
        assert_eq!(passed(&timers, 1_000), (vec![], None));
    }

    #[test]
    fn a_deadline_that_moved_later_is_queued_again_and_one_that_moved_earlier_passes_early() {
        let timers = Timers::default();
        let (later, earlier) = (Deadline::new(1), Deadline::new(2));
        later.set(&timers, 100, Cut::Both);
        later.set(&timers, 300, Cut::Both);
        earlier.set(&timers, 200, Cut::Both);
        earlier.set(&timers, 50, Cut::Both);
        assert_eq!(passed(&timers, 60).0, [2]);
        assert_eq!(passed(&timers, 250), (vec![], Some(300)));
        assert_eq!(passed(&timers, 300).0, [1]);
    }

    #[test]
    fn a_cleared_or_dropped_deadline_never_cuts_a_socket() {
        let timers = Timers::default();
        let cleared = Deadline::new(1);
        cleared.set(&timers, 10, Cut::Both);
        cleared.clear();
        let dropped = Deadline::new(2);
        dropped.set(&timers, 10, Cut::Both);
        drop(dropped);
        assert_eq!(passed(&timers, 1_000), (vec![], None));
    }

    #[test]
    fn moving_a_deadline_on_and_on_does_not_grow_the_queue() {
        let timers = Timers::default();
        let deadline = Deadline::new(1);
        for now in 0..10_000 {
            deadline.set(&timers, now + 10_000, Cut::Both);
            let _ = passed(&timers, now);
        }
        assert!(timers.heap.borrow().len() <= 2);
    }
}
