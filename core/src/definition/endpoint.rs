//! Endpoint groups, endpoints, and the connectors that their connections belong to.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::LoadBalancer;

/// Identity of a [`Connector`] for a process lifetime: connectors with equal settings share one id across snapshots, so that
/// pooled connections survive a redeployment that did not touch them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectorId(pub u64);

/// Where and how connections to one backend are made: a pool per worker hangs on its id.
#[derive(Debug)]
pub struct Connector {
    /// Identity used as the pool key.
    pub id: ConnectorId,
    /// Host name or address literal without brackets, as resolved and as verified by TLS.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
    /// Value of the `Host` header: the target's authority, without the port when it is the scheme's default.
    pub authority: Box<str>,
    /// TLS towards the backend; `None` is plain TCP.
    pub tls: Option<TlsSettings>,
    /// Timeouts and pool limits.
    pub options: ConnectorOptions,
    /// Addresses of what is [`Self::dialed`], kept fresh by the control thread; workers only load them.
    pub addresses: AddressCell,
}

/// Timeouts (milliseconds) and pool limits of a connector (contract api-definition 2.4.2 and 3.3.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectorOptions {
    /// TCP and TLS connect, milliseconds.
    pub connect_timeout_ms: u32,
    /// From issuing the request to the response head, milliseconds.
    pub read_timeout_ms: u32,
    /// Silence allowed on a connection in use, milliseconds; 0 is no limit.
    pub idle_timeout_ms: u32,
    /// Whether connections are kept for reuse.
    pub keep_alive: bool,
    /// Idle life of a pooled connection, milliseconds; 0 is no limit.
    pub keep_alive_timeout_ms: u32,
    /// Connections per endpoint; each worker holds at most its share, at least one.
    pub connections_max: u32,
    /// Requests waiting for a connection; -1 is no limit, 0 refuses at once.
    pub wait_queue_max: i32,
    /// Total life of a connection, milliseconds; 0 is no limit.
    pub connection_lifetime_max_ms: u32,
    /// Limit of a response head, bytes.
    pub response_head_bytes_max: u32,
    /// Forward proxy between the gateway and the backend.
    pub proxy: Option<ForwardProxy>,
}

/// A forward proxy between the gateway and a backend (contract api-definition 2.4.4 and 3.3.2).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ForwardProxy {
    /// How it is spoken to.
    pub kind: ProxyKind,
    /// Its host, a name or an address.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// User and password.
    pub credentials: Option<(Box<str>, Box<str>)>,
}

/// How a forward proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// `CONNECT` for TLS, absolute targets for plain HTTP.
    Http,
    /// SOCKS 4a: the proxy looks the backend's name up.
    Socks4,
    /// SOCKS 5: the proxy looks the backend's name up.
    Socks5,
}

impl std::fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardProxy")
            .field("kind", &self.kind)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("credentials", &self.credentials.is_some())
            .finish()
    }
}

impl Connector {
    /// Host and port that connections go to: the proxy's, where there is one.
    pub fn dialed(&self) -> (&str, u16) {
        match &self.options.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&self.host, self.port),
        }
    }

    /// The HTTP proxy that is asked for absolute targets: one between the gateway and a backend without TLS.
    pub fn asks_proxy(&self) -> Option<&ForwardProxy> {
        self.options
            .proxy
            .as_ref()
            .filter(|proxy| proxy.kind == ProxyKind::Http && self.tls.is_none())
    }
}

impl Default for ConnectorOptions {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 5_000,
            read_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            keep_alive: true,
            keep_alive_timeout_ms: 30_000,
            connections_max: 100,
            wait_queue_max: -1,
            connection_lifetime_max_ms: 0,
            response_head_bytes_max: 8_192,
            proxy: None,
        }
    }
}

/// TLS settings towards a backend, with every file already read by the control thread.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Accept any certificate (`ssl.trustAll`).
    pub trust_all: bool,
    /// Verify the host name (`ssl.hostnameVerifier`).
    pub verify_hostname: bool,
    /// PEM certificates to trust in place of the system's roots; `None` trusts the system's roots.
    pub trust_pem: Option<Arc<[u8]>>,
    /// Client certificate (backend mTLS).
    pub client_certificate: Option<ClientCertificate>,
}

impl std::fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSettings")
            .field("trust_all", &self.trust_all)
            .field("verify_hostname", &self.verify_hostname)
            .field("trust_pem", &self.trust_pem.as_ref().map(|pem| pem.len()))
            .field("client_certificate", &self.client_certificate.is_some())
            .finish()
    }
}

/// A client certificate chain and its private key, PEM. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// Certificate chain, PEM.
    pub chain_pem: Arc<[u8]>,
    /// Private key, PEM.
    pub key_pem: Arc<[u8]>,
}

/// What is known about the addresses of a connector's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// Not looked up yet.
    Unresolved,
    /// Last good answer, in the resolver's order; never empty.
    Resolved(Box<[SocketAddr]>),
    /// No answer was ever good; why.
    Failed(Box<str>),
}

/// The addresses of one host, written by the control thread and read by workers when they connect.
#[derive(Debug)]
pub struct AddressCell(ArcSwap<Addresses>);

impl AddressCell {
    /// A cell that holds `addresses`.
    pub fn new(addresses: Addresses) -> Self {
        Self(ArcSwap::from_pointee(addresses))
    }

    /// Replaces the addresses. A failed look-up must not be stored over a good answer: the caller keeps the last good one.
    pub fn store(&self, addresses: Addresses) {
        self.0.store(Arc::new(addresses));
    }

    /// The addresses as last stored.
    pub fn load(&self) -> arc_swap::Guard<Arc<Addresses>> {
        self.0.load()
    }
}

/// One backend of a group.
#[derive(Debug)]
pub struct Endpoint {
    /// Name, unique in its API.
    pub name: Box<str>,
    /// Connector whose pool is used.
    pub connector: Arc<Connector>,
    /// Path of the target as written, without query; possibly empty (contract request-lifecycle 8.2).
    pub target_path: Box<str>,
    /// Query of the target without `?`, merged into every request.
    pub target_query: Option<Box<str>>,
    /// `scheme://authority` for the report's `endpoint` field.
    pub origin: Box<str>,
    /// Headers that override the request's, `Host` included.
    pub headers: Box<[(Box<str>, Box<str>)]>,
    /// Weight for the weighted strategies, at least 1.
    pub weight: u32,
    /// Used only when no primary endpoint is there (`secondary`, V2 `backup`).
    pub secondary: bool,
    /// Forward the client's `Host` (`propagateClientHost`).
    pub propagate_client_host: bool,
    /// Forward the client's `Accept-Encoding` (`propagateClientAcceptEncoding` without `useCompression`).
    pub propagate_client_accept_encoding: bool,
    /// Follow redirects (`followRedirects`).
    pub follow_redirects: bool,
}

/// A named set of endpoints with a load-balancing strategy.
#[derive(Debug)]
pub struct EndpointGroup {
    /// Name, unique in its API.
    pub name: Box<str>,
    /// Endpoints in definition order; empty when none could start.
    pub endpoints: Box<[Endpoint]>,
    /// Strategy and its state.
    pub balancer: LoadBalancer,
}

impl EndpointGroup {
    /// The endpoint for the next request, or `None` when the group has none (`NO_ENDPOINT_FOUND`).
    pub fn next(&self) -> Option<&Endpoint> {
        self.balancer.next().map(|index| &self.endpoints[index])
    }
}
