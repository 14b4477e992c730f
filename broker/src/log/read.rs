//! Reading: ranges of segment files below the high watermark.

use std::{io, sync::Arc};

use gapless_common::{seam::BoxFuture, types::Offset};

use super::batch_reader::BatchReader;
use super::partition::Gone;
use super::segment::Segment;
use super::walk::{BadBatch, BatchWalk, Expected, Found};
use super::{PartitionLog, ReadError, StorageError};
use crate::storage::{File, FileRange, RangeOwner};

/// Bytes that one fetch may have to wait for while they are verified: as many as a client asks for by default, some
/// milliseconds of a disk.
const VERIFIED_PER_FETCH: usize = 1 << 20;

/// A range that was handed out to be sent.
struct Served {
    log: Arc<PartitionLog>,
    segment: Arc<Segment>,
    file: Arc<dyn File>,
    /// Its first batch.
    first: Found,
}

impl RangeOwner for Served {
    fn unreadable(&self, position: u64, error: Arc<io::Error>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Self { log, segment, file, first } = self;
            let (offset, epoch) = (first.header.base_offset, first.header.leader_epoch);
            let expected = Expected { offset, epoch, epoch_max: log.leader_epoch };
            let mut walk = BatchWalk::new(file.clone(), first.position, segment.size(), expected);
            // The batch that the byte belongs to, or one before it if that cannot be read either.
            let bad = loop {
                match walk.next().await {
                    Ok(Some(found)) if found.end() <= position => {}
                    Ok(found) => {
                        let at = found.unwrap_or(*first);
                        let why = format!("unreadable: {error}");
                        let (offset, position) = (at.header.base_offset, at.position);
                        break BadBatch { offset, position, why, source: Some(error) };
                    }
                    Err(bad) => break bad,
                }
            };
            // Told to the log; whoever sends knows already.
            let _ = log.bad_batch(segment, &bad);
        })
    }
}

/// What a reader may see, all of one moment.
pub(super) struct View {
    pub log_start: Offset,
    /// Nothing at or above it is read: the high watermark, or where corruption begins.
    pub limit: Offset,
    pub segments: Vec<Arc<Segment>>,
}

