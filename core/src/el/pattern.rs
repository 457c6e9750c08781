//! Regular expressions in Java's flavour: translated, and matched in linear time where they need no backtracking.

use super::ElError;
use super::limits::Budget;

/// Steps of backtracking that one search may take.
const BACKTRACKS_MAX: usize = 50_000;
/// What one search with backtracking costs of the budget of an evaluation.
const BACKTRACKING_STEPS: u64 = 2_000;
/// Memory of one compiled pattern, bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Longest pattern, bytes. Only the operator `matches` has a lower limit in the reference.
const PATTERN_BYTES_MAX: usize = 10_000;
/// Steps that compiling a pattern costs.
pub(super) const COMPILE_STEPS: u64 = 500;

#[derive(Debug)]
enum Engine {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// A compiled pattern, for whole texts and for parts of them.
#[derive(Debug)]
pub(super) struct Pattern {
    whole: Engine,
    part: Engine,
}

/// Positions of a match and of its groups.
pub(super) type Groups = Vec<Option<(usize, usize)>>;

fn compile(pattern: &str, backtracking: bool) -> Option<Engine> {
    if !backtracking
        && let Ok(regex) = regex::RegexBuilder::new(pattern)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .nest_limit(100)
            .build()
    {
        return Some(Engine::Linear(regex));
    }
    fancy_regex::RegexBuilder::new(pattern)
        .backtrack_limit(BACKTRACKS_MAX)
        .delegate_size_limit(COMPILED_BYTES_MAX)
        .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
        .ok()
        .map(|regex| Engine::Backtracking(Box::new(regex)))
}

fn exhausted() -> ElError {
    ElError::evaluation("a regular expression takes too many steps")
}

impl Pattern {
    /// Compiles a pattern; `Err` tells what is wrong with it.
    pub(super) fn new(pattern: &str) -> Result<Self, &'static str> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err("the regular expression is too long");
        }
        let (translated, backtracking) = translate(pattern)?;
        let bad = "the regular expression is not valid";
        Ok(Self {
            whole: compile(&format!(r"\A(?:{translated})\z"), backtracking).ok_or(bad)?,
            part: compile(&translated, backtracking).ok_or(bad)?,
        })
    }

    /// Whether the whole text matches.
    pub(super) fn matches(&self, text: &str, budget: &mut Budget<'_>) -> Result<bool, ElError> {
        budget.walk(text.len())?;
        match &self.whole {
            Engine::Linear(regex) => Ok(regex.is_match(text)),
            Engine::Backtracking(regex) => {
                budget.spend(BACKTRACKING_STEPS)?;
                regex.is_match(text).map_err(|_| exhausted())
            }
        }
    }

    /// The next match that begins at `from` or behind.
    pub(super) fn find(
        &self,
        text: &str,
        from: usize,
        budget: &mut Budget<'_>,
    ) -> Result<Option<Groups>, ElError> {
        budget.spend(1)?;
        match &self.part {
            Engine::Linear(regex) => Ok(regex.captures_at(text, from).map(|captures| {
                captures
                    .iter()
                    .map(|group| group.map(|group| (group.start(), group.end())))
                    .collect()
            })),
            Engine::Backtracking(regex) => {
                budget.spend(BACKTRACKING_STEPS)?;
                Ok(regex
                    .captures_from_pos(text, from)
                    .map_err(|_| exhausted())?
                    .map(|captures| {
                        captures
                            .iter()
                            .map(|group| group.map(|group| (group.start(), group.end())))
                            .collect()
                    }))
            }
        }
    }

    /// The position of a named group.
    fn group_number(&self, name: &str) -> Option<usize> {
        match &self.part {
            Engine::Linear(regex) => regex.capture_names().position(|own| own == Some(name)),
            Engine::Backtracking(regex) => regex.capture_names().position(|own| own == Some(name)),
        }
    }

    /// Every match from the beginning on, up to `limit`, without overlaps.
    pub(super) fn find_all(
        &self,
        text: &str,
        limit: usize,
        budget: &mut Budget<'_>,
    ) -> Result<Vec<Groups>, ElError> {
        budget.walk(text.len())?;
        let mut found = Vec::new();
        let mut from = 0;
        while found.len() < limit && from <= text.len() {
            let Some(groups) = self.find(text, from, budget)? else {
                break;
            };
            let Some(Some((start, end))) = groups.first().copied() else {
                break;
            };
            from = if end > start {
                end
            } else {
                end + text[end..].chars().next().map_or(1, char::len_utf8)
            };
            found.push(groups);
        }
        Ok(found)
    }

    /// Replaces up to `limit` matches; `$1`, `${name}` and `\` mean what they mean in Java.
    pub(super) fn replace(
        &self,
        text: &str,
        replacement: &str,
        limit: usize,
        budget: &mut Budget<'_>,
    ) -> Result<String, ElError> {
        let mut result = String::new();
        let mut copied = 0;
        for groups in self.find_all(text, limit, budget)? {
            let Some(Some((start, end))) = groups.first().copied() else {
                continue;
            };
            result.push_str(&text[copied..start]);
            let before = result.len();
            self.expand(text, &groups, replacement, &mut result)?;
            budget.take(result.len() - before)?;
            copied = end;
        }
        result.push_str(&text[copied..]);
        budget.take(text.len())?;
        Ok(result)
    }

    fn expand(
        &self,
        text: &str,
        groups: &Groups,
        replacement: &str,
        result: &mut String,
    ) -> Result<(), ElError> {
        let mut chars = replacement.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '\\' => match chars.next() {
                    Some(char) => result.push(char),
                    None => return Err(ElError::runtime("a character to be escaped is missing")),
                },
                '$' if chars.peek() == Some(&'{') => {
                    chars.next();
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(char) => name.push(char),
                            None => return Err(ElError::runtime("a group reference has no end")),
                        }
                    }
                    let number = self
                        .group_number(&name)
                        .ok_or_else(|| ElError::runtime("there is no group of this name"))?;
                    if let Some(Some((start, end))) = groups.get(number) {
                        result.push_str(&text[*start..*end]);
                    }
                }
                '$' => {
                    let mut number = match chars.next().and_then(|char| char.to_digit(10)) {
                        Some(digit) => digit as usize,
                        None => return Err(ElError::runtime("illegal group reference")),
                    };
                    if number >= groups.len() {
                        return Err(ElError::runtime("there is no such group"));
                    }
                    while let Some(digit) = chars.peek().and_then(|char| char.to_digit(10)) {
                        let longer = number * 10 + digit as usize;
                        if longer >= groups.len() {
                            break;
                        }
                        number = longer;
                        chars.next();
                    }
                    if let Some(Some((start, end))) = groups.get(number) {
                        result.push_str(&text[*start..*end]);
                    }
                }
                char => result.push(char),
            }
        }
        Ok(())
    }
}

