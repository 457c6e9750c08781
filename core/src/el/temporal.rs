//! Dates and times (contract expression-language 9): the proleptic Gregorian calendar in UTC.

use std::sync::Arc;

use super::eval::Evaluation;
use super::methods::{Called, int_argument, long_argument, text_argument};
use super::native::Native;
use super::{ElError, Value, statics};
use crate::calendar::{MONTHS, WEEKDAYS, date_of, days_in, days_of, is_leap};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Nanoseconds of a day.
const DAY_NANOS: i64 = DAY_MS * 1_000_000;
/// Years further away than this are refused.
const YEARS_MAX: i64 = 999_999;
/// Longest pattern of a formatter, characters.
const PATTERN_CHARS_MAX: usize = 256;

const MONTH_CONSTANTS: [&str; 12] = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
];
const DAY_CONSTANTS: [&str; 7] = [
    "MONDAY",
    "TUESDAY",
    "WEDNESDAY",
    "THURSDAY",
    "FRIDAY",
    "SATURDAY",
    "SUNDAY",
];

/// A date with a time, without zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime {
    days: i64,
    nanos: i64,
}

impl DateTime {
    fn of_ms(ms: i64) -> Self {
        Self {
            days: ms.div_euclid(DAY_MS),
            nanos: ms.rem_euclid(DAY_MS) * 1_000_000,
        }
    }

    pub(super) fn text(self) -> String {
        let mut text = format!(
            "{}T{:02}:{:02}",
            date_text(self.days),
            self.nanos / 3_600_000_000_000,
            self.nanos / 60_000_000_000 % 60
        );
        let seconds = self.nanos / 1_000_000_000 % 60;
        let fraction = self.nanos % 1_000_000_000;
        if seconds > 0 || fraction > 0 {
            text.push_str(&format!(":{seconds:02}"));
        }
        if fraction > 0 {
            text.push_str(&if fraction % 1_000_000 == 0 {
                format!(".{:03}", fraction / 1_000_000)
            } else if fraction % 1_000 == 0 {
                format!(".{:06}", fraction / 1_000)
            } else {
                format!(".{fraction:09}")
            });
        }
        text
    }
}

fn bad_date() -> ElError {
    ElError::runtime("a date or time is out of range")
}

fn checked_days(year: i64, month: i64, day: i64) -> Result<i64, ElError> {
    if year.abs() > YEARS_MAX || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month)
    {
        return Err(bad_date());
    }
    Ok(days_of(year, month, day))
}

pub(super) fn date_text(days: i64) -> String {
    let (year, month, day) = date_of(days);
    if (0..=9_999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else if year > 0 {
        format!("+{year}-{month:02}-{day:02}")
    } else {
        format!("-{:04}-{month:02}-{day:02}", -year)
    }
}

/// What a pattern can show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    days: i64,
    /// `None` for a date without time.
    nanos: Option<i64>,
    zoned: bool,
}

impl Fields {
    pub(super) fn of_ms(ms: i64) -> Self {
        let at = DateTime::of_ms(ms);
        Self {
            days: at.days,
            nanos: Some(at.nanos),
            zoned: true,
        }
    }

    fn of(native: &Native) -> Option<Self> {
        Some(match native {
            Native::LocalDate(days) => Self {
                days: *days,
                nanos: None,
                zoned: false,
            },
            Native::LocalDateTime(at) => Self {
                days: at.days,
                nanos: Some(at.nanos),
                zoned: false,
            },
            Native::ZonedDateTime(at) => Self {
                days: at.days,
                nanos: Some(at.nanos),
                zoned: true,
            },
            _ => return None,
        })
    }
}

