//! Group commit: one task flushes the dirty partitions of the whole broker.
//!
//! A partition is queued when its first unflushed batch arrives. The task takes all that are queued as one group, notes
//! how far each has come (before the flush is called, so that what arrives later is not believed flushed), and hands the
//! files to [`GroupFlush`]. Each partition hears of its own flush as soon as that is done, and is queued again if more
//! has arrived: a slow file holds up nobody else, and no timer stands between a batch and its acknowledgement.
//!
//! What a flush has made durable is noted ([`super::flush_marks`]) by one more write at a time, beside the flushes of the
//! next groups: nobody waits for it.
//!
//! Under [`super::Durability::Os`] nothing waits for a flush; partitions are flushed [`BACKGROUND_INTERVAL`] after they
//! became dirty, or when [`BACKGROUND_BYTES`] have gathered.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use gapless_common::seam::{Spawner, TaskHandle};
use gapless_common::types::{PartitionId, TopicId};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::PartitionLog;
use super::flush_marks::{FlushMarks, MarkBook, MarkKey, file::MarkFile};
use super::summary::Summary;
use crate::rate_limited_log::RateLimitedLog;
use crate::storage::{Files, group_flush::GroupFlush};

/// Age of the oldest unflushed batch at which a background flush begins.
pub const BACKGROUND_INTERVAL: Duration = Duration::from_secs(1);
/// Unflushed bytes of one partition at which a background flush begins.
pub const BACKGROUND_BYTES: u64 = 16 << 20;

/// Hears of every flush, for metrics.
pub trait FlushObserver: Send + Sync + 'static {
    /// A flush of one file has ended: how long it took, how many batches it was for, and whether it failed.
    fn flushed(&self, took: Duration, batches: u64, failed: bool);
}

/// A handle to the flushing task; cheap to clone.
#[derive(Clone)]
pub struct Flusher(Arc<Inner>);

struct Inner {
    queue: Mutex<Queue>,
    marks: Mutex<MarkBook>,
    wake: Notify,
    ended: Notify,
    observer: Arc<dyn FlushObserver>,
    keys: AtomicU64,
}

/// Each partition is in it at most once.
#[derive(Default)]
struct Queue {
    now: BTreeMap<u64, Arc<PartitionLog>>,
    later: BTreeMap<u64, Arc<PartitionLog>>,
    later_due: Option<Instant>,
    stopping: bool,
}

impl Flusher {
    /// Starts the task. It runs until [`Flusher::stop`], and then until everything that is queued has been flushed and
    /// noted. `marks` are those that were read from `files` at the start.
    pub fn start(
        spawner: &Spawner,
        files: Arc<dyn Files>,
        group_flush: Arc<dyn GroupFlush>,
        observer: Arc<dyn FlushObserver>,
        marks: FlushMarks,
    ) -> (Self, TaskHandle) {
        let flusher = Self(Arc::new(Inner {
            queue: Mutex::new(Queue::default()),
            marks: Mutex::new(MarkBook::new(marks)),
            wake: Notify::new(),
            ended: Notify::new(),
            observer,
            keys: AtomicU64::new(0),
        }));
        let running = flusher.clone();
        let task = spawner.spawn(async move {
            run(running.clone(), files, group_flush).await;
            running.0.ended.notify_one();
        });
        (flusher, task)
    }

    /// Ends the task once all that is queued has been flushed. Logs are closed before
    /// ([`PartitionLog::flush_and_close`]); nothing is flushed any more afterwards.
    pub fn stop(&self) {
        self.queue().stopping = true;
        self.0.wake.notify_one();
    }

    /// Waits until the task has ended after [`Flusher::stop`]. For one who waits.
    pub async fn ended(&self) {
        self.0.ended.notified().await;
    }

