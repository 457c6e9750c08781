//! The floor: a raw TCP forwarder on one thread. What it costs is the kernel's share of any proxy's cost on this machine;
//! what its latencies show is the machine's own tail.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use crate::poller::{Poller, connect};

/// Forwards every connection accepted by `listener` to `target`, for ever.
pub(crate) fn serve(listener: &TcpListener, target: SocketAddr) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new(1_024)?;
    poller.add_listener(listener, LISTENER)?;
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    // One buffer for all connections stays in the L2 cache; only what a peer does not take is kept per connection.
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    loop {
        poller.wait(None)?;
        let mut index = 0;
        while let Some(event) = poller.event(index) {
            index += 1;
            if event.token == LISTENER {
                if let Some(pair) = Pair::accept(listener, target) {
                    let slot = free.pop().unwrap_or_else(|| {
                        pairs.push(None);
                        pairs.len() - 1
                    });
                    poller.add(&pair.streams[CLIENT], slot * 2 + CLIENT)?;
                    poller.add(&pair.streams[TARGET], slot * 2 + TARGET)?;
                    pairs[slot] = Some(pair);
                }
                continue;
            }
            let (slot, side) = (event.token / 2, event.token % 2);
            let Some(pair) = pairs.get_mut(slot).and_then(Option::as_mut) else {
                continue;
            };
            let readable = event.readable && pair.pump(side, event.ended, &mut buffer).is_err();
            let writable = event.writable && pair.resume(1 - side, &mut buffer).is_err();
            if readable || writable || pair.finished() {
                pairs[slot] = None;
                free.push(slot);
            }
        }
    }
}

const LISTENER: usize = usize::MAX;
const CLIENT: usize = 0;
const TARGET: usize = 1;
const BUFFER_BYTES: usize = 64 * 1024;

/// A client's connection and the one opened for it.
struct Pair {
    streams: [TcpStream; 2],
    /// By the side that was read: bytes that the other side has not taken yet.
    stash: [Vec<u8>; 2],
    /// By side: everything was read, up to the end of the stream.
    ended: [bool; 2],
    /// By side: the end of the stream was seen by epoll, so a short read is not the last one.
    ending: [bool; 2],
}

impl Pair {
    fn accept(listener: &TcpListener, target: SocketAddr) -> Option<Self> {
        let (client, _) = listener.accept().ok()?;
        client.set_nonblocking(true).ok()?;
        client.set_nodelay(true).ok()?;
        let upstream = connect(target).ok()?;
        Some(Self {
            streams: [client, upstream],
            stash: [Vec::new(), Vec::new()],
            ended: [false; 2],
            ending: [false; 2],
        })
    }

    /// Moves what `side` has sent to the other side until one of them would block.
    fn pump(&mut self, side: usize, ending: bool, buffer: &mut [u8]) -> io::Result<()> {
        self.ending[side] |= ending;
        while self.stash[side].is_empty() && !self.ended[side] {
            let read_bytes = match (&self.streams[side]).read(buffer) {
                Ok(0) => {
                    self.ended[side] = true;
                    return self.finish_writing(1 - side);
                }
                Ok(read_bytes) => read_bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let written_bytes = write_some(&self.streams[1 - side], &buffer[..read_bytes])?;
            self.stash[side].extend_from_slice(&buffer[written_bytes..read_bytes]);
            if read_bytes < buffer.len() && !self.ending[side] {
                // The socket is drained: new bytes raise a new edge, so asking again would only cost a syscall.
                return Ok(());
            }
        }
        Ok(())
    }

    /// The side opposite to `side` can be written again: sends the stash, then goes on reading.
    fn resume(&mut self, side: usize, buffer: &mut [u8]) -> io::Result<()> {
        if self.stash[side].is_empty() {
            return Ok(());
        }
        let written_bytes = write_some(&self.streams[1 - side], &self.stash[side])?;
        self.stash[side].drain(..written_bytes);
        self.pump(side, false, buffer)
    }

    fn finish_writing(&self, side: usize) -> io::Result<()> {
        self.streams[side].shutdown(Shutdown::Write)
    }

    fn finished(&self) -> bool {
        self.ended == [true; 2]
    }
}

/// Writes until everything is sent or the socket would block; says how many bytes went.
fn write_some(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent_bytes = 0;
    while sent_bytes < bytes.len() {
        match stream.write(&bytes[sent_bytes..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written_bytes) => sent_bytes += written_bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent_bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// More bytes than every socket buffer on the way holds come back whole and in order, and the end is passed on.
    #[test]
    fn forwards_megabytes_and_the_end_in_both_directions() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (target_address, address) =
            (target.local_addr().unwrap(), listener.local_addr().unwrap());
        std::thread::spawn(move || serve(&listener, target_address));
        std::thread::spawn(move || {
            let (mut stream, _) = target.accept().unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let sent: Vec<u8> = (0..12_000_000_u32)
            .map(|index| (index % 251) as u8)
            .collect();
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(
            received == sent,
            "{} bytes came back of {}",
            received.len(),
            sent.len()
        );
    }
}
