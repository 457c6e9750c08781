//! Monitoring documents: node infos, health checks, figures (contract sync 10.2).

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use turnpike_config::PeriodicConfig;

use super::heartbeat::{NodeInfo, Silence};
use crate::bridge::wire::Monitoring;
use crate::bridge::{BridgeClient, BridgeError, BridgeErrorKind};
use crate::sync::{Clock, SyncStatus};

/// Life of a document's id in memory without a write.
const ID_LIFE: Duration = Duration::from_secs(600);
/// Time that the last write may take when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The result of one probe, as the control plane is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// Probe id, such as `http-server`.
    pub id: String,
    /// Whether it is well.
    pub healthy: bool,
    /// What an operator should know.
    pub message: Option<String>,
}

/// Evaluates the visible probes.
pub type ProbeSource =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Vec<ProbeResult>> + Send>> + Send + Sync>;
/// Takes a sample of the host's and the process's figures: an object with `jvm`, `os` and `process`.
pub type FigureSource = Arc<dyn Fn() -> Value + Send + Sync>;

/// Kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    NodeInfos,
    HealthCheck,
    Monitor,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::NodeInfos => "NODE_INFOS",
            Self::HealthCheck => "HEALTH_CHECK",
            Self::Monitor => "MONITOR",
        }
    }
}

/// A document that the control plane has.
struct Known {
    id: String,
    created_at_ms: i64,
    written_at: Instant,
}

/// Periods of the two kinds of documents that repeat.
#[derive(Debug, Clone, Copy)]
pub struct MonitoringPeriods {
    /// `services.monitoring`: node infos and figures.
    pub monitoring: PeriodicConfig,
    /// `services.health`: health checks.
    pub health: PeriodicConfig,
}

/// Writes the monitoring documents of this node.
pub struct NodeMonitoring {
    client: Arc<BridgeClient>,
    status: Arc<SyncStatus>,
    info: Arc<NodeInfo>,
    periods: MonitoringPeriods,
    probes: ProbeSource,
    figures: FigureSource,
    clock: Clock,
    known: HashMap<Kind, Known>,
    is_announced: bool,
    silence: Silence,
}

impl NodeMonitoring {
    /// Monitoring that has not begun.
    pub fn new(
        client: Arc<BridgeClient>,
        status: Arc<SyncStatus>,
        info: Arc<NodeInfo>,
        periods: MonitoringPeriods,
        (probes, figures): (ProbeSource, FigureSource),
        clock: Clock,
    ) -> Self {
        Self {
            client,
            status,
            info,
            periods,
            probes,
            figures,
            clock,
            known: HashMap::new(),
            is_announced: false,
            silence: Silence::new("node monitoring"),
        }
    }

    /// Writes until `stop` turns true or its sender is gone, then marks the node as stopped.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let MonitoringPeriods { monitoring, health } = self.periods;
        if !monitoring.enabled && !health.enabled {
            return;
        }
        let (mut figures, mut checks) = (ticks(monitoring), ticks(health));
        loop {
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => break,
                () = async {
                    tokio::select! {
                        _ = figures.tick(), if monitoring.enabled => self.write_figures().await,
                        _ = checks.tick(), if health.enabled => self.write_health().await,
                    }
                } => {}
            }
        }
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.stop()).await;
    }

    /// Node infos until they were taken once, and the figures.
    pub(super) async fn write_figures(&mut self) {
        if !self.is_announced {
            let infos = self.node_infos("STARTED");
            self.is_announced = self.write(Kind::NodeInfos, infos).await;
            if !self.is_announced {
                return;
            }
        }
        let mut payload = json!({ "nodeId": self.info.id, "timestamp": (self.clock)() });
        if let (Some(payload), Value::Object(figures)) = (payload.as_object_mut(), (self.figures)())
        {
            payload.extend(figures);
        }
        self.write(Kind::Monitor, payload).await;
    }

    /// The visible probes.
    pub(super) async fn write_health(&mut self) {
        let results = (self.probes)().await;
        let healthy = results.iter().all(|probe| probe.healthy);
        let results: Map<String, Value> = results
            .into_iter()
            .map(|probe| {
                (
                    probe.id,
                    json!({ "healthy": probe.healthy, "message": probe.message }),
                )
            })
            .collect();
        let payload =
            json!({ "results": results, "evaluatedAt": (self.clock)(), "healthy": healthy });
        self.write(Kind::HealthCheck, payload).await;
    }

    /// Marks the node as stopped, when the control plane knows it.
    pub(super) async fn stop(&mut self) {
        if self.is_announced {
            let infos = self.node_infos("STOPPED");
            self.write(Kind::NodeInfos, infos).await;
        }
    }

    fn node_infos(&self, status: &str) -> Value {
        let info = &self.info;
        json!({
            "id": info.id,
            "name": "Gravitee.io - API Gateway",
            "application": "gio-apim-gateway",
            "evaluatedAt": (self.clock)(),
            "status": status,
            "version": info.version,
            "jdkVersion": "none (native gateway)",
            "tags": info.tags(),
            "hostname": info.hostname,
            "ip": info.ip,
            "port": info.port,
            "tenant": info.tenant,
            "pluginInfos": info.plugins,
            "metadata": {},
        })
    }

    async fn write(&mut self, kind: Kind, payload: Value) -> bool {
        // Without a first handshake there is nobody to write to.
        if self.status.identity().is_none() || !self.silence.is_over(Instant::now()) {
            return false;
        }
        let outcome = self.upsert(kind, payload).await;
        self.silence.note(outcome, Instant::now())
    }

    /// Reuses the document of this node and kind, else makes it.
    async fn upsert(&mut self, kind: Kind, payload: Value) -> Result<(), BridgeError> {
        let now_ms = (self.clock)();
        self.known
            .retain(|_, known| known.written_at.elapsed() < ID_LIFE);
        let found = match self.known.get(&kind) {
            Some(known) => Some((known.id.clone(), known.created_at_ms)),
            None => {
                let document = self
                    .client
                    .find_monitoring(&self.info.id, kind.as_str())
                    .await?;
                document.map(|document| (document.id, document.created_at.unwrap_or(now_ms)))
            }
        };
        let is_new = found.is_none();
        let (id, created_at_ms) =
            found.unwrap_or_else(|| (uuid::Uuid::new_v4().to_string(), now_ms));
        let document = Monitoring {
            id: id.clone(),
            node_id: self.info.id.clone(),
            monitoring_type: kind.as_str().to_owned(),
            payload: payload.to_string(),
            created_at: Some(created_at_ms),
            evaluated_at: Some(now_ms),
            updated_at: Some(now_ms),
        };
        if is_new {
            self.client.create_monitoring(&document).await?;
        } else if let Err(error) = self.client.update_monitoring(&document).await {
            if error.kind == BridgeErrorKind::NotFound {
                self.known.remove(&kind);
            }
            return Err(error);
        }
        self.known.insert(
            kind,
            Known {
                id,
                created_at_ms,
                written_at: Instant::now(),
            },
        );
        Ok(())
    }
}

