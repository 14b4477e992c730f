//! Seeded bugs: those of the disk, what a broker would be that does not flush (the others are one line each in the product),
//! and how many seeds it takes to find one.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use gapless_broker::storage::{DirEntry, File, Files, LockGuard, Space, WholeSync};
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

/// What came of one seed with a bug switched on.
#[cfg(feature = "seeded-bugs")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hunt {
    /// Nothing was seen.
    Missed,
    /// This was seen, and is not seen without the bug.
    Found(String),
    /// This is seen without the bug, too: a bug that nobody has seeded.
    FailsAnyway(String),
}

/// Runs a plan with the bug, and if something is seen then also without it.
#[cfg(feature = "seeded-bugs")]
#[must_use]
pub fn hunt(bug: SeededBug, plan: &Plan) -> Hunt {
    let with = {
        let _on = Switched::on(bug);
        run_caught(plan.clone()).faults
    };
    let Some(fault) = with.into_iter().next() else { return Hunt::Missed };
    match run_caught(plan.clone()).faults.into_iter().next() {
        None => Hunt::Found(fault),
        Some(anyway) => Hunt::FailsAnyway(anyway),
    }
}

/// How many seeds it takes, of `limit` from `first` on, until one shows the bug, and what is seen then.
///
/// # Panics
/// When one fails without the bug, too.
#[cfg(feature = "seeded-bugs")]
pub fn seeds_until(
    bug: SeededBug,
    first: u64,
    limit: u64,
    plan: impl Fn(u64) -> Plan,
) -> Option<(u64, String)> {
    (0..limit).find_map(|number| match hunt(bug, &plan(first + number)) {
        Hunt::Missed => None,
        Hunt::Found(fault) => Some((number + 1, fault)),
        Hunt::FailsAnyway(fault) => {
            panic!("the plan for {bug:?} of seed {} fails without the bug: {fault}", first + number)
        }
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

    fn whole_sync(&self) -> BoxFuture<'_, io::Result<Option<Arc<dyn WholeSync>>>> {
        if is_on(SeededBug::NoFlush) { Box::pin(async { Ok(None) }) } else { self.0.whole_sync() }
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
