//! The stored state (contract sync 5.6, "our choice").

use turnpike_core::lifecycle::Stage;

use super::outages::{run, until};
use super::support::{Bench, LONG_AGO, NOW, key, publish, subscription};
use crate::bridge::fake::Fault;

/// A bench whose state was stored with APIs `a` and `b`, a subscription and a key.
async fn stored() -> (Bench, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::start().await;
    bench.store_in(folder.path().join("state"));
    {
        let mut world = bench.bridge.world();
        world.events = vec![publish("a", 1, LONG_AGO), publish("b", 1, LONG_AGO)];
        world.subscriptions.push(subscription("s", "a", LONG_AGO));
        world.keys.push(key("secret", &["s"], LONG_AGO));
    }
    bench.synchronizer().cycle().await.expect("a cycle");
    (bench, folder)
}

/// A new process on the same control plane and state file.
async fn restart(old: &Bench) -> Bench {
    let mut bench = Bench::start().await;
    bench.settings = old.settings.clone();
    bench.sync = old.sync.clone();
    bench
}

#[tokio::test]
async fn a_cold_start_without_control_plane_serves_the_stored_state() {
    let (old, _folder) = stored().await;
    old.bridge
        .world()
        .fail("", 1_000_000, Fault::Status(503, ""));
    let bench = restart(&old).await;
    run(&bench, async {
        until("ready", || bench.lifecycle.stage() == Stage::Ready).await;
        assert_eq!(bench.served(), ["a", "b"]);
        assert_eq!(bench.api("a").keys(), ["secret"]);
        let report = bench.status.report();
        assert_eq!(
            (report.served_from_store_ms, report.watermark_ms),
            (Some(NOW), None)
        );
        // Meanwhile b was unpublished, c is new, and the key was replaced.
        {
            let mut world = old.bridge.world();
            world.events = vec![publish("a", 1, LONG_AGO), publish("c", 1, LONG_AGO)];
            world.keys = vec![key("newer", &["s"], LONG_AGO)];
            world.heal();
        }
        until("in line", || bench.served() == ["a", "c"]).await;
        until("first cycle", || {
            bench.status.report().watermark_ms.is_some()
        })
        .await;
        assert_eq!(bench.api("a").keys(), ["newer"]);
        assert_eq!(bench.status.report().served_from_store_ms, None);
    })
    .await;
}

#[tokio::test]
async fn a_reachable_control_plane_wins_over_the_stored_state() {
    let (old, _folder) = stored().await;
    old.bridge.world().events = vec![publish("c", 1, LONG_AGO)];
    let bench = restart(&old).await;
    run(&bench, async {
        until("ready", || bench.lifecycle.stage() == Stage::Ready).await;
    })
    .await;
    assert_eq!(bench.served(), ["c"]);
}

#[tokio::test]
async fn a_damaged_or_foreign_state_is_left_alone() {
    let (old, folder) = stored().await;
    old.bridge
        .world()
        .fail("", 1_000_000, Fault::Status(503, ""));
    let mut foreign = restart(&old).await;
    foreign.settings.environments = vec!["other".to_owned()];
    let damaged = restart(&old).await;
    run(&foreign, async {
        until("a second attempt", || {
            foreign.status.report().total_on_errors > 1
        })
        .await;
    })
    .await;
    assert_eq!(foreign.lifecycle.stage(), Stage::Syncing);
    std::fs::write(folder.path().join("state"), "rubbish").expect("written");
    run(&damaged, async {
        until("a second attempt", || {
            damaged.status.report().total_on_errors > 1
        })
        .await;
    })
    .await;
    assert_eq!(damaged.lifecycle.stage(), Stage::Syncing);
    assert!(damaged.served().is_empty());
}

#[tokio::test]
async fn a_quiet_cycle_does_not_write() {
    let (bench, folder) = stored().await;
    let path = folder.path().join("state");
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    std::fs::remove_file(&path).expect("a state");
    bench.tick(1_000);
    synchronizer.cycle().await.expect("a quiet cycle");
    assert!(!path.exists());
    bench.bridge.world().keys = vec![key("newer", &["s"], bench.now())];
    synchronizer.cycle().await.expect("a cycle with a change");
    assert!(path.exists());
}
