//! Typed access to JSON members that knows where it is, so that every complaint names the member at fault.

use std::borrow::Cow;

use serde_json::Value;

use super::refusal::{Refusal, RefusalKind};

/// Characters of a found value that a message shows.
const SHOWN_CHARS_MAX: usize = 60;

/// How scalars of another type are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// V2: `"3000"` is a number, `"true"` a boolean, and what cannot be coerced is the default.
    Coercing,
    /// V4: the same coercions, and what cannot be coerced is refused.
    Strict,
}

/// A JSON value and its path. A `null` member counts as absent everywhere.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: String,
    reading: Reading,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value, reading: Reading) -> Self {
        Self {
            value,
            path: String::new(),
            reading,
        }
    }

    /// A value that is reached by another way than from the root, at a path that says which.
    pub(super) fn at(value: &'a Value, path: String, reading: Reading) -> Self {
        Self {
            value,
            path,
            reading,
        }
    }

    /// How scalars are read here.
    pub(super) fn reading(&self) -> Reading {
        self.reading
    }

    /// The value as it is written.
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// Path of this value.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Path of a member of this value.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub(super) fn refuse(&self, reason: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Invalid, self.path.clone(), reason)
    }

    pub(super) fn refuse_member(&self, name: &str, reason: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Invalid, self.path_of(name), reason)
    }

    /// A refusal of a member that is not built: `what` completes "… is not supported yet".
    pub(super) fn unsupported(&self, name: &str, what: &str) -> Refusal {
        Refusal::new(
            RefusalKind::Unsupported,
            self.path_of(name),
            format!("{what} is not supported yet"),
        )
    }

    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }

    pub(super) fn is_array(&self) -> bool {
        self.value.is_array()
    }

    /// Number of members or elements.
    pub(super) fn len(&self) -> usize {
        self.value
            .as_object()
            .map(serde_json::Map::len)
            .or_else(|| self.value.as_array().map(Vec::len))
            .unwrap_or(0)
    }

    /// A member of any type; absent in anything but an object.
    pub(super) fn member(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Self {
            value,
            path: self.path_of(name),
            reading: self.reading,
        })
    }

    /// A member that is an object.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, Refusal> {
        match self.member(name) {
            Some(node) if !node.is_object() => {
                Err(node.refuse(format!("expected an object, found {}", kind(node.value))))
            }
            node => Ok(node),
        }
    }

    /// The elements of a member that is an array, `null` elements left out; none when it is absent.
    pub(super) fn items(&self, name: &str) -> Result<Vec<Self>, Refusal> {
        match self.member(name) {
            None => Ok(Vec::new()),
            Some(node) if node.is_array() => Ok(node.elements()),
            Some(node) => {
                Err(node.refuse(format!("expected an array, found {}", kind(node.value))))
            }
        }
    }

    /// The elements of a member that is an array of objects.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Self>, Refusal> {
        let items = self.items(name)?;
        match items.iter().find(|item| !item.is_object()) {
            Some(item) => {
                Err(item.refuse(format!("expected an object, found {}", kind(item.value))))
            }
            None => Ok(items),
        }
    }

    fn elements(&self) -> Vec<Self> {
        let elements = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        elements
            .iter()
            .enumerate()
            .filter(|(_, value)| !value.is_null())
            .map(|(index, value)| Self {
                value,
                path: format!("{}[{index}]", self.path),
                reading: self.reading,
            })
            .collect()
    }

    /// Members of this object in text order of their names.
    pub(super) fn members(&self) -> Vec<(&'a str, Self)> {
        let Some(object) = self.value.as_object() else {
            return Vec::new();
        };
        object
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                (
                    name.as_str(),
                    Self {
                        value,
                        path: self.path_of(name),
                        reading: self.reading,
                    },
                )
            })
            .collect()
    }

    /// This value as text: numbers and booleans are written out.
    pub(super) fn as_text(&self) -> Result<Cow<'a, str>, Refusal> {
        match self.value {
            Value::String(text) => Ok(Cow::Borrowed(text)),
            Value::Number(number) => Ok(Cow::Owned(number.to_string())),
            Value::Bool(flag) => Ok(Cow::Borrowed(if *flag { "true" } else { "false" })),
            other => Err(self.refuse(format!("expected a text, found {}", kind(other)))),
        }
    }

    /// A member as text.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.member(name).map(|node| node.as_text()).transpose()
    }

    /// A member as text, `None` when it is blank.
    pub(super) fn filled_text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        Ok(self.text(name)?.filter(|text| !text.trim().is_empty()))
    }

    /// A member that is an array of texts.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Refusal> {
        self.items(name)?
            .iter()
            .map(|item| item.as_text().map(Cow::into_owned))
            .collect()
    }

    /// A member as a boolean.
    pub(super) fn boolean(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        let Some(node) = self.member(name) else {
            return Ok(default);
        };
        let coerced = match node.value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
            Value::String(text) if text.trim().is_empty() => Some(default),
            Value::Number(number) => number.as_f64().map(|number| number != 0.0),
            _ => None,
        };
        node.coerced(coerced, default, "a boolean")
    }

    /// A member as an integer; fractions are cut.
    pub(super) fn integer(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        let Some(node) = self.member(name) else {
            return Ok(default);
        };
        let coerced = match node.value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) if text.trim().is_empty() => Some(default),
            Value::String(text) => text
                .trim()
                .parse()
                .ok()
                .or_else(|| whole(text.trim().parse().ok()?)),
            _ => None,
        };
        node.coerced(coerced, default, "an integer")
    }

    fn coerced<T>(&self, value: Option<T>, default: T, expected: &str) -> Result<T, Refusal> {
        match (value, self.reading) {
            (Some(value), _) => Ok(value),
            (None, Reading::Coercing) => Ok(default),
            (None, Reading::Strict) => {
                Err(self.refuse(format!("expected {expected}, found {}", show(self.value))))
            }
        }
    }
}

fn whole(number: f64) -> Option<i64> {
    // 2^53: beyond it a fraction's integer part is not exact, and no member means such a number.
    (number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}

/// Replaces a member that is a JSON text by the object in it; a blank text by nothing. Any other text stays, so that reading it
/// as an object complains.
pub(super) fn embed(holder: &mut Value, name: &str) {
    let Some(member) = holder.get_mut(name) else {
        return;
    };
    let Value::String(text) = &*member else {
        return;
    };
    if text.trim().is_empty() {
        *member = Value::Null;
    } else if let Ok(object @ (Value::Object(_) | Value::Null)) = serde_json::from_str(text) {
        *member = object;
    }
}

/// Elements of an array member, for rewriting.
pub(super) fn elements_mut<'v>(
    holder: &'v mut Value,
    name: &str,
) -> impl Iterator<Item = &'v mut Value> {
    holder
        .get_mut(name)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// The JSON type of a value, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A scalar as a message shows it, cut to a bounded length; the type of anything else.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
        other => other.to_string(),
    }
}

/// A text in quotes, cut to a bounded length, control characters escaped.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{:?}…", &text[..at]),
        None => format!("{text:?}"),
    }
}
