//! The part of the template language FreeMarker that bodies are written in (contract policies 13, `policy-assign-content`).
//!
//! Interpolations, `<#if>`, `<#list>` (with `<#else>`, `<#sep>`, `<#break>`, `<#continue>`), `<#assign>`, `<#noparse>`, comments, literals,
//! operators, and the built-ins of `builtins.rs`. Everything else is refused when a template is compiled, and named: macros, functions,
//! includes, `?new`, `?api`, dates. Numbers are decimal, and are printed as in English.
//!
//! A rendering is bounded: steps, bytes of output, bytes of text made on the way.

mod ast;
mod builtins;
mod decimal;
mod eval;
mod expression;
mod functions;
mod parse;
mod value;

use std::fmt;
use std::rc::Rc;

use crate::el::{Object, Value};
use value::Item;

/// Bytes that a template may have.
pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;
/// Bytes that a rendering may make.
pub const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Steps that a rendering may take.
const STEPS_MAX: u64 = 2_000_000;
/// Bytes of text that a rendering may make on the way.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Why a text is no template, or one that is not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SyntaxError {
    /// Line of the template, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Why a template could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A value is missing, and the template does not say what then.
    #[error("{0} has no value")]
    Missing(String),
    /// A value does not fit.
    #[error("{0}")]
    Value(String),
    /// A limit was exceeded.
    #[error("the template takes more than its share of {0}")]
    Limit(&'static str),
}

/// A compiled template.
#[derive(Clone)]
pub struct Template {
    nodes: Vec<ast::Node>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").finish_non_exhaustive()
    }
}

/// What a template sees.
#[derive(Debug, Default)]
pub struct Model<'a> {
    roots: Vec<(&'static str, Item<'a>)>,
}

impl<'a> Model<'a> {
    /// Adds an object with some more properties; what has no value is left out.
    pub fn object(
        &mut self,
        name: &'static str,
        object: &'a dyn Object,
        more: Vec<(&'static str, Value<'a>)>,
    ) {
        let more = more
            .into_iter()
            .filter_map(|(name, value)| Some((name, Item::from_value(value)?)))
            .collect();
        self.roots.push((name, Item::Object(object, Rc::new(more))));
    }
}

impl Template {
    /// Compiles a template.
    pub fn new(source: &str) -> Result<Self, SyntaxError> {
        Ok(Self {
            nodes: parse::parse(source)?,
        })
    }

    /// Renders it.
    pub fn render(&self, model: &Model<'_>) -> Result<String, RenderError> {
        eval::render(&self.nodes, model)
    }
}

#[cfg(test)]
mod tests;
