//! Types: `T(…)`, their constants and static methods, and `new` (contract expression-language 5).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::compare::rank;
use super::decimal::Decimal;
use super::eval::{Evaluation, shortened};
use super::methods::numeric_decimal_argument as decimal_argument;
use super::methods::text::{decode, encode};
use super::methods::{Called, double_argument, int_argument, long_argument, text_argument};
use super::native::Native;
use super::{ElError, Value, compare, format, maps, number, temporal};

/// Every type that has a name. Most are only named, for `instanceof` and messages.
const TYPES: &[&str] = &[
    "java.lang.Boolean",
    "java.lang.Byte",
    "java.lang.CharSequence",
    "java.lang.Character",
    "java.lang.Class",
    "java.lang.Comparable",
    "java.lang.Double",
    "java.lang.Float",
    "java.lang.Integer",
    "java.lang.Iterable",
    "java.lang.Long",
    "java.lang.Math",
    "java.lang.Number",
    "java.lang.Object",
    "java.lang.Process",
    "java.lang.ProcessBuilder",
    "java.lang.Runtime",
    "java.lang.Short",
    "java.lang.String",
    "java.lang.StringBuilder",
    "java.lang.System",
    "java.lang.Thread",
    "java.io.File",
    "java.math.BigDecimal",
    "java.math.BigInteger",
    "java.math.RoundingMode",
    "java.net.URLDecoder",
    "java.net.URLEncoder",
    "java.text.DateFormat",
    "java.text.DecimalFormat",
    "java.text.NumberFormat",
    "java.text.SimpleDateFormat",
    "java.time.LocalDate",
    "java.time.LocalDateTime",
    "java.time.ZonedDateTime",
    "java.time.format.DateTimeFormatter",
    "java.util.ArrayList",
    "java.util.Base64",
    "java.util.Calendar",
    "java.util.Collection",
    "java.util.Collections",
    "java.util.Date",
    "java.util.HashMap",
    "java.util.List",
    "java.util.Locale",
    "java.util.Map",
    "java.util.Random",
    "java.util.TimeZone",
    "java.util.UUID",
    "boolean",
    "byte",
    "char",
    "double",
    "float",
    "int",
    "long",
    "short",
];

/// The type of a name; `java.lang` may be left out.
pub(super) fn find_type<'a>(name: &str) -> Result<Value<'a>, ElError> {
    TYPES
        .iter()
        .find(|known| **known == name || known.strip_prefix("java.lang.") == Some(name))
        .map(|known| Value::Native(Arc::new(Native::Type(known))))
        .ok_or_else(|| ElError::evaluation(format!("there is no type {}", shortened(name))))
}

/// The operator `instanceof`.
pub(super) fn instance_of(value: &Value<'_>, wanted: &Value<'_>) -> Result<bool, ElError> {
    let name = match wanted {
        Value::Native(native) => match &**native {
            Native::Type(name) => *name,
            _ => {
                return Err(ElError::evaluation(
                    "the right side of 'instanceof' is not a type",
                ));
            }
        },
        _ => {
            return Err(ElError::evaluation(
                "the right side of 'instanceof' is not a type",
            ));
        }
    };
    let own: &[&str] = match value {
        Value::Null => return Ok(false),
        Value::Bool(_) => &["java.lang.Boolean", "boolean", "java.lang.Comparable"],
        Value::Int(_) => &[
            "java.lang.Integer",
            "int",
            "java.lang.Number",
            "java.lang.Comparable",
        ],
        Value::Long(_) => &[
            "java.lang.Long",
            "long",
            "java.lang.Number",
            "java.lang.Comparable",
        ],
        Value::Float(_) => &[
            "java.lang.Float",
            "float",
            "java.lang.Number",
            "java.lang.Comparable",
        ],
        Value::Double(_) => &[
            "java.lang.Double",
            "double",
            "java.lang.Number",
            "java.lang.Comparable",
        ],
        Value::Decimal(_) => &[
            "java.math.BigDecimal",
            "java.lang.Number",
            "java.lang.Comparable",
        ],
        Value::Char(_) => &["java.lang.Character", "char", "java.lang.Comparable"],
        Value::Text(_) => &[
            "java.lang.String",
            "java.lang.CharSequence",
            "java.lang.Comparable",
        ],
        Value::List(_) => &[
            "java.util.List",
            "java.util.Collection",
            "java.lang.Iterable",
            "java.util.ArrayList",
        ],
        Value::Map(_) | Value::Lookup(_) | Value::Params(_) => &["java.util.Map"],
        Value::Native(native) => match **native {
            Native::Date(_) => &["java.util.Date", "java.lang.Comparable"],
            Native::LocalDate(_) => &["java.time.LocalDate"],
            Native::LocalDateTime(_) => &["java.time.LocalDateTime"],
            Native::ZonedDateTime(_) => &["java.time.ZonedDateTime"],
            Native::Uuid(_) => &["java.util.UUID", "java.lang.Comparable"],
            _ => &[],
        },
        _ => &[],
    };
    Ok(name == "java.lang.Object" || own.contains(&name))
}

