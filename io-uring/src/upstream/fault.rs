//! What can go wrong towards a backend, and which error key answers it (contract request-lifecycle 7.6, 8.6).

use std::io;

use turnpike_core::definition::Engine;
use turnpike_core::error::{ErrorKey, Failure};

/// A failure towards a backend, before a response head was received.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The default group has no endpoint.
    NoEndpoint,
    /// The host has no address; why.
    Dns(Box<str>),
    /// Connecting failed.
    Connect(io::Error),
    /// Connecting took longer than `connectTimeout`, or no connection came free within `readTimeout`.
    ConnectTimeout,
    /// The forward proxy did not make the way to the backend; why.
    Proxy(Box<str>),
    /// TLS failed; why.
    Tls(Box<str>),
    /// The pool and its queue are full.
    PoolExhausted,
    /// `readTimeout` passed before the response head.
    ReadTimeout,
    /// `http.requestTimeout` passed.
    RequestTimeout,
    /// The connection was closed before the response head.
    Closed,
    /// Reading or writing failed.
    Io(io::Error),
    /// What the backend sent is no response.
    Malformed(&'static str),
}

impl Fault {
    /// True when a pooled connection turned out to be dead, so that a request that may be repeated can be tried on another.
    pub(crate) fn is_stale_connection(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
            ),
            _ => false,
        }
    }

    /// The failure that the client gets.
    pub(crate) fn into_failure(self, engine: Engine) -> Failure {
        let cause = self.to_string();
        let key = if engine.is_v2() {
            self.key_v2()
        } else {
            Some(self.key())
        };
        match key {
            Some(key) => Failure::of(key).because(cause),
            None => Failure::status(503).because(cause),
        }
    }

    fn key(&self) -> ErrorKey {
        match self {
            Self::NoEndpoint => ErrorKey::NoEndpointFound,
            Self::Dns(_) => ErrorKey::GatewayClientDnsResolutionError,
            Self::ConnectTimeout => ErrorKey::GatewayClientConnectTimeout,
            Self::Tls(_) => ErrorKey::GatewayClientTlsHandshakeError,
            Self::PoolExhausted => ErrorKey::GatewayClientConnectionPoolExhausted,
            Self::ReadTimeout => ErrorKey::GatewayClientReadTimeout,
            Self::RequestTimeout => ErrorKey::RequestTimeout,
            Self::Closed => ErrorKey::GatewayClientConnectionClosed,
            Self::Proxy(_) | Self::Malformed(_) => ErrorKey::GatewayClientConnectionError,
            Self::Connect(error) | Self::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorKey::GatewayClientConnectionRefused,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    ErrorKey::GatewayClientUnreachable
                }
                io::ErrorKind::ConnectionReset => ErrorKey::GatewayClientConnectionReset,
                io::ErrorKind::TimedOut => ErrorKey::GatewayClientConnectTimeout,
                io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                    ErrorKey::GatewayClientConnectionClosed
                }
                _ => ErrorKey::GatewayClientConnectionError,
            },
        }
    }

    /// The V2 engines know three keys, and none when there is no endpoint.
    fn key_v2(&self) -> Option<ErrorKey> {
        match self.key() {
            ErrorKey::NoEndpointFound => None,
            key @ (ErrorKey::RequestTimeout | ErrorKey::GatewayClientConnectionPoolExhausted) => {
                Some(key)
            }
            ErrorKey::GatewayClientConnectTimeout | ErrorKey::GatewayClientReadTimeout => {
                Some(ErrorKey::GatewayClientConnectionTimeout)
            }
            _ => Some(ErrorKey::GatewayClientConnectionError),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoEndpoint => f.write_str("the default endpoint group has no endpoint"),
            Self::Dns(reason) => write!(f, "the backend's host has no address: {reason}"),
            Self::Connect(error) => write!(f, "connecting to the backend failed: {error}"),
            Self::ConnectTimeout => f.write_str("no connection to the backend in time"),
            Self::Proxy(reason) => {
                write!(f, "the forward proxy made no way to the backend: {reason}")
            }
            Self::Tls(reason) => write!(f, "TLS with the backend failed: {reason}"),
            Self::PoolExhausted => {
                f.write_str("all connections to the backend are in use and the queue is full")
            }
            Self::ReadTimeout => f.write_str("the backend did not answer in time"),
            Self::RequestTimeout => f.write_str("the request took longer than http.requestTimeout"),
            Self::Closed => f.write_str("the backend closed the connection before its response"),
            Self::Io(error) => write!(f, "the connection to the backend failed: {error}"),
            Self::Malformed(what) => write!(f, "the backend's response is not valid: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_core::error::FailureKey;

    fn answer(fault: Fault, engine: Engine) -> (u16, Option<&'static str>) {
        let failure = fault.into_failure(engine);
        let key = match failure.key {
            Some(FailureKey::Gateway(key)) => Some(key.as_str()),
            _ => None,
        };
        (failure.status, key)
    }

    #[test]
    fn faults_get_the_keys_of_the_v4_engine() {
        let refused = || Fault::Connect(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(
            answer(refused(), Engine::V4),
            (502, Some("GATEWAY_CLIENT_CONNECTION_REFUSED"))
        );
        assert_eq!(
            answer(Fault::ReadTimeout, Engine::V4),
            (504, Some("GATEWAY_CLIENT_READ_TIMEOUT"))
        );
        assert_eq!(
            answer(Fault::NoEndpoint, Engine::V4),
            (503, Some("NO_ENDPOINT_FOUND"))
        );
        assert_eq!(
            answer(Fault::Malformed("x"), Engine::V4),
            (502, Some("GATEWAY_CLIENT_CONNECTION_ERROR"))
        );
    }

    #[test]
    fn the_v2_engines_fold_them_into_three() {
        let refused = Fault::Connect(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(
            answer(refused, Engine::V2Emulation),
            (502, Some("GATEWAY_CLIENT_CONNECTION_ERROR"))
        );
        assert_eq!(
            answer(Fault::ConnectTimeout, Engine::V2Legacy),
            (504, Some("GATEWAY_CLIENT_CONNECTION_TIMEOUT"))
        );
        assert_eq!(answer(Fault::NoEndpoint, Engine::V2Legacy), (503, None));
    }
}
