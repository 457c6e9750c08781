//! Host and process under the names of the reference.

use super::NO_LABELS;
use super::exposition::{Exposition, Kind};
use crate::node::MonitorSample;

pub(super) fn process(page: &mut Exposition, sample: &MonitorSample) {
    let heap = [("area", "heap"), ("id", "rust")];
    let memory = &sample.jvm.mem;
    page.single(
        "jvm_memory_used_bytes",
        Kind::Gauge,
        "Anonymous resident memory of the process",
        &heap,
        memory.heap_used,
    );
    page.single(
        "jvm_memory_committed_bytes",
        Kind::Gauge,
        "Anonymous resident memory of the process",
        &heap,
        memory.heap_committed,
    );
    page.single(
        "jvm_memory_max_bytes",
        Kind::Gauge,
        "Memory limit of the container or host",
        &heap,
        memory.heap_max,
    );
    page.family(
        "jvm_gc_pause_seconds",
        Kind::Summary,
        "There is no garbage collector: always 0",
    );
    page.value("jvm_gc_pause_seconds_count", NO_LABELS, 0_u64);
    page.value("jvm_gc_pause_seconds_sum", NO_LABELS, 0_u64);
    page.single(
        "jvm_threads_live_threads",
        Kind::Gauge,
        "Threads of the process",
        &[],
        sample.jvm.threads.count,
    );
    page.single(
        "jvm_classes_loaded_classes",
        Kind::Gauge,
        "There are no classes: always 0",
        NO_LABELS,
        0_u64,
    );
    page.single(
        "process_files_open_files",
        Kind::Gauge,
        "Open file descriptors",
        &[],
        sample.process.open_file_descriptors as f64,
    );
    page.single(
        "process_files_max_files",
        Kind::Gauge,
        "Limit of file descriptors",
        &[],
        sample.process.max_file_descriptors as f64,
    );
    page.single(
        "process_cpu_usage",
        Kind::Gauge,
        "CPU of the process, share of the machine",
        &[],
        sample.process.cpu.percent as f64 / 100.0,
    );
    page.single(
        "process_uptime_seconds",
        Kind::Gauge,
        "Time since start",
        &[],
        sample.jvm.uptime as f64 / 1_000.0,
    );
    page.single(
        "system_cpu_usage",
        Kind::Gauge,
        "CPU of the machine, share",
        &[],
        sample.os.cpu.percent as f64 / 100.0,
    );
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    page.single(
        "system_cpu_count",
        Kind::Gauge,
        "CPUs that the process may use",
        &[],
        cpus,
    );
    page.single(
        "system_load_average_1m",
        Kind::Gauge,
        "Load average of a minute",
        &[],
        sample.os.cpu.load_average[0],
    );
}
