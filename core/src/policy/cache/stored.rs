//! A response as a cache holds it: the binary frame of newer gateways, and the JSON text of older ones (contract policies 8.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// How entries of a shared cache are written (`policy.cache.serialization`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Format {
    /// JSON with the body as text, as gateways up to 4.8 write it.
    #[default]
    Text,
    /// JSON with the body in base64.
    Binary,
    /// The binary frame, as gateways with version 4 of the policy write it.
    Frame,
}

impl Format {
    /// The format of a setting's value; any letter case.
    pub(super) fn of(setting: &str) -> Option<Self> {
        match setting.trim().to_ascii_uppercase().as_str() {
            "" | "TEXT" => Some(Self::Text),
            "BINARY" => Some(Self::Binary),
            "FRAME" => Some(Self::Frame),
            _ => None,
        }
    }
}

/// A stored response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

/// First byte of the binary frame.
const FRAME_VERSION: u8 = 1;

/// Reads integers and slices off the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

impl Stored {
    /// Writes the entry. `None` when it does not fit the format.
    pub(super) fn write(&self, format: Format) -> Option<Vec<u8>> {
        match format {
            Format::Frame => self.write_frame(),
            Format::Text | Format::Binary => self.write_json(format),
        }
    }

    /// Reads an entry in any format. `legacy` is the format in which JSON entries are written.
    pub(super) fn read(bytes: &[u8], legacy: Format) -> Option<Self> {
        let stored = match bytes.first()? {
            &FRAME_VERSION => Self::read_frame(bytes)?,
            _ => Self::read_json(bytes, legacy)?,
        };
        (100..=999).contains(&stored.status).then_some(stored)
    }

    fn write_frame(&self) -> Option<Vec<u8>> {
        let mut block = Vec::with_capacity(256);
        block.extend_from_slice(&u16::try_from(self.headers.len()).ok()?.to_be_bytes());
        for (name, value) in &self.headers {
            block.extend_from_slice(&u16::try_from(name.len()).ok()?.to_be_bytes());
            block.extend_from_slice(name.as_bytes());
            block.extend_from_slice(&u32::try_from(value.len()).ok()?.to_be_bytes());
            block.extend_from_slice(value);
        }
        let mut frame = Vec::with_capacity(7 + block.len() + self.body.len());
        frame.push(FRAME_VERSION);
        frame.extend_from_slice(&self.status.to_be_bytes());
        frame.extend_from_slice(&u32::try_from(block.len()).ok()?.to_be_bytes());
        frame.extend_from_slice(&block);
        frame.extend_from_slice(&self.body);
        Some(frame)
    }

