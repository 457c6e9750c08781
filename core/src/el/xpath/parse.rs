//! From the text of an XPath 1.0 expression to its tree.

use super::{Axis, Expr, Operator, Step, Test};

/// Longest expression, bytes.
const EXPRESSION_BYTES_MAX: usize = 4_096;
/// Deepest nesting.
const DEPTH_MAX: usize = 24;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Literal(String),
    Name(String),
    Operator(Operator),
    Star,
    Slash,
    DoubleSlash,
    Dot,
    DoubleDot,
    At,
    Axis,
    Open,
    Close,
    OpenSquare,
    CloseSquare,
    Comma,
}

/// Parses an expression; `None` when it is not one.
pub(super) fn parse(text: &str) -> Option<Expr> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return None;
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let expr = parser.expression(0)?;
    (parser.at == parser.tokens.len()).then_some(expr)
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let next = rest.chars().nth(1);
        let (token, length) = match (char, next) {
            (' ' | '\t' | '\r' | '\n', _) => {
                rest = &rest[1..];
                continue;
            }
            ('/', Some('/')) => (Token::DoubleSlash, 2),
            ('/', _) => (Token::Slash, 1),
            ('.', Some('.')) => (Token::DoubleDot, 2),
            ('0'..='9', _) | ('.', Some('0'..='9')) => {
                let length = rest
                    .find(|char: char| !char.is_ascii_digit() && char != '.')
                    .unwrap_or(rest.len());
                (Token::Number(rest[..length].parse().ok()?), length)
            }
            ('.', _) => (Token::Dot, 1),
            ('@', _) => (Token::At, 1),
            (':', Some(':')) => (Token::Axis, 2),
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            ('[', _) => (Token::OpenSquare, 1),
            (']', _) => (Token::CloseSquare, 1),
            (',', _) => (Token::Comma, 1),
            ('|', _) => (Token::Operator(Operator::Union), 1),
            ('+', _) => (Token::Operator(Operator::Add), 1),
            ('-', _) => (Token::Operator(Operator::Subtract), 1),
            ('=', _) => (Token::Operator(Operator::Equal), 1),
            ('!', Some('=')) => (Token::Operator(Operator::NotEqual), 2),
            ('<', Some('=')) => (Token::Operator(Operator::LessOrEqual), 2),
            ('<', _) => (Token::Operator(Operator::Less), 1),
            ('>', Some('=')) => (Token::Operator(Operator::GreaterOrEqual), 2),
            ('>', _) => (Token::Operator(Operator::Greater), 1),
            ('*', _) if ends_operand(tokens.last()) => (Token::Operator(Operator::Multiply), 1),
            ('*', _) => (Token::Star, 1),
            ('\'' | '"', _) => {
                let end = rest[1..].find(char)?;
                (Token::Literal(rest[1..=end].to_owned()), end + 2)
            }
            _ if char.is_alphabetic() || char == '_' => {
                let is_part =
                    |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.');
                let mut length = rest.find(|char| !is_part(char)).unwrap_or(rest.len());
                // One colon joins a prefix to a name or to a star.
                if rest[length..].starts_with(':') && !rest[length..].starts_with("::") {
                    let behind = &rest[length + 1..];
                    let more = behind.find(|char| !is_part(char)).unwrap_or(behind.len());
                    length += 1 + if behind.starts_with('*') { 1 } else { more };
                }
                let name = &rest[..length];
                let operator = match name {
                    "and" => Some(Operator::And),
                    "or" => Some(Operator::Or),
                    "div" => Some(Operator::Divide),
                    "mod" => Some(Operator::Remainder),
                    _ => None,
                };
                match operator {
                    Some(operator) if ends_operand(tokens.last()) => {
                        (Token::Operator(operator), length)
                    }
                    _ => (Token::Name(name.to_owned()), length),
                }
            }
            _ => return None,
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Some(tokens)
}

