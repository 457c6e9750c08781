//! Flows: from selectors, steps and configurations to the compiled chain (contracts api-definition 2.8 and 3.5, policies 1 and 12.3,
//! request-lifecycle 4).

use std::borrow::Cow;

use serde_json::Value;
use turnpike_core::definition::Engine;
use turnpike_core::el::Template;
use turnpike_core::flow::{Flow, FlowMode, FlowPath, FlowSet, Methods, PathOperator, Step};
use turnpike_core::http::Method;
use turnpike_core::policy::registry::{self, Entry};
use turnpike_core::policy::{Builder, ConfigError, Phase};

use super::Scope;
use super::group::Group;
use super::reader::{Node, kind, quote};
use super::refusal::{Refusal, RefusalKind};

/// Policy id of a step that stands for the steps of a shared policy group.
const SHARED_POLICY_GROUP: &str = "shared-policy-group-policy";

/// Phases of V4 flows that only message APIs have.
const MESSAGE_PHASES: [&str; 2] = ["publish", "subscribe"];

/// Enabled flows of one API or organization.
const FLOWS_MAX: usize = 5_000;

/// Enabled steps of one API or organization, those of shared policy groups counted wherever they are taken in.
const STEPS_MAX: usize = 20_000;

/// Characters of what a policy says against its configuration: it may repeat a whole member.
const COMPLAINT_CHARS_MAX: usize = 500;

/// How flows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `path-operator`, `methods`, `condition`, `pre`, `post`.
    V2,
    /// `selectors`, `request`, `response`.
    V4,
}

/// Where a step stands, for messages.
struct Place<'p> {
    /// The plan, or the API itself.
    owner: &'p str,
    flow: &'p str,
    phase: Phase,
}

impl Place<'_> {
    /// Everything that an operator needs to find a step (contract policies 12.3).
    fn of_step(&self, name: &str, scope: &Scope<'_>) -> String {
        let phase = match self.phase {
            Phase::Request => "request",
            Phase::Response => "response",
        };
        let mut text = format!(
            "step {} of the {phase} phase, flow {}, {}",
            quote(name),
            quote(self.flow),
            self.owner
        );
        if !scope.title.is_empty() {
            text.push_str(" of ");
            text.push_str(&scope.title);
        }
        text
    }
}

/// The mode of a name such as `best-match` or `BEST_MATCH`; any other name is the default.
pub(super) fn mode(written: Option<Cow<'_, str>>) -> FlowMode {
    let written = written.unwrap_or_default().replace('_', "-");
    if written.trim().eq_ignore_ascii_case("best-match") {
        FlowMode::BestMatch
    } else {
        FlowMode::Default
    }
}

/// The flows in `holder.flows`. `owner` names the holder in messages.
pub(super) fn compile(
    holder: &Node<'_>,
    owner: &str,
    shape: Shape,
    scope: &mut Scope<'_>,
) -> Result<FlowSet, Refusal> {
    let mut flows = Vec::new();
    for node in holder.objects("flows")? {
        if node.boolean("enabled", true)? {
            count(&mut scope.flows, FLOWS_MAX, &node, "flows")?;
            flows.push(match shape {
                Shape::V2 => v2_flow(&node, owner, scope)?,
                Shape::V4 => v4_flow(&node, owner, scope)?,
            });
        }
    }
    // Flows that do nothing would only keep requests from passing without the chain. Their path parameters and their being there are
    // all that anything else could see of them.
    let idle = |flow: &Flow| {
        flow.request.is_empty()
            && flow.response.is_empty()
            && flow.condition.is_none()
            && !flow.path.as_str().contains(':')
    };
    if !scope.match_required && flows.iter().all(idle) {
        flows.clear();
    }
    Ok(FlowSet {
        mode: scope.flow_mode,
        flows: flows.into_boxed_slice(),
    })
}

/// Counts one more of what is bounded.
fn count(counter: &mut usize, most: usize, node: &Node<'_>, what: &str) -> Result<(), Refusal> {
    *counter += 1;
    if *counter > most {
        return Err(node.refuse(format!(
            "expected at most {most} enabled {what}, found more"
        )));
    }
    Ok(())
}