impl PartitionLog {
    /// Whole batches from the one that holds `from`, of one segment, below the high watermark: as many as fit into
    /// `max_bytes`, and the first one whatever its size if `at_least_one`. `None` when there is nothing to read there:
    /// between the high watermark and the end of the log, which is no error, or no batch fits.
    ///
    /// # Errors
    /// The offset is not in the log; the partition is quarantined there; the topic was deleted.
    pub async fn read(
        self: &Arc<Self>,
        from: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Option<FileRange>, ReadError> {
        let (segment, from, limit) = self.with_shared(|shared| {
            if shared.gone == Some(Gone::Retired) {
                return Err(ReadError::Storage(StorageError::Retired));
            }
            let from = shared.losses.skip(from);
            let (log_start, end) = (shared.log_start, shared.end);
            if from < log_start {
                return Err(ReadError::OutOfRange { from, log_start, end });
            }
            if let Some(found) = shared.quarantined.as_ref().filter(|found| from >= found.at) {
                let (at, why) = (found.at, found.why.clone());
                return Err(ReadError::Storage(StorageError::Quarantined { at, why }));
            }
            if from > end {
                return Err(ReadError::OutOfRange { from, log_start, end });
            }
            let limit = limit_of(shared.high_watermark, shared.quarantined.as_ref().map(|found| found.at));
            let after = shared.segments.partition_point(|segment| segment.base_offset <= from);
            let segment = after.checked_sub(1).and_then(|last| shared.segments.get(last)).cloned();
            Ok((segment.filter(|_| from < limit), from, limit))
        })?;
        let Some(segment) = segment else { return Ok(None) };
        let range = self.range(&segment, from, limit, max_bytes, at_least_one).await;
        match range {
            // Its file was closed, and unlinked before it was opened again.
            Err(ReadError::Storage(StorageError::Step { .. })) if from < self.log_start_offset() => {
                let (log_start, end) = (self.log_start_offset(), self.end_offset());
                Err(ReadError::OutOfRange { from, log_start, end })
            }
            range => range,
        }
    }

    /// Whether `from` lies in a segment to which nothing is appended any more: what [`PartitionLog::read`] gives there is
    /// all it will ever give, and waiting for more is in vain.
    pub fn is_sealed_at(&self, from: Offset) -> bool {
        self.with_shared(|shared| shared.segments.last().is_some_and(|active| from < active.base_offset))
    }

    /// No fewer bytes than [`PartitionLog::read`] could give from `from` on, told without reading any: who waits for many
    /// need not walk through them at every change. The largest number where a look is due for another reason.
    pub fn bytes_at_most(&self, from: Offset) -> u64 {
        let active = self.with_shared(|shared| {
            let is_well = shared.gone != Some(Gone::Retired) && shared.quarantined.is_none();
            shared.segments.last().filter(|active| is_well && from >= active.base_offset).cloned()
        });
        active.map_or(u64::MAX, |active| active.bytes_at_most(from))
    }

    async fn range(
        self: &Arc<Self>,
        segment: &Arc<Segment>,
        from: Offset,
        limit: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Option<FileRange>, ReadError> {
        let found = segment.find(from, self.leader_epoch).await;
        let found = found.map_err(|bad| ReadError::Storage(self.bad_batch(segment, &bad)))?;
        let Some((first, mut walk)) = found else {
            // The next segment begins behind it, and the watermark has passed it.
            let why = format!("the segment ends before offset {from}");
            let bad = BadBatch { offset: from, position: segment.size(), why, source: None };
            return Err(ReadError::Storage(self.bad_batch(segment, &bad)));
        };
        let fits = |end: u64| end - first.position <= max_bytes as u64;
        if first.header.next_offset() > limit {
            // Not below the watermark yet; or what is corrupt begins inside of it.
            let is_high = self.high_watermark() < first.header.next_offset();
            return if is_high {
                Ok(None)
            } else {
                self.check_unquarantined().map(|()| None).map_err(ReadError::Storage)
            };
        }
        if !(at_least_one || fits(first.end())) {
            return Ok(None);
        }
        let verified = segment.verified.reach(first.position);
        if verified <= first.position {
            return self.unverified_range(segment, walk.file(), &first, limit, max_bytes).await.map(Some);
        }
        // What is not verified is left to the next fetch.
        let fits = |end: u64| fits(end) && end <= verified;
        let mut last = first;
        // Batches at the limit are not even looked at: they may be half written.
        while last.header.next_offset() < limit && fits(last.end()) {
            match walk.next().await {
                Ok(Some(next)) if fits(next.end()) && next.header.next_offset() <= limit => last = next,
                Ok(_) => break,
                Err(bad) => {
                    // What lies before it is good, and is served.
                    self.bad_batch(segment, &bad);
                    break;
                }
            }
        }
        Ok(Some(self.file_range(segment, walk.file(), &first, last.end())))
    }

    /// As much of a range as may be verified for one fetch.
    async fn unverified_range(
        self: &Arc<Self>,
        segment: &Arc<Segment>,
        file: &Arc<dyn File>,
        first: &Found,
        limit: Offset,
        max_bytes: usize,
    ) -> Result<FileRange, ReadError> {
        let fits = |end: u64| end - first.position <= max_bytes.min(VERIFIED_PER_FETCH) as u64;
        let (offset, epoch) = (first.header.base_offset, first.header.leader_epoch);
        let expected = Expected { offset, epoch, epoch_max: self.leader_epoch };
        let mut reader = BatchReader::new(file.clone(), first.position, segment.size(), expected);
        let mut end = first.position;
        // Batches at the limit are not even looked at: they may be half written.
        while reader.expected().offset < limit {
            let batch = async {
                let found = reader.header().await?;
                let wanted = found
                    .filter(|found| found.position == first.position || fits(found.end()))
                    .filter(|found| found.header.next_offset() <= limit);
                if let Some(found) = &wanted {
                    self.check_epoch(found)?;
                    reader.verify(found).await?;
                }
                Ok(wanted)
            };
            match batch.await {
                Ok(Some(found)) => end = found.end(),
                Ok(None) => break,
                Err(bad) => {
                    let error = self.bad_batch(segment, &bad);
                    if end == first.position {
                        return Err(error.into());
                    }
                    // What lies before it is good, and is served.
                    break;
                }
            }
        }
        segment.verified.add(first.position, end);
        Ok(self.file_range(segment, file, first, end))
    }

    fn file_range(
        self: &Arc<Self>,
        segment: &Arc<Segment>,
        file: &Arc<dyn File>,
        first: &Found,
        end: u64,
    ) -> FileRange {
        let (log, segment) = (self.clone(), segment.clone());
        let owner = Arc::new(Served { log, segment, file: file.clone(), first: *first });
        FileRange {
            file: file.clone(),
            position: first.position,
            len: u32::try_from(end - first.position).unwrap_or(u32::MAX),
            owner,
        }
    }

    pub(super) fn view(&self) -> View {
        self.with_shared(|shared| {
            let at = shared.quarantined.as_ref().map(|found| found.at);
            View {
                log_start: shared.log_start,
                limit: limit_of(shared.high_watermark, at),
                segments: shared.segments.clone(),
            }
        })
    }
}

fn limit_of(high_watermark: Offset, quarantined_at: Option<Offset>) -> Offset {
    quarantined_at.map_or(high_watermark, |at| at.min(high_watermark))
}
