//! Proxies side by side: one origin, every proxy on the same CPU, measured in turn, then all again.
//!
//! Other work on the machine, clocks and caches change over minutes; within one round they hardly do. So numbers of one round are
//! compared with each other, and tables show medians of the rounds and medians of the per-round ratios.

mod peer;
mod process;
mod scenario;
mod schedstat;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

pub(crate) use peer::PeerName;
pub(crate) use process::pin;

use peer::{Peer, Setup};
use process::Placement;
use scenario::LoadedScenario;
use schedstat::CpuTime;
use table::{Facts, Measurement, Stage};

use crate::cli::CompareOptions;
use crate::load::{Expectation, LoadPlan, Observer, Pacing, empty_histogram, request_bytes};
use crate::load_command::write;
use crate::report::{file_name, hgrm, svg};
use crate::{host, load};

/// A request that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the last requests of an open loop to be answered.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs the comparison and writes its results.
pub(crate) fn run(options: &CompareOptions) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        eprintln!(
            "warning: turnpike-perf was built without optimization; use `cargo build --release` for numbers that count"
        );
    }
    let loaded = with_overrides(scenario::load(&options.scenario)?, options);
    check_peers(options)?;
    let results = results_folder(&options.results, &loaded.scenario.name)?;
    let logs = results.join("logs");
    fs::create_dir(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let scratch = Scratch::create(&results)?;

    // The generator shares its CPU with the origin; the other one belongs to the proxy alone.
    host::pin_to_cpu(options.load_cpu)
        .with_context(|| format!("cannot stay on cpu {}", options.load_cpu))?;
    let own_priority = OwnPriority::set(options.nice);
    let [origin_address] = process::free_addresses()?;
    let request = &loaded.scenario.request;
    let headers: Vec<_> = request.headers.clone().into_iter().collect();
    let setup = Setup {
        origin: origin_address,
        proxy: Placement {
            cpu: options.proxy_cpu,
            nice: options.nice,
        },
        helpers: Placement {
            cpu: options.load_cpu,
            nice: options.nice,
        },
        scratch: scratch.0.clone(),
        logs,
        nginx: options.nginx.clone(),
        gateway: options.gateway.clone(),
        request: request_bytes(
            &request.method,
            "perf.example",
            &request.path,
            &headers,
            request.body_bytes,
        ),
        expectation: Expectation {
            status: loaded.scenario.response.status,
            body_bytes: Some(loaded.scenario.response.body_bytes),
        },
        scenario: &loaded,
    };
    // The probe of a peer uses one connection and ends it; nothing of it is left in the measurements.
    let mut origin = peer::start_origin(&setup)?;
    let mut peers = Vec::with_capacity(options.peers.len());
    for name in &options.peers {
        eprintln!("starting {name}");
        peers.push(Peer::start(*name, &setup)?);
    }
    let facts = Facts::gather(&loaded, options, &peers, own_priority.granted);

    let mut session = Session {
        setup: &setup,
        peers: &mut peers,
        stages: Vec::new(),
    };
    session.measure(Pacing::Saturate, "saturated".to_owned())?;
    for (rate, name) in open_loop_rates(&loaded, &session.stages[0]) {
        session.measure(Pacing::Rate(rate), name)?;
    }
    origin.check_alive()?;
    let stages = session.stages;

    let report = table::to_markdown(&facts, &stages);
    write(&results.join("table.md"), &report)?;
    write(
        &results.join("results.json"),
        &table::to_json(&facts, &stages)?,
    )?;
    write_distributions(&results, &loaded.scenario.title, &stages)?;
    print!("{report}");
    eprintln!("results are in {}", results.display());
    if let Some(failed) = stages
        .iter()
        .map(Stage::failed)
        .reduce(|left, right| left + right)
        .filter(|failed| *failed > 0)
    {
        eprintln!("warning: {failed} requests failed; the numbers of those cells do not count");
    }
    Ok(())
}

