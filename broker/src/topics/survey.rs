//! What topics a data directory holds, for tools: nothing is opened, created or mended.

use std::{
    io,
    path::{Path, PathBuf},
};

use gapless_common::types::{LeaderEpoch, PartitionId, TopicId};

use super::TOPICS;
use super::meta;
use super::store::{FORMAT_VERSION, TOPIC_FILE, TopicFile};
use crate::log::{Boot, Site, clean_mark, tools::Subject};
use crate::storage::{Files, small_file};

/// A data directory at rest.
pub struct Survey {
    /// Every partition of every topic.
    pub partitions: Vec<Subject>,
    /// Files that are not what they should be.
    pub broken: Vec<(PathBuf, String)>,
}

impl Survey {
    /// Looks around, in the boot of the machine that `boot_id` tells from others.
    ///
    /// # Errors
    /// A directory cannot be listed.
    pub async fn take(files: &dyn Files, boot_id: &str) -> io::Result<Self> {
        let mut survey = Self { partitions: Vec::new(), broken: Vec::new() };
        let (epoch_max, boot) = match meta::last_start(files, boot_id).await {
            Ok(last) => last,
            Err(error) => {
                survey.broken.push((meta::META.into(), error.to_string()));
                (LeaderEpoch(i32::MAX), Boot::Other)
            }
        };
        let clean = files.open(Path::new(clean_mark::NAME)).await.is_ok();
        for entry in files.list(Path::new(TOPICS)).await?.iter().filter(|entry| entry.is_dir) {
            let directory = Path::new(TOPICS).join(&entry.name);
            let path = directory.join(TOPIC_FILE);
            let content = match small_file::read::<TopicFile>(files, &path, FORMAT_VERSION).await {
                Ok(Some(content)) => content,
                Ok(None) => {
                    survey.broken.push((path, "missing: the directory is no topic without it".to_owned()));
                    continue;
                }
                Err(error) => {
                    survey.broken.push((path, error.to_string()));
                    continue;
                }
            };
            let Some(topic_id) = TopicId::parse(&content.id) else {
                survey.broken.push((path, format!("{:?} is no topic id", content.id)));
                continue;
            };
            for partition in 0..content.partitions {
                let site = Site {
                    topic: entry.name.clone(),
                    topic_id,
                    partition: PartitionId(partition),
                    directory: directory.join(partition.to_string()),
                };
                survey.partitions.push(Subject { site, epoch_max, clean, boot });
            }
        }
        Ok(survey)
    }
}
