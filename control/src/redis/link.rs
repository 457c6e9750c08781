//! One connection, kept up by a task of its own.
//!
//! ```text
//!   connect ──▶ open ──(connection ends, READONLY, another primary)──▶ connect
//!                │  ▲
//!     3 time-outs│  │a probe is answered
//!                ▼  │
//!             suspended ──(1 s without an answer, another primary)──▶ connect
//! ```
//! Commands run while it is open. While it is suspended they fail at once, and one probe at a time asks whether the server is back: so a
//! server that hangs costs three operation time-outs, not one per request.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Pipeline, ServerError, Value};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use turnpike_core::quota::CountError;

use super::command::Command;
use super::connect::{Address, ConnectError, Place, Session, Target};
use super::failures::Failures;
use super::script::SOURCES;
use super::within;

/// Operations that time out in a row until the server is taken for hung.
const TIMEOUTS_MAX: u32 = 3;
/// A probe waits this long for its answer.
const PROBE_MAX: Duration = Duration::from_millis(200);
/// Pause between probes.
const PROBE_PAUSE: Duration = Duration::from_millis(50);
/// A server that answers no probe for so long is connected to anew.
const PROBES_FOR: Duration = Duration::from_secs(1);
/// How often an open connection is looked after: a probe, and where the primary is.
const CARE: Duration = Duration::from_millis(500);
/// First pause between attempts to connect, milliseconds; each next one is twice as long …
const BACKOFF_MS: u64 = 10;
/// … up to 2^7 times: a server that comes back is found within two seconds.
const BACKOFF_DOUBLINGS: u32 = 7;
/// A connection that lived for so long was a good one: the next attempt comes at once.
const GOOD_LIFE: Duration = Duration::from_secs(1);

/// What became of a link so far.
#[derive(Debug, Default)]
pub struct LinkStats {
    /// 1 while there is a connection.
    pub connected: AtomicBool,
    /// 1 while the server is taken for hung.
    pub suspended: AtomicBool,
    /// Connections made.
    pub connects: AtomicU64,
    /// Attempts to connect that failed.
    pub connect_failures: AtomicU64,
    /// Times that the server was taken for hung.
    pub suspensions: AtomicU64,
    /// Commands that failed for whatever reason, those that were not sent included.
    pub failures: AtomicU64,
    /// Commands that were not answered in time.
    pub timeouts: AtomicU64,
}

#[derive(Debug)]
struct Open {
    connection: MultiplexedConnection,
    scripts: Arc<[String]>,
    generation: u64,
}

#[derive(Debug)]
struct Inner {
    name: &'static str,
    target: Target,
    open: Mutex<Option<Open>>,
    generation: AtomicU64,
    timeouts: AtomicU32,
    /// The generation that must be replaced.
    stale: AtomicU64,
    /// Something happened that the task should look at.
    attention: Notify,
    stats: Arc<LinkStats>,
    log: Failures,
    connect_log: Failures,
}

#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection to one server, or to the primary that sentinels name. Ends when its last clone is dropped.
#[derive(Debug, Clone)]
pub struct Link {
    inner: Arc<Inner>,
    _task: Arc<Task>,
}

impl Link {
    /// A link that begins to connect on the current runtime. `name` says in logs what it is for.
    pub fn start(name: &'static str, target: Target, with_scripts: bool) -> Self {
        let inner = Arc::new(Inner {
            name,
            target,
            open: Mutex::new(None),
            generation: AtomicU64::new(0),
            timeouts: AtomicU32::new(0),
            stale: AtomicU64::new(0),
            attention: Notify::new(),
            stats: Arc::new(LinkStats::default()),
            log: Failures::default(),
            connect_log: Failures::default(),
        });
        let scripts = if with_scripts { SOURCES } else { &[] };
        let task = tokio::spawn(keep_up(Arc::clone(&inner), scripts));
        Self {
            inner,
            _task: Arc::new(Task(task.abort_handle())),
        }
    }

    /// What became of it so far.
    pub fn stats(&self) -> Arc<LinkStats> {
        Arc::clone(&self.inner.stats)
    }

    /// Whether commands would be sent.
    pub fn is_open(&self) -> bool {
        self.inner.stats.connected.load(Ordering::Relaxed)
            && !self.inner.stats.suspended.load(Ordering::Relaxed)
    }

    /// Runs commands, written in one go: an answer for each, in order, at the latest when `limit` has passed.
    pub async fn run(
        &self,
        commands: &[Command],
        limit: Duration,
    ) -> Vec<Result<Value, CountError>> {
        self.run_between(commands, limit, false).await
    }

