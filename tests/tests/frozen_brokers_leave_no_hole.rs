//! A broker that stands still for longer than the delivery timeout, with batches on their way: whatever was told of each
//! record is true, what was in doubt can be found out, and a sender that does so leaves a log without a hole.

use std::{fs, sync::atomic::Ordering, time::Duration};

use gapless_producer::{Producer, Record, Resume, SettledFate};
use gapless_tests::{
    broker::Broker,
    cli::{assert_ended, file, run, start},
    frozen::{Progress, Tally, send_without_a_hole},
    load::runtime,
    oracle::{number_of, value_of},
    raw::RawClient,
    wait::wait_until,
};
use serde_json::Value;

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

#[test]
fn publish_finds_out_what_is_in_doubt_and_its_next_run_goes_on_right_behind_it() {
    const LINES: u64 = 3000;
    let mut broker = Broker::start();
    RawClient::connect(broker.address()).create_topic(TOPIC);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut lines = Vec::new();
    for number in 0..LINES {
        lines.extend(value_of(number));
        lines.push(b'\n');
    }
    let input = file(folder.path(), "input", &lines);
    let [position, report] =
        ["position", "report"].map(|name| folder.path().join(name).display().to_string());
    let address = broker.address().to_owned();
    let go_on = ["publish", "--bootstrap-server", &address, "--topic", TOPIC, "--position-file", &position];
    let impatient =
        ["--request-timeout", "300ms", "--delivery-timeout", "600ms", "--retry-backoff-max", "50ms"];
    let slowly = ["--rate", "2000", "--settle", "60s", "--report", &report, &input];
    let process = start(go_on.iter().chain(&impatient).chain(&slowly));
    broker.wait_for_metric("gapless_broker_partition_high_watermark", &[("topic", TOPIC)], 300.0);
    broker.freeze();
    wait_until("publish to find out", || process.stderr().contains("finding out"));
    broker.thaw();
    let ended = process.end();
    assert_ended(&ended, 1, &["input:", "not written"]);
    let report = fs::read_to_string(&report).expect("the report is there");
    let told = |word: &str| report.lines().filter(|line| line.contains(word)).count();
    let acked = told("\"status\":\"acked\"");
    assert_eq!((told("\"status\":\"unknown\""), acked), (0, numbers(&broker).len()), "{ended:?}");
    let lines_told: Vec<Option<u64>> =
        report.lines().map(|line| serde_json::from_str::<Value>(line).ok()?["line"].as_u64()).collect();
    assert!(lines_told.iter().copied().eq((1..=lines_told.len() as u64).map(Some)), "in their order");
    let ended = run(go_on.iter().chain(&[input.as_str()]));
    assert_ended(&ended, 0, &[]);
    assert!(numbers(&broker).iter().copied().eq((0..LINES).map(Some)), "each once, in order");
}
