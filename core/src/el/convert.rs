//! Conversions (contract expression-language 6).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use super::{ElError, Value, maps, number};

fn no_conversion(value: &Value<'_>, to: &str) -> ElError {
    ElError::evaluation(format!("no conversion from {} to {to}", value.kind()))
}

impl<'a> Value<'a> {
    /// The word for the type of the value in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Long(_) => "a long",
            Self::Float(_) => "a float",
            Self::Double(_) => "a double",
            Self::Decimal(_) => "a decimal",
            Self::Char(_) => "a character",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Array(_) | Self::Bytes(_) => "an array",
            Self::Map(_) | Self::Lookup(_) => "a map",
            Self::Entry(_) => "an entry",
            Self::Headers(_) => "headers",
            Self::Params(_) => "parameters",
            Self::Object(object) => object.kind(),
            Self::Native(native) => native.kind(),
        }
    }

    /// As text; `None` is null.
    pub fn into_text(self) -> Result<Option<Cow<'a, str>>, ElError> {
        Ok(Some(match self {
            Self::Null => return Ok(None),
            Self::Bool(flag) => Cow::Borrowed(if flag { "true" } else { "false" }),
            Self::Text(text) => text,
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Long(number) => Cow::Owned(number.to_string()),
            Self::Float(number) => Cow::Owned(number::float_text(number)),
            Self::Double(number) => Cow::Owned(number::double_text(number)),
            Self::Decimal(number) => Cow::Owned(number.to_string()),
            Self::Char(char) => Cow::Owned(char.to_string()),
            Self::List(items) | Self::Array(items) => match &items[..] {
                [] => Cow::Borrowed(""),
                [Self::Null] => Cow::Borrowed("null"),
                [item] => return item.clone().into_text(),
                _ => {
                    let mut text = String::new();
                    join(&items, &mut text, 0)?;
                    Cow::Owned(text)
                }
            },
            Self::Bytes(bytes) => {
                let mut text = String::with_capacity(bytes.len() * 4);
                for (index, byte) in bytes.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    // Bytes are signed in the reference.
                    let _ = write!(text, "{comma}{}", *byte as i8);
                }
                Cow::Owned(text)
            }
            Self::Native(native) => match native.converted_text() {
                Some(text) => Cow::Owned(text),
                None => return Err(no_conversion(&Self::Native(native), "text")),
            },
            Self::Map(_)
            | Self::Entry(_)
            | Self::Headers(_)
            | Self::Params(_)
            | Self::Lookup(_)
            | Self::Object(_) => return Err(no_conversion(&self, "text")),
        }))
    }

    fn first(&self) -> Option<Value<'a>> {
        match self {
            Self::List(items) | Self::Array(items) => {
                Some(items.first().cloned().unwrap_or_default())
            }
            Self::Bytes(bytes) => Some(
                bytes
                    .first()
                    .map_or(Self::Null, |byte| Self::Int((*byte as i8).into())),
            ),
            _ => None,
        }
    }

    /// As a boolean; `None` is null or an empty text.
    pub fn to_bool(&self) -> Result<Option<bool>, ElError> {
        match self {
            Self::Null => Ok(None),
            Self::Bool(flag) => Ok(Some(*flag)),
            Self::Text(text) => {
                let text = text.trim();
                let is =
                    |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
                if text.is_empty() {
                    Ok(None)
                } else if is(["true", "on", "yes", "1"]) {
                    Ok(Some(true))
                } else if is(["false", "off", "no", "0"]) {
                    Ok(Some(false))
                } else {
                    Err(no_conversion(self, "a boolean"))
                }
            }
            _ => match self.first() {
                Some(first @ (Self::List(_) | Self::Array(_))) => {
                    Err(no_conversion(&first, "a boolean"))
                }
                Some(first) => first.to_bool(),
                None => Err(no_conversion(self, "a boolean")),
            },
        }
    }

    /// As an integer of 64 bits; `None` is null or an empty text.
    pub fn to_long(&self) -> Result<Option<i64>, ElError> {
        match self {
            Self::Null => Ok(None),
            Self::Int(number) => Ok(Some(i64::from(*number))),
            Self::Long(number) => Ok(Some(*number)),
            // A fraction is cut off.
            Self::Float(number) => Ok(Some(*number as i64)),
            Self::Double(number) => Ok(Some(*number as i64)),
            Self::Decimal(number) => match number.to_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(no_conversion(self, "an integer")),
            },
            Self::Char(char) => Ok(Some(i64::from(u32::from(*char)))),
            Self::Text(text) if text.trim().is_empty() => Ok(None),
            Self::Text(text) => match number::parse_whole(text) {
                Some(number) => Ok(Some(number)),
                None => Err(no_conversion(self, "an integer")),
            },
            _ => match self.first() {
                Some(first @ (Self::List(_) | Self::Array(_))) => {
                    Err(no_conversion(&first, "an integer"))
                }
                Some(first) => first.to_long(),
                None => Err(no_conversion(self, "an integer")),
            },
        }
    }

    /// As an integer of 32 bits; `None` is null or an empty text.
    pub fn to_integer(&self) -> Result<Option<i32>, ElError> {
        self.to_long()?
            .map(|number| {
                i32::try_from(number).map_err(|_| no_conversion(self, "an integer of 32 bits"))
            })
            .transpose()
    }

    /// As a double; `None` is null or an empty text.
    pub fn to_double(&self) -> Result<Option<f64>, ElError> {
        match self {
            Self::Null => Ok(None),
            Self::Int(number) => Ok(Some(f64::from(*number))),
            Self::Long(number) => Ok(Some(*number as f64)),
            Self::Float(number) => Ok(Some(f64::from(*number))),
            Self::Double(number) => Ok(Some(*number)),
            Self::Decimal(number) => Ok(Some(number.to_f64())),
            Self::Char(char) => Ok(Some(f64::from(u32::from(*char)))),
            Self::Text(text) if text.trim().is_empty() => Ok(None),
            Self::Text(text) => match number::parse_double(text) {
                Some(number) => Ok(Some(number)),
                None => Err(no_conversion(self, "a double")),
            },
            _ => match self.first() {
                Some(first @ (Self::List(_) | Self::Array(_))) => {
                    Err(no_conversion(&first, "a double"))
                }
                Some(first) => first.to_double(),
                None => Err(no_conversion(self, "a double")),
            },
        }
    }

    /// As a list; `None` is null. Text is split at its commas, anything else that is no list becomes the one element.
    pub fn to_list(&self) -> Option<Arc<[Self]>> {
        Some(match self {
            Self::Null => return None,
            Self::List(items) | Self::Array(items) => items.clone(),
            Self::Bytes(bytes) => bytes
                .iter()
                .map(|byte| Self::Int((*byte as i8).into()))
                .collect(),
            Self::Text(text) if text.is_empty() => Arc::from([]),
            Self::Text(Cow::Borrowed(text)) => text
                .split(',')
                .map(|part| Self::text(part.trim()))
                .collect(),
            Self::Text(text) => text
                .split(',')
                .map(|part| Self::from(part.trim().to_owned()))
                .collect(),
            other => Arc::from([other.clone()]),
        })
    }

    /// The text that `toString()` gives, which every value has. Nesting is bounded.
    pub(super) fn java_text(&self) -> String {
        let mut text = String::new();
        write_java(self, &mut text, 0);
        text
    }
}

