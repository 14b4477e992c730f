//! The broker as a whole, on a disk that can be made to fail.
#![expect(clippy::disallowed_methods, reason = "what the disk is made to hold is put there past the broker")]

use std::{io::Write as _, path::Path, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Part, encode_request_frame,
        messages::{
            FetchRequest, MetadataRequest,
            fetch::{FetchPartition, FetchTopic},
            metadata::MetadataRequestTopic,
        },
    },
    seam::Seams,
};
use tokio::{io::AsyncWriteExt as _, time::Instant};

use super::StartError;
use crate::{
    log::State,
    storage::faulty::Faults,
    testing::{Rig, append, batch, call_by_name, client, create, delete, find, grow, in_flight, produce},
};

fn memory_of(part: &Part) -> Bytes {
    match part {
        Part::Bytes(bytes) => bytes.clone(),
        Part::External { .. } => panic!("a request is in memory"),
    }
}

#[tokio::test]
async fn a_first_start_waits_for_the_disk_twice() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    // One small file and its name; the data directory's own name, which is not counted here, comes to that.
    assert_eq!(rig.faults.flushes.load(Ordering::SeqCst), 1);
    assert_eq!(rig.faults.dir_syncs.load(Ordering::SeqCst), 1);
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_tail_torn_by_a_power_loss_is_still_one_after_a_start_that_failed() {
    let rig = Rig::new();
    let broker = rig.start("before").await;
    let client = client(&broker).await;
    for topic in ["torn", "zzz"] {
        assert_eq!(create(&client, topic).await, ErrorCode::NONE);
        append(&client, topic, "kept").await;
    }
    assert!(broker.stop().await);
    // A whole batch of which the disk has something else: torn by a power loss, corrupt without one.
    let log = rig.data_dir().join("topics/torn/0/00000000000000000000.log");
    let whole = std::fs::metadata(&log).unwrap().len();
    let mut tail = batch("lost").to_vec();
    tail[7] = 1;
    *tail.last_mut().unwrap() ^= 1;
    std::fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(&tail).unwrap();
    let topic_file = rig.data_dir().join("topics/zzz/topic.json");
    let aside = rig.directory.path().join("aside");
    std::fs::rename(&topic_file, &aside).unwrap();
    assert!(rig.try_start("after").await.is_err());
    std::fs::OpenOptions::new().append(true).open(&log).unwrap().set_len(whole).unwrap();
    std::fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(&tail).unwrap();
    std::fs::rename(&aside, &topic_file).unwrap();

    let broker = rig.start("after").await;
    let partition = broker.shared.catalogue.partition("torn", 0).unwrap();
    assert_eq!(partition.state(), State::Online);
    assert_eq!(append(&self::client(&broker).await, "torn", "next").await, 1);
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_topic_that_could_not_be_deleted_keeps_its_records() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let first = client(&broker).await;
    assert_eq!(create(&first, "kept").await, ErrorCode::NONE);
    append(&first, "kept", "record").await;
    Faults::set(&rig.faults.rename_fails, true);
    assert_eq!(delete(&first, "kept").await, ErrorCode::KAFKA_STORAGE_ERROR);
    Faults::set(&rig.faults.rename_fails, false);
    // A client that asks for the topic would have it created.
    assert_eq!(find(&first, "kept").await, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(create(&first, "kept").await, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(broker.stop().await);

    let broker = rig.start("a").await;
    let again = client(&broker).await;
    assert_eq!(append(&again, "kept", "another").await, 1, "the record is still there");
    assert_eq!(delete(&again, "kept").await, ErrorCode::NONE);
    assert_eq!(create(&again, "kept").await, ErrorCode::NONE);
    assert_eq!(append(&again, "kept", "new").await, 0);
    assert!(broker.stop().await);
}

#[tokio::test]
async fn what_is_no_topic_is_left_alone() {
    let rig = Rig::new();
    assert!(rig.start("a").await.stop().await);
    let stray = rig.data_dir().join("topics/notes");
    std::fs::create_dir_all(&stray).unwrap();
    std::fs::write(stray.join("read-me"), "somebody's").unwrap();
    std::fs::create_dir_all(rig.data_dir().join("topics/unfinished/0")).unwrap();
    let broker = rig.start("a").await;
    assert!(stray.join("read-me").exists());
    assert!(!rig.data_dir().join("topics/unfinished").exists());
    assert_eq!(find(&client(&broker).await, "notes").await, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(stray.join("read-me").exists());
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_directory_stays_locked_for_as_long_as_anything_works_on_it() {
    let rig = Rig::new();
    drop(rig.start("a").await);
    assert!(matches!(rig.try_start("a").await, Err(StartError::Locked)), "its tasks go on");
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let _still_connected = client(&broker).await;
    assert!(broker.stop().await);
    rig.start("a").await;
}

#[tokio::test]
async fn a_disk_that_does_not_answer_holds_up_the_stop_for_no_longer_than_was_said() {
    let mut rig = Rig::new();
    rig.config.shutdown_timeout = Duration::from_millis(500);
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(create(&client, "events").await, ErrorCode::NONE);
    Faults::set(&rig.faults.flush_held, true);
    let answer = call_by_name(&client, produce("events", 1, "in the page cache")).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
    let began = Instant::now();
    assert!(!broker.stop().await, "what acks=1 promised is not on the disk, which is said");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_client_that_reads_no_answer_does_not_hold_up_the_stop() {
    let mut rig = Rig::new();
    rig.config.shutdown_timeout = Duration::from_secs(1);
    let broker = rig.start("a").await;
    let connection = Seams::real().network.connect(&broker.kafka_addresses()[0].1.to_string()).await.unwrap();
    let mut writer = connection.writer;
    // Answered with the name.
    let name = "?".repeat(30_000);
    let topic = MetadataRequestTopic { name: Some(name.as_str().into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
    let parts = encode_request_frame(1, None, &request, 1).unwrap();
    let frame: Vec<u8> = parts.iter().flat_map(memory_of).collect();
    // Until the broker takes no more: its own buffers, and those of both sockets, are full of answers.
    let seams = Seams::real();
    let sending = seams.spawner.spawn(async move { while writer.write_all(&frame).await.is_ok() {} });
    // A MiB of them, and the one that waits for room.
    let (full, settled) = ((1 << 20) / 30_000 + 1, 1000);
    while in_flight(&broker) < full {
        tokio::task::yield_now().await;
    }
    for _ in 0..settled {
        tokio::task::yield_now().await;
        assert!(in_flight(&broker) <= full, "more than a MiB of answers");
    }
    let began = Instant::now();
    assert!(broker.stop().await);
    assert!(began.elapsed() < Duration::from_secs(30));
    sending.abort();
    drop(connection.reader);
}

#[tokio::test]
async fn a_fetch_too_large_to_be_kept_is_answered_at_once() {
    let mut rig = Rig::new();
    rig.config.max_request_bytes = 64 << 10;
    rig.config.max_inflight_bytes = 128 << 10;
    rig.config.max_message_bytes = 32 << 10;
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(create(&client, "events").await, ErrorCode::NONE);
    let fetch = |partitions: usize| {
        let partition = FetchPartition { partition_max_bytes: 1, ..FetchPartition::default() };
        let topic = FetchTopic {
            topic: "events".into(),
            partitions: vec![partition; partitions],
            ..FetchTopic::default()
        };
        FetchRequest { max_wait_ms: 300_000, min_bytes: 1, topics: vec![topic], ..FetchRequest::default() }
    };
    let version = 11;
    let patience = Duration::from_secs(60);
    let large = client.send(fetch(1200), version, patience).await.unwrap().await.unwrap();
    assert_eq!(large.responses[0].partitions.len(), 1200);
    assert_eq!(broker.shared.budget.used(), 0);

    let small = client.send(fetch(1), version, patience).await.unwrap();
    while broker.shared.budget.used() == 0 {
        tokio::task::yield_now().await;
    }
    let other = self::client(&broker).await;
    append(&other, "events", "what it waits for").await;
    assert!(small.await.unwrap().responses[0].partitions[0].records.as_ref().is_some_and(|r| !r.is_empty()));
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_full_device_is_refused_in_one_sentence() {
    let rig = Rig::new();
    rig.faults.fill_up_to(10);
    let refused = rig.try_start("a").await.err().unwrap().sentence(Path::new("data"));
    assert_eq!(refused, "--data-dir data: cannot access meta.json: No space left on device (os error 28)");
    rig.faults.make_room();
    assert!(rig.start("a").await.stop().await);
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_is_called_one() {
    let rig = Rig::new();
    std::fs::write(rig.data_dir(), "").unwrap();
    let refused = rig.try_start("a").await.err().unwrap().sentence(Path::new("data"));
    assert_eq!(refused, "--data-dir data: the data directory cannot be used: it is a file, not a directory");
}

fn clean_mark(rig: &Rig) -> std::path::PathBuf {
    rig.data_dir().join("clean")
}

#[tokio::test]
async fn a_clean_stop_is_marked_last_and_the_mark_is_gone_before_anything_changes() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let first = client(&broker).await;
    assert_eq!(create(&first, "events").await, ErrorCode::NONE);
    append(&first, "events", "kept").await;
    assert!(!clean_mark(&rig).exists());
    assert!(broker.stop().await);
    assert!(clean_mark(&rig).exists());
    let epoch = {
        let broker = rig.start("b").await;
        assert!(!clean_mark(&rig).exists());
        let log = broker.shared.catalogue.partition("events", 0).unwrap();
        assert_eq!((log.state(), log.end_offset().0), (State::Online, 1));
        assert_eq!(append(&client(&broker).await, "events", "more").await, 1);
        assert!(broker.stop().await);
        log.leader_epoch()
    };
    // Nothing was written, so nothing is read or flushed; the leader epoch rises all the same.
    let flushes = rig.faults.flushes.load(Ordering::SeqCst);
    let broker = rig.start("b").await;
    let log = broker.shared.catalogue.partition("events", 0).unwrap();
    assert!(log.leader_epoch() > epoch);
    assert!(rig.faults.flushes.load(Ordering::SeqCst) <= flushes + 3, "meta.json, state.json, flush marks");
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_stale_clean_mark_is_not_believed() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    assert_eq!(create(&client(&broker).await, "events").await, ErrorCode::NONE);
    append(&client(&broker).await, "events", "first").await;
    assert!(broker.stop().await);
    let stale = std::fs::read(clean_mark(&rig)).unwrap();
    let broker = rig.start("a").await;
    append(&client(&broker).await, "events", "second").await;
    assert!(broker.stop().await);
    for content in [&stale[..], b"no mark at all"] {
        std::fs::write(clean_mark(&rig), content).unwrap();
        let broker = rig.start("a").await;
        let log = broker.shared.catalogue.partition("events", 0).unwrap();
        assert_eq!((log.state(), log.end_offset().0), (State::Online, 2));
        assert!(broker.stop().await);
    }
}

#[tokio::test]
async fn a_stop_with_a_partition_that_is_not_well_is_not_marked_clean() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let client = client(&broker).await;
    assert_eq!(create(&client, "events").await, ErrorCode::NONE);
    Faults::set(&rig.faults.flush_fails, true);
    call_by_name(&client, produce("events", 1, "x")).await;
    let log = broker.shared.catalogue.partition("events", 0).unwrap();
    while log.state() == State::Online {
        tokio::task::yield_now().await;
    }
    Faults::set(&rig.faults.flush_fails, false);
    broker.stop().await;
    assert!(!clean_mark(&rig).exists());
}

#[tokio::test]
async fn a_start_that_cannot_make_names_durable_serves_nothing() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    assert_eq!(create(&client(&broker).await, "events").await, ErrorCode::NONE);
    append(&client(&broker).await, "events", "kept").await;
    assert!(broker.stop().await);
    std::fs::remove_file(clean_mark(&rig)).unwrap();
    Faults::set(&rig.faults.sync_dir_fails, true);
    assert!(matches!(rig.try_start("a").await, Err(StartError::Topics(_))));
    Faults::set(&rig.faults.sync_dir_fails, false);
    // The data directory's own names, both of topics and trash, the topic's and the partition's.
    let before = rig.faults.dir_syncs.load(Ordering::SeqCst);
    let broker = rig.start("a").await;
    assert!(rig.faults.dir_syncs.load(Ordering::SeqCst) >= before + 5);
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_start_on_a_full_disk_takes_the_room_that_was_kept() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let peer = client(&broker).await;
    assert_eq!(create(&peer, "events").await, ErrorCode::NONE);
    append(&peer, "events", "kept").await;
    broker.shared.spare.fill().await;
    assert!(broker.stop().await);
    // Less than nothing: the mark of the clean stop goes, and is to give no room.
    rig.faults.fill_up_to(-1000);
    let broker = rig.start("a").await;
    let log = broker.shared.catalogue.partition("events", 0).unwrap();
    assert_eq!((log.state(), log.end_offset().0), (State::Online, 1));
    assert!(broker.stop().await);
}

#[tokio::test]
async fn a_topic_that_was_not_created_is_none_before_its_partitions_go() {
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let peer = client(&broker).await;
    *rig.faults.sync_fails_of.lock().unwrap() = Some("topics".into());
    assert_eq!(create(&peer, "events").await, ErrorCode::KAFKA_STORAGE_ERROR);
    let when = |what: &str| rig.faults.when(what).unwrap_or_else(|| panic!("{what}"));
    let steps = ["remove topics/events/topic.json", "remove_dir topics/events"].map(when);
    let synced_between =
        rig.faults.names.lock().unwrap()[steps[0]..steps[1]].contains(&"sync topics/events".to_owned());
    assert!(steps[0] < steps[1] && synced_between);
    *rig.faults.sync_fails_of.lock().unwrap() = None;
    assert_eq!(create(&peer, "events").await, ErrorCode::NONE);
    append(&peer, "events", "first").await;
    assert!(broker.stop().await);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_topic_that_grows_has_the_partitions_it_had_or_all_wherever_that_ends() {
    // What is left of the first attempt is in the way of the second, which is to 4.
    for first in [3, 6] {
        let mut changes = 0;
        while grow_after_dying(first, changes).await != ErrorCode::NONE {
            changes += 1;
        }
        assert!(changes > 10, "{changes} changes make {first} partitions of one");
    }
}

/// The disk dies after so many changes of growing to `first` partitions.
async fn grow_after_dying(first: i32, changes: i64) -> ErrorCode {
    let what = format!("{changes} changes of growing to {first}");
    let rig = Rig::new();
    let broker = rig.start("a").await;
    let peer = client(&broker).await;
    assert_eq!(create(&peer, "events").await, ErrorCode::NONE);
    append(&peer, "events", "kept").await;
    rig.faults.die_after(changes);
    let code = grow(&peer, "events", first).await;
    let killed = Rig::new();
    copy(&rig.data_dir(), &killed.data_dir());
    Faults::set(&rig.faults.dies, false);
    let has = |broker: &super::Broker| {
        let partitions = broker.shared.catalogue.by_name("events").unwrap().partitions.clone();
        assert!(partitions.iter().all(|log| log.state() == State::Online), "{what}");
        assert_eq!(partitions[0].end_offset().0, 1, "{what}");
        i32::try_from(partitions.len()).unwrap()
    };
    if code == ErrorCode::NONE {
        assert_eq!(has(&broker), first, "{what}");
    } else {
        assert_eq!((code, has(&broker)), (ErrorCode::KAFKA_STORAGE_ERROR, 1), "{what}");
        assert_eq!(grow(&peer, "events", 4).await, ErrorCode::NONE, "{what}");
        assert_eq!(has(&broker), 4, "{what}");
        assert!(broker.stop().await, "{what}");
        let broker = rig.start("a").await;
        assert_eq!(has(&broker), 4, "{what}");
        assert!(broker.stop().await, "{what}");
    }
    let broker = killed.start("a").await;
    let partitions = has(&broker);
    assert!(partitions == first || partitions == 1 && code != ErrorCode::NONE, "{what}: {partitions}");
    assert!(broker.stop().await, "{what}");
    code
}
