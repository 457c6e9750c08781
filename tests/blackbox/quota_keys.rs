//! Whose requests are counted together, and what expressions decide: keys of counters, limits, periods, attributes (contract policies 6.2
//! to 6.4), for every form of a definition.

use serde_json::{Value, json};

use crate::support::client::{Response, fetch, fetch_with};
use crate::support::definition::{Definition, v2, v4};
use crate::support::fleet::{Fleet, limit, number};
use crate::support::gateway::Gateway;
use crate::support::redis::{self, Redis};
use crate::support::wait::{PATIENCE, until};

fn counter(redis: &Redis, key: &str) -> String {
    redis.command(&["HGET", &format!("ratelimit:{key}"), "counter"])
}

fn error_key(fleet: &Fleet, response: &Response) -> Value {
    let id = response.field("X-Gravitee-Request-Id").expect("an id");
    fleet.plane.report_of(id)["error-key"].clone()
}

/// Puts the flows of a V2 definition on other paths: one flow each, with the same step.
fn on_paths(definition: Definition, paths: &[&str]) -> Definition {
    definition.with(|definition| {
        let flow = definition["flows"][0].clone();
        definition["flows"] = paths
            .iter()
            .map(|path| {
                let mut flow = flow.clone();
                flow["path-operator"]["path"] = json!(path);
                flow
            })
            .collect();
    })
}

#[test]
fn every_engine_names_its_counters_as_the_reference_does() {
    if !redis::is_installed() {
        return;
    }
    let windows = [("rate-limit", "rl"), ("quota", "q"), ("spike-arrest", "sa")];
    let fleet = Fleet::start(1, &[], |backend| {
        let target = backend.target("");
        windows
            .iter()
            .flat_map(|(policy, tag)| {
                let plain = limit(policy, 1, 1, "HOURS", json!({}));
                let make = |id: &str, key: &str, only: bool| {
                    let more = json!({ "key": key, "useKeyOnly": only });
                    let configuration = limit(policy, 1, 1, "HOURS", more);
                    let id = format!("{id}-{tag}");
                    v4(&id, &format!("/{id}"), &target).request(policy, configuration)
                };
                let old = |id: &str, mode: &str| {
                    let id = format!("{id}-{tag}");
                    on_paths(
                        v2(&id, &format!("/{id}"), &target).request(policy, plain.clone()),
                        &["/", "/my/path"],
                    )
                    .with(|definition| definition["execution_mode"] = json!(mode))
                };
                [
                    make("static", "k1", false),
                    make("dynamic", "{('k' + 1)}", false),
                    make("header", "{#request.headers['X-Who'][0]}", false),
                    make("only", &format!("shared-{tag}"), true),
                    make("only-too", &format!("shared-{tag}"), true),
                    make("only-header", "{#request.headers['X-Who'][0]}", true),
                    make("nothing", "{#context.attributes['nothing']}", false),
                    make("only-nothing", "{#context.attributes['nothing']}", true),
                    make("broken", "{#request.nope}", false),
                    old("emulated", "v4-emulation-engine"),
                    old("old", "v3"),
                ]
            })
            .collect()
    });
    let port = fleet.gateways[0].port;
    let mut failed = Vec::new();
    for (policy, tag) in windows {
        let ask = |path: &str, fields: &[(&str, &str)]| {
            fetch_with(port, &path.replace("TAG", tag), fields).status
        };
        let who = [("X-Who", "alice")];
        for (path, fields, key) in [
            ("/static-TAG", &[][..], "static-TAG-plan127.0.0.1:k1:TAG"),
            ("/dynamic-TAG", &[], "dynamic-TAG-plan127.0.0.1:k1:TAG"),
            ("/header-TAG", &who, "header-TAG-plan127.0.0.1:alice:TAG"),
            // A key without a value is left out.
            ("/nothing-TAG", &[], "nothing-TAG-plan127.0.0.1:TAG"),
            ("/only-header-TAG", &who, "alice:TAG"),
            ("/only-nothing-TAG", &[], ":TAG"),
            ("/old-TAG/x", &[], "old-TAG-plan127.0.0.1:TAG:47"),
        ] {
            let key = key.replace("TAG", tag);
            assert_eq!(ask(path, fields), 200, "{path} {fields:?}");
            assert_eq!(counter(&fleet.redis, &key), "1", "{key}");
            assert_eq!(ask(path, fields), 429, "{path} {fields:?}");
            assert_eq!(counter(&fleet.redis, &key), "2", "{key}");
        }
        // The API is no part of such a key.
        assert_eq!(ask("/only-TAG", &[]), 200);
        assert_eq!(ask("/only-too-TAG", &[]), 429);
        assert_eq!(counter(&fleet.redis, &format!("shared-{tag}:{tag}")), "2");
        // Two steps of one plan share a counter where no path tells them apart.
        assert_eq!(ask("/emulated-TAG/my/path", &[]), 429);
        assert_eq!(
            counter(&fleet.redis, &format!("emulated-{tag}-plan127.0.0.1:{tag}")),
            "2"
        );
        assert_eq!(
            ask("/old-TAG/my/path", &[]),
            429,
            "the first step is used up"
        );
        // Java's hash of `/my/path`.
        let hash = "/my/path".encode_utf16().fold(0_i32, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        });
        let key = format!("old-{tag}-plan127.0.0.1:{tag}:{hash}");
        assert_eq!(counter(&fleet.redis, &key), "$-1", "its step did not run");
        fleet.redis.command(&[
            "DEL",
            &format!("ratelimit:old-{tag}-plan127.0.0.1:{tag}:47"),
        ]);
        assert_eq!(ask("/old-TAG/my/path", &[]), 200);
        assert_eq!(counter(&fleet.redis, &key), "1", "{key}");

        let broken = fetch(port, &format!("/broken-{tag}"));
        assert_eq!(
            (broken.status, broken.text()),
            (500, "Unknown error".to_owned())
        );
        let expected = format!("{}_SERVER_ERROR", policy.to_uppercase().replace('-', "_"));
        failed.push((broken, expected));
    }
    for (response, expected) in failed {
        assert_eq!(error_key(&fleet, &response), expected);
    }
}

