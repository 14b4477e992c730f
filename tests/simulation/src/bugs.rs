//! Seeded bugs: those of the disk, what a broker would be that does not flush (the others are one line each in the product),
//! and how many seeds it takes to find one.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use gapless_broker::storage::{DirEntry, File, Files, LockGuard, Space};
use gapless_common::seam::BoxFuture;
#[cfg(feature = "seeded-bugs")]
use gapless_common::seeded_bug::switch_to;
use gapless_common::seeded_bug::{SeededBug, is_on};

#[cfg(feature = "seeded-bugs")]
use crate::{plan::Plan, runner::run_caught};

/// The files with the bug that is switched on in this thread, if it is one of the disk's.
#[must_use]
pub fn with_bugs(files: Arc<dyn Files>) -> Arc<dyn Files> {
    if is_on(SeededBug::NoFlush) || is_on(SeededBug::NoDirectorySync) {
        Arc::new(LazyFiles(files))
    } else {
        files
    }
}

/// How many seeds it takes, of `limit`, until one fails that is well without the bug, and what is seen then.
#[cfg(feature = "seeded-bugs")]
pub fn seeds_until(bug: SeededBug, limit: u64, plan: impl Fn(u64) -> Plan) -> Option<(u64, String)> {
    (0..limit).find_map(|seed| {
        let with = {
            let _on = Switched::on(bug);
            run_caught(plan(seed)).faults
        };
        let fault = with.into_iter().next()?;
        run_caught(plan(seed)).faults.is_empty().then_some((seed + 1, fault))
    })
}

/// The bug is on in this thread while this lives.
#[cfg(feature = "seeded-bugs")]
struct Switched(Option<SeededBug>);

#[cfg(feature = "seeded-bugs")]
impl Switched {
    fn on(bug: SeededBug) -> Self {
        Self(switch_to(Some(bug)))
    }
}

#[cfg(feature = "seeded-bugs")]
impl Drop for Switched {
    fn drop(&mut self) {
        switch_to(self.0);
    }
}

struct LazyFiles(Arc<dyn Files>);

impl LazyFiles {
    fn lazy(file: Arc<dyn File>) -> Arc<dyn File> {
        if is_on(SeededBug::NoFlush) { Arc::new(LazyFile(file)) } else { file }
    }
}

impl Files for LazyFiles {
    fn create<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move { self.0.create(path).await.map(Self::lazy) })
    }

    fn open<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move { self.0.open(path).await.map(Self::lazy) })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.0.rename(from, to)
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.0.remove(path)
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        self.0.list(path)
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.0.create_dir(path)
    }

    fn remove_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.0.remove_dir(path)
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        if is_on(SeededBug::NoDirectorySync) { Box::pin(async { Ok(()) }) } else { self.0.sync_dir(path) }
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Option<LockGuard>>> {
        self.0.lock(path)
    }

    fn space(&self) -> BoxFuture<'_, io::Result<Space>> {
        self.0.space()
    }
}

struct LazyFile(Arc<dyn File>);

impl File for LazyFile {
    fn write_at<'a>(&'a self, position: u64, parts: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>> {
        self.0.write_at(position, parts)
    }

    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        self.0.read_at(position, len)
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn truncate(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        self.0.truncate(len)
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.0.size()
    }
}
