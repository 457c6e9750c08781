//! From the text of one expression to tokens.

use super::ElError;

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Text(Box<str>),
    Name(Box<str>),
    /// `.`
    Dot,
    /// `?.`
    SafeDot,
    Comma,
    Colon,
    Hash,
    At,
    Open,
    Close,
    OpenSquare,
    CloseSquare,
    OpenCurly,
    CloseCurly,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Power,
    Increment,
    Decrement,
    Not,
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Assign,
    Question,
    Elvis,
    /// `?[`
    Select,
    /// `^[`
    SelectFirst,
    /// `$[`
    SelectLast,
    /// `![`
    Project,
    Ampersand,
}

/// The tokens of an expression.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ElError> {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

fn is_name_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || char == '$'
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn one(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn two(&mut self, token: Token) -> Token {
        self.at += 2;
        token
    }

    fn next(&mut self) -> Result<Option<Token>, ElError> {
        while matches!(self.peek(0), Some(' ' | '\t' | '\r' | '\n')) {
            self.at += 1;
        }
        let Some(char) = self.peek(0) else {
            return Ok(None);
        };
        let next = self.peek(1);
        Ok(Some(match (char, next) {
            ('+', Some('+')) => self.two(Token::Increment),
            ('+', _) => self.one(Token::Plus),
            ('-', Some('-')) => self.two(Token::Decrement),
            ('-', _) => self.one(Token::Minus),
            ('*', _) => self.one(Token::Star),
            ('/', _) => self.one(Token::Slash),
            ('%', _) => self.one(Token::Percent),
            (':', _) => self.one(Token::Colon),
            ('.', _) => self.one(Token::Dot),
            (',', _) => self.one(Token::Comma),
            ('(', _) => self.one(Token::Open),
            (')', _) => self.one(Token::Close),
            ('[', _) => self.one(Token::OpenSquare),
            (']', _) => self.one(Token::CloseSquare),
            ('{', _) => self.one(Token::OpenCurly),
            ('}', _) => self.one(Token::CloseCurly),
            ('#', _) => self.one(Token::Hash),
            ('@', _) => self.one(Token::At),
            ('^', Some('[')) => self.two(Token::SelectFirst),
            ('^', _) => self.one(Token::Power),
            ('!', Some('=')) => self.two(Token::NotEqual),
            ('!', Some('[')) => self.two(Token::Project),
            ('!', _) => self.one(Token::Not),
            ('=', Some('=')) => self.two(Token::Equal),
            ('=', _) => self.one(Token::Assign),
            ('&', Some('&')) => self.two(Token::And),
            ('&', _) => self.one(Token::Ampersand),
            ('|', Some('|')) => self.two(Token::Or),
            ('?', Some('[')) => self.two(Token::Select),
            ('?', Some(':')) => self.two(Token::Elvis),
            ('?', Some('.')) => self.two(Token::SafeDot),
            ('?', _) => self.one(Token::Question),
            ('$', Some('[')) => self.two(Token::SelectLast),
            ('>', Some('=')) => self.two(Token::GreaterOrEqual),
            ('>', _) => self.one(Token::Greater),
            ('<', Some('=')) => self.two(Token::LessOrEqual),
            ('<', _) => self.one(Token::Less),
            ('0'..='9', _) => self.number()?,
            ('\'' | '"', _) => self.quoted(char)?,
            _ if is_name_char(char) => self.name(),
            _ => {
                return Err(ElError::parse(format!(
                    "unexpected character '{}' in the expression",
                    char.escape_debug()
                )));
            }
        }))
    }

    fn quoted(&mut self, quote: char) -> Result<Token, ElError> {
        let mut text = String::new();
        self.at += 1;
        loop {
            match self.peek(0) {
                None => return Err(ElError::parse("a text has no closing quote")),
                Some(char) if char == quote => {
                    if self.peek(1) != Some(quote) {
                        self.at += 1;
                        return Ok(Token::Text(text.into()));
                    }
                    text.push(quote);
                    self.at += 2;
                }
                Some(char) => {
                    text.push(char);
                    self.at += 1;
                }
            }
        }
    }

    fn name(&mut self) -> Token {
        let start = self.at;
        while self.peek(0).is_some_and(is_name_char) {
            self.at += 1;
        }
        let name: String = self.chars[start..self.at].iter().collect();
        if matches!(name.len(), 2 | 3) {
            match name.to_ascii_lowercase().as_str() {
                "div" => return Token::Slash,
                "mod" => return Token::Percent,
                "not" => return Token::Not,
                "eq" => return Token::Equal,
                "ne" => return Token::NotEqual,
                "lt" => return Token::Less,
                "le" => return Token::LessOrEqual,
                "gt" => return Token::Greater,
                "ge" => return Token::GreaterOrEqual,
                _ => {}
            }
        }
        Token::Name(name.into())
    }

    fn digits(&mut self) {
        while self.peek(0).is_some_and(|char| char.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<Token, ElError> {
        let start = self.at;
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.at += 2;
            let start = self.at;
            while self.peek(0).is_some_and(|char| char.is_ascii_hexdigit()) {
                self.at += 1;
            }
            let text: String = self.chars[start..self.at].iter().collect();
            return if matches!(self.peek(0), Some('l' | 'L')) {
                self.at += 1;
                i64::from_str_radix(&text, 16).map(Token::Long)
            } else {
                i32::from_str_radix(&text, 16).map(Token::Int)
            }
            .map_err(|_| ElError::parse("a hexadecimal number is out of range"));
        }
        self.digits();
        let mut real = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|char| char.is_ascii_digit()) {
            real = true;
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if !self
                .peek(1 + sign)
                .is_some_and(|char| char.is_ascii_digit())
            {
                return Err(ElError::parse("a number has no digits in its exponent"));
            }
            real = true;
            self.at += 1 + sign;
            self.digits();
        }
        let text: String = self.chars[start..self.at].iter().collect();
        let bad = || ElError::parse("a number is out of range");
        match self.peek(0) {
            Some('f' | 'F') => {
                self.at += 1;
                text.parse().map(Token::Float).map_err(|_| bad())
            }
            Some('d' | 'D') if !self.peek(1).is_some_and(is_name_char) => {
                self.at += 1;
                text.parse().map(Token::Double).map_err(|_| bad())
            }
            Some('l' | 'L') if !real => {
                self.at += 1;
                text.parse().map(Token::Long).map_err(|_| bad())
            }
            _ if real => text.parse().map(Token::Double).map_err(|_| bad()),
            _ => text.parse().map(Token::Int).map_err(|_| bad()),
        }
    }
}
