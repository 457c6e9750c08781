//! The metrics page (contract operations 4), written by hand in the text format 0.0.4.
//!
//! Counters live in the workers; they are merged here, at scrape time. Series are bounded: methods x statuses seen x one local
//! address, workers, probes, reasons. Nothing that a client sends becomes a label.
//!
//! Where the reference's names mean something we have not got, the help text says what stands in for it: there is no JVM, the
//! `_max` of a timer is the largest value since start, and time towards backends is measured to their response head.

mod exposition;

use turnpike_core::stats::{LATENCY_BUCKETS_US, METHODS, STATUSES, WorkerStats};

use super::inventory::unix_ms;
use super::{APPLICATION, MonitorSample, NodeState, Probe};
use crate::report::DropReason;
use exposition::{Exposition, Kind};

/// Content type of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Method texts, in the order of `turnpike_core::http::Method::index`: the numbers of the analytics index.
const METHOD_TEXTS: [&str; METHODS] = [
    "OTHER", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];
/// A family without labels of its own.
const NO_LABELS: &[(&str, &str)] = &[];
/// Label of clients' local address: none is bound.
const ANY_ADDRESS: &str = "?";

/// Renders the page.
pub(super) fn render(
    state: &NodeState,
    probes: &[(String, Probe)],
    sample: &MonitorSample,
) -> String {
    let mut page = Exposition::new(&[
        ("application", APPLICATION),
        ("instance", &state.identity.hostname),
    ]);
    // The workers count per worker and not per listener; with several listeners the first one stands for all.
    let local = state
        .listeners
        .first()
        .map_or_else(|| ANY_ADDRESS.to_owned(), ToString::to_string);
    let merged = Merged::of(state);
    http_server(&mut page, &merged, &state.workers, &local);
    http_client(&mut page, &merged, &state.workers);
    network(&mut page, &state.workers, &local);
    pools(&mut page, &state.workers);
    process(&mut page, sample);
    page.family("node_health", Kind::Gauge, "1 when the probe is healthy");
    for (probe, result) in probes {
        page.value(
            "node_health",
            &[("probe", probe)],
            u64::from(result.healthy),
        );
    }
    latency(&mut page, &merged, &state.workers);
    workers(&mut page, &state.workers);
    gateway(&mut page, state);
    reports(&mut page, state);
    page.finish()
}

/// One method and status, summed over the workers.
struct Series {
    method: &'static str,
    code: String,
    count: u64,
    seconds: f64,
    seconds_max: f64,
    response_bytes: u64,
}

struct Merged {
    series: Vec<Series>,
}

impl Merged {
    fn of(state: &NodeState) -> Self {
        let mut series = Vec::new();
        for (method, method_text) in METHOD_TEXTS.into_iter().enumerate() {
            for class in 0..STATUSES {
                // Class 0 holds statuses outside 100..=599; any of them finds its cell.
                let status = if class == 0 { 0 } else { class as u16 + 99 };
                let (mut count, mut time_ns, mut max_ns, mut bytes) = (0, 0, 0, 0);
                for worker in &state.workers {
                    let cell = worker.request(method, status);
                    count += cell.count.get();
                    time_ns += cell.time_ns_sum.get();
                    max_ns = max_ns.max(cell.time_ns_max.get());
                    bytes += cell.response_bytes_sum.get();
                }
                if count > 0 {
                    series.push(Series {
                        method: method_text,
                        code: status.to_string(),
                        count,
                        seconds: seconds(time_ns),
                        seconds_max: seconds(max_ns),
                        response_bytes: bytes,
                    });
                }
            }
        }
        Self { series }
    }

    fn requests(&self) -> u64 {
        self.series.iter().map(|series| series.count).sum()
    }

    fn response_bytes(&self) -> u64 {
        self.series.iter().map(|series| series.response_bytes).sum()
    }
}

fn sum(workers: &[std::sync::Arc<WorkerStats>], of: impl Fn(&WorkerStats) -> u64) -> u64 {
    workers.iter().map(|worker| of(worker)).sum()
}

