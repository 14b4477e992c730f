//! A partition's directory of any content, as it may lie there after whatever happened: it opens, what it serves is sound and
//! contiguous, it takes records again, and the next start finds the same.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gapless_broker::{
    log::{
        AppendPolicy, Boot, CleanMark, Durability, FlushMarks, FlushObserver, Flusher, LogConfig,
        LogEnvironment, OpenFiles, PartitionLog, Prior, ReadError, Site, State, StorageError,
    },
    storage::{Files as _, RealFiles, group_flush::DiskFlush, read_exact_at, spare::Spare},
};
use gapless_common::{
    records::{BatchHeader, BatchLimits, batches, check_crc, validate_from_client},
    seam::{RealSpawn, Spawner},
    types::{LeaderEpoch, Offset, PartitionId, TopicId},
};
use tempfile::TempDir;

use crate::{Outcome, record_batches::with_right_checksums};

/// Where the partition lies in the data directory.
const DIRECTORY: &str = "topics/events/0";
/// What [`Entry::kind`] may be.
const ENDINGS: [&str; 4] = ["log", "index", "timeindex", "producers"];
/// Added to [`Entry::kind`]: the checksums of its batches are set right first, so that a fuzzer gets past them.
pub const HEALED: u8 = 0x80;

/// One file of a partition's directory.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which of the partition's files, by its place in log, index, timeindex, producers.
    pub kind: u8,
    /// The offset in its name.
    pub base: u16,
    /// What it holds.
    pub content: Vec<u8>,
}

/// A directory as the bytes that [`Recovery::open`] takes.
pub fn encode(another_boot: bool, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = vec![u8::from(another_boot)];
    for entry in entries {
        bytes.push(entry.kind);
        bytes.extend(entry.base.to_be_bytes());
        bytes.extend((entry.content.len() as u16).to_be_bytes());
        bytes.extend(&entry.content);
    }
    bytes
}

/// The other way, as far as it goes: a length beyond the end takes what is there.
fn decode(bytes: &[u8]) -> (bool, Vec<Entry>) {
    let Some((boot, mut rest)) = bytes.split_first() else { return (false, Vec::new()) };
    let mut entries = Vec::new();
    while let [kind, base_high, base_low, len_high, len_low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*len_high, *len_low])).min(after.len());
        let (content, after) = after.split_at(len);
        let base = u16::from_be_bytes([*base_high, *base_low]);
        entries.push(Entry { kind: *kind, base, content: content.to_vec() });
        rest = after;
    }
    (boot & 1 == 1, entries)
}

/// A place to open partitions in, one after the other.
pub struct Recovery {
    data_dir: TempDir,
}

struct Nobody;

impl FlushObserver for Nobody {
    fn flushed(&self, _: Duration, _: u64, _: bool) {}
}

/// What a start found.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    start: Offset,
    end: Offset,
    bytes: Vec<Bytes>,
    /// Why, if it is.
    quarantined: Option<String>,
}

impl Recovery {
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

    /// Lays the files down and opens the partition.
    ///
    /// # Panics
    /// If it does not open, serves what is not sound, or does not find the next time what it found now.
    pub fn open(&self, bytes: &[u8]) -> Outcome {
        let (another_boot, entries) = decode(bytes);
        let directory = self.data_dir.path().join(DIRECTORY);
        // What the case before left, flush marks and all.
        for entry in fs::read_dir(self.data_dir.path()).expect("the directory can be listed") {
            let path = entry.expect("an entry can be read").path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.unwrap_or_else(|error| panic!("{} cannot be removed: {error}", path.display()));
        }
        fs::create_dir_all(&directory).expect("a directory can be made");
        for entry in entries {
            let ending = ENDINGS[usize::from(entry.kind & !HEALED) % ENDINGS.len()];
            let content = match entry.kind & HEALED {
                0 => entry.content,
                _ => with_right_checksums(entry.content),
            };
            fs::write(directory.join(format!("{:020}.{ending}", entry.base)), content)
                .expect("a file can be written");
        }
        let boot = if another_boot { Boot::Other } else { Boot::Same };
        self.judge(boot)
    }

