//! Ways to the Redis of the counters that ask who we are: TLS, users and passwords, sentinels.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::quota_faults::Scene;
use crate::support::control_plane::ControlPlane;
use crate::support::fleet::number;
use crate::support::gateway::{Gateway, Start};
use crate::support::load::{Load, Plan};
use crate::support::redis::{self, DATA_PASSWORD, Redis, SENTINEL_PASSWORD, Watched};
use crate::support::tls::Authority;

/// What must never be printed.
const PASSWORD: &str = "TOPSECRET";

/// A server that speaks TLS and lets one user in, and the certificates of two authorities: its own and a stranger's.
struct Vault {
    redis: Redis,
    tls_port: u16,
    folder: TempDir,
}

impl Vault {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, other) = (Authority::new("ours"), Authority::new("other"));
        for (name, authority) in [("ours.pem", &ours), ("other.pem", &other)] {
            std::fs::write(folder.path().join(name), &authority.pem).expect("a file");
        }
        let (certificate, key) = ours.certificate(&["127.0.0.1"]);
        let user = format!("user gateway on >{PASSWORD} ~* +@all");
        let settings = ["user default off", &*user];
        let (redis, tls_port) = Redis::start_tls(&certificate, &key, &settings);
        Self {
            redis,
            tls_port,
            folder,
        }
    }

    /// A gateway that trusts an authority and logs in.
    fn entered(&self, trusted: &str) -> Start {
        let path = self.folder.path().join(trusted);
        self.plain(self.tls_port)
            .set("ratelimit.redis.ssl", "true")
            .set("ratelimit.redis.trustAll", "false")
            .set("ratelimit.redis.truststore.type", "pem")
            .set("ratelimit.redis.truststore.path", text(&path))
            .set("ratelimit.redis.hostnameVerificationAlgorithm", "HTTPS")
    }

    fn plain(&self, port: u16) -> Start {
        Start::new()
            .set("ratelimit.type", "redis")
            .set("ratelimit.redis.host", "127.0.0.1")
            .set("ratelimit.redis.port", &port.to_string())
            .set("ratelimit.redis.username", "gateway")
            .set("ratelimit.redis.password", PASSWORD)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

#[test]
fn counters_are_reached_over_tls_by_a_user_with_a_password() {
    if !redis::is_installed() {
        return;
    }
    let vault = Vault::start();
    let everything = vault
        .entered("ours.pem")
        .unset("ratelimit.redis.trustAll")
        .unset("ratelimit.redis.truststore.path")
        .unset("ratelimit.redis.truststore.type")
        .unset("ratelimit.redis.hostnameVerificationAlgorithm");
    for start in [vault.entered("ours.pem"), everything] {
        let scene = Scene::start(start);
        scene.until_counted("the start");
        let gateway = scene.end();
        assert!(!gateway.process.output().contains(PASSWORD));
    }
}

#[test]
fn what_keeps_the_gateway_out_is_told_with_the_setting_to_look_at_and_without_the_secret() {
    if !redis::is_installed() {
        return;
    }
    let vault = Vault::start();
    let watched = Watched::start(1);
    let sentinel = |start: Start| {
        start
            .set("ratelimit.redis.sentinel.master", "primary")
            .set("ratelimit.redis.sentinel.nodes[0].host", "127.0.0.1")
            .set(
                "ratelimit.redis.sentinel.nodes[0].port",
                &watched.sentinels[0].port.to_string(),
            )
    };
    let right = || vault.entered("ours.pem");
    let cases = [
        (
            "a stranger's authority",
            vault.entered("other.pem"),
            "ratelimit.redis.truststore.path",
        ),
        (
            "another name",
            right().set("ratelimit.redis.host", "localhost"),
            "ratelimit.redis.hostnameVerificationAlgorithm",
        ),
        (
            "no TLS at the other end",
            vault
                .plain(vault.redis.port)
                .set("ratelimit.redis.ssl", "true")
                .set("ratelimit.redis.tcp.connectTimeout", "500"),
            "ratelimit.redis.ssl",
        ),
        (
            "another password",
            right().set("ratelimit.redis.password", "ANOTHER-TOPSECRET"),
            "ratelimit.redis.password",
        ),
        (
            "another user",
            right().set("ratelimit.redis.username", "nobody"),
            "ratelimit.redis.username",
        ),
        (
            "no password",
            right().unset("ratelimit.redis.password"),
            "ratelimit.redis.password",
        ),
        (
            "another password of the sentinels",
            sentinel(vault.plain(1)).set("ratelimit.redis.sentinel.password", PASSWORD),
            "ratelimit.redis.sentinel.password",
        ),
        (
            "no password of the sentinels",
            sentinel(vault.plain(1)),
            "ratelimit.redis.sentinel.password",
        ),
        (
            "another password behind the sentinels",
            sentinel(vault.plain(1))
                .unset("ratelimit.redis.username")
                .set("ratelimit.redis.sentinel.password", SENTINEL_PASSWORD),
            "ratelimit.redis.password",
        ),
    ];
    let plane = ControlPlane::start();
    let gateways: Vec<(&str, Gateway, &str)> = cases
        .into_iter()
        .map(|(what, start, setting)| (what, start.control_plane(&plane).spawn(), setting))
        .collect();
    for (what, mut gateway, setting) in gateways {
        let line = gateway.until(what, |gateway| {
            let output = gateway.process.output();
            let line = output
                .lines()
                .find(|line| line.contains("no connection to Redis"));
            line.map(str::to_owned)
        });
        assert!(line.contains(&format!("`{setting}`")), "{what}: {line}");
        let output = gateway.process.output();
        for secret in [PASSWORD, SENTINEL_PASSWORD, DATA_PASSWORD] {
            assert!(!output.contains(secret), "{what}: {output}");
        }
    }
}

#[test]
fn limits_survive_several_failovers_of_three_sentinels_under_load() {
    if !redis::is_installed() {
        return;
    }
    let mut watched = Watched::start(3);
    let start = Start::new()
        .set("ratelimit.type", "redis")
        .set("ratelimit.redis.password", DATA_PASSWORD)
        .set("ratelimit.redis.sentinel.master", "primary")
        .set("ratelimit.redis.sentinel.password", SENTINEL_PASSWORD);
    let start = watched
        .sentinels
        .iter()
        .enumerate()
        .fold(start, |start, (index, sentinel)| {
            let setting = |name: &str| format!("ratelimit.redis.sentinel.nodes[{index}].{name}");
            start
                .set(&setting("host"), "127.0.0.1")
                .set(&setting("port"), &sentinel.port.to_string())
        });
    let scene = Scene::start(start);
    scene.until_counted("the start");
    let mut plan = Plan::steady("/pass");
    plan.connections = 4;
    plan.judge = Arc::new(|_, response| match response.status {
        200 => Ok(()),
        status => Err(format!("status {status}: {}", response.text())),
    });
    let load = Load::start(scene.gateway.port, &plan);
    let left = || number(&scene.ask("/pass"), "X-Rate-Limit-Remaining");
    for round in 0..4 {
        load.flow(100);
        let before = left();
        // Another sentinel each time: the others hear of it, and so does the gateway.
        watched.fail_over(round % 3);
        scene.until_counted("a failover");
        let after = left();
        // Replicas are behind by a moment; a counter that was lost would begin anew.
        assert!(
            after < before + 50 && after > before - 2_000,
            "round {round}: {before}, {after}"
        );
    }
    load.stop().assert_flawless();
    let gateway = scene.end();
    let output = gateway.process.output();
    assert!(!output.contains(DATA_PASSWORD) && !output.contains(SENTINEL_PASSWORD));
}
