//! The `/reports` endpoint of a Cloud Gate, wire v1 (contract reporting 7, our choice).
//!
//! `POST {cloud gate}/reports` with `Authorization: Bearer`, `Content-Type: application/x-ndjson`, `Content-Encoding: gzip`,
//! `X-Gravitee-Report-Count` and `X-Gravitee-Batch-Id`. The last is ours: an attempt whose answer was lost may have arrived,
//! and its repetition carries the same id, so the receiver can ignore it as a whole. Each document's `_id` gives the same
//! safety in an index.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::{Method, Request, Response, StatusCode, Uri};
use turnpike_config::Secret;

use super::batch::Batch;
use super::outbox::Delivery;
use super::sink::{BoxFuture, Sink};
use crate::bridge::HttpClient;

/// Header with the number of documents.
pub const REPORT_COUNT: &str = "x-gravitee-report-count";
/// Header with the batch's id, the same for every attempt.
pub const BATCH_ID: &str = "x-gravitee-batch-id";

/// Sends one HTTP request. The reporter needs no more of a client than this.
pub trait ReportTransport: Send + Sync {
    /// Sends `request` and reads the answer, within the client's own time limits. The error is a text for the log.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, String>>;
}

impl ReportTransport for HttpClient {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, String>> {
        let client = self.clone();
        Box::pin(async move {
            Self::send(&client, request)
                .await
                .map_err(|error| error.to_string())
        })
    }
}

/// Gives the Cloud Token of the moment; called for every attempt, so that a renewed token is picked up.
pub type TokenSource = Arc<dyn Fn() -> Secret + Send + Sync>;

/// Delivers batches to a Cloud Gate.
pub struct CloudSink {
    uri: Uri,
    token: TokenSource,
    user_agent: HeaderValue,
    transport: Arc<dyn ReportTransport>,
}

impl std::fmt::Debug for CloudSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudSink")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

/// The address of the reports endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "reports address: expected an absolute http or https URL, found {found:?}; hint: check reporters.cloud.url and cloud.gate.url"
)]
pub struct ReportsUrlError {
    found: String,
}

impl CloudSink {
    /// A sink for the endpoint at `url`, for example `https://eu.cloudgate.gravitee.io/reports`.
    pub fn new(
        url: &str,
        token: TokenSource,
        user_agent: &str,
        transport: Arc<dyn ReportTransport>,
    ) -> Result<Self, ReportsUrlError> {
        let uri: Uri = url.parse().map_err(|_| ReportsUrlError {
            found: url.to_owned(),
        })?;
        if !matches!(uri.scheme_str(), Some("http" | "https"))
            || uri.host().is_none_or(str::is_empty)
        {
            return Err(ReportsUrlError {
                found: url.to_owned(),
            });
        }
        let user_agent =
            HeaderValue::from_str(user_agent).unwrap_or(HeaderValue::from_static("turnpike"));
        Ok(Self {
            uri,
            token,
            user_agent,
            transport,
        })
    }

    fn request(&self, batch: &Batch) -> Result<Request<Bytes>, String> {
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {}", (self.token)().expose())).map_err(
                |_| "the Cloud Token has characters that no header may carry".to_owned(),
            )?;
        authorization.set_sensitive(true);
        Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header(CONTENT_ENCODING, "gzip")
            .header(USER_AGENT, self.user_agent.clone())
            .header(REPORT_COUNT, batch.records)
            .header(BATCH_ID, batch.id.to_string())
            .body(batch.body.clone())
            .map_err(|error| error.to_string())
    }
}

impl Sink for CloudSink {
    fn deliver(&self, batch: &Batch) -> BoxFuture<Delivery> {
        match self.request(batch) {
            Ok(request) => {
                let answer = self.transport.send(request);
                Box::pin(async move { interpret(answer.await) })
            }
            Err(cause) => Box::pin(std::future::ready(Delivery::Retry {
                after_ms: None,
                cause,
            })),
        }
    }

