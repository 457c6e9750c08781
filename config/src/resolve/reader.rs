//! Typed reading of raw values: placeholders and `file://` resolved, shape and range checked, every problem noted with its place.

use std::collections::HashSet;
use std::io::Read as _;

use crate::Secret;
use crate::diagnostic::{Diagnostic, Origin, Severity, quoted};
use crate::raw::environment::recommended;
use crate::raw::placeholder::{self, PlaceholderError};
use crate::raw::{Found, RawConfig};
use crate::schema::{self, Kind};

/// Bytes of a file that a value names as `file:///path`.
const VALUE_FILE_BYTES_MAX: u64 = 1 << 20;

/// Items of one list.
pub(super) const LIST_ITEMS_MAX: usize = 1_000;

/// A value, ready to be interpreted.
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) origin: Origin,
    /// It must not be printed: its key says so, or it comes from a file of its own.
    pub(crate) secret: bool,
}

/// Reads settings and collects what is wrong with them.
pub(crate) struct Reader<'a> {
    pub(crate) raw: &'a RawConfig,
    diagnostics: Vec<Diagnostic>,
    reported: HashSet<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(raw: &'a RawConfig) -> Self {
        Self {
            raw,
            diagnostics: Vec::new(),
            reported: HashSet::new(),
        }
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// Notes a problem, once: a key that two places read is still one problem.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        if self.reported.insert(diagnostic.render(false)) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// The value of a key, an empty text included; `None` when nothing was written.
    pub(crate) fn written(&mut self, key: &str) -> Option<Value> {
        let Found {
            key: found_as,
            value,
            origin,
        } = self.raw.get(key)?;
        let secret = schema::is_secret(&found_as) || schema::is_secret(key);
        match resolve(self.raw, &found_as, value?, &origin, secret) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.report(*problem);
                None
            }
        }
    }

    /// The value of a key; `None` when it is unset or blank.
    pub(crate) fn value(&mut self, key: &str) -> Option<Value> {
        debug_assert!(
            schema::find(key).is_some_and(|row| row.class != schema::Class::Ignored),
            "{key} is not in the table"
        );
        let value = self.written(key)?;
        (!value.text.trim().is_empty()).then_some(value)
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        self.value(key).map(|value| value.text.trim().to_owned())
    }

    pub(crate) fn secret(&mut self, key: &str) -> Option<Secret> {
        self.value(key).map(|value| Secret::new(value.text.trim()))
    }

    pub(crate) fn flag(&mut self, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        let flag = flag(&value.text);
        if flag.is_none() {
            self.expected(key, "`true` or `false`", &value);
        }
        flag
    }

    /// A whole number within the range of the table.
    pub(crate) fn number(&mut self, key: &str) -> Option<u64> {
        let value = self.value(key)?;
        let (least, most) = match schema::find(key).map(|row| row.kind) {
            Some(Kind::Number(least, most)) => (least, most),
            _ => (0, u64::MAX),
        };
        let number = number(&value.text).filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.expected(key, &format!("a number between {least} and {most}"), &value);
        }
        number
    }

    /// A number that the table's range lets fit.
    pub(crate) fn number_as<T: TryFrom<u64>>(&mut self, key: &str) -> Option<T> {
        self.number(key).and_then(|number| T::try_from(number).ok())
    }

    pub(crate) fn decimal(&mut self, key: &str) -> Option<f64> {
        let value = self.value(key)?;
        let (least, most) = match schema::find(key).map(|row| row.kind) {
            Some(Kind::Decimal(least, most)) => (least, most),
            _ => (f64::MIN, f64::MAX),
        };
        let number = value
            .text
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.expected(
                key,
                &format!("a number between {least:?} and {most:?}"),
                &value,
            );
        }
        number
    }

    /// One of the words, whatever their case.
    pub(crate) fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.value(key)?;
        let text = value.text.trim();
        let found = words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text))
            .map(|&(_, meaning)| meaning);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
            self.expected(key, &one_of(&words), &value);
        }
        found
    }

    /// A list: `key[0]`, `key[1]`, …, or one text with commas; blank items are left out. The higher source decides the form.
    pub(crate) fn list(&mut self, key: &str) -> Option<Vec<String>> {
        let first = format!("{key}[0]");
        let whole = self.raw.get(key).map(|found| rank(&found.origin));
        let items = self.raw.get(&first).map(|found| rank(&found.origin));
        let by_item = match (whole, items) {
            (None, None) => return None,
            (Some(whole), Some(items)) => items < whole,
            (whole, _) => whole.is_none(),
        };
        let mut list = Vec::new();
        if by_item {
            for index in 0..LIST_ITEMS_MAX {
                let item = format!("{key}[{index}]");
                if self.raw.get(&item).is_none() {
                    break;
                }
                list.extend(self.written(&item).map(|value| value.text));
            }
        } else {
            list.extend(self.value(key)?.text.split(',').map(str::to_owned));
        }
        let list: Vec<String> = list
            .into_iter()
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect();
        (!list.is_empty()).then_some(list)
    }

    /// `<prefix>.delay` in `<prefix>.unit`, as milliseconds.
    pub(crate) fn delay(&mut self, prefix: &str, default_ms: u64) -> u64 {
        let units = [
            ("MILLISECONDS", 1),
            ("SECONDS", 1_000),
            ("MINUTES", 60_000),
            ("HOURS", 3_600_000),
            ("DAYS", 86_400_000_u64),
        ];
        let unit_ms = self.choice(&format!("{prefix}.unit"), &units).unwrap_or(1);
        let key = format!("{prefix}.delay");
        match self.number(&key) {
            None => default_ms,
            Some(delay) => match delay
                .checked_mul(unit_ms)
                .filter(|&ms| ms <= schema::DURATION_MS_MAX)
            {
                Some(ms) => ms,
                None => {
                    if let Some(value) = self.value(&key) {
                        self.expected(&key, "at most 366 days", &value);
                    }
                    default_ms
                }
            },
        }
    }

    /// `key: expected …, found …`, with a hint that shows a good value and the variable.
    pub(crate) fn expected(&mut self, key: &str, expected: &str, value: &Value) {
        let found = quoted(&value.text, value.secret);
        let diagnostic = Diagnostic::error(format!("{key}: expected {expected}, found {found}"))
            .at(value.origin.clone())
            .hint(hint(key))
            .covered(value.secret);
        self.report(diagnostic);
    }

    /// A problem with the value of a key, pointing at it.
    pub(crate) fn about(&mut self, severity: Severity, key: &str, what: &str, hint: &str) {
        let mut diagnostic = Diagnostic::new(severity, format!("{key}: {what}")).hint(hint);
        if let Some(found) = self.raw.get(key) {
            diagnostic = diagnostic.at(found.origin).covered(schema::is_secret(key));
        }
        self.report(diagnostic);
    }
}

