//! What the broker knows of itself, in `meta.json`: cluster id, boot, leader epoch, and the producer ids given out.

use std::{io, path::Path, sync::Arc};

use gapless_common::{
    seam::Random,
    types::{LeaderEpoch, ProducerId, TopicId},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::TOPICS;
use crate::{
    log::recovery::verdict::Boot,
    storage::{
        Files,
        small_file::{self, SmallFileError},
    },
};

pub(super) const META: &str = "meta.json";
const FORMAT_VERSION: u32 = 1;
/// Producer ids made durable at once, as in Apache Kafka (`ProducerIdsBlock`): at most so many are lost by a crash, and
/// none repeats.
const PRODUCER_ID_BLOCK: i64 = 1000;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    cluster_id: String,
    /// The boot of the machine under which every partition was last recovered (durability.md 9).
    boot_id: String,
    /// Of every partition led in this run; rises at every start that may follow a crash.
    leader_epoch: i32,
    /// All ids below have been given out, or may have been.
    next_producer_id: i64,
}

impl Stored {
    fn boot(&self, boot_id: &str) -> Boot {
        if self.boot_id == boot_id { Boot::Same } else { Boot::Other }
    }
}

/// The broker's own small file, open for as long as the broker runs.
pub struct Meta {
    files: Arc<dyn Files>,
    cluster_id: String,
    leader_epoch: LeaderEpoch,
    boot: Boot,
    boot_id: String,
    ids: Mutex<IdBlock>,
}

struct IdBlock {
    stored: Stored,
    next: i64,
}

impl Meta {
    /// Reads `meta.json`, or makes up what goes into a new one. Nothing is written before [`Meta::confirm`].
    ///
    /// # Errors
    /// The file fails its check, or is gone while there are topics: without it producer ids could repeat, so the start
    /// is refused.
    pub async fn open(files: Arc<dyn Files>, boot_id: &str, random: &Random) -> Result<Self, SmallFileError> {
        let path = Path::new(META);
        let (stored, boot) = match small_file::read::<Stored>(&*files, path, FORMAT_VERSION).await? {
            Some(found) => {
                let boot = found.boot(boot_id);
                let leader_epoch = found.leader_epoch + 1;
                (Stored { leader_epoch, ..found }, boot)
            }
            None => {
                let failed = |source| SmallFileError::Io { path: TOPICS.into(), source };
                if holds_topics(&*files).await.map_err(failed)? {
                    return Err(SmallFileError::Missing { path: path.to_owned(), beside: TOPICS.into() });
                }
                let cluster_id = TopicId::from_random_bits(random.bits128()).to_string();
                (
                    Stored { cluster_id, boot_id: boot_id.to_owned(), leader_epoch: 0, next_producer_id: 0 },
                    Boot::Same,
                )
            }
        };
        Ok(Self {
            files,
            cluster_id: stored.cluster_id.clone(),
            leader_epoch: LeaderEpoch(stored.leader_epoch),
            boot,
            boot_id: boot_id.to_owned(),
            ids: Mutex::new(IdBlock { next: stored.next_producer_id, stored }),
        })
    }

    /// Recovery is done: makes this boot and the risen leader epoch durable, before anybody is served. Only the epoch
    /// tells clients that offsets may have been used twice after a power loss (durability.md 11). Not earlier: a start
    /// that is killed in the middle of its recovery leaves tails that the next one must still judge by the power loss; and so
    /// does one in which a partition was not recovered (`all_recovered`): it does not count as one of this boot.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn confirm(&self, all_recovered: bool) -> Result<(), SmallFileError> {
        let mut ids = self.ids.lock().await;
        if all_recovered {
            ids.stored.boot_id.clone_from(&self.boot_id);
        }
        small_file::replace(&*self.files, Path::new(META), FORMAT_VERSION, &ids.stored).await
    }

    /// Identity of the data directory, as clients are told.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The leader epoch of every partition in this run.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Whether the machine has been started anew since the last run: if not, what that one wrote is still in the page
    /// cache.
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// A producer id that was never given out before.
    ///
    /// # Errors
    /// The next block of ids could not be made durable.
    pub async fn new_producer_id(&self) -> Result<ProducerId, SmallFileError> {
        let mut ids = self.ids.lock().await;
        if ids.next >= ids.stored.next_producer_id {
            let stored = Stored { next_producer_id: ids.next + PRODUCER_ID_BLOCK, ..ids.stored.clone() };
            small_file::replace(&*self.files, Path::new(META), FORMAT_VERSION, &stored).await?;
            ids.stored = stored;
        }
        let id = ids.next;
        ids.next += 1;
        Ok(ProducerId(id))
    }
}

