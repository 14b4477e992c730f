//! Topics on disk: `topics/<name>/topic.json` makes a topic exist, `topics/<name>/<partition>/` holds its logs, and
//! `trash/<id>/` what was deleted and is not unlinked yet.
//!
//! The order is what makes a crash harmless: `topic.json` is written last and everything above it is synced before
//! the topic is served, so a directory without one was never a topic; and a topic is deleted by one rename, so it is
//! there or gone.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use gapless_common::{
    protocol::Text,
    types::{LeaderEpoch, PartitionId, TopicId},
};
use serde::{Deserialize, Serialize};

use super::{TOPICS, Topic, TopicConfig, meta::Meta};
use crate::{
    config::Config,
    log::{
        INDEX_INTERVAL_BYTES_DEFAULT, LogConfig, LogEnvironment, OpenError, PRODUCERS_MAX_DEFAULT,
        PartitionLog, Prior, RecoveryReport, Site,
    },
    storage::{
        Files,
        small_file::{self, SmallFileError},
    },
};

const TRASH: &str = "trash";
pub(super) const TOPIC_FILE: &str = "topic.json";
pub(super) const FORMAT_VERSION: u32 = 1;
/// Partitions created or recovered at once: enough to keep a disk busy, few enough for its queue.
pub(super) const PARTITIONS_AT_ONCE: usize = 16;

#[derive(Serialize, Deserialize)]
pub(super) struct TopicFile {
    pub(super) id: String,
    pub(super) partitions: i32,
    config: BTreeMap<String, String>,
}

/// Why the topics of a data directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenTopicsError {
    /// `topic.json` is unreadable; it cannot be rebuilt.
    #[error(transparent)]
    File(#[from] SmallFileError),
    /// There are more partitions than the process can hold open.
    #[error(
        "{partitions} partitions need a file descriptor each, and this process may have {limit} in all; raise its limit (ulimit \
         -n, LimitNOFILE=)"
    )]
    Descriptors {
        /// All there are.
        partitions: i64,
        /// The limit in force.
        limit: String,
    },
    /// `topic.json` says something that this broker cannot do.
    #[error("{path}: {why}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A directory cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The task that opened a log ended without a word.
    #[error("a log was not opened: its task has ended")]
    GivenUp,
    /// A log cannot be opened at all.
    #[error("{topic}-{partition}: {source}")]
    Log {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The reason.
        source: OpenError,
    },
}

/// What recovery found.
pub struct Recovered {
    /// All topics, their logs open.
    pub topics: Vec<Topic>,
    /// Bytes of torn tails that were saved aside and cut off.
    pub truncated_bytes: u64,
}

/// A topic whose logs are still to be opened, and how many these are.
pub(super) struct Unopened {
    pub(super) topic: Topic,
    pub(super) partitions: i32,
}

/// The directories of all topics; cheap to clone.
#[derive(Clone)]
pub struct Store {
    files: Arc<dyn Files>,
    pub(super) config: Config,
    pub(super) environment: LogEnvironment,
    leader_epoch: LeaderEpoch,
    pub(super) prior: Arc<Prior>,
}

impl Store {
    /// Logs will be stamped with the leader epoch of `meta`.
    pub fn new(environment: LogEnvironment, config: &Config, meta: &Meta, prior: Prior) -> Self {
        Self {
            files: Arc::clone(&environment.files),
            environment,
            config: config.clone(),
            leader_epoch: meta.leader_epoch(),
            prior: Arc::new(prior),
        }
    }

    fn topic_dir(name: &str) -> PathBuf {
        Path::new(TOPICS).join(name)
    }

    fn log_config(&self, config: &TopicConfig) -> LogConfig {
        LogConfig {
            segment_bytes: u64::from(config.segment_bytes),
            index_interval_bytes: INDEX_INTERVAL_BYTES_DEFAULT,
            producer_id_expiration_ms: self.config.producer_id_expiration_ms,
            producers_max: PRODUCERS_MAX_DEFAULT,
            durability: self.config.durability,
            checkpoint_interval_bytes: self.config.checkpoint_interval_bytes,
        }
    }

