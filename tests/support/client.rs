//! A client that sends exactly the bytes it is given and reads exactly one response at a time.

use std::io::{self, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::wait::PATIENCE;
use super::wire::{Broken, Framing, Head, Wire};

/// A whole response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; the test fails when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?} {:?}", self.head, self.text()))
    }

    /// Whether the server said that it closes the connection.
    pub(crate) fn closes(&self) -> bool {
        self.field("Connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One TCP connection.
#[derive(Debug)]
pub(crate) struct Client {
    wire: Wire<TcpStream>,
}

impl Client {
    /// Connects to a port of this machine.
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            wire: Wire::new(stream),
        })
    }

    /// Connects, or fails the test.
    pub(crate) fn open(port: u16) -> Self {
        Self::connect(port).unwrap_or_else(|error| panic!("port {port}: {error}"))
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.wire.stream
    }

    /// Sends bytes; an error means that the other side is gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.stream.write_all(bytes)
    }

    /// Sends bytes, or fails the test.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.try_send(bytes).expect("the gateway reads");
        self
    }

    /// Reads a response to anything but HEAD, past interim ones.
    pub(crate) fn try_response(&mut self) -> Result<Response, Broken> {
        loop {
            let response = self.read(false)?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    /// Reads a response, or fails the test.
    pub(crate) fn response(&mut self) -> Response {
        self.try_response()
            .unwrap_or_else(|broken| panic!("no whole response: {broken:?}"))
    }

    /// Reads the response to a HEAD request.
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.read(true)
            .unwrap_or_else(|broken| panic!("no whole response: {broken:?}"))
    }

    /// Reads one head, interim or not.
    pub(crate) fn head(&mut self) -> Result<Head, Broken> {
        self.wire.head()
    }

    fn read(&mut self, to_head: bool) -> Result<Response, Broken> {
        let head = self.wire.head()?;
        let status: u16 = head
            .start
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| Broken::Malformed(head.start.clone()))?;
        let mut body = Vec::new();
        if !to_head && status >= 200 && status != 204 && status != 304 {
            let framing = head.framing(Framing::UntilClose)?;
            self.wire
                .body(framing, &mut |piece| body.extend_from_slice(piece))?;
        }
        Ok(Response { status, head, body })
    }

    /// Whether the server closes the connection (within the read timeout), whatever it still sends.
    pub(crate) fn ends(&mut self) -> bool {
        self.wire.ends()
    }

    /// Bytes after the last response.
    pub(crate) fn surplus(&self) -> &[u8] {
        self.wire.surplus()
    }
}

/// A request for `localhost` without body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[], b"")
}

/// A request; a body is sent with its length.
pub(crate) fn request(method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Sends one request on a connection of its own.
pub(crate) fn exchange(port: u16, request: &[u8]) -> Response {
    Client::open(port).send(request).response()
}

/// GET on a connection of its own.
pub(crate) fn fetch(port: u16, path: &str) -> Response {
    exchange(port, &get(path))
}

/// GET with fields on a connection of its own.
pub(crate) fn fetch_with(port: u16, path: &str, fields: &[(&str, &str)]) -> Response {
    exchange(port, &request("GET", path, fields, b""))
}
