//! V4 definitions of HTTP proxies (contract api-definition 3).

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use turnpike_core::definition::{Api, Endpoint, EndpointGroup, Engine, ListenerPath};

use super::endpoint::{self, EndpointSource};
use super::flow::{self, Shape};
use super::reader::{self, Node, quote};
use super::refusal::{Refusal, RefusalKind};
use super::{ApiInput, Heading, Scope, cors, plan, template};

/// Endpoint plugins of the reference that need more than an HTTP client. An endpoint of any other type has no plugin there
/// either, and is left out.
const UNBUILT_ENDPOINT_TYPES: [&str; 13] = [
    "tcp-proxy",
    "kafka",
    "native-kafka",
    "mqtt5",
    "rabbitmq",
    "solace",
    "mock",
    "azure-service-bus",
    "agent-to-agent",
    "a2a-proxy",
    "llm-proxy",
    "mcp-proxy",
    "http-dynamic",
];

/// Replaces JSON texts inside the JSON by what they hold: configurations may come as objects or as texts.
pub(super) fn embed_configurations(definition: &mut Value) {
    for plan in reader::elements_mut(definition, "plans") {
        if let Some(security) = plan.get_mut("security") {
            reader::embed(security, "configuration");
        }
    }
    for group in reader::elements_mut(definition, "endpointGroups") {
        reader::embed(group, "sharedConfiguration");
        for endpoint in reader::elements_mut(group, "endpoints") {
            reader::embed(endpoint, "configuration");
            reader::embed(endpoint, "sharedConfigurationOverride");
        }
    }
}

pub(super) fn compile(
    root: &Node<'_>,
    heading: Heading,
    input: &ApiInput<'_>,
    scope: &mut Scope<'_>,
) -> Result<Api, Refusal> {
    scope.engine = Engine::V4;
    check_type(root, input)?;
    if let Some(execution) = root.object("flowExecution")? {
        scope.flow_mode = flow::mode(execution.text("mode")?);
        scope.match_required = execution.boolean("matchRequired", false)?;
    }
    let plans = plan::served_plans(root, scope)?;
    let http = http_listeners(root, scope)?;
    let listeners = listener_paths(&http, scope)?;
    refuse_unbuilt(root)?;
    note_without_effect(root, scope)?;
    let mut processing = scope.processing(&plans);
    processing.flows = flow::compile(root, "its own flow", Shape::V4, scope)?;
    processing.cors = cors::read(http.first(), scope)?;
    processing.templates = template::read(root, "responseTemplates", scope)?;
    if let Some(listener) = http.first() {
        processing.path_mappings = scope.path_mappings(listener, "pathMappings")?;
    }
    let reject_null_byte = match http
        .first()
        .map(|listener| listener.object("requestValidation"))
        .transpose()?
        .flatten()
    {
        Some(validation) => validation.boolean("rejectNullByte", false)?,
        None => false,
    };
    let analytics = match root.object("analytics")? {
        Some(analytics) => analytics.boolean("enabled", true)?,
        None => false,
    };
    Ok(Api {
        id: heading.id,
        name: heading.name,
        version: root.text("apiVersion")?.unwrap_or_default().into(),
        environment_id: input.environment_id.into(),
        organization_id: input.organization_id.into(),
        engine: Engine::V4,
        deployed_at_ms: input.deployed_at_ms,
        revision: input.revision.into(),
        listeners,
        plans,
        groups: groups(root, scope)?,
        analytics,
        reject_null_byte,
        processing,
    })
}

/// Only HTTP proxies are served.
fn check_type(root: &Node<'_>, input: &ApiInput<'_>) -> Result<(), Refusal> {
    let own = root.filled_text("type")?;
    let written = input
        .api_type
        .filter(|text| !text.trim().is_empty())
        .map(Into::into)
        .or(own);
    let Some(written) = written else {
        return Err(root.refuse_member(
            "type",
            "expected a type of API such as \"proxy\", found nothing",
        ));
    };
    match written
        .trim()
        .to_ascii_lowercase()
        .replace('_', "-")
        .as_str()
    {
        "proxy" => Ok(()),
        known @ ("message" | "native" | "mcp-proxy" | "llm-proxy" | "a2a-proxy" | "authz"
        | "edge") => Err(root.unsupported("type", &format!("an API of type `{known}`"))),
        _ => Err(root.refuse_member(
            "type",
            format!("expected a known type of API, found {}", quote(&written)),
        )),
    }
}

