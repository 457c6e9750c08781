//! Child processes that do not outlive the comparison: pinned, with a priority, with a log, ended by their id.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{
    Pid, Signal, getppid, kill_process, set_parent_process_death_signal, setsid,
};

use crate::cli::PinOptions;
use crate::host;

/// Time that a child has to end after a polite signal.
const POLITE: Duration = Duration::from_secs(5);
/// Pause between two looks at a child.
const POLL: Duration = Duration::from_millis(20);
/// Bytes of a child's log that an error message quotes.
const LOG_QUOTE_BYTES: usize = 2_000;

/// Becomes the given program, on one CPU and with a nice value, in a session of its own.
///
/// This is a program between the harness and its children because affinity, priority and the death signal must be in place before
/// the child's first thread starts, and because nothing but the child itself should get them.
pub(crate) fn pin(options: &PinOptions) -> anyhow::Result<()> {
    // The kernel ends the child when the harness is gone, however it went: Ctrl-C, SIGKILL or a panic.
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != options.parent) {
        bail!("the parent process is gone");
    }
    // A session of its own is a scheduler group of its own, whose priority can then be set.
    setsid().context("cannot begin a session")?;
    host::pin_to_cpu(options.cpu).with_context(|| format!("cannot stay on cpu {}", options.cpu))?;
    if let Err(error) = host::set_nice(options.nice) {
        eprintln!("turnpike-perf: nice {} was refused: {error}", options.nice);
    }
    let (program, arguments) = options
        .program
        .split_first()
        .context("no program was given")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}

/// Where and how children run.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    pub(crate) cpu: usize,
    pub(crate) nice: i32,
}

/// A child process; ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output in `logs/<name>.log`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(String, String)],
        placement: &Placement,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let child = Command::new(own_binary()?)
            .args(["pin", "--parent", &std::process::id().to_string()])
            .args([
                "--cpu",
                &placement.cpu.to_string(),
                "--nice",
                &placement.nice.to_string(),
                "--",
            ])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` succeeds; fails when the child ends or the time is up, quoting its log.
    pub(crate) fn wait_until(
        &mut self,
        timeout: Duration,
        mut ready: impl FnMut() -> Result<(), String>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} before it was ready{}",
                    self.name,
                    self.log_quote()
                );
            }
            match ready() {
                Ok(()) => return Ok(()),
                Err(reason) if Instant::now() >= deadline => {
                    bail!(
                        "{} was not ready within {timeout:?}: {reason}{}",
                        self.name,
                        self.log_quote()
                    );
                }
                Err(_) => host::pause(POLL),
            }
        }
    }

    /// Fails when the child has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended with {status}{}", self.name, self.log_quote()),
            None => Ok(()),
        }
    }

    fn log_quote(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(LOG_QUOTE_BYTES)..];
        match String::from_utf8_lossy(tail).trim() {
            "" => format!("; its log {} is empty", self.log.display()),
            tail => format!("; the end of its log {}:\n{tail}", self.log.display()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
            && self.child.try_wait()?.is_none()
        {
            // The child is not reaped yet, so the id is still its own.
            kill_process(pid, Signal::TERM)?;
            let deadline = Instant::now() + POLITE;
            while self.child.try_wait()?.is_none() {
                if Instant::now() >= deadline {
                    self.child.kill()?;
                    self.child.wait()?;
                    break;
                }
                host::pause(POLL);
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!(
                "warning: cannot end {} (process {}): {error}",
                self.name,
                self.child.id()
            );
        }
    }
}

/// Runs a short command to its end and gives back its standard output; ends it when it takes too long.
pub(crate) fn output_of(
    program: &Path,
    arguments: &[&str],
    timeout: Duration,
) -> anyhow::Result<String> {
    let name = program.display();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!(
                "{name} {} did not end within {timeout:?}",
                arguments.join(" ")
            );
        }
        host::pause(POLL);
    };
    let (mut output, mut errors) = (String::new(), String::new());
    // The few lines of such a command fit into the pipes, so reading after its end cannot have held it up.
    child
        .stdout
        .take()
        .map(|mut pipe| pipe.read_to_string(&mut output))
        .transpose()?;
    child
        .stderr
        .take()
        .map(|mut pipe| pipe.read_to_string(&mut errors))
        .transpose()?;
    if !status.success() {
        bail!(
            "{name} {} ended with {status}: {}",
            arguments.join(" "),
            errors.trim()
        );
    }
    // Some programs print their version to the error stream.
    Ok(if output.trim().is_empty() {
        errors
    } else {
        output
    })
}

/// This program, to be started as origin, hop or launcher.
pub(crate) fn own_binary() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the program's own file")
}

/// Addresses on the loopback interface that nobody listens on. All are held at once, so they differ.
pub(crate) fn free_addresses<const COUNT: usize>() -> io::Result<[SocketAddr; COUNT]> {
    let mut listeners = Vec::with_capacity(COUNT);
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); COUNT];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that hangs is ended in time; one that fails says what it wrote.
    #[test]
    fn short_commands_are_bounded() {
        let started = Instant::now();
        let error = output_of(Path::new("sleep"), &["30"], Duration::from_millis(60)).unwrap_err();
        assert!(
            error.to_string().contains("did not end") && started.elapsed() < Duration::from_secs(5),
            "{error}"
        );
        let error =
            output_of(Path::new("sh"), &["-c", "echo why >&2; exit 3"], POLITE).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
        assert_eq!(
            output_of(Path::new("echo"), &["yes"], POLITE).unwrap(),
            "yes\n"
        );
    }

    /// Free addresses differ and can be bound.
    #[test]
    fn free_addresses_differ() {
        let addresses = free_addresses::<4>().unwrap();
        let listeners: Vec<_> = addresses
            .iter()
            .map(|address| TcpListener::bind(address).unwrap())
            .collect();
        assert_eq!(listeners.len(), 4);
    }
}
