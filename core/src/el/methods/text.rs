//! Methods of text. Positions count UTF-16 units, as in the reference.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::{Called, int_argument, text_argument};
use crate::el::eval::Evaluation;
use crate::el::pattern::{COMPILE_STEPS, Pattern};
use crate::el::{ElError, Value, format};
use crate::java_regex::{Extent, Found};

fn out_of_bounds() -> ElError {
    ElError::runtime("a position is outside of the text")
}

/// Number of UTF-16 units.
pub(in crate::el) fn units(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}

/// The byte at which a unit begins; `None` inside of a character or behind the end.
fn byte_of(text: &str, unit: usize) -> Option<usize> {
    let mut seen = 0;
    for (byte, char) in text.char_indices() {
        if seen >= unit {
            return (seen == unit).then_some(byte);
        }
        seen += char.len_utf16();
    }
    (seen == unit).then_some(text.len())
}

/// The part between two units.
fn part<'a>(text: &Cow<'a, str>, start: usize, end: usize) -> Cow<'a, str> {
    let (from, to) = if text.is_ascii() {
        (Some(start), Some(end))
    } else {
        (byte_of(text, start), byte_of(text, end))
    };
    match (text, from, to) {
        (Cow::Borrowed(text), Some(from), Some(to)) => {
            Cow::Borrowed(text.get(from..to).unwrap_or_default())
        }
        (Cow::Owned(text), Some(from), Some(to)) => {
            Cow::Owned(text.get(from..to).unwrap_or_default().to_owned())
        }
        _ => {
            let units: Vec<u16> = text.encode_utf16().skip(start).take(end - start).collect();
            Cow::Owned(String::from_utf16_lossy(&units))
        }
    }
}

fn unit_of(text: &str, byte: Option<usize>) -> Value<'static> {
    Value::Int(byte.map_or(-1, |byte| units(&text[..byte]) as i32))
}

/// A text to look for: text, or the code of a character.
fn needle<'a>(value: &Value<'a>) -> Result<Cow<'a, str>, ElError> {
    match value {
        Value::Int(code) => Ok(u32::try_from(*code)
            .ok()
            .and_then(char::from_u32)
            .map_or(Cow::Borrowed("\u{0}\u{0}"), |char| {
                Cow::Owned(char.to_string())
            })),
        _ => text_argument(value),
    }
}

/// Bytes at a unit, limited to the text.
fn from_unit(text: &str, unit: i32) -> usize {
    let unit = usize::try_from(unit).unwrap_or(0);
    let mut unit = unit.min(units(text));
    loop {
        if let Some(byte) = byte_of(text, unit) {
            return byte;
        }
        unit += 1;
    }
}

fn compare(left: &str, right: &str) -> i32 {
    let mut left = left.encode_utf16();
    let mut right = right.encode_utf16();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return 0,
            (Some(_), None) => return 1 + left.count() as i32,
            (None, Some(_)) => return -1 - right.count() as i32,
            (Some(a), Some(b)) => match a.cmp(&b) {
                Ordering::Equal => {}
                _ => return i32::from(a) - i32::from(b),
            },
        }
    }
}

fn trim_with<'a>(
    text: &Cow<'a, str>,
    start: bool,
    end: bool,
    drop: fn(char) -> bool,
) -> Cow<'a, str> {
    let cut = |text: &str| {
        let from = if start {
            text.len() - text.trim_start_matches(drop).len()
        } else {
            0
        };
        let rest = &text[from..];
        let length = if end {
            rest.trim_end_matches(drop).len()
        } else {
            rest.len()
        };
        (from, from + length)
    };
    match text {
        Cow::Borrowed(text) => {
            let (from, to) = cut(text);
            Cow::Borrowed(&text[from..to])
        }
        Cow::Owned(text) => {
            let (from, to) = cut(text);
            Cow::Owned(text[from..to].to_owned())
        }
    }
}

fn split<'a>(
    evaluation: &mut Evaluation<'a>,
    text: &Cow<'a, str>,
    pattern: &Pattern,
    limit: i32,
) -> Result<Value<'a>, ElError> {
    let count = usize::try_from(limit).ok().filter(|limit| *limit > 0);
    let found = pattern.find_all(
        text,
        count.map_or(usize::MAX, |count| count),
        &mut evaluation.budget,
    )?;
    let sub = |from: usize, to: usize| match text {
        Cow::Borrowed(text) => Value::text(&text[from..to]),
        Cow::Owned(text) => Value::from(text[from..to].to_owned()),
    };
    let mut parts = Vec::new();
    let mut at = 0;
    for Found {
        whole: (start, end),
        ..
    } in found
    {
        if count.is_some_and(|count| parts.len() + 1 >= count) {
            break;
        }
        // A match without length at the beginning does not make an empty part, and one at the end neither.
        if start == end && (start == 0 || start == text.len()) && (at == 0 || start == text.len()) {
            continue;
        }
        parts.push(sub(at, start));
        at = end;
    }
    if parts.is_empty() {
        return Ok(Value::array(vec![Value::Text(text.clone())]));
    }
    parts.push(sub(at, text.len()));
    if limit == 0 {
        while parts.last().and_then(Value::as_text) == Some("") {
            parts.pop();
        }
    }
    evaluation.budget.take_items(parts.len())?;
    Ok(Value::array(parts))
}

