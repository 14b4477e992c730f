//! The topics that exist: looked up by name or id, created and deleted, kept on disk.
//!
//! - [`names`]: which names are allowed.
//! - [`config`]: a topic's settings.
//! - [`meta`]: what the broker knows of itself.
//! - [`store`]: `topic.json`, and the order in which directories appear and vanish.
//! - `opening`: all logs at a start, several at once.
//! - [`survey`]: what a data directory holds, for tools.
//! - this file: the catalogue that requests look into.

pub mod config;
pub mod meta;
pub mod names;
mod opening;
mod store;
pub mod survey;

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use gapless_common::{
    error_code::ErrorCode,
    protocol::Text,
    seam::{Random, Spawner},
    types::TopicId,
};
use tokio::sync::Mutex;

pub use self::config::{CONFIG_KEYS, ConfigType, TopicConfig};
pub use self::store::{OpenTopicsError, Recovered, Store};
use crate::{
    config::{Config, PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX},
    descriptors::Descriptors,
    log::PartitionLog,
};

/// The directory that they are in.
const TOPICS: &str = "topics";

/// A topic and its logs. Partitions are numbered by their place.
pub struct Topic {
    /// As clients call it.
    pub name: Text,
    /// Another topic of the same name has another id.
    pub id: TopicId,
    /// Settings in force.
    pub config: TopicConfig,
    /// What was set for this topic; the rest are the broker's defaults.
    pub overrides: BTreeMap<String, String>,
    /// The logs.
    pub partitions: Vec<Arc<PartitionLog>>,
}

impl Topic {
    /// The log of one partition.
    pub fn partition(&self, index: i32) -> Option<&Arc<PartitionLog>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// Why a topic cannot be created or deleted, as clients are told.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct TopicError {
    /// Kafka's code.
    pub code: ErrorCode,
    /// The sentence for people.
    pub why: String,
}

impl TopicError {
    /// A code and its reason.
    pub fn new(code: ErrorCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

#[derive(Default)]
struct Index {
    by_name: BTreeMap<Text, Arc<Topic>>,
    by_id: BTreeMap<TopicId, Arc<Topic>>,
}

/// All topics. Looking up takes a lock for reading only; creating and deleting happen one at a time.
pub struct Catalogue {
    index: RwLock<Index>,
    /// Of all topics: asked for each connection that comes.
    partitions: AtomicUsize,
    changes: Mutex<()>,
    store: Store,
    config: Config,
    random: Random,
    spawner: Spawner,
}

impl Catalogue {
    /// With the topics that recovery found.
    pub fn new(store: Store, topics: Vec<Topic>, config: Config, random: Random, spawner: Spawner) -> Self {
        let mut index = Index::default();
        for topic in topics {
            index.insert(Arc::new(topic));
        }
        let partitions = AtomicUsize::new(index.partitions());
        Self {
            index: RwLock::new(index),
            partitions,
            changes: Mutex::new(()),
            store,
            config,
            random,
            spawner,
        }
    }

    /// A topic by name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.read(|index| index.by_name.get(name).cloned())
    }

    /// A topic by id.
    pub fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.read(|index| index.by_id.get(&id).cloned())
    }

    /// The log of one partition.
    pub fn partition(&self, topic: &str, index: i32) -> Option<Arc<PartitionLog>> {
        self.by_name(topic)?.partition(index).cloned()
    }

    /// The number of all partitions.
    pub fn partitions(&self) -> usize {
        self.partitions.load(Ordering::Relaxed)
    }

