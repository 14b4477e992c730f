//! What became of the records under way: one entry a batch, not a record. Batches of one partition end in order, so only
//! each partition's oldest is looked at.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use gapless_producer::{Acked, Delivery, DeliveryError};
use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::places::{Place, Places};
use crate::cli::digest::Fingerprint;

/// Latencies are kept with three digits, from a microsecond to an hour (longer ones count as an hour).
const LATENCY_MAX_US: u64 = 3_600_000_000;
const LATENCY_DIGITS: u8 = 3;

/// Records of one batch, admitted one after the other.
struct Group {
    /// The first one's.
    delivery: Delivery,
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
    /// Of each topic, of each partition.
    partitions: Vec<Vec<VecDeque<Group>>>,
    pub counts: Counts,
    /// The first in the order of the input.
    pub first_failed: Option<FailedRecord>,
    pub latencies: Histogram<u64>,
}

impl Tracker {
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            partitions: Vec::new(),
            counts: Counts::default(),
            first_failed: None,
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_US, LATENCY_DIGITS)?,
        })
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
        self.counts.admitted += 1;
        // Partitions are numbered from 0; a negative number never comes from an admission.
        let partition = usize::try_from(delivery.partition().partition.0).unwrap_or(0);
        if self.partitions.len() <= topic {
            self.partitions.resize_with(topic + 1, Vec::new);
        }
        let Some(partitions) = self.partitions.get_mut(topic) else { return };
        if partitions.len() <= partition {
            partitions.resize_with(partition + 1, VecDeque::new);
        }
        let Some(groups) = partitions.get_mut(partition) else { return };
        if let Some(last) = groups.back_mut()
            && last.delivery.shares_batch_with(&delivery)
        {
            last.places.push(place);
            last.sizes.push(size);
            last.fingerprints.extend(fingerprint);
            match last.times.last_mut() {
                Some((count, time)) if *time == now => *count += 1,
                _ => last.times.push((1, now)),
            }
            return;
        }
        let mut places = Places::default();
        places.push(place);
        groups.push_back(Group {
            delivery,
            places,
            sizes: vec![size],
            times: vec![(1, now)],
            fingerprints: fingerprint.into_iter().collect(),
        });
    }

    /// True when nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.partitions.iter().flatten().all(VecDeque::is_empty)
    }

    /// Counts what has ended by now, and tells each batch to `ended`.
    pub fn sweep<E>(&mut self, ended: &mut impl FnMut(&Ended<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut now = None;
        for topic in 0..self.partitions.len() {
            for partition in 0..self.partitions.get(topic).map_or(0, Vec::len) {
                while let Some(group) = self.pop_ended(topic, partition) {
                    self.end(group, *now.get_or_insert_with(Instant::now), ended)?;
                }
            }
        }
        Ok(())
    }

    fn pop_ended(&mut self, topic: usize, partition: usize) -> Option<Group> {
        let groups = self.partitions.get_mut(topic)?.get_mut(partition)?;
        let ended = groups.front()?.delivery.try_result().is_some();
        if ended { groups.pop_front() } else { None }
    }

    /// Waits until something has ended that [`Tracker::sweep`] will then find. Pending for ever when nothing is under
    /// way.
    pub fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut any = Poll::Pending;
        for front in self.partitions.iter_mut().flatten().filter_map(VecDeque::front_mut) {
            if Pin::new(&mut front.delivery).poll(cx).is_ready() {
                any = Poll::Ready(());
            }
        }
        any
    }

    fn end<E>(
        &mut self,
        group: Group,
        now: Instant,
        ended: &mut impl FnMut(&Ended<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let count = group.places.count();
        if let Some(first) = all_acked(&group.delivery, count) {
            self.counts.acked += u64::from(count);
            self.counts.bytes_acked += group.sizes.iter().map(|size| u64::from(*size)).sum::<u64>();
            for (count, time) in &group.times {
                self.record_latency(now.duration_since(*time), u64::from(*count));
            }
            return ended(&Ended {
                delivery: &group.delivery,
                places: &group.places,
                fingerprints: &group.fingerprints,
                results: Results::AllAcked(&first),
            });
        }
        let times = group.times.iter().flat_map(|(count, time)| (0..*count).map(|_| *time));
        for (((at, place), size), time) in (0..).zip(group.places.iter()).zip(&group.sizes).zip(times) {
            match group.delivery.try_result_behind(at) {
                Some(Ok(_)) => {
                    self.counts.acked += 1;
                    self.counts.bytes_acked += u64::from(*size);
                    self.record_latency(now.duration_since(time), 1);
                }
                Some(Err(error)) => self.fail(place, error),
                // The batch has ended, so each of its records has a result.
                None => {}
            }
        }
        ended(&Ended {
            delivery: &group.delivery,
            places: &group.places,
            fingerprints: &group.fingerprints,
            results: Results::Each,
        })
    }

    fn record_latency(&mut self, latency: Duration, count: u64) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX_US).clamp(1, LATENCY_MAX_US);
        self.latencies.saturating_record_n(micros, count);
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
