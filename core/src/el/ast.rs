//! What an expression is compiled to.

use std::sync::Arc;

use super::constant::Constant;
use super::json_path::JsonPath;
use super::pattern::Pattern;

/// An expression. Chains of operators and steps are flat, so that only nesting makes a tree deep.
#[derive(Debug)]
pub(super) enum Expr {
    /// Constant text, lent to every result.
    Text(Box<str>),
    /// Any other constant.
    Const(Constant),
    /// `#name`.
    Variable(Box<str>),
    /// The element of a selection or projection; null at the top.
    This,
    /// `#name(…)`.
    Function(Box<Function>),
    /// `T(…)`.
    Type(Box<str>),
    /// `new …(…)`.
    New(Box<str>, Vec<Self>),
    /// `{1, 2}`.
    List(Vec<Self>),
    /// `{k: v}`.
    Map(Vec<(Self, Self)>),
    /// A start and what is applied to it, one after the other.
    Steps(Box<Self>, Vec<Step>),
    /// Operators of one level, from left to right.
    Chain(Box<Self>, Vec<(Arithmetic, Self)>),
    /// `a ^ b`.
    Power(Box<(Self, Self)>),
    /// `-a`.
    Negate(Box<Self>),
    /// `+a`.
    Plus(Box<Self>),
    /// `!a`.
    Not(Box<Self>),
    /// `a and b and c`.
    And(Vec<Self>),
    /// `a or b or c`.
    Or(Vec<Self>),
    /// `a == b` and its like.
    Compare(Comparison, Box<(Self, Self)>),
    /// `a matches b`.
    Matches(Box<(Self, Self)>, Option<Arc<Pattern>>),
    /// `a between {b, c}`.
    Between(Box<(Self, Self)>),
    /// `a instanceof T(b)`.
    InstanceOf(Box<(Self, Self)>),
    /// `a ? b : c`.
    Ternary(Box<(Self, Self, Self)>),
    /// `a ?: b`.
    Elvis(Box<(Self, Self)>),
    /// What always fails: assignments and references to beans.
    Refused(&'static str),
}

/// `#name(…)`.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: Box<str>,
    pub(super) arguments: Vec<Expr>,
    /// The path of `#jsonPath`, when it is constant and right.
    pub(super) path: Option<JsonPath>,
}

/// What is applied to a value.
#[derive(Debug)]
pub(super) struct Step {
    /// Null gives null instead of an error.
    pub(super) safe: bool,
    pub(super) action: Action,
}

/// Kinds of steps.
#[derive(Debug)]
pub(super) enum Action {
    /// `.name`
    Property(Box<str>),
    /// `.name(…)`; the pattern when it is the first argument and constant.
    Method(Box<str>, Vec<Expr>, Option<Arc<Pattern>>),
    /// `[…]`; the name when the index is a bare one.
    Index(Expr, Option<Box<str>>),
    /// `.?[…]`
    Select(Pick, Expr),
    /// `.![…]`
    Project(Expr),
}

/// Which elements a selection keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    All,
    First,
    Last,
}

/// Arithmetic operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Expr {
    /// Calls `visit` for every chain of variable and properties, such as `request.headers`.
    pub(super) fn chains<'e>(
        &'e self,
        visit: &mut dyn FnMut(&'e str, &mut dyn Iterator<Item = &'e str>),
    ) {
        match self {
            Self::Text(_) | Self::Const(_) | Self::This | Self::Type(_) | Self::Refused(_) => {}
            Self::Variable(name) => visit(name, &mut std::iter::empty()),
            Self::Function(function) => each(&function.arguments, visit),
            Self::New(_, arguments)
            | Self::List(arguments)
            | Self::And(arguments)
            | Self::Or(arguments) => {
                each(arguments, visit);
            }
            Self::Map(entries) => {
                for (key, value) in entries {
                    key.chains(visit);
                    value.chains(visit);
                }
            }
            Self::Steps(start, steps) => {
                if let Self::Variable(name) = &**start {
                    visit(
                        name,
                        &mut steps.iter().map_while(|step| match &step.action {
                            Action::Property(name) => Some(&**name),
                            _ => None,
                        }),
                    );
                } else {
                    start.chains(visit);
                }
                for step in steps {
                    match &step.action {
                        Action::Property(_) => {}
                        Action::Method(_, arguments, _) => each(arguments, visit),
                        Action::Index(inner, _)
                        | Action::Select(_, inner)
                        | Action::Project(inner) => {
                            inner.chains(visit);
                        }
                    }
                }
            }
            Self::Chain(first, rest) => {
                first.chains(visit);
                for (_, expr) in rest {
                    expr.chains(visit);
                }
            }
            Self::Negate(inner) | Self::Plus(inner) | Self::Not(inner) => inner.chains(visit),
            Self::Power(pair)
            | Self::Compare(_, pair)
            | Self::Matches(pair, _)
            | Self::Between(pair)
            | Self::InstanceOf(pair)
            | Self::Elvis(pair) => {
                pair.0.chains(visit);
                pair.1.chains(visit);
            }
            Self::Ternary(parts) => {
                parts.0.chains(visit);
                parts.1.chains(visit);
                parts.2.chains(visit);
            }
        }
    }
}

fn each<'e>(exprs: &'e [Expr], visit: &mut dyn FnMut(&'e str, &mut dyn Iterator<Item = &'e str>)) {
    for expr in exprs {
        expr.chains(visit);
    }
}
