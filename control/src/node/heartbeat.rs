//! The heartbeat that makes this gateway visible in the console (contract sync 10.1).

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use turnpike_config::PeriodicConfig;

use crate::bridge::wire::{Event, EventType};
use crate::bridge::{BridgeClient, BridgeError, BridgeErrorKind};
use crate::sync::{Clock, Identity, SyncStatus};

/// Time that the last write may take when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Silence after the control plane said that it does not take these writes.
const SILENCE: Duration = Duration::from_secs(3_600);

/// A built-in capability, listed as the reference lists its plugins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginInfo {
    /// Id, such as `api-key`.
    pub id: String,
    /// Display name.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Version.
    pub version: String,
    /// Where it comes from: `builtin`.
    pub plugin: String,
    /// `policy`, …
    #[serde(rename = "type")]
    pub kind: String,
}

/// What this node tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Node id, random per process.
    pub id: String,
    /// `4.12.17 (build: X) revision#Y`.
    pub version: String,
    /// Host name.
    pub hostname: String,
    /// Address of this host.
    pub ip: String,
    /// Port of the first HTTP server.
    pub port: u16,
    /// Sharding tags.
    pub tags: Vec<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// Built-in capabilities.
    pub plugins: Vec<PluginInfo>,
}

impl NodeInfo {
    /// Information about this host; the version is composed from the compatibility level and our own build.
    pub fn of_this_host(
        id: &str,
        compatibility_version: &str,
        build: &str,
        revision: &str,
        port: u16,
    ) -> Self {
        Self {
            id: id.to_owned(),
            version: format!("{compatibility_version} (build: {build}) revision#{revision}"),
            hostname: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            ip: address_of_this_host(),
            port,
            tags: Vec::new(),
            tenant: None,
            plugins: Vec::new(),
        }
    }

    pub(super) fn tags(&self) -> Option<&[String]> {
        (!self.tags.is_empty()).then_some(self.tags.as_slice())
    }
}

/// The address that this host would use towards the outside. Connecting a datagram socket sends nothing.
fn address_of_this_host() -> String {
    UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| {
            // An address of the documentation range (RFC 5737): only the route to it matters.
            socket.connect("203.0.113.1:9")?;
            socket.local_addr()
        })
        .map_or_else(
            |_| "127.0.0.1".to_owned(),
            |address| address.ip().to_string(),
        )
}

/// Silences a writer that the control plane does not want, after one warning.
#[derive(Debug)]
pub(super) struct Silence {
    what: &'static str,
    until: Option<Instant>,
    has_failed: bool,
}

impl Silence {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            until: None,
            has_failed: false,
        }
    }

    /// Whether a write may be tried now.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// Takes note of a write; returns whether it succeeded.
    pub(super) fn note(&mut self, outcome: Result<(), BridgeError>, now: Instant) -> bool {
        let error = match outcome {
            Ok(()) => {
                if self.until.take().is_some() || std::mem::take(&mut self.has_failed) {
                    tracing::info!("{} is accepted again", self.what);
                }
                return true;
            }
            Err(error) => error,
        };
        if matches!(
            error.kind,
            BridgeErrorKind::Forbidden | BridgeErrorKind::NotFound
        ) {
            if self.until.is_none() {
                tracing::warn!(
                    "control plane does not take the {}: {error}; trying again every hour",
                    self.what
                );
            }
            self.until = Some(now + SILENCE);
        } else if std::mem::replace(&mut self.has_failed, true) {
            tracing::debug!("{} still fails: {error}", self.what);
        } else {
            tracing::warn!("{} was not written: {error}", self.what);
        }
        false
    }
}

/// Writes the heartbeat.
pub struct Heartbeat {
    client: Arc<BridgeClient>,
    status: Arc<SyncStatus>,
    info: Arc<NodeInfo>,
    settings: PeriodicConfig,
    clock: Clock,
    event_id: String,
    started_at_ms: i64,
    last_heartbeat_ms: i64,
    is_announced: bool,
    silence: Silence,
}

impl Heartbeat {
    /// A heartbeat that has not begun.
    pub fn new(
        client: Arc<BridgeClient>,
        status: Arc<SyncStatus>,
        info: Arc<NodeInfo>,
        settings: PeriodicConfig,
        clock: Clock,
    ) -> Self {
        let now_ms = clock();
        Self {
            client,
            status,
            info,
            settings,
            clock,
            event_id: uuid::Uuid::new_v4().to_string(),
            started_at_ms: now_ms,
            last_heartbeat_ms: now_ms,
            is_announced: false,
            silence: Silence::new("heartbeat"),
        }
    }

