//! `bench` sends what it was asked to send, and tells what it measured as text, as JSON and as a picture.

use std::{fs, path::Path};

use gapless_tests::{
    broker::Broker,
    cli::{run, summary},
    librdkafka::{consume, create_topic},
    process::Ended,
};
use serde_json::Value;

fn bench(broker: &Broker, flags: &[&str]) -> Ended {
    let fixed = ["bench", "--bootstrap-server", broker.address(), "--topic", "load"];
    run(fixed.iter().chain(flags))
}

fn number(outcome: &Value, name: &str) -> f64 {
    outcome[name].as_f64().unwrap_or_else(|| panic!("{name} is no number in {outcome}"))
}

#[test]
fn records_due_at_a_rate_are_sent_and_counted_without_the_warm_up() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("plot.svg");
    let flags =
        ["--rate", "2000", "--records", "500", "--warm-up", "100ms", "--partitions", "2", "--keys", "10"];
    let output = ["--record-size", "300", "--output", "json", "--plot", plot.to_str().unwrap()];
    let ended = bench(&broker, &[&flags[..], &output].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let outcome = summary(&ended);
    assert_eq!((&outcome["records"], &outcome["failed"]), (&500.into(), &0.into()));
    assert_eq!(number(&outcome, "bytes"), 500.0 * 312.0);
    let latency = &outcome["latency_ms"];
    let percentiles = ["min", "p50", "p90", "p99", "p999", "p9999", "max"].map(|name| number(latency, name));
    assert!(percentiles.is_sorted() && percentiles[0] > 0.0, "{latency}");
    for name in ["requests", "batches", "batch_fill", "records_per_batch", "bytes_sent"] {
        assert!(number(&outcome, name) > 0.0, "{name}: {outcome}");
    }
    // What was sent to warm up is in the topic, and nowhere in the result.
    let read = consume(broker.address(), "load", 2);
    assert!(read.len() > 500, "{}", read.len());
    assert!(read.iter().all(|record| record.value.as_ref().is_some_and(|value| value.len() == 300)));
    let keys: std::collections::BTreeSet<_> = read.iter().filter_map(|record| record.key.clone()).collect();
    assert_eq!(keys.len(), 10);
    let picture = fs::read_to_string(&plot).expect("the picture is there");
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    assert!(picture.contains("dashed: 2000 due"), "{picture}");
}

#[test]
fn without_a_rate_several_producers_send_the_lines_of_a_file_as_fast_as_it_goes() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample");
    fs::write(&sample, "one\ntwo\n\nfour").unwrap();
    let sample = ["--sample-file", sample.to_str().unwrap()];
    let flags = ["--records", "10001", "--producers", "2", "--warm-up", "0s", "--compression", "zstd"];
    let ended = bench(&broker, &[&flags[..], &sample].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    for words in
        ["10,001 records acknowledged in topic load", "lines of a file, 2 producers, as fast as it goes"]
    {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    let read = consume(broker.address(), "load", 1);
    assert_eq!(read.len(), 10_001);
    // 5,001 of one producer and 5,000 of the other.
    let ones = read.iter().filter(|record| record.value.as_deref() == Some(b"one")).count();
    assert_eq!(ones, 1251 + 1250);
}

#[test]
fn what_cannot_be_measured_is_told_in_a_sentence() {
    let broker = Broker::start();
    create_topic(broker.address(), "load", 2, &[]);
    let absent = Path::new("absent").join("plot.svg");
    for (flags, code, words) in [
        (&["--partitions", "3"][..], 1, "--partitions 3: topic load has 2"),
        (&["--record-size", "2MiB"], 2, "a record of 2097152 bytes exceeds --batch-size 1000000"),
        (&["--sample-file", "absent"], 1, "--sample-file absent cannot be used"),
        (&["--plot", absent.to_str().unwrap()], 1, "cannot be written"),
        (&["--rate", "0"], 2, "expected records a second"),
        (&["--acks", "1", "--idempotence", "true"], 2, "idempotence needs acks=all"),
    ] {
        let ended = bench(&broker, flags);
        assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{ended:?}");
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}
