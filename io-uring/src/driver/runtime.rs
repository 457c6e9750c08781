//! One runtime per worker thread.

use std::io;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use super::DriverKind;

/// Runs `future` to its end on a new runtime of this thread.
///
/// The ring is set up with `SINGLE_ISSUER | COOP_TASKRUN | TASKRUN_FLAG`. `DEFER_TASKRUN` would save nothing measurable and, with monoio's
/// loop, delivers no completion while tasks keep each other runnable.
pub(crate) fn run<F: Future>(kind: DriverKind, entries: u32, future: F) -> io::Result<F::Output> {
    match kind {
        DriverKind::IoUring => {
            let mut flags = io_uring::IoUring::builder();
            flags
                .setup_single_issuer()
                .setup_coop_taskrun()
                .setup_taskrun_flag();
            let build = |flags| {
                RuntimeBuilder::<IoUringDriver>::new()
                    .with_entries(entries)
                    .uring_builder(flags)
                    .enable_timer()
                    .build()
            };
            // Kernels before 6.0 do not know the flags: the ring works without them.
            let mut runtime = build(flags).or_else(|_| build(io_uring::IoUring::builder()))?;
            Ok(runtime.block_on(future))
        }
        DriverKind::Epoll => {
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new()
                .with_entries(entries)
                .enable_timer()
                .build()?;
            Ok(runtime.block_on(future))
        }
    }
}
