//! A control plane that refuses, lies or is silent, and definitions that cannot be served.

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::client::fetch;
use crate::support::cloud_gate::CloudGate;
use crate::support::control_plane::{ControlPlane, Fault, token};
use crate::support::definition::{v2, v4};
use crate::support::gateway::Start;
use crate::support::load::{Load, Plan};
use crate::support::wait::{PATIENCE, until};

const FAULTS: [Fault; 7] = [
    Fault::Status(401),
    Fault::Status(403),
    Fault::Status(500),
    Fault::Garbage,
    Fault::Unexpected,
    Fault::Truncated,
    Fault::Hang,
];

#[test]
fn a_control_plane_that_fails_at_start_leaves_the_gateway_open_and_not_ready_until_it_heals() {
    for fault in FAULTS {
        let plane = ControlPlane::start();
        let backend = Backend::start();
        plane.deploy(&v4("api", "/api", &backend.target("")));
        plane.fail(Some(fault));
        let mut gateway = Start::new()
            .set("management.http.readTimeout", "500")
            .control_plane(&plane)
            .listening();
        // Something was asked, and refused.
        gateway.until("refused", |gateway| {
            let sync = gateway.try_node("/sync")?;
            assert_eq!(sync.status, 503, "{fault:?}: ready without a control plane");
            (sync.json()["totalOnErrors"].as_u64()? > 0).then_some(())
        });
        let response = fetch(gateway.port, "/api/x");
        assert_eq!(response.status, 404, "{fault:?}");
        assert_eq!(response.text(), "No context-path matches the request URI.");
        let health = gateway
            .try_node("/health?probes=http-server,sync-process")
            .expect("the node API answers");
        assert_eq!(health.status, 500, "{fault:?}");
        assert_eq!(
            health.json()["http-server"]["healthy"],
            true,
            "{}",
            health.text()
        );
        assert_eq!(health.json()["sync-process"]["healthy"], false);

        plane.fail(None);
        gateway.until_ready();
        gateway.until_status("/api/x", 200);
    }
}

#[test]
fn a_control_plane_that_fails_later_takes_nothing_away() {
    let plane = ControlPlane::start();
    let backend = Backend::start();
    plane.deploy(&v4("api", "/api", &backend.target("")));
    let mut gateway = Start::new()
        .set("management.http.readTimeout", "500")
        .set("services.sync.retry", "0")
        .control_plane(&plane)
        .ready();
    let load = Load::start(gateway.port, &Plan::steady("/api/x"));
    let errors = |gateway: &crate::support::gateway::Gateway| {
        gateway.node("/sync")["totalOnErrors"].as_u64().unwrap_or(0)
    };
    for (round, fault) in FAULTS.into_iter().enumerate() {
        let before = errors(&gateway);
        plane.fail(Some(fault));
        // A change that arrives once the fault is over.
        let path = format!("/later-{round}");
        plane.deploy(&v4(&format!("later-{round}"), &path, &backend.target("")));
        gateway.until(&format!("failing with {fault:?}"), |gateway| {
            (errors(gateway) > before).then_some(())
        });
        assert_eq!(fetch(gateway.port, "/api/x").status, 200);
        assert_eq!(gateway.node("/sync")["initialDone"], true);
        plane.fail(None);
        gateway.until_status(&format!("{path}/x"), 200);
    }
    load.stop().assert_flawless();
    assert_eq!(gateway.node("/apis").as_array().map(Vec::len), Some(8));
}

