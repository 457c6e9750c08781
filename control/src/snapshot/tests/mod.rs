//! The rules one by one; `model` checks them together on arbitrary sequences.

mod model;

use turnpike_core::definition::{ApiKeyPlan, Engine, ListenerPath, Plan, PlanSecurity};

use super::*;

fn listener(place: &str, servers: &[&str]) -> ListenerPath {
    let (host, path) = place.split_at(place.find('/').expect("a place has a path"));
    ListenerPath {
        host: (!host.is_empty()).then(|| host.into()),
        path: path.into(),
        servers: servers.iter().map(|server| Box::from(*server)).collect(),
    }
}

fn build_api(id: &str, revision: u64, listeners: Vec<ListenerPath>, plans: &[&str]) -> Arc<Api> {
    let plan = |id: &&str| Plan {
        id: (*id).into(),
        name: (*id).into(),
        security: PlanSecurity::ApiKey(ApiKeyPlan::default()),
        selection_rule: None,
        flows: Default::default(),
    };
    Arc::new(Api {
        id: id.into(),
        name: id.into(),
        version: "1".into(),
        environment_id: "".into(),
        organization_id: "".into(),
        engine: Engine::V4,
        deployed_at_ms: revision * 1_000,
        revision: revision.to_string().into(),
        listeners: listeners.into(),
        plans: plans.iter().map(plan).collect(),
        groups: Box::default(),
        analytics: true,
        reject_null_byte: false,
        processing: Default::default(),
    })
}

fn api(id: &str, revision: u64, places: &[&str]) -> Arc<Api> {
    build_api(
        id,
        revision,
        places.iter().map(|place| listener(place, &[])).collect(),
        &["gold", "free"],
    )
}

fn subscription(id: &str, api: &str, plan: &str) -> wire::Subscription {
    wire::Subscription {
        id: id.to_owned(),
        api: Some(api.to_owned()),
        plan: Some(plan.to_owned()),
        application: Some(format!("app-of-{id}")),
        status: Some("ACCEPTED".to_owned()),
        starting_at: Some(-5),
        ..wire::Subscription::default()
    }
}

fn key(id: &str, text: &str, subscriptions: &[&str]) -> wire::ApiKey {
    wire::ApiKey {
        id: id.to_owned(),
        key: text.to_owned(),
        subscriptions: subscriptions.iter().map(|id| (*id).to_owned()).collect(),
        ..wire::ApiKey::default()
    }
}

/// A builder and the cell that it publishes to.
struct Gateway {
    builder: SnapshotBuilder,
    cell: SnapshotCell,
}

impl Gateway {
    fn new() -> Self {
        Self {
            builder: SnapshotBuilder::new(false),
            cell: SnapshotCell::new(),
        }
    }

    fn with(apis: impl IntoIterator<Item = Arc<Api>>) -> Self {
        let mut gateway = Self::new();
        apis.into_iter().for_each(|api| gateway.builder.deploy(api));
        gateway.publish();
        gateway
    }

    fn publish(&mut self) -> Published {
        self.builder.publish(&self.cell)
    }

    /// `id@revision` of the API that serves a place.
    fn serving(&self, place: &str) -> Option<String> {
        let (host, path) = place.split_at(place.find('/').expect("a place has a path"));
        let snapshot = self.cell.load_full();
        let route = snapshot
            .routes
            .find(None, (!host.is_empty()).then_some(host), path)?;
        let api = &snapshot.apis[route.api as usize].api;
        Some(format!("{}@{}", api.id, api.revision))
    }

    /// `text=subscription` of every key of an API, in order.
    fn keys(&self, api_id: &str) -> Vec<String> {
        let snapshot = self.cell.load_full();
        let Some(deployed) = snapshot
            .apis
            .iter()
            .find(|deployed| &*deployed.api.id == api_id)
        else {
            return Vec::new();
        };
        let keys = deployed.subscriptions.keys.iter();
        let mut keys: Vec<String> = keys
            .map(|(text, key)| format!("{text}={}", key.subscription.id))
            .collect();
        keys.sort();
        keys
    }
}

