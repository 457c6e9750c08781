//! The functions `#jsonPath`, `#xpath`, `#xmlEscape` and `#jsonEscape` (contract expression-language 5).

use std::borrow::Cow;
use std::fmt::Write as _;

use super::ast::Function;
use super::eval::{Evaluation, shortened};
use super::json_path::JsonPath;
use super::{ElError, Value, json, xpath};

/// Calls a function.
pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    function: &'a Function,
) -> Result<Value<'a>, ElError> {
    let arguments = evaluation.all(&function.arguments)?;
    match (&*function.name, &arguments[..]) {
        ("jsonPath", [input, path]) => json_path(evaluation, function, input, path),
        // Predicates in front of the optional third argument do not exist here.
        ("jsonPath" | "xpath", [] | [_]) => Err(ElError::runtime(format!(
            "#{} needs two arguments",
            function.name
        ))),
        ("jsonPath", _) => Err(ElError::evaluation("#jsonPath takes two arguments")),
        ("xpath", [input, expression]) => xpath(evaluation, input, expression, None),
        ("xpath", [input, expression, kind, ..]) => {
            let kind = kind.clone().into_text()?.unwrap_or_default();
            xpath(evaluation, input, expression, Some(&kind))
        }
        ("xmlEscape", [value]) => escape(evaluation, value, xml_escaped),
        ("jsonEscape", [value]) => escape(evaluation, value, json_escaped),
        ("xmlEscape" | "jsonEscape", _) => Err(ElError::evaluation(format!(
            "#{} takes one argument",
            function.name
        ))),
        _ => Err(ElError::evaluation(format!(
            "there is no function #{}",
            shortened(&function.name)
        ))),
    }
}

fn json_path<'a>(
    evaluation: &mut Evaluation<'a>,
    function: &'a Function,
    input: &Value<'a>,
    path: &Value<'a>,
) -> Result<Value<'a>, ElError> {
    let root = match input {
        Value::Null => return Err(ElError::evaluation("#jsonPath of null")),
        Value::Text(text) => {
            if text.trim().is_empty() {
                return Err(ElError::evaluation("#jsonPath of an empty text"));
            }
            // A tree takes a few times the memory of its text.
            evaluation.budget.take(text.len())?;
            evaluation.budget.walk(text.len() * 4)?;
            json::parse(text, true).ok_or_else(|| ElError::evaluation("the text is not JSON"))?
        }
        _ => input.clone(),
    };
    match &function.path {
        Some(path) => path.read(&root, &mut evaluation.budget),
        None => {
            let path = path
                .clone()
                .into_text()?
                .ok_or_else(|| ElError::evaluation("the JSON path is null"))?;
            evaluation.budget.walk(path.len() * 64)?;
            JsonPath::parse(&path)?.read(&root, &mut evaluation.budget)
        }
    }
}

fn xpath<'a>(
    evaluation: &mut Evaluation<'a>,
    input: &Value<'a>,
    expression: &Value<'a>,
    kind: Option<&str>,
) -> Result<Value<'a>, ElError> {
    let text = input
        .clone()
        .into_text()?
        .ok_or_else(|| ElError::evaluation("#xpath of null"))?;
    let expression = expression
        .clone()
        .into_text()?
        .ok_or_else(|| ElError::evaluation("the XPath expression is null"))?;
    evaluation.budget.take(text.len())?;
    evaluation.budget.walk(text.len() * 4)?;
    xpath::evaluate(&text, &expression, kind, &mut evaluation.budget)
}

fn escape<'a>(
    evaluation: &mut Evaluation<'a>,
    value: &Value<'a>,
    escaped: fn(&str) -> Cow<'_, str>,
) -> Result<Value<'a>, ElError> {
    let text = match value {
        Value::Null => return Ok(Value::Null),
        Value::Text(text) => text.clone(),
        Value::List(items) | Value::Array(items) => {
            let mut text = String::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                if !item.is_null() {
                    text.push_str(&item.java_text());
                }
            }
            Cow::Owned(text)
        }
        _ => Cow::Owned(value.java_text()),
    };
    evaluation.budget.take(text.len().saturating_mul(2))?;
    let changed = match escaped(&text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(changed) => Some(changed),
    };
    Ok(Value::Text(match changed {
        Some(changed) => {
            evaluation.budget.take(changed.len())?;
            Cow::Owned(changed)
        }
        None => text,
    }))
}

/// Text for XML 1.0: the five characters escaped, what XML does not allow removed.
fn xml_escaped(text: &str) -> Cow<'_, str> {
    let allowed = |char: char| matches!(char, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if text.chars().all(|char| {
        allowed(char) && !matches!(char, '&' | '<' | '>' | '"' | '\'' | '\u{7f}'..='\u{9f}')
    }) {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len() + 16);
    for char in text.chars().filter(|char| allowed(*char)) {
        match char {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            '\'' => result.push_str("&apos;"),
            // Control characters but the line end of Unicode are written as numbers.
            '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' => {
                let _ = write!(result, "&#{};", u32::from(char));
            }
            char => result.push(char),
        }
    }
    Cow::Owned(result)
}

/// Text for the inside of a JSON string; a slash is escaped, too, and everything that is not ASCII.
fn json_escaped(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'/');
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            '"' | '\\' | '/' => {
                result.push('\\');
                result.push(char);
            }
            '\u{8}' => result.push_str("\\b"),
            '\t' => result.push_str("\\t"),
            '\n' => result.push_str("\\n"),
            '\u{c}' => result.push_str("\\f"),
            '\r' => result.push_str("\\r"),
            ' '..='~' => result.push(char),
            char => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let _ = write!(result, "\\u{unit:04X}");
                }
            }
        }
    }
    Cow::Owned(result)
}
