//! Against the mock cluster of librdkafka, which refuses, moves leaders and goes away on demand: what is told of each record is
//! true, and the log is what was acknowledged, in order.

use std::{fmt::Write as _, fs, time::Duration};

use gapless_producer::{
    Builder, Delivery, DeliveryError, Linger, Producer, RecordView, Rejection, Resume, SettledFate,
};
use gapless_tests::{
    cli::{self, assert_ended, file, summary},
    librdkafka::{Record, consume},
    load::runtime,
    mock::{Mock, PIPELINE},
    oracle::{number_of, value_of},
};
use serde_json::Value;

const TOPIC: &str = "mocked";
/// Records of a burst: a dozen batches, more than are on their way at once.
const BURST: u64 = 300;

fn builder(mock: &Mock) -> Builder {
    Producer::builder()
        .bootstrap_servers(mock.addresses())
        .retry_backoff(Duration::from_millis(1), Duration::from_millis(10))
        .batch_size(2048)
}

/// What was told of a record: its offset, or fate and reason.
type Told = Result<i64, String>;

async fn send(producer: &Producer, partition: i32, number: u64) -> Result<Delivery, Rejection> {
    let value = value_of(number);
    producer.topic(TOPIC).send(RecordView::new().value(&value).partition(partition)).await
}

async fn told(delivery: Delivery) -> Told {
    match delivery.await {
        Ok(acked) => Ok(acked.offset.expect("the mock says where").0),
        Err(error) => Err(label(&error)),
    }
}

fn label(error: &DeliveryError) -> String {
    format!("{} {}", error.fate(), error.cause().label())
}

/// Sends these numbers as fast as they are taken; what was told of each that was.
async fn burst(producer: &Producer, partition: i32, numbers: impl Iterator<Item = u64>) -> Vec<Told> {
    let mut deliveries = Vec::new();
    for number in numbers {
        match send(producer, partition, number).await {
            Ok(delivery) => deliveries.push(delivery),
            Err(Rejection::Halted(_)) => break,
            Err(other) => panic!("record {number}: {other}"),
        }
    }
    let mut all = Vec::new();
    for delivery in deliveries {
        all.push(told(delivery).await);
    }
    all
}

fn acked(offsets: std::ops::Range<i64>) -> Vec<Told> {
    offsets.map(Ok).collect()
}

/// The numbers in each partition's log, as librdkafka reads them.
fn numbers(mock: &Mock, partitions: i32) -> Vec<Vec<u64>> {
    let mut logs = vec![vec![]; usize::try_from(partitions).expect("not negative")];
    for Record { partition, offset, value, .. } in consume(&mock.addresses(), TOPIC, partitions) {
        let log = &mut logs[usize::try_from(partition).expect("not negative")];
        assert_eq!(offset, i64::try_from(log.len()).expect("not many"), "partition {partition}");
        log.push(value.as_deref().and_then(number_of).expect("a record that was sent"));
    }
    logs
}

#[test]
fn a_refusal_that_passes_costs_nothing() {
    const REFUSALS: [(&str, &[i16]); 13] = [
        ("CORRUPT_MESSAGE", &[2]),
        ("UNKNOWN_TOPIC_OR_PARTITION", &[3]),
        ("LEADER_NOT_AVAILABLE", &[5]),
        ("REQUEST_TIMED_OUT", &[7]),
        ("NETWORK_EXCEPTION", &[13]),
        ("NOT_ENOUGH_REPLICAS", &[19]),
        ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", &[20]),
        ("KAFKA_STORAGE_ERROR", &[56]),
        ("FENCED_LEADER_EPOCH", &[74]),
        ("THROTTLING_QUOTA_EXCEEDED", &[89]),
        ("one after the other", &[19, 7, 56, 2]),
        ("a connection that ends", &[]),
        ("OUT_OF_ORDER_SEQUENCE_NUMBER where nothing was acknowledged", &[45]),
    ];
    let mock = Mock::start(1);
    mock.create(TOPIC, 13);
    runtime().block_on(async {
        mock.refuse_ids(&[14, 15, 7]);
        let producer = builder(&mock).build().await.expect("passing refusals of an id are outlived");
        for (partition, (what, codes)) in (0..).zip(REFUSALS) {
            let first = if codes == [45] {
                // Its one batch on its way starts over in another epoch: nothing can be missing yet.
                mock.refuse(&[45, 45]);
                vec![]
            } else {
                let first = burst(&producer, partition, 0..1).await;
                match what {
                    "a connection that ends" => mock.cut(PIPELINE),
                    _ => mock.refuse(&codes.repeat(PIPELINE + 1)),
                }
                first
            };
            let from = first.len() as u64;
            let rest = burst(&producer, partition, from..BURST).await;
            assert_eq!([first, rest].concat(), acked(0..300), "{what}");
            mock.relent();
        }
        assert!(producer.halts().is_empty());
    });
    let expected: Vec<u64> = (0..BURST).collect();
    for (log, (what, _)) in numbers(&mock, 13).into_iter().zip(REFUSALS) {
        assert_eq!(log, expected, "{what}");
    }
}

