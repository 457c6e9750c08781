//! APIs with policies on real workers: the call of the backend, and everything that can go wrong around it.

#[path = "support/fake.rs"]
mod fake;
mod support;
#[path = "support/wire.rs"]
mod wire;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use turnpike_config::DriverChoice;
use turnpike_core::definition::Engine;
use turnpike_core::el::Value;
use turnpike_core::exchange::{Body, Call};
use turnpike_core::need::{Answer, Errand, Need};
use turnpike_core::policy::Verdict;

use fake::{Fake, flows};
use support::{Proxy, Setup, start_with};
use wire::{backend, connect, exchange, read_message};

const GET: &[u8] = b"GET /orders/x?a=1 HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &[u8] = b"POST /orders/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";

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

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// Answers with `name`, the request line, `Host`, and the body.
fn named(name: &'static str) -> SocketAddr {
    backend(move |head, body| {
        let line = head.lines().next().unwrap_or_default();
        let host = head
            .lines()
            .find(|line| line.starts_with("Host"))
            .unwrap_or_default();
        answer(&format!("{name}|{line}|{host}|{}", text(body)))
    })
}

fn answer(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The next report.
fn record(proxy: &mut Proxy) -> (u16, String, String) {
    let mut found = None;
    while found.is_none() {
        proxy.reports.drain(1, |record| {
            found = Some((
                record.status,
                record.error_key.to_owned(),
                record.endpoint.to_owned(),
            ));
        });
        thread::yield_now();
    }
    found.expect("a record")
}

/// Calls again, `times` at most, when the call failed or was answered with 503.
fn retry(times: u64, seen: Arc<AtomicU64>) -> Fake {
    Fake::default()
        .needs_request_body()
        .request(|_| Verdict::Wrap(None))
        .after(move |exchange| {
            let failed = matches!(exchange.call, Call::Failed(_));
            let seen = seen.fetch_add(1, Ordering::Relaxed);
            if (failed || exchange.response.status == 503) && seen < times {
                Verdict::Again(1)
            } else {
                Verdict::Continue
            }
        })
        .response(|exchange| {
            exchange.response.headers.set("X-Tried", "1").expect("set");
            Verdict::Continue
        })
}

#[test]
fn a_wrapped_call_is_made_again_with_the_same_body() {
    on_each_driver(|driver| {
        // Closes twice without a word, then says 503 with a body, then answers.
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let moody = backend(
            move |head, body| match counted.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Vec::new(),
                2 => b"HTTP/1.1 503 No\r\nX-Left: 1\r\nContent-Length: 4\r\n\r\nlate".to_vec(),
                _ => answer(&format!("{} {}", head.lines().count(), text(body))),
            },
        );
        let tries = Arc::new(AtomicU64::new(0));
        let proxy = start(moody, driver, vec![retry(5, Arc::clone(&tries))]);
        let mut client = connect(proxy.address);
        let (head, body) = exchange(&mut client, POST);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            !head.contains("X-Left"),
            "what was given up is forgotten: {head}"
        );
        assert!(head.contains("X-Tried: 1\r\n"), "{head}");
        assert!(text(&body).ends_with(" hello"), "{}", text(&body));
        assert_eq!(calls.load(Ordering::Relaxed), 4);
        // The connection is good for more.
        let (head, _) = exchange(&mut client, GET);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn a_backend_that_fails_for_good_gets_its_key_after_the_last_try() {
    on_each_driver(|driver| {
        let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = closed.local_addr().expect("bound");
        drop(closed);
        let tries = Arc::new(AtomicU64::new(0));
        let mut proxy = start(address, driver, vec![retry(2, Arc::clone(&tries))]);
        let (head, body) = exchange(&mut connect(proxy.address), POST);
        assert!(
            head.starts_with("HTTP/1.1 502 ") && body.is_empty(),
            "{head}"
        );
        assert!(head.contains("Connection: close\r\n"), "{head}");
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        let (status, key, _) = record(&mut proxy);
        assert_eq!((status, &*key), (502, "GATEWAY_CLIENT_CONNECTION_REFUSED"));
        proxy.fleet.stop();
    });
}

#[test]
fn an_attempt_is_given_up_after_its_own_time() {
    on_each_driver(|driver| {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let slow_first = backend(move |_, _| {
            if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                // Silent until the test is over.
                let _ = held.lock().expect("one backend").recv();
                return Vec::new();
            }
            answer("second")
        });
        let limits = Fake::default()
            .request(|exchange| {
                exchange.attempt_timeout_ms = 50;
                Verdict::Wrap(None)
            })
            .after(|exchange| match &exchange.call {
                Call::Failed(failure) => {
                    assert_eq!(failure.key_str(), "GATEWAY_CLIENT_READ_TIMEOUT");
                    Verdict::Again(0)
                }
                _ => Verdict::Continue,
            });
        let proxy = start(slow_first, driver, vec![limits]);
        let (_, body) = exchange(&mut connect(proxy.address), GET);
        assert_eq!(body, b"second");
        drop(release);
        proxy.fleet.stop();
    });
}

#[test]
fn a_wrapper_may_answer_in_the_place_of_the_backend() {
    on_each_driver(|driver| {
        let cache = Fake::default()
            .request(|_| Verdict::Wrap(None))
            .before(|exchange| {
                exchange.response.body = Body::Buffered(b"from the cache".to_vec());
                Verdict::Interrupt
            })
            .response(|exchange| {
                exchange.response.headers.set("X-After", "1").expect("set");
                Verdict::Continue
            });
        let proxy = start(named("one"), driver, vec![cache]);
        let mut client = connect(proxy.address);
        for request in [POST, GET] {
            let (head, body) = exchange(&mut client, request);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains("X-After: 1\r\n"), "{head}");
            assert_eq!(body, b"from the cache");
        }
        assert_eq!(proxy.stats.upstream_requests.get(), 0);
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn a_client_that_leaves_while_a_policy_waits_cancels_the_exchange() {
    on_each_driver(|driver| {
        let cancelled = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&cancelled);
        let waits = Fake::default()
            .request(|_| Verdict::Wrap(None))
            .before(|_| Verdict::Await(Need::Pause(60_000)))
            .cancel(|| {});
        // The outer wrapper is inside its call when the inner one waits.
        let outer = Fake::default()
            .request(|_| Verdict::Wrap(None))
            .cancel(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            });
        let mut proxy = start(named("one"), driver, vec![waits, outer]);
        let mut client = connect(proxy.address);
        client.write_all(GET).expect("written");
        while proxy.stats.active_requests.get() == 0 {
            thread::yield_now();
        }
        // A reset: an orderly end of sending would not tell that the client has gone.
        reset(client);
        let (status, key, _) = record(&mut proxy);
        assert_eq!(
            (status, &*key),
            (499, "CLIENT_ABORTED_DURING_REQUEST_ERROR")
        );
        assert_eq!(cancelled.load(Ordering::Relaxed), 1);
        assert_eq!(proxy.stats.client_aborts.get(), 1);
        proxy.fleet.stop();
    });
}

fn reset(client: TcpStream) {
    let socket = socket2::Socket::from(client);
    socket
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("an option");
    drop(socket);
}

#[test]
fn the_request_timeout_answers_504_and_the_organization_has_its_grace() {
    on_each_driver(|driver| {
        let asks = || {
            Verdict::Await(Need::Errand(Box::new(Errand::Resolve {
                host: "never answered".into(),
            })))
        };
        let waits = Fake::default()
            .request(move |exchange| match exchange.request.path_info() {
                "/request" => asks(),
                "/pause" => Verdict::Await(Need::Pause(60_000)),
                _ => Verdict::Continue,
            })
            .response(move |exchange| match exchange.request.path_info() {
                "/response" => asks(),
                _ => Verdict::Continue,
            });
        let organization = Fake::default()
            .response(|exchange| {
                exchange.response.headers.set("X-Last", "1").expect("set");
                Verdict::Await(Need::Pause(1))
            })
            .resume(|_, exchange, _| {
                exchange.response.headers.set("X-Last", "2").expect("set");
                Verdict::Continue
            });
        let mut proxy = start_with(named("one"), driver, 5_000, |setup| {
            setup.config.request.timeout_ms = 100;
            setup.config.request.timeout_grace_ms = 5_000;
            setup.platform.flows = flows(vec![organization]);
            with(setup, vec![waits]);
        });
        for path in ["/request", "/pause", "/response"] {
            let request = format!("GET /orders{path} HTTP/1.1\r\nHost: h\r\n\r\n");
            let (head, body) = exchange(&mut connect(proxy.address), request.as_bytes());
            assert!(head.starts_with("HTTP/1.1 504 "), "{path}: {head}");
            assert!(head.contains("X-Last: 2\r\n"), "{head}");
            assert_eq!(body, b"Request timeout");
            let (status, key, _) = record(&mut proxy);
            assert_eq!((status, &*key), (504, "REQUEST_TIMEOUT"));
        }
        // An answer that comes too late reaches nobody.
        while let Some((ticket, _)) = proxy.control.receive() {
            proxy.control.replies().send(ticket, Answer::Done);
        }
        let (head, _) = exchange(&mut connect(proxy.address), GET);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        proxy.fleet.stop();
    });
}

#[test]
fn a_grace_that_passes_ends_the_exchange() {
    on_each_driver(|driver| {
        let organization = Fake::default().response(|_| Verdict::Await(Need::Pause(60_000)));
        let proxy = start_with(named("one"), driver, 5_000, |setup| {
            setup.config.request.timeout_ms = 50;
            setup.config.request.timeout_grace_ms = 10;
            setup.platform.flows = flows(vec![organization]);
        });
        let (head, _) = exchange(&mut connect(proxy.address), GET);
        assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
        proxy.fleet.stop();
    });
}

#[test]
fn a_silent_backend_meets_the_request_timeout() {
    on_each_driver(|driver| {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let after = Fake::default().response(|_| panic!("there is no response"));
        let mut proxy = start_with(
            silent.local_addr().expect("bound"),
            driver,
            5_000,
            |setup| {
                setup.config.request.timeout_ms = 100;
                with(setup, vec![after]);
            },
        );
        for request in [GET, POST] {
            let (head, body) = exchange(&mut connect(proxy.address), request);
            assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
            assert_eq!(body, b"Request timeout");
            assert_eq!(record(&mut proxy).1, "REQUEST_TIMEOUT");
        }
        proxy.fleet.stop();
    });
}

#[test]
fn a_body_that_breaks_off_is_a_cut_when_streamed_and_502_when_a_policy_waits_for_it() {
    on_each_driver(|driver| {
        let broken = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("bound");
            thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let _ = read_message(&mut stream, &mut Vec::new());
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
                }
            });
            address
        };
        let mut proxy = start(
            broken(),
            driver,
            vec![Fake::default().needs_response_body()],
        );
        let (head, _) = exchange(&mut connect(proxy.address), GET);
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let (status, key, _) = record(&mut proxy);
        assert_eq!((status, &*key), (502, "GATEWAY_CLIENT_STREAM_ENDED_EARLY"));
        proxy.fleet.stop();

        let mut proxy = start(broken(), driver, vec![Fake::default()]);
        let mut client = connect(proxy.address);
        client.write_all(GET).expect("written");
        assert!(read_message(&mut client, &mut Vec::new()).is_none());
        let (status, key, _) = record(&mut proxy);
        assert_eq!((status, &*key), (200, "GATEWAY_CLIENT_STREAM_ENDED_EARLY"));
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn a_dead_pooled_connection_is_replaced_without_the_chain_noticing() {
    on_each_driver(|driver| {
        // Answers one request per connection, and closes without saying so.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if read_message(&mut stream, &mut Vec::new()).is_some() {
                    let _ = stream.write_all(&answer("once"));
                }
            }
        });
        let proxy = start(address, driver, vec![Fake::default().needs_request_body()]);
        let mut client = connect(proxy.address);
        // Whether the gateway sees the end before or after it has sent the next request, the request passes: it may be repeated.
        const PUT: &[u8] = b"PUT /orders/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
        for request in [GET, PUT, GET, PUT, PUT, GET, GET, PUT] {
            let (head, body) = exchange(&mut client, request);
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            assert_eq!(body, b"once");
        }
        drop(client);
        proxy.fleet.stop();
    });
}

