//! The state of one worker. Nothing here is shared with another worker, so nothing is locked.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tracing::warn;
use turnpike_core::exchange::Memory;
use turnpike_core::ident::{IdGenerator, IdText};
use turnpike_core::lifecycle::Lifecycle;
use turnpike_core::need::link::WorkerEnd;
use turnpike_core::report::{PushOutcome, Record, ReportSender};
use turnpike_core::snapshot::{Snapshot, SnapshotCell};
use turnpike_core::stats::WorkerStats;

use super::{Desk, Registry, StepMeter};
use crate::buffer::BufferPool;
use crate::driver::{Clock, Timers};
use crate::settings::Settings;
use crate::upstream::{Elsewhere, Upstreams};

/// Memories of exchanges with policies that a worker keeps for reuse.
const MEMORIES_KEPT: usize = 64;

/// What a shard is made of; crosses from the main thread to the worker's.
pub(crate) struct Parts {
    pub(crate) id: usize,
    pub(crate) settings: Arc<Settings>,
    pub(crate) servers: Vec<ServerPlace>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) snapshots: Arc<SnapshotCell>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) reports: ReportSender,
    pub(crate) link: WorkerEnd,
    pub(crate) seed: [u64; 4],
}

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerPlace {
    pub(crate) address: SocketAddr,
}

/// The snapshot that an exchange began on. Exchanges share it through the worker's own count, so that no counter shared between workers is
/// touched per request; the worker's one reference to the snapshot goes when the last of them ends.
pub(crate) struct PinnedSnapshot(Arc<Snapshot>);

impl std::ops::Deref for PinnedSnapshot {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// Worker-local state.
pub(crate) struct Shard {
    pub(crate) id: usize,
    pub(crate) settings: Arc<Settings>,
    pub(crate) servers: Vec<ServerPlace>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) clock: Clock,
    pub(crate) timers: Timers,
    pub(crate) buffers: BufferPool,
    pub(crate) upstreams: Upstreams,
    pub(crate) registry: Registry,
    /// Where errands are handed in.
    pub(crate) desk: Desk,
    /// Counts the steps of policies.
    pub(crate) meter: StepMeter,
    /// Origins that policies named.
    pub(crate) elsewhere: Elsewhere,
    /// Listeners are closed; connections end after their exchange.
    pub(crate) stopping: Cell<bool>,
    snapshots: Arc<SnapshotCell>,
    current: RefCell<Rc<PinnedSnapshot>>,
    reports: RefCell<ReportSender>,
    memories: RefCell<Vec<Memory>>,
    seed: Cell<u64>,
    ids: RefCell<IdGenerator>,
    accept_warned_ms: Cell<u64>,
}

impl Shard {
    pub(crate) fn new(parts: Parts) -> Self {
        let clock = Clock::start();
        let current = parts.snapshots.load_full();
        Self {
            id: parts.id,
            upstreams: Upstreams::new(clock, Arc::clone(&parts.stats), parts.settings.workers),
            settings: parts.settings,
            servers: parts.servers,
            lifecycle: parts.lifecycle,
            stats: Arc::clone(&parts.stats),
            clock,
            timers: Timers::default(),
            buffers: BufferPool::default(),
            registry: Registry::default(),
            desk: Desk::new(parts.link, Arc::clone(&parts.stats)),
            meter: StepMeter::new(Arc::clone(&parts.stats)),
            elsewhere: Elsewhere::default(),
            stopping: Cell::new(false),
            snapshots: parts.snapshots,
            current: RefCell::new(Rc::new(PinnedSnapshot(current))),
            reports: RefCell::new(parts.reports),
            memories: RefCell::default(),
            seed: Cell::new(parts.seed[0] ^ parts.seed[2].rotate_left(32)),
            ids: RefCell::new(IdGenerator::new(parts.seed)),
            accept_warned_ms: Cell::new(0),
        }
    }

    /// The snapshot for a new exchange, pinned for its life. One atomic load when nothing was published, and no shared counter is
    /// touched: the count of the pin is the worker's own.
    pub(crate) fn snapshot(&self) -> Rc<PinnedSnapshot> {
        self.refresh_snapshot();
        Rc::clone(&self.current.borrow())
    }

    /// Lets go of a replaced snapshot, also on a worker that serves nothing.
    pub(crate) fn refresh_snapshot(&self) {
        let mut current = self.current.borrow_mut();
        if !self.snapshots.is_current(&current.0) {
            *current = Rc::new(PinnedSnapshot(self.snapshots.load_full()));
        }
    }

    /// A new request id.
    pub(crate) fn next_id(&self) -> IdText {
        self.ids.borrow_mut().next_id(self.settings.id_format)
    }

    /// Memory for an exchange with policies.
    pub(crate) fn take_memory(&self) -> Memory {
        self.memories.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes memory back for the next exchange with policies.
    pub(crate) fn put_memory(&self, memory: Memory) {
        let mut memories = self.memories.borrow_mut();
        if memories.len() < MEMORIES_KEPT {
            memories.push(memory);
        }
    }

    /// A number that starts an exchange's own random numbers (splitmix64): not for secrets.
    pub(crate) fn next_seed(&self) -> u64 {
        let state = self.seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.seed.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Hands a record to the control thread, or counts it as dropped.
    pub(crate) fn report(&self, record: &Record<'_>) {
        match self.reports.borrow_mut().push(record) {
            PushOutcome::Pushed => self.stats.reports_pushed.add(1),
            PushOutcome::Dropped => self.stats.reports_dropped.add(1),
        }
    }

    /// Whether connections should end after their exchange.
    pub(crate) fn is_draining(&self) -> bool {
        self.stopping.get() || self.lifecycle.is_draining()
    }

    /// Warns that descriptors ran out, at most once in ten seconds.
    pub(crate) fn warn_accept(&self, error: &io::Error) {
        let now_ms = self.clock.now_ms();
        if self.accept_warned_ms.get() == 0 || now_ms - self.accept_warned_ms.get() > 10_000 {
            self.accept_warned_ms.set(now_ms);
            warn!(
                worker = self.id,
                %error,
                "cannot accept connections; hint: raise the limit of open files (ulimit -n, LimitNOFILE)"
            );
        }
    }
}
