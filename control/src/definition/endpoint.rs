//! One endpoint: its target, its connector and what it does to requests. V2 and V4 differ in where the parts are found, not in
//! what is made of them.

use turnpike_core::definition::{Balancing, Endpoint, EndpointGroup, LoadBalancer};

use super::Scope;
use super::header::forced_headers;
use super::http::http_options;
use super::proxy::forward_proxy;
use super::reader::{Node, quote};
use super::refusal::{Refusal, RefusalKind};
use super::target::Target;
use super::tls::tls_settings;

/// Why an endpoint is not made.
#[derive(Debug)]
pub(super) enum Fault {
    /// The reference would start it, and Turnpike cannot yet; or it is unsafe. The API is refused.
    Refuse(Refusal),
    /// The reference could not start it either: the endpoint is left out and the API is served without it.
    Skip(Refusal),
}

impl<'v> EndpointSource<'_, 'v> {
    fn part(&self, name: &str) -> Result<Option<Node<'v>>, Refusal> {
        let of = |holder: Option<&Node<'v>>| holder.map_or(Ok(None), |node| node.object(name));
        Ok(of(self.own)?.or(of(self.inherited)?))
    }

    /// The object whose `headers` are forced.
    fn headers_holder(&self) -> Option<&Node<'v>> {
        let has_headers = |node: &&Node<'v>| {
            node.member("headers")
                .or_else(|| node.member("hostHeader"))
                .is_some()
        };
        self.own.filter(has_headers).or(self.inherited)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        if refusal.kind == RefusalKind::Unsupported {
            Self::Refuse(refusal)
        } else {
            Self::Skip(refusal)
        }
    }
}

/// Where the parts of an endpoint are found.
pub(super) struct EndpointSource<'n, 'v> {
    pub(super) name: &'n str,
    /// The member that is the target's text.
    pub(super) target: Node<'v>,
    /// The object that holds the endpoint's own `http`, `ssl`, `proxy` and `headers`.
    pub(super) own: Option<&'n Node<'v>>,
    /// The object whose parts are used where the endpoint has none of its own. A part in neither is all defaults.
    pub(super) inherited: Option<&'n Node<'v>>,
    /// As written; less than 1 is 1.
    pub(super) weight: i64,
    pub(super) secondary: bool,
}