/// Writes a date with a pattern; `simple` are the rules of `SimpleDateFormat`.
pub(super) fn format_fields(
    pattern: &str,
    fields: &Fields,
    simple: bool,
) -> Result<String, ElError> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut text = String::new();
    let (year, month, day) = date_of(fields.days);
    let weekday = (fields.days + 3).rem_euclid(7);
    let mut at = 0;
    while let Some(&char) = chars.get(at) {
        if char == '\'' {
            at += 1;
            if chars.get(at) == Some(&'\'') {
                text.push('\'');
                at += 1;
                continue;
            }
            loop {
                match chars.get(at) {
                    None => return Err(ElError::runtime("a date pattern has an open quote")),
                    Some('\'') if chars.get(at + 1) == Some(&'\'') => {
                        text.push('\'');
                        at += 2;
                    }
                    Some('\'') => {
                        at += 1;
                        break;
                    }
                    Some(char) => {
                        text.push(*char);
                        at += 1;
                    }
                }
            }
            continue;
        }
        if !char.is_ascii_alphabetic() {
            text.push(char);
            at += 1;
            continue;
        }
        let count = chars[at..]
            .iter()
            .take_while(|other| **other == char)
            .count();
        at += count;
        let time = || {
            fields
                .nanos
                .ok_or_else(|| ElError::runtime("a date without time has no such field"))
        };
        let zone = || {
            if fields.zoned {
                Ok(())
            } else {
                Err(ElError::runtime("a date without zone has no such field"))
            }
        };
        let padded = |number: i64| format!("{number:0count$}");
        let hour = |nanos: i64| nanos / 3_600_000_000_000;
        let part = match char {
            'y' | 'u' | 'Y' if !(simple && char == 'u') => {
                if count == 2 {
                    format!("{:02}", year.rem_euclid(100))
                } else {
                    padded(year)
                }
            }
            'M' | 'L' => match count {
                1 | 2 => padded(month),
                3 => MONTHS[(month - 1) as usize][..3].to_owned(),
                4 => MONTHS[(month - 1) as usize].to_owned(),
                _ if simple => MONTHS[(month - 1) as usize].to_owned(),
                _ => MONTHS[(month - 1) as usize][..1].to_owned(),
            },
            'd' => padded(day),
            'D' => padded(fields.days - days_of(year, 1, 1) + 1),
            'E' if count <= 3 => WEEKDAYS[weekday as usize][..3].to_owned(),
            'E' => WEEKDAYS[weekday as usize].to_owned(),
            'u' => padded(weekday + 1),
            'Q' | 'q' if !simple => padded((month - 1) / 3 + 1),
            'a' => if hour(time()?) < 12 { "AM" } else { "PM" }.to_owned(),
            'H' => padded(hour(time()?)),
            'k' => padded(match hour(time()?) {
                0 => 24,
                hour => hour,
            }),
            'K' => padded(hour(time()?) % 12),
            'h' => padded(match hour(time()?) % 12 {
                0 => 12,
                hour => hour,
            }),
            'm' => padded(time()? / 60_000_000_000 % 60),
            's' => padded(time()? / 1_000_000_000 % 60),
            'S' if simple => padded(time()? / 1_000_000 % 1_000),
            'S' => {
                let digits = format!("{:09}", time()? % 1_000_000_000);
                digits.get(..count).unwrap_or(&digits).to_owned()
            }
            'n' if !simple => padded(time()? % 1_000_000_000),
            'Z' => {
                zone()?;
                "+0000".to_owned()
            }
            'X' => {
                zone()?;
                "Z".to_owned()
            }
            'x' if !simple => {
                zone()?;
                match count {
                    1 => "+00",
                    2 | 4 => "+0000",
                    _ => "+00:00",
                }
                .to_owned()
            }
            'z' | 'V' => {
                zone()?;
                "UTC".to_owned()
            }
            'G' => "AD".to_owned(),
            _ => return Err(ElError::runtime("a date pattern has an unknown letter")),
        };
        text.push_str(&part);
    }
    Ok(text)
}

