//! The partition log (Write-Ahead Log, Segmented Log, High-Water Mark): the narrow interface through which everything
//! above it appends and reads. In the order in which a batch meets the parts:
//!
//! - [`sequencer`]: append, duplicate, gap or fenced? A pure state machine that assigns the offset.
//! - `append`: writes the batch behind the last one, and rolls segments.
//! - [`flusher`]: group commit. A file with unflushed bytes has one flush under way; what arrives in the meantime forms
//!   its next group. When it is done, the high watermark moves.
//! - [`flush_marks`]: what was flushed is noted, so that recovery can tell a torn tail from corruption.
//! - [`clean_mark`]: where every log ended at a clean stop.
//! - `checkpoint`, `notes`: what is written down now and then so that the next start need not read everything.
//! - `read`: ranges of segment files below the high watermark, found through `index` and `walk`, and `verified` by
//!   `batch_reader` unless this process wrote them.
//! - `timestamps`: offsets by time, through `time_index`; `index_file` is what the files of both indexes share.
//! - [`retention`]: which segments may go, a pure function; `deletion`: carries it out.
//! - [`recovery`]: what is believed of a log after a crash: evidence is gathered, a pure function judges it.
//! - `quarantine`, `losses`, `scrub`: corruption that was found, what of it the operator has accepted, and looking for it.
//! - [`tools`]: what can be done to a log while no broker runs.
//! - [`open_files`]: the files of sealed segments, open up to a bound.
//! - `epochs`, `state_file`, `segment`, `contents`, `summary`, [`error`]: what these need.
//!
//! What must never be: an acknowledged batch that is not in the log, a batch in it twice, a byte below the high watermark
//! that changes, an acknowledgement (under [`Durability::Fsync`]) of what is not on disk.

mod append;
mod batch_reader;
mod checkpoint;
pub mod clean_mark;
mod contents;
mod deletion;
mod epochs;
pub mod error;
pub mod flush_marks;
pub mod flusher;
mod index;
mod index_file;
mod losses;
mod notes;
pub mod open_files;
mod partition;
mod quarantine;
mod read;
pub mod recovery;
pub mod retention;
mod scrub;
mod segment;
pub mod sequencer;
mod state_file;
mod summary;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time_index;
mod timestamps;
pub mod tools;
mod verified;
mod walk;

use std::{path::PathBuf, sync::Arc};

use gapless_common::{
    seam::Spawner,
    types::{PartitionId, TopicId},
};

pub use append::{AppendPolicy, Appended};
pub use clean_mark::CleanMark;
pub use deletion::Reclaimed;
pub use error::{OpenError, ReadError, Refusal, StorageError};
pub use flush_marks::FlushMarks;
pub use flusher::{FlushObserver, Flusher};
pub use losses::{Loss, Losses};
pub use open_files::OpenFiles;
pub use partition::{PartitionLog, State};
pub use recovery::{Prior, RecoveryReport, verdict::Boot};
pub use scrub::Scrubbed;

use crate::storage::{Files, spare::Spare};

/// Bytes between two entries of an offset index: Kafka's default of `index.interval.bytes`.
pub const INDEX_INTERVAL_BYTES_DEFAULT: u64 = 4096;

/// Producers that one partition remembers: some 30 MB at the most (five batches each, 250 bytes in all).
pub const PRODUCERS_MAX_DEFAULT: usize = 100_000;

/// What acks=all waits for, and what consumers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The disk.
    Fsync,
    /// The page cache; flushes happen in the background.
    Os,
}

impl Durability {
    /// As the flag and the metric spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
        }
    }

    /// What acks=all waits for, for people.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Fsync => "the disk (--durability fsync)",
            Self::Os => "the page cache (--durability os): a power loss can take what was acknowledged",
        }
    }
}

/// How a log behaves.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Size from which on the next batch begins a new segment; at most 2^31 − 1.
    pub segment_bytes: u64,
    /// Bytes between two entries of an offset index.
    pub index_interval_bytes: u64,
    /// A producer is forgotten so long after its last batch.
    pub producer_id_expiration_ms: i64,
    /// Producers that are remembered; past it new ones are refused, retriably.
    pub producers_max: usize,
    /// What a batch waits for.
    pub durability: Durability,
    /// Bytes after which a checkpoint is taken: about so many are read of a partition after a crash.
    pub checkpoint_interval_bytes: u64,
}

/// Which partition a log is of, and where it lies.
#[derive(Debug, Clone)]
pub struct Site {
    /// The topic's name.
    pub topic: String,
    /// The topic's identity: what is noted of a partition is that one's, not that of another with the same name.
    pub topic_id: TopicId,
    /// The partition's number.
    pub partition: PartitionId,
    /// Its directory, relative to the data directory.
    pub directory: PathBuf,
}

impl Site {
    fn mark_key(&self) -> flush_marks::MarkKey {
        flush_marks::MarkKey { topic: self.topic_id, partition: self.partition }
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What all logs of a broker share.
#[derive(Clone)]
pub struct LogEnvironment {
    /// The data directory, as [`OpenFiles::shedding`] gives it.
    pub files: Arc<dyn Files>,
    /// The task that flushes.
    pub flusher: Flusher,
    /// For what must get to its end whoever began it.
    pub spawner: Spawner,
    /// The files of sealed segments.
    pub open_files: OpenFiles,
    /// Room for what must be written before a full disk is freed.
    pub spare: Spare,
}
