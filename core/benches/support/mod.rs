//! The API that benches run exchanges of.

use turnpike_core::definition::{Api, Engine, Plan, PlanSecurity, Processing};

/// A plan without rule and flows, named as its id.
pub(crate) fn plan(id: &str, security: PlanSecurity) -> Plan {
    Plan {
        id: id.into(),
        name: id.into(),
        security,
        selection_rule: None,
        flows: Default::default(),
    }
}

/// An API with these plans and this processing, and nothing else.
pub(crate) fn api<const PLANS: usize>(plans: [Plan; PLANS], processing: Processing) -> Api {
    Api {
        id: "api".into(),
        name: "api".into(),
        version: "1".into(),
        environment_id: "DEFAULT".into(),
        organization_id: "DEFAULT".into(),
        engine: Engine::V4,
        deployed_at_ms: 0,
        revision: "1".into(),
        listeners: [].into(),
        plans: plans.into(),
        groups: [].into(),
        analytics: true,
        reject_null_byte: false,
        processing,
    }
}
