//! [`Files`] for which the process always has a descriptor, as long as there is one to be had by closing files of sealed
//! segments. Reading and writing need none; only what opens does.

use std::{io, path::Path, sync::Arc};

use gapless_common::seam::BoxFuture;

use super::OpenFiles;
use crate::storage::{DirEntry, File, Files, LockGuard, Space, WholeSync};

pub(super) struct Shedding {
    pub inner: Arc<dyn Files>,
    pub open: OpenFiles,
}

impl Files for Shedding {
    fn create<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(self.open.with_room(|| self.inner.create(path)))
    }

    fn open<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(self.open.with_room(|| self.inner.open(path)))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.inner.rename(from, to)
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.inner.remove(path)
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        Box::pin(self.open.with_room(|| self.inner.list(path)))
    }

    fn create_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.inner.create_dir(path)
    }

    fn remove_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.open.with_room(|| self.inner.remove_dir(path)))
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.open.with_room(|| self.inner.sync_dir(path)))
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

    fn whole_sync(&self) -> BoxFuture<'_, io::Result<Option<Arc<dyn WholeSync>>>> {
        self.inner.whole_sync()
    }
}
