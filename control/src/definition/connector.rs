//! Connectors shared across compilations: an endpoint whose settings did not change keeps its connector, so that pooled
//! connections survive a redeployment that did not touch them. Endpoints never share one: each has a pool and a queue of its
//! own (contract request-lifecycle 8.4), so that a backend that hangs for one API takes no connection from another.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use turnpike_core::definition::{
    AddressCell, Addresses, Connector, ConnectorId, ConnectorOptions, TlsSettings,
};

/// The connectors of every compiled API, interned. Clones share one table.
#[derive(Debug, Clone, Default)]
pub struct Connectors(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next_id: u64,
    by_settings: HashMap<Settings, Weak<Connector>>,
    by_host: HashMap<Box<str>, Vec<Weak<Connector>>>,
    /// Entries at which dead ones are dropped next: twice what lived the last time.
    sweep_at: usize,
}

/// An endpoint and everything that makes its connections interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Settings {
    api_id: Box<str>,
    endpoint: Box<str>,
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    tls: Option<TlsSettings>,
    options: ConnectorOptions,
}

impl Connectors {
    /// The connector of this endpoint (API id, endpoint name) with these settings: the living one, or a new one. The address of
    /// an address literal is known at once.
    pub(crate) fn intern(
        &self,
        (api_id, endpoint): (&str, &str),
        (host, port): (&str, u16),
        authority: &str,
        tls: Option<TlsSettings>,
        options: ConnectorOptions,
    ) -> Arc<Connector> {
        let settings = Settings {
            api_id: api_id.into(),
            endpoint: endpoint.into(),
            host: host.into(),
            port,
            authority: authority.into(),
            tls,
            options,
        };
        let mut table = self.table();
        if let Some(connector) = table.by_settings.get(&settings).and_then(Weak::upgrade) {
            return connector;
        }
        if table.by_settings.len() >= table.sweep_at.max(64) {
            table.sweep();
        }
        let id = ConnectorId(table.next_id);
        table.next_id += 1;
        let (dialed_host, dialed_port) = match &settings.options.proxy {
            Some(proxy) => (&*proxy.host, proxy.port),
            None => (host, port),
        };
        let addresses = match dialed_host.parse::<IpAddr>() {
            Ok(address) => Addresses::Resolved(Box::new([SocketAddr::new(address, dialed_port)])),
            Err(_) => Addresses::Unresolved,
        };
        let connector = Arc::new(Connector {
            id,
            host: settings.host.clone(),
            port,
            authority: settings.authority.clone(),
            tls: settings.tls.clone(),
            options: settings.options.clone(),
            addresses: AddressCell::new(addresses),
        });
        let dead = table
            .by_settings
            .insert(settings, Arc::downgrade(&connector));
        let to_host = table
            .by_host
            .entry(connector.dialed().0.into())
            .or_default();
        to_host.retain(|other| dead.as_ref().is_none_or(|dead| !dead.ptr_eq(other)));
        to_host.push(Arc::downgrade(&connector));
        connector
    }

    /// The connectors that an API still uses. Forgets the others.
    pub fn live(&self) -> Vec<Arc<Connector>> {
        let mut table = self.table();
        table.sweep();
        table
            .by_settings
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// The living connectors that dial this host.
    pub(crate) fn to_host(&self, host: &str) -> Vec<Arc<Connector>> {
        self.table()
            .by_host
            .get(host)
            .into_iter()
            .flatten()
            .filter_map(Weak::upgrade)
            .collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole after every statement, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn sweep(&mut self) {
        self.by_settings
            .retain(|_, connector| connector.strong_count() > 0);
        self.by_host.retain(|_, connectors| {
            connectors.retain(|connector| connector.strong_count() > 0);
            !connectors.is_empty()
        });
        self.sweep_at = self.by_settings.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intern(connectors: &Connectors, host: &str, port: u16) -> Arc<Connector> {
        connectors.intern(
            ("api", "endpoint"),
            (host, port),
            host,
            None,
            ConnectorOptions::default(),
        )
    }

    #[test]
    fn equal_settings_share_a_connector_and_other_settings_do_not() {
        let connectors = Connectors::default();
        let first = intern(&connectors, "a", 80);
        let clone = connectors.clone();
        assert!(Arc::ptr_eq(&first, &intern(&clone, "a", 80)));
        assert_ne!(first.id, intern(&connectors, "a", 81).id);
        let other = connectors.intern(
            ("other", "endpoint"),
            ("a", 80),
            "a",
            None,
            ConnectorOptions::default(),
        );
        assert_ne!(first.id, other.id, "a pool is an endpoint's own");
        let options = ConnectorOptions {
            read_timeout_ms: 1,
            ..ConnectorOptions::default()
        };
        assert_ne!(
            first.id,
            connectors
                .intern(("api", "endpoint"), ("a", 80), "a", None, options)
                .id
        );
        let tls = TlsSettings {
            trust_all: true,
            verify_hostname: true,
            trust_pem: None,
            client_certificate: None,
        };
        assert_ne!(
            first.id,
            connectors
                .intern(
                    ("api", "endpoint"),
                    ("a", 80),
                    "a",
                    Some(tls),
                    ConnectorOptions::default()
                )
                .id
        );
    }

    #[test]
    fn a_connector_that_nobody_holds_is_forgotten_and_its_id_is_not_used_again() {
        let connectors = Connectors::default();
        let first = intern(&connectors, "a", 80).id;
        assert!(connectors.live().is_empty() && connectors.to_host("a").is_empty());
        assert_ne!(intern(&connectors, "a", 80).id, first);
    }

    #[test]
    fn the_table_does_not_grow_with_connectors_that_are_gone() {
        let connectors = Connectors::default();
        for port in 1..10_000 {
            intern(&connectors, "a", port);
            intern(&connectors, "a", 80);
        }
        assert!(connectors.table().by_settings.len() <= 64);
        assert!(connectors.table().by_host["a"].len() <= 64);
    }

    #[test]
    fn an_address_literal_needs_no_look_up() {
        let connectors = Connectors::default();
        let connector = intern(&connectors, "::1", 8080);
        let expected = Addresses::Resolved(Box::new(["[::1]:8080".parse().expect("an address")]));
        assert_eq!(**connector.addresses.load(), expected);
        assert_eq!(
            **intern(&connectors, "localhost", 80).addresses.load(),
            Addresses::Unresolved
        );
    }
}
