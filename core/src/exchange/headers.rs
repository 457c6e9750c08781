//! Header fields that policies may change.

use crate::http::{HeaderBlock, Known};

/// Bytes of header text that an exchange may hold, received and added together: a policy that adds without end fails.
pub const HEADER_TEXT_BYTES_MAX: usize = 256 * 1_024;

/// One field. Offsets refer to the text of its [`Headers`].
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: (u32, u32),
    value: (u32, u32),
    known: Known,
    nominated: bool,
}

/// A header name or value that may not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is empty or holds a character that is not part of a token.
    #[error("the header name is not a token")]
    Name,
    /// The value holds a control character.
    #[error("the header value holds a control character")]
    Value,
    /// The fields together are larger than [`HEADER_TEXT_BYTES_MAX`].
    #[error("the header fields are too large")]
    TooLarge,
}

/// One field as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderField<'h> {
    /// Name as received or set.
    pub name: &'h [u8],
    /// Value.
    pub value: &'h [u8],
    /// The name, recognised.
    pub known: Known,
    /// Named by `Connection`: not forwarded.
    pub nominated: bool,
}

/// The header fields of a message, in order, names compared without case. A received head is copied in with one `memcpy`; what policies
/// add is appended. Reused from exchange to exchange, so that it allocates nothing once it has grown.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    text: Vec<u8>,
    fields: Vec<Entry>,
}

impl Headers {
    /// Forgets everything; keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
    }

    /// Takes over the fields of a parsed head, of which `bytes` are what it was parsed from.
    pub fn receive(&mut self, block: &HeaderBlock, bytes: &[u8]) {
        self.clear();
        self.text.extend_from_slice(bytes);
        self.fields.extend(block.iter().map(|field| Entry {
            name: (field.name.start() as u32, field.name.end() as u32),
            value: (field.value.start() as u32, field.value.end() as u32),
            known: field.known,
            nominated: field.nominated,
        }));
    }

    /// Adds the fields of a parsed head behind those that are here, without those that belong to the hop it came over: a `Connection` that
    /// is here was written by a policy.
    pub fn append_received(&mut self, block: &HeaderBlock, bytes: &[u8]) {
        let base = self.text.len() as u32;
        self.text.extend_from_slice(bytes);
        let passed = block
            .iter()
            .filter(|field| !field.nominated && !field.known.is_hop_by_hop());
        self.fields.extend(passed.map(|field| Entry {
            name: (
                base + field.name.start() as u32,
                base + field.name.end() as u32,
            ),
            value: (
                base + field.value.start() as u32,
                base + field.value.end() as u32,
            ),
            known: field.known,
            nominated: field.nominated,
        }));
    }

    /// A mark between the fields that are here and those that come later.
    pub fn mark(&self) -> usize {
        self.text.len()
    }

    /// Forgets the fields that were received or set since `mark` was made.
    pub fn forget_since(&mut self, mark: usize) {
        self.fields.retain(|entry| (entry.name.0 as usize) < mark);
        self.text.truncate(mark);
    }

    fn bytes(&self, span: (u32, u32)) -> &[u8] {
        &self.text[span.0 as usize..span.1 as usize]
    }

    fn is(&self, entry: &Entry, name: &[u8]) -> bool {
        (entry.name.1 - entry.name.0) as usize == name.len()
            && self.bytes(entry.name).eq_ignore_ascii_case(name)
    }

    /// Every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = HeaderField<'_>> {
        self.since(0)
    }

    /// The fields that were received or set since `mark` was made, in order.
    pub fn since(&self, mark: usize) -> impl Iterator<Item = HeaderField<'_>> {
        let later = self
            .fields
            .iter()
            .filter(move |entry| entry.name.0 as usize >= mark);
        later.map(|entry| HeaderField {
            name: self.bytes(entry.name),
            value: self.bytes(entry.value),
            known: entry.known,
            nominated: entry.nominated,
        })
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True when there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|entry| self.is(entry, name.as_bytes()))
            .map(|entry| self.bytes(entry.value))
    }

    /// The first value of a field as text; `None` when it is absent or not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of a field.
    pub fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.fields
            .iter()
            .filter(move |entry| self.is(entry, name.as_bytes()))
            .map(|entry| self.bytes(entry.value))
    }

    /// Whether a field is there.
    pub fn contains(&self, name: &str) -> bool {
        self.fields
            .iter()
            .any(|entry| self.is(entry, name.as_bytes()))
    }

    /// Removes every value of a field. True when there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.fields.len();
        let Self { text, fields } = self;
        fields.retain(|entry| {
            !text[entry.name.0 as usize..entry.name.1 as usize]
                .eq_ignore_ascii_case(name.as_bytes())
        });
        before != self.fields.len()
    }

    /// Keeps the fields that `keep` says, by name.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let Self { text, fields } = self;
        fields.retain(|entry| keep(&text[entry.name.0 as usize..entry.name.1 as usize]));
    }

    /// Replaces every value of a field by one.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeaderError> {
        self.check(name, value.as_ref())?;
        self.remove(name);
        self.push(name, value.as_ref());
        Ok(())
    }

    /// Adds a value to a field.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeaderError> {
        self.check(name, value.as_ref())?;
        self.push(name, value.as_ref());
        Ok(())
    }

    fn check(&self, name: &str, value: &[u8]) -> Result<(), HeaderError> {
        if !is_token(name.as_bytes()) {
            return Err(HeaderError::Name);
        }
        if !is_field_value(value) {
            return Err(HeaderError::Value);
        }
        if self.text.len() + name.len() + value.len() > HEADER_TEXT_BYTES_MAX {
            return Err(HeaderError::TooLarge);
        }
        Ok(())
    }

    fn push(&mut self, name: &str, value: &[u8]) {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(name.as_bytes());
        let middle = self.text.len() as u32;
        self.text.extend_from_slice(value);
        self.fields.push(Entry {
            name: (start, middle),
            value: (middle, self.text.len() as u32),
            known: Known::of(name.as_bytes()),
            nominated: false,
        });
    }
}

