//! Our own synchronizer, from the Cloud Token to deployed APIs and their keys, against our own Cloud Gate.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;
use turnpike_config::{
    CloudConfig, CloudVerification, Config, HttpClientConfig, Secret, SyncConfig,
};
use turnpike_core::definition::Subscriptions;
use turnpike_core::lifecycle::Lifecycle;

use super::{Running, api};
use crate::bridge::BridgeClient;
use crate::cloud_gate::Transport;
use crate::cloud_gate::gate::lock;
use crate::sync::{
    ApiRelease, Deployer, Deployment, Refused, SubscribablePlan, SyncStatus, Synchronizer,
    system_clock,
};
use crate::token::derive;

/// What is deployed: revision and usable keys by API id.
type Shelf = Arc<Mutex<BTreeMap<String, (Deployment, Vec<String>)>>>;

struct Recorder(Shelf);

impl Deployer for Recorder {
    type Compiled = (String, Deployment, Vec<SubscribablePlan>);

    fn compile(&self, release: &ApiRelease<'_>) -> Result<Self::Compiled, Refused> {
        let definition: Value =
            serde_json::from_str(release.definition).expect("the Cloud Gate sends JSON");
        let plans = definition["plans"]
            .as_array()
            .expect("plans")
            .iter()
            .map(|plan| SubscribablePlan {
                id: plan["id"].as_str().expect("an id").to_owned(),
                takes_keys: true,
            });
        let deployment = Deployment {
            deployed_at_ms: release.deployed_at_ms,
            revision: release.revision.to_owned(),
        };
        Ok((release.id.to_owned(), deployment, plans.collect()))
    }

    fn plans(&self, compiled: &Self::Compiled) -> Vec<SubscribablePlan> {
        compiled.2.clone()
    }

    fn deploy(
        &mut self,
        compiled: Self::Compiled,
        subscriptions: Arc<Subscriptions>,
    ) -> Result<(), Refused> {
        lock(&self.0).insert(compiled.0, (compiled.1, keys(&subscriptions)));
        Ok(())
    }

    fn subscribe(&mut self, api_id: &str, subscriptions: Arc<Subscriptions>) {
        if let Some(entry) = lock(&self.0).get_mut(api_id) {
            entry.1 = keys(&subscriptions);
        }
    }

    fn undeploy(&mut self, api_id: &str) -> bool {
        lock(&self.0).remove(api_id).is_some()
    }

    fn deployed(&self, api_id: &str) -> Option<Deployment> {
        lock(&self.0)
            .get(api_id)
            .map(|(deployment, _)| deployment.clone())
    }

    fn publish(&mut self) {}
}

fn keys(subscriptions: &Subscriptions) -> Vec<String> {
    let mut keys: Vec<String> = subscriptions.keys.keys().map(ToString::to_string).collect();
    keys.sort();
    keys
}

/// Waits until revisions and keys are these.
async fn until(shelf: &Shelf, expected: &[(&str, &str, &[&str])]) {
    let started = Instant::now();
    loop {
        let found: Vec<(String, String, Vec<String>)> = lock(shelf)
            .iter()
            .map(|(id, (deployment, keys))| (id.clone(), deployment.revision.clone(), keys.clone()))
            .collect();
        let same = found.len() == expected.len()
            && found
                .iter()
                .zip(expected)
                .all(|(found, (id, revision, keys))| {
                    found.0 == *id && found.1 == *revision && found.2 == *keys
                });
        if same {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "expected {expected:?}, found {found:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn our_synchronizer_follows_the_folder() {
    let gate = Running::start(Transport::Generated, true).await;
    gate.write("a.json", &api("a", "/a"));
    gate.write("b.json", &api("b", "/b"));
    gate.write(
        "subscriptions.yaml",
        "- {application: x, api: a, plan: Gold, keys: [{key: k1}, {key: k2}]}\n",
    );

    let config = Config {
        cloud: Some(CloudConfig {
            token: Secret::new(gate.token.as_str()),
            gate_url: Some(gate.url.clone()),
            verification: CloudVerification::default(),
        }),
        management: turnpike_config::ManagementConfig {
            client: HttpClientConfig {
                truststore_path: Some(gate.root.path().join(Path::new("data/certificate.pem"))),
                ..HttpClientConfig::default()
            },
            ..turnpike_config::ManagementConfig::default()
        },
        ..Config::default()
    };
    let settings = derive(&config).expect("settings");
    let client = Arc::new(BridgeClient::new(&settings).expect("a client"));
    let shelf = Shelf::default();
    let sync = SyncConfig {
        delay_ms: 20,
        ..SyncConfig::default()
    };
    let synchronizer = Synchronizer::new(
        settings,
        sync,
        client,
        Recorder(Arc::clone(&shelf)),
        SyncStatus::new(),
        Arc::new(Lifecycle::new()),
        system_clock(),
    );
    let (stopping, stopped) = watch::channel(false);
    let running = tokio::task::LocalSet::new();
    running.spawn_local(synchronizer.run(stopped));
    running
        .run_until(async {
            until(&shelf, &[("a", "1", &["k1", "k2"]), ("b", "1", &[])]).await;
            gate.write("a.json", &api("a", "/changed"));
            std::fs::remove_file(gate.root.path().join("apis/b.json")).expect("removed");
            gate.write(
                "subscriptions.yaml",
                "- {application: x, api: a, plan: Gold, keys: [{key: k2}]}\n",
            );
            until(&shelf, &[("a", "2", &["k2"])]).await;
            gate.write("b.json", &api("b", "/b"));
            gate.write("a.json", "{ half");
            gate.write(
                "subscriptions.yaml",
                "- {application: x, api: b, plan: Gold, keys: [{key: k3}]}\n",
            );
            until(&shelf, &[("a", "2", &[]), ("b", "3", &["k3"])]).await;
        })
        .await;
    let _ = stopping.send(true);
    running.await;
    gate.stop().await;
}
