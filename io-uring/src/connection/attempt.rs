//! One attempt at the backend, as both roads to it make it: through a chain of policies (`chain::call`) and without one (`forward`).
//!
//! Life of an attempt: [`Limits::of`] → [`reach`] → [`Reached::send`] → [`Course::directions`] → [`both_ways`]. What an ending means is
//! the road's own affair, for only one of them has policies that may still change the answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use turnpike_core::definition::Connector;
use turnpike_core::http::chunked::{
    CHUNK_END, ChunkError, ChunkedDecoder, LAST_CHUNK, PREFIX_BYTES_MAX, frame,
};
use turnpike_core::http::{Method, RequestBody, RequestHead};

use super::Connection;
use super::record::Facts;
use super::relay::{Download, Remaining, Shared, Upload, watch};
use super::rewrite::Identity;
use crate::driver::{Cut, Either, race};
use crate::upstream::{Fault, Lease, Upstream};
use crate::worker::Shard;

/// When an attempt must be over, on the worker's clock.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The time of the request (`http.requestTimeout`) is over.
    pub(super) request_due_ms: u64,
    /// The head of the response must be here.
    pub(super) answer_due_ms: u64,
}

impl Limits {
    /// The limits of an attempt that begins now. `attempt_timeout_ms` is what a policy allows it, 0 for no limit.
    pub(super) fn of(
        shard: &Shard,
        connector: &Connector,
        request_due_ms: u64,
        attempt_timeout_ms: u64,
    ) -> Self {
        let now_ms = shard.clock.now_ms();
        let due_ms = |timeout_ms: u64| match timeout_ms {
            0 => u64::MAX,
            timeout_ms => now_ms.saturating_add(timeout_ms),
        };
        Self {
            request_due_ms,
            answer_due_ms: request_due_ms
                .min(due_ms(connector.options.read_timeout_ms.into()))
                .min(due_ms(attempt_timeout_ms)),
        }
    }

    /// A time-out of this attempt: the request's own when that is over, and `otherwise` when it is not.
    fn passed(self, shard: &Shard, otherwise: Fault) -> Fault {
        if shard.clock.now_ms() >= self.request_due_ms {
            Fault::RequestTimeout
        } else {
            otherwise
        }
    }
}

/// A backend's connection that an attempt has.
pub(super) struct Reached {
    pub(super) upstream: Box<Upstream>,
    /// It had served a request before, so it may have died meanwhile.
    pub(super) reused: bool,
    /// When the call began.
    pub(super) called: Instant,
}

/// Gets a connection to the backend, a new one if it must be `fresh`; `None` when the client, if it is watched, went away while there was
/// none.
pub(super) async fn reach(
    shard: &Shard,
    connection: &mut Connection,
    connector: &Arc<Connector>,
    facts: &mut Facts,
    limits: Limits,
    fresh: bool,
    watches: bool,
) -> Result<Option<Reached>, Fault> {
    let asked = Instant::now();
    let left_ms = limits.answer_due_ms.saturating_sub(shard.clock.now_ms());
    if left_ms == 0 {
        return Err(limits.passed(shard, Fault::ConnectTimeout));
    }
    let acquire = async {
        if fresh {
            shard.upstreams.acquire_new(connector, left_ms).await
        } else {
            shard.upstreams.acquire(connector, left_ms).await
        }
    };
    let acquired = if watches {
        let Connection { reader, input, .. } = connection;
        match race(acquire, watch(shard, reader, input)).await {
            Either::First(acquired) => acquired,
            Either::Second(()) => return Ok(None),
        }
    } else {
        acquire.await
    };
    let Lease {
        upstream,
        reused,
        immediate,
    } = match acquired {
        Ok(lease) => lease,
        Err(fault @ Fault::ConnectTimeout) => return Err(limits.passed(shard, fault)),
        Err(fault) => return Err(fault),
    };
    // An idle connection is there at once: only waiting and connecting take time worth measuring.
    let called = if immediate { asked } else { Instant::now() };
    facts.called = Some(called);
    facts.connect_ns = Some((called - asked).as_nanos() as u64);
    shard.stats.upstream_requests.add(1);
    Ok(Some(Reached {
        upstream,
        reused,
        called,
    }))
}

