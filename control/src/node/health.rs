//! Probes (contract operations 3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;
use turnpike_config::{Config, RatelimitType};
use turnpike_core::lifecycle::{Lifecycle, Stage};

use super::{Monitor, MonitorSample, SyncView};
use crate::quota::QuotaView;

/// Probes that are shown when none is asked for.
pub const VISIBLE_PROBES: [&str; 4] = [
    "http-server",
    "management-repository",
    "ratelimit-repository",
    "cluster",
];
/// Every probe there is.
pub(super) const ALL_PROBES: [&str; 8] = [
    "http-server",
    "management-repository",
    "ratelimit-repository",
    "cluster",
    "sync-process",
    "cpu",
    "memory",
    "gc-pressure",
];

const CONNECT_MAX: Duration = Duration::from_millis(500);
/// Life of a measured result.
const REMEMBERED: Duration = Duration::from_secs(5);
/// `services.health.threshold.cpu` and `.memory`, percent.
const THRESHOLD_PERCENT: u64 = 80;

/// The result of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Whether it is well.
    pub healthy: bool,
    /// What an operator should know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Probe {
    fn healthy() -> Self {
        Self {
            healthy: true,
            message: None,
        }
    }

    fn when(healthy: bool, message: impl FnOnce() -> String) -> Self {
        Self {
            healthy,
            message: (!healthy).then(message),
        }
    }
}

/// The probes of this node. Results that cost something to get (a connection, the files of `/proc`) are remembered for 5 s and
/// measured once at a time; the others are always of the moment.
pub struct HealthChecks {
    config: Arc<Config>,
    lifecycle: Arc<Lifecycle>,
    sync: Arc<dyn SyncView>,
    monitor: Arc<Monitor>,
    listeners: Vec<SocketAddr>,
    measured: Mutex<Option<Measured>>,
    /// The store of the counters, and the id of this node.
    quotas: OnceLock<(QuotaView, String)>,
}

#[derive(Debug, Clone)]
struct Measured {
    at: Instant,
    http_server: Probe,
    ratelimit: Probe,
    sample: MonitorSample,
}

