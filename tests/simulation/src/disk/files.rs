//! [`Files`] and [`File`] as one incarnation of a broker sees them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use gapless_broker::storage::{DirEntry, File, Files, LockGuard, Space, WholeSync};
use gapless_common::seam::BoxFuture;
use tokio::time::sleep;

use super::names::InodeId;
use super::state::{Kind, State};
use super::tree::Errno;
use super::{Inner, SimDisk};

/// The disk as one process sees it. When that is gone, every operation fails and changes nothing.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) disk: SimDisk,
    pub(super) incarnation: u64,
}

fn dead() -> io::Error {
    io::Error::other("the process that this file was open in is gone")
}

impl Handle {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.incarnation == self.incarnation { work(&mut state) } else { Err(dead()) }
    }

    /// When the disk has halted, nothing ever comes back from it.
    async fn unless_halted(&self) {
        let halted = self.with(|state| Ok(state.halted)).unwrap_or(false);
        if halted {
            std::future::pending::<()>().await;
        }
    }

    async fn look<T>(&self, kind: Kind, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.unless_halted().await;
        let delay = self.with(|state| Ok(state.delay(kind)))?;
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        self.with(work)
    }

    /// Something changes at once, perhaps some time after or before the caller waits for it.
    async fn change<T>(&self, kind: Kind, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.unless_halted().await;
        let mut work = Some(work);
        let mut done = None;
        let (delay, halts) = self.with(|state| {
            let halts = state.count_change();
            let delay = if halts { 0 } else { state.delay(kind) };
            let now = if delay == 0 && !halts { true } else { state.happens_early() };
            if let Some(work) = work.take_if(|_| now) {
                done = Some(work(state));
            }
            Ok((delay, halts))
        })?;
        self.pause(delay, halts).await;
        match (done, work) {
            (Some(done), _) => self.with(|_| Ok(())).and(done),
            (None, Some(work)) => self.with(work),
            (None, None) => Err(dead()),
        }
    }

    async fn pause(&self, delay: u64, halts: bool) {
        if halts {
            self.disk.0.halted.notify_waiters();
            std::future::pending::<()>().await;
        }
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
    }

    fn file(&self, path: &Path, inode: InodeId) -> Arc<dyn File> {
        Arc::new(SimFile { handle: self.clone(), inode, path: path.to_owned() })
    }
}

impl Files for Handle {
    fn create<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            let inode = self.change(Kind::Create, |state| {
                state.note_path(Kind::Create, path);
                state.check_name_change(path)?;
                state.check_room_for_a_name()?;
                Ok(state.tree.create(path)?)
            });
            Ok(self.file(path, inode.await?))
        })
    }

    fn open<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            let inode = self.look(Kind::Open, |state| {
                state.note_path(Kind::Open, path);
                Ok(state.tree.open(path)?)
            });
            Ok(self.file(path, inode.await?))
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(Kind::Rename, move |state| {
            state.note_path(Kind::Rename, from);
            state.check_name_change(from)?;
            Ok(state.tree.rename(from, to)?)
        }))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(Kind::Remove, move |state| {
            state.note_path(Kind::Remove, path);
            state.check_name_change(path)?;
            let freed = state.tree.remove(path)?;
            state.freed(freed);
            Ok(())
        }))
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        Box::pin(self.look(Kind::List, move |state| {
            state.note_path(Kind::List, path);
            let entry = |(name, is_dir)| DirEntry { name, is_dir };
            Ok(state.tree.list(path)?.into_iter().map(entry).collect())
        }))
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if path.as_os_str().is_empty() {
                return self.with(|_| Ok(()));
            }
            let created = self.change(Kind::CreateDirectory, |state| {
                state.note_path(Kind::CreateDirectory, path);
                state.check_name_change(path)?;
                state.check_room_for_a_name()?;
                Ok(state.tree.create_dir(path)?)
            });
            created.await
        })
    }

    fn remove_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let removals = self.with(|state| Ok(state.tree.removals(path)?))?;
            // One after the other, as it is done: a crash may come between any two of them.
            for path in removals {
                let removed = self.change(Kind::RemoveDirectory, |state| {
                    state.note_path(Kind::RemoveDirectory, &path);
                    state.check_name_change(&path)?;
                    let freed = state.tree.remove_any(&path)?;
                    state.freed(freed);
                    Ok(())
                });
                removed.await?;
            }
            Ok(())
        })
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.unless_halted().await;
            let (inode, before, delay, halts) = self.with(|state| {
                state.note_path(Kind::SyncDirectory, path);
                let (inode, before) = state.tree.begin_sync(path)?;
                state.counts.dir_syncs += 1;
                let halts = state.count_change();
                Ok((inode, before, state.delay(Kind::SyncDirectory), halts))
            })?;
            self.pause(delay, halts).await;
            self.with(|state| state.end_sync(inode, before, path))
        })
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Option<LockGuard>>> {
        Box::pin(self.change(Kind::Lock, move |state| {
            state.note_path(Kind::Lock, path);
            match state.tree.create(path) {
                Ok(_) | Err(Errno::Exists) => {}
                Err(error) => return Err(error.into()),
            }
            if state.locks.contains_key(path) {
                return Ok(None);
            }
            let holder = state.number();
            state.locks.insert(path.to_owned(), holder);
            let disk = Arc::downgrade(&self.disk.0);
            Ok(Some(LockGuard::new(Lock { disk, path: path.to_owned(), holder })))
        }))
    }

    fn space(&self) -> BoxFuture<'_, io::Result<Space>> {
        Box::pin(async {
            self.with(|state| {
                let size = state.config.size_bytes;
                Ok(Space { available: state.faults.room.unwrap_or(size).min(size), size })
            })
        })
    }

    fn whole_sync(&self) -> BoxFuture<'_, io::Result<Option<Arc<dyn WholeSync>>>> {
        Box::pin(async {
            let can = self.with(|state| Ok(state.config.whole_sync))?;
            Ok(can.then(|| Arc::new(self.clone()) as Arc<dyn WholeSync>))
        })
    }
}

