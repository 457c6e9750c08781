//! Every policy that the gateway runs, by id.

pub use super::build::{Build, GatewayParts};
use super::{
    Phases, api_key, aws_lambda, cache, dynamic_routing, http_redirect, ip_filtering,
    json_threat_protection, json_validation, jwt, key_less, latency, mock, mtls, oauth2,
    policy_assign_attributes, policy_assign_content, policy_basic_authentication,
    policy_circuit_breaker, policy_generate_jwt, policy_http_callout, policy_interrupt,
    policy_override_request_method, policy_request_validation, quota, rate_limit, rbac,
    regex_threat_protection, request_content_limit, resource_filtering, retry, spike_arrest,
    ssl_enforcement, status_code, token_bucket_rate_limit, traffic_shadowing, transform_headers,
    transform_queryparams, url_rewriting,
};

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
    api_key::ENTRY,
    aws_lambda::ENTRY,
    cache::ENTRY,
    dynamic_routing::ENTRY,
    http_redirect::ENTRY,
    ip_filtering::ENTRY,
    json_threat_protection::ENTRY,
    json_validation::ENTRY,
    jwt::ENTRY,
    key_less::ENTRY,
    latency::ENTRY,
    mock::ENTRY,
    mtls::ENTRY,
    oauth2::ENTRY,
    policy_assign_attributes::ENTRY,
    policy_assign_content::ENTRY,
    policy_basic_authentication::ENTRY,
    policy_circuit_breaker::ENTRY,
    policy_generate_jwt::ENTRY,
    policy_http_callout::ENTRY,
    policy_interrupt::ENTRY,
    policy_override_request_method::ENTRY,
    policy_request_validation::ENTRY,
    quota::ENTRY,
    rate_limit::ENTRY,
    rbac::ENTRY,
    regex_threat_protection::ENTRY,
    request_content_limit::ENTRY,
    resource_filtering::ENTRY,
    retry::ENTRY,
    spike_arrest::ENTRY,
    ssl_enforcement::ENTRY,
    status_code::ENTRY,
    token_bucket_rate_limit::ENTRY,
    traffic_shadowing::ENTRY,
    transform_headers::ENTRY,
    transform_queryparams::ENTRY,
    url_rewriting::ENTRY,
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
