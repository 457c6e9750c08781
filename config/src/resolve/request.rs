//! `handlers.*`, `http.requestTimeout*`, `http.errors[404].*`, `api.*` and `policy.api-key.*`.

use super::Reader;
use crate::settings::{
    ApiConfig, IdFormat, NotFoundConfig, OverrideMode, PathNormalization, RequestConfig,
};

pub(super) fn request(reader: &mut Reader<'_>) -> RequestConfig {
    let default = RequestConfig::default();
    let modes = [
        ("override", OverrideMode::Override),
        ("merge", OverrideMode::Merge),
        ("keep", OverrideMode::Keep),
    ];
    let formats = [("uuid", IdFormat::Uuid), ("hex", IdFormat::Hex)];
    let normalizations = [
        ("rfc3986", PathNormalization::Rfc3986),
        ("none", PathNormalization::None),
    ];
    let handlers = |name: &str| format!("handlers.request.{name}");
    RequestConfig {
        transaction_header: header(reader, &handlers("transaction.header"))
            .unwrap_or(default.transaction_header),
        transaction_override: reader
            .choice(&handlers("transaction.overrideMode"), &modes)
            .unwrap_or_default(),
        request_id_header: header(reader, &handlers("request.header"))
            .unwrap_or(default.request_id_header),
        request_id_override: reader
            .choice(&handlers("request.overrideMode"), &modes)
            .unwrap_or_default(),
        client_header: header(reader, &handlers("client.header")).unwrap_or(default.client_header),
        id_format: reader
            .choice(&handlers("format"), &formats)
            .unwrap_or_default(),
        x_forwarded: reader
            .flag(&handlers("x-forward.enabled"))
            .unwrap_or(default.x_forwarded),
        x_forwarded_prefix: reader
            .flag(&handlers("headers.x-forwarded-prefix"))
            .unwrap_or(default.x_forwarded_prefix),
        timeout_ms: reader
            .number("http.requestTimeout")
            .unwrap_or(default.timeout_ms),
        timeout_grace_ms: reader
            .number("http.requestTimeoutGraceDelay")
            .unwrap_or(default.timeout_grace_ms),
        path_normalization: reader
            .choice("http.paths.normalization", &normalizations)
            .unwrap_or_default(),
        client_certificate_header: header(reader, "http.ssl.clientAuthHeader.name")
            .filter(|name| !name.is_empty()),
    }
}

pub(super) fn not_found(reader: &mut Reader<'_>) -> NotFoundConfig {
    let default = NotFoundConfig::default();
    let content_type = reader
        .value("http.errors[404].contentType")
        .and_then(|value| {
            let fit = value.text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if !fit {
                reader.expected(
                    "http.errors[404].contentType",
                    "a header value in ASCII",
                    &value,
                );
            }
            fit.then(|| value.text.trim().to_owned())
        });
    NotFoundConfig {
        message: reader
            .value("http.errors[404].message")
            .map_or(default.message, |value| value.text),
        content_type: content_type.unwrap_or(default.content_type),
        analytics: reader
            .flag("handlers.notfound.analytics.enabled")
            .unwrap_or(default.analytics),
    }
}

pub(super) fn api(reader: &mut Reader<'_>) -> ApiConfig {
    let default = ApiConfig::default();
    ApiConfig {
        key_header: switched_off_by_empty(reader, "policy.api-key.header", default.key_header),
        key_parameter: switched_off_by_empty(reader, "policy.api-key.param", default.key_parameter),
        allow_overlapping_context: reader
            .flag("api.allowOverlappingContext")
            .unwrap_or(default.allow_overlapping_context),
        validate_subscription: reader
            .flag("api.validateSubscription")
            .unwrap_or(default.validate_subscription),
        verbose_401: reader
            .flag("api.security.verbose401")
            .unwrap_or(default.verbose_401),
        pending_requests_timeout_ms: reader
            .number("api.pending_requests_timeout")
            .unwrap_or(default.pending_requests_timeout_ms),
        encryption_secret: reader
            .secret("api.properties.encryption.secret")
            .unwrap_or(default.encryption_secret),
    }
}

/// Here an empty text means something: no header, no parameter.
fn switched_off_by_empty(
    reader: &mut Reader<'_>,
    key: &str,
    default: Option<String>,
) -> Option<String> {
    match reader.written(key) {
        None => default,
        Some(value) if value.text.trim().is_empty() => None,
        Some(_) if key.ends_with(".header") => header(reader, key).or(default),
        Some(value) => Some(value.text.trim().to_owned()),
    }
}

/// A header name (RFC 9110 section 5.1).
fn header(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    let value = reader.value(key)?;
    let name = value.text.trim();
    let token = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if !token {
        reader.expected(key, "a header name", &value);
        return None;
    }
    Some(name.to_owned())
}
