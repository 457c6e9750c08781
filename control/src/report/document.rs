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
    day: Day,
}

impl DocumentWriter {
    /// A writer for the node with this id; `tenant` and `zone` are empty when the gateway has none.
    pub(crate) fn new(gateway: &str, tenant: &str, zone: &str) -> Self {
        Self {
            gateway: gateway.into(),
            tenant: tenant.into(),
            zone: zone.into(),
            day: Day::of(0),
        }
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
        security(document, record);
        document.text_if_any("zone", &self.zone);
        if let Some(key) = error_key(record) {
            document.text("error-key", key);
            document.text_if_any("error-message", record.error_message);
            component(document, key, record.endpoint);
        }
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
        document.text("host", record.host);
        document.text("user-agent", "");
        security(document, record);
        document.text_if_any("subscription", record.subscription_id);
        document.text_if_any("zone", &self.zone);
        if let Some(key) = error_key(record) {
            document.text("error-key", key);
            document.text_if_any("message", record.error_message);
            component(document, key, record.endpoint);
        }
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
mod tests {
    use serde_json::Value;
    use turnpike_core::definition::Engine;

    use super::*;

    fn document(record: &Record<'_>) -> Value {
        let mut out = Vec::new();
        DocumentWriter::new("node-1", "europe", "z1").write(&mut out, record);
        assert_eq!(
            out.iter().filter(|byte| **byte == b'\n').count(),
            1,
            "one line"
        );
        serde_json::from_slice(&out).expect("a JSON document")
    }

    fn record() -> Record<'static> {
        Record {
            timestamp_ms: 1_767_323_045_678,
            engine: Some(Engine::V4),
            request_id: "r-1",
            transaction_id: "t-1",
            api_id: "a-1",
            api_name: "Orders \"v1\"",
            organization_id: "o-1",
            environment_id: "e-1",
            plan_id: "p-1",
            application_id: "app-1",
            subscription_id: "s-1",
            client_identifier: "c-1",
            method: "POST",
            local_address: "10.0.0.1",
            remote_address: "2001:db8::1",
            host: "orders.test:8082",
            uri: "/orders/7?x=1",
            path_info: "/7",
            user_agent: "curl/8",
            endpoint: "http://backend/7",
            status: 201,
            request_body_bytes: 12,
            response_body_bytes: 34,
            response_time_ns: 10_499_999,
            endpoint_response_time_ns: Some(8_000_000),
            endpoint_ttfb_ns: Some(7_500_000),
            endpoint_connect_ns: Some(499_999),
            security_type: SecurityType::ApiKey,
            security_token: "key",
            error_key: "",
            error_message: "",
        }
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn a_request_of_a_v4_api_is_a_v4_metrics_document() {
        let expected = json(
            r#"{
                "type": "v4-metrics", "date": "2026.01.02", "_id": "r-1", "gateway": "node-1",
                "@timestamp": "2026-01-02T03:04:05.678Z", "request-id": "r-1", "client-identifier": "c-1",
                "transaction-id": "t-1", "api-id": "a-1", "api-name": "Orders \"v1\"", "org-id": "o-1",
                "env-id": "e-1", "plan-id": "p-1", "application-id": "app-1", "subscription-id": "s-1",
                "tenant": "europe", "zone": "z1", "http-method": 7, "local-address": "10.0.0.1",
                "remote-address": "2001:db8::1", "host": "orders.test:8082", "uri": "/orders/7?x=1",
                "path-info": "/7", "user-agent": "", "request-content-length": 12, "request-ended": "true",
                "entrypoint-id": "http-proxy", "endpoint": "http://backend/7",
                "endpoint-response-time-ms": 8, "endpoint-response-ttfb-ms": 8, "endpoint-connect-time-ms": 0,
                "endpoint-response-time-ns": 8000000, "endpoint-response-ttfb-ns": 7500000,
                "endpoint-connect-time-ns": 499999, "status": 201, "response-content-length": 34,
                "gateway-response-time-ms": 10, "gateway-latency-ms": 2,
                "gateway-response-time-ns": 10499999, "gateway-latency-ns": 2499999,
                "security-type": "API_KEY", "security-token": "key"
            }"#,
        );
        assert_eq!(document(&record()), expected);
    }

    #[test]
    fn a_request_of_a_v2_api_is_a_request_document_whichever_engine_ran_it() {
        let expected = json(
            r#"{
                "type": "request", "date": "2026.01.02", "_id": "r-1", "gateway": "node-1",
                "@timestamp": "2026-01-02T03:04:05.678Z", "transaction": "t-1", "method": 7,
                "uri": "/orders/7?x=1", "status": 201, "response-time": 10, "api-response-time": 8,
                "proxy-latency": 2, "request-content-length": 12, "response-content-length": 34, "plan": "p-1",
                "api": "a-1", "api-name": "Orders \"v1\"", "org-id": "o-1", "env-id": "e-1",
                "application": "app-1", "local-address": "10.0.0.1", "remote-address": "2001:db8::1",
                "endpoint": "http://backend/7", "tenant": "europe", "zone": "z1", "path": "/7",
                "host": "orders.test:8082", "user-agent": "", "security-type": "API_KEY",
                "security-token": "key", "subscription": "s-1"
            }"#,
        );
        for engine in [Engine::V2Legacy, Engine::V2Emulation] {
            assert_eq!(
                document(&Record {
                    engine: Some(engine),
                    ..record()
                }),
                expected
            );
        }
    }

