//! Appending: one batch at a time per partition, in the order in which they came.
//!
//! The sequencer's decision becomes true only when the write has completed. A write that failed, or was given up half
//! way, is cut off again before anything else is written; if even that fails, the partition goes offline.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use gapless_common::{
    error_code::ErrorCode,
    records::{self, BatchHeader, HEADER_SIZE, TimestampType},
    seeded_bug::{SeededBug, is_on},
    types::Offset,
};
use tokio::time::Instant;

use super::contents::Contents;
use super::segment::{Segment, segment_path};
use super::sequencer::{Append, BatchFacts, Decision, Sequencer};
use super::verified::Verified;
use super::{PartitionLog, Refusal, StorageError};
use crate::storage::{File, WriteError, create_over, is_out_of_descriptors, write_all_at};

/// What the broker and the topic demand of a batch.
pub struct AppendPolicy<'a> {
    /// The wall clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// Whether records get that as their timestamp (`message.timestamp.type=LogAppendTime`).
    pub log_append_time: bool,
    /// What is checked of a batch that would be appended. Not of a duplicate: the retry of what is in the log is
    /// answered with its offset, never with an error that looks final.
    pub check: &'a (dyn Fn(&BatchHeader) -> Result<(), Refusal> + Send + Sync),
}

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// It was there already; nothing was appended.
    pub duplicate: bool,
    /// The batch is durable when the high watermark has reached this ([`PartitionLog::wait_durable`]).
    pub durable_when: Offset,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// The timestamp the broker gave the records, if it did.
    pub append_time_ms: Option<i64>,
}

/// What whoever appends holds.
pub(super) struct Appender {
    pub sequencer: Sequencer,
    pub active: Arc<Segment>,
    /// The active segment's.
    pub file: Arc<dyn File>,
    /// Where the next batch goes, in the active segment.
    pub position: u64,
    /// Bytes of a batch that did not come to be may lie behind `position`.
    pub unsettled: bool,
    /// A cut of the active segment may not be on disk yet.
    pub cut: bool,
}

/// Offsets in an index are relative to the segment's and have 32 bits.
const SEGMENT_OFFSETS_MAX: i64 = u32::MAX as i64;

impl PartitionLog {
    /// Appends one batch that [`records::validate_from_client`] has found good, `header` being what it returned. The
    /// bytes are written as they came, behind a patched header; when this returns they are in the page cache. The
    /// future is to be polled to its end.
    ///
    /// # Errors
    /// What the sequencer, the policy or the disk have against it. Nothing was appended then, and a producer that is not
    /// known here yet may not start behind what was refused.
    pub async fn append(
        self: &Arc<Self>,
        batch: Bytes,
        header: &BatchHeader,
        policy: &AppendPolicy<'_>,
    ) -> Result<Appended, Refusal> {
        let facts = BatchFacts::of(header).ok_or_else(|| impossible(header))?;
        let mut appender = self.appender.lock().await;
        self.check_writable()?;
        self.expire(&mut appender);
        let append = match appender.sequencer.decide(&facts) {
            Decision::Duplicate(duplicate) => {
                return Ok(Appended {
                    base_offset: duplicate.base_offset,
                    last_offset: duplicate.last_offset,
                    duplicate: true,
                    durable_when: duplicate.last_offset.plus(1),
                    log_start_offset: self.log_start_offset(),
                    append_time_ms: duplicate.append_time_ms,
                });
            }
            Decision::Append(append) => self.write(&mut appender, batch, header, policy, append).await,
            Decision::Refused(refusal) => Err(refusal.into()),
        };
        if append.is_err() {
            appender.sequencer.reject(&facts, self.uptime_ms());
        }
        append
    }

    /// A batch was refused before it came here: its producer, if it is not known here yet, may not start behind it.
    pub async fn refuse(&self, header: &BatchHeader) {
        if let Some(facts) = BatchFacts::of(header) {
            self.appender.lock().await.sequencer.reject(&facts, self.uptime_ms());
        }
    }

    /// Forgets the producers whose time has come. Appends do so too; this is for partitions that have none, so it does not
    /// wait for one under way.
    pub fn expire_producers(&self) {
        if let Ok(mut appender) = self.appender.try_lock() {
            self.expire(&mut appender);
        }
    }

    fn expire(&self, appender: &mut Appender) {
        appender.sequencer.expire(self.uptime_ms(), self.config.producer_id_expiration_ms);
        self.producers.store(appender.sequencer.producers(), Ordering::Relaxed);
    }

