//! A batch that a broker found too large (MESSAGE_TOO_LARGE) goes out again in parts, as Java's clients do it.

use super::walk::SliceSource;
use super::{ClosedBatch, Compression, HEADER_SIZE, OpenBatch, compression};

impl ClosedBatch {
    /// Two batches of half the records each, in order. Their sequences follow the batch's: record by record nothing changes, so the
    /// parts stay duplicates of what the broker may know already. One element, the batch itself, if it cannot be split: a
    /// single record.
    #[must_use]
    pub fn split(&self) -> Vec<Self> {
        self.halves().unwrap_or_else(|| vec![self.clone()])
    }

    fn halves(&self) -> Option<Vec<Self>> {
        let total = self.record_count();
        let first_count = total / 2;
        if first_count == 0 {
            return None;
        }
        let header = self.header();
        let bytes = self.bytes();
        let compressed = bytes.get(HEADER_SIZE..)?;
        let decompressed;
        let records = match header.attributes.compression().ok()? {
            Compression::None => compressed,
            codec => {
                decompressed = compression::decompress(codec, compressed, self.uncompressed_size()).ok()?;
                &decompressed
            }
        };

        let mut source = SliceSource::new(records);
        let mut part = |count: u32, follows: u32| -> Option<Self> {
            let mut open: Option<OpenBatch> = None;
            for _ in 0..count {
                let record = source.encoded_record().ok()?;
                let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
                let open = open
                    .get_or_insert_with(|| OpenBatch::new(timestamp, self.uncompressed_size().div_ceil(2)));
                open.push_encoded(timestamp, record.fields);
            }
            let mut batch = open?.close(self.compression, self.level);
            if let Some((first, _)) = self.sequences() {
                batch.stamp(header.producer_id, header.producer_epoch, first.plus(follows));
            } else if self.is_stamped() {
                batch.stamp_plain();
            }
            Some(batch)
        };
        Some(vec![part(first_count, 0)?, part(total - first_count, first_count)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{closed, numbered, records_of, some_records};
    use super::super::{BatchLimits, validate_from_client};
    use super::*;
    use crate::types::{ProducerEpoch, ProducerId, Sequence};
    use proptest::prelude::*;

    fn stamp() -> (ProducerId, ProducerEpoch, Sequence) {
        // Two before the largest, so that the wrap comes inside a batch.
        (ProducerId(3), ProducerEpoch(1), Sequence::new(i32::MAX - 1).unwrap())
    }

    #[test]
    fn sequences_go_on_around_the_wrap() {
        let mut batch = numbered(5, Compression::None);
        let (id, epoch, sequence) = stamp();
        batch.stamp(id, epoch, sequence);
        let sequences =
            |batch: &ClosedBatch| batch.sequences().map(|(first, last)| (first.get(), last.get()));
        assert_eq!(sequences(&batch), Some((i32::MAX - 1, 2)));
        let parts = batch.split();
        assert_eq!(
            parts.iter().map(sequences).collect::<Vec<_>>(),
            [Some((i32::MAX - 1, i32::MAX)), Some((0, 2))]
        );
    }

    #[test]
    fn a_single_record_cannot_be_split() {
        let batch = numbered(1, Compression::Lz4);
        let parts = batch.split();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].bytes(), batch.bytes());
    }

    #[test]
    fn parts_of_an_unstamped_batch_wait_for_their_stamp() {
        assert!(numbered(4, Compression::None).split().iter().all(|part| !part.is_stamped()));
        let mut plain = numbered(4, Compression::None);
        plain.stamp_plain();
        assert!(plain.split().iter().all(|part| part.is_stamped() && part.sequences().is_none()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn parts_hold_the_records_in_order(records in some_records(), codec in 0_i16..5) {
            prop_assume!(records.len() > 1);
            let codec = Compression::from_id(codec).unwrap();
            let mut batch = closed(&records, codec);
            let (id, epoch, sequence) = stamp();
            batch.stamp(id, epoch, sequence);
            let parts = batch.split();
            prop_assert_eq!(parts.len(), 2);
            let mut follows = sequence;
            let mut read = Vec::new();
            for part in &parts {
                let header = validate_from_client(&part.bytes(), &BatchLimits::default());
                prop_assert_eq!(header.as_ref(), Ok(part.header()));
                prop_assert_eq!(part.sequences().map(|(first, _)| first), Some(follows));
                follows = follows.plus(part.record_count());
                read.extend(records_of(part.bytes()));
            }
            prop_assert_eq!(read, records);
        }
    }
}
