//! One exchange: parse → route → decide → forward → report. The order is the contract's (request-lifecycle 3).

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Instant;

use turnpike_core::definition::{Api, Engine};
use turnpike_core::error::{ErrorKey, Failure};
use turnpike_core::http::{Known, RequestHead, path, query};
use turnpike_core::ident::sha256_hex;
use turnpike_core::report::SecurityType;
use turnpike_core::route::path_info;
use turnpike_core::security::{Credentials, bearer_token, select};
use turnpike_core::snapshot::DeployedApi;

use super::chain;
use super::forward::{Forward, forward};
use super::record::{Facts, Subject, finish};
use super::reply::Reply;
use super::rewrite::Identity;
use super::{After, Connection};
use crate::buffer::BufferPool;
use crate::driver::Clock;
use crate::settings::Settings;
use crate::worker::Shard;

/// What an exchange refers to while its connection is read and written: lent out by the connection, given back at the end.
#[derive(Default)]
struct Lent {
    bytes: Vec<u8>,
    head: RequestHead,
    path: Vec<u8>,
    uri: Vec<u8>,
}

/// What becomes of the connection, and how many of the body bytes that came with the head were used.
pub(super) struct Outcome {
    pub(super) after: After,
    pub(super) used: usize,
}

/// Runs the exchange whose head lies at `start..end` of the connection's input.
pub(super) async fn run(connection: &mut Connection, start: usize, end: usize) -> After {
    let shard = Rc::clone(&connection.shard);
    shard.stats.active_requests.add(1);
    let mut lent = Lent {
        bytes: std::mem::take(&mut connection.input.bytes),
        head: std::mem::take(&mut connection.head),
        path: std::mem::take(&mut connection.path),
        uri: std::mem::take(&mut connection.uri),
    };
    let outcome = serve(connection, &mut lent, start, end).await;
    connection.input.bytes = lent.bytes;
    connection.input.used = end + outcome.used;
    connection.head = lent.head;
    connection.path = lent.path;
    connection.uri = lent.uri;
    shard.stats.active_requests.sub(1);
    outcome.after
}

async fn serve(connection: &mut Connection, lent: &mut Lent, start: usize, end: usize) -> Outcome {
    let shard = Rc::clone(&connection.shard);
    let settings = &*shard.settings;
    let snapshot = shard.snapshot();
    let mut facts = Facts::begin(Instant::now(), Clock::wall_ms());
    let Lent {
        bytes,
        head,
        path: normal_path,
        uri,
    } = lent;
    let (before_body, body) = bytes.split_at_mut(end);
    let bytes = &before_body[start..];
    let head = &*head;

    let Ok(path) = request_path(settings, head, bytes, normal_path) else {
        shard.stats.request_errors.add(1);
        return Outcome {
            after: Box::pin(connection.refuse(400)).await,
            used: 0,
        };
    };
    let new_id = shard.next_id();
    let request_id = new_id.as_bytes();
    let transaction_id = head
        .fields
        .value(bytes, &settings.transaction.name)
        .unwrap_or(request_id);
    let peer = Rc::clone(&connection.peer);
    let local = Rc::clone(&connection.local);
    let remote = remote_address(settings, head, bytes, &peer);
    let server = settings.servers[connection.server].id.as_deref();
    let Some(route) = snapshot.routes.find(server, head.authority_of(bytes), path) else {
        let reply = Reply {
            status: 404,
            content_type: Some(&settings.not_found_content_type),
            body: &settings.not_found_body,
            close: false,
            identity: None,
        };
        facts.status = 404;
        let sent = Box::pin(connection.answer(&reply, head, body)).await;
        facts.response_body_bytes = sent.body_bytes;
        let subject = Subject {
            transaction_id,
            request_id,
            remote,
            local: &local,
            path_info: path,
            ..Subject::nobody()
        };
        let reported = settings.not_found_reported;
        finish(&shard, &facts, head, bytes, &subject, reported);
        return sent.outcome;
    };
    let deployed = &snapshot.apis[route.api as usize];
    let context = Context {
        shard: &shard,
        settings,
        head,
        bytes,
        deployed,
        context_path: &route.context_path,
        path,
        path_info: path_info(&route.context_path, path),
        transaction_id,
        request_id,
        remote,
        peer: &peer,
        local: &local,
    };
    uri.clear();
    // What is known of the request lies here once; the two roads take up the same room in the task.
    if deployed.is_plain() {
        pass(connection, &context, body, uri, &mut facts).await
    } else {
        chain::serve(connection, &context, body, uri, &mut facts).await
    }
}

