//! Reading records field by field, from bytes in memory or from a decompressor.

use super::varint;
use super::{BatchError, RecordFault};

/// Where records come from. One walk serves both kinds; each is compiled for its own.
pub(super) trait Source {
    /// What can go wrong while reading.
    type Error: From<RecordFault>;

    /// The next byte.
    fn byte(&mut self) -> Result<u8, Self::Error>;

    /// Passes over bytes.
    fn skip(&mut self, count: usize) -> Result<(), Self::Error>;

    /// Bytes read so far, counted from anywhere.
    fn position(&self) -> u64;

    /// Whether nothing follows.
    fn at_end(&mut self) -> Result<bool, Self::Error>;

    #[inline]
    fn integer(&mut self) -> Result<i32, Self::Error> {
        varint::read_i32(|| self.byte(), || RecordFault::Integer.into())
    }

    #[inline]
    fn long(&mut self) -> Result<i64, Self::Error> {
        varint::read_i64(|| self.byte(), || RecordFault::Integer.into())
    }

    /// Passes over a nullable field. Like Kafka, takes any negative length for null.
    #[inline]
    fn skip_field(&mut self) -> Result<(), Self::Error> {
        match usize::try_from(self.integer()?) {
            Ok(length) => self.skip(length),
            Err(_) => Ok(()),
        }
    }
}

/// What a walk has seen.
pub(super) struct Walked {
    /// The largest timestamp delta.
    pub(super) max_timestamp: i64,
}

/// Why a walk ended early: the record, and what was wrong there.
pub(super) struct Stopped<E> {
    pub(super) index: u32,
    pub(super) error: E,
}

/// Walks all records of a batch: each one's fields add up to its length and its offset delta is its place, there are `record_count`
/// of them and nothing follows (`Ok(None)` otherwise).
pub(super) fn walk<S: Source>(
    source: &mut S,
    record_count: u32,
    base_timestamp: i64,
) -> Result<Option<Walked>, Stopped<S::Error>> {
    let mut max_timestamp = i64::MIN;
    for index in 0..record_count {
        match walk_record(source, index) {
            // Wrapping, as every client computes it.
            Ok(delta) => max_timestamp = max_timestamp.max(base_timestamp.wrapping_add(delta)),
            Err(error) => return Err(Stopped { index, error }),
        }
    }
    match source.at_end() {
        Ok(true) => Ok(Some(Walked { max_timestamp })),
        Ok(false) => Ok(None),
        Err(error) => Err(Stopped { index: record_count, error }),
    }
}

/// Walks one record; answers its timestamp delta.
#[inline]
pub(super) fn walk_record<S: Source>(source: &mut S, index: u32) -> Result<i64, S::Error> {
    let announced = source.integer()?;
    let start = source.position();
    let _attributes = source.byte()?;
    let timestamp_delta = source.long()?;
    let offset_delta = source.integer()?;
    if u32::try_from(offset_delta) != Ok(index) {
        return Err(RecordFault::OffsetDelta(offset_delta).into());
    }
    source.skip_field()?;
    source.skip_field()?;
    let headers = source.integer()?;
    if headers != 0 {
        walk_headers(source, headers)?;
    }
    let actual = source.position() - start;
    if i64::from(announced) != actual as i64 {
        return Err(RecordFault::Length { announced, actual }.into());
    }
    Ok(timestamp_delta)
}

fn walk_headers<S: Source>(source: &mut S, count: i32) -> Result<(), S::Error> {
    if count < 0 {
        return Err(RecordFault::HeaderCount(count).into());
    }
    // Each header takes two bytes at least, so that a count that lies meets the end of the batch.
    for _ in 0..count {
        let length = source.integer()?;
        let Ok(key) = usize::try_from(length) else { return Err(RecordFault::HeaderKey(length).into()) };
        source.skip(key)?;
        source.skip_field()?;
    }
    Ok(())
}

/// Records in memory.
pub(super) struct SliceSource<'a> {
    rest: &'a [u8],
    total: usize,
}

/// A record of which only the deltas have been read.
pub(super) struct EncodedRecord<'a> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    /// Key, value and headers with their lengths.
    pub(super) fields: &'a [u8],
}

impl<'a> SliceSource<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], RecordFault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RecordFault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A nullable field.
    pub(super) fn field(&mut self) -> Result<Option<&'a [u8]>, RecordFault> {
        match usize::try_from(self.integer()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// What has not been read.
    pub(super) const fn into_rest(self) -> &'a [u8] {
        self.rest
    }

    /// The next record, its body not looked into.
    pub(super) fn encoded_record(&mut self) -> Result<EncodedRecord<'a>, RecordFault> {
        let announced = self.integer()?;
        let length = usize::try_from(announced).map_err(|_| RecordFault::Length { announced, actual: 0 })?;
        let mut body = SliceSource::new(self.take(length)?);
        let _attributes = body.byte()?;
        let timestamp_delta = body.long()?;
        let offset_delta = body.integer()?;
        Ok(EncodedRecord { timestamp_delta, offset_delta, fields: body.rest })
    }
}

impl Source for SliceSource<'_> {
    type Error = RecordFault;

    #[inline]
    fn byte(&mut self) -> Result<u8, RecordFault> {
        let (byte, rest) = self.rest.split_first().ok_or(RecordFault::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Result<(), RecordFault> {
        self.take(count).map(|_| ())
    }

    #[inline]
    fn position(&self) -> u64 {
        (self.total - self.rest.len()) as u64
    }

    #[inline]
    fn at_end(&mut self) -> Result<bool, RecordFault> {
        Ok(self.rest.is_empty())
    }
}

/// What ends a walk through a decompressor: a record, or the decompressor.
pub(super) enum StreamFault {
    Record(RecordFault),
    Batch(BatchError),
}

impl From<RecordFault> for StreamFault {
    fn from(fault: RecordFault) -> Self {
        Self::Record(fault)
    }
}
