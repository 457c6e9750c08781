//! APIs with policies on real workers: what policies do to heads and bodies, and what the connection is good for afterwards.

#[path = "support/fake.rs"]
mod fake;
mod support;
#[path = "support/wire.rs"]
mod wire;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use turnpike_config::DriverChoice;
use turnpike_core::error::Failure;
use turnpike_core::exchange::{Body, Exchange};
use turnpike_core::need::{Answer, Errand, Need};
use turnpike_core::policy::{Stage, Verdict};

use fake::{Fake, flows};
use support::{Proxy, Setup, start_with};
use wire::{backend, connect, dechunk, exchange, read_message};

fn on_each_driver(test: impl Fn(DriverChoice)) {
    test(DriverChoice::Epoll);
    test(DriverChoice::Auto);
}

fn start(backend: SocketAddr, driver: DriverChoice, policies: Vec<Fake>) -> Proxy {
    start_with(backend, driver, 5_000, |setup| with(setup, policies))
}

fn with(setup: &mut Setup, policies: Vec<Fake>) {
    setup.api.processing.flows = flows(policies);
}

/// Answers with the request's head, an empty line, and its body.
fn mirror() -> SocketAddr {
    backend(|head, body| {
        let body = if head.contains("chunked") {
            dechunk(body)
        } else {
            body.to_vec()
        };
        let text = [head.as_bytes(), &body].concat();
        [
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Backend: yes\r\n\r\n",
                text.len()
            )
            .as_bytes(),
            &text,
        ]
        .concat()
    })
}

const GET: &[u8] = b"GET /orders/x?a=1 HTTP/1.1\r\nHost: h\r\nX-Own: 1\r\n\r\n";

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

fn records(proxy: &mut Proxy, count: usize) -> Vec<(u16, String)> {
    let mut records = Vec::new();
    // A report follows its answer.
    while records.len() < count {
        proxy.reports.drain(100, |record| {
            records.push((record.status, record.error_key.to_owned()));
        });
        thread::yield_now();
    }
    records
}

fn replace(body: &mut Body, with: impl FnOnce(&[u8]) -> Vec<u8>) {
    let content = with(body.bytes().expect("the body is in memory"));
    *body = Body::Buffered(content);
}

#[test]
fn policies_change_heads_in_both_directions() {
    on_each_driver(|driver| {
        let edits = Fake::default()
            .request(|exchange| {
                let request = &mut exchange.request;
                request.headers.set("X-Set", "by policy").expect("a field");
                request.headers.remove("x-own");
                request.headers.set("Content-Length", "9").expect("a field");
                request
                    .headers
                    .set("Transfer-Encoding", "chunked")
                    .expect("a field");
                request.query.push_str("&b=2");
                let prepared = exchange.response.headers.set("X-Prepared", "early");
                prepared.expect("a field");
                Verdict::Continue
            })
            .response(|exchange| {
                let response = &mut exchange.response;
                response.status = 201;
                response
                    .headers
                    .set("X-Backend", "changed")
                    .expect("a field");
                response
                    .headers
                    .set("Content-Length", "1")
                    .expect("a field");
                response
                    .headers
                    .set("Transfer-Encoding", "gzip")
                    .expect("a field");
                Verdict::Continue
            });
        let mut proxy = start(mirror(), driver, vec![edits]);
        let mut client = connect(proxy.address);
        for _ in 0..3 {
            let (head, body) = exchange(&mut client, GET);
            assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
            for field in [
                "X-Backend: changed",
                "X-Prepared: early",
                "X-Gravitee-Transaction-Id: ",
                "X-Gravitee-Request-Id: ",
                "X-Gravitee-Client-Identifier: ",
            ] {
                assert_eq!(head.matches(field).count(), 1, "{field}: {head}");
            }
            assert_eq!(head.to_lowercase().matches("content-length").count(), 1);
            assert!(!head.contains("Transfer-Encoding"), "{head}");
            let seen = text(&body);
            assert!(
                seen.starts_with("GET /base/x?a=1&b=2 HTTP/1.1\r\nHost: 127.0.0.1:"),
                "{seen}"
            );
            assert!(seen.contains("X-Set: by policy\r\n") && !seen.contains("X-Own"));
            assert_eq!(seen.matches("X-Gravitee-Request-Id: ").count(), 1);
            assert_eq!(seen.matches("X-Gravitee-Transaction-Id: ").count(), 1);
            let lower = seen.to_lowercase();
            assert!(
                !lower.contains("content-length") && !lower.contains("transfer-encoding"),
                "{seen}"
            );
        }
        assert_eq!(
            proxy.stats.upstream_connects.get(),
            1,
            "one pooled connection served all"
        );
        assert_eq!(proxy.stats.policies[0].executed.get(), 6);
        assert_eq!(records(&mut proxy, 3), vec![(201, String::new()); 3]);
        drop(client);
        assert_eq!(proxy.fleet.stop().cut, 0);
    });
}

