//! CRC-32C (Castagnoli; CRC-32/ISCSI in catalogues) of a batch: everything from the attributes to the end. Base offset
//! and leader epoch lie before it, so that a broker may write them without touching the checksum.

use super::header::{BATCH_LENGTH_AT, CRC_AT, HEADER_SIZE, LENGTH_PREFIX_SIZE};

/// Where the checksummed bytes begin: the attributes.
pub(super) const CHECKSUMMED_AT: usize = CRC_AT + 4;

/// The checksum of a whole batch's bytes. Bytes too short for a header count as nothing.
pub(super) fn compute(batch: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(batch.get(CHECKSUMMED_AT..).unwrap_or_default())
}

/// The checksum of a batch in two parts: its header from the attributes on, and what follows the header.
pub(super) fn compute_parts(header: &[u8], records: &[u8]) -> u32 {
    let mut checksum = Checksum::default();
    checksum.update(header);
    checksum.update(records);
    checksum.finish()
}

/// The checksum of bytes of which a first part has the checksum `first`, and the `len` bytes behind it have `second`. That
/// takes two thousand steps at most; the crate's own takes longer than the checksum of a megabyte (measured:
/// 100 µs and more), since it multiplies matrices.
pub(super) const fn combine(first: u32, second: u32, len: usize) -> u32 {
    // Bytes behind a part multiply what it is, taken as a polynomial, by x to the power of their bits.
    let mut shift = ONE;
    let mut power = X_TO_THE_EIGHTH;
    let mut rest = len;
    while rest > 0 {
        if rest & 1 == 1 {
            shift = multiply(power, shift);
        }
        power = multiply(power, power);
        rest >>= 1;
    }
    multiply(shift, first) ^ second
}

/// The polynomial of CRC-32C; bits are reflected, so that the highest one stands for 1.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const ONE: u32 = 1 << 31;
const X_TO_THE_EIGHTH: u32 = ONE >> 8;

/// The product of two polynomials modulo that of CRC-32C.
const fn multiply(one: u32, mut other: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if one & bit != 0 {
            product ^= other;
        }
        other = (other >> 1) ^ if other & 1 == 1 { POLYNOMIAL } else { 0 };
        bit >>= 1;
    }
    product
}

/// The checksum of a batch that is not in memory as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Checksum(crc_fast::Digest);

impl Default for Checksum {
    fn default() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }
}

impl Checksum {
    /// Where in a batch the first byte lies that counts.
    pub const STARTS_AT: usize = CHECKSUMMED_AT;

    /// The next bytes, from [`Checksum::STARTS_AT`] on.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// What the header must say ([`super::BatchHeader::crc`]) if these were all the bytes of the batch.
    #[must_use]
    pub fn finish(self) -> u32 {
        // A checksum of 32 bits, handed out as 64.
        self.0.finalize() as u32
    }
}

/// Whether the batch at the start of `bytes` is whole and carries the checksum of its bytes. Says nothing else about it.
#[must_use]
pub fn check_crc(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<HEADER_SIZE>() else { return false };
    let Some(length) = number_at(header, BATCH_LENGTH_AT) else { return false };
    let Some(batch) = bytes.get(..LENGTH_PREFIX_SIZE + length as usize) else { return false };
    batch.len() >= HEADER_SIZE && number_at(header, CRC_AT) == Some(compute(batch))
}

/// The unsigned number of four bytes at `at`. A negative length becomes one that no slice has.
fn number_at(header: &[u8; HEADER_SIZE], at: usize) -> Option<u32> {
    header.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_second_part_shifts_the_first_as_its_bytes_do() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 253) as u8).collect();
        let [first, second] = [&bytes[..40], &bytes[40..]].map(crc_fast::crc32_iscsi);
        assert_eq!(combine(first, second, bytes.len() - 40), crc_fast::crc32_iscsi(&bytes));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn two_parts_have_the_checksum_of_the_whole(first: Vec<u8>, second: Vec<u8>) {
            let whole = [&first[..], &second[..]].concat();
            let combined = combine(crc_fast::crc32_iscsi(&first), crc_fast::crc32_iscsi(&second), second.len());
            prop_assert_eq!(combined, crc_fast::crc32_iscsi(&whole));
        }
    }
}
