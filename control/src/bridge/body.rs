//! Bodies of answers: collected and decompressed within a bound.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::http::{HttpError, chain};

/// Reads a body to its end, at most `bytes_max` bytes.
pub(super) async fn collect(mut body: Incoming, bytes_max: usize) -> Result<Bytes, HttpError> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| HttpError::Body(chain(&error)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if collected.len() + data.len() > bytes_max {
            return Err(HttpError::TooLarge { bytes_max });
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

/// Undoes `Content-Encoding`, at most `bytes_max` bytes of output.
pub(super) fn decode(
    headers: &HeaderMap,
    body: Bytes,
    bytes_max: usize,
) -> Result<Bytes, HttpError> {
    let mut body = body;
    // Encodings are listed in the order in which they were applied (RFC 9110 8.4).
    let encodings: Vec<String> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    for encoding in encodings.iter().rev() {
        if body.is_empty() {
            return Ok(body);
        }
        body = match encoding.as_str() {
            "gzip" | "x-gzip" => inflate(GzDecoder::new(body.as_ref()), bytes_max)?,
            // RFC 9110 names the zlib form; some servers send the bare one.
            "deflate" if is_zlib(&body) => inflate(ZlibDecoder::new(body.as_ref()), bytes_max)?,
            "deflate" => inflate(DeflateDecoder::new(body.as_ref()), bytes_max)?,
            other => {
                return Err(HttpError::Body(format!(
                    "content encoding {other:?} was not asked for"
                )));
            }
        };
    }
    Ok(body)
}

fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flg, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)).is_multiple_of(31))
}

fn inflate(decoder: impl Read, bytes_max: usize) -> Result<Bytes, HttpError> {
    let mut output = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    decoder
        .take(limit.saturating_add(1))
        .read_to_end(&mut output)
        .map_err(|error| HttpError::Body(format!("compressed body: {error}")))?;
    if output.len() > bytes_max {
        return Err(HttpError::TooLarge { bytes_max });
    }
    Ok(output.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn headers(encoding: &str) -> HeaderMap {
        [(CONTENT_ENCODING, encoding.parse().expect("a value"))]
            .into_iter()
            .collect()
    }

    fn gzip(text: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory").into()
    }

    #[test]
    fn each_encoding_we_ask_for_is_undone() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"hello").expect("memory");
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(b"hello").expect("memory");
        let cases = [
            ("gzip", gzip(b"hello")),
            ("GZIP", gzip(b"hello")),
            ("deflate", zlib.finish().expect("memory").into()),
            ("deflate", raw.finish().expect("memory").into()),
            ("identity", Bytes::from_static(b"hello")),
            ("gzip, gzip", gzip(&gzip(b"hello"))),
        ];
        for (encoding, body) in cases {
            assert_eq!(
                decode(&headers(encoding), body, 100).expect(encoding),
                "hello"
            );
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert_eq!(
            decode(&headers("gzip"), bomb, 1_000),
            Err(HttpError::TooLarge { bytes_max: 1_000 })
        );
    }

    #[test]
    fn a_truncated_or_unknown_encoding_is_an_error() {
        let whole = gzip(b"hello hello hello");
        assert!(decode(&headers("gzip"), whole.slice(..whole.len() - 9), 100).is_err());
        assert!(decode(&headers("br"), whole, 100).is_err());
    }
}
