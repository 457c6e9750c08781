//! What a template is compiled to.

use std::rc::Rc;
use std::sync::Arc;

use super::builtins::BuiltIn;
use super::decimal::Decimal;

/// A piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(Box<str>),
    Output(Expr),
    /// Branches in order; the one without condition is the last.
    If(Vec<(Option<Expr>, Vec<Self>)>),
    List(Box<List>),
    /// Between two turns of the innermost loop.
    Separator(Vec<Self>),
    Assign(Arc<str>, Expr),
    /// `<#assign name>…</#assign>`
    Capture(Arc<str>, Vec<Self>),
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(super) struct List {
    pub(super) source: Expr,
    pub(super) first: Arc<str>,
    /// The name of the value where keys and values are listed.
    pub(super) second: Option<Arc<str>>,
    pub(super) body: Vec<Node>,
    /// When there is nothing to list.
    pub(super) otherwise: Vec<Node>,
}

#[derive(Debug, Clone)]
pub(super) enum Expr {
    Text(Arc<str>),
    /// Text with interpolations inside.
    Joined(Vec<Self>),
    Number(Decimal),
    Bool(bool),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Range(Box<Self>, Option<Box<Self>>, RangeEnd),
    Variable(Arc<str>),
    Dot(Box<Self>, Arc<str>),
    Index(Box<Self>, Box<Self>),
    Call(Box<Self>, Method, Vec<Self>),
    BuiltIn(Box<Self>, BuiltIn, Vec<Self>),
    Default(Box<Self>, Option<Box<Self>>),
    Exists(Box<Self>),
    Paren(Box<Self>),
    Not(Box<Self>),
    Negate(Box<Self>),
    Binary(Operator, Box<Self>, Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeEnd {
    Inclusive,
    Exclusive,
    /// `..*`: how many there are.
    Length,
}

/// Methods of headers and maps that may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    GetFirst,
    GetAll,
    ContainsKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// Text shared inside one rendering.
pub(super) type Text = Rc<str>;
