//! Methods of lists, maps, header fields and parameters.

use std::sync::Arc;

use super::{Called, int_argument, text_argument};
use crate::el::eval::Evaluation;
use crate::el::{ElError, Value, compare, maps};

/// Calls a method of a collection.
pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    value: &Value<'a>,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    match value {
        Value::List(items) => list(evaluation, items, name, arguments),
        Value::Entry(entry) => Ok(match (name, arguments) {
            ("getKey", []) => Some(entry.0.clone()),
            ("getValue", []) => Some(entry.1.clone()),
            _ => None,
        }),
        Value::Headers(_) => match headers(evaluation, value, name, arguments)? {
            Some(found) => Ok(Some(found)),
            None => multi(evaluation, value, name, arguments),
        },
        Value::Params(_) => multi(evaluation, value, name, arguments),
        _ => map(evaluation, value, name, arguments),
    }
}

fn list<'a>(
    evaluation: &mut Evaluation<'a>,
    items: &Arc<[Value<'a>]>,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    Ok(Some(match (name, arguments) {
        ("size", []) => Value::Int(items.len() as i32),
        ("isEmpty", []) => Value::Bool(items.is_empty()),
        ("contains", [wanted]) => {
            evaluation.budget.spend(items.len() as u64)?;
            Value::Bool(items.iter().any(|item| compare::equals(item, wanted)))
        }
        ("get", [at]) => usize::try_from(int_argument(at)?)
            .ok()
            .and_then(|at| items.get(at))
            .cloned()
            .ok_or_else(|| ElError::runtime("the index is outside of the list"))?,
        ("toString" | "hashCode", []) | ("equals", [_]) => {
            evaluation.budget.spend(items.len() as u64)?;
            return Ok(None);
        }
        _ => return Ok(None),
    }))
}

fn has_all_keys(value: &Value<'_>, names: &Value<'_>) -> Result<bool, ElError> {
    let names = names
        .to_list()
        .ok_or_else(|| ElError::runtime("an argument is null"))?;
    Ok(names.iter().all(|name| maps::contains_key(value, name)))
}

fn headers<'a>(
    evaluation: &mut Evaluation<'a>,
    value: &Value<'a>,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    evaluation.budget.spend(4)?;
    Ok(Some(match (name, arguments) {
        ("get", [key]) => maps::all_values(value, &text_argument(key)?)
            .into_iter()
            .next()
            .unwrap_or_default(),
        ("getAll", [key]) => Value::list(maps::all_values(value, &text_argument(key)?)),
        ("contains", [key]) => Value::Bool(maps::contains_key(value, key)),
        ("names", []) => Value::list(maps::keys(value)),
        _ => return Ok(None),
    }))
}

fn multi<'a>(
    evaluation: &mut Evaluation<'a>,
    value: &Value<'a>,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    evaluation.budget.spend(4)?;
    Ok(Some(match (name, arguments) {
        ("getFirst", [key]) => maps::all_values(value, &text_argument(key)?)
            .into_iter()
            .next()
            .unwrap_or_default(),
        ("containsAllKeys", [names]) => Value::Bool(has_all_keys(value, names)?),
        ("toSingleValueMap", []) => {
            let entries = maps::single_values(value);
            evaluation.budget.take_items(entries.len())?;
            Value::map(entries)
        }
        _ => return map(evaluation, value, name, arguments),
    }))
}

/// The key that a lookup by method uses: API properties take the first of a list.
fn key<'a>(value: &Value<'a>, key: &Value<'a>) -> Value<'a> {
    match (value, key) {
        (Value::Lookup(lookup), Value::List(items)) if lookup.converts_keys() => {
            items.first().cloned().unwrap_or_default()
        }
        _ => key.clone(),
    }
}

fn map<'a>(
    evaluation: &mut Evaluation<'a>,
    value: &Value<'a>,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    match (name, arguments) {
        ("containsKey", [wanted]) => {
            if let Value::Map(entries) = value {
                evaluation.budget.spend(entries.len() as u64 / 16)?;
            }
            Ok(Some(Value::Bool(maps::contains_key(
                value,
                &key(value, wanted),
            ))))
        }
        ("get", [wanted]) => {
            if let Value::Map(entries) = value {
                evaluation.budget.spend(entries.len() as u64 / 16)?;
            }
            maps::get_value(value, &key(value, wanted)).map(Some)
        }
        ("getOrDefault", [wanted, default]) => {
            let wanted = key(value, wanted);
            if maps::contains_key(value, &wanted) {
                maps::get_value(value, &wanted).map(Some)
            } else {
                Ok(Some(default.clone()))
            }
        }
        ("size", []) => {
            let length = maps::len(value);
            evaluation.budget.spend(length as u64 / 16)?;
            Ok(Some(Value::Int(length as i32)))
        }
        ("isEmpty", []) => Ok(Some(Value::Bool(maps::len(value) == 0))),
        ("keySet", []) => {
            let keys = maps::keys(value);
            evaluation.budget.take_items(keys.len())?;
            Ok(Some(Value::list(keys)))
        }
        ("values" | "entrySet" | "containsValue" | "toString" | "hashCode" | "equals", _) => {
            let entries = maps::entries(value);
            evaluation.budget.take_items(entries.len())?;
            Ok(match (name, arguments) {
                ("values", []) => Some(Value::list(
                    entries.into_iter().map(|(_, value)| value).collect(),
                )),
                ("entrySet", []) => Some(Value::list(
                    entries
                        .into_iter()
                        .map(|entry| Value::Entry(Arc::new(entry)))
                        .collect(),
                )),
                ("containsValue", [wanted]) => Some(Value::Bool(
                    entries
                        .iter()
                        .any(|(_, value)| compare::equals(value, wanted)),
                )),
                _ => None,
            })
        }
        _ => Ok(None),
    }
}
