//! The HTTP client of the control thread: TLS, proxy, timeouts, bounded and decompressed answers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use turnpike_config::{HttpClientConfig, ProxyConfig, Secret};

use super::{body, tls};

/// Largest answer that is read, before and after decompression.
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Why a request got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// A setting of the client cannot be used.
    #[error("{0}")]
    Setup(String),
    /// No connection, or it broke before the answer began.
    #[error("{0}")]
    Transport(String),
    /// The answer was not complete in time.
    #[error("no complete answer within {timeout_ms} ms")]
    Timeout {
        /// The time that was given.
        timeout_ms: u64,
    },
    /// The body broke off or cannot be decompressed.
    #[error("the answer's body is unusable: {0}")]
    Body(String),
    /// The body is larger than the bound.
    #[error("the answer's body has more than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
}

impl HttpError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Timeout { .. } | Self::Body(_) => true,
            Self::Setup(_) | Self::TooLarge { .. } => false,
        }
    }
}

/// An HTTP client with pooled connections. Cheap to clone; clones share the pool.
#[derive(Debug, Clone)]
pub struct HttpClient {
    transport: Transport,
    timeout_ms: u64,
    use_compression: bool,
    response_bytes_max: usize,
}

#[derive(Debug, Clone)]
enum Transport {
    Direct(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    Proxied(Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>),
}

impl HttpClient {
    /// A client with these settings. Nothing is connected yet.
    pub fn new(settings: &HttpClientConfig) -> Result<Self, HttpError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_millis(
            settings.connect_timeout_ms.max(1),
        )));
        let transport = match &settings.proxy {
            None => Transport::Direct(pool(settings).build(secured(settings, connector)?)),
            Some(proxy) => Transport::Proxied(
                pool(settings).build(secured(settings, tunnel(proxy, connector)?)?),
            ),
        };
        Ok(Self {
            transport,
            timeout_ms: settings.read_timeout_ms,
            use_compression: settings.use_compression,
            response_bytes_max: RESPONSE_BYTES_MAX,
        })
    }

    /// The same client with another bound for answers.
    #[must_use]
    pub fn with_response_bytes_max(self, bytes_max: usize) -> Self {
        Self {
            response_bytes_max: bytes_max,
            ..self
        }
    }

    /// Sends a request and reads the whole answer; its body comes decompressed. Redirects are not followed.
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        if self.use_compression && !request.headers().contains_key(ACCEPT_ENCODING) {
            request
                .headers_mut()
                .insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
        }
        let exchange = self.exchange(request.map(Full::new));
        if self.timeout_ms == 0 {
            return exchange.await;
        }
        match tokio::time::timeout(Duration::from_millis(self.timeout_ms), exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HttpError::Timeout {
                timeout_ms: self.timeout_ms,
            }),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError> {
        let answer: Response<Incoming> = match &self.transport {
            Transport::Direct(client) => client.request(request).await,
            Transport::Proxied(client) => client.request(request).await,
        }
        .map_err(|error| HttpError::Transport(chain(&error)))?;
        let (mut head, body) = answer.into_parts();
        let body = body::collect(body, self.response_bytes_max).await?;
        let body = body::decode(&head.headers, body, self.response_bytes_max)?;
        head.headers.remove(CONTENT_ENCODING);
        head.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(head, body))
    }
}

fn pool(settings: &HttpClientConfig) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new());
    if settings.keep_alive {
        builder.pool_idle_timeout(Duration::from_millis(settings.idle_timeout_ms.max(1)));
    } else {
        builder.pool_max_idle_per_host(0);
    }
    builder
}

fn secured<C>(settings: &HttpClientConfig, connector: C) -> Result<HttpsConnector<C>, HttpError> {
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls::client_config(settings)?)
        .https_or_http();
    Ok(if settings.http2 {
        builder.enable_all_versions().wrap_connector(connector)
    } else {
        builder.enable_http1().wrap_connector(connector)
    })
}

/// A connector that reaches its servers through `proxy` (HTTP CONNECT).
pub(crate) fn tunnel<C>(proxy: &ProxyConfig, connector: C) -> Result<Tunnel<C>, HttpError> {
    let mut tunnel = Tunnel::new(proxy_address(proxy)?, connector);
    if let Some((user, password)) = &proxy.credentials {
        tunnel = tunnel.with_auth(credentials(user, password)?);
    }
    Ok(tunnel)
}

/// Where a proxy is.
pub(crate) fn proxy_address(proxy: &ProxyConfig) -> Result<Uri, HttpError> {
    let address = format!("http://{}:{}", proxy.host, proxy.port);
    address
        .parse()
        .map_err(|error| HttpError::Setup(format!("proxy {address:?}: {error}")))
}

/// The value of `Proxy-Authorization`.
pub(crate) fn credentials(user: &str, password: &Secret) -> Result<HeaderValue, HttpError> {
    let mut value = HeaderValue::try_from(basic(user, password.expose()))
        .map_err(|error| HttpError::Setup(format!("proxy credentials: {error}")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Basic` credentials (RFC 7617).
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
