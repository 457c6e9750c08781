//! The loop on the control thread that turns records into delivered batches.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use turnpike_config::CloudReporterConfig;
use turnpike_core::report::ReportReceiver;

use super::batch::{Batch, OpenBatch};
use super::document::DocumentWriter;
use super::outbox::{Attempt, Change, Delivery, Outbox, OutboxSettings, Verdict};
use super::sink::Sink;
use super::stats::{DropReason, ReporterStats};
use crate::node::Monitor;

/// Pause between drains while records keep coming.
const POLL_BUSY: Duration = Duration::from_millis(50);
/// Pause while there is nothing to do. A worker that bursts from silence to 76 000 requests a second fills a 4 MiB ring of
/// 550-byte records in this time.
const POLL_IDLE: Duration = Duration::from_millis(100);
/// Pause when a ring was found an eighth full: it would fill up before the usual one ends.
const POLL_PRESSED: Duration = Duration::from_millis(5);
/// Records taken from one ring before other tasks of the thread get a turn (about 2 ms of formatting and compression).
const RECORDS_PER_TURN: usize = 512;
/// Longest life of an attempt, whatever the sink's own limits are.
const ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// A loss is over when nothing was dropped for this long.
const LOSS_QUIET_MS: u64 = 10_000;

/// Reports of the host and process between those of requests (type `node`).
#[derive(Debug, Clone)]
pub struct MonitorReports {
    /// Takes the samples.
    pub monitor: Arc<Monitor>,
    /// Host name.
    pub hostname: String,
    /// `services.monitoring.delay`, milliseconds.
    pub period_ms: u64,
}

/// What a [`Reporter`] needs to know beside its sink.
#[derive(Debug, Clone)]
pub struct ReporterSettings {
    /// Id of this node, the `gateway` member of documents.
    pub node_id: String,
    /// `tenant`, empty when there is none.
    pub tenant: String,
    /// `zone`, empty when there is none.
    pub zone: String,
    /// `reporters.cloud.*`.
    pub cloud: CloudReporterConfig,
    /// Documents carry warnings.
    pub warnings: bool,
    /// Reports of host and process; `None` sends none.
    pub monitor: Option<MonitorReports>,
}

/// Drains the workers' rings and delivers their records to a [`Sink`].
pub struct Reporter {
    rings: Vec<ReportReceiver>,
    sink: Arc<dyn Sink>,
    stats: Arc<ReporterStats>,
    writer: DocumentWriter,
    line: Vec<u8>,
    open: OpenBatch,
    opened_at_ms: u64,
    items_max: usize,
    flush_interval_ms: u64,
    outbox: Outbox,
    attempts: JoinSet<(Attempt, Delivery)>,
    loss: LossWatch,
    monitor: Option<MonitorReports>,
    sampled_at_ms: u64,
    started: Instant,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter")
            .field("rings", &self.rings.len())
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}

impl Reporter {
    /// A reporter over the rings of all workers.
    pub fn new(
        settings: &ReporterSettings,
        rings: Vec<ReportReceiver>,
        sink: Arc<dyn Sink>,
        stats: Arc<ReporterStats>,
    ) -> Self {
        let cloud = &settings.cloud;
        Self {
            rings,
            sink,
            stats,
            writer: DocumentWriter::new(&settings.node_id, &settings.tenant, &settings.zone)
                .with_warnings(settings.warnings),
            line: Vec::with_capacity(2_048),
            open: OpenBatch::new(),
            opened_at_ms: 0,
            items_max: cloud.bulk_items.max(1),
            flush_interval_ms: cloud.flush_interval_ms,
            outbox: Outbox::new(OutboxSettings {
                retry_delay_ms: cloud.retry_delay_ms,
                retry_delay_ms_max: cloud.retry_delay_ms_max,
                retries_max: cloud.retries,
                bytes_max: cloud.pending_bytes_max,
            }),
            attempts: JoinSet::new(),
            loss: LossWatch::default(),
            monitor: settings.monitor.clone(),
            sampled_at_ms: 0,
            started: Instant::now(),
        }
    }