impl Reached {
    /// Sends the head, and what is behind it in `out`. From here on the answer is due.
    pub(super) async fn send(
        &mut self,
        shard: &Shard,
        out: Vec<u8>,
        limits: Limits,
    ) -> Result<(), Fault> {
        let upstream = &mut *self.upstream;
        upstream
            .deadline
            .set(&shard.timers, limits.answer_due_ms, Cut::Both);
        let length = out.len();
        let (result, out) = upstream.writer.write_all(out, 0..length).await;
        shard.buffers.put(out);
        shard.stats.upstream_bytes_written.add(length as u64);
        result.map_err(|error| {
            if upstream.deadline.has_passed() {
                limits.passed(shard, Fault::ReadTimeout)
            } else {
                Fault::Io(error)
            }
        })
    }

    /// The backend's response is through: its connection is given back if it is `reusable`.
    pub(super) fn release(self, shard: &Shard, facts: &Facts, reusable: bool, large: bool) {
        let ttfb_ns = facts.ttfb_ns.unwrap_or_default();
        shard.stats.upstream_time_ns_sum.add(ttfb_ns);
        if reusable {
            shard
                .upstreams
                .release(self.upstream, &shard.buffers, large);
        }
    }
}

/// What both directions of an attempt are made of, once its head is sent.
pub(super) struct Course<'x> {
    pub(super) shard: &'x Shard,
    pub(super) shared: &'x Shared,
    pub(super) connection: &'x mut Connection,
    pub(super) upstream: &'x mut Upstream,
    pub(super) connector: &'x Connector,
    /// The client's.
    pub(super) head: &'x RequestHead,
    /// As the backend is asked.
    pub(super) method: Method,
    pub(super) identity: &'x Identity<'x>,
    pub(super) facts: &'x mut Facts,
    pub(super) remaining: Remaining,
    /// Bytes of payload that a chunked body may have.
    pub(super) payload_max: u64,
    /// Whether the client is told when the backend wants the body.
    pub(super) expects_continue: bool,
    pub(super) request_due_ms: u64,
}

impl<'x> Course<'x> {
    /// From the client to the backend, and back.
    pub(super) fn directions(self) -> (Upload<'x>, Download<'x>) {
        let Connection {
            reader,
            writer,
            input,
            deadline,
            server,
            ..
        } = self.connection;
        let timeout_ms = self.shard.settings.servers[*server].body_timeout_ms;
        let wants_keep_alive = self.head.keep_alive && !input.ended;
        let upload = Upload {
            shard: self.shard,
            shared: self.shared,
            client: reader,
            client_deadline: deadline,
            input,
            upstream: &mut self.upstream.writer,
            remaining: self.remaining,
            payload_max: self.payload_max,
            timeout_ms,
        };
        let download = Download {
            shard: self.shard,
            shared: self.shared,
            connector: self.connector,
            upstream: &mut self.upstream.reader,
            upstream_deadline: &self.upstream.deadline,
            head: &mut self.upstream.head,
            client: writer,
            client_deadline: deadline,
            request: (self.method, self.head.version),
            wants_keep_alive,
            expects_continue: self.expects_continue,
            identity: self.identity,
            facts: self.facts,
            request_deadline_ms: self.request_due_ms,
            timeout_ms,
        };
        (upload, download)
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

/// Whether all of the request's body came with its head: only such a request can be sent twice.
pub(super) fn is_complete(framing: RequestBody, body: &[u8]) -> bool {
    match framing {
        RequestBody::None => true,
        RequestBody::Length(length) => length <= body.len() as u64,
        RequestBody::Chunked => false,
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
