//! Synchronisation with the control plane (contract sync 4, 5, 7).
//!
//! # The nouns
//! - [`Synchronizer`]: the loop: handshake, then one cycle after the other;
//! - [`Window`]: which changes a cycle asks for;
//! - [`Deployer`]: compiles, deploys, publishes; behind it stand `definition` and `snapshot`;
//! - [`SyncStatus`]: what the node API and the metrics may tell about it;
//! - `surroundings`: flows of organizations, dictionaries, shared policy groups;
//! - `Ledger`: subscriptions and keys of the deployed APIs;
//! - `store`: the last known good state on disk.
//!
//! # The rules
//! Every step may be repeated with the same data without effect. The watermark moves only when a whole cycle succeeded.
//! Nothing is undeployed because the control plane is away. A broken API is refused by name and keeps what it had.

mod access;
mod apis;
mod backoff;
mod consumers;
mod deploy;
mod deployer;
mod identity;
mod ledger;
mod status;
mod store;
mod surroundings;
mod synchronizer;
mod window;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::test_settings;

pub use deploy::{
    ApiRelease, Deployer, Deployment, Refused, RefusedKind, SharedPolicyGroup, SubscribablePlan,
};
pub use deployer::SnapshotDeployer;
pub use identity::Identity;
pub use status::{Connection, RefusedApi, SyncReport, SyncStatus};
pub use synchronizer::{Clock, Synchronizer, system_clock};
pub use window::Window;
