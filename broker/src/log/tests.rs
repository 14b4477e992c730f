use std::{path::Path, sync::Arc, time::Duration};

use gapless_common::{
    error_code::ErrorCode,
    records::{self, BatchHeader, Compression, TimestampType},
    types::{LeaderEpoch, Offset},
};
use tokio::sync::Notify;

use super::testing::{
    PARTITION, Rig, accept, append, append_durably, batch, bytes_of, compressed, numbered, numbered_batches,
    read_all, segment,
};
use super::{AppendPolicy, Boot, Durability, ReadError, Refusal, State, StorageError};
use crate::storage::faulty::Faults;
use crate::storage::{Files as _, write_all_at};

#[tokio::test]
async fn a_batch_is_stored_as_it_came_behind_its_offset_and_epoch() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    append_durably(&log, &batch(None, 0, &["first"])).await;
    for compression in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let sent = compressed(Some((compression.id().into(), 0)), 500, &["a", "b", "c"], compression);
        let appended = append_durably(&log, &sent).await;
        let range = log.read(appended.base_offset, 1 << 20, true).await.unwrap().unwrap();
        let stored = bytes_of(range).await;
        let header = BatchHeader::parse(&stored).unwrap();
        assert_eq!((header.base_offset, header.leader_epoch), (appended.base_offset, LeaderEpoch(1)));
        assert_eq!(stored[16..], sent.bytes[16..], "everything behind the leader epoch is as it was sent");
        assert!(records::check_crc(&stored));
    }
    assert_eq!(log.end_offset(), Offset(16));
    assert_eq!(log.high_watermark(), Offset(16));
    assert_eq!(log.producers(), 5);
    assert_eq!(log.size_bytes(), rig.segment_bytes(0).await.len() as u64);
    assert_eq!((log.unflushed_bytes(), log.oldest_unflushed()), (0, None));
}

#[tokio::test]
async fn log_append_time_gives_the_records_the_brokers_clock() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let sent = batch(Some((7, 0)), 500, &["a", "b"]);
    let policy = AppendPolicy { now_ms: 123_456, log_append_time: true, check: &accept };
    let appended = log.append(sent.bytes.clone(), &sent.header, &policy).await.unwrap();
    assert_eq!(appended.append_time_ms, Some(123_456));
    log.wait_durable(appended.durable_when).await.unwrap();
    let stored = bytes_of(log.read(Offset(0), 1 << 20, true).await.unwrap().unwrap()).await;
    let header = BatchHeader::parse(&stored).unwrap();
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppend);
    assert_eq!(header.max_timestamp, 123_456);
    assert!(records::check_crc(&stored));
    // A repeat is told the time of the original.
    let later = AppendPolicy { now_ms: 999_999, log_append_time: true, check: &accept };
    let again = log.append(sent.bytes.clone(), &sent.header, &later).await.unwrap();
    assert_eq!((again.duplicate, again.append_time_ms), (true, Some(123_456)));
    assert_eq!(log.offset_for_timestamp(123_456).await.unwrap(), Some((Offset(0), 123_456)));
    assert_eq!(log.offset_of_max_timestamp().await.unwrap(), Some((Offset(0), 123_456)));
}

#[tokio::test]
async fn a_repeat_is_answered_with_its_first_offset_before_any_policy_is_asked() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    append(&log, &batch(None, 0, &["other"])).await.unwrap();
    let first = batch(Some((7, 0)), 0, &["a", "b"]);
    assert_eq!(append(&log, &first).await.unwrap().base_offset, Offset(1));
    let no = |_: &BatchHeader| Err(Refusal::new(ErrorCode::MESSAGE_TOO_LARGE, "no"));
    let strict = AppendPolicy { now_ms: 0, log_append_time: false, check: &no };
    let again = log.append(first.bytes.clone(), &first.header, &strict).await.unwrap();
    assert!(again.duplicate);
    assert_eq!((again.base_offset, again.last_offset, again.durable_when), (Offset(1), Offset(2), Offset(3)));
    let next = batch(Some((7, 2)), 0, &["c"]);
    let refused = log.append(next.bytes.clone(), &next.header, &strict).await.unwrap_err();
    assert_eq!(refused, Refusal::new(ErrorCode::MESSAGE_TOO_LARGE, "no"));
    assert_eq!(log.end_offset(), Offset(3));
}

