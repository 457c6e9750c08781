//! The small windows into which `spike-arrest` cuts a period (contract policies 6.2).

/// Slices shorter than this are put together.
const SLICE_MS_MIN: f32 = 100.0;

/// One slice: so many hits in so many milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Hits that one slice takes.
    pub hits: i64,
    /// Its length, milliseconds.
    pub period_ms: u64,
}

impl Slice {
    /// The slices of `limit` hits in a period; `None` for a negative limit. A limit of 0 takes nothing. The arithmetic is the reference's,
    /// in single precision.
    pub fn of(limit: i64, period_ms: u64) -> Option<Self> {
        if limit < 0 {
            return None;
        }
        if limit == 0 {
            return Some(Self { hits: 0, period_ms });
        }
        let each = period_ms as f32 / limit as f32;
        if each >= SLICE_MS_MIN {
            return Some(Self {
                hits: 1,
                period_ms: each as u64,
            });
        }
        let hits = (SLICE_MS_MIN / each + 0.5).floor();
        if !hits.is_finite() {
            // A period of no length.
            return Some(Self {
                hits: limit,
                period_ms,
            });
        }
        Some(Self {
            hits: hits as i64,
            period_ms: (each * hits) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_slices_are_put_together() {
        for (limit, period_ms, hits, slice_ms) in [
            (1, 1_000, 1, 1_000),
            (10, 1_000, 1, 100),
            (11, 1_000, 1, 90),
            (20, 1_000, 2, 100),
            (100, 1_000, 10, 100),
            (1_000, 1_000, 100, 100),
            (10, 600_000, 1, 60_000),
            (3, 1_000, 1, 333),
        ] {
            assert_eq!(
                Slice::of(limit, period_ms),
                Some(Slice {
                    hits,
                    period_ms: slice_ms
                }),
                "{limit} in {period_ms} ms"
            );
        }
    }

    #[test]
    fn odd_limits_have_a_meaning() {
        assert_eq!(Slice::of(-1, 1_000), None);
        assert_eq!(Slice::of(0, 1_000).map(|slice| slice.hits), Some(0));
        assert!(Slice::of(i64::MAX, 1).is_some_and(|slice| slice.hits > 0));
        assert!(Slice::of(5, 0).is_some_and(|slice| slice.hits == 5));
    }
}
