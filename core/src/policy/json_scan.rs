//! A scanner of JSON text that builds nothing: it counts what limits are set on (contract policies 14, `json-threat-protection`).

use std::collections::HashSet;
use std::hash::BuildHasher;

/// Levels of nesting that any text may have, whatever the limits.
const NESTING_MAX: usize = 1_000;

/// Limits on a JSON text; `None` sets no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonLimits {
    /// Members of one object.
    pub entries_max: Option<usize>,
    /// Elements of one array.
    pub array_max: Option<usize>,
    /// Levels of nesting.
    pub depth_max: Option<usize>,
    /// UTF-16 units of a member's name.
    pub name_max: Option<usize>,
    /// UTF-16 units of a text, or characters of a number.
    pub value_max: Option<usize>,
    /// Refuse objects with two members of one name.
    pub unique_names: bool,
}

/// Why a JSON text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonThreat {
    /// It is not JSON.
    #[error("the text is not JSON at byte {0}")]
    Syntax(usize),
    /// An object has two members of one name.
    #[error("an object has two members of one name")]
    DuplicateName,
    /// Nested too deeply.
    #[error("too deeply nested")]
    Depth,
    /// An object has too many members.
    #[error("an object has too many members")]
    Entries,
    /// An array has too many elements.
    #[error("an array has too many elements")]
    ArraySize,
    /// A name is too long.
    #[error("a name is too long")]
    NameLength,
    /// A value is too long.
    #[error("a value is too long")]
    ValueLength,
}

/// Hashes of names: equal names have equal hashes, and two different names of one object share one with a chance of 2⁻⁶⁴ per pair, under
/// a seed that clients do not know.
type Names = HashSet<u64, foldhash::fast::FixedState>;

enum Open {
    Object { entries: usize, names: Names },
    Array { elements: usize },
}

struct Scanner<'t, S> {
    bytes: &'t [u8],
    at: usize,
    limits: JsonLimits,
    hasher: S,
}

/// Scans a text. Several values may follow each other, as the reference's parser has it; an empty text is fine.
pub fn scan(bytes: &[u8], limits: &JsonLimits) -> Result<(), JsonThreat> {
    let mut scanner = Scanner {
        bytes: bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes),
        at: 0,
        limits: *limits,
        hasher: foldhash::quality::RandomState::default(),
    };
    loop {
        scanner.space();
        if scanner.at == scanner.bytes.len() {
            return Ok(());
        }
        scanner.value()?;
    }
}

