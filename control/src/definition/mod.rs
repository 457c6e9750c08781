//! API definitions: V2 and V4 JSON compiled to [`turnpike_core::definition::Api`] (contract api-definition).
//!
//! # The nouns
//! - [`ApiInput`]: one definition text and what its record says about it;
//! - [`CompileContext`]: what the gateway's settings decide (sharding tags, tenant), and the [`Connectors`] that compiled
//!   endpoints share;
//! - [`SharedPolicyGroups`]: steps that flows of many APIs take in;
//! - [`Compiled`]: the API, and a [`Note`] for every member that is accepted without effect;
//! - [`Refusal`]: the one member that stops an API, why, and what an operator can do.
//!
//! # The rule
//! A member that would change what a client sees, and that is not built yet, refuses its API by name: an API is served as it
//! is written or not at all. A member without effect on answers becomes a note.

mod connector;
mod cors;
mod decrypt;
mod endpoint;
mod flow;
mod group;
mod header;
mod http;
mod keystore;
mod organization;
mod plan;
mod plan_order;
mod properties;
mod proxy;
mod reader;
mod refusal;
mod resource;
mod tags;
mod target;
mod template;
#[cfg(test)]
mod tests;
mod tls;
mod v2;
mod v4;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use turnpike_config::{Config, ProxyConfig, Secret};
use turnpike_core::definition::{Api, Engine, PlanSecurity, Processing};
use turnpike_core::flow::{FlowMode, PathMapping, PathParameterSet};
use turnpike_core::policy::registry::GatewayParts;
use turnpike_core::policy::{Resource, follow_redirects};
use turnpike_core::quota::Quotas;

pub use connector::Connectors;
pub use group::SharedPolicyGroups;
pub use organization::{OrganizationFlows, compile_organization};
pub use refusal::{Note, Refusal, RefusalKind};
pub use tags::ShardingTags;

use properties::Properties;
use reader::{Node, Reading};
use refusal::Notes;

/// Longest definition text that is read, bytes.
pub const DEFINITION_BYTES_MAX: usize = 8 << 20;

/// A definition and what its record says about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiInput<'a> {
    /// JSON text of the definition.
    pub definition: &'a str,
    /// `definitionVersion` of the record; `None` derives the version from the text (`definitionVersion`, `gravitee`).
    pub definition_version: Option<&'a str>,
    /// `type` of the record; `None` reads the member `type` of the text. V4 only.
    pub api_type: Option<&'a str>,
    /// Environment id, empty when unknown.
    pub environment_id: &'a str,
    /// Organization id, empty when unknown.
    pub organization_id: &'a str,
    /// Creation of the publish event, Unix milliseconds.
    pub deployed_at_ms: u64,
    /// Deployment number of the publish event, empty when absent.
    pub revision: &'a str,
    /// Shared policy groups that its flows may name.
    pub groups: Option<&'a SharedPolicyGroups>,
}

/// What the gateway's settings decide about definitions, and the connectors that compiled endpoints share.
#[derive(Debug, Clone, Default)]
pub struct CompileContext {
    /// `tags` of the gateway.
    pub tags: ShardingTags,
    /// `tenant` of the gateway.
    pub tenant: Option<String>,
    /// `api.properties.encryption.secret`.
    pub encryption_secret: Secret,
    /// `system.proxy.*`.
    pub system_proxy: Option<ProxyConfig>,
    /// Connectors of every compiled API; shared with [`crate::resolve::Resolver`].
    pub connectors: Connectors,
    /// What the gateway lends to policies and resources.
    pub gateway: Arc<GatewayParts>,
}

impl CompileContext {
    /// The context for these settings and counters, with no connectors yet.
    pub fn new(config: &Config, quotas: Arc<Quotas>) -> Self {
        Self {
            tags: ShardingTags::new(&config.node.tags),
            tenant: config
                .node
                .tenant
                .clone()
                .filter(|tenant| !tenant.is_empty()),
            encryption_secret: config.api.encryption_secret.clone(),
            system_proxy: config.system_proxy.clone(),
            connectors: Connectors::default(),
            gateway: Arc::new(gateway_parts(config, quotas)),
        }
    }
}

/// The settings and variables that policies may read.
fn gateway_parts(config: &Config, quotas: Arc<Quotas>) -> GatewayParts {
    GatewayParts {
        settings: config
            .policies
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        environment: config
            .policies
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        documents: Default::default(),
        quotas,
    }
}

/// A compiled API.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The API.
    pub api: Arc<Api>,
    /// Members that were accepted without effect, and endpoints that could not start.
    pub warnings: Vec<Note>,
    /// Sharding tags of the API.
    pub tags: Vec<String>,
}

