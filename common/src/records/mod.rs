//! Record batches, magic 2: the unit in which records are built, sent, stored and read.
//!
//! A record's way through this module:
//! - [`OpenBatch`]: a producer encodes each record straight into one growing buffer;
//! - [`ClosedBatch`]: compressed, then stamped with the producer's identity and checksummed; its bytes are final and shared by
//!   every retry; [`ClosedBatch::split`] after MESSAGE_TOO_LARGE;
//! - [`validate_from_client`]: what a broker checks before it believes a batch; [`patched_header`] is what it then writes in front
//!   of the received records;
//! - [`batches`] and [`iterate`]: a consumer takes fetched bytes apart, without copying them.
//!
//! Bytes from outside never cause a panic here, nor memory in proportion to a length they announce.

mod closed_batch;
mod compression;
mod crc;
mod error;
mod fast_walk;
mod header;
mod iterate;
mod open_batch;
mod split;
#[cfg(test)]
mod testing;
mod validate;
mod varint;
mod walk;
#[cfg(test)]
mod witness;

pub use closed_batch::ClosedBatch;
pub use compression::Compression;
pub use crc::{Checksum, check_crc};
pub use error::{BatchError, RecordFault};
pub use header::{
    Attributes, BatchHeader, HEADER_SIZE, LENGTH_PREFIX_SIZE, MAGIC, TimestampType, patched_header,
};
pub use iterate::{Batches, Header, Record, Records, batches, iterate};
pub use open_batch::{HeaderRef, INITIAL_CAPACITY, OpenBatch, Push, RecordRef};
pub use validate::{BatchLimits, DECOMPRESSED_MAX, validate_from_client};
