//! How a group of dirty files becomes durable: one small interface, since what it costs differs a hundredfold with the
//! way it is done.
//!
//! Few files are flushed one by one, in parallel; many by one sync of the whole file system, where that is to be had
//! ([`Files::whole_sync`]). What the sync cannot be trusted for:
//!
//! - It also writes what others wrote to that file system. So nobody waits longer than [`WHOLE_SYNC_PATIENCE`] for it;
//!   then the files are flushed one by one after all.
//! - A failure does not say whose. So the files of the group are flushed one by one, which does: the kernel keeps errors
//!   for each file apart. And since a failure is told once, to whoever asks first, no later one is used again.

mod plan;

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gapless_common::seam::{BoxFuture, Spawner};
use tokio::{sync::Notify, time::timeout};

pub use self::plan::{PARALLEL_FLUSHES_MAX, WHOLE_SYNC_MIN};
use self::plan::{Step, Whole, next};
use super::{File, Files, WholeSync};

/// A group of a thousand files with 16 KiB each takes 24 ms.
pub const WHOLE_SYNC_PATIENCE: Duration = Duration::from_millis(50);

/// One file to be made durable, and who is told how it went.
pub struct FlushJob {
    /// The file. It is not closed before `done` was called.
    pub file: Arc<dyn File>,
    /// Called as soon as the fate of this file is known, whatever others are still waiting for.
    pub done: Box<dyn FnOnce(io::Result<()>) + Send>,
}

/// What makes groups of files durable.
pub trait GroupFlush: Send + Sync + 'static {
    /// Flushes every file of the group; the future ends when the fate of each is known. Several groups may be under way
    /// at once, but never with the same file in two of them.
    fn flush_group(&self, group: Vec<FlushJob>) -> BoxFuture<'static, ()>;
}

/// The disk under a data directory.
#[derive(Clone)]
pub struct DiskFlush(Arc<Inner>);

struct Inner {
    spawner: Spawner,
    whole: Option<Arc<dyn WholeSync>>,
    books: Mutex<Books>,
}

struct Books {
    /// Each partition has at most one job here, and the log of marks one.
    waiting: VecDeque<FlushJob>,
    single: usize,
    whole: Whole,
}

impl DiskFlush {
    /// For the files of `files`.
    ///
    /// # Errors
    /// The data directory cannot be looked at.
    pub async fn new(spawner: Spawner, files: &dyn Files) -> io::Result<Self> {
        let whole = files.whole_sync().await?;
        let state = if whole.is_some() { Whole::Idle } else { Whole::Unusable };
        let books = Mutex::new(Books { waiting: VecDeque::new(), single: 0, whole: state });
        Ok(Self(Arc::new(Inner { spawner, whole, books })))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing panics while it is held.
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts whatever is to be started now.
    fn go_on(&self) {
        loop {
            let mut books = self.books();
            match next(books.waiting.len(), books.single, books.whole) {
                Step::Wait => return,
                Step::One => {
                    let Some(job) = books.waiting.pop_front() else { return };
                    books.single += 1;
                    drop(books);
                    self.0.spawner.spawn(self.clone().flush_one(job));
                }
                Step::Whole => {
                    let Some(whole) = self.0.whole.clone() else { return };
                    books.whole = Whole::UnderWay;
                    let jobs = Vec::from(std::mem::take(&mut books.waiting));
                    drop(books);
                    self.0.spawner.spawn(self.clone().sync_whole(whole, jobs));
                }
            }
        }
    }

    async fn flush_one(self, job: FlushJob) {
        let result = job.file.flush().await;
        (job.done)(result);
        self.books().single -= 1;
        self.go_on();
    }

    async fn sync_whole(self, whole: Arc<dyn WholeSync>, jobs: Vec<FlushJob>) {
        let mut jobs = Some(jobs);
        let mut sync = whole.sync();
        let result = match timeout(WHOLE_SYNC_PATIENCE, &mut sync).await {
            Ok(result) => result,
            Err(_) => {
                self.one_by_one(jobs.take().unwrap_or_default(), Whole::Overdue);
                sync.await
            }
        };
        match result {
            Ok(()) => {
                // Everything in them was written before the sync was called.
                jobs.into_iter().flatten().for_each(|job| (job.done)(Ok(())));
                self.books().whole = Whole::Idle;
                self.go_on();
            }
            Err(error) => {
                tracing::error!(
                    "syncing the whole file system failed: {error}; every file is flushed by itself from now on"
                );
                self.one_by_one(jobs.unwrap_or_default(), Whole::Unusable);
            }
        }
    }

    fn one_by_one(&self, jobs: Vec<FlushJob>, whole: Whole) {
        let mut books = self.books();
        // They have waited longest.
        for job in jobs.into_iter().rev() {
            books.waiting.push_front(job);
        }
        books.whole = whole;
        drop(books);
        self.go_on();
    }
}

impl GroupFlush for DiskFlush {
    fn flush_group(&self, group: Vec<FlushJob>) -> BoxFuture<'static, ()> {
        let left = Arc::new(Countdown { left: AtomicUsize::new(group.len()), none: Notify::new() });
        self.books().waiting.extend(group.into_iter().map(|job| {
            let left = left.clone();
            let done = Box::new(move |result| {
                (job.done)(result);
                left.one_less();
            });
            FlushJob { file: job.file, done }
        }));
        self.go_on();
        Box::pin(async move { left.none().await })
    }
}

struct Countdown {
    left: AtomicUsize,
    none: Notify,
}

impl Countdown {
    fn one_less(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // One waits, and it may not have begun to: the permit is kept for it.
            self.none.notify_one();
        }
    }

    async fn none(&self) {
        while self.left.load(Ordering::Acquire) > 0 {
            self.none.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;
