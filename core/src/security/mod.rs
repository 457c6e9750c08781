//! Plan selection: which plan serves a request, decided on values handed in (contract request-lifecycle 5).

use crate::definition::{Api, Plan, Subscriptions};
use crate::error::Failure;

/// Gateway-wide settings of API-key plans (`policy.api-key.*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeySettings {
    /// `policy.api-key.header`; `None` switches the header off.
    pub header: Option<Box<str>>,
    /// `policy.api-key.param`; `None` switches the query parameter off.
    pub parameter: Option<Box<str>>,
    /// `api.validateSubscription`.
    pub validate_subscription: bool,
}

impl Default for ApiKeySettings {
    fn default() -> Self {
        Self {
            header: Some("X-Gravitee-Api-Key".into()),
            parameter: Some("api-key".into()),
            validate_subscription: true,
        }
    }
}

/// What plan selection needs to see of a request.
pub trait Credentials {
    /// The first value of a header, name compared without case.
    fn header(&self, name: &str) -> Option<&[u8]>;
    /// The first value of a query parameter, percent-decoded is not done: raw text.
    fn parameter(&self, name: &str) -> Option<&[u8]>;
}

/// The plan that serves a request and who the consumer is.
#[derive(Debug, Clone)]
pub struct Grant<'a> {
    /// Selected plan.
    pub plan: &'a Plan,
    /// Application id, `1` for a key-less plan.
    pub application_id: &'a str,
    /// Subscription id; `None` for a key-less plan (the remote address stands for it).
    pub subscription_id: Option<&'a str>,
    /// API key that was presented, for the report.
    pub key: Option<&'a str>,
    /// What must be removed from the request before it goes to the backend.
    pub strip: Strip<'a>,
}

/// Credentials that are not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strip<'a> {
    /// Nothing.
    Nothing,
    /// This header and this query parameter.
    ApiKey {
        /// Header name.
        header: Option<&'a str>,
        /// Query parameter name.
        parameter: Option<&'a str>,
    },
}

/// Selects the plan, or the failure to answer with. `now_ms` is Unix milliseconds.
pub fn select<'a>(
    _api: &'a Api,
    _subscriptions: &'a Subscriptions,
    _credentials: &impl Credentials,
    _settings: &'a ApiKeySettings,
    _now_ms: u64,
) -> Result<Grant<'a>, Failure> {
    Err(Failure::of(crate::error::ErrorKey::GatewayPlanUnresolvable))
}
