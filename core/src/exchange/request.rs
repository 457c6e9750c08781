//! The request of an exchange.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::ssl::Ssl;
use super::{Body, Headers};
use crate::http::{Method, RequestBody, Version, query};

/// Bytes that a query may grow to through policies.
pub const QUERY_BYTES_MAX: usize = 64 * 1_024;

/// A client certificate, as it was presented in the TLS session or in the configured header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, DER; empty when what was presented is none.
    pub der: Box<[u8]>,
}

/// Parameters of flow paths, name and value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathParameterValues(pub Vec<(String, String)>);

impl std::ops::Deref for PathParameterValues {
    type Target = Vec<(String, String)>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for PathParameterValues {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// The request, as policies see and change it. Reused from exchange to exchange.
#[derive(Debug, Default)]
pub struct Request {
    /// Method as received; what is forwarded may be overridden (`request.method` attribute).
    pub method: Method,
    /// HTTP version.
    pub version: Version,
    /// Whether the client speaks TLS.
    pub tls: bool,
    /// `Host`, with a port when one was sent; empty when HTTP/1.0 sent none.
    pub host: String,
    /// A policy replaced `host`: it is forwarded.
    pub host_changed: bool,
    /// Path and query as received.
    pub uri: String,
    /// Normalised path, without query.
    pub path: String,
    /// Context path, ends with `/`.
    pub context_path: String,
    /// Where in `path` the part below the context path begins (`path_info`).
    pub path_info_start: usize,
    /// Query as it will be forwarded: raw, without `?`.
    pub query: String,
    /// Header fields.
    pub headers: Headers,
    /// Body.
    pub body: Body,
    /// How the received body is framed.
    pub framing: RequestBody,
    /// Client address; the first of `X-Forwarded-For` where that is trusted.
    pub remote: String,
    /// Address of the TCP peer.
    pub peer: String,
    /// Address that the client connected to.
    pub local: String,
    /// Request id.
    pub id: String,
    /// Transaction id.
    pub transaction_id: String,
    /// Arrival, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Parameters of flow paths, name and value.
    pub path_parameters: PathParameterValues,
    /// The client's certificate.
    pub certificate: Option<ClientCertificate>,
    /// What expressions see of the certificate, once they asked.
    ssl: OnceCell<Box<Ssl>>,
}

impl Request {
    /// Forgets everything; keeps the memory.
    pub fn clear(&mut self) {
        self.method = Method::default();
        self.version = Version::default();
        self.tls = false;
        for text in [
            &mut self.host,
            &mut self.uri,
            &mut self.path,
            &mut self.context_path,
            &mut self.query,
            &mut self.remote,
            &mut self.peer,
            &mut self.local,
            &mut self.id,
            &mut self.transaction_id,
        ] {
            text.clear();
        }
        self.host_changed = false;
        self.path_info_start = 0;
        self.headers.clear();
        self.body = Body::None;
        self.framing = RequestBody::None;
        self.timestamp_ms = 0;
        self.path_parameters.clear();
        self.certificate = None;
        self.ssl.take();
    }

    /// What expressions see of the client's certificate.
    pub(super) fn ssl(&self) -> &Ssl {
        self.ssl.get_or_init(|| {
            let der = self
                .certificate
                .as_ref()
                .map(|certificate| &*certificate.der);
            Box::new(Ssl::of(&self.remote, der))
        })
    }

    /// The path below the context path: empty, or beginning with `/`.
    pub fn path_info(&self) -> &str {
        self.path.get(self.path_info_start..).unwrap_or_default()
    }

    /// The raw value of the first query parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        query::value(self.query.as_bytes(), name.as_bytes())
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every query parameter, decoded: name and value, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        query::parameters(self.query.as_bytes()).map(|parameter| {
            let name = query::name(parameter);
            let value = parameter.get(name.len() + 1..).unwrap_or_default();
            (query::decode(name), query::decode(value))
        })
    }

    /// Removes every occurrence of a query parameter, by its raw name.
    pub fn remove_parameter(&mut self, name: &str) {
        let kept: Vec<&[u8]> = query::parameters(self.query.as_bytes())
            .filter(|parameter| query::name(parameter) != name.as_bytes())
            .collect();
        let joined = kept.join(&b'&');
        self.query = String::from_utf8(joined).unwrap_or_default();
    }

    /// Adds a query parameter behind the others; name and value are written as they are. False when the query would grow too large.
    pub fn add_parameter(&mut self, name: &str, value: &str) -> bool {
        if self.query.len() + name.len() + value.len() + 2 > QUERY_BYTES_MAX {
            return false;
        }
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(name);
        self.query.push('=');
        self.query.push_str(value);
        true
    }

    /// Replaces every occurrence of a query parameter by one, where the first was; name and value are written as they are. False when the
    /// query would grow too large.
    pub fn set_parameter(&mut self, name: &str, value: &str) -> bool {
        let is_it = |parameter: &[u8]| query::name(parameter) == name.as_bytes();
        if !query::parameters(self.query.as_bytes()).any(is_it) {
            return self.add_parameter(name, value);
        }
        if self.query.len() + name.len() + value.len() + 2 > QUERY_BYTES_MAX {
            return false;
        }
        let written = [name, "=", value].concat();
        let mut replaced = false;
        let kept: Vec<&[u8]> = query::parameters(self.query.as_bytes())
            .filter_map(|parameter| {
                if !is_it(parameter) {
                    return Some(parameter);
                }
                (!std::mem::replace(&mut replaced, true)).then_some(written.as_bytes())
            })
            .collect();
        self.query = String::from_utf8(kept.join(&b'&')).unwrap_or_default();
        true
    }
}
