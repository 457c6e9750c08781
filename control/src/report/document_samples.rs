//! Our documents against the published ones, when the samples folder is there.

use std::path::Path;

use serde_json::{Map, Value};
use turnpike_core::definition::Engine;
use turnpike_core::exchange::Warning;
use turnpike_core::report::{Record, SecurityType, Warnings};

use super::document::DocumentWriter;

/// Members that a [`Record`] cannot carry yet: policies that set them are not built.
const NOT_RECORDED: [&str; 3] = ["custom", "additional-metrics", "api-product-id"];

struct Given<'a>(&'a Map<String, Value>);

impl<'a> Given<'a> {
    fn text(&self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or("")
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// Nanoseconds from the `Ns` member, else from the `Ms` one.
    fn ns(&self, stem: &str) -> Option<u64> {
        self.number(&format!("{stem}Ns"))
            .or_else(|| Some(self.number(&format!("{stem}Ms"))? * 1_000_000))
    }

    fn warnings(&self) -> Vec<Warning> {
        let list = self.0.get("warnings").and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .map(|warning| Warning {
                key: warning["key"].as_str().unwrap_or("").to_owned().into(),
                message: warning["message"].as_str().unwrap_or("").into(),
            })
            .collect()
    }

    fn record(&self, v2: bool, warnings: &'a [Warning]) -> Record<'a> {
        let (api, application, plan, subscription, path) = if v2 {
            ("api", "application", "plan", "subscription", "path")
        } else {
            (
                "apiId",
                "applicationId",
                "planId",
                "subscriptionId",
                "pathInfo",
            )
        };
        Record {
            timestamp_ms: self
                .number("timestamp")
                .expect("every sample has a timestamp"),
            engine: Some(if v2 { Engine::V2Legacy } else { Engine::V4 }),
            request_id: self.text("requestId"),
            transaction_id: self.text("transactionId"),
            api_id: self.text(api),
            api_name: self.text("apiName"),
            organization_id: self.text("organizationId"),
            environment_id: self.text("environmentId"),
            plan_id: self.text(plan),
            application_id: self.text(application),
            subscription_id: self.text(subscription),
            client_identifier: self.text("clientIdentifier"),
            method: self.text("httpMethod"),
            local_address: self.text("localAddress"),
            remote_address: self.text("remoteAddress"),
            host: self.text("host"),
            uri: self.text("uri"),
            path_info: self.text(path),
            mapped_path: self.text("mappedPath"),
            user_agent: self.text("userAgent"),
            endpoint: self.text("endpoint"),
            status: self.number("status").unwrap_or(0) as u16,
            request_body_bytes: self.number("requestContentLength").unwrap_or(0),
            response_body_bytes: self.number("responseContentLength").unwrap_or(0),
            response_time_ns: self
                .ns(if v2 {
                    "proxyResponseTime"
                } else {
                    "gatewayResponseTime"
                })
                .unwrap_or(0),
            endpoint_response_time_ns: self.ns(if v2 {
                "apiResponseTime"
            } else {
                "endpointResponseTime"
            }),
            endpoint_ttfb_ns: self.ns("endpointResponseTtfb"),
            endpoint_connect_ns: self.ns("endpointConnectTime"),
            security_type: if self.text("securityType") == "API_KEY" {
                SecurityType::ApiKey
            } else {
                SecurityType::None
            },
            security_token: self.text("securityToken"),
            error_key: self.text("errorKey"),
            error_message: self.text("errorMessage"),
            user: self.text("user"),
            warnings: Warnings::of(warnings),
        }
    }
}

#[test]
fn documents_equal_the_published_samples_in_every_member_that_a_record_can_carry() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/contracts/samples/reporting/formats.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no samples at {}", path.display());
        return;
    };
    let file: Value = serde_json::from_str(&text).expect("the samples are JSON");
    let samples = file["samples"].as_array().expect("a list of samples");
    let mut compared = 0;
    for sample in samples {
        let kind = sample["kind"].as_str().expect("a kind");
        let v2 = kind.starts_with("request");
        let (Some(given), Some(expected)) = (
            sample["given"].as_object(),
            sample["elasticsearch"].as_object(),
        ) else {
            continue;
        };
        if !v2 && !kind.starts_with("v4-metrics") {
            continue;
        }
        let given = Given(given);
        let warnings = given.warnings();
        let mut out = Vec::new();
        DocumentWriter::new("gateway-id", "", "").write(&mut out, &given.record(v2, &warnings));
        let mut ours: Map<String, Value> = serde_json::from_slice(&out).expect("a document");
        let mut expected = expected.clone();
        for name in NOT_RECORDED {
            expected.remove(name);
        }
        // A warning of ours names no component.
        let listed = expected.get_mut("warnings").and_then(Value::as_array_mut);
        for warning in listed
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            warning.retain(|name, _| !name.starts_with("component-"));
        }
        // A record always has nanoseconds, the byte counts and the one entrypoint; its latency is computed and not copied.
        for name in ["entrypoint-id", "gateway-latency-ms", "gateway-latency-ns"] {
            ours.remove(name);
            expected.remove(name);
        }
        ours.retain(|name, _| {
            expected.contains_key(name)
                || !(name.ends_with("-ns") || name == "request-content-length")
        });
        assert_eq!(
            Value::Object(ours),
            Value::Object(expected),
            "sample {kind}"
        );
        compared += 1;
    }
    assert!(compared >= 6, "only {compared} samples were compared");
}
