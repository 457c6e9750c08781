//! A fleet with one worker and one API, from a snapshot made by hand.

use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_config::cpu::{CpuPlan, WorkerPlacement};
use turnpike_config::{Config, DriverChoice, ServerConfig};
use turnpike_core::definition::{
    AddressCell, Addresses, Api, Balancing, Connector, ConnectorId, ConnectorOptions, Endpoint,
    EndpointGroup, Engine, ListenerPath, LoadBalancer, Plan, PlanSecurity, Subscriptions,
};
use turnpike_core::lifecycle::Lifecycle;
use turnpike_core::need::link::{ControlEnd, link};
use turnpike_core::report::{ReportReceiver, ring};
use turnpike_core::route::{Overlap, RouteTableBuilder};
use turnpike_core::snapshot::{DeployedApi, Platform, Snapshot, SnapshotCell};
use turnpike_core::stats::WorkerStats;
use turnpike_uring::{Fleet, FleetOptions, WorkerInput};

/// A running worker and its ends.
#[allow(dead_code, reason = "not every test looks at every end")]
pub(crate) struct Proxy {
    pub(crate) fleet: Fleet,
    pub(crate) address: SocketAddr,
    pub(crate) reports: ReportReceiver,
    pub(crate) stats: Arc<WorkerStats>,
    /// Where errands arrive.
    pub(crate) control: ControlEnd,
}

fn api(backend: SocketAddr, read_timeout_ms: u32) -> Api {
    let connector = Arc::new(Connector {
        id: ConnectorId(1),
        host: "127.0.0.1".into(),
        port: backend.port(),
        authority: backend.to_string().into(),
        tls: None,
        options: ConnectorOptions {
            read_timeout_ms,
            ..ConnectorOptions::default()
        },
        addresses: AddressCell::new(Addresses::Resolved([backend].into())),
    });
    Api {
        id: "api-1".into(),
        name: "Orders".into(),
        version: "1".into(),
        environment_id: "".into(),
        organization_id: "".into(),
        engine: Engine::V4,
        deployed_at_ms: 1,
        revision: "1".into(),
        listeners: [ListenerPath {
            host: None,
            path: "/orders".into(),
            servers: Arc::new([]),
        }]
        .into(),
        plans: [Plan {
            id: "free".into(),
            name: "Free".into(),
            security: PlanSecurity::KeyLess,
            selection_rule: None,
            flows: Default::default(),
        }]
        .into(),
        groups: [EndpointGroup {
            name: "default".into(),
            endpoints: [Endpoint {
                name: "one".into(),
                connector,
                target_path: "/base".into(),
                target_query: None,
                origin: format!("http://{backend}").into(),
                headers: [].into(),
                weight: 1,
                secondary: false,
                propagate_client_host: false,
                propagate_client_accept_encoding: false,
                follow_redirects: false,
            }]
            .into(),
            balancer: LoadBalancer::new(Balancing::RoundRobin, &[(1, false)]),
        }]
        .into(),
        analytics: true,
        reject_null_byte: false,
        processing: Default::default(),
    }
}

/// Starts a worker that serves `/orders` from `backend`.
#[allow(dead_code, reason = "tests with policies change more")]
pub(crate) fn start(backend: SocketAddr, driver: DriverChoice, read_timeout_ms: u32) -> Proxy {
    start_with(backend, driver, read_timeout_ms, |_| {})
}

/// What a test changes before the worker starts.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) api: Api,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) platform: Platform,
}

/// As [`start`], with whatever `change` makes of it.
pub(crate) fn start_with(
    backend: SocketAddr,
    driver: DriverChoice,
    read_timeout_ms: u32,
    change: impl FnOnce(&mut Setup),
) -> Proxy {
    let mut config = Config {
        servers: vec![ServerConfig {
            host: "127.0.0.1".to_owned(),
            port: 0,
            ..ServerConfig::default()
        }],
        ..Config::default()
    };
    config.runtime.driver = driver;
    let mut setup = Setup {
        config,
        api: api(backend, read_timeout_ms),
        subscriptions: Subscriptions::default(),
        platform: Platform::default(),
    };
    change(&mut setup);
    let Setup {
        config,
        api,
        subscriptions,
        platform,
    } = setup;
    let api = Arc::new(api);
    let mut routes = RouteTableBuilder::new(Overlap::Forbidden);
    routes.add(0, &api.listeners).expect("no conflict");
    let snapshots = Arc::new(SnapshotCell::new());
    snapshots.publish(Snapshot {
        revision: 1,
        routes: Arc::new(routes.build()),
        apis: [DeployedApi {
            platform: Arc::new(platform),
            api,
            subscriptions: Arc::new(subscriptions),
        }]
        .into(),
    });
    let (sender, reports) = ring(1 << 20);
    let stats = Arc::new(WorkerStats::new());
    let plan = CpuPlan {
        workers: vec![WorkerPlacement { cpu: None }],
        reason: "test".to_owned(),
    };
    let (worker, control) = link();
    let fleet = Fleet::start(FleetOptions {
        config: &config,
        plan: &plan,
        snapshots,
        lifecycle: Arc::new(Lifecycle::new()),
        inputs: vec![WorkerInput {
            reports: sender,
            link: worker,
            stats: Arc::clone(&stats),
        }],
    })
    .expect("a fleet");
    let address = fleet.addresses()[0];
    Proxy {
        fleet,
        address,
        reports,
        stats,
        control,
    }
}