/// A constant of a type; `None` when it has none of this name.
pub(super) fn field<'a>(native: &Native, name: &str) -> Option<Value<'a>> {
    let Native::Type(kind) = native else {
        return None;
    };
    Some(match (*kind, name) {
        ("java.lang.Math", "PI") => Value::Double(std::f64::consts::PI),
        ("java.lang.Math", "E") => Value::Double(std::f64::consts::E),
        ("java.lang.Integer", "MAX_VALUE") => Value::Int(i32::MAX),
        ("java.lang.Integer", "MIN_VALUE") => Value::Int(i32::MIN),
        ("java.lang.Long", "MAX_VALUE") => Value::Long(i64::MAX),
        ("java.lang.Long", "MIN_VALUE") => Value::Long(i64::MIN),
        ("java.lang.Short", "MAX_VALUE") => Value::Int(i16::MAX.into()),
        ("java.lang.Short", "MIN_VALUE") => Value::Int(i16::MIN.into()),
        ("java.lang.Double", "MAX_VALUE") => Value::Double(f64::MAX),
        ("java.lang.Double", "MIN_VALUE") => Value::Double(5e-324),
        ("java.lang.Double", "POSITIVE_INFINITY") => Value::Double(f64::INFINITY),
        ("java.lang.Double", "NEGATIVE_INFINITY") => Value::Double(f64::NEG_INFINITY),
        ("java.lang.Double", "NaN") => Value::Double(f64::NAN),
        ("java.lang.Float", "MAX_VALUE") => Value::Float(f32::MAX),
        ("java.lang.Float", "NaN") => Value::Float(f32::NAN),
        ("java.lang.Boolean", "TRUE") => Value::Bool(true),
        ("java.lang.Boolean", "FALSE") => Value::Bool(false),
        ("java.math.BigDecimal", "ZERO") => Value::Decimal(Arc::new(Decimal::whole(0))),
        ("java.math.BigDecimal", "ONE") => Value::Decimal(Arc::new(Decimal::whole(1))),
        ("java.math.BigDecimal", "TEN") => Value::Decimal(Arc::new(Decimal::whole(10))),
        ("java.math.BigDecimal", _) => Value::Int(match name {
            "ROUND_UP" => 0,
            "ROUND_DOWN" => 1,
            "ROUND_CEILING" => 2,
            "ROUND_FLOOR" => 3,
            "ROUND_HALF_UP" => 4,
            "ROUND_HALF_DOWN" => 5,
            "ROUND_HALF_EVEN" => 6,
            _ => return None,
        }),
        ("java.math.RoundingMode", _) => Value::Native(Arc::new(Native::Constant(match name {
            "UP" => "UP",
            "DOWN" => "DOWN",
            "CEILING" => "CEILING",
            "FLOOR" => "FLOOR",
            "HALF_UP" => "HALF_UP",
            "HALF_DOWN" => "HALF_DOWN",
            "HALF_EVEN" => "HALF_EVEN",
            _ => return None,
        }))),
        ("java.util.Locale", "ENGLISH" | "US" | "ROOT" | "UK" | "FRENCH" | "FRANCE") => {
            Value::Native(Arc::new(Native::Constant("locale")))
        }
        ("java.time.format.DateTimeFormatter", _) => {
            Value::Native(Arc::new(temporal::formatter_constant(name)?))
        }
        _ => return None,
    })
}

