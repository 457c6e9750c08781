//! What values become: units, layers, switches.

use crate::support::{Sources, yaml};
use turnpike_config::{
    Authentication, DriverChoice, NodeApiAuthentication, PathNormalization, ProxyConfig, Secret,
};

#[test]
fn units_multiply_delays() {
    let config = yaml(
        "services:\n  sync: {delay: 3, unit: SECONDS}\n  heartbeat: {delay: 2, unit: minutes}\n  health: {delay: 7000}\n\
         gracefulShutdown: {delay: 20, unit: SECONDS, failReadiness: yes}\nhttp: {idleTimeout: 60}\n\
         reporters: {cloud: {bulk: {items: 5, flushInterval: 9}}}\nmanagement: {http: {connectionRetry: {delaySec: 4, backoffFactor: 2}}}\n",
    )
    .config();
    assert_eq!(config.sync.delay_ms, 3_000);
    assert_eq!(config.heartbeat.delay_ms, 120_000);
    assert_eq!(config.health.delay_ms, 7_000);
    assert_eq!(
        (config.shutdown.delay_ms, config.shutdown.fail_readiness),
        (20_000, true)
    );
    assert_eq!(config.servers[0].idle_timeout_ms, 60_000);
    assert_eq!(
        (
            config.reporters.cloud.flush_interval_ms,
            config.reporters.cloud.bulk_items
        ),
        (9_000, 5)
    );
    assert_eq!(
        (
            config.management.retry.delay_ms,
            config.management.retry.backoff_factor
        ),
        (4_000, 2.0)
    );
}

#[test]
fn a_hybrid_gateway_is_set_up_by_its_variables_alone() {
    let sources = Sources::new()
        .env("gravitee_cloud_token", "head.body.signature")
        .env("gravitee_license_key", "bGljZW5jZQ==")
        .env("gravitee_ratelimit_type", "redis")
        .env("gravitee_ratelimit_redis_host", "redis")
        .env("gravitee_ratelimit_redis_port", "6379")
        .env(
            "gravitee_services_core_http_authentication_users_admin",
            "changed",
        );
    let config = sources.config();
    assert_eq!(config.cloud.unwrap().token.expose(), "head.body.signature");
    assert_eq!(config.license.key.unwrap().expose(), "bGljZW5jZQ==");
    assert_eq!(config.ratelimit_type, turnpike_config::RatelimitType::Redis);
    let users = NodeApiAuthentication::Basic(vec![("admin".to_owned(), Secret::new("changed"))]);
    assert_eq!(config.node_api.authentication, users);
    let upper = Sources::new().env(
        "GRAVITEE_SERVICES_CORE_HTTP_AUTHENTICATION_USERS_ADMIN",
        "changed",
    );
    assert_eq!(upper.config().node_api.authentication, users);
}

#[test]
fn a_cloud_token_counts_unless_it_is_blank_or_switched_off() {
    for (text, on) in [
        ("cloud: {token: t}\n", true),
        ("cloud: {token: t, enabled: true}\n", true),
        ("cloud: {token: t, enabled: false}\n", false),
        ("cloud: {token: \"  \"}\n", false),
        ("cloud: {token: }\n", false),
        ("cloud: {enabled: true}\n", false),
    ] {
        assert_eq!(yaml(text).config().cloud.is_some(), on, "{text}");
    }
}

#[test]
fn own_client_settings_win_over_those_of_the_cloud() {
    let text = "cloud:\n  token: t\n  client:\n    http: {connectTimeout: 1111, idleTimeout: 2222, version: HTTP_1_1}\n    ssl: {trustAll: true}\n\
                \x20   proxy: {enabled: true, host: global, port: 1}\n\
                management: {http: {connectTimeout: 3333, ssl: {verifyHostname: false}}}\n\
                reporters: {cloud: {client: {http: {idleTimeout: 4444}, proxy: {enabled: true, host: own, username: u, password: p}}}}\n";
    let config = Sources::new().yaml(text).config();
    let (sync, reports) = (&config.management.client, &config.reporters.cloud.client);
    assert_eq!(
        (sync.connect_timeout_ms, sync.idle_timeout_ms, sync.http2),
        (3_333, 2_222, false)
    );
    assert_eq!((sync.trust_all, sync.verify_hostname), (true, false));
    assert_eq!(
        sync.proxy,
        Some(ProxyConfig {
            host: "global".to_owned(),
            port: 1,
            credentials: None
        })
    );
    assert_eq!(
        (
            reports.connect_timeout_ms,
            reports.idle_timeout_ms,
            reports.verify_hostname
        ),
        (1_111, 4_444, true)
    );
    let own = ProxyConfig {
        host: "own".to_owned(),
        port: 3_128,
        credentials: Some(("u".to_owned(), Secret::new("p"))),
    };
    assert_eq!(reports.proxy, Some(own));

    let config = Sources::new().yaml("cloud: {token: t}\n").config();
    assert_eq!(
        (
            config.management.client.idle_timeout_ms,
            config.management.client.http2
        ),
        (60_000, true)
    );
    let config = yaml("cloud: {client: {http: {connectTimeout: 1}}}\n").config();
    assert_eq!(
        (
            config.management.client.connect_timeout_ms,
            config.management.client.http2
        ),
        (5_000, false),
        "no token, no cloud"
    );
}

