//! `turnpike check`: loads what `run` would load, prints everything that is wrong with it, binds nothing.
//!
//! Diagnostics go to standard error, the verdict to standard output; the exit code is 0 for valid and 1 for not.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use turnpike_config::cpu::{CpuFacts, CpuPlan};
use turnpike_config::{Config, Diagnostic, LoadError, LoadOptions, Severity};

use crate::cli::{CheckOptions, SettingsOptions};

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
#[allow(dead_code, reason = "the composition root calls it")]
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
    diagnostics.extend(check_workers(&loaded.config));
    diagnostics.extend(check_definitions(definitions, &loaded.config));
    diagnostics
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

/// Checks API definitions the way the control thread would compile them.
fn check_definitions(paths: &[PathBuf], _config: &Config) -> Vec<Diagnostic> {
    if paths.is_empty() {
        return Vec::new();
    }
    vec![
        Diagnostic::error("--definitions: this build cannot check API definitions")
            .hint("leave it out to check the settings alone"),
    ]
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
