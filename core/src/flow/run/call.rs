//! The part of a run around the call of the backend: wrappers from the outermost to the innermost, and back.

use super::{FlowSet, Level, Next, Run, Stage, State, Waiting};
use crate::definition::Engine;
use crate::exchange::{Call, Exchange};
use crate::need::Need;
use crate::policy::{Phase, Verdict};

impl<'a> Run<'a> {
    /// From the outermost wrapper (the last that asked) to the backend.
    pub(super) fn before_call(&mut self, exchange: &mut Exchange<'a>) -> Option<Next> {
        if self.depth == self.wrappers.len() {
            if self.is_preflight {
                exchange.response.status = 200;
                exchange.call = Call::Answered;
                self.state = State::AfterCall;
                return None;
            }
            let kept = exchange.request.body.is_streaming()
                && [Level::Organization, Level::Plan, Level::Api]
                    .into_iter()
                    .filter_map(|level| Self::flows(exchange, level))
                    .any(FlowSet::response_needs_request_body);
            if kept {
                self.waiting = Waiting::Body;
                return Some(Next::Await(Need::RequestBody));
            }
        }
        if self.depth == 0 {
            exchange.call = Call::Open;
            self.state = State::Calling;
            return None;
        }
        self.depth -= 1;
        let step = self.wrappers[self.depth].step;
        exchange.carry = self.wrappers[self.depth].carry.take();
        let verdict = self.metered(step, |policy| policy.before_call(exchange));
        self.entered_wrapper(exchange, verdict)
    }

    pub(super) fn entered_wrapper(
        &mut self,
        exchange: &mut Exchange<'a>,
        verdict: Verdict,
    ) -> Option<Next> {
        match verdict {
            Verdict::Await(need) => {
                self.waiting = Waiting::Step(Stage::BeforeCall);
                return Some(Next::Await(need));
            }
            Verdict::Continue | Verdict::Wrap(_) | Verdict::Again(_) => {
                self.wrappers[self.depth].carry = exchange.carry.take();
            }
            Verdict::Interrupt => {
                // This wrapper answers in the backend's place; it is not asked again on the way out.
                self.wrappers[self.depth].carry = exchange.carry.take();
                exchange.call = Call::Answered;
                if exchange.response.status == 0 {
                    exchange.response.status = 200;
                }
                self.depth += 1;
                self.state = State::AfterCall;
            }
            Verdict::Fail(failure) => {
                self.wrappers[self.depth].carry = exchange.carry.take();
                exchange.call = Call::Failed(failure);
                self.depth += 1;
                self.state = State::AfterCall;
            }
        }
        None
    }

    /// From the backend out, wrapper by wrapper, and on to the response phase.
    pub(super) fn after_call(&mut self, exchange: &mut Exchange<'a>) -> Option<Next> {
        if self.depth >= self.wrappers.len() {
            self.wrappers.clear();
            self.depth = 0;
            match std::mem::take(&mut exchange.call) {
                Call::Failed(failure) => self.fail(exchange, failure),
                Call::Answered | Call::Open => {
                    exchange.call = Call::Answered;
                    let first = if exchange.api.engine == Engine::V2Legacy {
                        Level::Api
                    } else {
                        Level::Plan
                    };
                    self.enter(State::Flows(first, Phase::Response));
                }
            }
            return None;
        }
        let step = self.wrappers[self.depth].step;
        exchange.carry = self.wrappers[self.depth].carry.take();
        let verdict = self.metered(step, |policy| policy.after_call(exchange));
        self.left_wrapper(exchange, verdict)
    }

    pub(super) fn left_wrapper(
        &mut self,
        exchange: &mut Exchange<'a>,
        verdict: Verdict,
    ) -> Option<Next> {
        match verdict {
            Verdict::Await(need) => {
                self.waiting = Waiting::Step(Stage::AfterCall);
                return Some(Next::Await(need));
            }
            Verdict::Again(pause_ms) => {
                self.wrappers[self.depth].carry = exchange.carry.take();
                self.depth += 1;
                exchange.response.forget();
                self.state = State::BeforeCall;
                // The wrapper that asked stands in front of the next call, too.
                self.waiting = Waiting::Again;
                return Some(Next::Await(Need::Pause(pause_ms)));
            }
            Verdict::Fail(failure) => {
                exchange.call = Call::Failed(failure);
                self.wrappers[self.depth].carry = exchange.carry.take();
            }
            Verdict::Continue | Verdict::Wrap(_) | Verdict::Interrupt => {
                self.wrappers[self.depth].carry = exchange.carry.take();
            }
        }
        self.depth += 1;
        None
    }
}
