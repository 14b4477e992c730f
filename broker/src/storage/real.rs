//! The file system itself.

use std::{
    io,
    num::NonZeroU64,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use gapless_common::seam::{BoxFuture, Spawner};
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, FlockOperation, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::{DirEntry, File, Files, LockGuard, Space, WholeSync};

/// Most parts that one `pwritev` takes (Linux: `IOV_MAX`).
const PARTS_MAX: usize = 1024;

/// Files below a directory of the machine. What only touches the page cache or names completes inline; what may wait
/// for the disk (flushes, unlinking and truncating large files) runs on the spawner's blocking threads.
pub struct RealFiles {
    root: PathBuf,
    spawner: Spawner,
}

impl RealFiles {
    /// Files below `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, spawner: Spawner) -> Self {
        Self { root: root.into(), spawner }
    }

    fn path(&self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() { self.root.clone() } else { self.root.join(relative) }
    }

    fn open_with(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = self.path(path);
        Ok(retry_on_intr(|| rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644)))?)
    }

    /// The data directory and what is missing above it, durably: nothing in it is safe while its own name is not.
    async fn create_root(&self) -> io::Result<()> {
        let root = std::path::absolute(&self.root)?;
        // Not `exists`, which takes what may not be looked at for missing.
        let missing: Vec<PathBuf> = (root.ancestors())
            .take_while(|path| {
                std::fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            })
            .map(Path::to_owned)
            .collect();
        for directory in missing.iter().rev() {
            match std::fs::create_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            if let Some(parent) = directory.parent() {
                self.sync_dir(parent).await?;
            }
        }
        if std::fs::metadata(&root)?.is_dir() {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a directory"))
        }
    }

    fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<Arc<dyn File>> {
        let descriptor = self.open_with(path, flags | OFlags::RDWR)?;
        Ok(Arc::new(RealFile { descriptor: Arc::new(descriptor), spawner: self.spawner.clone() }))
    }
}

/// Runs what may block, and says so when the runtime took it away half done.
async fn blocking<T: Send + 'static>(
    spawner: &Spawner,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let gone = || io::Error::other("the blocking work was not finished: its runtime is shutting down");
    spawner.blocking(work).await.unwrap_or_else(|| Err(gone()))
}

#[expect(clippy::disallowed_methods, reason = "the real side of the seam")]
impl Files for RealFiles {
    fn create<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move { self.open_file(path, OFlags::CREATE | OFlags::EXCL) })
    }

    fn open<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move { self.open_file(path, OFlags::empty()) })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { std::fs::rename(self.path(from), self.path(to)) })
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let path = self.path(path);
        Box::pin(blocking(&self.spawner, move || std::fs::remove_file(path)))
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        Box::pin(async move {
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(self.path(path))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
            entries.sort();
            Ok(entries)
        })
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if path.as_os_str().is_empty() {
                self.create_root().await
            } else {
                std::fs::create_dir(self.path(path))
            }
        })
    }

    fn remove_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let path = self.path(path);
        Box::pin(blocking(&self.spawner, move || std::fs::remove_dir_all(path)))
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let directory = self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            blocking(&self.spawner, move || Ok(retry_on_intr(|| rustix::fs::fsync(&directory))?)).await
        })
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Option<LockGuard>>> {
        Box::pin(async move {
            let descriptor = self.open_with(path, OFlags::RDWR | OFlags::CREATE)?;
            match retry_on_intr(|| rustix::fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive)) {
                Ok(()) => Ok(Some(LockGuard::new(descriptor))),
                Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn root(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn space(&self) -> BoxFuture<'_, io::Result<Space>> {
        Box::pin(async move {
            let device = retry_on_intr(|| rustix::fs::statvfs(&self.root))?;
            Ok(Space {
                // Network file systems may claim to have more than there can be.
                available: device.f_bavail.saturating_mul(device.f_frsize),
                size: device.f_blocks.saturating_mul(device.f_frsize),
            })
        })
    }

    fn whole_sync(&self) -> BoxFuture<'_, io::Result<Option<Arc<dyn WholeSync>>>> {
        Box::pin(async move {
            let root = self.open_with(Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY)?;
            let kind = retry_on_intr(|| rustix::fs::fstatfs(&root))?.f_type;
            let release = rustix::system::uname();
            if !syncfs_tells_of_failures(kind, &release.release().to_string_lossy()) {
                return Ok(None);
            }
            Ok(Some(Arc::new(RealWholeSync { root: Arc::new(root), spawner: self.spawner.clone() }) as _))
        })
    }
}

/// `syncfs` of the file system that the data directory is on.
struct RealWholeSync {
    root: Arc<OwnedFd>,
    spawner: Spawner,
}

impl WholeSync for RealWholeSync {
    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let (root, spawner) = (self.root.clone(), self.spawner.clone());
        Box::pin(async move {
            blocking(&spawner, move || Ok(retry_on_intr(|| rustix::fs::syncfs(&*root))?)).await
        })
    }
}

