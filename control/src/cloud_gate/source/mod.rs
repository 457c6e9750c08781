//! What the Cloud Gate serves comes from a folder of files: API definitions, one file of subscriptions, and in subfolders what
//! surrounds APIs.

pub(crate) mod check;
pub(crate) mod companion;
pub(crate) mod consumers;
pub(crate) mod document;
pub(crate) mod export;
pub(crate) mod folder;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `*.json`.
    Json,
    /// `*.yaml`, `*.yml`.
    Yaml,
}

impl Syntax {
    /// The syntax of a file name; `None` for files that are not ours to read.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')? {
            ("", _) => None,
            (_, "json") => Some(Self::Json),
            (_, "yaml" | "yml") => Some(Self::Yaml),
            _ => None,
        }
    }

    /// Reads a text in this syntax.
    pub(crate) fn parse<T: DeserializeOwned>(self, text: &str) -> Result<T, Problem> {
        match self {
            Self::Json => serde_json::from_str(text).map_err(|error| Problem {
                line: Some(error.line() as u64),
                // The end of a text that ends with a line break is column 0 of a line that is not there.
                column: Some((error.column() as u64).max(1)),
                reason: without_position(&error.to_string()),
            }),
            Self::Yaml => serde_saphyr::from_str(text).map_err(|error| {
                let at = error.location();
                Problem {
                    line: at.as_ref().map(serde_saphyr::Location::line),
                    column: at.as_ref().map(serde_saphyr::Location::column),
                    reason: without_position(
                        error
                            .without_snippet()
                            .to_string()
                            .lines()
                            .next()
                            .unwrap_or_default(),
                    ),
                }
            }),
        }
    }
}

/// Why a text is not what it should be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: Option<u64>,
    pub(crate) column: Option<u64>,
    pub(crate) reason: String,
}

impl Problem {
    /// A problem of the content as a whole.
    pub(crate) fn whole(reason: impl Into<String>) -> Self {
        Self {
            line: None,
            column: None,
            reason: reason.into(),
        }
    }

    /// The same problem, with the file it was found in.
    pub(crate) fn in_file(self, file: &str) -> Refusal {
        Refusal {
            file: file.to_owned(),
            line: self.line,
            column: self.column,
            reason: self.reason,
        }
    }
}

/// A file, or a part of one, that is not served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Refusal {
    pub(crate) file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<u64>,
    pub(crate) reason: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Both parsers end (or start) their text with the position, which the refusal already carries in front.
fn without_position(text: &str) -> String {
    let text = text
        .rsplit_once(" at line ")
        .map_or(text, |(reason, _)| reason);
    let text = match text
        .strip_prefix("error: ")
        .unwrap_or(text)
        .split_once(": ")
    {
        Some((position, reason)) if position.starts_with("line ") => reason,
        _ => text,
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_and_yaml_files_are_read() {
        for (name, syntax) in [
            ("a.json", Some(Syntax::Json)),
            ("a.yaml", Some(Syntax::Yaml)),
            ("a.b.yml", Some(Syntax::Yaml)),
            ("a.json~", None),
            ("a.json.tmp", None),
            ("a", None),
            (".json", None),
        ] {
            assert_eq!(Syntax::of(name), syntax, "{name}");
        }
    }

    #[test]
    fn a_problem_names_line_and_column_once() {
        for (syntax, text, line) in [
            (Syntax::Json, "{\n  \"a\": 1,\n  oops\n}", 3),
            (Syntax::Yaml, "a: 1\nb: [1, 2\nc: 3\n", 3),
        ] {
            let problem = syntax
                .parse::<serde_json::Value>(text)
                .expect_err("not valid");
            assert_eq!(problem.line, Some(line), "{problem:?}");
            assert!(problem.column.is_some(), "{problem:?}");
            let shown = problem.in_file("x").to_string();
            assert!(shown.starts_with("x:3:"), "{shown}");
            assert!(
                !shown.contains("line 3") && !shown.contains('\n'),
                "{shown}"
            );
        }
    }
}
