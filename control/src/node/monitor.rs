//! Figures of the host and of this process, in the tree that the reference reports (contract reporting 2.6).
//!
//! There is no JVM: `heap*` is anonymous resident memory against the memory limit of the container (or of the host), there is
//! one memory pool, threads are those of the system, and the collectors that dashboards expect never run.

use std::borrow::Cow;
use std::fs;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One sample, in JSON names and order of the reference.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MonitorSample {
    /// Host.
    pub os: OsFigures,
    /// Memory and threads of the process.
    pub jvm: JvmFigures,
    /// Descriptors and CPU of the process.
    pub process: ProcessFigures,
}

/// Host figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct OsFigures {
    pub timestamp: u64,
    pub cpu: CpuFigures,
    pub mem: MemoryFigures,
    pub swap: SwapFigures,
}

/// CPU of the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct CpuFigures {
    pub percent: i64,
    pub load_average: [f64; 3],
}

/// Memory of the host, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct MemoryFigures {
    pub total: u64,
    pub free: u64,
    pub used: u64,
    pub used_percent: u64,
    pub free_percent: u64,
}

/// Swap of the host, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct SwapFigures {
    pub total: u64,
    pub free: u64,
}

/// What the reference says about its JVM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct JvmFigures {
    pub timestamp: u64,
    pub uptime: u64,
    pub mem: HeapFigures,
    pub threads: ThreadFigures,
    pub gc: GcFigures,
}

/// Memory of the process, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct HeapFigures {
    pub heap_committed: u64,
    pub heap_used: u64,
    pub heap_max: u64,
    pub non_heap_committed: u64,
    pub non_heap_used: u64,
    pub pools: Vec<PoolFigures>,
    pub heap_used_percent: u64,
}

/// A memory pool, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct PoolFigures {
    pub name: Cow<'static, str>,
    pub used: u64,
    pub max: u64,
    pub peak_used: u64,
    pub peak_max: u64,
}

/// Threads of the process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct ThreadFigures {
    pub count: u64,
    pub peak_count: u64,
}

/// Garbage collectors: names only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct GcFigures {
    pub collectors: Vec<CollectorFigures>,
}

impl Default for GcFigures {
    fn default() -> Self {
        Self {
            collectors: ["young", "old"]
                .map(|name| CollectorFigures {
                    name: name.into(),
                    collection_count: 0,
                    collection_time: 0,
                })
                .into(),
        }
    }
}

/// A collector that never runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct CollectorFigures {
    pub name: Cow<'static, str>,
    pub collection_count: u64,
    pub collection_time: u64,
}

/// Process figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct ProcessFigures {
    pub timestamp: u64,
    pub open_file_descriptors: i64,
    pub max_file_descriptors: i64,
    pub cpu: ProcessCpuFigures,
    pub mem: VirtualMemoryFigures,
}

/// CPU of the process: percent of the whole machine, and milliseconds since start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct ProcessCpuFigures {
    pub percent: i64,
    pub total: u64,
}

/// Address space of the process, bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the members are the report's own, contract reporting 2.6"
)]
pub struct VirtualMemoryFigures {
    pub total_virtual: u64,
}

/// Takes samples; remembers the counters of the last one, because CPU percentages are differences.
#[derive(Debug)]
pub struct Monitor {
    started: Instant,
    memory_max_bytes: Option<u64>,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    ticks: CpuTicks,
    process_ticks: u64,
    threads_peak: u64,
    memory_peak_bytes: u64,
    os_percent: i64,
    process_percent: i64,
}

impl Monitor {
    /// A monitor for this process; uptime counts from here.
    pub fn new() -> Self {
        let monitor = Self {
            started: Instant::now(),
            memory_max_bytes: cgroup_memory_max(),
            last: Mutex::default(),
        };
        monitor.sample();
        monitor
    }

