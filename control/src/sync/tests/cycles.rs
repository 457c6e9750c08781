//! Windows, pages and decisions (cases 1-5, 9, 11, 12, 16).

use serde_json::json;
use turnpike_core::lifecycle::Stage;

use super::support::{Bench, LONG_AGO, NOW, event, key, publish, subscription};
use crate::bridge::fake::Fault;
use crate::bridge::wire::{AccessPoint, Environment};

#[tokio::test]
async fn a_cold_start_reads_pages_until_one_is_short() {
    for (apis, pages) in [(250, 3), (100, 2), (0, 1), (99, 1)] {
        let bench = Bench::start().await;
        bench.bridge.world().events = (0..apis)
            .map(|n| publish(&format!("api-{n:03}"), 1, LONG_AGO + n))
            .collect();
        let mut synchronizer = bench.synchronizer();
        synchronizer.cycle().await.expect("a cycle");
        assert_eq!(
            bench.served().len(),
            usize::try_from(apis).expect("a count")
        );
        let asked = bench.bridge.world().requests("/eventsLatest/_search");
        let asked: Vec<&str> = asked
            .iter()
            .filter(|seen| seen.query.contains("API_ID"))
            .map(|seen| seen.query.as_str())
            .collect();
        assert_eq!(asked.len(), pages, "{apis} APIs");
        assert_eq!(asked[0], "group=API_ID&page=0&size=100");
        assert_eq!(bench.lifecycle.stage(), Stage::Ready);
    }
}

#[tokio::test]
async fn bounds_of_the_first_and_the_next_window_are_as_specified() {
    let bench = Bench::start().await;
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    bench.tick(5_000);
    synchronizer.cycle().await.expect("a cycle");
    let asked = bench.bridge.world().requests("/eventsLatest/_search");
    let asked: Vec<_> = asked
        .iter()
        .filter(|seen| seen.query.contains("API_ID"))
        .map(|seen| &seen.body)
        .collect();
    assert_eq!(
        *asked[0],
        json!({ "types": ["PUBLISH_API", "START_API"], "to": NOW + 30_000 })
    );
    let types = ["PUBLISH_API", "START_API", "UNPUBLISH_API", "STOP_API"];
    assert_eq!(
        *asked[1],
        json!({ "types": types, "from": NOW - 30_000, "to": NOW + 35_000 })
    );
    let agents = bench
        .bridge
        .world()
        .seen
        .iter()
        .all(|seen| seen.headers["user-agent"] == "gio-client-bridge/4.12.17");
    assert!(agents);
}

#[tokio::test]
async fn a_repeated_window_changes_nothing() {
    let bench = Bench::start().await;
    bench.bridge.world().events.push(publish("a", 1, NOW));
    bench
        .bridge
        .world()
        .subscriptions
        .push(subscription("s", "a", NOW));
    bench.bridge.world().keys.push(key("secret", &["s"], NOW));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    let before = bench.published(|published| (published.times, published.compiled));
    assert_eq!(before, (1, 1));
    for _ in 0..5 {
        bench.tick(1_000);
        synchronizer.cycle().await.expect("a cycle");
    }
    assert_eq!(
        bench.published(|published| (published.times, published.compiled)),
        before
    );
    assert_eq!(bench.api("a").keys(), ["secret"]);
}

#[tokio::test]
async fn only_a_later_event_with_another_number_updates() {
    let bench = Bench::start().await;
    bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    let cases = [
        (1, 5, "1", "the same number"),
        (2, 10, "2", "a new number"),
        (3, -LONG_AGO, "2", "an older event"),
    ];
    for (number, later, revision, case) in cases {
        let mut changed = publish("a", number, LONG_AGO + later);
        changed.updated_at = Some(bench.now());
        bench.bridge.world().events = vec![changed];
        synchronizer.cycle().await.expect("a cycle");
        assert_eq!(bench.api("a").revision, revision, "{case}");
        bench.tick(1_000);
    }
}

