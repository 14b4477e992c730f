//! Recovery on a disk that does not give everything back, and of what no checksum covers.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use gapless_common::types::{LeaderEpoch, Offset};

use super::verdict::Boot;
use crate::log::state_file::StateFile;
use crate::log::testing::{
    PARTITION, Rig, append, append_durably, numbered, numbered_batches, read_all, segment,
};
use crate::log::{Durability, Prior, State, StorageError};
use crate::storage::{Files as _, small_file};

const EIO: i32 = 5;
const NO_MEMORY: i32 = 12;
/// Where in a batch its leader epoch ends.
const EPOCH_END: usize = 16;

/// A partition that starts at 4, with segments of two batches of two records each, not all of them above that.
async fn started_at_4() -> Rig {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 200;
    let log = rig.create().await;
    for sent in &numbered_batches(0, 5, 2) {
        append_durably(&log, sent).await;
    }
    assert_eq!(log.segment_count(), 3);
    log.delete_records(Some(Offset(4))).await.unwrap();
    log.notes_written().await;
    rig
}

#[tokio::test]
async fn what_does_not_come_back_from_the_disk_is_not_written_over_and_not_made_up() {
    let mut rig = started_at_4().await;
    let state = PathBuf::from(PARTITION).join("state.json");
    let before = rig.read_file(&state).await;
    rig.faults.unreadable(10, EIO);
    for boot in [Boot::Same, Boot::Other] {
        let (log, _) = rig.reopen(boot).await;
        let State::Quarantined { at, why } = log.state() else { panic!("{:?}", log.state()) };
        assert_eq!(at, Offset(0));
        assert!(why.contains("state.json") && why.contains("os error 5"), "{why}");
        for from in [0, 4, 10, 1000] {
            let refused = log.read(Offset(from), 1000, true).await.err().unwrap();
            assert!(refused.to_string().contains("state.json"), "from {from}: {refused}");
        }
        assert!(append(&log, &numbered_batches(10, 1, 2)[0]).await.is_err());
        assert!(matches!(log.bounds(), Err(StorageError::Quarantined { .. })), "neither end is known");
        assert!(log.end_offset_for_epoch(LeaderEpoch(0)).is_err());
        assert!(log.offset_for_timestamp(0).await.is_err());
        log.flush_and_close().await.unwrap();
        assert_eq!(rig.read_file(&state).await, before);
    }
    rig.faults.readable();
    let (log, _) = rig.reopen(Boot::Same).await;
    assert_eq!((log.state(), log.log_start_offset()), (State::Online, Offset(4)));
    assert_eq!(read_all(&log, 4).await, numbered(4..10));
}

#[tokio::test]
async fn a_start_ends_where_it_may_not_read_or_does_not_understand() {
    let rig = started_at_4().await;
    let (files, directory) = (rig.plain(), Path::new(PARTITION));
    let open = async || {
        let prior = Prior::new(Boot::Same, rig.marks.clone(), rig.clean.clone());
        let opened =
            super::PartitionLog::open(&rig.environment, Rig::site(), rig.config.clone(), rig.epoch, &prior);
        opened.await.map(drop).map_err(|error| error.to_string())
    };
    // It may pass.
    rig.faults.unreadable(10, NO_MEMORY);
    let error = open().await.unwrap_err();
    assert!(error.contains("state.json") && error.contains("os error 12"), "{error}");
    rig.faults.readable();
    assert_eq!(open().await, Ok(()));
    let state = StateFile::read(&files, directory).await.unwrap().unwrap();
    small_file::replace(&files, &StateFile::path(directory), 2, &state).await.unwrap();
    let error = open().await.unwrap_err();
    assert!(error.contains("format version 2") && error.contains("use the version that wrote it"), "{error}");
}

#[tokio::test]
async fn an_epoch_that_rots_below_the_start_changes_nothing_above_it() {
    for (batch, boot) in [(0, Boot::Same), (0, Boot::Other), (1, Boot::Same), (1, Boot::Other)] {
        let mut rig = started_at_4().await;
        // Epochs go by of which no batch tells.
        for _ in 0..3 {
            rig.reopen(Boot::Same).await;
        }
        for entry in rig.plain().list(Path::new(PARTITION)).await.unwrap() {
            if entry.name.ends_with(".producers") {
                rig.plain().remove(&Path::new(PARTITION).join(entry.name)).await.unwrap();
            }
        }
        let mut leftover = rig.segment_bytes(0).await;
        let size = leftover.len() / 2;
        assert_eq!(leftover[batch * size + EPOCH_END - 1], 1);
        leftover[batch * size + EPOCH_END - 1] ^= 2;
        rig.set_segment(0, &leftover).await;
        rig.plain().remove(&Path::new(PARTITION).join(segment(0).replace(".log", ".index"))).await.unwrap();
        let (log, _) = rig.reopen(boot).await;
        let what = format!("batch {batch}, {boot:?}");
        assert_eq!((log.state(), log.end_offset()), (State::Online, Offset(10)), "{what}");
        assert_eq!(log.leader_epoch_at(Offset(4)), LeaderEpoch(1), "{what}");
        assert_eq!(
            append_durably(&log, &numbered_batches(10, 1, 2)[0]).await.base_offset,
            Offset(10),
            "{what}"
        );
        assert_eq!(read_all(&log, 4).await, numbered(4..12), "{what}");
        let (log, _) = rig.reopen(boot).await;
        assert_eq!((log.state(), log.end_offset()), (State::Online, Offset(12)), "{what}");
    }
}

