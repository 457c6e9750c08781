//! Reading request heads.

use turnpike_core::http::{HeadScanner, Scan, ScanError};

use super::Connection;
use crate::driver::Cut;
use crate::worker::IDLE_GRACE_MS;

/// What came next on a connection.
pub(super) enum NextHead {
    /// A request whose head lies at `start..end` of the input.
    Request { start: usize, end: usize },
    /// Bytes that are no acceptable request: answer this status and close.
    Refused(u16),
    /// The client left, or stayed silent for too long.
    Ended,
}

impl Connection {
    /// Waits for the next request head.
    ///
    /// Limits: the first head of a connection must be complete `head_timeout_ms` after the connection was accepted, every other within that time after
    /// its first byte; between requests the connection may be silent for `idle_timeout_ms`.
    pub(super) async fn next_head(&mut self) -> NextHead {
        let shard = std::rc::Rc::clone(&self.shard);
        let settings = &shard.settings.servers[self.server];
        self.input.advance(&shard.buffers);
        let mut scanner = HeadScanner::default();
        let mut head_started = false;
        loop {
            if !self.input.bytes.is_empty() {
                let limits = &settings.limits;
                match scanner.scan(
                    &self.input.bytes,
                    limits.start_line_bytes_max,
                    limits.fields_bytes_max,
                ) {
                    Ok(Scan::Complete { start, end }) => {
                        self.deadline.clear();
                        return match self.head.parse(&self.input.bytes[start..end], limits) {
                            Ok(()) => NextHead::Request { start, end },
                            Err(error) => NextHead::Refused(error.status()),
                        };
                    }
                    Ok(Scan::Partial) => {}
                    Err(ScanError::StartLineTooLong) => return NextHead::Refused(414),
                    Err(ScanError::FieldsTooLong) => return NextHead::Refused(431),
                    Err(ScanError::LineEnd) => return NextHead::Refused(400),
                }
            }
            if self.input.ended {
                return NextHead::Ended;
            }
            if !head_started {
                let waiting_idle = self.input.bytes.is_empty();
                let limit_ms = if waiting_idle && shard.stopping.get() {
                    // The last response promised that the connection stays, so the next request may be on its way.
                    IDLE_GRACE_MS
                } else if waiting_idle && self.served > 0 {
                    settings.idle_timeout_ms
                } else {
                    settings.head_timeout_ms
                };
                head_started = !waiting_idle || self.served == 0;
                self.deadline
                    .after(&shard.timers, shard.clock.now_ms(), limit_ms, Cut::Read);
                self.deadline.set_idle(waiting_idle);
            }
            if !self.reader.is_armed() {
                let buffer = shard.buffers.guess(self.input.last_was_large);
                self.reader.arm(buffer, 0);
            }
            let (result, buffer) = self.reader.read().await;
            self.deadline.set_idle(false);
            match result {
                Ok(count) if count > 0 => {
                    shard.stats.bytes_read.add(count as u64);
                    self.input.append(buffer, &shard.buffers);
                }
                Ok(_) | Err(_) => {
                    shard.buffers.put(buffer);
                    self.input.ended = true;
                    if self.deadline.has_passed() && !self.input.bytes.is_empty() {
                        return NextHead::Refused(408);
                    }
                    return NextHead::Ended;
                }
            }
        }
    }
}

impl super::Input {
    /// Forgets what the finished exchange has used; what was read beyond it becomes the beginning of the next request.
    fn advance(&mut self, buffers: &crate::buffer::BufferPool) {
        if self.used >= self.bytes.len() {
            buffers.put(std::mem::replace(
                &mut self.bytes,
                std::mem::take(&mut self.ahead),
            ));
        } else {
            self.bytes.drain(..self.used);
            let ahead = std::mem::take(&mut self.ahead);
            self.bytes.extend_from_slice(&ahead);
            buffers.put(ahead);
        }
        self.used = 0;
    }

    /// Adds bytes to the head being received. A head that fits into one read is never copied.
    fn append(&mut self, buffer: Vec<u8>, buffers: &crate::buffer::BufferPool) {
        if self.bytes.is_empty() {
            buffers.put(std::mem::replace(&mut self.bytes, buffer));
        } else {
            self.bytes.extend_from_slice(&buffer);
            buffers.put(buffer);
        }
    }
}