#[test]
fn apis_are_routed_from_the_publication_on() {
    let mut gateway = Gateway::new();
    gateway.builder.deploy(api("a", 1, &["/a", "h.com/b"]));
    assert_eq!(gateway.serving("/a"), None);
    let published = gateway.publish();
    assert_eq!(
        published,
        Published {
            revision: 1,
            changed: true,
            apis: 1,
            refused: Vec::new()
        }
    );
    assert_eq!(gateway.serving("/a/x").as_deref(), Some("a@1"));
    assert_eq!(gateway.serving("H.com/b").as_deref(), Some("a@1"));
    assert_eq!(gateway.cell.load_full().revision, 1);
    assert_eq!(
        gateway.builder.deployed("a"),
        Some(Deployed {
            deployed_at_ms: 1_000,
            revision: "1"
        })
    );
    gateway.builder.deploy(api("a", 2, &["/c"]));
    gateway.publish();
    assert_eq!(
        (gateway.serving("/a"), gateway.serving("/c").as_deref()),
        (None, Some("a@2"))
    );
    assert!(gateway.builder.undeploy("a"));
    assert!(!gateway.builder.undeploy("a"));
    assert_eq!(
        gateway.publish(),
        Published {
            revision: 3,
            changed: true,
            apis: 0,
            refused: Vec::new()
        }
    );
    assert_eq!(
        (gateway.serving("/c"), gateway.builder.deployed("a")),
        (None, None)
    );
    assert_eq!(gateway.builder.claims.len(), 0);
}

#[test]
fn a_publication_without_changes_keeps_the_snapshot() {
    let mut gateway = Gateway::with([api("a", 1, &["/a"])]);
    let before = gateway.cell.load_full();
    assert_eq!(
        gateway.publish(),
        Published {
            revision: 1,
            changed: false,
            apis: 1,
            refused: Vec::new()
        }
    );
    assert!(gateway.cell.is_current(&before));
}

#[test]
fn the_api_deployed_first_keeps_its_path_and_the_other_follows_when_it_goes() {
    let mut gateway = Gateway::with([
        api("first", 1, &["/shared", "/x"]),
        api("second", 1, &["/y", "//shared/"]),
    ]);
    assert_eq!(gateway.serving("/shared").as_deref(), Some("first@1"));
    assert_eq!(
        gateway.serving("/y"),
        None,
        "an API is served as a whole or not at all"
    );
    let refused = gateway.publish().refused;
    assert_eq!(refused.len(), 1);
    let (id, reason) = &refused[0];
    assert_eq!(&**id, "second");
    assert!(
        ["first", "second", "//shared/"]
            .iter()
            .all(|part| reason.contains(part)),
        "{reason}"
    );
    assert_eq!(
        gateway.builder.refusals().collect::<Vec<_>>(),
        [("second", reason.as_str())]
    );
    assert!(gateway.builder.deployed("second").is_some(), "it waits");
    gateway.builder.undeploy("first");
    assert!(gateway.publish().refused.is_empty());
    assert_eq!(gateway.serving("/shared/x").as_deref(), Some("second@1"));
    assert_eq!(gateway.serving("/y").as_deref(), Some("second@1"));
}

#[test]
fn the_order_of_changes_inside_one_publication_does_not_matter() {
    let mut gateway = Gateway::with([api("a", 1, &["/a"])]);
    gateway.builder.deploy(api("b", 1, &["/a"]));
    gateway.builder.undeploy("a");
    assert!(gateway.publish().refused.is_empty());
    assert_eq!(gateway.serving("/a").as_deref(), Some("b@1"));
}

