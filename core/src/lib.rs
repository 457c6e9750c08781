//! Turnpike's data plane as pure logic: bytes and `now` come in, decisions go out.
//!
//! # What lives here
//! - [`http`]: request and response heads parsed in place, framing rules, the chunked codec, paths and queries;
//! - [`route`]: host and context path to [`definition::Api`], at a cost that does not grow with the number of APIs;
//! - [`definition`]: the compiled form of an API (listeners, plans, endpoint groups), never its JSON;
//! - [`security`]: plan selection and API-key decisions on values that are handed in;
//! - [`error`]: error keys, their status, and how a failure is rendered;
//! - [`exchange`], [`flow`], [`policy`]: a request and its response, the flows that run over them, and the policies in them;
//! - [`el`]: the expression language of conditions and templates;
//! - [`redirect`]: which redirects are followed, where to, and what stays behind;
//! - [`need`]: what a policy may wait for, and the road to the control thread that meets it;
//! - `calendar`: dates without a clock;
//! - `java_regex`: regular expressions in Java's flavour, within bounds;
//! - [`quota`]: counting against limits;
//! - [`report`]: one record per request, and the bounded ring that takes it to the control thread;
//! - [`snapshot`]: the immutable state that workers read, and the cell through which it is swapped.
//!
//! # What deliberately does not live here
//! Sockets, files, clocks, environment variables, runtimes, TLS. Time and randomness enter only as arguments.
#![forbid(unsafe_code)]

mod calendar;
pub mod definition;
pub mod el;
pub mod error;
pub mod exchange;
pub mod flow;
pub mod http;
pub mod ident;
mod java_regex;
pub mod lifecycle;
pub mod need;
pub mod policy;
pub mod quota;
pub mod redirect;
pub mod report;
pub mod route;
pub mod security;
pub mod snapshot;
pub mod stats;
