//! The one table of keys, and the questions it answers: is this key known, what was meant, is it a secret, what is its default.

mod keys;
mod suggest;

pub(crate) use keys::DURATION_MS_MAX;
pub(crate) use keys::KEYS;
pub(crate) use suggest::{suggestion, variable_suggestion};

use crate::diagnostic::Severity;

/// What a value looks like, for hints and the reference file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A text that is never printed.
    Secret,
    /// `true` or `false`.
    Flag,
    /// A whole number in this range.
    Number(u64, u64),
    /// A number with a fraction in this range.
    Decimal(f64, f64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list, or one text with commas.
    List,
}

/// What this gateway makes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is read.
    Honoured,
    /// The Java gateway has it; here it has no effect.
    Ignored,
    /// It asks for something that does not exist here, when its value meets the condition.
    Refused(When, Severity),
}

/// When a refused key is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The value is true.
    True,
    /// There is a value.
    Set,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Flat key. `[]` is any index, a last `*` any name, a last `**` everything below.
    pub(crate) path: &'static str,
    /// What a value looks like.
    pub(crate) kind: Kind,
    /// The default as text, if there is one.
    pub(crate) default: Option<&'static str>,
    /// What a value could be, for keys without a default.
    pub(crate) example: &'static str,
    /// What the gateway makes of it.
    pub(crate) class: Class,
    /// What it does, one sentence; for a refused key what is missing.
    pub(crate) doc: &'static str,
    /// Other spellings of the same key.
    pub(crate) aliases: &'static [&'static str],
}

impl Key {
    pub(crate) fn is_honoured(&self) -> bool {
        self.class == Class::Honoured
    }

    /// Whether the path stands for many keys.
    pub(crate) fn is_pattern(&self) -> bool {
        self.path.contains("[]") || self.path.ends_with('*')
    }
}

/// The row that a flat key belongs to; exact rows before patterns.
pub(crate) fn find(key: &str) -> Option<&'static Key> {
    let matching = |key: &str| {
        KEYS.iter()
            .filter(|row| matches(row.path, key))
            .max_by_key(|row| row.path.len())
    };
    KEYS.iter()
        .find(|row| row.path == key)
        .or_else(|| matching(key))
}

/// The row that a variable's name without prefix belongs to, in one of the spellings that are looked up.
pub(crate) fn find_variable(stripped: &str) -> Option<&'static Key> {
    let name = variable_form(stripped);
    let fits = |path: &str| {
        let path = variable_form(path);
        matches_variable(&path, &name) || matches_variable(&path.to_ascii_uppercase(), &name)
    };
    let nested = |row: &Key| {
        (row.path.starts_with("management.") || row.path.starts_with("ratelimit."))
            && fits(&format!("repositories.{}", row.path))
    };
    let item = |row: &Key| row.kind == Kind::List && fits(&format!("{}[]", row.path));
    KEYS.iter()
        .filter(|row| {
            fits(row.path)
                || row.aliases.iter().any(|alias| fits(alias))
                || nested(row)
                || item(row)
        })
        .max_by_key(|row| row.path.len())
}

/// Other spellings of a key.
pub(crate) fn aliases(key: &str) -> &'static [&'static str] {
    KEYS.iter()
        .find(|row| row.path == key)
        .map_or(&[], |row| row.aliases)
}

/// The key that a spelling stands for; itself unless it is an alias.
pub(crate) fn canonical(key: &str) -> &str {
    KEYS.iter()
        .find(|row| row.aliases.contains(&key))
        .map_or(key, |row| row.path)
}

/// Whether a value under this key or variable name must not be printed.
pub(crate) fn is_secret(key: &str) -> bool {
    let kind = find(key).or_else(|| find_variable(key)).map(|row| row.kind);
    kind == Some(Kind::Secret) || names_a_secret(key)
}

/// The rule by name alone, for keys nobody knows: better to cover too much.
pub(crate) fn names_a_secret(name: &str) -> bool {
    let name: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .collect::<String>()
        .to_ascii_lowercase();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
    [
        "password",
        "secret",
        "token",
        "key",
        "passphrase",
        "credentials",
        "authorization",
        "keycontent",
        "keycontents",
    ]
    .iter()
    .any(|end| name.ends_with(end))
}

/// `servers[].port` against `servers[3].port`, `a.users.*` against `a.users.bob`, `x.**` against `x` and `x.y[0].z`.
fn matches(pattern: &str, key: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix(".**") {
        return key
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    }
    if let Some(prefix) = pattern.strip_suffix('*') {
        return key.len() > prefix.len() && key.starts_with(prefix);
    }
    let (mut pattern, mut key) = (pattern, key);
    while let Some(at) = pattern.find("[]") {
        let Some(rest) = pattern
            .get(..=at)
            .and_then(|literal| key.strip_prefix(literal))
        else {
            return false;
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let Some(rest) = rest[digits..].strip_prefix(']') else {
            return false;
        };
        if digits == 0 {
            return false;
        }
        (pattern, key) = (&pattern[at + 2..], rest);
    }
    pattern == key
}

/// Names without what variables may leave out or write otherwise: `a.b-c[0].d` and `a_bc_0_d` are both `a_bc_0_d`.
fn variable_form(name: &str) -> String {
    name.replace("[]", ".#")
        .replace('[', ".")
        .replace([']', '-'], "")
        .replace('.', "_")
}

/// `servers_#_port` against `servers_3_port`.
fn matches_variable(pattern: &str, name: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix("_**") {
        return name
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    }
    if let Some(prefix) = pattern.strip_suffix('*') {
        return name.len() > prefix.len() && name.starts_with(prefix);
    }
    let (mut pattern, mut name) = (pattern, name);
    while let Some(at) = pattern.find('#') {
        let Some(rest) = name.strip_prefix(&pattern[..at]) else {
            return false;
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return false;
        }
        (pattern, name) = (&pattern[at + 1..], &rest[digits..]);
    }
    pattern == name
}
