//! Cutting a connection from outside the task that owns it. The one unsafe operation of this file is naming the descriptor.
#![allow(
    unsafe_code,
    reason = "a deadline names a socket that another task owns"
)]

use std::os::fd::{BorrowedFd, RawFd};

/// What is shut down when a deadline passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Reading: a pending read ends with 0 bytes, an answer can still be written.
    Read,
    /// Both directions.
    Both,
    /// Both directions, with a reset: what was sent cannot be taken for all there was.
    Reset,
}

/// Shuts the socket `fd` down.
///
/// The caller owns the connection's [`Deadline`](super::Deadline), whose descriptor is cleared before the connection is closed.
pub(crate) fn cut(fd: RawFd, what: Cut) {
    if fd < 0 {
        return;
    }
    // SAFETY: `fd` comes from a live connection. The deadline that holds it is owned by the same structure as the socket and is dropped
    // first, which sets its descriptor to -1; so the number still names that socket here, and cannot have been reused.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = match what {
        Cut::Read => rustix::net::shutdown(socket, rustix::net::Shutdown::Read),
        Cut::Both => rustix::net::shutdown(socket, rustix::net::Shutdown::Both),
        // Dissolving the association resets a TCP connection at once (tcp(7) knows no other way without closing).
        Cut::Reset => rustix::net::connect_unspec(socket),
    };
}
