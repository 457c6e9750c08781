//! HTTP/1.1 as bytes: enough to read what either side sends, strict enough to notice when it is not whole.

use std::io::{self, Read};

/// Bytes of a head at most.
const HEAD_BYTES_MAX: usize = 256 * 1_024;

/// Why a message was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer closed or reset before the first byte.
    Closed,
    /// The peer closed or reset in the middle.
    Cut(String),
    /// Nothing came within the read timeout.
    Silence,
    /// The bytes are not HTTP.
    Malformed(String),
}

/// A start line and its fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// First value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Framing as the fields declare it; `otherwise` when they do not.
    pub(crate) fn framing(&self, otherwise: Framing) -> Result<Framing, Broken> {
        if let Some(coding) = self.field("Transfer-Encoding") {
            if !coding.eq_ignore_ascii_case("chunked") {
                return Err(Broken::Malformed(format!("transfer coding {coding:?}")));
            }
            if self.field("Content-Length").is_some() {
                return Err(Broken::Malformed("both framings".to_owned()));
            }
            return Ok(Framing::Chunked);
        }
        match self.all("Content-Length")[..] {
            [] => Ok(otherwise),
            [length] => length
                .parse()
                .map(Framing::Length)
                .map_err(|_| Broken::Malformed(format!("length {length:?}"))),
            _ => Err(Broken::Malformed("two lengths".to_owned())),
        }
    }
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// A stream with what was read from it and not used yet.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: Read> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Bytes that came and were not used.
    pub(crate) fn surplus(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads more; 0 is the end.
    fn fill(&mut self) -> Result<usize, Broken> {
        let mut piece = [0_u8; 16 * 1_024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Err(Broken::Silence);
                }
                Err(error) => return Err(Broken::Cut(error.to_string())),
            }
        }
    }

    /// Reads a head.
    pub(crate) fn head(&mut self) -> Result<Head, Broken> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(Broken::Malformed("a head without end".to_owned()));
            }
            match self.fill() {
                Ok(0) | Err(Broken::Cut(_)) if self.buffer.is_empty() => {
                    return Err(Broken::Closed);
                }
                Ok(0) => return Err(Broken::Cut(format!("in a head: {}", lossy(&self.buffer)))),
                Ok(_) => {}
                Err(broken) => return Err(broken),
            }
        };
        let raw: Vec<u8> = self.buffer.drain(..end).collect();
        let text = String::from_utf8_lossy(&raw[..end - 4]);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Broken::Malformed(format!("field line {line:?}")))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(Head { start, fields })
    }

    /// Reads a body and hands its bytes to `sink`.
    pub(crate) fn body(
        &mut self,
        framing: Framing,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Broken> {
        match framing {
            Framing::Length(length) => self.take(length, sink),
            Framing::Chunked => loop {
                let line = self.line()?;
                let size = line.split(';').next().unwrap_or_default();
                let size = u64::from_str_radix(size, 16)
                    .map_err(|_| Broken::Malformed(format!("chunk size line {line:?}")))?;
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    return Ok(());
                }
                self.take(size, sink)?;
                let end = self.line()?;
                if !end.is_empty() {
                    return Err(Broken::Malformed(format!("end of chunk {end:?}")));
                }
            },
            Framing::UntilClose => loop {
                sink(&self.buffer);
                self.buffer.clear();
                if self.fill()? == 0 {
                    return Ok(());
                }
            },
        }
    }

    fn take(&mut self, mut left: u64, sink: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        while left > 0 {
            if self.buffer.is_empty() && self.fill()? == 0 {
                return Err(Broken::Cut(format!("{left} bytes of a body are missing")));
            }
            let count = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&self.buffer[..count]);
            self.buffer.drain(..count);
            left -= count as u64;
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(lossy(&line[..at]));
            }
            if self.fill()? == 0 {
                return Err(Broken::Cut("in a chunk line".to_owned()));
            }
        }
    }

    /// Reads and discards until the peer closes or resets; false when it stays silent with the connection open.
    pub(crate) fn ends(&mut self) -> bool {
        loop {
            match self.fill() {
                Ok(0) | Err(Broken::Cut(_)) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Writes `body` as chunks of sizes that follow no pattern.
pub(crate) fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / 64 + 64);
    let mut rest = body;
    let mut size = 1;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        rest = after;
        size = (size * 7 + 13) % 70_001 + 1;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Position of `needle`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Bytes as text for messages.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
