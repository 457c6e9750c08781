//! The security chain of an exchange with policies: as [`super::select`], for plans that may wait or have a selection rule (contract
//! request-lifecycle 5.1).
//!
//! ```text
//!  for each plan:  credential ──▶ selection rule ──▶ subscription ──▶ policy: its outcome is final
//!                  │ absent        │ false: dropped   │ none, dates
//!                  │ unusable      │ error: noted     │
//!                  ▼               ▼                  ▼
//!                  the next plan; key-less only if nobody left a credential behind
//! ```
//!
//! The legacy engine differs for bearer tokens: the policy runs first, and the subscription is looked for behind it.

use std::borrow::Cow;

use super::{
    ApiKeySettings, Credentials, Presented, Refusal, Strip, api_key, bearer_token, metadata,
};
use crate::definition::{Engine, Plan, PlanSecurity, Subscription};
use crate::el::Value;
use crate::error::{ErrorKey, Failure};
use crate::exchange::{Exchange, Request};
use crate::need::{Answer, Need};
use crate::policy::{Phase, Policy, Stage, Verdict, jwt, mtls, oauth2};
use crate::report::SecurityType;

/// How far the chain has come.
#[derive(Debug)]
pub enum Selection {
    /// A plan was selected and let the request in; the exchange knows the consumer.
    Granted,
    /// The request is refused.
    Failed(Box<Failure>),
    /// A plan waits.
    Await(Need),
    /// The response is prepared: nothing else runs (`/.well-known/oauth-protected-resource`).
    Interrupt,
}

/// Where the chain stands with the plan at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Nothing was done.
    #[default]
    Start,
    /// The plan's credential comes next.
    Credential,
    /// The plan's credential is being looked up.
    LookUp,
    /// The selection rule comes next.
    Rule,
    /// The plan's policy comes next.
    Policy,
    /// The plan's policy waits.
    Waiting,
}

/// Challenge of the legacy engine for a token that names no client.
const CHALLENGE_LEGACY: &str = "Bearer realm=\"gravitee.io\"";

/// What the plan at hand found in the request.
#[derive(Debug, Default)]
enum Credential {
    #[default]
    None,
    ApiKey,
    Client(Box<str>),
    /// A token of a client that only the plan's policy will name (legacy engine).
    Bearer,
    Certificate(Box<str>),
}

/// What looking for a credential led to.
enum Extraction {
    Nothing,
    Invalid,
    Found(Credential),
    Wait(Need),
    Trouble(Box<str>),
}

/// The security chain of one exchange.
#[derive(Debug, Default)]
pub struct Selector {
    place: Place,
    /// Index of the plan at hand.
    at: usize,
    credential: Credential,
    /// A plan found a credential that its rule did not drop: key-less plans are closed.
    attempted: bool,
    /// The first API-key plan that found a key: the key holds for the whole request.
    key_plan: Option<usize>,
    refusal: Refusal,
    /// Why a plan could not be checked.
    trouble: Option<Box<str>>,
}

