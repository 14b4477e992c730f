use std::path::Path;

use gapless_common::{error_code::ErrorCode, types::Offset};

use super::*;
use crate::log::testing::{
    PARTITION, Rig, append, append_durably, batch, bytes_of, numbered, numbered_batches, read_all, records_of,
};
use crate::log::{Boot, Durability, ReadError};
use crate::storage::{Files as _, faulty::Faults};

const KEEP_ALL: RetentionLimits = RetentionLimits { ms: None, bytes: None, segment_ms: i64::MAX };

/// A log of several small segments; record `n` has timestamp `n`, as far as their batches of three go.
async fn segmented(batches: i64) -> (Rig, Arc<PartitionLog>) {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 1000;
    let log = rig.create().await;
    for sent in numbered_batches(0, batches, 3) {
        append_durably(&log, &sent).await;
    }
    assert!(log.segment_count() > 4);
    (rig, log)
}

async fn names(rig: &Rig) -> Vec<String> {
    let entries = rig.plain().list(Path::new(PARTITION)).await.unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn bases(log: &PartitionLog) -> Vec<Offset> {
    log.with_shared(|shared| shared.segments.iter().map(|segment| segment.base_offset).collect())
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_deleted_with_its_files() {
    let (mut rig, log) = segmented(60).await;
    let before = bases(&log);
    let keep = log.size_bytes() / 2;
    let reclaimed = log.retain(&RetentionLimits { bytes: Some(keep), ..KEEP_ALL }, 0).await.unwrap();
    assert!(reclaimed.segments > 0 && log.size_bytes() >= keep);
    let start = log.log_start_offset();
    assert_eq!(start, before[reclaimed.segments as usize]);
    assert_eq!(bases(&log), before[reclaimed.segments as usize..]);
    let names = names(&rig).await;
    for base in &before {
        for suffix in ["log", "index", "timeindex"] {
            let there = names.contains(&format!("{:020}.{suffix}", base.0));
            let sealed = base != before.last().unwrap();
            assert_eq!(there, *base >= start && (sealed || suffix == "log"), "{base} {suffix}");
        }
    }
    assert!(matches!(log.read(Offset(start.0 - 1), 1, true).await, Err(ReadError::OutOfRange { .. })));
    assert_eq!(read_all(&log, start.0).await, numbered(start.0..180));
    for boot in [Boot::Same, Boot::Other] {
        let (log, _) = rig.reopen(boot).await;
        assert_eq!((log.state(), log.log_start_offset()), (State::Online, start));
        assert_eq!(read_all(&log, start.0).await, numbered(start.0..180));
    }
}

#[tokio::test]
async fn a_log_of_which_all_has_expired_is_empty_and_goes_on_where_it_was() {
    let (mut rig, log) = segmented(60).await;
    let all = RetentionLimits { ms: Some(1000), ..KEEP_ALL };
    assert_eq!(log.retain(&all, 1000).await.unwrap(), Reclaimed::default(), "none is that old");
    log.retain(&all, 1_000_000).await.unwrap();
    assert_eq!((log.log_start_offset(), log.end_offset(), log.size_bytes()), (Offset(180), Offset(180), 0));
    assert_eq!(log.segment_count(), 1);
    assert_eq!(log.retain(&all, 1_000_000).await.unwrap(), Reclaimed::default());
    // Idempotence outlives the records.
    let next = numbered_batches(180, 1, 3).remove(0);
    assert!(append(&log, &numbered_batches(177, 1, 3)[0]).await.unwrap().duplicate);
    for boot in [Boot::Same, Boot::Other] {
        let (log, _) = rig.reopen(boot).await;
        assert_eq!((log.state(), log.log_start_offset()), (State::Online, Offset(180)));
        assert!(append(&log, &numbered_batches(177, 1, 3)[0]).await.unwrap().duplicate);
    }
    let (log, _) = rig.reopen(Boot::Same).await;
    append_durably(&log, &next).await;
    let (log, _) = rig.reopen(Boot::Other).await;
    assert_eq!((log.log_start_offset(), log.end_offset()), (Offset(180), Offset(183)));
    assert_eq!(read_all(&log, 180).await, numbered(180..183));
}

#[tokio::test]
async fn a_segment_is_sealed_when_it_is_old_enough() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let week = RetentionLimits { segment_ms: 7000, ..KEEP_ALL };
    log.retain(&week, 100_000).await.unwrap();
    append_durably(&log, &batch(None, 5, &["of long ago"])).await;
    for (now, segments) in [(103_000, 1), (107_000, 1), (107_001, 2), (500_000, 2)] {
        log.retain(&week, now).await.unwrap();
        assert_eq!(log.segment_count(), segments, "at {now}");
    }
    assert_eq!(log.log_start_offset(), Offset(0));
}

#[tokio::test]
async fn a_backfill_of_old_records_is_not_sealed_at_every_check() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let mut log = rig.create().await;
    let week = RetentionLimits { segment_ms: 7000, ..KEEP_ALL };
    let mut now = 1_000_000;
    for round in 0..3 {
        // One check for each thousand milliseconds; the eighth is the first that finds it old enough.
        for check in 0..9 {
            append_durably(&log, &batch(None, 5, &["of long ago"])).await;
            log.retain(&week, now).await.unwrap();
            let expected = round + 1 + usize::from(check == 8);
            assert_eq!(log.segment_count(), expected, "round {round}, check {check}");
            now += 1000;
        }
    }
    // What an earlier process began is as old as its first record says.
    append_durably(&log, &batch(None, 5, &["of long ago"])).await;
    (log, _) = rig.reopen(Boot::Same).await;
    log.retain(&week, now).await.unwrap();
    assert_eq!(log.segment_count(), 5);
}

