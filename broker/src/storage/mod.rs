//! The files seam: everything the broker keeps on disk goes through [`Files`] and [`File`], so that a simulated disk
//! can stand in for the real one.
//!
//! - [`Files`], [`File`]: the narrow asynchronous traits. Paths are relative to the data directory.
//! - [`RealFiles`]: the file system. Work on the page cache completes inline; what waits for the disk runs on the
//!   spawner's blocking threads.
//! - [`small_file`]: the one way to write a small file safely.
//! - [`spare`]: room that is kept for freeing a full disk.
//! - [`group_flush`]: how many dirty files become durable at once.
//!
//! What may be believed of a disk is in the crate's log: a failed flush is final, and no descriptor with unflushed
//! bytes is closed.

use std::{any::Any, io, os::fd::BorrowedFd, path::Path, sync::Arc};

use bytes::{Buf as _, Bytes};
use gapless_common::seam::BoxFuture;

#[cfg(test)]
pub(crate) mod faulty;
pub mod group_flush;
mod real;
pub mod small_file;
pub mod spare;

pub use real::RealFiles;

/// A tree of files below one data directory. Every path is relative to it; the empty path is the directory itself.
pub trait Files: Send + Sync + 'static {
    /// Creates a file that must not exist yet (`AlreadyExists` otherwise) and opens it. Its name is durable only after
    /// [`Files::sync_dir`] of the directory it is in.
    fn create<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>>;

    /// Opens a file that exists (`NotFound` otherwise), for reading and writing.
    fn open<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>>;

    /// Renames a file or a directory, replacing a file that has the new name. Durable after [`Files::sync_dir`] of both
    /// directories.
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Unlinks a file. Who holds it open keeps reading it.
    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// What a directory holds, by name.
    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>>;

    /// Creates one directory inside an existing one (`AlreadyExists` if it is there); the empty path creates the data
    /// directory and what is missing above it, and is no error when it is there.
    fn create_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Removes a directory and everything in it.
    fn remove_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Makes names created, renamed and removed in this directory durable.
    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Locks a file, creating it if need be, against every other process, until the guard is dropped or the process
    /// ends. `None`: somebody else holds it.
    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Option<LockGuard>>>;

    /// Where the data directory is, for people; `None` if it is nowhere that they can look.
    fn root(&self) -> Option<&Path> {
        None
    }

    /// Room on the device under the data directory.
    fn space(&self) -> BoxFuture<'_, io::Result<Space>>;

    /// What makes all files durable with one call. `None` where there is no such thing, or where it would not tell
    /// reliably of a write that failed.
    fn whole_sync(&self) -> BoxFuture<'_, io::Result<Option<Arc<dyn WholeSync>>>> {
        Box::pin(async { Ok(None) })
    }
}

/// Makes everything durable that was written to a file system.
pub trait WholeSync: Send + Sync + 'static {
    /// Makes data and sizes of all files durable. An error is told once, whichever file it is of; so it says that the
    /// fate of every file is open.
    fn sync(&self) -> BoxFuture<'static, io::Result<()>>;
}

/// An open file. Positions are always given: there is no cursor to get lost.
pub trait File: Send + Sync + 'static {
    /// Writes the parts one after the other at `position`, into the page cache. Like `pwritev` it may write less than
    /// was asked, and says how much; [`write_all_at`] goes on from there.
    fn write_at<'a>(&'a self, position: u64, parts: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>>;

    /// Up to `len` bytes from `position`; fewer only where the file ends.
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>>;

    /// As [`File::read_at`], for what is probably not in the page cache: nobody else waits for the disk.
    fn read_cold(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        self.read_at(position, len)
    }

    /// Where that is possible, the next read of this part asks the disk and not the page cache. What is not yet on disk is
    /// not lost by it.
    fn forget_cached(&self, position: u64, len: u64) {
        let _ = (position, len);
    }

    /// Makes data and size durable (fdatasync). After an error nothing is known of what was written since the last
    /// success, and a later success proves nothing about it.
    fn flush(&self) -> BoxFuture<'_, io::Result<()>>;

    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>>;

    /// Size in bytes.
    fn size(&self) -> BoxFuture<'_, io::Result<u64>>;

    /// The descriptor underneath, if there is one: who sends a range of the file can then leave the copying to the
    /// kernel.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A range of a file, which goes to a socket as it lies on disk.
#[derive(Clone)]
pub struct FileRange {
    /// The file; held, so that deleting it does not disturb who reads it.
    pub file: Arc<dyn File>,
    /// First byte.
    pub position: u64,
    /// Number of bytes.
    pub len: u32,
    /// Whose it is.
    pub owner: Arc<dyn RangeOwner>,
}

/// Hears of what happens to a range that was handed out.
pub trait RangeOwner: Send + Sync {
    /// The byte at `position` of the file could not be read.
    fn unreadable(&self, position: u64, error: Arc<io::Error>) -> BoxFuture<'_, ()>;
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name, without the directory. A name that is not UTF-8 is none of ours and is shown with replacement
    /// characters.
    pub name: String,
    /// A directory, not a file.
    pub is_dir: bool,
}

/// Holds a lock; dropping it lets go.
pub struct LockGuard {
    _held: Box<dyn Any + Send + Sync>,
}

impl LockGuard {
    /// The lock is held as long as `held` lives.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self { _held: Box::new(held) }
    }
}

/// Room on a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What this process may still use.
    pub available: u64,
    /// Size of the whole device.
    pub size: u64,
}

/// A write that did not get through.
#[derive(Debug)]
pub struct WriteError {
    /// Bytes written before the error: the file may have grown by so much.
    pub written: u64,
    /// The reason.
    pub source: io::Error,
}

impl WriteError {
    /// The device (or the quota) is full: passes once there is room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }
}

