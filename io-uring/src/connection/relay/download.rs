//! The direction from the backend to the client: head, interim heads, body.

use std::io;

use turnpike_core::definition::Connector;
use turnpike_core::http::chunked::{CHUNK_END, LAST_CHUNK};
use turnpike_core::http::{
    HeadScanner, Method, ResponseBody, ResponseError, ResponseHead, Scan, Version,
};

use super::Shared;
use super::body::{Body, Piece, Progress};
use crate::buffer::{BufferPool, HEADROOM, LARGE_BYTES, SMALL_BYTES};
use crate::connection::record::Facts;
use crate::connection::rewrite::{ClientFraming, Identity, write_client_head, write_interim_head};
use crate::driver::{Cut, Deadline, Reader, Writer};
use crate::upstream::Fault;
use crate::worker::Shard;

/// Interim responses relayed before a final one at most.
const INTERIM_MAX: usize = 16;

/// The direction from the backend to the client.
pub(in crate::connection) struct Download<'a> {
    pub(in crate::connection) shard: &'a Shard,
    pub(in crate::connection) shared: &'a Shared,
    pub(in crate::connection) connector: &'a Connector,
    pub(in crate::connection) upstream: &'a mut Reader,
    pub(in crate::connection) upstream_deadline: &'a Deadline,
    pub(in crate::connection) head: &'a mut ResponseHead,
    pub(in crate::connection) client: &'a mut Writer,
    pub(in crate::connection) client_deadline: &'a Deadline,
    pub(in crate::connection) request: (Method, Version),
    pub(in crate::connection) wants_keep_alive: bool,
    pub(in crate::connection) expects_continue: bool,
    pub(in crate::connection) identity: &'a Identity<'a>,
    pub(in crate::connection) facts: &'a mut Facts,
    pub(in crate::connection) request_deadline_ms: u64,
    pub(in crate::connection) timeout_ms: u64,
}

/// How a response ended.
pub(in crate::connection) enum DownloadEnd {
    /// The client has all of it.
    Complete {
        /// The client's connection may carry another request.
        keep_alive: bool,
        /// The backend's connection may carry another request.
        reusable: bool,
        /// The response was larger than a small buffer.
        large: bool,
    },
    /// No final response was begun: the client gets the failure.
    Failed(Fault),
    /// The backend failed in the middle of its response: the client's connection must be cut, so that the response cannot be taken for a
    /// complete one.
    CutShort(Fault),
    /// The client cannot be written to.
    ClientGone,
}

/// Why a response body is not in memory.
pub(in crate::connection) enum NotCollected {
    /// It is larger than the limit; it can still be relayed.
    TooLarge(Coming),
    /// The backend failed in its middle.
    Failed(Fault),
}

/// A response body on its way: what is here of it.
pub(in crate::connection) enum Coming {
    /// As it came with the head: it begins at this place of the piece.
    Untouched(Piece, usize),
    /// Partly in memory.
    Begun(Box<Begun>),
}

/// A body of which something was taken.
pub(in crate::connection) struct Begun {
    /// What is to be passed on next.
    piece: Piece,
    /// Its payload up to there, when it is collected.
    collected: Vec<u8>,
    body: Body,
    progress: Progress,
    /// Bytes of the response so far.
    received: u64,
}

impl Begun {
    /// Turns what was collected into the first piece for a client with this framing. `out` is the head that goes before it.
    fn resume(mut self, framing: ClientFraming, out: &mut Vec<u8>) -> Self {
        let mut buffer = std::mem::take(&mut self.collected);
        if framing == ClientFraming::Chunked {
            // One chunk, whose size goes with the head: there is no room for it before the bytes.
            out.extend_from_slice(format!("{:x}\r\n", buffer.len()).as_bytes());
            buffer.extend_from_slice(CHUNK_END);
            if matches!(self.progress, Progress::Done { .. }) {
                buffer.extend_from_slice(LAST_CHUNK);
            }
        }
        self.body.reframe_as(framing);
        self.piece = Piece {
            start: 0,
            end: buffer.len(),
            buffer,
        };
        self
    }
}

