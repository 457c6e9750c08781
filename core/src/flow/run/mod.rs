//! One exchange through its chain: phases, flows, steps, wrappers, failures (contract request-lifecycle 3).
//!
//! [`Run`] is a machine that a worker drives: it goes as far as it can without waiting, then says what comes [`Next`]. It never asks for the
//! time and never touches a socket.
//!
//! ```text
//!  organization ─▶ CORS ─▶ security ─▶ plan ─▶ API ─▶ wrappers ─▶ Next::Call ─▶ wrappers ─▶ plan ─▶ API ─▶ CORS ─▶ organization ─▶ Next::Respond
//!    (request)                       (request)       (before)      worker       (after)       (response)            (response)
//!        └──────────── failure anywhere: the failure becomes the response ──────────────────────────────────▶ CORS ─┘
//! ```

mod call;

use super::cors::Preflight;
use super::{Flow, FlowMode, FlowSet, Step, best_match, failure};
use crate::definition::Engine;
use crate::el::{ElErrorKind, Template};
use crate::error::{ErrorKey, Failure};
use crate::exchange::{Carry, Exchange};
use crate::need::{Answer, Need};
use crate::policy::{Phase, Stage, Verdict};
use crate::security::{ApiKeySettings, Selection, Selector};

/// What the worker does next.
#[derive(Debug)]
pub enum Next {
    /// Meet the need, then [`Run::answer`].
    Await(Need),
    /// Call the backend, set `exchange.call` (and `exchange.response`, when there is one), then [`Run::called`].
    Call,
    /// Send `exchange.response`. The chain is over.
    Respond,
}

/// How a step ended, for its counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// It let the exchange go on, or waits.
    Passed,
    /// It ended the chain without a failure.
    Interrupted,
    /// It failed the exchange.
    Failed,
}

/// Counts what steps do. Implemented by the worker, who knows the time.
pub trait Meter {
    /// A step of this policy (index in the registry) begins or goes on.
    fn begin(&self, policy_index: usize);
    /// It has returned. `ended` says whether it is over, or waits.
    fn end(&self, policy_index: usize, outcome: StepOutcome, ended: bool);
}

/// What a run sees besides its exchange.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Settings of the security chain.
    pub security: &'a ApiKeySettings,
    /// Counters of the steps.
    pub meter: Option<&'a dyn Meter>,
}

/// The three levels that have flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Organization = 0,
    Plan = 1,
    Api = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flows(Level, Phase),
    Preflight,
    Security,
    Prepare,
    BeforeCall,
    Calling,
    AfterCall,
    Finish,
    Over,
}

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nobody,
    /// The security chain.
    Security,
    /// The current step, which has not begun: its body comes first.
    Body,
    /// The current step, which is resumed.
    Step(Stage),
    /// A pause before the call is made again.
    Again,
}

/// The flows of a level that were selected or ran, as bits.
#[derive(Debug, Default)]
struct Chosen {
    resolved: bool,
    first: u64,
    more: Vec<u64>,
}

impl Chosen {
    fn insert(&mut self, index: usize) {
        match index / 64 {
            0 => self.first |= 1 << index,
            word => {
                if self.more.len() < word {
                    self.more.resize(word, 0);
                }
                self.more[word - 1] |= 1 << (index % 64);
            }
        }
    }

    fn contains(&self, index: usize) -> bool {
        match index / 64 {
            0 => self.first & 1 << index != 0,
            word => self
                .more
                .get(word - 1)
                .is_some_and(|bits| bits & 1 << (index % 64) != 0),
        }
    }

    fn is_empty(&self) -> bool {
        self.first == 0 && self.more.iter().all(|bits| *bits == 0)
    }
}

struct Wrapper<'a> {
    step: &'a Step,
    carry: Carry,
}

