//! Settings in the form that workers use: bytes and numbers, prepared once.

use turnpike_config::{Config, OverrideMode, PathNormalization, ServerConfig};
use turnpike_core::http::HeadLimits;
use turnpike_core::ident::IdFormat;
use turnpike_core::security::ApiKeySettings;

/// Settings shared by all workers.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) servers: Vec<ServerSettings>,
    pub(crate) transaction: IdHeader,
    pub(crate) request_id: IdHeader,
    pub(crate) client_header: Box<[u8]>,
    pub(crate) id_format: IdFormat,
    pub(crate) x_forwarded: bool,
    pub(crate) x_forwarded_prefix: bool,
    pub(crate) request_timeout_ms: u64,
    pub(crate) timeout_grace_ms: u64,
    /// Bytes of a body that policies may have in memory.
    pub(crate) body_bytes_max: usize,
    pub(crate) client_certificate_header: Option<Box<[u8]>>,
    pub(crate) normalize_paths: bool,
    pub(crate) not_found_body: Box<[u8]>,
    pub(crate) not_found_content_type: Box<[u8]>,
    pub(crate) not_found_reported: bool,
    pub(crate) api_key: ApiKeySettings,
    pub(crate) workers: usize,
    pub(crate) pending_requests_timeout_ms: u64,
    pub(crate) ring_entries: u32,
}

/// One server.
#[derive(Debug)]
pub(crate) struct ServerSettings {
    pub(crate) id: Option<Box<str>>,
    pub(crate) limits: HeadLimits,
    pub(crate) idle_timeout_ms: u64,
    pub(crate) head_timeout_ms: u64,
    pub(crate) body_timeout_ms: u64,
    /// Connections that one worker accepts at most.
    pub(crate) connections_max: usize,
}

/// A header that carries an id, both ways.
#[derive(Debug)]
pub(crate) struct IdHeader {
    pub(crate) name: Box<[u8]>,
    pub(crate) mode: OverrideMode,
}

/// A body that stands still for longer than this is given up when no idle timeout is set, milliseconds.
const BODY_TIMEOUT_MS: u64 = 60_000;

impl Settings {
    /// Prepares the settings for `workers` workers.
    pub(crate) fn new(config: &Config, workers: usize) -> Self {
        let request = &config.request;
        Self {
            servers: config
                .servers
                .iter()
                .map(|server| ServerSettings::new(server, workers))
                .collect(),
            transaction: IdHeader {
                name: request.transaction_header.as_bytes().into(),
                mode: request.transaction_override,
            },
            request_id: IdHeader {
                name: request.request_id_header.as_bytes().into(),
                mode: request.request_id_override,
            },
            client_header: request.client_header.as_bytes().into(),
            id_format: match request.id_format {
                turnpike_config::IdFormat::Uuid => IdFormat::Uuid,
                turnpike_config::IdFormat::Hex => IdFormat::Hex,
            },
            x_forwarded: request.x_forwarded,
            x_forwarded_prefix: request.x_forwarded_prefix,
            request_timeout_ms: request.timeout_ms,
            timeout_grace_ms: request.timeout_grace_ms,
            body_bytes_max: config.runtime.body_bytes_max,
            client_certificate_header: request
                .client_certificate_header
                .as_deref()
                .map(|name| name.as_bytes().into()),
            normalize_paths: request.path_normalization == PathNormalization::Rfc3986,
            not_found_body: config.not_found.message.as_bytes().into(),
            not_found_content_type: config.not_found.content_type.as_bytes().into(),
            not_found_reported: config.not_found.analytics,
            api_key: ApiKeySettings {
                header: config.api.key_header.as_deref().map(Into::into),
                parameter: config.api.key_parameter.as_deref().map(Into::into),
                validate_subscription: config.api.validate_subscription,
                verbose_401: config.api.verbose_401,
            },
            workers,
            pending_requests_timeout_ms: config.api.pending_requests_timeout_ms,
            ring_entries: config.runtime.ring_entries,
        }
    }
}

impl ServerSettings {
    fn new(server: &ServerConfig, workers: usize) -> Self {
        Self {
            id: server.id.as_deref().map(Into::into),
            limits: HeadLimits {
                start_line_bytes_max: server.initial_line_bytes_max,
                fields_bytes_max: server.header_bytes_max,
                fields_max: server.header_fields_max,
            },
            idle_timeout_ms: server.idle_timeout_ms,
            head_timeout_ms: server.head_timeout_ms,
            body_timeout_ms: if server.idle_timeout_ms == 0 {
                BODY_TIMEOUT_MS
            } else {
                server.idle_timeout_ms
            },
            connections_max: match server.connections_max {
                0 => usize::MAX,
                max => max.div_ceil(workers),
            },
        }
    }
}
