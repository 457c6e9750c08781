//! Limits over a Redis cluster: exact while slots move, and a node that is away takes only its own keys with it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::client::{Client, Response, get};
use crate::support::control_plane::ControlPlane;
use crate::support::definition::{Definition, v4};
use crate::support::fleet::{limit, number, on_cluster, together};
use crate::support::gateway::{Gateway, Start};
use crate::support::ports;
use crate::support::redis::{self, Cluster, Redis};
use crate::support::wait::{PATIENCE, timely, until};

/// `ratelimit.redis.operation.timeout`, milliseconds, where something fails.
const TIMEOUT_MS: u64 = 200;
/// What a request may take beyond it on a busy machine.
const SLACK: Duration = Duration::from_millis(800);
/// Never reached where something fails.
const PLENTY: i64 = 100_000;

/// Gateways on one cluster, with a quota per `who`: `/pass` and `/block` by their error strategy.
struct Scene {
    cluster: Cluster,
    gateways: Vec<Gateway>,
    _plane: ControlPlane,
    _backend: Backend,
}

fn definition(backend: &Backend, id: &str, strategy: &str, allowed: i64) -> Definition {
    let more = json!({
        "key": format!("{id}-{{#request.params['who'][0]}}"), "useKeyOnly": true, "errorStrategy": strategy,
    });
    let configuration = limit("quota", allowed, 10, "HOURS", more);
    v4(id, &format!("/{id}"), &backend.target("/bytes/2")).request("quota", configuration)
}

/// The counter of a `who` in Redis.
fn key(id: &str, who: &str) -> String {
    format!("ratelimit:{id}-{who}:q")
}

impl Scene {
    fn start(gateways: usize, allowed: i64, settings: &[(&str, &str)]) -> Self {
        let cluster = Cluster::start();
        let plane = ControlPlane::start();
        let backend = Backend::start();
        for (id, strategy) in [
            ("pass", "FALLBACK_PASS_TROUGH"),
            ("block", "BLOCK_ON_INTERNAL_ERROR"),
        ] {
            plane.deploy(&definition(&backend, id, strategy, allowed));
        }
        let gateways = together(gateways, &plane, || {
            let start = on_cluster(&cluster, Start::new());
            settings
                .iter()
                .fold(start, |start, (key, value)| start.set(key, value))
        });
        for gateway in &gateways {
            until("connections to all nodes", PATIENCE, || {
                let connected = gateway.metric("gateway_ratelimit_redis_connected", &[]);
                (connected == cluster.nodes.len() as f64).then_some(())
            });
        }
        Self {
            cluster,
            gateways,
            _plane: plane,
            _backend: backend,
        }
    }

    /// Asks the first gateway, and fails the test when the answer takes longer than it may.
    fn ask(&self, id: &str, who: &str) -> Response {
        let mut client = Client::open(self.gateways[0].port);
        let bound = Duration::from_millis(TIMEOUT_MS) + SLACK;
        timely(&format!("{id} {who}"), bound, || {
            client.send(&get(&format!("/{id}?who={who}"))).response()
        })
    }

    fn is_counted(&self, id: &str, who: &str) -> bool {
        is_counted(&self.ask(id, who))
    }

    /// One `who` per node, by index: its counters of both APIs are on that node.
    fn who_by_node(&self) -> Vec<String> {
        let of = |node: usize| {
            (0..)
                .map(|number| format!("{{{number}}}"))
                .find(|who| self.cluster.owner(&key("pass", who)) == node)
                .expect("every node has keys")
        };
        (0..self.cluster.nodes.len()).map(of).collect()
    }

    fn counter(&self, node: usize, id: &str, who: &str) -> String {
        self.cluster.nodes[node].command(&["HGET", &key(id, who), "counter"])
    }
}

/// A request that is blocked because the store failed has no headers at all.
fn is_counted(response: &Response) -> bool {
    response
        .field("X-Quota-Reset")
        .is_some_and(|reset| reset != "-1")
}

