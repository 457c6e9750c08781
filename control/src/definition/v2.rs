//! V2 definitions (contract api-definition 2).

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use turnpike_core::definition::{Api, Balancing, Endpoint, EndpointGroup, Engine, ListenerPath};

use super::endpoint::{self, EndpointSource};
use super::flow::{self, Shape};
use super::reader::{self, Node, quote};
use super::refusal::{Refusal, RefusalKind};
use super::{ApiInput, Heading, Scope, cors, plan, template};

/// Replaces JSON texts inside the JSON (`plans[].securityDefinition`) by what they hold.
pub(super) fn embed_configurations(definition: &mut Value) {
    for plan in reader::elements_mut(definition, "plans") {
        reader::embed(plan, "securityDefinition");
    }
}

pub(super) fn compile(
    root: &Node<'_>,
    heading: Heading,
    input: &ApiInput<'_>,
    scope: &mut Scope<'_>,
) -> Result<Api, Refusal> {
    scope.engine = engine(root)?;
    scope.flow_mode = flow::mode(root.text("flow_mode")?.or(root.text("flowMode")?));
    let plans = plan::served_plans(root, scope)?;
    let Some(proxy) = root.object("proxy")? else {
        return Err(root.refuse_member("proxy", "expected an object, found nothing"));
    };
    let listeners = listeners(&proxy)?;
    refuse_unbuilt(&proxy)?;
    note_without_effect(root, &proxy, scope)?;
    let mut processing = scope.processing(&plans);
    processing.flows = flow::compile(root, "its own flow", Shape::V2, scope)?;
    processing.cors = cors::read(Some(&proxy), scope)?;
    processing.templates = template::read(root, "response_templates", scope)?;
    processing.path_mappings = scope.path_mappings(root, "path_mappings")?;
    let groups = groups(&proxy, scope)?;
    Ok(Api {
        id: heading.id,
        name: heading.name,
        version: root
            .text("version")?
            .unwrap_or_else(|| "undefined".into())
            .into(),
        environment_id: input.environment_id.into(),
        organization_id: input.organization_id.into(),
        engine: scope.engine,
        deployed_at_ms: input.deployed_at_ms,
        revision: input.revision.into(),
        listeners,
        plans,
        groups,
        analytics: true,
        reject_null_byte: false,
        processing,
    })
}

fn engine(root: &Node<'_>) -> Result<Engine, Refusal> {
    Ok(
        match root
            .text("execution_mode")?
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str()
        {
            "v4-emulation-engine" | "jupiter" => Engine::V2Emulation,
            _ => Engine::V2Legacy,
        },
    )
}

fn listeners(proxy: &Node<'_>) -> Result<Box<[ListenerPath]>, Refusal> {
    let servers: Arc<[Box<str>]> = proxy
        .texts("servers")?
        .into_iter()
        .map(Into::into)
        .collect();
    let mut listeners = Vec::new();
    if proxy
        .member("virtual_hosts")
        .is_some_and(|node| node.is_array())
    {
        for virtual_host in proxy.objects("virtual_hosts")? {
            listeners.push(ListenerPath {
                host: virtual_host
                    .filled_text("host")?
                    .map(|host| host.trim().into()),
                path: normalized(&virtual_host.text("path")?.unwrap_or_default()),
                servers: servers.clone(),
            });
        }
    } else if let Some(path) = proxy.text("context_path")? {
        listeners.push(ListenerPath {
            host: None,
            path: normalized(&path),
            servers,
        });
    }
    if listeners.is_empty() {
        return Err(proxy.refuse_member(
            "virtual_hosts",
            "expected at least one virtual host, found none",
        ));
    }
    Ok(listeners.into_boxed_slice())
}

/// One leading slash, none doubled, none at the end; the root is `/`.
fn normalized(path: &str) -> Box<str> {
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    format!("/{}", segments.join("/")).into()
}

fn refuse_unbuilt(proxy: &Node<'_>) -> Result<(), Refusal> {
    if proxy.member("failover").is_some() {
        return Err(proxy
            .unsupported("failover", "failover")
            .hint("remove the member: its presence switches failover on"));
    }
    Ok(())
}

fn note_without_effect(
    root: &Node<'_>,
    proxy: &Node<'_>,
    scope: &mut Scope<'_>,
) -> Result<(), Refusal> {
    let logs = |mode: Option<std::borrow::Cow<'_, str>>| {
        mode.is_some_and(|mode| !mode.eq_ignore_ascii_case("none"))
    };
    if let Some(logging) = proxy.member("logging").filter(Node::is_object)
        && logs(logging.filled_text("mode")?)
    {
        scope.notes.push(
            logging.path(),
            "has no effect yet: requests are reported without their heads and bodies",
        );
    }
    if logs(proxy.filled_text("loggingMode")?) {
        let member = proxy.path_of("loggingMode");
        scope.notes.push(
            member,
            "has no effect yet: requests are reported without their heads and bodies",
        );
    }
    let Some(services) = root.member("services").filter(Node::is_object) else {
        return Ok(());
    };
    endpoint::read_services(root, "health-check", scope)?;
    if let Some(dynamic) = services.member("dynamic-property").filter(Node::is_object)
        && dynamic.boolean("enabled", true)?
    {
        scope.notes.push(
            dynamic.path(),
            "has no effect here: the control plane sends the resulting properties",
        );
    }
    Ok(())
}

