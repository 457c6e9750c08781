//! From the text of a template to its tree. What is not supported is named.

use std::sync::Arc;

use super::ast::{Expr, List, Node, Operator};
use super::decimal::Decimal;
use super::{SyntaxError, TEMPLATE_BYTES_MAX};

/// Levels of nesting, of expressions and of directives.
pub(super) const DEPTH_MAX: usize = 64;

/// A flat piece of a template, before directives are nested.
enum Piece {
    Text(String),
    Output(Expr),
    Tag(Tag),
}

enum Tag {
    If(Expr),
    ElseIf(Expr),
    Else,
    List(Expr, Arc<str>, Option<Arc<str>>),
    Separator,
    Assign(Vec<(Arc<str>, Expr)>),
    Capture(Arc<str>),
    Break,
    Continue,
    Close(&'static str),
    /// A comment: it has a place in its line, and does nothing.
    Nothing,
}

/// Parses a template.
pub(super) fn parse(source: &str) -> Result<Vec<Node>, SyntaxError> {
    if source.len() > TEMPLATE_BYTES_MAX {
        return Err(SyntaxError {
            line: 1,
            message: format!("larger than {TEMPLATE_BYTES_MAX} bytes"),
        });
    }
    let mut parser = Parser::new(source, 0);
    let mut pieces = parser.pieces()?;
    strip(&mut pieces);
    let mut pieces = pieces.into_iter().peekable();
    let (nodes, closed) = nest(&mut pieces, 0).map_err(|message| SyntaxError {
        line: parser.line(),
        message,
    })?;
    match closed {
        None => Ok(nodes),
        Some(_) => parser.fail("something is closed that is not open"),
    }
}

/// Removes the white space of lines that hold nothing but directives.
fn strip(pieces: &mut [Piece]) {
    let mut removed: Vec<(usize, usize, usize)> = Vec::new();
    let mut line: Vec<(usize, usize, usize)> = Vec::new();
    let (mut tags, mut content) = (false, false);
    for (index, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Tag(_) => tags = true,
            Piece::Output(_) => content = true,
            Piece::Text(text) => {
                let mut start = 0;
                for segment in text.split_inclusive('\n') {
                    let end = start + segment.len();
                    content |= !segment.trim().is_empty();
                    line.push((index, start, end));
                    if segment.ends_with('\n') {
                        if tags && !content {
                            removed.append(&mut line);
                        }
                        line.clear();
                        (tags, content) = (false, false);
                    }
                    start = end;
                }
            }
        }
    }
    if tags && !content {
        removed.append(&mut line);
    }
    for (index, start, end) in removed.into_iter().rev() {
        if let Some(Piece::Text(text)) = pieces.get_mut(index) {
            text.replace_range(start..end, "");
        }
    }
}

type Pieces = std::iter::Peekable<std::vec::IntoIter<Piece>>;

/// Nests directives until something ends the block that was entered: the tag that does.
fn nest(pieces: &mut Pieces, depth: usize) -> Result<(Vec<Node>, Option<Tag>), String> {
    if depth > DEPTH_MAX {
        return Err(format!("nested more than {DEPTH_MAX} levels deep"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tag = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text.into()));
                }
                continue;
            }
            Piece::Output(expr) => {
                nodes.push(Node::Output(expr));
                continue;
            }
            Piece::Tag(tag) => tag,
        };
        match tag {
            Tag::Nothing => {}
            Tag::Break => nodes.push(Node::Break),
            Tag::Continue => nodes.push(Node::Continue),
            Tag::Assign(values) => {
                nodes.extend(
                    values
                        .into_iter()
                        .map(|(name, value)| Node::Assign(name, value)),
                );
            }
            Tag::If(condition) => nodes.push(branches(pieces, condition, depth)?),
            Tag::List(source, first, second) => {
                let (body, end) = nest(pieces, depth + 1)?;
                let (otherwise, end) = match end {
                    Some(Tag::Else) => nest(pieces, depth + 1)?,
                    end => (Vec::new(), end),
                };
                let Some(Tag::Close("list")) = end else {
                    return Err("<#list> is not closed".to_owned());
                };
                nodes.push(Node::List(Box::new(List {
                    source,
                    first,
                    second,
                    body,
                    otherwise,
                })));
            }
            Tag::Separator => {
                // It ends where the list ends, unless it is closed before.
                let (body, end) = nest(pieces, depth + 1)?;
                nodes.push(Node::Separator(body));
                match end {
                    Some(Tag::Close("sep")) => {}
                    end => return Ok((nodes, end)),
                }
            }
            Tag::Capture(name) => {
                let (body, end) = nest(pieces, depth + 1)?;
                let Some(Tag::Close("assign")) = end else {
                    return Err("<#assign> is not closed".to_owned());
                };
                nodes.push(Node::Capture(name, body));
            }
            tag => return Ok((nodes, Some(tag))),
        }
    }
    Ok((nodes, None))
}

