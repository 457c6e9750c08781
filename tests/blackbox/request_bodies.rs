//! Bodies of every size in both directions, versions, and the life of a connection.

use crate::support::backend::bytewise;
use crate::support::client::{Client, get, request};
use crate::support::pattern::{bytes, digest};
use crate::support::site::Site;
use crate::support::wire::chunked;

const SIZES: [usize; 4] = [0, 1, 64 * 1_024, 8 * 1_024 * 1_024];

/// Sends a request while the answer is being read, so that a body larger than all buffers cannot block either side.
fn exchange_large(client: &mut Client, request: Vec<u8>) -> crate::support::client::Response {
    let mut stream = client.stream().try_clone().expect("the socket is open");
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stream, &request));
    let response = client.response();
    writer
        .join()
        .expect("the writer does not panic")
        .expect("the gateway takes the whole body");
    response
}

#[test]
fn an_unknown_path_is_answered_with_the_references_text() {
    let site = Site::plain();
    let response = site.fetch("/nothing/here");
    assert_eq!(response.head.start, "HTTP/1.1 404 Not Found");
    assert_eq!(response.field("Content-Type"), Some("text/plain"));
    assert_eq!(response.field("Content-Length"), Some("40"));
    assert_eq!(response.text(), "No context-path matches the request URI.");
    for absent in [
        "X-Gravitee-Transaction-Id",
        "X-Gravitee-Request-Id",
        "Server",
        "Date",
        "Via",
    ] {
        assert_eq!(response.field(absent), None, "{absent}");
    }
}

#[test]
fn an_answer_that_the_gateway_makes_itself_keeps_the_connection() {
    let site = Site::plain();
    let mut client = site.client();
    for path in ["/nothing", "/api/a", "/nothing", "/api/b"] {
        let response = client.send(&get(path)).response();
        let expected = if path.starts_with("/api") { 200 } else { 404 };
        assert_eq!(response.status, expected, "{path}");
    }
    // A HEAD has no body, and what comes next is the next answer.
    client.send(&request("HEAD", "/nothing", &[], b""));
    let response = client.response_to_head();
    assert_eq!(
        (response.status, response.field("Content-Length")),
        (404, Some("40"))
    );
    assert_eq!(client.send(&get("/api/c")).response().status, 200);
}

#[test]
fn bodies_with_a_length_arrive_unchanged_in_both_directions() {
    let site = Site::plain();
    let mut client = site.client();
    for size in SIZES {
        let body = bytes(size);
        for method in ["POST", "PUT"] {
            let mut head = format!(
                "{method} /api/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
            )
            .into_bytes();
            head.extend_from_slice(&body);
            let response = exchange_large(&mut client, head);
            assert_eq!(response.status, 200, "{method} {size}");
            let seen = response.json();
            assert_eq!(seen["body_bytes"], size, "{method} {size}");
            assert_eq!(seen["digest"], digest(&body), "{method} {size}");
            let last = site.backend.last();
            assert_eq!(last.head.all("Content-Length"), [size.to_string()]);
            assert_eq!(last.head.field("Transfer-Encoding"), None);
        }
        let response = client.send(&get(&format!("/api/bytes/{size}"))).response();
        assert_eq!(response.field("Content-Length"), Some(&*size.to_string()));
        assert!(
            response.body == body,
            "{size} bytes from the backend differ"
        );
    }
}

#[test]
fn chunked_bodies_arrive_unchanged_in_both_directions() {
    let site = Site::plain();
    let mut client = site.client();
    for size in SIZES {
        let body = bytes(size);
        let mut sent =
            b"POST /api/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_vec();
        sent.extend_from_slice(&chunked(&body));
        let response = exchange_large(&mut client, sent);
        assert_eq!(response.status, 200, "{size}");
        let seen = response.json();
        assert_eq!(seen["body_bytes"], size);
        assert_eq!(seen["digest"], digest(&body), "{size}");
        assert_eq!(site.backend.last().head.field("Content-Length"), None);

        let response = client
            .send(&get(&format!("/api/chunked/{size}")))
            .response();
        assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
        assert_eq!(response.field("Content-Length"), None);
        assert!(response.body == body, "{size} chunked bytes differ");
    }
}

#[test]
fn a_response_that_ends_by_closing_becomes_chunked_and_keeps_the_clients_connection() {
    let site = Site::plain();
    let mut client = site.client();
    for size in [0, 1, 300_000] {
        let response = client
            .send(&get(&format!("/api/until-close/{size}")))
            .response();
        assert_eq!(response.status, 200);
        assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
        assert!(response.body == bytes(size), "{size}");
    }
}

#[test]
fn a_get_without_body_has_no_framing_field_towards_the_backend() {
    let site = Site::plain();
    site.fetch("/api/echo");
    let seen = site.backend.last().head;
    assert_eq!(seen.field("Content-Length"), None);
    assert_eq!(seen.field("Transfer-Encoding"), None);
}

