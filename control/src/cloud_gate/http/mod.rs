//! Connections: HTTP/1.1 and HTTP/2, with TLS or without, until the Cloud Gate is told to stop.

mod answer;
pub(super) mod auth;
mod bridge;
mod request;
mod routes;
mod status;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use self::auth::Gatekeeper;
use super::gate::Gate;

/// Open connections; more wait in the listen backlog.
const CONNECTIONS_MAX: usize = 1_024;
/// Time for the TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Time for a request head, counted from the end of the one before: longer than clients keep idle connections.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// Time for running requests to finish after the stop.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Pause after a failed accept, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Concurrent streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// What every connection serves.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    pub(super) gate: Arc<Gate>,
    pub(super) gatekeeper: Arc<Gatekeeper>,
}

/// Accepts until `stop` is done, then waits a moment for running requests.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    endpoints: Endpoints,
    stop: impl Future<Output = ()>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let (stopping, stopped) = watch::channel(false);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accept = async {
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection =
                        connect(stream, acceptor.clone(), endpoints.clone(), stopped.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!("a connection was not accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop(listener);
    let _ = stopping.send(true);
    let all_closed = slots.acquire_many(u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX));
    if tokio::time::timeout(DRAIN_TIME, all_closed).await.is_err() {
        tracing::warn!(
            "connections were cut {} s after the stop",
            DRAIN_TIME.as_secs()
        );
    }
}

async fn connect(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    endpoints: Endpoints,
    stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        // The version is told from the first bytes; a peer that sends none must not hold its slot for ever.
        if let Ok(Ok(1..)) = tokio::time::timeout(HEAD_TIME, stream.peek(&mut [0])).await {
            exchange(TokioIo::new(stream), Version::Unknown, endpoints, stopped).await;
        }
        return;
    };
    match tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let version = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Version::Http2,
                _ => Version::Http1,
            };
            exchange(TokioIo::new(stream), version, endpoints, stopped).await;
        }
        Ok(Err(error)) => tracing::debug!("TLS handshake failed: {error}"),
        Err(_) => tracing::debug!(
            "TLS handshake took longer than {} s",
            HANDSHAKE_TIME.as_secs()
        ),
    }
}

/// What is known about a connection's protocol before its first byte.
#[derive(Debug, Clone, Copy)]
enum Version {
    Http1,
    Http2,
    Unknown,
}

async fn exchange<I>(
    io: I,
    version: Version,
    endpoints: Endpoints,
    mut stopped: watch::Receiver<bool>,
) where
    I: Read + Write + Unpin + Send + 'static,
{
    let server = auto::Builder::new(TokioExecutor::new());
    let mut server = match version {
        Version::Http1 => server.http1_only(),
        Version::Http2 => server.http2_only(),
        Version::Unknown => server,
    };
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let endpoints = endpoints.clone();
        async move { Ok::<_, Infallible>(routes::answer(&endpoints, request).await) }
    });
    let connection = server.serve_connection(io, service);
    tokio::pin!(connection);
    let finished = tokio::select! {
        outcome = connection.as_mut() => Some(outcome),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    let outcome = match finished {
        Some(outcome) => outcome,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!("connection ended: {error}");
    }
}
