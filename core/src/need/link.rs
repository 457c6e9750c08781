//! The road between one worker and the control thread: errands one way, answers back.
//!
//! Both directions are bounded rings with one writer and one reader. At most [`IN_FLIGHT_MAX`] errands are on their way at a time, so a
//! ring that has as many places can never be full when an answer is put into it. A side that has nothing to do says that it
//! sleeps; only then does the other side pay for a wake-up, so a burst costs one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rtrb::{Consumer, Producer, RingBuffer};

use super::{Answer, Errand};

/// Errands of one worker that are on their way or waiting for their answer at most. One more is refused.
pub const IN_FLIGHT_MAX: usize = 4_096;

/// Names the waiter of an errand inside its worker.
pub type Ticket = u64;

/// The ticket of an errand that nobody waits for; its answer only frees its place.
pub const NOBODY: Ticket = u64::MAX;

type Wake = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Shared {
    worker_sleeps: AtomicBool,
    control_sleeps: AtomicBool,
    wake_worker: OnceLock<Wake>,
    wake_control: OnceLock<Wake>,
    received: AtomicU64,
    answered: AtomicU64,
    failed_counts: AtomicU64,
    failed_takes: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct WorkerEnd {
    errands: Producer<(Ticket, Errand)>,
    answers: Consumer<(Ticket, Answer)>,
    in_flight: usize,
    shared: Arc<Shared>,
}

/// The control thread's end: where errands come from.
#[derive(Debug)]
pub struct ControlEnd {
    errands: Consumer<(Ticket, Errand)>,
    replies: Replies,
    shared: Arc<Shared>,
}

/// Where answers go. Cloned into every task of the control thread that meets an errand.
#[derive(Debug, Clone)]
pub struct Replies {
    answers: Arc<Mutex<Producer<(Ticket, Answer)>>>,
    shared: Arc<Shared>,
}

/// The two ends of a new link.
pub fn link() -> (WorkerEnd, ControlEnd) {
    let (errands_in, errands_out) = RingBuffer::new(IN_FLIGHT_MAX);
    let (answers_in, answers_out) = RingBuffer::new(IN_FLIGHT_MAX);
    let shared = Arc::new(Shared::default());
    let worker = WorkerEnd {
        errands: errands_in,
        answers: answers_out,
        in_flight: 0,
        shared: Arc::clone(&shared),
    };
    let control = ControlEnd {
        errands: errands_out,
        replies: Replies {
            answers: Arc::new(Mutex::new(answers_in)),
            shared: Arc::clone(&shared),
        },
        shared,
    };
    (worker, control)
}

impl WorkerEnd {
    /// Sets what wakes this worker: called from the control thread, at most once per sleep.
    pub fn on_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.wake_worker.set(Box::new(wake));
    }

    /// Sends an errand off. False when too many are on their way: it is not sent then.
    pub fn send(&mut self, ticket: Ticket, errand: Errand) -> bool {
        if self.in_flight >= IN_FLIGHT_MAX || self.errands.push((ticket, errand)).is_err() {
            return false;
        }
        self.in_flight += 1;
        fence(Ordering::SeqCst);
        if self.shared.control_sleeps.load(Ordering::Relaxed)
            && self.shared.control_sleeps.swap(false, Ordering::AcqRel)
            && let Some(wake) = self.shared.wake_control.get()
        {
            wake();
        }
        true
    }

    /// The next answer that has arrived.
    pub fn receive(&mut self) -> Option<(Ticket, Answer)> {
        let answer = self.answers.pop().ok()?;
        self.in_flight -= 1;
        Some(answer)
    }

    /// Says that this worker is about to wait for its wake-up. False when an answer has arrived meanwhile: it must not wait then.
    pub fn sleep(&mut self) -> bool {
        self.shared.worker_sleeps.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.answers.is_empty() {
            return true;
        }
        self.shared.worker_sleeps.store(false, Ordering::Release);
        false
    }

    /// Errands that have not been answered yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl ControlEnd {
    /// Sets what wakes the control thread: called from the worker, at most once per sleep.
    pub fn on_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.wake_control.set(Box::new(wake));
    }

    /// The next errand.
    pub fn receive(&mut self) -> Option<(Ticket, Errand)> {
        let errand = self.errands.pop().ok()?;
        self.shared.received.fetch_add(1, Ordering::Relaxed);
        Some(errand)
    }

    /// Says that the control thread is about to wait for its wake-up. False when an errand has arrived meanwhile.
    pub fn sleep(&mut self) -> bool {
        self.shared.control_sleeps.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.errands.is_empty() {
            return true;
        }
        self.shared.control_sleeps.store(false, Ordering::Release);
        false
    }

    /// Where the answers go.
    pub fn replies(&self) -> Replies {
        self.replies.clone()
    }

    /// Whether the worker has ended.
    pub fn is_abandoned(&self) -> bool {
        self.errands.is_abandoned()
    }

    /// Figures of this link for operators.
    pub fn figures(&self) -> LinkFigures {
        LinkFigures(Arc::clone(&self.shared))
    }
}

