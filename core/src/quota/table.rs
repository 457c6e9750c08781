//! A bounded map of counters that every worker writes to.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

/// Locks. Each is held for one hit (some ten nanoseconds), or while its share of the keys is walked.
pub(super) const SHARDS: usize = 256;
/// Bytes of a key that one place has room for; a longer key takes several.
const PLACE_BYTES: usize = 256;
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

/// Values by key, spread over locks. At most so many keys at a time, fewer where they are long.
#[derive(Debug)]
pub(super) struct Table<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    keys: AtomicUsize,
    places: AtomicUsize,
    places_max: usize,
}

/// Places that a key takes: clients may choose the texts that keys are made of.
fn places(key: &str) -> usize {
    1 + key.len() / PLACE_BYTES
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
            keys: AtomicUsize::new(0),
            places: AtomicUsize::new(0),
            places_max: keys_max,
        }
    }

    /// Keys in the table.
    pub(super) fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Forgets what `keep` does not want.
    fn forget(&self, shard: &mut Shard<V>, mut keep: impl FnMut(&str, &mut V) -> bool) {
        let (mut keys, mut freed) = (0, 0);
        shard.entries.retain(|key, value| {
            let kept = keep(key, value);
            if !kept {
                keys += 1;
                freed += places(key);
            }
            kept
        });
        if keys > 0 {
            self.keys.fetch_sub(keys, Ordering::Relaxed);
            self.places.fetch_sub(freed, Ordering::Relaxed);
        }
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
        let wanted = places(key);
        let has_room = |taken: usize| taken <= self.places_max;
        if !has_room(self.places.fetch_add(wanted, Ordering::Relaxed) + wanted) {
            if now_ms >= shard.swept_at_ms.saturating_add(SWEEP_MS) {
                shard.swept_at_ms = now_ms;
                self.forget(&mut shard, |_, value| !value.is_over(now_ms));
            }
            if !has_room(self.places.load(Ordering::Relaxed)) {
                self.places.fetch_sub(wanted, Ordering::Relaxed);
                return None;
            }
        }
        self.keys.fetch_add(1, Ordering::Relaxed);
        Some(work(shard.entries.entry(key.into()).or_insert_with(make)))
    }

    /// Works on the value of a key that is there.
    pub(super) fn update<R>(&self, key: &str, work: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.shard(key).entries.get_mut(key).map(work)
    }

    /// Walks one of [`SHARDS`] shards and forgets what `keep` does not want.
    pub(super) fn walk(&self, shard: usize, keep: impl FnMut(&str, &mut V) -> bool) {
        let Some(shard) = self.shards.get(shard) else {
            return;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget(&mut shard, keep);
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

    #[test]
    fn long_keys_take_the_places_of_several_and_give_them_back() {
        let table = Table::new(100);
        let enter = |key: &str| table.enter(key, 0, || Until(5_000), |value| value.0);
        let long = |index: usize| format!("{index:0>width$}", width = 10 * PLACE_BYTES - 1);
        let entered = (0..20)
            .filter(|index| enter(&long(*index)).is_some())
            .count();
        assert_eq!((entered, table.len()), (10, 10));
        assert_eq!(enter("short"), None);
        assert_eq!(enter(&long(0)), Some(5_000), "known keys go on");
        for shard in 0..SHARDS {
            table.walk(shard, |key, _| *key != *long(0));
        }
        let short = (0..200)
            .filter(|index| enter(&index.to_string()).is_some())
            .count();
        assert_eq!((short, table.len()), (10, 19));
    }
}
