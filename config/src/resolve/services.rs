//! `services.*` and `gracefulShutdown.*`.

use std::path::PathBuf;

use super::Reader;
use crate::Secret;
use crate::diagnostic::Diagnostic;
use crate::settings::{
    MetricsConfig, NodeApiAuthentication, NodeApiConfig, PeriodicConfig, ShutdownConfig, SyncConfig,
};

/// Where users of the node API are listed.
const USERS: &str = "services.core.http.authentication.users.";

pub(super) fn sync(reader: &mut Reader<'_>) -> SyncConfig {
    let default = SyncConfig::default();
    let enabled = reader
        .flag("services.sync.enabled")
        .unwrap_or(default.enabled);
    let repository = reader
        .flag("services.sync.repository.enabled")
        .unwrap_or(true);
    SyncConfig {
        enabled: enabled && repository,
        delay_ms: reader.delay("services.sync", default.delay_ms),
        retries: reader
            .number_as("services.sync.retry")
            .unwrap_or(default.retries),
        retry_delay_ms: reader
            .number("services.sync.retryDelay")
            .unwrap_or(default.retry_delay_ms),
        bulk_items: reader
            .number_as("services.sync.bulk_items")
            .unwrap_or(default.bulk_items),
        key_subscriptions_chunk: reader
            .number_as("services.sync.apikey.subscriptions_chunk_size")
            .unwrap_or(default.key_subscriptions_chunk),
        snapshot_path: reader
            .text("services.sync.snapshot.path")
            .map(PathBuf::from),
    }
}

/// `enabled`, `delay` and `unit` below `prefix`.
pub(super) fn periodic(reader: &mut Reader<'_>, prefix: &str) -> PeriodicConfig {
    let default = PeriodicConfig::default();
    PeriodicConfig {
        enabled: reader
            .flag(&format!("{prefix}.enabled"))
            .unwrap_or(default.enabled),
        delay_ms: reader.delay(prefix, default.delay_ms),
    }
}

pub(super) fn node_api(reader: &mut Reader<'_>) -> NodeApiConfig {
    let default = NodeApiConfig::default();
    let authenticated = reader
        .choice(
            "services.core.http.authentication.type",
            &[("none", false), ("basic", true)],
        )
        .unwrap_or(true);
    let config = NodeApiConfig {
        enabled: reader
            .flag("services.core.http.enabled")
            .unwrap_or(default.enabled),
        host: reader
            .text("services.core.http.host")
            .unwrap_or(default.host),
        port: reader
            .number_as("services.core.http.port")
            .unwrap_or(default.port),
        authentication: if authenticated {
            users(reader, default.authentication)
        } else {
            NodeApiAuthentication::None
        },
    };
    warn_of_known_password(reader, &config);
    config
}

/// The users that are written; the well-known one only when nobody wrote any.
fn users(reader: &mut Reader<'_>, default: NodeApiAuthentication) -> NodeApiAuthentication {
    let mut users = Vec::new();
    for name in reader.raw.names_under(USERS) {
        if let Some(password) = reader.secret(&format!("{USERS}{name}")) {
            users.push((name, password));
        }
    }
    if users.is_empty() {
        default
    } else {
        NodeApiAuthentication::Basic(users)
    }
}

/// A default password is fine on the loopback address and an open door elsewhere.
fn warn_of_known_password(reader: &mut Reader<'_>, config: &NodeApiConfig) {
    let local = ["localhost", "127.0.0.1", "::1"].contains(&config.host.as_str());
    let NodeApiAuthentication::Basic(users) = &config.authentication else {
        return;
    };
    let known = users
        .iter()
        .find(|(_, password)| *password == Secret::new("adminadmin"));
    if let Some((name, _)) = known.filter(|_| config.enabled && !local) {
        let message = format!(
            "{USERS}{name}: the node API listens on {} with the well-known default password",
            config.host
        );
        let hint = format!(
            "set the variable `{}`",
            crate::raw::environment::recommended(&format!("{USERS}{name}"))
        );
        reader.report(Diagnostic::warning(message).hint(hint));
    }
}

pub(super) fn metrics(reader: &mut Reader<'_>) -> MetricsConfig {
    let default = MetricsConfig::default();
    MetricsConfig {
        enabled: reader
            .flag("services.metrics.enabled")
            .unwrap_or(default.enabled),
        prometheus: reader
            .flag("services.metrics.prometheus.enabled")
            .unwrap_or(default.prometheus),
        concurrency_max: reader
            .number_as("services.metrics.prometheus.concurrencyLimit")
            .unwrap_or(default.concurrency_max),
    }
}

pub(super) fn shutdown(reader: &mut Reader<'_>) -> ShutdownConfig {
    ShutdownConfig {
        delay_ms: reader.delay("gracefulShutdown", 0),
        fail_readiness: reader
            .flag("gracefulShutdown.failReadiness")
            .unwrap_or(false),
    }
}
