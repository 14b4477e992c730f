//! What is known of a segment while it is active, and the two files in which that outlives the process: its summary, its
//! offset index, its time index.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use gapless_common::{records::BatchHeader, types::Offset};

use super::index::OffsetIndex;
use super::summary::Summary;
use super::time_index::TimeIndex;
use crate::storage::{File, Files, replace_file};

/// An index file larger than this is not ours: the largest segment, with an entry for every kilobyte of it.
const INDEX_FILE_SIZE_MAX: u64 = 32 << 20;

/// What a segment holds, or its beginning: what is known of it while it is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub summary: Summary,
    pub index: OffsetIndex,
    pub times: TimeIndex,
}

impl Contents {
    /// Of a segment without a batch.
    pub(super) fn empty(base_offset: Offset) -> Self {
        Self {
            summary: Summary::empty(base_offset),
            index: OffsetIndex::default(),
            times: TimeIndex::default(),
        }
    }

    /// A batch stands behind the last one.
    pub(super) fn add(&mut self, header: &BatchHeader, index_interval: u64) {
        let relative = relative(self.summary.base_offset, header);
        self.index.appended(relative, self.summary.size, index_interval);
        self.times.appended(&self.summary, header.max_timestamp, relative, index_interval);
        self.summary.add(header);
    }

    /// Writes the index files, in place of older ones. When this returns they are durable; after an error each is as
    /// before, or as it is now.
    ///
    /// # Errors
    /// When any step fails.
    pub(super) async fn write(&self, files: &dyn Files, directory: &Path) -> io::Result<Arc<dyn File>> {
        let base = self.summary.base_offset;
        let times = directory.join(time_index_name(base));
        replace_file(files, &times, self.times.encode(&self.summary)).await?;
        let path = directory.join(index_name(base));
        replace_file(files, &path, self.index.encode(&self.summary)).await
    }

    /// What the index files say of the beginning of an active segment, if that is there: whoever goes on behind it need
    /// not read it again.
    pub(super) async fn of_beginning(
        files: &dyn Files,
        directory: &Path,
        base_offset: Offset,
        log: &dyn File,
    ) -> io::Result<Option<Self>> {
        let Some((_, summary, index)) = read_index(files, directory, base_offset).await? else {
            return Ok(None);
        };
        let Some(times) = read_times(files, directory, &summary).await? else { return Ok(None) };
        Ok(summary.agrees_with(log).await.then_some(Self { summary, index, times }))
    }
}

/// The offset of a batch as the indexes have it.
pub(super) fn relative(base_offset: Offset, header: &BatchHeader) -> u64 {
    u64::try_from(header.base_offset.0 - base_offset.0).unwrap_or(u64::MAX)
}

/// The index file of a segment and what it says; `None` if there is none that is whole.
pub(super) async fn read_index(
    files: &dyn Files,
    directory: &Path,
    base_offset: Offset,
) -> io::Result<Option<(Arc<dyn File>, Summary, OffsetIndex)>> {
    let file = match files.open(&directory.join(index_name(base_offset))).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let content = whole(&*file).await?;
    let found = content.and_then(|bytes| OffsetIndex::decode(&bytes));
    Ok(found
        .filter(|(summary, _)| summary.base_offset == base_offset)
        .map(|(summary, index)| (file, summary, index)))
}

/// The time index in the file of the segment with this summary; `None` if there is none that is whole and its own.
pub(super) async fn read_times(
    files: &dyn Files,
    directory: &Path,
    summary: &Summary,
) -> io::Result<Option<TimeIndex>> {
    let file = match files.open(&directory.join(time_index_name(summary.base_offset))).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    Ok(whole(&*file).await?.and_then(|bytes| TimeIndex::decode(&bytes, summary)))
}

/// What an index file holds; `None` if it is too large to be one.
async fn whole(file: &dyn File) -> io::Result<Option<Bytes>> {
    let size = file.size().await?;
    if size > INDEX_FILE_SIZE_MAX {
        return Ok(None);
    }
    file.read_at(0, usize::try_from(size).unwrap_or(usize::MAX)).await.map(Some)
}

pub(super) fn index_name(base_offset: Offset) -> String {
    format!("{:020}.index", base_offset.0)
}

pub(super) fn time_index_name(base_offset: Offset) -> String {
    format!("{:020}.timeindex", base_offset.0)
}
