//! The other places of counters: in the process (`local`, `async` steps), nowhere (`none`), and token buckets (contract policies 6.5, 6.7, 6.8).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::client::{Response, fetch};
use crate::support::definition::{Definition, v4};
use crate::support::fleet::{Fleet, burst, limit, number};
use crate::support::gateway::Start;
use crate::support::redis;
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, pause, until};

/// Policy, tag, start of the headers, start of the keys, name in texts, name in a refusal.
const WINDOWS: [(&str, &str, &str, &str, &str, &str); 3] = [
    (
        "rate-limit",
        "rl",
        "X-Rate-Limit",
        "RATE_LIMIT",
        "rate limit",
        "Rate limit",
    ),
    ("quota", "q", "X-Quota", "QUOTA", "quota", "Quota"),
    (
        "spike-arrest",
        "sa",
        "X-Spike-Arrest",
        "SPIKE_ARREST",
        "spike arrest",
        "Spike arrest",
    ),
];

fn api(id: &str, backend: &Backend, policy: &str, configuration: Value) -> Definition {
    v4(id, &format!("/{id}"), &backend.target("/bytes/2")).request(policy, configuration)
}

fn admitted(responses: &[Response]) -> usize {
    responses
        .iter()
        .filter(|response| response.status == 200)
        .count()
}

fn report(site: &Site, response: &Response) -> Value {
    let id = response.field("X-Gravitee-Request-Id").expect("an id");
    site.plane.report_of(id)
}

#[test]
fn local_counters_are_exact_over_the_workers_of_a_process() {
    let start = Start::new()
        .set("ratelimit.type", "local")
        .set("gateway.runtime.workers", "3");
    let site = Site::with(start, |backend| {
        let bucket = json!({
            "refillRate": 1, "refillPeriodTimeUnit": "DAYS", "burstCapacity": 1_000, "addHeaders": true,
        });
        let windows = ["rate-limit", "quota"].map(|policy| {
            let configuration = limit(policy, 1_000, 1, "HOURS", json!({}));
            api(policy, backend, policy, configuration)
        });
        let slices = limit("spike-arrest", 1, 1, "HOURS", json!({}));
        let asynchronous = limit("quota", 1_000, 1, "HOURS", json!({ "async": true }));
        let mut all = windows.to_vec();
        all.push(api("spike-arrest", backend, "spike-arrest", slices));
        all.push(api("asynchronous", backend, "quota", asynchronous));
        all.push(api("bucket", backend, "token-bucket-rate-limit", bucket));
        all
    });
    let workers = site.gateway.node("/workers");
    assert_eq!(
        workers["workers"].as_array().map(Vec::len),
        Some(3),
        "{workers}"
    );
    for (id, expected) in [
        ("rate-limit", 1_000),
        ("quota", 1_000),
        ("asynchronous", 1_000),
        ("spike-arrest", 1),
        ("bucket", 1_000),
    ] {
        let before = site.backend.requests();
        let responses = burst(&[site.port()], &format!("/{id}"), 2_000);
        println!("local {id}: {} of 2000 admitted", admitted(&responses));
        assert_eq!(admitted(&responses), expected, "{id}");
        assert_eq!(site.backend.requests() - before, expected as u64, "{id}");
    }
}