/// What a request to an API is served with. Nothing of it changes while it is served.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) shard: &'a Shard,
    pub(super) settings: &'a Settings,
    pub(super) head: &'a RequestHead,
    /// Bytes that `head` was parsed from.
    pub(super) bytes: &'a [u8],
    pub(super) deployed: &'a DeployedApi,
    pub(super) context_path: &'a str,
    /// Normalised path, and its end below the context path.
    pub(super) path: &'a str,
    pub(super) path_info: &'a str,
    pub(super) transaction_id: &'a [u8],
    pub(super) request_id: &'a [u8],
    pub(super) remote: &'a str,
    pub(super) peer: &'a str,
    pub(super) local: &'a str,
}

impl<'a> Context<'a> {
    /// What a report says of the request before anybody is known to have sent it.
    pub(super) fn subject(&self) -> Subject<'a> {
        Subject {
            api: Some(&self.deployed.api),
            transaction_id: self.transaction_id,
            request_id: self.request_id,
            remote: self.remote,
            local: self.local,
            path_info: self.path_info,
            ..Subject::nobody()
        }
    }

    /// Counts and reports the exchange.
    pub(super) fn finish(&self, facts: &Facts, subject: &Subject<'_>) {
        let api = &*self.deployed.api;
        // Metrics are reported always for V2, and for V4 when `analytics.enabled` says so.
        let reported = api.analytics || api.engine.is_v2();
        finish(self.shard, facts, self.head, self.bytes, subject, reported);
    }
}

/// Serves a request to an API without policies: plan, endpoint, and the bodies as they come.
async fn pass(
    connection: &mut Connection,
    context: &Context<'_>,
    body: &mut [u8],
    uri: &mut Vec<u8>,
    facts: &mut Facts,
) -> Outcome {
    let Context {
        settings,
        head,
        bytes,
        deployed,
        transaction_id,
        ..
    } = *context;
    let api = &*deployed.api;
    let mut identity = Identity {
        settings,
        transaction_id,
        request_id: context.request_id,
        client_identifier: None,
    };
    let granted = check_null_bytes(api, head, bytes).and_then(|()| {
        select(
            api,
            &deployed.subscriptions,
            &RequestCredentials { head, bytes },
            &settings.api_key,
            facts.started_wall_ms,
        )
    });
    let grant = match granted {
        Ok(grant) => grant,
        Err(failure) => {
            let sent = Box::pin(connection.fail(&failure, head, bytes, body, &identity)).await;
            facts.response_body_bytes = sent.body_bytes;
            facts.note(failure);
            context.finish(facts, &context.subject());
            return sent.outcome;
        }
    };
    let identifier = ClientIdentifier::of(
        settings,
        head,
        bytes,
        grant.subscription_id,
        (context.remote, context.peer),
        &mut connection.peer_hash,
        transaction_id,
    );
    if api.engine != Engine::V2Legacy {
        identity.client_identifier = Some(identifier.sent());
    }
    let forwarded = Forward {
        shard: context.shard,
        head,
        bytes,
        api,
        context_path: context.context_path,
        path_info: context.path_info,
        strip: grant.strip,
        identity: &identity,
    };
    let outcome = forward(connection, &forwarded, body, uri, facts).await;
    let received = bytes.len() as u64 + facts.request_body_bytes;
    connection.input.last_was_large = BufferPool::is_large(received);
    let subscription_id = grant.subscription_id.unwrap_or(context.remote);
    let client_identifier = identifier.reported(subscription_id);
    let mut subject = Subject {
        plan_id: &grant.plan.id,
        application_id: grant.application_id,
        subscription_id,
        client_identifier: &client_identifier,
        endpoint: uri,
        ..context.subject()
    };
    if let Some(key) = grant.key {
        subject.security_type = SecurityType::ApiKey;
        subject.security_token = key;
    }
    context.finish(facts, &subject);
    outcome
}

/// The path that is matched and forwarded; an absolute target without a path means the root.
fn request_path<'a>(
    settings: &Settings,
    head: &RequestHead,
    bytes: &'a [u8],
    normal: &'a mut Vec<u8>,
) -> Result<&'a str, path::AboveRoot> {
    normal.clear();
    let received = head.path.of(bytes);
    if received.is_empty() {
        return Ok("/");
    }
    if settings.normalize_paths && path::normalize(received, normal)? == path::Normalized::Rewritten
    {
        return Ok(text(normal));
    }
    Ok(text(received))
}