#[tokio::test]
async fn gaps_are_refused_and_who_was_refused_first_may_not_start_behind() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    append(&log, &batch(None, 0, &["other"])).await.unwrap();
    append(&log, &batch(Some((7, 0)), 0, &["a"])).await.unwrap();
    let refused = append(&log, &batch(Some((7, 5)), 0, &["f"])).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "producer 7 epoch 0 sent sequences 5 to 5, but 1 follows its last record here, at offset 1"
    );
    assert_eq!(refused.code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    // Refused before it came to the log.
    log.refuse(&batch(Some((8, 0)), 0, &["a"]).header).await;
    let refused = append(&log, &batch(Some((8, 1)), 0, &["b"])).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    append(&log, &batch(Some((8, 0)), 0, &["a"])).await.unwrap();
    assert_eq!(log.end_offset(), Offset(3));
}

#[tokio::test]
async fn reads_give_whole_batches_within_their_bounds() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let sent = numbered_batches(0, 50, 3);
    for sent in &sent {
        append_durably(&log, sent).await;
    }
    assert_eq!(read_all(&log, 0).await, numbered(0..150));
    assert_eq!(read_all(&log, 74).await, numbered(72..150), "from the batch that holds the offset");
    let size = sent[0].bytes.len();
    for (from, max_bytes, at_least_one, batches) in [
        (0, 0, true, 1),
        (0, 0, false, 0),
        (0, size - 1, true, 1),
        (0, size - 1, false, 0),
        (0, size, false, 1),
        (0, 2 * size - 1, true, 1),
        (0, 2 * size, true, 2),
        (1, size, false, 1),
        (149, 1 << 20, false, 1),
        (150, 1 << 20, true, 0),
    ] {
        let range = log.read(Offset(from), max_bytes, at_least_one).await.unwrap();
        let read = match range {
            Some(range) => records::batches(bytes_of(range).await).count(),
            None => 0,
        };
        assert_eq!(read, batches, "from {from}, {max_bytes} bytes, at least one: {at_least_one}");
    }
    for from in [-1, 151, i64::MAX] {
        let refused = log.read(Offset(from), 1, true).await.map(drop).unwrap_err();
        assert_eq!(refused.error_code(), ErrorCode::OFFSET_OUT_OF_RANGE, "{from}");
        assert_eq!(refused.to_string(), format!("offset {from} is not in the log, which goes from 0 to 150"));
    }
}

#[tokio::test]
async fn consumers_see_nothing_that_is_not_flushed_and_acks_all_waits_for_it() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    Faults::set(&rig.faults.flush_held, true);
    let first = batch(Some((7, 0)), 0, &["0"]);
    let appended = append(&log, &first).await.unwrap();
    assert_eq!((log.end_offset(), log.high_watermark()), (Offset(1), Offset(0)));
    assert!(
        log.read(Offset(0), 1 << 20, true).await.unwrap().is_none(),
        "no error between watermark and end"
    );
    assert!(log.read(Offset(1), 1 << 20, true).await.unwrap().is_none());
    assert!(log.unflushed_bytes() > 0 && log.oldest_unflushed().is_some());

    let again = append(&log, &first).await.unwrap();
    assert!(again.duplicate);
    let mut waits =
        [log.wait_durable(appended.durable_when), log.wait_durable(again.durable_when)].map(Box::pin);
    for wait in &mut waits {
        assert!(
            futures_util::poll!(wait).is_pending(),
            "an acknowledgement waits for the flush, a repeat's too"
        );
    }
    rig.faults.release_flushes();
    for wait in waits {
        wait.await.unwrap();
    }
    assert_eq!(read_all(&log, 0).await, numbered(0..1));
    assert_eq!(log.unflushed_bytes(), 0);
}