fn branches(pieces: &mut Pieces, condition: Expr, depth: usize) -> Result<Node, String> {
    let mut branches = Vec::new();
    let mut condition = Some(condition);
    loop {
        let is_last = condition.is_none();
        let (body, end) = nest(pieces, depth + 1)?;
        branches.push((condition.take(), body));
        match end {
            Some(Tag::Close("if")) => return Ok(Node::If(branches)),
            Some(Tag::ElseIf(next)) if !is_last => condition = Some(next),
            Some(Tag::Else) if !is_last => {}
            _ => return Err("<#if> is not closed".to_owned()),
        }
    }
}

pub(super) struct Parser<'s> {
    pub(super) source: &'s str,
    pub(super) at: usize,
    pub(super) depth: usize,
    /// Operators and accesses of the expression at hand.
    pub(super) steps: usize,
    /// Inside a tag and outside of parentheses `>` ends the tag.
    pub(super) in_tag: bool,
}

impl<'s> Parser<'s> {
    pub(super) fn new(source: &'s str, depth: usize) -> Self {
        Self {
            source,
            at: 0,
            depth,
            steps: 0,
            in_tag: false,
        }
    }

    pub(super) fn line(&self) -> usize {
        let before = self.source.get(..self.at).unwrap_or_default();
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            line: self.line(),
            message: message.into(),
        })
    }

    pub(super) fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    pub(super) fn space(&mut self) {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            let skipped =
                ["<#--", "[#--"]
                    .into_iter()
                    .zip(["-->", "--]"])
                    .find_map(|(open, close)| {
                        let comment = self.rest().strip_prefix(open)?;
                        Some(4 + comment.find(close)? + 3)
                    });
            match skipped {
                Some(length) => self.at += length,
                None => return,
            }
        }
    }

    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// A symbol, with white space before it.
    pub(super) fn symbol(&mut self, text: &str) -> bool {
        self.space();
        self.take(text)
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), SyntaxError> {
        if self.symbol(text) {
            return Ok(());
        }
        match self.peek() {
            Some(found) => self.fail(format!("{text:?} was expected, and {found:?} is there")),
            None => self.fail(format!("{text:?} was expected, and the template ends")),
        }
    }

    fn pieces(&mut self) -> Result<Vec<Piece>, SyntaxError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        while !self.rest().is_empty() {
            let rest = self.rest();
            let next = rest
                .char_indices()
                .find(|(at, character)| {
                    matches!(character, '$' | '#' | '<')
                        && (*at > 0 || self.is_special(&rest[*at..]))
                })
                .map_or(rest.len(), |(at, _)| at);
            if next > 0 {
                text.push_str(&rest[..next]);
                self.at += next;
                continue;
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            self.steps = 0;
            if self.take("${") {
                pieces.push(Piece::Output(self.interpolation()?));
            } else if rest.starts_with("#{") {
                return self.fail("the interpolation #{…} is not supported; write ${…}");
            } else if self.take("<#--") {
                let Some(length) = self.rest().find("-->") else {
                    return self.fail("a comment is not closed");
                };
                self.at += length + 3;
                pieces.push(Piece::Tag(Tag::Nothing));
            } else if rest.starts_with("<@") || rest.starts_with("</@") {
                return self.fail("macros (<@…>) are not supported");
            } else if self.take("</#") {
                pieces.push(Piece::Tag(self.closing()?));
            } else if self.take("<#") {
                self.opening(&mut pieces)?;
            } else {
                text.extend(self.bump());
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(pieces)
    }

    /// Whether something other than text begins here.
    fn is_special(&self, rest: &str) -> bool {
        let letter_after = |prefix: &str| {
            rest.strip_prefix(prefix)
                .and_then(|rest| rest.chars().next())
                .is_some_and(|next| next.is_ascii_alphabetic())
        };
        rest.starts_with("${")
            || rest.starts_with("#{")
            || rest.starts_with("<#--")
            || ["<#", "</#", "<@", "</@"].into_iter().any(letter_after)
    }

    pub(super) fn interpolation(&mut self) -> Result<Expr, SyntaxError> {
        let outer = std::mem::replace(&mut self.in_tag, false);
        let expr = self.expression()?;
        self.in_tag = outer;
        self.expect("}")?;
        Ok(expr)
    }

    fn closing(&mut self) -> Result<Tag, SyntaxError> {
        let name = self.name()?;
        self.expect(">")?;
        match &*name {
            "if" => Ok(Tag::Close("if")),
            "list" => Ok(Tag::Close("list")),
            "sep" => Ok(Tag::Close("sep")),
            "assign" => Ok(Tag::Close("assign")),
            name => self.fail(format!("nothing called </#{name}> is open")),
        }
    }

    fn opening(&mut self, pieces: &mut Vec<Piece>) -> Result<(), SyntaxError> {
        let name = self.name()?;
        self.in_tag = true;
        let tag = match &*name {
            "if" => Tag::If(self.expression()?),
            "elseif" | "elseIf" => Tag::ElseIf(self.expression()?),
            "else" => Tag::Else,
            "sep" => Tag::Separator,
            "break" => Tag::Break,
            "continue" => Tag::Continue,
            "list" => self.list()?,
            "assign" | "global" => self.assign(&name)?,
            "noparse" => {
                self.end_of_tag()?;
                const END: &str = "</#noparse>";
                let Some(length) = self.rest().find(END) else {
                    return self.fail("<#noparse> is not closed");
                };
                let text = self.rest().get(..length).unwrap_or_default().to_owned();
                self.at += length + END.len();
                pieces.extend([
                    Piece::Tag(Tag::Nothing),
                    Piece::Text(text),
                    Piece::Tag(Tag::Nothing),
                ]);
                return Ok(());
            }
            name => return self.fail(format!("the directive <#{name}> is not supported")),
        };
        self.end_of_tag()?;
        pieces.push(Piece::Tag(tag));
        Ok(())
    }

    fn end_of_tag(&mut self) -> Result<(), SyntaxError> {
        self.in_tag = false;
        if self.symbol("/>") {
            return Ok(());
        }
        self.expect(">")
    }

    fn list(&mut self) -> Result<Tag, SyntaxError> {
        let source = self.expression()?;
        if !self.keyword("as") {
            return self.fail("<#list> without \"as\" (with <#items>) is not supported");
        }
        let first = self.name()?;
        let second = match self.symbol(",") {
            true => Some(self.name()?),
            false => None,
        };
        Ok(Tag::List(source, first, second))
    }

    fn assign(&mut self, directive: &str) -> Result<Tag, SyntaxError> {
        let mut values = Vec::new();
        loop {
            self.space();
            let name = match self.peek() {
                Some('"' | '\'') => match self.string()? {
                    Expr::Text(text) => text,
                    _ => return self.fail("a name is text without interpolations"),
                },
                _ => self.name()?,
            };
            self.space();
            if values.is_empty() && matches!(self.peek(), Some('>')) {
                if directive != "assign" {
                    return self.fail(format!("<#{directive}> with a body is not supported"));
                }
                return Ok(Tag::Capture(name));
            }
            let operator = if self.take("++") || self.take("--") {
                let down = self.source.get(self.at - 1..self.at) == Some("-");
                let operator = if down {
                    Operator::Subtract
                } else {
                    Operator::Add
                };
                let one = Expr::Number(Decimal::integer(1));
                let own = Expr::Variable(name.clone());
                values.push((name.clone(), Expr::Binary(operator, own.into(), one.into())));
                None
            } else if self.take("+=") {
                Some(Some(Operator::Add))
            } else if self.take("-=") {
                Some(Some(Operator::Subtract))
            } else if self.take("*=") {
                Some(Some(Operator::Multiply))
            } else if self.take("/=") {
                Some(Some(Operator::Divide))
            } else if self.take("%=") {
                Some(Some(Operator::Modulo))
            } else {
                self.expect("=")?;
                Some(None)
            };
            if let Some(operator) = operator {
                let value = self.expression()?;
                let value = match operator {
                    None => value,
                    Some(operator) => {
                        let own = Expr::Variable(name.clone());
                        Expr::Binary(operator, own.into(), value.into())
                    }
                };
                values.push((name, value));
            }
            if self.keyword("in") {
                return self.fail("name spaces (<#assign … in …>) are not supported");
            }
            self.symbol(",");
            self.space();
            if self.rest().starts_with('>') || self.rest().starts_with("/>") {
                return Ok(Tag::Assign(values));
            }
        }
    }
}
