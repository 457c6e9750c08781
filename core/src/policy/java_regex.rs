//! Regular expressions as the reference's platform reads them (Java flavour), for policies that take one from their configuration.
//!
//! Most run on an engine whose time grows with the text only. Look-around, back references, atomic groups and possessive quantifiers
//! need an engine that goes back on its steps; its steps are bounded, and a search that needs more fails.

use regex::Regex;

/// Steps back that one search may take.
const BACKTRACKS_MAX: usize = 1_000_000;

/// Bytes that a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// The search took more steps than one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the regular expression needs too many steps on this text")]
pub(super) struct TooHard;

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) enum JavaRegex {
    /// Linear time.
    Linear(Regex),
    /// Bounded steps.
    Backtracking(Box<fancy_regex::Regex>),
}

/// What an expression found: the byte ranges of its groups, the whole match first.
pub(super) type Groups = Vec<Option<(usize, usize)>>;

/// How much of a text an expression must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Some part (`find`).
    Part,
    /// All of it (`matches`).
    Whole,
}

impl JavaRegex {
    /// Compiles an expression; the error says what is wrong with it.
    pub(super) fn new(pattern: &str, extent: Extent, case_sensitive: bool) -> Result<Self, String> {
        let Translated { text, backtracks } = translate(pattern)?;
        let text = match extent {
            Extent::Part => text,
            Extent::Whole => format!(r"\A(?:{text})\z"),
        };
        if !backtracks
            && let Ok(regex) = regex::RegexBuilder::new(&text)
                .case_insensitive(!case_sensitive)
                .size_limit(COMPILED_BYTES_MAX)
                .build()
        {
            return Ok(Self::Linear(regex));
        }
        fancy_regex::RegexBuilder::new(&text)
            .case_insensitive(!case_sensitive)
            .backtrack_limit(BACKTRACKS_MAX)
            .seek(true)
            .delegate_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map(|regex| Self::Backtracking(Box::new(regex)))
            .map_err(|error| error.to_string())
    }

    /// Whether the text matches.
    pub(super) fn is_match(&self, text: &str) -> Result<bool, TooHard> {
        match self {
            Self::Linear(regex) => Ok(regex.is_match(text)),
            Self::Backtracking(regex) => regex.is_match(text).map_err(|_| TooHard),
        }
    }

    /// The first match at or behind byte `start`, which lies between two characters.
    pub(super) fn find_at(&self, text: &str, start: usize) -> Result<Option<Groups>, TooHard> {
        if start > text.len() {
            return Ok(None);
        }
        match self {
            Self::Linear(regex) => Ok(regex.captures_at(text, start).map(|found| {
                found
                    .iter()
                    .map(|group| group.map(|group| (group.start(), group.end())))
                    .collect()
            })),
            Self::Backtracking(regex) => {
                let found = regex.captures_from_pos(text, start).map_err(|_| TooHard)?;
                Ok(found.map(|found| {
                    found
                        .iter()
                        .map(|group| group.map(|group| (group.start(), group.end())))
                        .collect()
                }))
            }
        }
    }

    /// Names of the groups, by their number.
    pub(super) fn names(&self) -> Vec<Option<Box<str>>> {
        match self {
            Self::Linear(regex) => regex
                .capture_names()
                .map(|name| name.map(Into::into))
                .collect(),
            Self::Backtracking(regex) => regex
                .capture_names()
                .map(|name| name.map(Into::into))
                .collect(),
        }
    }
}

struct Translated {
    text: String,
    /// It holds something that the linear engine reads in another sense.
    backtracks: bool,
}

const DIGIT: &str = "0-9";
const WORD: &str = "a-zA-Z0-9_";
const SPACE: &str = r"\x20\t\n\x0B\f\r";
const HORIZONTAL: &str = r"\x20\t\xA0\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}";
const VERTICAL: &str = r"\n\x0B\f\r\x{85}\x{2028}\x{2029}";