#[test]
fn a_request_body_is_replaced_whatever_its_framing_and_size() {
    on_each_driver(|driver| {
        let grows = Fake::default().needs_request_body().request(|exchange| {
            let changed = exchange.request.headers.contains("X-Shrink");
            replace(&mut exchange.request.body, |body| {
                if changed {
                    body[..body.len() / 3].to_vec()
                } else {
                    [b"<", body, body, b">"].concat()
                }
            });
            Verdict::Continue
        });
        let proxy = start(mirror(), driver, vec![grows]);
        let mut client = connect(proxy.address);
        for size in [0_usize, 3, 5_000, 40_000, 1_000_000] {
            let content: Vec<u8> = (0..size).map(|at| b'a' + (at % 23) as u8).collect();
            let grown = [b"<", &*content, &content, b">"].concat();
            for (shrinks, expected) in [(false, &*grown), (true, &content[..size / 3])] {
                let field = if shrinks { "X-Shrink: 1\r\n" } else { "" };
                let head = format!(
                    "POST /orders HTTP/1.1\r\nHost: h\r\n{field}Content-Length: {size}\r\n\r\n"
                );
                let (_, body) = exchange(&mut client, &[head.as_bytes(), &content].concat());
                assert!(body.ends_with(expected), "{size} bytes with a length");
                let announced = format!("Content-Length: {}\r\n", expected.len());
                assert!(text(&body).contains(&announced), "{size} {announced}");

                let mut request = format!(
                    "POST /orders HTTP/1.1\r\nHost: h\r\n{field}Transfer-Encoding: chunked\r\n\r\n"
                )
                .into_bytes();
                for piece in content.chunks(7_000) {
                    request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    request.extend_from_slice(piece);
                    request.extend_from_slice(b"\r\n");
                }
                request.extend_from_slice(b"0\r\n\r\n");
                let (_, body) = exchange(&mut client, &request);
                assert!(body.ends_with(expected), "{size} bytes in chunks");
                assert!(!text(&body).to_lowercase().contains("transfer-encoding"));
            }
        }
        drop(client);
        assert_eq!(proxy.fleet.stop().cut, 0);
    });
}

#[test]
fn a_response_body_is_replaced_whatever_its_framing_and_size() {
    on_each_driver(|driver| {
        let sized = backend(|head, _| {
            let path = head.split(' ').nth(1).unwrap_or_default();
            let size: usize = path
                .rsplit('/')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0);
            let content = vec![b'x'; size];
            if head.contains("X-Chunked") {
                let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                for piece in content.chunks(9_000) {
                    answer.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    answer.extend_from_slice(piece);
                    answer.extend_from_slice(b"\r\n");
                }
                answer.extend_from_slice(b"0\r\n\r\n");
                answer
            } else {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
                [head.as_bytes(), &content].concat()
            }
        });
        let wraps = Fake::default().needs_response_body().response(|exchange| {
            replace(&mut exchange.response.body, |body| {
                format!("{} bytes {}", body.len(), text(&body[..body.len() / 2])).into_bytes()
            });
            Verdict::Continue
        });
        let proxy = start(sized, driver, vec![wraps]);
        let mut client = connect(proxy.address);
        for size in [0_usize, 1, 3_000, 100_000, 1_000_000] {
            for field in ["", "X-Chunked: 1\r\n"] {
                let request = format!("GET /orders/{size} HTTP/1.1\r\nHost: h\r\n{field}\r\n");
                let (head, body) = exchange(&mut client, request.as_bytes());
                let expected = format!("{size} bytes {}", "x".repeat(size / 2));
                assert!(text(&body) == expected, "{size} {field}");
                assert!(!head.contains("chunked"), "{head}");
            }
        }
        assert_eq!(
            proxy.stats.upstream_connects.get(),
            1,
            "a backend whose body was read can be called again"
        );
        drop(client);
        assert_eq!(proxy.fleet.stop().cut, 0);
    });
}

