//! The load generator: one thread, one epoll loop, closed or open loop, every response checked.
//!
//! Nouns: a [`LoadPlan`] says what to do, the [`Dispatcher`] when, a [`Connection`] carries one request at a time, the
//! [`Recorder`] keeps what happened, and the [`Outcome`] is what a caller gets. Nothing here knows about proxies or processes.

mod connection;
mod pacing;
mod recorder;
mod response;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

pub(crate) use pacing::Pacing;
pub(crate) use recorder::{Failure, empty_histogram};
pub(crate) use response::{Response, ResponseReader};

use connection::{Connection, Progress};
use pacing::Dispatcher;
use recorder::Recorder;

use crate::poller::Poller;

/// What a correct response looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expectation {
    pub(crate) status: u16,
    /// `None` accepts any length.
    pub(crate) body_bytes: Option<u64>,
}

impl Expectation {
    /// What is wrong with `response`, if anything is.
    pub(crate) fn verify(&self, response: &Response) -> Result<(), Failure> {
        if response.status != self.status {
            return Err(Failure::Status);
        }
        match self.body_bytes {
            Some(expected) if expected != response.body_bytes => Err(Failure::BodyLength),
            _ => Ok(()),
        }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct LoadPlan {
    pub(crate) target: SocketAddr,
    /// The whole request, head and body, as sent every time.
    pub(crate) request: Vec<u8>,
    /// The request is `HEAD`.
    pub(crate) head_request: bool,
    pub(crate) expectation: Expectation,
    pub(crate) connections: usize,
    pub(crate) pacing: Pacing,
    /// Load before the window opens.
    pub(crate) warm_up: Duration,
    /// Length of the window.
    pub(crate) duration: Duration,
    /// A request on a connection for longer than this has failed.
    pub(crate) request_timeout: Duration,
    /// Time for the last requests to be answered after the window.
    pub(crate) drain: Duration,
}

/// Told at the edges of the window, so that CPU time can be read for exactly the requests that are counted.
pub(crate) trait Observer {
    fn window_opens(&mut self);
    fn window_closes(&mut self);
}

impl Observer for () {
    fn window_opens(&mut self) {}
    fn window_closes(&mut self) {}
}

/// What a run measured.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Length of the window as it was, seconds.
    pub(crate) window_s: f64,
    /// Correct responses completed in the window.
    pub(crate) completed: u64,
    /// Their payload bytes.
    pub(crate) body_bytes: u64,
    /// Latency, nanoseconds, of the requests due in the window.
    pub(crate) histogram: Histogram<u64>,
    /// Failures of the whole run by kind.
    pub(crate) failures: Vec<(Failure, u64)>,
    /// Longest queue of due requests that found every connection busy.
    pub(crate) backlog_max: u64,
}

impl Outcome {
    pub(crate) fn throughput_per_s(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let completed = self.completed as f64;
        completed / self.window_s
    }
}

/// Most bytes taken from a socket at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// How often slow requests and closed connections are looked at.
const TICK: Duration = Duration::from_millis(20);

/// Runs `plan` on the calling thread; ends within warm-up + duration + drain.
pub(crate) fn run(plan: &LoadPlan, observer: &mut dyn Observer) -> io::Result<Outcome> {
    crate::host::set_timer_slack_to_minimum()?;
    let window_ns = nanoseconds(plan.warm_up)..nanoseconds(plan.warm_up + plan.duration);
    let mut generator = Generator {
        plan,
        poller: Poller::new(1_024)?,
        dispatcher: Dispatcher::new(plan.pacing, window_ns.end),
        recorder: Recorder::new(window_ns.clone()),
        connections: (0..plan.connections)
            .map(|_| Connection::new(plan.head_request))
            .collect(),
        idle: VecDeque::with_capacity(plan.connections),
        buffer: vec![0; BUFFER_BYTES],
        started: Instant::now(),
    };
    generator.open_connections(0);
    // Connecting and the allocations above are not part of the schedule.
    generator.started = Instant::now();
    generator.drive(window_ns.start, window_ns.end, observer)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

struct Generator<'a> {
    plan: &'a LoadPlan,
    poller: Poller,
    dispatcher: Dispatcher,
    recorder: Recorder,
    connections: Vec<Connection>,
    /// Connections without a request, longest idle first, so that an open loop uses all of them.
    idle: VecDeque<usize>,
    buffer: Vec<u8>,
    started: Instant,
}

impl Generator<'_> {
    fn drive(
        mut self,
        opens_ns: u64,
        closes_ns: u64,
        observer: &mut dyn Observer,
    ) -> io::Result<Outcome> {
        let stop_ns = closes_ns.saturating_add(nanoseconds(self.plan.drain));
        let mut opened_at = None;
        let mut window_s = None;
        let mut next_tick_ns = 0;
        loop {
            let now_ns = self.now_ns();
            if opened_at.is_none() && now_ns >= opens_ns {
                observer.window_opens();
                opened_at = Some(Instant::now());
            }
            if let (Some(opened_at), None) = (opened_at, window_s)
                && now_ns >= closes_ns
            {
                window_s = Some(opened_at.elapsed().as_secs_f64());
                observer.window_closes();
            }
            if now_ns >= next_tick_ns {
                self.tick(now_ns);
                next_tick_ns = now_ns + nanoseconds(TICK);
            }
            self.dispatch();
            let backlog = self.dispatcher.observe_backlog(self.now_ns());
            let busy = self
                .connections
                .iter()
                .any(|connection| connection.waiting(now_ns).is_some());
            if now_ns >= stop_ns || (now_ns >= closes_ns && !busy && backlog == 0) {
                break;
            }
            let edge_ns = if window_s.is_some() {
                stop_ns
            } else if opened_at.is_some() {
                closes_ns
            } else {
                opens_ns
            };
            let due_ns = if self.idle.is_empty() {
                None
            } else {
                self.dispatcher.next_due_ns()
            };
            let wake_ns = due_ns.unwrap_or(u64::MAX).min(edge_ns).min(next_tick_ns);
            self.poller.wait(Some(Duration::from_nanos(
                wake_ns.saturating_sub(self.now_ns()),
            )))?;
            self.handle_events();
        }
        let now_ns = self.now_ns();
        self.give_up(now_ns);
        Ok(Outcome {
            window_s: window_s.unwrap_or(self.plan.duration.as_secs_f64()),
            completed: self.recorder.completed(),
            body_bytes: self.recorder.body_bytes(),
            failures: self.recorder.failures(),
            backlog_max: self.dispatcher.backlog_max(),
            histogram: self.recorder.into_histogram(),
        })
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.started.elapsed())
    }

    fn handle_events(&mut self) {
        let mut index = 0;
        while let Some(event) = self.poller.event(index) {
            index += 1;
            let now_ns = self.now_ns();
            let connection = &mut self.connections[event.token];
            let progress = connection.advance(
                event.writable,
                event.readable,
                &self.plan.request,
                &mut self.buffer,
                now_ns,
            );
            let answered = matches!(progress, Progress::Answered(..));
            self.settle(event.token, progress, now_ns);
            if answered && event.ended {
                // The end came together with the last bytes, so no further event would tell of it.
                let connection = &mut self.connections[event.token];
                let progress =
                    connection.advance(false, true, &self.plan.request, &mut self.buffer, now_ns);
                self.settle(event.token, progress, now_ns);
            }
            self.dispatch();
        }
    }

    /// Books what an event came to.
    fn settle(&mut self, token: usize, progress: Progress, now_ns: u64) {
        match progress {
            Progress::Pending => {}
            Progress::Answered(ticket, response) => {
                match self.plan.expectation.verify(&response) {
                    Ok(()) => self
                        .recorder
                        .success(ticket.due_ns, now_ns, response.body_bytes),
                    Err(failure) => self.recorder.failure(failure),
                }
                if self.connections[token].is_idle() {
                    self.idle.push_back(token);
                } else {
                    self.open(token, now_ns);
                }
            }
            Progress::Failed(_, failure) => {
                self.forget_idle(token);
                self.recorder.failure(failure);
            }
            Progress::Closed => self.forget_idle(token),
        }
    }

    /// Sends what is due on the connections that are idle.
    fn dispatch(&mut self) {
        while let Some(token) = self.idle.front().copied() {
            let now_ns = self.now_ns();
            let Some(ticket) = self.dispatcher.take(now_ns) else {
                return;
            };
            self.idle.pop_front();
            let progress = self.connections[token].send(&self.plan.request, ticket, now_ns);
            self.settle(token, progress, now_ns);
        }
    }

    /// Slow, rare work: time-outs and connections to open again.
    fn tick(&mut self, now_ns: u64) {
        for token in 0..self.connections.len() {
            let late = self.connections[token]
                .waiting(now_ns)
                .is_some_and(|(age_ns, _)| age_ns > nanoseconds(self.plan.request_timeout));
            if late {
                let progress = self.connections[token].abandon(Failure::Timeout, now_ns);
                self.settle(token, progress, now_ns);
            }
        }
        self.open_connections(now_ns);
    }

    fn open_connections(&mut self, now_ns: u64) {
        for token in 0..self.connections.len() {
            if self.connections[token].wants_opening(now_ns) {
                self.open(token, now_ns);
            }
        }
    }

    fn open(&mut self, token: usize, now_ns: u64) {
        match self.connections[token].open(self.plan.target, &self.poller, token, now_ns) {
            Ok(()) => self.idle.push_back(token),
            Err(failure) => self.recorder.failure(failure),
        }
    }

    fn forget_idle(&mut self, token: usize) {
        self.idle.retain(|idle| *idle != token);
    }

    /// The run is over: whatever was due and is not answered counts with its age.
    fn give_up(&mut self, now_ns: u64) {
        for connection in &self.connections {
            if let Some((_, ticket)) = connection.waiting(now_ns) {
                self.recorder.unanswered(ticket.due_ns, now_ns);
            }
        }
        if matches!(self.plan.pacing, Pacing::Rate(_)) {
            while let Some(ticket) = self.dispatcher.take(now_ns) {
                self.recorder.unanswered(ticket.due_ns, now_ns);
            }
        }
    }
}

