//! Reports of gateways, appended to one file a day. A batch that arrives twice is written once.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::IgnoredAny;

/// Batch ids that are remembered.
const BATCHES_MAX: usize = 10_000;
/// Length of a batch id.
const BATCH_ID_BYTES_MAX: usize = 128;
/// Bytes of one day's file; beyond it reports are refused until the next day.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// Days whose files are kept.
const DAYS_MAX: usize = 30;
/// File of the batch ids inside the folder.
const BATCHES_FILE: &str = "batches.log";

/// Why reports were not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("line {line}: expected a JSON object, {reason}")]
    Line { line: usize, reason: String },
    #[error("expected at least one report, found none")]
    Empty,
    #[error("expected a batch id of 1 to {BATCH_ID_BYTES_MAX} visible ASCII characters")]
    BatchId,
    #[error("today's report file has reached {} GiB; reports are taken again tomorrow", FILE_BYTES_MAX >> 30)]
    Full,
    #[error("the reports could not be written: {0}")]
    Write(#[from] io::Error),
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Receipt {
    /// Reports written.
    pub(crate) received: usize,
    /// Whether the batch had been written before.
    pub(crate) duplicate: bool,
}

/// Counters for the status page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReportCounts {
    pub(crate) batches: u64,
    pub(crate) received: u64,
    pub(crate) duplicate_batches: u64,
    pub(crate) duplicates: u64,
    pub(crate) refused_batches: u64,
}

/// The folder of reports.
#[derive(Debug)]
pub(crate) struct Reports {
    folder: PathBuf,
    day: Option<(jiff::civil::Date, File)>,
    order: VecDeque<String>,
    known: HashSet<String>,
    log: File,
    log_lines: usize,
    pub(crate) counts: ReportCounts,
}

impl Reports {
    /// Opens the folder and remembers the batches that were written last.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(BATCHES_FILE);
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut order: VecDeque<String> = text
            .lines()
            .rev()
            .filter(|id| is_batch_id(id))
            .take(BATCHES_MAX)
            .map(str::to_owned)
            .collect();
        order.make_contiguous().reverse();
        let mut reports = Self {
            folder: folder.to_owned(),
            day: None,
            known: order.iter().cloned().collect(),
            log: rewrite(&path, &order)?,
            log_lines: order.len(),
            order,
            counts: ReportCounts::default(),
        };
        reports.drop_old_days();
        Ok(reports)
    }

    /// Where the reports are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends a batch to the file of `today`. It is on file when this returns.
    pub(crate) fn take(
        &mut self,
        batch: Option<&str>,
        body: &[u8],
        today: jiff::civil::Date,
    ) -> Result<Receipt, ReportError> {
        let taken = self.try_take(batch, body, today);
        match &taken {
            Ok(Receipt {
                received,
                duplicate: false,
            }) => {
                self.counts.batches += 1;
                self.counts.received += *received as u64;
            }
            Ok(Receipt {
                duplicate: true, ..
            }) => {
                self.counts.duplicate_batches += 1;
                self.counts.duplicates += lines(body).count() as u64;
            }
            Err(_) => self.counts.refused_batches += 1,
        }
        taken
    }

    fn try_take(
        &mut self,
        batch: Option<&str>,
        body: &[u8],
        today: jiff::civil::Date,
    ) -> Result<Receipt, ReportError> {
        if batch.is_some_and(|id| !is_batch_id(id)) {
            return Err(ReportError::BatchId);
        }
        if batch.is_some_and(|id| self.known.contains(id)) {
            return Ok(Receipt {
                received: 0,
                duplicate: true,
            });
        }
        let text = validated(body)?;
        self.append(&text.bytes, today)?;
        if let Some(id) = batch {
            self.remember(id);
        }
        Ok(Receipt {
            received: text.reports,
            duplicate: false,
        })
    }

    fn append(&mut self, bytes: &[u8], today: jiff::civil::Date) -> Result<(), ReportError> {
        if self.day.as_ref().is_none_or(|(day, _)| *day != today) {
            let path = self.folder.join(format!("reports-{today}.ndjson"));
            self.day = Some((
                today,
                OpenOptions::new().create(true).append(true).open(path)?,
            ));
            self.drop_old_days();
        }
        let Some((_, file)) = &mut self.day else {
            return Ok(());
        };
        let before = file.seek(io::SeekFrom::End(0))?;
        if before + bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(ReportError::Full);
        }
        if let Err(error) = file.write_all(bytes) {
            // Half a line would spoil the next batch, which the gateway sends again as a whole.
            let _ = file.set_len(before);
            self.day = None;
            return Err(error.into());
        }
        Ok(())
    }

    fn remember(&mut self, id: &str) {
        if self.order.len() == BATCHES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id.to_owned());
        self.known.insert(id.to_owned());
        self.log_lines += 1;
        let written = if self.log_lines > 2 * BATCHES_MAX {
            rewrite(&self.folder.join(BATCHES_FILE), &self.order).map(|log| {
                self.log = log;
                self.log_lines = self.order.len();
            })
        } else {
            self.log.write_all(format!("{id}\n").as_bytes())
        };
        // The reports are safe; only a repetition after a restart would be written twice.
        if let Err(error) = written {
            tracing::warn!(
                "batch id not written to {}: {error}",
                self.folder.join(BATCHES_FILE).display()
            );
        }
    }

    fn drop_old_days(&mut self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return;
        };
        let mut days: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with("reports-") && name.ends_with(".ndjson"))
            .collect();
        days.sort();
        let old = days.len().saturating_sub(DAYS_MAX);
        for name in days.into_iter().take(old) {
            match std::fs::remove_file(self.folder.join(&name)) {
                Ok(()) => tracing::info!("{name} removed: the reports of {DAYS_MAX} days are kept"),
                Err(error) => tracing::warn!("{name} could not be removed: {error}"),
            }
        }
    }
}

