//! `cloud.*`, `management.*` and `reporters.cloud.*`. What the token itself says is not looked at here.

use std::path::PathBuf;

use super::Reader;
use super::client::{CLOUD, Layer, MANAGEMENT, REPORTER, client};
use crate::diagnostic::{Diagnostic, Severity, quoted};
use crate::settings::{
    Authentication, CloudConfig, CloudReporterConfig, CloudVerification, HttpClientConfig,
    ManagementConfig, ReportersConfig, RetryConfig,
};

/// Paths of calls without a public endpoint (contract sync 3.2).
const PATHS: [&str; 5] = [
    "organizationIds",
    "licenses",
    "accessPoints",
    "subscriptionsAfter",
    "keysAfter",
];

/// Cloud mode: a token that is not blank, unless it is switched off.
pub(super) fn cloud(reader: &mut Reader<'_>) -> Option<CloudConfig> {
    let enabled = reader.flag("cloud.enabled").unwrap_or(true);
    let gate_url = url(reader, "cloud.gate.url");
    let verification = verification(reader);
    let token = reader.secret("cloud.token")?;
    enabled.then_some(CloudConfig {
        token,
        gate_url,
        verification,
    })
}

fn verification(reader: &mut Reader<'_>) -> CloudVerification {
    let default = CloudVerification::default();
    let key = |name: &str| format!("cloud.verification.{name}");
    CloudVerification {
        issuer: reader.text(&key("issuer")).unwrap_or(default.issuer),
        audience: reader.text(&key("audience")).unwrap_or(default.audience),
        public_key: reader.text(&key("publicKey")),
        public_key_path: reader.text(&key("publicKeyPath")).map(PathBuf::from),
        jwks_path: reader.text(&key("jwksPath")).map(PathBuf::from),
        algorithms: algorithms(reader, &key("algorithms")).unwrap_or(default.algorithms),
        trust_gateway_url: reader
            .flag(&key("trustGatewayUrl"))
            .unwrap_or(default.trust_gateway_url),
    }
}

/// Asymmetric algorithms only: `none` and shared-secret ones would let anybody who reads the public key sign.
fn algorithms(reader: &mut Reader<'_>, key: &str) -> Option<Vec<String>> {
    const KNOWN: [&str; 9] = [
        "RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512", "EdDSA",
    ];
    let list = reader.list(key)?;
    for algorithm in list
        .iter()
        .filter(|algorithm| !KNOWN.contains(&algorithm.as_str()))
    {
        let what = format!(
            "expected algorithms out of {}, found {}",
            KNOWN.join(", "),
            quoted(algorithm, false)
        );
        reader.about(
            Severity::Error,
            key,
            &what,
            "name the algorithm that the token is signed with",
        );
    }
    Some(list)
}

pub(super) fn management(reader: &mut Reader<'_>, cloud: bool) -> ManagementConfig {
    management_type(reader, cloud);
    let default = ManagementConfig::default();
    let key = |name: &str| format!("management.http.{name}");
    let (layers, base): (&[Layer], _) = if cloud {
        (
            &[MANAGEMENT, CLOUD],
            HttpClientConfig {
                idle_timeout_ms: 60_000,
                http2: true,
                ..HttpClientConfig::default()
            },
        )
    } else {
        (&[MANAGEMENT], HttpClientConfig::default())
    };
    let mut client = client(reader, layers, base);
    client.read_timeout_ms = reader
        .number(&key("readTimeout"))
        .unwrap_or(client.read_timeout_ms);
    client.use_compression = reader
        .flag(&key("useCompression"))
        .unwrap_or(client.use_compression);
    ManagementConfig {
        url: url(reader, &key("url")),
        append_bridge_base_path: reader.flag(&key("appendBridgeBasePath")),
        authentication: authentication(reader),
        client,
        retry: retry(reader, default.retry),
        client_version: reader
            .text(&key("clientVersion"))
            .unwrap_or(default.client_version),
        use_legacy_environment_hrids: reader.flag("useLegacyEnvironmentHrids"),
        paths: PATHS
            .iter()
            .filter_map(|name| {
                Some((
                    (*name).to_owned(),
                    path(reader, &key(&format!("paths.{name}")))?,
                ))
            })
            .collect(),
    }
}

/// A token decides for the Cloud Gate whatever the type says: charts write `mongodb` there by default.
fn management_type(reader: &mut Reader<'_>, cloud: bool) {
    let Some(value) = reader.value("management.type") else {
        return;
    };
    if value.text.trim().eq_ignore_ascii_case("http") {
        return;
    }
    if cloud {
        let warning = format!(
            "management.type: {} has no effect: the Cloud Token decides",
            quoted(&value.text, value.secret)
        );
        let hint = "set `type: http` to silence this";
        reader.report(
            Diagnostic::warning(warning)
                .at(value.origin.clone())
                .hint(hint)
                .covered(value.secret),
        );
    } else {
        reader.expected("management.type", "`http`", &value);
    }
}