#[tokio::test]
async fn stop_start_and_unpublish_follow_each_other() {
    let bench = Bench::start().await;
    bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    let definition = json!({ "plans": [] });
    for (kind, served) in [
        ("STOP_API", false),
        ("START_API", true),
        ("UNPUBLISH_API", false),
        ("UNPUBLISH_API", false),
    ] {
        bench.tick(1_000);
        let mut changed = event(kind, "a", 1, bench.now(), &definition);
        if kind == "UNPUBLISH_API" {
            changed.payload = None;
        }
        bench.bridge.world().events = vec![changed];
        synchronizer.cycle().await.expect("a cycle");
        assert_eq!(bench.served().len(), usize::from(served), "after {kind}");
    }
}

#[tokio::test]
async fn an_api_that_is_not_started_goes_away() {
    let bench = Bench::start().await;
    bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    let mut stopped = event("STOP_API", "a", 2, NOW, &json!({ "plans": [] }));
    stopped.event_type = crate::bridge::wire::EventType::PublishApi;
    bench.bridge.world().events = vec![stopped];
    synchronizer.cycle().await.expect("a cycle");
    assert!(bench.served().is_empty());
}

#[tokio::test]
async fn a_broken_api_is_refused_by_name_once_and_keeps_its_deployment() {
    let bench = Bench::start().await;
    bench.bridge.world().events = vec![publish("a", 1, LONG_AGO), publish("b", 1, LONG_AGO)];
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    let mut garbled = publish("c", 1, NOW);
    garbled.payload = Some("{".to_owned());
    let refused = json!({ "refuse": "flows[0].request[0].policy: \"groovy\" is not built" });
    bench.bridge.world().events = vec![
        event("PUBLISH_API", "a", 2, NOW, &refused),
        publish("b", 2, NOW),
        garbled,
        publish("d", 1, NOW),
    ];
    for _ in 0..3 {
        synchronizer
            .cycle()
            .await
            .expect("a refusal does not fail the cycle");
    }
    assert_eq!(bench.served(), ["a", "b", "d"]);
    assert_eq!(
        (bench.api("a").revision, bench.api("b").revision),
        ("1".to_owned(), "2".to_owned())
    );
    // Two at the cold start; a, b and d once each although their events came three times.
    assert_eq!(bench.published(|published| published.compiled), 5);
    let refused = bench.status.report().refused;
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(refused["a"].name, "name of a");
    assert!(refused["a"].reason.starts_with("flows[0]") && refused["a"].is_served_as_before);
    assert!(!refused["c"].is_served_as_before);
    bench.tick(1_000);
    bench.bridge.world().events = vec![publish("a", 3, bench.now())];
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(
        bench.status.report().refused.keys().collect::<Vec<_>>(),
        ["c"]
    );
}

#[tokio::test]
async fn an_api_that_is_no_longer_for_us_goes_away() {
    let mut bench = Bench::start().await;
    bench.tags = vec!["eu".to_owned()];
    let ours = json!({ "plans": [], "tags": ["eu"] });
    bench.bridge.world().events = vec![
        event("PUBLISH_API", "a", 1, LONG_AGO, &ours),
        event("PUBLISH_API", "b", 1, LONG_AGO, &ours),
        publish("c", 1, 1),
    ];
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.served(), ["a", "b"]);
    assert!(
        bench.status.report().refused.is_empty(),
        "another tag is no refusal"
    );
    bench.bridge.world().events = vec![
        event(
            "PUBLISH_API",
            "a",
            2,
            NOW,
            &json!({ "plans": [], "tags": ["us"] }),
        ),
        event("PUBLISH_API", "b", 2, NOW, &json!({ "tags": ["eu"] })),
    ];
    synchronizer.cycle().await.expect("a cycle");
    assert!(bench.served().is_empty());
    assert_eq!(
        bench.status.report().refused.keys().collect::<Vec<_>>(),
        ["b"],
        "no plan left is worth a word"
    );
}

