//! Starts that begin at a checkpoint: what they read, what they know, and what they do not believe.

use std::path::{Path, PathBuf};

use gapless_common::error_code::ErrorCode;
use gapless_common::types::Offset;
use tokio::time::Instant;

use super::verdict::Boot;
use crate::log::notes::IDLE_AFTER;
use crate::log::retention::RetentionLimits;
use crate::log::testing::{
    PARTITION, Rig, Sent, append, append_durably, batch, numbered, numbered_batches, read_all, segment,
};
use crate::log::{Durability, PartitionLog, Prior, State, checkpoint};
use crate::storage::faulty::Faults;
use crate::storage::{Files as _, create_over, write_all_at};

const BOOTS: [Boot; 2] = [Boot::Same, Boot::Other];

async fn checkpoints(rig: &Rig) -> Vec<i64> {
    let entries = rig.plain().list(Path::new(PARTITION)).await.unwrap();
    entries.iter().filter_map(|entry| checkpoint::parse_name(&entry.name)).map(|offset| offset.0).collect()
}

fn path(offset: i64) -> PathBuf {
    Path::new(PARTITION).join(format!("{offset:020}.producers"))
}

/// A partition with segments of some batches and a checkpoint at the end, and the batches that follow.
async fn stopped(segment_bytes: u64) -> (Rig, Vec<Sent>) {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = segment_bytes;
    rig.config.index_interval_bytes = 100;
    let log = rig.create().await;
    let mut sent = numbered_batches(0, 20, 2);
    let rest = sent.split_off(12);
    for sent in &sent {
        append_durably(&log, sent).await;
    }
    log.flush_and_close().await.unwrap();
    log.note_all().await;
    (rig, [sent, rest].concat())
}

/// Everything is as if the whole log had been read: offsets, duplicates, gaps, what readers get.
async fn is_whole(log: &std::sync::Arc<PartitionLog>, sent: &[Sent], batches: usize) {
    assert_eq!(log.state(), State::Online);
    let end = batches as i64 * 2;
    assert_eq!((log.end_offset(), log.high_watermark()), (Offset(end), Offset(end)));
    for from in 0..end {
        assert_eq!(read_all(log, from).await, numbered(from - from % 2..end), "from {from}");
    }
    for (at, sent) in sent.iter().enumerate().take(batches).skip(batches - 5) {
        let again = append(log, sent).await.unwrap();
        assert_eq!((again.duplicate, again.base_offset), (true, Offset(at as i64 * 2)));
    }
    let gap = append(log, &sent[batches + 1]).await.unwrap_err();
    assert_eq!(gap.code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(log.leader_epoch_at(Offset(0)).0, 1);
}

#[tokio::test]
async fn a_log_with_a_checkpoint_at_its_end_is_not_read() {
    for segment_bytes in [300, 1 << 20] {
        for boot in BOOTS {
            let (mut rig, sent) = stopped(segment_bytes).await;
            let (log, report) = rig.reopen(boot).await;
            assert_eq!((report.scanned_bytes, report.checkpoint), (0, Some(Offset(24))));
            assert!(report.log_bytes > 0);
            is_whole(&log, &sent, 12).await;
            append_durably(&log, &sent[12]).await;
            assert_eq!(read_all(&log, 0).await, numbered(0..26));
        }
    }
}

#[tokio::test]
async fn only_what_lies_behind_the_checkpoint_is_read() {
    for segment_bytes in [300, 1 << 20] {
        for boot in BOOTS {
            let (mut rig, sent) = stopped(segment_bytes).await;
            let (log, _) = rig.reopen(boot).await;
            for sent in &sent[12..14] {
                append_durably(&log, sent).await;
            }
            let (log, report) = rig.reopen(boot).await;
            let behind = sent[12].bytes.len() + sent[13].bytes.len();
            assert_eq!(report.scanned_bytes, behind as u64, "segments of {segment_bytes}");
            is_whole(&log, &sent, 14).await;
        }
    }
}

#[tokio::test]
async fn a_checkpoint_is_taken_whenever_so_many_bytes_were_flushed_and_the_last_two_are_kept() {
    for durability in [Durability::Fsync, Durability::Os] {
        let mut rig = Rig::new(durability).await;
        let sent = numbered_batches(0, 30, 2);
        rig.config.checkpoint_interval_bytes = sent[0].bytes.len() as u64 * 4;
        let log = rig.create().await;
        for sent in &sent[..24] {
            append(&log, sent).await.unwrap();
            log.wait_flushed(log.end_offset()).await.unwrap();
            log.notes_written().await;
        }
        let kept = checkpoints(&rig).await;
        assert_eq!(kept, [40, 48], "{durability:?}");
        let (log, report) = rig.reopen(Boot::Same).await;
        assert_eq!((report.checkpoint, report.scanned_bytes), (Some(Offset(48)), 0));
        is_whole(&log, &sent, 24).await;
    }
}

#[tokio::test]
async fn a_checkpoint_comes_with_each_new_segment() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 300;
    let log = rig.create().await;
    let sent = numbered_batches(0, 20, 2);
    for sent in &sent[..12] {
        append_durably(&log, sent).await;
        log.notes_written().await;
    }
    let kept = checkpoints(&rig).await;
    assert_eq!(kept.len(), 2);
    let (log, report) = rig.reopen(Boot::Other).await;
    assert_eq!(report.checkpoint, Some(Offset(kept[1])));
    assert!(report.scanned_bytes <= 300);
    is_whole(&log, &sent, 12).await;
}

