//! Constants of compiled forms, which threads share: they hold nothing that is lent.

use std::sync::Arc;

use super::Value;
use super::decimal::Decimal;

/// A constant.
#[derive(Debug)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal(Arc<Decimal>),
    Text(Box<str>),
    List(Box<[Self]>),
    Map(Box<[(Self, Self)]>),
}

impl Constant {
    /// The constant of a value; `None` when there is none for its type.
    pub(super) fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Int(number) => Self::Int(*number),
            Value::Long(number) => Self::Long(*number),
            Value::Float(number) => Self::Float(*number),
            Value::Double(number) => Self::Double(*number),
            Value::Decimal(number) => Self::Decimal(number.clone()),
            Value::Text(text) => Self::Text((&**text).into()),
            Value::List(items) => Self::List(items.iter().map(Self::of).collect::<Option<_>>()?),
            Value::Map(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| Some((Self::of(key)?, Self::of(value)?)))
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        })
    }

    /// The value, which borrows its texts from here.
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => Value::Int(*number),
            Self::Long(number) => Value::Long(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Decimal(number) => Value::Decimal(number.clone()),
            Self::Text(text) => Value::text(text),
            Self::List(items) => Value::List(items.iter().map(Self::value).collect()),
            Self::Map(entries) => Value::map(
                entries
                    .iter()
                    .map(|(key, value)| (key.value(), value.value()))
                    .collect(),
            ),
        }
    }
}
