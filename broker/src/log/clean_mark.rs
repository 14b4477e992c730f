//! The clean-shutdown mark, `clean`: where every log ended when the broker was stopped and everything was flushed. It saves
//! the next start writing again and flushing what it serves, and nothing else: a log that does not end so is taken as after a
//! crash. (Reading is saved by checkpoints.)
//!
//! It is written last, and never with a partition that is not well; and it is gone, durably, before the next start
//! changes anything (KAFKA-10471, KAFKA-15375).

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use gapless_common::{
    seeded_bug::{SeededBug, is_on},
    types::{LeaderEpoch, Offset, PartitionId, TopicId},
};
use serde::{Deserialize, Serialize};

use super::flush_marks::MarkKey;
use super::summary::{Ends, Summary};
use super::{PartitionLog, State};
use crate::storage::{
    Files,
    small_file::{self, SmallFileError},
};

pub(crate) const NAME: &str = "clean";
const FORMAT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    partitions: Vec<StoredEnd>,
}

#[derive(Serialize, Deserialize)]
struct StoredEnd {
    topic_id: String,
    partition: i32,
    segment: i64,
    size: u64,
    end_offset: i64,
    last_batch: Option<StoredBatch>,
}

#[derive(Serialize, Deserialize)]
struct StoredBatch {
    leader_epoch: i32,
    position: u64,
    crc: u32,
}

/// Where each log ended at a clean stop.
#[derive(Debug, Clone, Default)]
pub struct CleanMark(BTreeMap<MarkKey, Summary>);

impl CleanMark {
    /// Reads the mark and removes it, durably: nothing that this start does may be taken for what was before it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn take(files: &dyn Files) -> io::Result<Self> {
        let path = Path::new(NAME);
        let mark = match small_file::read::<Stored>(files, path, FORMAT_VERSION).await {
            Ok(None) => return Ok(Self::default()),
            Ok(Some(stored)) => Self::from(stored),
            Err(error) => {
                tracing::warn!("{error}; the logs are taken as after a crash");
                Self::default()
            }
        };
        if !is_on(SeededBug::TrustStaleCleanMark) {
            files.remove(path).await?;
            files.sync_dir(Path::new("")).await?;
        }
        Ok(mark)
    }

    /// Whether there is one, and it can be believed; it stays where it is.
    ///
    /// # Errors
    /// It cannot.
    pub(super) async fn peek(files: &dyn Files) -> Result<bool, SmallFileError> {
        let stored = small_file::read::<Stored>(files, Path::new(NAME), FORMAT_VERSION).await?;
        Ok(stored.is_some())
    }

    /// Writes the mark, if all logs are closed, well and flushed to their ends; otherwise there is none. Nothing may be
    /// written any more when this is called.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write(files: &dyn Files, logs: &[Arc<PartitionLog>]) -> Result<bool, SmallFileError> {
        let is_clean = |log: &Arc<PartitionLog>| log.state() == State::Online && log.unflushed_bytes() == 0;
        if !logs.iter().all(is_clean) {
            return Ok(false);
        }
        let end = |log: &Arc<PartitionLog>| {
            let (key, end) = log.end_of_last_segment()?;
            let last_batch = end.batches.map(|ends| StoredBatch {
                leader_epoch: ends.last_epoch.0,
                position: ends.last_position,
                crc: ends.last_crc,
            });
            Some(StoredEnd {
                topic_id: key.topic.to_string(),
                partition: key.partition.0,
                segment: end.base_offset.0,
                size: end.size,
                end_offset: end.next_offset.0,
                last_batch,
            })
        };
        let partitions = logs.iter().filter_map(end).collect();
        small_file::replace(files, Path::new(NAME), FORMAT_VERSION, &Stored { partitions }).await?;
        Ok(true)
    }

    /// Where the log of a partition ended.
    pub(super) fn of(&self, key: MarkKey) -> Option<&Summary> {
        self.0.get(&key)
    }
}

impl From<Stored> for CleanMark {
    fn from(stored: Stored) -> Self {
        let ends = stored.partitions.into_iter().filter_map(|end| {
            let topic = TopicId::parse(&end.topic_id)?;
            let key = MarkKey { topic, partition: PartitionId(end.partition) };
            let batches = end.last_batch.map(|last| Ends {
                // Not known, and not compared.
                first_epoch: LeaderEpoch(last.leader_epoch),
                last_epoch: LeaderEpoch(last.leader_epoch),
                last_position: last.position,
                last_crc: last.crc,
            });
            let summary = Summary::empty(Offset(end.segment));
            let next_offset = Offset(end.end_offset);
            Some((key, Summary { size: end.size, next_offset, batches, ..summary }))
        });
        Self(ends.collect())
    }
}
