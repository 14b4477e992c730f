//! Records that get where they should.

use std::time::Duration;

use gapless_common::error_code::ErrorCode;

use super::*;
use crate::fake::{Plan, Topic};
use crate::{Acks, Compression, Linger, Partitioner, RecordView, Rejection};

#[tokio::test(start_paused = true)]
async fn a_lone_record_goes_out_at_once_and_comes_back_with_its_place() {
    let fake = Fake::new(1);
    let producer = producer(&fake).await;
    producer.send(record(0)).await.unwrap().await.unwrap();
    let begun = tokio::time::Instant::now();
    let ack = producer.send(record(1).timestamp(1_700_000_000_000)).await.unwrap().await.unwrap();
    assert_eq!((ack.partition.to_string().as_str(), ack.offset.unwrap().0), ("t-0", 1));
    assert_eq!(ack.timestamp_ms, 1_700_000_000_000);
    assert!(begun.elapsed().is_zero(), "it waited for nothing: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_out_as_one_request_and_not_one_by_one() {
    let fake = Fake::new(1);
    let producer = producer(&fake).await;
    let deliveries = send(&producer, 500).await;
    assert_eq!(all_told(deliveries).await, offsets(0..500));
    let batches: Vec<i32> = fake.produced().iter().flatten().map(|(_, _, _, records)| *records).collect();
    assert_eq!(batches, [500]);
    assert_eq!(fake.log("t", 0), numbers(0..500));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_cold_partitions_share_a_request() {
    let fake = Fake::new(1000);
    let producer = producer(&fake).await;
    let topic = producer.topic("t");
    let mut deliveries = Vec::new();
    for partition in 0..1000 {
        deliveries.push(topic.send(RecordView::new().value(b"cold").partition(partition)).await.unwrap());
    }
    assert_eq!(all_told(deliveries).await, vec![Ok(0); 1000]);
    assert_eq!(fake.produced().len(), 1);
    assert_eq!(fake.cluster().connections, 1, "one connection carries everything");
}

#[tokio::test(start_paused = true)]
async fn five_requests_are_under_way_at_once_and_no_more() {
    let fake = Fake::new(1);
    let producer = builder(&fake).batch_size(1000).build().await.unwrap();
    producer.send(record(0)).await.unwrap().await.unwrap();
    fake.plan([Plan::Late(SECOND)]);
    let topic = producer.topic("t");
    let value = vec![b'x'; 900];
    let deliveries: Vec<_> = {
        let mut all = Vec::new();
        for _ in 0..20 {
            all.push(topic.send(RecordView::new().value(&value)).await.unwrap());
        }
        all
    };
    tokio::time::sleep(SECOND / 2).await;
    // The fake serves a connection one request after the other: the others wait in its stream.
    assert_eq!(producer.stats().records_acked, 1);
    assert_eq!(all_told(deliveries).await, offsets(1..21));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_linger_waits_and_a_flush_does_not() {
    let fake = Fake::new(1);
    let producer = builder(&fake).linger(Linger::Fixed(20 * SECOND)).build().await.unwrap();
    let begun = tokio::time::Instant::now();
    let deliveries = send(&producer, 3).await;
    assert_eq!(all_told(deliveries).await, offsets(0..3));
    assert_eq!(begun.elapsed().as_secs(), 20);
    let deliveries = send(&producer, 3).await;
    producer.flush(SECOND).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 20);
    assert_eq!(all_told(deliveries).await, offsets(3..6));
}

#[tokio::test(start_paused = true)]
async fn keys_stay_together_and_records_without_one_spread_by_bytes() {
    let fake = Fake::new(4);
    let producer = builder(&fake).batch_size(2000).build().await.unwrap();
    let topic = producer.topic("t");
    let mut keyed = Vec::new();
    for _ in 0..10 {
        keyed.push(topic.send(RecordView::new().key(b"user-7").value(b"v")).await.unwrap());
    }
    let first = keyed[0].partition().partition;
    assert!(keyed.iter().all(|delivery| delivery.partition().partition == first));
    let value = vec![b'x'; 400];
    let mut counts = [0usize; 4];
    for _ in 0..400 {
        let delivery = topic.send(RecordView::new().value(&value)).await.unwrap();
        counts[usize::try_from(delivery.partition().partition.0).unwrap()] += 1;
    }
    producer.flush(SECOND).await.unwrap();
    assert!(counts.iter().all(|count| *count > 40), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn records_take_turns_or_must_name_their_partition() {
    let fake = Fake::new(3);
    let turns = builder(&fake).partitioner(Partitioner::RoundRobin).build().await.unwrap();
    turns.topic("t").partition_count().await.unwrap();
    let mut chosen = Vec::new();
    for number in 0..6 {
        let record = if number % 2 == 0 { record(number) } else { record(number).key("k") };
        chosen.push(turns.send(record).await.unwrap().partition().partition.0);
    }
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
    let explicit = builder(&fake).partitioner(Partitioner::Explicit).build().await.unwrap();
    let refused = explicit.send(record(0).key("k")).await.unwrap_err();
    assert!(matches!(refused.reason, Rejection::NoPartitionNamed { .. }), "{refused}");
    let delivery = explicit.send(record(0).partition(2)).await.unwrap();
    assert_eq!(delivery.partition().partition.0, 2);
    turns.flush(SECOND).await.unwrap();
    explicit.flush(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_partition_follows_its_leader() {
    let fake = Fake::new(0);
    fake.cluster().brokers.insert(2, ("fake:2".to_owned(), true));
    fake.cluster().topics.insert("t".to_owned(), Topic::new(1, vec![1]));
    let producer = producer(&fake).await;
    assert_eq!(all_told(send(&producer, 3).await).await, offsets(0..3));
    fake.cluster().topics.get_mut("t").unwrap().lead(0, 2);
    assert_eq!(all_told(send(&producer, 3).await).await, offsets(3..6));
    assert!(producer.stats().retries > 0);
    // Without a leader it waits for one.
    fake.cluster().topics.get_mut("t").unwrap().lead(0, -1);
    let deliveries = send(&producer, 3).await;
    tokio::time::sleep(5 * SECOND).await;
    assert!(deliveries[0].try_result().is_none());
    fake.cluster().topics.get_mut("t").unwrap().lead(0, 1);
    assert_eq!(all_told(deliveries).await, offsets(6..9));
}

#[tokio::test(start_paused = true)]
async fn weaker_acks_work() {
    let fake = Fake::new(1);
    let leader = builder(&fake).acks(Acks::Leader).build().await.unwrap();
    assert_eq!(all_told(send(&leader, 3).await).await, offsets(0..3));
    assert!(fake.produced().iter().flatten().all(|(_, _, sequence, _)| *sequence == -1));
    let none = builder(&fake).acks(Acks::None).build().await.unwrap();
    assert_eq!(all_told(send(&none, 3).await).await, vec![Ok(-1); 3], "written, and nobody says where");
    none.close(SECOND).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(fake.log("t", 0).len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_batch_too_large_is_split_until_it_fits() {
    for compression in [Compression::None, Compression::Lz4].into_iter().filter(|codec| codec.is_built()) {
        let fake = Fake::new(1);
        fake.cluster().records_max = Some(3);
        let producer = builder(&fake).compression(compression, None).build().await.unwrap();
        let deliveries = send(&producer, 20).await;
        assert_eq!(all_told(deliveries).await, offsets(0..20));
        assert_eq!(fake.log("t", 0), numbers(0..20));
        let stats = producer.stats();
        assert_eq!((stats.records_acked, stats.records_under_way()), (20, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn memory_is_given_back_to_the_last_byte() {
    let fake = Fake::new(3);
    let codec = if Compression::Zstd.is_built() { Compression::Zstd } else { Compression::None };
    let producer = builder(&fake).compression(codec, None).batch_size(4096).build().await.unwrap();
    fake.plan([Plan::Cut, Plan::Serve, Plan::Refuse(ErrorCode::MESSAGE_TOO_LARGE), Plan::AppendAndCut]);
    let _ = all_told(send(&producer, 3000).await).await;
    producer.flush(SECOND).await.unwrap();
    assert_eq!(producer.handle_memory_used(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_is_closed_costs_no_wait() {
    let fake = Fake::new(1);
    let producer = producer(&fake).await;
    let _ = all_told(send(&producer, 1).await).await;
    fake.cut(true);
    tokio::time::sleep(SECOND).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(all_told(send(&producer, 1).await).await, offsets(1..2));
    assert!(begun.elapsed() < Duration::from_millis(5), "{:?}", begun.elapsed());
    assert_eq!(producer.stats().reconnects, 1);
}

#[tokio::test(start_paused = true)]
async fn partitions_that_are_always_full_leave_the_others_their_share() {
    let fake = Fake::new(6);
    let producer = builder(&fake).batch_size(1_000_000).buffer_memory(64_000_000).build().await.unwrap();
    let topic = producer.topic("t");
    topic.partition_count().await.unwrap();
    let value = vec![b'x'; 900_000];
    // Five partitions with ten full batches each are more than several requests take.
    for number in 0..50 {
        drop(topic.try_send(RecordView::new().value(&value).partition(number % 5)).unwrap());
    }
    let small = topic.try_send(RecordView::new().value(b"small").partition(5)).unwrap();
    assert_eq!(told(small).await, Ok(0));
    let before = fake.produced().iter().flatten().filter(|(_, partition, _, _)| *partition != 5).count();
    assert!(before < 30, "{before} large batches went out before the small one");
    producer.flush(SECOND).await.unwrap();
}
