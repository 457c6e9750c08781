//! Plans: which are served, in which order, and how a consumer proves that it may use one (contracts api-definition 2.9 and
//! 3.4, request-lifecycle 5.2).

use turnpike_core::definition::{ApiKeyPlan, ApiKeySource, Engine, Plan, PlanSecurity};
use turnpike_core::el::Template;
use turnpike_core::flow::FlowSet;
use turnpike_core::policy::Builder;
use turnpike_core::security::build_plan;

use super::Scope;
use super::flow::{self, Shape, configuration, one_line, unusable};
use super::header::check_name;
use super::plan_order::hash_map_order;
use super::reader::{Node, quote};
use super::refusal::{Refusal, RefusalKind};

/// A plan whose id is read.
struct Candidate<'a> {
    id: String,
    node: Node<'a>,
}

/// The plans to serve, in evaluation order; at least one.
pub(super) fn served_plans(root: &Node<'_>, scope: &mut Scope<'_>) -> Result<Box<[Plan]>, Refusal> {
    let mut published = Vec::new();
    for candidate in in_reference_order(candidates(root, scope)?, scope) {
        let for_us = is_published_here(&candidate.node, scope);
        if readable(for_us, scope)?.unwrap_or(false) {
            published.push(candidate);
        }
    }
    if published.is_empty() {
        return Err(no_plan(
            "no plan is published or deprecated with sharding tags that match the gateway's",
        ));
    }
    let mut plans = Vec::with_capacity(published.len());
    // The reference puts what is left into a second map.
    for candidate in in_reference_order(published, scope) {
        let node = candidate.node.clone();
        let plan = compile(candidate, scope);
        let Some(mut plan) = readable(plan, scope)?.flatten() else {
            continue;
        };
        // A plan is never served without a flow of its own, nor left out for one.
        plan.flows = flows(&node, &plan, scope)?;
        plans.push(plan);
    }
    if plans.is_empty() {
        return Err(no_plan("none of the published plans can be reached"));
    }
    plans.sort_by_key(|plan| plan.security.order());
    Ok(plans.into_boxed_slice())
}

/// V2 leaves out a plan that it cannot read, with a note; V4 refuses the API.
fn readable<T>(plan: Result<T, Refusal>, scope: &mut Scope<'_>) -> Result<Option<T>, Refusal> {
    match plan {
        Ok(plan) => Ok(Some(plan)),
        Err(refusal) if scope.engine.is_v2() && refusal.kind == RefusalKind::Invalid => {
            let text = format!("{}: the plan is left out", refusal.reason);
            scope.notes.push(refusal.member, text);
            Ok(None)
        }
        Err(refusal) => Err(refusal),
    }
}

/// `None`: the plan cannot be reached.
fn compile(candidate: Candidate<'_>, scope: &mut Scope<'_>) -> Result<Option<Plan>, Refusal> {
    let Some(security) = security(&candidate.node, scope)? else {
        return Ok(None);
    };
    let name = candidate.node.text("name")?.unwrap_or_default().into();
    Ok(Some(Plan {
        id: candidate.id.into(),
        name,
        security,
        selection_rule: selection_rule(&candidate.node)?,
        flows: Default::default(),
    }))
}

/// A rule that begins with `#` is an expression without its braces; a blank one is none.
fn selection_rule(plan: &Node<'_>) -> Result<Option<Template>, Refusal> {
    let Some(written) = plan.filled_text("selectionRule")? else {
        return Ok(None);
    };
    let rule = written.trim();
    Ok(Some(if rule.starts_with('#') {
        Template::new(&format!("{{{rule}}}"))
    } else {
        Template::new(rule)
    }))
}

fn flows(node: &Node<'_>, plan: &Plan, scope: &mut Scope<'_>) -> Result<FlowSet, Refusal> {
    let shape = if scope.engine.is_v2() {
        Shape::V2
    } else {
        Shape::V4
    };
    let owner = format!("plan {}, id {}", quote(&plan.name), quote(&plan.id));
    flow::compile(node, &owner, shape, scope)
}

fn no_plan(reason: &str) -> Refusal {
    Refusal::new(RefusalKind::NoPlan, "plans", reason)
}

/// V4 plans pass through a Java map, V2 plans keep their order.
fn in_reference_order<'a>(candidates: Vec<Candidate<'a>>, scope: &Scope<'_>) -> Vec<Candidate<'a>> {
    if scope.engine.is_v2() {
        return candidates;
    }
    let ids: Vec<&str> = candidates
        .iter()
        .map(|candidate| candidate.id.as_str())
        .collect();
    let order = hash_map_order(&ids);
    let mut candidates: Vec<Option<Candidate<'a>>> = candidates.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|index| candidates[index].take())
        .collect()
}

/// Every plan with an id of its own.
fn candidates<'a>(root: &Node<'a>, scope: &mut Scope<'_>) -> Result<Vec<Candidate<'a>>, Refusal> {
    let mut candidates: Vec<Candidate<'a>> = Vec::new();
    for node in root.items("plans")? {
        let id = plan_id(&node, &candidates);
        if let Some(id) = readable(id, scope)? {
            candidates.push(Candidate { id, node });
        }
    }
    Ok(candidates)
}

