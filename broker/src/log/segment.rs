//! One segment: a file of record batches as they travelled, and what is known about it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use gapless_common::{
    records::BatchHeader,
    seam::BoxFuture,
    types::{LeaderEpoch, Offset},
};

use super::index::{Entry, OffsetIndex, SegmentIndex};
use super::walk::{BadBatch, BatchWalk, Expected, Found};
use crate::storage::{File, Files, write_all_at};

/// A file of batches whose name is the offset of the first.
pub(super) struct Segment {
    pub base_offset: Offset,
    pub file: Arc<dyn File>,
    body: Mutex<Body>,
}

struct Body {
    /// Bytes of whole batches; the file may be longer while a write is under way.
    size: u64,
    max_timestamp: i64,
    index: SegmentIndex,
}

/// What a segment holds, as recovery found it.
#[derive(Default)]
pub(super) struct Contents {
    pub size: u64,
    /// `None` when there is no record.
    pub max_timestamp: Option<i64>,
    pub index: OffsetIndex,
}

impl Segment {
    pub(super) fn new(base_offset: Offset, file: Arc<dyn File>, contents: Contents) -> Self {
        let max_timestamp = contents.max_timestamp.unwrap_or(i64::MIN);
        let body = Body { size: contents.size, max_timestamp, index: SegmentIndex::Memory(contents.index) };
        Self { base_offset, file, body: Mutex::new(body) }
    }

    /// In place of one whose file is gone: of a partition that is quarantined from its start.
    pub(super) fn lost(base_offset: Offset) -> Self {
        Self::new(base_offset, Arc::new(NoFile), Contents::default())
    }

    /// `<base offset, 20 digits>.log`, as Kafka names it.
    pub(super) fn file_name(base_offset: Offset) -> String {
        format!("{:020}.log", base_offset.0)
    }

