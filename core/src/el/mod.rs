//! The expression language: templates compiled once at deployment, evaluated on values that an exchange lends (contract
//! expression-language).
//!
//! A configured text is a [`Template`]: literal text mixed with expressions. It sees the world through a [`Scope`] of variables;
//! what a variable holds is a [`Value`], and anything with properties of its own is an [`Object`] or a [`Lookup`]. Nothing is
//! reflective: a property or method that is not listed does not exist.

mod arithmetic;
mod ast;
mod compare;
mod constant;
mod convert;
mod decimal;
mod error;
mod eval;
mod format;
mod functions;
mod json;
mod json_path;
mod lexer;
mod limits;
mod maps;
mod methods;
mod native;
mod number;
mod parse;
mod pattern;
mod statics;
mod template;
mod temporal;
mod value;
mod xpath;

#[cfg(test)]
mod tests;

pub use decimal::Decimal;
pub use error::{ElError, ElErrorKind};
pub use json::{json_content, json_to_value};
pub use limits::Limits;
pub use native::Native;
pub use template::{Needs, Template};
pub use temporal::DateTime;
pub use value::{Lookup, Map, MultiLookup, Object, Value};

/// Variables by name, such as `request` or `context`.
pub trait Scope {
    /// The variable's value; [`Value::Null`] when there is none of this name.
    fn variable(&self, name: &str) -> Value<'_>;

    /// The time, Unix milliseconds.
    fn now_ms(&self) -> u64 {
        0
    }

    /// Random bits, new ones each time.
    fn random(&self) -> u64 {
        0
    }
}

/// A scope with a few more variables in front of another one, such as `error` in a response template.
pub struct Overlay<'a> {
    /// Asked second.
    pub base: &'a dyn Scope,
    /// Asked first.
    pub extra: &'a [(&'a str, Value<'a>)],
}

impl Scope for Overlay<'_> {
    fn variable(&self, name: &str) -> Value<'_> {
        match self.extra.iter().find(|(extra, _)| *extra == name) {
            Some((_, value)) => value.clone(),
            None => self.base.variable(name),
        }
    }

    fn now_ms(&self) -> u64 {
        self.base.now_ms()
    }

    fn random(&self) -> u64 {
        self.base.random()
    }
}
