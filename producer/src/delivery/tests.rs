use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gapless_common::types::{Offset, PartitionId};

use super::*;

fn batch(records: u32) -> (Resolver, Vec<Delivery>) {
    let name = Arc::new(PartitionName { topic: "events".into(), partition: PartitionId(1) });
    let cell = BatchCell::new(name);
    let deliveries = (0..records).map(|at| Arc::clone(&cell).delivery(at, 1000 + i64::from(at))).collect();
    (Resolver::new(cell), deliveries)
}

fn offset(delivery: &Delivery) -> Option<i64> {
    delivery.try_result()?.ok()?.offset.map(|offset| offset.0)
}

fn acked(base: i64) -> Fate {
    Fate::Acked { base: Some(Offset(base)), append_time_ms: None }
}

#[tokio::test]
async fn each_record_gets_its_own_offset_and_timestamp() {
    let (resolver, deliveries) = batch(3);
    assert!(deliveries.iter().all(|delivery| delivery.try_result().is_none()));
    drop(resolver.resolve(acked(40)));
    for (at, delivery) in (0..).zip(deliveries) {
        let ack = delivery.await.unwrap();
        assert_eq!((ack.offset, ack.timestamp_ms), (Some(Offset(40 + at)), 1000 + at));
        assert_eq!(ack.partition.to_string(), "events-1");
    }
}

#[tokio::test]
async fn the_brokers_time_stands_where_it_gives_one() {
    let (resolver, mut deliveries) = batch(1);
    drop(resolver.resolve(Fate::Acked { base: None, append_time_ms: Some(77) }));
    let ack = deliveries.remove(0).await.unwrap();
    assert_eq!((ack.offset, ack.timestamp_ms), (None, 77));
}

#[test]
fn a_dropped_resolver_says_what_it_knows() {
    let (resolver, deliveries) = batch(1);
    drop(resolver);
    assert!(matches!(deliveries[0].try_result(), Some(Err(DeliveryError::NotWritten(_)))));
    let (mut resolver, deliveries) = batch(1);
    resolver.sent = true;
    drop(resolver);
    assert!(matches!(deliveries[0].try_result(), Some(Err(DeliveryError::Unknown(_)))));
}

#[test]
fn one_delivery_answers_for_those_behind_it_in_its_batch() {
    let (resolver, deliveries) = batch(10);
    let (_, others) = batch(1);
    assert!(deliveries[2].shares_batch_with(&deliveries[7]));
    assert!(!deliveries[2].shares_batch_with(&others[0]));
    assert!(deliveries[2].try_result_behind(5).is_none());
    let [first, second] = resolver.split(4);
    drop(second);
    drop(first.resolve(acked(100)));
    for (at, delivery) in (0..8).zip(deliveries.iter().skip(2)) {
        let (told, own) = (deliveries[2].try_result_behind(at).unwrap(), delivery.try_result().unwrap());
        assert_eq!(told.map(|ack| ack.offset), own.map(|ack| ack.offset));
    }
}

#[test]
fn parts_of_a_split_batch_have_fates_of_their_own() {
    let (resolver, deliveries) = batch(10);
    let [first, second] = resolver.split(5);
    let [one, other] = first.split(2);
    drop(other.resolve(acked(102)));
    drop(one.resolve(acked(100)));
    assert_eq!(offset(&deliveries[0]), None, "not before all parts are known");
    drop(second.resolve(Fate::NotWritten(Arc::new(Cause::Closed))));
    let offsets: Vec<Option<i64>> = deliveries.iter().map(offset).collect();
    assert_eq!(offsets[..5], [Some(100), Some(101), Some(102), Some(103), Some(104)]);
    assert!(
        deliveries[5..].iter().all(|d| matches!(d.try_result(), Some(Err(DeliveryError::NotWritten(_)))))
    );
}

#[test]
fn a_delivery_that_goes_away_leaves_no_waiter_behind() {
    let (resolver, mut deliveries) = batch(2);
    let mut context = Context::from_waker(Waker::noop());
    for delivery in &mut deliveries {
        assert!(Pin::new(&mut *delivery).poll(&mut context).is_pending());
        assert!(Pin::new(delivery).poll(&mut context).is_pending(), "polled twice, waits once");
    }
    drop(deliveries.pop());
    drop(resolver.resolve(acked(0)));
    let Poll::Ready(Ok(ack)) = Pin::new(&mut deliveries[0]).poll(&mut context) else { panic!("resolved") };
    assert_eq!(ack.offset, Some(Offset(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_waiting_for_many_batches_all_wake() {
    let mut tasks = tokio::task::JoinSet::new();
    let mut resolvers = Vec::new();
    for _ in 0..100 {
        let (resolver, deliveries) = batch(20);
        resolvers.push(resolver);
        for delivery in deliveries {
            tasks.spawn(delivery);
        }
    }
    for resolver in resolvers {
        drop(resolver.resolve(acked(7)));
        tokio::task::yield_now().await;
    }
    let mut woken = 0;
    while let Some(result) = tasks.join_next().await {
        assert!(result.unwrap().unwrap().offset.unwrap().0 >= 7);
        woken += 1;
    }
    assert_eq!(woken, 2000);
}
