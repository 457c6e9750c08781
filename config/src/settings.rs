//! The resolved settings. Every field has the reference's default unless its comment says "ours".

use std::path::PathBuf;

use crate::Secret;
use crate::ratelimit::RatelimitConfig;

/// Everything that `turnpike run` needs to know.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Files that were read, in order; empty when defaults and variables alone apply.
    pub files: Vec<PathBuf>,
    /// HTTP servers, at least one: `http.*`, or the list `servers[]`.
    pub servers: Vec<ServerConfig>,
    /// `handlers.request.*` and timeouts of the request path.
    pub request: RequestConfig,
    /// `http.errors[404].*` and `handlers.notfound.*`.
    pub not_found: NotFoundConfig,
    /// `gateway.runtime.*` (ours).
    pub runtime: RuntimeConfig,
    /// `api.*` and `policy.api-key.*`.
    pub api: ApiConfig,
    /// Settings and variables that policies may read by name.
    pub policies: PolicyConfig,
    /// `gateway.expressions.*` (ours) and `el.whitelist.*`.
    pub expressions: ExpressionConfig,
    /// `cloud.*`; present when a non-blank token is set and `cloud.enabled` is not `false`.
    pub cloud: Option<CloudConfig>,
    /// `management.*`.
    pub management: ManagementConfig,
    /// `services.sync.*`.
    pub sync: SyncConfig,
    /// `services.heartbeat.*`.
    pub heartbeat: PeriodicConfig,
    /// `services.monitoring.*`.
    pub monitoring: PeriodicConfig,
    /// `services.health.*`.
    pub health: PeriodicConfig,
    /// `reporters.*`.
    pub reporters: ReportersConfig,
    /// `ratelimit.type`.
    pub ratelimit_type: RatelimitType,
    /// Everything else of `ratelimit.*`, and `services.ratelimit.*`.
    pub ratelimit: RatelimitConfig,
    /// `services.core.http.*`.
    pub node_api: NodeApiConfig,
    /// `services.metrics.*`.
    pub metrics: MetricsConfig,
    /// `gracefulShutdown.*`.
    pub shutdown: ShutdownConfig,
    /// `license.key` or the licence file; read and shown, never enforced.
    pub license: LicenseConfig,
    /// `tags`, `zone`, `tenant`, `organizations`, `environments`.
    pub node: NodeConfig,
    /// `system.proxy.*`, for endpoints, policies and resources that ask for it.
    pub system_proxy: Option<ProxyConfig>,
    /// Every effective setting as `key -> value` in key order, secrets masked, for `/_node/configuration`.
    pub effective: Vec<(String, String)>,
}

/// What policies may read besides their own configuration. Any of it may be a key or a password.
#[derive(Debug, Clone, Default)]
pub struct PolicyConfig {
    /// Everything that is written below `policy.`, by full name.
    pub settings: Vec<(String, Secret)>,
    /// Environment variables whose names begin with `AWS_`.
    pub environment: Vec<(String, Secret)>,
}

/// `gateway.expressions.*` (ours) and `el.whitelist.*`: what expressions may cost and call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionConfig {
    /// `textCharsMax`: longest expression, characters.
    pub text_chars_max: usize,
    /// `patternCharsMax`: longest pattern of `matches`, characters.
    pub pattern_chars_max: usize,
    /// `repeatCharsMax`: longest result of `text * number`, characters.
    pub repeat_chars_max: usize,
    /// `concatCharsMax`: longest result of one concatenation, characters.
    pub concat_chars_max: usize,
    /// `depthMax`: deepest nesting.
    pub depth_max: usize,
    /// `stepsMax`: steps of one evaluation.
    pub steps_max: u64,
    /// `resultBytesMax`: what one evaluation may build, bytes.
    pub result_bytes_max: usize,
    /// `el.whitelist.mode` is `replace`.
    pub whitelist_replaces: bool,
    /// `el.whitelist.list`.
    pub whitelist: Vec<String>,
}

impl Default for ExpressionConfig {
    fn default() -> Self {
        Self {
            text_chars_max: 10_000,
            pattern_chars_max: 1_000,
            repeat_chars_max: 256,
            concat_chars_max: 100_000,
            depth_max: 96,
            steps_max: 200_000,
            result_bytes_max: 16 << 20,
            whitelist_replaces: false,
            whitelist: Vec::new(),
        }
    }
}