impl<S: BuildHasher> Scanner<'_, S> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn syntax<T>(&self) -> Result<T, JsonThreat> {
        Err(JsonThreat::Syntax(self.at))
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonThreat> {
        if self.peek() != Some(byte) {
            return self.syntax();
        }
        self.at += 1;
        Ok(())
    }

    /// One value, with a stack of its own instead of recursion.
    fn value(&mut self) -> Result<(), JsonThreat> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.space();
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    self.deeper(open.len() + 1)?;
                    self.space();
                    let mut object = Open::Object {
                        entries: 0,
                        names: Names::default(),
                    };
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                    } else {
                        self.entry(&mut object)?;
                        open.push(object);
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    self.deeper(open.len() + 1)?;
                    self.space();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                    } else {
                        let mut array = Open::Array { elements: 0 };
                        self.element(&mut array)?;
                        open.push(array);
                        continue;
                    }
                }
                Some(b'"') => self.string(self.limits.value_max, JsonThreat::ValueLength, None)?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return self.syntax(),
            }
            // A value has ended: so may what it stands in.
            loop {
                let Some(innermost) = open.last_mut() else {
                    return Ok(());
                };
                self.space();
                match (self.peek(), &mut *innermost) {
                    (Some(b','), Open::Object { .. }) => {
                        self.at += 1;
                        self.space();
                        self.entry(innermost)?;
                        break;
                    }
                    (Some(b','), Open::Array { .. }) => {
                        self.at += 1;
                        self.element(innermost)?;
                        break;
                    }
                    (Some(b'}'), Open::Object { .. }) | (Some(b']'), Open::Array { .. }) => {
                        self.at += 1;
                        open.pop();
                    }
                    _ => return self.syntax(),
                }
            }
        }
    }

    fn deeper(&self, depth: usize) -> Result<(), JsonThreat> {
        if depth > NESTING_MAX || self.limits.depth_max.is_some_and(|max| depth > max) {
            return Err(JsonThreat::Depth);
        }
        Ok(())
    }

    /// The name of a member and its colon.
    fn entry(&mut self, object: &mut Open) -> Result<(), JsonThreat> {
        let Open::Object { entries, names } = object else {
            return self.syntax();
        };
        *entries += 1;
        if self.limits.entries_max.is_some_and(|max| *entries > max) {
            return Err(JsonThreat::Entries);
        }
        let mut name = Vec::new();
        let wanted = self.limits.unique_names.then_some(&mut name);
        self.string(self.limits.name_max, JsonThreat::NameLength, wanted)?;
        if self.limits.unique_names && !names.insert(self.hasher.hash_one(&name)) {
            return Err(JsonThreat::DuplicateName);
        }
        self.space();
        self.expect(b':')
    }

    fn element(&self, array: &mut Open) -> Result<(), JsonThreat> {
        if let Open::Array { elements } = array {
            *elements += 1;
            if self.limits.array_max.is_some_and(|max| *elements > max) {
                return Err(JsonThreat::ArraySize);
            }
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), JsonThreat> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.syntax();
        }
        self.at += word.len();
        self.delimited()
    }

    /// A word or number ends where something else begins.
    fn delimited(&self) -> Result<(), JsonThreat> {
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'}') => Ok(()),
            Some(_) => self.syntax(),
        }
    }

    fn digits(&mut self) -> Result<(), JsonThreat> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return self.syntax();
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonThreat> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if self
            .limits
            .value_max
            .is_some_and(|max| self.at - start > max)
        {
            return Err(JsonThreat::ValueLength);
        }
        self.delimited()
    }

    /// A text: its length is checked, and its characters are handed out decoded when they are asked for.
    fn string(
        &mut self,
        max: Option<usize>,
        too_long: JsonThreat,
        mut wanted: Option<&mut Vec<u8>>,
    ) -> Result<(), JsonThreat> {
        self.expect(b'"')?;
        let mut units = 0_usize;
        let mut surrogate: Option<u32> = None;
        loop {
            let start = self.at;
            let Some(byte) = self.peek() else {
                return self.syntax();
            };
            let (length, escaped) = match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    let (length, unit) = self.escape()?;
                    (length, Some(unit))
                }
                0..0x20 => return self.syntax(),
                0x20..0x80 => (1, None),
                _ => (self.character()?, None),
            };
            self.at += length;
            units += if length == 4 && escaped.is_none() {
                2
            } else {
                1
            };
            if max.is_some_and(|max| units > max) {
                return Err(too_long);
            }
            let Some(name) = wanted.as_deref_mut() else {
                continue;
            };
            match escaped {
                None => name.extend_from_slice(&self.bytes[start..self.at]),
                Some(unit) => {
                    // A pair of surrogates is the same character as its four bytes.
                    let pair = surrogate
                        .take()
                        .filter(|_| (0xdc00..0xe000).contains(&unit));
                    let code = match pair {
                        Some(high) => {
                            name.truncate(name.len().saturating_sub(3));
                            0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00)
                        }
                        None => unit,
                    };
                    if (0xd800..0xdc00).contains(&unit) {
                        surrogate = Some(unit);
                    }
                    push(name, code);
                    continue;
                }
            }
            surrogate = None;
        }
    }

    /// Length and unit of the escape at hand.
    fn escape(&self) -> Result<(usize, u32), JsonThreat> {
        let unit = match self.bytes.get(self.at + 1) {
            Some(b'"') => 0x22,
            Some(b'\\') => 0x5c,
            Some(b'/') => 0x2f,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => 0x0a,
            Some(b'r') => 0x0d,
            Some(b't') => 0x09,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
                let mut unit = 0;
                for digit in digits {
                    match (*digit as char).to_digit(16) {
                        Some(digit) => unit = unit * 16 + digit,
                        None => return self.syntax(),
                    }
                }
                return if digits.len() == 4 {
                    Ok((6, unit))
                } else {
                    self.syntax()
                };
            }
            _ => return self.syntax(),
        };
        Ok((2, unit))
    }

    /// Length of the UTF-8 character at hand.
    fn character(&self) -> Result<usize, JsonThreat> {
        let rest = &self.bytes[self.at..];
        for length in 2..=4 {
            if rest
                .get(..length)
                .is_some_and(|bytes| std::str::from_utf8(bytes).is_ok())
            {
                return Ok(length);
            }
        }
        self.syntax()
    }
}

