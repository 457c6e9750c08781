//! JSON as values: the lenient reading of the functions, and the strict one of bodies.

use std::borrow::Cow;
use std::sync::Arc;

use super::Value;
use super::decimal::Decimal;

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 128;

/// A JSON text as a value: objects are maps, numbers integers of 32 or 64 bits, decimals or doubles. `None` when it is not JSON or
/// nested too deeply.
pub fn json_to_value(bytes: &[u8]) -> Option<Value<'static>> {
    let text = std::str::from_utf8(bytes).ok()?;
    parse(text, false)
}

/// What `jsonContent` shows of a body: its map, or an empty one when it is empty, not JSON or not an object.
pub fn json_content(bytes: &[u8]) -> Value<'static> {
    match json_to_value(bytes) {
        Some(value @ Value::Map(_)) => value,
        _ => Value::map(Vec::new()),
    }
}

/// Reads JSON; leniently, quotes may be single ones or missing.
pub(super) fn parse(text: &str, lenient: bool) -> Option<Value<'static>> {
    let mut parser = Parser {
        text,
        at: 0,
        lenient,
    };
    parser.blanks();
    let value = parser.value(0, "")?;
    parser.blanks();
    (parser.at == text.len()).then_some(value)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    lenient: bool,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// A value; text without quotes ends before one of `ends`.
    fn value(&mut self, depth: usize, ends: &str) -> Option<Value<'static>> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.quoted(b'"').map(Value::from),
            b'\'' if self.lenient => self.quoted(b'\'').map(Value::from),
            b'-' | b'0'..=b'9' => self.number(ends),
            _ => self.word(ends),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value<'static>> {
        self.at += 1;
        let mut entries: Vec<(Value<'static>, Value<'static>)> = Vec::new();
        let mut seen =
            std::collections::HashMap::<String, usize, foldhash::fast::RandomState>::default();
        self.blanks();
        if self.take(b'}') {
            return Some(Value::map(entries));
        }
        loop {
            self.blanks();
            let key = match self.peek()? {
                b'"' => self.quoted(b'"')?,
                b'\'' if self.lenient => self.quoted(b'\'')?,
                // A comma before the end.
                b'}' if self.lenient => {
                    self.at += 1;
                    return Some(Value::map(entries));
                }
                _ if self.lenient => self.bare(":,}").trim().to_owned(),
                _ => return None,
            };
            self.blanks();
            if !self.take(b':') {
                return None;
            }
            self.blanks();
            let value = self.value(depth + 1, ",}")?;
            match seen.get(&key) {
                Some(at) => entries[*at].1 = value,
                None => {
                    seen.insert(key.clone(), entries.len());
                    entries.push((Value::from(key), value));
                }
            }
            self.blanks();
            if self.take(b'}') {
                return Some(Value::map(entries));
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value<'static>> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.take(b']') {
            return Some(Value::list(items));
        }
        loop {
            self.blanks();
            if self.lenient && self.take(b']') {
                return Some(Value::list(items));
            }
            items.push(self.value(depth + 1, ",]")?);
            self.blanks();
            if self.take(b']') {
                return Some(Value::list(items));
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn quoted(&mut self, quote: u8) -> Option<String> {
        self.at += 1;
        let mut result = String::new();
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let end = memchr::memchr2(quote, b'\\', rest)?;
            let plain = &self.text[self.at..self.at + end];
            if !self.lenient && plain.bytes().any(|byte| byte < b' ') {
                return None;
            }
            result.push_str(plain);
            self.at += end + 1;
            if rest[end] == quote {
                return Some(result);
            }
            let escaped = self.peek()?;
            self.at += 1;
            match escaped {
                b'b' => result.push('\u{8}'),
                b'f' => result.push('\u{c}'),
                b'n' => result.push('\n'),
                b'r' => result.push('\r'),
                b't' => result.push('\t'),
                b'"' | b'\\' | b'/' => result.push(char::from(escaped)),
                b'u' => {
                    let unit = self.unit()?;
                    let mut units = vec![unit];
                    if (0xd800..0xdc00).contains(&unit)
                        && self.text.as_bytes().get(self.at..self.at + 2) == Some(b"\\u")
                    {
                        self.at += 2;
                        units.push(self.unit()?);
                    }
                    result.push_str(&String::from_utf16_lossy(&units));
                }
                _ if self.lenient => {
                    self.at -= 1;
                    let char = self.text[self.at..].chars().next()?;
                    result.push(char);
                    self.at += char.len_utf8();
                }
                _ => return None,
            }
        }
    }

    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }

    /// Text up to one of these characters.
    fn bare(&mut self, ends: &str) -> &str {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|byte| !byte.is_ascii() || !ends.contains(char::from(byte)))
        {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn number(&mut self, ends: &str) -> Option<Value<'static>> {
        let lenient = self.lenient;
        let start = self.at;
        while matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
        ) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        self.blanks();
        let ended = match self.peek() {
            None => true,
            Some(byte) => byte.is_ascii() && ends.contains(char::from(byte)),
        };
        match number(text) {
            Some(number) if ended || !lenient => Some(number),
            _ if lenient => {
                self.at = start;
                self.word(ends)
            }
            _ => None,
        }
    }

    fn word(&mut self, ends: &str) -> Option<Value<'static>> {
        let lenient = self.lenient;
        let word = if lenient {
            self.bare(ends).trim()
        } else {
            self.bare(",]} \t\r\n")
        };
        match word {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            _ if lenient => Some(Value::Text(Cow::Owned(word.to_owned()))),
            _ => None,
        }
    }
}

fn number(text: &str) -> Option<Value<'static>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole_length = digits.bytes().take_while(u8::is_ascii_digit).count();
    if whole_length == 0 || (whole_length > 1 && digits.starts_with('0')) {
        return None;
    }
    if whole_length == digits.len() {
        return match text.parse::<i64>() {
            Ok(number) => Some(i32::try_from(number).map_or(Value::Long(number), Value::Int)),
            Err(_) => Decimal::parse(text).map(|number| Value::Decimal(Arc::new(number))),
        };
    }
    // A point and an exponent must be followed by digits.
    let rest = &digits[whole_length..];
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if length == 0 {
                return None;
            }
            &fraction[length..]
        }
        None => rest,
    };
    if !rest.is_empty() {
        let exponent = rest.strip_prefix(['e', 'E'])?;
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if exponent.is_empty() || !exponent.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
    }
    text.parse().ok().map(Value::Double)
}
