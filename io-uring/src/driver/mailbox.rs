//! Commands to a worker, over a socket pair that the worker reads on its own ring: nothing is polled and no lock is taken.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream as StdUnixStream;

use monoio::io::AsyncReadRent as _;
use monoio::net::UnixStream;

/// What a worker can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Close the listeners, finish what runs, then end.
    Stop,
    /// End now; what still runs is cut.
    Abort,
}

/// The end that commands are sent from.
#[derive(Debug)]
pub(crate) struct MailboxSender(StdUnixStream);

/// The end that a worker reads.
#[derive(Debug)]
pub(crate) struct Mailbox(StdUnixStream);

/// A pair of ends.
pub(crate) fn mailbox() -> io::Result<(MailboxSender, Mailbox)> {
    let (sender, receiver) = StdUnixStream::pair()?;
    Ok((MailboxSender(sender), Mailbox(receiver)))
}

impl MailboxSender {
    /// Sends a command. A worker that has ended is not an error.
    pub(crate) fn send(&self, command: Command) {
        let byte = match command {
            Command::Stop => b'S',
            Command::Abort => b'A',
        };
        let _ = (&self.0).write_all(&[byte]);
    }
}

impl Mailbox {
    /// Turns this end over to the worker's driver. `nonblocking` is what the epoll driver needs.
    pub(crate) fn open(self, nonblocking: bool) -> io::Result<OpenMailbox> {
        self.0.set_nonblocking(nonblocking)?;
        Ok(OpenMailbox(UnixStream::from_std(self.0)?))
    }
}

/// The worker's end, on its driver.
pub(crate) struct OpenMailbox(UnixStream);

impl OpenMailbox {
    /// The next command; a sender that is gone means [`Command::Abort`].
    pub(crate) async fn next(&mut self) -> Command {
        let (result, byte) = self.0.read(vec![0_u8; 1]).await;
        match (result, byte.first()) {
            (Ok(1), Some(b'S')) => Command::Stop,
            _ => Command::Abort,
        }
    }
}
