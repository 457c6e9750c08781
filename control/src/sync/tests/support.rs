//! A fake gateway to deploy into, and objects of a small control plane.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use turnpike_config::{Authentication, HttpClientConfig, RetryConfig, SyncConfig};
use turnpike_core::definition::{
    Api, ApiKeyPlan, Engine, ListenerPath, Plan, PlanSecurity, Subscriptions,
};
use turnpike_core::lifecycle::Lifecycle;
use turnpike_core::snapshot::{DeployedApi, SnapshotCell};

use super::super::deploy::{
    ApiRelease, Deployer, Deployment, Refused, RefusedKind, SharedPolicyGroup, SubscribablePlan,
};
use super::super::{SyncStatus, Synchronizer};
use crate::bridge::fake::FakeBridge;
use crate::bridge::wire::{ApiKey, Event, Subscription};
use crate::bridge::{BaseUrl, BridgeClient};
use crate::snapshot::SnapshotBuilder;
use crate::token::{BridgePath, ControlPlaneSettings};

/// Long ago, so that nothing looks as if it changed while it was read.
pub(super) const LONG_AGO: i64 = 1_000_000_000_000;
/// The first cycle's time.
pub(super) const NOW: i64 = 1_760_000_000_000;

/// One deployed API, as traffic sees it.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) revision: String,
    pub(super) organization: String,
    pub(super) hosts: Vec<String>,
    pub(super) table: Arc<Subscriptions>,
}

impl Served {
    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.table.keys.keys().map(ToString::to_string).collect();
        keys.sort();
        keys
    }
}

pub(super) type Routes = BTreeMap<String, Served>;

/// What was published: the current state and how often.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) routes: Routes,
    pub(super) times: usize,
    pub(super) sizes: Vec<usize>,
    pub(super) compiled: usize,
}

/// The real model behind a compiler that knows only a few words: `plans`, `tags`, `refuse`.
pub(super) struct FakeGateway {
    builder: SnapshotBuilder,
    cell: SnapshotCell,
    hosts: BTreeMap<String, Vec<String>>,
    tags: Vec<String>,
    published: Arc<Mutex<Published>>,
}

pub(super) struct FakeCompiled {
    api: Arc<Api>,
    hosts: Vec<String>,
    plans: Vec<SubscribablePlan>,
}

impl Deployer for FakeGateway {
    type Compiled = FakeCompiled;

