//! Every effective setting as flat text, secrets masked: what `/_node/configuration` shows.

use std::collections::BTreeMap;

use crate::raw::{RawConfig, placeholder};
use crate::schema;

/// What stands in place of a secret.
const MASK: &str = "***";

/// Defaults of honoured keys, everything that is written, and each `gravitee*` variable under its name without prefix.
pub(super) fn effective(raw: &RawConfig) -> Vec<(String, String)> {
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for row in schema::KEYS
        .iter()
        .filter(|row| row.is_honoured() && !row.is_pattern())
    {
        let written = show(raw, row.path);
        let default = row.default.map(|default| masked(row.path, default));
        if let Some(value) = written.or(default) {
            map.insert(row.path.to_owned(), value);
        }
    }
    for (key, _) in raw.written() {
        if !map.contains_key(key) {
            let value = show(raw, key).unwrap_or_default();
            map.insert(key.to_owned(), value);
        }
    }
    for (stripped, variable) in raw.environment.settings() {
        map.entry(stripped.to_owned())
            .or_insert_with(|| masked(stripped, &variable.value));
    }
    map.into_iter().collect()
}

/// The value that wins for a key; one that cannot be expanded is shown as it was written. Files that values name are not opened:
/// what they hold is a secret.
fn show(raw: &RawConfig, key: &str) -> Option<String> {
    let found = raw.get(key)?;
    let text = found.value.unwrap_or_default();
    let expanded = placeholder::expand(raw, &found.key, text);
    let text = expanded.as_deref().unwrap_or(text);
    (!text.trim().is_empty()).then(|| masked(key, text))
}

fn masked(key: &str, value: &str) -> String {
    if schema::is_secret(key) || value.starts_with("file://") {
        MASK.to_owned()
    } else {
        without_credentials(value)
    }
}

/// `https://user:password@host` keeps its host only; a PEM block is never shown.
fn without_credentials(value: &str) -> String {
    if value.contains("PRIVATE KEY-----") {
        return MASK.to_owned();
    }
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => format!("{scheme}://{MASK}{}", &rest[at..]),
        None => value.to_owned(),
    }
}
