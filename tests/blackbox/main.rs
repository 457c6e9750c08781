//! The built binary, seen from outside: clients, backends and control planes are played by the tests, which know nothing but the
//! contracts. One binary, so that it is linked once; `cargo test --test blackbox request` runs one part.
//!
//! Variables: `TURNPIKE_TEST_DRIVER=epoll` runs everything on one driver, `TURNPIKE_TEST_OUTAGE_SECONDS=60` keeps the Cloud Gate away for
//! the full minute of its promise instead of some seconds. `-- --ignored` adds the full run of a limit over four
//! gateways. Two idle cores need about three minutes.

#[path = "../support/mod.rs"]
mod support;

mod backend_faults;
mod backend_proxies;
mod backend_redirects;
mod backend_tls;
mod definitions;
mod hostile_clients;
mod hostile_requests;
mod ops_driver;
mod ops_node;
mod ops_quickstart;
mod ops_settings;
mod ops_shutdown;
mod policy_cache;
mod policy_calls;
mod policy_chain;
mod policy_content;
mod policy_expressions;
mod policy_jwks;
mod policy_lambda;
mod policy_legacy;
mod policy_made_tokens;
mod policy_oauth2;
mod policy_plans;
mod policy_routing;
mod policy_security;
mod policy_selection;
mod policy_threats;
mod policy_tokens;
mod policy_traffic;
mod policy_values;
mod policy_wrappers;
mod quota_cluster;
mod quota_exact;
mod quota_faults;
mod quota_keys;
mod quota_modes;
mod quota_places;
mod request_bodies;
mod request_heads;
mod request_routing;
mod request_settings;
mod sync_changes;
mod sync_faults;
mod sync_store;
