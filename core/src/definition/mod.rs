//! The compiled form of an API: what a worker needs to serve it, and nothing of the JSON it came from.
//!
//! Built by the control thread (`turnpike-control`, module `definition`), read by workers through a
//! [`Snapshot`](crate::snapshot::Snapshot), never changed after publication. Contract: `api-definition`.

mod balance;
mod endpoint;
mod plan;
mod properties;
mod target;

pub use balance::{Balancing, LoadBalancer};
pub use endpoint::{
    AddressCell, Addresses, ClientCertificate, Connector, ConnectorId, ConnectorOptions, Endpoint,
    EndpointGroup, ForwardProxy, ProxyKind, TlsSettings,
};
pub use plan::{ApiKey, ApiKeyPlan, ApiKeySource, Plan, PlanSecurity, Subscription, Subscriptions};
pub use properties::Properties;
pub use target::{Origin, Target, TargetError, URI_BYTES_MAX, Wish};

use std::sync::Arc;

use crate::flow::{Cors, FlowSet, PathMapping, PathParameterSet, ResponseTemplates, Step};

/// Which of the reference's three execution engines an API asks for (contract request-lifecycle, head).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `definitionVersion` 4.0.0.
    V4,
    /// V2 with `execution_mode: v4-emulation-engine`.
    V2Emulation,
    /// V2 with the old engine (`execution_mode: v3`, the default).
    V2Legacy,
}

impl Engine {
    /// True for both engines that serve V2 definitions; their reports have the V2 form.
    pub fn is_v2(self) -> bool {
        !matches!(self, Self::V4)
    }
}

/// One host and path on which an API listens, as written in the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerPath {
    /// Virtual host, with `:port` when written so; `None` listens on every host.
    pub host: Option<Box<str>>,
    /// Listener path as written (`/`, `/orders`, `/a//b/`); [`crate::route`] derives the matching forms.
    pub path: Box<str>,
    /// Ids of the gateway servers it is restricted to; empty means all.
    pub servers: Arc<[Box<str>]>,
}

/// A compiled API. Immutable; shared by every worker.
#[derive(Debug)]
pub struct Api {
    /// Id given by the control plane.
    pub id: Box<str>,
    /// Display name.
    pub name: Box<str>,
    /// The API's own version text.
    pub version: Box<str>,
    /// Environment id, empty when the control plane named none.
    pub environment_id: Box<str>,
    /// Organization id, empty when unknown.
    pub organization_id: Box<str>,
    /// Execution engine.
    pub engine: Engine,
    /// Creation time of the publish event, Unix milliseconds; with `revision` it decides whether an update is newer.
    pub deployed_at_ms: u64,
    /// Deployment number of the event (`properties.deployment_number`), empty when absent.
    pub revision: Box<str>,
    /// Listener paths, at least one.
    pub listeners: Box<[ListenerPath]>,
    /// Served plans in evaluation order (contract request-lifecycle 5.2), at least one.
    pub plans: Box<[Plan]>,
    /// Endpoint groups, at least one; the first is the default group.
    pub groups: Box<[EndpointGroup]>,
    /// Whether requests of this API are reported (V4: `analytics.enabled`; V2: always).
    pub analytics: bool,
    /// `requestValidation.rejectNullByte` of the first HTTP listener.
    pub reject_null_byte: bool,
    /// Everything that happens to a request besides routing and forwarding.
    pub processing: Processing,
}

/// What happens to a request besides routing and forwarding.
#[derive(Debug, Default)]
pub struct Processing {
    /// Flows of the API.
    pub flows: FlowSet,
    /// `flowExecution.matchRequired`.
    pub match_required: bool,
    /// CORS.
    pub cors: Option<Box<Cors>>,
    /// Response templates.
    pub templates: ResponseTemplates,
    /// Properties, for expressions.
    pub properties: Properties,
    /// Path mappings of the analytics.
    pub path_mappings: Box<[PathMapping]>,
    /// Flow paths with parameters, of the API and of every plan.
    pub path_parameters: PathParameterSet,
    /// What follows redirects, when an endpoint asks for it.
    pub redirects: Option<Box<Step>>,
    /// Some plan or flow needs the chain of policies even where no flow does: a JWT plan, a selection rule, CORS, templates.
    pub needs_chain: bool,
}

impl Api {
    /// Whether requests pass without the chain of policies: key-less and API-key plans, no flow, no CORS, no template.
    pub fn is_plain(&self) -> bool {
        let processing = &self.processing;
        !processing.needs_chain
            && processing.flows.is_empty()
            && !processing.match_required
            && processing.redirects.is_none()
            && processing.cors.is_none()
            && processing.templates.by_key.is_empty()
            && self
                .plans
                .iter()
                .all(|plan| plan.flows.is_empty() && plan.selection_rule.is_none())
    }
}
