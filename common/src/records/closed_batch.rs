//! A batch that takes no more records: compressed, then stamped with its place in the producer's stream.

use bytes::{Bytes, BytesMut};

use super::header::{BATCH_LENGTH_MIN, HEADER_SIZE, LENGTH_PREFIX_SIZE, MAGIC};
use super::{Attributes, BatchHeader, Compression, compression, crc};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

/// A batch whose records are final. [`ClosedBatch::stamp`] (or [`ClosedBatch::stamp_plain`]) makes it ready to be sent; from then on
/// its bytes are shared by every attempt, and a retry costs nothing.
#[derive(Debug, Clone)]
pub struct ClosedBatch {
    bytes: Bytes,
    header: BatchHeader,
    stamped: bool,
    /// The checksum of the records as they are in the bytes, if it is known.
    records_crc: Option<u32>,
    /// What was asked for, which a batch that did not shrink does not carry; its parts are compressed anew.
    pub(super) compression: Compression,
    pub(super) level: Option<i32>,
    uncompressed_size: usize,
}

impl ClosedBatch {
    /// `buffer` holds the room of a header and then `record_count` encoded records, whose checksum is `records_crc`, if it is
    /// known.
    pub(super) fn new(
        mut buffer: Vec<u8>,
        mut records_crc: Option<u32>,
        record_count: u32,
        base_timestamp: i64,
        max_timestamp: i64,
        compression: Compression,
        level: Option<i32>,
    ) -> Self {
        let uncompressed_size = buffer.len();
        let mut carried = Compression::None;
        if let Some(smaller) = compression::compress_batch(&buffer, compression, level) {
            buffer = smaller;
            records_crc = None;
            carried = compression;
        }
        // OpenBatch keeps sizes and counts far below 2^31.
        let size = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
        let record_count = i32::try_from(record_count).unwrap_or(i32::MAX);
        let header = BatchHeader {
            base_offset: Offset(0),
            batch_length: (size - LENGTH_PREFIX_SIZE as i32).max(BATCH_LENGTH_MIN),
            leader_epoch: LeaderEpoch(-1),
            magic: MAGIC,
            crc: 0,
            attributes: Attributes::of(carried),
            last_offset_delta: record_count - 1,
            base_timestamp,
            max_timestamp,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: NO_SEQUENCE,
            record_count,
        };
        if let Some(head) = buffer.first_chunk_mut() {
            *head = header.to_bytes();
        }
        Self {
            bytes: Bytes::from(buffer),
            header,
            stamped: false,
            records_crc,
            compression,
            level,
            uncompressed_size,
        }
    }

    /// Gives the batch its place in the stream of an idempotent producer, and its checksum. A batch that is stamped keeps its
    /// stamp, whatever this is called with: a retry must go out as it went before. [`ClosedBatch::restamp`] is the one
    /// exception.
    pub fn stamp(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) {
        if !self.stamped {
            self.write_stamp(id, epoch, base_sequence.get());
        }
    }

    /// Makes a batch of a producer without idempotence ready to be sent. A batch that is stamped keeps its stamp.
    pub fn stamp_plain(&mut self) {
        if !self.stamped {
            self.write_stamp(ProducerId::NONE, ProducerEpoch::NONE, NO_SEQUENCE);
        }
    }

    /// Gives the batch another place in the stream. Only for a batch that was certainly never written, after the epoch was
    /// bumped (or the id changed): for any other it makes a duplicate that no broker can see. Bytes that someone still holds are
    /// not touched; the batch gets a copy then.
    pub fn restamp(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) {
        self.write_stamp(id, epoch, base_sequence.get());
    }

    fn write_stamp(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        let mut bytes = match std::mem::take(&mut self.bytes).try_into_mut() {
            Ok(own) => own,
            Err(shared) => BytesMut::from(shared.as_ref()),
        };
        if let Some((head, records)) = bytes.split_first_chunk_mut::<HEADER_SIZE>() {
            *head = self.header.to_bytes();
            let checksummed = head.get(crc::CHECKSUMMED_AT..).unwrap_or_default();
            self.header.crc = match self.records_crc {
                Some(records_crc) => {
                    crc::combine(crc::compute_parts(checksummed, &[]), records_crc, records.len())
                }
                None => crc::compute_parts(checksummed, records),
            };
            *head = self.header.to_bytes();
        }
        self.bytes = bytes.freeze();
        self.stamped = true;
    }

