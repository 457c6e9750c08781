//! Bodies relayed in both directions at once, each with back-pressure: a piece is read only when the one before it was written.

use std::cell::Cell;
use std::io;

use turnpike_core::definition::Connector;
use turnpike_core::http::chunked::{
    CHUNK_END, ChunkError, ChunkedDecoder, LAST_CHUNK, PREFIX_BYTES_MAX, frame,
};
use turnpike_core::http::{HeadScanner, Method, ResponseBody, ResponseHead, Scan, Version};

use super::Input;
use super::record::Facts;
use super::rewrite::{ClientFraming, Identity, write_client_head, write_interim_head};
use crate::buffer::{BufferPool, HEADROOM, LARGE_BYTES, SMALL_BYTES};
use crate::driver::{Cut, Deadline, Reader, Writer};
use crate::upstream::Fault;
use crate::worker::Shard;

/// Interim responses relayed before a final one at most.
const INTERIM_MAX: usize = 16;

/// What both directions of an exchange tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The request body has been sent to the backend, completely.
    pub(super) uploaded: Cell<bool>,
    /// A final response head has been written to the client, or is being written.
    pub(super) answered: Cell<bool>,
    /// Request body bytes received.
    pub(super) request_body_bytes: Cell<u64>,
}

/// What is left of the request body.
pub(super) enum Remaining {
    Nothing,
    Length(u64),
    Chunked(ChunkedDecoder),
}

/// The direction from the client to the backend. Once the body is through, it watches the client.
pub(super) struct Upload<'a> {
    pub(super) shard: &'a Shard,
    pub(super) shared: &'a Shared,
    pub(super) client: &'a mut Reader,
    pub(super) client_deadline: &'a Deadline,
    pub(super) input: &'a mut Input,
    pub(super) upstream: &'a mut Writer,
    pub(super) remaining: Remaining,
    pub(super) timeout_ms: u64,
}

/// Why an upload ended before its exchange. A complete one never ends.
pub(super) enum UploadEnd {
    /// The client is gone, or its body stopped in the middle.
    ClientAborted,
    /// The client's chunks are malformed.
    BadChunk(ChunkError),
}

