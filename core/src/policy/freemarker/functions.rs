//! What the built-ins of [`super::builtins`] do.

use std::fmt::Write as _;
use std::rc::Rc;

use super::ast::Text;
use super::builtins::{BuiltIn, Kind};
use super::decimal::{Decimal, Rounding, group};
use super::eval::{Outcome, Renderer, wrong};
use super::value::Item;

/// Characters that `?left_pad` and `?right_pad` make at most.
const PADDED_MAX: usize = 10_000;

pub(super) fn apply<'a>(
    renderer: &mut Renderer<'_, 'a>,
    built_in: BuiltIn,
    item: Item<'a>,
    arguments: &[Item<'a>],
) -> Outcome<Option<Item<'a>>> {
    match built_in.kind {
        Kind::Text => {
            let Some(own) = plain(&item) else {
                return wrong(format!(
                    "?{} is for texts, not for {}",
                    built_in.name,
                    item.kind()
                ));
            };
            text(renderer, built_in.name, &own, arguments)
        }
        Kind::Number => {
            let Item::Number(own) = item else {
                return wrong(format!(
                    "?{} is for numbers, not for {}",
                    built_in.name,
                    item.kind()
                ));
            };
            let result = match built_in.name {
                "round" => own
                    .add(half())
                    .and_then(|own| own.rounded(0, Rounding::Floor)),
                "floor" => own.rounded(0, Rounding::Floor),
                "ceiling" => own.rounded(0, Rounding::Ceiling),
                "int" | "long" => own.rounded(0, Rounding::Down),
                "abs" if own.is_negative() => own.negate(),
                _ => Some(own),
            };
            Ok(result.map(Item::Number))
        }
        Kind::Collection => collection(renderer, built_in.name, &item, arguments),
        _ => any(renderer, built_in.name, item, arguments),
    }
}

fn half() -> Decimal {
    Decimal::parse("0.5").unwrap_or_else(|| Decimal::integer(0))
}

/// The text of what prints as text.
fn plain(item: &Item<'_>) -> Option<Text> {
    match item {
        Item::Text(text) => Some(Rc::clone(text)),
        Item::Number(number) => Some(number.to_text().into()),
        Item::Nothing => Some("".into()),
        _ => None,
    }
}

