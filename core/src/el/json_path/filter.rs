//! Filters of JSON paths: `[?(@.price > 9 && @.cat == 'a')]`.

use crate::el::constant::Constant;
use std::cmp::Ordering;

use super::{JsonPath, Stop, items};
use crate::el::limits::Budget;
use crate::el::pattern::Pattern;
use crate::el::{ElError, Value, compare, maps, number};

/// A condition on an element.
#[derive(Debug)]
pub(super) enum Filter {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    /// The path leads somewhere.
    Exists(JsonPath, bool),
    /// A constant as a condition.
    Constant(bool),
    Compare(Operand, Operator, Operand),
}

/// A side of a comparison.
#[derive(Debug)]
pub(super) enum Operand {
    /// The path, and whether it begins at the root.
    Path(JsonPath, bool),
    Constant(Constant),
    Pattern(Box<Pattern>),
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    SameType,
    NotSameType,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    In,
    NotIn,
    SubsetOf,
    AnyOf,
    NoneOf,
    All,
    Contains,
    Size,
    Empty,
    Type,
}

impl Operator {
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "==" => Self::Equal,
            "!=" | "<>" => Self::NotEqual,
            "===" => Self::SameType,
            "!==" => Self::NotSameType,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "=~" => Self::Matches,
            "in" => Self::In,
            "nin" => Self::NotIn,
            "subsetof" => Self::SubsetOf,
            "anyof" => Self::AnyOf,
            "noneof" => Self::NoneOf,
            "all" => Self::All,
            "contains" => Self::Contains,
            "size" => Self::Size,
            "empty" => Self::Empty,
            "type" => Self::Type,
            _ => return None,
        })
    }
}

fn start<'v, 'a>(from_root: bool, root: &'v Value<'a>, element: &'v Value<'a>) -> &'v Value<'a> {
    if from_root { root } else { element }
}

