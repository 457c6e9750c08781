//! Steady traffic: connections that are kept, each with one request after the other, until told to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{Client, Response, get};
use super::wait::{self, PATIENCE, pause};
use super::wire::Broken;

/// Failures that are described; more are counted.
const DESCRIBED_MAX: usize = 10;

/// Decides the next path of a connection.
type Paths = dyn Fn(usize, u64) -> String + Send + Sync;
/// Says what is wrong with an answer.
type Judge = dyn Fn(&str, &Response) -> Result<(), String> + Send + Sync;

/// What the traffic is.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    /// Pause between the requests of one connection.
    pub(crate) pace: Duration,
    pub(crate) path: Arc<Paths>,
    pub(crate) judge: Arc<Judge>,
}

impl Plan {
    /// 64 connections that ask for one path and expect 200.
    pub(crate) fn steady(path: &str) -> Self {
        let path = path.to_owned();
        Self {
            connections: 64,
            pace: Duration::from_millis(50),
            path: Arc::new(move |_, _| path.clone()),
            judge: Arc::new(|_, response| match response.status {
                200 => Ok(()),
                status => Err(format!("status {status}: {}", response.text())),
            }),
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Answers that the judge refused, and exchanges that broke.
    pub(crate) failures: u64,
    pub(crate) described: Vec<String>,
    /// Connections closed before a byte of an answer, after the server was told to stop.
    pub(crate) unanswered_at_stop: u64,
    /// Request ids of the answers.
    pub(crate) ids: Vec<String>,
}

impl Tally {
    fn fail(&mut self, what: String) {
        self.failures += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(what);
        }
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.failures += other.failures;
        self.unanswered_at_stop += other.unanswered_at_stop;
        self.described.extend(other.described);
        self.described.truncate(DESCRIBED_MAX);
        self.ids.extend(other.ids);
    }

    /// Fails the test when anything failed.
    pub(crate) fn assert_flawless(&self) {
        assert!(
            self.failures == 0,
            "{} of {} requests failed: {:#?}",
            self.failures,
            self.answered + self.failures,
            self.described
        );
    }
}

#[derive(Debug, Default)]
struct Controls {
    stop: AtomicBool,
    /// The server was asked to stop: connections that it closes are not opened again.
    farewell: AtomicBool,
    answered: AtomicU64,
}

/// Traffic that flows.
#[derive(Debug)]
pub(crate) struct Load {
    controls: Arc<Controls>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Load {
    pub(crate) fn start(port: u16, plan: &Plan) -> Self {
        let controls = Arc::new(Controls::default());
        let threads = (0..plan.connections)
            .map(|connection| {
                let (plan, controls) = (plan.clone(), Arc::clone(&controls));
                std::thread::spawn(move || drive(port, connection, &plan, &controls))
            })
            .collect();
        Self { controls, threads }
    }

    /// Answers so far.
    pub(crate) fn answered(&self) -> u64 {
        self.controls.answered.load(Ordering::SeqCst)
    }

    /// Waits for so many more answers.
    pub(crate) fn flow(&self, answers: u64) {
        let wanted = self.answered() + answers;
        wait::until(&format!("{answers} more answers"), PATIENCE, || {
            (self.answered() >= wanted).then_some(())
        });
    }

    /// From now on connections that the server closes are not opened again.
    pub(crate) fn say_farewell(&self) {
        self.controls.farewell.store(true, Ordering::SeqCst);
    }

    /// Ends the traffic after the requests that are under way.
    pub(crate) fn stop(self) -> Tally {
        self.controls.stop.store(true, Ordering::SeqCst);
        self.join()
    }

    /// Waits until the server has closed every connection.
    pub(crate) fn join(self) -> Tally {
        let mut total = Tally::default();
        for thread in self.threads {
            total.add(thread.join().expect("a connection does not panic"));
        }
        total
    }
}

fn drive(port: u16, connection: usize, plan: &Plan, controls: &Controls) -> Tally {
    let mut tally = Tally::default();
    let mut client: Option<Client> = None;
    let mut count = 0;
    while !controls.stop.load(Ordering::SeqCst) {
        let open = match client.take() {
            Some(open) => open,
            None if controls.farewell.load(Ordering::SeqCst) => break,
            None => match Client::connect(port) {
                Ok(open) => open,
                Err(_) if controls.farewell.load(Ordering::SeqCst) => break,
                Err(error) => {
                    tally.fail(format!("connection {connection}: {error}"));
                    pause(plan.pace);
                    continue;
                }
            },
        };
        let path = (plan.path)(connection, count);
        client = ask(open, connection, &path, plan, controls, &mut tally);
        count += 1;
        pause(plan.pace);
    }
    tally
}

/// One exchange; the connection when it may be used again.
fn ask(
    mut client: Client,
    connection: usize,
    path: &str,
    plan: &Plan,
    controls: &Controls,
    tally: &mut Tally,
) -> Option<Client> {
    let sent = client.try_send(&get(path));
    match client.try_response() {
        Ok(response) => {
            tally.answered += 1;
            *tally.statuses.entry(response.status).or_default() += 1;
            controls.answered.fetch_add(1, Ordering::SeqCst);
            if let Some(id) = response.field("X-Gravitee-Request-Id") {
                tally.ids.push(id.to_owned());
            }
            if let Err(what) = (plan.judge)(path, &response) {
                tally.fail(format!("connection {connection}, {path}: {what}"));
            }
            (!response.closes()).then_some(client)
        }
        // Not a byte of an answer: the server closed a connection that it had no request of.
        Err(broken) if controls.farewell.load(Ordering::SeqCst) && broken == Broken::Closed => {
            tally.unanswered_at_stop += 1;
            None
        }
        Err(broken) => {
            tally.fail(format!(
                "connection {connection}, {path}: sent {sent:?}, then {broken:?}"
            ));
            None
        }
    }
}
