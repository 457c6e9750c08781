//! The mutable model of one gateway, and the immutable snapshots built from it (contract sync 5.7).
//!
//! # The nouns
//! - [`SnapshotBuilder`]: what is deployed, who may use it, and what is refused;
//! - `claims`: which API holds which path on which host;
//! - `platform`: what surrounds the APIs of an environment;
//! - `consumers`: subscriptions and keys of all APIs; `certificates`: the client certificates of subscriptions.
//!
//! # The rules
//! An API that was deployed first keeps its paths. Another API that wants one of them is refused by name and served as soon as
//! the path is free; an update that wants one leaves the previous version in place. Everything that did not change between two
//! publications is shared between their snapshots.

mod certificates;
mod claims;
mod consumers;
mod platform;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use turnpike_core::definition::{Api, Engine, Subscriptions};
use turnpike_core::route::{Overlap, RouteTable, RouteTableBuilder};
use turnpike_core::snapshot::{DeployedApi, NodeFacts, Snapshot, SnapshotCell};

use crate::bridge::wire;
use crate::definition::OrganizationFlows;

use claims::Claims;
pub use consumers::Applied;
use consumers::Consumers;
use platform::Platforms;

/// The mutable model of one gateway. Changes are collected and become visible with [`Self::publish`].
#[derive(Debug)]
pub struct SnapshotBuilder {
    overlap: Overlap,
    revision: u64,
    next_order: u64,
    apis: HashMap<Box<str>, Entry>,
    /// Ids by order of first deployment.
    by_order: BTreeMap<u64, Box<str>>,
    /// Orders of APIs whose newest version is not served.
    waiting: BTreeSet<u64>,
    claims: Claims,
    consumers: Consumers,
    platforms: Platforms,
    /// APIs of which a version could not be compiled, and why.
    refusals: BTreeMap<Box<str>, String>,
    /// APIs that wait for a path, and why.
    conflicts: BTreeMap<Box<str>, String>,
    routes: Arc<RouteTable>,
    routes_changed: bool,
    changed: bool,
}

/// One API.
#[derive(Debug)]
struct Entry {
    order: u64,
    /// The version handed in last.
    newest: Arc<Api>,
    /// The version that is served; another than `newest` while that one waits for a path.
    served: Option<Arc<Api>>,
    subscriptions: Arc<Subscriptions>,
    subscriptions_changed: bool,
}

/// What the control plane last deployed of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployed<'a> {
    /// Creation of the publish event, Unix milliseconds.
    pub deployed_at_ms: u64,
    /// Deployment number.
    pub revision: &'a str,
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Number of the current snapshot.
    pub revision: u64,
    /// False when nothing had changed and the snapshot before is still the current one.
    pub changed: bool,
    /// APIs in the current snapshot.
    pub apis: usize,
    /// Every API that is refused now, with the reason: the API, or its newest version, is not served.
    pub refused: Vec<(Box<str>, String)>,
}

impl SnapshotBuilder {
    /// An empty gateway. `allow_overlapping_context` is the setting `api.allowOverlappingContext`.
    pub fn new(allow_overlapping_context: bool) -> Self {
        Self {
            overlap: if allow_overlapping_context {
                Overlap::Allowed
            } else {
                Overlap::Forbidden
            },
            revision: 0,
            next_order: 0,
            apis: HashMap::new(),
            by_order: BTreeMap::new(),
            waiting: BTreeSet::new(),
            claims: Claims::default(),
            consumers: Consumers::default(),
            platforms: Platforms::default(),
            refusals: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            routes: Arc::default(),
            routes_changed: false,
            changed: false,
        }
    }

    /// Tells what expressions may know about the node.
    #[must_use]
    pub fn with_node(mut self, node: NodeFacts) -> Self {
        self.platforms.set_node(node);
        self
    }

    /// Replaces the flows of an organization.
    pub fn set_organization(&mut self, id: &str, flows: OrganizationFlows) {
        self.platforms.set_organization(id, flows);
        self.changed = true;
    }

    /// Takes the flows of an organization away.
    pub fn drop_organization(&mut self, id: &str) {
        self.changed |= self.platforms.drop_organization(id);
    }

    /// Replaces a dictionary of an environment, or takes it away.
    pub fn set_dictionary(
        &mut self,
        environment_id: &str,
        key: &str,
        entries: Option<BTreeMap<Box<str>, Box<str>>>,
    ) {
        self.changed |= self.platforms.set_dictionary(environment_id, key, entries);
    }