fn routed(endpoint: &'static str) -> Fake {
    Fake::default().request(move |exchange| {
        let value = Value::from(endpoint.to_owned());
        exchange.set_attribute("gravitee.attribute.request.endpoint", value);
        Verdict::Continue
    })
}

#[test]
fn policies_name_the_endpoint() {
    on_each_driver(|driver| {
        let (one, two) = (named("one"), named("two"));
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        for (wished, engine, expected) in [
            (
                "/other?b=2",
                Engine::V4,
                "one|GET /base/other?a=1&b=2 HTTP/1.1|",
            ),
            ("one:/ref", Engine::V4, "one|GET /base/ref?a=1 HTTP/1.1|"),
            ("one", Engine::V2Emulation, "one|GET /base?a=1 HTTP/1.1|"),
            (
                leak(format!("http://{two}/abs?b=2")),
                Engine::V4,
                leak(format!("two|GET /abs?a=1&b=2 HTTP/1.1|Host: {two}|")),
            ),
            (
                leak(format!("http://{two}/abs?b=2")),
                Engine::V2Legacy,
                leak(format!("two|GET /abs?b=2&a=1 HTTP/1.1|Host: {two}|")),
            ),
        ] {
            let mut proxy = start_with(one, driver, 5_000, |setup| {
                setup.api.engine = engine;
                with(setup, vec![routed(wished)]);
            });
            let mut client = connect(proxy.address);
            for _ in 0..3 {
                let (_, body) = exchange(&mut client, GET);
                assert!(
                    text(&body).starts_with(expected),
                    "{wished}: {}",
                    text(&body)
                );
            }
            assert_eq!(proxy.stats.upstream_connects.get(), 1, "{wished}");
            let (_, _, endpoint) = record(&mut proxy);
            assert!(endpoint.starts_with("http://127.0.0.1:"), "{endpoint}");
            drop(client);
            proxy.fleet.stop();
        }
        for (wished, engine, status, key) in [
            ("nobody:/x", Engine::V4, 503, "NO_ENDPOINT_FOUND"),
            ("nobody", Engine::V2Emulation, 503, ""),
            ("http://user@host/", Engine::V4, 500, ""),
            ("http://user@host/", Engine::V2Emulation, 400, ""),
            ("/with space", Engine::V4, 500, ""),
        ] {
            let mut proxy = start_with(one, driver, 5_000, |setup| {
                setup.api.engine = engine;
                with(setup, vec![routed(wished)]);
            });
            let (head, _) = exchange(&mut connect(proxy.address), POST);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            let (reported, found, _) = record(&mut proxy);
            assert_eq!((reported, &*found), (status, key), "{wished}");
            proxy.fleet.stop();
        }
    });
}

