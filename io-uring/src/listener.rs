//! Listening sockets: one per worker and server, on one port through `SO_REUSEPORT`.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use turnpike_config::ServerConfig;

/// Binds `count` sockets for a server. Port 0 takes a free port, the same for all of them.
///
/// An address in use is an error even if its holder set `SO_REUSEPORT` too: two gateways that share a port by mistake would each get half of the
/// connections. So the first socket is bound without sharing, to claim the port, before the shared ones are.
pub(crate) fn bind(
    server: &ServerConfig,
    count: usize,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let wanted = (server.host.as_str(), server.port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| {
            io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address")
        })?;
    // On a free port nothing lingers, and SO_REUSEADDR would let the kernel hand one port to two that ask at the same time.
    let reuse_address = wanted.port() != 0;
    claim(wanted)?;
    let first = open(wanted, reuse_address, server)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(open(address, reuse_address, server)?);
    }
    Ok((address, sockets))
}

fn claim(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // Two sockets may be bound to one address with SO_REUSEADDR; only one of them may listen.
    socket.listen(1)
}

fn open(
    address: SocketAddr,
    reuse_address: bool,
    server: &ServerConfig,
) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(reuse_address)?;
    socket.set_reuse_port(true)?;
    // Accepted connections inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(server.tcp_keep_alive)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(server.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Takes what still waits in the backlog, without waiting: closing the socket would reset those connections.
pub(crate) fn take_backlog(listener: &TcpListener) -> Vec<std::net::TcpStream> {
    let mut waiting = Vec::new();
    if SockRef::from(listener).set_nonblocking(true).is_ok() {
        while let Ok((stream, _)) = listener.accept() {
            waiting.push(stream);
        }
    }
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> ServerConfig {
        ServerConfig {
            host: "127.0.0.1".to_owned(),
            port,
            ..ServerConfig::default()
        }
    }

    #[test]
    fn all_sockets_of_a_server_share_one_port() {
        let (address, sockets) = bind(&local(0), 3).expect("a free port");
        assert!(
            sockets
                .iter()
                .all(|socket| socket.local_addr().expect("bound") == address)
        );
    }

    #[test]
    fn a_port_that_another_gateway_shares_is_in_use() {
        let (address, _sockets) = bind(&local(0), 2).expect("a free port");
        let error = bind(&local(address.port()), 1).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
