//! `ratelimit.*` and `services.ratelimit.*`.

use std::path::PathBuf;

use super::Reader;
use super::reader::LIST_ITEMS_MAX;
use crate::diagnostic::{Diagnostic, Severity};
use crate::ratelimit::{
    LeaseConfig, RatelimitConfig, RedisConfig, RedisPlaceConfig, RedisTlsConfig,
};
use crate::settings::RatelimitType;

const PREFIX: &str = "ratelimit.redis";
/// Port of sentinels that name none.
const SENTINEL_PORT: u16 = 26_379;
/// Port of nodes that name none.
const REDIS_PORT: u16 = 6_379;

pub(super) fn kind(reader: &mut Reader<'_>) -> RatelimitType {
    let types = [
        ("none", RatelimitType::None),
        ("redis", RatelimitType::Redis),
        ("local", RatelimitType::Local),
    ];
    reader.choice("ratelimit.type", &types).unwrap_or_default()
}

pub(super) fn ratelimit(reader: &mut Reader<'_>, kind: RatelimitType) -> RatelimitConfig {
    let default = RatelimitConfig::default();
    let is_leased = reader
        .choice(
            "ratelimit.redis.mode",
            &[("strict", false), ("lease", true)],
        )
        .unwrap_or(false);
    let lease = LeaseConfig::default();
    let lease = LeaseConfig {
        percent: reader
            .number("ratelimit.redis.lease.percent")
            .unwrap_or(lease.percent),
        settle_interval_ms: reader
            .number("ratelimit.redis.lease.settleInterval")
            .unwrap_or(lease.settle_interval_ms),
    };
    RatelimitConfig {
        keys_max: reader
            .number_as("ratelimit.maxKeys")
            .unwrap_or(default.keys_max),
        redis: redis(reader, kind == RatelimitType::Redis),
        lease: is_leased.then_some(lease),
        asynchronous: reader
            .flag("services.ratelimit.enabled")
            .unwrap_or(default.asynchronous),
        // Nothing and what is not positive is the default, as in the reference.
        flush_interval_ms: reader
            .number("services.ratelimit.async.flushInterval")
            .filter(|interval_ms| *interval_ms > 0)
            .unwrap_or(default.flush_interval_ms),
    }
}

/// What is missing is an error only where the Redis is used.
fn redis(reader: &mut Reader<'_>, is_used: bool) -> RedisConfig {
    let default = RedisConfig::default();
    let place = place(reader, is_used);
    let is_tls = reader.flag("ratelimit.redis.ssl").unwrap_or(false);
    RedisConfig {
        place,
        username: reader.text("ratelimit.redis.username"),
        password: reader.secret("ratelimit.redis.password"),
        tls: if is_tls {
            Some(tls(reader, is_used))
        } else {
            None
        },
        operation_timeout_ms: reader
            .number("ratelimit.redis.operation.timeout")
            .unwrap_or(default.operation_timeout_ms),
        connect_timeout_ms: reader
            .number("ratelimit.redis.tcp.connectTimeout")
            .unwrap_or(default.connect_timeout_ms),
    }
}

fn place(reader: &mut Reader<'_>, is_used: bool) -> RedisPlaceConfig {
    let sentinels = nodes(reader, "sentinel", SENTINEL_PORT);
    let cluster = nodes(reader, "cluster", REDIS_PORT);
    let master = reader.text("ratelimit.redis.sentinel.master");
    let password = reader.secret("ratelimit.redis.sentinel.password");
    if !sentinels.is_empty() {
        if master.is_none() && is_used {
            let error = Diagnostic::error(
                "Incorrect Sentinel configuration : parameter 'ratelimit.redis.sentinel.master' is mandatory!",
            )
            .hint("name the primary as the sentinels do: `master: mymaster`, or the variable `gravitee_ratelimit_redis_sentinel_master`");
            reader.report(error);
        }
        return RedisPlaceConfig::Sentinel {
            master: master.unwrap_or_default(),
            nodes: sentinels,
            password,
        };
    }
    if !cluster.is_empty() {
        return RedisPlaceConfig::Cluster { nodes: cluster };
    }
    RedisPlaceConfig::Standalone {
        host: reader
            .text("ratelimit.redis.host")
            .unwrap_or_else(|| "localhost".to_owned()),
        port: reader
            .number_as("ratelimit.redis.port")
            .unwrap_or(REDIS_PORT),
    }
}

