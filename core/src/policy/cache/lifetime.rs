//! How long a response may be kept, by its own header fields (contract policies 8.1).

use crate::calendar::{MONTHS, days_of};

/// The first `Cache-Control` value's `s-maxage`, else its `max-age`; seconds.
pub(super) fn cache_control_seconds(value: &str) -> Option<u64> {
    let seconds = |wanted: &str| {
        value.split(',').find_map(|directive| {
            let (name, seconds) = directive.split_once('=')?;
            if !name.trim().eq_ignore_ascii_case(wanted) {
                return None;
            }
            seconds.trim().trim_matches('"').parse().ok()
        })
    };
    seconds("s-maxage").or_else(|| seconds("max-age"))
}

/// Seconds from `now_ms` (Unix milliseconds) until an `Expires` date; `None` when it is none, or past.
pub(super) fn expires_seconds(value: &str, now_ms: u64) -> Option<u64> {
    let until = date(value)?;
    let now = now_ms / 1_000;
    (until > now).then(|| until - now)
}

/// Unix seconds of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(value: &str) -> Option<u64> {
    let (_, rest) = value.trim().split_once(',')?;
    let mut parts = rest.split_ascii_whitespace();
    let day: i64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = MONTHS
        .iter()
        .position(|name| name[..3].eq_ignore_ascii_case(month))? as i64
        + 1;
    let year: i64 = parts.next()?.parse().ok()?;
    let mut time = parts.next()?.split(':');
    let hour: i64 = time.next()?.parse().ok()?;
    let minute: i64 = time.next()?.parse().ok()?;
    let second: i64 = time.next()?.parse().ok()?;
    let zone = parts.next()?;
    let is_valid = time.next().is_none()
        && parts.next().is_none()
        && matches!(zone, "GMT" | "UTC" | "+0000")
        && (1..=31).contains(&day)
        && (1_970..=9_999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    let seconds =
        is_valid.then(|| days_of(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second);
    u64::try_from(seconds?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_for_shared_caches_comes_first() {
        for (value, expected) in [
            ("max-age=10", Some(10)),
            ("public, max-age=10, s-maxage=5", Some(5)),
            ("S-MaxAge = \"7\"", Some(7)),
            ("no-store", None),
            ("max-age=soon", None),
            ("", None),
        ] {
            assert_eq!(cache_control_seconds(value), expected, "{value}");
        }
    }

    #[test]
    fn an_expiry_counts_only_while_it_lies_ahead() {
        let at = 784_111_777_000;
        for (value, now_ms, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", at - 5_000, Some(5)),
            ("Sun, 6 Nov 1994 08:49:37 GMT", at - 5_000, Some(5)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", at, None),
            ("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_799_000, Some(1)),
            ("0", at, None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", 0, None),
            ("Sun, 06 Nov 0001 08:49:37 GMT", 0, None),
            ("Sun, 06 Nov 1994 -8:49:37 GMT", 0, None),
        ] {
            assert_eq!(expires_seconds(value, now_ms), expected, "{value}");
        }
    }
}
