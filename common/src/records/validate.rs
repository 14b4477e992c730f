//! What a broker checks before it believes a batch of records. Everything that clients of Apache Kafka send is accepted, and what is
//! stricter than Kafka is so on purpose: see [`validate_from_client`].

use super::compression::{self, StreamSource};
use super::crc::Checksum;
use super::fast_walk::FastWalk;
use super::walk::{Stopped, StreamFault, walk};
use super::{BatchError, BatchHeader, Compression, HEADER_SIZE, RecordFault, TimestampType};
use crate::types::ProducerId;

/// How far a compressed batch may expand while it is checked or read: honest data can shrink a thousandfold, so
/// the bound is in bytes and never a ratio.
pub const DECOMPRESSED_MAX: usize = 64 * 1024 * 1024;

/// Bytes that are checksummed, and then walked through, at once: half of the smallest first-level cache there is today.
const STEP: usize = 16 * 1024;

/// Bounds of the check that are not a topic's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes to which the records of one batch may expand.
    pub decompressed_max: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { decompressed_max: DECOMPRESSED_MAX }
    }
}

/// Checks the records that a client sent for one partition: exactly one batch, sound in itself. Not checked, because they come
/// after the search for duplicates: sizes, sequences, and what the topic asks for (timestamps, codecs).
///
/// The header comes back as it was received, but for `max_timestamp`, which is what the records say: Sarama never sets the
/// header's, and Apache Kafka corrects it silently (`LogValidator`). [`super::patched_header`] writes the corrected one.
///
/// Stricter than Kafka, which no known client notices: offset deltas must be 0, 1, 2 … (Kafka
/// stores wrong ones as they are, or compresses anew), a producer id needs an epoch, neither a delete horizon nor LogAppendTime may be
/// set, and no bytes may follow the end of an lz4 frame.
///
/// # Errors
/// The first thing found wrong; [`BatchError::error_code`] is the answer to the client.
pub fn validate_from_client(bytes: &[u8], limits: &BatchLimits) -> Result<BatchHeader, BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::Empty);
    }
    let mut header = BatchHeader::parse(bytes)?;
    let size = header.total_size();
    if size > bytes.len() {
        return Err(BatchError::Truncated { needed: size, available: bytes.len() });
    }
    if size < bytes.len() {
        return Err(BatchError::NotOneBatch { batch: size, available: bytes.len() });
    }
    let records = bytes.get(HEADER_SIZE..).unwrap_or_default();
    // Told only when the checksum is right: before that it need not be the sender's mistake.
    let (count, codec) = (check_header(&header), header.attributes.compression());
    let mut walk = match (&count, &codec) {
        (Ok(record_count), Ok(Compression::None)) => {
            Some(FastWalk::new(records, *record_count, header.base_timestamp))
        }
        _ => None,
    };
    let computed = checksum(bytes, &mut walk);
    if computed != header.crc {
        return Err(BatchError::Crc { stored: header.crc, computed });
    }
    let record_count = count?;
    header.max_timestamp = match (walk, codec?) {
        (Some(walk), _) => {
            let walked = walk.finish().map_err(|stopped| in_record(stopped.index, stopped.error))?;
            walked.ok_or(BatchError::MoreThanCounted { record_count: header.record_count })?.max_timestamp
        }
        (None, codec) => walk_compressed(codec, records, record_count, &header, limits.decompressed_max)?,
    };
    Ok(header)
}

/// The checksum of a batch; the walk follows it closely, since the bytes of a large batch come from far away each time that
/// it is passed through from end to end.
fn checksum(batch: &[u8], walk: &mut Option<FastWalk<'_>>) -> u32 {
    let mut checksum = Checksum::default();
    let mut walked = Checksum::STARTS_AT;
    for step in batch.get(Checksum::STARTS_AT..).unwrap_or_default().chunks(STEP) {
        checksum.update(step);
        walked += step.len();
        if let Some(walk) = walk {
            walk.walk_until(walked.saturating_sub(HEADER_SIZE));
        }
    }
    checksum.finish()
}

fn walk_compressed(
    codec: Compression,
    records: &[u8],
    record_count: u32,
    header: &BatchHeader,
    decompressed_max: usize,
) -> Result<i64, BatchError> {
    compression::with_reader(codec, records, |reader| {
        let mut source = StreamSource::new(reader, codec, decompressed_max);
        match walk(&mut source, record_count, header.base_timestamp) {
            Ok(Some(walked)) => Ok(walked.max_timestamp),
            Ok(None) => Err(BatchError::MoreThanCounted { record_count: header.record_count }),
            Err(Stopped { index, error: StreamFault::Record(fault) }) => Err(in_record(index, fault)),
            Err(Stopped { error: StreamFault::Batch(error), .. }) => Err(error),
        }
    })
}

const fn in_record(index: u32, fault: RecordFault) -> BatchError {
    BatchError::Record { index, fault }
}

/// Checks what the header says of itself; answers the number of records.
fn check_header(header: &BatchHeader) -> Result<u32, BatchError> {
    if header.base_offset.0 != 0 {
        return Err(BatchError::BaseOffset(header.base_offset.0));
    }
    let count_error =
        BatchError::Count { record_count: header.record_count, last_offset_delta: header.last_offset_delta };
    let record_count = match u32::try_from(header.record_count) {
        Ok(count) if count > 0 && header.last_offset_delta == header.record_count - 1 => count,
        _ => return Err(count_error),
    };
    let attributes = header.attributes;
    if attributes.is_control() {
        return Err(BatchError::Control);
    }
    if attributes.is_transactional() {
        return Err(BatchError::Transactional);
    }
    if attributes.has_delete_horizon() {
        return Err(BatchError::DeleteHorizon);
    }
    if attributes.timestamp_type() == TimestampType::LogAppend {
        return Err(BatchError::TimestampType);
    }
    if header.producer_id > ProducerId::NONE && (header.producer_epoch.0 < 0 || header.base_sequence < 0) {
        return Err(BatchError::Producer {
            producer_id: header.producer_id.0,
            producer_epoch: header.producer_epoch.0,
            base_sequence: header.base_sequence,
        });
    }
    Ok(record_count)
}

#[cfg(test)]
mod tests;
