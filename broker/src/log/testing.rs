//! What the tests of the log share: batches, a log in a temporary directory, and the means to damage it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use gapless_common::{
    records::{self, BatchHeader, BatchLimits, Compression, OpenBatch, RecordRef},
    seam::{RealSpawn, Spawner},
    types::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId},
};
use tokio::sync::Notify;

use super::flusher::{FlushObserver, Flusher};
use super::recovery::verdict::Boot;
use super::state_file::StateFile;
use super::{
    AppendPolicy, Appended, CleanMark, Durability, FlushMarks, LogConfig, LogEnvironment, OpenFiles,
    PartitionLog, Prior, RecoveryReport, Refusal, Site,
};
use crate::storage::faulty::{Faults, FaultyFiles};
use crate::storage::group_flush::DiskFlush;
use crate::storage::spare::{self, Spare};
use crate::storage::{File, Files, RealFiles, write_all_at};

/// A batch as a client sends it, checked.
#[derive(Clone)]
pub(super) struct Sent {
    pub bytes: Bytes,
    pub header: BatchHeader,
}

/// Records with these values and rising timestamps, from `id` at epoch 0 with this first sequence, or from nobody.
pub(super) fn batch(from: Option<(i64, i32)>, first_timestamp: i64, values: &[&str]) -> Sent {
    compressed(from, first_timestamp, values, Compression::None)
}

pub(super) fn compressed(
    from: Option<(i64, i32)>,
    first_timestamp: i64,
    values: &[&str],
    compression: Compression,
) -> Sent {
    let mut open = OpenBatch::new(first_timestamp, 256);
    for (value, timestamp_ms) in values.iter().zip(first_timestamp..) {
        let record = RecordRef { timestamp_ms, key: None, value: Some(value.as_bytes()), headers: &[] };
        let _ = open.try_push(&record, 1 << 20);
    }
    let mut closed = open.close(compression, None);
    match from {
        Some((id, first)) => closed.stamp(ProducerId(id), ProducerEpoch(0), Sequence::new(first).unwrap()),
        None => closed.stamp_plain(),
    }
    let bytes = closed.bytes();
    let header = records::validate_from_client(&bytes, &BatchLimits::default()).unwrap();
    Sent { bytes, header }
}

/// Hears of flushes.
#[derive(Default)]
pub(super) struct Flushes {
    pub seen: Mutex<Vec<(u64, bool)>>,
    pub happened: Notify,
}

impl FlushObserver for Flushes {
    fn flushed(&self, _took: Duration, batches: u64, failed: bool) {
        self.seen.lock().unwrap().push((batches, failed));
        self.happened.notify_one();
    }
}

/// A data directory with one partition, on a disk that can be made to fail.
pub(super) struct Rig {
    directory: tempfile::TempDir,
    pub faults: Arc<Faults>,
    pub flushes: Arc<Flushes>,
    pub environment: LogEnvironment,
    pub config: LogConfig,
    pub epoch: LeaderEpoch,
    /// What recovery is told; nothing, unless a test says otherwise.
    pub marks: FlushMarks,
    pub clean: CleanMark,
}

pub(super) const PARTITION: &str = "topics/events/0";

