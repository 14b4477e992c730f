//! Recovery on real files: what a crash or a bad disk leaves, and what must be seen afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gapless_common::error_code::ErrorCode;
use gapless_common::types::{LeaderEpoch, Offset};

use super::verdict::Boot;
use crate::log::epochs::LeaderEpochs;
use crate::log::retention::RetentionLimits;
use crate::log::segment::Segment;
use crate::log::state_file::StateFile;
use crate::log::testing::{
    PARTITION, Rig, Sent, accept, append, append_durably, batch, numbered, numbered_batches, read_all,
    segment,
};
use crate::log::{AppendPolicy, Durability, Loss, Losses, PartitionLog, State};
use crate::storage::Files as _;
use crate::storage::faulty::Faults;

const BOOTS: [Boot; 2] = [Boot::Same, Boot::Other];

/// A partition of some batches of two records each, and the bytes of its one segment.
async fn filled(batches: i64) -> (Rig, Vec<Sent>, Vec<u8>) {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let sent = numbered_batches(0, batches + 5, 2);
    for sent in sent.iter().take(batches as usize) {
        append_durably(&log, sent).await;
    }
    let bytes = rig.segment_bytes(0).await;
    (rig, sent, bytes)
}

fn quarantined_at(log: &PartitionLog) -> Option<i64> {
    match log.state() {
        State::Quarantined { at, .. } => Some(at.0),
        _ => None,
    }
}

