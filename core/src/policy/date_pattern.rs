//! Date patterns as Java's `SimpleDateFormat` reads them, in strict mode: does a text hold such a date? (contract policies 13,
//! `policy-request-validation`).

use crate::calendar::{MONTHS, WEEKDAYS, days_in, is_leap};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct DatePattern {
    items: Box<[Item]>,
}

#[derive(Debug, Clone)]
enum Item {
    Literal(Box<str>),
    /// Letter, and how often it is repeated.
    Field(char, usize),
}

impl DatePattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let mut items: Vec<Item> = Vec::new();
        let mut literal = String::new();
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            if character == '\'' {
                if characters.next_if_eq(&'\'').is_some() {
                    literal.push('\'');
                    continue;
                }
                loop {
                    match characters.next() {
                        None => return Err("a quoted text is not closed".to_owned()),
                        Some('\'') if characters.next_if_eq(&'\'').is_some() => literal.push('\''),
                        Some('\'') => break,
                        Some(other) => literal.push(other),
                    }
                }
            } else if character.is_ascii_alphabetic() {
                if !"GyYMLwWDdFEuaHkKhmsSzZX".contains(character) {
                    return Err(format!("the letter {character:?} stands for nothing"));
                }
                if !literal.is_empty() {
                    items.push(Item::Literal(std::mem::take(&mut literal).into()));
                }
                let mut count = 1;
                while characters.next_if_eq(&character).is_some() {
                    count += 1;
                }
                if character == 'X' && count > 3 {
                    return Err("a time zone has at most three letters".to_owned());
                }
                items.push(Item::Field(character, count));
            } else {
                literal.push(character);
            }
        }
        if !literal.is_empty() {
            items.push(Item::Literal(literal.into()));
        }
        Ok(Self {
            items: items.into(),
        })
    }

    /// Whether the whole text is a date of this pattern, and such a date exists.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.parse(text).is_some()
    }

    fn parse(&self, text: &str) -> Option<()> {
        let mut rest = text;
        let (mut year, mut month, mut day, mut day_of_year) = (1970_i64, 1, None, None);
        for (index, item) in self.items.iter().enumerate() {
            let (letter, count) = match item {
                Item::Literal(literal) => {
                    rest = rest.strip_prefix(&**literal)?;
                    continue;
                }
                Item::Field(letter, count) => (*letter, *count),
            };
            rest = rest.trim_start_matches([' ', '\t']);
            // A number that another number follows at once has exactly as many digits as its letters.
            let abutting = matches!(self.items.get(index + 1), Some(Item::Field(next, next_count))
                if is_number(*next, *next_count));
            let width = abutting.then_some(count);
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            let mut number = || -> Option<i64> {
                let (value, after) = digits(rest, width)?;
                rest = after;
                Some(value)
            };
            let in_range =
                |value: i64, low: i64, high: i64| (low..=high).contains(&value).then_some(value);
            match letter {
                'y' | 'Y' => {
                    let value = number()?;
                    // Two digits name a year near today; which one does not matter but for leap years.
                    let short = count <= 2 && length == 2;
                    year = if short { 2000 + value } else { value };
                }
                'M' | 'L' if count >= 3 => {
                    let (at, after) = name(rest, &MONTHS)?;
                    month = at + 1;
                    rest = after;
                }
                'M' | 'L' => month = in_range(number()?, 1, 12)?,
                'd' => day = Some(in_range(number()?, 1, 31)?),
                'D' => day_of_year = Some(in_range(number()?, 1, 366)?),
                'H' => drop(in_range(number()?, 0, 23)?),
                'k' => drop(in_range(number()?, 1, 24)?),
                'K' => drop(in_range(number()?, 0, 11)?),
                'h' => drop(in_range(number()?, 1, 12)?),
                'm' | 's' => drop(in_range(number()?, 0, 59)?),
                'S' => drop(in_range(number()?, 0, 999)?),
                'u' => drop(in_range(number()?, 1, 7)?),
                'w' => drop(in_range(number()?, 1, 53)?),
                'W' => drop(in_range(number()?, 0, 6)?),
                'F' => drop(in_range(number()?, 1, 5)?),
                'E' => rest = name(rest, &WEEKDAYS)?.1,
                'a' => rest = word(rest, &["AM", "PM"])?,
                'G' => rest = word(rest, &["AD", "BC"])?,
                _ => rest = zone(rest, letter, count)?,
            }
        }
        if !rest.is_empty() {
            return None;
        }
        let days_of_year = if is_leap(year) { 366 } else { 365 };
        let exists = day.is_none_or(|day| day <= days_in(year, month))
            && day_of_year.is_none_or(|day| day <= days_of_year);
        exists.then_some(())
    }
}

fn is_number(letter: char, count: usize) -> bool {
    match letter {
        'M' | 'L' => count < 3,
        'G' | 'E' | 'a' | 'z' | 'Z' | 'X' => false,
        _ => true,
    }
}

