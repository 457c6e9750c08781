//! Limits that hold exactly over several gateways on one Redis, and counters that Java gateways can share (contract policies 6.2 to 6.6).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::client::{Response, fetch, fetch_with};
use crate::support::definition::{Definition, v4};
use crate::support::fleet::{Fleet, burst, limit, number};
use crate::support::redis::{self, Redis};
use crate::support::wait::{PATIENCE, until};

/// An API with one step; its backend's answers are short.
fn api(id: &str, backend: &Backend, policy: &str, configuration: Value) -> Definition {
    v4(id, &format!("/{id}"), &backend.target("/bytes/2")).request(policy, configuration)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("the clock is right").as_millis()).expect("a time")
}

fn hget(redis: &Redis, key: &str, field: &str) -> String {
    redis.command(&["HGET", key, field])
}

fn split(responses: &[Response]) -> (Vec<&Response>, Vec<&Response>) {
    for response in responses {
        assert!(
            matches!(response.status, 200 | 429),
            "{} {}",
            response.status,
            response.text()
        );
    }
    responses
        .iter()
        .partition(|response| response.status == 200)
}

/// Policy, tag, prefix of the headers.
const WINDOWS: [(&str, &str, &str); 2] = [
    ("rate-limit", "rl", "X-Rate-Limit"),
    ("quota", "q", "X-Quota"),
];

#[test]
fn two_gateways_admit_exactly_the_limit_and_keep_the_counter_of_the_reference() {
    if !redis::is_installed() {
        return;
    }
    let cases: Vec<(String, _, i64, usize)> = WINDOWS
        .into_iter()
        .flat_map(|window| {
            [(1, 400), (100, 800), (5_000, 10_000)]
                .map(|(limit, offered)| (format!("{}-{limit}", window.0), window, limit, offered))
        })
        .collect();
    let fleet = Fleet::start(2, &[], |backend| {
        cases
            .iter()
            .map(|(id, (policy, ..), allowed, _)| {
                let configuration = limit(policy, *allowed, 5, "HOURS", json!({}));
                api(id, backend, policy, configuration)
            })
            .collect()
    });
    for (id, (policy, tag, prefix), limit, offered) in &cases {
        let (limit, offered) = (*limit, *offered);
        let opened = now_ms();
        let before = fleet.backend.requests();
        let responses = burst(&fleet.ports(), &format!("/{id}"), offered);
        let (admitted, refused) = split(&responses);
        println!("{id}: {} of {offered} admitted", admitted.len());
        assert_eq!(admitted.len() as i64, limit, "{id}");
        assert_eq!(admitted.len() + refused.len(), offered, "{id}");
        assert_eq!(fleet.backend.requests() - before, limit as u64, "{id}");

        // Every unit was handed out once, and all are of one window.
        let mut left: Vec<i64> = admitted
            .iter()
            .map(|response| number(response, &format!("{prefix}-Remaining")))
            .collect();
        left.sort_unstable();
        assert!(left.into_iter().eq(0..limit), "{id}");
        let reset = number(&responses[0], &format!("{prefix}-Reset"));
        let period = 5 * 3_600_000;
        assert!(
            (opened + period - 1_000..=now_ms() + period).contains(&(reset as u64)),
            "{id}"
        );
        let what = if *policy == "quota" {
            "Quota"
        } else {
            "Rate limit"
        };
        let text =
            format!("{what} exceeded! You reached the limit of {limit} requests per 5 hours");
        for response in &responses {
            assert_eq!(number(response, &format!("{prefix}-Limit")), limit, "{id}");
            assert_eq!(number(response, &format!("{prefix}-Reset")), reset, "{id}");
            assert_eq!(response.field("Retry-After"), None);
        }
        for response in &refused {
            assert_eq!(number(response, &format!("{prefix}-Remaining")), 0, "{id}");
            assert_eq!(response.text(), text, "{id}");
            assert!(!response.closes(), "{id}");
        }

        // The counter in Redis is that of the reference, refused requests included.
        let key = format!("ratelimit:{id}-plan127.0.0.1:{tag}");
        assert_eq!(fleet.redis.command(&["TYPE", &key]), "+hash", "{key}");
        assert_eq!(fleet.redis.command(&["HLEN", &key]), ":4", "{key}");
        for (field, expected) in [
            ("counter", offered.to_string()),
            ("limit", limit.to_string()),
            ("reset", reset.to_string()),
            ("subscription", "127.0.0.1".to_owned()),
        ] {
            assert_eq!(hget(&fleet.redis, &key, field), expected, "{key} {field}");
        }
        let expiry = fleet.redis.command(&["PEXPIRETIME", &key]);
        assert_eq!(expiry, format!(":{reset}"), "{key}");
    }
}

