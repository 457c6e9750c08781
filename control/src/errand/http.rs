//! HTTP calls of policies and resources: one client per distinct way to connect, bounded in time, number and bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, LOCATION, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use turnpike_config::{HttpClientConfig, ProxyConfig};
use turnpike_core::need::{HttpCall, HttpError, HttpOptions, HttpReply};
use turnpike_core::redirect::HOPS_MAX;

use super::connector::{Proxy, Route, Timed, Used};
use super::names::Names;
use super::redirect;
use crate::bridge;
use crate::bridge::http::chain;

/// Calls at one time. One more waits for its turn, within its own time limit.
const CALLS_MAX: usize = 1_024;
/// Calls of one server at one time, so that a slow one does not take every place.
const CALLS_PER_SERVER_MAX: usize = 128;
/// Servers whose places are remembered while nobody calls them.
const SERVERS_MAX: usize = 1_024;
/// Clients that are kept; the one that was not used for longest makes room.
const CLIENTS_MAX: usize = 64;
/// Idle connections to one server.
const IDLE_PER_SERVER_MAX: usize = 32;
/// Idle life of a connection, milliseconds.
const IDLE_MS_MAX: u64 = 30_000;
/// A call never takes longer, milliseconds, whatever its options say.
const CALL_MS_MAX: u64 = 600_000;
/// A response head, bytes.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// Response bodies that are being read, bytes over all calls.
const BODIES_BYTES_MAX: usize = 256 << 20;

type HyperClient = Client<Timed<HttpsConnector<Route>>, Full<Bytes>>;

/// Calls HTTP servers.
#[derive(Debug)]
pub(super) struct Caller {
    names: Names,
    system_proxy: Option<ProxyConfig>,
    proxy_missed: AtomicBool,
    clients: Mutex<Vec<(Way, HyperClient)>>,
    calls: Arc<Semaphore>,
    servers: Mutex<HashMap<Authority, Arc<Semaphore>>>,
    bodies_bytes: AtomicUsize,
}

/// What makes two calls able to share connections.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    connect_timeout_ms: u64,
    system_proxy: bool,
    trust_all: bool,
    trust_pem: Option<Box<str>>,
}

impl Way {
    fn of(options: &HttpOptions) -> Self {
        Self {
            connect_timeout_ms: options.connect_timeout_ms.clamp(1, CALL_MS_MAX),
            system_proxy: options.system_proxy,
            trust_all: options.trust_all,
            // Not looked at when every certificate is trusted.
            trust_pem: options.trust_pem.clone().filter(|_| !options.trust_all),
        }
    }
}

impl Caller {
    pub(super) fn new(names: Names, system_proxy: Option<ProxyConfig>) -> Self {
        Self {
            names,
            system_proxy,
            proxy_missed: AtomicBool::new(false),
            clients: Mutex::default(),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            servers: Mutex::default(),
            bodies_bytes: AtomicUsize::new(0),
        }
    }

    /// Makes one call, redirects included, within its time limit.
    pub(super) async fn call(&self, call: HttpCall) -> Result<HttpReply, HttpError> {
        let limit_ms = match call.options.timeout_ms {
            0 => CALL_MS_MAX,
            limit_ms => limit_ms.min(CALL_MS_MAX),
        };
        tokio::time::timeout(Duration::from_millis(limit_ms), self.exchange(call))
            .await
            .unwrap_or(Err(HttpError::Timeout(limit_ms)))
    }