impl Upload<'_> {
    /// Relays what is left of the body, then watches the client until the exchange is over.
    pub(super) async fn run(&mut self) -> UploadEnd {
        match self.relay().await {
            Ok(true) => {
                self.shared.uploaded.set(true);
                self.client_deadline.clear();
            }
            // The backend takes no more. Its response, or its end, is seen by the other direction.
            Ok(false) => std::future::pending().await,
            Err(end) => return end,
        }
        watch(self.shard, self.client, self.input).await;
        UploadEnd::ClientAborted
    }

    /// `Ok(false)`: the backend's connection failed.
    async fn relay(&mut self) -> Result<bool, UploadEnd> {
        loop {
            if matches!(self.remaining, Remaining::Nothing | Remaining::Length(0)) {
                return Ok(true);
            }
            let (mut buffer, offset) = self.next_piece().await?;
            let received = buffer.len() - offset;
            let written = match &mut self.remaining {
                Remaining::Nothing => return Ok(true),
                Remaining::Length(left) => {
                    let taken = (*left).min(received as u64) as usize;
                    *left -= taken as u64;
                    self.count(taken);
                    self.input.keep_ahead(&buffer[offset + taken..]);
                    let (result, returned) = self
                        .upstream
                        .write_all(buffer, offset..offset + taken)
                        .await;
                    buffer = returned;
                    result
                }
                Remaining::Chunked(decoder) => {
                    let decoded = decoder
                        .decode(&mut buffer[offset..])
                        .map_err(UploadEnd::BadChunk)?;
                    self.count(decoded.payload);
                    self.input.keep_ahead(&buffer[offset + decoded.consumed..]);
                    if decoded.done {
                        self.remaining = Remaining::Nothing;
                    }
                    let (result, returned) = self
                        .write_chunk(buffer, offset, decoded.payload, decoded.done)
                        .await;
                    buffer = returned;
                    result
                }
            };
            self.shard.buffers.put(buffer);
            if written.is_err() {
                return Ok(false);
            }
        }
    }

    fn count(&self, bytes: usize) {
        self.shard.stats.upstream_bytes_written.add(bytes as u64);
        self.shared
            .request_body_bytes
            .set(self.shared.request_body_bytes.get() + bytes as u64);
    }

    async fn write_chunk(
        &mut self,
        mut buffer: Vec<u8>,
        offset: usize,
        payload: usize,
        last: bool,
    ) -> (io::Result<()>, Vec<u8>) {
        if payload == 0 && !last {
            return (Ok(()), buffer);
        }
        if offset < PREFIX_BYTES_MAX {
            // A piece that was read as the beginning of something else has no room before it.
            let mut framed = self.shard.buffers.large();
            framed.resize(HEADROOM, 0);
            framed.extend_from_slice(&buffer[offset..offset + payload]);
            self.shard
                .buffers
                .put(std::mem::replace(&mut buffer, framed));
            return self.write_framed(buffer, HEADROOM, payload, last).await;
        }
        self.write_framed(buffer, offset, payload, last).await
    }

    async fn write_framed(
        &mut self,
        mut buffer: Vec<u8>,
        offset: usize,
        payload: usize,
        last: bool,
    ) -> (io::Result<()>, Vec<u8>) {
        buffer.truncate(offset + payload);
        let start = close_chunk(&mut buffer, offset, payload, last);
        let end = buffer.len();
        self.upstream.write_all(buffer, start..end).await
    }

    /// The next bytes from the client, and where they begin in their buffer.
    async fn next_piece(&mut self) -> Result<(Vec<u8>, usize), UploadEnd> {
        if !self.input.ahead.is_empty() {
            return Ok((std::mem::take(&mut self.input.ahead), 0));
        }
        if self.input.ended {
            return Err(UploadEnd::ClientAborted);
        }
        self.client_deadline.after(
            &self.shard.timers,
            self.shard.clock.now_ms(),
            self.timeout_ms,
            Cut::Both,
        );
        if !self.client.is_armed() {
            self.client.arm(self.shard.buffers.large(), HEADROOM);
        }
        let offset = self.client.offset();
        let (result, buffer) = self.client.read().await;
        match result {
            Ok(count) if count > 0 => {
                self.shard.stats.bytes_read.add(count as u64);
                Ok((buffer, offset))
            }
            Ok(_) | Err(_) => {
                self.shard.buffers.put(buffer);
                self.input.ended = true;
                Err(UploadEnd::ClientAborted)
            }
        }
    }
}

/// Frames `buffer[offset..offset + payload]`, which must be the buffer's end, as a chunk, and returns where the chunk begins. An empty payload
/// writes no chunk; `last` adds the end of the body.
fn close_chunk(buffer: &mut Vec<u8>, offset: usize, payload: usize, last: bool) -> usize {
    let mut start = offset;
    if payload > 0 {
        start = frame(buffer, offset, payload);
        buffer.extend_from_slice(CHUNK_END);
    }
    if last {
        buffer.extend_from_slice(LAST_CHUNK);
    }
    start
}

/// Watches a client whose request is complete: returns when the client is gone. Bytes that come are the beginning of its next request and are
/// kept, one buffer of them; an orderly end of its sending is remembered, and the answer is still due.
pub(super) async fn watch(shard: &Shard, client: &mut Reader, input: &mut Input) {
    while input.ahead.is_empty() && !input.ended {
        if !client.is_armed() {
            client.arm(shard.buffers.guess(input.last_was_large), 0);
        }
        let (result, buffer) = client.read().await;
        match result {
            Ok(0) => {
                shard.buffers.put(buffer);
                input.ended = true;
            }
            Ok(count) => {
                shard.stats.bytes_read.add(count as u64);
                input.ahead = buffer;
            }
            Err(_) => {
                shard.buffers.put(buffer);
                input.ended = true;
                return;
            }
        }
    }
    std::future::pending().await
}

