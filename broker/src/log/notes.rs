//! What is noted beside the log so that the next start need not read all of it: the indexes of sealed segments and
//! checkpoints ([`super::checkpoint`]). One task per partition writes them, one after the other, outside the
//! acknowledgement path. None of them is needed: what could not be written costs the next start some reading.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use gapless_common::{
    seeded_bug::{SeededBug, is_on},
    types::Offset,
};
use tokio::time::Instant;

use super::PartitionLog;
use super::append::Appender;
use super::checkpoint;
use super::partition::Gone;
use super::segment::{Segment, segment_path};
use super::summary::Summary;

/// What is to be noted of one partition, and what has been.
#[derive(Default)]
pub(super) struct Notes {
    under_way: bool,
    /// Sealed, with indexes that are not in their files yet.
    sealed: Vec<Arc<Segment>>,
    /// A checkpoint that was taken when a segment was full, and the bytes that no other one speaks of.
    taken: Option<(Summary, BytesMut, u64)>,
    /// A checkpoint is to be taken.
    wanted: bool,
    /// Even if there is one at that offset: it speaks of a segment that will go.
    again: bool,
    /// Bytes flushed since the last one was taken.
    unsaved_bytes: u64,
    /// When the last of them were flushed, or the log was opened.
    flushed_at: Option<Instant>,
    /// The checkpoints on disk, oldest first.
    pub kept: Vec<Offset>,
    /// The segment that the newest of them speaks of, if this process wrote it.
    newest_in: Option<Offset>,
}

/// A start that had to read this part of the interval spares the next one that.
const RECOVERED_SHARE: u64 = 16;

/// A partition is idle when nothing was appended for so long. One that gets a record a minute is idle in between; it has its
/// checkpoint once it has gathered enough.
pub(super) const IDLE_AFTER: Duration = Duration::from_secs(10);
/// An idle partition has a checkpoint behind all but this part of the interval (64 KiB of 64 MiB): ten thousand such rests
/// are 640 MiB to read, and what comes in drops does not cost a checkpoint each.
const IDLE_SHARE: u64 = 1024;

/// One that could not be written is due again after this part of the interval; an idle partition tries it again after
/// [`IDLE_AFTER`].
const RETRY_SHARE: u64 = 16;

enum Work {
    Seal(Arc<Segment>),
    Write(Summary, BytesMut, u64),
    Take,
}

impl Notes {
    pub(super) fn new(kept: Vec<Offset>, unsaved_bytes: u64) -> Self {
        Self { kept, unsaved_bytes, flushed_at: Some(Instant::now()), ..Self::default() }
    }

    fn next(&mut self) -> Option<Work> {
        if !self.sealed.is_empty() {
            return Some(Work::Seal(self.sealed.remove(0)));
        }
        if let Some((at, content, bytes)) = self.taken.take() {
            return Some(Work::Write(at, content, bytes));
        }
        std::mem::take(&mut self.wanted).then_some(Work::Take)
    }
}

impl PartitionLog {
    /// So many more bytes are flushed, a new segment begun, or there is another reason to look whether something is to be
    /// noted.
    pub(super) fn note_flushed(self: &Arc<Self>, bytes: u64) {
        self.note(|notes| {
            notes.unsaved_bytes += bytes;
            notes.flushed_at = Some(Instant::now());
            notes.wanted |= notes.unsaved_bytes >= self.config.checkpoint_interval_bytes;
        });
    }

    /// Sees to a checkpoint if the log has been idle for long enough, and a start would have to read enough of it. Whether it
    /// was so.
    pub fn note_if_idle(self: &Arc<Self>, now: Instant) -> bool {
        let enough = self.config.checkpoint_interval_bytes / IDLE_SHARE;
        let mut is_due = false;
        self.note(|notes| {
            let idle_since = notes.flushed_at.map(|at| now.saturating_duration_since(at));
            is_due = !notes.under_way
                && notes.unsaved_bytes > enough
                && idle_since.is_some_and(|idle| idle >= IDLE_AFTER);
            notes.wanted |= is_due;
        });
        is_due
    }

    /// So many bytes were read when the log was opened.
    pub(super) fn note_recovered(self: &Arc<Self>, bytes: u64) {
        self.note(|notes| notes.wanted |= bytes > self.config.checkpoint_interval_bytes / RECOVERED_SHARE);
    }

    /// A segment is full, flushed, and not the active one any more; nothing has been appended behind it yet.
    pub(super) fn note_sealed(self: &Arc<Self>, appender: &Appender, sealed: Arc<Segment>) {
        let at = sealed.summary();
        let epochs = self.with_shared(|shared| shared.epochs.clone());
        let content = checkpoint::encode(&self.site, &at, &epochs, &appender.sequencer);
        self.note(|notes| {
            notes.sealed.push(sealed);
            let superseded = notes.taken.take().map_or(0, |(_, _, bytes)| bytes);
            notes.taken = Some((at, content, std::mem::take(&mut notes.unsaved_bytes) + superseded));
            notes.wanted = false;
        });
    }

    /// The log is closed: what the next start would like to know is written down before this returns.
    pub async fn note_all(self: &Arc<Self>) {
        self.note(|notes| notes.wanted = true);
        self.notes_written().await;
    }

