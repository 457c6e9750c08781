//! The control thread's parts, wired: started in one go, stopped in the order of contract operations 8.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use turnpike_config::Config;
use turnpike_core::lifecycle::{Lifecycle, Stage};
use turnpike_core::need::link::ControlEnd;
use turnpike_core::report::ReportReceiver;
use turnpike_core::snapshot::{NodeFacts, SnapshotCell};
use turnpike_core::stats::WorkerStats;

use crate::bridge::{BridgeClient, HttpClient, HttpError};
use crate::definition::CompileContext;
use crate::errand::{ErrandDesk, ErrandStats, NoRedis, RedisDesk};
use crate::license::License;
use crate::node::heartbeat::{Heartbeat, NodeInfo};
use crate::node::monitoring::{MonitoringPeriods, NodeMonitoring};
use crate::node::{
    DriverInfo, HealthChecks, Monitor, NodeApi, NodeApiError, NodeIdentity, NodeState, SyncView,
    figure_source, probe_source,
};
use crate::report::{
    CloudSink, MonitorReports, Reporter, ReporterSettings, ReporterStats, ReportsUrlError, discard,
};
use crate::resolve::Resolver;
use crate::snapshot::SnapshotBuilder;
use crate::sync::{SnapshotDeployer, SyncStatus, Synchronizer, system_clock};
use crate::token::{ControlPlaneSettings, TokenError, derive};

/// Reports that are not delivered this long after the workers ended are lost, and counted.
const FLUSH_BOUND: Duration = Duration::from_secs(5);
/// The farewell to the control plane may take this long.
const FAREWELL_BOUND: Duration = Duration::from_secs(3);
/// How often the licence's expiry is looked at.
const LICENSE_PERIOD: Duration = Duration::from_secs(86_400);

/// What the control thread is given.
pub struct ControlPlaneInput {
    /// Resolved settings.
    pub config: Arc<Config>,
    /// What the token and the settings say about the control plane; `None` when there is none.
    pub settings: Option<ControlPlaneSettings>,
    /// Stage of the process.
    pub lifecycle: Arc<Lifecycle>,
    /// Where snapshots are published.
    pub snapshots: Arc<SnapshotCell>,
    /// Counters of the workers, in worker order.
    pub workers: Vec<Arc<WorkerStats>>,
    /// Report rings of the workers.
    pub reports: Vec<ReportReceiver>,
    /// Links of the workers, in worker order.
    pub links: Vec<ControlEnd>,
    /// The workers' driver.
    pub driver: DriverInfo,
    /// Addresses that the workers bound.
    pub listeners: Vec<SocketAddr>,
    /// Version of this program.
    pub build_version: &'static str,
}

