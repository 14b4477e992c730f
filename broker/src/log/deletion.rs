//! Forgetting the oldest records: by retention, and on request (DeleteRecords).
//!
//! The order makes a crash harmless at any step: the start of the log is durable before anything below it is unlinked,
//! and each unlinking is durable before the next, oldest first. What is left below the start is unlinked by the next
//! check. On a full disk both the start and the checkpoint that goes before it take the room that is kept for them
//! ([`crate::storage::spare`]). Whoever reads a segment meanwhile holds its file, and goes on reading.

use std::{io, path::Path, sync::Arc};

use gapless_common::{error_code::ErrorCode, types::Offset};

use super::append::Appender;
use super::contents::{index_name, time_index_name};
use super::partition::State;
use super::retention::{Held, RetentionLimits, expired};
use super::segment::{Segment, segment_path};
use super::{PartitionLog, Refusal, StorageError};

/// What one check has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Files of batches.
    pub segments: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl PartitionLog {
    /// Everything below `before` counts as deleted from now on, durably; `None` is the high watermark. Returned is the
    /// log's first offset. Segments that are wholly below it are unlinked by the next [`PartitionLog::retain`].
    ///
    /// # Errors
    /// There is nothing at that offset yet; the partition cannot write.
    pub async fn delete_records(self: &Arc<Self>, before: Option<Offset>) -> Result<Offset, Refusal> {
        self.check_writable()?;
        let (start, high_watermark) = (self.log_start_offset(), self.high_watermark());
        let before = before.unwrap_or(high_watermark);
        if before > high_watermark || before < Offset(0) {
            return Err(Refusal::new(
                ErrorCode::OFFSET_OUT_OF_RANGE,
                format!("offset {before} is not in the log, which goes from {start} to {high_watermark}"),
            ));
        }
        // A log that ended before its start, after a power loss, would be taken for a loss.
        self.wait_flushed(before).await?;
        self.save_log_start(before).await?;
        Ok(self.log_start_offset())
    }

    /// Deletes what `limits` no longer keep at `now_ms`, and seals the active segment when it has been so for long
    /// enough. A partition in which something is wrong is left as it is.
    ///
    /// # Errors
    /// When a step fails; the next check goes on from there. While another check is under way nothing is done.
    pub async fn retain(
        self: &Arc<Self>,
        limits: &RetentionLimits,
        now_ms: i64,
    ) -> Result<Reclaimed, StorageError> {
        if self.state() != State::Online || self.check_writable().is_err() {
            self.save_quarantine().await;
            return Ok(Reclaimed::default());
        }
        let Ok(_one_at_a_time) = self.retaining.try_lock() else { return Ok(Reclaimed::default()) };
        let sealed = match self.seal_if_due(limits, now_ms).await {
            // What is sealed already can be deleted, and that gives room.
            Err(full @ StorageError::Full { .. }) => Err(full),
            other => Ok(other?),
        };
        let (segments, start) = self.with_shared(|shared| {
            let held: Vec<Held> = shared.segments.iter().map(|segment| segment.held()).collect();
            let count = expired(&held, shared.log_start, shared.high_watermark, limits, now_ms);
            // One is always kept: had it been the active one's turn, it would have been sealed.
            let kept = count.min(shared.segments.len().saturating_sub(1));
            let start = shared.segments.get(kept).map(|segment| segment.base_offset);
            (shared.segments.get(..kept).unwrap_or_default().to_vec(), start)
        });
        let Some(start) = start.filter(|_| !segments.is_empty()) else {
            return sealed.map(|()| Reclaimed::default());
        };
        if !self.note_from(start).await {
            tracing::warn!(
                "partition {}: nothing is deleted before a checkpoint is written: without one the producers of what is \
                 deleted would be forgotten",
                self.site
            );
            return Ok(Reclaimed::default());
        }
        self.save_log_start(start).await?;
        let mut reclaimed = Reclaimed::default();
        for segment in segments {
            let size = segment.size();
            self.unlink(&segment).await?;
            self.with_shared(|shared| {
                shared.segments.retain(|kept| kept.base_offset != segment.base_offset);
                if let Some(first) = shared.segments.first() {
                    shared.epochs.forget_before(first.base_offset);
                }
            });
            reclaimed.segments += 1;
            reclaimed.bytes += size;
        }
        // What it took to get here is kept again.
        self.environment.spare.fill().await;
        tracing::info!(
            "partition {}: {} segments of {} bytes are deleted; the log starts at {}",
            self.site,
            reclaimed.segments,
            reclaimed.bytes,
            self.log_start_offset()
        );
        Ok(reclaimed)
    }

    /// A new segment is begun when the active one is as old as a segment gets, or when all of it is to go.
    async fn seal_if_due(
        self: &Arc<Self>,
        limits: &RetentionLimits,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        if !self.is_due(limits, now_ms).await {
            return Ok(());
        }
        let mut appender = self.appender.lock().await;
        self.check_writable()?;
        // Appends may have rolled, or written, in the meantime.
        if appender.position == 0 || !self.is_due(limits, now_ms).await {
            return Ok(());
        }
        self.seal_active(&mut appender).await
    }

    async fn is_due(&self, limits: &RetentionLimits, now_ms: i64) -> bool {
        let (all_expired, active) = self.with_shared(|shared| {
            let held: Vec<Held> = shared.segments.iter().map(|segment| segment.held()).collect();
            let count = expired(&held, shared.log_start, shared.high_watermark, limits, now_ms);
            (count > 0 && count == held.len(), shared.segments.last().cloned())
        });
        let Some(active) = active else { return false };
        all_expired
            || active
                .began(now_ms)
                .await
                .is_some_and(|began| now_ms.saturating_sub(began) > limits.segment_ms)
    }

    async fn seal_active(self: &Arc<Self>, appender: &mut Appender) -> Result<(), StorageError> {
        if appender.unsettled {
            self.cut_off(appender).await?;
        }
        self.roll(appender).await
    }

    /// Its indexes first: what is left of a segment after a crash is one without them, which has its own again after the
    /// next start, and goes.
    async fn unlink(&self, segment: &Segment) -> Result<(), StorageError> {
        // The names may be those of another topic once this one is deleted.
        let _not_retired_meanwhile = self.state_writes.lock().await;
        self.check_writable()?;
        let (files, directory) = (&*self.environment.files, &self.site.directory);
        let base = segment.base_offset;
        for path in [
            directory.join(time_index_name(base)),
            directory.join(index_name(base)),
            segment_path(directory, base),
        ] {
            match files.remove(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StorageError::step(format!("deleting {}", path.display()), error));
                }
                _ => {}
            }
        }
        let synced = files.sync_dir(directory).await;
        synced.map_err(|error| StorageError::step(format!("syncing {}", Path::display(directory)), error))
    }
}

#[cfg(test)]
mod tests;