    /// All topics by name.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.read(|index| index.by_name.values().cloned().collect())
    }

    /// The first topic by name, from `name` on; without one the first of all.
    pub fn first_from(&self, name: Option<&str>) -> Option<Arc<Topic>> {
        let from = name.map_or(Bound::Unbounded, Bound::Included);
        self.read(|index| {
            index.by_name.range::<str, _>((from, Bound::Unbounded)).next().map(|(_, topic)| topic.clone())
        })
    }

    /// The first topic by name behind `name`.
    pub fn first_behind(&self, name: &str) -> Option<Arc<Topic>> {
        let behind = (Bound::Excluded(name), Bound::Unbounded);
        self.read(|index| index.by_name.range::<str, _>(behind).next().map(|(_, topic)| topic.clone()))
    }

    /// Whether a topic could be created so, as far as can be told beforehand.
    ///
    /// # Errors
    /// What stands in the way, with the code that clients are told.
    pub fn check(
        &self,
        name: &str,
        partitions: i32,
        overrides: &BTreeMap<String, String>,
    ) -> Result<(), TopicError> {
        if let Some(why) = names::refusal(name) {
            return Err(TopicError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why));
        }
        let (exists, collides, in_all) = self.read(|index| {
            let key = names::collision_key(name);
            let collides = index.by_name.keys().find(|known| names::collision_key(known) == key).cloned();
            (index.by_name.contains_key(name), collides, index.partitions())
        });
        if exists {
            return Err(TopicError::new(
                ErrorCode::TOPIC_ALREADY_EXISTS,
                format!("topic {name} exists already"),
            ));
        }
        if let Some(other) = collides {
            return Err(TopicError::new(
                ErrorCode::INVALID_TOPIC_EXCEPTION,
                format!(
                    "topic {name} differs from topic {other} only in '.' and '_', which metric names cannot tell apart"
                ),
            ));
        }
        self.check_room(partitions, 0, in_all)?;
        TopicConfig::with_overrides(&self.config, overrides)
            .map(drop)
            .map_err(|why| TopicError::new(ErrorCode::INVALID_CONFIG, why))
    }

    /// Whether a topic may have `count` partitions, of which it has `there`; all topics have `in_all`.
    fn check_room(&self, count: i32, there: usize, in_all: usize) -> Result<(), TopicError> {
        let refused = |why| Err(TopicError::new(ErrorCode::INVALID_PARTITIONS, why));
        let more = usize::try_from(count).unwrap_or(0).saturating_sub(there);
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&count) || more > PARTITIONS_MAX.saturating_sub(in_all) {
            return refused(format!(
                "{count} partitions are not possible: a topic has 1 to {PARTITIONS_PER_TOPIC_MAX}, and of the \
                 {PARTITIONS_MAX} of all topics {in_all} are taken"
            ));
        }
        let descriptors = Descriptors::new(self.config.descriptors);
        if more + in_all > descriptors.partitions_max() {
            return refused(format!(
                "{more} partitions more than the {in_all} there are would leave too few of the broker's {} file \
                 descriptors: {} partitions are possible with these; raise its limit (ulimit -n, LimitNOFILE=) and \
                 restart it",
                descriptors.limit(),
                descriptors.partitions_max()
            ));
        }
        Ok(())
    }

    /// How many partitions more a topic would have with `count` of them.
    ///
    /// # Errors
    /// It has that many already; there is no room for them.
    pub fn check_growth(&self, topic: &Topic, count: i32) -> Result<usize, TopicError> {
        let there = topic.partitions.len();
        let wanted = usize::try_from(count).unwrap_or(0);
        if wanted <= there {
            let why =
                format!("topic {} has {there} partitions already, and they can only become more", topic.name);
            return Err(TopicError::new(ErrorCode::INVALID_PARTITIONS, why));
        }
        self.check_room(count, there, self.read(Index::partitions))?;
        Ok(wanted - there)
    }

    /// Gives a topic so many partitions; the new ones are durable when this returns.
    ///
    /// # Errors
    /// As [`Catalogue::check_growth`]; somebody deleted it; the disk would not take it.
    pub async fn grow(&self, topic: &Topic, count: i32) -> Result<(), TopicError> {
        let _one_at_a_time = self.changes.lock().await;
        let topic = self.current(topic)?;
        self.check_growth(&topic, count)?;
        let grown = self
            .store
            .grow(&topic, count)
            .await
            .map_err(|error| TopicError::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string()))?;
        self.write(|index| index.insert(Arc::new(grown)));
        tracing::info!("topic {} has {count} partitions now, id {}", topic.name, topic.id);
        Ok(())
    }

    /// A topic as it is now.
    fn current(&self, topic: &Topic) -> Result<Arc<Topic>, TopicError> {
        self.by_id(topic.id).ok_or_else(|| {
            let why = format!("there is no topic {}", topic.name);
            TopicError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why)
        })
    }

    /// Creates a topic; it is durable when this returns.
    ///
    /// # Errors
    /// As [`Catalogue::check`]; the disk would not take it.
    pub async fn create(
        &self,
        name: &str,
        partitions: i32,
        overrides: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        let _one_at_a_time = self.changes.lock().await;
        self.check(name, partitions, &overrides)?;
        let id = TopicId::from_random_bits(self.random.bits128());
        let topic = self
            .store
            .create(Text::from(name), id, partitions, overrides)
            .await
            .map_err(|error| TopicError::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string()))?;
        let topic = Arc::new(topic);
        self.write(|index| index.insert(Arc::clone(&topic)));
        tracing::info!("created topic {name} with {partitions} partitions, id {id}");
        Ok(topic)
    }

    /// Deletes a topic: when this returns it is gone for good; its bytes are unlinked afterwards.
    ///
    /// # Errors
    /// Somebody else deleted it; the disk would not take it.
    pub async fn delete(&self, topic: &Arc<Topic>) -> Result<(), TopicError> {
        let _one_at_a_time = self.changes.lock().await;
        // With the partitions that it got meanwhile.
        let topic = self.current(topic)?;
        // Out of sight first: nothing is appended to, or acknowledged by, a log whose directory goes.
        self.write(|index| index.remove(&topic));
        for log in &topic.partitions {
            log.retire().await;
        }
        if let Err(error) = self.store.move_to_trash(&topic).await {
            tracing::error!("topic {} cannot be deleted: {error}", topic.name);
            return Err(TopicError::new(
                ErrorCode::KAFKA_STORAGE_ERROR,
                format!("{error}; the topic is out of service until a restart"),
            ));
        }
        for log in &topic.partitions {
            log.forget_marks();
        }
        tracing::info!("deleted topic {}, id {}", topic.name, topic.id);
        self.empty_trash();
        Ok(())
    }

    /// Unlinks what was deleted, now or before the last stop. Large files take their time, so nobody waits for it.
    pub fn empty_trash(&self) {
        let store = self.store.clone();
        self.spawner.spawn(async move { store.empty_trash().await });
    }

    fn read<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Index)) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut index);
        self.partitions.store(index.partitions(), Ordering::Relaxed);
    }
}

impl Index {
    fn partitions(&self) -> usize {
        self.by_name.values().map(|topic| topic.partitions.len()).sum()
    }

    fn insert(&mut self, topic: Arc<Topic>) {
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), topic);
    }

    fn remove(&mut self, topic: &Topic) {
        self.by_id.remove(&topic.id);
        self.by_name.remove(&topic.name);
    }
}
