//! Errands of the workers: what a policy waits for, met on the control thread.

use turnpike_core::need::link::{Replies, Ticket};
use turnpike_core::need::{Answer, Errand};
use turnpike_core::quota::CountError;

/// Meets the errands that go to a Redis: counters, token buckets, shared caches.
pub trait RedisDesk: Send + Sync {
    /// Takes the Redis errands of one turn of the loop from one worker. Each is answered exactly once through `replies`, at the latest
    /// when its time limit has passed. Never blocks.
    fn take(&self, errands: Vec<(Ticket, Errand)>, replies: &Replies);
}

/// The desk of a gateway without Redis: counters cannot be asked, caches are empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRedis;

impl RedisDesk for NoRedis {
    fn take(&self, errands: Vec<(Ticket, Errand)>, replies: &Replies) {
        for (ticket, errand) in errands {
            replies.send(
                ticket,
                match errand {
                    Errand::Count(_) => Answer::Count(Err(CountError::NoStore)),
                    Errand::TakeToken(_) => Answer::Tokens(Err(CountError::NoStore)),
                    Errand::CacheGet { .. } => Answer::Cache(None),
                    _ => Answer::Done,
                },
            );
        }
    }
}
