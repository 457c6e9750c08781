//! What the text that replaces a match sees of its groups: `#group` by number, `#groupName` by name (contract policies 13, 14).

use crate::el::Value;
use crate::java_regex::{Found, JavaRegex};

/// The variables of a match in `text`. The first group of the expression is `#group[0]`; the whole match has no number.
pub(super) fn variables<'t>(
    regex: &JavaRegex,
    text: &'t str,
    found: &Found,
) -> [(&'static str, Value<'t>); 2] {
    let values = || {
        found.groups.iter().map(|group| {
            group
                .and_then(|(start, end)| text.get(start..end))
                .map_or(Value::Null, Value::text)
        })
    };
    let named = regex
        .names()
        .iter()
        .zip(values())
        .filter_map(|(name, value)| Some((Value::from(name.as_deref()?.to_owned()), value)))
        .collect();
    [
        ("group", Value::List(values().collect())),
        ("groupName", Value::map(named)),
    ]
}
