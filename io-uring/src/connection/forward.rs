//! From a granted request to the end of its response: endpoint, connection, both bodies, retry.

use std::pin::pin;
use std::time::Instant;

use turnpike_core::definition::{Api, Endpoint};
use turnpike_core::error::{ErrorKey, Failure};
use turnpike_core::http::chunked::ChunkError;
use turnpike_core::http::{RequestBody, RequestHead};
use turnpike_core::security::Strip;

use super::attempt::{Course, FirstPiece, Limits, both_ways, is_complete, reach};
use super::exchange::Outcome;
use super::record::Facts;
use super::relay::{DownloadEnd, Shared, UploadEnd};
use super::rewrite::{Identity, UpstreamRequest, write_upstream_head, write_uri};
use super::{After, Connection};
use crate::driver::Either;
use crate::upstream::Fault;
use crate::worker::Shard;

/// What a request is forwarded with.
pub(super) struct Forward<'a> {
    pub(super) shard: &'a Shard,
    pub(super) head: &'a RequestHead,
    /// Bytes that `head` was parsed from.
    pub(super) bytes: &'a [u8],
    pub(super) api: &'a Api,
    pub(super) context_path: &'a str,
    pub(super) path_info: &'a str,
    pub(super) strip: Strip<'a>,
    pub(super) identity: &'a Identity<'a>,
}

/// How one attempt ended.
enum Attempt {
    /// The client has its answer, or cannot get one any more.
    Over(After),
    /// The client gets a failure.
    Failed(Fault),
    /// The pooled connection had died before it answered: the request may be sent again.
    Stale,
    /// The client's chunks are malformed, and nothing was answered yet.
    BadRequest(ChunkError),
}

/// Forwards the request and answers the client. `body` is what came with the head; `uri` receives the absolute URI called.
pub(super) async fn forward(
    connection: &mut Connection,
    context: &Forward<'_>,
    body: &mut [u8],
    uri: &mut Vec<u8>,
    facts: &mut Facts,
) -> Outcome {
    let Some(endpoint) = context.api.groups.first().and_then(|group| group.next()) else {
        return Box::pin(fail(connection, context, Fault::NoEndpoint, body, facts)).await;
    };
    let request = UpstreamRequest {
        head: context.head,
        bytes: context.bytes,
        endpoint,
        context_path: context.context_path,
        strip: context.strip,
        identity: context.identity,
    };
    connection.input.holds_next = context.head.body == RequestBody::None && !body.is_empty();
    write_uri(uri, &request, context.path_info);
    // A proxy in front of a backend without TLS is asked for the whole address.
    let target = match endpoint.connector.asks_proxy() {
        Some(_) => &uri[..],
        None => &uri[endpoint.origin.len()..],
    };
    // Read before the body is decoded in place: only a body that is here completely can be sent twice.
    let repeatable = context.head.method.is_idempotent() && is_complete(context.head.body, body);
    let started_ms = context.shard.clock.now_ms();
    let mut used = 0;
    let mut fresh = false;
    loop {
        let mut try_once = Try {
            connection,
            context,
            request: &request,
            endpoint,
            facts,
            used: &mut used,
            started_ms,
        };
        match try_once.run(target, body, fresh, repeatable).await {
            Attempt::Over(after) => return Outcome { after, used },
            Attempt::Stale => {
                context.shard.stats.upstream_retries.add(1);
                fresh = true;
            }
            Attempt::BadRequest(error) => {
                context.shard.stats.request_errors.add(1);
                facts.status = 400;
                facts.error_message = Some(error.to_string().into());
                return Outcome {
                    after: Box::pin(connection.refuse(400)).await,
                    used,
                };
            }
            Attempt::Failed(fault) => {
                context.shard.stats.upstream_errors.add(1);
                return Box::pin(fail(connection, context, fault, body, facts)).await;
            }
        }
    }
}

async fn fail(
    connection: &mut Connection,
    context: &Forward<'_>,
    fault: Fault,
    body: &[u8],
    facts: &mut Facts,
) -> Outcome {
    let failure = fault.into_failure(context.api.engine);
    let sent = connection
        .fail(
            &failure,
            context.head,
            context.bytes,
            body,
            context.identity,
        )
        .await;
    facts.response_body_bytes = sent.body_bytes;
    facts.note(failure);
    sent.outcome
}

struct Try<'a, 'c> {
    connection: &'a mut Connection,
    context: &'a Forward<'c>,
    request: &'a UpstreamRequest<'a>,
    endpoint: &'a Endpoint,
    facts: &'a mut Facts,
    used: &'a mut usize,
    /// When the exchange began, on the worker's clock.
    started_ms: u64,
}

