//! The node API: who may ask, what it tells, and that its counters count.

use crate::support::client::{Client, fetch, request};
use crate::support::definition::v4;
use crate::support::gateway::Start;
use crate::support::site::Site;

#[test]
fn the_node_api_asks_for_credentials() {
    let gateway = Start::new().listening();
    for (what, fields) in [
        ("none", &[][..]),
        (
            "wrong password",
            &[("Authorization", "Basic YWRtaW46bm8=")][..],
        ),
        (
            "wrong scheme",
            &[("Authorization", "Bearer YWRtaW46YWRtaW5hZG1pbg==")][..],
        ),
        ("not base64", &[("Authorization", "Basic %%%")][..]),
    ] {
        for path in ["", "/health", "/metrics/prometheus", "/no-such"] {
            let response = gateway.ask_node(path, fields).expect("an answer");
            assert_eq!(response.status, 401, "{what} {path}");
            assert_eq!(response.text(), "Unauthorized");
            let challenge = response.field("WWW-Authenticate").expect("a challenge");
            assert!(challenge.contains("gravitee.io"), "{challenge}");
        }
    }
    assert_eq!(gateway.try_node("/no-such").map(|it| it.status), Some(404));
    let open = Start::new()
        .set("services.core.http.authentication.type", "none")
        .listening();
    let response = open.ask_node("/", &[]).expect("an answer");
    assert_eq!(response.status, 200);
}

#[test]
fn users_of_the_node_api_come_from_the_settings() {
    let gateway = Start::new()
        .set("services.core.http.authentication.users.admin", "other")
        .listening();
    // Waiting until it listens has asked with the default password; only the answer differs.
    assert_eq!(gateway.try_node("/").map(|it| it.status), Some(401));
    let fields = [("Authorization", "Basic YWRtaW46b3RoZXI=")];
    let response = gateway.ask_node("/", &fields).expect("an answer");
    assert_eq!(response.status, 200);
}

#[test]
fn probes_tell_what_is_well_and_what_is_not() {
    let site = Site::plain();
    let gateway = &site.gateway;
    for (path, status, healthy) in [
        ("/health?probes=http-server", 200, &["http-server"][..]),
        (
            "/health?probes=http-server,sync-process",
            200,
            &["http-server", "sync-process"],
        ),
        (
            "/health?probes=http-server&probes=ratelimit-repository",
            200,
            &["http-server", "ratelimit-repository"],
        ),
        ("/health", 200, &["http-server", "management-repository"]),
        ("/health?probes=http-server,no-such", 500, &["http-server"]),
    ] {
        let response = gateway.try_node(path).expect("an answer");
        assert_eq!(response.status, status, "{path}: {}", response.text());
        let probes = response.json();
        for probe in healthy {
            assert_eq!(probes[probe]["healthy"], true, "{path}: {probes}");
        }
    }
    let unknown = gateway.node("/health?probes=no-such");
    assert_eq!(unknown["no-such"]["healthy"], false);
    assert_eq!(unknown["no-such"]["message"], "probe not found");
}

#[test]
fn node_apis_and_sync_are_told() {
    let site = Site::with(Start::new(), |backend| {
        vec![v4("other", "/other", &backend.target(""))]
    });
    let gateway = &site.gateway;
    let node = gateway.node("");
    assert_eq!(node["name"], "Gravitee.io - API Gateway");
    assert!(
        node["id"].as_str().is_some_and(|id| id.len() == 36),
        "{node}"
    );
    let apis = gateway.node("/apis");
    let mut ids: Vec<&str> = apis
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(|api| api["id"].as_str())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["api", "other"]);
    assert_eq!(gateway.node("/apis/other")["id"], "other");
    assert_eq!(
        gateway.try_node("/apis/no-such").map(|it| it.status),
        Some(404)
    );
    assert_eq!(gateway.node("/apis?state=refused"), serde_json::json!([]));
    let sync = gateway.node("/sync");
    assert_eq!(sync["initialDone"], true);
    assert_eq!(sync["lastOnError"], false, "{sync}");
    assert!(sync["counter"].as_u64() > Some(0), "{sync}");
}

