//! Exchanges of APIs with policies: the chain of [`turnpike_core::flow::Run`], driven over the client's and the backend's sockets.
//!
//! The chain says what comes next; here it is done: a body is read into memory ([`body`]), a pause or an errand is waited for
//! ([`drive`]), the backend is called ([`call`]), the response is written ([`respond`]). While the backend's response body is still on its way,
//! the response phase runs inside the call ([`converse`]), so that the body can be streamed behind the head that the policies made.

mod body;
mod call;
mod certificate;
mod converse;
mod drive;
mod fill;
mod head;
mod respond;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::pin::pin;

use turnpike_core::definition::Engine;
use turnpike_core::error::{ErrorKey, Failure};
use turnpike_core::exchange::Body;
use turnpike_core::flow::Next;
use turnpike_core::http::RequestBody;
use turnpike_core::need::{Answer, Need};
use turnpike_core::report::Warnings;

use super::exchange::{ClientIdentifier, Context, Outcome, check_null_bytes};
use super::record::{Facts, Subject};
use super::relay::watch;
use super::rewrite::Identity;
use super::{After, Connection};
use crate::buffer::BufferPool;
use crate::driver::{Either, race};
use body::BodyEnd;
use call::{Called, Caller};
use drive::Chain;

/// What was read of the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientBody {
    /// Nothing but what came with the head.
    Unread,
    /// Some of it: nobody can tell any more where the next request begins.
    Broken,
    /// All of it; this much came with the head.
    Read(usize),
}

/// How the loop over the chain ended.
enum End {
    /// The client has its answer, or cannot get one.
    Over(Outcome),
    /// The client is gone.
    Gone(ErrorKey),
    /// The client's chunks are malformed: a bare 400.
    BadRequest(Box<str>),
}

/// Serves a request with policies, answer and report included. `body` is what came with the head; `uri` receives the absolute URI called.
pub(super) async fn serve(
    connection: &mut Connection,
    context: &Context<'_>,
    body: &mut [u8],
    uri: &mut Vec<u8>,
    facts: &mut Facts,
) -> Outcome {
    let Context { shard, head, .. } = *context;
    let mut chain = Chain::new(shard, context.deployed, shard.clock.now_ms());
    fill::fill(&mut chain.exchange, context, facts.started_wall_ms);
    connection.input.holds_next = head.body == RequestBody::None && !body.is_empty();
    let subscription = OnceCell::new();
    let identifier = OnceCell::new();
    let mut client = ClientBody::Unread;
    let mut next = match check_null_bytes(&context.deployed.api, head, context.bytes) {
        Ok(()) => chain.start(),
        Err(failure) => chain.give_up(failure),
    };
    let end = loop {
        next = match next {
            Next::Await(Need::RequestBody) if chain.exchange.request.body.is_streaming() => {
                let buffered = Box::pin(buffer(
                    connection,
                    context,
                    &mut chain,
                    &mut client,
                    body,
                    facts,
                ));
                match buffered.await {
                    Ok(next) => next,
                    Err(end) => break end,
                }
            }
            Next::Await(
                Need::RequestBody | Need::ResponseBody | Need::SmallResponseBody { .. },
            ) => {
                // A response body that streams is read inside its call; here it is none, or lost with its connection.
                if chain.exchange.response.body.is_streaming() {
                    chain.exchange.response.body = Body::None;
                }
                chain.answer(Answer::Done)
            }
            Next::Await(need) => match Box::pin(wait(connection, &mut chain, need, client)).await {
                Some(next) => next,
                None if chain.received_status != 0 => {
                    break End::Gone(ErrorKey::ClientAbortedDuringResponseError);
                }
                None => break End::Gone(ErrorKey::ClientAbortedDuringRequestError),
            },
            Next::Call => {
                let identity = identity(context, &chain, &subscription, &identifier, connection);
                let mut caller = Caller {
                    connection: &mut *connection,
                    context,
                    chain: &mut chain,
                    identity: &identity,
                    client: &mut client,
                    body: &mut *body,
                    uri: &mut *uri,
                    facts: &mut *facts,
                };
                match caller.call().await {
                    Called::Next(next) => next,
                    Called::Over(after) => {
                        break End::Over(Outcome {
                            after,
                            used: client.used(),
                        });
                    }
                    Called::Gone(key) => break End::Gone(key),
                    Called::BadRequest(error) => break End::BadRequest(error),
                }
            }
            Next::Respond => {
                let identity = identity(context, &chain, &subscription, &identifier, connection);
                let sent = Box::pin(respond::respond(
                    connection, context, &mut chain, &identity, client, body, facts,
                ));
                break End::Over(sent.await);
            }
        };
    };
    let outcome = match end {
        End::Over(outcome) => outcome,
        End::Gone(key) => {
            chain.cancel();
            shard.stats.client_aborts.add(1);
            let status = facts.status;
            facts.note(Failure::of(key));
            if status != 0 {
                // The backend had answered: its status stays (contract request-lifecycle 9.6).
                facts.status = status;
            }
            Outcome {
                after: After::Abort,
                used: 0,
            }
        }
        End::BadRequest(error) => {
            chain.cancel();
            shard.stats.request_errors.add(1);
            facts.status = 400;
            facts.error_message = Some(error);
            Outcome {
                after: Box::pin(connection.refuse(400)).await,
                used: 0,
            }
        }
    };
    let received = context.bytes.len() as u64 + facts.request_body_bytes;
    connection.input.last_was_large = BufferPool::is_large(received);
    record(context, &mut chain, identifier.get(), uri, facts);
    chain.recycle();
    outcome
}

