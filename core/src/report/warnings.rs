//! Warnings of a record: borrowed from the exchange on the worker, from the ring on the control thread.

use super::{Reader, put_text};
use crate::exchange::{WARNINGS_MAX, Warning};

/// Longer keys are cut in the report (bytes).
pub const WARNING_KEY_BYTES_MAX: usize = 128;
/// Longer messages are cut in the report (bytes).
pub const WARNING_MESSAGE_BYTES_MAX: usize = 1_024;

/// What went wrong without failing the request: pairs of key and message, at most [`WARNINGS_MAX`].
#[derive(Clone, Copy)]
pub struct Warnings<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Kept(&'a [Warning]),
    /// Checked when it was decoded.
    Encoded(&'a [u8]),
}

impl<'a> Warnings<'a> {
    /// The warnings that an exchange kept.
    pub fn of(kept: &'a [Warning]) -> Self {
        Self(Source::Kept(&kept[..kept.len().min(WARNINGS_MAX)]))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        match self.0 {
            Source::Kept(kept) => kept.is_empty(),
            Source::Encoded(bytes) => bytes.is_empty(),
        }
    }

    /// Keys and messages, in the order in which they came up.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let (mut kept, mut encoded) = match self.0 {
            Source::Kept(kept) => (kept.iter(), Reader(&[])),
            Source::Encoded(bytes) => ([].iter(), Reader(bytes)),
        };
        std::iter::from_fn(move || {
            if let Some(warning) = kept.next() {
                return Some((&*warning.key, &*warning.message));
            }
            Some((encoded.text()?, encoded.text()?))
        })
    }

    /// Their number in one byte, then each text with a two-byte length.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.iter().count() as u8);
        for (key, message) in self.iter() {
            put_text(out, key, WARNING_KEY_BYTES_MAX);
            put_text(out, message, WARNING_MESSAGE_BYTES_MAX);
        }
    }

    /// What [`Self::encode`] never writes is refused.
    pub(super) fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let [count] = reader.array()?;
        if usize::from(count) > WARNINGS_MAX {
            return None;
        }
        let bytes = reader.0;
        for _ in 0..count {
            let (key, message) = (reader.text()?, reader.text()?);
            if key.len() > WARNING_KEY_BYTES_MAX || message.len() > WARNING_MESSAGE_BYTES_MAX {
                return None;
            }
        }
        let (warnings, _) = bytes.split_at_checked(bytes.len() - reader.0.len())?;
        Some(Self(Source::Encoded(warnings)))
    }
}

impl Default for Warnings<'_> {
    fn default() -> Self {
        Self(Source::Kept(&[]))
    }
}

impl PartialEq for Warnings<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Warnings<'_> {}

impl std::fmt::Debug for Warnings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_written_is_not_read() {
        let encoded = |count: usize, key: usize, message: usize| {
            let mut bytes = vec![count as u8];
            for _ in 0..count {
                for length in [key, message] {
                    bytes.extend_from_slice(&(length as u16).to_le_bytes());
                    bytes.resize(bytes.len() + length, b'x');
                }
            }
            bytes
        };
        let (key, message) = (WARNING_KEY_BYTES_MAX, WARNING_MESSAGE_BYTES_MAX);
        for (bytes, readable) in [
            (encoded(0, 0, 0), true),
            (encoded(WARNINGS_MAX, key, message), true),
            (encoded(WARNINGS_MAX + 1, 1, 1), false),
            (encoded(1, key + 1, 1), false),
            (encoded(1, 1, message + 1), false),
        ] {
            let read = Warnings::decode(&mut Reader(&bytes));
            assert_eq!(read.is_some(), readable);
            if let Some(warnings) = read {
                let mut again = Vec::new();
                warnings.encode(&mut again);
                assert_eq!(again, bytes, "one encoding only");
            }
        }
    }
}