#[test]
fn a_refusal_for_good_halts_and_nothing_behind_it_gets_in() {
    const REFUSALS: [(&str, i16, &str); 12] = [
        ("TOPIC_AUTHORIZATION_FAILED", 29, "not_written refused"),
        ("CLUSTER_AUTHORIZATION_FAILED", 31, "not_written refused"),
        ("INVALID_TOPIC_EXCEPTION", 17, "not_written refused"),
        ("RECORD_LIST_TOO_LARGE", 18, "not_written refused"),
        ("INVALID_REQUIRED_ACKS", 21, "not_written refused"),
        ("INVALID_TIMESTAMP", 32, "not_written refused"),
        ("POLICY_VIOLATION", 44, "not_written refused"),
        ("INVALID_RECORD", 87, "not_written refused"),
        // Whatever struck inside the broker may have struck after the append.
        ("UNKNOWN_SERVER_ERROR", -1, "unknown refused"),
        ("INVALID_PRODUCER_EPOCH", 47, "not_written fenced"),
        // One was acknowledged, and the log does not go on behind it.
        ("OUT_OF_ORDER_SEQUENCE_NUMBER", 45, "not_written log_diverged"),
        ("UNKNOWN_PRODUCER_ID", 59, "not_written log_diverged"),
    ];
    let mock = Mock::start(1);
    mock.create(TOPIC, 12);
    runtime().block_on(async {
        let producer = builder(&mock).build().await.expect("the mock is there");
        for (partition, (what, code, first_fate)) in (0..).zip(REFUSALS) {
            assert_eq!(burst(&producer, partition, 0..1).await, acked(0..1), "{what}");
            mock.refuse(&[code; PIPELINE]);
            let fates = burst(&producer, partition, 1..BURST).await;
            mock.relent();
            assert_eq!(fates[0], Err(first_fate.to_owned()), "{what}");
            for fate in &fates {
                let fate = fate.as_ref().expect_err(what);
                assert!(fate == first_fate || fate.ends_with(" behind"), "{what}: {fate}");
                // What was on its way beside it met the same; what was not is certainly not there.
                assert!(
                    first_fate.starts_with("unknown") || fate.starts_with("not_written"),
                    "{what}: {fate}"
                );
            }
            assert!(send(&producer, partition, 1).await.is_err(), "{what}: the partition is halted");
            let halts = producer.halts();
            let [halt] = &halts[..] else { panic!("{what}: {halts:?}") };
            producer.resume(TOPIC, partition, halt.generation, Resume::Skip).await.expect("it is halted");
            assert_eq!(burst(&producer, partition, 1000..1100).await, acked(1..101), "{what}");
        }
    });
    let expected: Vec<u64> = std::iter::once(0).chain(1000..1100).collect();
    for (log, (what, ..)) in numbers(&mock, 12).into_iter().zip(REFUSALS) {
        assert_eq!(log, expected, "{what}");
    }
}

