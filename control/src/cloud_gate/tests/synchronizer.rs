//! Our own synchronizer, from the Cloud Token to deployed APIs and their keys, against our own Cloud Gate.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use turnpike_config::{
    CloudConfig, CloudVerification, Config, HttpClientConfig, Secret, SyncConfig,
};
use turnpike_core::lifecycle::Lifecycle;
use turnpike_core::snapshot::SnapshotCell;

use super::{Running, api};
use crate::bridge::BridgeClient;
use crate::cloud_gate::Transport;
use crate::definition::CompileContext;
use crate::resolve::Resolver;
use crate::snapshot::SnapshotBuilder;
use crate::sync::{SnapshotDeployer, SyncStatus, Synchronizer, system_clock};
use crate::token::derive;

/// What is served: API id, revision and usable keys.
fn served(cell: &SnapshotCell) -> Vec<(String, String, Vec<String>)> {
    let snapshot = cell.load_full();
    let mut served: Vec<_> = snapshot
        .apis
        .iter()
        .map(|deployed| {
            let mut keys: Vec<String> = deployed
                .subscriptions
                .keys
                .keys()
                .map(ToString::to_string)
                .collect();
            keys.sort();
            (
                deployed.api.id.to_string(),
                deployed.api.revision.to_string(),
                keys,
            )
        })
        .collect();
    served.sort();
    served
}

/// Waits until revisions and keys are these.
async fn until(cell: &SnapshotCell, expected: &[(&str, &str, &[&str])]) {
    let started = Instant::now();
    loop {
        let found = served(cell);
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

/// Waits until API `b` sees this dictionary entry, this many platform flows, and this first step.
async fn until_b(cell: &SnapshotCell, expected: (&str, usize, &str)) {
    let started = Instant::now();
    loop {
        let snapshot = cell.load_full();
        let found = snapshot
            .apis
            .iter()
            .find(|deployed| *deployed.api.id == *"b");
        let found = found.map(|deployed| {
            let platform = &deployed.platform;
            let entry = platform
                .dictionaries
                .get("backends")
                .and_then(|entries| entries.get("orders"));
            let flow = deployed.api.processing.flows.flows.first();
            let step = flow.and_then(|flow| flow.request.first());
            (
                entry.map_or("", |entry| entry).to_owned(),
                platform.flows.flows.len(),
                step.map_or("", |step| &step.name).to_owned(),
            )
        });
        if found
            .as_ref()
            .is_some_and(|(entry, flows, step)| (&**entry, *flows, &**step) == expected)
        {
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
    let cell = Arc::new(SnapshotCell::new());
    let context = Arc::new(CompileContext::new(&config));
    let resolver = Arc::new(Resolver::new(context.connectors.clone()));
    let deployer = SnapshotDeployer::new(
        context,
        SnapshotBuilder::new(false),
        Arc::clone(&cell),
        resolver,
    );
    let sync = SyncConfig {
        delay_ms: 20,
        ..SyncConfig::default()
    };
    let synchronizer = Synchronizer::new(
        settings,
        sync,
        client,
        deployer,
        SyncStatus::new(),
        Arc::new(Lifecycle::new()),
        system_clock(),
    );
    let (stopping, stopped) = watch::channel(false);
    let running = tokio::task::LocalSet::new();
    running.spawn_local(synchronizer.run(stopped));
    running
        .run_until(async {
            until(&cell, &[("a", "1", &["k1", "k2"]), ("b", "1", &[])]).await;
            gate.write("a.json", &api("a", "/changed"));
            std::fs::remove_file(gate.root.path().join("apis/b.json")).expect("removed");
            gate.write(
                "subscriptions.yaml",
                "- {application: x, api: a, plan: Gold, keys: [{key: k2}]}\n",
            );
            until(&cell, &[("a", "2", &["k2"])]).await;
            gate.write("b.json", &api("b", "/b"));
            gate.write("a.json", "{ half");
            gate.write(
                "subscriptions.yaml",
                "- {application: x, api: b, plan: Gold, keys: [{key: k3}]}\n",
            );
            until(&cell, &[("a", "2", &[]), ("b", "3", &["k3"])]).await;
            gate.write("dictionaries/backends.yaml", "properties: {orders: one}\n");
            gate.write(
                "organizations/ours.yaml",
                "flows: [{name: platform, pre: [{policy: latency}]}]\n",
            );
            let group = "{phase: REQUEST, policies: [{name: shared, policy: latency}]}\n";
            gate.write("shared-policy-groups/common.yaml", group);
            let mut grouped: serde_json::Value =
                serde_json::from_str(&api("b", "/b")).expect("JSON");
            grouped["flows"] = serde_json::json!([{"pre": [
                {"policy": "shared-policy-group-policy", "configuration": {"sharedPolicyGroupId": "common"}},
            ]}]);
            gate.write("b.json", &grouped.to_string());
            until_b(&cell, ("one", 1, "shared")).await;
            std::fs::remove_dir_all(gate.root.path().join("apis/organizations")).expect("removed");
            gate.write("dictionaries/backends.yaml", "properties: {orders: two}\n");
            gate.write("shared-policy-groups/common.yaml", &group.replace("shared,", "other,"));
            until_b(&cell, ("two", 0, "other")).await;
        })
        .await;
    let _ = stopping.send(true);
    running.await;
    gate.stop().await;
}
