//! What the backend sees of a request head, and the client of a response head.

use serde_json::json;

use crate::support::backend::raw_keep;
use crate::support::client::{exchange, fetch_with, get, request};
use crate::support::definition::{v2, v4};
use crate::support::gateway::Start;
use crate::support::site::Site;

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
        })
}

#[test]
fn request_fields_pass_in_order_and_hop_by_hop_fields_do_not() {
    let site = Site::plain();
    let fields = [
        ("X-One", "1"),
        ("Cookie", "a=b; c=d"),
        ("X-Many", "first"),
        ("Keep-Alive", "timeout=5"),
        ("X-Many", "second"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Trailer", "X-End"),
        ("Upgrade", "h2c"),
        ("X-Nominated", "gone"),
        ("Connection", "keep-alive, X-Nominated, Upgrade"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Host", "client.example"),
        ("User-Agent", "test/1"),
        ("Accept-Encoding", "gzip"),
        ("X-Empty", ""),
    ];
    let response = fetch_with(site.port(), "/api/echo", &fields);
    assert_eq!(response.status, 200);
    let seen = site.backend.last().head;
    assert_eq!(seen.all("X-Many"), ["first", "second"]);
    for (name, value) in [
        ("X-One", "1"),
        ("Cookie", "a=b; c=d"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Host", "client.example"),
        ("User-Agent", "test/1"),
        ("X-Empty", ""),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    for absent in [
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "X-Nominated",
        "Accept-Encoding",
        "Via",
        "X-Forwarded-Proto",
    ] {
        assert_eq!(seen.field(absent), None, "{absent} reached the backend");
    }
    assert!(
        seen.field("Connection")
            .is_none_or(|value| value.eq_ignore_ascii_case("keep-alive")),
        "{seen:?}"
    );
}

#[test]
fn the_host_is_the_targets_unless_the_client_host_is_propagated_or_the_endpoint_names_one() {
    let site = Site::with(Start::new(), |backend| {
        vec![
            v4("propagate", "/propagate", &backend.target(""))
                .http(json!({ "propagateClientHost": true })),
            v4("named", "/named", &backend.target("")).shared(
                "headers",
                json!([
                    { "name": "Host", "value": "named.example" },
                    { "name": "X-One", "value": "from the endpoint" },
                ]),
            ),
            v2("second", "/second", &backend.target("")),
        ]
    });
    let target = format!("127.0.0.1:{}", site.backend.port());
    for (path, host) in [
        ("/api/echo", &*target),
        ("/propagate/echo", "client.example:8082"),
        ("/named/echo", "named.example"),
        ("/second/echo", &*target),
    ] {
        let sent = format!(
            "GET {path} HTTP/1.1\r\nHost: client.example:8082\r\nX-One: from the client\r\n\r\n"
        );
        assert_eq!(exchange(site.port(), sent.as_bytes()).status, 200, "{path}");
        let seen = site.backend.last().head;
        assert_eq!(seen.all("Host"), [host], "{path}");
        let one = if path.starts_with("/named") {
            "from the endpoint"
        } else {
            "from the client"
        };
        assert_eq!(seen.all("X-One"), [one], "{path}");
    }
}

#[test]
fn an_absolute_target_wins_over_host() {
    let site = Site::with(Start::new(), |backend| {
        vec![v4("host", "/", &backend.target("")).with(|definition| {
            definition["listeners"][0]["paths"] =
                json!([{ "host": "absolute.example", "path": "/abs" }]);
        })]
    });
    let sent = b"GET http://absolute.example/abs/echo?a=1 HTTP/1.1\r\nHost: other.example\r\n\r\n";
    let response = exchange(site.port(), sent);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["target"], "/echo?a=1");
}

#[test]
fn ids_are_made_or_taken_and_returned() {
    let site = Site::plain();
    let response = site.fetch("/api/echo");
    let seen = site.backend.last().head;
    let id = seen
        .field("X-Gravitee-Request-Id")
        .expect("an id")
        .to_owned();
    assert!(is_uuid(&id), "{id}");
    assert_eq!(seen.all("X-Gravitee-Transaction-Id"), [&*id]);
    assert_eq!(response.head.all("X-Gravitee-Request-Id"), [&*id]);
    assert_eq!(response.head.all("X-Gravitee-Transaction-Id"), [&*id]);
    assert!(response.field("X-Gravitee-Client-Identifier").is_some());

    let fields = [
        ("X-Gravitee-Transaction-Id", "mine"),
        ("X-Gravitee-Request-Id", "forged"),
    ];
    let response = fetch_with(site.port(), "/api/echo", &fields);
    let seen = site.backend.last().head;
    assert_eq!(seen.all("X-Gravitee-Transaction-Id"), ["mine"]);
    assert_eq!(response.head.all("X-Gravitee-Transaction-Id"), ["mine"]);
    let second = seen.all("X-Gravitee-Request-Id");
    assert!(second.len() == 1 && is_uuid(second[0]) && second[0] != id);
}

#[test]
fn a_report_tells_what_the_request_was() {
    let site = Site::plain();
    let response = exchange(
        site.port(),
        &request("POST", "/api/echo?x=1", &[("User-Agent", "u")], b"12345"),
    );
    let id = response.field("X-Gravitee-Request-Id").expect("an id");
    let report = site.plane.report_of(id);
    for (member, expected) in [
        ("type", json!("v4-metrics")),
        ("api-id", json!("api")),
        ("plan-id", json!("api-plan")),
        ("application-id", json!("1")),
        ("status", json!(200)),
        ("uri", json!("/api/echo?x=1")),
        ("path-info", json!("/echo")),
        ("request-content-length", json!(5)),
        ("response-content-length", json!(response.body.len())),
        ("endpoint", json!(site.backend.target("/echo?x=1"))),
        ("remote-address", json!("127.0.0.1")),
    ] {
        assert_eq!(report[member], expected, "{member} in {report:#}");
    }
}

#[test]
fn query_parameters_are_grouped_by_name_and_stay_raw() {
    let site = Site::with(Start::new(), |backend| {
        vec![
            v4("base", "/base", &backend.target("/root?fixed=1")),
            v4("slash", "/slash", &backend.target("/root/")),
        ]
    });
    for (sent, expected) in [
        ("/api/echo?a=1&b=2&a=3", "/echo?a=1&a=3&b=2"),
        ("/api/echo?a=1;b=2", "/echo?a=1&b=2"),
        ("/api/echo?a&b=&a=%20+", "/echo?a&a=%20+&b="),
        ("/api/echo?x=%C3%A9/?:@", "/echo?x=%C3%A9/?:@"),
        ("/api", "/"),
        ("/base/x?b=2", "/root/x?b=2&fixed=1"),
        ("/base", "/root?fixed=1"),
        ("/slash/x", "/root//x"),
        ("/api/a%2Fb/c%20d;p=1", "/a%2Fb/c%20d;p=1"),
    ] {
        assert_eq!(site.fetch(sent).status, 200, "{sent}");
        assert_eq!(site.backend.last().target, expected, "{sent}");
    }
}

#[test]
fn paths_are_matched_and_forwarded_in_one_normal_form() {
    let site = Site::plain();
    for (sent, expected) in [
        ("/./api/x", "/x"),
        ("/%61pi/x", "/x"),
        ("/other/../api/x", "/x"),
        ("/api/a/../b", "/b"),
        ("/api/%7euser/%2f%c3", "/~user/%2F%C3"),
        ("/api//x", "//x"),
    ] {
        assert_eq!(site.fetch(sent).status, 200, "{sent}");
        assert_eq!(site.backend.last().target, expected, "{sent}");
    }
    let asked = site.backend.requests();
    for (sent, status) in [("/api/../../x", 400), ("/api/../x", 404), ("/apix", 404)] {
        assert_eq!(site.fetch(sent).status, status, "{sent}");
    }
    assert_eq!(site.backend.requests(), asked);
}

#[test]
fn methods_pass_and_an_unknown_one_is_sent_as_other() {
    let site = Site::plain();
    for (sent, seen) in [
        ("DELETE", "DELETE"),
        ("OPTIONS", "OPTIONS"),
        ("PATCH", "PATCH"),
        ("TRACE", "TRACE"),
        ("BREW", "OTHER"),
        ("get", "OTHER"),
    ] {
        exchange(site.port(), &request(sent, "/api/echo", &[], b""));
        assert_eq!(site.backend.last().method, seen, "{sent}");
    }
}

#[test]
fn response_fields_pass_as_the_backend_sent_them() {
    let site = Site::plain();
    let response = concat!(
        "HTTP/1.1 299 Very Own\r\nServer: backend\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        "Set-Cookie: a=1\r\nX-One: 1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"
    );
    let path = format!("/api{}", raw_keep(response.as_bytes()));
    let mut client = site.client();
    for _ in 0..2 {
        let answer = client.send(&get(&path)).response();
        assert_eq!(answer.head.start, "HTTP/1.1 299 Very Own");
        assert_eq!(answer.head.all("Set-Cookie"), ["a=1", "b=2"]);
        assert_eq!(answer.field("Server"), Some("backend"));
        assert_eq!(answer.field("Date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(answer.field("Via"), None);
        assert_eq!(answer.text(), "ok");
    }
}

#[test]
fn limits_on_heads_are_answered_and_close() {
    let site = Site::plain();
    let long_path = format!("/api/{}", "a".repeat(4_200));
    let long_field = "b".repeat(9_000);
    let many: Vec<(&str, &str)> = vec![("X", "y"); 200];
    for (what, sent, status) in [
        ("request line", get(&long_path), 414),
        (
            "fields",
            request("GET", "/api/x", &[("X", &long_field)], b""),
            431,
        ),
        (
            "number of fields",
            request("GET", "/api/x", &many, b""),
            431,
        ),
    ] {
        let mut client = site.client();
        // The gateway may answer and close before it has read everything.
        let _ = client.try_send(&sent);
        let response = client.response();
        assert_eq!(response.status, status, "{what}");
        assert!(response.closes() && response.body.is_empty(), "{what}");
        assert!(client.ends(), "{what}");
    }
    assert_eq!(site.backend.requests(), 0);
    // Just below the limits.
    let path = format!("/api/{}", "a".repeat(4_000));
    assert_eq!(site.fetch(&path).status, 200);
    let field = "b".repeat(7_900);
    assert_eq!(
        fetch_with(site.port(), "/api/x", &[("X", &field)]).status,
        200
    );
}
