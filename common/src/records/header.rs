//! The sixty-one bytes before the first record.

use bytes::{Buf as _, BufMut as _};

use super::crc;
use super::{BatchError, Compression};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

/// Bytes before the first record.
pub const HEADER_SIZE: usize = 61;
/// Base offset and batch length: what the batch length does not count.
pub const LENGTH_PREFIX_SIZE: usize = 12;
/// The smallest batch length there can be: a header and no records.
pub(super) const BATCH_LENGTH_MIN: i32 = (HEADER_SIZE - LENGTH_PREFIX_SIZE) as i32;
/// The record format of Kafka 0.11 and later.
pub const MAGIC: i8 = 2;

pub(super) const BATCH_LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;

/// Whose clock a batch's timestamps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The client's: each record has its own.
    #[default]
    Create,
    /// The broker's: all records have the batch's maximum timestamp, whatever they say themselves.
    LogAppend,
}

/// The flags of a batch: bits 0–2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0b111;
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// Flags of an ordinary batch with this codec.
    #[must_use]
    pub const fn of(compression: Compression) -> Self {
        Self(compression.id())
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// A codec that is not defined.
    pub const fn compression(self) -> Result<Compression, BatchError> {
        let id = self.0 & Self::CODEC;
        match Compression::from_id(id) {
            Some(known) => Ok(known),
            None => Err(BatchError::Codec(id)),
        }
    }

    /// Whose clock the timestamps are.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::Create } else { TimestampType::LogAppend }
    }

    /// Part of a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Holds a broker's marks (ends of transactions), not records of a client; consumers skip it.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// The base timestamp is a log cleaner's delete horizon (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// A batch's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 from a client.
    pub base_offset: Offset,
    /// Bytes after this field, see [`BatchHeader::total_size`].
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; −1 from a client.
    pub leader_epoch: LeaderEpoch,
    /// 2.
    pub magic: i8,
    /// CRC-32C of everything after this field.
    pub crc: u32,
    /// Codec, timestamp type and other flags.
    pub attributes: Attributes,
    /// Offset of the last record, counted from the first's.
    pub last_offset_delta: i32,
    /// What the records' timestamps are counted from, in milliseconds since 1970.
    pub base_timestamp: i64,
    /// The largest timestamp of the records, or the time of the append.
    pub max_timestamp: i64,
    /// −1: not idempotent.
    pub producer_id: ProducerId,
    /// −1: not idempotent.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record; −1: not idempotent.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Decodes the header at the start of `bytes`. Checks that its bytes are there, that they are magic 2 (the fields mean
    /// something else otherwise) and that the batch length covers a header; whether the batch itself is there is the caller's to
    /// compare ([`BatchHeader::total_size`]), and nothing else is checked.
    ///
    /// # Errors
    /// [`BatchError::Truncated`], [`BatchError::Magic`], [`BatchError::Length`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // Messages of magic 0 and 1 can be shorter than this header, and their clients should hear what is wrong.
        if let Some(magic) = bytes.get(MAGIC_AT)
            && *magic as i8 != MAGIC
        {
            return Err(BatchError::Magic(*magic as i8));
        }
        let head = bytes.first_chunk::<HEADER_SIZE>().ok_or(BatchError::no_header(bytes.len()))?;
        let mut head = head.as_slice();
        // Fields are evaluated in the order written here, which is that of the bytes.
        let header = Self {
            base_offset: Offset(head.get_i64()),
            batch_length: head.get_i32(),
            leader_epoch: LeaderEpoch(head.get_i32()),
            magic: head.get_i8(),
            crc: head.get_u32(),
            attributes: Attributes(head.get_i16()),
            last_offset_delta: head.get_i32(),
            base_timestamp: head.get_i64(),
            max_timestamp: head.get_i64(),
            producer_id: ProducerId(head.get_i64()),
            producer_epoch: ProducerEpoch(head.get_i16()),
            base_sequence: head.get_i32(),
            record_count: head.get_i32(),
        };
        if header.batch_length < BATCH_LENGTH_MIN {
            return Err(BatchError::Length(header.batch_length));
        }
        Ok(header)
    }

    /// The bytes of this header.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        let mut head = bytes.as_mut_slice();
        head.put_i64(self.base_offset.0);
        head.put_i32(self.batch_length);
        head.put_i32(self.leader_epoch.0);
        head.put_i8(self.magic);
        head.put_u32(self.crc);
        head.put_i16(self.attributes.0);
        head.put_i32(self.last_offset_delta);
        head.put_i64(self.base_timestamp);
        head.put_i64(self.max_timestamp);
        head.put_i64(self.producer_id.0);
        head.put_i16(self.producer_epoch.0);
        head.put_i32(self.base_sequence);
        head.put_i32(self.record_count);
        bytes
    }

    /// Bytes of the whole batch, header included.
    #[must_use]
    pub const fn total_size(&self) -> usize {
        LENGTH_PREFIX_SIZE.saturating_add(self.batch_length as usize)
    }

    /// Offset of the last record.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(self.last_offset_delta as i64))
    }

    /// The offset after the last record.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// First and last sequence of the batch, around the wrap if need be; `None` for a batch without idempotence.
    #[must_use]
    pub fn sequences(&self) -> Option<(Sequence, Sequence)> {
        if self.producer_id <= ProducerId::NONE {
            return None;
        }
        let first = Sequence::new(self.base_sequence)?;
        Some((first, first.plus(u32::try_from(self.last_offset_delta).ok()?)))
    }

    /// Turns the header of a checked batch into one of a topic with LogAppendTime. [`patched_header`] then computes a new
    /// checksum.
    pub const fn set_log_append_time(&mut self, now_ms: i64) {
        self.attributes.0 |= Attributes::LOG_APPEND_TIME;
        self.max_timestamp = now_ms;
    }
}

