use std::sync::Arc;

use redis::AsyncCommands as _;
use turnpike_core::need::{Answer, Errand, RedisPlace, RemoteCache};

use super::support::{Process, Server, free_port, until};

fn cache(port: u16) -> Arc<RemoteCache> {
    Arc::new(RemoteCache {
        place: RedisPlace::Standalone {
            host: "127.0.0.1".into(),
            port,
        },
        password: None,
        username: None,
        tls: false,
        trust_all: true,
        timeout_ms: 5_000,
    })
}

#[tokio::test]
async fn entries_are_read_written_and_removed() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let mut process = Process::start(&server.config());
    let cache = cache(server.port);
    let get = || Errand::CacheGet {
        cache: Arc::clone(&cache),
        key: "k".into(),
    };
    let put = |ttl_ms| Errand::CachePut {
        cache: Arc::clone(&cache),
        key: "k".into(),
        value: Arc::from(&b"value"[..]),
        ttl_ms,
    };
    // The first access begins to connect, and is a miss.
    assert!(matches!(process.run(get()).await, Answer::Cache(None)));
    let _: () = client.set("gravitee:k", "there").await.expect("OK");
    let until_there = tokio::time::Instant::now() + super::support::BOUND;
    loop {
        match process.run(get()).await {
            Answer::Cache(Some(value)) => {
                assert_eq!(value, b"there");
                break;
            }
            other => assert!(tokio::time::Instant::now() < until_there, "{other:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(matches!(process.run(put(60_000)).await, Answer::Done));
    let life: i64 = client.pttl("gravitee:k").await.expect("a life");
    assert!((1..=60_000).contains(&life), "{life}");
    assert!(matches!(process.run(get()).await, Answer::Cache(Some(value)) if value == b"value"));
    assert!(matches!(process.run(put(0)).await, Answer::Done));
    let life: i64 = client.pttl("gravitee:k").await.expect("a life");
    assert_eq!(life, -1, "it lives on");
    let evict = Errand::CacheEvict {
        cache: Arc::clone(&cache),
        key: "k".into(),
    };
    assert!(matches!(process.run(evict).await, Answer::Done));
    let exists: bool = client.exists("gravitee:k").await.expect("an answer");
    assert!(!exists);
}

#[tokio::test]
async fn a_cache_that_is_not_there_is_empty_and_counted() {
    let port = free_port();
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut process = Process::start(&server.config());
    let get = Errand::CacheGet {
        cache: cache(port),
        key: "k".into(),
    };
    assert!(matches!(process.run(get).await, Answer::Cache(None)));
    until("the failure is counted", async || {
        let failures = &process.desk.cache_stats().failures;
        failures.load(std::sync::atomic::Ordering::Relaxed) == 1
    })
    .await;
}
