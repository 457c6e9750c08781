//! Settings from the outside: [`turnpike_config::Config::load`] and what it says.

mod diagnostics;
mod properties;
mod ratelimit;
mod reference;
mod settings;
mod sources;
mod support;
