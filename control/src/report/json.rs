//! Writes JSON members straight into a byte buffer: no tree, no allocation per value.

/// An object under construction in `out`. Members are written in call order; the caller does not repeat a name.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    /// A text, also when it is empty. Names are ours and need no escaping.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.push(b'"');
        escape(self.out, value);
        self.out.push(b'"');
    }

    /// A text, left out when it is empty: an empty text stands for null in a record.
    pub(crate) fn text_if_any(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.text(name, value);
        }
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        decimal(self.out, value);
    }

    /// A list of objects, each written by `write`.
    pub(crate) fn objects<T>(
        &mut self,
        name: &str,
        items: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut Object<'_>, T),
    ) {
        self.name(name);
        self.out.push(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let mut object = Object::begin(self.out);
            write(&mut object, item);
            object.end();
        }
        self.out.push(b']');
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// Appends `value` with the escapes that RFC 8259 section 7 demands and no others. Runs of plain bytes are copied whole.
fn escape(out: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    // Nearly every text is plain. Without a way out of the loop, many bytes are looked at at once.
    let special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if !bytes.iter().fold(false, |any, byte| any | special(*byte)) {
        out.extend_from_slice(bytes);
        return;
    }
    let mut plain_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain_from..at]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
        plain_from = at + 1;
    }
    out.extend_from_slice(&bytes[plain_from..]);
}

/// Appends a number in decimal.
fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_and_number_reads_back_the_same_with_an_independent_parser(text: String, number: u64) {
            let mut out = Vec::new();
            let mut object = Object::begin(&mut out);
            object.text("text", &text);
            object.number("number", number);
            object.end();
            let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(read, serde_json::json!({ "text": text, "number": number }));
        }
    }

    #[test]
    fn control_characters_and_quotes_are_escaped_and_other_text_is_copied() {
        let mut out = Vec::new();
        escape(&mut out, "a\"b\\c\n\r\t\u{1}\u{1f}é/\u{7f}");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "a\\\"b\\\\c\\n\\r\\t\\u0001\\u001fé/\u{7f}"
        );
    }

    #[test]
    fn an_empty_text_is_left_out_where_it_stands_for_null() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.text_if_any("absent", "");
        object.text("present", "");
        object.end();
        assert_eq!(out, br#"{"present":""}"#);
    }
}
