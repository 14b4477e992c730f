//! The four codecs of a batch's records, compressing whole and decompressing piece by piece under a bound in bytes.

mod gzip;
mod lz4;
mod snappy;
mod stream;
mod zstd;

use std::fmt;
use std::io::{self, Read};
use std::ops::RangeInclusive;

use super::{BatchError, HEADER_SIZE};
pub(super) use stream::StreamSource;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Deflate in gzip's framing.
    Gzip,
    /// Snappy in the framing of Java's clients (xerial); read raw too, as librdkafka writes it.
    Snappy,
    /// LZ4 in its frame format.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The number in a batch's attributes.
    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The codec with that number.
    #[must_use]
    pub const fn from_id(id: i16) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Kafka's name for it, as in `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Reads what [`Compression::name`] writes.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The levels the codec knows; `None` if it has none. Levels outside are taken for the nearest inside.
    #[must_use]
    pub const fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::None | Self::Snappy | Self::Lz4 => None,
            Self::Gzip => Some(gzip::LEVELS),
            Self::Zstd => Some(zstd::LEVELS),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Compresses a batch: the room of a header, then the compressed records. `None` without compression, or if the result would not be
/// smaller.
pub(super) fn compress_batch(batch: &[u8], codec: Compression, level: Option<i32>) -> Option<Vec<u8>> {
    let records = batch.get(HEADER_SIZE..)?;
    let mut compressed = vec![0; HEADER_SIZE];
    let outcome = match codec {
        Compression::None => return None,
        Compression::Gzip => gzip::compress(records, level, &mut compressed),
        Compression::Snappy => snappy::compress(records, &mut compressed),
        Compression::Lz4 => lz4::compress(records, &mut compressed),
        Compression::Zstd => zstd::compress(records, level, &mut compressed),
    };
    if let Err(error) = outcome {
        // Writing to memory does not fail; should a codec give up all the same, the records still go out as they are.
        tracing::warn!(%codec, %error, "could not compress a batch; sending it uncompressed");
        return None;
    }
    if compressed.len() >= batch.len() {
        return None;
    }
    // What is waiting to be sent should take what it is charged for.
    compressed.shrink_to_fit();
    Some(compressed)
}

/// Gives `read` a reader of the decompressed records. The reader ends where the records end, and fails if they are cut
/// off or not what the codec writes. How much is read is the caller's to bound.
pub(super) fn with_reader<T>(
    codec: Compression,
    compressed: &[u8],
    read: impl FnOnce(&mut dyn Read) -> Result<T, BatchError>,
) -> Result<T, BatchError> {
    match codec {
        Compression::None => read(&mut { compressed }),
        Compression::Gzip => read(&mut gzip::reader(compressed)),
        Compression::Snappy => read(&mut snappy::Reader::new(compressed)),
        Compression::Lz4 => read(&mut lz4::Reader::new(compressed)),
        Compression::Zstd => zstd::with_reader(compressed, |reader| read(reader)),
    }
}

/// Decompresses records whole, into at most `decompressed_max` bytes.
pub(super) fn decompress(
    codec: Compression,
    compressed: &[u8],
    decompressed_max: usize,
) -> Result<Vec<u8>, BatchError> {
    with_reader(codec, compressed, |reader| {
        let mut records = Vec::new();
        // One more than allowed, to see that there is more. The buffer grows with what really comes.
        let limit = u64::try_from(decompressed_max).unwrap_or(u64::MAX).saturating_add(1);
        reader.take(limit).read_to_end(&mut records).map_err(|error| failed(codec, &error))?;
        if records.len() > decompressed_max {
            return Err(BatchError::Expands { codec, decompressed_max });
        }
        Ok(records)
    })
}

fn failed(codec: Compression, error: &io::Error) -> BatchError {
    BatchError::Decompress { codec, detail: error.to_string() }
}

/// Bytes that a codec cannot have written.
fn invalid(detail: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

#[cfg(test)]
mod tests;