fn http_server(
    page: &mut Exposition,
    merged: &Merged,
    workers: &[std::sync::Arc<WorkerStats>],
    local: &str,
) {
    let labels = |series: &'_ Series| {
        [
            ("code", series.code.clone()),
            ("local", local.to_owned()),
            ("method", series.method.to_owned()),
        ]
    };
    page.family(
        "http_server_requests_total",
        Kind::Counter,
        "Responses completed",
    );
    for series in &merged.series {
        page.value("http_server_requests_total", &labels(series), series.count);
    }
    page.family(
        "http_server_response_time_seconds",
        Kind::Summary,
        "Arrival to end of response",
    );
    for series in &merged.series {
        page.value(
            "http_server_response_time_seconds_count",
            &labels(series),
            series.count,
        );
        page.value(
            "http_server_response_time_seconds_sum",
            &labels(series),
            series.seconds,
        );
    }
    page.family(
        "http_server_response_time_seconds_max",
        Kind::Gauge,
        "Longest response time since start",
    );
    for series in &merged.series {
        page.value(
            "http_server_response_time_seconds_max",
            &labels(series),
            series.seconds_max,
        );
    }
    page.family(
        "http_server_response_bytes",
        Kind::Summary,
        "Response body bytes",
    );
    for series in &merged.series {
        page.value(
            "http_server_response_bytes_count",
            &labels(series),
            series.count,
        );
        page.value(
            "http_server_response_bytes_sum",
            &labels(series),
            series.response_bytes,
        );
    }
    let local = [("local", local)];
    page.family(
        "http_server_request_bytes",
        Kind::Summary,
        "Request body bytes",
    );
    page.value("http_server_request_bytes_count", &local, merged.requests());
    page.value(
        "http_server_request_bytes_sum",
        &local,
        sum(workers, |w| w.request_bytes_sum.get()),
    );
    page.single(
        "http_server_active_requests",
        Kind::Gauge,
        "Requests begun and not ended",
        &local,
        sum(workers, |w| w.active_requests.get()),
    );
    page.single(
        "http_server_active_connections",
        Kind::Gauge,
        "Open client connections",
        &local,
        sum(workers, |w| w.active_connections.get()),
    );
    page.single(
        "http_server_active_ws_connections",
        Kind::Gauge,
        "Open WebSocket connections: not served yet",
        &local,
        0_u64,
    );
    page.single(
        "http_server_bytes_read_total",
        Kind::Counter,
        "Bytes read from clients",
        &local,
        sum(workers, |w| w.bytes_read.get()),
    );
    page.single(
        "http_server_bytes_written_total",
        Kind::Counter,
        "Bytes written to clients",
        &local,
        sum(workers, |w| w.bytes_written.get()),
    );
    page.single(
        "http_server_errors_total",
        Kind::Counter,
        "Requests refused while they were parsed",
        &local,
        sum(workers, |w| w.request_errors.get()),
    );
    page.single(
        "http_server_request_resets_total",
        Kind::Counter,
        "Clients gone before their response was complete",
        &local,
        sum(workers, |w| w.client_aborts.get()),
    );
}

fn http_client(page: &mut Exposition, merged: &Merged, workers: &[std::sync::Arc<WorkerStats>]) {
    let local = [("local", ANY_ADDRESS)];
    let requests = sum(workers, |w| w.upstream_requests.get());
    let errors = sum(workers, |w| w.upstream_errors.get());
    let responses = requests.saturating_sub(errors);
    page.single(
        "http_client_requests_total",
        Kind::Counter,
        "Requests sent to backends",
        &local,
        requests,
    );
    page.single(
        "http_client_responses_total",
        Kind::Counter,
        "Requests to backends less failures",
        &local,
        responses,
    );
    page.family(
        "http_client_response_time_seconds",
        Kind::Summary,
        "Backend call to its response head",
    );
    page.value("http_client_response_time_seconds_count", &local, responses);
    page.value(
        "http_client_response_time_seconds_sum",
        &local,
        seconds(sum(workers, |w| w.upstream_time_ns_sum.get())),
    );
    page.family(
        "http_client_request_bytes",
        Kind::Summary,
        "Request body bytes, as counted towards clients",
    );
    page.value("http_client_request_bytes_count", &local, requests);
    page.value(
        "http_client_request_bytes_sum",
        &local,
        sum(workers, |w| w.request_bytes_sum.get()),
    );
    page.family(
        "http_client_response_bytes",
        Kind::Summary,
        "Response body bytes, as counted towards clients",
    );
    page.value("http_client_response_bytes_count", &local, responses);
    page.value(
        "http_client_response_bytes_sum",
        &local,
        merged.response_bytes(),
    );
    let busy = |w: &WorkerStats| {
        w.upstream_connections
            .get()
            .saturating_sub(w.upstream_idle_connections.get())
    };
    page.single(
        "http_client_active_requests",
        Kind::Gauge,
        "Backend connections in use",
        &local,
        sum(workers, busy),
    );
    page.single(
        "http_client_active_connections",
        Kind::Gauge,
        "Open backend connections",
        &local,
        sum(workers, |w| w.upstream_connections.get()),
    );
    page.single(
        "http_client_active_ws_connections",
        Kind::Gauge,
        "WebSocket connections to backends: not served yet",
        &local,
        0_u64,
    );
    page.single(
        "http_client_bytes_read_total",
        Kind::Counter,
        "Bytes read from backends",
        &local,
        sum(workers, |w| w.upstream_bytes_read.get()),
    );
    page.single(
        "http_client_bytes_written_total",
        Kind::Counter,
        "Bytes written to backends",
        &local,
        sum(workers, |w| w.upstream_bytes_written.get()),
    );
    page.single(
        "http_client_errors_total",
        Kind::Counter,
        "Failures towards backends",
        &local,
        errors,
    );
    page.single(
        "http_client_queue_pending",
        Kind::Gauge,
        "Requests waiting for a backend connection",
        &[],
        sum(workers, |w| w.upstream_queue.get()),
    );
}

