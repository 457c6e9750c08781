//! Shared documents: fetched once for everybody who asks, kept by the document itself.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use turnpike_core::need::{Answer, DocumentContent, SharedDocument};

use super::http::Caller;
use super::reply::Reply;
use super::{ErrandKind, ErrandStats};
use crate::sync::Clock;

/// Fetches documents.
pub(super) struct Documents {
    caller: Arc<Caller>,
    clock: Clock,
    stats: Arc<ErrandStats>,
    /// Who waits for a fetch, by the address of the document; a fetch holds its document, so an address is never another's.
    waiting: Mutex<HashMap<usize, Vec<Reply>>>,
}

impl Documents {
    pub(super) fn new(caller: Arc<Caller>, clock: Clock, stats: Arc<ErrandStats>) -> Self {
        Self {
            caller,
            clock,
            stats,
            waiting: Mutex::default(),
        }
    }

    /// Lines up for a document. The fetch is handed out when none is under way; dropped before its end, it has failed.
    pub(super) fn join(
        self: &Arc<Self>,
        document: Arc<SharedDocument>,
        reply: Reply,
    ) -> Option<Fetch> {
        let mut waiting = self.waiting();
        if let Some(line) = waiting.get_mut(&address(&document)) {
            line.push(reply);
            return None;
        }
        waiting.insert(address(&document), vec![reply]);
        Some(Fetch {
            documents: Arc::clone(self),
            document,
            ended: false,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<usize, Vec<Reply>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from((self.clock)()).unwrap_or(0)
    }
}

fn address(document: &Arc<SharedDocument>) -> usize {
    Arc::as_ptr(document).addr()
}

/// One fetch of one document.
pub(super) struct Fetch {
    documents: Arc<Documents>,
    document: Arc<SharedDocument>,
    ended: bool,
}

impl Fetch {
    pub(super) async fn run(mut self) {
        let outcome = match self.documents.caller.call(self.document.call.clone()).await {
            // The reader is code of a policy: a fault of it is a document that cannot be read.
            Ok(reply) => catch_unwind(AssertUnwindSafe(|| (self.document.parse)(&reply)))
                .unwrap_or_else(|_| Err("its reader failed".to_owned())),
            Err(error) => Err(error.to_string()),
        };
        self.end(outcome);
    }

    fn end(&mut self, outcome: Result<Arc<dyn std::any::Any + Send + Sync>, String>) {
        self.ended = true;
        let document = &self.document;
        let now_ms = self.documents.now_ms();
        match outcome {
            Ok(parsed) => {
                document.content.store(Some(Arc::new(DocumentContent {
                    fetched_at_ms: now_ms,
                    parsed,
                })));
                if document.failed_at_ms.swap(0, Ordering::AcqRel) != 0 {
                    tracing::info!(url = place(document), "a shared document is fetched again");
                }
            }
            Err(reason) => {
                self.documents.stats.count_failed(ErrandKind::Refresh);
                let kept = document.content.load().is_some();
                // 0 says that nothing failed.
                if document.failed_at_ms.swap(now_ms.max(1), Ordering::AcqRel) == 0 {
                    tracing::warn!(
                        url = place(document),
                        kept,
                        "a shared document cannot be fetched: {reason}"
                    );
                } else {
                    tracing::debug!(
                        url = place(document),
                        "a shared document still cannot be fetched: {reason}"
                    );
                }
            }
        }
        document.asked.store(false, Ordering::Release);
        let line = self.documents.waiting().remove(&address(document));
        for reply in line.into_iter().flatten() {
            reply.send(Answer::Done);
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Err("the fetch was given up by the gateway".to_owned()));
        }
    }
}

/// The address without what may be a secret: query and user information.
fn place(document: &SharedDocument) -> String {
    super::redirect::parse(&document.call.url).map_or_else(
        |_| "an address that cannot be called".to_owned(),
        |uri| {
            format!(
                "{}://{}{}",
                uri.scheme_str().unwrap_or_default(),
                uri.authority().map_or("", |authority| authority.as_str()),
                uri.path()
            )
        },
    )
}