fn ticks(period: PeriodicConfig) -> Interval {
    let mut ticks = tokio::time::interval(Duration::from_millis(period.delay_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::fake::FakeBridge;
    use crate::sync::{Identity, test_settings};

    async fn bench() -> (FakeBridge, NodeMonitoring) {
        let bridge = FakeBridge::start().await;
        let client = Arc::new(BridgeClient::new(&test_settings(&bridge.url)).expect("a client"));
        let status = SyncStatus::new();
        status.set_identity(Arc::new(Identity::default()));
        let info = Arc::new(NodeInfo::of_this_host("node", "4.12.17", "1", "abc", 8_082));
        let period = PeriodicConfig {
            enabled: true,
            delay_ms: 1,
        };
        let periods = MonitoringPeriods {
            monitoring: period,
            health: period,
        };
        let probes: ProbeSource = Arc::new(|| {
            Box::pin(async {
                let well = ProbeResult {
                    id: "http-server".to_owned(),
                    healthy: true,
                    message: None,
                };
                let ill = ProbeResult {
                    id: "management-repository".to_owned(),
                    healthy: false,
                    message: Some("away".to_owned()),
                };
                vec![well, ill]
            })
        });
        let figures: FigureSource =
            Arc::new(|| json!({ "jvm": { "uptime": 7 }, "os": {}, "process": {} }));
        let monitoring = NodeMonitoring::new(
            client,
            status,
            info,
            periods,
            (probes, figures),
            Arc::new(|| 5_000),
        );
        (bridge, monitoring)
    }

    fn payload(document: &Monitoring) -> Value {
        serde_json::from_str(&document.payload).expect("JSON")
    }

    #[tokio::test]
    async fn each_document_is_found_or_made_and_then_replaced() {
        let (bridge, mut monitoring) = bench().await;
        bridge.world().documents.push(Monitoring {
            id: "from-before".to_owned(),
            node_id: "node".to_owned(),
            monitoring_type: "MONITOR".to_owned(),
            payload: "{}".to_owned(),
            created_at: Some(3),
            ..Monitoring::default()
        });
        for _ in 0..2 {
            monitoring.write_figures().await;
            monitoring.write_health().await;
        }
        monitoring.stop().await;
        let calls: Vec<String> = bridge
            .world()
            .seen
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.query))
            .collect();
        let expected = [
            "GET nodeId=node&type=NODE_INFOS",
            "POST ",
            "GET nodeId=node&type=MONITOR",
            "PUT ",
            "GET nodeId=node&type=HEALTH_CHECK",
            "POST ",
            "PUT ",
            "PUT ",
            "PUT ",
        ];
        assert_eq!(calls, expected);
        let world = bridge.world();
        let documents = &world.documents[1..];
        assert_eq!(payload(&documents[0])["status"], "STARTED");
        assert_eq!(
            (documents[1].id.as_str(), documents[1].created_at),
            ("from-before", Some(3))
        );
        let figures = payload(&documents[1]);
        assert_eq!(
            (&figures["nodeId"], &figures["jvm"]["uptime"]),
            (&json!("node"), &json!(7))
        );
        let health = payload(&documents[2]);
        assert_eq!(health["healthy"], false);
        assert_eq!(
            health["results"]["management-repository"],
            json!({ "healthy": false, "message": "away" })
        );
        assert_eq!(documents[2].id, documents[4].id);
        assert_eq!(
            payload(documents.last().expect("a document"))["status"],
            "STOPPED"
        );
    }

    #[tokio::test]
    async fn a_control_plane_without_monitoring_is_asked_once() {
        let (bridge, mut monitoring) = bench().await;
        bridge.world().has_monitoring = false;
        for _ in 0..3 {
            monitoring.write_figures().await;
            monitoring.write_health().await;
        }
        monitoring.stop().await;
        assert_eq!(
            bridge.world().seen.len(),
            2,
            "one search and one attempt to write"
        );
    }
}
