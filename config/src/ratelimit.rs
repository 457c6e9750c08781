//! The resolved settings of `ratelimit.*` and `services.ratelimit.*` (contract policies 6.6, 6.7).

use std::path::PathBuf;

use crate::Secret;

/// `ratelimit.*` besides its type, and `services.ratelimit.*`.
#[derive(Debug, Clone)]
pub struct RatelimitConfig {
    /// `ratelimit.maxKeys` (ours): counters kept in this process at most.
    pub keys_max: usize,
    /// `ratelimit.redis.*`.
    pub redis: RedisConfig,
    /// `ratelimit.redis.mode` is `lease` (ours): parts of a limit are taken in advance.
    pub lease: Option<LeaseConfig>,
    /// `services.ratelimit.enabled`.
    pub asynchronous: bool,
    /// `services.ratelimit.async.flushInterval`, milliseconds.
    pub flush_interval_ms: u64,
}

impl Default for RatelimitConfig {
    fn default() -> Self {
        Self {
            keys_max: 200_000,
            redis: RedisConfig::default(),
            lease: None,
            asynchronous: true,
            flush_interval_ms: 5_000,
        }
    }
}

/// `ratelimit.redis.lease.*` (ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseConfig {
    /// `percent`: one part of a limit.
    pub percent: u64,
    /// `settleInterval`, milliseconds: what was not used is given back this often.
    pub settle_interval_ms: u64,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            percent: 10,
            settle_interval_ms: 1_000,
        }
    }
}

/// A Redis.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `host` and `port`, or `sentinel.*`, or `cluster.*`.
    pub place: RedisPlaceConfig,
    /// `username`.
    pub username: Option<String>,
    /// `password` of the data nodes.
    pub password: Option<Secret>,
    /// `ssl` and what belongs to it.
    pub tls: Option<RedisTlsConfig>,
    /// `operation.timeout`, milliseconds.
    pub operation_timeout_ms: u64,
    /// `tcp.connectTimeout`, milliseconds.
    pub connect_timeout_ms: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            place: RedisPlaceConfig::Standalone {
                host: "localhost".to_owned(),
                port: 6_379,
            },
            username: None,
            password: None,
            tls: None,
            operation_timeout_ms: 10,
            connect_timeout_ms: 5_000,
        }
    }
}

/// Where a Redis is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisPlaceConfig {
    /// One server.
    Standalone {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// The primary that sentinels name.
    Sentinel {
        /// `sentinel.master`.
        master: String,
        /// `sentinel.nodes[]`.
        nodes: Vec<(String, u16)>,
        /// `sentinel.password`; none is sent when it is unset.
        password: Option<Secret>,
    },
    /// A cluster.
    Cluster {
        /// `cluster.nodes[]`.
        nodes: Vec<(String, u16)>,
    },
}

/// TLS towards a Redis.
#[derive(Debug, Clone)]
pub struct RedisTlsConfig {
    /// `trustAll`.
    pub trust_all: bool,
    /// `hostnameVerificationAlgorithm` is not `NONE`.
    pub verify_hostname: bool,
    /// PEM file of certificates to trust; `None` trusts the system's.
    pub truststore_path: Option<PathBuf>,
    /// PEM files of our certificate and of its key; the same file may hold both.
    pub keystore: Option<(PathBuf, PathBuf)>,
    /// `tlsProtocols`; empty allows all that are safe.
    pub protocols: Vec<String>,
    /// `tlsCiphers`; empty allows all that are safe.
    pub ciphers: Vec<String>,
}

impl Default for RedisTlsConfig {
    fn default() -> Self {
        Self {
            trust_all: true,
            verify_hostname: false,
            truststore_path: None,
            keystore: None,
            protocols: Vec::new(),
            ciphers: Vec::new(),
        }
    }
}
