//! Meets the errands that go to a Redis.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Value;
use tokio::time::Instant;
use turnpike_core::need::link::{Replies, Ticket};
use turnpike_core::need::{Answer, Errand, RemoteCache};
use turnpike_core::quota::{CountError, GiveBack, Quotas};

use super::backend::Backend;
use super::command::Command;
use super::connect::Target;
use super::failures::Failures;
use super::lease::Leases;
use super::script::{count, parse_count, parse_tokens, take_tokens};

/// Caches with a connection at most; beyond it the one that was not used for longest is disconnected.
const CACHES_MAX: usize = 64;
/// A cache that was not used for so long is disconnected when another one comes.
const CACHE_IDLE: Duration = Duration::from_secs(600);
/// Bytes of a value that is written to a cache at most.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// What became of the errands of caches so far.
#[derive(Debug, Default)]
pub struct CacheStats {
    /// Commands that failed.
    pub failures: AtomicU64,
    /// Commands that were sent.
    pub commands: AtomicU64,
}

struct Cache {
    backend: Backend,
    used: Instant,
}

/// Counters, token buckets and caches in Redis.
pub struct RedisErrandDesk {
    /// Where counters are; `None` when they are in no Redis.
    counters: Option<Backend>,
    leases: Option<Leases>,
    caches: Mutex<HashMap<Arc<RemoteCache>, Cache>>,
    cache_stats: Arc<CacheStats>,
    cache_log: Arc<Failures>,
}

impl std::fmt::Debug for RedisErrandDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisErrandDesk")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// The time, Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

impl RedisErrandDesk {
    /// A desk with this store of counters. To be used on the current runtime.
    pub fn new(counters: Option<Backend>, quotas: &Arc<Quotas>) -> Self {
        let leases = match (&counters, &quotas.settings().lease) {
            (Some(backend), Some(_)) => {
                Some(Leases::new(Arc::clone(quotas), backend.clone(), unix_ms))
            }
            _ => None,
        };
        Self {
            counters,
            leases,
            caches: Mutex::default(),
            cache_stats: Arc::default(),
            cache_log: Arc::default(),
        }
    }

    /// What became of the errands of caches so far.
    pub fn cache_stats(&self) -> &CacheStats {
        &self.cache_stats
    }

    /// Gives leased units back.
    pub async fn give_back(&self, back: Vec<GiveBack>) {
        if let Some(leases) = &self.leases
            && !back.is_empty()
        {
            leases.give_back(back).await;
        }
    }

    /// Runs the counts and takes of one turn in one write.
    fn count(&self, errands: Vec<(Ticket, Wanted)>, commands: Vec<Command>, replies: &Replies) {
        if errands.is_empty() {
            return;
        }
        let replies = replies.clone();
        let Some(backend) = self.counters.clone() else {
            for (ticket, wanted) in errands {
                replies.send(ticket, wanted.answer(Err(CountError::NoStore)));
            }
            return;
        };
        tokio::spawn(async move {
            let results = backend.run(&commands, backend.timeout()).await;
            for ((ticket, wanted), result) in errands.into_iter().zip(results) {
                replies.send(ticket, wanted.answer(result));
            }
        });
    }