#[test]
fn an_expired_token_keeps_the_gateway_running_and_a_cloud_gate_refuses_it() {
    let backend = Backend::start();
    let gate = CloudGate::start();
    gate.put(
        "api.json",
        &v4("api", "/api", &backend.target("")).to_string(),
    );
    let expired = gate.token("-1");
    let mut gateway = gate.connect(Start::new(), &expired).listening();
    let sync = gateway.until("refused", |gateway| {
        let sync = gateway.node("/sync");
        (sync["connection"] == "unauthorized").then_some(sync)
    });
    assert_eq!(sync["initialDone"], false, "{sync}");
    assert_eq!(sync["tokenState"], "expired", "{sync}");
    assert_eq!(fetch(gateway.port, "/api/x").status, 404);
    assert!(
        gateway.process.output().contains("expired"),
        "nothing in the log"
    );
    assert!(
        !gateway.process.output().contains(&expired),
        "the token is in the log"
    );
}

#[test]
fn a_token_of_another_key_is_refused() {
    let gate = CloudGate::start();
    let mut gateway = gate.connect(Start::new(), &token(3_600)).listening();
    gateway.until("refused", |gateway| {
        (gateway.node("/sync")["connection"] == "unauthorized").then_some(())
    });
}

#[test]
fn a_cloud_gate_with_a_certificate_that_is_not_trusted_is_not_talked_to() {
    let gate = CloudGate::start();
    let start = gate
        .gateway()
        .unset("cloud.client.ssl.truststore.type")
        .unset("cloud.client.ssl.truststore.path");
    let mut gateway = start.listening();
    let message = gateway.until("failing", |gateway| {
        let sync = gateway.node("/sync");
        assert_eq!(sync["initialDone"], false, "{sync}");
        sync["lastErrorMessage"].as_str().map(str::to_owned)
    });
    assert!(message.contains("certificate"), "{message}");
}

#[test]
fn definitions_that_cannot_be_served_are_refused_by_name_and_the_others_are_served() {
    let plane = ControlPlane::start();
    let backend = Backend::start();
    let target = backend.target("");
    let good = v4("good", "/good", &target);
    plane.deploy(&good);
    plane.deploy(&v2("old", "/old", &target));
    for definition in [
        v4("paths", "/paths", &target).with(|it| it["listeners"][0]["paths"] = json!("/x")),
        v4("groups", "/groups", &target).with(|it| it["endpointGroups"] = json!(7)),
        v4("balancer", "/balancer", &target).with(|it| {
            it["endpointGroups"][0]["loadBalancer"] = json!({ "type": "fairest" });
        }),
        v2("hosts", "/hosts", &target).with(|it| it["proxy"] = json!(true)),
        // An endpoint that cannot be used is left out: the API is there, and has nobody to ask.
        v4("target", "/target", &target).with(|it| {
            it["endpointGroups"][0]["endpoints"][0]["configuration"]["target"] = json!([1]);
        }),
        v4("scheme", "/scheme", "gopher://example"),
    ] {
        plane.deploy(&definition);
    }
    plane.deploy_text("text", true, "{ this is not JSON");
    let mut gateway = Start::new().control_plane(&plane).ready();
    for (id, named) in [
        ("paths", "paths"),
        ("groups", "endpointGroups"),
        ("balancer", "loadBalancer"),
        ("hosts", "proxy"),
        ("text", ""),
    ] {
        let reason = gateway.until(&format!("refusing {id}"), |gateway| gateway.refusal(id));
        assert!(reason.contains(named), "{id}: {reason}");
        assert_eq!(fetch(gateway.port, &format!("/{id}/x")).status, 404, "{id}");
        gateway.until(&format!("{id} in the log"), |gateway| {
            gateway.process.output().contains(id).then_some(())
        });
    }
    for (path, status) in [
        ("/good/x", 200),
        ("/old/x", 200),
        ("/target/x", 503),
        ("/scheme/x", 503),
    ] {
        assert_eq!(fetch(gateway.port, path).status, status, "{path}");
    }
    assert_eq!(gateway.metric("gateway_apis_refused", &[]), 5.0);

    // An update that cannot be served leaves what was served before.
    plane.deploy_text(
        "good",
        true,
        &good
            .clone()
            .with(|it| it["listeners"] = json!({}))
            .to_string(),
    );
    gateway.until("refusing the update", |gateway| gateway.refusal("good"));
    assert_eq!(fetch(gateway.port, "/good/x").status, 200);
    // So does one whose policy does not take its configuration, and the refusal says where that stands.
    let misconfigured = good.request("mock", json!([{ "status": 204 }]));
    plane.deploy(&misconfigured);
    let reason = gateway.until("refusing the policy", |gateway| {
        let reason = gateway.refusal("good")?;
        reason.contains("mock").then_some(reason)
    });
    for named in [
        "flows[0].request[0].configuration: the policy \"mock\" cannot",
        "found an array",
        "step \"mock\" of the request phase, flow \"all\"",
        "API \"good\"",
        "(hint: ",
    ] {
        assert!(reason.contains(named), "{named}: {reason}");
    }
    assert_eq!(fetch(gateway.port, "/good/x").status, 200);
    // A corrected one is served, and no refusal stays.
    plane.deploy(&v4("balancer", "/balancer", &target));
    gateway.until_status("/balancer/x", 200);
    assert_eq!(gateway.refusal("balancer"), None);
}

