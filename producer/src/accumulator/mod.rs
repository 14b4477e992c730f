//! Request Batch: records gather here, a batch at a time for each partition, until a sender takes them.
//!
//! A partition has two sides, each with its lock. Callers take the *front* lock for the time of one copy: they encode the
//! record into the open batch, and wake the sender only when it has something new to think about. Senders take the *back*
//! lock, which guards the state machine, and the front lock within it for moments.
//!
//! - `mod.rs`: the front: admission; `flow.rs`: the back: picking batches, taking answers, ending;
//! - `resume.rs`: how a halted partition goes on;
//! - `batch.rs`: a batch from filling to fate; `listing.rs`: whether a partition stands in a sender's queue.

mod batch;
mod flow;
mod listing;
mod resume;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gapless_common::records::{INITIAL_CAPACITY, OpenBatch, Push, RecordRef};
use tokio::time::Instant;

use crate::delivery::{BatchCell, Delivery};
use crate::error::Rejection;
use crate::fate::{Halt, PartitionName};
use crate::memory::{Grant, Memory};
use crate::partition::{Machine, Rules};
use crate::sender::Link;

pub(crate) use batch::{Filling, Outgoing};
pub(crate) use flow::Pick;
pub(crate) use listing::{Entry, Listing, Place};

/// Bytes a record can take in a batch beyond its key and value, without headers: the lengths and deltas around them.
const FRAMING_MAX: usize = 40;

/// One partition of one topic.
pub(crate) struct Partition {
    pub(crate) name: Arc<PartitionName>,
    front: Mutex<Front>,
    back: Mutex<Machine<Outgoing>>,
    /// Records that have their fate; changed under the back lock.
    resolved: AtomicU64,
    is_led: AtomicBool,
    /// Who waits for a settle; changed under the back lock.
    asked: Mutex<Option<resume::Asked>>,
}

struct Front {
    open: Option<Filling>,
    /// Batches that take no more records, oldest first.
    sealed: VecDeque<Filling>,
    gate: Gate,
    listing: Listing,
    /// Who sends for this partition.
    link: Arc<Link>,
    /// Records admitted so far.
    admitted: u64,
    /// Bytes of records without a key since the topic's favour came here.
    favoured_bytes: usize,
    /// Size of the last batch: what the next one begins with while memory is ample.
    last_size: usize,
}

/// Whether records are admitted.
#[derive(Clone)]
enum Gate {
    Open,
    Halted(Arc<Halt>),
    Closed,
}

/// What admission needs to know beyond the record.
pub(crate) struct Terms<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) batch_size: usize,
    /// The record has no key: count its bytes towards the topic's favour.
    pub(crate) favoured: bool,
    /// The caller's task has paid for a batch that rolls.
    pub(crate) may_roll: bool,
    /// The grant covers the record, so it must not wait.
    pub(crate) granted: bool,
}

/// What became of a record.
pub(crate) enum Admission {
    Admitted {
        delivery: Delivery,
        /// So many bytes came here that the topic's favour should move on.
        favour_spent: bool,
    },
    Rejected(Rejection),
    /// So many bytes must be granted first.
    NeedsMemory(usize),
    /// The open batch is full: the caller's task should let others run, then come back with `may_roll`.
    Rolls,
}

impl Partition {
    /// A partition that nobody leads yet: `link` keeps its deadlines.
    pub(crate) fn new(name: PartitionName, rules: Rules, link: Arc<Link>) -> Arc<Self> {
        let partition = Arc::new(Self {
            name: Arc::new(name),
            front: Mutex::new(Front {
                open: None,
                sealed: VecDeque::new(),
                gate: Gate::Open,
                listing: Listing::new(),
                link: Arc::clone(&link),
                admitted: 0,
                favoured_bytes: 0,
                last_size: 0,
            }),
            back: Mutex::new(Machine::new(rules)),
            resolved: AtomicU64::new(0),
            is_led: AtomicBool::new(false),
            asked: Mutex::default(),
        });
        link.join(Arc::clone(&partition));
        partition
    }

