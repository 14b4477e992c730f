//! Record batches made by hand, right ones and broken ones.

use gapless_common::{
    records::{BatchHeader, Compression, HEADER_SIZE, OpenBatch, RecordRef},
    types::{ProducerEpoch, ProducerId, Sequence},
};

/// Who sends a batch, and where it stands in that sender's stream.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence of the first record.
    pub sequence: i32,
}

/// Timestamp of every hand-made record: a moment of 2025, so that it is neither old nor ahead.
pub const TIMESTAMP_MS: i64 = 1_750_000_000_000;

/// A sound batch of these values without keys; not idempotent without a stamp.
///
/// # Panics
/// If the sequence is negative: use [`altered`] for that.
pub fn batch(values: &[&[u8]], stamp: Option<Stamp>) -> Vec<u8> {
    compressed(values, stamp, Compression::None)
}

/// As [`batch`], compressed.
///
/// # Panics
/// If the sequence is negative.
pub fn compressed(values: &[&[u8]], stamp: Option<Stamp>, compression: Compression) -> Vec<u8> {
    let mut open = OpenBatch::new(TIMESTAMP_MS, 1024);
    for value in values {
        let record = RecordRef { timestamp_ms: TIMESTAMP_MS, key: None, value: Some(value), headers: &[] };
        open.try_push(&record, usize::MAX);
    }
    let mut closed = open.close(compression, None);
    match stamp {
        None => closed.stamp_plain(),
        Some(stamp) => {
            let sequence = Sequence::new(stamp.sequence).expect("a sequence is not negative");
            closed.stamp(ProducerId(stamp.id), ProducerEpoch(stamp.epoch), sequence);
        }
    }
    closed.bytes().to_vec()
}

/// `batch` with its header changed, under a checksum that is right again.
///
/// # Panics
/// If `batch` is none.
pub fn altered(batch: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::parse(batch).expect("a sound batch");
    change(&mut header);
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(&batch[HEADER_SIZE..]);
    with_checksum(bytes)
}

/// A batch under this header whose records are these bytes, whatever they are; length and checksum are set right.
///
/// # Panics
/// If the bytes are more than a batch can hold.
pub fn of_bytes(mut header: BatchHeader, records: &[u8]) -> Vec<u8> {
    let size = HEADER_SIZE - 12 + records.len();
    header.batch_length = i32::try_from(size).expect("a batch is below 2 GiB");
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(records);
    with_checksum(bytes)
}

/// Writes the right checksum into a batch.
pub fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    const CHECKSUM_AT: usize = 17;
    let checksum = crc32c(&bytes[CHECKSUM_AT + 4..]);
    bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// CRC-32C bit by bit, as its definition says: a witness of the fast one.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut crc: u32, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gapless_common::records::check_crc;

    #[test]
    fn the_slow_checksum_and_the_fast_one_agree() {
        // RFC 3720, appendix B.4: 32 bytes of zeros.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        let sound = batch(&[b"one", b"two"], Some(Stamp { id: 7, epoch: 1, sequence: 9 }));
        assert!(check_crc(&sound));
        assert_eq!(with_checksum(sound.clone()), sound);
    }

    #[test]
    fn an_altered_batch_carries_the_change_and_a_right_checksum() {
        let changed = altered(&batch(&[b"one"], None), |header| header.record_count = 5);
        assert_eq!(BatchHeader::parse(&changed).unwrap().record_count, 5);
        assert!(check_crc(&changed));
    }
}
