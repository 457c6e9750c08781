//! Reads that stay armed from one use to the next, and writes.
//!
//! monoio's operations own their buffer and cost nothing to keep pending; dropping one cancels it and loses what it may have
//! received. So a read is kept in a slot that outlives the exchange: the read that watches a client for its departure becomes the read of its
//! next request, and the read that guards an idle backend connection becomes the read of its next response.

use std::cell::UnsafeCell;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use monoio::buf::{IoBuf as _, IoBufMut as _};
use monoio::io::{
    AsyncReadRent as _, AsyncWriteRentExt as _, OwnedReadHalf, OwnedWriteHalf, Splitable as _,
};
use monoio::net::TcpStream;

use super::TcpListener;
use crate::buffer::TAILROOM;
use crate::upstream::TlsWriter;

/// Result of a read, and its buffer: the bytes were appended at the offset given to [`Reader::arm`], 0 bytes means the end.
pub(crate) type ReadOutcome = (io::Result<usize>, Vec<u8>);

/// A place for one pending read. One allocation per connection; a read in it allocates nothing.
trait ReadSlot {
    /// Starts a read into `buffer[offset..]`, leaving [`TAILROOM`] free. Nothing may be pending.
    fn arm(&mut self, buffer: Vec<u8>, offset: usize);
    /// Polls the pending read.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ReadOutcome>;
    /// Whether a read is pending.
    fn is_armed(&self) -> bool;
}

/// The reading side of a connection.
pub(crate) struct Reader {
    slot: Box<dyn ReadSlot>,
    offset: usize,
}

impl Reader {
    /// A reader whose reads are made by `start`.
    pub(crate) fn from_start<S, F>(start: S) -> Self
    where
        S: Fn(Vec<u8>, usize) -> F + 'static,
        F: Future<Output = ReadOutcome> + 'static,
    {
        Self {
            slot: Box::new(FutureSlot {
                start,
                pending: Box::pin(None),
            }),
            offset: 0,
        }
    }

    /// Starts a read that appends to the first `offset` bytes of `buffer`.
    pub(crate) fn arm(&mut self, mut buffer: Vec<u8>, offset: usize) {
        debug_assert!(!self.is_armed());
        buffer.resize(offset, 0);
        self.offset = offset;
        self.slot.arm(buffer, offset);
    }

    /// Whether a read is pending.
    pub(crate) fn is_armed(&self) -> bool {
        self.slot.is_armed()
    }

    /// Where the bytes of the pending, or the last, read begin in their buffer.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Waits for the pending read.
    pub(crate) async fn read(&mut self) -> ReadOutcome {
        poll_fn(|context| self.slot.poll(context)).await
    }

    /// The outcome of the pending read if it is there already. Also hands a fresh read to the kernel.
    pub(crate) fn poll_now(&mut self) -> Option<ReadOutcome> {
        match self.slot.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }
}

struct FutureSlot<S, F> {
    start: S,
    pending: Pin<Box<Option<F>>>,
}

impl<S, F> ReadSlot for FutureSlot<S, F>
where
    S: Fn(Vec<u8>, usize) -> F,
    F: Future<Output = ReadOutcome>,
{
    fn arm(&mut self, buffer: Vec<u8>, offset: usize) {
        let read = (self.start)(buffer, offset);
        self.pending.as_mut().set(Some(read));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ReadOutcome> {
        let Some(read) = self.pending.as_mut().as_pin_mut() else {
            // Nothing was armed: a reader that is asked anyway would wait for ever, which a deadline then ends.
            return Poll::Pending;
        };
        let outcome = read.poll(context);
        if outcome.is_ready() {
            self.pending.as_mut().set(None);
        }
        outcome
    }

    fn is_armed(&self) -> bool {
        self.pending.is_some()
    }
}

/// The writing side of a connection.
pub(crate) enum Writer {
    /// Plain TCP.
    Tcp(OwnedWriteHalf<TcpStream>),
    /// TLS over TCP.
    Tls(TlsWriter),
}

impl Writer {
    /// Writes `buffer[range]` completely and gives the buffer back.
    pub(crate) async fn write_all(
        &mut self,
        buffer: Vec<u8>,
        range: Range<usize>,
    ) -> (io::Result<()>, Vec<u8>) {
        match self {
            Self::Tcp(half) => {
                let (result, slice) = half.write_all(buffer.slice(range)).await;
                (result.map(drop), slice.into_inner())
            }
            Self::Tls(writer) => writer.write_all(buffer, range).await,
        }
    }
}

/// Both sides of a TCP connection. They may be used at the same time.
pub(crate) fn tcp(stream: TcpStream) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    (tcp_reader(reader.0), Writer::Tcp(writer))
}

fn tcp_reader(stream: Rc<UnsafeCell<TcpStream>>) -> Reader {
    Reader::from_start(move |buffer, offset| {
        let mut half = OwnedReadHalf(Rc::clone(&stream));
        async move {
            let end = buffer.capacity() - TAILROOM;
            let (result, slice) = half.read(buffer.slice_mut(offset..end)).await;
            (result, slice.into_inner())
        }
    })
}

/// Accepts one connection. The future must be run to its end: dropping it may lose an accepted connection.
pub(crate) async fn accept(
    listener: &TcpListener,
) -> io::Result<(TcpStream, std::net::SocketAddr)> {
    listener.accept().await
}