fn native<'a>(native: Native) -> Value<'a> {
    Value::Native(Arc::new(native))
}

fn not_a_number() -> ElError {
    ElError::runtime("a text is not a number")
}

/// Calls a static method.
pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    target: &Native,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    let Native::Type(kind) = target else {
        return Ok(None);
    };
    let short = kind.rsplit('.').next().unwrap_or(kind);
    match short {
        "Math" => math(evaluation, name, arguments),
        "String" => string(evaluation, name, arguments),
        "Integer" | "Long" | "Short" => whole(short, name, arguments),
        "Double" | "Float" => real(short, name, arguments),
        "LocalDate" | "LocalDateTime" | "ZonedDateTime" | "DateTimeFormatter" => {
            temporal::call_static(evaluation, short, name, arguments)
        }
        "Collections" => collections(evaluation, name, arguments),
        _ => other(evaluation, short, name, arguments),
    }
}

fn other<'a>(
    evaluation: &mut Evaluation<'a>,
    kind: &str,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    Ok(Some(match (kind, name, arguments) {
        ("BigDecimal", "valueOf", [value]) => Value::Decimal(Arc::new(decimal_argument(value)?)),
        ("BigDecimal", "valueOf", [value, scale]) => {
            let text = format!(
                "{}e{}",
                long_argument(value)?,
                -i64::from(int_argument(scale)?)
            );
            Value::Decimal(Arc::new(Decimal::parse(&text).ok_or_else(not_a_number)?))
        }
        ("System", "currentTimeMillis", []) => {
            Value::Long(i64::try_from(evaluation.scope.now_ms()).unwrap_or(i64::MAX))
        }
        ("System", "nanoTime", []) => Value::Long(
            i64::try_from(evaluation.scope.now_ms())
                .unwrap_or(i64::MAX)
                .wrapping_mul(1_000_000),
        ),
        ("UUID", "randomUUID", []) => {
            let bits = (u128::from(evaluation.scope.random()) << 64)
                | u128::from(evaluation.scope.random());
            let version = (bits & !(0xf << 76)) | (0x4 << 76);
            native(Native::Uuid((version & !(0b11 << 62)) | (0b10 << 62)))
        }
        ("Base64", "getEncoder" | "getMimeEncoder", []) => native(Native::Encoder {
            url: false,
            padded: true,
        }),
        ("Base64", "getUrlEncoder", []) => native(Native::Encoder {
            url: true,
            padded: true,
        }),
        ("Base64", "getDecoder", []) => native(Native::Decoder { url: false }),
        ("Base64", "getUrlDecoder", []) => native(Native::Decoder { url: true }),
        ("URLEncoder", "encode", [text, charset]) => {
            let bytes = encode(&text_argument(charset)?, &text_argument(text)?)?;
            evaluation.budget.take(bytes.len() * 3)?;
            Value::from(url_encoded(&bytes))
        }
        ("URLDecoder", "decode", [text, charset]) => {
            let text = text_argument(text)?;
            evaluation.budget.take(text.len())?;
            Value::from(decode(&text_argument(charset)?, &url_decoded(&text)?)?)
        }
        ("TimeZone", "getTimeZone", [zone]) => {
            text_argument(zone)?;
            native(Native::Constant("UTC"))
        }
        _ => return Ok(None),
    }))
}

fn url_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                text.push(char::from(byte));
            }
            b' ' => text.push('+'),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn url_decoded(text: &str) -> Result<Vec<u8>, ElError> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = bytes
                    .get(at + 1..at + 3)
                    .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                    .and_then(|digits| std::str::from_utf8(digits).ok())
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| ElError::runtime("an escape of a URL is not complete"))?;
                decoded.push(digits);
                at += 2;
            }
            _ => decoded.push(byte),
        }
        at += 1;
    }
    Ok(decoded)
}