/// One HTTP server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// `id`; without one an API restricted by `servers` matches nothing here.
    pub id: Option<String>,
    /// Address to bind, `0.0.0.0` by default.
    pub host: String,
    /// TCP port, 8082 by default; 0 binds a free one.
    pub port: u16,
    /// `maxInitialLineLength`, bytes.
    pub initial_line_bytes_max: usize,
    /// `maxHeaderSize`, bytes.
    pub header_bytes_max: usize,
    /// Header fields per head (ours, 128).
    pub header_fields_max: usize,
    /// `idleTimeout` between requests and between bytes, milliseconds; 0 is none (the reference counts seconds).
    pub idle_timeout_ms: u64,
    /// Time for a request head to arrive once its first byte did, milliseconds (ours, 10 000); 0 is none.
    pub head_timeout_ms: u64,
    /// Open client connections per process (ours, 0 = descriptors permitting).
    pub connections_max: usize,
    /// `tcpKeepAlive`.
    pub tcp_keep_alive: bool,
    /// Listen backlog (ours, 1 024).
    pub backlog: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            id: None,
            host: "0.0.0.0".to_owned(),
            port: 8082,
            initial_line_bytes_max: 4_096,
            header_bytes_max: 8_192,
            header_fields_max: 128,
            idle_timeout_ms: 0,
            head_timeout_ms: 10_000,
            connections_max: 0,
            tcp_keep_alive: true,
            backlog: 1_024,
        }
    }
}

/// How an override mode treats a backend's transaction header (contract request-lifecycle 9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverrideMode {
    /// The gateway's value replaces the backend's.
    #[default]
    Override,
    /// Both are sent when they differ.
    Merge,
    /// The backend's value stays; nothing is added when it sent none.
    Keep,
}

/// Format of request ids (`handlers.request.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdFormat {
    /// UUID text.
    #[default]
    Uuid,
    /// 32 hexadecimal digits.
    Hex,
}

/// How request paths are normalised before they are matched and forwarded (`http.paths.normalization`, ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathNormalization {
    /// Only equivalence-preserving steps of RFC 3986.
    #[default]
    Rfc3986,
    /// The reference's raw behaviour.
    None,
}

/// `handlers.request.*`, `http.requestTimeout*`, `http.paths.*`.
#[derive(Debug, Clone)]
pub struct RequestConfig {
    /// `handlers.request.transaction.header`.
    pub transaction_header: String,
    /// `handlers.request.transaction.overrideMode`.
    pub transaction_override: OverrideMode,
    /// `handlers.request.request.header`.
    pub request_id_header: String,
    /// `handlers.request.request.overrideMode`.
    pub request_id_override: OverrideMode,
    /// `handlers.request.client.header`.
    pub client_header: String,
    /// `handlers.request.format`.
    pub id_format: IdFormat,
    /// `handlers.request.x-forward.enabled`.
    pub x_forwarded: bool,
    /// `handlers.request.headers.x-forwarded-prefix`.
    pub x_forwarded_prefix: bool,
    /// `http.requestTimeout`, milliseconds; 30 000 when unset, 0 disables.
    pub timeout_ms: u64,
    /// `http.requestTimeoutGraceDelay`, milliseconds.
    pub timeout_grace_ms: u64,
    /// `http.paths.normalization` (ours).
    pub path_normalization: PathNormalization,
    /// `http.ssl.clientAuthHeader.name`: where a proxy in front sends the client's certificate.
    pub client_certificate_header: Option<String>,
}

impl Default for RequestConfig {
    fn default() -> Self {
        Self {
            transaction_header: "X-Gravitee-Transaction-Id".to_owned(),
            transaction_override: OverrideMode::default(),
            request_id_header: "X-Gravitee-Request-Id".to_owned(),
            request_id_override: OverrideMode::default(),
            client_header: "X-Gravitee-Client-Identifier".to_owned(),
            id_format: IdFormat::default(),
            x_forwarded: true,
            x_forwarded_prefix: false,
            timeout_ms: 30_000,
            timeout_grace_ms: 30,
            path_normalization: PathNormalization::default(),
            client_certificate_header: None,
        }
    }
}

