//! Request heads (RFC 9112 3, 6; contract request-lifecycle 1.1, 1.7).

use std::mem::MaybeUninit;

use super::field::{HeaderBlock, Known, Span};

/// Limits of a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Start line, bytes without its CRLF (`http.maxInitialLineLength`): beyond it 414.
    pub start_line_bytes_max: usize,
    /// Fields, bytes with their CRLFs (`http.maxHeaderSize`): beyond it 431.
    pub fields_bytes_max: usize,
    /// Number of fields: beyond it 431.
    pub fields_max: usize,
}

/// A request method, in the classes that the reference knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the methods of RFC 9110")]
pub enum Method {
    Connect,
    Delete,
    #[default]
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
    Trace,
    /// Any other token; forwarded as `OTHER`, as the reference does.
    Other,
}

impl Method {
    /// Recognises a method token; methods are case-sensitive.
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// The method as written in a request line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Trace => "TRACE",
            Self::Other => "OTHER",
        }
    }

    /// Index into the counters of [`crate::stats::WorkerStats`], below [`crate::stats::METHODS`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The method of an index, for metrics.
    pub fn from_index(index: usize) -> Self {
        const ALL: [Method; crate::stats::METHODS] = [
            Method::Connect,
            Method::Delete,
            Method::Get,
            Method::Head,
            Method::Options,
            Method::Patch,
            Method::Post,
            Method::Put,
            Method::Trace,
            Method::Other,
        ];
        ALL[index.min(ALL.len() - 1)]
    }

    /// Whether a request may be sent again without changing its effect (RFC 9110 9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Options | Self::Trace | Self::Put | Self::Delete
        )
    }
}

/// HTTP version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the two versions of HTTP/1")]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// How a request body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestBody {
    /// Neither `Content-Length` nor `Transfer-Encoding`: no body, no framing field.
    #[default]
    None,
    /// `Content-Length`, bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Why a request head is refused. Always answered, then the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The bytes are not a request head.
    #[error("malformed request head")]
    Malformed,
    /// More fields than the limit.
    #[error("too many header fields")]
    TooManyFields,
    /// The target is not a path, `*` or an absolute HTTP URI, or holds a character that URIs do not have.
    #[error("invalid request target")]
    Target,
    /// No `Host` in HTTP/1.1, several of them, or not `host[:port]`.
    #[error("missing, repeated or invalid Host")]
    Host,
    /// Framing that two parsers could read differently.
    #[error("invalid or conflicting Content-Length and Transfer-Encoding")]
    Framing,
    /// `Connection` names a field whose removal would change framing, routing or security.
    #[error("Connection names a protected field")]
    Connection,
}

impl RequestError {
    /// The status that answers it.
    pub fn status(self) -> u16 {
        match self {
            Self::TooManyFields => 431,
            _ => 400,
        }
    }
}

/// A parsed request head. Reused from request to request, so that parsing allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Target as received.
    pub target: Span,
    /// Path of the target, without query.
    pub path: Span,
    /// Query of the target without `?`; empty when absent.
    pub query: Span,
    /// Whether the target has a `?`.
    pub has_query: bool,
    /// Authority: of an absolute target, else of `Host`; `None` only in HTTP/1.0.
    pub authority: Option<Span>,
    /// HTTP version.
    pub version: Version,
    /// Header fields.
    pub fields: HeaderBlock,
    /// Body framing.
    pub body: RequestBody,
    /// Whether the client wants to send more requests on the connection.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
}

/// Fields that `Connection` may not nominate.
const PROTECTED: [&[u8]; 7] = [
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"authorization",
    b"cookie",
    b"x-gravitee-api-key",
    b"x-forwarded-for",
];

