//! Connections to backends: one pool per connector and worker.

mod connect;
mod elsewhere;
mod fault;
mod pool;
mod proxy;
mod tls;

pub(crate) use elsewhere::{Elsewhere, Found};
pub(crate) use fault::Fault;
pub(crate) use pool::{Lease, Upstream, Upstreams};
pub(crate) use proxy::basic_authorization;
pub(crate) use tls::TlsWriter;
