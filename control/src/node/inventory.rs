//! The JSON bodies of the node API that describe the node and what it serves.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use turnpike_core::definition::{Api, Endpoint, Engine, PlanSecurity};
use turnpike_core::snapshot::Snapshot;

use super::{NODE_NAME, NodeState, Scope, SyncReport};

/// Body of `/_node`.
pub(super) fn node(state: &NodeState) -> Value {
    let identity = &state.identity;
    let node = &state.config.node;
    let mut metadata = Map::new();
    let scope = state.sync.scope().unwrap_or_else(|| Scope {
        environments: node.environments.clone(),
        organizations: node.organizations.clone(),
    });
    if !scope.organizations.is_empty() {
        metadata.insert("organizations".to_owned(), json!(scope.organizations));
    }
    metadata.insert("environments".to_owned(), json!(scope.environments));
    if !node.tags.is_empty() {
        metadata.insert("tags".to_owned(), json!(node.tags));
    }
    for (name, value) in [("tenant", &node.tenant), ("zone", &node.zone)] {
        if let Some(value) = value {
            metadata.insert(name.to_owned(), json!(value));
        }
    }
    json!({
        "id": identity.id,
        "name": NODE_NAME,
        "metadata": metadata,
        "version": {
            "BUILD_ID": identity.build_version,
            "BUILD_NUMBER": identity.compatibility_version,
            "MAJOR_VERSION": identity.compatibility_version,
            "REVISION": identity.revision,
        },
    })
}

/// Body of `/_node/configuration`: the settings crate has masked secrets already.
pub(super) fn configuration(state: &NodeState) -> Value {
    state
        .config
        .effective
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect::<Map<_, _>>()
        .into()
}

/// Body of `/_node/apis`.
pub(super) fn apis(snapshot: &Snapshot) -> Value {
    let mut apis: Vec<&Api> = snapshot
        .apis
        .iter()
        .map(|deployed| &*deployed.api)
        .collect();
    apis.sort_by(|a, b| a.id.cmp(&b.id));
    apis.into_iter()
        .map(|api| json!({ "id": api.id, "name": api.name, "version": api.version }))
        .collect()
}

/// Body of `/_node/apis?state=refused` (ours).
pub(super) fn refused_apis(state: &NodeState) -> Value {
    let refusals = state.sync.refusals();
    let snapshot = state.snapshot.load_full();
    let is_served = |id: &str| snapshot.apis.iter().any(|deployed| &*deployed.api.id == id);
    refusals
        .into_iter()
        .map(|refusal| {
            let served_as_before = refusal.is_served_as_before || is_served(&refusal.id);
            json!({
                "id": refusal.id,
                "name": refusal.name,
                "reason": refusal.reason,
                "servedAsBefore": served_as_before,
            })
        })
        .collect()
}

/// Body of `/_node/apis/{id}`: the compiled form that workers serve, where the reference shows the definition it was sent.
/// Header values of endpoints and TLS material are left out: they may be secrets.
pub(super) fn api(snapshot: &Snapshot, id: &str) -> Option<Value> {
    let deployed = snapshot
        .apis
        .iter()
        .find(|deployed| &*deployed.api.id == id)?;
    let api = &*deployed.api;
    Some(json!({
        "id": api.id,
        "name": api.name,
        "version": api.version,
        "definitionVersion": match api.engine {
            Engine::V4 => "V4",
            Engine::V2Emulation | Engine::V2Legacy => "V2",
        },
        "engine": match api.engine {
            Engine::V4 => "v4",
            Engine::V2Emulation => "v4-emulation-engine",
            Engine::V2Legacy => "v3",
        },
        "state": "STARTED",
        "deployedAt": api.deployed_at_ms,
        "revision": api.revision,
        "environmentId": api.environment_id,
        "organizationId": api.organization_id,
        "analytics": api.analytics,
        "listeners": api.listeners.iter().map(|listener| json!({
            "host": listener.host,
            "path": listener.path,
            "servers": listener.servers.iter().collect::<Vec<_>>(),
        })).collect::<Value>(),
        "plans": api.plans.iter().map(|plan| json!({
            "id": plan.id,
            "name": plan.name,
            "security": match &plan.security {
                PlanSecurity::KeyLess => "key-less",
                PlanSecurity::ApiKey(_) => "api-key",
                PlanSecurity::Jwt(_) => "jwt",
                PlanSecurity::OAuth2(_) => "oauth2",
                PlanSecurity::Mtls(_) => "mtls",
            },
        })).collect::<Value>(),
        "apiKeys": deployed.subscriptions.keys.len(),
        "endpointGroups": api.groups.iter().map(|group| json!({
            "name": group.name,
            "endpoints": group.endpoints.iter().map(endpoint).collect::<Value>(),
        })).collect::<Value>(),
    }))
}

