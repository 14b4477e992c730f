//! Reading batches for their checksums: what is about to be served for the first time, what the scrub walks over, what
//! an operator wants checked. The disk is waited for elsewhere than on the reactor.

use std::sync::Arc;

use bytes::Bytes;
use gapless_common::records::{BatchHeader, Checksum, HEADER_SIZE};

use super::walk::{BadBatch, Expected, Found};
use crate::storage::{File, read_cold_ahead};

/// Bytes read at once: what others wait for, at the most, while a checksum is computed.
const WINDOW: usize = 256 << 10;

/// Reads a part of a segment, batch by batch. Memory does not depend on the length that a batch says it has.
pub(crate) struct BatchReader {
    file: Arc<dyn File>,
    position: u64,
    end: u64,
    expected: Expected,
    window: Bytes,
    window_at: u64,
}

impl BatchReader {
    /// A batch that begins at `position` is the first one; nothing at or after `end` is looked at.
    pub(crate) fn new(file: Arc<dyn File>, position: u64, end: u64, expected: Expected) -> Self {
        Self { file, position, end, expected, window: Bytes::new(), window_at: position }
    }

    /// The header of the next batch, which fits what stands before it; `None` at the end. The reader stays where it is.
    ///
    /// # Errors
    /// What stands there instead.
    pub(crate) async fn header(&mut self) -> Result<Option<Found>, BadBatch> {
        if self.position >= self.end {
            return Ok(None);
        }
        let left = self.end - self.position;
        let head = self.bytes(self.position, HEADER_SIZE).await?;
        if head.len() < HEADER_SIZE {
            return Err(self.bad(format!("{left} bytes where a batch's header has {HEADER_SIZE}")));
        }
        let header = BatchHeader::parse(&head).map_err(|error| self.bad(error.to_string()))?;
        match self.expected.refuse_within(&header, left) {
            Some(why) => Err(self.bad(why)),
            None => Ok(Some(Found { position: self.position, header })),
        }
    }

    /// Compares the batch whose header was returned last with its checksum, and goes on behind it.
    ///
    /// # Errors
    /// It does not match, or cannot be read.
    pub(crate) async fn verify(&mut self, found: &Found) -> Result<(), BadBatch> {
        let mut checksum = Checksum::default();
        let mut at = found.position + Checksum::STARTS_AT as u64;
        while at < found.end() {
            let len = usize::try_from(found.end() - at).unwrap_or(WINDOW).min(WINDOW);
            let bytes = self.bytes(at, len).await?;
            if bytes.is_empty() {
                return Err(self.bad(format!("the file ends at position {at}, in the middle of a batch")));
            }
            checksum.update(&bytes);
            at += bytes.len() as u64;
        }
        if checksum.finish() != found.header.crc {
            let size = found.header.total_size();
            return Err(self.bad(format!("the checksum of a batch of {size} bytes does not match")));
        }
        self.expected.advance(&found.header);
        self.position = found.end();
        Ok(())
    }

    /// What may stand next.
    pub(crate) fn expected(&self) -> &Expected {
        &self.expected
    }

    /// `len` bytes from `position`, no more than a window; fewer where the file ends, or where the window does and has
    /// some.
    async fn bytes(&mut self, position: u64, len: usize) -> Result<Bytes, BadBatch> {
        let skip = usize::try_from(position.saturating_sub(self.window_at)).unwrap_or(usize::MAX);
        let rest = self.window.len().saturating_sub(skip);
        if rest < len.min(HEADER_SIZE) || position < self.window_at {
            let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
            let read = read_cold_ahead(&*self.file, position, len.min(left), WINDOW.min(left)).await;
            self.window =
                read.map_err(|error| BadBatch::unreadable(self.expected.offset, self.position, error))?;
            self.window_at = position;
            // A disk that answers at once never yields.
            tokio::task::yield_now().await;
            return Ok(self.window.slice(..len.min(self.window.len())));
        }
        Ok(self.window.slice(skip..skip + len.min(rest)))
    }

    fn bad(&self, why: String) -> BadBatch {
        BadBatch { offset: self.expected.offset, position: self.position, why, source: None }
    }
}
