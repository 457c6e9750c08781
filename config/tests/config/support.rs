//! A settings file, variables and arguments, loaded without touching the process's own.

use std::path::PathBuf;

use tempfile::TempDir;
use turnpike_config::{Config, LoadError, LoadOptions, Loaded};

/// Sources of one load; the folder lives as long as this.
pub(crate) struct Sources {
    pub(crate) folder: TempDir,
    pub(crate) options: LoadOptions,
}

impl Sources {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = LoadOptions {
            home: Some(folder.path().to_owned()),
            ..LoadOptions::default()
        };
        Self { folder, options }
    }

    /// One settings file in the usual place.
    pub(crate) fn yaml(self, text: &str) -> Self {
        self.file("config/gravitee.yml", text)
    }

    /// Any file below the folder.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.options.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn set(mut self, argument: &str) -> Self {
        self.options.set.push(argument.to_owned());
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn load(&self) -> Result<Loaded, LoadError> {
        Config::load(&self.options)
    }

    pub(crate) fn config(&self) -> Config {
        self.load().unwrap_or_else(|error| panic!("{error}")).config
    }

    /// All diagnostics as text, the folder's path taken out.
    pub(crate) fn diagnostics(&self) -> String {
        let diagnostics = match self.load() {
            Ok(loaded) => loaded.diagnostics,
            Err(error) => error.diagnostics,
        };
        let text: Vec<String> = diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(false))
            .collect();
        text.concat()
            .replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// A load of nothing but this file, with a control plane named so that nothing is missing.
pub(crate) fn yaml(text: &str) -> Sources {
    Sources::new()
        .yaml(text)
        .set("management.http.url=http://bridge")
}
