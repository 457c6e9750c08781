//! What policies may read besides their own configuration: settings below `policy.`, and variables of AWS.

use super::Reader;
use crate::Secret;
use crate::settings::PolicyConfig;

/// Settings and variables that are kept, of each kind.
const NAMES_MAX: usize = 10_000;

pub(super) fn policies(reader: &mut Reader<'_>) -> PolicyConfig {
    let mut settings = Vec::new();
    for rest in reader
        .raw
        .names_under("policy.")
        .into_iter()
        .take(NAMES_MAX)
    {
        let name = format!("policy.{rest}");
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