#[tokio::test]
async fn a_damaged_checkpoint_is_not_believed_and_the_one_before_it_is() {
    let (mut rig, sent) = stopped(1 << 20).await;
    let (log, _) = rig.reopen(Boot::Same).await;
    append_durably(&log, &sent[12]).await;
    log.flush_and_close().await.unwrap();
    log.note_all().await;
    assert_eq!(checkpoints(&rig).await, [24, 26]);
    let good = rig.read_file(&path(26)).await;
    for at in (0..good.len()).step_by(7) {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        let file = create_over(&rig.plain(), &path(26)).await.unwrap();
        write_all_at(&*file, 0, &[damaged.into()]).await.unwrap();
        let (log, report) = rig.try_open(Boot::Other).await;
        assert_eq!(report.checkpoint, Some(Offset(24)), "byte {at}");
        assert_eq!(checkpoints(&rig).await, [24], "what is of no use is removed");
        is_whole(&log, &sent, 13).await;
    }
}

#[tokio::test]
async fn without_indexes_everything_is_read_and_is_the_same() {
    for segment_bytes in [300, 1 << 20] {
        let (mut rig, sent) = stopped(segment_bytes).await;
        for entry in rig.plain().list(Path::new(PARTITION)).await.unwrap() {
            if entry.name.ends_with(".index") {
                rig.plain().remove(&Path::new(PARTITION).join(entry.name)).await.unwrap();
            }
        }
        let (log, report) = rig.reopen(Boot::Other).await;
        assert_eq!((report.scanned_bytes, report.checkpoint), (report.log_bytes, Some(Offset(24))));
        is_whole(&log, &sent, 12).await;
    }
}

/// The checkpoint was written after the flush: what it speaks of was there.
#[tokio::test]
async fn a_log_that_ends_before_its_checkpoint_has_lost_something() {
    for boot in BOOTS {
        let (mut rig, sent) = stopped(1 << 20).await;
        let bytes = rig.segment_bytes(0).await;
        let batch = sent[0].bytes.len();
        rig.set_segment(0, &bytes[..bytes.len() - batch]).await;
        let (log, _) = rig.reopen(boot).await;
        assert!(matches!(log.state(), State::Quarantined { at: Offset(22), .. }), "{:?}", log.state());
        assert_eq!(read_all(&log, 0).await, numbered(0..22));
        assert_eq!(checkpoints(&rig).await, [24], "it stays as a witness");
    }
}

