//! A fleet of real workers in front of a real backend, with a snapshot made by hand.

mod support;
#[path = "support/wire.rs"]
mod wire;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use turnpike_config::DriverChoice;

use support::start;
use wire::{backend, connect, dechunk, exchange, read_message};

fn echo() -> SocketAddr {
    backend(|head, body| {
        let line = head.lines().next().unwrap_or_default();
        let text = format!("{line}|{}", String::from_utf8_lossy(body));
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Backend: yes\r\n\r\n{text}",
            text.len()
        )
        .into_bytes()
    })
}

fn on_each_driver(test: impl Fn(DriverChoice)) {
    test(DriverChoice::Epoll);
    test(DriverChoice::Auto);
}

#[test]
fn requests_on_one_connection_reach_the_backend_and_come_back() {
    on_each_driver(|driver| {
        let mut proxy = start(echo(), driver, 5_000);
        let mut client = connect(proxy.address);
        for number in 0..20 {
            let request = format!("GET /orders/x?n={number} HTTP/1.1\r\nHost: h\r\n\r\n");
            let (head, body) = exchange(&mut client, request.as_bytes());
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(
                head.contains("X-Backend: yes") && head.contains("X-Gravitee-Transaction-Id: "),
                "{head}"
            );
            assert_eq!(body, format!("GET /base/x?n={number} HTTP/1.1|").as_bytes());
        }
        let (head, body) = exchange(&mut client, b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
        assert_eq!(body, b"No context-path matches the request URI.");
        assert_eq!(
            proxy.stats.upstream_connects.get(),
            1,
            "one pooled connection served all"
        );
        let mut statuses = Vec::new();
        while statuses.len() < 20 {
            proxy.reports.drain(100, |record| {
                statuses.push((record.status, record.plan_id.to_owned()))
            });
        }
        assert_eq!(statuses, vec![(200, "free".to_owned()); 20]);
        assert_eq!(proxy.fleet.stop().cut, 0);
    });
}

#[test]
fn bodies_pass_in_both_directions_in_either_framing() {
    on_each_driver(|driver| {
        let backend = backend(|head, body| {
            if head.contains("chunked") {
                [
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(),
                    body,
                ]
                .concat()
            } else {
                [
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
                    body,
                ]
                .concat()
            }
        });
        let proxy = start(backend, driver, 5_000);
        let mut client = connect(proxy.address);
        for size in [0_usize, 1, 4_096, 100_000, 2_000_000] {
            let content: Vec<u8> = (0..size).map(|at| b'a' + (at % 23) as u8).collect();
            let head =
                format!("POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
            let (_, body) = exchange(&mut client, &[head.as_bytes(), &content].concat());
            assert!(body == content, "{size} bytes with a length");

            let mut chunks = Vec::new();
            for piece in content.chunks(7_000) {
                chunks.extend_from_slice(format!("{:x};ext=1\r\n", piece.len()).as_bytes());
                chunks.extend_from_slice(piece);
                chunks.extend_from_slice(b"\r\n");
            }
            chunks.extend_from_slice(b"0\r\n\r\n");
            let head = "POST /orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            let (_, body) = exchange(&mut client, &[head.as_bytes(), &chunks].concat());
            assert!(dechunk(&body) == content, "{size} bytes in chunks");
        }
        assert_eq!(proxy.fleet.stop().cut, 0);
    });
}

#[test]
fn a_silent_backend_is_answered_for_with_504_and_a_closed_one_with_502() {
    on_each_driver(|driver| {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = start(silent.local_addr().expect("bound"), driver, 200);
        let (head, body) = exchange(
            &mut connect(proxy.address),
            b"GET /orders HTTP/1.1\r\nHost: h\r\n\r\n",
        );
        assert!(
            head.starts_with("HTTP/1.1 504 ") && head.contains("Connection: close"),
            "{head}"
        );
        assert_eq!(body, b"");
        proxy.fleet.stop();

        let closed = silent.local_addr().expect("bound");
        drop(silent);
        let mut proxy = start(closed, driver, 200);
        let (head, _) = exchange(
            &mut connect(proxy.address),
            b"GET /orders HTTP/1.1\r\nHost: h\r\n\r\n",
        );
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let mut key = String::new();
        // The report follows the answer.
        while proxy
            .reports
            .drain(1, |record| key = record.error_key.to_owned())
            == 0
        {
            thread::yield_now();
        }
        assert_eq!(key, "GATEWAY_CLIENT_CONNECTION_REFUSED");
        proxy.fleet.stop();
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    on_each_driver(|driver| {
        let proxy = start(echo(), driver, 5_000);
        let mut client = connect(proxy.address);
        let mut requests = Vec::new();
        for number in 0..10 {
            requests.extend_from_slice(
                format!("GET /orders/{number} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
            );
        }
        client.write_all(&requests).expect("written");
        let mut bytes = Vec::new();
        for number in 0..10 {
            let (_, body) = read_message(&mut client, &mut bytes).expect("an answer");
            assert_eq!(body, format!("GET /base/{number} HTTP/1.1|").as_bytes());
        }
        proxy.fleet.stop();
    });
}