#[test]
fn two_gateways_on_a_cluster_admit_exactly_the_limit_of_every_key() {
    if !redis::is_installed() {
        return;
    }
    const KEYS: usize = 300;
    const LIMIT: usize = 5;
    let scene = Scene::start(2, LIMIT as i64, &[]);
    // Four connections to each gateway, each asks once for each key, many at a time and so in one turn of several nodes.
    let threads: Vec<_> = (0..8)
        .map(|lane| {
            let port = scene.gateways[lane % 2].port;
            std::thread::spawn(move || {
                let mut client = Client::open(port);
                let mut admitted = vec![0; KEYS];
                for chunk in (0..KEYS).collect::<Vec<_>>().chunks(10) {
                    let asked: Vec<u8> = chunk
                        .iter()
                        .flat_map(|who| get(&format!("/block?who={who}")))
                        .collect();
                    client.send(&asked);
                    for who in chunk {
                        let response = client.response();
                        assert!(is_counted(&response), "{who}: {}", response.text());
                        admitted[*who] += usize::from(response.status == 200);
                    }
                }
                admitted
            })
        })
        .collect();
    let mut admitted = vec![0; KEYS];
    for thread in threads {
        let own = thread.join().expect("every hit is counted");
        for (sum, own) in admitted.iter_mut().zip(own) {
            *sum += own;
        }
    }
    assert!(admitted.iter().all(|it| *it == LIMIT), "{admitted:?}");
    let sizes: Vec<usize> = scene
        .cluster
        .nodes
        .iter()
        .map(|node| node.command(&["DBSIZE"]))
        .map(|size| size.trim_start_matches(':').parse().expect("a number"))
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), KEYS, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size > KEYS / 6), "{sizes:?}");
    for who in (0..KEYS).step_by(29).map(|who| who.to_string()) {
        let owner = scene.cluster.owner(&key("block", &who));
        assert_eq!(scene.counter(owner, "block", &who), "8", "{who}");
    }
}

/// Moves a slot with one key to another node, as `redis-cli --cluster reshard` does; `flow` lets requests come in each state.
fn move_slot(cluster: &Cluster, key: &str, (from, to): (usize, usize), flow: &dyn Fn()) {
    let slot = &*cluster.slot(key);
    let set = |node: &Redis, words: &[&str]| {
        let command = [&["CLUSTER", "SETSLOT", slot], words].concat();
        assert_eq!(node.command(&command), "+OK", "{command:?}");
    };
    let [from, to] = [from, to].map(|index| &cluster.nodes[index]);
    let [from_id, to_id] = [from, to].map(|node| node.command(&["CLUSTER", "MYID"]));
    set(to, &["IMPORTING", &from_id]);
    set(from, &["MIGRATING", &to_id]);
    flow();
    let port = to.port.to_string();
    let moved = from.command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
    assert_eq!(moved, "+OK");
    // From here on the former owner says `ASK` …
    flow();
    set(to, &["NODE", &to_id]);
    set(from, &["NODE", &to_id]);
    // … and now `MOVED`.
    flow();
}

/// Ends the traffic, also when the test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_slot_that_moves_under_traffic_loses_no_hit_and_counts_none_twice() {
    if !redis::is_installed() {
        return;
    }
    let scene = Scene::start(2, PLENTY, &[]);
    let who = &scene.who_by_node()[0];
    let key = key("block", who);
    let failures = |scene: &Scene| {
        let of = |gateway: &Gateway| gateway.metric("gateway_ratelimit_redis_failures_total", &[]);
        scene.gateways.iter().map(of).sum::<f64>()
    };
    let failed_at_the_start = failures(&scene);
    let (is_over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|lane| {
                let port = scene.gateways[lane % 2].port;
                let (is_over, asked) = (&is_over, &asked);
                scope.spawn(move || {
                    let mut client = Client::open(port);
                    while !is_over.load(Ordering::SeqCst) {
                        let path = format!("/block?who={who}");
                        let response = client.send(&get(&path)).response();
                        asked.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(response.status, 200, "{}", response.text());
                        assert!(is_counted(&response));
                    }
                })
            })
            .collect();
        let ending = Ending(&is_over);
        let flow = || {
            let enough = asked.load(Ordering::SeqCst) + 100;
            until("traffic", PATIENCE, || {
                (asked.load(Ordering::SeqCst) >= enough).then_some(())
            });
        };
        flow();
        // Round and back: every node is once left and once entered.
        for between in [(0, 1), (1, 2), (2, 0)] {
            move_slot(&scene.cluster, &key, between, &flow);
        }
        drop(ending);
        for thread in threads {
            thread.join().expect("every hit is counted");
        }
    });
    let asked = asked.into_inner();
    assert_eq!(scene.counter(0, "block", who), asked.to_string());
    println!("{asked} hits were counted while a slot moved three times");
    // Redirections are the way of a cluster, not failures.
    assert_eq!(failures(&scene), failed_at_the_start);
}

