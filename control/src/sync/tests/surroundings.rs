//! Organizations, dictionaries and shared policy groups: from events to what surrounds the APIs, and back from disk.

use std::sync::Arc;

use serde_json::{Value, json};
use turnpike_core::lifecycle::Stage;
use turnpike_core::snapshot::{DeployedApi, SnapshotCell};

use super::super::SnapshotDeployer;
use super::outages::{run_synchronizer, until};
use super::snapshots::{definition, deployer};
use super::support::{Bench, LONG_AGO, event};
use crate::bridge::fake::Fault;
use crate::bridge::wire::Event;

fn latest(kind: &str, property: &str, id: &str, at_ms: i64, payload: &Value) -> Event {
    serde_json::from_value(json!({
        "id": id, "type": kind, "environments": ["env"], "payload": payload.to_string(),
        "properties": { property: id }, "createdAt": at_ms, "updatedAt": at_ms,
    }))
    .expect("an event")
}

fn organization(at_ms: i64, policy: &str) -> Event {
    let payload =
        json!({"id": "org", "flows": [{"name": "platform", "pre": [{"policy": policy}]}]});
    latest(
        "PUBLISH_ORGANIZATION",
        "organization_id",
        "org",
        at_ms,
        &payload,
    )
}

fn dictionary(kind: &str, at_ms: i64, value: &str) -> Event {
    let payload = json!({"id": "dic", "key": "backends", "environmentId": "env", "properties": {"a": value, "n": 7, "x": null}});
    latest(kind, "dictionary_id", "dic", at_ms, &payload)
}

fn group(kind: &str, at_ms: i64, steps: &[&str]) -> Event {
    let steps: Vec<Value> = steps
        .iter()
        .map(|name| json!({"name": name, "policy": "latency"}))
        .collect();
    let payload =
        json!({"id": "cross", "environmentId": "env", "phase": "REQUEST", "policies": steps});
    latest(kind, "shared_policy_group_id", "own", at_ms, &payload)
}

/// An API with two steps: one of its own, and one for the shared policy group.
fn grouped(id: &str) -> Value {
    let mut definition = definition(id);
    definition["flows"] = json!([{"request": [
        {"name": "own", "policy": "latency"},
        {"name": "group", "policy": "shared-policy-group-policy", "configuration": {"sharedPolicyGroupId": "cross"}},
    ]}]);
    definition
}

fn deployed(cell: &SnapshotCell, id: &str) -> DeployedApi {
    let snapshot = cell.load_full();
    let found = snapshot
        .apis
        .iter()
        .find(|deployed| *deployed.api.id == *id);
    found.expect("the API is deployed").clone()
}

fn steps(cell: &SnapshotCell, id: &str) -> Vec<String> {
    deployed(cell, id)
        .api
        .processing
        .flows
        .flows
        .iter()
        .flat_map(|flow| flow.request.iter().map(|step| step.name.to_string()))
        .collect()
}

fn entry(cell: &SnapshotCell, id: &str, key: &str) -> Option<String> {
    let platform = deployed(cell, id).platform;
    let found = platform.dictionaries.get("backends")?.get(key)?;
    Some(found.to_string())
}

fn platform_flows(cell: &SnapshotCell, id: &str) -> usize {
    deployed(cell, id).platform.flows.flows.len()
}

async fn served(
    bench: &Bench,
    events: Vec<Event>,
) -> (
    Arc<SnapshotCell>,
    super::super::Synchronizer<SnapshotDeployer>,
) {
    let cell = Arc::new(SnapshotCell::new());
    {
        let mut world = bench.bridge.world();
        world.events = events;
        world
            .events
            .push(event("PUBLISH_API", "a", 1, LONG_AGO, &grouped("a")));
        world
            .events
            .push(event("PUBLISH_API", "b", 1, LONG_AGO, &definition("b")));
    }
    let mut synchronizer = bench.synchronizer_with(deployer(&cell));
    synchronizer.cycle().await.expect("a cycle");
    (cell, synchronizer)
}

#[tokio::test]
async fn a_dictionary_is_seen_by_the_apis_of_its_environment_and_changes_without_a_deployment() {
    let bench = Bench::start().await;
    let (cell, mut synchronizer) = served(
        &bench,
        vec![dictionary("PUBLISH_DICTIONARY", LONG_AGO, "one")],
    )
    .await;
    assert_eq!(entry(&cell, "b", "a").as_deref(), Some("one"));
    assert_eq!(entry(&cell, "b", "n").as_deref(), Some("7"));
    assert_eq!(entry(&cell, "b", "x"), None);
    let before = deployed(&cell, "b");

    bench.bridge.world().events[0] = dictionary("PUBLISH_DICTIONARY", bench.now(), "two");
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(entry(&cell, "b", "a").as_deref(), Some("two"));
    assert!(Arc::ptr_eq(&before.api, &deployed(&cell, "b").api));
    let revision = cell.load_full().revision;
    synchronizer.cycle().await.expect("the same events again");
    assert_eq!(cell.load_full().revision, revision);

    bench.tick(1);
    bench.bridge.world().events[0] = dictionary("UNPUBLISH_DICTIONARY", bench.now(), "two");
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(entry(&cell, "b", "a"), None);
}