    /// The base offset in a segment's name; `None` for any other name.
    pub(super) fn parse_name(name: &str) -> Option<Offset> {
        let digits = name.strip_suffix(".log")?;
        let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse().ok().map(Offset)).flatten()
    }

    pub(super) fn index_name(base_offset: Offset) -> String {
        format!("{:020}.index", base_offset.0)
    }

    /// Bytes of whole batches.
    pub(super) fn size(&self) -> u64 {
        self.body().size
    }

    /// No fewer bytes than there are from the batch that holds `offset` on.
    pub(super) fn bytes_at_most(&self, offset: Offset) -> u64 {
        let body = self.body();
        body.size - body.index.floor_in_memory(self.base_offset, offset)
    }

    /// The largest timestamp of any record; `i64::MIN` without records.
    pub(super) fn max_timestamp(&self) -> i64 {
        self.body().max_timestamp
    }

    /// A batch has been written at the end.
    pub(super) fn appended(&self, header: &BatchHeader, index_interval: u64) {
        let mut body = self.body();
        let position = body.size;
        let relative = u64::try_from(header.base_offset.0 - self.base_offset.0).unwrap_or(u64::MAX);
        if let SegmentIndex::Memory(index) = &mut body.index {
            index.appended(relative, position, index_interval);
        }
        body.size += header.total_size() as u64;
        body.max_timestamp = body.max_timestamp.max(header.max_timestamp);
    }

    /// Nothing is appended any more: the index goes to its file. It is a hint, so failing is no loss; it stays in
    /// memory then.
    pub(super) async fn seal(&self, files: &dyn Files, directory: &Path) {
        let index = match &self.body().index {
            SegmentIndex::Memory(index) => index.clone(),
            SegmentIndex::File { .. } => return,
        };
        let path = directory.join(Self::index_name(self.base_offset));
        match write_index(files, &path, &index).await {
            Ok(file) => self.body().index = SegmentIndex::in_file(file, &index),
            Err(error) => tracing::warn!("{} was not written and stays in memory: {error}", path.display()),
        }
    }

    /// A sealed segment was recovered: its index file is taken over if it says what the log says, and written again
    /// otherwise.
    pub(super) async fn adopt_index(&self, files: &dyn Files, directory: &Path) {
        let index = match &self.body().index {
            SegmentIndex::Memory(index) => index.clone(),
            SegmentIndex::File { .. } => return,
        };
        let rebuilt = index.encode();
        if let Ok(file) = files.open(&directory.join(Self::index_name(self.base_offset))).await
            && file.size().await.is_ok_and(|len| len == rebuilt.len() as u64)
            && file.read_at(0, rebuilt.len()).await.is_ok_and(|stored| stored == rebuilt)
        {
            self.body().index = SegmentIndex::in_file(file, &index);
        } else {
            self.seal(files, directory).await;
        }
    }

    /// A walk whose first batch holds `offset`, and that batch. `None` when there is none up to `end`, a position where a
    /// batch begins or the segment ends.
    pub(super) async fn find(
        &self,
        offset: Offset,
        epoch_max: LeaderEpoch,
    ) -> Result<Option<(Found, BatchWalk)>, BadBatch> {
        let (lookup, end) = {
            let body = self.body();
            (body.index.lookup(self.base_offset, offset), body.size)
        };
        if let Some(entry) = lookup.finish().await
            && let Ok(found) = self.find_from(Some(entry), end, offset, epoch_max).await
        {
            return Ok(found);
        }
        // No hint, or one that leads astray: the log itself decides, from its start.
        self.find_from(None, end, offset, epoch_max).await
    }

    async fn find_from(
        &self,
        entry: Option<Entry>,
        end: u64,
        offset: Offset,
        epoch_max: LeaderEpoch,
    ) -> Result<Option<(Found, BatchWalk)>, BadBatch> {
        let (relative, position) = entry.map_or((0, 0), |entry| (entry.relative, u64::from(entry.position)));
        let expected =
            Expected { offset: self.base_offset.plus(i64::from(relative)), epoch: LeaderEpoch(0), epoch_max };
        let mut walk = BatchWalk::new(self.file.clone(), position, end, expected);
        while let Some(found) = walk.next().await? {
            if found.header.last_offset() >= offset {
                return Ok(Some((found, walk)));
            }
        }
        Ok(None)
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        // Nothing in here can panic half way; what a panic elsewhere left behind is whole.
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is gone.
struct NoFile;

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the segment's file is gone")
}

impl File for NoFile {
    fn write_at<'a>(&'a self, _position: u64, _parts: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async { Err(gone()) })
    }

    fn read_at(&self, _position: u64, _len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async { Err(gone()) })
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Err(gone()) })
    }

    fn truncate(&self, _len: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Err(gone()) })
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async { Err(gone()) })
    }
}

/// Writes an index file, replacing whatever has its name.
async fn write_index(files: &dyn Files, path: &Path, index: &OffsetIndex) -> io::Result<Arc<dyn File>> {
    let file = create_over(files, path).await?;
    write_all_at(&*file, 0, &[index.encode()]).await.map_err(|error| error.source)?;
    file.flush().await?;
    Ok(file)
}

/// Creates a file in place of a left-over of a crash.
pub(super) async fn create_over(files: &dyn Files, path: &Path) -> io::Result<Arc<dyn File>> {
    match files.create(path).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            files.remove(path).await?;
            files.create(path).await
        }
        other => other,
    }
}

/// Where a segment's file is.
pub(super) fn segment_path(directory: &Path, base_offset: Offset) -> PathBuf {
    directory.join(Segment::file_name(base_offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_by_their_first_offset() {
        assert_eq!(Segment::file_name(Offset(42)), "00000000000000000042.log");
        assert_eq!(Segment::parse_name("00000000000000000042.log"), Some(Offset(42)));
        assert_eq!(Segment::parse_name("09223372036854775807.log"), Some(Offset(i64::MAX)));
        for other in [
            "42.log",
            "00000000000000000042.index",
            "+0000000000000000042.log",
            "99999999999999999999.log",
            "",
        ] {
            assert_eq!(Segment::parse_name(other), None, "{other}");
        }
    }
}
