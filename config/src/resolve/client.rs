//! Clients of the control thread: what their own keys leave unset is taken from `cloud.client.*`.

use std::path::PathBuf;

use super::Reader;
use crate::Secret;
use crate::diagnostic::Severity;
use crate::settings::{HttpClientConfig, ProxyConfig};

/// Port of a proxy that names none.
const PROXY_PORT: u16 = 3_128;

/// Where one client's keys are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    /// Prefix of connection keys.
    http: &'static str,
    /// Prefix of `ssl` and `proxy`.
    root: &'static str,
    /// Name of the switch for host names in certificates.
    hostname: &'static str,
}

/// `management.http.*`.
pub(super) const MANAGEMENT: Layer = Layer {
    http: "management.http",
    root: "management.http",
    hostname: "ssl.verifyHostname",
};
/// `cloud.client.*`.
pub(super) const CLOUD: Layer = Layer {
    http: "cloud.client.http",
    root: "cloud.client",
    hostname: "ssl.hostnameVerifier",
};
/// `reporters.cloud.client.*`.
pub(super) const REPORTER: Layer = Layer {
    http: "reporters.cloud.client.http",
    root: "reporters.cloud.client",
    hostname: "ssl.hostnameVerifier",
};

/// Reads a client from its layers, the first one wins key by key; trust store and proxy are taken as a whole.
pub(super) fn client(
    reader: &mut Reader<'_>,
    layers: &[Layer],
    default: HttpClientConfig,
) -> HttpClientConfig {
    let mut http = |name: &str| {
        layers
            .iter()
            .find_map(|layer| reader.number(&format!("{}.{name}", layer.http)))
    };
    let idle_timeout_ms = http("idleTimeout");
    let connect_timeout_ms = http("connectTimeout");
    let versions = [("HTTP_1_1", false), ("HTTP_2", true)];
    let http2 = layers
        .iter()
        .find_map(|layer| reader.choice(&format!("{}.version", layer.http), &versions));
    let keep_alive = layers
        .iter()
        .find_map(|layer| reader.flag(&format!("{}.keepAlive", layer.http)));
    let trust_all = layers
        .iter()
        .find_map(|layer| reader.flag(&format!("{}.ssl.trustAll", layer.root)));
    let verify_hostname = layers
        .iter()
        .find_map(|layer| reader.flag(&format!("{}.{}", layer.root, layer.hostname)));
    let (truststore_path, truststore_content) = layers
        .iter()
        .find_map(|layer| truststore(reader, layer.root))
        .unwrap_or_default();
    let proxy = layers.iter().find_map(|layer| {
        let enabled = reader.flag(&format!("{}.proxy.enabled", layer.root))?;
        Some(if enabled {
            proxy(reader, layer.root)
        } else {
            None
        })
    });
    HttpClientConfig {
        keep_alive: keep_alive.unwrap_or(default.keep_alive),
        idle_timeout_ms: idle_timeout_ms.unwrap_or(default.idle_timeout_ms),
        connect_timeout_ms: connect_timeout_ms.unwrap_or(default.connect_timeout_ms),
        http2: http2.unwrap_or(default.http2),
        trust_all: trust_all.unwrap_or(default.trust_all),
        verify_hostname: verify_hostname.unwrap_or(default.verify_hostname),
        truststore_path,
        truststore_content,
        proxy: proxy.flatten(),
        ..default
    }
}

/// Path and content of a PEM trust store; `None` when the layer names none.
fn truststore(reader: &mut Reader<'_>, root: &str) -> Option<(Option<PathBuf>, Option<String>)> {
    let kind = reader.choice(
        &format!("{root}.ssl.truststore.type"),
        &[("NONE", false), ("PEM", true)],
    );
    let path_key = format!("{root}.ssl.truststore.path");
    let path = reader.text(&path_key).map(PathBuf::from);
    let content = reader.text(&format!("{root}.ssl.truststore.content"));
    if kind == Some(false) || (path.is_none() && content.is_none()) {
        if kind == Some(true) {
            let key = format!("{root}.ssl.truststore.type");
            reader.about(
                Severity::Error,
                &key,
                "expected `path` or `content` beside it, found neither",
                "name the PEM file: `path: /etc/turnpike/ca.pem`",
            );
        }
        return None;
    }
    if let Some(missing) = path.as_ref().filter(|path| !path.is_file()) {
        let what = format!("there is no file `{}`", missing.display());
        reader.about(
            Severity::Error,
            &path_key,
            &what,
            "mount the PEM file there",
        );
    }
    Some((path, content))
}

fn proxy(reader: &mut Reader<'_>, root: &str) -> Option<ProxyConfig> {
    let system = reader
        .flag(&format!("{root}.proxy.useSystemProxy"))
        .unwrap_or(false);
    let prefix = if system {
        "system.proxy".to_owned()
    } else {
        format!("{root}.proxy")
    };
    let Some(proxy) = proxy_at(reader, &prefix) else {
        let key = format!("{root}.proxy.enabled");
        let what = format!("expected `{prefix}.host` beside it, found none");
        reader.about(
            Severity::Error,
            &key,
            &what,
            "name the proxy's host, or switch the proxy off",
        );
        return None;
    };
    Some(proxy)
}

/// `system.proxy.*`, for endpoints, policies and resources that ask for it; `None` without a host.
pub(super) fn system_proxy(reader: &mut Reader<'_>) -> Option<ProxyConfig> {
    proxy_at(reader, "system.proxy")
}

fn proxy_at(reader: &mut Reader<'_>, prefix: &str) -> Option<ProxyConfig> {
    reader.choice(&format!("{prefix}.type"), &[("HTTP", ())]);
    let port = reader
        .number_as(&format!("{prefix}.port"))
        .unwrap_or(PROXY_PORT);
    let user = reader.text(&format!("{prefix}.username"));
    let password = reader.secret(&format!("{prefix}.password"));
    let host = reader.text(&format!("{prefix}.host"))?;
    let credentials = user.map(|user| (user, password.unwrap_or_else(|| Secret::new(""))));
    Some(ProxyConfig {
        host,
        port,
        credentials,
    })
}
