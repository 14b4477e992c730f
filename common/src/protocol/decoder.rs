//! Reading: a position in a received frame, which trusts no length.

use bytes::{Buf, Bytes};

use super::error::{DecodeError, DecodeProblem};

/// Memory that the arrays of one message may take, per byte of its frame. An empty name is one byte on the wire and a
/// view of 32 bytes in memory, so that a frame of nothing but empty names grows thirtyfold; honest messages, whose
/// names have letters, stay well below this.
const MEMORY_PER_BYTE: usize = 16;

/// The size of frame up to which that holds.
const NAMES_FRAME_MAX: usize = 1 << 20;

/// The same for the bytes beyond: honest frames of such sizes hold records, which take no memory of their own.
const MEMORY_PER_RECORD_BYTE: usize = 2;

/// Memory that the arrays of any message may take, so that short names in short messages always fit.
const MEMORY_ALWAYS: usize = 64 * 1024;

/// Reads values from the front of a frame.
#[derive(Debug)]
pub struct Decoder {
    rest: Bytes,
    memory_left: usize,
}

impl Decoder {
    /// A decoder at the beginning of `bytes`. What it reads are views of them.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let (names, records) =
            (bytes.len().min(NAMES_FRAME_MAX), bytes.len().saturating_sub(NAMES_FRAME_MAX));
        let memory_left = (names.saturating_mul(MEMORY_PER_BYTE))
            .saturating_add(records.saturating_mul(MEMORY_PER_RECORD_BYTE))
            .saturating_add(MEMORY_ALWAYS);
        Self { rest: bytes, memory_left }
    }

    /// Bytes not yet read.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Everything must have been read.
    pub(super) fn finish(&self) -> Result<(), DecodeProblem> {
        match self.rest.len() {
            0 => Ok(()),
            trailing => Err(DecodeProblem::Trailing(trailing)),
        }
    }

    fn need(&self, needed: usize) -> Result<(), DecodeProblem> {
        let remaining = self.rest.len();
        if needed > remaining { Err(DecodeProblem::Truncated { needed, remaining }) } else { Ok(()) }
    }

    pub(super) fn i8(&mut self) -> Result<i8, DecodeProblem> {
        self.need(1)?;
        Ok(self.rest.get_i8())
    }

    pub(super) fn i16(&mut self) -> Result<i16, DecodeProblem> {
        self.need(2)?;
        Ok(self.rest.get_i16())
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeProblem> {
        self.need(4)?;
        Ok(self.rest.get_i32())
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeProblem> {
        self.need(8)?;
        Ok(self.rest.get_i64())
    }

    pub(super) fn uuid(&mut self) -> Result<[u8; 16], DecodeProblem> {
        self.need(16)?;
        Ok(self.rest.get_u128().to_be_bytes())
    }

    /// A view of the next `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Result<Bytes, DecodeProblem> {
        self.need(len)?;
        Ok(self.rest.split_to(len))
    }

    /// Kafka's unsigned varint: seven bits a byte, the lowest first, five bytes at most.
    pub(super) fn uvarint(&mut self) -> Result<u32, DecodeProblem> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            self.need(1)?;
            let byte = self.rest.get_u8();
            let bits = u32::from(byte & 0x7f);
            // The fifth byte has room for four bits.
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeProblem::VarintTooLong)
    }

    /// The length of a text: two bytes or compact. `None` is null.
    pub(super) fn short_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeProblem> {
        if flexible { self.compact_length() } else { length(i64::from(self.i16()?)) }
    }

    /// The length of bytes, records or arrays: four bytes or compact. `None` is null.
    pub(super) fn length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeProblem> {
        if flexible { self.compact_length() } else { length(i64::from(self.i32()?)) }
    }

    /// Compact lengths are one more than the length; 0 is null.
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeProblem> {
        length(i64::from(self.uvarint()?).saturating_sub(1))
    }

    /// Called before an array is allocated: `count` elements of at least `smallest` bytes must be able to follow, and
    /// `size` bytes of memory for each of them must be within bounds.
    pub(super) fn admit(&mut self, count: usize, smallest: usize, size: usize) -> Result<(), DecodeProblem> {
        let remaining = self.rest.len();
        if count.saturating_mul(smallest) > remaining {
            return Err(DecodeProblem::ElementsBeyondEnd { count, smallest, remaining });
        }
        let needed = count.saturating_mul(size);
        match self.memory_left.checked_sub(needed) {
            Some(left) => self.memory_left = left,
            None => return Err(DecodeProblem::TooMuchMemory { needed, left: self.memory_left }),
        }
        Ok(())
    }

    /// The tagged fields at the end of a structure. `known` reads the value of a tag it knows and says true; the
    /// values of all others are skipped. A value must be exactly as long as it is said to be.
    pub(super) fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.uvarint().map_err(in_tagged_fields)?;
        for _ in 0..count {
            let tag = self.uvarint().map_err(in_tagged_fields)?;
            let size = self.uvarint().map_err(in_tagged_fields)?;
            let value = self.bytes(usize::try_from(size).unwrap_or(usize::MAX)).map_err(in_tagged_fields)?;
            let after = std::mem::replace(&mut self.rest, value);
            if known(tag, self)? {
                self.finish().map_err(in_tagged_fields)?;
            }
            self.rest = after;
        }
        Ok(())
    }
}

fn in_tagged_fields(problem: DecodeProblem) -> DecodeError {
    DecodeError::new(problem).within("tagged_fields")
}

/// −1 is null, anything below an error.
fn length(length: i64) -> Result<Option<usize>, DecodeProblem> {
    if length == -1 {
        return Ok(None);
    }
    usize::try_from(length).map(Some).map_err(|_| DecodeProblem::NegativeLength(length))
}

#[cfg(test)]
mod tests;
