//! What a segment holds, in a few numbers: enough to go on behind it without reading it again.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gapless_common::{
    records::{BatchHeader, HEADER_SIZE},
    types::{LeaderEpoch, Offset},
};

use crate::storage::{File, read_exact_at};

/// Of a whole segment, or of its first [`Summary::size`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    /// Offset of the first record, by which the segment is named.
    pub base_offset: Offset,
    /// Bytes of whole batches.
    pub size: u64,
    /// The offset behind the last record.
    pub next_offset: Offset,
    /// The largest timestamp of any record; `i64::MIN` without records.
    pub max_timestamp: i64,
    /// `None` without a batch.
    pub batches: Option<Ends>,
}

/// The first and the last batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub first_epoch: LeaderEpoch,
    pub last_epoch: LeaderEpoch,
    /// Where the last batch begins in the segment.
    pub last_position: u64,
    /// The CRC-32C field of the last batch.
    pub last_crc: u32,
}

/// A segment takes what begins below 2^31 bytes, and one batch is no larger than that.
const SIZE_MAX: u64 = 1 << 32;

impl Summary {
    /// Bytes of [`Summary::encode`].
    pub(super) const ENCODED_SIZE: usize = 52;
    /// "No batch", where the first epoch stands.
    const NO_EPOCH: i32 = -1;

    /// Of a segment without a batch.
    pub(super) const fn empty(base_offset: Offset) -> Self {
        Self { base_offset, size: 0, next_offset: base_offset, max_timestamp: i64::MIN, batches: None }
    }

    /// A batch stands behind the last one.
    pub(super) fn add(&mut self, header: &BatchHeader) {
        let first_epoch = self.batches.map_or(header.leader_epoch, |ends| ends.first_epoch);
        self.batches = Some(Ends {
            first_epoch,
            last_epoch: header.leader_epoch,
            last_position: self.size,
            last_crc: header.crc,
        });
        self.size += header.total_size() as u64;
        self.next_offset = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// What makes one place in a log higher than another: the offset, and with the same offset the newer segment.
    pub(super) fn height(&self) -> (i64, i64) {
        (self.next_offset.0, self.base_offset.0)
    }

    /// Whether both end with the same batch at the same place.
    pub(super) fn ends_as(&self, other: &Self) -> bool {
        let last =
            |summary: &Self| summary.batches.map(|ends| (ends.last_position, ends.last_epoch, ends.last_crc));
        (self.base_offset, self.size, self.next_offset) == (other.base_offset, other.size, other.next_offset)
            && last(self) == last(other)
    }

    /// Whether the log holds what this says, as far as its last batch tells: a segment that was cut off and written on
    /// has another one there, or none.
    pub(super) async fn agrees_with(&self, log: &dyn File) -> bool {
        if log.size().await.map_or(true, |size| size < self.size) {
            return false;
        }
        let Some(ends) = self.batches else { return self.size == 0 };
        let is_last = |last: BatchHeader| {
            last.crc == ends.last_crc
                && last.leader_epoch == ends.last_epoch
                && last.next_offset() == self.next_offset
                && ends.last_position + last.total_size() as u64 == self.size
        };
        // Twice, since a bit may flip on the way from the disk, and what does not agree is removed.
        for _ in 0..2 {
            let Ok(bytes) = read_exact_at(log, ends.last_position, HEADER_SIZE).await else { return false };
            if BatchHeader::parse(&bytes).is_ok_and(is_last) {
                return true;
            }
            log.forget_cached(ends.last_position, HEADER_SIZE as u64);
        }
        false
    }

    /// Base offset, size, next offset, largest timestamp (64 bits each), first and last leader epoch (32), position of the
    /// last batch (64) and its CRC-32C (32).
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let none = LeaderEpoch(Self::NO_EPOCH);
        let none = Ends { first_epoch: none, last_epoch: none, last_position: 0, last_crc: 0 };
        let ends = self.batches.unwrap_or(none);
        out.put_i64(self.base_offset.0);
        out.put_u64(self.size);
        out.put_i64(self.next_offset.0);
        out.put_i64(self.max_timestamp);
        out.put_i32(ends.first_epoch.0);
        out.put_i32(ends.last_epoch.0);
        out.put_u64(ends.last_position);
        out.put_u32(ends.last_crc);
    }

