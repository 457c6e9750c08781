//! Every line of the page parses, and the names that dashboards ask for are there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use turnpike_core::policy::registry::REGISTRY;

use super::*;
use crate::node::Monitor;
use crate::node::api::tests::{TestSync, state};
use crate::node::health::ALL_PROBES;

/// Names that dashboards use (contract operations 4, "these must exist").
const MUST_EXIST: [&str; 46] = [
    "http_server_requests_total",
    "http_server_response_time_seconds_sum",
    "http_server_response_time_seconds_count",
    "http_server_response_time_seconds_max",
    "http_server_request_bytes_sum",
    "http_server_response_bytes_sum",
    "http_server_bytes_read_total",
    "http_server_bytes_written_total",
    "http_server_active_requests",
    "http_server_active_connections",
    "http_client_requests_total",
    "http_client_responses_total",
    "http_client_response_time_seconds_sum",
    "http_client_response_time_seconds_count",
    "http_client_request_bytes_sum",
    "http_client_response_bytes_sum",
    "http_client_bytes_read_total",
    "http_client_bytes_written_total",
    "http_client_active_requests",
    "http_client_active_connections",
    "jvm_memory_used_bytes",
    "jvm_memory_max_bytes",
    "jvm_gc_pause_seconds_sum",
    "system_cpu_usage",
    "system_cpu_count",
    "process_cpu_usage",
    "process_files_open_files",
    "net_server_active_connections",
    "net_server_bytes_read_total",
    "net_client_active_connections",
    "net_client_bytes_written_total",
    "node_health",
    "pool_in_use",
    "gateway_request_duration_seconds_bucket",
    "gateway_worker_connections",
    "gateway_policy_executions_total",
    "gateway_policy_seconds_total",
    "gateway_errands_total",
    "gateway_errands_failed_total",
    "gateway_errands_in_flight",
    "gateway_errands_sent_total",
    "gateway_errands_refused_total",
    "gateway_driver_info",
    "gateway_sync_cycles_total",
    "gateway_apis_deployed",
    "gateway_reports_dropped_total",
];

struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// A strict reader of the text format 0.0.4: one error for anything that is not a comment, a blank or a sample.
fn parse(page: &str) -> (HashMap<String, String>, Vec<Sample>) {
    let (mut kinds, mut samples) = (HashMap::new(), Vec::new());
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(
                ["counter", "gauge", "histogram", "summary"].contains(&kind),
                "{line}"
            );
            assert!(
                kinds.insert(name.to_owned(), kind.to_owned()).is_none(),
                "a second family: {line}"
            );
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        samples.push(sample(line).unwrap_or_else(|| panic!("not a sample: {line}")));
    }
    (kinds, samples)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> Option<Sample> {
    let (name, mut rest) = line.split_once('{')?;
    let mut labels = Vec::new();
    loop {
        let (label, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    _ => return None,
                }),
                (_, other) => value.push(other),
            }
        };
        if !is_name(label) {
            return None;
        }
        labels.push((label.to_owned(), value));
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    let value = rest.strip_prefix("} ")?.parse().ok()?;
    is_name(name).then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

async fn page() -> (HashMap<String, String>, Vec<Sample>) {
    let state = state(Arc::new(TestSync::default()), |_| {});
    state.workers[0].record(Method::Get.index(), 200, 1_500_000, 100);
    state.workers[1].record(Method::Get.index(), 200, 2_500_000, 50);
    state.workers[1].record(Method::Post.index(), 0, 60_000_000_000, 0);
    state.workers[1].active_connections.add(3);
    state.workers[1].reports_dropped.add(9);
    state.workers[0].errands_sent.add(12);
    state.workers[1].errands_sent.add(30);
    state.workers[1].errands_refused.add(4);
    for (worker, executed) in [(0, 5), (1, 2)] {
        let cell = &state.workers[worker].policies[0];
        cell.executed.add(executed);
        cell.failed.add(1);
        cell.time_ns_sum.add(500_000_000);
    }
    state.workers[1].policies[0].interrupted.add(1);
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let service = crate::quota::start(&state.config, &stopped).expect("a service");
    service
        .quotas
        .stats()
        .bypassed
        .store(7, std::sync::atomic::Ordering::Relaxed);
    state.health.set_quotas(service.view(), "node");
    let probes = state.health.evaluate(&ALL_PROBES).await;
    parse(&render(&state, &probes, &Monitor::new().sample()))
}

fn find<'a>(samples: &'a [Sample], name: &str, labels: &[(&str, &str)]) -> &'a Sample {
    let has = |sample: &Sample, (name, value): &(&str, &str)| {
        sample.labels.iter().any(|(n, v)| n == name && v == value)
    };
    let mut found = samples
        .iter()
        .filter(|sample| sample.name == name && labels.iter().all(|label| has(sample, label)));
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no {name} {labels:?}"));
    assert!(found.next().is_none(), "several {name} {labels:?}");
    first
}

