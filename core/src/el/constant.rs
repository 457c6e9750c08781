//! Constants of compiled expressions: values that threads may share, which a [`Value`] is not, because it may lend from an exchange.

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
    Char(char),
    Text(Box<str>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Constant {
    /// The constant of a value; `None` for one that cannot be kept, such as a date.
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

    /// The value, lending its texts.
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
            Self::Text(text) => Value::text(text),
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
    use super::super::Template;

    #[test]
    fn compiled_templates_are_shared_by_threads() {
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&Template::new("{#request.id} {{1, 2.5, 'a', null, true}}"));
    }
}
