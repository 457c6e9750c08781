//! The node API over a socket.

use turnpike_config::{Config, NodeApiAuthentication, NodeApiConfig, NodeConfig, Secret};
use turnpike_core::definition::{
    Balancing, EndpointGroup, ListenerPath, LoadBalancer, Plan, PlanSecurity,
};
use turnpike_core::lifecycle::Lifecycle;
use turnpike_core::need::link::{ControlEnd, link};
use turnpike_core::need::{self, Errand};
use turnpike_core::quota::CountError;
use turnpike_core::snapshot::{DeployedApi, Snapshot, SnapshotCell};
use turnpike_core::stats::WorkerStats;

use super::*;
use crate::bridge::HttpClient;
use crate::errand::ErrandStats;
use crate::license::License;
use crate::node::{DriverInfo, HealthChecks, Monitor, NodeIdentity, Refusal, SyncReport, SyncView};
use crate::report::ReporterStats;

#[derive(Default)]
pub(in crate::node) struct TestSync(pub(in crate::node) std::sync::Mutex<SyncReport>);

impl SyncView for TestSync {
    fn report(&self) -> SyncReport {
        self.0.lock().expect("no panic").clone()
    }

    fn refusals(&self) -> Vec<Refusal> {
        vec![Refusal {
            id: "bad".to_owned(),
            name: "Bad".to_owned(),
            reason: "no plan is left".to_owned(),
            is_served_as_before: false,
        }]
    }
}

fn api() -> turnpike_core::definition::Api {
    turnpike_core::definition::Api {
        id: "a-1".into(),
        name: "Orders".into(),
        version: "1.0".into(),
        environment_id: "e-1".into(),
        organization_id: "o-1".into(),
        engine: turnpike_core::definition::Engine::V4,
        deployed_at_ms: 1_760_000_000_000,
        revision: "7".into(),
        listeners: [ListenerPath {
            host: None,
            path: "/orders".into(),
            servers: Arc::from([]),
        }]
        .into(),
        plans: [Plan {
            id: "p-1".into(),
            name: "Open".into(),
            security: PlanSecurity::KeyLess,
            selection_rule: None,
            flows: Default::default(),
        }]
        .into(),
        groups: [EndpointGroup {
            name: "default".into(),
            endpoints: Box::new([]),
            balancer: LoadBalancer::new(Balancing::RoundRobin, &[]),
        }]
        .into(),
        analytics: true,
        reject_null_byte: false,
        processing: Default::default(),
    }
}

pub(in crate::node) fn state(sync: Arc<TestSync>, change: impl FnOnce(&mut Config)) -> NodeState {
    let mut config = Config {
        node_api: NodeApiConfig {
            host: "127.0.0.1".to_owned(),
            port: 0,
            ..NodeApiConfig::default()
        },
        node: NodeConfig {
            tags: vec!["internal".to_owned()],
            tenant: Some("europe".to_owned()),
            zone: Some("z1".to_owned()),
            organizations: Vec::new(),
            environments: vec!["DEFAULT".to_owned()],
        },
        effective: vec![
            ("http.port".to_owned(), "8082".to_owned()),
            ("cloud.token".to_owned(), "***".to_owned()),
        ],
        ..Config::default()
    };
    config.metrics.enabled = true;
    change(&mut config);
    let config = Arc::new(config);
    // A listener that stays open for the life of the test process, as a worker's would.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listeners = vec![listener.local_addr().expect("an address")];
    std::mem::forget(listener);
    let lifecycle = Arc::new(Lifecycle::new());
    let monitor = Arc::new(Monitor::new());
    let health = HealthChecks::new(
        config.clone(),
        lifecycle.clone(),
        sync.clone(),
        monitor.clone(),
        listeners.clone(),
    );
    let snapshot = SnapshotCell::new();
    snapshot.publish(Snapshot {
        revision: 1,
        apis: Box::new([DeployedApi {
            platform: Default::default(),
            api: Arc::new(api()),
            subscriptions: Arc::default(),
        }]),
        ..Snapshot::default()
    });
    let workers = vec![Arc::new(WorkerStats::new()), Arc::new(WorkerStats::new())];
    NodeState {
        identity: Arc::new(NodeIdentity {
            id: "n-1".to_owned(),
            hostname: "gw-1".to_owned(),
            compatibility_version: "4.12.17".to_owned(),
            build_version: "0.1.0".to_owned(),
            revision: "abc".to_owned(),
        }),
        reporter: Some(Arc::new(ReporterStats::new(workers.clone()))),
        workers,
        driver: Arc::new(DriverInfo {
            driver: "epoll".to_owned(),
            reason: "io_uring is \"refused\"".to_owned(),
        }),
        snapshot: Arc::new(snapshot),
        errands: Arc::new(ErrandStats::new(
            workers_links().iter().map(ControlEnd::figures).collect(),
        )),
        license: Arc::new(License::default()),
        config,
        lifecycle,
        listeners,
        sync,
        health: Arc::new(health),
        monitor,
    }
}