    /// A number that tells a partition from all others.
    pub(super) fn new_key(&self) -> u64 {
        self.0.keys.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn observer(&self) -> &dyn FlushObserver {
        &*self.0.observer
    }

    /// The partition is to be flushed as soon as possible.
    pub(super) fn flush_now(&self, key: u64, log: Arc<PartitionLog>) {
        let mut queue = self.queue();
        queue.later.remove(&key);
        queue.now.insert(key, log);
        drop(queue);
        self.0.wake.notify_one();
    }

    /// The partition is to be flushed in the background.
    pub(super) fn flush_later(&self, key: u64, log: Arc<PartitionLog>) {
        let mut queue = self.queue();
        queue.later.insert(key, log);
        if queue.later_due.is_none() {
            queue.later_due = Some(Instant::now() + BACKGROUND_INTERVAL);
            drop(queue);
            self.0.wake.notify_one();
        }
    }

    /// A partition's last segment has been flushed so far.
    pub(super) fn flushed(&self, key: MarkKey, mark: Summary) {
        if self.marks().flushed(key, mark) {
            self.0.wake.notify_one();
        }
    }

    /// The partition is no more.
    pub(super) fn forget(&self, key: MarkKey) {
        self.marks().forget(key);
    }

    /// Recovery is done, and these topics are all there are: the marks of others are forgotten.
    pub fn keep_marks_of(&self, exists: impl Fn(TopicId, PartitionId) -> bool) {
        self.marks().retain(|key| exists(key.topic, key.partition));
    }

    fn marks(&self) -> MutexGuard<'_, MarkBook> {
        self.0.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is due; when to look again; whether that was all and no more will come.
    fn take_due(&self) -> (Vec<Arc<PartitionLog>>, Option<Instant>, bool) {
        let mut queue = self.queue();
        if queue.stopping || queue.later_due.is_some_and(|due| due <= Instant::now()) {
            queue.later_due = None;
            let mut later = std::mem::take(&mut queue.later);
            queue.now.append(&mut later);
        }
        let due: Vec<_> = std::mem::take(&mut queue.now).into_values().collect();
        (due, queue.later_due, queue.stopping)
    }
}

async fn run(flusher: Flusher, files: Arc<dyn Files>, group_flush: Arc<dyn GroupFlush>) {
    let mut groups = FuturesUnordered::new();
    let mut mark_file = Some(MarkFile::new(files, group_flush.clone()));
    let mut marking = FuturesUnordered::new();
    let complaints = RateLimitedLog::default();
    loop {
        let (due, later_due, stopping) = flusher.take_due();
        let jobs: Vec<_> = due.iter().filter_map(PartitionLog::begin_flush).collect();
        // The jobs hold their logs; a partition of a deleted topic is let go here.
        drop(due);
        if !jobs.is_empty() {
            groups.push(group_flush.flush_group(jobs));
        }
        let all_flushed = stopping && groups.is_empty();
        let now = Instant::now();
        let marks_due = flusher.marks().due(now).filter(|_| marking.is_empty());
        // The last ones do not wait.
        if marks_due.is_some_and(|due| due <= now || all_flushed)
            && let Some(write) = flusher.marks().take(now)
            && let Some(file) = mark_file.take()
        {
            marking.push(file.write(write));
        }
        if all_flushed && marking.is_empty() {
            return;
        }
        let look_again = [later_due, marks_due.filter(|_| marking.is_empty())].into_iter().flatten().min();
        tokio::select! {
            biased;
            Some(()) = groups.next() => {}
            Some((file, result)) = marking.next() => {
                mark_file = Some(file);
                flusher.marks().written(result.is_ok(), Instant::now());
                if let Err(error) = result {
                    // Harmless: what is marked is durable all the same.
                    if let Some(left_out) = complaints.admit(Instant::now()) {
                        tracing::warn!("flush marks could not be written: {error} ({left_out} lines like it left out)");
                    }
                    if all_flushed {
                        return;
                    }
                }
            }
            () = flusher.0.wake.notified() => {}
            () = async { sleep_until(look_again.unwrap_or_else(Instant::now)).await }, if look_again.is_some() => {}
        }
    }
}
