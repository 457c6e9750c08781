//! What the tests of policies share: a policy built as a deployment builds it, and an exchange to run it over.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::registry::{self, GatewayParts};
use super::{Builder, ConfigError, Policy};
use crate::definition::{Api, Engine, ListenerPath, Plan, PlanSecurity, Processing, Subscriptions};
use crate::exchange::{Exchange, Memory};
use crate::snapshot::{DeployedApi, Platform};

/// Builds a policy without resources.
pub(crate) fn build(id: &str, configuration: &Value) -> Result<Arc<dyn Policy>, ConfigError> {
    build_in(id, configuration, &GatewayParts::default(), false)
}

/// Builds a policy of a gateway with these parts, for an API on this engine.
pub(crate) fn build_in(
    id: &str,
    configuration: &Value,
    gateway: &GatewayParts,
    legacy_engine: bool,
) -> Result<Arc<dyn Policy>, ConfigError> {
    let (_, entry) = registry::find(id).expect("a policy of the registry");
    (entry.build)(&Builder {
        configuration,
        legacy_engine,
        resources: &HashMap::new(),
        gateway,
    })
}

/// An API and what surrounds it, to make exchanges on.
pub(crate) struct Bench {
    pub(crate) deployed: DeployedApi,
}

impl Bench {
    /// An API called `api` with one key-less plan called `plan`.
    pub(crate) fn new() -> Self {
        Self::with(Engine::V4, Processing::default(), Platform::default())
    }

    pub(crate) fn with(engine: Engine, processing: Processing, platform: Platform) -> Self {
        let api = Api {
            id: "api".into(),
            name: "The API".into(),
            version: "1".into(),
            environment_id: "environment".into(),
            organization_id: "organization".into(),
            engine,
            deployed_at_ms: 1,
            revision: "1".into(),
            listeners: [ListenerPath {
                host: None,
                path: "/api".into(),
                servers: [].into(),
            }]
            .into(),
            plans: [Plan {
                id: "plan".into(),
                name: "The plan".into(),
                security: PlanSecurity::KeyLess,
                selection_rule: None,
                flows: Default::default(),
            }]
            .into(),
            groups: [].into(),
            analytics: true,
            reject_null_byte: false,
            processing,
        };
        Self {
            deployed: DeployedApi {
                api: Arc::new(api),
                subscriptions: Arc::new(Subscriptions::default()),
                platform: Arc::new(platform),
            },
        }
    }

    /// An exchange of `GET /api/orders?a=1` from 10.1.2.3.
    pub(crate) fn exchange(&mut self) -> Exchange<'_> {
        let mut exchange = Exchange::new(Memory::default(), &self.deployed);
        let request = &mut exchange.request;
        request.host = "gateway.example.com".into();
        request.uri = "/api/orders?a=1".into();
        request.path = "/api/orders".into();
        request.context_path = "/api/".into();
        request.path_info_start = 4;
        request.query = "a=1".into();
        request.remote = "10.1.2.3".into();
        request.peer = "10.1.2.3".into();
        request.local = "10.0.0.1".into();
        request.id = "request-id".into();
        request.transaction_id = "transaction-id".into();
        request.timestamp_ms = 1_700_000_000_000;
        exchange.now_ms = 1_700_000_000_000;
        exchange.seed = 42;
        exchange
    }
}
