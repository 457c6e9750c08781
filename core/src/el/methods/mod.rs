//! The methods that expressions may call (contract expression-language 5): a list, nothing reflective.

mod collection;
mod numeric;
pub(super) mod text;

pub(super) use numeric::decimal_argument as numeric_decimal_argument;

use std::borrow::Cow;

use super::eval::Evaluation;
use super::pattern::Pattern;
use super::{ElError, Value, compare, statics, temporal};

/// What a method gives; `None` when there is none of this name and these arguments.
pub(super) type Called<'a> = Result<Option<Value<'a>>, ElError>;

/// Calls a method on a value that is not null.
pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    value: &Value<'a>,
    name: &str,
    arguments: &[Value<'a>],
    pattern: Option<&Pattern>,
) -> Called<'a> {
    let found = match value {
        Value::Text(text) => text::call(evaluation, text, name, arguments, pattern)?,
        Value::Int(_) | Value::Long(_) | Value::Float(_) | Value::Double(_) | Value::Decimal(_) => {
            numeric::call(evaluation, value, name, arguments)?
        }
        Value::List(_)
        | Value::Map(_)
        | Value::Lookup(_)
        | Value::Headers(_)
        | Value::Params(_)
        | Value::Entry(_) => collection::call(evaluation, value, name, arguments)?,
        Value::Native(native) => match statics::call(evaluation, native, name, arguments)? {
            Some(found) => Some(found),
            None => temporal::call(evaluation, native, name, arguments)?,
        },
        Value::Object(object) => object.call(name, arguments).transpose()?,
        _ => None,
    };
    if found.is_some() {
        return Ok(found);
    }
    // Every value has these.
    Ok(match (name, arguments) {
        ("toString", []) => {
            let text = value.java_text();
            evaluation.budget.take(text.len())?;
            Some(Value::from(text))
        }
        ("hashCode", []) => {
            evaluation.budget.spend(16)?;
            Some(Value::Int(compare::hash(value)))
        }
        ("equals", [other]) => Some(Value::Bool(compare::equals(value, other))),
        _ => None,
    })
}

/// An argument that must be text; null is what a called method fails on.
pub(super) fn text_argument<'a>(value: &Value<'a>) -> Result<Cow<'a, str>, ElError> {
    value
        .clone()
        .into_text()?
        .ok_or_else(|| ElError::runtime("an argument is null"))
}

/// An argument that must be an integer of 32 bits.
pub(super) fn int_argument(value: &Value<'_>) -> Result<i32, ElError> {
    value
        .to_integer()?
        .ok_or_else(|| ElError::evaluation("an argument is null"))
}

/// An argument that must be an integer of 64 bits.
pub(super) fn long_argument(value: &Value<'_>) -> Result<i64, ElError> {
    value
        .to_long()?
        .ok_or_else(|| ElError::evaluation("an argument is null"))
}

/// An argument that must be a double.
pub(super) fn double_argument(value: &Value<'_>) -> Result<f64, ElError> {
    value
        .to_double()?
        .ok_or_else(|| ElError::evaluation("an argument is null"))
}