/// The header under which a received batch is stored, to be written in front of the rest of the bytes as they came
/// (`received[HEADER_SIZE..]`), so that no byte of the records is copied.
///
/// `header` is what [`super::validate_from_client`] returned for these bytes, perhaps with
/// [`BatchHeader::set_log_append_time`]. The checksum stays the client's unless a field under it differs from `received`; only then
/// the batch is read again for a new one.
#[must_use]
pub fn patched_header(
    received: &[u8],
    header: &BatchHeader,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
) -> [u8; HEADER_SIZE] {
    let mut stored = BatchHeader { base_offset, leader_epoch, ..*header };
    let head = stored.to_bytes();
    let checksummed = head.get(crc::CHECKSUMMED_AT..).unwrap_or_default();
    if received.get(crc::CHECKSUMMED_AT..HEADER_SIZE) == Some(checksummed) {
        return head;
    }
    stored.crc = crc::compute_parts(checksummed, received.get(HEADER_SIZE..).unwrap_or_default());
    stored.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{KAFKA_BATCH, numbered, set_log_append_time, write_base_offset_and_epoch};
    use super::super::{BatchLimits, check_crc, validate_from_client};
    use super::*;

    #[test]
    fn a_batch_from_kafka_is_understood_and_written_back() {
        let header = BatchHeader::parse(KAFKA_BATCH).unwrap();
        assert_eq!(header.base_offset, Offset(0));
        assert_eq!(header.total_size(), KAFKA_BATCH.len());
        assert_eq!(header.leader_epoch, LeaderEpoch(1));
        assert_eq!(header.crc, 0x0318_a270);
        assert_eq!((header.base_timestamp, header.max_timestamp), (0x15d_ff7b_063c, 0x15d_ff7b_063c));
        assert_eq!((header.producer_id, header.producer_epoch), (ProducerId::NONE, ProducerEpoch::NONE));
        assert_eq!(
            (header.record_count, header.last_offset(), header.next_offset()),
            (1, Offset(0), Offset(1))
        );
        assert_eq!(header.sequences(), None);
        assert_eq!(header.to_bytes(), KAFKA_BATCH[..HEADER_SIZE]);
        assert!(check_crc(KAFKA_BATCH));
    }

    #[test]
    fn a_checksum_covers_its_own_batch_only() {
        for flipped in crc::CHECKSUMMED_AT..KAFKA_BATCH.len() {
            let mut damaged = KAFKA_BATCH.to_vec();
            damaged[flipped] ^= 0x10;
            assert!(!check_crc(&damaged), "byte {flipped}");
        }
        for size in 0..KAFKA_BATCH.len() {
            assert!(!check_crc(&KAFKA_BATCH[..size]), "{size} bytes");
        }
        let followed = [KAFKA_BATCH, b"something else"].concat();
        assert!(check_crc(&followed));
    }

    #[test]
    fn what_a_broker_assigns_leaves_the_checksum_true() {
        let mut bytes = KAFKA_BATCH.to_vec();
        write_base_offset_and_epoch(&mut bytes, Offset(1 << 40), LeaderEpoch(17));
        assert!(check_crc(&bytes));
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!((header.base_offset, header.leader_epoch), (Offset(1 << 40), LeaderEpoch(17)));
        assert_eq!(bytes[16..], KAFKA_BATCH[16..]);
        write_base_offset_and_epoch(&mut bytes[..15], Offset(0), LeaderEpoch(0));
        assert_eq!(BatchHeader::parse(&bytes).unwrap().base_offset, Offset(1 << 40), "too short, left alone");
    }

    #[test]
    fn a_stored_header_in_front_of_the_received_records_is_the_stored_batch() {
        let mut batch = numbered(20, Compression::Snappy);
        batch.stamp_plain();
        let received = batch.bytes();
        let mut header = validate_from_client(&received, &BatchLimits::default()).unwrap();

        let head = patched_header(&received, &header, Offset(500), LeaderEpoch(3));
        let mut expected = received.to_vec();
        write_base_offset_and_epoch(&mut expected, Offset(500), LeaderEpoch(3));
        assert_eq!([&head, &received[HEADER_SIZE..]].concat(), expected);

        header.set_log_append_time(42);
        let head = patched_header(&received, &header, Offset(500), LeaderEpoch(3));
        set_log_append_time(&mut expected, 42).unwrap();
        let stored = [&head, &received[HEADER_SIZE..]].concat();
        assert_eq!(stored, expected);
        assert!(check_crc(&stored));
        let header = BatchHeader::parse(&stored).unwrap();
        assert_eq!(
            (header.attributes.timestamp_type(), header.max_timestamp),
            (TimestampType::LogAppend, 42)
        );
        assert_eq!(header.attributes.compression(), Ok(Compression::Snappy));
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        assert_eq!(BatchHeader::parse(&[]), Err(BatchError::no_header(0)));
        assert_eq!(BatchHeader::parse(&KAFKA_BATCH[..60]), Err(BatchError::no_header(60)));
        // A message of magic 1 is shorter than this header.
        let mut old = KAFKA_BATCH[..30].to_vec();
        old[MAGIC_AT] = 1;
        assert_eq!(BatchHeader::parse(&old), Err(BatchError::Magic(1)));
        for length in [i32::MIN, -1, 0, 48] {
            let mut bytes = KAFKA_BATCH.to_vec();
            bytes[BATCH_LENGTH_AT..BATCH_LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
            assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::Length(length)));
            assert!(!check_crc(&bytes));
            assert_eq!(set_log_append_time(&mut bytes, 0), Err(BatchError::Length(length)));
        }
    }
}