/// Reads a date with a pattern: numbers and literal text only.
fn parse_fields(pattern: &str, text: &str) -> Result<DateTime, ElError> {
    let bad = || ElError::runtime("a text is not a date of this pattern");
    let chars: Vec<char> = pattern.chars().collect();
    let input: Vec<char> = text.chars().collect();
    let (mut year, mut month, mut day) = (1970, 1, 1);
    let (mut hour, mut minute, mut second, mut nanos, mut afternoon) = (0, 0, 0, 0, None);
    let mut read = 0;
    let mut at = 0;
    let mut quoted = false;
    while let Some(&char) = chars.get(at) {
        if char == '\'' {
            at += 1;
            if chars.get(at) != Some(&'\'') {
                quoted = !quoted;
                continue;
            }
        }
        if quoted || !char.is_ascii_alphabetic() {
            if input.get(read) != Some(&char) {
                return Err(bad());
            }
            read += 1;
            at += 1;
            continue;
        }
        let count = chars[at..]
            .iter()
            .take_while(|other| **other == char)
            .count();
        at += count;
        if char == 'a' {
            let word: String = input.iter().skip(read).take(2).collect();
            afternoon = Some(word.eq_ignore_ascii_case("PM"));
            read += 2;
            continue;
        }
        if char == 'X' && input.get(read) == Some(&'Z') {
            read += 1;
            continue;
        }
        if char == 'M' && count >= 3 {
            let found = MONTHS.iter().position(|name| {
                let name = if count == 3 { &name[..3] } else { name };
                let word: String = input.iter().skip(read).take(name.len()).collect();
                word.eq_ignore_ascii_case(name)
            });
            let found = found.ok_or_else(bad)?;
            read += if count == 3 { 3 } else { MONTHS[found].len() };
            month = found as i64 + 1;
            continue;
        }
        // Fields that touch have exactly as many digits as letters.
        let touches = chars.get(at).is_some_and(char::is_ascii_alphabetic);
        let most = if touches || count > 1 {
            count.max(if char == 'y' && !touches { 9 } else { count })
        } else {
            9
        };
        let digits: String = input
            .iter()
            .skip(read)
            .take(most)
            .take_while(|char| char.is_ascii_digit())
            .collect();
        let number: i64 = digits.parse().map_err(|_| bad())?;
        read += digits.len();
        match char {
            'y' | 'u' if count == 2 => year = 2000 + number,
            'y' | 'u' => year = number,
            'M' => month = number,
            'd' => day = number,
            'H' | 'k' | 'h' | 'K' => hour = number,
            'm' => minute = number,
            's' => second = number,
            'S' => nanos = number * 10i64.pow(9 - digits.len().min(9) as u32),
            _ => return Err(ElError::runtime("a date pattern has an unknown letter")),
        }
    }
    if read != input.len() {
        return Err(bad());
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err(bad());
    }
    Ok(DateTime {
        days: checked_days(year, month, day).map_err(|_| bad())?,
        nanos: ((hour * 60 + minute) * 60 + second) * 1_000_000_000 + nanos,
    })
}

fn parse_date(text: &str) -> Result<i64, ElError> {
    Ok(parse_fields("yyyy-MM-dd", text)?.days)
}

fn parse_date_time(text: &str) -> Result<DateTime, ElError> {
    let pattern = match (text.len(), text.contains('.')) {
        (16, false) => "yyyy-MM-dd'T'HH:mm",
        (_, false) => "yyyy-MM-dd'T'HH:mm:ss",
        (_, true) => "yyyy-MM-dd'T'HH:mm:ss.SSSSSSSSS",
    };
    parse_fields(pattern, text)
}

fn native<'a>(native: Native) -> Called<'a> {
    Ok(Some(Value::Native(Arc::new(native))))
}

pub(super) fn check_pattern(pattern: &str) -> Result<Box<str>, ElError> {
    if pattern.chars().count() > PATTERN_CHARS_MAX {
        return Err(ElError::evaluation("a date pattern is too long"));
    }
    Ok(pattern.into())
}

fn pattern_of(value: &Value<'_>) -> Result<Box<str>, ElError> {
    match value {
        Value::Native(formatter) => match &**formatter {
            Native::Formatter(pattern) => Ok(pattern.clone()),
            _ => Err(ElError::evaluation("an argument is not a formatter")),
        },
        _ => Err(ElError::evaluation("an argument is not a formatter")),
    }
}

