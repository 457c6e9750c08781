//! A cache in memory: bounded in entries and bytes, least recently used out first, shared by every worker (contract policies 8.2).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of keys and values that one cache may hold.
const CACHE_BYTES_MAX: usize = 64 << 20;

/// Parts with a lock of their own. A cache of few entries has one, so that its order is exact.
const SHARDS: usize = 8;

/// Entries from which on there are several parts.
const SHARDED_FROM: usize = 512;

/// What an entry costs beside its key and value, bytes: places in the table and in the order.
const ENTRY_BYTES: usize = 128;

/// No entry.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry {
    key: Arc<str>,
    value: Arc<[u8]>,
    /// Unix milliseconds; 0 lives on.
    expires_at_ms: u64,
    used_at_ms: u64,
    newer: u32,
    older: u32,
}

/// One part: a table into a slab whose entries are chained by use.
#[derive(Debug)]
struct Shard {
    places: HashMap<Arc<str>, u32, foldhash::fast::RandomState>,
    slab: Vec<Option<Entry>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    bytes: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            places: HashMap::default(),
            slab: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            bytes: 0,
        }
    }
}

impl Shard {
    fn entry(&mut self, place: u32) -> Option<&mut Entry> {
        self.slab.get_mut(place as usize)?.as_mut()
    }

