//! Response heads of backends (RFC 9112 4, 6.3).

use std::mem::MaybeUninit;

use super::field::{HeaderBlock, Known, Span};
use super::request::{FIELDS_CAPACITY, Method, Version, content_length};

/// How a response body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResponseBody {
    /// No body by the status or the method.
    #[default]
    None,
    /// `Content-Length`, bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Everything until the backend closes.
    UntilClose,
}

/// Why a response head is refused: the client gets 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The bytes are not a response head.
    #[error("the backend's response head is malformed")]
    Malformed,
    /// Framing that two parsers could read differently.
    #[error("the backend's Content-Length and Transfer-Encoding are invalid or conflict")]
    Framing,
    /// 101 to a request that asked for no upgrade.
    #[error("the backend switched protocols without being asked")]
    UnexpectedUpgrade,
}

/// A parsed response head, reused from response to response.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// Status code, 100..=999.
    pub status: u16,
    /// Reason phrase as received.
    pub reason: Span,
    /// HTTP version.
    pub version: Version,
    /// Header fields.
    pub fields: HeaderBlock,
    /// Body framing.
    pub body: ResponseBody,
    /// `Content-Length` of a response that has no body (HEAD, 304): told to the client as it is.
    pub announced_length: Option<u64>,
    /// Whether the backend keeps the connection open.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// Parses the head in `head`, which is exactly what [`super::HeadScanner`] found, as the answer to `method`.
    pub fn parse(&mut self, head: &[u8], method: Method) -> Result<(), ResponseError> {
        self.fields.clear();
        // Not initialised: filling the table would cost more than parsing a usual head.
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_CAPACITY];
        let mut response = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        match parser.parse_response_with_uninit_headers(&mut response, head, &mut fields) {
            Ok(httparse::Status::Complete(used)) if used == head.len() => {}
            _ => return Err(ResponseError::Malformed),
        }
        let (Some(status), Some(minor)) = (response.code, response.version) else {
            return Err(ResponseError::Malformed);
        };
        if status < 100 {
            return Err(ResponseError::Malformed);
        }
        self.status = status;
        self.version = if minor == 0 {
            Version::Http10
        } else {
            Version::Http11
        };
        self.reason = Span::within(head, response.reason.unwrap_or_default().as_bytes());
        for field in response.headers.iter() {
            if field.name.is_empty() {
                return Err(ResponseError::Malformed);
            }
            self.fields
                .push(head, field.name.as_bytes(), field.value.trim_ascii());
        }
        let options = self
            .fields
            .mark_nominated(head, &[])
            .map_err(|_| ResponseError::Malformed)?;
        self.keep_alive = match self.version {
            Version::Http11 => !options.close,
            Version::Http10 => options.keep_alive && !options.close,
        };
        self.decide_framing(head, method)
    }

    /// Whether this is an interim response (1xx): another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }

    fn decide_framing(&mut self, head: &[u8], method: Method) -> Result<(), ResponseError> {
        let mut length = None;
        for value in self.fields.values(head, Known::ContentLength) {
            let value = content_length(value).ok_or(ResponseError::Framing)?;
            if length.is_some_and(|length| length != value) {
                return Err(ResponseError::Framing);
            }
            length = Some(value);
        }
        let mut encodings = self.fields.values(head, Known::TransferEncoding);
        let encoding = encodings.next();
        if encodings.next().is_some() {
            return Err(ResponseError::Framing);
        }
        self.announced_length = length;
        self.body = if self.status == 101 {
            return Err(ResponseError::UnexpectedUpgrade);
        } else if self.is_interim()
            || self.status == 204
            || self.status == 304
            || method == Method::Head
        {
            ResponseBody::None
        } else {
            match (length, encoding) {
                (Some(_), Some(_)) => return Err(ResponseError::Framing),
                (Some(length), None) => ResponseBody::Length(length),
                (None, Some(encoding))
                    if self.version == Version::Http11
                        && encoding.eq_ignore_ascii_case(b"chunked") =>
                {
                    ResponseBody::Chunked
                }
                (None, Some(_)) => return Err(ResponseError::Framing),
                (None, None) => ResponseBody::UntilClose,
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str, method: Method) -> Result<ResponseHead, ResponseError> {
        let mut parsed = ResponseHead::default();
        parsed.parse(head.as_bytes(), method).map(|()| parsed)
    }

    fn body(fields: &str) -> Result<ResponseBody, ResponseError> {
        parse(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), Method::Get).map(|head| head.body)
    }

    #[test]
    fn framing_follows_status_method_and_fields() {
        assert_eq!(body("Content-Length: 3\r\n"), Ok(ResponseBody::Length(3)));
        assert_eq!(
            body("Content-Length: 3\r\nContent-Length: 3\r\n"),
            Ok(ResponseBody::Length(3))
        );
        assert_eq!(
            body("Transfer-Encoding: chunked\r\n"),
            Ok(ResponseBody::Chunked)
        );
        assert_eq!(body(""), Ok(ResponseBody::UntilClose));
        for head in [
            "HTTP/1.1 204 No\r\n\r\n",
            "HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 100 Go\r\n\r\n",
        ] {
            assert_eq!(
                parse(head, Method::Get).expect(head).body,
                ResponseBody::None
            );
        }
        let head =
            parse("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Method::Head).expect("a head");
        assert_eq!(
            (head.body, head.announced_length),
            (ResponseBody::None, Some(9))
        );
    }

    #[test]
    fn ambiguous_or_malformed_heads_are_refused() {
        for fields in [
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: x\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            assert_eq!(body(fields), Err(ResponseError::Framing), "{fields:?}");
        }
        assert_eq!(body("a b: c\r\n"), Err(ResponseError::Malformed));
        assert!(parse("HTTP/1.1 20 OK\r\n\r\n", Method::Get).is_err());
        assert!(parse("SSH-2.0-x\r\n\r\n", Method::Get).is_err());
        let switched = parse("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", Method::Get);
        assert_eq!(switched.expect_err("101"), ResponseError::UnexpectedUpgrade);
    }
}
