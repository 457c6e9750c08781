//! Decimal numbers, as templates calculate with them.

use std::cmp::Ordering;
use std::fmt;

/// Digits behind the point at most.
const SCALE_MAX: u32 = 16;
/// Digits behind the point of a quotient.
const QUOTIENT_SCALE: u32 = 12;

/// `mantissa` × 10^−`scale`, without trailing zeros behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    mantissa: i128,
    scale: u32,
}

/// How a number is cut to fewer digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    HalfEven,
    HalfUp,
    Floor,
    Ceiling,
    Down,
}

fn power(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

impl Decimal {
    fn new(mut mantissa: i128, mut scale: u32) -> Self {
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self { mantissa, scale }
    }

    pub(super) fn integer(number: i64) -> Self {
        Self::new(number.into(), 0)
    }

    pub(super) fn double(number: f64) -> Option<Self> {
        Self::parse(&format!("{number:e}"))
    }

    /// A number as it is written in a template or in JSON; `None` when it is none, or too large.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = 0_i128;
        let count = whole.len() + fraction.len();
        if count == 0 || count > 60 {
            return None;
        }
        let kept = fraction.len().min(30);
        for byte in whole.bytes().chain(fraction.bytes().take(kept)) {
            if !byte.is_ascii_digit() {
                return None;
            }
            digits = digits
                .checked_mul(10)?
                .checked_add(i128::from(byte - b'0'))?;
        }
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = if negative { -digits } else { digits };
        let scale = i64::try_from(kept).ok()? - i64::from(exponent);
        if scale < 0 {
            let factor = power(u32::try_from(-scale).ok()?)?;
            return Some(Self::new(digits.checked_mul(factor)?, 0));
        }
        let number = Self::new(digits, 0);
        if number.mantissa == 0 {
            return Some(number);
        }
        let scale = u32::try_from(scale).ok()?;
        if scale > SCALE_MAX {
            let cut = scale - SCALE_MAX;
            let Some(divisor) = power(cut) else {
                return Some(Self::integer(0));
            };
            return Some(Self::new(digits / divisor, SCALE_MAX));
        }
        Some(Self::new(digits, scale))
    }

    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        Some((
            self.mantissa.checked_mul(power(scale - self.scale)?)?,
            other.mantissa.checked_mul(power(scale - other.scale)?)?,
            scale,
        ))
    }

    pub(super) fn add(self, other: Self) -> Option<Self> {
        let (a, b, scale) = self.aligned(other)?;
        Some(Self::new(a.checked_add(b)?, scale))
    }

    pub(super) fn negate(self) -> Option<Self> {
        Some(Self::new(self.mantissa.checked_neg()?, self.scale))
    }

    pub(super) fn subtract(self, other: Self) -> Option<Self> {
        self.add(other.negate()?)
    }

    pub(super) fn multiply(self, other: Self) -> Option<Self> {
        let product = Self::new(
            self.mantissa.checked_mul(other.mantissa)?,
            self.scale + other.scale,
        );
        if product.scale > SCALE_MAX {
            return product.rounded(SCALE_MAX, Rounding::HalfUp);
        }
        Some(product)
    }

    pub(super) fn divide(self, other: Self) -> Option<Self> {
        let (a, b, _) = self.aligned(other)?;
        if b == 0 {
            return None;
        }
        // One digit more than is kept, to round by.
        let quotient = a.checked_mul(power(QUOTIENT_SCALE + 1)?)?.checked_div(b)?;
        Self {
            mantissa: quotient,
            scale: QUOTIENT_SCALE + 1,
        }
        .rounded(QUOTIENT_SCALE, Rounding::HalfUp)
    }

    /// The remainder of the whole numbers.
    pub(super) fn modulo(self, other: Self) -> Option<Self> {
        let a = self.rounded(0, Rounding::Down)?.mantissa;
        let b = other.rounded(0, Rounding::Down)?.mantissa;
        Some(Self::new(a.checked_rem(b)?, 0))
    }

    pub(super) fn rounded(self, scale: u32, rounding: Rounding) -> Option<Self> {
        if self.scale <= scale {
            return Some(self);
        }
        let divisor = power(self.scale - scale)?;
        let whole = self.mantissa.div_euclid(divisor);
        let rest = self.mantissa.rem_euclid(divisor);
        let up = match rounding {
            Rounding::Floor => false,
            Rounding::Ceiling => rest > 0,
            Rounding::Down => rest > 0 && self.mantissa < 0,
            Rounding::HalfEven => match (rest.checked_mul(2)?).cmp(&divisor) {
                Ordering::Less => false,
                Ordering::Greater => true,
                Ordering::Equal => whole % 2 != 0,
            },
            Rounding::HalfUp => match (rest.checked_mul(2)?).cmp(&divisor) {
                Ordering::Less => false,
                Ordering::Greater => true,
                Ordering::Equal => self.mantissa > 0,
            },
        };
        Some(Self::new(whole + i128::from(up), scale))
    }

    pub(super) fn compare(self, other: Self) -> Ordering {
        match self.aligned(other) {
            Some((a, b, _)) => a.cmp(&b),
            // One of them is too large to be aligned: their whole parts differ.
            None => {
                let whole =
                    |own: Self| power(own.scale).map_or(0, |divisor| own.mantissa / divisor);
                whole(self).cmp(&whole(other))
            }
        }
    }

    pub(super) fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The whole number, when it is one of 64 bits.
    pub(super) fn to_integer(self) -> Option<i64> {
        (self.scale == 0)
            .then(|| i64::try_from(self.mantissa).ok())
            .flatten()
    }

    /// Digits before and behind the point, without sign; behind it at least `least` and at most `most`, half to even.
    pub(super) fn digits(self, least: u32, most: u32) -> Option<(String, String)> {
        let number = self.rounded(most, Rounding::HalfEven)?;
        let divisor = power(number.scale)?.unsigned_abs();
        let mantissa = number.mantissa.unsigned_abs();
        let whole = (mantissa / divisor).to_string();
        let mut fraction = if number.scale == 0 {
            String::new()
        } else {
            format!(
                "{:0width$}",
                mantissa % divisor,
                width = number.scale as usize
            )
        };
        while fraction.len() < least as usize {
            fraction.push('0');
        }
        Some((whole, fraction))
    }

    /// As a template prints it: groups of three digits, at most three digits behind the point.
    pub(super) fn to_text(self) -> String {
        let (whole, fraction) = self.digits(0, 3).unwrap_or_default();
        let mut out = String::new();
        // Also in front of what is rounded to zero, as the reference has it.
        if self.is_negative() {
            out.push('-');
        }
        group(&mut out, &whole, 3);
        if !fraction.is_empty() {
            out.push('.');
            out.push_str(&fraction);
        }
        out
    }
}

