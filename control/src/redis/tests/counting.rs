use std::collections::HashMap;

use redis::AsyncCommands as _;
use turnpike_core::need::{Answer, Errand};
use turnpike_core::quota::{CountRequest, TokenBucketRequest, Tokens};

use super::support::{Process, Server, request};
use crate::redis::unix_ms;

#[tokio::test]
async fn a_counter_is_stored_as_the_java_gateway_stores_it() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let mut process = Process::start(&server.config());
    process.connected().await;
    let first = request("plan:rl");
    let later = CountRequest {
        reset_at_ms: first.reset_at_ms + 5_000,
        weight: 3,
        limit: 99,
        ..first.clone()
    };
    let rate = process.count(first.clone()).await.expect("a count");
    assert_eq!((rate.counter, rate.reset_at_ms), (1, first.reset_at_ms));
    let rate = process.count(later).await.expect("a count");
    assert_eq!(
        (rate.counter, rate.reset_at_ms),
        (4, first.reset_at_ms),
        "the first reset stays"
    );
    let stored: HashMap<String, String> =
        client.hgetall("ratelimit:plan:rl").await.expect("a hash");
    let expected = [
        ("counter", "4".to_owned()),
        ("limit", "10".to_owned()),
        ("reset", first.reset_at_ms.to_string()),
        ("subscription", "subscription".to_owned()),
    ];
    assert_eq!(
        stored,
        expected
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    );
    let expiry: i64 = redis::cmd("PEXPIRETIME")
        .arg("ratelimit:plan:rl")
        .query_async(&mut client)
        .await
        .expect("an expiry");
    assert_eq!(expiry as u64, first.reset_at_ms);
}

#[tokio::test]
async fn a_reset_that_has_passed_counts_nothing() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let mut process = Process::start(&server.config());
    process.connected().await;
    let past = CountRequest {
        reset_at_ms: 5,
        ..request("past")
    };
    let rate = process.count(past).await.expect("a count");
    assert_eq!((rate.counter, rate.reset_at_ms), (0, 5));
    let exists: bool = client.exists("ratelimit:past").await.expect("an answer");
    assert!(!exists);
}

#[tokio::test]
async fn gateways_together_admit_exactly_the_limit() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut processes = [
        Process::start(&server.config()),
        Process::start(&server.config()),
    ];
    for process in &processes {
        process.connected().await;
    }
    let request = CountRequest {
        limit: 150,
        ..request("shared")
    };
    let mut tickets = Vec::new();
    for _ in 0..20 {
        for (index, process) in processes.iter_mut().enumerate() {
            let turn = vec![Errand::Count(request.clone()); 10];
            tickets.extend(process.send(turn).into_iter().map(|ticket| (index, ticket)));
        }
        tokio::task::yield_now().await;
    }
    let mut seen = Vec::new();
    for (index, ticket) in tickets {
        match processes[index].answer(ticket).await {
            Answer::Count(Ok(rate)) => seen.push(rate.counter),
            other => panic!("{other:?}"),
        }
    }
    seen.sort_unstable();
    assert_eq!(
        seen,
        (1..=400).collect::<Vec<i64>>(),
        "every hit counts once"
    );
    assert_eq!(seen.iter().filter(|counter| **counter <= 150).count(), 150);
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_in_full() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let mut process = Process::start(&server.config());
    process.connected().await;
    process.count(request("a")).await.expect("a count");
    let _: () = redis::cmd("SCRIPT")
        .arg("FLUSH")
        .query_async(&mut client)
        .await
        .expect("OK");
    let tickets = process.send(vec![
        Errand::Count(request("a")),
        Errand::Count(request("b")),
    ]);
    for (ticket, expected) in tickets.into_iter().zip([2, 1]) {
        match process.answer(ticket).await {
            Answer::Count(Ok(rate)) => assert_eq!(rate.counter, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_bucket_starts_full_and_earns_tokens() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let mut process = Process::start(&server.config());
    process.connected().await;
    let start = unix_ms();
    for (after_ms, tokens, allowed, left) in [
        (0, 1, true, 1),
        (1, 1, true, 0),
        (500, 1, false, 0),
        (999, 1, false, 0),
        (1_600, 1, true, 0),
        (2_000, 1, true, 0),
        (2_001, 1, false, 0),
        (60_000, 2, true, 0),
        (61_000, 2, false, 1),
    ] {
        let request = TokenBucketRequest {
            key: "plan:tb".into(),
            tokens,
            capacity: 2,
            refill: 1,
            period_ms: 1_000,
            now_ms: start + after_ms,
            subscription: "s".into(),
        };
        match process.run(Errand::TakeToken(request)).await {
            Answer::Tokens(Ok(tokens)) => {
                assert_eq!(tokens, Tokens { allowed, left }, "{after_ms}")
            }
            other => panic!("{other:?}"),
        }
    }
    let stored: HashMap<String, String> =
        client.hgetall("tokenbucket:plan:tb").await.expect("a hash");
    assert_eq!(stored["tokens"], "1");
    assert_eq!(stored["last_refill"], (start + 61_000).to_string());
    assert_eq!(stored["subscription"], "s");
    let expiry: i64 = redis::cmd("PEXPIRETIME")
        .arg("tokenbucket:plan:tb")
        .query_async(&mut client)
        .await
        .expect("an expiry");
    assert!(expiry as u64 > start + 61_000);
}
