//! Reads one response at a time out of whatever pieces the socket gives.

use std::fmt;

/// Longest head that is accepted, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What a finished response was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Payload bytes, chunk framing excluded.
    pub(crate) body_bytes: u64,
    /// The connection can carry another request.
    pub(crate) keep_alive: bool,
}

/// Why bytes are not a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    HeadTooLong,
    StatusLine,
    Field,
    Length,
    Chunk,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::HeadTooLong => "response head exceeds 16 KiB",
            Self::StatusLine => "status line: expected `HTTP/1.x <status>`",
            Self::Field => "header field: expected `name: value`",
            Self::Length => {
                "framing: expected one decimal content-length or `transfer-encoding: chunked`"
            }
            Self::Chunk => "chunk: expected a hexadecimal size, the bytes and a line end",
        })
    }
}

/// Where the reader stands in the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// Bytes of the body still to come.
    Body(u64),
    /// No length was announced: the body ends with the connection.
    UntilClose,
    ChunkSize {
        size: u64,
        digits: u8,
        /// Inside a chunk extension.
        extension: bool,
    },
    ChunkData(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// Trailer section; counts the bytes of the current line.
    Trailer(usize),
}

/// An incremental response reader; keeps its buffer between responses.
pub(crate) struct ResponseReader {
    state: State,
    head: Vec<u8>,
    status: u16,
    keep_alive: bool,
    body_bytes: u64,
    /// The request was `HEAD`, so no body follows.
    head_request: bool,
}

impl ResponseReader {
    pub(crate) fn new(head_request: bool) -> Self {
        Self {
            state: State::Head,
            head: Vec::with_capacity(1_024),
            status: 0,
            keep_alive: true,
            body_bytes: 0,
            head_request,
        }
    }

    /// Forgets a half-read response.
    pub(crate) fn reset(&mut self) {
        self.state = State::Head;
        self.head.clear();
        self.body_bytes = 0;
    }

