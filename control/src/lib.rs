//! Turnpike's control thread: everything slow, on one current-thread tokio runtime.
//!
//! # The nouns
//! - [`token`]: the Cloud Token, what it says and what is derived from it (contract sync 1);
//! - [`bridge`]: the HTTP bridge protocol, its client and its wire types (contract sync 2, 3);
//! - [`sync`]: the synchronizer: windows, cycles, what is deployed and what is not (contract sync 4, 5, 7);
//! - [`definition`]: V2 and V4 definitions compiled to `turnpike_core` types (contract api-definition);
//! - [`snapshot`]: the mutable model of one gateway, and the immutable snapshots built from it;
//! - [`resolve`]: addresses of backend hosts;
//! - [`errand`]: what policies wait for: calls of HTTP servers, names, shared documents, the shared store of counters;
//! - [`report`]: records from the workers' rings to the Cloud Gate (contract reporting);
//! - [`node`]: node API, probes, metrics, heartbeat, monitoring (contract operations 2-4, sync 10);
//! - [`license`]: the licence file, read and shown, never enforced (contract sync 8);
//! - [`ControlPlane`]: all of the above, running together on the control thread;
//! - [`cloud_gate`]: a real local Cloud Gate for development, tests and air-gapped sites.
//!
//! # What deliberately does not live here
//! Client sockets and backends' traffic: those belong to the workers. This crate and `turnpike-uring` never depend on each
//! other; they meet in types of `turnpike-core`.
#![forbid(unsafe_code)]

pub mod bridge;
pub mod cloud_gate;
pub mod definition;
pub mod errand;
pub mod license;
pub mod node;
mod plane;
pub mod report;
pub mod resolve;
pub mod snapshot;
pub mod sync;
pub mod token;

pub use plane::{ControlPlane, ControlPlaneInput, StartError};