#[test]
fn the_host_of_a_named_origin_is_looked_up_once() {
    on_each_driver(|driver| {
        let two = named("two");
        let url = format!("http://backend.test:{}/abs", two.port());
        let mut proxy = start(named("one"), driver, vec![routed(Box::leak(url.into()))]);
        let address = proxy.address;
        let client = thread::spawn(move || {
            let mut client = connect(address);
            let mut answers = Vec::new();
            for _ in 0..3 {
                answers.push(exchange(&mut client, GET));
            }
            // The first look-up failed: 502, and the connection ends.
            answers.push(exchange(&mut connect(address), GET));
            answers
        });
        let mut hosts = 0;
        while !client.is_finished() {
            let Some((ticket, errand)) = proxy.control.receive() else {
                thread::yield_now();
                continue;
            };
            assert!(matches!(errand, Errand::Resolve { host } if &*host == "backend.test"));
            hosts += 1;
            let answer = Answer::Addresses(vec![[127, 0, 0, 1].into()]);
            proxy.control.replies().send(ticket, answer);
        }
        assert_eq!(hosts, 1);
        for (head, body) in client.join().expect("the client") {
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            let body = text(&body);
            let host = format!("Host: backend.test:{}|", two.port());
            assert!(
                body.starts_with("two|GET /abs?a=1") && body.contains(&host),
                "{body}"
            );
        }
        proxy.fleet.stop();
    });
}

