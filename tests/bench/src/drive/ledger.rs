//! What became of records, as a client's callbacks tell it: from any thread, a few additions each.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::failure::{Failure, Outcome};
use crate::run::{Latency, histogram};

/// What became of everything.
#[derive(Debug)]
pub struct Told {
    pub acked: u64,
    /// When the last one was told.
    pub at: Instant,
    pub first_failure: Option<String>,
}

/// Counts from the first record on, warm-up included.
pub struct Ledger {
    acked: AtomicU64,
    failed: AtomicU64,
    /// At so many, whoever waits is woken.
    awaited: AtomicU64,
    ended: Mutex<Option<Instant>>,
    changed: Condvar,
    first_failure: Mutex<Option<String>>,
    latencies: Mutex<Histogram<u64>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            acked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            ended: Mutex::default(),
            changed: Condvar::new(),
            first_failure: Mutex::default(),
            latencies: Mutex::new(histogram()),
        }
    }
}

impl Ledger {
    pub fn ack(&self) {
        self.acked.fetch_add(1, SeqCst);
        self.look();
    }

    pub fn fail(&self, why: impl FnOnce() -> String) {
        lock(&self.first_failure).get_or_insert_with(why);
        self.failed.fetch_add(1, SeqCst);
        self.look();
    }

    /// How many have their fate.
    pub fn told(&self) -> u64 {
        self.acked.load(SeqCst) + self.failed.load(SeqCst)
    }

    fn look(&self) {
        if self.told() >= self.awaited.load(SeqCst) {
            lock(&self.ended).get_or_insert_with(Instant::now);
            self.changed.notify_all();
        }
    }

    /// Waits until so many have been told of.
    pub fn settle(&self, sent: u64, patience: Duration) -> Outcome<Told> {
        self.awaited.store(sent, SeqCst);
        self.look();
        let (mut ended, _) = self
            .changed
            .wait_timeout_while(lock(&self.ended), patience, |ended| ended.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let at = ended.take().ok_or_else(|| {
            Failure(format!("of {sent} records only {} have a fate after {patience:?}", self.told()))
        })?;
        self.awaited.store(u64::MAX, SeqCst);
        Ok(Told { acked: self.acked.load(SeqCst), at, first_failure: lock(&self.first_failure).clone() })
    }

    /// So long after they were due, so many records were acknowledged.
    pub fn latency(&self, each: impl IntoIterator<Item = Duration>) {
        let mut latencies = lock(&self.latencies);
        for latency in each {
            latencies.saturating_record(latency.as_nanos() as u64);
        }
    }

    pub fn take_latencies(&self) -> Option<Latency> {
        let mut latencies = lock(&self.latencies);
        let taken = Latency::of(&latencies);
        latencies.reset();
        taken
    }
}

/// Counters stay true even if somebody panicked meanwhile.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_woken_by_the_last_one_and_told_of_the_first_failure() {
        let ledger = Ledger::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                ledger.ack();
                ledger.fail(|| "first".to_owned());
                ledger.fail(|| "second".to_owned());
                ledger.ack();
            });
            let told = ledger.settle(4, Duration::from_secs(60)).unwrap();
            assert_eq!((told.acked, told.first_failure.as_deref()), (2, Some("first")));
        });
        // What was there before is counted, and nothing is waited for twice.
        assert_eq!(ledger.settle(4, Duration::ZERO).unwrap().acked, 2);
        assert!(ledger.settle(5, Duration::ZERO).is_err());
    }

    #[test]
    fn latencies_are_told_once() {
        let ledger = Ledger::default();
        ledger.latency([Duration::from_millis(1), Duration::from_millis(3)]);
        assert!((ledger.take_latencies().unwrap().max - 3.0).abs() < 0.01);
        assert_eq!(ledger.take_latencies(), None);
    }
}
