//! The sequencer of one partition: from what the headers of a batch say it decides append, duplicate, gap or fenced, and
//! assigns the offset (as the check of the previous log index in Raft).
//!
//! A pure state machine: no clock, no I/O. The same batches and the same times in the same order give the same offsets
//! and the same refusals on every machine. Decisions are revocable: [`Sequencer::decide`] changes nothing,
//! [`Sequencer::commit`] is called when the write has completed. If the write fails the state is as before, so that
//! the retry is not answered as a duplicate of nothing (KAFKA-10778).
//!
//! Time is in milliseconds of any clock that does not jump; only differences count.

mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use gapless_common::error_code::ErrorCode;
use gapless_common::records::BatchHeader;
use gapless_common::seeded_bug::{SeededBug, is_on};
use gapless_common::types::{Offset, ProducerEpoch, ProducerId, Sequence};

/// Batches remembered of each producer: the most that Kafka's clients keep in flight
/// (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`), so the most that can come again.
pub const REMEMBERED_BATCHES: usize = 5;

/// Producers whose first batch was refused that are remembered one by one. Past it the partition is strict to all
/// producers it does not know, until the last of these refusals has expired.
pub const REFUSED_STARTS_MAX: usize = 10_000;

/// Half the circle of sequences: what is closer than this in front of a sequence comes before it.
const HALF_CIRCLE: u32 = 1 << 30;

/// What the sequencer needs to know of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFacts {
    /// Records in the batch, at least 1.
    pub records: u32,
    /// Who sent it; `None` without idempotence.
    pub stamp: Option<Stamp>,
}

/// The identity that an idempotent producer stamps on a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The producer.
    pub id: ProducerId,
    /// Its generation.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub first: Sequence,
}

impl BatchFacts {
    /// What a batch's header says; `None` when it says what no batch from a client may say.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<Self> {
        let records = u32::try_from(header.record_count).ok().filter(|count| *count > 0)?;
        if header.producer_id == ProducerId::NONE {
            return Some(Self { records, stamp: None });
        }
        let first = Sequence::new(header.base_sequence)?;
        let valid = header.producer_id > ProducerId::NONE && header.producer_epoch > ProducerEpoch::NONE;
        let stamp = Stamp { id: header.producer_id, epoch: header.producer_epoch, first };
        valid.then_some(Self { records, stamp: Some(stamp) })
    }

    /// Sequence of the last record; it may lie around the wrap.
    fn last(&self, stamp: &Stamp) -> Sequence {
        stamp.first.plus(self.records.saturating_sub(1))
    }
}

/// What is to be done with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is the next one.
    Append(Append),
    /// It is in the log already.
    Duplicate(Duplicate),
    /// It may not be appended.
    Refused(Refusal),
}

/// Leave to append a batch; becomes true with [`Sequencer::commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Append {
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    facts: BatchFacts,
}

impl Append {
    /// Offset of the batch's last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.facts.records) - 1)
    }
}

/// Where a batch that came again lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The timestamp the broker gave its records (LogAppendTime), if it did.
    pub append_time_ms: Option<i64>,
}

/// Why a batch may not be appended. Every message prints all the numbers it was decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The batch is not the one that follows.
    OutOfOrder {
        /// Who sent what.
        batch: SentBatch,
        /// The sequence that would follow.
        expected: Sequence,
        /// Offset of the producer's last record here.
        last_offset: Offset,
    },
    /// A new epoch starts at sequence 0.
    EpochNotAtZero {
        /// Who sent what.
        batch: SentBatch,
        /// The epoch known so far.
        known: ProducerEpoch,
    },
    /// The partition never held a record, so the producer's first record is missing, not forgotten (KAFKA-15591).
    FirstNotAtZero {
        /// Who sent what.
        batch: SentBatch,
    },
    /// An earlier batch of this producer was refused here, and this one lies behind it.
    BehindRefused {
        /// Who sent what.
        batch: SentBatch,
        /// First sequence of the batch that was refused.
        refused: Sequence,
    },
    /// Too many first batches were refused here to remember whose; until they have expired every new producer starts
    /// at 0.
    TooManyRefused {
        /// Who sent what.
        batch: SentBatch,
    },
    /// The producer has a newer epoch.
    Fenced {
        /// Who sent what.
        batch: SentBatch,
        /// The newer epoch.
        known: ProducerEpoch,
    },
    /// The table of producers is full; there is room when one has expired.
    TableFull {
        /// Who sent what.
        batch: SentBatch,
        /// Producers remembered, and the most there may be.
        limit: usize,
    },
}

