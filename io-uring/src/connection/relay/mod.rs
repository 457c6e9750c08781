//! Bodies relayed in both directions at once, each with back-pressure: a piece is read only when the one before it was written.

mod body;
mod download;
mod upload;

use std::cell::Cell;

use turnpike_core::http::chunked::{CHUNK_END, LAST_CHUNK, frame};

pub(super) use download::{Begun, Coming, Download, DownloadEnd, NotCollected};
pub(super) use upload::{Remaining, Upload, UploadEnd, next_piece, watch};

/// What both directions of an exchange tell each other.
#[derive(Debug)]
pub(super) struct Shared {
    /// The request body has been sent to the backend, completely.
    pub(super) uploaded: Cell<bool>,
    /// A final response head has been written to the client, or is being written.
    pub(super) answered: Cell<bool>,
    /// Request body bytes received.
    pub(super) request_body_bytes: Cell<u64>,
}

impl Shared {
    /// At the beginning: `payload` bytes of the request body came with its head, and left with it.
    pub(super) fn of(remaining: &Remaining, payload: u64) -> Self {
        Self {
            uploaded: Cell::new(matches!(remaining, Remaining::Nothing)),
            answered: Cell::new(false),
            request_body_bytes: Cell::new(payload),
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
