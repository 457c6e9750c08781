//! A backend inside the test process. The first segment of the path says what it does, so that every request chooses its own
//! fault and many can be tried through one gateway:
//!
//! | path | what happens |
//! |---|---|
//! | `/bytes/N` | N bytes with `Content-Length` |
//! | `/chunked/N` | N bytes in chunks |
//! | `/until-close/N` | N bytes, ended by closing |
//! | `/slow/MS` | the head comes late |
//! | `/drip/N/MS` | N pieces with MS between them |
//! | `/status/NNN` | that status, short body |
//! | `/hang` | no answer |
//! | `/stall` | the body is not read before [`Backend::release`], then an echo |
//! | `/cut/N/M` | announces N bytes, sends M, closes |
//! | `/cut-chunked/M` | sends M bytes in chunks, closes without the last chunk |
//! | `/reset/N/M` | announces N, sends M, resets (the request must have a body, which is not read) |
//! | `/raw/B64`, `/raw-keep/B64` | exactly these bytes, then closes, or stays open |
//! | `/bytewise/B64` | exactly these bytes, one at a time, and stays open |
//! | `/large-head/N` | a head with a field of N bytes |
//! | `/early/NNN` | answers before it reads the body |
//! | `/close-after` | an ordinary answer, then closes without a word |
//! | `/continue` | 100 Continue, then the body, then an echo |
//! | anything else | tells in JSON what it was asked |

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::pattern::{self, Digest};
use super::wait::pause;
use super::wire::{Broken, Framing, Head, Wire, chunked};

/// Requests that are remembered.
const SEEN_MAX: usize = 4_096;
/// Bytes of a body that are remembered.
pub(crate) const BODY_KEPT_BYTES_MAX: usize = 64 * 1_024;
/// A connection that is silent for so long is forgotten.
const SILENCE: Duration = Duration::from_secs(60);

/// What a client of the backend asked.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) head: Head,
    pub(crate) body_bytes: u64,
    /// The first bytes of the body, at most [`BODY_KEPT_BYTES_MAX`].
    pub(crate) body: Vec<u8>,
    /// False when the body did not come to its end.
    pub(crate) complete: bool,
}

#[derive(Debug, Default)]
struct Shared {
    name: String,
    requests: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    released: AtomicBool,
    bytes: AtomicU64,
    stopping: AtomicBool,
    seen: Mutex<VecDeque<Seen>>,
}

/// The backend; it accepts no more once this is dropped.
#[derive(Debug)]
pub(crate) struct Backend {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
}

/// TCP or TLS.
trait Duplex: Read + Write + Send {}
impl<S: Read + Write + Send> Duplex for S {}
type Connection = Wire<Box<dyn Duplex>>;

impl Backend {
    pub(crate) fn start() -> Self {
        Self::named("backend")
    }

    /// A backend that tells its name in every echo.
    pub(crate) fn named(name: &str) -> Self {
        Self::run(name, "http", |stream| Ok(Box::new(stream)))
    }