impl RequestHead {
    /// Parses the head in `head`, which is exactly what [`super::HeadScanner`] found. Spans refer to `head`.
    pub fn parse(&mut self, head: &[u8], limits: &HeadLimits) -> Result<(), RequestError> {
        self.fields.clear();
        // Not initialised: filling the table would cost more than parsing a usual head.
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_CAPACITY];
        let capacity = limits.fields_max.min(FIELDS_CAPACITY);
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(head, &mut fields[..capacity]) {
            Ok(httparse::Status::Complete(used)) if used == head.len() => {}
            Ok(_) => return Err(RequestError::Malformed),
            Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooManyFields),
            Err(_) => return Err(RequestError::Malformed),
        }
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(RequestError::Malformed);
        };
        self.method = Method::of(method.as_bytes());
        self.version = if minor == 0 {
            Version::Http10
        } else {
            Version::Http11
        };
        self.target = Span::within(head, target.as_bytes());
        // httparse accepts a lone CR as white space nowhere, but a bare LF as a line end: the scanner has ruled that out.
        for field in request.headers.iter() {
            if field.name.is_empty() {
                return Err(RequestError::Malformed);
            }
            self.fields
                .push(head, field.name.as_bytes(), field.value.trim_ascii());
        }
        self.parse_target(head)?;
        self.check_host(head)?;
        self.decide_framing(head)?;
        let options = self
            .fields
            .mark_nominated(head, &PROTECTED)
            .map_err(|_| RequestError::Connection)?;
        self.keep_alive = match self.version {
            Version::Http11 => !options.close,
            Version::Http10 => options.keep_alive && !options.close,
        };
        self.expects_continue = self.version == Version::Http11
            && self
                .fields
                .values(head, Known::Expect)
                .any(|value| value.eq_ignore_ascii_case(b"100-continue"));
        Ok(())
    }

    /// The authority that the request is addressed to.
    pub fn authority_of<'h>(&self, head: &'h [u8]) -> Option<&'h str> {
        self.authority.map(|span| span.text_of(head))
    }

    fn parse_target(&mut self, head: &[u8]) -> Result<(), RequestError> {
        let target = self.target.of(head);
        if self.method == Method::Connect
            || std::str::from_utf8(target).is_err()
            || target
                .iter()
                .any(|byte| *byte <= b' ' || *byte == 0x7f || *byte == b'#')
        {
            return Err(RequestError::Target);
        }
        self.authority = None;
        let mut path_start = self.target.start();
        if target == b"*" {
            if self.method != Method::Options {
                return Err(RequestError::Target);
            }
        } else if target[0] != b'/' {
            let scheme = absolute_scheme(target).ok_or(RequestError::Target)?;
            let authority_end = target[scheme..]
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?'))
                .map_or(target.len(), |at| scheme + at);
            let authority = Span::new(path_start + scheme, path_start + authority_end);
            if !is_host_and_port(authority.of(head)) {
                return Err(RequestError::Target);
            }
            self.authority = Some(authority);
            path_start += authority_end;
        }
        let rest = Span::new(path_start, self.target.end());
        let query = memchr::memchr(b'?', rest.of(head));
        self.has_query = query.is_some();
        let path_end = query.map_or_else(|| rest.end(), |at| path_start + at);
        self.path = Span::new(path_start, path_end);
        self.query = Span::new(
            (path_end + usize::from(self.has_query)).min(rest.end()),
            rest.end(),
        );
        Ok(())
    }

    fn check_host(&mut self, head: &[u8]) -> Result<(), RequestError> {
        let mut hosts = self
            .fields
            .iter()
            .filter(|field| field.known == Known::Host);
        let host = hosts.next().map(|field| field.value);
        if hosts.next().is_some()
            || host.is_some_and(|host| !host.is_empty() && !is_host_and_port(host.of(head)))
        {
            return Err(RequestError::Host);
        }
        match host {
            None if self.version == Version::Http11 => Err(RequestError::Host),
            // An absolute target wins over Host (RFC 9112 3.2.2).
            _ if self.authority.is_some() => Ok(()),
            Some(host) if host.is_empty() => Err(RequestError::Host),
            host => {
                self.authority = host;
                Ok(())
            }
        }
    }

    fn decide_framing(&mut self, head: &[u8]) -> Result<(), RequestError> {
        self.body = RequestBody::None;
        let mut lengths = self.fields.values(head, Known::ContentLength);
        let length = lengths.next();
        if lengths.next().is_some() {
            return Err(RequestError::Framing);
        }
        let mut encodings = self.fields.values(head, Known::TransferEncoding);
        let encoding = encodings.next();
        if encodings.next().is_some() {
            return Err(RequestError::Framing);
        }
        self.body = match (length, encoding) {
            (None, None) => RequestBody::None,
            (Some(length), None) => {
                RequestBody::Length(content_length(length).ok_or(RequestError::Framing)?)
            }
            (None, Some(encoding))
                if self.version == Version::Http11 && encoding.eq_ignore_ascii_case(b"chunked") =>
            {
                RequestBody::Chunked
            }
            _ => return Err(RequestError::Framing),
        };
        Ok(())
    }
}

/// Most fields that a head can have, whatever the settings say.
pub(crate) const FIELDS_CAPACITY: usize = 256;

/// `1*DIGIT` below 2^63.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value
        .iter()
        .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    (number < 1 << 63).then_some(number)
}

/// Length of the `http://` or `https://` that an absolute target starts with.
fn absolute_scheme(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme)
        })
        .map(<[u8]>::len)
}