fn network(page: &mut Exposition, workers: &[std::sync::Arc<WorkerStats>], local: &str) {
    let sides = [
        (
            "net_server",
            local,
            [
                sum(workers, |w| w.active_connections.get()),
                sum(workers, |w| w.bytes_read.get()),
                sum(workers, |w| w.bytes_written.get()),
                sum(workers, |w| w.request_errors.get()),
            ],
        ),
        (
            "net_client",
            ANY_ADDRESS,
            [
                sum(workers, |w| w.upstream_connections.get()),
                sum(workers, |w| w.upstream_bytes_read.get()),
                sum(workers, |w| w.upstream_bytes_written.get()),
                sum(workers, |w| w.upstream_errors.get()),
            ],
        ),
    ];
    for (side, local, [connections, read, written, errors]) in sides {
        let local = [("local", local)];
        page.single(
            &format!("{side}_active_connections"),
            Kind::Gauge,
            "Open connections",
            &local,
            connections,
        );
        page.single(
            &format!("{side}_bytes_read_total"),
            Kind::Counter,
            "Bytes read",
            &local,
            read,
        );
        page.single(
            &format!("{side}_bytes_written_total"),
            Kind::Counter,
            "Bytes written",
            &local,
            written,
        );
        page.single(
            &format!("{side}_errors_total"),
            Kind::Counter,
            "Errors",
            &local,
            errors,
        );
    }
}

fn pools(page: &mut Exposition, workers: &[std::sync::Arc<WorkerStats>]) {
    let labels = [("pool_name", "backends"), ("pool_type", "http")];
    let open = sum(workers, |w| w.upstream_connections.get());
    let busy = open.saturating_sub(sum(workers, |w| w.upstream_idle_connections.get()));
    page.single(
        "pool_queue_pending",
        Kind::Gauge,
        "Requests waiting for a connection",
        &labels,
        sum(workers, |w| w.upstream_queue.get()),
    );
    page.single(
        "pool_in_use",
        Kind::Gauge,
        "Connections in use",
        &labels,
        busy,
    );
    page.single(
        "pool_ratio",
        Kind::Gauge,
        "Share of the open connections that is in use",
        &labels,
        if open == 0 {
            0.0
        } else {
            busy as f64 / open as f64
        },
    );
    page.single(
        "pool_completed_total",
        Kind::Counter,
        "Requests sent through the pool",
        &labels,
        sum(workers, |w| w.upstream_requests.get()),
    );
}

