//! From a granted request to the end of its response: endpoint, connection, both bodies, retry.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use turnpike_core::definition::{Api, Connector, Endpoint};
use turnpike_core::error::{ErrorKey, Failure};
use turnpike_core::http::chunked::{
    CHUNK_END, ChunkError, ChunkedDecoder, LAST_CHUNK, PREFIX_BYTES_MAX, frame,
};
use turnpike_core::http::{RequestBody, RequestHead};
use turnpike_core::security::Strip;

use super::exchange::Outcome;
use super::record::Facts;
use super::relay::{Download, DownloadEnd, Remaining, Shared, Upload, UploadEnd, watch};
use super::rewrite::{Identity, UpstreamRequest, write_upstream_head, write_uri};
use super::{After, Connection};
use crate::driver::{Cut, Either, race};
use crate::upstream::{Fault, Lease};
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

pub(super) fn is_complete(framing: RequestBody, body: &[u8]) -> bool {
    match framing {
        RequestBody::None => true,
        RequestBody::Length(length) => length <= body.len() as u64,
        RequestBody::Chunked => false,
    }
}

/// Polls both directions in one task until one of them ends.
pub(super) async fn both_ways<U: Future, D: Future>(
    shared: &Shared,
    mut upload: Pin<&mut U>,
    mut download: Pin<&mut D>,
) -> Either<U::Output, D::Output> {
    poll_fn(|context| {
        // A body that is still on its way goes first: whether it is through decides how the response is begun. Afterwards the upload only
        // watches the client, and need not be polled once more when the response is through.
        let watches = shared.uploaded.get();
        if !watches && let Poll::Ready(end) = upload.as_mut().poll(context) {
            return Poll::Ready(Either::First(end));
        }
        if let Poll::Ready(end) = download.as_mut().poll(context) {
            return Poll::Ready(Either::Second(end));
        }
        if watches {
            upload.as_mut().poll(context).map(Either::First)
        } else {
            Poll::Pending
        }
    })
    .await
}

