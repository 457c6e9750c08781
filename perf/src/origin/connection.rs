//! One client of the origin: head in, answer out, bodies streamed through one fixed buffer.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;

use super::request::{Action, Parsed, RequestHead, parse};

/// Room for a request head, and the step in which echoed bodies are moved.
const INPUT_BYTES: usize = 32 * 1024;
/// Precomputed body; longer bodies repeat it. It is small enough to stay in the L2 cache.
const PAGE_BYTES: usize = 64 * 1024;
static PAGE: [u8; PAGE_BYTES] = [b'x'; PAGE_BYTES];
/// Pages offered to one write, so that 1 MiB leaves in a few calls.
const PAGES_PER_WRITE: usize = 4;

/// A connection and the state of the exchange on it. Nothing is allocated after [`Connection::new`].
pub(crate) struct Connection {
    stream: TcpStream,
    input: Box<[u8]>,
    /// Unread part of `input`.
    start: usize,
    end: usize,
    /// Answer heads not yet sent, from `head_sent_bytes` on.
    head: Vec<u8>,
    head_sent_bytes: usize,
    /// Bytes of the page still to be sent after the head.
    page_left_bytes: u64,
    /// Bytes of the request body still to be echoed.
    echo_left_bytes: u64,
    /// Bytes of the request body still to be thrown away.
    skip_left_bytes: u64,
    close_after_answer: bool,
    readable: bool,
    ended: bool,
}

/// What is left to do on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Open,
    Done,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            head: Vec::with_capacity(512),
            head_sent_bytes: 0,
            page_left_bytes: 0,
            echo_left_bytes: 0,
            skip_left_bytes: 0,
            close_after_answer: false,
            readable: true,
            ended: false,
        })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Goes as far as the socket allows after an event.
    pub(crate) fn advance(&mut self, readable: bool, ended: bool) -> io::Result<Status> {
        self.readable |= readable;
        self.ended |= ended;
        loop {
            if !self.flush()? {
                return Ok(Status::Open);
            }
            if self.echo_left_bytes > 0 && self.start < self.end {
                if !self.echo()? {
                    return Ok(Status::Open);
                }
                continue;
            }
            if self.skip_left_bytes > 0 && self.start < self.end {
                let step = self.unread_up_to(self.skip_left_bytes);
                self.start += step;
                self.skip_left_bytes -= step as u64;
                continue;
            }
            if self.echo_left_bytes == 0 && self.skip_left_bytes == 0 {
                if self.close_after_answer {
                    return Ok(Status::Done);
                }
                match parse(&self.input[self.start..self.end]) {
                    Parsed::Complete(head) => {
                        self.begin(head);
                        continue;
                    }
                    Parsed::Refused(status) => {
                        self.refuse(status);
                        continue;
                    }
                    Parsed::Partial if self.end - self.start == INPUT_BYTES => {
                        self.refuse(431);
                        continue;
                    }
                    Parsed::Partial => {}
                }
            }
            if !self.readable {
                return Ok(Status::Open);
            }
            if !self.fill()? {
                return Ok(if self.ended_for_good() {
                    Status::Done
                } else {
                    Status::Open
                });
            }
        }
    }

    fn begin(&mut self, request: RequestHead) {
        self.start += request.head_bytes;
        self.close_after_answer = request.close;
        let body_bytes = match request.action {
            Action::Bytes(size) => size,
            Action::Echo => request.body_bytes,
            Action::Small => SMALL_BYTES,
        };
        if request.action == Action::Echo {
            self.echo_left_bytes = request.body_bytes;
        } else {
            self.skip_left_bytes = request.body_bytes;
            self.page_left_bytes = if request.head_only { 0 } else { body_bytes };
        }
        self.write_head(200, "OK", body_bytes);
    }

    fn refuse(&mut self, status: u16) {
        self.start = self.end;
        self.close_after_answer = true;
        self.write_head(status, "Refused", 0);
    }

    fn write_head(&mut self, status: u16, reason: &str, body_bytes: u64) {
        let connection = if self.close_after_answer {
            "connection: close\r\n"
        } else {
            ""
        };
        write!(
            self.head,
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/octet-stream\r\ncontent-length: {body_bytes}\r\n{connection}\r\n"
        )
        .expect("writing to a Vec cannot fail because it grows");
    }

    /// Sends what waits; `false` when the socket takes no more.
    fn flush(&mut self) -> io::Result<bool> {
        while self.head_sent_bytes < self.head.len() || self.page_left_bytes > 0 {
            let head = &self.head[self.head_sent_bytes..];
            let mut slices = [IoSlice::new(head); PAGES_PER_WRITE + 1];
            let mut left = self.page_left_bytes;
            for slice in &mut slices[1..] {
                let step = usize::try_from(left).unwrap_or(PAGE_BYTES).min(PAGE_BYTES);
                *slice = IoSlice::new(&PAGE[..step]);
                left -= step as u64;
            }
            let used = 1 + slices[1..]
                .iter()
                .take_while(|slice| !slice.is_empty())
                .count();
            let Some(sent) = again_is_none((&self.stream).write_vectored(&slices[..used]))? else {
                return Ok(false);
            };
            let of_head = sent.min(head.len());
            self.head_sent_bytes += of_head;
            self.page_left_bytes -= (sent - of_head) as u64;
        }
        self.head.clear();
        self.head_sent_bytes = 0;
        Ok(true)
    }

    /// Sends back what has arrived of the body; `false` when the socket takes no more.
    fn echo(&mut self) -> io::Result<bool> {
        let step = self.unread_up_to(self.echo_left_bytes);
        let bytes = &self.input[self.start..self.start + step];
        let Some(sent) = again_is_none((&self.stream).write(bytes))? else {
            return Ok(false);
        };
        self.start += sent;
        self.echo_left_bytes -= sent as u64;
        Ok(true)
    }

    /// Reads more; `false` when nothing is there.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == INPUT_BYTES {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = INPUT_BYTES - self.end;
        match again_is_none((&self.stream).read(&mut self.input[self.end..]))? {
            None => {
                self.readable = false;
                Ok(false)
            }
            Some(0) => {
                self.ended = true;
                self.readable = false;
                self.close_after_answer = true;
                Ok(false)
            }
            Some(read_bytes) => {
                self.end += read_bytes;
                // A short read has drained the socket; new bytes raise a new edge. A seen end of stream does not.
                self.readable = read_bytes == room || self.ended;
                Ok(true)
            }
        }
    }

    fn ended_for_good(&self) -> bool {
        self.ended && self.close_after_answer
    }

    fn unread_up_to(&self, limit: u64) -> usize {
        usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(self.end - self.start)
    }
}

/// Body of an answer to a request without a meaning of its own.
const SMALL_BYTES: u64 = 2;

/// `None` when the socket would block. A non-blocking call is never interrupted by a signal, so there is no retry.
fn again_is_none(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