#[tokio::test]
async fn what_arrives_during_a_flush_forms_the_next_group() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    Faults::set(&rig.faults.flush_held, true);
    let sent = numbered_batches(0, 21, 1);
    let flushes = || rig.faults.flushes.load(std::sync::atomic::Ordering::SeqCst);
    let before = flushes();
    append(&log, &sent[0]).await.unwrap();
    while flushes() == before {
        tokio::task::yield_now().await;
    }
    for sent in &sent[1..] {
        append(&log, sent).await.unwrap();
    }
    assert_eq!(flushes(), before + 1, "one flush per file under way");
    rig.faults.release_flushes();
    log.wait_durable(Offset(21)).await.unwrap();
    assert_eq!(*rig.flushes.seen.lock().unwrap(), [(1, false), (20, false)]);
}

#[tokio::test]
async fn a_slow_flush_holds_up_nobody_else() {
    let slow_rig = Rig::new(Durability::Fsync).await;
    let slow = slow_rig.create().await;
    // Another disk, the same flusher.
    let mut quick_rig = Rig::new(Durability::Fsync).await;
    quick_rig.environment.flusher = slow_rig.environment.flusher.clone();
    let quick = quick_rig.create().await;
    Faults::set(&slow_rig.faults.flush_held, true);
    let stuck = append(&slow, &batch(None, 0, &["0"])).await.unwrap();
    for sent in &numbered_batches(0, 20, 1) {
        append_durably(&quick, sent).await;
    }
    assert_eq!(slow.high_watermark(), Offset(0));
    slow_rig.faults.release_flushes();
    slow.wait_durable(stuck.durable_when).await.unwrap();
}

#[tokio::test]
async fn a_failed_flush_is_final() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let sent = numbered_batches(0, 4, 1);
    append_durably(&log, &sent[0]).await;
    Faults::set(&rig.faults.flush_fails, true);
    let moved = Arc::new(Notify::new());
    log.watch(&moved);
    let lost = append(&log, &sent[1]).await.unwrap();
    let error = log.wait_durable(lost.durable_when).await.unwrap_err();
    assert!(matches!(error, StorageError::Offline { .. }));
    assert_eq!(error.error_code(), ErrorCode::KAFKA_STORAGE_ERROR);
    moved.notified().await;

    Faults::set(&rig.faults.flush_fails, false);
    assert!(matches!(log.state(), State::Offline { .. }));
    for sent in [&sent[1], &sent[2], &sent[0]] {
        let refused = append(&log, sent).await.unwrap_err();
        assert_eq!(
            refused.code,
            ErrorCode::KAFKA_STORAGE_ERROR,
            "a repeat too: 56 proves nothing about absence"
        );
    }
    assert_eq!((log.high_watermark(), log.end_offset()), (Offset(1), Offset(2)));
    assert_eq!(read_all(&log, 0).await, numbered(0..1), "what lies below the watermark is served");
    log.wait_durable(Offset(1)).await.unwrap();
    log.wait_durable(Offset(2)).await.unwrap_err();
    log.flush_and_close().await.unwrap_err();
    assert_eq!(*rig.flushes.seen.lock().unwrap(), [(1, false), (1, true)], "a later flush is not even tried");

    // The next start writes again what it serves, and goes on.
    let (log, report) = rig.reopen(Boot::Same).await;
    assert_eq!(log.state(), State::Online);
    assert_eq!(report.truncated_bytes, 0);
    assert_eq!(read_all(&log, 0).await, numbered(0..2));
    assert!(append(&log, &sent[1]).await.unwrap().duplicate);
    append_durably(&log, &sent[2]).await;
}

#[tokio::test]
async fn a_full_disk_refuses_the_batch_and_nothing_else() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let sent = numbered_batches(0, 5, 2);
    append_durably(&log, &sent[0]).await;
    let size = log.size_bytes();
    for room in [0, 1, 60, 61, sent[1].bytes.len() as i64 - 1] {
        rig.faults.fill_up_to(room);
        for _ in 0..2 {
            let refused = append(&log, &sent[1]).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::KAFKA_STORAGE_ERROR);
            assert!(refused.why.starts_with("the disk is full"), "{refused}");
        }
        // The next in the pipeline is refused for what it is: not the next one.
        let refused = append(&log, &sent[2]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(rig.segment_bytes(0).await.len() as u64, size, "no half batch stays");
        assert_eq!(log.state(), State::Online);
        assert_eq!(read_all(&log, 0).await, numbered(0..2), "reads go on");
        // A producer whose first batch fell victim does not start with its second.
        let others = [batch(Some((9, 0)), 0, &["x"]), batch(Some((9, 1)), 0, &["y"])];
        append(&log, &others[0]).await.unwrap_err();
        rig.faults.make_room();
        assert_eq!(append(&log, &others[1]).await.unwrap_err().code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    }
    let appended = append_durably(&log, &sent[1]).await;
    assert_eq!(
        (appended.base_offset, appended.duplicate),
        (Offset(2), false),
        "the retry is no duplicate of nothing"
    );
    assert_eq!(read_all(&log, 0).await, numbered(0..4));
}