impl std::fmt::Debug for HealthChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthChecks")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl HealthChecks {
    /// Probes over these parts; `listeners` are the addresses that the workers bound.
    pub fn new(
        config: Arc<Config>,
        lifecycle: Arc<Lifecycle>,
        sync: Arc<dyn SyncView>,
        monitor: Arc<Monitor>,
        listeners: Vec<SocketAddr>,
    ) -> Self {
        Self {
            config,
            lifecycle,
            sync,
            monitor,
            listeners,
            measured: Mutex::new(None),
            quotas: OnceLock::new(),
        }
    }

    /// Lets the store of the counters be probed, with a key of this node.
    pub fn set_quotas(&self, view: QuotaView, node_id: &str) {
        let _ = self.quotas.set((view, node_id.to_owned()));
    }

    /// The store and the counters, for the metrics page.
    pub(super) fn quotas(&self) -> Option<&QuotaView> {
        self.quotas.get().map(|(view, _)| view)
    }

    /// The results of these probes, in their order. A name that is no probe gets an unhealthy result that says so.
    pub async fn evaluate(&self, names: &[&str]) -> Vec<(String, Probe)> {
        let measured = if names.iter().any(|name| {
            matches!(
                *name,
                "http-server" | "cpu" | "memory" | "ratelimit-repository"
            )
        }) {
            Some(self.measured().await)
        } else {
            None
        };
        names
            .iter()
            .map(|name| ((*name).to_owned(), self.probe(name, measured.as_ref())))
            .collect()
    }

    /// The results of the visible probes.
    pub async fn visible(&self) -> Vec<(String, Probe)> {
        self.evaluate(&VISIBLE_PROBES).await
    }

    fn probe(&self, name: &str, measured: Option<&Measured>) -> Probe {
        match (name, measured) {
            ("http-server", Some(measured)) => measured.http_server.clone(),
            ("cpu", Some(measured)) => {
                below_threshold("cpu", measured.sample.process.cpu.percent.max(0) as u64)
            }
            ("memory", Some(measured)) => {
                below_threshold("memory", measured.sample.jvm.mem.heap_used_percent)
            }
            ("management-repository", _) => self.management_repository(unix_ms()),
            ("ratelimit-repository", Some(measured)) => measured.ratelimit.clone(),
            ("cluster" | "gc-pressure", _) => Probe::healthy(),
            ("sync-process", _) => self.sync_process(),
            _ => Probe {
                healthy: false,
                message: Some("probe not found".to_owned()),
            },
        }
    }

    fn sync_process(&self) -> Probe {
        if self.lifecycle.is_draining() && self.config.shutdown.fail_readiness {
            return Probe::when(false, || "stopping".to_owned());
        }
        // Ready without a cycle: a stored snapshot is served because the control plane cannot be reached.
        let is_ready = self.lifecycle.stage() == Stage::Ready || self.sync.report().initial_done;
        Probe::when(is_ready, || "not ready".to_owned())
    }

    /// Well while the last good cycle is younger than three delays and the retries inside one cycle.
    fn management_repository(&self, now_ms: u64) -> Probe {
        let sync = &self.config.sync;
        if !sync.enabled {
            return Probe::healthy();
        }
        let report = self.sync.report();
        let window_ms = 3 * sync.delay_ms + u64::from(sync.retries) * sync.retry_delay_ms;
        match report.last_success_ms {
            Some(last_ms) => {
                let age_ms = now_ms.saturating_sub(last_ms);
                Probe::when(age_ms <= window_ms, || {
                    let cause = report
                        .last_error_message
                        .as_deref()
                        .unwrap_or("no cycle ended");
                    format!("no successful sync for {} s: {cause}", age_ms / 1_000)
                })
            }
            None => Probe::when(false, || {
                report
                    .last_error_message
                    .clone()
                    .unwrap_or_else(|| "the first sync is not done".to_owned())
            }),
        }
    }

    async fn measured(&self) -> Measured {
        let mut measured = self.measured.lock().await;
        if let Some(measured) = measured
            .as_ref()
            .filter(|measured| measured.at.elapsed() < REMEMBERED)
        {
            return measured.clone();
        }
        let http_server = self.connect().await;
        let fresh = Measured {
            at: Instant::now(),
            http_server,
            ratelimit: self.ratelimit().await,
            sample: self.monitor.sample(),
        };
        *measured = Some(fresh.clone());
        fresh
    }

    async fn ratelimit(&self) -> Probe {
        if self.config.ratelimit_type == RatelimitType::None {
            return Probe {
                healthy: true,
                message: Some("RateLimit type is none".to_owned()),
            };
        }
        let Some((view, node_id)) = self.quotas.get() else {
            return Probe::healthy();
        };
        match view.check(node_id).await {
            Ok(()) => Probe::healthy(),
            Err(error) => Probe::when(false, || error.to_string()),
        }
    }

    async fn connect(&self) -> Probe {
        if self.listeners.is_empty() {
            return Probe::when(false, || "no server listens".to_owned());
        }
        for listener in &self.listeners {
            let address = reachable(*listener);
            let failure = match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await
            {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no connection within {} ms", CONNECT_MAX.as_millis()),
            };
            return Probe::when(false, || format!("{address}: {failure}"));
        }
        Probe::healthy()
    }
}

/// The address under which a listener on every interface is reached from here.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