impl Input {
    /// Keeps bytes beyond the end of the body: the beginning of the next request.
    fn keep_ahead(&mut self, surplus: &[u8]) {
        if !surplus.is_empty() {
            self.ahead = surplus.to_vec();
        }
    }
}

/// The direction from the backend to the client.
pub(super) struct Download<'a> {
    pub(super) shard: &'a Shard,
    pub(super) shared: &'a Shared,
    pub(super) connector: &'a Connector,
    pub(super) upstream: &'a mut Reader,
    pub(super) upstream_deadline: &'a Deadline,
    pub(super) head: &'a mut ResponseHead,
    pub(super) client: &'a mut Writer,
    pub(super) client_deadline: &'a Deadline,
    pub(super) request: (Method, Version),
    pub(super) wants_keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) identity: &'a Identity<'a>,
    pub(super) facts: &'a mut Facts,
    pub(super) request_deadline_ms: u64,
    pub(super) timeout_ms: u64,
}

/// How a response ended.
pub(super) enum DownloadEnd {
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

/// Bytes of a response as they lie in a buffer.
struct Piece {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// Progress through a response body.
enum Progress {
    More,
    Done { surplus: bool },
}

impl Download<'_> {
    /// Relays the response, head and body.
    pub(super) async fn run(&mut self) -> DownloadEnd {
        let (mut piece, head_end) = match self.read_head().await {
            Ok(read) => read,
            Err(end) => return end,
        };
        let framing = ClientFraming::of(self.head.body, self.request.1);
        let keep_alive = self.wants_keep_alive
            && framing != ClientFraming::UntilClose
            && self.shared.uploaded.get()
            && !self.shard.is_draining();
        self.facts.status = self.head.status;
        self.facts.ttfb_ns = self
            .facts
            .called
            .map(|called| called.elapsed().as_nanos() as u64);
        self.shared.answered.set(true);
        self.upstream_deadline.clear();

        let mut out = self.shard.buffers.small();
        write_client_head(
            &mut out,
            self.head,
            &piece.buffer[piece.start..head_end],
            self.request,
            self.identity,
            keep_alive,
        );
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
            let mut buffer = std::mem::take(&mut piece.buffer);
            if buffer.capacity() != LARGE_BYTES {
                self.shard.buffers.put(buffer);
                buffer = self.shard.buffers.large();
            }
            let idle_ms = u64::from(self.connector.options.idle_timeout_ms);
            self.upstream_deadline.after(
                &self.shard.timers,
                self.shard.clock.now_ms(),
                idle_ms,
                Cut::Both,
            );
            self.upstream.arm(buffer, HEADROOM);
            let (result, buffer) = self.upstream.read().await;
            let count = match result {
                Ok(count) => {
                    self.shard.stats.upstream_bytes_read.add(count as u64);
                    received += count as u64;
                    count
                }
                Err(error) => {
                    self.shard.buffers.put(buffer);
                    return DownloadEnd::CutShort(Fault::Io(error));
                }
            };
            piece = Piece {
                start: HEADROOM,
                end: HEADROOM + count,
                buffer,
            };
            progress = if count == 0 {
                match body.end(&mut piece) {
                    Some(progress) if !self.upstream_deadline.has_passed() => progress,
                    _ => {
                        self.shard.buffers.put(piece.buffer);
                        return DownloadEnd::CutShort(Fault::Closed);
                    }
                }
            } else {
                match body.take(&mut piece) {
                    Ok(progress) => progress,
                    Err(error) => {
                        self.shard.buffers.put(piece.buffer);
                        return DownloadEnd::CutShort(Fault::Malformed(error));
                    }
                }
            };
            self.facts.response_body_bytes = body.payload;
            if let Err(end) = self.write(&mut piece).await {
                return end;
            }
        }
        self.upstream_deadline.clear();
        self.shard.buffers.put(piece.buffer);
        let surplus = matches!(progress, Progress::Done { surplus: true });
        let reusable = self.head.keep_alive
            && self.connector.options.keep_alive
            && !surplus
            && self.head.body != ResponseBody::UntilClose
            && self.shared.uploaded.get();
        DownloadEnd::Complete {
            keep_alive,
            reusable,
            large: BufferPool::is_large(received),
        }
    }