fn coder(url: bool, padded: bool) -> GeneralPurpose {
    let alphabet = if url {
        &base64::alphabet::URL_SAFE
    } else {
        &base64::alphabet::STANDARD
    };
    GeneralPurpose::new(
        alphabet,
        GeneralPurposeConfig::new()
            .with_encode_padding(padded)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    )
}

fn bytes_argument(value: &Value<'_>) -> Result<Arc<[u8]>, ElError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes.clone()),
        Value::Null => Err(ElError::runtime("an argument is null")),
        _ => Err(ElError::evaluation("an argument is not an array of bytes")),
    }
}

/// Methods of coders.
pub(super) fn call_coder<'a>(
    evaluation: &mut Evaluation<'a>,
    value: &Native,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    Ok(Some(match (value, name, arguments) {
        (Native::Encoder { url, .. }, "withoutPadding", []) => native(Native::Encoder {
            url: *url,
            padded: false,
        }),
        (Native::Encoder { url, padded }, "encodeToString" | "encode", [bytes]) => {
            let bytes = bytes_argument(bytes)?;
            evaluation.budget.take(bytes.len() * 2)?;
            let text = coder(*url, *padded).encode(&bytes);
            if name == "encode" {
                Value::Bytes(Arc::from(text.into_bytes()))
            } else {
                Value::from(text)
            }
        }
        (Native::Decoder { url }, "decode", [text]) => {
            let bytes = match text {
                Value::Bytes(bytes) => bytes.clone(),
                _ => Arc::from(text_argument(text)?.as_bytes()),
            };
            evaluation.budget.take(bytes.len())?;
            let decoded = coder(*url, true)
                .decode(&bytes)
                .map_err(|_| ElError::runtime("a text is not Base64"))?;
            Value::Bytes(Arc::from(decoded))
        }
        _ => return Ok(None),
    }))
}

