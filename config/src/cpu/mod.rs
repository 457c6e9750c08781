//! How many workers there are and on which CPUs: explicit list, affinity mask, control group quota, all CPUs, in this order.
//!
//! # When a worker is pinned
//! - An explicit list is an order: one worker on each of its CPUs.
//! - Under a quota nobody is pinned: the group is throttled as a whole, and a pinned worker would wait for its CPU while another
//!   one is free. A quota above the CPUs of the mask never throttles and counts as none.
//! - Otherwise there is one worker per CPU of the mask, pinned: with as many workers as CPUs, moving one could only put two on the
//!   same CPU. What else runs here (the control thread, other processes) is left to the scheduler, which moves it around them.
//! - One CPU needs no pin, and a number of workers that was set by hand does not fit the CPUs one to one.

mod facts;
mod list;

pub use facts::{CpuFacts, CpuQuota};
pub use list::{CPUS_MAX, CpuListError, format_list, parse_list};

use crate::settings::RuntimeConfig;

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

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuPlanError {
    /// The list names CPUs that we may not run on.
    #[error(
        "gateway.runtime.cpus: expected CPUs out of {allowed}, which this process may run on, found {denied}"
    )]
    OutsideMask {
        /// What was asked for and is not granted.
        denied: String,
        /// What is granted.
        allowed: String,
    },
    /// More workers than listed CPUs.
    #[error(
        "gateway.runtime.workers: expected at most {cpus}, the number of CPUs in gateway.runtime.cpus, found {workers}"
    )]
    MoreWorkersThanCpus {
        /// Workers asked for.
        workers: usize,
        /// CPUs listed.
        cpus: usize,
    },
    /// The kernel grants no CPU, which cannot be while we run.
    #[error("the affinity mask is empty")]
    EmptyMask,
}

impl CpuPlan {
    /// Plans from settings and facts alone.
    pub fn detect(runtime: &RuntimeConfig, facts: &CpuFacts) -> Result<Self, CpuPlanError> {
        if facts.mask.is_empty() {
            return Err(CpuPlanError::EmptyMask);
        }
        if let Some(cpus) = runtime.cpus.as_deref().filter(|cpus| !cpus.is_empty()) {
            return Self::explicit(cpus, runtime.workers, facts);
        }
        let granted = facts.mask.len();
        let quota = facts.quota.filter(|quota| quota.workers() <= granted);
        if let Some(workers) = runtime.workers {
            return Ok(Self::floating(
                workers.max(1),
                format!("gateway.runtime.workers {workers}"),
            ));
        }
        if let Some(quota) = quota {
            return Ok(Self::floating(
                quota.workers().min(granted),
                format!("cgroup quota {:.2}", quota.cpus()),
            ));
        }
        let reason = if granted < facts.online.len() {
            format!("affinity mask {}", format_list(&facts.mask))
        } else {
            format!("all CPUs {}", format_list(&facts.mask))
        };
        if granted == 1 {
            return Ok(Self::floating(1, reason));
        }
        Ok(Self::pinned(&facts.mask, reason))
    }

    fn explicit(
        cpus: &[usize],
        workers: Option<usize>,
        facts: &CpuFacts,
    ) -> Result<Self, CpuPlanError> {
        let denied: Vec<usize> = cpus
            .iter()
            .copied()
            .filter(|cpu| !facts.mask.contains(cpu))
            .collect();
        if !denied.is_empty() {
            return Err(CpuPlanError::OutsideMask {
                denied: format_list(&denied),
                allowed: format_list(&facts.mask),
            });
        }
        let workers = workers.unwrap_or(cpus.len()).max(1);
        let Some(cpus) = cpus.get(..workers) else {
            return Err(CpuPlanError::MoreWorkersThanCpus {
                workers,
                cpus: cpus.len(),
            });
        };
        Ok(Self::pinned(
            cpus,
            format!("gateway.runtime.cpus {}", format_list(cpus)),
        ))
    }

