//! Records under way, and what became of them, a batch at a time.

use std::task::{Context, Poll};
use std::time::Duration;

use gapless_producer::Delivery;
use tokio::time::Instant;

use super::timeline::Timeline;
use crate::cli::latency::Latencies;
use crate::cli::under_way::{Group, UnderWay};

/// So many records of one batch were due at that time, of so many bytes together.
type Due = Vec<(u32, Instant, u64)>;

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// From due to acknowledged.
    pub latencies: Latencies,
    pub records: u64,
    /// Of keys and values.
    pub bytes: u64,
    pub timeline: Timeline,
    /// The last acknowledgement.
    pub until: Instant,
    /// Records that were not acknowledged, warm-up included.
    pub failed: u64,
    pub first_failure: Option<String>,
    /// The longest that a record left later than it was due.
    pub behind: Duration,
}

impl Measured {
    /// Nothing yet. What is due before `begin` is warm-up.
    pub fn new(begin: Instant) -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            latencies: Latencies::new()?,
            records: 0,
            bytes: 0,
            timeline: Timeline::new(begin),
            until: begin,
            failed: 0,
            first_failure: None,
            behind: Duration::ZERO,
        })
    }

    /// Counts what another producer measured.
    pub fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies);
        self.records += other.records;
        self.bytes += other.bytes;
        self.timeline.add(&other.timeline);
        self.until = self.until.max(other.until);
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.behind = self.behind.max(other.behind);
    }

    /// Counts a batch that has ended; how many of its records were acknowledged.
    fn end(&mut self, group: &Group<Due>, now: Instant) -> u64 {
        let (mut behind, mut all_acked) = (0, 0);
        for (count, due, bytes) in &group.records {
            // Records of one batch may have ended differently, where it was split.
            let results = (behind..behind + count).filter_map(|at| group.delivery.try_result_behind(at));
            behind += count;
            let mut acked = 0;
            for result in results {
                match result {
                    Ok(_) => acked += 1,
                    Err(error) => {
                        self.failed += 1;
                        self.first_failure.get_or_insert_with(|| error.to_string());
                    }
                }
            }
            all_acked += u64::from(acked);
            if acked > 0 {
                self.record(*due, now, acked, bytes * u64::from(acked) / u64::from(*count));
            }
        }
        all_acked
    }

    fn record(&mut self, due: Instant, now: Instant, count: u32, bytes: u64) {
        if due < self.timeline.begin {
            return;
        }
        self.latencies.record(now.saturating_duration_since(due), u64::from(count));
        self.records += u64::from(count);
        self.bytes += bytes;
        self.timeline.count(now, u64::from(count));
        self.until = self.until.max(now);
    }
}

/// Records of one producer.
pub struct Flight {
    under_way: UnderWay<Due>,
    pub measured: Measured,
    /// Records acknowledged, warm-up included.
    pub acked: u64,
}

impl Flight {
    pub const fn new(measured: Measured) -> Self {
        Self { under_way: UnderWay::new(), measured, acked: 0 }
    }

    /// A record of so many bytes was admitted, which had been due then.
    pub fn add(&mut self, delivery: Delivery, due: Instant, size: u64) {
        let Some(all) = self.under_way.add(delivery, 0) else { return };
        match all.last_mut() {
            Some((count, time, bytes)) if *time == due => {
                *count += 1;
                *bytes += size;
            }
            _ => all.push((1, due, size)),
        }
    }

    /// Counts what has ended by now.
    pub fn sweep(&mut self) {
        let mut now = None;
        for group in self.under_way.ended() {
            self.acked += self.measured.end(&group, *now.get_or_insert_with(Instant::now));
        }
    }

    /// Waits until something has ended that [`Flight::sweep`] will then find. Pending for ever when nothing is under way.
    pub fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.under_way.poll_any(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_from_when_it_was_due_and_the_warm_up_not_at_all() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut measured = Measured::new(at(100)).unwrap();
        measured.record(at(99), at(500), 7, 700);
        measured.record(at(100), at(150), 3, 300);
        // Sent late, or by a clock that was read before it was due: what counts is the same.
        measured.record(at(200), at(1200), 1, 50);
        measured.record(at(300), at(299), 1, 50);
        assert_eq!((measured.records, measured.bytes, measured.until), (5, 400, at(1200)));
        let latencies = measured.latencies.histogram();
        assert!(latencies.equivalent(latencies.value_at_quantile(0.5), 50_000));
        assert!(latencies.equivalent(latencies.max(), 1_000_000));
        assert_eq!(latencies.min(), 1);

        let mut all = Measured::new(at(100)).unwrap();
        all.failed = 1;
        measured.first_failure = Some("why".to_owned());
        all.add(measured);
        assert_eq!((all.records, all.failed, all.until), (5, 1, at(1200)));
        assert_eq!((all.latencies.histogram().len(), all.first_failure.as_deref()), (5, Some("why")));
    }
}
