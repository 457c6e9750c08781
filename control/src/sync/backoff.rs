//! Growing delays between attempts that never end.

use std::time::Duration;

use turnpike_config::RetryConfig;

/// Delay = first × factor^attempt, up to a largest one.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    settings: RetryConfig,
    attempt: u32,
}

impl Backoff {
    pub(super) fn new(settings: RetryConfig) -> Self {
        Self {
            settings,
            attempt: 0,
        }
    }

    /// The delay before the next attempt.
    pub(super) fn next_delay(&mut self) -> Duration {
        let factor = self
            .settings
            .backoff_factor
            .max(1.0)
            .powi(i32::try_from(self.attempt).unwrap_or(i32::MAX));
        self.attempt = self.attempt.saturating_add(1);
        let largest = self.settings.delay_ms_max.max(self.settings.delay_ms);
        let delay_ms = (self.settings.delay_ms as f64 * factor).min(largest as f64);
        Duration::from_millis(delay_ms as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(delay_ms: u64, delay_ms_max: u64, backoff_factor: f64) -> Vec<u64> {
        let mut backoff = Backoff::new(RetryConfig {
            delay_ms,
            delay_ms_max,
            backoff_factor,
        });
        (0..6)
            .map(|_| u64::try_from(backoff.next_delay().as_millis()).expect("a delay"))
            .collect()
    }

    #[test]
    fn delays_grow_to_the_largest_and_stay_there() {
        assert_eq!(
            delays(2_000, 10_000, 1.5),
            [2_000, 3_000, 4_500, 6_750, 10_000, 10_000]
        );
        assert_eq!(delays(500, 60_000, 1.0), [500; 6]);
        assert_eq!(delays(500, 100, 2.0), [500; 6]);
    }

    #[test]
    fn a_very_long_outage_does_not_overflow() {
        let settings = RetryConfig {
            delay_ms: 2_000,
            delay_ms_max: 60_000,
            backoff_factor: 10.0,
        };
        let mut backoff = Backoff {
            settings,
            attempt: u32::MAX,
        };
        assert_eq!(backoff.next_delay(), Duration::from_secs(60));
    }
}