/// Named classes whose members differ between the flavours, as the inside of a class.
fn named_class(name: &str) -> Option<&'static str> {
    Some(match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => r"\x00-\x7F",
        "Alpha" => "a-zA-Z",
        "Digit" => "0-9",
        "Alnum" => "a-zA-Z0-9",
        "Punct" => r"!-/:-@\[-`{-~",
        "Graph" => "!-~",
        "Print" => " -~",
        "Blank" => r" \t",
        "Cntrl" => r"\x00-\x1F\x7F",
        "XDigit" => "0-9a-fA-F",
        "Space" => r"\t\n\x0B\x0C\r ",
        "javaLowerCase" | "IsLowercase" => r"\p{Lowercase}",
        "javaUpperCase" | "IsUppercase" => r"\p{Uppercase}",
        "javaWhitespace" | "IsWhite_Space" => r"\p{White_Space}",
        "IsAlphabetic" => r"\p{Alphabetic}",
        "IsLetter" => r"\p{L}",
        "IsDigit" => r"\p{Nd}",
        "IsPunctuation" => r"\p{P}",
        "IsLatin" => r"\p{Latin}",
        _ => return None,
    })
}

/// The pattern in the flavour of the engines, and whether it needs backtracking.
fn translate(pattern: &str) -> Result<(String, bool), &'static str> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut result = String::with_capacity(pattern.len() + 16);
    let mut backtracking = false;
    let mut class_depth = 0usize;
    let dot_all = pattern.contains("(?s") || pattern.contains("(?is") || pattern.contains("(?ms");
    let mut at = 0;
    while let Some(&char) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        at += 1;
        match char {
            '\\' => {
                at += 1;
                let Some(escaped) = next else {
                    return Err("the regular expression ends with a backslash");
                };
                let inside = class_depth > 0;
                match escaped {
                    'd' => result.push_str("[0-9]"),
                    'D' => result.push_str("[^0-9]"),
                    'w' => result.push_str("[a-zA-Z0-9_]"),
                    'W' => result.push_str("[^a-zA-Z0-9_]"),
                    's' => result.push_str(r"[\t\n\x0B\x0C\r ]"),
                    'S' => result.push_str(r"[^\t\n\x0B\x0C\r ]"),
                    'h' => result.push_str(
                        r"[ \t\xA0\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]",
                    ),
                    'v' => result.push_str(r"[\n\x0B\x0C\r\x{85}\x{2028}\x{2029}]"),
                    'R' if !inside => {
                        result.push_str(r"(?:\r\n|[\n\x0B\x0C\r\x{85}\x{2028}\x{2029}])")
                    }
                    'e' => result.push_str(r"\x1B"),
                    'Z' if !inside => {
                        result.push_str(r"(?=\r?\n?\z)");
                        backtracking = true;
                    }
                    'A' | 'z' | 'b' | 'B' | 't' | 'n' | 'r' | 'f' | 'a' => {
                        result.push('\\');
                        result.push(escaped);
                    }
                    'x' => result.push_str(r"\x"),
                    'u' => {
                        let digits: String = chars.iter().skip(at).take(4).collect();
                        if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
                        {
                            return Err("the regular expression has a bad \\u escape");
                        }
                        at += 4;
                        result.push_str(&format!(r"\x{{{digits}}}"));
                    }
                    '0' => {
                        let digits: String = chars
                            .iter()
                            .skip(at)
                            .take(3)
                            .take_while(|char| ('0'..='7').contains(char))
                            .collect();
                        let code = u32::from_str_radix(&digits, 8)
                            .map_err(|_| "the regular expression has a bad octal escape")?;
                        at += digits.len();
                        result.push_str(&format!(r"\x{{{code:x}}}"));
                    }
                    'p' | 'P' => {
                        let (name, behind) = match chars.get(at) {
                            Some('{') => {
                                let length = chars
                                    .iter()
                                    .skip(at)
                                    .position(|char| *char == '}')
                                    .ok_or("the regular expression has a bad class name")?;
                                (
                                    chars[at + 1..at + length].iter().collect::<String>(),
                                    at + length + 1,
                                )
                            }
                            Some(char) => (char.to_string(), at + 1),
                            None => return Err("the regular expression has a bad class name"),
                        };
                        at = behind;
                        let negated = if escaped == 'P' { "^" } else { "" };
                        match named_class(&name) {
                            Some(class) => result.push_str(&format!("[{negated}{class}]")),
                            None => {
                                let name = name.strip_prefix("Is").unwrap_or(&name);
                                result.push_str(&format!(r"[{negated}\p{{{name}}}]"));
                            }
                        }
                    }
                    'Q' => {
                        while at < chars.len() {
                            if chars[at] == '\\' && chars.get(at + 1) == Some(&'E') {
                                at += 2;
                                break;
                            }
                            let mut buffer = [0; 4];
                            result.push_str(&regex::escape(chars[at].encode_utf8(&mut buffer)));
                            at += 1;
                        }
                    }
                    'E' => {}
                    'k' if !inside => {
                        result.push_str(r"\k");
                        backtracking = true;
                    }
                    '1'..='9' if !inside => {
                        result.push('\\');
                        result.push(escaped);
                        backtracking = true;
                    }
                    _ if escaped.is_ascii_alphanumeric() => {
                        return Err("the regular expression has an unknown escape");
                    }
                    _ => {
                        let mut buffer = [0; 4];
                        result.push_str(&regex::escape(escaped.encode_utf8(&mut buffer)));
                    }
                }
            }
            '[' => {
                class_depth += 1;
                if class_depth > 50 {
                    return Err("the regular expression is nested too deeply");
                }
                result.push('[');
                if next == Some('^') {
                    result.push('^');
                    at += 1;
                }
                // A bracket that comes first is itself.
                if chars.get(at) == Some(&']') {
                    result.push_str(r"\]");
                    at += 1;
                }
            }
            ']' if class_depth > 0 => {
                class_depth -= 1;
                result.push(']');
            }
            '-' | '~' if class_depth > 0 && next == Some(char) => {
                result.push('\\');
                result.push(char);
            }
            _ if class_depth > 0 => result.push(char),
            '.' if !dot_all => result.push_str(r"[^\n\r\x{85}\x{2028}\x{2029}]"),
            '*' | '+' | '?' | '}' => {
                result.push(char);
                if next == Some('+') && at > 1 {
                    backtracking = true;
                }
            }
            '(' if next == Some('?') => {
                result.push('(');
                if matches!(chars.get(at + 1), Some('=' | '!' | '>'))
                    || (chars.get(at + 1) == Some(&'<')
                        && matches!(chars.get(at + 2), Some('=' | '!')))
                {
                    backtracking = true;
                }
            }
            char => result.push(char),
        }
    }
    if class_depth > 0 {
        return Err("the regular expression has an open class");
    }
    Ok((result, backtracking))
}