/// The leader epoch of the last start, and whether that was in another boot than this one, for tools.
pub(super) async fn last_start(
    files: &dyn Files,
    boot_id: &str,
) -> Result<(LeaderEpoch, Boot), SmallFileError> {
    let path = Path::new(META);
    let stored = small_file::read::<Stored>(files, path, FORMAT_VERSION).await?;
    let missing = || SmallFileError::Missing { path: path.to_owned(), beside: TOPICS.into() };
    let stored = stored.ok_or_else(missing)?;
    Ok((LeaderEpoch(stored.leader_epoch), stored.boot(boot_id)))
}

async fn holds_topics(files: &dyn Files) -> io::Result<bool> {
    match files.list(Path::new(TOPICS)).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        listed => Ok(listed?.iter().any(|entry| entry.is_dir)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use gapless_common::seam::Seams;

    use super::*;
    use crate::storage::RealFiles;

    async fn open(files: &Arc<dyn Files>, boot: &str) -> Meta {
        Meta::open(Arc::clone(files), boot, &Random::from_seed(1)).await.unwrap()
    }

    #[tokio::test]
    async fn producer_ids_never_repeat_and_epochs_rise_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let files: Arc<dyn Files> = Arc::new(RealFiles::new(directory.path(), Seams::real().spawner));
        let mut seen = BTreeSet::new();
        let mut cluster = None;
        for (start, boot) in ["a", "a", "b"].into_iter().enumerate() {
            let meta = open(&files, boot).await;
            meta.confirm(true).await.unwrap();
            assert_eq!(meta.leader_epoch(), LeaderEpoch(i32::try_from(start).unwrap()));
            assert_eq!(meta.boot() == Boot::Same, boot == "a");
            assert_eq!(*cluster.get_or_insert(meta.cluster_id().to_owned()), meta.cluster_id());
            for _ in 0..1500 {
                assert!(seen.insert(meta.new_producer_id().await.unwrap()), "an id was given out twice");
            }
        }
    }

    #[tokio::test]
    async fn a_start_that_did_not_get_through_its_recovery_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let files: Arc<dyn Files> = Arc::new(RealFiles::new(directory.path(), Seams::real().spawner));
        open(&files, "before the power loss").await.confirm(true).await.unwrap();
        for _killed in 0..2 {
            let meta = open(&files, "after it").await;
            assert!(meta.boot() == Boot::Other, "tails are still those of a power loss");
            assert_eq!(meta.leader_epoch(), LeaderEpoch(1));
        }
        // Nor does one that served, but could not recover all.
        open(&files, "after it").await.confirm(false).await.unwrap();
        let meta = open(&files, "after it").await;
        assert!(meta.boot() == Boot::Other);
        assert_eq!(meta.leader_epoch(), LeaderEpoch(2));
        meta.confirm(true).await.unwrap();
        assert!(open(&files, "after it").await.boot() == Boot::Same);
    }

    #[tokio::test]
    async fn without_its_file_a_directory_that_holds_topics_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let files: Arc<dyn Files> = Arc::new(RealFiles::new(directory.path(), Seams::real().spawner));
        files.create_dir(Path::new("topics")).await.unwrap();
        open(&files, "a").await.confirm(true).await.unwrap();
        files.create_dir(Path::new("topics/events")).await.unwrap();
        files.remove(Path::new(META)).await.unwrap();
        let refused = Meta::open(files, "a", &Random::from_seed(1)).await.err().unwrap();
        assert_eq!(
            refused.to_string(),
            "meta.json is missing, but there is something in topics; restore it from a backup"
        );
    }
}