/// The chain of one exchange.
pub struct Run<'a> {
    surroundings: Surroundings<'a>,
    state: State,
    waiting: Waiting,
    selector: Selector,
    /// Per level: the flows that ran in the request phase, or were selected up front.
    chosen: [Chosen; 3],
    /// Place inside the current level and phase.
    flow: usize,
    step: usize,
    /// Whether the current flow was entered: its condition holds.
    entered: bool,
    wrappers: Vec<Wrapper<'a>>,
    /// Wrappers from here on have been passed on the way in.
    depth: usize,
    /// A preflight that runs policies: no security, and an empty 200 takes the backend's place.
    is_preflight: bool,
    /// The error chain has run once.
    failed: bool,
    /// Security is passed.
    admitted: bool,
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("state", &self.state)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

/// How far a walk over flows came.
enum Walk {
    Done,
    Await(Need),
    Interrupt,
    Fail(Box<Failure>),
}

impl<'a> Run<'a> {
    /// A run that has not begun.
    pub fn new(surroundings: Surroundings<'a>) -> Self {
        Self {
            surroundings,
            state: State::Flows(Level::Organization, Phase::Request),
            waiting: Waiting::Nobody,
            selector: Selector::default(),
            chosen: Default::default(),
            flow: 0,
            step: 0,
            entered: false,
            wrappers: Vec::new(),
            depth: 0,
            is_preflight: false,
            failed: false,
            admitted: false,
        }
    }

    /// Begins.
    pub fn start(&mut self, exchange: &mut Exchange<'a>) -> Next {
        self.advance(exchange)
    }

    /// Goes on with the answer to [`Next::Await`].
    pub fn answer(&mut self, exchange: &mut Exchange<'a>, answer: Answer) -> Next {
        match std::mem::replace(&mut self.waiting, Waiting::Nobody) {
            Waiting::Security => {
                let selection = self
                    .selector
                    .resume(exchange, self.surroundings.security, answer);
                if let Some(next) = self.selected(exchange, selection) {
                    return next;
                }
            }
            Waiting::Body => {
                if let Answer::TooLarge(limit) = answer {
                    let failure = self.too_large(limit);
                    self.fail(exchange, Box::new(failure));
                }
            }
            Waiting::Step(stage) => {
                let verdict = match answer {
                    Answer::TooLarge(limit) => Verdict::fail(self.too_large(limit)),
                    answer => self.resume(exchange, stage, answer),
                };
                if let Some(next) = self.judge(exchange, stage, verdict) {
                    return next;
                }
            }
            Waiting::Again => self.state = State::BeforeCall,
            Waiting::Nobody => {}
        }
        self.advance(exchange)
    }

    /// Goes on after [`Next::Call`]: `exchange.call` says how it went.
    pub fn called(&mut self, exchange: &mut Exchange<'a>) -> Next {
        if self.state == State::Calling {
            self.state = State::AfterCall;
        }
        self.advance(exchange)
    }

    /// The request's time is over, wherever the run is: 504, then the organization's response flows.
    pub fn time_out(&mut self, exchange: &mut Exchange<'a>) -> Next {
        self.give_up(exchange, Failure::of(ErrorKey::RequestTimeout))
    }

    /// The exchange cannot go on, wherever the run is (a body broke off while it was awaited): the failure, then the organization's
    /// response flows.
    pub fn give_up(&mut self, exchange: &mut Exchange<'a>, failure: Failure) -> Next {
        self.cancel(exchange);
        self.waiting = Waiting::Nobody;
        self.fail(exchange, Box::new(failure));
        self.advance(exchange)
    }

    /// Whether security has let the request in, or was left out: the consumer is known.
    pub fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// Whether the request timeout still applies: it does up to the organization's response flows.
    pub fn is_timed(&self) -> bool {
        !matches!(
            self.state,
            State::Flows(Level::Organization, Phase::Response) | State::Over
        )
    }

    /// The exchange is given up: what wrappers hold is given back. Those that the call has left behind hold nothing.
    pub fn cancel(&mut self, exchange: &mut Exchange<'a>) {
        let left = match self.state {
            State::AfterCall => self.depth,
            _ => 0,
        };
        let waits = matches!(
            self.waiting,
            Waiting::Step(Stage::BeforeCall | Stage::AfterCall)
        );
        if waits && let Some(wrapper) = self.wrappers.get_mut(self.depth) {
            wrapper.carry = exchange.carry.take();
        }
        for wrapper in self.wrappers.drain(..).skip(left) {
            wrapper.step.policy.cancel_call(wrapper.carry);
        }
        self.depth = 0;
    }

