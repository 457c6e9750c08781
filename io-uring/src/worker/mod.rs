//! One worker: a thread, its shard, its accept loops.

mod desk;
mod meter;
mod registry;
mod shard;

pub(crate) use desk::Desk;
pub(crate) use meter::StepMeter;
pub(crate) use registry::Registry;
pub(crate) use shard::{Parts, ServerPlace, Shard};

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::time::Duration;

use tracing::{debug, warn};

use crate::connection;
use crate::driver::{
    self, Command, DriverKind, Either, Mailbox, TcpListener, TcpStream, accept, bell, race, sleep,
    spawn, sweep,
};
use crate::listener::take_backlog;

/// An idle connection is given this long to send one more request when the worker stops, milliseconds.
pub(crate) const IDLE_GRACE_MS: u64 = 1_000;
/// Pause of an accept loop that ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a worker's thread is started with.
pub(crate) struct Start {
    pub(crate) shard: Parts,
    pub(crate) driver: DriverKind,
    pub(crate) listeners: Vec<StdListener>,
    pub(crate) mailbox: Mailbox,
}

/// What a worker left behind when it ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ended {
    /// Exchanges that were still running and were cut.
    pub(crate) cut: u64,
}

/// Runs a worker on this thread until it is told to stop.
pub(crate) fn run(start: Start) -> io::Result<Ended> {
    let entries = start.shard.settings.ring_entries;
    let kind = start.driver;
    driver::run(kind, entries, work(start))?
}

async fn work(start: Start) -> io::Result<Ended> {
    let nonblocking = start.driver == DriverKind::Epoll;
    let shard = Rc::new(Shard::new(start.shard));
    let mut mailbox = start.mailbox.open(nonblocking)?;
    let mut backlogs = Vec::new();
    for (server, listener) in start.listeners.into_iter().enumerate() {
        listener.set_nonblocking(nonblocking)?;
        backlogs.push((server, listener.try_clone()?));
        let listener = TcpListener::from_std(listener)?;
        spawn(accept_loop(Rc::clone(&shard), server, listener));
    }
    {
        let shard = Rc::clone(&shard);
        spawn(async move { sweep(&shard.timers, shard.clock).await });
    }
    {
        let shard = Rc::clone(&shard);
        let (ringer, bell) = bell(nonblocking)?;
        spawn(async move { shard.desk.answer(ringer, bell).await });
    }
    spawn(heartbeat(Rc::clone(&shard)));

    let mut command = mailbox.next().await;
    if command == Command::Stop {
        stop(&shard, backlogs, nonblocking);
        let limit = Duration::from_millis(
            shard
                .settings
                .pending_requests_timeout_ms
                .max(IDLE_GRACE_MS + 500),
        );
        command = match race(drained(&shard), race(sleep(limit), mailbox.next())).await {
            Either::First(()) => Command::Stop,
            Either::Second(_) => Command::Abort,
        };
    }
    let cut = if command == Command::Abort {
        shard.stats.active_requests.get()
    } else {
        0
    };
    debug!(worker = shard.id, cut, "worker ended");
    Ok(Ended { cut })
}

/// Closes the listeners without losing a connection that waits in their backlogs, and lets idle connections end.
fn stop(shard: &Rc<Shard>, backlogs: Vec<(usize, StdListener)>, nonblocking: bool) {
    shard.stopping.set(true);
    for (server, listener) in backlogs {
        for stream in take_backlog(&listener) {
            if stream.set_nonblocking(nonblocking).is_err() {
                continue;
            }
            if let Ok(peer) = stream.peer_addr()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                begin(shard, server, stream, peer);
            }
        }
        // The accept loop's pending accept ends with an error. The socket itself closes with the loop.
        let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
    }
    shard
        .registry
        .end_idle(&shard.timers, shard.clock.now_ms() + IDLE_GRACE_MS);
}

async fn drained(shard: &Shard) {
    while shard.stats.active_connections.get() > 0 {
        sleep(Duration::from_millis(20)).await;
    }
}

async fn accept_loop(shard: Rc<Shard>, server: usize, listener: TcpListener) {
    loop {
        match accept(&listener).await {
            Ok((stream, peer)) => begin(&shard, server, stream, peer),
            Err(_) if shard.stopping.get() => return,
            Err(error) => {
                match error.raw_os_error() {
                    // The client was gone before it was accepted.
                    Some(libc::ECONNABORTED | libc::EINTR) => continue,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        shard.stats.connections_refused.add(1);
                        shard.warn_accept(&error);
                    }
                    _ => warn!(worker = shard.id, %error, "accepting a connection failed"),
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn begin(shard: &Rc<Shard>, server: usize, stream: TcpStream, peer: SocketAddr) {
    let limit = shard.settings.servers[server].connections_max;
    if shard.stats.active_connections.get() >= limit as u64 {
        shard.stats.connections_refused.add(1);
        return;
    }
    shard.stats.connections_accepted.add(1);
    shard.stats.active_connections.add(1);
    let shard = Rc::clone(shard);
    spawn(async move {
        connection::serve(Rc::clone(&shard), server, stream, peer).await;
        shard.stats.active_connections.sub(1);
    });
}

/// About once a second: shows that the loop turns, and tidies the pools.
async fn heartbeat(shard: Rc<Shard>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        shard.stats.heartbeats.add(1);
        shard.upstreams.prune();
        shard.refresh_snapshot();
    }
}
