//! `request-content-limit`: refuses requests whose body is too large (contract policies 13).

use std::sync::Arc;

use serde::Deserialize;

use super::lenient::de_number;
use super::registry::Entry;
use super::{Builder, ConfigError, Phases, Policy, Verdict};
use crate::el::Value;
use crate::error::Failure;
use crate::exchange::{BodyLimit, Exchange};

pub(super) const ENTRY: Entry = Entry {
    id: "request-content-limit",
    phases: Phases::REQUEST,
    summary: "refuses requests whose body is too large",
    members: &["limit"],
    differences: "",
    build,
};

#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(default, deserialize_with = "de_number")]
    limit: i64,
}

#[derive(Debug)]
struct RequestContentLimit {
    /// Bytes.
    limit: i64,
}

fn build(builder: &Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError> {
    let Configuration { limit } = builder.configuration()?;
    Ok(Arc::new(RequestContentLimit { limit }))
}

impl RequestContentLimit {
    fn too_large(&self, length: Option<i64>) -> Failure {
        let failure = Failure::policy(
            413,
            "REQUEST_CONTENT_LIMIT_TOO_LARGE",
            "The request is larger than the server is willing or able to process.",
        );
        match length {
            Some(length) => failure.with("length", length),
            None => failure,
        }
        .with("limit", self.limit)
    }
}

impl Policy for RequestContentLimit {
    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let headers = &exchange.request.headers;
        if let Some(length) = headers.get("Content-Length") {
            // The reference reads an integer of 32 bits.
            let length = std::str::from_utf8(length)
                .ok()
                .and_then(|length| length.parse::<i32>().ok());
            return match length.map(i64::from) {
                None => Verdict::fail(
                    Failure::status(400).saying("Content-length is not a valid integer !"),
                ),
                Some(length) if length > self.limit => Verdict::fail(self.too_large(Some(length))),
                Some(_) => Verdict::Continue,
            };
        }
        if !headers.contains("Transfer-Encoding") {
            return Verdict::fail(
                Failure::policy(
                    411,
                    "REQUEST_CONTENT_LIMIT_LENGTH_REQUIRED",
                    "The request does not say how long its content is, and this resource requires it.",
                )
                .with("limit", Value::Long(self.limit)),
            );
        }
        if let Some(bytes) = exchange.request.body.bytes() {
            let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            return if length > self.limit {
                Verdict::fail(self.too_large(Some(length)))
            } else {
                Verdict::Continue
            };
        }
        // The body has not been read: the worker counts it as it passes. The smallest of several limits holds.
        let bytes_max = u64::try_from(self.limit).unwrap_or(0);
        if exchange
            .body_limit
            .as_ref()
            .is_none_or(|own| own.bytes_max > bytes_max)
        {
            exchange.body_limit = Some(Box::new(BodyLimit {
                bytes_max,
                failure: self.too_large(None),
            }));
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Body;
    use crate::policy::testing::{Bench, build};
    use serde_json::json;

    fn run(exchange: &mut Exchange<'_>, limit: i64) -> Option<Failure> {
        let policy = build("request-content-limit", &json!({"limit": limit})).expect("a policy");
        match policy.on_request(exchange) {
            Verdict::Continue => None,
            Verdict::Fail(failure) => Some(*failure),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_announced_length_decides() {
        for (length, status, key) in [
            (Some("1000"), 0, ""),
            (Some("0"), 0, ""),
            (Some("1001"), 413, "REQUEST_CONTENT_LIMIT_TOO_LARGE"),
            (Some("2147483647"), 413, "REQUEST_CONTENT_LIMIT_TOO_LARGE"),
            (Some("2147483648"), 400, ""),
            (Some("many"), 400, ""),
            (None, 411, "REQUEST_CONTENT_LIMIT_LENGTH_REQUIRED"),
        ] {
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            if let Some(length) = length {
                exchange
                    .request
                    .headers
                    .add("Content-Length", length)
                    .expect("a field");
            }
            let failure = run(&mut exchange, 1_000);
            assert_eq!(
                failure.as_ref().map_or(0, |failure| failure.status),
                status,
                "{length:?}"
            );
            assert_eq!(
                failure.as_ref().map_or("", Failure::key_str),
                key,
                "{length:?}"
            );
            if status == 413 {
                let names: Vec<_> = failure
                    .iter()
                    .flat_map(|failure| &failure.parameters)
                    .map(|(name, _)| &**name)
                    .collect();
                assert_eq!(names, ["length", "limit"]);
            }
        }
    }

    #[test]
    fn a_chunked_body_is_counted_as_it_passes() {
        let mut bench = Bench::new();
        let mut exchange = bench.exchange();
        exchange
            .request
            .headers
            .add("Transfer-Encoding", "chunked")
            .expect("a field");
        exchange.request.body = Body::Streaming;
        assert!(run(&mut exchange, 1_000).is_none());
        assert!(run(&mut exchange, 10).is_none());
        assert!(run(&mut exchange, 500).is_none());
        let limit = exchange.body_limit.as_ref().expect("a limit");
        assert_eq!(limit.bytes_max, 10, "the smallest limit holds");
        assert_eq!(limit.failure.status, 413);
        assert_eq!(limit.failure.key_str(), "REQUEST_CONTENT_LIMIT_TOO_LARGE");
    }

    #[test]
    fn a_chunked_body_in_memory_is_measured_at_once() {
        for (bytes, fails) in [(10, false), (11, true)] {
            let mut bench = Bench::new();
            let mut exchange = bench.exchange();
            exchange
                .request
                .headers
                .add("Transfer-Encoding", "chunked")
                .expect("a field");
            exchange.request.body = Body::Buffered(vec![b'a'; bytes]);
            assert_eq!(run(&mut exchange, 10).is_some(), fails, "{bytes}");
            assert!(exchange.body_limit.is_none());
        }
    }

    #[test]
    fn the_collected_samples_are_understood() {
        crate::policy::testing::builds_samples("request-content-limit", &[]);
    }

    #[test]
    fn a_configuration_that_cannot_be_read_names_its_member() {
        assert!(build("request-content-limit", &json!({"limit": "1000"})).is_ok());
        let error =
            build("request-content-limit", &json!({"limit": "big"})).expect_err("no number");
        assert_eq!(error.member, "limit");
    }
}
