//! The sequencer's state as bytes, for checkpoints ([`crate::log::checkpoint`]).
//!
//! Not kept are refused starts: they guard against what was in the pipeline of a connection behind the refused batch, and
//! no connection outlives the process. Nor is the time: what is loaded counts as seen when it was loaded, never too early.

use bytes::{Buf, BufMut as _, Bytes, BytesMut};

use super::*;

/// What stands where a batch has no time of the broker's: no clock shows it.
const NO_APPEND_TIME: i64 = i64::MIN;
const PRODUCER_SIZE: usize = 8 + 2 + 1;
const BATCH_SIZE: usize = 4 + 4 + 8 + 8;

impl Sequencer {
    /// Producers u32; for each id 64 bits, epoch 16, number of remembered batches 8; for each of these first and last
    /// sequence (32), base offset and append time (64).
    pub(in crate::log) fn encode(&self, out: &mut BytesMut) {
        out.reserve(4 + self.producers.len() * (PRODUCER_SIZE + BATCH_SIZE));
        out.put_u32(u32::try_from(self.producers.len()).unwrap_or(u32::MAX));
        for (id, producer) in &self.producers {
            out.put_i64(id.0);
            out.put_i16(producer.epoch.0);
            out.put_u8(u8::try_from(producer.batches.len()).unwrap_or(u8::MAX));
            for batch in &producer.batches {
                out.put_i32(batch.first.get());
                out.put_i32(batch.last.get());
                out.put_i64(batch.base_offset.0);
                out.put_i64(batch.append_time_ms.unwrap_or(NO_APPEND_TIME));
            }
        }
    }

    /// What was encoded when `next_offset` was next, all of it seen at 0; `None` if it is anything else.
    pub(in crate::log) fn decode(
        bytes: &mut Bytes,
        next_offset: Offset,
        producers_max: usize,
    ) -> Option<Self> {
        let mut sequencer = Self::new(next_offset, producers_max);
        for _ in 0..bytes.try_get_u32().ok()? {
            let id = ProducerId(bytes.try_get_i64().ok()?);
            let epoch = ProducerEpoch(bytes.try_get_i16().ok()?);
            let count = usize::from(bytes.try_get_u8().ok()?);
            if !(1..=REMEMBERED_BATCHES).contains(&count) || bytes.remaining() < count * BATCH_SIZE {
                return None;
            }
            let mut batches = VecDeque::with_capacity(count);
            for _ in 0..count {
                let (first, last) = (Sequence::new(bytes.get_i32())?, Sequence::new(bytes.get_i32())?);
                let (base_offset, time) = (Offset(bytes.get_i64()), bytes.get_i64());
                let append_time_ms = (time != NO_APPEND_TIME).then_some(time);
                batches.push_back(Remembered { first, last, base_offset, append_time_ms });
            }
            if id <= ProducerId::NONE || epoch <= ProducerEpoch::NONE || !follow(&batches, next_offset) {
                return None;
            }
            let twice = sequencer.producers.insert(id, Producer { epoch, batches, seen_ms: 0 });
            if twice.is_some() {
                return None;
            }
            sequencer.oldest_seen_ms = 0;
        }
        Some(sequencer)
    }
}

/// Whether batches of one producer may follow one another so, in a log whose next offset is `end`.
fn follow(batches: &VecDeque<Remembered>, end: Offset) -> bool {
    let records = |batch: &Remembered| i64::from(batch.last.since(batch.first)) + 1;
    // Not by sequence: a batch that was set aside by a repair leaves a gap in these.
    let mut next = Offset(0);
    batches.iter().all(|batch| {
        let behind = batch.base_offset.0.checked_add(records(batch)).map(Offset);
        let follows = batch.base_offset >= next && behind.is_some_and(|behind| behind <= end);
        next = behind.unwrap_or(end);
        follows
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(id: i64, epoch: i16, first: i32, records: u32) -> BatchFacts {
        let first = Sequence::new(first & i32::MAX).unwrap();
        let stamp = Stamp { id: ProducerId(id), epoch: ProducerEpoch(epoch), first };
        BatchFacts { records, stamp: Some(stamp) }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_saved_decides_as_before(
            sent in prop::collection::vec((0..4_i64, 0..3_i16, any::<i32>(), 1..50_u32, any::<bool>()), 0..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut sequencer = Sequencer::new(Offset(0), 100);
            let all: Vec<_> = sent.iter().map(|(id, epoch, first, records, _)| facts(*id, *epoch, *first, *records)).collect();
            for (facts, (.., stamped)) in all.iter().zip(&sent) {
                let next = sequencer.next_offset();
                sequencer.replay(facts, next, stamped.then_some(77), 5);
            }
            let mut bytes = BytesMut::new();
            sequencer.encode(&mut bytes);
            let bytes = bytes.freeze();
            let next = sequencer.next_offset();
            let mut rest = bytes.clone();
            let loaded = Sequencer::decode(&mut rest, next, 100).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(loaded.producers(), sequencer.producers());
            for facts in &all {
                prop_assert_eq!(loaded.decide(facts), sequencer.decide(facts));
                let stamp = facts.stamp.unwrap();
                let following = BatchFacts { stamp: Some(Stamp { first: facts.last(&stamp).plus(1), ..stamp }), ..*facts };
                prop_assert_eq!(loaded.decide(&following), sequencer.decide(&following));
            }
            let mut short = bytes.slice(..cut.index(bytes.len()));
            prop_assert!(Sequencer::decode(&mut short, next, 100).is_none());
        }
    }
}