fn math<'a>(evaluation: &mut Evaluation<'a>, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
    let overflow = || ElError::runtime("integer overflow");
    Ok(Some(match (name, arguments) {
        ("random", []) => {
            Value::Double((evaluation.scope.random() >> 11) as f64 / (1u64 << 53) as f64)
        }
        ("abs", [Value::Int(number)]) => Value::Int(number.wrapping_abs()),
        ("abs", [Value::Long(number)]) => Value::Long(number.wrapping_abs()),
        ("abs", [Value::Float(number)]) => Value::Float(number.abs()),
        ("abs", [number]) => Value::Double(double_argument(number)?.abs()),
        ("max" | "min", [left, right]) => {
            let max = name == "max";
            match rank(left).max(rank(right)) {
                1 => {
                    let (left, right) = (int_argument(left)?, int_argument(right)?);
                    Value::Int(if max {
                        left.max(right)
                    } else {
                        left.min(right)
                    })
                }
                2 => {
                    let (left, right) = (long_argument(left)?, long_argument(right)?);
                    Value::Long(if max {
                        left.max(right)
                    } else {
                        left.min(right)
                    })
                }
                wide => {
                    let (left, right) = (double_argument(left)?, double_argument(right)?);
                    let result = if left.is_nan() || right.is_nan() {
                        f64::NAN
                    } else if max {
                        left.max(right)
                    } else {
                        left.min(right)
                    };
                    if wide == 3 {
                        Value::Float(result as f32)
                    } else {
                        Value::Double(result)
                    }
                }
            }
        }
        ("round", [Value::Float(number)]) => {
            let rounded = number::round(f64::from(*number));
            Value::Int(rounded.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
        }
        ("round", [value]) => Value::Long(number::round(double_argument(value)?)),
        ("pow", [base, exponent]) => {
            Value::Double(double_argument(base)?.powf(double_argument(exponent)?))
        }
        ("atan2", [y, x]) => Value::Double(double_argument(y)?.atan2(double_argument(x)?)),
        ("hypot", [x, y]) => Value::Double(double_argument(x)?.hypot(double_argument(y)?)),
        (
            "addExact" | "subtractExact" | "multiplyExact" | "floorDiv" | "floorMod",
            [left, right],
        ) => {
            let (wide, left_number, right_number) = (
                rank(left).max(rank(right)) > 1,
                i128::from(long_argument(left)?),
                i128::from(long_argument(right)?),
            );
            if right_number == 0 && name.starts_with("floor") {
                return Err(ElError::runtime("division by zero"));
            }
            let floor = || {
                let quotient = left_number / right_number;
                let inexact = left_number % right_number != 0;
                quotient - i128::from(inexact && (left_number < 0) != (right_number < 0))
            };
            let result = match name {
                "addExact" => left_number + right_number,
                "subtractExact" => left_number - right_number,
                "multiplyExact" => left_number * right_number,
                "floorDiv" => floor(),
                _ => left_number - floor() * right_number,
            };
            if wide {
                Value::Long(i64::try_from(result).map_err(|_| overflow())?)
            } else {
                Value::Int(i32::try_from(result).map_err(|_| overflow())?)
            }
        }
        ("toIntExact", [number]) => {
            Value::Int(i32::try_from(long_argument(number)?).map_err(|_| overflow())?)
        }
        ("negateExact", [Value::Int(number)]) => {
            Value::Int(number.checked_neg().ok_or_else(overflow)?)
        }
        (_, [number]) => {
            let function: fn(f64) -> f64 = match name {
                "floor" => f64::floor,
                "ceil" => f64::ceil,
                "rint" => f64::round_ties_even,
                "sqrt" => f64::sqrt,
                "cbrt" => f64::cbrt,
                "exp" => f64::exp,
                "expm1" => f64::exp_m1,
                "log" => f64::ln,
                "log10" => f64::log10,
                "log1p" => f64::ln_1p,
                "sin" => f64::sin,
                "cos" => f64::cos,
                "tan" => f64::tan,
                "asin" => f64::asin,
                "acos" => f64::acos,
                "atan" => f64::atan,
                "sinh" => f64::sinh,
                "cosh" => f64::cosh,
                "tanh" => f64::tanh,
                "toRadians" => f64::to_radians,
                "toDegrees" => f64::to_degrees,
                "signum" => |number| {
                    if number == 0.0 || number.is_nan() {
                        number
                    } else {
                        number.signum()
                    }
                },
                _ => return Ok(None),
            };
            Value::Double(function(double_argument(number)?))
        }
        _ => return Ok(None),
    }))
}

fn string<'a>(evaluation: &mut Evaluation<'a>, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
    Ok(Some(match (name, arguments) {
        ("valueOf" | "copyValueOf", [value]) => match value {
            Value::Text(_) => value.clone(),
            Value::Array(items) if items.iter().all(|item| matches!(item, Value::Char(_))) => {
                Value::from(items.iter().map(Value::java_text).collect::<String>())
            }
            _ => {
                let text = value.java_text();
                evaluation.budget.take(text.len())?;
                Value::from(text)
            }
        },
        ("format", [pattern, rest @ ..]) => {
            // The first argument may be a locale.
            let (pattern, rest) = match (pattern, rest) {
                (Value::Native(_), [pattern, rest @ ..]) => (pattern, rest),
                _ => (pattern, rest),
            };
            let pattern = text_argument(pattern)?;
            Value::from(format::format(evaluation, &pattern, rest)?)
        }
        ("join", [separator, rest @ ..]) => {
            let separator = text_argument(separator)?;
            let parts: Vec<Value<'a>> = match rest {
                [Value::List(items) | Value::Array(items)] => items.to_vec(),
                _ => rest.to_vec(),
            };
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                let part = part.clone().into_text()?.unwrap_or("null".into());
                evaluation.budget.take(part.len() + separator.len())?;
                if index > 0 {
                    text.push_str(&separator);
                }
                text.push_str(&part);
            }
            Value::from(text)
        }
        _ => return Ok(None),
    }))
}

