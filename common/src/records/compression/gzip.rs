//! Gzip, by zlib-rs. Several members in a row are one stream, as Java reads them.

use std::io::{self, Read, Write as _};
use std::ops::RangeInclusive;

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

/// Kafka's range (`compression.gzip.level`); its default is zlib's, 6.
pub(super) const LEVELS: RangeInclusive<i32> = 1..=9;
const LEVEL_DEFAULT: i32 = 6;

pub(super) fn compress(records: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.unwrap_or(LEVEL_DEFAULT).clamp(*LEVELS.start(), *LEVELS.end());
    let mut encoder = GzEncoder::new(out, flate2::Compression::new(level.unsigned_abs()));
    encoder.write_all(records)?;
    encoder.finish()?;
    Ok(())
}

pub(super) fn reader(compressed: &[u8]) -> impl Read {
    MultiGzDecoder::new(compressed)
}