/// The full acceptance run: `cargo test --test blackbox four_gateways -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn four_gateways_admit_exactly_ten_thousand_ten_times() {
    if !redis::is_installed() {
        return;
    }
    let fleet = Fleet::start(4, &[], |backend| {
        let configuration = limit("quota", 10_000, 5, "HOURS", json!({}));
        vec![api("quota", backend, "quota", configuration)]
    });
    for run in 1..=10 {
        fleet.redis.command(&["FLUSHALL"]);
        let before = fleet.backend.requests();
        let responses = burst(&fleet.ports(), "/quota", 40_000);
        let admitted = split(&responses).0.len();
        println!("run {run}: {admitted} of 40000 admitted");
        assert_eq!(admitted, 10_000, "run {run}");
        assert_eq!(fleet.backend.requests() - before, 10_000, "run {run}");
        let counter = hget(&fleet.redis, "ratelimit:quota-plan127.0.0.1:q", "counter");
        assert_eq!(counter, "40000", "run {run}");
    }
}

#[test]
fn two_gateways_admit_exactly_the_hits_of_each_slice() {
    if !redis::is_installed() {
        return;
    }
    // Limit, period, unit; hits and milliseconds of a slice.
    let cases = [
        (1, 1, "HOURS", 1, 3_600_000),
        (100, 60_000, "SECONDS", 1, 600_000),
        (50, 1, "SECONDS", 5, 100),
        (5_000, 1, "SECONDS", 500, 100),
    ];
    let fleet = Fleet::start(2, &[], |backend| {
        cases
            .iter()
            .map(|(allowed, time, unit, ..)| {
                let configuration = limit("spike-arrest", *allowed, *time, unit, json!({}));
                api(
                    &format!("spike-{allowed}"),
                    backend,
                    "spike-arrest",
                    configuration,
                )
            })
            .collect()
    });
    for (limit, _, _, hits, slice_ms) in cases {
        let offered = if limit == 5_000 { 10_000 } else { 800 };
        let before = fleet.backend.requests();
        let responses = burst(&fleet.ports(), &format!("/spike-{limit}"), offered);
        let (admitted, refused) = split(&responses);
        println!("spike-{limit}: {} of {offered} admitted", admitted.len());
        assert_eq!(fleet.backend.requests() - before, admitted.len() as u64);
        let text = format!(
            "Spike limit exceeded! You reached the limit of {hits} requests per {slice_ms} ms."
        );
        let mut slices: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for response in &responses {
            assert_eq!(number(response, "X-Spike-Arrest-Limit"), hits);
            assert_eq!(
                response.field("X-Spike-Arrest-Slice-Period"),
                Some(&*format!("{slice_ms}ms"))
            );
            let slice = slices
                .entry(number(response, "X-Spike-Arrest-Reset"))
                .or_default();
            slice.0 += 1;
            slice.1 += i64::from(response.status == 200);
        }
        for (reset, (all, passed)) in &slices {
            assert_eq!(*passed, hits.min(*all), "spike-{limit}, slice {reset}");
        }
        if slice_ms > 1_000 {
            assert_eq!((slices.len(), admitted.len()), (1, 1), "spike-{limit}");
            let key = format!("ratelimit:spike-{limit}-plan127.0.0.1:sa");
            assert_eq!(hget(&fleet.redis, &key, "counter"), offered.to_string());
        }
        for response in refused {
            assert_eq!(response.text(), text);
        }
    }
}