    fn compile(&self, release: &ApiRelease<'_>) -> Result<FakeCompiled, Refused> {
        self.published.lock().expect("unpoisoned").compiled += 1;
        let refused = |kind, reason: &str| Refused {
            kind,
            reason: reason.to_owned(),
        };
        let definition: Value = serde_json::from_str(release.definition)
            .map_err(|error| refused(RefusedKind::Broken, &format!("definition: {error}")))?;
        if let Some(reason) = definition["refuse"].as_str() {
            return Err(refused(RefusedKind::Broken, reason));
        }
        let texts = |member: &str| -> Vec<String> {
            definition[member]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        if !self.tags.is_empty() && !texts("tags").iter().any(|tag| self.tags.contains(tag)) {
            return Err(refused(RefusedKind::NotForUs, "tags: they do not match"));
        }
        if definition["plans"].is_null() {
            return Err(refused(RefusedKind::NoPlan, "plans: none is published"));
        }
        let plans: Vec<SubscribablePlan> = texts("plans")
            .into_iter()
            .map(|id| SubscribablePlan {
                takes_keys: !id.contains("jwt"),
                id,
            })
            .collect();
        let path = definition["path"]
            .as_str()
            .map_or_else(|| format!("/{}", release.id), str::to_owned);
        let api = Api {
            id: release.id.into(),
            name: release.name.into(),
            version: "1".into(),
            environment_id: release.environment_id.into(),
            organization_id: release.organization_id.into(),
            engine: Engine::V4,
            deployed_at_ms: release.deployed_at_ms,
            revision: release.revision.into(),
            listeners: Box::new([ListenerPath {
                host: None,
                path: path.into(),
                servers: Arc::default(),
            }]),
            plans: plans
                .iter()
                .map(|plan| Plan {
                    id: plan.id.as_str().into(),
                    name: "plan".into(),
                    security: PlanSecurity::ApiKey(ApiKeyPlan::default()),
                    selection_rule: None,
                    flows: Default::default(),
                })
                .collect(),
            groups: Box::default(),
            analytics: true,
            reject_null_byte: false,
            processing: Default::default(),
        };
        Ok(FakeCompiled {
            api: Arc::new(api),
            hosts: release.access_hosts.to_vec(),
            plans,
        })
    }

    fn plans(&self, compiled: &FakeCompiled) -> Vec<SubscribablePlan> {
        compiled.plans.clone()
    }

    fn deploy(&mut self, compiled: FakeCompiled) {
        self.hosts
            .insert(compiled.api.id.to_string(), compiled.hosts);
        self.builder.deploy(compiled.api);
    }

    fn subscribe(&mut self, subscription: &Subscription) {
        self.builder.upsert_subscription(subscription);
    }

    fn unsubscribe(&mut self, subscription_id: &str) {
        self.builder.evict_subscription(subscription_id);
    }

    fn add_key(&mut self, key: &ApiKey) {
        self.builder.upsert_key(key);
    }

    fn drop_key(&mut self, key_id: &str) {
        self.builder.evict_key(key_id);
    }

    fn undeploy(&mut self, api_id: &str) -> bool {
        self.builder.undeploy(api_id)
    }

    fn deployed(&self, api_id: &str) -> Option<Deployment> {
        let deployed = self.builder.deployed(api_id)?;
        Some(Deployment {
            deployed_at_ms: deployed.deployed_at_ms,
            revision: deployed.revision.to_owned(),
        })
    }

    fn set_organization(&mut self, _id: &str, _record: &Value) -> Result<(), Refused> {
        Ok(())
    }

    fn drop_organization(&mut self, _id: &str) {}

    fn set_dictionary(
        &mut self,
        _environment_id: &str,
        _key: &str,
        _entries: Option<BTreeMap<Box<str>, Box<str>>>,
    ) {
    }

    fn set_group(
        &mut self,
        _id: &str,
        _environment_id: &str,
        _group: Option<&SharedPolicyGroup>,
    ) -> bool {
        false
    }

    async fn publish(&mut self) -> Vec<(String, String)> {
        let outcome = self.builder.publish(&self.cell);
        let served = |deployed: &DeployedApi| Served {
            revision: deployed.api.revision.to_string(),
            organization: deployed.api.organization_id.to_string(),
            hosts: self.hosts[&*deployed.api.id].clone(),
            table: Arc::clone(&deployed.subscriptions),
        };
        let snapshot = self.cell.load_full();
        let mut published = self.published.lock().expect("unpoisoned");
        published.routes = snapshot
            .apis
            .iter()
            .map(|deployed| (deployed.api.id.to_string(), served(deployed)))
            .collect();
        published.times += 1;
        published.sizes.push(snapshot.apis.len());
        outcome
            .refused
            .into_iter()
            .map(|(id, reason)| (id.into(), reason))
            .collect()
    }
}

/// A synchronizer with everything around it.
pub(super) struct Bench {
    pub(super) bridge: FakeBridge,
    pub(super) status: Arc<SyncStatus>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) settings: ControlPlaneSettings,
    pub(super) sync: SyncConfig,
    pub(super) tags: Vec<String>,
    published: Arc<Mutex<Published>>,
    now_ms: Arc<AtomicI64>,
}

impl Bench {
    pub(super) async fn start() -> Self {
        let bridge = FakeBridge::start().await;
        let settings = settings(&bridge.url);
        let sync = SyncConfig {
            delay_ms: 1,
            retries: 1,
            retry_delay_ms: 1,
            ..SyncConfig::default()
        };
        Self {
            bridge,
            status: SyncStatus::new(),
            lifecycle: Arc::new(Lifecycle::new()),
            settings,
            sync,
            tags: Vec::new(),
            published: Arc::default(),
            now_ms: Arc::new(AtomicI64::new(NOW)),
        }
    }

