//! How a failure becomes the response (contract request-lifecycle 7).

use crate::el::Template;
use crate::error::{Failure, render};
use crate::exchange::{Body, Exchange};

/// `responseTemplates` of an API.
#[derive(Debug, Default)]
pub struct ResponseTemplates {
    /// Error key (`DEFAULT` for any) and its templates by media type.
    pub by_key: Box<[(Box<str>, Box<[MediaTemplate]>)]>,
}

/// The response template of an error key for one media type.
#[derive(Debug)]
pub struct MediaTemplate {
    /// Media type, `*/*` for any.
    pub media: Box<str>,
    /// Status.
    pub status: u16,
    /// Header fields, set on the response.
    pub headers: Box<[(Box<str>, Box<str>)]>,
    /// Body.
    pub body: Option<Template>,
    /// Report the error key (`propagateErrorKeyToLogs`).
    pub propagate_error_key: bool,
}

/// Turns the response into the answer of a failure. Header fields that are there stay; framing and coding of a body that is replaced go.
pub(super) fn answer(exchange: &mut Exchange<'_>, failure: Box<Failure>) {
    let mut body = Vec::new();
    let rendered = render(
        &failure,
        exchange.request.headers.values("accept"),
        &mut body,
    );
    let response = &mut exchange.response;
    response.status = failure.status;
    response.reason.clear();
    for name in ["content-length", "transfer-encoding", "content-encoding"] {
        response.headers.remove(name);
    }
    if let Some(content_type) = rendered.content_type {
        let _ = response.headers.set("Content-Type", content_type);
    }
    if rendered.close {
        let _ = response.headers.set("Connection", "close");
    }
    response.body = Body::Buffered(body);
    exchange.failure = Some(failure);
}
