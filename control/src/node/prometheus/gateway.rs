//! Our own metrics: latency with buckets, each worker, policies and their errands, synchronisation, reports.

use turnpike_core::policy::registry::REGISTRY;
use turnpike_core::stats::{Cell, LATENCY_BUCKETS_US, PolicyCell, WorkerStats};

use super::exposition::{Exposition, Kind};
use super::{Merged, NO_LABELS, Workers, seconds, sum};
use crate::errand::{ErrandKind, ErrandStats};
use crate::node::NodeState;
use crate::node::inventory::unix_ms;
use crate::report::DropReason;

pub(super) fn latency(page: &mut Exposition, merged: &Merged, workers: &Workers) {
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

fn per_worker(page: &mut Exposition, workers: &Workers, families: &[PerWorker]) {
    for (name, kind, help, value) in families {
        page.family(name, *kind, help);
        for (index, worker) in workers.iter().enumerate() {
            page.value(name, &[("worker", index.to_string())], value(worker));
        }
    }
}

pub(super) fn workers(page: &mut Exposition, workers: &Workers) {
    let families: [PerWorker; 7] = [
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
            |w| w.latency_buckets.iter().map(Cell::get).sum(),
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
        (
            "gateway_worker_bodies_not_kept_total",
            Kind::Counter,
            "Response bodies too large for the cache policy: passed on, not stored",
            |w| w.bodies_not_kept.get(),
        ),
    ];
    per_worker(page, workers, &families);
}

/// Executions of policies. The series are those of the registry: what definitions or clients name never becomes a label.
pub(super) fn policies(page: &mut Exposition, workers: &Workers) {
    let summed = |index: usize, of: fn(&PolicyCell) -> &Cell| {
        sum(workers, |w| {
            w.policies.get(index).map_or(0, |cell| of(cell).get())
        })
    };
    let name = "gateway_policy_executions_total";
    page.family(name, Kind::Counter, "Executions of a policy, by outcome");
    for (index, entry) in REGISTRY.iter().enumerate() {
        let interrupted = summed(index, |cell| &cell.interrupted);
        let failed = summed(index, |cell| &cell.failed);
        let continued = summed(index, |cell| &cell.executed)
            .saturating_sub(interrupted)
            .saturating_sub(failed);
        for (outcome, value) in [
            ("continued", continued),
            ("interrupted", interrupted),
            ("failed", failed),
        ] {
            page.value(name, &[("policy", entry.id), ("outcome", outcome)], value);
        }
    }
    let name = "gateway_policy_seconds_total";
    page.family(
        name,
        Kind::Counter,
        "Time inside a policy, without its waits",
    );
    for (index, entry) in REGISTRY.iter().enumerate() {
        let time_ns = summed(index, |cell| &cell.time_ns_sum);
        page.value(name, &[("policy", entry.id)], seconds(time_ns));
    }
}

pub(super) fn gateway(page: &mut Exposition, state: &NodeState) {
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

/// What policies wait for on the control thread.
pub(super) fn errands(page: &mut Exposition, errands: &ErrandStats, workers: &Workers) {
    type PerKind = (
        &'static str,
        &'static str,
        fn(&ErrandStats, ErrandKind) -> u64,
    );
    let by_kind: [PerKind; 2] = [
        (
            "gateway_errands_total",
            "Errands of the workers, by kind",
            ErrandStats::taken,
        ),
        (
            "gateway_errands_failed_total",
            "Errands that ended without what was asked for; of caches it is not known",
            ErrandStats::failed,
        ),
    ];
    for (name, help, value) in by_kind {
        page.family(name, Kind::Counter, help);
        for kind in ErrandKind::ALL {
            page.value(name, &[("kind", kind.as_str())], value(errands, kind));
        }
    }
    let name = "gateway_errands_in_flight";
    page.family(
        name,
        Kind::Gauge,
        "Errands of a worker that are taken and not answered",
    );
    for (index, link) in errands.links().iter().enumerate() {
        page.value(name, &[("worker", index.to_string())], link.in_flight());
    }
    let families: [PerWorker; 2] = [
        (
            "gateway_errands_sent_total",
            Kind::Counter,
            "Errands that a worker sent to the control thread",
            |w| w.errands_sent.get(),
        ),
        (
            "gateway_errands_refused_total",
            Kind::Counter,
            "Errands that a worker could not send: too many were on their way",
            |w| w.errands_refused.get(),
        ),
    ];
    per_worker(page, workers, &families);
}

pub(super) fn reports(page: &mut Exposition, state: &NodeState) {
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

/// Limits, and the Redis of their counters.
pub(super) fn quotas(page: &mut Exposition, state: &NodeState) {
    let Some(view) = state.health.quotas() else {
        return;
    };
    for (name, help, value) in view.figures() {
        let kind = if name.ends_with("_total") {
            Kind::Counter
        } else {
            Kind::Gauge
        };
        page.single(name, kind, help, &[], value);
    }
}
