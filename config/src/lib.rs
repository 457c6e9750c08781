//! Turnpike's settings: what `gravitee.yml`, `gravitee_*` variables and arguments say, resolved into one typed [`Config`].
//!
//! # The nouns
//! - `raw`: exactly what was written, each value with its [`Origin`] (file line, variable, argument, default);
//! - [`Config`]: typed, defaulted, checked; the only form that leaves this crate;
//! - [`Diagnostic`]: one problem with its place, a snippet and a hint;
//! - [`Secret`]: a value that never prints;
//! - [`cpu::CpuPlan`]: how many workers there are and on which CPUs.
//!
//! # What deliberately does not live here
//! Anything that opens a connection, and the Cloud Token's meaning (that is `turnpike-control`).
//! Contract: operations section 1.
#![forbid(unsafe_code)]

pub mod cpu;
mod secret;
mod settings;

pub use secret::Secret;
pub use settings::*;
