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
