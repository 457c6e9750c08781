//! Turnpike's settings: what `gravitee.yml`, `gravitee_*` variables and arguments say, resolved into one typed [`Config`].
//!
//! # The nouns
//! - `raw`: exactly what was written, each value with its [`Origin`] (file line, variable, argument, default);
//! - `schema`: the one table of keys, which unknown keys, the reference file and masking come from;
//! - [`Config`]: typed, defaulted, checked; the only form that leaves this crate, by [`Config::load`];
//! - [`Diagnostic`]: one problem with its place, a snippet and a hint;
//! - [`Secret`]: a value that never prints;
//! - [`cpu::CpuPlan`]: how many workers there are and on which CPUs.
//!
//! # What deliberately does not live here
//! Anything that opens a connection, and the Cloud Token's meaning (that is `turnpike-control`).
//! Contract: operations section 1.
#![forbid(unsafe_code)]

pub mod cpu;
mod diagnostic;
mod load;
mod locate;
mod ratelimit;
mod raw;
mod reference;
mod resolve;
mod schema;
mod secret;
mod settings;

pub use diagnostic::{Cover, Diagnostic, Origin, Place, Severity, SourceFile};
pub use load::{LoadError, LoadOptions, Loaded};
pub use locate::locate;
pub use ratelimit::{LeaseConfig, RatelimitConfig, RedisConfig, RedisPlaceConfig, RedisTlsConfig};
pub use reference::reference;
pub use secret::Secret;
pub use settings::*;