/// `<list>.nodes[i].host` and `.port`, up to the first without a host.
fn nodes(reader: &mut Reader<'_>, list: &str, port: u16) -> Vec<(String, u16)> {
    let mut nodes = Vec::new();
    for index in 0..LIST_ITEMS_MAX {
        let node = format!("{PREFIX}.{list}.nodes[{index}]");
        let Some(host) = reader.text(&format!("{node}.host")) else {
            break;
        };
        let port = reader.number_as(&format!("{node}.port")).unwrap_or(port);
        nodes.push((host, port));
    }
    nodes
}

fn tls(reader: &mut Reader<'_>, is_used: bool) -> RedisTlsConfig {
    let trust_all = reader.flag("ratelimit.redis.trustAll").unwrap_or(true);
    let verify_hostname = reader
        .choice(
            "ratelimit.redis.hostnameVerificationAlgorithm",
            &[("NONE", false), ("HTTPS", true), ("LDAPS", true)],
        )
        .unwrap_or(false);
    let truststore = if trust_all {
        None
    } else {
        let path = reader.text("ratelimit.redis.truststore.path");
        store(reader, "truststore", path.is_some(), is_used)
            .then_some(path)
            .flatten()
    };
    let path = reader.text("ratelimit.redis.keystore.path");
    let certificate = reader.text("ratelimit.redis.keystore.certificates[0].cert");
    let key = reader.text("ratelimit.redis.keystore.certificates[0].key");
    let pair = match (certificate, key, path) {
        (Some(certificate), Some(key), _) => Some((certificate, key)),
        (None, None, Some(path)) => Some((path.clone(), path)),
        _ => None,
    };
    let keystore = store(reader, "keystore", pair.is_some(), is_used)
        .then_some(pair)
        .flatten();
    RedisTlsConfig {
        trust_all,
        verify_hostname,
        truststore_path: truststore.map(PathBuf::from),
        keystore: keystore
            .map(|(certificate, key)| (PathBuf::from(certificate), PathBuf::from(key))),
        protocols: reader
            .list("ratelimit.redis.tlsProtocols")
            .unwrap_or_default(),
        ciphers: reader
            .list("ratelimit.redis.tlsCiphers")
            .unwrap_or_default(),
    }
}

/// Whether a store of this kind is one that is read. A store without a type is none; one of an unknown type is left out, as in the
/// reference.
fn store(reader: &mut Reader<'_>, name: &str, is_there: bool, is_used: bool) -> bool {
    let key = format!("{PREFIX}.{name}.type");
    let Some(kind) = reader.text(&key) else {
        return false;
    };
    let upper = kind.to_ascii_uppercase();
    match upper.as_str() {
        "PEM" if is_there => true,
        "PEM" | "JKS" | "PKCS12" if !is_used => false,
        "JKS" | "PKCS12" if is_there => {
            let what = format!("a {name} of the type {upper} is not supported");
            reader.about(
                Severity::Error,
                &key,
                &what,
                "convert it to PEM, and set `type: pem`",
            );
            false
        }
        "PEM" | "JKS" | "PKCS12" => {
            let error = Diagnostic::error(format!("Missing {upper} {name} value"))
                .hint(format!("set `{PREFIX}.{name}.path`"));
            reader.report(error);
            false
        }
        _ => {
            let what = format!("expected `pem`, found `{kind}`: it is left out");
            reader.about(Severity::Warning, &key, &what, "set `type: pem`");
            false
        }
    }
}
