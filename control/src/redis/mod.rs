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

#[cfg(test)]
mod within_tests {
    use std::io::Write as _;
    use std::time::Instant;

    use tokio::io::AsyncReadExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn an_answer_that_came_while_this_thread_stood_still_is_in_time() {
        let (mut far, near) = std::os::unix::net::UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("a mode");
        let mut near = tokio::net::UnixStream::from_std(near).expect("a stream");
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            let byte = near.read_u8().await;
            let _ = answer.send(byte.is_ok());
        });
        tokio::spawn(async move {
            far.write_all(b"!").expect("a byte");
            let until = Instant::now() + Duration::from_millis(60);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            far
        });
        let found = within(Duration::from_millis(20), answered).await;
        assert_eq!(found.map(Result::ok), Some(Some(true)));
    }

    #[tokio::test]
    async fn what_never_comes_is_given_up() {
        let (_answer, answered) = oneshot::channel::<()>();
        assert!(within(Duration::from_millis(20), answered).await.is_none());
    }
}
