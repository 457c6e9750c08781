//! One connection of the generator: sends the same request again and again, and checks what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::pacing::Ticket;
use super::recorder::Failure;
use super::response::{Response, ResponseReader};
use crate::poller::{Poller, connect};

/// Shortest and longest pause before a broken connection is opened again, nanoseconds.
const RETRY_NS: (u64, u64) = (10_000_000, 1_000_000_000);

/// A connection and the request on it.
pub(crate) struct Connection {
    /// `None` while a broken connection waits to be opened again.
    stream: Option<TcpStream>,
    reader: ResponseReader,
    exchange: Option<Exchange>,
    /// The peer was heard or written to on this connection.
    connected: bool,
    retry_at_ns: u64,
    retry_pause_ns: u64,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    ticket: Ticket,
    sent_at_ns: u64,
    written_bytes: usize,
}

/// What an event on a connection came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More is to come.
    Pending,
    /// The exchange is over; the connection is idle, or has closed itself as announced.
    Answered(Ticket, Response),
    /// The exchange, if there was one, failed and the connection is closed.
    Failed(Option<Ticket>, Failure),
    /// The peer closed the connection between requests, as it may.
    Closed,
}

impl Connection {
    pub(crate) fn new(head_request: bool) -> Self {
        Self {
            stream: None,
            reader: ResponseReader::new(head_request),
            exchange: None,
            connected: false,
            retry_at_ns: 0,
            retry_pause_ns: RETRY_NS.0,
        }
    }

    /// A request can be sent now.
    pub(crate) fn is_idle(&self) -> bool {
        self.stream.is_some() && self.exchange.is_none()
    }

    /// There is no connection, and the pause after the last one is over.
    pub(crate) fn wants_opening(&self, now_ns: u64) -> bool {
        self.stream.is_none() && now_ns >= self.retry_at_ns
    }

    /// Age of the request under way and its ticket.
    pub(crate) fn waiting(&self, now_ns: u64) -> Option<(u64, Ticket)> {
        self.exchange
            .map(|exchange| (now_ns.saturating_sub(exchange.sent_at_ns), exchange.ticket))
    }

    /// Starts to connect.
    pub(crate) fn open(
        &mut self,
        target: SocketAddr,
        poller: &Poller,
        token: usize,
        now_ns: u64,
    ) -> Result<(), Failure> {
        let stream = connect(target).and_then(|stream| poller.add(&stream, token).map(|()| stream));
        match stream {
            Ok(stream) => {
                self.stream = Some(stream);
                self.connected = false;
                Ok(())
            }
            Err(_) => {
                self.close_and_pause(now_ns);
                Err(Failure::Connect)
            }
        }
    }

    /// Sends `request` for `ticket`. Bytes that the socket does not take follow when it is writable.
    pub(crate) fn send(&mut self, request: &[u8], ticket: Ticket, now_ns: u64) -> Progress {
        self.exchange = Some(Exchange {
            ticket,
            sent_at_ns: now_ns,
            written_bytes: 0,
        });
        self.write(request, now_ns)
    }

    /// Handles readiness.
    pub(crate) fn advance(
        &mut self,
        writable: bool,
        readable: bool,
        request: &[u8],
        buffer: &mut [u8],
        now_ns: u64,
    ) -> Progress {
        if writable {
            let progress = self.write(request, now_ns);
            if progress != Progress::Pending {
                return progress;
            }
        }
        if readable {
            self.read(request.len(), buffer, now_ns)
        } else {
            Progress::Pending
        }
    }

    /// Ends the connection because the request took too long, or the run is over.
    pub(crate) fn abandon(&mut self, failure: Failure, now_ns: u64) -> Progress {
        self.fail(failure, now_ns)
    }

    fn write(&mut self, request: &[u8], now_ns: u64) -> Progress {
        let (Some(stream), Some(exchange)) = (&mut self.stream, &mut self.exchange) else {
            return Progress::Pending;
        };
        while exchange.written_bytes < request.len() {
            match stream.write(&request[exchange.written_bytes..]) {
                Ok(written_bytes) => exchange.written_bytes += written_bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Pending,
                Err(_) => return self.fail(Failure::Send, now_ns),
            }
        }
        self.connected = true;
        Progress::Pending
    }

    fn read(&mut self, request_bytes: usize, buffer: &mut [u8], now_ns: u64) -> Progress {
        loop {
            let Some(stream) = &mut self.stream else {
                return Progress::Pending;
            };
            let read_bytes = match stream.read(buffer) {
                Ok(0) => return self.ended(now_ns),
                Ok(read_bytes) => read_bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Pending,
                Err(_) => return self.fail(Failure::Receive, now_ns),
            };
            let Some(exchange) = self.exchange else {
                return self.fail(Failure::Malformed, now_ns);
            };
            match self.reader.feed(&buffer[..read_bytes]) {
                Ok((_, None)) => {}
                Ok((taken, Some(response))) => {
                    if taken < read_bytes || exchange.written_bytes == 0 {
                        return self.fail(Failure::Malformed, now_ns);
                    }
                    self.exchange = None;
                    self.retry_pause_ns = RETRY_NS.0;
                    // An answer that overtakes the request body leaves a connection on which nothing can follow.
                    if !response.keep_alive || exchange.written_bytes < request_bytes {
                        self.stream = None;
                        self.retry_at_ns = now_ns;
                    }
                    return Progress::Answered(exchange.ticket, response);
                }
                Err(_) => return self.fail(Failure::Malformed, now_ns),
            }
        }
    }

    fn ended(&mut self, now_ns: u64) -> Progress {
        match (self.exchange, self.reader.end_of_stream()) {
            (Some(exchange), Some(response)) => {
                self.exchange = None;
                self.stream = None;
                self.retry_at_ns = now_ns;
                Progress::Answered(exchange.ticket, response)
            }
            (Some(_), None) => self.fail(Failure::ClosedEarly, now_ns),
            (None, _) => {
                self.close_and_pause(now_ns);
                Progress::Closed
            }
        }
    }

    fn fail(&mut self, failure: Failure, now_ns: u64) -> Progress {
        let ticket = self.exchange.take().map(|exchange| exchange.ticket);
        let failure = match failure {
            Failure::Send | Failure::Receive if !self.connected => Failure::Connect,
            other => other,
        };
        self.close_and_pause(now_ns);
        Progress::Failed(ticket, failure)
    }

    fn close_and_pause(&mut self, now_ns: u64) {
        self.stream = None;
        self.reader.reset();
        self.retry_at_ns = now_ns + self.retry_pause_ns;
        self.retry_pause_ns = (self.retry_pause_ns * 2).min(RETRY_NS.1);
    }
}
