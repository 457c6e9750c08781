//! The binary form of a licence (contract sync 8.1): a magic number, then features, each with its length before it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

/// Largest licence that is read.
pub const LICENSE_BYTES_MAX: usize = 64 << 10;
const FEATURES_MAX: usize = 1_000;
const MAGIC: [u8; 4] = [0x21, 0xce, 0x4e, 0x5e];

/// The value of a feature.
#[derive(Debug, Clone, PartialEq)]
pub enum Feature {
    /// Bytes: a signature, or a number of arbitrary size.
    Binary(Vec<u8>),
    /// Text.
    Text(String),
    /// A whole number of any width up to 64 bits.
    Integer(i64),
    /// A floating-point number of either width.
    Float(f64),
    /// A moment, Unix milliseconds.
    Date(i64),
    /// A UUID.
    Uuid(Uuid),
}

impl Feature {
    /// The value as the reference shows it: bytes in base64, a date in UTC.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Binary(bytes) => STANDARD.encode(bytes),
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Date(ms) => jiff::Timestamp::from_millisecond(*ms).map_or_else(
                |_| ms.to_string(),
                |time| time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
            ),
            Self::Uuid(uuid) => uuid.to_string(),
        }
    }
}

/// Why bytes are no licence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FormatError {
    #[error("expected at most {LICENSE_BYTES_MAX} bytes, found more")]
    TooLarge,
    #[error("expected the magic number of a licence at the beginning")]
    Magic,
    #[error("expected at most {FEATURES_MAX} features, found more")]
    TooMany,
    #[error("expected {expected} more bytes at byte {at}, found {found}")]
    Short {
        at: usize,
        expected: usize,
        found: usize,
    },
    #[error("expected a type from 1 to 12 in the feature before byte {at}, found {found}")]
    Type { at: usize, found: u32 },
    #[error("expected UTF-8 in the feature before byte {at}")]
    Text { at: usize },
    #[error(
        "expected the lengths inside a feature to fill it, found {rest} bytes more before byte {at}"
    )]
    Rest { at: usize, rest: usize },
}

