//! A broker that stands still for longer than the delivery timeout, with batches on their way: whatever was told of each
//! record is true, what was in doubt can be found out, and a sender that does so leaves a log without a hole.

use std::{sync::atomic::Ordering, time::Duration};

use gapless_producer::{Producer, Record, Resume, SettledFate};
use gapless_tests::{
    broker::Broker,
    frozen::{Progress, Tally, send_without_a_hole},
    oracle::{number_of, value_of},
    raw::RawClient,
    wait::wait_until,
};

const TOPIC: &str = "frozen";

async fn producer(broker: &Broker) -> Producer {
    Producer::builder()
        .bootstrap_servers(broker.address())
        .request_timeout(Duration::from_millis(300))
        .delivery_timeout(Duration::from_millis(600))
        .retry_backoff(Duration::from_millis(5), Duration::from_millis(50))
        .batch_size(4096)
        .build()
        .await
        .expect("the broker is there")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

fn numbers(broker: &Broker) -> Vec<Option<u64>> {
    let read = RawClient::connect(broker.address()).fetch_all(TOPIC, 0);
    read.iter().map(|(_, value)| number_of(value)).collect()
}

#[test]
fn what_a_frozen_broker_leaves_in_doubt_is_settled_once_it_goes_on() {
    let mut broker = Broker::start();
    RawClient::connect(broker.address()).create_topic(TOPIC);
    runtime().block_on(async {
        let producer = producer(&broker).await;
        let record = |number| Record::new(TOPIC).value(value_of(number));
        producer.send(record(0)).await.expect("there is room").await.expect("all is well");
        broker.freeze();
        let in_doubt = producer.send(record(1)).await.expect("there is room");
        let told = in_doubt.await.expect_err("nobody answers");
        assert_eq!(told.fate(), "unknown", "{told}");
        let halt = producer.halts().pop().expect("the partition is halted");
        let settle = |generation, within| producer.resume(TOPIC, 0, generation, Resume::Settle(within));
        let settled = settle(halt.generation, Duration::from_millis(100)).await.expect("it is halted");
        assert!(!settled.is_certain(), "{settled}");
        let generation = settled.halt.expect("nothing is known yet").generation;
        broker.thaw();
        let settled = settle(generation, Duration::from_secs(60)).await.expect("it is halted");
        assert_eq!(settled.halt, None, "{settled}");
        let fates: Vec<SettledFate> = settled.records().collect();
        assert!(
            matches!(fates[..], [SettledFate::Acked { base: Some(base), .. }] if base.0 == 1),
            "{fates:?}"
        );
        producer.send(record(2)).await.expect("there is room").await.expect("all is well");
    });
    assert_eq!(numbers(&broker), [Some(0), Some(1), Some(2)]);
}

#[test]
fn a_sender_that_settles_leaves_no_hole_through_freezes_past_the_delivery_timeout() {
    let mut broker = Broker::start();
    RawClient::connect(broker.address()).create_topic(TOPIC);
    let progress = Progress::default();
    let runtime = runtime();
    let producer = runtime.block_on(producer(&broker));
    let tally: Tally = std::thread::scope(|scope| {
        let sending = scope.spawn(|| runtime.block_on(send_without_a_hole(&producer, TOPIC, &progress)));
        for _ in 0..2 {
            let (written, halts) =
                (progress.written.load(Ordering::Relaxed), progress.halts.load(Ordering::Relaxed));
            wait_until("records to be written", || progress.written.load(Ordering::Relaxed) > written + 500);
            broker.freeze();
            wait_until("the partition to halt", || progress.halts.load(Ordering::Relaxed) > halts);
            broker.thaw();
        }
        let written = progress.written.load(Ordering::Relaxed);
        wait_until("records to be written", || progress.written.load(Ordering::Relaxed) > written + 500);
        progress.enough.store(true, Ordering::Relaxed);
        sending.join().expect("the sender was told nothing that cannot be")
    });
    assert!(tally.halts >= 2 && tally.in_doubt > 0, "{tally:?}");
    let read = numbers(&broker);
    assert!(read.iter().copied().eq((0..tally.written).map(Some)), "{tally:?}: {} in the log", read.len());
}