/// Static methods of the date types; the type by its name without package.
pub(super) fn call_static<'a>(
    evaluation: &mut Evaluation<'a>,
    kind: &str,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    let now = || DateTime::of_ms(i64::try_from(evaluation.scope.now_ms()).unwrap_or(0));
    let numbers = || {
        arguments
            .iter()
            .map(|argument| int_argument(argument).map(i64::from))
            .collect::<Result<Vec<i64>, ElError>>()
    };
    match (kind, name, arguments) {
        ("LocalDate", "now", []) => native(Native::LocalDate(now().days)),
        ("LocalDate", "of", [_, _, _]) => {
            let parts = numbers()?;
            native(Native::LocalDate(checked_days(
                parts[0], parts[1], parts[2],
            )?))
        }
        ("LocalDate", "ofEpochDay", [days]) => {
            native(Native::LocalDate(in_range(long_argument(days)?)?))
        }
        ("LocalDate", "ofYearDay", [_, _]) => {
            let parts = numbers()?;
            let length = if is_leap(parts[0]) { 366 } else { 365 };
            if !(1..=length).contains(&parts[1]) {
                return Err(bad_date());
            }
            native(Native::LocalDate(
                checked_days(parts[0], 1, 1)? + parts[1] - 1,
            ))
        }
        ("LocalDate", "parse", [text]) => {
            native(Native::LocalDate(parse_date(&text_argument(text)?)?))
        }
        ("LocalDate", "parse", [text, formatter]) => {
            let at = parse_fields(&pattern_of(formatter)?, &text_argument(text)?)?;
            native(Native::LocalDate(at.days))
        }
        ("LocalDateTime", "now", []) => native(Native::LocalDateTime(now())),
        ("LocalDateTime", "of", _) if (5..=7).contains(&arguments.len()) => {
            let parts = numbers()?;
            let second = parts.get(5).copied().unwrap_or(0);
            let nanos = parts.get(6).copied().unwrap_or(0);
            if !(0..24).contains(&parts[3])
                || !(0..60).contains(&parts[4])
                || !(0..60).contains(&second)
                || !(0..1_000_000_000).contains(&nanos)
            {
                return Err(bad_date());
            }
            native(Native::LocalDateTime(DateTime {
                days: checked_days(parts[0], parts[1], parts[2])?,
                nanos: ((parts[3] * 60 + parts[4]) * 60 + second) * 1_000_000_000 + nanos,
            }))
        }
        ("LocalDateTime", "parse", [text]) => native(Native::LocalDateTime(parse_date_time(
            &text_argument(text)?,
        )?)),
        ("LocalDateTime", "parse", [text, formatter]) => native(Native::LocalDateTime(
            parse_fields(&pattern_of(formatter)?, &text_argument(text)?)?,
        )),
        ("ZonedDateTime", "now", []) => native(Native::ZonedDateTime(now())),
        ("ZonedDateTime", "parse", [text]) => {
            let text = text_argument(text)?;
            let text = text.strip_suffix("[UTC]").unwrap_or(&text);
            let text = text
                .strip_suffix('Z')
                .ok_or_else(|| ElError::runtime("a text is not a date in UTC"))?;
            native(Native::ZonedDateTime(parse_date_time(text)?))
        }
        ("DateTimeFormatter", "ofPattern", [pattern] | [pattern, _]) => {
            let pattern = check_pattern(&text_argument(pattern)?)?;
            native(Native::Formatter(pattern))
        }
        _ => Ok(None),
    }
}

/// The patterns of the constants of `DateTimeFormatter` that are known.
pub(super) fn formatter_constant(name: &str) -> Option<Native> {
    Some(Native::Formatter(
        match name {
            "ISO_LOCAL_DATE" | "ISO_DATE" => "yyyy-MM-dd",
            "ISO_LOCAL_DATE_TIME" => "yyyy-MM-dd'T'HH:mm:ss",
            "BASIC_ISO_DATE" => "yyyyMMdd",
            _ => return None,
        }
        .into(),
    ))
}

fn in_range(days: i64) -> Result<i64, ElError> {
    if days.abs() > YEARS_MAX * 365 {
        return Err(bad_date());
    }
    Ok(days)
}

fn plus_months(days: i64, months: i64) -> Result<i64, ElError> {
    let (year, month, day) = date_of(days);
    let total = (year * 12 + month - 1)
        .checked_add(months)
        .ok_or_else(bad_date)?;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    checked_days(year, month, day.min(days_in(year, month)))
}