fn v2_flow(node: &Node<'_>, owner: &str, scope: &mut Scope<'_>) -> Result<Flow, Refusal> {
    let name = node.text("name")?.unwrap_or_default();
    let path = match node.object("path-operator")? {
        Some(operator) => path(&operator, "path", "operator", "")?,
        None => path(node, "path", "operator", "")?,
    };
    let steps = |member, phase, scope: &mut Scope<'_>| {
        let place = Place {
            owner,
            flow: &name,
            phase,
        };
        steps(node, member, &place, scope)
    };
    Ok(Flow {
        path,
        methods: methods(node)?,
        condition: condition(node, "condition")?,
        request: steps("pre", Phase::Request, scope)?,
        response: steps("post", Phase::Response, scope)?,
        name: name.as_ref().into(),
    })
}

fn v4_flow(node: &Node<'_>, owner: &str, scope: &mut Scope<'_>) -> Result<Flow, Refusal> {
    let name = node.text("name")?.unwrap_or_default();
    let mut http = None;
    let mut conditional = None;
    for selector in node.objects("selectors")? {
        let written = selector.text("type")?.unwrap_or_default();
        match written.to_ascii_lowercase().as_str() {
            "http" => {
                http.get_or_insert(selector);
            }
            "condition" => {
                conditional.get_or_insert(selector);
            }
            _ => scope.notes.push(
                selector.path_of("type"),
                format!(
                    "{} selects nothing on an HTTP proxy: ignored",
                    quote(&written)
                ),
            ),
        }
    }
    let (path, methods) = match &http {
        Some(selector) => (
            path(selector, "path", "pathOperator", "/")?,
            methods(selector)?,
        ),
        None => (
            flow_path(node, "selectors", "/", PathOperator::StartsWith)?,
            Methods::ALL,
        ),
    };
    let condition = match &conditional {
        Some(selector) => condition(selector, "condition")?,
        None => None,
    };
    note_message_steps(node, scope)?;
    let steps = |member, phase, scope: &mut Scope<'_>| {
        let place = Place {
            owner,
            flow: &name,
            phase,
        };
        steps(node, member, &place, scope)
    };
    Ok(Flow {
        path,
        methods,
        condition,
        request: steps("request", Phase::Request, scope)?,
        response: steps("response", Phase::Response, scope)?,
        name: name.as_ref().into(),
    })
}

fn note_message_steps(flow: &Node<'_>, scope: &mut Scope<'_>) -> Result<(), Refusal> {
    for phase in MESSAGE_PHASES {
        for step in flow.objects(phase)? {
            if step.boolean("enabled", true)? {
                let text = "has no effect: an HTTP proxy has no messages";
                scope.notes.push(step.path(), text);
            }
        }
    }
    Ok(())
}

fn path(
    holder: &Node<'_>,
    member: &str,
    operator: &str,
    default: &str,
) -> Result<FlowPath, Refusal> {
    // Any other text stands for STARTS_WITH, as in the reference.
    let operator = match holder.text(operator)? {
        Some(written) if written.trim().eq_ignore_ascii_case("equals") => PathOperator::Equals,
        _ => PathOperator::StartsWith,
    };
    let path = holder.text(member)?.unwrap_or_else(|| default.into());
    flow_path(holder, member, &path, operator)
}

fn flow_path(
    holder: &Node<'_>,
    member: &str,
    path: &str,
    operator: PathOperator,
) -> Result<FlowPath, Refusal> {
    FlowPath::new(path, operator).map_err(|error| {
        let reason = format!(
            "the path {} cannot be matched: {}",
            quote(path),
            error.reason
        );
        holder.refuse_member(member, reason)
    })
}

