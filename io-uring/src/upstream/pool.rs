//! Pools: idle connections kept last-in first-out, a limit, and a queue of requests that wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use rustc_hash::FxHashMap;
use turnpike_core::definition::{Connector, ConnectorId};
use turnpike_core::http::ResponseHead;
use turnpike_core::stats::WorkerStats;

use super::tls::TlsClients;
use super::{Fault, connect};
use crate::buffer::{BufferPool, HEADROOM};
use crate::driver::{Clock, Deadline, Reader, Writer, timeout};

/// Requests that wait for one connector on one worker, whatever `maxWaitQueueSize` says.
const WAITING_MAX: usize = 16_384;
/// A pool that nobody used for this long is forgotten, milliseconds.
const POOL_KEPT_MS: u64 = 60_000;

/// All pools of one worker.
pub(crate) struct Upstreams {
    pools: RefCell<FxHashMap<ConnectorId, Rc<Pool>>>,
    tls: TlsClients,
    clock: Clock,
    stats: Arc<WorkerStats>,
    workers: usize,
}

/// A connection to a backend. Dropping it closes it and gives its place to whoever waits.
pub(crate) struct Upstream {
    // First, so that the deadline forgets the descriptor before the socket is closed.
    pub(crate) deadline: Deadline,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// The last response head; reused.
    pub(crate) head: ResponseHead,
    opened_ms: u64,
    idle_since_ms: u64,
    place: Place,
}

/// A connection that was handed out.
pub(crate) struct Lease {
    pub(crate) upstream: Box<Upstream>,
    /// It had served a request before, so it may have died meanwhile.
    pub(crate) reused: bool,
    /// It was idle: nothing had to be waited for.
    pub(crate) immediate: bool,
}

struct Pool {
    connections_max: usize,
    waiting_max: usize,
    keep_alive_timeout_ms: u64,
    lifetime_max_ms: u64,
    #[expect(
        clippy::vec_box,
        reason = "a connection is handed around for every request: moving a pointer beats moving it"
    )]
    idle: RefCell<Vec<Box<Upstream>>>,
    open: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
    used_ms: Cell<u64>,
}

/// One of the pool's places, held by a connection for its life. Given back when dropped.
struct Place {
    pool: Rc<Pool>,
    stats: Arc<WorkerStats>,
}

#[derive(Default)]
struct Waiter {
    offer: RefCell<Option<Offer>>,
    waker: RefCell<Option<Waker>>,
}

enum Offer {
    Connection(Box<Upstream>),
    Place(Place),
}

impl Upstreams {
    pub(crate) fn new(clock: Clock, stats: Arc<WorkerStats>, workers: usize) -> Self {
        Self {
            pools: RefCell::default(),
            tls: TlsClients::default(),
            clock,
            stats,
            workers,
        }
    }

    // What is not an idle connection at hand is rare and large, TLS handshake included: it is boxed, so that the task of every connection does
    // not carry room for it.

    /// A connection to `connector`: an idle one if a healthy one is there, else a new one, else the next that comes free. Gives up after
    /// `limit_ms`.
    pub(crate) async fn acquire(
        &self,
        connector: &Arc<Connector>,
        limit_ms: u64,
    ) -> Result<Lease, Fault> {
        let pool = self.pool(connector);
        let now_ms = self.clock.now_ms();
        pool.used_ms.set(now_ms);
        if let Some(upstream) = self.take_idle(&pool, now_ms) {
            return Ok(Lease {
                upstream,
                reused: true,
                immediate: true,
            });
        }
        if pool.open.get() < pool.connections_max {
            let place = Place::take(&pool, &self.stats);
            return Box::pin(self.open(connector, place, limit_ms)).await;
        }
        if pool.waiting.borrow().len() >= pool.waiting_max {
            return Err(Fault::PoolExhausted);
        }
        let offer = Box::pin(self.wait(&pool, limit_ms)).await?;
        match offer {
            Offer::Connection(upstream) => Ok(Lease {
                upstream,
                reused: true,
                immediate: false,
            }),
            Offer::Place(place) => {
                let left_ms = limit_ms.saturating_sub(self.clock.now_ms() - now_ms).max(1);
                Box::pin(self.open(connector, place, left_ms)).await
            }
        }
    }

