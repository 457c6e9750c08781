//! Loading of subscriptions and keys (contract sync 7.1).

use crate::bridge::BridgeError;
use crate::bridge::wire::{ApiKey, ApiKeyCriteria, SubscriptionCriteria};

use super::deploy::{Deployer, SubscribablePlan};
use super::ledger::{Applied, Consumers};
use super::synchronizer::Synchronizer;
use super::window::Window;

/// Every status that a subscription may leave or enter while it matters to us.
const STATUSES: [&str; 4] = ["ACCEPTED", "CLOSED", "PAUSED", "PENDING"];

impl<D: Deployer> Synchronizer<D> {
    /// Subscriptions of these plans and their keys. A full window asks for what is usable now; later ones for every state.
    pub(super) async fn fetch_consumers(
        &self,
        plans: &[SubscribablePlan],
        environments: &[String],
        is_full: bool,
    ) -> Result<Consumers, BridgeError> {
        if plans.is_empty() {
            return Ok(Consumers::default());
        }
        let now_ms = (self.clock)();
        let mut criteria = SubscriptionCriteria {
            environments: environments.to_vec(),
            plans: plans.iter().map(|plan| plan.id.clone()).collect(),
            ..SubscriptionCriteria::default()
        };
        if is_full {
            criteria.statuses = vec!["ACCEPTED".to_owned()];
            criteria.ending_at_after = Some(now_ms);
            criteria.include_without_end = true;
        } else {
            criteria.statuses = STATUSES.map(str::to_owned).to_vec();
        }
        let subscriptions = self.client.subscriptions(&criteria).await?;
        let with_keys: Vec<String> = subscriptions
            .iter()
            .filter(|subscription| {
                plans
                    .iter()
                    .any(|plan| plan.takes_keys && subscription.plan.as_deref() == Some(&plan.id))
            })
            .map(|subscription| subscription.id.clone())
            .collect();
        let keys = self
            .fetch_keys(&with_keys, environments, is_full.then_some(now_ms))
            .await?;
        Ok(Consumers {
            subscriptions,
            keys,
        })
    }

    /// Keys of these subscriptions, in chunks; with `usable_at_ms` only those that are neither revoked nor expired then.
    async fn fetch_keys(
        &self,
        subscriptions: &[String],
        environments: &[String],
        usable_at_ms: Option<i64>,
    ) -> Result<Vec<ApiKey>, BridgeError> {
        let mut keys = Vec::new();
        for chunk in subscriptions.chunks(self.sync.key_subscriptions_chunk.max(1)) {
            let criteria = ApiKeyCriteria {
                environments: environments.to_vec(),
                subscriptions: chunk.to_vec(),
                expire_after: usable_at_ms,
                include_without_expiration: usable_at_ms.is_some(),
                include_revoked: usable_at_ms.is_none(),
                ..ApiKeyCriteria::default()
            };
            keys.append(&mut self.client.keys(&criteria).await?);
        }
        Ok(keys)
    }

    /// Applies the subscriptions that changed, and fetches the keys of those that are new here.
    pub(super) async fn sync_subscriptions(&mut self, window: Window) -> Result<(), BridgeError> {
        let identity = self.identity();
        let criteria = SubscriptionCriteria {
            environments: identity.environments.clone(),
            statuses: STATUSES.map(str::to_owned).to_vec(),
            from: window.lower(),
            to: Some(window.upper()),
            ..SubscriptionCriteria::default()
        };
        let changed = self.client.subscriptions(&criteria).await?;
        // Keys are fetched before anything is applied: a failure must find the subscriptions still new at the next attempt.
        let new: Vec<String> = changed
            .iter()
            .filter(|subscription| self.ledger.would_need_keys(subscription))
            .map(|subscription| subscription.id.clone())
            .collect();
        let keys = self.fetch_keys(&new, &identity.environments, None).await?;
        for subscription in &changed {
            match self.ledger.apply_subscription(subscription) {
                Applied::Ignored => {}
                Applied::Updated => self.mark_changed(),
                Applied::NeedsKeys | Applied::Added => {
                    tracing::debug!(subscription = %subscription.id, "subscription registered");
                    self.mark_changed();
                }
                Applied::Evicted => {
                    tracing::debug!(subscription = %subscription.id, "subscription evicted");
                    self.mark_changed();
                }
            }
        }
        self.apply_keys(&keys);
        Ok(())
    }

    /// Applies the keys that changed.
    pub(super) async fn sync_keys(&mut self, window: Window) -> Result<(), BridgeError> {
        let criteria = ApiKeyCriteria {
            environments: self.identity().environments.clone(),
            from: window.lower(),
            to: Some(window.upper()),
            include_revoked: true,
            ..ApiKeyCriteria::default()
        };
        let changed = self.client.keys(&criteria).await?;
        self.apply_keys(&changed);
        Ok(())
    }

    fn apply_keys(&mut self, keys: &[ApiKey]) {
        for key in keys {
            if self.ledger.apply_key(key) {
                tracing::debug!(key = %key.id, "API key changed");
                self.mark_changed();
            }
        }
    }
}
