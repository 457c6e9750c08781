//! Clients that are slow, silent, or take nothing: bounded time, bounded memory, and no harm to the others.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Client, get, request};
use crate::support::definition::v4;
use crate::support::gateway::Start;
use crate::support::pattern::bytes;
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, pause, until};

const MIB: u64 = 1_024 * 1_024;
const LARGE: usize = 64 * 1_024 * 1_024;

#[test]
fn a_head_that_does_not_come_to_its_end_is_given_up_in_time() {
    let site = Site::with(Start::new().set("http.headTimeout", "600"), |_| Vec::new());
    for (what, drip) in [("partial", false), ("dripping", true)] {
        let mut client = site.client();
        client.send(b"GET /api/x HTTP/1.1\r\nX: ");
        let started = Instant::now();
        if drip {
            // Every byte is progress, and yet the head never ends.
            while started.elapsed() < Duration::from_secs(10) && client.try_send(b"x").is_ok() {
                pause(Duration::from_millis(50));
            }
        }
        match client.try_response() {
            Ok(response) => assert_eq!(response.status, 408, "{what}"),
            Err(broken) => assert!(client.ends(), "{what}: {broken:?}"),
        }
        let took = started.elapsed();
        assert!(
            took > Duration::from_millis(400) && took < Duration::from_secs(6),
            "{what}: {took:?}"
        );
    }
    assert_eq!(site.backend.requests(), 0);
    assert_eq!(site.fetch("/api/x").status, 200);
}

#[test]
fn idle_connections_and_bodies_that_stall_are_closed() {
    let site = Site::with(Start::new().set("http.idleTimeout", "1"), |_| Vec::new());
    let within = |started: Instant, what: &str| {
        let took = started.elapsed();
        assert!(
            took > Duration::from_millis(700) && took < Duration::from_secs(8),
            "{what}: {took:?}"
        );
    };
    let mut client = site.client();
    assert_eq!(client.send(&get("/api/x")).response().status, 200);
    let started = Instant::now();
    assert!(client.ends());
    within(started, "between requests");
    assert!(
        client.surplus().is_empty(),
        "an idle connection is closed without words"
    );

    let mut client = site.client();
    let started = Instant::now();
    client.send(b"POST /api/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf");
    if let Ok(response) = client.try_response() {
        assert_eq!(response.status, 408);
    }
    assert!(client.ends());
    within(started, "in a body");

    // Traffic that goes on is not idle.
    let response = site.fetch("/api/drip/6/400");
    assert_eq!(response.text(), "......");
}

#[test]
fn a_client_that_does_not_read_costs_no_memory() {
    let site = Site::plain();
    // Whatever a first large response allocates is no growth.
    assert_eq!(site.fetch("/api/bytes/1000000").body.len(), 1_000_000);
    let before = site.gateway.process.resident_bytes();
    let path = format!("/api/bytes/{LARGE}");
    let mut clients: Vec<Client> = (0..4).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send(&get(&path));
    }
    let written = stalled(|| site.backend.body_bytes_written());
    let growth = site.gateway.process.resident_bytes().saturating_sub(before);
    assert!(
        written < 4 * LARGE as u64,
        "the backend could write everything: nothing held it back"
    );
    assert!(
        growth <= 16 * MIB,
        "resident memory grew by {} KiB",
        growth / 1_024
    );
    // The one that reads after all gets every byte.
    let response = clients[0].response();
    assert!(response.body == bytes(LARGE));
}