    /// The bytes to be sent: a cheap clone of one allocation. Not fit to be sent before the batch is stamped: they have no
    /// checksum yet.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The header as it is in the bytes once the batch is stamped.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Whether the batch is ready to be sent.
    #[must_use]
    pub const fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// First and last sequence; `None` before the stamp and for a batch without idempotence.
    #[must_use]
    pub fn sequences(&self) -> Option<(Sequence, Sequence)> {
        self.header.sequences()
    }

    /// Records in the batch.
    #[must_use]
    pub const fn record_count(&self) -> u32 {
        self.header.record_count as u32
    }

    /// Bytes to be sent, header included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes before compression, header included.
    #[must_use]
    pub const fn uncompressed_size(&self) -> usize {
        self.uncompressed_size
    }
}

const NO_SEQUENCE: i32 = -1;

#[cfg(test)]
mod tests {
    use super::super::testing::numbered;
    use super::super::{BatchLimits, check_crc, validate_from_client};
    use super::*;

    fn stamped() -> ClosedBatch {
        let mut batch = numbered(10, Compression::None);
        batch.stamp(ProducerId(7), ProducerEpoch(2), Sequence::ZERO.plus(100));
        batch
    }

    #[test]
    fn a_stamped_batch_is_what_its_header_says() {
        let batch = stamped();
        assert!(check_crc(&batch.bytes()));
        assert_eq!(BatchHeader::parse(&batch.bytes()).as_ref(), Ok(batch.header()));
        assert_eq!(
            validate_from_client(&batch.bytes(), &BatchLimits::default()).as_ref(),
            Ok(batch.header())
        );
        assert_eq!(batch.sequences().map(|(first, last)| (first.get(), last.get())), Some((100, 109)));
    }

    #[test]
    fn a_plain_batch_has_no_producer() {
        let mut batch = numbered(3, Compression::Zstd);
        assert!(!batch.is_stamped());
        batch.stamp_plain();
        let header = validate_from_client(&batch.bytes(), &BatchLimits::default()).unwrap();
        assert_eq!((header.producer_id.0, header.producer_epoch.0, header.base_sequence), (-1, -1, -1));
        assert_eq!(batch.sequences(), None);
    }

    #[test]
    fn a_retry_goes_out_as_it_went_before() {
        let mut batch = stamped();
        let first = batch.bytes();
        batch.stamp(ProducerId(8), ProducerEpoch(0), Sequence::ZERO);
        batch.stamp_plain();
        let second = batch.bytes();
        assert_eq!(first, second);
        assert_eq!(first.as_ptr(), second.as_ptr(), "shared, not copied");
    }

    #[test]
    fn restamping_leaves_bytes_alone_that_others_hold() {
        let mut batch = stamped();
        let at = batch.bytes().as_ptr();
        batch.restamp(ProducerId(7), ProducerEpoch(3), Sequence::ZERO);
        assert_eq!(batch.bytes().as_ptr(), at, "nobody else held them");

        let sent = batch.bytes();
        let before = sent.to_vec();
        batch.restamp(ProducerId(9), ProducerEpoch(0), Sequence::ZERO.plus(5));
        assert_eq!(sent, before);
        assert!(check_crc(&sent) && check_crc(&batch.bytes()));
        let header = BatchHeader::parse(&batch.bytes()).unwrap();
        assert_eq!((header.producer_id.0, header.producer_epoch.0, header.base_sequence), (9, 0, 5));
    }

    #[test]
    fn a_codec_that_does_not_help_is_not_carried() {
        let mut batch = numbered(1, Compression::Gzip);
        batch.stamp_plain();
        assert_eq!(batch.header().attributes.compression(), Ok(Compression::None));
        assert_eq!(batch.size(), batch.uncompressed_size());
        assert_eq!(
            numbered(1_000, Compression::Gzip).header().attributes.compression(),
            Ok(Compression::Gzip)
        );
    }
}
