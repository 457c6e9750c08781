//! Subscriptions and keys of all APIs (contract sync 7.2).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use turnpike_core::definition::{Api, ApiKey, Subscription, Subscriptions};

use super::certificates;
use crate::bridge::wire;

/// What became of a subscription or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is registered now.
    Registered,
    /// It is not active, and not registered now.
    Evicted,
    /// It has no meaning here: no API or plan, a subscription to an API product, a key without text.
    Ignored,
}

/// Accepted subscriptions and active keys, whatever the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    subscriptions: HashMap<Box<str>, Held>,
    by_api: HashMap<Box<str>, BTreeSet<Box<str>>>,
    keys: HashMap<Box<str>, Key>,
    /// Key ids by subscription id, of registered keys only.
    keys_by_subscription: HashMap<Box<str>, BTreeSet<Box<str>>>,
    /// APIs whose consumers changed since they were asked for.
    changed: HashSet<Box<str>>,
}

#[derive(Debug)]
struct Held {
    api_id: Box<str>,
    subscription: Arc<Subscription>,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    text: Box<str>,
    expire_at_ms: Option<u64>,
    subscriptions: Vec<Box<str>>,
}

impl Consumers {
    pub(super) fn has_subscription(&self, id: &str) -> bool {
        self.subscriptions.contains_key(id)
    }

