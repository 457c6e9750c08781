//! Settings from the outside: [`turnpike_config::Config::load`] and what it says.

mod diagnostics;
mod properties;
mod reference;
mod settings;
mod sources;
mod support;
