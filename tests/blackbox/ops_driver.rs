//! Both drivers do the same work.

use std::time::Duration;

use serde_json::json;

use crate::support::client::{Client, get, request};
use crate::support::definition::v4;
use crate::support::gateway::Start;
use crate::support::load::{Load, Plan};
use crate::support::pattern::{bytes, digest};
use crate::support::site::Site;
use crate::support::wait::{PATIENCE, until};
use crate::support::wire::{Broken, chunked};

/// The core of the request path on one driver, forced.
fn works_on(driver: &str) {
    let mut site = Site::with(
        Start::new().set("gateway.runtime.driver", driver),
        |backend| {
            vec![v4("quick", "/quick", &backend.target("")).http(json!({ "readTimeout": 300 }))]
        },
    );
    let workers = site.gateway.node("/workers");
    assert_eq!(workers["driver"], driver, "{workers}");
    let body = bytes(3_000_000);
    let mut client = site.client();
    assert_eq!(client.send(&get("/nothing")).response().status, 404);
    // Bodies, both framings, both directions.
    let mut stream = client.stream().try_clone().expect("the socket is open");
    let mut sent = request("POST", "/api/echo", &[], &body);
    sent.extend_from_slice(
        b"PUT /api/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    sent.extend_from_slice(&chunked(&body));
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stream, &sent));
    for _ in 0..2 {
        assert_eq!(client.response().json()["digest"], digest(&body));
    }
    writer
        .join()
        .expect("the writer does not panic")
        .expect("everything was taken");
    for path in [
        "/api/bytes/3000000",
        "/api/chunked/3000000",
        "/api/until-close/3000000",
    ] {
        assert!(client.send(&get(path)).response().body == body, "{path}");
    }
    // Pipelining.
    client.send(&get("/api/echo").repeat(50));
    for _ in 0..50 {
        assert_eq!(client.response().status, 200);
    }
    // Faults.
    assert_eq!(site.fetch("/quick/hang").status, 504);
    assert_eq!(site.fetch("/api/raw/aGVsbG8").status, 502);
    for sent in [
        get("/api/cut/1000/500"),
        b"GET /api/cut-chunked/500 HTTP/1.0\r\nHost: h\r\n\r\n".to_vec(),
    ] {
        let broken = site.client().send(&sent).try_response();
        assert!(matches!(broken, Err(Broken::Cut(_))), "{broken:?}");
    }
    let mut gone = site.client();
    gone.send(&[get("/nothing"), get("/api/hang")].concat());
    drop(gone);
    until("backend connections are freed", PATIENCE, || {
        (site.backend.open_connections() <= 2).then_some(())
    });
    for number in 0..100 {
        let response = client.send(&get("/api/close-after/x")).response();
        assert_eq!(response.status, 200, "GET {number}");
    }
    // A stop under load.
    let mut plan = Plan::steady("/api/drip/2/10");
    plan.pace = Duration::ZERO;
    let load = Load::start(site.port(), &plan);
    load.flow(300);
    load.say_farewell();
    site.gateway.process.signal("TERM");
    load.join().assert_flawless();
    assert_eq!(site.gateway.process.wait(PATIENCE).code(), Some(0));
}

#[test]
fn the_epoll_driver_works() {
    works_on("epoll");
}

#[test]
fn the_io_uring_driver_works_where_the_kernel_grants_it() {
    let mut gateway = Start::new()
        .set("gateway.runtime.driver", "io_uring")
        .spawn();
    let listening = until("up or refused", PATIENCE, || {
        if gateway.process.exited().is_some() {
            return Some(false);
        }
        (Client::connect(gateway.port).is_ok()).then_some(true)
    });
    if listening {
        drop(gateway);
        works_on("io_uring");
    } else {
        let said = gateway.process.output();
        assert!(said.contains("io_uring"), "{said}");
        println!("io_uring is not granted here: {said}");
    }
}
