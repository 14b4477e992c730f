//! Taking fetched bytes apart: batches, and the records in a batch. Keys, values and headers are slices of what was fetched, or
//! of the decompressed records.

use bytes::Bytes;

use super::walk::{EncodedRecord, SliceSource, Source as _};
use super::{BatchError, BatchHeader, Compression, HEADER_SIZE, RecordFault, TimestampType, compression};
use crate::types::Offset;

/// One record as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since 1970, by the producer's clock or the broker's (see [`BatchHeader::attributes`]).
    pub timestamp_ms: i64,
    /// Null and empty differ.
    pub key: Option<Bytes>,
    /// Null and empty differ.
    pub value: Option<Bytes>,
    /// In their order; keys may repeat.
    pub headers: Vec<Header>,
}

/// One header of a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Meant to be UTF-8; no broker checks that.
    pub key: Bytes,
    /// Null and empty differ.
    pub value: Option<Bytes>,
}

/// The records of one batch, see [`iterate`].
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    /// The (decompressed) records.
    bytes: Bytes,
    /// Where the next one begins, and which it is.
    at: usize,
    next: u32,
}

/// Reads the records of `batch`: the bytes of one whole batch, as [`batches`] gives them. Compressed records are
/// decompressed at once, into at most `decompressed_max` bytes. The checksum is not looked at ([`super::check_crc`]), and a control batch
/// ([`super::Attributes::is_control`]) is a consumer's to skip.
///
/// # Errors
/// A header that cannot be read, an unknown codec, records that cannot be decompressed or expand too far. Each item is a record, or
/// what is wrong with it, after which nothing more comes.
pub fn iterate(batch: Bytes, decompressed_max: usize) -> Result<Records, BatchError> {
    let header = BatchHeader::parse(&batch)?;
    let size = header.total_size();
    let records =
        batch.get(HEADER_SIZE..size).ok_or(BatchError::Truncated { needed: size, available: batch.len() })?;
    let bytes = match header.attributes.compression()? {
        Compression::None => batch.slice_ref(records),
        codec => Bytes::from(compression::decompress(codec, records, decompressed_max)?),
    };
    Ok(Records { header, bytes, at: 0, next: 0 })
}

impl Records {
    /// The header of the batch.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    fn read(&mut self) -> Result<Record, RecordFault> {
        let mut source = SliceSource::new(self.bytes.get(self.at..).unwrap_or_default());
        let EncodedRecord { timestamp_delta, offset_delta, fields } = source.encoded_record()?;
        let mut fields = SliceSource::new(fields);
        let view = |bytes: &[u8]| self.bytes.slice_ref(bytes);
        let key = fields.field()?.map(view);
        let value = fields.field()?.map(view);
        let header_count = fields.integer()?;
        // Grows with the headers that are really there: each takes two bytes at least.
        let mut headers = Vec::new();
        for _ in 0..u32::try_from(header_count).map_err(|_| RecordFault::HeaderCount(header_count))? {
            let length = fields.integer()?;
            let key = usize::try_from(length).map_err(|_| RecordFault::HeaderKey(length))?;
            headers.push(Header { key: view(fields.take(key)?), value: fields.field()?.map(view) });
        }
        let unread = fields.into_rest().len();
        if unread > 0 {
            return Err(RecordFault::Unread(unread));
        }
        self.at = self.bytes.len() - source.into_rest().len();

