//! Static methods of `java.util.Collections`.

use std::sync::Arc;

use super::eval::Evaluation;
use super::methods::Called;
use super::{ElError, Value, compare, maps};

fn list_argument<'a>(value: &Value<'a>) -> Result<Arc<[Value<'a>]>, ElError> {
    match value {
        Value::List(items) => Ok(items.clone()),
        Value::Null => Err(ElError::runtime("an argument is null")),
        _ if maps::is_map(value) => Err(ElError::evaluation("an argument is not a list")),
        _ => value
            .to_list()
            .ok_or_else(|| ElError::runtime("an argument is null")),
    }
}

/// Calls a static method of `java.util.Collections`.
pub(super) fn collections<'a>(
    evaluation: &mut Evaluation<'a>,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    let failed = |error: ElError| ElError::runtime(error.message);
    Ok(Some(match (name, arguments) {
        ("max" | "min", [items]) => {
            let items = list_argument(items)?;
            evaluation.budget.spend(items.len() as u64)?;
            let mut best: Option<&Value<'a>> = None;
            for item in items.iter() {
                let better = match best {
                    None => true,
                    Some(best) => {
                        let order = compare::order(item, best).map_err(failed)?;
                        if name == "max" {
                            order.is_gt()
                        } else {
                            order.is_lt()
                        }
                    }
                };
                if better {
                    best = Some(item);
                }
            }
            best.cloned()
                .ok_or_else(|| ElError::runtime("the list is empty"))?
        }
        ("frequency", [items, wanted]) => {
            let items = list_argument(items)?;
            evaluation.budget.spend(items.len() as u64)?;
            Value::Int(
                items
                    .iter()
                    .filter(|item| compare::equals(item, wanted))
                    .count() as i32,
            )
        }
        ("disjoint", [left, right]) => {
            let (left, right) = (list_argument(left)?, list_argument(right)?);
            evaluation
                .budget
                .spend((left.len() as u64).saturating_mul(right.len() as u64))?;
            Value::Bool(
                !left
                    .iter()
                    .any(|item| right.iter().any(|other| compare::equals(item, other))),
            )
        }
        ("indexOfSubList" | "lastIndexOfSubList", [items, part]) => {
            let (items, part) = (list_argument(items)?, list_argument(part)?);
            evaluation
                .budget
                .spend((items.len() as u64).saturating_mul(1 + part.len() as u64))?;
            let is_at = |at: &usize| {
                items.get(*at..*at + part.len()).is_some_and(|found| {
                    found
                        .iter()
                        .zip(part.iter())
                        .all(|(a, b)| compare::equals(a, b))
                })
            };
            let mut places = 0..=items.len();
            let found = if name == "indexOfSubList" {
                places.find(is_at)
            } else {
                places.rev().find(is_at)
            };
            Value::Int(found.map_or(-1, |at| at as i32))
        }
        ("binarySearch", [items, wanted]) => {
            let items = list_argument(items)?;
            let mut failure = None;
            let found = items.binary_search_by(|item| {
                compare::order(item, wanted).unwrap_or_else(|error| {
                    failure = Some(error);
                    std::cmp::Ordering::Equal
                })
            });
            if let Some(error) = failure {
                return Err(failed(error));
            }
            Value::Int(match found {
                Ok(at) => at as i32,
                Err(at) => -(at as i32) - 1,
            })
        }
        _ => return Ok(None),
    }))
}
