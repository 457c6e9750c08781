//! All workers of the process.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::error;
use turnpike_config::Config;
use turnpike_config::cpu::CpuPlan;
use turnpike_core::lifecycle::Lifecycle;
use turnpike_core::need::link::WorkerEnd;
use turnpike_core::report::ReportSender;
use turnpike_core::snapshot::SnapshotCell;
use turnpike_core::stats::WorkerStats;

use crate::driver::{self, Command, DriverReport, MailboxSender, mailbox};
use crate::listener;
use crate::settings::Settings;
use crate::worker::{self, ServerPlace};

/// A bind that meets an address in use is tried again for this long: after an io_uring process ends, the kernel releases its
/// sockets a little later.
const BIND_RETRIES: u32 = 10;
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// What one worker is given.
#[derive(Debug)]
pub struct WorkerInput {
    /// The worker's end of its report ring.
    pub reports: ReportSender,
    /// The worker's end of its link to the control thread.
    pub link: WorkerEnd,
    /// The worker's counters.
    pub stats: Arc<WorkerStats>,
}

/// What a fleet is started with.
#[derive(Debug)]
pub struct FleetOptions<'a> {
    /// Resolved settings.
    pub config: &'a Config,
    /// Workers and their CPUs.
    pub plan: &'a CpuPlan,
    /// Where snapshots are published.
    pub snapshots: Arc<SnapshotCell>,
    /// The stage of the process.
    pub lifecycle: Arc<Lifecycle>,
    /// One per worker of the plan, in order.
    pub inputs: Vec<WorkerInput>,
}

/// Why a fleet could not be started.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The driver that is demanded cannot be had.
    #[error("gateway.runtime.driver: io_uring was asked for, but {reason}")]
    Driver {
        /// Why not.
        reason: String,
    },
    /// A server cannot listen.
    #[error("http server cannot listen on {host}:{port}")]
    Bind {
        /// Configured host.
        host: String,
        /// Configured port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// A thread or its mailbox could not be made.
    #[error("worker {id} cannot be started")]
    Worker {
        /// Worker number.
        id: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// How a stop went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Exchanges that were still running at the limit and were cut.
    pub cut: u64,
    /// Workers that ended in an error or a panic.
    pub failed: usize,
}

/// The running workers.
#[derive(Debug)]
pub struct Fleet {
    workers: Vec<(MailboxSender, JoinHandle<io::Result<worker::Ended>>)>,
    addresses: Vec<SocketAddr>,
    driver: DriverReport,
}

impl Fleet {
    /// Chooses the driver, binds every listener and starts the workers. Nothing runs when this fails.
    pub fn start(options: FleetOptions<'_>) -> Result<Self, FleetError> {
        let config = options.config;
        let count = options.plan.workers.len();
        let driver = driver::choose(config.runtime.driver, config.runtime.ring_entries)
            .map_err(|reason| FleetError::Driver { reason })?;
        let settings = Arc::new(Settings::new(config, count));

        let mut addresses = Vec::new();
        let mut sockets: Vec<Vec<std::net::TcpListener>> = (0..count).map(|_| Vec::new()).collect();
        for server in &config.servers {
            let (address, bound) = bind(server, count)?;
            addresses.push(address);
            for (worker, socket) in sockets.iter_mut().zip(bound) {
                worker.push(socket);
            }
        }
        let servers: Vec<ServerPlace> = addresses
            .iter()
            .map(|address| ServerPlace { address: *address })
            .collect();

        let mut workers = Vec::with_capacity(count);
        for (id, (input, listeners)) in options.inputs.into_iter().zip(sockets).enumerate() {
            let failed = |source| FleetError::Worker { id, source };
            let (sender, receiver) = mailbox().map_err(failed)?;
            let start = worker::Start {
                shard: worker::Parts {
                    id,
                    settings: Arc::clone(&settings),
                    servers: servers.clone(),
                    lifecycle: Arc::clone(&options.lifecycle),
                    snapshots: Arc::clone(&options.snapshots),
                    stats: input.stats,
                    reports: input.reports,
                    link: input.link,
                    seed: seed().map_err(failed)?,
                },
                driver: driver.kind,
                listeners,
                mailbox: receiver,
            };
            let cpu = options.plan.workers[id].cpu;
            let thread = std::thread::Builder::new()
                .name(format!("turnpike-w{id}"))
                .spawn(move || {
                    if let Some(cpu) = cpu {
                        pin(id, cpu);
                    }
                    let outcome = worker::run(start);
                    if let Err(error) = &outcome {
                        error!(worker = id, %error, "worker failed");
                    }
                    outcome
                })
                .map_err(failed)?;
            workers.push((sender, thread));
        }
        Ok(Self {
            workers,
            addresses,
            driver,
        })
    }

    /// Bound addresses, one per server, in order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The driver and why it was chosen.
    pub fn driver(&self) -> &DriverReport {
        &self.driver
    }

    /// Whether every worker's thread is still running.
    pub fn is_running(&self) -> bool {
        self.workers.iter().all(|(_, thread)| !thread.is_finished())
    }

    /// Closes the listeners, lets running exchanges finish within `api.pending_requests_timeout`, and waits for the workers to end.
    /// Blocks; call it from a thread that may.
    pub fn stop(self) -> Drained {
        for (mailbox, _) in &self.workers {
            mailbox.send(Command::Stop);
        }
        let mut drained = Drained::default();
        for (_mailbox, thread) in self.workers {
            match thread.join() {
                Ok(Ok(ended)) => drained.cut += ended.cut,
                Ok(Err(_)) | Err(_) => drained.failed += 1,
            }
        }
        drained
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the main thread waits for the kernel to release a port; nothing runs yet"
)]
fn bind(
    server: &turnpike_config::ServerConfig,
    count: usize,
) -> Result<(SocketAddr, Vec<std::net::TcpListener>), FleetError> {
    let mut attempt = 0;
    loop {
        match listener::bind(server, count) {
            Ok(bound) => return Ok(bound),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < BIND_RETRIES => {
                attempt += 1;
                std::thread::sleep(BIND_PAUSE);
            }
            Err(source) => {
                return Err(FleetError::Bind {
                    host: server.host.clone(),
                    port: server.port,
                    source,
                });
            }
        }
    }
}

fn pin(id: usize, cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(worker = id, cpu, %error, "worker cannot be pinned");
    }
}

fn seed() -> io::Result<[u64; 4]> {
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut seed = [0; 4];
    for (number, bytes) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_ne_bytes(
            bytes
                .try_into()
                .expect("because chunks_exact gives eight bytes"),
        );
    }
    Ok(seed)
}