fn whole<'a>(kind: &str, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
    let is_long = kind == "Long";
    let checked = |number: i64| {
        let fits = match kind {
            "Long" => true,
            "Short" => i16::try_from(number).is_ok(),
            _ => i32::try_from(number).is_ok(),
        };
        if !fits {
            return Err(not_a_number());
        }
        Ok(if is_long {
            Value::Long(number)
        } else {
            Value::Int(number as i32)
        })
    };
    let radix_of = |value: &Value<'_>| {
        u32::try_from(int_argument(value)?)
            .ok()
            .filter(|radix| (2..=36).contains(radix))
            .ok_or_else(not_a_number)
    };
    let parse = |text: &str, radix: u32| {
        i64::from_str_radix(text, radix)
            .map_err(|_| not_a_number())
            .and_then(checked)
    };
    let unsigned = |value: &Value<'_>, radix: u32| {
        let number = long_argument(value)?;
        let bits = if is_long {
            number as u64
        } else {
            u64::from(number as u32)
        };
        Ok(Value::from(in_radix(bits, radix)))
    };
    match (name, arguments) {
        ("parseInt", [text]) if kind == "Integer" => parse(&text_argument(text)?, 10),
        ("parseInt", [text, radix]) if kind == "Integer" => {
            parse(&text_argument(text)?, radix_of(radix)?)
        }
        ("parseLong", [text]) if is_long => parse(&text_argument(text)?, 10),
        ("parseLong", [text, radix]) if is_long => parse(&text_argument(text)?, radix_of(radix)?),
        ("parseShort", [text]) if kind == "Short" => parse(&text_argument(text)?, 10),
        ("valueOf", [Value::Text(text)]) => parse(text, 10),
        ("valueOf", [text @ Value::Text(_), radix]) => {
            parse(&text_argument(text)?, radix_of(radix)?)
        }
        ("decode", [text]) => number::parse_whole(&text_argument(text)?)
            .ok_or_else(not_a_number)
            .and_then(checked),
        ("valueOf", [value]) => checked(long_argument(value)?),
        ("toString", [value]) => Ok(Value::from(long_argument(value)?.to_string())),
        ("toString", [value, radix]) => {
            let (number, radix) = (long_argument(value)?, radix_of(radix)?);
            let sign = if number < 0 { "-" } else { "" };
            Ok(Value::from(format!(
                "{sign}{}",
                in_radix(number.unsigned_abs(), radix)
            )))
        }
        ("toHexString", [value]) => unsigned(value, 16),
        ("toOctalString", [value]) => unsigned(value, 8),
        ("toBinaryString", [value]) => unsigned(value, 2),
        ("max" | "min" | "sum", [left, right]) => {
            let (left, right) = (long_argument(left)?, long_argument(right)?);
            let result = match name {
                "max" => left.max(right),
                "min" => left.min(right),
                _ if is_long => left.wrapping_add(right),
                _ => i64::from((left as i32).wrapping_add(right as i32)),
            };
            checked(result)
        }
        ("compare", [left, right]) => Ok(Value::Int(
            long_argument(left)?.cmp(&long_argument(right)?) as i32,
        )),
        ("signum", [value]) => Ok(Value::Int(long_argument(value)?.signum() as i32)),
        ("bitCount", [value]) => {
            let number = long_argument(value)?;
            let bits = if is_long {
                number as u64
            } else {
                u64::from(number as u32)
            };
            Ok(Value::Int(bits.count_ones() as i32))
        }
        ("hashCode", [value]) => Ok(Value::Int(compare::hash(&checked(long_argument(value)?)?))),
        _ => return Ok(None),
    }
    .map(Some)
}

fn in_radix(mut number: u64, radix: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((number % u64::from(radix)) as u32, radix).unwrap_or('0'));
        number /= u64::from(radix);
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

