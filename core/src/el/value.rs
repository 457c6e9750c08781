//! Values of expressions (contract expression-language 2 and 3). What they convert to is in `convert.rs`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::ElError;
use super::decimal::Decimal;
use super::native::Native;
use crate::exchange::Headers;

/// Something with named properties, such as `request`. Read only.
pub trait Object: fmt::Debug {
    /// The word for it in messages, such as `request`.
    fn kind(&self) -> &'static str;

    /// A property; `None` when there is none of this name, which is an evaluation error.
    fn property(&self, name: &str) -> Option<Value<'_>>;

    /// Calls a method of its own; `None` when there is none of this name and number of arguments.
    fn call(&self, _name: &str, _arguments: &[Value<'_>]) -> Option<Result<Value<'_>, ElError>> {
        None
    }
}

/// A read-only map that is looked into, not copied, such as `context.attributes`.
pub trait Lookup: fmt::Debug {
    /// The value of a key; [`Value::Null`] when absent.
    fn get(&self, key: &str) -> Value<'_>;

    /// Whether the key is there.
    fn contains_key(&self, key: &str) -> bool;

    /// Every key, for the methods that walk a map.
    fn keys(&self) -> Vec<Cow<'_, str>>;

    /// As [`Lookup::get`], for maps whose values can be broken: a property that refers to a missing one is a runtime error.
    fn try_get(&self, key: &str) -> Result<Value<'_>, ElError> {
        Ok(self.get(key))
    }

    /// Whether an index that is not text is converted to text first, as API properties do.
    fn converts_keys(&self) -> bool {
        false
    }
}

/// Names with lists of values, names compared with their case, such as `request.params`.
pub trait MultiLookup: fmt::Debug {
    /// Hands every value of `name` to `each`, in order.
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(Cow<'a, str>));

    /// Every name once, in order of appearance.
    fn names(&self) -> Vec<Cow<'_, str>>;

    /// Whether the name is there.
    fn contains(&self, name: &str) -> bool {
        let mut found = false;
        self.values(name, &mut |_| found = true);
        found
    }
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
    /// A decimal number of any size.
    Decimal(Arc<Decimal>),
    /// One character, as `charAt` returns.
    Char(char),
    /// Text.
    Text(Cow<'a, str>),
    /// A list.
    List(Arc<[Self]>),
    /// An array, such as `request.paths`: it has a `length` and none of the methods of a list.
    Array(Arc<[Self]>),
    /// An array of bytes.
    Bytes(Arc<[u8]>),
    /// A map.
    Map(Arc<Map<'a>>),
    /// An entry of a map: `key` and `value`.
    Entry(Arc<(Self, Self)>),
    /// Header fields.
    Headers(&'a Headers),
    /// Names with lists of values.
    Params(&'a dyn MultiLookup),
    /// A map that is looked into.
    Lookup(&'a dyn Lookup),
    /// Something with properties.
    Object(&'a dyn Object),
    /// A type, a date, a formatter and the like.
    Native(Arc<Native>),
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

    /// A list of these items.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(items.into())
    }

    /// An array of these items.
    pub fn array(items: Vec<Self>) -> Self {
        Self::Array(items.into())
    }

    /// A map of these entries, in their order.
    pub fn map(entries: Map<'a>) -> Self {
        Self::Map(Arc::new(entries))
    }

    /// The same value, holding nothing borrowed. Header fields and looked-up maps are copied; an object becomes null.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null | Self::Object(_) => Value::Null,
            Self::Headers(_) | Self::Lookup(_) | Self::Params(_) => Value::Map(Arc::new(
                super::maps::entries(&self)
                    .into_iter()
                    .map(|(key, value)| (key.into_owned(), value.into_owned()))
                    .collect(),
            )),
            Self::Decimal(number) => Value::Decimal(number),
            Self::Char(char) => Value::Char(char),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Native(native) => Value::Native(native),
            Self::Entry(entry) => Value::Entry(Arc::new((
                entry.0.clone().into_owned(),
                entry.1.clone().into_owned(),
            ))),
            Self::Array(items) => {
                Value::Array(items.iter().map(|item| item.clone().into_owned()).collect())
            }
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

impl From<i32> for Value<'_> {
    fn from(number: i32) -> Self {
        Self::Int(number)
    }
}
