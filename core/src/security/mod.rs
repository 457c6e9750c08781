//! Plan selection: which plan serves a request, decided on values handed in (contract request-lifecycle 5). [`select`] serves APIs
//! without policies, at the cost of a look-up; [`Selector`] serves those with, and plans that have to wait.
//!
//! The chain asks the plans in their compiled order. A plan whose credential is absent is passed over; a plan whose
//! credential is there but does not fit is passed over too, and from then on a key-less plan is closed: who tries to
//! authenticate never falls back to the open door. The first plan that passes decides, whatever it then answers.
//!
//! Which failure a bad key gets follows from the two steps of the reference:
//!
//! | key | step that refuses it | key of the failure |
//! |---|---|---|
//! | absent, blank, unknown, revoked, of another plan, of a subscription outside its dates | chain: no plan passes | `GATEWAY_PLAN_UNRESOLVABLE` |
//! | expired, on a valid subscription | policy: the plan has passed, so its outcome is final | `API_KEY_INVALID` |
//!
//! The chain looks the subscription up *by* the key, so a key that the store does not hold (revoked and paused keys are
//! removed from it) cannot pass. It does not look at the date of the key itself; that is the policy's part. With
//! subscription validation switched off the chain asks nothing of a key that is not blank, and the policy then refuses
//! unknown keys as well. All of these are 401 `Unauthorized` to the client.

mod api_key;
pub(crate) mod bearer;
pub mod certificate;
mod chain;
#[cfg(test)]
mod chain_tests;
pub mod jwt;
mod metadata;
pub mod oauth2;
mod plan;

pub use api_key::bearer_token;
pub(crate) use api_key::{extract, strip};
pub(crate) use chain::strip_key;
pub use chain::{Selection, Selector};
pub use plan::build_plan;

use crate::definition::{Api, ApiKey, Plan, PlanSecurity, Subscription, Subscriptions};
use crate::error::{ErrorKey, Failure};

/// Application id that stands for a consumer who is not known.
const ANONYMOUS_APPLICATION: &str = "1";

/// Gateway-wide settings of API-key plans (`policy.api-key.*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeySettings {
    /// `policy.api-key.header`; `None` switches the header off.
    pub header: Option<Box<str>>,
    /// `policy.api-key.param`; `None` switches the query parameter off.
    pub parameter: Option<Box<str>>,
    /// `api.validateSubscription`.
    pub validate_subscription: bool,
    /// `api.security.verbose401`: tell the client why no plan was found.
    pub verbose_401: bool,
}

/// What plans and policies of one exchange learned about its tokens.
#[derive(Debug, Default)]
pub struct Tokens {
    /// The token that was taken apart last.
    pub(crate) jwt: Option<std::sync::Arc<jwt::Token>>,
    /// What authorization servers said.
    pub(crate) introspected: Vec<oauth2::Introspected>,
}

impl Default for ApiKeySettings {
    fn default() -> Self {
        Self {
            header: Some("X-Gravitee-Api-Key".into()),
            parameter: Some("api-key".into()),
            validate_subscription: true,
            verbose_401: false,
        }
    }
}

/// What plan selection needs to see of a request.
pub trait Credentials {
    /// The first value of a header, name compared without case.
    fn header(&self, name: &str) -> Option<&[u8]>;

    /// The first value of a query parameter as raw text: nothing is percent-decoded.
    fn parameter(&self, name: &str) -> Option<&[u8]>;

    /// The token of the first `Authorization` value of the scheme `Bearer`. The provided method sees only the first value
    /// of all; who can walk the values should apply [`bearer_token`] to each.
    fn bearer(&self) -> Option<&[u8]> {
        self.header("Authorization").and_then(bearer_token)
    }
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
    /// This header (every value of it) and this query parameter (every occurrence).
    ApiKey {
        /// Header name.
        header: Option<&'a str>,
        /// Query parameter name.
        parameter: Option<&'a str>,
    },
}

/// Selects the plan, or the failure to answer with. `now_ms` is Unix milliseconds. Allocates only for a failure.
pub fn select<'a>(
    api: &'a Api,
    subscriptions: &'a Subscriptions,
    credentials: &impl Credentials,
    settings: &'a ApiKeySettings,
    now_ms: u64,
) -> Result<Grant<'a>, Failure> {
    // The key that the first API-key plan found holds for the whole request: a later plan that looks elsewhere does not get
    // a second try with another credential, as in the reference, where the key stays in the context once it is resolved.
    let mut presented: Option<Presented<'a, '_>> = None;
    let mut refusal = Refusal::NoToken;
    for plan in &api.plans {
        match &plan.security {
            PlanSecurity::KeyLess if presented.is_none() => {
                return Ok(Grant {
                    plan,
                    application_id: ANONYMOUS_APPLICATION,
                    subscription_id: None,
                    key: None,
                    strip: Strip::Nothing,
                });
            }
            PlanSecurity::KeyLess => {}
            PlanSecurity::ApiKey(configuration) => {
                if presented.is_none() {
                    presented = extract(configuration, settings, credentials)
                        .map(|key| Presented::look_up(key, subscriptions));
                }
                let Some(presented) = &presented else {
                    continue;
                };
                match presented.pass(plan, settings, now_ms) {
                    Ok(()) => {
                        return presented.outcome(
                            api,
                            plan,
                            strip(configuration, settings),
                            now_ms,
                        );
                    }
                    Err(refused) => refusal = refusal.max(refused),
                }
            }
            // An API with such a plan runs the chain of policies ([`Selector`]).
            PlanSecurity::Jwt(_) | PlanSecurity::OAuth2(_) | PlanSecurity::Mtls(_) => {
                return Err(Failure::internal().because("the plan needs the chain of policies"));
            }
        }
    }
    Err(refusal.failure(settings))
}

