//! How long to wait before trying again: twice as long after each failure, up to a cap, with jitter. Pure: the
//! caller brings the random bits and does the waiting.

use std::time::Duration;

/// Kafka's `retry.backoff.ms` halved: on one machine a restarted broker is back within some 50 ms.
pub const FIRST_DELAY: Duration = Duration::from_millis(50);
/// Kafka's `retry.backoff.max.ms`.
pub const DELAY_MAX: Duration = Duration::from_secs(1);
/// The delay is drawn from ±20 % around its middle (Kafka's `ExponentialBackoff`), so that clients that failed
/// together do not come back together.
const JITTER_PER_MILLE: u64 = 200;

/// Counts failures in a row and says how long to wait after each.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST_DELAY, DELAY_MAX)
    }
}

impl Backoff {
    /// Delays from `first` (before jitter) to `max` (jitter included).
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0 }
    }

    /// One more failure: the delay before the next attempt, jittered by `random_bits`.
    pub fn next_delay(&mut self, random_bits: u64) -> Duration {
        // 2^20 times any first delay worth having is past any cap; the limit keeps the shift in range.
        let doubled = self.first.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let per_mille = 1000 - JITTER_PER_MILLE + random_bits % (2 * JITTER_PER_MILLE + 1);
        let middle = u64::try_from(doubled.min(self.max).as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos((middle / 1000).saturating_mul(per_mille)).min(self.max)
    }

    /// It worked: the next failure is the first again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_over_after_a_success() {
        let mut backoff = Backoff::default();
        // 200 is the middle of the jitter.
        let delays: Vec<u128> = (0..7).map(|_| backoff.next_delay(200).as_millis()).collect();
        assert_eq!(delays, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.failures(), 7);
        backoff.reset();
        assert_eq!(backoff.next_delay(200), FIRST_DELAY);
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_under_the_cap() {
        for bits in (0..2000).chain([u64::MAX]) {
            let mut backoff = Backoff::default();
            let first = backoff.next_delay(bits);
            assert!((40..=60).contains(&first.as_millis()), "{first:?} for {bits}");
            for _ in 0..100 {
                assert!(backoff.next_delay(bits) <= DELAY_MAX);
            }
        }
    }
}
