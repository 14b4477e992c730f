//! Tasks and files, counted. Files are real ones in a temporary directory: what they allocate, and how calls of the seam become
//! system calls, is the product's own doing.
//!
//! A call of the seam is one system call (`pwritev`, `pread`, `fdatasync`, `openat`, …); of a directory's sync, which opens
//! it first, two. A read that meets the end of a file is one call here and two there: what serves records asks for no more
//! than there is.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gapless_broker::storage::{DirEntry, File, Files, LockGuard, RealFiles, Space};
use gapless_common::seam::{BoxFuture, Spawn, Spawner};
use tokio::time::sleep;

use super::counts::{AtWork, Side, note_moved, note_system_call, note_wake_up};

/// How long work that may block takes, in simulated time: so flushes overlap with what arrives meanwhile.
const BLOCKING: Duration = Duration::from_millis(1);
/// Of the device, so that what is kept free does not depend on it.
const SPACE: Space = Space { available: 1 << 40, size: 1 << 40 };

/// Tasks of one side on the runtime that this is called in.
pub struct Tasks(pub Side);

struct Counted {
    side: Side,
    task: BoxFuture<'static, ()>,
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        note_wake_up(self.side);
        let _at_work = AtWork::of(self.side);
        self.task.as_mut().poll(cx)
    }
}

impl Spawn for Tasks {
    #[expect(clippy::disallowed_methods, reason = "what the seam stands on here")]
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(Counted { side: self.0, task });
    }

    #[expect(clippy::disallowed_methods, reason = "what the seam stands on here")]
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        let side = self.0;
        note_wake_up(side);
        tokio::spawn(async move {
            sleep(BLOCKING).await;
            let _at_work = AtWork::of(side);
            work();
        });
    }
}

/// The broker's files.
pub struct CountedFiles(RealFiles);

impl CountedFiles {
    pub fn new(directory: &Path, spawner: Spawner) -> Self {
        Self(RealFiles::new(directory, spawner))
    }
}

/// Counts a call, of which the seam's own future does not know.
fn called<T>(result: T) -> T {
    note_system_call(Side::Broker);
    result
}

/// What the counting itself puts on the heap is nobody's.
fn uncounted<'a, T>(future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    let _nobody = AtWork::of(None);
    Box::pin(future)
}

fn opened(open: BoxFuture<'_, io::Result<Arc<dyn File>>>) -> BoxFuture<'_, io::Result<Arc<dyn File>>> {
    called(uncounted(async move {
        let file = open.await?;
        let _nobody = AtWork::of(None);
        Ok(Arc::new(CountedFile(file)) as Arc<dyn File>)
    }))
}

impl Files for CountedFiles {
    fn create<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        opened(self.0.create(path))
    }

    fn open<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        opened(self.0.open(path))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        called(self.0.rename(from, to))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        called(self.0.remove(path))
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        called(self.0.list(path))
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        called(self.0.create_dir(path))
    }

    fn remove_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        called(self.0.remove_dir(path))
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        called(called(self.0.sync_dir(path)))
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Option<LockGuard>>> {
        called(self.0.lock(path))
    }

    fn space(&self) -> BoxFuture<'_, io::Result<Space>> {
        called(Box::pin(async { Ok(SPACE) }))
    }

    // No sync of the whole file system: whether it is to be had depends on the machine.
}

struct CountedFile(Arc<dyn File>);

fn counted_read(read: BoxFuture<'_, io::Result<Bytes>>) -> BoxFuture<'_, io::Result<Bytes>> {
    called(uncounted(async move {
        let bytes = read.await?;
        note_moved(Side::Broker, bytes.len());
        Ok(bytes)
    }))
}

impl File for CountedFile {
    fn write_at<'a>(&'a self, position: u64, parts: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>> {
        let write = self.0.write_at(position, parts);
        called(uncounted(async move {
            let written = write.await?;
            note_moved(Side::Broker, written);
            Ok(written)
        }))
    }

    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        counted_read(self.0.read_at(position, len))
    }

    fn read_cold(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        counted_read(self.0.read_cold(position, len))
    }

    fn forget_cached(&self, position: u64, len: u64) {
        note_system_call(Side::Broker);
        self.0.forget_cached(position, len);
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        called(self.0.flush())
    }

    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        called(self.0.truncate(len))
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        called(self.0.size())
    }
}
