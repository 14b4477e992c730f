//! The four codecs of a batch's records, compressing whole and decompressing piece by piece under a bound in bytes. Each is built by the
//! feature of its name; of one that is not, everything can be said, but nothing read or written.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
mod stream;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;
use std::io::{self, Read};
use std::ops::RangeInclusive;

use super::{BatchError, HEADER_SIZE};
pub(super) use stream::StreamSource;

/// Kafka's range (`compression.gzip.level`).
const GZIP_LEVELS: RangeInclusive<i32> = 1..=9;
/// Kafka's range above zero (`compression.zstd.level`).
const ZSTD_LEVELS: RangeInclusive<i32> = 1..=22;

/// Appends the compressed records to the last argument.
type Compress = fn(&[u8], Option<i32>, &mut Vec<u8>) -> io::Result<()>;

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

    /// Whether it can be used: each codec comes with the feature of its name.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// `None`: there is nothing to do, or the codec is not built.
    fn compressor(self) -> Option<Compress> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => Some(gzip::compress),
            #[cfg(feature = "snappy")]
            Self::Snappy => Some(snappy::compress),
            #[cfg(feature = "lz4")]
            Self::Lz4 => Some(lz4::compress),
            #[cfg(feature = "zstd")]
            Self::Zstd => Some(zstd::compress),
            _ => None,
        }
    }

    /// The levels the codec knows; `None` if it has none. Levels outside are taken for the nearest inside.
    #[must_use]
    pub const fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::None | Self::Snappy | Self::Lz4 => None,
            Self::Gzip => Some(GZIP_LEVELS),
            Self::Zstd => Some(ZSTD_LEVELS),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Compresses a batch: the room of a header, then the compressed records. `None` without compression, or if the result would not be
/// smaller, or if the codec is not built.
pub(super) fn compress_batch(batch: &[u8], codec: Compression, level: Option<i32>) -> Option<Vec<u8>> {
    let records = batch.get(HEADER_SIZE..)?;
    let compress = codec.compressor()?;
    let mut compressed = vec![0; HEADER_SIZE];
    if let Err(error) = compress(records, level, &mut compressed) {
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
        #[cfg(feature = "gzip")]
        Compression::Gzip => read(&mut gzip::reader(compressed)),
        #[cfg(feature = "snappy")]
        Compression::Snappy => read(&mut snappy::Reader::new(compressed)),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => read(&mut lz4::Reader::new(compressed)),
        #[cfg(feature = "zstd")]
        Compression::Zstd => zstd::with_reader(compressed, |reader| read(reader)),
        #[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
        not_built => Err(BatchError::NotBuilt(not_built)),
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
#[cfg(any(feature = "snappy", feature = "lz4"))]
fn invalid(detail: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

#[cfg(test)]
mod tests;