    fn advance(&mut self, exchange: &mut Exchange<'a>) -> Next {
        loop {
            match self.state {
                State::Flows(level, phase) => match self.walk(exchange, level, phase) {
                    Walk::Done => self.leave(exchange, level, phase),
                    Walk::Await(need) => return Next::Await(need),
                    Walk::Interrupt => self.interrupt(exchange, level, phase),
                    Walk::Fail(failure) => self.fail(exchange, failure),
                },
                State::Preflight => self.preflight(exchange),
                State::Security => {
                    let selection = self.selector.advance(exchange, self.surroundings.security);
                    if let Some(next) = self.selected(exchange, selection) {
                        return next;
                    }
                }
                State::Prepare => {
                    self.admitted = true;
                    super::path_parameters::extract(exchange);
                    self.enter(State::Flows(Level::Plan, Phase::Request));
                }
                State::BeforeCall => {
                    if let Some(next) = self.before_call(exchange) {
                        return next;
                    }
                }
                State::Calling => return Next::Call,
                State::AfterCall => {
                    if let Some(next) = self.after_call(exchange) {
                        return next;
                    }
                }
                State::Finish => {
                    if let Some(cors) = &exchange.api.processing.cors {
                        cors.simple(exchange);
                    }
                    // The legacy engine ends a failed exchange here (contract request-lifecycle 3.3).
                    let ends = self.failed && exchange.api.engine == Engine::V2Legacy;
                    self.enter(if ends {
                        State::Over
                    } else {
                        State::Flows(Level::Organization, Phase::Response)
                    });
                }
                State::Over => {
                    if exchange.response.status == 0 {
                        exchange.response.status = 200;
                    }
                    return Next::Respond;
                }
            }
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.flow = 0;
        self.step = 0;
        self.entered = false;
    }

    /// Where the exchange goes when a level's flows are through.
    fn leave(&mut self, exchange: &mut Exchange<'a>, level: Level, phase: Phase) {
        let legacy = exchange.api.engine == Engine::V2Legacy;
        let next = match (level, phase) {
            (Level::Organization, Phase::Request) => State::Preflight,
            (Level::Plan, Phase::Request) => State::Flows(Level::Api, Phase::Request),
            (Level::Api, Phase::Request) => {
                if exchange.api.processing.match_required
                    && self.chosen[Level::Plan as usize].is_empty()
                    && self.chosen[Level::Api as usize].is_empty()
                {
                    let failure = Failure::of(ErrorKey::FlowExecutionFlowMatchedFailure);
                    return self.fail(exchange, Box::new(failure));
                }
                if let Some(step) = &exchange.api.processing.redirects {
                    // Further in than what any policy asked for.
                    self.wrappers.insert(0, Wrapper { step, carry: None });
                }
                self.depth = self.wrappers.len();
                State::BeforeCall
            }
            // The legacy engine takes the two in the other order.
            (Level::Plan, Phase::Response) if legacy => State::Finish,
            (Level::Api, Phase::Response) if legacy => State::Flows(Level::Plan, Phase::Response),
            (Level::Plan, Phase::Response) => State::Flows(Level::Api, Phase::Response),
            (Level::Api, Phase::Response) => State::Finish,
            (Level::Organization, Phase::Response) => State::Over,
        };
        self.enter(next);
    }

    /// A plain interruption skips to the last processors; in the organization's response flows it only ends those.
    fn interrupt(&mut self, exchange: &mut Exchange<'a>, level: Level, phase: Phase) {
        self.cancel(exchange);
        self.enter(match (level, phase) {
            (Level::Organization, Phase::Response) => State::Over,
            _ => State::Finish,
        });
    }

    /// The failure becomes the response. One in the organization's response flows is answered, and ends the exchange.
    fn fail(&mut self, exchange: &mut Exchange<'a>, failure: Box<Failure>) {
        self.cancel(exchange);
        let at_the_end = matches!(
            self.state,
            State::Flows(Level::Organization, Phase::Response) | State::Over
        );
        failure::answer(exchange, failure);
        self.failed = true;
        self.enter(if at_the_end {
            State::Over
        } else {
            State::Finish
        });
    }

    fn too_large(&self, limit: u64) -> Failure {
        let in_response = matches!(
            self.state,
            State::Flows(_, Phase::Response) | State::AfterCall
        );
        Failure::of(if in_response {
            ErrorKey::GatewayResponseBodyTooLarge
        } else {
            ErrorKey::GatewayRequestBodyTooLarge
        })
        .because(format!(
            "a policy needs the body in memory, and it is larger than {limit} bytes (gateway.policies.bodyBytesMax)"
        ))
    }

    fn preflight(&mut self, exchange: &mut Exchange<'a>) {
        let preflight = match &exchange.api.processing.cors {
            Some(cors) => cors.preflight(exchange),
            None => Preflight::Ordinary,
        };
        match preflight {
            Preflight::Ordinary => self.enter(State::Security),
            Preflight::Answered => {
                exchange.response.status = 200;
                self.enter(State::Finish);
            }
            Preflight::RunPolicies => {
                self.is_preflight = true;
                exchange.subscription_id = exchange.request.remote.clone().into();
                self.enter(State::Prepare);
            }
            Preflight::Refused => {
                let failure = Failure::of(ErrorKey::CorsPreflightFailed);
                self.fail(exchange, Box::new(failure));
            }
        }
    }

    /// What the security chain's word leads to; `Some` when the worker is needed.
    fn selected(&mut self, exchange: &mut Exchange<'a>, selection: Selection) -> Option<Next> {
        match selection {
            Selection::Granted => self.enter(State::Prepare),
            Selection::Failed(failure) => self.fail(exchange, failure),
            Selection::Interrupt => self.enter(State::Finish),
            Selection::Await(need) => {
                self.waiting = Waiting::Security;
                return Some(Next::Await(need));
            }
        }
        None
    }

    fn flows(exchange: &Exchange<'a>, level: Level) -> Option<&'a FlowSet> {
        match level {
            Level::Organization => Some(&exchange.platform.flows),
            Level::Plan => exchange.plan.map(|plan| &plan.flows),
            Level::Api => Some(&exchange.api.processing.flows),
        }
    }

    fn walk(&mut self, exchange: &mut Exchange<'a>, level: Level, phase: Phase) -> Walk {
        let Some(set) = Self::flows(exchange, level).filter(|set| !set.is_empty()) else {
            return Walk::Done;
        };
        let legacy = exchange.api.engine == Engine::V2Legacy;
        if phase == Phase::Response && legacy && self.flow == 0 && !self.entered {
            self.chosen[level as usize] = Chosen::default();
        }
        let up_front = set.mode == FlowMode::BestMatch || exchange.api.engine.is_v2();
        if !self.chosen[level as usize].resolved && up_front {
            if let Some(need) = self.body_for_conditions(exchange, set) {
                return Walk::Await(need);
            }
            if let Err(failure) = self.select_up_front(exchange, set, level) {
                return Walk::Fail(failure);
            }
        }
        while let Some(flow) = set.flows.get(self.flow) {
            if !self.entered {
                match self.enter_flow(exchange, flow, level) {
                    Ok(true) => {
                        self.entered = true;
                    }
                    Ok(false) => {
                        self.flow += 1;
                        continue;
                    }
                    Err(walk) => return walk,
                }
            }
            if legacy {
                // Part of the keys of counters on the legacy engine (contract policies 6.3).
                let path = flow.path.as_str().to_owned();
                exchange.set_attribute("gravitee.attribute.resolved-path", path);
            }
            match self.walk_steps(exchange, flow.steps(phase), phase) {
                Walk::Done => {
                    self.flow += 1;
                    self.step = 0;
                    self.entered = false;
                }
                other => return other,
            }
        }
        // What ran is replayed in the response phase, without asking the conditions again.
        self.chosen[level as usize].resolved = true;
        Walk::Done
    }

    /// Conditions that are all asked together may read the request body.
    fn body_for_conditions(&mut self, exchange: &Exchange<'a>, set: &FlowSet) -> Option<Need> {
        let needed = set
            .flows
            .iter()
            .filter_map(|flow| flow.condition.as_ref())
            .any(|condition| condition.needs().request_body);
        if needed && exchange.request.body.is_streaming() {
            self.waiting = Waiting::Body;
            return Some(Need::RequestBody);
        }
        None
    }

    fn select_up_front(
        &mut self,
        exchange: &mut Exchange<'a>,
        set: &'a FlowSet,
        level: Level,
    ) -> Result<(), Box<Failure>> {
        let mut matching = Vec::new();
        for (index, flow) in set.flows.iter().enumerate() {
            if matches_request(flow, exchange) && holds(flow.condition.as_ref(), exchange)? {
                matching.push(index);
            }
        }
        let chosen = &mut self.chosen[level as usize];
        chosen.resolved = true;
        match set.mode {
            FlowMode::Default => matching.into_iter().for_each(|index| chosen.insert(index)),
            FlowMode::BestMatch => {
                let candidates = matching
                    .into_iter()
                    .map(|index| (index, set.flows[index].path.as_str()));
                if let Some(index) = best_match(candidates, exchange.request.path_info()) {
                    chosen.insert(index);
                }
            }
        }
        Ok(())
    }

    /// Whether the flow at hand runs.
    fn enter_flow(
        &mut self,
        exchange: &mut Exchange<'a>,
        flow: &'a Flow,
        level: Level,
    ) -> Result<bool, Walk> {
        if self.chosen[level as usize].resolved {
            return Ok(self.chosen[level as usize].contains(self.flow));
        }
        if !matches_request(flow, exchange) {
            return Ok(false);
        }
        if let Some(condition) = &flow.condition
            && condition.needs().request_body
            && exchange.request.body.is_streaming()
        {
            self.waiting = Waiting::Body;
            return Err(Walk::Await(Need::RequestBody));
        }
        let runs = holds(flow.condition.as_ref(), exchange).map_err(Walk::Fail)?;
        if runs {
            self.chosen[level as usize].insert(self.flow);
        }
        Ok(runs)
    }

    fn walk_steps(&mut self, exchange: &mut Exchange<'a>, steps: &'a [Step], phase: Phase) -> Walk {
        while let Some(step) = steps.get(self.step) {
            if step.needs.request_body && exchange.request.body.is_streaming() {
                self.waiting = Waiting::Body;
                return Walk::Await(Need::RequestBody);
            }
            if phase == Phase::Response
                && step.needs.response_body
                && exchange.response.body.is_streaming()
            {
                self.waiting = Waiting::Body;
                return Walk::Await(Need::ResponseBody);
            }
            for condition in &step.conditions {
                match holds(Some(condition), exchange) {
                    Ok(true) => {}
                    Ok(false) => {
                        self.step += 1;
                        return self.walk_steps(exchange, steps, phase);
                    }
                    Err(failure) => return Walk::Fail(failure),
                }
            }
            let verdict = self.metered(step, |policy| match phase {
                Phase::Request => policy.on_request(exchange),
                Phase::Response => policy.on_response(exchange),
            });
            match self.after_step(step, phase, verdict) {
                None => {}
                Some(walk) => return walk,
            }
        }
        Walk::Done
    }

    /// Takes a verdict in the request or response phase; `None` goes on with the next step.
    fn after_step(&mut self, step: &'a Step, phase: Phase, verdict: Verdict) -> Option<Walk> {
        match verdict {
            Verdict::Continue | Verdict::Again(_) => self.step += 1,
            Verdict::Wrap(carry) => {
                if phase == Phase::Request {
                    self.wrappers.push(Wrapper { step, carry });
                }
                self.step += 1;
            }
            Verdict::Interrupt => return Some(Walk::Interrupt),
            Verdict::Fail(failure) => return Some(Walk::Fail(failure)),
            Verdict::Await(need) => {
                self.waiting = Waiting::Step(match phase {
                    Phase::Request => Stage::Request,
                    Phase::Response => Stage::Response,
                });
                return Some(Walk::Await(need));
            }
        }
        None
    }

    fn metered(
        &self,
        step: &Step,
        call: impl FnOnce(&dyn crate::policy::Policy) -> Verdict,
    ) -> Verdict {
        let counted = step.policy_index != super::NOT_COUNTED;
        let Some(meter) = self.surroundings.meter.filter(|_| counted) else {
            return call(&*step.policy);
        };
        meter.begin(step.policy_index);
        let verdict = call(&*step.policy);
        let (outcome, ended) = match &verdict {
            Verdict::Continue | Verdict::Wrap(_) | Verdict::Again(_) => (StepOutcome::Passed, true),
            Verdict::Await(_) => (StepOutcome::Passed, false),
            Verdict::Interrupt => (StepOutcome::Interrupted, true),
            Verdict::Fail(_) => (StepOutcome::Failed, true),
        };
        meter.end(step.policy_index, outcome, ended);
        verdict
    }

    /// The step that waits.
    fn current(&self, exchange: &Exchange<'a>, stage: Stage) -> Option<&'a Step> {
        match (stage, self.state) {
            (Stage::Request | Stage::Response, State::Flows(level, phase)) => {
                Self::flows(exchange, level)?
                    .flows
                    .get(self.flow)?
                    .steps(phase)
                    .get(self.step)
            }
            (Stage::BeforeCall | Stage::AfterCall, _) => {
                self.wrappers.get(self.depth).map(|wrapper| wrapper.step)
            }
            _ => None,
        }
    }

    fn resume(&mut self, exchange: &mut Exchange<'a>, stage: Stage, answer: Answer) -> Verdict {
        match self.current(exchange, stage) {
            Some(step) => self.metered(step, |policy| policy.resume(stage, exchange, answer)),
            None => Verdict::Continue,
        }
    }

    /// What a resumed step's word leads to; `Some` when the worker is needed.
    fn judge(
        &mut self,
        exchange: &mut Exchange<'a>,
        stage: Stage,
        verdict: Verdict,
    ) -> Option<Next> {
        match stage {
            Stage::Request | Stage::Response => {
                let State::Flows(level, phase) = self.state else {
                    return None;
                };
                let step = self.current(exchange, stage)?;
                match self.after_step(step, phase, verdict) {
                    None | Some(Walk::Done) => {}
                    Some(Walk::Await(need)) => return Some(Next::Await(need)),
                    Some(Walk::Interrupt) => self.interrupt(exchange, level, phase),
                    Some(Walk::Fail(failure)) => self.fail(exchange, failure),
                }
                None
            }
            Stage::BeforeCall => self.entered_wrapper(exchange, verdict),
            Stage::AfterCall => self.left_wrapper(exchange, verdict),
        }
    }
}

fn matches_request(flow: &Flow, exchange: &Exchange<'_>) -> bool {
    flow.methods.contains(exchange.request.method)
        && flow.path.matches(exchange.request.path_info())
}

/// Whether a condition holds. What cannot be evaluated is a warning and does not hold; what cannot be read fails the request (contract
/// expression-language 7).
fn holds(condition: Option<&Template>, exchange: &mut Exchange<'_>) -> Result<bool, Box<Failure>> {
    let Some(condition) = condition else {
        return Ok(true);
    };
    match condition.eval_bool(&*exchange) {
        Ok(value) => Ok(value.unwrap_or(false)),
        Err(error)
            if error.kind == ElErrorKind::Evaluation && exchange.api.engine != Engine::V2Legacy =>
        {
            exchange.warn(
                "EXPRESSION_EVALUATION_ERROR",
                format!("Unable to execute EL condition {}", condition.source()),
            );
            Ok(false)
        }
        Err(error) => Err(Box::new(
            Failure::internal().because(format!("{}: {error}", condition.source())),
        )),
    }
}