    /// Works until `stop` is ready. What is not delivered by then stays for [`Self::flush`].
    pub async fn run(&mut self, stop: impl Future<Output = ()>) {
        tracing::info!("reports go to {}", self.sink.target());
        tokio::pin!(stop);
        loop {
            let fill = self.drain();
            self.sample();
            self.advance();
            let pause = match fill {
                Fill::More => {
                    tokio::task::yield_now().await;
                    Duration::ZERO
                }
                Fill::Pressed => POLL_PRESSED,
                Fill::Some => POLL_BUSY,
                Fill::None => POLL_IDLE,
            };
            tokio::select! {
                biased;
                () = &mut stop => return,
                Some(done) = self.attempts.join_next() => self.settle(done),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Drains the rings to their end, then sends what it can within `bound`; the rest is dropped and counted. Call it when the
    /// workers have finished.
    pub async fn flush(&mut self, bound: Duration) {
        let deadline = Instant::now() + bound;
        while self.drain() != Fill::None {
            tokio::task::yield_now().await;
        }
        self.close_open_batch();
        self.outbox.hurry();
        while !self.outbox.is_empty() && Instant::now() < deadline {
            self.advance();
            tokio::select! {
                Some(done) = self.attempts.join_next() => self.settle(done),
                () = tokio::time::sleep(POLL_BUSY) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
        self.attempts.abort_all();
        let unsent = self.outbox.abandon_in_flight() as u64;
        if unsent > 0 {
            self.stats.add_dropped(DropReason::Shutdown, unsent);
        }
        self.publish_pending();
        tracing::info!(
            "reports: {} sent, {} dropped ({} of them unsent at the end)",
            self.stats.sent(),
            self.stats.dropped_total(),
            unsent,
        );
    }

    /// Takes one turn's records from every ring.
    fn drain(&mut self) -> Fill {
        let now_ms = self.now_ms();
        let (mut drained, mut fill) = (0, Fill::None);
        for index in 0..self.rings.len() {
            let ring = &self.rings[index];
            if ring.pending_bytes() >= ring.bytes_max() / 8 {
                fill = fill.max(Fill::Pressed);
            }
            let mut left = RECORDS_PER_TURN;
            while left > 0 {
                let (writer, line, open) = (&mut self.writer, &mut self.line, &mut self.open);
                if open.records() == 0 {
                    self.opened_at_ms = now_ms;
                }
                // One at a time: a batch may have to be closed after any of them.
                let taken = self.rings[index].drain(1, |record| {
                    line.clear();
                    writer.write(line, &record);
                    // Compression into memory cannot fail; if it ever did, the report would be missing and the log would say so.
                    if let Err(error) = open.push(line) {
                        tracing::error!("a report could not be compressed: {error}");
                    }
                });
                if taken == 0 {
                    break;
                }
                left -= 1;
                drained += 1;
                if self.open.is_large() || self.open.records() >= self.items_max {
                    self.close_open_batch();
                }
            }
            fill = fill.max(match left {
                0 => Fill::More,
                RECORDS_PER_TURN => Fill::None,
                _ => Fill::Some,
            });
        }
        self.stats.add_received(drained as u64);
        fill
    }

    /// Adds a report of host and process when one is due.
    fn sample(&mut self) {
        let now_ms = self.now_ms();
        let Some(reports) = &self.monitor else {
            return;
        };
        if now_ms.saturating_sub(self.sampled_at_ms) < reports.period_ms {
            return;
        }
        self.sampled_at_ms = now_ms;
        if self.open.records() == 0 {
            self.opened_at_ms = now_ms;
        }
        self.line.clear();
        self.writer
            .write_monitor(&mut self.line, &reports.monitor.sample(), &reports.hostname);
        if let Err(error) = self.open.push(&self.line) {
            tracing::error!("a report could not be compressed: {error}");
        }
        self.stats.add_received(1);
        if self.open.records() >= self.items_max {
            self.close_open_batch();
        }
    }

    /// Closes the open batch when it is due, and starts every attempt that may start.
    fn advance(&mut self) {
        let now_ms = self.now_ms();
        if self.outbox.is_flowing()
            && now_ms.saturating_sub(self.opened_at_ms) >= self.flush_interval_ms
        {
            self.close_open_batch();
        }
        while let Some(attempt) = self.outbox.next(now_ms) {
            let delivery = tokio::time::timeout(ATTEMPT_MAX, self.sink.deliver(&attempt.batch));
            self.attempts.spawn(async move {
                let delivery = delivery.await.unwrap_or_else(|_| Delivery::Retry {
                    after_ms: None,
                    cause: format!("no answer within {} s", ATTEMPT_MAX.as_secs()),
                });
                (attempt, delivery)
            });
        }
        self.tell_losses(now_ms);
        self.publish_pending();
    }

    fn close_open_batch(&mut self) {
        if self.open.records() == 0 {
            return;
        }
        let open = std::mem::replace(&mut self.open, OpenBatch::new());
        let records = open.records();
        match open.finish() {
            Ok(batch) => self.push(batch),
            Err(error) => {
                tracing::error!("a batch could not be compressed: {error}");
                self.stats.add_dropped(DropReason::Rejected, records as u64);
            }
        }
    }

    fn push(&mut self, batch: Batch) {
        let dropped = self.outbox.push(batch);
        if dropped > 0 {
            self.stats
                .add_dropped(DropReason::QueueFull, dropped as u64);
        }
    }

    fn settle(&mut self, done: Result<(Attempt, Delivery), JoinError>) {
        let (attempt, delivery) = match done {
            Ok(done) => done,
            Err(error) => {
                // A sink that panics is a defect; its batch is gone with the task and shows as pending.
                tracing::error!("an attempt to deliver reports ended early: {error}");
                return;
            }
        };
        match &delivery {
            Delivery::Retry { .. } | Delivery::Unauthorized { .. } => self.stats.add_failure(),
            Delivery::Rejected { status } => tracing::warn!(
                "the endpoint refused {} reports with status {status}; they are dropped",
                attempt.batch.records,
            ),
            Delivery::Accepted | Delivery::TooLarge => {}
        }
        let now_ms = self.now_ms();
        let verdict = self.outbox.complete(attempt, delivery, now_ms);
        self.book(verdict);
    }

    fn book(&mut self, verdict: Verdict) {
        if verdict.accepted_records > 0 {
            self.stats
                .add_sent(verdict.accepted_records as u64, unix_ms());
        }
        for (reason, records) in verdict.dropped {
            self.stats.add_dropped(reason, records as u64);
        }
        match verdict.change {
            None => {}
            Some(Change::Failing { cause }) => tracing::warn!(
                "reports wait: {} does not take them ({cause}); up to {} of memory are kept and sent later",
                self.sink.target(),
                bytes_text(self.outbox.bytes_max()),
            ),
            Some(Change::Refused { status }) => tracing::error!(
                "{} refuses the Cloud Token (status {status}); reports wait and the token is tried again every minute; \
                 hint: check cloud.token",
                self.sink.target(),
            ),
            Some(Change::Recovered) => tracing::info!(
                "{} takes reports again; {} wait",
                self.sink.target(),
                self.outbox.records(),
            ),
        }
    }

    fn tell_losses(&mut self, now_ms: u64) {
        match self.loss.look(self.stats.dropped_total(), now_ms) {
            None => {}
            Some(Loss::Begun) => {
                let reasons: Vec<String> = DropReason::ALL
                    .into_iter()
                    .map(|reason| (reason, self.stats.dropped(reason)))
                    .filter(|(_, dropped)| *dropped > 0)
                    .map(|(reason, dropped)| format!("{} {dropped}", reason.as_str()))
                    .collect();
                tracing::warn!(
                    "reports are being lost (since start: {}); hint: see gateway_reports_dropped_total",
                    reasons.join(", "),
                );
            }
            Some(Loss::Over { lost }) => tracing::warn!("no more reports are lost; {lost} were"),
        }
    }

    fn publish_pending(&self) {
        let records = self.outbox.records() + self.open.records();
        let bytes = self.outbox.bytes() + self.open.bytes();
        self.stats.set_pending(records as u64, bytes as u64);
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// What a visit to the rings found, in rising urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fill {
    /// Nothing.
    None,
    /// Some records, all taken.
    Some,
    /// A ring was an eighth full.
    Pressed,
    /// A ring holds more than one turn takes.
    More,
}

/// Notices when reports begin to be lost and when that is over, so that each is said once.
#[derive(Debug, Default)]
struct LossWatch {
    seen: u64,
    /// Dropped before the running loss, and when its last drop was seen.
    running: Option<(u64, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Loss {
    Begun,
    Over { lost: u64 },
}

impl LossWatch {
    /// Looks at the total of dropped reports.
    fn look(&mut self, dropped: u64, now_ms: u64) -> Option<Loss> {
        if dropped > self.seen {
            let begun = self.running.is_none().then_some(Loss::Begun);
            let before = self.running.map_or(self.seen, |(before, _)| before);
            self.running = Some((before, now_ms));
            self.seen = dropped;
            return begun;
        }
        let (before, last_ms) = self.running?;
        if now_ms.saturating_sub(last_ms) < LOSS_QUIET_MS {
            return None;
        }
        self.running = None;
        Some(Loss::Over {
            lost: dropped - before,
        })
    }
}

/// Empties the workers' rings until `stop` is ready and keeps nothing: for a gateway without a reporter, whose workers would
/// otherwise count every report as lost.
pub async fn discard(mut rings: Vec<ReportReceiver>, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    loop {
        let taken: usize = rings
            .iter_mut()
            .map(|ring| ring.drain(RECORDS_PER_TURN, |_| {}))
            .sum();
        let pause = if taken > 0 { POLL_PRESSED } else { POLL_IDLE };
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

fn bytes_text(bytes: usize) -> String {
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{bytes} bytes")
    }
}

#[cfg(test)]
#[path = "reporter_tests.rs"]
mod tests;