/// Appends a code as UTF-8 would have it, also where it is half of a surrogate pair.
fn push(name: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(character) => {
            let mut buffer = [0; 4];
            name.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        }
        None => name.extend_from_slice(&[
            0xe0 | (code >> 12) as u8,
            0x80 | (code >> 6 & 0x3f) as u8,
            0x80 | (code & 0x3f) as u8,
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIVE: JsonLimits = JsonLimits {
        entries_max: Some(5),
        array_max: Some(5),
        depth_max: Some(5),
        name_max: Some(5),
        value_max: Some(5),
        unique_names: true,
    };

    #[test]
    fn every_limit_is_kept() {
        for (text, expected) in [
            ("", Ok(())),
            ("  ", Ok(())),
            (r#"{"a":[1,-2.5,"x",true,null]}"#, Ok(())),
            (r#"{"abcde":"abcde"}"#, Ok(())),
            (r#"{"abcdef":1}"#, Err(JsonThreat::NameLength)),
            (r#"{"a":"abcdef"}"#, Err(JsonThreat::ValueLength)),
            (r#"{"a":123456}"#, Err(JsonThreat::ValueLength)),
            (r#"{"a":"éééé😀"}"#, Err(JsonThreat::ValueLength)),
            (r#"{"a":"ééé😀"}"#, Ok(())),
            (r#"{"a":"\u0041\n\n\n\n"}"#, Ok(())),
            (r#"{"a":1,"b":1,"c":1,"d":1,"e":1}"#, Ok(())),
            (
                r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}"#,
                Err(JsonThreat::Entries),
            ),
            ("[1,2,3,4,5]", Ok(())),
            ("[1,2,3,4,5,6]", Err(JsonThreat::ArraySize)),
            ("[{},{},{},{},{},{}]", Err(JsonThreat::ArraySize)),
            ("[[1,2,3,4,5,6]]", Err(JsonThreat::ArraySize)),
            (r#"{"a":{"a":{"a":{"a":{}}}}}"#, Ok(())),
            (r#"{"a":{"a":{"a":{"a":{"a":1}}}}}"#, Ok(())),
            (
                r#"{"a":{"a":{"a":{"a":{"a":{}}}}}}"#,
                Err(JsonThreat::Depth),
            ),
            ("[[[[[]]]]]", Ok(())),
            ("[[[[[[]]]]]]", Err(JsonThreat::Depth)),
            (r#"{"a":1,"a":2}"#, Err(JsonThreat::DuplicateName)),
            (r#"{"a":1,"\u0061":2}"#, Err(JsonThreat::DuplicateName)),
            (
                r#"{"😀":1,"\ud83d\ude00":2}"#,
                Err(JsonThreat::DuplicateName),
            ),
            (r#"{"a":{"a":1},"b":{"a":1}}"#, Ok(())),
            (r#"{"a":1}{"a":2}"#, Ok(())),
        ] {
            assert_eq!(scan(text.as_bytes(), &FIVE), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "<a/>",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "01",
            "1.",
            "1e",
            "-",
            "tru",
            "truex",
            "nul",
            "+1",
            "]",
            "{\"a\":1]",
            "'a'",
            "NaN",
        ] {
            assert!(
                matches!(
                    scan(text.as_bytes(), &JsonLimits::default()),
                    Err(JsonThreat::Syntax(_))
                ),
                "{text}"
            );
        }
        assert!(scan(b"\"\xff\"", &JsonLimits::default()).is_err());
        assert!(scan(b"\"\xc3\"", &JsonLimits::default()).is_err());
    }

    #[test]
    fn without_limits_nesting_is_still_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(
            scan(nested(1_000).as_bytes(), &JsonLimits::default()),
            Ok(())
        );
        assert_eq!(
            scan("[".repeat(10_000_000).as_bytes(), &JsonLimits::default()),
            Err(JsonThreat::Depth)
        );
    }

    proptest! {
        #[test]
        fn the_scanner_agrees_with_a_parser(text in r#"[\[\]{}:,"0-2ae\\u.\- truefalsn]{0,24}"#) {
            let first = serde_json::Deserializer::from_str(&text).into_iter::<serde::de::IgnoredAny>().collect::<Result<Vec<_>, _>>();
            let scanned = scan(text.as_bytes(), &JsonLimits::default());
            // The parser of the comparison also refuses lone surrogates, and reads `1"a"` as two values.
            if first.is_err() && !text.contains("\\u") {
                prop_assert!(scanned.is_err(), "{:?} {:?}", text, first);
            }
            if scanned.is_err() && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
                prop_assert!(false, "{:?} {:?}", text, scanned);
            }
        }

        #[test]
        fn any_bytes_are_scanned(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = scan(&bytes, &FIVE);
            let _ = scan(&bytes, &JsonLimits::default());
        }

        #[test]
        fn values_of_any_shape_pass(value in value()) {
            prop_assert_eq!(scan(value.to_string().as_bytes(), &JsonLimits { unique_names: true, ..JsonLimits::default() }), Ok(()));
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::hash_map(".{0,4}", inner, 0..8)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