impl Download<'_> {
    /// Relays the response, head and body.
    pub(in crate::connection) async fn run(&mut self) -> DownloadEnd {
        let (piece, head_end) = match self.read_head().await {
            Ok(read) => read,
            Err(end) => return end,
        };
        let framing = ClientFraming::of(self.head.body, self.request.1);
        let keep_alive = self.may_keep_alive(framing);
        let mut out = self.shard.buffers.small();
        write_client_head(
            &mut out,
            self.head,
            &piece.buffer[piece.start..head_end],
            self.request,
            self.identity,
            keep_alive,
        );
        match self.begin(Coming::Untouched(piece, head_end), framing, &mut out) {
            Ok(mut begun) => self.relay(out, &mut begun, keep_alive).await,
            Err(end) => end,
        }
    }

    /// Whether the client's connection may carry another request after a response that is begun now.
    pub(in crate::connection) fn may_keep_alive(&self, framing: ClientFraming) -> bool {
        self.wants_keep_alive
            && framing != ClientFraming::UntilClose
            && self.shared.uploaded.get()
            && !self.shard.is_draining()
    }

    /// Prepares a body for a client with this framing. `out` is the head that goes before it.
    pub(in crate::connection) fn begin(
        &self,
        coming: Coming,
        framing: ClientFraming,
        out: &mut Vec<u8>,
    ) -> Result<Begun, DownloadEnd> {
        match coming {
            Coming::Untouched(piece, head_end) => {
                self.take_first(piece, head_end, framing).map_err(|fault| {
                    self.shard.buffers.put(std::mem::take(out));
                    DownloadEnd::Failed(fault)
                })
            }
            Coming::Begun(begun) => Ok(begun.resume(framing, out)),
        }
    }

    /// Writes the head in `out` and relays the body.
    pub(in crate::connection) async fn relay(
        &mut self,
        out: Vec<u8>,
        begun: &mut Begun,
        keep_alive: bool,
    ) -> DownloadEnd {
        self.shared.answered.set(true);
        self.facts.response_body_bytes = begun.body.payload;
        // The first piece of the body leaves together with the head, the others as they come.
        if let Err(end) = self.write_with_head(out, &mut begun.piece).await {
            return end;
        }
        while matches!(begun.progress, Progress::More) {
            if let Err(fault) = self.next_piece(begun, u64::MAX).await {
                return DownloadEnd::CutShort(fault);
            }
            self.facts.response_body_bytes = begun.body.payload;
            if let Err(end) = self.write(&mut begun.piece).await {
                return end;
            }
        }
        self.upstream_deadline.clear();
        self.shard
            .buffers
            .put(std::mem::take(&mut begun.piece.buffer));
        let surplus = matches!(begun.progress, Progress::Done { surplus: true });
        DownloadEnd::Complete {
            keep_alive,
            reusable: self.is_reusable(surplus),
            large: BufferPool::is_large(begun.received),
        }
    }

    /// Reads the whole body into memory: `limit` bytes at most, until `due_ms`. Also says whether the backend's connection may be used again.
    pub(in crate::connection) async fn collect(
        &mut self,
        coming: Coming,
        limit: usize,
        due_ms: u64,
    ) -> Result<(Vec<u8>, bool), NotCollected> {
        if matches!(self.head.body, ResponseBody::Length(length) if length > limit as u64) {
            return Err(NotCollected::TooLarge(coming));
        }
        let mut begun = match coming {
            // A framing that adds nothing: the payload stays as it is.
            Coming::Untouched(piece, head_end) => self
                .take_first(piece, head_end, ClientFraming::Length)
                .map_err(NotCollected::Failed)?,
            Coming::Begun(begun) => *begun,
        };
        let expected = match self.head.body {
            ResponseBody::Length(length) => length as usize,
            _ => begun.piece.end - begun.piece.start,
        };
        // What a backend announces is not believed before it comes.
        begun.collected.reserve(expected.min(LARGE_BYTES));
        loop {
            let piece = &mut begun.piece;
            let payload = &piece.buffer[piece.start..piece.end];
            begun.collected.extend_from_slice(payload);
            let is_too_large = begun.collected.len() > limit;
            let is_done = matches!(begun.progress, Progress::Done { .. });
            if is_too_large || is_done {
                // The backend is not waited for while policies go on.
                self.upstream_deadline.clear();
                self.shard.buffers.put(std::mem::take(piece).buffer);
            }
            if is_too_large {
                return Err(NotCollected::TooLarge(Coming::Begun(Box::new(begun))));
            }
            if let Progress::Done { surplus } = begun.progress {
                return Ok((begun.collected, self.is_reusable(surplus)));
            }
            match self.next_piece(&mut begun, due_ms).await {
                Ok(()) => {}
                Err(_)
                    if self.upstream_deadline.has_passed()
                        && self.shard.clock.now_ms() >= due_ms =>
                {
                    return Err(NotCollected::Failed(Fault::RequestTimeout));
                }
                Err(fault) => return Err(NotCollected::Failed(fault)),
            }
        }
    }

    /// Takes the first piece of a body.
    fn take_first(
        &self,
        mut piece: Piece,
        head_end: usize,
        framing: ClientFraming,
    ) -> Result<Begun, Fault> {
        let received = (piece.end - HEADROOM) as u64;
        piece.start = head_end;
        let mut body = Body::new(self.head.body, framing);
        match body.take(&mut piece) {
            Ok(progress) => Ok(Begun {
                piece,
                collected: Vec::new(),
                body,
                progress,
                received,
            }),
            Err(error) => {
                self.shard.buffers.put(piece.buffer);
                Err(Fault::Malformed(error))
            }
        }
    }

    /// Lets go of a body that nobody reads to its end.
    pub(in crate::connection) fn discard(&self, coming: Coming) {
        if let Coming::Untouched(piece, _) = coming {
            self.shard.buffers.put(piece.buffer);
        }
    }

    /// Whether the backend's connection may carry another request after a body that was read to its end.
    pub(in crate::connection) fn is_reusable(&self, surplus: bool) -> bool {
        self.head.keep_alive
            && self.connector.options.keep_alive
            && !surplus
            && self.head.body != ResponseBody::UntilClose
            && self.shared.uploaded.get()
    }

    /// Reads the next piece of the body in place of the last one. The backend may be silent for its idle time-out, and until `due_ms`.
    async fn next_piece(&mut self, begun: &mut Begun, due_ms: u64) -> Result<(), Fault> {
        let mut buffer = std::mem::take(&mut begun.piece.buffer);
        if buffer.capacity() != LARGE_BYTES {
            self.shard.buffers.put(buffer);
            buffer = self.shard.buffers.large();
        }
        let silent_until_ms = match self.connector.options.idle_timeout_ms {
            0 => u64::MAX,
            idle_ms => self.shard.clock.now_ms() + u64::from(idle_ms),
        };
        self.upstream_deadline
            .set(&self.shard.timers, silent_until_ms.min(due_ms), Cut::Both);
        self.upstream.arm(buffer, HEADROOM);
        let (result, buffer) = self.upstream.read().await;
        let count = match result {
            Ok(count) => {
                self.shard.stats.upstream_bytes_read.add(count as u64);
                begun.received += count as u64;
                count
            }
            Err(error) => {
                self.shard.buffers.put(buffer);
                return Err(Fault::Io(error));
            }
        };
        let mut piece = Piece {
            start: HEADROOM,
            end: HEADROOM + count,
            buffer,
        };
        let taken = if count > 0 {
            begun.body.take(&mut piece).map_err(Fault::Malformed)
        } else {
            let end = begun.body.end(&mut piece);
            end.filter(|_| !self.upstream_deadline.has_passed())
                .ok_or(Fault::Closed)
        };
        match taken {
            Ok(progress) => {
                begun.progress = progress;
                begun.piece = piece;
                Ok(())
            }
            Err(fault) => {
                self.shard.buffers.put(piece.buffer);
                Err(fault)
            }
        }
    }

    /// Reads up to a final response head, relaying interim ones. Returns the bytes received, and where the head ends in them.
    pub(in crate::connection) async fn read_head(&mut self) -> Result<(Piece, usize), DownloadEnd> {
        let head_bytes_max = self.connector.options.response_head_bytes_max as usize;
        let mut scanner = HeadScanner::default();
        let mut interims = 0;
        let mut buffer = Vec::new();
        loop {
            if buffer.len() > HEADROOM {
                match scanner.scan(&buffer[HEADROOM..], head_bytes_max, head_bytes_max) {
                    Ok(Scan::Partial) => {}
                    Ok(Scan::Complete { start, end }) => {
                        let (start, end) = (HEADROOM + start, HEADROOM + end);
                        if let Err(error) = self.head.parse(&buffer[start..end], self.request.0) {
                            self.shard.buffers.put(buffer);
                            return Err(DownloadEnd::Failed(Fault::Malformed(error_text(error))));
                        }
                        if !self.head.is_interim() {
                            self.facts.status = self.head.status;
                            self.facts.ttfb_ns = self
                                .facts
                                .called
                                .map(|called| called.elapsed().as_nanos() as u64);
                            self.upstream_deadline.clear();
                            let piece = Piece {
                                start,
                                end: buffer.len(),
                                buffer,
                            };
                            return Ok((piece, end));
                        }
                        interims += 1;
                        if interims > INTERIM_MAX {
                            self.shard.buffers.put(buffer);
                            return Err(DownloadEnd::Failed(Fault::Malformed(
                                "too many interim responses",
                            )));
                        }
                        self.relay_interim(&buffer[start..end]).await?;
                        buffer.drain(HEADROOM..end);
                        scanner = HeadScanner::default();
                        continue;
                    }
                    Err(_) => {
                        self.shard.buffers.put(buffer);
                        return Err(DownloadEnd::Failed(Fault::Malformed(
                            "its head is too long or has a line that CRLF does not end",
                        )));
                    }
                }
            }
            if !self.upstream.is_armed() {
                if buffer.capacity() == 0 {
                    buffer = self.shard.buffers.small();
                    buffer.resize(HEADROOM, 0);
                } else if buffer.len() + 1_024 > SMALL_BYTES && buffer.capacity() == SMALL_BYTES {
                    let mut larger = self.shard.buffers.large();
                    larger.extend_from_slice(&buffer);
                    self.shard
                        .buffers
                        .put(std::mem::replace(&mut buffer, larger));
                }
                let offset = buffer.len();
                self.upstream.arm(std::mem::take(&mut buffer), offset);
            }
            let (result, filled) = self.upstream.read().await;
            buffer = filled;
            let fault = match result {
                Ok(count) if count > 0 => {
                    self.shard.stats.upstream_bytes_read.add(count as u64);
                    continue;
                }
                _ if self.upstream_deadline.has_passed() => self.timeout(),
                Ok(_) if buffer.len() > HEADROOM => {
                    Fault::Malformed("it ends in the middle of its head")
                }
                Ok(_) => Fault::Closed,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Fault::Closed,
                Err(error) => Fault::Io(error),
            };
            self.shard.buffers.put(buffer);
            return Err(DownloadEnd::Failed(fault));
        }
    }

    fn timeout(&self) -> Fault {
        if self.shard.clock.now_ms() >= self.request_deadline_ms {
            Fault::RequestTimeout
        } else {
            Fault::ReadTimeout
        }
    }

    async fn relay_interim(&mut self, bytes: &[u8]) -> Result<(), DownloadEnd> {
        let wanted =
            self.request.1 == Version::Http11 && (self.head.status != 100 || self.expects_continue);
        if !wanted {
            return Ok(());
        }
        let mut out = self.shard.buffers.small();
        write_interim_head(&mut out, self.head, bytes);
        let length = out.len();
        self.write_buffer(out, 0, length)
            .await
            .map(|out| self.shard.buffers.put(out))
    }

    /// Writes the head in `out` and the piece behind it: in one write when the head fits into the room before the piece.
    async fn write_with_head(
        &mut self,
        out: Vec<u8>,
        piece: &mut Piece,
    ) -> Result<(), DownloadEnd> {
        if out.len() <= piece.start {
            let start = piece.start - out.len();
            piece.buffer[start..piece.start].copy_from_slice(&out);
            piece.start = start;
            self.shard.buffers.put(out);
        } else {
            let length = out.len();
            let out = self.write_buffer(out, 0, length).await?;
            self.shard.buffers.put(out);
        }
        self.write(piece).await
    }

    /// Writes the piece: all at once, unless it was collected and is larger than what a slow client has time for in one write.
    async fn write(&mut self, piece: &mut Piece) -> Result<(), DownloadEnd> {
        while piece.start < piece.end {
            let end = piece.end.min(piece.start + LARGE_BYTES);
            let buffer = std::mem::take(&mut piece.buffer);
            piece.buffer = self.write_buffer(buffer, piece.start, end).await?;
            piece.start = end;
        }
        Ok(())
    }

    async fn write_buffer(
        &mut self,
        buffer: Vec<u8>,
        start: usize,
        end: usize,
    ) -> Result<Vec<u8>, DownloadEnd> {
        self.client_deadline.after(
            &self.shard.timers,
            self.shard.clock.now_ms(),
            self.timeout_ms,
            Cut::Both,
        );
        let (result, buffer) = self.client.write_all(buffer, start..end).await;
        if self.shared.uploaded.get() {
            self.client_deadline.clear();
        }
        if result.is_err() {
            self.shard.buffers.put(buffer);
            return Err(DownloadEnd::ClientGone);
        }
        self.shard.stats.bytes_written.add((end - start) as u64);
        Ok(buffer)
    }
}

fn error_text(error: ResponseError) -> &'static str {
    match error {
        ResponseError::Malformed => "its head is malformed",
        ResponseError::Framing => {
            "its Content-Length and Transfer-Encoding are invalid or conflict"
        }
        ResponseError::UnexpectedUpgrade => "it switches protocols without being asked",
    }
}