/// The device, or this user's share of it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// This process, or the machine, has no file descriptor left.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The disk does not give back what was written to it. Any other error of a read may pass: for want of a descriptor or of
/// memory, say.
#[must_use]
pub fn is_lost(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const OF_THE_DISK: [Errno; 6] =
        [Errno::IO, Errno::UCLEAN, Errno::BADMSG, Errno::NODATA, Errno::REMOTEIO, Errno::ILSEQ];
    let of_the_disk = |code: i32| OF_THE_DISK.iter().any(|errno| errno.raw_os_error() == code);
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error().is_some_and(of_the_disk)
}

/// Up to `ahead` bytes from `position`, or, where the disk does not give so many back, up to the first `len` of them: a sector
/// that cannot be read costs what lies in it, and not what stands before it.
///
/// # Errors
/// When even these cannot be read.
pub async fn read_ahead(file: &dyn File, position: u64, len: usize, ahead: usize) -> io::Result<Bytes> {
    match file.read_at(position, ahead.max(len)).await {
        Err(error) if ahead > len && is_lost(&error) => file.read_at(position, len).await,
        read => read,
    }
}

/// As [`read_ahead`], for what is probably not in the page cache.
///
/// # Errors
/// When even the first `len` bytes cannot be read.
pub async fn read_cold_ahead(file: &dyn File, position: u64, len: usize, ahead: usize) -> io::Result<Bytes> {
    match file.read_cold(position, ahead.max(len)).await {
        Err(error) if ahead > len && is_lost(&error) => file.read_cold(position, len).await,
        read => read,
    }
}

/// Writes all the parts at `position`, going on after short writes.
///
/// # Errors
/// When a write fails or makes no progress; [`WriteError::written`] bytes may be in the file all the same.
pub async fn write_all_at(file: &dyn File, position: u64, mut parts: &[Bytes]) -> Result<(), WriteError> {
    let mut written = 0_u64;
    // The part of a short write that is still to be written; the parts before it are done.
    let mut rest: Vec<Bytes>;
    loop {
        let remaining: usize = parts.iter().map(Bytes::len).sum();
        if remaining == 0 {
            return Ok(());
        }
        match file.write_at(position + written, parts).await {
            Ok(0) => {
                let source = io::Error::new(io::ErrorKind::WriteZero, "the write made no progress");
                return Err(WriteError { written, source });
            }
            Ok(count) => {
                written += count as u64;
                if count >= remaining {
                    return Ok(());
                }
                rest = after(parts, count);
                parts = &rest;
            }
            Err(source) => return Err(WriteError { written, source }),
        }
    }
}

/// What is left of `parts` without their first `count` bytes.
fn after(parts: &[Bytes], mut count: usize) -> Vec<Bytes> {
    let mut rest = Vec::with_capacity(parts.len());
    for part in parts {
        let skipped = count.min(part.len());
        count -= skipped;
        let mut part = part.clone();
        part.advance(skipped);
        if !part.is_empty() {
            rest.push(part);
        }
    }
    rest
}

/// Creates a file in place of a left-over of a crash.
///
/// # Errors
/// When that cannot be removed, or the new one not created.
pub async fn create_over(files: &dyn Files, path: &Path) -> io::Result<Arc<dyn File>> {
    match files.create(path).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            files.remove(path).await?;
            files.create(path).await
        }
        other => other,
    }
}

/// Ends the name of a file that is not whole yet.
pub(crate) const TEMPORARY: &str = ".tmp";

/// Writes a file beside the one that has its name (`<name>.tmp`), and then in its place. When this returns it is durable,
/// name and all; after an error the old one is there, or the new one, whole. One call at a time per file.
///
/// # Errors
/// When any step fails.
pub async fn replace_file(files: &dyn Files, path: &Path, content: Bytes) -> io::Result<Arc<dyn File>> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY);
    let temporary = Path::new(&temporary);
    let file = create_over(files, temporary).await?;
    let renamed = async {
        write_all_at(&*file, 0, &[content]).await.map_err(|error| error.source)?;
        file.flush().await?;
        files.rename(temporary, path).await
    };
    if let Err(error) = renamed.await {
        // It may have taken the last room there was. Should it stay, the next start removes it, or the next attempt takes
        // its place.
        let _ = files.remove(temporary).await;
        return Err(error);
    }
    files.sync_dir(path.parent().unwrap_or(Path::new(""))).await?;
    Ok(file)
}

/// Removes what [`replace_file`] has left in a directory that holds `entries`, when a crash cut it short. What would not be
/// removed is said, and tried again by the next start.
pub async fn remove_temporaries(files: &dyn Files, directory: &Path, entries: &[DirEntry]) {
    for entry in entries.iter().filter(|entry| !entry.is_dir && entry.name.ends_with(TEMPORARY)) {
        let path = directory.join(&entry.name);
        if let Err(error) = files.remove(&path).await {
            tracing::warn!(
                "{}, left by a write that was cut short, cannot be removed: {error}",
                path.display()
            );
        }
    }
}

/// Reads exactly `len` bytes.
///
/// # Errors
/// Any error of the read; `UnexpectedEof` when the file ends before.
pub async fn read_exact_at(file: &dyn File, position: u64, len: usize) -> io::Result<Bytes> {
    let bytes = file.read_at(position, len).await?;
    if bytes.len() < len {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!(
                "the file ends at {}, {len} bytes at {position} were expected",
                position + bytes.len() as u64
            ),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_after_a_short_write_starts_inside_a_part() {
        let parts = [Bytes::from_static(b"head"), Bytes::new(), Bytes::from_static(b"tail")];
        for count in 0..=8 {
            let rest = after(&parts, count).concat();
            assert_eq!(rest, b"headtail"[count..], "{count} bytes were written");
        }
    }
}
