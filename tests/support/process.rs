//! A child process whose output is kept and which never outlives its test.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::wait;

/// The binary under test.
pub(crate) fn turnpike() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    for (name, _) in std::env::vars_os() {
        if name
            .to_string_lossy()
            .to_ascii_lowercase()
            .starts_with("gravitee")
        {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").env_remove("RUST_LOG");
    command
}

#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn spawn(name: &str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} could not be started: {error}"));
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![
            keep(child.stdout.take().expect("it is piped"), &stdout),
            keep(child.stderr.take().expect("it is piped"), &stderr),
        ];
        Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
            readers,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout
            .lock()
            .expect("the reader does not panic")
            .clone()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr
            .lock()
            .expect("the reader does not panic")
            .clone()
    }

    /// Both outputs.
    pub(crate) fn output(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr())
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.id())])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "SIG{name} was not sent to {}",
            self.name
        );
    }

    /// Its exit status, if it has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits for its end and for the rest of its output.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        let status = wait::until(&format!("end of {name}"), limit, || self.exited());
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id()))
            .expect("the process runs")
            .count()
    }

    /// Resident memory, bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))
            .expect("the process runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a process has resident memory");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("kibibytes");
        kib * 1_024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let status = self.exited();
        self.kill();
        if std::thread::panicking() {
            eprintln!(
                "--- {} ({status:?})\n{}---",
                self.name,
                tail(&self.output())
            );
        }
    }
}

/// The last lines, enough to see what happened.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut tail = lines[lines.len().saturating_sub(60)..].join("\n");
    tail.push('\n');
    tail
}

fn keep(stream: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            into.lock()
                .expect("nobody panics while holding it")
                .push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
