//! The resources `cache` and `cache-redis` (contract policies 8.2, 8.3).

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::MemoryCache;
use crate::definition::Api;
use crate::need::{Errand, RedisPlace, RemoteCache};
use crate::policy::ConfigError;
use crate::policy::lenient::{de_bool, de_number, de_optional_bool, de_optional_number};
use crate::policy::lenient::{de_optional_text, de_text};
use crate::policy::resource::{ResourceBuilder, ResourceEntry};

/// Resource `cache`.
pub(in crate::policy) const MEMORY: ResourceEntry = ResourceEntry {
    kind: "cache",
    summary: "a cache in the gateway's memory",
    build: build_memory,
};

/// Resource `cache-redis`.
pub(in crate::policy) const REDIS: ResourceEntry = ResourceEntry {
    kind: "cache-redis",
    summary: "a cache in Redis that gateways share",
    build: build_redis,
};

/// What a cache says about a key.
#[derive(Debug)]
pub enum Lookup {
    /// The value.
    Found(Arc<[u8]>),
    /// There is none.
    Missing,
    /// The errand that asks; [`crate::need::Answer::Cache`] answers.
    Ask(Errand),
}

/// A cache of an API: in memory, or in Redis.
pub struct CacheResource {
    store: Store,
    /// Life of an entry, milliseconds; 0 is no limit.
    ttl_ms: u64,
}

enum Store {
    Memory(MemoryCache),
    Redis {
        cache: Arc<RemoteCache>,
        /// Keys belong to one deployment (`releaseCache`).
        per_deployment: bool,
    },
}

// The password of a Redis is never printed.
impl fmt::Debug for CacheResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheResource")
            .field("is_remote", &self.is_remote())
            .field("ttl_ms", &self.ttl_ms)
            .finish()
    }
}

impl CacheResource {
    /// A cache in memory. `ttl_ms` and `idle_ms` in milliseconds, 0 is no limit.
    pub fn memory(entries_max: usize, ttl_ms: u64, idle_ms: u64) -> Self {
        Self {
            store: Store::Memory(MemoryCache::new(entries_max, idle_ms)),
            ttl_ms,
        }
    }

    /// A cache in Redis. `ttl_ms` in milliseconds, 0 is no limit.
    pub fn redis(cache: RemoteCache, ttl_ms: u64, per_deployment: bool) -> Self {
        Self {
            store: Store::Redis {
                cache: Arc::new(cache),
                per_deployment,
            },
            ttl_ms,
        }
    }

    /// Whether entries leave the process.
    pub fn is_remote(&self) -> bool {
        matches!(self.store, Store::Redis { .. })
    }

    /// What separates the parts of a key.
    pub fn separator(&self) -> char {
        match self.store {
            Store::Memory(_) => '_',
            Store::Redis { .. } => ':',
        }
    }

    /// Asks for a key. The cache in memory answers at once.
    pub fn get(&self, api: &Api, key: &str, now_ms: u64) -> Lookup {
        match &self.store {
            Store::Memory(cache) => match cache.get(key, now_ms) {
                Some(value) => Lookup::Found(value),
                None => Lookup::Missing,
            },
            Store::Redis {
                cache,
                per_deployment,
            } => Lookup::Ask(Errand::CacheGet {
                cache: Arc::clone(cache),
                key: full_key(api, key, *per_deployment),
            }),
        }
    }

    /// Keeps a value. `ttl_ms` is what the entry itself may live, milliseconds, 0 for no limit of its own. `Some` is the errand that
    /// stores it, which nobody needs to wait for.
    pub fn put(
        &self,
        api: &Api,
        key: &str,
        value: Arc<[u8]>,
        ttl_ms: u64,
        now_ms: u64,
    ) -> Option<Errand> {
        let ttl_ms = self.life_ms(ttl_ms);
        match &self.store {
            Store::Memory(cache) => {
                cache.put(key, value, ttl_ms, now_ms);
                None
            }
            Store::Redis {
                cache,
                per_deployment,
            } => Some(Errand::CachePut {
                cache: Arc::clone(cache),
                key: full_key(api, key, *per_deployment),
                value,
                ttl_ms,
            }),
        }
    }