#[test]
fn a_refusal_names_its_key_in_every_form_and_can_be_rewritten_by_a_template() {
    if !redis::is_installed() {
        return;
    }
    let policies = [
        (
            "rate-limit",
            "RATE_LIMIT",
            "Rate limit exceeded! You reached the limit of 1 requests per 1 hours",
        ),
        (
            "quota",
            "QUOTA",
            "Quota exceeded! You reached the limit of 1 requests per 1 hours",
        ),
        (
            "spike-arrest",
            "SPIKE_ARREST",
            "Spike limit exceeded! You reached the limit of 1 requests per 3600000 ms.",
        ),
    ];
    let fleet = Fleet::start(1, &[], |backend| {
        policies
            .iter()
            .flat_map(|(policy, key, _)| {
                let configuration = limit(policy, 1, 1, "HOURS", json!({}));
                let plain = api(policy, backend, policy, configuration.clone());
                let other = api(&format!("{policy}-other"), backend, policy, configuration);
                let templates = json!({ format!("{key}_TOO_MANY_REQUESTS"): { "*/*": {
                    "status": 420,
                    "body": "{#error.key} {#parameters['limit']} {#parameters['period_time']} {#parameters['period_unit']}",
                } } });
                [plain, other.with(|definition| definition["responseTemplates"] = templates)]
            })
            .collect()
    });
    let port = fleet.gateways[0].port;
    let mut refused = Vec::new();
    for (policy, key, text) in policies {
        let key = format!("{key}_TOO_MANY_REQUESTS");
        let path = format!("/{policy}");
        assert_eq!(fetch(port, &path).status, 200);
        let bare = fetch(port, &path);
        assert_eq!((bare.status, bare.text()), (429, text.to_owned()));
        assert_eq!(bare.field("Content-Type"), Some("text/plain"));
        let typed = fetch_with(port, &path, &[("Accept", "application/json")]);
        assert_eq!(typed.status, 429);
        assert_eq!(typed.field("Content-Type"), Some("application/json"));
        assert_eq!(
            typed.json(),
            json!({ "message": text, "http_status_code": 429 })
        );
        refused.push((typed, key.clone()));

        let path = format!("/{policy}-other");
        assert_eq!(fetch(port, &path).status, 200);
        let templated = fetch_with(port, &path, &[("Accept", "*/*")]);
        assert_eq!(templated.status, 420, "{}", templated.text());
        assert_eq!(templated.text(), format!("{key} 1 1 HOURS"));
    }
    for (response, key) in refused {
        let id = response.field("X-Gravitee-Request-Id").expect("an id");
        let report = fleet.plane.report_of(id);
        assert_eq!(
            (&report["error-key"], &report["status"]),
            (&json!(key), &json!(429))
        );
    }
}

#[test]
fn a_counter_that_a_java_gateway_made_is_honoured_and_not_renewed() {
    if !redis::is_installed() {
        return;
    }
    let fleet = Fleet::start(2, &[], |backend| {
        WINDOWS
            .iter()
            .map(|(policy, ..)| {
                let configuration = limit(policy, 10, 1, "HOURS", json!({}));
                api(policy, backend, policy, configuration)
            })
            .collect()
    });
    let ports = fleet.ports();
    for (policy, tag, prefix) in WINDOWS {
        let key = format!("ratelimit:{policy}-plan127.0.0.1:{tag}");
        // Its window ends elsewhere and its limit is an old one: the configured limit decides at once, the window stays.
        let reset = (now_ms() + 600_000).to_string();
        fleet.redis.command(&[
            "HSET",
            &key,
            "counter",
            "7",
            "limit",
            "20",
            "reset",
            &reset,
            "subscription",
            "127.0.0.1",
        ]);
        fleet.redis.command(&["PEXPIREAT", &key, &reset]);
        for (at, (status, left)) in [(200, "2"), (200, "1"), (200, "0"), (429, "0")]
            .into_iter()
            .enumerate()
        {
            let response = fetch(ports[at % 2], &format!("/{policy}"));
            assert_eq!(response.status, status);
            assert_eq!(response.field(&format!("{prefix}-Limit")), Some("10"));
            assert_eq!(response.field(&format!("{prefix}-Remaining")), Some(left));
            assert_eq!(response.field(&format!("{prefix}-Reset")), Some(&*reset));
        }
        assert_eq!(hget(&fleet.redis, &key, "counter"), "11");
        assert_eq!(hget(&fleet.redis, &key, "limit"), "20");
        assert_eq!(
            fleet.redis.command(&["PEXPIRETIME", &key]),
            format!(":{reset}")
        );
    }
}

