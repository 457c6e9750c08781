//! Look-ups of host names for errands and for the connections of their calls.
//!
//! Look-ups occupy threads of the runtime's small blocking pool, for long when a name server is dead. At most [`LOOK_UPS_MAX`] run at
//! a time, so that the rest of the control thread keeps threads of its own, and everybody who asks for the same name shares one.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use crate::resolve::LookUp;

/// Look-ups at one time.
const LOOK_UPS_MAX: usize = 4;
/// Names that are being looked up, or wait for it, at most.
const NAMES_MAX: usize = 256;

type Answer = Result<Arc<[IpAddr]>, Arc<str>>;
type Ask =
    dyn Fn(&str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync;

/// Looks names up; clones share the look-ups that are under way.
#[derive(Clone)]
pub(super) struct Names(Arc<Shared>);

struct Shared {
    ask: Box<Ask>,
    under_way: Mutex<HashMap<Box<str>, watch::Receiver<Option<Answer>>>>,
    permits: Semaphore,
}

impl Names {
    pub(super) fn new(look_up: impl LookUp) -> Self {
        Self(Arc::new(Shared {
            ask: Box::new(move |host| Box::pin(look_up.look_up(host))),
            under_way: Mutex::default(),
            permits: Semaphore::new(LOOK_UPS_MAX),
        }))
    }

    /// The addresses of a host, in the order of preference. Goes on in the background when the caller stops waiting.
    pub(super) async fn look_up(&self, host: &str) -> Answer {
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            return Ok([address].into());
        }
        let mut answer = self.ask(host)?;
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(|| Err("no answer".into())),
            Err(_) => Err("the look-up was stopped".into()),
        }
    }

    fn ask(&self, host: &str) -> Result<watch::Receiver<Option<Answer>>, Arc<str>> {
        let mut under_way = self.0.under_way();
        if let Some(answer) = under_way.get(host) {
            return Ok(answer.clone());
        }
        if under_way.len() >= NAMES_MAX {
            return Err(format!("{NAMES_MAX} other names are being looked up").into());
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(host.into(), receiver.clone());
        let entry = Entry {
            shared: Arc::clone(&self.0),
            host: host.into(),
        };
        tokio::spawn(async move {
            let answer = entry.meet().await;
            // The next one who asks begins a new look-up; the ones who wait have their receivers.
            drop(entry);
            sender.send_replace(Some(answer));
        });
        Ok(receiver)
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, HashMap<Box<str>, watch::Receiver<Option<Answer>>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that is being looked up; dropped, it is no longer.
struct Entry {
    shared: Arc<Shared>,
    host: Box<str>,
}

impl Entry {
    async fn meet(&self) -> Answer {
        // The semaphore is never closed; if it were, look-ups would only be unlimited.
        let _permit = self.shared.permits.acquire().await;
        match (self.shared.ask)(&self.host).await {
            Ok(addresses) if addresses.is_empty() => Err("the name has no address".into()),
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(error.to_string().into()),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.under_way().remove(&self.host);
    }
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.clone();
        Box::pin(async move {
            let addresses = names.look_up(name.as_str()).await.map_err(|reason| {
                io::Error::other(format!("look-up of {name} failed: {reason}"))
            })?;
            // The connector puts in the port.
            let addresses: Vec<SocketAddr> = addresses
                .iter()
                .map(|address| SocketAddr::new(*address, 0))
                .collect();
            Ok(addresses.into_iter())
        })
    }
}
