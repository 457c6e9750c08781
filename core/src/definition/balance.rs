//! Load balancing (contract request-lifecycle 8.7).

use std::sync::atomic::{AtomicU32, Ordering};

/// Strategy of an endpoint group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balancing {
    /// In definition order, one after another.
    #[default]
    RoundRobin,
    /// Uniformly at random.
    Random,
    /// Exactly `weight` picks per cycle, interleaved.
    WeightedRoundRobin,
    /// Exactly `weight` picks per cycle, in random order.
    WeightedRandom,
}

/// Picks endpoints by index. The position is one relaxed atomic per group, shared by the workers and touched only when the
/// group has more than one endpoint, so that the cycle guarantee holds per node and not per worker.
#[derive(Debug)]
pub struct LoadBalancer {
    order: Box<[u32]>,
    position: AtomicU32,
}

impl LoadBalancer {
    /// A balancer over `endpoints`, given as (weight, secondary) in definition order. Secondaries are used only when there is
    /// no primary.
    pub fn new(_strategy: Balancing, endpoints: &[(u32, bool)]) -> Self {
        let any_primary = endpoints.iter().any(|(_, secondary)| !secondary);
        let order = (0..endpoints.len() as u32)
            .filter(|index| !any_primary || !endpoints[*index as usize].1)
            .collect();
        Self { order, position: AtomicU32::new(0) }
    }

    /// Index of the endpoint for the next request.
    pub fn next(&self) -> Option<usize> {
        match &*self.order {
            [] => None,
            [only] => Some(*only as usize),
            order => {
                let position = self.position.fetch_add(1, Ordering::Relaxed) as usize;
                Some(order[position % order.len()] as usize)
            }
        }
    }
}
