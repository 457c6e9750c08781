//! `new …(…)` (contract expression-language 5).

use std::sync::Arc;

use super::decimal::Decimal;
use super::eval::{Evaluation, shortened};
use super::methods::numeric_decimal_argument as decimal_argument;
use super::methods::text::decode;
use super::methods::{long_argument, text_argument};
use super::native::Native;
use super::statics::{find_type, native, not_a_number, real, string, whole};
use super::{ElError, Value, temporal};

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