/// `uri-host [ ":" port ]` of RFC 3986, without user information.
pub fn is_host_and_port(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', ..] => {
            let Some(end) = memchr::memchr(b']', value) else {
                return false;
            };
            let literal = &value[1..end];
            if literal.is_empty()
                || !literal
                    .iter()
                    .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
            {
                return false;
            }
            match &value[end + 1..] {
                [] => return true,
                [b':', port @ ..] => return is_port(port),
                _ => return false,
            }
        }
        _ => match memchr::memchr(b':', value) {
            Some(at) => (&value[..at], Some(&value[at + 1..])),
            None => (value, None),
        },
    };
    let is_name = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
                    | b'%'
            )
    };
    !host.is_empty() && host.iter().all(is_name) && port.is_none_or(is_port)
}

fn is_port(port: &[u8]) -> bool {
    port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
        && port
            .iter()
            .fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'))
            <= 65_535
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        start_line_bytes_max: 4_096,
        fields_bytes_max: 8_192,
        fields_max: 8,
    };

    fn parse(head: &str) -> Result<RequestHead, RequestError> {
        let mut parsed = RequestHead::default();
        parsed.parse(head.as_bytes(), &LIMITS).map(|()| parsed)
    }

    fn with(fields: &str) -> Result<RequestHead, RequestError> {
        parse(&format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n"))
    }

    #[test]
    fn a_request_is_taken_apart() {
        let head = "GET /a/b?c=d&e HTTP/1.1\r\nHost: example.com:8082\r\nAccept:  */* \r\n\r\n";
        let parsed = parse(head).expect("a request");
        let bytes = head.as_bytes();
        assert_eq!(parsed.method, Method::Get);
        assert_eq!(parsed.path.of(bytes), b"/a/b");
        assert_eq!(parsed.query.of(bytes), b"c=d&e");
        assert_eq!(parsed.authority_of(bytes), Some("example.com:8082"));
        assert_eq!(parsed.fields.value(bytes, b"accept"), Some(&b"*/*"[..]));
        assert!(parsed.keep_alive);
        assert_eq!(parsed.body, RequestBody::None);
    }

    #[test]
    fn targets_other_than_a_path_a_star_or_an_http_uri_are_refused() {
        for target in [
            "a",
            "//x#y",
            "http://",
            "ftp://a/",
            "http://a b/",
            "http://u@h/",
            "/a\u{7f}",
            "http:///x",
            "*",
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(parse(&head).is_err(), "{target:?}");
        }
        assert!(parse("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n").is_err());
        assert!(parse("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").is_ok());
    }

    #[test]
    fn the_authority_of_an_absolute_target_wins_over_host() {
        let head = "GET http://real.example/x?y HTTP/1.1\r\nHost: other\r\n\r\n";
        let parsed = parse(head).expect("a request");
        assert_eq!(parsed.authority_of(head.as_bytes()), Some("real.example"));
        assert_eq!(parsed.path.of(head.as_bytes()), b"/x");
        let head = "GET http://real.example HTTP/1.1\r\nHost: other\r\n\r\n";
        let parsed = parse(head).expect("a request");
        assert_eq!(parsed.path.of(head.as_bytes()), b"");
    }

    #[test]
    fn exactly_one_valid_host_is_demanded() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h:99999\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        ] {
            assert_eq!(parse(head).expect_err(head), RequestError::Host, "{head:?}");
        }
        assert!(parse("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").is_ok());
        assert!(
            parse("GET / HTTP/1.0\r\n\r\n")
                .expect("1.0 needs no host")
                .authority
                .is_none()
        );
    }

    #[test]
    fn framing_that_could_be_read_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 9223372036854775808\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: \x0bchunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            " folded: x\r\n",
            "a: b\r\n c\r\n",
            ": empty\r\n",
            "na me: x\r\n",
            "a: b\0c\r\n",
        ] {
            assert!(with(fields).is_err(), "{fields:?}");
        }
        assert_eq!(
            with("Transfer-Encoding: Chunked\r\n")
                .expect("chunked")
                .body,
            RequestBody::Chunked
        );
        assert_eq!(
            with("Content-Length: 007\r\n").expect("length").body,
            RequestBody::Length(7)
        );
        assert_eq!(
            parse("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
                .expect_err("1.0"),
            RequestError::Framing
        );
    }

    #[test]
    fn connection_options_decide_persistence_and_may_not_remove_protected_fields() {
        assert!(!with("Connection: close\r\n").expect("close").keep_alive);
        assert!(!parse("GET / HTTP/1.0\r\n\r\n").expect("1.0").keep_alive);
        assert!(
            parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
                .expect("1.0")
                .keep_alive
        );
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Authorization",
            "X-Gravitee-Api-Key",
        ] {
            assert_eq!(
                with(&format!("Connection: {name}\r\n")).expect_err(name),
                RequestError::Connection
            );
        }
    }

    #[test]
    fn more_fields_than_the_limit_are_refused_with_431() {
        let fields = "a: b\r\n".repeat(8);
        assert_eq!(with(&fields).expect_err("9 fields").status(), 431);
    }
}