fn endpoint(endpoint: &Endpoint) -> Value {
    use turnpike_core::definition::Addresses;
    let addresses = endpoint.connector.addresses.load();
    let (resolved, problem) = match &**addresses {
        Addresses::Unresolved => (Vec::new(), Some("not looked up yet")),
        Addresses::Resolved(addresses) => {
            (addresses.iter().map(ToString::to_string).collect(), None)
        }
        Addresses::Failed(problem) => (Vec::new(), Some(&**problem)),
    };
    json!({
        "name": endpoint.name,
        "target": format!("{}{}", endpoint.origin, endpoint.target_path),
        "weight": endpoint.weight,
        "secondary": endpoint.secondary,
        "addresses": resolved,
        "addressProblem": problem,
    })
}

/// Body of `/_node/sync`.
pub(super) fn sync(report: &SyncReport) -> Value {
    json!({
        "initialDone": report.initial_done,
        "counter": report.counter,
        "nextSyncTime": report.next_sync_ms.map_or(-1, |ms| ms as i64),
        "lastSuccessTime": report.last_success_ms,
        "lastOnError": report.last_on_error,
        "lastErrorMessage": report.last_error_message,
        "totalOnErrors": report.total_on_errors,
    })
}

/// Body of `/_node/workers` (ours): counters of each worker.
pub(super) fn workers(state: &NodeState) -> Value {
    let of = |(index, worker): (usize, &std::sync::Arc<turnpike_core::stats::WorkerStats>)| {
        json!({
            "worker": index,
            "heartbeats": worker.heartbeats.get(),
            "activeRequests": worker.active_requests.get(),
            "activeConnections": worker.active_connections.get(),
            "connectionsAccepted": worker.connections_accepted.get(),
            "connectionsRefused": worker.connections_refused.get(),
            "bytesRead": worker.bytes_read.get(),
            "bytesWritten": worker.bytes_written.get(),
            "requestErrors": worker.request_errors.get(),
            "clientAborts": worker.client_aborts.get(),
            "upstreamRequests": worker.upstream_requests.get(),
            "upstreamErrors": worker.upstream_errors.get(),
            "upstreamConnects": worker.upstream_connects.get(),
            "upstreamConnections": worker.upstream_connections.get(),
            "upstreamIdleConnections": worker.upstream_idle_connections.get(),
            "upstreamQueue": worker.upstream_queue.get(),
            "upstreamRetries": worker.upstream_retries.get(),
            "bodiesNotKept": worker.bodies_not_kept.get(),
            "reportsPushed": worker.reports_pushed.get(),
            "reportsDropped": worker.reports_dropped.get(),
        })
    };
    json!({
        "driver": state.driver.driver,
        "reason": state.driver.reason,
        "workers": state.workers.iter().enumerate().map(of).collect::<Value>(),
    })
}

/// Body of `/_node/license`.
pub(super) fn license(state: &NodeState) -> Value {
    json!(state.license.attributes(unix_ms() as i64))
}

/// Body of `/_node/cluster`: a node stands alone.
pub(super) fn cluster(state: &NodeState) -> Value {
    json!({ "id": state.identity.id, "type": "standalone", "running": true, "primary": true, "members": [state.identity.id] })
}

/// Body of `/_node/threaddump`: name and state of every thread.
pub(super) fn threads() -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let id = entry.file_name();
        text.push_str(&format!(
            "\"{}\" id={} state={}\n",
            field("Name:"),
            id.to_string_lossy(),
            field("State:")
        ));
    }
    text
}

pub(super) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