#[tokio::test]
async fn a_restart_goes_on_where_the_log_ends() {
    for boot in BOOTS {
        let (mut rig, sent, bytes) = filled(5).await;
        let (log, report) = rig.reopen(boot).await;
        assert_eq!(
            (log.state(), log.high_watermark(), log.end_offset()),
            (State::Online, Offset(10), Offset(10))
        );
        assert_eq!(
            (report.scanned_bytes, report.batches, report.truncated_bytes),
            (bytes.len() as u64, 5, 0)
        );
        assert_eq!(read_all(&log, 0).await, numbered(0..10));
        // The last five batches are remembered, with their offsets; a gap is still a gap.
        for (at, sent) in sent.iter().take(5).enumerate() {
            let again = append(&log, sent).await.unwrap();
            assert_eq!((again.duplicate, again.base_offset), (true, Offset(at as i64 * 2)));
        }
        assert_eq!(append(&log, &sent[6]).await.unwrap_err().code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        append_durably(&log, &sent[5]).await;
        assert_eq!(read_all(&log, 0).await, numbered(0..12));
    }
}

#[tokio::test]
async fn a_last_batch_torn_at_any_byte_is_cut_off_saved_and_told() {
    let (mut rig, sent, bytes) = filled(3).await;
    let whole = sent[0].bytes.len() + sent[1].bytes.len();
    for boot in BOOTS {
        for cut in whole..bytes.len() {
            rig.set_segment(0, &bytes[..cut]).await;
            let (log, report) = rig.reopen(boot).await;
            assert_eq!(log.state(), State::Online, "{boot:?}, cut at {cut}");
            assert_eq!(report.truncated_bytes, (cut - whole) as u64);
            assert_eq!(log.high_watermark(), Offset(4));
            assert_eq!(rig.segment_bytes(0).await, &bytes[..whole]);
            if cut > whole {
                let saved_as = report.saved_as.unwrap();
                let name = format!("torn/events/0-00000000000000000000-{whole}");
                assert!(saved_as.display().to_string().starts_with(&name), "{}", saved_as.display());
                assert_eq!(rig.read_file(&saved_as).await, &bytes[whole..cut]);
            }
            // The batch was never acknowledged; its producer sends it again.
            assert!(!append(&log, &sent[2]).await.unwrap().duplicate);
            log.wait_durable(Offset(6)).await.unwrap();
            assert_eq!(read_all(&log, 0).await, numbered(0..6));
        }
    }
}

#[tokio::test]
async fn after_a_kill_any_flipped_bit_is_corruption_and_nothing_is_cut_off() {
    let (rig, sent, bytes) = filled(4).await;
    let size = sent[0].bytes.len();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        rig.set_segment(0, &damaged).await;
        let (log, report) = rig.try_open(Boot::Same).await;
        let batch = at / size;
        assert_eq!(quarantined_at(&log), Some(batch as i64 * 2), "byte {at}: {:?}", log.state());
        assert_eq!(report.truncated_bytes, 0);
        assert_eq!(rig.segment_bytes(0).await, damaged, "nothing is touched");
        assert_eq!(read_all(&log, 0).await, numbered(0..batch as i64 * 2), "what lies before it is served");
        assert_eq!(append(&log, &sent[4]).await.unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
        rig.lift_quarantine().await;
    }
}

#[tokio::test]
async fn after_a_power_loss_the_last_segment_ends_at_the_first_bad_batch() {
    let (rig, sent, bytes) = filled(4).await;
    let size = sent[0].bytes.len();
    let mut damages: Vec<(usize, Vec<u8>)> = (0..bytes.len())
        .map(|at| {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            (at / size, damaged)
        })
        .collect();
    // A hole of zeroes, alone, before good batches, and behind the end.
    let mut hole = bytes.clone();
    hole[size..2 * size].fill(0);
    damages.push((1, hole));
    damages.push((4, [&bytes[..], &[0; 5000]].concat()));
    for (batch, damaged) in damages {
        rig.set_segment(0, &damaged).await;
        let (log, report) = rig.try_open(Boot::Other).await;
        assert_eq!(log.state(), State::Online);
        assert_eq!(log.high_watermark(), Offset(batch as i64 * 2));
        assert_eq!(report.truncated_bytes, (damaged.len() - batch * size) as u64);
        assert_eq!(rig.read_file(&report.saved_as.unwrap()).await, &damaged[batch * size..]);
        append_durably(&log, &numbered_batches(batch as i64 * 2, 1, 2)[0]).await;
        assert_eq!(read_all(&log, 0).await, numbered(0..batch as i64 * 2 + 2));
    }
}

#[tokio::test]
async fn after_a_kill_a_hole_or_garbage_in_the_tail_is_corruption() {
    let (mut rig, _, bytes) = filled(2).await;
    for tail in [&[0_u8; 5000][..], &[0; 10], &[0xff; 100], b"x"] {
        rig.set_segment(0, &[&bytes[..], tail].concat()).await;
        let (log, _) = rig.reopen(Boot::Same).await;
        assert_eq!(quarantined_at(&log), Some(4), "{} bytes of {}", tail.len(), tail[0]);
    }
}

/// A partition of several segments, with the base offsets of these.
async fn segmented() -> (Rig, Vec<i64>) {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 300;
    rig.config.index_interval_bytes = 100;
    let log = rig.create().await;
    for sent in &numbered_batches(0, 12, 2) {
        append_durably(&log, sent).await;
    }
    log.notes_written().await;
    let entries = rig.plain().list(Path::new(PARTITION)).await.unwrap();
    let bases: Vec<i64> = (entries.iter())
        .filter_map(|entry| crate::log::segment::Segment::parse_name(&entry.name))
        .map(|base| base.0)
        .collect();
    assert!(bases.len() >= 4, "{bases:?}");
    (rig, bases)
}

#[tokio::test]
async fn a_flipped_bit_in_an_earlier_segment_quarantines_whatever_the_boot() {
    let (rig, bases) = segmented().await;
    // With checkpoints nobody looks there before it is read.
    for entry in rig.plain().list(Path::new(PARTITION)).await.unwrap() {
        if entry.name.ends_with(".producers") {
            rig.plain().remove(&Path::new(PARTITION).join(entry.name)).await.unwrap();
        }
    }
    let bytes = rig.segment_bytes(bases[1]).await;
    for boot in BOOTS {
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            rig.set_segment(bases[1], &damaged).await;
            let (log, report) = rig.try_open(boot).await;
            let quarantined = quarantined_at(&log).unwrap();
            assert!((bases[1]..bases[2]).contains(&quarantined), "byte {at}");
            rig.lift_quarantine().await;
            assert_eq!((quarantined % 2, report.truncated_bytes), (0, 0));
            assert_eq!(read_all(&log, 0).await, numbered(0..quarantined));
            assert_eq!(log.end_offset(), Offset(24));
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_below_the_checkpoint_is_found_by_who_reads_it() {
    let (rig, bases) = segmented().await;
    let bytes = rig.segment_bytes(bases[1]).await;
    for boot in BOOTS {
        for at in 0..bytes.len() {
            rig.lift_quarantine().await;
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            rig.set_segment(bases[1], &damaged).await;
            let (log, report) = rig.try_open(boot).await;
            let read = read_all(&log, 0).await.len() as i64;
            assert!((bases[1]..bases[2]).contains(&read), "byte {at}: {read} records");
            assert_eq!((quarantined_at(&log), report.truncated_bytes), (Some(read), 0), "byte {at}");
            log.save_quarantine().await;
        }
    }
}

#[tokio::test]
async fn a_missing_segment_quarantines_where_it_was() {
    let (mut rig, bases) = segmented().await;
    let path = |base: i64| Path::new(PARTITION).join(segment(base));
    for at in [0, 1, bases.len() - 2] {
        rig.plain().rename(&path(bases[at]), Path::new("aside")).await.unwrap();
        for boot in BOOTS {
            let (log, _) = rig.reopen(boot).await;
            assert_eq!(quarantined_at(&log), Some(bases[at]), "without {}", bases[at]);
            assert_eq!(read_all(&log, 0).await, numbered(0..bases[at]));
        }
        rig.plain().rename(Path::new("aside"), &path(bases[at])).await.unwrap();
        let (log, _) = rig.reopen(Boot::Same).await;
        assert_eq!(quarantined_at(&log), Some(bases[at]), "it is the operator who says that all is well");
        rig.lift_quarantine().await;
    }
    let (log, _) = rig.reopen(Boot::Same).await;
    assert_eq!((log.state(), read_all(&log, 0).await), (State::Online, numbered(0..24)));
    // All of them: said again at every start, never taken for an empty partition.
    for base in &bases {
        rig.plain().remove(&path(*base)).await.unwrap();
    }
    for boot in BOOTS {
        let (log, _) = rig.reopen(boot).await;
        assert_eq!(quarantined_at(&log), Some(0));
        assert!(log.read(Offset(0), 1000, true).await.is_err());
        assert!(append(&log, &batch(None, 0, &["x"])).await.is_err());
        log.flush_and_close().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_missing_wholly_below_the_start_of_the_log_is_no_loss() {
    let (mut rig, bases) = segmented().await;
    let (log, _) = rig.reopen(Boot::Same).await;
    let start = *bases.last().unwrap();
    log.delete_records(Some(Offset(start))).await.unwrap();
    drop(log);
    // As a deletion leaves it that was cut short, on a disk that kept the removal of the second segment and not that of
    // the first.
    rig.plain().remove(&Path::new(PARTITION).join(segment(bases[1]))).await.unwrap();
    let last = numbered_batches(22, 1, 2).remove(0);
    for boot in BOOTS {
        let (log, _) = rig.reopen(boot).await;
        assert_eq!((log.state(), log.log_start_offset()), (State::Online, Offset(start)));
        assert_eq!(read_all(&log, start).await, numbered(start..24));
        assert!(append(&log, &last).await.unwrap().duplicate, "producers are remembered");
    }
    let (log, _) = rig.reopen(Boot::Same).await;
    let keep_all = RetentionLimits { ms: None, bytes: None, segment_ms: i64::MAX };
    log.retain(&keep_all, 0).await.unwrap();
    let names = rig.plain().list(Path::new(PARTITION)).await.unwrap();
    let left = names.iter().filter_map(|entry| Segment::parse_name(&entry.name)).collect::<Vec<_>>();
    assert_eq!(left, [Offset(start)], "and what is left of it goes");
}

#[tokio::test]
async fn a_hole_that_was_accepted_is_read_over_and_written_behind() {
    let (mut rig, bases) = segmented().await;
    let (from, to) = (Offset(bases[1]), Offset(bases[2]));
    rig.plain().remove(&Path::new(PARTITION).join(segment(bases[1]))).await.unwrap();
    let mut losses = Losses::default();
    losses.accept(Loss { from, to });
    let state = StateFile::new(Offset(0), &LeaderEpochs::default(), losses);
    state.write(&rig.plain(), Path::new(PARTITION)).await.unwrap();
    for boot in BOOTS {
        let (log, _) = rig.reopen(boot).await;
        assert_eq!(log.state(), State::Online);
        let mut expected = numbered(0..from.0);
        expected.extend(numbered(to.0..24));
        assert_eq!(read_all(&log, 0).await, expected);
        assert_eq!(read_all(&log, from.0 + 1).await, numbered(to.0..24), "from inside of the hole");
        assert!(append(&log, &numbered_batches(22, 1, 2)[0]).await.unwrap().duplicate);
    }
    let (log, _) = rig.reopen(Boot::Same).await;
    append_durably(&log, &numbered_batches(24, 1, 2)[0]).await;
    assert_eq!(read_all(&log, to.0).await, numbered(to.0..26));
}

#[tokio::test]
async fn indexes_and_the_state_file_are_rebuilt_from_the_log() {
    let (mut rig, bases) = segmented().await;
    let index = |base: i64| PathBuf::from(PARTITION).join(format!("{base:020}.index"));
    let good = rig.read_file(&index(bases[0])).await;
    let stale = rig.read_file(&index(bases[1])).await;
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damage in [None, Some(&b""[..]), Some(&flipped[..]), Some(&stale[..]), Some(&good[..good.len() - 1])]
    {
        rig.plain().remove(&index(bases[0])).await.unwrap();
        if let Some(damage) = damage {
            let file = rig.plain().create(&index(bases[0])).await.unwrap();
            crate::storage::write_all_at(&*file, 0, &[damage.to_vec().into()]).await.unwrap();
        }
        let (log, _) = rig.reopen(Boot::Same).await;
        assert_eq!(rig.read_file(&index(bases[0])).await, good);
        assert_eq!(read_all(&log, 0).await, numbered(0..24));
    }
    let state = Path::new(PARTITION).join("state.json");
    for damage in [None, Some(&b"{}"[..])] {
        rig.plain().remove(&state).await.unwrap();
        if let Some(damage) = damage {
            let file = rig.plain().create(&state).await.unwrap();
            crate::storage::write_all_at(&*file, 0, &[damage.to_vec().into()]).await.unwrap();
        }
        let (log, _) = rig.reopen(Boot::Same).await;
        assert_eq!((log.state(), log.log_start_offset()), (State::Online, Offset(0)));
        assert_eq!(read_all(&log, 0).await, numbered(0..24));
        assert!(rig.read_file(&state).await.len() > 50);
    }
}

#[tokio::test]
async fn an_index_that_lies_is_not_followed() {
    let (rig, bases) = segmented().await;
    let (log, _) = rig.try_open(Boot::Same).await;
    // Behind the back of the running broker.
    let file = rig.file(&format!("{:020}.index", bases[0])).await;
    let size = file.size().await.unwrap();
    crate::storage::write_all_at(&*file, 16, &[vec![0x01; size as usize - 16].into()]).await.unwrap();
    for from in 0..24 {
        assert_eq!(read_all(&log, from).await, numbered(from - from % 2..24), "from {from}");
    }
    assert_eq!(log.state(), State::Online);
}

#[tokio::test]
async fn an_empty_or_missing_directory_is_a_loss_and_not_an_empty_partition() {
    for with_directory in [true, false] {
        let mut rig = Rig::new(Durability::Fsync).await;
        if with_directory {
            rig.plain().create_dir(Path::new(PARTITION)).await.unwrap();
        }
        for boot in BOOTS {
            let (log, _) = rig.reopen(boot).await;
            assert_eq!(quarantined_at(&log), Some(0));
            assert!(append(&log, &batch(Some((7, 0)), 0, &["0"])).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_crash_between_creating_a_segment_and_its_first_batch_is_none() {
    let (mut rig, sent, _) = filled(3).await;
    rig.plain().create(&Path::new(PARTITION).join(segment(6))).await.unwrap();
    let (log, _) = rig.reopen(Boot::Other).await;
    assert_eq!((log.state(), log.segment_count()), (State::Online, 2));
    append_durably(&log, &sent[3]).await;
    let (log, _) = rig.reopen(Boot::Same).await;
    assert_eq!(read_all(&log, 0).await, numbered(0..8));
}

#[tokio::test]
async fn a_recovery_that_fails_leaves_the_log_for_the_next_one() {
    let (mut rig, sent, bytes) = filled(3).await;
    let torn = [&bytes[..], &bytes[..40]].concat();
    // The fourth batch, torn, is what follows.
    let mut torn = torn;
    torn[bytes.len()..bytes.len() + 8].copy_from_slice(&6_i64.to_be_bytes());
    rig.set_segment(0, &torn).await;

    // Cannot make durable what it would serve, so it serves nothing of the last segment.
    Faults::set(&rig.faults.flush_fails, true);
    let (log, report) = rig.reopen(Boot::Same).await;
    assert!(matches!(log.state(), State::Offline { .. }), "{:?}", log.state());
    assert_eq!((log.high_watermark(), report.truncated_bytes), (Offset(0), 0));
    Faults::set(&rig.faults.flush_fails, false);

    // No room to save the torn tail: nothing is cut off, what lies before it is served.
    Faults::set(&rig.faults.create_fails, true);
    let (log, report) = rig.reopen(Boot::Same).await;
    assert!(matches!(log.state(), State::Offline { .. }));
    assert_eq!((log.high_watermark(), report.truncated_bytes), (Offset(6), 0));
    assert_eq!(read_all(&log, 0).await, numbered(0..6));
    assert!(append(&log, &sent[3]).await.is_err());
    assert_eq!(rig.segment_bytes(0).await, torn);
    Faults::set(&rig.faults.create_fails, false);

    // The tail is saved and then cannot be cut off, twice; it is saved once.
    Faults::set(&rig.faults.truncate_fails, true);
    for _ in 0..2 {
        let (log, _) = rig.reopen(Boot::Same).await;
        assert!(matches!(log.state(), State::Offline { .. }));
        assert_eq!(rig.segment_bytes(0).await, torn);
    }
    Faults::set(&rig.faults.truncate_fails, false);
    let (log, report) = rig.reopen(Boot::Same).await;
    assert_eq!((log.state(), report.truncated_bytes), (State::Online, 40));
    let saved = rig.torn().await;
    assert_eq!(saved.len(), 1);
    assert_eq!(saved[0].1, &torn[bytes.len()..]);
    append_durably(&log, &sent[3]).await;
    assert_eq!(read_all(&log, 0).await, numbered(0..8));
}

#[tokio::test]
async fn leader_epochs_rise_with_each_start_and_tell_where_each_ended() {
    let (mut rig, sent, _) = filled(2).await;
    for (start, sent) in sent[2..5].iter().enumerate() {
        let (log, _) = rig.reopen(Boot::Other).await;
        assert_eq!(log.leader_epoch(), LeaderEpoch(2 + start as i32));
        append_durably(&log, sent).await;
    }
    // Two starts without a batch leave no trace.
    rig.reopen(Boot::Same).await;
    let (log, _) = rig.reopen(Boot::Same).await;
    assert_eq!(log.leader_epoch(), LeaderEpoch(6));
    for (asked, epoch, end) in
        [(1, 1, 4), (2, 2, 6), (3, 3, 8), (4, 4, 10), (5, 4, 10), (6, 6, 10), (7, -1, -1)]
    {
        assert_eq!(
            log.end_offset_for_epoch(LeaderEpoch(asked)).unwrap(),
            (LeaderEpoch(epoch), Offset(end)),
            "epoch {asked}"
        );
    }
    assert_eq!([0, 3, 4, 9].map(|offset| log.leader_epoch_at(Offset(offset)).0), [1, 1, 2, 4]);
}

#[tokio::test]
async fn an_epoch_from_the_future_or_from_before_is_no_batch_of_this_log() {
    let (mut rig, sent, bytes) = filled(3).await;
    let size = sent[0].bytes.len();
    for (batch, epoch) in [(1, 0_i32), (1, 100), (0, -1)] {
        let mut damaged = bytes.clone();
        damaged[batch * size + 12..batch * size + 16].copy_from_slice(&epoch.to_be_bytes());
        rig.set_segment(0, &damaged).await;
        let (log, _) = rig.reopen(Boot::Same).await;
        // Epoch 0 falls behind epoch 1 only once that was seen.
        assert_eq!(quarantined_at(&log), Some(batch as i64 * 2), "batch {batch}, epoch {epoch}");
    }
}

/// An epoch that could be shows by the next batch, which cannot follow it, or by the checkpoint, which knew another one. In
/// a segment that was sealed it is no reason to cut off what lies in the last one.
#[tokio::test]
async fn a_damaged_epoch_in_a_sealed_segment_cuts_nothing_off_the_last() {
    let (mut rig, bases) = segmented().await;
    rig.epoch = LeaderEpoch(100);
    let [.., before, last] = bases[..] else { panic!("{bases:?}") };
    let mut damaged = rig.segment_bytes(before).await;
    let last_batch = damaged.len() / ((last - before) / 2) as usize * ((last - before) / 2 - 1) as usize;
    damaged[last_batch + 15] ^= 0x20;
    rig.set_segment(before, &damaged).await;
    for boot in BOOTS {
        let (log, report) = rig.try_open(boot).await;
        assert_eq!((quarantined_at(&log), report.truncated_bytes), (Some(last - 2), 0), "{:?}", log.state());
        assert_eq!(read_all(&log, 0).await, numbered(0..last - 2));
    }
}

/// Kill, recover, answer, then lose the power: what was read or acknowledged is there (Kafka PR 8812).
#[tokio::test]
async fn what_is_served_after_a_kill_has_been_written_and_flushed_again() {
    let (mut rig, sent, bytes) = filled(3).await;
    Faults::set(&rig.faults.flush_fails, true);
    let (log, _) = rig.reopen(Boot::Same).await;
    assert_eq!(log.high_watermark(), Offset(0), "nothing is served that was not flushed by this process");
    Faults::set(&rig.faults.flush_fails, false);
    let flushes = || rig.faults.flushes.load(std::sync::atomic::Ordering::SeqCst);
    let before = flushes();
    let overwritten = || rig.faults.overwritten.load(std::sync::atomic::Ordering::SeqCst);
    let written_before = overwritten();
    let (log, _) = rig.try_open(Boot::Same).await;
    assert_eq!(overwritten() - written_before, bytes.len() as u64, "every byte was written again");
    assert_eq!(flushes(), before + 1);
    assert_eq!(log.high_watermark(), Offset(6));
    assert!(append(&log, &sent[2]).await.unwrap().duplicate);
    drop(Arc::clone(&log));
}

/// What recovery is told by the marks that were written so far; every flush has one when this returns.
async fn note_marks(rig: &mut Rig) {
    let end = rig.segment_bytes(0).await.len() as u64;
    let key = Rig::site().mark_key();
    while rig.marks.of(key).is_none_or(|mark| mark.size < end) {
        tokio::task::yield_now().await;
        rig.marks = crate::log::FlushMarks::read(&rig.plain()).await;
    }
}

#[tokio::test]
async fn below_the_flush_mark_nothing_is_torn_whatever_the_boot() {
    let (mut rig, sent, bytes) = filled(4).await;
    note_marks(&mut rig).await;
    let size = sent[0].bytes.len();
    for boot in BOOTS {
        for cut in 0..bytes.len() {
            rig.lift_quarantine().await;
            rig.set_segment(0, &bytes[..cut]).await;
            let (log, report) = rig.try_open(boot).await;
            let whole = (cut / size) as i64 * 2;
            assert_eq!(quarantined_at(&log), Some(whole), "{boot:?}, cut at {cut}");
            assert_eq!((report.truncated_bytes, rig.segment_bytes(0).await.len()), (0, cut));
            assert_eq!(read_all(&log, 0).await, numbered(0..whole));
            assert_eq!(append(&log, &sent[4]).await.unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            rig.lift_quarantine().await;
            rig.set_segment(0, &damaged).await;
            let (log, _) = rig.try_open(boot).await;
            assert_eq!(quarantined_at(&log), Some((at / size) as i64 * 2), "{boot:?}, byte {at}");
            assert_eq!(rig.segment_bytes(0).await, damaged);
        }
    }
    rig.plain().remove(&Path::new(PARTITION).join(segment(0))).await.unwrap();
    for boot in BOOTS {
        assert_eq!(quarantined_at(&rig.try_open(boot).await.0), Some(0));
    }
}

#[tokio::test]
async fn a_mark_knows_a_batch_by_the_checksum_it_was_stored_with() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let sent = batch(Some((7, 0)), 500, &["a"]);
    let policy = AppendPolicy { now_ms: 123_456, log_append_time: true, check: &accept };
    let appended = log.append(sent.bytes.clone(), &sent.header, &policy).await.unwrap();
    log.wait_durable(appended.durable_when).await.unwrap();
    note_marks(&mut rig).await;
    let (log, _) = rig.reopen(Boot::Same).await;
    assert_eq!((quarantined_at(&log), log.end_offset()), (None, Offset(1)));
}

#[tokio::test]
async fn above_the_flush_mark_a_tail_is_torn_and_only_it_is_written_again() {
    for boot in BOOTS {
        let (mut rig, sent, marked) = filled(3).await;
        note_marks(&mut rig).await;
        let log = rig.try_open(Boot::Same).await.0;
        append_durably(&log, &sent[3]).await;
        append_durably(&log, &sent[4]).await;
        let bytes = rig.segment_bytes(0).await;
        let fourth = sent[0].bytes.len() * 4;
        rig.set_segment(0, &bytes[..fourth + 20]).await;
        let (log, report) = rig.reopen(boot).await;
        assert_eq!((log.state(), log.end_offset(), report.truncated_bytes), (State::Online, Offset(8), 20));
        let again = (fourth - marked.len()) as u64;
        assert_eq!(report.rewritten_bytes, again, "from the mark to the end");
        // And the mark has moved there.
        note_marks(&mut rig).await;
        rig.set_segment(0, &bytes[..fourth - 1]).await;
        assert_eq!(quarantined_at(&rig.reopen(boot).await.0), Some(6));
    }
}

/// Recovery marks the empty segment that it finds behind a roll; what comes into it afterwards is not what the mark is of.
#[tokio::test]
async fn a_mark_of_an_empty_segment_says_nothing_of_its_first_batch() {
    let mut rig = Rig::new(Durability::Fsync).await;
    drop(rig.create().await);
    let key = Rig::site().mark_key();
    let (log, _) = rig.reopen(Boot::Same).await;
    while rig.marks.of(key).is_none() {
        tokio::task::yield_now().await;
        rig.marks = crate::log::FlushMarks::read(&rig.plain()).await;
    }
    assert_eq!(rig.marks.of(key).map(|mark| mark.size), Some(0));
    append_durably(&log, &numbered_batches(0, 1, 2)[0]).await;
    for boot in BOOTS {
        let (log, _) = rig.reopen(boot).await;
        assert_eq!((log.state(), log.high_watermark()), (State::Online, Offset(2)), "{boot:?}");
    }
}

#[tokio::test]
async fn another_batch_where_the_mark_is_quarantines() {
    let (mut rig, _, bytes) = filled(3).await;
    note_marks(&mut rig).await;
    // As good, as long, at the same offset; but not the one that was flushed.
    let mut other = batch(Some((7, 4)), 40, &["x", "5"]).bytes.to_vec();
    let size = other.len();
    other[..16].copy_from_slice(&bytes[2 * size..2 * size + 16]);
    rig.set_segment(0, &[&bytes[..2 * size], &other].concat()).await;
    for boot in BOOTS {
        let (log, _) = rig.reopen(boot).await;
        assert_eq!(quarantined_at(&log), Some(4), "{:?}", log.state());
    }
}
