//! placeholder
pub mod heartbeat;
pub mod monitoring;
