//! Expressions of templates.

use std::sync::Arc;

use super::SyntaxError;
use super::ast::{Expr, Method, Operator, RangeEnd};
use super::builtins::{BuiltIn, Kind};
use super::decimal::Decimal;
use super::parse::{DEPTH_MAX, Parser};

/// Operators and accesses of one expression: so deep its tree may be.
const STEPS_MAX: usize = 200;

impl Parser<'_> {
    /// A name as it is written in expressions.
    pub(super) fn word(&mut self) -> Option<String> {
        self.space();
        let mut name = String::new();
        while let Some(character) = self.peek() {
            let fits = character.is_alphabetic()
                || matches!(character, '_' | '$' | '@')
                || (!name.is_empty() && character.is_numeric());
            if fits {
                name.push(character);
                self.at += character.len_utf8();
            } else if character == '\\'
                && let Some(escaped @ ('-' | '.' | ':')) = self.rest().chars().nth(1)
            {
                name.push(escaped);
                self.at += 2;
            } else {
                break;
            }
        }
        (!name.is_empty()).then_some(name)
    }

    pub(super) fn name(&mut self) -> Result<Arc<str>, SyntaxError> {
        match self.word() {
            Some(name) => Ok(name.into()),
            None => self.fail("a name was expected"),
        }
    }

    /// A word of the language, as a whole.
    pub(super) fn keyword(&mut self, keyword: &str) -> bool {
        let start = self.at;
        if self.word().as_deref() == Some(keyword) {
            return true;
        }
        self.at = start;
        false
    }

    fn step(&mut self) -> Result<(), SyntaxError> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return self.fail(format!("an expression has more than {STEPS_MAX} operators"));
        }
        Ok(())
    }

    pub(super) fn expression(&mut self) -> Result<Expr, SyntaxError> {
        self.binary(0)
    }

    fn deeper<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth >= DEPTH_MAX {
            return self.fail(format!("nested more than {DEPTH_MAX} levels deep"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Whatever stands in brackets: `>` is an operator there.
    fn bracketed<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        let outer = std::mem::replace(&mut self.in_tag, false);
        let parsed = self.deeper(parse);
        self.in_tag = outer;
        parsed
    }

    /// The operator at hand, when it binds at least as tightly as `least`.
    fn operator(&mut self, least: u8) -> Option<(Operator, u8)> {
        const SYMBOLS: [(&str, Operator, u8); 19] = [
            ("||", Operator::Or, 1),
            ("&&", Operator::And, 2),
            ("&amp;&amp;", Operator::And, 2),
            ("==", Operator::Equal, 3),
            ("!=", Operator::Unequal, 3),
            ("&lt;=", Operator::LessOrEqual, 4),
            ("&gt;=", Operator::GreaterOrEqual, 4),
            ("&lt;", Operator::Less, 4),
            ("&gt;", Operator::Greater, 4),
            ("<=", Operator::LessOrEqual, 4),
            ("<", Operator::Less, 4),
            (">=", Operator::GreaterOrEqual, 4),
            (">", Operator::Greater, 4),
            ("=", Operator::Equal, 3),
            ("+", Operator::Add, 6),
            ("-", Operator::Subtract, 6),
            ("*", Operator::Multiply, 7),
            ("/", Operator::Divide, 7),
            ("%", Operator::Modulo, 7),
        ];
        const WORDS: [(&str, Operator); 8] = [
            ("gte", Operator::GreaterOrEqual),
            ("gt", Operator::Greater),
            ("lte", Operator::LessOrEqual),
            ("lt", Operator::Less),
            ("\\gte", Operator::GreaterOrEqual),
            ("\\gt", Operator::Greater),
            ("\\lte", Operator::LessOrEqual),
            ("\\lt", Operator::Less),
        ];
        self.space();
        let rest = self.rest();
        let symbol = SYMBOLS
            .into_iter()
            .find(|(symbol, ..)| rest.starts_with(symbol));
        if let Some((symbol, operator, binding)) = symbol {
            let ends = self.in_tag && (symbol.starts_with('>') || rest.starts_with("/>"));
            // `++` and `+=` belong to <#assign>.
            if ends || binding < least || rest.starts_with("++") || rest.starts_with("--") {
                return None;
            }
            self.at += symbol.len();
            return Some((operator, binding));
        }
        if least <= 4 {
            for (word, operator) in WORDS {
                let follows = rest.strip_prefix(word);
                let is_whole = follows.is_some_and(|rest| {
                    !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')
                });
                if is_whole {
                    self.at += word.len();
                    return Some((operator, 4));
                }
            }
        }
        None
    }

    fn binary(&mut self, least: u8) -> Result<Expr, SyntaxError> {
        let mut left = self.unary()?;
        loop {
            if least <= 5 && self.rest_is_range() {
                left = self.range(left)?;
                continue;
            }
            let Some((operator, binding)) = self.operator(least) else {
                return Ok(left);
            };
            self.step()?;
            let right = self.deeper(|parser| parser.binary(binding + 1))?;
            left = Expr::Binary(operator, left.into(), right.into());
        }
    }

    fn rest_is_range(&mut self) -> bool {
        self.space();
        self.rest().starts_with("..")
    }

    fn range(&mut self, from: Expr) -> Result<Expr, SyntaxError> {
        let end = if self.take("..<") || self.take("..!") {
            RangeEnd::Exclusive
        } else if self.take("..*") {
            RangeEnd::Length
        } else {
            self.take("..");
            RangeEnd::Inclusive
        };
        self.space();
        let to = match self.starts_expression() {
            true => Some(Box::new(self.deeper(|parser| parser.binary(6))?)),
            false if end == RangeEnd::Inclusive => None,
            false => return self.fail("the end of a range is missing"),
        };
        Ok(Expr::Range(from.into(), to, end))
    }

    fn unary(&mut self) -> Result<Expr, SyntaxError> {
        self.space();
        if self.rest().starts_with('!') && !self.rest().starts_with("!=") {
            self.at += 1;
            return Ok(Expr::Not(self.deeper(Self::unary)?.into()));
        }
        if self.take("-") {
            return Ok(Expr::Negate(self.deeper(Self::unary)?.into()));
        }
        if self.take("+") {
            return self.deeper(Self::unary);
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn primary(&mut self) -> Result<Expr, SyntaxError> {
        self.space();
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let inner = self.bracketed(|parser| {
                    let inner = parser.expression()?;
                    parser.expect(")")?;
                    Ok(inner)
                })?;
                Ok(Expr::Paren(inner.into()))
            }
            Some('[') => {
                self.at += 1;
                Ok(Expr::List(self.arguments("]")?))
            }
            Some('{') => {
                self.at += 1;
                self.map()
            }
            Some('"' | '\'') => self.string(),
            Some('r') if self.rest().starts_with("r\"") || self.rest().starts_with("r'") => {
                self.at += 1;
                self.raw_string()
            }
            Some('0'..='9') => self.number(),
            Some('.') => self.fail("special variables (.name) are not supported"),
            _ => match self.word().as_deref() {
                None => self.fail("an expression was expected"),
                Some("true") => Ok(Expr::Bool(true)),
                Some("false") => Ok(Expr::Bool(false)),
                Some(name) => Ok(Expr::Variable(name.into())),
            },
        }
    }

    /// Expressions between commas, up to `end`.
    fn arguments(&mut self, end: &str) -> Result<Vec<Expr>, SyntaxError> {
        self.bracketed(|parser| {
            let mut arguments = Vec::new();
            if parser.symbol(end) {
                return Ok(arguments);
            }
            loop {
                arguments.push(parser.expression()?);
                if parser.symbol(end) {
                    return Ok(arguments);
                }
                parser.expect(",")?;
            }
        })
    }

    fn map(&mut self) -> Result<Expr, SyntaxError> {
        self.bracketed(|parser| {
            let mut entries = Vec::new();
            if parser.symbol("}") {
                return Ok(Expr::Map(entries));
            }
            loop {
                let key = parser.expression()?;
                if !parser.symbol(":") {
                    parser.expect(",")?;
                }
                entries.push((key, parser.expression()?));
                if parser.symbol("}") {
                    return Ok(Expr::Map(entries));
                }
                parser.expect(",")?;
            }
        })
    }

    fn number(&mut self) -> Result<Expr, SyntaxError> {
        let rest = self.rest().as_bytes();
        let digits = |from: usize| {
            rest.iter()
                .skip(from)
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let mut length = digits(0);
        if rest.get(length) == Some(&b'.') && digits(length + 1) > 0 {
            length += 1 + digits(length + 1);
        }
        let text = self.rest().get(..length).unwrap_or_default();
        let Some(number) = Decimal::parse(text) else {
            return self.fail("a number is too large");
        };
        self.at += length;
        Ok(Expr::Number(number))
    }

    fn raw_string(&mut self) -> Result<Expr, SyntaxError> {
        let quote = self.bump().unwrap_or('"');
        let Some(length) = self.rest().find(quote) else {
            return self.fail("a text is not closed");
        };
        let text = self.rest().get(..length).unwrap_or_default();
        self.at += length + 1;
        Ok(Expr::Text(text.into()))
    }

    pub(super) fn string(&mut self) -> Result<Expr, SyntaxError> {
        let quote = self.bump().unwrap_or('"');
        let mut text = String::new();
        loop {
            match self.bump() {
                None => return self.fail("a text is not closed"),
                Some('\\') => match self.bump() {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('f') => text.push('\u{c}'),
                    Some('b') => text.push('\u{8}'),
                    Some('l') => text.push('<'),
                    Some('g') => text.push('>'),
                    Some('a') => text.push('&'),
                    Some(same @ ('"' | '\'' | '\\' | '{' | '=')) => text.push(same),
                    Some('x') => {
                        let length = self
                            .rest()
                            .bytes()
                            .take(4)
                            .take_while(u8::is_ascii_hexdigit)
                            .count();
                        let digits = self.rest().get(..length).unwrap_or_default();
                        let code = u32::from_str_radix(digits, 16).ok();
                        let Some(character) = code.and_then(char::from_u32) else {
                            return self.fail("\\x names no character");
                        };
                        text.push(character);
                        self.at += length;
                    }
                    _ => return self.fail("a text has an escape that does not exist"),
                },
                Some(end) if end == quote => break,
                Some(character) => text.push(character),
            }
        }
        if !text.contains("${") && !text.contains("#{") {
            return Ok(Expr::Text(text.into()));
        }
        let line = self.line();
        let depth = self.depth + 1;
        if depth > DEPTH_MAX {
            return self.fail(format!("nested more than {DEPTH_MAX} levels deep"));
        }
        let mut inner = Parser::new(&text, depth);
        inner.steps = self.steps;
        let joined = inner.joined();
        self.steps = inner.steps;
        joined.map_err(|error| SyntaxError { line, ..error })
    }

    /// The text of a literal that holds interpolations.
    fn joined(&mut self) -> Result<Expr, SyntaxError> {
        let mut parts = Vec::new();
        while !self.rest().is_empty() {
            if self.rest().starts_with("#{") {
                return self.fail("the interpolation #{…} is not supported; write ${…}");
            }
            if self.take("${") {
                parts.push(self.interpolation()?);
                continue;
            }
            let rest = self.rest();
            let length = ["${", "#{"]
                .into_iter()
                .filter_map(|open| rest.find(open))
                .min()
                .unwrap_or(rest.len());
            parts.push(Expr::Text(rest.get(..length).unwrap_or_default().into()));
            self.at += length;
        }
        Ok(Expr::Joined(parts))
    }

    /// Whether an expression may begin here.
    fn starts_expression(&self) -> bool {
        let rest = self.rest();
        let word: String = rest
            .chars()
            .take_while(|next| next.is_alphanumeric() || *next == '_')
            .collect();
        match rest.chars().next() {
            None => false,
            Some('!') => !rest.starts_with("!="),
            Some(next) if next.is_alphabetic() => {
                !["as", "in", "gt", "gte", "lt", "lte"].contains(&&*word)
            }
            Some(next) => "\"'([{-+_$@0123456789".contains(next),
        }
    }

    fn postfix(&mut self, mut expr: Expr) -> Result<Expr, SyntaxError> {
        loop {
            self.space();
            if self.rest().starts_with(['?', '!', '.', '[']) {
                self.step()?;
            }
            let rest = self.rest();
            if rest.starts_with("??") {
                self.at += 2;
                expr = Expr::Exists(expr.into());
            } else if rest.starts_with('?') {
                self.at += 1;
                expr = self.built_in(expr)?;
            } else if rest.starts_with('!') && !rest.starts_with("!=") {
                self.at += 1;
                self.space();
                let value = match self.starts_expression() {
                    true => Some(Box::new(self.deeper(Self::expression)?)),
                    false => None,
                };
                expr = Expr::Default(expr.into(), value);
            } else if rest.starts_with('.') && !rest.starts_with("..") {
                self.at += 1;
                let name = self.name()?;
                self.space();
                expr = match self.rest().starts_with('(') {
                    true => self.call(expr, &name)?,
                    false => Expr::Dot(expr.into(), name),
                };
            } else if rest.starts_with('[') {
                self.at += 1;
                let key = self.bracketed(|parser| {
                    let key = parser.expression()?;
                    parser.expect("]")?;
                    Ok(key)
                })?;
                expr = Expr::Index(expr.into(), key.into());
            } else if rest.starts_with('(') {
                return self.fail("functions are not supported");
            } else {
                return Ok(expr);
            }
        }
    }

    fn call(&mut self, target: Expr, name: &str) -> Result<Expr, SyntaxError> {
        let method = match name {
            "get" => Method::Get,
            "getFirst" => Method::GetFirst,
            "getAll" => Method::GetAll,
            "containsKey" | "contains" => Method::ContainsKey,
            _ => return self.fail(format!("the method {name}(…) is not supported")),
        };
        self.expect("(")?;
        let arguments = self.arguments(")")?;
        if arguments.len() != 1 {
            return self.fail(format!("the method {name}(…) has one argument"));
        }
        Ok(Expr::Call(target.into(), method, arguments))
    }

    fn built_in(&mut self, target: Expr) -> Result<Expr, SyntaxError> {
        let name = self.name()?;
        let Some(built_in) = BuiltIn::find(&name) else {
            return self.fail(format!("the built-in ?{name} is not supported"));
        };
        if built_in.kind == Kind::Loop && !matches!(target, Expr::Variable(_)) {
            return self.fail(format!("?{name} is for loop variables"));
        }
        self.space();
        let arguments = if self.take("(") {
            self.arguments(")")?
        } else if built_in.name == "string" && self.take("[") {
            self.arguments("]")?
        } else if built_in.name == "string"
            && self.rest().starts_with('.')
            && !self.rest().starts_with("..")
        {
            self.at += 1;
            vec![Expr::Text(self.name()?)]
        } else {
            Vec::new()
        };
        if !built_in.takes(arguments.len()) {
            return self.fail(format!("?{name} has another number of arguments"));
        }
        Ok(Expr::BuiltIn(target.into(), built_in, arguments))
    }
}