struct Validated {
    bytes: Vec<u8>,
    reports: usize,
}

/// Each line a JSON object; blank lines are left out and the last line gets its end.
fn validated(body: &[u8]) -> Result<Validated, ReportError> {
    let mut bytes = Vec::with_capacity(body.len() + 1);
    let mut reports = 0;
    for (position, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let refuse = |reason: String| ReportError::Line {
            line: position + 1,
            reason,
        };
        if line[0] != b'{' {
            return Err(refuse("found something else".to_owned()));
        }
        serde_json::from_slice::<IgnoredAny>(line)
            .map_err(|error| refuse(format!("found {error}")))?;
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        reports += 1;
    }
    if reports == 0 {
        Err(ReportError::Empty)
    } else {
        Ok(Validated { bytes, reports })
    }
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
}

fn is_batch_id(id: &str) -> bool {
    (1..=BATCH_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Writes the log anew with the ids that are remembered, and opens it for more.
fn rewrite(path: &Path, ids: &VecDeque<String>) -> io::Result<File> {
    let fresh = path.with_extension("log.tmp");
    let text: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_accepted_is_whole_lines_of_json_objects(body in r#"([{}\[\]":,a1 \n\r]{0,12}|\{"a":1\}\n){0,6}"#) {
            if let Ok(text) = validated(body.as_bytes()) {
                prop_assert!(text.bytes.ends_with(b"\n"));
                let lines: Vec<&[u8]> = lines(&text.bytes).collect();
                prop_assert_eq!(lines.len(), text.reports);
                for line in lines {
                    prop_assert!(serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line).is_ok());
                }
            }
        }
    }

    #[test]
    fn a_batch_is_on_file_once_even_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let today = date(2026, 1, 2);
        let mut reports = Reports::open(folder.path()).expect("opened");
        let body = b"{\"a\":1}\n\n{\"a\":2}";
        let receipt = reports.take(Some("b1"), body, today).expect("taken");
        assert_eq!(
            receipt,
            Receipt {
                received: 2,
                duplicate: false
            }
        );
        assert!(
            reports
                .take(Some("b1"), body, today)
                .expect("known")
                .duplicate
        );
        assert_eq!((reports.counts.received, reports.counts.duplicates), (2, 2));
        let mut reports = Reports::open(folder.path()).expect("opened");
        assert!(
            reports
                .take(Some("b1"), body, today)
                .expect("known")
                .duplicate
        );
        reports
            .take(Some("b2"), b"{\"a\":3}", today)
            .expect("taken");
        reports
            .take(None, b"{\"a\":4}", date(2026, 1, 3))
            .expect("taken");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a file");
        assert_eq!(
            read("reports-2026-01-02.ndjson"),
            "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n"
        );
        assert_eq!(read("reports-2026-01-03.ndjson"), "{\"a\":4}\n");
    }

    #[test]
    fn garbage_is_refused_whole_and_may_be_sent_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let today = date(2026, 1, 2);
        let mut reports = Reports::open(folder.path()).expect("opened");
        for (body, expected) in [
            (b"{\"a\":1}\nnot json".as_slice(), "line 2"),
            (b"[1]", "line 1"),
            (b"{\"a\":", "line 1"),
            (b"\n\n", "at least one"),
        ] {
            let error = reports
                .take(Some("b"), body, today)
                .expect_err("garbage")
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(!folder.path().join("reports-2026-01-02.ndjson").exists());
        assert!(reports.take(Some("two words"), b"{}", today).is_err());
        assert!(
            !reports
                .take(Some("b"), b"{}", today)
                .expect("taken")
                .duplicate
        );
        assert_eq!(reports.counts.refused_batches, 5);
    }

    #[test]
    fn remembered_batches_and_days_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        for day in 1..=31 {
            std::fs::write(
                folder
                    .path()
                    .join(format!("reports-2025-01-{day:02}.ndjson")),
                "",
            )
            .expect("written");
        }
        let mut reports = Reports::open(folder.path()).expect("opened");
        assert!(!folder.path().join("reports-2025-01-01.ndjson").exists());
        for number in 0..=2 * BATCHES_MAX {
            reports.remember(&format!("b{number}"));
        }
        assert_eq!(
            (reports.known.len(), reports.order.len()),
            (BATCHES_MAX, BATCHES_MAX)
        );
        assert!(!reports.known.contains("b0"));
        let reports = Reports::open(folder.path()).expect("opened");
        assert_eq!(reports.known.len(), BATCHES_MAX);
        assert!(reports.known.contains(&format!("b{}", 2 * BATCHES_MAX)));
    }
}
