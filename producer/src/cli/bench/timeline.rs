//! How many records were acknowledged when.

use std::time::Duration;

use tokio::time::Instant;

/// So many buckets at most: more than a plot has points. A longer run gets wider ones.
const BUCKETS_MAX: usize = 1000;
const WIDTH: Duration = Duration::from_millis(100);

/// Counts by time, in buckets of one width.
#[derive(Debug, Clone)]
pub struct Timeline {
    pub begin: Instant,
    width: Duration,
    counts: Vec<u64>,
}

impl Timeline {
    pub const fn new(begin: Instant) -> Self {
        Self { begin, width: WIDTH, counts: Vec::new() }
    }

    /// So many at that time; what was before the beginning counts as at it.
    pub fn count(&mut self, at: Instant, count: u64) {
        let since = at.saturating_duration_since(self.begin);
        let mut bucket = self.bucket(since);
        while bucket >= BUCKETS_MAX {
            self.widen();
            bucket = self.bucket(since);
        }
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(slot) = self.counts.get_mut(bucket) {
            *slot += count;
        }
    }

    fn bucket(&self, since: Duration) -> usize {
        usize::try_from(since.as_nanos() / self.width.as_nanos()).unwrap_or(usize::MAX)
    }

    fn widen(&mut self) {
        self.width *= 2;
        self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
    }

    /// Adds what another one with the same beginning counted.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.width < other.width {
            self.widen();
        }
        while other.width < self.width {
            other.widen();
        }
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// Records a second in each bucket: its middle in seconds since the beginning, and the rate. The last bucket ends at
    /// `end`.
    pub fn rates(&self, end: Instant) -> Vec<(f64, f64)> {
        let (width, end) =
            (self.width.as_secs_f64(), end.saturating_duration_since(self.begin).as_secs_f64());
        let mut rates = Vec::with_capacity(self.counts.len());
        for (at, count) in self.counts.iter().enumerate() {
            let begin = at as f64 * width;
            let lasts = width.min(end - begin);
            // A sliver of a bucket says nothing about the rate.
            if lasts >= width / 2.0 {
                rates.push((begin + lasts / 2.0, *count as f64 / lasts));
            }
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_widen_and_add_up() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let (mut short, mut long) = (Timeline::new(begin), Timeline::new(begin));
        for number in 0..100 {
            short.count(at(number * 10), 5);
            long.count(at(number * 4000), 1);
        }
        let rates = short.rates(at(1000));
        assert_eq!(rates.len(), 10);
        assert!(rates.iter().all(|(_, rate)| (rate - 500.0).abs() < 1e-6), "{rates:?}");
        long.add(&short);
        assert!(long.counts.len() <= BUCKETS_MAX);
        assert_eq!(long.counts.iter().sum::<u64>(), 600);
        short.add(&long);
        assert_eq!(short.counts.iter().sum::<u64>(), 1100);
        short.count(begin, 1);
        assert_eq!(short.width, long.width);
    }
}
