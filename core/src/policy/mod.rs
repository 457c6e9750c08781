//! Policies: what they are made of, and what they answer (contract policies).
//!
//! A policy is one file of this module: its configuration with Gravitee's JSON names, its [`Policy`] implementation, its tests. One
//! line in [`registry`](registry::REGISTRY) makes it known. It is built once per step at deployment, and then only ever sees an
//! [`Exchange`]. A policy never waits: it returns [`Verdict::Await`] with what it needs, and is resumed with the answer.

mod ant;
mod api_key;
mod aws;
mod aws_lambda;
mod build;
pub mod cache;
mod date_pattern;
mod dynamic_routing;
pub mod follow_redirects;
pub mod freemarker;
mod http_redirect;
mod ip_filtering;
pub mod json_scan;
mod json_threat_protection;
mod json_validation;
pub(crate) mod jwt;
mod key_less;
mod latency;
pub(crate) mod lenient;
mod limit;
mod mock;
pub(crate) mod mtls;
pub(crate) mod oauth2;
mod pairs;
mod path_rules;
mod policy_assign_attributes;
mod policy_assign_content;
mod policy_basic_authentication;
mod policy_circuit_breaker;
mod policy_generate_jwt;
mod policy_http_callout;
mod policy_interrupt;
mod policy_override_request_method;
mod policy_request_validation;
mod quota;
mod rate_limit;
mod rbac;
mod regex_groups;
mod regex_threat_protection;
pub mod registry;
mod request_content_limit;
pub mod resource;
mod resource_filtering;
mod retry;
#[cfg(test)]
mod samples;
mod spike_arrest;
mod ssl_enforcement;
mod status_code;
#[cfg(test)]
pub(crate) mod testing;
mod token_bucket_rate_limit;
mod traffic_shadowing;
mod transform_headers;
mod transform_queryparams;
mod url_rewriting;
#[cfg(test)]
mod wrapping;

pub use build::{Builder, ConfigError};
pub use jwt::Jwt;
pub use mtls::Mtls;
pub use oauth2::OAuth2;
pub use resource::Resource;

use std::any::Any;
use std::fmt;

use crate::error::Failure;
use crate::exchange::{Carry, Exchange};
use crate::need::{Answer, Need};

/// Where in the life of an exchange a policy is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before the backend is called.
    Request,
    /// When the backend's response head, or what took its place, is there.
    Response,
}

/// The phases in which a policy does something. A step in another phase is skipped, as in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// Does something in the request phase.
    pub request: bool,
    /// Does something in the response phase.
    pub response: bool,
}

impl Phases {
    /// Request phase only.
    pub const REQUEST: Self = Self {
        request: true,
        response: false,
    };
    /// Response phase only.
    pub const RESPONSE: Self = Self {
        request: false,
        response: true,
    };
    /// Both.
    pub const BOTH: Self = Self {
        request: true,
        response: true,
    };

    /// Whether `phase` is one of them.
    pub fn contains(self, phase: Phase) -> bool {
        match phase {
            Phase::Request => self.request,
            Phase::Response => self.response,
        }
    }
}

/// Which bodies must be in memory before a step runs: decided when it is built.
pub use crate::el::Needs as BodyNeeds;

/// What becomes of an exchange after a policy.
#[derive(Debug)]
pub enum Verdict {
    /// On to the next step.
    Continue,
    /// On to the next step, and [`Policy::before_call`] and [`Policy::after_call`] of this one stand around the call of the backend.
    /// Request phase only. The last policy that asks for it is the outermost.
    Wrap(Carry),
    /// No further step, and no call: the response as it was prepared goes out (status 0 means 200). Not a failure. In
    /// [`Policy::before_call`] it means that the response takes the backend's place: the response phase follows.
    Interrupt,
    /// No further step: the failure is answered.
    Fail(Box<Failure>),
    /// The policy waits: [`Policy::resume`] is called with the answer.
    Await(Need),
    /// The call is made again after a pause, milliseconds; only in [`Policy::after_call`].
    Again(u64),
}

impl Verdict {
    /// Shorthand for [`Verdict::Fail`].
    pub fn fail(failure: Failure) -> Self {
        Self::Fail(Box::new(failure))
    }
}

/// Where a policy waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In [`Policy::on_request`].
    Request,
    /// In [`Policy::on_response`].
    Response,
    /// In [`Policy::before_call`].
    BeforeCall,
    /// In [`Policy::after_call`].
    AfterCall,
}

/// One configured step. Shared by every worker: state that changes lies in atomics or behind a lock held for nanoseconds.
pub trait Policy: Send + Sync + fmt::Debug + Any {
    /// The bodies that must be in memory before this step runs in this phase.
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        let _ = phase;
        BodyNeeds::default()
    }

    /// The request phase.
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let _ = exchange;
        Verdict::Continue
    }

    /// The response phase.
    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let _ = exchange;
        Verdict::Continue
    }

    /// Goes on after [`Verdict::Await`]. What the policy must remember lies in `exchange.carry` (request and response phase) or in the
    /// carry that it gave to [`Verdict::Wrap`] (around the call), which is then in `exchange.carry`, too.
    fn resume(&self, stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        let _ = (stage, exchange, answer);
        Verdict::Continue
    }

    /// Just before the call of the backend, for a policy that asked for it with [`Verdict::Wrap`]. Its carry is in `exchange.carry`.
    /// [`Verdict::Interrupt`]: `exchange.response` is the answer, and the backend (and every wrapper further in) is not called.
    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let _ = exchange;
        Verdict::Continue
    }

    /// When the call has ended: `exchange.call` says how. The body of the response may still be streaming.
    fn after_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let _ = exchange;
        Verdict::Continue
    }

    /// The call that this policy asked to wrap is given up (a later step failed, the client went away, the request timed out), before its
    /// `after_call` was through: what the carry holds is given back.
    fn cancel_call(&self, carry: Carry) {
        let _ = carry;
    }
}
