//! What recovery takes of the machine: room on a full disk, names that last, memory. And what it leaves.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use gapless_common::records::{BatchHeader, Compression, OpenBatch, RecordRef, validate_from_client};
use gapless_common::types::Offset;

use super::verdict::Boot;
use crate::log::testing::{
    PARTITION, Rig, Sent, append_durably, numbered, numbered_batches, read_all, segment,
};
use crate::log::{Durability, State};
use crate::storage::faulty::Faults;
use crate::storage::spare::{self, Spare};
use crate::storage::{Files as _, write_all_at};

const TORN: &str = "torn/events";

/// Three batches of two records each, and half a batch that follows; the bytes of the whole and of the half.
async fn with_torn_tail() -> (Rig, Vec<u8>, Vec<u8>) {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    for sent in &numbered_batches(0, 3, 2) {
        append_durably(&log, sent).await;
    }
    let whole = rig.segment_bytes(0).await;
    let mut tail = whole[..40].to_vec();
    tail[..8].copy_from_slice(&6_i64.to_be_bytes());
    rig.set_segment(0, &[&whole[..], &tail].concat()).await;
    (rig, whole, tail)
}

/// The tail is cut off, and there is one copy of it.
async fn is_saved_once(rig: &mut Rig, tail: &[u8]) {
    let (log, report) = rig.reopen(Boot::Same).await;
    assert_eq!((log.state(), report.truncated_bytes), (State::Online, tail.len() as u64));
    assert_eq!(read_all(&log, 0).await, numbered(0..6));
    let saved = rig.torn().await;
    assert_eq!((saved.len(), &saved[0].1[..]), (1, tail));
}

#[tokio::test]
async fn the_name_of_a_copy_is_durable_before_the_tail_is_cut_off() {
    let (mut rig, _, tail) = with_torn_tail().await;
    // Saved and flushed, and then the process ended.
    *rig.faults.sync_fails_of.lock().unwrap() = Some(TORN.into());
    let (log, _) = rig.reopen(Boot::Same).await;
    assert!(matches!(log.state(), State::Offline { .. }), "{:?}", log.state());
    assert_eq!(rig.torn().await.len(), 1);
    *rig.faults.sync_fails_of.lock().unwrap() = None;
    rig.faults.names.lock().unwrap().clear();
    is_saved_once(&mut rig, &tail).await;
    assert!(rig.faults.when(&format!("sync {TORN}")).is_some());
}

#[tokio::test]
async fn half_a_copy_that_a_crash_has_left_is_finished() {
    for half in [0, 1, 39, 40] {
        let (mut rig, whole, tail) = with_torn_tail().await;
        for directory in ["torn", TORN] {
            rig.plain().create_dir(Path::new(directory)).await.unwrap();
        }
        let path = format!("{TORN}/0-{:020}-{}.log", 0, whole.len());
        let file = rig.plain().create(Path::new(&path)).await.unwrap();
        write_all_at(&*file, 0, &[tail[..half].to_vec().into()]).await.unwrap();
        is_saved_once(&mut rig, &tail).await;
    }
}

#[tokio::test]
async fn a_torn_tail_on_a_full_disk_is_saved_with_the_room_of_the_spare_files() {
    let (mut rig, _, tail) = with_torn_tail().await;
    rig.environment.spare.fill().await;
    // Of another process from here on.
    rig.environment.spare = Spare::new(rig.environment.files.clone(), spare::LARGE_BYTES_MAX);
    rig.faults.fill_up_to(0);
    is_saved_once(&mut rig, &tail).await;
}

#[tokio::test]
async fn a_torn_tail_for_which_there_is_no_room_leaves_no_half_copies() {
    let (mut rig, whole, tail) = with_torn_tail().await;
    for room in [0, 10, 39] {
        rig.faults.fill_up_to(room);
        let (log, _) = rig.reopen(Boot::Same).await;
        assert!(matches!(log.state(), State::Offline { .. }), "{:?}", log.state());
        assert_eq!(rig.torn().await, []);
        assert_eq!(rig.segment_bytes(0).await, [&whole[..], &tail].concat());
    }
    rig.faults.make_room();
    is_saved_once(&mut rig, &tail).await;
}