    /// Forgets a key. `Some` is the errand that does it.
    pub fn evict(&self, api: &Api, key: &str) -> Option<Errand> {
        match &self.store {
            Store::Memory(cache) => {
                cache.evict(key);
                None
            }
            Store::Redis {
                cache,
                per_deployment,
            } => Some(Errand::CacheEvict {
                cache: Arc::clone(cache),
                key: full_key(api, key, *per_deployment),
            }),
        }
    }

    /// The life of an entry: the resource's, unless the entry's own is shorter.
    fn life_ms(&self, own_ms: u64) -> u64 {
        match (self.ttl_ms, own_ms) {
            (0, own_ms) => own_ms,
            (ttl_ms, 0) => ttl_ms,
            (ttl_ms, own_ms) => ttl_ms.min(own_ms),
        }
    }
}

fn full_key(api: &Api, key: &str, per_deployment: bool) -> Box<str> {
    if per_deployment {
        format!("{key}:{}", api.deployed_at_ms).into()
    } else {
        key.into()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MemoryConfiguration {
    #[serde(deserialize_with = "de_number")]
    time_to_idle_seconds: u32,
    #[serde(deserialize_with = "de_number")]
    time_to_live_seconds: u32,
    #[serde(deserialize_with = "de_optional_number")]
    max_entries_local_heap: Option<u32>,
}

fn build_memory(builder: &ResourceBuilder<'_>) -> Result<Arc<dyn Any + Send + Sync>, ConfigError> {
    let configuration: MemoryConfiguration = builder.configuration()?;
    Ok(Arc::new(CacheResource::memory(
        configuration.max_entries_local_heap.unwrap_or(1_000) as usize,
        u64::from(configuration.time_to_live_seconds) * 1_000,
        u64::from(configuration.time_to_idle_seconds) * 1_000,
    )))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RedisConfiguration {
    #[serde(deserialize_with = "de_optional_text")]
    password: Option<String>,
    #[serde(deserialize_with = "de_optional_text")]
    username: Option<String>,
    #[serde(deserialize_with = "de_number")]
    time_to_live_seconds: u32,
    #[serde(deserialize_with = "de_optional_number")]
    timeout: Option<u32>,
    #[serde(deserialize_with = "de_bool")]
    release_cache: bool,
    #[serde(deserialize_with = "de_optional_bool")]
    use_ssl: Option<bool>,
    #[serde(deserialize_with = "de_bool")]
    sentinel_mode: bool,
    /// Newer versions name the server here.
    #[serde(deserialize_with = "de_optional_text")]
    host: Option<String>,
    #[serde(deserialize_with = "de_optional_number")]
    port: Option<u16>,
    standalone: Option<Node>,
    sentinel: Option<Sentinel>,
    ssl: Option<Ssl>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Node {
    #[serde(deserialize_with = "de_text")]
    host: String,
    #[serde(deserialize_with = "de_optional_number")]
    port: Option<u16>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Sentinel {
    #[serde(deserialize_with = "de_bool")]
    enabled: bool,
    #[serde(deserialize_with = "de_text")]
    master_id: String,
    #[serde(deserialize_with = "de_optional_text")]
    password: Option<String>,
    nodes: Option<Vec<Node>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ssl {
    #[serde(deserialize_with = "de_optional_bool")]
    trust_all: Option<bool>,
}

/// A password as it is; one that is an expression cannot be read at deployment.
fn password(member: &str, password: Option<String>) -> Result<Option<Box<str>>, ConfigError> {
    match password.filter(|password| !password.is_empty()) {
        Some(password) if password.contains("{#") => Err(ConfigError::new(
            member,
            "expressions and secrets are not supported here",
        )),
        password => Ok(password.map(Into::into)),
    }
}

fn host(member: String, host: &str) -> Result<Box<str>, ConfigError> {
    if host.trim().is_empty() || host.contains("{#") {
        return Err(ConfigError::new(member, "a host name or address is needed"));
    }
    Ok(host.trim().into())
}

fn place(configuration: &mut RedisConfiguration) -> Result<RedisPlace, ConfigError> {
    let is_sentinel =
        configuration.sentinel_mode || configuration.sentinel.as_ref().is_some_and(|s| s.enabled);
    if !is_sentinel {
        let (member, name, port) = match (&configuration.host, &configuration.standalone) {
            (Some(name), _) => ("host", name.as_str(), configuration.port),
            (None, Some(node)) if !node.host.is_empty() => {
                ("standalone.host", node.host.as_str(), node.port)
            }
            (None, node) => {
                let port = node.as_ref().and_then(|node| node.port);
                ("standalone.host", "localhost", port.or(configuration.port))
            }
        };
        return Ok(RedisPlace::Standalone {
            host: host(member.to_owned(), name)?,
            port: port.unwrap_or(6_379),
        });
    }
    let sentinel = configuration.sentinel.take().unwrap_or_default();
    if sentinel.master_id.is_empty() {
        return Err(ConfigError::new(
            "sentinel.masterId",
            "the name of the primary is needed",
        ));
    }
    let mut nodes = Vec::new();
    for (index, node) in sentinel.nodes.into_iter().flatten().enumerate() {
        let name = host(format!("sentinel.nodes[{index}].host"), &node.host)?;
        nodes.push((name, node.port.unwrap_or(26_379)));
    }
    if nodes.is_empty() {
        return Err(ConfigError::new("sentinel.nodes", "a sentinel is needed"));
    }
    Ok(RedisPlace::Sentinel {
        master: sentinel.master_id.into(),
        nodes,
        password: password("sentinel.password", sentinel.password)?,
    })
}

fn build_redis(builder: &ResourceBuilder<'_>) -> Result<Arc<dyn Any + Send + Sync>, ConfigError> {
    let mut configuration: RedisConfiguration = builder.configuration()?;
    let place = place(&mut configuration)?;
    let ttl_ms = u64::from(configuration.time_to_live_seconds) * 1_000;
    let cache = RemoteCache {
        place,
        password: password("password", configuration.password)?,
        username: configuration
            .username
            .filter(|name| !name.is_empty())
            .map(Into::into),
        tls: configuration.use_ssl.unwrap_or(true),
        // The reference's own default (contract policies 15.2).
        trust_all: configuration
            .ssl
            .and_then(|ssl| ssl.trust_all)
            .unwrap_or(true),
        timeout_ms: match configuration.timeout {
            None | Some(0) => 2_000,
            Some(timeout) => u64::from(timeout),
        },
    };
    Ok(Arc::new(CacheResource::redis(
        cache,
        ttl_ms,
        configuration.release_cache,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::registry::GatewayParts;
    use crate::policy::resource;
    use crate::policy::testing::Bench;
    use serde_json::{Value, json};

    fn build(kind: &str, configuration: &Value) -> Result<Arc<CacheResource>, ConfigError> {
        let entry = resource::find(kind).expect("a known type");
        let built = (entry.build)(&ResourceBuilder {
            name: "the cache",
            api_id: "api",
            configuration,
            gateway: &GatewayParts::default(),
        })?;
        Ok(built.downcast().expect("a cache"))
    }

    fn asked(resource: &CacheResource) -> (Arc<RemoteCache>, Box<str>) {
        let bench = Bench::new();
        match resource.get(&bench.deployed.api, "key", 1) {
            Lookup::Ask(Errand::CacheGet { cache, key }) => (cache, key),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_shorter_life_counts_and_zero_is_no_limit() {
        for (resource_ms, own_ms, expected) in
            [(0, 0, 0), (0, 5, 5), (5, 0, 5), (5, 3, 3), (5, 9, 5)]
        {
            let resource = CacheResource::memory(1, resource_ms, 0);
            assert_eq!(resource.life_ms(own_ms), expected);
        }
    }

    #[test]
    fn a_cache_in_memory_answers_at_once() {
        let resource = build("cache", &json!({"timeToLiveSeconds": "1"})).expect("a cache");
        let bench = Bench::new();
        let api = &bench.deployed.api;
        assert_eq!(resource.separator(), '_');
        assert!(matches!(resource.get(api, "a", 1), Lookup::Missing));
        assert!(resource.put(api, "a", [1].into(), 0, 1).is_none());
        assert!(matches!(resource.get(api, "a", 1_000), Lookup::Found(value) if *value == [1]));
        assert!(matches!(resource.get(api, "a", 1_001), Lookup::Missing));
        assert!(resource.evict(api, "a").is_none());
    }

    #[test]
    fn a_cache_in_redis_has_the_defaults_of_the_reference() {
        let (cache, key) = asked(&build("cache-redis", &json!({})).expect("a cache"));
        assert_eq!(&*key, "key");
        assert_eq!(
            cache.place,
            RedisPlace::Standalone {
                host: "localhost".into(),
                port: 6_379
            }
        );
        assert!(cache.tls && cache.password.is_none());
        assert_eq!(cache.timeout_ms, 2_000);
    }

    #[test]
    fn a_cache_in_redis_is_configured_in_the_forms_of_every_version() {
        let (cache, key) = asked(
            &build(
                "cache-redis",
                &json!({
                    "releaseCache": true, "useSsl": false, "password": "hidden", "timeout": 10,
                    "standalone": {"enabled": true, "host": "redis", "port": "6380"},
                }),
            )
            .expect("a cache"),
        );
        assert_eq!(&*key, "key:1", "the deployment is part of the key");
        assert!(!cache.tls && cache.timeout_ms == 10);
        assert_eq!(cache.password.as_deref(), Some("hidden"));
        let newer = json!({"host": "redis", "port": 6380});
        let (newer, _) = asked(&build("cache-redis", &newer).expect("a cache"));
        assert_eq!(newer.place, cache.place);
        for selected in [
            json!({"sentinelMode": true, "sentinel": {"masterId": "m", "nodes": [{"host": "s"}]}}),
            json!({"sentinel": {"enabled": true, "masterId": "m", "nodes": [{"host": "s", "port": 26379}]}}),
        ] {
            let (cache, _) = asked(&build("cache-redis", &selected).expect("a cache"));
            assert_eq!(
                cache.place,
                RedisPlace::Sentinel {
                    master: "m".into(),
                    nodes: vec![("s".into(), 26_379)],
                    password: None
                }
            );
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_used_names_its_member_and_keeps_its_secret() {
        for (kind, configuration, member) in [
            (
                "cache",
                json!({"timeToLiveSeconds": -1}),
                "timeToLiveSeconds",
            ),
            (
                "cache",
                json!({"maxEntriesLocalHeap": "many"}),
                "maxEntriesLocalHeap",
            ),
            ("cache-redis", json!({"timeout": {}}), "timeout"),
            (
                "cache-redis",
                json!({"password": "{#secrets.get('x')}"}),
                "password",
            ),
            ("cache-redis", json!({"host": " "}), "host"),
            (
                "cache-redis",
                json!({"sentinelMode": true}),
                "sentinel.masterId",
            ),
            (
                "cache-redis",
                json!({"sentinel": {"enabled": true, "masterId": "m"}}),
                "sentinel.nodes",
            ),
        ] {
            let error = build(kind, &configuration).expect_err("unusable");
            assert_eq!(error.member, member);
            assert!(!error.reason.contains("secrets.get"), "{error}");
        }
        let resource = build("cache-redis", &json!({"password": "hidden"})).expect("a cache");
        assert!(!format!("{resource:?}").contains("hidden"));
    }
}
