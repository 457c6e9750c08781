//! Decimal numbers of any size, bounded: a number larger than [`DIGITS_MAX`] digits is refused.

use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, Sign};
use num_traits::{Signed, ToPrimitive, Zero};

use super::ElError;

/// Most digits, before and behind the point together, that a decimal may have.
pub(super) const DIGITS_MAX: u64 = 10_000;

/// `unscaled * 10^-scale`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal {
    unscaled: BigInt,
    scale: i32,
}

/// How digits that do not fit are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Up,
    Down,
    Ceiling,
    Floor,
    HalfUp,
    HalfDown,
    HalfEven,
    Unnecessary,
}

impl Rounding {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "UP" => Self::Up,
            "DOWN" => Self::Down,
            "CEILING" => Self::Ceiling,
            "FLOOR" => Self::Floor,
            "HALF_UP" => Self::HalfUp,
            "HALF_DOWN" => Self::HalfDown,
            "HALF_EVEN" => Self::HalfEven,
            "UNNECESSARY" => Self::Unnecessary,
            _ => return None,
        })
    }

    pub(super) fn numbered(number: i32) -> Option<Self> {
        [
            Self::Up,
            Self::Down,
            Self::Ceiling,
            Self::Floor,
            Self::HalfUp,
            Self::HalfDown,
            Self::HalfEven,
            Self::Unnecessary,
        ]
        .get(usize::try_from(number).ok()?)
        .copied()
    }
}

fn too_large() -> ElError {
    ElError::evaluation("a decimal number is too large")
}

fn ten_to(power: u32) -> BigInt {
    BigInt::from(10).pow(power)
}

impl Decimal {
    fn new(unscaled: BigInt, scale: i64) -> Result<Self, ElError> {
        if unscaled.bits() > DIGITS_MAX * 4 || scale.unsigned_abs() > DIGITS_MAX {
            return Err(too_large());
        }
        Ok(Self {
            unscaled,
            scale: scale as i32,
        })
    }

