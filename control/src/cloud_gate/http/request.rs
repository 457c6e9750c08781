//! Requests in the form the endpoints want them: decoded path, query and body, each within a bound.

use std::io::Read as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::answer::Refused;

/// Time for a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Reads a body and undoes gzip; both forms at most `bytes_max`.
pub(crate) async fn body(
    headers: &HeaderMap,
    body: Incoming,
    bytes_max: usize,
) -> Result<Bytes, Refused> {
    let encoding = headers
        .get(CONTENT_ENCODING)
        .map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    let gzip = match encoding.as_deref() {
        None | Some("" | "identity") => false,
        Some("gzip" | "x-gzip") => true,
        Some(_) => return Err(Refused::UnknownEncoding),
    };
    let read = tokio::time::timeout(BODY_TIME, collect(body, bytes_max))
        .await
        .map_err(|_| Refused::TooSlow)??;
    if gzip {
        inflate(&read, bytes_max)
    } else {
        Ok(read)
    }
}

async fn collect(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Refused> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refused::BadRequest(format!("The request body cannot be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if read.len() + data.len() > bytes_max {
            return Err(Refused::TooLarge { bytes_max });
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

fn inflate(compressed: &[u8], bytes_max: usize) -> Result<Bytes, Refused> {
    let mut inflated = Vec::new();
    GzDecoder::new(compressed)
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| Refused::BadRequest(format!("The request body is not gzip: {error}")))?;
    if inflated.len() > bytes_max {
        Err(Refused::TooLarge { bytes_max })
    } else {
        Ok(inflated.into())
    }
}

/// Reads JSON; an empty body is what a type makes of `{}`.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let text = if body.trim_ascii().is_empty() {
        b"{}"
    } else {
        body
    };
    serde_json::from_slice(text).map_err(|error| {
        Refused::BadRequest(format!("The request body is not understood: {error}"))
    })
}

/// The parameters of a query, decoded.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name, true), decode(value, true)))
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A number; one that cannot be read is none.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.get(name)?.parse().ok()
    }

    /// A comma list; blank items are no items.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let items = self.get(name).unwrap_or_default().split(',').map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// The segments of a path, decoded; slashes at the end do not count.
pub(crate) fn segments(path: &str) -> Vec<String> {
    path.trim_matches('/')
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| decode(segment, false))
        .collect()
}

/// Undoes percent-encoding (RFC 3986 2.1), and `+` for a space in queries. What is not valid stays as it is written.
fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while position < bytes.len() {
        match (bytes[position], escaped(&bytes[position..])) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                position += 2;
            }
            (b'+', _) if plus_is_space => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        position += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The byte that `%XX` at the start means.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let high = char::from(*bytes.get(1)?).to_digit(16)?;
    let low = char::from(*bytes.get(2)?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_survives_percent_encoding_and_any_bytes_are_read_without_harm(text: String, raw in "[ -~]{0,40}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&encoded, true), text);
            let _ = (Query::parse(Some(&raw)), segments(&raw));
        }
    }

    #[test]
    fn paths_and_queries_are_decoded_once() {
        assert_eq!(segments("/sync/_bridge/"), ["sync", "_bridge"]);
        assert_eq!(
            segments("/environments/a%2Fb%2520+c"),
            ["environments", "a/b%20+c"]
        );
        let query = Query::parse(Some(
            "hrids=dev%2Cqa, ,x&page=2&empty=&size=abc&name=a+b&bad=%zz%4",
        ));
        assert_eq!(query.list("hrids"), ["dev", "qa", "x"]);
        assert_eq!(
            (
                query.number("page"),
                query.number("size"),
                query.number("none")
            ),
            (Some(2), None, None)
        );
        assert_eq!(
            (query.get("name"), query.get("empty"), query.get("bad")),
            (Some("a b"), Some(""), Some("%zz%4"))
        );
    }

    #[test]
    fn a_small_body_that_inflates_to_a_large_one_is_refused() {
        use flate2::{Compression, write::GzEncoder};
        use std::io::Write as _;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b' '; 100_000]).expect("written");
        let bomb = encoder.finish().expect("compressed");
        assert!(bomb.len() < 1_000);
        assert_eq!(
            inflate(&bomb, 99_999),
            Err(Refused::TooLarge { bytes_max: 99_999 })
        );
        assert_eq!(inflate(&bomb, 100_000).expect("fits").len(), 100_000);
        assert!(matches!(
            inflate(b"hello", 100),
            Err(Refused::BadRequest(_))
        ));
    }
}
