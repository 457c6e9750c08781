//! The hash index under the route table: item numbers by hash, keys left to the caller.

/// An immutable open-addressing index. It stores no keys: a look-up hands the caller every item of the right hash, in the
/// order in which they were put in, until one is accepted. Eight bytes per slot, at least half of the slots empty.
///
/// A look-up never allocates and ends at the first empty slot; its expected cost does not depend on the number of items.
/// Items come from configuration, never from requests, so a client cannot fill a chain.
#[derive(Debug, Default)]
pub(super) struct HashIndex {
    slots: Box<[Slot]>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Upper half of the hash; the lower half chose the slot.
    tag: u32,
    item: u32,
}

const EMPTY: Slot = Slot {
    tag: 0,
    item: u32::MAX,
};

impl HashIndex {
    /// An index over these (hash, item) pairs. Items of one hash are found in this order.
    pub(super) fn new(pairs: impl ExactSizeIterator<Item = (u64, u32)>) -> Self {
        if pairs.len() == 0 {
            return Self::default();
        }
        let mut slots = vec![EMPTY; (pairs.len() * 2).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        for (hash, item) in pairs {
            debug_assert_ne!(item, EMPTY.item, "the last number marks an empty slot");
            let mut at = hash as usize & mask;
            while slots[at].item != EMPTY.item {
                at = (at + 1) & mask;
            }
            slots[at] = Slot {
                tag: (hash >> 32) as u32,
                item,
            };
        }
        Self { slots }
    }

    /// The first item of this hash that `accept` takes.
    pub(super) fn find(&self, hash: u64, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.item == EMPTY.item {
                return None;
            }
            if slot.tag == tag && accept(slot.item) {
                return Some(slot.item);
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_index_finds_nothing() {
        assert_eq!(HashIndex::default().find(7, |_| true), None);
        assert_eq!(HashIndex::new([].into_iter()).find(0, |_| true), None);
    }

    #[test]
    fn items_of_one_hash_are_offered_in_the_order_they_were_put_in() {
        // Same slot, different tags.
        let (one, other) = (1 << 32, 2 << 32);
        let index = HashIndex::new([(one, 0), (one, 1), (other, 2), (one, 3)].into_iter());
        let mut offered = Vec::new();
        let found = index.find(one, |item| {
            offered.push(item);
            false
        });
        assert_eq!((found, offered), (None, vec![0, 1, 3]));
        assert_eq!(index.find(other, |_| true), Some(2));
        assert_eq!(index.find(3 << 32, |_| true), None);
    }

    #[test]
    fn chains_run_over_the_end_of_the_table() {
        let last = u64::MAX;
        let index = HashIndex::new([(last, 0), (last, 1), (last, 2)].into_iter());
        assert_eq!(index.find(last, |item| item == 2), Some(2));
    }
}
