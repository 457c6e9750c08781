//! Answers that the gateway makes itself.

use std::rc::Rc;

use turnpike_core::error::{Failure, render};
use turnpike_core::http::{
    Known, Method, RequestBody, RequestHead, Version, decimal, reason_phrase, write_field,
    write_status_line,
};

use super::exchange::Outcome;
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
    pub(super) outcome: Outcome,
    pub(super) body_bytes: u64,
}

impl Connection {
    /// Answers a head that was refused: status, empty body, close.
    pub(super) async fn refuse(&mut self, status: u16) -> After {
        let shard = Rc::clone(&self.shard);
        let mut out = shard.buffers.small();
        write_status_line(&mut out, status, reason_phrase(status).as_bytes());
        out.extend_from_slice(b"Content-Length: 0\r\nConnection: close\r\n\r\n");
        self.deadline.after(
            &shard.timers,
            shard.clock.now_ms(),
            super::LINGER_MS,
            Cut::Both,
        );
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

    /// Answers with a failure, rendered for this client (contract request-lifecycle 7.3). `bytes` is what `head` was parsed from, `body` what
    /// came with it.
    pub(super) async fn fail(
        &mut self,
        failure: &Failure,
        head: &RequestHead,
        bytes: &[u8],
        body: &[u8],
        identity: &Identity<'_>,
    ) -> Sent {
        let shard = Rc::clone(&self.shard);
        let mut text = shard.buffers.small();
        let rendered = render(failure, head.fields.values(bytes, Known::Accept), &mut text);
        let reply = Reply {
            status: failure.status,
            content_type: rendered.content_type.map(str::as_bytes),
            body: &text,
            close: rendered.close,
            identity: Some(identity),
        };
        let sent = self.answer(&reply, head, body).await;
        shard.buffers.put(text);
        sent
    }

    /// Sends an answer. `body` is what came with the request's head.
    pub(super) async fn answer(
        &mut self,
        reply: &Reply<'_>,
        head: &RequestHead,
        body: &[u8],
    ) -> Sent {
        let shard = Rc::clone(&self.shard);
        let keep_alive = head.keep_alive
            && !reply.close
            && !shard.is_draining()
            && !self.input.ended
            && can_discard_body(head, body.len());
        let mut out = shard.buffers.small();
        write_status_line(
            &mut out,
            reply.status,
            reason_phrase(reply.status).as_bytes(),
        );
        if let Some(content_type) = reply.content_type {
            write_field(&mut out, b"Content-Type", content_type);
        }
        out.extend_from_slice(b"Content-Length: ");
        decimal(&mut out, reply.body.len() as u64);
        out.extend_from_slice(b"\r\n");
        if let Some(identity) = reply.identity {
            identity.write_own(&mut out);
        }
        write_persistence(&mut out, head.version, keep_alive);
        out.extend_from_slice(b"\r\n");
        let mut body_bytes = 0;
        if head.method != Method::Head {
            out.extend_from_slice(reply.body);
            body_bytes = reply.body.len() as u64;
        }
        let limit_ms = shard.settings.servers[self.server].body_timeout_ms;
        self.deadline
            .after(&shard.timers, shard.clock.now_ms(), limit_ms, Cut::Both);
        let length = out.len();
        let (result, out) = self.writer.write_all(out, 0..length).await;
        shard.buffers.put(out);
        let outcome = match result {
            Err(_) => Outcome {
                after: After::Abort,
                used: 0,
            },
            Ok(()) => {
                shard.stats.bytes_written.add(length as u64);
                if keep_alive {
                    self.discard_body(head, body.len()).await
                } else {
                    Outcome {
                        after: After::Close,
                        used: 0,
                    }
                }
            }
        };
        Sent {
            outcome,
            body_bytes,
        }
    }

    /// Reads the rest of a body of known, small length, of which `buffered` bytes came with the head.
    pub(super) async fn discard_body(&mut self, head: &RequestHead, buffered: usize) -> Outcome {
        let RequestBody::Length(length) = head.body else {
            return Outcome {
                after: After::KeepAlive,
                used: 0,
            };
        };
        if buffered as u64 >= length {
            return Outcome {
                after: After::KeepAlive,
                used: length as usize,
            };
        }
        let shard = Rc::clone(&self.shard);
        let mut left = length - buffered as u64;
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
                    shard
                        .buffers
                        .put(std::mem::replace(&mut self.input.ahead, buffer));
                }
                Ok(_) | Err(_) => {
                    shard.buffers.put(buffer);
                    return Outcome {
                        after: After::Abort,
                        used: buffered,
                    };
                }
            }
        }
        Outcome {
            after: After::KeepAlive,
            used: buffered,
        }
    }
}

/// Whether the request's body is none, or small enough to be read and thrown away.
pub(super) fn can_discard_body(head: &RequestHead, buffered: usize) -> bool {
    match head.body {
        RequestBody::None => true,
        // The client may send the body, or may wait for an interim answer first: nobody can tell which bytes come next.
        _ if head.expects_continue => false,
        RequestBody::Length(length) => length <= DISCARD_BYTES_MAX.max(buffered as u64),
        RequestBody::Chunked => false,
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