/// Targets were checked to be UTF-8 and ids are ASCII or header values; a header value that is not UTF-8 has no text.
pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The first `X-Forwarded-For` element, without the port of `host:port`, else the peer's address (contract request-lifecycle 2.5).
fn remote_address<'a>(
    settings: &Settings,
    head: &RequestHead,
    bytes: &'a [u8],
    peer: &'a str,
) -> &'a str {
    if !settings.x_forwarded {
        return peer;
    }
    let Some(field) = head.fields.first(Known::XForwardedFor) else {
        return peer;
    };
    let first = text(field.value.of(bytes))
        .split(',')
        .next()
        .unwrap_or_default()
        .trim();
    let address = match first.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => first,
    };
    if address.is_empty() { peer } else { address }
}

/// `requestValidation.rejectNullByte`: a raw NUL is refused for every API while the head is parsed; this looks for `%00`.
pub(super) fn check_null_bytes(api: &Api, head: &RequestHead, bytes: &[u8]) -> Result<(), Failure> {
    let has_null = |value: &[u8]| value.windows(3).any(|window| window == b"%00");
    if api.reject_null_byte
        && (has_null(head.target.of(bytes))
            || head
                .fields
                .iter()
                .any(|field| has_null(field.value.of(bytes))))
    {
        return Err(Failure::of(ErrorKey::RequestNullByteRejected));
    }
    Ok(())
}

/// A request's credentials, as plan selection sees them.
struct RequestCredentials<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
}

impl Credentials for RequestCredentials<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.fields.value(self.bytes, name.as_bytes())
    }

    fn parameter(&self, name: &str) -> Option<&[u8]> {
        query::value(self.head.query.of(self.bytes), name.as_bytes())
    }

    fn bearer(&self) -> Option<&[u8]> {
        self.head
            .fields
            .iter()
            .filter(|field| {
                field
                    .name
                    .of(self.bytes)
                    .eq_ignore_ascii_case(b"authorization")
            })
            .find_map(|field| bearer_token(field.value.of(self.bytes)))
    }
}

/// The client identifier of contract request-lifecycle 5.6.
pub(super) struct ClientIdentifier<'a> {
    given: Option<&'a [u8]>,
    computed: Computed<'a>,
    transaction_id: &'a [u8],
}

enum Computed<'a> {
    Subscription(&'a str),
    AddressHash([u8; 64]),
}

impl<'a> ClientIdentifier<'a> {
    pub(super) fn of(
        settings: &Settings,
        head: &RequestHead,
        bytes: &'a [u8],
        subscription_id: Option<&'a str>,
        (remote, peer): (&str, &str),
        peer_hash: &mut Option<[u8; 64]>,
        transaction_id: &'a [u8],
    ) -> Self {
        let given = head
            .fields
            .value(bytes, &settings.client_header)
            .or_else(|| query::value(head.query.of(bytes), &settings.client_header))
            .filter(|given| is_field_value(given));
        // A key-less consumer's subscription id is its address: the hash stands for it.
        let computed = match subscription_id {
            Some(id) if id != remote => Computed::Subscription(id),
            _ if remote == peer => {
                Computed::AddressHash(*peer_hash.get_or_insert_with(|| sha256_hex(peer.as_bytes())))
            }
            _ => Computed::AddressHash(sha256_hex(remote.as_bytes())),
        };
        Self {
            given,
            computed,
            transaction_id,
        }
    }

    fn computed(&self) -> &[u8] {
        match &self.computed {
            Computed::Subscription(id) => id.as_bytes(),
            Computed::AddressHash(hash) => hash,
        }
    }

    /// The value of the response header.
    pub(super) fn sent(&self) -> &[u8] {
        self.given.unwrap_or_else(|| self.computed())
    }

    /// The value in the report.
    pub(super) fn reported(&self, subscription_id: &str) -> Cow<'_, str> {
        match self.given {
            None => Cow::Borrowed(text(self.computed())),
            Some(given)
                if given.ends_with(subscription_id.as_bytes())
                    || given.ends_with(self.transaction_id) =>
            {
                Cow::Borrowed(text(given))
            }
            Some(given) => Cow::Owned(format!("{}-{}", text(given), text(self.computed()))),
        }
    }
}

/// Whether a value taken from a query may be sent in a header field: visible characters, not blank.
fn is_field_value(value: &[u8]) -> bool {
    !value.trim_ascii().is_empty()
        && value
            .iter()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}
