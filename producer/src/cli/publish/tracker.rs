//! What became of the records under way, a batch at a time. Where someone may find out later what is not known, a partition's
//! records are held back from the first one that is not known on, so that they are told in their order, and once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll};

use gapless_producer::{Acked, Delivery, DeliveryError, Failure, PartitionName, Settled, SettledFate};
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
    /// The same, as it was found out.
    Told(&'a [Result<Acked, DeliveryError>]),
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

impl Ended<'_> {
    /// What became of the record at this position.
    pub fn result(&self, at: u32) -> Option<Result<Acked, DeliveryError>> {
        match self.results {
            Results::Told(results) => results.get(at as usize).cloned(),
            Results::AllAcked(_) | Results::Each => self.delivery.try_result_behind(at),
        }
    }
}

impl Counts {
    pub const fn failed(&self) -> u64 {
        self.not_written + self.unknown
    }
}

/// Everything admitted and what became of it.
pub struct Tracker {
    under_way: UnderWay<Notes>,
    /// What is held back, if anything is to be.
    doubts: Option<Doubts>,
    pub totals: Totals,
}

/// Batches that ended, of partitions with a record of which nothing is known, from that batch on.
#[derive(Default)]
struct Doubts {
    partitions: BTreeSet<Arc<PartitionName>>,
    /// In the order of their ends.
    held: Vec<Group<Notes>>,
}

impl Doubts {
    /// Whether this batch is told later.
    fn concern(&mut self, group: &Group<Notes>) -> bool {
        let partition = group.delivery.partition();
        if self.partitions.contains(partition) {
            return true;
        }
        let count = group.records.places.count();
        let unknown =
            |at| matches!(group.delivery.try_result_behind(at), Some(Err(DeliveryError::Unknown(_))));
        // A batch that was written as a whole is seen from both ends.
        if all_acked(&group.delivery, count).is_some() || !(0..count).any(unknown) {
            return false;
        }
        self.partitions.insert(Arc::clone(partition));
        true
    }
}

/// What became of those that have ended.
pub struct Totals {
    pub counts: Counts,
    /// The first in the order of the input.
    pub first_failed: Option<FailedRecord>,
    pub latencies: Latencies,
}

impl Tracker {
    /// `may_settle`: someone may find out later what is not known.
    pub fn new(may_settle: bool) -> Result<Self, hdrhistogram::CreationError> {
        let latencies = Latencies::new()?;
        let totals = Totals { counts: Counts::default(), first_failed: None, latencies };
        Ok(Self { under_way: UnderWay::new(), doubts: may_settle.then(Doubts::default), totals })
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

    /// A record was not acknowledged, as far as is known.
    pub fn has_failed(&self) -> bool {
        self.totals.first_failed.is_some() || self.holds_back()
    }

    /// There are records of which something may be found out.
    pub fn holds_back(&self) -> bool {
        self.doubts.as_ref().is_some_and(|doubts| !doubts.held.is_empty())
    }

    /// Tells what was held back: of the records that are not known what was found out, in their order in each partition, and
    /// of the others what was known. Nothing is held back any more.
    pub fn settle<E>(
        &mut self,
        found: &[Settled],
        ended: &mut impl FnMut(&Ended<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let now = Instant::now();
        let mut fates: BTreeMap<&Arc<PartitionName>, _> =
            found.iter().map(|settled| (&settled.partition, settled.records())).collect();
        for group in self.doubts.take().map(|doubts| doubts.held).unwrap_or_default() {
            let count = group.records.places.count();
            let mut fates = fates.get_mut(group.delivery.partition());
            let results: Vec<_> = (0..count)
                .filter_map(|at| group.delivery.try_result_behind(at))
                .map(|result| match result {
                    Err(DeliveryError::Unknown(failure)) => {
                        settled(failure, fates.as_mut().and_then(|fates| fates.next()))
                    }
                    known => known,
                })
                .collect();
            self.totals.count_each(&group.records, &results, now);
            ended(&group.ended(Results::Told(&results)))?;
        }
        Ok(())
    }

    /// Counts what has ended by now, and tells each batch to `ended`.
    pub fn sweep<E>(&mut self, ended: &mut impl FnMut(&Ended<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut now = None;
        for group in self.under_way.ended() {
            if let Some(doubts) = &mut self.doubts
                && doubts.concern(&group)
            {
                doubts.held.push(group);
                continue;
            }
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
        let count = notes.places.count();
        if let Some(first) = all_acked(delivery, count) {
            self.counts.acked += u64::from(count);
            self.counts.bytes_acked += notes.sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
            for (count, time) in &notes.times {
                self.latencies.record(now.duration_since(*time), u64::from(*count));
            }
            return ended(&group.ended(Results::AllAcked(&first)));
        }
        // The batch has ended, so each of its records has a result.
        let results: Vec<_> = (0..count).filter_map(|at| delivery.try_result_behind(at)).collect();
        self.count_each(notes, &results, now);
        ended(&group.ended(Results::Each))
    }

    fn count_each(&mut self, notes: &Notes, results: &[Result<Acked, DeliveryError>], now: Instant) {
        let times = notes.times.iter().flat_map(|(count, time)| (0..*count).map(|_| *time));
        for (((result, place), size), time) in
            results.iter().zip(notes.places.iter()).zip(&notes.sizes).zip(times)
        {
            match result {
                Ok(_) => {
                    self.counts.acked += 1;
                    self.counts.bytes_acked += u64::from(*size);
                    self.latencies.record(now.duration_since(time), 1);
                }
                Err(error) => self.fail(place, error.clone()),
            }
        }
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

impl Group<Notes> {
    fn ended<'a>(&'a self, results: Results<'a>) -> Ended<'a> {
        let Notes { places, fingerprints, .. } = &self.records;
        Ended { delivery: &self.delivery, places, fingerprints, results }
    }
}

/// What is known now of a record that was not known, if anything was found out.
fn settled(failure: Failure, fate: Option<SettledFate>) -> Result<Acked, DeliveryError> {
    match fate {
        Some(SettledFate::Acked { base, append_time_ms }) => Ok(Acked {
            partition: failure.partition,
            offset: base,
            // Its own time stands in the report, taken when it was sent.
            timestamp_ms: append_time_ms.unwrap_or_default(),
        }),
        Some(SettledFate::NotWritten) => Err(DeliveryError::NotWritten(failure)),
        _ => Err(DeliveryError::Unknown(failure)),
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