#[tokio::test]
async fn the_checkpoint_of_another_topic_is_none() {
    let (mut rig, sent) = stopped(1 << 20).await;
    let mut bytes = rig.read_file(&path(24)).await;
    bytes[8] ^= 1;
    let body = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..body]).to_be_bytes();
    bytes[body..].copy_from_slice(&checksum);
    let file = rig.plain().open(&path(24)).await.unwrap();
    write_all_at(&*file, 0, &[bytes.into()]).await.unwrap();
    let (log, report) = rig.reopen(Boot::Other).await;
    assert_eq!((report.checkpoint, report.scanned_bytes), (None, report.log_bytes));
    is_whole(&log, &sent, 12).await;
}

#[tokio::test]
async fn nothing_is_noted_of_what_is_not_flushed_or_failed() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    append_durably(&log, &numbered_batches(0, 1, 2)[0]).await;
    crate::storage::faulty::Faults::set(&rig.faults.flush_fails, true);
    append(&log, &numbered_batches(2, 1, 2)[0]).await.unwrap();
    log.flush_and_close().await.unwrap_err();
    log.note_all().await;
    assert!(checkpoints(&rig).await.is_empty());
}

#[tokio::test]
async fn producers_outlive_their_records_through_checkpoints() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    append_durably(&log, &batch(Some((9, 0)), 0, &["its only one"])).await;
    for sent in &numbered_batches(1, 9, 1) {
        append_durably(&log, sent).await;
    }
    log.flush_and_close().await.unwrap();
    log.note_all().await;
    for _ in 0..3 {
        let (log, report) = rig.reopen(Boot::Same).await;
        assert_eq!(report.scanned_bytes, 0);
        assert_eq!(log.producers(), 2);
        let again = append(&log, &batch(Some((9, 0)), 0, &["its only one"])).await.unwrap();
        assert_eq!((again.duplicate, again.base_offset), (true, Offset(0)));
    }
}

#[tokio::test]
async fn a_partition_that_has_fallen_idle_is_not_read_after_a_crash() {
    for boot in BOOTS {
        let mut rig = Rig::new(Durability::Fsync).await;
        rig.config.checkpoint_interval_bytes = 1 << 20;
        rig.config.segment_bytes = 3000;
        let log = rig.create().await;
        let sent = numbered_batches(0, 40, 2);
        append_durably(&log, &sent[0]).await;
        let (now, later) = (Instant::now(), Instant::now() + 2 * IDLE_AFTER);
        assert!(!log.note_if_idle(later), "so little is read faster than a checkpoint is written");
        for sent in &sent[1..38] {
            append_durably(&log, sent).await;
        }
        assert!(!log.note_if_idle(now), "it is not idle yet");
        assert!(log.note_if_idle(later));
        log.notes_written().await;
        assert!(!log.note_if_idle(later), "and nothing has come since");
        let (log, report) = rig.reopen(boot).await;
        assert_eq!((report.scanned_bytes, report.checkpoint), (0, Some(Offset(76))));
        is_whole(&log, &sent, 38).await;
    }
}

/// Twelve batches of epoch 1 and two of epoch 2, all of one segment, stopped cleanly; the position of each.
async fn of_two_epochs() -> (Rig, Vec<Sent>, Vec<usize>) {
    let (mut rig, sent) = stopped(1 << 20).await;
    let (log, _) = rig.reopen(Boot::Same).await;
    for sent in &sent[12..14] {
        append_durably(&log, sent).await;
    }
    log.flush_and_close().await.unwrap();
    log.note_all().await;
    let mut next = 0;
    let starts = sent.iter().map(|sent| {
        let start = next;
        next += sent.bytes.len();
        start
    });
    let starts = starts.collect();
    (rig, sent, starts)
}

async fn remove(rig: &Rig, ending: &str) {
    for entry in rig.plain().list(Path::new(PARTITION)).await.unwrap() {
        if entry.name.ends_with(ending) {
            rig.plain().remove(&Path::new(PARTITION).join(entry.name)).await.unwrap();
        }
    }
}

