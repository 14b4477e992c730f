//! One segment: a file of record batches as they travelled, and what is known about it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use gapless_common::{
    records::{BatchHeader, HEADER_SIZE},
    seam::BoxFuture,
    seeded_bug::{SeededBug, is_on},
    types::{LeaderEpoch, Offset},
};

use super::INDEX_INTERVAL_BYTES_DEFAULT;
use super::contents::{Contents, index_name, read_index, read_times, relative, time_index_name};
use super::index::{Entry, OffsetIndex, SegmentIndex};
use super::open_files::{SealedFile, SealedFiles};
use super::retention;
use super::summary::Summary;
use super::time_index::TimeIndex;
use super::verified::Verified;
use super::walk::{BadBatch, BatchWalk, Expected, Found};
use crate::storage::{File, Files, read_exact_at, replace_file};

/// How a segment's file is held.
enum Held {
    /// Open until the segment is sealed: there may be unflushed bytes in it.
    Pinned(Arc<dyn File>),
    /// Open while there is room for it.
    Sealed(Arc<SealedFile>),
}

/// A file of batches whose name is the offset of the first.
pub(super) struct Segment {
    pub base_offset: Offset,
    pub verified: Verified,
    body: Mutex<Body>,
}

struct Body {
    file: Held,
    /// Of whole batches; the file may be longer while a write is under way.
    summary: Summary,
    index: SegmentIndex,
    /// `None`: in its file.
    times: Option<TimeIndex>,
    /// Milliseconds since 1970, once known.
    began: Option<i64>,
    /// By this process: it was empty when it was opened.
    begun_here: bool,
}

impl Segment {
    /// What the file holds up to its end, or will hold, and how much of it this process vouches for.
    pub(super) fn new(file: Arc<dyn File>, contents: Contents, verified: Verified) -> Self {
        let Contents { summary, index, times } = contents;
        let (file, index) = (Held::Pinned(file), SegmentIndex::Memory(index));
        let (began, begun_here) = (None, summary.size == 0);
        let body = Body { file, summary, index, times: Some(times), began, begun_here };
        Self { base_offset: summary.base_offset, verified, body: Mutex::new(body) }
    }

    /// Opens a sealed segment by what its index file says, without reading the log but for the header of its last batch.
    /// `None`: there is no index file that is whole and fits the segment, which is to be read.
    ///
    /// # Errors
    /// When the segment itself cannot be opened.
    pub(super) async fn open_sealed(
        files: &dyn Files,
        sealed: &SealedFiles,
        directory: &Path,
        base_offset: Offset,
    ) -> io::Result<Option<(Self, Summary)>> {
        let path = segment_path(directory, base_offset);
        let file = files.open(&path).await?;
        let size = file.size().await?;
        let Some((index_file, summary, index)) =
            read_index(files, directory, base_offset).await.unwrap_or(None)
        else {
            return Ok(None);
        };
        let fits = summary.size == size && summary.agrees_with(&*file).await;
        if !fits && !is_on(SeededBug::TrustCorruptIndex) {
            return Ok(None);
        }
        let index_file = sealed.seal(directory.join(index_name(base_offset)), index_file);
        let index = SegmentIndex::in_file(index_file, &index);
        let file = Held::Sealed(Arc::new(sealed.seal(path, file)));
        let body = Mutex::new(Body { file, summary, index, times: None, began: None, begun_here: false });
        Ok(Some((Self { base_offset, verified: Verified::nothing(), body }, summary)))
    }

