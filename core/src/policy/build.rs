//! What a policy is built from.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Policy, Resource};
use crate::need::documents::Documents;
use crate::quota::Quotas;

/// Why a configuration cannot be used. The deployment is refused with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {reason}")]
pub struct ConfigError {
    /// Path inside the configuration, such as `addHeaders[0].name`; empty for the whole.
    pub member: String,
    /// What was expected and what was found.
    pub reason: String,
}

impl ConfigError {
    /// An error about a member.
    pub fn new(member: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            member: member.into(),
            reason: reason.into(),
        }
    }
}

/// What the deployment knows when a step is built.
pub struct Builder<'a> {
    /// `configuration` of the step; [`Value::Null`] when absent, which means all defaults.
    pub configuration: &'a Value,
    /// Whether the API runs on the old V2 engine, where some policies differ.
    pub legacy_engine: bool,
    /// Resources of the API that are enabled, by name.
    pub resources: &'a HashMap<Box<str>, Resource>,
    /// What the gateway lends to policies.
    pub gateway: &'a GatewayParts,
}

/// What the gateway lends to policies, made once per process.
#[derive(Default)]
pub struct GatewayParts {
    /// Settings below `policy.` and other free settings that policies read, by their full name.
    pub settings: HashMap<String, String>,
    /// Environment variables that policies may read (`AWS_…`).
    pub environment: HashMap<String, String>,
    /// Counters of limits.
    pub quotas: Arc<Quotas>,
    /// Documents that policies fetch and share, such as key sets.
    pub documents: Arc<Documents>,
}

// Settings and variables hold keys and passwords: only their names are shown.
impl fmt::Debug for GatewayParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayParts")
            .field("settings", &self.settings.keys())
            .field("environment", &self.environment.keys())
            .finish()
    }
}

impl Builder<'_> {
    /// The configuration as `T`; an absent one is `T`'s default through its serde defaults.
    pub fn configuration<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        read(self.configuration)
    }

    /// A member of the configuration as `T`, which reads an absent one from an empty object. For policies that share all but its name.
    pub fn member<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        let member = self.configuration.get(name).unwrap_or(&Value::Null);
        read(member).map_err(|error| {
            let separator = if error.member.is_empty() || error.member.starts_with('[') {
                ""
            } else {
                "."
            };
            ConfigError::new(format!("{name}{separator}{}", error.member), error.reason)
        })
    }
}

/// Reads a configuration, [`Value::Null`] as an empty object.
pub(super) fn read<T: DeserializeOwned>(configuration: &Value) -> Result<T, ConfigError> {
    let empty = Value::Object(serde_json::Map::new());
    let value = if configuration.is_null() {
        &empty
    } else {
        configuration
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let member = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        ConfigError::new(member, error.into_inner().to_string())
    })
}

/// Builds a policy from its configuration.
pub type Build = fn(&Builder<'_>) -> Result<Arc<dyn Policy>, ConfigError>;