/// Names of methods, in any case; none stands for all.
fn methods(holder: &Node<'_>) -> Result<Methods, Refusal> {
    let mut methods = Methods::default();
    for item in holder.items("methods")? {
        let written = item.as_text()?;
        let upper = written.trim().to_ascii_uppercase();
        let method = Method::of(upper.as_bytes());
        if method == Method::Other && upper != "OTHER" {
            return Err(item.refuse(format!(
                "expected a method such as GET, or OTHER, found {}",
                quote(&written)
            )));
        }
        methods.insert(method);
    }
    Ok(methods)
}

/// A condition; a blank one is none.
fn condition(holder: &Node<'_>, member: &str) -> Result<Option<Template>, Refusal> {
    Ok(holder
        .filled_text(member)?
        .map(|written| Template::new(&written)))
}

fn steps(
    flow: &Node<'_>,
    member: &str,
    place: &Place<'_>,
    scope: &mut Scope<'_>,
) -> Result<Box<[Step]>, Refusal> {
    let mut steps = Vec::new();
    for node in flow.objects(member)? {
        if !node.boolean("enabled", true)? {
            continue;
        }
        if is_group(&node)? {
            group_steps(&node, place, scope, &mut steps)?;
        } else {
            steps.extend(step(&node, place, &[], scope)?);
        }
    }
    Ok(steps.into_boxed_slice())
}

fn is_group(step: &Node<'_>) -> Result<bool, Refusal> {
    Ok(step.text("policy")?.as_deref() == Some(SHARED_POLICY_GROUP))
}

/// One step; `None` when its policy does nothing in this phase, as in the reference.
fn step(
    node: &Node<'_>,
    place: &Place<'_>,
    outer: &[Template],
    scope: &mut Scope<'_>,
) -> Result<Option<Step>, Refusal> {
    count(&mut scope.steps, STEPS_MAX, node, "steps")?;
    let name = node.text("name")?.unwrap_or_default();
    let Some(id) = node.filled_text("policy")? else {
        let reason = format!(
            "expected the id of a policy, found nothing ({})",
            place.of_step(&name, scope)
        );
        return Err(node
            .refuse_member("policy", reason)
            .hint("`turnpike policies` lists the ids"));
    };
    let Some((index, entry)) = registry::find(&id) else {
        return Err(unknown(node, &id, &name, place, scope));
    };
    if !entry.phases.contains(place.phase) {
        return Ok(None);
    }
    let unusable_here = |refusal| misconfigured(entry, refusal, &place.of_step(&name, scope));
    let configuration = step_configuration(node).map_err(unusable_here)?;
    let builder = Builder {
        configuration: &configuration,
        legacy_engine: scope.engine == Engine::V2Legacy,
        resources: &scope.resources,
        gateway: &scope.context.gateway,
    };
    let policy = (entry.build)(&builder)
        .map_err(|error| unusable_here(unusable(&node.path_of("configuration"), error)))?;
    let mut conditions = outer.to_vec();
    conditions.extend(condition(node, "condition")?);
    Ok(Some(Step::new(
        &name,
        index,
        policy,
        conditions,
        place.phase,
    )))
}

fn unknown(node: &Node<'_>, id: &str, name: &str, place: &Place<'_>, scope: &Scope<'_>) -> Refusal {
    let reason = format!(
        "the policy {} is not supported: it has no native implementation here ({})",
        quote(id),
        place.of_step(name, scope)
    );
    Refusal::new(RefusalKind::Unsupported, node.path_of("policy"), reason).hint(
        "`turnpike policies` lists what there is; to serve the API without the policy, disable the step or its flow",
    )
}

/// The refusal of a step whose policy is known and does not take its configuration.
fn misconfigured(entry: &Entry, refusal: Refusal, place: &str) -> Refusal {
    let reason = format!(
        "the policy {} cannot be configured like this: {} ({place})",
        quote(entry.id),
        one_line(&refusal.reason)
    );
    let members = match entry.members {
        [] => "no member".to_owned(),
        members => members.join(", "),
    };
    let hint = format!(
        "mend the configuration, of which the policy reads {members}; to serve the API without the policy, disable the step or its flow"
    );
    Refusal::new(RefusalKind::Configuration, refusal.member, reason).hint(hint)
}

