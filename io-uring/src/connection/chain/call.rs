//! The call of the backend: target, connection, both bodies, repetition on another connection when a pooled one had died.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use turnpike_core::definition::{Connector, Endpoint, Origin, Target, TargetError, Wish};
use turnpike_core::el::Value;
use turnpike_core::error::{ErrorKey, Failure};
use turnpike_core::exchange::{Body, Call, Exchange};
use turnpike_core::flow::Next;
use turnpike_core::http::chunked::ChunkError;
use turnpike_core::http::{Method, RequestBody};
use turnpike_core::need::{Answer, Errand};

use super::converse::{Converse, Ended};
use super::drive::within;
use super::head::{Outgoing, write_backend_head};
use super::{Chain, ClientBody, Context};
use crate::buffer::LARGE_BYTES;
use crate::connection::attempt::{Course, FirstPiece, Limits, both_ways, is_complete, reach};
use crate::connection::record::Facts;
use crate::connection::relay::{DownloadEnd, Remaining, Shared, UploadEnd};
use crate::connection::rewrite::Identity;
use crate::connection::{After, Connection};
use crate::driver::Either;
use crate::upstream::{Fault, Found};

/// How a call ended.
pub(super) enum Called {
    /// The chain goes on.
    Next(Next),
    /// The client has its answer, or cannot get one any more.
    Over(After),
    /// The client is gone.
    Gone(ErrorKey),
    /// The client's chunks are malformed, and nothing was answered yet.
    BadRequest(Box<str>),
}

/// Where a request goes.
struct Destination<'a> {
    endpoint: &'a Endpoint,
    /// Of an origin that is not the endpoint's own.
    elsewhere: Option<Arc<Connector>>,
    method: Method,
    /// Where the path begins in the URI.
    path_start: usize,
}

impl Destination<'_> {
    fn connector(&self) -> &Arc<Connector> {
        self.elsewhere.as_ref().unwrap_or(&self.endpoint.connector)
    }
}

/// One call. It holds what it needs once: every future that is given the same again would hold it once more, in the task of the connection.
pub(super) struct Caller<'x, 'i, 'a> {
    pub(super) connection: &'x mut Connection,
    pub(super) context: &'x Context<'a>,
    pub(super) chain: &'x mut Chain<'a>,
    pub(super) identity: &'x Identity<'i>,
    pub(super) client: &'x mut ClientBody,
    /// What came with the head.
    pub(super) body: &'x mut [u8],
    /// Receives the absolute URI called.
    pub(super) uri: &'x mut Vec<u8>,
    pub(super) facts: &'x mut Facts,
}

impl<'a> Caller<'_, '_, 'a> {
    /// Calls the backend and goes on with the chain, at most until the client has its answer.
    pub(super) async fn call(&mut self) -> Called {
        if self.streams() && *self.client != ClientBody::Unread {
            let failure = Failure::internal().because("the request body cannot be sent twice");
            return fail(self.chain, failure);
        }
        self.chain.bodiless = None;
        self.chain.received_status = 0;
        self.uri.clear();
        let destination = match destination(self.chain, self.uri) {
            Ok((destination, None)) => destination,
            Ok((destination, Some(host))) => {
                match Box::pin(look_up(self.chain, destination, host, self.uri)).await {
                    Ok(destination) => destination,
                    Err(next) => return Called::Next(next),
                }
            }
            Err(failure) => return fail(self.chain, failure),
        };
        self.chain.exchange.endpoint = Some(destination.endpoint);
        if destination.endpoint.follow_redirects {
            let called = String::from_utf8_lossy(self.uri).into_owned();
            self.chain.exchange.called_uri = called;
        }
        // Read before the body is decoded in place: only a body that is here completely can be sent twice.
        let repeatable = destination.method.is_idempotent()
            && (!self.streams() || is_complete(self.context.head.body, self.body));
        let mut fresh = false;
        loop {
            match self.attempt(&destination, fresh, repeatable).await {
                Attempted::Called(called) => return called,
                Attempted::Stale => {
                    self.context.shard.stats.upstream_retries.add(1);
                    fresh = true;
                }
                Attempted::Failed(fault) => {
                    self.context.shard.stats.upstream_errors.add(1);
                    if matches!(fault, Fault::RequestTimeout) {
                        return Called::Next(self.chain.time_out());
                    }
                    let engine = self.context.deployed.api.engine;
                    return fail(self.chain, fault.into_failure(engine));
                }
            }
        }
    }

