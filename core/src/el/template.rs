//! Templates: literal text mixed with expressions (contract expression-language 1).

use std::borrow::Cow;
use std::sync::Arc;

use super::ast::Expr;
use super::eval::Evaluation;
use super::limits::Limits;
use super::{ElError, Scope, Value, parse};

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

/// A compiled template. Cheap to clone: the compiled form is shared.
#[derive(Debug, Clone)]
pub struct Template(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: Box<str>,
    form: Form,
    needs: Needs,
    limits: Limits,
}

#[derive(Debug)]
enum Form {
    /// No expression.
    Literal,
    /// One expression and nothing else: its result has a type.
    Single(Expr),
    /// The result is text.
    Mixed(Vec<Segment>),
    /// Does not parse.
    Broken(ElError),
}

#[derive(Debug)]
enum Segment {
    Literal(Box<str>),
    Expr(Expr),
}

impl Template {
    /// Compiles `source`. A text that does not parse is kept with its error, which every evaluation then returns: the reference
    /// deploys such an API and answers its requests with 500 (contract expression-language 7).
    pub fn new(source: &str) -> Self {
        Self::with_limits(source, Limits::in_force())
    }

    /// As [`Template::new`], with other bounds.
    pub fn with_limits(source: &str, limits: &Limits) -> Self {
        let form = match segments(source, limits) {
            Err(error) => Form::Broken(error),
            Ok(mut segments) => match segments.pop() {
                None => Form::Literal,
                Some(Segment::Literal(_)) if segments.is_empty() => Form::Literal,
                Some(Segment::Expr(expr)) if segments.is_empty() => Form::Single(expr),
                Some(last) => {
                    segments.push(last);
                    Form::Mixed(segments)
                }
            },
        };
        let mut needs = Needs::default();
        let mut note = |variable: &str, properties: &mut dyn Iterator<Item = &str>| {
            let body = matches!(
                properties.next(),
                Some("content" | "jsonContent" | "xmlContent")
            );
            needs.request_body |= body && variable == "request";
            needs.response_body |= body && variable == "response";
        };
        match &form {
            Form::Single(expr) => expr.chains(&mut note),
            Form::Mixed(segments) => {
                for segment in segments {
                    if let Segment::Expr(expr) = segment {
                        expr.chains(&mut note);
                    }
                }
            }
            Form::Literal | Form::Broken(_) => {}
        }
        Self(Arc::new(Compiled {
            source: source.into(),
            form,
            needs,
            limits: limits.clone(),
        }))
    }

    /// The text that was compiled.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Why the text does not parse.
    pub fn syntax_error(&self) -> Option<&ElError> {
        match &self.0.form {
            Form::Broken(error) => Some(error),
            _ => None,
        }
    }

    /// The text itself, when it holds no expression.
    pub fn literal(&self) -> Option<&str> {
        matches!(self.0.form, Form::Literal).then_some(&self.0.source)
    }

    /// The bodies that must be buffered before it is evaluated.
    pub fn needs(&self) -> Needs {
        self.0.needs
    }

    /// Evaluates to a value of whatever type results.
    pub fn eval<'a>(&'a self, scope: &'a dyn Scope) -> Result<Value<'a>, ElError> {
        match &self.0.form {
            Form::Literal => Ok(Value::text(&self.0.source)),
            Form::Single(Expr::Text(text)) => Ok(Value::text(text)),
            Form::Single(expr) => Evaluation::new(scope, &self.0.limits).eval(expr),
            Form::Mixed(segments) => {
                let mut evaluation = Evaluation::new(scope, &self.0.limits);
                let mut result = String::new();
                for segment in segments {
                    match segment {
                        Segment::Literal(text) => result.push_str(text),
                        Segment::Expr(expr) => {
                            if let Some(text) = evaluation.eval(expr)?.into_text()? {
                                evaluation.budget.take(text.len())?;
                                result.push_str(&text);
                            }
                        }
                    }
                }
                Ok(Value::Text(Cow::Owned(result)))
            }
            Form::Broken(error) => Err(error.clone()),
        }
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

/// Splits a template and parses its expressions.
fn segments(source: &str, limits: &Limits) -> Result<Vec<Segment>, ElError> {
    let text = rewrite(source);
    let mut segments = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("{#") {
        if found > 0 {
            segments.push(Segment::Literal(text[at..at + found].into()));
        }
        let start = at + found + 2;
        let end = end_of_expression(&text, start)?;
        let expression = text[start..end].trim_matches(|char| char <= ' ');
        if expression.is_empty() {
            return Err(ElError::parse("an expression is empty"));
        }
        segments.push(Segment::Expr(parse::parse(expression, limits)?));
        at = end + 1;
    }
    if at < text.len() {
        segments.push(Segment::Literal(text[at..].into()));
    }
    Ok(segments)
}

/// Puts `{#` in front of what looks like an expression: a brace, spaces, one of `#`, `T` and `(`, and text up to the brace that
/// closes it, with one level of braces in between. Anything else stays as it is.
fn rewrite(source: &str) -> Cow<'_, str> {
    let bytes = source.as_bytes();
    let mut result: Option<String> = None;
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'{', &bytes[at..]) {
        let open = at + found;
        let mut first = open + 1;
        while bytes.get(first) == Some(&b' ') {
            first += 1;
        }
        let end = match bytes.get(first) {
            Some(b'#' | b'T' | b'(') => balanced_end(bytes, first + 1),
            _ => None,
        };
        let Some(end) = end else {
            // The spaces cannot begin another match.
            at = open + 1;
            continue;
        };
        let result = result.get_or_insert_default();
        result.push_str(&source[copied..open]);
        result.push_str("{#");
        result.push_str(&source[first..end]);
        copied = end;
        at = end;
    }
    match result {
        None => Cow::Borrowed(source),
        Some(mut result) => {
            result.push_str(&source[copied..]);
            Cow::Owned(result)
        }
    }
}

/// Where the expression that goes on at `at` ends, behind its closing brace.
fn balanced_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'{', b'}', bytes.get(at..)?)?;
        if bytes[at] == b'}' {
            return Some(at + 1);
        }
        at += 1;
        at += memchr::memchr2(b'{', b'}', bytes.get(at..)?)?;
        if bytes[at] == b'{' {
            return None;
        }
        at += 1;
    }
}

/// Where the closing brace of the expression that begins at `start` is. Brackets nest, and quoted text is passed over.
fn end_of_expression(text: &str, start: usize) -> Result<usize, ElError> {
    let bytes = text.as_bytes();
    let mut open = Vec::new();
    let mut at = start;
    if memchr::memchr(b'}', &bytes[start..]).is_none() {
        return Err(ElError::parse("an expression has no closing brace"));
    }
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'}' if open.is_empty() => return Ok(at),
            b'{' | b'[' | b'(' => open.push(byte),
            b'}' | b']' | b')' => {
                let expected = match byte {
                    b'}' => b'{',
                    b']' => b'[',
                    _ => b'(',
                };
                if open.pop() != Some(expected) {
                    return Err(ElError::parse("brackets do not match"));
                }
            }
            b'\'' | b'"' => {
                at += 1;
                match memchr::memchr(byte, &bytes[at..]) {
                    Some(end) => at += end,
                    None => return Err(ElError::parse("a text has no closing quote")),
                }
            }
            _ => {}
        }
        at += 1;
    }
    Err(ElError::parse("an expression has no closing brace"))
}