fn groups(proxy: &Node<'_>, scope: &mut Scope<'_>) -> Result<Box<[EndpointGroup]>, Refusal> {
    let mut names = HashSet::new();
    // Legacy: endpoints directly under `proxy`, which then is the only group.
    let sources = if proxy
        .member("endpoints")
        .is_some_and(|node| node.is_array())
    {
        vec![("default-group".to_owned(), proxy.clone())]
    } else {
        let mut sources = Vec::new();
        for node in proxy.objects("groups")? {
            let name = node
                .filled_text("name")?
                .unwrap_or_else(|| "default".into())
                .into_owned();
            sources.push((name, node));
        }
        sources
    };
    let mut groups = Vec::with_capacity(sources.len());
    for (name, _) in &sources {
        if !names.insert(name.clone()) {
            return Err(duplicate(proxy, "groups", name));
        }
    }
    for (name, node) in &sources {
        groups.push(group(name, node, &mut names, scope)?);
    }
    if groups.is_empty() {
        scope.notes.push(
            proxy.path_of("groups"),
            "has no group: every request is answered with 503",
        );
        groups.push(endpoint::group(
            "default",
            Balancing::RoundRobin,
            Vec::new(),
            scope,
        ));
    }
    Ok(groups.into_boxed_slice())
}

fn duplicate(node: &Node<'_>, member: &str, name: &str) -> Refusal {
    node.refuse_member(
        member,
        format!(
            "the name {} is used by two groups or endpoints",
            quote(name)
        ),
    )
}

fn group(
    name: &str,
    node: &Node<'_>,
    names: &mut HashSet<String>,
    scope: &mut Scope<'_>,
) -> Result<EndpointGroup, Refusal> {
    let strategy = endpoint::balancing(node.object("load_balancing")?.as_ref())?;
    // Under the legacy form `services` of `proxy` are the group's.
    endpoint::read_services(node, "health-check", scope)?;
    let mut endpoints = Vec::new();
    for item in node.objects("endpoints")? {
        let endpoint_name = required(&item, "name")?;
        if !names.insert(endpoint_name.clone()) {
            return Err(duplicate(&item, "name", &endpoint_name));
        }
        endpoints.extend(start(&endpoint_name, &item, node, scope)?);
    }
    if endpoints.is_empty() {
        scope.notes.push(
            node.path_of("endpoints"),
            "has no endpoint that can be used: requests are answered with 503",
        );
    }
    Ok(endpoint::group(name, strategy, endpoints, scope))
}

fn start(
    name: &str,
    item: &Node<'_>,
    group: &Node<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Endpoint>, Refusal> {
    let target = item
        .member("target")
        .ok_or_else(|| item.refuse_member("target", "expected a URL, found nothing"))?;
    if target.as_text()?.trim().is_empty() {
        return Err(target.refuse("expected a URL, found a blank text"));
    }
    let mut tenants = item.texts("tenants")?;
    if tenants.is_empty() {
        tenants.extend(
            item.filled_text("tenant")?
                .map(std::borrow::Cow::into_owned),
        );
    }
    if !endpoint::tenant_matches(&tenants, scope) {
        return Ok(None);
    }
    match item
        .filled_text("type")?
        .unwrap_or_else(|| "http".into())
        .to_ascii_lowercase()
        .as_str()
    {
        "http" => {}
        "grpc" => return Err(item.unsupported("type", "a gRPC endpoint")),
        other => {
            let reason = format!("expected the type \"http\", found {}", quote(other));
            endpoint::skip(
                scope,
                name,
                &Refusal::new(RefusalKind::Invalid, item.path_of("type"), reason),
            );
            return Ok(None);
        }
    }
    endpoint::note_health_check(item, "healthcheck", scope)?;
    // Told to inherit: only the group's configuration counts. Without an `http` block of its own: the group's, except for the
    // parts that the endpoint does have (the reference's own TLS tests are written so).
    let inherits = item.boolean("inherit", false)?;
    let has_http = item.object("http")?.is_some();
    if inherits {
        for member in ["ssl", "proxy", "headers", "hostHeader"] {
            if item
                .member(member)
                .is_some_and(|node| node.len() > 0 || !node.is_array() && !node.is_object())
            {
                scope.notes.push(
                    item.path_of(member),
                    "is ignored: the endpoint inherits its group's configuration",
                );
            }
        }
    }
    let source = EndpointSource {
        name,
        target,
        own: (!inherits).then_some(item),
        inherited: (inherits || !has_http).then_some(group),
        weight: item.integer("weight", 1)?,
        secondary: item.boolean("backup", false)?,
    };
    endpoint::start(&source, scope)
}

fn required(node: &Node<'_>, member: &str) -> Result<String, Refusal> {
    match node.filled_text(member)? {
        Some(text) => Ok(text.into_owned()),
        None => Err(node.refuse_member(member, "expected a text, found nothing")),
    }
}