impl Selector {
    /// Begins, or goes on until a plan waits or all is decided.
    pub fn advance<'a>(
        &mut self,
        exchange: &mut Exchange<'a>,
        settings: &'a ApiKeySettings,
    ) -> Selection {
        loop {
            let plans = &exchange.api.plans;
            let Some(plan) = plans.get(self.at) else {
                return self.refuse(exchange, settings);
            };
            match self.place {
                Place::Start => {
                    if metadata::answer(exchange) {
                        return Selection::Interrupt;
                    }
                    self.place = Place::Credential;
                }
                Place::Credential => {
                    let extraction = self.extract(exchange, settings, plan);
                    if let Some(need) = self.extracted(extraction) {
                        return Selection::Await(need);
                    }
                }
                Place::Rule => {
                    if let Some(need) = self.rule(exchange, settings, plan) {
                        return Selection::Await(need);
                    }
                }
                Place::Policy => return self.run(exchange, settings, plan),
                Place::LookUp | Place::Waiting => {
                    // Only an answer leads on from here.
                    let failure =
                        Failure::internal().because("the security chain was not answered");
                    return Selection::Failed(Box::new(failure));
                }
            }
        }
    }

    /// Goes on with what a plan waited for.
    pub fn resume<'a>(
        &mut self,
        exchange: &mut Exchange<'a>,
        settings: &'a ApiKeySettings,
        answer: Answer,
    ) -> Selection {
        if let Answer::TooLarge(limit) = answer {
            let failure = Failure::of(ErrorKey::GatewayRequestBodyTooLarge).because(format!(
                "plan selection needs the body in memory, and it is larger than {limit} bytes (policies.bodyBytesMax)"
            ));
            return Selection::Failed(Box::new(failure));
        }
        let api = exchange.api;
        match (
            self.place,
            api.plans.get(self.at).map(|plan| &plan.security),
        ) {
            (Place::LookUp, Some(PlanSecurity::OAuth2(policy))) => {
                let presented = policy.present_resumed(exchange, answer);
                if let Some(need) = self.extracted(presented.into()) {
                    return Selection::Await(need);
                }
            }
            (Place::Waiting, Some(security)) => {
                if let Some(policy) = policy_of(security) {
                    let verdict = policy.resume(Stage::Request, exchange, answer);
                    return self.judge(exchange, settings, verdict);
                }
            }
            // The body is there.
            _ => {}
        }
        self.advance(exchange, settings)
    }

    /// On to the next plan.
    fn pass(&mut self, refusal: Refusal) {
        self.refusal = self.refusal.max(refusal);
        self.credential = Credential::None;
        self.at += 1;
        self.place = Place::Credential;
    }

    /// On to the next plan: this one could not be checked.
    fn pass_troubled(&mut self, cause: Box<str>) {
        self.attempted = true;
        self.trouble.get_or_insert(cause);
        self.pass(Refusal::NoToken);
    }

    fn extract<'a>(
        &mut self,
        exchange: &mut Exchange<'a>,
        settings: &ApiKeySettings,
        plan: &'a Plan,
    ) -> Extraction {
        match &plan.security {
            PlanSecurity::KeyLess if self.attempted => Extraction::Nothing,
            PlanSecurity::KeyLess => Extraction::Found(Credential::None),
            PlanSecurity::ApiKey(_) => {
                self.key_plan.get_or_insert(self.at);
                match self.key(exchange, settings) {
                    None => {
                        self.key_plan = None;
                        Extraction::Nothing
                    }
                    Some(key) if api_key::is_blank(key.text) => Extraction::Invalid,
                    Some(_) => Extraction::Found(Credential::ApiKey),
                }
            }
            PlanSecurity::Jwt(policy) => policy.present(exchange).into(),
            // The legacy engine asks the authorization server when the plan is chosen, not to choose it.
            PlanSecurity::OAuth2(policy) if is_legacy(exchange) => {
                match policy.presents_token(exchange) {
                    None => Extraction::Nothing,
                    Some(false) => Extraction::Invalid,
                    Some(true) => Extraction::Found(Credential::Bearer),
                }
            }
            PlanSecurity::OAuth2(policy) => policy.present(exchange).into(),
            PlanSecurity::Mtls(policy) => policy.present(exchange).into(),
        }
    }

    fn extracted(&mut self, extraction: Extraction) -> Option<Need> {
        match extraction {
            Extraction::Nothing => self.pass(Refusal::NoToken),
            Extraction::Invalid => {
                self.attempted = true;
                self.pass(Refusal::InvalidToken);
            }
            Extraction::Found(credential) => {
                self.credential = credential;
                self.place = Place::Rule;
            }
            Extraction::Wait(need) => {
                self.place = Place::LookUp;
                return Some(need);
            }
            Extraction::Trouble(cause) => self.pass_troubled(cause),
        }
        None
    }

    /// The API key of the request, as the first plan that found one looked for it.
    fn key<'a, 'e>(
        &self,
        exchange: &'e Exchange<'a>,
        settings: &ApiKeySettings,
    ) -> Option<Presented<'a, 'e>> {
        let plan = exchange.api.plans.get(self.key_plan?)?;
        let PlanSecurity::ApiKey(place) = &plan.security else {
            return None;
        };
        api_key::extract(place, settings, &*exchange.request)
            .map(|key| Presented::look_up(key, exchange.subscriptions))
    }

    /// The selection rule and the subscription; `Some` when the rule reads a body that is not there yet.
    fn rule<'a>(
        &mut self,
        exchange: &mut Exchange<'a>,
        settings: &ApiKeySettings,
        plan: &'a Plan,
    ) -> Option<Need> {
        if let Some(rule) = &plan.selection_rule {
            if rule.needs().request_body && exchange.request.body.is_streaming() {
                return Some(Need::RequestBody);
            }
            let legacy = is_legacy(exchange);
            match rule.eval_bool(&*exchange) {
                Ok(Some(true)) => {}
                // The credential is dropped: later plans see a request that did not try this one.
                Ok(Some(false)) => {
                    self.pass(Refusal::NoPlanMatched);
                    return None;
                }
                // Only a rule that says no drops the credential: one that breaks must not open the key-less door.
                Ok(None) | Err(_) if legacy => {
                    self.keep_credential();
                    self.pass(Refusal::NoPlanMatched);
                    return None;
                }
                Ok(None) => {
                    self.keep_credential();
                    self.pass(Refusal::NoToken);
                    return None;
                }
                Err(error) => {
                    let cause = format!("selection rule of plan {}: {error}", plan.id);
                    self.pass_troubled(cause.into());
                    return None;
                }
            }
        }
        match self.subscription(exchange, settings, plan) {
            Ok(subscription) => {
                exchange.plan = Some(plan);
                if let Some(subscription) = subscription {
                    identify(exchange, subscription);
                }
                self.place = Place::Policy;
            }
            Err(refusal) => {
                self.keep_credential();
                self.pass(refusal);
            }
        }
        None
    }

    fn keep_credential(&mut self) {
        self.attempted |= !matches!(self.credential, Credential::None);
    }

    /// The subscription that the credential stands for; `None` when the plan needs none or nobody asks for one.
    fn subscription<'a>(
        &self,
        exchange: &Exchange<'a>,
        settings: &ApiKeySettings,
        plan: &'a Plan,
    ) -> Result<Option<&'a Subscription>, Refusal> {
        let now_ms = exchange.request.timestamp_ms;
        let table = exchange.subscriptions;
        let found = match &self.credential {
            Credential::None | Credential::Bearer => return Ok(None),
            // On the legacy engine the last plan for such tokens is chosen without; its policy runs before the subscription is looked for.
            Credential::Client(_) if is_legacy(exchange) && self.is_last_for_bearers(exchange) => {
                return Ok(None);
            }
            Credential::ApiKey => {
                let key = self.key(exchange, settings).ok_or(Refusal::NotAuthorized)?;
                key.pass(plan, settings, now_ms)?;
                return Ok(key.known.map(|(_, key)| &*key.subscription));
            }
            _ if !settings.validate_subscription => return Ok(None),
            Credential::Client(id) => table.by_client_id(&plan.id, id),
            Credential::Certificate(thumbprint) => table.by_certificate(&plan.id, thumbprint),
        };
        let subscription = found.ok_or(Refusal::NotAuthorized)?;
        super::check(subscription, plan, now_ms)?;
        Ok(Some(subscription))
    }

    /// Whether no other plan for bearer tokens comes next; a plan with a selection rule counts as the last, as in the reference.
    fn is_last_for_bearers(&self, exchange: &Exchange<'_>) -> bool {
        let plans = &exchange.api.plans;
        let takes_bearers = |plan: &Plan| {
            matches!(
                plan.security,
                PlanSecurity::Jwt(_) | PlanSecurity::OAuth2(_)
            )
        };
        let has_rule = plans
            .get(self.at)
            .is_some_and(|plan| plan.selection_rule.is_some());
        has_rule || !plans.get(self.at + 1).is_some_and(takes_bearers)
    }

    /// The plan's policy has the last word.
    fn run<'a>(
        &mut self,
        exchange: &mut Exchange<'a>,
        settings: &'a ApiKeySettings,
        plan: &'a Plan,
    ) -> Selection {
        match &plan.security {
            PlanSecurity::KeyLess => {
                exchange.subscription_id = Cow::Owned(exchange.request.remote.clone());
                Selection::Granted
            }
            PlanSecurity::ApiKey(place) => {
                let strip = api_key::strip(place, settings);
                let now_ms = exchange.request.timestamp_ms;
                let api = exchange.api;
                let known = self.key(exchange, settings).and_then(|key| key.known);
                let outcome = Presented { text: b"", known }.outcome(api, plan, strip, now_ms);
                if let Some((text, _)) = known {
                    exchange.api_key = Some(Cow::Borrowed(text));
                    exchange.security_type = SecurityType::ApiKey;
                    exchange.security_token = Cow::Borrowed(text);
                }
                strip_key(exchange, strip);
                match outcome {
                    Ok(grant) => {
                        exchange.plan = Some(grant.plan);
                        Selection::Granted
                    }
                    Err(failure) => Selection::Failed(Box::new(failure)),
                }
            }
            security => {
                let Some(policy) = policy_of(security) else {
                    return Selection::Granted;
                };
                let needs_body = policy.body_needs(Phase::Request).request_body;
                if needs_body && exchange.request.body.is_streaming() {
                    return Selection::Await(Need::RequestBody);
                }
                let verdict = policy.on_request(exchange);
                self.judge(exchange, settings, verdict)
            }
        }
    }

    fn judge(
        &mut self,
        exchange: &mut Exchange<'_>,
        settings: &ApiKeySettings,
        verdict: Verdict,
    ) -> Selection {
        match verdict {
            Verdict::Continue => match &self.credential {
                Credential::Client(_) | Credential::Bearer
                    if is_legacy(exchange) && settings.validate_subscription =>
                {
                    check_subscription(exchange)
                }
                _ => Selection::Granted,
            },
            Verdict::Await(need) => {
                self.place = Place::Waiting;
                Selection::Await(need)
            }
            Verdict::Fail(failure) => Selection::Failed(failure),
            Verdict::Interrupt => Selection::Interrupt,
            // No security policy wraps the call; one that did must not let anybody in.
            Verdict::Wrap(_) | Verdict::Again(_) => Selection::Failed(Box::new(
                Failure::internal().because("not a security policy"),
            )),
        }
    }

    /// No plan passed.
    fn refuse(&mut self, exchange: &mut Exchange<'_>, settings: &ApiKeySettings) -> Selection {
        if let Some(cause) = self.trouble.take() {
            let failure = Failure::of(ErrorKey::GatewayPlanResolutionFailure).because(cause);
            return Selection::Failed(Box::new(failure));
        }
        let challenge = exchange
            .api
            .plans
            .iter()
            .find_map(|plan| match &plan.security {
                PlanSecurity::Jwt(policy) => Some(policy.challenge(exchange)),
                PlanSecurity::OAuth2(policy) => Some(policy.challenge()),
                PlanSecurity::KeyLess | PlanSecurity::ApiKey(_) | PlanSecurity::Mtls(_) => None,
            });
        if let Some(challenge) = challenge {
            let _ = exchange.response.headers.set("WWW-Authenticate", challenge);
        }
        Selection::Failed(Box::new(self.refusal.failure(settings)))
    }
}