    pub(super) fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The APIs whose consumers changed since the last call.
    pub(super) fn take_changed(&mut self) -> HashSet<Box<str>> {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn upsert_subscription(&mut self, wire: &wire::Subscription) -> Applied {
        if wire.id.is_empty() {
            return Applied::Ignored;
        }
        if !wire
            .status
            .as_deref()
            .is_some_and(|status| status.eq_ignore_ascii_case("ACCEPTED"))
        {
            self.evict_subscription(&wire.id);
            return Applied::Evicted;
        }
        let (Some(api_id), Some(plan_id)) = (api_id(wire), wire.plan.as_deref()) else {
            self.evict_subscription(&wire.id);
            return Applied::Ignored;
        };
        let subscription = Subscription {
            id: wire.id.as_str().into(),
            plan_id: plan_id.into(),
            application_id: wire.application.as_deref().unwrap_or_default().into(),
            application_name: wire.application_name.as_deref().unwrap_or_default().into(),
            client_id: filled(wire.client_id.as_deref()).map(Into::into),
            thumbprints: self.thumbprints(wire),
            kind: filled(wire.subscription_type.as_deref())
                .unwrap_or("STANDARD")
                .into(),
            metadata: metadata(wire),
            starting_at_ms: wire.starting_at.map(unix_ms),
            ending_at_ms: wire.ending_at.map(unix_ms),
        };
        if let Some(held) = self.subscriptions.get(&subscription.id)
            && *held.api_id == *api_id
            && *held.subscription == subscription
        {
            return Applied::Registered;
        }
        self.evict_subscription(&wire.id);
        self.by_api
            .entry(api_id.into())
            .or_default()
            .insert(subscription.id.clone());
        let id = subscription.id.clone();
        self.subscriptions.insert(
            id,
            Held {
                api_id: api_id.into(),
                subscription: Arc::new(subscription),
            },
        );
        self.changed.insert(api_id.into());
        Applied::Registered
    }

    pub(super) fn evict_subscription(&mut self, id: &str) -> bool {
        let Some(held) = self.subscriptions.remove(id) else {
            return false;
        };
        if let Some(ids) = self.by_api.get_mut(&held.api_id) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_api.remove(&held.api_id);
            }
        }
        self.changed.insert(held.api_id);
        true
    }

    pub(super) fn upsert_key(&mut self, wire: &wire::ApiKey) -> Applied {
        // A key without an id is known by its text.
        let id = if wire.id.is_empty() {
            &wire.key
        } else {
            &wire.id
        };
        if id.is_empty() {
            return Applied::Ignored;
        }
        if wire.revoked || wire.paused || wire.federated {
            self.evict_key(id);
            return Applied::Evicted;
        }
        if wire.key.is_empty() {
            self.evict_key(id);
            return Applied::Ignored;
        }
        let key = Key {
            text: wire.key.as_str().into(),
            expire_at_ms: wire.expire_at.map(unix_ms),
            subscriptions: wire
                .subscriptions
                .iter()
                .map(|id| id.as_str().into())
                .collect(),
        };
        if self.keys.get(id.as_str()) == Some(&key) {
            return Applied::Registered;
        }
        self.evict_key(id);
        for subscription in &key.subscriptions {
            self.keys_by_subscription
                .entry(subscription.clone())
                .or_default()
                .insert(id.as_str().into());
        }
        self.mark(&key);
        self.keys.insert(id.as_str().into(), key);
        Applied::Registered
    }

    pub(super) fn evict_key(&mut self, id: &str) -> bool {
        let Some(key) = self.keys.remove(id) else {
            return false;
        };
        for subscription in &key.subscriptions {
            if let Some(ids) = self.keys_by_subscription.get_mut(subscription) {
                ids.remove(id);
                if ids.is_empty() {
                    self.keys_by_subscription.remove(subscription);
                }
            }
        }
        self.mark(&key);
        true
    }

    /// Forgets the subscriptions of an API, and every key of theirs that belongs to no other subscription.
    pub(super) fn forget(&mut self, api_id: &str) {
        let subscriptions: Vec<Box<str>> = self
            .by_api
            .get(api_id)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        for id in &subscriptions {
            self.evict_subscription(id);
        }
        for id in subscriptions {
            let keys: Vec<Box<str>> = self
                .keys_by_subscription
                .get(&id)
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            for key in keys {
                let in_use = self.keys.get(&key).is_some_and(|key| {
                    key.subscriptions
                        .iter()
                        .any(|subscription| self.subscriptions.contains_key(subscription))
                });
                if !in_use {
                    self.evict_key(&key);
                }
            }
        }
    }

    /// The look-up table of one API: its subscriptions to plans that it has, by the texts of their keys.
    pub(super) fn of(&self, api: &Api) -> Subscriptions {
        let mut table = Subscriptions::default();
        // The rank of the entry that holds a text, for texts that several keys have.
        let mut ranks: HashMap<&str, (u64, &str, &str)> = HashMap::new();
        let held = self
            .by_api
            .get(&api.id)
            .into_iter()
            .flatten()
            .filter_map(|id| self.subscriptions.get(id));
        for Held { subscription, .. } in held {
            if !api.plans.iter().any(|plan| plan.id == subscription.plan_id) {
                continue;
            }
            table.register(subscription);
            let ids = self
                .keys_by_subscription
                .get(&subscription.id)
                .into_iter()
                .flatten();
            for (id, key) in ids.filter_map(|id| Some((id, self.keys.get(id)?))) {
                // The same text on two keys: the one that lives longest counts, whatever the order in which they came.
                let lives_until = key.expire_at_ms.unwrap_or(u64::MAX);
                let rank = (u64::MAX - lives_until, &**id, &*subscription.id);
                if ranks.get(&*key.text).is_some_and(|other| *other <= rank) {
                    continue;
                }
                ranks.insert(&key.text, rank);
                let entry = ApiKey {
                    subscription: Arc::clone(subscription),
                    expire_at_ms: key.expire_at_ms,
                };
                table.keys.insert(key.text.clone(), entry);
            }
        }
        table
    }

    /// Thumbprints of the client certificates. Of certificates that cannot be read the previous ones stay (contract sync 7.2).
    fn thumbprints(&self, wire: &wire::Subscription) -> Box<[Box<str>]> {
        let Some(text) = filled(wire.client_certificate.as_deref()) else {
            return Box::default();
        };
        match certificates::thumbprints(text) {
            Ok(thumbprints) => thumbprints,
            Err(reason) => {
                tracing::warn!(
                    subscription = wire.id,
                    reason,
                    "the client certificate of a subscription cannot be read: the previous one stays"
                );
                self.subscriptions
                    .get(wire.id.as_str())
                    .map(|held| held.subscription.thumbprints.clone())
                    .unwrap_or_default()
            }
        }
    }

    /// Marks the APIs of a key's subscriptions.
    fn mark(&mut self, key: &Key) {
        for subscription in &key.subscriptions {
            if let Some(held) = self.subscriptions.get(subscription) {
                self.changed.insert(held.api_id.clone());
            }
        }
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// Metadata as texts: what expressions see.
fn metadata(wire: &wire::Subscription) -> BTreeMap<Box<str>, Box<str>> {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.as_str().into()),
        other => Some(other.to_string().into()),
    };
    wire.metadata
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().into(), text(value)?)))
        .collect()
}

/// The API of a subscription; none for one to an API product.
fn api_id(wire: &wire::Subscription) -> Option<&str> {
    let id = match wire.reference_type.as_deref() {
        None | Some("") => wire.api.as_deref().or(wire.reference_id.as_deref()),
        Some(kind) if kind.eq_ignore_ascii_case("API") => {
            wire.reference_id.as_deref().or(wire.api.as_deref())
        }
        Some(_) => None,
    };
    id.filter(|id| !id.is_empty())
}

/// A date before 1970 is 1970: it is in the past either way.
fn unix_ms(date: i64) -> u64 {
    u64::try_from(date).unwrap_or(0)
}
