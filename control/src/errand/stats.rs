//! Figures of the errands, for operators.

use std::sync::atomic::{AtomicU64, Ordering};

use turnpike_core::need::Errand;
use turnpike_core::need::link::LinkFigures;

/// Kinds of errands: the label `kind` of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrandKind {
    /// A count in the shared store.
    Count,
    /// A token of a bucket in the shared store.
    TakeToken,
    /// A shared cache: read, write, removal.
    Cache,
    /// A call of an HTTP server.
    Http,
    /// A look-up of a host name.
    Resolve,
    /// A shared document.
    Refresh,
}

impl ErrandKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Count,
        Self::TakeToken,
        Self::Cache,
        Self::Http,
        Self::Resolve,
        Self::Refresh,
    ];

    /// The kind of an errand.
    pub fn of(errand: &Errand) -> Self {
        match errand {
            Errand::Count(_) => Self::Count,
            Errand::TakeToken(_) => Self::TakeToken,
            Errand::Http(_) => Self::Http,
            Errand::CacheGet { .. } | Errand::CachePut { .. } | Errand::CacheEvict { .. } => {
                Self::Cache
            }
            Errand::Resolve { .. } => Self::Resolve,
            Errand::Refresh(_) => Self::Refresh,
        }
    }

    /// Name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::TakeToken => "take_token",
            Self::Cache => "cache",
            Self::Http => "http",
            Self::Resolve => "resolve",
            Self::Refresh => "refresh",
        }
    }
}

/// Counters of the errands of every worker.
#[derive(Debug, Default)]
pub struct ErrandStats {
    links: Vec<LinkFigures>,
    taken: [AtomicU64; ErrandKind::ALL.len()],
    failed: [AtomicU64; ErrandKind::ALL.len()],
}

impl ErrandStats {
    /// Counters at zero, with the figures of the workers' links in worker order.
    pub fn new(links: Vec<LinkFigures>) -> Self {
        Self {
            links,
            ..Self::default()
        }
    }

    /// Links of the workers, in worker order.
    pub fn links(&self) -> &[LinkFigures] {
        &self.links
    }

    /// Errands of a kind that were taken from the workers.
    pub fn taken(&self, kind: ErrandKind) -> u64 {
        self.taken[kind as usize].load(Ordering::Relaxed)
    }

    /// Errands of a kind that ended without what was asked for. Of caches it is not known: an entry that cannot be read is a miss.
    pub fn failed(&self, kind: ErrandKind) -> u64 {
        let of_links: u64 = match kind {
            ErrandKind::Count => self.links.iter().map(LinkFigures::failed_counts).sum(),
            ErrandKind::TakeToken => self.links.iter().map(LinkFigures::failed_takes).sum(),
            _ => 0,
        };
        of_links + self.failed[kind as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_taken(&self, kind: ErrandKind) {
        self.taken[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failed(&self, kind: ErrandKind) {
        self.failed[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}