#[test]
fn a_named_origin_that_nobody_knows_is_502() {
    on_each_driver(|driver| {
        let mut proxy = start(named("one"), driver, vec![routed("http://nowhere.test/x")]);
        let address = proxy.address;
        let client = thread::spawn(move || exchange(&mut connect(address), GET));
        while !client.is_finished() {
            if let Some((ticket, _)) = proxy.control.receive() {
                let replies = proxy.control.replies();
                replies.send(ticket, Answer::Addresses(Vec::new()));
            }
            thread::yield_now();
        }
        let (head, _) = client.join().expect("the client");
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert_eq!(record(&mut proxy).1, "GATEWAY_CLIENT_DNS_RESOLUTION_ERROR");
        proxy.fleet.stop();
    });
}

#[test]
fn policies_override_the_method() {
    on_each_driver(|driver| {
        for (value, expected) in [
            (Value::text("PUT"), "HTTP/1.1 200 "),
            (Value::text("head"), "HTTP/1.1 200 "),
            (Value::Bool(true), "HTTP/1.1 400 "),
            (Value::text("CONNECT"), "HTTP/1.1 400 "),
            (Value::text("A B"), "HTTP/1.1 400 "),
        ] {
            let overrides = value.clone().into_owned();
            let values: &'static std::sync::Mutex<Vec<String>> = Box::leak(Box::default());
            let text_value = overrides.as_text().map(str::to_owned);
            let overriding = Fake::default().request(move |exchange| {
                let value = match &text_value {
                    Some(text) => Value::from(text.clone()),
                    None => Value::Bool(true),
                };
                exchange.set_attribute("gravitee.attribute.request.method", value);
                Verdict::Continue
            });
            let seen = backend(move |head, _| {
                let method = head.split(' ').next().unwrap_or_default();
                values.lock().expect("one test").push(method.to_owned());
                if method == "HEAD" {
                    return b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n".to_vec();
                }
                answer("ok")
            });
            let proxy = start(seen, driver, vec![overriding]);
            let mut client = connect(proxy.address);
            for _ in 0..2 {
                let (head, body) = exchange(&mut client, GET);
                assert!(head.starts_with(expected), "{head}");
                if value.as_text() == Some("head") {
                    assert!(head.contains("Content-Length: 0\r\n") && body.is_empty());
                }
            }
            for method in values.lock().expect("one test").iter() {
                assert_eq!(
                    Some(method.to_lowercase()),
                    value.as_text().map(str::to_lowercase)
                );
            }
            drop(client);
            proxy.fleet.stop();
        }
    });
}

