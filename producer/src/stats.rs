//! Running totals of one producer: for a summary at the end, where no one scrapes metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of a producer's totals since it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Records admitted by `send`.
    pub records_admitted: u64,
    /// Records acknowledged.
    pub records_acked: u64,
    /// Records that are not in the log and will not get there.
    pub records_not_written: u64,
    /// Records of which that is not known; those of which a settle found it out are counted with their fates.
    pub records_unknown: u64,
    /// Batches acknowledged.
    pub batches_acked: u64,
    /// Bytes of those batches, as they travelled (compressed, headers included).
    pub bytes_acked: u64,
    /// Bytes of those batches before compression.
    pub bytes_uncompressed: u64,
    /// Produce requests that went to a connection.
    pub requests: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Connections opened after a first one to the same broker.
    pub reconnects: u64,
    /// The limit a batch grows to, in bytes: what the average fill is a share of.
    pub batch_size: u64,
}

impl Stats {
    /// How full the acknowledged batches were on average before compression: 0 to 1; 0 before the first.
    #[must_use]
    pub fn batch_fill(&self) -> f64 {
        let most = self.batches_acked.saturating_mul(self.batch_size);
        if most == 0 { 0.0 } else { self.bytes_uncompressed as f64 / most as f64 }
    }

    /// Records admitted whose fate is not decided yet.
    #[must_use]
    pub const fn records_under_way(&self) -> u64 {
        let decided = self.records_acked + self.records_not_written + self.records_unknown;
        self.records_admitted.saturating_sub(decided)
    }
}

/// The totals as they are counted: a few additions a batch.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) acked: Total,
    pub(crate) not_written: Total,
    pub(crate) unknown: Total,
    pub(crate) batches: Total,
    pub(crate) bytes: Total,
    pub(crate) bytes_uncompressed: Total,
    pub(crate) requests: Total,
    pub(crate) retries: Total,
    pub(crate) reconnects: Total,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct Total(AtomicU64);

impl Total {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// What was added turned out to be something else.
    pub(crate) fn take_back(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Totals {
    pub(crate) fn snapshot(&self, records_admitted: u64, batch_size: usize) -> Stats {
        Stats {
            records_admitted,
            records_acked: self.acked.get(),
            records_not_written: self.not_written.get(),
            records_unknown: self.unknown.get(),
            batches_acked: self.batches.get(),
            bytes_acked: self.bytes.get(),
            bytes_uncompressed: self.bytes_uncompressed.get(),
            requests: self.requests.get(),
            retries: self.retries.get(),
            reconnects: self.reconnects.get(),
            batch_size: batch_size as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_fill_is_a_share_of_the_limit() {
        let totals = Totals::default();
        assert!(totals.snapshot(0, 1000).batch_fill().abs() < f64::EPSILON);
        totals.batches.add(2);
        totals.bytes_uncompressed.add(1500);
        totals.acked.add(10);
        let stats = totals.snapshot(12, 1000);
        assert!((stats.batch_fill() - 0.75).abs() < f64::EPSILON);
        assert_eq!(stats.records_under_way(), 2);
    }
}
