//! Every policy that the gateway runs, by id.

pub use super::build::{Build, GatewayParts};
use super::{Phases, latency, quota, rate_limit, spike_arrest, token_bucket_rate_limit};

/// A policy that can be used in a flow.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Plugin id, as a step's `policy` names it.
    pub id: &'static str,
    /// Phases in which it does something.
    pub phases: Phases,
    /// One line for `turnpike policies` and `docs/policies.md`.
    pub summary: &'static str,
    /// Members of its configuration, as the reference names them.
    pub members: &'static [&'static str],
    /// How it differs from the reference; empty when it does not.
    pub differences: &'static str,
    /// Builds a step.
    pub build: Build,
}

/// Every policy, in the order of their ids.
pub static REGISTRY: &[Entry] = &[
    latency::ENTRY,
    quota::ENTRY,
    rate_limit::ENTRY,
    spike_arrest::ENTRY,
    token_bucket_rate_limit::ENTRY,
];

/// The policy of an id, and its index in [`REGISTRY`].
pub fn find(id: &str) -> Option<(usize, &'static Entry)> {
    REGISTRY
        .binary_search_by(|entry| entry.id.cmp(id))
        .ok()
        .map(|index| (index, &REGISTRY[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_in_order_and_every_entry_can_be_found() {
        assert!(REGISTRY.is_sorted_by(|a, b| a.id < b.id));
        for (index, entry) in REGISTRY.iter().enumerate() {
            assert_eq!(find(entry.id).map(|(at, _)| at), Some(index));
            assert!(
                entry.phases.request || entry.phases.response,
                "{}",
                entry.id
            );
            assert!(!entry.summary.is_empty(), "{}", entry.id);
        }
        assert!(find("no-such-policy").is_none());
    }
}