    /// Whether the client's body is passed on as it comes.
    fn streams(&self) -> bool {
        self.chain.exchange.request.body.is_streaming()
    }
}

fn fail(chain: &mut Chain<'_>, failure: Failure) -> Called {
    chain.exchange.call = Call::Failed(Box::new(failure));
    Called::Next(chain.called())
}

/// Decides where the request goes, and writes the absolute URI. Also names the host that must be looked up first.
fn destination<'a>(
    chain: &Chain<'a>,
    uri: &mut Vec<u8>,
) -> Result<(Destination<'a>, Option<Box<str>>), Failure> {
    let exchange = &chain.exchange;
    let redirect = exchange.redirect.as_ref().zip(exchange.endpoint);
    let method = match redirect {
        Some((redirect, _)) => redirect.method,
        None => method(exchange)?,
    };
    let wished = wished_endpoint(exchange);
    let wish = Wish {
        endpoint: wished,
        replaces_path: exchange
            .attributes
            .gateway("request.endpoint.override")
            .is_some_and(|value| value.to_bool() == Ok(Some(true))),
    };
    let api = exchange.api;
    let target = match redirect {
        Some((redirect, endpoint)) => Target::redirected(endpoint, &redirect.url),
        None => Target::choose(api, wish),
    };
    let target = target.map_err(|error| refused(exchange, error))?;
    let request = &exchange.request;
    let path_start = target
        .write_uri(uri, request.path_info(), &request.query)
        .map_err(|error| refused(exchange, error))?;
    let shard = chain.shard;
    let mut destination = Destination {
        endpoint: target.endpoint,
        elsewhere: None,
        method,
        path_start,
    };
    let Some(origin) = target.elsewhere() else {
        return Ok((destination, None));
    };
    let connector = &target.endpoint.connector;
    match shard
        .elsewhere
        .find(connector, &origin, shard.clock.now_ms())
    {
        Found::Ready(connector) => {
            destination.elsewhere = Some(connector);
            Ok((destination, None))
        }
        Found::LookUp => Ok((destination, Some(origin.host.into()))),
    }
}

/// The method, or what the attribute `request.method` puts in its place.
fn method(exchange: &Exchange<'_>) -> Result<Method, Failure> {
    let overridden = match exchange.attributes.gateway("request.method") {
        None | Some(Value::Null) => return Ok(exchange.request.method),
        Some(value) => value
            .as_text()
            .map(|text| Method::of(text.to_ascii_uppercase().as_bytes())),
    };
    match overridden {
        None | Some(Method::Other | Method::Connect) => {
            Err(Failure::of(ErrorKey::InvalidHttpMethod))
        }
        Some(method) => Ok(method),
    }
}

/// The attribute `request.endpoint`, as it is written: whoever set it has evaluated its expressions, and what a client sent must not become one.
fn wished_endpoint<'e>(exchange: &'e Exchange<'_>) -> Option<&'e str> {
    exchange
        .attributes
        .gateway("request.endpoint")
        .and_then(Value::as_text)
}

/// The failure of a request that cannot be sent anywhere (contract request-lifecycle 8.1, 8.6).
fn refused(exchange: &Exchange<'_>, error: TargetError) -> Failure {
    match error {
        TargetError::NoEndpoint => Fault::NoEndpoint.into_failure(exchange.api.engine),
        TargetError::Invalid(_) if exchange.api.engine.is_v2() => {
            Failure::status(400).because(error.to_string())
        }
        TargetError::Invalid(_) => Failure::internal().because(error.to_string()),
    }
}

/// Looks up the host of an origin that a policy named. `Err` is what the chain goes on with when its time is over meanwhile.
async fn look_up<'a>(
    chain: &mut Chain<'a>,
    mut destination: Destination<'a>,
    host: Box<str>,
    uri: &[u8],
) -> Result<Destination<'a>, Next> {
    let shard = chain.shard;
    let due_ms = chain.due_ms();
    let answer = match shard.desk.send(Errand::Resolve { host }) {
        Some(waiting) => within(shard, due_ms, pin!(waiting.answer())).await,
        None => Some(Answer::Refused),
    };
    let addresses = match answer {
        Some(Answer::Addresses(addresses)) => addresses,
        Some(_) => Vec::new(),
        None => return Err(chain.time_out()),
    };
    let written = String::from_utf8_lossy(&uri[..destination.path_start]);
    let now_ms = shard.clock.now_ms();
    destination.elsewhere = Origin::parse(&written).map(|origin| {
        let connector = &destination.endpoint.connector;
        shard
            .elsewhere
            .learn(connector, &origin, &addresses, now_ms)
    });
    Ok(destination)
}