impl ClientBody {
    /// Bytes of what came with the head that belong to this request.
    fn used(self) -> usize {
        match self {
            Self::Unread | Self::Broken => 0,
            Self::Read(used) => used,
        }
    }
}

/// Reads the request's body into memory and goes on.
async fn buffer<'a>(
    connection: &mut Connection,
    context: &Context<'_>,
    chain: &mut Chain<'a>,
    client: &mut ClientBody,
    body: &mut [u8],
    facts: &mut Facts,
) -> Result<Next, End> {
    let shard = context.shard;
    if *client != ClientBody::Unread {
        // It went to a backend, or broke off: there is none to be had.
        chain.exchange.request.body = Body::None;
        return Ok(chain.answer(Answer::Done));
    }
    let due_ms = chain.due_ms();
    let limit = context.settings.body_bytes_max;
    // A policy may allow less than the gateway.
    let own_limit = match (&chain.exchange.body_limit, context.head.body) {
        (Some(own), RequestBody::Chunked) => usize::try_from(own.bytes_max).ok(),
        _ => None,
    };
    let own_limit = own_limit.filter(|own| *own < limit);
    *client = ClientBody::Broken;
    let read = {
        let read = pin!(body::read(
            connection,
            context.head,
            body,
            own_limit.unwrap_or(limit)
        ));
        drive::within(shard, due_ms, read).await
    };
    match read {
        None => Ok(chain.time_out()),
        Some(BodyEnd::Complete { bytes, used }) => {
            *client = ClientBody::Read(used);
            connection.deadline.clear();
            connection.input.holds_next = used < body.len();
            facts.request_body_bytes = bytes.len() as u64;
            chain.exchange.request.body = Body::Buffered(bytes);
            Ok(chain.answer(Answer::Done))
        }
        Some(BodyEnd::TooLarge { untouched }) => {
            if untouched {
                *client = ClientBody::Unread;
            }
            Ok(match own_limit {
                Some(_) => chain.exceed(),
                None => chain.answer(Answer::TooLarge(limit as u64)),
            })
        }
        Some(BodyEnd::Gone) => Err(End::Gone(ErrorKey::ClientAbortedDuringRequestError)),
        Some(BodyEnd::BadChunk(error)) => Err(End::BadRequest(error.to_string().into())),
    }
}

/// Meets a need that has nothing to do with bodies; `None` when the client went away meanwhile.
async fn wait<'a>(
    connection: &mut Connection,
    chain: &mut Chain<'a>,
    need: Need,
    client: ClientBody,
) -> Option<Next> {
    let shard = chain.shard;
    if chain.exchange.request.body.is_streaming() || client == ClientBody::Broken {
        // The client has more to send than is read now, so its silence says nothing.
        return Some(chain.wait(need).await);
    }
    let Connection { reader, input, .. } = connection;
    let waiting = pin!(chain.wait(need));
    let watching = pin!(watch(shard, reader, input));
    match race(waiting, watching).await {
        Either::First(next) => Some(next),
        Either::Second(()) => None,
    }
}

/// The ids to answer with. The client identifier is there once security has let the request in (contract request-lifecycle 5.6).
fn identity<'i, 'a: 'i>(
    context: &Context<'a>,
    chain: &Chain<'a>,
    subscription: &'i OnceCell<Cow<'a, str>>,
    identifier: &'i OnceCell<ClientIdentifier<'i>>,
    connection: &mut Connection,
) -> Identity<'i> {
    let known = chain.run.is_admitted().then(|| {
        let subscription = subscription.get_or_init(|| chain.exchange.subscription_id.clone());
        identifier.get_or_init(|| {
            ClientIdentifier::of(
                context.settings,
                context.head,
                context.bytes,
                Some(&**subscription),
                (context.remote, context.peer),
                &mut connection.peer_hash,
                context.transaction_id,
            )
        })
    });
    Identity {
        settings: context.settings,
        transaction_id: context.transaction_id,
        request_id: context.request_id,
        client_identifier: known
            .filter(|_| context.deployed.api.engine != Engine::V2Legacy)
            .map(ClientIdentifier::sent),
    }
}

/// Counts and reports the exchange.
fn record(
    context: &Context<'_>,
    chain: &mut Chain<'_>,
    identifier: Option<&ClientIdentifier<'_>>,
    uri: &[u8],
    facts: &mut Facts,
) {
    if let Some(failure) = chain.exchange.failure.take()
        && facts.error_key.is_empty()
        && facts.error_message.is_none()
    {
        // What was sent may differ from the failure: a response template has its own status.
        let status = facts.status;
        facts.note(*failure);
        facts.status = status;
    }
    let exchange = &chain.exchange;
    let client_identifier =
        identifier.map(|identifier| identifier.reported(&exchange.subscription_id));
    let plan_id = match exchange.plan {
        Some(plan) => &*plan.id,
        // Security was left out (contract request-lifecycle 5.6).
        None if chain.run.is_admitted() => "1",
        None => "",
    };
    let subject = Subject {
        plan_id,
        application_id: &exchange.application_id,
        subscription_id: &exchange.subscription_id,
        client_identifier: client_identifier.as_deref().unwrap_or_default(),
        security_type: exchange.security_type,
        security_token: &exchange.security_token,
        endpoint: uri,
        user: exchange.user.as_deref().unwrap_or_default(),
        mapped_path: exchange.mapped_path.unwrap_or_default(),
        warnings: Warnings::of(&exchange.warnings),
        ..context.subject()
    };
    context.finish(facts, &subject);
}
