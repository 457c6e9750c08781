//! Several gateways that count together: one control plane, one backend, one Redis; and many requests at once.

use serde_json::{Value, json};

use super::backend::Backend;
use super::client::{Client, Response, request};
use super::control_plane::ControlPlane;
use super::definition::Definition;
use super::gateway::{Gateway, Start};
use super::redis::{Cluster, Redis};

/// Connections to each gateway in a burst.
const CONNECTIONS: usize = 8;
/// Requests that a connection sends before it reads the answers.
const PIPELINED: usize = 8;
/// A time-out that no healthy Redis meets, however busy the machine is.
const UNHURRIED: &str = "10000";

/// Gateways on one Redis.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) plane: ControlPlane,
    pub(crate) backend: Backend,
    pub(crate) redis: Redis,
}

impl Fleet {
    /// So many gateways with these settings, all with the same definitions, on a Redis of their own.
    pub(crate) fn start(
        gateways: usize,
        settings: &[(&str, &str)],
        definitions: impl FnOnce(&Backend) -> Vec<Definition>,
    ) -> Self {
        let redis = Redis::start(&[]);
        let plane = ControlPlane::start();
        let backend = Backend::start();
        for definition in definitions(&backend) {
            plane.deploy(&definition);
        }
        let gateways = together(gateways, &plane, || {
            let start = on(&redis, Start::new());
            settings
                .iter()
                .fold(start, |start, (key, value)| start.set(key, value))
        });
        Self {
            gateways,
            plane,
            backend,
            redis,
        }
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        self.gateways.iter().map(|gateway| gateway.port).collect()
    }
}

/// So many gateways that are started together and count.
pub(crate) fn together(
    gateways: usize,
    plane: &ControlPlane,
    start: impl Fn() -> Start,
) -> Vec<Gateway> {
    let starting: Vec<Gateway> = (0..gateways)
        .map(|_| {
            let start = start().or("ratelimit.redis.operation.timeout", UNHURRIED);
            start.control_plane(plane).spawn()
        })
        .collect();
    let ready = |mut gateway: Gateway| {
        gateway.until_ready();
        gateway.until_counting();
        gateway
    };
    starting.into_iter().map(ready).collect()
}

/// Lets a gateway count in this cluster.
pub(crate) fn on_cluster(cluster: &Cluster, start: Start) -> Start {
    let start = start.set("ratelimit.type", "redis");
    let nodes = cluster.nodes.iter().enumerate();
    nodes.fold(start, |start, (index, node)| {
        let setting = |name: &str| format!("ratelimit.redis.cluster.nodes[{index}].{name}");
        start
            .set(&setting("host"), "127.0.0.1")
            .set(&setting("port"), &node.port.to_string())
    })
}

/// Lets a gateway count in this Redis.
pub(crate) fn on(redis: &Redis, start: Start) -> Start {
    start
        .set("ratelimit.type", "redis")
        .set("ratelimit.redis.host", "127.0.0.1")
        .set("ratelimit.redis.port", &redis.port.to_string())
}

/// A configuration of `rate-limit`, `quota` or `spike-arrest` with headers; `more` overwrites members of it, and those of its window.
pub(crate) fn limit(policy: &str, limit: i64, time: u64, unit: &str, more: Value) -> Value {
    let member = match policy {
        "rate-limit" => "rate",
        "spike-arrest" => "spike",
        policy => policy,
    };
    let mut window = json!({ "limit": limit, "periodTime": time, "periodTimeUnit": unit });
    let mut whole = json!({ "addHeaders": true });
    for (name, value) in more.as_object().into_iter().flatten() {
        let is_outer = matches!(&**name, "addHeaders" | "async" | "errorStrategy");
        let object = if is_outer { &mut whole } else { &mut window };
        object[name] = value.clone();
    }
    whole[member] = window;
    whole
}

/// Asks all of these ports for one path, over several connections each, many at once. Answers in no order.
pub(crate) fn burst(ports: &[u16], path: &str, requests: usize) -> Vec<Response> {
    let lanes = ports.len() * CONNECTIONS;
    let threads: Vec<_> = (0..lanes)
        .map(|lane| {
            let port = ports[lane % ports.len()];
            let share = requests / lanes + usize::from(lane < requests % lanes);
            let bytes = request("GET", path, &[], b"");
            std::thread::spawn(move || {
                let mut client = Client::open(port);
                let mut responses = Vec::with_capacity(share);
                while responses.len() < share {
                    let count = PIPELINED.min(share - responses.len());
                    client.send(&bytes.repeat(count));
                    for _ in 0..count {
                        responses.push(client.response());
                    }
                }
                responses
            })
        })
        .collect();
    threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("a connection does not panic"))
        .collect()
}

/// A header as a number.
pub(crate) fn number(response: &Response, name: &str) -> i64 {
    response
        .field(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no number in {name}: {:?}", response.head))
}
