//! What became of the records under way, a batch at a time.

use std::task::{Context, Poll};

use gapless_producer::{Acked, Delivery, DeliveryError};
use tokio::time::Instant;

use super::places::{Place, Places};
use crate::cli::digest::Fingerprint;
use crate::cli::latency::Latencies;
use crate::cli::under_way::{Group, UnderWay};

/// What is to be known of the records of one batch.
#[derive(Default)]
struct Notes {
    places: Places,
    /// Bytes of keys, values and headers, of each.
    sizes: Vec<u32>,
    /// So many records were admitted at that time.
    times: Vec<(u32, Instant)>,
    /// Of each, if anyone wants to know.
    fingerprints: Vec<Fingerprint>,
}

/// A record that was not acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedRecord {
    pub place: Place,
    pub error: DeliveryError,
}

/// How one batch ended, or a part of it with one fate.
#[derive(Debug)]
pub struct Ended<'a> {
    pub delivery: &'a Delivery,
    pub places: &'a Places,
    /// Of the record at each position, if they were taken.
    pub fingerprints: &'a [Fingerprint],
    /// The result of the record at each position.
    pub results: Results<'a>,
}

/// Results of all records of a group.
#[derive(Debug, Clone, Copy)]
pub enum Results<'a> {
    /// All written, one behind the other; this is the first.
    AllAcked(&'a Acked),
    /// Something else; ask each.
    Each,
}

/// Counts so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub admitted: u64,
    pub acked: u64,
    pub not_written: u64,
    pub unknown: u64,
    /// Bytes of keys, values and headers that were acknowledged.
    pub bytes_acked: u64,
}

impl Counts {
    pub const fn failed(&self) -> u64 {
        self.not_written + self.unknown
    }
}

/// Everything admitted and what became of it.
pub struct Tracker {
    under_way: UnderWay<Notes>,
    pub totals: Totals,
}

/// What became of those that have ended.
pub struct Totals {
    pub counts: Counts,
    /// The first in the order of the input.
    pub first_failed: Option<FailedRecord>,
    pub latencies: Latencies,
}

impl Tracker {
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        let latencies = Latencies::new()?;
        let totals = Totals { counts: Counts::default(), first_failed: None, latencies };
        Ok(Self { under_way: UnderWay::new(), totals })
    }

    /// A record was admitted to this topic, counted from 0. Fingerprints are taken of all records or of none.
    pub fn add(
        &mut self,
        delivery: Delivery,
        topic: usize,
        place: Place,
        size: u32,
        fingerprint: Option<Fingerprint>,
        now: Instant,
    ) {
        self.totals.counts.admitted += 1;
        let Some(notes) = self.under_way.add(delivery, topic) else { return };
        notes.places.push(place);
        notes.sizes.push(size);
        notes.fingerprints.extend(fingerprint);
        match notes.times.last_mut() {
            Some((count, time)) if *time == now => *count += 1,
            _ => notes.times.push((1, now)),
        }
    }

    /// True when nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Counts what has ended by now, and tells each batch to `ended`.
    pub fn sweep<E>(&mut self, ended: &mut impl FnMut(&Ended<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut now = None;
        for group in self.under_way.ended() {
            self.totals.end(&group, *now.get_or_insert_with(Instant::now), ended)?;
        }
        Ok(())
    }

    /// Waits until something has ended that [`Tracker::sweep`] will then find. Pending for ever when nothing is under
    /// way.
    pub fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.under_way.poll_any(cx)
    }
}

impl Totals {
    fn end<E>(
        &mut self,
        group: &Group<Notes>,
        now: Instant,
        ended: &mut impl FnMut(&Ended<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Group { delivery, records: notes } = group;
        let tell =
            |results| Ended { delivery, places: &notes.places, fingerprints: &notes.fingerprints, results };
        let count = notes.places.count();
        if let Some(first) = all_acked(delivery, count) {
            self.counts.acked += u64::from(count);
            self.counts.bytes_acked += notes.sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
            for (count, time) in &notes.times {
                self.latencies.record(now.duration_since(*time), u64::from(*count));
            }
            return ended(&tell(Results::AllAcked(&first)));
        }
        let times = notes.times.iter().flat_map(|(count, time)| (0..*count).map(|_| *time));
        for (((at, place), size), time) in (0..).zip(notes.places.iter()).zip(&notes.sizes).zip(times) {
            match delivery.try_result_behind(at) {
                Some(Ok(_)) => {
                    self.counts.acked += 1;
                    self.counts.bytes_acked += u64::from(*size);
                    self.latencies.record(now.duration_since(time), 1);
                }
                Some(Err(error)) => self.fail(place, error),
                // The batch has ended, so each of its records has a result.
                None => {}
            }
        }
        ended(&tell(Results::Each))
    }

    fn fail(&mut self, place: Place, error: DeliveryError) {
        match error {
            DeliveryError::NotWritten(_) => self.counts.not_written += 1,
            DeliveryError::Unknown(_) => self.counts.unknown += 1,
        }
        if self.first_failed.as_ref().is_none_or(|first| place < first.place) {
            self.first_failed = Some(FailedRecord { place, error });
        }
    }
}

/// The first one's result, if all of these records were written one behind the other: seen from both ends.
fn all_acked(delivery: &Delivery, count: u32) -> Option<Acked> {
    let first = delivery.try_result()?.ok()?;
    if count == 1 {
        return Some(first);
    }
    let last = delivery.try_result_behind(count.saturating_sub(1))?.ok()?;
    let between = last.offset?.0.checked_sub(first.offset?.0)?;
    (between == i64::from(count) - 1).then_some(first)
}