#[test]
fn an_update_that_conflicts_leaves_the_previous_version_in_place() {
    let mut gateway = Gateway::with([api("a", 1, &["/a"]), api("b", 1, &["/b"])]);
    gateway.builder.deploy(api("a", 2, &["/b"]));
    let published = gateway.publish();
    assert!(
        published.refused[0]
            .1
            .contains("its previous version stays"),
        "{published:?}"
    );
    assert_eq!(gateway.serving("/a").as_deref(), Some("a@1"));
    assert_eq!(
        gateway.serving("/b").as_deref(),
        Some("b@1"),
        "deployed later, and yet it holds the path"
    );
    assert_eq!(
        gateway
            .builder
            .deployed("a")
            .map(|deployed| deployed.revision),
        Some("2")
    );
    // The holder moves away: the update, and whoever waits for what the update frees, follow in the same publication.
    gateway.builder.deploy(api("c", 1, &["/a"]));
    gateway.builder.deploy(api("b", 2, &["/d"]));
    assert!(gateway.publish().refused.is_empty());
    let serving = ["/a", "/b", "/d"].map(|place| gateway.serving(place).unwrap_or_default());
    assert_eq!(serving, ["c@1", "a@2", "b@2"]);
}

#[test]
fn hosts_and_servers_keep_apis_apart() {
    let on = |id: &str, place: &str, servers: &[&str]| {
        build_api(id, 1, vec![listener(place, servers)], &["gold"])
    };
    for (first, second, apart) in [
        (on("a", "/p", &[]), on("b", "h.com/p", &[]), true),
        (on("a", "h.com/p", &[]), on("b", "H.COM/p/", &[]), false),
        (on("a", "h.com/p", &[]), on("b", "i.com/p", &[]), true),
        (on("a", "/p", &["blue"]), on("b", "/p", &["green"]), true),
        (
            on("a", "/p", &["blue", "red"]),
            on("b", "/p", &["green", "red"]),
            false,
        ),
        (on("a", "/p", &["blue"]), on("b", "/p", &[]), false),
        (on("a", "/p", &[]), on("b", "/p/q", &[]), true),
    ] {
        let mut gateway = Gateway::with([Arc::clone(&first), Arc::clone(&second)]);
        assert_eq!(
            gateway.publish().apis,
            if apart { 2 } else { 1 },
            "{first:?} {second:?}"
        );
    }
}

#[test]
fn one_api_may_list_a_path_twice() {
    let mut gateway = Gateway::with([api("a", 1, &["/a", "/a/", "//a"])]);
    assert!(gateway.publish().refused.is_empty());
    gateway.builder.deploy(api("a", 2, &["/a", "/b"]));
    assert!(gateway.publish().refused.is_empty());
    assert_eq!(gateway.serving("/a").as_deref(), Some("a@2"));
    assert_eq!(gateway.builder.claims.len(), 2);
}

#[test]
fn with_overlapping_context_paths_allowed_the_longer_path_wins() {
    for (allowed, expected) in [(false, "short@1"), (true, "long@1")] {
        let mut gateway = Gateway {
            builder: SnapshotBuilder::new(allowed),
            cell: SnapshotCell::new(),
        };
        gateway.builder.deploy(api("short", 1, &["/a"]));
        gateway.builder.deploy(api("long", 1, &["/a/b"]));
        gateway.publish();
        assert_eq!(gateway.serving("/a/b/c").as_deref(), Some(expected));
    }
}

#[test]
fn a_version_that_could_not_be_compiled_is_listed_and_the_previous_one_stays() {
    let mut gateway = Gateway::with([api("a", 1, &["/a"])]);
    gateway
        .builder
        .refuse("a", "failover.enabled: failover is not supported yet");
    gateway
        .builder
        .refuse("new", "type: an API of type `native` is not supported yet");
    let refused = gateway.publish().refused;
    assert_eq!(
        refused.iter().map(|(id, _)| &**id).collect::<Vec<_>>(),
        ["a", "new"]
    );
    assert_eq!(gateway.serving("/a").as_deref(), Some("a@1"));
    gateway.builder.deploy(api("a", 2, &["/a"]));
    gateway.builder.undeploy("new");
    assert!(gateway.publish().refused.is_empty());
}