    /// As [`Link::run`]; `asking` tells a node of a cluster that it is asked about a slot that it is taking over.
    pub(super) async fn run_between(
        &self,
        commands: &[Command],
        limit: Duration,
        asking: bool,
    ) -> Vec<Result<Value, CountError>> {
        let deadline = Instant::now() + limit;
        let mut results = self.attempt(commands, limit, false, asking).await;
        // The server has forgotten our scripts: they are sent in full.
        let unknown: Vec<usize> = results
            .iter()
            .enumerate()
            .filter(|(_, result)| is_unknown_script(result))
            .map(|(index, _)| index)
            .collect();
        if !unknown.is_empty() {
            let again: Vec<Command> = unknown
                .iter()
                .map(|index| commands[*index].clone())
                .collect();
            let left = deadline.saturating_duration_since(Instant::now());
            let second = self.attempt(&again, left, true, asking).await;
            for (index, result) in unknown.into_iter().zip(second) {
                results[index] = result;
            }
        }
        results
    }

    async fn attempt(
        &self,
        commands: &[Command],
        limit: Duration,
        in_full: bool,
        asking: bool,
    ) -> Vec<Result<Value, CountError>> {
        let inner = &self.inner;
        let (mut connection, scripts, generation) = match inner.usable() {
            Ok(usable) => usable,
            Err(error) => return inner.all_failed(commands.len(), &error),
        };
        let names: &[String] = if in_full { &[] } else { &scripts };
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            if asking {
                pipeline.cmd("ASKING");
            }
            command.pack(&mut pipeline, names);
        }
        let count = pipeline.len();
        let sent = connection.req_packed_commands(&pipeline, 0, count);
        let values = match within(limit, sent).await {
            None => {
                inner.timed_out(generation);
                inner
                    .stats
                    .timeouts
                    .fetch_add(commands.len() as u64, Ordering::Relaxed);
                let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                return inner.all_failed(commands.len(), &CountError::Timeout(limit_ms));
            }
            Some(Err(error)) => {
                let error = if error.is_unrecoverable_error() {
                    CountError::NotConnected
                } else {
                    CountError::Store(error.to_string().into())
                };
                return inner.all_failed(commands.len(), &error);
            }
            Some(Ok(values)) => values,
        };
        inner.answered(generation);
        let skipped = usize::from(asking);
        let results: Vec<_> = values
            .into_iter()
            .skip(skipped)
            .step_by(1 + skipped)
            .map(|value| match value {
                Value::ServerError(error) => {
                    inner.refused(&error, generation);
                    Err(CountError::Store(server_error(&error).into()))
                }
                value => Ok(value),
            })
            .collect();
        if results.len() == commands.len() {
            return results;
        }
        inner.all_failed(commands.len(), &CountError::NotConnected)
    }

    /// An operation that the caller itself did not wait for any longer counts as a time-out.
    pub(super) fn note_timeout(&self) {
        let generation = self.inner.generation.load(Ordering::Relaxed);
        self.inner.timed_out(generation);
    }
}

