//! Failures of the control plane (cases 8, 10, 12) and readiness.

use std::time::Duration;

use tokio::sync::watch;
use turnpike_core::lifecycle::Stage;

use super::super::status::Connection;
use super::super::{Deployer, Synchronizer};
use super::support::{Bench, LONG_AGO, NOW, publish, subscription};
use crate::bridge::fake::Fault;

/// Polls until `done` says so.
pub(super) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain until {what}");
}

/// Runs the synchronizer while `story` goes on.
pub(super) async fn run(bench: &Bench, story: impl Future<Output = ()>) {
    run_synchronizer(bench.synchronizer(), story).await;
}

/// The same for a synchronizer that deploys somewhere else.
pub(super) async fn run_synchronizer<D: Deployer>(
    synchronizer: Synchronizer<D>,
    story: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let running = synchronizer.run(stopped);
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => panic!("the synchronizer never ends on its own"),
        () = story => {}
    }
    stop.send(true).expect("a synchronizer that listens");
    tokio::time::timeout(Duration::from_secs(5), running)
        .await
        .expect("it stops when it is told");
}

#[tokio::test]
async fn a_failing_first_cycle_is_repeated_until_it_succeeds() {
    let bench = Bench::start().await;
    bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
    bench.bridge.world().fail(
        "/subscriptions/",
        1_000_000,
        Fault::Status(502, "bad gateway"),
    );
    run(&bench, async {
        until("a cycle failed", || {
            bench.status.report().total_on_errors > 1
        })
        .await;
        let report = bench.status.report();
        assert!(!report.initial_done && report.last_on_error);
        assert!(
            report
                .last_error_message
                .expect("a message")
                .contains("502: bad gateway")
        );
        assert_eq!(bench.lifecycle.stage(), Stage::Syncing);
        assert!(
            bench.served().is_empty(),
            "an API without its subscriptions is not served"
        );
        bench.bridge.world().heal();
        until("ready", || bench.lifecycle.stage() == Stage::Ready).await;
    })
    .await;
    assert_eq!(bench.served(), ["a"]);
    let report = bench.status.report();
    assert!(report.initial_done && !report.last_on_error);
    assert_eq!(
        (report.connection, report.watermark_ms),
        (Connection::Connected, Some(NOW))
    );
}

#[tokio::test]
async fn an_outage_later_undeploys_nothing_and_loses_nothing() {
    let bench = Bench::start().await;
    bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    bench
        .bridge
        .world()
        .fail("", 1_000_000, Fault::Status(502, ""));
    for _ in 0..3 {
        bench.tick(60_000);
        synchronizer.cycle().await.expect_err("an outage");
        assert_eq!(bench.served(), ["a"]);
        assert_eq!(bench.status.report().connection, Connection::Lost);
        assert_eq!(
            bench.status.report().watermark_ms,
            Some(NOW),
            "the watermark waits"
        );
    }
    bench.bridge.world().heal();
    bench
        .bridge
        .world()
        .events
        .push(publish("b", 1, NOW + 61_000));
    bench.tick(60_000);
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.served(), ["a", "b"], "the window covered the outage");
    assert_eq!(bench.lifecycle.stage(), Stage::Ready);
}

#[tokio::test]
async fn retried_steps_keep_their_bounds() {
    let bench = Bench::start().await;
    bench
        .bridge
        .world()
        .fail("API_ID", 1, Fault::Status(500, "oops"));
    bench
        .synchronizer()
        .cycle()
        .await
        .expect("one retry is enough");
    let asked = bench.bridge.world().requests("/eventsLatest/_search");
    let asked: Vec<_> = asked
        .iter()
        .filter(|seen| seen.query.contains("API_ID"))
        .collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].body, asked[1].body);
}

#[tokio::test]
async fn broken_and_late_answers_are_tried_again() {
    for fault in [
        Fault::Torn,
        Fault::Body("<html>"),
        Fault::Body("{}"),
        Fault::Late(Duration::from_millis(1_500)),
    ] {
        let mut bench = Bench::start().await;
        bench.settings.client.read_timeout_ms = 1_000;
        bench.bridge.world().events.push(publish("a", 1, LONG_AGO));
        bench.bridge.world().fail("API_ID", 1, fault.clone());
        bench
            .synchronizer()
            .cycle()
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(bench.served(), ["a"], "{fault:?}");
    }
}

#[tokio::test]
async fn a_retried_first_cycle_sees_what_changed_since_the_first_attempt() {
    let mut bench = Bench::start().await;
    bench.sync.bulk_items = 1;
    bench.bridge.world().events = vec![
        publish("a", 1, LONG_AGO),
        publish("b", 1, LONG_AGO),
        publish("c", 1, LONG_AGO),
    ];
    bench
        .bridge
        .world()
        .fail("\"plan-c\"", 2, Fault::Status(500, ""));
    let mut synchronizer = bench.synchronizer();
    synchronizer
        .cycle()
        .await
        .expect_err("the third page fails");
    assert_eq!(
        bench.served(),
        ["a", "b"],
        "traffic flows as early as it can"
    );
    // Long before the next attempt a is unpublished, and b gets a subscription.
    bench.bridge.world().events.remove(0);
    bench
        .bridge
        .world()
        .subscriptions
        .push(subscription("s", "b", NOW + 1));
    bench
        .bridge
        .world()
        .keys
        .push(super::support::key("secret", &["s"], NOW + 1));
    bench.tick(300_000);
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.served(), ["b", "c"]);
    assert_eq!(bench.api("b").keys(), ["secret"]);
}

#[tokio::test]
async fn the_handshake_is_repeated_until_the_answer_is_right() {
    let bench = Bench::start().await;
    {
        let mut world = bench.bridge.world();
        world.fail("GET /_bridge?", 1, Fault::Body("{\"hello\":1}"));
        world.fail(
            "GET /_bridge?",
            1,
            Fault::Status(400, "Version of the bridge client is incompatible"),
        );
        world.fail("GET /_bridge?", 1, Fault::Torn);
        world.fail("GET /_bridge?", 1, Fault::Status(401, ""));
    }
    run(&bench, async {
        until("ready", || bench.lifecycle.stage() == Stage::Ready).await;
    })
    .await;
    assert_eq!(bench.bridge.world().requests("/_bridge").len(), 5);
    assert_eq!(
        bench.status.report().server_version.as_deref(),
        Some("4.12.17")
    );
    assert_eq!(bench.status.report().total_on_errors, 4);
}

#[tokio::test]
async fn refused_credentials_show_in_the_status_and_heal() {
    let bench = Bench::start().await;
    bench.bridge.world().token = Some("right".to_owned());
    run(&bench, async {
        until("refused", || {
            bench.status.report().connection == Connection::Unauthorized
        })
        .await;
        assert_eq!(bench.lifecycle.stage(), Stage::Syncing);
        bench.bridge.world().token = None;
        until("ready", || bench.lifecycle.stage() == Stage::Ready).await;
    })
    .await;
}