    /// What was encoded, from exactly so many bytes; `None` if it is of no segment that there can be.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() != Self::ENCODED_SIZE {
            return None;
        }
        // Fields are evaluated in the order written here, which is that of the bytes.
        let summary = Self {
            base_offset: Offset(bytes.get_i64()),
            size: bytes.get_u64(),
            next_offset: Offset(bytes.get_i64()),
            max_timestamp: bytes.get_i64(),
            batches: Some(Ends {
                first_epoch: LeaderEpoch(bytes.get_i32()),
                last_epoch: LeaderEpoch(bytes.get_i32()),
                last_position: bytes.get_u64(),
                last_crc: bytes.get_u32(),
            }),
        };
        let batches = summary.batches.filter(|ends| ends.first_epoch.0 != Self::NO_EPOCH);
        let summary = Self { batches, ..summary };
        summary.is_possible().then_some(summary)
    }

    fn is_possible(&self) -> bool {
        let is_empty = self.size == 0 && self.next_offset == self.base_offset;
        let holds = |ends: Ends| {
            let epochs = LeaderEpoch(0) <= ends.first_epoch && ends.first_epoch <= ends.last_epoch;
            // Each batch has a record, and takes a header.
            let last = self.size.checked_sub(ends.last_position);
            let size = last.is_some_and(|last| last >= HEADER_SIZE as u64) && self.size <= SIZE_MAX;
            epochs && size && self.next_offset > self.base_offset
        };
        self.base_offset >= Offset(0) && self.batches.map_or(is_empty, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing;

    #[test]
    fn a_summary_is_that_of_its_batches_and_is_read_back() {
        let mut summary = Summary::empty(Offset(40));
        let read_back = |summary: &Summary| {
            let mut bytes = BytesMut::new();
            summary.encode(&mut bytes);
            Summary::decode(bytes.freeze())
        };
        assert_eq!(read_back(&summary), Some(summary));
        let mut size = 0;
        for (epoch, timestamp, next) in [(3, 500, 42), (3, 100, 44), (5, 400, 46)] {
            let sent = testing::batch(None, timestamp, &["a", "b"]);
            let header = BatchHeader {
                base_offset: summary.next_offset,
                leader_epoch: LeaderEpoch(epoch),
                ..sent.header
            };
            summary.add(&header);
            let ends = Ends {
                first_epoch: LeaderEpoch(3),
                last_epoch: LeaderEpoch(epoch),
                last_position: size,
                last_crc: header.crc,
            };
            size += sent.bytes.len() as u64;
            assert_eq!((summary.size, summary.batches), (size, Some(ends)));
            assert_eq!((summary.next_offset, summary.max_timestamp), (Offset(next), 501));
            assert_eq!(read_back(&summary), Some(summary));
        }
        assert_eq!(Summary::decode(Bytes::from_static(b"short")), None);
    }

    #[test]
    fn what_no_segment_can_be_is_not_read_back() {
        let ends =
            Ends { first_epoch: LeaderEpoch(1), last_epoch: LeaderEpoch(2), last_position: 100, last_crc: 7 };
        let empty = Summary::empty(Offset(40));
        let full =
            Summary { size: 200, next_offset: Offset(50), max_timestamp: 9, batches: Some(ends), ..empty };
        let with = |change: fn(&mut Ends)| {
            let mut ends = ends;
            change(&mut ends);
            Summary { batches: Some(ends), ..full }
        };
        let read_back = |summary: &Summary| {
            let mut bytes = BytesMut::new();
            summary.encode(&mut bytes);
            Summary::decode(bytes.freeze()).is_some()
        };
        assert!(read_back(&empty) && read_back(&full));
        for impossible in [
            Summary { base_offset: Offset(-1), ..empty },
            Summary { size: 1, ..empty },
            Summary { next_offset: Offset(41), ..empty },
            Summary { next_offset: Offset(40), ..full },
            Summary { size: 1 << 40, ..full },
            with(|ends| ends.last_position = 150),
            with(|ends| ends.last_position = u64::MAX),
            with(|ends| ends.first_epoch = LeaderEpoch(3)),
            with(|ends| ends.first_epoch = LeaderEpoch(-7)),
        ] {
            assert!(!read_back(&impossible), "{impossible:?}");
        }
    }
}
