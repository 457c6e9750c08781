//! Definitions that come, change and go while requests flow, and a Cloud Gate that is killed: the real one, over HTTPS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::client::{fetch, fetch_with};
use crate::support::cloud_gate::CloudGate;
use crate::support::definition::v4;
use crate::support::gateway::Gateway;
use crate::support::load::{Load, Plan, Tally};
use crate::support::wait::{PATIENCE, pause, until};

/// Time between two cycles in these tests.
const SYNC_MS: u64 = 500;
/// A change is seen at the next look into the folder (500 ms), then at the next cycle; the rest is for a busy machine.
const WITHIN: Duration = Duration::from_millis(500 + SYNC_MS + 2_000);

#[test]
fn a_dropped_changed_and_removed_definition_takes_effect_within_a_cycle_and_fails_no_request() {
    let (first, second) = (Backend::named("first"), Backend::named("second"));
    let gate = CloudGate::start();
    gate.put(
        "steady.json",
        &v4("steady", "/steady", &first.target("")).to_string(),
    );
    gate.put(
        "moving.json",
        &v4("moving", "/moving", &first.target("")).to_string(),
    );
    let gateway = gate
        .gateway()
        .set("services.sync.delay", &SYNC_MS.to_string())
        .ready();
    let mut gateway = gateway;
    gateway.until_status("/steady/x", 200);
    gateway.until_status("/moving/x", 200);
    let port = gateway.port;

    // Every connection asks for three APIs in turn. Half of an old and half of a new configuration would be the path of one
    // with the backend of the other.
    let after_change = Arc::new(AtomicU64::new(0));
    let late = Arc::clone(&after_change);
    let mut plan = Plan::steady("");
    plan.path = Arc::new(|connection, count| {
        let paths = ["/steady/x", "/moving/x", "/coming/x"];
        paths[(connection + count as usize) % 3].to_owned()
    });
    plan.judge = Arc::new(move |path, response| match (path, response.status) {
        ("/coming/x", 404) => Ok(()),
        (_, 200) => {
            let echo = response.json();
            let told = (echo["backend"].as_str(), echo["target"].as_str());
            match (path, told) {
                ("/moving/x", (Some("second"), Some("/new/x"))) => {
                    late.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
                (_, (Some("first"), Some("/x"))) => Ok(()),
                _ => Err(format!("half of two configurations: {echo}")),
            }
        }
        (_, status) => Err(format!("status {status}: {}", response.text())),
    });
    let load = Load::start(port, &plan);
    load.flow(500);

    let changed = |what: &str, is_there: &dyn Fn() -> bool| {
        let started = Instant::now();
        until(what, PATIENCE, || is_there().then_some(()));
        let took = started.elapsed();
        assert!(took <= WITHIN, "{what} took {took:?}");
        // Seen once it is seen for ever, on whatever worker a connection lands.
        for _ in 0..20 {
            assert!(is_there(), "{what} was taken back");
        }
    };
    gate.put(
        "coming.json",
        &v4("coming", "/coming", &first.target("")).to_string(),
    );
    changed("a new API", &|| fetch(port, "/coming/x").status == 200);
    load.flow(500);
    gate.put(
        "moving.json",
        &v4("moving", "/moving", &second.target("/new")).to_string(),
    );
    changed("a changed API", &|| {
        let response = fetch(port, "/moving/x");
        assert_eq!(response.status, 200);
        response.json()["backend"] == "second"
    });
    load.flow(500);
    gate.remove("coming.json");
    changed("a removed API", &|| fetch(port, "/coming/x").status == 404);
    load.flow(500);

    let tally = load.stop();
    tally.assert_flawless();
    assert!(after_change.load(Ordering::SeqCst) > 0, "{tally:?}");
    assert!(tally.statuses[&404] > 0 && tally.statuses[&200] > 0);
}

#[test]
fn many_changes_in_a_row_disturb_nobody() {
    let backend = Backend::start();
    let gate = CloudGate::start();
    gate.put(
        "steady.json",
        &v4("steady", "/steady", &backend.target("")).to_string(),
    );
    let mut gateway = gate.gateway().set("services.sync.delay", "100").ready();
    gateway.until_status("/steady/x", 200);
    let load = Load::start(gateway.port, &Plan::steady("/steady/x"));
    for round in 0..5 {
        for number in 0..40 {
            let id = format!("other-{number}");
            let definition = v4(&id, &format!("/{id}/{round}"), &backend.target(""));
            gate.put(&format!("{id}.json"), &definition.to_string());
        }
        gateway.until_status(&format!("/other-39/{round}/x"), 200);
        gateway.until_status(&format!("/other-0/{round}/x"), 200);
    }
    for number in 0..40 {
        gate.remove(&format!("other-{number}.json"));
    }
    gateway.until_status("/other-0/4/x", 404);
    load.stop().assert_flawless();
    let apis = gateway.node("/apis");
    assert_eq!(apis.as_array().map(Vec::len), Some(1), "{apis}");
}

/// How long the Cloud Gate is away: shortly by default, for the full minute of the promise in a nightly run.
fn outage() -> Duration {
    let seconds = std::env::var("TURNPIKE_TEST_OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8);
    Duration::from_secs(seconds)
}

#[test]
fn a_killed_cloud_gate_fails_no_request_and_loses_or_repeats_no_report() {
    let backend = Backend::start();
    let mut gate = CloudGate::start();
    gate.put(
        "steady.json",
        &v4("steady", "/steady", &backend.target("")).to_string(),
    );
    let gateway = gate
        .gateway()
        .set("services.sync.delay", &SYNC_MS.to_string())
        .set("reporters.cloud.retry.initialDelay", "500")
        .set("reporters.cloud.retry.maxDelay", "20000")
        .ready();
    let mut gateway = gateway;
    gateway.until_status("/steady/x", 200);
    let mut plan = Plan::steady("/steady/x");
    plan.pace = Duration::from_millis(50);
    let load = Load::start(gateway.port, &plan);
    load.flow(1_000);
    gate.kill();
    let killed = Instant::now();
    // A change that the gateway hears of only afterwards.
    gate.put(
        "later.json",
        &v4("later", "/later", &backend.target("")).to_string(),
    );
    while killed.elapsed() < outage() {
        let before = load.answered();
        pause(Duration::from_millis(500));
        assert!(load.answered() > before, "traffic stands still");
        assert_eq!(
            gateway.node("/health?probes=http-server")["http-server"]["healthy"],
            true
        );
    }
    let sync = gateway.node("/sync");
    assert_eq!(sync["initialDone"], true);
    assert!(sync["totalOnErrors"].as_u64() > Some(0), "{sync}");

    gate.restart();
    gateway.until_status("/later/x", 200);
    load.flow(500);
    let tally = load.stop();
    tally.assert_flawless();

    assert_every_answer_is_reported_once(&gateway, &gate, &tally);
}

#[test]
fn a_cloud_gate_that_is_killed_again_and_again_repeats_no_report() {
    let backend = Backend::start();
    let mut gate = CloudGate::start();
    gate.put(
        "steady.json",
        &v4("steady", "/steady", &backend.target("")).to_string(),
    );
    let mut gateway = gate
        .gateway()
        // Small batches, and many of them: a kill meets one in its middle.
        .set("reporters.cloud.bulk.items", "20")
        .set("reporters.cloud.retry.initialDelay", "100")
        .set("reporters.cloud.retry.maxDelay", "1000")
        .set("reporters.cloud.retry.maxRetries", "30")
        .ready();
    gateway.until_status("/steady/x", 200);
    let load = Load::start(gateway.port, &Plan::steady("/steady/x"));
    for _ in 0..8 {
        load.flow(700);
        gate.kill();
        gate.restart();
    }
    let tally = load.stop();
    tally.assert_flawless();
    assert_every_answer_is_reported_once(&gateway, &gate, &tally);
}

/// Waits until every answer has its report on file, or is counted as dropped. No report may be there twice.
fn assert_every_answer_is_reported_once(gateway: &Gateway, gate: &CloudGate, tally: &Tally) {
    let answered: BTreeSet<&str> = tally.ids.iter().map(String::as_str).collect();
    assert_eq!(
        answered.len(),
        tally.ids.len(),
        "a request id was given twice"
    );
    let missing = || {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for report in gate.reports() {
            if let Some(id) = report["_id"].as_str() {
                *counts.entry(id.to_owned()).or_default() += 1;
            }
        }
        let twice = counts.values().filter(|count| **count > 1).count();
        assert_eq!(twice, 0, "reports came twice");
        answered
            .iter()
            .filter(|id| !counts.contains_key(**id))
            .count()
    };
    until("every report is there or counted", PATIENCE * 2, || {
        let dropped = gateway.metric("gateway_reports_dropped_total", &[]);
        (missing() as f64 <= dropped).then_some(())
    });
}

#[test]
fn keys_and_subscriptions_follow_their_file() {
    let backend = Backend::start();
    let gate = CloudGate::start();
    gate.put(
        "keyed.json",
        &v4("keyed", "/keyed", &backend.target(""))
            .api_key()
            .to_string(),
    );
    let file = |entries: serde_json::Value| gate.put("subscriptions.json", &entries.to_string());
    let entry = |key: serde_json::Value| json!([{ "application": "app", "api": "keyed", "plan": "Plan", "keys": [key] }]);
    file(entry(json!({ "key": "one" })));
    let mut gateway = gate.gateway().ready();
    let mut becomes = |key: &str, status: u16| {
        gateway.until(&format!("answering {key} with {status}"), |gateway| {
            let fields = [("X-Gravitee-Api-Key", key)];
            (fetch_with(gateway.port, "/keyed/x", &fields).status == status).then_some(())
        });
    };
    becomes("one", 200);
    becomes("two", 401);
    file(entry(json!({ "key": "two" })));
    becomes("two", 200);
    becomes("one", 401);
    file(entry(json!({ "key": "two", "revoked": true })));
    becomes("two", 401);
    file(entry(json!({ "key": "one" })));
    becomes("one", 200);
    gate.remove("subscriptions.json");
    becomes("one", 401);
}