    fn judge(&self, boot: Boot) -> Outcome {
        let (outcome, found) = in_a_process(async {
            let log = self.start(boot, 1_000_000).await;
            let mut found = look(&log).await;
            let outcome = if found.end > found.start { Outcome::Taken } else { Outcome::Refused };
            if log.state() == State::Online {
                found.bytes.push(append(&log).await);
                found.end = log.end_offset();
            }
            (outcome, found)
        });
        let again = in_a_process(async { look(&self.start(Boot::Same, 1_000_001).await).await });
        assert_eq!(again, found, "the next start finds something else");
        outcome
    }

    async fn start(&self, boot: Boot, epoch: i32) -> Arc<PartitionLog> {
        let spawner = Spawner::new(RealSpawn);
        let files = Arc::new(RealFiles::new(self.data_dir.path(), spawner.clone()));
        files.create_dir(Path::new("")).await.expect("the data directory is there");
        let flush = DiskFlush::new(spawner.clone(), &*files).await.expect("a disk can be flushed");
        let marks = FlushMarks::read(&*files).await;
        let (flusher, _task) =
            Flusher::start(&spawner, files.clone(), Arc::new(flush), Arc::new(Nobody), marks.clone());
        let site = Site {
            topic: "events".to_owned(),
            topic_id: TopicId([1; 16]),
            partition: PartitionId(0),
            directory: PathBuf::from(DIRECTORY),
        };
        let config = LogConfig {
            segment_bytes: 1 << 20,
            index_interval_bytes: 100,
            producer_id_expiration_ms: 86_400_000,
            producers_max: 100,
            durability: Durability::Fsync,
            checkpoint_interval_bytes: 300,
        };
        let open_files = OpenFiles::new(files, 4);
        let files = open_files.shedding();
        let spare = Spare::new(files.clone(), 0);
        let environment = LogEnvironment { files, flusher, spawner, open_files, spare };
        let prior = Prior::new(boot, marks, CleanMark::default());
        let (log, _) = PartitionLog::open(&environment, site, config, LeaderEpoch(epoch), &prior)
            .await
            .expect("whatever is wrong inside, the log opens");
        log
    }
}

/// Runs `work` on a runtime of its own, with which everything ends that it started: a task that went on would write what it
/// knows of this log beside the files of another.
fn in_a_process<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(work)
}

/// Everything that is served, which must be sound.
async fn look(log: &Arc<PartitionLog>) -> Found {
    let (start, end) = (log.log_start_offset(), log.end_offset());
    let high_watermark = log.high_watermark();
    assert!(start <= high_watermark && high_watermark <= end, "{start:?} {high_watermark:?} {end:?}");
    let why = match log.state() {
        State::Quarantined { why, .. } => Some(why.to_string()),
        _ => None,
    };
    let quarantined = why.is_some();
    let (mut next, mut bytes) = (start, Vec::new());
    loop {
        match log.read(next, 1 << 20, true).await {
            Ok(Some(range)) => {
                let read = read_exact_at(&*range.file, range.position, range.len as usize)
                    .await
                    .expect("what is served can be read");
                for batch in batches(read) {
                    let (header, batch) = batch.expect("what is served is whole");
                    assert!(check_crc(&batch), "what is served has its checksum");
                    assert_eq!(header.base_offset, next, "what is served has no hole");
                    next = header.next_offset();
                    bytes.push(batch);
                }
            }
            Ok(None) => {
                assert!(quarantined || next == high_watermark, "nothing at {next:?} of {high_watermark:?}");
                break;
            }
            Err(ReadError::Storage(StorageError::Quarantined { .. })) if quarantined => break,
            Err(error) => panic!("{error} at {next:?} of {start:?} to {high_watermark:?}"),
        }
    }
    Found { start, end, bytes, quarantined: why }
}

/// Appends one record; gives its batch as it is in the log.
async fn append(log: &Arc<PartitionLog>) -> Bytes {
    let batch = Bytes::from(crate::schema::batch(&mut fastrand::Rng::with_seed(7)));
    let header = validate_from_client(&batch, &BatchLimits::default()).expect("a sound batch");
    let policy = AppendPolicy { now_ms: 1_000_000, log_append_time: false, check: &|_: &BatchHeader| Ok(()) };
    let appended = log.append(batch, &header, &policy).await.expect("a log that is online takes records");
    log.wait_durable(appended.durable_when).await.expect("they become durable");
    assert_eq!(log.high_watermark(), log.end_offset());
    let range = log.read(appended.base_offset, 1 << 20, true).await.expect("it can be read");
    let range = range.expect("it is there");
    read_exact_at(&*range.file, range.position, range.len as usize).await.expect("it can be read")
}
