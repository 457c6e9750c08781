//! One request and its response, as the chain of policies sees them.
//!
//! A worker fills an [`Exchange`] from a parsed head, drives [`crate::flow::Run`] over it, and sends what it holds in the end. Everything in
//! it is plain data: no socket, no clock, no runtime.

mod attributes;
mod body;
mod headers;
mod request;
mod response;
mod scope;
mod ssl;

pub use attributes::{ATTRIBUTE_PREFIX, ATTRIBUTES_MAX, Attributes};
pub use body::Body;
pub use headers::{
    HEADER_TEXT_BYTES_MAX, HeaderError, HeaderField, Headers, is_field_value, is_token,
};
pub use request::{ClientCertificate, PathParameterValues, QUERY_BYTES_MAX, Request};
pub use response::Response;

use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;

use crate::definition::{Api, Endpoint, Plan, Subscription, Subscriptions};
use crate::el::Value;
use crate::error::Failure;
use crate::http::Method;
use crate::need::Errand;
use crate::report::SecurityType;
use crate::security::Tokens;
use crate::snapshot::{DeployedApi, Platform};

/// Warnings that an exchange keeps for its report.
pub const WARNINGS_MAX: usize = 16;

/// Something that went wrong without failing the request (metrics `warnings`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Key, such as `EXPRESSION_EVALUATION_ERROR`.
    pub key: Cow<'static, str>,
    /// Text for the operator.
    pub message: Box<str>,
}

/// How the call of the backend went.
#[derive(Debug, Default)]
pub enum Call {
    /// Not called yet.
    #[default]
    Open,
    /// `response` holds the answer: the backend's, or one that a policy prepared in its place.
    Answered,
    /// No response: the failure to answer with.
    Failed(Box<Failure>),
}

/// Where a redirect leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Absolute URL.
    pub url: Box<str>,
    /// Method of the call.
    pub method: Method,
    /// This redirect, or one before it, led to another origin than the one it came from.
    pub crosses_origins: bool,
}

/// What a policy keeps for itself between the calls of one exchange.
pub type Carry = Option<Box<dyn Any>>;

/// A bound on a body that passes piece by piece.
#[derive(Debug, Clone)]
pub struct BodyLimit {
    /// Bytes of payload at most.
    pub bytes_max: u64,
    /// What is answered when more arrive.
    pub failure: Failure,
}

/// The memory of an exchange, kept by the worker for the next one.
#[derive(Debug, Default)]
pub struct Memory {
    request: Box<Request>,
    response: Box<Response>,
    attributes: Attributes,
}

/// One request and its response.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The request.
    pub request: Box<Request>,
    /// The response.
    pub response: Box<Response>,
    /// Attributes set by policies.
    pub attributes: Attributes,
    /// The API.
    pub api: &'a Api,
    /// Its subscriptions and keys.
    pub subscriptions: &'a Subscriptions,
    /// What surrounds the API: organization flows, dictionaries, facts of the node.
    pub platform: &'a Platform,
    /// The plan, once one was selected.
    pub plan: Option<&'a Plan>,
    /// The subscription, when the plan has one.
    pub subscription: Option<&'a Subscription>,
    /// Application id; `1` stands for an unknown one.
    pub application_id: Cow<'a, str>,
    /// Subscription id; the client's address for a key-less plan; empty before security.
    pub subscription_id: Cow<'a, str>,
    /// API key that was presented.
    pub api_key: Option<Cow<'a, str>>,
    /// Authenticated user, for the report and the attribute `user`.
    pub user: Option<Box<str>>,
    /// How the consumer authenticated, for the report.
    pub security_type: SecurityType,
    /// The credential's public part (API key, client id), for the report.
    pub security_token: Cow<'a, str>,
    /// Value of the path mapping that matched, for the report.
    pub mapped_path: Option<&'a str>,
    /// What was learned about the tokens of the request.
    pub tokens: Tokens,
    /// Warnings for the report.
    pub warnings: Vec<Warning>,
    /// The failure that the response renders, if it is one.
    pub failure: Option<Box<Failure>>,
    /// How the call of the backend went.
    pub call: Call,
    /// The endpoint that was called last.
    pub endpoint: Option<&'a Endpoint>,
    /// The absolute URI that was called last; only kept for an endpoint that follows redirects.
    pub called_uri: String,
    /// The next call goes there, as it is written: no expression, no parameter of the request.
    pub redirect: Option<Redirect>,
    /// The backend's answer must be here within this time of the call, milliseconds; 0 leaves the endpoint's own limit (`retry`).
    pub attempt_timeout_ms: u64,
    /// Errands that nobody waits for; the worker sends them off after each turn of the chain.
    pub detached: Vec<Errand>,
    /// A bound on the request body, which the worker enforces on a body that is still streaming (`request-content-limit`).
    pub body_limit: Option<Box<BodyLimit>>,
    /// What the running policy keeps between its `Await` and its `resume`.
    pub carry: Carry,
    /// The time, Unix milliseconds: set by the worker whenever it drives the chain.
    pub now_ms: u64,
    /// Random bits for policies and expressions that need some: changes whenever it is asked through [`Exchange::random`].
    pub seed: Cell<u64>,
}

impl<'a> Exchange<'a> {
    /// An exchange with an API, on recycled memory. The caller fills `request`.
    pub fn new(memory: Memory, deployed: &'a DeployedApi) -> Self {
        let Memory {
            mut request,
            mut response,
            mut attributes,
        } = memory;
        request.clear();
        response.clear();
        attributes.clear();
        Self {
            request,
            response,
            attributes,
            api: &deployed.api,
            subscriptions: &deployed.subscriptions,
            platform: &deployed.platform,
            plan: None,
            subscription: None,
            application_id: Cow::Borrowed("1"),
            subscription_id: Cow::Borrowed(""),
            api_key: None,
            user: None,
            security_type: SecurityType::None,
            security_token: Cow::Borrowed(""),
            mapped_path: None,
            tokens: Tokens::default(),
            warnings: Vec::new(),
            failure: None,
            call: Call::Open,
            endpoint: None,
            called_uri: String::new(),
            redirect: None,
            attempt_timeout_ms: 0,
            detached: Vec::new(),
            body_limit: None,
            carry: None,
            now_ms: 0,
            seed: Cell::new(0),
        }
    }

    /// Gives the memory back.
    pub fn into_memory(self) -> Memory {
        Memory {
            request: self.request,
            response: self.response,
            attributes: self.attributes,
        }
    }

    /// Keeps a warning for the report; too many are dropped.
    pub fn warn(&mut self, key: impl Into<Cow<'static, str>>, message: impl Into<Box<str>>) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(Warning {
                key: key.into(),
                message: message.into(),
            });
        }
    }

    /// What the running policy keeps, to be looked at and changed; `None` when there is nothing of this type.
    pub fn carried<T: 'static>(&mut self) -> Option<&mut T> {
        self.carry.as_mut()?.downcast_mut()
    }

    /// Takes what the running policy kept; `None` when there is nothing of this type.
    pub fn take_carried<T: 'static>(&mut self) -> Option<T> {
        self.carry.take()?.downcast().ok().map(|carried| *carried)
    }

    /// Sets an attribute of the gateway, `gravitee.attribute.<name>`; `name` is the full name.
    pub fn set_attribute(&mut self, name: &'static str, value: impl Into<Value<'static>>) {
        self.attributes.set(name, value.into());
    }

    /// 64 random bits (xorshift64*): not for secrets.
    pub fn random(&self) -> u64 {
        let mut state = self.seed.get() | 1;
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.seed.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
