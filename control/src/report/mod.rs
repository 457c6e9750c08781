//! Reports: from the workers' rings to the Cloud Gate (contract reporting 1, 2, 7).
//!
//! # The nouns
//! - [`Reporter`]: drains the rings, writes documents, collects batches, and drives everything below;
//! - `DocumentWriter`: one record as the document that the analytics index stores;
//! - [`Batch`]: documents that travel together, compressed, under one id;
//! - `Outbox`: which batch goes next and when; every retry rule, without clock or socket;
//! - [`Sink`]: where batches go; [`CloudSink`] is the Cloud Gate.
//!
//! # What is promised
//! A report that reached a ring is accepted by the sink, or counted under a [`DropReason`], or still waits. Each attempt of one
//! batch carries the same id, so an attempt whose answer was lost is not taken twice by a receiver that remembers ids.

mod batch;
mod cloud;
mod document;
#[cfg(test)]
mod document_samples;
mod json;
mod monitor_document;
mod outbox;
mod reporter;
mod sink;
mod stats;

pub use batch::Batch;
pub use cloud::{BATCH_ID, CloudSink, REPORT_COUNT, ReportTransport, ReportsUrlError, TokenSource};
pub use outbox::Delivery;
pub use reporter::{MonitorReports, Reporter, ReporterSettings, discard};
pub use sink::{BoxFuture, Sink};
pub use stats::{DropReason, ReporterStats};
