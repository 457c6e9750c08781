//! An HTTP server whose answers a test writes itself: for callouts, introspection, key sets, functions.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::wait::pause;
use super::wire::{Framing, Head, Wire};

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Time before the answer.
    pub(crate) delay: Duration,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: body.into(),
            delay: Duration::ZERO,
        }
    }

    /// A JSON answer.
    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::new(200, value.to_string()).field("Content-Type", "application/json")
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

trait Duplex: Read + Write {}
impl<S: Read + Write> Duplex for S {}
type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The server; it accepts no more once this is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopping: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::run(None, handler)
    }

    /// A server behind TLS.
    pub(crate) fn with_tls(
        config: Arc<rustls::ServerConfig>,
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::run(Some(config), handler)
    }

    fn run(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let stopping = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let (kept, stop) = (Arc::clone(&asked), Arc::clone(&stopping));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (handler, kept) = (Arc::clone(&handler), Arc::clone(&kept));
                let tls = tls.clone();
                std::thread::spawn(move || {
                    if let Ok(stream) = wrap(stream, tls) {
                        serve(stream, &*handler, &kept);
                    }
                });
            }
        });
        Self {
            address,
            scheme,
            asked,
            stopping,
        }
    }

    /// A server that always answers the same.
    pub(crate) fn always(answer: Answer) -> Self {
        Self::start(move |_| answer.clone())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The same with a name in place of the address: certificates are for names.
    pub(crate) fn named_url(&self, name: &str, path: &str) -> String {
        format!("{}://{name}:{}{path}", self.scheme, self.address.port())
    }

    /// Every request that came, oldest first.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .expect("nobody panics while holding it")
            .clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn wrap(stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>) -> io::Result<Box<dyn Duplex>> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(match tls {
        None => Box::new(stream),
        Some(config) => {
            let session = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(rustls::StreamOwned::new(session, stream))
        }
    })
}

fn serve(stream: Box<dyn Duplex>, handler: &Handler, kept: &Mutex<Vec<Asked>>) -> Option<()> {
    let mut wire = Wire::new(stream);
    loop {
        let head = wire.head().ok()?;
        let mut words = head.start.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let framing = head.framing(Framing::Length(0)).ok()?;
        let mut body = Vec::new();
        wire.body(framing, &mut |piece| body.extend_from_slice(piece))
            .ok()?;
        let asked = Asked {
            method,
            target,
            head,
            body,
        };
        let answer = handler(&asked);
        kept.lock()
            .expect("nobody panics while holding it")
            .push(asked);
        pause(answer.delay);
        let mut text = format!(
            "HTTP/1.1 {} Answer\r\nContent-Length: {}\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        wire.stream.write_all(text.as_bytes()).ok()?;
        wire.stream.write_all(&answer.body).ok()?;
        wire.stream.flush().ok()?;
    }
}
