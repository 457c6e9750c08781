//! `turnpike run` as a process.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, Response, request};
use super::control_plane::{ControlPlane, token};
use super::ports;
use super::process::{Process, turnpike};
use super::wait::{self, PATIENCE};

/// How a gateway is started.
#[derive(Debug)]
pub(crate) struct Start {
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    file: Option<String>,
}

impl Start {
    /// Settings that suit tests: loopback, free ports, quick cycles, metrics on.
    pub(crate) fn new() -> Self {
        let mut start = Self {
            settings: Vec::new(),
            environment: Vec::new(),
            file: None,
        };
        for (key, value) in [
            ("http.host", "127.0.0.1"),
            ("services.core.http.host", "127.0.0.1"),
            ("services.sync.delay", "200"),
            ("services.sync.retryDelay", "100"),
            ("services.metrics.enabled", "true"),
            ("management.http.connectionRetry.delaySec", "1"),
            ("management.http.connectionRetry.maxDelaySec", "1"),
            ("reporters.cloud.flushInterval", "1"),
            ("ratelimit.type", "none"),
        ] {
            start = start.set(key, value);
        }
        // The whole suite on one driver: `TURNPIKE_TEST_DRIVER=epoll cargo test --test blackbox`.
        if let Ok(driver) = std::env::var("TURNPIKE_TEST_DRIVER") {
            start = start.set("gateway.runtime.driver", &driver);
        }
        start
            .set("http.port", &ports::free().to_string())
            .set("services.core.http.port", &ports::free().to_string())
    }

    /// Sets a setting, by its key in `gravitee.yml`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.retain(|(found, _)| found != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets a setting, unless it is set.
    pub(crate) fn or(self, key: &str, value: &str) -> Self {
        if self.settings.iter().any(|(found, _)| found == key) {
            return self;
        }
        self.set(key, value)
    }

    /// Takes a setting back.
    pub(crate) fn unset(mut self, key: &str) -> Self {
        self.settings.retain(|(found, _)| found != key);
        self
    }

    /// Sets a variable of the process's environment that is no setting.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the server an id that APIs may ask for.
    pub(crate) fn on_server(self, id: &str) -> Self {
        let port = self.number("http.port").to_string();
        self.set("servers[0].id", id)
            .set("servers[0].host", "127.0.0.1")
            .set("servers[0].port", &port)
    }

    /// Adds a second server.
    pub(crate) fn and_server(self, id: &str, port: u16) -> Self {
        self.set("servers[1].id", id)
            .set("servers[1].host", "127.0.0.1")
            .set("servers[1].port", &port.to_string())
    }

    /// Text of `gravitee.yml`.
    pub(crate) fn file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self
    }

    /// Connects it to the control plane of the test process.
    pub(crate) fn control_plane(self, plane: &ControlPlane) -> Self {
        self.set("cloud.token", &token(3_600))
            .set("cloud.gate.url", &plane.url())
    }

    fn number(&self, key: &str) -> u16 {
        let (_, value) = self
            .settings
            .iter()
            .find(|(found, _)| found == key)
            .expect("the port is set");
        value.parse().expect("a port")
    }

    /// Starts it and does not wait for anything.
    pub(crate) fn spawn(self) -> Gateway {
        let home = tempfile::tempdir().expect("a folder");
        let mut command = turnpike();
        command.arg("run").env("GRAVITEE_HOME", home.path());
        if let Some(text) = &self.file {
            let folder = home.path().join("config");
            std::fs::create_dir(&folder).expect("a folder");
            std::fs::write(folder.join("gravitee.yml"), text).expect("a file");
        }
        for (key, value) in &self.settings {
            command.env(variable(key), value);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Gateway {
            port: self.number("http.port"),
            node_port: self.number("services.core.http.port"),
            process: Process::spawn("gateway", command),
            _home: home,
        }
    }

    /// Starts it and waits until its listeners are open.
    pub(crate) fn listening(self) -> Gateway {
        let mut gateway = self.spawn();
        gateway.until("listening", |gateway| {
            let open = Client::connect(gateway.port).is_ok() && gateway.try_node("/").is_some();
            open.then_some(())
        });
        gateway
    }

    /// Starts it and waits until its first synchronisation is complete.
    pub(crate) fn ready(self) -> Gateway {
        let mut gateway = self.listening();
        gateway.until_ready();
        gateway
    }
}

/// A variable for a settings key.
pub(crate) fn variable(key: &str) -> String {
    let name = key.replace(['.', '['], "_").replace(['-', ']'], "");
    format!("gravitee_{name}")
}

/// A gateway that runs.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) port: u16,
    pub(crate) node_port: u16,
    pub(crate) process: Process,
    _home: TempDir,
}

impl Gateway {
    /// Waits for a condition; fails at once when the gateway ends.
    pub(crate) fn until<T>(&mut self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        wait::until(what, PATIENCE, || {
            if let Some(status) = self.process.exited() {
                panic!("the gateway ended with {status} before it was {what}");
            }
            probe(self)
        })
    }

    /// Waits for the first complete synchronisation.
    pub(crate) fn until_ready(&mut self) {
        self.until("ready", |gateway| {
            (gateway.try_node("/sync")?.status == 200).then_some(())
        });
    }

    /// Waits for the connection to the Redis of the counters.
    pub(crate) fn until_counting(&mut self) {
        self.until("connected to Redis", |gateway| {
            (gateway.metric("gateway_ratelimit_redis_connected", &[]) >= 1.0).then_some(())
        });
    }

    /// Waits until GET `path` has this status, on connections of its own.
    pub(crate) fn until_status(&mut self, path: &str, status: u16) {
        self.until(&format!("answering {path} with {status}"), |gateway| {
            (super::client::fetch(gateway.port, path).status == status).then_some(())
        });
    }

    /// Asks the node API; `None` when it does not answer.
    pub(crate) fn try_node(&self, path: &str) -> Option<Response> {
        let credentials = format!("Basic {}", BASE64_STANDARD.encode("admin:adminadmin"));
        self.ask_node(path, &[("Authorization", &credentials)])
    }

    /// Asks the node API with fields of one's own.
    pub(crate) fn ask_node(&self, path: &str, fields: &[(&str, &str)]) -> Option<Response> {
        let mut client = Client::connect(self.node_port).ok()?;
        let bytes = request("GET", &format!("/_node{path}"), fields, b"");
        client.try_send(&bytes).ok()?;
        client.try_response().ok()
    }

    /// Asks the node API for JSON.
    pub(crate) fn node(&self, path: &str) -> Value {
        self.try_node(path)
            .unwrap_or_else(|| panic!("the node API does not answer {path}"))
            .json()
    }

    /// Why an API is not served, if the gateway says so.
    pub(crate) fn refusal(&self, api: &str) -> Option<String> {
        let refused = self.node("/apis?state=refused");
        let found = refused.as_array()?.iter().find(|it| it["id"] == api)?;
        found["reason"].as_str().map(str::to_owned)
    }

    /// Sum of a metric over the lines that contain all of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self
            .try_node("/metrics/prometheus")
            .expect("the node API answers")
            .text();
        page.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Asks it to stop and waits; the exit code.
    pub(crate) fn stop(&mut self, signal: &str, limit: Duration) -> Option<i32> {
        self.process.signal(signal);
        self.process.wait(limit).code()
    }
}
