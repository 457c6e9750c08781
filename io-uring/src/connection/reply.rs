//! Answers that the gateway makes itself.

use std::rc::Rc;

use turnpike_core::error::{Failure, render};
use turnpike_core::http::{Known, Method, RequestBody, Version, decimal, reason_phrase, write_field, write_status_line};

use super::rewrite::Identity;
use super::{After, Connection};
use crate::driver::Cut;

/// A request body of at most this many bytes is read and discarded after an answer, so that the connection can be kept.
const DISCARD_BYTES_MAX: u64 = 64 * 1_024;

/// A complete answer without a backend.
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    pub(super) content_type: Option<&'a [u8]>,
    pub(super) body: &'a [u8],
    pub(super) close: bool,
    /// Ids to answer with; absent on a request that matched no API.
    pub(super) identity: Option<&'a Identity<'a>>,
}

/// What was sent.
pub(super) struct Sent {
    pub(super) after: After,
    pub(super) body_bytes: u64,
}

impl Connection {
    /// Answers a head that was refused: status, empty body, close.
    pub(super) async fn refuse(&mut self, status: u16) -> After {
        let shard = Rc::clone(&self.shard);
        let mut out = shard.buffers.small();
        write_status_line(&mut out, status, reason_phrase(status).as_bytes());
        out.extend_from_slice(b"Content-Length: 0\r\nConnection: close\r\n\r\n");
        self.deadline.after(&shard.timers, shard.clock.now_ms(), super::LINGER_MS, Cut::Both);
        let length = out.len();
        let (result, out) = self.writer.write_all(out, 0..length).await;
        shard.buffers.put(out);
        if result.is_ok() {
            shard.stats.bytes_written.add(length as u64);
            After::Close
        } else {
            After::Abort
        }
    }

    /// Answers with a failure, rendered for this client (contract request-lifecycle 7.3). `head` is the request's head.
    pub(super) async fn fail(&mut self, failure: &Failure, head: (usize, usize), identity: &Identity<'_>) -> Sent {
        let shard = Rc::clone(&self.shard);
        let mut body = shard.buffers.small();
        let rendered = {
            let bytes = &self.input.bytes[head.0..head.1];
            render(failure, self.head.fields.values(bytes, Known::Accept), &mut body)
        };
        let reply = Reply {
            status: failure.status,
            content_type: rendered.content_type.map(str::as_bytes),
            body: &body,
            close: rendered.close,
            identity: Some(identity),
        };
        let sent = self.answer(&reply, head.1).await;
        shard.buffers.put(body);
        sent
    }

    /// Sends an answer. `head_end` is where the request's body begins in the input.
    pub(super) async fn answer(&mut self, reply: &Reply<'_>, head_end: usize) -> Sent {
        let shard = Rc::clone(&self.shard);
        let keep_alive = self.head.keep_alive
            && !reply.close
            && !shard.is_draining()
            && !self.input.ended
            && self.can_discard_body(head_end);
        let mut out = shard.buffers.small();
        write_status_line(&mut out, reply.status, reason_phrase(reply.status).as_bytes());
        if let Some(content_type) = reply.content_type {
            write_field(&mut out, b"Content-Type", content_type);
        }
        out.extend_from_slice(b"Content-Length: ");
        decimal(&mut out, reply.body.len() as u64);
        out.extend_from_slice(b"\r\n");
        if let Some(identity) = reply.identity {
            identity.write_own(&mut out);
        }
        write_persistence(&mut out, self.head.version, keep_alive);
        out.extend_from_slice(b"\r\n");
        let mut body_bytes = 0;
        if self.head.method != Method::Head {
            out.extend_from_slice(reply.body);
            body_bytes = reply.body.len() as u64;
        }
        let limit_ms = shard.settings.servers[self.server].body_timeout_ms;
        self.deadline.after(&shard.timers, shard.clock.now_ms(), limit_ms, Cut::Both);
        let length = out.len();
        let (result, out) = self.writer.write_all(out, 0..length).await;
        shard.buffers.put(out);
        let after = match result {
            Err(_) => After::Abort,
            Ok(()) => {
                shard.stats.bytes_written.add(length as u64);
                if keep_alive { self.discard_body(head_end).await } else { After::Close }
            }
        };
        Sent { after, body_bytes }
    }

    fn can_discard_body(&self, head_end: usize) -> bool {
        match self.head.body {
            RequestBody::None => true,
            // The client may wait for an interim answer before it sends the body, or may send it: both are possible now.
            _ if self.head.expects_continue => false,
            RequestBody::Length(length) => {
                length <= DISCARD_BYTES_MAX.max((self.input.bytes.len() - head_end) as u64)
            }
            RequestBody::Chunked => false,
        }
    }

    /// Reads the rest of a body of known, small length.
    async fn discard_body(&mut self, head_end: usize) -> After {
        let RequestBody::Length(length) = self.head.body else {
            self.input.used = head_end;
            return After::KeepAlive;
        };
        let shard = Rc::clone(&self.shard);
        let buffered = (self.input.bytes.len() - head_end) as u64;
        if buffered >= length {
            self.input.used = head_end + length as usize;
            return After::KeepAlive;
        }
        let mut left = length - buffered;
        self.input.used = self.input.bytes.len();
        while left > 0 {
            if !self.input.ahead.is_empty() {
                let taken = left.min(self.input.ahead.len() as u64);
                self.input.ahead.drain(..taken as usize);
                left -= taken;
                continue;
            }
            if !self.reader.is_armed() {
                self.reader.arm(shard.buffers.small(), 0);
            }
            let (result, buffer) = self.reader.read().await;
            match result {
                Ok(count) if count > 0 => {
                    shard.stats.bytes_read.add(count as u64);
                    self.input.ahead = buffer;
                }
                Ok(_) | Err(_) => {
                    shard.buffers.put(buffer);
                    return After::Abort;
                }
            }
        }
        After::KeepAlive
    }
}

/// Says whether the connection stays open, where the version's default does not say it.
pub(super) fn write_persistence(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    match (version, keep_alive) {
        (Version::Http11, true) | (Version::Http10, false) => {}
        (Version::Http11, false) => out.extend_from_slice(b"Connection: close\r\n"),
        (Version::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
    }
}
