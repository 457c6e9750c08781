//! Constants of compiled expressions. A [`Value`] may borrow from an exchange and stays on its thread; a template is shared by all.

use std::borrow::Cow;
use std::sync::Arc;

use super::Value;
use super::decimal::Decimal;
use super::native::Native;

/// A constant.
#[derive(Debug, Clone)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal(Arc<Decimal>),
    Text(Box<str>),
    Char(char),
    Native(Arc<Native>),
    List(Vec<Self>),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Constant {
    /// The constant of a value; `None` for a value that lives in an exchange.
    pub(super) fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Int(*number),
            Value::Long(number) => Self::Long(*number),
            Value::Float(number) => Self::Float(*number),
            Value::Double(number) => Self::Double(*number),
            Value::Decimal(number) => Self::Decimal(Arc::clone(number)),
            Value::Text(text) => Self::Text((**text).into()),
            Value::Char(character) => Self::Char(*character),
            Value::Native(native) => Self::Native(Arc::clone(native)),
            Value::List(items) => Self::List(items.iter().map(Self::of).collect::<Option<_>>()?),
            Value::Array(items) => Self::Array(items.iter().map(Self::of).collect::<Option<_>>()?),
            Value::Map(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| Some((Self::of(key)?, Self::of(value)?)))
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        })
    }

    /// Its value.
    pub(super) fn value(&self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => Value::Int(*number),
            Self::Long(number) => Value::Long(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Decimal(number) => Value::Decimal(Arc::clone(number)),
            Self::Text(text) => Value::Text(Cow::Owned(text.to_string())),
            Self::Char(character) => Value::Char(*character),
            Self::Native(native) => Value::Native(Arc::clone(native)),
            Self::Array(items) => Value::array(items.iter().map(Self::value).collect()),
            Self::List(items) => Value::list(items.iter().map(Self::value).collect()),
            Self::Map(entries) => Value::map(
                entries
                    .iter()
                    .map(|(key, value)| (key.value(), value.value()))
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::el::Template;

    #[test]
    fn templates_are_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Template>();
    }
}