#[tokio::test]
async fn half_a_batch_that_cannot_be_cut_off_takes_the_partition_offline() {
    let mut rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let sent = numbered_batches(0, 3, 2);
    append_durably(&log, &sent[0]).await;
    rig.faults.fill_up_to(30);
    Faults::set(&rig.faults.truncate_fails, true);
    assert_eq!(append(&log, &sent[1]).await.unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(matches!(log.state(), State::Offline { .. }));
    rig.faults.make_room();
    Faults::set(&rig.faults.truncate_fails, false);
    assert_eq!(append(&log, &sent[1]).await.unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(read_all(&log, 0).await, numbered(0..2));

    let (log, report) = rig.reopen(Boot::Same).await;
    assert_eq!((log.state(), report.truncated_bytes), (State::Online, 30));
    append_durably(&log, &sent[1]).await;
    assert_eq!(read_all(&log, 0).await, numbered(0..4));
}

#[tokio::test]
async fn segments_roll_and_are_read_through_their_indexes() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 1000;
    rig.config.index_interval_bytes = 200;
    let log = rig.create().await;
    let sent = numbered_batches(0, 100, 3);
    for sent in &sent {
        append_durably(&log, sent).await;
    }
    assert!(log.segment_count() > 5, "{} segments", log.segment_count());
    let names: Vec<String> =
        rig.plain().list(Path::new(PARTITION)).await.unwrap().into_iter().map(|entry| entry.name).collect();
    let count = |suffix: &str| names.iter().filter(|name| name.ends_with(suffix)).count();
    assert_eq!(count(".log"), log.segment_count());
    assert_eq!(count(".index"), log.segment_count() - 1, "one for each sealed segment");
    for from in 0..300 {
        let read = read_all(&log, from).await;
        assert_eq!(read, numbered(from - from % 3..300), "from {from}");
    }
    let (log, _) = rig.reopen(Boot::Same).await;
    assert_eq!(read_all(&log, 0).await, numbered(0..300));
    assert!(append(&log, &sent[99]).await.unwrap().duplicate);
    append_durably(&log, &numbered_batches(300, 1, 3)[0]).await;
    assert_eq!(read_all(&log, 299).await, numbered(297..303));
}

#[tokio::test]
async fn a_segment_is_flushed_and_the_next_ones_name_is_durable_before_anything_goes_there() {
    for durability in [Durability::Fsync, Durability::Os] {
        let mut rig = Rig::new(durability).await;
        rig.config.segment_bytes = 100;
        let log = rig.create().await;
        let sent = numbered_batches(0, 4, 2);
        Faults::set(&rig.faults.flush_held, true);
        append(&log, &sent[0]).await.unwrap();
        {
            let mut rolling = Box::pin(append(&log, &sent[1]));
            for _ in 0..100 {
                assert!(futures_util::poll!(&mut rolling).is_pending(), "{durability:?}");
                tokio::task::yield_now().await;
            }
            assert_eq!(log.segment_count(), 1);
            rig.faults.release_flushes();
            assert_eq!(rolling.await.unwrap().base_offset, Offset(2));
        }
        log.flush_and_close().await.unwrap();

        let (log, _) = rig.reopen(Boot::Same).await;
        Faults::set(&rig.faults.sync_dir_fails, true);
        assert_eq!(append(&log, &sent[2]).await.unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
        assert!(
            matches!(log.state(), State::Offline { .. }),
            "a name that may not last is no place for a batch"
        );
        Faults::set(&rig.faults.sync_dir_fails, false);
        assert!(append(&log, &sent[2]).await.is_err());
        let (log, _) = rig.reopen(Boot::Same).await;
        append_durably(&log, &sent[2]).await;
        assert_eq!(read_all(&log, 0).await, numbered(0..6));
    }
}

#[tokio::test]
async fn a_new_segment_that_cannot_be_created_refuses_the_batch_until_there_is_room() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 100;
    let log = rig.create().await;
    let sent = numbered_batches(0, 3, 2);
    append_durably(&log, &sent[0]).await;
    Faults::set(&rig.faults.create_fails, true);
    assert_eq!(append(&log, &sent[1]).await.unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!((log.state(), log.segment_count()), (State::Online, 1));
    Faults::set(&rig.faults.create_fails, false);
    append_durably(&log, &sent[1]).await;
    assert_eq!((log.segment_count(), read_all(&log, 0).await), (2, numbered(0..4)));
}

#[tokio::test]
async fn watchers_hear_of_the_next_change_once_and_are_swept_out() {
    let rig = Rig::new(Durability::Os).await;
    let log = rig.create().await;
    let moved = Arc::new(Notify::new());
    log.watch(&moved);
    log.watch(&moved);
    append(&log, &batch(None, 0, &["a"])).await.unwrap();
    moved.notified().await;
    let mut again = Box::pin(moved.notified());
    assert!(futures_util::poll!(&mut again).is_pending(), "told once");
    append(&log, &batch(None, 0, &["b"])).await.unwrap();
    assert!(futures_util::poll!(&mut again).is_pending(), "a registration is used up by one change");
    // Fetches that come and go on an idle partition.
    for _ in 0..10_000 {
        log.watch(&Arc::new(Notify::new()));
    }
    assert!(log.watchers() < 100, "{} watchers", log.watchers());
}

#[tokio::test(start_paused = true)]
async fn under_os_nothing_waits_and_flushes_happen_in_the_background() {
    let rig = Rig::new(Durability::Os).await;
    let log = rig.create().await;
    let began = tokio::time::Instant::now();
    let appended = append(&log, &batch(None, 0, &["a"])).await.unwrap();
    assert_eq!(log.high_watermark(), Offset(1));
    log.wait_durable(appended.durable_when).await.unwrap();
    append(&log, &batch(None, 0, &["b"])).await.unwrap();
    assert!(log.unflushed_bytes() > 0);
    rig.flushes.happened.notified().await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(*rig.flushes.seen.lock().unwrap(), [(2, false)]);
    assert_eq!(log.unflushed_bytes(), 0);
    log.flush_and_close().await.unwrap();
}

#[tokio::test]
async fn closing_flushes_and_refuses() {
    for durability in [Durability::Fsync, Durability::Os] {
        let rig = Rig::new(durability).await;
        let log = rig.create().await;
        append(&log, &batch(None, 0, &["a"])).await.unwrap();
        log.flush_and_close().await.unwrap();
        assert_eq!(log.unflushed_bytes(), 0);
        assert_eq!(
            append(&log, &batch(None, 0, &["b"])).await.unwrap_err().code,
            ErrorCode::KAFKA_STORAGE_ERROR
        );
        log.flush_and_close().await.unwrap();
        rig.environment.flusher.stop();
    }
}

#[tokio::test]
async fn the_log_of_a_deleted_topic_refuses_with_unknown_topic() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    Faults::set(&rig.faults.flush_held, true);
    let appended = append(&log, &batch(None, 0, &["a"])).await.unwrap();
    let mut wait = Box::pin(log.wait_durable(appended.durable_when));
    assert!(futures_util::poll!(&mut wait).is_pending());
    log.retire().await;
    assert!(matches!(wait.await, Err(StorageError::Retired)));
    let refused = append(&log, &batch(None, 0, &["b"])).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    rig.faults.release_flushes();
}

#[tokio::test(start_paused = true)]
async fn producers_are_forgotten_by_the_brokers_own_time() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.producer_id_expiration_ms = 60_000;
    rig.config.producers_max = 1;
    let log = rig.create().await;
    // Timestamps of long ago or far ahead make nobody forgotten sooner or later.
    append(&log, &batch(Some((7, 0)), -1_000_000, &["a"])).await.unwrap();
    append(&log, &batch(Some((7, 1)), i64::MAX / 2, &["b"])).await.unwrap();
    tokio::time::advance(Duration::from_millis(59_999)).await;
    log.expire_producers();
    assert_eq!(log.producers(), 1);
    let other = batch(Some((8, 0)), 0, &["x"]);
    assert_eq!(append(&log, &other).await.unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR, "no room");
    assert!(append(&log, &batch(Some((7, 1)), i64::MAX / 2, &["b"])).await.unwrap().duplicate);
    tokio::time::advance(Duration::from_millis(1)).await;
    append(&log, &other).await.unwrap();
    assert_eq!(log.producers(), 1);
}

