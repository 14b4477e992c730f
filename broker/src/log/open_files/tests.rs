use std::{path::Path, sync::atomic::Ordering};

use gapless_common::types::Offset;

use super::*;
use crate::log::retention::RetentionLimits;
use crate::log::testing::{
    PARTITION, Rig, append, append_durably, bytes_of, numbered, numbered_batches, read_all, records_of,
    segment,
};
use crate::log::{Boot, Durability, PartitionLog, ReadError, State, StorageError};

/// A log of many more segments than may be open.
async fn long_log(durability: Durability) -> (Rig, Arc<PartitionLog>) {
    let mut rig = Rig::new(durability).await;
    rig.config.segment_bytes = 400;
    let log = rig.create().await;
    for sent in numbered_batches(0, 60, 3) {
        append_durably(&log, &sent).await;
    }
    assert!(log.segment_count() > 2 * rig.environment.open_files.bound());
    (rig, log)
}

#[tokio::test]
async fn a_log_of_many_segments_is_written_read_and_opened_with_few_files_open() {
    for durability in [Durability::Fsync, Durability::Os] {
        let (mut rig, mut log) = long_log(durability).await;
        let open = rig.environment.open_files.clone();
        for boot in [Boot::Same, Boot::Other] {
            log.notes_written().await;
            assert!(open.count() <= open.bound());
            let reopened = open.reopened();
            for _ in 0..2 {
                assert_eq!(read_all(&log, 0).await, numbered(0..180));
            }
            assert!(open.reopened() > reopened && open.count() <= open.bound());
            assert_eq!(log.state(), State::Online);
            // The active segment's, and the file of flush marks is not counted here.
            assert!(rig.faults.open.load(Ordering::SeqCst) <= open.bound() as i64 + 1);
            assert_eq!(rig.faults.closed_unflushed.load(Ordering::SeqCst), 0);
            // Until it is flushed nobody lets it go.
            log.flush_and_close().await.unwrap();
            drop(log);
            (log, _) = rig.reopen(boot).await;
        }
    }
}

#[tokio::test]
async fn what_is_being_sent_stays_open_though_its_file_is_evicted_and_unlinked() {
    let (rig, log) = long_log(Durability::Fsync).await;
    let range = log.read(Offset(0), 1 << 20, true).await.unwrap().unwrap();
    let sent = records_of(bytes_of(range.clone()).await);
    assert_eq!(read_all(&log, 0).await, numbered(0..180));
    let open = rig.environment.open_files.clone();
    while open.shed() > 0 {}
    assert_eq!(open.count(), 1, "the one in use");
    let none = RetentionLimits { ms: None, bytes: Some(0), segment_ms: i64::MAX };
    log.retain(&none, 0).await.unwrap();
    assert_eq!(records_of(bytes_of(range.clone()).await), sent);
    drop(range);
    log.notes_written().await;
    while open.shed() > 0 {}
    assert_eq!(open.count(), 0);
    assert!(matches!(log.read(Offset(0), 1, true).await, Err(ReadError::OutOfRange { .. })));
}

#[tokio::test]
async fn without_a_descriptor_sealed_files_are_closed_and_the_log_goes_on() {
    let (rig, log) = long_log(Durability::Fsync).await;
    log.notes_written().await;
    assert_eq!(read_all(&log, 0).await, numbered(0..180));
    let open = rig.environment.open_files.clone();
    // None is left, and rolling, sealing and checkpoints each need some.
    rig.faults.descriptors_max.store(rig.faults.open.load(Ordering::SeqCst), Ordering::SeqCst);
    for sent in numbered_batches(180, 20, 3) {
        append_durably(&log, &sent).await;
    }
    log.notes_written().await;
    assert!(open.shed_so_far() > 0);
    assert_eq!((log.state(), read_all(&log, 0).await), (State::Online, numbered(0..240)));
    // Not even one: a read is refused for now, and nothing is taken for a loss.
    while open.shed() > 0 {}
    rig.faults.descriptors_max.store(1, Ordering::SeqCst);
    let refused = log.read(Offset(0), 1, true).await;
    assert!(matches!(refused, Err(ReadError::Storage(StorageError::Step { .. }))));
    rig.faults.descriptors_max.store(0, Ordering::SeqCst);
    assert_eq!((log.state(), read_all(&log, 0).await), (State::Online, numbered(0..240)));
}

#[tokio::test]
async fn a_sealed_file_that_is_missing_when_it_is_opened_again_is_a_loss() {
    let (rig, log) = long_log(Durability::Fsync).await;
    log.notes_written().await;
    while rig.environment.open_files.shed() > 0 {}
    rig.plain().remove(&Path::new(PARTITION).join(segment(0))).await.unwrap();
    assert!(matches!(
        log.read(Offset(0), 1, true).await,
        Err(ReadError::Storage(StorageError::Quarantined { at: Offset(0), .. }))
    ));
    assert!(matches!(log.state(), State::Quarantined { .. }));
}

#[tokio::test]
async fn nothing_is_opened_by_the_name_of_a_deleted_topic() {
    let (rig, log) = long_log(Durability::Fsync).await;
    let sealed = log.with_shared(|shared| shared.segments.first().cloned()).unwrap();
    log.retire().await;
    while rig.environment.open_files.shed() > 0 {}
    // Another topic may be there by now.
    assert_eq!(sealed.file().await.map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_directory_that_cannot_be_opened_for_its_sync_takes_nothing_offline() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 100;
    let log = rig.create().await;
    let sent = numbered_batches(0, 2, 2);
    append_durably(&log, &sent[0]).await;
    // The new segment's file takes the last descriptor, and there is nothing to close.
    rig.faults.descriptors_max.store(rig.faults.open.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
    let refused = append(&log, &sent[1]).await.unwrap_err();
    assert!(refused.why.contains("syncing") && refused.why.contains("os error 24"), "{refused}");
    assert_eq!(log.state(), State::Online);
    rig.faults.descriptors_max.store(0, Ordering::SeqCst);
    append_durably(&log, &sent[1]).await;
    let (log, _) = rig.reopen(Boot::Other).await;
    assert_eq!((log.segment_count(), read_all(&log, 0).await), (2, numbered(0..4)));
}
