//! The exchange as policies see it in the beginning, from the head that was received.

use turnpike_core::exchange::{Body, Exchange};
use turnpike_core::http::RequestBody;

use super::{Context, certificate};
use crate::connection::exchange::text;

/// Fills the request of an exchange on recycled memory. Ids are set on the request as the platform's pre-processors do it (contract
/// request-lifecycle 2).
pub(super) fn fill(exchange: &mut Exchange<'_>, context: &Context<'_>, now_ms: u64) {
    let Context {
        settings,
        head,
        bytes,
        ..
    } = *context;
    let request = &mut *exchange.request;
    request.method = head.method;
    request.version = head.version;
    request
        .host
        .push_str(head.authority_of(bytes).unwrap_or_default());
    let uri = bytes
        .get(head.path.start()..head.target.end())
        .unwrap_or_default();
    request.uri.push_str(text(uri));
    request.path.push_str(context.path);
    request.context_path.push_str(context.context_path);
    request.path_info_start = context.path.len() - context.path_info.len();
    request.query.push_str(text(head.query.of(bytes)));
    request.headers.receive(&head.fields, bytes);
    request.framing = head.body;
    request.body = match head.body {
        RequestBody::None => Body::None,
        RequestBody::Length(_) | RequestBody::Chunked => Body::Streaming,
    };
    request.remote.push_str(context.remote);
    request.peer.push_str(context.peer);
    request.local.push_str(context.local);
    request.id.push_str(text(context.request_id));
    request
        .transaction_id
        .push_str(text(context.transaction_id));
    request.timestamp_ms = now_ms;
    // None of these can fail: the names are checked with the settings, the values are ids, and a head has room for them.
    let transaction = text(&settings.transaction.name);
    if !request.headers.contains(transaction) {
        let _ = request.headers.set(transaction, context.transaction_id);
    }
    let _ = request
        .headers
        .set(text(&settings.request_id.name), context.request_id);
    if settings.x_forwarded_prefix {
        let _ = request
            .headers
            .set("X-Forwarded-Prefix", context.context_path);
    }
    if let Some(name) = &settings.client_certificate_header {
        request.certificate = request
            .headers
            .get(text(name))
            .and_then(certificate::of_header);
    }
}