#[test]
fn keys_work_on_the_plans_of_their_subscription_whatever_comes_first() {
    let mut gateway = Gateway::new();
    assert_eq!(
        gateway
            .builder
            .upsert_key(&key("k1", "secret", &["s1", "s2", "other"])),
        Applied::Registered
    );
    assert_eq!(
        gateway
            .builder
            .upsert_subscription(&subscription("s1", "a", "gold")),
        Applied::Registered
    );
    assert_eq!(
        gateway
            .builder
            .upsert_subscription(&subscription("s2", "b", "free")),
        Applied::Registered
    );
    gateway
        .builder
        .upsert_subscription(&subscription("s3", "a", "plan of another API"));
    gateway.builder.upsert_key(&key("k3", "useless", &["s3"]));
    gateway.builder.deploy(api("a", 1, &["/a"]));
    gateway.builder.deploy(api("b", 1, &["/b"]));
    gateway.publish();
    assert_eq!(
        (gateway.keys("a"), gateway.keys("b")),
        (vec!["secret=s1".to_owned()], vec!["secret=s2".to_owned()])
    );
    let snapshot = gateway.cell.load_full();
    let found = snapshot.apis[0]
        .subscriptions
        .key("secret")
        .expect("the key");
    assert_eq!(
        (
            &*found.subscription.plan_id,
            &*found.subscription.application_id
        ),
        ("gold", "app-of-s1")
    );
    assert_eq!(
        (found.subscription.starting_at_ms, found.expire_at_ms),
        (Some(0), None)
    );
    assert!(gateway.builder.has_subscription("s1") && gateway.builder.has_plan("a", "gold"));
    assert!(!gateway.builder.has_subscription("s9") && !gateway.builder.has_plan("a", "silver"));
    // A version of the API with the plan that s3 names.
    gateway.builder.deploy(build_api(
        "a",
        2,
        vec![listener("/a", &[])],
        &["plan of another API"],
    ));
    gateway.publish();
    assert_eq!(gateway.keys("a"), ["useless=s3"]);
}

#[test]
fn a_change_of_keys_reuses_the_routes_and_the_tables_of_other_apis() {
    let mut gateway = Gateway::with([api("a", 1, &["/a"]), api("b", 1, &["/b"])]);
    let before = gateway.cell.load_full();
    gateway
        .builder
        .upsert_subscription(&subscription("s", "a", "gold"));
    gateway.builder.upsert_key(&key("k", "secret", &["s"]));
    assert!(gateway.publish().changed);
    let after = gateway.cell.load_full();
    assert!(Arc::ptr_eq(&before.routes, &after.routes));
    assert!(Arc::ptr_eq(
        &before.apis[1].subscriptions,
        &after.apis[1].subscriptions
    ));
    assert!(!Arc::ptr_eq(
        &before.apis[0].subscriptions,
        &after.apis[0].subscriptions
    ));
    // The same objects again, as every cycle may bring them, change nothing.
    gateway
        .builder
        .upsert_subscription(&subscription("s", "a", "gold"));
    gateway.builder.upsert_key(&key("k", "secret", &["s"]));
    assert!(!gateway.publish().changed);
}