/// A complaint without line breaks (those about regular expressions are drawings), cut to a bounded length.
pub(super) fn one_line(complaint: &str) -> String {
    let words: Vec<&str> = complaint.split_whitespace().collect();
    let mut line = words.join(" ");
    if let Some((at, _)) = line.char_indices().nth(COMPLAINT_CHARS_MAX) {
        line.truncate(at);
        line.push('…');
    }
    line
}

/// The configuration of a step: an object or nothing, whatever the policy would make of something else.
fn step_configuration<'a>(step: &Node<'a>) -> Result<Cow<'a, Value>, Refusal> {
    let configuration = configuration(step, "configuration")?;
    match &*configuration {
        Value::Object(_) | Value::Null => Ok(configuration),
        other => {
            let reason = format!("expected an object or its JSON text, found {}", kind(other));
            Err(step.refuse_member("configuration", reason))
        }
    }
}

/// The steps of a shared policy group in the place of the step that names it, its condition in front of each.
fn group_steps(
    node: &Node<'_>,
    place: &Place<'_>,
    scope: &mut Scope<'_>,
    steps: &mut Vec<Step>,
) -> Result<(), Refusal> {
    let written = configuration(node, "configuration")?;
    let member = node.path_of("configuration.sharedPolicyGroupId");
    let id = written
        .get("sharedPolicyGroupId")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if id.trim().is_empty() {
        let text = "names no shared policy group: the step does nothing";
        scope.notes.warn(member, text);
        return Ok(());
    }
    let groups = scope.groups;
    let Some(group) = groups.and_then(|groups| groups.get(id, scope.environment_id)) else {
        let text = format!(
            "there is no shared policy group {} in this environment: the step does nothing",
            quote(id)
        );
        scope.notes.warn(member, text);
        return Ok(());
    };
    if !group.is_for(place.phase) {
        let text = format!(
            "the shared policy group {} is for another phase: the step does nothing",
            quote(id)
        );
        scope.notes.warn(member, text);
        return Ok(());
    }
    let outer: Vec<Template> = condition(node, "condition")?.into_iter().collect();
    let inside = inner_node(node, id, group);
    for inner in inside.objects("policies")? {
        if !inner.boolean("enabled", true)? {
            continue;
        }
        if is_group(&inner)? {
            let text = "a group inside a group is ignored";
            scope.notes.warn(inner.path_of("policy"), text);
            continue;
        }
        steps.extend(step(&inner, place, &outer, scope)?);
    }
    Ok(())
}

/// The group, at a path that says how it was reached.
fn inner_node<'g>(node: &Node<'_>, id: &str, group: &'g Group) -> Node<'g> {
    let path = format!("{}(shared policy group {})", node.path(), quote(id));
    Node::at(group.definition(), path, node.reading())
}

/// A configuration as an object; it may be written as the JSON text of one. Absent, blank and `null` are the same.
pub(super) fn configuration<'a>(
    holder: &Node<'a>,
    member: &str,
) -> Result<Cow<'a, Value>, Refusal> {
    let Some(node) = holder.member(member) else {
        return Ok(Cow::Owned(Value::Null));
    };
    match node.value() {
        Value::String(text) if text.trim().is_empty() => Ok(Cow::Owned(Value::Null)),
        Value::String(text) => serde_json::from_str(text)
            .map(Cow::Owned)
            .map_err(|error| node.refuse(format!("expected an object or its JSON text: {error}"))),
        value => Ok(Cow::Borrowed(value)),
    }
}

/// The refusal of a configuration, with the whole path of the member at fault.
pub(super) fn unusable(path: &str, error: ConfigError) -> Refusal {
    let ConfigError { member, reason } = error;
    let path = match member.as_str() {
        "" => path.to_owned(),
        member if member.starts_with('[') => format!("{path}{member}"),
        member => format!("{path}.{member}"),
    };
    Refusal::new(RefusalKind::Configuration, path, reason)
}
