//! A bounded map of counters that every worker writes to.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

/// Locks. Each is held for one hit (some ten nanoseconds), or while its share of the keys is walked.
pub(super) const SHARDS: usize = 256;
/// A full table looks for ended entries in a shard at most this often, milliseconds.
const SWEEP_MS: u64 = 1_000;

/// Something that may be forgotten one day.
pub(super) trait Entry {
    /// Whether nothing is lost when it is forgotten now.
    fn is_over(&self, now_ms: u64) -> bool;
}

#[derive(Debug)]
struct Shard<V> {
    entries: HashMap<Box<str>, V, RandomState>,
    swept_at_ms: u64,
}

/// Values by key, spread over locks. At most so many keys at a time.
#[derive(Debug)]
pub(super) struct Table<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    tracked: AtomicUsize,
    keys_max: usize,
}

impl<V: Entry> Table<V> {
    pub(super) fn new(keys_max: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                entries: HashMap::default(),
                swept_at_ms: 0,
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::default(),
            tracked: AtomicUsize::new(0),
            keys_max,
        }
    }

    /// Keys in the table.
    pub(super) fn len(&self) -> usize {
        self.tracked.load(Ordering::Relaxed)
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard<V>> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the value of a key, which `make` makes when there is none. `None` when the table is full.
    pub(super) fn enter<R>(
        &self,
        key: &str,
        now_ms: u64,
        make: impl FnOnce() -> V,
        work: impl FnOnce(&mut V) -> R,
    ) -> Option<R> {
        let mut shard = self.shard(key);
        if let Some(value) = shard.entries.get_mut(key) {
            return Some(work(value));
        }
        if self.tracked.fetch_add(1, Ordering::Relaxed) >= self.keys_max {
            if now_ms >= shard.swept_at_ms.saturating_add(SWEEP_MS) {
                shard.swept_at_ms = now_ms;
                let before = shard.entries.len();
                shard.entries.retain(|_, value| !value.is_over(now_ms));
                let gone = before - shard.entries.len();
                self.tracked.fetch_sub(gone, Ordering::Relaxed);
            }
            if self.tracked.load(Ordering::Relaxed) > self.keys_max {
                self.tracked.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
        }
        Some(work(shard.entries.entry(key.into()).or_insert_with(make)))
    }

    /// Works on the value of a key that is there.
    pub(super) fn update<R>(&self, key: &str, work: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.shard(key).entries.get_mut(key).map(work)
    }

    /// Walks one of [`SHARDS`] shards and forgets what `keep` does not want.
    pub(super) fn walk(&self, shard: usize, mut keep: impl FnMut(&str, &mut V) -> bool) {
        let Some(shard) = self.shards.get(shard) else {
            return;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shard.entries.len();
        shard.entries.retain(|key, value| keep(key, value));
        let gone = before - shard.entries.len();
        if gone > 0 {
            self.tracked.fetch_sub(gone, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Until(u64);

    impl Entry for Until {
        fn is_over(&self, now_ms: u64) -> bool {
            self.0 <= now_ms
        }
    }

    #[test]
    fn a_full_table_takes_no_new_key_until_an_old_one_is_over() {
        let table = Table::new(1_000);
        let enter =
            |key: &str, now_ms, until| table.enter(key, now_ms, || Until(until), |value| value.0);
        for index in 0..1_000 {
            assert_eq!(enter(&index.to_string(), 0, 5_000), Some(5_000));
        }
        assert_eq!(enter("new", 2_000, 9_000), None);
        assert_eq!(enter("7", 2_000, 9_000), Some(5_000), "known keys go on");
        assert_eq!(table.len(), 1_000);
        // Every shard is swept when a key of its own asks.
        let entered = (0..1_000)
            .filter(|index| enter(&format!("n{index}"), 6_000, 9_000).is_some())
            .count();
        assert!(entered > 500, "{entered}");
        assert!(table.len() <= 1_000);
        for shard in 0..SHARDS {
            table.walk(shard, |_, value| !value.is_over(10_000));
        }
        assert_eq!(table.len(), 0);
    }
}