fn text_argument(arguments: &[Item<'_>], index: usize) -> Outcome<Text> {
    match arguments
        .get(index)
        .map(|argument| (plain(argument), argument))
    {
        Some((Some(text), _)) => Ok(text),
        Some((None, argument)) => wrong(format!("an argument is {} and no text", argument.kind())),
        None => wrong("an argument is missing"),
    }
}

fn integer_argument(arguments: &[Item<'_>], index: usize) -> Outcome<usize> {
    match arguments.get(index) {
        Some(Item::Number(number)) => match number.to_integer().map(usize::try_from) {
            Some(Ok(number)) => Ok(number),
            _ => wrong("an argument is negative or no whole number"),
        },
        _ => wrong("an argument is no number"),
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each built-in")]
fn text<'a>(
    renderer: &mut Renderer<'_, 'a>,
    name: &str,
    own: &str,
    arguments: &[Item<'a>],
) -> Outcome<Option<Item<'a>>> {
    // What it makes is at most six times as large, but for `?replace` and paddings.
    renderer.make(own.len())?;
    let argument = |index: usize| text_argument(arguments, index);
    let cut = |at: Option<usize>, skip: usize, from_end: bool| match (at, from_end) {
        (Some(at), false) => own.get(..at).unwrap_or_default().to_owned(),
        (Some(at), true) => own.get(at + skip..).unwrap_or_default().to_owned(),
        (None, false) => own.to_owned(),
        (None, true) => String::new(),
    };
    let result: String = match name {
        "upper_case" => own.to_uppercase(),
        "lower_case" => own.to_lowercase(),
        "cap_first" => with_first(own, |first| first.to_uppercase().collect()),
        "uncap_first" => with_first(own, |first| first.to_lowercase().collect()),
        "capitalize" => own
            .split_inclusive(char::is_whitespace)
            .map(|word| with_first(&word.to_lowercase(), |first| first.to_uppercase().collect()))
            .collect(),
        "trim" => own.trim_matches(|character| character <= ' ').to_owned(),
        "html" | "xhtml" => escaped(own, |character| match character {
            '<' => Some("&lt;"),
            '>' => Some("&gt;"),
            '&' => Some("&amp;"),
            '"' => Some("&quot;"),
            '\'' => Some("&#39;"),
            _ => None,
        }),
        "xml" => escaped(own, |character| match character {
            '<' => Some("&lt;"),
            '>' => Some("&gt;"),
            '&' => Some("&amp;"),
            '"' => Some("&quot;"),
            '\'' => Some("&apos;"),
            _ => None,
        }),
        "json_string" => script(own, Script::Json),
        "js_string" => script(own, Script::Browser),
        "j_string" => script(own, Script::Platform),
        "url" | "url_path" => {
            if arguments.first().is_some_and(|charset| {
                !plain(charset).is_some_and(|charset| charset.eq_ignore_ascii_case("utf-8"))
            }) {
                return wrong("UTF-8 is the only character set");
            }
            percent_encoded(own, name == "url_path")
        }
        "ensure_starts_with" => {
            let start = argument(0)?;
            if own.starts_with(&*start) {
                own.to_owned()
            } else {
                [&*start, own].concat()
            }
        }
        "ensure_ends_with" => {
            let end = argument(0)?;
            if own.ends_with(&*end) {
                own.to_owned()
            } else {
                [own, &*end].concat()
            }
        }
        "remove_beginning" => own.strip_prefix(&*argument(0)?).unwrap_or(own).to_owned(),
        "remove_ending" => own.strip_suffix(&*argument(0)?).unwrap_or(own).to_owned(),
        "keep_before" => cut(own.find(&*argument(0)?), 0, false),
        "keep_before_last" => cut(own.rfind(&*argument(0)?), 0, false),
        "keep_after" => {
            let separator = argument(0)?;
            cut(own.find(&*separator), separator.len(), true)
        }
        "keep_after_last" => {
            let separator = argument(0)?;
            match own.rfind(&*separator) {
                Some(at) => cut(Some(at), separator.len(), true),
                None => own.to_owned(),
            }
        }
        "chop_linebreak" => own
            .strip_suffix('\n')
            .map(|own| own.strip_suffix('\r').unwrap_or(own))
            .unwrap_or(own)
            .to_owned(),
        "replace" => {
            let (from, to) = (argument(0)?, argument(1)?);
            let found = own.matches(&*from).count();
            renderer.make(found.saturating_mul(to.len()))?;
            own.replace(&*from, &to)
        }
        "substring" => return substring(own, arguments),
        "left_pad" | "right_pad" => return padded(own, name == "left_pad", arguments),
        "length" => return Ok(Some(Item::integer(own.encode_utf16().count()))),
        "contains" => return Ok(Some(Item::Bool(own.contains(&*argument(0)?)))),
        "starts_with" => return Ok(Some(Item::Bool(own.starts_with(&*argument(0)?)))),
        "ends_with" => return Ok(Some(Item::Bool(own.ends_with(&*argument(0)?)))),
        "index_of" => {
            let from = match arguments.len() {
                2 => integer_argument(arguments, 1)?,
                _ => 0,
            };
            let start = own.char_indices().nth(from).map_or(own.len(), |(at, _)| at);
            let found = own.get(start..).and_then(|rest| {
                let at = rest.find(&*text_argument(arguments, 0).ok()?)?;
                Some(start + at)
            });
            argument(0)?;
            return Ok(Some(place(own, found)));
        }
        "last_index_of" => return Ok(Some(place(own, own.rfind(&*argument(0)?)))),
        "split" => {
            let separator = argument(0)?;
            if separator.is_empty() {
                return wrong("?split needs a separator");
            }
            let parts: Vec<Item<'a>> = own.split(&*separator).map(Item::text).collect();
            renderer.make(parts.len() * size_of::<Item<'_>>())?;
            return Ok(Some(Item::list(parts)));
        }
        "word_list" => {
            let parts: Vec<Item<'a>> = own.split_whitespace().map(Item::text).collect();
            renderer.make(parts.len() * size_of::<Item<'_>>())?;
            return Ok(Some(Item::list(parts)));
        }
        "number" => {
            return match Decimal::parse(own) {
                Some(number) => Ok(Some(Item::Number(number))),
                None => wrong("the text is no number"),
            };
        }
        "boolean" => {
            return match own {
                "true" => Ok(Some(Item::Bool(true))),
                "false" => Ok(Some(Item::Bool(false))),
                _ => wrong("the text is no boolean"),
            };
        }
        _ => {
            renderer.make(own.len().saturating_mul(4))?;
            return match serde_json::from_str::<serde_json::Value>(own) {
                Ok(value) => Ok(Item::from_json(&value)),
                Err(_) => wrong(format!("?{name} is for JSON, which the text is not")),
            };
        }
    };
    renderer.make(result.len())?;
    Ok(Some(Item::Text(result.into())))
}

/// Place of a byte, counted in characters; −1 for none.
fn place<'a>(text: &str, at: Option<usize>) -> Item<'a> {
    match at {
        Some(at) => Item::integer(text.get(..at).map_or(0, |before| before.chars().count())),
        None => Item::Number(Decimal::integer(-1)),
    }
}

fn substring<'a>(own: &str, arguments: &[Item<'a>]) -> Outcome<Option<Item<'a>>> {
    let length = own.chars().count();
    let from = integer_argument(arguments, 0)?;
    let to = match arguments.len() {
        2 => integer_argument(arguments, 1)?,
        _ => length,
    };
    if to > length || from > to {
        return wrong("?substring reaches behind the end");
    }
    let part: String = own.chars().skip(from).take(to - from).collect();
    Ok(Some(Item::Text(part.into())))
}

fn padded<'a>(own: &str, left: bool, arguments: &[Item<'a>]) -> Outcome<Option<Item<'a>>> {
    let width = integer_argument(arguments, 0)?;
    if width > PADDED_MAX {
        return wrong("a padded text is too long");
    }
    let filling = match arguments.len() {
        2 => text_argument(arguments, 1)?,
        _ => " ".into(),
    };
    if filling.is_empty() {
        return wrong("a padding needs a filling");
    }
    let missing = width.saturating_sub(own.chars().count());
    let padding: String = filling.chars().cycle().take(missing).collect();
    let result = if left {
        padding + own
    } else {
        own.to_owned() + &padding
    };
    Ok(Some(Item::Text(result.into())))
}