fn real<'a>(kind: &str, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
    let made = |number: f64| {
        if kind == "Float" {
            Value::Float(number as f32)
        } else {
            Value::Double(number)
        }
    };
    Ok(Some(match (name, arguments) {
        ("parseDouble" | "parseFloat" | "valueOf", [text @ Value::Text(_)])
            if name == "valueOf" || name.ends_with(kind) =>
        {
            let text = text_argument(text)?;
            let parsed = if kind == "Float" {
                number::parse_double(&text)
                    .map(|_| text.trim().trim_end_matches(['f', 'F', 'd', 'D']))
                    .and_then(|text| text.parse::<f32>().ok())
                    .map(Value::Float)
            } else {
                number::parse_double(&text).map(Value::Double)
            };
            parsed.ok_or_else(not_a_number)?
        }
        ("valueOf", [value]) => made(double_argument(value)?),
        ("toString", [value]) => Value::from(made(double_argument(value)?).java_text()),
        ("isNaN", [value]) => Value::Bool(double_argument(value)?.is_nan()),
        ("isInfinite", [value]) => Value::Bool(double_argument(value)?.is_infinite()),
        ("isFinite", [value]) => Value::Bool(double_argument(value)?.is_finite()),
        ("compare", [left, right]) => {
            Value::Int(double_argument(left)?.total_cmp(&double_argument(right)?) as i32)
        }
        ("max", [left, right]) => made(double_argument(left)?.max(double_argument(right)?)),
        ("min", [left, right]) => made(double_argument(left)?.min(double_argument(right)?)),
        ("sum", [left, right]) => made(double_argument(left)? + double_argument(right)?),
        _ => return Ok(None),
    }))
}

fn list_argument<'a>(value: &Value<'a>) -> Result<Arc<[Value<'a>]>, ElError> {
    match value {
        Value::List(items) => Ok(items.clone()),
        Value::Null => Err(ElError::runtime("an argument is null")),
        _ if maps::is_map(value) => Err(ElError::evaluation("an argument is not a list")),
        _ => value
            .to_list()
            .ok_or_else(|| ElError::runtime("an argument is null")),
    }
}

fn collections<'a>(
    evaluation: &mut Evaluation<'a>,
    name: &str,
    arguments: &[Value<'a>],
) -> Called<'a> {
    let failed = |error: ElError| ElError::runtime(error.message);
    Ok(Some(match (name, arguments) {
        ("max" | "min", [items]) => {
            let items = list_argument(items)?;
            evaluation.budget.spend(items.len() as u64)?;
            let mut best: Option<&Value<'a>> = None;
            for item in items.iter() {
                let better = match best {
                    None => true,
                    Some(best) => {
                        let order = compare::order(item, best).map_err(failed)?;
                        if name == "max" {
                            order.is_gt()
                        } else {
                            order.is_lt()
                        }
                    }
                };
                if better {
                    best = Some(item);
                }
            }
            best.cloned()
                .ok_or_else(|| ElError::runtime("the list is empty"))?
        }
        ("frequency", [items, wanted]) => {
            let items = list_argument(items)?;
            evaluation.budget.spend(items.len() as u64)?;
            Value::Int(
                items
                    .iter()
                    .filter(|item| compare::equals(item, wanted))
                    .count() as i32,
            )
        }
        ("disjoint", [left, right]) => {
            let (left, right) = (list_argument(left)?, list_argument(right)?);
            evaluation
                .budget
                .spend((left.len() as u64).saturating_mul(right.len() as u64))?;
            Value::Bool(
                !left
                    .iter()
                    .any(|item| right.iter().any(|other| compare::equals(item, other))),
            )
        }
        ("indexOfSubList" | "lastIndexOfSubList", [items, part]) => {
            let (items, part) = (list_argument(items)?, list_argument(part)?);
            evaluation
                .budget
                .spend((items.len() as u64).saturating_mul(1 + part.len() as u64))?;
            let is_at = |at: &usize| {
                items.get(*at..*at + part.len()).is_some_and(|found| {
                    found
                        .iter()
                        .zip(part.iter())
                        .all(|(a, b)| compare::equals(a, b))
                })
            };
            let mut places = 0..=items.len();
            let found = if name == "indexOfSubList" {
                places.find(is_at)
            } else {
                places.rev().find(is_at)
            };
            Value::Int(found.map_or(-1, |at| at as i32))
        }
        ("binarySearch", [items, wanted]) => {
            let items = list_argument(items)?;
            let mut failure = None;
            let found = items.binary_search_by(|item| {
                compare::order(item, wanted).unwrap_or_else(|error| {
                    failure = Some(error);
                    std::cmp::Ordering::Equal
                })
            });
            if let Some(error) = failure {
                return Err(failed(error));
            }
            Value::Int(match found {
                Ok(at) => at as i32,
                Err(at) => -(at as i32) - 1,
            })
        }
        _ => return Ok(None),
    }))
}