    /// A backend behind TLS.
    pub(crate) fn with_tls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::run("tls", "https", move |stream| {
            let session =
                rustls::ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            Ok(Box::new(rustls::StreamOwned::new(session, stream)))
        })
    }

    fn run(
        name: &str,
        scheme: &'static str,
        wrap: impl Fn(TcpStream) -> io::Result<Box<dyn Duplex>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            ..Shared::default()
        });
        let serving = Arc::clone(&shared);
        let wrap = Arc::new(wrap);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, wrap) = (Arc::clone(&serving), Arc::clone(&wrap));
                std::thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let _ = stream.set_read_timeout(Some(SILENCE));
                    shared.open.fetch_add(1, Ordering::SeqCst);
                    if let Ok(stream) = wrap(stream) {
                        // A connection that breaks is the other side's affair.
                        let _ = serve(&shared, Wire::new(stream));
                    }
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            scheme,
            shared,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The target of an endpoint; `path` may be empty.
    pub(crate) fn target(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port())
    }

    /// Requests whose head came.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub(crate) fn open_connections(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Lets `/stall` go on.
    pub(crate) fn release(&self) {
        self.shared.released.store(true, Ordering::SeqCst);
    }

    /// Body bytes written so far, over all connections.
    pub(crate) fn body_bytes_written(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// What was asked, oldest first.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().iter().cloned().collect()
    }

    /// What was asked last.
    pub(crate) fn last(&self) -> Seen {
        self.lock().back().cloned().expect("a request was seen")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Seen>> {
        self.shared
            .seen
            .lock()
            .expect("nobody panics while holding it")
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// What to do with the connection after an exchange.
#[derive(PartialEq, Eq)]
enum After {
    Keep,
    Close,
}

fn serve(shared: &Shared, mut connection: Connection) -> Result<(), Broken> {
    while !shared.stopping.load(Ordering::SeqCst) {
        let head = connection.head()?;
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let mut words = head.start.split(' ');
        let seen = Seen {
            method: words.next().unwrap_or_default().to_owned(),
            target: words.next().unwrap_or_default().to_owned(),
            head,
            body_bytes: 0,
            body: Vec::new(),
            complete: false,
        };
        if exchange(shared, &mut connection, seen)? == After::Close {
            return Ok(());
        }
    }
    Ok(())
}

fn exchange(shared: &Shared, connection: &mut Connection, mut seen: Seen) -> Result<After, Broken> {
    let path = seen.target.split('?').next().unwrap_or_default().to_owned();
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let number = |at: usize| {
        words
            .get(at)
            .and_then(|word| word.parse::<usize>().ok())
            .unwrap_or(0)
    };
    match words[0] {
        "early" => {
            remember(shared, seen);
            let text = format!(
                "HTTP/1.1 {} Early\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly",
                number(1)
            );
            write(shared, connection, text.as_bytes())?;
            connection.ends();
            return Ok(After::Close);
        }
        "reset" => {
            remember(shared, seen);
            write_head(connection, number(1))?;
            write(shared, connection, &pattern::bytes(number(2)))?;
            // Closing with unread bytes resets the connection; they must be there.
            pause(Duration::from_millis(50));
            return Ok(After::Close);
        }
        "stall" => {
            while !shared.released.load(Ordering::SeqCst) && !shared.stopping.load(Ordering::SeqCst)
            {
                pause(Duration::from_millis(10));
            }
        }
        "continue" => write(shared, connection, b"HTTP/1.1 100 Continue\r\n\r\n")?,
        _ => {}
    }
    let mut digest = Digest::new();
    let framing = seen.head.framing(Framing::Length(0))?;
    let read = connection.body(framing, &mut |piece| {
        seen.body_bytes += piece.len() as u64;
        digest.add(piece);
        let room = BODY_KEPT_BYTES_MAX - seen.body.len();
        seen.body.extend_from_slice(&piece[..piece.len().min(room)]);
    });
    seen.complete = read.is_ok();
    remember(shared, seen.clone());
    read?;
    match words[0] {
        "bytes" => {
            write_head(connection, number(1))?;
            if seen.method != "HEAD" {
                for piece in pattern::bytes(number(1)).chunks(64 * 1_024) {
                    write(shared, connection, piece)?;
                }
            }
        }
        "chunked" => {
            write(
                shared,
                connection,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            )?;
            write(shared, connection, &chunked(&pattern::bytes(number(1))))?;
        }
        "until-close" => {
            write(
                shared,
                connection,
                b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            )?;
            write(shared, connection, &pattern::bytes(number(1)))?;
            return Ok(After::Close);
        }
        "slow" => {
            pause(Duration::from_millis(number(1) as u64));
            write_head(connection, 4)?;
            write(shared, connection, b"slow")?;
        }
        "drip" => {
            write_head(connection, number(1))?;
            for _ in 0..number(1) {
                pause(Duration::from_millis(number(2) as u64));
                write(shared, connection, b".")?;
            }
        }
        "status" => {
            let status = number(1);
            let text = format!("HTTP/1.1 {status} Chosen\r\nContent-Length: 6\r\n\r\nchosen");
            write(shared, connection, text.as_bytes())?;
        }
        "hang" => {
            connection.ends();
            return Ok(After::Close);
        }
        "cut" => {
            write_head(connection, number(1))?;
            write(shared, connection, &pattern::bytes(number(2)))?;
            return Ok(After::Close);
        }
        "cut-chunked" => {
            let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            bytes.extend_from_slice(&chunked(&pattern::bytes(number(1))));
            let end = bytes.len() - b"0\r\n\r\n".len();
            write(shared, connection, &bytes[..end])?;
            return Ok(After::Close);
        }
        "large-head" => {
            let field = "x".repeat(number(1));
            let text = format!("HTTP/1.1 200 OK\r\nX-Large: {field}\r\nContent-Length: 0\r\n\r\n");
            write(shared, connection, text.as_bytes())?;
        }
        "raw" | "raw-keep" | "bytewise" => {
            let bytes = BASE64_URL_SAFE_NO_PAD
                .decode(words.get(1).unwrap_or(&""))
                .map_err(|error| Broken::Malformed(error.to_string()))?;
            let piece = if words[0] == "bytewise" {
                1
            } else {
                usize::MAX
            };
            for piece in bytes.chunks(piece) {
                write(shared, connection, piece)?;
            }
            if words[0] == "raw" {
                return Ok(After::Close);
            }
        }
        word => {
            echo(shared, connection, &seen, digest)?;
            if word == "close-after" {
                return Ok(After::Close);
            }
        }
    }
    Ok(After::Keep)
}

fn echo(
    shared: &Shared,
    connection: &mut Connection,
    seen: &Seen,
    digest: Digest,
) -> Result<(), Broken> {
    let body = json!({
        "backend": shared.name,
        "method": seen.method,
        "target": seen.target,
        "fields": seen.head.fields,
        "body_bytes": seen.body_bytes,
        "digest": digest.text(),
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Backend: {}\r\nContent-Length: {}\r\n\r\n",
        shared.name,
        body.len()
    );
    write(shared, connection, head.as_bytes())?;
    if seen.method != "HEAD" {
        write(shared, connection, body.as_bytes())?;
    }
    Ok(())
}

fn write_head(connection: &mut Connection, length: usize) -> Result<(), Broken> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    send(connection, head.as_bytes())
}

fn write(shared: &Shared, connection: &mut Connection, bytes: &[u8]) -> Result<(), Broken> {
    send(connection, bytes)?;
    shared.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    Ok(())
}

fn send(connection: &mut Connection, bytes: &[u8]) -> Result<(), Broken> {
    let stream = &mut connection.stream;
    stream
        .write_all(bytes)
        .and_then(|()| stream.flush())
        .map_err(|error| Broken::Cut(error.to_string()))
}

fn remember(shared: &Shared, seen: Seen) {
    let mut all = shared.seen.lock().expect("nobody panics while holding it");
    if all.len() == SEEN_MAX {
        all.pop_front();
    }
    all.push_back(seen);
}

/// The path that makes the backend send exactly these bytes and close.
pub(crate) fn raw(bytes: &[u8]) -> String {
    format!("/raw/{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// The path that makes the backend send exactly these bytes and keep the connection.
pub(crate) fn raw_keep(bytes: &[u8]) -> String {
    format!("/raw-keep/{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// The path that makes the backend send exactly these bytes, one at a time.
pub(crate) fn bytewise(bytes: &[u8]) -> String {
    format!("/bytewise/{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
