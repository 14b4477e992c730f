use std::path::Path;
use std::sync::Arc;

use gapless_common::{
    records::{BatchLimits, Compression, OpenBatch, RecordRef, validate_from_client},
    types::Offset,
};
use proptest::{collection::vec, prelude::*, sample::select};

use super::Stamped;
use crate::log::testing::{PARTITION, Rig, Sent, append, append_durably, batch, compressed};
use crate::log::{Boot, Durability, PartitionLog, State};
use crate::storage::{Files as _, faulty::Faults};

#[tokio::test]
async fn timestamps_are_found_in_batches_and_records() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 400;
    let log = rig.create().await;
    assert_eq!(log.offset_for_timestamp(0).await.unwrap(), None);
    assert_eq!(log.offset_of_max_timestamp().await.unwrap(), None);
    // Out of order, as clients send them; each batch has three records, a millisecond apart.
    for (first, compression) in [
        (100, Compression::None),
        (500, Compression::Gzip),
        (200, Compression::Zstd),
        (900, Compression::Lz4),
        (300, Compression::Snappy),
        (900, Compression::None),
        (400, Compression::None),
    ] {
        append_durably(&log, &compressed(None, first, &["a", "b", "c"], compression)).await;
    }
    assert!(log.segment_count() > 1);
    for (timestamp, expected) in [
        (0, Some((0, 100))),
        (100, Some((0, 100))),
        (101, Some((1, 101))),
        (103, Some((3, 500))),
        (502, Some((5, 502))),
        (503, Some((9, 900))),
        (902, Some((11, 902))),
        (903, None),
    ] {
        let found = log.offset_for_timestamp(timestamp).await.unwrap();
        assert_eq!(found, expected.map(|(offset, at)| (Offset(offset), at)), "{timestamp}");
    }
    assert_eq!(log.offset_of_max_timestamp().await.unwrap(), Some((Offset(11), 902)));
    Faults::set(&rig.faults.flush_held, true);
    append(&log, &batch(None, 5000, &["unseen"])).await.unwrap();
    assert_eq!(log.offset_for_timestamp(903).await.unwrap(), None, "only below the watermark");
    assert_eq!(log.offset_of_max_timestamp().await.unwrap(), Some((Offset(11), 902)));
    rig.faults.release_flushes();
}

/// A batch whose records have these timestamps.
fn stamped(timestamps: &[i64]) -> Sent {
    let mut open = OpenBatch::new(timestamps[0], 256);
    for timestamp_ms in timestamps.iter().copied() {
        let record = RecordRef { timestamp_ms, key: None, value: Some(b"x"), headers: &[] };
        let _ = open.try_push(&record, 1 << 20);
    }
    let mut closed = open.close(Compression::None, None);
    closed.stamp_plain();
    let bytes = closed.bytes();
    let header = validate_from_client(&bytes, &BatchLimits::default()).unwrap();
    Sent { bytes, header }
}

/// A log as a list.
struct Model {
    log_start: usize,
    timestamps: Vec<i64>,
}

impl Model {
    fn first(&self, is_it: impl Fn(i64) -> bool) -> Option<Stamped> {
        let seen = self.timestamps.iter().copied().enumerate().skip(self.log_start);
        seen.map(|(offset, timestamp)| (Offset(offset as i64), timestamp))
            .find(|(_, timestamp)| is_it(*timestamp))
    }

    fn max(&self) -> Option<Stamped> {
        let max = self.timestamps.iter().skip(self.log_start).max()?;
        self.first(|timestamp| timestamp == *max)
    }
}

async fn assert_same(log: &Arc<PartitionLog>, model: &Model) {
    for asked in -1..=TIMESTAMP_MAX + 1 {
        let found = log.offset_for_timestamp(asked).await.unwrap();
        assert_eq!(found, model.first(|timestamp| timestamp >= asked), "since {asked}");
    }
    assert_eq!(log.offset_of_max_timestamp().await.unwrap(), model.max());
}

const TIMESTAMP_MAX: i64 = 40;