#[tokio::test]
async fn who_has_read_under_an_epoch_that_is_deleted_is_not_told_that_it_was_cut_off() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 200;
    rig.config.checkpoint_interval_bytes = 100;
    let mut log = rig.create().await;
    for batch in &numbered_batches(0, 12, 2) {
        append_durably(&log, batch).await;
        log.notes_written().await;
        (log, _) = rig.reopen(Boot::Same).await;
    }
    for start in [3, 9, 16, 24] {
        log.delete_records(Some(Offset(start))).await.unwrap();
        (log, _) = rig.reopen(Boot::Other).await;
        for at in start / 2..=12 {
            // The last batch that was read is of this epoch, and the next one is fetched.
            let (epoch, end) = log.end_offset_for_epoch(LeaderEpoch(i32::try_from(at).unwrap())).unwrap();
            assert!(
                epoch.0 == at as i32 && end.0 >= at * 2,
                "start {start}: epoch {at} ends at {end} as {epoch}"
            );
        }
    }
}

#[tokio::test]
async fn a_bit_that_flips_on_the_way_from_the_disk_moves_no_start() {
    let mut rig = started_at_4().await;
    rig.faults.flips.store(1, Ordering::SeqCst);
    let (log, _) = rig.reopen(Boot::Same).await;
    assert_eq!(rig.faults.flipped.load(Ordering::SeqCst), 1, "it was read");
    assert_eq!((log.state(), log.log_start_offset()), (State::Online, Offset(4)));
    assert_eq!(read_all(&log, 4).await, numbered(4..10));
}

#[tokio::test]
async fn bits_that_flip_on_the_way_from_the_disk_cut_nothing_off() {
    // In the offset, the length, the epoch and the value of the last batch; nothing tells that it was flushed.
    for (byte, flips) in [7, 11, EPOCH_END - 1, 70].into_iter().flat_map(|byte| [(byte, 1), (byte, 2)]) {
        for boot in [Boot::Same, Boot::Other] {
            let mut rig = Rig::new(Durability::Fsync).await;
            let log = rig.create().await;
            for sent in &numbered_batches(0, 5, 2) {
                append_durably(&log, sent).await;
            }
            let size = rig.segment_bytes(0).await.len();
            rig.faults.flip_at.store((size - size / 5 + byte) as u64, Ordering::SeqCst);
            rig.faults.flips.store(flips, Ordering::SeqCst);
            let (log, report) = rig.reopen(boot).await;
            let what = format!("byte {byte}, {flips} times, {boot:?}");
            assert_eq!(rig.faults.flipped.load(Ordering::SeqCst), flips as u64, "{what}");
            assert_eq!((log.state(), log.end_offset()), (State::Online, Offset(10)), "{what}");
            assert_eq!((report.truncated_bytes, &report.saved_as), (0, &None), "{what}");
            assert_eq!(read_all(&log, 0).await, numbered(0..10), "{what}");
        }
    }
}

#[tokio::test]
async fn what_reads_differently_each_time_is_not_cut_off() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    for sent in &numbered_batches(0, 5, 2) {
        append_durably(&log, sent).await;
    }
    let before = rig.segment_bytes(0).await;
    rig.faults.flip_at.store(before.len() as u64 - 3, Ordering::SeqCst);
    rig.faults.flips.store(7, Ordering::SeqCst);
    let (log, report) = rig.reopen(Boot::Other).await;
    let State::Quarantined { at, why } = log.state() else { panic!("{:?}", log.state()) };
    assert!(at == Offset(8) && why.contains("differs from one reading to the next"), "{at}: {why}");
    assert_eq!(report.truncated_bytes, 0);
    assert_eq!(rig.segment_bytes(0).await, before);
}

#[tokio::test]
async fn a_bit_that_flips_on_the_way_from_the_disk_costs_no_checkpoint() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.checkpoint_interval_bytes = 100;
    let log = rig.create().await;
    for sent in &numbered_batches(0, 5, 2) {
        append_durably(&log, sent).await;
        log.notes_written().await;
    }
    // Behind the end of the state file, and before that of the checkpoint.
    let state = rig.read_file(&StateFile::path(Path::new(PARTITION))).await.len();
    let checkpoint = rig.reopen(Boot::Other).await.1.checkpoint.unwrap();
    let size = rig.read_file(&crate::log::checkpoint::path(Path::new(PARTITION), checkpoint)).await.len();
    assert!(state < size - 2, "{state} {size}");
    rig.faults.flip_at.store(size as u64 - 2, Ordering::SeqCst);
    rig.faults.flips.store(1, Ordering::SeqCst);
    let (log, report) = rig.reopen(Boot::Other).await;
    assert_eq!(rig.faults.flipped.load(Ordering::SeqCst), 1, "it was read");
    assert_eq!(report.checkpoint, Some(checkpoint));
    assert_eq!((log.state(), log.end_offset()), (State::Online, Offset(10)));
}