    /// Reads `-12.5e3`; `None` when it is not a number or too large.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() as u64 > DIGITS_MAX {
            return None;
        }
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let unsigned = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        if whole.len() + fraction.len() == 0
            || !whole
                .bytes()
                .chain(fraction.bytes())
                .all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let mut unscaled = BigInt::parse_bytes(format!("{whole}{fraction}").as_bytes(), 10)?;
        if mantissa.starts_with('-') {
            unscaled = -unscaled;
        }
        Self::new(unscaled, fraction.len() as i64 - i64::from(exponent)).ok()
    }

    /// A whole number.
    pub fn whole(number: i64) -> Self {
        Self {
            unscaled: number.into(),
            scale: 0,
        }
    }

    /// The shortest decimal that reads back as this double; `None` when it is not finite.
    pub fn double(number: f64) -> Option<Self> {
        Self::parse(&super::number::double_text(number))
    }

    /// Exactly this double.
    pub(super) fn exact(number: f64) -> Option<Self> {
        if !number.is_finite() {
            return None;
        }
        let text = format!("{number:.1074}");
        let trimmed = text.trim_end_matches('0').trim_end_matches('.');
        Self::parse(trimmed)
    }

    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    fn truncated(&self) -> BigInt {
        if self.scale <= 0 {
            &self.unscaled * ten_to(self.scale.unsigned_abs())
        } else {
            &self.unscaled / ten_to(self.scale.unsigned_abs())
        }
    }

    /// Without its fraction, when 64 bits hold it.
    pub(super) fn to_i64(&self) -> Option<i64> {
        self.truncated().to_i64()
    }

    /// The low 64 bits without the fraction, as `longValue` gives.
    pub(super) fn low_bits(&self) -> i64 {
        let whole = self.truncated();
        let modulus = BigInt::from(1u8) << 64;
        let low: BigInt = ((whole % &modulus) + &modulus) % &modulus;
        low.to_u64().unwrap_or(0) as i64
    }

    fn at_scale(&self, scale: i32) -> BigInt {
        &self.unscaled * ten_to((i64::from(scale) - i64::from(self.scale)).max(0) as u32)
    }

    pub(super) fn scale(&self) -> i32 {
        self.scale
    }

    pub(super) fn precision(&self) -> i32 {
        self.unscaled.magnitude().to_string().len() as i32
    }

    pub(super) fn signum(&self) -> i32 {
        match self.unscaled.sign() {
            Sign::Minus => -1,
            Sign::NoSign => 0,
            Sign::Plus => 1,
        }
    }

    pub(super) fn negate(&self) -> Self {
        Self {
            unscaled: -&self.unscaled,
            scale: self.scale,
        }
    }

    pub(super) fn abs(&self) -> Self {
        Self {
            unscaled: self.unscaled.abs(),
            scale: self.scale,
        }
    }

    pub(super) fn add(&self, other: &Self) -> Result<Self, ElError> {
        let scale = self.scale.max(other.scale);
        Self::new(self.at_scale(scale) + other.at_scale(scale), scale.into())
    }

    pub(super) fn subtract(&self, other: &Self) -> Result<Self, ElError> {
        self.add(&other.negate())
    }

    pub(super) fn multiply(&self, other: &Self) -> Result<Self, ElError> {
        Self::new(
            &self.unscaled * &other.unscaled,
            i64::from(self.scale) + i64::from(other.scale),
        )
    }

    /// `self / other` with this many digits behind the point.
    pub(super) fn divide(
        &self,
        other: &Self,
        scale: i32,
        rounding: Rounding,
    ) -> Result<Self, ElError> {
        if other.unscaled.is_zero() {
            return Err(ElError::runtime("division by zero"));
        }
        let shift = i64::from(scale) + i64::from(other.scale) - i64::from(self.scale);
        if shift.unsigned_abs() > 4 * DIGITS_MAX {
            return Err(too_large());
        }
        let (numerator, denominator) = if shift >= 0 {
            (
                &self.unscaled * ten_to(shift as u32),
                other.unscaled.clone(),
            )
        } else {
            (
                self.unscaled.clone(),
                &other.unscaled * ten_to(shift.unsigned_abs() as u32),
            )
        };
        Self::new(
            round_quotient(&numerator, &denominator, rounding)?,
            scale.into(),
        )
    }

    /// `self / other` exactly; a runtime error when it has no end.
    pub(super) fn divide_exactly(&self, other: &Self) -> Result<Self, ElError> {
        if other.unscaled.is_zero() {
            return Err(ElError::runtime("division by zero"));
        }
        let preferred = i64::from(self.scale) - i64::from(other.scale);
        if self.unscaled.is_zero() {
            return Self::new(BigInt::zero(), preferred);
        }
        // A quotient that ends needs no more digits than ten thirds of those of the divisor.
        let digits = i64::from(self.precision()) + (10 * i64::from(other.precision()) + 2) / 3;
        let scale = i32::try_from(preferred + digits).map_err(|_| too_large())?;
        let quotient = self
            .divide(other, scale, Rounding::Unnecessary)
            .map_err(|error| {
                if error.kind == super::ElErrorKind::Runtime {
                    ElError::runtime("the quotient has no exact decimal form")
                } else {
                    error
                }
            })?;
        Ok(quotient.strip(preferred))
    }

    pub(super) fn remainder(&self, other: &Self) -> Result<Self, ElError> {
        if other.unscaled.is_zero() {
            return Err(ElError::runtime("division by zero"));
        }
        let scale = self.scale.max(other.scale);
        Self::new(self.at_scale(scale) % other.at_scale(scale), scale.into())
    }

    pub(super) fn pow(&self, exponent: i32) -> Result<Self, ElError> {
        let power = u32::try_from(exponent)
            .ok()
            .filter(|power| *power <= 999_999_999)
            .ok_or_else(|| ElError::runtime("invalid exponent"))?;
        if self.unscaled.bits().saturating_mul(power.into()) > DIGITS_MAX * 4 {
            return Err(too_large());
        }
        let scale = i64::from(self.scale) * i64::from(power);
        Self::new(self.unscaled.pow(power), scale)
    }

    pub(super) fn with_scale(&self, scale: i32, rounding: Rounding) -> Result<Self, ElError> {
        if i64::from(scale).unsigned_abs() > DIGITS_MAX {
            return Err(too_large());
        }
        if scale >= self.scale {
            return Self::new(self.at_scale(scale), scale.into());
        }
        let denominator = ten_to((i64::from(self.scale) - i64::from(scale)) as u32);
        Self::new(
            round_quotient(&self.unscaled, &denominator, rounding)?,
            scale.into(),
        )
    }

    /// Without zeros at its end, down to a scale.
    pub(super) fn strip(mut self, scale_min: i64) -> Self {
        let ten = BigInt::from(10);
        if self.unscaled.is_zero() {
            self.scale = scale_min.clamp(-(DIGITS_MAX as i64), DIGITS_MAX as i64) as i32;
            return self;
        }
        while i64::from(self.scale) > scale_min && (&self.unscaled % &ten).is_zero() {
            self.unscaled /= &ten;
            self.scale -= 1;
        }
        self
    }

    pub(super) fn stripped(self) -> Self {
        if self.unscaled.is_zero() {
            return Self::whole(0);
        }
        self.strip(-(DIGITS_MAX as i64))
    }

    /// Without exponent.
    pub(super) fn plain_text(&self) -> String {
        let digits = self.unscaled.magnitude().to_string();
        let sign = if self.unscaled.is_negative() { "-" } else { "" };
        if self.scale <= 0 {
            if self.unscaled.is_zero() {
                return "0".to_owned();
            }
            return format!(
                "{sign}{digits}{}",
                "0".repeat(self.scale.unsigned_abs() as usize)
            );
        }
        let scale = self.scale as usize;
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        format!("{sign}{whole}.{fraction}")
    }

    pub(super) fn hash_code(&self) -> i32 {
        // Not Java's, which nobody can rely on.
        self.to_string().bytes().fold(0i32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        })
    }
}