/// Rewrites what the two flavours spell differently: short classes are ASCII, `.` stops at every line terminator.
fn translate(pattern: &str) -> Result<Translated, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut backtracks = false;
    let dot_all = has_flag(pattern, 's');
    let mut characters = pattern.chars().peekable();
    let mut classes = 0_usize;
    // The last thing written is a quantifier: a `+` behind it makes it possessive.
    let mut quantified = false;
    while let Some(character) = characters.next() {
        let after_quantifier = std::mem::take(&mut quantified);
        match character {
            '\\' => {
                let Some(escaped) = characters.next() else {
                    return Err("a backslash ends the expression".to_owned());
                };
                let mut class = |set: &str, negated: bool| {
                    if classes > 0 && !negated {
                        out.push_str(set);
                    } else {
                        out.push_str(if negated { "[^" } else { "[" });
                        out.push_str(set);
                        out.push(']');
                    }
                };
                match escaped {
                    'd' => class(DIGIT, false),
                    'D' => class(DIGIT, true),
                    'w' => class(WORD, false),
                    'W' => class(WORD, true),
                    's' => class(SPACE, false),
                    'S' => class(SPACE, true),
                    'h' => class(HORIZONTAL, false),
                    'H' => class(HORIZONTAL, true),
                    'v' => class(VERTICAL, false),
                    'V' => class(VERTICAL, true),
                    'R' if classes == 0 => {
                        out.push_str(r"(?:\r\n|[\n\x0B\f\r\x{85}\x{2028}\x{2029}])");
                    }
                    'e' => out.push_str(r"\x1B"),
                    'Q' => {
                        let mut literal = String::new();
                        while let Some(next) = characters.next() {
                            if next == '\\' && characters.peek() == Some(&'E') {
                                characters.next();
                                break;
                            }
                            literal.push(next);
                        }
                        out.push_str(&regex::escape(&literal));
                    }
                    'u' => {
                        let digits: String = characters.by_ref().take(4).collect();
                        if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
                        {
                            return Err("\\u needs four hexadecimal digits".to_owned());
                        }
                        out.push_str(r"\x{");
                        out.push_str(&digits);
                        out.push('}');
                    }
                    'p' | 'P' => {
                        let name: String = if characters.peek() == Some(&'{') {
                            characters.next();
                            characters
                                .by_ref()
                                .take_while(|next| *next != '}')
                                .collect()
                        } else {
                            characters.next().into_iter().collect()
                        };
                        property(&mut out, &name, escaped == 'P', classes > 0);
                    }
                    '<' | '>' => out.push(escaped),
                    _ => {
                        out.push('\\');
                        out.push(escaped);
                    }
                }
            }
            '[' => {
                classes += 1;
                out.push('[');
                if characters.peek() == Some(&'^') {
                    characters.next();
                    out.push('^');
                }
            }
            ']' if classes > 0 => {
                classes -= 1;
                out.push(']');
            }
            // These have a sense of their own inside the other flavour's classes.
            '~' if classes > 0 => out.push_str(r"\~"),
            '-' if classes > 0 && characters.peek() == Some(&'-') => out.push_str(r"\-"),
            _ if classes > 0 => out.push(character),
            '.' if !dot_all => out.push_str(r"[^\n\r\x{85}\x{2028}\x{2029}]"),
            '(' => {
                out.push('(');
                let mut ahead = characters.clone();
                if ahead.next() == Some('?') && ahead.next() == Some('>') {
                    backtracks = true;
                }
            }
            '+' if after_quantifier => {
                backtracks = true;
                out.push('+');
            }
            '*' | '+' | '?' | '}' => {
                // A `?` behind a quantifier makes it lazy, and is none itself; a `?` behind `(` opens a group.
                let is_lazy = after_quantifier && character == '?';
                quantified = !is_lazy && !out.ends_with('(');
                out.push(character);
            }
            _ => out.push(character),
        }
    }
    Ok(Translated {
        text: out,
        backtracks,
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

fn property(out: &mut String, name: &str, negated: bool, in_class: bool) {
    let ascii = match name {
        "Lower" => "lower",
        "Upper" => "upper",
        "ASCII" => "ascii",
        "Alpha" => "alpha",
        "Digit" => "digit",
        "Alnum" => "alnum",
        "Punct" => "punct",
        "Graph" => "graph",
        "Print" => "print",
        "Blank" => "blank",
        "Cntrl" => "cntrl",
        "XDigit" => "xdigit",
        "Space" => "space",
        _ => "",
    };
    if ascii.is_empty() {
        let name = match name {
            "javaLowerCase" => "Lowercase",
            "javaUpperCase" => "Uppercase",
            "javaWhitespace" => "White_Space",
            "javaAlphabetic" => "Alphabetic",
            _ => name.strip_prefix("Is").unwrap_or(name),
        };
        out.push_str(if negated { r"\P{" } else { r"\p{" });
        out.push_str(name);
        out.push('}');
        return;
    }
    let set = format!("[:{}{ascii}:]", if negated { "^" } else { "" });
    if in_class {
        out.push_str(&set);
    } else {
        out.push('[');
        out.push_str(&set);
        out.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(pattern: &str, extent: Extent, text: &str) -> bool {
        JavaRegex::new(pattern, extent, true)
            .unwrap_or_else(|error| panic!("{pattern}: {error}"))
            .is_match(text)
            .expect("few steps")
    }

    #[test]
    fn expressions_match_as_in_the_reference() {
        for (pattern, text, part, whole) in [
            ("a+", "baab", true, false),
            ("a|ab", "ab", true, true),
            (r"\d", "٣", false, false),
            (r"\w+", "é", false, false),
            (r"[\w-]+", "a-b", true, true),
            (r"\s", "\u{a0}", false, false),
            ("a.b", "a\rb", false, false),
            ("(?s)a.b", "a\rb", true, true),
            (r"https?:\/\/[^\/]*\/", "http://h/", true, true),
            (r"\Qa.b\E", "a.b", true, true),
            (r"\Qa.b\E", "axb", false, false),
            (r"\u0041", "A", true, true),
            (r"\p{Alpha}+", "abc", true, true),
            (r"[\p{Alpha}\d]+", "abc1", true, true),
            (r"\P{Digit}", "1", false, false),
            (r"\p{IsAlphabetic}", "é", true, true),
            (r"(?=a)ab", "ab", true, true),
            (r"(a)\1", "aa", true, true),
            (r"a++a", "aaa", false, false),
            (r"a+a", "aaa", true, true),
            (r"a+?a", "aaa", true, true),
            (r"(?>a|ab)c", "abc", false, false),
            (r"(?>\w|\d|\-)*x", "abx", true, true),
            ("[a--b]", "b", true, true),
            ("[a~~b]", "~", true, true),
            (r"(?<year>\d{4})", "2020", true, true),
        ] {
            assert_eq!(
                found(pattern, Extent::Part, text),
                part,
                "{pattern} in {text:?}"
            );
            assert_eq!(
                found(pattern, Extent::Whole, text),
                whole,
                "{pattern} is {text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for pattern in ["(", "[", "*a", "\\", r"\u12", "(?<n>a"] {
            assert!(
                JavaRegex::new(pattern, Extent::Part, true).is_err(),
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_search_that_takes_too_many_steps_fails() {
        let regex = JavaRegex::new(r"(x+x+)+(?=y)\1", Extent::Part, true).expect("an expression");
        assert_eq!(regex.is_match(&"x".repeat(64)), Err(TooHard));
    }

    #[test]
    fn groups_have_places_and_names() {
        for pattern in ["(?<a>x)(y)?", "(?<a>x)(y)?(?=.|)"] {
            let regex = JavaRegex::new(pattern, Extent::Part, true).expect("an expression");
            let groups = regex
                .find_at("-x-", 1)
                .expect("few steps")
                .expect("a match");
            assert_eq!(groups, [Some((1, 2)), Some((1, 2)), None], "{pattern}");
            assert_eq!(regex.names(), [None, Some("a".into()), None], "{pattern}");
            assert_eq!(regex.find_at("-x-", 9), Ok(None));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_expression_or_none(pattern in r"[\\a-z\[\](){}?*+.^$|0-9:<>=!~&-]{0,40}", text in ".{0,40}") {
            if let Ok(regex) = JavaRegex::new(&pattern, Extent::Part, false) {
                let _ = regex.is_match(&text);
                let _ = regex.find_at(&text, 0);
            }
        }
    }
}
