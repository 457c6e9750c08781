//! The folder, looked at again and again: which files are there, which changed, which cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::companion::{Companion, CompanionKind};
use super::consumers::{self, Declared};
use super::document::ApiDocument;
use super::{Problem, Refusal, Syntax};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Most files that are read; the others, in name order, are refused.
const FILES_MAX: usize = 10_000;
/// A file whose time of change is this young is read again even when time and size are the same: a second write within
/// the file system's time step would otherwise go unseen.
const SETTLING: Duration = Duration::from_secs(2);

/// The folder and what its files said last.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    files: BTreeMap<String, Seen>,
    crowded: usize,
}

#[derive(Debug)]
struct Seen {
    changed_at: Option<SystemTime>,
    bytes: u64,
    digest: [u8; 32],
    content: Content,
}

#[derive(Debug)]
enum Content {
    Api(Box<ApiDocument>),
    Subscriptions(Vec<Declared>),
    Companion(Box<Companion>),
    Refused(Problem),
}

/// What the folder says about subscriptions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subscriptions<'a> {
    /// There is no such file: nobody is subscribed.
    None,
    /// There is one that cannot be read: what was last known stays.
    Held,
    /// The entries, and the file they are in.
    Declared(&'a str, &'a [Declared]),
}

impl Folder {
    /// A folder that was not looked at yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            files: BTreeMap::new(),
            crowded: 0,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the folder; true when a file came, went, or changed. On an error everything stays as it was.
    pub(crate) fn scan(&mut self, now: SystemTime) -> std::io::Result<bool> {
        let mut present = BTreeMap::new();
        list(&self.path, "", &mut present)?;
        for kind in CompanionKind::ALL {
            let folder = kind.folder();
            match list(&self.path.join(folder), &format!("{folder}/"), &mut present) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.crowded = present.len().saturating_sub(FILES_MAX);

        let before = self.files.len();
        self.files.retain(|name, _| present.contains_key(name));
        let mut changed = self.files.len() != before;
        for (name, (syntax, metadata)) in present.into_iter().take(FILES_MAX) {
            let changed_at = metadata.modified().ok();
            let settled =
                changed_at.is_some_and(|at| now.duration_since(at).is_ok_and(|age| age > SETTLING));
            let seen = self.files.get(&name);
            if seen.is_some_and(|seen| {
                settled && seen.changed_at == changed_at && seen.bytes == metadata.len()
            }) {
                continue;
            }
            let read = read_bounded(&self.path.join(&name));
            if read
                .as_ref()
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            {
                changed |= self.files.remove(&name).is_some();
                continue;
            }
            let digest = match &read {
                Ok(bytes) => Sha256::digest(bytes).into(),
                Err(error) => Sha256::digest(error.to_string()).into(),
            };
            if let Some(seen) = self.files.get_mut(&name)
                && seen.digest == digest
            {
                (seen.changed_at, seen.bytes) = (changed_at, metadata.len());
                continue;
            }
            changed = true;
            let content = match read {
                Ok(bytes) => understand(&name, syntax, &bytes),
                Err(error) => Content::Refused(Problem::whole(format!("cannot be read: {error}"))),
            };
            self.files.insert(
                name,
                Seen {
                    changed_at,
                    bytes: metadata.len(),
                    digest,
                    content,
                },
            );
        }
        Ok(changed)
    }

    /// APIs by file, in the order of file names; a second file with the id of an earlier one is left out.
    pub(crate) fn apis(&self) -> Vec<(&str, &ApiDocument)> {
        let mut ids = BTreeSet::new();
        self.documents()
            .filter(|(_, document)| ids.insert(document.record.id.as_str()))
            .collect()
    }

    /// What surrounds APIs by file, in the order of file names; a second file with the id of an earlier one of its kind is left out.
    pub(crate) fn companions(&self) -> Vec<(&str, &Companion)> {
        let mut ids = BTreeSet::new();
        self.all_companions()
            .filter(|(_, companion)| ids.insert((companion.kind, companion.id.as_deref())))
            .collect()
    }

    /// Files that are there and cannot be understood: what they said before stays.
    pub(crate) fn held(&self) -> BTreeSet<&str> {
        self.files
            .iter()
            .filter(|(_, seen)| matches!(seen.content, Content::Refused(_)))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The entries of the file of subscriptions.
    pub(crate) fn subscriptions(&self) -> Subscriptions<'_> {
        let mut files = self.files.iter().filter(|(name, _)| is_subscriptions(name));
        match files.next() {
            None => Subscriptions::None,
            Some((
                name,
                Seen {
                    content: Content::Subscriptions(declared),
                    ..
                },
            )) => Subscriptions::Declared(name, declared),
            Some(_) => Subscriptions::Held,
        }
    }

    /// Every file that is not served, and why.
    pub(crate) fn refused(&self) -> Vec<Refusal> {
        let mut refused = Vec::new();
        let mut files_of: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, document) in self.documents() {
            let id = document.record.id.as_str();
            if let Some(first) = files_of.get(id) {
                refused.push(
                    Problem::whole(format!("the id {id:?} is already used in {first}"))
                        .in_file(name),
                );
            } else {
                files_of.insert(id, name);
            }
        }
        let mut companions: BTreeMap<_, &str> = BTreeMap::new();
        for (name, companion) in self.all_companions() {
            let id = (companion.kind, companion.id.as_deref());
            if let Some(first) = companions.get(&id) {
                let reason = format!("another {} of this id is in {first}", companion.kind.name());
                refused.push(Problem::whole(reason).in_file(name));
            } else {
                companions.insert(id, name);
            }
        }
        for (name, seen) in &self.files {
            if let Content::Refused(problem) = &seen.content {
                refused.push(problem.clone().in_file(name));
            }
        }
        for (name, _) in self
            .files
            .iter()
            .filter(|(name, _)| is_subscriptions(name))
            .skip(1)
        {
            refused.push(
                Problem::whole(
                    "there is a second file of subscriptions; only the first by name is read",
                )
                .in_file(name),
            );
        }
        if self.crowded > 0 {
            refused.push(
                Problem::whole(format!(
                    "{} files more than the {FILES_MAX} that are read",
                    self.crowded
                ))
                .in_file(&self.path.display().to_string()),
            );
        }
        refused
    }