    async fn exchange(&self, mut call: HttpCall) -> Result<HttpReply, HttpError> {
        let options = Arc::clone(&call.options);
        let mut uri = redirect::parse(&call.url).map_err(HttpError::Url)?;
        let mut method = method(&call.method)?;
        let mut headers = headers(&call.headers)?;
        let mut body = Bytes::from(std::mem::take(&mut call.body));
        let client = self.client(&options)?;
        let _places = self.places(&uri).await;
        for hops in 0.. {
            let response = self
                .send(&client, &options, (&method, &uri, &headers, &body))
                .await?;
            if !options.follow_redirects || hops == HOPS_MAX {
                return self.reply(response, options.body_bytes_max).await;
            }
            let Some((next_method, next)) = next(&response, &method, &uri) else {
                return self.reply(response, options.body_bytes_max).await;
            };
            redirect::strip(&mut headers, &uri, &next);
            if next_method == Method::GET || next_method == Method::HEAD {
                body = Bytes::new();
            }
            (method, uri) = (next_method, next);
        }
        Err(HttpError::Broken("too many redirects".to_owned()))
    }

    /// Sends one request. When the pooled connection that it went out on turns out dead, it is sent once more if its method is idempotent
    /// (RFC 9110 9.2.2).
    async fn send(
        &self,
        client: &HyperClient,
        options: &HttpOptions,
        parts: (&Method, &Uri, &HeaderMap, &Bytes),
    ) -> Result<Response<Incoming>, HttpError> {
        let mut attempts = if parts.0.is_idempotent() { 2 } else { 1 };
        loop {
            let mut request = self.request(options, parts)?;
            let connection = capture_connection(&mut request);
            attempts -= 1;
            match client.request(request).await {
                Ok(response) => {
                    if let Some(used) = response.extensions().get::<Used>() {
                        used.set();
                    }
                    return Ok(response);
                }
                Err(error) if error.is_connect() => return Err(HttpError::Connect(chain(&error))),
                Err(error) if attempts > 0 && was_used(&connection) && broke_off(&error) => {}
                Err(error) => return Err(HttpError::Broken(chain(&error))),
            }
        }
    }