impl Rig {
    pub(super) async fn new(durability: Durability) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        let flushes = Arc::new(Flushes::default());
        let spawner = Spawner::new(RealSpawn);
        let inner: Arc<dyn Files> = Arc::new(RealFiles::new(directory.path(), spawner.clone()));
        for parent in ["topics", "topics/events"] {
            inner.create_dir(Path::new(parent)).await.unwrap();
        }
        let files: Arc<dyn Files> = Arc::new(FaultyFiles { inner: inner.clone(), faults: faults.clone() });
        let group_flush = DiskFlush::new(spawner.clone(), &*files).await.unwrap();
        // Flush marks have faults of their own.
        let (flusher, _task) =
            Flusher::start(&spawner, inner, Arc::new(group_flush), flushes.clone(), FlushMarks::default());
        // Few, so that files are closed and opened again all the time.
        let open_files = OpenFiles::new(files, 4);
        let files = open_files.shedding();
        let spare = Spare::new(files.clone(), spare::LARGE_BYTES_MAX);
        let environment = LogEnvironment { files, flusher, spawner, open_files, spare };
        let config = LogConfig {
            segment_bytes: 1 << 20,
            index_interval_bytes: 4096,
            producer_id_expiration_ms: 86_400_000,
            producers_max: 1000,
            durability,
            checkpoint_interval_bytes: 1 << 30,
        };
        Self {
            directory,
            faults,
            flushes,
            environment,
            config,
            epoch: LeaderEpoch(1),
            marks: FlushMarks::default(),
            clean: CleanMark::default(),
        }
    }

    pub(super) fn site() -> Site {
        Site {
            topic: "events".to_owned(),
            topic_id: TopicId([7; 16]),
            partition: PartitionId(0),
            directory: PathBuf::from(PARTITION),
        }
    }

    pub(super) async fn create(&self) -> Arc<PartitionLog> {
        PartitionLog::create(&self.environment, Self::site(), self.config.clone(), self.epoch).await.unwrap()
    }

    /// As after a crash: nothing of the log before is asked, and the leader epoch has risen.
    pub(super) async fn reopen(&mut self, boot: Boot) -> (Arc<PartitionLog>, RecoveryReport) {
        self.epoch.0 += 1;
        self.try_open(boot).await
    }

    pub(super) async fn try_open(&self, boot: Boot) -> (Arc<PartitionLog>, RecoveryReport) {
        let prior = Prior::new(boot, self.marks.clone(), self.clean.clone());
        PartitionLog::open(&self.environment, Self::site(), self.config.clone(), self.epoch, &prior)
            .await
            .unwrap()
    }

    /// The quarantine is forgotten, as if the operator had said so.
    pub(super) async fn lift_quarantine(&self) {
        let files = self.plain();
        let state = StateFile::read(&files, Path::new(PARTITION)).await.unwrap().unwrap();
        state.with_quarantine(None).write(&files, Path::new(PARTITION)).await.unwrap();
    }

    /// The file of a partition's directory, past the faults.
    pub(super) async fn file(&self, name: &str) -> Arc<dyn File> {
        self.plain().open(&Path::new(PARTITION).join(name)).await.unwrap()
    }

    pub(super) fn plain(&self) -> RealFiles {
        RealFiles::new(self.directory.path(), Spawner::new(RealSpawn))
    }

    pub(super) async fn read_file(&self, path: &Path) -> Vec<u8> {
        let file = self.plain().open(path).await.unwrap();
        let size = file.size().await.unwrap();
        file.read_at(0, size as usize).await.unwrap().to_vec()
    }

    pub(super) async fn segment_bytes(&self, base: i64) -> Vec<u8> {
        self.read_file(&Path::new(PARTITION).join(segment(base))).await
    }

    /// Replaces what a segment holds.
    pub(super) async fn set_segment(&self, base: i64, bytes: &[u8]) {
        let file = self.file(&segment(base)).await;
        file.truncate(0).await.unwrap();
        write_all_at(&*file, 0, &[Bytes::copy_from_slice(bytes)]).await.unwrap();
    }

    /// Everything saved under `torn/`, by path.
    pub(super) async fn torn(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let directory = Path::new("torn/events");
        let mut saved = Vec::new();
        for entry in self.plain().list(directory).await.unwrap_or_default() {
            let path = directory.join(entry.name);
            let bytes = self.read_file(&path).await;
            saved.push((path, bytes));
        }
        saved
    }
}

pub(super) fn segment(base: i64) -> String {
    format!("{base:020}.log")
}

pub(super) fn accept(_: &BatchHeader) -> Result<(), Refusal> {
    Ok(())
}

pub(super) const POLICY: AppendPolicy<'static> =
    AppendPolicy { now_ms: 1_000_000, log_append_time: false, check: &accept };

pub(super) async fn append(log: &Arc<PartitionLog>, sent: &Sent) -> Result<Appended, Refusal> {
    log.append(sent.bytes.clone(), &sent.header, &POLICY).await
}

/// Appends, and waits for the flush.
pub(super) async fn append_durably(log: &Arc<PartitionLog>, sent: &Sent) -> Appended {
    let appended = append(log, sent).await.unwrap();
    log.wait_durable(appended.durable_when).await.unwrap();
    appended
}

/// The bytes of a range.
pub(super) async fn bytes_of(range: crate::storage::FileRange) -> Bytes {
    crate::storage::read_exact_at(&*range.file, range.position, range.len as usize).await.unwrap()
}

/// Every record of the batches in `bytes`, as (offset, value). Each batch is whole.
pub(super) fn records_of(bytes: Bytes) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for batch in records::batches(bytes) {
        let (_, batch) = batch.unwrap();
        assert!(records::check_crc(&batch), "a batch that is served is whole");
        for record in records::iterate(batch, 1 << 20).unwrap() {
            let record = record.unwrap();
            found.push((record.offset.0, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        }
    }
    found
}

/// Every record from `from` on, as far as the log gives them out.
pub(super) async fn read_all(log: &Arc<PartitionLog>, from: i64) -> Vec<(i64, String)> {
    let mut read = Vec::new();
    let mut at = Offset(from);
    while let Ok(Some(range)) = log.read(at, 1 << 20, true).await {
        read.extend(records_of(bytes_of(range).await));
        at = read.last().map_or(at, |(last, _)| Offset(last + 1));
    }
    read
}

/// Values `"0"`, `"1"`… with their offsets: what a log holds when every record's value is its offset.
pub(super) fn numbered(offsets: std::ops::Range<i64>) -> Vec<(i64, String)> {
    offsets.map(|offset| (offset, offset.to_string())).collect()
}

/// `count` batches of `records` records each, whose values are the offsets they will get from `from` on; sent by
/// producer 7 in sequence.
pub(super) fn numbered_batches(from: i64, count: i64, records: i64) -> Vec<Sent> {
    (0..count)
        .map(|number| {
            let first = from + number * records;
            let values: Vec<String> = (first..first + records).map(|offset| offset.to_string()).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            batch(Some((7, first as i32)), first * 10, &values)
        })
        .collect()
}
