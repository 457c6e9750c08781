//! Bodies that policies do not look at pass an API with policies without being held in memory. Alone in its process, because it looks at the
//! memory of the whole of it.

#[path = "support/fake.rs"]
mod fake;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use turnpike_config::DriverChoice;
use turnpike_core::error::Failure;
use turnpike_core::exchange::BodyLimit;
use turnpike_core::policy::Verdict;

use fake::{Fake, flows};
use support::start_with;

/// Bytes of one read; 0 at the end.
fn read(stream: &mut TcpStream, piece: &mut [u8]) -> usize {
    loop {
        match stream.read(piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome.unwrap_or(0),
        }
    }
}

/// Kilobytes that this process has in memory.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn bodies_that_no_policy_reads_are_streamed_in_bounded_memory() {
    const BYTES: usize = 48 << 20;
    for driver in [DriverChoice::Epoll, DriverChoice::Auto] {
        // Sends back what it gets, piece by piece.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut bytes = Vec::new();
                    let mut piece = [0; 65_536];
                    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
                        let count = read(&mut stream, &mut piece);
                        bytes.extend_from_slice(&piece[..count]);
                    }
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
                    let _ = stream.write_all(head.as_bytes());
                    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
                    let first = &bytes[end.map_or(0, |at| at + 4)..];
                    let mut left = BYTES - first.len();
                    let _ = stream.write_all(first);
                    while left > 0 {
                        let count = read(&mut stream, &mut piece);
                        if count == 0 || stream.write_all(&piece[..count]).is_err() {
                            return;
                        }
                        left -= count;
                    }
                });
            }
        });
        let edits = Fake::default()
            .request(|exchange| {
                exchange.request.headers.set("X-Edit", "1").expect("set");
                Verdict::Continue
            })
            .response(|exchange| {
                exchange.response.headers.set("X-Edit", "2").expect("set");
                Verdict::Continue
            });
        let proxy = start_with(address, driver, 5_000, |setup| {
            setup.api.processing.flows = flows(vec![edits]);
        });
        let client = TcpStream::connect(proxy.address).expect("connected");
        let before_kb = resident_kb();
        let mut sender = client.try_clone().expect("a second handle");
        let sending = thread::spawn(move || {
            let head =
                format!("POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: {BYTES}\r\n\r\n");
            sender.write_all(head.as_bytes()).expect("written");
            let piece = vec![b'p'; 65_536];
            for _ in 0..BYTES / piece.len() {
                sender.write_all(&piece).expect("written");
            }
        });
        let mut client = client;
        let mut piece = [0; 65_536];
        let mut received = 0;
        let mut head = Vec::new();
        while received < BYTES {
            let count = read(&mut client, &mut piece);
            assert!(count > 0, "it ended after {received} bytes");
            if head.ends_with(b"\r\n\r\n") {
                received += count;
                continue;
            }
            for byte in &piece[..count] {
                if head.ends_with(b"\r\n\r\n") {
                    received += 1;
                } else {
                    head.push(*byte);
                }
            }
        }
        sending.join().expect("the sender");
        assert!(String::from_utf8_lossy(&head).contains("X-Edit: 2\r\n"));
        let grown_kb = resident_kb().saturating_sub(before_kb);
        assert!(grown_kb < 16 * 1_024, "{grown_kb} KiB for {BYTES} bytes");
        let _ = client.shutdown(Shutdown::Both);
        proxy.fleet.stop();
    }
}

/// Everything until the other side ends, and whether it ended in order.
fn read_to_end(stream: &mut TcpStream) -> (String, bool) {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).is_ok();
    (String::from_utf8_lossy(&bytes).into_owned(), ended)
}

