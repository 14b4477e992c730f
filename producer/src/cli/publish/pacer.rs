//! `--rate`: when the next record may go. Evenly: after a pause nothing is made up for.

use std::time::Duration;

use tokio::time::Instant;

/// A timer of the runtime is a millisecond late at worst, and a slow moment of the machine some more; what is missed by then is
/// made up for, or a high rate would never be reached. What is missed by more is not.
const LATENESS_MAX: Duration = Duration::from_millis(50);

/// Records go at most once in an interval.
#[derive(Debug)]
pub struct Pacer {
    interval: Duration,
    next: Instant,
}

impl Pacer {
    /// So many records a second, the first at once.
    pub fn new(rate: f64, now: Instant) -> Self {
        Self { interval: Duration::from_secs_f64(rate.recip()), next: now }
    }

    /// Until when the next record has to wait. None: it goes, and the one after it waits for its turn.
    pub fn wait(&mut self, now: Instant) -> Option<Instant> {
        if now < self.next {
            return Some(self.next);
        }
        if now - self.next > LATENESS_MAX {
            self.next = now;
        }
        self.next += self.interval;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// How many go at this moment.
    fn burst(pacer: &mut Pacer, now: Instant) -> u32 {
        let mut count = 0;
        while pacer.wait(now).is_none() {
            count += 1;
        }
        count
    }

    #[test]
    fn records_go_evenly() {
        let begin = Instant::now();
        for (rate, per_ms, in_a_second) in [(10.0, 1, 10), (1000.0, 1, 1000), (1_000_000.0, 1001, 1_000_000)]
        {
            let mut pacer = Pacer::new(rate, begin);
            let mut all = 0;
            for ms in 0..1000 {
                let now = burst(&mut pacer, begin + ms * MS);
                assert!(now <= per_ms, "{now} at once at {rate}");
                all += now;
            }
            assert!(all >= in_a_second * 99 / 100 && all <= in_a_second + 1, "{all} of {in_a_second}");
        }
    }

    #[test]
    fn a_late_timer_is_made_up_for_and_a_pause_is_not() {
        let begin = Instant::now();
        let mut pacer = Pacer::new(1000.0, begin);
        assert_eq!(burst(&mut pacer, begin), 1);
        assert_eq!(pacer.wait(begin), Some(begin + MS));
        assert_eq!(burst(&mut pacer, begin + 10 * MS), 10);
        let later = begin + Duration::from_secs(60);
        assert_eq!(burst(&mut pacer, later), 1);
        assert_eq!(pacer.wait(later), Some(later + MS));
    }
}
