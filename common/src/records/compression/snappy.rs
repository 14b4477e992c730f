//! Snappy, which Kafka's clients frame in two ways: those on Java (and Go's Sarama, kafka-python) as snappy-java's
//! `SnappyOutputStream`, called xerial after its maker; librdkafka not at all. Consumers of either kind read both, and so does this; it writes xerial.
//!
//! A xerial stream: 8 bytes magic, version and lowest compatible version (i32 each), then blocks, each an i32 length and so
//! many bytes of raw snappy. Streams may follow each other, header and all.

use std::io::{self, Read};

use super::invalid;

const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Version 1, readable since version 1; big-endian like the block lengths.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// snappy-java's default.
const BLOCK_SIZE: usize = 32 * 1024;

/// The most that one byte of raw snappy can become: a copy of 64 bytes takes three. Tells apart an announced length that can be
/// true before memory is set aside for it.
const EXPANSION_MAX: usize = 22;

pub(super) fn compress(records: &[u8], _level: Option<i32>, out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(BLOCK_SIZE) {
        let length_at = out.len();
        let block_at = length_at + 4;
        out.resize(block_at + snap::raw::max_compress_len(block.len()), 0);
        let room = out.get_mut(block_at..).unwrap_or_default();
        let written = encoder.compress(block, room).map_err(io::Error::from)?;
        // At most some 38 KB.
        let length = u32::try_from(written).map_err(invalid)?;
        if let Some(slot) = out.get_mut(length_at..block_at) {
            slot.copy_from_slice(&length.to_be_bytes());
        }
        out.truncate(block_at + written);
    }
    Ok(())
}

/// Reads either framing, a block at a time.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    xerial: bool,
    decoder: snap::raw::Decoder,
    block: Vec<u8>,
    /// How much of the block has been read.
    next: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(compressed: &'a [u8]) -> Self {
        let xerial = compressed.starts_with(XERIAL_MAGIC);
        let decoder = snap::raw::Decoder::new();
        Self { rest: compressed, xerial, decoder, block: Vec::new(), next: 0 }
    }

    /// The next block as it is compressed; `None` at the end.
    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.xerial {
            // All of it is one block.
            let block = std::mem::take(&mut self.rest);
            return Ok((!block.is_empty()).then_some(block));
        }
        while let Some(after_magic) = self.rest.strip_prefix(XERIAL_MAGIC) {
            self.rest = after_magic.get(XERIAL_VERSIONS.len()..).ok_or_else(cut_off)?;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (length, rest) = self.rest.split_first_chunk().ok_or_else(cut_off)?;
        let length = i32::from_be_bytes(*length);
        let length = usize::try_from(length).map_err(|_| invalid(format!("a block of {length} bytes")))?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(Some(block))
    }

    fn decompress(&mut self, block: &[u8]) -> io::Result<()> {
        let announced = snap::raw::decompress_len(block).map_err(io::Error::from)?;
        if announced > block.len().saturating_mul(EXPANSION_MAX) {
            return Err(invalid(format!("a block of {} bytes cannot become {announced}", block.len())));
        }
        self.block.resize(announced, 0);
        self.next = 0;
        self.decoder.decompress(block, &mut self.block).map_err(io::Error::from)?;
        Ok(())
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "cut off inside a block")
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.next == self.block.len() {
            let Some(block) = self.next_block()? else { return Ok(0) };
            self.decompress(block)?;
        }
        let mut ready = self.block.get(self.next..).unwrap_or_default();
        let read = ready.read(out)?;
        self.next += read;
        Ok(read)
    }
}
