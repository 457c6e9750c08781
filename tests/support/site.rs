//! The usual surroundings of a request: a control plane, a gateway, a backend.

use std::sync::Mutex;

use super::backend::Backend;
use super::client::{Client, Response, fetch};
use super::control_plane::ControlPlane;
use super::definition::{Definition, v4};
use super::gateway::{Gateway, Start};

/// One of each.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    pub(crate) plane: ControlPlane,
    pub(crate) backend: Backend,
    /// Request ids, and the error keys that their reports must have.
    expected: Mutex<Vec<(String, String)>>,
}

impl Site {
    /// A gateway that serves one key-less API, `/api`, whose backend is [`Self::backend`].
    pub(crate) fn plain() -> Self {
        Self::with(Start::new(), |_| Vec::new())
    }

    /// A gateway started this way, which serves `/api` and these.
    pub(crate) fn with(start: Start, more: impl FnOnce(&Backend) -> Vec<Definition>) -> Self {
        let plane = ControlPlane::start();
        let backend = Backend::start();
        plane.deploy(&v4("api", "/api", &backend.target("")));
        for definition in more(&backend) {
            plane.deploy(&definition);
        }
        Self {
            gateway: start.control_plane(&plane).ready(),
            plane,
            backend,
            expected: Mutex::default(),
        }
    }

    /// A gateway started this way, on a control plane that was prepared: definitions, subscriptions, keys.
    pub(crate) fn prepared(start: Start, prepare: impl FnOnce(&ControlPlane, &Backend)) -> Self {
        let plane = ControlPlane::start();
        let backend = Backend::start();
        prepare(&plane, &backend);
        Self {
            gateway: start.control_plane(&plane).ready(),
            plane,
            backend,
            expected: Mutex::default(),
        }
    }

    /// The report of this response must have this error key: looked at by [`Self::reports_are_as_expected`], because reports take a
    /// while and many can be waited for at once.
    pub(crate) fn expect_key(&self, response: &Response, key: &str) {
        let id = response.field("X-Gravitee-Request-Id").expect("an id");
        let pair = (id.to_owned(), key.to_owned());
        self.expected
            .lock()
            .expect("nobody panics while holding it")
            .push(pair);
    }

    /// Waits for the reports that were announced and compares their error keys.
    pub(crate) fn reports_are_as_expected(&self) {
        let expected = self
            .expected
            .lock()
            .expect("nobody panics while holding it");
        for (id, key) in &*expected {
            let report = self.plane.report_of(id);
            let found = report["error-key"].as_str().unwrap_or_default();
            assert_eq!(found, key, "{report}");
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.gateway.port
    }

    /// A new connection to the gateway.
    pub(crate) fn client(&self) -> Client {
        Client::open(self.port())
    }

    /// GET on a connection of its own.
    pub(crate) fn fetch(&self, path: &str) -> Response {
        fetch(self.port(), path)
    }
}
