//! Heads rewritten: the request's for the backend, the response's for the client (contract request-lifecycle 8.2, 8.3, 9).

use turnpike_config::OverrideMode;
use turnpike_core::definition::Endpoint;
use turnpike_core::http::{
    Known, Method, RequestBody, RequestHead, ResponseBody, ResponseHead, Version, decimal, query,
    write_field, write_status_line,
};
use turnpike_core::security::Strip;

use super::reply::write_persistence;
use crate::settings::{IdHeader, Settings};
use crate::upstream::basic_authorization;

/// The ids of an exchange, as they are sent to both sides.
pub(super) struct Identity<'a> {
    pub(super) settings: &'a Settings,
    pub(super) transaction_id: &'a [u8],
    pub(super) request_id: &'a [u8],
    /// Value of the client identifier on the response; `None` before a plan was selected, and on the legacy engine.
    pub(super) client_identifier: Option<&'a [u8]>,
}

impl Identity<'_> {
    /// Writes the ids on an answer of the gateway's own.
    pub(super) fn write_own(&self, out: &mut Vec<u8>) {
        // `keep` leaves the backend's value, and there is no backend here: nothing is added (contract request-lifecycle 9.2).
        if self.settings.transaction.mode != OverrideMode::Keep {
            write_field(out, &self.settings.transaction.name, self.transaction_id);
        }
        if self.settings.request_id.mode != OverrideMode::Keep {
            write_field(out, &self.settings.request_id.name, self.request_id);
        }
        if let Some(identifier) = self.client_identifier {
            write_field(out, &self.settings.client_header, identifier);
        }
    }
}

/// What the head for the backend is made of.
pub(super) struct UpstreamRequest<'a> {
    pub(super) head: &'a RequestHead,
    /// Bytes that `head` was parsed from.
    pub(super) bytes: &'a [u8],
    pub(super) endpoint: &'a Endpoint,
    pub(super) context_path: &'a str,
    pub(super) strip: Strip<'a>,
    pub(super) identity: &'a Identity<'a>,
}

/// Appends to `uri` the absolute URI to call: the endpoint's origin, then target path, path below the context path, and the
/// parameters of both.
pub(super) fn write_uri(uri: &mut Vec<u8>, request: &UpstreamRequest<'_>, path_info: &str) {
    let endpoint = request.endpoint;
    uri.extend_from_slice(endpoint.origin.as_bytes());
    let start = uri.len();
    uri.extend_from_slice(endpoint.target_path.as_bytes());
    uri.extend_from_slice(path_info.as_bytes());
    if uri.len() == start {
        uri.push(b'/');
    }
    let strip = match request.strip {
        Strip::ApiKey {
            parameter: Some(parameter),
            ..
        } => Some(parameter.as_bytes()),
        _ => None,
    };
    let target_query = endpoint
        .target_query
        .as_deref()
        .unwrap_or_default()
        .as_bytes();
    query::write(
        uri,
        request.head.query.of(request.bytes),
        target_query,
        strip,
    );
}

