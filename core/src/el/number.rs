//! Numbers as Java reads and writes them.

/// The text of a double: shortest digits, `1.0E8` from ten million on and below a thousandth.
pub(super) fn double_text(number: f64) -> String {
    decimal_text(
        number.is_nan(),
        number.is_infinite(),
        number < 0.0,
        number == 0.0 && number.is_sign_negative(),
        number == 0.0,
        &format!("{number:e}"),
    )
}

/// The text of a float.
pub(super) fn float_text(number: f32) -> String {
    decimal_text(
        number.is_nan(),
        number.is_infinite(),
        number < 0.0,
        number == 0.0 && number.is_sign_negative(),
        number == 0.0,
        &format!("{number:e}"),
    )
}

fn decimal_text(
    nan: bool,
    infinite: bool,
    negative: bool,
    minus_zero: bool,
    zero: bool,
    scientific: &str,
) -> String {
    if nan {
        return "NaN".to_owned();
    }
    if infinite {
        return if negative { "-Infinity" } else { "Infinity" }.to_owned();
    }
    if zero {
        return if minus_zero { "-0.0" } else { "0.0" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let mut text = String::new();
    if negative {
        text.push('-');
    }
    let fraction = |digits: &str| {
        if digits.is_empty() {
            "0".to_owned()
        } else {
            digits.to_owned()
        }
    };
    match exponent {
        0..=6 => {
            let whole = exponent as usize + 1;
            if digits.len() <= whole {
                text.push_str(&digits);
                text.extend(std::iter::repeat_n('0', whole - digits.len()));
                text.push_str(".0");
            } else {
                let (before, after) = digits.split_at(whole);
                text.push_str(before);
                text.push('.');
                text.push_str(after);
            }
        }
        -3..=-1 => {
            text.push_str("0.");
            text.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
            text.push_str(&digits);
        }
        _ => {
            let (before, after) = digits.split_at(1.min(digits.len()));
            text.push_str(before);
            text.push('.');
            text.push_str(&fraction(after));
            text.push('E');
            text.push_str(&exponent.to_string());
        }
    }
    text
}

/// A double as `Double.parseDouble` reads it.
pub(super) fn parse_double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|char| char <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        "Infinity" => return Some(f64::INFINITY),
        _ => {}
    }
    let unsuffixed = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    if !unsuffixed
        .chars()
        .all(|char| char.is_ascii_digit() || matches!(char, '+' | '-' | '.' | 'e' | 'E'))
    {
        return None;
    }
    unsuffixed.parse().ok()
}

/// A whole number as Spring converts text: trimmed, decimal or hexadecimal (`0x`, `#`).
pub(super) fn parse_whole(text: &str) -> Option<i64> {
    let text: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, &*text),
    };
    let hexadecimal = unsigned
        .strip_prefix("0x")
        .or_else(|| unsigned.strip_prefix("0X"))
        .or_else(|| unsigned.strip_prefix('#'));
    match hexadecimal {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let number = i128::from_str_radix(digits, 16).ok()?;
            i64::try_from(if negative { -number } else { number }).ok()
        }
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// `Math.round` of a double.
pub(super) fn round(number: f64) -> i64 {
    (number + 0.5).floor() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        for (number, text) in [
            (1.0, "1.0"),
            (10.5, "10.5"),
            (1e8, "1.0E8"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (1234567.125, "1234567.125"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (0.00012, "1.2E-4"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.0, "-0.0"),
            (-2.5, "-2.5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (1.7976931348623157e308, "1.7976931348623157E308"),
            (123456789.0, "1.23456789E8"),
        ] {
            assert_eq!(double_text(number), text);
        }
        assert_eq!(float_text(1.0 / 3.0), "0.33333334");
    }

    #[test]
    fn text_is_read_as_java_reads_it() {
        for (text, number) in [
            (" 1.5 ", Some(1.5)),
            ("1e3", Some(1_000.0)),
            ("1d", Some(1.0)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("inf", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(parse_double(text), number, "{text:?}");
        }
        for (text, number) in [
            (" 42 ", Some(42)),
            ("+5", Some(5)),
            ("0x1F", Some(31)),
            ("-0x1F", Some(-31)),
            ("4.5", None),
            ("0x", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(parse_whole(text), number, "{text:?}");
        }
    }
}
