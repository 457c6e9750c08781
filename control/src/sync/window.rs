//! Which changes a cycle asks for (contract sync 5.1).

/// Room for differences between our clock and the control plane's, milliseconds.
const SKEW_MS: i64 = 30_000;

/// Bounds of a cycle, before the room for clock differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// End of the last successful cycle; `None` asks for everything.
    pub from_ms: Option<i64>,
    /// Start of this cycle.
    pub to_ms: i64,
}

impl Window {
    /// Lower bound as it is sent; none asks for everything.
    pub fn lower(self) -> Option<i64> {
        self.from_ms.map(|from| from.saturating_sub(SKEW_MS))
    }

    /// Upper bound as it is sent.
    pub fn upper(self) -> i64 {
        self.to_ms.saturating_add(SKEW_MS)
    }

    /// Whether this window asks for the whole state.
    pub fn is_full(self) -> bool {
        self.from_ms.is_none()
    }

    /// Whether a change at `updated_at_ms` may have happened while this window is being read. Such a change moves its object to
    /// the end of the pages and shifts the others by one place.
    pub fn may_shift(self, updated_at_ms: i64) -> bool {
        updated_at_ms >= self.to_ms.saturating_sub(SKEW_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_leave_room_for_clock_differences() {
        let first = Window {
            from_ms: None,
            to_ms: 100_000,
        };
        assert_eq!(
            (first.lower(), first.upper(), first.is_full()),
            (None, 130_000, true)
        );
        let next = Window {
            from_ms: Some(100_000),
            to_ms: 105_000,
        };
        assert_eq!(
            (next.lower(), next.upper(), next.is_full()),
            (Some(70_000), 135_000, false)
        );
    }

    #[test]
    fn successive_windows_overlap_by_a_minute() {
        let first = Window {
            from_ms: Some(0),
            to_ms: 5_000,
        };
        let second = Window {
            from_ms: Some(first.to_ms),
            to_ms: 10_000,
        };
        assert_eq!(first.upper() - second.lower().expect("a bound"), 60_000);
    }
}
