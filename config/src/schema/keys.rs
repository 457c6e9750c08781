//! The table. Unknown-key detection, suggestions, the reference file, masking and refusals all come from here; the typed defaults
//! are in `settings`, and a test holds both together.

use super::{Class, Key, Kind, When};
use crate::diagnostic::Severity;

use Kind::{Choice, Decimal, Flag, List, Number, Secret, Text};

/// Largest duration that a setting takes: a year, in milliseconds.
pub(crate) const DURATION_MS_MAX: u64 = 366 * 24 * 3_600_000;
const MS: Kind = Number(0, DURATION_MS_MAX);
const UNIT: Kind = Choice(&["MILLISECONDS", "SECONDS", "MINUTES", "HOURS", "DAYS"]);
const PORT: Kind = Number(0, 65_535);
const PEER_PORT: Kind = Number(1, 65_535);

/// A key with a default.
const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind,
        default: Some(default),
        example: default,
        class: Class::Honoured,
        doc,
        aliases: &[],
    }
}

/// A key that is unset by default.
const fn open(path: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind,
        default: None,
        example,
        class: Class::Honoured,
        doc,
        aliases: &[],
    }
}

/// A key of the Java gateway without effect here.
const fn ignored(path: &'static str) -> Key {
    Key {
        path,
        kind: Text,
        default: None,
        example: "",
        class: Class::Ignored,
        doc: "",
        aliases: &[],
    }
}

/// A switch that must stay off: the start fails.
const fn refused(path: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind: Flag,
        default: None,
        example: "false",
        class: Class::Refused(When::True, Severity::Error),
        doc,
        aliases: &[],
    }
}

/// A switch for something that does not exist yet: a warning.
const fn not_yet(path: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind: Flag,
        default: None,
        example: "false",
        class: Class::Refused(When::True, Severity::Warning),
        doc,
        aliases: &[],
    }
}

/// A value for something that does not exist yet: a warning.
const fn not_yet_set(path: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind: Text,
        default: None,
        example: "",
        class: Class::Refused(When::Set, Severity::Warning),
        doc,
        aliases: &[],
    }
}

impl Key {
    const fn or(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }
}