/// Something that is done to a cluster, given the slot of a key of its first node.
type Deed = fn(&mut Cluster, &str);

#[test]
fn a_node_or_a_slot_that_is_away_takes_only_its_own_keys_with_it() {
    if !redis::is_installed() {
        return;
    }
    let timeout = TIMEOUT_MS.to_string();
    let settings = [("ratelimit.redis.operation.timeout", &*timeout)];
    let mut scene = Scene::start(1, PLENTY, &settings);
    let who = scene.who_by_node();
    let (ours, others) = (who[0].clone(), &who[1..]);
    // A key of the same node in a slot that stays.
    let neighbour = (1_000..)
        .map(|number| format!("{{{number}}}"))
        .find(|who| scene.cluster.owner(&key("pass", who)) == 0)
        .expect("the node has more keys");
    let slot = scene.cluster.slot(&key("pass", &ours));
    let faults: [(&str, bool, Deed, Deed); 3] = [
        (
            "a slot that nobody serves",
            true,
            |cluster, slot| {
                for node in &cluster.nodes {
                    node.command(&["CLUSTER", "DELSLOTS", slot]);
                }
            },
            |cluster, slot| {
                assert_eq!(
                    cluster.nodes[0].command(&["CLUSTER", "ADDSLOTS", slot]),
                    "+OK"
                );
            },
        ),
        (
            "a node that hangs",
            false,
            |cluster, _| cluster.nodes[0].signal("STOP"),
            |cluster, _| cluster.nodes[0].signal("CONT"),
        ),
        (
            "a node that is killed",
            false,
            |cluster, _| cluster.nodes[0].kill(),
            |cluster, _| cluster.nodes[0].restart(),
        ),
    ];
    for (what, has_neighbours, harm, heal) in faults {
        println!("{what}");
        for id in ["pass", "block"] {
            until("hits that are counted", PATIENCE, || {
                scene.is_counted(id, &ours).then_some(())
            });
        }
        harm(&mut scene.cluster, &slot);
        for id in ["pass", "block"] {
            until("hits that are not counted", PATIENCE, || {
                (!scene.is_counted(id, &ours)).then_some(())
            });
        }
        let left = |scene: &Scene, who: &str| {
            let response = scene.ask("pass", who);
            assert!(is_counted(&response), "{what}: {who}");
            number(&response, "X-Quota-Remaining")
        };
        let exact: Vec<&String> = match has_neighbours {
            true => others.iter().chain([&neighbour]).collect(),
            false => others.iter().collect(),
        };
        for _ in 0..10 {
            let passed = scene.ask("pass", &ours);
            assert_eq!(passed.status, 200, "{what}");
            assert!(!is_counted(&passed), "{what}");
            let blocked = scene.ask("block", &ours);
            assert_eq!(blocked.status, 429, "{what}");
            assert!(blocked.text().ends_with("due to internal error"), "{what}");
            for who in &exact {
                let before = left(&scene, who);
                assert_eq!(left(&scene, who), before - 1, "{what}: {who}");
            }
        }
        heal(&mut scene.cluster, &slot);
        until(&format!("limits hold again after {what}"), PATIENCE, || {
            let all = ["pass", "block"].map(|id| scene.is_counted(id, &ours));
            all.iter().all(|is_counted| *is_counted).then_some(())
        });
    }
}

#[test]
fn a_cluster_that_does_not_let_the_gateway_in_is_told_with_the_setting_to_look_at() {
    if !redis::is_installed() {
        return;
    }
    let bus = format!("cluster-port {}", ports::free());
    let node = Redis::start(&["cluster-enabled yes", "requirepass right", &bus]);
    let cluster = Cluster { nodes: vec![node] };
    let plane = ControlPlane::start();
    let start = on_cluster(&cluster, Start::new()).set("ratelimit.redis.password", "TOPSECRET");
    let mut gateway = start.control_plane(&plane).spawn();
    let output = gateway.until("refused by the cluster", |gateway| {
        let output = gateway.process.output();
        output.contains("tells its slots").then_some(output)
    });
    assert!(output.contains("`ratelimit.redis.password`"), "{output}");
    assert!(!output.contains("TOPSECRET"), "{output}");
}
