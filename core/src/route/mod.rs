//! Host and path to API (contract request-lifecycle 1).
//!
//! The reference keeps every acceptor in one sorted list and takes the first that matches, so its look-up grows with the
//! number of APIs. Here the same answer comes from hash probes. What makes that possible:
//!
//! - every context path `P` ends with a slash, so those that a request path can match are its own prefixes up to a slash:
//!   one probe per segment, and their text order is their order by length;
//! - `P` has no runs of slashes, so the walk ends at the first run in the request path;
//! - a listener path that was written with runs matches itself, literally, in place of `P` without its slash: one probe of the whole path, made only
//!   below hosts that have such a listener. Its `P` is longer than any prefix that matches the same request;
//! - of the hosts only the equal one, one per registered wildcard length, and "any host" can match; they are numbered in
//!   the contract's order.
//!
//! [`RouteTable::find`] costs O(b) for hashing the *b* bytes of the path that are walked, plus one probe per segment, per
//! host that matches; segments are bounded by the deepest context path of that host. The number of APIs has no part in it
//! and nothing is allocated. A route takes some 80 bytes besides its texts.
//!
//! A slow model, written from the contract, is checked against the table with random tables and requests.

mod builder;
mod host;
mod index;
#[cfg(test)]
mod model;
mod path;

pub use builder::{Conflict, RouteTableBuilder};

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use host::{HostId, Hosts};
use index::HashIndex;

/// One acceptor: a listener path of one API.
#[derive(Debug, Clone)]
pub struct Route {
    /// Index into [`crate::snapshot::Snapshot::apis`].
    pub api: u32,
    /// `P` of the contract: context path with one trailing slash and no runs of slashes.
    pub context_path: Box<str>,
    /// Ids of the servers it is restricted to; empty means all.
    pub servers: Arc<[Box<str>]>,
}

impl Route {
    fn serves(&self, server: Option<&str>) -> bool {
        self.servers.is_empty()
            || server.is_some_and(|id| self.servers.iter().any(|served| &**served == id))
    }
}

/// Which of the reference's two orders is used (`api.allowOverlappingContext`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// Default order: the shorter of two nested paths wins; hosts compare with their port text.
    #[default]
    Forbidden,
    /// Sub-paths first, wildcard hosts, ports ignored.
    Allowed,
}

/// An immutable table of routes. The module's head tells what a look-up costs.
#[derive(Debug, Default)]
pub struct RouteTable {
    overlap: Overlap,
    /// Key of every hash below, drawn once per table.
    state: RandomState,
    acceptors: Box<[Acceptor]>,
    /// Into `acceptors`, by host and context path.
    by_context_path: HashIndex,
    literals: Box<[Literal]>,
    /// Into `literals`, by host and literal path.
    by_literal: HashIndex,
    hosts: Hosts,
    /// By [`HostId`]; empty in a default table.
    bounds: Box<[HostBounds]>,
}

#[derive(Debug)]
struct Acceptor {
    route: Route,
    host: HostId,
    /// Whether the context path without its final slash matches as well.
    bare: bool,
}

/// A listener path that was written with runs of slashes.
#[derive(Debug)]
struct Literal {
    path: Box<str>,
    acceptor: u32,
}

/// What a look-up below one host can be spared.
#[derive(Debug, Clone, Copy, Default)]
struct HostBounds {
    /// Segments of the deepest context path.
    depth_max: u32,
    /// Whether there are literal paths.
    literals: bool,
}

impl RouteTable {
    /// The first route, in the contract's order, that accepts this request. `host` is the authority as received (`name` or
    /// `name:port`), `path` the path without query, `server` the id of the listening server.
    pub fn find(&self, server: Option<&str>, host: Option<&str>, path: &str) -> Option<&Route> {
        let named = match (self.overlap, host) {
            (_, None) => None,
            (Overlap::Forbidden, Some(authority)) => self
                .hosts
                .exact(&self.state, host::with_port(authority))
                .and_then(|host| self.find_below(host, server, path)),
            (Overlap::Allowed, Some(authority)) => {
                self.find_overlapping(host::without_port(authority), server, path)
            }
        };
        named.or_else(|| self.find_below(self.hosts.any(), server, path))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.acceptors.len()
    }

    /// True when no request can match.
    pub fn is_empty(&self) -> bool {
        self.acceptors.is_empty()
    }

