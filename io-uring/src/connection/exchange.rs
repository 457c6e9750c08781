//! One exchange: parse → route → decide → forward → report. The order is the contract's (request-lifecycle 3).

use std::borrow::Cow;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use turnpike_core::definition::{Api, Endpoint, Engine};
use turnpike_core::error::{ErrorKey, Failure};
use turnpike_core::http::chunked::{CHUNK_END, ChunkedDecoder, LAST_CHUNK, PREFIX_BYTES_MAX, frame};
use turnpike_core::http::{Known, RequestBody, RequestHead, path, query};
use turnpike_core::ident::sha256_hex;
use turnpike_core::route::path_info;
use turnpike_core::security::{Credentials, Strip, select};

use super::record::{Facts, Subject, finish};
use super::relay::{Download, DownloadEnd, Remaining, Shared, Upload, UploadEnd, call, watch};
use super::reply::Reply;
use super::rewrite::{Identity, UpstreamRequest, write_upstream_head, write_uri};
use super::{After, Connection};
use crate::driver::{Clock, Cut, Either, race};
use crate::upstream::{Fault, Lease};

/// A request's credentials, as plan selection sees them.
struct RequestCredentials<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
}

impl Credentials for RequestCredentials<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.fields.value(self.bytes, name.as_bytes())
    }

    fn parameter(&self, name: &str) -> Option<&[u8]> {
        query::value(self.head.query.of(self.bytes), name.as_bytes())
    }
}

/// Runs the exchange whose head lies at `start..end` of the connection's input.
pub(super) async fn run(connection: &mut Connection, start: usize, end: usize) -> After {
    let shard = Rc::clone(&connection.shard);
    shard.stats.active_requests.add(1);
    let after = run_counted(connection, start, end).await;
    shard.stats.active_requests.sub(1);
    after
}

async fn run_counted(connection: &mut Connection, start: usize, end: usize) -> After {
    let shard = Rc::clone(&connection.shard);
    let settings = &*shard.settings;
    let mut facts = Facts::begin(Instant::now(), Clock::wall_ms());
    let snapshot = shard.snapshot();

    connection.path.clear();
    if settings.normalize_paths {
        let received = connection.head.path.of(&connection.input.bytes[start..end]);
        if path::normalize(received, &mut connection.path).is_err() {
            shard.stats.request_errors.add(1);
            return connection.refuse(400).await;
        }
    }
    // The exchange refers to its head while the connection is written to: the head's bytes are lent out and given back.
    let head_bytes = std::mem::take(&mut connection.input.bytes);
    let after = Exchange { connection, shard: &shard, head_range: (start, end), facts: &mut facts }
        .serve(head_bytes, &snapshot)
        .await;
    after
}
