//! Counts what the steps of policies do, and how long they take.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use turnpike_core::flow::{Meter, StepOutcome};
use turnpike_core::stats::WorkerStats;

/// The meter of one worker. Policies never wait, so at most one runs at a time.
pub(crate) struct StepMeter {
    stats: Arc<WorkerStats>,
    began: Cell<Option<Instant>>,
}

impl StepMeter {
    pub(crate) fn new(stats: Arc<WorkerStats>) -> Self {
        Self {
            stats,
            began: Cell::new(None),
        }
    }
}

impl Meter for StepMeter {
    fn begin(&self, _policy_index: usize) {
        self.began.set(Some(Instant::now()));
    }

    fn end(&self, policy_index: usize, outcome: StepOutcome, ended: bool) {
        let (Some(cell), Some(began)) = (self.stats.policies.get(policy_index), self.began.take())
        else {
            return;
        };
        cell.time_ns_sum.add(began.elapsed().as_nanos() as u64);
        if ended {
            cell.executed.add(1);
        }
        match outcome {
            StepOutcome::Passed => {}
            StepOutcome::Interrupted => cell.interrupted.add(1),
            StepOutcome::Failed => cell.failed.add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_waits_is_counted_once_when_it_is_over() {
        let stats = Arc::new(WorkerStats::new());
        let meter = StepMeter::new(Arc::clone(&stats));
        meter.begin(0);
        meter.end(0, StepOutcome::Passed, false);
        assert_eq!(stats.policies[0].executed.get(), 0);
        meter.begin(0);
        meter.end(0, StepOutcome::Failed, true);
        let cell = &stats.policies[0];
        assert_eq!(
            (
                cell.executed.get(),
                cell.failed.get(),
                cell.interrupted.get()
            ),
            (1, 1, 0)
        );
        meter.begin(usize::MAX);
        meter.end(usize::MAX, StepOutcome::Passed, true);
    }
}
