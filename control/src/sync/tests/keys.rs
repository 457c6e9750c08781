//! Subscriptions and keys (cases 6 and 7).

use serde_json::json;

use super::support::{Bench, LONG_AGO, NOW, event, key, publish, subscription};
use crate::bridge::fake::Fault;
use crate::bridge::wire::{ApiKey, Subscription};

/// A bench with API `a`, its subscription `s` and key `secret`, synchronised once.
async fn bench() -> Bench {
    let bench = Bench::start().await;
    {
        let mut world = bench.bridge.world();
        world.events.push(publish("a", 1, LONG_AGO));
        world.subscriptions.push(subscription("s", "a", LONG_AGO));
        world.keys.push(key("secret", &["s"], LONG_AGO));
    }
    bench
}

#[tokio::test]
async fn the_first_load_asks_for_what_is_usable_now() {
    let bench = bench().await;
    {
        let mut world = bench.bridge.world();
        let ended = Subscription {
            ending_at: Some(NOW - 1),
            ..subscription("ended", "a", LONG_AGO)
        };
        let closed = Subscription {
            status: Some("CLOSED".to_owned()),
            ..subscription("closed", "a", LONG_AGO)
        };
        world.subscriptions.extend([ended, closed]);
        world.keys.push(ApiKey {
            expire_at: Some(NOW - 1),
            ..key("expired", &["s"], LONG_AGO)
        });
        world.keys.push(ApiKey {
            revoked: true,
            ..key("revoked", &["s"], LONG_AGO)
        });
        world.keys.push(ApiKey {
            federated: true,
            ..key("federated", &["s"], LONG_AGO)
        });
        world.keys.push(ApiKey {
            expire_at: Some(NOW + 1),
            ..key("expiring", &["s"], LONG_AGO)
        });
    }
    bench.synchronizer().cycle().await.expect("a cycle");
    assert_eq!(bench.api("a").keys(), ["expiring", "secret"]);
    let table = bench.api("a").table;
    assert_eq!(
        table.key("expiring").expect("a key").expire_at_ms,
        u64::try_from(NOW + 1).ok()
    );
    let world = bench.bridge.world();
    let asked = world.requests("/subscriptions/_search");
    assert_eq!(asked[0].query, "order=ASC&field=updatedAt");
    let expected = json!({ "plans": ["plan-a"], "statuses": ["ACCEPTED"], "endingAtAfter": NOW, "includeWithoutEnd": true });
    assert_eq!(asked[0].body, expected);
    let asked = world.requests("/keys/_findByCriteria");
    assert_eq!(
        asked[0].body,
        json!({ "subscriptions": ["s"], "expireAfter": NOW, "includeWithoutExpiration": true })
    );
}

#[tokio::test]
async fn a_later_deployment_asks_for_every_state() {
    let bench = bench().await;
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    bench.bridge.world().seen.clear();
    bench.bridge.world().events = vec![publish("a", 2, NOW)];
    synchronizer.cycle().await.expect("a cycle");
    let world = bench.bridge.world();
    let statuses = ["ACCEPTED", "CLOSED", "PAUSED", "PENDING"];
    let asked = world.requests("/subscriptions/_search");
    assert_eq!(
        asked[0].body,
        json!({ "plans": ["plan-a"], "statuses": statuses })
    );
    let window = json!({ "statuses": statuses, "from": NOW - 30_000, "to": NOW + 30_000 });
    assert_eq!(asked[1].body, window, "then the changes of the window");
    assert_eq!(
        world.requests("/keys/_findByCriteria")[0].body,
        json!({ "subscriptions": ["s"], "includeRevoked": true })
    );
}

#[tokio::test]
async fn keys_are_fetched_in_chunks_and_only_for_plans_that_take_them() {
    let mut bench = Bench::start().await;
    bench.sync.key_subscriptions_chunk = 2;
    {
        let mut world = bench.bridge.world();
        world.events.push(event(
            "PUBLISH_API",
            "a",
            1,
            LONG_AGO,
            &json!({ "plans": ["plan-a", "jwt"] }),
        ));
        world.events.push(event(
            "PUBLISH_API",
            "open",
            1,
            LONG_AGO,
            &json!({ "plans": [] }),
        ));
        for n in 0..5 {
            world
                .subscriptions
                .push(subscription(&format!("s{n}"), "a", LONG_AGO));
            world
                .keys
                .push(key(&format!("key-{n}"), &[&format!("s{n}")], LONG_AGO));
        }
        world.subscriptions.push(Subscription {
            plan: Some("jwt".to_owned()),
            ..subscription("j", "a", LONG_AGO)
        });
    }
    bench.synchronizer().cycle().await.expect("a cycle");
    assert_eq!(bench.api("a").keys().len(), 5);
    let chunks: Vec<usize> = bench
        .bridge
        .world()
        .requests("/keys/_findByCriteria")
        .iter()
        .map(|seen| seen.body["subscriptions"].as_array().map_or(0, Vec::len))
        .collect();
    assert_eq!(chunks, [2, 2, 1]);
}