#[test]
fn a_response_that_takes_the_place_of_a_streaming_body_is_framed_by_its_own_length() {
    on_each_driver(|driver| {
        let replaces = Fake::default().response(|exchange| {
            exchange.response.status = 202;
            exchange.response.body = Body::Buffered(b"short".to_vec());
            Verdict::Continue
        });
        let proxy = start(mirror(), driver, vec![replaces]);
        let mut client = connect(proxy.address);
        for _ in 0..2 {
            let (head, body) = exchange(&mut client, GET);
            assert!(head.starts_with("HTTP/1.1 202 Accepted\r\n"), "{head}");
            assert_eq!(body, b"short");
        }
        assert_eq!(
            proxy.stats.upstream_connects.get(),
            2,
            "a backend with a body that nobody read is not called again"
        );
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn an_interruption_answers_without_the_backend() {
    on_each_driver(|driver| {
        let mock = Fake::default().request(|exchange| {
            exchange.response.status = 203;
            exchange
                .response
                .headers
                .set("X-Mock", "1")
                .expect("a field");
            exchange.response.body = Body::Buffered(b"mocked".to_vec());
            Verdict::Interrupt
        });
        let mut proxy = start(mirror(), driver, vec![mock]);
        let mut client = connect(proxy.address);
        for request in [
            GET,
            b"POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
            GET,
        ] {
            let (head, body) = exchange(&mut client, request);
            assert!(head.starts_with("HTTP/1.1 203 "), "{head}");
            assert!(head.contains("X-Mock: 1\r\n") && !head.contains("Connection: close"));
            assert_eq!(body, b"mocked");
        }
        assert_eq!(proxy.stats.upstream_requests.get(), 0);
        assert_eq!(proxy.stats.policies[0].interrupted.get(), 3);
        assert_eq!(records(&mut proxy, 3), vec![(203, String::new()); 3]);
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn a_failure_is_rendered_for_the_client_and_reported_with_its_key() {
    on_each_driver(|driver| {
        let fails = Fake::default().request(|exchange| {
            let status = match exchange.request.path_info() {
                "/client" => 403,
                _ => 500,
            };
            Verdict::fail(Failure::policy(status, "MY_KEY", "refused"))
        });
        let mut proxy = start(mirror(), driver, vec![fails]);
        let mut client = connect(proxy.address);
        for _ in 0..2 {
            let (head, body) = exchange(
                &mut client,
                b"GET /orders/client HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n",
            );
            assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
            assert!(head.contains("Content-Type: application/json\r\n"));
            assert!(!head.contains("Connection"), "{head}");
            assert_eq!(body, br#"{"message":"refused","http_status_code":403}"#);
        }
        let (head, body) = exchange(
            &mut client,
            b"GET /orders/server HTTP/1.1\r\nHost: h\r\n\r\n",
        );
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert_eq!(head.matches("Connection: close\r\n").count(), 1, "{head}");
        assert_eq!(body, b"refused");
        assert_eq!(client.read(&mut [0; 8]).expect("an end"), 0);
        let key = || "MY_KEY".to_owned();
        assert_eq!(
            records(&mut proxy, 3),
            [(403, key()), (403, key()), (500, key())]
        );
        assert_eq!(proxy.stats.policies[0].failed.get(), 3);
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn a_response_phase_may_fail_after_the_backend_has_answered() {
    on_each_driver(|driver| {
        let fails =
            Fake::default().response(|_| Verdict::fail(Failure::policy(422, "LATE", "no good")));
        let mut proxy = start(mirror(), driver, vec![fails]);
        let mut client = connect(proxy.address);
        for _ in 0..2 {
            let (head, body) = exchange(&mut client, GET);
            assert!(
                head.starts_with("HTTP/1.1 422 Unprocessable Entity\r\n"),
                "{head}"
            );
            assert_eq!(body, b"no good");
        }
        assert_eq!(records(&mut proxy, 2), vec![(422, "LATE".to_owned()); 2]);
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn policies_pause_before_and_after_the_call() {
    on_each_driver(|driver| {
        let pauses = Fake::default()
            .request(|_| Verdict::Await(Need::Pause(5)))
            .response(|_| Verdict::Await(Need::Pause(5)))
            .resume(|stage, exchange, answer| {
                assert!(matches!(answer, Answer::Done));
                let headers = match stage {
                    Stage::Request => &mut exchange.request.headers,
                    _ => &mut exchange.response.headers,
                };
                headers.set("X-Paused", "1").expect("a field");
                Verdict::Continue
            });
        let proxy = start(mirror(), driver, vec![pauses]);
        let mut client = connect(proxy.address);
        let post = b"POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
        for request in [GET, post, GET] {
            let (head, body) = exchange(&mut client, request);
            assert!(head.contains("X-Paused: 1\r\n"), "{head}");
            assert!(text(&body).contains("X-Paused: 1\r\n"));
        }
        // A next request that comes while the first one pauses waits its turn.
        client
            .write_all(&[GET, post, GET].concat())
            .expect("written");
        let mut bytes = Vec::new();
        for method in ["GET", "POST", "GET"] {
            let (_, body) = read_message(&mut client, &mut bytes).expect("an answer");
            assert!(text(&body).starts_with(method), "{}", text(&body));
        }
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn errands_travel_to_the_control_thread_and_back() {
    on_each_driver(|driver| {
        let errand = || {
            Verdict::Await(Need::Errand(Box::new(Errand::Resolve {
                host: "name".into(),
            })))
        };
        let asks = Fake::default()
            .request(move |exchange| {
                let detached = Errand::Resolve {
                    host: "nobody waits".into(),
                };
                exchange.detached.push(detached);
                errand()
            })
            .response(move |_| errand())
            .resume(|stage, exchange, answer| {
                let Answer::Addresses(addresses) = answer else {
                    return Verdict::fail(Failure::internal());
                };
                let headers = match stage {
                    Stage::Request => &mut exchange.request.headers,
                    _ => &mut exchange.response.headers,
                };
                let set = headers.set("X-Address", addresses[0].to_string());
                set.expect("a field");
                Verdict::Continue
            });
        let mut proxy = start(mirror(), driver, vec![asks]);
        let address = proxy.address;
        let clients: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(move || {
                    let mut client = connect(address);
                    for _ in 0..25 {
                        let (head, body) = exchange(&mut client, GET);
                        assert!(head.contains("X-Address: 127.0.0.9\r\n"), "{head}");
                        assert!(text(&body).contains("X-Address: 127.0.0.9\r\n"));
                    }
                })
            })
            .collect();
        let (mut waited_for, mut detached) = (0, 0);
        while waited_for < 200 || detached < 100 {
            let Some((ticket, errand)) = proxy.control.receive() else {
                thread::yield_now();
                continue;
            };
            match errand {
                Errand::Resolve { host } if &*host == "name" => waited_for += 1,
                _ => detached += 1,
            }
            let answer = Answer::Addresses(vec![[127, 0, 0, 9].into()]);
            proxy.control.replies().send(ticket, answer);
        }
        for client in clients {
            client.join().expect("a client");
        }
        assert_eq!(proxy.stats.errands_sent.get(), 300);
        proxy.fleet.stop();
    });
}

#[test]
fn a_body_that_is_too_large_for_policies_is_413_or_502() {
    on_each_driver(|driver| {
        let reads = Fake::default()
            .needs_request_body()
            .needs_response_body()
            .request(|_| Verdict::Continue);
        let large = backend(|head, _| {
            let size = if head.contains("/large") { 5_000 } else { 5 };
            let body = vec![b'x'; size];
            if head.contains("/large-chunks") {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n";
                return [head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            [head.as_bytes(), &body].concat()
        });
        let mut proxy = start_with(large, driver, 5_000, |setup| {
            setup.config.runtime.body_bytes_max = 2_000;
            with(setup, vec![reads]);
        });
        let mut client = connect(proxy.address);
        let post = |length: usize| {
            let head =
                format!("POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            [head.as_bytes(), &vec![b'y'; length]].concat()
        };
        let (head, body) = exchange(&mut client, &post(2_000));
        assert!(
            head.starts_with("HTTP/1.1 200 OK") && body == b"xxxxx",
            "{head}"
        );
        // Small enough to be thrown away: the connection is good for more.
        let (head, body) = exchange(&mut client, &post(2_001));
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        assert_eq!(body, b"The request body is too large");
        let (head, _) = exchange(&mut client, &post(10));
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        for path in ["/large", "/large-chunks"] {
            let request = format!("GET /orders{path} HTTP/1.1\r\nHost: h\r\n\r\n");
            let (head, _) = exchange(&mut connect(proxy.address), request.as_bytes());
            assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        }
        // Of chunks nobody knows how many will come.
        let chunks = format!(
            "POST /orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n{}\r\n0\r\n\r\n",
            "z".repeat(3_000)
        );
        let (head, _) = exchange(&mut client, chunks.as_bytes());
        assert!(
            head.starts_with("HTTP/1.1 413 ") && head.contains("Connection: close\r\n"),
            "{head}"
        );
        let statuses: Vec<u16> = records(&mut proxy, 6).iter().map(|(s, _)| *s).collect();
        assert_eq!(statuses, [200, 413, 200, 502, 502, 413]);
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on_when_the_body_is_needed() {
    on_each_driver(|driver| {
        let reads = Fake::default().needs_request_body().request(|exchange| {
            replace(&mut exchange.request.body, |body| [body, b"!"].concat());
            Verdict::Continue
        });
        let proxy = start(mirror(), driver, vec![reads]);
        let mut client = connect(proxy.address);
        for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let head = format!(
                "POST /orders HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
            );
            let (interim, _) = exchange(&mut client, head.as_bytes());
            assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
            let body: &[u8] = if framing.starts_with('C') {
                b"hello"
            } else {
                b"5\r\nhello\r\n0\r\n\r\n"
            };
            let (head, body) = exchange(&mut client, body);
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            let seen = text(&body);
            assert!(seen.ends_with("\r\n\r\nhello!"), "{seen}");
            assert!(!seen.contains("Expect"), "{seen}");
        }
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn chunks_that_are_malformed_are_refused_as_on_every_api() {
    on_each_driver(|driver| {
        let reads = Fake::default().needs_request_body();
        let mut proxy = start(mirror(), driver, vec![reads]);
        let mut client = connect(proxy.address);
        let (head, body) = exchange(
            &mut client,
            b"POST /orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        );
        assert!(
            head.starts_with("HTTP/1.1 400 ") && body.is_empty(),
            "{head}"
        );
        assert_eq!(records(&mut proxy, 1), [(400, String::new())]);
        drop(client);
        proxy.fleet.stop();
    });
}

fn read_to_end(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("an end");
    text(&bytes)
}

#[test]
fn framing_stays_right_for_head_for_http_1_0_and_for_statuses_without_a_body() {
    on_each_driver(|driver| {
        let chunked = backend(|head, _| {
            if head.starts_with("HEAD") {
                b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n".to_vec()
            } else {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                    .to_vec()
            }
        });
        let edits = Fake::default().response(|exchange: &mut Exchange<'_>| {
            match exchange.request.path_info() {
                "/own" => exchange.response.body = Body::Buffered(b"own body".to_vec()),
                "/204" => exchange.response.status = 204,
                "/304" => {
                    exchange.response.status = 304;
                    exchange.response.body = Body::Buffered(b"never seen".to_vec());
                }
                "/101" => exchange.response.status = 101,
                _ => {}
            }
            Verdict::Continue
        });
        let proxy = start(chunked, driver, vec![edits]);
        let mut client = connect(proxy.address);
        let mut ask = |method: &str, path: &str| {
            let request = format!("{method} /orders{path} HTTP/1.1\r\nHost: h\r\n\r\n");
            client.write_all(request.as_bytes()).expect("written");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                assert_eq!(client.read(&mut byte).expect("a head"), 1);
                head.push(byte[0]);
            }
            let head = text(&head);
            let has_body = method != "HEAD" && !head.contains(" 204 ") && !head.contains(" 304 ");
            let mut rest = Vec::new();
            if has_body {
                let length = if head.contains("chunked") { 15 } else { 8 };
                rest.resize(length, 0);
                client.read_exact(&mut rest).expect("a body");
            }
            (head, text(&rest))
        };
        for (method, path, status, length, body) in [
            ("HEAD", "/", "200", Some("77"), ""),
            ("HEAD", "/own", "200", Some("8"), ""),
            ("GET", "/own", "200", Some("8"), "own body"),
            ("GET", "/204", "204", None, ""),
            ("GET", "/304", "304", None, ""),
            ("GET", "/", "200", None, "5\r\nhello\r\n0\r\n\r\n"),
            ("GET", "/101", "500", None, "5\r\nhello\r\n0\r\n\r\n"),
            ("HEAD", "/204", "204", None, ""),
            ("GET", "/own", "200", Some("8"), "own body"),
        ] {
            let (head, rest) = ask(method, path);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            let found = head
                .split("Content-Length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next());
            assert_eq!(found, length, "{method} {path}: {head}");
            assert_eq!(rest, body, "{method} {path}");
        }
        for (path, ending) in [("/", "\r\n\r\nhello"), ("/own", "\r\n\r\nown body")] {
            let mut client = connect(proxy.address);
            let request = format!("GET /orders{path} HTTP/1.0\r\n\r\n");
            client.write_all(request.as_bytes()).expect("written");
            let answer = read_to_end(&mut client);
            assert!(answer.ends_with(ending), "{answer}");
            assert!(!answer.contains("chunked"), "{answer}");
        }
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn a_request_body_that_the_response_phase_reads_is_kept() {
    on_each_driver(|driver| {
        let echoes = Fake::default()
            .needs_request_body_in_response()
            .response(|exchange| {
                let body = exchange.request.body.bytes().expect("kept").to_vec();
                exchange.response.body = Body::Buffered(body);
                Verdict::Continue
            });
        let proxy = start(mirror(), driver, vec![echoes]);
        let mut client = connect(proxy.address);
        for _ in 0..2 {
            let (_, body) = exchange(
                &mut client,
                b"POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nkept",
            );
            assert_eq!(body, b"kept");
        }
        drop(client);
        proxy.fleet.stop();
    });
}

/// Without the line of the request id, which is new every time.
fn without_request_id(head: &str) -> String {
    head.split_inclusive("\r\n")
        .filter(|line| !line.starts_with("X-Gravitee-Request-Id: "))
        .collect()
}

#[test]
fn an_api_with_a_chain_that_does_nothing_is_served_as_one_without() {
    on_each_driver(|driver| {
        let mirror = mirror();
        let configure = |setup: &mut Setup| {
            setup.config.request.x_forwarded_prefix = true;
            setup.api.reject_null_byte = true;
        };
        let plain = start_with(mirror, driver, 5_000, configure);
        let chained = start_with(mirror, driver, 5_000, |setup| {
            configure(setup);
            with(setup, vec![Fake::default()]);
        });
        let id = "X-Gravitee-Transaction-Id: t-1\r\n";
        for request in [
            format!("GET /orders HTTP/1.1\r\nHost: h\r\n{id}\r\n"),
            format!("GET /orders/a/./b?x=1&y=2&x=3 HTTP/1.1\r\nHost: h:8\r\n{id}\r\n"),
            format!("GET http://other/orders/a HTTP/1.1\r\nHost: h\r\n{id}\r\n"),
            format!(
                "PUT /orders HTTP/1.1\r\nHost: h\r\n{id}Accept-Encoding: gzip\r\nTE: trailers\r\n\
                 Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-A: 1\r\nX-A: 2\r\n\
                 X-Gravitee-Request-Id: mine\r\nX-Forwarded-Prefix: no\r\n\
                 X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nContent-Length: 5\r\n\r\nhello"
            ),
            format!(
                "POST /orders?X-Gravitee-Client-Identifier=me HTTP/1.1\r\nHost: h\r\n{id}\
                 Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nT: 1\r\n\r\n"
            ),
            format!("BREW /orders HTTP/1.1\r\nHost: h\r\n{id}\r\n"),
            format!("GET /orders/%00 HTTP/1.1\r\nHost: h\r\n{id}\r\n"),
            format!("GET /orders HTTP/1.0\r\n{id}Connection: keep-alive\r\n\r\n"),
            format!("GET /orders HTTP/1.1\r\nHost: h\r\n{id}Connection: close\r\n\r\n"),
        ] {
            let [expected, found] = [plain.address, chained.address].map(|address| {
                let (head, body) = exchange(&mut connect(address), request.as_bytes());
                let mut fields: Vec<String> = without_request_id(&head)
                    .split("\r\n")
                    .map(str::to_owned)
                    // The mirror counts the id's line, which has the same length always.
                    .collect();
                fields.sort();
                (fields, without_request_id(&text(&body)))
            });
            assert_eq!(found, expected, "{request}");
        }
        chained.fleet.stop();
        plain.fleet.stop();
    });
}

#[test]
fn policies_see_the_request_as_it_came() {
    on_each_driver(|driver| {
        let shows = Fake::default().request(|exchange| {
            let request = &exchange.request;
            let seen = format!(
                "{} {} {}|{}|{}|{}|{}|{}|{}",
                request.method.as_str(),
                request.uri,
                request.path,
                request.context_path,
                request.path_info(),
                request.query,
                request.host,
                request.remote,
                request.certificate.as_ref().map_or(0, |c| c.der.len()),
            );
            assert_eq!(request.peer, "127.0.0.1");
            assert_eq!(
                request.headers.text("X-Gravitee-Request-Id"),
                Some(&*request.id)
            );
            assert_eq!(request.transaction_id, "t-1");
            assert!(request.timestamp_ms > 0 && exchange.now_ms >= request.timestamp_ms);
            exchange.response.body = Body::Buffered(seen.into_bytes());
            Verdict::Interrupt
        });
        let proxy = start_with(mirror(), driver, 5_000, |setup| {
            setup.config.request.client_certificate_header = Some("X-Cert".to_owned());
            with(setup, vec![shows]);
        });
        let certificate = format!("MEMAAQID{}", "AAAA".repeat(22));
        let request = format!(
            "GET /orders/a/../b%41?c=%20 HTTP/1.1\r\nHost: h:81\r\nX-Forwarded-For: 9.9.9.9\r\n\
             X-Cert: {certificate}\r\nX-Gravitee-Transaction-Id: t-1\r\n\r\n"
        );
        let (_, body) = exchange(&mut connect(proxy.address), request.as_bytes());
        assert_eq!(
            text(&body),
            "GET /orders/a/../b%41?c=%20 /orders/bA|/orders/|/bA|c=%20|h:81|9.9.9.9|72"
        );
        proxy.fleet.stop();
    });
}