    fn unchain(&mut self, place: u32) {
        let Some(Entry { newer, older, .. }) = self.entry(place) else {
            return;
        };
        let (newer, older) = (*newer, *older);
        match self.entry(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entry(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn chain(&mut self, place: u32) {
        let newest = self.newest;
        if let Some(entry) = self.entry(place) {
            entry.newer = NONE;
            entry.older = newest;
        }
        match self.entry(newest) {
            Some(entry) => entry.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }

    fn remove(&mut self, place: u32) {
        self.unchain(place);
        if let Some(entry) = self.slab.get_mut(place as usize).and_then(Option::take) {
            self.bytes -= cost(&entry.key, &entry.value);
            self.places.remove(&entry.key);
            self.free.push(place);
        }
    }

    fn insert(&mut self, key: &str, value: Arc<[u8]>, expires_at_ms: u64, now_ms: u64) {
        let key: Arc<str> = key.into();
        self.bytes += cost(&key, &value);
        let entry = Some(Entry {
            key: Arc::clone(&key),
            value,
            expires_at_ms,
            used_at_ms: now_ms,
            newer: NONE,
            older: NONE,
        });
        let place = match self.free.pop() {
            Some(place) => {
                self.slab[place as usize] = entry;
                place
            }
            None => {
                self.slab.push(entry);
                (self.slab.len() - 1) as u32
            }
        };
        self.places.insert(key, place);
        self.chain(place);
    }
}

fn cost(key: &str, value: &[u8]) -> usize {
    // The key is held once, and pointed to twice.
    key.len() + value.len() + ENTRY_BYTES
}

/// The cache. Times are handed in.
pub struct MemoryCache {
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::fast::RandomState,
    entries_per_shard: usize,
    bytes_per_shard: usize,
    /// Life of an entry that nobody reads, milliseconds; 0 is no limit.
    idle_ms: u64,
}

impl std::fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCache")
            .field("entries_max", &(self.entries_per_shard * self.shards.len()))
            .finish_non_exhaustive()
    }
}

impl MemoryCache {
    /// A cache of at most `entries_max` entries (0 leaves the limit of bytes only) that go after `idle_ms` milliseconds without a
    /// reader (0 is no limit).
    pub fn new(entries_max: usize, idle_ms: u64) -> Self {
        let entries_max = match entries_max {
            0 => usize::MAX,
            entries => entries,
        };
        let count = if entries_max < SHARDED_FROM {
            1
        } else {
            SHARDS
        };
        Self {
            shards: (0..count).map(|_| Mutex::default()).collect(),
            hasher: foldhash::fast::RandomState::default(),
            entries_per_shard: entries_max / count,
            bytes_per_shard: CACHE_BYTES_MAX / count,
            idle_ms,
        }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(key) as usize % self.shards.len();
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key that is there and still lives.
    pub fn get(&self, key: &str, now_ms: u64) -> Option<Arc<[u8]>> {
        let mut shard = self.shard(key);
        let place = *shard.places.get(key)?;
        let entry = shard.entry(place)?;
        let is_old = entry.expires_at_ms != 0 && entry.expires_at_ms <= now_ms;
        let is_idle = self.idle_ms != 0 && now_ms.saturating_sub(entry.used_at_ms) >= self.idle_ms;
        if is_old || is_idle {
            shard.remove(place);
            return None;
        }
        entry.used_at_ms = now_ms;
        let value = Arc::clone(&entry.value);
        shard.unchain(place);
        shard.chain(place);
        Some(value)
    }

    /// Keeps a value for `ttl_ms` milliseconds (0 is no limit). One that is larger than the cache is not kept.
    pub fn put(&self, key: &str, value: Arc<[u8]>, ttl_ms: u64, now_ms: u64) {
        let cost = cost(key, &value);
        let mut shard = self.shard(key);
        if let Some(place) = shard.places.get(key).copied() {
            shard.remove(place);
        }
        if cost > self.bytes_per_shard {
            return;
        }
        while shard.oldest != NONE
            && (shard.places.len() >= self.entries_per_shard
                || shard.bytes + cost > self.bytes_per_shard)
        {
            let oldest = shard.oldest;
            shard.remove(oldest);
        }
        let expires_at_ms = match ttl_ms {
            0 => 0,
            ttl_ms => now_ms.saturating_add(ttl_ms),
        };
        shard.insert(key, value, expires_at_ms, now_ms);
    }

    /// Forgets a key.
    pub fn evict(&self, key: &str) {
        let mut shard = self.shard(key);
        if let Some(place) = shard.places.get(key).copied() {
            shard.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn an_entry_goes_when_its_time_is_over() {
        let cache = MemoryCache::new(10, 0);
        cache.put("a", value("1"), 100, 1_000);
        cache.put("b", value("2"), 0, 1_000);
        assert!(cache.get("a", 1_099).is_some());
        assert!(cache.get("a", 1_100).is_none());
        assert!(cache.get("b", u64::MAX).is_some());
    }

    #[test]
    fn an_entry_goes_when_nobody_reads_it() {
        let cache = MemoryCache::new(10, 50);
        cache.put("a", value("1"), 0, 1_000);
        assert!(cache.get("a", 1_049).is_some());
        assert!(cache.get("a", 1_098).is_some(), "it was read in between");
        assert!(cache.get("a", 1_148).is_none());
    }

    #[test]
    fn the_entry_that_was_not_used_for_longest_makes_room() {
        let cache = MemoryCache::new(2, 0);
        cache.put("a", value("1"), 0, 1);
        cache.put("b", value("2"), 0, 2);
        assert!(cache.get("a", 3).is_some());
        cache.put("c", value("3"), 0, 4);
        assert!(cache.get("b", 5).is_none());
        assert!(cache.get("a", 5).is_some() && cache.get("c", 5).is_some());
        cache.evict("a");
        assert!(cache.get("a", 6).is_none());
    }

    #[test]
    fn the_bytes_are_bounded_too() {
        let cache = MemoryCache::new(0, 0);
        let large: Arc<[u8]> = vec![0; 1 << 20].into();
        for index in 0..200 {
            cache.put(&format!("key-{index}"), Arc::clone(&large), 0, index);
        }
        let held: usize = cache
            .shards
            .iter()
            .map(|shard| shard.lock().expect("a shard").bytes)
            .sum();
        assert!(
            held <= CACHE_BYTES_MAX && held > CACHE_BYTES_MAX / 4,
            "{held}"
        );
        cache.put("huge", vec![0; CACHE_BYTES_MAX].into(), 0, 1);
        assert!(cache.get("huge", 1).is_none());
    }

    proptest! {
        #[test]
        fn a_small_cache_behaves_as_a_list_in_order_of_use(
            steps in proptest::collection::vec((0_u8..3, 0_u8..6), 0..200),
        ) {
            let cache = MemoryCache::new(3, 0);
            let mut model: Vec<(String, u64)> = Vec::new();
            for (now, (action, key)) in steps.into_iter().enumerate() {
                let (now, key) = (now as u64 + 1, key.to_string());
                let at = model.iter().position(|(own, _)| *own == key);
                match action {
                    0 => {
                        let found = cache.get(&key, now).map(|value| value.to_vec());
                        prop_assert_eq!(&found, &at.map(|at| model[at].1.to_string().into_bytes()));
                        if let Some(at) = at {
                            let entry = model.remove(at);
                            model.push(entry);
                        }
                    }
                    1 => {
                        cache.put(&key, value(&now.to_string()), 0, now);
                        if let Some(at) = at {
                            model.remove(at);
                        } else if model.len() == 3 {
                            model.remove(0);
                        }
                        model.push((key, now));
                    }
                    _ => {
                        cache.evict(&key);
                        if let Some(at) = at {
                            model.remove(at);
                        }
                    }
                }
            }
        }
    }
}
