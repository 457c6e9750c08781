//! From the command line, the environment and files to a [`Config`], or to everything that is wrong with them.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, SourceFile};
use crate::raw::RawConfig;
use crate::raw::environment::Environment;
use crate::raw::yaml;
use crate::resolve;
use crate::settings::Config;

/// Where the reference's image has its files.
const DEFAULT_HOME: &str = "/opt/graviteeio-gateway";

/// Everything that settings come from; nothing else is looked at.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// `--config`: a file, or several with commas between them, later ones override; they must exist.
    pub config: Option<PathBuf>,
    /// `--set`: `key=value` each.
    pub set: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Installation folder when `GRAVITEE_HOME` is not set; `/opt/graviteeio-gateway` when this is not either.
    pub home: Option<PathBuf>,
}

impl fmt::Debug for LoadOptions {
    /// Names only: arguments and variables may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self
            .set
            .iter()
            .map(|argument| argument.split('=').next().unwrap_or_default());
        f.debug_struct("LoadOptions")
            .field("config", &self.config)
            .field("set", &keys.collect::<Vec<_>>())
            .field(
                "env",
                &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("home", &self.home)
            .finish()
    }
}

impl LoadOptions {
    /// Takes the environment of this process; variables that are not UTF-8 cannot be settings and are left out.
    pub fn from_process(config: Option<PathBuf>, set: Vec<String>) -> Self {
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self {
            config,
            set,
            env: env.collect(),
            home: None,
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let (_, value) = self.env.iter().find(|(known, _)| known == name)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }
}

/// Settings that are good to run with.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Warnings and notes, to print.
    pub diagnostics: Vec<Diagnostic>,
}

/// Settings that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// Everything found, at least one error among it.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rendered = self
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(false));
        if let Some(first) = rendered.next() {
            f.write_str(first.trim_end())?;
        }
        rendered.try_for_each(|text| write!(f, "\n\n{}", text.trim_end()))
    }
}

impl std::error::Error for LoadError {}

impl Config {
    /// Loads, resolves and checks all settings. Opens no connection and binds nothing.
    pub fn load(options: &LoadOptions) -> Result<Loaded, LoadError> {
        let mut problems = Vec::new();
        let gravitee_home = options.variable("GRAVITEE_HOME").map(PathBuf::from);
        let default_home = options
            .home
            .clone()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_HOME));
        let home = gravitee_home.as_deref().unwrap_or(&default_home);

        let mut raw = RawConfig::new(Environment::new(&options.env), home.display().to_string());
        for argument in &options.set {
            problems.extend(raw.argument(argument).err());
        }
        let files = match named_files(options, &raw) {
            Some(files) => files,
            None => usual_file(&[gravitee_home.as_deref(), Some(&default_home)]),
        };
        for path in &files {
            match read(path).map(|source| yaml::parse(&Arc::new(source))) {
                Ok(Ok(document)) => raw.file(document),
                Ok(Err(found)) => problems.extend(found),
                Err(problem) => problems.push(problem),
            }
        }
        // Half of the settings would only lead to follow-up errors.
        if !problems.is_empty() {
            return Err(LoadError {
                diagnostics: problems,
            });
        }
        let (config, diagnostics) = resolve::resolve(&raw, files, home);
        if diagnostics.iter().any(Diagnostic::is_error) {
            Err(LoadError { diagnostics })
        } else {
            Ok(Loaded {
                config,
                diagnostics,
            })
        }
    }
}

/// `--config`, else `gravitee.conf`.
fn named_files(options: &LoadOptions, raw: &RawConfig) -> Option<Vec<PathBuf>> {
    let named = match &options.config {
        Some(path) => path.to_str().map_or_else(|| vec![path.clone()], split),
        None => split(raw.get("gravitee.conf")?.value?),
    };
    (!named.is_empty()).then_some(named)
}

fn split(list: &str) -> Vec<PathBuf> {
    list.split(',')
        .map(str::trim)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect()
}

/// The first installation folder that has a settings file.
fn usual_file(homes: &[Option<&Path>]) -> Vec<PathBuf> {
    let mut paths = homes
        .iter()
        .flatten()
        .map(|home| home.join("config/gravitee.yml"));
    paths.find(|path| path.is_file()).into_iter().collect()
}

fn read(path: &Path) -> Result<SourceFile, Diagnostic> {
    let unreadable = |reason: String, hint: &str| {
        Diagnostic::error(format!(
            "{}: cannot read the settings file: {reason}",
            path.display()
        ))
        .hint(hint.to_owned())
    };
    let file = std::fs::File::open(path).map_err(|error| {
        unreadable(
            error.to_string(),
            "check the path of `--config` and who may read the file",
        )
    })?;
    // One byte more than allowed, so that the parser sees that the file is too large.
    let mut bytes = Vec::new();
    file.take(yaml::FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            unreadable(
                error.to_string(),
                "check that it is a file and who may read it",
            )
        })?;
    if bytes.len() > yaml::FILE_BYTES_MAX {
        let reason = format!("expected at most {} bytes", yaml::FILE_BYTES_MAX);
        return Err(unreadable(
            reason,
            "settings files are small: is this the right file?",
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile::new(path, text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(unreadable(
                format!("expected UTF-8, found something else at byte {at}"),
                "save the file as UTF-8",
            ))
        }
    }
}