/// Writes digits in groups, separated by commas.
pub(super) fn group(out: &mut String, digits: &str, size: usize) {
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && size > 0 && left.is_multiple_of(size) {
            out.push(',');
        }
        out.push(digit);
    }
}

/// As computers read it: every digit, no groups.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = self.digits(0, SCALE_MAX).unwrap_or_default();
        if self.is_negative() {
            f.write_str("-")?;
        }
        f.write_str(&whole)?;
        if !fraction.is_empty() {
            write!(f, ".{fraction}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn numbers_are_printed_as_templates_print_them() {
        for (text, printed, computed) in [
            ("0", "0", "0"),
            ("1234567.8915", "1,234,567.892", "1234567.8915"),
            ("-1000", "-1,000", "-1000"),
            ("0.0005", "0", "0.0005"),
            ("-0.0001", "-0", "-0.0001"),
            ("0.0015", "0.002", "0.0015"),
            ("1.50", "1.5", "1.5"),
            ("1e3", "1,000", "1000"),
            ("2.5E-2", "0.025", "0.025"),
            (
                "9223372036854775807",
                "9,223,372,036,854,775,807",
                "9223372036854775807",
            ),
        ] {
            assert_eq!(decimal(text).to_text(), printed, "{text}");
            assert_eq!(decimal(text).to_string(), computed, "{text}");
        }
        for text in ["", "-", "1.2.3", "x", "1e", "1e99999999999", "1e40"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn arithmetic_is_decimal() {
        assert_eq!(decimal("0.1").add(decimal("0.2")), Some(decimal("0.3")));
        assert_eq!(
            decimal("1").divide(decimal("3")),
            Some(decimal("0.333333333333"))
        );
        assert_eq!(
            decimal("2").divide(decimal("3")),
            Some(decimal("0.666666666667"))
        );
        assert_eq!(decimal("1").divide(decimal("0")), None);
        assert_eq!(decimal("-7.5").modulo(decimal("3")), Some(decimal("-1")));
        assert_eq!(decimal("1").modulo(decimal("0.5")), None);
        assert_eq!(
            decimal("-1.5").rounded(0, Rounding::Down),
            Some(decimal("-1"))
        );
        assert_eq!(
            decimal("-1.5").rounded(0, Rounding::Floor),
            Some(decimal("-2"))
        );
        assert_eq!(
            decimal("-1.5").rounded(0, Rounding::Ceiling),
            Some(decimal("-1"))
        );
        assert_eq!(
            decimal("2.5").rounded(0, Rounding::HalfEven),
            Some(decimal("2"))
        );
    }

    proptest! {
        #[test]
        fn integers_are_calculated_exactly(a: i32, b: i32) {
            let (x, y) = (Decimal::integer(a.into()), Decimal::integer(b.into()));
            prop_assert_eq!(x.add(y), Some(Decimal::integer(i64::from(a) + i64::from(b))));
            prop_assert_eq!(x.multiply(y), Some(Decimal::integer(i64::from(a) * i64::from(b))));
            prop_assert_eq!(x.compare(y), a.cmp(&b));
        }

        #[test]
        fn any_text_is_a_number_or_none(text in "[0-9eE.+-]{0,40}") {
            if let Some(number) = Decimal::parse(&text) {
                let _ = (number.to_text(), number.to_string(), number.divide(number), number.multiply(number));
            }
        }
    }
}
