//! Request Batch: records gather here, a batch at a time for each partition, until a sender takes them.
//!
//! A partition has two sides, each with its lock. Callers take the *front* lock for the time of one copy: they encode the
//! record into the open batch, and wake the sender only when it has something new to think about. Senders take the *back*
//! lock, which guards the state machine, and the front lock within it for moments.
//!
//! - `mod.rs`: the front: admission; `attempt.rs`: what an attempt at it may do and tells; `flow.rs`: the back: picking batches, taking answers, ending;
//! - `resume.rs`: how a halted partition goes on;
//! - `batch.rs`: a batch from filling to fate; `listing.rs`: whether a partition stands in a sender's queue.

mod attempt;
mod batch;
mod flow;
mod listing;
mod resume;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gapless_common::records::{INITIAL_CAPACITY, OpenBatch, Push, RecordRef};
use gapless_common::seam::WallClock;
use tokio::time::Instant;

use crate::delivery::BatchCell;
use crate::error::Rejection;
use crate::fate::{Halt, PartitionName};
use crate::memory::Memory;
use crate::partition::{Machine, Rules};
use crate::record::RecordView;
use crate::sender::Link;

pub(crate) use attempt::{Admitted, Attempt, Leave, Obstacle};
pub(crate) use batch::{Filling, Outgoing};
pub(crate) use flow::Pick;
pub(crate) use listing::{Entry, Listing, Place};

/// Bytes a record can take in a batch beyond its key and value, without headers: the lengths and deltas around them.
const FRAMING_MAX: usize = 40;

/// So many records of a batch get the exact time. Those behind them come fast, and reading the clock for each would be a
/// good part of what a record costs: they get the time of the clock's last tick, but none before the last that was given.
const EXACT_STAMPS: u32 = 32;

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
    /// The last timestamp that was given to a record without one.
    stamped_ms: i64,
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
    /// Gives a timestamp to a record that has none.
    pub(crate) clock: &'a dyn WallClock,
    pub(crate) memory: &'a Memory,
    pub(crate) batch_size: usize,
    /// Batches will be compressed.
    pub(crate) compressed: bool,
    /// The record has no key: count its bytes towards the topic's favour.
    pub(crate) favoured: bool,
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
                stamped_ms: i64::MIN,
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
        view: &RecordView<'_>,
        terms: &Terms<'_>,
        attempt: &mut Attempt<'_, '_>,
    ) -> Option<Admitted> {
        let mut guard = self.front();
        let front = &mut *guard;
        match &front.gate {
            Gate::Open => {}
            Gate::Halted(halt) => {
                return attempt.fail(Obstacle::Rejected(Rejection::Halted(Arc::clone(halt))));
            }
            Gate::Closed => return attempt.fail(Obstacle::Rejected(Rejection::Closed)),
        }
        let timestamp_ms = match view.timestamp_ms {
            Some(own) => own,
            None => front.stamp(terms.clock),
        };
        let record = &view.at(timestamp_ms);
        let rolled = match &front.open {
            Some(open) if open.has_room_for(record) => false,
            _ => match front.make_room(&self.name, record, terms, attempt) {
                Ok(rolled) => rolled,
                Err(obstacle) => return attempt.fail(obstacle),
            },
        };
        let Some(open) = &mut front.open else { return attempt.fail(Obstacle::Rejected(Rejection::Closed)) };
        let before = open.batch.encoded_size();
        let Push::Appended { index, .. } = open.batch.try_push(record, terms.batch_size) else {
            // Its size was judged above; so this is a record at the very edge of what the encoder can count.
            let size = OpenBatch::encoded_size_of(record);
            let limit = terms.batch_size;
            return attempt.fail(Obstacle::Rejected(Rejection::TooLarge { size, limit }));
        };
        debug_assert_eq!(open.charged, open.batch.capacity(), "every byte of a buffer is charged");
        let admitted = Admitted { cell: Arc::clone(&open.cell), index };
        let (since, size) = (open.admitted, open.batch.encoded_size() - before);
        front.admitted += 1;
        attempt.timestamp_ms = timestamp_ms;
        attempt.favour_spent = terms.favoured && front.spend_favour(size, terms.batch_size);

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
        Some(admitted)
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
    #[cold]
    fn make_room(
        &mut self,
        name: &Arc<PartitionName>,
        record: &RecordRef<'_>,
        terms: &Terms<'_>,
        attempt: &mut Attempt<'_, '_>,
    ) -> Result<bool, Obstacle> {
        let (leave, grant) = (attempt.leave, &mut attempt.grant);
        let mut charge = |bytes| match grant {
            Some(grant) => grant.take(bytes),
            None => terms.memory.try_charge(bytes),
        };
        let granted = leave == Leave::All;
        if let Some(open) = &mut self.open {
            match open.batch.growth_for(record, terms.batch_size) {
                Some(growth) if charge(growth) => {
                    open.charged += growth;
                    return Ok(false);
                }
                // Room was granted for the record alone: it begins a batch of its own.
                Some(_) if granted => {}
                // What is waited for suffices for the record alone, whatever happens to this batch meanwhile.
                Some(growth) => {
                    return Err(Obstacle::NeedsMemory(growth.max(OpenBatch::encoded_size_of(record))));
                }
                None if leave == Leave::Nothing => return Err(Obstacle::Rolls),
                None => {}
            }
        }
        self.begin(name, record, terms, granted, &mut charge)
    }

    /// Seals the open batch, if there is one, and begins another with room for this record. True if one was sealed.
    fn begin(
        &mut self,
        name: &Arc<PartitionName>,
        record: &RecordRef<'_>,
        terms: &Terms<'_>,
        granted: bool,
        charge: &mut impl FnMut(usize) -> bool,
    ) -> Result<bool, Obstacle> {
        let alone = OpenBatch::encoded_size_of(record);
        if alone > terms.batch_size {
            return Err(Obstacle::Rejected(Rejection::TooLarge { size: alone, limit: terms.batch_size }));
        }
        let least = INITIAL_CAPACITY.min(terms.batch_size).max(alone);
        // A buffer that begins as large as its predecessor ended is not copied while it grows; but a thousand quiet
        // partitions must not hold a full batch each.
        let like_before = self.last_size.min(terms.batch_size);
        let capacity = if like_before > least && terms.memory.is_ample() && charge(like_before) {
            like_before
        } else if charge(least) {
            least
        } else if granted && charge(alone) {
            alone
        } else {
            return Err(Obstacle::NeedsMemory(least));
        };
        let batch = OpenBatch::new(record.timestamp_ms, capacity);
        let sealed = self.open.replace(Filling {
            batch: if terms.compressed { batch } else { batch.with_checksum() },
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

    /// The time for a record that brings none.
    #[inline]
    fn stamp(&mut self, clock: &dyn WallClock) -> i64 {
        let is_young = self.open.as_ref().is_none_or(|open| open.batch.record_count() < EXACT_STAMPS);
        self.stamped_ms = if is_young { clock.now_ms() } else { clock.last_tick_ms().max(self.stamped_ms) };
        self.stamped_ms
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