        let timestamp_ms = match self.header.attributes.timestamp_type() {
            TimestampType::Create => self.header.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppend => self.header.max_timestamp,
        };
        // Not the record's place: compaction leaves gaps in a batch.
        let offset = Offset(self.header.base_offset.0.wrapping_add(i64::from(offset_delta)));
        Ok(Record { offset, timestamp_ms, key, value, headers })
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record_count = u32::try_from(self.header.record_count).unwrap_or(0);
        if self.next == record_count {
            let complete = self.at == self.bytes.len();
            self.at = self.bytes.len();
            let error = BatchError::MoreThanCounted { record_count: self.header.record_count };
            return (!complete).then_some(Err(error));
        }
        let index = self.next;
        match self.read() {
            Ok(record) => {
                self.next += 1;
                Some(Ok(record))
            }
            Err(fault) => {
                self.at = self.bytes.len();
                self.next = record_count;
                Some(Err(BatchError::Record { index, fault }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One more than records: the error of bytes behind the last.
        let left = u32::try_from(self.header.record_count).unwrap_or(0) - self.next;
        (0, Some(left as usize + 1))
    }
}

impl std::iter::FusedIterator for Records {}

/// The whole batches of a fetched blob, see [`batches`].
#[derive(Debug)]
pub struct Batches {
    rest: Bytes,
}

/// Splits the records of a fetch response into whole batches. A broker cuts at a number of bytes, so that the last batch may be
/// partial: it is left out. A header that cannot be one is an error, after which nothing more comes.
#[must_use]
pub const fn batches(blob: Bytes) -> Batches {
    Batches { rest: blob }
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        match BatchHeader::parse(&self.rest) {
            Ok(header) if header.total_size() <= self.rest.len() => {
                Some(Ok((header, self.rest.split_to(header.total_size()))))
            }
            Ok(_) | Err(BatchError::Truncated { .. }) => {
                self.rest = Bytes::new();
                None
            }
            Err(error) => {
                self.rest = Bytes::new();
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Batches {}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        KAFKA_BATCH, numbered, records_of, set_log_append_time, write_base_offset_and_epoch,
    };
    use super::*;
    use crate::types::LeaderEpoch;

    const MAX: usize = 1 << 20;

    fn stored(count: u32, codec: Compression, base: i64) -> Vec<u8> {
        let mut batch = numbered(count, codec);
        batch.stamp_plain();
        let mut bytes = batch.bytes().to_vec();
        write_base_offset_and_epoch(&mut bytes, Offset(base), LeaderEpoch(0));
        bytes
    }

    #[test]
    fn the_record_of_kafkas_batch() {
        let batch = Bytes::from_static(KAFKA_BATCH);
        let records: Vec<_> = iterate(batch.clone(), MAX).unwrap().collect();
        let value = Bytes::from_static(b"123");
        let expected = Record {
            offset: Offset(0),
            timestamp_ms: 0x15d_ff7b_063c,
            key: None,
            value: Some(value),
            headers: vec![],
        };
        assert_eq!(records, [Ok(expected)]);
        let value = records[0].as_ref().unwrap().value.as_ref().unwrap();
        assert_eq!(value.as_ptr(), batch[HEADER_SIZE + 6..].as_ptr(), "a view, not a copy");
    }

    #[test]
    fn offsets_count_from_the_base_and_append_time_replaces_timestamps() {
        for codec in Compression::ALL {
            let mut bytes = stored(200, codec, 1_000);
            let offsets: Vec<i64> = iterate(Bytes::from(bytes.clone()), MAX)
                .unwrap()
                .map(|record| record.unwrap().offset.0)
                .collect();
            assert_eq!(offsets, (1_000..1_200).collect::<Vec<_>>());
            set_log_append_time(&mut bytes, 77).unwrap();
            let read = records_of(Bytes::from(bytes));
            assert_eq!(read.len(), 200);
            assert!(read.iter().all(|record| record.timestamp_ms == 77), "{codec}");
        }
    }

    #[test]
    fn a_blob_cut_anywhere_gives_its_whole_batches() {
        let (first, second) = (stored(3, Compression::None, 0), stored(40, Compression::Zstd, 3));
        let blob = Bytes::from([first.as_slice(), &second].concat());
        for size in 0..=blob.len() {
            let whole: Vec<_> = batches(blob.slice(..size)).map(|batch| batch.unwrap()).collect();
            let expected = usize::from(size >= first.len()) + usize::from(size == blob.len());
            assert_eq!(whole.len(), expected, "{size} bytes");
        }
        let whole: Vec<_> = batches(blob.clone()).map(|batch| batch.unwrap()).collect();
        assert_eq!((&whole[0].1[..], &whole[1].1[..]), (&first[..], &second[..]));
        assert_eq!((whole[1].0.base_offset, whole[1].0.next_offset()), (Offset(3), Offset(43)));
    }

    #[test]
    fn after_an_error_nothing_comes() {
        let mut blob = [stored(1, Compression::None, 0), stored(1, Compression::None, 1)].concat();
        let second = blob.len() / 2;
        blob[second + 16] = 1;
        let mut found = batches(Bytes::from(blob));
        assert!(found.next().unwrap().is_ok());
        assert_eq!(found.next(), Some(Err(BatchError::Magic(1))));
        assert_eq!(found.next(), None);

        let mut bytes = stored(3, Compression::None, 0);
        // The second record claims a byte too many of value.
        let at = HEADER_SIZE + 9 + 5;
        bytes[at] += 2;
        let mut records = iterate(Bytes::from(bytes), MAX).unwrap();
        assert!(records.next().unwrap().is_ok());
        assert!(matches!(records.next(), Some(Err(BatchError::Record { index: 1, .. }))));
        assert_eq!(records.next(), None);

        let mut bytes = stored(3, Compression::None, 0);
        bytes[57..61].copy_from_slice(&2_i32.to_be_bytes());
        let mut records = iterate(Bytes::from(bytes), MAX).unwrap();
        assert!(records.by_ref().take(2).all(|record| record.is_ok()));
        assert_eq!(records.next(), Some(Err(BatchError::MoreThanCounted { record_count: 2 })));
        assert_eq!(records.next(), None);
    }
}