    fn target(&self) -> String {
        self.uri.to_string()
    }
}

fn interpret(answer: Result<Response<Bytes>, String>) -> Delivery {
    let response = match answer {
        Ok(response) => response,
        Err(cause) => {
            return Delivery::Retry {
                after_ms: None,
                cause,
            };
        }
    };
    let status = response.status();
    match status {
        _ if status.is_success() => Delivery::Accepted,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Delivery::Unauthorized {
            status: status.as_u16(),
        },
        StatusCode::PAYLOAD_TOO_LARGE => Delivery::TooLarge,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => retry(&response),
        _ if status.is_client_error() => Delivery::Rejected {
            status: status.as_u16(),
        },
        // 5xx; and redirects, which are not followed with a token in hand: a captive proxy answers so while the network is down.
        _ => retry(&response),
    }
}

fn retry(response: &Response<Bytes>) -> Delivery {
    let after_ms = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map(|seconds| seconds.saturating_mul(1_000));
    Delivery::Retry {
        after_ms,
        cause: format!("status {}", response.status().as_u16()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Result<Response<Bytes>, String> {
        let mut response = Response::builder().status(status);
        if let Some(value) = retry_after {
            response = response.header(RETRY_AFTER, value);
        }
        Ok(response.body(Bytes::new()).expect("a response"))
    }

    #[test]
    fn each_answer_means_what_the_contract_says() {
        let retry = |after_ms, status: u16| Delivery::Retry {
            after_ms,
            cause: format!("status {status}"),
        };
        let cases = [
            (answer(200, None), Delivery::Accepted),
            (answer(202, None), Delivery::Accepted),
            (answer(204, None), Delivery::Accepted),
            (answer(302, None), retry(None, 302)),
            (answer(400, None), Delivery::Rejected { status: 400 }),
            (answer(401, None), Delivery::Unauthorized { status: 401 }),
            (answer(403, None), Delivery::Unauthorized { status: 403 }),
            (answer(404, None), Delivery::Rejected { status: 404 }),
            (answer(408, None), retry(None, 408)),
            (answer(413, None), Delivery::TooLarge),
            (answer(429, Some(" 7 ")), retry(Some(7_000), 429)),
            (answer(500, None), retry(None, 500)),
            (
                answer(503, Some("Wed, 21 Oct 2026 07:28:00 GMT")),
                retry(None, 503),
            ),
            (
                Err("refused".to_owned()),
                Delivery::Retry {
                    after_ms: None,
                    cause: "refused".to_owned(),
                },
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(interpret(given), expected);
        }
    }

    struct Nowhere;

    impl ReportTransport for Nowhere {
        fn send(&self, _request: Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, String>> {
            Box::pin(std::future::ready(Err("nowhere".to_owned())))
        }
    }

    #[test]
    fn an_address_that_is_not_absolute_is_refused_and_a_token_is_never_shown() {
        let sink = |url| {
            CloudSink::new(
                url,
                Arc::new(|| Secret::new("t0ken")),
                "turnpike/1",
                Arc::new(Nowhere),
            )
        };
        for url in [
            "",
            "/reports",
            "ftp://a/reports",
            "eu.cloudgate.gravitee.io",
        ] {
            assert!(sink(url).is_err(), "{url}");
        }
        let sink = sink("https://gate.test/reports").expect("a sink");
        assert!(!format!("{sink:?}").contains("t0ken"));
        let batch = Batch {
            id: uuid::Uuid::new_v4(),
            records: 3,
            body: Bytes::from_static(b"x"),
        };
        let request = sink.request(&batch).expect("a request");
        assert!(!format!("{request:?}").contains("t0ken"));
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer t0ken");
        assert_eq!(request.headers()[REPORT_COUNT], "3");
        assert_eq!(request.headers()[BATCH_ID], batch.id.to_string().as_str());
    }
}
