//! The worker's open connections, so that a stop can end those that wait.

use std::cell::RefCell;

use crate::driver::{Deadline, DeadlineHandle, Timers};

/// Handles of open connections by place; places are reused.
#[derive(Default)]
pub(crate) struct Registry {
    places: RefCell<Vec<Option<DeadlineHandle>>>,
    free: RefCell<Vec<usize>>,
}

impl Registry {
    /// Enters a connection and returns its place.
    pub(crate) fn enter(&self, deadline: &Deadline) -> usize {
        let mut places = self.places.borrow_mut();
        match self.free.borrow_mut().pop() {
            Some(place) => {
                places[place] = Some(deadline.handle());
                place
            }
            None => {
                places.push(Some(deadline.handle()));
                places.len() - 1
            }
        }
    }

    /// Frees a place.
    pub(crate) fn leave(&self, place: usize) {
        self.places.borrow_mut()[place] = None;
        self.free.borrow_mut().push(place);
    }

    /// Ends every connection that waits for a request, at `at_ms`.
    pub(crate) fn end_idle(&self, timers: &Timers, at_ms: u64) {
        for handle in self.places.borrow().iter().flatten() {
            handle.end_if_idle(timers, at_ms);
        }
    }
}