/// The HTTP listeners, in order. Others of a known type refuse the API; unknown ones are ignored.
fn http_listeners<'a>(root: &Node<'a>, scope: &mut Scope<'_>) -> Result<Vec<Node<'a>>, Refusal> {
    let mut http = Vec::new();
    for listener in root.objects("listeners")? {
        let written = listener.text("type")?.unwrap_or_default();
        match written.to_ascii_lowercase().as_str() {
            "http" => {
                note_entrypoints(&listener, scope)?;
                http.push(listener);
            }
            known @ ("tcp" | "subscription" | "kafka") => {
                return Err(listener.unsupported("type", &format!("a listener of type `{known}`")));
            }
            _ => scope.notes.push(
                listener.path_of("type"),
                format!("{} is not known: the listener is ignored", quote(&written)),
            ),
        }
    }
    if http.is_empty() {
        return Err(root.refuse_member(
            "listeners",
            "expected at least one listener of type `http`, found none",
        ));
    }
    Ok(http)
}

fn note_entrypoints(listener: &Node<'_>, scope: &mut Scope<'_>) -> Result<(), Refusal> {
    for entrypoint in listener.objects("entrypoints")? {
        let written = entrypoint.text("type")?.unwrap_or_default();
        if !written.eq_ignore_ascii_case("http-proxy") {
            let text = format!(
                "{} is not an entrypoint of a proxy: ignored",
                quote(&written)
            );
            scope.notes.push(entrypoint.path_of("type"), text);
        }
    }
    Ok(())
}