#[tokio::test]
async fn a_403_on_one_environment_leaves_the_others_alone() {
    let bench = Bench::start().await;
    bench.bridge.world().events = vec![publish("a", 1, LONG_AGO), publish("b", 1, LONG_AGO)];
    let payload = bench.bridge.world().events[0]
        .payload
        .take()
        .expect("a payload");
    bench.bridge.world().events[0].payload = Some(payload.replace("\"env\"", "\"theirs\""));
    bench.bridge.world().fail(
        "/environments/theirs",
        9,
        Fault::Status(403, "Unauthorized environments"),
    );
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.served(), ["b"]);
    assert!(
        bench.status.report().refused["a"]
            .reason
            .contains("403: Unauthorized environments")
    );
}

#[tokio::test]
async fn a_403_on_subscriptions_is_settled_api_by_api() {
    let bench = Bench::start().await;
    bench.bridge.world().events = ["a", "b", "c"].map(|id| publish(id, 1, LONG_AGO)).to_vec();
    bench.bridge.world().fail(
        "\"plan-b\"",
        9,
        Fault::Status(403, "Unauthorized environments"),
    );
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.served(), ["a", "c"]);
    assert_eq!(
        bench.status.report().refused.keys().collect::<Vec<_>>(),
        ["b"]
    );
}

#[tokio::test]
async fn an_old_server_is_asked_on_its_own_path() {
    let bench = Bench::start().await;
    bench.bridge.world().is_old = true;
    bench.bridge.world().access_points = None;
    bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
    let mut synchronizer = bench.synchronizer();
    for _ in 0..3 {
        synchronizer.cycle().await.expect("a cycle");
    }
    assert_eq!(bench.served(), ["a"]);
    let world = bench.bridge.world();
    assert_eq!(
        world.requests("/eventsLatest/_search").len(),
        1,
        "the missing path is asked once"
    );
    assert_eq!(
        world.requests("/accessPoints/_search").len(),
        1,
        "so are access points"
    );
}

#[tokio::test]
async fn unknown_event_types_are_ignored() {
    let bench = Bench::start().await;
    let strange = event("TURN_API_INSIDE_OUT", "b", 1, LONG_AGO, &json!({}));
    let body = serde_json::to_string(&[publish("a", 1, LONG_AGO), strange])
        .expect("JSON")
        .leak();
    bench
        .bridge
        .world()
        .fail("group=API_ID", 1, Fault::Body(body));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.served(), ["a"]);
}

#[tokio::test]
async fn changes_are_seen_although_clocks_differ() {
    for skew in [-25_000, 25_000] {
        let bench = Bench::start().await;
        let mut synchronizer = bench.synchronizer();
        synchronizer.cycle().await.expect("a cycle");
        for number in 1..20 {
            // The control plane writes with its own clock, just after and just before our cycles.
            bench.tick(2_500);
            bench.bridge.world().events = vec![publish("a", number, bench.now() + skew)];
            bench.tick(2_500);
            synchronizer.cycle().await.expect("a cycle");
            assert_eq!(bench.api("a").revision, number.to_string(), "skew {skew}");
        }
    }
}

#[tokio::test]
async fn an_api_that_moves_while_pages_are_read_hides_no_other() {
    let mut bench = Bench::start().await;
    bench.sync.bulk_items = 2;
    bench.bridge.world().events = ["a", "b", "c", "d"]
        .map(|id| publish(id, 1, LONG_AGO))
        .to_vec();
    // The second page comes as if `a` had moved to the end after the first one was read: `c` took a place that was read.
    let moved = serde_json::to_string(&[publish("d", 1, LONG_AGO), publish("a", 2, NOW)])
        .expect("JSON")
        .leak();
    bench
        .bridge
        .world()
        .fail("group=API_ID&page=1", 1, Fault::Body(moved));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.served(), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn organizations_come_with_their_environment_and_are_asked_once() {
    let bench = Bench::start().await;
    bench.bridge.world().environments.push(Environment {
        id: "env".to_owned(),
        organization_id: Some("acme".to_owned()),
        ..Environment::default()
    });
    bench.bridge.world().events = ["a", "b"].map(|id| publish(id, 1, LONG_AGO)).to_vec();
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.api("b").organization, "acme");
    assert_eq!(bench.bridge.world().requests("/environments/env").len(), 1);
}