fn round_quotient(
    numerator: &BigInt,
    denominator: &BigInt,
    rounding: Rounding,
) -> Result<BigInt, ElError> {
    let quotient = numerator / denominator;
    let rest = numerator % denominator;
    if rest.is_zero() {
        return Ok(quotient);
    }
    let negative = numerator.is_negative() != denominator.is_negative();
    let half = (rest.abs() * 2u8).cmp(&denominator.abs());
    let away = match rounding {
        Rounding::Up => true,
        Rounding::Down => false,
        Rounding::Ceiling => !negative,
        Rounding::Floor => negative,
        Rounding::HalfUp => half != Ordering::Less,
        Rounding::HalfDown => half == Ordering::Greater,
        Rounding::HalfEven => {
            half == Ordering::Greater
                || (half == Ordering::Equal && !(&quotient % BigInt::from(2u8)).is_zero())
        }
        Rounding::Unnecessary => return Err(ElError::runtime("rounding is necessary")),
    };
    Ok(match (away, negative) {
        (false, _) => quotient,
        (true, false) => quotient + 1,
        (true, true) => quotient - 1,
    })
}

impl fmt::Display for Decimal {
    /// As `BigDecimal.toString` does.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.unscaled.magnitude().to_string();
        let adjusted = -i64::from(self.scale) + digits.len() as i64 - 1;
        if self.scale >= 0 && adjusted >= -6 {
            return formatter.write_str(&self.plain_text());
        }
        if self.unscaled.is_negative() {
            formatter.write_str("-")?;
        }
        let (first, rest) = digits.split_at(1);
        formatter.write_str(first)?;
        if !rest.is_empty() {
            write!(formatter, ".{rest}")?;
        }
        if adjusted != 0 {
            write!(formatter, "E{adjusted:+}")?;
        }
        Ok(())
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        self.at_scale(scale)
            .cmp(&other.at_scale(scale))
            .then(Ordering::Equal)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).expect("a decimal number")
    }

    #[test]
    fn decimals_are_written_as_java_writes_them() {
        for (text, written) in [
            ("1.10", "1.10"),
            ("-0.001", "-0.001"),
            ("1e3", "1E+3"),
            ("123e3", "1.23E+5"),
            ("0.0000001", "1E-7"),
            ("0.000001", "0.000001"),
            ("0", "0"),
            ("00.50", "0.50"),
            ("-12", "-12"),
        ] {
            assert_eq!(decimal(text).to_string(), written, "{text}");
        }
        assert_eq!(decimal("1e3").plain_text(), "1000");
        for bad in ["", ".", "x", "1e", "--1", "1_0", "1e99999999"] {
            assert!(Decimal::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn arithmetic_keeps_scales() {
        let text = |decimal: Result<Decimal, ElError>| decimal.expect("a result").to_string();
        assert_eq!(text(decimal("1.10").add(&decimal("2.20"))), "3.30");
        assert_eq!(text(decimal("1.10").multiply(&decimal("2.0"))), "2.200");
        assert_eq!(text(decimal("1").divide_exactly(&decimal("8"))), "0.125");
        assert_eq!(text(decimal("10").divide_exactly(&decimal("2"))), "5");
        assert!(decimal("1").divide_exactly(&decimal("3")).is_err());
        assert!(decimal("1").divide_exactly(&decimal("0")).is_err());
        for (rounding, up, down) in [
            (Rounding::HalfUp, "1.3", "-1.3"),
            (Rounding::HalfEven, "1.2", "-1.2"),
            (Rounding::HalfDown, "1.2", "-1.2"),
            (Rounding::Floor, "1.2", "-1.3"),
            (Rounding::Ceiling, "1.3", "-1.2"),
            (Rounding::Up, "1.3", "-1.3"),
            (Rounding::Down, "1.2", "-1.2"),
        ] {
            assert_eq!(
                text(decimal("1.25").with_scale(1, rounding)),
                up,
                "{rounding:?}"
            );
            assert_eq!(
                text(decimal("-1.25").with_scale(1, rounding)),
                down,
                "{rounding:?}"
            );
        }
        assert!(decimal("10").pow(1_000_000).is_err());
        assert_eq!(decimal("1.0").cmp(&decimal("1.00")), Ordering::Equal);
        assert_ne!(decimal("1.0"), decimal("1.00"));
        assert_eq!(decimal("18446744073709551617").low_bits(), 1);
    }
}