#[test]
fn without_a_store_requests_pass_with_a_warning_or_are_blocked() {
    let site = Site::with(Start::new(), |backend| {
        WINDOWS
            .iter()
            .flat_map(|(policy, ..)| {
                let of = |id: &str, more| {
                    let configuration = limit(policy, 1, 1, "HOURS", more);
                    let shown = json!({ "addHeaders": [{
                        "name": "X-Attributes",
                        "value": "{#context.attributes['quota.remaining']}/{#context.attributes['quota.limit']}/{#context.attributes['quota.count']}",
                    }] });
                    v4(id, &format!("/{id}"), &backend.target(""))
                        .request(policy, configuration)
                        .request("transform-headers", shown)
                };
                [
                    of(&format!("{policy}-default"), json!({})),
                    of(&format!("{policy}-pass"), json!({ "errorStrategy": "FALLBACK_PASS_TROUGH" })),
                    of(&format!("{policy}-block"), json!({ "errorStrategy": "BLOCK_ON_INTERNAL_ERROR" })),
                    of(&format!("{policy}-async"), json!({ "async": true })),
                ]
            })
            .collect()
    });
    let (mut warned, mut failed) = (Vec::new(), Vec::new());
    for (policy, _, prefix, key, name, capital) in WINDOWS {
        for strategy in ["default", "pass"] {
            for _ in 0..3 {
                let response = site.fetch(&format!("/{policy}-{strategy}"));
                assert_eq!(response.status, 200, "{policy} {strategy}");
                assert_eq!(number(&response, &format!("{prefix}-Limit")), 1);
                assert_eq!(number(&response, &format!("{prefix}-Reset")), -1);
                if policy == "spike-arrest" {
                    assert_eq!(
                        response.field("X-Spike-Arrest-Slice-Period"),
                        Some("3600000ms")
                    );
                } else {
                    assert_eq!(number(&response, &format!("{prefix}-Remaining")), 1);
                }
                let seen = site.backend.last().head;
                let attributes = if policy == "quota" { "1/1/" } else { "//" };
                assert_eq!(seen.field("X-Attributes"), Some(attributes), "{policy}");
            }
            let response = site.fetch(&format!("/{policy}-{strategy}"));
            let message = format!("Request bypassed {name} policy due to internal error");
            warned.push((response, format!("{key}_NOT_APPLIED"), message));
        }
        let blocked = site.fetch(&format!("/{policy}-block"));
        assert_eq!(blocked.status, 429, "{policy}");
        let message = format!("{capital} blocked the query due to internal error");
        assert_eq!(blocked.text(), message);
        failed.push((blocked, format!("{key}_BLOCK_ON_INTERNAL_ERROR")));
        // Steps that count in the process need no store.
        assert_eq!(site.fetch(&format!("/{policy}-async")).status, 200);
        assert_eq!(site.fetch(&format!("/{policy}-async")).status, 429);
    }
    for (response, key, message) in warned {
        let text = report(&site, &response).to_string();
        assert!(text.contains(&key) && text.contains(&message), "{text}");
    }
    for (response, key) in failed {
        assert_eq!(report(&site, &response)["error-key"], key);
    }
}

#[test]
fn as_many_counters_as_allowed_are_kept_and_the_strategy_decides_beyond_them() {
    let start = Start::new()
        .set("ratelimit.type", "local")
        .set("ratelimit.maxKeys", "100");
    let site = Site::with(start, |backend| {
        [
            ("pass", "FALLBACK_PASS_TROUGH"),
            ("block", "BLOCK_ON_INTERNAL_ERROR"),
        ]
        .iter()
        .map(|(id, strategy)| {
            let more = json!({ "key": "{#request.params['who'][0]}", "errorStrategy": strategy });
            api(id, backend, "quota", limit("quota", 1, 1, "HOURS", more))
        })
        .collect()
    });
    let kept = (0..150)
        .filter(|who| {
            let response = site.fetch(&format!("/pass?who={who}"));
            assert_eq!(response.status, 200);
            number(&response, "X-Quota-Reset") > 0
        })
        .count();
    assert_eq!(kept, 100);
    assert_eq!(site.fetch("/pass?who=0").status, 429, "it is kept");
    assert_eq!(site.fetch("/pass?who=149").status, 200);
    let blocked = site.fetch("/block?who=new");
    assert_eq!(
        blocked.text(),
        "Quota blocked the query due to internal error"
    );
    assert_eq!(
        site.gateway.metric("gateway_ratelimit_tracked_keys", &[]),
        100.0
    );
    assert_eq!(
        site.gateway
            .metric("gateway_ratelimit_dropped_keys_total", &[]),
        52.0
    );
}

#[test]
fn long_keys_use_up_the_room_of_several_counters() {
    let start = Start::new()
        .set("ratelimit.type", "local")
        .set("ratelimit.maxKeys", "100");
    let site = Site::with(start, |backend| {
        let more = json!({ "key": "{#request.params['who'][0]}" });
        vec![api(
            "long",
            backend,
            "quota",
            limit("quota", 1, 1, "HOURS", more),
        )]
    });
    let long = "x".repeat(2_500);
    let kept = (0..50)
        .filter(|who| {
            let response = site.fetch(&format!("/long?who={who}-{long}"));
            assert_eq!(response.status, 200);
            number(&response, "X-Quota-Reset") > 0
        })
        .count();
    assert!((5..=10).contains(&kept), "{kept}");
    assert_eq!(site.fetch(&format!("/long?who=0-{long}")).status, 429);
}