    /// Reads `/proc`: about 0.1 ms, no waiting. CPU percentages cover the time since the sample before; a sample taken within
    /// 10 ms of it repeats its percentages. What cannot be read is 0 or -1.
    pub fn sample(&self) -> MonitorSample {
        let timestamp = unix_ms();
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let status = text("/proc/self/status");
        let meminfo = text("/proc/meminfo");
        let ticks = CpuTicks::parse(&text("/proc/stat"));
        let process_ticks = process_ticks(&text("/proc/self/stat"));
        let kib = |text: &str, name: &str| field(text, name).unwrap_or(0) * 1_024;
        let total = kib(&meminfo, "MemTotal:");
        let free = kib(&meminfo, "MemAvailable:");
        let used = total.saturating_sub(free);
        let heap_used = kib(&status, "RssAnon:");
        let heap_max = self.memory_max_bytes.unwrap_or(total).min(total);
        let threads = field(&status, "Threads:").unwrap_or(0);

        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let elapsed = ticks.total.saturating_sub(last.ticks.total);
        if elapsed > 0 {
            last.os_percent = percent(ticks.busy.saturating_sub(last.ticks.busy), elapsed) as i64;
            last.process_percent =
                percent(process_ticks.saturating_sub(last.process_ticks), elapsed) as i64;
            last.ticks = ticks;
            last.process_ticks = process_ticks;
        }
        last.threads_peak = last.threads_peak.max(threads);
        last.memory_peak_bytes = last.memory_peak_bytes.max(heap_used);
        MonitorSample {
            os: OsFigures {
                timestamp,
                cpu: CpuFigures {
                    percent: last.os_percent,
                    load_average: load_average(&text("/proc/loadavg")),
                },
                mem: MemoryFigures {
                    total,
                    free,
                    used,
                    used_percent: percent(used, total),
                    free_percent: percent(free, total),
                },
                swap: SwapFigures {
                    total: kib(&meminfo, "SwapTotal:"),
                    free: kib(&meminfo, "SwapFree:"),
                },
            },
            jvm: JvmFigures {
                timestamp,
                uptime: self.started.elapsed().as_millis() as u64,
                mem: HeapFigures {
                    heap_committed: heap_used,
                    heap_used,
                    heap_max,
                    non_heap_committed: 0,
                    non_heap_used: 0,
                    pools: vec![PoolFigures {
                        name: "old".into(),
                        used: heap_used,
                        max: heap_max,
                        peak_used: last.memory_peak_bytes,
                        peak_max: heap_max,
                    }],
                    heap_used_percent: percent(heap_used, heap_max),
                },
                threads: ThreadFigures {
                    count: threads,
                    peak_count: last.threads_peak,
                },
                gc: GcFigures::default(),
            },
            process: ProcessFigures {
                timestamp,
                open_file_descriptors: fs::read_dir("/proc/self/fd")
                    .map_or(-1, |entries| entries.count() as i64),
                max_file_descriptors: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                    .current
                    .map_or(-1, |limit| limit as i64),
                cpu: ProcessCpuFigures {
                    percent: last.process_percent,
                    total: process_ticks * 1_000 / rustix::param::clock_ticks_per_second().max(1),
                },
                mem: VirtualMemoryFigures {
                    total_virtual: kib(&status, "VmSize:"),
                },
            },
        }
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct CpuTicks {
    busy: u64,
    total: u64,
}

impl CpuTicks {
    /// Line `cpu` of `/proc/stat`: user nice system idle iowait irq softirq steal. Guest time is part of user time.
    fn parse(stat: &str) -> Self {
        let mut total = 0;
        let mut idle = 0;
        let line = stat.lines().next().unwrap_or_default();
        for (index, text) in line.split_whitespace().skip(1).take(8).enumerate() {
            let ticks: u64 = text.parse().unwrap_or(0);
            total += ticks;
            if index == 3 || index == 4 {
                idle += ticks;
            }
        }
        Self {
            busy: total - idle,
            total,
        }
    }
}

/// User and system time of `/proc/self/stat`. The name in parentheses may hold anything, so fields count from the last one.
fn process_ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|text| text.parse::<u64>().ok())
        .sum()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn load_average(text: &str) -> [f64; 3] {
    let mut averages = [-1.0; 3];
    for (average, text) in averages.iter_mut().zip(text.split_whitespace()) {
        *average = text.parse().unwrap_or(-1.0);
    }
    averages
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100)
        .checked_div(whole)
        .unwrap_or(0)
        .min(100)
}

/// The memory limit of the container: cgroup 2, else cgroup 1; `None` when there is none.
fn cgroup_memory_max() -> Option<u64> {
    [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    .into_iter()
    .find_map(|path| fs::read_to_string(path).ok())
    .and_then(|text| text.trim().parse().ok())
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_are_read_by_their_fields() {
        assert_eq!(
            CpuTicks::parse("cpu  100 5 50 800 45 1 2 3 77 0\ncpu0 1 2 3"),
            CpuTicks {
                busy: 161,
                total: 1_006
            }
        );
        assert_eq!(CpuTicks::parse(""), CpuTicks::default());
        assert_eq!(
            process_ticks("7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14"),
            11 + 12
        );
        assert_eq!(process_ticks("garbage"), 0);
        assert_eq!(
            field("VmPeak:\t9 kB\nVmSize:\t  734 kB\n", "VmSize:"),
            Some(734)
        );
        assert_eq!(load_average("0.52 0.41 x 1/93 7"), [0.52, 0.41, -1.0]);
    }

    #[test]
    fn a_sample_of_this_process_is_plausible() {
        let sample = Monitor::new().sample();
        assert!(
            sample.jvm.mem.heap_used > 0 && sample.jvm.mem.heap_used <= sample.jvm.mem.heap_max
        );
        assert!(
            sample.jvm.threads.count >= 1
                && sample.jvm.threads.peak_count >= sample.jvm.threads.count
        );
        assert!(sample.process.open_file_descriptors > 2);
        assert!(sample.process.max_file_descriptors >= sample.process.open_file_descriptors);
        assert!(sample.os.mem.total > sample.os.mem.used);
        assert!(
            (0..=100).contains(&sample.os.cpu.percent)
                && (0..=100).contains(&sample.process.cpu.percent)
        );
    }

    #[test]
    fn the_json_has_the_tree_of_the_reference() {
        let json = serde_json::to_value(Monitor::new().sample()).expect("JSON");
        for pointer in [
            "/os/cpu/loadAverage/2",
            "/os/mem/usedPercent",
            "/os/swap/free",
            "/jvm/uptime",
            "/jvm/mem/heapCommitted",
            "/jvm/mem/pools/0/peakUsed",
            "/jvm/mem/heapUsedPercent",
            "/jvm/threads/peakCount",
            "/jvm/gc/collectors/1/collectionTime",
            "/process/openFileDescriptors",
            "/process/maxFileDescriptors",
            "/process/cpu/total",
            "/process/mem/totalVirtual",
        ] {
            assert!(json.pointer(pointer).is_some(), "{pointer} is missing");
        }
    }
}
