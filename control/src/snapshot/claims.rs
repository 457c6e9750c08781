//! Which API holds which path on which host. The same rule as [`turnpike_core::route::RouteTableBuilder::add`], but with
//! release, so that one change does not cost a look at every API.

use std::collections::HashMap;
use std::sync::Arc;

use turnpike_core::definition::ListenerPath;

/// Lower-case host, and the path with single slashes and one at the end.
type Place = (Option<Box<str>>, Box<str>);

/// Holders of places; an API is known by its order of deployment.
#[derive(Debug, Default)]
pub(super) struct Claims {
    places: HashMap<Place, Vec<Claim>>,
}

#[derive(Debug)]
struct Claim {
    order: u64,
    servers: Arc<[Box<str>]>,
}

/// A listener path that another API holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contested<'a> {
    pub(super) listener: &'a ListenerPath,
    /// Order of the API that holds it.
    pub(super) held_by: u64,
}

impl Claims {
    /// The first of these listener paths that an API other than `order` holds on an intersecting set of servers.
    pub(super) fn find_other<'a>(
        &self,
        listeners: &'a [ListenerPath],
        order: u64,
    ) -> Option<Contested<'a>> {
        listeners.iter().find_map(|listener| {
            let claims = self.places.get(&place(listener))?;
            let other = claims.iter().find(|claim| {
                claim.order != order && intersect(&claim.servers, &listener.servers)
            })?;
            Some(Contested {
                listener,
                held_by: other.order,
            })
        })
    }

    /// Takes listener paths, which must be free.
    pub(super) fn take(&mut self, listeners: &[ListenerPath], order: u64) {
        for listener in listeners {
            let claim = Claim {
                order,
                servers: Arc::clone(&listener.servers),
            };
            self.places.entry(place(listener)).or_default().push(claim);
        }
    }

    /// Gives listener paths back.
    pub(super) fn release(&mut self, listeners: &[ListenerPath], order: u64) {
        for listener in listeners {
            let place = place(listener);
            if let Some(claims) = self.places.get_mut(&place) {
                claims.retain(|claim| claim.order != order);
                if claims.is_empty() {
                    self.places.remove(&place);
                }
            }
        }
    }

    /// Number of places that someone holds.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

fn place(listener: &ListenerPath) -> Place {
    let host = listener
        .host
        .as_ref()
        .map(|host| host.to_ascii_lowercase().into_boxed_str());
    let mut path = String::with_capacity(listener.path.len() + 1);
    for character in listener.path.chars().chain(['/']) {
        if character != '/' || !path.ends_with('/') {
            path.push(character);
        }
    }
    (host, path.into_boxed_str())
}

/// Whether some server is in both sets; an empty set holds every server.
fn intersect(one: &[Box<str>], other: &[Box<str>]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|server| other.contains(server))
}
