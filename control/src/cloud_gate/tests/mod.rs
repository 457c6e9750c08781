//! The Cloud Gate over real connections.

mod admission;
mod life;
mod protocol;
mod reports;
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
        let path = self.root.path().join("apis").join(file);
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        std::fs::write(path, text).expect("written");
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
