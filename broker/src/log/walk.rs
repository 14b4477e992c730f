//! Stepping through the batches of a segment by their headers, for readers. Each header is checked against what stands
//! before it (contiguous offsets, leader epochs that never fall), since base offset and leader epoch lie outside the
//! batch's checksum. The records are not touched: `verified` knows which of them were written or verified by this process.

use std::{io, sync::Arc};

use bytes::Bytes;
use gapless_common::{
    records::{BatchHeader, HEADER_SIZE},
    types::{LeaderEpoch, Offset},
};

use super::sequencer::BatchFacts;
use crate::storage::{File, read_ahead};

/// Bytes read around the first header: it lies within the index interval behind the place where the search begins.
const FIRST_WINDOW: usize = 8 << 10;
/// Bytes read at once where batches are small; where they are larger than the index interval, only headers are read.
const SMALL_BATCHES_WINDOW: usize = 64 << 10;
/// A batch from which on the next header is read alone.
const LARGE_BATCH: usize = 4096;
/// Reads from the page cache complete at once and never yield; after so many of them others get a turn.
const READS_PER_TURN: u32 = 64;

/// Something in a segment that is not the batch that belongs there.
#[derive(Debug, Clone)]
pub(crate) struct BadBatch {
    /// The offset that should be there.
    pub offset: Offset,
    /// Where, in the segment.
    pub position: u64,
    /// What is there instead.
    pub why: String,
    /// Why it could not be read, if that is what is wrong.
    pub source: Option<Arc<io::Error>>,
}

impl BadBatch {
    /// The disk does not give it back.
    pub(super) fn unreadable(offset: Offset, position: u64, error: io::Error) -> Self {
        Self { offset, position, why: format!("unreadable: {error}"), source: Some(Arc::new(error)) }
    }
}

/// A batch, by its header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub position: u64,
    pub header: BatchHeader,
}

impl Found {
    pub(crate) fn end(&self) -> u64 {
        self.position + self.header.total_size() as u64
    }
}

/// The checks of a header that need only what stands before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub offset: Offset,
    pub epoch: LeaderEpoch,
    /// The epoch in force: nothing in the log can be newer.
    pub epoch_max: LeaderEpoch,
}

impl Expected {
    /// Why a header cannot stand here, if it cannot.
    pub(crate) fn refuse(&self, header: &BatchHeader) -> Option<String> {
        if header.base_offset != self.offset {
            return Some(format!("base offset {} where {} follows", header.base_offset, self.offset));
        }
        if header.leader_epoch < self.epoch || header.leader_epoch > self.epoch_max {
            return Some(format!(
                "leader epoch {} where {} to {} can follow",
                header.leader_epoch, self.epoch, self.epoch_max
            ));
        }
        if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
            return Some(format!(
                "{} records and a last offset delta of {}",
                header.record_count, header.last_offset_delta
            ));
        }
        if header.base_offset.0.checked_add(i64::from(header.record_count)).is_none() {
            return Some(format!("{} records from {} on", header.record_count, header.base_offset));
        }
        // Who counts what was read must be able to count it: the sequencer takes every batch, or offsets would part.
        if BatchFacts::of(header).is_none() {
            return Some(format!(
                "producer id {}, epoch {} and sequence {}",
                header.producer_id, header.producer_epoch, header.base_sequence
            ));
        }
        None
    }

    /// Why a header cannot stand here with so many bytes left, if it cannot.
    pub(crate) fn refuse_within(&self, header: &BatchHeader, left: u64) -> Option<String> {
        let size = header.total_size();
        self.refuse(header).or_else(|| {
            (size as u64 > left).then(|| format!("a batch of {size} bytes where {left} are left"))
        })
    }

    /// `header` stands there; what may stand behind it.
    pub(crate) fn advance(&mut self, header: &BatchHeader) {
        self.offset = header.next_offset();
        self.epoch = header.leader_epoch;
    }
}

/// One walk, from one place in a segment towards its end.
pub(super) struct BatchWalk {
    file: Arc<dyn File>,
    position: u64,
    end: u64,
    expected: Expected,
    window: Bytes,
    window_at: u64,
    read_ahead: usize,
    reads: u32,
}

impl BatchWalk {
    /// A batch that begins at `position` is the first one; nothing at or after `end` is looked at.
    pub(super) fn new(file: Arc<dyn File>, position: u64, end: u64, expected: Expected) -> Self {
        let (window, window_at) = (Bytes::new(), position);
        Self { file, position, end, expected, window, window_at, read_ahead: FIRST_WINDOW, reads: 0 }
    }

    /// What is walked through.
    pub(super) const fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// The next batch; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Found>, BadBatch> {
        if self.position >= self.end {
            return Ok(None);
        }
        let header = self.header().await?;
        let size = header.total_size();
        let found = Found { position: self.position, header };
        if let Some(why) = self.expected.refuse_within(&header, self.end - self.position) {
            return Err(self.bad(why));
        }
        self.expected.advance(&header);
        self.position = found.end();
        self.read_ahead = if size >= LARGE_BATCH { HEADER_SIZE } else { SMALL_BATCHES_WINDOW };
        Ok(Some(found))
    }

    async fn header(&mut self) -> Result<BatchHeader, BadBatch> {
        let skip = usize::try_from(self.position - self.window_at).unwrap_or(usize::MAX);
        let ready = self.window.get(skip..).is_some_and(|rest| rest.len() >= HEADER_SIZE);
        if !ready {
            let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
            let (least, len) = (HEADER_SIZE.min(left), self.read_ahead.min(left));
            self.window = read_ahead(&*self.file, self.position, least, len)
                .await
                .map_err(|error| BadBatch::unreadable(self.expected.offset, self.position, error))?;
            self.window_at = self.position;
            self.reads += 1;
            if self.reads.is_multiple_of(READS_PER_TURN) {
                tokio::task::yield_now().await;
            }
        }
        let skip = usize::try_from(self.position - self.window_at).unwrap_or(usize::MAX);
        BatchHeader::parse(self.window.get(skip..).unwrap_or_default())
            .map_err(|error| self.bad(error.to_string()))
    }

    fn bad(&self, why: String) -> BadBatch {
        BadBatch { offset: self.expected.offset, position: self.position, why, source: None }
    }
}