/// A connection to a backend; `None` when the client, if it is watched, went away while there was none.
pub(super) async fn acquire(
    shard: &Shard,
    connection: &mut Connection,
    connector: &Arc<Connector>,
    fresh: bool,
    watches: bool,
    limit_ms: u64,
) -> Result<Option<Lease>, Fault> {
    if limit_ms == 0 {
        return Err(Fault::ConnectTimeout);
    }
    let acquire = async {
        if fresh {
            shard.upstreams.acquire_new(connector, limit_ms).await
        } else {
            shard.upstreams.acquire(connector, limit_ms).await
        }
    };
    if !watches {
        return acquire.await.map(Some);
    }
    let Connection { reader, input, .. } = connection;
    match race(acquire, watch(shard, reader, input)).await {
        Either::First(outcome) => outcome.map(Some),
        Either::Second(()) => Ok(None),
    }
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
        let options = &self.endpoint.connector.options;
        let request_deadline_ms = match shard.settings.request_timeout_ms {
            0 => u64::MAX,
            limit_ms => self.started_ms + limit_ms,
        };
        let asked = Instant::now();
        let now_ms = shard.clock.now_ms();
        let read_timeout_ms = match options.read_timeout_ms {
            0 => u64::MAX,
            limit_ms => u64::from(limit_ms),
        };
        let answer_due_ms = request_deadline_ms.min(now_ms.saturating_add(read_timeout_ms));
        let lease = match self
            .acquire(fresh, answer_due_ms.saturating_sub(now_ms))
            .await
        {
            Ok(Some(lease)) => lease,
            Ok(None) => return self.aborted(ErrorKey::ClientAbortedDuringRequestError),
            Err(Fault::ConnectTimeout) if shard.clock.now_ms() >= request_deadline_ms => {
                return Attempt::Failed(Fault::RequestTimeout);
            }
            Err(fault) => return Attempt::Failed(fault),
        };
        let Lease {
            mut upstream,
            reused,
            immediate,
        } = lease;
        // An idle connection is there at once: only waiting and connecting take time worth measuring.
        let called = if immediate { asked } else { Instant::now() };
        self.facts.called = Some(called);
        self.facts.connect_ns = Some((called - asked).as_nanos() as u64);
        shard.stats.upstream_requests.add(1);

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
        upstream
            .deadline
            .set(&shard.timers, answer_due_ms, Cut::Both);
        let length = out.len();
        let (result, out) = upstream.writer.write_all(out, 0..length).await;
        shard.buffers.put(out);
        shard.stats.upstream_bytes_written.add(length as u64);
        if let Err(error) = result {
            let fault = if upstream.deadline.has_passed() {
                Fault::ReadTimeout
            } else {
                Fault::Io(error)
            };
            return if reused && repeatable && fault.is_stale_connection() {
                Attempt::Stale
            } else {
                Attempt::Failed(fault)
            };
        }

        let shared = Shared::default();
        shared
            .uploaded
            .set(matches!(first.remaining, Remaining::Nothing));
        shared.request_body_bytes.set(first.payload);
        let timeout_ms = shard.settings.servers[self.connection.server].body_timeout_ms;
        let Connection {
            reader,
            writer,
            input,
            deadline,
            ..
        } = &mut *self.connection;
        let wants_keep_alive = head.keep_alive && !input.ended;
        let ended = {
            let mut upload = Upload {
                shard,
                shared: &shared,
                client: reader,
                client_deadline: deadline,
                input,
                upstream: &mut upstream.writer,
                remaining: first.remaining,
                payload_max: u64::MAX,
                timeout_ms,
            };
            let mut download = Download {
                shard,
                shared: &shared,
                connector: &self.endpoint.connector,
                upstream: &mut upstream.reader,
                upstream_deadline: &upstream.deadline,
                head: &mut upstream.head,
                client: writer,
                client_deadline: deadline,
                request: (head.method, head.version),
                wants_keep_alive,
                expects_continue: head.expects_continue,
                identity: self.context.identity,
                facts: self.facts,
                request_deadline_ms,
                timeout_ms,
            };
            // Pinned where they are made: both are large, and would be copied on their way into a combinator.
            let mut upload = pin!(upload.run());
            let mut download = pin!(download.run());
            both_ways(&shared, upload.as_mut(), download.as_mut()).await
        };
        self.facts.request_body_bytes = shared.request_body_bytes.get();
        let now = Instant::now();
        self.facts.ended = Some(now);
        self.facts.endpoint_ns = Some((now - called).as_nanos() as u64);
        match ended {
            Either::Second(DownloadEnd::Complete {
                keep_alive,
                reusable,
                large,
            }) => {
                shard
                    .stats
                    .upstream_time_ns_sum
                    .add(self.facts.ttfb_ns.unwrap_or_default());
                if reusable {
                    shard.upstreams.release(upstream, &shard.buffers, large);
                }
                Attempt::Over(if keep_alive && shared.uploaded.get() {
                    After::KeepAlive
                } else {
                    After::Close
                })
            }
            Either::Second(DownloadEnd::Failed(fault)) => {
                if reused && repeatable && shared.uploaded.get() && fault.is_stale_connection() {
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

    /// A connection to the endpoint; `None` when the client went away while there was none.
    async fn acquire(&mut self, fresh: bool, limit_ms: u64) -> Result<Option<Lease>, Fault> {
        let shard = self.context.shard;
        let connector = &self.endpoint.connector;
        // The client may have more to send than is read now: then its silence says nothing.
        let watches = self.context.head.body == RequestBody::None;
        acquire(shard, self.connection, connector, fresh, watches, limit_ms).await
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

/// The part of the body that came with the head and leaves with it.
pub(super) struct FirstPiece {
    pub(super) remaining: Remaining,
    pub(super) payload: u64,
    /// Bytes of the input that belong to this request.
    pub(super) used: usize,
}

impl FirstPiece {
    /// Appends what is there of the body in `body` to `out`, framed for the backend.
    pub(super) fn write(
        framing: RequestBody,
        body: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Self, ChunkError> {
        Ok(match framing {
            RequestBody::None => Self {
                remaining: Remaining::Nothing,
                payload: 0,
                used: 0,
            },
            RequestBody::Length(length) => {
                let taken = length.min(body.len() as u64) as usize;
                out.extend_from_slice(&body[..taken]);
                let left = length - taken as u64;
                let remaining = if left == 0 {
                    Remaining::Nothing
                } else {
                    Remaining::Length(left)
                };
                Self {
                    remaining,
                    payload: taken as u64,
                    used: taken,
                }
            }
            RequestBody::Chunked => {
                let mut decoder = ChunkedDecoder::default();
                let decoded = decoder.decode(body)?;
                if decoded.payload > 0 {
                    let mut size = [0; PREFIX_BYTES_MAX];
                    let start = frame(&mut size, PREFIX_BYTES_MAX, decoded.payload);
                    out.extend_from_slice(&size[start..]);
                    out.extend_from_slice(&body[..decoded.payload]);
                    out.extend_from_slice(CHUNK_END);
                }
                let remaining = if decoded.done {
                    out.extend_from_slice(LAST_CHUNK);
                    Remaining::Nothing
                } else {
                    Remaining::Chunked(decoder)
                };
                Self {
                    remaining,
                    payload: decoded.payload as u64,
                    used: decoded.consumed,
                }
            }
        })
    }
}
