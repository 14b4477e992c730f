//! A disk that fails on demand, for tests: the real files underneath, with faults in between.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use gapless_common::seam::BoxFuture;

use super::{DirEntry, File, Files, LockGuard, Space};

/// The faults in force; shared by the files and the test.
#[derive(Default)]
pub(crate) struct Faults {
    /// Bytes that may still be written while `full` is set; a write that needs more is short, the next one fails.
    pub room: AtomicI64,
    /// The device has only `room` bytes left.
    pub full: AtomicBool,
    /// Every flush fails.
    pub flush_fails: AtomicBool,
    /// Every truncation fails.
    pub truncate_fails: AtomicBool,
    /// Creating a file fails for want of space.
    pub create_fails: AtomicBool,
    /// Renaming a directory fails; small files are still replaced.
    pub rename_fails: AtomicBool,
    /// Removing a file fails once `removals` more have been removed.
    pub remove_fails: AtomicBool,
    pub removals: AtomicI64,
    /// Every sync of a directory fails.
    pub sync_dir_fails: AtomicBool,
    /// Flushes wait until this is cleared and `flush_go` is notified.
    pub flush_held: AtomicBool,
    pub flush_go: tokio::sync::Notify,
    /// Reads of the byte at this position, of any file, fail with this error; 0 is none.
    pub unreadable_at: AtomicU64,
    pub read_error: AtomicI64,
    /// In so many reads to come of the byte at `flip_at`, of any file, a bit of it flips.
    pub flips: AtomicI64,
    pub flip_at: AtomicU64,
    /// Bits that have flipped.
    pub flipped: AtomicU64,
    /// Nothing can be changed once `changes` more have been made, as if the process had been killed.
    pub dies: AtomicBool,
    pub changes: AtomicI64,
    /// Files that can be open at once; 0 is no limit.
    pub descriptors_max: AtomicI64,
    /// Files that are open.
    pub open: AtomicI64,
    /// Files that were closed with unflushed bytes in them.
    pub closed_unflushed: AtomicU64,
    /// Bytes that were written over others.
    pub overwritten: AtomicU64,
    /// Flushes that were asked for.
    pub flushes: AtomicU64,
    /// Directories that were synced.
    pub dir_syncs: AtomicU64,
    /// Syncs of this directory fail.
    pub sync_fails_of: Mutex<Option<PathBuf>>,
    /// What was done to names, in order: "remove", "remove_dir" or "sync", and the path.
    pub names: Mutex<Vec<String>>,
    /// Bytes of the largest read.
    pub largest_read: AtomicU64,
}

impl Faults {
    pub(crate) fn set(flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::SeqCst);
    }

    /// The device has so many bytes left.
    pub(crate) fn fill_up_to(&self, room: i64) {
        self.room.store(room, Ordering::SeqCst);
        self.full.store(true, Ordering::SeqCst);
    }

    /// So many changes more come about.
    pub(crate) fn die_after(&self, changes: i64) {
        self.changes.store(changes, Ordering::SeqCst);
        self.dies.store(true, Ordering::SeqCst);
    }

    /// A change is about to be made.
    fn alive(&self) -> io::Result<()> {
        let dead = self.dies.load(Ordering::SeqCst) && self.changes.fetch_sub(1, Ordering::SeqCst) <= 0;
        if dead { Err(io::Error::other("killed")) } else { Ok(()) }
    }

    /// A file is about to be opened.
    fn has_descriptor(&self) -> io::Result<()> {
        let max = self.descriptors_max.load(Ordering::SeqCst);
        let is_none_left = max > 0 && self.open.load(Ordering::SeqCst) >= max;
        if is_none_left { Err(io::Error::from_raw_os_error(24)) } else { Ok(()) }
    }

    /// The byte at `position` of every file cannot be read, for this reason.
    pub(crate) fn unreadable(&self, position: u64, error: i32) {
        self.unreadable_at.store(position, Ordering::SeqCst);
        self.read_error.store(error.into(), Ordering::SeqCst);
    }

    fn note(&self, what: &str, path: &Path) {
        self.names.lock().unwrap().push(format!("{what} {}", path.display()));
    }

    /// The place in [`Faults::names`] where this was done first.
    pub(crate) fn when(&self, what: &str) -> Option<usize> {
        self.names.lock().unwrap().iter().position(|done| done == what)
    }

    pub(crate) fn readable(&self) {
        self.read_error.store(0, Ordering::SeqCst);
    }

    pub(crate) fn make_room(&self) {
        self.full.store(false, Ordering::SeqCst);
    }

    pub(crate) fn release_flushes(&self) {
        self.flush_held.store(false, Ordering::SeqCst);
        self.flush_go.notify_waiters();
    }
}

pub(crate) struct FaultyFiles {
    pub inner: Arc<dyn Files>,
    pub faults: Arc<Faults>,
}