/// A number at the beginning of a text: `width` digits, or all there are.
fn digits(text: &str, width: Option<usize>) -> Option<(i64, &str)> {
    let available = text.bytes().take_while(u8::is_ascii_digit).count();
    let length = width.map_or(available, |width| width.min(available));
    if length == 0 || length > 10 {
        return None;
    }
    let (number, rest) = text.split_at_checked(length)?;
    Some((number.parse().ok()?, rest))
}

/// The longest of some names, whole or by its first three letters, at the beginning of a text.
fn name<'t>(text: &'t str, names: &[&str]) -> Option<(i64, &'t str)> {
    let starts = |name: &str| {
        text.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
            .then_some(name.len())
    };
    let (at, length) = names
        .iter()
        .enumerate()
        .filter_map(|(at, name)| Some((at, starts(name).or_else(|| starts(name.get(..3)?))?)))
        .max_by_key(|(_, length)| *length)?;
    Some((at as i64, text.get(length..)?))
}

fn word<'t>(text: &'t str, words: &[&str]) -> Option<&'t str> {
    words.iter().find_map(|word| {
        let start = text.get(..word.len())?;
        start
            .eq_ignore_ascii_case(word)
            .then(|| text.get(word.len()..))?
    })
}

/// A time zone: an offset, `Z` (ISO 8601), or a name.
fn zone(text: &str, letter: char, count: usize) -> Option<&str> {
    let two = |text: &str, max: u32| -> Option<()> {
        let digits = text.get(..2)?;
        let number: u32 = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())??;
        (number <= max).then_some(())
    };
    if letter == 'X' {
        if let Some(rest) = text.strip_prefix('Z') {
            return Some(rest);
        }
        let rest = text.strip_prefix(['+', '-'])?;
        two(rest, 23)?;
        let rest = rest.get(2..)?;
        let minutes = match count {
            1 => return Some(rest),
            2 => rest,
            _ => rest.strip_prefix(':')?,
        };
        two(minutes, 59)?;
        return minutes.get(2..);
    }
    if let Some(rest) = text.strip_prefix(['+', '-']) {
        two(rest, 23)?;
        let rest = rest.get(2..)?;
        two(rest, 59)?;
        return rest.get(2..);
    }
    if let Some(rest) = text.strip_prefix("GMT") {
        let Some(offset) = rest.strip_prefix(['+', '-']) else {
            return Some(rest);
        };
        let (hours, rest) = digits(offset, Some(2))?;
        let minutes = rest.strip_prefix(':')?;
        two(minutes, 59)?;
        return (hours <= 23).then(|| minutes.get(2..))?;
    }
    const NAMES: [&str; 20] = [
        "UTC", "UT", "Z", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "CEST", "CET",
        "EEST", "EET", "WEST", "WET", "BST", "JST", "IST",
    ];
    word(text, &NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_compared_with_patterns() {
        for (pattern, text, expected) in [
            ("yyyy-MM-dd", "2020-02-29", true),
            ("yyyy-MM-dd", "2021-02-29", false),
            ("yyyy-MM-dd", "2020-13-01", false),
            ("yyyy-MM-dd", "2020-1-1", true),
            ("yyyy-MM-dd", "2020-01-01x", false),
            ("yyyy-MM-dd", "01/01/2020", false),
            ("yyyy-MM-dd", "", false),
            ("dd/MM/yyyy", "31/04/2020", false),
            ("dd/MM/yy", "31/03/20", true),
            ("yyyyMMdd", "20200131", true),
            ("yyyyMMdd", "20200132", false),
            (
                "yyyy-MM-dd'T'HH:mm:ss.SSSZ",
                "2020-01-31T23:59:59.999+0100",
                true,
            ),
            (
                "yyyy-MM-dd'T'HH:mm:ss.SSSZ",
                "2020-01-31T24:59:59.999+0100",
                false,
            ),
            (
                "yyyy-MM-dd'T'HH:mm:ssXXX",
                "2020-01-31T23:59:59+01:00",
                true,
            ),
            ("yyyy-MM-dd'T'HH:mm:ssXXX", "2020-01-31T23:59:59Z", true),
            ("yyyy-MM-dd'T'HH:mm:ssX", "2020-01-31T23:59:59+01", true),
            (
                "EEE, d MMM yyyy HH:mm:ss Z",
                "Wed, 4 Jul 2001 12:08:56 -0700",
                true,
            ),
            (
                "yyyy.MM.dd G 'at' HH:mm:ss z",
                "2001.07.04 AD at 12:08:56 PDT",
                true,
            ),
            ("hh 'o''clock' a, zzzz", "12 o'clock PM, GMT-08:00", true),
            ("h:mm a", "0:08 PM", false),
            ("MMMM", "september", true),
            ("MMM", "Nope", false),
            ("DDD yyyy", "366 2021", false),
            ("H:mm", "7:5", true),
        ] {
            let compiled = DatePattern::new(pattern).expect("a pattern");
            assert_eq!(compiled.matches(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["yyyy-bb", "'open", "XXXX"] {
            assert!(DatePattern::new(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_and_text_are_compared(pattern in "[GyMdHhmsSzZXEa'/: .-]{0,20}", text in ".{0,30}") {
            if let Ok(pattern) = DatePattern::new(&pattern) {
                let _ = pattern.matches(&text);
            }
        }
    }
}