#[test]
fn a_large_body_in_memory_is_written_beside_an_answer_that_comes_early() {
    const BYTES: usize = 3_000_000;
    on_each_driver(|driver| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut bytes = vec![0; 65_536];
                let mut received = stream.read(&mut bytes).unwrap_or(0);
                let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
                received -= end.map_or(0, |at| at + 4);
                // The answer begins before the body is here, and ends behind it.
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly";
                let _ = stream.write_all(head);
                while received < 2 * BYTES {
                    match stream.read(&mut bytes) {
                        Ok(count) if count > 0 => received += count,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        _ => break,
                    }
                }
                let _ = stream.write_all(b" late");
            }
        });
        let doubles = Fake::default().needs_request_body().request(|exchange| {
            let body = exchange.request.body.bytes().expect("in memory");
            exchange.request.body = Body::Buffered([body, body].concat());
            Verdict::Continue
        });
        let proxy = start(address, driver, vec![doubles]);
        let head = format!("POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: {BYTES}\r\n\r\n");
        let request = [head.as_bytes(), &vec![b'c'; BYTES]].concat();
        let (_, body) = exchange(&mut connect(proxy.address), &request);
        assert_eq!(text(&body), "early late");
        proxy.fleet.stop();
    });
}

#[test]
fn a_client_that_leaves_while_the_response_phase_waits_frees_the_backend() {
    on_each_driver(|driver| {
        let waits = Fake::default().response(|_| Verdict::Await(Need::Pause(60_000)));
        let mut proxy = start(named("one"), driver, vec![waits]);
        let mut client = connect(proxy.address);
        client.write_all(GET).expect("written");
        while proxy.stats.policies[0].time_ns_sum.get() == 0
            || proxy.stats.upstream_bytes_read.get() == 0
        {
            thread::yield_now();
        }
        reset(client);
        let (status, key, _) = record(&mut proxy);
        // The backend had answered: its status stays.
        assert_eq!(
            (status, &*key),
            (200, "CLIENT_ABORTED_DURING_RESPONSE_ERROR")
        );
        while proxy.stats.upstream_connections.get() > 0 {
            thread::yield_now();
        }
        proxy.fleet.stop();
    });
}

