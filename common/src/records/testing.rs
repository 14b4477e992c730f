//! What the tests of this module share.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::{
    BatchError, BatchHeader, ClosedBatch, Compression, HeaderRef, INITIAL_CAPACITY, OpenBatch, Push,
    RecordRef, crc, iterate, patched_header,
};
use crate::types::{LeaderEpoch, Offset};

/// A batch out of the log of an Apache Kafka broker: one record, value "123" (kafka-python's `test_records.py`).
pub(super) const KAFKA_BATCH: &[u8] = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00;\x00\x00\x00\x01\x02\
    \x03\x18\xa2p\x00\x00\x00\x00\x00\x00\x00\x00\x01]\xff{\x06<\x00\x00\x01]\xff{\x06<\
    \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x01\x12\x00\x00\x00\x01\x06123\x00";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnedRecord {
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    pub(super) fn with_ref<T>(&self, f: impl FnOnce(&RecordRef<'_>) -> T) -> T {
        let headers: Vec<_> =
            self.headers.iter().map(|(key, value)| HeaderRef { key, value: value.as_deref() }).collect();
        f(&RecordRef {
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        })
    }
}

/// One to forty records; some repeat themselves, so that there is something to compress.
pub(super) fn some_records() -> impl Strategy<Value = Vec<OwnedRecord>> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..100),
        ("[a-c]{0,5}", 0_usize..200).prop_map(|(part, times)| part.repeat(times).into_bytes()),
    ];
    let headers = vec(("[a-zé]{0,70}", of(vec(any::<u8>(), 0..70))), 0..4);
    let timestamp = prop_oneof![1_700_000_000_000_i64..1_700_000_100_000, any::<i64>()];
    let record = (timestamp, of(bytes.clone()), of(bytes), headers)
        .prop_map(|(timestamp_ms, key, value, headers)| OwnedRecord { timestamp_ms, key, value, headers });
    vec(record, 1..40)
}

/// A batch of these records, not stamped.
pub(super) fn closed(records: &[OwnedRecord], codec: Compression) -> ClosedBatch {
    let mut open = OpenBatch::new(records[0].timestamp_ms, INITIAL_CAPACITY);
    for record in records {
        let pushed = record.with_ref(|record| open.try_push(record, usize::MAX));
        assert!(matches!(pushed, Push::Appended { .. }));
    }
    open.close(codec, None)
}

/// A batch of so many records of nine bytes each (as long as there are no more than ten), not stamped.
pub(super) fn numbered(count: u32, codec: Compression) -> ClosedBatch {
    let record = |number: u32| OwnedRecord {
        timestamp_ms: 1_000,
        key: None,
        value: Some(format!("{number:02}").into_bytes()),
        headers: vec![],
    };
    closed(&(0..count).map(record).collect::<Vec<_>>(), codec)
}

/// Reads a batch back.
pub(super) fn records_of(batch: Bytes) -> Vec<OwnedRecord> {
    let text = |key: &Bytes| String::from_utf8(key.to_vec()).unwrap();
    iterate(batch, usize::MAX)
        .unwrap()
        .map(|record| {
            let record = record.unwrap();
            OwnedRecord {
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(Vec::from),
                value: record.value.map(Vec::from),
                headers: record
                    .headers
                    .iter()
                    .map(|header| (text(&header.key), header.value.clone().map(Vec::from)))
                    .collect(),
            }
        })
        .collect()
}

/// Makes a batch's checksum true again, so that what lies behind it is reached.
pub(super) fn mend_crc(bytes: &mut [u8]) {
    if bytes.len() >= crc::CHECKSUMMED_AT {
        let computed = crc::compute(bytes).to_be_bytes();
        bytes[crc::CHECKSUMMED_AT - 4..crc::CHECKSUMMED_AT].copy_from_slice(&computed);
    }
}

/// Writes what a broker assigns into a batch's bytes. Both fields lie before the checksum, which stays true. Bytes too short
/// for the two are left alone.
pub(super) fn write_base_offset_and_epoch(bytes: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    if let Some((offset, rest)) = bytes.split_first_chunk_mut()
        && let Some((_length, rest)) = rest.split_first_chunk_mut::<4>()
        && let Some(epoch) = rest.first_chunk_mut()
    {
        *offset = base_offset.0.to_be_bytes();
        *epoch = leader_epoch.0.to_be_bytes();
    }
}

/// Gives a whole batch the time of its append: timestamp type, maximum timestamp and a new checksum.
///
/// # Errors
/// As [`BatchHeader::parse`]; the bytes are left alone then.
pub(super) fn set_log_append_time(bytes: &mut [u8], now_ms: i64) -> Result<(), BatchError> {
    let mut header = BatchHeader::parse(bytes)?;
    header.set_log_append_time(now_ms);
    let patched = patched_header(bytes, &header, header.base_offset, header.leader_epoch);
    if let Some(head) = bytes.first_chunk_mut() {
        *head = patched;
    }
    Ok(())
}