/// Calls `then` with the pattern of the first argument, compiled before or now.
fn with_pattern<'a, T>(
    evaluation: &mut Evaluation<'a>,
    source: &Value<'a>,
    extent: Extent,
    compiled: Option<&Pattern>,
    then: impl FnOnce(&mut Evaluation<'a>, &Pattern) -> Result<T, ElError>,
) -> Result<T, ElError> {
    match compiled {
        Some(pattern) => then(evaluation, pattern),
        None => {
            let source = text_argument(source)?;
            evaluation
                .budget
                .spend(COMPILE_STEPS + source.len() as u64)?;
            let pattern = Pattern::new(&source, extent).map_err(ElError::runtime)?;
            then(evaluation, &pattern)
        }
    }
}

/// Calls a method of text.
pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    text: &Cow<'a, str>,
    name: &str,
    arguments: &[Value<'a>],
    pattern: Option<&Pattern>,
) -> Called<'a> {
    evaluation.budget.walk(text.len())?;
    let flag = |flag: bool| Ok(Some(Value::Bool(flag)));
    let own = |text: Cow<'a, str>| Ok(Some(Value::Text(text)));
    match (name, arguments) {
        ("length", []) => Ok(Some(Value::Int(units(text) as i32))),
        ("isEmpty", []) => flag(text.is_empty()),
        ("isBlank", []) => flag(text.chars().all(char::is_whitespace)),
        ("toString" | "intern" | "strip" | "trim" | "stripLeading" | "stripTrailing", []) => {
            own(match name {
                "strip" => trim_with(text, true, true, char::is_whitespace),
                "stripLeading" => trim_with(text, true, false, char::is_whitespace),
                "stripTrailing" => trim_with(text, false, true, char::is_whitespace),
                "trim" => trim_with(text, true, true, |char| char <= ' '),
                _ => text.clone(),
            })
        }
        ("hashCode", []) => Ok(Some(Value::Int(crate::el::compare::hash_text(text)))),
        ("toUpperCase" | "toLowerCase", [] | [_]) => {
            let upper = name == "toUpperCase";
            if text.chars().all(|char| {
                if upper {
                    !char.is_lowercase()
                } else {
                    !char.is_uppercase()
                }
            }) {
                return own(text.clone());
            }
            evaluation.budget.take(text.len())?;
            own(Cow::Owned(if upper {
                text.to_uppercase()
            } else {
                text.to_lowercase()
            }))
        }
        ("charAt" | "codePointAt", [at]) => {
            let at = usize::try_from(int_argument(at)?).map_err(|_| out_of_bounds())?;
            let unit = text.encode_utf16().nth(at).ok_or_else(out_of_bounds)?;
            Ok(Some(if name == "charAt" {
                Value::Char(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER))
            } else {
                let whole = byte_of(text, at).and_then(|byte| text[byte..].chars().next());
                Value::Int(whole.map_or_else(|| i32::from(unit), |char| u32::from(char) as i32))
            }))
        }
        ("substring" | "subSequence", [start]) if name == "substring" => {
            let length = units(text);
            let start = usize::try_from(int_argument(start)?)
                .ok()
                .filter(|start| *start <= length)
                .ok_or_else(out_of_bounds)?;
            own(part(text, start, length))
        }
        ("substring" | "subSequence", [start, end]) => {
            let length = units(text);
            let start = usize::try_from(int_argument(start)?).map_err(|_| out_of_bounds())?;
            let end = usize::try_from(int_argument(end)?).map_err(|_| out_of_bounds())?;
            if start > end || end > length {
                return Err(out_of_bounds());
            }
            own(part(text, start, end))
        }
        ("indexOf", [wanted]) => Ok(Some(unit_of(text, text.find(&*needle(wanted)?)))),
        ("indexOf", [wanted, from]) => {
            let from = from_unit(text, int_argument(from)?);
            let found = text[from..].find(&*needle(wanted)?).map(|at| at + from);
            Ok(Some(unit_of(text, found)))
        }
        ("lastIndexOf", [wanted]) => Ok(Some(unit_of(text, text.rfind(&*needle(wanted)?)))),
        ("lastIndexOf", [wanted, from]) => {
            let from = int_argument(from)?;
            if from < 0 {
                return Ok(Some(Value::Int(-1)));
            }
            let wanted = needle(wanted)?;
            let mut end = (from_unit(text, from) + wanted.len()).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            Ok(Some(unit_of(text, text[..end].rfind(&*wanted))))
        }
        ("contains", [wanted]) => flag(text.contains(&*text_argument(wanted)?)),
        ("startsWith", [wanted]) => flag(text.starts_with(&*text_argument(wanted)?)),
        ("startsWith", [wanted, from]) => {
            let from = int_argument(from)?;
            let length = units(text);
            flag(
                usize::try_from(from).is_ok_and(|from| from <= length)
                    && text[from_unit(text, from)..].starts_with(&*text_argument(wanted)?),
            )
        }
        ("endsWith", [wanted]) => flag(text.ends_with(&*text_argument(wanted)?)),
        ("equals" | "contentEquals", [other]) => flag(other.as_text() == Some(&**text)),
        ("equalsIgnoreCase", [other]) => flag(match other.clone().into_text()? {
            Some(other) => {
                text.eq_ignore_ascii_case(&other) || text.to_lowercase() == other.to_lowercase()
            }
            None => false,
        }),
        ("compareTo", [other]) => Ok(Some(Value::Int(compare(text, &text_argument(other)?)))),
        ("compareToIgnoreCase", [other]) => Ok(Some(Value::Int(compare(
            &text.to_lowercase(),
            &text_argument(other)?.to_lowercase(),
        )))),
        ("concat", [other]) => {
            let other = text_argument(other)?;
            evaluation.budget.take(text.len() + other.len())?;
            own(Cow::Owned(format!("{text}{other}")))
        }
        ("replace", [from, to]) => {
            let (from, to) = (text_argument(from)?, text_argument(to)?);
            let count = text.matches(&*from).count();
            evaluation
                .budget
                .take(text.len().saturating_add(count.saturating_mul(to.len())))?;
            own(Cow::Owned(text.replace(&*from, &to)))
        }
        ("replaceAll" | "replaceFirst", [source, replacement]) => {
            let limit = if name == "replaceAll" { usize::MAX } else { 1 };
            let replacement = text_argument(replacement)?;
            let result = with_pattern(
                evaluation,
                source,
                Extent::Part,
                pattern,
                |evaluation, pattern| {
                    pattern.replace(text, &replacement, limit, &mut evaluation.budget)
                },
            )?;
            own(Cow::Owned(result))
        }
        ("matches", [source]) => with_pattern(
            evaluation,
            source,
            Extent::Whole,
            pattern,
            |evaluation, pattern| pattern.matches(text, &mut evaluation.budget),
        )
        .map(|matched| Some(Value::Bool(matched))),
        ("split", [source]) => with_pattern(
            evaluation,
            source,
            Extent::Part,
            pattern,
            |evaluation, pattern| split(evaluation, text, pattern, 0),
        )
        .map(Some),
        ("split", [source, limit]) => {
            let limit = int_argument(limit)?;
            with_pattern(
                evaluation,
                source,
                Extent::Part,
                pattern,
                |evaluation, pattern| split(evaluation, text, pattern, limit),
            )
            .map(Some)
        }
        ("repeat", [count]) => {
            let count = usize::try_from(int_argument(count)?)
                .map_err(|_| ElError::runtime("a count is negative"))?;
            evaluation.budget.take(text.len().saturating_mul(count))?;
            own(Cow::Owned(text.repeat(count)))
        }
        ("getBytes", [] | [_]) => {
            if let [charset] = arguments {
                encode(&text_argument(charset)?, text).map(|bytes| Some(Value::Bytes(bytes)))
            } else {
                Ok(Some(Value::Bytes(Arc::from(text.as_bytes()))))
            }
        }
        ("toCharArray", []) => {
            evaluation.budget.take_items(text.len())?;
            Ok(Some(Value::array(text.chars().map(Value::Char).collect())))
        }
        ("formatted", _) => {
            format::format(evaluation, text, arguments).map(|text| Some(Value::from(text)))
        }
        _ => Ok(None),
    }
}

