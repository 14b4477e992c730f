//! When what is due, and when enough is sent. Plain: time comes in.

use std::time::{Duration, Instant};

/// After so many records the clock is read.
pub const RECORDS_PER_LOOK: u64 = 256;

/// Where a closed loop ends.
#[derive(Debug, Clone)]
pub struct Limit {
    end: Instant,
    records_max: u64,
}

impl Limit {
    pub fn new(now: Instant, seconds: f64, records_max: u64) -> Self {
        Self { end: now + Duration::from_secs_f64(seconds), records_max }
    }

    /// Whether the record of this number is still to be sent.
    pub fn admits(&self, sent: u64, now: Instant) -> bool {
        sent < self.records_max && now < self.end
    }
}

/// Records at even distances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    start: Instant,
    interval: f64,
    /// All of them.
    pub records: u64,
    tick: Duration,
}

/// Who waits for what is due wakes up no more often: a thread that sleeps for less mostly pays for waking up.
const TICK: Duration = Duration::from_micros(100);
/// Of many who wait, each wakes up the less often, or a machine would do nothing else.
const TICK_PER_SENDER: Duration = Duration::from_micros(20);

impl Schedule {
    pub fn new(start: Instant, rate: f64, seconds: f64) -> Self {
        Self { start, interval: 1.0 / rate, records: (rate * seconds) as u64, tick: TICK }
    }

    /// What the `part`th of so many senders has of it: every so manyth record.
    pub fn share(self, part: usize, parts: usize) -> Self {
        let offset = Duration::from_secs_f64(self.interval * part as f64);
        Self {
            start: self.start + offset,
            interval: self.interval * parts as f64,
            records: self.records / parts as u64,
            tick: TICK.max(TICK_PER_SENDER * parts as u32),
        }
    }

    /// When the record of this number is due.
    pub fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(self.interval * number as f64)
    }

    /// How many are due by then.
    pub fn due_by(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start).as_secs_f64();
        ((passed / self.interval) as u64 + 1).min(self.records) * u64::from(now >= self.start)
    }

    /// How long to wait for what is due next.
    pub fn pause(&self, sent: u64, now: Instant) -> Duration {
        self.due(sent).saturating_duration_since(now).max(self.tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_at_even_distances() {
        let start = Instant::now() + Duration::from_secs(1);
        let at = |millis| start + Duration::from_millis(millis);
        let schedule = Schedule::new(start, 1000.0, 2.0);
        assert_eq!(schedule.records, 2000);
        assert_eq!(schedule.due_by(start - Duration::from_millis(5)), 0);
        assert_eq!(schedule.due_by(start), 1);
        assert_eq!(schedule.due_by(at(10) + Duration::from_micros(500)), 11);
        assert_eq!(schedule.due_by(at(5000)), 2000, "no more than all");
        assert!(schedule.due(10).saturating_duration_since(at(10)) < Duration::from_micros(1));
        assert_eq!(schedule.pause(3, at(5)), TICK, "late: no more than a breath");
        assert!(schedule.pause(10, at(5)) >= Duration::from_micros(4_999));
    }

    #[test]
    fn senders_share_a_schedule_without_overlap() {
        let start = Instant::now();
        let all = Schedule::new(start, 1000.0, 1.0);
        let shares: Vec<_> = (0..4).map(|part| all.share(part, 4)).collect();
        assert_eq!(shares.iter().map(|share| share.records).sum::<u64>(), 1000);
        assert_eq!(all.share(0, 50).pause(0, start + Duration::from_secs(1)), Duration::from_millis(1));
        for number in 0..1000 {
            let share = shares[number as usize % 4].due(number / 4);
            assert!(share.max(all.due(number)) - share.min(all.due(number)) < Duration::from_micros(1));
        }
    }

    #[test]
    fn a_loop_ends_by_time_or_by_number() {
        let now = Instant::now();
        let limit = Limit::new(now, 1.0, 10);
        assert!(limit.admits(9, now));
        assert!(!limit.admits(10, now));
        assert!(!limit.admits(0, now + Duration::from_secs(1)));
    }
}
