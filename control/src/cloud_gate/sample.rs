//! A backend to try a gateway against: it answers every request with what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Largest body that is repeated.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Open connections.
const CONNECTIONS_MAX: usize = 1_024;
/// Time for a request head, counted from the end of the one before.
const HEAD_TIME: Duration = Duration::from_secs(75);

/// A plain HTTP/1.1 server on this machine.
#[derive(Debug)]
pub struct SampleBackend {
    listener: TcpListener,
    address: SocketAddr,
}

impl SampleBackend {
    /// Binds a port of the loopback address; 0 takes a free one.
    pub async fn bind(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is done; connections that are open then are closed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let accept = async {
            loop {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                    return;
                };
                while connections.try_join_next().is_some() {}
                let Ok((stream, _)) = self.listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                connections.spawn(async move {
                    let mut server = hyper::server::conn::http1::Builder::new();
                    server
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD_TIME);
                    // A connection that breaks is the client's affair.
                    let _ = server
                        .serve_connection(TokioIo::new(stream), service_fn(echo))
                        .await;
                    drop(slot);
                });
            }
        };
        tokio::select! {
            () = accept => {}
            () = shutdown => {}
        }
    }
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let (status, document) = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => {
            let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (name, value) in &head.headers {
                headers
                    .entry(name.as_str())
                    .or_default()
                    .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
            }
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            let document = json!({
                "method": head.method.as_str(),
                "path": head.uri.path(),
                "query": head.uri.query(),
                "headers": headers,
                "body": body,
            });
            (StatusCode::OK, document)
        }
        Err(_) => {
            let expected = format!("expected a body of at most {BODY_BYTES_MAX} bytes");
            (StatusCode::PAYLOAD_TOO_LARGE, json!({"error": expected}))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(format!("{document:#}\n"))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
