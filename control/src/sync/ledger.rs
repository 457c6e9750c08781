//! Subscriptions and keys of the deployed APIs as the control plane told them (contract sync 7.2): what is known decides
//! which changes matter, which keys are missing, and what is stored on disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    /// Changes that were not handed on yet.
    changes: Vec<Change>,
}

/// A change of what consumers may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A subscription is accepted, or changed.
    Subscribe(Box<Subscription>),
    /// A subscription is gone.
    Unsubscribe(String),
    /// A key is active, or changed.
    AddKey(ApiKey),
    /// A key is gone.
    DropKey(String),
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
        for id in entry.subscriptions.into_keys() {
            self.owners.remove(&id);
            self.changes.push(Change::Unsubscribe(id));
        }
        for id in entry.keys.keys() {
            self.leave_home(id, api_id);
        }
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
                self.changes
                    .push(Change::Subscribe(Box::new(subscription.clone())));
                Applied::Updated
            }
            None => {
                self.owners
                    .insert(subscription.id.clone(), api_id.to_owned());
                self.changes
                    .push(Change::Subscribe(Box::new(subscription.clone())));
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
            && entry
                .subscriptions
                .get(&subscription.id)
                .is_none_or(|known| known.plan != subscription.plan)
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
        self.changes
            .push(Change::Unsubscribe(subscription_id.to_owned()));
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
                has_changed |= entry.keys.remove(&key.id).is_some();
            }
        }
        for api_id in &homes {
            if let Some(entry) = self.apis.get_mut(api_id)
                && entry.keys.get(&key.id) != Some(key)
            {
                entry.keys.insert(key.id.clone(), key.clone());
                has_changed = true;
            }
        }
        if homes.is_empty() {
            if self.key_homes.remove(&key.id).is_some() {
                self.changes.push(Change::DropKey(key.id.clone()));
            }
            return has_changed;
        }
        self.key_homes.insert(key.id.clone(), homes);
        if has_changed {
            self.changes.push(Change::AddKey(key.clone()));
        }
        has_changed
    }

    /// Changes since the last call, in their order.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
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
                self.changes.push(Change::DropKey(key_id.to_owned()));
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

    /// Texts of the keys that are active on an API.
    fn texts(ledger: &Ledger, api: &str) -> Vec<String> {
        ledger.apis[api]
            .keys
            .values()
            .map(|key| key.key.clone())
            .collect()
    }

    #[test]
    fn a_key_shared_by_two_subscriptions_works_on_both_apis() {
        let mut ledger = ledger();
        assert_eq!(texts(&ledger, "a"), ["text-1", "text-2"]);
        assert_eq!(texts(&ledger, "b"), ["text-1"]);
        ledger.take_changes();
        assert!(ledger.apply_key(&ApiKey {
            revoked: true,
            ..key("k1", "text-1", &["s1", "s3"])
        }));
        assert_eq!(ledger.take_changes(), [Change::DropKey("k1".to_owned())]);
        assert_eq!(texts(&ledger, "a"), ["text-2"]);
        assert!(texts(&ledger, "b").is_empty());
    }

    #[test]
    fn the_same_data_again_changes_nothing() {
        let mut ledger = ledger();
        ledger.take_changes();
        assert_eq!(
            ledger.apply_subscription(&subscription("s1", "a")),
            Applied::Ignored
        );
        assert!(!ledger.apply_key(&key("k1", "text-1", &["s1", "s3"])));
        assert!(ledger.take_changes().is_empty());
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
    fn changes_come_in_an_order_in_which_they_can_be_applied() {
        let mut ledger = ledger();
        let changes = ledger.take_changes();
        assert!(
            matches!(
                changes[..3],
                [
                    Change::Subscribe(_),
                    Change::Subscribe(_),
                    Change::Subscribe(_)
                ]
            ),
            "{changes:?}"
        );
        assert!(
            matches!(changes[3..], [Change::AddKey(_), Change::AddKey(_)]),
            "{changes:?}"
        );
        ledger.apply_subscription(&Subscription {
            status: None,
            ..subscription("s1", "a")
        });
        assert_eq!(
            ledger.take_changes(),
            [Change::Unsubscribe("s1".to_owned())],
            "the key is still used by s3"
        );
        ledger.apply_subscription(&Subscription {
            status: None,
            ..subscription("s3", "b")
        });
        let last = [
            Change::DropKey("k1".to_owned()),
            Change::Unsubscribe("s3".to_owned()),
        ];
        assert_eq!(ledger.take_changes(), last);
    }

    #[test]
    fn a_subscription_that_moves_to_another_plan_needs_its_keys() {
        let mut ledger = ledger();
        let moved = Subscription {
            plan: Some("jwt".to_owned()),
            ..subscription("s2", "a")
        };
        assert!(!ledger.would_need_keys(&moved));
        assert_eq!(ledger.apply_subscription(&moved), Applied::Updated);
        assert!(ledger.would_need_keys(&subscription("s2", "a")));
        assert!(!ledger.would_need_keys(&subscription("s1", "a")));
    }

    #[test]
    fn a_removed_api_leaves_nothing_behind() {
        let mut ledger = ledger();
        ledger.remove("a");
        ledger.remove("b");
        assert!(ledger.owners.is_empty() && ledger.key_homes.is_empty());
        assert_eq!(
            ledger.apply_subscription(&subscription("s1", "a")),
            Applied::Ignored
        );
    }
}
