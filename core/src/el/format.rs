//! `String.format` and `DecimalFormat`.

use super::decimal::{Decimal, Rounding};
use super::eval::Evaluation;
use super::{ElError, Value, compare, number};

/// Widest field and most digits behind the point.
const WIDTH_MAX: usize = 10_000;
/// Most digits behind the point.
const PRECISION_MAX: usize = 1_000;

fn bad_format() -> ElError {
    ElError::runtime("a format specifier is not valid")
}

fn mismatch() -> ElError {
    ElError::runtime("a format specifier does not fit its argument")
}

#[derive(Debug, Default)]
struct Specifier {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    group: bool,
    parentheses: bool,
    alternate: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Formats as `String.format` does. One list as the only argument stands for its elements.
pub(super) fn format(
    evaluation: &mut Evaluation<'_>,
    pattern: &str,
    arguments: &[Value<'_>],
) -> Result<String, ElError> {
    let arguments = match arguments {
        [Value::List(items) | Value::Array(items)] => items,
        _ => arguments,
    };
    let chars: Vec<char> = pattern.chars().collect();
    let mut result = String::new();
    let mut next_argument = 0;
    let mut last_argument = None;
    let mut at = 0;
    while let Some(&char) = chars.get(at) {
        at += 1;
        if char != '%' {
            result.push(char);
            continue;
        }
        evaluation.budget.spend(2)?;
        let digits = |from: usize| {
            let end = from
                + chars[from..]
                    .iter()
                    .take_while(|char| char.is_ascii_digit())
                    .count();
            (chars[from..end].iter().collect::<String>(), end)
        };
        // An explicit position, as in `%2$s`.
        let mut explicit = None;
        let (position, behind) = digits(at);
        if !position.is_empty() && chars.get(behind) == Some(&'$') {
            explicit = Some(position.parse::<usize>().map_err(|_| bad_format())?);
            at = behind + 1;
        } else if chars.get(at) == Some(&'<') {
            explicit = Some(last_argument.map_or(0, |last: usize| last + 1));
            at += 1;
        }
        let mut specifier = Specifier::default();
        while let Some(char) = chars.get(at) {
            match char {
                '-' => specifier.left = true,
                '+' => specifier.plus = true,
                ' ' => specifier.space = true,
                '0' => specifier.zero = true,
                ',' => specifier.group = true,
                '(' => specifier.parentheses = true,
                '#' => specifier.alternate = true,
                _ => break,
            }
            at += 1;
        }
        let (width, behind) = digits(at);
        at = behind;
        if !width.is_empty() {
            let width = width.parse().unwrap_or(usize::MAX);
            if width > WIDTH_MAX {
                return Err(ElError::evaluation("the width of a format is too large"));
            }
            specifier.width = Some(width);
        }
        if chars.get(at) == Some(&'.') {
            let (precision, behind) = digits(at + 1);
            at = behind;
            let precision = precision.parse().map_err(|_| bad_format())?;
            if precision > PRECISION_MAX {
                return Err(ElError::evaluation(
                    "the precision of a format is too large",
                ));
            }
            specifier.precision = Some(precision);
        }
        let conversion = *chars.get(at).ok_or_else(bad_format)?;
        at += 1;
        let text = match conversion {
            'n' => "\n".to_owned(),
            '%' => padded("%".to_owned(), &specifier),
            _ => {
                let position = match explicit {
                    Some(position) => position.checked_sub(1).ok_or_else(bad_format)?,
                    None => {
                        next_argument += 1;
                        next_argument - 1
                    }
                };
                last_argument = Some(position);
                let argument = arguments
                    .get(position)
                    .ok_or_else(|| ElError::runtime("an argument of the format is missing"))?;
                convert(conversion, &specifier, argument)?
            }
        };
        evaluation.budget.take(text.len())?;
        result.push_str(&text);
    }
    evaluation.budget.take(result.len())?;
    Ok(result)
}

fn padded(text: String, specifier: &Specifier) -> String {
    let Some(width) = specifier.width else {
        return text;
    };
    let length = text.chars().count();
    let fill = " ".repeat(width.saturating_sub(length));
    if specifier.left {
        text + &fill
    } else {
        fill + &text
    }
}

fn convert(
    conversion: char,
    specifier: &Specifier,
    argument: &Value<'_>,
) -> Result<String, ElError> {
    let limited = |text: String| match specifier.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text,
    };
    let text = match conversion.to_ascii_lowercase() {
        's' => padded(limited(argument.java_text()), specifier),
        'b' => {
            let flag = match argument {
                Value::Null => false,
                Value::Bool(flag) => *flag,
                _ => true,
            };
            padded(limited(flag.to_string()), specifier)
        }
        'h' => padded(limited(format!("{:x}", compare::hash(argument))), specifier),
        _ if argument.is_null() => padded(limited("null".to_owned()), specifier),
        'c' => match argument {
            Value::Char(char) => padded(char.to_string(), specifier),
            Value::Int(code) => {
                let char = u32::try_from(*code).ok().and_then(char::from_u32);
                padded(char.ok_or_else(mismatch)?.to_string(), specifier)
            }
            _ => return Err(mismatch()),
        },
        'd' => {
            let number = match argument {
                Value::Int(number) => i64::from(*number),
                Value::Long(number) => *number,
                _ => return Err(mismatch()),
            };
            signed(number.unsigned_abs().to_string(), number < 0, specifier)
        }
        'x' | 'o' => {
            let (bits, prefix) = match argument {
                Value::Int(number) => (u64::from(*number as u32), ()),
                Value::Long(number) => (*number as u64, ()),
                _ => return Err(mismatch()),
            };
            let () = prefix;
            let mut digits = if conversion == 'o' {
                format!("{bits:o}")
            } else {
                format!("{bits:x}")
            };
            if specifier.alternate {
                digits = if conversion == 'o' {
                    format!("0{digits}")
                } else {
                    format!("0x{digits}")
                };
            }
            match specifier.width {
                Some(width) if specifier.zero => format!("{digits:0>width$}"),
                _ => padded(digits, specifier),
            }
        }
        'f' => {
            let precision = specifier.precision.unwrap_or(6);
            if let Some(text) = not_finite(argument, specifier) {
                text
            } else {
                let exact = match argument {
                    Value::Double(_) | Value::Float(_) | Value::Decimal(_) => {
                        compare::decimal(argument)
                    }
                    _ => return Err(mismatch()),
                }
                .ok_or_else(mismatch)?;
                let rounded = exact.with_scale(precision as i32, Rounding::HalfUp)?;
                let negative = exact.signum() < 0
                    || matches!(argument, Value::Double(number) if number.is_sign_negative());
                signed(rounded.abs().plain_text(), negative, specifier)
            }
        }
        'e' | 'g' => {
            let precision = specifier.precision.unwrap_or(6);
            if !matches!(
                argument,
                Value::Double(_) | Value::Float(_) | Value::Decimal(_)
            ) {
                return Err(mismatch());
            }
            if let Some(text) = not_finite(argument, specifier) {
                text
            } else {
                let number = argument.to_double()?.unwrap_or_default();
                signed(
                    scientific(number.abs(), precision),
                    number.is_sign_negative(),
                    specifier,
                )
            }
        }
        _ => return Err(bad_format()),
    };
    Ok(if conversion.is_ascii_uppercase() {
        text.to_uppercase()
    } else {
        text
    })
}

fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn not_finite(argument: &Value<'_>, specifier: &Specifier) -> Option<String> {
    let number = match argument {
        Value::Double(number) => *number,
        Value::Float(number) => f64::from(*number),
        _ => return None,
    };
    (!number.is_finite()).then(|| {
        let mut text = number::double_text(number);
        if specifier.plus && number > 0.0 {
            text.insert(0, '+');
        }
        padded(text, specifier)
    })
}

fn signed(mut digits: String, negative: bool, specifier: &Specifier) -> String {
    if specifier.group {
        digits = grouped(&digits);
    }
    let (before, after) = match (negative, specifier.parentheses) {
        (true, true) => ("(", ")"),
        (true, false) => ("-", ""),
        (false, _) if specifier.plus => ("+", ""),
        (false, _) if specifier.space => (" ", ""),
        (false, _) => ("", ""),
    };
    match specifier.width {
        Some(width) if specifier.zero && !specifier.left => {
            let width = width.saturating_sub(before.len() + after.len());
            format!("{before}{digits:0>width$}{after}")
        }
        _ => padded(format!("{before}{digits}{after}"), specifier),
    }
}

fn grouped(digits: &str) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut text = String::new();
    for (index, char) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(char);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// Formats a number as `DecimalFormat` does: `0`, `#`, `,`, `.` and `%`, with text around them.
pub(super) fn decimal_format(pattern: &str, value: &Value<'_>) -> Result<String, ElError> {
    let number =
        compare::decimal(value).ok_or_else(|| ElError::runtime("an argument is not a number"))?;
    let is_digit = |char: char| matches!(char, '0' | '#' | ',' | '.');
    let pattern = pattern.split(';').next().unwrap_or_default();
    let start = pattern.find(is_digit).unwrap_or(pattern.len());
    let end = pattern[start..]
        .find(|char| !is_digit(char))
        .map_or(pattern.len(), |length| start + length);
    let (prefix, digits, suffix) = (&pattern[..start], &pattern[start..end], &pattern[end..]);
    let number = if prefix.contains('%') || suffix.contains('%') {
        number.multiply(&Decimal::whole(100))?
    } else {
        number
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let count = |text: &str, wanted: char| text.chars().filter(|char| *char == wanted).count();
    let least = count(fraction, '0');
    let most = least + count(fraction, '#');
    let rounded = number.with_scale(most as i32, Rounding::HalfEven)?;
    let text = rounded.abs().plain_text();
    let (own_whole, own_fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut own_fraction = own_fraction.to_owned();
    while own_fraction.len() > least && own_fraction.ends_with('0') {
        own_fraction.pop();
    }
    let width = count(whole, '0');
    let mut own_whole = format!("{:0>width$}", own_whole.trim_start_matches('0'));
    if own_whole.is_empty() && own_fraction.is_empty() {
        own_whole.push('0');
    }
    if whole.contains(',') {
        own_whole = grouped(&own_whole);
    }
    let sign = if rounded.signum() < 0 { "-" } else { "" };
    let point = if own_fraction.is_empty() { "" } else { "." };
    Ok(format!(
        "{sign}{prefix}{own_whole}{point}{own_fraction}{suffix}"
    ))
}
