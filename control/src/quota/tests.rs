use std::sync::Arc;

use redis::AsyncCommands as _;
use tokio::sync::watch;
use turnpike_config::{Config, LeaseConfig, RatelimitConfig, RatelimitType};
use turnpike_core::quota::{Counted, Hit};

use super::*;
use crate::redis::tests::support::{Server, free_port, until};

fn config(server: &Server) -> Config {
    Config {
        ratelimit_type: RatelimitType::Redis,
        ratelimit: RatelimitConfig {
            redis: server.config(),
            flush_interval_ms: 20,
            ..RatelimitConfig::default()
        },
        ..Config::default()
    }
}

fn hit(quotas: &Quotas, is_async: bool) -> Counted {
    quotas.count(&Hit {
        key: "k",
        limit: 100,
        reset_at_ms: unix_ms() + 60_000,
        subscription: "s",
        is_async,
        now_ms: unix_ms(),
    })
}

fn counter(counted: &Counted) -> i64 {
    match counted {
        Counted::Now(Ok(rate)) => rate.counter,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn gateways_that_count_asynchronously_learn_from_each_other() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let (stop, stopped) = watch::channel(false);
    let services = [0, 1].map(|_| start(&config(&server), &stopped).expect("a service"));
    for service in &services {
        assert_eq!(counter(&hit(&service.quotas, true)), 1, "nobody is asked");
        hit(&service.quotas, true);
    }
    for service in &services {
        // The hits of both, and those of this waiting.
        until("the other one's hits are known", async || {
            let mine = counter(&hit(&service.quotas, true));
            let stored: Option<i64> =
                redis::AsyncCommands::hget(&mut client.clone(), "ratelimit:k", "counter")
                    .await
                    .expect("an answer");
            stored.is_some_and(|stored| stored >= 4) && mine >= 5
        })
        .await;
    }
    let expected: i64 = {
        let _ = stop.send(true);
        let mut sum = 0;
        for service in services {
            let view = service.view();
            service.stop().await;
            assert!(view.check("node").await.is_ok());
            sum += 1;
        }
        sum
    };
    assert_eq!(expected, 2);
    let exists: bool = client.exists("ratelimit:hc-node").await.expect("an answer");
    assert!(!exists, "the probe leaves nothing behind");
}

#[tokio::test]
async fn the_last_hits_are_told_at_the_stop_and_leases_are_given_back() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let (stop, stopped) = watch::channel(false);
    let mut config = config(&server);
    config.ratelimit.flush_interval_ms = 3_600_000;
    config.ratelimit.lease = Some(LeaseConfig {
        percent: 10,
        settle_interval_ms: 3_600_000,
    });
    let service = start(&config, &stopped).expect("a service");
    until("a connection", async || {
        service.view().check("node").await.is_ok()
    })
    .await;
    for _ in 0..3 {
        hit(&service.quotas, true);
    }
    let Counted::Ask(request) = service.quotas.count(&Hit {
        key: "leased",
        limit: 100,
        reset_at_ms: unix_ms() + 60_000,
        subscription: "s",
        is_async: false,
        now_ms: unix_ms(),
    }) else {
        panic!("nothing is held yet");
    };
    let (mut worker, mut control) = turnpike_core::need::link::link();
    assert!(worker.send(1, turnpike_core::need::Errand::Count(request)));
    let errand = control.receive().expect("the errand");
    crate::errand::RedisDesk::take(&*service.desk, vec![errand], &control.replies());
    until("an answer", async || worker.receive().is_some()).await;
    let held: i64 = client
        .hget("ratelimit:leased", "counter")
        .await
        .expect("a counter");
    assert_eq!(held, 10, "a tenth of the limit is held");
    let _ = stop.send(true);
    service.stop().await;
    let told: i64 = client
        .hget("ratelimit:k", "counter")
        .await
        .expect("a counter");
    assert_eq!(told, 3);
    let used: i64 = client
        .hget("ratelimit:leased", "counter")
        .await
        .expect("a counter");
    assert_eq!(used, 1, "only what was used");
}

#[tokio::test]
async fn hits_that_could_not_be_told_are_told_later() {
    let Some(mut server) = Server::redis(&[]) else {
        return;
    };
    server.client().await;
    let (_stop, stopped) = watch::channel(false);
    let service = start(&config(&server), &stopped).expect("a service");
    until("a connection", async || {
        service.view().check("node").await.is_ok()
    })
    .await;
    server.kill();
    until("it is noticed", async || {
        service.view().check("node").await.is_err()
    })
    .await;
    for _ in 0..5 {
        hit(&service.quotas, true);
    }
    server.restart();
    let mut client = server.client().await;
    until("they are told", || {
        let mut client = client.clone();
        async move {
            let told: Option<i64> = client
                .hget("ratelimit:k", "counter")
                .await
                .unwrap_or_default();
            told == Some(5)
        }
    })
    .await;
    let _: () = client.del("ratelimit:k").await.expect("OK");
}

#[tokio::test]
async fn without_a_redis_counting_starts_and_says_so() {
    let (_stop, stopped) = watch::channel(false);
    let none = start(&Config::default(), &stopped).expect("a service");
    assert!(matches!(
        hit(&none.quotas, false),
        Counted::Now(Err(CountError::NoStore))
    ));
    assert_eq!(counter(&hit(&none.quotas, true)), 1);
    assert!(none.view().check("node").await.is_ok());
    let mut config = Config {
        ratelimit_type: RatelimitType::Redis,
        ..Config::default()
    };
    config.ratelimit.redis.place = turnpike_config::RedisPlaceConfig::Standalone {
        host: "127.0.0.1".to_owned(),
        port: free_port(),
    };
    let redis = start(&config, &stopped).expect("the start does not wait for a Redis");
    assert_eq!(
        redis.view().check("node").await,
        Err(CountError::NotConnected)
    );
    let names: Vec<_> = redis
        .view()
        .figures()
        .iter()
        .map(|(name, _, _)| *name)
        .collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len());
    drop(Arc::clone(&redis.quotas));
}