fn is_legacy(exchange: &Exchange<'_>) -> bool {
    exchange.api.engine == Engine::V2Legacy
}

/// What the legacy engine does behind the policy of a plan for bearer tokens: the subscription of the client that the policy named
/// (contract request-lifecycle 5.5, end).
fn check_subscription(exchange: &mut Exchange<'_>) -> Selection {
    let client = exchange
        .attributes
        .find("oauth.client_id")
        .and_then(Value::as_text)
        .filter(|id| !id.trim().is_empty());
    let Some(client) = client else {
        let response = &mut exchange.response;
        let _ = response.headers.add("WWW-Authenticate", CHALLENGE_LEGACY);
        let failure = Failure::policy(401, "GATEWAY_OAUTH2_INVALID_CLIENT", "Unauthorized")
            .because("the token names no client");
        return Selection::Failed(Box::new(failure));
    };
    let table = exchange.subscriptions;
    let found = exchange
        .plan
        .ok_or(Refusal::NoPlanMatched)
        .and_then(|plan| {
            let subscription = table
                .by_client_id(&plan.id, client)
                .ok_or(Refusal::NotAuthorized)?;
            super::check(subscription, plan, exchange.request.timestamp_ms)?;
            Ok(subscription)
        });
    match found {
        Ok(subscription) => {
            identify(exchange, subscription);
            Selection::Granted
        }
        Err(refusal) => {
            let failure = Failure::policy(401, "GATEWAY_OAUTH2_ACCESS_DENIED", "Unauthorized")
                .because(refusal.as_str());
            Selection::Failed(Box::new(failure))
        }
    }
}

