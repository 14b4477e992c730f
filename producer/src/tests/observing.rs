//! What observers are told, and that they can break nothing.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use gapless_common::error_code::ErrorCode;

use super::*;
use crate::fake::Plan;
use crate::observer::{BatchInfo, Event, Observer};
use crate::{Fate, OnFailure, Resume, SettledFate};

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Observer for Diary {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(words(event));
    }
}

impl Diary {
    fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(self.clone())
    }

    /// What was written since the last time.
    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// The same without connections, requests and attempts.
    fn read_turns(&self) -> Vec<String> {
        let traffic = ["connected", "answered", "sent", "retried"];
        self.read().into_iter().filter(|line| !traffic.iter().any(|word| line.contains(word))).collect()
    }
}

fn words(event: &Event) -> String {
    let name = |batch: &BatchInfo| {
        assert!(batch.size <= batch.size_uncompressed && batch.size > 61, "{batch:?}");
        format!("#{} ({} to {})", batch.number, batch.records, batch.partition)
    };
    match event {
        Event::Sent { batch, attempt, broker, .. } => {
            format!("{} sent to {broker}, attempt {attempt}", name(batch))
        }
        Event::Answered { broker, batches, .. } => format!("{broker} answered {batches}"),
        Event::Retried { partition, reason } => format!("{partition} retried: {reason}"),
        Event::Resolved { batch, fate, .. } => match fate {
            Fate::Acked { base, .. } => {
                format!("{} acked at {}", name(batch), base.map_or(-1, |base| base.0))
            }
            Fate::NotWritten(cause) => format!("{} not written: {}", name(batch), cause.label()),
            Fate::Unknown(cause) => format!("{} unknown: {}", name(batch), cause.label()),
        },
        Event::Halted(halt) => format!("{} halted, {}", halt.partition, halt.generation),
        Event::Settled { batch, fate } => match fate {
            SettledFate::Acked { base, .. } => {
                format!("{} settled at {}", name(batch), base.map_or(-1, |base| base.0))
            }
            other => format!("{} settled: {other:?}", name(batch)),
        },
        Event::Resumed { partition, generation } => format!("{partition} resumed, {generation}"),
        Event::Connected { broker, address, again } => {
            format!("connected to {broker} at {address}{}", if *again { " again" } else { "" })
        }
        Event::Disconnected { broker, address, .. } => format!("disconnected from {broker} at {address}"),
        Event::NotConnected { broker, attempt } => format!("not connected to {broker}: {}", attempt.stage),
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_followed_from_its_first_attempt_to_its_fate() {
    let (fake, diary) = (Fake::new(1), Diary::default());
    let producer = builder(&fake).observer(diary.observer()).build().await.unwrap();
    assert_eq!(told(producer.send(record(0)).await.unwrap()).await, Ok(0));
    assert_eq!(
        diary.read(),
        [
            "connected to 1 at fake:1",
            "#0 (1 to t-0) sent to 1, attempt 1",
            "1 answered 1",
            "#0 (1 to t-0) acked at 0"
        ],
        "all before the delivery resolved"
    );
    fake.plan([Plan::AppendAndCut]);
    assert_eq!(told(producer.send(record(1)).await.unwrap()).await, Ok(1));
    assert_eq!(
        diary.read(),
        [
            "#1 (1 to t-0) sent to 1, attempt 1",
            "t-0 retried: disconnected",
            "disconnected from 1 at fake:1",
            "connected to 1 at fake:1 again",
            "#1 (1 to t-0) sent to 1, attempt 2",
            "1 answered 1",
            "#1 (1 to t-0) acked at 1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_halves_of_a_batch_keep_its_number_and_each_record_is_resolved_once() {
    let (fake, diary) = (Fake::new(1), Diary::default());
    fake.cluster().records_max = Some(2);
    let producer = builder(&fake).observer(diary.observer()).build().await.unwrap();
    assert_eq!(all_told(send(&producer, 4).await).await, offsets(0..4));
    assert_eq!(
        diary.read()[1..],
        [
            "#0 (4 to t-0) sent to 1, attempt 1",
            "1 answered 1",
            "t-0 retried: split",
            "#0 (2 to t-0) sent to 1, attempt 2",
            "1 answered 1",
            "#0 (2 to t-0) acked at 0",
            "#0 (2 to t-0) sent to 1, attempt 2",
            "1 answered 1",
            "#0 (2 to t-0) acked at 2",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_is_told_of_too_and_so_is_a_broker_that_is_gone() {
    let (fake, diary) = (Fake::new(1), Diary::default());
    let producer = builder(&fake).observer(diary.observer()).build().await.unwrap();
    assert_eq!(told(producer.send(record(0)).await.unwrap()).await, Ok(0));
    fake.cut(false);
    tokio::time::sleep(SECOND).await;
    diary.read();
    let told = all_told(send(&producer, 2).await).await;
    assert_eq!(told, vec![Err("not_written delivery_timeout".to_owned()); 2]);
    let diary = diary.read();
    assert!(diary.iter().filter(|line| *line == "not connected to 1: connect").count() > 10, "{diary:?}");
    assert_eq!(diary[diary.len() - 2..], ["#1 (2 to t-0) not written: delivery_timeout", "t-0 halted, 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_halt_and_how_the_partition_goes_on_are_told() {
    let (fake, diary) = (Fake::new(1), Diary::default());
    let producer = builder(&fake)
        .observer(diary.observer())
        .request_timeout(SECOND)
        .delivery_timeout(3 * SECOND)
        .max_in_flight(1)
        .build()
        .await
        .unwrap();
    assert_eq!(told(producer.send(record(0)).await.unwrap()).await, Ok(0));
    fake.plan([Plan::AppendAndCut]);
    fake.plan([Plan::Silence; 100]);
    let doubtful = producer.send(record(1)).await.unwrap();
    tokio::time::sleep(SECOND / 10).await;
    let behind = producer.send(record(2)).await.unwrap();
    assert_eq!(told(doubtful).await, Err("unknown delivery_timeout".to_owned()));
    assert_eq!(told(behind).await, Err("not_written behind".to_owned()));
    assert_eq!(
        diary.read_turns(),
        [
            "#0 (1 to t-0) acked at 0",
            "#1 (1 to t-0) unknown: delivery_timeout",
            "t-0 halted, 1",
            "#2 (1 to t-0) not written: behind"
        ]
    );

    // In vain at first.
    let settled = producer.resume("t", 0, 1, Resume::Settle(2 * SECOND)).await.unwrap();
    assert_eq!(settled.halt.map(|halt| halt.generation), Some(2));
    assert_eq!(diary.read_turns(), ["t-0 halted, 2"]);
    fake.cluster().plan.clear();
    assert_eq!(producer.resume("t", 0, 2, Resume::Settle(5 * SECOND)).await.unwrap().halt, None);
    assert_eq!(diary.read_turns(), ["#1 (1 to t-0) settled at 1", "t-0 resumed, 2"]);

    fake.plan([Plan::Refuse(ErrorCode::INVALID_RECORD)]);
    assert_eq!(told(producer.send(record(3)).await.unwrap()).await, Err("not_written refused".to_owned()));
    producer.resume("t", 0, 3, Resume::Skip).await.unwrap();
    assert_eq!(diary.read_turns(), ["#3 (1 to t-0) not written: refused", "t-0 halted, 3", "t-0 resumed, 3"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_breaks_nothing_and_is_told_nothing_more() {
    let (fake, diary) = (Fake::new(1), Diary::default());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let producer = builder(&fake)
        .observer(Arc::new(move |event: &Event| {
            if matches!(event, Event::Resolved { .. }) {
                counted.fetch_add(1, Ordering::Relaxed);
                panic!("an observer's own trouble");
            }
        }))
        .observer(diary.observer())
        .build()
        .await
        .unwrap();
    for number in 0..3 {
        let offset = i64::try_from(number).unwrap();
        assert_eq!(told(producer.send(record(number)).await.unwrap()).await, Ok(offset));
    }
    producer.close(SECOND).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(diary.read().iter().filter(|line| line.contains("acked")).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_use_the_producer_since_no_lock_is_held() {
    let fake = Fake::new(1);
    let known: Arc<OnceLock<Producer>> = Arc::default();
    let own = Arc::clone(&known);
    let observer = move |event: &Event| {
        let Some(producer) = own.get() else { return };
        assert!(producer.stats().records_admitted > 0);
        assert!(producer.unreachable().is_none());
        let halts = producer.halts();
        if let Event::Halted(halt) = event {
            assert_eq!(halts, [Arc::clone(halt)]);
            let resumed = pin!(producer.resume("t", 0, halt.generation, Resume::Skip));
            let polled = resumed.poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Ok(_))));
            drop(producer.try_send(record(77)).unwrap());
        }
    };
    let producer =
        builder(&fake).on_failure(OnFailure::Halt).observer(Arc::new(observer)).build().await.unwrap();
    known.set(producer.clone()).ok().unwrap();
    fake.plan([Plan::Refuse(ErrorCode::INVALID_RECORD)]);
    assert_eq!(told(producer.send(record(0)).await.unwrap()).await, Err("not_written refused".to_owned()));
    producer.flush(SECOND).await.unwrap();
    assert_eq!(fake.log("t", 0), ["77"]);
    producer.close(SECOND).await.unwrap();
}
