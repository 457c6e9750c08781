//! Resources of an API: what its policies share, by name (contract policies 5.1, 8.2, 8.3).
//!
//! A resource is one file of this module with its `ENTRY`, and one line in [`REGISTRY`]. It is built once per deployment of its API;
//! policies find it in [`Builder::resources`](super::Builder::resources) and ask for the type that they know with [`Resource::get`].

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ConfigError;
use super::build::{GatewayParts, read};

/// What a resource is built from.
pub struct ResourceBuilder<'a> {
    /// Name of the resource, unique in its API.
    pub name: &'a str,
    /// Id of the API: what a resource shares between gateways, it keeps apart by it.
    pub api_id: &'a str,
    /// Its `configuration`; [`Value::Null`] when absent.
    pub configuration: &'a Value,
    /// What the gateway lends to policies and resources.
    pub gateway: &'a GatewayParts,
}

impl ResourceBuilder<'_> {
    /// The configuration as `T`; an absent one is `T`'s default through its serde defaults.
    pub fn configuration<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        read(self.configuration)
    }
}

/// Builds a resource.
pub type BuildResource =
    fn(&ResourceBuilder<'_>) -> Result<Arc<dyn Any + Send + Sync>, ConfigError>;

/// A type of resource.
#[derive(Debug, Clone, Copy)]
pub struct ResourceEntry {
    /// `type` of a resource, such as `cache`.
    pub kind: &'static str,
    /// One line for `turnpike policies` and `docs/policies.md`.
    pub summary: &'static str,
    /// Builds one.
    pub build: BuildResource,
}

/// Every type of resource, in the order of their ids.
pub static REGISTRY: &[ResourceEntry] = &[];

/// The type of a name.
pub fn find(kind: &str) -> Option<&'static ResourceEntry> {
    REGISTRY
        .binary_search_by(|entry| entry.kind.cmp(kind))
        .ok()
        .map(|index| &REGISTRY[index])
}

/// A resource of an API.
#[derive(Clone)]
pub struct Resource {
    /// `type`, such as `cache` or `oauth2`.
    pub kind: Box<str>,
    /// What was built for it: a type of the module that knows the resource.
    pub instance: Arc<dyn Any + Send + Sync>,
}

impl Resource {
    /// The resource as the type that its module built, if it is one.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.instance).downcast().ok()
    }
}

// What is inside may hold credentials.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_in_order_and_every_one_can_be_found() {
        assert!(REGISTRY.is_sorted_by(|a, b| a.kind < b.kind));
        for entry in REGISTRY {
            assert_eq!(find(entry.kind).map(|found| found.kind), Some(entry.kind));
            assert!(!entry.summary.is_empty(), "{}", entry.kind);
        }
        assert!(find("no-such-resource").is_none());
    }

    #[test]
    fn a_resource_is_only_what_it_was_built_as() {
        let resource = Resource {
            kind: "cache".into(),
            instance: Arc::new(7_u32),
        };
        assert_eq!(resource.get::<u32>().as_deref(), Some(&7));
        assert!(resource.get::<u64>().is_none());
        assert!(!format!("{resource:?}").contains('7'));
    }
}
