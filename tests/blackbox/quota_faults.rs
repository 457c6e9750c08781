//! What happens to Redis, and what a request sees of it: its step's error strategy, within the operation's time-out, and nobody else
//! anything (contract policies 6.5, 6.6).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::client::{Client, Response, fetch, get};
use crate::support::control_plane::ControlPlane;
use crate::support::definition::{Definition, v4};
use crate::support::fleet::{limit, number, on};
use crate::support::gateway::{Gateway, Start};
use crate::support::load::{Load, Plan};
use crate::support::redis::{self, Redis};
use crate::support::wait::{PATIENCE, timely, until};

/// `ratelimit.redis.operation.timeout`, milliseconds.
const TIMEOUT_MS: u64 = 200;
/// What a request may take beyond it on a busy machine.
const SLACK: Duration = Duration::from_millis(800);
/// Without a restart, limits hold again within this time after Redis is back, on a busy machine.
const RECOVERY: Duration = Duration::from_secs(10);
/// Never reached here. One per cent of it, a part of the lease mode, is used up within a test.
const LIMIT: i64 = 5_000;

/// A gateway with an API per error strategy and one without a limit, which must never notice.
pub(super) struct Scene {
    pub(super) gateway: Gateway,
    plane: ControlPlane,
    _backend: Backend,
    /// Traffic of the API without a limit.
    bystanders: Load,
}

fn definitions(backend: &Backend) -> Vec<Definition> {
    let api = |id: &str| v4(id, &format!("/{id}"), &backend.target("/bytes/2"));
    let limited = |policy: &str, strategy: &str| {
        let more = json!({ "errorStrategy": strategy });
        limit(policy, LIMIT, 10, "HOURS", more)
    };
    let bucket = json!({
        "refillRate": LIMIT, "refillPeriodTime": 1, "burstCapacity": LIMIT, "addHeaders": true, "errorStrategy": "BLOCK_ON_INTERNAL_ERROR",
    });
    vec![
        api("plain"),
        api("pass").request("rate-limit", limited("rate-limit", "FALLBACK_PASS_TROUGH")),
        api("block").request("quota", limited("quota", "BLOCK_ON_INTERNAL_ERROR")),
        api("bucket").request("token-bucket-rate-limit", bucket),
    ]
}

impl Scene {
    pub(super) fn start(start: Start) -> Self {
        let plane = ControlPlane::start();
        let backend = Backend::start();
        for definition in definitions(&backend) {
            plane.deploy(&definition);
        }
        let gateway = start
            .set("ratelimit.redis.operation.timeout", &TIMEOUT_MS.to_string())
            .control_plane(&plane)
            .ready();
        let mut bystander = Plan::steady("/plain");
        bystander.connections = 4;
        bystander.pace = Duration::from_millis(20);
        let bystanders = Load::start(gateway.port, &bystander);
        Self {
            gateway,
            plane,
            _backend: backend,
            bystanders,
        }
    }

    /// Asks, and fails the test when the answer takes longer than it may.
    pub(super) fn ask(&self, path: &str) -> Response {
        let mut client = Client::open(self.gateway.port);
        let bound = Duration::from_millis(TIMEOUT_MS) + SLACK;
        timely(path, bound, || client.send(&get(path)).response())
    }

    pub(super) fn is_counted(&self) -> bool {
        let pass = self.ask("/pass");
        assert_eq!(pass.status, 200, "{}", pass.text());
        number(&pass, "X-Rate-Limit-Reset") > 0
            && self.ask("/block").status == 200
            && self.ask("/bucket").status == 200
    }

    pub(super) fn until_counted(&self, what: &str) {
        until(
            &format!("limits hold again after: {what}"),
            RECOVERY,
            || self.is_counted().then_some(()),
        );
    }

    /// Whether the probe of the node finds the store well.
    fn is_well(&self) -> bool {
        let health = self.gateway.node("/health?probes=ratelimit-repository");
        health["ratelimit-repository"]["healthy"] == true
    }