/// Links of two workers: each has one errand in flight, and one that could not be counted.
fn workers_links() -> [ControlEnd; 2] {
    [(); 2].map(|()| {
        let (mut worker, mut control) = link();
        for ticket in 0..2 {
            let errand = Errand::Resolve { host: "h".into() };
            assert!(worker.send(ticket, errand));
        }
        control.receive().expect("an errand");
        control.receive().expect("an errand");
        let replies = control.replies();
        replies.send(0, need::Answer::Count(Err(CountError::NoStore)));
        control
    })
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

struct Bench {
    address: SocketAddr,
    client: HttpClient,
}

impl Bench {
    async fn new(state: NodeState) -> Self {
        let api = NodeApi::bind(state).await.expect("a port");
        let address = api.local_addr();
        tokio::spawn(api.serve(std::future::pending()));
        let client =
            HttpClient::new(&turnpike_config::HttpClientConfig::default()).expect("settings");
        Self { address, client }
    }

    async fn send(&self, method: &str, path: &str, credentials: Option<&str>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        if let Some(credentials) = credentials {
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
            request = request.header("authorization", format!("Basic {encoded}"));
        }
        let response = self
            .client
            .send(request.body(Bytes::new()).expect("a request"))
            .await
            .expect("an answer");
        let (head, body) = response.into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Some("admin:adminadmin")).await
    }
}

#[tokio::test]
async fn nothing_is_shown_without_credentials() {
    let bench = Bench::new(state(Arc::default(), |_| {})).await;
    for path in ["/_node", "/_node/health", "/_node/ready", "/nothing"] {
        for credentials in [None, Some("admin:wrong"), Some("other:adminadmin")] {
            let answer = bench.send("GET", path, credentials).await;
            assert_eq!(
                (answer.status, &answer.body[..]),
                (401, &b"Unauthorized"[..]),
                "{path}"
            );
            assert_eq!(
                answer.headers["www-authenticate"],
                "Basic realm=\"gravitee.io\""
            );
        }
    }
    let open = Bench::new(state(Arc::default(), |config| {
        config.node_api.authentication = NodeApiAuthentication::None
    }))
    .await;
    assert_eq!(open.send("GET", "/_node", None).await.status, 200);
}

#[tokio::test]
async fn the_node_tells_who_it_is() {
    let bench = Bench::new(state(Arc::default(), |_| {})).await;
    let expected = serde_json::json!({
        "id": "n-1",
        "name": "Gravitee.io - API Gateway",
        "metadata": {"environments": ["DEFAULT"], "tags": ["internal"], "tenant": "europe", "zone": "z1"},
        "version": {"BUILD_ID": "0.1.0", "BUILD_NUMBER": "4.12.17", "MAJOR_VERSION": "4.12.17", "REVISION": "abc"},
    });
    for path in ["/_node", "/_node/"] {
        let answer = bench.get(path).await;
        assert_eq!((answer.status, answer.json()), (200, expected.clone()));
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(answer.body.contains(&b'\n'), "pretty printed");
    }
}