/// Whether an operand ends here, so that a star or a name that follows is an operator.
fn ends_operand(token: Option<&Token>) -> bool {
    !matches!(
        token,
        None | Some(
            Token::Operator(_)
                | Token::Slash
                | Token::DoubleSlash
                | Token::At
                | Token::Axis
                | Token::Open
                | Token::OpenSquare
                | Token::Comma
        )
    )
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

/// Operators from the loosest to the tightest.
const LEVELS: [&[Operator]; 7] = [
    &[Operator::Or],
    &[Operator::And],
    &[Operator::Equal, Operator::NotEqual],
    &[
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
    ],
    &[Operator::Add, Operator::Subtract],
    &[Operator::Multiply, Operator::Divide, Operator::Remainder],
    &[Operator::Union],
];

/// The level of the union: a minus sign comes right above it.
const UNION_LEVEL: usize = 6;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn expression(&mut self, level: usize) -> Option<Expr> {
        if level == 0 {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return None;
            }
        }
        let mut minus = false;
        if level == UNION_LEVEL {
            while self.take(&Token::Operator(Operator::Subtract)) {
                minus = !minus;
            }
        }
        let operand = |parser: &mut Self| match level {
            UNION_LEVEL => parser.path(),
            _ => parser.expression(level + 1),
        };
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some(Token::Operator(operator)) = self.peek() {
            let operator = *operator;
            if !LEVELS[level].contains(&operator) {
                break;
            }
            self.at += 1;
            rest.push((operator, operand(self)?));
        }
        if level == 0 {
            self.depth -= 1;
        }
        let expr = if rest.is_empty() {
            first
        } else {
            Expr::Chain(Box::new(first), rest)
        };
        Some(if minus {
            Expr::Negate(Box::new(expr))
        } else {
            expr
        })
    }

    fn path(&mut self) -> Option<Expr> {
        if self.take(&Token::Slash) {
            let steps = if self.begins_step() {
                self.steps()?
            } else {
                Vec::new()
            };
            return Some(Expr::Path(None, true, steps));
        }
        if self.take(&Token::DoubleSlash) {
            let mut steps = vec![descendants()];
            steps.extend(self.steps()?);
            return Some(Expr::Path(None, true, steps));
        }
        let primary = match (self.peek()?, self.tokens.get(self.at + 1)) {
            (Token::Number(number), _) => Some(Expr::Number(*number)),
            (Token::Literal(text), _) => Some(Expr::Literal(text.clone())),
            (Token::Name(name), Some(Token::Open))
                if !matches!(
                    &**name,
                    "text" | "node" | "comment" | "processing-instruction"
                ) =>
            {
                let name = name.clone();
                self.at += 2;
                let mut arguments = Vec::new();
                if self.peek() != Some(&Token::Close) {
                    loop {
                        arguments.push(self.expression(0)?);
                        if !self.take(&Token::Comma) {
                            break;
                        }
                    }
                }
                if self.peek() != Some(&Token::Close) {
                    return None;
                }
                Some(Expr::Function(name, arguments))
            }
            (Token::Open, _) => {
                self.at += 1;
                let inner = self.expression(0)?;
                if self.peek() != Some(&Token::Close) {
                    return None;
                }
                Some(inner)
            }
            _ => None,
        };
        let Some(primary) = primary else {
            return self.steps().map(|steps| Expr::Path(None, false, steps));
        };
        self.at += 1;
        let predicates = self.predicates()?;
        let start = if predicates.is_empty() {
            primary
        } else {
            Expr::Filter(Box::new(primary), predicates)
        };
        if self.take(&Token::Slash) {
            let steps = self.steps()?;
            return Some(Expr::Path(Some(Box::new(start)), false, steps));
        }
        if self.take(&Token::DoubleSlash) {
            let mut steps = vec![descendants()];
            steps.extend(self.steps()?);
            return Some(Expr::Path(Some(Box::new(start)), false, steps));
        }
        Some(start)
    }

    fn begins_step(&self) -> bool {
        matches!(
            self.peek(),
            Some(Token::Name(_) | Token::Star | Token::At | Token::Dot | Token::DoubleDot)
        )
    }

    fn steps(&mut self) -> Option<Vec<Step>> {
        let mut steps = vec![self.step()?];
        loop {
            if self.take(&Token::DoubleSlash) {
                steps.push(descendants());
            } else if !self.take(&Token::Slash) {
                return Some(steps);
            }
            steps.push(self.step()?);
        }
    }

    fn step(&mut self) -> Option<Step> {
        if self.take(&Token::Dot) {
            return Some(bare(Axis::Own));
        }
        if self.take(&Token::DoubleDot) {
            return Some(bare(Axis::Parent));
        }
        let mut axis = Axis::Child;
        if self.take(&Token::At) {
            axis = Axis::Attribute;
        } else if let (Some(Token::Name(name)), Some(Token::Axis)) =
            (self.peek(), self.tokens.get(self.at + 1))
        {
            axis = match &**name {
                "child" => Axis::Child,
                "descendant" => Axis::Descendant,
                "descendant-or-self" => Axis::DescendantOrSelf,
                "parent" => Axis::Parent,
                "ancestor" => Axis::Ancestor,
                "ancestor-or-self" => Axis::AncestorOrSelf,
                "following-sibling" => Axis::FollowingSibling,
                "preceding-sibling" => Axis::PrecedingSibling,
                "following" => Axis::Following,
                "preceding" => Axis::Preceding,
                "attribute" => Axis::Attribute,
                "self" => Axis::Own,
                _ => return None,
            };
            self.at += 2;
        }
        let test = match self.peek()?.clone() {
            Token::Star => Test::Any,
            Token::Name(name) if self.tokens.get(self.at + 1) == Some(&Token::Open) => {
                self.at += 2;
                if &*name == "processing-instruction"
                    && let Some(Token::Literal(_)) = self.peek()
                {
                    self.at += 1;
                }
                if self.peek() != Some(&Token::Close) {
                    return None;
                }
                match &*name {
                    "text" => Test::Text,
                    "node" => Test::Node,
                    "comment" => Test::Comment,
                    "processing-instruction" => Test::Instruction,
                    _ => return None,
                }
            }
            // No prefix is bound.
            Token::Name(name) if name.contains(':') => return None,
            Token::Name(name) => Test::Name(name),
            _ => return None,
        };
        self.at += 1;
        Some(Step {
            axis,
            test,
            predicates: self.predicates()?,
        })
    }

    fn predicates(&mut self) -> Option<Vec<Expr>> {
        let mut predicates = Vec::new();
        while self.take(&Token::OpenSquare) {
            predicates.push(self.expression(0)?);
            if !self.take(&Token::CloseSquare) {
                return None;
            }
        }
        Some(predicates)
    }
}

fn bare(axis: Axis) -> Step {
    Step {
        axis,
        test: Test::Node,
        predicates: Vec::new(),
    }
}

fn descendants() -> Step {
    bare(Axis::DescendantOrSelf)
}
