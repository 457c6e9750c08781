//! The slow reference: one sorted list, the first match wins, written sentence by sentence from contract request-lifecycle
//! 1.2 and 1.3. It shares no code with the table. Only tests see it; the fuzz target `route_find` includes this file.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Overlap;
use crate::definition::ListenerPath;

/// The list of acceptors.
#[derive(Debug, Default)]
pub(super) struct Model {
    overlap: Overlap,
    acceptors: Vec<Acceptor>,
}

/// One acceptor of the list.
#[derive(Debug, Clone)]
pub(super) struct Acceptor {
    /// API that it leads to.
    pub(super) api: u32,
    /// `P`.
    pub(super) p: String,
    /// Servers; empty means all.
    pub(super) servers: Arc<[Box<str>]>,
    p0: String,
    host: Option<String>,
    priority: usize,
}

impl Model {
    /// An empty list in this order.
    pub(super) fn new(overlap: Overlap) -> Self {
        Self {
            overlap,
            acceptors: Vec::new(),
        }
    }

    /// Whether another API holds one of these paths.
    pub(super) fn conflicts(&self, api: u32, listeners: &[ListenerPath]) -> bool {
        listeners
            .iter()
            .map(|listener| Acceptor::new(api, listener))
            .any(|new| {
                self.acceptors.iter().any(|old| {
                    let lower =
                        |host: &Option<String>| host.as_ref().map(|host| host.to_ascii_lowercase());
                    let servers_meet = old.servers.is_empty()
                        || new.servers.is_empty()
                        || old
                            .servers
                            .iter()
                            .any(|server| new.servers.contains(server));
                    old.api != api
                        && lower(&old.host) == lower(&new.host)
                        && old.p == new.p
                        && servers_meet
                })
            })
    }

    /// Adds the listener paths of an API.
    pub(super) fn add(&mut self, api: u32, listeners: &[ListenerPath]) {
        self.acceptors.extend(
            listeners
                .iter()
                .map(|listener| Acceptor::new(api, listener)),
        );
        let overlap = self.overlap;
        self.acceptors.sort_by(|one, other| match overlap {
            Overlap::Forbidden => default_order(one, other),
            Overlap::Allowed => overlapping_order(one, other),
        });
    }

    /// The first acceptor that matches.
    pub(super) fn find(
        &self,
        server: Option<&str>,
        host: Option<&str>,
        path: &str,
    ) -> Option<&Acceptor> {
        self.acceptors.iter().find(|acceptor| {
            let server_matches = acceptor.servers.is_empty()
                || acceptor
                    .servers
                    .iter()
                    .any(|served| Some(&**served) == server);
            let path_matches = path.starts_with(&acceptor.p) || path == acceptor.p0;
            let host_matches = match self.overlap {
                Overlap::Forbidden => acceptor.accepts_host(host),
                Overlap::Allowed => acceptor.accepts_host_overlapping(host),
            };
            server_matches && host_matches && path_matches
        })
    }
}

impl Acceptor {
    fn new(api: u32, listener: &ListenerPath) -> Self {
        let path = if listener.path.is_empty() {
            "/"
        } else {
            &listener.path
        };
        let mut p0 = path.to_owned();
        if p0.len() > 1 && p0.ends_with('/') {
            p0.pop();
        }
        let mut p = format!("{path}/");
        while p.contains("//") {
            p = p.replace("//", "/");
        }
        let slashes = p.matches('/').count();
        Self {
            api,
            servers: Arc::clone(&listener.servers),
            host: listener.host.as_ref().map(|host| host.to_string()),
            priority: if listener.host.is_some() {
                slashes + 1000
            } else {
                slashes
            },
            p,
            p0,
        }
    }

    fn accepts_host(&self, authority: Option<&str>) -> bool {
        let Some(host) = &self.host else { return true };
        let Some(authority) = authority else {
            return false;
        };
        let (name, port) = name_and_port(authority);
        // A port counts as given when it is more than 0.
        let given = port.filter(|port| !port.trim_matches('0').is_empty());
        let seen = given.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        host.eq_ignore_ascii_case(&seen)
    }

    fn accepts_host_overlapping(&self, authority: Option<&str>) -> bool {
        let Some(host) = &self.host else { return true };
        let Some(authority) = authority else {
            return false;
        };
        let (name, _) = name_and_port(authority);
        match host.strip_prefix('*') {
            Some(suffix) => name.ends_with(suffix),
            None => host.eq_ignore_ascii_case(name),
        }
    }
}

fn name_and_port(authority: &str) -> (&str, Option<&str>) {
    let after_literal = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[after_literal..].rfind(':') {
        Some(colon) => (
            &authority[..after_literal + colon],
            Some(&authority[after_literal + colon + 1..]),
        ),
        None => (authority, None),
    }
}

fn default_order(one: &Acceptor, other: &Acceptor) -> Ordering {
    let by_host = match (&one.host, &other.host) {
        (Some(one), Some(other)) => one.to_ascii_lowercase().cmp(&other.to_ascii_lowercase()),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    by_host
        .then_with(|| one.p.cmp(&other.p))
        .then_with(|| other.priority.cmp(&one.priority))
}

fn overlapping_order(one: &Acceptor, other: &Acceptor) -> Ordering {
    let reversed = |host: &str| host.to_ascii_lowercase().chars().rev().collect::<String>();
    let by_host = match (&one.host, &other.host) {
        (Some(one), Some(other)) => reversed(other).cmp(&reversed(one)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    by_host
        .then_with(|| other.p.cmp(&one.p))
        .then_with(|| other.priority.cmp(&one.priority))
}