/// A batch as refusals name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentBatch {
    id: ProducerId,
    epoch: ProducerEpoch,
    first: Sequence,
    last: Sequence,
}

impl fmt::Display for SentBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, epoch, first, last } = self;
        write!(f, "producer {id} epoch {epoch} sent sequences {first} to {last}")
    }
}

impl Refusal {
    /// Kafka's code.
    #[must_use]
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::Fenced { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
            // Every client retries this one, and knows that nothing was written.
            Self::TableFull { .. } => ErrorCode::KAFKA_STORAGE_ERROR,
            _ => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder { batch, expected, last_offset } => {
                write!(f, "{batch}, but {expected} follows its last record here, at offset {last_offset}")
            }
            Self::EpochNotAtZero { batch, known } => {
                write!(f, "{batch}, but an epoch that follows {known} starts at 0")
            }
            Self::FirstNotAtZero { batch } => {
                write!(f, "{batch}, but this partition never held a record, so the first sequence is 0")
            }
            Self::BehindRefused { batch, refused } => {
                write!(
                    f,
                    "{batch}, but its batch that starts at {refused} was refused here and has to come first"
                )
            }
            Self::TooManyRefused { batch } => write!(
                f,
                "{batch}, but first batches of more than {REFUSED_STARTS_MAX} producers were refused here, so one that is not known starts at 0"
            ),
            Self::Fenced { batch, known } => write!(f, "{batch}, but epoch {known} has taken its place"),
            Self::TableFull { batch, limit } => write!(
                f,
                "{batch}, but the partition remembers {limit} producers already and takes no new one until one of them has expired (producer.id.expiration.ms); try again later"
            ),
        }
    }
}

/// What a partition knows of its producers.
pub struct Sequencer {
    next_offset: Offset,
    producers_max: usize,
    producers: BTreeMap<ProducerId, Producer>,
    /// First batches that were refused, of producers that have no state here.
    refused_starts: BTreeMap<ProducerId, RefusedStart>,
    /// When a refused start could last not be remembered.
    strict_since_ms: Option<i64>,
    /// No producer and no refused start was seen earlier than this: spares [`Sequencer::expire`] its search.
    oldest_seen_ms: i64,
}

struct Producer {
    epoch: ProducerEpoch,
    /// The last batches of this epoch, oldest first: one to [`REMEMBERED_BATCHES`].
    batches: VecDeque<Remembered>,
    seen_ms: i64,
}

#[derive(Clone, Copy)]
struct Remembered {
    first: Sequence,
    last: Sequence,
    base_offset: Offset,
    append_time_ms: Option<i64>,
}

impl Remembered {
    fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last.since(self.first)))
    }
}

struct RefusedStart {
    epoch: ProducerEpoch,
    /// The producer may not start behind this one.
    first: Sequence,
    seen_ms: i64,
}

impl Sequencer {
    /// For a partition whose next record gets `next_offset` and that remembers at most `producers_max` producers.
    /// 0 means that it never held a record.
    #[must_use]
    pub fn new(next_offset: Offset, producers_max: usize) -> Self {
        Self {
            next_offset,
            producers_max,
            producers: BTreeMap::new(),
            refused_starts: BTreeMap::new(),
            strict_since_ms: None,
            oldest_seen_ms: i64::MAX,
        }
    }

    /// The next record gets `offset`: what lies between is lost.
    pub(super) fn skip_to(&mut self, offset: Offset) {
        self.next_offset = offset;
    }

