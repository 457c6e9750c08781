//! The life of a gateway process, as every thread sees it.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Listeners are being opened.
    Starting = 0,
    /// Listeners serve, the first complete sync cycle is not done.
    Syncing = 1,
    /// The first complete cycle is done (or a stored snapshot was loaded).
    Ready = 2,
    /// A stop was asked for: serve, and answer `Connection: close`.
    Draining = 3,
    /// Listeners are closed; only running exchanges are finished.
    Stopped = 4,
}

/// The stage, shared by all threads. It only moves forward.
#[derive(Debug, Default)]
pub struct Lifecycle(AtomicU8);

impl Lifecycle {
    /// A process that starts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves forward to `stage`; a stage that was already passed is left alone.
    pub fn advance(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::AcqRel);
    }

    /// The stage now.
    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Syncing,
            2 => Stage::Ready,
            3 => Stage::Draining,
            _ => Stage::Stopped,
        }
    }

    /// True from the moment a stop was asked for.
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Stage::Draining as u8
    }
}