    /// The route of the first host, in the contract's order, that has one.
    fn find_overlapping(&self, name: &str, server: Option<&str>, path: &str) -> Option<&Route> {
        let mut first: Option<(HostId, &Route)> = None;
        for host in self.hosts.matching(&self.state, name) {
            if first.is_none_or(|(found, _)| host < found)
                && let Some(route) = self.find_below(host, server, path)
            {
                first = Some((host, route));
            }
        }
        first.map(|(_, route)| route)
    }

    /// The route for this path among those of one host: the shortest context path in default order, else the longest.
    fn find_below(&self, host: HostId, server: Option<&str>, path: &str) -> Option<&Route> {
        let bounds = self.bounds.get(host as usize)?;
        let literal = || {
            bounds
                .literals
                .then(|| self.find_literal(host, server, path))
                .flatten()
        };
        match self.overlap {
            Overlap::Forbidden => self
                .walk(host, *bounds, server, path)
                .next()
                .or_else(literal),
            Overlap::Allowed => literal().or_else(|| self.walk(host, *bounds, server, path).last()),
        }
    }

    /// Routes whose context path accepts `path`, shortest first.
    fn walk<'t, 'r>(
        &'t self,
        host: HostId,
        bounds: HostBounds,
        server: Option<&'r str>,
        path: &'r str,
    ) -> impl Iterator<Item = &'t Route> + use<'t, 'r> {
        prefixes(&self.state, host, path)
            .take(bounds.depth_max as usize)
            .filter_map(move |(hash, prefix)| {
                let found = self.by_context_path.find(hash, |at| {
                    let acceptor = &self.acceptors[at as usize];
                    acceptor.host == host
                        && prefix.reaches(acceptor)
                        && acceptor.route.serves(server)
                });
                found.map(|at| &self.acceptors[at as usize].route)
            })
    }

    fn find_literal(&self, host: HostId, server: Option<&str>, path: &str) -> Option<&Route> {
        let acceptor = |at: u32| &self.acceptors[self.literals[at as usize].acceptor as usize];
        let found = self
            .by_literal
            .find(hash_literal(&self.state, host, path), |at| {
                acceptor(at).host == host
                    && &*self.literals[at as usize].path == path
                    && acceptor(at).route.serves(server)
            });
        found.map(|at| &acceptor(at).route)
    }
}

/// The beginning of a request path up to a segment border.
#[derive(Clone, Copy)]
struct Prefix<'a> {
    text: &'a str,
    /// Whether the text has its final slash; the whole path `/api` stands for the context path `/api/` without it.
    closed: bool,
}

impl Prefix<'_> {
    fn reaches(self, Acceptor { route, bare, .. }: &Acceptor) -> bool {
        if self.closed {
            *route.context_path == *self.text
        } else {
            *bare && route.context_path.strip_suffix('/') == Some(self.text)
        }
    }
}

/// Every prefix of `path` that may be a context path, shortest first, with its hash below this host. The hash grows segment
/// by segment, so that all prefixes together cost one pass over the path.
fn prefixes<'a>(
    state: &RandomState,
    host: HostId,
    path: &'a str,
) -> impl Iterator<Item = (u64, Prefix<'a>)> + use<'a> {
    let mut hasher = state.build_hasher();
    hasher.write_u32(host);
    let mut end = 0;
    std::iter::from_fn(move || {
        let rest = &path.as_bytes()[end..];
        let (segment_bytes, closed) = match rest.iter().position(|byte| *byte == b'/') {
            Some(slash) => (slash, true),
            None => (rest.len(), false),
        };
        // Nothing left, or a run of slashes; only the first segment is empty in a context path.
        if segment_bytes == 0 && (end > 0 || !closed) {
            return None;
        }
        hasher.write(&rest[..segment_bytes]);
        end += segment_bytes + usize::from(closed);
        Some((
            hasher.finish(),
            Prefix {
                text: &path[..end],
                closed,
            },
        ))
    })
}

/// The hash under which a context path is looked up.
fn hash_segments(state: &RandomState, host: HostId, context_path: &str) -> u64 {
    prefixes(state, host, context_path)
        .last()
        .expect("a context path has at least its slash")
        .0
}

/// The hash under which a literal path is looked up.
fn hash_literal(state: &RandomState, host: HostId, path: &str) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write_u32(host);
    hasher.write(path.as_bytes());
    hasher.finish()
}

/// Path of a request below the context path (contract 1.8): `/x` for `/api/x` below `/api/`, empty for `/api` itself.
pub fn path_info<'a>(context_path: &str, path: &'a str) -> &'a str {
    path.get(context_path.len().saturating_sub(1)..)
        .filter(|_| path != "/")
        .unwrap_or("")
}

#[cfg(test)]
mod tests;
