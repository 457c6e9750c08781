//! What a policy may wait for, and how the wait ends. Core only names the need; a worker or the control thread meets it.
//!
//! A worker meets bodies and pauses itself. Everything else is an [`Errand`]: it travels to the control thread over a [`link`], is met
//! there, and its [`Answer`] travels back. Every errand has an end: an answer, a failure, or its time limit.

pub mod documents;
pub mod link;

use std::borrow::Cow;
use std::sync::Arc;

use crate::quota::{CountError, CountRequest, Rate, TokenBucketRequest, Tokens};

/// What a policy waits for.
#[derive(Debug)]
pub enum Need {
    /// The request body in memory: [`crate::exchange::Body::Buffered`] when the policy is resumed.
    RequestBody,
    /// The response body in memory. Only after the backend answered.
    ResponseBody,
    /// The response body in memory, if it is not larger than this and no larger than policies may have it. A larger one goes on streaming to
    /// the client, and the answer is [`Answer::Done`] all the same. Only after the backend answered.
    SmallResponseBody {
        /// Bytes of the body.
        bytes_max: usize,
    },
    /// A pause, milliseconds.
    Pause(u64),
    /// Something that the control thread does.
    Errand(Box<Errand>),
}

/// Something that the control thread does for a worker.
#[derive(Debug, Clone)]
pub enum Errand {
    /// Count against a limit in the store that gateways share.
    Count(CountRequest),
    /// Take a token from a bucket in that store.
    TakeToken(TokenBucketRequest),
    /// Call an HTTP server.
    Http(Box<HttpCall>),
    /// Read an entry of a shared cache.
    CacheGet {
        /// The cache.
        cache: Arc<RemoteCache>,
        /// Key of the entry, without the cache's own prefix.
        key: Box<str>,
    },
    /// Write an entry of a shared cache. Answered with [`Answer::Done`].
    CachePut {
        /// The cache.
        cache: Arc<RemoteCache>,
        /// Key of the entry, without the cache's own prefix.
        key: Box<str>,
        /// Its value.
        value: Arc<[u8]>,
        /// Its life, milliseconds; 0 lives on.
        ttl_ms: u64,
    },
    /// Remove an entry of a shared cache. Answered with [`Answer::Done`].
    CacheEvict {
        /// The cache.
        cache: Arc<RemoteCache>,
        /// Key of the entry, without the cache's own prefix.
        key: Box<str>,
    },
    /// Look up the addresses of a host name. Answered with [`Answer::Addresses`].
    Resolve {
        /// Host name.
        host: Box<str>,
    },
    /// Fetch or refresh a document that many exchanges share (JWKS, revocation list). Errands for one document are met by one fetch; the
    /// document keeps the result, and every errand is answered with [`Answer::Done`].
    Refresh(Arc<SharedDocument>),
}

/// How an errand ended.
#[derive(Debug)]
pub enum Answer {
    /// It is done; there is nothing to say.
    Done,
    /// The counter, or why it could not be asked.
    Count(Result<Rate, CountError>),
    /// The bucket, or why it could not be asked.
    Tokens(Result<Tokens, CountError>),
    /// The HTTP response, or why there is none.
    Http(Result<Box<HttpReply>, HttpError>),
    /// The entry of the cache; `None` also when the cache could not be asked.
    Cache(Option<Vec<u8>>),
    /// The addresses; none when the name is unknown or could not be looked up.
    Addresses(Vec<std::net::IpAddr>),
    /// The body is too large to be kept in memory: the limit in bytes.
    TooLarge(u64),
    /// The errand could not be taken: the queue is full, or the control thread has ended.
    Refused,
}

/// A call of an HTTP server.
#[derive(Clone)]
pub struct HttpCall {
    /// Method.
    pub method: Box<str>,
    /// Absolute URL, `http` or `https`.
    pub url: Box<str>,
    /// Header fields, in order.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// Body; empty sends none.
    pub body: Vec<u8>,
    /// Options of the client.
    pub options: Arc<HttpOptions>,
}