#[tokio::test]
async fn revoked_and_paused_keys_stop_working_and_resumed_ones_work_again() {
    let bench = bench().await;
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    for (revoked, paused, works) in [
        (false, true, true),
        (false, false, true),
        (true, false, false),
        (false, false, true),
    ]
    .map(|(r, p, w)| (r, p, w && !p))
    {
        bench.tick(1_000);
        bench.bridge.world().keys = vec![ApiKey {
            revoked,
            paused,
            ..key("secret", &["s"], bench.now())
        }];
        synchronizer.cycle().await.expect("a cycle");
        assert_eq!(
            !bench.api("a").keys().is_empty(),
            works,
            "revoked {revoked}, paused {paused}"
        );
    }
}

#[tokio::test]
async fn a_key_shared_by_two_subscriptions_works_on_both_apis_until_one_ends() {
    let bench = bench().await;
    {
        let mut world = bench.bridge.world();
        world.events.push(publish("b", 1, LONG_AGO));
        world.subscriptions.push(subscription("t", "b", LONG_AGO));
        world.keys = vec![key("shared", &["s", "t"], LONG_AGO)];
    }
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(
        (bench.api("a").keys(), bench.api("b").keys()),
        (vec!["shared".to_owned()], vec!["shared".to_owned()])
    );
    bench.bridge.world().subscriptions[1] = Subscription {
        status: Some("CLOSED".to_owned()),
        ..subscription("t", "b", NOW)
    };
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(
        (bench.api("a").keys(), bench.api("b").keys()),
        (vec!["shared".to_owned()], Vec::new())
    );
}

#[tokio::test]
async fn subscriptions_close_pause_resume_and_get_an_end() {
    let bench = bench().await;
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    for (status, works) in [
        ("PAUSED", false),
        ("ACCEPTED", true),
        ("CLOSED", false),
        ("CLOSED", false),
        ("ACCEPTED", true),
    ] {
        bench.tick(1_000);
        let changed = Subscription {
            status: Some(status.to_owned()),
            ..subscription("s", "a", bench.now())
        };
        bench.bridge.world().subscriptions = vec![changed];
        synchronizer.cycle().await.expect("a cycle");
        assert_eq!(!bench.api("a").keys().is_empty(), works, "{status}");
    }
    bench.tick(1_000);
    let ending = Subscription {
        ending_at: Some(bench.now() + 7),
        ..subscription("s", "a", bench.now())
    };
    bench.bridge.world().subscriptions = vec![ending];
    synchronizer.cycle().await.expect("a cycle");
    let table = bench.api("a").table;
    let found = table
        .key("secret")
        .expect("the core decides by its clock")
        .subscription
        .ending_at_ms;
    assert_eq!(found, u64::try_from(bench.now() + 7).ok());
}

#[tokio::test]
async fn a_new_subscription_brings_its_old_key_in_the_same_cycle() {
    let bench = bench().await;
    bench
        .bridge
        .world()
        .keys
        .push(key("older", &["late"], LONG_AGO));
    let mut synchronizer = bench.synchronizer();
    synchronizer.cycle().await.expect("a cycle");
    bench
        .bridge
        .world()
        .subscriptions
        .push(subscription("late", "a", NOW));
    // A failure between the two calls must not lose the key.
    bench
        .bridge
        .world()
        .fail("\"late\"", 2, Fault::Status(503, ""));
    synchronizer
        .cycle()
        .await
        .expect_err("keys are not available");
    assert_eq!(bench.api("a").keys(), ["secret"]);
    synchronizer.cycle().await.expect("a cycle");
    assert_eq!(bench.api("a").keys(), ["older", "secret"]);
}