/// Figures of a link, as of some recent moment; they outlive its ends.
#[derive(Debug, Clone)]
pub struct LinkFigures(Arc<Shared>);

impl LinkFigures {
    /// Errands that the control thread has taken and not answered.
    pub fn in_flight(&self) -> u64 {
        let answered = self.0.answered.load(Ordering::Relaxed);
        let received = self.0.received.load(Ordering::Relaxed);
        received.saturating_sub(answered)
    }

    /// Counters that could not be asked.
    pub fn failed_counts(&self) -> u64 {
        self.0.failed_counts.load(Ordering::Relaxed)
    }

    /// Token buckets that could not be asked.
    pub fn failed_takes(&self) -> u64 {
        self.0.failed_takes.load(Ordering::Relaxed)
    }
}

impl Replies {
    /// Sends an answer. Every errand must be answered exactly once.
    pub fn send(&self, ticket: Ticket, answer: Answer) {
        match answer {
            Answer::Count(Err(_)) => _ = self.shared.failed_counts.fetch_add(1, Ordering::Relaxed),
            Answer::Tokens(Err(_)) => _ = self.shared.failed_takes.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
        self.shared.answered.fetch_add(1, Ordering::Relaxed);
        let pushed = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((ticket, answer));
        debug_assert!(pushed.is_ok(), "more answers than errands");
        fence(Ordering::SeqCst);
        if self.shared.worker_sleeps.load(Ordering::Relaxed)
            && self.shared.worker_sleeps.swap(false, Ordering::AcqRel)
            && let Some(wake) = self.shared.wake_worker.get()
        {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::CountError;

    fn resolve() -> Errand {
        Errand::Resolve { host: "h".into() }
    }

    #[test]
    fn an_errand_is_answered_under_its_ticket() {
        let (mut worker, mut control) = link();
        assert!(worker.send(7, resolve()));
        let (ticket, _) = control.receive().expect("an errand");
        control.replies().send(ticket, Answer::Done);
        assert!(matches!(worker.receive(), Some((7, Answer::Done))));
        assert_eq!(worker.in_flight(), 0);
    }

    #[test]
    fn the_figures_tell_what_is_in_flight_and_what_could_not_be_counted() {
        let (mut worker, mut control) = link();
        let figures = control.figures();
        for ticket in 0..3 {
            assert!(worker.send(ticket, resolve()));
            control.receive().expect("an errand");
        }
        assert_eq!(figures.in_flight(), 3);
        let replies = control.replies();
        replies.send(0, Answer::Count(Err(CountError::NoStore)));
        replies.send(1, Answer::Tokens(Err(CountError::Timeout(10))));
        drop(control);
        assert_eq!(figures.in_flight(), 1);
        assert_eq!((figures.failed_counts(), figures.failed_takes()), (1, 1));
    }

    #[test]
    fn one_wake_up_serves_a_burst() {
        let (mut worker, mut control) = link();
        let wakes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&wakes);
        control.on_wake(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        assert!(control.sleep());
        for ticket in 0..10 {
            assert!(worker.send(ticket, resolve()));
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert!(!control.sleep(), "errands are waiting");
    }

    #[test]
    fn too_many_errands_are_refused() {
        let (mut worker, mut control) = link();
        for ticket in 0..IN_FLIGHT_MAX as u64 {
            assert!(worker.send(ticket, resolve()));
        }
        assert!(!worker.send(0, resolve()));
        control.receive().expect("the first");
        assert!(
            !worker.send(0, resolve()),
            "what is not answered keeps its place"
        );
    }

    #[test]
    fn no_wake_up_is_lost_between_two_threads() {
        const ERRANDS: u64 = 20_000;
        let (mut worker, mut control) = link();
        let control_thread = std::thread::current();
        control.on_wake(move || control_thread.unpark());
        let sender = std::thread::spawn(move || {
            let me = std::thread::current();
            worker.on_wake(move || me.unpark());
            let mut answered = 0;
            for ticket in 0..ERRANDS {
                while !worker.send(ticket, resolve()) {
                    let before = answered;
                    while worker.receive().is_some() {
                        answered += 1;
                    }
                    // Places that were freed are used before anybody waits.
                    if answered == before && worker.sleep() {
                        std::thread::park();
                    }
                }
            }
            while answered < ERRANDS {
                while worker.receive().is_some() {
                    answered += 1;
                }
                if answered < ERRANDS && worker.sleep() {
                    std::thread::park();
                }
            }
        });
        let mut received = 0;
        while received < ERRANDS {
            while let Some((ticket, _)) = control.receive() {
                control.replies().send(ticket, Answer::Done);
                received += 1;
            }
            if received < ERRANDS && control.sleep() {
                std::thread::park();
            }
        }
        sender.join().expect("the worker's thread");
    }
}
