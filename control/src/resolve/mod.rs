//! Addresses of backend hosts: looked up here, read by workers when they connect.
//!
//! A look-up that fails never replaces a good answer. A look-up that takes longer than [`LOOK_UP_MS_MAX`] counts as failed, and
//! is used all the same when it answers later; until then no second one for the same host begins, so that a dead name server
//! cannot pile up threads.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use turnpike_core::definition::{Addresses, Connector};

use crate::definition::Connectors;

/// How long a look-up is waited for, milliseconds.
pub const LOOK_UP_MS_MAX: u64 = 2_000;

/// How long [`Resolver::resolve_new`] waits for all look-ups together, milliseconds.
pub const RESOLVE_NEW_MS_MAX: u64 = 5_000;

/// Look-ups at one time.
const LOOK_UPS_MAX: usize = 32;

/// Addresses kept per host.
const ADDRESSES_MAX: usize = 64;

/// When hosts are looked up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshPeriods {
    /// After a good answer, milliseconds.
    pub good_ms: u64,
    /// After a failed look-up, milliseconds.
    pub failed_ms: u64,
}

impl Default for RefreshPeriods {
    fn default() -> Self {
        Self {
            good_ms: 30_000,
            failed_ms: 5_000,
        }
    }
}

/// Asks for the addresses of a host name.
pub trait LookUp: Send + Sync + 'static {
    /// Addresses in the order of preference.
    fn look_up(&self, host: &str)
    -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static;
}

/// The system's resolver (`getaddrinfo`), on a thread of the runtime's blocking pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookUp;

impl LookUp for SystemLookUp {
    fn look_up(
        &self,
        host: &str,
    ) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static {
        let host = host.to_owned();
        async move {
            let addresses = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        }
    }
}

/// Keeps the addresses of every living connector fresh.
#[derive(Debug)]
pub struct Resolver<L = SystemLookUp>(Arc<Shared<L>>);

#[derive(Debug)]
struct Shared<L> {
    connectors: Connectors,
    look_up: L,
    periods: RefreshPeriods,
    hosts: Mutex<HashMap<Box<str>, Host>>,
    permits: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Host {
    /// A look-up that has not answered.
    asking: bool,
    /// When it is asked for again; `None` before the first answer.
    due: Option<Instant>,
    /// Whether the last look-up failed: only the first failure of a row is a warning.
    failing: bool,
}

impl Resolver {
    /// A resolver for these connectors, with the system's look-up.
    pub fn new(connectors: Connectors) -> Self {
        Self::with(connectors, SystemLookUp, RefreshPeriods::default())
    }
}

impl<L: LookUp> Resolver<L> {
    /// A resolver with its own look-up and periods.
    pub fn with(connectors: Connectors, look_up: L, periods: RefreshPeriods) -> Self {
        Self(Arc::new(Shared {
            connectors,
            look_up,
            periods,
            hosts: Mutex::default(),
            permits: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
        }))
    }

    /// Looks up the hosts of connectors that were never looked up, and waits for the answers, at most
    /// [`RESOLVE_NEW_MS_MAX`]. To be called before a snapshot with new connectors is published.
    pub async fn resolve_new(&self) {
        let connectors = self.0.connectors.live();
        let is_new = |connector: &&Arc<Connector>| {
            matches!(**connector.addresses.load(), Addresses::Unresolved)
        };
        let unresolved: HashSet<Box<str>> = connectors
            .iter()
            .filter(is_new)
            .map(|one| one.dialed().0.into())
            .collect();
        drop(connectors);
        let limit = Duration::from_millis(RESOLVE_NEW_MS_MAX);
        if tokio::time::timeout(limit, self.look_up_all(unresolved))
            .await
            .is_err()
        {
            tracing::warn!(
                "not every backend host was looked up within {RESOLVE_NEW_MS_MAX} ms; the others follow"
            );
        }
    }

    /// Looks up every host that is due, and forgets hosts that no connector has any more.
    pub async fn refresh(&self) {
        let connectors = self.0.connectors.live();
        // Host names, and whether a connector still waits for its first answer.
        let mut living: HashMap<Box<str>, bool> = HashMap::new();
        for connector in connectors
            .iter()
            .filter(|connector| connector.dialed().0.parse::<IpAddr>().is_err())
        {
            let unresolved = matches!(**connector.addresses.load(), Addresses::Unresolved);
            *living.entry(connector.dialed().0.into()).or_default() |= unresolved;
        }
        drop(connectors);
        let now = Instant::now();
        let due: HashSet<Box<str>> = {
            let mut hosts = self.0.hosts();
            hosts.retain(|name, host| host.asking || living.contains_key(name));
            let is_due = |name: &str| {
                hosts
                    .get(name)
                    .and_then(|host| host.due)
                    .is_none_or(|due| due <= now)
            };
            living
                .into_iter()
                .filter(|(name, unresolved)| *unresolved || is_due(name))
                .map(|(name, _)| name)
                .collect()
        };
        self.look_up_all(due).await;
    }