#[test]
fn consumers_are_counted_by_plan_and_subscription_and_before_a_plan_by_api() {
    if !redis::is_installed() {
        return;
    }
    let fleet = Fleet::start(1, &[], |backend| {
        let configuration = limit("quota", 2, 1, "HOURS", json!({}));
        vec![
            v4("keyed", "/keyed", &backend.target(""))
                .api_key()
                .request("quota", configuration),
            v4("free", "/free", &backend.target("")),
        ]
    });
    for key in ["one", "two"] {
        fleet.plane.subscribe("keyed", key, json!({}));
    }
    let port = fleet.gateways[0].port;
    let ask = |key: &str| fetch_with(port, "/keyed", &[("X-Gravitee-Api-Key", key)]);
    for key in ["one", "two"] {
        until("the key", PATIENCE, || {
            (ask(key).status == 200).then_some(())
        });
        assert_eq!((ask(key).status, ask(key).status), (200, 429), "{key}");
        let found = counter(
            &fleet.redis,
            &format!("keyed-plankeyed-{key}-subscription:q"),
        );
        assert_eq!(found, "3", "{key}");
    }
    // Flows of the organization run before a plan is known.
    let organization = json!([{
        "name": "all",
        "enabled": true,
        "path-operator": { "path": "/", "operator": "STARTS_WITH" },
        "methods": [],
        "pre": [{
            "name": "limit",
            "policy": "rate-limit",
            "enabled": true,
            "configuration": limit("rate-limit", 1_000, 1, "HOURS", json!({})),
        }],
        "post": [],
    }]);
    fleet.plane.publish_organization("DEFAULT", organization);
    until("the organization's flow", PATIENCE, || {
        fetch(port, "/free").field("X-Rate-Limit-Limit").map(|_| ())
    });
    assert_eq!(counter(&fleet.redis, "free:rl"), "1");
    assert_eq!(
        fleet
            .redis
            .command(&["HGET", "ratelimit:free:rl", "subscription"]),
        ""
    );
}

