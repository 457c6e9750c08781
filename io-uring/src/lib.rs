//! Turnpike's workers: one thread per CPU of the plan, each with its own ring, listeners, buffers and upstream pools.
//!
//! # The nouns
//! - [`Fleet`]: all workers of the process; started once, stopped once;
//! - `Worker`, `Shard`: one thread and its state; nothing in it is shared with another worker but the immutable snapshot;
//! - `driver`: the seam over the runtime (io_uring or epoll): reads that stay armed, writes, timers, the mailbox;
//! - `Connection`: one client connection, serving exchange after exchange;
//! - `Upstreams`, `Pool`: connections to backends, one pool per connector and worker.
//!
//! # What deliberately does not live here
//! Decisions (they are `turnpike-core`'s), the control plane, files, DNS. A worker never waits for anything but its sockets.
#![deny(unsafe_code)]

mod buffer;
mod connection;
mod driver;
mod fleet;
mod listener;
mod settings;
mod upstream;
mod worker;

pub use driver::{DriverKind, DriverReport};
pub use fleet::{Drained, Fleet, FleetError, FleetOptions, WorkerInput};