    /// A new connection whatever is idle: for the second attempt of a request whose pooled connection had died.
    pub(crate) async fn acquire_new(
        &self,
        connector: &Arc<Connector>,
        limit_ms: u64,
    ) -> Result<Lease, Fault> {
        let pool = self.pool(connector);
        if pool.open.get() >= pool.connections_max {
            // The dead connection's siblings are likely dead too.
            self.close_idle(&pool);
        }
        if pool.open.get() >= pool.connections_max {
            return Box::pin(self.acquire(connector, limit_ms)).await;
        }
        let place = Place::take(&pool, &self.stats);
        Box::pin(self.open(connector, place, limit_ms)).await
    }

    /// Takes a connection back whose response is complete: hands it to a waiting request, or keeps it.
    pub(crate) fn release(
        &self,
        mut upstream: Box<Upstream>,
        buffers: &BufferPool,
        expects_large: bool,
    ) {
        let now_ms = self.clock.now_ms();
        let pool = Rc::clone(&upstream.place.pool);
        if pool.lifetime_max_ms != 0 && now_ms - upstream.opened_ms >= pool.lifetime_max_ms {
            return;
        }
        upstream.deadline.clear();
        if !upstream.reader.is_armed() {
            upstream.reader.arm(buffers.guess(expects_large), HEADROOM);
        }
        // The armed read guards the idle connection: bytes or an end that come now mean it must not be used again.
        if upstream.reader.poll_now().is_some() {
            return;
        }
        upstream.idle_since_ms = now_ms;
        let waiter = pool.waiting.borrow_mut().pop_front();
        match waiter {
            Some(waiter) => waiter.give(Offer::Connection(upstream)),
            None => {
                self.stats.upstream_idle_connections.add(1);
                pool.idle.borrow_mut().push(upstream);
            }
        }
    }

    /// Closes connections that died or stayed idle too long, and forgets pools that nobody uses. Called about once a second.
    pub(crate) fn prune(&self) {
        let now_ms = self.clock.now_ms();
        self.pools.borrow_mut().retain(|_, pool| {
            let mut closed = Vec::new();
            {
                let mut idle = pool.idle.borrow_mut();
                let mut index = 0;
                while index < idle.len() {
                    if idle[index].is_usable(now_ms) {
                        index += 1;
                    } else {
                        closed.push(idle.remove(index));
                    }
                }
            }
            self.stats
                .upstream_idle_connections
                .sub(closed.len() as u64);
            drop(closed);
            pool.open.get() > 0 || now_ms - pool.used_ms.get() < POOL_KEPT_MS
        });
        self.tls.prune(|id| self.pools.borrow().contains_key(&id));
    }

    fn take_idle(&self, pool: &Rc<Pool>, now_ms: u64) -> Option<Box<Upstream>> {
        loop {
            let mut upstream = pool.idle.borrow_mut().pop()?;
            self.stats.upstream_idle_connections.sub(1);
            if upstream.is_usable(now_ms) {
                return Some(upstream);
            }
        }
    }

    fn close_idle(&self, pool: &Rc<Pool>) {
        let idle = std::mem::take(&mut *pool.idle.borrow_mut());
        self.stats.upstream_idle_connections.sub(idle.len() as u64);
    }