    /// While Redis is away: several at once, as each strategy says.
    pub(super) fn assert_strategies(&self, what: &str) {
        let (passed, blocked): (Vec<Response>, Vec<Response>) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let turns = || 0..6;
                        let passed: Vec<Response> = turns().map(|_| self.ask("/pass")).collect();
                        let blocked: Vec<Response> = turns()
                            .flat_map(|_| [self.ask("/block"), self.ask("/bucket")])
                            .collect();
                        (passed, blocked)
                    })
                })
                .collect();
            let both = threads
                .into_iter()
                .map(|thread| thread.join().expect("all were in time"));
            both.reduce(|mut all, more| {
                all.0.extend(more.0);
                all.1.extend(more.1);
                all
            })
            .expect("threads")
        });
        for response in &passed {
            assert_eq!(response.status, 200, "{what}: {}", response.text());
            assert_eq!(number(response, "X-Rate-Limit-Reset"), -1, "{what}");
            assert_eq!(number(response, "X-Rate-Limit-Remaining"), LIMIT, "{what}");
        }
        for response in &blocked {
            assert_eq!(response.status, 429, "{what}: {}", response.text());
            let text = response.text();
            assert!(
                text.ends_with("blocked the query due to internal error"),
                "{text}"
            );
        }
    }

    /// Ends the scene; nobody else noticed anything.
    pub(super) fn end(self) -> Gateway {
        let tally = self.bystanders.stop();
        tally.assert_flawless();
        assert!(tally.answered > 0);
        self.gateway
    }
}

