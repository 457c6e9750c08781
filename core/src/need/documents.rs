//! Documents that exchanges share, by what they are fetched with: one fetch serves every API that names the same URL.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::{DocumentContent, Errand, HttpCall, HttpReply, Need, SharedDocument};
use crate::exchange::Exchange;

/// Documents of a process at most. One more is made only when another one is used by nobody.
pub const DOCUMENTS_MAX: usize = 1_024;
/// A document that could not be fetched is not asked for again within this time, milliseconds.
pub const RETRY_MS: u64 = 1_000;
/// Past its age by this much, milliseconds, a document is asked for now and then even though a fetch seems to be on its way: the
/// errand may have been dropped.
const OVERDUE_MS: u64 = 60_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct DocumentKey {
    kind: &'static str,
    url: Box<str>,
    headers: Vec<(String, String)>,
}

/// Every shared document of the process.
#[derive(Debug, Default)]
pub struct Documents {
    entries: Mutex<HashMap<DocumentKey, Arc<SharedDocument>>>,
}

/// Turns a response into what a document keeps.
pub type Parse = fn(&HttpReply) -> Result<Arc<dyn std::any::Any + Send + Sync>, String>;

impl Documents {
    /// The document of this kind that `call` fetches: the same one for the same URL and header fields; the options of the first call stay.
    /// `None` when there are too many.
    pub fn get(
        &self,
        kind: &'static str,
        call: HttpCall,
        parse: Parse,
    ) -> Option<Arc<SharedDocument>> {
        let key = DocumentKey {
            kind,
            url: call.url.clone(),
            headers: call
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
        };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = entries.get(&key) {
            return Some(Arc::clone(document));
        }
        if entries.len() >= DOCUMENTS_MAX {
            entries.retain(|_, document| Arc::strong_count(document) > 1);
            if entries.len() >= DOCUMENTS_MAX {
                return None;
            }
        }
        let document = Arc::new(SharedDocument {
            call,
            content: Default::default(),
            parse,
            failed_at_ms: Default::default(),
            asked: Default::default(),
        });
        entries.insert(key, Arc::clone(&document));
        Some(document)
    }
}

impl SharedDocument {
    /// The errand that fetches it, for an exchange that waits.
    pub fn need(self: &Arc<Self>) -> Need {
        Need::Errand(Box::new(Errand::Refresh(Arc::clone(self))))
    }

    /// Whether the last attempt failed, and less than `within_ms` milliseconds ago.
    pub fn failed_within(&self, within_ms: u64, now_ms: u64) -> bool {
        let failed_at_ms = self.failed_at_ms.load(Ordering::Relaxed);
        failed_at_ms != 0 && now_ms.saturating_sub(failed_at_ms) < within_ms
    }

    /// Whether an attempt was made, and the last one failed.
    pub fn has_failed(&self) -> bool {
        self.failed_at_ms.load(Ordering::Relaxed) != 0
    }

    /// Sends for a new version without waiting, unless somebody has or an attempt failed less than `retry_ms` milliseconds ago.
    pub fn refresh(self: &Arc<Self>, exchange: &mut Exchange<'_>, retry_ms: u64) {
        if !self.failed_within(retry_ms, exchange.now_ms)
            && !self.asked.swap(true, Ordering::AcqRel)
        {
            exchange.detached.push(Errand::Refresh(Arc::clone(self)));
        }
    }

    /// What it holds, however old. Content older than `age_max_ms` milliseconds is served while one refresh runs.
    pub fn read(
        self: &Arc<Self>,
        exchange: &mut Exchange<'_>,
        age_max_ms: u64,
    ) -> Option<Arc<DocumentContent>> {
        let content = self.content.load_full()?;
        let age_ms = exchange.now_ms.saturating_sub(content.fetched_at_ms);
        if age_ms > age_max_ms {
            if age_ms > age_max_ms.saturating_add(OVERDUE_MS)
                && !self.failed_within(OVERDUE_MS, exchange.now_ms)
                && exchange.random().is_multiple_of(256)
            {
                exchange.detached.push(Errand::Refresh(Arc::clone(self)));
            } else {
                self.refresh(exchange, 10 * RETRY_MS);
            }
        }
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(url: &str) -> HttpCall {
        HttpCall {
            method: "GET".into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            options: Default::default(),
        }
    }

    #[test]
    fn a_url_has_one_document_and_their_number_is_bounded() {
        let parse: Parse = |_| Err(String::new());
        let documents = Documents::default();
        let first = documents
            .get("jwks", call("http://a/"), parse)
            .expect("a document");
        let again = documents
            .get("jwks", call("http://a/"), parse)
            .expect("a document");
        assert!(Arc::ptr_eq(&first, &again));
        let other = documents
            .get("list", call("http://a/"), parse)
            .expect("a document");
        assert!(!Arc::ptr_eq(&first, &other));
        let held: Vec<_> = (0..DOCUMENTS_MAX)
            .map_while(|at| documents.get("jwks", call(&format!("http://{at}/")), parse))
            .collect();
        assert_eq!(held.len(), DOCUMENTS_MAX - 2);
        assert!(documents.get("jwks", call("http://b/"), parse).is_none());
        drop(held);
        assert!(documents.get("jwks", call("http://b/"), parse).is_some());
        let kept = documents
            .get("jwks", call("http://a/"), parse)
            .expect("a document");
        assert!(Arc::ptr_eq(&first, &kept));
    }
}
