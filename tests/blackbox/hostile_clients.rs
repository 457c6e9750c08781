//! Clients that are slow, silent, or take nothing: bounded time, bounded memory, and no harm to the others.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    let site = Site::plain();
    let warm = request("POST", "/api/x", &[], &bytes(1_000_000));
    assert_eq!(site.client().send(&warm).response().status, 200);
    let before = site.gateway.process.resident_bytes();
    let mut client = site.client();
    let mut stream = client.stream().try_clone().expect("the socket is open");
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let writer = std::thread::spawn(move || {
        let body = bytes(LARGE);
        let head =
            format!("POST /api/stall HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n");
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
    // The requests that hang have a pool of their own to fill.
    let site = Site::with(Start::new(), |backend| {
        vec![v4("other", "/other", &backend.target("")).http(json!({ "readTimeout": 20_000 }))]
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