#[tokio::test]
async fn hrids_become_ids_that_restrict_every_search() {
    let mut bench = Bench::start().await;
    bench.settings.environments = vec!["dev".to_owned()];
    bench.bridge.world().environments.push(Environment {
        id: "env".to_owned(),
        hrids: vec!["dev".to_owned()],
        organization_id: Some("acme".to_owned()),
        ..Environment::default()
    });
    bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    let identity = bench.status.identity().expect("an identity");
    assert_eq!(
        (
            identity.environments.as_slice(),
            identity.organizations.as_slice()
        ),
        (
            ["env".to_owned()].as_slice(),
            ["acme".to_owned()].as_slice()
        )
    );
    let asked = bench.bridge.world().requests("_search");
    assert!(
        asked
            .iter()
            .filter(|seen| seen.body.get("types").is_some())
            .all(|seen| seen.body["environments"] == json!(["env"]))
    );
}

#[tokio::test]
async fn environments_that_cannot_be_resolved_do_not_become_all_environments() {
    let mut bench = Bench::start().await;
    bench.settings.environments = vec!["nowhere".to_owned()];
    bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
    let mut synchronizer = bench.synchronizer();
    let error = synchronizer
        .cycle()
        .await
        .expect_err("no environment")
        .to_string();
    assert!(error.contains("hint: check `environments`"), "{error}");
    assert!(bench.served().is_empty());
}

#[tokio::test]
async fn hosts_of_access_points_reach_apis_and_a_change_deploys_again() {
    let bench = Bench::start().await;
    let point = |status: &str| AccessPoint {
        id: "p".to_owned(),
        reference_id: Some("env".to_owned()),
        target: Some("GATEWAY".to_owned()),
        host: Some("api.acme.example".to_owned()),
        status: Some(status.to_owned()),
    };
    bench.bridge.world().access_points = Some(vec![point("CREATED")]);
    bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.api("a").hosts, ["api.acme.example"]);
    bench.bridge.world().access_points = Some(vec![point("DELETED")]);
    synchronizer.cycle().await.expect("a cycle");
    assert!(bench.api("a").hosts.is_empty());
}

#[tokio::test]
async fn the_first_cycle_publishes_early_and_not_too_often() {
    let bench = Bench::start().await;
    bench.bridge.world().events = (0..300)
        .map(|n| publish(&format!("api-{n:03}"), 1, LONG_AGO + n))
        .collect();
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    let sizes = bench.published(|published| published.sizes.clone());
    assert_eq!(
        sizes.first(),
        Some(&100),
        "traffic flows after the first page"
    );
    assert_eq!(sizes.last(), Some(&300));
    assert!(sizes.len() <= 4, "{sizes:?}");
}

#[tokio::test]
async fn two_apis_on_one_path_are_told_apart_by_name() {
    let bench = Bench::start().await;
    let definition = json!({ "plans": [], "path": "/shared" });
    bench.bridge.world().events = vec![
        event("PUBLISH_API", "a", 1, LONG_AGO, &definition),
        event("PUBLISH_API", "b", 1, LONG_AGO + 1, &definition),
    ];
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.served(), ["a"]);
    assert_eq!(
        bench.status.report().conflicts.keys().collect::<Vec<_>>(),
        ["b"]
    );
    bench.bridge.world().events = vec![event("UNPUBLISH_API", "a", 1, NOW, &definition)];
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.served(), ["b"], "the path is free now");
    assert!(bench.status.report().conflicts.is_empty());
}
