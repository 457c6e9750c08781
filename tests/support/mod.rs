//! What the black-box tests are made of: the built binary as processes, honest fakes around it, and clients that say exactly
//! what is on the wire. Faults are switches of the fakes; nothing here knows how the gateway works inside.

pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod cloud_gate;
pub(crate) mod control_plane;
pub(crate) mod definition;
pub(crate) mod fleet;
pub(crate) mod forward_proxy;
pub(crate) mod gateway;
pub(crate) mod load;
pub(crate) mod pattern;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod talk;
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod wait;
pub(crate) mod wire;