    /// Beats until `stop` turns true or its sender is gone, then says good-bye. One write is in flight at a time, and none of
    /// them delays anything else.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        if !self.settings.enabled {
            return;
        }
        let mut ticks = tokio::time::interval(Duration::from_millis(self.settings.delay_ms.max(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => break,
                _ = async { ticks.tick().await; self.beat().await } => {}
            }
        }
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.stop()).await;
    }

    /// One beat: the full event until it was taken once, then the light one.
    pub(super) async fn beat(&mut self) {
        // Who we are comes with the first cycle; before that there is nothing to announce.
        let Some(identity) = self
            .status
            .identity()
            .filter(|_| self.silence.is_over(Instant::now()))
        else {
            return;
        };
        self.last_heartbeat_ms = (self.clock)();
        let event = if self.is_announced {
            self.light_event(&identity)
        } else {
            self.full_event(&identity, EventType::GatewayStarted)
        };
        let outcome = self.client.create_or_patch_event(&event).await;
        // A control plane that lost its data must learn everything again.
        self.is_announced = self.silence.note(outcome, Instant::now());
    }

    /// Tells the control plane that this gateway stops.
    pub(super) async fn stop(&mut self) {
        let Some(identity) = self.status.identity().filter(|_| self.is_announced) else {
            return;
        };
        let mut event = self.full_event(&identity, EventType::GatewayStopped);
        let now_ms = (self.clock)();
        event.updated_at = Some(now_ms);
        event
            .properties
            .insert("stopped_at".to_owned(), Some(now_ms.to_string()));
        let outcome = self.client.create_or_patch_event(&event).await;
        self.silence.note(outcome, Instant::now());
    }

    fn light_event(&self, identity: &Identity) -> Event {
        let properties = [
            ("last_heartbeat_at", self.last_heartbeat_ms.to_string()),
            primary(),
        ];
        Event {
            id: self.event_id.clone(),
            environments: Some(identity.environments.clone()),
            organizations: None,
            event_type: EventType::GatewayStarted,
            payload: None,
            parent_id: None,
            properties: owned(properties),
            created_at: None,
            updated_at: Some(self.last_heartbeat_ms),
        }
    }

    fn full_event(&self, identity: &Identity, event_type: EventType) -> Event {
        let info = &self.info;
        let system = rustix::system::uname();
        let payload = json!({
            "id": info.id,
            "version": info.version,
            "tags": info.tags(),
            "plugins": info.plugins,
            "hostname": info.hostname,
            "ip": info.ip,
            "port": info.port.to_string(),
            "tenant": info.tenant,
            "systemProperties": {
                "os.name": system.sysname().to_string_lossy(),
                "os.arch": std::env::consts::ARCH,
                "os.version": system.release().to_string_lossy(),
            },
            "clusterId": "standalone",
        });
        let properties = [
            ("id", info.id.clone()),
            ("started_at", self.started_at_ms.to_string()),
            ("last_heartbeat_at", self.last_heartbeat_ms.to_string()),
            primary(),
        ];
        Event {
            organizations: Some(identity.organizations.clone()),
            event_type,
            payload: Some(payload.to_string()),
            properties: owned(properties),
            created_at: Some(self.started_at_ms),
            ..self.light_event(identity)
        }
    }
}

/// A gateway without a cluster is always the primary node.
fn primary() -> (&'static str, String) {
    ("cluster_primary_node", "true".to_owned())
}

