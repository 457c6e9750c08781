//! Counts of the lease mode: hits that wait for the same key are served by one question.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_core::need::Answer;
use turnpike_core::need::link::{Replies, Ticket};
use turnpike_core::quota::{CountError, CountRequest, GiveBack, Grant, Quotas, Rate};

use super::backend::Backend;
use super::script::{LeaseReply, give_back, lease, parse_lease};

/// An answer that comes later than the operation timeout still brings units, if it comes within this time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions for one key in a row: each serves hits that came during the one before.
const ROUNDS_MAX: usize = 1_000;

struct Waiter {
    ticket: Ticket,
    replies: Replies,
    /// It is told by then, whatever question it has joined.
    deadline: Instant,
}

/// What is asked for one key at the moment.
#[derive(Default)]
struct Asking {
    /// In the order of their deadlines.
    waiters: Vec<Waiter>,
    /// The answer is late: nobody waits for it any more.
    is_late: bool,
}

/// Asks for leases.
#[derive(Clone)]
pub(super) struct Leases {
    quotas: Arc<Quotas>,
    backend: Backend,
    asking: Arc<Mutex<HashMap<Box<str>, Asking>>>,
    clock: fn() -> u64,
}

impl Leases {
    pub(super) fn new(quotas: Arc<Quotas>, backend: Backend, clock: fn() -> u64) -> Self {
        Self {
            quotas,
            backend,
            asking: Arc::default(),
            clock,
        }
    }

    fn asking(&self) -> MutexGuard<'_, HashMap<Box<str>, Asking>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a count; one of weight 0 only refills and is answered at once.
    pub(super) fn take(&self, ticket: Ticket, request: CountRequest, replies: &Replies) {
        if request.weight == 0 {
            replies.send(ticket, Answer::Done);
        }
        let waiter = (request.weight > 0).then(|| Waiter {
            ticket,
            replies: replies.clone(),
            deadline: Instant::now() + self.backend.timeout(),
        });
        let mut asking = self.asking();
        if let Some(running) = asking.get_mut(&request.key) {
            match waiter {
                Some(waiter) if running.is_late => answer(waiter, Err(self.timed_out())),
                Some(waiter) => running.waiters.push(waiter),
                None => {}
            }
            return;
        }
        asking.insert(
            request.key.clone(),
            Asking {
                waiters: waiter.into_iter().collect(),
                is_late: false,
            },
        );
        drop(asking);
        tokio::spawn(self.clone().ask(request));
    }

    async fn ask(self, request: CountRequest) {
        for _ in 0..ROUNDS_MAX {
            let waiting = self
                .asking()
                .get(&request.key)
                .map_or(0, |asking| asking.waiters.len() as u64);
            let wanted = self
                .quotas
                .lease_units(&request.key, request.limit, waiting);
            if wanted == 0 {
                // Meanwhile there is enough.
                self.quotas.not_granted(&request.key);
                let mut asking = self.asking();
                if asking
                    .get(&request.key)
                    .is_none_or(|asking| asking.waiters.is_empty())
                {
                    asking.remove(&request.key);
                    return;
                }
                continue;
            }
            match self.question(&request, wanted).await {
                Ok(reply) => {
                    if self.serve(&request, reply, wanted) {
                        return;
                    }
                }
                Err(error) => {
                    self.quotas.not_granted(&request.key);
                    for waiter in self.end(&request.key) {
                        answer(waiter, Err(error.clone()));
                    }
                    return;
                }
            }
        }
        for waiter in self.end(&request.key) {
            answer(waiter, Err(CountError::NotConnected));
        }
    }