#[tokio::test]
async fn what_a_reader_could_get_is_told_without_reading() {
    let mut rig = Rig::new(Durability::Fsync).await;
    rig.config.segment_bytes = 16 << 10;
    let log = rig.create().await;
    let value = "x".repeat(1000);
    for _ in 0..40 {
        append_durably(&log, &batch(None, 0, &[&value])).await;
    }
    for from in 0..40 {
        let at_most = log.bytes_at_most(Offset(from));
        if log.is_sealed_at(Offset(from)) {
            assert_eq!(at_most, u64::MAX);
            continue;
        }
        let read = log.read(Offset(from), 1 << 20, true).await.unwrap().unwrap();
        let too_much = at_most - u64::from(read.len);
        assert!(too_much < rig.config.index_interval_bytes + 2000, "{from}: {too_much} bytes too many");
    }
    log.retire().await;
    assert_eq!(log.bytes_at_most(Offset(39)), u64::MAX, "there is news");
}

#[tokio::test]
async fn corruption_that_a_read_meets_quarantines_the_partition_there() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let sent = numbered_batches(0, 10, 2);
    for sent in &sent {
        append_durably(&log, sent).await;
    }
    let size = sent[0].bytes.len() as u64;
    // A bit of the base offset of the batch at offset 8.
    let file = rig.file(&segment(0)).await;
    let byte = file.read_at(4 * size + 7, 1).await.unwrap()[0];
    write_all_at(&*file, 4 * size + 7, &[vec![byte ^ 1].into()]).await.unwrap();

    let range = log.read(Offset(0), 1 << 20, true).await.unwrap().unwrap();
    assert_eq!(u64::from(range.len), 4 * size, "what lies before it is served");
    let State::Quarantined { at, why } = log.state() else { panic!("{:?}", log.state()) };
    assert_eq!(at, Offset(8));
    assert_eq!(
        &*why,
        format!(
            "{PARTITION}/00000000000000000000.log at position {}: base offset 9 where 8 follows",
            4 * size
        )
    );
    assert_eq!(read_all(&log, 0).await, numbered(0..8));
    for from in [8, 9, 15, 20, 1000] {
        let refused = log.read(Offset(from), 1 << 20, true).await.map(drop).unwrap_err();
        assert!(matches!(refused, ReadError::Storage(StorageError::Quarantined { .. })), "{from}: {refused}");
    }
    let next = numbered_batches(20, 1, 2);
    assert_eq!(append(&log, &next[0]).await.unwrap_err().code, ErrorCode::KAFKA_STORAGE_ERROR);
}

#[tokio::test]
async fn an_append_given_up_half_way_leaves_nothing_behind() {
    let rig = Rig::new(Durability::Fsync).await;
    let log = rig.create().await;
    let sent = numbered_batches(0, 3, 2);
    append_durably(&log, &sent[0]).await;
    // As a write that was dropped before it completed would leave it.
    {
        let mut appender = log.appender.lock().await;
        appender.unsettled = true;
        let position = appender.position;
        write_all_at(&*appender.file, position, &[vec![1; 1000].into()]).await.unwrap();
    }
    append_durably(&log, &sent[1]).await;
    let expected = sent[0].bytes.len() + sent[1].bytes.len();
    assert_eq!(rig.segment_bytes(0).await.len(), expected);
}