/// Appends the head for the backend. `target` is the URI from its path on.
pub(super) fn write_upstream_head(out: &mut Vec<u8>, request: &UpstreamRequest<'_>, target: &[u8]) {
    let UpstreamRequest {
        head,
        bytes,
        endpoint,
        identity,
        ..
    } = *request;
    let settings = identity.settings;
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !endpoint
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        let host = match head.authority.filter(|_| endpoint.propagate_client_host) {
            Some(authority) => authority.of(bytes),
            None => endpoint.connector.authority.as_bytes(),
        };
        write_field(out, b"Host", host);
    }
    if let Some(proxy) = endpoint.connector.asks_proxy()
        && let Some((user, password)) = &proxy.credentials
    {
        let value = basic_authorization(user, password);
        write_field(out, b"Proxy-Authorization", value.as_bytes());
    }
    let stripped_header = match request.strip {
        Strip::ApiKey { header, .. } => header.unwrap_or_default().as_bytes(),
        Strip::Nothing => b"",
    };
    let mut has_transaction_id = false;
    for field in head.fields.iter() {
        if field.nominated || field.known.is_hop_by_hop() || field.known.is_framing() {
            continue;
        }
        let name = field.name.of(bytes);
        match field.known {
            Known::Host => continue,
            Known::AcceptEncoding if !endpoint.propagate_client_accept_encoding => continue,
            Known::Other => {
                if name.eq_ignore_ascii_case(&settings.request_id.name)
                    || (!stripped_header.is_empty() && name.eq_ignore_ascii_case(stripped_header))
                    || (settings.x_forwarded_prefix
                        && name.eq_ignore_ascii_case(b"x-forwarded-prefix"))
                {
                    continue;
                }
                has_transaction_id |= name.eq_ignore_ascii_case(&settings.transaction.name);
            }
            _ => {}
        }
        if !endpoint.headers.is_empty() && overrides(endpoint, name) {
            continue;
        }
        write_field(out, name, field.value.of(bytes));
    }
    if !has_transaction_id {
        write_field(out, &settings.transaction.name, identity.transaction_id);
    }
    write_field(out, &settings.request_id.name, identity.request_id);
    if settings.x_forwarded_prefix {
        write_field(out, b"X-Forwarded-Prefix", request.context_path.as_bytes());
    }
    match head.body {
        RequestBody::None => {}
        RequestBody::Length(length) => write_length(out, length),
        RequestBody::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    for (name, value) in &endpoint.headers {
        write_field(out, name.as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

pub(super) fn overrides(endpoint: &Endpoint, name: &[u8]) -> bool {
    endpoint
        .headers
        .iter()
        .any(|(header, _)| header.as_bytes().eq_ignore_ascii_case(name))
}

/// How a response body is written to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientFraming {
    /// No body.
    None,
    /// As many bytes as were announced.
    Length,
    /// In chunks of our own.
    Chunked,
    /// Until the connection is closed: for HTTP/1.0 clients.
    UntilClose,
}

impl ClientFraming {
    /// The framing towards a client of `version` for a body that the backend framed so.
    pub(super) fn of(body: ResponseBody, version: Version) -> Self {
        match (body, version) {
            (ResponseBody::None, _) => Self::None,
            (ResponseBody::Length(_), _) => Self::Length,
            (ResponseBody::Chunked | ResponseBody::UntilClose, Version::Http11) => Self::Chunked,
            (ResponseBody::Chunked | ResponseBody::UntilClose, Version::Http10) => Self::UntilClose,
        }
    }
}

/// Appends the response head for the client. `bytes` is what `head` was parsed from.
pub(super) fn write_client_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    bytes: &[u8],
    request: (Method, Version),
    identity: &Identity<'_>,
    keep_alive: bool,
) {
    write_status_line(out, head.status, head.reason.of(bytes));
    let mut kept = Kept::default();
    for field in head.fields.iter() {
        if field.nominated || field.known.is_hop_by_hop() || field.known.is_framing() {
            continue;
        }
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        if field.known == Known::Other && !kept.keeps(name, value, identity) {
            continue;
        }
        write_field(out, name, value);
    }
    kept.write_ids(out, identity);
    match head.body {
        ResponseBody::Length(length) => write_length(out, length),
        ResponseBody::Chunked | ResponseBody::UntilClose if request.1 == Version::Http11 => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        // The length that a body would have had, for HEAD and 304.
        ResponseBody::None if head.status != 204 => {
            if let Some(length) = head.announced_length {
                write_length(out, length);
            }
        }
        _ => {}
    }
    write_persistence(out, request.1, keep_alive);
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim response head (1xx) as received, without hop-by-hop fields.
pub(super) fn write_interim_head(out: &mut Vec<u8>, head: &ResponseHead, bytes: &[u8]) {
    write_status_line(out, head.status, head.reason.of(bytes));
    for field in head.fields.iter() {
        if !field.nominated && !field.known.is_hop_by_hop() && !field.known.is_framing() {
            write_field(out, field.name.of(bytes), field.value.of(bytes));
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Which of the backend's own ids pass, by the override modes.
#[derive(Default)]
pub(super) struct Kept {
    transaction_is_same: bool,
    request_is_same: bool,
}

impl Kept {
    /// Whether a field of the backend's passes.
    pub(super) fn keeps(&mut self, name: &[u8], value: &[u8], identity: &Identity<'_>) -> bool {
        let settings = identity.settings;
        if name.eq_ignore_ascii_case(&settings.transaction.name) {
            self.transaction_is_same |= value == identity.transaction_id;
            settings.transaction.mode != OverrideMode::Override
        } else if name.eq_ignore_ascii_case(&settings.request_id.name) {
            self.request_is_same |= value == identity.request_id;
            settings.request_id.mode != OverrideMode::Override
        } else {
            identity.client_identifier.is_none()
                || !name.eq_ignore_ascii_case(&settings.client_header)
        }
    }
}

impl Kept {
    /// Writes the ids beside what was kept, and the client identifier.
    pub(super) fn write_ids(&self, out: &mut Vec<u8>, identity: &Identity<'_>) {
        let settings = identity.settings;
        write_id(
            out,
            &settings.transaction,
            identity.transaction_id,
            self.transaction_is_same,
        );
        write_id(
            out,
            &settings.request_id,
            identity.request_id,
            self.request_is_same,
        );
        if let Some(identifier) = identity.client_identifier {
            write_field(out, &settings.client_header, identifier);
        }
    }
}

fn write_id(out: &mut Vec<u8>, header: &IdHeader, value: &[u8], backend_sent_same: bool) {
    let write = match header.mode {
        OverrideMode::Override => true,
        OverrideMode::Merge => !backend_sent_same,
        OverrideMode::Keep => false,
    };
    if write {
        write_field(out, &header.name, value);
    }
}

pub(super) fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}
