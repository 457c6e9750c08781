//! Collecting listener paths into a table, and refusing those that another API holds.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::host::{Hosts, same_host};
use super::index::HashIndex;
use super::path::{context_path, depth, literal_beyond, matches_bare};
use super::{
    Acceptor, HostBounds, Literal, Overlap, Route, RouteTable, hash_literal, hash_segments,
};
use crate::definition::ListenerPath;

/// Lower-case host and context path: what two APIs may not both hold.
type Key = (Option<Box<str>>, Box<str>);

/// Collects routes and builds a [`RouteTable`].
#[derive(Debug, Default)]
pub struct RouteTableBuilder {
    overlap: Overlap,
    pending: Vec<Pending>,
    /// Positions in `pending`.
    held: HashMap<Key, Vec<u32>, RandomState>,
}

#[derive(Debug)]
struct Pending {
    route: Route,
    host: Option<Box<str>>,
    bare: bool,
    /// Literal form, where it is more than the context path says.
    literal: Option<Box<str>>,
}

/// A route that cannot be added because another API already listens there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "context path {path} on {} is already held by API number {held_by} on an intersecting set of servers",
    .host.as_deref().map_or_else(|| "any host".to_owned(), |host| format!("host {host}")),
)]
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
        Self {
            overlap,
            ..Self::default()
        }
    }

    /// Adds every listener path of an API, or none of them: a path that another API holds on the same host (ignoring case)
    /// and an intersecting set of servers is a [`Conflict`]. One API may list a path twice.
    pub fn add(&mut self, api: u32, listeners: &[ListenerPath]) -> Result<(), Conflict> {
        let keys: Vec<_> = listeners.iter().map(key_of).collect();
        for (listener, key) in listeners.iter().zip(&keys) {
            let holders = self
                .held
                .get(key)
                .into_iter()
                .flatten()
                .map(|at| &self.pending[*at as usize].route);
            if let Some(holder) = holders
                .into_iter()
                .find(|route| route.api != api && intersect(&route.servers, &listener.servers))
            {
                return Err(Conflict {
                    held_by: holder.api,
                    host: listener.host.clone(),
                    path: key.1.clone(),
                });
            }
        }
        for (listener, key) in listeners.iter().zip(keys) {
            let pending = Pending {
                bare: matches_bare(&listener.path, &key.1),
                literal: literal_beyond(&listener.path, &key.1).map(Into::into),
                route: Route {
                    api,
                    context_path: key.1.clone(),
                    servers: Arc::clone(&listener.servers),
                },
                host: listener.host.clone(),
            };
            let held = self.held.entry(key).or_default();
            if !held
                .iter()
                .any(|at| self.pending[*at as usize].same(&pending, self.overlap))
            {
                held.push(self.pending.len() as u32);
                self.pending.push(pending);
            }
        }
        Ok(())
    }

    /// The finished table.
    pub fn build(self) -> RouteTable {
        let Self {
            overlap, pending, ..
        } = self;
        let state = RandomState::default();

        let mut names: Vec<Box<str>> = pending
            .iter()
            .filter_map(|pending| pending.host.clone())
            .collect();
        names.sort_by(|one, other| {
            one.to_ascii_lowercase()
                .cmp(&other.to_ascii_lowercase())
                .then_with(|| one.cmp(other))
        });
        names.dedup_by(|one, other| same_host(overlap, one, other));
        let hosts = Hosts::new(overlap, &state, names);

        let mut bounds = vec![HostBounds::default(); hosts.any() as usize + 1].into_boxed_slice();
        let mut acceptors = Vec::with_capacity(pending.len());
        let mut literals = Vec::new();
        for Pending {
            route,
            host,
            bare,
            literal,
        } in pending
        {
            let host = match host {
                Some(name) => hosts
                    .id_of(overlap, &state, &name)
                    .expect("every pending host was just registered"),
                None => hosts.any(),
            };
            let bounds = &mut bounds[host as usize];
            bounds.depth_max = bounds.depth_max.max(depth(&route.context_path));
            if let Some(path) = literal {
                bounds.literals = true;
                literals.push(Literal {
                    path,
                    acceptor: acceptors.len() as u32,
                });
            }
            acceptors.push(Acceptor { route, host, bare });
        }

        let by_context_path = HashIndex::new(acceptors.iter().enumerate().map(|(at, acceptor)| {
            (
                hash_segments(&state, acceptor.host, &acceptor.route.context_path),
                at as u32,
            )
        }));
        let by_literal = HashIndex::new(literals.iter().enumerate().map(|(at, literal)| {
            (
                hash_literal(
                    &state,
                    acceptors[literal.acceptor as usize].host,
                    &literal.path,
                ),
                at as u32,
            )
        }));
        RouteTable {
            overlap,
            state,
            acceptors: acceptors.into_boxed_slice(),
            by_context_path,
            literals: literals.into_boxed_slice(),
            by_literal,
            hosts,
            bounds,
        }
    }
}

impl Pending {
    /// Whether `other` would match the same requests with the same answer.
    fn same(&self, other: &Self, overlap: Overlap) -> bool {
        let same_host = match (&self.host, &other.host) {
            (Some(one), Some(other)) => same_host(overlap, one, other),
            (None, None) => true,
            _ => false,
        };
        same_host
            && self.route.api == other.route.api
            && self.route.context_path == other.route.context_path
            && self.route.servers == other.route.servers
            && self.bare == other.bare
            && self.literal == other.literal
    }
}

fn key_of(listener: &ListenerPath) -> Key {
    let host = listener
        .host
        .as_ref()
        .map(|host| host.to_ascii_lowercase().into_boxed_str());
    (host, context_path(&listener.path))
}

/// Whether some server is in both sets; an empty set holds every server.
fn intersect(one: &[Box<str>], other: &[Box<str>]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|server| other.contains(server))
}