    /// Reads up to a final response head, relaying interim ones. Returns the bytes received, and where the head ends in them.
    async fn read_head(&mut self) -> Result<(Piece, usize), DownloadEnd> {
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

fn error_text(error: turnpike_core::http::ResponseError) -> &'static str {
    use turnpike_core::http::ResponseError;
    match error {
        ResponseError::Malformed => "its head is malformed",
        ResponseError::Framing => {
            "its Content-Length and Transfer-Encoding are invalid or conflict"
        }
        ResponseError::UnexpectedUpgrade => "it switches protocols without being asked",
    }
}

/// A response body on its way, from the backend's framing to the client's.
struct Body {
    state: BodyState,
    framing: ClientFraming,
    payload: u64,
}

enum BodyState {
    None,
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl Body {
    fn new(body: ResponseBody, framing: ClientFraming) -> Self {
        let state = match body {
            ResponseBody::None => BodyState::None,
            ResponseBody::Length(length) => BodyState::Length(length),
            ResponseBody::Chunked => BodyState::Chunked(ChunkedDecoder::default()),
            ResponseBody::UntilClose => BodyState::UntilClose,
        };
        Self {
            state,
            framing,
            payload: 0,
        }
    }

    /// Takes received bytes and turns the piece into what is to be written, in place.
    fn take(&mut self, piece: &mut Piece) -> Result<Progress, &'static str> {
        let received = piece.end - piece.start;
        let (payload, progress) = match &mut self.state {
            BodyState::None => (
                0,
                Progress::Done {
                    surplus: received > 0,
                },
            ),
            BodyState::Length(left) => {
                let taken = (*left).min(received as u64) as usize;
                *left -= taken as u64;
                let done = *left == 0;
                (
                    taken,
                    if done {
                        Progress::Done {
                            surplus: received > taken,
                        }
                    } else {
                        Progress::More
                    },
                )
            }
            BodyState::Chunked(decoder) => {
                let decoded = decoder
                    .decode(&mut piece.buffer[piece.start..piece.end])
                    .map_err(|_| "its chunks are malformed")?;
                let surplus = decoded.consumed < received;
                (
                    decoded.payload,
                    if decoded.done {
                        Progress::Done { surplus }
                    } else {
                        Progress::More
                    },
                )
            }
            BodyState::UntilClose => (received, Progress::More),
        };
        self.payload += payload as u64;
        piece.buffer.truncate(piece.start + payload);
        self.reframe(piece, payload, matches!(progress, Progress::Done { .. }));
        Ok(progress)
    }

    /// The backend closed: fine where that is the end of the body, `None` where it cuts the body.
    fn end(&mut self, piece: &mut Piece) -> Option<Progress> {
        if !matches!(self.state, BodyState::UntilClose) {
            return None;
        }
        piece.buffer.truncate(piece.start);
        self.reframe(piece, 0, true);
        Some(Progress::Done { surplus: false })
    }

    fn reframe(&self, piece: &mut Piece, payload: usize, last: bool) {
        if self.framing == ClientFraming::Chunked {
            piece.start = close_chunk(&mut piece.buffer, piece.start, payload, last);
        }
        piece.end = piece.buffer.len();
    }
}