/// The answer when no API matches.
#[derive(Debug, Clone)]
pub struct NotFoundConfig {
    /// `http.errors[404].message`.
    pub message: String,
    /// `http.errors[404].contentType`.
    pub content_type: String,
    /// `handlers.notfound.analytics.enabled`, or the older `handlers.notfound.log.enabled`.
    pub analytics: bool,
}

impl Default for NotFoundConfig {
    fn default() -> Self {
        Self {
            message: "No context-path matches the request URI.".to_owned(),
            content_type: "text/plain".to_owned(),
            analytics: false,
        }
    }
}

/// Engine that drives the workers' sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring when the kernel grants it, else epoll with one line that says why.
    #[default]
    Auto,
    /// io_uring, or refuse to start.
    IoUring,
    /// epoll.
    Epoll,
}

/// `gateway.runtime.*` (ours).
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// `driver`: `auto`, `io_uring`, `epoll`.
    pub driver: DriverChoice,
    /// `cpus`: explicit CPU list such as `0-3,8`; one worker each, pinned.
    pub cpus: Option<Vec<usize>>,
    /// `workers`: number of workers, unpinned unless `cpus` is given.
    pub workers: Option<usize>,
    /// `ringEntries`: submission queue size.
    pub ring_entries: u32,
    /// `reportRingBytes`: report ring per worker, bytes.
    pub report_ring_bytes: usize,
    /// `gateway.policies.bodyBytesMax` (ours): a body that policies may have in memory, bytes.
    pub body_bytes_max: usize,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            driver: DriverChoice::default(),
            cpus: None,
            workers: None,
            ring_entries: 1_024,
            report_ring_bytes: 4 << 20,
            body_bytes_max: 10 << 20,
        }
    }
}

/// `api.*` and `policy.api-key.*`.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// `policy.api-key.header`; `None` when set to an empty text.
    pub key_header: Option<String>,
    /// `policy.api-key.param`; `None` when set to an empty text.
    pub key_parameter: Option<String>,
    /// `api.allowOverlappingContext`.
    pub allow_overlapping_context: bool,
    /// `api.validateSubscription`.
    pub validate_subscription: bool,
    /// `api.security.verbose401`.
    pub verbose_401: bool,
    /// `api.pending_requests_timeout`, milliseconds.
    pub pending_requests_timeout_ms: u64,
    /// `api.properties.encryption.secret`.
    pub encryption_secret: Secret,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            key_header: Some("X-Gravitee-Api-Key".to_owned()),
            key_parameter: Some("api-key".to_owned()),
            allow_overlapping_context: false,
            validate_subscription: true,
            verbose_401: false,
            pending_requests_timeout_ms: 10_000,
            encryption_secret: Secret::new("vvLJ4Q8Khvv9tm2tIPdkGEdmgKUruAL6"),
        }
    }
}

/// `cloud.*` (contract sync 1.2).
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// `cloud.token`.
    pub token: Secret,
    /// `cloud.gate.url`; `None` derives it from the token.
    pub gate_url: Option<String>,
    /// `cloud.verification.*`.
    pub verification: CloudVerification,
}

/// `cloud.verification.*`.
#[derive(Debug, Clone)]
pub struct CloudVerification {
    /// `issuer`, `GraviteeCloud`.
    pub issuer: String,
    /// `audience`, `CloudGate`.
    pub audience: String,
    /// `publicKey`, PEM text.
    pub public_key: Option<String>,
    /// `publicKeyPath`, PEM file.
    pub public_key_path: Option<PathBuf>,
    /// `jwksPath`, JWKS file.
    pub jwks_path: Option<PathBuf>,
    /// `algorithms` allowed when a key is set.
    pub algorithms: Vec<String>,
    /// `trustGatewayUrl`: accept the claim `gatewayUrl` without a verified signature.
    pub trust_gateway_url: bool,
}

impl Default for CloudVerification {
    fn default() -> Self {
        Self {
            issuer: "GraviteeCloud".to_owned(),
            audience: "CloudGate".to_owned(),
            public_key: None,
            public_key_path: None,
            jwks_path: None,
            algorithms: [
                "RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS512",
            ]
            .map(str::to_owned)
            .to_vec(),
            trust_gateway_url: false,
        }
    }
}

/// How to prove who we are to the control plane (`management.http.authentication.*`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// `Authorization: Bearer`.
    Jwt {
        /// Token.
        token: Secret,
    },
}

