//! When records are due: a pure rule.

use std::time::Duration;

use tokio::time::Instant;

/// Records that are due within this time are due together: less would cost more wake-ups than records.
const TICK_MIN: Duration = Duration::from_micros(200);
/// However seldom records are due, so often someone looks whether it is time to stop.
const TICK_MAX: Duration = Duration::from_millis(20);

/// Evenly spaced moments, at each of which some records are due, or at every so many of which one is.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pub start: Instant,
    pub tick: Duration,
    /// The same, not rounded to nanoseconds.
    tick_seconds: f64,
    records_per_tick: f64,
}

impl Schedule {
    /// `rate`: records a second, above 0.
    pub fn new(start: Instant, rate: f64) -> Self {
        let between = 1.0 / rate;
        let (tick_seconds, records_per_tick) = if between < TICK_MIN.as_secs_f64() {
            (TICK_MIN.as_secs_f64(), rate * TICK_MIN.as_secs_f64())
        } else {
            let ticks_between = (between / TICK_MAX.as_secs_f64()).ceil();
            (between / ticks_between, 1.0 / ticks_between)
        };
        Self { start, tick: Duration::from_secs_f64(tick_seconds), tick_seconds, records_per_tick }
    }

    /// When the record of this number, from 0, is due.
    pub fn due(&self, number: u64) -> Instant {
        let tick = (number as f64 / self.records_per_tick + SLACK).floor();
        self.start + Duration::from_secs_f64(tick * self.tick_seconds)
    }

    /// How many are due by now.
    pub fn due_by(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start).as_secs_f64();
        let ticks = (since / self.tick_seconds + SLACK).floor() + 1.0;
        (ticks * self.records_per_tick - SLACK).ceil().max(0.0) as u64
    }
}

/// Keeps a quotient that is whole from falling below itself by rounding.
const SLACK: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_due_as_the_rate_says_each_at_its_time() {
        let start = Instant::now();
        for rate in [0.5, 1.0, 3.0, 49.0, 50.0, 1000.0, 4999.0, 7777.0, 1e5, 3e6] {
            let schedule = Schedule::new(start, rate);
            assert!((TICK_MIN..=TICK_MAX).contains(&schedule.tick), "{rate}: {:?}", schedule.tick);
            let in_a_minute = schedule.due_by(start + Duration::from_secs(60)) as f64;
            let per_tick = (rate * schedule.tick.as_secs_f64()).max(1.0);
            assert!((in_a_minute - rate * 60.0).abs() <= per_tick + 1.0, "{rate}: {in_a_minute}");
            for number in [0, 1, 2, 10, 999] {
                let even = number as f64 / rate;
                let due = schedule.due(number).duration_since(start).as_secs_f64();
                assert!(
                    due <= even + 1e-4 && even - due <= 3e-4,
                    "{rate}: {number} is due at {due}, not {even}"
                );
                assert!(
                    schedule.due_by(schedule.due(number)) > number,
                    "{rate}: {number} is due when it is due"
                );
            }
        }
    }
}
