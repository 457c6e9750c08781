//! Plans, subscriptions and API keys (contracts request-lifecycle 5, sync 7).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::el::Template;
use crate::flow::FlowSet;

/// A served plan.
#[derive(Debug)]
pub struct Plan {
    /// Plan id.
    pub id: Box<str>,
    /// Display name.
    pub name: Box<str>,
    /// How a consumer proves that it may use the plan.
    pub security: PlanSecurity,
    /// `selectionRule`: the plan is tried only when it holds.
    pub selection_rule: Option<Template>,
    /// Flows of the plan.
    pub flows: FlowSet,
}

/// Security of a plan. Further kinds (JWT, OAuth2, mTLS) refuse their API at deployment until they are built.
#[derive(Debug)]
pub enum PlanSecurity {
    /// Open to anyone who did not try to authenticate.
    KeyLess,
    /// An API key in a header, a bearer token or the query.
    ApiKey(ApiKeyPlan),
}

/// Configuration of an API-key plan (contract api-definition 3.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiKeyPlan {
    /// `apiKeyHeader`: replaces the gateway-wide header name.
    pub header: Option<Box<str>>,
    /// Where the key is looked for.
    pub source: ApiKeySource,
    /// Forward the key to the backend.
    pub propagate: bool,
}

/// Where an API-key plan looks for its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApiKeySource {
    /// The header, else the query parameter.
    #[default]
    Header,
    /// `Authorization: Bearer`.
    Bearer,
    /// The query parameter only.
    QueryParameter,
}

/// An accepted subscription of one application to one plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// Subscription id.
    pub id: Box<str>,
    /// Plan it belongs to.
    pub plan_id: Box<str>,
    /// Application that subscribed.
    pub application_id: Box<str>,
    /// Name of that application, empty when the control plane told none.
    pub application_name: Box<str>,
    /// Client id by which tokens name the application (JWT and OAuth2 plans).
    pub client_id: Option<Box<str>>,
    /// Thumbprints of the application's client certificates (mTLS plans): base64url without padding of the SHA-256 of the DER.
    pub thumbprints: Box<[Box<str>]>,
    /// `STANDARD` or `PUSH`.
    pub kind: Box<str>,
    /// Free values of the subscription, for expressions.
    pub metadata: BTreeMap<Box<str>, Box<str>>,
    /// Valid from (exclusive), Unix milliseconds.
    pub starting_at_ms: Option<u64>,
    /// Valid until (exclusive), Unix milliseconds.
    pub ending_at_ms: Option<u64>,
}

/// An active API key of a subscription.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Subscription that the key belongs to.
    pub subscription: Arc<Subscription>,
    /// Valid until (exclusive), Unix milliseconds.
    pub expire_at_ms: Option<u64>,
}

/// Subscriptions and keys of one API, replaced as a whole when one of them changes. The hashers are keyed, so that chosen keys
/// and client ids cannot collide on purpose.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// Active keys by key text.
    pub keys: HashMap<Box<str>, ApiKey, RandomState>,
    /// Subscriptions that are found without a key, by plan id.
    by_plan: HashMap<Box<str>, Subscribers, RandomState>,
}

/// Subscriptions to one plan. One that has certificates is found by them only (contract sync 7.2).
#[derive(Debug, Default)]
struct Subscribers {
    by_client_id: HashMap<Box<str>, Arc<Subscription>, RandomState>,
    by_certificate: HashMap<Box<str>, Arc<Subscription>, RandomState>,
}

impl Subscriptions {
    /// The active key with this text.
    pub fn key(&self, text: &str) -> Option<&ApiKey> {
        self.keys.get(text)
    }

    /// The subscription of a client id to a plan.
    pub fn by_client_id(&self, plan_id: &str, client_id: &str) -> Option<&Arc<Subscription>> {
        self.by_plan.get(plan_id)?.by_client_id.get(client_id)
    }

