//! From tokens to a tree (contract expression-language 2).

use std::sync::Arc;

use super::ast::{Action, Arithmetic, Comparison, Expr, Function, Pick, Step};
use super::constant::Constant;
use super::json_path::JsonPath;
use super::lexer::{Token, tokens};
use super::limits::Limits;
use super::pattern::Pattern;
use super::{ElError, eval};
use crate::java_regex::Extent;

/// Parses one expression.
pub(super) fn parse(text: &str, limits: &Limits) -> Result<Expr, ElError> {
    if text.len() > limits.expression_chars && text.encode_utf16().count() > limits.expression_chars
    {
        return Err(ElError::parse("the expression is too long"));
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
        limits,
    };
    let expr = parser.expression()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(ElError::parse(
            "there is more behind the end of the expression",
        )),
    }
}

struct Parser<'l> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    limits: &'l Limits,
}

fn ends_early() -> ElError {
    ElError::parse("the expression ends early or an operand is missing")
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn peek_is(&self, token: &Token) -> bool {
        self.peek() == Some(token)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek_is(token);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token) -> Result<(), ElError> {
        if self.take(token) {
            Ok(())
        } else {
            Err(ElError::parse("a bracket, comma or colon is missing"))
        }
    }

    fn peek_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(name)) if name.eq_ignore_ascii_case(word))
    }

    fn name(&mut self) -> Result<Box<str>, ElError> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(ElError::parse("a name is missing")),
        }
    }

    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ElError>,
    ) -> Result<T, ElError> {
        self.depth += 1;
        if self.depth > self.limits.depth {
            return Err(ElError::parse("the expression is nested too deeply"));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn expression(&mut self) -> Result<Expr, ElError> {
        self.deeper(|parser| {
            let left = parser.or()?;
            if parser.take(&Token::Assign) {
                parser.or()?;
                return Ok(Expr::Refused("assignments are not allowed"));
            }
            if parser.take(&Token::Elvis) {
                let right = parser.expression()?;
                return Ok(fold(Expr::Elvis(Box::new((left, right)))));
            }
            if parser.take(&Token::Question) {
                let yes = parser.expression()?;
                parser.expect(&Token::Colon)?;
                let no = parser.expression()?;
                return Ok(fold(Expr::Ternary(Box::new((left, yes, no)))));
            }
            Ok(left)
        })
    }

    fn or(&mut self) -> Result<Expr, ElError> {
        let mut operands = vec![self.and()?];
        while self.peek_is(&Token::Or) || self.peek_word("or") {
            self.at += 1;
            operands.push(self.and()?);
        }
        Ok(single(operands, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr, ElError> {
        let mut operands = vec![self.relation()?];
        while self.peek_is(&Token::And) || self.peek_word("and") {
            self.at += 1;
            operands.push(self.relation()?);
        }
        Ok(single(operands, Expr::And))
    }

    fn relation(&mut self) -> Result<Expr, ElError> {
        let left = self.sum()?;
        let comparison = match self.peek() {
            Some(Token::Equal) => Comparison::Equal,
            Some(Token::NotEqual) => Comparison::NotEqual,
            Some(Token::Less) => Comparison::Less,
            Some(Token::LessOrEqual) => Comparison::LessOrEqual,
            Some(Token::Greater) => Comparison::Greater,
            Some(Token::GreaterOrEqual) => Comparison::GreaterOrEqual,
            Some(Token::Name(name)) => {
                let make: fn(Expr, Expr, &Limits) -> Expr = if name.eq_ignore_ascii_case("matches")
                {
                    matching
                } else if name.eq_ignore_ascii_case("between") {
                    |left, right, _| Expr::Between(Box::new((left, right)))
                } else if name.eq_ignore_ascii_case("instanceof") {
                    |left, right, _| Expr::InstanceOf(Box::new((left, right)))
                } else {
                    return Ok(left);
                };
                self.at += 1;
                let right = self.sum()?;
                return Ok(fold(make(left, right, self.limits)));
            }
            _ => return Ok(left),
        };
        self.at += 1;
        let right = self.sum()?;
        Ok(fold(Expr::Compare(comparison, Box::new((left, right)))))
    }

    fn sum(&mut self) -> Result<Expr, ElError> {
        let first = self.product()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.peek() {
                Some(Token::Plus) => Arithmetic::Add,
                Some(Token::Minus) => Arithmetic::Subtract,
                _ => break,
            };
            self.at += 1;
            rest.push((operator, self.product()?));
        }
        Ok(chain(first, rest))
    }

    fn product(&mut self) -> Result<Expr, ElError> {
        let first = self.power()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.peek() {
                Some(Token::Star) => Arithmetic::Multiply,
                Some(Token::Slash) => Arithmetic::Divide,
                Some(Token::Percent) => Arithmetic::Remainder,
                _ => break,
            };
            self.at += 1;
            rest.push((operator, self.power()?));
        }
        Ok(chain(first, rest))
    }

    fn power(&mut self) -> Result<Expr, ElError> {
        let base = self.unary()?;
        if self.take(&Token::Power) {
            let exponent = self.unary()?;
            return Ok(fold(Expr::Power(Box::new((base, exponent)))));
        }
        if self.take(&Token::Increment) || self.take(&Token::Decrement) {
            return Ok(Expr::Refused("assignments are not allowed"));
        }
        Ok(base)
    }

    fn unary(&mut self) -> Result<Expr, ElError> {
        let make: fn(Box<Expr>) -> Expr = match self.peek() {
            Some(Token::Plus) => Expr::Plus,
            Some(Token::Minus) => Expr::Negate,
            Some(Token::Not) => Expr::Not,
            Some(Token::Increment | Token::Decrement) => {
                self.at += 1;
                self.deeper(Self::unary)?;
                return Ok(Expr::Refused("assignments are not allowed"));
            }
            _ => return self.primary(),
        };
        self.at += 1;
        let inner = self.deeper(Self::unary)?;
        Ok(fold(make(Box::new(inner))))
    }

    fn primary(&mut self) -> Result<Expr, ElError> {
        let start = self.start()?;
        let mut steps = Vec::new();
        let start = match start {
            Start::Expr(expr) => expr,
            Start::OnThis(action) => {
                steps.push(Step {
                    safe: false,
                    action,
                });
                Expr::This
            }
        };
        loop {
            let safe = match self.peek() {
                Some(Token::Dot) => false,
                Some(Token::SafeDot) => true,
                Some(Token::OpenSquare) => {
                    let action = self.index()?;
                    steps.push(Step {
                        safe: false,
                        action,
                    });
                    continue;
                }
                _ => break,
            };
            self.at += 1;
            let action = match self.peek() {
                Some(Token::Name(_)) => self.member()?,
                Some(Token::OpenSquare) if safe => self.index()?,
                Some(Token::Select | Token::SelectFirst | Token::SelectLast | Token::Project) => {
                    self.selection()?
                }
                _ => return Err(ends_early()),
            };
            steps.push(Step { safe, action });
        }
        if steps.is_empty() {
            return Ok(start);
        }
        Ok(match start {
            // Parentheses around a chain do not end it.
            Expr::Steps(start, mut first) => {
                first.append(&mut steps);
                Expr::Steps(start, first)
            }
            start => Expr::Steps(Box::new(start), steps),
        })
    }

    fn start(&mut self) -> Result<Start, ElError> {
        let Some(token) = self.peek() else {
            return Err(ends_early());
        };
        let constant = match token {
            Token::Int(number) => Some(Expr::Const(Constant::Int(*number))),
            Token::Long(number) => Some(Expr::Const(Constant::Long(*number))),
            Token::Float(number) => Some(Expr::Const(Constant::Float(*number))),
            Token::Double(number) => Some(Expr::Const(Constant::Double(*number))),
            Token::Text(text) => Some(Expr::Text(text.clone())),
            Token::Name(name) if name.eq_ignore_ascii_case("true") => {
                Some(Expr::Const(Constant::Bool(true)))
            }
            Token::Name(name) if name.eq_ignore_ascii_case("false") => {
                Some(Expr::Const(Constant::Bool(false)))
            }
            Token::Name(name) if name.eq_ignore_ascii_case("null") => {
                Some(Expr::Const(Constant::Null))
            }
            _ => None,
        };
        if let Some(constant) = constant {
            self.at += 1;
            return Ok(Start::Expr(constant));
        }
        Ok(match token {
            Token::Open => {
                self.at += 1;
                let inner = self.expression()?;
                self.expect(&Token::Close)?;
                Start::Expr(inner)
            }
            Token::Hash => {
                self.at += 1;
                let name = self.name()?;
                Start::Expr(if self.peek_is(&Token::Open) {
                    let arguments = self.arguments()?;
                    let path = match (&*name, arguments.get(1)) {
                        ("jsonPath", Some(Expr::Text(path))) => JsonPath::parse(path).ok(),
                        _ => None,
                    };
                    Expr::Function(Box::new(Function {
                        name,
                        arguments,
                        path,
                    }))
                } else if matches!(&*name, "this" | "root") {
                    // Both are the element inside a selection only; outside they are null. `root` stays null everywhere.
                    if &*name == "this" {
                        Expr::This
                    } else {
                        Expr::Const(Constant::Null)
                    }
                } else {
                    Expr::Variable(name)
                })
            }
            Token::Name(name)
                if &**name == "T" && self.tokens.get(self.at + 1) == Some(&Token::Open) =>
            {
                self.at += 2;
                let name = self.type_name()?;
                self.expect(&Token::Close)?;
                Start::Expr(Expr::Type(name))
            }
            Token::Name(name)
                if name.eq_ignore_ascii_case("new")
                    && matches!(self.tokens.get(self.at + 1), Some(Token::Name(_))) =>
            {
                self.at += 1;
                Start::Expr(self.construction()?)
            }
            Token::Name(_) => Start::OnThis(self.member()?),
            Token::OpenSquare => Start::OnThis(self.index()?),
            Token::Select | Token::SelectFirst | Token::SelectLast | Token::Project => {
                Start::OnThis(self.selection()?)
            }
            Token::OpenCurly => Start::Expr(self.braces()?),
            Token::At | Token::Ampersand => {
                while self.take(&Token::Ampersand) || self.take(&Token::At) {}
                match self.peek() {
                    Some(Token::Name(_) | Token::Text(_)) => self.at += 1,
                    _ => return Err(ElError::parse("a name is missing")),
                }
                Start::Expr(Expr::Refused("there are no beans"))
            }
            _ => return Err(ends_early()),
        })
    }

    fn type_name(&mut self) -> Result<Box<str>, ElError> {
        let mut name = self.qualified()?;
        while self.take(&Token::OpenSquare) {
            self.expect(&Token::CloseSquare)?;
            name.push_str("[]");
        }
        Ok(name.into())
    }

    fn qualified(&mut self) -> Result<String, ElError> {
        let mut name = String::from(self.name()?);
        while self.take(&Token::Dot) {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name)
    }

    fn construction(&mut self) -> Result<Expr, ElError> {
        let name = self.qualified()?;
        if self.peek_is(&Token::OpenSquare) {
            while self.take(&Token::OpenSquare) {
                if !self.peek_is(&Token::CloseSquare) {
                    self.expression()?;
                }
                self.expect(&Token::CloseSquare)?;
            }
            if self.peek_is(&Token::OpenCurly) {
                self.braces()?;
            }
            return Ok(Expr::Refused("arrays cannot be made"));
        }
        if !self.peek_is(&Token::Open) {
            return Err(ElError::parse("the arguments of a constructor are missing"));
        }
        let arguments = self.arguments()?;
        Ok(Expr::New(name.into(), arguments))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ElError> {
        self.expect(&Token::Open)?;
        let mut arguments = Vec::new();
        if self.take(&Token::Close) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression()?);
            if !self.take(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::Close)?;
        Ok(arguments)
    }

    fn member(&mut self) -> Result<Action, ElError> {
        let name = self.name()?;
        if !self.peek_is(&Token::Open) {
            return Ok(Action::Property(name));
        }
        let arguments = self.arguments()?;
        let extent = match &*name {
            "matches" => Some(Extent::Whole),
            "replaceAll" | "replaceFirst" | "split" => Some(Extent::Part),
            _ => None,
        };
        let pattern = match (extent, arguments.first()) {
            (Some(extent), Some(Expr::Text(text))) => Pattern::new(text, extent).ok().map(Arc::new),
            _ => None,
        };
        Ok(Action::Method(name, arguments, pattern))
    }

    fn index(&mut self) -> Result<Action, ElError> {
        self.expect(&Token::OpenSquare)?;
        let index = self.expression()?;
        self.expect(&Token::CloseSquare)?;
        let name = match &index {
            Expr::Steps(start, steps) if matches!(**start, Expr::This) => match &steps[..] {
                [
                    Step {
                        safe: false,
                        action: Action::Property(name),
                    },
                ] => Some(name.clone()),
                _ => None,
            },
            _ => None,
        };
        Ok(Action::Index(index, name))
    }

    fn selection(&mut self) -> Result<Action, ElError> {
        let token = self.peek().cloned();
        self.at += 1;
        let inner = self.expression()?;
        self.expect(&Token::CloseSquare)?;
        Ok(match token {
            Some(Token::Select) => Action::Select(Pick::All, inner),
            Some(Token::SelectFirst) => Action::Select(Pick::First, inner),
            Some(Token::SelectLast) => Action::Select(Pick::Last, inner),
            _ => Action::Project(inner),
        })
    }

    fn braces(&mut self) -> Result<Expr, ElError> {
        self.expect(&Token::OpenCurly)?;
        if self.take(&Token::CloseCurly) {
            return Ok(Expr::List(Vec::new()));
        }
        if self.take(&Token::Colon) {
            self.expect(&Token::CloseCurly)?;
            return Ok(Expr::Map(Vec::new()));
        }
        let first = self.expression()?;
        if self.take(&Token::Colon) {
            let value = self.expression()?;
            let mut entries = vec![(key(first), value)];
            while self.take(&Token::Comma) {
                let next = self.expression()?;
                self.expect(&Token::Colon)?;
                entries.push((key(next), self.expression()?));
            }
            self.expect(&Token::CloseCurly)?;
            return Ok(Expr::Map(entries));
        }
        let mut items = vec![first];
        while self.take(&Token::Comma) {
            items.push(self.expression()?);
        }
        self.expect(&Token::CloseCurly)?;
        Ok(Expr::List(items))
    }
}

/// What a primary begins with.
enum Start {
    Expr(Expr),
    /// A member of the element that a selection looks at.
    OnThis(Action),
}

/// A bare name as the key of a map is text.
fn key(expr: Expr) -> Expr {
    if let Expr::Steps(start, steps) = &expr
        && matches!(**start, Expr::This)
        && let [
            Step {
                safe: false,
                action: Action::Property(name),
            },
        ] = &steps[..]
    {
        return Expr::Text(name.clone());
    }
    expr
}

fn matching(left: Expr, right: Expr, limits: &Limits) -> Expr {
    let pattern = match &right {
        Expr::Text(text) if text.chars().count() <= limits.pattern_chars => {
            Pattern::new(text, Extent::Whole).ok().map(Arc::new)
        }
        _ => None,
    };
    Expr::Matches(Box::new((left, right)), pattern)
}

fn single(mut operands: Vec<Expr>, make: fn(Vec<Expr>) -> Expr) -> Expr {
    if operands.len() > 1 {
        return fold(make(operands));
    }
    operands.pop().unwrap_or(Expr::Const(Constant::Null))
}

fn chain(first: Expr, rest: Vec<(Arithmetic, Expr)>) -> Expr {
    if rest.is_empty() {
        first
    } else {
        fold(Expr::Chain(Box::new(first), rest))
    }
}

/// Evaluates an operator whose operands are constants. One that fails stays, to fail when it is asked.
fn fold(expr: Expr) -> Expr {
    let constant = |expr: &Expr| matches!(expr, Expr::Text(_) | Expr::Const(_));
    let foldable = match &expr {
        Expr::Chain(first, rest) => constant(first) && rest.iter().all(|(_, expr)| constant(expr)),
        Expr::And(operands) | Expr::Or(operands) => operands.iter().all(constant),
        Expr::Negate(inner) | Expr::Plus(inner) | Expr::Not(inner) => constant(inner),
        Expr::Power(pair) | Expr::Compare(_, pair) | Expr::Elvis(pair) => {
            constant(&pair.0) && constant(&pair.1)
        }
        Expr::Matches(pair, Some(_)) => constant(&pair.0),
        Expr::Ternary(parts) => constant(&parts.0) && constant(&parts.1) && constant(&parts.2),
        _ => false,
    };
    if !foldable {
        return expr;
    }
    match eval::constant(&expr) {
        Some(Constant::Text(text)) => Expr::Text(text),
        Some(constant) => Expr::Const(constant),
        None => expr,
    }
}
