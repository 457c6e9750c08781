//! Any sequence of changes, against the rules told the slow way and against a rebuild from nothing.

use proptest::prelude::*;

use super::*;

const APIS: [&str; 3] = ["a", "b", "c"];
const PLACES: [&str; 3] = ["/1", "/2", "h/1"];
const PLANS: [&str; 2] = ["gold", "free"];
const SUBSCRIPTIONS: [&str; 4] = ["s0", "s1", "s2", "s3"];
const KEYS: [&str; 3] = ["k0", "k1", "k2"];

#[derive(Debug, Clone)]
enum Change {
    Deploy {
        api: usize,
        places: usize,
        plans: usize,
    },
    Undeploy(usize),
    Subscribe {
        id: usize,
        api: usize,
        plan: usize,
        accepted: bool,
    },
    Key {
        id: usize,
        text: usize,
        subscriptions: usize,
        active: bool,
        expire_at: Option<i64>,
    },
    Publish,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..3_usize, 1..8_usize, 1..4_usize).prop_map(|(api, places, plans)| Change::Deploy { api, places, plans }),
        2 => (0..3_usize).prop_map(Change::Undeploy),
        4 => (0..4_usize, 0..3_usize, 0..2_usize, prop::bool::weighted(0.7))
            .prop_map(|(id, api, plan, accepted)| Change::Subscribe { id, api, plan, accepted }),
        4 => (0..3_usize, 0..2_usize, 0..16_usize, prop::bool::weighted(0.7), prop::option::of(1..3_i64))
            .prop_map(|(id, text, subscriptions, active, expire_at)| Change::Key { id, text, subscriptions, active, expire_at }),
        3 => Just(Change::Publish),
    ]
}

/// The members of `all` whose bit is set.
fn chosen<'a>(all: &[&'a str], bits: usize) -> Vec<&'a str> {
    all.iter()
        .enumerate()
        .filter(|(index, _)| bits >> index & 1 == 1)
        .map(|(_, name)| *name)
        .collect()
}

/// The rules told the slow way: everything is looked at again at each publication.
#[derive(Default)]
struct Model {
    /// In order of first deployment: newest and served version.
    apis: Vec<(Arc<Api>, Option<Arc<Api>>)>,
    subscriptions: BTreeMap<String, wire::Subscription>,
    keys: BTreeMap<String, wire::ApiKey>,
}

impl Model {
    fn apply(&mut self, change: &Change, revision: u64) -> Option<Arc<Api>> {
        match change {
            Change::Deploy { api, places, plans } => {
                let listeners = chosen(&PLACES, *places)
                    .iter()
                    .map(|place| listener(place, &[]))
                    .collect();
                let api = build_api(APIS[*api], revision, listeners, &chosen(&PLANS, *plans));
                match self.apis.iter_mut().find(|(newest, _)| newest.id == api.id) {
                    Some((newest, _)) => *newest = Arc::clone(&api),
                    None => self.apis.push((Arc::clone(&api), None)),
                }
                return Some(api);
            }
            Change::Undeploy(api) => {
                self.apis.retain(|(newest, _)| *newest.id != *APIS[*api]);
                let gone: Vec<String> = self
                    .subscriptions
                    .values()
                    .filter(|one| one.api.as_deref() == Some(APIS[*api]))
                    .map(|one| one.id.clone())
                    .collect();
                self.subscriptions.retain(|id, _| !gone.contains(id));
                let left = &self.subscriptions;
                self.keys.retain(|_, key| {
                    !key.subscriptions.iter().any(|id| gone.contains(id))
                        || key.subscriptions.iter().any(|id| left.contains_key(id))
                });
            }
            Change::Subscribe { .. } => {
                let record = wire_subscription(change);
                self.subscriptions.remove(&record.id);
                if record.status.as_deref() == Some("ACCEPTED") {
                    self.subscriptions.insert(record.id.clone(), record);
                }
            }
            Change::Key { .. } => {
                let record = wire_key(change);
                self.keys.remove(&record.id);
                if !record.revoked {
                    self.keys.insert(record.id.clone(), record);
                }
            }
            Change::Publish => self.settle(),
        }
        None
    }