    /// The subscription of a client certificate to a plan; the thumbprint is base64url without padding of the SHA-256 of the DER.
    pub fn by_certificate(&self, plan_id: &str, thumbprint: &str) -> Option<&Arc<Subscription>> {
        self.by_plan.get(plan_id)?.by_certificate.get(thumbprint)
    }

    /// Makes a subscription found by its certificates, or else by its client id. Of several that share one, the one that ends last
    /// counts, whatever the order in which they come.
    pub fn register(&mut self, subscription: &Arc<Subscription>) {
        if subscription.client_id.is_none() && subscription.thumbprints.is_empty() {
            return;
        }
        let subscribers = self
            .by_plan
            .entry(subscription.plan_id.clone())
            .or_default();
        for thumbprint in &subscription.thumbprints {
            keep_longest(&mut subscribers.by_certificate, thumbprint, subscription);
        }
        if let Some(client_id) = &subscription.client_id
            && subscription.thumbprints.is_empty()
        {
            keep_longest(&mut subscribers.by_client_id, client_id, subscription);
        }
    }
}

fn keep_longest(
    table: &mut HashMap<Box<str>, Arc<Subscription>, RandomState>,
    name: &str,
    subscription: &Arc<Subscription>,
) {
    fn rank(subscription: &Subscription) -> (u64, &str) {
        let lives_until = subscription.ending_at_ms.unwrap_or(u64::MAX);
        (u64::MAX - lives_until, &subscription.id)
    }
    match table.get_mut(name) {
        Some(held) if rank(held) <= rank(subscription) => {}
        Some(held) => *held = Arc::clone(subscription),
        None => {
            table.insert(name.into(), Arc::clone(subscription));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(id: &str, client_id: Option<&str>, thumbprints: &[&str]) -> Subscription {
        Subscription {
            id: id.into(),
            plan_id: "gold".into(),
            client_id: client_id.map(Into::into),
            thumbprints: thumbprints.iter().map(|text| Box::from(*text)).collect(),
            ..Subscription::default()
        }
    }

    #[test]
    fn a_subscription_is_found_by_its_certificates_or_else_by_its_client_id() {
        let mut table = Subscriptions::default();
        for each in [
            subscription("by-client", Some("client"), &[]),
            subscription("by-certificate", Some("unused"), &["one", "two"]),
            subscription("by-nothing", None, &[]),
        ] {
            table.register(&Arc::new(each));
        }
        let id = |found: Option<&Arc<Subscription>>| found.map(|found| found.id.to_string());
        for (plan_id, client_id, expected) in [
            ("gold", "client", Some("by-client")),
            ("gold", "unused", None),
            ("silver", "client", None),
        ] {
            let found = id(table.by_client_id(plan_id, client_id));
            assert_eq!(found.as_deref(), expected, "{plan_id} {client_id}");
        }
        for (plan_id, thumbprint, expected) in [
            ("gold", "one", Some("by-certificate")),
            ("gold", "two", Some("by-certificate")),
            ("gold", "client", None),
            ("silver", "one", None),
        ] {
            let found = id(table.by_certificate(plan_id, thumbprint));
            assert_eq!(found.as_deref(), expected, "{plan_id} {thumbprint}");
        }
    }

    #[test]
    fn of_two_subscriptions_of_one_client_the_one_that_ends_last_counts() {
        let ending = |id: &str, ending_at_ms| Subscription {
            ending_at_ms,
            ..subscription(id, Some("client"), &[])
        };
        let each = [
            ending("a", Some(1)),
            ending("b", None),
            ending("c", None),
            ending("d", Some(9)),
        ]
        .map(Arc::new);
        for turn in 0..each.len() {
            let mut order = each.clone();
            order.rotate_left(turn);
            let mut table = Subscriptions::default();
            order.iter().for_each(|each| table.register(each));
            let found = table.by_client_id("gold", "client").expect("one of them");
            assert_eq!(&*found.id, "b", "{turn}");
        }
    }
}