/// `new …(…)`. What fails inside of a constructor is an evaluation error.
pub(super) fn construct<'a>(
    evaluation: &mut Evaluation<'a>,
    name: &str,
    arguments: &[Value<'a>],
) -> Result<Value<'a>, ElError> {
    let Value::Native(found) = find_type(name)? else {
        return Err(ElError::evaluation("there is no such type"));
    };
    let Native::Type(kind) = &*found else {
        return Err(ElError::evaluation("there is no such type"));
    };
    let bad = |_| ElError::evaluation("an argument of a constructor does not fit");
    let made = match (*kind, arguments) {
        ("java.lang.String", []) => Ok(Value::text("")),
        ("java.lang.String", [Value::Bytes(bytes)]) => {
            evaluation.budget.take(bytes.len())?;
            decode("UTF-8", bytes).map(Value::from)
        }
        ("java.lang.String", [Value::Bytes(bytes), charset]) => {
            evaluation.budget.take(bytes.len())?;
            decode(&text_argument(charset)?, bytes).map(Value::from)
        }
        ("java.lang.String", [Value::Array(_)]) => {
            string(evaluation, "valueOf", arguments).map(Option::unwrap_or_default)
        }
        ("java.lang.String", [text]) => text_argument(text).map(Value::Text),
        ("java.lang.Integer" | "java.lang.Long" | "java.lang.Short", [_]) => {
            let short = kind.rsplit('.').next().unwrap_or(kind);
            whole(short, "valueOf", arguments).map(Option::unwrap_or_default)
        }
        ("java.lang.Double" | "java.lang.Float", [_]) => {
            let short = kind.rsplit('.').next().unwrap_or(kind);
            real(short, "valueOf", arguments).map(Option::unwrap_or_default)
        }
        ("java.math.BigDecimal", [Value::Double(number)]) => Decimal::exact(*number)
            .map(|number| Value::Decimal(Arc::new(number)))
            .ok_or_else(not_a_number),
        ("java.math.BigDecimal", [value]) => match value {
            // No spaces around it here.
            Value::Text(text) => Decimal::parse(text).ok_or_else(not_a_number),
            _ => decimal_argument(value),
        }
        .map(|number| Value::Decimal(Arc::new(number))),
        ("java.util.Date", []) => Ok(native(Native::Date(
            i64::try_from(evaluation.scope.now_ms()).unwrap_or(i64::MAX),
        ))),
        ("java.util.Date", [ms]) => long_argument(ms).and_then(|ms| {
            if ms.abs() > 30_000_000_000_000_000 {
                return Err(not_a_number());
            }
            Ok(native(Native::Date(ms)))
        }),
        ("java.text.SimpleDateFormat", [pattern] | [pattern, _]) => text_argument(pattern)
            .and_then(|pattern| temporal::check_pattern(&pattern))
            .map(|pattern| native(Native::SimpleDateFormat(pattern))),
        ("java.text.DecimalFormat", [pattern]) => text_argument(pattern)
            .and_then(|pattern| temporal::check_pattern(&pattern))
            .map(|pattern| native(Native::DecimalFormat(pattern))),
        (
            "java.lang.String"
            | "java.lang.Integer"
            | "java.lang.Long"
            | "java.lang.Short"
            | "java.lang.Double"
            | "java.lang.Float"
            | "java.lang.Math"
            | "java.math.BigDecimal"
            | "java.util.Date"
            | "java.text.SimpleDateFormat"
            | "java.text.DecimalFormat",
            _,
        ) => {
            return Err(ElError::runtime(format!(
                "{} has no constructor with {} arguments",
                kind,
                arguments.len()
            )));
        }
        _ => {
            return Err(ElError::evaluation(format!(
                "{} cannot be made",
                shortened(name)
            )));
        }
    };
    made.map_err(bad)
}