#[tokio::test]
async fn deleted_records_are_gone_before_the_answer() {
    let (mut rig, log) = segmented(60).await;
    for (before, start) in [(Some(10), 10), (Some(5), 10), (Some(100), 100), (Some(100), 100)] {
        assert_eq!(log.delete_records(before.map(Offset)).await.unwrap(), Offset(start));
        let (reopened, _) = rig.reopen(Boot::Same).await;
        assert_eq!(reopened.log_start_offset(), Offset(start));
    }
    for beyond in [181, -2, i64::MAX] {
        let refused = log.delete_records(Some(Offset(beyond))).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    assert!(matches!(log.read(Offset(99), 1, true).await, Err(ReadError::OutOfRange { .. })));
    // The batch in which the log starts is served whole, as Kafka does: consumers skip.
    assert_eq!(read_all(&log, 100).await, numbered(99..180));
    log.retain(&KEEP_ALL, 0).await.unwrap();
    assert!(bases(&log)[1] > Offset(100) && bases(&log)[0] <= Offset(100));
    assert_eq!(log.delete_records(None).await.unwrap(), Offset(180));
    log.retain(&KEEP_ALL, 0).await.unwrap();
    assert_eq!((bases(&log), log.size_bytes()), (vec![Offset(180)], 0));
}

#[tokio::test]
async fn under_os_what_is_deleted_is_on_disk_first() {
    let mut rig = Rig::new(Durability::Os).await;
    let log = rig.create().await;
    append(&log, &batch(None, 0, &["a", "b"])).await.unwrap();
    Faults::set(&rig.faults.flush_held, true);
    let mut deleting = Box::pin(log.delete_records(None));
    assert!(futures_util::poll!(&mut deleting).is_pending());
    rig.faults.release_flushes();
    assert_eq!(deleting.await.unwrap(), Offset(2));
    let (log, _) = rig.reopen(Boot::Other).await;
    assert_eq!((log.state(), log.log_start_offset()), (State::Online, Offset(2)));
}

#[tokio::test]
async fn a_start_that_cannot_be_saved_deletes_nothing() {
    let (rig, log) = segmented(60).await;
    log.note_all().await;
    Faults::set(&rig.faults.create_fails, true);
    let before = names(&rig).await;
    let half = RetentionLimits { bytes: Some(log.size_bytes() / 2), ..KEEP_ALL };
    let reclaimed = log.retain(&half, 0).await;
    assert!(reclaimed.is_err() || reclaimed.unwrap() == Reclaimed::default());
    assert!(log.delete_records(Some(Offset(10))).await.is_err());
    assert_eq!((log.log_start_offset(), names(&rig).await), (Offset(0), before));
    assert_eq!(read_all(&log, 0).await, numbered(0..180));
    Faults::set(&rig.faults.create_fails, false);
    assert!(log.retain(&half, 0).await.unwrap().segments > 0);
}

#[tokio::test]
async fn a_full_disk_is_freed_by_retention_and_on_request() {
    for (segment_bytes, on_request) in [(1000, false), (1000, true), (1 << 20, true)] {
        let mut rig = Rig::new(Durability::Fsync).await;
        rig.config.segment_bytes = segment_bytes;
        let log = rig.create().await;
        for sent in numbered_batches(0, 60, 3) {
            append_durably(&log, &sent).await;
        }
        log.notes_written().await;
        rig.environment.spare.fill().await;
        rig.faults.fill_up_to(0);
        let next = numbered_batches(180, 1, 3).remove(0);
        assert!(append(&log, &next).await.is_err(), "the disk is full");
        let limits = RetentionLimits { bytes: (!on_request).then_some(0), ..KEEP_ALL };
        if on_request {
            assert_eq!(log.delete_records(Some(Offset(100))).await.unwrap(), Offset(100));
            assert_eq!(log.delete_records(None).await.unwrap(), Offset(180));
        }
        assert!(log.retain(&limits, 0).await.unwrap().segments > 0);
        assert_eq!((log.log_start_offset(), log.size_bytes()), (Offset(180), 0));
        // A crash on the full disk: what it was freed with is there, and producers are remembered.
        for boot in [Boot::Same, Boot::Other] {
            let (log, report) = rig.reopen(boot).await;
            assert_eq!((log.state(), log.log_start_offset()), (State::Online, Offset(180)));
            assert_eq!(report.scanned_bytes, 0);
            assert!(append(&log, &numbered_batches(177, 1, 3)[0]).await.unwrap().duplicate);
        }
        rig.faults.make_room();
        let (log, _) = rig.reopen(Boot::Same).await;
        append_durably(&log, &next).await;
        assert_eq!(read_all(&log, 180).await, numbered(180..183));
    }
}

#[tokio::test]
async fn a_crash_in_the_middle_of_retention_is_harmless() {
    for removals in 0..6 {
        let (mut rig, log) = segmented(60).await;
        let all = bases(&log);
        let half = RetentionLimits { bytes: Some(log.size_bytes() / 2), ..KEEP_ALL };
        rig.faults.removals.store(removals, std::sync::atomic::Ordering::SeqCst);
        Faults::set(&rig.faults.remove_fails, true);
        assert!(log.retain(&half, 0).await.is_err());
        Faults::set(&rig.faults.remove_fails, false);
        let start = log.log_start_offset();
        assert!(start > all[1], "the start is saved first");
        for boot in [Boot::Same, Boot::Other] {
            let (log, _) = rig.reopen(boot).await;
            assert_eq!((log.state(), log.log_start_offset()), (State::Online, start));
            assert_eq!(read_all(&log, start.0).await, numbered(start.0..180));
        }
        let (log, _) = rig.reopen(Boot::Same).await;
        log.retain(&KEEP_ALL, 0).await.unwrap();
        assert_eq!(bases(&log)[0], start);
        for name in names(&rig).await.iter().filter(|name| name.starts_with('0')) {
            assert!(name.as_str() >= format!("{:020}", start.0).as_str(), "{name} is left");
        }
    }
}

#[tokio::test]
async fn whoever_reads_a_segment_goes_on_while_it_is_deleted() {
    let (_rig, log) = segmented(60).await;
    let range = log.read(Offset(0), 1 << 20, true).await.unwrap().unwrap();
    log.retain(&RetentionLimits { bytes: Some(0), ..KEEP_ALL }, 0).await.unwrap();
    assert_eq!(log.log_start_offset(), Offset(180));
    let read = records_of(bytes_of(range).await);
    assert_eq!(read, numbered(0..read.len() as i64));
    assert!(read.len() > 3);
}

#[tokio::test]
async fn a_partition_in_which_something_is_wrong_is_left_as_it_is() {
    let (rig, log) = segmented(60).await;
    log.note_all().await;
    let before = names(&rig).await;
    log.go_offline("a test".to_owned());
    let none = RetentionLimits { bytes: Some(0), ..KEEP_ALL };
    assert_eq!(log.retain(&none, 0).await.unwrap(), Reclaimed::default());
    assert!(log.delete_records(None).await.is_err());
    assert_eq!(names(&rig).await, before);
}

#[tokio::test]
async fn a_full_disk_is_freed_though_the_active_segment_cannot_be_sealed() {
    let (rig, log) = segmented(60).await;
    log.notes_written().await;
    rig.environment.spare.fill().await;
    let active = *bases(&log).last().unwrap();
    // The first check that sees it: then it was begun.
    log.retain(&KEEP_ALL, 0).await.unwrap();
    // A new name takes room on some file systems.
    Faults::set(&rig.faults.create_fails, true);
    let limits = RetentionLimits { bytes: Some(log.size_bytes() / 2), segment_ms: 1, ..KEEP_ALL };
    assert!(log.retain(&limits, i64::MAX).await.unwrap().segments > 0);
    assert_eq!(bases(&log).last(), Some(&active));
    assert!(
        matches!(log.retain(&limits, i64::MAX).await, Err(StorageError::Full { .. })),
        "and that is told"
    );
    Faults::set(&rig.faults.create_fails, false);
    log.retain(&limits, i64::MAX).await.unwrap();
    assert!(*bases(&log).last().unwrap() > active);
}

#[tokio::test]
async fn what_is_deleted_by_two_at_once_is_counted_once() {
    let (_rig, log) = segmented(60).await;
    let before = bases(&log).len() as u64;
    log.delete_records(None).await.unwrap();
    let (first, second) = tokio::join!(log.retain(&KEEP_ALL, 0), log.retain(&KEEP_ALL, 0));
    assert_eq!(first.unwrap().segments + second.unwrap().segments, before);
    assert_eq!((bases(&log), log.size_bytes()), (vec![Offset(180)], 0));
}
