//! Records under way, and what became of them: one entry a batch. Batches of one partition end in order, so only each
//! partition's oldest is looked at.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use gapless_producer::Delivery;
use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::timeline::Timeline;

/// Latencies are kept with three digits, from a microsecond to an hour (longer ones count as an hour).
const LATENCY_MAX_US: u64 = 3_600_000_000;
const LATENCY_DIGITS: u8 = 3;

/// Records of one batch.
struct Group {
    /// The first one's.
    delivery: Delivery,
    /// So many records were due at that time, of so many bytes together.
    due: Vec<(u32, Instant, u64)>,
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// Microseconds from due to acknowledged.
    pub latencies: Histogram<u64>,
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
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_US, LATENCY_DIGITS)?,
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
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
        self.records += other.records;
        self.bytes += other.bytes;
        self.timeline.add(&other.timeline);
        self.until = self.until.max(other.until);
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.behind = self.behind.max(other.behind);
    }

    fn record(&mut self, due: Instant, now: Instant, count: u32, bytes: u64) {
        if due < self.timeline.begin {
            return;
        }
        let micros = now.saturating_duration_since(due).as_micros();
        let micros = u64::try_from(micros).unwrap_or(LATENCY_MAX_US).clamp(1, LATENCY_MAX_US);
        self.latencies.saturating_record_n(micros, u64::from(count));
        self.records += u64::from(count);
        self.bytes += bytes;
        self.timeline.count(now, u64::from(count));
        self.until = self.until.max(now);
    }
}

/// Records of one producer.
pub struct Flight {
    partitions: Vec<VecDeque<Group>>,
    pub measured: Measured,
    /// Records acknowledged, warm-up included.
    pub acked: u64,
}

impl Flight {
    pub const fn new(measured: Measured) -> Self {
        Self { partitions: Vec::new(), measured, acked: 0 }
    }

    /// A record of so many bytes was admitted, which had been due then.
    pub fn add(&mut self, delivery: Delivery, due: Instant, size: u64) {
        // Partitions are numbered from 0; a negative number never comes from an admission.
        let partition = usize::try_from(delivery.partition().partition.0).unwrap_or(0);
        if self.partitions.len() <= partition {
            self.partitions.resize_with(partition + 1, VecDeque::new);
        }
        let Some(groups) = self.partitions.get_mut(partition) else { return };
        if let Some(last) = groups.back_mut()
            && last.delivery.shares_batch_with(&delivery)
        {
            match last.due.last_mut() {
                Some((count, time, bytes)) if *time == due => {
                    *count += 1;
                    *bytes += size;
                }
                _ => last.due.push((1, due, size)),
            }
            return;
        }
        groups.push_back(Group { delivery, due: vec![(1, due, size)] });
    }

    /// Counts what has ended by now.
    pub fn sweep(&mut self) {
        let mut now = None;
        for at in 0..self.partitions.len() {
            while let Some(group) = self.pop_ended(at) {
                self.end(&group, *now.get_or_insert_with(Instant::now));
            }
        }
    }

    fn pop_ended(&mut self, partition: usize) -> Option<Group> {
        let groups = self.partitions.get_mut(partition)?;
        let ended = groups.front()?.delivery.try_result().is_some();
        if ended { groups.pop_front() } else { None }
    }

    fn end(&mut self, group: &Group, now: Instant) {
        let mut behind = 0;
        for (count, due, bytes) in &group.due {
            // Records of one batch may have ended differently, where it was split.
            let results = (behind..behind + count).filter_map(|at| group.delivery.try_result_behind(at));
            behind += count;
            let mut acked = 0;
            for result in results {
                match result {
                    Ok(_) => acked += 1,
                    Err(error) => {
                        self.measured.failed += 1;
                        self.measured.first_failure.get_or_insert_with(|| error.to_string());
                    }
                }
            }
            self.acked += u64::from(acked);
            if acked > 0 {
                self.measured.record(*due, now, acked, bytes * u64::from(acked) / u64::from(*count));
            }
        }
    }

    /// Waits until something has ended that [`Flight::sweep`] will then find. Pending for ever when nothing is under way.
    pub fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut any = Poll::Pending;
        for front in self.partitions.iter_mut().filter_map(VecDeque::front_mut) {
            if Pin::new(&mut front.delivery).poll(cx).is_ready() {
                any = Poll::Ready(());
            }
        }
        any
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
        let latencies = &measured.latencies;
        assert!(latencies.equivalent(latencies.value_at_quantile(0.5), 50_000));
        assert!(latencies.equivalent(latencies.max(), 1_000_000));
        assert_eq!(latencies.min(), 1);

        let mut all = Measured::new(at(100)).unwrap();
        all.failed = 1;
        measured.first_failure = Some("why".to_owned());
        all.add(measured);
        assert_eq!((all.records, all.failed, all.until), (5, 1, at(1200)));
        assert_eq!((all.latencies.len(), all.first_failure.as_deref()), (5, Some("why")));
    }
}
