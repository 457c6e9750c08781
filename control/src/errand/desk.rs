//! The desk: takes the errands of every worker and sees that each has its answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use turnpike_config::ProxyConfig;
use turnpike_core::need::link::{ControlEnd, Replies, Ticket};
use turnpike_core::need::{Answer, Errand};

use super::documents::Documents;
use super::http::Caller;
use super::names::Names;
use super::reply::Reply;
use super::{ErrandKind, ErrandStats, RedisDesk};
use crate::resolve::{LOOK_UP_MS_MAX, LookUp, SystemLookUp};
use crate::sync::Clock;

/// Errands taken from one worker before the other tasks of the control thread have their turn.
const TURN_MAX: usize = 256;

/// Meets the errands of every worker.
pub struct ErrandDesk {
    redis: Arc<dyn RedisDesk>,
    caller: Arc<Caller>,
    documents: Arc<Documents>,
    names: Names,
    stats: Arc<ErrandStats>,
    stopped: watch::Receiver<bool>,
}

impl std::fmt::Debug for ErrandDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ErrandDesk").finish_non_exhaustive()
    }
}

impl ErrandDesk {
    /// A desk that works until `stopped` says so. `system_proxy` is for calls that ask for it.
    pub fn new(
        redis: Arc<dyn RedisDesk>,
        system_proxy: Option<ProxyConfig>,
        clock: Clock,
        stats: Arc<ErrandStats>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self::with_look_up(SystemLookUp, redis, system_proxy, clock, stats, stopped)
    }

    /// The same with its own look-up of host names.
    pub fn with_look_up(
        look_up: impl LookUp,
        redis: Arc<dyn RedisDesk>,
        system_proxy: Option<ProxyConfig>,
        clock: Clock,
        stats: Arc<ErrandStats>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let names = Names::new(look_up);
        let caller = Arc::new(Caller::new(names.clone(), system_proxy));
        Self {
            redis,
            documents: Arc::new(Documents::new(
                Arc::clone(&caller),
                clock,
                Arc::clone(&stats),
            )),
            caller,
            names,
            stats,
            stopped,
        }
    }

    /// Serves one worker until the desk is stopped or the worker has ended. Whatever is open then is answered with a failure.
    pub async fn serve(self: Arc<Self>, mut link: ControlEnd) {
        let wake = Arc::new(Notify::new());
        link.on_wake({
            let wake = Arc::clone(&wake);
            move || wake.notify_one()
        });
        let replies = link.replies();
        let stopped = until(self.stopped.clone());
        tokio::pin!(stopped);
        loop {
            // Asked first: what a worker sent before it ended is still taken.
            let worker_ended = link.is_abandoned();
            let whole_turn = self.turn(&mut link, &replies);
            if whole_turn {
                tokio::task::yield_now().await;
                if *self.stopped.borrow() {
                    break;
                }
                continue;
            }
            if worker_ended {
                return;
            }
            if link.sleep() {
                tokio::select! {
                    () = wake.notified() => {}
                    () = &mut stopped => break,
                }
            }
        }
        while let Some((ticket, errand)) = link.receive() {
            Reply::new(ErrandKind::of(&errand), ticket, &replies, &self.stats)
                .send(Answer::Refused);
        }
    }

    /// Takes what is there. True when there may be more.
    fn turn(&self, link: &mut ControlEnd, replies: &Replies) -> bool {
        let mut for_redis = Vec::new();
        let mut taken = 0;
        while taken < TURN_MAX
            && let Some((ticket, errand)) = link.receive()
        {
            taken += 1;
            if let Some(errand) = self.take(ticket, errand, replies) {
                for_redis.push((ticket, errand));
            }
        }
        if !for_redis.is_empty() {
            self.redis.take(for_redis, replies);
        }
        taken == TURN_MAX
    }

    /// Begins to meet an errand, or gives it back when it is one for the Redis desk.
    fn take(&self, ticket: Ticket, errand: Errand, replies: &Replies) -> Option<Errand> {
        let kind = ErrandKind::of(&errand);
        self.stats.count_taken(kind);
        let reply = || Reply::new(kind, ticket, replies, &self.stats);
        match errand {
            Errand::Http(call) => {
                let (reply, caller) = (reply(), Arc::clone(&self.caller));
                self.spawn(async move {
                    let outcome = caller.call(*call).await.map(Box::new);
                    reply.send(Answer::Http(outcome));
                });
            }
            Errand::Resolve { host } => {
                let (reply, names) = (reply(), self.names.clone());
                self.spawn(async move {
                    let limit = Duration::from_millis(LOOK_UP_MS_MAX);
                    let addresses = match tokio::time::timeout(limit, names.look_up(&host)).await {
                        Ok(Ok(addresses)) => addresses.to_vec(),
                        Ok(Err(_)) | Err(_) => Vec::new(),
                    };
                    reply.send(Answer::Addresses(addresses));
                });
            }
            Errand::Refresh(document) => {
                if let Some(fetch) = self.documents.join(document, reply()) {
                    self.spawn(fetch.run());
                }
            }
            Errand::Count(_)
            | Errand::TakeToken(_)
            | Errand::CacheGet { .. }
            | Errand::CachePut { .. }
            | Errand::CacheEvict { .. } => return Some(errand),
        }
        None
    }

    /// Runs `work` until it is done or the desk is stopped; what it holds then answers for it.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopped = until(self.stopped.clone());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stopped => {}
                () = work => {}
            }
        });
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means a stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