/// Options of a client that policies and resources call HTTP servers with. Calls with equal options share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpOptions {
    /// Limit for connecting, milliseconds.
    pub connect_timeout_ms: u64,
    /// Limit for the whole call, milliseconds.
    pub timeout_ms: u64,
    /// Bytes of a response body at most.
    pub body_bytes_max: usize,
    /// Follow redirects.
    pub follow_redirects: bool,
    /// Use the gateway's own proxy settings (`system.proxy`).
    pub system_proxy: bool,
    /// Trust every certificate: the reference's default for policies (contract policies 15.2).
    pub trust_all: bool,
    /// Certificates to trust instead of the system's, PEM.
    pub trust_pem: Option<Box<str>>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 10_000,
            timeout_ms: 30_000,
            body_bytes_max: 5 << 20,
            follow_redirects: false,
            system_proxy: false,
            trust_all: true,
            trust_pem: None,
        }
    }
}

/// A response of an HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// Status.
    pub status: u16,
    /// Header fields, in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// Why a call has no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be called.
    #[error("the URL cannot be called: {0}")]
    Url(String),
    /// No connection.
    #[error("{0}")]
    Connect(String),
    /// The time limit passed.
    #[error("the call took longer than {0} ms")]
    Timeout(u64),
    /// The body is larger than the limit, bytes.
    #[error("the response body is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection failed in the middle.
    #[error("{0}")]
    Broken(String),
}

/// A cache in Redis (resource `cache-redis`, contract policies 8.3). The control thread keeps one connection per distinct value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RemoteCache {
    /// Where the Redis is.
    pub place: RedisPlace,
    /// Password of the data nodes.
    pub password: Option<Box<str>>,
    /// User of the data nodes.
    pub username: Option<Box<str>>,
    /// Speak TLS.
    pub tls: bool,
    /// Trust every certificate.
    pub trust_all: bool,
    /// Limit for one command, milliseconds.
    pub timeout_ms: u64,
}

/// Where a Redis is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum RedisPlace {
    /// One server.
    Standalone {
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
        /// Password of the sentinels.
        password: Option<Box<str>>,
    },
    /// A cluster.
    Cluster {
        /// Some of its nodes.
        nodes: Vec<(Box<str>, u16)>,
    },
}

// URLs, fields and bodies carry credentials: only what cannot is shown.
impl std::fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpCall")
            .field("method", &self.method)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RemoteCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteCache")
            .field("place", &self.place)
            .field("tls", &self.tls)
            .field("timeout_ms", &self.timeout_ms)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RedisPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Standalone { host, port } => write!(f, "{host}:{port}"),
            Self::Sentinel { master, nodes, .. } => write!(f, "{master} of sentinels {nodes:?}"),
            Self::Cluster { nodes } => write!(f, "cluster {nodes:?}"),
        }
    }
}

/// A document fetched over HTTP and shared by every exchange of the process, such as a key set. Fetched by the control thread, read by
/// workers without waiting.
#[derive(Debug)]
pub struct SharedDocument {
    /// How it is fetched.
    pub call: HttpCall,
    /// The last good answer: when it came (Unix milliseconds) and what it held, parsed by its owner.
    pub content: arc_swap::ArcSwapOption<DocumentContent>,
    /// Turns a response into what is kept; runs on the control thread.
    pub parse: fn(&HttpReply) -> Result<Arc<dyn std::any::Any + Send + Sync>, String>,
    /// When the last attempt ended without a good answer, Unix milliseconds; 0 when the last one was good.
    pub failed_at_ms: std::sync::atomic::AtomicU64,
    /// A fetch was asked for and has not ended: nobody needs to ask again, unless it wants to wait.
    pub asked: std::sync::atomic::AtomicBool,
}

/// Content of a [`SharedDocument`].
#[derive(Debug)]
pub struct DocumentContent {
    /// When it was fetched, Unix milliseconds.
    pub fetched_at_ms: u64,
    /// What the document's `parse` made of it.
    pub parsed: Arc<dyn std::any::Any + Send + Sync>,
}
