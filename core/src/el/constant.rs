//! Constants of compiled expressions. Values may borrow from an exchange and stay on its worker; a compiled template is shared by all of
//! them, so its constants are kept in a form of their own.

use std::borrow::Cow;
use std::sync::Arc;

use super::Value;
use super::decimal::Decimal;
use super::native::Native;

/// A value that borrows nothing.
#[derive(Debug, Clone)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal(Arc<Decimal>),
    Char(char),
    Text(Box<str>),
    List(Box<[Self]>),
    Map(Box<[(Self, Self)]>),
    Native(Arc<Native>),
}

impl Constant {
    /// The constant of a value; `None` for what is not worth folding or cannot be kept.
    pub(super) fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Int(*number),
            Value::Long(number) => Self::Long(*number),
            Value::Float(number) => Self::Float(*number),
            Value::Double(number) => Self::Double(*number),
            Value::Decimal(number) => Self::Decimal(Arc::clone(number)),
            Value::Char(character) => Self::Char(*character),
            Value::Text(text) => Self::Text(Box::from(&**text)),
            Value::List(items) => Self::List(items.iter().map(Self::of).collect::<Option<_>>()?),
            Value::Map(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| Some((Self::of(key)?, Self::of(value)?)))
                    .collect::<Option<_>>()?,
            ),
            Value::Native(native) => Self::Native(Arc::clone(native)),
            _ => return None,
        })
    }

    /// The value, lent by this constant.
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => Value::Int(*number),
            Self::Long(number) => Value::Long(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Decimal(number) => Value::Decimal(Arc::clone(number)),
            Self::Char(character) => Value::Char(*character),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::List(items) => Value::List(items.iter().map(Self::value).collect()),
            Self::Map(entries) => Value::Map(Arc::new(
                entries
                    .iter()
                    .map(|(key, value)| (key.value(), value.value()))
                    .collect(),
            )),
            Self::Native(native) => Value::Native(Arc::clone(native)),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_template_may_be_shared_by_workers() {
        fn shared<T: Send + Sync>() {}
        shared::<crate::el::Template>();
    }
}
