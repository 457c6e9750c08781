//! Making a connection: where the primary is, TCP, TLS, who we are, our scripts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, Value};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use turnpike_config::{RedisConfig, RedisPlaceConfig, RedisTlsConfig};
use turnpike_core::need::{RedisPlace, RemoteCache};

use super::tls::{self, TlsError};

/// One sentinel may take this long to say where the primary is.
const SENTINEL_MAX: Duration = Duration::from_secs(1);
/// Commands that may wait for the socket before their senders wait, too.
const PIPELINE_MAX: usize = 1_024;

/// A host name or address, and a port.
pub(super) type Address = (Box<str>, u16);

/// Where a Redis is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// One server.
    Server {
        /// Host name or address.
        host: Box<str>,
        /// Port.
        port: u16,
    },
    /// The primary that sentinels name.
    Sentinel {
        /// Name of the primary.
        master: Box<str>,
        /// Sentinels.
        nodes: Vec<(Box<str>, u16)>,
        /// Password of the sentinels; none is sent when there is none.
        password: Option<Box<str>>,
    },
    /// A cluster.
    Cluster {
        /// Some of its nodes.
        nodes: Vec<(Box<str>, u16)>,
    },
}

/// Which Redis, and how to speak to it.
#[derive(Clone)]
pub struct Target {
    /// Where it is.
    pub place: Place,
    username: Option<Box<str>>,
    password: Option<Box<str>>,
    tls: Option<Arc<rustls::ClientConfig>>,
    /// Limit for one operation.
    pub operation_timeout: Duration,
    /// Limit for everything until a connection can be used.
    pub connect_timeout: Duration,
    /// The sentinel that answered last, as an index: it is asked first.
    sentinel: Arc<AtomicUsize>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("place", &self.to_string())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Server { host, port } => write!(f, "{host}:{port}"),
            Place::Sentinel { master, nodes, .. } => {
                write!(f, "primary {master} of {} sentinels", nodes.len())
            }
            Place::Cluster { nodes } => write!(f, "cluster of {} known nodes", nodes.len()),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No TCP connection.
    #[error("{0}:{1}: {2}")]
    Tcp(Box<str>, u16, std::io::Error),
    /// No TLS session.
    #[error("{0}:{1}: TLS: {2}")]
    Tls(Box<str>, u16, std::io::Error),
    /// The server refuses us.
    #[error("{0}:{1}: {2}")]
    Server(Box<str>, u16, RedisError),
    /// The server is not what the sentinels say.
    #[error("{0}:{1} is no primary but `{2}`")]
    Role(Box<str>, u16, Box<str>),
    /// No sentinel names the primary.
    #[error("no sentinel names the primary `{0}`: {1}")]
    NoPrimary(Box<str>, String),
    /// It took too long.
    #[error("no connection within {} ms", .0.as_millis())]
    Timeout(Duration),
}

impl Target {
    /// The Redis of the counters.
    pub fn new(config: &RedisConfig) -> Result<Self, TlsError> {
        let boxed = |nodes: &[(String, u16)]| {
            nodes
                .iter()
                .map(|(host, port)| (host.as_str().into(), *port))
                .collect()
        };
        Ok(Self {
            place: match &config.place {
                RedisPlaceConfig::Standalone { host, port } => Place::Server {
                    host: host.as_str().into(),
                    port: *port,
                },
                RedisPlaceConfig::Sentinel {
                    master,
                    nodes,
                    password,
                } => Place::Sentinel {
                    master: master.as_str().into(),
                    nodes: boxed(nodes),
                    password: password.as_ref().map(|secret| secret.expose().into()),
                },
                RedisPlaceConfig::Cluster { nodes } => Place::Cluster {
                    nodes: boxed(nodes),
                },
            },
            username: config.username.as_deref().map(Into::into),
            password: config
                .password
                .as_ref()
                .map(|secret| secret.expose().into()),
            tls: config.tls.as_ref().map(tls::client_config).transpose()?,
            operation_timeout: Duration::from_millis(config.operation_timeout_ms),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            sentinel: Arc::default(),
        })
    }

    /// The Redis of a cache.
    pub fn of_cache(cache: &RemoteCache) -> Result<Self, TlsError> {
        let tls = cache.tls.then(|| RedisTlsConfig {
            trust_all: cache.trust_all,
            verify_hostname: !cache.trust_all,
            ..RedisTlsConfig::default()
        });
        Ok(Self {
            place: match &cache.place {
                RedisPlace::Standalone { host, port } => Place::Server {
                    host: host.clone(),
                    port: *port,
                },
                RedisPlace::Sentinel {
                    master,
                    nodes,
                    password,
                } => Place::Sentinel {
                    master: master.clone(),
                    nodes: nodes.clone(),
                    password: password.clone(),
                },
                RedisPlace::Cluster { nodes } => Place::Cluster {
                    nodes: nodes.clone(),
                },
            },
            username: cache.username.clone(),
            password: cache.password.clone(),
            tls: tls.as_ref().map(tls::client_config).transpose()?,
            operation_timeout: Duration::from_millis(cache.timeout_ms.max(1)),
            connect_timeout: Duration::from_secs(5),
            sentinel: Arc::default(),
        })
    }

    /// The same Redis, one node of it.
    pub(super) fn node(&self, (host, port): Address) -> Self {
        Self {
            place: Place::Server { host, port },
            ..self.clone()
        }
    }