#[tokio::test]
async fn every_line_parses_and_belongs_to_a_declared_family_and_no_series_comes_twice() {
    let (kinds, samples) = page().await;
    let mut seen = HashSet::new();
    for sample in &samples {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| sample.name.strip_suffix(suffix))
            .find(|stem| kinds.contains_key(*stem))
            .unwrap_or(&sample.name);
        let kind = kinds
            .get(family)
            .unwrap_or_else(|| panic!("{} has no family", sample.name));
        assert_eq!(
            kind == "counter",
            sample.name.ends_with("_total"),
            "{}",
            sample.name
        );
        assert!(sample.labels.starts_with(&[
            ("application".to_owned(), "gio-apim-gateway".to_owned()),
            ("instance".to_owned(), "gw-1".to_owned())
        ]));
        let mut labels = sample.labels.clone();
        labels.sort();
        assert!(
            seen.insert((sample.name.clone(), labels)),
            "{} twice",
            sample.name
        );
    }
}

#[tokio::test]
async fn the_names_that_dashboards_ask_for_are_there() {
    let (_, samples) = page().await;
    let names: HashSet<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    let absent: Vec<_> = MUST_EXIST
        .into_iter()
        .filter(|name| !names.contains(name))
        .collect();
    assert_eq!(absent, Vec::<&str>::new());
}

#[tokio::test]
async fn the_names_and_labels_of_the_published_page_are_there_when_the_samples_are() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/contracts/samples/reporting/prometheus.txt");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no samples at {}", path.display());
        return;
    };
    let (_, samples) = page().await;
    // Backends' traffic is counted in sum, without method and status.
    let ours: HashMap<&str, HashSet<&str>> =
        samples.iter().fold(HashMap::new(), |mut ours, sample| {
            ours.entry(&sample.name)
                .or_insert_with(HashSet::new)
                .extend(sample.labels.iter().map(|(name, _)| name.as_str()));
            ours
        });
    let mut compared = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let expected = sample(line).unwrap_or_else(|| panic!("not a sample: {line}"));
        let labels = ours
            .get(expected.name.as_str())
            .unwrap_or_else(|| panic!("{} is missing", expected.name));
        for (label, _) in &expected.labels {
            let exempt = expected.name.starts_with("http_client_")
                && matches!(label.as_str(), "method" | "code");
            assert!(
                exempt || labels.contains(label.as_str()),
                "{} has no label {label}",
                expected.name
            );
        }
        compared += 1;
    }
    assert!(compared > 5);
}

#[tokio::test]
async fn workers_are_merged_and_the_histogram_adds_up() {
    let (_, samples) = page().await;
    let get200 = [("method", "GET"), ("code", "200")];
    assert_eq!(
        find(&samples, "http_server_requests_total", &get200).value,
        2.0
    );
    assert_eq!(
        find(&samples, "http_server_response_time_seconds_sum", &get200).value,
        0.004
    );
    assert_eq!(
        find(&samples, "http_server_response_time_seconds_max", &get200).value,
        0.002_5
    );
    assert_eq!(
        find(&samples, "http_server_response_bytes_sum", &get200).value,
        150.0
    );
    assert_eq!(
        find(
            &samples,
            "http_server_requests_total",
            &[("method", "POST"), ("code", "0")]
        )
        .value,
        1.0
    );
    let bucket = |le| {
        find(
            &samples,
            "gateway_request_duration_seconds_bucket",
            &[("le", le)],
        )
        .value
    };
    assert_eq!(
        [
            bucket("0.001"),
            bucket("0.0025"),
            bucket("30"),
            bucket("+Inf")
        ],
        [0.0, 2.0, 2.0, 3.0]
    );
    assert_eq!(
        find(&samples, "gateway_request_duration_seconds_count", &[]).value,
        3.0
    );
    assert_eq!(
        find(&samples, "gateway_request_duration_seconds_sum", &[]).value,
        60.004
    );
    assert_eq!(
        find(&samples, "gateway_worker_connections", &[("worker", "1")]).value,
        3.0
    );
    let of_counts = [("kind", "count")];
    assert_eq!(
        find(&samples, "gateway_errands_failed_total", &of_counts).value,
        2.0
    );
    assert_eq!(
        find(&samples, "gateway_errands_in_flight", &[("worker", "1")]).value,
        1.0
    );
    for (name, worker, expected) in [
        ("gateway_errands_sent_total", "0", 12.0),
        ("gateway_errands_sent_total", "1", 30.0),
        ("gateway_errands_refused_total", "0", 0.0),
        ("gateway_errands_refused_total", "1", 4.0),
    ] {
        let found = find(&samples, name, &[("worker", worker)]);
        assert_eq!(found.value, expected, "{name} of worker {worker}");
    }
    let policy = REGISTRY[0].id;
    for (outcome, expected) in [("continued", 4.0), ("interrupted", 1.0), ("failed", 2.0)] {
        let labels = [("policy", policy), ("outcome", outcome)];
        assert_eq!(
            find(&samples, "gateway_policy_executions_total", &labels).value,
            expected,
            "{outcome}"
        );
    }
    assert_eq!(
        find(
            &samples,
            "gateway_policy_seconds_total",
            &[("policy", policy)]
        )
        .value,
        1.0
    );
    assert_eq!(
        find(
            &samples,
            "gateway_reports_dropped_total",
            &[("reason", "ring_full")]
        )
        .value,
        9.0
    );
    assert_eq!(
        find(
            &samples,
            "gateway_driver_info",
            &[("reason", "io_uring is \"refused\"")]
        )
        .value,
        1.0
    );
    assert_eq!(
        find(&samples, "gateway_ratelimit_bypassed_total", &[]).value,
        7.0
    );
    assert_eq!(
        find(&samples, "node_health", &[("probe", "sync-process")]).value,
        0.0
    );
}