    #[test]
    fn a_request_without_an_api_is_a_v4_metrics_document_without_entrypoint() {
        let document = document(&Record {
            engine: None,
            api_id: "1",
            application_id: "1",
            status: 404,
            endpoint: "",
            endpoint_response_time_ns: None,
            endpoint_ttfb_ns: None,
            endpoint_connect_ns: None,
            ..record()
        });
        assert_eq!(document["type"], "v4-metrics");
        assert_eq!(document["api-id"], "1");
        assert_eq!(document["endpoint-response-time-ms"], 0);
        for absent in [
            "entrypoint-id",
            "endpoint",
            "endpoint-response-time-ns",
            "endpoint-connect-time-ms",
        ] {
            assert_eq!(document.get(absent), None, "{absent}");
        }
    }

    #[test]
    fn an_error_names_its_component() {
        let cases = [
            (
                "GATEWAY_CLIENT_CONNECTION_TIMEOUT",
                "slow",
                Some("ENDPOINT"),
                "http://backend/7",
            ),
            ("API_KEY_INVALID", "", None, "Unknown component"),
        ];
        for (key, message, component_type, component_name) in cases {
            let document = document(&Record {
                error_key: key,
                error_message: message,
                ..record()
            });
            assert_eq!(document["error-key"], key);
            assert_eq!(
                document.get("error-message").and_then(Value::as_str),
                Some(message).filter(|m| !m.is_empty())
            );
            assert_eq!(
                document.get("error-component-type").and_then(Value::as_str),
                component_type
            );
            assert_eq!(document["error-component-name"], component_name);
        }
        let document = document(&Record {
            error_message: "broken",
            ..record()
        });
        assert_eq!(
            document["error-key"], "internal_error",
            "a message without a key"
        );
    }

    #[test]
    fn a_remote_address_that_is_no_ip_becomes_zero() {
        for (given, expected) in [
            ("10.1.2.3", "10.1.2.3"),
            ("bad:address", "0.0.0.0"),
            ("", "0.0.0.0"),
            ("::1", "::1"),
        ] {
            assert_eq!(
                document(&Record {
                    remote_address: given,
                    ..record()
                })["remote-address"],
                expected
            );
        }
    }

    #[test]
    fn methods_have_the_numbers_of_the_index() {
        let numbers = [
            "OTHER", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
        ]
        .map(method_number);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(method_number("get"), 0, "methods are case-sensitive");
    }

    #[test]
    fn timestamps_follow_the_calendar_across_days_in_any_order() {
        let mut day = Day::of(0);
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_825_599_999, "2000-02-29T11:59:59.999Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
        ];
        for (ms, expected) in cases {
            assert_eq!(std::str::from_utf8(&day.timestamp(ms)), Ok(expected));
        }
        day.timestamp(u64::MAX);
    }
}
