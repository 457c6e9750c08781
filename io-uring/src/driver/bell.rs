//! A bell that another thread rings to wake a worker: a byte over a socket pair that the worker reads on its own ring.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream as StdUnixStream;

use monoio::io::AsyncReadRent as _;
use monoio::net::UnixStream;

/// The end that rings.
#[derive(Debug)]
pub(crate) struct Ringer(StdUnixStream);

/// The worker's end, on its driver.
pub(crate) struct Bell(UnixStream);

/// A pair of ends. `nonblocking` is what the epoll driver needs.
pub(crate) fn bell(nonblocking: bool) -> io::Result<(Ringer, Bell)> {
    let (ringer, bell) = StdUnixStream::pair()?;
    // A bell that is full has been rung.
    ringer.set_nonblocking(true)?;
    bell.set_nonblocking(nonblocking)?;
    Ok((Ringer(ringer), Bell(UnixStream::from_std(bell)?)))
}

impl Ringer {
    /// Wakes the worker. One that has ended is not an error.
    pub(crate) fn ring(&self) {
        let _ = (&self.0).write_all(&[1]);
    }
}

impl Bell {
    /// Waits until it is rung, with `buffer` to read into. `None`: it will not be rung any more.
    pub(crate) async fn wait(&mut self, buffer: Vec<u8>) -> Option<Vec<u8>> {
        match self.0.read(buffer).await {
            (Ok(count), buffer) if count > 0 => Some(buffer),
            _ => None,
        }
    }
}
