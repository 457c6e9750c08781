//! What the synchronizer asks of the side that compiles definitions and publishes snapshots.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::bridge::wire::{ApiKey, Subscription};

/// One publish or start event, decoded.
#[derive(Debug, Clone, Copy)]
pub struct ApiRelease<'a> {
    /// API id.
    pub id: &'a str,
    /// Display name, empty when unknown.
    pub name: &'a str,
    /// `definitionVersion` of the record; anything but V4 is read as V2.
    pub definition_version: Option<&'a str>,
    /// `type` of the record, V4 only.
    pub api_type: Option<&'a str>,
    /// JSON text of the definition.
    pub definition: &'a str,
    /// Environment id, empty when the record names none.
    pub environment_id: &'a str,
    /// Organization id, empty when unknown.
    pub organization_id: &'a str,
    /// Creation of the event, Unix milliseconds.
    pub deployed_at_ms: u64,
    /// Deployment number, empty when absent.
    pub revision: &'a str,
    /// Host names of the environment's access points; a listener path without host is reachable on these only, or on any
    /// host when there are none.
    pub access_hosts: &'a [String],
}

/// What a refusal means for a previous deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// Its sharding tags are not ours: no news for an operator; a previous deployment goes.
    NotForUs,
    /// No plan is left to serve; a previous deployment goes.
    NoPlan,
    /// It cannot be served as it is written; a previous deployment stays.
    Broken,
}

/// Why an API is not deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What it means for a previous deployment.
    pub kind: RefusedKind,
    /// JSON path of the member, and what was expected and found.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What is deployed of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Creation of the event that it came with, Unix milliseconds.
    pub deployed_at_ms: u64,
    /// Its deployment number.
    pub revision: String,
}

/// A plan whose subscriptions must be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribablePlan {
    /// Plan id.
    pub id: String,
    /// Whether it takes API keys.
    pub takes_keys: bool,
}

/// A shared policy group as its event has it.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedPolicyGroup {
    /// `REQUEST`, `RESPONSE`, or a phase of messages.
    pub phase: String,
    /// An array of steps.
    pub policies: Value,
}

/// Compiles APIs into a model of the gateway and publishes that model. Nothing is visible to traffic before
/// [`Self::publish`].
pub trait Deployer {
    /// An API that is ready to be deployed.
    type Compiled;

    /// Compiles a release: parsing, plan and tag filters, everything that can refuse it.
    fn compile(&self, release: &ApiRelease<'_>) -> Result<Self::Compiled, Refused>;

    /// Plans of a compiled API that can be subscribed to.
    fn plans(&self, compiled: &Self::Compiled) -> Vec<SubscribablePlan>;

    /// Puts an API in the place of its previous deployment.
    fn deploy(&mut self, compiled: Self::Compiled);

    /// Registers an accepted subscription, or replaces it.
    fn subscribe(&mut self, subscription: &Subscription);

    /// Takes a subscription away.
    fn unsubscribe(&mut self, subscription_id: &str);

    /// Registers an active key, or replaces it. Subscriptions that it names and that are not registered do not count.
    fn add_key(&mut self, key: &ApiKey);

    /// Takes a key away, by its id.
    fn drop_key(&mut self, key_id: &str);

    /// Takes an API away, and its subscriptions; false when it was not there.
    fn undeploy(&mut self, api_id: &str) -> bool;

    /// What is deployed of an API.
    fn deployed(&self, api_id: &str) -> Option<Deployment>;

    /// Replaces the flows of an organization; with an error those from before stay.
    fn set_organization(&mut self, id: &str, record: &Value) -> Result<(), Refused>;

    /// Takes the flows of an organization away.
    fn drop_organization(&mut self, id: &str);

    /// Replaces a dictionary of an environment, or takes it away.
    fn set_dictionary(
        &mut self,
        environment_id: &str,
        key: &str,
        entries: Option<BTreeMap<Box<str>, Box<str>>>,
    );

    /// Replaces a shared policy group, or takes it away; true when that changes anything. APIs that name it must be compiled again.
    fn set_group(
        &mut self,
        id: &str,
        environment_id: &str,
        group: Option<&SharedPolicyGroup>,
    ) -> bool;

    /// Makes everything since the last call visible to traffic, in one step. Returns the APIs that cannot be served although
    /// they were deployed, by id and with the reason: another API holds their path.
    fn publish(&mut self) -> impl Future<Output = Vec<(String, String)>> + Send;
}
