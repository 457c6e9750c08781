//! Every Redis connection of the process: made, watched and renewed here (contract policies 6.6, 8.3).
//!
//! # The nouns
//! - [`Target`]: which Redis, and how to speak to it;
//! - [`Link`]: one connection to one server, or to the primary that sentinels name, kept up by a task of its own;
//! - [`Backend`]: a link, or one per node of a cluster; what runs [`Command`]s;
//! - [`RedisErrandDesk`]: meets the errands of the workers.
//!
//! # What is never done
//! Nothing waits for a connection: without one a command fails at once. A server that does not answer is asked by one probe at a time
//! until it does ([`Link`]); no request waits for it meanwhile.

mod backend;
mod cluster;
mod command;
mod connect;
mod desk;
mod failures;
mod lease;
mod link;
mod script;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

pub use backend::{Backend, BackendFigures};
pub use command::Command;
pub use connect::{ConnectError, Place, Target};
pub(crate) use desk::unix_ms;
pub use desk::{CacheStats, RedisErrandDesk};
pub use link::{Link, LinkStats};
pub use script::{
    CountReply, LeaseReply, give_back, lease, parse_count, parse_lease, parse_tokens,
};
pub use script::{count, take_tokens};
pub use tls::TlsError;

use std::time::Duration;

/// Waits for `future` no longer than `limit`. Where this thread itself stood still, what arrived meanwhile is not late.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    if let Ok(output) = tokio::time::timeout(limit, &mut future).await {
        return Some(output);
    }
    // Each turn lets the sockets be read and the answers be handed on.
    for _ in 0..3 {
        tokio::task::yield_now().await;
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context)));
        if let std::task::Poll::Ready(output) = polled.await {
            return Some(output);
        }
    }
    None
}
