//! The right, and the duty, to answer one errand.

use std::sync::Arc;

use turnpike_core::need::link::{Replies, Ticket};
use turnpike_core::need::{Answer, HttpError};

use super::{ErrandKind, ErrandStats};

/// Answers one errand exactly once: dropped without an answer (a task was stopped, or panicked), it answers with a failure.
#[derive(Debug)]
pub(super) struct Reply {
    kind: ErrandKind,
    stats: Arc<ErrandStats>,
    /// `None` once it is answered.
    open: Option<(Replies, Ticket)>,
}

impl Reply {
    pub(super) fn new(
        kind: ErrandKind,
        ticket: Ticket,
        replies: &Replies,
        stats: &Arc<ErrandStats>,
    ) -> Self {
        Self {
            kind,
            stats: Arc::clone(stats),
            open: Some((replies.clone(), ticket)),
        }
    }

    pub(super) fn send(mut self, answer: Answer) {
        self.answer(answer);
    }

    fn answer(&mut self, answer: Answer) {
        let Some((replies, ticket)) = self.open.take() else {
            return;
        };
        let failed = match &answer {
            Answer::Http(outcome) => outcome.is_err(),
            Answer::Addresses(addresses) => addresses.is_empty(),
            Answer::Refused => true,
            _ => false,
        };
        if failed {
            self.stats.count_failed(self.kind);
        }
        replies.send(ticket, answer);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(match self.kind {
            ErrandKind::Http => Answer::Http(Err(HttpError::Broken(
                "the call was given up by the gateway".to_owned(),
            ))),
            ErrandKind::Resolve => Answer::Addresses(Vec::new()),
            // The document itself tells that there is no good answer.
            ErrandKind::Refresh => Answer::Done,
            ErrandKind::Count | ErrandKind::TakeToken | ErrandKind::Cache => Answer::Refused,
        });
    }
}
