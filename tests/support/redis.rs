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

/// Sends a command, and reads the first line of the answer.
fn tell(stream: &mut BufReader<TcpStream>, words: &[&str]) -> Option<String> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.get_mut().write_all(text.as_bytes()).ok()?;
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
