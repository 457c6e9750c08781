//! The direction from the client to the backend, and the watch on a client whose request is complete.

use std::io;

use turnpike_core::http::chunked::{ChunkError, ChunkedDecoder, PREFIX_BYTES_MAX};

use super::{Shared, close_chunk};
use crate::buffer::HEADROOM;
use crate::connection::Input;
use crate::driver::{Cut, Deadline, Reader, Writer};
use crate::worker::Shard;

/// What is left of the request body.
pub(in crate::connection) enum Remaining {
    Nothing,
    Length(u64),
    Chunked(ChunkedDecoder),
    /// These bytes, which are in memory and not the client's to send.
    Memory(Vec<u8>),
}

/// The direction from the client to the backend. Once the body is through, it watches the client.
pub(in crate::connection) struct Upload<'a> {
    pub(in crate::connection) shard: &'a Shard,
    pub(in crate::connection) shared: &'a Shared,
    pub(in crate::connection) client: &'a mut Reader,
    pub(in crate::connection) client_deadline: &'a Deadline,
    pub(in crate::connection) input: &'a mut Input,
    pub(in crate::connection) upstream: &'a mut Writer,
    pub(in crate::connection) remaining: Remaining,
    /// Bytes of payload that a chunked body may have, those that came with the head included.
    pub(in crate::connection) payload_max: u64,
    pub(in crate::connection) timeout_ms: u64,
}

/// Why an upload ended before its exchange. A complete one never ends.
pub(in crate::connection) enum UploadEnd {
    /// The client is gone, or its body stopped in the middle.
    ClientAborted,
    /// The client's chunks are malformed.
    BadChunk(ChunkError),
    /// The body has more than [`Upload::payload_max`] bytes.
    TooLarge,
}

impl Upload<'_> {
    /// Relays what is left of the body, then watches the client until the exchange is over.
    pub(in crate::connection) async fn run(&mut self) -> UploadEnd {
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
            match &mut self.remaining {
                Remaining::Nothing | Remaining::Length(0) => return Ok(true),
                Remaining::Memory(bytes) => {
                    let bytes = std::mem::take(bytes);
                    let length = bytes.len();
                    self.remaining = Remaining::Nothing;
                    self.shard.stats.upstream_bytes_written.add(length as u64);
                    let (result, _) = self.upstream.write_all(bytes, 0..length).await;
                    return Ok(result.is_ok());
                }
                Remaining::Length(_) | Remaining::Chunked(_) => {}
            }
            let (mut buffer, offset) = self.next_piece().await?;
            let received = buffer.len() - offset;
            let written = match &mut self.remaining {
                Remaining::Nothing | Remaining::Memory(_) => return Ok(true),
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
                    let passed = self.shared.request_body_bytes.get();
                    if decoded.payload as u64 > self.payload_max.saturating_sub(passed) {
                        self.shard.buffers.put(buffer);
                        return Err(UploadEnd::TooLarge);
                    }
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

    async fn next_piece(&mut self) -> Result<(Vec<u8>, usize), UploadEnd> {
        next_piece(
            self.shard,
            self.client,
            self.client_deadline,
            self.input,
            self.timeout_ms,
        )
        .await
        .ok_or(UploadEnd::ClientAborted)
    }
}

/// The next bytes of a request body, and where they begin in their buffer; `None` when the client sends no more.
pub(in crate::connection) async fn next_piece(
    shard: &Shard,
    client: &mut Reader,
    client_deadline: &Deadline,
    input: &mut Input,
    timeout_ms: u64,
) -> Option<(Vec<u8>, usize)> {
    if !input.ahead.is_empty() {
        return Some((std::mem::take(&mut input.ahead), 0));
    }
    if input.ended {
        return None;
    }
    client_deadline.after(&shard.timers, shard.clock.now_ms(), timeout_ms, Cut::Both);
    if !client.is_armed() {
        client.arm(shard.buffers.large(), HEADROOM);
    }
    let offset = client.offset();
    let (result, buffer) = client.read().await;
    match result {
        Ok(count) if count > 0 => {
            shard.stats.bytes_read.add(count as u64);
            Some((buffer, offset))
        }
        Ok(_) | Err(_) => {
            shard.buffers.put(buffer);
            input.ended = true;
            None
        }
    }
}

/// Watches a client whose request is complete: returns when the client is gone. Bytes that come are the beginning of its next request and are
/// kept, one buffer of them and none when its next request is here already; an orderly end of its sending is remembered, and the answer is
/// still due.
pub(in crate::connection) async fn watch(shard: &Shard, client: &mut Reader, input: &mut Input) {
    while !input.holds_next && input.ahead.is_empty() && !input.ended {
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
    pub(in crate::connection) fn keep_ahead(&mut self, surplus: &[u8]) {
        if !surplus.is_empty() {
            self.ahead = surplus.to_vec();
        }
    }
}