#[tokio::test]
async fn flows_of_an_organization_surround_its_apis_and_wrong_ones_leave_the_previous() {
    let bench = Bench::start().await;
    let (cell, mut synchronizer) = served(&bench, vec![organization(LONG_AGO, "latency")]).await;
    assert_eq!(platform_flows(&cell, "b"), 1);
    assert!(!deployed(&cell, "b").is_plain());

    bench.bridge.world().events[0] = organization(bench.now(), "no-such-policy");
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(platform_flows(&cell, "b"), 1);
    let refused = bench.status.report().refused;
    let reason = &refused["organization org"];
    assert!(reason.is_served_as_before);
    assert!(
        reason.reason.starts_with("flows[0].pre[0].policy"),
        "{reason:?}"
    );

    bench.tick(1);
    let payload = json!({"id": "org", "flows": []});
    bench.bridge.world().events[0] = latest(
        "PUBLISH_ORGANIZATION",
        "organization_id",
        "org",
        bench.now(),
        &payload,
    );
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(platform_flows(&cell, "b"), 0);
    assert!(deployed(&cell, "b").is_plain());
    assert!(bench.status.report().refused.is_empty());
}

#[tokio::test]
async fn a_change_of_a_shared_policy_group_compiles_only_the_apis_that_name_it() {
    let bench = Bench::start().await;
    let (cell, mut synchronizer) = served(
        &bench,
        vec![group(
            "DEPLOY_SHARED_POLICY_GROUP",
            LONG_AGO,
            &["one", "two"],
        )],
    )
    .await;
    assert_eq!(steps(&cell, "a"), ["own", "one", "two"]);
    let other = deployed(&cell, "b");

    bench.bridge.world().events[0] = group("DEPLOY_SHARED_POLICY_GROUP", bench.now(), &["three"]);
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(steps(&cell, "a"), ["own", "three"]);
    assert!(
        Arc::ptr_eq(&other.api, &deployed(&cell, "b").api),
        "the other API is not compiled again"
    );

    bench.tick(1);
    bench.bridge.world().events[0] = group("UNDEPLOY_SHARED_POLICY_GROUP", bench.now(), &[]);
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(steps(&cell, "a"), ["own"]);
    let same = deployed(&cell, "a");
    synchronizer.cycle().await.expect("a cycle");
    assert!(Arc::ptr_eq(&same.api, &deployed(&cell, "a").api));
}

#[tokio::test]
async fn a_group_that_is_mended_serves_the_api_that_was_refused_for_it() {
    let bench = Bench::start().await;
    let wrong = json!({"id": "cross", "environmentId": "env", "phase": "REQUEST", "policies": [{"policy": "no-such-policy"}]});
    let wrong = latest(
        "DEPLOY_SHARED_POLICY_GROUP",
        "shared_policy_group_id",
        "own",
        LONG_AGO,
        &wrong,
    );
    let (cell, mut synchronizer) = served(&bench, vec![wrong]).await;
    let report = bench.status.report();
    assert_eq!(report.refused.keys().collect::<Vec<_>>(), ["a"]);
    bench.bridge.world().events[0] = group("DEPLOY_SHARED_POLICY_GROUP", bench.now(), &["one"]);
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(steps(&cell, "a"), ["own", "one"]);
    assert!(bench.status.report().refused.is_empty());
}

#[tokio::test]
async fn what_surrounds_apis_comes_back_from_disk_and_goes_when_the_control_plane_has_it_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::start().await;
    bench.store_in(folder.path().join("state"));
    let (_, mut synchronizer) = served(
        &bench,
        vec![
            dictionary("PUBLISH_DICTIONARY", LONG_AGO, "one"),
            organization(LONG_AGO, "latency"),
            group("DEPLOY_SHARED_POLICY_GROUP", LONG_AGO, &["one"]),
        ],
    )
    .await;
    // What cannot be used does not take the place of what can, on disk neither.
    bench.bridge.world().events[1] = organization(bench.now(), "no-such-policy");
    synchronizer.cycle().await.expect("a cycle");

    bench
        .bridge
        .world()
        .fail("", 1_000_000, Fault::Status(503, ""));
    let mut next = Bench::start().await;
    next.settings = bench.settings.clone();
    next.sync = bench.sync.clone();
    let cell = Arc::new(SnapshotCell::new());
    run_synchronizer(next.synchronizer_with(deployer(&cell)), async {
        until("ready", || next.lifecycle.stage() == Stage::Ready).await;
        assert_eq!(entry(&cell, "b", "a").as_deref(), Some("one"));
        assert_eq!(platform_flows(&cell, "b"), 1);
        assert_eq!(steps(&cell, "a"), ["own", "one"]);
        {
            let mut world = bench.bridge.world();
            world.events.drain(..3);
            world.heal();
        }
        until("in line", || next.status.report().watermark_ms.is_some()).await;
        assert_eq!(entry(&cell, "b", "a"), None);
        assert_eq!(platform_flows(&cell, "b"), 0);
        assert_eq!(steps(&cell, "a"), ["own"]);
    })
    .await;
}
