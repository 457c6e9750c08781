//! The usual surroundings of a request: a control plane, a gateway, a backend.

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
