//! Golden documents of our own.

use serde_json::Value;
use turnpike_core::definition::Engine;
use turnpike_core::exchange::Warning;
use turnpike_core::report::Warnings;

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
        mapped_path: "/:order",
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
        user: "ann",
        error_key: "",
        error_message: "",
        warnings: Warnings::default(),
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
            "path-info": "/7", "mapped-path": "/:order", "user-agent": "", "request-content-length": 12, "request-ended": "true",
            "entrypoint-id": "http-proxy", "endpoint": "http://backend/7",
            "endpoint-response-time-ms": 8, "endpoint-response-ttfb-ms": 8, "endpoint-connect-time-ms": 0,
            "endpoint-response-time-ns": 8000000, "endpoint-response-ttfb-ns": 7500000,
            "endpoint-connect-time-ns": 499999, "status": 201, "response-content-length": 34,
            "gateway-response-time-ms": 10, "gateway-latency-ms": 2,
            "gateway-response-time-ns": 10499999, "gateway-latency-ns": 2499999,
            "user": "ann", "security-type": "API_KEY", "security-token": "key"
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
            "mapped-path": "/:order", "user": "ann", "host": "orders.test:8082", "user-agent": "", "security-type": "API_KEY",
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
fn warnings_are_listed_in_both_forms() {
    let kept =
        [("EXPRESSION_EVALUATION_ERROR", "a \"b\""), ("K", "m")].map(|(key, message)| Warning {
            key: key.into(),
            message: message.into(),
        });
    for engine in [Engine::V4, Engine::V2Legacy] {
        let record = Record {
            engine: Some(engine),
            warnings: Warnings::of(&kept),
            ..record()
        };
        assert_eq!(
            document(&record)["warnings"],
            json(
                r#"[{"key": "EXPRESSION_EVALUATION_ERROR", "message": "a \"b\""}, {"key": "K", "message": "m"}]"#
            )
        );
    }
    assert_eq!(document(&record()).get("warnings"), None);
    let mut out = Vec::new();
    DocumentWriter::new("node-1", "", "")
        .with_warnings(false)
        .write(
            &mut out,
            &Record {
                warnings: Warnings::of(&kept),
                ..record()
            },
        );
    let document: Value = serde_json::from_slice(&out).expect("a JSON document");
    assert_eq!(document.get("warnings"), None, "switched off");
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