#[test]
fn limits_and_periods_may_be_expressions_and_their_failures_are_no_store_failures() {
    if !redis::is_installed() {
        return;
    }
    let properties = |definition: Definition| {
        definition.with(|definition| {
            definition["properties"] =
                json!([{ "key": "limit", "value": "2" }, { "key": "period", "value": "7200" }]);
        })
    };
    let expression = "{#api.properties['limit']}";
    let dynamic = json!({ "dynamicLimit": expression });
    let period = json!({
        "dynamicLimit": expression,
        "dynamicPeriodTime": "{#api.properties['period']}",
        "periodTimeUnit": "MINUTES",
    });
    let broken = json!({ "dynamicLimit": "{#request.nope}" });
    let word = json!({ "dynamicLimit": "many", "errorStrategy": "BLOCK_ON_INTERNAL_ERROR" });
    let empty = json!({ "dynamicLimit": "{#api.properties['nothing']}" });
    let cases: [(&str, Value, u16); 6] = [
        ("dynamic", dynamic, 200),
        ("period", period, 200),
        ("broken", broken, 500),
        ("word", word, 500),
        ("missing", json!({}), 500),
        ("empty", empty, 429),
    ];
    let fleet = Fleet::start(1, &[], |backend| {
        cases
            .iter()
            .flat_map(|(id, more, _)| {
                let of = |policy: &str| limit(policy, 0, 1, "HOURS", more.clone());
                let target = backend.target("");
                let two = format!("{id}-two");
                [
                    v4(id, &format!("/{id}"), &target).request("rate-limit", of("rate-limit")),
                    v2(&two, &format!("/{two}"), &target).request("rate-limit", of("rate-limit")),
                ]
            })
            .map(properties)
            .collect()
    });
    let port = fleet.gateways[0].port;
    let mut failed = Vec::new();
    for (id, _, status) in &cases {
        for id in [(*id).to_owned(), format!("{id}-two")] {
            let response = fetch(port, &format!("/{id}"));
            assert_eq!(response.status, *status, "{id}: {}", response.text());
            match status {
                200 => {
                    assert_eq!(number(&response, "X-Rate-Limit-Limit"), 2, "{id}");
                    assert_eq!(fetch(port, &format!("/{id}")).status, 200);
                    let refused = fetch(port, &format!("/{id}"));
                    let text = match &*id {
                        "dynamic" | "dynamic-two" => "2 requests per 1 hours",
                        // The unit of an evaluated period is fixed.
                        _ => "2 requests per 7200 seconds",
                    };
                    assert!(refused.text().ends_with(text), "{id}: {}", refused.text());
                }
                500 => {
                    assert_eq!(response.text(), "Unknown error", "{id}");
                    failed.push((response, "RATE_LIMIT_SERVER_ERROR"));
                }
                _ => {
                    assert_eq!(number(&response, "X-Rate-Limit-Limit"), 0, "{id}");
                    failed.push((response, "RATE_LIMIT_TOO_MANY_REQUESTS"));
                }
            }
        }
    }
    for (response, expected) in failed {
        assert_eq!(error_key(&fleet, &response), expected);
    }
}

