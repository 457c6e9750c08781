//! `turnpike run`: the gateway.
//!
//! The main thread becomes the control thread; the workers are threads of their own. Exit codes: 0 after a stop that was asked for, 1 when the
//! gateway could not start or a worker failed, 2 for unusable arguments.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use turnpike_config::Config;
use turnpike_config::cpu::{CpuFacts, CpuPlan};
use turnpike_control::node::DriverInfo;
use turnpike_control::{ControlPlane, ControlPlaneInput};
use turnpike_core::lifecycle::{Lifecycle, Stage};
use turnpike_core::need::link::link;
use turnpike_core::report::ring;
use turnpike_core::snapshot::SnapshotCell;
use turnpike_core::stats::WorkerStats;
use turnpike_uring::{Drained, Fleet, FleetOptions, WorkerInput};

use crate::check;
use crate::cli::SettingsOptions;
use crate::expressions;
use crate::logging;

/// How often the workers are looked at: one that ends by itself ends the process, so that a supervisor starts a whole one.
const WATCH_PERIOD: Duration = Duration::from_millis(500);

pub(crate) fn run(options: &SettingsOptions) -> anyhow::Result<ExitCode> {
    logging::init()?;
    let loaded = match Config::load(&check::load_options(options)) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(check::refuse(&error)?),
    };
    check::print(&loaded.diagnostics)?;
    check::print(&expressions::apply(&loaded.config))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .context("the control thread's runtime cannot be made")?;
    runtime.block_on(serve(Arc::new(loaded.config)))
}

async fn serve(config: Arc<Config>) -> anyhow::Result<ExitCode> {
    // Before anything listens: a signal that comes early must not end the process without a word.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let settings = ControlPlane::settings(&config)?;
    let plan = CpuPlan::detect(&config.runtime, &CpuFacts::read()?)?;
    let lifecycle = Arc::new(Lifecycle::new());
    let snapshots = Arc::new(SnapshotCell::new());
    let mut inputs = Vec::new();
    let mut workers = Vec::new();
    let mut receivers = Vec::new();
    let mut links = Vec::new();
    for _ in &plan.workers {
        let (sender, receiver) = ring(config.runtime.report_ring_bytes);
        let (worker_end, control_end) = link();
        links.push(control_end);
        let stats = Arc::new(WorkerStats::new());
        inputs.push(WorkerInput {
            reports: sender,
            link: worker_end,
            stats: Arc::clone(&stats),
        });
        workers.push(stats);
        receivers.push(receiver);
    }
    let fleet = Fleet::start(FleetOptions {
        config: &config,
        plan: &plan,
        snapshots: Arc::clone(&snapshots),
        lifecycle: Arc::clone(&lifecycle),
        inputs,
    })?;
    let control = ControlPlane::start(ControlPlaneInput {
        config: Arc::clone(&config),
        settings,
        lifecycle: Arc::clone(&lifecycle),
        snapshots,
        workers,
        reports: receivers,
        links,
        driver: DriverInfo {
            driver: fleet.driver().kind.to_string(),
            reason: fleet.driver().reason.clone(),
        },
        listeners: fleet.addresses().to_vec(),
        build_version: env!("CARGO_PKG_VERSION"),
    })
    .await?;
    banner(&config, &plan, &fleet, &control);

    let asked = tokio::select! {
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
        () = ended(&fleet) => false,
    };
    if !asked {
        tracing::error!(
            "a worker ended by itself; the process follows, so that a supervisor can start a whole one"
        );
    }
    // Half a gateway does not linger: the delay is for a stop that was planned.
    let delay_ms = if asked { config.shutdown.delay_ms } else { 0 };
    let drained = drain(delay_ms, &lifecycle, fleet, &mut terminate, &mut interrupt).await;
    let reports = control.stop().await;
    lifecycle.advance(Stage::Stopped);
    tracing::info!(
        cut = drained.cut,
        reports_sent = reports.sent(),
        reports_dropped = reports.dropped_total(),
        "stopped"
    );
    if drained.failed > 0 {
        tracing::error!(failed = drained.failed, "workers failed");
    }
    Ok(if asked && drained.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Serves on for `gracefulShutdown.delay` while clients are asked to close, then closes the listeners and lets running exchanges finish. A second
/// signal ends the wait.
async fn drain(
    delay_ms: u64,
    lifecycle: &Lifecycle,
    fleet: Fleet,
    terminate: &mut tokio::signal::unix::Signal,
    interrupt: &mut tokio::signal::unix::Signal,
) -> Drained {
    lifecycle.advance(Stage::Draining);
    let delay = Duration::from_millis(delay_ms);
    tracing::info!(
        delay_ms,
        "stopping: clients are asked to close their connections"
    );
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::task::spawn_blocking(move || fleet.stop())
        .await
        .unwrap_or(Drained { cut: 0, failed: 1 })
}

async fn ended(fleet: &Fleet) {
    while fleet.is_running() {
        tokio::time::sleep(WATCH_PERIOD).await;
    }
}

/// The first lines: what runs, on what, where, and fed by whom.
fn banner(config: &Config, plan: &CpuPlan, fleet: &Fleet, control: &ControlPlane) {
    tracing::info!(
        "turnpike {} on {} ({})",
        env!("CARGO_PKG_VERSION"),
        fleet.driver().kind,
        fleet.driver().reason
    );
    for file in &config.files {
        tracing::info!("settings from {}", file.display());
    }
    tracing::info!("{} worker(s): {}", plan.workers.len(), plan.reason);
    for (id, worker) in plan.workers.iter().enumerate() {
        match worker.cpu {
            Some(cpu) => tracing::info!("worker {id} -> cpu {cpu}"),
            None => tracing::info!("worker {id} -> any cpu"),
        }
    }
    for address in fleet.addresses() {
        tracing::info!("listening on http://{address}");
    }
    if let Some(address) = control.node_api() {
        tracing::info!("node API on http://{address}/_node");
    }
    tracing::info!("rate limiting: {:?}", config.ratelimit_type);
}
