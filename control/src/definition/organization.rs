//! Flows of an organization (contract sync 5.4): they are written as V2 flows and run around the flows of every API.

use serde_json::Value;
use turnpike_core::definition::Engine;
use turnpike_core::flow::FlowSet;

use super::flow::{self, Shape};
use super::properties::Properties;
use super::reader::{Node, Reading, quote};
use super::refusal::{Note, Notes, Refusal};
use super::{CompileContext, Scope};

/// The flows of an organization, compiled for both kinds of engines: some policies differ in the old one.
#[derive(Debug, Clone, Default)]
pub struct OrganizationFlows {
    /// For V4 APIs and V2 APIs on the new engine.
    pub reactive: FlowSet,
    /// For V2 APIs on the old engine.
    pub legacy: FlowSet,
}

/// Compiles the record of an organization. Flows that are not meant for this gateway's sharding tags are left out.
pub fn compile_organization(
    record: &Value,
    context: &CompileContext,
) -> Result<(OrganizationFlows, Vec<Note>), Refusal> {
    let mut record = record.clone();
    if let Some(flows) = record.get_mut("flows").and_then(Value::as_array_mut) {
        // In place, so that a refusal names the flow by its place in what was sent.
        for flow in flows.iter_mut().filter(|flow| !is_for(flow, context)) {
            *flow = Value::Null;
        }
    }
    let root = Node::root(&record, Reading::Coercing);
    let id = root.text("id")?.unwrap_or_default();
    let owner = format!("organization {}", quote(&id));
    let mut notes = Vec::new();
    let mut of = |engine| -> Result<FlowSet, Refusal> {
        let mut scope = Scope {
            context,
            api_id: Box::default(),
            title: String::new(),
            environment_id: "",
            engine,
            flow_mode: flow::mode(root.text("flowMode")?),
            match_required: false,
            groups: None,
            flows: 0,
            steps: 0,
            resources: Default::default(),
            notes: Notes::default(),
            properties: Properties::default(),
        };
        let flows = flow::compile(&root, &owner, Shape::V2, &mut scope)?;
        notes = scope.notes.finish();
        Ok(flows)
    };
    let flows = OrganizationFlows {
        reactive: of(Engine::V4)?,
        legacy: of(Engine::V2Legacy)?,
    };
    Ok((flows, notes))
}

/// Whether a flow is meant for this gateway. One with consumers, none of which is a tag, has no tags.
fn is_for(flow: &Value, context: &CompileContext) -> bool {
    let consumers = flow
        .get("consumers")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if consumers.is_empty() {
        return true;
    }
    let text = |consumer: &'_ Value, member: &str| {
        consumer
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let own: Vec<String> = consumers
        .iter()
        .filter(|consumer| text(consumer, "consumerType").eq_ignore_ascii_case("TAG"))
        .map(|consumer| text(consumer, "consumerId"))
        .collect();
    context.tags.matches(&own)
}
