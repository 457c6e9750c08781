//! Reports of gateways, appended to one file a day. A batch that arrives twice is written once, and one that was being written when the
//! process was killed is taken away at the next start: nobody was told that it had arrived, so it comes again.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
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
/// File inside the folder of what has arrived, a line a batch: its id (nothing when it has none), the day of its file, and where it ends
/// there.
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

/// Up to where the file of each day holds batches that have arrived.
type Marks = BTreeMap<Date, u64>;

/// The folder of reports.
#[derive(Debug)]
pub(crate) struct Reports {
    folder: PathBuf,
    day: Option<(Date, File)>,
    order: VecDeque<String>,
    known: HashSet<String>,
    arrived: Marks,
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
        let (order, arrived) = remembered(&text);
        take_away(folder, &arrived)?;
        let mut reports = Self {
            folder: folder.to_owned(),
            day: None,
            known: order.iter().cloned().collect(),
            log: rewrite(&path, &order, &arrived)?,
            log_lines: order.len(),
            order,
            arrived,
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
        today: Date,
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
        today: Date,
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
        self.tidy_log()?;
        let before = self.end_of(today)?;
        let written = self
            .append(before, &text.bytes)
            .and_then(|end| self.remember(batch.unwrap_or_default(), today, end));
        if let Err(error) = written {
            // Half a batch would spoil the next one; the gateway sends this one again as a whole.
            if let Some((_, file)) = self.day.take() {
                let _ = file.set_len(before);
            }
            return Err(error);
        }
        Ok(Receipt {
            received: text.reports,
            duplicate: false,
        })
    }

    /// Where the file of `today` ends. It is open afterwards.
    fn end_of(&mut self, today: Date) -> Result<u64, ReportError> {
        if self.day.as_ref().is_none_or(|(day, _)| *day != today) {
            let path = path_of(&self.folder, today);
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            let end = file.seek(io::SeekFrom::End(0))?;
            self.remember("", today, end)?;
            self.day = Some((today, file));
            self.drop_old_days();
        }
        match &mut self.day {
            Some((_, file)) => Ok(file.seek(io::SeekFrom::End(0))?),
            None => Ok(0),
        }
    }

    /// Appends to the open file, which ends at `before`; gives its new end.
    fn append(&mut self, before: u64, bytes: &[u8]) -> Result<u64, ReportError> {
        let end = before + bytes.len() as u64;
        if end > FILE_BYTES_MAX {
            return Err(ReportError::Full);
        }
        if let Some((_, file)) = &mut self.day {
            file.write_all(bytes)?;
        }
        Ok(end)
    }

    /// Writes down that a batch has arrived, which ends at `end` of the day's file.
    fn remember(&mut self, id: &str, day: Date, end: u64) -> Result<(), ReportError> {
        let line = format!("{id} {day} {end}\n");
        if let Err(error) = self.log.write_all(line.as_bytes()) {
            // Part of the line may be there: the log is written anew before anything else goes into it.
            self.log_lines = usize::MAX;
            return Err(error.into());
        }
        self.arrived.insert(day, end);
        if self.arrived.len() > DAYS_MAX {
            self.arrived.pop_first();
        }
        if !id.is_empty() {
            if self.order.len() == BATCHES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(id.to_owned());
            self.known.insert(id.to_owned());
        }
        self.log_lines = self.log_lines.saturating_add(1);
        Ok(())
    }

    /// Makes the log as short as it can be when it has grown long, or may be damaged.
    fn tidy_log(&mut self) -> io::Result<()> {
        if self.log_lines > 2 * BATCHES_MAX {
            self.log = rewrite(&self.folder.join(BATCHES_FILE), &self.order, &self.arrived)?;
            self.log_lines = self.order.len();
        }
        Ok(())
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

fn path_of(folder: &Path, day: Date) -> PathBuf {
    folder.join(format!("reports-{day}.ndjson"))
}

/// The ids in a log, the last ones, and up to where batches have arrived. A line without its end was being written and does not count.
fn remembered(log: &str) -> (VecDeque<String>, Marks) {
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let mut order = VecDeque::new();
    let mut arrived = Marks::new();
    for line in whole.lines() {
        let mut parts = line.split(' ');
        let id = parts.next().unwrap_or_default();
        if is_batch_id(id) {
            if order.len() == BATCHES_MAX {
                order.pop_front();
            }
            order.push_back(id.to_owned());
        }
        let mark = parts.next().zip(parts.next());
        if let Some((Ok(day), Ok(end))) = mark.map(|(day, end)| (day.parse(), end.parse())) {
            arrived.insert(day, end);
        }
    }
    (order, arrived)
}

/// Takes away what was written behind the last batch that has arrived, or, when that is not known, the last line if it has no end.
fn take_away(folder: &Path, arrived: &Marks) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let day = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("reports-")?.strip_suffix(".ndjson"))
            .and_then(|day| day.parse::<Date>().ok());
        let Some(day) = day else {
            continue;
        };
        let length = entry.metadata()?.len();
        let arrived = arrived.get(&day).copied();
        if arrived.is_some_and(|end| end >= length) {
            continue;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let kept = match arrived {
            Some(end) => end,
            None => end_of_lines(&file, length)?,
        };
        if kept < length {
            file.set_len(kept)?;
            tracing::info!(
                "{} bytes at the end of {} taken away: the batch was being written when the process ended, and comes again",
                length - kept,
                path.display()
            );
        }
    }
    Ok(())
}