    fn pinned(cpus: &[usize], reason: String) -> Self {
        Self {
            workers: cpus
                .iter()
                .map(|&cpu| WorkerPlacement { cpu: Some(cpu) })
                .collect(),
            reason,
        }
    }

    fn floating(workers: usize, reason: String) -> Self {
        Self {
            workers: vec![WorkerPlacement { cpu: None }; workers],
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(mask: &str, online: &str, quota: Option<u64>) -> CpuFacts {
        CpuFacts {
            mask: parse_list(mask).unwrap(),
            online: parse_list(online).unwrap(),
            quota: quota.map(|runtime_us| CpuQuota {
                runtime_us,
                period_us: 100_000,
            }),
        }
    }

    /// The plan in short: `0 1 2` are pinned workers, `- -` floating ones.
    fn plan(cpus: Option<&str>, workers: Option<usize>, facts: &CpuFacts) -> String {
        let runtime = RuntimeConfig {
            cpus: cpus.map(|list| parse_list(list).unwrap()),
            workers,
            ..RuntimeConfig::default()
        };
        match CpuPlan::detect(&runtime, facts) {
            Ok(plan) => {
                let workers = plan.workers.iter().map(|worker| {
                    worker
                        .cpu
                        .map_or_else(|| "-".to_owned(), |cpu| cpu.to_string())
                });
                format!(
                    "{} ({})",
                    workers.collect::<Vec<_>>().join(" "),
                    plan.reason
                )
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn workers_follow_list_mask_quota_and_machine_in_this_order() {
        let whole = facts("0-3", "0-3", None);
        for (cpus, workers, facts, expected) in [
            (None, None, &whole, "0 1 2 3 (all CPUs 0-3)"),
            (
                None,
                None,
                &facts("2-3", "0-3", None),
                "2 3 (affinity mask 2-3)",
            ),
            (None, None, &facts("2", "0-3", None), "- (affinity mask 2)"),
            (None, None, &facts("0", "0", None), "- (all CPUs 0)"),
            (
                None,
                None,
                &facts("0-3", "0-3", Some(50_000)),
                "- (cgroup quota 0.50)",
            ),
            (
                None,
                None,
                &facts("0-3", "0-3", Some(150_000)),
                "- - (cgroup quota 1.50)",
            ),
            (
                None,
                None,
                &facts("0-1", "0-3", Some(800_000)),
                "0 1 (affinity mask 0-1)",
            ),
            (
                None,
                None,
                &facts("0-3", "0-3", Some(400_000)),
                "- - - - (cgroup quota 4.00)",
            ),
            (None, Some(2), &whole, "- - (gateway.runtime.workers 2)"),
            (
                None,
                Some(3),
                &facts("0-3", "0-3", Some(50_000)),
                "- - - (gateway.runtime.workers 3)",
            ),
            (Some("3,1"), None, &whole, "3 1 (gateway.runtime.cpus 3,1)"),
            (
                Some("0-2"),
                Some(2),
                &whole,
                "0 1 (gateway.runtime.cpus 0-1)",
            ),
            (
                Some("1"),
                None,
                &facts("0-3", "0-3", Some(50_000)),
                "1 (gateway.runtime.cpus 1)",
            ),
            (
                Some("0"),
                Some(2),
                &whole,
                "gateway.runtime.workers: expected at most 1, the number of CPUs in gateway.runtime.cpus, found 2",
            ),
            (
                Some("2-5"),
                None,
                &whole,
                "gateway.runtime.cpus: expected CPUs out of 0-3, which this process may run on, found 4-5",
            ),
        ] {
            assert_eq!(
                plan(cpus, workers, facts),
                expected,
                "{cpus:?} {workers:?} {facts:?}"
            );
        }
    }

    #[test]
    fn an_empty_mask_is_an_error_and_no_panic() {
        let facts = CpuFacts {
            mask: vec![],
            online: vec![0],
            quota: None,
        };
        assert_eq!(
            CpuPlan::detect(&RuntimeConfig::default(), &facts),
            Err(CpuPlanError::EmptyMask)
        );
    }
}
