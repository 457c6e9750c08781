//! Keys that nobody reads: unknown ones with a guess at what was meant, ignored ones in one line, refused ones with the reason.

use std::collections::BTreeSet;

use super::reader::{Reader, flag};
use super::server;
use crate::diagnostic::{Cover, Diagnostic, Origin, Severity};
use crate::raw::canonical;
use crate::raw::environment::recommended;
use crate::schema::{self, Class, When};

/// Unknown keys that are reported one by one.
const UNKNOWN_MAX: usize = 20;

/// Ignored keys that are named.
const IGNORED_MAX: usize = 30;

/// What the launcher and the image set for the process itself: no need to mention it.
const QUIET: [&str; 5] = ["home", "conf", "log_format", "plugins.**", "gravitee.**"];

pub(super) fn report(reader: &mut Reader<'_>) {
    conflicts(reader);
    unknown_and_ignored(reader);
    refused(reader);
    service_links(reader);
}

/// The same setting written twice, at the root and under `repositories`.
fn conflicts(reader: &mut Reader<'_>) {
    let raw = reader.raw;
    for (winner, loser) in raw.conflicts() {
        let warning = Diagnostic::warning(format!(
            "{}: `{}` is set too, to something else, and wins",
            loser.key, winner.key
        ))
        .at(loser.origin)
        .hint("keep one of them")
        .covered(schema::is_secret(&loser.key));
        reader.report(warning);
    }
}

fn unknown_and_ignored(reader: &mut Reader<'_>) {
    let raw = reader.raw;
    let mut unknown: Vec<Diagnostic> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut ignored: BTreeSet<String> = BTreeSet::new();
    for (key, origin) in raw.written() {
        let plain = canonical(key);
        match schema::find(plain).or_else(|| schema::find(&list_of(plain))) {
            Some(row) if row.class == Class::Ignored => note(reader, row, plain, &mut ignored),
            Some(_) => {}
            None if raw.is_blank(key) && is_block(key) => {}
            None => {
                let part = unknown_part(key);
                if !seen.insert(part.to_owned()) {
                    continue;
                }
                let origin = match (raw.place_of(part), origin) {
                    (Some(place), Origin::File(_)) => Origin::File(place.clone()),
                    (_, origin) => origin,
                };
                unknown.push(unknown_key(part, origin));
            }
        }
    }
    for (stripped, variable) in raw.environment.settings() {
        match schema::find_variable(stripped) {
            Some(row) if row.class == Class::Ignored => note(reader, row, row.path, &mut ignored),
            Some(_) => {}
            None => unknown.push(unknown_variable(stripped, &variable.name)),
        }
    }
    let more = unknown.len().saturating_sub(UNKNOWN_MAX);
    for warning in unknown.into_iter().take(UNKNOWN_MAX) {
        reader.report(warning);
    }
    if more > 0 {
        reader.report(Diagnostic::warning(format!("{more} more keys are unknown")));
    }
    if !ignored.is_empty() {
        let mut names: Vec<&str> = ignored
            .iter()
            .take(IGNORED_MAX)
            .map(String::as_str)
            .collect();
        let rest = format!("{} more", ignored.len().saturating_sub(IGNORED_MAX));
        if ignored.len() > IGNORED_MAX {
            names.push(&rest);
        }
        let text = format!(
            "settings of the Java gateway without effect here: {}",
            names.join(", ")
        );
        reader.report(Diagnostic::note(text));
    }
}

/// Names an ignored key, a tree by its root; a tree that is switched off has no effect anywhere.
fn note(reader: &Reader<'_>, row: &schema::Key, key: &str, ignored: &mut BTreeSet<String>) {
    if QUIET.contains(&row.path) {
        return;
    }
    let Some(tree) = row.path.strip_suffix(".**") else {
        ignored.insert(key.to_owned());
        return;
    };
    let switch = reader.raw.get(&format!("{tree}.enabled"));
    let off = switch.and_then(|found| found.value.and_then(flag)) == Some(false);
    if !off {
        ignored.insert(if tree.contains("[]") {
            key.to_owned()
        } else {
            tree.to_owned()
        });
    }
}

/// A list may be written item by item: `tags[0]` belongs to `tags`.
fn list_of(key: &str) -> String {
    let item = key.strip_suffix(']').and_then(|key| key.rsplit_once('['));
    item.filter(|(list, _)| schema::find(list).is_some_and(|row| row.kind == schema::Kind::List))
        .map_or_else(|| key.to_owned(), |(list, _)| list.to_owned())
}

