//! The node as operators see it: node API, probes, metrics, monitoring (contracts operations 2-4, sync 10).
//!
//! # The nouns
//! - [`NodeIdentity`]: who this process is;
//! - [`NodeState`]: everything the node API shows, handed in as shared references; nothing here owns or changes it;
//! - [`NodeApi`]: the HTTP server of `services.core.http`;
//! - [`HealthChecks`]: the probes, evaluated at most once at a time and remembered for 5 s;
//! - [`Monitor`]: figures of the host and of the process, from `/proc`.

mod api;
mod auth;
mod health;
mod inventory;
pub mod monitor;
mod prometheus;
mod state;
mod sync_view;

pub use api::{NodeApi, NodeApiError};
pub use health::{HealthChecks, Probe, VISIBLE_PROBES};
pub use monitor::{Monitor, MonitorSample};
pub use state::{
    APPLICATION, DriverInfo, NODE_NAME, NodeIdentity, NodeState, Refusal, Scope, SyncReport,
    SyncView,
};
