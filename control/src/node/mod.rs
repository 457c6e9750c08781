//! The node as operators see it: node API, probes, metrics, monitoring (contracts operations 2-4, sync 10).
//!
//! # The nouns
//! - [`NodeIdentity`]: who this process is;
//! - [`NodeState`]: everything the node API shows, handed in as shared references; nothing here owns or changes it;
//! - [`NodeApi`]: the HTTP server of `services.core.http`;
//! - [`HealthChecks`]: the probes, evaluated at most once at a time and remembered for 5 s;
//! - [`Monitor`]: figures of the host and of the process, from `/proc`;
//! - [`heartbeat`] and [`monitoring`]: what is told to the control plane about this node.

mod api;
mod auth;
mod health;
pub mod heartbeat;
mod inventory;
pub mod monitor;
pub mod monitoring;
mod prometheus;
mod sources;
mod state;
mod sync_view;

pub use api::{NodeApi, NodeApiError};
pub use health::{HealthChecks, Probe, VISIBLE_PROBES};
pub use monitor::{Monitor, MonitorSample};
pub use sources::{figure_source, probe_source};
pub use state::{
    APPLICATION, DriverInfo, NODE_NAME, NodeIdentity, NodeState, Refusal, Scope, SyncReport,
    SyncView,
};