fn moved(at: DateTime, unit: &str, amount: i64, dated: bool) -> Result<Option<DateTime>, ElError> {
    let nanos = match unit {
        "Hours" if !dated => 3_600_000_000_000,
        "Minutes" if !dated => 60_000_000_000,
        "Seconds" if !dated => 1_000_000_000,
        "Nanos" if !dated => 1,
        _ => 0i64,
    };
    let days = match unit {
        "Days" => at.days.checked_add(amount).ok_or_else(bad_date)?,
        "Weeks" => amount
            .checked_mul(7)
            .and_then(|days| at.days.checked_add(days))
            .ok_or_else(bad_date)?,
        "Months" => plus_months(at.days, amount)?,
        "Years" => plus_months(at.days, amount.checked_mul(12).ok_or_else(bad_date)?)?,
        _ if nanos > 0 => {
            let total = i128::from(at.nanos) + i128::from(nanos) * i128::from(amount);
            let days = total.div_euclid(DAY_NANOS.into());
            return Ok(Some(DateTime {
                days: in_range(
                    at.days
                        .saturating_add(i64::try_from(days).map_err(|_| bad_date())?),
                )?,
                nanos: total.rem_euclid(DAY_NANOS.into()) as i64,
            }));
        }
        _ => return Ok(None),
    };
    Ok(Some(DateTime {
        days: in_range(days)?,
        nanos: at.nanos,
    }))
}

/// Methods of dates and their formatters.
pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    value: &Native,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    evaluation.budget.spend(8)?;
    let text = |text: String| Ok(Some(Value::from(text)));
    match value {
        Native::Date(ms) => match (name, arguments) {
            ("getTime", []) => Ok(Some(Value::Long(*ms))),
            ("before" | "after" | "compareTo", [Value::Native(other)]) => match **other {
                Native::Date(other) => Ok(Some(match name {
                    "before" => Value::Bool(*ms < other),
                    "after" => Value::Bool(*ms > other),
                    _ => Value::Int(ms.cmp(&other) as i32),
                })),
                _ => Ok(None),
            },
            _ => Ok(None),
        },
        Native::SimpleDateFormat(pattern) => match (name, arguments) {
            ("format", [Value::Native(date)]) => match **date {
                Native::Date(ms) => text(format_fields(pattern, &Fields::of_ms(ms), true)?),
                _ => Ok(None),
            },
            ("format", [number]) => {
                let ms = long_argument(number)?;
                text(format_fields(pattern, &Fields::of_ms(ms), true)?)
            }
            // A checked failure of the called method.
            ("parse", [source]) => match parse_fields(pattern, &text_argument(source)?) {
                Ok(at) => native(Native::Date(at.days * DAY_MS + at.nanos / 1_000_000)),
                Err(error) => Err(ElError::evaluation(error.message)),
            },
            ("setTimeZone" | "setLenient", [_]) => Ok(Some(Value::Null)),
            ("toPattern", []) => text(pattern.to_string()),
            _ => Ok(None),
        },
        Native::Formatter(pattern) => match (name, arguments) {
            ("format", [Value::Native(date)]) => match Fields::of(date) {
                Some(fields) => text(format_fields(pattern, &fields, false)?),
                None => Ok(None),
            },
            _ => Ok(None),
        },
        Native::DecimalFormat(pattern) => match (name, arguments) {
            ("format", [number]) => text(super::format::decimal_format(pattern, number)?),
            _ => Ok(None),
        },
        Native::LocalDate(days) => {
            let at = DateTime {
                days: *days,
                nanos: 0,
            };
            dated(value, at, true, name, arguments)
        }
        Native::LocalDateTime(at) | Native::ZonedDateTime(at) => {
            dated(value, *at, false, name, arguments)
        }
        _ => statics::call_coder(evaluation, value, name, arguments),
    }
}

