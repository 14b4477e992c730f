//! The records of a message: bytes that are there, or a promise of bytes.

use bytes::Bytes;

/// Records inside a message. A decoded message always holds them in memory, as a view of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordData {
    /// The bytes themselves.
    Memory(Bytes),
    /// So many bytes that the sender splices in when it writes the frame: a range of a file. The encoder hands
    /// `index` back in [`Part::External`](super::Part::External).
    External {
        /// Chosen by who encodes: which of his ranges this is.
        index: u32,
        /// Size in bytes.
        len: u32,
    },
}

impl RecordData {
    /// Size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::External { len, .. } => *len as usize,
        }
    }

    /// No records.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they are in memory.
    #[must_use]
    pub const fn memory(&self) -> Option<&Bytes> {
        match self {
            Self::Memory(bytes) => Some(bytes),
            Self::External { .. } => None,
        }
    }
}

impl Default for RecordData {
    fn default() -> Self {
        Self::Memory(Bytes::new())
    }
}

impl From<Bytes> for RecordData {
    fn from(bytes: Bytes) -> Self {
        Self::Memory(bytes)
    }
}
