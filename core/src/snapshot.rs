//! The immutable state that workers serve from, and the cell through which the control thread replaces it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::definition::{Api, Subscriptions};
use crate::flow::FlowSet;
use crate::route::RouteTable;

/// An API with the subscriptions and keys that are valid on it.
#[derive(Debug, Clone)]
pub struct DeployedApi {
    /// The compiled API.
    pub api: Arc<Api>,
    /// Its subscriptions and keys; replaced without touching the API.
    pub subscriptions: Arc<Subscriptions>,
    /// What surrounds it.
    pub platform: Arc<Platform>,
}

/// What surrounds an API: its organization, its environment, and the node. Shared by the APIs of an environment.
#[derive(Debug, Default)]
pub struct Platform {
    /// Flows of the organization.
    pub flows: FlowSet,
    /// Dictionaries of the environment, by key.
    pub dictionaries: BTreeMap<Box<str>, BTreeMap<Box<str>, Box<str>>>,
    /// Facts of the node, for expressions.
    pub node: NodeFacts,
}

/// Facts of the node that expressions read (`#node`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Node id.
    pub id: Box<str>,
    /// Major version of the gateway.
    pub version: Box<str>,
    /// Tenant.
    pub tenant: Option<Box<str>>,
    /// Sharding tags.
    pub sharding_tags: Box<[Box<str>]>,
    /// Zone.
    pub zone: Option<Box<str>>,
}

impl DeployedApi {
    /// Whether requests pass without the chain of policies.
    pub fn is_plain(&self) -> bool {
        self.platform.flows.is_empty() && self.api.is_plain()
    }
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
