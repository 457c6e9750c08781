//! The direction from the backend to the client: head, interim heads, body.

use std::io;

use turnpike_core::definition::Connector;
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
    /// It is larger than the limit.
    TooLarge,
    /// The backend failed in its middle.
    Failed(Fault),
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
        self.relay(out, piece, head_end, framing, keep_alive).await
    }

    /// Whether the client's connection may carry another request after a response that is begun now.
    pub(in crate::connection) fn may_keep_alive(&self, framing: ClientFraming) -> bool {
        self.wants_keep_alive
            && framing != ClientFraming::UntilClose
            && self.shared.uploaded.get()
            && !self.shard.is_draining()
    }

    /// Writes the head in `out` and relays the body, which begins at `head_end` of the piece.
    pub(in crate::connection) async fn relay(
        &mut self,
        out: Vec<u8>,
        mut piece: Piece,
        head_end: usize,
        framing: ClientFraming,
        keep_alive: bool,
    ) -> DownloadEnd {
        self.shared.answered.set(true);
        piece.start = head_end;
        let mut body = Body::new(self.head.body, framing);
        let mut received = (piece.end - HEADROOM) as u64;
        // The first piece of the body leaves together with the head, the others as they come.
        let mut progress = match body.take(&mut piece) {
            Ok(progress) => progress,
            Err(error) => {
                self.shard.buffers.put(out);
                self.shard.buffers.put(piece.buffer);
                self.shared.answered.set(false);
                return DownloadEnd::Failed(Fault::Malformed(error));
            }
        };
        self.facts.response_body_bytes = body.payload;
        if let Err(end) = self.write_with_head(out, &mut piece).await {
            return end;
        }
        while matches!(progress, Progress::More) {
            progress = match self
                .next_piece(&mut piece, &mut body, &mut received, u64::MAX)
                .await
            {
                Ok(progress) => progress,
                Err(fault) => return DownloadEnd::CutShort(fault),
            };
            self.facts.response_body_bytes = body.payload;
            if let Err(end) = self.write(&mut piece).await {
                return end;
            }
        }
        self.upstream_deadline.clear();
        self.shard.buffers.put(piece.buffer);
        let surplus = matches!(progress, Progress::Done { surplus: true });
        DownloadEnd::Complete {
            keep_alive,
            reusable: self.is_reusable(surplus),
            large: BufferPool::is_large(received),
        }
    }

    /// Reads the whole body, which begins at `head_end` of the piece, into memory: `limit` bytes at most, until `due_ms`. Also says whether
    /// the backend's connection may be used again.
    pub(in crate::connection) async fn collect(
        &mut self,
        mut piece: Piece,
        head_end: usize,
        limit: usize,
        due_ms: u64,
    ) -> Result<(Vec<u8>, bool), NotCollected> {
        let expected = match self.head.body {
            ResponseBody::Length(length) if length > limit as u64 => {
                self.shard.buffers.put(piece.buffer);
                return Err(NotCollected::TooLarge);
            }
            ResponseBody::Length(length) => length as usize,
            _ => piece.end - head_end,
        };
        let mut bytes = Vec::with_capacity(expected.min(LARGE_BYTES));
        piece.start = head_end;
        // A framing that adds nothing: the payload stays as it is.
        let mut body = Body::new(self.head.body, ClientFraming::Length);
        let mut received = (piece.end - HEADROOM) as u64;
        let mut progress = match body.take(&mut piece) {
            Ok(progress) => progress,
            Err(error) => {
                self.shard.buffers.put(piece.buffer);
                return Err(NotCollected::Failed(Fault::Malformed(error)));
            }
        };
        loop {
            let payload = &piece.buffer[piece.start..piece.end];
            if bytes.len() + payload.len() > limit {
                self.shard.buffers.put(piece.buffer);
                return Err(NotCollected::TooLarge);
            }
            bytes.extend_from_slice(payload);
            if let Progress::Done { surplus } = progress {
                self.upstream_deadline.clear();
                self.shard.buffers.put(piece.buffer);
                return Ok((bytes, self.is_reusable(surplus)));
            }
            progress = match self
                .next_piece(&mut piece, &mut body, &mut received, due_ms)
                .await
            {
                Ok(progress) => progress,
                Err(_)
                    if self.upstream_deadline.has_passed()
                        && self.shard.clock.now_ms() >= due_ms =>
                {
                    return Err(NotCollected::Failed(Fault::RequestTimeout));
                }
                Err(fault) => return Err(NotCollected::Failed(fault)),
            };
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
    async fn next_piece(
        &mut self,
        piece: &mut Piece,
        body: &mut Body,
        received: &mut u64,
        due_ms: u64,
    ) -> Result<Progress, Fault> {
        let mut buffer = std::mem::take(&mut piece.buffer);
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
                *received += count as u64;
                count
            }
            Err(error) => {
                self.shard.buffers.put(buffer);
                return Err(Fault::Io(error));
            }
        };
        *piece = Piece {
            start: HEADROOM,
            end: HEADROOM + count,
            buffer,
        };
        if count == 0 {
            return match body.end(piece) {
                Some(progress) if !self.upstream_deadline.has_passed() => Ok(progress),
                _ => {
                    self.shard.buffers.put(std::mem::take(&mut piece.buffer));
                    Err(Fault::Closed)
                }
            };
        }
        body.take(piece).map_err(|error| {
            self.shard.buffers.put(std::mem::take(&mut piece.buffer));
            Fault::Malformed(error)
        })
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

    async fn write(&mut self, piece: &mut Piece) -> Result<(), DownloadEnd> {
        if piece.start == piece.end {
            return Ok(());
        }
        let buffer = std::mem::take(&mut piece.buffer);
        piece.buffer = self.write_buffer(buffer, piece.start, piece.end).await?;
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
