//! Real Redis servers and sentinels, each in a folder of its own. A machine without them skips the tests that need them, and says so.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::ports;
use super::process::Process;
use super::wait::{self, PATIENCE};

/// Whether the programs are installed; says so once when they are not.
pub(crate) fn is_installed() -> bool {
    let found = ["redis-server", "redis-sentinel"].iter().all(|program| {
        std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        })
    });
    if !found {
        println!("skipped: redis-server and redis-sentinel are not installed");
    }
    found
}

/// A `redis-server` or `redis-sentinel`.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) port: u16,
    folder: TempDir,
    program: &'static str,
    process: Process,
}

impl Redis {
    /// A server on a free port; `settings` are lines of its configuration.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::run("redis-server", ports::free(), settings)
    }

    /// The same, which speaks TLS on a second port, with this certificate and its key, both PEM.
    pub(crate) fn start_tls(certificate: &str, key: &str, settings: &[&str]) -> (Self, u16) {
        let files = tempfile::tempdir().expect("a folder");
        let path = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let tls_port = ports::free();
        let mut lines = vec![
            format!("tls-port {tls_port}"),
            format!("tls-cert-file {}", path("server.crt", certificate)),
            format!("tls-key-file {}", path("server.key", key)),
            format!("tls-ca-cert-file {}", path("ca.crt", certificate)),
            "tls-auth-clients no".to_owned(),
        ];
        lines.extend(settings.iter().map(|line| (*line).to_owned()));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        // It has read its files by the time it answers.
        (Self::start(&lines), tls_port)
    }

    /// A sentinel that watches `master` under the name `primary`, with a quorum of one and half a second of patience.
    pub(crate) fn sentinel(master: u16, settings: &[&str]) -> Self {
        let monitor = format!("sentinel monitor primary 127.0.0.1 {master} 1");
        let mut lines = vec![
            &*monitor,
            "sentinel down-after-milliseconds primary 500",
            "sentinel failover-timeout primary 2000",
        ];
        lines.extend_from_slice(settings);
        Self::run("redis-sentinel", ports::free(), &lines)
    }

    fn run(program: &'static str, port: u16, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nprotected-mode no\n",
            folder.path().display()
        );
        if program == "redis-server" {
            text.push_str("save \"\"\nappendonly no\n");
        }
        for line in settings {
            text.push_str(line);
            text.push('\n');
        }
        std::fs::write(folder.path().join("redis.conf"), text).expect("its configuration");
        let process = spawn(program, folder.path());
        let redis = Self {
            port,
            folder,
            program,
            process,
        };
        redis.answers();
        redis
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, empty.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(self.program, self.folder.path());
        self.answers();
    }

    /// `SIGSTOP` or `SIGCONT`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    fn answers(&self) {
        wait::until(
            &format!("{} on port {}", self.program, self.port),
            PATIENCE,
            || {
                let answer = self.try_command(&["PING"])?;
                (answer.starts_with("+PONG") || answer.starts_with("-NOAUTH")).then_some(())
            },
        );
    }

    /// Sends a command and returns the raw first line of the answer, with a bulk text in place of its length.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        wait::until(&format!("an answer to {words:?}"), PATIENCE, || {
            self.try_command(words)
        })
    }

    /// The same on a connection that has given this password; it must be right.
    pub(crate) fn command_as(&self, password: &str, words: &[&str]) -> String {
        wait::until(&format!("an answer to {words:?}"), PATIENCE, || {
            let mut stream = self.open()?;
            let welcome = tell(&mut stream, &["AUTH", password])?;
            assert_eq!(welcome, "+OK");
            tell(&mut stream, words)
        })
    }

    /// The texts of an answer that is a list of them.
    fn texts_as(&self, password: &str, words: &[&str]) -> Vec<String> {
        wait::until(&format!("an answer to {words:?}"), PATIENCE, || {
            let mut stream = self.open()?;
            tell(&mut stream, &["AUTH", password])?;
            let count: usize = tell(&mut stream, words)?.strip_prefix('*')?.parse().ok()?;
            (0..count).map(|_| answer(&mut stream)).collect()
        })
    }

    /// Sends a command whose answer takes long, and does not wait for it.
    pub(crate) fn begin(&self, words: &'static [&'static str]) {
        let mut stream = self.open().expect("it accepts");
        std::thread::spawn(move || tell(&mut stream, words));
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        tell(&mut self.open()?, words)
    }

    fn open(&self) -> Option<BufReader<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        Some(BufReader::new(stream))
    }
}

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// Three primaries without replicas, which share the slots evenly. One that is away takes only its own slots with it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let started: Vec<(Redis, u16)> = (0..3)
            .map(|_| {
                let bus = ports::free();
                let node = Redis::start(&[
                    "cluster-enabled yes",
                    "cluster-require-full-coverage no",
                    "cluster-node-timeout 1000",
                    &format!("cluster-port {bus}"),
                ]);
                (node, bus)
            })
            .collect();
        let share = SLOTS / 3;
        for (index, (node, _)) in (0_u16..).zip(&started) {
            let first = index * share;
            let last = if index == 2 { SLOTS } else { first + share } - 1;
            let words = [first.to_string(), last.to_string()];
            let added = node.command(&["CLUSTER", "ADDSLOTSRANGE", &words[0], &words[1]]);
            assert_eq!(added, "+OK");
            // Equal epochs would have to be told apart first.
            let epoch = (index + 1).to_string();
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        }
        for (node, bus) in &started[1..] {
            let (port, bus) = (node.port.to_string(), bus.to_string());
            let met = started[0]
                .0
                .command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
            assert_eq!(met, "+OK");
        }
        let nodes = started.into_iter().map(|(node, _)| node).collect();
        let cluster = Self { nodes };
        wait::until("a cluster", PATIENCE, || {
            let all_know = |node: &Redis| {
                node.command(&["CLUSTER", "SLOTS"]) == "*3"
                    && node.command(&["CLUSTER", "INFO"]) == "cluster_state:ok"
            };
            cluster.nodes.iter().all(all_know).then_some(())
        });
        cluster
    }

    /// The slot of a key.
    pub(crate) fn slot(&self, key: &str) -> String {
        let slot = self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]);
        slot.trim_start_matches(':').to_owned()
    }

    /// Which node has a key at the start.
    pub(crate) fn owner(&self, key: &str) -> usize {
        let slot: u16 = self.slot(key).parse().expect("a slot");
        usize::from(slot / (SLOTS / 3)).min(2)
    }
}

