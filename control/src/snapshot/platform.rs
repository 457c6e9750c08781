//! What surrounds the APIs of an environment, shared by them (contract sync 5.4).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use turnpike_core::snapshot::{NodeFacts, Platform};

use crate::definition::OrganizationFlows;

type Dictionary = BTreeMap<Box<str>, Box<str>>;

/// Organizations, dictionaries, and the platforms made of them.
#[derive(Debug, Default)]
pub(super) struct Platforms {
    node: NodeFacts,
    organizations: HashMap<Box<str>, OrganizationFlows>,
    /// Dictionaries by environment and key.
    dictionaries: HashMap<Box<str>, BTreeMap<Box<str>, Dictionary>>,
    /// What was made since the last change, by organization, environment, and whether it is for the old engine.
    made: HashMap<(Box<str>, Box<str>, bool), Arc<Platform>>,
}

impl Platforms {
    pub(super) fn set_node(&mut self, node: NodeFacts) {
        self.node = node;
        self.made.clear();
    }

    pub(super) fn set_organization(&mut self, id: &str, flows: OrganizationFlows) {
        self.organizations.insert(id.into(), flows);
        self.made.clear();
    }

    /// Whether it was there.
    pub(super) fn drop_organization(&mut self, id: &str) -> bool {
        let dropped = self.organizations.remove(id).is_some();
        if dropped {
            self.made.clear();
        }
        dropped
    }

    /// Whether that changes anything.
    pub(super) fn set_dictionary(
        &mut self,
        environment_id: &str,
        key: &str,
        entries: Option<Dictionary>,
    ) -> bool {
        let of_environment = self.dictionaries.entry(environment_id.into()).or_default();
        if of_environment.get(key) == entries.as_ref() {
            return false;
        }
        match entries {
            Some(entries) => of_environment.insert(key.into(), entries),
            None => of_environment.remove(key),
        };
        // Only this environment's APIs see it; the others keep what they share.
        self.made
            .retain(|(_, environment, _), _| **environment != *environment_id);
        true
    }

    /// The platform of an API.
    pub(super) fn of(
        &mut self,
        organization_id: &str,
        environment_id: &str,
        is_legacy: bool,
    ) -> Arc<Platform> {
        let place = (organization_id.into(), environment_id.into(), is_legacy);
        if let Some(made) = self.made.get(&place) {
            return Arc::clone(made);
        }
        let platform = Arc::new(Platform {
            flows: self
                .organization(organization_id)
                .map(|flows| {
                    if is_legacy {
                        flows.legacy.clone()
                    } else {
                        flows.reactive.clone()
                    }
                })
                .unwrap_or_default(),
            dictionaries: self
                .dictionaries
                .get(environment_id)
                .cloned()
                .unwrap_or_default(),
            node: self.node.clone(),
        });
        self.made.insert(place, Arc::clone(&platform));
        platform
    }

    /// The flows of an organization. An API whose organization is not known belongs to the only one there is.
    fn organization(&self, id: &str) -> Option<&OrganizationFlows> {
        if id.is_empty() && self.organizations.len() == 1 {
            return self.organizations.values().next();
        }
        self.organizations.get(id)
    }
}