/// A complete HTTP/1.1 request.
pub(crate) fn request_bytes(
    method: &str,
    host: &str,
    path: &str,
    headers: &[(String, String)],
    body_bytes: usize,
) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if body_bytes > 0 || matches!(method, "POST" | "PUT" | "PATCH") {
        text.push_str(&format!(
            "Content-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n"
        ));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len() + body_bytes, b'x');
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn origin() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || crate::origin::serve(&listener));
        address
    }

    fn plan(
        target: SocketAddr,
        method: &str,
        path: &str,
        sent: usize,
        received: u64,
        pacing: Pacing,
    ) -> LoadPlan {
        LoadPlan {
            target,
            request: request_bytes(method, "test", path, &[], sent),
            head_request: method == "HEAD",
            expectation: Expectation {
                status: 200,
                body_bytes: Some(received),
            },
            connections: 4,
            pacing,
            warm_up: Duration::from_millis(50),
            duration: Duration::from_millis(200),
            request_timeout: Duration::from_secs(2),
            drain: Duration::from_secs(2),
        }
    }

    #[derive(Default)]
    struct Edges(Vec<&'static str>);

    impl Observer for Edges {
        fn window_opens(&mut self) {
            self.0.push("opens");
        }
        fn window_closes(&mut self) {
            self.0.push("closes");
        }
    }

    /// Small, large and uploaded bodies are all answered as expected in a closed loop, and the window has two edges.
    #[test]
    fn a_closed_loop_against_the_origin() {
        for (method, path, sent, received) in [
            ("GET", "/b/100", 0, 100),
            ("GET", "/b/1048576", 0, 1_048_576),
            ("POST", "/echo", 300_000, 300_000),
        ] {
            let mut edges = Edges::default();
            let outcome = run(
                &plan(origin(), method, path, sent, received, Pacing::Saturate),
                &mut edges,
            )
            .unwrap();
            assert_eq!(outcome.failures, [], "{method} {path}");
            assert!(
                outcome.completed > 0 && outcome.body_bytes == outcome.completed * received,
                "{outcome:?}"
            );
            assert_eq!(edges.0, ["opens", "closes"]);
        }
    }

    /// At a rate far below what the origin can do, exactly the requests due in the window are sent and answered.
    #[test]
    fn an_open_loop_sends_what_is_due() {
        let outcome = run(
            &plan(origin(), "GET", "/b/10", 0, 10, Pacing::Rate(500.0)),
            &mut (),
        )
        .unwrap();
        assert_eq!((outcome.histogram.len(), outcome.failures), (100, vec![]));
    }

    /// A wrong status and a wrong length are errors, each under its own name, and no latency is recorded for them.
    #[test]
    fn wrong_answers_are_counted_by_kind() {
        for (received, status, expected) in
            [(11, 200, Failure::BodyLength), (10, 201, Failure::Status)]
        {
            let mut plan = plan(origin(), "GET", "/b/10", 0, received, Pacing::Rate(200.0));
            plan.expectation.status = status;
            let outcome = run(&plan, &mut ()).unwrap();
            assert_eq!(
                outcome
                    .failures
                    .iter()
                    .map(|(kind, _)| *kind)
                    .collect::<Vec<_>>(),
                [expected]
            );
            assert_eq!((outcome.completed, outcome.histogram.len()), (0, 0));
        }
    }

    /// A server that never answers ends the run in bounded time, and every due request shows with its age.
    #[test]
    fn a_silent_server_is_seen_in_the_histogram() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut plan = plan(
            listener.local_addr().unwrap(),
            "GET",
            "/",
            0,
            2,
            Pacing::Rate(100.0),
        );
        plan.drain = Duration::from_millis(300);
        let started = Instant::now();
        let outcome = run(&plan, &mut ()).unwrap();
        assert!(started.elapsed() < Duration::from_secs(3));
        assert_eq!((outcome.completed, outcome.histogram.len()), (0, 20));
        assert!(
            outcome.histogram.min() > 290_000_000,
            "ages are at least the drain time"
        );
    }

    /// Connections that break, or that the server closes as announced, are opened again and the run goes on.
    #[test]
    fn connections_are_opened_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut bytes = [0; 1_024];
                let _ = stream.read(&mut bytes);
                let answer: &[u8] = if index % 2 == 0 {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                } else {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"
                };
                let _ = stream.write_all(answer);
            }
        });
        let outcome = run(
            &plan(target, "GET", "/", 0, 2, Pacing::Rate(200.0)),
            &mut (),
        )
        .unwrap();
        assert!(outcome.completed >= 5, "{outcome:?}");
        assert_eq!(
            outcome
                .failures
                .iter()
                .map(|(kind, _)| *kind)
                .collect::<Vec<_>>(),
            [Failure::ClosedEarly]
        );
    }

    /// Nobody listens: the failures say so, and the run still ends.
    #[test]
    fn a_refused_connection_is_a_connect_failure() {
        let (_held, target) = crate::poller::refusing_address();
        let mut plan = plan(target, "GET", "/", 0, 2, Pacing::Saturate);
        plan.drain = Duration::from_millis(50);
        let outcome = run(&plan, &mut ()).unwrap();
        assert_eq!(outcome.completed, 0);
        assert!(
            outcome
                .failures
                .iter()
                .any(|(kind, _)| *kind == Failure::Connect),
            "{:?}",
            outcome.failures
        );
    }
}
