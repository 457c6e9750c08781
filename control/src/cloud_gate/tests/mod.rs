//! The Cloud Gate over real connections.

mod synchronizer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, USER_AGENT};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use turnpike_config::HttpClientConfig;

use super::{CloudGate, CloudGateOptions, GateError, Transport};
use crate::bridge::HttpClient;
use crate::token::{IssueRequest, SigningKey, issue};

const ENVIRONMENT: &str = "9b5e326f-f68a-45f9-9e32-6ff68ae5f92c";
const ORGANIZATION: &str = "2806dece-d045-463d-86de-ced045963d84";

/// A Cloud Gate that runs, and a client that trusts it.
struct Running {
    root: tempfile::TempDir,
    url: String,
    token: String,
    client: HttpClient,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

fn options(root: &Path, transport: Transport) -> CloudGateOptions {
    CloudGateOptions {
        definitions: root.join("apis"),
        data: root.join("data"),
        listen: "127.0.0.1:0".to_owned(),
        transport,
        organization: ORGANIZATION.to_owned(),
        environment: ENVIRONMENT.to_owned(),
    }
}

fn token(key: &SigningKey, environments: &[&str]) -> String {
    let environments = environments.iter().map(|id| (*id).to_owned()).collect();
    issue(
        &IssueRequest::new(
            ORGANIZATION,
            environments,
            jiff::Timestamp::now().as_second(),
            600,
        ),
        key,
    )
    .expect("a token")
}

impl Running {
    async fn start(transport: Transport, http2: bool) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join("apis")).expect("a folder");
        let gate = CloudGate::bind(options(root.path(), transport))
            .await
            .expect("bound");
        let settings = HttpClientConfig {
            http2,
            truststore_path: gate.certificate_path().map(Path::to_owned),
            ..HttpClientConfig::default()
        };
        let client = HttpClient::new(&settings).expect("a client");
        let (url, token) = (gate.url(), token(gate.signing_key(), &[ENVIRONMENT]));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(gate.run(async {
            let _ = stopped.await;
        }));
        Self {
            root,
            url,
            token,
            client,
            stop: Some(stop),
            task,
        }
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.root.path().join("apis").join(file), text).expect("written");
    }

    fn reports(&self) -> PathBuf {
        self.root.path().join("data/reports")
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client
            .send(request.body(body.into()).expect("a request"))
            .await
            .expect("an answer")
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let authorization = format!("Bearer {}", self.token);
        let headers = [
            (AUTHORIZATION.as_str(), authorization.as_str()),
            (USER_AGENT.as_str(), "gio-client-bridge/4.12.17"),
        ];
        let answer = self.send(method, path, &headers, body).await;
        let text = answer.body();
        let value = serde_json::from_slice(text)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(text)));
        (answer.status(), value)
    }

    async fn until_apis(&self, expected: usize) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let (status, events) = self
                .call(
                    "POST",
                    "/sync/_bridge/eventsLatest/_search?group=API_ID",
                    &json!({}),
                )
                .await;
            assert_eq!(status, StatusCode::OK);
            let events = events.as_array().expect("a list").clone();
            if events.len() == expected {
                return events;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{events:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(mut self) -> tempfile::TempDir {
        let _ = self.stop.take().expect("not stopped yet").send(());
        drop(self.client);
        tokio::time::timeout(Duration::from_secs(10), self.task)
            .await
            .expect("stops in time")
            .expect("no panic");
        self.root
    }
}

fn api(id: &str, path: &str) -> String {
    json!({"id": id, "name": id, "proxy": {"virtual_hosts": [{"path": path}]},
        "plans": [{"id": format!("{id}-plan"), "name": "Gold", "security": "API_KEY", "status": "PUBLISHED"}]})
    .to_string()
}

#[tokio::test]
async fn a_gateway_finds_version_apis_subscriptions_and_keys_over_https_and_both_base_paths() {
    let gate = Running::start(Transport::Generated, false).await;
    for number in 0..5 {
        gate.write(
            &format!("api-{number}.json"),
            &api(&format!("api-{number}"), &format!("/{number}")),
        );
    }
    gate.write(
        "subscriptions.yaml",
        "- {application: x, api: api-0, plan: Gold, keys: [{key: secret}]}\n",
    );
    let events = gate.until_apis(5).await;
    let (status, version) = gate.call("GET", "/sync/_bridge", &Value::Null).await;
    assert_eq!(
        (status, &version["version"]["MAJOR_VERSION"]),
        (StatusCode::OK, &json!("4.12.17"))
    );
    assert_eq!(gate.call("GET", "/sync", &Value::Null).await.1, version);

    let payload: Value =
        serde_json::from_str(events[0]["payload"].as_str().expect("a payload")).expect("JSON");
    assert_eq!(payload["environmentId"], ENVIRONMENT);
    assert_eq!(payload["lifecycleState"], "STARTED");
    let definition: Value =
        serde_json::from_str(payload["definition"].as_str().expect("a text")).expect("JSON");
    assert_eq!(definition["id"], payload["id"]);
    assert_eq!(events[0]["properties"]["deployment_number"], "1");
    assert!(
        events[0].get("parentId").is_none(),
        "null members are left out"
    );

    let mut paged = Vec::new();
    for page in 0..4 {
        let path = format!("/sync/eventsLatest/_search?group=API_ID&page={page}&size=2");
        let criteria = json!({"types": ["PUBLISH_API", "START_API"], "from": -30001, "environments": [ENVIRONMENT]});
        let (_, found) = gate.call("POST", &path, &criteria).await;
        paged.push(found.as_array().expect("a list").clone());
    }
    assert_eq!(paged.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1, 0]);
    assert_eq!(paged.concat(), events);
    for group in ["DICTIONARY_ID", "ORGANIZATION_ID"] {
        let path = format!("/sync/_bridge/eventsLatest/_search?group={group}&page=0&size=100");
        assert_eq!(
            gate.call("POST", &path, &json!({})).await,
            (StatusCode::OK, json!([]))
        );
    }

    let criteria = json!({"plans": ["api-0-plan"], "statuses": ["ACCEPTED"], "includeWithoutEnd": true, "endingAtAfter": 1});
    let (_, found) = gate
        .call(
            "POST",
            "/sync/_bridge/subscriptions/_search?order=ASC&field=updatedAt",
            &criteria,
        )
        .await;
    assert_eq!(found[0]["referenceId"], "api-0");
    let criteria = json!({"subscriptions": [found[0]["id"]], "expireAfter": 1, "includeWithoutExpiration": true});
    let (_, keys) = gate
        .call(
            "POST",
            "/sync/_bridge/keys/_findByCriteria?order=ASC&field=updatedAt",
            &criteria,
        )
        .await;
    assert_eq!(
        (&keys[0]["key"], keys.as_array().map(Vec::len)),
        (&json!("secret"), Some(1))
    );

    std::fs::remove_file(gate.root.path().join("apis/subscriptions.yaml")).expect("removed");
    std::fs::remove_file(gate.root.path().join("apis/api-4.json")).expect("removed");
    let started = Instant::now();
    loop {
        let (_, events) = gate
            .call(
                "POST",
                "/sync/events/_search",
                &json!({"types": ["UNPUBLISH_API"]}),
            )
            .await;
        let (_, closed) = gate
            .call(
                "POST",
                "/sync/subscriptions/_search",
                &json!({"statuses": ["CLOSED"]}),
            )
            .await;
        let (_, keys) = gate
            .call(
                "POST",
                "/sync/keys/_findByCriteria",
                &json!({"includeRevoked": true}),
            )
            .await;
        if events[0]["properties"]["api_id"] == "api-4"
            && closed[0]["status"] == "CLOSED"
            && keys[0]["revoked"] == true
        {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{events} {closed} {keys}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gate.stop().await;
}

#[tokio::test]
async fn http2_and_plain_http_are_served() {
    for (transport, http2) in [(Transport::Generated, true), (Transport::Plain, false)] {
        let gate = Running::start(transport, http2).await;
        assert_eq!(
            gate.call("GET", "/sync/_bridge", &Value::Null).await.0,
            StatusCode::OK
        );
        gate.stop().await;
    }
}

#[tokio::test]
async fn strangers_and_foreign_environments_are_refused() {
    let gate = Running::start(Transport::Plain, false).await;
    for path in [
        "/sync",
        "/sync/_bridge",
        "/sync/eventsLatest/_search",
        "/reports",
    ] {
        let answer = gate.send("POST", path, &[], "{}").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let foreign = json!({"environments": ["another"]});
    for path in [
        "eventsLatest/_search?group=API_ID",
        "events/_search",
        "subscriptions/_search",
        "keys/_findByCriteria",
    ] {
        let answer = gate
            .call("POST", &format!("/sync/_bridge/{path}"), &foreign)
            .await;
        assert_eq!(
            answer,
            (StatusCode::FORBIDDEN, json!("Unauthorized environments")),
            "{path}"
        );
    }
    let event = json!({"id": "e", "type": "GATEWAY_STARTED", "environments": ["another"]});
    assert_eq!(
        gate.call("POST", "/sync/_bridge/events/_createOrPatch", &event)
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        gate.call("GET", "/sync/_bridge/environments/another", &Value::Null)
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    let agent = [("user-agent", "gio-client-bridge/1.30.0")];
    let answer = gate.send("GET", "/sync/_bridge", &agent, "").await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.body(),
        "Version of the bridge client is incompatible with bridge server"
    );
    gate.stop().await;
}

#[tokio::test]
async fn a_token_for_another_environment_sees_no_api_and_no_key() {
    let gate = Running::start(Transport::Plain, false).await;
    gate.write("a.json", &api("a", "/a"));
    gate.write(
        "subscriptions.yaml",
        "- {application: x, api: a, plan: Gold, keys: [{key: secret}]}\n",
    );
    gate.until_apis(1).await;
    let key = SigningKey::load_or_create(&gate.root.path().join("data")).expect("the key");
    let gate = Running {
        token: token(&key, &["another"]),
        ..gate
    };
    for path in [
        "eventsLatest/_search?group=API_ID",
        "events/_search",
        "subscriptions/_search",
        "keys/_findByCriteria",
    ] {
        assert_eq!(
            gate.call("POST", &format!("/sync/{path}"), &json!({}))
                .await,
            (StatusCode::OK, json!([])),
            "{path}"
        );
    }
    assert_eq!(
        gate.call("GET", "/sync/environments", &Value::Null).await.1,
        json!([])
    );
    assert_eq!(
        gate.call("GET", "/sync/events/a", &Value::Null).await.0,
        StatusCode::FORBIDDEN
    );
    gate.stop().await;
}

#[tokio::test]
async fn heartbeats_and_monitoring_are_kept_and_shown() {
    let gate = Running::start(Transport::Plain, false).await;
    gate.write("a.json", &api("a", "/a"));
    gate.until_apis(1).await;
    let start = json!({"id": "e1", "type": "GATEWAY_STARTED", "environments": [ENVIRONMENT], "createdAt": 1, "updatedAt": 1,
        "payload": "{\"version\":\"4.12.17\",\"hostname\":\"gw\"}", "properties": {"id": "n1", "last_heartbeat_at": "1"}});
    assert_eq!(
        gate.call("POST", "/sync/_bridge/events/_createOrPatch", &start)
            .await,
        (StatusCode::OK, start)
    );
    let beat = json!({"id": "e1", "type": "GATEWAY_STARTED", "updatedAt": 5, "properties": {"last_heartbeat_at": "5"}});
    let (_, event) = gate
        .call("POST", "/sync/_bridge/events/_createOrPatch", &beat)
        .await;
    assert_eq!(
        (&event["properties"]["id"], &event["createdAt"]),
        (&json!("n1"), &json!(1))
    );
    assert_eq!(
        gate.call("GET", "/sync/_bridge/events/e1", &Value::Null)
            .await
            .1,
        event
    );
    assert_eq!(
        gate.call("GET", "/sync/_bridge/events/none", &Value::Null)
            .await,
        (StatusCode::NOT_FOUND, json!(""))
    );
    assert_eq!(
        gate.call("POST", "/sync/events/_createOrPatch", &json!({"id": "x"}))
            .await
            .0,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let stolen = json!({"id": "a", "type": "UNPUBLISH_API"});
    assert_eq!(
        gate.call("POST", "/sync/events/_createOrPatch", &stolen)
            .await
            .0,
        StatusCode::INTERNAL_SERVER_ERROR
    );

    let node = "/sync/_bridge/node/monitoring";
    let find = format!("{node}?nodeId=n1&type=MONITOR");
    assert_eq!(
        gate.call("GET", &find, &Value::Null).await.0,
        StatusCode::NOT_FOUND
    );
    let document =
        json!({"id": "m", "nodeId": "n1", "type": "MONITOR", "payload": "{}", "updatedAt": 1});
    assert_eq!(
        gate.call("POST", node, &document).await,
        (StatusCode::OK, document.clone())
    );
    let newer =
        json!({"id": "m", "nodeId": "n1", "type": "MONITOR", "payload": "{}", "updatedAt": 2});
    gate.call("PUT", node, &newer).await;
    assert_eq!(
        gate.call("GET", &find, &Value::Null).await,
        (StatusCode::OK, newer)
    );

    let (_, page) = gate
        .call("POST", "/sync/events/_search?page=0&size=1", &json!({}))
        .await;
    assert_eq!(
        (&page["totalElements"], &page["pageElements"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(page["content"][0]["id"], "a", "the newest comes first");
    let status: Value =
        serde_json::from_slice(gate.send("GET", "/_gate/status", &[], "").await.body())
            .expect("JSON");
    assert_eq!(status["gateways"][0]["lastHeartbeatAt"], 5);
    assert_eq!(status["gateways"][0]["hostname"], "gw");
    assert_eq!(status["apis"][0]["deploymentNumber"], 1);
    gate.stop().await;
}

#[tokio::test]
async fn environments_organizations_and_the_rest_are_answered() {
    let gate = Running::start(Transport::Plain, false).await;
    let get = async |path: &str| {
        gate.call("GET", &format!("/sync/_bridge/{path}"), &Value::Null)
            .await
    };
    let environment = json!({"id": ENVIRONMENT, "hrids": [ENVIRONMENT], "name": ENVIRONMENT, "organizationId": ORGANIZATION});
    assert_eq!(get("environments").await.1, json!([environment]));
    assert_eq!(
        get(&format!("environments/{ENVIRONMENT}")).await.1,
        environment
    );
    assert_eq!(
        get(&format!(
            "environments/_byOrganizationId?organizationId={ORGANIZATION}"
        ))
        .await
        .1,
        json!([environment])
    );
    for (query, expected) in [
        ("organizationsIds=&hrids=".to_owned(), 1),
        (
            format!("organizationsIds={ORGANIZATION}&hrids={ENVIRONMENT}"),
            1,
        ),
        (format!("organizationsIds={ORGANIZATION}&hrids=qa"), 0),
        ("organizationsIds=other&hrids=".to_owned(), 0),
    ] {
        let (_, found) = get(&format!("environments/_byOrganizationsAndHrids?{query}")).await;
        assert_eq!(found.as_array().map(Vec::len), Some(expected), "{query}");
    }
    assert_eq!(
        get(&format!(
            "environments/_organizationIds?environmentsIds={ENVIRONMENT}"
        ))
        .await
        .1,
        json!([ORGANIZATION])
    );
    assert_eq!(
        get(&format!("organizations/{ORGANIZATION}")).await.1["id"],
        ORGANIZATION
    );
    assert_eq!(
        get("organizations/other").await,
        (StatusCode::NOT_FOUND, json!(""))
    );
    assert_eq!(
        get(&format!("organizations/_byHrids?hrids={ORGANIZATION}"))
            .await
            .1[0]["id"],
        ORGANIZATION
    );
    assert!(get("installation").await.1["id"].is_string());
    assert_eq!(get("dictionaries").await.1, json!([]));
    assert_eq!(get("nowhere").await, (StatusCode::NOT_FOUND, json!("")));
    let (_, licenses) = gate
        .call(
            "POST",
            "/sync/_bridge/licenses/_search?page=0&size=100",
            &json!({}),
        )
        .await;
    assert_eq!(
        licenses,
        json!({"content": [], "pageNumber": 0, "pageElements": 0, "totalElements": 0})
    );
    assert_eq!(
        gate.call(
            "POST",
            "/sync/_bridge/accessPoints/_search?page=0&size=100",
            &json!({})
        )
        .await
        .1,
        json!([])
    );
    assert_eq!(
        gate.call("POST", "/sync/events/_search", &json!(["not criteria"]))
            .await
            .0,
        StatusCode::BAD_REQUEST
    );
    gate.stop().await;
}

#[tokio::test]
async fn reports_are_on_file_when_they_are_acknowledged_and_written_once() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;
    let gate = Running::start(Transport::Generated, true).await;
    let authorization = format!("Bearer {}", gate.token);
    let gzip = |text: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("written");
        encoder.finish().expect("compressed")
    };
    let auth = (AUTHORIZATION.as_str(), authorization.as_str());
    let encoding = (CONTENT_ENCODING.as_str(), "gzip");
    let batch = ("x-gravitee-batch-id", "b1");
    for _ in 0..2 {
        let answer = gate
            .send(
                "POST",
                "/reports",
                &[auth, encoding, batch],
                gzip(b"{\"a\":1}\n{\"a\":2}\n"),
            )
            .await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(
        gate.send("POST", "/reports", &[auth], "{\"a\":3}")
            .await
            .status(),
        StatusCode::OK
    );
    let on_file: String = std::fs::read_dir(gate.reports())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "ndjson")
        })
        .map(|path| std::fs::read_to_string(path).expect("a file"))
        .collect();
    assert_eq!(on_file, "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");

    for (headers, body, expected) in [
        (vec![auth], b"garbage".to_vec(), StatusCode::BAD_REQUEST),
        (
            vec![auth, encoding],
            b"garbage".to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            vec![auth, ("content-encoding", "br")],
            b"{}".to_vec(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            vec![auth, encoding],
            gzip(&vec![b' '; (16 << 20) + 1]),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        assert_eq!(
            gate.send("POST", "/reports", &headers, body).await.status(),
            expected
        );
    }
    let status: Value =
        serde_json::from_slice(gate.send("GET", "/_gate/status", &[], "").await.body())
            .expect("JSON");
    assert_eq!(
        (
            &status["reports"]["received"],
            &status["reports"]["duplicates"]
        ),
        (&json!(3), &json!(2))
    );
    gate.stop().await;
}

#[tokio::test]
async fn a_taken_port_a_locked_folder_and_a_missing_folder_are_named() {
    let gate = Running::start(Transport::Plain, false).await;
    let again = CloudGate::bind(options(gate.root.path(), Transport::Plain)).await;
    assert!(matches!(again, Err(GateError::Locked { .. })), "{again:?}");
    let address = gate.url.trim_start_matches("http://").to_owned();
    let other = CloudGateOptions {
        data: gate.root.path().join("other"),
        listen: address.clone(),
        ..options(gate.root.path(), Transport::Plain)
    };
    let error = CloudGate::bind(other).await.expect_err("taken").to_string();
    assert!(
        error.starts_with(&format!("cannot listen on {address}: ")),
        "{error}"
    );
    let root = gate.stop().await;
    let nowhere = CloudGateOptions {
        definitions: root.path().join("nowhere"),
        ..options(root.path(), Transport::Plain)
    };
    let error = CloudGate::bind(nowhere)
        .await
        .expect_err("missing")
        .to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_restart_keeps_certificate_key_and_deployments() {
    let gate = Running::start(Transport::Generated, false).await;
    gate.write("a.json", &api("a", "/a"));
    let before = gate.until_apis(1).await;
    let certificate =
        std::fs::read(gate.root.path().join("data/certificate.pem")).expect("a certificate");
    let token = gate.token.clone();
    let root = gate.stop().await;
    let again = CloudGate::bind(options(root.path(), Transport::Generated))
        .await
        .expect("bound");
    assert_eq!(
        std::fs::read(again.certificate_path().expect("a path")).expect("a certificate"),
        certificate
    );
    let mut headers = http::HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        format!("Bearer {token}").parse().expect("a header"),
    );
    assert!(again.gatekeeper.admit(&headers).is_ok());
    assert_eq!(
        serde_json::to_value(&again.gate.ledger().apis["a"].event).expect("JSON"),
        before[0]
    );
}

#[tokio::test]
async fn the_requests_of_the_samples_are_understood() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/contracts/samples/sync");
    if !samples.is_dir() {
        eprintln!("skipped: no samples at {}", samples.display());
        return;
    }
    let read = |file: &str| -> Value {
        serde_json::from_slice(&std::fs::read(samples.join(file)).expect("a sample")).expect("JSON")
    };
    let gate = Running::start(Transport::Plain, false).await;
    for file in [
        "01-root-version.json",
        "04-events-latest-api-initial.json",
        "05-events-latest-api-incremental.json",
        "06-event-dictionary.json",
        "07-event-organization.json",
        "08-event-shared-policy-group.json",
        "10-subscriptions-initial.json",
        "11-subscriptions-incremental.json",
        "12-api-keys.json",
        "16-installation.json",
        "17-access-points.json",
    ] {
        let request = &read(file)["request"];
        let (Some(method), Some(path)) = (request["method"].as_str(), request["path"].as_str())
        else {
            continue;
        };
        let (status, answer) = gate
            .call(method, &format!("/sync{path}"), &request["body"])
            .await;
        assert_eq!(status, StatusCode::OK, "{file}: {answer}");
    }
    let heartbeats = read("19-heartbeat-events.json");
    for beat in ["start", "every5s", "stop"] {
        let (status, answer) = gate
            .call(
                "POST",
                "/sync/_bridge/events/_createOrPatch",
                &heartbeats[beat],
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{beat}: {answer}");
    }
    let monitoring = read("20-node-monitoring.json");
    for (method, what) in [
        ("POST", "create"),
        ("PUT", "updateHealth"),
        ("PUT", "updateMonitor"),
    ] {
        let (status, _) = gate
            .call(
                method,
                "/sync/_bridge/node/monitoring",
                &monitoring[what]["body"],
            )
            .await;
        assert_eq!(status, StatusCode::OK, "{what}");
    }
    gate.stop().await;
}