    fn front(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn back(&self) -> MutexGuard<'_, Machine<Outgoing>> {
        self.back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has a leader.
    pub(crate) fn is_led(&self) -> bool {
        self.is_led.load(Ordering::Relaxed)
    }

    /// Records admitted so far.
    pub(crate) fn admitted(&self) -> u64 {
        self.front().admitted
    }

    /// Records that have their fate.
    pub(crate) fn resolved(&self) -> u64 {
        self.resolved.load(Ordering::Acquire)
    }

    /// Why it takes no records, if it is halted.
    pub(crate) fn halt(&self) -> Option<Arc<Halt>> {
        match &self.front().gate {
            Gate::Halted(halt) => Some(Arc::clone(halt)),
            Gate::Open | Gate::Closed => None,
        }
    }

    /// Admits a record: copies it into the open batch. Nothing of it stays behind unless it was admitted.
    pub(crate) fn admit(
        self: &Arc<Self>,
        record: &RecordRef<'_>,
        terms: &Terms<'_>,
        mut grant: Option<&mut Grant<'_>>,
    ) -> Admission {
        let mut guard = self.front();
        let front = &mut *guard;
        match &front.gate {
            Gate::Open => {}
            Gate::Halted(halt) => return Admission::Rejected(Rejection::Halted(Arc::clone(halt))),
            Gate::Closed => return Admission::Rejected(Rejection::Closed),
        }
        let mut charge = |bytes| match &mut grant {
            Some(grant) => grant.take(bytes),
            None => terms.memory.try_charge(bytes),
        };
        let rolled = match front.make_room(&self.name, record, terms, &mut charge) {
            Ok(rolled) => rolled,
            Err(refusal) => return refusal,
        };
        let Some(open) = &mut front.open else { return Admission::Rejected(Rejection::Closed) };
        let before = open.batch.encoded_size();
        let Push::Appended { index, .. } = open.batch.try_push(record, terms.batch_size) else {
            // Its size was judged above; so this is a record at the very edge of what the encoder can count.
            let size = OpenBatch::encoded_size_of(record);
            return Admission::Rejected(Rejection::TooLarge { size, limit: terms.batch_size });
        };
        debug_assert_eq!(open.charged, open.batch.capacity(), "every byte of a buffer is charged");
        let delivery = Arc::clone(&open.cell).delivery(index, record.timestamp_ms);
        let (since, size) = (open.admitted, open.batch.encoded_size() - before);
        front.admitted += 1;
        let favour_spent = terms.favoured && front.spend_favour(size, terms.batch_size);

        let entry = match front.listing.place {
            Place::Idle => front.listing.move_to(if rolled { Place::Full } else { Place::Unfilled }, since),
            Place::Unfilled if rolled => {
                let since = front.oldest().unwrap_or(since);
                front.listing.move_to(Place::Full, since)
            }
            Place::Unfilled | Place::Full | Place::Blocked => None,
        };
        if let Some(entry) = entry {
            let link = Arc::clone(&front.link);
            drop(guard);
            link.list(Arc::clone(self), entry);
        }
        Admission::Admitted { delivery, favour_spent }
    }
}

impl Filling {
    /// The record fits without growing, whatever its varints take: so its exact size need not be computed twice.
    fn has_room_for(&self, record: &RecordRef<'_>) -> bool {
        let contents = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        record.headers.is_empty()
            && self.batch.encoded_size().saturating_add(contents).saturating_add(FRAMING_MAX)
                <= self.batch.capacity()
    }
}

impl Front {
    /// Sees to it that the open batch takes this record, and that its memory is charged. True if another batch had to be
    /// sealed for that.
    fn make_room(
        &mut self,
        name: &Arc<PartitionName>,
        record: &RecordRef<'_>,
        terms: &Terms<'_>,
        charge: &mut impl FnMut(usize) -> bool,
    ) -> Result<bool, Admission> {
        if let Some(open) = &mut self.open {
            if open.has_room_for(record) {
                return Ok(false);
            }
            match open.batch.growth_for(record, terms.batch_size) {
                Some(growth) if charge(growth) => {
                    open.charged += growth;
                    return Ok(false);
                }
                // Room was granted for the record alone: it begins a batch of its own.
                Some(_) if terms.granted => {}
                // What is waited for suffices for the record alone, whatever happens to this batch meanwhile.
                Some(growth) => {
                    return Err(Admission::NeedsMemory(growth.max(OpenBatch::encoded_size_of(record))));
                }
                None if !terms.may_roll => return Err(Admission::Rolls),
                None => {}
            }
        }
        self.begin(name, record, terms, charge)
    }

    /// Seals the open batch, if there is one, and begins another with room for this record. True if one was sealed.
    fn begin(
        &mut self,
        name: &Arc<PartitionName>,
        record: &RecordRef<'_>,
        terms: &Terms<'_>,
        charge: &mut impl FnMut(usize) -> bool,
    ) -> Result<bool, Admission> {
        let alone = OpenBatch::encoded_size_of(record);
        if alone > terms.batch_size {
            return Err(Admission::Rejected(Rejection::TooLarge { size: alone, limit: terms.batch_size }));
        }
        let least = INITIAL_CAPACITY.min(terms.batch_size).max(alone);
        // A buffer that begins as large as its predecessor ended is not copied while it grows; but a thousand quiet
        // partitions must not hold a full batch each.
        let like_before = self.last_size.min(terms.batch_size);
        let capacity = if like_before > least && terms.memory.is_ample() && charge(like_before) {
            like_before
        } else if charge(least) {
            least
        } else if terms.granted && charge(alone) {
            alone
        } else {
            return Err(Admission::NeedsMemory(least));
        };
        let sealed = self.open.replace(Filling {
            batch: OpenBatch::new(record.timestamp_ms, capacity),
            cell: BatchCell::new(Arc::clone(name)),
            charged: capacity,
            admitted: Instant::now(),
        });
        let rolled = sealed.is_some();
        if let Some(sealed) = sealed {
            self.last_size = sealed.batch.capacity();
            self.sealed.push_back(sealed);
        }
        Ok(rolled)
    }

    /// When the oldest record waiting here was admitted.
    fn oldest(&self) -> Option<Instant> {
        self.sealed.front().or(self.open.as_ref()).map(|filling| filling.admitted)
    }

    fn spend_favour(&mut self, size: usize, batch_size: usize) -> bool {
        self.favoured_bytes += size;
        if self.favoured_bytes < batch_size {
            return false;
        }
        self.favoured_bytes = 0;
        true
    }

    /// The next batch, whether it is full or not; and whether it is.
    fn take(&mut self) -> Option<(Filling, bool)> {
        if let Some(sealed) = self.sealed.pop_front() {
            return Some((sealed, true));
        }
        let open = self.open.take()?;
        self.last_size = open.batch.encoded_size();
        Some((open, false))
    }

    /// Size of what [`Front::take`] gives.
    fn next_size(&self) -> Option<usize> {
        self.sealed.front().or(self.open.as_ref()).map(|filling| filling.batch.encoded_size())
    }
}
