//! Backends that refuse, hang, lie, stop in the middle, or answer too early: what the client gets, and what the report says.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::backend::{raw, raw_keep};
use crate::support::client::{Client, Response, get, request};
use crate::support::definition::{v2, v4};
use crate::support::gateway::Start;
use crate::support::pattern::bytes;
use crate::support::ports;
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, until};
use crate::support::wire::Broken;

/// Status, key in the report, and whether the answer has the shape of a failure without message.
fn assert_failure(site: &Site, response: &Response, status: u16, key: &str) {
    assert_eq!(response.status, status, "{key}: {:?}", response.head);
    assert!(response.closes(), "{key}: a 5xx failure closes");
    let id = response.field("X-Gravitee-Request-Id").expect("an id");
    let report = site.plane.report_of(id);
    assert_eq!(report["status"], status, "{report:#}");
    // Documents of V2 APIs have no error key.
    if report["type"] == "v4-metrics" {
        assert_eq!(report["error-key"], key, "{report:#}");
    }
}

#[test]
fn a_backend_that_refuses_is_a_502() {
    let closed = format!("http://127.0.0.1:{}", ports::free());
    let site = Site::with(Start::new(), |_| {
        vec![v4("gone", "/gone", &closed), v2("old", "/old", &closed)]
    });
    for (path, key) in [
        ("/gone/x", "GATEWAY_CLIENT_CONNECTION_REFUSED"),
        ("/old/x", "GATEWAY_CLIENT_CONNECTION_ERROR"),
    ] {
        let response = site.fetch(path);
        assert!(response.body.is_empty(), "{path}: {}", response.text());
        assert_failure(&site, &response, 502, key);
    }
}

#[test]
fn a_host_without_address_is_a_502() {
    let site = Site::with(Start::new(), |_| {
        vec![v4("lost", "/lost", "http://no-such-host.invalid")]
    });
    let response = site.fetch("/lost/x");
    assert_failure(&site, &response, 502, "GATEWAY_CLIENT_DNS_RESOLUTION_ERROR");
}

#[test]
fn a_backend_that_hangs_is_a_504_in_time() {
    let site = Site::with(Start::new(), |backend| {
        vec![
            v4("quick", "/quick", &backend.target("")).http(json!({ "readTimeout": 400 })),
            v2("old", "/old", &backend.target("")).with(|definition| {
                definition["proxy"]["groups"][0]["http"] = json!({ "readTimeout": 400 });
            }),
        ]
    });
    for (path, key) in [
        ("/quick/hang", "GATEWAY_CLIENT_READ_TIMEOUT"),
        ("/old/hang", "GATEWAY_CLIENT_CONNECTION_TIMEOUT"),
    ] {
        let started = Instant::now();
        let response = site.fetch(path);
        let took = started.elapsed();
        assert!(
            took >= Duration::from_millis(350) && took < Duration::from_secs(5),
            "{path}: {took:?}"
        );
        assert_failure(&site, &response, 504, key);
    }
    // The connections that were given up are closed, not returned to the pool.
    until("both connections closed", PATIENCE, || {
        (site.backend.open_connections() == 0).then_some(())
    });
    assert_eq!(site.fetch("/quick/echo").status, 200);
}

#[test]
fn the_request_timeout_covers_everything_up_to_the_response_head() {
    let site = Site::with(Start::new().set("http.requestTimeout", "500"), |_| {
        Vec::new()
    });
    let response = site.fetch("/api/hang");
    assert_failure(&site, &response, 504, "REQUEST_TIMEOUT");
    assert_eq!(response.text(), "Request timeout");
    // A body that takes longer than that is not cut.
    let response = site.fetch("/api/drip/10/100");
    assert_eq!((response.status, response.text()), (200, ".".repeat(10)));
}

#[test]
fn a_response_that_stops_in_the_middle_never_looks_complete() {
    let site = Site::plain();
    for (what, sent) in [
        ("length", get("/api/cut/100000/50000")),
        ("length, nothing sent", get("/api/cut/10/0")),
        ("chunks", get("/api/cut-chunked/50000")),
        (
            "reset",
            request("POST", "/api/reset/100000/20000", &[], &bytes(1_000)),
        ),
        // The end of such a body is the end of the connection: only a reset says that it is not the end.
        (
            "chunks for 1.0",
            b"GET /api/cut-chunked/50000 HTTP/1.0\r\nHost: h\r\n\r\n".to_vec(),
        ),
    ] {
        let mut client = site.client();
        let broken = client.send(&sent).try_response().expect_err(what);
        assert!(
            matches!(broken, Broken::Cut(_) | Broken::Closed),
            "{what}: {broken:?}"
        );
    }
    let reports = until("5 reports", PATIENCE, || {
        let reports = site.plane.reports("v4-metrics");
        (reports.len() == 5).then_some(reports)
    });
    for report in reports {
        assert_eq!(
            report["error-key"], "GATEWAY_CLIENT_STREAM_ENDED_EARLY",
            "{report:#}"
        );
    }
    assert_eq!(site.fetch("/api/echo").status, 200);
}

