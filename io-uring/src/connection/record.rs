//! What is known of an exchange when it ends, as its report and its counters.

use std::borrow::Cow;
use std::time::Instant;

use turnpike_core::definition::Api;
use turnpike_core::error::FailureKey;
use turnpike_core::http::{Known, RequestHead};
use turnpike_core::report::{Record, SecurityType, Warnings};

use super::exchange::text;
use crate::worker::Shard;

/// Facts collected while an exchange runs.
pub(super) struct Facts {
    pub(super) started: Instant,
    /// When the last byte of a backend's response was passed on; then the exchange is over.
    pub(super) ended: Option<Instant>,
    pub(super) started_wall_ms: u64,
    pub(super) status: u16,
    pub(super) request_body_bytes: u64,
    pub(super) response_body_bytes: u64,
    /// When the backend was called.
    pub(super) called: Option<Instant>,
    /// Time to get a connection.
    pub(super) connect_ns: Option<u64>,
    /// From the call to the response head.
    pub(super) ttfb_ns: Option<u64>,
    /// From the call to the last byte.
    pub(super) endpoint_ns: Option<u64>,
    pub(super) error_key: Cow<'static, str>,
    pub(super) error_message: Option<Box<str>>,
}

impl Facts {
    pub(super) fn begin(started: Instant, started_wall_ms: u64) -> Self {
        Self {
            started,
            ended: None,
            started_wall_ms,
            status: 0,
            request_body_bytes: 0,
            response_body_bytes: 0,
            called: None,
            connect_ns: None,
            ttfb_ns: None,
            endpoint_ns: None,
            error_key: Cow::Borrowed(""),
            error_message: None,
        }
    }

    /// Notes a failure that the client got, or would have got.
    pub(super) fn note(&mut self, failure: turnpike_core::error::Failure) {
        self.status = failure.status;
        self.error_key = match failure.key {
            None => Cow::Borrowed(""),
            Some(FailureKey::Gateway(key)) => Cow::Borrowed(key.as_str()),
            Some(FailureKey::Policy(key)) => key,
        };
        self.error_message = failure.cause;
    }
}

/// Who asked for what, for the report.
pub(super) struct Subject<'a> {
    pub(super) api: Option<&'a Api>,
    pub(super) plan_id: &'a str,
    pub(super) application_id: &'a str,
    pub(super) subscription_id: &'a str,
    pub(super) client_identifier: &'a str,
    pub(super) security_type: SecurityType,
    pub(super) security_token: &'a str,
    pub(super) transaction_id: &'a [u8],
    pub(super) request_id: &'a [u8],
    pub(super) remote: &'a str,
    pub(super) local: &'a str,
    pub(super) path_info: &'a str,
    pub(super) endpoint: &'a [u8],
    pub(super) user: &'a str,
    pub(super) mapped_path: &'a str,
    pub(super) warnings: Warnings<'a>,
}

impl Subject<'_> {
    /// Nobody known, asking for nothing known.
    pub(super) fn nobody() -> Self {
        Self {
            api: None,
            plan_id: "",
            application_id: "1",
            subscription_id: "",
            client_identifier: "",
            security_type: SecurityType::None,
            security_token: "",
            transaction_id: b"",
            request_id: b"",
            remote: "",
            local: "",
            path_info: "",
            endpoint: b"",
            user: "",
            mapped_path: "",
            warnings: Warnings::default(),
        }
    }
}

/// Counts the exchange and, when it is to be reported, pushes its record.
pub(super) fn finish(
    shard: &Shard,
    facts: &Facts,
    head: &RequestHead,
    bytes: &[u8],
    subject: &Subject<'_>,
    reported: bool,
) {
    let ended = facts.ended.unwrap_or_else(Instant::now);
    let response_time_ns = (ended - facts.started).as_nanos() as u64;
    shard.stats.request_bytes_sum.add(facts.request_body_bytes);
    shard.stats.record(
        head.method.index(),
        facts.status,
        response_time_ns,
        facts.response_body_bytes,
    );
    if !reported {
        return;
    }
    let user_agent = head
        .fields
        .first(Known::UserAgent)
        .map_or("", |field| field.value.text_of(bytes));
    let record = Record {
        timestamp_ms: facts.started_wall_ms,
        engine: subject.api.map(|api| api.engine),
        request_id: text(subject.request_id),
        transaction_id: text(subject.transaction_id),
        api_id: subject.api.map_or("1", |api| &api.id),
        api_name: subject.api.map_or("", |api| &api.name),
        organization_id: subject.api.map_or("", |api| &api.organization_id),
        environment_id: subject.api.map_or("", |api| &api.environment_id),
        plan_id: subject.plan_id,
        application_id: subject.application_id,
        subscription_id: subject.subscription_id,
        client_identifier: subject.client_identifier,
        method: head.method.as_str(),
        local_address: subject.local,
        remote_address: subject.remote,
        host: head.authority_of(bytes).unwrap_or_default(),
        uri: head.target.text_of(bytes),
        path_info: subject.path_info,
        user_agent,
        endpoint: text(subject.endpoint),
        status: facts.status,
        request_body_bytes: facts.request_body_bytes,
        response_body_bytes: facts.response_body_bytes,
        response_time_ns,
        endpoint_response_time_ns: facts.endpoint_ns,
        endpoint_ttfb_ns: facts.ttfb_ns,
        endpoint_connect_ns: facts.connect_ns,
        security_type: subject.security_type,
        security_token: subject.security_token,
        error_key: &facts.error_key,
        error_message: facts.error_message.as_deref().unwrap_or_default(),
        user: subject.user,
        mapped_path: subject.mapped_path,
        warnings: subject.warnings,
    };
    shard.report(&record);
}