/// Something that is done to a Redis.
type Deed = fn(&mut Redis);
/// A fault, how it is made, and how it is healed.
type Fault = (&'static str, Deed, Deed);

const FAULTS: [Fault; 8] = [
    ("killed and started again", Redis::kill, Redis::restart),
    (
        "stopped and continued",
        |redis| redis.signal("STOP"),
        |redis| redis.signal("CONT"),
    ),
    (
        "made a replica of nobody",
        |redis| {
            redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
        },
        |redis| {
            redis.command(&["REPLICAOF", "NO", "ONE"]);
        },
    ),
    (
        "out of memory",
        |redis| {
            redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        },
        |redis| {
            redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
        },
    ),
    (
        "slow to answer writes",
        |redis| {
            redis.command(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        },
        |redis| {
            redis.command(&["CLIENT", "UNPAUSE"]);
        },
    ),
    (
        "no longer ours by its password",
        |redis| {
            redis.command(&["CONFIG", "SET", "requirepass", "another"]);
            // Those who are in stay in until they are thrown out.
            redis.command_as("another", &["CLIENT", "KILL", "TYPE", "normal"]);
        },
        |redis| {
            redis.command_as("another", &["CONFIG", "SET", "requirepass", ""]);
        },
    ),
    (
        "loading its data",
        |redis| {
            // Half a minute, unless it is healed.
            redis.command(&["DEBUG", "POPULATE", "1000", "load", "1100"]);
            redis.command(&["CONFIG", "SET", "key-load-delay", "30000"]);
            redis.begin(&["DEBUG", "RELOAD"]);
        },
        |redis| {
            redis.command(&["CONFIG", "SET", "key-load-delay", "0"]);
        },
    ),
    (
        "given other data under its key",
        |redis| {
            for key in [
                "ratelimit:pass-plan127.0.0.1:rl",
                "ratelimit:block-plan127.0.0.1:q",
                "tokenbucket:bucket-plan127.0.0.1:tb",
            ] {
                redis.command(&["SET", key, "text"]);
            }
        },
        |redis| {
            redis.command(&["FLUSHALL"]);
        },
    ),
];

/// All faults, one after the other, under traffic of an API without limits.
fn go_through_all(settings: &[(&str, &str)]) {
    if !redis::is_installed() {
        return;
    }
    let mut redis = Redis::start(&[
        "enable-debug-command yes",
        "loading-process-events-interval-bytes 1024",
        "rdbcompression no",
    ]);
    let start = settings
        .iter()
        .fold(on(&redis, Start::new()), |start, (key, value)| {
            start.set(key, value)
        });
    let scene = Scene::start(start);
    scene.until_counted("the start");
    for (what, harm, heal) in FAULTS {
        println!("redis is {what}");
        harm(&mut redis);
        // Requests that were counted before the fault took hold are counted.
        until(&format!("a failure: {what}"), PATIENCE, || {
            (!scene.is_counted()).then_some(())
        });
        until(&format!("nothing is held: {what}"), PATIENCE, || {
            let pass = scene.ask("/pass");
            let block = scene.ask("/block");
            (number(&pass, "X-Rate-Limit-Reset") == -1 && block.status == 429).then_some(())
        });
        scene.assert_strategies(what);
        heal(&mut redis);
        scene.until_counted(what);
    }
    // Forgotten scripts are no fault.
    redis.command(&["SCRIPT", "FLUSH"]);
    for _ in 0..3 {
        assert!(scene.is_counted(), "after SCRIPT FLUSH");
    }
    let bypassed = scene
        .gateway
        .metric("gateway_ratelimit_bypassed_total", &[]);
    let blocked = scene.gateway.metric("gateway_ratelimit_blocked_total", &[]);
    let least = (FAULTS.len() * 24) as f64;
    assert!(
        bypassed >= least && blocked >= 2.0 * least,
        "{bypassed} {blocked}"
    );

    // A server that hangs is soon not asked any more.
    let suspensions = scene
        .gateway
        .metric("gateway_ratelimit_redis_suspensions_total", &[]);
    assert!(suspensions >= 1.0, "{suspensions}");

    // The failure is in the report of the request that was blocked, and in the health of the node.
    until("a well store", PATIENCE, || scene.is_well().then_some(()));
    redis.kill();
    let blocked = until("a failure", PATIENCE, || {
        Some(scene.ask("/block")).filter(|response| response.status == 429)
    });
    let id = blocked.field("X-Gravitee-Request-Id").expect("an id");
    assert_eq!(
        scene.plane.report_of(id)["error-key"],
        "QUOTA_BLOCK_ON_INTERNAL_ERROR"
    );
    until("an ill store", PATIENCE, || {
        (!scene.is_well()).then_some(())
    });
    scene.end();
}

#[test]
fn faults_of_redis_cost_a_request_no_more_than_its_time_out_and_limits_hold_again_after_them() {
    go_through_all(&[]);
}

#[test]
fn faults_of_redis_cost_no_more_in_the_lease_mode() {
    go_through_all(&[
        ("ratelimit.redis.mode", "lease"),
        ("ratelimit.redis.lease.percent", "1"),
    ]);
}

#[test]
fn a_server_that_accepts_and_never_speaks_holds_up_nobody() {
    // The backlog accepts; nobody answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = mute.local_addr().expect("a bound address").port();
    let start = Start::new()
        .set("ratelimit.type", "redis")
        .set("ratelimit.redis.host", "127.0.0.1")
        .set("ratelimit.redis.port", &port.to_string());
    let scene = Scene::start(start);
    scene.assert_strategies("mute");
    // Neither does it hold up the stop.
    let mut gateway = scene.end();
    assert_eq!(gateway.stop("TERM", Duration::from_secs(15)), Some(0));
}

#[test]
fn a_redis_that_hangs_does_not_hold_up_the_stop() {
    if !redis::is_installed() {
        return;
    }
    for mode in ["strict", "lease"] {
        let redis = Redis::start(&[]);
        let plane = ControlPlane::start();
        let backend = Backend::start();
        let configuration =
            |is_async: bool| limit("quota", LIMIT, 1, "HOURS", json!({ "async": is_async }));
        for (id, is_async) in [("quota", false), ("async", true)] {
            let definition = v4(id, &format!("/{id}"), &backend.target(""));
            plane.deploy(&definition.request("quota", configuration(is_async)));
        }
        let start = on(&redis, Start::new()).set("ratelimit.redis.mode", mode);
        let mut gateway = start.control_plane(&plane).ready();
        gateway.until_counting();
        for path in ["/quota", "/async"] {
            assert_eq!(fetch(gateway.port, path).status, 200, "{mode}");
        }
        redis.signal("STOP");
        // Longer than the last reconciliation may take; much less than a hang.
        assert_eq!(
            gateway.stop("TERM", Duration::from_secs(15)),
            Some(0),
            "{mode}"
        );
    }
}

#[test]
fn a_gateway_starts_and_serves_without_redis_and_finds_it_later() {
    if !redis::is_installed() {
        return;
    }
    let mut redis = Redis::start(&[]);
    redis.kill();
    let scene = Scene::start(on(&redis, Start::new()));
    scene.assert_strategies("absent");
    redis.restart();
    scene.until_counted("absence");
    scene.end();
}

#[test]
fn a_wrong_password_is_a_failure_of_the_store_until_it_is_right() {
    if !redis::is_installed() {
        return;
    }
    let redis = Redis::start(&["requirepass right"]);
    let start = on(&redis, Start::new()).set("ratelimit.redis.password", "wrong");
    let scene = Scene::start(start);
    scene.assert_strategies("locked");
    let output = scene.gateway.process.output();
    assert!(output.contains("authentication failed"), "{output}");
    redis.command_as("right", &["CONFIG", "SET", "requirepass", "wrong"]);
    scene.until_counted("the wrong password");
    assert!(!scene.gateway.process.output().contains("\"wrong\""));
    scene.end();
}

#[test]
fn a_user_of_redis_needs_no_more_than_the_counters() {
    if !redis::is_installed() {
        return;
    }
    let redis = Redis::start(&[
        "user default off",
        "user gateway on >secret ~ratelimit:* ~tokenbucket:* -@all +@hash +@connection +@scripting +pexpireat",
    ]);
    let start = on(&redis, Start::new())
        .set("ratelimit.redis.username", "gateway")
        .set("ratelimit.redis.password", "secret");
    let scene = Scene::start(start);
    scene.until_counted("the start");
    assert!(!scene.gateway.process.output().contains("secret"));
    scene.end();
}

#[test]
fn failovers_of_sentinel_keep_the_counters_and_need_no_restart() {
    if !redis::is_installed() {
        return;
    }
    let mut primary = Redis::start(&[]);
    let replica_of = format!("replicaof 127.0.0.1 {}", primary.port);
    let mut replicas = vec![Redis::start(&[&replica_of]), Redis::start(&[&replica_of])];
    let replicated = |primary: &Redis, replicas: usize| {
        let expected = format!(":{replicas}");
        until("the replicas", PATIENCE, || {
            (primary.command(&["WAIT", &replicas.to_string(), "1000"]) == expected).then_some(())
        });
    };
    replicated(&primary, 2);
    let sentinel = Redis::sentinel(primary.port, &["requirepass hidden"]);
    let start = Start::new()
        .set("ratelimit.type", "redis")
        .set("ratelimit.redis.sentinel.master", "primary")
        .set("ratelimit.redis.sentinel.password", "hidden")
        .set("ratelimit.redis.sentinel.nodes[0].host", "127.0.0.1")
        .set(
            "ratelimit.redis.sentinel.nodes[0].port",
            &sentinel.port.to_string(),
        );
    let scene = Scene::start(start);
    scene.until_counted("the start");
    // A failover needs a replica that the sentinel knows.
    until("the replicas are known to the sentinel", PATIENCE, || {
        let known = sentinel.command_as("hidden", &["SENTINEL", "REPLICAS", "primary"]);
        (known == "*2").then_some(())
    });
    let left = |response: &Response| number(response, "X-Rate-Limit-Remaining");
    let harms: [(&str, Deed); 2] = [
        ("stopped", |redis| redis.signal("STOP")),
        ("killed", Redis::kill),
    ];
    for (what, harm) in harms {
        let before = left(&scene.ask("/pass"));
        replicated(&primary, replicas.len());
        println!("the primary is {what}");
        harm(&mut primary);
        until("a failure", PATIENCE, || {
            (!scene.is_counted()).then_some(())
        });
        scene.assert_strategies(what);
        let next = until("a new primary", PATIENCE, || {
            replicas
                .iter()
                .position(|replica| replica.command(&["SET", "probe", "1"]) == "+OK")
        });
        // The one that was stopped must not come back before the gateway has left it.
        let former = std::mem::replace(&mut primary, replicas.remove(next));
        scene.until_counted(what);
        drop(former);
        let after = left(&scene.ask("/pass"));
        assert!(
            after < before && after > before - 1_000,
            "{what}: {before}, {after}"
        );
    }
    scene.end();
}

#[test]
fn a_sentinel_without_the_name_of_its_primary_is_refused_at_the_start() {
    let mut gateway = Start::new()
        .set("ratelimit.type", "redis")
        .set("ratelimit.redis.sentinel.nodes[0].host", "127.0.0.1")
        .set("ratelimit.redis.sentinel.nodes[0].port", "1")
        .set("cloud.token", &crate::support::control_plane::token(3_600))
        .spawn();
    let status = gateway.process.wait(PATIENCE);
    assert_ne!(status.code(), Some(0));
    let output = gateway.process.output();
    assert!(
        output.contains("Incorrect Sentinel configuration : parameter 'ratelimit.redis.sentinel.master' is mandatory!"),
        "{output}"
    );
}

#[test]
fn an_old_engine_passes_whatever_the_strategy() {
    let plane = ControlPlane::start();
    let backend = Backend::start();
    let block: Value = limit(
        "quota",
        1,
        1,
        "HOURS",
        json!({ "errorStrategy": "BLOCK_ON_INTERNAL_ERROR" }),
    );
    plane.deploy(
        &crate::support::definition::v2("old", "/old", &backend.target(""))
            .request("quota", block)
            .with(|definition| definition["execution_mode"] = json!("v3")),
    );
    let gateway = Start::new().control_plane(&plane).ready();
    for _ in 0..2 {
        let response = fetch(gateway.port, "/old");
        assert_eq!(response.status, 200);
        assert_eq!(number(&response, "X-Quota-Reset"), -1);
        let id = response.field("X-Gravitee-Request-Id").expect("an id");
        let report = plane.report_of(id).to_string();
        assert!(!report.contains("NOT_APPLIED"), "{report}");
    }
}
