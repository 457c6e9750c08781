//! One server or many: what runs commands.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::Value;
use turnpike_core::quota::CountError;

use super::cluster::Cluster;
use super::command::Command;
use super::connect::{Place, Target};
use super::link::{Link, LinkStats};

/// What runs commands.
#[derive(Debug, Clone)]
pub struct Backend {
    nodes: Nodes,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Nodes {
    One(Link),
    Many(Cluster),
}

/// What became of all links of a backend so far, summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackendFigures {
    /// Links with a connection.
    pub connected: u64,
    /// Links whose server is taken for hung.
    pub suspended: u64,
    /// Connections made.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Times that a server was taken for hung.
    pub suspensions: u64,
    /// Commands that failed.
    pub failures: u64,
    /// Commands that were not answered in time.
    pub timeouts: u64,
}

impl Backend {
    /// Begins to connect on the current runtime. `name` says in logs what it is for.
    pub fn start(name: &'static str, target: Target, with_scripts: bool) -> Self {
        let timeout = target.operation_timeout;
        let nodes = match target.place {
            Place::Cluster { .. } => Nodes::Many(Cluster::start(name, target, with_scripts)),
            _ => Nodes::One(Link::start(name, target, with_scripts)),
        };
        Self { nodes, timeout }
    }

    /// Limit for one operation.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs commands: an answer for each, in order, at the latest when `limit` has passed.
    pub async fn run(
        &self,
        commands: &[Command],
        limit: Duration,
    ) -> Vec<Result<Value, CountError>> {
        match &self.nodes {
            Nodes::One(link) => link.run(commands, limit).await,
            Nodes::Many(cluster) => cluster.run(commands, limit).await,
        }
    }

    /// Runs one command.
    pub async fn run_one(&self, command: Command, limit: Duration) -> Result<Value, CountError> {
        self.run(&[command], limit)
            .await
            .pop()
            .unwrap_or(Err(CountError::NotConnected))
    }

    /// A caller gave up waiting for an operation on this key, which still runs.
    pub(super) fn note_timeout(&self, key: &str) {
        match &self.nodes {
            Nodes::One(link) => link.note_timeout(),
            Nodes::Many(cluster) => cluster.note_timeout(key),
        }
    }

    /// Whether commands would be sent.
    pub fn is_open(&self) -> bool {
        let links = self.links();
        !links.is_empty() && links.iter().all(Link::is_open)
    }

    fn links(&self) -> Vec<Link> {
        match &self.nodes {
            Nodes::One(link) => vec![link.clone()],
            Nodes::Many(cluster) => cluster.links(),
        }
    }

    /// What became of its links so far. Links that have ended are no longer in it.
    pub fn figures(&self) -> BackendFigures {
        let links: Vec<Arc<LinkStats>> = self.links().iter().map(Link::stats).collect();
        links.iter().fold(BackendFigures::default(), |sum, link| {
            let load = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
            BackendFigures {
                connected: sum.connected + u64::from(link.connected.load(Ordering::Relaxed)),
                suspended: sum.suspended + u64::from(link.suspended.load(Ordering::Relaxed)),
                connects: sum.connects + load(&link.connects),
                connect_failures: sum.connect_failures + load(&link.connect_failures),
                suspensions: sum.suspensions + load(&link.suspensions),
                failures: sum.failures + load(&link.failures),
                timeouts: sum.timeouts + load(&link.timeouts),
            }
        })
    }
}
