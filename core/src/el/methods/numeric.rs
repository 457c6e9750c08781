//! Methods of numbers.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Called, int_argument, text_argument};
use crate::el::decimal::{Decimal, Rounding};
use crate::el::eval::Evaluation;
use crate::el::{ElError, Value, compare};

/// Calls a method of a number.
pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    value: &Value<'a>,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    if let Value::Decimal(number) = value
        && let Some(found) = decimal(evaluation, number, name, arguments)?
    {
        return Ok(Some(found));
    }
    let double = || value.to_double().map(Option::unwrap_or_default);
    Ok(Some(match (name, arguments) {
        ("intValue", []) => Value::Int(match value {
            Value::Long(number) => *number as i32,
            Value::Decimal(number) => number.low_bits() as i32,
            Value::Int(number) => *number,
            _ => double()? as i32,
        }),
        ("longValue", []) => Value::Long(long(value)?),
        ("shortValue", []) => Value::Int((int(value)? as i16).into()),
        ("byteValue", []) => Value::Int((int(value)? as i8).into()),
        ("doubleValue", []) => Value::Double(double()?),
        ("floatValue", []) => Value::Float(double()? as f32),
        ("isNaN", []) if matches!(value, Value::Double(_) | Value::Float(_)) => {
            Value::Bool(double()?.is_nan())
        }
        ("isInfinite", []) if matches!(value, Value::Double(_) | Value::Float(_)) => {
            Value::Bool(double()?.is_infinite())
        }
        ("compareTo", [other]) => {
            if !compare::is_number(other) && other.as_text().is_none() {
                return Err(ElError::evaluation("an argument is not a number"));
            }
            let order = match compare::numbers(value, other) {
                Some(order) => order,
                None => double()?.total_cmp(&super::double_argument(other)?),
            };
            Value::Int(order as i32)
        }
        _ => return Ok(None),
    }))
}

fn long(value: &Value<'_>) -> Result<i64, ElError> {
    match value {
        Value::Decimal(number) => Ok(number.low_bits()),
        _ => Ok(value.to_long()?.unwrap_or_default()),
    }
}

fn int(value: &Value<'_>) -> Result<i32, ElError> {
    Ok(match value {
        Value::Double(number) => *number as i32,
        Value::Float(number) => *number as i32,
        _ => long(value)? as i32,
    })
}

/// An argument that must be a decimal.
pub(in crate::el) fn decimal_argument(value: &Value<'_>) -> Result<Decimal, ElError> {
    match value {
        Value::Text(text) => Decimal::parse(text.trim()),
        _ => compare::decimal(value),
    }
    .ok_or_else(|| ElError::evaluation("an argument is not a number"))
}

fn rounding(value: &Value<'_>) -> Result<Rounding, ElError> {
    match value {
        Value::Int(number) => {
            Rounding::numbered(*number).ok_or_else(|| ElError::runtime("invalid rounding mode"))
        }
        _ => Rounding::of(&text_argument(value)?)
            .ok_or_else(|| ElError::evaluation("an argument is not a rounding mode")),
    }
}

fn decimal<'a>(
    evaluation: &mut Evaluation<'a>,
    number: &Decimal,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    evaluation
        .budget
        .spend(4 + u64::from(number.precision() as u32))?;
    let result = match (name, arguments) {
        ("add", [other]) => number.add(&decimal_argument(other)?)?,
        ("subtract", [other]) => number.subtract(&decimal_argument(other)?)?,
        ("multiply", [other]) => number.multiply(&decimal_argument(other)?)?,
        ("divide", [other]) => number.divide_exactly(&decimal_argument(other)?)?,
        ("divide", [other, mode]) => {
            number.divide(&decimal_argument(other)?, number.scale(), rounding(mode)?)?
        }
        ("divide", [other, scale, mode]) => number.divide(
            &decimal_argument(other)?,
            int_argument(scale)?,
            rounding(mode)?,
        )?,
        ("remainder", [other]) => number.remainder(&decimal_argument(other)?)?,
        ("max", [other]) => {
            let other = decimal_argument(other)?;
            if other > *number {
                other
            } else {
                number.clone()
            }
        }
        ("min", [other]) => {
            let other = decimal_argument(other)?;
            if other < *number {
                other
            } else {
                number.clone()
            }
        }
        ("pow", [exponent]) => {
            evaluation.budget.spend(64)?;
            number.pow(int_argument(exponent)?)?
        }
        ("negate", []) => number.negate(),
        ("abs", []) => number.abs(),
        ("plus", []) => number.clone(),
        ("setScale", [scale]) => number.with_scale(int_argument(scale)?, Rounding::Unnecessary)?,
        ("setScale", [scale, mode]) => number.with_scale(int_argument(scale)?, rounding(mode)?)?,
        ("stripTrailingZeros", []) => number.clone().stripped(),
        ("scale", []) => return Ok(Some(Value::Int(number.scale()))),
        ("precision", []) => return Ok(Some(Value::Int(number.precision()))),
        ("signum", []) => return Ok(Some(Value::Int(number.signum()))),
        ("toPlainString", []) => {
            let text = number.plain_text();
            evaluation.budget.take(text.len())?;
            return Ok(Some(Value::from(text)));
        }
        ("compareTo", [other]) => {
            let order: Ordering = number.cmp(&decimal_argument(other)?);
            return Ok(Some(Value::Int(order as i32)));
        }
        _ => return Ok(None),
    };
    evaluation.budget.take(result.precision() as usize)?;
    Ok(Some(Value::Decimal(Arc::new(result))))
}
