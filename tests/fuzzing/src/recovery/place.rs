//! A data directory with one partition in it, opened by one process after the other: what each of them finds must be sound.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gapless_broker::{
    log::{
        AppendPolicy, Appended, Boot, CleanMark, Durability, FlushMarks, FlushObserver, Flusher, LogConfig,
        LogEnvironment, Losses, OpenFiles, PartitionLog, Prior, ReadError, Refusal, Site, State,
        StorageError,
    },
    storage::{
        Files as _, RealFiles, group_flush::DiskFlush, read_exact_at, small_file::SmallFileError,
        spare::Spare,
    },
};
use gapless_common::{
    records::{BatchHeader, BatchLimits, batches, check_crc, validate_from_client},
    seam::{BoxFuture, Spawn, Spawner},
    types::{LeaderEpoch, Offset, PartitionId, TopicId},
};
use serde::Deserialize;
use tempfile::TempDir;

use super::files::{DIRECTORY, Kind};

/// Files by their paths below the data directory.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Where partitions are opened, one after the other.
pub struct Place {
    data_dir: TempDir,
}

/// A process that has the partition open.
pub struct Process {
    /// The partition.
    pub log: Arc<PartitionLog>,
    /// What flushes.
    pub flusher: Flusher,
    /// The data directory.
    pub files: Arc<RealFiles>,
}

/// What a start found.
pub struct Found {
    /// The first offset.
    pub start: Offset,
    /// The offset behind the last.
    pub end: Offset,
    /// All that is served, by offset.
    pub batches: BTreeMap<i64, Bytes>,
    /// From which offset on, if it is, and why.
    pub quarantined: Option<(Offset, String)>,
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        let at = |found: &Self| found.quarantined.as_ref().map(|(at, _)| *at);
        // Not the words: the epoch in force is among them, which rises.
        let of = |found: &Self| (found.start, found.end, at(found));
        of(self) == of(other) && self.batches == other.batches
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, batches, quarantined } = self;
        let heads = batches.iter().map(|(base, batch)| (*base, crc32fast::hash(batch)));
        write!(f, "{start} to {end}, {quarantined:?}, {:x?}", heads.collect::<Vec<_>>())
    }
}

/// How logs are opened here.
pub fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 20,
        index_interval_bytes: 100,
        producer_id_expiration_ms: 86_400_000,
        producers_max: 100,
        durability: Durability::Fsync,
        checkpoint_interval_bytes: 300,
    }
}

/// The partition.
pub fn site() -> Site {
    Site {
        topic: "events".to_owned(),
        topic_id: TopicId([1; 16]),
        partition: PartitionId(0),
        directory: PathBuf::from(DIRECTORY),
    }
}

