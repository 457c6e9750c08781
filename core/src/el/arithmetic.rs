//! Arithmetic (contract expression-language 2): 32 bits wrap around, mixed operands widen, text concatenates.

use std::borrow::Cow;
use std::sync::Arc;

use super::ast::Arithmetic;
use super::compare::{decimal, is_number, rank};
use super::decimal::{Decimal, Rounding};
use super::limits::Budget;
use super::{ElError, Value, maps};

fn not_supported(operator: &str, left: &Value<'_>, right: &Value<'_>) -> ElError {
    ElError::evaluation(format!(
        "'{operator}' is not supported between {} and {}",
        left.kind(),
        right.kind()
    ))
}

fn by_zero() -> ElError {
    ElError::runtime("division by zero")
}

fn decimals(left: &Value<'_>, right: &Value<'_>) -> Result<(Decimal, Decimal), ElError> {
    match (decimal(left), decimal(right)) {
        (Some(left), Some(right)) => Ok((left, right)),
        _ => Err(ElError::evaluation("a number is not finite or too large")),
    }
}

/// Text as the operator `+` joins it.
fn joined_text<'a>(value: &Value<'a>) -> Result<Cow<'a, str>, ElError> {
    Ok(match value {
        Value::Null => Cow::Borrowed("null"),
        Value::Entry(_) | Value::Object(_) => Cow::Owned(value.java_text()),
        Value::Native(native) => Cow::Owned(native.text()),
        _ if maps::is_map(value) => Cow::Owned(value.java_text()),
        _ => value.clone().into_text()?.unwrap_or(Cow::Borrowed("null")),
    })
}

fn concatenate<'a>(
    left: &Value<'a>,
    right: &Value<'a>,
    budget: &mut Budget<'_>,
) -> Result<Value<'a>, ElError> {
    let mut text = joined_text(left)?.into_owned();
    let right = joined_text(right)?;
    let bytes = text.len() + right.len();
    text.push_str(&right);
    if bytes > budget.limits.concat_chars
        && text.encode_utf16().count() > budget.limits.concat_chars
    {
        return Err(ElError::evaluation("a concatenated text is too long"));
    }
    budget.take(bytes)?;
    Ok(Value::Text(Cow::Owned(text)))
}

