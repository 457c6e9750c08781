//! Real servers: each test starts its own on free ports, in a folder of its own, and ends only those. Without the programs a test says so
//! and passes.

mod cache;
mod counting;
mod faults;
mod leases;
mod places;
pub(crate) mod support;
