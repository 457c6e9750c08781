//! Plans, subscriptions and API keys (contracts request-lifecycle 5, sync 7).

use std::collections::HashMap;
use std::sync::Arc;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Subscription id.
    pub id: Box<str>,
    /// Plan it belongs to.
    pub plan_id: Box<str>,
    /// Application that subscribed.
    pub application_id: Box<str>,
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

/// Subscriptions and keys of one API, replaced as a whole when one of them changes.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// Active keys by key text. The hasher is keyed, so that chosen keys cannot collide on purpose.
    pub keys: HashMap<Box<str>, ApiKey, foldhash::fast::RandomState>,
}

impl Subscriptions {
    /// The active key with this text.
    pub fn key(&self, text: &str) -> Option<&ApiKey> {
        self.keys.get(text)
    }
}