impl FaultyFiles {
    fn wrap(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        self.faults.open.fetch_add(1, Ordering::SeqCst);
        Arc::new(FaultyFile { inner, faults: self.faults.clone(), unflushed: AtomicBool::new(false) })
    }
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(28)
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Files for FaultyFiles {
    fn create<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            self.faults.alive()?;
            self.faults.has_descriptor()?;
            if self.faults.create_fails.load(Ordering::SeqCst) {
                return Err(full());
            }
            Ok(self.wrap(self.inner.create(path).await?))
        })
    }

    fn open<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            self.faults.has_descriptor()?;
            Ok(self.wrap(self.inner.open(path).await?))
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.faults.alive()?;
            let is_small_file = from.extension().is_some_and(|extension| extension == "tmp");
            if self.faults.rename_fails.load(Ordering::SeqCst) && !is_small_file {
                return Err(broken());
            }
            self.inner.rename(from, to).await
        })
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.faults.alive()?;
            if self.faults.remove_fails.load(Ordering::SeqCst)
                && self.faults.removals.fetch_sub(1, Ordering::SeqCst) <= 0
            {
                return Err(broken());
            }
            if self.faults.full.load(Ordering::SeqCst)
                && let Ok(file) = self.inner.open(path).await
            {
                // Who holds it open is done with it soon.
                let size = i64::try_from(file.size().await?).unwrap_or(0);
                self.faults.room.fetch_add(size, Ordering::SeqCst);
            }
            self.faults.note("remove", path);
            self.inner.remove(path).await
        })
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        self.inner.list(path)
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.inner.create_dir(path)
    }

    fn remove_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.faults.note("remove_dir", path);
        self.inner.remove_dir(path)
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.faults.has_descriptor()?;
            self.faults.dir_syncs.fetch_add(1, Ordering::SeqCst);
            let fails = self.faults.sync_fails_of.lock().unwrap().as_deref() == Some(path);
            if fails || self.faults.sync_dir_fails.load(Ordering::SeqCst) {
                return Err(broken());
            }
            self.faults.note("sync", path);
            self.inner.sync_dir(path).await
        })
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Option<LockGuard>>> {
        self.inner.lock(path)
    }

    fn root(&self) -> Option<&Path> {
        self.inner.root()
    }

    fn space(&self) -> BoxFuture<'_, io::Result<Space>> {
        self.inner.space()
    }
}

struct FaultyFile {
    inner: Arc<dyn File>,
    faults: Arc<Faults>,
    unflushed: AtomicBool,
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        self.faults.open.fetch_sub(1, Ordering::SeqCst);
        let unflushed = *self.unflushed.get_mut();
        self.faults.closed_unflushed.fetch_add(unflushed.into(), Ordering::SeqCst);
    }
}

impl File for FaultyFile {
    fn write_at<'a>(&'a self, position: u64, parts: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            self.faults.alive()?;
            self.unflushed.store(true, Ordering::SeqCst);
            let len: usize = parts.iter().map(Bytes::len).sum();
            let there = self.inner.size().await?.saturating_sub(position);
            let there = usize::try_from(there).unwrap_or(usize::MAX).min(len);
            self.faults.overwritten.fetch_add(there as u64, Ordering::SeqCst);
            if !self.faults.full.load(Ordering::SeqCst) {
                return self.inner.write_at(position, parts).await;
            }
            let all = Bytes::from(parts.concat());
            let room = usize::try_from(self.faults.room.load(Ordering::SeqCst)).unwrap_or(0);
            // What is written over takes none.
            let count = all.len().min(room.saturating_add(there));
            if count == 0 {
                return Err(full());
            }
            self.faults.room.fetch_sub(count.saturating_sub(there) as i64, Ordering::SeqCst);
            super::write_all_at(&*self.inner, position, &[all.slice(..count)]).await.map_err(|e| e.source)?;
            Ok(count)
        })
    }

    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            let error = self.faults.read_error.load(Ordering::SeqCst);
            let at = self.faults.unreadable_at.load(Ordering::SeqCst);
            self.faults.largest_read.fetch_max(len as u64, Ordering::SeqCst);
            if error != 0 && (position..position + len as u64).contains(&at) {
                return Err(io::Error::from_raw_os_error(error as i32));
            }
            let bytes = self.inner.read_at(position, len).await?;
            let flip_at = self.faults.flip_at.load(Ordering::SeqCst).checked_sub(position);
            let Some(flip_at) = flip_at.filter(|at| *at < bytes.len() as u64) else { return Ok(bytes) };
            if self.faults.flips.fetch_sub(1, Ordering::SeqCst) <= 0 {
                self.faults.flips.store(0, Ordering::SeqCst);
                return Ok(bytes);
            }
            let mut flipped = bytes.to_vec();
            // Another bit each time.
            flipped[flip_at as usize] ^= 1 << (self.faults.flipped.fetch_add(1, Ordering::SeqCst) % 8);
            Ok(flipped.into())
        })
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.faults.alive()?;
            self.faults.flushes.fetch_add(1, Ordering::SeqCst);
            loop {
                let mut go = std::pin::pin!(self.faults.flush_go.notified());
                go.as_mut().enable();
                if !self.faults.flush_held.load(Ordering::SeqCst) {
                    break;
                }
                go.await;
            }
            if self.faults.flush_fails.load(Ordering::SeqCst) {
                return Err(broken());
            }
            self.inner.flush().await?;
            self.unflushed.store(false, Ordering::SeqCst);
            Ok(())
        })
    }

    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.faults.alive()?;
            if self.faults.truncate_fails.load(Ordering::SeqCst) {
                return Err(broken());
            }
            self.inner.truncate(len).await
        })
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.inner.size()
    }
}
