//! Tokens that were verified lately, so that a token that comes with every request is verified once (contract policies 4.2, last item).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::keys::Keys;
use super::token::{SKEW_SECONDS, Token};

/// Tokens that one policy remembers.
const TOKENS_MAX: usize = 1_000;
const SHARDS: usize = 8;
/// A token that is not shown for so long is forgotten, milliseconds.
const IDLE_MS: u64 = 300_000;

struct Entry {
    token: Arc<Token>,
    keys: Keys,
    used_at_ms: u64,
}

type Shard = HashMap<Arc<str>, Entry, foldhash::fast::RandomState>;

/// The memory of one policy. Tokens without `exp` are not kept.
pub(crate) struct Verified {
    hasher: foldhash::fast::RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

impl Default for Verified {
    fn default() -> Self {
        Self {
            hasher: Default::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Verified {
    fn shard(&self, raw: &str) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(raw) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The token taken apart, if it is remembered. Says nothing about its validity.
    pub(crate) fn parsed(&self, raw: &str) -> Option<Arc<Token>> {
        self.shard(raw)
            .get(raw)
            .map(|entry| Arc::clone(&entry.token))
    }

    /// Whether this token was verified with these very keys and has not expired since.
    pub(crate) fn holds(&self, raw: &str, keys: &Keys, now_ms: u64) -> bool {
        let mut shard = self.shard(raw);
        let Some(entry) = shard.get_mut(raw) else {
            return false;
        };
        let fresh = now_ms.saturating_sub(entry.used_at_ms) < IDLE_MS
            && entry.keys.is(keys)
            && is_alive(&entry.token, now_ms);
        if fresh {
            entry.used_at_ms = now_ms;
        } else {
            shard.remove(raw);
        }
        fresh
    }

    /// Remembers a token that was verified.
    pub(crate) fn put(&self, token: &Arc<Token>, keys: Keys, now_ms: u64) {
        if !is_alive(token, now_ms) {
            return;
        }
        let mut shard = self.shard(token.raw());
        if shard.len() >= TOKENS_MAX / SHARDS {
            shard.retain(|_, entry| now_ms.saturating_sub(entry.used_at_ms) < IDLE_MS);
        }
        if shard.len() >= TOKENS_MAX / SHARDS
            && let Some(oldest) = shard
                .iter()
                .min_by_key(|(_, entry)| entry.used_at_ms)
                .map(|(raw, _)| Arc::clone(raw))
        {
            shard.remove(&oldest);
        }
        shard.insert(
            token.raw().into(),
            Entry {
                token: Arc::clone(token),
                keys,
                used_at_ms: now_ms,
            },
        );
    }

    /// Forgets a token.
    pub(crate) fn remove(&self, raw: &str) {
        self.shard(raw).remove(raw);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().map_or(0, |shard| shard.len()))
            .sum()
    }
}

fn is_alive(token: &Token, now_ms: u64) -> bool {
    let now = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
    token
        .expires_at()
        .is_some_and(|at| at > now.saturating_sub(SKEW_SECONDS))
}