    fn read_frame(bytes: &[u8]) -> Option<Self> {
        let mut frame = Reader(bytes);
        frame.take(1)?;
        let status = frame.u16()?;
        let length = frame.u32()? as usize;
        let mut block = Reader(frame.take(length)?);
        let count = block.u16()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let length = block.u16()? as usize;
            let name = std::str::from_utf8(block.take(length)?).ok()?.to_owned();
            let length = block.u32()? as usize;
            headers.push((name, block.take(length)?.to_vec()));
        }
        block.0.is_empty().then(|| Self {
            status,
            headers,
            body: frame.0.to_vec(),
        })
    }

    /// Whether older gateways store such a body in base64.
    fn is_binary(&self) -> bool {
        let content_type = self
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase());
        content_type.is_some_and(|content_type| {
            content_type == "application/octet-stream" || content_type.starts_with("image/")
        })
    }

    fn write_json(&self, format: Format) -> Option<Vec<u8>> {
        let mut headers = Map::new();
        for (name, value) in &self.headers {
            let value = Value::String(std::str::from_utf8(value).ok()?.to_owned());
            let known = headers
                .keys()
                .find(|known| known.eq_ignore_ascii_case(name))
                .cloned();
            match headers.entry(known.unwrap_or_else(|| name.clone())) {
                serde_json::map::Entry::Occupied(mut entry) => {
                    entry.get_mut().as_array_mut()?.push(value);
                }
                serde_json::map::Entry::Vacant(entry) => {
                    entry.insert(Value::Array(vec![value]));
                }
            }
        }
        let body = match (format, self.is_binary()) {
            (Format::Binary, true) => STANDARD.encode(STANDARD.encode(&self.body)),
            (Format::Binary, false) => STANDARD.encode(&self.body),
            (_, true) => STANDARD.encode(&self.body),
            (_, false) => std::str::from_utf8(&self.body).ok()?.to_owned(),
        };
        let entry = serde_json::json!({
            "status": self.status,
            "headers": headers,
            "content": {"buffer": body},
        });
        serde_json::to_vec_pretty(&entry).ok()
    }

    fn read_json(bytes: &[u8], legacy: Format) -> Option<Self> {
        let entry: Value = serde_json::from_slice(bytes).ok()?;
        let status = u16::try_from(entry.get("status")?.as_u64()?).ok()?;
        let mut headers = Vec::new();
        for (name, values) in entry.get("headers").and_then(Value::as_object)? {
            let values = values
                .as_array()
                .map_or_else(|| std::slice::from_ref(values), Vec::as_slice);
            for value in values {
                headers.push((name.clone(), value.as_str()?.as_bytes().to_vec()));
            }
        }
        let mut stored = Self {
            status,
            headers,
            body: Vec::new(),
        };
        let buffer = match entry.get("content") {
            None | Some(Value::Null) => None,
            Some(content) => content.get("buffer").and_then(Value::as_str),
        };
        if let Some(buffer) = buffer {
            let mut body = buffer.as_bytes().to_vec();
            if legacy == Format::Binary {
                body = STANDARD.decode(body).ok()?;
            }
            if stored.is_binary() {
                body = STANDARD.decode(body).ok()?;
            }
            stored.body = body;
        }
        Some(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(content_type: &str, body: &[u8]) -> Stored {
        Stored {
            status: 203,
            headers: vec![
                ("Content-Type".to_owned(), content_type.as_bytes().to_vec()),
                ("X-A".to_owned(), b"1".to_vec()),
                ("X-A".to_owned(), b"2".to_vec()),
            ],
            body: body.to_vec(),
        }
    }

    #[test]
    fn every_format_gives_back_what_was_stored() {
        for stored in [
            sample("text/plain", "täxt".as_bytes()),
            sample("image/png", &[0xff, 0, 1]),
            sample("application/octet-stream", &[0xff, 0, 1]),
        ] {
            for format in [Format::Text, Format::Binary, Format::Frame] {
                let bytes = stored.write(format).expect("an entry");
                assert_eq!(
                    Stored::read(&bytes, format).as_ref(),
                    Some(&stored),
                    "{format:?}"
                );
            }
        }
    }

    #[test]
    fn entries_look_as_other_gateways_write_them() {
        let text = sample("text/plain", b"body")
            .write(Format::Text)
            .expect("an entry");
        let text: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(
            text,
            serde_json::json!({
                "status": 203,
                "headers": {"Content-Type": ["text/plain"], "X-A": ["1", "2"]},
                "content": {"buffer": "body"},
            })
        );
        let image = sample("image/png", b"body")
            .write(Format::Text)
            .expect("an entry");
        let image: Value = serde_json::from_slice(&image).expect("JSON");
        assert_eq!(image["content"]["buffer"], "Ym9keQ==");
        let frame = Stored {
            status: 200,
            headers: vec![("A".to_owned(), b"bc".to_vec())],
            body: b"!".to_vec(),
        };
        assert_eq!(
            frame.write(Format::Frame).as_deref(),
            Some(&b"\x01\x00\xc8\x00\x00\x00\x0b\x00\x01\x00\x01A\x00\x00\x00\x02bc!"[..])
        );
    }

    #[test]
    fn a_text_entry_never_holds_less_than_the_answer() {
        let mut odd_header = sample("text/plain", b"body");
        odd_header
            .headers
            .push(("X-B".to_owned(), b"\xe9".to_vec()));
        let odd_body = sample("text/plain", &[0xff, 0, 1]);
        for odd in [odd_header, odd_body] {
            assert_eq!(odd.write(Format::Text), None, "{odd:?}");
            let frame = odd.write(Format::Frame).expect("a frame");
            assert_eq!(Stored::read(&frame, Format::Text), Some(odd));
        }
        let body = sample("text/plain", &[0xff, 0, 1]);
        let entry = body.write(Format::Binary).expect("an entry");
        assert_eq!(Stored::read(&entry, Format::Binary), Some(body));
    }

    #[test]
    fn what_cannot_be_read_is_no_entry() {
        for bytes in [
            &b""[..],
            b"\x01\x00",
            b"\x01\x00\xc8\xff\xff\xff\xff\x00",
            b"\x01\x00\xc8\x00\x00\x00\x03\x00\x00!",
            b"{}",
            b"[]",
            b"not JSON",
            b"{\"status\": 70000, \"headers\": {}}",
            b"{\"status\": 7, \"headers\": {}}",
            b"{\"status\": 200, \"headers\": {\"a\": [1]}}",
            b"{\"status\":200,\"headers\":{\"Content-Type\":[\"image/png\"]},\"content\":{\"buffer\":\"?\"}}",
        ] {
            assert_eq!(Stored::read(bytes, Format::Text), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stored::read(&bytes, Format::Text);
            let mut frame = vec![FRAME_VERSION];
            frame.extend_from_slice(&bytes);
            let _ = Stored::read(&frame, Format::Binary);
        }

        #[test]
        fn a_frame_gives_back_what_was_stored(
            status in 100_u16..1000,
            headers in proptest::collection::vec(("[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..9)), 0..9),
            body in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let stored = Stored { status, headers, body };
            let frame = stored.write(Format::Frame).expect("a frame");
            prop_assert_eq!(Stored::read(&frame, Format::Text), Some(stored));
        }
    }
}