/// The key of a request and what the store knows of it.
struct Presented<'a, 'r> {
    text: &'r [u8],
    known: Option<(&'a str, &'a ApiKey)>,
}

impl<'a, 'r> Presented<'a, 'r> {
    fn look_up(text: &'r [u8], subscriptions: &'a Subscriptions) -> Self {
        let known = std::str::from_utf8(text)
            .ok()
            .and_then(|text| subscriptions.keys.get_key_value(text));
        Self {
            text,
            known: known.map(|(text, key)| (&**text, key)),
        }
    }

    /// The chain's part: whether `plan` is the one to decide about this key.
    fn pass(&self, plan: &Plan, settings: &ApiKeySettings, now_ms: u64) -> Result<(), Refusal> {
        if api_key::is_blank(self.text) {
            return Err(Refusal::InvalidToken);
        }
        if !settings.validate_subscription {
            return Ok(());
        }
        let (_, key) = self.known.ok_or(Refusal::NotAuthorized)?;
        check(&key.subscription, plan, now_ms)
    }

    /// The policy's part: the final answer of a plan that passed.
    fn outcome(
        &self,
        api: &'a Api,
        plan: &'a Plan,
        strip: Strip<'a>,
        now_ms: u64,
    ) -> Result<Grant<'a>, Failure> {
        let invalid = |cause: &str| Failure::of(ErrorKey::ApiKeyInvalid).because(cause);
        let (text, key) = self
            .known
            .ok_or_else(|| invalid("the API key is unknown or revoked"))?;
        if key
            .expire_at_ms
            .is_some_and(|expire_at_ms| expire_at_ms <= now_ms)
        {
            return Err(invalid("the API key has expired"));
        }
        let Subscription {
            id,
            plan_id,
            application_id,
            ..
        } = &*key.subscription;
        let plan = if plan.id == *plan_id {
            plan
        } else {
            // Only when subscriptions are not validated: the policy reports the key's own plan.
            api.plans
                .iter()
                .find(|own| own.id == *plan_id)
                .unwrap_or(plan)
        };
        Ok(Grant {
            plan,
            application_id,
            subscription_id: Some(id),
            key: Some(text),
            strip,
        })
    }
}

/// Whether a subscription is one to `plan` and valid now (Unix milliseconds).
fn check(subscription: &Subscription, plan: &Plan, now_ms: u64) -> Result<(), Refusal> {
    let Subscription {
        plan_id,
        starting_at_ms,
        ending_at_ms,
        ..
    } = subscription;
    if *plan_id != plan.id {
        return Err(Refusal::NotAuthorized);
    }
    if ending_at_ms.is_some_and(|ending_at_ms| ending_at_ms <= now_ms) {
        return Err(Refusal::Expired);
    }
    if starting_at_ms.is_some_and(|starting_at_ms| starting_at_ms >= now_ms) {
        return Err(Refusal::NotStarted);
    }
    Ok(())
}

/// Why the chain found no plan; of several reasons the greatest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Refusal {
    #[default]
    NoToken,
    NoPlanMatched,
    NotStarted,
    Expired,
    NotAuthorized,
    InvalidToken,
}

impl Refusal {
    /// The answer when no plan passed. The client is told why only where the operator wants it.
    fn failure(self, settings: &ApiKeySettings) -> Failure {
        let failure = Failure::of(ErrorKey::GatewayPlanUnresolvable).because(self.as_str());
        if settings.verbose_401 {
            failure.saying(self.as_str())
        } else {
            failure
        }
    }

    /// The reference's text for it.
    fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "The request did not include an authentication token",
            Self::NoPlanMatched => "No plan matched the request",
            Self::NotStarted => "The subscription has not yet started for the provided credentials",
            Self::Expired => "Access has expired for the provided credentials",
            Self::NotAuthorized => "The provided credentials are not authorized",
            Self::InvalidToken => "The provided authentication token is invalid",
        }
    }
}

#[cfg(test)]
mod tests;