    fn request(
        &self,
        options: &HttpOptions,
        (method, uri, headers, body): (&Method, &Uri, &HeaderMap, &Bytes),
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        let proxy = self.system_proxy.as_ref().filter(|_| options.system_proxy);
        if let Some((user, password)) = proxy.and_then(|proxy| proxy.credentials.as_ref())
            && uri.scheme() != Some(&Scheme::HTTPS)
        {
            let value = bridge::http::credentials(user, password)
                .map_err(|error| HttpError::Connect(error.to_string()))?;
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
        Ok(request)
    }

    async fn reply(
        &self,
        response: Response<Incoming>,
        bytes_max: usize,
    ) -> Result<HttpReply, HttpError> {
        let (head, mut incoming) = response.into_parts();
        if incoming.size_hint().lower() > bytes_max as u64 {
            return Err(HttpError::TooLarge(bytes_max));
        }
        let mut held = Held {
            total: &self.bodies_bytes,
            bytes: 0,
        };
        let mut body = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| HttpError::Broken(chain(&error)))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > bytes_max - body.len() {
                return Err(HttpError::TooLarge(bytes_max));
            }
            if !held.add(data.len()) {
                return Err(HttpError::Broken(format!(
                    "the gateway is reading {BODIES_BYTES_MAX} bytes of other responses"
                )));
            }
            body.extend_from_slice(&data);
        }
        Ok(HttpReply {
            status: head.status.as_u16(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    (name.as_str().to_owned(), value.into_owned())
                })
                .collect(),
            body: body.into(),
        })
    }

    /// A place for a call: one of all, one of its server's.
    async fn places(&self, uri: &Uri) -> [Option<OwnedSemaphorePermit>; 2] {
        let server = uri.authority().map(|authority| {
            let mut servers = lock(&self.servers);
            if servers.len() >= SERVERS_MAX && !servers.contains_key(authority) {
                servers.retain(|_, places| Arc::strong_count(places) > 1);
            }
            let places = servers
                .entry(authority.clone())
                .or_insert_with(|| Arc::new(Semaphore::new(CALLS_PER_SERVER_MAX)));
            Arc::clone(places)
        });
        // The server's first: whoever waits for a slow one keeps nobody else waiting. The semaphores are never closed.
        let of_server = match server {
            Some(server) => server.acquire_owned().await.ok(),
            None => None,
        };
        let of_all = Arc::clone(&self.calls).acquire_owned().await.ok();
        [of_server, of_all]
    }

    fn client(&self, options: &HttpOptions) -> Result<HyperClient, HttpError> {
        let way = Way::of(options);
        let mut clients = lock(&self.clients);
        // In the order of use, the last one last.
        if let Some(at) = clients.iter().position(|(known, _)| *known == way) {
            clients[at..].rotate_left(1);
        } else {
            let client = self.connect_by(&way)?;
            if clients.len() >= CLIENTS_MAX {
                clients.remove(0);
            }
            clients.push((way, client));
        }
        clients
            .last()
            .map(|(_, client)| client.clone())
            .ok_or_else(|| HttpError::Connect("there is no client".to_owned()))
    }

    fn connect_by(&self, way: &Way) -> Result<HyperClient, HttpError> {
        let unusable = |error: bridge::HttpError| HttpError::Connect(error.to_string());
        let mut tcp = HttpConnector::new_with_resolver(self.names.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let proxy = match &self.system_proxy {
            Some(proxy) if way.system_proxy => Some(Proxy {
                address: bridge::http::proxy_address(proxy).map_err(unusable)?,
                tunnel: bridge::http::tunnel(proxy, tcp.clone()).map_err(unusable)?,
            }),
            None if way.system_proxy && !self.proxy_missed.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    "a policy or resource asks for the system proxy, but `system.proxy.host` is not set: its calls go out directly"
                );
                None
            }
            _ => None,
        };
        let settings = HttpClientConfig {
            trust_all: way.trust_all,
            truststore_content: way.trust_pem.as_deref().map(str::to_owned),
            ..HttpClientConfig::default()
        };
        let tls = bridge::tls::client_config(&settings).map_err(unusable)?;
        let inner = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Route::new(tcp, proxy));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(IDLE_MS_MAX))
            .pool_max_idle_per_host(IDLE_PER_SERVER_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX);
        Ok(builder.build(Timed {
            inner,
            limit_ms: way.connect_timeout_ms,
        }))
    }
}

/// Bytes of a response body that count towards the bound of all.
struct Held<'a> {
    total: &'a AtomicUsize,
    bytes: usize,
}

impl Held<'_> {
    /// False when the bound of all is reached.
    fn add(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.total.fetch_add(bytes, Ordering::Relaxed) + bytes <= BODIES_BYTES_MAX
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whether the connection of a request that failed had carried a response before.
fn was_used(connection: &CaptureConnection) -> bool {
    let mut extras = http::Extensions::new();
    if let Some(connected) = connection.connection_metadata().as_ref() {
        connected.get_extras(&mut extras);
    }
    extras.get::<Used>().is_some_and(Used::get)
}

/// Whether the connection ended before a response began, and not because of what came over it.
fn broke_off(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        cause.downcast_ref::<hyper::Error>().is_some_and(|error| {
            error.is_incomplete_message() || error.is_canceled() || error.is_closed()
        }) || cause.is::<std::io::Error>()
    })
}

/// Where a redirect leads, and with which method; `None` when there is none to follow.
fn next(response: &Response<Incoming>, method: &Method, uri: &Uri) -> Option<(Method, Uri)> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    redirect::next(response.status().as_u16(), location, (method, uri))
}

fn method(name: &str) -> Result<Method, HttpError> {
    match Method::from_bytes(name.as_bytes()) {
        Ok(method) if method != Method::CONNECT => Ok(method),
        _ => Err(HttpError::Url(format!(
            "the method {name:?} cannot be used"
        ))),
    }
}