#[test]
fn what_is_no_response_is_a_502() {
    let site = Site::plain();
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    for (what, sent) in [
        ("text", "hello\r\n\r\n"),
        ("a request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("no code", "HTTP/1.1 OK\r\n\r\n"),
        (
            "code of two digits",
            "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "code 999999",
            "HTTP/1.1 999999 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        ("version 3", "HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("no colon", "HTTP/1.1 200 OK\r\nContent-Length 0\r\n\r\n"),
        (
            "space in a name",
            "HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "empty name",
            "HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "NUL",
            "HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            "signed length",
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
        ),
        (
            "hexadecimal length",
            "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nab",
        ),
        (
            "both framings",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "unknown coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
        ),
        ("head cut", "HTTP/1.1 200 OK\r\nContent-"),
        ("too large a head", &large),
        (
            "unasked upgrade",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        ),
        ("nothing", ""),
    ] {
        let response = site.fetch(&format!("/api{}", shortened(sent)));
        assert_eq!(
            response.status,
            502,
            "{what}: {:?} {}",
            response.head,
            response.text()
        );
        assert!(response.closes(), "{what}");
        assert!(response.body.is_empty(), "{what}: {}", response.text());
    }
    let malformed = site.fetch(&format!("/api{}", raw(b"hello\r\n\r\n")));
    assert_failure(&site, &malformed, 502, "GATEWAY_CLIENT_CONNECTION_ERROR");
    let closed = site.fetch(&format!("/api{}", raw(b"")));
    assert_failure(&site, &closed, 502, "GATEWAY_CLIENT_CONNECTION_CLOSED");
}

/// A large head does not fit into a request line: the backend makes it from a number.
fn shortened(sent: &str) -> String {
    if sent.len() > 2_000 {
        format!("/large-head/{}", sent.len())
    } else {
        raw(sent.as_bytes())
    }
}

#[test]
fn malformed_chunks_cut_the_response() {
    let site = Site::plain();
    for chunks in [
        "zz\r\nab\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "-2\r\nab\r\n0\r\n\r\n",
        "10000000000000002\r\nab\r\n0\r\n\r\n",
        "2\nab\r\n0\r\n\r\n",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let mut client = site.client();
        client.send(&get(&format!("/api{}", raw_keep(response.as_bytes()))));
        match client.try_response() {
            Ok(response) => assert_eq!(response.status, 502, "{chunks:?}"),
            Err(broken) => assert!(
                matches!(broken, Broken::Cut(_) | Broken::Closed),
                "{chunks:?}: {broken:?}"
            ),
        }
    }
}

#[test]
fn bytes_beyond_a_response_never_reach_the_next_client() {
    let site = Site::plain();
    let poisoned = concat!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    );
    let path = format!("/api{}", raw_keep(poisoned.as_bytes()));
    for _ in 0..10 {
        let mut client = site.client();
        assert_eq!(client.send(&get(&path)).response().text(), "ok");
        let next = client.send(&get("/api/echo")).response();
        assert_eq!(next.json()["target"], "/echo");
        assert_eq!(
            site.fetch("/api/echo/other").json()["target"],
            "/echo/other"
        );
    }
}

#[test]
fn an_answer_before_the_body_is_sent_reaches_the_client() {
    let site = Site::plain();
    for size in [10, 100_000, 4 * 1_024 * 1_024] {
        let mut client = site.client();
        let mut stream = client.stream().try_clone().expect("the socket is open");
        let sent = request("POST", "/api/early/413", &[], &bytes(size));
        let writer = std::thread::spawn(move || {
            // The gateway may close before it has read everything.
            let _ = std::io::Write::write_all(&mut stream, &sent);
        });
        let response = client.response();
        assert_eq!(
            (response.status, response.text()),
            (413, "early".to_owned()),
            "{size}"
        );
        drop(client);
        writer.join().expect("the writer does not panic");
    }
}

#[test]
fn a_backend_that_closes_after_each_response_costs_no_get_and_repeats_no_post() {
    let site = Site::plain();
    let mut client = site.client();
    for number in 0..300 {
        let response = client
            .send(&get(&format!("/api/close-after/get/{number}")))
            .response();
        assert_eq!(response.status, 200, "GET {number}");
    }
    let mut failed = 0;
    for number in 0..100 {
        let sent = request(
            "POST",
            &format!("/api/close-after/post/{number}"),
            &[],
            b"once",
        );
        let mut client = Client::open(site.port());
        let response = client.send(&sent).response();
        assert!([200, 502].contains(&response.status), "POST {number}");
        failed += usize::from(response.status == 502);
    }
    assert!(failed < 50, "{failed} of 100 POSTs met a dead connection");
    let mut posts: Vec<String> = site
        .backend
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "POST")
        .map(|seen| seen.target)
        .collect();
    let all = posts.len();
    posts.sort();
    posts.dedup();
    assert_eq!(posts.len(), all, "a POST was sent twice");
}