/// How one attempt ended.
enum Attempted {
    Called(Called),
    /// No response head came.
    Failed(Fault),
    /// The pooled connection had died before it answered: the request may be sent again.
    Stale,
}

impl<'a> Caller<'_, '_, 'a> {
    async fn attempt(
        &mut self,
        destination: &Destination<'a>,
        fresh: bool,
        repeatable: bool,
    ) -> Attempted {
        let shard = self.context.shard;
        let head = self.context.head;
        let connector = destination.connector();
        let streams = self.streams();
        let payload_max = match &self.chain.exchange.body_limit {
            Some(limit) if streams => limit.bytes_max,
            _ => u64::MAX,
        };
        let request_due_ms = self.chain.due_ms();
        let attempt_timeout_ms = self.chain.exchange.attempt_timeout_ms;
        let limits = Limits::of(shard, connector, request_due_ms, attempt_timeout_ms);
        // The client may have more to send than is read now: then its silence says nothing.
        let watches = !streams && *self.client != ClientBody::Broken;
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
            Ok(None) => return self.gone(ErrorKey::ClientAbortedDuringRequestError),
            Err(fault) => return Attempted::Failed(fault),
        };

        let (out, first) = match self.first_piece(destination) {
            Ok(written) => written,
            Err(error) => return bad_request(error),
        };
        if streams {
            *self.client = ClientBody::Broken;
            self.connection.input.holds_next = first.used < self.body.len();
            if first.payload > payload_max {
                // Nothing was sent: the connection of the backend is closed, for what is here cannot be taken back.
                self.facts.request_body_bytes = first.payload;
                return self.too_large();
            }
        }
        if let Err(fault) = reached.send(shard, out, limits).await {
            return self.failed(fault, reached.reused && repeatable);
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
                method: destination.method,
                identity: self.identity,
                facts: self.facts,
                remaining: first.remaining,
                payload_max,
                expects_continue: head.expects_continue && streams,
                request_due_ms,
            };
            let (mut upload, download) = course.directions();
            let mut converse = Converse {
                download,
                chain: self.chain,
                context: self.context,
                identity: self.identity,
            };
            // Pinned where they are made: both are large, and would be copied on their way into a combinator.
            let mut upload = pin!(upload.run());
            let mut converse = pin!(converse.run());
            both_ways(&shared, upload.as_mut(), converse.as_mut()).await
        };
        if streams {
            self.facts.request_body_bytes = shared.request_body_bytes.get();
            if shared.uploaded.get() {
                *self.client = ClientBody::Read(first.used);
            }
        }
        let now = Instant::now();
        self.facts.endpoint_ns = Some((now - reached.called).as_nanos() as u64);
        match ended {
            Either::Second(Ended::Next {
                next,
                reusable,
                large,
            }) => {
                // A body that was on its way is not waited for any more.
                self.connection.deadline.clear();
                let reusable = reusable && shared.uploaded.get();
                reached.release(shard, self.facts, reusable, large);
                Attempted::Called(Called::Next(next))
            }
            Either::Second(Ended::Relayed(DownloadEnd::Complete {
                keep_alive,
                reusable,
                large,
            })) => {
                self.facts.ended = Some(now);
                reached.release(shard, self.facts, reusable, large);
                Attempted::Called(Called::Over(if keep_alive && shared.uploaded.get() {
                    After::KeepAlive
                } else {
                    After::Close
                }))
            }
            Either::Second(Ended::Relayed(DownloadEnd::Failed(fault))) => {
                if self.chain.received_status != 0 {
                    // Its head was fine, and the chain has seen it: the body cannot be read from its very beginning.
                    return Attempted::Called(Called::Next(super::converse::give_up(
                        self.chain, fault,
                    )));
                }
                let may_repeat = reached.reused && repeatable && shared.uploaded.get();
                self.failed(fault, may_repeat)
            }
            Either::Second(Ended::Relayed(DownloadEnd::CutShort(fault))) => {
                shard.stats.upstream_errors.add(1);
                self.facts.ended = Some(now);
                self.facts.error_key = ErrorKey::GatewayClientStreamEndedEarly.as_str().into();
                self.facts.error_message = Some(fault.to_string().into());
                self.cut()
            }
            Either::Second(Ended::Relayed(DownloadEnd::ClientGone)) => {
                self.gone(ErrorKey::ClientAbortedDuringResponseError)
            }
            Either::First(UploadEnd::ClientAborted) => {
                self.gone(if self.chain.received_status != 0 {
                    ErrorKey::ClientAbortedDuringResponseError
                } else {
                    ErrorKey::ClientAbortedDuringRequestError
                })
            }
            Either::First(UploadEnd::BadChunk(_) | UploadEnd::TooLarge)
                if shared.answered.get() =>
            {
                self.cut()
            }
            Either::First(UploadEnd::TooLarge) => self.too_large(),
            Either::First(UploadEnd::BadChunk(error)) => bad_request(error),
        }
    }

    /// The head for the backend, and what is here of the body.
    fn first_piece(
        &mut self,
        destination: &Destination<'a>,
    ) -> Result<(Vec<u8>, FirstPiece), ChunkError> {
        let streams = self.streams();
        let shard = self.context.shard;
        let received = self.context.head.body;
        let request = &self.chain.exchange.request;
        let (content, framing) = match &request.body {
            Body::Streaming => (&[][..], received),
            Body::Buffered(content) => (&**content, RequestBody::Length(content.len() as u64)),
            // A client that sent a body, be it an empty one, gets none announced away.
            Body::None if request.framing == RequestBody::None => (&[][..], RequestBody::None),
            Body::None => (&[][..], RequestBody::Length(0)),
        };
        let mut out = if (streams && !self.body.is_empty()) || !content.is_empty() {
            shard.buffers.large()
        } else {
            shard.buffers.small()
        };
        // A proxy in front of a backend without TLS is asked for the whole address.
        let target_start = match destination.connector().asks_proxy() {
            Some(_) => 0,
            None => destination.path_start,
        };
        let outgoing = Outgoing {
            method: destination.method,
            target: &self.uri[target_start..],
            endpoint: destination.endpoint,
            connector: destination.connector(),
            framing,
            streams,
        };
        write_backend_head(&mut out, &self.chain.exchange, &outgoing);
        if streams {
            let first = FirstPiece::write(received, self.body, &mut out)?;
            return Ok((out, first));
        }
        let taken = content.len().min(LARGE_BYTES.saturating_sub(out.len()));
        out.extend_from_slice(&content[..taken]);
        let rest = &content[taken..];
        // A copy: the body stays in the exchange, for policies and for another attempt.
        let remaining = if rest.is_empty() {
            Remaining::Nothing
        } else {
            Remaining::Memory(rest.to_vec())
        };
        Ok((
            out,
            FirstPiece {
                remaining,
                payload: 0,
                used: 0,
            },
        ))
    }

    fn failed(&mut self, fault: Fault, may_repeat: bool) -> Attempted {
        if may_repeat && fault.is_stale_connection() {
            if self.streams() {
                // Nothing but what came with the head was sent: it is all still there.
                *self.client = ClientBody::Unread;
            }
            Attempted::Stale
        } else {
            Attempted::Failed(fault)
        }
    }

    fn gone(&self, key: ErrorKey) -> Attempted {
        Attempted::Called(Called::Gone(key))
    }

    /// The body on its way has more bytes than a policy allows: its failure is answered, the backend's connection is left behind.
    fn too_large(&mut self) -> Attempted {
        self.connection.deadline.clear();
        Attempted::Called(Called::Next(self.chain.exceed()))
    }

    /// Ends a response in its middle. A body that ends with its connection looks complete unless that is reset.
    fn cut(&self) -> Attempted {
        self.connection.deadline.reset();
        Attempted::Called(Called::Over(After::Abort))
    }
}

fn bad_request(error: ChunkError) -> Attempted {
    Attempted::Called(Called::BadRequest(error.to_string().into()))
}