fn owned<const N: usize>(
    properties: [(&'static str, String); N],
) -> BTreeMap<String, Option<String>> {
    properties
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Some(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::bridge::fake::{FakeBridge, Fault};
    use crate::sync::test_settings;

    struct Bench {
        bridge: FakeBridge,
        heartbeat: Heartbeat,
        status: Arc<SyncStatus>,
        now_ms: Arc<AtomicI64>,
    }

    async fn bench() -> Bench {
        let bridge = FakeBridge::start().await;
        let client = Arc::new(BridgeClient::new(&test_settings(&bridge.url)).expect("a client"));
        let status = SyncStatus::new();
        let mut info = NodeInfo::of_this_host("node", "4.12.17", "1", "abc", 8_082);
        info.tags = vec!["eu".to_owned()];
        let now_ms = Arc::new(AtomicI64::new(1_000));
        let clock: Clock = Arc::new({
            let now_ms = Arc::clone(&now_ms);
            move || now_ms.load(Ordering::Relaxed)
        });
        let settings = PeriodicConfig {
            enabled: true,
            delay_ms: 1,
        };
        let heartbeat =
            Heartbeat::new(client, Arc::clone(&status), Arc::new(info), settings, clock);
        Bench {
            bridge,
            heartbeat,
            status,
            now_ms,
        }
    }

    fn identify(status: &SyncStatus) {
        let identity = Identity {
            environments: vec!["env".to_owned()],
            organizations: vec!["org".to_owned()],
        };
        status.set_identity(Arc::new(identity));
    }

    #[tokio::test]
    async fn a_life_is_one_full_event_light_ones_and_a_good_bye() {
        let Bench {
            bridge,
            mut heartbeat,
            status,
            now_ms,
        } = bench().await;
        heartbeat.beat().await;
        assert!(
            bridge.world().seen.is_empty(),
            "nothing is written before the first handshake"
        );
        identify(&status);
        for at_ms in [1_000, 6_000] {
            now_ms.store(at_ms, Ordering::Relaxed);
            heartbeat.beat().await;
        }
        now_ms.store(7_000, Ordering::Relaxed);
        heartbeat.stop().await;
        let events = std::mem::take(&mut bridge.world().written_events);
        let [start, light, stop] = events.as_slice() else {
            panic!("three events, found {events:?}")
        };
        assert!(start.id == light.id && light.id == stop.id);
        assert_eq!(
            (start.event_type, stop.event_type),
            (EventType::GatewayStarted, EventType::GatewayStopped)
        );
        assert_eq!(
            (start.created_at, start.updated_at),
            (Some(1_000), Some(1_000))
        );
        assert_eq!(
            start.organizations.as_deref(),
            Some(["org".to_owned()].as_slice())
        );
        let payload: serde_json::Value =
            serde_json::from_str(start.payload.as_deref().expect("a payload")).expect("JSON");
        assert_eq!(payload["version"], "4.12.17 (build: 1) revision#abc");
        assert_eq!(
            (&payload["port"], &payload["tags"][0]),
            (&json!("8082"), &json!("eu"))
        );
        assert_eq!(start.property("started_at"), Some("1000"));
        assert!(
            light.payload.is_none() && light.created_at.is_none() && light.organizations.is_none()
        );
        assert_eq!(light.properties.len(), 2);
        assert_eq!(light.property("last_heartbeat_at"), Some("6000"));
        assert_eq!(stop.property("stopped_at"), Some("7000"));
        assert_eq!(stop.property("last_heartbeat_at"), Some("6000"));
        assert!(stop.payload.is_some());
    }

    #[tokio::test]
    async fn the_full_event_is_sent_again_until_it_was_taken() {
        let Bench {
            bridge,
            mut heartbeat,
            status,
            ..
        } = bench().await;
        identify(&status);
        bridge
            .world()
            .fail("_createOrPatch", 1, Fault::Status(500, ""));
        for _ in 0..3 {
            heartbeat.beat().await;
        }
        let bodies: Vec<bool> = bridge
            .world()
            .seen
            .iter()
            .map(|seen| seen.body.get("payload").is_some())
            .collect();
        assert_eq!(bodies, [true, true, false]);
    }

    #[test]
    fn a_control_plane_that_does_not_want_it_is_left_in_peace_for_an_hour() {
        let mut silence = Silence::new("heartbeat");
        let refused = |kind| BridgeError {
            call: "POST /x".to_owned(),
            kind,
            status: None,
            reason: String::new(),
        };
        let now = Instant::now();
        assert!(silence.is_over(now));
        assert!(!silence.note(Err(refused(BridgeErrorKind::Transient)), now));
        assert!(silence.is_over(now), "an outage is no refusal");
        assert!(!silence.note(Err(refused(BridgeErrorKind::Forbidden)), now));
        assert!(!silence.is_over(now + SILENCE - Duration::from_secs(1)));
        assert!(silence.is_over(now + SILENCE));
        assert!(silence.note(Ok(()), now + SILENCE));
        assert!(silence.is_over(now));
    }

    #[tokio::test]
    async fn running_ends_with_a_good_bye() {
        let Bench {
            bridge,
            heartbeat,
            status,
            ..
        } = bench().await;
        identify(&status);
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(heartbeat.run(stopped));
        for _ in 0..1_000 {
            if bridge.world().written_events.len() > 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send(true).expect("a listener");
        running.await.expect("no panic");
        let last = bridge
            .world()
            .written_events
            .last()
            .map(|event| event.event_type);
        assert_eq!(last, Some(EventType::GatewayStopped));
    }
}