    /// Asks; those who wait are told when it takes too long, but the answer is still awaited, because it may bring units.
    async fn question(
        &self,
        request: &CountRequest,
        wanted: u64,
    ) -> Result<LeaseReply, CountError> {
        let limit = self.backend.timeout();
        let late_at = Instant::now() + limit;
        let command = lease(request, wanted);
        let key = command.key.clone();
        let mut asked = std::pin::pin!(self.backend.run_one(command, limit.max(PATIENCE)));
        loop {
            // Those who came during the question before are the first whose time is up.
            let next = self
                .first_deadline(&request.key)
                .map_or(late_at, |first| first.min(late_at));
            let left = next.saturating_duration_since(Instant::now());
            if let Some(value) = super::within(left, &mut asked).await {
                return parse_lease(&value?);
            }
            let is_late = Instant::now() >= late_at;
            for waiter in self.give_up(&request.key, is_late) {
                answer(waiter, Err(self.timed_out()));
            }
            if is_late {
                self.backend.note_timeout(&key);
                return parse_lease(&asked.await?);
            }
        }
    }

    fn timed_out(&self) -> CountError {
        CountError::Timeout(self.backend.timeout().as_millis() as u64)
    }

    fn first_deadline(&self, key: &str) -> Option<Instant> {
        let asking = self.asking();
        asking
            .get(key)?
            .waiters
            .first()
            .map(|waiter| waiter.deadline)
    }

    /// Those whose time is up; all of them when the answer itself is late.
    fn give_up(&self, key: &str, is_late: bool) -> Vec<Waiter> {
        let mut asking = self.asking();
        let Some(running) = asking.get_mut(key) else {
            return Vec::new();
        };
        running.is_late = is_late;
        let now = Instant::now();
        let over = running
            .waiters
            .iter()
            .take_while(|waiter| is_late || waiter.deadline <= now)
            .count();
        running.waiters.drain(..over).collect()
    }

    /// Gives units to those who wait, and keeps the rest. True when nobody waits any more.
    fn serve(&self, request: &CountRequest, reply: LeaseReply, wanted: u64) -> bool {
        let now_ms = (self.clock)();
        let mut asking = self.asking();
        let Some(running) = asking.get_mut(&request.key) else {
            return true;
        };
        running.is_late = false;
        let is_dry = reply.units < wanted;
        let served = running.waiters.len().min(reply.units as usize);
        let mut rate = Rate {
            counter: reply.counter - i64::try_from(reply.units).unwrap_or(i64::MAX),
            reset_at_ms: reply.reset_at_ms,
        };
        for waiter in running.waiters.drain(..served) {
            rate.counter += 1;
            answer(waiter, Ok(rate));
        }
        if is_dry {
            let refused = Rate {
                counter: reply.counter.max(request.limit).saturating_add(1),
                reset_at_ms: reply.reset_at_ms,
            };
            for waiter in running.waiters.drain(..) {
                answer(waiter, Ok(refused));
            }
        }
        let is_done = running.waiters.is_empty();
        if is_done {
            asking.remove(&request.key);
        }
        drop(asking);
        let homeless = self.quotas.granted(
            &request.key,
            &Grant {
                units: reply.units - served as u64,
                counter: reply.counter,
                reset_at_ms: reply.reset_at_ms,
                limit: request.limit,
                is_last: is_dry,
            },
            now_ms,
        );
        if homeless > 0 {
            let back = GiveBack {
                key: request.key.clone(),
                units: homeless,
                reset_at_ms: reply.reset_at_ms,
            };
            let leases = self.clone();
            tokio::spawn(async move { leases.give_back(vec![back]).await });
        }
        is_done
    }

    fn end(&self, key: &str) -> Vec<Waiter> {
        self.asking()
            .remove(key)
            .map(|asking| asking.waiters)
            .unwrap_or_default()
    }

    /// Gives units back; what cannot be given back stays counted until its window ends.
    pub(super) async fn give_back(&self, back: Vec<GiveBack>) {
        let commands: Vec<_> = back.iter().map(give_back).collect();
        let results = self.backend.run(&commands, PATIENCE).await;
        for (back, result) in back.iter().zip(results) {
            let taken = result.and_then(|value| parse_lease(&value));
            if taken.is_err() {
                self.quotas.lost(back.units);
            }
        }
    }
}

fn answer(waiter: Waiter, result: Result<Rate, CountError>) {
    waiter.replies.send(waiter.ticket, Answer::Count(result));
}