impl Try<'_, '_> {
    async fn run(
        &mut self,
        target: &[u8],
        body: &mut [u8],
        fresh: bool,
        repeatable: bool,
    ) -> Attempt {
        let shard = self.context.shard;
        let head = self.context.head;
        let connector = &self.endpoint.connector;
        let request_due_ms = match shard.settings.request_timeout_ms {
            0 => u64::MAX,
            limit_ms => self.started_ms + limit_ms,
        };
        let limits = Limits::of(shard, connector, request_due_ms, 0);
        // The client may have more to send than is read now: then its silence says nothing.
        let watches = head.body == RequestBody::None;
        let reached = reach(
            shard,
            self.connection,
            connector,
            self.facts,
            limits,
            fresh,
            watches,
        );
        let mut reached = match reached.await {
            Ok(Some(reached)) => reached,
            Ok(None) => return self.aborted(ErrorKey::ClientAbortedDuringRequestError),
            Err(fault) => return Attempt::Failed(fault),
        };

        let mut out = if body.is_empty() {
            shard.buffers.small()
        } else {
            shard.buffers.large()
        };
        write_upstream_head(&mut out, self.request, target);
        let first = match FirstPiece::write(head.body, body, &mut out) {
            Ok(first) => first,
            Err(error) => {
                shard.buffers.put(out);
                return Attempt::BadRequest(error);
            }
        };
        *self.used = first.used;
        self.connection.input.holds_next = first.used < body.len();
        if let Err(fault) = reached.send(shard, out, limits).await {
            return if reached.reused && repeatable && fault.is_stale_connection() {
                Attempt::Stale
            } else {
                Attempt::Failed(fault)
            };
        }

        let shared = Shared::of(&first.remaining, first.payload);
        let ended = {
            let course = Course {
                shard,
                shared: &shared,
                connection: self.connection,
                upstream: &mut reached.upstream,
                connector,
                head,
                method: head.method,
                identity: self.context.identity,
                facts: self.facts,
                remaining: first.remaining,
                payload_max: u64::MAX,
                expects_continue: head.expects_continue,
                request_due_ms,
            };
            let (mut upload, mut download) = course.directions();
            // Pinned where they are made: both are large, and would be copied on their way into a combinator.
            let mut upload = pin!(upload.run());
            let mut download = pin!(download.run());
            both_ways(&shared, upload.as_mut(), download.as_mut()).await
        };
        self.facts.request_body_bytes = shared.request_body_bytes.get();
        let now = Instant::now();
        self.facts.ended = Some(now);
        self.facts.endpoint_ns = Some((now - reached.called).as_nanos() as u64);
        match ended {
            Either::Second(DownloadEnd::Complete {
                keep_alive,
                reusable,
                large,
            }) => {
                reached.release(shard, self.facts, reusable, large);
                Attempt::Over(if keep_alive && shared.uploaded.get() {
                    After::KeepAlive
                } else {
                    After::Close
                })
            }
            Either::Second(DownloadEnd::Failed(fault)) => {
                let may_repeat = reached.reused && repeatable && shared.uploaded.get();
                if may_repeat && fault.is_stale_connection() {
                    Attempt::Stale
                } else {
                    Attempt::Failed(fault)
                }
            }
            Either::Second(DownloadEnd::CutShort(fault)) => {
                shard.stats.upstream_errors.add(1);
                self.facts.error_key = ErrorKey::GatewayClientStreamEndedEarly.as_str().into();
                self.facts.error_message = Some(fault.to_string().into());
                self.cut()
            }
            Either::Second(DownloadEnd::ClientGone) => {
                self.aborted(ErrorKey::ClientAbortedDuringResponseError)
            }
            Either::First(UploadEnd::ClientAborted) => self.aborted(if shared.answered.get() {
                ErrorKey::ClientAbortedDuringResponseError
            } else {
                ErrorKey::ClientAbortedDuringRequestError
            }),
            Either::First(UploadEnd::BadChunk(_)) if shared.answered.get() => self.cut(),
            // Only policies bound a body that streams, and there are none here.
            Either::First(UploadEnd::TooLarge) => self.cut(),
            Either::First(UploadEnd::BadChunk(error)) => Attempt::BadRequest(error),
        }
    }

    /// Ends a response in its middle. A body that ends with its connection looks complete unless that is reset.
    fn cut(&mut self) -> Attempt {
        self.connection.deadline.reset();
        Attempt::Over(After::Abort)
    }

    /// The client is gone: nothing is sent, and the report says 499.
    fn aborted(&mut self, key: ErrorKey) -> Attempt {
        self.context.shard.stats.client_aborts.add(1);
        let status = self.facts.status;
        self.facts.note(Failure::of(key));
        if status != 0 {
            // The backend had answered: its status stays (contract request-lifecycle 9.6).
            self.facts.status = status;
        }
        Attempt::Over(After::Abort)
    }
}