    /// The clock of the sequencer: monotonic, so that a wall clock that jumps makes nobody forgotten.
    fn uptime_ms(&self) -> i64 {
        i64::try_from(self.opened.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Writes a batch that the sequencer would have, and only then lets its decision become true.
    async fn write(
        self: &Arc<Self>,
        appender: &mut Appender,
        batch: Bytes,
        header: &BatchHeader,
        policy: &AppendPolicy<'_>,
        append: Append,
    ) -> Result<Appended, Refusal> {
        (policy.check)(header)?;
        if appender.unsettled {
            self.cut_off(appender).await?;
        }
        if self.is_full_with(appender, header, &append) {
            self.roll(appender).await?;
        }
        let mut stored =
            BatchHeader { base_offset: append.base_offset, leader_epoch: self.leader_epoch, ..*header };
        if policy.log_append_time {
            stored.set_log_append_time(policy.now_ms);
        }
        let head = records::patched_header(&batch, &stored, append.base_offset, self.leader_epoch);
        if policy.log_append_time {
            // Another time gave the batch another checksum, which marks and summaries are to know it by.
            stored = BatchHeader::parse(&head).unwrap_or(stored);
        }
        let parts = [Bytes::copy_from_slice(&head), batch.slice(HEADER_SIZE.min(batch.len())..)];
        appender.unsettled = true;
        if let Err(error) = write_all_at(&*appender.file, appender.position, &parts).await {
            if is_on(SeededBug::KeepDecisionOfFailedWrite) {
                appender.sequencer.commit(append, None, self.uptime_ms());
            }
            return Err(self.write_failed(appender, error).await.into());
        }
        appender.unsettled = false;
        appender.position += batch.len() as u64;
        appender.active.appended(&stored, self.config.index_interval_bytes);

        let append_time_ms = policy.log_append_time.then_some(policy.now_ms);
        let (base_offset, last_offset) = (append.base_offset, append.last_offset());
        appender.sequencer.commit(append, append_time_ms, self.uptime_ms());
        self.producers.store(appender.sequencer.producers(), Ordering::Relaxed);
        self.batch_written(last_offset.plus(1), batch.len() as u64);
        Ok(Appended {
            base_offset,
            last_offset,
            duplicate: false,
            durable_when: last_offset.plus(1),
            log_start_offset: self.log_start_offset(),
            append_time_ms,
        })
    }

    /// Whether the batch belongs into a new segment.
    fn is_full_with(&self, appender: &Appender, header: &BatchHeader, append: &Append) -> bool {
        let size = appender.position + header.total_size() as u64;
        let offsets = append.last_offset().0 - appender.active.base_offset.0;
        appender.position > 0 && (size > self.config.segment_bytes || offsets > SEGMENT_OFFSETS_MAX)
    }

    /// The active segment is flushed, a new one created, and its name made durable, all before anything in the new one
    /// can be acknowledged: so only the last segment of a log can be torn.
    pub(super) async fn roll(self: &Arc<Self>, appender: &mut Appender) -> Result<(), StorageError> {
        let base_offset = appender.sequencer.next_offset();
        self.wait_flushed(base_offset).await?;
        self.settle_cut(appender).await?;
        let files = &*self.environment.files;
        let path = segment_path(&self.site.directory, base_offset);
        // A file of that name holds nothing: it is left from an attempt that did not get to its end.
        let file = create_over(files, &path)
            .await
            .map_err(|error| StorageError::step(format!("creating {}", path.display()), error))?;
        if let Err(error) = files.sync_dir(&self.site.directory).await {
            if is_out_of_descriptors(&error) {
                // It was not even tried: the directory could not be opened.
                let step = format!("syncing {}", self.site.directory.display());
                return Err(StorageError::step(step, error));
            }
            self.go_offline(format!("syncing {} failed: {error}", self.site.directory.display()));
            return self.check_writable();
        }
        let segment = Arc::new(Segment::new(file.clone(), Contents::empty(base_offset), Verified::from(0)));
        let sealed = std::mem::replace(&mut appender.active, segment.clone());
        appender.file = file;
        appender.position = 0;
        self.with_shared(|shared| shared.segments.push(segment));
        sealed.let_go(&self.sealed_files, &self.site.directory);
        self.note_sealed(appender, sealed);
        Ok(())
    }

    /// A write failed. No space is told to the client, who tries again; any other error is for good.
    async fn write_failed(&self, appender: &mut Appender, error: WriteError) -> StorageError {
        let full = error.is_full();
        let WriteError { written, source } = error;
        if let Err(offline) = self.cut_off(appender).await {
            return offline;
        }
        if full {
            tracing::warn!(
                "partition {}: the disk is full, {written} bytes of a batch were cut off again",
                self.site
            );
            return StorageError::step("writing a batch", source);
        }
        self.go_offline(format!("a write failed after {written} bytes: {source}"));
        self.check_writable().err().unwrap_or(StorageError::Closed)
    }

    /// Before a segment is sealed: what was cut off it could be back after a power loss, where nothing may be torn.
    async fn settle_cut(&self, appender: &mut Appender) -> Result<(), StorageError> {
        if !appender.cut {
            return Ok(());
        }
        let began = Instant::now();
        let result = appender.file.flush().await;
        self.environment.flusher.observer().flushed(began.elapsed(), 0, result.is_err());
        match result {
            Ok(()) => {
                appender.cut = false;
                Ok(())
            }
            Err(error) => {
                self.go_offline(format!("a flush failed: {error}"));
                self.check_writable()
            }
        }
    }

    /// Removes what a write that did not get to its end has left behind the last batch.
    pub(super) async fn cut_off(&self, appender: &mut Appender) -> Result<(), StorageError> {
        match appender.file.truncate(appender.position).await {
            Ok(()) => {
                appender.unsettled = false;
                appender.cut = true;
                Ok(())
            }
            Err(error) => {
                self.go_offline(format!("half a batch could not be cut off again: {error}"));
                self.check_writable()
            }
        }
    }
}

/// A header that validation would have refused.
fn impossible(header: &BatchHeader) -> Refusal {
    Refusal::new(
        ErrorCode::INVALID_RECORD,
        format!(
            "batch of {} records has producer id {}, epoch {} and base sequence {}",
            header.record_count, header.producer_id, header.producer_epoch, header.base_sequence
        ),
    )
}

/// The timestamp the broker gave the records of a batch in the log, if it did.
pub(super) fn append_time_of(header: &BatchHeader) -> Option<i64> {
    (header.attributes.timestamp_type() == TimestampType::LogAppend).then_some(header.max_timestamp)
}
