//! Making a connection: where the primary is, TCP, TLS, who we are, our scripts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Value};
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

/// What the settings are called that decide who lets us in and whom we trust: logs name them.
#[derive(Debug, Clone, Copy)]
struct SettingNames {
    login: &'static str,
    sentinel_login: &'static str,
    trust: &'static str,
    tls: &'static str,
}

const OF_COUNTERS: SettingNames = SettingNames {
    login: "`ratelimit.redis.username` and `ratelimit.redis.password`",
    sentinel_login: "`ratelimit.redis.sentinel.password`",
    trust: "`ratelimit.redis.truststore.path` and `ratelimit.redis.hostnameVerificationAlgorithm`",
    tls: "`ratelimit.redis.ssl`",
};

const OF_A_CACHE: SettingNames = SettingNames {
    login: "`username` and `password` of the resource",
    sentinel_login: "`sentinel.password` of the resource",
    trust: "`ssl.trustAll` of the resource",
    tls: "`useSsl` of the resource",
};

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
    /// It is one node of a cluster: its redirections are followed.
    pub(super) is_cluster_node: bool,
    names: SettingNames,
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
    /// No TLS session because of a setting, which is named.
    #[error("{0}:{1}: TLS: {2}; check {3}")]
    TlsSetting(Box<str>, u16, std::io::Error, &'static str),
    /// The server does not let us in; the settings that say who we are are named.
    #[error("{0}:{1}: {2}; check {3}")]
    Login(Box<str>, u16, RedisError, &'static str),
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
    /// It took too long over TLS, which a server that speaks none does not answer.
    #[error("no connection within {} ms; if the server speaks no TLS, check {setting}", .limit.as_millis())]
    TlsTimeout {
        /// How long it took.
        limit: Duration,
        /// The setting that asks for TLS.
        setting: &'static str,
    },
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
            is_cluster_node: false,
            names: OF_COUNTERS,
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
            is_cluster_node: false,
            names: OF_A_CACHE,
        })
    }

    /// The same cluster, one node of it.
    pub(super) fn node(&self, (host, port): Address) -> Self {
        Self {
            place: Place::Server { host, port },
            is_cluster_node: true,
            ..self.clone()
        }
    }

    /// A connection that can be used, with the names under which the server knows `scripts`.
    pub(super) async fn connect(&self, scripts: &[&str]) -> Result<Session, ConnectError> {
        let work = self.connect_patiently(scripts);
        let connected = tokio::time::timeout(self.connect_timeout, work)
            .await
            .unwrap_or_else(|_| Err(self.too_late()));
        if connected.is_err() {
            // A sentinel that is cut off goes on naming what is no primary any more: another one is asked next.
            self.sentinel.fetch_add(1, Ordering::Relaxed);
        }
        connected
    }

    fn too_late(&self) -> ConnectError {
        match &self.tls {
            Some(_) => ConnectError::TlsTimeout {
                limit: self.connect_timeout,
                setting: self.names.tls,
            },
            None => ConnectError::Timeout(self.connect_timeout),
        }
    }

    async fn connect_patiently(&self, scripts: &[&str]) -> Result<Session, ConnectError> {
        let address = match &self.place {
            Place::Server { host, port } => (host.clone(), *port),
            Place::Sentinel { .. } => self.primary().await?,
            // A cluster is asked node by node.
            Place::Cluster { nodes } => nodes.first().cloned().unwrap_or_else(|| ("".into(), 0)),
        };
        let mut session = self.open_node(address).await?;
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
                let login = Login {
                    username: None,
                    password: password.as_deref(),
                    settings: self.names.sentinel_login,
                };
                let mut session = self.open(node.clone(), login).await?;
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
        let login = Login {
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            settings: self.names.login,
        };
        self.open(address, login).await
    }

    async fn open(&self, (host, port): Address, login: Login<'_>) -> Result<Session, ConnectError> {
        let tcp = TcpStream::connect((&*host, port))
            .await
            .map_err(|error| ConnectError::Tcp(host.clone(), port, error))?;
        let _ = tcp.set_nodelay(true);
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let failed = |error| match self.tls_setting(&error) {
                    Some(setting) => ConnectError::TlsSetting(host.clone(), port, error, setting),
                    None => ConnectError::Tls(host.clone(), port, error),
                };
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
        if let Some(username) = login.username.filter(|_| login.password.is_some()) {
            info = info.set_username(username);
        }
        if let Some(password) = login.password {
            info = info.set_password(password);
        }
        // The limits are ours: see `within`.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_MAX);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| refusal((host.clone(), port), error, login.settings))?;
        Ok(Session {
            address: (host, port),
            login_settings: login.settings,
            connection,
            driver: Driver(tokio::spawn(driver)),
            scripts: Vec::new(),
        })
    }

    /// The setting to look at after such an error, if it is known.
    fn tls_setting(&self, error: &std::io::Error) -> Option<&'static str> {
        match error.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(_) => Some(self.names.trust),
            // It does not speak TLS.
            rustls::Error::InvalidMessage(_) => Some(self.names.tls),
            _ => None,
        }
    }
}

/// Who we are to a server.
struct Login<'a> {
    username: Option<&'a str>,
    password: Option<&'a str>,
    /// What the settings of both are called.
    settings: &'static str,
}

/// Why a server refuses us; `login_settings` are named where it is because of who we are.
fn refusal((host, port): Address, error: RedisError, login_settings: &'static str) -> ConnectError {
    let is_login = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    if is_login {
        return ConnectError::Login(host, port, error, login_settings);
    }
    ConnectError::Server(host, port, error)
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
    /// What the settings are called that say who we are.
    login_settings: &'static str,
}

impl Session {
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Value, ConnectError> {
        let (address, settings) = (self.address.clone(), self.login_settings);
        let failed = |error| refusal(address, error, settings);
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
