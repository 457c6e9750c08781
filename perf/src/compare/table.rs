//! From measurements to the tables that are published.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::peer::{Peer, PeerName};
use super::process::output_of;
use super::scenario::LoadedScenario;
use super::schedstat::CpuTime;
use crate::cli::CompareOptions;
use crate::host::Machine;
use crate::load::{Failure, Outcome, Pacing};
use crate::report::LatencyUs;

/// One peer, one round.
#[derive(Debug, Serialize)]
pub(crate) struct Measurement {
    pub(crate) throughput_per_s: f64,
    completed: u64,
    /// CPU time of the whole process tree per completed request, µs.
    cpu_us: f64,
    /// CPU time of the threads that carry traffic, µs.
    worker_cpu_us: f64,
    /// Share of one CPU that the proxy used.
    proxy_busy: f64,
    /// Share of one CPU that the generator used; near what the origin leaves of it, the throughput is the generator's.
    generator_busy: f64,
    backlog_max: u64,
    failures: BTreeMap<Failure, u64>,
    latency_us: LatencyUs,
    #[serde(skip)]
    pub(crate) histogram: Histogram<u64>,
}

impl Measurement {
    pub(crate) fn new(outcome: Outcome, proxy: CpuTime, generator: CpuTime) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts and times of one run are far below 2^53"
        )]
        let (completed, all_ns, workers_ns, generator_ns) = (
            outcome.completed.max(1) as f64,
            proxy.all_ns as f64,
            proxy.workers_ns as f64,
            generator.all_ns as f64,
        );
        let window_ns = outcome.window_s * 1e9;
        Self {
            throughput_per_s: outcome.throughput_per_s(),
            completed: outcome.completed,
            cpu_us: all_ns / completed / 1e3,
            worker_cpu_us: workers_ns / completed / 1e3,
            proxy_busy: all_ns / window_ns,
            generator_busy: generator_ns / window_ns,
            backlog_max: outcome.backlog_max,
            failures: outcome.failures.iter().copied().collect(),
            latency_us: LatencyUs::of(&outcome.histogram),
            histogram: outcome.histogram,
        }
    }

    fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.0} requests/s, {:.2} µs CPU/request, p50 {:.0} µs, p99 {:.0} µs, {} failed",
            self.throughput_per_s,
            self.cpu_us,
            self.latency_us.p50,
            self.latency_us.p99,
            self.failed(),
        )
    }
}

/// All rounds under one kind of load.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) pacing: Pacing,
    pub(crate) peers: Vec<PeerName>,
    /// By round, then by peer in the order of `peers`.
    pub(crate) rounds: Vec<Vec<Measurement>>,
}

impl Stage {
    /// Median over the rounds of a value of one peer.
    fn median(&self, peer: usize, value: impl Fn(&Measurement) -> f64) -> f64 {
        median(
            self.rounds
                .iter()
                .map(|round| value(&round[peer]))
                .collect(),
        )
    }

    /// Median of the per-round ratios of one peer to another; `None` when the other takes no part.
    fn ratio(&self, peer: usize, to: PeerName, value: impl Fn(&Measurement) -> f64) -> Option<f64> {
        let other = self.peers.iter().position(|name| *name == to)?;
        Some(median(
            self.rounds
                .iter()
                .map(|round| value(&round[peer]) / round[other].cpu_us)
                .collect(),
        ))
    }

    /// Median throughput of the slowest peer.
    pub(crate) fn slowest_median_per_s(&self) -> f64 {
        (0..self.peers.len())
            .map(|peer| self.median(peer, |one| one.throughput_per_s))
            .fold(f64::INFINITY, f64::min)
    }

    /// Failed requests of all peers and rounds.
    pub(crate) fn failed(&self) -> u64 {
        self.rounds.iter().flatten().map(Measurement::failed).sum()
    }

    fn failed_of(&self, peer: usize) -> u64 {
        self.rounds.iter().map(|round| round[peer].failed()).sum()
    }
}

/// The middle value; the mean of the two in the middle when their number is even. Not a number when there is none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// What a reader must know to judge the numbers, or to get them again.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    title: String,
    scenario: String,
    machine: Machine,
    commit: String,
    optimized: bool,
    proxy_cpu: usize,
    load_cpu: usize,
    /// Nice value, and whether it was granted.
    nice: (i32, bool),
    connections: usize,
    repeats: u32,
    warm_up_s: f64,
    duration_s: f64,
    /// Command line of the comparison.
    command: String,
    /// Name, version and command of each peer.
    peers: Vec<(PeerName, String, String)>,
}