impl Place {
    /// A place of its own.
    ///
    /// # Panics
    /// If there is no room for one.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        // In memory where there is such a place: what is flushed here need not outlive anything.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let data_dir =
            TempDir::with_prefix_in("gapless-recovery-", folder).expect("a temporary directory can be made");
        Self { data_dir }
    }

    /// These are all the files there are.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn lay(&self, files: &Files) {
        let root = self.data_dir.path();
        for entry in fs::read_dir(root).expect("the directory can be listed") {
            let path = entry.expect("an entry can be read").path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.unwrap_or_else(|error| panic!("{} cannot be removed: {error}", path.display()));
        }
        fs::create_dir_all(root.join(DIRECTORY)).expect("a directory can be made");
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap_or(root)).expect("a directory can be made");
            fs::write(path, content).expect("a file can be written");
        }
    }

    /// All files there are.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn files(&self) -> Files {
        let mut found = Files::new();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(self.data_dir.path().join(&directory)).expect("it can be listed") {
                let entry = entry.expect("an entry can be read");
                let path = directory.join(entry.file_name());
                if entry.path().is_dir() {
                    directories.push(path);
                } else {
                    let content = fs::read(entry.path()).expect("a file can be read");
                    found.insert(path, content);
                }
            }
        }
        found
    }

    /// The segments, and what is in them.
    pub fn segments(&self) -> Files {
        let mut files = self.files();
        files.retain(|path, _| matches!(Kind::of(path), Some((Kind::Log, _))));
        files
    }

    /// The holes that the state file says the log may have.
    fn losses(&self) -> Losses {
        #[derive(Deserialize)]
        struct Stored {
            losses: Losses,
        }
        let text = fs::read(self.data_dir.path().join(Kind::State.path(0))).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_slice(&text).into_iter::<Stored>();
        values.next().and_then(Result::ok).map(|stored| stored.losses).unwrap_or_default()
    }

    /// A process begins, as after a crash or a clean stop: opens the partition, or creates it if there is none.
    ///
    /// # Panics
    /// If it does not open.
    pub async fn start(&self, boot: Boot, epoch: i32, config: LogConfig) -> Process {
        self.try_start(boot, epoch, config).await.expect("its files are of this version")
    }

    /// As [`Place::start`]; `None`: it ends at a file that says, under a checksum that fits, that it is of another version.
    ///
    /// # Panics
    /// If it does not open for any other reason.
    pub async fn try_start(&self, boot: Boot, epoch: i32, config: LogConfig) -> Option<Process> {
        let spawner = Spawner::new(OneThread);
        let files = Arc::new(RealFiles::new(self.data_dir.path(), spawner.clone()));
        files.create_dir(Path::new("")).await.expect("the data directory is there");
        let flush = DiskFlush::new(spawner.clone(), &*files).await.expect("a disk can be flushed");
        let marks = FlushMarks::read(&*files).await;
        let clean = CleanMark::take(&*files).await.expect("a mark can be removed");
        let (flusher, _task) =
            Flusher::start(&spawner, files.clone(), Arc::new(flush), Arc::new(Nobody), marks.clone());
        let open_files = OpenFiles::new(files.clone(), 4);
        let shedding = open_files.shedding();
        let spare = Spare::new(shedding.clone(), 0);
        let environment =
            LogEnvironment { files: shedding, flusher: flusher.clone(), spawner, open_files, spare };
        let epoch = LeaderEpoch(epoch);
        let log = if files.list(Path::new(DIRECTORY)).await.is_ok() {
            let prior = Prior::new(boot, marks, clean);
            match PartitionLog::open(&environment, site(), config, epoch, &prior).await {
                Ok((log, _)) => log,
                Err(error) => {
                    let inner = error.source.get_ref().and_then(|inner| inner.downcast_ref());
                    let is_version = matches!(inner, Some(SmallFileError::Version { .. }));
                    assert!(is_version, "whatever is wrong inside, the log opens: {error:?}");
                    return None;
                }
            }
        } else {
            for parent in ["topics", "topics/events"] {
                files.create_dir(Path::new(parent)).await.expect("a directory can be made");
            }
            let created = PartitionLog::create(&environment, site(), config, epoch).await;
            created.expect("a log can be created")
        };
        Some(Process { log, flusher, files })
    }

    /// Everything that is served, which must be sound.
    ///
    /// # Panics
    /// If it is not.
    pub async fn look(&self, log: &Arc<PartitionLog>) -> Found {
        let (start, end) = (log.log_start_offset(), log.end_offset());
        let high_watermark = log.high_watermark();
        assert!(start <= high_watermark && high_watermark <= end, "{start:?} {high_watermark:?} {end:?}");
        let losses = self.losses();
        let (mut next, mut served) = (start, BTreeMap::new());
        loop {
            match log.read(next, 1 << 20, true).await {
                Ok(Some(range)) => {
                    let read = read_exact_at(&*range.file, range.position, range.len as usize)
                        .await
                        .expect("what is served can be read");
                    for batch in batches(read) {
                        let (header, batch) = batch.expect("what is served is whole");
                        assert!(check_crc(&batch), "what is served has its checksum");
                        // Whoever asks for an offset inside of a batch gets all of it.
                        let holds_start = served.is_empty() && header.base_offset < start;
                        assert!(
                            holds_start || [next, losses.skip(next)].contains(&header.base_offset),
                            "what is served has no hole: {:?} at {next:?}",
                            header.base_offset
                        );
                        let known = log.leader_epoch_at(header.base_offset);
                        assert_eq!(header.leader_epoch, known, "at {:?}", header.base_offset);
                        next = header.next_offset();
                        served.insert(header.base_offset.0, batch);
                    }
                }
                Ok(None) => {
                    let all = losses.skip(next) >= high_watermark;
                    assert!(all || is_quarantined(log), "nothing at {next:?} of {high_watermark:?}");
                    break;
                }
                Err(ReadError::Storage(StorageError::Quarantined { .. })) if is_quarantined(log) => break,
                Err(error) => panic!("{error} at {next:?} of {start:?} to {high_watermark:?}"),
            }
        }
        let quarantined = match log.state() {
            State::Quarantined { at, why } => Some((at, why.to_string())),
            State::Offline { why } => panic!("offline on a sound disk: {why}"),
            State::Online => None,
        };
        Found { start, end, batches: served, quarantined }
    }
}

fn is_quarantined(log: &PartitionLog) -> bool {
    matches!(log.state(), State::Quarantined { .. })
}

/// Sends a batch.
///
/// # Errors
/// As the log answers.
///
/// # Panics
/// If it is no sound batch.
pub async fn send(log: &Arc<PartitionLog>, batch: &[u8]) -> Result<Appended, Refusal> {
    let header = validate_from_client(batch, &BatchLimits::default()).expect("a sound batch");
    let policy = AppendPolicy { now_ms: 1_000_000, log_append_time: false, check: &|_: &BatchHeader| Ok(()) };
    log.append(Bytes::copy_from_slice(batch), &header, &policy).await
}

/// Appends one record to a log that is well; gives its offset, and its batch as it is in the log.
///
/// # Panics
/// If that does not go as it must.
pub async fn append(log: &Arc<PartitionLog>) -> (Offset, Bytes) {
    let end = log.end_offset();
    let batch = crate::schema::batch(&mut fastrand::Rng::with_seed(7));
    let appended = send(log, &batch).await.expect("a log that is online takes records");
    assert_eq!(appended.base_offset, end, "behind all that is there");
    log.wait_durable(appended.durable_when).await.expect("they become durable");
    assert_eq!(log.high_watermark(), log.end_offset());
    let range = log.read(appended.base_offset, 1 << 20, true).await.expect("it can be read");
    let range = range.expect("it is there");
    let read = read_exact_at(&*range.file, range.position, range.len as usize).await.expect("it can be read");
    (appended.base_offset, read)
}

/// Runs `work` on a runtime of its own, with which everything ends that it started: a task that went on would write what it
/// knows of this log beside the files of another. One thread, and time that passes only when nothing else is to be done: a
/// case goes the same way each time.
///
/// # Panics
/// If there is no room for a runtime.
pub fn in_a_process<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    runtime.block_on(work)
}

/// What blocks, which here is no more than a call of a file system in memory, is done at once.
struct OneThread;

impl Spawn for OneThread {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

struct Nobody;

impl FlushObserver for Nobody {
    fn flushed(&self, _: Duration, _: u64, _: bool) {}
}