/// Resolves one raw text: placeholders first, then `file://`; references to secret managers are refused.
pub(crate) fn resolve(
    raw: &RawConfig,
    key: &str,
    text: &str,
    origin: &Origin,
    secret: bool,
) -> Result<Value, Box<Diagnostic>> {
    let problem = |message: String, hint: String| {
        Box::new(
            Diagnostic::error(message)
                .at(origin.clone())
                .hint(hint)
                .covered(secret),
        )
    };
    let text = placeholder::expand(raw, key, text).map_err(|error| {
        let hint = match &error {
            PlaceholderError::Unresolved(name) => {
                format!(
                    "set `{name}`, or give a default: `${{{name}:…}}`; a value with a literal `${{` goes into a file: `file:///path`"
                )
            }
            PlaceholderError::Circle(_) => "let one of them have a value of its own".to_owned(),
            PlaceholderError::TooLarge => "write the value without so many placeholders".to_owned(),
        };
        problem(format!("{key}: {error}"), hint)
    })?;
    for scheme in ["secret://", "kubernetes://"] {
        if text.starts_with(scheme) {
            let message = format!("{key}: values from `{scheme}` are not supported");
            let hint = format!(
                "mount the secret and use `file:///path`, or set the variable `{}`",
                recommended(key)
            );
            return Err(problem(message, hint));
        }
    }
    let Some(path) = text.strip_prefix("file://") else {
        return Ok(Value {
            text,
            origin: origin.clone(),
            secret,
        });
    };
    match read_value_file(path) {
        Ok(text) => Ok(Value {
            text,
            origin: origin.clone(),
            secret: true,
        }),
        Err(reason) => Err(problem(
            format!("{key}: cannot read the file of `file://{path}`: {reason}"),
            "the file holds the value, UTF-8; write the full path after `file://`".to_owned(),
        )),
    }
}

fn read_value_file(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err("expected a full path".to_owned());
    }
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = file
        .take(VALUE_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if read as u64 > VALUE_FILE_BYTES_MAX {
        return Err(format!("expected at most {VALUE_FILE_BYTES_MAX} bytes"));
    }
    Ok(text.trim().to_owned())
}

/// `true`, `on`, `yes`, `1` and their opposites, as the reference converts them.
pub(crate) fn flag(text: &str) -> Option<bool> {
    let text = text.trim();
    let is_one_of = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is_one_of(["true", "on", "yes", "1"]) {
        Some(true)
    } else if is_one_of(["false", "off", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// Digits, with single underscores between them.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty()
        && text
            .split('_')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if digits {
        text.replace('_', "").parse().ok()
    } else {
        None
    }
}

/// "`a`, `b` or `c`".
fn one_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// "set `port: 6379`, or the variable `gravitee_…_port`".
fn hint(key: &str) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    let variable = recommended(key);
    match schema::find(key).map(|row| (row.kind, row.example)) {
        Some((Kind::Secret, _)) | None => {
            format!("set it in the file, or the variable `{variable}`")
        }
        Some((_, example)) => format!("set `{name}: {example}`, or the variable `{variable}`"),
    }
}

/// Order of the sources.
fn rank(origin: &Origin) -> u8 {
    match origin {
        Origin::Variable(_) => 0,
        Origin::Argument(_) => 1,
        Origin::File(_) => 2,
        Origin::Default => 3,
    }
}
