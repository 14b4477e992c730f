//! Corruption that was found while the partition is in service: from its offset on nothing is served, and the next start
//! will not have forgotten it, even if its recovery does not look there.

use std::{io, sync::Arc};

use gapless_common::types::{LeaderEpoch, Offset};
use tokio::sync::MutexGuard;

use super::partition::{Gone, Shared};
use super::segment::{Segment, segment_path};
use super::state_file::StateFile;
use super::walk::{BadBatch, Found};
use super::{PartitionLog, StorageError};
use crate::storage::{is_lost, small_file::SmallFileError};

/// What is known of corruption, and whether the state file says so too.
#[derive(Debug, Clone)]
pub(super) struct Quarantine {
    /// The first offset that is not served.
    pub at: Offset,
    /// What was found, with file and position.
    pub why: Arc<str>,
    pub saved: bool,
}

impl PartitionLog {
    /// A read did not find the batch that belongs there. What will pass (no descriptor, no memory) is told to who reads;
    /// anything else quarantines the partition.
    pub(super) fn bad_batch(self: &Arc<Self>, segment: &Segment, bad: &BadBatch) -> StorageError {
        let file = segment_path(&self.site.directory, segment.base_offset);
        let is_lost = |source: &io::Error| is_lost(source) || self.is_missing(segment, source);
        if let Some(source) = bad.source.as_ref().filter(|source| !is_lost(source)) {
            let step = format!("reading {} at position {}", file.display(), bad.position);
            return StorageError::Step { step, source: source.clone() };
        }
        let why = format!("{} at position {}: {}", file.display(), bad.position, bad.why);
        self.quarantine(bad.offset, why.into())
    }

    /// The file of a segment was not there when it was to be opened again. That is a loss, unless the segment, or the whole
    /// log, was deleted meanwhile: which is known before the file goes.
    fn is_missing(&self, segment: &Segment, error: &io::Error) -> bool {
        let next_offset = segment.summary().next_offset;
        let is_ours = self.with_shared(|shared| shared.gone.is_none() && next_offset > shared.log_start);
        error.kind() == io::ErrorKind::NotFound && is_ours
    }

    /// The leader epoch of a batch lies outside its checksum; here is what else is known of it.
    pub(super) fn check_epoch(&self, found: &Found) -> Result<(), BadBatch> {
        let (offset, stands) = (found.header.base_offset, found.header.leader_epoch);
        let known = self.leader_epoch_at(offset);
        if known < LeaderEpoch(0) || known == stands {
            return Ok(());
        }
        let why = format!("leader epoch {stands} where {known} was in force");
        Err(BadBatch { offset, position: found.position, why, source: None })
    }

    fn quarantine(self: &Arc<Self>, at: Offset, why: Arc<str>) -> StorageError {
        let found = StorageError::Quarantined { at, why: why.clone() };
        let is_news = self.with_shared(|shared| {
            let known = shared.quarantined.as_ref().is_some_and(|known| known.at <= at);
            if !known {
                shared.quarantined = Some(Quarantine { at, why, saved: false });
            }
            !known
        });
        if is_news {
            tracing::error!("partition {}: {found}", self.site);
            self.changed();
            // Whoever found it may go away at any moment; this does not.
            let log = self.clone();
            self.environment.spawner.spawn(async move { log.save_quarantine().await });
        }
        found
    }

    /// Writes the state file if it does not tell of the quarantine yet, on a full disk with the room that is kept. A failure is
    /// logged; the next check of retention tries again, and the clean stop.
    pub(super) async fn save_quarantine(&self) {
        let one_at_a_time = self.state_writes.lock().await;
        let is_saved = |shared: &mut Shared| {
            shared.gone == Some(Gone::Retired) || shared.quarantined.as_ref().is_none_or(|found| found.saved)
        };
        if self.with_shared(is_saved) {
            return;
        }
        if let Err(error) = self.write_state(&one_at_a_time, self.log_start_offset()).await {
            tracing::error!(
                "partition {}: {error}; a restart will not know of the quarantine until what is corrupt is read again",
                self.site
            );
        }
    }

    /// The log starts at `start`, unless it starts behind it already: durably, and only then for those who read.
    pub(super) async fn save_log_start(&self, start: Offset) -> Result<(), StorageError> {
        let one_at_a_time = self.state_writes.lock().await;
        if self.with_shared(|shared| shared.gone == Some(Gone::Retired)) {
            return Err(StorageError::Retired);
        }
        if start <= self.log_start_offset() {
            return Ok(());
        }
        let saved = self.write_state(&one_at_a_time, start).await;
        saved.map_err(|error| StorageError::step("saving the start of the log", io::Error::other(error)))?;
        self.with_shared(|shared| shared.log_start = start);
        Ok(())
    }

    /// Writes the state file as things stand, but for the log's start, durably, and even on a full disk: that may be what
    /// frees it ([`crate::storage::spare`]).
    async fn write_state(
        &self,
        _one_at_a_time: &MutexGuard<'_, ()>,
        log_start: Offset,
    ) -> Result<(), SmallFileError> {
        let (state, quarantined_at) = self.with_shared(|shared| {
            let quarantined = shared.quarantined.as_ref().map(|found| (found.at, found.why.clone()));
            let state = StateFile::new(log_start, &shared.epochs, shared.losses.clone())
                .with_quarantine(quarantined.as_ref());
            (state, quarantined.map(|(at, _)| at))
        });
        let (environment, directory) = (&self.environment, &self.site.directory);
        state.write_on_full_disk(&environment.spare, directory).await?;
        self.with_shared(|shared| {
            if let Some(found) = &mut shared.quarantined {
                // It may have moved in the meantime.
                found.saved |= Some(found.at) == quarantined_at;
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