    /// The connection of a cache; `None` when it cannot be set up.
    fn cache(&self, cache: &Arc<RemoteCache>) -> Option<Backend> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(known) = caches.get_mut(cache) {
            known.used = now;
            return Some(known.backend.clone());
        }
        caches.retain(|_, cache| now.duration_since(cache.used) < CACHE_IDLE);
        if caches.len() >= CACHES_MAX {
            let oldest = caches
                .iter()
                .min_by_key(|(_, cache)| cache.used)
                .map(|(key, _)| Arc::clone(key));
            if let Some(oldest) = oldest {
                caches.remove(&oldest);
            }
        }
        let backend = match Target::of_cache(cache) {
            Ok(target) => Backend::start("cache", target, false),
            Err(error) => {
                tracing::error!("a cache in Redis cannot be used: {error}");
                return None;
            }
        };
        caches.insert(
            Arc::clone(cache),
            Cache {
                backend: backend.clone(),
                used: now,
            },
        );
        Some(backend)
    }

    fn run_cached(
        &self,
        ticket: Ticket,
        cache: &Arc<RemoteCache>,
        access: Access,
        replies: &Replies,
    ) {
        let is_get = matches!(access, Access::Get(_));
        let nothing = move || {
            if is_get {
                Answer::Cache(None)
            } else {
                Answer::Done
            }
        };
        let Some(command) = access.command() else {
            replies.send(ticket, nothing());
            return;
        };
        let Some(backend) = self.cache(cache) else {
            replies.send(ticket, nothing());
            return;
        };
        let (replies, stats, log) = (
            replies.clone(),
            Arc::clone(&self.cache_stats),
            Arc::clone(&self.cache_log),
        );
        tokio::spawn(async move {
            stats.commands.fetch_add(1, Ordering::Relaxed);
            let answer = match backend.run_one(command, backend.timeout()).await {
                Ok(Value::BulkString(bytes)) if is_get => Answer::Cache(Some(bytes)),
                Ok(_) => nothing(),
                Err(error) => {
                    stats.failures.fetch_add(1, Ordering::Relaxed);
                    if let Some(number) = log.note() {
                        tracing::warn!(failures = number, "a cache in Redis failed: {error}");
                    }
                    nothing()
                }
            };
            replies.send(ticket, answer);
        });
    }
}

/// What an errand of a counter wants to know.
enum Wanted {
    Rate(turnpike_core::quota::CountRequest),
    Tokens,
}

impl Wanted {
    fn answer(&self, result: Result<Value, CountError>) -> Answer {
        match self {
            Self::Rate(request) => Answer::Count(result.and_then(|value| {
                // A key that was gone at once counts nothing: what was supplied stands.
                Ok(parse_count(&value)?.unwrap_or(turnpike_core::quota::Rate {
                    counter: 0,
                    reset_at_ms: request.reset_at_ms,
                }))
            })),
            Self::Tokens => Answer::Tokens(result.and_then(|value| parse_tokens(&value))),
        }
    }
}

/// The key of an entry as it is in Redis (contract policies 8.3).
fn cache_key(key: &str) -> String {
    format!("gravitee:{key}")
}

/// An access to a cache.
enum Access {
    Get(Box<str>),
    Put(Box<str>, Arc<[u8]>, u64),
    Evict(Box<str>),
}

impl Access {
    /// `None` when there is nothing to send.
    fn command(self) -> Option<Command> {
        Some(match self {
            Self::Get(key) => Command::plain("GET", cache_key(&key), Vec::new()),
            Self::Evict(key) => Command::plain("DEL", cache_key(&key), Vec::new()),
            Self::Put(_, value, _) if value.len() > VALUE_BYTES_MAX => return None,
            Self::Put(key, value, ttl_ms) => {
                let mut arguments = vec![value.to_vec()];
                if ttl_ms > 0 {
                    arguments.push(b"PX".to_vec());
                    arguments.push(ttl_ms.to_string().into_bytes());
                }
                Command::plain("SET", cache_key(&key), arguments)
            }
        })
    }
}

impl crate::errand::RedisDesk for RedisErrandDesk {
    fn take(&self, errands: Vec<(Ticket, Errand)>, replies: &Replies) {
        let mut counted = Vec::new();
        let mut commands = Vec::new();
        for (ticket, errand) in errands {
            match errand {
                Errand::Count(request) => {
                    if let Some(leases) = &self.leases {
                        leases.take(ticket, request, replies);
                    } else if request.weight == 0 {
                        replies.send(ticket, Answer::Done);
                    } else {
                        commands.push(count(&request));
                        counted.push((ticket, Wanted::Rate(request)));
                    }
                }
                Errand::TakeToken(request) => {
                    commands.push(take_tokens(&request));
                    counted.push((ticket, Wanted::Tokens));
                }
                Errand::CacheGet { cache, key } => {
                    self.run_cached(ticket, &cache, Access::Get(key), replies);
                }
                Errand::CachePut {
                    cache,
                    key,
                    value,
                    ttl_ms,
                } => self.run_cached(ticket, &cache, Access::Put(key, value, ttl_ms), replies),
                Errand::CacheEvict { cache, key } => {
                    self.run_cached(ticket, &cache, Access::Evict(key), replies);
                }
                // No errand of a Redis: better an odd answer than none.
                _ => replies.send(ticket, Answer::Refused),
            }
        }
        self.count(counted, commands, replies);
    }
}