    /// Deploys an API, or a new version of it. It is served from the next publication on, if no other API holds its paths.
    pub fn deploy(&mut self, api: Arc<Api>) {
        self.refusals.remove(&api.id);
        let order = match self.apis.get_mut(&api.id) {
            Some(entry) => {
                entry.newest = api;
                entry.order
            }
            None => {
                let order = self.next_order;
                self.next_order += 1;
                self.by_order.insert(order, api.id.clone());
                let entry = Entry {
                    order,
                    newest: Arc::clone(&api),
                    served: None,
                    subscriptions: Arc::default(),
                    subscriptions_changed: true,
                };
                self.apis.insert(api.id.clone(), entry);
                order
            }
        };
        self.waiting.insert(order);
    }

    /// Removes an API with its subscriptions and keys. False when it was not there.
    pub fn undeploy(&mut self, api_id: &str) -> bool {
        self.refusals.remove(api_id);
        self.conflicts.remove(api_id);
        self.forget_consumers(api_id);
        let Some(entry) = self.apis.remove(api_id) else {
            return false;
        };
        self.by_order.remove(&entry.order);
        self.waiting.remove(&entry.order);
        if let Some(served) = entry.served {
            self.claims.release(&served.listeners, entry.order);
            self.routes_changed = true;
        }
        true
    }

    /// Records that a version of an API could not be used, for operators to see. A previous version stays deployed.
    pub fn refuse(&mut self, api_id: &str, reason: impl Into<String>) {
        self.refusals.insert(api_id.into(), reason.into());
    }

