//! Which path is what.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use hyper::body::Incoming;

use super::Endpoints;
use super::answer::{self, Answer, Refused};
use super::bridge::{self, Call};
use super::request::{self, Query};
use super::{auth, status};
use crate::cloud_gate::gate::lock;
use crate::cloud_gate::reports::ReportError;

/// Largest body of a bridge request.
const BRIDGE_BYTES_MAX: usize = 4 << 20;
/// Largest body of a batch of reports, decompressed.
const REPORTS_BYTES_MAX: usize = 16 << 20;
/// Header that names a batch of reports, so that a repetition is recognised.
const BATCH_ID: &str = "x-gravitee-batch-id";

/// Answers one request.
pub(super) async fn answer(endpoints: &Endpoints, request: Request<Incoming>) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answered = route(endpoints, request).await;
    match &answered {
        Ok(_) => tracing::trace!("{method} {path}: 200"),
        Err(refused) => tracing::debug!("{method} {path}: {refused:?}"),
    }
    let mut answer = answered.unwrap_or_else(Refused::into_answer);
    answer
        .headers_mut()
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("text/plain"));
    answer
}

async fn route(endpoints: &Endpoints, request: Request<Incoming>) -> Result<Answer, Refused> {
    let path = request::segments(request.uri().path());
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (request.method(), path.as_slice()) {
        // The bridge answers under its own base path and without it (contract sync 1.2.9).
        (_, ["sync", "_bridge", path @ ..] | ["sync", path @ ..]) => {
            sync(endpoints, &request_parts(&request), path, request).await
        }
        (&Method::POST, ["reports"]) => reports(endpoints, request).await,
        (&Method::GET, ["_gate", "status"]) => answer::json(
            &status::of(&endpoints.gate),
            answer::accepts_gzip(request.headers()),
        ),
        _ => Err(Refused::NotFound),
    }
}

/// What is needed of a request while its body is being read.
struct Parts {
    method: Method,
    query: Query,
    accepts_gzip: bool,
}

fn request_parts(request: &Request<Incoming>) -> Parts {
    Parts {
        method: request.method().clone(),
        query: Query::parse(request.uri().query()),
        accepts_gzip: answer::accepts_gzip(request.headers()),
    }
}

async fn sync(
    endpoints: &Endpoints,
    parts: &Parts,
    path: &[&str],
    request: Request<Incoming>,
) -> Result<Answer, Refused> {
    auth::check_client(request.headers())?;
    let bearer = endpoints.gatekeeper.admit(request.headers())?;
    let (head, body) = request.into_parts();
    let body = request::body(&head.headers, body, BRIDGE_BYTES_MAX).await?;
    let call = Call {
        gate: &endpoints.gate,
        bearer: &bearer,
        query: &parts.query,
        body: &body,
    };
    answer::json(
        &bridge::answer(&call, &parts.method, path)?,
        parts.accepts_gzip,
    )
}

async fn reports(endpoints: &Endpoints, request: Request<Incoming>) -> Result<Answer, Refused> {
    endpoints.gatekeeper.admit(request.headers())?;
    let accepts_gzip = answer::accepts_gzip(request.headers());
    let (head, body) = request.into_parts();
    let batch = match head.headers.get(BATCH_ID) {
        None => None,
        Some(id) => Some(
            id.to_str()
                .map_err(|_| Refused::BadRequest(ReportError::BatchId.to_string()))?
                .to_owned(),
        ),
    };
    let body = request::body(&head.headers, body, REPORTS_BYTES_MAX).await?;
    let gate = std::sync::Arc::clone(&endpoints.gate);
    let taken = tokio::task::spawn_blocking(move || {
        let today = jiff::Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        lock(&gate.reports).take(batch.as_deref(), &body, today)
    });
    let taken = taken
        .await
        .map_err(|error| Refused::Failed(error.to_string()))?;
    let receipt = taken.map_err(|error| {
        let text = error.to_string();
        match error {
            ReportError::Line { .. } | ReportError::Empty | ReportError::BatchId => {
                Refused::BadRequest(text)
            }
            ReportError::Full => Refused::Full(text),
            ReportError::Write(_) => {
                tracing::error!("{text}");
                Refused::Failed(text)
            }
        }
    })?;
    answer::json(&receipt, accepts_gzip)
}
