//! From Java's flavour to that of the engines.

use std::iter::Peekable;
use std::str::Chars;

/// Classes inside each other.
const CLASS_DEPTH_MAX: usize = 50;

const DIGIT: &str = "0-9";
const WORD: &str = "a-zA-Z0-9_";
const SPACE: &str = r"\x20\t\n\x0B\f\r";
const HORIZONTAL: &str = r"\x20\t\xA0\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}";
const VERTICAL: &str = r"\n\x0B\f\r\x{85}\x{2028}\x{2029}";

/// An expression in the flavour of the engines.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) text: String,
    /// It has a possessive quantifier, which the linear engine reads in another sense. What else it cannot do, it refuses.
    pub(super) is_possessive: bool,
}

/// Rewrites what the two flavours spell differently: short classes are ASCII, `.` stops at every line terminator. The error says what is
/// wrong with the expression.
pub(super) fn translate(pattern: &str) -> Result<Translated, &'static str> {
    let mut translator = Translator {
        rest: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len() + 16),
        class_depth: 0,
        is_dot_all: has_flag(pattern, 's'),
        is_possessive: false,
    };
    translator.run()?;
    Ok(Translated {
        text: translator.out,
        is_possessive: translator.is_possessive,
    })
}

/// Whether `(?…flag…)` is somewhere in the expression.
fn has_flag(pattern: &str, flag: char) -> bool {
    pattern.split("(?").skip(1).any(|group| {
        group
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .any(|own| own == flag)
    })
}

