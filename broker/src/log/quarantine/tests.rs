//! What stands between rot and a reader.

use std::{path::Path, sync::Arc};

use gapless_common::{
    error_code::ErrorCode,
    types::{LeaderEpoch, Offset},
};

use crate::log::recovery::verdict::Boot;
use crate::log::retention::RetentionLimits;
use crate::log::state_file::StateFile;
use crate::log::testing::{
    PARTITION, Rig, append, append_durably, batch, bytes_of, numbered, numbered_batches, read_all,
    records_of, segment,
};
use crate::log::{Durability, PartitionLog, State, StorageError};
use crate::storage::{faulty::Faults, write_all_at};

const EIO: i32 = 5;
const TOO_MANY_OPEN_FILES: i32 = 24;

/// A log of several segments of three batches each, as it is after a start that did not look into them.
async fn cold() -> (Rig, Arc<PartitionLog>, Vec<i64>) {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 300;
    let log = rig.create().await;
    for sent in &numbered_batches(0, 8, 2) {
        append_durably(&log, sent).await;
    }
    let bases = forget(&log);
    assert!(bases.len() >= 3, "{bases:?}");
    (rig, log, bases)
}

/// Nothing is known of what the log holds any more; where its segments begin.
fn forget(log: &PartitionLog) -> Vec<i64> {
    log.with_shared(|shared| {
        let segments = shared.segments.iter();
        segments.map(|segment| (segment.verified.forget(), segment.base_offset.0).1).collect()
    })
}

async fn flip(rig: &Rig, base: i64, at: usize) {
    let bytes = rig.segment_bytes(base).await;
    let flipped = bytes[at] ^ 1 << (at % 8);
    write_all_at(&*rig.file(&segment(base)).await, at as u64, &[vec![flipped].into()]).await.unwrap();
}

fn quarantined(log: &PartitionLog) -> (i64, String) {
    match log.state() {
        State::Quarantined { at, why } => (at.0, why.to_string()),
        state => panic!("{state:?}"),
    }
}

#[tokio::test]
async fn no_flipped_bit_of_an_old_segment_is_ever_served() {
    let (mut rig, log, bases) = cold().await;
    assert_eq!(read_all(&log, 0).await, numbered(0..16));
    let base = bases[1];
    let size = rig.segment_bytes(base).await.len();
    for at in 0..size {
        let (log, _) = rig.reopen(Boot::Same).await;
        forget(&log);
        flip(&rig, base, at).await;
        let read = read_all(&log, 0).await;
        let (quarantined, why) = quarantined(&log);
        assert!((base..bases[2]).contains(&quarantined), "byte {at} of {size}");
        assert_eq!(read, numbered(0..quarantined), "byte {at}");
        assert!(why.contains(&segment(base)) && why.contains("at position "), "byte {at}: {why}");
        let refused = log.read(Offset(quarantined), 1000, true).await.err().unwrap();
        assert_eq!(refused.error_code(), ErrorCode::KAFKA_STORAGE_ERROR);
        assert!(refused.to_string().contains("gapless-broker log repair"), "the way back: {refused}");
        assert_eq!(
            append(&log, &batch(None, 0, &["x"])).await.unwrap_err().code,
            ErrorCode::KAFKA_STORAGE_ERROR
        );
        flip(&rig, base, at).await;
        log.save_quarantine().await;
        rig.lift_quarantine().await;
    }
}

#[tokio::test]
async fn what_was_found_once_is_refused_after_a_restart_that_does_not_see_it() {
    let (mut rig, log, bases) = cold().await;
    flip(&rig, bases[1], 100).await;
    assert!(read_all(&log, 0).await.len() < 16);
    let found = quarantined(&log);
    log.flush_and_close().await.unwrap();
    flip(&rig, bases[1], 100).await;
    for boot in [Boot::Same, Boot::Other] {
        let (log, _) = rig.reopen(boot).await;
        assert_eq!(quarantined(&log), found);
        assert_eq!(read_all(&log, 0).await, numbered(0..found.0));
        assert!(append(&log, &batch(None, 0, &["x"])).await.is_err());
    }
}

