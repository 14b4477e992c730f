//! Record batches: whatever a client sends is judged without a panic, and what is judged sound can be read in full.

use bytes::Bytes;
use gapless_common::records::{BatchLimits, batches, iterate, validate_from_client};

use crate::Outcome;

/// Bytes to which a batch may expand here: less than in service, so that a case stays quick.
const DECOMPRESSED_MAX: usize = 1 << 20;

/// Sets the checksum of every batch right, as far as one follows the other: what is judged behind it is reached, too.
pub fn with_right_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    const LENGTH: std::ops::Range<usize> = 8..12;
    const CHECKSUM: std::ops::Range<usize> = 17..21;
    let mut rest = bytes.as_mut_slice();
    while let Some(length) = rest.get(LENGTH).and_then(|length| length.try_into().ok()) {
        let size = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0) + LENGTH.end;
        let Some((batch, after)) = rest.split_at_mut_checked(size) else { break };
        let Some(checked) = batch.get(CHECKSUM.end..).map(crc_fast::crc32_iscsi) else { break };
        batch[CHECKSUM].copy_from_slice(&checked.to_be_bytes());
        rest = after;
    }
    bytes
}

/// Bytes as the records of one partition.
///
/// # Panics
/// If a batch that was judged sound cannot be read, or says something else when read.
pub fn records(bytes: &[u8]) -> Outcome {
    let first = judge(bytes);
    match judge(&with_right_checksums(bytes.to_vec())) {
        Outcome::Taken => Outcome::Taken,
        Outcome::Refused => first,
    }
}

fn judge(bytes: &[u8]) -> Outcome {
    let shared = Bytes::copy_from_slice(bytes);
    // A consumer's way, whatever the checksum says: each item or an error, and an end.
    for batch in batches(shared.clone()) {
        let Ok((_, batch)) = batch else { break };
        if let Ok(records) = iterate(batch, DECOMPRESSED_MAX) {
            records.for_each(drop);
        }
    }
    let limits = BatchLimits { decompressed_max: DECOMPRESSED_MAX };
    let Ok(header) = validate_from_client(bytes, &limits) else { return Outcome::Refused };
    let read: Result<Vec<_>, _> =
        iterate(shared, DECOMPRESSED_MAX).expect("a sound batch can be opened").collect();
    let read = read.expect("a sound batch can be read to its end");
    assert_eq!(read.len(), usize::try_from(header.record_count).expect("a sound count is positive"));
    for (at, record) in (0_i64..).zip(&read) {
        assert_eq!(record.offset.0, at);
    }
    assert_eq!(read.iter().map(|record| record.timestamp_ms).max(), Some(header.max_timestamp));
    Outcome::Taken
}
