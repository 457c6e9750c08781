//! A thin epoll loop. Not mio, for two reasons: an open-loop generator must sleep for microseconds where mio's time-out
//! counts milliseconds, and edge-triggered registration for both directions saves every later `epoll_ctl`.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// One readiness report, unpacked from the kernel's event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readiness {
    /// What was given to [`Poller::add`].
    pub(crate) token: usize,
    /// There may be bytes, an end of stream or an error to read.
    pub(crate) readable: bool,
    /// There may be room to write.
    pub(crate) writable: bool,
    /// The peer has finished sending, or the connection broke: read to the end even after a short read.
    pub(crate) ended: bool,
}

/// An epoll instance and the events of its last turn.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    /// Makes a poller that takes at most `events_max` events in one turn.
    pub(crate) fn new(events_max: usize) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(events_max),
        })
    }

    /// Reports both directions of `source` under `token`, edge-triggered, until the descriptor is closed.
    pub(crate) fn add(&self, source: impl AsFd, token: usize) -> io::Result<()> {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            source,
            EventData::new_u64(token as u64),
            interest,
        )?)
    }

    /// Reports readability of a listener, level-triggered: an accept that fails is tried again.
    pub(crate) fn add_listener(&self, source: impl AsFd, token: usize) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            source,
            EventData::new_u64(token as u64),
            EventFlags::IN,
        )?)
    }

    /// Waits for events, without end for `None`. A signal ends the wait with no event.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let Some(timeout) = timeout else {
            return self.collect(None);
        };
        self.collect(Some(&ZERO))?;
        if !self.events.is_empty() || timeout.is_zero() {
            return Ok(());
        }
        // epoll_wait counts milliseconds; ppoll on the epoll descriptor counts nanoseconds on every kernel.
        let timeout = Timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::new(&self.epoll, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(_) | Err(Errno::INTR) => self.collect(Some(&ZERO)),
            Err(error) => Err(error.into()),
        }
    }

    /// Event number `index` of the last wait.
    pub(crate) fn event(&self, index: usize) -> Option<Readiness> {
        let event = self.events.get(index)?;
        let (flags, data) = (event.flags, event.data);
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        Some(Readiness {
            token: usize::try_from(data.u64()).expect("tokens are made from usize by add()"),
            readable: broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP),
            writable: broken || flags.contains(EventFlags::OUT),
            ended: broken || flags.contains(EventFlags::RDHUP),
        })
    }

    fn collect(&mut self, timeout: Option<&Timespec>) -> io::Result<()> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

const ZERO: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Starts to connect without waiting; the outcome shows as readiness. Small writes leave at once (`TCP_NODELAY`).
pub(crate) fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let family = if target.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An address that refuses connections for as long as the socket is held: it is bound, so nobody else can get it, but it does
/// not listen.
#[cfg(test)]
pub(crate) fn refusing_address() -> (OwnedFd, SocketAddr) {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = rustix::net::getsockname(&socket).unwrap();
    (socket, address.try_into().unwrap())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    /// A wait of half a millisecond neither returns early nor is rounded up to the next tick of the scheduler.
    #[test]
    fn sleeps_for_less_than_a_millisecond() {
        let mut poller = Poller::new(8).unwrap();
        crate::host::set_timer_slack_to_minimum().unwrap();
        let best = (0..50)
            .map(|_| {
                let started = Instant::now();
                poller.wait(Some(Duration::from_micros(300))).unwrap();
                started.elapsed()
            })
            .min()
            .unwrap();
        assert!(best >= Duration::from_micros(300), "woke early: {best:?}");
        assert!(best < Duration::from_millis(1), "rounded up: {best:?}");
    }

    /// Bytes and the end of a connection are reported under the token of the connection.
    #[test]
    fn reports_bytes_and_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = connect(listener.local_addr().unwrap()).unwrap();
        let mut poller = Poller::new(8).unwrap();
        poller.add(&client, 7).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"x").unwrap();
        drop(server);
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            poller.wait(Some(Duration::from_millis(100))).unwrap();
            if let Some(event) = poller.event(0)
                && event.ended
            {
                assert!(event.readable && event.token == 7);
                return;
            }
            assert!(Instant::now() < deadline, "no end of stream was reported");
        }
    }
}