#[test]
fn the_system_proxy_is_taken_when_asked_for() {
    let text = "system: {proxy: {host: sys, port: 8888}}\nmanagement: {http: {proxy: {enabled: true, useSystemProxy: true, host: other}}}\n";
    let proxy = yaml(text).config().management.client.proxy.unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port), ("sys", 8_888));
}

#[test]
fn reports_carry_warnings_unless_they_are_switched_off() {
    assert!(yaml("").config().reporters.warnings);
    let text = "reporters: {warnings: {enabled: false}}\n";
    assert!(!yaml(text).config().reporters.warnings);
}

#[test]
fn the_system_proxy_is_there_for_calls_of_policies() {
    assert_eq!(yaml("tags: a\n").config().system_proxy, None);
    let text = "system: {proxy: {host: sys, username: u, password: p}}\n";
    let proxy = yaml(text).config().system_proxy.unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port), ("sys", 3_128));
    assert_eq!(proxy.credentials, Some(("u".to_owned(), Secret::new("p"))));
}

#[test]
fn bridge_credentials_are_read_by_type() {
    let jwt = Authentication::Jwt {
        token: Secret::new("j"),
    };
    let basic = Authentication::Basic {
        username: "u".to_owned(),
        password: Secret::new("0123"),
    };
    for (text, expected) in [
        ("{}", None),
        (
            "{type: none, basic: {username: u, password: p}}",
            Some(Authentication::None),
        ),
        (
            "{type: basic, basic: {username: u, password: 0123}}",
            Some(basic.clone()),
        ),
        ("{basic: {username: u, password: 0123}}", Some(basic)),
        ("{type: JWT, jwt: {token: j}}", Some(jwt)),
    ] {
        let config = yaml(&format!(
            "management: {{http: {{authentication: {text}}}}}\n"
        ))
        .config();
        assert_eq!(config.management.authentication, expected, "{text}");
    }
}

#[test]
fn an_empty_text_turns_the_api_key_header_off_and_a_blank_line_does_not() {
    for (text, header) in [
        ("policy: {api-key: {header: \"\"}}\n", None),
        (
            "policy: {api-key: {header: }}\n",
            Some("X-Gravitee-Api-Key"),
        ),
        ("policy: {api-key: {header: X-Mine}}\n", Some("X-Mine")),
    ] {
        assert_eq!(
            yaml(text).config().api.key_header.as_deref(),
            header,
            "{text}"
        );
    }
    assert_eq!(
        yaml("")
            .env("gravitee_policy_apikey_param", "")
            .config()
            .api
            .key_parameter,
        None
    );
}

#[test]
fn a_list_of_servers_replaces_the_single_one() {
    let text = "http: {port: 1}\nservers:\n  - {id: a, port: 9001, idleTimeout: 2}\n  - id: b\n    port: 9002\n    host: 127.0.0.1\n";
    let servers = yaml(text)
        .env("gravitee_servers_1_maxHeaderSize", "9000")
        .config()
        .servers;
    let short: Vec<_> = servers
        .iter()
        .map(|server| (server.id.as_deref(), server.port, server.header_bytes_max))
        .collect();
    assert_eq!(
        short,
        [(Some("a"), 9_001, 8_192), (Some("b"), 9_002, 9_000)]
    );
    assert_eq!(servers[0].idle_timeout_ms, 2_000);
}

#[test]
fn own_keys_are_read() {
    let text = "gateway:\n  runtime: {driver: epoll, cpus: \"0-1,3\", workers: 2, ringEntries: 256}\n\
                http: {paths: {normalization: none}, headTimeout: 5, maxHeaderFields: 7, maxConnections: 9, backlog: 11}\n\
                services: {sync: {snapshot: {path: /tmp/s}, retryDelay: 13}}\nmanagement: {http: {clientVersion: 4.9.0}}\n";
    let config = yaml(text).config();
    assert_eq!(config.runtime.driver, DriverChoice::Epoll);
    assert_eq!(
        (
            config.runtime.cpus,
            config.runtime.workers,
            config.runtime.ring_entries
        ),
        (Some(vec![0, 1, 3]), Some(2), 256)
    );
    assert_eq!(config.request.path_normalization, PathNormalization::None);
    let server = &config.servers[0];
    assert_eq!(
        (
            server.head_timeout_ms,
            server.header_fields_max,
            server.connections_max,
            server.backlog
        ),
        (5, 7, 9, 11)
    );
    assert_eq!(config.sync.snapshot_path.unwrap().to_str(), Some("/tmp/s"));
    assert_eq!(
        (
            config.sync.retry_delay_ms,
            config.management.client_version.as_str()
        ),
        (13, "4.9.0")
    );
}