#[test]
fn a_batch_too_large_goes_out_in_halves_and_a_record_too_large_is_named() {
    let mock = Mock::start(1);
    mock.create(TOPIC, 2);
    runtime().block_on(async {
        let producer = builder(&mock)
            .batch_size(64 * 1024)
            .linger(Linger::Fixed(Duration::from_millis(20)))
            .build()
            .await
            .expect("the mock is there");
        mock.refuse(&[10, 10]);
        assert_eq!(burst(&producer, 0, 0..40).await, acked(0..40));
        assert!(producer.stats().retries > 0);
        mock.refuse(&[10]);
        assert_eq!(burst(&producer, 1, 0..1).await, [Err("not_written refused".to_owned())]);
    });
    assert_eq!(numbers(&mock, 2), [(0..40).collect(), vec![]]);
}

/// Each was answered with "perhaps" first, and refused for good when it was sent again.
#[test]
fn what_may_have_been_written_is_unknown_until_it_is_settled() {
    let mock = Mock::start(1);
    mock.create(TOPIC, 1);
    let mut expected: Vec<u64> = vec![0];
    runtime().block_on(async {
        let producer = builder(&mock).build().await.expect("the mock is there");
        assert_eq!(burst(&producer, 0, 0..1).await, acked(0..1));
        mock.dawdle(Duration::from_millis(5));
        mock.refuse(&[[7; PIPELINE], [87; PIPELINE]].concat());
        let fates = burst(&producer, 0, 1..BURST).await;
        mock.relent();
        assert_eq!(fates[0], Err("unknown refused".to_owned()));
        let in_doubt = fates.iter().filter(|fate| matches!(fate, Err(told) if told.starts_with("unknown")));
        let in_doubt = in_doubt.count();
        assert!(in_doubt > 0 && in_doubt < fates.len(), "{in_doubt} of {}", fates.len());
        let halt = producer.halts().pop().expect("it is halted");
        let settle = Resume::Settle(Duration::from_secs(60));
        let settled = producer.resume(TOPIC, 0, halt.generation, settle).await.expect("it is halted");
        assert!(settled.is_certain() && settled.halt.is_none(), "{settled}");
        // Sent again as they were, in their order, and only those.
        let last = in_doubt as u64;
        expected.extend(1..=last);
        let written = settled.records().filter(|fate| matches!(fate, SettledFate::Acked { .. })).count();
        assert_eq!(written, in_doubt);
        let next = i64::try_from(expected.len()).expect("not many");
        assert_eq!(burst(&producer, 0, last + 1..BURST).await, acked(next..300));
        expected.extend(last + 1..BURST);
    });
    assert_eq!(numbers(&mock, 1), [expected]);
}

/// The backoff is longer than the delivery timeout: who waits for it loses.
#[test]
fn a_leader_that_a_refusal_names_is_followed_at_once() {
    let mock = Mock::start(3);
    mock.create(TOPIC, 2);
    mock.dawdle(Duration::from_millis(5));
    mock.lead(TOPIC, 0, 1);
    mock.lead(TOPIC, 1, 1);
    let minute = Duration::from_secs(60);
    runtime().block_on(async {
        let producer = builder(&mock)
            .retry_backoff(minute, minute)
            .request_timeout(minute / 6)
            .delivery_timeout(minute / 2)
            .build()
            .await
            .expect("the mock is there");
        for round in 0..9 {
            let from = i64::from(round) * 300;
            for partition in 0..2 {
                mock.lead(TOPIC, partition, 1 + (round + partition) % 3);
            }
            let numbers = |partition| burst(&producer, partition, from as u64..from as u64 + BURST);
            let (zero, one) = tokio::join!(numbers(0), numbers(1));
            assert_eq!((zero, one), (acked(from..from + 300), acked(from..from + 300)), "round {round}");
        }
        assert!(producer.stats().retries > 0);
    });
    let expected: Vec<u64> = (0..9 * BURST).collect();
    assert_eq!(numbers(&mock, 2), [expected.clone(), expected]);
}