#[test]
fn head_requests_get_the_head_alone() {
    let site = Site::plain();
    let mut client = site.client();
    for _ in 0..3 {
        let response = client
            .send(&request("HEAD", "/api/bytes/1000", &[], b""))
            .response_to_head();
        assert_eq!(response.status, 200);
        assert_eq!(response.field("Content-Length"), Some("1000"));
        assert_eq!(site.backend.last().method, "HEAD");
    }
    assert_eq!(client.send(&get("/api/echo")).response().status, 200);
    assert!(client.surplus().is_empty());
}

#[test]
fn statuses_without_a_body_leave_the_connection_in_step() {
    let site = Site::plain();
    let mut client = site.client();
    for status in ["204 No Content", "304 Not Modified"] {
        let path = crate::support::backend::raw_keep(
            format!("HTTP/1.1 {status}\r\nETag: \"x\"\r\n\r\n").as_bytes(),
        );
        let response = client.send(&get(&format!("/api{path}"))).response();
        assert_eq!(response.head.start, format!("HTTP/1.1 {status}"));
        assert_eq!(response.field("ETag"), Some("\"x\""));
        assert_eq!(response.field("Transfer-Encoding"), None, "{status}");
        assert_eq!(client.send(&get("/api/echo")).response().status, 200);
    }
}

#[test]
fn a_client_of_version_1_0_gets_what_it_understands() {
    let site = Site::plain();
    // Without keep-alive the end of the body is the end of the connection.
    let mut client = site.client();
    client.send(b"GET /api/chunked/100000 HTTP/1.0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 200);
    assert_eq!(
        response.field("Transfer-Encoding"),
        None,
        "1.0 has no chunks"
    );
    assert!(response.body == bytes(100_000));
    assert!(client.ends());

    let mut client = site.client();
    for _ in 0..3 {
        client.send(b"GET /api/bytes/10 HTTP/1.0\r\nConnection: keep-alive\r\nHost: h\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status, response.body.len()), (200, 10));
        assert_eq!(response.field("Connection"), Some("keep-alive"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = Site::plain();
    let mut client = site.client();
    let mut sent = Vec::new();
    for number in 0..20 {
        if number % 3 == 0 {
            sent.extend_from_slice(&request(
                "POST",
                &format!("/api/echo/{number}"),
                &[],
                &bytes(number * 100 + 1),
            ));
        } else {
            sent.extend_from_slice(&get(&format!("/api/echo/{number}")));
        }
    }
    client.send(&sent);
    for number in 0..20 {
        let answer = client.response().json();
        assert_eq!(answer["target"], format!("/echo/{number}"));
        let expected = if number % 3 == 0 { number * 100 + 1 } else { 0 };
        assert_eq!(answer["body_bytes"], expected);
    }
    assert!(client.surplus().is_empty());
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let site = Site::plain();
    let mut client = site.client();
    for request in [
        get("/api/echo/dripped"),
        request("POST", "/api/echo/dripped", &[], b"body"),
    ] {
        for byte in request {
            client.send(&[byte]);
        }
        assert_eq!(client.response().json()["target"], "/echo/dripped");
    }
}

#[test]
fn connection_close_is_honoured_and_one_empty_line_before_a_request_is_forgiven() {
    let site = Site::plain();
    let mut client = site.client();
    client.send(b"\r\nGET /api/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 200);
    assert!(response.closes(), "{:?}", response.head);
    assert!(client.ends());
}

#[test]
fn many_requests_share_few_backend_connections() {
    let site = Site::plain();
    let mut client = site.client();
    for _ in 0..200 {
        assert_eq!(client.send(&get("/api/echo")).response().status, 200);
    }
    // One connection of a client stays on one worker.
    assert!(
        site.backend.connections() <= 2,
        "{} connections for one client",
        site.backend.connections()
    );
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_answer() {
    let site = Site::plain();
    let mut client = site.client();
    client.send(&get("/api/slow/200"));
    client
        .stream()
        .shutdown(std::net::Shutdown::Write)
        .expect("the socket is open");
    assert_eq!(client.response().text(), "slow");
    assert!(client.ends());
}

#[test]
fn a_response_may_come_byte_by_byte() {
    let site = Site::plain();
    let mut client = site.client();
    for (what, sent, body) in [
        (
            "length",
            "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "chunks with extensions and trailers",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;c\r\nX-End: 1\r\n\r\n",
            "hello",
        ),
        (
            "interim",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "ok",
        ),
        ("nothing", "HTTP/1.1 204 No Content\r\n\r\n", ""),
    ] {
        let path = format!("/api{}", bytewise(sent.as_bytes()));
        for _ in 0..3 {
            let response = client.send(&get(&path)).response();
            assert_eq!(response.text(), body, "{what}");
            assert_eq!(
                response.field("X-Gravitee-Request-Id").map(str::len),
                Some(36)
            );
        }
    }
    assert!(client.surplus().is_empty());
}
