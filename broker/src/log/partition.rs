//! The log of one partition: what is known of it, who waits for it, and how it stands.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gapless_common::{
    seeded_bug::{SeededBug, is_on},
    types::{LeaderEpoch, Offset},
};
use tokio::{sync::Notify, time::Instant};

use super::append::Appender;
use super::epochs::LeaderEpochs;
use super::flush_marks::MarkKey;
use super::losses::Losses;
use super::notes::Notes;
use super::open_files::SealedFiles;
use super::quarantine::Quarantine;
use super::segment::Segment;
use super::summary::Summary;
use super::{Durability, LogConfig, LogEnvironment, Site, StorageError, flusher};
use crate::storage::group_flush::FlushJob;

/// How a partition stands. Both ills refuse writes with KAFKA_STORAGE_ERROR; other partitions go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// All is well.
    Online,
    /// A write or a flush failed for good. What lies below the high watermark is served.
    Offline {
        /// What failed.
        why: Arc<str>,
    },
    /// Corruption was found. What lies below it is served, nothing from there on.
    Quarantined {
        /// The offset of what is corrupt.
        at: Offset,
        /// What was found, with file and position.
        why: Arc<str>,
    },
}

/// The log of one partition. Used as `Arc<PartitionLog>`; all methods take `&self`.
pub struct PartitionLog {
    pub(super) site: Site,
    pub(super) config: LogConfig,
    pub(super) environment: LogEnvironment,
    pub(super) sealed_files: SealedFiles,
    pub(super) leader_epoch: LeaderEpoch,
    /// Appends, one at a time, in the order in which they came.
    pub(super) appender: tokio::sync::Mutex<Appender>,
    shared: Mutex<Shared>,
    pub(super) notes: Mutex<Notes>,
    /// What was to be noted is written.
    pub(super) notes_idle: Notify,
    /// The state file is written by one at a time.
    pub(super) state_writes: tokio::sync::Mutex<()>,
    /// Old segments are deleted by one at a time.
    pub(super) retaining: tokio::sync::Mutex<()>,
    /// The high watermark, the flushed end or the state has changed.
    progress: Notify,
    watchers: Mutex<Watchers>,
    pub(super) producers: AtomicUsize,
    pub(super) opened: Instant,
    key: u64,
}

/// What appends change and reads look at. Held for moments only, never across an `await`.
pub(super) struct Shared {
    /// In the order of their offsets; the last one is active. Empty only in quarantine from the start.
    pub segments: Vec<Arc<Segment>>,
    pub log_start: Offset,
    pub end: Offset,
    /// What has been flushed by this process, or made durable by recovery.
    pub flushed: Offset,
    pub high_watermark: Offset,
    pub epochs: LeaderEpochs,
    pub offline: Option<Arc<str>>,
    pub quarantined: Option<Quarantine>,
    pub losses: Losses,
    pub gone: Option<Gone>,
    flush: Flush,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Retired,
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Queued {
    No,
    Later,
    Now,
}

/// What waits for a flush, and what a flush under way is for.
struct Flush {
    queued: Queued,
    under_way: bool,
    /// Somebody waits for everything below this to be flushed, whatever the mode.
    wanted: Offset,
    waiting: Group,
    flying: Group,
}

#[derive(Default, Clone, Copy)]
struct Group {
    bytes: u64,
    batches: u64,
    since: Option<Instant>,
}

/// Those who want to hear of the next change. Bounded by the fetches that wait: each registration is used up by the next
/// change, and those whose owner has gone are swept out as the list grows.
#[derive(Default)]
struct Watchers {
    waiting: Vec<Weak<Notify>>,
    sweep_at: usize,
}

/// A list shorter than this is not worth sweeping.
const WATCHERS_SWEEP_MIN: usize = 32;

/// A log as it was created or recovered, before it is in service.
pub(super) struct Start {
    pub segments: Vec<Arc<Segment>>,
    pub log_start: Offset,
    pub end: Offset,
    /// Everything below is durable.
    pub durable: Offset,
    pub epochs: LeaderEpochs,
    pub offline: Option<Arc<str>>,
    pub quarantined: Option<Quarantine>,
    pub losses: Losses,
    pub appender: Appender,
    pub notes: Notes,
    pub sealed_files: SealedFiles,
}

impl PartitionLog {
    pub(super) fn new(
        environment: &LogEnvironment,
        site: Site,
        config: LogConfig,
        leader_epoch: LeaderEpoch,
        mut start: Start,
    ) -> Arc<Self> {
        start.epochs.assign(leader_epoch, start.end);
        let shared = Shared {
            segments: start.segments,
            log_start: start.log_start,
            end: start.end,
            flushed: start.durable,
            high_watermark: start.durable,
            epochs: start.epochs,
            offline: start.offline,
            quarantined: start.quarantined,
            losses: start.losses,
            gone: None,
            flush: Flush {
                queued: Queued::No,
                under_way: false,
                wanted: Offset(0),
                waiting: Group::default(),
                flying: Group::default(),
            },
        };
        Arc::new(Self {
            site,
            config,
            key: environment.flusher.new_key(),
            environment: environment.clone(),
            sealed_files: start.sealed_files,
            leader_epoch,
            producers: AtomicUsize::new(start.appender.sequencer.producers()),
            appender: tokio::sync::Mutex::new(start.appender),
            shared: Mutex::new(shared),
            notes: Mutex::new(start.notes),
            notes_idle: Notify::new(),
            state_writes: tokio::sync::Mutex::new(()),
            retaining: tokio::sync::Mutex::new(()),
            progress: Notify::new(),
            watchers: Mutex::new(Watchers::default()),
            opened: Instant::now(),
        })
    }