const CHUNKED: &str = "POST /orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_chunked_body_ends_where_a_policy_bounds_it() {
    for driver in [DriverChoice::Epoll, DriverChoice::Auto] {
        // Answers a whole body; answers the head at once where it is asked to. Tells what it got.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let (tell, told) = mpsc::channel::<String>();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let tell = tell.clone();
                thread::spawn(move || {
                    let mut bytes = Vec::new();
                    let mut piece = [0; 4_096];
                    let mut answered = false;
                    loop {
                        let count = read(&mut stream, &mut piece);
                        if count == 0 {
                            let _ = tell.send("end".to_owned());
                            return;
                        }
                        bytes.extend_from_slice(&piece[..count]);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        if text.contains("/early") && text.contains("\r\n\r\n") && !answered {
                            answered = true;
                            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx";
                            let _ = stream.write_all(head);
                        }
                        let lengthy =
                            text.contains("Content-Length: 10") && text.ends_with("0123456789");
                        if text.ends_with("0\r\n\r\n") || lengthy {
                            let _ =
                                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                            bytes.clear();
                        }
                        let _ = tell.send(text);
                    }
                });
            }
        });
        let bound = || {
            Fake::default().request(|exchange| {
                exchange.body_limit = Some(Box::new(BodyLimit {
                    bytes_max: 10,
                    failure: Failure::policy(413, "TOO_LARGE", "Too large."),
                }));
                Verdict::Continue
            })
        };
        let reads = Fake::default().needs_request_body();
        for steps in [vec![bound()], vec![bound(), reads]] {
            let buffers = steps.len() == 2;
            let proxy = start_with(address, driver, 5_000, |setup| {
                setup.api.processing.flows = flows(steps);
            });
            let connect = || {
                let client = TcpStream::connect(proxy.address).expect("connected");
                client
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .expect("a limit");
                client
            };
            let told_until = |what: &str| {
                while !told
                    .recv_timeout(Duration::from_secs(20))
                    .unwrap_or_else(|_| panic!("the backend never saw {what}"))
                    .contains(what)
                {}
            };
            // All that is allowed passes, in two pieces, and the connection is good for more.
            let mut client = connect();
            for _ in 0..2 {
                let request = format!("{CHUNKED}4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n");
                client.write_all(request.as_bytes()).expect("written");
                let mut answer = Vec::new();
                let mut piece = [0; 1_024];
                while !answer.ends_with(b"ok") {
                    let count = read(&mut client, &mut piece);
                    assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
                    answer.extend_from_slice(&piece[..count]);
                }
            }
            // A byte too many, with the head.
            let request = format!("{CHUNKED}b\r\n0123456789a\r\n");
            client.write_all(request.as_bytes()).expect("written");
            let (answer, ended) = read_to_end(&mut client);
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            assert!(answer.contains("Connection: close\r\n"), "{answer}");
            assert!(answer.ends_with("Too large.") && ended, "{answer}");
            // A byte too many, later.
            let mut client = connect();
            let request = format!("{CHUNKED}8\r\nABCDEFGH\r\n");
            client.write_all(request.as_bytes()).expect("written");
            if !buffers {
                told_until("ABCDEFGH");
            }
            client.write_all(b"3\r\nabc\r\n").expect("written");
            let (answer, ended) = read_to_end(&mut client);
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            assert!(answer.ends_with("Too large.") && ended, "{answer}");
            if buffers {
                proxy.fleet.stop();
                continue;
            }
            told_until("end");
            // A byte too many, when the answer has begun.
            let mut client = connect();
            let request = CHUNKED.replace("/orders", "/orders/early");
            client.write_all(request.as_bytes()).expect("written");
            let mut answer = Vec::new();
            let mut piece = [0; 1_024];
            while !answer.ends_with(b"\r\n\r\nx") {
                let count = read(&mut client, &mut piece);
                assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
                answer.extend_from_slice(&piece[..count]);
            }
            client.write_all(b"b\r\n0123456789a\r\n").expect("written");
            let (rest, _) = read_to_end(&mut client);
            assert_eq!(rest, "", "it is cut");
            told_until("end");
            proxy.fleet.stop();
        }
    }
}