    /// Takes `bytes` up to the end of the response. Says how many were taken, and the response once it is complete;
    /// without one, all bytes were taken.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Response>), Malformed> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            match self.state {
                State::Head => {
                    let (step, whole) = self.take_head(rest)?;
                    taken += step;
                    if whole && self.enter_body()? {
                        return Ok((taken, Some(self.finish())));
                    }
                }
                State::Body(left) => {
                    let step = at_most(left, rest);
                    taken += step;
                    self.body_bytes += step as u64;
                    self.state = State::Body(left - step as u64);
                    if left == step as u64 {
                        return Ok((taken, Some(self.finish())));
                    }
                }
                State::UntilClose => {
                    taken += rest.len();
                    self.body_bytes += rest.len() as u64;
                }
                State::ChunkData(left) => {
                    let step = at_most(left, rest);
                    taken += step;
                    self.body_bytes += step as u64;
                    self.state = if left == step as u64 {
                        State::ChunkEnd
                    } else {
                        State::ChunkData(left - step as u64)
                    };
                }
                State::ChunkSize { .. } | State::ChunkEnd | State::Trailer(_) => {
                    taken += 1;
                    if self.step_framing(rest[0])? {
                        return Ok((taken, Some(self.finish())));
                    }
                }
            }
        }
        Ok((taken, None))
    }

    /// The connection ended: the response, if it was one that ends so.
    pub(crate) fn end_of_stream(&mut self) -> Option<Response> {
        (self.state == State::UntilClose).then(|| self.finish())
    }

    /// Appends to the head up to its empty line; says how many bytes were taken and whether it is whole.
    fn take_head(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut from = 0;
        while let Some(found) = bytes[from..].iter().position(|byte| *byte == b'\n') {
            let line_end = from + found + 1;
            self.head.extend_from_slice(&bytes[from..line_end]);
            from = line_end;
            if self.head.ends_with(b"\r\n\r\n") {
                return Ok((from, true));
            }
        }
        self.head.extend_from_slice(&bytes[from..]);
        if self.head.len() > HEAD_BYTES_MAX {
            return Err(Malformed::HeadTooLong);
        }
        Ok((bytes.len(), false))
    }

    /// Reads the head and chooses the body's framing; `true` when there is no body.
    fn enter_body(&mut self) -> Result<bool, Malformed> {
        let head = &self.head[..self.head.len() - 4];
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = lines.next().unwrap_or_default();
        let (version, rest) = line.split_at_checked(9).ok_or(Malformed::StatusLine)?;
        self.keep_alive = match version {
            b"HTTP/1.1 " => true,
            b"HTTP/1.0 " => false,
            _ => return Err(Malformed::StatusLine),
        };
        let digits = rest.get(..3).ok_or(Malformed::StatusLine)?;
        self.status = number(digits, 10)
            .and_then(|status| u16::try_from(status).ok())
            .ok_or(Malformed::StatusLine)?;
        if rest.get(3).is_some_and(|byte| *byte != b' ') {
            return Err(Malformed::StatusLine);
        }
        let mut length = None;
        let mut chunked = false;
        for line in lines {
            let colon = line
                .iter()
                .position(|byte| *byte == b':')
                .ok_or(Malformed::Field)?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            match name.len() {
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    let value = number(value, 10).ok_or(Malformed::Length)?;
                    if length.replace(value).is_some() {
                        return Err(Malformed::Length);
                    }
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    if !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Malformed::Length);
                    }
                    chunked = true;
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    if value.eq_ignore_ascii_case(b"close") {
                        self.keep_alive = false;
                    } else if value.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive = true;
                    }
                }
                _ => {}
            }
        }
        self.head.clear();
        if self.status / 100 == 1 {
            // An interim response: the final one follows.
            self.state = State::Head;
            return Ok(false);
        }
        self.state = match (chunked, length) {
            _ if self.head_request || matches!(self.status, 204 | 304) => return Ok(true),
            (true, Some(_)) => return Err(Malformed::Length),
            (true, None) => FIRST_DIGIT,
            (false, Some(0)) => return Ok(true),
            (false, Some(length)) => State::Body(length),
            (false, None) => State::UntilClose,
        };
        Ok(false)
    }

    /// One byte between chunks; `true` at the end of the body.
    fn step_framing(&mut self, byte: u8) -> Result<bool, Malformed> {
        self.state = match (self.state, byte) {
            (State::ChunkSize { size, digits, .. }, b'\n') if digits > 0 => {
                if size == 0 {
                    State::Trailer(0)
                } else {
                    State::ChunkData(size)
                }
            }
            (state @ State::ChunkSize { digits, .. }, b'\r') if digits > 0 => state,
            (
                state @ State::ChunkSize {
                    extension: true, ..
                },
                _,
            ) => state,
            (State::ChunkSize { size, digits, .. }, b';' | b' ' | b'\t') if digits > 0 => {
                State::ChunkSize {
                    size,
                    digits,
                    extension: true,
                }
            }
            (
                State::ChunkSize {
                    size,
                    digits,
                    extension: false,
                },
                _,
            ) if digits < 15 => {
                let digit = number(&[byte], 16).ok_or(Malformed::Chunk)?;
                State::ChunkSize {
                    size: size * 16 + digit,
                    digits: digits + 1,
                    extension: false,
                }
            }
            (State::ChunkEnd, b'\r') => State::ChunkEnd,
            (State::ChunkEnd, b'\n') => FIRST_DIGIT,
            (State::Trailer(0), b'\n') => return Ok(true),
            (State::Trailer(_), b'\n') => State::Trailer(0),
            (State::Trailer(0), b'\r') => State::Trailer(0),
            (State::Trailer(length), _) if length < HEAD_BYTES_MAX => State::Trailer(length + 1),
            _ => return Err(Malformed::Chunk),
        };
        Ok(false)
    }

    fn finish(&mut self) -> Response {
        let response = Response {
            status: self.status,
            body_bytes: self.body_bytes,
            keep_alive: self.keep_alive && self.state != State::UntilClose,
        };
        self.reset();
        response
    }
}

const FIRST_DIGIT: State = State::ChunkSize {
    size: 0,
    digits: 0,
    extension: false,
};