fn process(page: &mut Exposition, sample: &MonitorSample) {
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

fn latency(page: &mut Exposition, merged: &Merged, workers: &[std::sync::Arc<WorkerStats>]) {
    let name = "gateway_request_duration_seconds";
    page.family(name, Kind::Histogram, "Arrival to end of response");
    let mut cumulated = 0;
    for (index, bound_us) in LATENCY_BUCKETS_US.into_iter().enumerate() {
        cumulated += sum(workers, |w| w.latency_buckets[index].get());
        let le = (bound_us as f64 / 1e6).to_string();
        page.value(
            "gateway_request_duration_seconds_bucket",
            &[("le", &le)],
            cumulated,
        );
    }
    cumulated += sum(workers, |w| {
        w.latency_buckets[LATENCY_BUCKETS_US.len()].get()
    });
    page.value(
        "gateway_request_duration_seconds_bucket",
        &[("le", "+Inf")],
        cumulated,
    );
    let time: f64 = merged.series.iter().map(|series| series.seconds).sum();
    page.value("gateway_request_duration_seconds_sum", NO_LABELS, time);
    page.value(
        "gateway_request_duration_seconds_count",
        NO_LABELS,
        cumulated,
    );
}

/// Name, kind, help and value of a metric that each worker has.
type PerWorker = (&'static str, Kind, &'static str, fn(&WorkerStats) -> u64);

fn workers(page: &mut Exposition, workers: &[std::sync::Arc<WorkerStats>]) {
    let families: [PerWorker; 6] = [
        (
            "gateway_worker_connections",
            Kind::Gauge,
            "Open client connections of a worker",
            |w| w.active_connections.get(),
        ),
        (
            "gateway_worker_requests_total",
            Kind::Counter,
            "Responses completed by a worker",
            |w| {
                w.latency_buckets
                    .iter()
                    .map(turnpike_core::stats::Cell::get)
                    .sum()
            },
        ),
        (
            "gateway_worker_connections_refused_total",
            Kind::Counter,
            "Connections refused at the limit",
            |w| w.connections_refused.get(),
        ),
        (
            "gateway_worker_heartbeats_total",
            Kind::Counter,
            "About one a second; a stalled worker stops counting",
            |w| w.heartbeats.get(),
        ),
        (
            "gateway_worker_upstream_connects_total",
            Kind::Counter,
            "Connections opened to backends",
            |w| w.upstream_connects.get(),
        ),
        (
            "gateway_worker_upstream_retries_total",
            Kind::Counter,
            "Requests sent again after a pooled connection had died",
            |w| w.upstream_retries.get(),
        ),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for (index, worker) in workers.iter().enumerate() {
            page.value(name, &[("worker", index.to_string())], value(worker));
        }
    }
}

fn gateway(page: &mut Exposition, state: &NodeState) {
    let driver = [
        ("driver", state.driver.driver.as_str()),
        ("reason", state.driver.reason.as_str()),
    ];
    page.single(
        "gateway_driver_info",
        Kind::Gauge,
        "Engine that drives the sockets, and why",
        &driver,
        1_u64,
    );
    let build = [
        ("version", state.identity.build_version.as_str()),
        ("revision", state.identity.revision.as_str()),
    ];
    page.single(
        "gateway_build_info",
        Kind::Gauge,
        "Version of the program",
        &build,
        1_u64,
    );
    let sync = state.sync.report();
    if let Some(last_ms) = sync.last_success_ms {
        let age = unix_ms().saturating_sub(last_ms) as f64 / 1_000.0;
        page.single(
            "gateway_sync_age_seconds",
            Kind::Gauge,
            "Time since a sync cycle succeeded",
            &[],
            age,
        );
    }
    page.single(
        "gateway_sync_ready",
        Kind::Gauge,
        "1 once the first sync cycle is done",
        &[],
        u64::from(sync.initial_done),
    );
    page.single(
        "gateway_sync_cycles_total",
        Kind::Counter,
        "Sync cycles begun",
        &[],
        sync.counter,
    );
    page.single(
        "gateway_sync_errors_total",
        Kind::Counter,
        "Sync cycles that failed",
        &[],
        sync.total_on_errors,
    );
    let snapshot = state.snapshot.load_full();
    page.single(
        "gateway_apis_deployed",
        Kind::Gauge,
        "APIs that are served",
        &[],
        snapshot.apis.len() as u64,
    );
    page.single(
        "gateway_apis_refused",
        Kind::Gauge,
        "APIs that are asked for and not served",
        &[],
        state.sync.refusals().len() as u64,
    );
    page.single(
        "gateway_snapshot_revision",
        Kind::Gauge,
        "Publications of the routing snapshot",
        &[],
        snapshot.revision,
    );
}

fn reports(page: &mut Exposition, state: &NodeState) {
    let Some(reporter) = &state.reporter else {
        return;
    };
    page.single(
        "gateway_reports_received_total",
        Kind::Counter,
        "Reports taken from the workers",
        &[],
        reporter.received(),
    );
    page.single(
        "gateway_reports_queued",
        Kind::Gauge,
        "Reports that wait to be sent",
        &[],
        reporter.pending_records(),
    );
    page.single(
        "gateway_reports_queued_bytes",
        Kind::Gauge,
        "Memory of the reports that wait",
        &[],
        reporter.pending_bytes(),
    );
    page.single(
        "gateway_reports_sent_total",
        Kind::Counter,
        "Reports that the endpoint accepted",
        &[],
        reporter.sent(),
    );
    page.single(
        "gateway_reports_batches_total",
        Kind::Counter,
        "Batches that the endpoint accepted",
        &[],
        reporter.batches_sent(),
    );
    page.single(
        "gateway_reports_failures_total",
        Kind::Counter,
        "Attempts that failed and are made again",
        &[],
        reporter.failures(),
    );
    page.family(
        "gateway_reports_dropped_total",
        Kind::Counter,
        "Reports lost, by reason",
    );
    for reason in DropReason::ALL {
        page.value(
            "gateway_reports_dropped_total",
            &[("reason", reason.as_str())],
            reporter.dropped(reason),
        );
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests;
