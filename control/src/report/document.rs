//! A record as the document that the analytics index stores: contract reporting 2.1, 2.4, 4.3 and 4.4.

use std::net::IpAddr;

use turnpike_core::report::{Record, SecurityType};

use super::json::Object;
use super::monitor_document;
use crate::node::MonitorSample;

/// Entrypoint connector of every V4 API that is served: message and native APIs are refused at deployment.
const HTTP_PROXY: &str = "http-proxy";
/// Key of an error that came with a message and without a key.
const DEFAULT_ERROR_KEY: &str = "internal_error";

/// Writes records as documents of this node.
#[derive(Debug)]
pub(crate) struct DocumentWriter {
    gateway: Box<str>,
    tenant: Box<str>,
    zone: Box<str>,
    warnings: bool,
    day: Day,
}

impl DocumentWriter {
    /// A writer for the node with this id; `tenant` and `zone` are empty when the gateway has none.
    pub(crate) fn new(gateway: &str, tenant: &str, zone: &str) -> Self {
        Self {
            gateway: gateway.into(),
            tenant: tenant.into(),
            zone: zone.into(),
            warnings: true,
            day: Day::of(0),
        }
    }

    /// The same writer, with or without the warnings of requests (`reporters.warnings.enabled`).
    pub(crate) fn with_warnings(self, warnings: bool) -> Self {
        Self { warnings, ..self }
    }

    /// Appends the document of `record`, one line with its line feed.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, record: &Record<'_>) {
        let timestamp = self.day.timestamp(record.timestamp_ms);
        let mut document = Object::begin(out);
        if record
            .engine
            .is_some_and(turnpike_core::definition::Engine::is_v2)
        {
            self.request(&mut document, record, timestamp);
        } else {
            self.v4_metrics(&mut document, record, timestamp);
        }
        document.end();
        out.push(b'\n');
    }

    /// Appends the document of a sample of host and process, one line with its line feed.
    pub(crate) fn write_monitor(
        &mut self,
        out: &mut Vec<u8>,
        sample: &MonitorSample,
        hostname: &str,
    ) {
        let timestamp = self.day.timestamp(sample.os.timestamp);
        let timestamp = std::str::from_utf8(&timestamp).unwrap_or_default();
        let document = monitor_document::document(
            sample,
            &self.gateway,
            hostname,
            timestamp,
            &self.day.index_date,
        );
        out.extend_from_slice(document.to_string().as_bytes());
        out.push(b'\n');
    }

    fn head(
        &self,
        document: &mut Object<'_>,
        kind: &str,
        record: &Record<'_>,
        timestamp: [u8; 24],
    ) {
        document.text("type", kind);
        document.text("date", &self.day.index_date);
        document.text("_id", record.request_id);
        document.text("gateway", &self.gateway);
        document.text(
            "@timestamp",
            std::str::from_utf8(&timestamp).unwrap_or_default(),
        );
    }

    fn v4_metrics(&self, document: &mut Object<'_>, record: &Record<'_>, timestamp: [u8; 24]) {
        self.head(document, "v4-metrics", record, timestamp);
        document.text("request-id", record.request_id);
        document.text_if_any("client-identifier", record.client_identifier);
        document.text_if_any("transaction-id", record.transaction_id);
        document.text_if_any("api-id", record.api_id);
        document.text_if_any("api-name", record.api_name);
        document.text_if_any("org-id", record.organization_id);
        document.text_if_any("env-id", record.environment_id);
        document.text_if_any("plan-id", record.plan_id);
        document.text_if_any("application-id", record.application_id);
        document.text_if_any("subscription-id", record.subscription_id);
        document.text_if_any("tenant", &self.tenant);
        document.number("http-method", method_number(record.method));
        document.text_if_any("local-address", record.local_address);
        document.text("remote-address", address(record.remote_address));
        document.text("host", record.host);
        document.text("uri", record.uri);
        document.text("path-info", record.path_info);
        document.text_if_any("mapped-path", record.mapped_path);
        // Filled only behind an ingest pipeline that parses it; the index expects the member all the same.
        document.text("user-agent", "");
        document.number("request-content-length", record.request_body_bytes);
        document.text("request-ended", "true");
        if record.engine.is_some() {
            document.text("entrypoint-id", HTTP_PROXY);
        }
        document.text_if_any("endpoint", record.endpoint);
        document.number(
            "endpoint-response-time-ms",
            ms(record.endpoint_response_time_ns.unwrap_or(0)),
        );
        measured(
            document,
            "endpoint-response-ttfb-ms",
            record.endpoint_ttfb_ns.map(ms),
        );
        measured(
            document,
            "endpoint-connect-time-ms",
            record.endpoint_connect_ns.map(ms),
        );
        measured(
            document,
            "endpoint-response-time-ns",
            record.endpoint_response_time_ns,
        );
        measured(
            document,
            "endpoint-response-ttfb-ns",
            record.endpoint_ttfb_ns,
        );
        measured(
            document,
            "endpoint-connect-time-ns",
            record.endpoint_connect_ns,
        );
        document.number("status", u64::from(record.status));
        document.number("response-content-length", record.response_body_bytes);
        let latency_ns = latency_ns(record);
        document.number("gateway-response-time-ms", ms(record.response_time_ns));
        document.number("gateway-latency-ms", ms(latency_ns));
        document.number("gateway-response-time-ns", record.response_time_ns);
        document.number("gateway-latency-ns", latency_ns);
        document.text_if_any("user", record.user);
        security(document, record);
        document.text_if_any("zone", &self.zone);
        if let Some(key) = error_key(record) {
            document.text("error-key", key);
            document.text_if_any("error-message", record.error_message);
            component(document, key, record.endpoint);
        }
        self.warnings(document, record);
    }

    fn request(&self, document: &mut Object<'_>, record: &Record<'_>, timestamp: [u8; 24]) {
        self.head(document, "request", record, timestamp);
        document.text_if_any("transaction", record.transaction_id);
        document.number("method", method_number(record.method));
        document.text("uri", record.uri);
        document.number("status", u64::from(record.status));
        document.number("response-time", ms(record.response_time_ns));
        measured(
            document,
            "api-response-time",
            record.endpoint_response_time_ns.map(ms),
        );
        document.number("proxy-latency", ms(latency_ns(record)));
        document.number("request-content-length", record.request_body_bytes);
        document.number("response-content-length", record.response_body_bytes);
        document.text_if_any("plan", record.plan_id);
        document.text_if_any("api", record.api_id);
        document.text_if_any("api-name", record.api_name);
        document.text_if_any("org-id", record.organization_id);
        document.text_if_any("env-id", record.environment_id);
        document.text_if_any("application", record.application_id);
        document.text_if_any("local-address", record.local_address);
        document.text("remote-address", address(record.remote_address));
        document.text_if_any("endpoint", record.endpoint);
        document.text_if_any("tenant", &self.tenant);
        document.text("path", record.path_info);
        document.text_if_any("mapped-path", record.mapped_path);
        document.text("host", record.host);
        document.text("user-agent", "");
        document.text_if_any("user", record.user);
        security(document, record);
        document.text_if_any("subscription", record.subscription_id);
        document.text_if_any("zone", &self.zone);
        if let Some(key) = error_key(record) {
            document.text("error-key", key);
            document.text_if_any("message", record.error_message);
            component(document, key, record.endpoint);
        }
        self.warnings(document, record);
    }

    fn warnings(&self, document: &mut Object<'_>, record: &Record<'_>) {
        if !self.warnings || record.warnings.is_empty() {
            return;
        }
        document.objects(
            "warnings",
            record.warnings.iter(),
            |warning, (key, message)| {
                warning.text("key", key);
                warning.text("message", message);
            },
        );
    }
}

