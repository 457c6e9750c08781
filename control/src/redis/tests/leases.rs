use redis::AsyncCommands as _;
use turnpike_config::RedisConfig;
use turnpike_core::need::{Answer, Errand};
use turnpike_core::quota::{CountError, Counted, Hit, LeaseSettings, QuotaSettings, Quotas, Rate};

use super::support::{Process, Server, request};
use crate::redis::unix_ms;

const LIMIT: i64 = 100;

fn process(config: &RedisConfig) -> Process {
    Process::start_with(
        config,
        QuotaSettings {
            lease: Some(LeaseSettings {
                percent: 10,
                retry_ms: 20,
            }),
            ..QuotaSettings::default()
        },
    )
}

/// One hit, as the policy makes it.
async fn hit(process: &mut Process, reset_at_ms: u64) -> Rate {
    let quotas = std::sync::Arc::clone(&process.quotas);
    let counted = quotas.count(&Hit {
        key: "k",
        limit: LIMIT,
        reset_at_ms,
        subscription: "s",
        is_async: false,
        now_ms: unix_ms(),
    });
    match counted {
        Counted::Now(result) => result.expect("a count"),
        Counted::NowAndSend(rate, refill) => {
            process.send(vec![Errand::Count(refill)]);
            rate
        }
        Counted::Ask(request) => process.count(request).await.expect("a count"),
    }
}

#[tokio::test]
async fn processes_with_leases_admit_no_more_than_the_limit_and_in_the_end_all_of_it() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let mut processes = [process(&server.config()), process(&server.config())];
    for process in &processes {
        process.connected().await;
    }
    let reset_at_ms = unix_ms() + 600_000;
    let mut admitted = 0;
    let mut refused_first_at = None;
    // Uneven: the second process comes now and then.
    for index in 0..400 {
        let which = usize::from(index % 7 == 0);
        let rate = hit(&mut processes[which], reset_at_ms).await;
        if rate.counter <= LIMIT {
            admitted += 1;
        } else if refused_first_at.is_none() {
            refused_first_at = Some(admitted);
        }
        let counter: i64 = client
            .hget("ratelimit:k", "counter")
            .await
            .expect("a counter");
        assert!(counter <= LIMIT, "{counter}");
        assert!(admitted <= counter, "{admitted} of {counter}");
    }
    // Early refusals: at most one part per process.
    let early = LIMIT - refused_first_at.expect("more was asked for than there is");
    assert!((0..=20).contains(&early), "{early}");
    // What the others hold is given back, and can be had.
    for process in &processes {
        for part in Quotas::parts() {
            let back = process.quotas.unused(part, unix_ms(), true);
            process.desk.give_back(back).await;
        }
    }
    let counter: i64 = client
        .hget("ratelimit:k", "counter")
        .await
        .expect("a counter");
    assert_eq!(counter, admitted, "nothing is held, nothing is lost");
    let until = tokio::time::Instant::now() + super::support::BOUND;
    while admitted < LIMIT {
        assert!(tokio::time::Instant::now() < until, "{admitted}");
        if hit(&mut processes[0], reset_at_ms).await.counter <= LIMIT {
            admitted += 1;
        } else {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    assert!(hit(&mut processes[1], reset_at_ms).await.counter > LIMIT);
    let expiry: i64 = redis::cmd("PEXPIRETIME")
        .arg("ratelimit:k")
        .query_async(&mut client)
        .await
        .expect("an expiry");
    assert_eq!(expiry as u64, reset_at_ms);
}

#[tokio::test]
async fn hits_that_come_together_are_served_by_one_question() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut client = server.client().await;
    let mut process = process(&server.config());
    process.connected().await;
    let request = turnpike_core::quota::CountRequest {
        limit: 30,
        ..request("many")
    };
    let tickets = process.send(vec![Errand::Count(request); 50]);
    let mut counters = Vec::new();
    for ticket in tickets {
        match process.answer(ticket).await {
            Answer::Count(Ok(rate)) => counters.push(rate.counter),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counters[..30], (1..=30).collect::<Vec<i64>>());
    assert!(
        counters[30..].iter().all(|counter| *counter > 30),
        "{counters:?}"
    );
    let counter: i64 = client
        .hget("ratelimit:many", "counter")
        .await
        .expect("a counter");
    assert_eq!(counter, 30, "refusals are not counted");
}

#[tokio::test]
async fn a_lease_lives_beside_gateways_that_ask_for_each_request() {
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let mut leased = process(&server.config());
    let mut strict = Process::start(&server.config());
    leased.connected().await;
    strict.connected().await;
    let reset_at_ms = unix_ms() + 600_000;
    let mut admitted = 0;
    for _ in 0..100 {
        admitted += i64::from(hit(&mut leased, reset_at_ms).await.counter <= LIMIT);
        let request = turnpike_core::quota::CountRequest {
            limit: LIMIT,
            reset_at_ms,
            ..request("k")
        };
        admitted += i64::from(strict.count(request).await.expect("a count").counter <= LIMIT);
    }
    assert!((LIMIT - 10..=LIMIT).contains(&admitted), "{admitted}");
}

#[tokio::test]
async fn a_hit_that_joins_a_question_waits_no_longer_than_one_that_asks() {
    const TIMEOUT_MS: u64 = 800;
    const PAUSE_MS: u64 = 600;
    let Some(server) = Server::redis(&[]) else {
        return;
    };
    let (mut first_pause, mut second_pause) = (server.client().await, server.client().await);
    let pause = || {
        let mut command = redis::cmd("CLIENT");
        command.arg("PAUSE").arg(PAUSE_MS);
        command
    };
    let mut process = process(&RedisConfig {
        operation_timeout_ms: TIMEOUT_MS,
        ..server.config()
    });
    process.connected().await;
    let errand = || Errand::Count(request("k"));
    let _: () = pause().query_async(&mut first_pause).await.expect("OK");
    let asks = process.send(vec![errand()])[0];
    // Its question is with the server before the second pause is, and brings the one unit of a part.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    // Its client is patient for half a second only; the connection stays for the server to read.
    let _connection = second_pause.clone();
    tokio::spawn(async move { pause().query_async::<()>(&mut second_pause).await });
    let joined_at = tokio::time::Instant::now();
    let joins = process.send(vec![errand()])[0];
    let served = process.answer(asks).await;
    assert!(matches!(served, Answer::Count(Ok(_))), "{served:?}");
    // The next question is answered in its own time, and too late for the hit that has waited since the one before.
    let told = process.answer(joins).await;
    let waited_ms = joined_at.elapsed().as_millis() as u64;
    assert!(
        matches!(told, Answer::Count(Err(CountError::Timeout(TIMEOUT_MS)))),
        "{told:?} after {waited_ms} ms"
    );
    assert!(waited_ms < 2 * PAUSE_MS - 50, "{waited_ms} ms");
}