/// Bytes of a token (RFC 9110 5.6.2).
const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Whether these bytes are a header name (RFC 9110 5.6.2).
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| TOKEN_BYTES[usize::from(*byte)])
}

/// Whether these bytes may be sent as a header value: no control character but the tab.
pub fn is_field_value(value: &[u8]) -> bool {
    // Without a way out of the loop, many bytes are looked at at once.
    let forbidden = |byte: u8| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f);
    !value.iter().fold(false, |any, byte| any | forbidden(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_replaced_and_removed_whatever_its_letter_case() {
        let mut headers = Headers::default();
        headers.add("X-A", "1").expect("a field");
        headers.add("x-a", "2").expect("a field");
        headers.add("X-B", "3").expect("a field");
        assert_eq!(headers.get("X-a"), Some(&b"1"[..]));
        assert_eq!(headers.values("x-A").count(), 2);
        headers.set("X-A", "4").expect("a field");
        assert_eq!(headers.values("x-a").collect::<Vec<_>>(), [b"4"]);
        assert!(headers.remove("x-b") && !headers.remove("x-b"));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn what_would_end_a_line_is_not_taken() {
        let mut headers = Headers::default();
        for value in ["a\r\nX: y", "a\nb", "a\0b", "a\u{7f}"] {
            assert_eq!(
                headers.set("X", value),
                Err(HeaderError::Value),
                "{value:?}"
            );
        }
        for name in ["", "a b", "a:b", "é"] {
            assert_eq!(headers.add(name, "v"), Err(HeaderError::Name), "{name:?}");
        }
        assert!(headers.is_empty());
    }

    #[test]
    fn the_text_is_bounded() {
        let mut headers = Headers::default();
        let value = vec![b'v'; 1_000];
        let mut added = 0;
        while headers.add("X", &value).is_ok() {
            added += 1;
        }
        assert_eq!(added, HEADER_TEXT_BYTES_MAX / 1_001);
    }
}