#[test]
fn of_two_apis_on_one_context_path_the_second_is_refused_by_name() {
    let plane = ControlPlane::start();
    let backend = Backend::start();
    plane.deploy(&v4("first", "/shared", &backend.target("/first")));
    let mut gateway = Start::new().control_plane(&plane).ready();
    gateway.until_status("/shared/x", 200);
    plane.deploy(&v4("second", "/shared/", &backend.target("/second")));
    let reason = gateway.until("refusing the second", |gateway| gateway.refusal("second"));
    assert!(
        reason.contains("/shared") && reason.contains("first"),
        "{reason}"
    );
    assert_eq!(
        fetch(gateway.port, "/shared/x").json()["target"],
        "/first/x"
    );
    // When the first goes, its place is free.
    plane.undeploy("first");
    until("the place is free", PATIENCE, || {
        let response = fetch(gateway.port, "/shared/x");
        let freed = response.status == 404 || response.json()["target"] == "/second/x";
        freed.then_some(())
    });
}

#[test]
fn a_file_that_cannot_be_read_is_told_once_and_what_it_said_before_is_served_on() {
    let backend = Backend::start();
    let mut gate = CloudGate::start();
    let good = v4("api", "/api", &backend.target("")).to_string();
    gate.put("api.yaml", &good);
    gate.put("never.yaml", "name: [unclosed\nlisteners: }");
    let mut gateway = gate.gateway().ready();
    gateway.until_status("/api/x", 200);
    gate.put("api.yaml", "id: api\n  bad: indentation\n- and: more");
    until("the Cloud Gate tells", PATIENCE, || {
        gate.process().output().contains("api.yaml").then_some(())
    });
    let output = gate.process().output();
    assert!(output.contains("never.yaml"), "{output}");
    assert_eq!(fetch(gateway.port, "/api/x").status, 200);
    gate.put("api.yaml", &good.replace("\"/api\"", "\"/moved\""));
    gateway.until_status("/moved/x", 200);
    gateway.until_status("/api/x", 404);
}

#[test]
fn heartbeats_and_monitoring_show_the_gateway_in_the_control_plane() {
    let plane = ControlPlane::start();
    let mut gateway = Start::new()
        .set("services.heartbeat.delay", "200")
        .set("services.monitoring.delay", "200")
        .control_plane(&plane)
        .ready();
    gateway.until("seen", |_| {
        let written = plane.written();
        let is = |kind: &str| written.iter().any(|it| it["type"] == kind);
        (is("GATEWAY_STARTED") && plane.asked("/node/monitoring") > 0).then_some(())
    });
    gateway.stop("TERM", PATIENCE);
    until("the farewell", PATIENCE, || {
        plane
            .written()
            .iter()
            .any(|it| it["type"] == "GATEWAY_STOPPED")
            .then_some(())
    });
}