    fn settle(&mut self) {
        let is_free = |apis: &[(Arc<Api>, Option<Arc<Api>>)], at: usize| {
            let wanted = &apis[at].0.listeners;
            let others = apis
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .filter_map(|(_, (_, served))| served.as_ref());
            !others
                .flat_map(|served| served.listeners.iter())
                .any(|held| wanted.contains(held))
        };
        while let Some(at) = (0..self.apis.len()).find(|at| {
            let (newest, served) = &self.apis[*at];
            !served
                .as_ref()
                .is_some_and(|served| Arc::ptr_eq(served, newest))
                && is_free(&self.apis, *at)
        }) {
            // One full round in order, as one round of the builder.
            for at in at..self.apis.len() {
                if is_free(&self.apis, at) {
                    self.apis[at].1 = Some(Arc::clone(&self.apis[at].0));
                }
            }
        }
    }

    /// A gateway built from nothing but what is left, in another order than it came.
    fn rebuilt(&self) -> Gateway {
        let mut gateway = Gateway::new();
        for key in self.keys.values().rev() {
            gateway.builder.upsert_key(key);
        }
        for subscription in self.subscriptions.values().rev() {
            gateway.builder.upsert_subscription(subscription);
        }
        for served in self.apis.iter().filter_map(|(_, served)| served.as_ref()) {
            gateway.builder.deploy(Arc::clone(served));
        }
        assert!(
            gateway.publish().refused.is_empty(),
            "served versions do not contend"
        );
        gateway
    }
}

fn wire_subscription(change: &Change) -> wire::Subscription {
    let Change::Subscribe {
        id,
        api,
        plan,
        accepted,
    } = change
    else {
        unreachable!("called for subscriptions")
    };
    let status = if *accepted { "ACCEPTED" } else { "PAUSED" };
    wire::Subscription {
        status: Some(status.to_owned()),
        ..subscription(SUBSCRIPTIONS[*id], APIS[*api], PLANS[*plan])
    }
}

fn wire_key(change: &Change) -> wire::ApiKey {
    let Change::Key {
        id,
        text,
        subscriptions,
        active,
        expire_at,
    } = change
    else {
        unreachable!("called for keys")
    };
    let record = key(
        KEYS[*id],
        ["x", "y"][*text],
        &chosen(&SUBSCRIPTIONS, *subscriptions),
    );
    wire::ApiKey {
        revoked: !active,
        expire_at: *expire_at,
        ..record
    }
}

/// Everything that a worker can see of a snapshot.
fn view(gateway: &Gateway) -> (Vec<String>, Vec<Option<String>>) {
    let snapshot = gateway.cell.load_full();
    let apis = snapshot.apis.iter().map(|deployed| {
        let keys: BTreeMap<_, _> = deployed
            .subscriptions
            .keys
            .iter()
            .map(|(text, key)| (text, (&key.subscription, key.expire_at_ms)))
            .collect();
        format!("{}@{} {keys:?}", deployed.api.id, deployed.api.revision)
    });
    (
        apis.collect(),
        PLACES.iter().map(|place| gateway.serving(place)).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_of_changes_ends_in_the_snapshot_that_a_rebuild_gives(changes in prop::collection::vec(any_change(), 1..40)) {
        let mut gateway = Gateway::new();
        let mut model = Model::default();
        for (revision, change) in (1..).zip(changes.iter().chain([&Change::Publish])) {
            let deployed = model.apply(change, revision);
            match change {
                Change::Deploy { .. } => gateway.builder.deploy(deployed.expect("a deployment makes an API")),
                Change::Undeploy(api) => { gateway.builder.undeploy(APIS[*api]); }
                Change::Subscribe { .. } => { gateway.builder.upsert_subscription(&wire_subscription(change)); }
                Change::Key { .. } => { gateway.builder.upsert_key(&wire_key(change)); }
                Change::Publish => {
                    let published = gateway.publish();
                    let waiting = model.apis.iter().filter(|(newest, served)| !served.as_ref().is_some_and(|served| Arc::ptr_eq(served, newest)));
                    let waiting: BTreeSet<Box<str>> = waiting.map(|(newest, _)| newest.id.clone()).collect();
                    prop_assert_eq!(published.refused.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>(), waiting);
                    prop_assert_eq!(view(&gateway), view(&model.rebuilt()));
                }
            }
        }
    }
}
