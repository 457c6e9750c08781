//! Policies made of closures.
#![allow(dead_code, reason = "not every test uses every part")]

use std::fmt;
use std::sync::Arc;

use turnpike_core::exchange::{Carry, Exchange};
use turnpike_core::flow::{Flow, FlowMode, FlowPath, FlowSet, Methods, PathOperator, Step};
use turnpike_core::need::Answer;
use turnpike_core::policy::{BodyNeeds, Phase, Policy, Stage, Verdict};

type Act = Box<dyn Fn(&mut Exchange<'_>) -> Verdict + Send + Sync>;
type Resume = Box<dyn Fn(Stage, &mut Exchange<'_>, Answer) -> Verdict + Send + Sync>;

/// A policy that does nothing until it is told to.
#[derive(Default)]
pub(crate) struct Fake {
    request: Option<Act>,
    response: Option<Act>,
    resume: Option<Resume>,
    before: Option<Act>,
    after: Option<Act>,
    cancel: Option<Box<dyn Fn() + Send + Sync>>,
    request_needs: BodyNeeds,
    response_needs: BodyNeeds,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    pub(crate) fn request(
        mut self,
        act: impl Fn(&mut Exchange<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.request = Some(Box::new(act));
        self
    }

    pub(crate) fn response(
        mut self,
        act: impl Fn(&mut Exchange<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.response = Some(Box::new(act));
        self
    }

    pub(crate) fn resume(
        mut self,
        act: impl Fn(Stage, &mut Exchange<'_>, Answer) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.resume = Some(Box::new(act));
        self
    }

    pub(crate) fn before(
        mut self,
        act: impl Fn(&mut Exchange<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.before = Some(Box::new(act));
        self
    }

    pub(crate) fn after(
        mut self,
        act: impl Fn(&mut Exchange<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.after = Some(Box::new(act));
        self
    }

    pub(crate) fn cancel(mut self, act: impl Fn() + Send + Sync + 'static) -> Self {
        self.cancel = Some(Box::new(act));
        self
    }

    pub(crate) fn needs_request_body(mut self) -> Self {
        self.request_needs.request_body = true;
        self
    }

    pub(crate) fn needs_response_body(mut self) -> Self {
        self.response_needs.response_body = true;
        self
    }

    pub(crate) fn needs_request_body_in_response(mut self) -> Self {
        self.response_needs.request_body = true;
        self
    }
}

fn act(act: &Option<Act>, exchange: &mut Exchange<'_>) -> Verdict {
    act.as_ref().map_or(Verdict::Continue, |act| act(exchange))
}

impl Policy for Fake {
    fn body_needs(&self, phase: Phase) -> BodyNeeds {
        match phase {
            Phase::Request => self.request_needs,
            Phase::Response => self.response_needs,
        }
    }

    fn on_request(&self, exchange: &mut Exchange<'_>) -> Verdict {
        act(&self.request, exchange)
    }

    fn on_response(&self, exchange: &mut Exchange<'_>) -> Verdict {
        act(&self.response, exchange)
    }

    fn before_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        act(&self.before, exchange)
    }

    fn after_call(&self, exchange: &mut Exchange<'_>) -> Verdict {
        act(&self.after, exchange)
    }

    fn resume(&self, stage: Stage, exchange: &mut Exchange<'_>, answer: Answer) -> Verdict {
        self.resume
            .as_ref()
            .map_or(Verdict::Continue, |act| act(stage, exchange, answer))
    }

    fn cancel_call(&self, _carry: Carry) {
        if let Some(cancel) = &self.cancel {
            cancel();
        }
    }
}

/// One flow for every path, with these policies as steps of both phases.
pub(crate) fn flows(policies: Vec<Fake>) -> FlowSet {
    let policies: Vec<Arc<dyn Policy>> = policies
        .into_iter()
        .map(|policy| Arc::new(policy) as Arc<dyn Policy>)
        .collect();
    let steps = |phase| -> Box<[Step]> {
        policies
            .iter()
            .map(|policy| Step::new("", 0, Arc::clone(policy), Vec::new(), phase))
            .collect()
    };
    FlowSet {
        mode: FlowMode::Default,
        flows: [Flow {
            name: "all".into(),
            path: FlowPath::new("/", PathOperator::StartsWith).expect("a path"),
            methods: Methods::ALL,
            condition: None,
            request: steps(Phase::Request),
            response: steps(Phase::Response),
        }]
        .into(),
    }
}
