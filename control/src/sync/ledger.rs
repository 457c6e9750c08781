//! Subscriptions and keys of the deployed APIs, and the tables that workers read (contract sync 7.2).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use turnpike_core::definition::{
    ApiKey as CoreKey, Subscription as CoreSubscription, Subscriptions,
};

use crate::bridge::wire::{ApiKey, Subscription};

use super::deploy::SubscribablePlan;

/// What the control plane says about the consumers of some APIs.
#[derive(Debug, Clone, Default)]
pub(super) struct Consumers {
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) keys: Vec<ApiKey>,
}

#[derive(Debug, Default)]
struct ApiEntry {
    plans: HashMap<String, bool>,
    subscriptions: BTreeMap<String, Subscription>,
    keys: BTreeMap<String, ApiKey>,
}

/// Everything known about consumers. An API that is not deployed has no entry.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    apis: HashMap<String, ApiEntry>,
    /// API of each active subscription.
    owners: HashMap<String, String>,
    /// APIs in which each key is registered.
    key_homes: HashMap<String, BTreeSet<String>>,
    /// APIs whose table changed since it was last taken.
    dirty: BTreeSet<String>,
}

/// What an incremental subscription did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// Nothing: known as it is, nothing to evict, or not of an API and plan that are deployed here.
    Ignored,
    /// Registered, and known before in another form.
    Updated,
    /// Registered for the first time, on a plan that takes keys: those must be fetched.
    NeedsKeys,
    /// Registered for the first time.
    Added,
    /// Taken away with its keys.
    Evicted,
}

