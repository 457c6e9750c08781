//! Tunnels through forward proxies: HTTP `CONNECT`, SOCKS 4a, SOCKS 5 (RFC 1928, 1929). The proxy looks the backend's name up.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use monoio::io::{AsyncReadRent as _, AsyncReadRentExt as _, AsyncWriteRentExt as _};
use turnpike_core::definition::{Connector, ForwardProxy, ProxyKind};

use super::Fault;
use crate::driver::TcpStream;

/// Longest answer to `CONNECT`, bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1_024;

/// Makes the way through `proxy` to the backend of `connector`: what is written to the stream afterwards goes there.
pub(super) async fn tunnel(
    stream: &mut TcpStream,
    proxy: &ForwardProxy,
    connector: &Connector,
) -> Result<(), Fault> {
    match proxy.kind {
        ProxyKind::Http => connect(stream, proxy, connector).await,
        ProxyKind::Socks4 => socks4(stream, proxy, connector).await,
        ProxyKind::Socks5 => socks5(stream, proxy, connector).await,
    }
}

/// The value of `Proxy-Authorization` for these credentials.
pub(crate) fn basic_authorization(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

fn refused(reason: impl Into<Box<str>>) -> Fault {
    Fault::Proxy(reason.into())
}

async fn write(stream: &mut TcpStream, bytes: Vec<u8>) -> Result<(), Fault> {
    stream.write_all(bytes).await.0.map_err(Fault::Io)?;
    Ok(())
}

async fn read<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N], Fault> {
    let (result, bytes) = stream.read_exact(vec![0_u8; N]).await;
    result.map_err(Fault::Io)?;
    bytes
        .try_into()
        .map_err(|_| refused("the proxy's answer is too short"))
}

async fn connect(
    stream: &mut TcpStream,
    proxy: &ForwardProxy,
    connector: &Connector,
) -> Result<(), Fault> {
    let host = match connector.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => connector.host.to_string(),
    };
    let authority = format!("{host}:{}", connector.port);
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some((user, password)) = &proxy.credentials {
        request.push_str("Proxy-Authorization: ");
        request.push_str(&basic_authorization(user, password));
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    write(stream, request.into_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err(refused("the proxy's answer to CONNECT is too long"));
        }
        // The backend speaks only after it was spoken to, so nothing can follow the head in the same piece.
        let (result, piece) = stream.read(vec![0_u8; 1_024]).await;
        match result.map_err(Fault::Io)? {
            0 => {
                return Err(refused(
                    "the proxy closed the connection without an answer to CONNECT",
                ));
            }
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
    match status(&answer) {
        Some(200..=299) => Ok(()),
        Some(status) => Err(refused(format!("the proxy answered CONNECT with {status}"))),
        None => Err(refused("the proxy's answer to CONNECT is no HTTP response")),
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let mut words = line.split(|byte| *byte == b' ');
    if !words.next()?.starts_with(b"HTTP/1.") {
        return None;
    }
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

async fn socks4(
    stream: &mut TcpStream,
    proxy: &ForwardProxy,
    connector: &Connector,
) -> Result<(), Fault> {
    let mut request = vec![4, 1];
    request.extend_from_slice(&connector.port.to_be_bytes());
    let address = connector.host.parse::<Ipv4Addr>().ok();
    // 0.0.0.1 says that a name follows (SOCKS 4a).
    request.extend_from_slice(&address.unwrap_or(Ipv4Addr::new(0, 0, 0, 1)).octets());
    if let Some((user, _)) = &proxy.credentials {
        request.extend_from_slice(user.as_bytes());
    }
    request.push(0);
    if address.is_none() {
        request.extend_from_slice(connector.host.as_bytes());
        request.push(0);
    }
    write(stream, request).await?;
    match read::<8>(stream).await? {
        [0, 90, ..] => Ok(()),
        [0, code, ..] => Err(refused(format!(
            "the SOCKS4 proxy refused with code {code}"
        ))),
        _ => Err(refused("the proxy does not speak SOCKS4")),
    }
}

async fn socks5(
    stream: &mut TcpStream,
    proxy: &ForwardProxy,
    connector: &Connector,
) -> Result<(), Fault> {
    const NO_AUTHENTICATION: u8 = 0;
    const USER_AND_PASSWORD: u8 = 2;
    let greeting = match &proxy.credentials {
        None => vec![5, 1, NO_AUTHENTICATION],
        Some(_) => vec![5, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
    };
    write(stream, greeting).await?;
    match (read::<2>(stream).await?, &proxy.credentials) {
        ([5, NO_AUTHENTICATION], _) => {}
        ([5, USER_AND_PASSWORD], Some((user, password))) => {
            let mut request = vec![1];
            for text in [user, password] {
                request.push(length(text)?);
                request.extend_from_slice(text.as_bytes());
            }
            write(stream, request).await?;
            if read::<2>(stream).await? != [1, 0] {
                return Err(refused(
                    "the SOCKS5 proxy does not accept user and password",
                ));
            }
        }
        ([5, _], _) => return Err(refused("the SOCKS5 proxy accepts no way to authenticate")),
        _ => return Err(refused("the proxy does not speak SOCKS5")),
    }
    let mut request = vec![5, 1, 0];
    match connector.host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            request.extend_from_slice(&[3, length(&connector.host)?]);
            request.extend_from_slice(connector.host.as_bytes());
        }
    }
    request.extend_from_slice(&connector.port.to_be_bytes());
    write(stream, request).await?;
    let [version, code, _, kind] = read::<4>(stream).await?;
    if version != 5 {
        return Err(refused("the proxy does not speak SOCKS5"));
    }
    if code != 0 {
        return Err(refused(format!(
            "the SOCKS5 proxy refused with code {code}"
        )));
    }
    // The address that the proxy bound says nothing to us, but it is in the way.
    match kind {
        1 => drop(read::<6>(stream).await?),
        4 => drop(read::<18>(stream).await?),
        3 => {
            let [length] = read::<1>(stream).await?;
            let (result, _) = stream.read_exact(vec![0_u8; usize::from(length) + 2]).await;
            result.map_err(Fault::Io)?;
        }
        _ => {
            return Err(refused(
                "the SOCKS5 proxy bound an address of an unknown kind",
            ));
        }
    }
    Ok(())
}

fn length(text: &str) -> Result<u8, Fault> {
    u8::try_from(text.len()).map_err(|_| refused("a text is too long for SOCKS5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_written_in_base64() {
        for (user, password, expected) in [
            (
                "Aladdin",
                "open sesame",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            ("a", "b", "Basic YTpi"),
            ("ab", "", "Basic YWI6"),
            ("", "ab", "Basic OmFi"),
            ("abc", "", "Basic YWJjOg=="),
        ] {
            assert_eq!(basic_authorization(user, password), expected);
        }
    }

    #[test]
    fn the_status_of_an_answer_is_read() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Some(200)),
            (
                b"HTTP/1.0 407 Proxy Authentication Required\r\n\r\n",
                Some(407),
            ),
            (b"HTTP/1.1 200\r\n\r\n", Some(200)),
            (b"SSH-2.0\r\n\r\n", None),
            (b"", None),
        ] {
            assert_eq!(status(answer), expected);
        }
    }
}