impl Filter {
    /// Whether an element is kept.
    pub(super) fn accepts<'a>(
        &self,
        root: &Value<'a>,
        element: &Value<'a>,
        budget: &mut Budget<'_>,
    ) -> Result<bool, ElError> {
        budget.spend(1)?;
        Ok(match self {
            Self::Or(filters) => {
                for filter in filters {
                    if filter.accepts(root, element, budget)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::And(filters) => {
                for filter in filters {
                    if !filter.accepts(root, element, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Not(filter) => !filter.accepts(root, element, budget)?,
            Self::Exists(path, from_root) => {
                match path.find(root, start(*from_root, root, element), false, budget) {
                    Ok(_) => true,
                    Err(Stop::Missing) => false,
                    Err(Stop::Error(error)) => return Err(error),
                }
            }
            Self::Constant(flag) => *flag,
            Self::Compare(left, operator, right) => {
                compare_operands(left, *operator, right, root, element, budget)?
            }
        })
    }
}

/// The value of an operand; `None` when its path leads nowhere.
fn value<'a>(
    operand: &Operand,
    root: &Value<'a>,
    element: &Value<'a>,
    budget: &mut Budget<'_>,
) -> Result<Option<Value<'a>>, ElError> {
    match operand {
        Operand::Constant(value) => Ok(Some(value.value().into_owned())),
        Operand::Path(path, from_root) => {
            match path.find(root, start(*from_root, root, element), true, budget) {
                Ok(value) => Ok(Some(value)),
                Err(Stop::Missing) => Ok(None),
                Err(Stop::Error(error)) => Err(error),
            }
        }
        Operand::Pattern(_) => Ok(None),
    }
}

fn compare_operands<'a>(
    left: &Operand,
    operator: Operator,
    right: &Operand,
    root: &Value<'a>,
    element: &Value<'a>,
    budget: &mut Budget<'_>,
) -> Result<bool, ElError> {
    let left_value = value(left, root, element, budget)?;
    let right_value = value(right, root, element, budget)?;
    if operator == Operator::Matches {
        let (pattern, input) = match (left, right) {
            (_, Operand::Pattern(pattern)) => (pattern, left_value),
            (Operand::Pattern(pattern), _) => (pattern, right_value),
            _ => return Ok(false),
        };
        return match input {
            Some(Value::Text(text)) => pattern.matches(&text, budget),
            Some(number) if compare::is_number(&number) => {
                pattern.matches(&number.java_text(), budget)
            }
            Some(Value::List(items)) => {
                for item in items.iter() {
                    if let Value::Text(text) = item
                        && pattern.matches(text, budget)?
                    {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => Ok(false),
        };
    }
    let (Some(left), Some(right)) = (left_value, right_value) else {
        return Ok(operator == Operator::NotEqual);
    };
    let work = [&left, &right].map(|value| items(value).map_or(1, |items| 1 + items.len() as u64));
    budget.spend(work[0].saturating_mul(work[1]) / 8)?;
    let contains = |list: &Value<'_>, wanted: &Value<'_>| {
        items(list).is_some_and(|items| items.iter().any(|item| equal(item, wanted)))
    };
    let every = |part: &Value<'_>, list: &Value<'_>| {
        items(part).is_some_and(|items| items.iter().all(|item| contains(list, item)))
    };
    let any = |part: &Value<'_>, list: &Value<'_>| {
        items(part).is_some_and(|items| items.iter().any(|item| contains(list, item)))
    };
    let ordered = |accepted: fn(Ordering) -> bool| match (&left, &right) {
        (Value::Text(left), Value::Text(right)) => accepted(compare::texts(left, right)),
        _ => compare::numbers(&left, &right).is_some_and(accepted),
    };
    let same_type = || {
        std::mem::discriminant(&left) == std::mem::discriminant(&right)
            || (compare::is_number(&left) && compare::is_number(&right))
    };
    let size = |value: &Value<'_>| match value {
        Value::Text(text) => Some(text.encode_utf16().count()),
        _ if maps::is_map(value) => Some(maps::len(value)),
        _ => items(value).map(|items| items.len()),
    };
    Ok(match operator {
        Operator::Equal => equal(&left, &right),
        Operator::NotEqual => !equal(&left, &right),
        Operator::SameType => same_type() && equal(&left, &right),
        Operator::NotSameType => !(same_type() && equal(&left, &right)),
        Operator::Less => ordered(Ordering::is_lt),
        Operator::LessOrEqual => ordered(Ordering::is_le),
        Operator::Greater => ordered(Ordering::is_gt),
        Operator::GreaterOrEqual => ordered(Ordering::is_ge),
        Operator::In => contains(&right, &left),
        Operator::NotIn => !contains(&right, &left),
        Operator::SubsetOf => every(&left, &right),
        Operator::AnyOf => any(&left, &right),
        Operator::NoneOf => !any(&left, &right),
        Operator::All => every(&right, &left),
        Operator::Contains => match (&left, &right) {
            (Value::Text(text), Value::Text(wanted)) => text.contains(&**wanted),
            _ => contains(&left, &right),
        },
        Operator::Size => match (size(&left), right.to_long()) {
            (Some(size), Ok(Some(wanted))) => size as i64 == wanted,
            _ => false,
        },
        Operator::Empty => match (size(&left), &right) {
            (Some(size), Value::Bool(wanted)) => (size == 0) == *wanted,
            _ => false,
        },
        Operator::Type | Operator::Matches => false,
    })
}

/// Equality of JSON values: a number also equals its text.
fn equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Text(text), other) if compare::is_number(other) => **text == other.java_text(),
        (other, Value::Text(text)) if compare::is_number(other) => number::parse_double(text)
            .is_some_and(|number| compare::equal(other, &Value::Double(number))),
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right.iter())
                    .all(|(a, b)| compare::equal(a, b))
        }
        _ => compare::equal(left, right),
    }
}
