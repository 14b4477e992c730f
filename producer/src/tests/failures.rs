//! What goes wrong, and what is then said.

use gapless_common::error_code::ErrorCode;

use super::*;
use crate::fake::{Plan, Topic};
use crate::{FlushError, OnFailure, Rejection, Resume, ResumeError};

#[tokio::test(start_paused = true)]
async fn what_a_lost_connection_leaves_in_doubt_is_sent_again_and_stands_once() {
    for plan in [Plan::Cut, Plan::AppendAndCut, Plan::Silence] {
        let fake = Fake::new(1);
        let producer = producer(&fake).await;
        let mut deliveries = send(&producer, 1).await;
        fake.plan([plan]);
        tokio::time::sleep(SECOND).await;
        deliveries.extend(send(&producer, 9).await);
        let told = all_told(deliveries).await;
        assert_eq!(told, offsets(0..10), "{plan:?}");
        assert_eq!(fake.log("t", 0).len(), 10, "{plan:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retriable_errors_are_retried_in_silence() {
    let fake = Fake::new(1);
    let producer = producer(&fake).await;
    fake.plan([
        Plan::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Plan::Refuse(ErrorCode::CORRUPT_MESSAGE),
        Plan::AppendAnd(ErrorCode::REQUEST_TIMED_OUT),
        Plan::AppendAnd(ErrorCode::KAFKA_STORAGE_ERROR),
    ]);
    assert_eq!(all_told(send(&producer, 5).await).await, offsets(0..5));
    assert_eq!(producer.stats().retries, 4);
}

#[tokio::test(start_paused = true)]
async fn a_failed_record_halts_its_partition_until_someone_resumes() {
    let fake = Fake::new(1);
    let producer = producer(&fake).await;
    assert_eq!(all_told(send(&producer, 1).await).await, offsets(0..1));
    fake.plan([Plan::Late(SECOND), Plan::Refuse(ErrorCode::INVALID_RECORD)]);
    let first = producer.send(record(1)).await.unwrap();
    tokio::time::sleep(SECOND / 2).await;
    let second = producer.send(record(2)).await.unwrap();
    assert_eq!(told(first).await, Err("not_written refused".to_owned()));
    assert_eq!(told(second).await, Err("not_written behind".to_owned()));

    let refused = producer.send(record(3)).await.unwrap_err();
    assert_eq!(*refused.record, record(3), "given back");
    let Rejection::Halted(halt) = refused.reason else { panic!("halted") };
    assert_eq!((halt.generation, halt.partition.to_string().as_str()), (1, "t-0"));
    assert!(producer.try_send(record(3)).is_err());
    for _ in 0..2 {
        assert!(matches!(producer.flush(SECOND).await, Err(FlushError::Halted(halts)) if halts.len() == 1));
    }
    assert_eq!(producer.halts(), [halt]);
    assert!(matches!(
        producer.resume("t", 0, 2, Resume::Skip).await,
        Err(ResumeError::OtherGeneration { named: 2, current: 1, .. })
    ));
    producer.resume("t", 0, 1, Resume::Skip).await.unwrap();
    assert!(matches!(producer.resume("t", 0, 1, Resume::Skip).await, Err(ResumeError::NotHalted { .. })));
    producer.flush(SECOND).await.unwrap();
    assert_eq!(all_told(send(&producer, 3).await).await, offsets(1..4));
    let stats = producer.stats();
    assert_eq!((stats.records_acked, stats.records_not_written, stats.records_unknown), (4, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn who_skips_failures_goes_on_behind_them() {
    let fake = Fake::new(1);
    let producer = builder(&fake).on_failure(OnFailure::Skip).build().await.unwrap();
    fake.plan([Plan::Refuse(ErrorCode::INVALID_RECORD)]);
    assert_eq!(told(producer.send(record(0)).await.unwrap()).await, Err("not_written refused".to_owned()));
    assert_eq!(all_told(send(&producer, 3).await).await, offsets(0..3));
    producer.flush(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_delivery_timeout_tells_the_sent_from_the_unsent() {
    let fake = Fake::new(2);
    let producer = producer(&fake).await;
    let topic = producer.topic("t");
    topic.send(crate::RecordView::new().value(b"a").partition(0)).await.unwrap().await.unwrap();
    fake.plan([Plan::Silence; 1000]);
    let begun = tokio::time::Instant::now();
    let sent = topic.send(crate::RecordView::new().value(b"b").partition(0)).await.unwrap();
    tokio::time::sleep(SECOND).await;
    fake.cut(false);
    let unsent = topic.send(crate::RecordView::new().value(b"c").partition(1)).await.unwrap();
    let error = unsent.await.unwrap_err();
    assert_eq!(label(&error), "not_written delivery_timeout");
    assert!(error.to_string().contains("cannot connect to fake:1"), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 121);
    assert_eq!(told(sent).await, Err("unknown delivery_timeout".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn close_ends_what_is_left_and_says_what_is_known_of_it() {
    for by_drop in [false, true] {
        let fake = Fake::new(1);
        let producer = builder(&fake).max_in_flight(1).build().await.unwrap();
        let topic = producer.topic("t");
        topic.send(crate::RecordView::new().value(b"a").partition(0)).await.unwrap().await.unwrap();
        fake.plan([Plan::Silence]);
        let sent = topic.send(crate::RecordView::new().value(b"b").partition(0)).await.unwrap();
        tokio::time::sleep(SECOND).await;
        let unsent = topic.send(crate::RecordView::new().value(b"c").partition(0)).await.unwrap();
        if by_drop {
            drop(topic);
            drop(producer);
        } else {
            assert!(matches!(producer.close(SECOND).await, Err(FlushError::Timeout { records: 2, .. })));
            let refused = producer.send(record(9)).await.unwrap_err();
            assert_eq!(refused.reason, Rejection::Closed);
            assert_eq!(producer.handle_memory_used(), 0);
        }
        assert_eq!(told(sent).await, Err("unknown closed".to_owned()));
        assert_eq!(told(unsent).await, Err("not_written closed".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_in_time_loses_nothing() {
    let fake = Fake::new(3);
    let producer = producer(&fake).await;
    let deliveries = send(&producer, 1000).await;
    producer.close(SECOND).await.unwrap();
    assert!(all_told(deliveries).await.iter().all(Result::is_ok));
    assert!(matches!(producer.resume("t", 0, 1, Resume::Skip).await, Err(ResumeError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_topic_created_again_is_noticed() {
    let fake = Fake::new(1);
    let producer = builder(&fake).metadata_age_max(5 * SECOND).build().await.unwrap();
    assert_eq!(all_told(send(&producer, 3).await).await, offsets(0..3));
    fake.cluster().topics.insert("t".to_owned(), Topic::new(77, vec![1]));
    tokio::time::sleep(6 * SECOND).await;
    let refused = producer.send(record(9)).await.unwrap_err();
    assert!(refused.reason.to_string().contains("deleted and created again"), "{refused}");
    producer.resume("t", 0, 1, Resume::Skip).await.unwrap();
    assert_eq!(all_told(send(&producer, 3).await).await, offsets(0..3));
}

#[tokio::test(start_paused = true)]
async fn a_topic_created_again_gets_nothing_that_was_meant_for_its_old_self() {
    // Nobody has told the producer; and without sequences nothing but the id stands in the way.
    for idempotent in [true, false] {
        let fake = Fake::new(1);
        let producer = builder(&fake).idempotence(idempotent).build().await.unwrap();
        assert_eq!(all_told(send(&producer, 3).await).await, offsets(0..3));
        fake.cluster().topics.insert("t".to_owned(), Topic::new(77, vec![1]));
        let told = all_told(send(&producer, 2).await).await;
        assert_eq!(told, vec![Err("not_written topic_recreated".to_owned()); 2]);
        assert_eq!(fake.log("t", 0), Vec::<String>::new());
        producer.resume("t", 0, 1, Resume::Skip).await.unwrap();
        assert_eq!(all_told(send(&producer, 3).await).await, offsets(0..3));
        assert!(fake.cluster().produce_versions.iter().all(|version| *version == 13));
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_gone_is_waited_for_until_the_delivery_timeout() {
    let fake = Fake::new(1);
    let producer = builder(&fake).auto_create_topics(false).build().await.unwrap();
    fake.cluster().topics.insert("t".to_owned(), Topic::new(1, vec![1]));
    assert_eq!(all_told(send(&producer, 1).await).await, offsets(0..1));
    let old = fake.cluster().topics.remove("t").unwrap();
    let delivery = producer.send(record(1)).await.unwrap();
    tokio::time::sleep(5 * SECOND).await;
    assert!(delivery.try_result().is_none());
    // The same topic, by a broker that had not loaded it.
    fake.cluster().topics.insert("t".to_owned(), old);
    assert_eq!(told(delivery).await, Ok(1));
    fake.cluster().topics.remove("t");
    let delivery = producer.send(record(2)).await.unwrap();
    assert_eq!(told(delivery).await, Err("not_written delivery_timeout".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn brokers_that_know_topics_by_name_alone_are_served_by_name() {
    let fake = Fake::new(2);
    fake.cluster().produce_version_max = Some(12);
    let producer = producer(&fake).await;
    assert!(all_told(send(&producer, 10).await).await.iter().all(Result::is_ok));
    assert!(fake.cluster().produce_versions.iter().all(|version| *version == 12));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_acknowledged_records_is_not_passed_over() {
    let fake = Fake::new(1);
    let producer = producer(&fake).await;
    assert_eq!(all_told(send(&producer, 3).await).await, offsets(0..3));
    // The broker comes back without its log, under the same topic id.
    let id = fake.cluster().topics["t"].id;
    fake.cluster().topics.insert("t".to_owned(), Topic::new(id, vec![1]));
    let error = producer.send(record(9)).await.unwrap().await.unwrap_err();
    assert_eq!(label(&error), "not_written log_diverged");
}

#[test]
fn deliveries_resolve_when_the_runtime_goes() {
    let fake = Fake::new(1);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (producer, sent, unsent) = runtime.block_on(async {
        let producer = producer(&fake).await;
        let _ = all_told(send(&producer, 1).await).await;
        fake.plan([Plan::Silence]);
        let sent = producer.send(record(1)).await.unwrap();
        tokio::time::sleep(SECOND).await;
        let unsent = producer.send(record(2)).await.unwrap();
        (producer, sent, unsent)
    });
    drop(runtime);
    let told = |delivery: &Delivery| label(&delivery.try_result().expect("resolved").unwrap_err());
    assert_eq!(told(&sent), "unknown abandoned");
    assert_eq!(told(&unsent), "not_written abandoned");
    assert_eq!(producer.try_send(record(3)).unwrap_err().reason, Rejection::Closed);
}
