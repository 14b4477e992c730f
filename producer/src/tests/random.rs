//! Seeded disorder: every answer may be lost, late or refused, connections are cut, and yet what was acknowledged stands in
//! the log once, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gapless_common::error_code::ErrorCode;
use gapless_common::seam::Random;

use super::*;
use crate::fake::Plan;
use crate::observer::Event;
use crate::{Acked, Halt, OnFailure, RecordView, Resume, SettledFate};

fn plan(random: &Random) -> Plan {
    match random.below(24) {
        0 | 1 => Plan::Cut,
        2 | 3 => Plan::AppendAndCut,
        4 => Plan::Silence,
        5 => Plan::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        6 => Plan::Refuse(ErrorCode::CORRUPT_MESSAGE),
        7 => Plan::AppendAnd(ErrorCode::KAFKA_STORAGE_ERROR),
        8 => Plan::AppendAnd(ErrorCode::REQUEST_TIMED_OUT),
        9 => Plan::Refuse(ErrorCode::INVALID_RECORD),
        10..12 => Plan::Late(Duration::from_millis(random.below(3000))),
        _ => Plan::Serve,
    }
}

/// What was sent to a partition, and what is known of it.
#[derive(Default)]
struct Sent {
    records: Vec<(String, Delivery)>,
    /// What settles found out, by position.
    found: std::collections::BTreeMap<usize, SettledFate>,
    /// Records before this one are no concern of the next settle.
    resumed_at: usize,
}

impl Sent {
    /// Settles the halt, and skips what that leaves.
    async fn resume(&mut self, producer: &Producer, halt: &Halt, settles: bool, within: Duration) {
        let partition = halt.partition.partition.0;
        let mut generation = halt.generation;
        if settles {
            let told = |at: &usize| match self.found.get(at) {
                Some(SettledFate::Unknown(_)) | None => {
                    matches!(self.records[*at].1.try_result(), Some(Err(DeliveryError::Unknown(_))))
                }
                Some(_) => false,
            };
            let unknown: Vec<usize> = (self.resumed_at..self.records.len()).filter(told).collect();
            let settled = producer.resume("t", partition, generation, Resume::Settle(within)).await.unwrap();
            let found: Vec<SettledFate> = settled.records().collect();
            assert_eq!(found.len(), unknown.len(), "{settled}");
            self.found.extend(unknown.into_iter().zip(found));
            let Some(again) = settled.halt else {
                self.resumed_at = self.records.len();
                return;
            };
            generation = again.generation;
        }
        producer.resume("t", partition, generation, Resume::Skip).await.unwrap();
        self.resumed_at = self.records.len();
    }
}

async fn disorder(seed: u64) {
    let random = Random::from_seed(seed);
    let fake = Fake::new(3);
    let skip = random.below(2) == 0;
    let settles = random.below(3) > 0;
    let resolved = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&resolved);
    let producer = Producer::builder()
        .bootstrap_servers("fake:1")
        .observer(Arc::new(move |event: &Event| {
            if let Event::Resolved { batch, .. } = event {
                counter.fetch_add(u64::from(batch.records), Ordering::Relaxed);
            }
        }))
        .seams(fake.seams(seed))
        .batch_size(512 + usize::try_from(random.below(4000)).unwrap())
        .buffer_memory(16_384)
        .request_timeout(2 * SECOND)
        .delivery_timeout(20 * SECOND)
        .on_failure(if skip { OnFailure::Skip } else { OnFailure::Halt })
        .build()
        .await
        .unwrap();
    fake.plan((0..200).map(|_| plan(&random)));
    let topic = producer.topic("t");
    let mut sent: Vec<Sent> = (0..3).map(|_| Sent::default()).collect();
    for number in 0..2000u64 {
        let partition = usize::try_from(random.below(3)).unwrap();
        let value = format!("{number}:{}", "x".repeat(usize::try_from(random.below(100)).unwrap()));
        let view = RecordView::new().value(value.as_bytes()).partition(i32::try_from(partition).unwrap());
        match topic.send(view).await {
            Ok(delivery) => sent[partition].records.push((value, delivery)),
            Err(crate::Rejection::Halted(halt)) => {
                let within = Duration::from_millis(random.below(20_000));
                sent[partition].resume(&producer, &halt, settles, within).await;
            }
            Err(other) => panic!("seed {seed}: {other}"),
        }
        match random.below(100) {
            0 => tokio::time::sleep(Duration::from_millis(random.below(2000))).await,
            1..20 => tokio::task::yield_now().await,
            _ => {}
        }
    }
    let _ = producer.flush(60 * SECOND).await;
    for halt in producer.halts() {
        let partition = usize::try_from(halt.partition.partition.0).unwrap();
        sent[partition].resume(&producer, &halt, settles, 20 * SECOND).await;
    }
    for (partition, sent) in sent.into_iter().enumerate() {
        let log = fake.log("t", partition);
        let mut last = None;
        for (at, (value, delivery)) in sent.records.into_iter().enumerate() {
            let places: Vec<usize> = (0..log.len()).filter(|at| log[*at] == value).collect();
            let told = match (delivery.await, sent.found.get(&at)) {
                (Err(error), Some(SettledFate::Acked { base, .. })) => {
                    let partition = Arc::clone(&error.failure().partition);
                    Ok(Acked { partition, offset: *base, timestamp_ms: 0 })
                }
                (Err(error), Some(SettledFate::NotWritten)) => {
                    Err(DeliveryError::NotWritten(error.failure().clone()))
                }
                (told, _) => told,
            };
            match told {
                Ok(ack) => {
                    assert_eq!(
                        places.len(),
                        1,
                        "seed {seed}: {value} was acknowledged and stands at {places:?}"
                    );
                    let place = i64::try_from(places[0]).unwrap();
                    assert!(
                        ack.offset.is_none_or(|offset| offset.0 == place),
                        "seed {seed}: {ack:?}, at {place}"
                    );
                    assert!(last < Some(place), "seed {seed}: {value} is out of order");
                    last = Some(place);
                }
                Err(DeliveryError::NotWritten(failure)) => {
                    assert!(
                        places.is_empty(),
                        "seed {seed}: {value} is called not written ({})",
                        failure.cause
                    );
                }
                Err(DeliveryError::Unknown(_)) => {
                    assert!(places.len() <= 1, "seed {seed}: {value} at {places:?}")
                }
            }
        }
    }
    assert_eq!(producer.handle_memory_used(), 0, "seed {seed}");
    assert_eq!(producer.stats().records_under_way(), 0, "seed {seed}");
    let admitted = producer.stats().records_admitted;
    assert_eq!(resolved.load(Ordering::Relaxed), admitted, "seed {seed}: observers are told of each once");
}

#[test]
fn acknowledged_records_stand_once_and_in_order_whatever_fails() {
    for seed in 0..60 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let within = tokio::time::timeout(3600 * SECOND, disorder(seed)).await;
            within.unwrap_or_else(|_| panic!("seed {seed} hangs"));
        });
    }
}
