//! The metrics page (contract operations 4), written by hand in the text format 0.0.4.
//!
//! Counters live in the workers; they are merged here, at scrape time. Series are bounded: methods x statuses seen x one local
//! address, workers, probes, reasons, policies of the registry, kinds of errands. Nothing that a client sends becomes a label.
//!
//! Where the reference's names mean something we have not got, the help text says what stands in for it: there is no JVM, the
//! `_max` of a timer is the largest value since start, and time towards backends is measured to their response head.

mod exposition;
mod gateway;
mod host;
mod traffic;

use std::sync::Arc;

use turnpike_core::http::Method;
use turnpike_core::stats::{METHODS, STATUSES, WorkerStats};

use super::{APPLICATION, MonitorSample, NodeState, Probe};
use exposition::{Exposition, Kind};

/// Content type of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
    traffic::http_server(&mut page, &merged, &state.workers, &local);
    traffic::http_client(&mut page, &merged, &state.workers);
    traffic::network(&mut page, &state.workers, &local);
    traffic::pools(&mut page, &state.workers);
    host::process(&mut page, sample);
    page.family("node_health", Kind::Gauge, "1 when the probe is healthy");
    for (probe, result) in probes {
        page.value(
            "node_health",
            &[("probe", probe)],
            u64::from(result.healthy),
        );
    }
    gateway::latency(&mut page, &merged, &state.workers);
    gateway::workers(&mut page, &state.workers);
    gateway::policies(&mut page, &state.workers);
    gateway::errands(&mut page, &state.errands, &state.workers);
    gateway::gateway(&mut page, state);
    gateway::reports(&mut page, state);
    gateway::quotas(&mut page, state);
    page.finish()
}

/// Counters of every worker.
type Workers = [Arc<WorkerStats>];

/// One method and status, summed over the workers.
struct Series {
    method: &'static str,
    code: String,
    count: u64,
    seconds: f64,
    seconds_max: f64,
    response_bytes: u64,
}

/// Every method and status that occurred.
struct Merged {
    series: Vec<Series>,
}

impl Merged {
    fn of(state: &NodeState) -> Self {
        let mut series = Vec::new();
        for method in 0..METHODS {
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
                        method: Method::from_index(method).as_str(),
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

fn sum(workers: &Workers, of: impl Fn(&WorkerStats) -> u64) -> u64 {
    workers.iter().map(|worker| of(worker)).sum()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests;
