//! Settings that change what a request looks like.

use serde_json::json;

use crate::support::backend::raw_keep;
use crate::support::client::{exchange, fetch, fetch_with, get, request};
use crate::support::definition::{v2, v4};
use crate::support::gateway::Start;
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, until};

const ID: &str = "X-Gravitee-Request-Id";

#[test]
fn a_backends_transaction_headers_are_overridden_merged_or_kept() {
    let own = concat!(
        "HTTP/1.1 200 OK\r\nX-Gravitee-Transaction-Id: theirs\r\n",
        "X-Gravitee-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n"
    );
    let path = format!("/api{}", raw_keep(own.as_bytes()));
    for (mode, with_own, without) in [
        ("override", &["mine"][..], &["mine"][..]),
        ("merge", &["mine", "theirs"], &["mine"]),
        ("keep", &["theirs"], &[]),
    ] {
        let site = Site::with(
            Start::new().set("handlers.request.transaction.overrideMode", mode),
            |_| Vec::new(),
        );
        let fields = [("X-Gravitee-Transaction-Id", "mine")];
        for (path, expected) in [(&*path, with_own), ("/api/echo", without)] {
            let response = fetch_with(site.port(), path, &fields);
            let mut found = response.head.all("X-Gravitee-Transaction-Id");
            found.sort_unstable();
            assert_eq!(found, expected, "{mode} {path}");
            // The other header has a mode of its own.
            let ids = response.head.all(ID);
            assert!(ids.len() == 1 && ids[0] != "theirs", "{mode}: {ids:?}");
        }
    }
}

#[test]
fn names_and_format_of_ids_are_settings() {
    let site = Site::with(
        Start::new()
            .set("handlers.request.format", "hex")
            .set("handlers.request.request.header", "X-Own-Id")
            .set("handlers.request.transaction.header", "X-Own-Transaction"),
        |_| Vec::new(),
    );
    let response = site.fetch("/api/echo");
    let id = response.field("X-Own-Id").expect("an id");
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(response.field("X-Own-Transaction"), Some(id));
    assert_eq!(response.field(ID), None);
    let seen = site.backend.last().head;
    assert_eq!(seen.field("X-Own-Id"), Some(id));
}

#[test]
fn the_clients_address_is_the_first_of_x_forwarded_for() {
    for (enabled, expected) in [("true", "203.0.113.9"), ("false", "127.0.0.1")] {
        let site = Site::with(
            Start::new().set("handlers.request.x-forward.enabled", enabled),
            |_| Vec::new(),
        );
        let fields = [("X-Forwarded-For", "203.0.113.9:1234, 198.51.100.7")];
        let response = fetch_with(site.port(), "/api/echo", &fields);
        let report = site.plane.report_of(response.field(ID).expect("an id"));
        assert_eq!(report["remote-address"], expected, "{enabled}");
        assert_eq!(
            site.backend.last().head.field("X-Forwarded-For"),
            Some("203.0.113.9:1234, 198.51.100.7"),
            "the header itself is not touched"
        );
    }
}

#[test]
fn the_context_path_is_told_to_backends_when_that_is_on() {
    let site = Site::with(
        Start::new().set("handlers.request.headers.x-forwarded-prefix", "true"),
        |_| Vec::new(),
    );
    let fields = [("X-Forwarded-Prefix", "/forged")];
    assert_eq!(fetch_with(site.port(), "/api/echo", &fields).status, 200);
    let seen = site.backend.last().head;
    assert_eq!(seen.all("X-Forwarded-Prefix"), ["/api/"]);
}

#[test]
fn raw_paths_are_left_alone_when_normalisation_is_off() {
    let site = Site::with(Start::new().set("http.paths.normalization", "none"), |_| {
        Vec::new()
    });
    assert_eq!(fetch(site.port(), "/api/a/../%7e").status, 200);
    assert_eq!(site.backend.last().target, "/a/../%7e");
    for path in ["/./api/x", "/%61pi/x"] {
        assert_eq!(fetch(site.port(), path).status, 404, "{path}");
    }
}

#[test]
fn requests_that_match_no_api_are_reported_only_when_that_is_asked_for() {
    for (enabled, count) in [("false", 0), ("true", 1)] {
        let site = Site::with(
            Start::new().set("handlers.notfound.analytics.enabled", enabled),
            |_| Vec::new(),
        );
        assert_eq!(site.fetch("/nothing?x=1").status, 404);
        // The report of a later request says that the earlier one would be there.
        let response = site.fetch("/api/echo");
        site.plane.report_of(response.field(ID).expect("an id"));
        let reports = site.plane.reports("v4-metrics");
        let unmatched: Vec<_> = reports
            .iter()
            .filter(|report| report["uri"] == "/nothing?x=1")
            .collect();
        assert_eq!(unmatched.len(), count, "{unmatched:#?}");
        for report in unmatched {
            assert_eq!(report["api-id"], "1", "{report:#}");
            assert_eq!(report["application-id"], "1");
            assert_eq!(report["status"], 404);
        }
    }
}

#[test]
fn apis_report_as_their_version_does_and_v4_only_with_analytics() {
    let site = Site::with(Start::new(), |backend| {
        vec![
            v2("old", "/old", &backend.target("")),
            v4("silent", "/silent", &backend.target("")).with(|definition| {
                definition["analytics"] = json!({ "enabled": false });
            }),
        ]
    });
    assert_eq!(site.fetch("/silent/x").status, 200);
    let response = exchange(site.port(), &request("PUT", "/old/x?y=1", &[], b"abc"));
    let id = response.field(ID).expect("an id");
    let report = site.plane.report_of(id);
    for (member, expected) in [
        ("type", json!("request")),
        ("api", json!("old")),
        ("uri", json!("/old/x?y=1")),
        ("status", json!(200)),
        ("request-content-length", json!(3)),
    ] {
        assert_eq!(report[member], expected, "{member} in {report:#}");
    }
    assert!(
        site.plane
            .reports("v4-metrics")
            .iter()
            .all(|report| report["api-id"] != "silent"),
        "an API without analytics was reported"
    );
}

#[test]
fn connections_beyond_the_limit_are_refused_and_the_others_served() {
    let site = Site::with(
        Start::new()
            .set("http.maxConnections", "8")
            .set("gateway.runtime.workers", "1"),
        |_| Vec::new(),
    );
    let mut clients: Vec<_> = (0..8).map(|_| site.client()).collect();
    for client in &mut clients {
        assert_eq!(client.send(&get("/api/x")).response().status, 200);
    }
    let mut beyond = site.client();
    let _ = beyond.try_send(&get("/api/x"));
    assert!(
        beyond.try_response().is_err(),
        "a ninth connection was served"
    );
    for client in &mut clients {
        assert_eq!(client.send(&get("/api/x")).response().status, 200);
    }
    drop(clients);
    until("room for others", PATIENCE, || {
        let mut client = site.client();
        client.try_send(&get("/api/x")).ok()?;
        (client.try_response().ok()?.status == 200).then_some(())
    });
}