#[test]
fn the_licence_is_its_key_or_a_named_file_or_the_usual_file() {
    let sources = Sources::new()
        .file("license/license.key", "x")
        .file("other.key", "y");
    assert_eq!(
        sources.config().license.path,
        Some(sources.path("license/license.key"))
    );
    let other = sources.path("other.key");
    let sources = sources.set(&format!("gravitee.license={}", other.display()));
    assert_eq!(sources.config().license.path, Some(other));
    let by_variable = Sources::new().file("other.key", "y");
    let other = by_variable.path("other.key");
    let by_variable = by_variable.env("gravitee_license", &other.display().to_string());
    assert_eq!(by_variable.config().license.path, Some(other));
}

#[test]
fn effective_settings_are_sorted_complete_and_without_secrets() {
    let sources = Sources::new()
        .yaml(
            "cloud: {token: TOPSECRET}\nservices: {core: {http: {authentication: {users: {bob: TOPSECRET}}}}}\n\
             redis: {sentinelPassword: TOPSECRET}\nmanagement: {http: {url: \"http://user:TOPSECRET@bridge/x\"}}\nzone: \"${MY_ZONE}\"\nel: file:///etc/hostname\n",
        )
        .env("MY_ZONE", "north")
        .env("gravitee_license_key", "TOPSECRET")
        .env("GRAVITEE_SERVICES_CORE_HTTP_AUTHENTICATION_USERS_EVE", "TOPSECRET")
        .env("gravitee_http_port", "9000");
    let config = sources.config();
    let effective = &config.effective;
    assert!(effective.is_sorted());
    let get = |key: &str| {
        effective
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    };
    for (key, value) in [
        ("cloud.token", "***"),
        ("license.key", "***"),
        ("license_key", "***"),
        ("http_port", "9000"),
        ("http.port", "9000"),
        ("http.host", "0.0.0.0"),
        ("zone", "north"),
        ("el", "***"),
        ("management.http.url", "http://***@bridge/x"),
        ("services.core.http.authentication.users.bob", "***"),
        ("redis.sentinelPassword", "***"),
    ] {
        assert_eq!(get(key), Some(value), "{key}");
    }
    assert!(
        !format!("{effective:?}").contains("TOPSECRET"),
        "{effective:?}"
    );
}

#[test]
fn options_do_not_show_their_values() {
    let sources = Sources::new()
        .env("gravitee_cloud_token", "TOPSECRET")
        .set("cloud.token=TOPSECRET");
    let text = format!("{:?}", sources.options);
    assert!(
        !text.contains("TOPSECRET")
            && text.contains("gravitee_cloud_token")
            && text.contains("cloud.token"),
        "{text}"
    );
}

#[test]
fn policies_read_settings_by_their_full_names_and_nothing_prints_them() {
    let config = Sources::new()
        .yaml("policy:\n  jwt: {issuer: {mine: {default: hunter2}}}\n  api-key: {param: key}\n")
        .env("gravitee_policy_http_callout_whitelist", "hunter3")
        .env("gravitee_policy_apikey_header", "X-Own")
        .env("gravitee_policy_jwt_issuer_other_one_k1", "hunter5")
        .env("AWS_SECRET_ACCESS_KEY", "hunter4")
        .env("AWKWARD", "no")
        .config();
    let found: Vec<(&str, &str)> = config
        .policies
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    for expected in [
        ("policy.jwt.issuer.mine.default", "hunter2"),
        ("policy.jwt.issuer.other_one.k1", "hunter5"),
        ("policy.api-key.param", "key"),
        ("policy.api-key.header", "X-Own"),
    ] {
        assert!(found.contains(&expected), "{expected:?}: {found:?}");
    }
    assert!(
        found.iter().any(|(_, value)| *value == "hunter3"),
        "{found:?}"
    );
    let environment: Vec<&str> = config
        .policies
        .environment
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(environment, ["AWS_SECRET_ACCESS_KEY"]);
    assert!(!format!("{:?}", config.policies).contains("hunter"));
}
