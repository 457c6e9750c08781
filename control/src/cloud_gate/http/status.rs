//! `GET /_gate/status`: what an operator wants to know. It shows no key and no token, so it asks for none.

use serde::Serialize;
use serde_json::Value;

use crate::cloud_gate::gate::{Gate, lock};
use crate::cloud_gate::reports::ReportCounts;
use crate::cloud_gate::source::Refusal;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    organization: String,
    environment: String,
    apis: Vec<Api>,
    refused: Vec<Refusal>,
    subscriptions: Subscriptions,
    gateways: Vec<Gateway>,
    reports: Reports,
    /// Events and monitoring documents of gateways that made room for newer ones.
    evicted: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Api {
    id: String,
    name: String,
    file: String,
    published: bool,
    deployment_number: u64,
    updated_at: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Subscriptions {
    accepted: usize,
    others: usize,
    keys: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Gateway {
    id: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    started_at: Option<i64>,
    last_heartbeat_at: Option<i64>,
    stopped_at: Option<i64>,
    version: Option<String>,
    hostname: Option<String>,
}

#[derive(Debug, Serialize)]
struct Reports {
    folder: String,
    #[serde(flatten)]
    counts: ReportCounts,
}

/// The status now.
pub(super) fn of(gate: &Gate) -> Status {
    let ledger = gate.ledger();
    let accepted = ledger
        .subscriptions
        .values()
        .filter(|one| one.status.as_deref() == Some("ACCEPTED"))
        .count();
    let (gateways, evicted) = {
        let store = lock(&gate.store);
        let gateways = store.events.values().filter_map(gateway).collect();
        (gateways, store.events.evicted + store.monitoring.evicted)
    };
    let reports = {
        let reports = lock(&gate.reports);
        Reports {
            folder: reports.folder().display().to_string(),
            counts: reports.counts.clone(),
        }
    };
    Status {
        organization: gate.place.organization.clone(),
        environment: gate.place.environment.clone(),
        apis: ledger
            .apis
            .iter()
            .map(|(id, deployment)| Api {
                id: id.clone(),
                name: deployment.name.clone(),
                file: deployment.file.clone(),
                published: deployment.is_published(),
                deployment_number: deployment.number,
                updated_at: deployment.event.updated_at,
            })
            .collect(),
        refused: gate.refused(),
        subscriptions: Subscriptions {
            accepted,
            others: ledger.subscriptions.len() - accepted,
            keys: ledger
                .keys
                .values()
                .filter(|key| !key.revoked && !key.paused)
                .count(),
        },
        gateways,
        reports,
        evicted,
    }
}

/// The gateway that an event is the heartbeat of.
fn gateway(event: &serde_json::Map<String, Value>) -> Option<Gateway> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let event_type = text(event.get("type")).filter(|name| name.starts_with("GATEWAY_"))?;
    let properties = event.get("properties");
    let property = |name: &str| properties.and_then(|properties| properties.get(name));
    let date = |name: &str| {
        property(name)
            .and_then(Value::as_str)
            .and_then(|date| date.parse().ok())
    };
    let payload: Value = event
        .get("payload")
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    Some(Gateway {
        id: text(property("id")),
        event_type: Some(event_type),
        started_at: date("started_at"),
        last_heartbeat_at: date("last_heartbeat_at"),
        stopped_at: date("stopped_at"),
        version: text(payload.get("version")),
        hostname: text(payload.get("hostname")),
    })
}