#[test]
fn secrets_are_not_told_anywhere() {
    let site = Site::with(
        Start::new()
            .set(
                "services.core.http.authentication.users.admin",
                "adminadmin",
            )
            .set("services.core.http.authentication.users.other", "hunter2"),
        |backend| vec![v4("keyed", "/keyed", &backend.target("")).api_key()],
    );
    site.plane
        .subscribe("keyed", "planted-api-key", serde_json::json!({}));
    let mut site = site;
    site.gateway.until("taking the key", |gateway| {
        let fields = [("X-Gravitee-Api-Key", "planted-api-key")];
        let bytes = request("GET", "/keyed/x", &fields, b"");
        let response = Client::open(gateway.port).send(&bytes).response();
        (response.status == 200).then_some(())
    });
    let token = crate::support::control_plane::token(3_600);
    let signature = token.rsplit('.').next().expect("a token has parts");
    let mut told = site.gateway.process.output();
    for path in [
        "",
        "/configuration",
        "/apis",
        "/apis/keyed",
        "/sync",
        "/health",
        "/workers",
        "/license",
        "/metrics/prometheus",
    ] {
        told.push_str(&site.gateway.try_node(path).expect("an answer").text());
    }
    for secret in [signature, "planted-api-key", "hunter2", "adminadmin"] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

#[test]
fn counters_of_the_metrics_page_move() {
    let mut site = Site::plain();
    let count =
        |site: &Site, labels: &[&str]| site.gateway.metric("http_server_requests_total", labels);
    let get_200 = ["method=\"GET\"", "code=\"200\""];
    let post_404 = ["method=\"POST\"", "code=\"404\""];
    assert_eq!(
        (count(&site, &get_200), count(&site, &post_404)),
        (0.0, 0.0)
    );
    let mut client = site.client();
    for _ in 0..7 {
        client.send(&crate::support::client::get("/api/bytes/1000"));
        assert_eq!(client.response().status, 200);
    }
    client.send(&request("POST", "/nothing", &[], b""));
    assert_eq!(client.response().status, 404);
    fetch(site.port(), "/api/status/500");
    // Counted when a response has ended, which its last byte may be ahead of.
    site.gateway.until("counting", |gateway| {
        let counted = gateway.metric("http_server_requests_total", &get_200) == 7.0
            && gateway.metric("http_server_requests_total", &post_404) == 1.0
            && gateway.metric("http_server_requests_total", &["code=\"500\""]) == 1.0;
        counted.then_some(())
    });
    let metric = |name: &str| site.gateway.metric(name, &[]);
    assert_eq!(metric("gateway_request_duration_seconds_count"), 9.0);
    assert_eq!(metric("gateway_apis_deployed"), 1.0);
    assert_eq!(metric("gateway_sync_ready"), 1.0);
    assert!(metric("gateway_sync_age_seconds") < 30.0);
    assert!(metric("http_server_bytes_written_total") > 7_000.0);
    assert!(metric("http_client_requests_total") >= 8.0);
    assert!(metric("gateway_worker_connections") >= 1.0);
    assert_eq!(metric("gateway_reports_dropped_total"), 0.0);
    site.gateway.until("sending reports", |gateway| {
        (gateway.metric("gateway_reports_sent_total", &[]) >= 8.0).then_some(())
    });
    let page = site
        .gateway
        .try_node("/metrics/prometheus")
        .expect("an answer");
    assert_eq!(
        page.field("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
}

#[test]
fn the_metrics_page_is_there_only_when_it_is_asked_for() {
    let gateway = Start::new().unset("services.metrics.enabled").listening();
    assert_eq!(
        gateway.try_node("/metrics/prometheus").map(|it| it.status),
        Some(404)
    );
}