/// Text in a character set; an unknown one is a checked failure of the called method.
pub(in crate::el) fn encode(charset: &str, text: &str) -> Result<Arc<[u8]>, ElError> {
    Ok(match charset.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => Arc::from(text.as_bytes()),
        "US-ASCII" | "ASCII" => text
            .chars()
            .map(|char| u8::try_from(char).ok().filter(u8::is_ascii).unwrap_or(b'?'))
            .collect(),
        "ISO-8859-1" | "LATIN1" | "ISO8859_1" => text
            .chars()
            .map(|char| u8::try_from(char).unwrap_or(b'?'))
            .collect(),
        _ => return Err(ElError::evaluation("unknown character set")),
    })
}

/// Text from bytes in a character set.
pub(in crate::el) fn decode(charset: &str, bytes: &[u8]) -> Result<String, ElError> {
    Ok(match charset.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => String::from_utf8_lossy(bytes).into_owned(),
        "US-ASCII" | "ASCII" => bytes
            .iter()
            .map(|byte| {
                if byte.is_ascii() {
                    char::from(*byte)
                } else {
                    char::REPLACEMENT_CHARACTER
                }
            })
            .collect(),
        "ISO-8859-1" | "LATIN1" | "ISO8859_1" => {
            bytes.iter().map(|byte| char::from(*byte)).collect()
        }
        _ => return Err(ElError::evaluation("unknown character set")),
    })
}