/// TLS and timeouts of an HTTP client of the control thread.
#[derive(Debug, Clone)]
pub struct HttpClientConfig {
    /// Keep connections for reuse.
    pub keep_alive: bool,
    /// Idle life of a pooled connection, milliseconds.
    pub idle_timeout_ms: u64,
    /// Connect, milliseconds.
    pub connect_timeout_ms: u64,
    /// Whole request, milliseconds.
    pub read_timeout_ms: u64,
    /// Ask for compressed answers.
    pub use_compression: bool,
    /// Offer HTTP/2.
    pub http2: bool,
    /// Accept any certificate.
    pub trust_all: bool,
    /// Verify the host name.
    pub verify_hostname: bool,
    /// PEM file of certificates to trust in place of the system's.
    pub truststore_path: Option<PathBuf>,
    /// PEM text (or base64 of it) of certificates to trust.
    pub truststore_content: Option<String>,
    /// Forward proxy.
    pub proxy: Option<ProxyConfig>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            keep_alive: true,
            idle_timeout_ms: 30_000,
            connect_timeout_ms: 5_000,
            read_timeout_ms: 10_000,
            use_compression: true,
            http2: false,
            trust_all: false,
            verify_hostname: true,
            truststore_path: None,
            truststore_content: None,
            proxy: None,
        }
    }
}

/// A forward proxy (HTTP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Proxy host.
    pub host: String,
    /// Proxy port.
    pub port: u16,
    /// Credentials.
    pub credentials: Option<(String, Secret)>,
}

/// Delays between attempts to reach the control plane (`management.http.connectionRetry.*`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryConfig {
    /// First delay, milliseconds.
    pub delay_ms: u64,
    /// Largest delay, milliseconds.
    pub delay_ms_max: u64,
    /// Factor between attempts.
    pub backoff_factor: f64,
}

/// `management.*`.
#[derive(Debug, Clone)]
pub struct ManagementConfig {
    /// `management.http.url`; `None` leaves it to the Cloud Token.
    pub url: Option<String>,
    /// `appendBridgeBasePath`; `None` when unset (cloud mode then probes, contract sync 1.2.9).
    pub append_bridge_base_path: Option<bool>,
    /// `authentication.*`; `None` when unset.
    pub authentication: Option<Authentication>,
    /// Client settings.
    pub client: HttpClientConfig,
    /// `connectionRetry.*`.
    pub retry: RetryConfig,
    /// `clientVersion`: the version declared in `User-Agent: gio-client-bridge/…`.
    pub client_version: String,
    /// `useLegacyEnvironmentHrids`; `None` when unset.
    pub use_legacy_environment_hrids: Option<bool>,
    /// `paths.<name>` overrides of contract sync 3.2, by name.
    pub paths: Vec<(String, String)>,
}

impl Default for ManagementConfig {
    fn default() -> Self {
        Self {
            url: None,
            append_bridge_base_path: None,
            authentication: None,
            client: HttpClientConfig::default(),
            retry: RetryConfig {
                delay_ms: 2_000,
                delay_ms_max: 60_000,
                backoff_factor: 1.5,
            },
            client_version: "4.12.17".to_owned(),
            use_legacy_environment_hrids: None,
            paths: Vec::new(),
        }
    }
}

/// `services.sync.*`.
#[derive(Debug, Clone)]
pub struct SyncConfig {
    /// `enabled`.
    pub enabled: bool,
    /// `delay`, milliseconds from the end of a cycle to the next.
    pub delay_ms: u64,
    /// `retry`: retries of one synchronizer inside a cycle.
    pub retries: u32,
    /// Delay between those retries, milliseconds (the reference's constant 3 000; `retryDelay`, ours).
    pub retry_delay_ms: u64,
    /// `bulk_items`: page size of event searches.
    pub bulk_items: usize,
    /// `apikey.subscriptions_chunk_size`.
    pub key_subscriptions_chunk: usize,
    /// `snapshot.path` (ours): last known good state on disk.
    pub snapshot_path: Option<PathBuf>,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            delay_ms: 5_000,
            retries: 3,
            retry_delay_ms: 3_000,
            bulk_items: 100,
            key_subscriptions_chunk: 900,
            snapshot_path: None,
        }
    }
}

/// A periodic service: `enabled`, `delay` and `unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodicConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Period, milliseconds.
    pub delay_ms: u64,
}