#[tokio::test]
async fn probes_answer_200_when_all_are_healthy_and_500_otherwise() {
    let sync = Arc::new(TestSync::default());
    let bench = Bench::new(state(sync.clone(), |_| {})).await;
    let answer = bench
        .get("/_node/health?probes=http-server,sync-process")
        .await;
    assert_eq!(answer.status, 500);
    assert_eq!(
        answer.json(),
        serde_json::json!({"http-server": {"healthy": true}, "sync-process": {"healthy": false, "message": "not ready"}})
    );
    assert_eq!(
        bench.get("/_node/health?probes=http-server").await.status,
        200
    );
    assert_eq!(bench.get("/_node/ready").await.status, 500);
    *sync.0.lock().expect("no panic") = SyncReport {
        initial_done: true,
        last_success_ms: Some(inventory::unix_ms()),
        ..SyncReport::default()
    };
    for path in [
        "/_node/ready",
        "/_node/health",
        "/_node/health?probes=http-server&probes=sync-process",
        "/_node/health?probes=http-server%2Csync-process",
    ] {
        assert_eq!(bench.get(path).await.status, 200, "{path}");
    }
    let answer = bench.get("/_node/health?probes=nope").await;
    assert_eq!(
        (answer.status, answer.json()),
        (
            500,
            serde_json::json!({"nope": {"healthy": false, "message": "probe not found"}})
        )
    );
    let visible = bench.get("/_node/health").await.json();
    let names: Vec<&String> = visible.as_object().expect("an object").keys().collect();
    assert_eq!(
        names,
        [
            "cluster",
            "http-server",
            "management-repository",
            "ratelimit-repository"
        ]
    );
}

#[tokio::test]
async fn deployed_and_refused_apis_are_listed() {
    let bench = Bench::new(state(Arc::default(), |_| {})).await;
    assert_eq!(
        bench.get("/_node/apis").await.json(),
        serde_json::json!([{"id": "a-1", "name": "Orders", "version": "1.0"}])
    );
    let api = bench.get("/_node/apis/a-1").await.json();
    assert_eq!(
        (
            &api["state"],
            &api["revision"],
            &api["listeners"][0]["path"]
        ),
        (&"STARTED".into(), &"7".into(), &"/orders".into())
    );
    assert_eq!(api["plans"][0]["security"], "key-less");
    let unknown = bench.get("/_node/apis/unknown").await;
    assert_eq!((unknown.status, unknown.body.len()), (404, 0));
    let refused = bench.get("/_node/apis?state=refused").await.json();
    assert_eq!(
        refused,
        serde_json::json!([{"id": "bad", "name": "Bad", "reason": "no plan is left", "servedAsBefore": false}])
    );
}

#[tokio::test]
async fn sync_answers_503_until_the_first_cycle_is_done() {
    let sync = Arc::new(TestSync::default());
    let bench = Bench::new(state(sync.clone(), |_| {})).await;
    assert_eq!(bench.get("/_node/sync").await.status, 503);
    *sync.0.lock().expect("no panic") = SyncReport {
        initial_done: true,
        counter: 12,
        last_on_error: true,
        last_error_message: Some("status 500".to_owned()),
        total_on_errors: 2,
        ..SyncReport::default()
    };
    let answer = bench.get("/_node/sync").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        serde_json::json!({"initialDone": true, "counter": 12, "nextSyncTime": -1, "lastSuccessTime": null,
            "lastOnError": true, "lastErrorMessage": "status 500", "totalOnErrors": 2})
    );
}

