use std::collections::HashMap;
use std::net::TcpListener;
use std::process::{Child, Command as Program, Stdio};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::Instant;
use turnpike_config::{RedisConfig, RedisPlaceConfig};
use turnpike_core::need::link::{ControlEnd, Ticket, WorkerEnd, link};
use turnpike_core::need::{Answer, Errand};
use turnpike_core::quota::{CountError, CountRequest, QuotaSettings, Quotas, Rate, Store};

use crate::errand::RedisDesk as _;
use crate::redis::{Backend, RedisErrandDesk, Target, unix_ms};

/// Whatever a test waits for has to happen within this time.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Waits until `happened` says yes.
pub(crate) async fn until(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + BOUND;
    while !happened().await {
        assert!(Instant::now() < until, "not within {BOUND:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A server of our own.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    program: &'static str,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Server {
    /// A `redis-server` with these arguments; `None` when there is no such program.
    pub(crate) fn redis(arguments: &[&str]) -> Option<Self> {
        let port = free_port();
        let mut all = vec!["--port".to_owned(), port.to_string()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Self::start("redis-server", port, all)
    }

    /// A `redis-server` that speaks TLS only.
    pub(crate) fn tls(folder: &std::path::Path) -> Option<Self> {
        let port = free_port();
        let file = |name: &str| folder.join(name).display().to_string();
        let all = [
            "--port",
            "0",
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &file("server.crt"),
            "--tls-key-file",
            &file("server.key"),
            "--tls-ca-cert-file",
            &file("ca.crt"),
            "--tls-auth-clients",
            "optional",
        ];
        Self::start("redis-server", port, all.map(str::to_owned).to_vec())
    }

    /// A `redis-sentinel` with this configuration.
    pub(crate) fn sentinel(configuration: &str) -> Option<Self> {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, format!("port {port}\n{configuration}")).expect("a file");
        let argument = file.display().to_string();
        Self::start_in("redis-sentinel", port, vec![argument], folder)
    }

    fn start(program: &'static str, port: u16, arguments: Vec<String>) -> Option<Self> {
        let mut all = arguments;
        for argument in ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"] {
            all.push(argument.to_owned());
        }
        Self::start_in(program, port, all, tempfile::tempdir().expect("a folder"))
    }

    fn start_in(
        program: &'static str,
        port: u16,
        arguments: Vec<String>,
        folder: TempDir,
    ) -> Option<Self> {
        let child = Self::spawn(program, &arguments, &folder)?;
        Some(Self {
            child,
            port,
            program,
            arguments,
            folder,
        })
    }

    fn spawn(program: &str, arguments: &[String], folder: &TempDir) -> Option<Child> {
        let child = Program::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(child),
            Err(error) => {
                println!("skipped: {program} cannot be started: {error}");
                None
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a signal to our own child");
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("our own child ends");
        self.child.wait().expect("our own child has ended");
    }

    /// The same server once more, after [`Server::kill`].
    pub(crate) fn restart(&mut self) {
        self.child =
            Self::spawn(self.program, &self.arguments, &self.folder).expect("the same program");
    }

    /// A connection of the test's own, as soon as the server takes one.
    pub(crate) async fn client(&self) -> MultiplexedConnection {
        self.client_as("").await
    }

    pub(crate) async fn client_as(&self, login: &str) -> MultiplexedConnection {
        let url = format!("redis://{login}127.0.0.1:{}", self.port);
        let client = redis::Client::open(url).expect("a URL");
        let until = Instant::now() + BOUND;
        loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Settings that lead to it, patient enough for a machine that is busy.
    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig {
            place: RedisPlaceConfig::Standalone {
                host: "127.0.0.1".to_owned(),
                port: self.port,
            },
            operation_timeout_ms: 5_000,
            ..RedisConfig::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A stopped process cannot be waited for; one that is killed is.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One process with one worker.
pub(crate) struct Process {
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) desk: Arc<RedisErrandDesk>,
    pub(crate) backend: Backend,
    worker: WorkerEnd,
    control: ControlEnd,
    next: Ticket,
    answers: HashMap<Ticket, Answer>,
}

impl Process {
    pub(crate) fn start(config: &RedisConfig) -> Self {
        Self::start_with(config, QuotaSettings::default())
    }

    pub(crate) fn start_with(config: &RedisConfig, settings: QuotaSettings) -> Self {
        let quotas = Arc::new(Quotas::new(QuotaSettings {
            store: Store::Redis,
            ..settings
        }));
        let target = Target::new(config).expect("a target");
        let backend = Backend::start("test", target, true);
        let desk = Arc::new(RedisErrandDesk::new(Some(backend.clone()), &quotas));
        let (worker, control) = link();
        Self {
            quotas,
            desk,
            backend,
            worker,
            control,
            next: 0,
            answers: HashMap::new(),
        }
    }

    pub(crate) async fn connected(&self) {
        until("a connection", async || self.backend.is_open()).await;
    }

    /// Sends errands in one turn.
    pub(crate) fn send(&mut self, errands: Vec<Errand>) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        for errand in errands {
            assert!(self.worker.send(self.next, errand), "the road is full");
            tickets.push(self.next);
            self.next += 1;
        }
        let mut turn = Vec::new();
        while let Some(errand) = self.control.receive() {
            turn.push(errand);
        }
        self.desk.take(turn, &self.control.replies());
        tickets
    }

    /// The answer to an errand, and that it is the only one.
    pub(crate) async fn answer(&mut self, ticket: Ticket) -> Answer {
        let until = Instant::now() + BOUND;
        loop {
            while let Some((ticket, answer)) = self.worker.receive() {
                assert!(
                    self.answers.insert(ticket, answer).is_none(),
                    "one answer for an errand"
                );
            }
            if let Some(answer) = self.answers.remove(&ticket) {
                return answer;
            }
            assert!(Instant::now() < until, "no answer within {BOUND:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn run(&mut self, errand: Errand) -> Answer {
        let tickets = self.send(vec![errand]);
        self.answer(tickets[0]).await
    }

    pub(crate) async fn count(&mut self, request: CountRequest) -> Result<Rate, CountError> {
        match self.run(Errand::Count(request)).await {
            Answer::Count(result) => result,
            other => panic!("expected a count, found {other:?}"),
        }
    }

    /// Counts again and again until the store counts.
    pub(crate) async fn counts_again(&mut self) -> Rate {
        let until = Instant::now() + BOUND;
        loop {
            match self.count(request("again")).await {
                Ok(rate) => return rate,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// One hit of a limit of 10 in a window of a minute.
pub(crate) fn request(key: &str) -> CountRequest {
    CountRequest {
        key: key.into(),
        weight: 1,
        limit: 10,
        reset_at_ms: unix_ms() + 60_000,
        subscription: "subscription".into(),
    }
}
