//! Values of expressions, and what they convert to (contract expression-language 6).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::ElError;
use crate::exchange::Headers;

/// Something with named properties, such as `request`. Read only.
pub trait Object: fmt::Debug {
    /// The word for it in messages, such as `request`.
    fn kind(&self) -> &'static str;

    /// A property; `None` when there is none of this name, which is an evaluation error.
    fn property(&self, name: &str) -> Option<Value<'_>>;
}

/// A read-only map that is looked into, not copied, such as `context.attributes`.
pub trait Lookup: fmt::Debug {
    /// The value of a key; [`Value::Null`] when absent.
    fn get(&self, key: &str) -> Value<'_>;

    /// Whether the key is there.
    fn contains_key(&self, key: &str) -> bool;

    /// Every key, for the methods that walk a map.
    fn keys(&self) -> Vec<Cow<'_, str>>;
}

/// A map built by an expression or parsed from JSON, in the order of its keys' appearance.
pub type Map<'a> = Vec<(Value<'a>, Value<'a>)>;

/// A value. Cheap to clone: what is large is shared.
#[derive(Debug, Clone, Default)]
pub enum Value<'a> {
    /// No value.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A 32-bit integer, as a literal without suffix is.
    Int(i32),
    /// A 64-bit integer.
    Long(i64),
    /// A single-precision number.
    Float(f32),
    /// A double-precision number.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// A list.
    List(Arc<[Self]>),
    /// A map.
    Map(Arc<Map<'a>>),
    /// Header fields.
    Headers(&'a Headers),
    /// A map that is looked into.
    Lookup(&'a dyn Lookup),
    /// Something with properties.
    Object(&'a dyn Object),
}

impl<'a> Value<'a> {
    /// Borrowed text.
    pub fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// True for [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a [`Value::Text`].
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As text; `None` is null.
    pub fn into_text(self) -> Result<Option<Cow<'a, str>>, ElError> {
        Ok(match self {
            Self::Null => None,
            Self::Bool(flag) => Some(Cow::Borrowed(if flag { "true" } else { "false" })),
            Self::Int(number) => Some(Cow::Owned(number.to_string())),
            Self::Long(number) => Some(Cow::Owned(number.to_string())),
            Self::Text(text) => Some(text),
            _ => return Err(ElError::evaluation("no conversion to text")),
        })
    }

    /// As a boolean; `None` is null or an empty text.
    pub fn to_bool(&self) -> Result<Option<bool>, ElError> {
        match self {
            Self::Null => Ok(None),
            Self::Bool(flag) => Ok(Some(*flag)),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "" => Ok(None),
                "true" | "on" | "yes" | "1" => Ok(Some(true)),
                "false" | "off" | "no" | "0" => Ok(Some(false)),
                _ => Err(ElError::evaluation("no conversion to a boolean")),
            },
            _ => Err(ElError::evaluation("no conversion to a boolean")),
        }
    }

    /// As an integer of 64 bits; `None` is null or an empty text.
    pub fn to_long(&self) -> Result<Option<i64>, ElError> {
        match self {
            Self::Null => Ok(None),
            Self::Int(number) => Ok(Some(i64::from(*number))),
            Self::Long(number) => Ok(Some(*number)),
            Self::Text(text) if text.trim().is_empty() => Ok(None),
            Self::Text(text) => text
                .trim()
                .parse()
                .map(Some)
                .map_err(|_| ElError::evaluation("no conversion to an integer")),
            _ => Err(ElError::evaluation("no conversion to an integer")),
        }
    }

    /// The same value, holding nothing borrowed. Header fields and looked-up maps are copied; an object becomes null.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null | Self::Headers(_) | Self::Lookup(_) | Self::Object(_) => Value::Null,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Int(number) => Value::Int(number),
            Self::Long(number) => Value::Long(number),
            Self::Float(number) => Value::Float(number),
            Self::Double(number) => Value::Double(number),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::List(items) => {
                Value::List(items.iter().map(|item| item.clone().into_owned()).collect())
            }
            Self::Map(map) => Value::Map(Arc::new(
                map.iter()
                    .map(|(key, value)| (key.clone().into_owned(), value.clone().into_owned()))
                    .collect(),
            )),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Long(number)
    }
}
