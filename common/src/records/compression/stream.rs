//! Records out of a decompressor, through a small window: a batch is checked without ever being held decompressed.

use std::io::Read;

use super::super::walk::{Source, StreamFault};
use super::super::{BatchError, Compression, RecordFault};
use super::failed;

/// Decompressed bytes held at once.
const WINDOW_SIZE: usize = 32 * 1024;

/// A [`Source`] of at most `decompressed_max` bytes.
pub(in crate::records) struct StreamSource<'a> {
    reader: &'a mut dyn Read,
    codec: Compression,
    decompressed_max: usize,
    window: Vec<u8>,
    /// The unread part of the window.
    next: usize,
    end: usize,
    /// Bytes that came out of the reader.
    total: usize,
}

impl<'a> StreamSource<'a> {
    pub(in crate::records) fn new(
        reader: &'a mut dyn Read,
        codec: Compression,
        decompressed_max: usize,
    ) -> Self {
        Self { reader, codec, decompressed_max, window: vec![0; WINDOW_SIZE], next: 0, end: 0, total: 0 }
    }

    /// Replaces a window that has been read. False at the end.
    #[cold]
    fn refill(&mut self) -> Result<bool, StreamFault> {
        let read = self
            .reader
            .read(&mut self.window)
            .map_err(|error| StreamFault::Batch(failed(self.codec, &error)))?;
        self.next = 0;
        self.end = read;
        self.total += read;
        if self.total > self.decompressed_max {
            let error = BatchError::Expands { codec: self.codec, decompressed_max: self.decompressed_max };
            return Err(StreamFault::Batch(error));
        }
        Ok(read > 0)
    }
}

impl Source for StreamSource<'_> {
    type Error = StreamFault;

    #[inline]
    fn byte(&mut self) -> Result<u8, StreamFault> {
        if self.next == self.end && !self.refill()? {
            return Err(RecordFault::Truncated.into());
        }
        let byte = self.window.get(self.next).copied().ok_or(RecordFault::Truncated)?;
        self.next += 1;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Result<(), StreamFault> {
        let mut left = count;
        loop {
            let here = left.min(self.end - self.next);
            self.next += here;
            left -= here;
            if left == 0 {
                return Ok(());
            }
            if !self.refill()? {
                return Err(RecordFault::Truncated.into());
            }
        }
    }

    #[inline]
    fn position(&self) -> u64 {
        (self.total - (self.end - self.next)) as u64
    }

    fn at_end(&mut self) -> Result<bool, StreamFault> {
        Ok(self.next == self.end && !self.refill()?)
    }
}