#[tokio::test]
async fn every_resource_answers_with_its_status() {
    let dump = |config: &mut Config| {
        for name in ["heapdump", "threaddump"] {
            config.effective.push((
                format!("services.core.endpoints.{name}.enabled"),
                "true".to_owned(),
            ));
        }
    };
    let plain = Bench::new(state(Arc::default(), |config| {
        config.metrics.enabled = false
    }))
    .await;
    let all = Bench::new(state(Arc::default(), dump)).await;
    let cases = [
        (&plain, "GET", "/_node/configuration", 200),
        (&plain, "GET", "/_node/monitor", 200),
        (&plain, "GET", "/_node/workers", 200),
        (&plain, "GET", "/_node/license", 200),
        (&plain, "GET", "/_node/cluster", 200),
        (&plain, "GET", "/_node/logging", 200),
        (&plain, "POST", "/_node/logging", 501),
        (&plain, "DELETE", "/_node/apis", 405),
        (&plain, "GET", "/_node/metrics/prometheus", 404),
        (&plain, "GET", "/_node/heapdump", 404),
        (&plain, "GET", "/_node/threaddump", 404),
        (&plain, "GET", "/_nodes", 404),
        (&plain, "GET", "/", 404),
        (&all, "GET", "/_node/metrics/prometheus", 200),
        (&all, "GET", "/_node/heapdump?live=true", 501),
        (&all, "GET", "/_node/threaddump", 200),
    ];
    for (bench, method, path, status) in cases {
        assert_eq!(
            bench
                .send(method, path, Some("admin:adminadmin"))
                .await
                .status,
            status,
            "{method} {path}"
        );
    }
    let configuration = all.get("/_node/configuration").await.json();
    assert_eq!(
        (&configuration["http.port"], &configuration["cloud.token"]),
        (&"8082".into(), &"***".into())
    );
    assert_eq!(
        all.get("/_node/license").await.json(),
        serde_json::json!({"tier": "oss", "state": "absent"})
    );
    assert_eq!(all.get("/_node/monitor").await.json()["gpu"], Value::Null);
    let metrics = all.get("/_node/metrics/prometheus").await;
    assert_eq!(
        metrics.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
}

#[tokio::test]
async fn scrapes_beyond_the_limit_are_told_to_come_back() {
    let state = state(Arc::default(), |config| config.metrics.concurrency_max = 3);
    let shared = Shared {
        scrapes: Semaphore::new(state.config.metrics.concurrency_max),
        state,
    };
    let running = shared.scrapes.acquire_many(2).await.expect("open");
    assert_eq!(shared.metrics().await.status(), 200, "the third");
    let third = shared.scrapes.acquire().await.expect("open");
    assert_eq!(shared.metrics().await.status(), 429, "the fourth");
    drop((running, third));
    assert_eq!(shared.metrics().await.status(), 200);
}

#[tokio::test]
async fn a_taken_port_is_an_error_with_a_hint() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let error = NodeApi::bind(state(Arc::default(), |config| config.node_api.port = port))
        .await
        .expect_err("taken");
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}"))
            && error.to_string().contains("hint:"),
        "{error}"
    );
}

#[tokio::test]
async fn localhost_is_bound_on_ipv4() {
    let localhost = |config: &mut Config| config.node_api.host = "localhost".to_owned();
    let api = NodeApi::bind(state(Arc::default(), localhost))
        .await
        .expect("a port");
    assert!(api.local_addr().is_ipv4());
    let nowhere = |config: &mut Config| config.node_api.host = "nowhere.invalid".to_owned();
    assert!(NodeApi::bind(state(Arc::default(), nowhere)).await.is_err());
}

#[tokio::test]
async fn the_published_answers_have_our_members_when_the_samples_are_there() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/contracts/samples/reporting/node-api.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no samples at {}", path.display());
        return;
    };
    let samples: Value = serde_json::from_str(&text).expect("JSON");
    let bench = Bench::new(state(Arc::default(), |config| {
        config.node_api.authentication =
            NodeApiAuthentication::Basic(vec![("admin".to_owned(), Secret::new("adminadmin"))]);
    }))
    .await;
    for path in ["/_node", "/_node/monitor", "/_node/apis"] {
        let expected = &samples[format!("GET {path}")]["body"];
        assert!(!expected.is_null(), "no sample of {path}");
        missing(expected, &bench.get(path).await.json(), path);
    }
}

/// Panics when a member of `expected` is not in `found`.
fn missing(expected: &Value, found: &Value, at: &str) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (name, value) in expected {
                let at = format!("{at}.{name}");
                missing(
                    value,
                    found.get(name).unwrap_or_else(|| panic!("{at} is missing")),
                    &at,
                );
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            for (expected, found) in expected.iter().zip(found) {
                missing(expected, found, at);
            }
        }
        _ => assert_eq!(
            std::mem::discriminant(expected),
            std::mem::discriminant(found),
            "kind of {at}"
        ),
    }
}
