//! A real local Cloud Gate: the control plane's side of the bridge protocol, fed from a folder of definition files. For
//! development, tests and sites without a way to the outside.
//!
//! # The nouns
//! - `source`: the folder: definitions, exports, subscriptions, and what is wrong with them;
//! - `ledger`: deployments with their numbers and dates, kept on disk;
//! - `search`: what criteria mean;
//! - `store`: what gateways write; `reports`: what they report;
//! - `http`: connections, admission by Cloud Token, endpoints;
//! - [`SampleBackend`]: a small server that answers with what it was asked, for the quickstart.

mod certificate;
mod files;
mod gate;
mod http;
mod ledger;
mod reports;
mod sample;
mod search;
mod source;
mod store;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;

pub use self::sample::SampleBackend;
pub use self::source::check::{FileProblem, check_definition, is_definition_file};

use self::certificate::Tls;
use self::gate::Gate;
use self::http::auth::Gatekeeper;
use self::ledger::Place;
use crate::token::{KeyError, SigningKey};

/// Time between two looks at the folder.
const SCAN_PERIOD: Duration = Duration::from_millis(500);

/// How to run a Cloud Gate.
#[derive(Debug, Clone)]
pub struct CloudGateOptions {
    /// Folder of definition files; watched.
    pub definitions: PathBuf,
    /// Folder for what is kept; created when absent.
    pub data: PathBuf,
    /// `HOST:PORT` to listen on; port 0 takes a free one.
    pub listen: String,
    /// HTTPS, and with which certificate.
    pub transport: Transport,
    /// Id of the organization whose control plane this is.
    pub organization: String,
    /// Id of the environment that the APIs live in.
    pub environment: String,
}

/// What gateways connect by.
#[derive(Debug, Clone)]
pub enum Transport {
    /// HTTPS with a certificate that is generated once and kept in the data folder.
    Generated,
    /// HTTPS with the operator's certificate.
    Own {
        /// Certificate chain, PEM.
        certificate: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
    },
    /// Plain HTTP.
    Plain,
}

/// Why a Cloud Gate cannot run. What the system said is the source of the error, not part of its text.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The folder of definitions.
    #[error("the folder of definitions {} cannot be read", path.display())]
    Definitions {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder of the data folder.
    #[error("{} cannot be used", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process uses the data folder.
    #[error("{} is in use by another Cloud Gate; hint: give this one a data folder of its own", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The kept state is not readable.
    #[error(
        "{} is not the state of a Cloud Gate: {reason}; hint: without it deployment numbers start again at 1, so gateways that \
         are running must be restarted if you remove it",
        path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The address.
    #[error("cannot listen on {address}")]
    Listen {
        /// As it was given.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate or its key.
    #[error("certificate {}: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key that tokens are signed with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The public key that tokens are verified with.
    #[error("the public key of Cloud Tokens cannot be used: {0}")]
    Verification(String),
}

/// A Cloud Gate that listens.
#[derive(Debug)]
pub struct CloudGate {
    gate: Arc<Gate>,
    gatekeeper: Arc<Gatekeeper>,
    signing_key: SigningKey,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    // Held as long as the Cloud Gate lives; the lock ends with it.
    _lock: std::fs::File,
}

impl CloudGate {
    /// Loads or makes keys and certificate, reads the folder, and binds. What is in the folder is served from the first
    /// request on.
    pub async fn bind(options: CloudGateOptions) -> Result<Self, GateError> {
        let data = &options.data;
        let in_data = |path: &Path, source| GateError::Data {
            path: path.to_owned(),
            source,
        };
        std::fs::read_dir(&options.definitions).map_err(|source| GateError::Definitions {
            path: options.definitions.clone(),
            source,
        })?;
        std::fs::create_dir_all(data).map_err(|source| in_data(data, source))?;
        let lock = lock_folder(data)?;
        let signing_key = SigningKey::load_or_create(data)?;
        let gatekeeper = Gatekeeper::new(signing_key.public_key_pem(), &options.environment)
            .map_err(GateError::Verification)?;
        let host = options
            .listen
            .rsplit_once(':')
            .map_or(options.listen.as_str(), |(host, _)| host);
        let tls = match &options.transport {
            Transport::Plain => None,
            Transport::Generated => {
                Some(certificate::generated(data, host.trim_matches(['[', ']']))?)
            }
            Transport::Own { certificate, key } => Some(certificate::load(certificate, key)?),
        };
        let place = Place {
            organization: options.organization,
            environment: options.environment,
        };
        let gate = Arc::new(Gate::open(options.definitions, data, place)?);
        let in_listen = |source| GateError::Listen {
            address: options.listen.clone(),
            source,
        };
        let listener = TcpListener::bind(&options.listen)
            .await
            .map_err(in_listen)?;
        let address = listener.local_addr().map_err(in_listen)?;
        scan(&gate).await;
        Ok(Self {
            gate,
            gatekeeper: Arc::new(gatekeeper),
            signing_key,
            listener,
            address,
            tls,
            _lock: lock,
        })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL under which gateways of this machine reach it, without a trailing slash.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            let here: std::net::IpAddr = if address.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            address.set_ip(here);
        }
        format!("{scheme}://{address}")
    }

    /// The certificate that gateways must trust, PEM; none with plain HTTP.
    pub fn certificate_path(&self) -> Option<&Path> {
        self.tls.as_ref().map(|tls| tls.certificate.as_path())
    }

    /// The key that signs the tokens it accepts.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }

    /// Serves until `shutdown` is done, then lets requests that are running finish.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let tls = self.tls.map(|tls| tls.config);
        let endpoints = http::Endpoints {
            gate: Arc::clone(&self.gate),
            gatekeeper: self.gatekeeper,
        };
        let watch = async {
            let mut ticks = tokio::time::interval(SCAN_PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                scan(&self.gate).await;
            }
        };
        let stop = async {
            tokio::select! {
                () = shutdown => {}
                () = watch => {}
            }
        };
        http::serve(self.listener, tls, endpoints, stop).await;
    }
}

/// Looks at the folder on a thread that may wait.
async fn scan(gate: &Arc<Gate>) {
    let gate = Arc::clone(gate);
    if let Err(error) = tokio::task::spawn_blocking(move || gate.scan(SystemTime::now())).await {
        tracing::error!("the folder of definitions was not looked at: {error}");
    }
}

fn lock_folder(data: &Path) -> Result<std::fs::File, GateError> {
    let path = data.join("lock");
    let file = std::fs::File::create(&path).map_err(|source| GateError::Data {
        path: path.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(GateError::Locked {
            path: data.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(GateError::Data { path, source }),
    }
}
