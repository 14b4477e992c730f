//! What the machine can do at most: loopback, page cache, disk, checksum. Measured with the fewest means, so that nothing of
//! ours is in it.

mod checksum;
mod files;
mod loopback;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::failure::Outcome;
use crate::run::{Latency, tell};

/// Measures the machine, and prints what was found as JSON.
#[derive(Debug, Args)]
pub struct RawArgs {
    /// Directory for files of some hundred megabytes, which are removed at the end
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    parts: Vec<Part>,
    /// How long each figure is measured
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Sizes of what is appended before each fdatasync
    #[arg(long, value_delimiter = ',', default_values_t = [4 * KIB, 64 * KIB, 1024 * KIB])]
    sync_bytes: Vec<usize>,
}

/// One of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One TCP stream over loopback
    Stream,
    /// 64 bytes there and back, blocking threads
    RoundTrip,
    /// Writing to page cache
    PageCache,
    /// Append and fdatasync
    Sync,
    /// CRC-32C
    Checksum,
}

impl Part {
    const ALL: [Self; 5] = [Self::Stream, Self::RoundTrip, Self::PageCache, Self::Sync, Self::Checksum];
}

impl std::fmt::Display for Part {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

const KIB: usize = 1024;
/// Sizes of writes for streams and page cache.
const WRITES: [usize; 2] = [1024 * KIB, 64 * KIB];

/// What was found; empty where it was not asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Limits {
    pub stream: Vec<Stream>,
    pub round_trip_ms: Option<Latency>,
    pub page_cache: Vec<PageCache>,
    pub sync: Vec<Sync>,
    pub crc_gb_per_second: Option<f64>,
}

/// One TCP stream over loopback.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stream {
    pub write_bytes: usize,
    pub gb_per_second: f64,
}

/// Writes to a file without flushing it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PageCache {
    pub write_bytes: usize,
    /// Into a new file.
    pub cold_gb_per_second: f64,
    /// Over what is cached.
    pub over_gb_per_second: f64,
}

/// Append and fdatasync, one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sync {
    pub write_bytes: usize,
    pub latency_ms: Latency,
    pub mb_per_second: f64,
}

impl RawArgs {
    pub fn run(self) -> Outcome<()> {
        tell(&self.measure()?)
    }

    fn measure(&self) -> Outcome<Limits> {
        let mut limits = Limits::default();
        for part in &self.parts {
            match part {
                Part::Stream => {
                    for write_bytes in WRITES {
                        let gb_per_second = loopback::stream(write_bytes, self.seconds)?;
                        limits.stream.push(Stream { write_bytes, gb_per_second });
                    }
                }
                Part::RoundTrip => limits.round_trip_ms = Some(loopback::round_trip(self.seconds)?),
                Part::PageCache => {
                    for write_bytes in WRITES {
                        limits.page_cache.push(files::page_cache(&self.dir, write_bytes)?);
                    }
                }
                Part::Sync => {
                    for write_bytes in &self.sync_bytes {
                        limits.sync.push(files::append_and_sync(&self.dir, *write_bytes, self.seconds)?);
                    }
                }
                Part::Checksum => limits.crc_gb_per_second = Some(checksum::rate(self.seconds)),
            }
        }
        Ok(limits)
    }
}
