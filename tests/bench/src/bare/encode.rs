//! Records into a batch of version 2, written as plainly as it goes.

/// Bytes of a batch before its first record.
const HEADER_SIZE: usize = 61;
/// What counts for `batch_length` begins here.
const LENGTH_END: usize = 12;
/// The checksum counts what follows it.
const CRC_AT: usize = 17;
const CHECKSUMMED_AT: usize = 21;
/// What stands around a value takes at most so many bytes.
const RECORD_HEAD_MAX: usize = 32;

/// A batch under construction, in a buffer that is used again.
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the next record begins.
    end: usize,
    records: u32,
    timestamp_ms: i64,
}

impl Batch {
    pub fn new(size_max: usize) -> Self {
        Self { bytes: vec![0; size_max], end: HEADER_SIZE, records: 0, timestamp_ms: 0 }
    }

    /// Empties it.
    pub const fn begin(&mut self, timestamp_ms: i64) {
        (self.end, self.records, self.timestamp_ms) = (HEADER_SIZE, 0, timestamp_ms);
    }

    /// Adds a record with this value unless the batch would grow beyond its limit.
    pub fn push(&mut self, value: &[u8]) -> bool {
        let room_max = RECORD_HEAD_MAX + value.len();
        let Some(room) = self.bytes.get_mut(self.end..self.end + room_max) else { return false };
        // Attributes and timestamp delta take a byte each, a null key one, no headers one.
        let body = 4 + size(u64::from(self.records)) + size(value.len() as u64) + value.len();
        let mut at = write(room, 0, body as u64);
        room[at] = 0;
        room[at + 1] = 0;
        at = write(room, at + 2, u64::from(self.records));
        room[at] = 1; // -1 as zigzag: no key
        at = write(room, at + 1, value.len() as u64);
        room[at..at + value.len()].copy_from_slice(value);
        at += value.len();
        room[at] = 0;
        self.end += at + 1;
        self.records += 1;
        true
    }

    pub const fn records(&self) -> u32 {
        self.records
    }

    /// Writes the head and the checksum.
    pub fn close(&mut self) -> &[u8] {
        let bytes = &mut self.bytes[..self.end];
        let length = (bytes.len() - LENGTH_END) as u32;
        let last = self.records.saturating_sub(1);
        let mut head = Vec::with_capacity(HEADER_SIZE);
        head.extend_from_slice(&0_i64.to_be_bytes()); // base offset
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(&(-1_i32).to_be_bytes()); // leader epoch
        head.push(2); // magic
        head.extend_from_slice(&[0; 4]); // the checksum's place
        head.extend_from_slice(&0_i16.to_be_bytes()); // attributes
        head.extend_from_slice(&last.to_be_bytes());
        head.extend_from_slice(&self.timestamp_ms.to_be_bytes()); // first
        head.extend_from_slice(&self.timestamp_ms.to_be_bytes()); // last
        head.extend_from_slice(&(-1_i64).to_be_bytes()); // producer id
        head.extend_from_slice(&(-1_i16).to_be_bytes()); // producer epoch
        head.extend_from_slice(&(-1_i32).to_be_bytes()); // sequence
        head.extend_from_slice(&self.records.to_be_bytes());
        bytes[..HEADER_SIZE].copy_from_slice(&head);
        let crc = crc_fast::crc32_iscsi(&bytes[CHECKSUMMED_AT..]);
        bytes[CRC_AT..CHECKSUMMED_AT].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

/// Whether a batch carries the checksum of its bytes.
pub fn is_whole(batch: &[u8]) -> bool {
    let (Some(crc), Some(rest)) = (batch.get(CRC_AT..CHECKSUMMED_AT), batch.get(CHECKSUMMED_AT..)) else {
        return false;
    };
    crc_fast::crc32_iscsi(rest).to_be_bytes() == crc
}

/// Bytes of a number that is not negative as a zigzag varint.
const fn size(number: u64) -> usize {
    let bits = 64 - (number << 1 | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes it; where it ends.
fn write(to: &mut [u8], mut at: usize, number: u64) -> usize {
    let mut rest = number << 1;
    while rest >= 0x80 {
        to[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    to[at] = rest as u8;
    at + 1
}

#[cfg(test)]
mod tests {
    use gapless_common::records::{BatchLimits, iterate, validate_from_client};

    use super::*;
    use crate::values::Values;

    #[test]
    fn a_batch_is_what_a_broker_takes() {
        let values = Values::new(100);
        let mut batch = Batch::new(16_384);
        for round in 0..2 {
            batch.begin(1_700_000_000_000 + round);
            let mut pushed = 0;
            while batch.push(values.get(pushed)) {
                pushed += 1;
            }
            assert_eq!(u64::from(batch.records()), pushed);
            assert!(pushed > 140, "{pushed} records of 100 bytes in 16 KB");
            let bytes = batch.close();
            assert!(is_whole(bytes));
            validate_from_client(bytes, &BatchLimits::default()).unwrap();
            let read: Vec<_> = iterate(bytes.to_vec().into(), 1 << 20)
                .unwrap()
                .map(|record| record.unwrap().value.unwrap().to_vec())
                .collect();
            assert_eq!(read.len() as u64, pushed);
            assert!((0..pushed).all(|number| read[number as usize] == values.get(number)));
        }
    }

    #[test]
    fn numbers_are_as_long_as_is_said() {
        for number in [0, 1, 63, 64, 127, 128, 8191, 8192, 1 << 20, (1 << 27) - 1, 1 << 27] {
            assert_eq!(write(&mut [0; 12], 0, number), size(number), "{number}");
        }
    }
}