/// Reads a licence. A name that comes twice keeps its last value.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Feature>, FormatError> {
    if bytes.len() > LICENSE_BYTES_MAX {
        return Err(FormatError::TooLarge);
    }
    let mut reader = Reader {
        bytes: bytes.strip_prefix(&MAGIC).ok_or(FormatError::Magic)?,
        at: MAGIC.len(),
    };
    let mut features = BTreeMap::new();
    let mut count = 0;
    while !reader.bytes.is_empty() {
        count += 1;
        if count > FEATURES_MAX {
            return Err(FormatError::TooMany);
        }
        let length = reader.length()?;
        let begin = reader.at;
        let mut inner = Reader {
            bytes: reader.take(length)?,
            at: begin,
        };
        let (name, feature) = inner.feature()?;
        if !inner.bytes.is_empty() {
            return Err(FormatError::Rest {
                at: inner.at,
                rest: inner.bytes.len(),
            });
        }
        features.insert(name, feature);
    }
    Ok(features)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let short = FormatError::Short {
            at: self.at,
            expected: length,
            found: self.bytes.len(),
        };
        let (head, rest) = self.bytes.split_at_checked(length).ok_or(short)?;
        self.bytes = rest;
        self.at += length;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A length; a negative one is read as one that no licence can hold.
    fn length(&mut self) -> Result<usize, FormatError> {
        Ok(self.u32()? as usize)
    }

    fn feature(&mut self) -> Result<(String, Feature), FormatError> {
        let kind = self.u32()?;
        let name_length = self.length()?;
        let is_variable = matches!(kind, 1 | 2 | 9 | 10);
        let value_length = if is_variable { self.length()? } else { 0 };
        let name = self.text(name_length)?;
        let feature = match kind {
            1 | 9 | 10 => Feature::Binary(self.take(value_length)?.to_vec()),
            2 => Feature::Text(self.text(value_length)?),
            3 => Feature::Integer(i64::from(i8::from_be_bytes(self.array()?))),
            4 => Feature::Integer(i64::from(i16::from_be_bytes(self.array()?))),
            5 => Feature::Integer(i64::from(i32::from_be_bytes(self.array()?))),
            6 => Feature::Integer(i64::from_be_bytes(self.array()?)),
            7 => Feature::Float(f64::from(f32::from_be_bytes(self.array()?))),
            8 => Feature::Float(f64::from_be_bytes(self.array()?)),
            11 => Feature::Date(i64::from_be_bytes(self.array()?)),
            12 => {
                let low = u64::from_be_bytes(self.array()?);
                let high = u64::from_be_bytes(self.array()?);
                Feature::Uuid(Uuid::from_u64_pair(high, low))
            }
            found => return Err(FormatError::Type { at: self.at, found }),
        };
        Ok((name, feature))
    }

    fn text(&mut self, length: usize) -> Result<String, FormatError> {
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| FormatError::Text { at: self.at })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A licence of these features: type, name, value.
    pub(in crate::license) fn binary(features: &[(u32, &str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (kind, name, value) in features {
            let mut feature = kind.to_be_bytes().to_vec();
            feature.extend((name.len() as u32).to_be_bytes());
            if matches!(kind, 1 | 2 | 9 | 10) {
                feature.extend((value.len() as u32).to_be_bytes());
            }
            feature.extend(name.as_bytes());
            feature.extend(value);
            bytes.extend((feature.len() as u32).to_be_bytes());
            bytes.extend(feature);
        }
        bytes
    }

    pub(in crate::license) fn sample() -> Vec<u8> {
        binary(&[
            (5, "count", (-7_i32).to_be_bytes().to_vec()),
            (8, "double", 0.5_f64.to_be_bytes().to_vec()),
            (12, "id", (0..16).collect()),
            (2, "tier", "universe é".as_bytes().to_vec()),
        ])
    }

    #[test]
    fn features_of_each_kind_are_read() {
        let features = read(&sample()).expect("a licence");
        assert_eq!(features["count"], Feature::Integer(-7));
        assert_eq!(features["double"], Feature::Float(0.5));
        assert_eq!(features["tier"], Feature::Text("universe é".to_owned()));
        assert_eq!(
            features["id"].text(),
            "08090a0b-0c0d-0e0f-0001-020304050607",
            "low half first"
        );
        assert_eq!(read(&MAGIC), Ok(BTreeMap::new()));
    }

    #[test]
    fn what_is_no_licence_is_refused_with_its_place() {
        let with_rest = binary(&[(3, "a", vec![1, 2])]);
        let cases = [
            (Vec::new(), FormatError::Magic),
            (b"PK\x03\x04".to_vec(), FormatError::Magic),
            (vec![0; LICENSE_BYTES_MAX + 1], FormatError::TooLarge),
            (
                [&MAGIC[..], &[0xff; 4]].concat(),
                FormatError::Short {
                    at: 8,
                    expected: 0xffff_ffff,
                    found: 0,
                },
            ),
            (
                binary(&[(13, "a", vec![])]),
                FormatError::Type { at: 17, found: 13 },
            ),
            (
                binary(&[(2, "a", vec![0xff])]),
                FormatError::Text { at: 22 },
            ),
            (with_rest, FormatError::Rest { at: 18, rest: 1 }),
            (
                binary(&vec![(3, "a", vec![1]); FEATURES_MAX + 1]),
                FormatError::TooMany,
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(&bytes), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn a_cut_or_changed_licence_never_panics(at in 0_usize..100, byte: u8, cut in 0_usize..100) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes);
            bytes.truncate(cut % bytes.len());
            let _ = read(&bytes);
        }
    }

    #[test]
    fn the_published_sample_is_read_when_it_is_there() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../shared/contracts/samples/sync");
        let found = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with("13"));
        let Some(file) = found else {
            eprintln!("skipped: no licence sample in {}", folder.display());
            return;
        };
        let text = std::fs::read_to_string(file.path()).expect("text");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let shape = &json["managementEndpoint"]["responseBodyShape"];
        let mut seen = 0;
        visit(&json, &mut |text| {
            if text.starts_with("Ic5OX") {
                let license = crate::license::License::from_base64(text);
                assert_eq!(license.problem(), None);
                let shown = license.attributes(0);
                for (name, value) in shape
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(name, _)| *name != "licenseSignature")
                {
                    assert_eq!(
                        shown.get(name).map(String::as_str),
                        value.as_str(),
                        "{name}"
                    );
                }
                seen += 1;
            }
        });
        assert!(seen > 0, "no licence in {}", file.path().display());
    }

    fn visit(value: &serde_json::Value, take: &mut impl FnMut(&str)) {
        match value {
            serde_json::Value::String(text) => take(text),
            serde_json::Value::Array(items) => items.iter().for_each(|item| visit(item, take)),
            serde_json::Value::Object(members) => {
                members.values().for_each(|item| visit(item, take))
            }
            _ => {}
        }
    }
}