/// Where the last whole line of a file ends.
fn end_of_lines(mut file: &File, length: u64) -> io::Result<u64> {
    const PIECE_BYTES: usize = 64 << 10;
    let mut piece = [0; PIECE_BYTES];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(PIECE_BYTES as u64);
        let piece = &mut piece[..(end - start) as usize];
        file.seek(io::SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Writes the log anew with what is remembered, and opens it for more.
fn rewrite(path: &Path, ids: &VecDeque<String>, arrived: &Marks) -> io::Result<File> {
    let fresh = path.with_extension("log.tmp");
    let mut text: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
    for (day, end) in arrived {
        text.push_str(&format!(" {day} {end}\n"));
    }
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
    fn a_batch_that_a_kill_cut_short_is_taken_away_and_taken_again() {
        let today = date(2026, 1, 2);
        let batches: Vec<Vec<u8>> = (0..3)
            .map(|batch| format!("{{\"a\":{batch}}}\n{{\"b\":{batch}}}\n").into_bytes())
            .collect();
        let whole = batches.concat();
        let names = ["b0", "b1", "b2"];
        let folder = tempfile::tempdir().expect("a folder");
        let mut reports = Reports::open(folder.path()).expect("opened");
        for (name, body) in names.iter().zip(&batches[..2]) {
            reports.take(Some(name), body, today).expect("taken");
        }
        let (file, log) = (
            path_of(folder.path(), today),
            folder.path().join(BATCHES_FILE),
        );
        let (reported, logged) = (
            std::fs::read(&file).expect("reports"),
            std::fs::read(&log).expect("a log"),
        );
        reports.take(Some("b2"), &batches[2], today).expect("taken");
        let line = std::fs::read(&log).expect("a log")[logged.len()..].to_vec();
        // A kill lets a beginning of the batch arrive, or all of it and a beginning of its line in the log.
        let cuts = (0..=batches[2].len()).map(|cut| (cut, 0));
        let later = (0..line.len()).map(|cut| (batches[2].len(), cut));
        for (written, noted) in cuts.chain(later) {
            std::fs::write(&file, [&reported, &batches[2][..written]].concat()).expect("written");
            std::fs::write(&log, [&logged, &line[..noted]].concat()).expect("written");
            let mut reports = Reports::open(folder.path()).expect("opened");
            for (name, body) in names.iter().zip(&batches) {
                let receipt = reports.take(Some(name), body, today).expect("taken");
                assert_eq!(receipt.duplicate, *name != "b2", "{written} {noted}");
            }
            let now = std::fs::read(&file).expect("reports");
            assert_eq!(now, whole, "{written} {noted}");
        }
    }

    #[test]
    fn a_folder_without_marks_loses_at_most_a_line_that_has_no_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = "x".repeat(200_000);
        for (day, text, kept) in [
            (1, "{\"a\":1}\n", 8),
            (2, "{\"a\":1}\n{\"a\"", 8),
            (3, "{\"a\"", 0),
            (4, &*format!("{{}}\n{long}"), 3),
        ] {
            let path = path_of(folder.path(), date(2026, 1, day));
            std::fs::write(&path, text).expect("written");
            drop(Reports::open(folder.path()).expect("opened"));
            let length = std::fs::metadata(&path).expect("a file").len();
            assert_eq!(length, kept, "day {day}");
        }
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
            reports.tidy_log().expect("written");
            reports
                .remember(&format!("b{number}"), date(2026, 1, 2), 0)
                .expect("written");
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