#[test]
fn async_steps_count_here_and_reconcile_with_what_others_counted() {
    if !redis::is_installed() {
        return;
    }
    let settings = [("services.ratelimit.async.flushInterval", "300")];
    let mut fleet = Fleet::start(2, &settings, |backend| {
        WINDOWS[..2]
            .iter()
            .map(|(policy, ..)| {
                let configuration = limit(policy, 20, 1, "HOURS", json!({ "async": true }));
                api(policy, backend, policy, configuration)
            })
            .collect()
    });
    let ports = fleet.ports();
    for (policy, tag, prefix, ..) in &WINDOWS[..2] {
        let path = format!("/{policy}");
        let key = format!("ratelimit:{policy}-plan127.0.0.1:{tag}");
        let counter = || fleet.redis.command(&["HGET", &key, "counter"]);
        let left = |port| number(&fetch(port, &path), &format!("{prefix}-Remaining"));
        assert_eq!((left(ports[0]), left(ports[0])), (19, 18));
        until("the first hits in Redis", PATIENCE, || {
            (counter() == "2").then_some(())
        });
        let reset = fleet.redis.command(&["HGET", &key, "reset"]);
        assert_eq!(
            fleet.redis.command(&["PEXPIRETIME", &key]),
            format!(":{reset}")
        );
        assert_eq!(fleet.redis.command(&["HGET", &key, "limit"]), "20");
        // Another gateway counts on its own until it tells and is told.
        fleet.redis.command(&["HINCRBY", &key, "counter", "9"]);
        let first = left(ports[1]);
        assert_eq!(first, 19, "it has not been told yet");
        until("the hit of the other gateway in Redis", PATIENCE, || {
            (counter() == "12").then_some(())
        });
        until("what the others counted", PATIENCE, || {
            let hits = counter().parse::<i64>().expect("a number");
            (left(ports[1]) < 20 - hits).then_some(())
        });
        // At most what each takes within an interval goes beyond the limit; then both refuse.
        until("refusals of both", PATIENCE, || {
            ports
                .iter()
                .all(|port| fetch(*port, &path).status == 429)
                .then_some(())
        });
    }
    // Redis is not needed for a request, and what was counted meanwhile is told later.
    fleet.redis.signal("STOP");
    let port = ports[0];
    assert_eq!(fetch(port, "/quota").status, 429);
    fleet.redis.signal("CONT");
    let counter = || {
        let text = fleet
            .redis
            .command(&["HGET", "ratelimit:quota-plan127.0.0.1:q", "counter"]);
        text.parse::<i64>().expect("a number")
    };
    // Hits of the last interval are told at the stop.
    let before = until("a quiet counter", PATIENCE, || {
        let before = counter();
        pause(Duration::from_millis(700));
        (counter() == before).then_some(before)
    });
    assert_eq!(fetch(port, "/quota").status, 429);
    assert_eq!(
        fleet.gateways[0].stop("TERM", Duration::from_secs(20)),
        Some(0)
    );
    assert_eq!(counter(), before + 1);
}

#[test]
fn async_steps_of_two_gateways_stay_within_what_they_take_on_their_own_and_tell_all_of_it() {
    if !redis::is_installed() {
        return;
    }
    let settings = [("services.ratelimit.async.flushInterval", "100")];
    let fleet = Fleet::start(2, &settings, |backend| {
        let configuration = limit("rate-limit", 500, 1, "HOURS", json!({ "async": true }));
        vec![api("rate", backend, "rate-limit", configuration)]
    });
    let responses = burst(&fleet.ports(), "/rate", 3_000);
    let admitted = admitted(&responses);
    println!("async: {admitted} of 3000 admitted by two gateways with a limit of 500");
    assert!((500..=1_000).contains(&admitted), "{admitted}");
    until(
        "every hit in Redis, refused ones included",
        PATIENCE,
        || {
            let key = "ratelimit:rate-plan127.0.0.1:rl";
            (fleet.redis.command(&["HGET", key, "counter"]) == "3000").then_some(())
        },
    );
}