fn measured(document: &mut Object<'_>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        document.number(name, value);
    }
}

fn security(document: &mut Object<'_>, record: &Record<'_>) {
    match record.security_type {
        SecurityType::None => {}
        SecurityType::ApiKey => document.text("security-type", "API_KEY"),
        SecurityType::Jwt => document.text("security-type", "JWT"),
        SecurityType::OAuth2 => document.text("security-type", "OAUTH2"),
    }
    document.text_if_any("security-token", record.security_token);
}

fn error_key<'a>(record: &Record<'a>) -> Option<&'a str> {
    match (record.error_key, record.error_message) {
        ("", "") => None,
        ("", _) => Some(DEFAULT_ERROR_KEY),
        (key, _) => Some(key),
    }
}

fn component(document: &mut Object<'_>, key: &str, endpoint: &str) {
    if key.starts_with("GATEWAY_CLIENT_") {
        document.text("error-component-type", "ENDPOINT");
        document.text_if_any("error-component-name", endpoint);
    } else {
        document.text("error-component-name", "Unknown component");
    }
}

/// What the gateway itself added to the time.
fn latency_ns(record: &Record<'_>) -> u64 {
    record
        .response_time_ns
        .saturating_sub(record.endpoint_response_time_ns.unwrap_or(0))
}

/// Milliseconds, rounded half up.
fn ms(ns: u64) -> u64 {
    ns / 1_000_000 + u64::from(ns % 1_000_000 >= 500_000)
}

/// The index maps the field as an IP: a text that is none would make it refuse the document.
fn address(text: &str) -> &str {
    if text.parse::<IpAddr>().is_ok() {
        text
    } else {
        "0.0.0.0"
    }
}

/// Number of a method in the index (contract reporting 2.1).
fn method_number(method: &str) -> u64 {
    match method {
        "CONNECT" => 1,
        "DELETE" => 2,
        "GET" => 3,
        "HEAD" => 4,
        "OPTIONS" => 5,
        "PATCH" => 6,
        "POST" => 7,
        "PUT" => 8,
        "TRACE" => 9,
        _ => 0,
    }
}

const DAY_MS: u64 = 86_400_000;
/// 9999-12-31, the last day with a four-digit year.
const DAY_MAX: u64 = 2_932_896;

/// The texts of one UTC day. Records come in time order, so the calendar is worked out about once a day and not once per record.
#[derive(Debug)]
struct Day {
    number: u64,
    /// `2026-01-02`.
    date: String,
    /// `2026.01.02`, the suffix of a daily index.
    index_date: String,
}

impl Day {
    fn of(number: u64) -> Self {
        let number = number.min(DAY_MAX);
        let date = jiff::Timestamp::from_millisecond((number * DAY_MS) as i64)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        let date = date.to_string();
        Self {
            number,
            index_date: date.replace('-', "."),
            date,
        }
    }

    /// `2026-01-02T03:04:05.678Z`; moves to the day of `timestamp_ms` first.
    fn timestamp(&mut self, timestamp_ms: u64) -> [u8; 24] {
        let number = (timestamp_ms / DAY_MS).min(DAY_MAX);
        if number != self.number {
            *self = Self::of(number);
        }
        let rest = timestamp_ms % DAY_MS;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        text[..10].copy_from_slice(self.date.as_bytes());
        digits(&mut text[11..13], rest / 3_600_000);
        digits(&mut text[14..16], rest / 60_000 % 60);
        digits(&mut text[17..19], rest / 1_000 % 60);
        digits(&mut text[20..23], rest % 1_000);
        text
    }
}

fn digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
