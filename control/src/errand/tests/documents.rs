//! Shared documents.

use std::any::Any;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use turnpike_core::need::SharedDocument;

use super::server::{Act, Server, ok, status};
use super::*;
use crate::errand::ErrandKind;

fn document(url: String) -> Arc<SharedDocument> {
    Arc::new(SharedDocument {
        call: get(url),
        content: ArcSwapOption::empty(),
        parse: |reply| {
            if reply.status != 200 {
                return Err(format!("status {}", reply.status));
            }
            assert_ne!(reply.body, b"poison", "a reader that fails");
            Ok(Arc::new(reply.body.clone()) as Arc<dyn Any + Send + Sync>)
        },
        failed_at_ms: AtomicU64::new(0),
        asked: AtomicBool::new(false),
    })
}

fn content(document: &SharedDocument) -> Option<(u64, Vec<u8>)> {
    let content = document.content.load_full()?;
    let parsed = content.parsed.downcast_ref::<Vec<u8>>().expect("our type");
    Some((content.fetched_at_ms, parsed.clone()))
}

async fn refresh(bench: &mut Bench, document: &Arc<SharedDocument>) {
    document.asked.store(true, Ordering::Release);
    let worker = &mut bench.workers[0];
    assert!(worker.link.send(1, Errand::Refresh(Arc::clone(document))));
    assert!(matches!(worker.answers(1).await[&1], Answer::Done));
    assert!(!document.asked.load(Ordering::Acquire), "it has ended");
}

#[tokio::test]
async fn everybody_who_asks_for_a_document_is_met_by_one_fetch() {
    let server = Server::start(|_| ok("keys")).await;
    let mut bench = Bench::with(SystemLookUp, 2, None);
    let (one, other) = (document(server.url("/1")), document(server.url("/2")));
    for worker in &mut bench.workers {
        for ticket in 0..100 {
            let wanted = if ticket == 99 { &other } else { &one };
            assert!(
                worker
                    .link
                    .send(ticket, Errand::Refresh(Arc::clone(wanted)))
            );
        }
    }
    for worker in &mut bench.workers {
        let answers = worker.answers(100).await;
        assert!(
            answers
                .values()
                .all(|answer| matches!(answer, Answer::Done))
        );
    }
    assert_eq!(server.requests().len(), 2, "one for each document");
    assert_eq!(content(&one), Some((1_000, b"keys".to_vec())));
    assert_eq!(content(&other), Some((1_000, b"keys".to_vec())));
    refresh(&mut bench, &one).await;
    assert_eq!(server.requests().len(), 3, "a fetch that ended is over");
}

#[tokio::test]
async fn a_fetch_that_fails_keeps_the_old_content() {
    let next = Arc::new(Mutex::new(ok("first")));
    let acts = Arc::clone(&next);
    let server = Server::start(move |_| acts.lock().expect("no panic").clone()).await;
    let mut bench = Bench::new();
    let document = document(server.url("/"));
    refresh(&mut bench, &document).await;
    let failures = [
        status(500, "", "no"),
        Act::WriteAndClose(b"HTTP/1.1 200".to_vec()),
        ok("poison"),
    ];
    for (index, act) in failures.into_iter().enumerate() {
        *next.lock().expect("no panic") = act;
        refresh(&mut bench, &document).await;
        assert_eq!(
            content(&document),
            Some((1_000, b"first".to_vec())),
            "{index}"
        );
        assert_eq!(
            document.failed_at_ms.load(Ordering::Acquire),
            1_000,
            "{index}"
        );
        assert_eq!(bench.stats.failed(ErrandKind::Refresh), index as u64 + 1);
    }
    *next.lock().expect("no panic") = ok("second");
    refresh(&mut bench, &document).await;
    assert_eq!(content(&document), Some((1_000, b"second".to_vec())));
    assert_eq!(document.failed_at_ms.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn a_fetch_that_is_given_up_answers_everybody_who_waits() {
    let server = Server::start(|_| Act::Silence).await;
    let mut bench = Bench::with(SystemLookUp, 2, None);
    let document = document(server.url("/"));
    document.asked.store(true, Ordering::Release);
    for worker in &mut bench.workers {
        assert!(worker.link.send(5, Errand::Refresh(Arc::clone(&document))));
    }
    let asked = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("a request");
    bench.stop.send_replace(true);
    for worker in &mut bench.workers {
        assert!(matches!(worker.answers(1).await[&5], Answer::Done));
    }
    assert_eq!(content(&document), None);
    assert_eq!(document.failed_at_ms.load(Ordering::Acquire), 1_000);
    assert!(!document.asked.load(Ordering::Acquire));
}