/// Every key, in the order of the reference file.
pub(crate) const KEYS: &[Key] = &[
    // HTTP server.
    key("http.port", PORT, "8082", "TCP port; 0 binds a free one."),
    key("http.host", Text, "0.0.0.0", "Address to bind."),
    key(
        "http.idleTimeout",
        Number(0, 31_622_400),
        "0",
        "Seconds without traffic after which a client connection is closed; 0 is never.",
    ),
    key(
        "http.headTimeout",
        MS,
        "10000",
        "Milliseconds for a request head to arrive once its first byte did; 0 is for ever. Turnpike's own.",
    ),
    key(
        "http.tcpKeepAlive",
        Flag,
        "true",
        "TCP keep-alive on client connections.",
    ),
    key(
        "http.maxInitialLineLength",
        Number(64, 1_048_576),
        "4096",
        "Bytes of a request line; beyond it the answer is 414.",
    ),
    key(
        "http.maxHeaderSize",
        Number(256, 1_048_576),
        "8192",
        "Bytes of all header fields of a request; beyond it the answer is 431.",
    ),
    key(
        "http.maxHeaderFields",
        Number(1, 10_000),
        "128",
        "Header fields of a request; beyond it the answer is 431. Turnpike's own.",
    ),
    key(
        "http.maxConnections",
        Number(0, 100_000_000),
        "0",
        "Client connections of the process; 0 is as many as descriptors allow. Turnpike's own.",
    ),
    key(
        "http.backlog",
        Number(1, 1_048_576),
        "1024",
        "Connections that the kernel keeps until they are accepted. Turnpike's own.",
    ),
    key(
        "http.requestTimeout",
        MS,
        "30000",
        "Milliseconds for a whole request; 0 is for ever.",
    ),
    key(
        "http.requestTimeoutGraceDelay",
        MS,
        "30",
        "Milliseconds that are left for the response phase after a time-out.",
    ),
    key(
        "http.paths.normalization",
        Choice(&["rfc3986", "none"]),
        "rfc3986",
        "Normalisation of request paths before they are matched. Turnpike's own.",
    ),
    key(
        "http.errors[404].message",
        Text,
        "No context-path matches the request URI.",
        "Body when no API matches.",
    ),
    key(
        "http.errors[404].contentType",
        Text,
        "text/plain",
        "Content type of that body.",
    ),
    // A list of servers.
    open(
        "servers[].id",
        Text,
        "main",
        "Name that APIs select this server by.",
    ),
    open(
        "servers[].type",
        Choice(&["http"]),
        "http",
        "Kind of server.",
    ),
    key("servers[].port", PORT, "8082", "As `http.port`."),
    key("servers[].host", Text, "0.0.0.0", "As `http.host`."),
    key(
        "servers[].idleTimeout",
        Number(0, 31_622_400),
        "0",
        "As `http.idleTimeout`, seconds.",
    ),
    key(
        "servers[].headTimeout",
        MS,
        "10000",
        "As `http.headTimeout`.",
    ),
    key(
        "servers[].tcpKeepAlive",
        Flag,
        "true",
        "As `http.tcpKeepAlive`.",
    ),
    key(
        "servers[].maxInitialLineLength",
        Number(64, 1_048_576),
        "4096",
        "As `http.maxInitialLineLength`.",
    ),
    key(
        "servers[].maxHeaderSize",
        Number(256, 1_048_576),
        "8192",
        "As `http.maxHeaderSize`.",
    ),
    key(
        "servers[].maxHeaderFields",
        Number(1, 10_000),
        "128",
        "As `http.maxHeaderFields`.",
    ),
    key(
        "servers[].maxConnections",
        Number(0, 100_000_000),
        "0",
        "As `http.maxConnections`.",
    ),
    key(
        "servers[].backlog",
        Number(1, 1_048_576),
        "1024",
        "As `http.backlog`.",
    ),
    // Workers.
    key(
        "gateway.runtime.driver",
        Choice(&["auto", "io_uring", "epoll"]),
        "auto",
        "Engine of the workers; `io_uring` refuses to start where the kernel denies it. Turnpike's own.",
    ),
    open(
        "gateway.runtime.cpus",
        Text,
        "0-3,8",
        "CPUs of the workers, one pinned worker each. Turnpike's own.",
    ),
    open(
        "gateway.runtime.workers",
        Number(1, 1_024),
        "2",
        "Number of workers in place of the detected one. Turnpike's own.",
    ),
    key(
        "gateway.runtime.ringEntries",
        Number(64, 32_768),
        "1024",
        "Submission queue entries of each worker's ring. Turnpike's own.",
    ),
    key(
        "gateway.runtime.reportRingBytes",
        Number(65_536, 1_073_741_824),
        "4194304",
        "Bytes of reports that each worker may have waiting. Turnpike's own.",
    ),
    // Request path.
    key(
        "handlers.request.transaction.header",
        Text,
        "X-Gravitee-Transaction-Id",
        "Header of the transaction id.",
    ),
    key(
        "handlers.request.transaction.overrideMode",
        Choice(&["override", "merge", "keep"]),
        "override",
        "What becomes of a backend's transaction header.",
    ),
    key(
        "handlers.request.request.header",
        Text,
        "X-Gravitee-Request-Id",
        "Header of the request id.",
    ),
    key(
        "handlers.request.request.overrideMode",
        Choice(&["override", "merge", "keep"]),
        "override",
        "What becomes of a backend's request id header.",
    ),
    key(
        "handlers.request.client.header",
        Text,
        "X-Gravitee-Client-Identifier",
        "Header of the client identifier.",
    ),
    key(
        "handlers.request.format",
        Choice(&["uuid", "hex"]),
        "uuid",
        "Format of generated ids.",
    ),
    key(
        "handlers.request.x-forward.enabled",
        Flag,
        "true",
        "Take the client's address from `X-Forwarded-For`.",
    ),
    key(
        "handlers.request.headers.x-forwarded-prefix",
        Flag,
        "false",
        "Send `X-Forwarded-Prefix` to backends.",
    ),
    key(
        "handlers.notfound.analytics.enabled",
        Flag,
        "false",
        "Report requests that match no API.",
    )
    .or(&["handlers.notfound.log.enabled"]),
    // APIs.
    key(
        "api.allowOverlappingContext",
        Flag,
        "false",
        "Let two APIs share a context path.",
    ),
    key(
        "api.validateSubscription",
        Flag,
        "true",
        "Check subscriptions of JWT and OAuth2 plans.",
    ),
    key(
        "api.pending_requests_timeout",
        MS,
        "10000",
        "Milliseconds that requests in flight have when an API is undeployed or the gateway stops.",
    ),
    key(
        "api.properties.encryption.secret",
        Secret,
        "vvLJ4Q8Khvv9tm2tIPdkGEdmgKUruAL6",
        "Key of encrypted API properties, 32 bytes; the default is the well-known one of the Java gateway.",
    ),
    key(
        "policy.api-key.header",
        Text,
        "X-Gravitee-Api-Key",
        "Header of the API key; an empty text turns it off.",
    ),
    key(
        "policy.api-key.param",
        Text,
        "api-key",
        "Query parameter of the API key; an empty text turns it off.",
    ),
    // Cloud.
    key(
        "cloud.enabled",
        Flag,
        "true",
        "Whether a Cloud Token is used when there is one.",
    ),
    open(
        "cloud.token",
        Secret,
        "…",
        "Cloud Token; it decides where the control plane is and who we are.",
    ),
    open(
        "cloud.gate.url",
        Text,
        "https://eu.cloudgate.gravitee.io",
        "Address of the Cloud Gate in place of the one that the token names. Turnpike's own.",
    ),
    key(
        "cloud.verification.issuer",
        Text,
        "GraviteeCloud",
        "Issuer that the token must name. Turnpike's own, as all of `cloud.verification`.",
    ),
    key(
        "cloud.verification.audience",
        Text,
        "CloudGate",
        "Audience that the token must name.",
    ),
    open(
        "cloud.verification.publicKey",
        Text,
        "-----BEGIN PUBLIC KEY-----…",
        "Key to verify the token's signature with, PEM text.",
    ),
    open(
        "cloud.verification.publicKeyPath",
        Text,
        "/etc/turnpike/cloud.pem",
        "The same from a PEM file.",
    ),
    open(
        "cloud.verification.jwksPath",
        Text,
        "/etc/turnpike/jwks.json",
        "The same from a JWKS file.",
    ),
    key(
        "cloud.verification.algorithms",
        List,
        "RS256,RS384,RS512,ES256,ES384,PS256,PS512",
        "Signature algorithms that are allowed.",
    ),
    key(
        "cloud.verification.trustGatewayUrl",
        Flag,
        "false",
        "Follow the claim `gatewayUrl` of a token whose signature was not verified.",
    ),
    key(
        "cloud.client.http.version",
        Choice(&["HTTP_1_1", "HTTP_2"]),
        "HTTP_2",
        "HTTP version towards the Cloud Gate. `cloud.client` applies with a Cloud Token; `management.http` and `reporters.cloud.client` win over it.",
    ),
    key(
        "cloud.client.http.keepAlive",
        Flag,
        "true",
        "Keep connections for reuse.",
    ),
    key(
        "cloud.client.http.idleTimeout",
        MS,
        "60000",
        "Milliseconds that an unused connection is kept.",
    ),
    key(
        "cloud.client.http.connectTimeout",
        MS,
        "5000",
        "Milliseconds to connect.",
    ),
    key(
        "cloud.client.ssl.trustAll",
        Flag,
        "false",
        "Accept any certificate: for tests only.",
    ),
    key(
        "cloud.client.ssl.hostnameVerifier",
        Flag,
        "true",
        "Check the host name in certificates.",
    ),
    key(
        "cloud.client.ssl.truststore.type",
        Choice(&["NONE", "PEM"]),
        "NONE",
        "Kind of trust store; JKS and PKCS12 are not supported.",
    )
    .or(&["cloud.client.ssl.trustStore.type"]),
    open(
        "cloud.client.ssl.truststore.path",
        Text,
        "/etc/turnpike/ca.pem",
        "PEM file of certificates to trust.",
    )
    .or(&["cloud.client.ssl.trustStore.path"]),
    open(
        "cloud.client.ssl.truststore.content",
        Text,
        "…",
        "The same as PEM text or its base64.",
    )
    .or(&["cloud.client.ssl.trustStore.content"]),
    key(
        "cloud.client.proxy.enabled",
        Flag,
        "false",
        "Use a forward proxy.",
    ),
    key(
        "cloud.client.proxy.useSystemProxy",
        Flag,
        "false",
        "Take the proxy from `system.proxy`.",
    ),
    key(
        "cloud.client.proxy.type",
        Choice(&["HTTP"]),
        "HTTP",
        "Kind of proxy; SOCKS is not supported.",
    ),
    open(
        "cloud.client.proxy.host",
        Text,
        "proxy.example",
        "Host of the proxy.",
    ),
    key(
        "cloud.client.proxy.port",
        PEER_PORT,
        "3128",
        "Port of the proxy.",
    ),
    open(
        "cloud.client.proxy.username",
        Text,
        "gateway",
        "User of the proxy.",
    ),
    open(
        "cloud.client.proxy.password",
        Secret,
        "…",
        "Password of the proxy.",
    ),
    // Control plane without a Cloud Token, and its client with one.
    key(
        "management.type",
        Choice(&["http"]),
        "http",
        "Kind of control plane link; also under `repositories.`, as everything of `management`.",
    ),
    open(
        "management.http.url",
        Text,
        "https://bridge.example:18092",
        "Address of the control plane; a Cloud Token brings its own.",
    ),
    open(
        "management.http.appendBridgeBasePath",
        Flag,
        "true",
        "Append `/_bridge` to the address; probed with a Cloud Token when unset.",
    ),
    open(
        "management.http.authentication.type",
        Choice(&["none", "basic", "jwt"]),
        "basic",
        "How to prove who we are; the Cloud Token when there is one.",
    ),
    open(
        "management.http.authentication.basic.username",
        Text,
        "admin",
        "User of `basic`.",
    ),
    open(
        "management.http.authentication.basic.password",
        Secret,
        "…",
        "Password of `basic`.",
    ),
    open(
        "management.http.authentication.jwt.token",
        Secret,
        "…",
        "Token of `jwt`.",
    ),
    open(
        "management.http.keepAlive",
        Flag,
        "true",
        "Keep connections for reuse.",
    ),
    open(
        "management.http.idleTimeout",
        MS,
        "30000",
        "Milliseconds that an unused connection is kept: 30000, with a Cloud Token 60000.",
    ),
    open(
        "management.http.connectTimeout",
        MS,
        "5000",
        "Milliseconds to connect.",
    ),
    key(
        "management.http.readTimeout",
        MS,
        "10000",
        "Milliseconds for a whole request.",
    ),
    key(
        "management.http.useCompression",
        Flag,
        "true",
        "Ask for compressed answers.",
    ),
    open(
        "management.http.version",
        Choice(&["HTTP_1_1", "HTTP_2"]),
        "HTTP_1_1",
        "HTTP version: HTTP_1_1, with a Cloud Token HTTP_2.",
    ),
    key(
        "management.http.clientVersion",
        Text,
        "4.12.17",
        "Version that we declare as a bridge client. Turnpike's own.",
    ),
    key(
        "management.http.connectionRetry.delaySec",
        Number(1, 86_400),
        "2",
        "Seconds before the first new attempt.",
    ),
    key(
        "management.http.connectionRetry.maxDelaySec",
        Number(1, 86_400),
        "60",
        "Seconds that attempts are apart at most.",
    ),
    key(
        "management.http.connectionRetry.backoffFactor",
        Decimal(1.0, 100.0),
        "1.5",
        "Factor between delays.",
    ),
    open(
        "management.http.ssl.trustAll",
        Flag,
        "false",
        "Accept any certificate: for tests only.",
    ),
    open(
        "management.http.ssl.verifyHostname",
        Flag,
        "true",
        "Check the host name in certificates.",
    ),
    open(
        "management.http.ssl.truststore.type",
        Choice(&["NONE", "PEM"]),
        "PEM",
        "Kind of trust store; JKS and PKCS12 are not supported.",
    )
    .or(&["management.http.ssl.trustStore.type"]),
    open(
        "management.http.ssl.truststore.path",
        Text,
        "/etc/turnpike/ca.pem",
        "PEM file of certificates to trust.",
    )
    .or(&["management.http.ssl.trustStore.path"]),
    open(
        "management.http.ssl.truststore.content",
        Text,
        "…",
        "The same as PEM text or its base64.",
    )
    .or(&["management.http.ssl.truststore.certContent"]),
    open(
        "management.http.proxy.enabled",
        Flag,
        "false",
        "Use a forward proxy.",
    ),
    open(
        "management.http.proxy.useSystemProxy",
        Flag,
        "false",
        "Take the proxy from `system.proxy`.",
    ),
    open(
        "management.http.proxy.type",
        Choice(&["HTTP"]),
        "HTTP",
        "Kind of proxy; SOCKS is not supported.",
    ),
    open(
        "management.http.proxy.host",
        Text,
        "proxy.example",
        "Host of the proxy.",
    ),
    open(
        "management.http.proxy.port",
        PEER_PORT,
        "3128",
        "Port of the proxy.",
    ),
    open(
        "management.http.proxy.username",
        Text,
        "gateway",
        "User of the proxy.",
    ),
    open(
        "management.http.proxy.password",
        Secret,
        "…",
        "Password of the proxy.",
    ),
    open(
        "management.http.paths.organizationIds",
        Text,
        "/environments/_organizationIds",
        "Path of a call that has no public endpoint. Turnpike's own, as all of `paths`.",
    ),
    open(
        "management.http.paths.licenses",
        Text,
        "/licenses/_search",
        "See `organizationIds`.",
    ),
    open(
        "management.http.paths.accessPoints",
        Text,
        "/accessPoints/_search",
        "See `organizationIds`.",
    ),
    open(
        "management.http.paths.subscriptionsAfter",
        Text,
        "/subscriptions/_searchAfter",
        "See `organizationIds`.",
    ),
    open(
        "management.http.paths.keysAfter",
        Text,
        "/keys/_searchAfter",
        "See `organizationIds`.",
    ),
    // Rate limits.
    key(
        "ratelimit.type",
        Choice(&["none", "redis", "local"]),
        "none",
        "Where counters are kept; also under `repositories.`. `local` is Turnpike's own.",
    ),
    // Services.
    key(
        "services.sync.enabled",
        Flag,
        "true",
        "Fetch APIs from the control plane.",
    ),
    key(
        "services.sync.repository.enabled",
        Flag,
        "true",
        "The same; both must be true.",
    ),
    key(
        "services.sync.delay",
        Number(1, DURATION_MS_MAX),
        "5000",
        "Time from the end of a cycle to the next, in `unit`.",
    ),
    key(
        "services.sync.unit",
        UNIT,
        "MILLISECONDS",
        "Unit of `delay`.",
    ),
    key(
        "services.sync.retry",
        Number(0, 1_000),
        "3",
        "Attempts of one step inside a cycle after the first.",
    ),
    key(
        "services.sync.retryDelay",
        MS,
        "3000",
        "Milliseconds between those attempts. Turnpike's own.",
    ),
    key(
        "services.sync.bulk_items",
        Number(1, 10_000),
        "100",
        "Page size of event searches.",
    ),
    key(
        "services.sync.apikey.subscriptions_chunk_size",
        Number(1, 10_000),
        "900",
        "Subscriptions per search of API keys.",
    ),
    open(
        "services.sync.snapshot.path",
        Text,
        "/var/lib/turnpike/snapshot",
        "Where the last known good state is kept, to start without the control plane. Turnpike's own.",
    ),
    key(
        "services.heartbeat.enabled",
        Flag,
        "true",
        "Tell the control plane that this gateway lives.",
    ),
    key(
        "services.heartbeat.delay",
        Number(1, DURATION_MS_MAX),
        "5000",
        "Period, in `unit`.",
    ),
    key(
        "services.heartbeat.unit",
        UNIT,
        "MILLISECONDS",
        "Unit of `delay`.",
    ),
    key(
        "services.monitoring.enabled",
        Flag,
        "true",
        "Report CPU and memory of the node.",
    ),
    key(
        "services.monitoring.delay",
        Number(1, DURATION_MS_MAX),
        "5000",
        "Period, in `unit`.",
    ),
    key(
        "services.monitoring.unit",
        UNIT,
        "MILLISECONDS",
        "Unit of `delay`.",
    ),
    key(
        "services.health.enabled",
        Flag,
        "true",
        "Evaluate the probes of the node.",
    ),
    key(
        "services.health.delay",
        Number(1, DURATION_MS_MAX),
        "5000",
        "Period, in `unit`.",
    ),
    key(
        "services.health.unit",
        UNIT,
        "MILLISECONDS",
        "Unit of `delay`.",
    ),
    key(
        "services.core.http.enabled",
        Flag,
        "true",
        "Serve the node API (`/_node`).",
    ),
    key(
        "services.core.http.host",
        Text,
        "localhost",
        "Address of the node API.",
    ),
    key(
        "services.core.http.port",
        PORT,
        "18082",
        "Port of the node API; 0 binds a free one.",
    ),
    key(
        "services.core.http.authentication.type",
        Choice(&["none", "basic"]),
        "basic",
        "How callers of the node API prove who they are.",
    ),
    key(
        "services.core.http.authentication.users.*",
        Secret,
        "adminadmin",
        "Users of the node API and their passwords.",
    ),
    key(
        "services.metrics.enabled",
        Flag,
        "false",
        "Count for Prometheus.",
    ),
    key(
        "services.metrics.prometheus.enabled",
        Flag,
        "true",
        "Serve `/_node/metrics/prometheus`.",
    ),
    key(
        "services.metrics.prometheus.concurrencyLimit",
        Number(1, 1_000),
        "3",
        "Scrapes at a time; beyond it the answer is 429.",
    ),
    // Reports.
    open(
        "reporters.cloud.url",
        Text,
        "https://eu.cloudgate.gravitee.io/reports",
        "Where reports go in place of the Cloud Gate of the token.",
    ),
    key(
        "reporters.cloud.bulk.items",
        Number(1, 100_000),
        "1000",
        "Reports per batch.",
    ),
    key(
        "reporters.cloud.flushInterval",
        Number(1, 86_400),
        "5",
        "Seconds after which a batch leaves even when it is not full.",
    )
    .or(&["reporters.cloud.bulk.flushInterval"]),
    key(
        "reporters.cloud.retry.initialDelay",
        Number(1, DURATION_MS_MAX),
        "3000",
        "Milliseconds before the first new attempt; each next one waits half as long again.",
    ),
    key(
        "reporters.cloud.retry.maxDelay",
        Number(1, DURATION_MS_MAX),
        "30000",
        "Milliseconds that attempts are apart at most.",
    ),
    key(
        "reporters.cloud.retry.maxRetries",
        Number(0, 1_000),
        "6",
        "Attempts after the first; then the batch is dropped and counted.",
    ),
    key(
        "reporters.cloud.maxMemorySize",
        Number(65_536, 17_179_869_184),
        "26214400",
        "Bytes of batches that may wait; beyond it the oldest is dropped and counted.",
    ),
    open(
        "reporters.cloud.client.http.version",
        Choice(&["HTTP_1_1", "HTTP_2"]),
        "HTTP_2",
        "HTTP version; as all of `client` it falls back to `cloud.client`.",
    ),
    open(
        "reporters.cloud.client.http.keepAlive",
        Flag,
        "true",
        "Keep connections for reuse.",
    ),
    open(
        "reporters.cloud.client.http.idleTimeout",
        MS,
        "10000",
        "Milliseconds that an unused connection is kept.",
    ),
    open(
        "reporters.cloud.client.http.connectTimeout",
        MS,
        "5000",
        "Milliseconds to connect.",
    ),
    open(
        "reporters.cloud.client.ssl.trustAll",
        Flag,
        "false",
        "Accept any certificate: for tests only.",
    ),
    open(
        "reporters.cloud.client.ssl.hostnameVerifier",
        Flag,
        "true",
        "Check the host name in certificates.",
    ),
    open(
        "reporters.cloud.client.ssl.truststore.type",
        Choice(&["NONE", "PEM"]),
        "PEM",
        "Kind of trust store; JKS and PKCS12 are not supported.",
    )
    .or(&["reporters.cloud.client.ssl.trustStore.type"]),
    open(
        "reporters.cloud.client.ssl.truststore.path",
        Text,
        "/etc/turnpike/ca.pem",
        "PEM file of certificates to trust.",
    )
    .or(&["reporters.cloud.client.ssl.trustStore.path"]),
    open(
        "reporters.cloud.client.ssl.truststore.content",
        Text,
        "…",
        "The same as PEM text or its base64.",
    )
    .or(&["reporters.cloud.client.ssl.trustStore.content"]),
    open(
        "reporters.cloud.client.proxy.enabled",
        Flag,
        "false",
        "Use a forward proxy.",
    ),
    open(
        "reporters.cloud.client.proxy.useSystemProxy",
        Flag,
        "false",
        "Take the proxy from `system.proxy`.",
    ),
    open(
        "reporters.cloud.client.proxy.type",
        Choice(&["HTTP"]),
        "HTTP",
        "Kind of proxy; SOCKS is not supported.",
    ),
    open(
        "reporters.cloud.client.proxy.host",
        Text,
        "proxy.example",
        "Host of the proxy.",
    ),
    open(
        "reporters.cloud.client.proxy.port",
        PEER_PORT,
        "3128",
        "Port of the proxy.",
    ),
    open(
        "reporters.cloud.client.proxy.username",
        Text,
        "gateway",
        "User of the proxy.",
    ),
    open(
        "reporters.cloud.client.proxy.password",
        Secret,
        "…",
        "Password of the proxy.",
    ),
    // The node.
    open(
        "system.proxy.type",
        Choice(&["HTTP"]),
        "HTTP",
        "Kind of the system proxy; SOCKS is not supported.",
    ),
    open(
        "system.proxy.host",
        Text,
        "proxy.example",
        "Host of the system proxy.",
    ),
    open(
        "system.proxy.port",
        PEER_PORT,
        "3128",
        "Port of the system proxy.",
    ),
    open(
        "system.proxy.username",
        Text,
        "gateway",
        "User of the system proxy.",
    ),
    open(
        "system.proxy.password",
        Secret,
        "…",
        "Password of the system proxy.",
    ),
    open(
        "license.key",
        Secret,
        "…",
        "Licence, base64 of the file; else the file that `gravitee.license` names, else `license/license.key`. Shown, never enforced.",
    ),
    open(
        "license.path",
        Text,
        "/opt/graviteeio-gateway/license/license.key",
        "Licence file; `gravitee.license` says the same.",
    )
    .or(&["gravitee.license", "license"]),
    open(
        "tags",
        List,
        "internal,!partner",
        "Sharding tags of this gateway; `!` excludes.",
    ),
    open("zone", Text, "eu-west", "Zone, shown by the control plane."),
    open(
        "tenant",
        Text,
        "blue",
        "Tenant; endpoints of other tenants are left out.",
    ),
    open(
        "organizations",
        List,
        "DEFAULT",
        "Organizations to serve; a Cloud Token brings its own.",
    ),
    open(
        "environments",
        List,
        "DEFAULT",
        "Environments to serve; with a Cloud Token a part of its own.",
    ),
    open(
        "useLegacyEnvironmentHrids",
        Flag,
        "true",
        "Take `organizations` and `environments` for human-readable ids; with a Cloud Token false.",
    ),
    key(
        "gracefulShutdown.delay",
        MS,
        "0",
        "Time to serve on after the signal, in `unit`; clients are asked to close.",
    ),
    key(
        "gracefulShutdown.unit",
        UNIT,
        "MILLISECONDS",
        "Unit of `delay`.",
    ),
    key(
        "gracefulShutdown.failReadiness",
        Flag,
        "false",
        "Readiness turns unhealthy at the signal. Turnpike's own.",
    ),
    // What must stay off.
    refused(
        "http.secured",
        "TLS on the server side is not supported yet, and plain text in its place would be unsafe",
    ),
    refused(
        "servers[].secured",
        "TLS on the server side is not supported yet, and plain text in its place would be unsafe",
    ),
    refused(
        "services.core.http.secured",
        "TLS on the node API is not supported yet, and plain text in its place would be unsafe",
    ),
    refused(
        "services.sync.kubernetes.enabled",
        "APIs from Kubernetes resources are not supported: they come from the control plane",
    ),
    refused(
        "services.bridge.enabled",
        "this gateway is no bridge server",
    ),
    refused(
        "services.bridge.http.enabled",
        "this gateway is no bridge server",
    ),
    not_yet(
        "http.compressionSupported",
        "compression of responses is not supported yet: they are sent as the backend made them",
    ),
    not_yet(
        "servers[].compressionSupported",
        "compression of responses is not supported yet: they are sent as the backend made them",
    ),
    not_yet(
        "http.websocket.enabled",
        "WebSocket is not supported yet: upgrade requests are answered as plain requests",
    ),
    not_yet(
        "servers[].websocket.enabled",
        "WebSocket is not supported yet: upgrade requests are answered as plain requests",
    ),
    not_yet(
        "http.haproxy.proxyProtocol",
        "the PROXY protocol is not supported yet: connections that begin with it are refused",
    ),
    not_yet(
        "servers[].haproxy.proxyProtocol",
        "the PROXY protocol is not supported yet: connections that begin with it are refused",
    ),
    not_yet(
        "handlers.request.trace-context.enabled",
        "trace context is not supported yet: `traceparent` is passed on as it came",
    ),
    not_yet(
        "api.security.verbose401",
        "verbose 401 answers are not supported yet",
    ),
    not_yet(
        "services.sync.distributed.enabled",
        "distributed sync is not supported yet: every node asks the control plane",
    ),
    not_yet(
        "services.opentelemetry.enabled",
        "OpenTelemetry is not supported yet: no spans are sent",
    ),
    not_yet(
        "services.tracing.enabled",
        "tracing is not supported yet: no spans are sent",
    ),
    not_yet(
        "management.http.keysetPaging",
        "keyset paging is not supported yet: the public endpoints are used",
    ),
    not_yet(
        "reporters.file.enabled",
        "the file reporter is not supported yet: reports go to the Cloud Gate only",
    ),
    not_yet(
        "reporters.tcp.enabled",
        "the TCP reporter is not supported yet: reports go to the Cloud Gate only",
    ),
    not_yet(
        "reporters.elasticsearch.enabled",
        "the Elasticsearch reporter is not supported yet: reports go to the Cloud Gate only",
    ),
    not_yet(
        "reporters.kafka.enabled",
        "the Kafka reporter is not supported: reports go to the Cloud Gate only",
    ),
    not_yet(
        "reporters.datadog.enabled",
        "the Datadog reporter is not supported: reports go to the Cloud Gate only",
    ),
    not_yet(
        "alerts.alert-engine.enabled",
        "alert engine events are not supported yet",
    ),
    not_yet("kafka.enabled", "native Kafka APIs are not supported"),
    not_yet("tcp.enabled", "TCP APIs are not supported"),
    not_yet(
        "services.core.endpoints.heapdump.enabled",
        "there is no Java heap to dump",
    ),
    not_yet(
        "services.core.endpoints.threaddump.enabled",
        "thread dumps are not supported yet",
    ),
    not_yet_set(
        "management.http.ssl.keystore.**",
        "client certificates towards the control plane are not supported yet",
    ),
    not_yet_set(
        "cloud.client.ssl.keystore.**",
        "client certificates towards the Cloud Gate are not supported yet",
    ),
    // The Java gateway's own, without effect here.
    ignored("http.alpn"),
    ignored("http.instances"),
    ignored("http.maxChunkSize"),
    ignored("http.maxFormAttributeSize"),
    ignored("http.pooling.**"),
    ignored("http.blocking.**"),
    ignored("http.compressionLevel"),
    ignored("http.ssl.**"),
    ignored("http.websocket.**"),
    ignored("http.haproxy.**"),
    ignored("servers[].name"),
    ignored("servers[].alpn"),
    ignored("servers[].instances"),
    ignored("servers[].maxChunkSize"),
    ignored("servers[].maxFormAttributeSize"),
    ignored("servers[].ssl.**"),
    ignored("servers[].websocket.**"),
    ignored("servers[].haproxy.**"),
    ignored("tcp.**"),
    ignored("kafka.**"),
    ignored("plugins.**"),
    ignored("classloader.**"),
    ignored("management.mongodb.**"),
    ignored("management.jdbc.**"),
    ignored("management.http.clearTextUpgrade"),
    ignored("management.http.http2MultiplexingLimit"),
    ignored("management.http.maxConcurrentConnections"),
    ignored("management.http.strippedUrl"),
    ignored("management.http.ssl.truststore.password"),
    ignored("management.http.ssl.truststore.alias"),
    ignored("cloud.client.http.maxConcurrentConnections"),
    ignored("cloud.client.http.http2MultiplexingLimit"),
    ignored("cloud.client.http.clearTextUpgrade"),
    ignored("cloud.client.ssl.truststore.password"),
    ignored("cloud.client.ssl.truststore.alias"),
    ignored("cloud.connector.**"),
    ignored("ratelimit.redis.**"),
    ignored("ratelimit.mongodb.**"),
    ignored("ratelimit.jdbc.**"),
    ignored("ratelimit.hazelcast.**"),
    ignored("repositories.distributed-sync.**"),
    ignored("distributed-sync.**"),
    ignored("redis.**"),
    ignored("cache.**"),
    ignored("cluster.**"),
    ignored("data.**"),
    ignored("ds.**"),
    ignored("reporters.cloud.enabled"),
    ignored("reporters.cloud.format"),
    ignored("reporters.cloud.client.http.maxConcurrentConnections"),
    ignored("reporters.cloud.client.http.http2MultiplexingLimit"),
    ignored("reporters.cloud.client.http.clearTextUpgrade"),
    ignored("reporters.cloud.client.ssl.truststore.password"),
    ignored("reporters.cloud.client.ssl.truststore.alias"),
    ignored("reporters.file.**"),
    ignored("reporters.tcp.**"),
    ignored("reporters.elasticsearch.**"),
    ignored("reporters.kafka.**"),
    ignored("reporters.datadog.**"),
    ignored("reporters.logging.**"),
    ignored("reporters.system.**"),
    ignored("services.core.endpoints.**"),
    ignored("services.core.http.alpn"),
    ignored("services.core.http.idleTimeout"),
    ignored("services.core.http.ssl.**"),
    ignored("services.bridge.**"),
    ignored("services.sync.fetcher"),
    ignored("services.sync.deployer"),
    ignored("services.sync.cron"),
    ignored("services.sync.appender.**"),
    ignored("services.sync.subscription.**"),
    ignored("services.sync.apikey.bulk_items"),
    ignored("services.sync.distributed.**"),
    ignored("services.sync.kubernetes.**"),
    ignored("services.heartbeat.storeSystemProperties"),
    ignored("services.health.threshold.**"),
    ignored("services.healthcheck.**"),
    ignored("services.ratelimit.**"),
    ignored("services.local.**"),
    ignored("services.metrics.labels.**"),
    ignored("services.metrics.include.**"),
    ignored("services.metrics.exclude.**"),
    ignored("services.metrics.domains.**"),
    ignored("services.metrics.binder.**"),
    ignored("services.metrics.prometheus.naming.**"),
    ignored("services.opentelemetry.**"),
    ignored("services.tracing.**"),
    ignored("services.dictionary.**"),
    ignored("services.subscription.**"),
    ignored("services.apikeyscache.**"),
    ignored("services.subscriptionscache.**"),
    ignored("alerts.**"),
    ignored("system.proxy.enabled"),
    ignored("handlers.request.headers.**"),
    ignored("handlers.request.trace-context.**"),
    ignored("policy.data-logging-masking.**"),
    ignored("policy.geoip-filtering.**"),
    ignored("policy.groovy.**"),
    ignored("policy.rate-limit.**"),
    ignored("api.jupiterMode.**"),
    ignored("api.v2-emulation-engine.**"),
    ignored("api.logging.**"),
    ignored("apiKey.**"),
    ignored("el.**"),
    ignored("groovy.**"),
    ignored("secrets.**"),
    ignored("configuration.**"),
    ignored("node.**"),
    ignored("vertx.**"),
    ignored("graceful.**"),
    ignored("gravitee.**"),
    ignored("installation.**"),
    ignored("integration.**"),
    ignored("jwt.**"),
    ignored("home"),
    ignored("conf"),
    ignored("log_format"),
];