fn with_first(text: &str, change: impl Fn(char) -> String) -> String {
    let start = text.len() - text.trim_start().len();
    let (space, rest) = text.split_at_checked(start).unwrap_or(("", text));
    let mut characters = rest.chars();
    match characters.next() {
        Some(first) => [space, &change(first), characters.as_str()].concat(),
        None => text.to_owned(),
    }
}

fn escaped(text: &str, escape: impl Fn(char) -> Option<&'static str>) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match escape(character) {
            Some(escaped) => out.push_str(escaped),
            None => out.push(character),
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Json,
    /// JavaScript.
    Browser,
    /// Java.
    Platform,
}

/// A text as it may stand inside the quotes of another language.
fn script(text: &str, script: Script) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = '\0';
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\'' if script == Script::Browser => out.push_str("\\'"),
            // What would end a script element of a page.
            '/' if script != Script::Platform && (before == '<' || out.is_empty()) => {
                out.push_str("\\/");
            }
            '<' if script == Script::Browser => out.push_str("\\u003C"),
            '>' if script != Script::Platform && matches!(before, ']' | '-') => {
                out.push_str(if script == Script::Json {
                    "\\u003E"
                } else {
                    "\\>"
                });
            }
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04X}", u32::from(character));
            }
            _ => out.push(character),
        }
        before = character;
    }
    out
}

