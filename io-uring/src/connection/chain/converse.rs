//! The backend's response while it is still on its way: its head, the response phase, and its body behind the head that the policies made.

use turnpike_core::error::{ErrorKey, Failure};
use turnpike_core::exchange::Body;
use turnpike_core::flow::Next;
use turnpike_core::http::ResponseBody;
use turnpike_core::need::{Answer, Need};

use super::head::{self, Announced};
use super::{Chain, Context};
use crate::buffer::BufferPool;
use crate::connection::relay::{Begun, Coming, Download, DownloadEnd, NotCollected};
use crate::connection::rewrite::{ClientFraming, Identity};
use crate::upstream::Fault;

/// The direction from the backend to the client, through the chain.
pub(super) struct Converse<'x, 'd, 'a> {
    pub(super) download: Download<'d>,
    pub(super) chain: &'x mut Chain<'a>,
    pub(super) context: &'x Context<'a>,
    pub(super) identity: &'x Identity<'x>,
}

/// How it ended.
pub(super) enum Ended {
    /// The backend's response is through; the chain goes on.
    Next {
        next: Next,
        /// The backend's connection may carry another request.
        reusable: bool,
        /// The response was larger than a small buffer.
        large: bool,
    },
    /// The client got the backend's body, or the backend failed.
    Relayed(DownloadEnd),
}

impl Converse<'_, '_, '_> {
    pub(super) async fn run(&mut self) -> Ended {
        let (piece, head_end) = match self.download.read_head().await {
            Ok(read) => read,
            Err(end) => return Ended::Relayed(end),
        };
        let Self {
            download, chain, ..
        } = self;
        let response = &mut chain.exchange.response;
        response.receive(download.head, &piece.buffer[piece.start..head_end]);
        chain.received_status = download.head.status;
        chain.bodiless =
            (download.head.body == ResponseBody::None).then_some(download.head.announced_length);
        chain.exchange.call = turnpike_core::exchange::Call::Answered;
        let mut next = chain.called();
        let mut received = (piece.end - piece.start) as u64;
        if chain.bodiless.is_some() {
            let reusable = download.is_reusable(piece.end > head_end);
            download.shard.buffers.put(piece.buffer);
            return Ended::Next {
                next,
                reusable,
                large: BufferPool::is_large(received),
            };
        }
        let mut coming = Coming::Untouched(piece, head_end);
        loop {
            if !chain.exchange.response.body.is_streaming() {
                // Something else takes the place of the body: what is left of it ends with its connection.
                return self.leave(next, coming, received);
            }
            let method = self.context.head.method;
            next = match next {
                Next::Respond
                    if !head::may_have_body(method, head::status(&chain.exchange.response)) =>
                {
                    chain.exchange.response.body = Body::None;
                    Next::Respond
                }
                Next::Respond => {
                    return Ended::Relayed(match self.begin(coming) {
                        Ok((out, mut begun, keep_alive)) => {
                            self.download.relay(out, &mut begun, keep_alive).await
                        }
                        Err(end) => end,
                    });
                }
                Next::Call => return self.leave(next, coming, received),
                Next::Await(need @ (Need::ResponseBody | Need::SmallResponseBody { .. })) => {
                    let allowed = self.context.settings.body_bytes_max;
                    let (limit, is_wish) = match need {
                        Need::SmallResponseBody { bytes_max } => (bytes_max.min(allowed), true),
                        _ => (allowed, false),
                    };
                    let due_ms = chain.due_ms();
                    let collected = Box::pin(download.collect(coming, limit, due_ms));
                    let (next, reusable) = match collected.await {
                        Ok((bytes, reusable)) => {
                            received += bytes.len() as u64;
                            chain.exchange.response.body = Body::Buffered(bytes);
                            (chain.answer(Answer::Done), reusable)
                        }
                        Err(NotCollected::TooLarge(rest)) if is_wish => {
                            chain.shard.stats.bodies_not_kept.add(1);
                            coming = rest;
                            next = chain.answer(Answer::Done);
                            continue;
                        }
                        Err(NotCollected::TooLarge(rest)) => {
                            download.discard(rest);
                            (chain.answer(Answer::TooLarge(limit as u64)), false)
                        }
                        Err(NotCollected::Failed(fault)) => (give_up(chain, fault), false),
                    };
                    return Ended::Next {
                        next,
                        reusable,
                        large: BufferPool::is_large(received),
                    };
                }
                // What a step of the response phase reads was kept before the call; what is asked for besides is not there any more.
                Next::Await(Need::RequestBody) => {
                    if chain.exchange.request.body.is_streaming() {
                        chain.exchange.request.body = Body::None;
                    }
                    chain.answer(Answer::Done)
                }
                Next::Await(need) => Box::pin(chain.wait(need)).await,
            };
        }
    }

    fn leave(&self, next: Next, coming: Coming, received: u64) -> Ended {
        self.download.discard(coming);
        Ended::Next {
            next,
            reusable: false,
            large: BufferPool::is_large(received),
        }
    }

    /// The head that the chain made, the backend's body as it goes behind it, and whether the client's connection is kept.
    fn begin(&mut self, coming: Coming) -> Result<(Vec<u8>, Begun, bool), DownloadEnd> {
        let download = &mut self.download;
        let response = &self.chain.exchange.response;
        let (_, version) = (download.request.0, download.request.1);
        let framing = ClientFraming::of(download.head.body, version);
        let keep_alive = download.may_keep_alive(framing) && !head::wants_close(response);
        let mut out = download.shard.buffers.small();
        head::write_client_head(
            &mut out,
            response,
            self.chain.received_status,
            version,
            self.identity,
            Announced::of_stream(download.head.body, version),
            keep_alive,
        );
        download.facts.status = head::status(response);
        let begun = download.begin(coming, framing, &mut out)?;
        Ok((out, begun, keep_alive))
    }
}

/// The backend failed in the middle of a body that a policy waits for.
pub(super) fn give_up(chain: &mut Chain<'_>, fault: Fault) -> Next {
    chain.shard.stats.upstream_errors.add(1);
    if matches!(fault, Fault::RequestTimeout) {
        return chain.time_out();
    }
    let failure = Failure::of(ErrorKey::GatewayClientStreamEndedEarly).because(fault.to_string());
    // The body of the failure takes the place of what has not come.
    chain.give_up(failure)
}
