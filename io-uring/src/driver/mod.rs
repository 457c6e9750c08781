//! The seam over the runtime: everything that connection code needs of monoio, and nothing else of it is used outside.

mod bell;
mod clock;
mod io;
mod mailbox;
mod probe;
mod runtime;
mod socket;
mod timer;

pub(crate) use bell::{Bell, Ringer, bell};
pub(crate) use clock::Clock;
pub(crate) use io::{ReadOutcome, Reader, Writer, accept, tcp};
pub(crate) use mailbox::{Command, Mailbox, MailboxSender, mailbox};
pub(crate) use probe::choose;
pub use probe::{DriverKind, DriverReport};
pub(crate) use runtime::run;
pub(crate) use socket::{Cut, cut};
pub(crate) use timer::{Deadline, DeadlineHandle, Timers, sweep};

pub(crate) use monoio::net::{TcpListener, TcpStream};
pub(crate) use monoio::spawn;
pub(crate) use monoio::time::{sleep, timeout};

/// Runs a future that never completes on its own beside one that does, in one task: polls both, returns with the first.
pub(crate) async fn race<A, B>(first: A, second: B) -> Either<A::Output, B::Output>
where
    A: Future,
    B: Future,
{
    let mut first = std::pin::pin!(first);
    let mut second = std::pin::pin!(second);
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(output) = first.as_mut().poll(context) {
            return std::task::Poll::Ready(Either::First(output));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}

/// Which of two futures completed.
pub(crate) enum Either<A, B> {
    First(A),
    Second(B),
}
