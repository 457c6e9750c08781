//! Bodies that policies do not look at pass an API with policies without being held in memory. Alone in its process, because it looks at the
//! memory of the whole of it.

#[path = "support/fake.rs"]
mod fake;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use turnpike_config::DriverChoice;
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