impl Facts {
    pub(crate) fn gather(
        loaded: &LoadedScenario,
        options: &CompareOptions,
        peers: &[Peer],
        nice_granted: bool,
    ) -> Self {
        let scenario = &loaded.scenario;
        let git =
            |arguments: &[&str]| output_of(Path::new("git"), arguments, Duration::from_secs(5));
        let commit = git(&["rev-parse", "--short=12", "HEAD"])
            .map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned());
        let clean = git(&["diff", "--quiet", "HEAD"]).is_ok();
        Self {
            title: scenario.title.clone(),
            scenario: scenario.name.clone(),
            machine: Machine::describe(),
            commit: if clean {
                commit
            } else {
                format!("{commit} with local changes")
            },
            optimized: !cfg!(debug_assertions),
            proxy_cpu: options.proxy_cpu,
            load_cpu: options.load_cpu,
            nice: (options.nice, nice_granted),
            connections: scenario.load.connections,
            repeats: scenario.load.repeats,
            warm_up_s: scenario.load.warm_up_s,
            duration_s: scenario.load.duration_s,
            command: std::env::args().collect::<Vec<_>>().join(" "),
            peers: peers
                .iter()
                .map(|peer| (peer.name, peer.version.clone(), peer.command.clone()))
                .collect(),
        }
    }
}

/// The report: what was measured on what, then one table per stage.
pub(crate) fn to_markdown(facts: &Facts, stages: &[Stage]) -> String {
    let Facts { machine, nice, .. } = facts;
    let granted = if nice.1 { "" } else { " (refused)" };
    let mut text = format!("# {}\n\n", facts.title);
    let mut line = |name: &str, value: String| writeln!(text, "- {name}: {value}").expect(GROWS);
    line(
        "machine",
        format!(
            "{} × {}, {} MiB, {}, load average {} at the start",
            machine.cpus, machine.cpu, machine.memory_mib, machine.kernel, machine.load_average
        ),
    );
    line("commit", facts.commit.clone());
    line(
        "placement",
        format!(
            "proxy on cpu {}, origin and generator on cpu {}, nice {}{granted}, loopback",
            facts.proxy_cpu, facts.load_cpu, nice.0
        ),
    );
    line(
        "load",
        format!(
            "{} connections, {} interleaved rounds of {} s after {} s; medians of the rounds, ratios are medians of the per-round ratios",
            facts.connections, facts.repeats, facts.duration_s, facts.warm_up_s
        ),
    );
    line("command", format!("`{}`", facts.command));
    for (name, version, command) in &facts.peers {
        line(&name.to_string(), format!("{version}; `{command}`"));
    }
    if !facts.optimized {
        line(
            "WARNING",
            "turnpike-perf was built without optimization: origin, generator and hop are slow"
                .to_owned(),
        );
    }
    for stage in stages {
        text.push_str(&stage_table(stage));
    }
    text
}

fn stage_table(stage: &Stage) -> String {
    let open_loop = matches!(stage.pacing, Pacing::Rate(_));
    let kind = if open_loop {
        "open loop"
    } else {
        "closed loop"
    };
    let mut text = format!("\n## {} ({kind})\n\n", capitalised(&stage.name));
    let mut header = vec![
        "peer",
        "requests/s",
        "CPU µs/request",
        "÷ hop",
        "÷ nginx",
        "workers' CPU µs/request",
        "workers ÷ hop",
        "workers ÷ nginx",
    ];
    header.extend(if open_loop {
        [
            "p50 µs",
            "p90 µs",
            "p99 µs",
            "p99.9 µs",
            "max µs",
            "longest queue",
        ]
        .as_slice()
    } else {
        ["proxy busy", "generator busy"].as_slice()
    });
    header.push("failed");
    writeln!(
        text,
        "| {} |\n|---{}",
        header.join(" | "),
        "|---:".repeat(header.len() - 1) + "|"
    )
    .expect(GROWS);
    for (peer, name) in stage.peers.iter().enumerate() {
        let number = |value: Option<f64>| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
        };
        let all = |one: &Measurement| one.cpu_us;
        let workers = |one: &Measurement| one.worker_cpu_us;
        // No thread with the name of a worker was found: a zero would look like a result.
        let seen = Some(stage.median(peer, workers)).filter(|worker_us| *worker_us > 0.0);
        let mut cells = vec![
            name.to_string(),
            format!("{:.0}", stage.median(peer, |one| one.throughput_per_s)),
            format!("{:.2}", stage.median(peer, all)),
            number(stage.ratio(peer, PeerName::Hop, all)),
            number(stage.ratio(peer, PeerName::Nginx, all)),
            number(seen),
            number(seen.and_then(|_| stage.ratio(peer, PeerName::Hop, workers))),
            number(seen.and_then(|_| stage.ratio(peer, PeerName::Nginx, workers))),
        ];
        if open_loop {
            let percentiles: [fn(&LatencyUs) -> f64; 5] =
                [|l| l.p50, |l| l.p90, |l| l.p99, |l| l.p99_9, |l| l.max];
            cells.extend(
                percentiles.map(|value| {
                    format!("{:.0}", stage.median(peer, |one| value(&one.latency_us)))
                }),
            );
            let longest = stage
                .rounds
                .iter()
                .map(|round| round[peer].backlog_max)
                .max()
                .unwrap_or_default();
            cells.push(longest.to_string());
        } else {
            cells.push(format!(
                "{:.0} %",
                stage.median(peer, |one| one.proxy_busy) * 100.0
            ));
            cells.push(format!(
                "{:.0} %",
                stage.median(peer, |one| one.generator_busy) * 100.0
            ));
        }
        cells.push(stage.failed_of(peer).to_string());
        writeln!(text, "| {} |", cells.join(" | ")).expect(GROWS);
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Every single measurement, for other programs.
pub(crate) fn to_json(facts: &Facts, stages: &[Stage]) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct StageJson<'a> {
        name: &'a str,
        rate_per_s: Option<f64>,
        rounds: Vec<BTreeMap<PeerName, &'a Measurement>>,
    }
    #[derive(Serialize)]
    struct Report<'a> {
        facts: &'a Facts,
        stages: Vec<StageJson<'a>>,
    }
    let stages = stages
        .iter()
        .map(|stage| StageJson {
            name: &stage.name,
            rate_per_s: match stage.pacing {
                Pacing::Saturate => None,
                Pacing::Rate(rate) => Some(rate),
            },
            rounds: stage
                .rounds
                .iter()
                .map(|round| stage.peers.iter().copied().zip(round).collect())
                .collect(),
        })
        .collect();
    Ok(serde_json::to_string_pretty(&Report { facts, stages })? + "\n")
}

