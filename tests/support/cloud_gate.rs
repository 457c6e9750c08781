//! `turnpike cloud-gate` as a process, over HTTPS with its generated certificate.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::gateway::Start;
use super::ports;
use super::process::{Process, turnpike};
use super::wait::{self, PATIENCE};

/// A Cloud Gate and its folders; the process may be killed and started again.
#[derive(Debug)]
pub(crate) struct CloudGate {
    process: Option<Process>,
    port: u16,
    folder: TempDir,
}

impl CloudGate {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("apis")).expect("a folder");
        let mut gate = Self {
            process: None,
            port: ports::free(),
            folder,
        };
        gate.restart();
        gate
    }

    /// Starts it again on its port, with what it had kept.
    pub(crate) fn restart(&mut self) {
        let mut command = turnpike();
        command
            .arg("cloud-gate")
            .arg("--definitions")
            .arg(self.definitions())
            .arg("--data")
            .arg(self.data())
            .args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        let mut process = Process::spawn("cloud gate", command);
        wait::until("the Cloud Gate listens", PATIENCE, || {
            assert!(process.exited().is_none(), "the Cloud Gate ended");
            process.stdout().contains("listens on").then_some(())
        });
        self.process = Some(process);
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    pub(crate) fn definitions(&self) -> PathBuf {
        self.folder.path().join("apis")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Puts a file into the folder in one step.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(&new, self.definitions().join(name)).expect("a file");
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.definitions().join(name)).expect("the file is there");
    }

    /// A token, issued by `turnpike token issue`.
    pub(crate) fn token(&self, days: &str) -> String {
        let issued = turnpike()
            .args(["token", "issue", "--days", days, "--data"])
            .arg(self.data())
            .output()
            .expect("it runs");
        assert!(
            issued.status.success(),
            "no token: {}",
            String::from_utf8_lossy(&issued.stderr)
        );
        String::from_utf8(issued.stdout)
            .expect("a token is text")
            .trim()
            .to_owned()
    }

    /// A start of a gateway that is connected to it.
    pub(crate) fn gateway(&self) -> Start {
        self.connect(Start::new(), &self.token("1"))
    }

    /// Connects a gateway to it with any token.
    pub(crate) fn connect(&self, start: Start, token: &str) -> Start {
        start
            .set("cloud.token", token)
            .set("cloud.gate.url", &self.url())
            .set("cloud.client.ssl.truststore.type", "PEM")
            .set(
                "cloud.client.ssl.truststore.path",
                &self.data().join("certificate.pem").display().to_string(),
            )
    }

    /// All reports on file; fails the test when a line is not JSON.
    pub(crate) fn reports(&self) -> Vec<Value> {
        reports_in(&self.data().join("reports"))
    }
}

/// The reports of a folder.
pub(crate) fn reports_in(folder: &Path) -> Vec<Value> {
    let mut reports = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "ndjson")
        {
            let text = std::fs::read_to_string(&path).expect("reports are text");
            // A line that is being written is not there yet.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            for line in whole.lines() {
                reports.push(
                    serde_json::from_str(line)
                        .unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display())),
                );
            }
        }
    }
    reports
}
