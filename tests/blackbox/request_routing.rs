//! Which API, plan and endpoint a request goes to.

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::client::{Response, exchange, fetch, fetch_with, get};
use crate::support::definition::{endpoint, v2, v4};
use crate::support::gateway::Start;
use crate::support::ports;
use crate::support::site::Site;

const UNAUTHORIZED: &str = "{\"message\":\"Unauthorized\",\"http_status_code\":401}";

#[test]
fn round_robin_alternates_between_two_endpoints() {
    let other = Backend::named("other");
    let site = Site::with(Start::new(), |backend| {
        let two = |path: &str| {
            v4(&path[1..], path, "").with(|definition| {
                definition["endpointGroups"][0]["endpoints"] = json!([
                    endpoint("a", &backend.target("")),
                    endpoint("b", &other.target("")),
                ]);
            })
        };
        let weighted = two("/weighted").with(|definition| {
            definition["endpointGroups"][0]["loadBalancer"] =
                json!({ "type": "weighted-round-robin" });
            definition["endpointGroups"][0]["endpoints"][0]["weight"] = json!(3);
            definition["endpointGroups"][0]["endpoints"][1]["weight"] = json!(7);
        });
        vec![two("/two"), weighted]
    });
    let names = |path: &str, count: usize, kept: bool| -> String {
        let mut client = site.client();
        (0..count)
            .map(|_| {
                let response = if kept {
                    client.send(&get(path)).response()
                } else {
                    site.fetch(path)
                };
                response.json()["backend"]
                    .as_str()
                    .and_then(|name| name.chars().next())
                    .unwrap_or('?')
            })
            .collect()
    };
    for kept in [true, false] {
        let order = names("/two/x", 20, kept);
        assert!(
            order == "bo".repeat(10) || order == "ob".repeat(10),
            "{order} (one connection: {kept})"
        );
    }
    assert_eq!(names("/weighted/x", 20, true), "bobobooooo".repeat(2));
}

#[test]
fn context_paths_match_whole_segments_and_the_longest_of_a_host() {
    let site = Site::with(Start::new(), |backend| {
        vec![
            v4("orders", "/shop/orders", &backend.target("/orders")),
            v4("slashes", "//shop//baskets/", &backend.target("/baskets")),
            v2("old", "/old/", &backend.target("/old")),
        ]
    });
    for (sent, target) in [
        ("/shop/orders/1", "/orders/1"),
        ("/shop/orders", "/orders"),
        ("/shop/orders/", "/orders/"),
        ("/shop/baskets/2", "/baskets/2"),
        ("/old/x", "/old/x"),
    ] {
        assert_eq!(site.fetch(sent).status, 200, "{sent}");
        assert_eq!(site.backend.last().target, target, "{sent}");
    }
    for sent in ["/shop", "/shop/ordersx", "/shop/order", "/Shop/orders", "/"] {
        assert_eq!(site.fetch(sent).status, 404, "{sent}");
    }
}