    /// Calls [`Self::refresh`] for ever, once a second.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.refresh().await;
        }
    }

    async fn look_up_all(&self, names: HashSet<Box<str>>) {
        let mut waiting = JoinSet::new();
        for name in names {
            waiting.spawn(Arc::clone(&self.0).look_up_once(name));
        }
        while waiting.join_next().await.is_some() {}
    }
}

impl<L: LookUp> Shared<L> {
    /// Looks one host up and waits for the answer, within the limits. A look-up that is under way already is not repeated.
    async fn look_up_once(self: Arc<Self>, name: Box<str>) {
        // The semaphore is never closed; if it were, the look-up would only be unlimited.
        let _permit = Arc::clone(&self.permits).acquire_owned().await;
        {
            let mut hosts = self.hosts();
            let host = hosts.entry(name.clone()).or_default();
            if std::mem::replace(&mut host.asking, true) {
                return;
            }
        }
        // A task of its own: it goes on when this one stops waiting.
        let shared = Arc::clone(&self);
        let asked = name.clone();
        let answer = tokio::spawn(async move {
            let answer = shared.look_up.look_up(&asked).await;
            shared.answered(&asked, answer);
        });
        match tokio::time::timeout(Duration::from_millis(LOOK_UP_MS_MAX), answer).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                self.hosts().entry(name.clone()).or_default().asking = false;
                self.failed(&name, "the look-up was stopped");
            }
            Err(_) => self.failed(&name, &format!("no answer within {LOOK_UP_MS_MAX} ms")),
        }
    }

    fn answered(&self, name: &str, answer: io::Result<Vec<IpAddr>>) {
        self.hosts().entry(name.into()).or_default().asking = false;
        match answer {
            Ok(addresses) if !addresses.is_empty() => self.resolved(name, &addresses),
            Ok(_) => self.failed(name, "the name has no address"),
            Err(error) => self.failed(name, &error.to_string()),
        }
    }

    fn resolved(&self, name: &str, addresses: &[IpAddr]) {
        let mut distinct: Vec<IpAddr> = Vec::new();
        for address in addresses {
            if distinct.len() < ADDRESSES_MAX && !distinct.contains(address) {
                distinct.push(*address);
            }
        }
        if self.schedule(name, self.periods.good_ms, false) {
            tracing::info!("look-up of {name} succeeds again");
        }
        for connector in self.connectors.to_host(name) {
            let addresses = distinct
                .iter()
                .map(|address| SocketAddr::new(*address, connector.dialed().1))
                .collect();
            let addresses = Addresses::Resolved(addresses);
            if **connector.addresses.load() != addresses {
                connector.addresses.store(addresses);
            }
        }
    }

    /// Keeps the last good answer; without one, says why there is none.
    fn failed(&self, name: &str, reason: &str) {
        let repeated = self.schedule(name, self.periods.failed_ms, true);
        let mut effect = "requests to it are answered with an error";
        for connector in self.connectors.to_host(name) {
            if matches!(**connector.addresses.load(), Addresses::Resolved(_)) {
                effect = "the addresses of the last good answer stay in use";
            } else {
                connector.addresses.store(Addresses::Failed(reason.into()));
            }
        }
        if repeated {
            tracing::debug!("look-up of {name} failed again: {reason}");
        } else {
            tracing::warn!("look-up of {name} failed: {reason}; {effect}");
        }
    }

    /// Sets when the host is asked for again. Returns whether the look-up before had failed.
    fn schedule(&self, name: &str, delay_ms: u64, failing: bool) -> bool {
        let due = Instant::now() + Duration::from_millis(delay_ms);
        let mut hosts = self.hosts();
        let host = hosts.entry(name.into()).or_default();
        host.due = Some(due);
        std::mem::replace(&mut host.failing, failing)
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Box<str>, Host>> {
        // Every change of the map is one statement, so a panic elsewhere leaves nothing half done.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
