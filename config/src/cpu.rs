//! How many workers there are and on which CPUs (ecosystem rule: explicit list, affinity mask, cgroup quota, all CPUs).

/// One worker of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerPlacement {
    /// CPU that the worker is pinned to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
}

/// The plan that the process follows and logs at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuPlan {
    /// Workers in order; never empty.
    pub workers: Vec<WorkerPlacement>,
    /// Why the plan is so, for the banner: "affinity mask 0-1", "cgroup quota 0.50", ….
    pub reason: String,
}