    /// End of what consumers see: everything below is durable under the mode in force.
    pub fn high_watermark(&self) -> Offset {
        self.shared().high_watermark
    }

    /// The first offset there is.
    pub fn log_start_offset(&self) -> Offset {
        self.shared().log_start
    }

    /// Where the log starts, and its high watermark.
    ///
    /// # Errors
    /// Nothing is left of the log, so neither is known.
    pub fn bounds(&self) -> Result<(Offset, Offset), StorageError> {
        let shared = self.shared();
        match &shared.quarantined {
            Some(Quarantine { at, why, .. }) if shared.segments.is_empty() => {
                Err(StorageError::Quarantined { at: *at, why: why.clone() })
            }
            _ => Ok((shared.log_start, shared.high_watermark)),
        }
    }

    /// The offset of the next record.
    pub fn end_offset(&self) -> Offset {
        self.shared().end
    }

    /// The epoch in force.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The epoch under which the record at `offset` was appended; −1 when that is not known.
    pub fn leader_epoch_at(&self, offset: Offset) -> LeaderEpoch {
        self.shared().epochs.at(offset)
    }

    /// The largest epoch up to `asked` and the offset where it ended; (−1, −1) for an epoch newer than any known
    /// (Kafka's OffsetForLeaderEpoch).
    ///
    /// # Errors
    /// The partition is quarantined, and the epoch did not end below what is corrupt: what lies there is not gone, so no
    /// client is to take where it begins for where the log parted.
    pub fn end_offset_for_epoch(&self, asked: LeaderEpoch) -> Result<(LeaderEpoch, Offset), StorageError> {
        let shared = self.shared();
        let (epoch, end) = shared.epochs.end_of(asked, shared.end);
        match &shared.quarantined {
            Some(Quarantine { at, why, .. })
                if asked >= LeaderEpoch(0) && (end >= *at || end < Offset(0)) =>
            {
                Err(StorageError::Quarantined { at: *at, why: why.clone() })
            }
            _ => Ok((epoch, end)),
        }
    }

    /// How the partition stands.
    pub fn state(&self) -> State {
        let shared = self.shared();
        match (&shared.quarantined, &shared.offline) {
            (Some(found), _) => State::Quarantined { at: found.at, why: found.why.clone() },
            (None, Some(why)) => State::Offline { why: why.clone() },
            (None, None) => State::Online,
        }
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.shared().segments.iter().map(|segment| segment.size()).sum()
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.shared().segments.len()
    }

    /// Bytes appended and not yet flushed.
    pub fn unflushed_bytes(&self) -> u64 {
        let shared = self.shared();
        shared.flush.waiting.bytes + shared.flush.flying.bytes
    }

    /// When the oldest unflushed batch was appended.
    pub fn oldest_unflushed(&self) -> Option<Instant> {
        let shared = self.shared();
        shared.flush.flying.since.or(shared.flush.waiting.since)
    }

    /// Producers that are remembered.
    pub fn producers(&self) -> usize {
        self.producers.load(Ordering::Relaxed)
    }

