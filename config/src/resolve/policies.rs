//! What policies may read besides their own configuration: settings below `policy.`, and variables of AWS.

use super::Reader;
use crate::Secret;
use crate::schema;
use crate::settings::PolicyConfig;

/// Settings and variables that are kept, of each kind.
const NAMES_MAX: usize = 10_000;

/// Keys of token issuers, by issuer and key id.
const GATEWAY_KEYS: &str = "policy.jwt.issuer.";

/// `<issuer>.<key id>`, also when a variable separates them by an underscore.
fn key_name(rest: &str) -> String {
    match rest.rsplit_once('_') {
        Some((issuer, id)) if !rest.contains('.') => format!("{issuer}.{id}"),
        _ => rest.to_owned(),
    }
}

pub(super) fn policies(reader: &mut Reader<'_>) -> PolicyConfig {
    let mut settings: Vec<(String, Secret)> = Vec::new();
    // Settings that are known have their default here, too, and their own name however a variable spells it.
    let known = schema::KEYS
        .iter()
        .filter(|row| row.path.starts_with("policy.") && row.is_honoured() && !row.is_pattern());
    for row in known {
        let written = reader.written(row.path).map(|value| value.text);
        if let Some(text) = written.as_deref().or(row.default) {
            settings.push((row.path.to_owned(), Secret::new(text.trim())));
        }
    }
    let keys = reader.raw.names_under(GATEWAY_KEYS);
    let keys = keys
        .iter()
        .map(|rest| format!("{GATEWAY_KEYS}{}", key_name(rest)));
    let others = reader.raw.names_under("policy.");
    let others = others.iter().map(|rest| format!("policy.{rest}"));
    let names: Vec<String> = keys.chain(others).take(NAMES_MAX).collect();
    for name in names {
        if settings.iter().any(|(known, _)| *known == name) {
            continue;
        }
        if let Some(value) = reader.written(&name) {
            settings.push((name, Secret::new(value.text.trim())));
        }
    }
    settings.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut environment: Vec<(String, Secret)> = reader
        .raw
        .environment
        .starting_with("AWS_")
        .take(NAMES_MAX)
        .map(|(name, value)| (name.to_owned(), Secret::new(value)))
        .collect();
    environment.sort_by(|(one, _), (other, _)| one.cmp(other));
    PolicyConfig {
        settings,
        environment,
    }
}