/// The caller's fields, less those that frame a message or belong to one connection: they are ours to write.
fn headers(given: &[(std::borrow::Cow<'static, str>, String)]) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let unusable = || HttpError::Url(format!("its header {name:?} cannot be sent"));
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        if is_ours(&field) {
            continue;
        }
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unusable())?;
        if field == HOST {
            // One at most, and one that names a server.
            if Authority::try_from(value.as_bytes()).is_err() {
                return Err(unusable());
            }
            headers.insert(field, value);
        } else {
            headers.append(field, value);
        }
    }
    Ok(headers)
}

fn is_ours(name: &HeaderName) -> bool {
    [
        CONNECTION,
        CONTENT_LENGTH,
        EXPECT,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ]
    .contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every change is one statement, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &'static str, value: &str) -> (std::borrow::Cow<'static, str>, String) {
        (name.into(), value.to_owned())
    }

    #[test]
    fn fields_that_frame_a_message_are_left_out_and_smuggled_ones_are_refused() {
        let kept = headers(&[
            field("Content-Length", "3"),
            field("transfer-encoding", "chunked"),
            field("Connection", "close, x"),
            field("Keep-Alive", "1"),
            field("Proxy-Connection", "1"),
            field("Expect", "100-continue"),
            field("Host", "a"),
            field("Host", "b:81"),
            field("X", "1"),
            field("x", "é"),
        ])
        .expect("fields");
        let kept: Vec<_> = kept
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
            .collect();
        let expected = [("host", "b:81"), ("x", "1"), ("x", "é")];
        assert_eq!(kept, expected.map(|(name, value)| (name, value.into())));
        for (name, value) in [
            ("X", "a\r\nY: b"),
            ("X", "a\nb"),
            ("X", "a\0"),
            ("X\r\nY", "a"),
            ("X Y", "a"),
            ("", "a"),
            ("X:", "a"),
            ("Host", "a/b"),
            ("Host", "a b"),
        ] {
            assert!(
                headers(&[field(name, value)]).is_err(),
                "{name:?} {value:?}"
            );
        }
    }

    #[test]
    fn methods_are_tokens_and_no_tunnels() {
        for name in ["GET", "POST", "purge", "X-Y"] {
            assert!(method(name).is_ok(), "{name}");
        }
        for name in ["", "GET /", "A\r\nB", "CONNECT", "G(T"] {
            assert!(method(name).is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn calls_that_connect_alike_share_a_client_and_the_oldest_makes_room() {
        let caller = Caller::new(Names::new(crate::resolve::SystemLookUp), None);
        let options = |connect_timeout_ms| HttpOptions {
            connect_timeout_ms,
            ..HttpOptions::default()
        };
        let ways = || -> Vec<u64> {
            lock(&caller.clients)
                .iter()
                .map(|(way, _)| way.connect_timeout_ms)
                .collect()
        };
        caller.client(&options(1)).expect("a client");
        caller
            .client(&HttpOptions {
                timeout_ms: 7,
                trust_pem: Some("not looked at".into()),
                ..options(1)
            })
            .expect("a client");
        assert_eq!(ways(), [1]);
        for connect_timeout_ms in 2..=CLIENTS_MAX as u64 {
            caller
                .client(&options(connect_timeout_ms))
                .expect("a client");
        }
        caller.client(&options(1)).expect("a client");
        caller.client(&options(1_000)).expect("a client");
        let ways = ways();
        assert_eq!(ways.len(), CLIENTS_MAX);
        assert!(
            !ways.contains(&2) && ways.ends_with(&[1, 1_000]),
            "{ways:?}"
        );
    }

    #[tokio::test]
    async fn a_trust_store_that_cannot_be_read_is_a_failure_of_the_call() {
        let caller = Caller::new(Names::new(crate::resolve::SystemLookUp), None);
        let outcome = caller.client(&HttpOptions {
            trust_all: false,
            trust_pem: Some("-----BEGIN nothing".into()),
            ..HttpOptions::default()
        });
        assert!(matches!(outcome, Err(HttpError::Connect(_))));
    }
}
