//! One problem with its place, a snippet and a hint, printed the way the style guide shows.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Characters of a source line that a snippet shows; longer lines are cut around the place.
const SNIPPET_CHARS_MAX: usize = 160;

/// Characters of a found value that a message quotes.
const QUOTE_CHARS_MAX: usize = 60;

/// A file that was read, kept so that diagnostics can show its lines.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    path: PathBuf,
    text: String,
}

impl SourceFile {
    /// Keeps `text`, read from `path`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for SourceFile {
    /// The path only: the text may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceFile({})", self.path.display())
    }
}

/// A stretch of one line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters to underline; at least one caret is drawn.
    pub width: usize,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a settings file.
    File(Place),
    /// An environment variable, by its full name.
    Variable(String),
    /// A `--set` argument, by its key.
    Argument(String),
    /// Nobody set it.
    Default,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to do, good to know.
    Note,
    /// The gateway starts, but something is not as it was asked for.
    Warning,
    /// The gateway does not start.
    Error,
}

impl Severity {
    /// `note`, `warning`, `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// Bold blue, yellow, red: an addition to the word, never in place of it.
    fn colour(self) -> &'static str {
        match self {
            Self::Note => "\u{1b}[1;34m",
            Self::Warning => "\u{1b}[1;33m",
            Self::Error => "\u{1b}[1;31m",
        }
    }
}

/// What a snippet keeps to itself. Values behind a name such as `password` are covered in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cover {
    /// Nothing more.
    #[default]
    Nothing,
    /// The place and all that follows in its line: the value is a secret.
    Place,
    /// All that follows the place: a misspelt key may still hold a secret.
    AfterPlace,
}

/// One problem: what was expected and found, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// `key: what was expected, what was found`.
    pub message: String,
    /// Where the value comes from.
    pub origin: Option<Origin>,
    /// What the operator can do.
    pub hint: Option<String>,
    /// What the snippet must not show.
    pub cover: Cover,
}

impl Diagnostic {
    /// A diagnostic without place or hint.
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            origin: None,
            hint: None,
            cover: Cover::Nothing,
        }
    }

    /// A problem that keeps the gateway from starting.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    /// A problem that the gateway starts with.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    /// Something good to know.
    pub fn note(message: impl Into<String>) -> Self {
        Self::new(Severity::Note, message)
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps a part of the line out of the snippet.
    #[must_use]
    pub fn cover(mut self, cover: Cover) -> Self {
        self.cover = cover;
        self
    }

    /// Covers the value in the snippet when `secret` holds.
    #[must_use]
    pub(crate) fn covered(self, secret: bool) -> Self {
        self.cover(if secret { Cover::Place } else { Cover::Nothing })
    }

    /// Whether the gateway must not start.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The text for people, several lines, ending in a line break; `colour` adds ANSI colours to the first word.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        let (start, end) = if colour {
            (self.severity.colour(), "\u{1b}[0m")
        } else {
            ("", "")
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{start}{}{end}: {}",
            self.severity.as_str(),
            printable(&self.message)
        );
        match &self.origin {
            Some(Origin::File(place)) => self.render_place(place, &mut out),
            Some(Origin::Variable(name)) => {
                let _ = writeln!(out, "  --> variable {}", printable(name));
            }
            Some(Origin::Argument(key)) => {
                let _ = writeln!(out, "  --> argument --set {}", printable(key));
            }
            Some(Origin::Default) | None => {}
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "hint: {}", printable(hint));
        }
        out
    }

    fn render_place(&self, place: &Place, out: &mut String) {
        let Place {
            file,
            line,
            column,
            width,
        } = place;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let _ = writeln!(out, "{gutter}--> {}:{line}:{column}", file.path().display());
        let Some(text) = file.text().split('\n').nth(line.saturating_sub(1)) else {
            return;
        };
        let Snippet { text, start, width } =
            Snippet::of(text, column.saturating_sub(1), *width, self.cover);
        let _ = writeln!(out, "{gutter} |");
        let _ = writeln!(out, "{number} | {text}");
        let _ = writeln!(out, "{gutter} | {}{}", " ".repeat(start), "^".repeat(width));
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

/// A line made fit to print, and where the carets go in it.
struct Snippet {
    text: String,
    start: usize,
    width: usize,
}

impl Snippet {
    fn of(line: &str, start: usize, width: usize, cover: Cover) -> Self {
        let mut characters: Vec<char> = printable(line.trim_end_matches('\r')).chars().collect();
        let mut start = start.min(characters.len());
        let mut width = width.clamp(1, characters.len().saturating_sub(start).max(1));
        let asked_for = match cover {
            Cover::Nothing => None,
            Cover::Place => Some(start),
            Cover::AfterPlace => Some(start + width).filter(|&end| end < characters.len()),
        };
        let by_name = secret_value_start(&characters);
        if let Some(from) = [asked_for, by_name].into_iter().flatten().min() {
            characters.truncate(from);
            let blank = if cover == Cover::AfterPlace && Some(from) == asked_for {
                ": "
            } else {
                ""
            };
            characters.extend(blank.chars().chain("***".chars()));
            start = start.min(from);
            width = if start == from {
                3
            } else {
                width.min(characters.len() - start)
            };
        }
        if characters.len() > SNIPPET_CHARS_MAX {
            let skip = start.saturating_sub(SNIPPET_CHARS_MAX / 2);
            characters.drain(..skip);
            characters.truncate(SNIPPET_CHARS_MAX);
            start -= skip;
            width = width.min(characters.len().saturating_sub(start)).max(1);
        }
        Self {
            text: characters.into_iter().collect(),
            start,
            width,
        }
    }
}

/// Where the value behind the first secret's name in a line starts. Judged by words, so that it works in broken lines too.
fn secret_value_start(line: &[char]) -> Option<usize> {
    let in_word = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let mut at = 0;
    while at < line.len() {
        let length = line[at..].iter().take_while(|&&c| in_word(c)).count();
        let word: String = line[at..at + length].iter().collect();
        at += length.max(1);
        if length > 0 && crate::schema::names_a_secret(&word) {
            let value = line[at..]
                .iter()
                .position(|&c| !c.is_whitespace() && !"\"':=".contains(c))?;
            return Some(at + value);
        }
    }
    None
}

/// Replaces control characters: a file or variable must not drive the operator's terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A found value for a message: quoted, escaped, cut; `***` for a secret.
pub(crate) fn quoted(value: &str, secret: bool) -> String {
    if secret {
        return "***".to_owned();
    }
    match value.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}