/// The leader epoch lies outside a batch's checksum; of those at the border of two epochs what stands beside them says nothing.
#[tokio::test]
async fn a_batch_is_of_the_epoch_that_was_in_force_by_checkpoint_or_state_file() {
    const EPOCH_AT: usize = 15;
    for boot in BOOTS {
        for with_checkpoint in [true, false] {
            for (batch, epoch) in [(0, 0), (11, 2), (12, 1)] {
                let (mut rig, _, starts) = of_two_epochs().await;
                if !with_checkpoint {
                    // By this start the state file tells of both.
                    let (log, _) = rig.reopen(Boot::Same).await;
                    log.flush_and_close().await.unwrap();
                    remove(&rig, ".producers").await;
                }
                remove(&rig, ".index").await;
                let mut bytes = rig.segment_bytes(0).await;
                bytes[starts[batch] + EPOCH_AT] = epoch;
                rig.set_segment(0, &bytes).await;
                let (log, report) = rig.reopen(boot).await;
                let at = Offset(batch as i64 * 2);
                let state = log.state();
                assert!(
                    matches!(&state, State::Quarantined { at: found, why } if *found == at && why.contains("leader epoch")),
                    "batch {batch}, epoch {epoch}, checkpoint {with_checkpoint}: {state:?}"
                );
                assert_eq!(report.truncated_bytes, 0);
                assert_eq!(read_all(&log, 0).await, numbered(0..at.0));
                assert_eq!(rig.segment_bytes(0).await, bytes);
            }
        }
    }
}

/// By a fault, or of a history that was given up.
#[tokio::test]
async fn a_checkpoint_that_says_of_epochs_what_the_state_file_does_not_is_not_believed() {
    /// Behind its header and its summary.
    const SECOND_START: std::ops::Range<usize> = 80 + 4 + 12 + 4..80 + 4 + 12 + 12;
    for start in [20_i64, 26] {
        let (mut rig, sent, _) = of_two_epochs().await;
        let (log, _) = rig.reopen(Boot::Same).await;
        append_durably(&log, &sent[14]).await;
        log.flush_and_close().await.unwrap();
        log.note_all().await;
        let (log, _) = rig.reopen(Boot::Same).await;
        log.flush_and_close().await.unwrap();
        let mut bytes = rig.read_file(&path(30)).await;
        assert_eq!(bytes[SECOND_START], 24_i64.to_be_bytes());
        bytes[SECOND_START].copy_from_slice(&start.to_be_bytes());
        let body = bytes.len() - 4;
        let checksum = crc32fast::hash(&bytes[..body]).to_be_bytes();
        bytes[body..].copy_from_slice(&checksum);
        let file = rig.plain().open(&path(30)).await.unwrap();
        write_all_at(&*file, 0, &[bytes.into()]).await.unwrap();
        let (log, report) = rig.reopen(Boot::Other).await;
        assert_eq!(report.checkpoint, Some(Offset(28)), "the one before it");
        is_whole(&log, &sent, 15).await;
        for (offset, epoch) in [(20, 1), (23, 1), (24, 2), (27, 2), (28, 3)] {
            assert_eq!(log.leader_epoch_at(Offset(offset)).0, epoch, "offset {offset}");
        }
    }
}

/// A log of which all is deleted, and what is in the checkpoint that remembers its producers.
async fn emptied() -> (Rig, Vec<u8>) {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 1000;
    let log = rig.create().await;
    for sent in numbered_batches(0, 60, 3) {
        append_durably(&log, &sent).await;
    }
    let none = RetentionLimits { ms: None, bytes: Some(0), segment_ms: i64::MAX };
    log.retain(&none, 0).await.unwrap();
    assert_eq!((log.log_start_offset(), log.size_bytes()), (Offset(180), 0));
    let content = rig.read_file(&path(180)).await;
    (rig, content)
}

