//! Connections of HTTP errands: direct or through the system's forward proxy, with one limit for everything from look-up to TLS.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::names::Names;

type BoxError = Box<dyn Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Connects to a server or, for it, to the proxy.
#[derive(Debug, Clone)]
pub(super) struct Route {
    tcp: HttpConnector<Names>,
    proxy: Option<Proxy>,
}

/// A forward proxy: `https` goes through a tunnel, `http` is asked for by its absolute address (RFC 9112 3.2.2).
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) address: Uri,
    pub(super) tunnel: Tunnel<HttpConnector<Names>>,
}

impl Route {
    pub(super) fn new(tcp: HttpConnector<Names>, proxy: Option<Proxy>) -> Self {
        Self { tcp, proxy }
    }
}

impl Service<Uri> for Route {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<Stream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Neither the resolver nor the connectors ever make anybody wait here.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match &mut self.proxy {
            Some(proxy) if target.scheme() == Some(&Scheme::HTTPS) => {
                let connecting = proxy.tunnel.call(target);
                Box::pin(async move { Ok(Stream::new(connecting.await?, false)) })
            }
            Some(proxy) => {
                let connecting = self.tcp.call(proxy.address.clone());
                Box::pin(async move { Ok(Stream::new(connecting.await?, true)) })
            }
            None => {
                let connecting = self.tcp.call(target);
                Box::pin(async move { Ok(Stream::new(connecting.await?, false)) })
            }
        }
    }
}

/// A connection that knows whether requests on it must name their server in full.
#[derive(Debug)]
pub(super) struct Stream {
    inner: TokioIo<TcpStream>,
    absolute: bool,
}

impl Stream {
    fn new(inner: TokioIo<TcpStream>, absolute: bool) -> Self {
        Self { inner, absolute }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.inner.connected().proxy(self.absolute)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }
}

/// Gives up connections that are not ready in time, TLS included: nothing of an abandoned one may linger.
#[derive(Debug, Clone)]
pub(super) struct Timed<C> {
    pub(super) inner: C,
    pub(super) limit_ms: u64,
}

impl<C> Service<Uri> for Timed<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<C::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let limit_ms = self.limit_ms;
        let connecting = self.inner.call(target);
        Box::pin(async move {
            match tokio::time::timeout(Duration::from_millis(limit_ms), connecting).await {
                Ok(outcome) => outcome,
                Err(_) => Err(format!("no connection within {limit_ms} ms").into()),
            }
        })
    }
}