fn below_threshold(what: &str, percent: u64) -> Probe {
    Probe::when(percent < THRESHOLD_PERCENT, || {
        format!("{what} at {percent} %, threshold {THRESHOLD_PERCENT} %")
    })
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use turnpike_config::{ShutdownConfig, SyncConfig};

    use super::*;
    use crate::node::{Refusal, SyncReport};

    struct FixedSync(SyncReport);

    impl SyncView for FixedSync {
        fn report(&self) -> SyncReport {
            self.0.clone()
        }

        fn refusals(&self) -> Vec<Refusal> {
            Vec::new()
        }
    }

    fn checks(report: SyncReport, listeners: Vec<SocketAddr>, config: Config) -> HealthChecks {
        HealthChecks::new(
            Arc::new(config),
            Arc::new(Lifecycle::new()),
            Arc::new(FixedSync(report)),
            Arc::new(Monitor::new()),
            listeners,
        )
    }

    #[tokio::test]
    async fn http_server_follows_the_listener_and_is_remembered() {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let open = checks(SyncReport::default(), vec![address], Config::default());
        assert_eq!(open.evaluate(&["http-server"]).await[0].1, Probe::healthy());
        drop(listener);
        assert_eq!(
            open.evaluate(&["http-server"]).await[0].1,
            Probe::healthy(),
            "remembered"
        );
        let closed = checks(SyncReport::default(), vec![address], Config::default());
        assert!(!closed.evaluate(&["http-server"]).await[0].1.healthy);
        let none = checks(SyncReport::default(), Vec::new(), Config::default());
        assert!(!none.evaluate(&["http-server"]).await[0].1.healthy);
    }

    #[test]
    fn the_management_repository_is_well_while_the_last_good_cycle_is_young() {
        let window_ms = 3 * 5_000 + 3 * 3_000;
        let cases = [
            (None, false, "the first sync is not done"),
            (Some(100_000), true, ""),
            (Some(100_000 - window_ms), true, ""),
            (
                Some(100_000 - window_ms - 1),
                false,
                "no successful sync for 24 s: no cycle ended",
            ),
            (Some(200_000), true, ""),
        ];
        for (last_success_ms, healthy, message) in cases {
            let report = SyncReport {
                last_success_ms,
                ..SyncReport::default()
            };
            let probe =
                checks(report, Vec::new(), Config::default()).management_repository(100_000);
            assert_eq!(
                (probe.healthy, probe.message.as_deref().unwrap_or("")),
                (healthy, message)
            );
        }
        let off = Config {
            sync: SyncConfig {
                enabled: false,
                ..SyncConfig::default()
            },
            ..Config::default()
        };
        assert!(
            checks(SyncReport::default(), Vec::new(), off)
                .management_repository(0)
                .healthy
        );
    }

    #[test]
    fn sync_process_is_ready_after_the_first_cycle_until_a_stop_that_fails_readiness() {
        let ready = SyncReport {
            initial_done: true,
            ..SyncReport::default()
        };
        for (fail_readiness, while_draining) in [(true, Some("stopping")), (false, None)] {
            let config = Config {
                shutdown: ShutdownConfig {
                    delay_ms: 0,
                    fail_readiness,
                },
                ..Config::default()
            };
            let stored = checks(SyncReport::default(), Vec::new(), config.clone());
            stored.lifecycle.advance(Stage::Ready);
            assert_eq!(
                stored.sync_process(),
                Probe::healthy(),
                "from a stored snapshot"
            );
            let not_yet = checks(SyncReport::default(), Vec::new(), config.clone());
            assert_eq!(not_yet.sync_process().message.as_deref(), Some("not ready"));
            let checks = checks(ready.clone(), Vec::new(), config);
            assert_eq!(checks.sync_process(), Probe::healthy());
            checks.lifecycle.advance(Stage::Draining);
            assert_eq!(checks.sync_process().message.as_deref(), while_draining);
        }
    }

    #[tokio::test]
    async fn the_ratelimit_repository_is_as_well_as_its_store() {
        let probe = async |kind, started: bool| {
            let mut config = Config {
                ratelimit_type: kind,
                ..Config::default()
            };
            // Nobody listens there.
            config.ratelimit.redis.place = turnpike_config::RedisPlaceConfig::Standalone {
                host: "127.0.0.1".to_owned(),
                port: 1,
            };
            let (_stop, stopped) = tokio::sync::watch::channel(false);
            let service = crate::quota::start(&config, &stopped).expect("a service");
            let checks = checks(SyncReport::default(), Vec::new(), config);
            if started {
                checks.set_quotas(service.view(), "node");
            }
            let probe = checks.evaluate(&["ratelimit-repository"]).await.remove(0).1;
            (probe.healthy, probe.message.unwrap_or_default())
        };
        for (kind, started, healthy, message) in [
            (RatelimitType::None, true, true, "RateLimit type is none"),
            (RatelimitType::Local, true, true, ""),
            (RatelimitType::Redis, false, true, ""),
            (
                RatelimitType::Redis,
                true,
                false,
                "Connection to Redis not available",
            ),
        ] {
            let expected = (healthy, message.to_owned());
            assert_eq!(probe(kind, started).await, expected, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn every_probe_answers_and_an_unknown_one_says_so() {
        let checks = checks(SyncReport::default(), Vec::new(), Config::default());
        for (name, probe) in checks.evaluate(&ALL_PROBES).await {
            assert_ne!(probe.message.as_deref(), Some("probe not found"), "{name}");
        }
        let unknown = checks.evaluate(&["nope"]).await;
        assert_eq!(
            serde_json::to_value(&unknown[0].1).expect("JSON"),
            serde_json::json!({"healthy": false, "message": "probe not found"})
        );
        let visible = checks.visible().await;
        assert_eq!(
            visible[2].1,
            Probe {
                healthy: true,
                message: Some("RateLimit type is none".to_owned())
            }
        );
    }
}
