//! The file of flush marks: read at the start, written by the flushing task.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use gapless_common::seam::BoxFuture;
use tokio::sync::oneshot;

use super::{FlushMarks, MarkKey, Write};
use crate::storage::{
    File, Files,
    group_flush::{FlushJob, GroupFlush},
    replace_file, write_all_at,
};

pub(in crate::log) const NAME: &str = "flush-marks";
/// A file larger than this is not ours: it would hold more than 800,000 entries.
const SIZE_MAX: u64 = 64 << 20;

/// How much of a file of flush marks fails its check.
pub(in crate::log) enum Disbelieved {
    All,
    Entries(u64),
}

impl FlushMarks {
    /// Reads the marks of a data directory. What of them cannot be believed is passed over, with a word about it: recovery
    /// then judges by the boot alone.
    pub async fn read(files: &dyn Files) -> Self {
        let decoded = match read(files).await {
            Ok(None) => return Self::default(),
            Ok(Some(bytes)) => Self::decode(&bytes),
            Err(error) => {
                tracing::error!(
                    "{NAME} cannot be read, so a torn tail is told from corruption by the boot alone: {error}"
                );
                return Self::default();
            }
        };
        let Some((marks, bad)) = decoded else {
            tracing::warn!("{NAME} is not a file of flush marks of this version and is written anew");
            return Self::default();
        };
        if bad > 0 {
            tracing::info!("{NAME}: {bad} entries fail their check and are passed over");
        }
        marks
    }
}

impl FlushMarks {
    /// What of the file cannot be believed: all of it, or so many of its entries.
    ///
    /// # Errors
    /// It would not be read.
    pub(in crate::log) async fn disbelieved(files: &dyn Files) -> io::Result<Option<Disbelieved>> {
        let Some(bytes) = read(files).await? else { return Ok(None) };
        Ok(match Self::decode(&bytes) {
            None => Some(Disbelieved::All),
            Some((_, 0)) => None,
            Some((_, bad)) => Some(Disbelieved::Entries(bad)),
        })
    }

    /// What is known of one partition is no longer so: after a repair, while no broker runs.
    ///
    /// # Errors
    /// The file would not be read or written.
    pub(in crate::log) async fn forget(files: &dyn Files, key: MarkKey) -> io::Result<()> {
        let Some((mut marks, _)) = read(files).await?.and_then(|bytes| Self::decode(&bytes)) else {
            return Ok(());
        };
        marks.0.remove(&key);
        replace_file(files, Path::new(NAME), marks.encode()).await.map(drop)
    }
}

async fn read(files: &dyn Files) -> io::Result<Option<Bytes>> {
    let file = match files.open(Path::new(NAME)).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let size = file.size().await?;
    if size > SIZE_MAX {
        return Err(io::Error::other(format!("{size} bytes, more than such a file can have ({SIZE_MAX})")));
    }
    file.read_at(0, usize::try_from(size).unwrap_or(0)).await.map(Some)
}

/// Writes the file. Whoever writes holds it, so one write is under way at a time.
pub(in crate::log) struct MarkFile {
    files: Arc<dyn Files>,
    group_flush: Arc<dyn GroupFlush>,
    file: Option<Arc<dyn File>>,
}

impl MarkFile {
    pub(in crate::log) fn new(files: Arc<dyn Files>, group_flush: Arc<dyn GroupFlush>) -> Self {
        Self { files, group_flush, file: None }
    }

    /// Carries out one write. When it has succeeded, the marks are durable.
    pub(in crate::log) fn write(mut self, write: Write) -> BoxFuture<'static, (Self, io::Result<()>)> {
        Box::pin(async move {
            let result = self.try_write(write).await;
            if result.is_err() {
                // Nothing is known of its pages any more.
                self.file = None;
            }
            (self, result)
        })
    }

    async fn try_write(&mut self, write: Write) -> io::Result<()> {
        match (write, &self.file) {
            (Write::Rewrite { file }, _) => {
                self.file = Some(replace_file(&*self.files, Path::new(NAME), file).await?);
                Ok(())
            }
            (Write::Append { position, entries }, Some(file)) => {
                write_all_at(&**file, position, &[entries]).await.map_err(|error| error.source)?;
                self.flush(file.clone()).await
            }
            (Write::Append { .. }, None) => Err(io::Error::other("there is no file to append to")),
        }
    }

    /// As one more file of whatever group is flushed next.
    async fn flush(&self, file: Arc<dyn File>) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |result| {
            // Nobody waits any more when the flushing task was ended.
            let _ = sender.send(result);
        });
        self.group_flush.flush_group(vec![FlushJob { file, done }]).await;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the flush was given up")))
    }
}
