//! The last known good state on disk (contract sync 5.6): one line that describes the file, then one JSON document.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bridge::wire::{ApiKey, Event, Subscription};

const FORMAT: &str = "turnpike-sync-state";
const VERSION: u32 = 1;
/// Largest state that is written or read.
const BODY_BYTES_MAX: u64 = 1 << 30;
/// Largest first line.
const HEADING_BYTES_MAX: u64 = 4_096;

/// Everything that was applied. No credential of ours is in it; API keys of consumers are, so the file is private.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredState {
    pub(super) source: String,
    pub(super) written_at_ms: i64,
    pub(super) organization_of_environment: HashMap<String, String>,
    pub(super) access_points: BTreeMap<String, (String, String)>,
    pub(super) events: Vec<Event>,
    /// Events of organizations, dictionaries and shared policy groups; files of earlier versions have none.
    #[serde(default)]
    pub(super) surroundings: Vec<Event>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) keys: Vec<ApiKey>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Heading {
    format: String,
    version: u32,
    bytes: u64,
    sha256: String,
}

/// Why a state cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not a usable state file: {reason}", path.display())]
    Corrupt { path: PathBuf, reason: String },
    #[error("the state has {bytes} bytes, at most {BODY_BYTES_MAX} are stored")]
    TooLarge { bytes: u64 },
}

/// Writes a state so that a crash at any moment leaves either the old file or the new one.
pub(super) fn write(path: &Path, state: &StoredState) -> Result<(), StoreError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::File {
            action,
            path,
            source,
        }
    };
    let body = serde_json::to_vec(state).map_err(|error| StoreError::Corrupt {
        path: path.to_owned(),
        reason: format!("it cannot be written as JSON: {error}"),
    })?;
    let bytes = body.len() as u64;
    if bytes > BODY_BYTES_MAX {
        return Err(StoreError::TooLarge { bytes });
    }
    let heading = Heading {
        format: FORMAT.to_owned(),
        version: VERSION,
        bytes,
        sha256: digest(&body),
    };
    let heading = serde_json::to_string(&heading).expect("a heading of plain members is JSON");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
    }
    let draft = draft_of(path);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(heading.as_bytes())?;
            file.write_all(b"\n")?;
            file.write_all(&body)?;
            file.sync_all()
        });
    written.map_err(failed("write", &draft))?;
    fs::rename(&draft, path).map_err(failed("replace", path))?;
    // The rename itself must survive a power cut too; a folder that cannot be synced does not harm the file.
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Reads a state; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<StoredState>, StoreError> {
    let failed = |source| StoreError::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let corrupt = |reason: String| StoreError::Corrupt {
        path: path.to_owned(),
        reason,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    reader
        .by_ref()
        .take(HEADING_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .map_err(failed)?;
    let heading: Heading =
        serde_json::from_slice(&line).map_err(|error| corrupt(format!("first line: {error}")))?;
    if heading.format != FORMAT || heading.version != VERSION {
        return Err(corrupt(format!(
            "expected {FORMAT} version {VERSION}, found {} version {}",
            heading.format, heading.version
        )));
    }
    if heading.bytes > BODY_BYTES_MAX {
        return Err(StoreError::TooLarge {
            bytes: heading.bytes,
        });
    }
    let mut body = Vec::new();
    reader
        .take(heading.bytes + 1)
        .read_to_end(&mut body)
        .map_err(failed)?;
    if body.len() as u64 != heading.bytes {
        return Err(corrupt(format!(
            "expected {} bytes after the first line, found another number",
            heading.bytes
        )));
    }
    if digest(&body) != heading.sha256 {
        return Err(corrupt(
            "its checksum does not match its content".to_owned(),
        ));
    }
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(|error| corrupt(error.to_string()))
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn digest(body: &[u8]) -> String {
    Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn state() -> StoredState {
        let event = serde_json::json!({"id": "a", "type": "PUBLISH_API", "payload": "{}", "properties": {"api_id": "a"}});
        StoredState {
            source: "https://gate/sync []".to_owned(),
            written_at_ms: 5,
            events: vec![serde_json::from_value(event).expect("an event")],
            keys: vec![ApiKey {
                id: "k".to_owned(),
                key: "secret".to_owned(),
                ..ApiKey::default()
            }],
            ..StoredState::default()
        }
    }

    #[test]
    fn a_state_reads_back_as_it_was_written_and_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/state");
        assert_eq!(read(&path).expect("no file is no error"), None);
        write(&path, &state()).expect("written");
        write(&path, &state()).expect("written over");
        assert_eq!(read(&path).expect("read"), Some(state()));
        assert_eq!(
            fs::metadata(&path).expect("a file").permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn any_damage_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        write(&path, &state()).expect("written");
        let good = fs::read(&path).expect("read");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            fs::write(&path, &bad).expect("written");
            assert!(
                !matches!(read(&path), Ok(Some(found)) if found != state()),
                "byte {at} changed the state unnoticed"
            );
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).expect("written");
            assert!(read(&path).is_err(), "cut after {length} bytes");
        }
        let mut longer = good;
        longer.push(b' ');
        fs::write(&path, &longer).expect("written");
        assert!(read(&path).is_err());
    }
}