async fn compare(batches: &[Vec<i64>], interval: u64, starts: &[usize], damage: u8) {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 700;
    rig.config.index_interval_bytes = interval;
    let log = rig.create().await;
    let mut model = Model { log_start: 0, timestamps: Vec::new() };
    for timestamps in batches {
        append_durably(&log, &stamped(timestamps)).await;
        model.timestamps.extend(timestamps);
    }
    assert_same(&log, &model).await;
    // Files are read and checked each time: missing or damaged ones cost time and change nothing.
    let names = rig.plain().list(Path::new(PARTITION)).await.unwrap().into_iter().map(|entry| entry.name);
    for name in names.filter(|name| name.ends_with(".timeindex")) {
        match damage {
            0 => rig.plain().remove(&Path::new(PARTITION).join(name)).await.unwrap(),
            1 => rig.file(&name).await.truncate(80).await.unwrap(),
            _ => {}
        }
    }
    assert_same(&log, &model).await;
    // No roll may wait for the flush that is held below.
    rig.config.segment_bytes = 1 << 20;
    let (log, _) = rig.reopen(Boot::Same).await;
    let mut starts = starts.to_vec();
    starts.sort_unstable();
    for start in starts {
        model.log_start = start.min(model.timestamps.len());
        log.with_shared(|shared| shared.log_start = Offset(model.log_start as i64));
        assert_same(&log, &model).await;
    }
    // What is not durable yet is not seen, wherever its timestamps lie.
    Faults::set(&rig.faults.flush_held, true);
    append(&log, &stamped(&[TIMESTAMP_MAX + 1, 7])).await.unwrap();
    assert_same(&log, &model).await;
    rig.faults.release_flushes();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn look_ups_by_time_answer_as_a_search_through_all_records(
        batches in vec(vec(0..=TIMESTAMP_MAX, 1..5), 1..30),
        interval in select(&[0_u64, 150, 4096]),
        starts in vec(0..80_usize, 0..4),
        damage in 0..3_u8,
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
            .block_on(compare(&batches, interval, &starts, damage));
    }
}

#[tokio::test]
async fn a_look_up_does_not_read_what_lies_before_its_time() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 1 << 20;
    let log = rig.create().await;
    let value = "x".repeat(2000);
    for timestamp in 0..300 {
        append(&log, &batch(None, timestamp * 10, &[&value])).await.unwrap();
    }
    log.wait_durable(Offset(300)).await.unwrap();
    let segment = log.view().segments[0].clone();
    for timestamp in [0, 5, 1000, 1001, 2990] {
        let (files, directory) = (&*rig.environment.files, Path::new(PARTITION));
        let start = segment.start_for(timestamp, files, directory, rig.epoch).await.unwrap();
        let first = (timestamp + 9) / 10;
        assert!((first - 3..=first).contains(&start.0), "{timestamp} is searched from {start}");
    }
}

#[tokio::test]
async fn what_is_corrupt_is_neither_passed_over_nor_looked_for_below_the_start() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 200;
    let log = rig.create().await;
    for first in [700, 100, 200, 300, 400, 500] {
        append_durably(&log, &batch(None, first, &["a", "b"])).await;
    }
    assert!(log.segment_count() >= 3);
    let second = log.with_shared(|shared| shared.segments[1].base_offset);
    let break_magic = async |base: i64| {
        let mut bytes = rig.segment_bytes(base).await;
        bytes[16] ^= 1;
        rig.set_segment(base, &bytes).await;
    };
    log.delete_records(Some(second)).await.unwrap();
    break_magic(0).await;
    for timestamp in [0, 201, 501] {
        let (_, found) = log.offset_for_timestamp(timestamp).await.unwrap().unwrap();
        assert_eq!(found, timestamp.max(200), "what was deleted is not looked at");
    }
    assert_eq!(log.offset_for_timestamp(502).await.unwrap(), None);
    assert_eq!(log.offset_of_max_timestamp().await.unwrap(), Some((Offset(11), 501)));
    assert_eq!(log.state(), State::Online);
    let last = log.with_shared(|shared| shared.segments.last().unwrap().base_offset);
    break_magic(last.0).await;
    for _ in 0..2 {
        assert!(log.offset_for_timestamp(501).await.is_err(), "it lies in what cannot be read");
        assert!(log.offset_for_timestamp(502).await.is_err(), "it may");
        assert!(log.offset_of_max_timestamp().await.is_err());
        assert_eq!(log.offset_for_timestamp(201).await.unwrap(), Some((second.plus(1), 201)));
        assert!(matches!(log.state(), State::Quarantined { at, .. } if at == last));
    }
}
