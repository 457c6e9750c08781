//! When requests are due. Pure arithmetic on nanoseconds since the start of a run: no clock, no socket.

/// How requests are paced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pacing {
    /// Closed loop: every connection sends its next request as soon as the last one is answered.
    Saturate,
    /// Open loop: request `k` is due at `k / rate` seconds, whatever happened to the ones before it.
    Rate(f64),
}

/// A request that may be sent; its latency counts from `due_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) due_ns: u64,
}

/// Hands out tickets in the order in which they are due, until the run ends.
///
/// Requests that are due while every connection is busy wait here, in order; their wait is part of their latency. The queue
/// needs no memory: it is the distance between the next ticket and the clock.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pacing: Pacing,
    /// Nothing is due at or after this instant.
    end_ns: u64,
    next: u64,
    backlog_max: u64,
}

impl Dispatcher {
    pub(crate) fn new(pacing: Pacing, end_ns: u64) -> Self {
        Self {
            pacing,
            end_ns,
            next: 0,
            backlog_max: 0,
        }
    }

    /// The next ticket, if one is due. Call it only with a connection at hand.
    pub(crate) fn take(&mut self, now_ns: u64) -> Option<Ticket> {
        let due_ns = match self.pacing {
            Pacing::Saturate => now_ns,
            Pacing::Rate(rate) => due_ns(self.next, rate),
        };
        if due_ns > now_ns || due_ns >= self.end_ns {
            return None;
        }
        self.next += 1;
        Some(Ticket { due_ns })
    }

    /// When the next ticket will be due; `None` when there is none to wait for.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        match self.pacing {
            Pacing::Saturate => None,
            Pacing::Rate(rate) => Some(due_ns(self.next, rate)).filter(|due| *due < self.end_ns),
        }
    }

    /// Requests that are due and not yet sent; remembers the longest queue seen.
    pub(crate) fn observe_backlog(&mut self, now_ns: u64) -> u64 {
        let Pacing::Rate(rate) = self.pacing else {
            return 0;
        };
        let backlog =
            due_by(now_ns.min(self.end_ns.saturating_sub(1)), rate).saturating_sub(self.next);
        self.backlog_max = self.backlog_max.max(backlog);
        backlog
    }

    pub(crate) fn backlog_max(&self) -> u64 {
        self.backlog_max
    }
}

/// When request `index` is due. The product is rounded once, so errors do not add up over a run.
fn due_ns(index: u64, rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "below 2^53 for months of load"
    )]
    let due = (index as f64 * 1e9 / rate) as u64;
    due
}

/// How many requests are due at or before `now_ns`.
fn due_by(now_ns: u64, rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "below 2^53 for months of load"
    )]
    let mut count = (now_ns as f64 * rate / 1e9) as u64;
    // Rounding may be off by one on either side; the due times themselves decide.
    while due_ns(count, rate) <= now_ns {
        count += 1;
    }
    while count > 0 && due_ns(count - 1, rate) > now_ns {
        count -= 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Due times lie on the grid of the rate, without drift after a billion requests.
    #[test]
    fn due_times_do_not_drift() {
        for (index, rate, expected) in [
            (0, 3.0, 0),
            (1, 3.0, 333_333_333),
            (3, 3.0, 1_000_000_000),
            (20_400, 20_400.0, 1_000_000_000),
            (1_000_000_000, 100_000.0, 10_000_000_000_000),
        ] {
            assert_eq!(due_ns(index, rate), expected, "request {index} at {rate}/s");
        }
    }

    /// The number of due requests and their due times never contradict each other.
    #[test]
    fn counts_agree_with_due_times() {
        for rate in [0.1, 1.0, 3.0, 7.7, 9_999.9, 123_456.7] {
            for index in (0..5_000).chain(1_000_000..1_000_050) {
                let due = due_ns(index, rate);
                assert_eq!(
                    due_by(due, rate),
                    index + 1,
                    "at the due time of {index}, {rate}/s"
                );
                if due > 0 {
                    assert_eq!(
                        due_by(due - 1, rate),
                        index,
                        "just before {index}, {rate}/s"
                    );
                }
            }
        }
    }

    /// Tickets come in order, none early, none after the end; what was missed is handed out late with its own due time.
    #[test]
    fn missed_requests_keep_their_due_times() {
        let mut dispatcher = Dispatcher::new(Pacing::Rate(1_000.0), 10_000_000);
        assert_eq!(dispatcher.take(0), Some(Ticket { due_ns: 0 }));
        assert_eq!(dispatcher.take(999_999), None);
        assert_eq!(dispatcher.next_due_ns(), Some(1_000_000));
        assert_eq!(dispatcher.observe_backlog(4_500_000), 4);
        assert_eq!(
            dispatcher.take(4_500_000),
            Some(Ticket { due_ns: 1_000_000 })
        );
        assert_eq!(
            dispatcher.take(4_500_000),
            Some(Ticket { due_ns: 2_000_000 })
        );
        assert_eq!(dispatcher.observe_backlog(u64::MAX), 7);
        let rest: Vec<u64> = std::iter::from_fn(|| dispatcher.take(u64::MAX))
            .map(|ticket| ticket.due_ns)
            .collect();
        assert_eq!(
            rest,
            [
                3_000_000, 4_000_000, 5_000_000, 6_000_000, 7_000_000, 8_000_000, 9_000_000
            ]
        );
        assert_eq!(
            (dispatcher.next_due_ns(), dispatcher.backlog_max()),
            (None, 7)
        );
    }

    /// A closed loop is always ready until the run ends, and has no queue.
    #[test]
    fn a_closed_loop_is_always_due() {
        let mut dispatcher = Dispatcher::new(Pacing::Saturate, 100);
        assert_eq!(dispatcher.take(99), Some(Ticket { due_ns: 99 }));
        assert_eq!(dispatcher.take(100), None);
        assert_eq!(
            (dispatcher.observe_backlog(50), dispatcher.next_due_ns()),
            (0, None)
        );
    }
}
