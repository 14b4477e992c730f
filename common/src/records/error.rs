//! Why a batch is refused, with the number, the limit and the remedy, and Kafka's code for it.

use super::{Compression, HEADER_SIZE};
use crate::error_code::ErrorCode;

/// What is wrong with a batch of records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not a byte.
    #[error("there is no record batch; send exactly one for each partition of a request")]
    Empty,
    /// Fewer bytes than a header, or than the batch's own length announces.
    #[error("record batch is cut off: it needs {needed} bytes and {available} are here")]
    Truncated {
        /// Bytes the batch needs.
        needed: usize,
        /// Bytes there are.
        available: usize,
    },
    /// A length that cannot even hold the header.
    #[error(
        "record batch announces a length of {0} bytes, below the {min} of its header",
        min = super::header::BATCH_LENGTH_MIN
    )]
    Length(i32),
    /// Something other than one batch.
    #[error(
        "{available} bytes of records hold a batch of {batch} bytes and more behind it; \
         send exactly one batch for each partition of a request"
    )]
    NotOneBatch {
        /// Bytes of the first batch.
        batch: usize,
        /// Bytes there are.
        available: usize,
    },
    /// A format older (or newer) than this.
    #[error("record batch has magic {0}; only magic 2 (clients since Kafka 0.11) is served")]
    Magic(i8),
    /// The checksum does not match the bytes: they were damaged on their way or on disk.
    #[error("record batch is damaged: its CRC-32C is {stored:#010x} and its bytes give {computed:#010x}")]
    Crc {
        /// As the header says.
        stored: u32,
        /// As the bytes are.
        computed: u32,
    },
    /// Offsets are given out by the broker.
    #[error("record batch has base offset {0}; a client must send 0")]
    BaseOffset(i64),
    /// Record count and last offset delta contradict each other, or there is no record.
    #[error(
        "record batch announces {record_count} records and a last offset delta of {last_offset_delta}; \
         the count must be at least 1 and the delta one less"
    )]
    Count {
        /// As the header says.
        record_count: i32,
        /// As the header says.
        last_offset_delta: i32,
    },
    /// A compression codec that nobody has defined.
    #[error(
        "record batch is compressed with codec {0}; known are 0 none, 1 gzip, 2 snappy, 3 lz4 and 4 zstd"
    )]
    Codec(i16),
    /// Control batches are a broker's.
    #[error("record batch is marked as a control batch; clients must not write those")]
    Control,
    /// Transactions are not served.
    #[error(
        "record batch is transactional and this broker serves no transactions; \
         configure the producer without transactional.id"
    )]
    Transactional,
    /// Delete horizons are a log cleaner's.
    #[error("record batch carries a delete horizon; clients must not set one")]
    DeleteHorizon,
    /// Append time is a broker's to set.
    #[error("record batch has timestamp type LogAppendTime; a client must send CreateTime")]
    TimestampType,
    /// A producer id without what belongs to it.
    #[error(
        "record batch of producer id {producer_id} has epoch {producer_epoch} and base sequence {base_sequence}; \
         neither may be negative"
    )]
    Producer {
        /// As the header says.
        producer_id: i64,
        /// As the header says.
        producer_epoch: i16,
        /// As the header says.
        base_sequence: i32,
    },
    /// A record that cannot be read.
    #[error("record {index} of the batch {fault}")]
    Record {
        /// Which record, from 0.
        index: u32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// The batch goes on after its last record.
    #[error("record batch goes on after the {record_count} records that its header announces")]
    MoreThanCounted {
        /// As the header says.
        record_count: i32,
    },
    /// Compressed bytes that their codec cannot read.
    #[error("record batch cannot be decompressed as {codec}: {detail}")]
    Decompress {
        /// The batch's codec.
        codec: Compression,
        /// What the codec says.
        detail: String,
    },
    /// A codec that this program was built without.
    #[error(
        "record batch is compressed with {0}, which this program was built without (feature {0} of its crate)"
    )]
    NotBuilt(Compression),
    /// Decompression reached its bound.
    #[error(
        "record batch expands to more than {decompressed_max} bytes ({codec}), the most that is decompressed; \
         send smaller batches (--batch-size)"
    )]
    Expands {
        /// The batch's codec.
        codec: Compression,
        /// The bound in bytes.
        decompressed_max: usize,
    },
}

/// What is wrong with one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// The batch ends inside the record.
    #[error("is cut off by the end of the batch")]
    Truncated,
    /// An integer of more bytes than its type can need.
    #[error("holds an integer of too many bytes")]
    Integer,
    /// The fields do not add up to the length in front of them.
    #[error("has {actual} bytes of fields where its length says {announced}")]
    Length {
        /// As the record says.
        announced: i32,
        /// As its fields are.
        actual: u64,
    },
    /// The length goes on behind the last field.
    #[error("has {0} bytes behind its last field")]
    Unread(usize),
    /// Records of a client are numbered without gaps.
    #[error("has offset delta {0}, which is not its place in the batch")]
    OffsetDelta(i32),
    /// A negative number of headers.
    #[error("announces {0} headers")]
    HeaderCount(i32),
    /// A header's key must not be null.
    #[error("has a header whose key has length {0}")]
    HeaderKey(i32),
}

impl BatchError {
    pub(super) const fn no_header(available: usize) -> Self {
        Self::Truncated { needed: HEADER_SIZE, available }
    }

    /// The code that a Produce response carries for this.
    ///
    /// Damaged bytes get 2, which clients send again; everything else is final for the records. What expands too far
    /// gets 10, because clients split the batch then. A transactional batch gets 53, which ends a transactional
    /// producer at once (in Java a fatal error), where 87 would only fail the batch.
    #[must_use]
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. } | Self::Length(_) | Self::Crc { .. } => ErrorCode::CORRUPT_MESSAGE,
            Self::Expands { .. } => ErrorCode::MESSAGE_TOO_LARGE,
            Self::Codec(_) | Self::NotBuilt(_) => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            Self::Transactional => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            Self::TimestampType => ErrorCode::INVALID_TIMESTAMP,
            Self::Empty
            | Self::NotOneBatch { .. }
            | Self::Magic(_)
            | Self::BaseOffset(_)
            | Self::Count { .. }
            | Self::Control
            | Self::DeleteHorizon
            | Self::Producer { .. }
            | Self::Record { .. }
            | Self::MoreThanCounted { .. }
            | Self::Decompress { .. } => ErrorCode::INVALID_RECORD,
        }
    }
}
