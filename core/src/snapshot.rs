//! The immutable state that workers serve from, and the cell through which the control thread replaces it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::definition::{Api, Subscriptions};
use crate::route::RouteTable;

/// An API with the subscriptions and keys that are valid on it.
#[derive(Debug, Clone)]
pub struct DeployedApi {
    /// The compiled API.
    pub api: Arc<Api>,
    /// Its subscriptions and keys; replaced without touching the API.
    pub subscriptions: Arc<Subscriptions>,
}

/// Everything that a request needs, as of one publication. Never mutated; freed by the last exchange that began on it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Number of the publication, growing by one.
    pub revision: u64,
    /// Host and context path to the index of an API in `apis`.
    pub routes: Arc<RouteTable>,
    /// Deployed APIs, indexed by [`crate::route::Route::api`].
    pub apis: Box<[DeployedApi]>,
}

/// Holds the current [`Snapshot`]. The control thread publishes, workers load; neither waits for the other.
#[derive(Debug)]
pub struct SnapshotCell(ArcSwap<Snapshot>);

impl SnapshotCell {
    /// A cell with an empty snapshot: every request gets 404.
    pub fn new() -> Self {
        Self(ArcSwap::from_pointee(Snapshot::default()))
    }

    /// Replaces the snapshot in one step.
    pub fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }

    /// The current snapshot, counted. Workers keep it and ask [`Self::is_current`] before the next exchange.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Whether `held` is still the published snapshot: one atomic load.
    pub fn is_current(&self, held: &Arc<Snapshot>) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.0.load()), Arc::as_ptr(held))
    }
}

impl Default for SnapshotCell {
    fn default() -> Self {
        Self::new()
    }
}
