use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;
use turnpike_config::{RedisConfig, Secret};
use turnpike_core::quota::CountError;

use super::support::{Process, Server, request, until};

#[tokio::test]
async fn without_a_server_a_count_fails_at_once() {
    let config = RedisConfig {
        place: turnpike_config::RedisPlaceConfig::Standalone {
            host: "127.0.0.1".to_owned(),
            port: super::support::free_port(),
        },
        operation_timeout_ms: 10_000,
        ..RedisConfig::default()
    };
    let mut process = Process::start(&config);
    let asked = Instant::now();
    assert_eq!(
        process.count(request("k")).await,
        Err(CountError::NotConnected)
    );
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "nothing is queued"
    );
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_counts_again() {
    let Some(mut server) = Server::redis(&[]) else {
        return;
    };
    let mut process = Process::start(&server.config());
    process.connected().await;
    process.count(request("k")).await.expect("a count");
    server.kill();
    until("the connection has ended", async || {
        !process.backend.is_open()
    })
    .await;
    assert_eq!(
        process.count(request("k")).await,
        Err(CountError::NotConnected)
    );
    server.restart();
    assert_eq!(process.counts_again().await.counter, 1);
    let figures = process.backend.figures();
    assert!(
        figures.connects >= 2 && figures.failures >= 1,
        "{figures:?}"
    );
}

#[tokio::test]
async fn a_server_that_hangs_costs_three_timeouts_and_not_one_per_request() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let config = RedisConfig {
        operation_timeout_ms: 100,
        ..server.config()
    };
    let mut process = Process::start(&config);
    process.connected().await;
    process.counts_again().await;
    server.signal(Signal::STOP);
    let asked = Instant::now();
    let mut timeouts = 0;
    // Its own probes may take part in finding out.
    loop {
        match process.count(request("k")).await {
            Err(CountError::Timeout(100)) => timeouts += 1,
            Err(CountError::Suspended) => break,
            other => panic!("{other:?}"),
        }
        assert!(timeouts <= 3, "{timeouts}");
    }
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    let asked = Instant::now();
    for _ in 0..100 {
        let result = process.count(request("k")).await;
        assert!(
            matches!(
                result,
                Err(CountError::Suspended | CountError::NotConnected)
            ),
            "{result:?}"
        );
    }
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    server.signal(Signal::CONT);
    process.counts_again().await;
    assert!(process.backend.figures().suspensions >= 1);
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_is_left_and_taken_again_when_it_is_primary() {
    let (Some(server), Some(other)) = (Server::redis(&[]), Server::redis(&[])) else {
        return;
    };
    let mut client = server.client().await;
    other.client().await;
    let mut process = Process::start(&server.config());
    process.connected().await;
    process.count(request("k")).await.expect("a count");
    let _: () = redis::cmd("REPLICAOF")
        .arg("127.0.0.1")
        .arg(other.port)
        .query_async(&mut client)
        .await
        .expect("OK");
    let error = process
        .count(request("k"))
        .await
        .expect_err("a replica does not count");
    assert!(error.to_string().starts_with("READONLY"), "{error}");
    until("it is connected to anew", async || {
        process.backend.figures().connects >= 2
    })
    .await;
    let _: () = redis::cmd("REPLICAOF")
        .arg("NO")
        .arg("ONE")
        .query_async(&mut client)
        .await
        .expect("OK");
    process.counts_again().await;
}

#[tokio::test]
async fn a_password_is_sent_and_a_wrong_one_is_never_shown() {
    let Some(server) = Server::redis(&["--requirepass", "right"]) else {
        return;
    };
    server.client_as(":right@").await;
    let with = |password: &str| RedisConfig {
        password: Some(Secret::new(password)),
        ..server.config()
    };
    let mut right = Process::start(&with("right"));
    right.connected().await;
    right.count(request("k")).await.expect("a count");
    let mut wrong = Process::start(&with("TOPSECRET"));
    until("it was refused", async || {
        wrong.backend.figures().connect_failures > 0
    })
    .await;
    assert_eq!(
        wrong.count(request("k")).await,
        Err(CountError::NotConnected)
    );
    let target = crate::redis::Target::new(&with("TOPSECRET")).expect("a target");
    let Err(error) = target.connect(&[]).await else {
        panic!("a wrong password is refused");
    };
    assert!(
        error.to_string().contains("WRONGPASS") || error.to_string().contains("assword"),
        "{error}"
    );
    let shown = format!("{error} {error:?} {target:?} {target} {:?}", wrong.desk);
    assert!(!shown.contains("TOPSECRET"), "{shown}");
    let missing = Process::start(&server.config());
    until("it was refused", async || {
        missing.backend.figures().connect_failures > 0
    })
    .await;
}

#[tokio::test]
async fn a_full_server_is_a_store_failure() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let mut process = Process::start(&server.config());
    process.connected().await;
    let _: () = redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg(1)
        .query_async(&mut client)
        .await
        .expect("OK");
    let error = process.count(request("k")).await.expect_err("no memory");
    assert!(error.to_string().contains("OOM"), "{error}");
    let _: () = redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg(0)
        .query_async(&mut client)
        .await
        .expect("OK");
    process.counts_again().await;
}