    fn all_companions(&self) -> impl Iterator<Item = (&str, &Companion)> {
        self.files
            .iter()
            .filter_map(|(name, seen)| match &seen.content {
                Content::Companion(companion) => Some((name.as_str(), companion.as_ref())),
                _ => None,
            })
    }

    fn documents(&self) -> impl Iterator<Item = (&str, &ApiDocument)> {
        self.files
            .iter()
            .filter_map(|(name, seen)| match &seen.content {
                Content::Api(document) => Some((name.as_str(), document.as_ref())),
                _ => None,
            })
    }
}

/// The files of one folder that are ours to read, under `prefix` and their name.
fn list(
    path: &Path,
    prefix: &str,
    present: &mut BTreeMap<String, (Syntax, std::fs::Metadata)>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let Some(syntax) = Syntax::of(&name) else {
            continue;
        };
        // Follows links: a mounted volume (a Kubernetes ConfigMap) is made of them.
        let Ok(metadata) = std::fs::metadata(entry.path()) else {
            continue;
        };
        if metadata.is_file() {
            present.insert(format!("{prefix}{name}"), (syntax, metadata));
        }
    }
    Ok(())
}

fn is_subscriptions(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(stem, _)| stem == consumers::FILE_STEM)
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "larger than {} MiB",
            FILE_BYTES_MAX >> 20
        )));
    }
    Ok(bytes)
}

