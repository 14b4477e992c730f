//! What a request is answered with: bytes, ranges of files, or both, now or once a condition holds.

use bytes::Bytes;
use gapless_common::{protocol::Part, seam::BoxFuture};

use crate::storage::FileRange;

/// A piece of a response, in the order of the wire.
pub enum BodyPart {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a log.
    File(FileRange),
}

/// The answer to one request.
pub enum Reply {
    /// None is sent: acks=0 that went well.
    Nothing,
    /// Can be written at once.
    Ready(Vec<BodyPart>),
    /// Waits for a flush or for data. Polled only when all earlier answers are written, so it must keep its own
    /// deadline from when the request came.
    Later(BoxFuture<'static, Vec<BodyPart>>),
    /// The protocol's only way to tell of an error here is to close the connection.
    Close(String),
}

impl Reply {
    /// Bytes that it takes until it is written. One that comes later takes them when its turn has come.
    pub fn bytes_in_memory(&self) -> usize {
        let Self::Ready(parts) = self else { return 0 };
        let in_memory = |part: &BodyPart| match part {
            BodyPart::Bytes(bytes) => bytes.len(),
            BodyPart::File(_) => 0,
        };
        parts.iter().map(in_memory).sum()
    }
}

/// Puts file ranges where an encoded message left room for them.
pub fn splice(parts: Vec<Part>, ranges: &[FileRange]) -> Vec<BodyPart> {
    parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Bytes(bytes) => Some(BodyPart::Bytes(bytes)),
            Part::External { index, len } => {
                let range = ranges.get(usize::try_from(index).ok()?)?;
                debug_assert_eq!(range.len, len, "the length on the wire is the range's");
                Some(BodyPart::File(range.clone()))
            }
        })
        .collect()
}

/// A message wholly in memory.
pub fn in_memory(parts: Vec<Part>) -> Vec<BodyPart> {
    splice(parts, &[])
}
