//! Errands of the workers: what a policy waits for, met on the control thread.
//!
//! - [`ErrandDesk`]: takes errands, has them met, sees that each is answered exactly once;
//! - [`RedisDesk`]: the seam to the shared store of counters and to shared caches;
//! - `http`, `redirect`, `connector`, `names`: calls of HTTP servers and look-ups of host names;
//! - `documents`: shared documents, one fetch at a time for each.
//!
//! Nothing here waits without a limit or grows without one: a call has its time limit, waiting for a place included; places, clients,
//! names, bodies and redirects are counted.

mod connector;
mod desk;
mod documents;
mod http;
mod names;
mod redirect;
mod reply;
mod stats;
#[cfg(test)]
mod tests;

pub use desk::ErrandDesk;
pub use stats::{ErrandKind, ErrandStats};

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
