//! From the text of a JSON path to its tokens.

use super::filter::{Filter, Operand, Operator};
use super::{JsonPath, Parameter, Token};
use crate::el::constant::Constant;
use crate::el::pattern::Pattern;
use crate::el::{ElError, Value, json};
use crate::java_regex::Extent;

/// Longest path, bytes.
const PATH_BYTES_MAX: usize = 4_096;
/// Most parts of a path.
const TOKENS_MAX: usize = 128;
/// Deepest nesting of filters and functions.
const DEPTH_MAX: usize = 8;

fn bad() -> ElError {
    ElError::evaluation("the JSON path is not valid")
}

impl JsonPath {
    /// Compiles a path; `$.` may be left out.
    pub(in crate::el) fn parse(text: &str) -> Result<Self, ElError> {
        let text = text.trim();
        if text.is_empty() || text.len() > PATH_BYTES_MAX {
            return Err(bad());
        }
        let whole = if text.starts_with(['$', '@']) {
            text.to_owned()
        } else {
            format!("$.{text}")
        };
        let mut parser = Parser {
            text: &whole,
            at: 1,
        };
        let path = parser.path(0)?;
        if parser.at == whole.len() {
            Ok(path)
        } else {
            Err(bad())
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.rest().bytes().next()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    fn blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// The parts behind `$` or `@`, as far as they go.
    fn path(&mut self, depth: usize) -> Result<JsonPath, ElError> {
        if depth > DEPTH_MAX {
            return Err(bad());
        }
        let mut tokens = Vec::new();
        loop {
            if tokens.len() > TOKENS_MAX {
                return Err(bad());
            }
            if self.take("..") {
                tokens.push(Token::Scan);
                if self.peek() != Some(b'[') {
                    tokens.push(self.member(depth)?);
                }
            } else if self.take(".") {
                if self.peek() != Some(b'[') {
                    tokens.push(self.member(depth)?);
                }
            } else if self.take("[") {
                tokens.push(self.bracket(depth)?);
            } else {
                return Ok(JsonPath { tokens });
            }
        }
    }

    fn member(&mut self, depth: usize) -> Result<Token, ElError> {
        if self.take("*") {
            return Ok(Token::Wildcard);
        }
        let length = self
            .rest()
            .find(|char| {
                matches!(
                    char,
                    '.' | '['
                        | ']'
                        | '('
                        | ')'
                        | ' '
                        | ','
                        | '='
                        | '!'
                        | '<'
                        | '>'
                        | '&'
                        | '|'
                        | '~'
                )
            })
            .unwrap_or_else(|| self.rest().len());
        let name = &self.rest()[..length];
        if name.is_empty() {
            return Err(bad());
        }
        self.at += length;
        if !self.take("(") {
            return Ok(Token::Names(vec![name.to_owned()]));
        }
        let mut parameters = Vec::new();
        self.blanks();
        if !self.take(")") {
            loop {
                self.blanks();
                parameters.push(match self.peek() {
                    Some(sign @ (b'$' | b'@')) => {
                        self.at += 1;
                        Parameter::Path(self.path(depth + 1)?, sign == b'$')
                    }
                    _ => Parameter::Constant(self.constant()?),
                });
                self.blanks();
                if self.take(")") {
                    break;
                }
                if !self.take(",") {
                    return Err(bad());
                }
            }
        }
        Ok(Token::Function(name.to_owned(), parameters))
    }

    fn bracket(&mut self, depth: usize) -> Result<Token, ElError> {
        self.blanks();
        let token = match self.peek().ok_or_else(bad)? {
            b'*' => {
                self.at += 1;
                Token::Wildcard
            }
            b'?' => {
                self.at += 1;
                self.blanks();
                if !self.take("(") {
                    return Err(bad());
                }
                let filter = self.or(depth + 1)?;
                self.blanks();
                if !self.take(")") {
                    return Err(bad());
                }
                Token::Filter(filter)
            }
            b'\'' | b'"' => {
                let mut names = Vec::new();
                loop {
                    self.blanks();
                    names.push(self.quoted()?);
                    self.blanks();
                    if !self.take(",") {
                        break;
                    }
                }
                Token::Names(names)
            }
            _ => self.positions()?,
        };
        self.blanks();
        if self.take("]") {
            Ok(token)
        } else {
            Err(bad())
        }
    }

    fn positions(&mut self) -> Result<Token, ElError> {
        let end = self.rest().find(']').ok_or_else(bad)?;
        let text = &self.rest()[..end];
        self.at += end;
        let number = |text: &str| text.trim().parse::<i32>().map(i64::from).map_err(|_| bad());
        if let Some((from, to)) = text.split_once(':') {
            let bound = |text: &str| {
                if text.trim().is_empty() {
                    Ok(None)
                } else {
                    number(text).map(Some)
                }
            };
            let slice = Token::Slice(bound(from)?, bound(to)?);
            return match slice {
                Token::Slice(None, None) => Err(bad()),
                slice => Ok(slice),
            };
        }
        text.split(',')
            .map(number)
            .collect::<Result<Vec<_>, _>>()
            .map(Token::Indexes)
    }

    fn quoted(&mut self) -> Result<String, ElError> {
        let mut chars = self.rest().char_indices();
        let Some((_, quote @ ('\'' | '"'))) = chars.next() else {
            return Err(bad());
        };
        let mut text = String::new();
        while let Some((at, char)) = chars.next() {
            match char {
                '\\' => text.push(chars.next().ok_or_else(bad)?.1),
                char if char == quote => {
                    self.at += at + 1;
                    return Ok(text);
                }
                char => text.push(char),
            }
        }
        Err(bad())
    }

    fn constant(&mut self) -> Result<Constant, ElError> {
        let value = self.constant_value()?;
        Constant::of(&value).ok_or_else(bad)
    }

    fn constant_value(&mut self) -> Result<Value<'static>, ElError> {
        match self.peek().ok_or_else(bad)? {
            b'\'' | b'"' => self.quoted().map(Value::from),
            open @ (b'[' | b'{') => {
                let close = if open == b'[' { b']' } else { b'}' };
                let (mut nested, mut quote) = (0, None);
                for (at, byte) in self.rest().bytes().enumerate() {
                    match (quote, byte) {
                        (Some(open), byte) if byte == open => quote = None,
                        (Some(_), _) => {}
                        (None, b'\'' | b'"') => quote = Some(byte),
                        (None, byte) if byte == open => nested += 1,
                        (None, byte) if byte == close => {
                            nested -= 1;
                            if nested == 0 {
                                let text = &self.rest()[..=at];
                                self.at += at + 1;
                                return json::parse(text, true).ok_or_else(bad);
                            }
                        }
                        _ => {}
                    }
                }
                Err(bad())
            }
            _ => {
                let length = self
                    .rest()
                    .find(|char| {
                        matches!(
                            char,
                            ' ' | ')' | ',' | '&' | '|' | ']' | '=' | '!' | '<' | '>'
                        )
                    })
                    .unwrap_or_else(|| self.rest().len());
                let word = &self.rest()[..length];
                self.at += length;
                match json::parse(word, false) {
                    Some(value) => Ok(value),
                    None => Err(bad()),
                }
            }
        }
    }

    fn or(&mut self, depth: usize) -> Result<Filter, ElError> {
        if depth > DEPTH_MAX {
            return Err(bad());
        }
        let mut filters = vec![self.and(depth)?];
        loop {
            self.blanks();
            if !self.take("||") {
                break;
            }
            filters.push(self.and(depth)?);
        }
        Ok(match filters.len() {
            1 => filters.remove(0),
            _ => Filter::Or(filters),
        })
    }

    fn and(&mut self, depth: usize) -> Result<Filter, ElError> {
        let mut filters = vec![self.term(depth)?];
        loop {
            self.blanks();
            if !self.take("&&") {
                break;
            }
            filters.push(self.term(depth)?);
        }
        Ok(match filters.len() {
            1 => filters.remove(0),
            _ => Filter::And(filters),
        })
    }

    fn term(&mut self, depth: usize) -> Result<Filter, ElError> {
        if depth > DEPTH_MAX {
            return Err(bad());
        }
        self.blanks();
        if self.take("!") {
            return Ok(Filter::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.or(depth + 1)?;
            self.blanks();
            return if self.take(")") {
                Ok(inner)
            } else {
                Err(bad())
            };
        }
        let left = self.operand(depth)?;
        self.blanks();
        let Some(operator) = self.operator() else {
            return match left {
                Operand::Path(path, from_root) => Ok(Filter::Exists(path, from_root)),
                Operand::Constant(Constant::Bool(flag)) => Ok(Filter::Constant(flag)),
                _ => Err(bad()),
            };
        };
        self.blanks();
        let right = self.operand(depth)?;
        Ok(Filter::Compare(left, operator, right))
    }

    fn operator(&mut self) -> Option<Operator> {
        let rest = self.rest();
        let length = match rest.bytes().next()? {
            b'=' | b'!' | b'<' | b'>' | b'~' => rest
                .find(|char| !matches!(char, '=' | '!' | '<' | '>' | '~'))
                .unwrap_or(rest.len()),
            byte if byte.is_ascii_alphabetic() => rest
                .find(|char: char| !char.is_ascii_alphabetic())
                .unwrap_or(rest.len()),
            _ => return None,
        };
        let operator = Operator::of(&rest[..length])?;
        self.at += length;
        Some(operator)
    }

    fn operand(&mut self, depth: usize) -> Result<Operand, ElError> {
        match self.peek().ok_or_else(bad)? {
            sign @ (b'$' | b'@') => {
                self.at += 1;
                Ok(Operand::Path(self.path(depth + 1)?, sign == b'$'))
            }
            b'/' => {
                let mut escaped = false;
                let end = self.rest()[1..]
                    .char_indices()
                    .find(|(_, char)| {
                        let ends = *char == '/' && !escaped;
                        escaped = *char == '\\' && !escaped;
                        ends
                    })
                    .map(|(at, _)| at + 1)
                    .ok_or_else(bad)?;
                let source = &self.rest()[1..end];
                self.at += end + 1;
                let length = self
                    .rest()
                    .find(|char: char| !char.is_ascii_alphabetic())
                    .unwrap_or_else(|| self.rest().len());
                let flags = &self.rest()[..length];
                if !flags
                    .chars()
                    .all(|flag| matches!(flag, 'i' | 'm' | 's' | 'x' | 'u' | 'd' | 'U'))
                {
                    return Err(bad());
                }
                self.at += length;
                let flags: String = flags
                    .chars()
                    .filter(|flag| matches!(flag, 'i' | 'm' | 's' | 'x'))
                    .collect();
                let source = if flags.is_empty() {
                    source.to_owned()
                } else {
                    format!("(?{flags}){source}")
                };
                Pattern::new(&source, Extent::Whole)
                    .map(|pattern| Operand::Pattern(Box::new(pattern)))
                    .map_err(ElError::evaluation)
            }
            _ => self.constant().map(Operand::Constant),
        }
    }
}