#[tokio::test]
async fn where_an_epoch_ended_is_told_only_below_what_is_corrupt() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 90;
    let mut log = rig.create().await;
    // A segment for each. Two batches of two records under each of four epochs.
    for (pair, from) in (0..4).zip((0..).step_by(4)) {
        if pair > 0 {
            (log, _) = rig.reopen(Boot::Same).await;
        }
        for sent in &numbered_batches(from, 2, 2) {
            append_durably(&log, sent).await;
        }
    }
    assert!(forget(&log).contains(&10));
    flip(&rig, 10, 70).await;
    let read = read_all(&log, 0).await.len() as i64;
    let (at, _) = quarantined(&log);
    assert_eq!((read, at), (10, 10));
    for opened in 0..3 {
        for asked in 1..=rig.epoch.0 {
            let told = log.end_offset_for_epoch(LeaderEpoch(asked));
            // Epochs 1 and 2 ended at 4 and 8; where 3 did, and all behind it, lies in what nobody can read.
            match &told {
                Ok((epoch, end)) => assert_eq!((epoch.0, end.0), (asked, i64::from(asked) * 4)),
                Err(error) => assert_eq!(error.error_code(), ErrorCode::KAFKA_STORAGE_ERROR),
            }
            assert_eq!(told.is_ok(), asked < 3, "epoch {asked}, opened {opened} times");
        }
        log.save_quarantine().await;
        (log, _) = rig.reopen(Boot::Same).await;
    }
}

#[tokio::test]
async fn the_start_stays_where_it_was_told_to_be_even_inside_a_corrupt_batch() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    for sent in &numbered_batches(0, 2, 4) {
        append_durably(&log, sent).await;
    }
    log.delete_records(Some(Offset(2))).await.unwrap();
    flip(&rig, 0, 70).await;
    forget(&log);
    assert_eq!(read_all(&log, 2).await, []);
    for log in [log, rig.reopen(Boot::Same).await.0] {
        assert_eq!(quarantined(&log).0, 0);
        assert_eq!(log.log_start_offset(), Offset(2));
        for from in 0..8 {
            let refused = log.read(Offset(from), 1000, true).await.err().unwrap().error_code();
            let is_below = from < 2;
            let expected =
                if is_below { ErrorCode::OFFSET_OUT_OF_RANGE } else { ErrorCode::KAFKA_STORAGE_ERROR };
            assert_eq!(refused, expected, "from {from}");
        }
    }
}

#[tokio::test]
async fn nothing_is_cut_off_a_log_that_its_operator_has_yet_to_look_at() {
    let (mut rig, log, bases) = cold().await;
    flip(&rig, bases[1], 100).await;
    assert!(read_all(&log, 0).await.len() < 16);
    let found = quarantined(&log);
    log.flush_and_close().await.unwrap();
    let last = *bases.last().unwrap();
    let tail = [&rig.segment_bytes(last).await[..], &[7; 100]].concat();
    rig.set_segment(last, &tail).await;
    for boot in [Boot::Same, Boot::Other] {
        let (log, report) = rig.reopen(boot).await;
        assert_eq!((quarantined(&log), report.truncated_bytes), (found.clone(), 0));
        assert_eq!(rig.segment_bytes(last).await, tail);
    }
}

#[tokio::test]
async fn a_quarantine_that_could_not_be_saved_is_saved_at_the_stop() {
    let (rig, log, bases) = cold().await;
    rig.faults.fill_up_to(0);
    flip(&rig, bases[1], 100).await;
    assert!(read_all(&log, 0).await.len() < 16);
    log.save_quarantine().await;
    assert!(
        !String::from_utf8(rig.read_file(&Path::new(PARTITION).join("state.json")).await)
            .unwrap()
            .contains("why")
    );
    rig.faults.make_room();
    log.flush_and_close().await.unwrap();
    assert!(
        String::from_utf8(rig.read_file(&Path::new(PARTITION).join("state.json")).await)
            .unwrap()
            .contains("why")
    );
}

#[tokio::test]
async fn what_the_disk_does_not_give_back_quarantines_and_what_passes_does_not() {
    let (rig, log, bases) = cold().await;
    let size = rig.segment_bytes(bases[1]).await.len() as u64;
    rig.faults.unreadable(size - 1, TOO_MANY_OPEN_FILES);
    let refused = log.read(Offset(bases[1]), 1000, true).await.err().unwrap();
    assert_eq!((refused.error_code(), log.state()), (ErrorCode::KAFKA_STORAGE_ERROR, State::Online));
    rig.faults.readable();
    assert_eq!(read_all(&log, 0).await, numbered(0..16));
    forget(&log);
    rig.faults.unreadable(size - 1, EIO);
    // What stands before the sector is served.
    let served = read_all(&log, bases[1]).await;
    let (at, why) = quarantined(&log);
    assert!(why.contains("unreadable") && at > bases[1] && at < bases[2], "{at}: {why}");
    assert_eq!(served, numbered(bases[1]..at));
    let refused = log.read(Offset(at), 1000, true).await.err().unwrap();
    assert_eq!(refused.error_code(), ErrorCode::KAFKA_STORAGE_ERROR);
}