    fn site(topic: &str, id: TopicId, partition: i32) -> Site {
        Site {
            topic: topic.to_owned(),
            topic_id: id,
            partition: PartitionId(partition),
            directory: Self::topic_dir(topic).join(partition.to_string()),
        }
    }

    /// Makes a topic; it is durable when this returns. On an error nothing of it is left that would be taken for one.
    pub(super) async fn create(
        &self,
        name: Text,
        id: TopicId,
        partitions: i32,
        overrides: BTreeMap<String, String>,
    ) -> Result<Topic, OpenTopicsError> {
        let path = Self::topic_dir(&name);
        let config = self.settings(&path, &overrides)?;
        self.clear(&path).await?;
        match self.fill(name, id, partitions, config, overrides).await {
            Ok(topic) => Ok(topic),
            Err(error) => {
                if let Err(left) = self.undo(&path).await {
                    tracing::warn!("{} is left of a topic that was not created: {left}", path.display());
                }
                Err(error)
            }
        }
    }

    /// Removes a topic whose creation did not get to its end. Its file first, durably: what is left of the rest when this is
    /// cut short is no topic then, and not one that has lost partitions.
    async fn undo(&self, path: &Path) -> io::Result<()> {
        match self.files.remove(&path.join(TOPIC_FILE)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match self.files.sync_dir(path).await {
            // Not even the directory was made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            synced => synced?,
        }
        self.files.remove_dir(path).await?;
        self.files.sync_dir(Path::new(TOPICS)).await
    }

    /// Removes what a creation that failed has left behind. There are no records in that; where there are some, they are
    /// of a topic that could not be deleted, and stay.
    async fn clear(&self, path: &Path) -> Result<(), OpenTopicsError> {
        let at = |source| OpenTopicsError::Io { path: path.to_owned(), source };
        let is_left_over = match self.is_unfinished(path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            unfinished => unfinished.map_err(at)? && !self.holds_records(path).await.map_err(at)?,
        };
        if is_left_over {
            return self.undo(path).await.map_err(at);
        }
        Err(OpenTopicsError::Content {
            path: path.to_owned(),
            why: "holds what is not this topic's, perhaps records of one that could not be deleted: a restart of the \
                  broker brings that back"
                .to_owned(),
        })
    }

    async fn fill(
        &self,
        name: Text,
        id: TopicId,
        partitions: i32,
        config: TopicConfig,
        overrides: BTreeMap<String, String>,
    ) -> Result<Topic, OpenTopicsError> {
        let path = Self::topic_dir(&name);
        let at = |path: &Path, source| OpenTopicsError::Io { path: path.to_owned(), source };
        self.files.create_dir(&path).await.map_err(|error| at(&path, error))?;
        let logs = self.create_logs(&name, id, 0..partitions, &config).await?;
        let topic = Topic { name, id, config, overrides, partitions: logs };
        // Also syncs the topic's directory, and with it the names of its partitions.
        self.count(&topic, partitions).await?;
        self.files.sync_dir(Path::new(TOPICS)).await.map_err(|error| at(Path::new(TOPICS), error))?;
        Ok(topic)
    }

    /// Gives a topic more partitions; they are durable when this returns. After an error it has those that it had, but may
    /// come back with the new ones, empty, after a restart.
    pub(super) async fn grow(&self, topic: &Topic, count: i32) -> Result<Topic, OpenTopicsError> {
        let path = Self::topic_dir(&topic.name);
        let at = |source| OpenTopicsError::Io { path: path.clone(), source };
        let there = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let left_over = self.left_over(&path, there..count).await?;
        if !left_over.is_empty() {
            // The attempt that left them may have got so far that they are counted.
            self.count(topic, there).await?;
        }
        for partition in &left_over {
            self.files.remove_dir(partition).await.map_err(at)?;
        }
        let mut partitions = topic.partitions.clone();
        partitions.extend(self.create_logs(&topic.name, topic.id, there..count, &topic.config).await?);
        // Their names before the number that counts them: one that is counted and not there has lost its records.
        self.files.sync_dir(&path).await.map_err(at)?;
        self.count(topic, count).await?;
        Ok(Topic {
            name: topic.name.clone(),
            id: topic.id,
            config: topic.config.clone(),
            overrides: topic.overrides.clone(),
            partitions,
        })
    }

    /// Writes the topic's file, by which it has so many partitions.
    async fn count(&self, topic: &Topic, partitions: i32) -> Result<(), SmallFileError> {
        let content = TopicFile { id: topic.id.to_string(), partitions, config: topic.overrides.clone() };
        let path = Self::topic_dir(&topic.name).join(TOPIC_FILE);
        small_file::replace(&*self.files, &path, FORMAT_VERSION, &content).await
    }

    /// Directories of partitions that an attempt to make them has left, which did not get to its end.
    async fn left_over(&self, topic: &Path, partitions: Range<i32>) -> Result<Vec<PathBuf>, OpenTopicsError> {
        let at = |source| OpenTopicsError::Io { path: topic.to_owned(), source };
        let is_one = |name: &str| name.parse().is_ok_and(|number| partitions.contains(&number));
        let mut left_over = Vec::new();
        for entry in self.files.list(topic).await.map_err(at)? {
            if !entry.is_dir || !is_one(&entry.name) {
                continue;
            }
            let path = topic.join(&entry.name);
            if self.has_records(&path).await.map_err(at)? {
                let why =
                    "holds records of a partition that this topic does not have; move it away".to_owned();
                return Err(OpenTopicsError::Content { path, why });
            }
            left_over.push(path);
        }
        Ok(left_over)
    }

    async fn create_logs(
        &self,
        topic: &str,
        id: TopicId,
        partitions: Range<i32>,
        config: &TopicConfig,
    ) -> Result<Vec<Arc<PartitionLog>>, OpenTopicsError> {
        stream::iter(partitions)
            .map(|partition| self.create_log(topic, id, partition, config))
            .buffered(PARTITIONS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn create_log(
        &self,
        topic: &str,
        id: TopicId,
        partition: i32,
        config: &TopicConfig,
    ) -> Result<Arc<PartitionLog>, OpenTopicsError> {
        PartitionLog::create(
            &self.environment,
            Self::site(topic, id, partition),
            self.log_config(config),
            self.leader_epoch,
        )
        .await
        .map_err(|source| OpenTopicsError::Log { topic: topic.to_owned(), partition, source })
    }

    /// Opens every topic and cuts torn tails. The directories it makes are durable with the next sync of the data
    /// directory ([`Meta::confirm`]), which comes before any topic can be created.
    ///
    /// # Errors
    /// A directory or `topic.json` that cannot be read. What is wrong with one log's data quarantines that log instead.
    pub async fn recover(&self) -> Result<Recovered, OpenTopicsError> {
        for directory in [TOPICS, TRASH] {
            let path = Path::new(directory);
            let at = |source| OpenTopicsError::Io { path: path.to_owned(), source };
            match self.files.create_dir(path).await {
                // What is served is made durable first, names too: a process that was killed may have left a topic, or
                // the removal of one, that only the page cache knows of.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.files.sync_dir(path).await.map_err(at)?;
                }
                made => made.map_err(at)?,
            }
        }
        let at = |source| OpenTopicsError::Io { path: TOPICS.into(), source };
        let mut unopened = Vec::new();
        for entry in self.files.list(Path::new(TOPICS)).await.map_err(at)? {
            if !entry.is_dir {
                continue;
            }
            let path = Self::topic_dir(&entry.name);
            match small_file::read::<TopicFile>(&*self.files, &path.join(TOPIC_FILE), FORMAT_VERSION).await? {
                Some(content) => unopened.push(self.prepare(Text::from(entry.name), content).await?),
                None if self.holds_records(&path).await.map_err(at)? => {
                    return Err(OpenTopicsError::Content {
                        path: path.join(TOPIC_FILE),
                        why: "missing, but there are records beside it; restore the file from a backup, or move the \
                              directory away"
                            .to_owned(),
                    });
                }
                None if self.is_unfinished(&path).await.map_err(at)? => {
                    tracing::warn!(
                        "{} has no {TOPIC_FILE}: its creation was never finished; removed",
                        path.display()
                    );
                    self.undo(&path).await.map_err(at)?;
                }
                None => tracing::warn!("{} is no topic and is left alone", path.display()),
            }
        }
        let recovered = self.open_all(unopened).await?;
        let topics = &recovered.topics;
        let ids: BTreeMap<_, _> = topics.iter().map(|topic| (topic.id, topic.partitions.len())).collect();
        self.environment.flusher.keep_marks_of(|id, partition| {
            let index = usize::try_from(partition.0).unwrap_or(usize::MAX);
            ids.get(&id).is_some_and(|partitions| index < *partitions)
        });
        Ok(recovered)
    }

    /// Whether a directory holds nothing but what creating a topic makes before `topic.json`.
    async fn is_unfinished(&self, topic: &Path) -> io::Result<bool> {
        let entries = self.files.list(topic).await?;
        Ok(entries.iter().all(|entry| {
            if entry.is_dir { entry.name.parse::<u32>().is_ok() } else { entry.name.starts_with(TOPIC_FILE) }
        }))
    }

    /// Whether any segment below a topic's directory has a byte. A topic whose creation was cut short has none.
    async fn holds_records(&self, topic: &Path) -> io::Result<bool> {
        for partition in self.files.list(topic).await?.iter().filter(|entry| entry.is_dir) {
            if self.has_records(&topic.join(&partition.name)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether any segment in a partition's directory has a byte.
    async fn has_records(&self, partition: &Path) -> io::Result<bool> {
        for entry in self.files.list(partition).await? {
            if entry.name.ends_with(".log")
                && self.files.open(&partition.join(&entry.name)).await?.size().await? > 0
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A topic whose logs are still to be opened.
    async fn prepare(&self, name: Text, content: TopicFile) -> Result<Unopened, OpenTopicsError> {
        let path = Self::topic_dir(&name);
        let id = TopicId::parse(&content.id).ok_or_else(|| OpenTopicsError::Content {
            path: path.join(TOPIC_FILE),
            why: format!("{:?} is no topic id", content.id),
        })?;
        let config = self.settings(&path, &content.config)?;
        let at = |source| OpenTopicsError::Io { path: path.clone(), source };
        self.files.sync_dir(&path).await.map_err(at)?;
        let partitions = content.partitions;
        Ok(Unopened {
            topic: Topic { name, id, config, overrides: content.config, partitions: Vec::new() },
            partitions,
        })
    }

    pub(super) async fn open_log(
        &self,
        topic: &str,
        id: TopicId,
        partition: i32,
        config: &TopicConfig,
    ) -> Result<(Arc<PartitionLog>, RecoveryReport), OpenTopicsError> {
        let site = Self::site(topic, id, partition);
        PartitionLog::open(&self.environment, site, self.log_config(config), self.leader_epoch, &self.prior)
            .await
            .map_err(|source| OpenTopicsError::Log { topic: topic.to_owned(), partition, source })
    }

    fn settings(
        &self,
        path: &Path,
        overrides: &BTreeMap<String, String>,
    ) -> Result<TopicConfig, OpenTopicsError> {
        TopicConfig::with_overrides(&self.config, overrides)
            .map_err(|why| OpenTopicsError::Content { path: path.join(TOPIC_FILE), why })
    }

    /// Takes a topic out of the way, durably. Its files can still be read by who has them open.
    pub(super) async fn move_to_trash(&self, topic: &Topic) -> io::Result<()> {
        let grave = Path::new(TRASH).join(topic.id.to_string());
        self.files.rename(&Self::topic_dir(&topic.name), &grave).await?;
        // The new name first: a crash in between shows the topic in one place or in both, never in none.
        self.files.sync_dir(Path::new(TRASH)).await?;
        self.files.sync_dir(Path::new(TOPICS)).await
    }

    /// Unlinks what was deleted. What cannot be unlinked now is tried again at the next start.
    pub async fn empty_trash(&self) {
        let entries = match self.files.list(Path::new(TRASH)).await {
            Ok(entries) => entries,
            Err(error) => return tracing::warn!("{TRASH}/ cannot be read: {error}"),
        };
        for entry in entries {
            let path = Path::new(TRASH).join(&entry.name);
            match self.files.remove_dir(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("{} cannot be removed: {error}", path.display());
                }
                _ => {}
            }
        }
    }
}