fn with_overrides(mut loaded: LoadedScenario, options: &CompareOptions) -> LoadedScenario {
    let load = &mut loaded.scenario.load;
    load.repeats = options.repeats.unwrap_or(load.repeats);
    load.duration_s = options.duration.unwrap_or(load.duration_s);
    load.warm_up_s = options.warm_up.unwrap_or(load.warm_up_s);
    loaded
}

fn check_peers(options: &CompareOptions) -> anyhow::Result<()> {
    for (index, name) in options.peers.iter().enumerate() {
        if options.peers[..index].contains(name) {
            bail!("--peers: {name} is named twice; two of a kind would disturb each other");
        }
    }
    if options.peers.contains(&PeerName::Turnpike) && options.gateway.is_none() {
        bail!(
            "--peers names turnpike: expected --gateway FILE\nhint: --peers hop,nginx runs without the gateway"
        );
    }
    Ok(())
}

/// Makes `<results>/<date>-<scenario>`, with the time appended when it exists already.
fn results_folder(results: &Path, scenario: &str) -> anyhow::Result<PathBuf> {
    let (date, time) = host::date_and_time();
    let name = file_name(scenario);
    fs::create_dir_all(results).with_context(|| format!("cannot create {}", results.display()))?;
    for suffix in [
        String::new(),
        format!("-{time}"),
        format!("-{time}-{}", std::process::id()),
    ] {
        let folder = results.join(format!("{date}-{name}{suffix}"));
        match fs::create_dir(&folder) {
            Ok(()) => {
                return fs::canonicalize(&folder)
                    .with_context(|| format!("cannot find {}", folder.display()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot create {}", folder.display()));
            }
        }
    }
    bail!(
        "{}: three results of this minute exist already",
        results.display()
    )
}

/// Configuration files of the peers; removed with the keys and tokens among them.
struct Scratch(PathBuf);

impl Scratch {
    fn create(results: &Path) -> anyhow::Result<Self> {
        let folder = results.join("scratch");
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// The generator's own priority, given back afterwards: the scheduler group may be that of the operator's shell.
struct OwnPriority {
    wanted: i32,
    granted: bool,
}

impl OwnPriority {
    fn set(wanted: i32) -> Self {
        let granted = wanted == 0 || host::set_nice(wanted).is_ok();
        if !granted {
            eprintln!(
                "warning: nice {wanted} was refused; other programs on this machine will disturb the numbers more"
            );
        }
        Self { wanted, granted }
    }
}

impl Drop for OwnPriority {
    fn drop(&mut self) {
        if self.wanted != 0
            && self.granted
            && let Err(error) = host::set_nice(0)
        {
            eprintln!("warning: the priority of this session could not be given back: {error}");
        }
    }
}

/// The rates to run at: percentages of what the slowest peer reached, then the scenario's own.
fn open_loop_rates(loaded: &LoadedScenario, saturated: &Stage) -> Vec<(f64, String)> {
    let load = &loaded.scenario.load;
    let slowest = saturated.slowest_median_per_s();
    let mut rates: Vec<(f64, String)> = Vec::new();
    for percent in &load.rates_percent {
        let rate = (slowest * percent / 100.0 / 10.0).round() * 10.0;
        if rate >= 10.0 {
            rates.push((
                rate,
                format!("{rate:.0}/s, {percent} % of the slowest peer's maximum"),
            ));
        }
    }
    rates.extend(
        load.rates_per_s
            .iter()
            .map(|rate| (*rate, format!("{rate}/s"))),
    );
    rates
}

/// Measures all peers, stage after stage.
struct Session<'a> {
    setup: &'a Setup<'a>,
    peers: &'a mut [Peer],
    stages: Vec<Stage>,
}

impl Session<'_> {
    /// One stage: `repeats` rounds over all peers under one kind of load.
    fn measure(&mut self, pacing: Pacing, name: String) -> anyhow::Result<()> {
        let repeats = self.setup.scenario.scenario.load.repeats;
        let names: Vec<PeerName> = self.peers.iter().map(|peer| peer.name).collect();
        let mut stage = Stage {
            name,
            pacing,
            peers: names,
            rounds: Vec::new(),
        };
        for round in 1..=repeats {
            let mut measurements = Vec::with_capacity(self.peers.len());
            for peer in self.peers.iter_mut() {
                let measurement = measure_once(peer, self.setup, pacing)
                    .with_context(|| format!("peer {}", peer.name))?;
                eprintln!(
                    "{}, round {round} of {repeats}, {}: {measurement}",
                    stage.name, peer.name
                );
                measurements.push(measurement);
            }
            stage.rounds.push(measurements);
        }
        self.stages.push(stage);
        Ok(())
    }
}

fn measure_once(peer: &mut Peer, setup: &Setup<'_>, pacing: Pacing) -> anyhow::Result<Measurement> {
    peer.process.check_alive()?;
    let spec = &setup.scenario.scenario.load;
    let plan = LoadPlan {
        target: peer.address,
        request: setup.request.clone(),
        head_request: setup.scenario.scenario.request.method == "HEAD",
        expectation: setup.expectation,
        connections: spec.connections,
        pacing,
        warm_up: Duration::from_secs_f64(spec.warm_up_s),
        duration: Duration::from_secs_f64(spec.duration_s),
        request_timeout: REQUEST_TIMEOUT,
        drain: DRAIN,
    };
    let mut sampler = CpuSampler {
        pid: peer.process.id(),
        prefix: peer.worker_prefix(),
        ..CpuSampler::default()
    };
    let outcome = load::run(&plan, &mut sampler)?;
    peer.process.check_alive()?;
    Ok(Measurement::new(outcome, sampler.proxy, sampler.generator))
}

/// Reads CPU times at the edges of the window.
#[derive(Default)]
struct CpuSampler {
    pid: u32,
    prefix: Option<&'static str>,
    at_opening: (CpuTime, CpuTime),
    /// Used by the proxy in the window.
    proxy: CpuTime,
    /// Used by the generator.
    generator: CpuTime,
}

impl CpuSampler {
    fn read(&self) -> (CpuTime, CpuTime) {
        (
            CpuTime::read(self.pid, self.prefix),
            CpuTime::read_one(std::process::id()),
        )
    }
}

impl Observer for CpuSampler {
    fn window_opens(&mut self) {
        self.at_opening = self.read();
    }

    fn window_closes(&mut self) {
        let (proxy, generator) = self.read();
        self.proxy = proxy.since(self.at_opening.0);
        self.generator = generator.since(self.at_opening.1);
    }
}

/// Writes each peer's distribution over all rounds, and one picture per stage.
fn write_distributions(results: &Path, title: &str, stages: &[Stage]) -> anyhow::Result<()> {
    for stage in stages {
        let slug = match stage.pacing {
            Pacing::Saturate => "saturated".to_owned(),
            Pacing::Rate(rate) => format!("rate-{rate:.0}"),
        };
        let mut series = Vec::new();
        for (index, name) in stage.peers.iter().enumerate() {
            let histogram = merged(stage, index)?;
            write(
                &results.join(format!("{slug}-{name}.hgrm")),
                &hgrm::to_text(&histogram),
            )?;
            series.push(svg::Series {
                name: name.to_string(),
                points: hgrm::points(&histogram),
            });
        }
        let picture = svg::draw(&format!("{title}: {}", stage.name), &series);
        write(&results.join(format!("{slug}.svg")), &picture)?;
    }
    Ok(())
}

fn merged(stage: &Stage, peer: usize) -> anyhow::Result<Histogram<u64>> {
    let mut all = empty_histogram();
    for round in &stage.rounds {
        all.add(&round[peer].histogram)
            .context("histograms of one run have the same bounds")?;
    }
    Ok(all)
}
