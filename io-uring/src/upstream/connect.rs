//! New connections to backends: TCP, then the forward proxy's tunnel when there is one, then TLS when the connector says so, all within `connectTimeout`.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

use turnpike_core::definition::{Addresses, Connector};

use super::Fault;
use super::proxy;
use super::tls::{self, TlsClients};
use crate::driver::{Reader, TcpStream, Writer, tcp, timeout};

/// Addresses tried for one connection.
const ADDRESSES_TRIED_MAX: usize = 4;

/// A connection that is ready for a request.
pub(crate) struct Connected {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) fd: RawFd,
}

/// Connects to `connector` within `limit_ms`.
pub(crate) async fn connect(
    connector: &Connector,
    tls: &TlsClients,
    limit_ms: u64,
) -> Result<Connected, Fault> {
    match timeout(Duration::from_millis(limit_ms), connect_any(connector, tls)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Fault::ConnectTimeout),
    }
}

async fn connect_any(connector: &Connector, tls: &TlsClients) -> Result<Connected, Fault> {
    let addresses = connector.addresses.load();
    let list = match &**addresses {
        Addresses::Resolved(list) => list,
        Addresses::Unresolved => return Err(Fault::Dns("it has not been looked up yet".into())),
        Addresses::Failed(reason) => return Err(Fault::Dns(reason.clone())),
    };
    let mut last = Fault::Dns("the resolver gave no address".into());
    for address in list.iter().take(ADDRESSES_TRIED_MAX) {
        match connect_one(*address, connector, tls).await {
            Ok(connected) => return Ok(connected),
            Err(fault @ Fault::Tls(_)) => return Err(fault),
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

async fn connect_one(
    address: SocketAddr,
    connector: &Connector,
    tls: &TlsClients,
) -> Result<Connected, Fault> {
    let mut stream = TcpStream::connect_addr(address)
        .await
        .map_err(Fault::Connect)?;
    stream.set_nodelay(true).map_err(Fault::Connect)?;
    if let Some(proxy) = &connector.options.proxy
        && connector.asks_proxy().is_none()
    {
        proxy::tunnel(&mut stream, proxy, connector).await?;
    }
    let fd = stream.as_raw_fd();
    let (reader, writer) = match &connector.tls {
        None => tcp(stream),
        Some(settings) => tls::handshake(stream, tls.session(connector, settings)?).await?,
    };
    Ok(Connected { reader, writer, fd })
}