/// Password of the servers of [`Watched`].
pub(crate) const DATA_PASSWORD: &str = "data-secret";
/// Password of its sentinels.
pub(crate) const SENTINEL_PASSWORD: &str = "sentinel-secret";

/// A primary with a replica, both with a password, watched by sentinels with another one under the name `primary`.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) servers: Vec<Redis>,
    pub(crate) sentinels: Vec<Redis>,
    /// Index of the primary.
    pub(crate) primary: usize,
}

impl Watched {
    /// So many sentinels; returns when each knows the replica.
    pub(crate) fn start(sentinels: usize) -> Self {
        let (required, offered) = (
            format!("requirepass {DATA_PASSWORD}"),
            format!("masterauth {DATA_PASSWORD}"),
        );
        let at_once = "repl-diskless-sync-delay 0";
        let primary = Redis::start(&[&required, &offered, at_once]);
        let replica_of = format!("replicaof 127.0.0.1 {}", primary.port);
        let replica = Redis::start(&[&required, &offered, at_once, &replica_of]);
        let sentinels = (0..sentinels)
            .map(|_| {
                Redis::sentinel(
                    primary.port,
                    &[
                        // Nobody but the test moves the primary, however busy the machine is.
                        "sentinel down-after-milliseconds primary 20000",
                        &format!("requirepass {SENTINEL_PASSWORD}"),
                        &format!("sentinel sentinel-pass {SENTINEL_PASSWORD}"),
                        &format!("sentinel auth-pass primary {DATA_PASSWORD}"),
                    ],
                )
            })
            .collect();
        let watched = Self {
            servers: vec![primary, replica],
            sentinels,
            primary: 0,
        };
        watched.until_replicated();
        for sentinel in &watched.sentinels {
            wait::until("the replica is known to the sentinel", PATIENCE, || {
                let words = ["SENTINEL", "REPLICAS", "primary"];
                (sentinel.command_as(SENTINEL_PASSWORD, &words) == "*1").then_some(())
            });
        }
        watched
    }

    fn until_replicated(&self) {
        let primary = &self.servers[self.primary];
        wait::until("the replica is in step", PATIENCE, || {
            let copies = primary.command_as(DATA_PASSWORD, &["WAIT", "1", "1000"]);
            (copies == ":1").then_some(())
        });
    }

    /// Lets a sentinel make the replica the primary, and returns when it is and the former primary follows it.
    pub(crate) fn fail_over(&mut self, sentinel: usize) {
        self.until_replicated();
        let sentinel = &self.sentinels[sentinel];
        let (former, next) = (&self.servers[self.primary], 1 - self.primary);
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "primary"];
        let names = |server: &Redis| {
            let named = sentinel.texts_as(SENTINEL_PASSWORD, &words);
            (named.get(1) == Some(&server.port.to_string())).then_some(())
        };
        wait::until("the sentinel knows the primary", PATIENCE, || names(former));
        wait::until("it begins", PATIENCE, || {
            let failover = ["SENTINEL", "FAILOVER", "primary"];
            (sentinel.command_as(SENTINEL_PASSWORD, &failover) == "+OK").then_some(())
        });
        wait::until("another primary", PATIENCE, || names(&self.servers[next]));
        // The sentinel would do so, some seconds later.
        let port = self.servers[next].port.to_string();
        former.command_as(DATA_PASSWORD, &["REPLICAOF", "127.0.0.1", &port]);
        self.primary = next;
    }
}

/// Sends a command, and reads the first line of the answer.
fn tell(stream: &mut BufReader<TcpStream>, words: &[&str]) -> Option<String> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.get_mut().write_all(text.as_bytes()).ok()?;
    answer(stream)
}

fn answer(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    if line.starts_with('$') && !line.starts_with("$-1") {
        line.clear();
        stream.read_line(&mut line).ok()?;
    }
    Some(line.trim_end().to_owned())
}

fn spawn(program: &'static str, folder: &Path) -> Process {
    let mut command = Command::new(program);
    command.arg(folder.join("redis.conf")).current_dir(folder);
    Process::spawn(program, command)
}
