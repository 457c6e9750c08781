//! What a run leaves behind: a summary for people and programs, the distribution as text and as a picture.

pub(crate) mod hgrm;
pub(crate) mod svg;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::load::{Failure, Outcome};

/// Latency percentiles, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct LatencyUs {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

impl LatencyUs {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| microseconds(histogram.value_at_quantile(quantile));
        Self {
            min: microseconds(histogram.min()),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: microseconds(histogram.max()),
        }
    }
}

/// Everything about one run, as written to JSON.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// What was asked for: `GET http://…`, connections, rate.
    pub(crate) run: String,
    pub(crate) window_s: f64,
    pub(crate) completed: u64,
    pub(crate) throughput_per_s: f64,
    pub(crate) body_bytes: u64,
    /// Longest queue of due requests that found every connection busy.
    pub(crate) backlog_max: u64,
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// Latencies recorded: requests due in the window.
    pub(crate) latencies: u64,
    pub(crate) latency_us: LatencyUs,
}

impl Summary {
    pub(crate) fn new(run: String, outcome: &Outcome) -> Self {
        Self {
            run,
            window_s: outcome.window_s,
            completed: outcome.completed,
            throughput_per_s: outcome.throughput_per_s(),
            body_bytes: outcome.body_bytes,
            backlog_max: outcome.backlog_max,
            failures: outcome.failures.iter().copied().collect(),
            latencies: outcome.histogram.len(),
            latency_us: LatencyUs::of(&outcome.histogram),
        }
    }

    /// The table that people read.
    pub(crate) fn to_table(&self) -> String {
        let latency = &self.latency_us;
        let failures = match self.failures.is_empty() {
            true => "none".to_owned(),
            false => self
                .failures
                .iter()
                .map(|(kind, count)| format!("{kind} {count}"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let mut table = format!("{}\n", self.run);
        let mut row = |name: &str, value: String| {
            writeln!(table, "  {name:<14}{value:>14}")
                .expect("writing to a String cannot fail because it grows");
        };
        row("window s", format!("{:.3}", self.window_s));
        row("completed", self.completed.to_string());
        row("requests/s", format!("{:.1}", self.throughput_per_s));
        row("longest queue", self.backlog_max.to_string());
        row("failures", failures);
        for (name, value) in [
            ("min µs", latency.min),
            ("mean µs", latency.mean),
            ("p50 µs", latency.p50),
            ("p90 µs", latency.p90),
            ("p99 µs", latency.p99),
            ("p99.9 µs", latency.p99_9),
            ("p99.99 µs", latency.p99_99),
            ("max µs", latency.max),
        ] {
            row(name, format!("{value:.1}"));
        }
        table
    }
}

/// Nanoseconds as microseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "latencies are far below 2^53 ns"
)]
pub(crate) fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// A name with only letters, digits, `-` and `_`, fit for a file.
pub(crate) fn file_name(name: &str) -> String {
    name.chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || letter == '_' {
                letter
            } else {
                '-'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Percentiles come out in microseconds, within the histogram's three digits.
    #[test]
    fn percentiles_in_microseconds() {
        let mut histogram = crate::load::empty_histogram();
        (1..=10_000_u64).for_each(|us| histogram.record(us * 1_000).unwrap());
        let latency = LatencyUs::of(&histogram);
        for (found, expected) in [
            (latency.p50, 5_000.0),
            (latency.p90, 9_000.0),
            (latency.p99, 9_900.0),
            (latency.max, 10_000.0),
        ] {
            assert!(
                (found - expected).abs() / expected < 0.002,
                "{found} is not {expected}"
            );
        }
    }

    /// Names of peers and scenarios cannot leave the results folder.
    #[test]
    fn file_names_are_tame() {
        assert_eq!(file_name("../W1 GET/100"), "---W1-GET-100");
    }
}
