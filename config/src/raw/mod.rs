//! What was written, everywhere it can be written, each value with its [`Origin`]; nothing is interpreted here but placeholders.

pub(crate) mod environment;
pub(crate) mod placeholder;
pub(crate) mod yaml;

use std::collections::{BTreeMap, HashMap};

use crate::diagnostic::{Diagnostic, Origin, Place};
use environment::Environment;

/// Keys that may also stand under `repositories.`, where newer charts put them.
const NESTED_UNDER_REPOSITORIES: [&str; 2] = ["management.", "ratelimit."];

/// A value as written.
pub(crate) struct Found<'a> {
    /// The spelling of the key that was found: the wanted key or an alias.
    pub(crate) key: String,
    /// The text; `None` when the source names the key and says nothing.
    pub(crate) value: Option<&'a str>,
    /// Where.
    pub(crate) origin: Origin,
}

/// All sources, highest priority first: `gravitee*` variables, arguments, variables of exactly that name, files.
#[derive(Default)]
pub(crate) struct RawConfig {
    pub(crate) environment: Environment,
    arguments: BTreeMap<String, String>,
    leaves: BTreeMap<String, FileValue>,
    keys: HashMap<String, Place>,
    home: String,
}

struct FileValue {
    value: Option<String>,
    place: Place,
}

impl RawConfig {
    pub(crate) fn new(environment: Environment, home: String) -> Self {
        Self {
            environment,
            home,
            ..Self::default()
        }
    }

    /// Takes one `key=value` argument; a later one overrides.
    pub(crate) fn argument(&mut self, argument: &str) -> Result<(), Diagnostic> {
        let Some((key, value)) = argument.split_once('=') else {
            let message = format!("--set {argument}: expected KEY=VALUE, found no `=`");
            return Err(Diagnostic::error(message).hint("for example `--set http.port=8082`"));
        };
        let key = key.trim();
        if key.is_empty() {
            let message = "--set: expected KEY=VALUE, found an empty key";
            return Err(Diagnostic::error(message).hint("for example `--set http.port=8082`"));
        }
        self.arguments.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Takes a file's values; they override those of the files before.
    pub(crate) fn file(&mut self, document: yaml::Document) {
        for yaml::Leaf { key, value, place } in document.leaves {
            self.forget_replaced(&key);
            self.leaves.insert(key, FileValue { value, place });
        }
        self.keys.extend(document.keys);
    }

    /// A list replaces a list and a text replaces a list: `tags[2]` of an earlier file must not survive a shorter `tags`.
    fn forget_replaced(&mut self, key: &str) {
        let (list, whole) = match key.strip_suffix("[0]") {
            Some(whole) => (format!("{whole}["), Some(whole)),
            None => (format!("{key}["), None),
        };
        if let Some(whole) = whole {
            self.leaves.remove(whole);
        }
        let items = self
            .leaves
            .range(list.clone()..)
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(&list));
        let replaced: Vec<String> = items
            .filter(|known| !known[list.len()..].contains('.'))
            .cloned()
            .collect();
        for item in replaced {
            self.leaves.remove(&item);
        }
    }

