//! What can be told about the synchronisation: `/_node/sync`, probes, metrics (contract sync 5.6).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::identity::Identity;
use crate::token::TokenState;

/// Refused APIs that are remembered by name; more are counted only.
const REFUSED_MAX: usize = 1_000;

/// How we stand with the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// No handshake has succeeded yet.
    Connecting,
    /// The last call succeeded.
    Connected,
    /// The last call failed; what was deployed stays.
    Lost,
    /// The control plane refuses our credentials.
    Unauthorized,
}

/// An API that is not deployed as its last event asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedApi {
    /// Name, empty when it could not be read.
    pub name: String,
    /// Member, and what was expected and found.
    pub reason: String,
    /// Whether an earlier deployment is still served.
    pub is_served_as_before: bool,
}

/// A copy of the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncReport {
    /// Whether a first complete cycle succeeded, or a stored state is served.
    pub initial_done: bool,
    /// Cycles that were started.
    pub counter: u64,
    /// Start of the next cycle, Unix milliseconds; -1 before the first success.
    pub next_sync_time_ms: i64,
    /// Whether the last cycle failed.
    pub last_on_error: bool,
    /// Why.
    pub last_error_message: Option<String>,
    /// Cycles that failed.
    pub total_on_errors: u64,
    /// End of the last successful cycle, Unix milliseconds.
    pub last_success_ms: Option<i64>,
    /// Everything before this was applied, Unix milliseconds.
    pub watermark_ms: Option<i64>,
    /// How we stand with the control plane.
    pub connection: Connection,
    /// Version that the control plane declared.
    pub server_version: Option<String>,
    /// Where the Cloud Token stands.
    pub token_state: TokenState,
    /// Age of the stored state that is served, when the control plane was not reachable at start: its writing time, Unix
    /// milliseconds.
    pub served_from_store_ms: Option<i64>,
    /// Refused APIs by id.
    pub refused: BTreeMap<String, RefusedApi>,
    /// Refused APIs beyond the ones listed.
    pub refused_unlisted: u64,
    /// APIs that are deployed and cannot be served, because another one holds their path: reason by id.
    pub conflicts: BTreeMap<String, String>,
}

/// The status, shared between the synchronizer and those who tell about it.
#[derive(Debug)]
pub struct SyncStatus {
    report: Mutex<SyncReport>,
    identity: Mutex<Option<Arc<Identity>>>,
}

impl SyncStatus {
    /// Before the first handshake.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            report: Mutex::new(SyncReport {
                initial_done: false,
                counter: 0,
                next_sync_time_ms: -1,
                last_on_error: false,
                last_error_message: None,
                total_on_errors: 0,
                last_success_ms: None,
                watermark_ms: None,
                connection: Connection::Connecting,
                server_version: None,
                token_state: TokenState::Absent,
                served_from_store_ms: None,
                refused: BTreeMap::new(),
                refused_unlisted: 0,
                conflicts: BTreeMap::new(),
            }),
            identity: Mutex::new(None),
        })
    }

    /// A copy of everything.
    pub fn report(&self) -> SyncReport {
        self.lock().clone()
    }

    /// The body of `GET /_node/sync`; the status is 200 when `initialDone`, else 503.
    pub fn to_json(&self) -> serde_json::Value {
        let report = self.lock();
        serde_json::json!({
            "initialDone": report.initial_done,
            "counter": report.counter,
            "nextSyncTime": report.next_sync_time_ms,
            "lastOnError": report.last_on_error,
            "lastErrorMessage": report.last_error_message,
            "totalOnErrors": report.total_on_errors,
            "lastSuccess": report.last_success_ms,
            "watermark": report.watermark_ms,
            "connection": report.connection,
            "controlPlaneVersion": report.server_version,
            "tokenState": report.token_state.as_str(),
            "servedFromStore": report.served_from_store_ms,
            "refusedApis": report.refused,
            "refusedApisUnlisted": report.refused_unlisted,
            "conflictingApis": report.conflicts,
        })
    }

    /// Environments and organizations of this gateway, once the control plane told them.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_identity(&self, identity: Arc<Identity>) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
    }

    pub(super) fn connected(&self, version: &str) {
        let mut report = self.lock();
        report.connection = Connection::Connected;
        report.server_version = Some(version.to_owned());
    }

    pub(super) fn set_token_state(&self, state: TokenState) {
        self.lock().token_state = state;
    }

    pub(super) fn set_served_from_store(&self, written_at_ms: i64) {
        let mut report = self.lock();
        report.served_from_store_ms = Some(written_at_ms);
        report.initial_done = true;
    }

    pub(super) fn cycle_started(&self) {
        self.lock().counter += 1;
    }

    pub(super) fn cycle_succeeded(&self, now_ms: i64, watermark_ms: i64, next_ms: i64) {
        let mut report = self.lock();
        report.initial_done = true;
        report.last_on_error = false;
        report.last_error_message = None;
        report.last_success_ms = Some(now_ms);
        report.watermark_ms = Some(watermark_ms);
        report.next_sync_time_ms = next_ms;
        report.connection = Connection::Connected;
        report.served_from_store_ms = None;
    }

    /// Notes a failure; true when it differs from the one before, so that it deserves more than a debug line.
    pub(super) fn failed(&self, message: &str, connection: Connection) -> bool {
        let mut report = self.lock();
        let is_news = report.connection != connection
            || report.last_error_message.as_deref() != Some(message);
        report.last_on_error = true;
        report.total_on_errors += 1;
        report.last_error_message = Some(message.to_owned());
        report.connection = connection;
        is_news
    }

    pub(super) fn refuse(&self, api_id: &str, refused: RefusedApi) {
        let mut report = self.lock();
        if report.refused.len() < REFUSED_MAX || report.refused.contains_key(api_id) {
            report.refused.insert(api_id.to_owned(), refused);
        } else {
            report.refused_unlisted += 1;
        }
    }

    /// Takes the conflicts of a publication; new ones are told once.
    pub(super) fn set_conflicts(&self, conflicts: Vec<(String, String)>) {
        let conflicts: BTreeMap<String, String> = conflicts.into_iter().take(REFUSED_MAX).collect();
        let mut report = self.lock();
        for (api_id, reason) in &conflicts {
            if report.conflicts.get(api_id) != Some(reason) {
                tracing::warn!(api = %api_id, "API is not served: {reason}");
            }
        }
        report.conflicts = conflicts;
    }

    pub(super) fn accept(&self, api_id: &str) {
        self.lock().refused.remove(api_id);
    }

    fn lock(&self) -> MutexGuard<'_, SyncReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