    /// What was deployed last of this API, whether it is served or waits for a path.
    pub fn deployed(&self, api_id: &str) -> Option<Deployed<'_>> {
        let newest = &self.apis.get(api_id)?.newest;
        Some(Deployed {
            deployed_at_ms: newest.deployed_at_ms,
            revision: &newest.revision,
        })
    }

    /// Whether the newest version of the API has this plan.
    pub fn has_plan(&self, api_id: &str, plan_id: &str) -> bool {
        self.apis
            .get(api_id)
            .is_some_and(|entry| entry.newest.plans.iter().any(|plan| &*plan.id == plan_id))
    }

    /// Whether an accepted subscription with this id is known.
    pub fn has_subscription(&self, subscription_id: &str) -> bool {
        self.consumers.has_subscription(subscription_id)
    }

    /// Registers an ACCEPTED subscription, or replaces it; evicts one of any other status.
    pub fn upsert_subscription(&mut self, subscription: &wire::Subscription) -> Applied {
        let applied = self.consumers.upsert_subscription(subscription);
        self.mark_consumers();
        applied
    }

    /// Evicts a subscription. Its keys are kept for the case that it is accepted again. False when it was not there.
    pub fn evict_subscription(&mut self, subscription_id: &str) -> bool {
        let evicted = self.consumers.evict_subscription(subscription_id);
        self.mark_consumers();
        evicted
    }

    /// Registers an active key, or replaces it; evicts one that is paused, revoked or federated. Expired keys are kept: expiry
    /// is checked when a request comes.
    pub fn upsert_key(&mut self, key: &wire::ApiKey) -> Applied {
        let applied = self.consumers.upsert_key(key);
        self.mark_consumers();
        applied
    }

    /// Evicts a key by its id. False when it was not there.
    pub fn evict_key(&mut self, key_id: &str) -> bool {
        let evicted = self.consumers.evict_key(key_id);
        self.mark_consumers();
        evicted
    }

    /// Forgets the subscriptions of an API, and the keys that belong to no other.
    pub fn forget_consumers(&mut self, api_id: &str) {
        self.consumers.forget(api_id);
        self.mark_consumers();
    }

    /// APIs that are served as of the last publication, in order of first deployment.
    pub fn apis(&self) -> impl Iterator<Item = &Arc<Api>> {
        self.by_order
            .values()
            .filter_map(|id| self.apis.get(id)?.served.as_ref())
    }

    /// APIs of which the newest version is refused, with the reason: it could not be compiled, or another API holds its path.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        let conflicts = self
            .conflicts
            .iter()
            .filter(|(id, _)| !self.refusals.contains_key(*id));
        self.refusals
            .iter()
            .chain(conflicts)
            .map(|(id, reason)| (&**id, reason.as_str()))
    }

    /// Accepted subscriptions that are known.
    pub fn subscription_count(&self) -> usize {
        self.consumers.subscription_count()
    }

    /// Active keys that are known.
    pub fn key_count(&self) -> usize {
        self.consumers.key_count()
    }

    /// Makes every change since the last publication visible in one step. Without a change the current snapshot stays.
    pub fn publish(&mut self, cell: &SnapshotCell) -> Published {
        self.settle();
        if self.routes_changed {
            self.rebuild_routes();
            self.routes_changed = false;
            self.changed = true;
        }
        self.rebuild_subscriptions();
        let changed = std::mem::take(&mut self.changed);
        if changed {
            self.revision += 1;
            let snapshot = self.snapshot();
            cell.publish(snapshot);
        }
        Published {
            revision: self.revision,
            changed,
            apis: self.apis().count(),
            refused: self
                .refusals()
                .map(|(id, reason)| (id.into(), reason.to_owned()))
                .collect(),
        }
    }

    /// Marks the APIs whose consumers changed.
    fn mark_consumers(&mut self) {
        for api_id in self.consumers.take_changed() {
            if let Some(entry) = self.apis.get_mut(&api_id) {
                entry.subscriptions_changed = true;
            }
        }
    }

    /// Serves every newest version whose paths are free. An API that moves away may free the path that another waits for, so
    /// this goes on until nothing moves. Two updates that want each other's paths both stay as they are.
    fn settle(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for order in self.waiting.iter().copied().collect::<Vec<_>>() {
                moved |= self.try_to_serve(order);
            }
        }
    }

    fn try_to_serve(&mut self, order: u64) -> bool {
        let Some(entry) = self
            .by_order
            .get(&order)
            .and_then(|id| self.apis.get_mut(id))
        else {
            return false;
        };
        let id = &entry.newest.id;
        if let Some(contested) = self.claims.find_other(&entry.newest.listeners, order) {
            let holder = self
                .by_order
                .get(&contested.held_by)
                .map_or("another API", |id| id);
            let host = contested.listener.host.as_deref().unwrap_or("any host");
            let kept = if entry.served.is_some() {
                "its previous version stays"
            } else {
                "it waits until the path is free"
            };
            let path = &contested.listener.path;
            let reason = format!(
                "the path {path} on {host} of API {id} is held by API {holder}, deployed before it: {kept}"
            );
            self.conflicts.insert(id.clone(), reason);
            return false;
        }
        if let Some(served) = &entry.served {
            self.claims.release(&served.listeners, order);
        }
        self.claims.take(&entry.newest.listeners, order);
        self.conflicts.remove(id);
        entry.served = Some(Arc::clone(&entry.newest));
        // The plans may be others now.
        entry.subscriptions_changed = true;
        self.waiting.remove(&order);
        self.routes_changed = true;
        true
    }

    fn rebuild_routes(&mut self) {
        let mut builder = RouteTableBuilder::new(self.overlap);
        let mut index = 0;
        let mut unserved = Vec::new();
        for (order, id) in &self.by_order {
            let Some(served) = self.apis.get(id).and_then(|entry| entry.served.as_ref()) else {
                continue;
            };
            match builder.add(index, &served.listeners) {
                Ok(()) => index += 1,
                // The claims are kept by the same rule, so this is not expected; if the rules ever differ, the API is refused by
                // name and nothing else suffers.
                Err(conflict) => unserved.push((*order, id.clone(), conflict.to_string())),
            }
        }
        for (order, id, reason) in unserved {
            if let Some(served) = self.apis.get_mut(&id).and_then(|entry| entry.served.take()) {
                self.claims.release(&served.listeners, order);
            }
            self.waiting.insert(order);
            self.conflicts.insert(id, reason);
        }
        self.routes = Arc::new(builder.build());
    }

    fn rebuild_subscriptions(&mut self) {
        for entry in self.apis.values_mut() {
            if let Some(served) = &entry.served
                && std::mem::take(&mut entry.subscriptions_changed)
            {
                entry.subscriptions = Arc::new(self.consumers.of(served));
                self.changed = true;
            }
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let Self {
            by_order,
            apis,
            platforms,
            ..
        } = self;
        let apis = by_order.values().filter_map(|id| {
            let entry = apis.get(id)?;
            let api = Arc::clone(entry.served.as_ref()?);
            let platform = platforms.of(
                &api.organization_id,
                &api.environment_id,
                api.engine == Engine::V2Legacy,
            );
            Some(DeployedApi {
                api,
                subscriptions: Arc::clone(&entry.subscriptions),
                platform,
            })
        });
        Snapshot {
            revision: self.revision,
            routes: Arc::clone(&self.routes),
            apis: apis.collect(),
        }
    }
}