#[test]
fn a_body_goes_on_while_the_response_phase_waits() {
    const HALF: usize = 500_000;
    on_each_driver(|driver| {
        // Answers when the first bytes are here, and reads on.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut bytes = vec![0; 65_536];
                let mut received = 0;
                let mut answered = false;
                while received < 2 * HALF {
                    match stream.read(&mut bytes) {
                        Ok(count) if count > 0 => received += count,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        _ => break,
                    }
                    if !answered {
                        answered = true;
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
                    }
                }
                let _ = stream.write_all(b"done");
            }
        });
        let waits = Fake::default().response(|_| Verdict::Await(Need::Pause(20)));
        let proxy = start(address, driver, vec![waits]);
        let mut client = connect(proxy.address);
        let head = format!(
            "POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            2 * HALF
        );
        client.write_all(head.as_bytes()).expect("written");
        client.write_all(&vec![b'1'; HALF]).expect("written");
        client.write_all(&vec![b'2'; HALF]).expect("written");
        let (head, body) = read_message(&mut client, &mut Vec::new()).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, b"done");
        drop(client);
        proxy.fleet.stop();
    });
}

#[test]
fn the_legacy_engine_sends_no_client_identifier() {
    on_each_driver(|driver| {
        for (engine, sent) in [(Engine::V2Legacy, false), (Engine::V2Emulation, true)] {
            let proxy = start_with(named("one"), driver, 5_000, |setup| {
                setup.api.engine = engine;
                with(setup, vec![Fake::default()]);
            });
            let (head, _) = exchange(&mut connect(proxy.address), GET);
            assert_eq!(
                head.contains("X-Gravitee-Client-Identifier: "),
                sent,
                "{head}"
            );
            proxy.fleet.stop();
        }
    });
}

#[test]
fn the_report_holds_what_only_the_chain_knows() {
    on_each_driver(|driver| {
        let notes = Fake::default().request(|exchange| {
            exchange.user = Some("somebody".into());
            exchange.warn("A_KEY", "a message");
            Verdict::Continue
        });
        let mut proxy = start(named("one"), driver, vec![notes]);
        let (head, _) = exchange(&mut connect(proxy.address), GET);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let mut seen = None;
        while seen.is_none() {
            proxy.reports.drain(1, |record| {
                let warnings: Vec<String> = record
                    .warnings
                    .iter()
                    .map(|(key, message)| format!("{key}: {message}"))
                    .collect();
                seen = Some((record.user.to_owned(), warnings));
            });
            thread::yield_now();
        }
        let expected = ("somebody".to_owned(), vec!["A_KEY: a message".to_owned()]);
        assert_eq!(seen, Some(expected));
        proxy.fleet.stop();
    });
}

#[test]
fn redirects_are_followed_where_the_endpoint_says_so() {
    on_each_driver(|driver| {
        let two = named("two");
        let moved = backend(move |head, _| {
            let place = match head.split(' ').nth(1).unwrap_or_default() {
                "/base/x?a=1" => "/next?b=2".to_owned(),
                _ => format!("http://{two}/there"),
            };
            format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 4\r\n\r\ngone")
                .into_bytes()
        });
        let proxy = start_with(moved, driver, 5_000, |setup| {
            setup.api.groups[0].endpoints[0].follow_redirects = true;
            let step = turnpike_core::policy::follow_redirects::step();
            setup.api.processing.redirects = Some(Box::new(step));
        });
        let mut client = connect(proxy.address);
        for _ in 0..2 {
            let (head, body) = exchange(&mut client, GET);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            let expected = format!("two|GET /there HTTP/1.1|Host: {two}|");
            assert_eq!(text(&body), expected);
        }
        // The method of a POST would change: its answer is passed on.
        let (head, _) = exchange(&mut client, POST);
        assert!(head.starts_with("HTTP/1.1 302 "), "{head}");
        drop(client);
        proxy.fleet.stop();
    });
}