fn dated<'a>(
    value: &Native,
    at: DateTime,
    is_date: bool,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    let again = |at: DateTime| match value {
        Native::LocalDate(_) => Native::LocalDate(at.days),
        Native::ZonedDateTime(_) => Native::ZonedDateTime(at),
        _ => Native::LocalDateTime(at),
    };
    let (year, month, day) = date_of(at.days);
    let int = |number: i64| Ok(Some(Value::Int(number as i32)));
    if let [amount] = arguments {
        let shift = match (name.strip_prefix("plus"), name.strip_prefix("minus")) {
            (Some(unit), _) => Some((unit, 1)),
            (_, Some(unit)) => Some((unit, -1)),
            _ => None,
        };
        if let Some((unit, sign)) = shift {
            let amount = long_argument(amount)?
                .checked_mul(sign)
                .ok_or_else(bad_date)?;
            return match moved(at, unit, amount, is_date)? {
                Some(at) => native(again(at)),
                None => Ok(None),
            };
        }
        let number = || int_argument(amount).map(i64::from);
        match name {
            "format" => {
                let pattern = pattern_of(amount)?;
                let fields = Fields::of(value).ok_or_else(bad_date)?;
                return Ok(Some(Value::from(format_fields(&pattern, &fields, false)?)));
            }
            "isBefore" | "isAfter" | "isEqual" | "compareTo" => {
                let Value::Native(other) = amount else {
                    return Err(ElError::evaluation("an argument is not a date"));
                };
                let order = value
                    .order(other)
                    .ok_or_else(|| ElError::evaluation("an argument is a date of another type"))?;
                return Ok(Some(match name {
                    "isBefore" => Value::Bool(order.is_lt()),
                    "isAfter" => Value::Bool(order.is_gt()),
                    "isEqual" => Value::Bool(order.is_eq()),
                    _ => Value::Int(order as i32),
                }));
            }
            "withDayOfMonth" => {
                let days = checked_days(year, month, number()?)?;
                return native(again(DateTime { days, ..at }));
            }
            "withMonth" | "withYear" => {
                let (year, month) = if name == "withYear" {
                    (number()?, month)
                } else {
                    (year, number()?)
                };
                if !(1..=12).contains(&month) {
                    return Err(bad_date());
                }
                let days = checked_days(year, month, day.min(days_in(year, month)))?;
                return native(again(DateTime { days, ..at }));
            }
            _ => {}
        }
    }
    match (name, arguments) {
        ("getYear", []) => int(year),
        ("getMonthValue", []) => int(month),
        ("getMonth", []) => native(Native::Constant(MONTH_CONSTANTS[(month - 1) as usize])),
        ("getDayOfMonth", []) => int(day),
        ("getDayOfYear", []) => int(at.days - days_of(year, 1, 1) + 1),
        ("getDayOfWeek", []) => native(Native::Constant(
            DAY_CONSTANTS[(at.days + 3).rem_euclid(7) as usize],
        )),
        ("getHour", []) if !is_date => int(at.nanos / 3_600_000_000_000),
        ("getMinute", []) if !is_date => int(at.nanos / 60_000_000_000 % 60),
        ("getSecond", []) if !is_date => int(at.nanos / 1_000_000_000 % 60),
        ("getNano", []) if !is_date => int(at.nanos % 1_000_000_000),
        ("toLocalDate", []) if !is_date => native(Native::LocalDate(at.days)),
        ("toLocalDateTime", []) if matches!(value, Native::ZonedDateTime(_)) => {
            native(Native::LocalDateTime(at))
        }
        ("toEpochSecond", []) if matches!(value, Native::ZonedDateTime(_)) => Ok(Some(
            Value::Long(at.days * 86_400 + at.nanos / 1_000_000_000),
        )),
        ("isLeapYear", []) if is_date => Ok(Some(Value::Bool(is_leap(year)))),
        ("lengthOfMonth", []) if is_date => int(days_in(year, month)),
        ("lengthOfYear", []) if is_date => int(if is_leap(year) { 366 } else { 365 }),
        ("toEpochDay", []) if is_date => Ok(Some(Value::Long(at.days))),
        ("atStartOfDay", []) if is_date => native(Native::LocalDateTime(at)),
        _ => Ok(None),
    }
}
