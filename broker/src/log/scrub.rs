//! One step of the scrub through one log: what nobody reads is compared with its checksums too, before the copy that an
//! operator may still have elsewhere is gone.

use std::sync::Arc;

use gapless_common::types::Offset;

use super::batch_reader::BatchReader;
use super::segment::Segment;
use super::walk::{BadBatch, Expected};
use super::{PartitionLog, StorageError};

/// What one step saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes read.
    pub bytes: u64,
    /// Where to go on; `None` when this log is done for now.
    pub next: Option<Offset>,
    /// A batch was found that is not what was written, or that the disk does not give back.
    pub corrupt: bool,
}

impl Scrubbed {
    const DONE: Self = Self { bytes: 0, next: None, corrupt: false };
}

/// What a step is about, all of one moment.
struct Target {
    segment: Arc<Segment>,
    from: Offset,
    /// Nothing at or above it is looked at: it is not flushed, or known to be corrupt.
    limit: Offset,
    /// Where the log goes on behind the segment; `None` for the active one.
    next_base: Option<Offset>,
}

impl PartitionLog {
    /// Compares about `bytes_max` bytes from the batch that holds `from` on with their checksums, and at least that one;
    /// of one segment, and of what is flushed. What was corrupt before is not looked at again.
    pub async fn scrub(self: &Arc<Self>, from: Offset, bytes_max: u64) -> Scrubbed {
        let Some(target) = self.scrub_target(from) else { return Scrubbed::DONE };
        let mut bytes = 0;
        match self.scrub_segment(&target, bytes_max, &mut bytes).await {
            // Without a byte the next batch is half written, or goes beyond the limit: this is all for now.
            Ok(reached)
                if bytes > 0
                    && reached < target.limit
                    && target.next_base.is_none_or(|base| reached < base) =>
            {
                Scrubbed { bytes, next: Some(reached), corrupt: false }
            }
            Ok(_) => Scrubbed { bytes, next: target.next_base, corrupt: false },
            Err(bad) => {
                let error = self.bad_batch(&target.segment, &bad);
                let corrupt = matches!(error, StorageError::Quarantined { .. });
                if !corrupt {
                    tracing::warn!("partition {}: the scrub cannot look: {error}", self.site);
                }
                Scrubbed { bytes, next: None, corrupt }
            }
        }
    }

    fn scrub_target(&self, from: Offset) -> Option<Target> {
        self.with_shared(|shared| {
            let from = shared.losses.skip(from.max(shared.log_start));
            let corrupt = shared.quarantined.as_ref().map_or(Offset(i64::MAX), |found| found.at);
            let limit = shared.flushed.min(corrupt);
            let after = shared.segments.partition_point(|segment| segment.base_offset <= from);
            let segment = shared.segments.get(after.checked_sub(1)?)?.clone();
            let next_base = shared.segments.get(after).map(|segment| segment.base_offset);
            (shared.gone.is_none() && from < limit).then_some(Target { segment, from, limit, next_base })
        })
    }

    /// The offset that was reached.
    async fn scrub_segment(
        &self,
        target: &Target,
        bytes_max: u64,
        bytes: &mut u64,
    ) -> Result<Offset, BadBatch> {
        let Target { segment, from, limit, next_base } = target;
        let Some((first, walk)) = segment.find(*from, self.leader_epoch).await? else {
            let why = format!("the segment ends before offset {from}");
            return Err(BadBatch { offset: *from, position: segment.size(), why, source: None });
        };
        if next_base.is_some() {
            // Else the page cache would be asked, which has no rot. The active segment's pages are not all clean.
            walk.file().forget_cached(first.position, bytes_max.max(first.header.total_size() as u64));
        }
        let (offset, epoch) = (first.header.base_offset, first.header.leader_epoch);
        let expected = Expected { offset, epoch, epoch_max: self.leader_epoch };
        let mut reader = BatchReader::new(walk.file().clone(), first.position, segment.size(), expected);
        while *bytes < bytes_max && reader.expected().offset < *limit {
            let Some(found) = reader.header().await? else { break };
            // Half written, perhaps.
            if found.header.next_offset() > *limit {
                break;
            }
            self.check_epoch(&found)?;
            reader.verify(&found).await?;
            *bytes = found.end() - first.position;
        }
        segment.verified.add(first.position, first.position + *bytes);
        Ok(reader.expected().offset)
    }
}
