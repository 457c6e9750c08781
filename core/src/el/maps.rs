//! Maps, however they are held: built, looked into, header fields, parameters.

use std::borrow::Cow;

use super::{ElError, Map, Value};
use crate::exchange::Headers;

fn lossy(bytes: &[u8]) -> Value<'_> {
    Value::Text(String::from_utf8_lossy(bytes))
}

/// Whether a value has keys.
pub(super) fn is_map(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Map(_) | Value::Lookup(_) | Value::Headers(_) | Value::Params(_)
    )
}

/// The values of a header field.
pub(super) fn header_values<'a>(headers: &'a Headers, name: &str) -> Vec<Value<'a>> {
    headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| lossy(field.value))
        .collect()
}

/// The value of a header field at a position.
pub(super) fn header_value<'a>(
    headers: &'a Headers,
    name: &str,
    position: usize,
) -> Option<Value<'a>> {
    headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
        .nth(position)
        .map(|field| lossy(field.value))
}

/// Every value of a name of a collection of names with lists.
pub(super) fn all_values<'a>(map: &Value<'a>, name: &str) -> Vec<Value<'a>> {
    match map {
        Value::Headers(headers) => header_values(headers, name),
        Value::Params(params) => {
            let mut values = Vec::new();
            params.values(name, &mut |value| values.push(Value::Text(value)));
            values
        }
        _ => Vec::new(),
    }
}

/// The value of a text key; null when it is absent.
pub(super) fn get<'a>(map: &Value<'a>, key: &str) -> Result<Value<'a>, ElError> {
    Ok(match map {
        Value::Map(entries) => entries
            .iter()
            .find(|(own, _)| own.as_text() == Some(key))
            .map_or(Value::Null, |(_, value)| value.clone()),
        Value::Lookup(lookup) => lookup.try_get(key)?,
        Value::Headers(_) | Value::Params(_) => {
            let values = all_values(map, key);
            if values.is_empty() {
                Value::Null
            } else {
                Value::list(values)
            }
        }
        _ => Value::Null,
    })
}

/// The value of any key, compared as Java does.
pub(super) fn get_value<'a>(map: &Value<'a>, key: &Value<'_>) -> Result<Value<'a>, ElError> {
    if let Value::Text(key) = key {
        return get(map, key);
    }
    Ok(match map {
        Value::Map(entries) => entries
            .iter()
            .find(|(own, _)| super::compare::equals(own, key))
            .map_or(Value::Null, |(_, value)| value.clone()),
        _ => Value::Null,
    })
}

/// Whether a key is there.
pub(super) fn contains_key(map: &Value<'_>, key: &Value<'_>) -> bool {
    match (map, key) {
        (Value::Map(entries), _) => entries
            .iter()
            .any(|(own, _)| super::compare::equals(own, key)),
        (Value::Lookup(lookup), Value::Text(key)) => lookup.contains_key(key),
        (Value::Headers(headers), Value::Text(key)) => headers.contains(key),
        (Value::Params(params), Value::Text(key)) => params.contains(key),
        _ => false,
    }
}

/// Every key.
pub(super) fn keys<'a>(map: &Value<'a>) -> Vec<Value<'a>> {
    match map {
        Value::Map(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
        Value::Lookup(lookup) => lookup.keys().into_iter().map(Value::Text).collect(),
        Value::Params(params) => params.names().into_iter().map(Value::Text).collect(),
        Value::Headers(headers) => {
            let mut names: Vec<&[u8]> = Vec::new();
            for field in headers.iter() {
                if !names
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(field.name))
                {
                    names.push(field.name);
                }
            }
            names.into_iter().map(lossy).collect()
        }
        _ => Vec::new(),
    }
}

/// Number of keys.
pub(super) fn len(map: &Value<'_>) -> usize {
    match map {
        Value::Map(entries) => entries.len(),
        _ => keys(map).len(),
    }
}

/// Every entry. A value that cannot be read is null.
pub(super) fn entries<'a>(map: &Value<'a>) -> Map<'a> {
    match map {
        Value::Map(entries) => entries.to_vec(),
        _ => keys(map)
            .into_iter()
            .map(|key| {
                let value = get(map, key.as_text().unwrap_or_default()).unwrap_or_default();
                (key, value)
            })
            .collect(),
    }
}

/// The first value of every name.
pub(super) fn single_values<'a>(map: &Value<'a>) -> Map<'a> {
    keys(map)
        .into_iter()
        .map(|key| {
            let first = all_values(map, key.as_text().unwrap_or_default())
                .into_iter()
                .next()
                .unwrap_or(Value::Text(Cow::Borrowed("")));
            (key, first)
        })
        .collect()
}