/// The shortest beginning of a key that no known key has: a foreign block is one warning, not one per leaf.
fn unknown_part(key: &str) -> &str {
    let ends = key
        .match_indices(['.', '['])
        .map(|(at, _)| at)
        .filter(|&at| at > 0);
    for end in ends {
        let part = &key[..end];
        if !is_block(part) {
            return part;
        }
    }
    key
}

/// Whether known keys go on below `part`.
fn is_block(part: &str) -> bool {
    let plain = canonical_prefix(part);
    schema::KEYS.iter().any(|row| {
        std::iter::once(&row.path)
            .chain(row.aliases)
            .any(|path| begins(path, plain))
    })
}

/// `repositories` itself, and what stands below it, as the table writes it.
fn canonical_prefix(part: &str) -> &str {
    match part.strip_prefix("repositories") {
        Some("") => "management",
        Some(rest) => rest.strip_prefix('.').unwrap_or(part),
        None => part,
    }
}

/// Whether a table path goes on below `part`, indices aside.
fn begins(path: &str, part: &str) -> bool {
    let mut indexless = String::with_capacity(part.len());
    let mut inside = false;
    for c in part.chars() {
        inside = (inside || c == '[') && c != ']';
        if !(inside && c.is_ascii_digit()) {
            indexless.push(c);
        }
    }
    let goes_on = |start: &str| {
        path.strip_prefix(start)
            .is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    goes_on(&indexless) || goes_on(part)
}

fn unknown_key(key: &str, origin: Origin) -> Diagnostic {
    let warning = Diagnostic::warning(format!("{key}: unknown key, it has no effect"))
        .at(origin)
        .cover(Cover::AfterPlace);
    match schema::suggestion(canonical(key)) {
        Some(meant) if meant != key => warning.hint(format!("did you mean `{meant}`?")),
        _ => warning.hint("remove it, or see the reference file for the keys there are"),
    }
}

fn unknown_variable(stripped: &str, name: &str) -> Diagnostic {
    let warning = Diagnostic::warning(format!("{name}: unknown setting, it has no effect"))
        .at(Origin::Variable(name.to_owned()));
    match schema::variable_suggestion(stripped) {
        Some(key) => warning.hint(format!("did you mean `{}`?", recommended(key))),
        None => warning.hint("remove it, or see the reference file for the keys there are"),
    }
}

/// Switches that must stay off, values that nothing reads yet.
fn refused(reader: &mut Reader<'_>) {
    let servers = server::count(reader);
    for row in schema::KEYS {
        let Class::Refused(when, severity) = row.class else {
            continue;
        };
        let keys: Vec<String> = if row.path.contains("[]") {
            (0..servers)
                .map(|index| row.path.replacen("[]", &format!("[{index}]"), 1))
                .collect()
        } else if let Some(tree) = row.path.strip_suffix(".**") {
            let below = format!("{tree}.");
            reader
                .raw
                .names_under(&below)
                .into_iter()
                .take(1)
                .map(|name| format!("{below}{name}"))
                .collect()
        } else {
            vec![row.path.to_owned()]
        };
        for key in keys {
            let asked_for = match when {
                When::True => reader.flag(&key) == Some(true),
                When::Set => reader.value(&key).is_some(),
            };
            if asked_for {
                let hint = match severity {
                    Severity::Error => {
                        format!("set it to `false`, or the variable `{}`", recommended(&key))
                    }
                    Severity::Warning | Severity::Note => "remove it to silence this".to_owned(),
                };
                reader.about(severity, &key, row.doc, &hint);
            }
        }
    }
}

/// `GRAVITEE_HTTP_PORT=tcp://…` of a Kubernetes service named `gravitee-http` looks like a setting and is none.
fn service_links(reader: &mut Reader<'_>) {
    for link in reader.raw.environment.links() {
        let stripped = crate::raw::environment::strip_prefix(&link.name).unwrap_or(&link.name);
        if schema::find_variable(stripped).is_some_and(schema::Key::is_honoured) {
            let warning = Diagnostic::warning(format!(
                "{}: the address of a service, not a setting; it has no effect",
                link.name
            ))
            .at(Origin::Variable(link.name.clone()))
            .hint("set `enableServiceLinks: false` for the pod, or give the service another name");
            reader.report(warning);
        }
    }
}
