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

/// The checksum of a batch that is not in memory as a whole.
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
