//! The files of sealed segments, open up to a bound. A log may have more segments than a process may have descriptors, and few
//! of them are read at once: a file that nobody uses is closed when others need its place, and opened again when it is asked
//! for.
//!
//! Only what is sealed comes here: all of it is flushed, so closing it loses nothing. The active segment is held by its
//! log. Whoever reads, or sends a range, holds the file itself, which stays open for as long: it may be evicted from here,
//! and its segment unlinked.
//!
//! When the process has no descriptor left for what a log needs (a new segment, a small file), files are closed from here,
//! and it is tried again ([`shedding`]).

mod lru;
mod shedding;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use gapless_common::seam::BoxFuture;

use self::lru::{Lru, Ticket};
use self::shedding::Shedding;
use crate::storage::{File, Files, is_out_of_descriptors};

/// Files that are closed at once when the process has no descriptor left: as many as a handful of requests need, so that not
/// each of them has to fail first.
const SHED_AT_ONCE: usize = 16;

/// All files of sealed segments that a broker has open; cheap to clone.
#[derive(Clone)]
pub struct OpenFiles(Arc<Inner>);

struct Inner {
    files: Arc<dyn Files>,
    bound: usize,
    open: Mutex<Lru<Arc<dyn File>>>,
    reopened: AtomicU64,
    shed: AtomicU64,
}

impl OpenFiles {
    /// Of the logs below `files`, at most `bound` at once, not counting those in use beyond it.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, bound: usize) -> Self {
        let (reopened, shed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { files, bound, open: Mutex::new(Lru::new()), reopened, shed }))
    }

    /// The same files: but where the process has no descriptor left, room is made from here before a step fails.
    #[must_use]
    pub fn shedding(&self) -> Arc<dyn Files> {
        Arc::new(Shedding { inner: self.0.files.clone(), open: self.clone() })
    }

    /// Files that are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open().len()
    }

    /// The most that stay open.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.0.bound
    }

    /// How often a file was opened that had been closed to make room.
    #[must_use]
    pub fn reopened(&self) -> u64 {
        self.0.reopened.load(Ordering::Relaxed)
    }

    /// Files that were closed because the process had no descriptor left.
    #[must_use]
    pub fn shed_so_far(&self) -> u64 {
        self.0.shed.load(Ordering::Relaxed)
    }

    /// Closes some files that nobody uses; how many. 0: there is nothing left to close.
    fn shed(&self) -> usize {
        let closed: Vec<_> = {
            let mut open = self.open();
            (0..SHED_AT_ONCE).map_while(|_| open.evict(is_in_use)).collect()
        };
        self.0.shed.fetch_add(closed.len() as u64, Ordering::Relaxed);
        closed.len()
    }

    /// Does something that needs a descriptor; files are closed for it as long as there are any.
    async fn with_room<'a, T>(&self, work: impl Fn() -> BoxFuture<'a, io::Result<T>>) -> io::Result<T> {
        loop {
            match work().await {
                Err(error) if is_out_of_descriptors(&error) && self.shed() > 0 => {}
                done => return done,
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Lru<Arc<dyn File>>> {
        // Nothing panics while it is held.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether anybody but this book has the file. Whoever wants it gets it from the book, so one that is not in use cannot
/// come into use while that is locked.
fn is_in_use(file: &Arc<dyn File>) -> bool {
    Arc::strong_count(file) > 1
}

/// The sealed files of one log.
#[derive(Clone)]
pub(super) struct SealedFiles {
    open: OpenFiles,
    /// The topic is being deleted: its paths may be another's by and by.
    retired: Arc<AtomicBool>,
}

impl SealedFiles {
    pub(super) fn new(open: &OpenFiles) -> Self {
        Self { open: open.clone(), retired: Arc::default() }
    }

    /// To be called before the directory is renamed: nothing is opened by its old name any more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Takes in a file that is open, flushed, and not written to any more.
    pub(super) fn seal(&self, path: PathBuf, file: Arc<dyn File>) -> SealedFile {
        let sealed = SealedFile { path, of: self.clone(), ticket: Mutex::new(None) };
        sealed.keep(file);
        sealed
    }
}

/// A file that may be closed while nobody uses it.
pub(super) struct SealedFile {
    path: PathBuf,
    of: SealedFiles,
    /// `None` or one that is not known any more: it is closed.
    ticket: Mutex<Option<Ticket>>,
}

impl SealedFile {
    /// The file; open for as long as it is held.
    ///
    /// # Errors
    /// It was closed and cannot be opened again: it is gone, or the process has no descriptor left at all.
    pub(super) async fn open(&self) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.find() {
            return Ok(file);
        }
        let inner = &self.of.open.0;
        let file = self.of.open.with_room(|| inner.files.open(&self.path)).await?;
        // Looked at afterwards: the directory had its name then.
        if self.of.retired.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its topic was deleted"));
        }
        inner.reopened.fetch_add(1, Ordering::Relaxed);
        Ok(self.keep(file))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn find(&self) -> Option<Arc<dyn File>> {
        let mut ticket = self.ticket();
        let mut open = self.of.open.open();
        let (again, file) = open.use_again((*ticket)?)?;
        *ticket = Some(again);
        Some(file.clone())
    }

    /// The file is open now; what is too much is closed. Gives the one that is kept, should another have been quicker.
    fn keep(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        let mut ticket = self.ticket();
        let mut open = self.of.open.open();
        if let Some((again, known)) = ticket.and_then(|ticket| open.use_again(ticket)) {
            *ticket = Some(again);
            return known.clone();
        }
        *ticket = Some(open.insert(file.clone()));
        let surplus = open.len().saturating_sub(self.of.open.bound());
        let closed: Vec<_> = (0..surplus).map_while(|_| open.evict(is_in_use)).collect();
        drop(open);
        // Closed while nobody waits for the lock.
        drop(closed);
        file
    }

    fn ticket(&self) -> MutexGuard<'_, Option<Ticket>> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SealedFile {
    fn drop(&mut self) {
        if let Some(ticket) = *self.ticket() {
            let closed = self.of.open.open().remove(ticket);
            drop(closed);
        }
    }
}