#[test]
fn virtual_hosts_share_a_path() {
    let site = Site::with(Start::new(), |backend| {
        let host = |id: &str, host: &str| {
            v4(id, "", &backend.target(&format!("/{id}"))).with(|definition| {
                definition["listeners"][0]["paths"] = json!([{ "host": host, "path": "/v" }]);
            })
        };
        vec![
            host("one", "one.example"),
            host("two", "two.example"),
            host("port", "one.example:8443"),
            v4("any", "/v", &backend.target("/any")),
            v2("old", "", &backend.target("/old")).with(|definition| {
                definition["proxy"]["virtual_hosts"] =
                    json!([{ "host": "old.example", "path": "/v" }]);
            }),
        ]
    });
    for (host, target) in [
        ("one.example", "/one/x"),
        ("ONE.Example", "/one/x"),
        ("two.example", "/two/x"),
        ("one.example:8443", "/port/x"),
        ("one.example:8080", "/any/x"),
        ("old.example", "/old/x"),
        ("other.example", "/any/x"),
        ("sub.one.example", "/any/x"),
    ] {
        let sent = format!("GET /v/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(exchange(site.port(), sent.as_bytes()).status, 200, "{host}");
        assert_eq!(site.backend.last().target, target, "{host}");
    }
}

#[test]
fn an_api_may_be_restricted_to_a_server() {
    let second = ports::free();
    let start = Start::new().on_server("first").and_server("second", second);
    let site = Site::with(start, |backend| {
        let on = |servers: serde_json::Value| {
            move |definition: &mut serde_json::Value| {
                definition["listeners"][0]["servers"] = servers;
            }
        };
        vec![
            v4("one", "/one", &backend.target("")).with(on(json!(["second"]))),
            v4("both", "/both", &backend.target("")).with(on(json!(["first", "second"]))),
            v4("none", "/none", &backend.target("")).with(on(json!(["third"]))),
            v2("old", "/old", &backend.target("")).with(|definition| {
                definition["proxy"]["servers"] = json!(["first"]);
            }),
        ]
    });
    for (path, on_first, on_second) in [
        ("/api/x", 200, 200),
        ("/one/x", 404, 200),
        ("/both/x", 200, 200),
        ("/none/x", 404, 404),
        ("/old/x", 200, 404),
    ] {
        assert_eq!(fetch(site.port(), path).status, on_first, "{path}");
        assert_eq!(fetch(second, path).status, on_second, "{path}");
    }
}

#[test]
fn a_tenant_leaves_out_the_endpoints_of_others() {
    let other = Backend::named("other");
    let site = Site::with(Start::new().set("tenant", "blue"), |backend| {
        vec![v4("shared", "/shared", "").with(|definition| {
            let of = |name: &str, target: &str, tenants: serde_json::Value| {
                let mut made = endpoint(name, target);
                made["tenants"] = tenants;
                made
            };
            definition["endpointGroups"][0]["endpoints"] = json!([
                of("blue", &backend.target(""), json!(["blue", "green"])),
                of("red", &other.target(""), json!(["red"])),
            ]);
        })]
    });
    for _ in 0..6 {
        assert_eq!(site.fetch("/shared/x").json()["backend"], "backend");
    }
    assert_eq!(other.requests(), 0);
}

#[test]
fn a_secondary_endpoint_is_asked_only_without_primaries() {
    let other = Backend::named("other");
    let site = Site::with(Start::new(), |backend| {
        let two = |path: &str, primaries: bool| {
            v4(&path[1..], path, "").with(|definition| {
                let mut first = endpoint("a", &backend.target(""));
                first["secondary"] = json!(!primaries);
                let mut second = endpoint("b", &other.target(""));
                second["secondary"] = json!(true);
                definition["endpointGroups"][0]["endpoints"] = json!([first, second]);
            })
        };
        vec![two("/one", true), two("/spare", false)]
    });
    for _ in 0..6 {
        assert_eq!(site.fetch("/one/x").json()["backend"], "backend");
    }
    let spare: Vec<String> = (0..4)
        .map(|_| site.fetch("/spare/x").json()["backend"].to_string())
        .collect();
    assert!(spare.contains(&"\"other\"".to_owned()), "{spare:?}");
}

fn assert_unauthorized(site: &Site, path: &str, key: Option<&str>) {
    let with = |accept: Option<&str>| -> Response {
        let fields: Vec<(&str, &str)> = [
            accept.map(|accept| ("Accept", accept)),
            key.map(|key| ("X-Gravitee-Api-Key", key)),
        ]
        .into_iter()
        .flatten()
        .collect();
        fetch_with(site.port(), path, &fields)
    };
    for (accept, content_type, body) in [
        (None, "text/plain", "Unauthorized"),
        (Some("text/html"), "text/plain", "Unauthorized"),
        (Some("application/json"), "application/json", UNAUTHORIZED),
        (
            Some("text/html, */*;q=0.1"),
            "application/json",
            UNAUTHORIZED,
        ),
    ] {
        let response = with(accept);
        assert_eq!(response.head.start, "HTTP/1.1 401 Unauthorized", "{path}");
        assert_eq!(response.field("Content-Type"), Some(content_type));
        assert_eq!(response.text(), body, "{accept:?}");
        assert_eq!(response.field("WWW-Authenticate"), None);
        assert!(!response.closes(), "a 401 keeps the connection");
        assert!(response.field("X-Gravitee-Request-Id").is_some());
    }
}

#[test]
fn an_api_key_plan_serves_good_keys_and_refuses_all_others_alike() {
    let site = Site::with(Start::new(), |backend| {
        vec![
            v4("keyed", "/keyed", &backend.target("")).api_key(),
            v4("elsewhere", "/elsewhere", &backend.target("")).api_key(),
        ]
    });
    let past = 1_000_000_000_000_i64;
    site.plane.subscribe("keyed", "good", json!({}));
    site.plane
        .subscribe("keyed", "revoked", json!({ "key": { "revoked": true } }));
    site.plane
        .subscribe("keyed", "expired", json!({ "key": { "expireAt": past } }));
    site.plane
        .subscribe("keyed", "paused", json!({ "key": { "paused": true } }));
    site.plane.subscribe(
        "keyed",
        "closed",
        json!({ "subscription": { "status": "CLOSED" } }),
    );
    site.plane.subscribe(
        "keyed",
        "ended",
        json!({ "subscription": { "endingAt": past } }),
    );
    site.plane.subscribe("elsewhere", "foreign", json!({}));
    let mut site = site;
    let key = |name| [("X-Gravitee-Api-Key", name)];
    // Subscriptions follow in a later cycle than the API.
    site.gateway.until("taking the key", |gateway| {
        let taken = fetch_with(gateway.port, "/keyed/echo", &key("good")).status == 200
            && fetch_with(gateway.port, "/elsewhere/echo", &key("foreign")).status == 200;
        taken.then_some(())
    });
    let response = fetch_with(site.port(), "/keyed/echo", &key("good"));
    assert_eq!(response.status, 200);
    let seen = site.backend.last().head;
    assert_eq!(seen.field("X-Gravitee-Api-Key"), None, "the key stays here");
    let id = response.field("X-Gravitee-Request-Id").expect("an id");
    let report = site.plane.report_of(id);
    assert_eq!(report["application-id"], "application");
    assert_eq!(report["subscription-id"], "keyed-good-subscription");

    let response = site.fetch("/keyed/echo?a=1&api-key=good&b=2");
    assert_eq!(response.status, 200);
    assert_eq!(site.backend.last().target, "/echo?a=1&b=2");

    let asked = site.backend.requests();
    for name in [
        None,
        Some("wrong"),
        Some("Good"),
        Some("revoked"),
        Some("expired"),
        Some("paused"),
        Some("closed"),
        Some("ended"),
        Some("foreign"),
        Some(""),
    ] {
        assert_unauthorized(&site, "/keyed/echo", name);
    }
    assert_unauthorized(&site, "/keyed/echo?api-key=wrong", None);
    assert_eq!(
        site.backend.requests(),
        asked,
        "a refused request reached the backend"
    );

    let response = site.fetch("/keyed/echo");
    let id = response.field("X-Gravitee-Request-Id").expect("an id");
    let report = site.plane.report_of(id);
    assert_eq!(
        report["error-key"], "GATEWAY_PLAN_UNRESOLVABLE",
        "{report:#}"
    );
}

#[test]
fn a_key_that_is_revoked_stops_working_within_a_cycle() {
    let mut site = Site::with(Start::new(), |backend| {
        vec![v4("keyed", "/keyed", &backend.target("")).api_key()]
    });
    let ask = |port| fetch_with(port, "/keyed/echo", &[("X-Gravitee-Api-Key", "key")]).status;
    for (changes, status) in [
        (json!({}), 200),
        (json!({ "key": { "revoked": true } }), 401),
        (json!({}), 200),
        (json!({ "subscription": { "status": "PAUSED" } }), 401),
    ] {
        site.plane.subscribe("keyed", "key", changes.clone());
        site.gateway
            .until(&format!("{status} after {changes}"), |gateway| {
                (ask(gateway.port) == status).then_some(())
            });
    }
}
