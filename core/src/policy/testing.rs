//! What the tests of policies share: a policy built as a deployment builds it, and an exchange to run it over.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::registry::{self, GatewayParts};
use super::{Builder, ConfigError, Policy, Resource, Verdict};
use crate::definition::{Api, Engine, ListenerPath, Plan, PlanSecurity, Processing, Subscriptions};
use crate::error::Failure;
use crate::exchange::{Exchange, Memory};
use crate::snapshot::{DeployedApi, Platform};

/// Builds a policy with settings of the gateway.
pub(crate) fn build_with_settings(
    id: &str,
    configuration: &Value,
    settings: &[(&str, &str)],
) -> Result<Arc<dyn Policy>, ConfigError> {
    let gateway = GatewayParts {
        settings: settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..GatewayParts::default()
    };
    build_with(id, configuration, false, &HashMap::new(), &gateway)
}

/// The failure of a verdict that must be one.
#[track_caller]
pub(crate) fn failure(verdict: Verdict) -> Failure {
    match verdict {
        Verdict::Fail(failure) => *failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

/// Builds a policy without resources.
pub(crate) fn build(id: &str, configuration: &Value) -> Result<Arc<dyn Policy>, ConfigError> {
    build_with(
        id,
        configuration,
        false,
        &HashMap::new(),
        &GatewayParts::default(),
    )
}

/// Builds a policy as for an API of the old engine.
pub(crate) fn build_legacy(
    id: &str,
    configuration: &Value,
) -> Result<Arc<dyn Policy>, ConfigError> {
    build_with(
        id,
        configuration,
        true,
        &HashMap::new(),
        &GatewayParts::default(),
    )
}

/// Builds a policy of a gateway with these parts, for an API on this engine.
pub(crate) fn build_in(
    id: &str,
    configuration: &Value,
    gateway: &GatewayParts,
    legacy_engine: bool,
) -> Result<Arc<dyn Policy>, ConfigError> {
    build_with(id, configuration, legacy_engine, &HashMap::new(), gateway)
}

/// Builds a policy with everything that a deployment hands in.
pub(crate) fn build_with(
    id: &str,
    configuration: &Value,
    legacy_engine: bool,
    resources: &HashMap<Box<str>, Resource>,
    gateway: &GatewayParts,
) -> Result<Arc<dyn Policy>, ConfigError> {
    let (_, entry) = registry::find(id).expect("a policy of the registry");
    (entry.build)(&Builder {
        configuration,
        legacy_engine,
        resources,
        gateway,
    })
}

/// The configurations that the collected samples hold for a policy; none where the samples are not at hand.
fn samples(id: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/contracts/samples/policies")
        .join(format!("{id}.samples.json"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("no samples of {id}: nothing is compared");
        return Vec::new();
    };
    let samples: Vec<Value> = serde_json::from_str(&text).expect("samples");
    samples
        .into_iter()
        .filter_map(|mut sample| {
            let step = sample.get_mut("step").map(Value::take).unwrap_or(sample);
            step.get("configuration").cloned()
        })
        .collect()
}

/// Builds a policy from every collected sample but those that `refused` names by a part of their text.
pub(crate) fn builds_samples(id: &str, refused: &[&str]) {
    for configuration in samples(id) {
        let text = configuration.to_string();
        let expected = !refused.iter().any(|part| text.contains(part));
        assert_eq!(build(id, &configuration).is_ok(), expected, "{text}");
    }
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
        exchange.seed.set(42);
        exchange
    }
}