#[test]
fn a_redeployment_forgets_no_local_counter() {
    let of = |target: &str, version: &str| {
        let configuration = limit("quota", 1, 1, "HOURS", json!({}));
        let shown = json!({ "addHeaders": [{ "name": "X-Version", "value": version }] });
        v4("some", "/some", target)
            .response("transform-headers", shown)
            .request("quota", configuration)
    };
    let start = Start::new().set("ratelimit.type", "local");
    let site = Site::with(start, |backend| vec![of(&backend.target(""), "1")]);
    let first = site.fetch("/some");
    assert_eq!((first.status, first.field("X-Version")), (200, Some("1")));
    site.plane
        .deploy(&of(&site.backend.target(""), "2").with(|definition| {
            definition["plans"][0]["name"] = json!("Renamed");
            definition["flows"][0]["request"][0]["configuration"]["quota"]["limit"] = json!(3);
        }));
    let changed = until("the new version", PATIENCE, || {
        let response = site.fetch("/some");
        (response.field("X-Quota-Limit") == Some("3")).then_some(response)
    });
    // Refused requests were counted; so it depends on how many there were whether this one passed.
    assert_eq!(changed.field("X-Quota-Reset"), first.field("X-Quota-Reset"));
    assert!(number(&changed, "X-Quota-Remaining") <= 1);
}

#[test]
fn async_steps_are_strict_where_the_service_is_switched_off() {
    if !redis::is_installed() {
        return;
    }
    let settings = [("services.ratelimit.enabled", "false")];
    let fleet = Fleet::start(2, &settings, |backend| {
        let configuration = limit("quota", 50, 1, "HOURS", json!({ "async": true }));
        vec![api("quota", backend, "quota", configuration)]
    });
    let responses = burst(&fleet.ports(), "/quota", 400);
    assert_eq!(admitted(&responses), 50);
    let counter = fleet
        .redis
        .command(&["HGET", "ratelimit:quota-plan127.0.0.1:q", "counter"]);
    assert_eq!(counter, "400");
}

#[test]
fn a_token_bucket_is_exact_over_two_gateways_and_refills() {
    if !redis::is_installed() {
        return;
    }
    let bucket = |rate: u32, unit: &str, capacity: u32| {
        json!({
            "refillRate": rate,
            "refillPeriodTime": 1,
            "refillPeriodTimeUnit": unit,
            "burstCapacity": capacity,
            "addHeaders": true,
        })
    };
    let policy = "token-bucket-rate-limit";
    let fleet = Fleet::start(2, &[], |backend| {
        vec![
            api("still", backend, policy, bucket(1, "DAYS", 100)),
            api("quick", backend, policy, bucket(4, "SECONDS", 2)),
        ]
    });
    let ports = fleet.ports();
    let responses = burst(&ports, "/still", 800);
    println!("token bucket: {} of 800 admitted", admitted(&responses));
    assert_eq!(admitted(&responses), 100);
    let refused = responses
        .iter()
        .find(|response| response.status == 429)
        .expect("a refusal");
    assert_eq!(number(refused, "X-Rate-Limit-Limit"), 100);
    assert_eq!(number(refused, "X-Rate-Limit-Remaining"), 0);
    assert_eq!(number(refused, "Retry-After"), 86_400);
    let id = refused.field("X-Gravitee-Request-Id").expect("an id");
    assert_eq!(
        fleet.plane.report_of(id)["error-key"],
        "TOKEN_BUCKET_RATE_LIMIT_TOO_MANY_REQUESTS"
    );
    let key = "tokenbucket:still-plan127.0.0.1:tb";
    assert_eq!(fleet.redis.command(&["HGET", key, "tokens"]), "0");
    assert_eq!(
        fleet.redis.command(&["HGET", key, "subscription"]),
        "127.0.0.1"
    );
    assert_eq!(fleet.redis.command(&["HEXISTS", key, "last_refill"]), ":1");
    assert_eq!(fleet.redis.command(&["HLEN", key]), ":3");

    let responses = burst(&ports, "/quick", 100);
    assert!(admitted(&responses) < 100, "the burst is not over");
    until("new tokens", PATIENCE, || {
        (fetch(ports[0], "/quick").status == 200).then_some(())
    });
}
