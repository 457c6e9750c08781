//! Requests that two parsers could read differently: 400, the connection is closed, and the backend sees nothing of it.

use crate::support::client::{Client, get};
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, until};
use crate::support::wire::Broken;

/// What an attacker would like to be taken for a request of its own.
const SMUGGLED: &str = "GET /api/smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Sends bytes, and says what came back.
fn attack(site: &Site, sent: &[u8]) -> (Client, Result<u16, Broken>) {
    let mut client = site.client();
    // The gateway may answer and close while we are still writing.
    let _ = client.try_send(sent);
    let answer = client.try_response().map(|response| {
        assert!(
            response.closes(),
            "{:?} keeps the connection",
            response.head
        );
        response.status
    });
    (client, answer)
}

#[test]
fn ambiguous_heads_are_refused_and_reach_no_backend() {
    let site = Site::plain();
    let post = |fields: &str| format!("POST /api/x HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let cases: Vec<(&str, String)> = vec![
        (
            "CL and TE",
            post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        ),
        (
            "TE and CL",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        ),
        (
            "two lengths",
            post("Content-Length: 4\r\nContent-Length: 5\r\n"),
        ),
        ("list of lengths", post("Content-Length: 4, 5\r\n")),
        ("empty length", post("Content-Length: \r\n")),
        (
            "empty and real length",
            post("Content-Length: \r\nContent-Length: 4\r\n"),
        ),
        ("signed length", post("Content-Length: +4\r\n")),
        ("negative length", post("Content-Length: -1\r\n")),
        ("hexadecimal length", post("Content-Length: 0x4\r\n")),
        ("length with a space", post("Content-Length: 4 4\r\n")),
        (
            "length beyond 2^63",
            post("Content-Length: 9223372036854775808\r\n"),
        ),
        (
            "length beyond 2^64",
            post("Content-Length: 18446744073709551620\r\n"),
        ),
        (
            "two codings",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ),
        ("coding list", post("Transfer-Encoding: gzip, chunked\r\n")),
        (
            "chunked twice",
            post("Transfer-Encoding: chunked, chunked\r\n"),
        ),
        (
            "chunked not last",
            post("Transfer-Encoding: chunked, identity\r\n"),
        ),
        ("identity", post("Transfer-Encoding: identity\r\n")),
        ("unknown coding", post("Transfer-Encoding: xchunked\r\n")),
        ("quoted coding", post("Transfer-Encoding: \"chunked\"\r\n")),
        (
            "coding with parameter",
            post("Transfer-Encoding: chunked;q=1\r\n"),
        ),
        (
            "coding with vertical tab",
            post("Transfer-Encoding: \u{b}chunked\r\n"),
        ),
        ("empty coding", post("Transfer-Encoding: \r\n")),
        ("space before colon", post("Content-Length : 4\r\n")),
        ("tab before colon", post("Transfer-Encoding\t: chunked\r\n")),
        ("space before name", post("X: 1\r\n Content-Length: 4\r\n")),
        ("folded line", post("X: 1\r\n\t2\r\n")),
        ("folded coding", post("Transfer-Encoding:\r\n chunked\r\n")),
        ("no colon", post("Content-Length\r\n")),
        ("empty name", post(": 4\r\n")),
        ("NUL in a value", post("X: a\0b\r\n")),
        ("NUL in a name", post("X\0: a\r\n")),
        ("CR in a value", post("X: a\rb\r\n")),
        ("bare LF in a value", post("X: a\nContent-Length: 4\r\n")),
        ("DEL in a name", post("X\u{7f}: a\r\n")),
        ("brackets in a name", post("X[]: a\r\n")),
        (
            "coding in 1.0",
            "POST /api/x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        ),
        (
            "bare LF after the request line",
            "GET /api/x HTTP/1.1\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "bare LF everywhere",
            "GET /api/x HTTP/1.1\nHost: h\n\n".to_owned(),
        ),
        (
            "bare LF at the end",
            "GET /api/x HTTP/1.1\r\nHost: h\r\n\n".to_owned(),
        ),
        (
            "CR for CRLF",
            "GET /api/x HTTP/1.1\rHost: h\r\r".to_owned() + "\r\n\r\n",
        ),
        ("no Host", "GET /api/x HTTP/1.1\r\n\r\n".to_owned()),
        (
            "two Hosts",
            "GET /api/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        ),
        (
            "two equal Hosts",
            "GET /api/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(),
        ),
        (
            "list of Hosts",
            "GET /api/x HTTP/1.1\r\nHost: a, b\r\n\r\n".to_owned(),
        ),
        (
            "Host with a path",
            "GET /api/x HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(),
        ),
        (
            "Host with user",
            "GET /api/x HTTP/1.1\r\nHost: a@b\r\n\r\n".to_owned(),
        ),
        (
            "Host with a bad port",
            "GET /api/x HTTP/1.1\r\nHost: a:b\r\n\r\n".to_owned(),
        ),
        (
            "empty Host",
            "GET /api/x HTTP/1.1\r\nHost: \r\n\r\n".to_owned(),
        ),
        (
            "Host nominated",
            "GET /api/x HTTP/1.1\r\nHost: h\r\nConnection: Host\r\n\r\n".to_owned(),
        ),
        (
            "length nominated",
            post("Content-Length: 4\r\nConnection: close, content-length\r\n"),
        ),
        (
            "fragment",
            "GET /api/x#y HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "NUL in the target",
            "GET /api/\0x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "control in the target",
            "GET /api/\u{1}x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "space in the target",
            "GET /api/ x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "two spaces",
            "GET  /api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "tab in the request line",
            "GET\t/api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "space before the method",
            " GET /api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "no slash",
            "GET api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        ("asterisk", "GET * HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        (
            "authority form",
            "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "CONNECT",
            "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "foreign scheme",
            "GET ftp://h/api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "absolute with user",
            "GET http://a@h/api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "absolute without host",
            "GET http:///api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "above the root",
            "GET /api/../../x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        ("no version", "GET /api/x\r\nHost: h\r\n\r\n".to_owned()),
        (
            "version 0.9",
            "GET /api/x HTTP/0.9\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "version 1.2",
            "GET /api/x HTTP/1.2\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "version 2",
            "GET /api/x HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "version in lower case",
            "GET /api/x http/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "method with a colon",
            "GE:T /api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "two empty lines before",
            "\r\n\r\nGET /api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "LF before",
            "\nGET /api/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "TLS",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".to_owned(),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, sent) in &cases {
        // An innocent request first, so that pooled connections and kept state are there to be poisoned.
        let mut client = site.client();
        assert_eq!(client.send(&get("/api/before")).response().status, 200);
        let asked = site.backend.requests();
        let _ = client.try_send(format!("{sent}0\r\n\r\n{SMUGGLED}").as_bytes());
        match client.try_response() {
            Ok(response) if response.status == 400 && response.closes() => {}
            other => wrong.push(format!("{what}: {other:?}")),
        }
        if !client.ends() {
            wrong.push(format!("{what}: the connection stays open"));
        }
        if site.backend.requests() != asked {
            wrong.push(format!("{what}: the backend saw {:?}", site.backend.last()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn malformed_chunks_end_the_request_and_the_connection() {
    let site = Site::plain();
    let long_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1_000));
    for (what, chunks) in [
        ("no size", "\r\nabc\r\n0\r\n\r\n"),
        ("not hexadecimal", "g\r\nabc\r\n0\r\n\r\n"),
        ("prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("sign", "+3\r\nabc\r\n0\r\n\r\n"),
        ("negative", "-3\r\nabc\r\n0\r\n\r\n"),
        ("underscore", "1_0\r\nabc\r\n0\r\n\r\n"),
        ("space before", " 3\r\nabc\r\n0\r\n\r\n"),
        ("17 digits", "00000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("2^64 + 3", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("bare LF after the size", "3\nabc\r\n0\r\n\r\n"),
        ("bare CR after the size", "3\rabc\r\n0\r\n\r\n"),
        ("longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
        ("no CRLF after the data", "3\r\nabc0\r\n\r\n"),
        ("LF after the data", "3\r\nabc\n0\r\n\r\n"),
        ("bare LF at the end", "3\r\nabc\r\n0\n\n"),
        ("NUL in an extension", "3;a\0b\r\nabc\r\n0\r\n\r\n"),
        ("LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        ("long line", &long_extension),
        ("trailer with bare LF", "3\r\nabc\r\n0\r\nX: 1\n\r\n"),
    ] {
        let sent = format!(
            "POST /api/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{SMUGGLED}"
        );
        let (mut client, answer) = attack(&site, sent.as_bytes());
        assert!(
            matches!(answer, Ok(400) | Err(Broken::Closed)),
            "{what}: {answer:?}"
        );
        assert!(client.ends(), "{what}: the connection stays open");
    }
    until("the backend has given up", PATIENCE, || {
        (site.backend.open_connections() <= 2).then_some(())
    });
    for seen in site.backend.seen() {
        assert!(
            seen.target == "/x" && !seen.complete,
            "{seen:?} was taken for complete"
        );
    }
}

#[test]
fn chunk_extensions_and_trailers_are_dropped() {
    let site = Site::plain();
    let sent = concat!(
        "POST /api/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n",
        "3;name=value\r\nabc\r\n2 ; x\r\nde\r\n0\r\nX-Trailer: 1\r\nContent-Length: 9\r\n\r\n"
    );
    let mut client = site.client();
    let response = client.send(sent.as_bytes()).response();
    if response.status == 200 {
        assert_eq!(response.json()["body_bytes"], 5);
        let seen = site.backend.last().head;
        assert_eq!(seen.field("X-Trailer"), None);
        assert_eq!(seen.field("Content-Length"), None);
        assert_eq!(client.send(&get("/api/next")).response().status, 200);
    } else {
        // White space around the semicolon may be refused as well.
        assert_eq!(response.status, 400);
    }
}

#[test]
fn upgrades_are_not_forwarded() {
    let site = Site::plain();
    for fields in [
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n",
    ] {
        let sent = format!("GET /api/x HTTP/1.1\r\nHost: h\r\n{fields}\r\n{SMUGGLED}");
        let mut client = site.client();
        assert_ne!(client.send(sent.as_bytes()).response().status, 101);
        for seen in site.backend.seen() {
            assert_eq!(seen.head.field("Upgrade"), None, "{fields}");
            assert_eq!(seen.head.field("HTTP2-Settings"), None, "{fields}");
        }
    }
}