fn plan_id(node: &Node<'_>, earlier: &[Candidate<'_>]) -> Result<String, Refusal> {
    if !node.is_object() {
        return Err(node.refuse("expected an object"));
    }
    let Some(id) = node.filled_text("id")? else {
        return Err(node.refuse_member("id", "expected a text, found nothing"));
    };
    if earlier.iter().any(|other| other.id == id) {
        let reason = format!("the id {} is used by another plan", quote(&id));
        return Err(node.refuse_member("id", reason));
    }
    Ok(id.into_owned())
}

/// Published or deprecated, and meant for this gateway.
fn is_published_here(plan: &Node<'_>, scope: &Scope<'_>) -> Result<bool, Refusal> {
    let status = plan.text("status")?.unwrap_or_default();
    let published = ["published", "deprecated"]
        .iter()
        .any(|served| status.eq_ignore_ascii_case(served));
    Ok(published && scope.context.tags_match_plan(&plan.texts("tags")?))
}

/// How the plan is secured; `None` when it cannot be reached, which is noted.
fn security(plan: &Node<'_>, scope: &mut Scope<'_>) -> Result<Option<PlanSecurity>, Refusal> {
    let v2 = scope.engine.is_v2();
    if !v2
        && plan
            .text("mode")?
            .is_some_and(|mode| mode.eq_ignore_ascii_case("push"))
    {
        scope.notes.push(
            plan.path_of("mode"),
            "a push plan has no effect on an HTTP proxy: left out",
        );
        return Ok(None);
    }
    let (holder, member, configured) = if v2 {
        (Some(plan.clone()), "security", "securityDefinition")
    } else {
        (plan.object("security")?, "type", "configuration")
    };
    let Some(holder) = holder else {
        scope.notes.push(
            plan.path_of("security"),
            "is absent: the plan cannot be reached and is left out",
        );
        return Ok(None);
    };
    let Some(written) = holder.filled_text(member)? else {
        scope.notes.push(
            holder.path_of(member),
            "is absent: the plan cannot be reached and is left out",
        );
        return Ok(None);
    };
    match written.to_ascii_lowercase().replace('_', "-").as_str() {
        "key-less" | "keyless" => Ok(Some(PlanSecurity::KeyLess)),
        "api-key" => {
            let configuration = holder.object(configured)?;
            Ok(Some(PlanSecurity::ApiKey(
                configuration
                    .map(|node| api_key(&node))
                    .transpose()?
                    .unwrap_or_default(),
            )))
        }
        known @ ("jwt" | "oauth2" | "mtls") => {
            let configuration = configuration(&holder, configured)?;
            let builder = Builder {
                configuration: &configuration,
                legacy_engine: scope.engine == Engine::V2Legacy,
                resources: &scope.resources,
                gateway: &scope.context.gateway,
            };
            match build_plan(known, &builder) {
                Some(Ok(security)) => Ok(Some(security)),
                Some(Err(error)) => {
                    let refusal = unusable(&holder.path_of(configured), error);
                    let name = plan.text("name")?.unwrap_or_default();
                    Err(misconfigured_plan(known, refusal, &name, scope))
                }
                None => Err(holder.unsupported(member, &format!("a plan with security `{known}`"))),
            }
        }
        _ if v2 => {
            let text = format!(
                "{} is not known: the plan cannot be reached and is left out",
                quote(&written)
            );
            scope.notes.push(holder.path_of(member), text);
            Ok(None)
        }
        _ => Err(holder.refuse_member(
            member,
            format!("expected a known plan security, found {}", quote(&written)),
        )),
    }
}

/// The refusal of a plan whose security does not take its configuration.
fn misconfigured_plan(security: &str, refusal: Refusal, name: &str, scope: &Scope<'_>) -> Refusal {
    let reason = format!(
        "the policy {} cannot be configured like this: {} (plan {} of {})",
        quote(security),
        one_line(&refusal.reason),
        quote(name),
        scope.title
    );
    Refusal::new(refusal.kind, refusal.member, reason)
        .hint("mend the configuration; to serve the API without the plan, close the plan")
}

fn api_key(configuration: &Node<'_>) -> Result<ApiKeyPlan, Refusal> {
    let header = match configuration.filled_text("apiKeyHeader")? {
        Some(name) => {
            let name = name.trim();
            let node = configuration.member("apiKeyHeader");
            node.map_or(Ok(()), |node| check_name(&node, name))?;
            Some(name.into())
        }
        None => None,
    };
    let source = match configuration.filled_text("source")? {
        None => ApiKeySource::Header,
        Some(source) => match source
            .trim()
            .to_ascii_uppercase()
            .replace('-', "_")
            .as_str()
        {
            "HEADER" => ApiKeySource::Header,
            "BEARER" => ApiKeySource::Bearer,
            "QUERY_PARAMETER" => ApiKeySource::QueryParameter,
            _ => {
                let reason = format!(
                    "expected HEADER, BEARER or QUERY_PARAMETER, found {}",
                    quote(&source)
                );
                return Err(configuration.refuse_member("source", reason));
            }
        },
    };
    Ok(ApiKeyPlan {
        header,
        source,
        propagate: configuration.boolean("propagateApiKey", false)?,
    })
}

impl super::CompileContext {
    /// A plan without tags is for every gateway.
    fn tags_match_plan(&self, tags: &[String]) -> bool {
        tags.is_empty() || self.tags.matches(tags)
    }
}