    /// Tells `notify` of the next change of the high watermark or the state, once. A stored permit
    /// ([`Notify::notify_one`]), so: register, then look, then wait.
    pub fn watch(&self, notify: &Arc<Notify>) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = watchers.waiting.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(notify)));
        if known {
            return;
        }
        if watchers.waiting.len() >= watchers.sweep_at.max(WATCHERS_SWEEP_MIN) {
            watchers.waiting.retain(|watcher| watcher.strong_count() > 0);
            watchers.sweep_at = watchers.waiting.len() * 2;
        }
        watchers.waiting.push(Arc::downgrade(notify));
    }

    /// Registrations that are kept.
    #[cfg(test)]
    pub(super) fn watchers(&self) -> usize {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).waiting.len()
    }

    /// What there is of the last segment; `None` of a log that has none.
    pub(super) fn end_of_last_segment(&self) -> Option<(MarkKey, Summary)> {
        let shared = self.shared();
        shared.segments.last().map(|active| (self.site.mark_key(), active.summary()))
    }

    /// Waits until everything below `upto` is durable under the mode in force.
    ///
    /// # Errors
    /// When that can no longer come: the partition went offline, or its topic was deleted. What was asked for may be on
    /// disk all the same.
    pub async fn wait_durable(&self, upto: Offset) -> Result<(), StorageError> {
        self.wait_until(|shared| shared.high_watermark >= upto).await
    }

    /// Waits until everything below `upto` has been flushed, whatever the mode in force.
    pub(super) async fn wait_flushed(self: &Arc<Self>, upto: Offset) -> Result<(), StorageError> {
        self.with_shared(|shared| {
            shared.flush.wanted = shared.flush.wanted.max(upto);
            self.queue(shared);
        });
        self.wait_until(|shared| shared.flushed >= upto).await
    }

    async fn wait_until(&self, reached: impl Fn(&Shared) -> bool) -> Result<(), StorageError> {
        loop {
            let mut changed = std::pin::pin!(self.progress.notified());
            // Enabled before looking, so that no change in between is missed.
            changed.as_mut().enable();
            {
                let shared = self.shared();
                if reached(&shared) {
                    return Ok(());
                }
                match (&shared.offline, shared.gone) {
                    (_, Some(Gone::Retired)) => return Err(StorageError::Retired),
                    (Some(why), _) => return Err(StorageError::Offline { why: why.clone() }),
                    (None, _) => {}
                }
            }
            changed.await;
        }
    }

    /// Refuses further appends, flushes everything, and returns when that is done.
    ///
    /// # Errors
    /// When the flush fails.
    pub async fn flush_and_close(self: &Arc<Self>) -> Result<(), StorageError> {
        let _no_append = self.appender.lock().await;
        let end = self.with_shared(|shared| {
            shared.gone.get_or_insert(Gone::Closed);
            shared.end
        });
        self.save_quarantine().await;
        self.wait_flushed(end).await
    }

    /// The topic is being deleted: refuses further appends, and tells everybody who waits. Nothing is flushed any more.
    pub async fn retire(&self) {
        {
            let _no_append = self.appender.lock().await;
            self.with_shared(|shared| shared.gone = Some(Gone::Retired));
            self.sealed_files.retire();
            self.changed();
        }
        // Nothing is written any more into a directory that may be another topic's by and by.
        self.notes_written().await;
        drop(self.state_writes.lock().await);
    }

    /// The topic is deleted for good: nothing needs to be known of it at the next start.
    pub fn forget_marks(&self) {
        self.environment.flusher.forget(self.site.mark_key());
    }

    /// A write or a flush failed for good.
    pub(super) fn go_offline(&self, why: String) {
        tracing::error!("partition {} goes offline: {why}", self.site);
        self.with_shared(|shared| {
            shared.offline.get_or_insert_with(|| why.into());
        });
        self.changed();
    }

    /// Why nothing can be appended, if so.
    pub(super) fn check_writable(&self) -> Result<(), StorageError> {
        let gone = self.shared().gone;
        match gone {
            Some(Gone::Retired) => Err(StorageError::Retired),
            Some(Gone::Closed) => Err(StorageError::Closed),
            None => self.check_sound(),
        }
    }

    /// What is wrong with the log, if anything is.
    pub(super) fn check_sound(&self) -> Result<(), StorageError> {
        self.check_unquarantined()?;
        match &self.shared().offline {
            Some(why) => Err(StorageError::Offline { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// That nothing of the log is refused for what was found in it.
    pub(super) fn check_unquarantined(&self) -> Result<(), StorageError> {
        match &self.shared().quarantined {
            Some(found) => Err(StorageError::Quarantined { at: found.at, why: found.why.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn with_shared<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(&mut self.shared())
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Nothing panics while it is held.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything up to the end is in the page cache: counts `bytes` of one batch as unflushed and sees to the flush.
    pub(super) fn batch_written(self: &Arc<Self>, end: Offset, bytes: u64) {
        let visible = self.with_shared(|shared| {
            shared.end = end;
            let waiting = &mut shared.flush.waiting;
            waiting.bytes += bytes;
            waiting.batches += 1;
            waiting.since.get_or_insert_with(Instant::now);
            self.queue(shared);
            let visible = self.config.durability == Durability::Os;
            if visible {
                shared.high_watermark = end;
            }
            visible
        });
        if visible {
            self.changed();
        }
    }

    /// Sees to it that what is unflushed will be flushed, if it is not being seen to already.
    fn queue(self: &Arc<Self>, shared: &mut Shared) {
        let flush = &mut shared.flush;
        // A flush under way looks again when it ends.
        if flush.under_way || flush.waiting.batches == 0 || flush.queued == Queued::Now {
            return;
        }
        let soon = self.config.durability == Durability::Fsync
            || flush.waiting.bytes >= flusher::BACKGROUND_BYTES
            || flush.wanted > shared.flushed;
        if soon {
            flush.queued = Queued::Now;
            self.environment.flusher.flush_now(self.key, self.clone());
        } else if flush.queued == Queued::No {
            flush.queued = Queued::Later;
            self.environment.flusher.flush_later(self.key, self.clone());
        }
    }

    /// Notes how far the log has come, for the flush that is about to be called. `None`: there is nothing to flush.
    pub(super) fn begin_flush(self: &Arc<Self>) -> Option<FlushJob> {
        let (active, end) = self.with_shared(|shared| {
            shared.flush.queued = Queued::No;
            let no_more = shared.offline.is_some() || shared.gone == Some(Gone::Retired);
            if no_more || shared.flush.under_way || shared.flush.waiting.batches == 0 {
                return None;
            }
            shared.flush.under_way = true;
            shared.flush.flying = std::mem::take(&mut shared.flush.waiting);
            // Everything unflushed is in the active segment: the others were flushed before it was created.
            shared.segments.last().map(|active| (active.clone(), shared.end))
        })?;
        // Of whole batches in the page cache, so all of it will be flushed, even what `end` does not count yet.
        let mark = active.summary();
        let log = self.clone();
        let began = Instant::now();
        let done = Box::new(move |result| log.end_flush(end, mark, began.elapsed(), result));
        Some(FlushJob { file: active.active_file(), done })
    }

    fn end_flush(self: &Arc<Self>, end: Offset, mark: Summary, took: Duration, result: std::io::Result<()>) {
        if result.is_err() && is_on(SeededBug::BelieveSecondFlush) {
            return self.with_shared(|shared| {
                shared.flush.under_way = false;
                shared.flush.waiting = std::mem::take(&mut shared.flush.flying);
                self.queue(shared);
            });
        }
        let (flown, retired) = self.with_shared(|shared| {
            let flown = shared.flush.flying;
            let retired = shared.gone == Some(Gone::Retired);
            shared.flush.under_way = false;
            if result.is_ok() {
                shared.flush.flying = Group::default();
                shared.flushed = end;
                shared.high_watermark = shared.high_watermark.max(end);
                self.queue(shared);
                if !retired {
                    // In here: of a log that is retired from now on the marks are forgotten, and stay so.
                    self.environment.flusher.flushed(self.site.mark_key(), mark);
                }
            }
            (flown, retired)
        });
        self.environment.flusher.observer().flushed(took, flown.batches, result.is_err());
        match result {
            Ok(()) => {
                self.changed();
                if !retired {
                    self.note_flushed(flown.bytes);
                }
            }
            // Final: the pages are clean now but not on disk, so no later success would prove anything.
            Err(error) => self.go_offline(format!("a flush failed: {error}")),
        }
    }

    /// Wakes everybody who waits for a change.
    pub(super) fn changed(&self) {
        self.progress.notify_waiters();
        let waiting =
            std::mem::take(&mut self.watchers.lock().unwrap_or_else(PoisonError::into_inner).waiting);
        for watcher in waiting.iter().filter_map(Weak::upgrade) {
            watcher.notify_one();
        }
    }
}
