//! Flows: which steps run for a request, in which order, and what becomes of the exchange (contract request-lifecycle 3, 4, 7, 10).

mod cors;
mod failure;
mod path_parameters;
mod pattern;
mod run;
mod select;
#[cfg(test)]
mod tests;

pub use cors::Cors;
pub use failure::{MediaTemplate, ResponseTemplates, TemplatesOfKey};
pub use path_parameters::{PathMapping, PathParameterSet, PathParameters};
pub use pattern::{FlowPath, Methods, PathOperator, PatternError, full_match};
pub use run::{Meter, Next, Run, StepOutcome, Surroundings};
pub use select::best_match;

use std::sync::Arc;

use crate::el::Template;
use crate::policy::{BodyNeeds, Phase, Policy};

/// The policy index of a step that is not counted under a policy.
pub const NOT_COUNTED: usize = usize::MAX;

/// How the flows of a level are chosen (`flow_mode`, `flowExecution.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlowMode {
    /// Every flow that matches, in order.
    #[default]
    Default,
    /// The one that matches best.
    BestMatch,
}

/// The flows of one level: an organization's, a plan's, or an API's.
#[derive(Debug, Clone, Default)]
pub struct FlowSet {
    /// How they are chosen.
    pub mode: FlowMode,
    /// Enabled flows, in the order of their definition.
    pub flows: Box<[Flow]>,
}

/// One enabled flow.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Name, for messages; may be empty.
    pub name: Box<str>,
    /// Path that it matches.
    pub path: FlowPath,
    /// Methods that it matches.
    pub methods: Methods,
    /// Its condition.
    pub condition: Option<Template>,
    /// Enabled steps of the request phase.
    pub request: Box<[Step]>,
    /// Enabled steps of the response phase.
    pub response: Box<[Step]>,
}

impl Flow {
    /// The steps of a phase.
    pub fn steps(&self, phase: Phase) -> &[Step] {
        match phase {
            Phase::Request => &self.request,
            Phase::Response => &self.response,
        }
    }
}

/// One enabled step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Name, for messages; may be empty.
    pub name: Box<str>,
    /// Index of its policy in [`crate::policy::registry::REGISTRY`], or [`NOT_COUNTED`].
    pub policy_index: usize,
    /// The policy.
    pub policy: Arc<dyn Policy>,
    /// Its conditions, all of which must hold: its own, and that of the shared policy group it came from.
    pub conditions: Box<[Template]>,
    /// Bodies that must be in memory before its conditions are evaluated and it runs.
    pub needs: BodyNeeds,
}

impl Step {
    /// A step of `phase`; its needs are those of the policy and of the conditions.
    pub fn new(
        name: &str,
        policy_index: usize,
        policy: Arc<dyn Policy>,
        conditions: Vec<Template>,
        phase: Phase,
    ) -> Self {
        let needs = conditions
            .iter()
            .fold(policy.body_needs(phase), |needs, condition| {
                needs.and(condition.needs())
            });
        Self {
            name: name.into(),
            policy_index,
            policy,
            conditions: conditions.into_boxed_slice(),
            needs,
        }
    }
}

impl FlowSet {
    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Whether something in the response phase reads the request body, so that it must be kept when it is forwarded.
    pub fn response_needs_request_body(&self) -> bool {
        self.flows.iter().any(|flow| {
            flow.response.iter().any(|step| step.needs.request_body)
                || flow
                    .condition
                    .as_ref()
                    .is_some_and(|condition| condition.needs().request_body)
        })
    }
}
