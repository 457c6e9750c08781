//! Connectors of origins that policies name in requests (contract request-lifecycle 8.1): made when they are first called, forgotten
//! when nobody calls them. The control thread looks their names up.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use turnpike_core::definition::{
    AddressCell, Addresses, Connector, ConnectorId, ConnectorOptions, Origin, TlsSettings,
};

/// Origins that one worker knows at most; the one that was called longest ago makes room.
const ORIGINS_MAX: usize = 256;
/// Addresses of an origin are looked up again after this time, milliseconds.
const ADDRESSES_KEPT_MS: u64 = 60_000;
/// Idle life of a pooled connection where the endpoint sets no limit: its pool is not named by any definition, milliseconds.
const KEEP_ALIVE_MS: u32 = 60_000;
/// Ids from here on are not given out by the control thread.
const FIRST_ID: u64 = 1 << 63;

/// Connectors by the endpoint whose options they share, and their origin.
#[derive(Default)]
pub(crate) struct Elsewhere {
    known: RefCell<FxHashMap<Key, Known>>,
    made: Cell<u64>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    options_of: ConnectorId,
    secure: bool,
    host: Box<str>,
    port: u16,
}

struct Known {
    connector: Arc<Connector>,
    looked_up_ms: u64,
    called_ms: u64,
}

/// What is known of an origin.
pub(crate) enum Found {
    /// It can be called.
    Ready(Arc<Connector>),
    /// Its name must be looked up first; then [`Elsewhere::learn`].
    LookUp,
}

impl Elsewhere {
    /// The connector of `origin` with the options of `endpoint`.
    pub(crate) fn find(&self, endpoint: &Connector, origin: &Origin<'_>, now_ms: u64) -> Found {
        let known = self
            .known
            .borrow_mut()
            .get_mut(&key(endpoint, origin))
            .map(|known| {
                known.called_ms = now_ms;
                (Arc::clone(&known.connector), known.looked_up_ms)
            });
        if endpoint.options.proxy.is_some() {
            // Connections go to the proxy, which finds its own way to the origin.
            return match known {
                Some((connector, at_ms)) if now_ms - at_ms < ADDRESSES_KEPT_MS => {
                    Found::Ready(connector)
                }
                _ => {
                    let list = match &**endpoint.addresses.load() {
                        Addresses::Resolved(list) => list.clone(),
                        Addresses::Unresolved | Addresses::Failed(_) => [].into(),
                    };
                    Found::Ready(self.keep(endpoint, origin, list, now_ms))
                }
            };
        }
        match (known, origin.host.parse::<IpAddr>()) {
            (Some((connector, _)), Ok(_)) => Found::Ready(connector),
            // An address is learned without a look-up.
            (None, Ok(address)) => Found::Ready(self.learn(endpoint, origin, &[address], now_ms)),
            (Some((connector, at_ms)), Err(_)) if now_ms - at_ms < ADDRESSES_KEPT_MS => {
                Found::Ready(connector)
            }
            _ => Found::LookUp,
        }
    }

    /// Takes the addresses of an origin's host. None leave those that are known.
    pub(crate) fn learn(
        &self,
        endpoint: &Connector,
        origin: &Origin<'_>,
        addresses: &[IpAddr],
        now_ms: u64,
    ) -> Arc<Connector> {
        let list = addresses
            .iter()
            .map(|address| SocketAddr::new(*address, origin.port))
            .collect();
        self.keep(endpoint, origin, list, now_ms)
    }

    fn keep(
        &self,
        endpoint: &Connector,
        origin: &Origin<'_>,
        list: Box<[SocketAddr]>,
        now_ms: u64,
    ) -> Arc<Connector> {
        let mut known = self.known.borrow_mut();
        if let Some(known) = known.get_mut(&key(endpoint, origin)) {
            if !list.is_empty() {
                known.connector.addresses.store(Addresses::Resolved(list));
            }
            known.looked_up_ms = now_ms;
            known.called_ms = now_ms;
            return Arc::clone(&known.connector);
        }
        let connector = Arc::new(self.make(endpoint, origin, list));
        if !matches!(**connector.addresses.load(), Addresses::Resolved(_)) {
            // Not kept: the next request asks again.
            return connector;
        }
        if known.len() >= ORIGINS_MAX {
            let oldest = known.values().map(|known| known.called_ms).min();
            let mut room = false;
            known.retain(|_, known| {
                let stays = room || Some(known.called_ms) != oldest;
                room |= !stays;
                stays
            });
        }
        known.insert(
            key(endpoint, origin),
            Known {
                connector: Arc::clone(&connector),
                looked_up_ms: now_ms,
                called_ms: now_ms,
            },
        );
        connector
    }

    fn make(
        &self,
        endpoint: &Connector,
        origin: &Origin<'_>,
        list: Box<[SocketAddr]>,
    ) -> Connector {
        self.made.set(self.made.get() + 1);
        let mut authority = Vec::new();
        origin.write_authority(&mut authority);
        let tls = origin.secure.then(|| {
            endpoint.tls.clone().unwrap_or(TlsSettings {
                trust_all: false,
                verify_hostname: true,
                trust_pem: None,
                client_certificate: None,
            })
        });
        let options = &endpoint.options;
        Connector {
            id: ConnectorId(FIRST_ID + self.made.get()),
            host: origin.host.into(),
            port: origin.port,
            authority: String::from_utf8(authority).unwrap_or_default().into(),
            tls,
            options: ConnectorOptions {
                keep_alive_timeout_ms: match options.keep_alive_timeout_ms {
                    0 => KEEP_ALIVE_MS,
                    limit_ms => limit_ms,
                },
                ..options.clone()
            },
            addresses: AddressCell::new(if list.is_empty() {
                Addresses::Failed("the name that a policy gave is not known".into())
            } else {
                Addresses::Resolved(list)
            }),
        }
    }
}

fn key(endpoint: &Connector, origin: &Origin<'_>) -> Key {
    Key {
        options_of: endpoint.id,
        secure: origin.secure,
        host: origin.host.to_ascii_lowercase().into(),
        port: origin.port,
    }
}