/// The consumer is known.
fn identify<'a>(exchange: &mut Exchange<'a>, subscription: &'a Subscription) {
    exchange.application_id = Cow::Borrowed(&subscription.application_id);
    exchange.subscription_id = Cow::Borrowed(&subscription.id);
    exchange.subscription = Some(subscription);
}

fn policy_of(security: &PlanSecurity) -> Option<&dyn Policy> {
    match security {
        PlanSecurity::Jwt(policy) => Some(&**policy),
        PlanSecurity::OAuth2(policy) => Some(&**policy),
        PlanSecurity::Mtls(policy) => Some(&**policy),
        PlanSecurity::KeyLess | PlanSecurity::ApiKey(_) => None,
    }
}

/// Takes an API key out of the request.
pub(crate) fn strip_key(exchange: &mut Exchange<'_>, strip: Strip<'_>) {
    let Strip::ApiKey { header, parameter } = strip else {
        return;
    };
    if let Some(header) = header {
        exchange.request.headers.remove(header);
    }
    if let Some(parameter) = parameter
        && exchange.request.parameter(parameter).is_some()
    {
        exchange.request.remove_parameter(parameter);
    }
}

impl From<jwt::Presented> for Extraction {
    fn from(presented: jwt::Presented) -> Self {
        match presented {
            jwt::Presented::Nothing => Self::Nothing,
            jwt::Presented::Invalid => Self::Invalid,
            jwt::Presented::Client(id) => Self::Found(Credential::Client(id)),
        }
    }
}

impl From<oauth2::Presented> for Extraction {
    fn from(presented: oauth2::Presented) -> Self {
        match presented {
            oauth2::Presented::Nothing => Self::Nothing,
            oauth2::Presented::Invalid => Self::Invalid,
            oauth2::Presented::Client(id) => Self::Found(Credential::Client(id)),
            oauth2::Presented::Wait(need) => Self::Wait(need),
            oauth2::Presented::Unavailable(cause) => Self::Trouble(cause),
        }
    }
}

impl From<mtls::Presented> for Extraction {
    fn from(presented: mtls::Presented) -> Self {
        match presented {
            mtls::Presented::Nothing => Self::Nothing,
            mtls::Presented::Invalid => Self::Invalid,
            mtls::Presented::Certificate(thumbprint) => {
                Self::Found(Credential::Certificate(thumbprint))
            }
        }
    }
}

impl Credentials for Request {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    fn parameter(&self, name: &str) -> Option<&[u8]> {
        Self::parameter(self, name).map(str::as_bytes)
    }

    fn bearer(&self) -> Option<&[u8]> {
        self.headers.values("authorization").find_map(bearer_token)
    }
}