    fn pool(&self, connector: &Arc<Connector>) -> Rc<Pool> {
        if let Some(pool) = self.pools.borrow().get(&connector.id) {
            return Rc::clone(pool);
        }
        let options = &connector.options;
        let pool = Rc::new(Pool {
            connections_max: (options.connections_max as usize)
                .div_ceil(self.workers)
                .max(1),
            waiting_max: usize::try_from(options.wait_queue_max)
                .unwrap_or(WAITING_MAX)
                .min(WAITING_MAX),
            keep_alive_timeout_ms: u64::from(options.keep_alive_timeout_ms),
            lifetime_max_ms: u64::from(options.connection_lifetime_max_ms),
            idle: RefCell::default(),
            open: Cell::new(0),
            waiting: RefCell::default(),
            used_ms: Cell::new(self.clock.now_ms()),
        });
        self.pools
            .borrow_mut()
            .insert(connector.id, Rc::clone(&pool));
        pool
    }

    async fn open(
        &self,
        connector: &Connector,
        place: Place,
        limit_ms: u64,
    ) -> Result<Lease, Fault> {
        let connect_ms = match connector.options.connect_timeout_ms {
            0 => limit_ms,
            connect_ms => u64::from(connect_ms).min(limit_ms),
        };
        let connected = connect::connect(connector, &self.tls, connect_ms).await?;
        self.stats.upstream_connects.add(1);
        let now_ms = self.clock.now_ms();
        Ok(Lease {
            upstream: Box::new(Upstream {
                deadline: Deadline::new(connected.fd),
                reader: connected.reader,
                writer: connected.writer,
                head: ResponseHead::default(),
                opened_ms: now_ms,
                idle_since_ms: now_ms,
                place,
            }),
            reused: false,
            immediate: false,
        })
    }

    async fn wait(&self, pool: &Rc<Pool>, limit_ms: u64) -> Result<Offer, Fault> {
        let waiter = Rc::new(Waiter::default());
        pool.waiting.borrow_mut().push_back(Rc::clone(&waiter));
        self.stats.upstream_queue.add(1);
        // The guard takes the waiter out of the queue when the request goes away while it waits, and passes on what it was given meanwhile.
        let guard = WaitGuard {
            pool,
            waiter: &waiter,
            stats: &self.stats,
        };
        let offered = poll_fn(|context| match waiter.offer.borrow_mut().take() {
            Some(offer) => Poll::Ready(offer),
            None => {
                *waiter.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        });
        let outcome = timeout(Duration::from_millis(limit_ms.max(1)), offered).await;
        drop(guard);
        outcome.map_err(|_| Fault::ConnectTimeout)
    }
}

struct WaitGuard<'a> {
    pool: &'a Rc<Pool>,
    waiter: &'a Rc<Waiter>,
    stats: &'a WorkerStats,
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.stats.upstream_queue.sub(1);
        self.pool
            .waiting
            .borrow_mut()
            .retain(|waiter| !Rc::ptr_eq(waiter, self.waiter));
        // Dropping an offered place hands it to the next in the queue; so does dropping the connection that holds one.
        let unused = self.waiter.offer.borrow_mut().take();
        drop(unused);
    }
}

impl Waiter {
    fn give(&self, offer: Offer) {
        *self.offer.borrow_mut() = Some(offer);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Upstream {
    /// Whether an idle connection may carry another request.
    fn is_usable(&mut self, now_ms: u64) -> bool {
        let pool = &self.place.pool;
        let expired = pool.keep_alive_timeout_ms != 0
            && now_ms - self.idle_since_ms >= pool.keep_alive_timeout_ms;
        let too_old = pool.lifetime_max_ms != 0 && now_ms - self.opened_ms >= pool.lifetime_max_ms;
        !expired && !too_old && self.reader.poll_now().is_none()
    }
}

impl Place {
    fn take(pool: &Rc<Pool>, stats: &Arc<WorkerStats>) -> Self {
        pool.open.set(pool.open.get() + 1);
        stats.upstream_connections.add(1);
        Self {
            pool: Rc::clone(pool),
            stats: Arc::clone(stats),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.open.set(self.pool.open.get() - 1);
        self.stats.upstream_connections.sub(1);
        let waiter = self.pool.waiting.borrow_mut().pop_front();
        if let Some(waiter) = waiter {
            waiter.give(Offer::Place(Self::take(&self.pool, &self.stats)));
        }
    }
}