#[test]
fn a_quota_tells_its_attributes_and_headers_by_default_and_backends_headers_stay_beside_them() {
    if !redis::is_installed() {
        return;
    }
    let attributes = ["count", "remaining", "limit", "reset.time"];
    let shown: Value = attributes
        .iter()
        .map(|name| {
            json!({ "name": format!("X-Seen-{name}"), "value": format!("{{#context.attributes['quota.{name}']}}") })
        })
        .collect();
    let fleet = Fleet::start(1, &[], |backend| {
        let target = backend.target("");
        let window = json!({ "limit": 10, "periodTime": 1, "periodTimeUnit": "MONTHS" });
        let dynamic =
            json!({ "dynamicLimit": "{(5 + 5)}", "periodTime": 1, "periodTimeUnit": "DAYS" });
        let of = |id: &str, configuration: Value| {
            v4(id, &format!("/{id}"), &target)
                .request("quota", configuration)
                .request("transform-headers", json!({ "addHeaders": shown }))
        };
        let own = b"HTTP/1.1 200 OK\r\nX-Quota-Limit: backend\r\nContent-Length: 0\r\n\r\n";
        vec![
            of("default", json!({ "quota": window })),
            of("quiet", json!({ "quota": window, "addHeaders": false })),
            of("dynamic", json!({ "quota": dynamic })),
            v4(
                "beside",
                "/beside",
                &backend.target(&crate::support::backend::raw_keep(own)),
            )
            .request("quota", json!({ "quota": window })),
        ]
    });
    let port = fleet.gateways[0].port;
    let ask = |path: &str| {
        let response = fetch(port, path);
        assert_eq!(response.status, 200, "{path}");
        let seen = fleet.backend.last().head;
        let seen = attributes.map(|name| seen.field(&format!("X-Seen-{name}")).map(str::to_owned));
        (response, seen)
    };
    for count in 1..=2 {
        let (response, seen) = ask("/default");
        let left = (10 - count).to_string();
        assert_eq!(response.field("X-Quota-Limit"), Some("10"));
        assert_eq!(response.field("X-Quota-Remaining"), Some(&*left));
        let reset = response.field("X-Quota-Reset").map(str::to_owned);
        let expected = [
            Some(count.to_string()),
            Some(left),
            Some("10".to_owned()),
            reset,
        ];
        assert_eq!(seen, expected);
    }
    let (response, seen) = ask("/quiet");
    assert_eq!(response.field("X-Quota-Limit"), None);
    assert_eq!(seen[0].as_deref(), Some("1"));
    // The attribute is the configured limit, which is none here.
    let (response, seen) = ask("/dynamic");
    assert_eq!(response.field("X-Quota-Limit"), Some("10"));
    assert_eq!(seen[2].as_deref(), Some("0"));
    let response = fetch(port, "/beside");
    assert_eq!(response.head.all("X-Quota-Limit"), ["10", "backend"]);
}

#[test]
fn a_changed_limit_applies_at_once_and_a_changed_period_from_the_next_window() {
    if !redis::is_installed() {
        return;
    }
    let of = |target: &str, allowed: i64, hours: u64| {
        let configuration = limit("quota", allowed, hours, "HOURS", json!({}));
        v4("api", "/api", target).request("quota", configuration)
    };
    let mut fleet = Fleet::start(1, &[], |backend| vec![of(&backend.target(""), 2, 1)]);
    let target = fleet.backend.target("");
    let port = fleet.gateways[0].port;
    let first = fetch(port, "/api");
    fleet.plane.deploy(&of(&target, 50, 5));
    let gateway: &mut Gateway = &mut fleet.gateways[0];
    let changed = gateway.until("serving the new limit", |gateway| {
        let response = fetch(gateway.port, "/api");
        (response.field("X-Quota-Limit") == Some("50")).then_some(response)
    });
    assert_eq!(changed.status, 200);
    assert_eq!(changed.field("X-Quota-Reset"), first.field("X-Quota-Reset"));
    let key = "ratelimit:api-plan127.0.0.1:q";
    assert_eq!(fleet.redis.command(&["HGET", key, "limit"]), "2");
    fleet.redis.command(&["DEL", key]);
    let next = fetch(port, "/api");
    let later = number(&next, "X-Quota-Reset") - number(&first, "X-Quota-Reset");
    assert!(later >= 4 * 3_600_000, "{later}");
    assert_eq!(number(&next, "X-Quota-Remaining"), 49);
}
