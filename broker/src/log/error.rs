//! Why a log says no.

use std::{io, path::PathBuf, sync::Arc};

use gapless_common::{error_code::ErrorCode, types::Offset};

use super::sequencer;

/// Why a batch was not appended: Kafka's code and the sentence that a client may print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// Kafka's code.
    pub code: ErrorCode,
    /// Numbers, limit, remedy.
    pub why: String,
}

impl Refusal {
    /// A code and its reason.
    #[must_use]
    pub fn new(code: ErrorCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

impl From<sequencer::Refusal> for Refusal {
    fn from(refusal: sequencer::Refusal) -> Self {
        Self::new(refusal.error_code(), refusal.to_string())
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        Self::new(error.error_code(), error.to_string())
    }
}

/// What keeps a partition from writing or reading.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// No room for this batch. Nothing of it is in the log, and writes go on once there is room.
    #[error("the disk is full: free some space, writes go on by themselves ({source})")]
    Full {
        /// The operating system's words.
        source: Arc<io::Error>,
    },
    /// A step before the write failed (opening a new segment); the log is as it was.
    #[error("{step} failed: {source}")]
    Step {
        /// What was attempted.
        step: String,
        /// The operating system's words.
        source: Arc<io::Error>,
    },
    /// A write or a flush failed for good.
    #[error("the partition is offline: {why}; mend the disk and restart the broker")]
    Offline {
        /// What failed.
        why: Arc<str>,
    },
    /// Corruption was found.
    #[error(
        "the partition is quarantined at offset {at}: {why}; stop the broker, see what is lost with `gapless-broker log \
         check` and go on without it by `gapless-broker log repair`"
    )]
    Quarantined {
        /// Offset from which on nothing is served.
        at: Offset,
        /// What was found, with file and position.
        why: Arc<str>,
    },
    /// The topic was deleted.
    #[error("the topic was deleted")]
    Retired,
    /// The broker is stopping.
    #[error("the log is closed: the broker is stopping")]
    Closed,
}

impl StorageError {
    /// Kafka's code.
    #[must_use]
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::Retired => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            _ => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }

    pub(super) fn step(step: impl Into<String>, source: io::Error) -> Self {
        let source = Arc::new(source);
        if crate::storage::is_full(&source) {
            Self::Full { source }
        } else {
            Self::Step { step: step.into(), source }
        }
    }
}

/// Why a read was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log.
    #[error("offset {from} is not in the log, which goes from {log_start} to {end}")]
    OutOfRange {
        /// What was asked for.
        from: Offset,
        /// The first offset there is.
        log_start: Offset,
        /// The offset after the last one.
        end: Offset,
    },
    /// The partition cannot be read there.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReadError {
    /// Kafka's code.
    #[must_use]
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
            Self::Storage(error) => error.error_code(),
        }
    }
}

/// Why a partition's directory can be neither opened nor created. What is wrong inside it, or with the disk below it, never
/// stops the broker: such a log opens offline or quarantined.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {path}: {source}")]
pub struct OpenError {
    /// What was attempted.
    pub step: &'static str,
    /// Relative to the data directory.
    pub path: PathBuf,
    /// The operating system's words.
    pub source: io::Error,
}
