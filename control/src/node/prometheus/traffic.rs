//! Traffic under the names of the reference: clients, backends, sockets, the pool of backend connections.

use turnpike_core::stats::WorkerStats;

use super::exposition::{Exposition, Kind};
use super::{ANY_ADDRESS, Merged, Series, Workers, seconds, sum};

pub(super) fn http_server(page: &mut Exposition, merged: &Merged, workers: &Workers, local: &str) {
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

pub(super) fn http_client(page: &mut Exposition, merged: &Merged, workers: &Workers) {
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

pub(super) fn network(page: &mut Exposition, workers: &Workers, local: &str) {
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

pub(super) fn pools(page: &mut Exposition, workers: &Workers) {
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