    /// Sees to it that there is a checkpoint that speaks of no segment before `start`, and that nothing is written any more
    /// for such a segment: they will be unlinked. False if there is none.
    pub(super) async fn note_from(self: &Arc<Self>, start: Offset) -> bool {
        let is_there = || self.with_notes(|notes| notes.newest_in >= Some(start));
        self.notes_written().await;
        if !is_there() {
            self.note(|notes| (notes.wanted, notes.again) = (true, true));
            self.notes_written().await;
        }
        is_there()
    }

    /// Waits until nothing is being written.
    pub(super) async fn notes_written(&self) {
        loop {
            let mut idle = std::pin::pin!(self.notes_idle.notified());
            idle.as_mut().enable();
            if !self.with_notes(|notes| notes.under_way) {
                return;
            }
            idle.await;
        }
    }

    pub(super) fn with_notes<T>(&self, change: impl FnOnce(&mut Notes) -> T) -> T {
        change(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(self: &Arc<Self>, change: impl FnOnce(&mut Notes)) {
        let starts = self.with_notes(|notes| {
            change(notes);
            let has_work = notes.wanted || notes.taken.is_some() || !notes.sealed.is_empty();
            let starts = has_work && !notes.under_way;
            notes.under_way |= starts;
            starts
        });
        if starts {
            self.environment.spawner.spawn(self.clone().write_notes());
        }
    }

    async fn write_notes(self: Arc<Self>) {
        // The directory of a deleted topic may soon be another topic's.
        let retired = || self.with_shared(|shared| shared.gone == Some(Gone::Retired));
        loop {
            let work = self.with_notes(|notes| {
                let work = notes.next().filter(|_| !retired());
                notes.under_way = work.is_some();
                work
            });
            let files = &*self.environment.files;
            match work {
                None => break,
                Some(Work::Seal(segment)) => {
                    segment.seal(files, &self.sealed_files, &self.site.directory).await;
                }
                Some(Work::Write(at, content, bytes)) => {
                    if !self.write_checkpoint(&at, content, false).await {
                        self.not_saved(bytes);
                    }
                }
                Some(Work::Take) => {
                    let bytes = self.with_notes(|notes| std::mem::take(&mut notes.unsaved_bytes));
                    if !self.take_checkpoint().await {
                        self.not_saved(bytes);
                    }
                }
            }
        }
        self.notes_idle.notify_waiters();
    }

    /// No checkpoint speaks of so many bytes: the next one is due before as many more have come.
    fn not_saved(&self, bytes: u64) {
        let interval = self.config.checkpoint_interval_bytes;
        self.with_notes(|notes| {
            notes.unsaved_bytes = (notes.unsaved_bytes + bytes).min(interval - interval / RETRY_SHARE);
            notes.flushed_at = Some(Instant::now());
        });
    }

    /// False: it failed, and is to be tried again.
    async fn take_checkpoint(self: &Arc<Self>) -> bool {
        let (contents, at, content, again) = {
            let appender = self.appender.lock().await;
            let at = appender.active.summary();
            let (again, is_known) = self.with_notes(|notes| {
                let again = std::mem::take(&mut notes.again);
                (again, !again && notes.kept.last() == Some(&at.next_offset))
            });
            // Of an empty log there is nothing to know, and of one that is not well nothing is noted any more.
            let is_empty = at.next_offset == Offset(0);
            if is_known || is_empty || self.check_sound().is_err() {
                return true;
            }
            if appender.unsettled {
                return false;
            }
            let epochs = self.with_shared(|shared| shared.epochs.clone());
            let content = checkpoint::encode(&self.site, &at, &epochs, &appender.sequencer);
            (appender.active.contents().filter(|_| at.size > 0), at, content, again)
        };
        if !is_on(SeededBug::TrustAbandonedSnapshot) && self.wait_flushed(at.next_offset).await.is_err() {
            return true;
        }
        // Before the checkpoint, without which the segment is read from its start.
        if let Some(contents) = contents
            && let Err(error) = contents.write(&*self.environment.files, &self.site.directory).await
        {
            let path = segment_path(&self.site.directory, at.base_offset);
            tracing::warn!("the indexes of {} so far were not written: {error}", path.display());
            if !again {
                return false;
            }
        }
        self.write_checkpoint(&at, content, again).await
    }

    /// Whether it is written. One that is needed for freeing a full disk may take the room that is kept for that.
    async fn write_checkpoint(&self, at: &Summary, content: BytesMut, is_needed: bool) -> bool {
        let offset = at.next_offset;
        let (files, directory) = (&*self.environment.files, &self.site.directory);
        let spare = Some(&self.environment.spare).filter(|_| is_needed);
        if let Err(error) = checkpoint::write(files, spare, &self.site, offset, content).await {
            tracing::warn!("partition {}: no checkpoint at offset {offset}: {error}", self.site);
            return false;
        }
        let superseded = self.with_notes(|notes| {
            notes.newest_in = Some(at.base_offset);
            if notes.kept.last() != Some(&offset) {
                notes.kept.push(offset);
            }
            let surplus = notes.kept.len().saturating_sub(checkpoint::KEPT);
            notes.kept.drain(..surplus).collect::<Vec<_>>()
        });
        for old in superseded {
            if let Err(error) = checkpoint::remove(files, directory, old).await {
                tracing::warn!("partition {}: the checkpoint at offset {old} stays: {error}", self.site);
            }
        }
        true
    }
}