fn percent_encoded(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'_'
            | b'-'
            | b'.'
            | b'!'
            | b'~'
            | b'\''
            | b'('
            | b')'
            | b'*' => out.push(byte as char),
            b'/' if keep_slash => out.push('/'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn collection<'a>(
    renderer: &mut Renderer<'_, 'a>,
    name: &str,
    item: &Item<'a>,
    arguments: &[Item<'a>],
) -> Outcome<Option<Item<'a>>> {
    if matches!(name, "keys" | "values") || (name == "size" && item.is_map()) {
        let Some(keys) = item.keys() else {
            return wrong(format!("?{name} is for maps, not for {}", item.kind()));
        };
        renderer.make(keys.len() * size_of::<Item<'_>>())?;
        return Ok(Some(match name {
            "size" => Item::integer(keys.len()),
            "keys" => Item::list(keys.into_iter().map(Item::Text).collect()),
            _ => Item::list(
                keys.iter()
                    .filter_map(|key| item.property(key).flatten())
                    .collect(),
            ),
        }));
    }
    let nothing = Rc::default();
    let items = match item {
        Item::List(items) => items,
        Item::Nothing => &nothing,
        other => return wrong(format!("?{name} is for lists, not for {}", other.kind())),
    };
    renderer.make(items.len() * size_of::<Item<'_>>())?;
    Ok(match name {
        "size" => Some(Item::integer(items.len())),
        "first" => items.first().cloned(),
        "last" => items.last().cloned(),
        "reverse" => Some(Item::list(items.iter().rev().cloned().collect())),
        "sort" => Some(Item::list(sorted(items)?)),
        "join" => {
            let separator = text_argument(arguments, 0)?;
            let mut out = String::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(&separator);
                }
                match plain(item) {
                    Some(text) => out.push_str(&text),
                    None => return wrong(format!("?join is for texts, not for {}", item.kind())),
                }
                renderer.make(separator.len())?;
            }
            if items.is_empty() && arguments.len() > 1 {
                out.push_str(&text_argument(arguments, 1)?);
            }
            if !items.is_empty() && arguments.len() > 2 {
                out.push_str(&text_argument(arguments, 2)?);
            }
            renderer.make(out.len())?;
            Some(Item::Text(out.into()))
        }
        _ => {
            let wanted = arguments.first();
            let found = items.iter().position(|item| match (item, wanted) {
                (Item::Text(own), Some(Item::Text(wanted))) => own == wanted,
                (Item::Number(own), Some(Item::Number(wanted))) => own.compare(*wanted).is_eq(),
                (Item::Bool(own), Some(Item::Bool(wanted))) => own == wanted,
                _ => false,
            });
            Some(match (name, found) {
                ("seq_contains", found) => Item::Bool(found.is_some()),
                (_, Some(at)) => Item::integer(at),
                (_, None) => Item::Number(Decimal::integer(-1)),
            })
        }
    })
}

fn sorted<'a>(items: &[Item<'a>]) -> Outcome<Vec<Item<'a>>> {
    let mut sorted = items.to_vec();
    if items.iter().all(|item| matches!(item, Item::Number(_))) {
        sorted.sort_by(|a, b| match (a, b) {
            (Item::Number(a), Item::Number(b)) => a.compare(*b),
            _ => std::cmp::Ordering::Equal,
        });
        return Ok(sorted);
    }
    if items.iter().all(|item| matches!(item, Item::Text(_))) {
        sorted.sort_by_cached_key(|item| match item {
            Item::Text(text) => text.to_lowercase(),
            _ => String::new(),
        });
        return Ok(sorted);
    }
    wrong("?sort is for lists of texts or of numbers")
}