fn listener_paths(
    http: &[Node<'_>],
    scope: &mut Scope<'_>,
) -> Result<Box<[ListenerPath]>, Refusal> {
    let mut listeners = Vec::new();
    for listener in http {
        let servers: Arc<[Box<str>]> = listener
            .texts("servers")?
            .into_iter()
            .map(Into::into)
            .collect();
        for path in listener.objects("paths")? {
            let written = path.text("path")?.unwrap_or_default();
            if !written.is_empty() && !written.starts_with('/') {
                scope.notes.push(
                    path.path_of("path"),
                    "does not begin with `/`: no request can match it",
                );
            }
            listeners.push(ListenerPath {
                host: path.filled_text("host")?.map(|host| host.trim().into()),
                path: if written.is_empty() {
                    "/".into()
                } else {
                    written.into()
                },
                servers: servers.clone(),
            });
        }
    }
    match (listeners.is_empty(), http.first()) {
        (true, Some(first)) => {
            Err(first.refuse_member("paths", "expected at least one path, found none"))
        }
        _ => Ok(listeners.into_boxed_slice()),
    }
}

fn refuse_unbuilt(root: &Node<'_>) -> Result<(), Refusal> {
    if let Some(failover) = root.object("failover")?
        && failover.boolean("enabled", false)?
    {
        return Err(failover.unsupported("enabled", "failover"));
    }
    Ok(())
}

fn note_without_effect(root: &Node<'_>, scope: &mut Scope<'_>) -> Result<(), Refusal> {
    if let Some(analytics) = root.object("analytics")? {
        if let Some(mode) = analytics
            .object("logging")?
            .map(|logging| logging.object("mode"))
            .transpose()?
            .flatten()
            && (mode.boolean("entrypoint", false)? || mode.boolean("endpoint", false)?)
        {
            let text = "has no effect yet: requests are reported without their heads and bodies";
            scope.notes.push(analytics.path_of("logging"), text);
        }
        for (member, text) in [
            ("tracing", "has no effect yet: no spans are made"),
            (
                "otelLogs",
                "has no effect yet: no OpenTelemetry logs are made",
            ),
        ] {
            if let Some(node) = analytics.object(member)?
                && node.boolean("enabled", false)?
            {
                scope.notes.push(node.path(), text);
            }
        }
    }
    if let Some(dynamic) = root
        .object("services")?
        .and_then(|services| services.member("dynamicProperty"))
        && dynamic.boolean("enabled", true)?
    {
        scope.notes.push(
            dynamic.path(),
            "has no effect here: the control plane sends the resulting properties",
        );
    }
    Ok(())
}

fn groups(root: &Node<'_>, scope: &mut Scope<'_>) -> Result<Box<[EndpointGroup]>, Refusal> {
    let mut names = HashSet::new();
    let mut groups = Vec::new();
    for node in root.objects("endpointGroups")? {
        let name = node.text("name")?.unwrap_or_default().into_owned();
        note_repeated(&node, &name, &mut names, scope);
        groups.push(group(&name, &node, &mut names, scope)?);
    }
    if groups.is_empty() {
        return Err(root.refuse_member("endpointGroups", "expected at least one group, found none"));
    }
    Ok(groups.into_boxed_slice())
}

fn note_repeated(node: &Node<'_>, name: &str, names: &mut HashSet<String>, scope: &mut Scope<'_>) {
    if !names.insert(name.to_owned()) {
        let text = format!(
            "{} is used by another group or endpoint: a reference cannot tell them apart",
            quote(name)
        );
        scope.notes.push(node.path_of("name"), text);
    }
}

fn group(
    name: &str,
    node: &Node<'_>,
    names: &mut HashSet<String>,
    scope: &mut Scope<'_>,
) -> Result<EndpointGroup, Refusal> {
    let group_type = node
        .filled_text("type")?
        .unwrap_or_else(|| "http-proxy".into());
    check_endpoint_type(node, &group_type)?;
    let strategy = endpoint::balancing(node.object("loadBalancer")?.as_ref())?;
    endpoint::read_services(node, "healthCheck", scope)?;
    let mut endpoints = Vec::new();
    for item in node.objects("endpoints")? {
        let endpoint_name = item.text("name")?.unwrap_or_default().into_owned();
        note_repeated(&item, &endpoint_name, names, scope);
        endpoints.extend(start(&endpoint_name, &item, node, &group_type, scope)?);
    }
    if endpoints.is_empty() {
        scope.notes.push(
            node.path_of("endpoints"),
            "has no endpoint that can be used: requests are answered with 503",
        );
    }
    Ok(endpoint::group(name, strategy, endpoints, scope))
}

/// Refuses a type that the reference serves and Turnpike does not yet. True for `http-proxy`, false for a type without a plugin.
fn check_endpoint_type(node: &Node<'_>, written: &str) -> Result<bool, Refusal> {
    let lower = written.trim().to_ascii_lowercase();
    if UNBUILT_ENDPOINT_TYPES.contains(&lower.as_str()) {
        return Err(node.unsupported("type", &format!("an endpoint of type `{lower}`")));
    }
    Ok(lower == "http-proxy")
}

fn start(
    name: &str,
    item: &Node<'_>,
    group: &Node<'_>,
    group_type: &str,
    scope: &mut Scope<'_>,
) -> Result<Option<Endpoint>, Refusal> {
    if !endpoint::tenant_matches(&item.texts("tenants")?, scope) {
        return Ok(None);
    }
    let written = item
        .filled_text("type")?
        .unwrap_or_else(|| group_type.into());
    if !check_endpoint_type(item, &written)? {
        let reason = format!(
            "expected the type \"http-proxy\", found {}",
            quote(&written)
        );
        endpoint::skip(
            scope,
            name,
            &Refusal::new(RefusalKind::Invalid, item.path_of("type"), reason),
        );
        return Ok(None);
    }
    if let Some(services) = item.object("services")? {
        endpoint::note_health_check(&services, "healthCheck", scope)?;
    }
    let configured = item.object("configuration").map(|node| {
        let target = node.as_ref().and_then(|node| node.member("target"));
        target.ok_or_else(|| {
            item.refuse_member("configuration.target", "expected a URL, found nothing")
        })
    });
    let target = match configured.and_then(|target| target) {
        Ok(target) if target.as_text().is_ok_and(|text| text.trim().is_empty()) => {
            Err(target.refuse("expected a URL, found a blank text"))
        }
        target => target,
    };
    let inherits = item.boolean("inheritConfiguration", false)?;
    let shared = match inherits {
        true => group.object("sharedConfiguration"),
        false => item.object("sharedConfigurationOverride"),
    };
    let (target, shared) = match (target, shared) {
        (Ok(target), Ok(shared)) => (target, shared),
        (Err(refusal), _) | (_, Err(refusal)) => {
            endpoint::skip(scope, name, &refusal);
            return Ok(None);
        }
    };
    let source = EndpointSource {
        name,
        target,
        own: shared.as_ref(),
        inherited: None,
        weight: item.integer("weight", 1)?,
        secondary: item.boolean("secondary", false)?,
    };
    endpoint::start(&source, scope)
}
