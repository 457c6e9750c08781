//! The chain of one exchange, with the time it has.

use std::pin::{Pin, pin};
use std::time::Duration;

use turnpike_core::error::{ErrorKey, Failure};
use turnpike_core::exchange::{Body, Exchange};
use turnpike_core::flow::{Next, Run, Surroundings};
use turnpike_core::need::{Answer, Need};
use turnpike_core::snapshot::DeployedApi;

use crate::driver::{Clock, Either, race, sleep};
use crate::worker::Shard;

/// A run over its exchange. Every turn gets the time, and what it wants done without waiting is sent off afterwards.
pub(super) struct Chain<'a> {
    pub(super) shard: &'a Shard,
    pub(super) run: Run<'a>,
    pub(super) exchange: Exchange<'a>,
    /// Status of the backend's last response; 0 when there is none.
    pub(super) received_status: u16,
    /// The backend's last response had no body (HEAD, 204, 304), and announced this length for it.
    pub(super) bodiless: Option<Option<u64>>,
    /// When the request came, on the worker's clock.
    started_ms: u64,
    /// When the request timeout was first found to be over its part.
    ending_ms: Option<u64>,
}

impl<'a> Chain<'a> {
    pub(super) fn new(shard: &'a Shard, deployed: &'a DeployedApi, started_ms: u64) -> Self {
        let exchange = Exchange::new(shard.take_memory(), deployed);
        exchange.seed.set(shard.next_seed());
        Self {
            run: Run::new(Surroundings {
                security: &shard.settings.api_key,
                meter: Some(&shard.meter),
            }),
            shard,
            exchange,
            received_status: 0,
            bodiless: None,
            started_ms,
            ending_ms: None,
        }
    }

    pub(super) fn start(&mut self) -> Next {
        self.turn(Run::start)
    }

    pub(super) fn answer(&mut self, answer: Answer) -> Next {
        self.turn(|run, exchange| run.answer(exchange, answer))
    }

    pub(super) fn called(&mut self) -> Next {
        self.turn(Run::called)
    }

    pub(super) fn time_out(&mut self) -> Next {
        self.turn(Run::time_out)
    }

    pub(super) fn give_up(&mut self, failure: Failure) -> Next {
        self.turn(|run, exchange| run.give_up(exchange, failure))
    }

    /// The request's body has more bytes than its limit allows, wherever the chain is.
    pub(super) fn exceed(&mut self) -> Next {
        let failure = match self.exchange.body_limit.take() {
            Some(limit) => limit.failure,
            None => Failure::of(ErrorKey::GatewayRequestBodyTooLarge),
        };
        self.give_up(failure)
    }

    /// The exchange ends without an answer.
    pub(super) fn cancel(&mut self) {
        self.run.cancel(&mut self.exchange);
        self.send_off();
    }

    fn turn(&mut self, go: impl FnOnce(&mut Run<'a>, &mut Exchange<'a>) -> Next) -> Next {
        self.exchange.now_ms = Clock::wall_ms();
        let next = go(&mut self.run, &mut self.exchange);
        self.send_off();
        next
    }

    fn send_off(&mut self) {
        for errand in self.exchange.detached.drain(..) {
            self.shard.desk.send_off(errand);
        }
    }

    /// When the chain's time is over, on the worker's clock: `http.requestTimeout`, and at least the grace delay for the organization's
    /// response flows (contract request-lifecycle 6).
    pub(super) fn due_ms(&mut self) -> u64 {
        let settings = &self.shard.settings;
        if settings.request_timeout_ms == 0 {
            return u64::MAX;
        }
        let due_ms = self.started_ms + settings.request_timeout_ms;
        if self.run.is_timed() {
            return due_ms;
        }
        let ending_ms = *self
            .ending_ms
            .get_or_insert_with(|| self.shard.clock.now_ms());
        due_ms.max(ending_ms + settings.timeout_grace_ms)
    }

    /// Waits for a pause or an errand, and goes on.
    pub(super) async fn wait(&mut self, need: Need) -> Next {
        let due_ms = self.due_ms();
        let met = match need {
            Need::Pause(0) => Some(Answer::Done),
            Need::Pause(pause_ms) => {
                let pause = async {
                    sleep(Duration::from_millis(pause_ms)).await;
                    Answer::Done
                };
                within(self.shard, due_ms, pin!(pause)).await
            }
            Need::Errand(errand) => match self.shard.desk.send(*errand) {
                Some(waiting) => within(self.shard, due_ms, pin!(waiting.answer())).await,
                None => Some(Answer::Refused),
            },
            Need::RequestBody | Need::ResponseBody | Need::SmallResponseBody { .. } => {
                Some(Answer::Done)
            }
        };
        match met {
            Some(answer) => self.answer(answer),
            None => self.time_out(),
        }
    }

    /// Gives the memory back.
    pub(super) fn recycle(self) {
        let mut exchange = self.exchange;
        // Bodies may be large, and nobody knows when the memory is used next.
        exchange.request.body = Body::None;
        exchange.response.body = Body::None;
        self.shard.put_memory(exchange.into_memory());
    }
}

/// What a future gives, if it does until `due_ms` on the worker's clock.
pub(super) async fn within<F: Future>(
    shard: &Shard,
    due_ms: u64,
    future: Pin<&mut F>,
) -> Option<F::Output> {
    if due_ms == u64::MAX {
        return Some(future.await);
    }
    let left_ms = due_ms.saturating_sub(shard.clock.now_ms());
    // Pinned where they are made: a combinator that takes them over holds them twice.
    let limit = pin!(sleep(Duration::from_millis(left_ms)));
    match race(future, limit).await {
        Either::First(output) => Some(output),
        Either::Second(()) => None,
    }
}