fn any<'a>(
    renderer: &mut Renderer<'_, 'a>,
    name: &str,
    item: Item<'a>,
    arguments: &[Item<'a>],
) -> Outcome<Option<Item<'a>>> {
    let is = |flag: bool| Ok(Some(Item::Bool(flag)));
    match name {
        "is_string" => is(matches!(item, Item::Text(_) | Item::Nothing)),
        "is_number" => is(matches!(item, Item::Number(_))),
        "is_boolean" => is(matches!(item, Item::Bool(_))),
        "is_sequence" | "is_enumerable" | "is_indexable" => {
            is(matches!(item, Item::List(_) | Item::Nothing))
        }
        "is_collection" => is(false),
        "is_hash" => is(item.is_map()),
        "is_hash_ex" => is(item.keys().is_some()),
        "c" => match &item {
            Item::Number(number) => Ok(Some(Item::text(&number.to_string()))),
            Item::Bool(flag) => Ok(Some(Item::text(if *flag { "true" } else { "false" }))),
            other => wrong(format!(
                "?c is for numbers and booleans, not for {}",
                other.kind()
            )),
        },
        _ => match (&item, arguments) {
            (Item::Bool(flag), []) => Ok(Some(Item::text(if *flag { "true" } else { "false" }))),
            (Item::Bool(flag), [yes, no]) => Ok(Some(if *flag { yes.clone() } else { no.clone() })),
            (Item::Number(number), [format]) => {
                let Some(format) = plain(format) else {
                    return wrong("a number format is text");
                };
                renderer.make(format.len())?;
                match formatted(*number, &format) {
                    Some(text) => Ok(Some(Item::Text(text.into()))),
                    None => wrong(format!("the number format {format:?} is not supported")),
                }
            }
            (item, []) => match plain(item) {
                Some(text) => Ok(Some(Item::Text(text))),
                None => wrong(format!("?string is not for {}", item.kind())),
            },
            (item, _) => wrong(format!("?string has other arguments for {}", item.kind())),
        },
    }
}

/// A number in a format: a known name, or a pattern of `#`, `0`, `,` and `.` with text around it.
fn formatted(number: Decimal, format: &str) -> Option<String> {
    match format {
        "number" => return Some(number.to_text()),
        "computer" | "c" => return Some(number.to_string()),
        "percent" => return formatted(number, "#,##0%"),
        "currency" => return None,
        _ => {}
    }
    let pattern = format.split(';').next().unwrap_or_default();
    let is_digit = |character: char| matches!(character, '#' | '0' | ',' | '.');
    let start = pattern.find(is_digit)?;
    let rest = pattern.get(start..)?;
    let length = rest
        .find(|character| !is_digit(character))
        .unwrap_or(rest.len());
    let (prefix, digits, suffix) = (
        pattern.get(..start)?,
        rest.get(..length)?,
        rest.get(length..)?,
    );
    if suffix.contains(['E', '#', '0', '\u{a4}', '\u{2030}']) || prefix.contains('\u{a4}') {
        return None;
    }
    let percent = prefix.contains('%') || suffix.contains('%');
    let number = match percent {
        true => number.multiply(Decimal::integer(100))?,
        false => number,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.contains(['.', ',']) || digits.len() > 100 {
        return None;
    }
    let least_whole = whole.matches('0').count();
    let size = whole.rfind(',').map_or(0, |at| whole.len() - at - 1);
    let least = u32::try_from(fraction.matches('0').count()).ok()?;
    let most = u32::try_from(fraction.len()).ok()?;
    let (mut own, behind) = number.digits(least, most)?;
    if own == "0" && least_whole == 0 && !behind.is_empty() {
        own.clear();
    }
    while own.len() < least_whole {
        own.insert(0, '0');
    }
    let mut out = String::new();
    if number.is_negative() {
        out.push('-');
    }
    out.push_str(&prefix.replace('\'', ""));
    group(&mut out, &own, size);
    if !behind.is_empty() {
        out.push('.');
        out.push_str(&behind);
    }
    out.push_str(&suffix.replace('\'', ""));
    Some(out)
}
