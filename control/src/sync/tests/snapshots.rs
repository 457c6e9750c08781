//! From events on the wire to the snapshot that workers read.

use std::sync::Arc;

use serde_json::{Value, json};
use turnpike_config::Config;
use turnpike_core::snapshot::SnapshotCell;

use super::super::SnapshotDeployer;
use super::support::{Bench, LONG_AGO, NOW, event, key, subscription};
use crate::bridge::wire::AccessPoint;
use crate::definition::CompileContext;
use crate::resolve::Resolver;
use crate::snapshot::SnapshotBuilder;

pub(super) fn definition(id: &str) -> Value {
    json!({
        "id": id, "name": "Orders", "apiVersion": "1", "definitionVersion": "4.0.0", "type": "proxy",
        "plans": [
            { "id": format!("plan-{id}"), "name": "Keys", "mode": "standard", "status": "published",
              "security": { "type": "api-key", "configuration": {} } },
            { "id": format!("open-{id}"), "name": "Open", "mode": "standard", "status": "published",
              "security": { "type": "key-less" } },
        ],
        "listeners": [{ "type": "http", "paths": [{ "path": format!("/{id}") }], "entrypoints": [{ "type": "http-proxy" }] }],
        "endpointGroups": [{
            "name": "group", "type": "http-proxy",
            "endpoints": [{ "name": "one", "type": "http-proxy", "configuration": { "target": "http://127.0.0.1:9000" } }],
        }],
    })
}

pub(super) fn deployer(cell: &Arc<SnapshotCell>) -> SnapshotDeployer {
    let context = Arc::new(CompileContext::new(&Config::default(), Default::default()));
    let resolver = Arc::new(Resolver::new(context.connectors.clone()));
    SnapshotDeployer::new(
        context,
        SnapshotBuilder::new(false),
        Arc::clone(cell),
        resolver,
    )
}

#[tokio::test]
async fn an_event_becomes_a_route_with_keys() {
    let bench = Bench::start().await;
    let cell = Arc::new(SnapshotCell::new());
    {
        let mut world = bench.bridge.world();
        world.events.push(event(
            "PUBLISH_API",
            "orders",
            3,
            LONG_AGO,
            &definition("orders"),
        ));
        world
            .subscriptions
            .push(subscription("s", "orders", LONG_AGO));
        world.keys.push(key("secret", &["s"], LONG_AGO));
    }
    let mut synchronizer = bench.synchronizer_with(deployer(&cell));
    synchronizer.cycle().await.expect("a cycle");
    assert!(
        bench.status.report().refused.is_empty(),
        "{:?}",
        bench.status.report().refused
    );
    let snapshot = cell.load_full();
    let deployed = &snapshot.apis[0];
    assert_eq!(
        (&*deployed.api.id, &*deployed.api.revision),
        ("orders", "3")
    );
    assert_eq!(&*deployed.api.environment_id, "env");
    assert_eq!(
        &*deployed
            .subscriptions
            .key("secret")
            .expect("a key")
            .subscription
            .id,
        "s"
    );
    let asked = bench.bridge.world().requests("/subscriptions/_search");
    assert_eq!(
        asked[0].body["plans"],
        json!(["plan-orders"]),
        "a key-less plan has no subscriptions"
    );

    bench.bridge.world().keys[0].revoked = true;
    bench.bridge.world().keys[0].updated_at = Some(NOW);
    synchronizer.cycle().await.expect("a cycle");
    let next = cell.load_full();
    assert!(next.apis[0].subscriptions.key("secret").is_none());
    assert!(
        Arc::ptr_eq(&next.apis[0].api, &deployed.api),
        "the API itself is shared between both snapshots"
    );
}

#[tokio::test]
async fn a_definition_of_another_api_and_an_unbuilt_member_are_refused_by_name() {
    let bench = Bench::start().await;
    let cell = Arc::new(SnapshotCell::new());
    let mut tcp = definition("stream");
    tcp["listeners"][0]["type"] = json!("tcp");
    bench.bridge.world().events = vec![
        event(
            "PUBLISH_API",
            "impostor",
            1,
            LONG_AGO,
            &definition("orders"),
        ),
        event("PUBLISH_API", "stream", 1, LONG_AGO, &tcp),
    ];
    bench
        .synchronizer_with(deployer(&cell))
        .cycle()
        .await
        .expect("a cycle");
    let refused = bench.status.report().refused;
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["impostor", "stream"]);
    assert!(
        refused["impostor"]
            .reason
            .starts_with("id: expected the id of the event")
    );
    assert!(
        refused["stream"].reason.starts_with("listeners"),
        "{}",
        refused["stream"].reason
    );
    assert!(cell.load_full().apis.is_empty());
}

#[tokio::test]
async fn hosts_of_access_points_restrict_the_routes() {
    let bench = Bench::start().await;
    let cell = Arc::new(SnapshotCell::new());
    bench.bridge.world().events.push(event(
        "PUBLISH_API",
        "orders",
        1,
        LONG_AGO,
        &definition("orders"),
    ));
    bench.bridge.world().access_points = Some(vec![AccessPoint {
        id: "p".to_owned(),
        reference_id: Some("env".to_owned()),
        target: Some("GATEWAY".to_owned()),
        host: Some("api.acme.example".to_owned()),
        status: Some("CREATED".to_owned()),
    }]);
    bench
        .synchronizer_with(deployer(&cell))
        .cycle()
        .await
        .expect("a cycle");
    let hosts: Vec<_> = cell.load_full().apis[0]
        .api
        .listeners
        .iter()
        .map(|one| one.host.clone())
        .collect();
    assert_eq!(hosts, [Some("api.acme.example".into())]);
}