#[test]
fn only_active_keys_of_accepted_subscriptions_work() {
    let inactive: [fn(&mut wire::ApiKey); 4] = [
        |key| key.revoked = true,
        |key| key.paused = true,
        |key| key.federated = true,
        |key| key.key.clear(),
    ];
    let mut gateway = Gateway::with([api("a", 1, &["/a"])]);
    for deactivate in inactive {
        gateway
            .builder
            .upsert_subscription(&subscription("s", "a", "gold"));
        let mut record = key("k", "secret", &["s"]);
        gateway.builder.upsert_key(&record);
        gateway.publish();
        assert_eq!(gateway.keys("a"), ["secret=s"]);
        deactivate(&mut record);
        assert_ne!(gateway.builder.upsert_key(&record), Applied::Registered);
        gateway.publish();
        assert_eq!(gateway.keys("a"), [""; 0]);
    }
    gateway.builder.upsert_key(&key("k", "secret", &["s"]));
    for status in [Some("PAUSED"), Some("CLOSED"), Some("PENDING"), None] {
        let record = wire::Subscription {
            status: status.map(str::to_owned),
            ..subscription("s", "a", "gold")
        };
        assert_eq!(
            gateway.builder.upsert_subscription(&record),
            Applied::Evicted
        );
        gateway.publish();
        assert_eq!(gateway.keys("a"), [""; 0], "{status:?}");
        gateway
            .builder
            .upsert_subscription(&subscription("s", "a", "gold"));
        gateway.publish();
        assert_eq!(
            gateway.keys("a"),
            ["secret=s"],
            "the key was kept for the return of its subscription"
        );
    }
    assert!(gateway.builder.evict_key("k") && gateway.builder.evict_subscription("s"));
    assert!(!gateway.builder.evict_key("k") && !gateway.builder.evict_subscription("s"));
}

#[test]
fn an_expired_key_stays_in_the_table() {
    let mut gateway = Gateway::with([api("a", 1, &["/a"])]);
    gateway
        .builder
        .upsert_subscription(&subscription("s", "a", "gold"));
    gateway.builder.upsert_key(&wire::ApiKey {
        expire_at: Some(1),
        ..key("k", "secret", &["s"])
    });
    gateway.publish();
    let snapshot = gateway.cell.load_full();
    assert_eq!(
        snapshot.apis[0]
            .subscriptions
            .key("secret")
            .and_then(|key| key.expire_at_ms),
        Some(1)
    );
}

#[test]
fn of_two_keys_with_one_text_the_longer_lived_counts() {
    for reversed in [false, true] {
        let mut gateway = Gateway::with([api("a", 1, &["/a"])]);
        gateway
            .builder
            .upsert_subscription(&subscription("s1", "a", "gold"));
        gateway
            .builder
            .upsert_subscription(&subscription("s2", "a", "free"));
        let mut keys = [
            wire::ApiKey {
                expire_at: Some(1),
                ..key("k1", "secret", &["s1"])
            },
            wire::ApiKey {
                expire_at: Some(2),
                ..key("k2", "secret", &["s2"])
            },
        ];
        if reversed {
            keys.reverse();
        }
        for key in &keys {
            gateway.builder.upsert_key(key);
        }
        gateway.publish();
        assert_eq!(gateway.keys("a"), ["secret=s2"]);
    }
}

