//! Where counters are kept, and how the Redis is reached.

use crate::support::{Sources, yaml};
use turnpike_config::{LeaseConfig, RedisPlaceConfig, Secret};

fn nodes(nodes: &[(&str, u16)]) -> Vec<(String, u16)> {
    nodes
        .iter()
        .map(|(host, port)| ((*host).to_owned(), *port))
        .collect()
}

#[test]
fn a_redis_is_one_server_or_what_sentinels_name_or_a_cluster() {
    let sentinel = RedisPlaceConfig::Sentinel {
        master: "mymaster".to_owned(),
        nodes: nodes(&[("s1", 26_379), ("s2", 7)]),
        password: Some(Secret::new("s")),
    };
    let cluster = RedisPlaceConfig::Cluster {
        nodes: nodes(&[("c1", 6_379), ("c2", 7)]),
    };
    let standalone = |host: &str, port| RedisPlaceConfig::Standalone {
        host: host.to_owned(),
        port,
    };
    for (redis, expected) in [
        ("{}", standalone("localhost", 6_379)),
        ("{host: r, port: 1}", standalone("r", 1)),
        (
            "{host: r, sentinel: {master: mymaster, password: s, nodes: [{host: s1}, {host: s2, port: 7}]}}",
            sentinel.clone(),
        ),
        (
            "{cluster: {nodes: [{host: c1}, {host: c2, port: 7}]}}",
            cluster,
        ),
    ] {
        for prefix in ["", "repositories: "] {
            let text = format!("{prefix}{{ratelimit: {{type: redis, redis: {redis}}}}}\n");
            let text = if prefix.is_empty() {
                format!("ratelimit: {{type: redis, redis: {redis}}}\n")
            } else {
                text
            };
            let sources = yaml(&text);
            assert_eq!(sources.diagnostics(), "", "{text}");
            assert_eq!(sources.config().ratelimit.redis.place, expected, "{text}");
        }
    }
    let by_variables = yaml("ratelimit: {type: redis}\n")
        .env("gravitee_ratelimit_redis_sentinel_master", "mymaster")
        .env("gravitee_ratelimit_redis_sentinel_password", "s")
        .env("gravitee_ratelimit_redis_sentinel_nodes_0_host", "s1")
        .env("gravitee_ratelimit_redis_sentinel_nodes_1_host", "s2")
        .env("gravitee_ratelimit_redis_sentinel_nodes_1_port", "7");
    assert_eq!(by_variables.config().ratelimit.redis.place, sentinel);
}

#[test]
fn own_and_common_settings_are_read() {
    let text = "ratelimit:\n  maxKeys: 7\n  redis: {mode: lease, lease: {percent: 5, settleInterval: 250}, username: u, password: p,\n\
                \x20   operation: {timeout: 25}, tcp: {connectTimeout: 300}}\n\
                services: {ratelimit: {enabled: false, async: {flushInterval: 100}}}\n";
    let config = yaml(text).config().ratelimit;
    assert_eq!(config.keys_max, 7);
    assert_eq!(
        config.lease,
        Some(LeaseConfig {
            percent: 5,
            settle_interval_ms: 250
        })
    );
    assert_eq!(
        (config.asynchronous, config.flush_interval_ms),
        (false, 100)
    );
    let redis = config.redis;
    assert_eq!(
        (redis.operation_timeout_ms, redis.connect_timeout_ms),
        (25, 300)
    );
    assert_eq!(redis.username.as_deref(), Some("u"));
    assert_eq!(redis.password, Some(Secret::new("p")));
    assert!(redis.tls.is_none());
    let config = yaml("services: {ratelimit: {async: {flushInterval: 0}}}\n").config();
    assert_eq!(config.ratelimit.flush_interval_ms, 5_000);
    assert_eq!(config.ratelimit.lease, None);
}

#[test]
fn tls_trusts_everyone_unless_told_not_to() {
    let text = |rest: &str| format!("ratelimit: {{type: redis, redis: {{ssl: true{rest}}}}}\n");
    let tls = |rest: &str| yaml(&text(rest)).config().ratelimit.redis.tls.expect("TLS");
    let default = tls("");
    assert!(default.trust_all && !default.verify_hostname);
    let store = ", truststore: {type: pem, path: /ca.pem}";
    assert_eq!(tls(store).truststore_path, None, "trustAll wins");
    let strict = tls(&format!(
        ", trustAll: false, hostnameVerificationAlgorithm: HTTPS, tlsProtocols: \"TLSv1.2, TLSv1.3\"{store}"
    ));
    assert!(!strict.trust_all && strict.verify_hostname);
    assert_eq!(strict.truststore_path, Some("/ca.pem".into()));
    assert_eq!(strict.protocols, ["TLSv1.2", "TLSv1.3"]);
    let keys = tls(", keystore: {type: PEM, certificates: [{cert: /c, key: /k}]}").keystore;
    assert_eq!(keys, Some(("/c".into(), "/k".into())));
    let one = tls(", keystore: {type: pem, path: /both}").keystore;
    assert_eq!(one, Some(("/both".into(), "/both".into())));
}

#[test]
fn what_cannot_work_stops_the_start_with_the_texts_of_the_java_gateway() {
    for (redis, expected) in [
        (
            "{sentinel: {nodes: [{host: s}]}}",
            "error: Incorrect Sentinel configuration : parameter 'ratelimit.redis.sentinel.master' is mandatory!",
        ),
        (
            "{ssl: true, trustAll: false, truststore: {type: pem}}",
            "error: Missing PEM truststore value",
        ),
        (
            "{ssl: true, trustAll: false, truststore: {type: jks}}",
            "error: Missing JKS truststore value",
        ),
        (
            "{ssl: true, keystore: {type: pkcs12}}",
            "error: Missing PKCS12 keystore value",
        ),
        (
            "{ssl: true, keystore: {type: pkcs12, path: /k}}",
            "error: ratelimit.redis.keystore.type: a keystore of the type PKCS12 is not supported",
        ),
        (
            "{ssl: true, keystore: {type: odd, path: /k}}",
            "warning: ratelimit.redis.keystore.type: expected `pem`, found `odd`: it is left out",
        ),
    ] {
        let used = format!("ratelimit: {{type: redis, redis: {redis}}}\n");
        let found = yaml(&used).diagnostics();
        assert!(found.starts_with(expected), "{redis}: {found}");
        let unused = format!("ratelimit: {{type: none, redis: {redis}}}\n");
        let found = yaml(&unused).diagnostics();
        assert!(!found.contains("error:"), "{redis}: {found}");
    }
}

#[test]
fn passwords_do_not_show() {
    let text = "ratelimit: {redis: {password: TOPSECRET, sentinel: {master: m, password: TOPSECRET, nodes: [{host: s}]}}}\n";
    let config = Sources::new().yaml(text).config();
    let shown = format!("{:?} {:?}", config.ratelimit, config.effective);
    assert!(!shown.contains("TOPSECRET"), "{shown}");
}
