//! A server that does what a test says, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What a server does with a request.
#[derive(Clone)]
pub(super) enum Act {
    /// Writes this and reads the next request.
    Write(Vec<u8>),
    /// Writes this and closes.
    WriteAndClose(Vec<u8>),
    /// Says nothing, for ever.
    Silence,
    /// Answers 200 and becomes a tunnel to this address.
    Tunnel(SocketAddr),
}

/// A whole response.
pub(super) fn ok(body: &str) -> Act {
    status(200, "", body)
}

/// A whole response with fields (each with its line end).
pub(super) fn status(status: u16, fields: &str, body: &str) -> Act {
    let length = body.len();
    Act::Write(
        format!("HTTP/1.1 {status} X\r\n{fields}content-length: {length}\r\n\r\n{body}").into(),
    )
}

/// A running server; it ends with the runtime of its test.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) async fn start(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        Self::run(None, act).await
    }

    pub(super) async fn tls(
        acceptor: TlsAcceptor,
        act: impl Fn(&str) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::run(Some(acceptor), act).await
    }

    async fn run(
        acceptor: Option<TlsAcceptor>,
        act: impl Fn(&str) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let act = Arc::new(act);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (act, seen, acceptor) = (Arc::clone(&act), Arc::clone(&seen), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => converse(stream, &*act, &seen).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                converse(stream, &*act, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests so far, head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    act: &(dyn Fn(&str) -> Act + Send + Sync),
    seen: &Mutex<Vec<String>>,
) {
    while let Some(request) = read(&mut stream).await {
        seen.lock().expect("no panic").push(request.clone());
        match act(&request) {
            Act::Write(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Act::WriteAndClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Act::Silence => std::future::pending().await,
            Act::Tunnel(to) => {
                let mut other = TcpStream::connect(to).await.expect("the target");
                let answer = b"HTTP/1.1 200 Connected\r\n\r\n";
                stream.write_all(answer).await.expect("a client");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
                return;
            }
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().expect("a length"));
            if bytes.len() >= end + 4 + length {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
