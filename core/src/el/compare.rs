//! Equality, order and hash codes as Java has them.

use std::cmp::Ordering;

use super::convert::NESTING_MAX;
use super::decimal::Decimal;
use super::{ElError, Value, maps};

/// Whether a value is a number.
pub(super) fn is_number(value: &Value<'_>) -> bool {
    rank(value) > 0
}

/// How far a number is widened: the wider of two operands decides.
pub(super) fn rank(value: &Value<'_>) -> u8 {
    match value {
        Value::Int(_) => 1,
        Value::Long(_) => 2,
        Value::Float(_) => 3,
        Value::Double(_) => 4,
        Value::Decimal(_) => 5,
        _ => 0,
    }
}

/// A number as a decimal; `None` when it is not finite or not a number.
pub(super) fn decimal(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Int(number) => Some(Decimal::whole((*number).into())),
        Value::Long(number) => Some(Decimal::whole(*number)),
        Value::Float(number) => Decimal::parse(&super::number::float_text(*number)),
        Value::Double(number) => Decimal::double(*number),
        Value::Decimal(number) => Some((**number).clone()),
        _ => None,
    }
}

fn order_doubles(left: f64, right: f64) -> Ordering {
    // As Double.compare: NaN is the greatest, and 0.0 is greater than -0.0.
    left.partial_cmp(&right)
        .filter(|order| *order != Ordering::Equal || left != 0.0)
        .unwrap_or_else(|| left.total_cmp(&right))
}

fn double(value: &Value<'_>) -> f64 {
    value.to_double().ok().flatten().unwrap_or(f64::NAN)
}

/// Order of two numbers; `None` when one is none.
pub(super) fn numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    Some(match rank(left).max(rank(right)) {
        _ if !is_number(left) || !is_number(right) => return None,
        5 => match (decimal(left), decimal(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => order_doubles(double(left), double(right)),
        },
        4 => order_doubles(double(left), double(right)),
        3 => order_doubles(
            f64::from(double(left) as f32),
            f64::from(double(right) as f32),
        ),
        _ => left.to_long().ok()?.cmp(&right.to_long().ok()?),
    })
}

/// The operator `==`: numbers by value, text by characters, anything else as [`equals`].
pub(super) fn equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => left == right,
        _ => match numbers(left, right) {
            // Equal as primitives are: NaN differs from itself, and the zeros are the same.
            Some(_) if rank(left).max(rank(right)) == 4 || rank(left).max(rank(right)) == 3 => {
                double(left) == double(right)
            }
            Some(order) => order == Ordering::Equal,
            None => equals(left, right),
        },
    }
}

/// The operators `<` and its like.
pub(super) fn order(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering, ElError> {
    if let Some(order) = numbers(left, right) {
        return Ok(order);
    }
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Ordering::Equal),
        (Value::Null, _) => Ok(Ordering::Less),
        (_, Value::Null) => Ok(Ordering::Greater),
        (Value::Text(left), Value::Text(right)) => Ok(texts(left, right)),
        (Value::Bool(left), Value::Bool(right)) => Ok(left.cmp(right)),
        (Value::Char(left), Value::Char(right)) => Ok(left.cmp(right)),
        (Value::Native(left), Value::Native(right)) => left
            .order(right)
            .ok_or_else(|| not_comparable(&Value::Null, &Value::Null)),
        _ => Err(not_comparable(left, right)),
    }
}

fn not_comparable(left: &Value<'_>, right: &Value<'_>) -> ElError {
    ElError::evaluation(format!(
        "cannot compare {} and {}",
        left.kind(),
        right.kind()
    ))
}

/// Order of texts by UTF-16 units.
pub(super) fn texts(left: &str, right: &str) -> Ordering {
    if left.is_ascii() && right.is_ascii() {
        left.cmp(right)
    } else {
        left.encode_utf16().cmp(right.encode_utf16())
    }
}

/// Java's `equals`: types must be the same.
pub(super) fn equals(left: &Value<'_>, right: &Value<'_>) -> bool {
    equals_at(left, right, 0)
}

fn equals_at(left: &Value<'_>, right: &Value<'_>, depth: usize) -> bool {
    if depth > NESTING_MAX {
        return false;
    }
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(left), Value::Int(right)) => left == right,
        (Value::Long(left), Value::Long(right)) => left == right,
        (Value::Float(left), Value::Float(right)) => left.to_bits() == right.to_bits(),
        (Value::Double(left), Value::Double(right)) => left.to_bits() == right.to_bits(),
        (Value::Decimal(left), Value::Decimal(right)) => left == right,
        (Value::Char(left), Value::Char(right)) => left == right,
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::Bytes(left), Value::Bytes(right)) => left == right,
        (Value::List(left), Value::List(right)) | (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right.iter())
                    .all(|(left, right)| equals_at(left, right, depth + 1))
        }
        (Value::Entry(left), Value::Entry(right)) => {
            equals_at(&left.0, &right.0, depth + 1) && equals_at(&left.1, &right.1, depth + 1)
        }
        (Value::Native(left), Value::Native(right)) => left == right,
        (Value::Headers(left), Value::Headers(right)) => std::ptr::eq(*left, *right),
        (Value::Object(left), Value::Object(right)) => {
            std::ptr::addr_eq(std::ptr::from_ref(*left), std::ptr::from_ref(*right))
        }
        _ if maps::is_map(left) && maps::is_map(right) => {
            let (left, right) = (maps::entries(left), maps::entries(right));
            left.len() == right.len()
                && left.len() <= MAP_COMPARED_MAX
                && left.iter().all(|(key, value)| {
                    right.iter().any(|(other, other_value)| {
                        equals_at(key, other, depth + 1) && equals_at(value, other_value, depth + 1)
                    })
                })
        }
        _ => false,
    }
}

/// Larger maps are never equal: the comparison takes the square of the number of their entries.
const MAP_COMPARED_MAX: usize = 256;

/// Java's `hashCode`.
pub(super) fn hash(value: &Value<'_>) -> i32 {
    hash_at(value, 0)
}

/// The hash code of text.
pub(super) fn hash_text(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(unit.into())
    })
}

fn hash_bits(bits: i64) -> i32 {
    (bits ^ (bits as u64 >> 32) as i64) as i32
}

fn hash_at(value: &Value<'_>, depth: usize) -> i32 {
    if depth > NESTING_MAX {
        return 0;
    }
    match value {
        Value::Bool(flag) => {
            if *flag {
                1231
            } else {
                1237
            }
        }
        Value::Int(number) => *number,
        Value::Long(number) => hash_bits(*number),
        Value::Float(number) => number.to_bits() as i32,
        Value::Double(number) => hash_bits(number.to_bits() as i64),
        Value::Decimal(number) => number.hash_code(),
        Value::Char(char) => u32::from(*char) as i32,
        Value::Text(text) => hash_text(text),
        Value::List(items) | Value::Array(items) => items.iter().fold(1i32, |hash, item| {
            hash.wrapping_mul(31).wrapping_add(hash_at(item, depth + 1))
        }),
        Value::Entry(entry) => hash_at(&entry.0, depth + 1) ^ hash_at(&entry.1, depth + 1),
        Value::Native(native) => hash_text(&native.text()),
        Value::Null | Value::Object(_) | Value::Bytes(_) => 0,
        Value::Map(_) | Value::Lookup(_) | Value::Headers(_) | Value::Params(_) => {
            maps::entries(value)
                .iter()
                .fold(0i32, |hash, (key, value)| {
                    hash.wrapping_add(hash_at(key, depth + 1) ^ hash_at(value, depth + 1))
                })
        }
    }
}
