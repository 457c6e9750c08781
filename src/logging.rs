//! Log lines on standard error, in the pattern of the reference or as JSON with its keys.
//!
//! Times are UTC: the offset of the local time zone cannot be read safely once there are several threads, and lines of gateways in
//! different zones compare.

use std::fmt::{self, Write as _};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Ours at `info`, everything else at `warn`.
const DEFAULT_FILTER: &str = "warn,turnpike=info";

/// Bytes of one message or field that are written; the rest is cut off.
const VALUE_BYTES_MAX: usize = 8_192;

/// Why logging cannot be set up.
#[derive(Debug)]
pub(crate) enum LoggingError {
    /// `GRAVITEE_LOG_FORMAT` is none that there is.
    Format(String),
    /// `TURNPIKE_LOG` is no filter.
    Filter(String, tracing_subscriber::filter::ParseError),
    /// Somebody else set up logging first.
    Taken,
}

impl fmt::Display for LoggingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(found) => write!(
                f,
                "GRAVITEE_LOG_FORMAT: expected `text` or `json`, found {found:?}"
            ),
            Self::Filter(found, error) => write!(
                f,
                "TURNPIKE_LOG: expected levels such as `info` or `warn,turnpike_control=debug`, found {found:?} ({error})"
            ),
            Self::Taken => f.write_str("logging is set up already"),
        }
    }
}

impl std::error::Error for LoggingError {}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `18:02:45.123 [main] INFO  turnpike - message key=value`.
    Text,
    /// One object per line.
    Json,
}

/// What the environment asks for.
#[derive(Debug)]
struct LogOptions {
    format: Format,
    filter: EnvFilter,
}

impl LogOptions {
    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Self, LoggingError> {
        let variable = |name: &str| {
            variable(name)
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        let format = match variable("GRAVITEE_LOG_FORMAT") {
            None => Format::Text,
            Some(format) if format.eq_ignore_ascii_case("text") => Format::Text,
            Some(format) if format.eq_ignore_ascii_case("json") => Format::Json,
            Some(format) => return Err(LoggingError::Format(format)),
        };
        let filter = variable("TURNPIKE_LOG").unwrap_or_else(|| DEFAULT_FILTER.to_owned());
        let filter =
            EnvFilter::try_new(&filter).map_err(|error| LoggingError::Filter(filter, error))?;
        Ok(Self { format, filter })
    }
}

/// Sends log lines to standard error from here on: `GRAVITEE_LOG_FORMAT` is `text` or `json`, `TURNPIKE_LOG` holds levels.
pub(crate) fn init() -> Result<(), LoggingError> {
    let options = LogOptions::from(|name| std::env::var(name).ok())?;
    let subscriber = subscriber(options, SystemTime::now, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Taken)
}

fn subscriber<W>(
    options: LogOptions,
    now: fn() -> SystemTime,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = Lines {
        format: options.format,
        now,
    };
    tracing_subscriber::fmt()
        .with_env_filter(options.filter)
        .with_ansi(false)
        .event_format(lines)
        .with_writer(writer)
        .finish()
}

/// Writes events as lines.
struct Lines {
    format: Format,
    now: fn() -> SystemTime,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let thread = std::thread::current();
        let line = Line {
            at: Utc::of((self.now)()),
            level: event.metadata().level().as_str(),
            thread: thread.name().unwrap_or("-"),
            target: event.metadata().target(),
            fields,
        };
        match self.format {
            Format::Text => writeln!(writer, "{}", line.text()),
            Format::Json => writeln!(writer, "{}", line.json()),
        }
    }
}

/// One event, in parts.
struct Line<'a> {
    at: Utc,
    level: &'a str,
    thread: &'a str,
    target: &'a str,
    fields: Fields,
}

impl Line<'_> {
    fn text(&self) -> String {
        let Utc {
            hour,
            minute,
            second,
            millisecond,
            ..
        } = self.at;
        let mut out = format!(
            "{hour:02}:{minute:02}:{second:02}.{millisecond:03} [{}] {:<5} {} - ",
            self.thread, self.level, self.target
        );
        escape_into(&self.fields.message, &mut out);
        for (name, value) in &self.fields.others {
            // Writing to a String cannot fail.
            let _ = write!(out, " {name}=");
            escape_into(value, &mut out);
        }
        out
    }

    fn json(&self) -> String {
        #[derive(Serialize)]
        struct Object<'a> {
            timestamp: String,
            level: &'a str,
            thread: &'a str,
            #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
            mdc: serde_json::Map<String, serde_json::Value>,
            logger: &'a str,
            message: &'a str,
            context: &'a str,
        }
        let mdc = self
            .fields
            .others
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
            .collect();
        let object = Object {
            timestamp: self.at.to_string(),
            level: self.level,
            thread: self.thread,
            mdc,
            logger: self.target,
            message: &self.fields.message,
            context: "default",
        };
        serde_json::to_string(&object).expect("texts and maps of texts are always JSON")
    }
}

