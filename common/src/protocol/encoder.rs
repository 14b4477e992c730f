//! Writing: small fields gathered in a buffer, large payloads passed through untouched.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::{EncodeError, EncodeProblem};
use super::record_data::RecordData;

/// From this size on a payload becomes a part of its own; below, copying is cheaper than another slice to write.
const OWN_PART_MIN: usize = 1024;

/// What most messages without payload fit into.
const FIRST_CAPACITY: usize = 256;

/// A piece of an encoded message, to be written after the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes that the sender splices in: those of [`RecordData::External`].
    External {
        /// As given in the message.
        index: u32,
        /// Size in bytes.
        len: u32,
    },
}

impl Part {
    /// Size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::External { len, .. } => *len as usize,
        }
    }

    /// Nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Gathers the parts of a message.
#[derive(Debug)]
pub struct Encoder {
    /// The first part, if it is bytes of our own: open to the end, since the frame's length goes to its front.
    head: Option<BytesMut>,
    /// What follows after `head`.
    parts: Vec<Part>,
    /// The part being filled.
    open: BytesMut,
    /// Bytes in `head` and `parts`.
    closed_size: usize,
}

impl Encoder {
    /// Nothing written yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(FIRST_CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self { head: None, parts: Vec::new(), open: BytesMut::with_capacity(capacity), closed_size: 0 }
    }

    /// For a frame: its length is filled in by [`Encoder::finish_frame`].
    pub(super) fn new_frame() -> Self {
        let mut frame = Self::new();
        frame.open.put_i32(0);
        frame
    }

    /// For the value of a tagged field, whose size must be known before it is written.
    pub(super) fn new_tagged_value() -> Self {
        Self::with_capacity(0)
    }

    /// Bytes written so far, those of external parts included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.closed_size.saturating_add(self.open.len())
    }

    /// The message's parts, none of them empty.
    #[must_use]
    pub fn finish(mut self) -> Vec<Part> {
        self.close_open();
        match self.head {
            Some(head) => {
                let mut parts = Vec::with_capacity(self.parts.len().saturating_add(1));
                parts.push(Part::Bytes(head.freeze()));
                parts.append(&mut self.parts);
                parts
            }
            None => self.parts,
        }
    }

    /// The frame's parts, its length in front.
    pub(super) fn finish_frame(mut self) -> Result<Vec<Part>, EncodeError> {
        self.close_open();
        let len = self.closed_size.saturating_sub(size_of::<i32>());
        let prefix = i32::try_from(len).map_err(|_| too_long(len, i32::MAX.unsigned_abs()))?;
        if let Some(slot) = self.head.as_mut().and_then(|head| head.first_chunk_mut()) {
            *slot = prefix.to_be_bytes();
        }
        Ok(self.finish())
    }

    fn close_open(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let closed = self.open.split();
        self.closed_size = self.closed_size.saturating_add(closed.len());
        if self.head.is_none() && self.parts.is_empty() {
            self.head = Some(closed);
        } else {
            self.parts.push(Part::Bytes(closed.freeze()));
        }
    }

    fn own_part(&mut self, part: Part) {
        self.close_open();
        self.closed_size = self.closed_size.saturating_add(part.len());
        self.parts.push(part);
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.open.put_i8(value);
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.open.put_i16(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.open.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.open.put_i64(value);
    }

    pub(super) fn uuid(&mut self, value: &[u8; 16]) {
        self.open.put_slice(value);
    }

    pub(super) fn slice(&mut self, bytes: &[u8]) {
        self.open.put_slice(bytes);
    }

    /// Large ones are passed through, not copied.
    pub(super) fn bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < OWN_PART_MIN {
            self.slice(bytes);
        } else {
            self.own_part(Part::Bytes(bytes.clone()));
        }
    }

    pub(super) fn records(&mut self, records: &RecordData) {
        match *records {
            RecordData::Memory(ref bytes) => self.bytes(bytes),
            RecordData::External { len: 0, .. } => {}
            RecordData::External { index, len } => self.own_part(Part::External { index, len }),
        }
    }

    pub(super) fn uvarint(&mut self, mut value: u32) {
        while value > 0x7f {
            self.open.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.open.put_u8(value.to_le_bytes()[0]);
    }

    /// The length of a text: two bytes or compact. `None` is null.
    pub(super) fn short_length(&mut self, len: Option<usize>, flexible: bool) -> Result<(), EncodeError> {
        if flexible {
            return self.compact_length(len);
        }
        let wire = len.map_or(Ok(-1), |len| {
            i16::try_from(len).map_err(|_| too_long(len, u32::from(i16::MAX.unsigned_abs())))
        })?;
        self.i16(wire);
        Ok(())
    }

    /// The length of bytes, records or arrays: four bytes or compact. `None` is null.
    pub(super) fn length(&mut self, len: Option<usize>, flexible: bool) -> Result<(), EncodeError> {
        if flexible {
            return self.compact_length(len);
        }
        let wire =
            len.map_or(Ok(-1), |len| i32::try_from(len).map_err(|_| too_long(len, i32::MAX.unsigned_abs())))?;
        self.i32(wire);
        Ok(())
    }

    fn compact_length(&mut self, len: Option<usize>) -> Result<(), EncodeError> {
        let wire = len.map_or(Ok(0), |len| {
            u32::try_from(len)
                .ok()
                .and_then(|len| len.checked_add(1))
                .ok_or_else(|| too_long(len, u32::MAX.saturating_sub(1)))
        })?;
        self.uvarint(wire);
        Ok(())
    }

    /// The end of a structure of a flexible version. `fields` ascend by tag.
    pub(super) fn tagged_fields(&mut self, fields: Vec<(u32, Self)>) -> Result<(), EncodeError> {
        self.uvarint(u32::try_from(fields.len()).map_err(|_| too_long(fields.len(), u32::MAX))?);
        for (tag, value) in fields {
            let size = value.size();
            self.uvarint(tag);
            self.uvarint(u32::try_from(size).map_err(|_| too_long(size, u32::MAX))?);
            for part in value.finish() {
                match part {
                    Part::Bytes(bytes) => self.bytes(&bytes),
                    Part::External { .. } => self.own_part(part),
                }
            }
        }
        Ok(())
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

fn too_long(len: usize, max: u32) -> EncodeError {
    EncodeProblem::TooLong { len, max: usize::try_from(max).unwrap_or(usize::MAX) }.into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Encoder, Part, RecordData};

    #[test]
    fn large_payloads_are_parts_of_their_own_and_not_copied() {
        let large = Bytes::from(vec![7; 1024]);
        let small = Bytes::from(vec![8; 1023]);
        let mut out = Encoder::new_frame();
        out.i16(1);
        out.records(&RecordData::Memory(small.clone()));
        out.records(&RecordData::Memory(large.clone()));
        out.i8(2);
        out.records(&RecordData::External { index: 5, len: 3000 });
        out.records(&RecordData::External { index: 6, len: 0 });
        assert_eq!(out.size(), 4 + 2 + 1023 + 1024 + 1 + 3000);
        let parts = out.finish_frame().unwrap();

        let mut head = (2 + 1023 + 1024 + 1 + 3000i32).to_be_bytes().to_vec();
        head.extend([0, 1]);
        head.extend(&small);
        assert_eq!(
            parts,
            [
                Part::Bytes(head.into()),
                Part::Bytes(large.clone()),
                Part::Bytes(Bytes::from_static(&[2])),
                Part::External { index: 5, len: 3000 },
            ]
        );
        let Some(Part::Bytes(passed)) = parts.get(1) else { unreachable!("checked above") };
        assert_eq!(passed.as_ptr(), large.as_ptr());
    }

    #[test]
    fn a_message_may_begin_with_a_payload() {
        let mut out = Encoder::new();
        out.bytes(&Bytes::from(vec![7; 2000]));
        out.i8(1);
        let sizes: Vec<usize> = out.finish().iter().map(Part::len).collect();
        assert_eq!(sizes, [2000, 1]);
        assert_eq!(Encoder::new().finish(), []);
    }

    #[test]
    fn unsigned_varints() {
        let table: [(u32, &[u8]); 5] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (300, &[0xac, 0x02]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (value, bytes) in table {
            let mut out = Encoder::new();
            out.uvarint(value);
            assert_eq!(out.finish(), [Part::Bytes(Bytes::from_static(bytes))], "{value}");
        }
    }

    #[test]
    fn text_longer_than_its_length_field_can_say_is_refused() {
        let mut out = Encoder::new();
        assert!(out.short_length(Some(32_767), false).is_ok());
        let error = out.short_length(Some(32_768), false).unwrap_err();
        assert_eq!(error.to_string(), "message is 32768 long, which exceeds 32767");
        assert!(out.short_length(Some(32_768), true).is_ok());
    }
}