/// Compiles one definition.
///
/// Reads the PEM files that the definition names, and nothing else from outside. Never panics, whatever the text is.
pub fn compile(input: &ApiInput<'_>, context: &CompileContext) -> Result<Compiled, Refusal> {
    if input.definition.len() > DEFINITION_BYTES_MAX {
        let found = input.definition.len();
        return Err(Refusal::malformed(format!(
            "expected at most {DEFINITION_BYTES_MAX} bytes of JSON, found {found}"
        )));
    }
    let mut value: Value = serde_json::from_str(input.definition)
        .map_err(|error| Refusal::malformed(format!("expected JSON: {error}")))?;
    if !value.is_object() {
        return Err(Refusal::malformed(format!(
            "expected an object, found {}",
            reader::kind(&value)
        )));
    }
    let version = Version::of(input.definition_version, &value)?;
    match version {
        Version::V2 => v2::embed_configurations(&mut value),
        Version::V4 => v4::embed_configurations(&mut value),
    }
    let reading = if version == Version::V2 {
        Reading::Coercing
    } else {
        Reading::Strict
    };
    let root = Node::root(&value, reading);
    let heading = Heading::read(&root)?;
    let tags = root.texts("tags")?;
    if !context.tags.matches(&tags) {
        return Err(Refusal::new(
            RefusalKind::NotEligible,
            "tags",
            format!(
                "the sharding tags [{}] do not match the gateway's",
                tags.join(", ")
            ),
        ));
    }
    let mut notes = Notes::default();
    let mut scope = Scope {
        context,
        api_id: heading.id.clone(),
        title: heading.title(input.deployed_at_ms),
        environment_id: input.environment_id,
        engine: Engine::V4,
        flow_mode: FlowMode::Default,
        match_required: false,
        groups: input.groups,
        flows: 0,
        steps: 0,
        resources: resource::read(&root, &heading.id, context, &mut notes)?,
        notes,
        properties: Properties::read(&root, &context.encryption_secret)?,
    };
    let mut api = match version {
        Version::V2 => v2::compile(&root, heading, input, &mut scope),
        Version::V4 => v4::compile(&root, heading, input, &mut scope),
    }?;
    complete(&mut api);
    Ok(Compiled {
        api: Arc::new(api),
        warnings: scope.notes.finish(),
        tags,
    })
}

/// What follows from the parts of an API together.
fn complete(api: &mut Api) {
    let plans = api.plans.iter().map(|plan| &plan.flows);
    let path_parameters = PathParameterSet::of(plans.chain([&api.processing.flows]));
    let follows = api
        .groups
        .iter()
        .flat_map(|group| &group.endpoints)
        .any(|endpoint| endpoint.follow_redirects);
    api.processing.path_parameters = path_parameters;
    api.processing.redirects = follows.then(|| Box::new(follow_redirects::step()));
}

/// What every part of a compilation sees.
struct Scope<'c> {
    context: &'c CompileContext,
    api_id: Box<str>,
    /// The API in messages about its steps; empty for an organization's flows.
    title: String,
    environment_id: &'c str,
    engine: Engine,
    flow_mode: FlowMode,
    match_required: bool,
    groups: Option<&'c SharedPolicyGroups>,
    /// Enabled flows and steps so far: both are bounded.
    flows: usize,
    steps: usize,
    resources: HashMap<Box<str>, Resource>,
    notes: Notes,
    properties: Properties,
}

impl Scope<'_> {
    /// The path mappings of the analytics.
    fn path_mappings(
        &mut self,
        holder: &Node<'_>,
        member: &str,
    ) -> Result<Box<[PathMapping]>, Refusal> {
        let mut mappings = Vec::new();
        for written in holder.texts(member)? {
            match PathMapping::new(&written) {
                Some(mapping) => mappings.push(mapping),
                None => self.notes.push(
                    holder.path_of(member),
                    format!("{} cannot be matched: left out", reader::quote(&written)),
                ),
            }
        }
        Ok(mappings.into())
    }

    /// What every API has besides its flows, CORS and templates.
    fn processing(&mut self, plans: &[turnpike_core::definition::Plan]) -> Processing {
        Processing {
            match_required: self.match_required,
            properties: turnpike_core::definition::Properties(
                self.properties.clear(&mut self.notes),
            ),
            needs_chain: plans.iter().any(|plan| {
                !matches!(
                    plan.security,
                    PlanSecurity::KeyLess | PlanSecurity::ApiKey(_)
                )
            }),
            ..Processing::default()
        }
    }
}

/// Which of the two parsers reads a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V2,
    V4,
}

impl Version {
    /// The record decides; without its word the text does.
    fn of(record: Option<&str>, definition: &Value) -> Result<Self, Refusal> {
        if let Some(record) = record.filter(|text| !text.is_empty()) {
            return Ok(if is_v4(record) { Self::V4 } else { Self::V2 });
        }
        for member in ["definitionVersion", "gravitee"] {
            match definition.get(member) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if is_v4(text) => return Ok(Self::V4),
                Some(Value::String(text)) if text == "2.0.0" || text.eq_ignore_ascii_case("v2") => {
                    return Ok(Self::V2);
                }
                Some(other) => {
                    let found = reader::show(other);
                    return Err(Refusal::new(
                        RefusalKind::Unsupported,
                        member,
                        format!(
                            "expected \"2.0.0\" or \"4.0.0\", found {found}: this definition version is not supported"
                        ),
                    ));
                }
            }
        }
        Ok(Self::V2)
    }
}

fn is_v4(text: &str) -> bool {
    text == "4.0.0" || text.eq_ignore_ascii_case("v4")
}

/// The two members that no API can be without.
struct Heading {
    id: Box<str>,
    name: Box<str>,
}

impl Heading {
    /// The API in messages.
    fn title(&self, deployed_at_ms: u64) -> String {
        let deployed_at = i64::try_from(deployed_at_ms)
            .ok()
            .and_then(|at| jiff::Timestamp::from_millisecond(at).ok())
            .map(|at| format!(", deployed at {at}"))
            .unwrap_or_default();
        let name = reader::quote(&self.name);
        format!("API {name}, id {}{deployed_at}", reader::quote(&self.id))
    }

    fn read(root: &Node<'_>) -> Result<Self, Refusal> {
        let required = |member: &str| match root.text(member)? {
            Some(text) if !text.trim().is_empty() => Ok(Box::from(text.as_ref())),
            _ => {
                let refusal =
                    root.refuse_member(member, "expected a text, found nothing".to_owned());
                Err(if root.member("api").is_some() {
                    refusal.hint("this is an export of the management console: the definition is its member `api`")
                } else {
                    refusal
                })
            }
        };
        Ok(Self {
            id: required("id")?,
            name: required("name")?,
        })
    }
}