const GROWS: &str = "writing to a String cannot fail because it grows";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::empty_histogram;

    fn measurement(completed: u64, cpu_us: u64) -> Measurement {
        let mut histogram = empty_histogram();
        histogram.record(150_000).unwrap();
        let outcome = Outcome {
            window_s: 2.0,
            completed,
            body_bytes: 0,
            histogram,
            failures: Vec::new(),
            backlog_max: 3,
        };
        let proxy = CpuTime {
            all_ns: completed * cpu_us * 1_000,
            workers_ns: completed * cpu_us * 500,
        };
        Measurement::new(
            outcome,
            proxy,
            CpuTime {
                all_ns: 1_000_000_000,
                workers_ns: 0,
            },
        )
    }

    fn stage(pacing: Pacing) -> Stage {
        // The second round ran in a slow phase: everybody needed twice the CPU, so the ratios stay.
        let rounds = [(10, 15), (20, 30), (10, 16)];
        Stage {
            name: "saturated".to_owned(),
            pacing,
            peers: vec![PeerName::Hop, PeerName::Turnpike],
            rounds: rounds
                .map(|(hop, gateway)| vec![measurement(100_000, hop), measurement(80_000, gateway)])
                .into(),
        }
    }

    /// Ratios are taken inside a round first, so that a slow phase of the machine does not show in them.
    #[test]
    fn ratios_are_taken_round_by_round() {
        let stage = stage(Pacing::Saturate);
        assert_eq!(stage.median(1, |one| one.cpu_us), 16.0);
        assert_eq!(stage.ratio(1, PeerName::Hop, |one| one.cpu_us), Some(1.5));
        assert_eq!(stage.ratio(1, PeerName::Nginx, |one| one.cpu_us), None);
        assert_eq!(stage.slowest_median_per_s(), 40_000.0);
    }

    /// Every row of a table has as many cells as its heading; absent peers show as a dash.
    #[test]
    fn tables_are_rectangular() {
        for pacing in [Pacing::Saturate, Pacing::Rate(100.0)] {
            let table = stage_table(&stage(pacing));
            let widths: Vec<usize> = table
                .lines()
                .filter(|line| line.starts_with('|'))
                .map(|line| line.matches('|').count())
                .collect();
            assert!(
                widths.len() == 4 && widths.iter().all(|width| *width == widths[0]),
                "{table}"
            );
            assert!(
                table.contains("| turnpike | 40000 | 16.00 | 1.50 | – | 8.00 | 0.75 | – |"),
                "{table}"
            );
        }
    }

    /// Workers that were not found show as a dash, never as a cost of nothing.
    #[test]
    fn unseen_workers_have_no_cost() {
        let mut stage = stage(Pacing::Saturate);
        for round in &mut stage.rounds {
            round[1].worker_cpu_us = 0.0;
        }
        let table = stage_table(&stage);
        assert!(
            table.contains("| turnpike | 40000 | 16.00 | 1.50 | – | – | – | – |"),
            "{table}"
        );
    }

    /// The middle of odd and even numbers of values.
    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
