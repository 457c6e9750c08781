//! A response that is sent from memory: what the chain made of the backend's, or in its place.

use std::rc::Rc;

use turnpike_core::exchange::Body;
use turnpike_core::http::Method;

use super::head::{self, Announced};
use super::{Chain, ClientBody, Context};
use crate::buffer::SMALL_BYTES;
use crate::connection::exchange::Outcome;
use crate::connection::record::Facts;
use crate::connection::reply::can_discard_body;
use crate::connection::rewrite::Identity;
use crate::connection::{After, Connection};
use crate::driver::Cut;

/// Bytes of a body that are written before the client's deadline is moved.
const PIECE_BYTES: usize = 256 * 1_024;

/// Sends the exchange's response. `body` is what came with the request's head, `client` what was read of its body.
pub(super) async fn respond(
    connection: &mut Connection,
    context: &Context<'_>,
    chain: &mut Chain<'_>,
    identity: &Identity<'_>,
    client: ClientBody,
    body: &[u8],
    facts: &mut Facts,
) -> Outcome {
    let shard = Rc::clone(&connection.shard);
    let request = context.head;
    let response = &mut chain.exchange.response;
    let status = head::status(response);
    let content = match std::mem::take(&mut response.body) {
        Body::Buffered(content) => Some(content),
        Body::None | Body::Streaming => None,
    };
    let announced = match (&content, chain.bodiless) {
        _ if status == 204 => None,
        // The length that the body would have had.
        (_, Some(announced)) if status == 304 => announced,
        _ if status == 304 => None,
        (Some(content), _) => Some(content.len() as u64),
        (None, Some(announced)) if request.method == Method::Head => announced,
        (None, _) => Some(0),
    };
    let content = content
        .filter(|_| head::may_have_body(request.method, status))
        .unwrap_or_default();
    let keep_alive = request.keep_alive
        && !head::wants_close(response)
        && !shard.is_draining()
        && !connection.input.ended
        && match client {
            ClientBody::Unread => can_discard_body(request, body.len()),
            ClientBody::Read(_) => true,
            ClientBody::Broken => false,
        };
    let mut out = shard.buffers.small();
    head::write_client_head(
        &mut out,
        response,
        chain.received_status,
        request.version,
        identity,
        announced.map_or(Announced::Nothing, Announced::Length),
        keep_alive,
    );
    facts.status = status;
    facts.response_body_bytes = content.len() as u64;
    let failed = Outcome {
        after: After::Abort,
        used: 0,
    };
    let together = out.len() + content.len() <= SMALL_BYTES;
    if together {
        out.extend_from_slice(&content);
    }
    match write(connection, out).await {
        Some(out) => shard.buffers.put(out),
        None => return failed,
    }
    if !together && write(connection, content).await.is_none() {
        return failed;
    }
    match client {
        _ if !keep_alive => Outcome {
            after: After::Close,
            used: 0,
        },
        ClientBody::Read(used) => Outcome {
            after: After::KeepAlive,
            used,
        },
        _ => connection.discard_body(request, body.len()).await,
    }
}

/// Writes everything in `bytes`; `None` when the client cannot be written to.
async fn write(connection: &mut Connection, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let shard = Rc::clone(&connection.shard);
    let limit_ms = shard.settings.servers[connection.server].body_timeout_ms;
    let mut start = 0;
    while start < bytes.len() {
        let end = bytes.len().min(start + PIECE_BYTES);
        connection
            .deadline
            .after(&shard.timers, shard.clock.now_ms(), limit_ms, Cut::Both);
        let (result, returned) = connection.writer.write_all(bytes, start..end).await;
        bytes = returned;
        if result.is_err() {
            shard.buffers.put(bytes);
            return None;
        }
        shard.stats.bytes_written.add((end - start) as u64);
        start = end;
    }
    Some(bytes)
}