impl std::fmt::Debug for ControlPlaneInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlaneInput")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// Why the control thread could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node API cannot listen.
    #[error(transparent)]
    NodeApi(#[from] NodeApiError),
    /// A client for the control plane cannot be made (trust store, proxy, …).
    #[error("the client for the control plane cannot be set up")]
    Client(#[from] HttpError),
    /// The address of the reports endpoint cannot be used.
    #[error(transparent)]
    ReportsUrl(#[from] ReportsUrlError),
}

/// The running parts.
#[derive(Debug)]
pub struct ControlPlane {
    node_api: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    stop_reports: watch::Sender<bool>,
    stop_node_api: watch::Sender<bool>,
    tasks: JoinSet<()>,
    reporter: JoinHandle<()>,
    server: Option<JoinHandle<()>>,
    stats: Arc<ReporterStats>,
}

impl ControlPlane {
    /// The settings of the control plane that the configuration names: `None` when it names none, which is legal for a gateway that
    /// waits for its token, and useless for any other.
    pub fn settings(config: &Config) -> Result<Option<ControlPlaneSettings>, TokenError> {
        if config.cloud.is_none() && config.management.url.is_none() {
            return Ok(None);
        }
        derive(config).map(Some)
    }

    /// Starts every part on the current tokio runtime.
    pub async fn start(input: ControlPlaneInput) -> Result<Self, StartError> {
        let ControlPlaneInput {
            config,
            settings,
            lifecycle,
            snapshots,
            workers,
            reports,
            links,
            driver,
            listeners,
            ..
        } = input;
        let (stop, stopped) = watch::channel(false);
        let (stop_reports, reports_stopped) = watch::channel(false);
        let (stop_node_api, node_api_stopped) = watch::channel(false);
        let clock = system_clock();
        let mut tasks = JoinSet::new();

        // Where counters and shared caches are kept: the one place at which a Redis is plugged in.
        let redis: Arc<dyn RedisDesk> = Arc::new(NoRedis);
        let errands = Arc::new(ErrandStats::new(
            links.iter().map(ControlEnd::figures).collect(),
        ));
        let desk = Arc::new(ErrandDesk::new(
            redis,
            config.system_proxy.clone(),
            Arc::clone(&clock),
            Arc::clone(&errands),
            stopped.clone(),
        ));
        for link in links {
            tasks.spawn(Arc::clone(&desk).serve(link));
        }

        let identity = Arc::new(NodeIdentity {
            id: uuid::Uuid::new_v4().to_string(),
            hostname: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            compatibility_version: config.management.client_version.clone(),
            build_version: input.build_version.to_owned(),
            revision: option_env!("TURNPIKE_REVISION")
                .unwrap_or("unknown")
                .to_owned(),
        });
        let license = Arc::new(License::load(&config.license));
        tasks.spawn(watch_license(
            Arc::clone(&license),
            config.cloud.is_some(),
            stopped.clone(),
        ));

        let status = SyncStatus::new();
        let view: Arc<dyn SyncView> = Arc::clone(&status) as Arc<dyn SyncView>;
        let monitor = Arc::new(Monitor::new());
        let health = Arc::new(HealthChecks::new(
            Arc::clone(&config),
            Arc::clone(&lifecycle),
            Arc::clone(&view),
            Arc::clone(&monitor),
            listeners.clone(),
        ));
        let stats = Arc::new(ReporterStats::new(workers.clone()));

        let reports_to = settings
            .as_ref()
            .and_then(|settings| Some((settings.reports_url.clone()?, settings.token.clone()?)));
        let has_reporter = reports_to.is_some();
        let reporter = match reports_to {
            None => tokio::spawn(discard(reports, until(reports_stopped))),
            Some((url, token)) => {
                let transport = Arc::new(HttpClient::new(&config.reporters.cloud.client)?);
                let user_agent = format!("turnpike/{}", input.build_version);
                let sink = CloudSink::new(
                    &url.to_string(),
                    Arc::new(move || token.clone()),
                    &user_agent,
                    transport,
                )?;
                let settings = ReporterSettings {
                    node_id: identity.id.clone(),
                    tenant: config.node.tenant.clone().unwrap_or_default(),
                    zone: config.node.zone.clone().unwrap_or_default(),
                    cloud: config.reporters.cloud.clone(),
                    warnings: config.reporters.warnings,
                    monitor: config.monitoring.enabled.then(|| MonitorReports {
                        monitor: Arc::clone(&monitor),
                        hostname: identity.hostname.clone(),
                        period_ms: config.monitoring.delay_ms,
                    }),
                };
                let mut reporter =
                    Reporter::new(&settings, reports, Arc::new(sink), Arc::clone(&stats));
                tokio::spawn(async move {
                    reporter.run(until(reports_stopped)).await;
                    reporter.flush(FLUSH_BOUND).await;
                })
            }
        };

        let (node_api, server) = if config.node_api.enabled {
            let api = NodeApi::bind(NodeState {
                identity: Arc::clone(&identity),
                config: Arc::clone(&config),
                lifecycle: Arc::clone(&lifecycle),
                workers,
                driver: Arc::new(driver),
                listeners: listeners.clone(),
                snapshot: Arc::clone(&snapshots),
                sync: view,
                reporter: has_reporter.then(|| Arc::clone(&stats)),
                errands,
                license,
                health: Arc::clone(&health),
                monitor: Arc::clone(&monitor),
            })
            .await?;
            (
                Some(api.local_addr()),
                Some(tokio::spawn(api.serve(until(node_api_stopped)))),
            )
        } else {
            (None, None)
        };

        lifecycle.advance(Stage::Syncing);
        if let Some(settings) = settings.filter(|_| config.sync.enabled) {
            settings.log(clock());
            let client = Arc::new(BridgeClient::new(&settings)?);
            let context = Arc::new(CompileContext::new(&config));
            let resolver = Arc::new(Resolver::new(context.connectors.clone()));
            let deployer = SnapshotDeployer::new(
                context,
                SnapshotBuilder::new(config.api.allow_overlapping_context)
                    .with_node(node_facts(&config, &identity)),
                snapshots,
                Arc::clone(&resolver),
            );
            let mut info = NodeInfo::of_this_host(
                &identity.id,
                &identity.compatibility_version,
                &identity.build_version,
                &identity.revision,
                listeners.first().map_or(0, SocketAddr::port),
            );
            info.tags.clone_from(&config.node.tags);
            info.tenant.clone_from(&config.node.tenant);
            let info = Arc::new(info);
            let heartbeat = Heartbeat::new(
                Arc::clone(&client),
                Arc::clone(&status),
                Arc::clone(&info),
                config.heartbeat,
                Arc::clone(&clock),
            );
            let monitoring = NodeMonitoring::new(
                Arc::clone(&client),
                Arc::clone(&status),
                info,
                MonitoringPeriods {
                    monitoring: config.monitoring,
                    health: config.health,
                },
                (probe_source(health), figure_source(monitor)),
                Arc::clone(&clock),
            );
            let synchronizer = Synchronizer::new(
                settings,
                config.sync.clone(),
                client,
                deployer,
                status,
                lifecycle,
                clock,
            );
            tasks.spawn(synchronizer.run(stopped.clone()));
            tasks.spawn(heartbeat.run(stopped.clone()));
            tasks.spawn(monitoring.run(stopped.clone()));
            tasks.spawn(async move {
                tokio::select! {
                    () = resolver.run() => {}
                    () = until(stopped) => {}
                }
            });
        }
        Ok(Self {
            node_api,
            stop,
            stop_reports,
            stop_node_api,
            tasks,
            reporter,
            server,
            stats,
        })
    }

    /// Address of the node API, when it is enabled.
    pub fn node_api(&self) -> Option<SocketAddr> {
        self.node_api
    }

    /// Stops every part. To be called when the workers have ended, so that their last reports are in the rings.
    pub async fn stop(mut self) -> Arc<ReporterStats> {
        let _ = self.stop_reports.send(true);
        let _ = self.stop.send(true);
        let farewell = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL_BOUND, farewell)
            .await
            .is_err()
        {
            tracing::warn!("the control plane was not told about the stop in time");
        }
        if let Err(error) = self.reporter.await {
            tracing::error!(%error, "the reporter failed");
        }
        let _ = self.stop_node_api.send(true);
        if let Some(server) = self.server {
            let _ = server.await;
        }
        self.stats
    }
}

/// What expressions may know about this node.
fn node_facts(config: &Config, identity: &NodeIdentity) -> NodeFacts {
    let version = &identity.compatibility_version;
    NodeFacts {
        id: identity.id.as_str().into(),
        version: version.split('.').next().unwrap_or_default().into(),
        tenant: config.node.tenant.as_deref().map(Into::into),
        sharding_tags: config
            .node
            .tags
            .iter()
            .map(|tag| tag.as_str().into())
            .collect(),
        zone: config.node.zone.as_deref().map(Into::into),
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means a stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn watch_license(license: Arc<License>, cloud: bool, stopped: watch::Receiver<bool>) {
    let clock = system_clock();
    loop {
        match license.notice(clock(), cloud) {
            Some((true, text)) => tracing::warn!("{text}"),
            Some((false, text)) => tracing::info!("{text}"),
            None => {}
        }
        tokio::select! {
            () = tokio::time::sleep(LICENSE_PERIOD) => {}
            () = until(stopped.clone()) => return,
        }
    }
}
