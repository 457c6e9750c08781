//! Answers: JSON, compressed when the caller can read it, and refusals with the texts of the reference (contract sync 2.2).

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// Smaller bodies fit in one packet anyway.
const COMPRESSED_BYTES_MIN: usize = 1_024;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Why a request got no 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// 400: the text of the reference.
    IncompatibleClient,
    /// 400.
    BadRequest(String),
    /// 401.
    Unauthorized,
    /// 403: an environment that the token does not name.
    Forbidden,
    /// 404, empty: no such path or object.
    NotFound,
    /// 408: the body did not arrive.
    TooSlow,
    /// 413.
    TooLarge { bytes_max: usize },
    /// 415.
    UnknownEncoding,
    /// 500.
    Failed(String),
    /// 507.
    Full(String),
}

impl Refused {
    pub(crate) fn into_answer(self) -> Answer {
        let (status, text) = match self {
            Self::IncompatibleClient => (
                StatusCode::BAD_REQUEST,
                "Version of the bridge client is incompatible with bridge server".to_owned(),
            ),
            Self::BadRequest(text) => (StatusCode::BAD_REQUEST, text),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()),
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                "Unauthorized environments".to_owned(),
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, String::new()),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "The request body did not arrive in time".to_owned(),
            ),
            Self::TooLarge { bytes_max } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("The request body is larger than {bytes_max} bytes"),
            ),
            Self::UnknownEncoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Expected Content-Encoding gzip or none".to_owned(),
            ),
            Self::Failed(text) => (StatusCode::INTERNAL_SERVER_ERROR, text),
            Self::Full(text) => (StatusCode::INSUFFICIENT_STORAGE, text),
        };
        let mut answer = Response::new(Full::new(Bytes::from(text)));
        *answer.status_mut() = status;
        if status != StatusCode::NOT_FOUND {
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        if status == StatusCode::UNAUTHORIZED {
            answer
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

/// 200 with a JSON body.
pub(crate) fn json(value: &impl Serialize, accepts_gzip: bool) -> Result<Answer, Refused> {
    let failed = |error: &dyn std::fmt::Display| {
        Refused::Failed(format!("the answer could not be written: {error}"))
    };
    let mut body = serde_json::to_vec(value).map_err(|error| failed(&error))?;
    let compress = accepts_gzip && body.len() >= COMPRESSED_BYTES_MIN;
    if compress {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        encoder.write_all(&body).map_err(|error| failed(&error))?;
        body = encoder.finish().map_err(|error| failed(&error))?;
    }
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if compress {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(answer)
}

/// Whether `Accept-Encoding` lists gzip with a weight above zero (RFC 9110 12.5.3).
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let coding = parts.next().unwrap_or_default();
            let refused = parts.any(|part| {
                part.strip_prefix("q=")
                    .and_then(|weight| weight.parse::<f32>().ok())
                    .is_some_and(|weight| weight == 0.0)
            });
            (coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip"))
                && !refused
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_only_when_it_is_accepted() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, gzip", true),
            ("GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("", false),
        ] {
            let headers =
                HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