impl Default for PeriodicConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            delay_ms: 5_000,
        }
    }
}

/// `reporters.*`.
#[derive(Debug, Clone)]
pub struct ReportersConfig {
    /// `reporters.cloud.*`; used when there is a Cloud Token.
    pub cloud: CloudReporterConfig,
    /// `reporters.warnings.enabled`: reports carry what went wrong without failing the request.
    pub warnings: bool,
}

impl Default for ReportersConfig {
    fn default() -> Self {
        Self {
            cloud: CloudReporterConfig::default(),
            warnings: true,
        }
    }
}

/// `reporters.cloud.*` (contract reporting 7).
#[derive(Debug, Clone)]
pub struct CloudReporterConfig {
    /// `url`; `None` derives `{cloud.gate.url}/reports`.
    pub url: Option<String>,
    /// `bulk.items`.
    pub bulk_items: usize,
    /// `flushInterval`, milliseconds (the reference counts seconds).
    pub flush_interval_ms: u64,
    /// `retry.initialDelay`, milliseconds.
    pub retry_delay_ms: u64,
    /// `retry.maxDelay`, milliseconds.
    pub retry_delay_ms_max: u64,
    /// `retry.maxRetries`.
    pub retries: u32,
    /// Bytes of batches that may wait; beyond it the oldest batch is dropped and counted.
    pub pending_bytes_max: usize,
    /// Client settings.
    pub client: HttpClientConfig,
}

impl Default for CloudReporterConfig {
    fn default() -> Self {
        Self {
            url: None,
            bulk_items: 1_000,
            flush_interval_ms: 5_000,
            retry_delay_ms: 3_000,
            retry_delay_ms_max: 30_000,
            retries: 6,
            pending_bytes_max: 26_214_400,
            client: HttpClientConfig {
                idle_timeout_ms: 10_000,
                http2: true,
                ..HttpClientConfig::default()
            },
        }
    }
}

/// Where counters are kept (`ratelimit.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RatelimitType {
    /// Nowhere: rate limiting is off.
    #[default]
    None,
    /// Redis.
    Redis,
    /// In this process (ours).
    Local,
}

/// Authentication of the node API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeApiAuthentication {
    /// Open.
    None,
    /// Basic, with these users.
    Basic(Vec<(String, Secret)>),
}

/// `services.core.http.*`.
#[derive(Debug, Clone)]
pub struct NodeApiConfig {
    /// `enabled`.
    pub enabled: bool,
    /// `host`.
    pub host: String,
    /// `port`; 0 binds a free one.
    pub port: u16,
    /// `authentication.*`.
    pub authentication: NodeApiAuthentication,
}

impl Default for NodeApiConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            host: "localhost".to_owned(),
            port: 18_082,
            authentication: NodeApiAuthentication::Basic(vec![(
                "admin".to_owned(),
                Secret::new("adminadmin"),
            )]),
        }
    }
}

/// `services.metrics.*`.
#[derive(Debug, Clone)]
pub struct MetricsConfig {
    /// `enabled`.
    pub enabled: bool,
    /// `prometheus.enabled`.
    pub prometheus: bool,
    /// `prometheus.concurrencyLimit`.
    pub concurrency_max: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            prometheus: true,
            concurrency_max: 3,
        }
    }
}

/// `gracefulShutdown.*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// `delay` in `unit`, milliseconds: serve on and answer `Connection: close`.
    pub delay_ms: u64,
    /// `failReadiness` (ours): readiness probes turn unhealthy at the signal.
    pub fail_readiness: bool,
}

/// The licence, as found.
#[derive(Debug, Clone, Default)]
pub struct LicenseConfig {
    /// `license.key`: base64 of the binary licence.
    pub key: Option<Secret>,
    /// Licence file, if one was found or named.
    pub path: Option<PathBuf>,
}

/// Identity of the node towards the control plane.
#[derive(Debug, Clone, Default)]
pub struct NodeConfig {
    /// `tags`: sharding tags, `!` excludes.
    pub tags: Vec<String>,
    /// `zone`.
    pub zone: Option<String>,
    /// `tenant`.
    pub tenant: Option<String>,
    /// `organizations`.
    pub organizations: Vec<String>,
    /// `environments`.
    pub environments: Vec<String>,
}
