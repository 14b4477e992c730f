//! What the files of both indexes of a segment have in common: magic, format version u32, fields of a fixed size (the summary of
//! what is indexed comes first), CRC-32 u32 of all that and of the entries behind it. Big-endian.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use gapless_common::seeded_bug::{SeededBug, is_on};

/// One kind of file.
pub(super) struct Format {
    pub magic: [u8; 4],
    pub version: u32,
    /// Bytes of the fields.
    pub fields_size: usize,
    /// Bytes of one entry.
    pub entry_size: usize,
}

/// Magic and version.
const PREFIX_SIZE: usize = 8;
const CRC_SIZE: usize = 4;

impl Format {
    /// Bytes before the first entry.
    pub(super) const fn header_size(&self) -> usize {
        PREFIX_SIZE + self.fields_size + CRC_SIZE
    }

    pub(super) fn encode(&self, fields: &[u8], entries: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.header_size() + entries.len());
        bytes.put_slice(&self.magic);
        bytes.put_u32(self.version);
        bytes.put_slice(fields);
        let crc = checksum(&bytes, entries);
        bytes.put_u32(crc);
        bytes.put_slice(entries);
        bytes.freeze()
    }

    /// Fields and entries; `None` unless [`Format::encode`] made it.
    pub(super) fn decode(&self, bytes: &Bytes) -> Option<(Bytes, Bytes)> {
        let header = bytes.get(..self.header_size())?;
        let entries = bytes.slice(self.header_size()..);
        let (checked, mut crc) = header.split_at_checked(PREFIX_SIZE + self.fields_size)?;
        if crc.get_u32() != checksum(checked, &entries) && !is_on(SeededBug::TrustCorruptIndex) {
            return None;
        }
        let (magic, mut version) = checked.get(..PREFIX_SIZE)?.split_at_checked(self.magic.len())?;
        let whole = entries.len().is_multiple_of(self.entry_size);
        let known = magic == self.magic && version.get_u32() == self.version && whole;
        known.then(|| (bytes.slice(PREFIX_SIZE..PREFIX_SIZE + self.fields_size), entries))
    }
}

fn checksum(header: &[u8], entries: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(entries);
    hasher.finalize()
}