/// Makes an endpoint. `None`: it could not start, which is noted.
pub(super) fn start(
    source: &EndpointSource<'_, '_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Endpoint>, Refusal> {
    match build(source, scope) {
        Ok(endpoint) => Ok(Some(endpoint)),
        Err(Fault::Refuse(refusal)) => Err(refusal),
        Err(Fault::Skip(refusal)) => {
            skip(scope, source.name, &refusal);
            Ok(None)
        }
    }
}

/// Notes that an endpoint is left out.
pub(super) fn skip(scope: &mut Scope<'_>, name: &str, refusal: &Refusal) {
    let text = format!(
        "{}: the endpoint {} is left out",
        refusal.reason,
        quote(name)
    );
    scope.notes.push(refusal.member.clone(), text);
}

fn build(source: &EndpointSource<'_, '_>, scope: &mut Scope<'_>) -> Result<Endpoint, Fault> {
    let target = target(&source.target, scope)?;
    let mut http = http_options(source.part("http")?.as_ref(), scope)?;
    if let Some(proxy) = source.part("proxy")? {
        http.connector.proxy = forward_proxy(&proxy, scope)?;
    }
    let tls = match target.secure {
        true => Some(tls_settings(source.part("ssl")?.as_ref(), scope)?),
        false => None,
    };
    let headers = source
        .headers_holder()
        .map(|node| forced_headers(node, scope))
        .transpose()?
        .unwrap_or_default();
    let authority = if scope.engine.is_v2() {
        target.authority(|port| matches!(port, 80 | 443))
    } else {
        target.authority(|port| port == target.default_port())
    };
    let origin = format!(
        "{}://{}",
        target.scheme(),
        target.authority(|port| port == target.default_port())
    );
    let connector = scope.context.connectors.intern(
        (&scope.api_id, source.name),
        (&target.host, target.port),
        &authority,
        tls,
        http.connector,
    );
    Ok(Endpoint {
        name: source.name.into(),
        connector,
        target_path: target.path,
        target_query: target.query,
        origin: origin.into(),
        headers,
        weight: u32::try_from(source.weight.max(1)).unwrap_or(u32::MAX),
        secondary: source.secondary,
        propagate_client_host: http.propagate_client_host,
        propagate_client_accept_encoding: http.propagate_client_accept_encoding,
        follow_redirects: http.follow_redirects,
    })
}

fn target(node: &Node<'_>, scope: &Scope<'_>) -> Result<Target, Fault> {
    let written = node.as_text()?;
    let text = scope
        .properties
        .expand(&written)
        .map_err(|unexpanded| unexpanded.fault(node))?;
    Target::parse(&text).map_err(|error| {
        if error.is_unsupported() {
            let reason = format!("{error} in a target is not supported yet");
            let refusal = Refusal::new(RefusalKind::Unsupported, node.path(), reason);
            return Fault::Refuse(refusal);
        }
        // A text with user information, or one that a property went into, may hold a secret in any part.
        let may_hold_secret = text.contains('@') || text != written;
        Fault::Skip(node.refuse(if may_hold_secret {
            "expected a URL such as `http://host:port/path`, found a text that is not shown"
                .to_owned()
        } else {
            error.to_string()
        }))
    })
}

/// Whether an endpoint for these tenants is meant for this gateway.
pub(super) fn tenant_matches(tenants: &[String], scope: &Scope<'_>) -> bool {
    let Some(own) = &scope.context.tenant else {
        return true;
    };
    tenants.is_empty() || tenants.contains(own)
}

/// Makes a group of started endpoints.
pub(super) fn group(
    name: &str,
    strategy: Balancing,
    endpoints: Vec<Endpoint>,
    scope: &Scope<'_>,
) -> EndpointGroup {
    let weights: Vec<(u32, bool)> = endpoints
        .iter()
        .map(|endpoint| (endpoint.weight, endpoint.secondary))
        .collect();
    let balancer = if scope.engine.is_v2() {
        LoadBalancer::for_v2(strategy, &weights)
    } else {
        LoadBalancer::new(strategy, &weights)
    };
    // Nodes must not draw the same numbers.
    let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
    EndpointGroup {
        name: name.into(),
        endpoints: endpoints.into_boxed_slice(),
        balancer: balancer.seeded(seed),
    }
}

/// Reads the name of a strategy in either spelling (`round-robin`, `ROUND_ROBIN`).
pub(super) fn balancing(node: Option<&Node<'_>>) -> Result<Balancing, Refusal> {
    let Some(node) = node else {
        return Ok(Balancing::RoundRobin);
    };
    let Some(written) = node.filled_text("type")? else {
        return Ok(Balancing::RoundRobin);
    };
    match written
        .trim()
        .to_ascii_uppercase()
        .replace('-', "_")
        .as_str()
    {
        "ROUND_ROBIN" => Ok(Balancing::RoundRobin),
        "RANDOM" => Ok(Balancing::Random),
        "WEIGHTED_ROUND_ROBIN" => Ok(Balancing::WeightedRoundRobin),
        "WEIGHTED_RANDOM" => Ok(Balancing::WeightedRandom),
        _ => Err(node.refuse_member(
            "type",
            format!(
                "expected a load-balancing strategy, found {}",
                quote(&written)
            ),
        )),
    }
}

/// Refuses an enabled `discovery` service; notes an enabled health check under `health_check`.
pub(super) fn read_services(
    holder: &Node<'_>,
    health_check: &str,
    scope: &mut Scope<'_>,
) -> Result<(), Refusal> {
    let Some(services) = holder.object("services")? else {
        return Ok(());
    };
    if let Some(discovery) = services.object("discovery")?
        && discovery.boolean("enabled", true)?
    {
        return Err(services.unsupported("discovery", "service discovery"));
    }
    note_health_check(&services, health_check, scope)
}

/// Notes an enabled health check.
pub(super) fn note_health_check(
    holder: &Node<'_>,
    name: &str,
    scope: &mut Scope<'_>,
) -> Result<(), Refusal> {
    if let Some(check) = holder.member(name).filter(Node::is_object)
        && check.boolean("enabled", true)?
    {
        scope.notes.push(
            check.path(),
            "has no effect yet: endpoints are not checked and always count as up",
        );
    }
    Ok(())
}