#[test]
fn expect_100_continue_waits_for_the_backends_word() {
    let site = Site::plain();
    let mut client = site.client();
    let head = "POST /api/continue HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    for _ in 0..2 {
        client.send(head.as_bytes());
        let interim = client.head().expect("an interim head");
        assert_eq!(interim.start, "HTTP/1.1 100 Continue");
        client.send(b"body");
        let response = client.response();
        assert_eq!(response.status, 200);
        assert_eq!(response.json()["body_bytes"], 4);
        assert_eq!(
            site.backend.last().head.field("Expect"),
            Some("100-continue")
        );
    }
    // A final answer instead: the body is not wanted, and the connection cannot be used further.
    let head = head.replace("continue HTTP", "early/417 HTTP");
    let mut client = site.client();
    let response = client.send(head.as_bytes()).response();
    assert_eq!(response.status, 417);
}

#[test]
fn interim_responses_are_relayed_and_not_for_ever() {
    let site = Site::plain();
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut client = site.client();
    let path = raw_keep(format!("{hint}{hint}{last}").as_bytes());
    client.send(&get(&format!("/api{path}")));
    for _ in 0..2 {
        let head = client.head().expect("an interim head");
        assert_eq!(head.start, "HTTP/1.1 103 Early Hints");
        assert_eq!(head.field("Link"), Some("</a>"));
    }
    assert_eq!(client.response().text(), "ok");
    // 60 of them are no response any more.
    let path = raw(hint.repeat(60).as_bytes());
    let mut client = site.client();
    client.send(&get(&format!("/api{path}")));
    match client.try_response() {
        Ok(response) => assert_eq!(response.status, 502),
        Err(broken) => assert!(
            matches!(broken, Broken::Cut(_) | Broken::Closed),
            "{broken:?}"
        ),
    }
}

#[test]
fn a_client_that_leaves_frees_its_backend_connection() {
    let site = Site::plain();
    assert_eq!(site.fetch("/api/echo").status, 200);
    for path in ["/api/hang", "/api/bytes/50000000", "/api/drip/1000/50"] {
        let before = site.backend.requests();
        let mut client = site.client();
        // Two at once: the unread answer to the first makes leaving a reset. An orderly end would leave the answer due.
        client.send(&[get("/nothing"), get(path)].concat());
        until("the backend is asked", PATIENCE, || {
            (site.backend.requests() > before).then_some(())
        });
        drop(client);
        // One connection may stay in the pool of each worker, from the first request.
        until(&format!("{path} given up"), Duration::from_secs(5), || {
            (site.backend.open_connections() <= 1).then_some(())
        });
    }
    let gone = until("a report of a client that left", PATIENCE, || {
        let reports = site.plane.reports("v4-metrics");
        reports
            .into_iter()
            .find(|report| report["uri"] == "/api/hang")
    });
    assert_eq!(gone["status"], 499, "{gone:#}");
}

#[test]
fn a_request_that_stops_in_the_middle_is_never_completed_towards_the_backend() {
    let site = Site::plain();
    for sent in [
        "POST /api/half HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf",
        "POST /api/half HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let before = site.backend.seen().len();
        let mut client = site.client();
        client.send(sent.as_bytes());
        drop(client);
        let seen = until("the backend has given up", PATIENCE, || {
            (site.backend.seen().len() > before).then(|| site.backend.last())
        });
        assert!(!seen.complete, "{seen:?}");
    }
}

#[test]
fn a_full_pool_without_queue_is_a_503() {
    let site = Site::with(
        Start::new().set("gateway.runtime.workers", "1"),
        |backend| {
            vec![
                v4("tiny", "/tiny", &backend.target(""))
                    .http(json!({ "maxConcurrentConnections": 1, "maxWaitQueueSize": 0 })),
                v4("queue", "/queue", &backend.target(""))
                    .http(json!({ "maxConcurrentConnections": 1 })),
            ]
        },
    );
    let mut first = site.client();
    first.send(&get("/tiny/slow/1500"));
    until("the backend is asked", PATIENCE, || {
        (site.backend.requests() > 0).then_some(())
    });
    let response = site.fetch("/tiny/echo");
    assert_failure(
        &site,
        &response,
        503,
        "GATEWAY_CLIENT_CONNECTION_POOL_EXHAUSTED",
    );
    assert_eq!(first.response().text(), "slow");
    assert_eq!(site.fetch("/tiny/echo").status, 200);
    // With a queue they take turns.
    let mut clients: Vec<Client> = (0..5).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send(&get("/queue/slow/50"));
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "slow");
    }
}