    /// The value of a key from the source that wins, aliases included.
    pub(crate) fn get(&self, key: &str) -> Option<Found<'_>> {
        let sources = [
            Self::in_variables,
            Self::in_arguments,
            Self::in_exact_variables,
            Self::in_files,
        ];
        let names = names(key);
        sources
            .iter()
            .find_map(|source| names.iter().find_map(|name| source(self, name)))
    }

    fn in_variables(&self, name: &str) -> Option<Found<'_>> {
        let variable = self.environment.get(name)?;
        let origin = Origin::Variable(variable.name.clone());
        Some(Found {
            key: name.to_owned(),
            value: Some(&variable.value),
            origin,
        })
    }

    fn in_arguments(&self, name: &str) -> Option<Found<'_>> {
        let value = self.arguments.get(name)?;
        Some(Found {
            key: name.to_owned(),
            value: Some(value),
            origin: Origin::Argument(name.to_owned()),
        })
    }

    fn in_exact_variables(&self, name: &str) -> Option<Found<'_>> {
        let value = self.environment.exact(name)?;
        Some(Found {
            key: name.to_owned(),
            value: Some(value),
            origin: Origin::Variable(name.to_owned()),
        })
    }

    fn in_files(&self, name: &str) -> Option<Found<'_>> {
        if name == "gravitee.home" {
            return Some(Found {
                key: name.to_owned(),
                value: Some(&self.home),
                origin: Origin::Default,
            });
        }
        let FileValue { value, place } = self.leaves.get(name)?;
        Some(Found {
            key: name.to_owned(),
            value: value.as_deref(),
            origin: Origin::File(place.clone()),
        })
    }

    /// Both spellings of a key that files hold with different values: the one that wins, the one that loses.
    pub(crate) fn conflicts(&self) -> Vec<(Found<'_>, Found<'_>)> {
        let keys = self.leaves.keys().filter_map(|key| {
            let plain = key.strip_prefix("repositories.")?;
            let winner = self.in_files(key)?;
            let loser = self.in_files(plain)?;
            (winner.value != loser.value).then_some((winner, loser))
        });
        keys.collect()
    }

    /// Keys that files and arguments name, with the place to point at.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&str, Origin)> {
        let files = self.leaves.iter().map(|(key, leaf)| {
            let place = self.keys.get(key).unwrap_or(&leaf.place);
            (key.as_str(), Origin::File(place.clone()))
        });
        files.chain(
            self.arguments
                .keys()
                .map(|key| (key.as_str(), Origin::Argument(key.clone()))),
        )
    }

    /// Whether a file writes a key with nothing after it: a block whose lines are all comments.
    pub(crate) fn is_blank(&self, key: &str) -> bool {
        self.leaves
            .get(key)
            .is_some_and(|leaf| leaf.value.is_none())
    }

    /// Where an inner key is written in a file.
    pub(crate) fn place_of(&self, key: &str) -> Option<&Place> {
        self.keys.get(key)
    }

    /// Whether anything is set below `prefix`, which ends in `.` or `]`.
    pub(crate) fn any_under(&self, prefix: &str) -> bool {
        let in_files = self
            .leaves
            .range(prefix.to_owned()..)
            .next()
            .is_some_and(|(key, _)| key.starts_with(prefix));
        let in_arguments = self.arguments.keys().any(|key| key.starts_with(prefix));
        in_files || in_arguments || !self.environment.under(prefix).is_empty()
    }

    /// Names that follow `prefix` (which ends in `.`) in any source; those of variables in their own spelling, all upper case ones
    /// in lower case unless a file spells them otherwise.
    pub(crate) fn names_under(&self, prefix: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let written = self.leaves.keys().chain(self.arguments.keys());
        for rest in written.filter_map(|key| key.strip_prefix(prefix)) {
            if !rest.is_empty() && !found.iter().any(|known| known == rest) {
                found.push(rest.to_owned());
            }
        }
        for (rest, variable) in self.environment.under(prefix) {
            if found.iter().any(|known| known.eq_ignore_ascii_case(rest)) {
                continue;
            }
            let shouting = !variable.name.bytes().any(|byte| byte.is_ascii_lowercase());
            found.push(if shouting {
                rest.to_ascii_lowercase()
            } else {
                rest.to_owned()
            });
        }
        found
    }
}

/// The spellings of a key, the one that wins first.
fn names(key: &str) -> Vec<String> {
    let mut names = Vec::with_capacity(2);
    if NESTED_UNDER_REPOSITORIES
        .iter()
        .any(|prefix| key.starts_with(prefix))
    {
        names.push(format!("repositories.{key}"));
    }
    names.push(key.to_owned());
    names.extend(
        crate::schema::aliases(key)
            .iter()
            .map(|&alias| alias.to_owned()),
    );
    names
}

/// The key that an alternative spelling stands for.
pub(crate) fn canonical(key: &str) -> &str {
    match key.strip_prefix("repositories.") {
        Some(rest)
            if NESTED_UNDER_REPOSITORIES
                .iter()
                .any(|prefix| rest.starts_with(prefix)) =>
        {
            rest
        }
        _ => crate::schema::canonical(key),
    }
}