fn at_most(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

/// A number of at most 15 digits, so that it cannot overflow.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        char::from(*digit)
            .to_digit(radix)
            .map(|digit| value * u64::from(radix) + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Responses of every framing, each with its status, payload length and whether the connection lives on.
    const RESPONSES: &[(&str, u16, u64, bool)] = &[
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            200,
            5,
            true,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, 0, true),
        ("HTTP/1.1 304\r\nContent-Length: 9\r\n\r\n", 304, 0, true),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length:0\r\nConnection: close\r\n\r\n",
            404,
            0,
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx",
            200,
            1,
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
            200,
            2,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
            200,
            13,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: b\r\nC: d\r\n\r\n",
            200,
            1,
            true,
        ),
    ];

    fn read_in_pieces(text: &[u8], cuts: &[usize]) -> Option<Response> {
        let mut reader = ResponseReader::new(false);
        let mut from = 0;
        for cut in cuts.iter().copied().chain([text.len()]) {
            let (taken, response) = reader.feed(&text[from..cut]).unwrap();
            from += taken;
            if let Some(response) = response {
                assert_eq!(from, text.len(), "the response ended early");
                return Some(response);
            }
            assert_eq!(from, cut, "bytes were left without a response");
        }
        None
    }

    /// The same bytes give the same response however they are split: at every one and every two positions, and byte by byte.
    #[test]
    fn any_split_of_the_bytes_gives_the_same_response() {
        for (text, status, body_bytes, keep_alive) in RESPONSES {
            let expected = Some(Response {
                status: *status,
                body_bytes: *body_bytes,
                keep_alive: *keep_alive,
            });
            let text = text.as_bytes();
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    assert_eq!(
                        read_in_pieces(text, &[first, second]),
                        expected,
                        "{first} {second}"
                    );
                }
            }
            assert_eq!(
                read_in_pieces(text, &(0..text.len()).collect::<Vec<_>>()),
                expected
            );
        }
    }

    /// A reader is used for many responses on one connection, and says where each ends.
    #[test]
    fn reads_one_response_after_the_other() {
        let all: String = RESPONSES.iter().map(|(text, ..)| *text).collect();
        let mut reader = ResponseReader::new(false);
        let mut from = 0;
        for (_, status, body_bytes, _) in RESPONSES {
            let (taken, response) = reader.feed(&all.as_bytes()[from..]).unwrap();
            from += taken;
            let response = response.expect("a response is complete");
            assert_eq!(
                (response.status, response.body_bytes),
                (*status, *body_bytes)
            );
        }
        assert_eq!(from, all.len());
    }

    /// Without a length the end of the connection is the end of the body, and only then.
    #[test]
    fn a_body_without_length_ends_with_the_connection() {
        let mut reader = ResponseReader::new(false);
        assert_eq!(reader.end_of_stream(), None);
        assert_eq!(reader.feed(b"HTTP/1.1 200 OK\r\n\r\nabc").unwrap().1, None);
        let expected = Response {
            status: 200,
            body_bytes: 3,
            keep_alive: false,
        };
        assert_eq!(reader.end_of_stream(), Some(expected));
    }

    /// The answer to HEAD has no body whatever length it announces.
    #[test]
    fn the_answer_to_head_has_no_body() {
        let mut reader = ResponseReader::new(true);
        let (taken, response) = reader
            .feed(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
            .unwrap();
        assert_eq!(
            (taken, response.map(|response| response.body_bytes)),
            (38, Some(0))
        );
    }

    /// Bytes that are no response are named, not guessed at.
    #[test]
    fn refuses_what_is_not_a_response() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(HEAD_BYTES_MAX));
        for (text, expected) in [
            ("SSH-2.0-OpenSSH\r\n\r\n", Malformed::StatusLine),
            ("HTTP/1.1 2x0 OK\r\n\r\n", Malformed::StatusLine),
            ("HTTP/1.1 2000\r\n\r\n", Malformed::StatusLine),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Malformed::Field),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                Malformed::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Malformed::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
                Malformed::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
                Malformed::Chunk,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
                Malformed::Chunk,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1111111111111111\r\n",
                Malformed::Chunk,
            ),
            (&long, Malformed::HeadTooLong),
        ] {
            let result = ResponseReader::new(false).feed(text.as_bytes());
            assert_eq!(
                result.map(|(_, response)| response),
                Err(expected),
                "{:.60}",
                text
            );
        }
    }
}
