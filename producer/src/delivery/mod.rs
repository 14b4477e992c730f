//! How a record's own result comes back without an object of its own: all records of a batch share one cell, and each
//! knows its position.
//!
//! A [`Resolver`] is the sender's side. It must be told the fate of its records once; dropped before, it tells them
//! itself, so that nobody waits for ever.

mod cell;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::fate::{Acked, Cause, DeliveryError, Failure, Fate, PartitionName};
use cell::{Cell, Slot};

pub(crate) use cell::Waiters;

/// The result of one record to come. Dropping it, awaited already or not, changes nothing about the record: only nobody hears
/// of it here.
///
/// Resolves to [`Acked`] or to a [`DeliveryError`]; at the latest when the delivery timeout and one request timeout have
/// passed. Deliveries of one partition resolve in the order of admission.
#[must_use = "whether the record was written is known only from here"]
pub struct Delivery {
    batch: Arc<BatchCell>,
    timestamp_ms: i64,
    index: u32,
    slot: Slot,
}

/// What the deliveries of one batch share.
pub(crate) struct BatchCell {
    partition: Arc<PartitionName>,
    cell: Cell<Outcome>,
}

enum Outcome {
    Whole(Fate),
    /// The batch was split: the first position of each part, and its fate; in order.
    Parts(Vec<(u32, Fate)>),
}

impl BatchCell {
    pub(crate) fn new(partition: Arc<PartitionName>) -> Arc<Self> {
        Arc::new(Self { partition, cell: Cell::new() })
    }

    /// The delivery of the record at this position.
    pub(crate) const fn delivery(self: Arc<Self>, index: u32, timestamp_ms: i64) -> Delivery {
        Delivery { batch: self, timestamp_ms, index, slot: Slot::NONE }
    }
}

impl Delivery {
    /// The result, if it is known already.
    #[must_use]
    pub fn try_result(&self) -> Option<Result<Acked, DeliveryError>> {
        self.try_result_behind(0)
    }

    /// Whether both records travel in one batch. Who has many records in flight can then keep one delivery a batch, drop
    /// the others, and ask it about its followers with [`Delivery::try_result_behind`].
    #[must_use]
    pub fn shares_batch_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.batch, &other.batch)
    }

    /// The result, if it is known already, of the record admitted so many places behind this one in the same batch; its
    /// timestamp is read as this one's. The caller answers for there being one.
    #[must_use]
    pub fn try_result_behind(&self, places: u32) -> Option<Result<Acked, DeliveryError>> {
        self.batch.cell.get().map(|outcome| self.read(self.index.saturating_add(places), outcome))
    }

    /// Where the record goes. Its partition was chosen once, when it was admitted.
    #[must_use]
    pub fn partition(&self) -> &Arc<PartitionName> {
        &self.batch.partition
    }

    /// The record's timestamp, milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    fn read(&self, index: u32, outcome: &Outcome) -> Result<Acked, DeliveryError> {
        let (first, fate) = match outcome {
            Outcome::Whole(fate) => (0, fate),
            Outcome::Parts(parts) => {
                let at = parts.partition_point(|(first, _)| *first <= index).saturating_sub(1);
                match parts.get(at) {
                    Some((first, fate)) => (*first, fate),
                    None => return Err(DeliveryError::Unknown(self.failed(&Arc::new(Cause::Abandoned)))),
                }
            }
        };
        match fate {
            Fate::Acked { base, append_time_ms } => Ok(Acked {
                partition: Arc::clone(&self.batch.partition),
                offset: base.map(|base| base.plus(i64::from(index.saturating_sub(first)))),
                timestamp_ms: append_time_ms.unwrap_or(self.timestamp_ms),
            }),
            Fate::NotWritten(cause) => Err(DeliveryError::NotWritten(self.failed(cause))),
            Fate::Unknown(cause) => Err(DeliveryError::Unknown(self.failed(cause))),
        }
    }

    fn failed(&self, cause: &Arc<Cause>) -> Failure {
        Failure { partition: Arc::clone(&self.batch.partition), cause: Arc::clone(cause) }
    }
}

impl Future for Delivery {
    type Output = Result<Acked, DeliveryError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.batch.cell.get_or_wait(&mut this.slot, cx.waker()) {
            Some(outcome) => Poll::Ready(this.read(this.index, outcome)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Delivery {
    #[inline]
    fn drop(&mut self) {
        self.batch.cell.leave(self.slot);
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("partition", &self.batch.partition)
            .field("index", &self.index)
            .field("result", &self.try_result())
            .finish()
    }
}

/// The sender's side of a batch, or of a part of one that was split.
pub(crate) struct Resolver {
    batch: Arc<BatchCell>,
    first: u32,
    /// The other parts' fates, if the batch was split.
    gathered: Option<Arc<Mutex<Gathered>>>,
    /// Handed to a socket at least once: then its absence is not known.
    pub(crate) sent: bool,
    done: bool,
}

/// Fates of the parts of a split batch. Its deliveries resolve when all of them are there.
#[derive(Default)]
struct Gathered {
    missing: usize,
    fates: Vec<(u32, Fate)>,
}

impl Resolver {
    pub(crate) const fn new(batch: Arc<BatchCell>) -> Self {
        Self { batch, first: 0, gathered: None, sent: false, done: false }
    }

    /// The only fate of these records. Who waits for it is woken when what this returns is dropped.
    pub(crate) fn resolve(mut self, fate: Fate) -> Option<Waiters> {
        self.finish(fate)
    }

    fn finish(&mut self, fate: Fate) -> Option<Waiters> {
        if std::mem::replace(&mut self.done, true) {
            return None;
        }
        let outcome = match &self.gathered {
            None => Outcome::Whole(fate),
            Some(gathered) => {
                let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
                gathered.fates.push((self.first, fate));
                gathered.missing = gathered.missing.saturating_sub(1);
                if gathered.missing > 0 {
                    return None;
                }
                let mut fates = std::mem::take(&mut gathered.fates);
                fates.sort_unstable_by_key(|(first, _)| *first);
                Outcome::Parts(fates)
            }
        };
        Some(self.batch.cell.resolve(outcome))
    }

    /// Two resolvers, when these records are split into `first_count` and the rest.
    pub(crate) fn split(mut self, first_count: u32) -> [Self; 2] {
        let gathered = self
            .gathered
            .take()
            .unwrap_or_else(|| Arc::new(Mutex::new(Gathered { missing: 1, fates: Vec::new() })));
        // This one part becomes two.
        gathered.lock().unwrap_or_else(PoisonError::into_inner).missing += 1;
        self.done = true;
        [self.first, self.first + first_count].map(|first| Self {
            batch: Arc::clone(&self.batch),
            first,
            gathered: Some(Arc::clone(&gathered)),
            sent: self.sent,
            done: false,
        })
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let cause = Arc::new(Cause::Abandoned);
        drop(self.finish(if self.sent { Fate::Unknown(cause) } else { Fate::NotWritten(cause) }));
    }
}

#[cfg(test)]
mod tests;