struct Translator<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    /// Classes that are open.
    class_depth: usize,
    is_dot_all: bool,
    is_possessive: bool,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), &'static str> {
        // The last thing written is a quantifier: a `+` behind it makes it possessive.
        let mut quantified = false;
        while let Some(character) = self.rest.next() {
            let after_quantifier = std::mem::take(&mut quantified);
            match character {
                '\\' => self.escape()?,
                '[' => self.open_class()?,
                _ if self.class_depth > 0 => self.in_class(character),
                '(' => {
                    self.check_flags()?;
                    self.out.push('(');
                }
                '.' if !self.is_dot_all => self.out.push_str(r"[^\n\r\x{85}\x{2028}\x{2029}]"),
                '+' if after_quantifier => {
                    self.is_possessive = true;
                    self.out.push('+');
                }
                '*' | '+' | '?' | '}' => {
                    // A `?` behind a quantifier makes it lazy, and is none itself; a `?` behind `(` opens a group.
                    let is_lazy = after_quantifier && character == '?';
                    quantified = !is_lazy && !self.out.ends_with('(');
                    self.out.push(character);
                }
                _ => self.out.push(character),
            }
        }
        if self.class_depth > 0 {
            return Err("the regular expression has an open class");
        }
        Ok(())
    }

    /// Refuses flags behind `(?` that mean something else to the engines: there, `U` swaps greedy and lazy, and `R` and `P` have a sense.
    fn check_flags(&self) -> Result<(), &'static str> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('?') {
            return Ok(());
        }
        let is_known = |flag: char| matches!(flag, 'i' | 'm' | 's' | 'u' | 'x' | '-');
        let mut flags = ahead.take_while(|flag| flag.is_ascii_alphabetic() || *flag == '-');
        if flags.all(is_known) {
            Ok(())
        } else {
            Err("the regular expression has a flag other than i, m, s, u and x")
        }
    }

    fn open_class(&mut self) -> Result<(), &'static str> {
        self.class_depth += 1;
        if self.class_depth > CLASS_DEPTH_MAX {
            return Err("the regular expression is nested too deeply");
        }
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        // A bracket that comes first is itself, and so is a colon: the engines would read `[:alpha:]` as the name of a class.
        if let Some(own) = self.rest.next_if(|own| matches!(own, ']' | ':')) {
            self.literal(own);
        }
        Ok(())
    }

    fn in_class(&mut self, character: char) {
        match character {
            ']' => {
                self.class_depth -= 1;
                self.out.push(']');
            }
            // Twice, these are operators of the other flavour's classes.
            '~' | '-' if self.rest.peek() == Some(&character) => {
                self.out.push('\\');
                self.out.push(character);
            }
            _ => self.out.push(character),
        }
    }

    /// Writes a character that has no sense but itself.
    fn literal(&mut self, character: char) {
        // A space would be left out where an expression has comments.
        if matches!(character, ' ' | ':') {
            self.out.push('\\');
            self.out.push(character);
        } else {
            let mut buffer = [0; 4];
            self.out
                .push_str(&regex::escape(character.encode_utf8(&mut buffer)));
        }
    }

    /// Writes a class, inside of another one too.
    fn class(&mut self, set: &str, is_negated: bool) {
        self.out.push_str(if is_negated { "[^" } else { "[" });
        self.out.push_str(set);
        self.out.push(']');
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        let escaped = self
            .rest
            .next()
            .ok_or("the regular expression ends with a backslash")?;
        let is_outside = self.class_depth == 0;
        match escaped {
            'd' | 'D' => self.class(DIGIT, escaped == 'D'),
            'w' | 'W' => self.class(WORD, escaped == 'W'),
            's' | 'S' => self.class(SPACE, escaped == 'S'),
            'h' | 'H' => self.class(HORIZONTAL, escaped == 'H'),
            'v' | 'V' => self.class(VERTICAL, escaped == 'V'),
            'p' | 'P' => {
                let name = self.property_name()?;
                self.class(&property(&name), escaped == 'P');
            }
            'R' if is_outside => {
                self.out.push_str(r"(?:\r\n|");
                self.class(VERTICAL, false);
                self.out.push(')');
            }
            'Z' if is_outside => self.out.push_str(r"(?=\r?\n?\z)"),
            'e' => self.out.push_str(r"\x1B"),
            'Q' => self.quotation(),
            'u' => {
                let digits: String = self.rest.by_ref().take(4).collect();
                let code = Some(&digits)
                    .filter(|digits| digits.len() == 4)
                    .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
                    .ok_or("the regular expression has a bad \\u escape")?;
                self.out.push_str(&format!(r"\x{{{code}}}"));
            }
            '0' => {
                let code = self.octal()?;
                self.out.push_str(&format!(r"\x{{{code:x}}}"));
            }
            't' | 'n' | 'r' | 'f' | 'a' | 'x' => {
                self.out.push('\\');
                self.out.push(escaped);
            }
            'A' | 'z' | 'b' | 'B' | 'G' | 'k' | '1'..='9' if is_outside => {
                self.out.push('\\');
                self.out.push(escaped);
            }
            // The engines give letters a sense that they have not in Java.
            _ if escaped.is_ascii_alphanumeric() => {
                return Err("the regular expression has an unknown escape");
            }
            _ => self.literal(escaped),
        }
        Ok(())
    }

    /// Up to three digits, as long as they make a byte.
    fn octal(&mut self) -> Result<u32, &'static str> {
        let mut code = None;
        for _ in 0..3 {
            let before = code.unwrap_or(0);
            let Some(digit) = self
                .rest
                .next_if(|next| before < 0o40 && next.is_digit(8))
                .and_then(|next| next.to_digit(8))
            else {
                break;
            };
            code = Some(before * 8 + digit);
        }
        code.ok_or("the regular expression has a bad octal escape")
    }

    /// What stands between `\Q` and `\E` is itself.
    fn quotation(&mut self) {
        while let Some(character) = self.rest.next() {
            if character == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(character);
        }
    }

    fn property_name(&mut self) -> Result<String, &'static str> {
        let bad = "the regular expression has a bad class name";
        let first = self.rest.next().ok_or(bad)?;
        if first != '{' {
            return Ok(first.into());
        }
        let mut name = String::new();
        loop {
            match self.rest.next().ok_or(bad)? {
                '}' => return Ok(name),
                character => name.push(character),
            }
        }
    }
}

/// The members of a named class, as the inside of a class.
fn property(name: &str) -> String {
    let ascii = match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => r"\x00-\x7F",
        "Alpha" => "a-zA-Z",
        "Digit" => DIGIT,
        "Alnum" => "a-zA-Z0-9",
        "Punct" => r"!-/:-@\[-`{-~",
        "Graph" => "!-~",
        "Print" => r"\x20-~",
        "Blank" => r"\x20\t",
        "Cntrl" => r"\x00-\x1F\x7F",
        "XDigit" => "0-9a-fA-F",
        "Space" => SPACE,
        _ => {
            let name = match name {
                "javaLowerCase" => "Lowercase",
                "javaUpperCase" => "Uppercase",
                "javaWhitespace" => "White_Space",
                "javaAlphabetic" => "Alphabetic",
                // A category, whose name stands for a class of ASCII without `Is`.
                "IsDigit" => "Nd",
                _ => name.strip_prefix("Is").unwrap_or(name),
            };
            return format!(r"\p{{{name}}}");
        }
    };
    ascii.to_owned()
}
