//! The HTTP server of the node API (contract operations 2).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::health::{ALL_PROBES, VISIBLE_PROBES};
use super::{NodeState, auth, inventory, prometheus};

/// Open connections; one more is closed at once.
const CONNECTIONS_MAX: usize = 128;
/// Time for a request head to arrive; also the idle life of a connection. Longer than the 15 s between two liveness probes.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Bytes of a request head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Probes that one request may ask for.
const PROBES_MAX: usize = 32;
/// Pause after a failed accept (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The node API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeApiError {
    /// The address cannot be bound.
    #[error(
        "node API: cannot listen on {host}:{port} (hint: set services.core.http.port to a free port, or \
         services.core.http.enabled to false)"
    )]
    Bind {
        /// `services.core.http.host`.
        host: String,
        /// `services.core.http.port`.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The node API, bound and not yet serving.
#[derive(Debug)]
pub struct NodeApi {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: NodeState,
    scrapes: Semaphore,
}

type Reply = Response<Full<Bytes>>;

impl NodeApi {
    /// Binds `services.core.http.host` and `port`.
    pub async fn bind(state: NodeState) -> Result<Self, NodeApiError> {
        let settings = &state.config.node_api;
        let refused = |source| NodeApiError::Bind {
            host: settings.host.clone(),
            port: settings.port,
            source,
        };
        let listener = listen(&settings.host, settings.port)
            .await
            .map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let scrapes = Semaphore::new(state.config.metrics.concurrency_max);
        Ok(Self {
            listener,
            address,
            shared: Arc::new(Shared { state, scrapes }),
        })
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready; open connections are closed then.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) if connections.len() < CONNECTIONS_MAX => {
                        connections.spawn(connection(stream, peer, self.shared.clone()));
                    }
                    Ok((_, peer)) => tracing::warn!(
                        "node API: connection from {peer} closed, {CONNECTIONS_MAX} are open",
                    ),
                    Err(error) => {
                        tracing::warn!("node API: cannot accept: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// Binds the first address of `host` that can be bound, IPv4 before IPv6: `localhost` then is where probes and people look for
/// it, whatever the order of the system's answer.
async fn listen(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move {
            // No resource takes a body: whatever comes is not read, and the connection closes after the answer.
            let (head, _body) = request.into_parts();
            Ok::<_, Infallible>(shared.answer(&head, peer).await)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("node API: connection from {peer} ended: {error}");
    }
}

impl Shared {
    async fn answer(&self, head: &http::request::Parts, peer: SocketAddr) -> Reply {
        let path = head.uri.path();
        if !auth::is_allowed(&self.state.config.node_api.authentication, &head.headers) {
            tracing::warn!(
                "Authentication failed | IP: {} | Path: {path:?} | Reason: Unauthorized",
                peer.ip(),
            );
            let mut reply = text(StatusCode::UNAUTHORIZED, "Unauthorized");
            reply
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static(auth::CHALLENGE));
            return reply;
        }
        let Some(resource) = path
            .strip_prefix("/_node")
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            return empty(StatusCode::NOT_FOUND);
        };
        let resource = resource.strip_suffix('/').unwrap_or(resource);
        if head.method == Method::POST && resource == "/logging" {
            return text(
                StatusCode::NOT_IMPLEMENTED,
                "levels cannot be changed while the gateway runs; set TURNPIKE_LOG and restart it",
            );
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
            reply
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        self.resource(resource, &head.uri).await
    }

    async fn resource(&self, resource: &str, uri: &Uri) -> Reply {
        let state = &self.state;
        match resource {
            "" => pretty(StatusCode::OK, &inventory::node(state)),
            "/health" => self.health(uri).await,
            "/ready" => self.probes(&["http-server", "sync-process"]).await,
            "/configuration" => json(StatusCode::OK, &inventory::configuration(state)),
            "/monitor" => self.monitor(),
            "/apis" if parameters(uri, "state").any(|value| value == "refused") => {
                pretty(StatusCode::OK, &inventory::refused_apis(state))
            }
            "/apis" => pretty(
                StatusCode::OK,
                &inventory::apis(&state.snapshot.load_full()),
            ),
            "/sync" => {
                let report = state.sync.report();
                let status = if report.initial_done {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                json(status, &state.sync.to_json())
            }
            "/workers" => pretty(StatusCode::OK, &inventory::workers(state)),
            "/metrics/prometheus"
                if state.config.metrics.enabled && state.config.metrics.prometheus =>
            {
                self.metrics().await
            }
            "/logging" => {
                let level = tracing::level_filters::LevelFilter::current()
                    .to_string()
                    .to_uppercase();
                json(StatusCode::OK, &serde_json::json!({ "ROOT": level }))
            }
            "/license" => json(StatusCode::OK, &inventory::license(state)),
            "/cluster" => json(StatusCode::OK, &inventory::cluster(state)),
            "/heapdump" if self.is_switched_on("heapdump") => {
                text(StatusCode::NOT_IMPLEMENTED, "there is no Java heap to dump")
            }
            "/threaddump" if self.is_switched_on("threaddump") => {
                text(StatusCode::OK, inventory::threads())
            }
            _ => match resource.strip_prefix("/apis/") {
                Some(id) => match inventory::api(&state.snapshot.load_full(), id) {
                    Some(api) => pretty(StatusCode::OK, &api),
                    None => empty(StatusCode::NOT_FOUND),
                },
                None => empty(StatusCode::NOT_FOUND),
            },
        }
    }

    async fn health(&self, uri: &Uri) -> Reply {
        let asked: Vec<&str> = parameters(uri, "probes")
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .take(PROBES_MAX)
            .collect();
        self.probes(if asked.is_empty() {
            &VISIBLE_PROBES
        } else {
            &asked
        })
        .await
    }

    async fn probes(&self, names: &[&str]) -> Reply {
        let results = self.state.health.evaluate(names).await;
        let all_healthy = results.iter().all(|(_, probe)| probe.healthy);
        let status = if all_healthy {
            StatusCode::OK
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let body: serde_json::Map<String, Value> = results
            .into_iter()
            .map(|(name, probe)| (name, serde_json::json!(probe)))
            .collect();
        json(status, &body.into())
    }

    fn monitor(&self) -> Reply {
        let mut body = serde_json::json!(self.state.monitor.sample());
        body["gpu"] = Value::Null;
        json(StatusCode::OK, &body)
    }

    async fn metrics(&self) -> Reply {
        let Ok(_permit) = self.scrapes.try_acquire() else {
            return empty(StatusCode::TOO_MANY_REQUESTS);
        };
        let probes = self.state.health.evaluate(&ALL_PROBES).await;
        let page = prometheus::render(&self.state, &probes, &self.state.monitor.sample());
        reply(StatusCode::OK, prometheus::CONTENT_TYPE, page)
    }

    /// `services.core.endpoints.<name>.enabled`, read from the effective settings: no typed setting is needed for a dump.
    fn is_switched_on(&self, name: &str) -> bool {
        let key = format!("services.core.endpoints.{name}.enabled");
        self.state
            .config
            .effective
            .iter()
            .any(|(found, value)| *found == key && value == "true")
    }
}

/// The values of a query parameter. Commas may be percent-encoded; probe names and states need no other decoding.
fn parameters<'a>(uri: &'a Uri, name: &'a str) -> impl Iterator<Item = &'a str> {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(found, _)| *found == name)
        .flat_map(|(_, value)| value.split("%2C").flat_map(|value| value.split("%2c")))
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain", body)
}

fn json(status: StatusCode, body: &Value) -> Reply {
    reply(status, "application/json", body.to_string())
}

fn pretty(status: StatusCode, body: &Value) -> Reply {
    reply(status, "application/json", format!("{body:#}"))
}

#[cfg(test)]
#[path = "api_tests.rs"]
pub(super) mod tests;
