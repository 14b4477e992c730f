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
            sequencer.producers.insert(id, Producer { epoch, batches, seen_ms: 0 });
            sequencer.oldest_seen_ms = 0;
        }
        Some(sequencer)
    }
}
