//! Shared policy groups (contracts sync 5.4, api-definition 3.5): steps that flows take in by the group's id.

use std::collections::HashMap;

use serde_json::{Value, json};
use turnpike_core::policy::Phase;

/// The shared policy groups of every environment, by their cross id and their environment.
#[derive(Debug, Default)]
pub struct SharedPolicyGroups {
    by_id: HashMap<Box<str>, HashMap<Box<str>, Group>>,
}

/// One group.
#[derive(Debug, PartialEq)]
pub(super) struct Group {
    phase: Option<Phase>,
    /// An object with the member `policies`, as it was sent.
    definition: Value,
}

impl Group {
    pub(super) fn is_for(&self, phase: Phase) -> bool {
        self.phase == Some(phase)
    }

    pub(super) fn definition(&self) -> &Value {
        &self.definition
    }
}

impl SharedPolicyGroups {
    /// Registers a group, or replaces it. False when it was there in this very form.
    pub fn insert(
        &mut self,
        id: &str,
        environment_id: &str,
        phase: &str,
        policies: &Value,
    ) -> bool {
        let phase = match phase.trim().to_ascii_uppercase().as_str() {
            "REQUEST" => Some(Phase::Request),
            "RESPONSE" => Some(Phase::Response),
            // The phases of messages, which no proxy has.
            _ => None,
        };
        let group = Group {
            phase,
            definition: json!({ "policies": policies }),
        };
        let of_id = self.by_id.entry(id.into()).or_default();
        if of_id.get(environment_id) == Some(&group) {
            return false;
        }
        of_id.insert(environment_id.into(), group);
        true
    }

    /// Takes a group away; false when it was not there.
    pub fn remove(&mut self, id: &str, environment_id: &str) -> bool {
        let Some(of_id) = self.by_id.get_mut(id) else {
            return false;
        };
        let removed = of_id.remove(environment_id).is_some();
        if of_id.is_empty() {
            self.by_id.remove(id);
        }
        removed
    }

    pub(super) fn get(&self, id: &str, environment_id: &str) -> Option<&Group> {
        self.by_id.get(id)?.get(environment_id)
    }
}