impl WholeSync for Handle {
    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let handle = self.clone();
        Box::pin(async move {
            handle.unless_halted().await;
            let (flights, delay, halts) = handle.with(|state| {
                let halts = state.count_change();
                let flights = state.begin_whole_sync()?;
                let delay = state.delay(Kind::WholeSync);
                state.note(Kind::WholeSync, flights.len() as u64, delay);
                Ok((flights, delay, halts))
            })?;
            handle.pause(delay, halts).await;
            handle.with(|state| state.end_whole_sync(&flights))
        })
    }
}

struct Lock {
    disk: Weak<Inner>,
    path: PathBuf,
    holder: u64,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(disk) = self.disk.upgrade().map(SimDisk) {
            let mut state = disk.state();
            // A later process may hold it by now.
            if state.locks.get(&self.path) == Some(&self.holder) {
                state.locks.remove(&self.path);
            }
        }
    }
}

struct SimFile {
    handle: Handle,
    inode: InodeId,
    /// Under which it was opened.
    path: PathBuf,
}

/// Writes bytes `from..to` of all the parts together.
fn write_parts(
    state: &mut State,
    inode: InodeId,
    position: u64,
    parts: &[Bytes],
    from: u64,
    to: u64,
) -> io::Result<()> {
    let mut at = 0;
    for part in parts {
        let len = part.len() as u64;
        let (begin, end) = (from.clamp(at, at + len), to.clamp(at, at + len));
        if begin < end {
            let inner = usize::try_from(begin - at).unwrap_or(0)..usize::try_from(end - at).unwrap_or(0);
            state.write(inode, position + begin, part.get(inner).unwrap_or_default())?;
        }
        at += len;
    }
    Ok(())
}

impl File for SimFile {
    fn write_at<'a>(&'a self, position: u64, parts: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            let handle = &self.handle;
            handle.unless_halted().await;
            let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
            let (early, limit, delay, halts) = handle.with(|state| {
                let halts = state.count_change();
                state.counts.writes += 1;
                state.note(Kind::Write, self.inode, position ^ len);
                let limit = state.write_limit(self.inode, &self.path, position, len)?;
                let delay = if halts { 0 } else { state.delay(Kind::Write) };
                state.note(Kind::Write, limit, delay);
                // One that takes time, or is the last, is seen in part.
                let early = if delay == 0 && !halts { limit } else { state.random.below(limit + 1) };
                write_parts(state, self.inode, position, parts, 0, early)?;
                Ok((early, limit, delay, halts))
            })?;
            handle.pause(delay, halts).await;
            handle.with(|state| {
                write_parts(state, self.inode, position, parts, early, limit)?;
                state.counts.bytes_written += limit;
                Ok(usize::try_from(limit).unwrap_or(usize::MAX))
            })
        })
    }

    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(self.handle.look(Kind::Read, move |state| {
            let bytes = state.tree.file(self.inode)?.read(position, len);
            state.note(Kind::Read, self.inode, position ^ bytes.len() as u64);
            state.counts.reads += 1;
            state.counts.bytes_read += bytes.len() as u64;
            state.spoil_read(&self.path, bytes)
        }))
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.handle.unless_halted().await;
            let (id, delay, halts) = self.handle.with(|state| {
                state.note(Kind::Flush, self.inode, 0);
                let halts = state.count_change();
                let id = state.begin_flush(self.inode, &self.path)?;
                let delay = state.flush_delay(&self.path);
                state.note(Kind::Flush, id, delay);
                Ok((id, delay, halts))
            })?;
            let flight = Flight { file: self, id };
            flight.file.handle.pause(delay, halts).await;
            flight.end()
        })
    }

    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.handle.change(Kind::Truncate, move |state| {
            state.note(Kind::Truncate, self.inode, len);
            state.truncate(self.inode, &self.path, len)
        }))
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async { self.handle.with(|state| Ok(state.tree.file(self.inode)?.size())) })
    }
}

/// A flush that was called: it comes to its end, even if nobody waits for it any more.
struct Flight<'a> {
    file: &'a SimFile,
    id: u64,
}

impl Flight<'_> {
    fn end(self) -> io::Result<()> {
        let ended = self.file.handle.with(|state| state.end_flush(self.file.inode, self.id));
        std::mem::forget(self);
        ended
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        // Nobody hears of its failure then.
        let _ = self.file.handle.with(|state| state.end_flush(self.file.inode, self.id));
    }
}