fn understand(name: &str, syntax: Syntax, bytes: &[u8]) -> Content {
    let understood = std::str::from_utf8(bytes)
        .map_err(|error| {
            Problem::whole(format!(
                "expected UTF-8 text, found another byte at {}",
                error.valid_up_to()
            ))
        })
        .and_then(|text| {
            if is_subscriptions(name) {
                consumers::parse(syntax, text).map(Content::Subscriptions)
            } else if let Some(kind) = CompanionKind::of(name) {
                Companion::parse(kind, name, syntax, text)
                    .map(|companion| Content::Companion(Box::new(companion)))
            } else {
                ApiDocument::parse(name, syntax, text)
                    .map(|document| Content::Api(Box::new(document)))
            }
        });
    understood.unwrap_or_else(Content::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(id: &str, path: &str) -> String {
        format!(
            r#"{{"id":"{id}","name":"{id}","proxy":{{"virtual_hosts":[{{"path":"{path}"}}]}}}}"#
        )
    }

    fn ids(folder: &Folder) -> Vec<&str> {
        folder
            .apis()
            .iter()
            .map(|(_, document)| document.record.id.as_str())
            .collect()
    }

    #[test]
    fn files_that_come_change_and_go_are_seen_and_the_rest_is_ignored() {
        let root = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::new(root.path().to_owned());
        let write =
            |name: &str, text: &str| std::fs::write(root.path().join(name), text).expect("written");
        write("a.json", &v2("a", "/a"));
        write(".hidden.json", "{");
        write("b.json.tmp", "{");
        write("c.json~", "{");
        std::fs::create_dir(root.path().join("d.json")).expect("a folder");
        assert!(folder.scan(SystemTime::now()).expect("scanned"));
        assert_eq!(ids(&folder), ["a"]);
        assert_eq!(folder.refused(), []);
        assert!(
            !folder.scan(SystemTime::now()).expect("scanned"),
            "nothing changed"
        );
        // The same length, within the time step of any file system.
        write("a.json", &v2("a", "/b"));
        assert!(folder.scan(SystemTime::now()).expect("scanned"));
        std::fs::remove_file(root.path().join("a.json")).expect("removed");
        assert!(folder.scan(SystemTime::now()).expect("scanned"));
        assert!(ids(&folder).is_empty());
    }

    #[test]
    fn a_half_written_file_is_held_and_named_with_its_place() {
        let root = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::new(root.path().to_owned());
        std::fs::write(root.path().join("a.json"), &v2("a", "/a")[..20]).expect("written");
        folder.scan(SystemTime::now()).expect("scanned");
        assert!(folder.held().contains("a.json"));
        assert!(
            folder.refused()[0].to_string().starts_with("a.json:1:20: "),
            "{}",
            folder.refused()[0]
        );
    }

    #[test]
    fn the_first_file_by_name_has_the_id_and_the_second_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::new(root.path().to_owned());
        std::fs::write(root.path().join("a.json"), v2("x", "/a")).expect("written");
        std::fs::write(root.path().join("b.json"), v2("x", "/b")).expect("written");
        folder.scan(SystemTime::now()).expect("scanned");
        assert_eq!(folder.apis().len(), 1);
        assert_eq!(folder.apis()[0].0, "a.json");
        assert_eq!(
            folder.refused()[0].to_string(),
            r#"b.json: the id "x" is already used in a.json"#
        );
    }

    #[test]
    fn a_folder_that_vanishes_is_an_error_and_changes_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("apis");
        std::fs::create_dir(&path).expect("a folder");
        std::fs::write(path.join("a.json"), v2("a", "/a")).expect("written");
        let mut folder = Folder::new(path.clone());
        folder.scan(SystemTime::now()).expect("scanned");
        std::fs::remove_dir_all(&path).expect("removed");
        assert!(folder.scan(SystemTime::now()).is_err());
        assert_eq!(ids(&folder), ["a"]);
    }

    #[test]
    fn the_samples_of_the_quickstart_are_served_whole() {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/quickstart");
        let root = tempfile::tempdir().expect("a folder");
        for file in ["open.yaml", "protected.yaml", "subscriptions.yaml"] {
            std::fs::copy(samples.join(file), root.path().join(file)).expect("copied");
        }
        let mut folder = Folder::new(root.path().to_owned());
        folder.scan(SystemTime::now()).expect("scanned");
        assert_eq!(folder.refused(), []);
        assert_eq!(ids(&folder), ["quickstart-open", "quickstart-protected"]);
        let Subscriptions::Declared(_, declared) = folder.subscriptions() else {
            panic!("no subscriptions");
        };
        let apis = folder.apis();
        let plans_of = |api: &str| {
            let (_, document) = apis
                .iter()
                .find(|(_, document)| document.record.id == api)?;
            Some(document.plans.as_slice())
        };
        let consumers = consumers::resolve(declared, "DEFAULT", plans_of);
        assert_eq!((consumers.problems.len(), consumers.keys.len()), (0, 1));
    }
}