fn authentication(reader: &mut Reader<'_>) -> Option<Authentication> {
    #[derive(Clone, Copy)]
    enum Type {
        None,
        Basic,
        Jwt,
    }
    let key = |name: &str| format!("management.http.authentication.{name}");
    let username = reader.text(&key("basic.username"));
    let password = reader.secret(&key("basic.password"));
    let token = reader.secret(&key("jwt.token"));
    let types = [
        ("none", Type::None),
        ("basic", Type::Basic),
        ("jwt", Type::Jwt),
    ];
    let missing = |reader: &mut Reader<'_>, what: &str| {
        let what = format!("expected `{what}` beside it, found none");
        reader.about(
            Severity::Error,
            &key("type"),
            &what,
            "set it, or choose `type: none`",
        );
        None
    };
    match (
        reader.choice(&key("type"), &types),
        username,
        password,
        token,
    ) {
        (Some(Type::None), ..) => Some(Authentication::None),
        (Some(Type::Basic) | None, Some(username), Some(password), _) => {
            Some(Authentication::Basic { username, password })
        }
        (Some(Type::Basic), None, ..) => missing(reader, "basic.username"),
        (Some(Type::Basic), _, None, _) => missing(reader, "basic.password"),
        (Some(Type::Jwt), _, _, Some(token)) => Some(Authentication::Jwt { token }),
        (Some(Type::Jwt), _, _, None) => missing(reader, "jwt.token"),
        (None, ..) => None,
    }
}

fn retry(reader: &mut Reader<'_>, default: RetryConfig) -> RetryConfig {
    let key = |name: &str| format!("management.http.connectionRetry.{name}");
    let delay_ms = reader
        .number(&key("delaySec"))
        .map_or(default.delay_ms, |seconds| seconds * 1_000);
    let delay_ms_max = reader
        .number(&key("maxDelaySec"))
        .map_or(default.delay_ms_max, |seconds| seconds * 1_000);
    RetryConfig {
        delay_ms,
        delay_ms_max: delay_ms_max.max(delay_ms),
        backoff_factor: reader
            .decimal(&key("backoffFactor"))
            .unwrap_or(default.backoff_factor),
    }
}

pub(super) fn reporters(reader: &mut Reader<'_>, cloud: bool) -> ReportersConfig {
    let default = CloudReporterConfig::default();
    let key = |name: &str| format!("reporters.cloud.{name}");
    let layers: &[Layer] = if cloud {
        &[REPORTER, CLOUD]
    } else {
        &[REPORTER]
    };
    let retry_delay_ms = reader
        .number(&key("retry.initialDelay"))
        .unwrap_or(default.retry_delay_ms);
    let retry_delay_ms_max = reader
        .number(&key("retry.maxDelay"))
        .unwrap_or(default.retry_delay_ms_max);
    let cloud = CloudReporterConfig {
        url: url(reader, &key("url")),
        bulk_items: reader
            .number_as(&key("bulk.items"))
            .unwrap_or(default.bulk_items),
        // The reference counts seconds.
        flush_interval_ms: reader
            .number(&key("flushInterval"))
            .map_or(default.flush_interval_ms, |seconds| seconds * 1_000),
        retry_delay_ms,
        retry_delay_ms_max: retry_delay_ms_max.max(retry_delay_ms),
        retries: reader
            .number_as(&key("retry.maxRetries"))
            .unwrap_or(default.retries),
        pending_bytes_max: reader
            .number_as(&key("maxMemorySize"))
            .unwrap_or(default.pending_bytes_max),
        client: client(reader, layers, default.client),
    };
    ReportersConfig {
        cloud,
        warnings: reader.flag("reporters.warnings.enabled").unwrap_or(true),
    }
}

/// An address with scheme and host; one trailing `/` is dropped.
fn url(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    let value = reader.value(key)?;
    let url = value.text.trim();
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let clean = url.bytes().all(|byte| byte.is_ascii_graphic());
    if !clean || host.is_none_or(|host| host.is_empty() || host.starts_with(':')) {
        reader.expected(key, "a URL with `http://` or `https://` and a host", &value);
        return None;
    }
    Some(url.strip_suffix('/').unwrap_or(url).to_owned())
}

fn path(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    let value = reader.value(key)?;
    let path = value.text.trim();
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        reader.expected(key, "a path that begins with `/`", &value);
        return None;
    }
    Some(path.to_owned())
}