#[test]
fn counters_outlive_a_gateway_that_is_killed_and_steps_of_one_flow_count_apart() {
    if !redis::is_installed() {
        return;
    }
    let mut fleet = Fleet::start(2, &[], |backend| {
        let mut all = v4("all", "/all", &backend.target("/bytes/2"));
        for (policy, allowed) in [("rate-limit", 4), ("quota", 6), ("spike-arrest", 1)] {
            let time = if policy == "spike-arrest" { 1 } else { 5 };
            let more = json!({ "key": "{#request.params['who'][0]}" });
            all = all.request(policy, limit(policy, allowed, time, "HOURS", more));
        }
        vec![all]
    });
    let ports = fleet.ports();
    let first = fetch(ports[0], "/all?who=a");
    assert_eq!(first.status, 200);
    for (name, value) in [
        ("X-Rate-Limit-Limit", "4"),
        ("X-Rate-Limit-Remaining", "3"),
        ("X-Quota-Limit", "6"),
        ("X-Quota-Remaining", "5"),
        ("X-Spike-Arrest-Limit", "1"),
        ("X-Spike-Arrest-Slice-Period", "3600000ms"),
    ] {
        assert_eq!(first.field(name), Some(value), "{name}");
    }
    fleet.gateways[0].process.kill();
    for (text, quota_left) in [
        ("Spike limit", Some("4")),
        ("Spike limit", Some("3")),
        ("Spike limit", Some("2")),
        ("Rate limit", None),
    ] {
        let refused = fetch(ports[1], "/all?who=a");
        assert_eq!(refused.status, 429);
        assert!(refused.text().starts_with(text), "{}", refused.text());
        assert_eq!(refused.field("X-Quota-Remaining"), quota_left);
    }
    assert_eq!(
        fetch(ports[1], "/all?who=b").status,
        200,
        "another consumer"
    );
}

/// One part of the limits below.
const PART: i64 = 100;

#[test]
fn leases_admit_the_limit_and_never_more_and_go_back_at_the_stop() {
    if !redis::is_installed() {
        return;
    }
    let settings = [
        ("ratelimit.redis.mode", "lease"),
        ("ratelimit.redis.lease.percent", "10"),
        ("ratelimit.redis.lease.settleInterval", "200"),
    ];
    let mut fleet = Fleet::start(2, &settings, |backend| {
        ["used-up", "hardly-used"]
            .iter()
            .map(|id| {
                let configuration = limit("quota", 10 * PART, 1, "HOURS", json!({}));
                api(id, backend, "quota", configuration)
            })
            .collect()
    });
    let ports = fleet.ports();
    let responses = burst(&ports, "/used-up", 2_000);
    let mut admitted = split(&responses).0.len() as i64;
    println!("lease: {admitted} of 2000 admitted at first");
    assert!(admitted <= 10 * PART, "{admitted}");
    assert!(admitted >= 10 * PART - 2 * PART, "{admitted}");
    // What one held unused is given back, and then served.
    until("the rest of the limit", PATIENCE, || {
        let more = burst(&ports, "/used-up", 16);
        admitted += split(&more).0.len() as i64;
        (admitted >= 10 * PART).then_some(())
    });
    let responses = burst(&ports, "/used-up", 200);
    assert_eq!(split(&responses).0.len(), 0);
    assert_eq!(admitted, 10 * PART);
    let key = "ratelimit:used-up-plan127.0.0.1:q";
    assert_eq!(hget(&fleet.redis, key, "counter"), (10 * PART).to_string());

    let key = "ratelimit:hardly-used-plan127.0.0.1:q";
    for port in ports {
        assert_eq!(fetch(port, "/hardly-used").status, 200);
    }
    for gateway in &mut fleet.gateways {
        assert_eq!(gateway.stop("TERM", Duration::from_secs(20)), Some(0));
    }
    assert_eq!(hget(&fleet.redis, key, "counter"), "2");
    assert_eq!(fleet.redis.command(&["HLEN", key]), ":4");
}
