//! The chunked transfer coding (RFC 9112 7.1), decoded in place and written anew.
//!
//! Chunks are never forwarded as received: sizes, extensions and trailers end here, and the payload leaves in chunks of our
//! own, so that no reading of ours can differ from the next parser's. Trailers are checked for form and dropped.

/// Digits of a chunk size.
const SIZE_DIGITS_MAX: usize = 16;
/// A size line with its extension, bytes.
const LINE_BYTES_MAX: usize = 256;
/// All extensions of one body, bytes.
const EXTENSION_BYTES_MAX: usize = 16 * 1_024;
/// All trailers of one body, bytes.
const TRAILER_BYTES_MAX: usize = 8 * 1_024;

/// Bytes that [`frame`] puts before a chunk at most.
pub const PREFIX_BYTES_MAX: usize = 18;
/// What ends every chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// What ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Why a chunked body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A chunk size is missing, has a character that is no hexadecimal digit, or is too large.
    #[error("invalid chunk size")]
    Size,
    /// A line does not end with CRLF.
    #[error("invalid line end in a chunked body")]
    LineEnd,
    /// A size line or all extensions together are too long, or hold a control character.
    #[error("invalid or too long chunk extension")]
    Extension,
    /// A trailer field is malformed, or all together are too long.
    #[error("invalid or too long trailer")]
    Trailer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Decodes one chunked body, whatever the pieces its bytes arrive in.
#[derive(Debug, Clone, Default)]
pub struct ChunkedDecoder {
    state: State,
    remaining: u64,
    digits: usize,
    line: usize,
    extensions: usize,
    trailers: usize,
}

/// What a call of [`ChunkedDecoder::decode`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Payload bytes, now at the front of the piece.
    pub payload: usize,
    /// Bytes of the piece that belong to this body; the rest follows it.
    pub consumed: usize,
    /// Whether the body is complete.
    pub done: bool,
}

