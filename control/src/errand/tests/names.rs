//! Look-ups of host names.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::errand::ErrandKind;

/// Knows `known.test`, is silent about `dead*.test`, fails at `broken.test`, and is told when to answer.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<AtomicUsize>,
    open: Arc<Notify>,
}

impl LookUp for Fake {
    fn look_up(
        &self,
        host: &str,
    ) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (host, open) = (host.to_owned(), Arc::clone(&self.open));
        async move {
            match host.as_str() {
                "known.test" => {
                    open.notified().await;
                    Ok(vec![Ipv4Addr::new(10, 0, 0, 1).into()])
                }
                "broken.test" => panic!("a look-up that fails"),
                "empty.test" => Ok(Vec::new()),
                dead if dead.starts_with("dead") => std::future::pending().await,
                _ => Err(io::Error::other("unknown")),
            }
        }
    }
}

fn send(bench: &mut Bench, worker: usize, ticket: Ticket, host: &str) {
    let errand = Errand::Resolve { host: host.into() };
    assert!(bench.workers[worker].link.send(ticket, errand));
}

fn addresses(answer: &Answer) -> Vec<String> {
    match answer {
        Answer::Addresses(addresses) => addresses.iter().map(ToString::to_string).collect(),
        other => panic!("not addresses: {other:?}"),
    }
}

#[tokio::test]
async fn everybody_who_asks_for_a_name_shares_one_look_up() {
    let fake = Fake::default();
    let mut bench = Bench::with(fake.clone(), 2, None);
    for ticket in 0..50 {
        send(&mut bench, 0, ticket, "known.test");
        send(&mut bench, 1, ticket, "known.test");
    }
    let asked = async {
        while bench.stats.taken(ErrandKind::Resolve) < 100 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("all taken");
    // Everything that was taken has had its turn before the look-up answers.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    fake.open.notify_one();
    for worker in &mut bench.workers {
        let answers = worker.answers(50).await;
        assert!(
            answers
                .values()
                .all(|answer| addresses(answer) == ["10.0.0.1"])
        );
    }
    assert_eq!(fake.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_name_without_an_answer_has_no_addresses_and_an_address_is_its_own() {
    let mut bench = Bench::with(Fake::default(), 1, None);
    let cases = [
        ("unknown.test", vec![]),
        ("broken.test", vec![]),
        ("empty.test", vec![]),
        ("10.1.2.3", vec!["10.1.2.3"]),
        ("[::1]", vec!["::1"]),
        ("::1", vec!["::1"]),
    ];
    for (ticket, (host, _)) in (0..).zip(&cases) {
        send(&mut bench, 0, ticket, host);
    }
    let answers = bench.workers[0].answers(cases.len()).await;
    for (ticket, (host, expected)) in (0..).zip(cases) {
        assert_eq!(addresses(&answers[&ticket]), expected, "{host}");
    }
    assert_eq!(bench.stats.failed(ErrandKind::Resolve), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dead_name_server_is_not_waited_for_and_its_look_ups_are_bounded() {
    let fake = Fake::default();
    let mut bench = Bench::with(fake.clone(), 1, None);
    for ticket in 0..1_000 {
        send(&mut bench, 0, ticket, &format!("dead-{ticket}.test"));
    }
    let answers = bench.workers[0].answers(1_000).await;
    assert!(answers.values().all(|answer| addresses(answer).is_empty()));
    assert_eq!(fake.asked.load(Ordering::Relaxed), 4);
}