/// Whether `syncfs` reports writes that failed in the background: since Linux 5.8, and only on file systems that write
/// to a device themselves (overlayfs keeps the errors of the layer below to itself). Of these, those on which it was
/// looked at; btrfs commits everything at each call.
fn syncfs_tells_of_failures(file_system: rustix::fs::FsWord, kernel_release: &str) -> bool {
    const EXT: rustix::fs::FsWord = 0xef53;
    const XFS: rustix::fs::FsWord = 0x5846_5342;
    let mut numbers =
        kernel_release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    [EXT, XFS].contains(&file_system) && version >= (5, 8)
}

struct RealFile {
    /// Shared with a flush under way, so that it outlives whoever started it.
    descriptor: Arc<OwnedFd>,
    spawner: Spawner,
}

/// Up to `len` bytes; fewer only where the file ends.
fn read(descriptor: &OwnedFd, position: u64, len: usize) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = position + bytes.len() as u64;
        match rustix::io::pread(descriptor, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // A `Vec` may have been given more than it asked for.
    bytes.truncate(len);
    Ok(Bytes::from(bytes))
}

impl File for RealFile {
    fn write_at<'a>(&'a self, position: u64, parts: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            let slices: Vec<io::IoSlice<'_>> =
                parts.iter().take(PARTS_MAX).map(|part| io::IoSlice::new(part)).collect();
            Ok(retry_on_intr(|| rustix::io::pwritev(&self.descriptor, &slices, position))?)
        })
    }

    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move { read(&self.descriptor, position, len) })
    }

    fn read_cold(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        let descriptor = self.descriptor.clone();
        Box::pin(blocking(&self.spawner, move || read(&descriptor, position, len)))
    }

    fn forget_cached(&self, position: u64, len: u64) {
        // Advice: where it is not taken, the read that follows is answered from memory.
        let _ = rustix::fs::fadvise(&self.descriptor, position, NonZeroU64::new(len), Advice::DontNeed);
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        let descriptor = self.descriptor.clone();
        Box::pin(blocking(&self.spawner, move || Ok(rustix::fs::fdatasync(&*descriptor)?)))
    }

    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        let descriptor = self.descriptor.clone();
        Box::pin(blocking(&self.spawner, move || {
            Ok(retry_on_intr(|| rustix::fs::ftruncate(&*descriptor, len))?)
        }))
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move { Ok(u64::try_from(rustix::fs::fstat(&self.descriptor)?.st_size).unwrap_or(0)) })
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.descriptor.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use gapless_common::seam::RealSpawn;

    use super::*;
    use crate::storage::{read_exact_at, small_file, write_all_at};

    #[test]
    fn the_sync_of_a_whole_file_system_is_used_only_where_it_tells_of_failures() {
        const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;
        for (file_system, release, trusted) in [
            (0xef53, "6.18.44", true),
            (0xef53, "5.8.0-arch1", true),
            (0xef53, "5.4.0-generic", false),
            (0xef53, "unknown", false),
            (0x5846_5342, "6.1-rc2", true),
            (OVERLAYFS, "6.18.44", false),
        ] {
            assert_eq!(syncfs_tells_of_failures(file_system, release), trusted, "{file_system:x} {release}");
        }
    }

    fn files() -> (tempfile::TempDir, RealFiles) {
        let directory = tempfile::tempdir().unwrap();
        let files = RealFiles::new(directory.path().join("deep/data"), Spawner::new(RealSpawn));
        (directory, files)
    }

    #[tokio::test]
    async fn files_do_what_the_seam_promises() {
        let (_directory, files) = files();
        files.create_dir(Path::new("")).await.unwrap();
        files.create_dir(Path::new("")).await.unwrap();
        files.create_dir(Path::new("topics")).await.unwrap();
        assert_eq!(
            files.create_dir(Path::new("topics")).await.unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert!(
            matches!(files.open(Path::new("a")).await.map(drop), Err(e) if e.kind() == io::ErrorKind::NotFound)
        );

        let file = files.create(Path::new("a")).await.unwrap();
        assert!(matches!(
            files.create(Path::new("a")).await.map(drop), Err(e) if e.kind() == io::ErrorKind::AlreadyExists));
        let parts = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"two")];
        write_all_at(&*file, 2, &parts).await.unwrap();
        file.flush().await.unwrap();
        assert_eq!(file.size().await.unwrap(), 8);
        assert_eq!(file.read_at(0, 100).await.unwrap(), b"\0\0onetwo"[..]);
        assert_eq!(
            read_exact_at(&*file, 4, 5).await.unwrap_err().to_string(),
            "the file ends at 8, 5 bytes at 4 were expected"
        );
        file.truncate(5).await.unwrap();
        assert_eq!(file.read_at(0, 100).await.unwrap(), b"\0\0one"[..]);
        assert!(file.as_fd().is_some());

        files.rename(Path::new("a"), Path::new("topics/b")).await.unwrap();
        files.sync_dir(Path::new("")).await.unwrap();
        assert_eq!(
            files.list(Path::new("")).await.unwrap(),
            [DirEntry { name: "topics".to_owned(), is_dir: true }]
        );
        files.remove(Path::new("topics/b")).await.unwrap();
        assert_eq!(file.read_at(2, 3).await.unwrap(), b"one"[..], "who holds a file open keeps reading it");
        files.create(Path::new("topics/c")).await.unwrap();
        files.remove_dir(Path::new("topics")).await.unwrap();
        assert!(files.list(Path::new("")).await.unwrap().is_empty());
        let space = files.space().await.unwrap();
        assert!(space.available > 0 && space.available <= space.size);
    }

    #[tokio::test]
    async fn a_lock_is_held_by_one_and_let_go_with_its_guard() {
        let (_directory, files) = files();
        files.create_dir(Path::new("")).await.unwrap();
        let path = Path::new(".lock");
        let guard = files.lock(path).await.unwrap();
        assert!(guard.is_some());
        assert!(files.lock(path).await.unwrap().is_none(), "held by another");
        drop(guard);
        assert!(files.lock(path).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_small_file_is_replaced_whole_even_over_what_a_crash_left() {
        let (_directory, files) = files();
        files.create_dir(Path::new("")).await.unwrap();
        let path = Path::new("meta.json");
        assert_eq!(small_file::read::<Vec<i32>>(&files, path, 1).await.unwrap(), None);
        files.create(Path::new("meta.json.tmp")).await.unwrap();
        for content in ["first", "second"] {
            let value = std::collections::BTreeMap::from([("name", content)]);
            small_file::replace(&files, path, 1, &value).await.unwrap();
            let read: std::collections::BTreeMap<String, serde_json::Value> =
                small_file::read(&files, path, 1).await.unwrap().unwrap();
            assert_eq!(read["name"], content);
        }
        assert_eq!(files.list(Path::new("")).await.unwrap().len(), 1, "no temporary file stays");
    }
}
