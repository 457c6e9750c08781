//! What the suite asks of the machine: a core, a priority, a short timer slack; and what it writes into a report about it.

use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};

/// Timers of the calling thread fire at once. The default slack of 50 µs would sit on every open-loop latency.
pub(crate) fn set_timer_slack_to_minimum() -> io::Result<()> {
    Ok(set_current_timer_slack(NonZeroU64::new(1))?)
}

/// Keeps the calling thread, and what it starts from now on, on one CPU.
pub(crate) fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        let text = format!("cpu {cpu}: expected a number below {}", CpuSet::MAX_CPU);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Sets the nice value of the calling thread and of its session's scheduler group.
///
/// With autogroups (`kernel.sched_autogroup_enabled`) the nice value only ranks threads inside one session, so the group's
/// own value must be written as well.
pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    setpriority_process(None, nice)?;
    match fs::write("/proc/self/autogroup", nice.to_string()) {
        // Kernels without autogroups have no such file, and need none.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Waits without doing anything; for polling a child process, never on a measuring path.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness has no runtime and measures nothing while it waits for a child"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// The lines about the machine that belong under every published number.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Machine {
    /// Model name of the first CPU.
    pub(crate) cpu: String,
    /// CPUs online.
    pub(crate) cpus: usize,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Memory, MiB.
    pub(crate) memory_mib: u64,
    /// Load average over one minute when the run began: other work on the machine disturbs the numbers.
    pub(crate) load_average: String,
}

impl Machine {
    /// Reads the description from `/proc`; what cannot be read says so.
    pub(crate) fn describe() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let model = field("model name").unwrap_or_else(|| "unknown model".to_owned());
        let family = field("cpu family")
            .map(|family| format!(" (family {family})"))
            .unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib = memory
            .split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok());
        let uname = rustix::system::uname();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            cpu: format!("{model}{family}"),
            cpus: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            memory_mib: memory_kib.unwrap_or_default() / 1024,
            load_average: load
                .split_whitespace()
                .next()
                .unwrap_or("unknown")
                .to_owned(),
        }
    }
}

/// Now as `(2026-11-20, 1830)`, UTC: the stamp of a results folder.
pub(crate) fn date_and_time() -> (String, String) {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let minutes = seconds % 86_400 / 60;
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{:02}{:02}", minutes / 60, minutes % 60),
    )
}

/// Gregorian date of a day counted from 1970-01-01, reckoned in years that begin in March so that the leap day comes last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days count to the right dates, also around leap days and the end of a century.
    #[test]
    fn dates_of_days() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_454, (2026, 1, 1)),
            (20_777, (2026, 11, 20)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil_from_days(days), date, "day {days}");
        }
    }

    /// A CPU that no machine has is refused with the number in the message, not with a panic.
    #[test]
    fn refuses_an_impossible_cpu() {
        let error = pin_to_cpu(1_000_000).unwrap_err();
        assert!(error.to_string().contains("1000000"), "{error}");
    }

    /// The description of this machine has content.
    #[test]
    fn describes_the_machine() {
        let machine = Machine::describe();
        assert!(
            machine.cpus > 0 && machine.kernel.starts_with("Linux "),
            "{machine:?}"
        );
    }
}
