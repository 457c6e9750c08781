//! The gateway of the quickstart: a process of its own, started the way a user starts one.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The variable that decides how log lines look, in lower case: it is meant for both of us.
const LOG_FORMAT: &str = "gravitee_log_format";
/// Log lines that are shown again when the gateway ends by itself.
const LAST_LINES: usize = 20;
/// Longest log line that is forwarded in one piece.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Time to become ready.
const READY_TIME: Duration = Duration::from_secs(60);
/// Time to stop before it is killed.
const STOP_TIME: Duration = Duration::from_secs(20);
/// Time between two looks at the process.
const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// Time for the last log lines to arrive after the process ended.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);
/// Time for one health request.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// What the gateway is told.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pub(super) file: &'a Path,
    pub(super) port: u16,
    pub(super) node_port: u16,
    pub(super) token: &'a str,
    pub(super) gate_url: &'a str,
    pub(super) certificate: &'a Path,
}

impl Settings<'_> {
    fn variables(&self) -> [(&'static str, String); 8] {
        [
            ("gravitee_http_host", "127.0.0.1".to_owned()),
            ("gravitee_http_port", self.port.to_string()),
            ("gravitee_services_core_http_host", "127.0.0.1".to_owned()),
            (
                "gravitee_services_core_http_port",
                self.node_port.to_string(),
            ),
            ("gravitee_cloud_token", self.token.to_owned()),
            ("gravitee_cloud_gate_url", self.gate_url.to_owned()),
            (
                "gravitee_cloud_client_ssl_truststore_type",
                "PEM".to_owned(),
            ),
            (
                "gravitee_cloud_client_ssl_truststore_path",
                self.certificate.display().to_string(),
            ),
        ]
    }
}

/// A gateway that was started. It does not outlive this value.
#[derive(Debug)]
pub(super) struct Gateway {
    child: Child,
    node_port: u16,
    last_lines: LastLines,
    forwarders: Vec<JoinHandle<()>>,
}

type LastLines = Arc<Mutex<VecDeque<String>>>;

impl Gateway {
    /// Starts this very program as `run`. Variables of the caller that would change the gateway are not passed on.
    pub(super) fn start(settings: &Settings<'_>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(settings.file);
        for (name, _) in std::env::vars_os() {
            let lower = name.to_string_lossy().to_ascii_lowercase();
            if lower.starts_with("gravitee") && lower != LOG_FORMAT {
                command.env_remove(name);
            }
        }
        command.envs(settings.variables());
        Self::spawn(command, settings.node_port)
    }

    fn spawn(mut command: Command, node_port: u16) -> anyhow::Result<Self> {
        // A group of its own: Ctrl-C reaches us alone, and we stop things in order.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .context("the gateway could not be started")?;
        let last_lines = LastLines::default();
        let forwarders = [
            child
                .stdout
                .take()
                .map(|stream| forward(stream, &last_lines)),
            child
                .stderr
                .take()
                .map(|stream| forward(stream, &last_lines)),
        ];
        Ok(Self {
            child,
            node_port,
            last_lines,
            forwarders: forwarders.into_iter().flatten().collect(),
        })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it serves and has all definitions.
    pub(super) async fn until_ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < READY_TIME {
            if let Some(status) = self.exited()? {
                bail!(self.obituary(status).await);
            }
            if is_ready(self.node_port).await {
                return Ok(());
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        bail!(
            "the gateway was not ready after {} s; its log lines above say why",
            READY_TIME.as_secs()
        )
    }

    /// Done when it ends by itself, with what it said last.
    pub(super) async fn until_death(&mut self) -> anyhow::Error {
        loop {
            match self.exited() {
                Ok(None) => tokio::time::sleep(LOOK_PERIOD).await,
                Ok(Some(status)) => return anyhow::anyhow!(self.obituary(status).await),
                Err(error) => return error,
            }
        }
    }

    /// Asks it to stop and waits; kills it when it does not.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if self.exited()?.is_some() {
            return Ok(());
        }
        // Not reaped yet, so the id is still this child's.
        let pid = i32::try_from(self.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("the gateway has no process id")?;
        kill_process(pid, Signal::TERM).context("the gateway could not be asked to stop")?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIME {
            match self.exited()? {
                None => tokio::time::sleep(LOOK_PERIOD).await,
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!(self.obituary(status).await),
            }
        }
        self.child
            .kill()
            .context("the gateway could not be killed")?;
        self.child
            .wait()
            .context("the end of the gateway was not seen")?;
        bail!(
            "the gateway did not stop within {} s and was killed",
            STOP_TIME.as_secs()
        )
    }

    fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .context("the gateway's process cannot be looked at")
    }

    async fn obituary(&self, status: ExitStatus) -> String {
        // What it said last may still be in the pipes.
        let ended = Instant::now();
        while ended.elapsed() < LAST_WORDS_TIME
            && !self.forwarders.iter().all(JoinHandle::is_finished)
        {
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        let lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut text = format!("the gateway ended with {status}");
        if !lines.is_empty() {
            text.push_str("; its last log lines:");
        }
        for line in lines.iter() {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Repeats the lines of a stream on standard error. The thread ends with the stream, that is with the gateway.
fn forward(stream: impl Read + Send + 'static, last_lines: &LastLines) -> JoinHandle<()> {
    let last_lines = Arc::clone(last_lines);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
            {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            eprintln!("gateway | {text}");
            let mut lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LAST_LINES {
                lines.pop_front();
            }
            lines.push_back(text);
        }
    })
}

/// Whether the node API says that the listeners are open and the first synchronisation is done.
async fn is_ready(port: u16) -> bool {
    matches!(
        tokio::time::timeout(PROBE_TIME, probe(port)).await,
        Ok(Ok(true))
    )
}

async fn probe(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = "GET /_node/health?probes=http-server,sync-process HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    // "HTTP/1.1 200" is all that matters.
    let mut start = [0_u8; 12];
    stream.read_exact(&mut start).await?;
    Ok(start.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, node_port: u16) -> Gateway {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        Gateway::spawn(command, node_port).expect("started")
    }

    #[tokio::test]
    async fn a_gateway_that_dies_is_reported_with_its_code_and_last_words() {
        let mut gateway = shell("echo one; echo two >&2; exit 3", 1);
        let error = gateway.until_ready().await.expect_err("dead").to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(
            error.contains("\n  one") && error.contains("\n  two"),
            "{error}"
        );
        let again = gateway.until_death().await.to_string();
        assert!(again.contains("exit status: 3"), "{again}");
        gateway.stop().await.expect("already gone");
    }

    #[tokio::test]
    async fn a_gateway_is_ready_when_its_node_api_says_so_and_stops_when_asked() {
        let node = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bound");
        let port = node.local_addr().expect("an address").port();
        tokio::spawn(async move {
            for status in ["500 Internal Server Error", "200 OK"] {
                let (mut stream, _) = node.accept().await.expect("a connection");
                let mut head = [0_u8; 1024];
                let read = stream.read(&mut head).await.expect("a request");
                assert!(
                    head[..read].starts_with(b"GET /_node/health?probes=http-server,sync-process ")
                );
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("answered");
            }
        });
        let mut gateway = shell(
            "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done",
            port,
        );
        while gateway.last_lines.lock().expect("no panic").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        gateway.until_ready().await.expect("ready");
        gateway.stop().await.expect("stopped");
    }

    #[tokio::test]
    async fn a_gateway_does_not_outlive_its_owner() {
        let gateway = shell("sleep 60", 1);
        let pid = Pid::from_raw(i32::try_from(gateway.id()).expect("an id")).expect("an id");
        drop(gateway);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
