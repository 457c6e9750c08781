//! What the node API is given to show.

use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_config::Config;
use turnpike_core::lifecycle::Lifecycle;
use turnpike_core::snapshot::SnapshotCell;
use turnpike_core::stats::WorkerStats;

use super::{HealthChecks, Monitor};
use crate::errand::ErrandStats;
use crate::license::License;
use crate::report::ReporterStats;

/// `name` of the node, as the console expects it.
pub const NODE_NAME: &str = "Gravitee.io - API Gateway";
/// `application` of the node: label of every metric, property of every alert event.
pub const APPLICATION: &str = "gio-apim-gateway";

/// Who this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Random UUID of this process.
    pub id: String,
    /// Host name.
    pub hostname: String,
    /// Version of the reference that this gateway declares to be compatible with (`management.http.clientVersion`).
    pub compatibility_version: String,
    /// Version of this program.
    pub build_version: String,
    /// Source revision of this program, `unknown` when it was not built from a checkout.
    pub revision: String,
}

/// The engine that drives the workers' sockets, and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverInfo {
    /// `io_uring` or `epoll`.
    pub driver: String,
    /// Why, in a few words.
    pub reason: String,
}

/// The synchronizer's account of itself (contract sync 5.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncReport {
    /// The first complete cycle is done, or a stored snapshot was loaded.
    pub initial_done: bool,
    /// Cycles begun.
    pub counter: u64,
    /// When the next cycle begins, Unix milliseconds; `None` while one runs.
    pub next_sync_ms: Option<u64>,
    /// When a cycle last succeeded, Unix milliseconds.
    pub last_success_ms: Option<u64>,
    /// Whether the last cycle failed.
    pub last_on_error: bool,
    /// Why the last failed cycle failed.
    pub last_error_message: Option<String>,
    /// Cycles that failed.
    pub total_on_errors: u64,
}

/// An API that the control plane asks for and this gateway does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// API id.
    pub id: String,
    /// API name, empty when it could not be read.
    pub name: String,
    /// Why, for the operator.
    pub reason: String,
    /// Whether an earlier deployment is still served.
    pub is_served_as_before: bool,
}

/// What this gateway serves, as the control plane told it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Environment ids.
    pub environments: Vec<String>,
    /// Organization ids.
    pub organizations: Vec<String>,
}

/// What the node API asks of the synchronizer.
pub trait SyncView: Send + Sync {
    /// Where synchronisation stands.
    fn report(&self) -> SyncReport;

    /// APIs that are not deployed, and why.
    fn refusals(&self) -> Vec<Refusal>;

    /// Environments and organizations; `None` until the control plane told them.
    fn scope(&self) -> Option<Scope> {
        None
    }

    /// Body of `/_node/sync`. An implementation that knows more than [`SyncReport`] says may add members.
    fn to_json(&self) -> serde_json::Value {
        super::inventory::sync(&self.report())
    }
}

/// Everything the node API shows.
#[derive(Clone)]
pub struct NodeState {
    /// Who this process is.
    pub identity: Arc<NodeIdentity>,
    /// The resolved settings.
    pub config: Arc<Config>,
    /// Where the process stands.
    pub lifecycle: Arc<Lifecycle>,
    /// Counters of every worker, in worker order.
    pub workers: Vec<Arc<WorkerStats>>,
    /// The engine that drives them.
    pub driver: Arc<DriverInfo>,
    /// Addresses on which the workers listen.
    pub listeners: Vec<SocketAddr>,
    /// What is deployed.
    pub snapshot: Arc<SnapshotCell>,
    /// Where synchronisation stands.
    pub sync: Arc<dyn SyncView>,
    /// What became of the reports; `None` without a reporter.
    pub reporter: Option<Arc<ReporterStats>>,
    /// What workers asked the control thread for.
    pub errands: Arc<ErrandStats>,
    /// The licence, as read.
    pub license: Arc<License>,
    /// The probes.
    pub health: Arc<HealthChecks>,
    /// Host and process figures.
    pub monitor: Arc<Monitor>,
}

impl std::fmt::Debug for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeState")
            .field("identity", &self.identity)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}
