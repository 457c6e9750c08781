//! Where exchanges of this worker hand in their errands and wait for the answers.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use turnpike_core::need::link::{NOBODY, Ticket, WorkerEnd};
use turnpike_core::need::{Answer, Errand};
use turnpike_core::stats::WorkerStats;

use crate::driver::{Bell, Ringer};

/// Sends errands to the control thread and gives each answer to who waits for it.
pub(crate) struct Desk {
    link: RefCell<WorkerEnd>,
    places: RefCell<Places>,
    stats: Arc<WorkerStats>,
}

#[derive(Default)]
struct Places {
    waiting: Vec<Place>,
    free: Vec<u32>,
}

/// A place is used by one waiter after another: the turn tells an answer that comes too late from the one that is waited for.
#[derive(Default)]
struct Place {
    turn: u32,
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// Somebody who waits for an answer. Dropping it gives the place back; an answer that comes afterwards is dropped.
pub(crate) struct Waiting<'d> {
    desk: &'d Desk,
    place: u32,
}

impl Desk {
    pub(crate) fn new(link: WorkerEnd, stats: Arc<WorkerStats>) -> Self {
        Self {
            link: RefCell::new(link),
            places: RefCell::default(),
            stats,
        }
    }

    /// Sends an errand; `None` when too many are on their way.
    pub(crate) fn send(&self, errand: Errand) -> Option<Waiting<'_>> {
        let (place, ticket) = self.places.borrow_mut().take();
        // Made first, so that a place whose errand is refused is given back.
        let waiting = Waiting { desk: self, place };
        self.push(ticket, errand).then_some(waiting)
    }

    /// Sends an errand that nobody waits for.
    pub(crate) fn send_off(&self, errand: Errand) {
        self.push(NOBODY, errand);
    }

    fn push(&self, ticket: Ticket, errand: Errand) -> bool {
        let sent = self.link.borrow_mut().send(ticket, errand);
        if sent {
            self.stats.errands_sent.add(1);
        } else {
            self.stats.errands_refused.add(1);
        }
        sent
    }

    /// Hands out answers for ever; one task per worker.
    pub(crate) async fn answer(&self, ringer: Ringer, mut bell: Bell) {
        self.link.borrow().on_wake(move || ringer.ring());
        let mut buffer = vec![0; 16];
        loop {
            self.hand_out();
            let sleeps = self.link.borrow_mut().sleep();
            if sleeps {
                match bell.wait(buffer).await {
                    Some(returned) => buffer = returned,
                    None => return,
                }
            }
        }
    }

    fn hand_out(&self) {
        loop {
            let received = self.link.borrow_mut().receive();
            let Some((ticket, answer)) = received else {
                return;
            };
            self.places.borrow_mut().give(ticket, answer);
        }
    }
}

impl Places {
    fn take(&mut self) -> (u32, Ticket) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.waiting.push(Place::default());
            (self.waiting.len() - 1) as u32
        });
        let turn = self.waiting[place as usize].turn;
        (place, u64::from(turn) << 32 | u64::from(place))
    }

    fn give(&mut self, ticket: Ticket, answer: Answer) {
        let place = self.waiting.get_mut(ticket as u32 as usize);
        if let Some(place) = place.filter(|place| u64::from(place.turn) == ticket >> 32) {
            place.answer = Some(answer);
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    fn leave(&mut self, place: u32) {
        if let Some(left) = self.waiting.get_mut(place as usize) {
            *left = Place {
                turn: left.turn.wrapping_add(1),
                ..Place::default()
            };
            self.free.push(place);
        }
    }
}

impl Waiting<'_> {
    /// Waits for the answer.
    pub(crate) async fn answer(&self) -> Answer {
        poll_fn(|context| {
            let mut places = self.desk.places.borrow_mut();
            let Some(place) = places.waiting.get_mut(self.place as usize) else {
                return Poll::Ready(Answer::Refused);
            };
            match place.answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    place.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.desk.places.borrow_mut().leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_core::need::link::{ControlEnd, IN_FLIGHT_MAX, link};

    fn desk() -> (Desk, ControlEnd) {
        let (worker, control) = link();
        (Desk::new(worker, Arc::new(WorkerStats::new())), control)
    }

    fn errand() -> Errand {
        Errand::Resolve { host: "h".into() }
    }

    fn poll(waiting: &Waiting<'_>) -> Poll<Answer> {
        let answer = std::pin::pin!(waiting.answer());
        answer.poll(&mut std::task::Context::from_waker(Waker::noop()))
    }

    #[test]
    fn each_waiter_gets_its_own_answer() {
        let (desk, mut control) = desk();
        let first = desk.send(errand()).expect("room");
        let second = desk.send(errand()).expect("room");
        let tickets = [0; 2].map(|_| control.receive().expect("an errand").0);
        control.replies().send(tickets[1], Answer::Cache(None));
        desk.hand_out();
        assert!(poll(&first).is_pending());
        assert!(matches!(poll(&second), Poll::Ready(Answer::Cache(None))));
    }

    #[test]
    fn an_answer_that_comes_too_late_reaches_nobody_else() {
        let (desk, mut control) = desk();
        drop(desk.send(errand()).expect("room"));
        let next = desk.send(errand()).expect("room");
        assert_eq!(desk.places.borrow().waiting.len(), 1, "the place is reused");
        let (late, _) = control.receive().expect("an errand");
        control.replies().send(late, Answer::Done);
        desk.hand_out();
        assert!(poll(&next).is_pending());
    }

    #[test]
    fn a_refused_errand_leaves_no_place_behind() {
        let (desk, _control) = desk();
        for _ in 0..IN_FLIGHT_MAX {
            desk.send_off(errand());
        }
        assert!(desk.send(errand()).is_none());
        assert_eq!(desk.places.borrow().free.len(), 1);
        assert_eq!(desk.stats.errands_refused.get(), 1);
        assert_eq!(desk.stats.errands_sent.get(), IN_FLIGHT_MAX as u64);
    }
}