    /// In place of one whose file is gone: of a partition that is quarantined from its start.
    pub(super) fn lost(base_offset: Offset) -> Self {
        Self::new(Arc::new(NoFile), Contents::empty(base_offset), Verified::nothing())
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

    /// The file; open for as long as it is held.
    ///
    /// # Errors
    /// It was closed meanwhile and cannot be opened again.
    pub(super) async fn file(&self) -> io::Result<Arc<dyn File>> {
        let sealed = match &self.body().file {
            Held::Pinned(file) => return Ok(file.clone()),
            Held::Sealed(sealed) => sealed.clone(),
        };
        sealed.open().await
    }

    /// The file of an active segment. Nothing can be written to what is given of a sealed one.
    pub(super) fn active_file(&self) -> Arc<dyn File> {
        match &self.body().file {
            Held::Pinned(file) => file.clone(),
            Held::Sealed(_) => Arc::new(NoFile),
        }
    }

    /// All of it is flushed, and nothing is written to it any more: from here on it may be closed while nobody reads.
    pub(super) fn let_go(&self, sealed: &SealedFiles, directory: &Path) {
        let mut body = self.body();
        if let Held::Pinned(file) = &body.file {
            let path = segment_path(directory, self.base_offset);
            body.file = Held::Sealed(Arc::new(sealed.seal(path, file.clone())));
        }
    }

    /// Bytes of whole batches.
    pub(super) fn size(&self) -> u64 {
        self.body().summary.size
    }

    /// No fewer bytes than there are from the batch that holds `offset` on.
    pub(super) fn bytes_at_most(&self, offset: Offset) -> u64 {
        let body = self.body();
        body.summary.size - body.index.floor_in_memory(self.base_offset, offset)
    }

    /// What whole batches there are.
    pub(super) fn summary(&self) -> Summary {
        self.body().summary
    }

    /// As far as retention is concerned.
    pub(super) fn held(&self) -> retention::Held {
        let Summary { next_offset, size, max_timestamp, .. } = self.body().summary;
        retention::Held { next_offset, size, max_timestamp }
    }

    /// When the segment was begun, to the next check of retention: by the wall clock if this process began it, else by its
    /// first batch. `None` while it is empty, or when that cannot be read.
    ///
    /// Kafka goes by the timestamps of batches alone (`LogSegment.timeWaitedForRoll`: the new one's less the first one's), and
    /// looks only when one is appended. Here it is looked without, so that what is in a partition that nobody writes to any
    /// more can expire; and by timestamps each check would then seal what a backfill of old records has just begun.
    pub(super) async fn began(&self, now_ms: i64) -> Option<i64> {
        {
            let mut body = self.body();
            if body.summary.size == 0 {
                body.began = Some(now_ms);
                return None;
            }
            if body.begun_here {
                body.began.get_or_insert(now_ms);
            }
            if body.began.is_some() {
                return body.began;
            }
        }
        let file = self.file().await.ok()?;
        let bytes = read_exact_at(&*file, 0, HEADER_SIZE).await.ok()?;
        let first = BatchHeader::parse(&bytes).ok()?.max_timestamp.min(now_ms);
        self.body().began = Some(first);
        Some(first)
    }

    /// The largest timestamp of any record; `i64::MIN` without records.
    pub(super) fn max_timestamp(&self) -> i64 {
        self.body().summary.max_timestamp
    }

    /// A batch has been written at the end.
    pub(super) fn appended(&self, header: &BatchHeader, index_interval: u64) {
        let mut body = self.body();
        let Body { summary, index, times, .. } = &mut *body;
        let relative = relative(self.base_offset, header);
        if let SegmentIndex::Memory(index) = index {
            index.appended(relative, summary.size, index_interval);
        }
        if let Some(times) = times {
            times.appended(summary, header.max_timestamp, relative, index_interval);
        }
        summary.add(header);
    }

    /// What is known of an active segment as it is now; `None` of a sealed one whose indexes lie in files. Written
    /// ([`Contents::write`]) once all of it is flushed, it spares the next start from reading the segment up to here.
    pub(super) fn contents(&self) -> Option<Contents> {
        let body = self.body();
        match (&body.index, &body.times) {
            (SegmentIndex::Memory(index), Some(times)) => {
                Some(Contents { summary: body.summary, index: index.clone(), times: times.clone() })
            }
            _ => None,
        }
    }

    /// Nothing is appended any more, and all is flushed: the indexes go to their files. They are hints, so failing is no
    /// loss; they stay in memory then.
    pub(super) async fn seal(&self, files: &dyn Files, sealed: &SealedFiles, directory: &Path) {
        let Some(contents) = self.contents() else { return };
        match contents.write(files, directory).await {
            Ok(file) => self.indexes_are_in_files(file, &contents.index, sealed, directory),
            Err(error) => tracing::warn!(
                "the indexes of {} were not written and stay in memory: {error}",
                segment_path(directory, self.base_offset).display()
            ),
        }
    }

    /// A sealed segment was recovered: its index files are taken over if they say what the log says, and written again
    /// otherwise.
    pub(super) async fn adopt_index(&self, files: &dyn Files, sealed: &SealedFiles, directory: &Path) {
        let Some(rebuilt) = self.contents() else { return };
        let index = read_index(files, directory, self.base_offset).await;
        let times = read_times(files, directory, &rebuilt.summary).await;
        if let (Ok(Some((file, summary, index))), Ok(Some(times))) = (index, times)
            && rebuilt == (Contents { summary, index, times })
        {
            self.indexes_are_in_files(file, &rebuilt.index, sealed, directory);
        } else {
            self.seal(files, sealed, directory).await;
        }
    }

    fn indexes_are_in_files(
        &self,
        file: Arc<dyn File>,
        index: &OffsetIndex,
        sealed: &SealedFiles,
        directory: &Path,
    ) {
        let file = sealed.seal(directory.join(index_name(self.base_offset)), file);
        let mut body = self.body();
        body.index = SegmentIndex::in_file(file, index);
        body.times = None;
    }

    /// An offset before which every record of the segment is older than `timestamp`.
    ///
    /// # Errors
    /// There is no time index that can be believed, and the log, which is read for a new one, is bad.
    pub(super) async fn start_for(
        &self,
        timestamp: i64,
        files: &dyn Files,
        directory: &Path,
        epoch_max: LeaderEpoch,
    ) -> Result<Offset, BadBatch> {
        let after = |times: &TimeIndex| self.base_offset.plus(i64::from(times.start_for(timestamp)));
        let summary = {
            let body = self.body();
            if let Some(times) = &body.times {
                return Ok(after(times));
            }
            body.summary
        };
        if let Ok(Some(times)) = read_times(files, directory, &summary).await {
            return Ok(after(&times));
        }
        let mut rebuilt = Contents::empty(self.base_offset);
        let expected = Expected { offset: self.base_offset, epoch: LeaderEpoch(0), epoch_max };
        let file = self.file_at(self.base_offset, 0).await?;
        let mut walk = BatchWalk::new(file, 0, summary.size, expected);
        while let Some(found) = walk.next().await? {
            rebuilt.add(&found.header, INDEX_INTERVAL_BYTES_DEFAULT);
        }
        let path = directory.join(time_index_name(self.base_offset));
        let start = after(&rebuilt.times);
        match replace_file(files, &path, rebuilt.times.encode(&summary)).await {
            Ok(_) => tracing::info!("{} was missing or damaged; it is rebuilt", path.display()),
            Err(error) => {
                tracing::warn!("{} was not written and stays in memory: {error}", path.display());
                self.body().times = Some(rebuilt.times);
            }
        }
        Ok(start)
    }

    /// The largest timestamp of the records before some offset up to `limit`, and that offset. `None` when the index in
    /// memory tells of none.
    pub(super) fn max_timestamp_before(&self, limit: Offset) -> Option<(i64, Offset)> {
        let relative = u64::try_from(limit.0.saturating_sub(self.base_offset.0)).unwrap_or(0);
        let (timestamp, relative) = self.body().times.as_ref()?.floor(relative)?;
        Some((timestamp, self.base_offset.plus(i64::from(relative))))
    }

    /// A walk whose first batch holds `offset`, and that batch. `None` when there is none up to the end of the segment.
    pub(super) async fn find(
        &self,
        offset: Offset,
        epoch_max: LeaderEpoch,
    ) -> Result<Option<(Found, BatchWalk)>, BadBatch> {
        let (lookup, end) = {
            let body = self.body();
            (body.index.lookup(self.base_offset, offset), body.summary.size)
        };
        if let Some(entry) = lookup.finish().await {
            let found = self.find_from(Some(entry), end, offset, epoch_max).await;
            // One that leads past the end, or past what is looked for, is no answer either.
            let holds = |first: &Found| first.header.base_offset <= offset;
            let is_there = matches!(&found, Ok(Some((first, _))) if holds(first));
            if is_there || is_on(SeededBug::TrustCorruptIndex) {
                return found;
            }
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
        let file = self.file_at(offset, position).await?;
        let mut walk = BatchWalk::new(file, position, end, expected);
        while let Some(found) = walk.next().await? {
            if found.header.last_offset() >= offset {
                return Ok(Some((found, walk)));
            }
        }
        Ok(None)
    }

    /// The file, for a walk from a position where the batch of an offset is looked for.
    async fn file_at(&self, offset: Offset, position: u64) -> Result<Arc<dyn File>, BadBatch> {
        // All of it is gone with the file, from whichever offset was asked for.
        let from = |error: &io::Error| {
            if error.kind() == io::ErrorKind::NotFound { self.base_offset } else { offset }
        };
        self.file().await.map_err(|error| BadBatch::unreadable(from(&error), position, error))
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

/// Where a segment's file is.
pub(super) fn segment_path(directory: &Path, base_offset: Offset) -> PathBuf {
    directory.join(Segment::file_name(base_offset))
}

#[cfg(test)]
mod tests;
