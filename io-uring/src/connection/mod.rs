//! One client connection: heads in, exchange after exchange, until either side has had enough.
//!
//! Life of a connection: `next_head` → `exchange::run` → … → `linger`. An exchange never outlives its connection's task; what it started towards a
//! backend ends with it.

mod attempt;
mod chain;
mod exchange;
mod forward;
mod head;
mod record;
mod relay;
mod reply;
mod rewrite;

use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;

use turnpike_core::http::RequestHead;

use crate::driver::{Cut, Deadline, Reader, TcpStream, Writer, tcp};
use crate::worker::Shard;
use head::NextHead;

/// After an answer that leaves request bytes unread, the client is given this long to read it before the connection is
/// closed, milliseconds: closing at once would reset the connection and could destroy the answer on its way.
const LINGER_MS: u64 = 1_000;
/// Bytes discarded while lingering at most.
const LINGER_BYTES_MAX: usize = 256 * 1_024;

/// A client connection. `deadline` comes first, so that it forgets the descriptor before the socket is closed.
pub(crate) struct Connection {
    deadline: Deadline,
    reader: Reader,
    writer: Writer,
    shard: Rc<Shard>,
    server: usize,
    peer: Rc<str>,
    local: Rc<str>,
    /// The hash that stands for `peer` as a client identifier, once it was needed.
    peer_hash: Option<[u8; 64]>,
    input: Input,
    head: RequestHead,
    /// Exchanges completed.
    served: u64,
    /// The backend URI of the running exchange, for its report; reused.
    uri: Vec<u8>,
    /// The normalised path of the running exchange, when it differs from the received one; reused.
    path: Vec<u8>,
}

/// Bytes received from the client.
#[derive(Default)]
struct Input {
    /// The running exchange's head, and what came with it.
    bytes: Vec<u8>,
    /// How much of `bytes` the finished exchange has used.
    used: usize,
    /// What was read ahead while an exchange was running.
    ahead: Vec<u8>,
    /// Behind the running exchange's request, `bytes` holds the beginning of the next one: nothing more is read ahead, or a client that sends
    /// faster than it is answered would fill the memory.
    holds_next: bool,
    /// The client will send no more.
    ended: bool,
    /// The last request, head and body, was larger than a small buffer.
    last_was_large: bool,
}

/// What becomes of a connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// It may carry another request.
    KeepAlive,
    /// It is closed once the client has read its answer.
    Close,
    /// It is closed at once: an answer was cut, or the client is gone.
    Abort,
}

/// Serves a connection to its end.
pub(crate) async fn serve(shard: Rc<Shard>, server: usize, stream: TcpStream, peer: SocketAddr) {
    let local = stream
        .local_addr()
        .map(|address| address.ip())
        .unwrap_or_else(|_| shard.servers[server].address.ip());
    let deadline = Deadline::new(stream.as_raw_fd());
    let place = shard.registry.enter(&deadline);
    let (reader, writer) = tcp(stream);
    let mut connection = Connection {
        deadline,
        reader,
        writer,
        server,
        peer: peer.ip().to_canonical().to_string().into(),
        local: local.to_canonical().to_string().into(),
        peer_hash: None,
        input: Input::default(),
        head: RequestHead::default(),
        served: 0,
        uri: Vec::new(),
        path: Vec::new(),
        shard: Rc::clone(&shard),
    };
    loop {
        let after = match connection.next_head().await {
            NextHead::Request { start, end } => exchange::run(&mut connection, start, end).await,
            NextHead::Refused(status) => {
                shard.stats.request_errors.add(1);
                Box::pin(connection.refuse(status)).await
            }
            NextHead::Ended => After::Abort,
        };
        connection.served += 1;
        match after {
            After::KeepAlive => continue,
            After::Close => Box::pin(connection.linger()).await,
            After::Abort => {}
        }
        break;
    }
    shard.registry.leave(place);
}

impl Connection {
    /// Ends our side and discards what the client still sends, for a bounded time and number of bytes.
    async fn linger(&mut self) {
        let Writer::Tcp(half) = &mut self.writer else {
            return;
        };
        if monoio::io::AsyncWriteRent::shutdown(half).await.is_err() || self.input.ended {
            return;
        }
        let shard = Rc::clone(&self.shard);
        self.deadline
            .after(&shard.timers, shard.clock.now_ms(), LINGER_MS, Cut::Both);
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX {
            if !self.reader.is_armed() {
                self.reader.arm(shard.buffers.small(), 0);
            }
            let (result, buffer) = self.reader.read().await;
            shard.buffers.put(buffer);
            match result {
                Ok(0) | Err(_) => return,
                Ok(count) => discarded += count,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_a_connection_stays_small() {
        let bytes = future_bytes(serve);
        assert!(bytes <= 5_600, "{bytes} bytes per connection");
    }
}
