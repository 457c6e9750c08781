//! Whether the kernel grants io_uring, decided once per process, with the reason in words.

use std::fmt;
use std::io;

use turnpike_config::DriverChoice;

/// The driver that workers run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

/// The driver and why it was chosen, for the banner and the metric `gateway_driver_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverReport {
    /// The driver.
    pub kind: DriverKind,
    /// Why, in one line.
    pub reason: String,
}

/// Chooses the driver. `Err` says why io_uring cannot be had when nothing else is allowed.
pub(crate) fn choose(choice: DriverChoice, entries: u32) -> Result<DriverReport, String> {
    let report = |kind, reason: &str| DriverReport {
        kind,
        reason: reason.to_owned(),
    };
    match choice {
        DriverChoice::Epoll => Ok(report(DriverKind::Epoll, "gateway.runtime.driver is epoll")),
        DriverChoice::Auto | DriverChoice::IoUring => match probe(entries) {
            Ok(()) => Ok(report(DriverKind::IoUring, "granted by the kernel")),
            Err(reason) if choice == DriverChoice::Auto => Ok(DriverReport {
                kind: DriverKind::Epoll,
                reason,
            }),
            Err(reason) => Err(reason),
        },
    }
}

fn probe(entries: u32) -> Result<(), String> {
    let ring = io_uring::IoUring::new(entries).map_err(|error| explain(&error))?;
    let mut probe = io_uring::Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| explain(&error))?;
    let needed = [
        ("accept", io_uring::opcode::Accept::CODE),
        ("connect", io_uring::opcode::Connect::CODE),
        ("recv", io_uring::opcode::Recv::CODE),
        ("send", io_uring::opcode::Send::CODE),
        ("async cancel", io_uring::opcode::AsyncCancel::CODE),
        ("read", io_uring::opcode::Read::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "this kernel's io_uring lacks the operation `{name}`"
        )),
    }
}

fn explain(error: &io::Error) -> String {
    let cause = match error.raw_os_error() {
        Some(libc::EPERM) => {
            "denied: a seccomp profile (the default of container runtimes) or the sysctl kernel.io_uring_disabled"
        }
        Some(libc::ENOSYS) => "not there: the kernel is too old, or a seccomp profile hides it",
        Some(libc::ENOMEM) => {
            "out of locked memory: raise RLIMIT_MEMLOCK, or lower gateway.runtime.ringEntries"
        }
        Some(libc::EMFILE | libc::ENFILE) => "out of file descriptors",
        _ => "refused",
    };
    format!("io_uring is {cause} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_is_chosen_when_it_is_asked_for() {
        let report = choose(DriverChoice::Epoll, 64).expect("epoll is always there");
        assert_eq!(report.kind, DriverKind::Epoll);
    }

    #[test]
    fn the_usual_refusals_name_their_cause() {
        for (errno, word) in [
            (libc::EPERM, "seccomp"),
            (libc::ENOSYS, "kernel"),
            (libc::ENOMEM, "RLIMIT_MEMLOCK"),
        ] {
            assert!(explain(&io::Error::from_raw_os_error(errno)).contains(word));
        }
    }
}
