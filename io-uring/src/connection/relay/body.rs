//! A response body on its way, turned from the backend's framing into the client's where it lies.

use turnpike_core::http::ResponseBody;
use turnpike_core::http::chunked::ChunkedDecoder;

use super::close_chunk;
use crate::connection::rewrite::ClientFraming;

/// Bytes of a response as they lie in a buffer.
#[derive(Default)]
pub(in crate::connection) struct Piece {
    pub(in crate::connection) buffer: Vec<u8>,
    pub(in crate::connection) start: usize,
    pub(in crate::connection) end: usize,
}

/// Progress through a response body.
pub(super) enum Progress {
    More,
    Done { surplus: bool },
}

/// A response body on its way, from the backend's framing to the client's.
pub(super) struct Body {
    state: BodyState,
    framing: ClientFraming,
    pub(super) payload: u64,
}

enum BodyState {
    None,
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl Body {
    pub(super) fn new(body: ResponseBody, framing: ClientFraming) -> Self {
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
    pub(super) fn take(&mut self, piece: &mut Piece) -> Result<Progress, &'static str> {
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
    pub(super) fn end(&mut self, piece: &mut Piece) -> Option<Progress> {
        if !matches!(self.state, BodyState::UntilClose) {
            return None;
        }
        piece.buffer.truncate(piece.start);
        self.reframe(piece, 0, true);
        Some(Progress::Done { surplus: false })
    }

    /// From the next piece on, the client gets this framing.
    pub(super) fn reframe_as(&mut self, framing: ClientFraming) {
        self.framing = framing;
    }

    fn reframe(&self, piece: &mut Piece, payload: usize, last: bool) {
        if self.framing == ClientFraming::Chunked {
            piece.start = close_chunk(&mut piece.buffer, piece.start, payload, last);
        }
        piece.end = piece.buffer.len();
    }
}
