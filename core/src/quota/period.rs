//! Periods of windows (contract policies 6.2): exact ones, and those of the calendar in the gateway's time zone.

use jiff::Span;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// The end of a window that the calendar cannot hold: the last millisecond of the year 9999.
const NEVER_MS: u64 = 253_402_300_799_999;

/// How long one unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Nanoseconds(u64),
    Days(i64),
    Months(i64),
}

/// A unit of time, by the name that configurations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodUnit {
    /// Name in upper case, such as `MINUTES`.
    pub name: &'static str,
    /// The same in lower case.
    pub lower: &'static str,
    length: Length,
}

const fn unit(name: &'static str, lower: &'static str, length: Length) -> PeriodUnit {
    PeriodUnit {
        name,
        lower,
        length,
    }
}

const SECOND: u64 = 1_000_000_000;

/// Units of `rate-limit`, `spike-arrest` and `token-bucket-rate-limit`: all exact.
pub static TIME_UNITS: &[PeriodUnit] = &[
    unit("NANOSECONDS", "nanoseconds", Length::Nanoseconds(1)),
    unit("MICROSECONDS", "microseconds", Length::Nanoseconds(1_000)),
    unit(
        "MILLISECONDS",
        "milliseconds",
        Length::Nanoseconds(1_000_000),
    ),
    unit("SECONDS", "seconds", Length::Nanoseconds(SECOND)),
    unit("MINUTES", "minutes", Length::Nanoseconds(60 * SECOND)),
    unit("HOURS", "hours", Length::Nanoseconds(3_600 * SECOND)),
    unit("DAYS", "days", Length::Nanoseconds(86_400 * SECOND)),
];

/// Units of `quota`: exact up to half a day, then those of the calendar.
pub static CHRONO_UNITS: &[PeriodUnit] = &[
    unit("NANOS", "nanos", Length::Nanoseconds(1)),
    unit("MICROS", "micros", Length::Nanoseconds(1_000)),
    unit("MILLIS", "millis", Length::Nanoseconds(1_000_000)),
    unit("SECONDS", "seconds", Length::Nanoseconds(SECOND)),
    unit("MINUTES", "minutes", Length::Nanoseconds(60 * SECOND)),
    unit("HOURS", "hours", Length::Nanoseconds(3_600 * SECOND)),
    unit(
        "HALF_DAYS",
        "half_days",
        Length::Nanoseconds(43_200 * SECOND),
    ),
    unit("DAYS", "days", Length::Days(1)),
    unit("WEEKS", "weeks", Length::Days(7)),
    unit("MONTHS", "months", Length::Months(1)),
    unit("YEARS", "years", Length::Months(12)),
    unit("DECADES", "decades", Length::Months(120)),
    unit("CENTURIES", "centuries", Length::Months(1_200)),
    unit("MILLENNIA", "millennia", Length::Months(12_000)),
];

/// So many units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// How many, at least 1.
    pub amount: i64,
    /// Of what.
    pub unit: &'static PeriodUnit,
}

impl Period {
    /// Its length in milliseconds where it is exact; a day, a month as long as they usually are otherwise.
    pub fn as_ms(self) -> u64 {
        let nanoseconds = match self.unit.length {
            Length::Nanoseconds(nanoseconds) => u128::from(nanoseconds),
            Length::Days(days) => u128::from(days.unsigned_abs()) * 86_400 * u128::from(SECOND),
            Length::Months(months) => {
                u128::from(months.unsigned_abs()) * 30 * 86_400 * u128::from(SECOND)
            }
        };
        let amount = u128::from(self.amount.max(0).unsigned_abs());
        u64::try_from(amount * nanoseconds / 1_000_000)
            .unwrap_or(NEVER_MS)
            .min(NEVER_MS)
    }

    /// When a window that begins now ends, Unix milliseconds.
    pub fn end(self, now_ms: u64, zone: &TimeZone) -> u64 {
        match self.unit.length {
            Length::Nanoseconds(_) => now_ms.saturating_add(self.as_ms()).min(NEVER_MS),
            Length::Days(days) => {
                let span = self.amount.checked_mul(days);
                calendar(
                    now_ms,
                    zone,
                    span.and_then(|days| Span::new().try_days(days).ok()),
                )
            }
            Length::Months(months) => {
                let span = self.amount.checked_mul(months);
                calendar(
                    now_ms,
                    zone,
                    span.and_then(|months| Span::new().try_months(months).ok()),
                )
            }
        }
    }
}

