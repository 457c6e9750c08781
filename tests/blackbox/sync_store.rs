//! A gateway that starts while its control plane is away, with and without what it kept on disk.

use std::path::Path;

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::client::{fetch, fetch_with};
use crate::support::control_plane::{ControlPlane, Fault};
use crate::support::definition::v4;
use crate::support::gateway::{Gateway, Start};
use crate::support::wait::{PATIENCE, until};

const KEY: [(&str, &str); 1] = [("X-Gravitee-Api-Key", "key")];

fn start(plane: &ControlPlane, store: &Path) -> Start {
    Start::new()
        .set("services.sync.snapshot.path", &store.display().to_string())
        .control_plane(plane)
}

/// A gateway that has served `/api` and `/keyed` and left its store behind.
fn fill(plane: &ControlPlane, backend: &Backend, store: &Path) {
    plane.deploy(&v4("api", "/api", &backend.target("")));
    plane.deploy(&v4("keyed", "/keyed", &backend.target("")).api_key());
    plane.subscribe("keyed", "key", json!({}));
    let mut gateway: Gateway = start(plane, store).ready();
    gateway.until("taking the key", |gateway| {
        (fetch_with(gateway.port, "/keyed/x", &KEY).status == 200).then_some(())
    });
    until("the store is written", PATIENCE, || {
        store.exists().then_some(())
    });
    assert_eq!(gateway.stop("TERM", PATIENCE), Some(0));
}

#[test]
fn what_was_served_before_is_served_again_without_the_control_plane() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("snapshot");
    let (plane, backend) = (ControlPlane::start(), Backend::start());
    fill(&plane, &backend, &store);
    let kept = std::fs::read(&store).expect("a file");
    let token = crate::support::control_plane::token(3_600);
    let signature = token.rsplit('.').next().expect("a token has parts");
    assert!(
        crate::support::wire::find(&kept, signature.as_bytes()).is_none(),
        "the token is on disk"
    );

    plane.fail(Some(Fault::Status(500)));
    let mut gateway = start(&plane, &store).ready();
    assert_eq!(fetch(gateway.port, "/api/x").status, 200);
    assert_eq!(fetch_with(gateway.port, "/keyed/x", &KEY).status, 200);
    assert_eq!(fetch(gateway.port, "/keyed/x").status, 401);
    let sync = gateway.node("/sync");
    assert!(sync["servedFromStore"].is_number(), "{sync}");

    // What went away meanwhile goes away here too, once the control plane is back.
    plane.undeploy("api");
    plane.fail(None);
    gateway.until_status("/api/x", 404);
    assert_eq!(fetch_with(gateway.port, "/keyed/x", &KEY).status, 200);
}

#[test]
fn a_store_that_cannot_be_read_is_told_and_the_gateway_waits_for_the_control_plane() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("snapshot");
    let (plane, backend) = (ControlPlane::start(), Backend::start());
    fill(&plane, &backend, &store);
    let good = std::fs::read(&store).expect("a file");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x20;
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("cut", good[..good.len() / 2].to_vec()),
        ("one bit flipped", flipped),
        ("brackets", vec![b'['; 1_000_000]),
    ] {
        std::fs::write(&store, &bytes).expect("a file");
        plane.fail(Some(Fault::Status(500)));
        let mut gateway = start(&plane, &store).listening();
        gateway.until("trying", |gateway| {
            (gateway.node("/sync")["totalOnErrors"].as_u64()? > 0).then_some(())
        });
        assert_eq!(gateway.node("/sync")["initialDone"], false, "{what}");
        assert_eq!(fetch(gateway.port, "/api/x").status, 404, "{what}");
        let output = gateway.process.output();
        assert!(
            output.contains(&store.display().to_string()),
            "{what}: nothing in the log:\n{output}"
        );
        plane.fail(None);
        gateway.until_ready();
        assert_eq!(fetch(gateway.port, "/api/x").status, 200, "{what}");
    }
}