#[tokio::test]
async fn what_a_write_that_was_cut_short_has_left_is_removed_by_the_next_start() {
    let (mut rig, _, _) = with_torn_tail().await;
    let left = [format!("{:020}.producers.tmp", 4), format!("{:020}.index.tmp", 0), "state.json.tmp".into()];
    let path = |name: &str| Path::new(PARTITION).join(name);
    for name in &left {
        rig.plain().create(&path(name)).await.unwrap();
    }
    rig.plain().create(&path("of somebody else")).await.unwrap();
    rig.reopen(Boot::Same).await;
    let names = rig.plain().list(Path::new(PARTITION)).await.unwrap();
    let names: Vec<String> = names.into_iter().map(|entry| entry.name).collect();
    assert!(names.iter().all(|name| !name.ends_with(".tmp")), "{names:?}");
    assert!(names.contains(&"of somebody else".to_owned()), "{names:?}");
}

#[tokio::test]
async fn what_a_length_that_rotted_says_is_not_allocated() {
    const PIECE: u64 = 1 << 20;
    for boot in [Boot::Same, Boot::Other] {
        for length in [5_i32 << 20, 50 << 20] {
            let (mut rig, whole, _) = with_torn_tail().await;
            let mut rotten = whole[..whole.len() / 3].to_vec();
            rotten[..8].copy_from_slice(&6_i64.to_be_bytes());
            rotten[8..12].copy_from_slice(&length.to_be_bytes());
            rotten.resize(6 << 20, 0);
            rig.set_segment(0, &[&whole[..], &rotten].concat()).await;
            let (log, report) = rig.reopen(boot).await;
            assert!(rig.faults.largest_read.load(Ordering::SeqCst) <= PIECE, "{boot:?}, {length}");
            let is_all_there = length < 6 << 20;
            if boot == Boot::Same && is_all_there {
                assert!(matches!(log.state(), State::Quarantined { at: Offset(6), .. }), "{:?}", log.state());
            } else {
                assert_eq!((log.state(), report.truncated_bytes), (State::Online, 6 << 20));
            }
            assert_eq!(read_all(&log, 0).await, numbered(0..6));
        }
    }
}

/// One record of so many bytes.
fn large(bytes: usize) -> Sent {
    let value = vec![7; bytes];
    let mut open = OpenBatch::new(0, 256);
    let record = RecordRef { timestamp_ms: 0, key: None, value: Some(&value), headers: &[] };
    let _ = open.try_push(&record, usize::MAX);
    let mut closed = open.close(Compression::None, None);
    closed.stamp_plain();
    let bytes = closed.bytes();
    let header: BatchHeader = validate_from_client(&bytes, &Default::default()).unwrap();
    Sent { bytes, header }
}

#[tokio::test]
async fn a_batch_larger_than_what_is_read_at_once_is_checked_like_any_other() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 1 << 30;
    let log = rig.create().await;
    for bytes in [3 << 20, 1 << 20, 5 << 20] {
        append_durably(&log, &large(bytes)).await;
    }
    for boot in [Boot::Same, Boot::Other] {
        let (log, report) = rig.reopen(boot).await;
        assert_eq!((log.state(), log.end_offset(), report.batches), (State::Online, Offset(3), 3));
    }
    // Only its length is wrong: it would reach beyond the end.
    let whole = rig.segment_bytes(0).await;
    let last = (4 << 20..whole.len() - 8).find(|at| whole[*at..*at + 8] == 2_i64.to_be_bytes()).unwrap();
    let mut longer = whole.clone();
    longer[last + 8] ^= 1;
    // One bit in the middle.
    let mut flipped = whole.clone();
    flipped[last + (2 << 20)] ^= 1;
    for damaged in [longer, flipped] {
        rig.set_segment(0, &damaged).await;
        let (log, _) = rig.reopen(Boot::Same).await;
        assert!(matches!(log.state(), State::Quarantined { at: Offset(2), .. }), "{:?}", log.state());
        rig.lift_quarantine().await;
    }
}

#[tokio::test]
async fn a_file_that_could_not_be_replaced_leaves_nothing_beside_it() {
    let rig = Rig::new(Durability::Fsync).await;
    let path = PathBuf::from("topics/file");
    for fault in [&rig.faults.flush_fails, &rig.faults.full] {
        Faults::set(fault, true);
        let content = b"content"[..].into();
        assert!(crate::storage::replace_file(&*rig.environment.files, &path, content).await.is_err());
        Faults::set(fault, false);
        let names = rig.plain().list(Path::new("topics")).await.unwrap();
        assert_eq!(names.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["events"]);
    }
    assert!(rig.plain().open(&Path::new(PARTITION).join(segment(0))).await.is_err());
}
