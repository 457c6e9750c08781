//! `turnpike check`: loads what `run` would load, prints everything that is wrong with it, binds nothing.
//!
//! Diagnostics go to standard error, the verdict to standard output; the exit code is 0 for valid and 1 for not.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use turnpike_config::cpu::{CpuFacts, CpuPlan};
use turnpike_config::{
    Config, Diagnostic, LoadError, LoadOptions, Origin, Place, Severity, SourceFile, locate,
};
use turnpike_control::ControlPlane;
use turnpike_control::cloud_gate::{check_definition, is_definition_file};
use turnpike_control::definition::CompileContext;

use crate::cli::{CheckOptions, SettingsOptions};
use crate::expressions;

pub(crate) fn check(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let diagnostics = find(&load_options(&options.settings), &options.definitions);
    print(&diagnostics)?;
    let verdict = Verdict::of(&diagnostics);
    writeln!(io::stdout(), "{}", verdict.text())?;
    Ok(verdict.exit_code())
}

/// Settings as the arguments and this process's environment say.
pub(crate) fn load_options(options: &SettingsOptions) -> LoadOptions {
    LoadOptions::from_process(options.config.clone(), options.set.clone())
}

/// Prints diagnostics to standard error, in colour where somebody is looking and did not object.
pub(crate) fn print(diagnostics: &[Diagnostic]) -> io::Result<()> {
    let stderr = io::stderr();
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    write(
        diagnostics,
        wanted && stderr.is_terminal(),
        &mut stderr.lock(),
    )
}

/// What `run` does with settings that it cannot start with: says why, and fails.
pub(crate) fn refuse(error: &LoadError) -> io::Result<ExitCode> {
    print(&error.diagnostics)?;
    let verdict = Verdict::of(&error.diagnostics);
    writeln!(io::stderr(), "{}", verdict.text())?;
    Ok(verdict.exit_code())
}

/// Everything that `run` would stumble over or mention.
fn find(options: &LoadOptions, definitions: &[PathBuf]) -> Vec<Diagnostic> {
    let loaded = match Config::load(options) {
        Ok(loaded) => loaded,
        Err(LoadError { mut diagnostics }) => {
            if !definitions.is_empty() {
                diagnostics.push(Diagnostic::note(
                    "API definitions are checked once the settings are valid",
                ));
            }
            return diagnostics;
        }
    };
    let mut diagnostics = loaded.diagnostics;
    diagnostics.extend(expressions::apply(&loaded.config));
    diagnostics.extend(check_workers(&loaded.config));
    diagnostics.extend(check_control_plane(&loaded.config));
    diagnostics.extend(check_ratelimit(&loaded.config));
    diagnostics.extend(check_definitions(definitions, &loaded.config));
    diagnostics
}

/// Whether the Redis of the counters can be spoken to as the settings ask for.
fn check_ratelimit(config: &Config) -> Option<Diagnostic> {
    let error = turnpike_control::quota::check(config).err()?;
    Some(Diagnostic::error(error.to_string()))
}

/// Whether the workers fit the CPUs that this process may run on.
fn check_workers(config: &Config) -> Option<Diagnostic> {
    let facts = match CpuFacts::read() {
        Ok(facts) => facts,
        Err(error) => {
            return Some(Diagnostic::error(format!(
                "cannot read the affinity mask: {error}"
            )));
        }
    };
    let error = CpuPlan::detect(&config.runtime, &facts).err()?;
    Some(
        Diagnostic::error(error.to_string())
            .hint("leave both keys unset to follow the affinity mask and the quota"),
    )
}

/// Whether the Cloud Token and the settings beside it can be used.
fn check_control_plane(config: &Config) -> Option<Diagnostic> {
    let error = ControlPlane::settings(config).err()?;
    let text = error.to_string();
    match text.split_once("\nhint: ") {
        Some((message, hint)) => Some(Diagnostic::error(message).hint(hint)),
        None => Some(Diagnostic::error(text)),
    }
}

/// Checks API definitions as the local Cloud Gate reads them and as a gateway compiles them. A folder is read flat.
fn check_definitions(paths: &[PathBuf], config: &Config) -> Vec<Diagnostic> {
    let context = CompileContext::new(config, turnpike_control::quota::quotas(config));
    let mut diagnostics = Vec::new();
    for path in paths {
        match definition_files(path) {
            Ok(files) => {
                for file in files {
                    check_definition_file(&file, &context, &mut diagnostics);
                }
            }
            Err(error) => diagnostics.push(unreadable(path, &error)),
        }
    }
    diagnostics
}

fn definition_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.is_file() && is_definition_file(&file_name(&file)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(format!("{}: cannot be read: {error}", path.display()))
}

