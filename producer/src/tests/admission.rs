//! Room, waiting for it, and what is refused at the door.

use std::task::{Context, Waker};

use gapless_common::types::PartitionId;

use super::*;
use crate::fake::Plan;
use crate::{HeaderRef, Permit, RecordView, Rejection, Resume, Topic};

/// A producer whose buffer holds four batches of 1000 bytes, with one request that is not answered for ten seconds.
async fn tight(fake: &Fake) -> Producer {
    let producer = builder(fake).batch_size(1000).buffer_memory(4000).build().await.unwrap();
    producer.send(record(0)).await.unwrap().await.unwrap();
    fake.plan([Plan::Late(10 * SECOND)]);
    producer
}

#[tokio::test(start_paused = true)]
async fn send_waits_for_room_and_try_send_gives_the_record_back() {
    let fake = Fake::new(1);
    let producer = tight(&fake).await;
    let mut deliveries = Vec::new();
    let large = |at: u8| Record::new("t").value(vec![at; 700]);
    let full = loop {
        match producer.try_send(large(b'a')) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(full.reason, Rejection::Full { limit: 4000, .. }), "{full}");
    assert_eq!(*full.record, large(b'a'));
    assert_eq!(deliveries.len(), 4);
    let begun = tokio::time::Instant::now();
    deliveries.push(producer.send(large(b'z')).await.unwrap());
    assert!(begun.elapsed() >= 9 * SECOND, "it waited for the answer: {:?}", begun.elapsed());
    assert_eq!(all_told(deliveries).await, offsets(1..6));
    assert_eq!(producer.handle_memory_used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_dropped_while_it_waits_has_sent_nothing() {
    let fake = Fake::new(1);
    let producer = tight(&fake).await;
    while producer.try_send(Record::new("t").value(vec![b'a'; 700])).is_ok() {
        tokio::task::yield_now().await;
    }
    {
        let mut waiting = Box::pin(producer.send(Record::new("t").value(vec![b'n'; 700])));
        for _ in 0..3 {
            assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            tokio::task::yield_now().await;
        }
    }
    producer.flush(20 * SECOND).await.unwrap();
    assert!(fake.log("t", 0).iter().all(|value| !value.starts_with('n')));
    assert_eq!(producer.handle_memory_used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_dropped_at_any_moment_leaves_nothing_behind() {
    // From before its first poll to after it has got what it waited for; and then with its delivery.
    for moments in 0..16 {
        let fake = Fake::new(1);
        let producer = tight(&fake).await;
        let large = |letter| Record::new("t").value(vec![letter; 700]);
        while producer.try_send(large(b'a')).is_ok() {
            tokio::task::yield_now().await;
        }
        let mut first = Box::pin(producer.send(large(b'n')));
        let mut behind = Box::pin(producer.send(large(b'b')));
        let mut context = Context::from_waker(Waker::noop());
        let mut admitted = None;
        for moment in 0..moments {
            if admitted.is_none()
                && let std::task::Poll::Ready(delivery) = first.as_mut().poll(&mut context)
            {
                admitted = Some(delivery.unwrap());
            }
            assert!(admitted.is_some() || behind.as_mut().poll(&mut context).is_pending(), "in line");
            tokio::time::sleep(if moment < 8 { SECOND / 10 } else { 2 * SECOND }).await;
        }
        let expected = usize::from(admitted.is_some());
        drop((first, admitted));
        // Whoever stood behind gets its turn.
        drop(behind.await.unwrap());
        producer.flush(60 * SECOND).await.unwrap();
        assert_eq!(producer.handle_memory_used(), 0, "dropped after {moments} polls");
        let sent = |letter| fake.log("t", 0).iter().filter(|value| value.starts_with(letter)).count();
        assert_eq!((sent('n'), sent('b')), (expected, 1), "dropped after {moments} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_dropped_loses_no_record() {
    let fake = Fake::new(1);
    let producer = builder(&fake).build().await.unwrap();
    fake.plan([Plan::Late(SECOND), Plan::Cut]);
    for (number, mut delivery) in send(&producer, 10).await.into_iter().enumerate() {
        // Awaited for a while, or not at all.
        if number % 2 == 0 {
            assert!(tokio::time::timeout(SECOND / 10, &mut delivery).await.is_err());
        }
    }
    assert_eq!(told(producer.send(record(10)).await.unwrap()).await, Ok(10));
    assert_eq!(fake.log("t", 0), numbers(0..11));
}

#[test]
fn handles_and_futures_go_wherever_a_task_goes() {
    fn is_send<T: Send>(_: T) {}
    // Never run: it compiles.
    let _ = |producer: &Producer, topic: &Topic, permit: Permit| {
        is_send(builder(&Fake::new(1)).build());
        is_send((producer.send(record(0)), producer.reserve("t", 1), topic.send(RecordView::new())));
        is_send((producer.flush(SECOND), producer.close(SECOND), topic.partition_count()));
        is_send(producer.resume("t", 0, 1, Resume::Settle(SECOND)));
        is_send(permit);
    };
}

#[tokio::test(start_paused = true)]
async fn a_permit_admits_without_waiting() {
    let fake = Fake::new(1);
    let producer = tight(&fake).await;
    let permit = producer.reserve("t", 100).await.unwrap();
    let unused = producer.reserve("t", 100).await.unwrap();
    while producer.try_send(Record::new("t").value(vec![b'a'; 700])).is_ok() {
        tokio::task::yield_now().await;
    }
    let delivery = permit.send(RecordView::new().value(&[b'p'; 100])).unwrap();
    assert!(matches!(
        unused.send(RecordView::new().value(&[b'p'; 101])),
        Err(Rejection::ReservationTooSmall { size: 101, reserved: 100 })
    ));
    assert!(told(delivery).await.is_ok());
    producer.flush(20 * SECOND).await.unwrap();
    assert_eq!(producer.handle_memory_used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reserve_that_is_dropped_at_any_moment_leaves_nothing_behind() {
    // From before its first poll to after it has got what it waited for; and with the permit unused.
    for moments in 0..16 {
        let fake = Fake::new(1);
        let producer = tight(&fake).await;
        while producer.try_send(Record::new("t").value(vec![b'a'; 700])).is_ok() {
            tokio::task::yield_now().await;
        }
        {
            let mut first = Box::pin(producer.reserve("t", 300));
            let mut behind = Box::pin(producer.reserve("t", 300));
            let mut context = Context::from_waker(Waker::noop());
            let mut reserved = None;
            for moment in 0..moments {
                if reserved.is_none()
                    && let std::task::Poll::Ready(permit) = first.as_mut().poll(&mut context)
                {
                    reserved = Some(permit.unwrap());
                }
                assert!(reserved.is_some() || behind.as_mut().poll(&mut context).is_pending(), "in line");
                tokio::time::sleep(if moment < 8 { SECOND / 10 } else { 2 * SECOND }).await;
            }
            drop(first);
            drop(reserved);
            // Whoever stood behind gets its turn.
            drop(behind.await.unwrap());
        }
        producer.flush(60 * SECOND).await.unwrap();
        assert_eq!(producer.handle_memory_used(), 0, "dropped after {moments} polls");
        assert_eq!(fake.log("t", 0).iter().filter(|value| !value.starts_with('a')).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_refused_at_the_door() {
    let fake = Fake::new(2);
    let producer = builder(&fake).batch_size(1000).buffer_memory(4000).build().await.unwrap();
    let unknown = producer.try_send(record(0)).unwrap_err();
    assert!(matches!(unknown.reason, Rejection::NotYetKnown { .. }), "{unknown}");
    producer.topic("t").partition_count().await.unwrap();
    drop(producer.try_send(record(0)).unwrap());
    let large = producer.send(Record::new("t").value(vec![0; 1000])).await.unwrap_err();
    assert!(matches!(large.reason, Rejection::TooLarge { limit: 1000, .. }), "{large}");
    assert!(large.to_string().contains("raise it"), "{large}");
    for partition in [2, -1] {
        let nowhere = producer.send(record(0).partition(partition)).await.unwrap_err();
        assert_eq!(
            nowhere.reason,
            Rejection::NoSuchPartition { topic: "t".into(), partition: PartitionId(partition), count: 2 }
        );
    }
    assert!(matches!(producer.reserve("t", 2000).await, Err(Rejection::TooLarge { .. })));
}

#[tokio::test(start_paused = true)]
async fn records_of_every_shape_fill_batches_to_the_brim_and_no_further() {
    let fake = Fake::new(1);
    let producer = builder(&fake).batch_size(1000).build().await.unwrap();
    let topic = producer.topic("t");
    let value = vec![b'v'; 900];
    let headers = [HeaderRef { key: "h", value: Some(b"x") }, HeaderRef { key: "n", value: None }];
    let mut deliveries = Vec::new();
    for round in 0..2000 {
        let mut view = RecordView::new().value(&value[..round * 7 % 880]);
        if round % 3 == 0 {
            view = view.headers(&headers);
        }
        deliveries.push(topic.send(view).await.unwrap());
    }
    assert_eq!(all_told(deliveries).await, offsets(0..2000));
    let log = fake.log("t", 0);
    assert!((0..2000).all(|round| log[round].len() == round * 7 % 880));
    let stats = producer.stats();
    assert!(stats.batch_fill() > 0.5 && stats.batch_fill() <= 1.0, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_sends_lets_the_sender_run() {
    let fake = Fake::new(1);
    let producer = builder(&fake).batch_size(65_536).build().await.unwrap();
    let topic = producer.topic("t");
    let value = vec![b'v'; 1000];
    topic.partition_count().await.unwrap();
    // Never awaits anything but `send`, and the buffer never fills.
    for _ in 0..20_000 {
        drop(topic.send(RecordView::new().value(&value)).await.unwrap());
    }
    assert!(producer.stats().records_acked > 0, "{:?}", producer.stats());
}

#[tokio::test(start_paused = true)]
async fn clones_share_one_order() {
    let fake = Fake::new(1);
    let producer = producer(&fake).await;
    let clone = producer.clone();
    let mut deliveries = Vec::new();
    for number in 0..100 {
        let by = if number % 2 == 0 { &producer } else { &clone };
        deliveries.push(by.send(record(number)).await.unwrap());
    }
    drop(producer);
    assert_eq!(all_told(deliveries).await, offsets(0..100));
    assert_eq!(fake.log("t", 0), numbers(0..100));
}
