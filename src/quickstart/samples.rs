//! The files of the quickstart's folder. They are written once; from then on they are the user's.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The key that the sample application uses.
pub(super) const SAMPLE_KEY: &str = "turnpike-quickstart-key";
/// Stands for the sample backend's address in the texts below.
const BACKEND: &str = "BACKEND";

/// Files of the folder of definitions.
const DEFINITIONS: [(&str, &str); 3] = [
    ("open.yaml", include_str!("open.yaml")),
    ("protected.yaml", include_str!("protected.yaml")),
    ("subscriptions.yaml", include_str!("subscriptions.yaml")),
];
const SETTINGS: &str = include_str!("gravitee.yml");

/// Where things are.
#[derive(Debug)]
pub(super) struct Site {
    /// Definitions, watched by the Cloud Gate.
    pub(super) definitions: PathBuf,
    /// What the Cloud Gate keeps.
    pub(super) data: PathBuf,
    /// The gateway's settings file.
    pub(super) settings: PathBuf,
    /// The port that the sample backend had last time.
    backend_port: PathBuf,
    // Held as long as the quickstart runs: a second one would turn the samples to its own backend.
    _lock: File,
}

impl Site {
    /// Takes the folder, which one quickstart at a time may use; creates it when it is not there.
    pub(super) fn take(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{} could not be created", folder.display()))?;
        let path = folder.join("lock");
        let lock = File::create(&path)
            .with_context(|| format!("{} could not be written", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by another quickstart; hint: stop it, or give this one a folder with --folder",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error)
                    .with_context(|| format!("{} could not be locked", path.display()));
            }
        }
        Ok(Self {
            definitions: folder.join("apis"),
            data: folder.join("cloud-gate"),
            settings: folder.join("gravitee.yml"),
            backend_port: folder.join("backend.port"),
            _lock: lock,
        })
    }

    /// The port that the definitions expect the sample backend on; 0 before the first start.
    pub(super) fn backend_port(&self) -> u16 {
        std::fs::read_to_string(&self.backend_port)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Writes what is missing. A sample that nobody changed follows the backend to its new port; any other file is left
    /// alone, and a sample that was removed stays removed. Returns the samples that still name an old port.
    pub(super) fn write(&self, port: u16) -> anyhow::Result<Vec<PathBuf>> {
        let before = self.backend_port();
        let first = !self.definitions.is_dir();
        std::fs::create_dir_all(&self.definitions)
            .with_context(|| format!("{} could not be created", self.definitions.display()))?;
        let mut stale = Vec::new();
        for (name, text) in DEFINITIONS {
            let path = self.definitions.join(name);
            if first {
                write(&path, &rendered(text, port))?;
            } else if before != port
                && text.contains(BACKEND)
                && let Ok(found) = std::fs::read_to_string(&path)
            {
                if found == rendered(text, before) {
                    write(&path, &rendered(text, port))?;
                } else if found.contains(&address(before)) {
                    stale.push(path);
                }
            }
        }
        if !self.settings.exists() {
            write(&self.settings, SETTINGS)?;
        }
        if before != port {
            write(&self.backend_port, &format!("{port}\n"))?;
        }
        Ok(stale)
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn rendered(text: &str, port: u16) -> String {
    text.replace(BACKEND, &address(port))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("{} could not be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_once_follow_the_backend_and_leave_other_files_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let site = Site::take(folder.path()).expect("a site");
        assert!(
            Site::take(folder.path()).is_err(),
            "one quickstart at a time"
        );
        let read =
            |name: &str| std::fs::read_to_string(site.definitions.join(name)).expect("a file");
        assert_eq!(site.backend_port(), 0);
        assert!(site.write(1111).expect("written").is_empty());
        assert_eq!(site.backend_port(), 1111);
        assert!(
            read("open.yaml").contains("http://127.0.0.1:1111")
                && read("subscriptions.yaml").contains(SAMPLE_KEY)
        );

        let edited = format!("# mine\n{}", read("protected.yaml"));
        std::fs::write(site.definitions.join("protected.yaml"), &edited).expect("written");
        std::fs::remove_file(site.definitions.join("subscriptions.yaml")).expect("removed");
        std::fs::write(&site.settings, "mine").expect("written");
        let stale = site.write(2222).expect("written");
        assert_eq!(stale, [site.definitions.join("protected.yaml")]);
        assert!(read("open.yaml").contains("http://127.0.0.1:2222"));
        assert_eq!(read("protected.yaml"), edited);
        assert!(
            !site.definitions.join("subscriptions.yaml").exists(),
            "a removed sample stays removed"
        );
        assert_eq!(
            std::fs::read_to_string(&site.settings).expect("a file"),
            "mine"
        );
    }
}
