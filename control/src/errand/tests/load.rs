//! Many errands, and a stop in the middle of them.

use turnpike_core::need::link::IN_FLIGHT_MAX;
use turnpike_core::quota::{CountError, CountRequest};

use super::server::{Act, Server, ok};
use super::*;
use crate::errand::ErrandKind;

fn count() -> Errand {
    Errand::Count(CountRequest {
        key: "k".into(),
        weight: 1,
        limit: 1,
        reset_at_ms: 0,
        subscription: "".into(),
    })
}

#[tokio::test]
async fn ten_thousand_errands_of_two_workers_are_answered_once_each() {
    const ERRANDS: u64 = 10_000;
    let server = Server::start(|_| ok("x")).await;
    let mut bench = Bench::with(SystemLookUp, 2, None);
    for worker in &mut bench.workers {
        let (mut answered, mut refused) = (0, 0);
        let (mut next, mut counted, mut called) = (0, 0, 0);
        while answered < ERRANDS {
            // As many as the link takes; then some must come back.
            while next < ERRANDS {
                let errand = match next % 10 {
                    0 => Errand::Http(Box::new(get(server.url("/")))),
                    1..=4 => Errand::Resolve {
                        host: "127.0.0.1".into(),
                    },
                    _ => count(),
                };
                if !worker.link.send(next, errand) {
                    refused += 1;
                    break;
                }
                next += 1;
            }
            for (ticket, answer) in worker.answers(1).await {
                answered += 1;
                match (ticket % 10, answer) {
                    (0, Answer::Http(Ok(reply))) if reply.body == b"x" => called += 1,
                    (1..=4, Answer::Addresses(addresses)) if addresses.len() == 1 => {}
                    (5.., Answer::Count(Err(CountError::NoStore))) => counted += 1,
                    (_, answer) => panic!("{ticket}: {answer:?}"),
                }
            }
        }
        assert_eq!((called, counted), (ERRANDS / 10, ERRANDS / 2));
        assert!(refused > 0, "the link was full for a while");
        assert!(worker.link.receive().is_none());
    }
    assert_eq!(bench.stats.taken(ErrandKind::Resolve), 2 * ERRANDS * 4 / 10);
    assert_eq!(bench.stats.failed(ErrandKind::Count), ERRANDS);
    assert_eq!(bench.stats.failed(ErrandKind::Http), 0);
    for link in bench.stats.links() {
        assert_eq!(link.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight_and_what_was_not_taken() {
    let server = Server::start(|_| Act::Silence).await;
    let mut bench = Bench::new();
    let url = server.url("/");
    let worker = &mut bench.workers[0];
    for ticket in 0..IN_FLIGHT_MAX as u64 {
        assert!(worker.link.send(ticket, Errand::Http(Box::new(get(&*url)))));
    }
    let asked = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("a request");
    bench.stop.send_replace(true);
    let answers = worker.answers(IN_FLIGHT_MAX).await;
    assert!(answers.values().all(|answer| matches!(
        answer,
        Answer::Http(Err(HttpError::Broken(_))) | Answer::Refused
    )));
    for serving in bench.serving {
        serving.await.expect("the desk has ended");
    }
}

#[tokio::test]
async fn the_errands_of_a_worker_that_ended_do_not_hold_the_desk() {
    let server = Server::start(|_| ok("")).await;
    let mut bench = Bench::new();
    let mut worker = bench.workers.remove(0);
    assert!(
        worker
            .link
            .send(0, Errand::Http(Box::new(get(server.url("/")))))
    );
    drop(worker);
    let serving = bench.serving.remove(0);
    tokio::time::timeout(LONG, serving)
        .await
        .expect("it ends")
        .expect("without a panic");
    assert_eq!(bench.stats.taken(ErrandKind::Http), 1);
}

#[tokio::test]
async fn a_slow_server_does_not_take_the_places_of_others() {
    let slow = Server::start(|_| Act::Silence).await;
    let good = Server::start(|_| ok("good")).await;
    let mut bench = Bench::new();
    let worker = &mut bench.workers[0];
    for ticket in 1..=2_000 {
        assert!(
            worker
                .link
                .send(ticket, Errand::Http(Box::new(get(slow.url("/")))))
        );
    }
    assert!(
        worker
            .link
            .send(0, Errand::Http(Box::new(get(good.url("/")))))
    );
    let answers = worker.answers(1).await;
    let Answer::Http(Ok(reply)) = &answers[&0] else {
        panic!("{answers:?}");
    };
    assert_eq!(reply.body, b"good");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_place_is_given_up_in_its_own_time() {
    let slow = Server::start(|_| Act::Silence).await;
    let mut bench = Bench::new();
    let worker = &mut bench.workers[0];
    let options = HttpOptions {
        timeout_ms: 5_000,
        connect_timeout_ms: 60_000,
        ..HttpOptions::default()
    };
    for ticket in 0..1_000 {
        let call = with(options.clone(), get(slow.url("/")));
        assert!(worker.link.send(ticket, Errand::Http(Box::new(call))));
    }
    let answers = worker.answers(1_000).await;
    assert!(
        answers
            .values()
            .all(|answer| matches!(answer, Answer::Http(Err(HttpError::Timeout(5_000)))))
    );
}
