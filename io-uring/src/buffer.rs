//! Buffers of one worker, in two sizes, handed out last-in first-out so that the bytes are still in the cache.

use std::cell::RefCell;

/// Room kept before the payload of a read, so that a new head or chunk size can be written right before it.
pub(crate) const HEADROOM: usize = 768;
/// Room kept after the payload of a read, for the end of a chunk and of a chunked body.
pub(crate) const TAILROOM: usize = 16;
/// Size of a small buffer: an idle connection holds one.
pub(crate) const SMALL_BYTES: usize = 4 * 1_024;
/// Size of a large buffer: a body in flight holds one or two.
pub(crate) const LARGE_BYTES: usize = 32 * 1_024;

const SMALL_KEPT: usize = 512;
const LARGE_KEPT: usize = 256;

/// Free lists of one worker. What exceeds them goes back to the allocator.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// An empty buffer of [`SMALL_BYTES`].
    pub(crate) fn small(&self) -> Vec<u8> {
        self.small
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES))
    }

    /// An empty buffer of [`LARGE_BYTES`].
    pub(crate) fn large(&self) -> Vec<u8> {
        self.large
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(LARGE_BYTES))
    }

    /// An empty buffer for a read that is armed before anybody knows how much will come: what the connection carried last is the best guess.
    pub(crate) fn guess(&self, last_was_large: bool) -> Vec<u8> {
        if last_was_large {
            self.large()
        } else {
            self.small()
        }
    }

    /// Whether this many bytes, received as one message, fill more than a small buffer with its rooms.
    pub(crate) fn is_large(bytes: u64) -> bool {
        bytes > (SMALL_BYTES - HEADROOM - TAILROOM) as u64
    }

    /// Takes a buffer back. Buffers of other sizes are freed.
    pub(crate) fn put(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let (list, kept) = match buffer.capacity() {
            SMALL_BYTES => (&self.small, SMALL_KEPT),
            LARGE_BYTES => (&self.large, LARGE_KEPT),
            _ => return,
        };
        let mut list = list.borrow_mut();
        if list.len() < kept {
            list.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_last_put_is_the_next_taken_and_it_is_empty() {
        let pool = BufferPool::default();
        let mut first = pool.small();
        first.extend_from_slice(b"secret of another client");
        let place = first.as_ptr();
        pool.put(pool.large());
        pool.put(first);
        let again = pool.small();
        assert_eq!(again.as_ptr(), place);
        assert!(again.is_empty());
    }

    #[test]
    fn a_buffer_that_grew_is_not_kept() {
        let pool = BufferPool::default();
        let mut grown = pool.small();
        grown.resize(SMALL_BYTES + 1, 0);
        pool.put(grown);
        assert!(pool.small.borrow().is_empty());
    }
}
