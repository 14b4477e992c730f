//! Gzip, by zlib-rs. Several members in a row are one stream, as Java reads them.

use std::io::{self, Read, Write as _};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::GZIP_LEVELS as LEVELS;

/// Kafka's default, and zlib's.
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