#[tokio::test]
async fn a_bad_sector_in_the_only_checkpoint_that_is_of_use_makes_nobody_forgotten() {
    const SECTOR: usize = 512;
    let (mut rig, good) = emptied().await;
    let retry = numbered_batches(177, 1, 3).remove(0);
    for sector in 0..good.len() / SECTOR {
        let mut damaged = good.clone();
        damaged[sector * SECTOR..][..SECTOR].fill(0xa5);
        let file = create_over(&rig.plain(), &path(180)).await.unwrap();
        write_all_at(&*file, 0, &[damaged.into()]).await.unwrap();
        let (log, report) = rig.reopen(Boot::Other).await;
        assert_eq!((log.state(), report.checkpoint), (State::Online, Some(Offset(180))), "sector {sector}");
        assert!(append(&log, &retry).await.unwrap().duplicate, "sector {sector}");
        drop(log);
        // One that the disk does not give back.
        let file = rig.plain().open(&path(180)).await.unwrap();
        write_all_at(&*file, 0, &[good.clone().into()]).await.unwrap();
        rig.faults.unreadable((sector * SECTOR) as u64 + SECTOR as u64 - 1, 5);
        let (log, report) = rig.reopen(Boot::Other).await;
        rig.faults.readable();
        assert_eq!(report.checkpoint, Some(Offset(180)), "sector {sector}");
        assert!(append(&log, &retry).await.unwrap().duplicate, "sector {sector}");
    }
    // Both of them: it is not believed.
    let file = rig.plain().open(&path(180)).await.unwrap();
    write_all_at(&*file, 0, &[vec![0; good.len()].into()]).await.unwrap();
    let (_, report) = rig.reopen(Boot::Other).await;
    assert_eq!(report.checkpoint, None);
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_read_just_now_is_not_removed() {
    for at in [0, 1] {
        let (mut rig, sent) = stopped(1 << 20).await;
        let name = if at == 0 { path(24) } else { Path::new(PARTITION).join(segment(0)) };
        // Of all files, but nothing else is as long or read before.
        rig.faults.unreadable(rig.read_file(&name).await.len() as u64 - 1, 12);
        let prior = Prior::new(Boot::Other, rig.marks.clone(), rig.clean.clone());
        let opened =
            PartitionLog::open(&rig.environment, Rig::site(), rig.config.clone(), rig.epoch, &prior).await;
        assert!(at == 1 || opened.is_err(), "it may pass");
        assert_eq!(checkpoints(&rig).await, [24]);
        rig.faults.readable();
        let (log, report) = rig.reopen(Boot::Other).await;
        assert_eq!(report.checkpoint, Some(Offset(24)));
        is_whole(&log, &sent, 12).await;
    }
}

#[tokio::test]
async fn a_checkpoint_that_could_not_be_written_is_tried_again_before_as_much_has_come_again() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let sent = numbered_batches(0, 30, 2);
    rig.config.checkpoint_interval_bytes = sent[0].bytes.len() as u64 * 8;
    let log = rig.create().await;
    for (at, sent) in sent[..10].iter().enumerate() {
        Faults::set(&rig.faults.create_fails, at == 7);
        append_durably(&log, sent).await;
        log.wait_flushed(log.end_offset()).await.unwrap();
        log.notes_written().await;
        let expected: &[i64] = if at < 8 { &[] } else { &[18] };
        assert_eq!(checkpoints(&rig).await, expected, "batch {at}");
    }
}

#[tokio::test]
async fn epochs_of_which_all_records_are_deleted_are_forgotten() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 300;
    let mut log = rig.create().await;
    let sent = numbered_batches(0, 60, 2);
    let keep = RetentionLimits { ms: None, bytes: Some(600), segment_ms: i64::MAX };
    let mut epochs = Vec::new();
    for (number, two) in sent.chunks(2).enumerate() {
        for sent in two {
            epochs.push(rig.epoch.0);
            append_durably(&log, sent).await;
        }
        log.retain(&keep, 0).await.unwrap();
        let start = log.log_start_offset().0;
        let boot = BOOTS[number % 2];
        let report;
        (log, report) = rig.reopen(boot).await;
        assert_eq!(log.state(), State::Online, "start {number}");
        assert!(number < 4 || report.checkpoint.is_some(), "start {number}");
        for offset in start..log.end_offset().0 {
            let known = log.leader_epoch_at(Offset(offset)).0;
            assert_eq!(known, epochs[offset as usize / 2], "offset {offset} after {number}");
        }
        let state = rig.read_file(&Path::new(PARTITION).join("state.json")).await;
        let count = String::from_utf8(state).unwrap().matches("\"epoch\"").count();
        assert!(count <= 8, "{count} epochs after {number} starts");
        let again = append(&log, &two[1]).await.unwrap();
        assert!(again.duplicate, "start {number}");
    }
    assert!(log.log_start_offset() > Offset(90));
}