/// Local time plus a span, as `ZonedDateTime.plus` counts: a time that does not exist moves on by the gap, one that exists twice keeps the
/// offset that applied before.
fn calendar(now_ms: u64, zone: &TimeZone, span: Option<Span>) -> u64 {
    let end = || -> Option<i64> {
        let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
        let offset = zone.to_offset(now);
        let local: DateTime = offset.to_datetime(now).checked_add(span?).ok()?;
        let ambiguous = zone.to_ambiguous_timestamp(local);
        let end = match ambiguous.offset() {
            AmbiguousOffset::Fold { after, .. } if after == offset => ambiguous.later(),
            _ => ambiguous.compatible(),
        };
        Some(end.ok()?.as_millisecond())
    };
    end()
        .and_then(|ms| u64::try_from(ms).ok())
        .unwrap_or(NEVER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chrono(amount: i64, name: &str) -> Period {
        let unit = CHRONO_UNITS.iter().find(|unit| unit.name == name);
        Period {
            amount,
            unit: unit.expect("a unit"),
        }
    }

    fn time(amount: i64, name: &str) -> Period {
        let unit = TIME_UNITS.iter().find(|unit| unit.name == name);
        Period {
            amount,
            unit: unit.expect("a unit"),
        }
    }

    fn at(text: &str) -> u64 {
        let at: Timestamp = text.parse().expect("a time");
        u64::try_from(at.as_millisecond()).expect("after 1970")
    }

    #[test]
    fn exact_units_are_multiplied() {
        for (period, ms) in [
            (time(1, "SECONDS"), 1_000),
            (time(10, "MINUTES"), 600_000),
            (time(2, "DAYS"), 172_800_000),
            (time(1_500_000, "NANOSECONDS"), 1),
            (time(2, "MILLISECONDS"), 2),
            (chrono(3, "HOURS"), 10_800_000),
        ] {
            assert_eq!(period.as_ms(), ms, "{period:?}");
            assert_eq!(period.end(5, &TimeZone::UTC), 5 + ms, "{period:?}");
        }
        assert_eq!(time(i64::MAX, "DAYS").end(5, &TimeZone::UTC), NEVER_MS);
        assert_eq!(chrono(i64::MAX, "YEARS").end(5, &TimeZone::UTC), NEVER_MS);
    }

    #[test]
    fn days_and_longer_follow_the_calendar() {
        let day = 86_400_000;
        let august = at("2017-08-01T00:00:00Z");
        for (from, period, days) in [
            (august, chrono(1, "MONTHS"), 31),
            (august, chrono(2, "MONTHS"), 61),
            (august, chrono(1, "DAYS"), 1),
            (august, chrono(2, "DAYS"), 2),
            (august, chrono(1, "WEEKS"), 7),
            (august, chrono(1, "YEARS"), 365),
            // The end of the month is kept within the month.
            (at("2023-01-31T12:00:00Z"), chrono(1, "MONTHS"), 28),
            (at("2024-01-31T12:00:00Z"), chrono(1, "MONTHS"), 29),
        ] {
            assert_eq!(
                period.end(from, &TimeZone::UTC),
                from + days * day,
                "{period:?}"
            );
        }
    }

    #[test]
    fn a_day_is_as_long_as_the_time_zone_says() {
        // Written out, so that no time zone database is needed.
        let paris = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a time zone");
        let hour = 3_600_000;
        for (from, period, hours) in [
            ("2024-03-30T11:00:00Z", chrono(1, "DAYS"), 23),
            ("2024-10-26T10:00:00Z", chrono(1, "DAYS"), 25),
            ("2024-03-30T11:00:00Z", chrono(24, "HOURS"), 24),
            // 02:30 does not exist on 31 March: 03:30 stands in for it, which is 24 hours after 02:30 of the day before.
            ("2024-03-30T01:30:00Z", chrono(1, "DAYS"), 24),
            // 02:30 comes twice on 27 October: the first of them after a summer day …
            ("2024-10-26T00:30:00Z", chrono(1, "DAYS"), 24),
        ] {
            assert_eq!(
                period.end(at(from), &paris),
                at(from) + hours * hour,
                "{from} {period:?}"
            );
        }
        // … and the second one after a winter day.
        assert_eq!(
            chrono(9, "MONTHS").end(at("2024-01-27T01:30:00Z"), &paris),
            at("2024-10-27T01:30:00Z")
        );
    }
}