fn check_definition_file(path: &Path, context: &CompileContext, diagnostics: &mut Vec<Diagnostic>) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            diagnostics.push(unreadable(path, &error));
            return;
        }
    };
    let source = Arc::new(SourceFile::new(path, text));
    let at = |diagnostic: Diagnostic, member: &str| match locate(&source, member) {
        Some(place) => diagnostic.at(Origin::File(place)),
        None => diagnostic,
    };
    match check_definition(&file_name(path), source.text(), context) {
        Ok(notes) => {
            for note in notes {
                let diagnostic = Diagnostic::warning(format!("{}: {note}", path.display()));
                diagnostics.push(at(diagnostic, &note.member));
            }
        }
        Err(problem) => {
            let what = if problem.member.is_empty() {
                problem.reason
            } else {
                format!("{}: {}", problem.member, problem.reason)
            };
            let mut diagnostic = Diagnostic::error(format!("{}: {what}", path.display()));
            if let Some(hint) = problem.hint {
                diagnostic = diagnostic.hint(hint);
            }
            diagnostics.push(match problem.at {
                Some((line, column)) => diagnostic.at(Origin::File(Place {
                    file: Arc::clone(&source),
                    line,
                    column,
                    width: 1,
                })),
                None => at(diagnostic, &problem.member),
            });
        }
    }
}

fn write(diagnostics: &[Diagnostic], colour: bool, out: &mut impl Write) -> io::Result<()> {
    for diagnostic in diagnostics {
        writeln!(out, "{}", diagnostic.render(colour))?;
    }
    Ok(())
}

/// How many of each there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    errors: usize,
    warnings: usize,
}

impl Verdict {
    fn of(diagnostics: &[Diagnostic]) -> Self {
        let count = |severity| {
            diagnostics
                .iter()
                .filter(|diagnostic| diagnostic.severity == severity)
                .count()
        };
        Self {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
        }
    }

    fn text(self) -> String {
        let counted = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            _ => Some(format!("{count} {what}s")),
        };
        let counts: Vec<String> = [
            counted(self.errors, "error"),
            counted(self.warnings, "warning"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let judgement = if self.errors == 0 {
            "configuration is valid"
        } else {
            "configuration is not valid"
        };
        if counts.is_empty() {
            judgement.to_owned()
        } else {
            format!("{judgement}: {}", counts.join(", "))
        }
    }

    fn exit_code(self) -> ExitCode {
        if self.errors == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(set: &[&str]) -> (tempfile::TempDir, LoadOptions) {
        let home = tempfile::tempdir().unwrap();
        let set = set.iter().map(|&argument| argument.to_owned()).collect();
        let options = LoadOptions {
            set,
            home: Some(home.path().to_owned()),
            ..LoadOptions::default()
        };
        (home, options)
    }

    #[test]
    fn the_verdict_counts_errors_and_warnings_and_only_errors_fail() {
        let (error, warning, note) = (
            Diagnostic::error("e"),
            Diagnostic::warning("w"),
            Diagnostic::note("n"),
        );
        for (diagnostics, text, code) in [
            (vec![], "configuration is valid", ExitCode::SUCCESS),
            (vec![note], "configuration is valid", ExitCode::SUCCESS),
            (
                vec![warning.clone()],
                "configuration is valid: 1 warning",
                ExitCode::SUCCESS,
            ),
            (
                vec![error.clone(), warning.clone(), warning],
                "configuration is not valid: 1 error, 2 warnings",
                ExitCode::FAILURE,
            ),
            (
                vec![error.clone(), error],
                "configuration is not valid: 2 errors",
                ExitCode::FAILURE,
            ),
        ] {
            let verdict = Verdict::of(&diagnostics);
            assert_eq!(verdict.text(), text);
            assert_eq!(
                format!("{:?}", verdict.exit_code()),
                format!("{code:?}"),
                "{text}"
            );
        }
    }

    #[test]
    fn workers_that_do_not_fit_are_found_without_starting_any() {
        let (_home, fitting) = options(&["management.http.url=http://bridge"]);
        assert_eq!(find(&fitting, &[]), []);
        let (_home, misfit) = options(&[
            "management.http.url=http://bridge",
            "gateway.runtime.cpus=1023",
        ]);
        let found = find(&misfit, &[]);
        assert!(found.iter().any(Diagnostic::is_error), "{found:?}");
    }

    #[test]
    fn definitions_are_never_passed_over_in_silence() {
        let definitions = [PathBuf::from("definitions")];
        let (_home, valid) = options(&["management.http.url=http://bridge"]);
        assert!(!find(&valid, &definitions).is_empty());
        let (_home, invalid) = options(&["http.port=x"]);
        let found = find(&invalid, &definitions);
        assert!(
            found
                .iter()
                .any(|diagnostic| diagnostic.message.contains("API definitions")),
            "{found:?}"
        );
    }

    #[test]
    fn diagnostics_are_written_with_a_blank_line_between() {
        let mut out = Vec::new();
        write(
            &[Diagnostic::error("a").hint("b"), Diagnostic::note("c")],
            false,
            &mut out,
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "error: a\nhint: b\n\nnote: c\n\n"
        );
    }
}
