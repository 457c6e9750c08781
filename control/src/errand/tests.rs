//! The desk against servers of this process: good ones, slow ones, ones that lie or break off.

mod calls;
mod documents;
mod load;
mod names;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use turnpike_config::ProxyConfig;
use turnpike_core::need::link::{Ticket, WorkerEnd, link};
use turnpike_core::need::{Answer, Errand, HttpCall, HttpError, HttpOptions, HttpReply};

use super::{ErrandDesk, ErrandStats, NoRedis};
use crate::resolve::{LookUp, SystemLookUp};

/// Longer than anything here takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(30);

/// A desk and the workers' ends of its links.
struct Bench {
    workers: Vec<Worker>,
    stats: Arc<ErrandStats>,
    stop: watch::Sender<bool>,
    serving: Vec<JoinHandle<()>>,
}

struct Worker {
    link: WorkerEnd,
    wake: Arc<Notify>,
}

impl Bench {
    fn new() -> Self {
        Self::with(SystemLookUp, 1, None)
    }

    fn with(look_up: impl LookUp, workers: usize, proxy: Option<ProxyConfig>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (mut ends, mut links) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (worker, control) = link();
            let wake = Arc::new(Notify::new());
            let woken = Arc::clone(&wake);
            worker.on_wake(move || woken.notify_one());
            ends.push(Worker { link: worker, wake });
            links.push(control);
        }
        let stats = Arc::new(ErrandStats::new(
            links.iter().map(|link| link.figures()).collect(),
        ));
        let desk = Arc::new(ErrandDesk::with_look_up(
            look_up,
            Arc::new(NoRedis),
            proxy,
            Arc::new(|| 1_000),
            Arc::clone(&stats),
            stopped,
        ));
        let serving = links
            .into_iter()
            .map(|link| tokio::spawn(Arc::clone(&desk).serve(link)))
            .collect();
        Self {
            workers: ends,
            stats,
            stop,
            serving,
        }
    }

    /// Makes one call from the first worker.
    async fn call(&mut self, call: HttpCall) -> Result<HttpReply, HttpError> {
        let worker = &mut self.workers[0];
        assert!(worker.link.send(1, Errand::Http(Box::new(call))));
        match worker.answers(1).await.remove(&1) {
            Some(Answer::Http(outcome)) => outcome.map(|reply| *reply),
            other => panic!("not an answer to a call: {other:?}"),
        }
    }
}

impl Worker {
    /// The next `count` answers by ticket; a ticket that is answered twice fails the test.
    async fn answers(&mut self, count: usize) -> BTreeMap<Ticket, Answer> {
        let mut answers = BTreeMap::new();
        let collect = async {
            while answers.len() < count {
                while let Some((ticket, answer)) = self.link.receive() {
                    assert!(answers.insert(ticket, answer).is_none(), "{ticket} twice");
                }
                if answers.len() < count && self.link.sleep() {
                    self.wake.notified().await;
                }
            }
        };
        if tokio::time::timeout(LONG, collect).await.is_err() {
            panic!("{} of {count} answers came", answers.len());
        }
        answers
    }
}

fn get(url: impl Into<Box<str>>) -> HttpCall {
    HttpCall {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        options: Arc::default(),
    }
}

fn with(options: HttpOptions, call: HttpCall) -> HttpCall {
    HttpCall {
        options: Arc::new(options),
        ..call
    }
}