    /// Offset of the next record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Producers that are remembered.
    #[must_use]
    pub fn producers(&self) -> usize {
        self.producers.len()
    }

    /// What is to be done with this batch. Changes nothing.
    #[must_use]
    pub fn decide(&self, facts: &BatchFacts) -> Decision {
        let append = || Decision::Append(Append { base_offset: self.next_offset, facts: *facts });
        let Some(stamp) = &facts.stamp else { return append() };
        let batch =
            SentBatch { id: stamp.id, epoch: stamp.epoch, first: stamp.first, last: facts.last(stamp) };
        let refusal = match self.producers.get(&stamp.id) {
            Some(known) => match known.decide(&batch) {
                Verdict::Next => None,
                Verdict::Duplicate(duplicate) => return Decision::Duplicate(duplicate),
                Verdict::Refused(refusal) => Some(refusal),
            },
            None => self.refuse_start(&batch),
        };
        refusal.map_or_else(append, Decision::Refused)
    }

    /// Why a producer that is not known may not start with this batch.
    fn refuse_start(&self, batch: &SentBatch) -> Option<Refusal> {
        let batch = *batch;
        let at_zero = batch.first == Sequence::ZERO;
        if self.next_offset == Offset(0) && !at_zero {
            return Some(Refusal::FirstNotAtZero { batch });
        }
        match self.refused_starts.get(&batch.id) {
            Some(refused) if batch.epoch > refused.epoch && !at_zero => {
                return Some(Refusal::EpochNotAtZero { batch, known: refused.epoch });
            }
            Some(refused) if batch.epoch == refused.epoch && is_behind(batch.first, refused.first) => {
                return Some(Refusal::BehindRefused { batch, refused: refused.first });
            }
            None if self.strict_since_ms.is_some() && !at_zero => {
                return Some(Refusal::TooManyRefused { batch });
            }
            // A lower epoch is let in: the higher one was never appended, and may have been a damaged header.
            _ => {}
        }
        let full = self.producers.len() >= self.producers_max;
        full.then_some(Refusal::TableFull { batch, limit: self.producers_max })
    }

    /// The batch was written: its offsets are taken and it is remembered. `append_time_ms` is the timestamp the broker
    /// gave its records, if it did (LogAppendTime).
    ///
    /// # Panics
    /// When another batch was committed since the decision: whoever decides holds the partition until the commit.
    pub fn commit(&mut self, append: Append, append_time_ms: Option<i64>, now_ms: i64) {
        assert_eq!(
            append.base_offset, self.next_offset,
            "a decision is committed before the next one is made"
        );
        self.replay(&append.facts, append.base_offset, append_time_ms, now_ms);
    }

    /// Takes in a batch that is in the log, whatever it says: what is in the log is true. Recovery replays so, with the
    /// time of the recovery as `now_ms`.
    pub fn replay(
        &mut self,
        facts: &BatchFacts,
        base_offset: Offset,
        append_time_ms: Option<i64>,
        now_ms: i64,
    ) {
        self.next_offset = base_offset.plus(i64::from(facts.records));
        let Some(stamp) = &facts.stamp else { return };
        self.oldest_seen_ms = self.oldest_seen_ms.min(now_ms);
        self.refused_starts.remove(&stamp.id);
        let producer = self.producers.entry(stamp.id).or_insert_with(|| Producer {
            epoch: stamp.epoch,
            batches: VecDeque::new(),
            seen_ms: now_ms,
        });
        if producer.epoch != stamp.epoch {
            producer.epoch = stamp.epoch;
            producer.batches.clear();
        }
        producer.seen_ms = now_ms;
        let forgotten = usize::from(is_on(SeededBug::RememberFourBatches));
        if producer.batches.len() == REMEMBERED_BATCHES - forgotten {
            producer.batches.pop_front();
        }
        // One at a time: most of a large number of producers have sent one batch.
        producer.batches.reserve_exact(1);
        let last = facts.last(stamp);
        producer.batches.push_back(Remembered { first: stamp.first, last, base_offset, append_time_ms });
    }