/// Applies an operator.
pub(super) fn apply<'a>(
    operator: Arithmetic,
    left: &Value<'a>,
    right: &Value<'a>,
    budget: &mut Budget<'_>,
) -> Result<Value<'a>, ElError> {
    let symbol = match operator {
        Arithmetic::Add => "+",
        Arithmetic::Subtract => "-",
        Arithmetic::Multiply => "*",
        Arithmetic::Divide => "/",
        Arithmetic::Remainder => "%",
    };
    if !is_number(left) || !is_number(right) {
        return match (operator, left, right) {
            (Arithmetic::Add, Value::Text(_), _) | (Arithmetic::Add, _, Value::Text(_)) => {
                concatenate(left, right, budget)
            }
            (Arithmetic::Subtract, Value::Text(text), Value::Int(number)) => {
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(char), None) => {
                        let unit = (u32::from(char) as i32).wrapping_sub(*number) as u16;
                        Ok(Value::from(String::from_utf16_lossy(&[unit])))
                    }
                    _ => Err(not_supported(symbol, left, right)),
                }
            }
            (Arithmetic::Multiply, Value::Text(text), Value::Int(count)) => {
                let count = usize::try_from(*count).map_err(|_| {
                    ElError::evaluation("a text cannot be repeated less than 0 times")
                })?;
                let chars = text.encode_utf16().count();
                if chars.saturating_mul(count) > budget.limits.repeat_chars {
                    return Err(ElError::evaluation("a repeated text is too long"));
                }
                budget.take(text.len() * count)?;
                Ok(Value::from(text.repeat(count)))
            }
            _ => Err(not_supported(symbol, left, right)),
        };
    }
    match rank(left).max(rank(right)) {
        5 => {
            let (left, right) = decimals(left, right)?;
            // Multiplication of ten thousand digits is what it costs at most.
            budget.spend(
                16 + u64::from((left.precision() as u32).saturating_mul(right.precision() as u32))
                    / 256,
            )?;
            let result = match operator {
                Arithmetic::Add => left.add(&right)?,
                Arithmetic::Subtract => left.subtract(&right)?,
                Arithmetic::Multiply => left.multiply(&right)?,
                Arithmetic::Divide => {
                    left.divide(&right, left.scale().max(right.scale()), Rounding::HalfEven)?
                }
                Arithmetic::Remainder => left.remainder(&right)?,
            };
            Ok(Value::Decimal(Arc::new(result)))
        }
        4 => {
            let left = left.to_double()?.unwrap_or_default();
            let right = right.to_double()?.unwrap_or_default();
            Ok(Value::Double(match operator {
                Arithmetic::Add => left + right,
                Arithmetic::Subtract => left - right,
                Arithmetic::Multiply => left * right,
                Arithmetic::Divide => left / right,
                Arithmetic::Remainder => left % right,
            }))
        }
        3 => {
            let left = left.to_double()?.unwrap_or_default() as f32;
            let right = right.to_double()?.unwrap_or_default() as f32;
            Ok(Value::Float(match operator {
                Arithmetic::Add => left + right,
                Arithmetic::Subtract => left - right,
                Arithmetic::Multiply => left * right,
                Arithmetic::Divide => left / right,
                Arithmetic::Remainder => left % right,
            }))
        }
        2 => {
            let left = left.to_long()?.unwrap_or_default();
            let right = right.to_long()?.unwrap_or_default();
            Ok(Value::Long(match operator {
                Arithmetic::Add => left.wrapping_add(right),
                Arithmetic::Subtract => left.wrapping_sub(right),
                Arithmetic::Multiply => left.wrapping_mul(right),
                Arithmetic::Divide if right == 0 => return Err(by_zero()),
                Arithmetic::Remainder if right == 0 => return Err(by_zero()),
                Arithmetic::Divide => left.wrapping_div(right),
                Arithmetic::Remainder => left.wrapping_rem(right),
            }))
        }
        _ => {
            let (Value::Int(left), Value::Int(right)) = (left, right) else {
                return Err(not_supported(symbol, left, right));
            };
            Ok(Value::Int(match operator {
                Arithmetic::Add => left.wrapping_add(*right),
                Arithmetic::Subtract => left.wrapping_sub(*right),
                Arithmetic::Multiply => left.wrapping_mul(*right),
                Arithmetic::Divide if *right == 0 => return Err(by_zero()),
                Arithmetic::Remainder if *right == 0 => return Err(by_zero()),
                Arithmetic::Divide => left.wrapping_div(*right),
                Arithmetic::Remainder => left.wrapping_rem(*right),
            }))
        }
    }
}

/// `left ^ right`: an integer result that 32 bits do not hold becomes a long, and everything saturates.
pub(super) fn power<'a>(left: &Value<'a>, right: &Value<'a>) -> Result<Value<'a>, ElError> {
    if !is_number(left) || !is_number(right) {
        return Err(not_supported("^", left, right));
    }
    if let Value::Decimal(base) = left {
        let exponent = right.to_long()?.unwrap_or_default();
        let exponent = i32::try_from(exponent).map_err(|_| ElError::runtime("invalid exponent"))?;
        return Ok(Value::Decimal(Arc::new(base.pow(exponent)?)));
    }
    let result = left
        .to_double()?
        .unwrap_or_default()
        .powf(right.to_double()?.unwrap_or_default());
    Ok(match rank(left).max(rank(right)) {
        1 => {
            let whole = result as i64;
            i32::try_from(whole).map_or(Value::Long(whole), Value::Int)
        }
        2 => Value::Long(result as i64),
        _ => Value::Double(result),
    })
}

/// `-value`.
pub(super) fn negate<'a>(value: &Value<'a>) -> Result<Value<'a>, ElError> {
    Ok(match value {
        Value::Int(number) => Value::Int(number.wrapping_neg()),
        Value::Long(number) => Value::Long(number.wrapping_neg()),
        Value::Float(number) => Value::Float(-number),
        Value::Double(number) => Value::Double(-number),
        Value::Decimal(number) => Value::Decimal(Arc::new(number.negate())),
        _ => {
            return Err(ElError::evaluation(format!(
                "'-' is not supported for {}",
                value.kind()
            )));
        }
    })
}
