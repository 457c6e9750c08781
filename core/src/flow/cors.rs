//! CORS (contract request-lifecycle 10).

use regex::Regex;

use crate::exchange::Exchange;

/// CORS of an API.
#[derive(Debug, Default)]
pub struct Cors {
    /// Allowed origins, as written; `*` allows any.
    pub origins: Box<[Box<str>]>,
    /// Allowed origins that are regular expressions.
    pub origin_patterns: Box<[Regex]>,
    /// Allowed methods, as written.
    pub methods: Box<[Box<str>]>,
    /// Allowed request headers, as written.
    pub headers: Box<[Box<str>]>,
    /// Response headers that scripts may read.
    pub expose_headers: Box<[Box<str>]>,
    /// Send `Access-Control-Allow-Credentials: true`.
    pub credentials: bool,
    /// Seconds that a preflight answer may be kept; `None` says nothing.
    pub max_age_s: Option<i64>,
    /// Run the policies of a preflight.
    pub run_policies: bool,
    /// Allow requests from public to private networks.
    pub private_network: bool,
}

/// What a preflight leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preflight {
    /// It is no preflight.
    Ordinary,
    /// It is answered at once.
    Answered,
    /// The policies run without security, and the backend is replaced by an empty 200.
    RunPolicies,
    /// It is not allowed.
    Refused,
}

impl Cors {
    /// Judges a preflight and writes its response fields.
    pub(super) fn preflight(&self, exchange: &mut Exchange<'_>) -> Preflight {
        let _ = exchange;
        Preflight::Ordinary
    }

    /// Writes the fields of an ordinary response.
    pub(super) fn simple(&self, exchange: &mut Exchange<'_>) {
        let _ = exchange;
    }
}
