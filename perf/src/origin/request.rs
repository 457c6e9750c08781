//! Request heads as the origin understands them: strict in framing, blind to everything else.

/// What a request asks the origin to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// `GET /b/<n>`: answer `n` bytes.
    Bytes(u64),
    /// `POST /echo`: answer what was sent.
    Echo,
    /// Anything else: a small answer.
    Small,
}

/// A complete request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// Bytes of the head, the empty line included.
    pub(crate) head_bytes: usize,
    pub(crate) action: Action,
    /// Length of the body that follows.
    pub(crate) body_bytes: u64,
    /// `HEAD`: the answer has no body.
    pub(crate) head_only: bool,
    /// The client wants the connection closed afterwards.
    pub(crate) close: bool,
}

/// Outcome of looking at the bytes received so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The empty line is not there yet.
    Partial,
    Complete(RequestHead),
    /// Answer this status and close.
    Refused(u16),
}

/// Reads a request head at the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let Some(end) = head_end(bytes) else {
        return Parsed::Partial;
    };
    let mut lines = bytes[..end - 4]
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    let mut words = request_line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Parsed::Refused(400);
    };
    let mut close = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Parsed::Refused(505),
    };
    let mut body_bytes = None;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Parsed::Refused(400);
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Only four names matter; their lengths rule out nearly every other field before a comparison.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                match (decimal(value), body_bytes) {
                    (Some(length), None) => body_bytes = Some(length),
                    _ => return Parsed::Refused(400),
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return Parsed::Refused(411),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                if value.eq_ignore_ascii_case(b"close") {
                    close = true;
                } else if value.eq_ignore_ascii_case(b"keep-alive") {
                    close = false;
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => return Parsed::Refused(417),
            0 => return Parsed::Refused(400),
            _ => {}
        }
    }
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    let action = match (method, path.strip_prefix(b"/b/")) {
        (b"GET" | b"HEAD", Some(size)) => match decimal(size) {
            Some(size) => Action::Bytes(size),
            None => return Parsed::Refused(404),
        },
        (b"POST", _) if path == b"/echo" => Action::Echo,
        _ => Action::Small,
    };
    Parsed::Complete(RequestHead {
        head_bytes: end,
        action,
        body_bytes: body_bytes.unwrap_or(0),
        head_only: method == b"HEAD",
        close,
    })
}

/// Index after the empty line, if it is there.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = bytes.get(from..)?.iter().position(|byte| *byte == b'\n') {
        let end = from + found + 1;
        if bytes[..end].ends_with(b"\r\n\r\n") {
            return Some(end);
        }
        from = end;
    }
    None
}

/// A decimal number of at most 18 digits.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str) -> RequestHead {
        match parse(text.as_bytes()) {
            Parsed::Complete(head) => head,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    /// Each kind of request is told apart, whatever the spelling of its fields.
    #[test]
    fn requests_that_are_served() {
        for (text, action, body_bytes, close) in [
            (
                "GET /b/100 HTTP/1.1\r\nHost: a\r\n\r\n",
                Action::Bytes(100),
                0,
                false,
            ),
            (
                "GET /b/0?x=/b/7 HTTP/1.1\r\n\r\n",
                Action::Bytes(0),
                0,
                false,
            ),
            (
                "POST /echo HTTP/1.1\r\ncONTENT-lENGTH:  4096 \r\n\r\n",
                Action::Echo,
                4_096,
                false,
            ),
            (
                "POST /b/5 HTTP/1.1\r\nContent-Length: 2\r\n\r\n",
                Action::Small,
                2,
                false,
            ),
            (
                "GET / HTTP/1.1\r\nConnection: Close\r\n\r\n",
                Action::Small,
                0,
                true,
            ),
            ("GET / HTTP/1.0\r\n\r\n", Action::Small, 0, true),
            (
                "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                Action::Small,
                0,
                false,
            ),
        ] {
            let head = complete(text);
            assert_eq!(
                (head.action, head.body_bytes, head.close),
                (action, body_bytes, close),
                "{text:?}"
            );
            assert_eq!(head.head_bytes, text.len());
        }
    }

    /// Requests whose end could be misread are refused with a status that says why.
    #[test]
    fn requests_that_are_refused() {
        for (text, status) in [
            ("GET /\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("GET /b/x HTTP/1.1\r\n\r\n", 404),
            (
                "POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                400,
            ),
            ("POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            (
                "POST /echo HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
                400,
            ),
            (
                "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                411,
            ),
            ("POST /echo HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", 417),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        ] {
            assert_eq!(parse(text.as_bytes()), Parsed::Refused(status), "{text:?}");
        }
    }

    /// No prefix of a request is taken for a whole one, and bytes after it do not change it.
    #[test]
    fn every_prefix_is_partial() {
        let text = "POST /echo HTTP/1.1\r\nHost: origin\r\nContent-Length: 3\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(
                parse(&text.as_bytes()[..end]),
                Parsed::Partial,
                "{end} bytes"
            );
        }
        assert_eq!(
            complete(text),
            complete(&format!("{text}abcGET / HTTP/1.1\r\n\r\n"))
        );
    }
}