impl Ledger {
    /// Replaces everything of these APIs by what was fetched for their plans.
    pub(super) fn replace<'a>(
        &mut self,
        apis: impl IntoIterator<Item = (&'a str, &'a [SubscribablePlan])>,
        consumers: &Consumers,
    ) {
        for (api_id, plans) in apis {
            self.remove(api_id);
            let plans = plans
                .iter()
                .map(|plan| (plan.id.clone(), plan.takes_keys))
                .collect();
            self.apis.insert(
                api_id.to_owned(),
                ApiEntry {
                    plans,
                    ..ApiEntry::default()
                },
            );
            self.dirty.insert(api_id.to_owned());
        }
        for subscription in &consumers.subscriptions {
            self.apply_subscription(subscription);
        }
        for key in &consumers.keys {
            self.apply_key(key);
        }
    }

    /// Subscribable plans of an API as they were registered.
    pub(super) fn plans(&self, api_id: &str) -> Option<Vec<SubscribablePlan>> {
        let entry = self.apis.get(api_id)?;
        let plan = |(id, takes_keys): (&String, &bool)| SubscribablePlan {
            id: id.clone(),
            takes_keys: *takes_keys,
        };
        Some(entry.plans.iter().map(plan).collect())
    }

    /// Ids of the APIs that have an entry.
    pub(super) fn api_ids(&self) -> Vec<String> {
        self.apis.keys().cloned().collect()
    }

    /// Forgets an API with its subscriptions and keys.
    pub(super) fn remove(&mut self, api_id: &str) {
        let Some(entry) = self.apis.remove(api_id) else {
            return;
        };
        for id in entry.subscriptions.keys() {
            self.owners.remove(id);
        }
        for id in entry.keys.keys() {
            self.leave_home(id, api_id);
        }
        self.dirty.remove(api_id);
    }

    /// Applies one subscription: registers it when it is accepted, else evicts it. Repeating it has no effect.
    pub(super) fn apply_subscription(&mut self, subscription: &Subscription) -> Applied {
        let (Some(api_id), Some(plan)) = (api_of(subscription), subscription.plan.as_deref())
        else {
            return Applied::Ignored;
        };
        let Some(entry) = self.apis.get_mut(api_id) else {
            return Applied::Ignored;
        };
        let Some(&takes_keys) = entry.plans.get(plan) else {
            // A transfer to a plan that is not served here leaves the old plan without it.
            return self.evict(api_id, &subscription.id);
        };
        if !is_accepted(subscription) {
            return self.evict(api_id, &subscription.id);
        }
        match entry
            .subscriptions
            .insert(subscription.id.clone(), subscription.clone())
        {
            Some(known) if known == *subscription => Applied::Ignored,
            Some(_) => {
                self.dirty.insert(api_id.to_owned());
                Applied::Updated
            }
            None => {
                self.owners
                    .insert(subscription.id.clone(), api_id.to_owned());
                self.dirty.insert(api_id.to_owned());
                if takes_keys {
                    Applied::NeedsKeys
                } else {
                    Applied::Added
                }
            }
        }
    }

    /// Whether applying this subscription would register it for the first time on a plan that takes keys.
    pub(super) fn would_need_keys(&self, subscription: &Subscription) -> bool {
        let entry = api_of(subscription).and_then(|api_id| self.apis.get(api_id));
        let (Some(entry), Some(plan)) = (entry, &subscription.plan) else {
            return false;
        };
        is_accepted(subscription)
            && entry.plans.get(plan).copied().unwrap_or(false)
            && !entry.subscriptions.contains_key(&subscription.id)
    }

    fn evict(&mut self, api_id: &str, subscription_id: &str) -> Applied {
        let Some(entry) = self.apis.get_mut(api_id) else {
            return Applied::Ignored;
        };
        if entry.subscriptions.remove(subscription_id).is_none() {
            return Applied::Ignored;
        }
        self.owners.remove(subscription_id);
        // Keys stay while another subscription of this API shares them.
        let subscriptions = &entry.subscriptions;
        let orphans: Vec<String> = entry
            .keys
            .iter()
            .filter(|(_, key)| {
                !key.subscriptions
                    .iter()
                    .any(|id| subscriptions.contains_key(id))
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in &orphans {
            entry.keys.remove(id);
        }
        for id in &orphans {
            self.leave_home(id, api_id);
        }
        self.dirty.insert(api_id.to_owned());
        Applied::Evicted
    }

    /// Applies one key to every API on which one of its subscriptions is active. Repeating it has no effect.
    pub(super) fn apply_key(&mut self, key: &ApiKey) -> bool {
        let is_active = !key.revoked && !key.paused && !key.federated;
        let mut homes: BTreeSet<String> = BTreeSet::new();
        if is_active {
            homes.extend(
                key.subscriptions
                    .iter()
                    .filter_map(|id| self.owners.get(id).cloned()),
            );
        }
        let before = self.key_homes.get(&key.id).cloned().unwrap_or_default();
        let mut has_changed = false;
        for api_id in before.difference(&homes) {
            if let Some(entry) = self.apis.get_mut(api_id) {
                entry.keys.remove(&key.id);
                self.dirty.insert(api_id.clone());
                has_changed = true;
            }
        }
        for api_id in &homes {
            if let Some(entry) = self.apis.get_mut(api_id)
                && entry.keys.get(&key.id) != Some(key)
            {
                entry.keys.insert(key.id.clone(), key.clone());
                self.dirty.insert(api_id.clone());
                has_changed = true;
            }
        }
        if homes.is_empty() {
            self.key_homes.remove(&key.id);
        } else {
            self.key_homes.insert(key.id.clone(), homes);
        }
        has_changed
    }

    /// The table of one API, and its change is taken.
    pub(super) fn take_table(&mut self, api_id: &str) -> Arc<Subscriptions> {
        self.dirty.remove(api_id);
        Arc::new(self.apis.get(api_id).map(table).unwrap_or_default())
    }

    /// Tables of all APIs that changed.
    pub(super) fn take_changed(&mut self) -> Vec<(String, Arc<Subscriptions>)> {
        std::mem::take(&mut self.dirty)
            .into_iter()
            .filter_map(|api_id| {
                let table = Arc::new(table(self.apis.get(&api_id)?));
                Some((api_id, table))
            })
            .collect()
    }

    /// Everything, for the stored state.
    pub(super) fn consumers(&self) -> Consumers {
        let mut keys: BTreeMap<&String, &ApiKey> = BTreeMap::new();
        let mut subscriptions = Vec::new();
        for entry in self.apis.values() {
            subscriptions.extend(entry.subscriptions.values().cloned());
            keys.extend(&entry.keys);
        }
        subscriptions.sort_by(|a, b| a.id.cmp(&b.id));
        Consumers {
            subscriptions,
            keys: keys.into_values().cloned().collect(),
        }
    }

    fn leave_home(&mut self, key_id: &str, api_id: &str) {
        if let Some(homes) = self.key_homes.get_mut(key_id) {
            homes.remove(api_id);
            if homes.is_empty() {
                self.key_homes.remove(key_id);
            }
        }
    }
}

fn is_accepted(subscription: &Subscription) -> bool {
    subscription
        .status
        .as_deref()
        .is_some_and(|status| status.eq_ignore_ascii_case("ACCEPTED"))
}

/// The API on which a subscription is used (contract sync 7.2). Subscriptions to API products have none.
fn api_of(subscription: &Subscription) -> Option<&str> {
    match subscription.reference_type.as_deref() {
        Some(kind) if kind.eq_ignore_ascii_case("API") => subscription
            .reference_id
            .as_deref()
            .or(subscription.api.as_deref()),
        Some(kind) if kind.eq_ignore_ascii_case("API_PRODUCT") => None,
        _ => subscription.api.as_deref(),
    }
}

/// The table of one API. Of several keys with one text the one changed last wins; of several subscriptions that share a key,
/// the one that the key names last, as if they had been registered one after the other.
fn table(entry: &ApiEntry) -> Subscriptions {
    let subscriptions: HashMap<&str, Arc<CoreSubscription>> = entry
        .subscriptions
        .values()
        .map(|subscription| {
            let compiled = CoreSubscription {
                id: subscription.id.as_str().into(),
                plan_id: subscription.plan.as_deref().unwrap_or_default().into(),
                application_id: subscription
                    .application
                    .as_deref()
                    .unwrap_or_default()
                    .into(),
                starting_at_ms: subscription.starting_at.map(instant),
                ending_at_ms: subscription.ending_at.map(instant),
            };
            (subscription.id.as_str(), Arc::new(compiled))
        })
        .collect();
    let mut ordered: Vec<&ApiKey> = entry.keys.values().collect();
    ordered.sort_by_key(|key| key.updated_at);
    let mut compiled = Subscriptions::default();
    for key in ordered {
        for id in &key.subscriptions {
            if let Some(subscription) = subscriptions.get(id.as_str()) {
                let expire_at_ms = key.expire_at.map(instant);
                let value = CoreKey {
                    subscription: Arc::clone(subscription),
                    expire_at_ms,
                };
                compiled.keys.insert(key.key.as_str().into(), value);
            }
        }
    }
    compiled
}

/// Dates before 1970 count as 1970: long past either way.
fn instant(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans() -> Vec<SubscribablePlan> {
        vec![
            SubscribablePlan {
                id: "gold".to_owned(),
                takes_keys: true,
            },
            SubscribablePlan {
                id: "jwt".to_owned(),
                takes_keys: false,
            },
        ]
    }

    fn subscription(id: &str, api: &str) -> Subscription {
        Subscription {
            id: id.to_owned(),
            api: Some(api.to_owned()),
            plan: Some("gold".to_owned()),
            application: Some("app".to_owned()),
            status: Some("ACCEPTED".to_owned()),
            ..Subscription::default()
        }
    }

    fn key(id: &str, text: &str, subscriptions: &[&str]) -> ApiKey {
        ApiKey {
            id: id.to_owned(),
            key: text.to_owned(),
            subscriptions: subscriptions.iter().map(|id| (*id).to_owned()).collect(),
            ..ApiKey::default()
        }
    }

    /// Two APIs, `a` with subscriptions `s1` and `s2`, `b` with `s3`; one key shared by `s1` and `s3`.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let consumers = Consumers {
            subscriptions: vec![
                subscription("s1", "a"),
                subscription("s2", "a"),
                subscription("s3", "b"),
            ],
            keys: vec![
                key("k1", "text-1", &["s1", "s3"]),
                key("k2", "text-2", &["s2"]),
            ],
        };
        ledger.replace(
            [("a", plans().as_slice()), ("b", plans().as_slice())],
            &consumers,
        );
        ledger
    }

    fn texts(ledger: &Ledger, api: &str) -> Vec<String> {
        let mut texts: Vec<String> = table(&ledger.apis[api])
            .keys
            .keys()
            .map(ToString::to_string)
            .collect();
        texts.sort();
        texts
    }

    #[test]
    fn a_key_shared_by_two_subscriptions_works_on_both_apis() {
        let mut ledger = ledger();
        assert_eq!(texts(&ledger, "a"), ["text-1", "text-2"]);
        assert_eq!(texts(&ledger, "b"), ["text-1"]);
        ledger.take_changed();
        assert!(ledger.apply_key(&ApiKey {
            revoked: true,
            ..key("k1", "text-1", &["s1", "s3"])
        }));
        assert_eq!(ledger.take_changed().len(), 2);
        assert_eq!(texts(&ledger, "a"), ["text-2"]);
        assert!(texts(&ledger, "b").is_empty());
    }

    #[test]
    fn the_same_data_again_changes_nothing() {
        let mut ledger = ledger();
        ledger.take_changed();
        assert_eq!(
            ledger.apply_subscription(&subscription("s1", "a")),
            Applied::Ignored
        );
        assert!(!ledger.apply_key(&key("k1", "text-1", &["s1", "s3"])));
        assert!(ledger.take_changed().is_empty());
    }

    #[test]
    fn revoked_paused_and_federated_keys_are_not_active() {
        for inactive in [
            ApiKey {
                revoked: true,
                ..key("k2", "text-2", &["s2"])
            },
            ApiKey {
                paused: true,
                ..key("k2", "text-2", &["s2"])
            },
            ApiKey {
                federated: true,
                ..key("k2", "text-2", &["s2"])
            },
            key("k2", "text-2", &[]),
            key("k2", "text-2", &["unknown"]),
        ] {
            let mut ledger = ledger();
            assert!(ledger.apply_key(&inactive), "{inactive:?}");
            assert_eq!(texts(&ledger, "a"), ["text-1"]);
        }
    }

    #[test]
    fn an_evicted_subscription_takes_its_keys_with_it_and_needs_them_again() {
        for status in ["CLOSED", "PAUSED", "PENDING", "REJECTED", "SOMETHING"] {
            let mut ledger = ledger();
            let gone = Subscription {
                status: Some(status.to_owned()),
                ..subscription("s2", "a")
            };
            assert_eq!(ledger.apply_subscription(&gone), Applied::Evicted);
            assert_eq!(texts(&ledger, "a"), ["text-1"]);
            assert_eq!(ledger.apply_subscription(&gone), Applied::Ignored);
            assert_eq!(
                ledger.apply_subscription(&subscription("s2", "a")),
                Applied::NeedsKeys
            );
            assert!(ledger.apply_key(&key("k2", "text-2", &["s2"])));
            assert_eq!(texts(&ledger, "a"), ["text-1", "text-2"]);
        }
    }

    #[test]
    fn subscriptions_of_other_apis_plans_and_products_are_ignored() {
        let mut ledger = ledger();
        let other_plan = Subscription {
            plan: Some("other".to_owned()),
            ..subscription("s9", "a")
        };
        let product = Subscription {
            reference_type: Some("API_PRODUCT".to_owned()),
            ..subscription("s9", "a")
        };
        for ignored in [subscription("s9", "unknown"), other_plan, product] {
            assert_eq!(
                ledger.apply_subscription(&ignored),
                Applied::Ignored,
                "{ignored:?}"
            );
        }
        let referenced = Subscription {
            reference_type: Some("API".to_owned()),
            reference_id: Some("a".to_owned()),
            plan: Some("jwt".to_owned()),
            ..subscription("s9", "stale")
        };
        assert_eq!(ledger.apply_subscription(&referenced), Applied::Added);
    }

    #[test]
    fn dates_of_a_subscription_reach_the_table() {
        let mut ledger = ledger();
        let changed = Subscription {
            ending_at: Some(5),
            starting_at: Some(-1),
            ..subscription("s2", "a")
        };
        assert_eq!(ledger.apply_subscription(&changed), Applied::Updated);
        let table = table(&ledger.apis["a"]);
        let found = table.key("text-2").expect("a key");
        assert_eq!(
            (
                found.subscription.starting_at_ms,
                found.subscription.ending_at_ms
            ),
            (Some(0), Some(5))
        );
    }

    #[test]
    fn a_removed_api_leaves_nothing_behind() {
        let mut ledger = ledger();
        ledger.remove("a");
        ledger.remove("b");
        assert!(ledger.owners.is_empty() && ledger.key_homes.is_empty() && ledger.dirty.is_empty());
        assert_eq!(
            ledger.apply_subscription(&subscription("s1", "a")),
            Applied::Ignored
        );
    }
}