#[tokio::test]
async fn a_range_that_cannot_be_read_while_it_is_sent_quarantines_the_batch_it_stands_in() {
    let (_rig, log, bases) = cold().await;
    let range = log.read(Offset(bases[1]), 1000, true).await.unwrap().unwrap();
    let first_batch = range.len / 3;
    let passes = std::io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES);
    range.owner.unreadable(range.position, passes.into()).await;
    assert_eq!(log.state(), State::Online);
    let error = Arc::new(std::io::Error::from_raw_os_error(EIO));
    range.owner.unreadable(range.position + u64::from(first_batch) + 1, error.clone()).await;
    assert_eq!(quarantined(&log).0, bases[1] + 2, "the second batch of the range");
    range.owner.unreadable(range.position + u64::from(first_batch) - 1, error).await;
    assert_eq!(quarantined(&log).0, bases[1], "the first one now too");
    let error = log.read(Offset(bases[1]), 1000, true).await.err().unwrap().to_string();
    assert!(error.contains(&segment(bases[1])), "{error}");
    assert!(matches!(log.check_writable(), Err(StorageError::Quarantined { .. })));
}

#[tokio::test]
async fn one_fetch_waits_for_a_bounded_part_and_the_next_goes_on_behind_it() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 10 << 20;
    let log = rig.create().await;
    let value = "v".repeat(300 << 10);
    for _ in 0..8 {
        append_durably(&log, &batch(None, 0, &[&value])).await;
    }
    let whole = log.read(Offset(0), 10 << 20, true).await.unwrap().unwrap().len;
    forget(&log);
    let (mut at, mut reads) = (Offset(0), 0);
    while at < Offset(8) {
        let range = log.read(at, 10 << 20, true).await.unwrap().unwrap();
        assert!(range.len <= 1 << 20 && range.len < whole);
        at = Offset(records_of(bytes_of(range).await).last().unwrap().0 + 1);
        reads += 1;
    }
    assert_eq!(reads, 3);
    assert_eq!(log.read(Offset(0), 10 << 20, true).await.unwrap().unwrap().len, whole, "once is enough");
    // One batch is served whatever its size.
    forget(&log);
    assert!(log.read(Offset(7), 100, true).await.unwrap().unwrap().len > 300 << 10);
}

#[tokio::test]
async fn corruption_that_begins_inside_of_a_batch_is_refused_from_that_batch_on() {
    let (_rig, log, _) = cold().await;
    // As where two segments overlap.
    log.quarantine(Offset(5), "a test".into());
    assert_eq!(read_all(&log, 0).await, numbered(0..4));
    let refused = log.read(Offset(4), 1000, true).await.err().unwrap();
    assert_eq!(refused.error_code(), ErrorCode::KAFKA_STORAGE_ERROR);
    let (mut from, mut steps) = (Some(Offset(0)), 0);
    while let Some(at) = from {
        from = log.scrub(at, 1).await.next;
        steps += 1;
        assert!(steps < 100, "the scrub goes on for ever at {at}");
    }
}

#[tokio::test]
async fn a_quarantine_is_saved_on_a_full_disk_or_as_soon_as_it_can_be() {
    for has_spare in [true, false] {
        let (mut rig, log, bases) = cold().await;
        if has_spare {
            rig.environment.spare.fill().await;
        }
        log.notes_written().await;
        Faults::set(&rig.faults.create_fails, true);
        flip(&rig, bases[1], 100).await;
        assert!(read_all(&log, 0).await.len() < 16);
        let found = quarantined(&log);
        log.save_quarantine().await;
        let is_saved = async || {
            let state = StateFile::read(&rig.plain(), Path::new(PARTITION)).await.unwrap().unwrap();
            state.quarantined().is_some_and(|(at, _)| at.0 == found.0)
        };
        assert_eq!(is_saved().await, has_spare);
        Faults::set(&rig.faults.create_fails, false);
        let keep_all = RetentionLimits { ms: None, bytes: None, segment_ms: i64::MAX };
        log.retain(&keep_all, 0).await.unwrap();
        assert!(is_saved().await);
        let (log, _) = rig.reopen(Boot::Same).await;
        assert_eq!(quarantined(&log), found);
    }
}

#[tokio::test]
async fn the_start_of_a_log_whose_topic_is_deleted_is_not_told_to_have_moved() {
    let (_rig, log, _) = cold().await;
    log.retire().await;
    assert!(matches!(log.save_log_start(Offset(4)).await, Err(StorageError::Retired)));
    let refused = log.delete_records(Some(Offset(4))).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}