#[test]
fn subscriptions_are_found_by_client_id_and_by_certificate() {
    let pair = rcgen::generate_simple_self_signed(["app".to_owned()]).expect("a certificate");
    let by_certificate = wire::Subscription {
        client_id: Some("unused".to_owned()),
        client_certificate: Some(pair.cert.pem()),
        ..subscription("certificate", "a", "free")
    };
    let by_client: wire::Subscription = serde_json::from_value(serde_json::json!({
        "id": "client", "api": "a", "plan": "gold", "application": "app", "applicationName": "App", "clientId": "me",
        "status": "ACCEPTED", "type": "PUSH", "metadata": {"tier": "gold", "seats": 3, "none": null},
    }))
    .expect("a subscription");
    let mut gateway = Gateway::with([api("a", 1, &["/a"])]);
    gateway.builder.upsert_subscription(&by_certificate);
    gateway.builder.upsert_subscription(&by_client);
    gateway.publish();
    let snapshot = gateway.cell.load_full();
    let table = &snapshot.apis[0].subscriptions;
    let found = table.by_client_id("gold", "me").expect("a subscription");
    assert_eq!(
        (&*found.id, &*found.application_name, &*found.kind),
        ("client", "App", "PUSH")
    );
    let metadata: Vec<_> = found.metadata.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(metadata, [("seats", "3"), ("tier", "gold")]);
    assert!(table.by_client_id("free", "unused").is_none());

    let by_thumbprint = |gateway: &mut Gateway| {
        gateway.publish();
        let snapshot = gateway.cell.load_full();
        let [own, ..] = &*snapshot.apis else {
            panic!("one API")
        };
        own.subscriptions
            .by_certificate("free", &certificates::thumbprint(pair.cert.der()))
            .map(|found| found.id.to_string())
    };
    assert_eq!(by_thumbprint(&mut gateway).as_deref(), Some("certificate"));
    // A certificate that cannot be read leaves the previous one in place; without one there is none.
    gateway.builder.upsert_subscription(&wire::Subscription {
        client_certificate: Some("?".to_owned()),
        ending_at: Some(9),
        ..by_certificate.clone()
    });
    assert_eq!(by_thumbprint(&mut gateway).as_deref(), Some("certificate"));
    gateway.builder.upsert_subscription(&wire::Subscription {
        client_certificate: None,
        ..by_certificate.clone()
    });
    assert_eq!(by_thumbprint(&mut gateway), None);
}

#[test]
fn the_api_of_a_subscription_is_named_by_its_reference() {
    let of = |reference_type: Option<&str>, reference: Option<&str>, api_id: Option<&str>| {
        let mut gateway = Gateway::with([api("a", 1, &["/a"]), api("b", 1, &["/b"])]);
        let record = wire::Subscription {
            reference_type: reference_type.map(str::to_owned),
            reference_id: reference.map(str::to_owned),
            api: api_id.map(str::to_owned),
            ..subscription("s", "", "gold")
        };
        gateway.builder.upsert_subscription(&record);
        gateway.builder.upsert_key(&key("k", "secret", &["s"]));
        gateway.publish();
        (gateway.keys("a").len(), gateway.keys("b").len())
    };
    assert_eq!(of(None, None, Some("a")), (1, 0));
    assert_eq!(of(Some("API"), Some("b"), Some("a")), (0, 1));
    assert_eq!(of(Some("API"), None, Some("a")), (1, 0));
    assert_eq!(of(Some("API_PRODUCT"), Some("b"), Some("a")), (0, 0));
    assert_eq!(of(None, None, None), (0, 0));
}

#[test]
fn an_undeployed_api_takes_its_subscriptions_and_its_own_keys_with_it() {
    let mut gateway = Gateway::with([api("a", 1, &["/a"]), api("b", 1, &["/b"])]);
    gateway
        .builder
        .upsert_subscription(&subscription("s1", "a", "gold"));
    gateway
        .builder
        .upsert_subscription(&subscription("s2", "b", "gold"));
    gateway.builder.upsert_key(&key("own", "own", &["s1"]));
    gateway
        .builder
        .upsert_key(&key("shared", "shared", &["s1", "s2"]));
    gateway.publish();
    assert_eq!(gateway.keys("a"), ["own=s1", "shared=s1"]);
    gateway.builder.undeploy("a");
    gateway.publish();
    assert_eq!(
        (
            gateway.builder.subscription_count(),
            gateway.builder.key_count()
        ),
        (1, 1)
    );
    assert_eq!(gateway.keys("b"), ["shared=s2"]);
    gateway.builder.forget_consumers("b");
    assert!(gateway.publish().changed);
    assert_eq!(
        (
            gateway.builder.subscription_count(),
            gateway.builder.key_count()
        ),
        (0, 0)
    );
    assert_eq!(gateway.keys("b"), [""; 0]);
    let consumers = format!("{:?}", gateway.builder.consumers);
    assert!(
        !consumers.contains("own") && !consumers.contains("s1"),
        "nothing is left behind: {consumers}"
    );
}