    /// A connection that can be used, with the names under which the server knows `scripts`.
    pub(super) async fn connect(&self, scripts: &[&str]) -> Result<Session, ConnectError> {
        let work = self.connect_patiently(scripts);
        tokio::time::timeout(self.connect_timeout, work)
            .await
            .unwrap_or(Err(ConnectError::Timeout(self.connect_timeout)))
    }

    async fn connect_patiently(&self, scripts: &[&str]) -> Result<Session, ConnectError> {
        let address = match &self.place {
            Place::Server { host, port } => (host.clone(), *port),
            Place::Sentinel { .. } => self.primary().await?,
            // A cluster is asked node by node.
            Place::Cluster { nodes } => nodes.first().cloned().unwrap_or_else(|| ("".into(), 0)),
        };
        let login = (self.username.as_deref(), self.password.as_deref());
        let mut session = self.open(address, login).await?;
        if matches!(self.place, Place::Sentinel { .. }) {
            session.check_role().await?;
        }
        for script in scripts {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(*script);
            let name = session.ask(&load).await?;
            session.scripts.push(text(&name));
        }
        Ok(session)
    }

    /// Where the primary is, as the first sentinel that answers says.
    pub(super) async fn primary(&self) -> Result<Address, ConnectError> {
        let Place::Sentinel {
            master,
            nodes,
            password,
        } = &self.place
        else {
            return Err(ConnectError::NoPrimary(
                "".into(),
                "no sentinels".to_owned(),
            ));
        };
        let mut causes = Vec::new();
        let first = self.sentinel.load(Ordering::Relaxed);
        for index in (0..nodes.len()).map(|index| (first + index) % nodes.len()) {
            let node = &nodes[index];
            let limit = SENTINEL_MAX.min(self.connect_timeout);
            let asked = async {
                let mut session = self.open(node.clone(), (None, password.as_deref())).await?;
                let mut ask = redis::cmd("SENTINEL");
                ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&**master);
                session.ask(&ask).await
            };
            match tokio::time::timeout(limit, asked).await {
                Ok(Ok(Value::Array(parts))) if parts.len() == 2 => {
                    if let Ok(port) = text(&parts[1]).parse() {
                        self.sentinel.store(index, Ordering::Relaxed);
                        return Ok((text(&parts[0]).into(), port));
                    }
                    causes.push(format!("{}:{} names no port", node.0, node.1));
                }
                Ok(Ok(_)) => causes.push(format!("{}:{} does not know it", node.0, node.1)),
                Ok(Err(error)) => causes.push(error.to_string()),
                Err(_) => causes.push(format!(
                    "{}:{}: no answer within {} ms",
                    node.0,
                    node.1,
                    limit.as_millis()
                )),
            }
        }
        Err(ConnectError::NoPrimary(master.clone(), causes.join("; ")))
    }

    pub(super) async fn open_node(&self, address: Address) -> Result<Session, ConnectError> {
        let login = (self.username.as_deref(), self.password.as_deref());
        self.open(address, login).await
    }

    async fn open(
        &self,
        (host, port): Address,
        (username, password): (Option<&str>, Option<&str>),
    ) -> Result<Session, ConnectError> {
        let tcp = TcpStream::connect((&*host, port))
            .await
            .map_err(|error| ConnectError::Tcp(host.clone(), port, error))?;
        let _ = tcp.set_nodelay(true);
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let failed = |error| ConnectError::Tls(host.clone(), port, error);
                let name = ServerName::try_from(host.to_string())
                    .map_err(|error| failed(std::io::Error::other(error)))?;
                let session = TlsConnector::from(Arc::clone(config))
                    .connect(name, tcp)
                    .await
                    .map_err(failed)?;
                Box::new(session)
            }
        };
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(username) = username.filter(|_| password.is_some()) {
            info = info.set_username(username);
        }
        if let Some(password) = password {
            info = info.set_password(password);
        }
        // The limits are ours: see `within`.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_MAX);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| ConnectError::Server(host.clone(), port, error))?;
        Ok(Session {
            address: (host, port),
            connection,
            driver: Driver(tokio::spawn(driver)),
            scripts: Vec::new(),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The task that reads and writes a connection; it ends with it.
#[derive(Debug)]
pub(super) struct Driver(pub(super) JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection that can be used.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) address: Address,
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Driver,
    /// Names under which the server knows our scripts, in their order.
    pub(super) scripts: Vec<String>,
}

impl Session {
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Value, ConnectError> {
        let (host, port) = self.address.clone();
        let failed = |error| ConnectError::Server(host, port, error);
        match self.connection.req_packed_command(command).await {
            Ok(Value::ServerError(error)) => Err(failed(error.into())),
            Ok(value) => Ok(value),
            Err(error) => Err(failed(error)),
        }
    }

    async fn check_role(&mut self) -> Result<(), ConnectError> {
        let role = match self.ask(&redis::cmd("ROLE")).await? {
            Value::Array(parts) => parts.first().map(text).unwrap_or_default(),
            _ => String::new(),
        };
        if role == "master" {
            return Ok(());
        }
        let (host, port) = self.address.clone();
        Err(ConnectError::Role(host, port, role.into()))
    }
}

/// Text of a reply; empty when it is none.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    }
}