/// Deepest nesting of lists and maps that is written, compared or hashed.
pub(super) const NESTING_MAX: usize = 64;

fn join(items: &[Value<'_>], text: &mut String, depth: usize) -> Result<(), ElError> {
    if depth > NESTING_MAX {
        return Err(ElError::evaluation("a list is nested too deeply"));
    }
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match item {
            Value::List(inner) | Value::Array(inner) => join(inner, text, depth + 1)?,
            Value::Null => text.push_str("null"),
            Value::Text(item) => text.push_str(item),
            _ => text.push_str(&item.clone().into_text()?.unwrap_or_default()),
        }
    }
    Ok(())
}

fn write_java(value: &Value<'_>, text: &mut String, depth: usize) {
    if depth > NESTING_MAX {
        text.push_str("...");
        return;
    }
    match value {
        Value::Null => text.push_str("null"),
        Value::List(items) | Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                write_java(item, text, depth + 1);
            }
            text.push(']');
        }
        Value::Map(_) | Value::Lookup(_) | Value::Headers(_) | Value::Params(_) => {
            text.push('{');
            for (index, (key, value)) in maps::entries(value).iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                write_java(key, text, depth + 1);
                text.push('=');
                write_java(value, text, depth + 1);
            }
            text.push('}');
        }
        Value::Entry(entry) => {
            write_java(&entry.0, text, depth + 1);
            text.push('=');
            write_java(&entry.1, text, depth + 1);
        }
        Value::Object(object) => text.push_str(object.kind()),
        Value::Bytes(_) => text.push_str("[B"),
        Value::Native(native) => text.push_str(&native.text()),
        Value::Text(inner) => text.push_str(inner),
        _ => {
            if let Ok(Some(inner)) = value.clone().into_text() {
                text.push_str(&inner);
            }
        }
    }
}
