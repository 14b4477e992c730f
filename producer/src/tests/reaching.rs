//! Reaching brokers, topics and producer ids, and what is said when that fails.

use gapless_common::error_code::ErrorCode;

use super::*;
use crate::{BuildError, IdentityError, Rejection, TopicError};

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_not_there_is_named_with_stage_and_remedy_after_ten_seconds() {
    let fake = Fake::new(1);
    fake.cut(false);
    let begun = tokio::time::Instant::now();
    let result = builder(&fake).bootstrap_servers("fake:1,nobody:9092").build().await;
    let BuildError::Unreachable(unreachable) = result.err().unwrap() else { panic!("unreachable") };
    assert_eq!(begun.elapsed().as_secs(), 10);
    let stages: Vec<_> = unreachable.attempts.iter().map(|tried| (&*tried.address, tried.stage)).collect();
    assert_eq!(stages, [("fake:1", "connect"), ("nobody:9092", "name")]);
    let text = unreachable.to_string();
    for part in [
        "within 10s",
        "cannot connect to fake:1",
        "cannot resolve the host name of nobody:9092",
        "bootstrap_servers",
    ] {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_comes_a_little_later_is_waited_for() {
    let fake = Fake::new(1);
    fake.cut(false);
    let (producer, ()) = tokio::join!(builder(&fake).build(), async {
        tokio::time::sleep(3 * SECOND).await;
        fake.cut(true);
    });
    assert_eq!(all_told(send(&producer.unwrap(), 1).await).await, offsets(0..1));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_advertised_address_is_told_with_the_one_that_named_it() {
    let fake = Fake::new(1);
    fake.cluster().bootstrap = Some("front:9092".to_owned());
    fake.cut(false);
    let producer = builder(&fake).bootstrap_servers("front:9092").build().await.unwrap();
    let delivery = producer.send(record(0)).await.unwrap();
    tokio::time::sleep(10 * SECOND).await;
    let unreachable = producer.unreachable().unwrap();
    assert!(unreachable.after >= 9 * SECOND, "{unreachable:?}");
    let text = unreachable.to_string();
    for part in ["fake:1", "front:9092 answered", "--advertise"] {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    fake.cut(true);
    assert_eq!(told(delivery).await, Ok(0));
    assert_eq!(producer.unreachable(), None);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_loads_its_state_is_asked_again_in_silence() {
    let fake = Fake::new(1);
    fake.cluster().identity_errors.extend([ErrorCode::COORDINATOR_LOAD_IN_PROGRESS; 30]);
    let producer = producer(&fake).await;
    assert_eq!(all_told(send(&producer, 1).await).await, offsets(0..1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_producer_id_is_an_error_with_a_way_out() {
    let fake = Fake::new(1);
    fake.cluster().identity_errors.push_back(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    let error = builder(&fake).build().await.err().unwrap();
    assert!(matches!(error, BuildError::Identity(IdentityError::Refused { .. })), "{error}");
    assert!(error.to_string().contains("idempotence=false"), "{error}");
    let plain = builder(&fake).idempotence(false).build().await.unwrap();
    assert_eq!(all_told(send(&plain, 1).await).await, offsets(0..1));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_does_not_come_about_is_given_up_in_seconds() {
    let fake = Fake::new(0);
    let producer = producer(&fake).await;
    let begun = tokio::time::Instant::now();
    let error = producer.send(record(0)).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert!(matches!(error.reason, Rejection::Topic(TopicError::Missing { .. })), "{error}");
    assert!(error.to_string().contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_refused_is_given_up_at_once() {
    let fake = Fake::new(1);
    fake.cluster().topic_error = Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let producer = producer(&fake).await;
    let begun = tokio::time::Instant::now();
    let error = producer.send(record(0)).await.unwrap_err();
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert!(matches!(error.reason, Rejection::Topic(TopicError::Refused { .. })), "{error}");
    fake.cluster().topic_error = None;
    assert_eq!(all_told(send(&producer, 1).await).await, offsets(0..1), "asked again");
}

#[tokio::test(start_paused = true)]
async fn metadata_is_asked_for_when_it_is_old_and_not_otherwise() {
    let fake = Fake::new(1);
    let producer = producer(&fake).await;
    let _ = all_told(send(&producer, 1).await).await;
    let before = fake.cluster().metadata_asked;
    tokio::time::sleep(290 * SECOND).await;
    assert_eq!(fake.cluster().metadata_asked, before);
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(fake.cluster().metadata_asked, before + 1);
    assert_eq!(producer.stats().records_acked, 1);
}
