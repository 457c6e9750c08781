//! Heads written from an exchange, whatever policies made of it: framing, hop-by-hop fields and ids are the gateway's alone.

use turnpike_core::definition::{Connector, Endpoint};
use turnpike_core::exchange::{Exchange, Response, is_field_value};
use turnpike_core::http::{
    Known, Method, RequestBody, ResponseBody, Version, is_host_and_port, reason_phrase,
    write_field, write_status_line,
};
use turnpike_core::redirect;

use crate::connection::reply::write_persistence;
use crate::connection::rewrite::{Identity, Kept, overrides, write_length};
use crate::upstream::basic_authorization;

/// What the backend's head is made of besides the exchange.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    /// The URI from its path on; all of it for a proxy that is asked.
    pub(super) target: &'a [u8],
    pub(super) endpoint: &'a Endpoint,
    pub(super) connector: &'a Connector,
    /// Framing of the body that follows.
    pub(super) framing: RequestBody,
    /// The client's own body follows, piece by piece.
    pub(super) streams: bool,
}

/// Appends the head for the backend (contract request-lifecycle 8.3).
pub(super) fn write_backend_head(
    out: &mut Vec<u8>,
    exchange: &Exchange<'_>,
    outgoing: &Outgoing<'_>,
) {
    let Outgoing { endpoint, .. } = *outgoing;
    let request = &exchange.request;
    // What is the endpoint's own (credentials, the name by which it is asked) stays with it, too.
    let is_abroad = exchange
        .redirect
        .as_ref()
        .is_some_and(|redirect| redirect.crosses_origins);
    let left_behind = match exchange.redirect {
        Some(_) => redirect::left_behind(is_abroad),
        None => &[],
    };
    out.extend_from_slice(outgoing.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(outgoing.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if is_abroad || !overrides(endpoint, b"host") {
        let changed = request.host_changed && !exchange.api.engine.is_v2();
        let own = !is_abroad
            && (changed || endpoint.propagate_client_host)
            && is_host_and_port(request.host.as_bytes());
        let host = if own {
            &request.host
        } else {
            &*outgoing.connector.authority
        };
        write_field(out, b"Host", host.as_bytes());
    }
    if let Some(proxy) = outgoing.connector.asks_proxy()
        && let Some((user, password)) = &proxy.credentials
    {
        let value = basic_authorization(user, password);
        write_field(out, b"Proxy-Authorization", value.as_bytes());
    }
    for field in request.headers.iter() {
        if field.nominated || field.known.is_hop_by_hop() || field.known.is_framing() {
            continue;
        }
        match field.known {
            Known::Host => continue,
            Known::AcceptEncoding if !endpoint.propagate_client_accept_encoding => continue,
            // The body is here: nobody needs to be asked whether it may come.
            Known::Expect if !outgoing.streams => continue,
            _ => {}
        }
        if !endpoint.headers.is_empty() && overrides(endpoint, field.name) {
            continue;
        }
        if is_among(left_behind, field.name) {
            continue;
        }
        write_field(out, field.name, field.value);
    }
    match outgoing.framing {
        RequestBody::None => {}
        RequestBody::Length(length) => write_length(out, length),
        RequestBody::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    for (name, value) in &endpoint.headers {
        if !is_abroad || !is_among(left_behind, name.as_bytes()) {
            write_field(out, name.as_bytes(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a header field's name is one of these.
fn is_among(names: &[&str], name: &[u8]) -> bool {
    names
        .iter()
        .any(|among| name.eq_ignore_ascii_case(among.as_bytes()))
}

/// What the head tells the client of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    /// Nothing: there is none, or it ends with the connection.
    Nothing,
    /// Its length, bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

impl Announced {
    /// For a body that is passed on as it comes from the backend.
    pub(super) fn of_stream(body: ResponseBody, version: Version) -> Self {
        match (body, version) {
            (ResponseBody::None, _) => Self::Nothing,
            (ResponseBody::Length(length), _) => Self::Length(length),
            (_, Version::Http11) => Self::Chunked,
            (_, Version::Http10) => Self::Nothing,
        }
    }
}

/// The status that is sent: one that a policy made up and no client could read is 500.
pub(super) fn status(response: &Response) -> u16 {
    match response.status {
        status @ 200..=999 => status,
        _ => 500,
    }
}

/// Whether a response may have a body (RFC 9110 6.4.1).
pub(super) fn may_have_body(method: Method, status: u16) -> bool {
    method != Method::Head && status != 204 && status != 304
}

/// Whether the chain wants the client's connection closed.
pub(super) fn wants_close(response: &Response) -> bool {
    response.headers.values("connection").any(|value| {
        value
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

/// Appends the head for the client. `received_status` is the backend's, whose reason phrase does not fit another status.
pub(super) fn write_client_head(
    out: &mut Vec<u8>,
    response: &Response,
    received_status: u16,
    version: Version,
    identity: &Identity<'_>,
    announced: Announced,
    keep_alive: bool,
) {
    let status = status(response);
    let reason = &*response.reason;
    let is_stale = status != received_status && reason == reason_phrase(received_status).as_bytes();
    if reason.is_empty() || is_stale || !is_field_value(reason) {
        write_status_line(out, status, reason_phrase(status).as_bytes());
    } else {
        write_status_line(out, status, reason);
    }
    let mut kept = Kept::default();
    for field in response.headers.iter() {
        if field.nominated || field.known.is_hop_by_hop() || field.known.is_framing() {
            continue;
        }
        if field.known == Known::Other && !kept.keeps(field.name, field.value, identity) {
            continue;
        }
        write_field(out, field.name, field.value);
    }
    kept.write_ids(out, identity);
    match announced {
        Announced::Nothing => {}
        Announced::Length(length) => write_length(out, length),
        Announced::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    write_persistence(out, version, keep_alive);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_no_client_could_read_is_500() {
        for (status_set, expected) in [(0, 500), (99, 500), (101, 500), (200, 200), (1_000, 500)] {
            let mut response = Response::default();
            response.status = status_set;
            assert_eq!(status(&response), expected);
        }
    }

    #[test]
    fn close_is_found_among_the_options_of_the_chain() {
        let mut response = Response::default();
        assert!(!wants_close(&response));
        let _ = response.headers.set("Connection", "x, Close");
        assert!(wants_close(&response));
    }

    #[test]
    fn a_streamed_body_keeps_its_framing_or_gets_one_that_the_client_knows() {
        for (body, version, expected) in [
            (
                ResponseBody::Length(3),
                Version::Http10,
                Announced::Length(3),
            ),
            (ResponseBody::Chunked, Version::Http11, Announced::Chunked),
            (
                ResponseBody::UntilClose,
                Version::Http11,
                Announced::Chunked,
            ),
            (ResponseBody::Chunked, Version::Http10, Announced::Nothing),
        ] {
            assert_eq!(Announced::of_stream(body, version), expected);
        }
    }
}
