//! A request body read into memory, because a policy must see it.

use turnpike_core::http::chunked::{ChunkError, ChunkedDecoder};
use turnpike_core::http::{RequestBody, RequestHead};

use crate::buffer::LARGE_BYTES;
use crate::connection::Connection;
use crate::connection::relay::next_piece;
use crate::driver::Cut;

/// How the reading ended.
pub(super) enum BodyEnd {
    /// It is in memory, without its framing; `used` bytes of it came with the head.
    Complete { bytes: Vec<u8>, used: usize },
    /// It is larger than the limit. `untouched`: nothing of it was read.
    TooLarge { untouched: bool },
    /// The client went away, or stopped in the middle.
    Gone,
    /// Its chunks are malformed.
    BadChunk(ChunkError),
}

enum Left {
    Length(u64),
    Chunked(ChunkedDecoder),
}

impl Left {
    /// Takes what a piece holds of the body: its payload is moved to the front. Payload, bytes consumed, and whether the body is complete.
    fn take(&mut self, piece: &mut [u8]) -> Result<(usize, usize, bool), ChunkError> {
        match self {
            Self::Length(left) => {
                let taken = (*left).min(piece.len() as u64) as usize;
                *left -= taken as u64;
                Ok((taken, taken, *left == 0))
            }
            Self::Chunked(decoder) => {
                let decoded = decoder.decode(piece)?;
                Ok((decoded.payload, decoded.consumed, decoded.done))
            }
        }
    }
}

/// Reads the body of the request in `head`, of which `body` came with the head: `limit` bytes at most.
pub(super) async fn read(
    connection: &mut Connection,
    head: &RequestHead,
    body: &mut [u8],
    limit: usize,
) -> BodyEnd {
    let mut left = match head.body {
        RequestBody::None => {
            return BodyEnd::Complete {
                bytes: Vec::new(),
                used: 0,
            };
        }
        RequestBody::Length(length) if length > limit as u64 => {
            return BodyEnd::TooLarge { untouched: true };
        }
        RequestBody::Length(length) => Left::Length(length),
        RequestBody::Chunked => Left::Chunked(ChunkedDecoder::default()),
    };
    let expected = match left {
        Left::Length(length) => length as usize,
        Left::Chunked(_) => body.len(),
    };
    // What a client announces is not believed before it comes.
    let mut bytes = Vec::with_capacity(expected.min(LARGE_BYTES));
    let (payload, used, mut done) = match left.take(body) {
        Ok(taken) => taken,
        Err(error) => return BodyEnd::BadChunk(error),
    };
    bytes.extend_from_slice(&body[..payload]);
    let waits = head.expects_continue && body.is_empty() && connection.input.ahead.is_empty();
    if waits && !done && !invite(connection).await {
        return BodyEnd::Gone;
    }
    let shard = std::rc::Rc::clone(&connection.shard);
    let timeout_ms = shard.settings.servers[connection.server].body_timeout_ms;
    while !done {
        if bytes.len() > limit {
            return BodyEnd::TooLarge { untouched: false };
        }
        let Connection {
            reader,
            input,
            deadline,
            ..
        } = &mut *connection;
        let Some((mut buffer, offset)) =
            next_piece(&shard, reader, deadline, input, timeout_ms).await
        else {
            return BodyEnd::Gone;
        };
        let (payload, consumed, complete) = match left.take(&mut buffer[offset..]) {
            Ok(taken) => taken,
            Err(error) => {
                shard.buffers.put(buffer);
                return BodyEnd::BadChunk(error);
            }
        };
        bytes.extend_from_slice(&buffer[offset..offset + payload]);
        input.keep_ahead(&buffer[offset + consumed..]);
        shard.buffers.put(buffer);
        done = complete;
    }
    if bytes.len() > limit {
        return BodyEnd::TooLarge { untouched: false };
    }
    BodyEnd::Complete { bytes, used }
}

/// Tells a client that waits for it to send its body. False when the client cannot be written to.
async fn invite(connection: &mut Connection) -> bool {
    let shard = std::rc::Rc::clone(&connection.shard);
    let mut out = shard.buffers.small();
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    let limit_ms = shard.settings.servers[connection.server].body_timeout_ms;
    connection
        .deadline
        .after(&shard.timers, shard.clock.now_ms(), limit_ms, Cut::Both);
    let length = out.len();
    let (result, out) = connection.writer.write_all(out, 0..length).await;
    shard.buffers.put(out);
    if result.is_ok() {
        shard.stats.bytes_written.add(length as u64);
    }
    result.is_ok()
}
