//! CPU time of a process tree, from `/proc/<pid>/task/<tid>/schedstat`.
//!
//! Its first field counts nanoseconds on a CPU. It is exact where `/proc/<pid>/stat` counts ticks of 4 ms, and on kernels without
//! interrupt-time accounting it holds the softirq work that a task's own sends cause: work that a proxy is to answer for.

use std::fs;

/// Processes looked at below one root; peers have a handful.
const PROCESSES_MAX: usize = 256;

/// CPU time so far, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CpuTime {
    /// All threads of the process and its descendants.
    pub(crate) all_ns: u64,
    /// Threads that carry traffic, by the prefix of their names.
    pub(crate) workers_ns: u64,
}

impl CpuTime {
    /// Reads the tree under `pid` now. Threads named `worker_prefix…` count as workers too; without a prefix all do.
    ///
    /// A thread that ended before the reading is not seen; the peers keep theirs for life.
    pub(crate) fn read(pid: u32, worker_prefix: Option<&str>) -> Self {
        let mut total = Self::default();
        let mut pids = vec![pid];
        let mut index = 0;
        while index < pids.len().min(PROCESSES_MAX) {
            let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", pids[index])) else {
                index += 1;
                continue;
            };
            for task in tasks.flatten() {
                let read =
                    |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
                let run_ns = parse_run_ns(&read("schedstat")).unwrap_or_default();
                total.all_ns += run_ns;
                if worker_prefix.is_none_or(|prefix| read("comm").starts_with(prefix)) {
                    total.workers_ns += run_ns;
                }
                pids.extend(
                    read("children")
                        .split_whitespace()
                        .filter_map(|child| child.parse::<u32>().ok()),
                );
            }
            index += 1;
        }
        total
    }

    /// Reads one process alone, without its descendants.
    pub(crate) fn read_one(pid: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        let run_ns = parse_run_ns(&text).unwrap_or_default();
        Self {
            all_ns: run_ns,
            workers_ns: run_ns,
        }
    }

    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            all_ns: self.all_ns.saturating_sub(earlier.all_ns),
            workers_ns: self.workers_ns.saturating_sub(earlier.workers_ns),
        }
    }
}

/// First field of a schedstat file: time on the CPU. The others are time waited for it and the number of slices.
fn parse_run_ns(text: &str) -> Option<u64> {
    let mut fields = text.split_ascii_whitespace();
    let run_ns = fields.next()?.parse().ok()?;
    (fields.count() == 2).then_some(run_ns)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// The three fields are told apart from anything else.
    #[test]
    fn parses_schedstat() {
        for (text, expected) in [
            ("123456789 42 7\n", Some(123_456_789)),
            ("0 0 0", Some(0)),
            ("18446744073709551615 1 1", Some(u64::MAX)),
            ("18446744073709551616 1 1", None),
            ("123 4", None),
            ("1 2 3 4", None),
            ("x 1 2", None),
            ("", None),
        ] {
            assert_eq!(parse_run_ns(text), expected, "{text:?}");
        }
    }

    /// Time burnt by a named thread shows in both columns, and only threads with the prefix count as workers.
    #[test]
    fn counts_threads_by_name() {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("burner-w0".to_owned());
        let started = Instant::now();
        let pid = std::process::id();
        let before = (
            CpuTime::read(pid, Some("burner-w")),
            CpuTime::read(pid, Some("nobody")),
        );
        let thread = thread
            .spawn(move || {
                while started.elapsed() < Duration::from_secs(5) && receive.try_recv().is_err() {
                    std::hint::black_box(0);
                }
            })
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let used = CpuTime::read(pid, Some("burner-w")).since(before.0);
            if used.workers_ns > 5_000_000 && used.all_ns >= used.workers_ns {
                break;
            }
            assert!(Instant::now() < deadline, "no CPU time was seen: {used:?}");
            std::thread::yield_now();
        }
        assert_eq!(
            CpuTime::read(pid, Some("nobody"))
                .since(before.1)
                .workers_ns,
            0
        );
        send.send(()).unwrap();
        thread.join().unwrap();
    }

    /// A process that is gone reads as nothing.
    #[test]
    fn a_missing_process_has_no_time() {
        assert_eq!(CpuTime::read(u32::MAX, None), CpuTime::default());
    }
}