/// `MOVED 1 host:port` and the like, as the server wrote it.
fn server_error(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

fn is_unknown_script(result: &Result<Value, CountError>) -> bool {
    matches!(result, Err(CountError::Store(text)) if text.starts_with("NOSCRIPT"))
}

impl Inner {
    fn opened(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) -> Result<(MultiplexedConnection, Arc<[String]>, u64), CountError> {
        if self.stats.suspended.load(Ordering::Relaxed) {
            return Err(CountError::Suspended);
        }
        match &*self.opened() {
            Some(open) => Ok((
                open.connection.clone(),
                Arc::clone(&open.scripts),
                open.generation,
            )),
            None => Err(CountError::NotConnected),
        }
    }

    fn all_failed(&self, count: usize, error: &CountError) -> Vec<Result<Value, CountError>> {
        self.failed(count, error);
        (0..count).map(|_| Err(error.clone())).collect()
    }

    fn failed(&self, count: usize, error: &CountError) {
        self.stats
            .failures
            .fetch_add(count as u64, Ordering::Relaxed);
        if let Some(number) = self.log.note() {
            tracing::warn!(
                redis = self.name,
                failures = number,
                "an operation on Redis failed: {error}"
            );
        }
    }

    fn answered(&self, generation: u64) {
        if generation == self.generation.load(Ordering::Relaxed) {
            self.timeouts.store(0, Ordering::Relaxed);
        }
    }

    fn timed_out(&self, generation: u64) {
        if generation != self.generation.load(Ordering::Relaxed) {
            return;
        }
        let timeouts = self.timeouts.fetch_add(1, Ordering::Relaxed) + 1;
        if timeouts >= TIMEOUTS_MAX && !self.stats.suspended.swap(true, Ordering::Relaxed) {
            self.stats.suspensions.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                redis = self.name,
                "Redis does not answer: it is not asked until it answers a probe"
            );
            self.attention.notify_one();
        }
    }

    /// Errors that say that this server is the wrong one, or not ready, lead to a new connection.
    fn refused(&self, error: &ServerError, generation: u64) {
        // The cluster follows redirections: nothing has failed.
        let is_redirection = self.target.is_cluster_node && matches!(error.code(), "MOVED" | "ASK");
        if error.code() == "NOSCRIPT" || is_redirection {
            return;
        }
        self.failed(1, &CountError::Store(server_error(error).into()));
        let is_wrong = match error.code() {
            "READONLY" | "MASTERDOWN" | "LOADING" => true,
            // The node may still serve other slots, and no connection to it would be a better one.
            "CLUSTERDOWN" => !self.target.is_cluster_node,
            _ => false,
        };
        if is_wrong {
            self.renew(generation);
        }
    }

    fn renew(&self, generation: u64) {
        self.stale.fetch_max(generation, Ordering::Relaxed);
        self.attention.notify_one();
    }

    fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed) >= self.generation.load(Ordering::Relaxed)
    }

    fn publish(&self, session: &mut Session) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        *self.opened() = Some(Open {
            connection: session.connection.clone(),
            scripts: std::mem::take(&mut session.scripts).into(),
            generation,
        });
        self.timeouts.store(0, Ordering::Relaxed);
        self.stats.suspended.store(false, Ordering::Relaxed);
        self.stats.connected.store(true, Ordering::Relaxed);
        self.stats.connects.fetch_add(1, Ordering::Relaxed);
    }

    fn unpublish(&self) {
        *self.opened() = None;
        self.stats.connected.store(false, Ordering::Relaxed);
        self.stats.suspended.store(false, Ordering::Relaxed);
    }

    async fn probe(&self, session: &mut Session) -> bool {
        let ping = redis::cmd("PING");
        let asked = session.connection.req_packed_command(&ping);
        match within(PROBE_MAX, asked).await {
            Some(Ok(Value::ServerError(error))) => {
                self.refused(&error, self.generation.load(Ordering::Relaxed));
                true
            }
            Some(answer) => answer.is_ok(),
            None => false,
        }
    }

    /// Whether the sentinels name another primary by now.
    async fn has_moved(&self, address: &Address) -> bool {
        if !matches!(self.target.place, Place::Sentinel { .. }) {
            return false;
        }
        match self.target.primary().await {
            Ok(primary) => primary != *address,
            // As long as it works, a connection outlives its sentinels.
            Err(_) => false,
        }
    }

    /// Looks after an open connection until it has to be replaced; says why.
    async fn look_after(&self, session: &mut Session) -> &'static str {
        let address = session.address.clone();
        let mut care = tokio::time::interval(CARE);
        care.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut session.driver.0 => return "the connection has ended",
                () = self.attention.notified() => {}
                _ = care.tick() => {
                    let has_moved = tokio::select! {
                        _ = &mut session.driver.0 => return "the connection has ended",
                        has_moved = self.has_moved(&address) => has_moved,
                    };
                    if has_moved {
                        return "the sentinels name another primary";
                    }
                    if !self.probe(session).await {
                        self.timed_out(self.generation.load(Ordering::Relaxed));
                    }
                }
            }
            if self.is_stale() {
                return "the server refuses to count";
            }
            if self.stats.suspended.load(Ordering::Relaxed)
                && let Some(why) = self.suspended(session, &address).await
            {
                return why;
            }
        }
    }

    /// Asks a hung server until it answers (`None`), or has to be replaced.
    async fn suspended(&self, session: &mut Session, address: &Address) -> Option<&'static str> {
        let until = Instant::now() + PROBES_FOR;
        loop {
            if session.driver.0.is_finished() {
                return Some("the connection has ended");
            }
            if self.probe(session).await {
                self.timeouts.store(0, Ordering::Relaxed);
                self.stats.suspended.store(false, Ordering::Relaxed);
                tracing::info!(redis = self.name, "Redis answers again");
                return None;
            }
            if self.has_moved(address).await {
                return Some("the sentinels name another primary");
            }
            if Instant::now() >= until {
                return Some("the server does not answer");
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }

    fn cannot_connect(&self, error: &ConnectError) {
        self.stats.connect_failures.fetch_add(1, Ordering::Relaxed);
        if let Some(number) = self.connect_log.note() {
            tracing::warn!(
                redis = self.name,
                failures = number,
                "no connection to Redis ({}): {error}",
                self.target
            );
        }
    }
}

async fn keep_up(inner: Arc<Inner>, scripts: &'static [&'static str]) {
    let mut failures = 0_u32;
    loop {
        match inner.target.connect(scripts).await {
            Ok(mut session) => {
                let since = Instant::now();
                let (host, port) = &session.address;
                tracing::info!(redis = inner.name, "connected to Redis at {host}:{port}");
                inner.publish(&mut session);
                let why = inner.look_after(&mut session).await;
                inner.unpublish();
                drop(session);
                tracing::warn!(
                    redis = inner.name,
                    "a new connection to Redis is made: {why}"
                );
                if since.elapsed() >= GOOD_LIFE {
                    failures = 0;
                    continue;
                }
            }
            Err(error) => inner.cannot_connect(&error),
        }
        let pause_ms = BACKOFF_MS << failures.min(BACKOFF_DOUBLINGS);
        failures = failures.saturating_add(1);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}