impl ChunkedDecoder {
    /// Decodes a piece: payload bytes are moved to its front. Bytes after the end of the body are left where they are.
    pub fn decode(&mut self, piece: &mut [u8]) -> Result<Decoded, ChunkError> {
        let mut payload = 0;
        let mut at = 0;
        while at < piece.len() && self.state != State::Done {
            if self.state == State::Data {
                let take = self.remaining.min((piece.len() - at) as u64) as usize;
                piece.copy_within(at..at + take, payload);
                payload += take;
                at += take;
                self.remaining -= take as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.step(piece[at])?;
            at += 1;
        }
        Ok(Decoded {
            payload,
            consumed: at,
            done: self.state == State::Done,
        })
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn step(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = match self.state {
            State::Size => {
                self.line += 1;
                match byte {
                    b'\r' if self.digits > 0 => State::SizeLf,
                    b';' if self.digits > 0 => State::Extension,
                    _ => {
                        let digit = (byte as char).to_digit(16).ok_or(ChunkError::Size)?;
                        self.digits += 1;
                        if self.digits > SIZE_DIGITS_MAX || self.remaining >> 59 != 0 {
                            return Err(ChunkError::Size);
                        }
                        self.remaining = self.remaining << 4 | u64::from(digit);
                        State::Size
                    }
                }
            }
            State::Extension => {
                self.line += 1;
                self.extensions += 1;
                if self.line > LINE_BYTES_MAX || self.extensions > EXTENSION_BYTES_MAX {
                    return Err(ChunkError::Extension);
                }
                match byte {
                    b'\r' => State::SizeLf,
                    b'\t' | b' '..=b'~' | 0x80.. => State::Extension,
                    _ => return Err(ChunkError::Extension),
                }
            }
            State::SizeLf => {
                expect(byte, b'\n')?;
                (self.digits, self.line) = (0, 0);
                if self.remaining == 0 {
                    State::TrailerStart
                } else {
                    State::Data
                }
            }
            State::DataCr => {
                expect(byte, b'\r')?;
                State::DataLf
            }
            State::DataLf => {
                expect(byte, b'\n')?;
                State::Size
            }
            State::TrailerStart if byte == b'\r' => State::EndLf,
            State::TrailerStart | State::TrailerName => {
                self.count_trailer()?;
                match byte {
                    b':' if self.state == State::TrailerName => State::TrailerValue,
                    _ if is_token(byte) => State::TrailerName,
                    _ => return Err(ChunkError::Trailer),
                }
            }
            State::TrailerValue => {
                self.count_trailer()?;
                match byte {
                    b'\r' => State::TrailerLf,
                    b'\t' | b' '..=b'~' | 0x80.. => State::TrailerValue,
                    _ => return Err(ChunkError::Trailer),
                }
            }
            State::TrailerLf => {
                expect(byte, b'\n')?;
                State::TrailerStart
            }
            State::EndLf => {
                expect(byte, b'\n')?;
                State::Done
            }
            State::Data | State::Done => self.state,
        };
        Ok(())
    }

    fn count_trailer(&mut self) -> Result<(), ChunkError> {
        self.trailers += 1;
        if self.trailers > TRAILER_BYTES_MAX {
            Err(ChunkError::Trailer)
        } else {
            Ok(())
        }
    }
}

fn expect(byte: u8, expected: u8) -> Result<(), ChunkError> {
    if byte == expected {
        Ok(())
    } else {
        Err(ChunkError::LineEnd)
    }
}

/// `tchar` of RFC 9110 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Writes the size line of a chunk of `payload` bytes so that it ends right before `end`, and returns where it starts.
/// `buffer` must have [`PREFIX_BYTES_MAX`] bytes before `end`.
pub fn frame(buffer: &mut [u8], end: usize, payload: usize) -> usize {
    let mut at = end - CHUNK_END.len();
    buffer[at..end].copy_from_slice(CHUNK_END);
    let mut rest = payload;
    loop {
        at -= 1;
        buffer[at] = b"0123456789abcdef"[rest & 0xf];
        rest >>= 4;
        if rest == 0 {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(
        body: &[u8],
        pieces: impl IntoIterator<Item = usize>,
    ) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let mut decoder = ChunkedDecoder::default();
        let mut out = Vec::new();
        let mut at = 0_usize;
        for size in pieces.into_iter().chain([usize::MAX]) {
            let end = at.saturating_add(size).min(body.len());
            let mut piece = body[at..end].to_vec();
            let decoded = decoder.decode(&mut piece)?;
            out.extend_from_slice(&piece[..decoded.payload]);
            at += decoded.consumed;
            if decoded.done {
                break;
            }
        }
        Ok((out, at, decoder.is_done()))
    }

    #[test]
    fn a_body_with_extensions_and_trailers_gives_its_payload() {
        let body = b"4;a=\"b\"\r\nWiki\r\n5\r\npedia\r\n0\r\nExpires: never\r\n\r\nGET";
        assert_eq!(
            decode(body, []),
            Ok((b"Wikipedia".to_vec(), body.len() - 3, true))
        );
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for (body, error) in [
            (&b"\r\n"[..], ChunkError::Size),
            (b"g\r\n", ChunkError::Size),
            (b" 1\r\n", ChunkError::Size),
            (b"1 \r\n", ChunkError::Size),
            (b"+1\r\n", ChunkError::Size),
            (b"0x1\r\n", ChunkError::Size),
            (b"10000000000000000\r\n", ChunkError::Size),
            (b"ffffffffffffffff\r\n", ChunkError::Size),
            (b"1\n", ChunkError::Size),
            (b"1\rx", ChunkError::LineEnd),
            (b"1\r\nab", ChunkError::LineEnd),
            (b"1\r\na\n", ChunkError::LineEnd),
            (b"1\r\na\r\r", ChunkError::LineEnd),
            (b"1;\n\r\n", ChunkError::Extension),
            (b"0\r\n bad: x\r\n\r\n", ChunkError::Trailer),
            (b"0\r\nbad\r\n\r\n", ChunkError::Trailer),
            (b"0\r\na: b\nc: d\r\n\r\n", ChunkError::Trailer),
        ] {
            assert_eq!(
                decode(body, []),
                Err(error),
                "{:?}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = [b"1;".as_slice(), &[b'a'; LINE_BYTES_MAX]].concat();
        assert_eq!(decode(&long, []), Err(ChunkError::Extension));
        let many = [b"1;".as_slice(), &[b'a'; 200], b"\r\nx\r\n"]
            .concat()
            .repeat(100);
        assert_eq!(decode(&many, []), Err(ChunkError::Extension));
        let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(2_000)].concat();
        assert_eq!(decode(&trailers, []), Err(ChunkError::Trailer));
    }

    #[test]
    fn a_size_line_ends_where_the_payload_begins() {
        for payload in [1, 15, 16, 255, 65_536, usize::MAX] {
            let mut buffer = [0; PREFIX_BYTES_MAX];
            let start = frame(&mut buffer, PREFIX_BYTES_MAX, payload);
            assert_eq!(&buffer[start..], format!("{payload:x}\r\n").as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_split_of_the_same_bytes_gives_the_same_payload(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            pieces in prop::collection::vec(1_usize..20, 0..60),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:X};x\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(LAST_CHUNK);
            let (payload, consumed, done) = decode(&body, pieces).expect("a valid body");
            prop_assert_eq!(payload, chunks.concat());
            prop_assert_eq!(consumed, body.len());
            prop_assert!(done);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ChunkedDecoder::default().decode(&mut bytes);
        }
    }
}