#[test]
fn a_backend_that_does_not_read_costs_no_memory() {
    // The time to a response head includes the upload, which a busy machine may need long for.
    let start = Start::new().set("http.requestTimeout", "0");
    let site = Site::with(start, |backend| {
        vec![v4("slow", "/slow", &backend.target("")).http(json!({ "readTimeout": 120_000 }))]
    });
    let warm = request("POST", "/api/x", &[], &bytes(1_000_000));
    assert_eq!(site.client().send(&warm).response().status, 200);
    let before = site.gateway.process.resident_bytes();
    let mut client = site.client();
    let mut stream = client.stream().try_clone().expect("the socket is open");
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let writer = thread::spawn(move || {
        let body = bytes(LARGE);
        let head =
            format!("POST /slow/stall HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        for piece in body.chunks(64 * 1_024) {
            stream.write_all(piece)?;
            counted.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
        std::io::Result::Ok(())
    });
    let written = stalled(|| sent.load(Ordering::SeqCst));
    let growth = site.gateway.process.resident_bytes().saturating_sub(before);
    assert!(written < LARGE as u64, "nothing held the client back");
    assert!(
        growth <= 16 * MIB,
        "resident memory grew by {} KiB",
        growth / 1_024
    );
    site.backend.release();
    let response = client.response();
    assert_eq!(response.json()["body_bytes"], LARGE);
    assert_eq!(
        response.json()["digest"],
        crate::support::pattern::digest(&bytes(LARGE))
    );
    writer
        .join()
        .expect("the writer does not panic")
        .expect("the whole body was taken");
}

/// The value of a counter once it has stood still for half a second, after it moved.
fn stalled(counter: impl Fn() -> u64) -> u64 {
    let mut last = (counter(), Instant::now());
    until("the transfer stalls", PATIENCE, || {
        let now = counter();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (now > 0 && last.1.elapsed() > Duration::from_millis(500)).then_some(now)
    })
}

#[test]
fn silent_connections_do_not_keep_others_from_being_served() {
    // The requests that hang fill the pool of their own API, though both ask the same backend.
    let site = Site::with(Start::new(), |backend| {
        vec![v4("other", "/other", &backend.target(""))]
    });
    let mut silent: Vec<Client> = (0..300).map(|_| site.client()).collect();
    for (number, client) in silent.iter_mut().enumerate() {
        match number % 3 {
            0 => {}
            1 => drop(client.send(b"GET /api/x HTTP/1.1\r\nHo")),
            _ => drop(client.send(&get("/other/hang"))),
        }
    }
    let mut client = site.client();
    for _ in 0..50 {
        let started = Instant::now();
        assert_eq!(client.send(&get("/api/x")).response().status, 200);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    drop(silent);
    let mut site = site;
    site.gateway.until("free of them", |gateway| {
        let workers = gateway.node("/workers");
        let active: u64 = workers["workers"]
            .as_array()?
            .iter()
            .filter_map(|worker| worker["activeConnections"].as_u64())
            .sum();
        (active <= 1).then_some(())
    });
}

#[test]
fn a_client_that_sends_ahead_of_its_answers_costs_no_memory() {
    const REQUESTS: usize = 20_000;
    let site = Site::plain();
    let client = site.client();
    let mut answers = client.stream().try_clone().expect("the socket is open");
    let mut requests = client.stream().try_clone().expect("the socket is open");
    // Half of what a read takes: one read ahead per answer would leave the other half behind each time, 40 MiB in all.
    let padding = "p".repeat(2_000);
    let one = format!("GET /api/x HTTP/1.1\r\nHost: h\r\nX-Padding: {padding}\r\n\r\n");
    let sender = thread::spawn(move || {
        let some = one.repeat(100);
        for _ in 0..REQUESTS / 100 {
            requests.write_all(some.as_bytes()).expect("sent");
        }
    });
    let mut memory = Vec::new();
    let (mut seen, mut tail) = (0, Vec::new());
    let mut piece = [0; 65_536];
    while seen < REQUESTS {
        let count = match answers.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome.expect("answers"),
        };
        assert!(count > 0, "closed after {seen} answers");
        tail.extend_from_slice(&piece[..count]);
        seen += tail
            .windows(9)
            .filter(|window| window == b"HTTP/1.1 ")
            .count();
        tail.drain(..tail.len().saturating_sub(8));
        if seen / 1_000 > memory.len() {
            memory.push(site.gateway.process.resident_bytes());
        }
    }
    sender.join().expect("all sent");
    let growth = memory
        .iter()
        .max()
        .zip(memory.first())
        .map_or(0, |(most, first)| most - first);
    assert!(
        growth <= 8 * MIB,
        "resident memory grew by {} KiB",
        growth / 1_024
    );
}

#[test]
fn pipelined_requests_whose_answers_nobody_reads_cost_no_memory() {
    let site = Site::plain();
    assert_eq!(site.fetch("/api/bytes/100000").status, 200);
    let before = site.gateway.process.resident_bytes();
    let client = site.client();
    let mut stream = client.stream().try_clone().expect("the socket is open");
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("the socket is open");
    // Until the gateway reads no more.
    let requests = get("/api/bytes/100000").repeat(1_000);
    let mut sent = 0;
    while sent < 64 * MIB && stream.write_all(&requests).is_ok() {
        sent += requests.len() as u64;
    }
    assert!(sent < 64 * MIB, "nothing held the client back");
    let growth = site.gateway.process.resident_bytes().saturating_sub(before);
    assert!(
        growth <= 8 * MIB,
        "resident memory grew by {} KiB",
        growth / 1_024
    );
    drop(client);
    assert_eq!(site.fetch("/api/x").status, 200);
}

#[test]
fn requests_that_are_given_up_leave_nothing_behind() {
    let site = Site::with(Start::new(), |backend| {
        vec![v4("other", "/other", &backend.target("")).http(json!({
            "readTimeout": 500,
            "maxConcurrentConnections": 1_000,
        }))]
    });
    let abandon = |rounds: usize| {
        for number in 0..rounds {
            let mut client = site.client();
            let asked: Vec<u8> = match number % 6 {
                0 => b"GET /other/x HTT".to_vec(),
                1 => get("/other/hang"),
                2 => [get("/nothing"), get("/other/hang")].concat(),
                3 => get("/other/bytes/3000000"),
                4 => b"POST /other/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab".to_vec(),
                _ => get("/other/x"),
            };
            client.send(&asked);
            if number % 2 == 0 {
                // Now and then the gateway gets a head start.
                pause(Duration::from_millis(1));
            }
        }
    };
    let settled = || {
        until("no request is under way", PATIENCE, || {
            let workers = site.gateway.node("/workers");
            let sum = |name: &str| -> u64 {
                let workers = workers["workers"].as_array();
                workers
                    .into_iter()
                    .flatten()
                    .filter_map(|worker| worker[name].as_u64())
                    .sum()
            };
            (sum("activeConnections") == 0 && sum("activeRequests") == 0).then_some(())
        });
    };
    // As many as later are under way at one time: what that takes is kept for the next time.
    abandon(600);
    settled();
    let before = (
        site.gateway.process.resident_bytes(),
        site.gateway.process.descriptors(),
    );
    for _ in 0..2 {
        abandon(600);
        settled();
    }
    let (memory, descriptors) = (
        site.gateway.process.resident_bytes(),
        site.gateway.process.descriptors(),
    );
    assert!(
        descriptors <= before.1 + 24,
        "{} descriptors, {descriptors} after",
        before.1
    );
    assert!(
        memory <= before.0 + 8 * MIB,
        "{} KiB, {} KiB after",
        before.0 / 1_024,
        memory / 1_024
    );
    // With the time that a busy machine may need.
    assert_eq!(site.fetch("/api/x").status, 200);
}

#[test]
fn a_body_of_tiny_chunks_is_relayed_in_linear_time() {
    let site = Site::plain();
    let body = bytes(200_000);
    let mut sent =
        b"POST /api/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for byte in &body {
        sent.extend_from_slice(b"1\r\n");
        sent.push(*byte);
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b"0\r\n\r\n");
    let mut client = site.client();
    let mut stream = client.stream().try_clone().expect("the socket is open");
    let started = Instant::now();
    let writer = thread::spawn(move || stream.write_all(&sent));
    let response = client.response();
    assert_eq!(
        response.json()["digest"],
        crate::support::pattern::digest(&body)
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    writer
        .join()
        .expect("the writer does not panic")
        .expect("the whole body was taken");
}