/// The fields of an event as texts.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn record(&mut self, field: &Field, mut value: String) {
        if value.len() > VALUE_BYTES_MAX {
            let end = (0..=VALUE_BYTES_MAX)
                .rev()
                .find(|&at| value.is_char_boundary(at))
                .unwrap_or(0);
            value.truncate(end);
            value.push('…');
        }
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        // A chain of errors is short; a circle would not be.
        for _ in 0..8 {
            let Some(cause) = source else { break };
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.record(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}"));
    }
}

/// A line stays one line: text from clients must not forge another one or drive a terminal.
fn escape_into(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

/// A point in time, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Utc {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    millisecond: u32,
}

impl Utc {
    /// Times before 1970 are 1970.
    fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Days since 1 March 0000, in eras of 400 years: leap days then stand at the end of a year.
        let days = days + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
            millisecond: since.subsec_millis(),
        }
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            millisecond,
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    /// What a subscriber with these variables writes, at 2026-11-20 18:02:45.123.
    fn written(variables: &[(&str, &str)], log: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Buffer(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Buffer {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let options = LogOptions::from(variable).unwrap();
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let now = || UNIX_EPOCH + Duration::from_millis(1_795_197_765_123);
        tracing::subscriber::with_default(subscriber(options, now, move || writer.clone()), log);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_lines_follow_the_pattern_of_the_reference() {
        let thread = std::thread::current().name().unwrap().to_owned();
        let text = written(&[], || {
            tracing::info!(target: "turnpike_control::sync", apis = 3, state = "ready", "synced");
            tracing::error!(target: "turnpike", "broken");
        });
        let expected = format!(
            "18:02:45.123 [{thread}] INFO  turnpike_control::sync - synced apis=3 state=ready\n\
             18:02:45.123 [{thread}] ERROR turnpike - broken\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn json_lines_have_the_keys_of_the_reference() {
        let thread = std::thread::current().name().unwrap().to_owned();
        let text = written(&[("GRAVITEE_LOG_FORMAT", "json")], || {
            tracing::warn!(target: "turnpike", api = "a\"b", "line\nbreak");
            tracing::info!(target: "turnpike", "plain");
        });
        let expected = format!(
            "{{\"timestamp\":\"2026-11-20T18:02:45.123Z\",\"level\":\"WARN\",\"thread\":\"{thread}\",\"mdc\":{{\"api\":\"a\\\"b\"}},\
             \"logger\":\"turnpike\",\"message\":\"line\\nbreak\",\"context\":\"default\"}}\n\
             {{\"timestamp\":\"2026-11-20T18:02:45.123Z\",\"level\":\"INFO\",\"thread\":\"{thread}\",\
             \"logger\":\"turnpike\",\"message\":\"plain\",\"context\":\"default\"}}\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn ours_are_logged_from_info_and_others_from_warn_unless_asked_otherwise() {
        let log = || {
            tracing::debug!(target: "turnpike_uring", "1");
            tracing::info!(target: "turnpike_uring", "2");
            tracing::info!(target: "hyper", "3");
            tracing::warn!(target: "hyper", "4");
        };
        let messages = |variables: &[(&str, &str)]| -> String {
            written(variables, log)
                .lines()
                .filter_map(|line| line.chars().last())
                .collect()
        };
        assert_eq!(messages(&[]), "24");
        assert_eq!(messages(&[("TURNPIKE_LOG", "debug")]), "1234");
        assert_eq!(messages(&[("TURNPIKE_LOG", "error,hyper=info")]), "34");
        assert_eq!(messages(&[("TURNPIKE_LOG", " ")]), "24");
    }

    #[test]
    fn one_event_is_one_line_and_bounded() {
        let text = written(
            &[],
            || tracing::info!(target: "turnpike", path = "/a\r\n\u{1b}[31m 12:00:00", "x\ny"),
        );
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(text.contains("x\\ny path=/a\\r\\n\\u{1b}[31m"), "{text}");
        let long = written(
            &[],
            || tracing::info!(target: "turnpike", "{}", "ü".repeat(10_000)),
        );
        assert!(long.len() < VALUE_BYTES_MAX + 200 && long.trim_end().ends_with('…'));
    }

    #[test]
    fn the_causes_of_an_error_are_written_with_it() {
        let error = anyhow::anyhow!("connection refused").context("cannot fetch events");
        let text = written(
            &[],
            || tracing::error!(target: "turnpike", error = &*error, "sync failed"),
        );
        assert!(
            text.ends_with("sync failed error=cannot fetch events: connection refused\n"),
            "{text}"
        );
    }

    #[test]
    fn a_format_or_filter_that_does_not_exist_is_refused_with_its_name() {
        for (name, value, expected) in [
            (
                "GRAVITEE_LOG_FORMAT",
                "xml",
                "GRAVITEE_LOG_FORMAT: expected `text` or `json`, found \"xml\"",
            ),
            (
                "TURNPIKE_LOG",
                "turnpike=loud",
                "TURNPIKE_LOG: expected levels such as",
            ),
        ] {
            let error =
                LogOptions::from(|wanted| (wanted == name).then(|| value.to_owned())).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(
                Utc::of(UNIX_EPOCH + Duration::from_secs(seconds)).to_string(),
                expected
            );
        }
    }
}