#[test]
fn a_broker_that_goes_away_is_waited_for_and_another_leader_is_found() {
    let mock = Mock::start(2);
    mock.create(TOPIC, 1);
    mock.lead(TOPIC, 0, 1);
    runtime().block_on(async {
        let producer = builder(&mock).build().await.expect("the mock is there");
        assert_eq!(burst(&producer, 0, 0..BURST).await, acked(0..300));
        for (round, leader) in [(1, 1), (2, 2), (3, 1)] {
            mock.down(if round == 3 { 2 } else { 1 });
            let from = round * 300;
            let waiting = burst(&producer, 0, from as u64..from as u64 + BURST);
            let help = async {
                // Long enough for some attempts in vain; what is seen at the end does not depend on it.
                tokio::time::sleep(Duration::from_millis(50)).await;
                mock.lead(TOPIC, 0, leader);
                if round != 2 {
                    mock.up(1);
                }
            };
            let (fates, ()) = tokio::join!(waiting, help);
            assert_eq!(fates, acked(from..from + 300), "round {round}");
        }
        assert!(producer.stats().reconnects > 0);
    });
    assert_eq!(numbers(&mock, 1), [(0..4 * BURST).collect::<Vec<u64>>()]);
}

#[test]
fn publish_delivers_through_all_of_it_and_verify_proves_it() {
    let mock = Mock::start(2);
    mock.create("lines", 2);
    mock.dawdle(Duration::from_millis(2));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let lines = (0..5000).fold(String::new(), |mut lines, number| {
        writeln!(lines, "key-{}:line {number}", number % 97).expect("memory takes it");
        lines
    });
    let (input, report) = (file(folder.path(), "input", lines.as_bytes()), folder.path().join("acks"));
    let report = report.to_str().expect("its name is text");
    mock.refuse(&[6, 6, 6, 6, 6, 19, 19, 19, 19, 19, 7, 7, 7, 7, 7, 56, 56, 56, 56, 56]);
    let addresses = mock.addresses();
    let common = ["--bootstrap-server", &addresses, "--topic", "lines", "--output", "json"];
    let flags = ["--key-delimiter", ":", "--batch-size", "2048", "--retry-backoff", "1ms"];
    let more = ["--retry-backoff-max", "10ms", "--report", report, &input];
    let ended = cli::run(["publish"].iter().chain(&common).chain(&flags).chain(&more));
    assert_ended(&ended, 0, &[]);
    assert_eq!(summary(&ended)["records"], 5000);
    assert!(summary(&ended)["retries"].as_u64() > Some(0), "{ended:?}");
    let ended = cli::run(["verify"].iter().chain(&common).chain(&["--exclusive", "--report", report]));
    assert_ended(&ended, 0, &[]);
    assert_eq!(summary(&ended)["proven_records"], 5000);
    assert_eq!(consume(&addresses, "lines", 2).len(), 5000);
}

#[test]
fn publish_names_the_line_that_was_refused_and_the_report_tells_of_each() {
    let mock = Mock::start(1);
    mock.create("lines", 1);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let lines: String = (0..400).map(|number| format!("line {number}\n")).collect();
    let (input, report) = (file(folder.path(), "input", lines.as_bytes()), folder.path().join("acks"));
    mock.refuse(&[44; 4 * PIPELINE]);
    let addresses = mock.addresses();
    let flags = ["--bootstrap-server", &addresses, "--topic", "lines", "--batch-size", "1024"];
    let more = ["--report", report.to_str().expect("its name is text"), &input];
    let ended = cli::run(["publish"].iter().chain(&flags).chain(&more));
    assert_ended(&ended, 1, &["input:1: not written to lines-0", "POLICY_VIOLATION (44)"]);
    let report = fs::read_to_string(&report).expect("the report is there");
    let told: Vec<Value> =
        report.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert!(!told.is_empty());
    for (number, line) in (1..).zip(&told) {
        assert_eq!((&line["status"], &line["line"]), (&"not_written".into(), &Value::from(number)), "{line}");
    }
    mock.relent();
    assert!(consume(&addresses, "lines", 1).is_empty());
}