    pub(super) fn synchronizer(&self) -> Synchronizer<FakeGateway> {
        let gateway = FakeGateway {
            builder: SnapshotBuilder::new(false),
            cell: SnapshotCell::new(),
            hosts: BTreeMap::new(),
            tags: self.tags.clone(),
            published: Arc::clone(&self.published),
        };
        self.synchronizer_with(gateway)
    }

    /// A synchronizer that deploys somewhere else.
    pub(super) fn synchronizer_with<D: Deployer>(&self, deployer: D) -> Synchronizer<D> {
        let client = Arc::new(BridgeClient::new(&self.settings).expect("a client"));
        let now_ms = Arc::clone(&self.now_ms);
        Synchronizer::new(
            self.settings.clone(),
            self.sync.clone(),
            client,
            deployer,
            Arc::clone(&self.status),
            Arc::clone(&self.lifecycle),
            Arc::new(move || now_ms.load(Ordering::Relaxed)),
        )
    }

    pub(super) fn tick(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub(super) fn published<T>(&self, look: impl FnOnce(&Published) -> T) -> T {
        look(&self.published.lock().expect("unpoisoned"))
    }

    pub(super) fn served(&self) -> Vec<String> {
        self.published(|published| published.routes.keys().cloned().collect())
    }

    pub(super) fn api(&self, id: &str) -> Served {
        self.published(|published| published.routes[id].clone())
    }

    pub(super) fn store_in(&mut self, path: PathBuf) {
        self.sync.snapshot_path = Some(path);
    }
}

pub(crate) fn settings(url: &str) -> ControlPlaneSettings {
    ControlPlaneSettings {
        sync_url: BaseUrl::parse(url).expect("a URL"),
        bridge_path: BridgePath::Fixed(true),
        authentication: Authentication::None,
        client: HttpClientConfig {
            read_timeout_ms: 2_000,
            ..HttpClientConfig::default()
        },
        retry: RetryConfig {
            delay_ms: 5,
            delay_ms_max: 20,
            backoff_factor: 1.5,
        },
        client_version: "4.12.17".to_owned(),
        paths: Vec::new(),
        environments: Vec::new(),
        organizations: Vec::new(),
        uses_hrids: true,
        reports_url: None,
        token: None,
        facts: None,
    }
}

/// An API event with a definition of the fake gateway's own form.
pub(super) fn event(kind: &str, id: &str, revision: u32, at_ms: i64, definition: &Value) -> Event {
    let state = if kind == "STOP_API" {
        "STOPPED"
    } else {
        "STARTED"
    };
    let payload = json!({
        "id": id, "name": format!("name of {id}"), "environmentId": "env", "definitionVersion": "4.0.0",
        "lifecycleState": state, "definition": definition.to_string(), "unknown": null,
    });
    serde_json::from_value(json!({
        "id": id, "type": kind, "environments": ["env"], "payload": payload.to_string(),
        "properties": { "api_id": id, "deployment_number": revision.to_string(), "user": null },
        "createdAt": at_ms, "updatedAt": at_ms, "unknown": { "a": 1 },
    }))
    .expect("an event")
}

pub(super) fn publish(id: &str, revision: u32, at_ms: i64) -> Event {
    event(
        "PUBLISH_API",
        id,
        revision,
        at_ms,
        &json!({ "plans": [format!("plan-{id}")] }),
    )
}

pub(super) fn subscription(id: &str, api: &str, at_ms: i64) -> Subscription {
    Subscription {
        id: id.to_owned(),
        api: Some(api.to_owned()),
        plan: Some(format!("plan-{api}")),
        application: Some("app".to_owned()),
        status: Some("ACCEPTED".to_owned()),
        updated_at: Some(at_ms),
        ..Subscription::default()
    }
}

pub(super) fn key(text: &str, subscriptions: &[&str], at_ms: i64) -> ApiKey {
    ApiKey {
        id: format!("id-{text}"),
        key: text.to_owned(),
        subscriptions: subscriptions.iter().map(|id| (*id).to_owned()).collect(),
        updated_at: Some(at_ms),
        ..ApiKey::default()
    }
}