    /// A batch was refused, here or before it came here, for whatever reason. If its producer has no state here yet, it
    /// may not start behind this batch, else what was refused would be lost without a word (KAFKA-15591).
    pub fn reject(&mut self, facts: &BatchFacts, now_ms: i64) {
        let Some(stamp) = &facts.stamp else { return };
        self.oldest_seen_ms = self.oldest_seen_ms.min(now_ms);
        if let Some(known) = self.producers.get_mut(&stamp.id) {
            // Its state makes sure of that; so it is kept as long as after an append.
            known.seen_ms = now_ms;
            return;
        }
        // What was refused because it was not the start does not become the start by that.
        let new_epoch = self.refused_starts.get(&stamp.id).is_some_and(|refused| stamp.epoch > refused.epoch);
        let only_zero = self.next_offset == Offset(0) || new_epoch;
        let first = if only_zero { Sequence::ZERO } else { stamp.first };
        let room = self.refused_starts.len() < REFUSED_STARTS_MAX;
        match self.refused_starts.get_mut(&stamp.id) {
            Some(refused) => {
                refused.seen_ms = now_ms;
                if new_epoch || (stamp.epoch == refused.epoch && is_behind(refused.first, first)) {
                    refused.epoch = stamp.epoch;
                    refused.first = first;
                }
            }
            None if room => {
                let start = RefusedStart { epoch: stamp.epoch, first, seen_ms: now_ms };
                self.refused_starts.insert(stamp.id, start);
            }
            None => self.strict_since_ms = Some(now_ms),
        }
    }

    /// Forgets producers (and refused starts) whose last batch is `ttl_ms` old or older. Nothing else is ever forgotten:
    /// a full table refuses new producers instead. Cheap when nothing can have expired.
    pub fn expire(&mut self, now_ms: i64, ttl_ms: i64) {
        let expired = |seen_ms: i64| now_ms.saturating_sub(seen_ms) >= ttl_ms;
        if !expired(self.oldest_seen_ms) {
            return;
        }
        self.producers.retain(|_, producer| !expired(producer.seen_ms));
        self.refused_starts.retain(|_, refused| !expired(refused.seen_ms));
        self.strict_since_ms = self.strict_since_ms.filter(|since| !expired(*since));
        self.oldest_seen_ms = (self.producers.values().map(|producer| producer.seen_ms))
            .chain(self.refused_starts.values().map(|refused| refused.seen_ms))
            .chain(self.strict_since_ms)
            .min()
            .unwrap_or(i64::MAX);
    }
}

enum Verdict {
    Next,
    Duplicate(Duplicate),
    Refused(Refusal),
}

impl Producer {
    fn decide(&self, batch: &SentBatch) -> Verdict {
        let batch = *batch;
        if batch.epoch < self.epoch {
            return Verdict::Refused(Refusal::Fenced { batch, known: self.epoch });
        }
        if batch.epoch > self.epoch {
            return match batch.first {
                Sequence::ZERO => Verdict::Next,
                _ => Verdict::Refused(Refusal::EpochNotAtZero { batch, known: self.epoch }),
            };
        }
        let same = |known: &&Remembered| known.first == batch.first && known.last == batch.last;
        if let Some(known) = self.batches.iter().rev().find(same) {
            return Verdict::Duplicate(Duplicate {
                base_offset: known.base_offset,
                last_offset: known.last_offset(),
                append_time_ms: known.append_time_ms,
            });
        }
        match self.batches.back() {
            Some(last) if batch.first != last.last.plus(1) => Verdict::Refused(Refusal::OutOfOrder {
                batch,
                expected: last.last.plus(1),
                last_offset: last.last_offset(),
            }),
            _ => Verdict::Next,
        }
    }
}

/// `sequence` comes after `other`, on the shorter way around the circle.
fn is_behind(sequence: Sequence, other: Sequence) -> bool {
    sequence != other && sequence.since(other) < HALF_CIRCLE
}

#[cfg(test)]
mod tests;
