//! `verify` says whether what a report calls acknowledged is in the topic once, in order, byte for byte, and if not, what is
//! wrong with it and where.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gapless_common::records::{
    Compression, DECOMPRESSED_MAX, HeaderRef, OpenBatch, Record, RecordRef, batches, iterate,
};
use gapless_tests::{
    broker::Broker,
    cli::{run, run_with_input, summary},
    process::Ended,
    raw::RawClient,
};
use serde_json::Value;

const RECORDS: usize = 300;

/// Publishes numbered lines with keys and a header, and gives the path of the report.
fn publish(broker: &Broker, topic: &str, folder: &Path, flags: &[&str]) -> PathBuf {
    let path = folder.join(format!("{topic}.acks"));
    let lines: String = (0..RECORDS).map(|number| format!("{number}:value {number}\n")).collect();
    let fixed = ["publish", "--bootstrap-server", broker.address(), "--topic", topic, "--key-delimiter", ":"];
    let report = ["--header", "from=test", "--quiet", "--report", path.to_str().unwrap()];
    let ended = run_with_input(fixed.iter().chain(&report).chain(flags), lines.as_bytes());
    assert_eq!(ended.code, 0, "{ended:?}");
    path
}

fn verify(broker: &Broker, topic: &str, report: &Path, flags: &[&str]) -> Ended {
    let fixed = ["verify", "--bootstrap-server", broker.address(), "--topic", topic, "--output", "json"];
    run(fixed.iter().chain(&["--report", report.to_str().unwrap()]).chain(flags))
}

fn assert_proven(ended: &Ended, records: usize) -> Value {
    assert_eq!(ended.code, 0, "{ended:?}");
    let outcome = summary(ended);
    assert_eq!(
        (&outcome["proven"], &outcome["proven_records"]),
        (&true.into(), &records.into()),
        "{ended:?}"
    );
    outcome
}

/// Ended with 1; the one finding there is.
fn finding(ended: &Ended) -> (String, Value) {
    assert_eq!(ended.code, 1, "{ended:?}");
    let outcome = summary(ended);
    assert_eq!(outcome["proven"], false);
    let findings = outcome["findings"].as_object().expect("findings by kind");
    assert_eq!(findings.len(), 1, "{ended:?}");
    let (kind, tally) = findings.iter().next().expect("a finding");
    (kind.clone(), tally.clone())
}

/// All records of partition 0.
fn records(client: &mut RawClient, topic: &str) -> Vec<Record> {
    let mut read: Vec<Record> = Vec::new();
    let end = client.end_offset(topic, 0);
    while (read.len() as i64) < end {
        let (_, blob) = client.fetch(topic, 0, read.len() as i64);
        for batch in batches(blob) {
            let records = iterate(batch.expect("a whole batch").1, DECOMPRESSED_MAX).expect("a sound batch");
            read.extend(
                records
                    .map(|record| record.expect("a sound record"))
                    .skip_while(|record| record.offset.0 < read_up_to(&read))
                    .collect::<Vec<_>>(),
            );
        }
    }
    read
}

fn read_up_to(read: &[Record]) -> i64 {
    read.last().map_or(0, |last| last.offset.0 + 1)
}

/// A topic of these records, with their timestamps.
fn write(client: &mut RawClient, topic: &str, records: &[Record]) {
    client.create_topic(topic);
    for part in records.chunks(50) {
        let mut open = OpenBatch::new(part[0].timestamp_ms, 4096);
        for record in part {
            let headers: Vec<HeaderRef<'_>> = record
                .headers
                .iter()
                .map(|header| HeaderRef {
                    key: std::str::from_utf8(&header.key).expect("its name is text"),
                    value: header.value.as_deref(),
                })
                .collect();
            let record = RecordRef {
                timestamp_ms: record.timestamp_ms,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            };
            open.try_push(&record, usize::MAX);
        }
        let mut closed = open.close(Compression::None, None);
        closed.stamp_plain();
        let answer = client.produce(topic, 0, closed.bytes().to_vec());
        assert!(answer.error_code.is_ok(), "{answer:?}");
    }
}

/// The report of one topic as if it were about another.
fn about(report: &Path, from: &str, topic: &str) -> PathBuf {
    let text = fs::read_to_string(report).expect("the report is there");
    let path = report.with_file_name(format!("{topic}.acks"));
    let text = text.replace(&format!("\"topic\":\"{from}\""), &format!("\"topic\":\"{topic}\""));
    fs::write(&path, text).expect("a file can be written");
    path
}

#[test]
fn a_clean_log_is_proven_in_several_partitions_with_every_codec_by_record_and_by_batch() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::builder().flag("--partitions", 3).start();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for by in ["record", "batch"] {
            let topic = format!("{codec}-{by}");
            let flags = ["--compression", codec, "--report-by", by, "--batch-size", "2000"];
            let report = publish(&broker, &topic, folder.path(), &flags);
            let outcome = assert_proven(&verify(&broker, &topic, &report, &["--exclusive"]), RECORDS);
            assert_eq!((&outcome["partitions"], &outcome["records_read"]), (&3.into(), &RECORDS.into()));
        }
    }
}

#[test]
fn each_fault_of_a_log_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let by_record = publish(&broker, "right", folder.path(), &["--batch-size", "2000"]);
    let by_batch =
        publish(&broker, "batches", folder.path(), &["--batch-size", "2000", "--report-by", "batch"]);
    let mut client = RawClient::connect(broker.address());
    let right = records(&mut client, "right");
    assert_eq!(right.len(), RECORDS);
    let batches = records(&mut client, "batches");

    let flip = |field: &mut Option<bytes::Bytes>| {
        let mut bytes = field.as_ref().expect("a value").to_vec();
        bytes[0] ^= 1;
        *field = Some(bytes.into());
    };
    type Change<'a> = &'a dyn Fn(&mut Vec<Record>);
    // Name, what is done to the log, and what must be found: kind, offset, place.
    type Fault<'a> = (&'a str, Change<'a>, &'a str, Option<i64>, Option<i64>);
    let faults: [Fault<'_>; 9] = [
        ("removed", &|log| drop(log.remove(170)), "missing", Some(170), None),
        ("cut", &|log| log.truncate(299), "missing", Some(299), None),
        ("doubled", &|log| log.insert(171, log[170].clone()), "duplicate", Some(170), Some(171)),
        ("swapped", &|log| log.swap(170, 171), "order", Some(170), Some(171)),
        ("value", &|log| flip(&mut log[170].value), "different", Some(170), Some(170)),
        ("key", &|log| flip(&mut log[170].key), "different", Some(170), Some(170)),
        ("header", &|log| flip(&mut log[170].headers[0].value), "different", Some(170), Some(170)),
        ("timestamp", &|log| log[170].timestamp_ms ^= 1, "different", Some(170), Some(170)),
        (
            "foreign",
            &|log| {
                let mut other = log[170].clone();
                other.value = None;
                log.insert(170, other);
            },
            "unexpected",
            None,
            Some(170),
        ),
    ];
    for (name, change, kind, offset, found_at) in faults {
        let mut wrong = right.clone();
        change(&mut wrong);
        write(&mut client, name, &wrong);
        let ended = verify(&broker, name, &about(&by_record, "right", name), &[]);
        let (found, tally) = finding(&ended);
        let first = &tally["first"];
        assert_eq!(
            (found.as_str(), tally["count"].as_u64(), first["offset"].as_i64(), first["found_at"].as_i64()),
            (kind, Some(1), offset, found_at),
            "{name}: {ended:?}"
        );
        let place = format!("{kind}: {name}-0 offset {}", offset.or(found_at).unwrap());
        assert!(ended.stderr.contains(&place), "{name}: {}", ended.stderr);
        if let Some(offset) = offset {
            let line = format!("<stdin>:{}", offset + 1);
            assert!(kind == "duplicate" || ended.stderr.contains(&line), "{name}: {}", ended.stderr);
        }

        // A report by batch knows which batch.
        let mut wrong = batches.clone();
        change(&mut wrong);
        let topic = format!("{name}-of-batches");
        write(&mut client, &topic, &wrong);
        let ended = verify(&broker, &topic, &about(&by_batch, "batches", &topic), &[]);
        assert_eq!(ended.code, 1, "{name}: {ended:?}");
        let outcome = summary(&ended);
        let findings = outcome["findings"].as_object().expect("findings by kind");
        let lowest = findings.values().filter_map(|tally| tally["first"]["offset"].as_i64()).min();
        assert!(lowest.is_some_and(|lowest| lowest <= 299 && lowest > 170 - 100), "{name}: {ended:?}");
    }
}

#[test]
fn a_record_that_stands_again_anywhere_is_found_and_records_of_others_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::builder().flag("--partitions", 2).start();
    let report = publish(&broker, "shared", folder.path(), &["--partition", "1"]);
    let other = publish(&broker, "shared2", folder.path(), &["--partition", "0"]);
    let mut client = RawClient::connect(broker.address());
    // Another producer's records: the same bytes at another time.
    let others = records(&mut client, "shared2");
    write(&mut client, "shared", &others);
    let ended = verify(&broker, "shared", &report, &[]);
    let outcome = assert_proven(&ended, RECORDS);
    assert_eq!(outcome["unclaimed"], RECORDS, "{ended:?}");
    let (kind, tally) = finding(&verify(&broker, "shared", &report, &["--exclusive"]));
    assert_eq!((kind.as_str(), &tally["count"]), ("unexpected", &RECORDS.into()));

    // The same record in another partition.
    let answer = run([
        "read",
        "--bootstrap-server",
        broker.address(),
        "--topic",
        "shared",
        "--partition",
        "1",
        "--offset",
        "7",
        "--count",
        "1",
        "--template",
        "%T",
    ]);
    let mut again = others[7].clone();
    again.timestamp_ms = answer.stdout.trim().parse().expect("a timestamp");
    write(&mut client, "shared", &[again]);
    let (kind, tally) = finding(&verify(&broker, "shared", &report, &[]));
    assert_eq!((kind.as_str(), &tally["first"]["offset"]), ("duplicate", &7.into()));
    assert_eq!(tally["first"]["found_at"], RECORDS);
    assert!(other.is_file());
}

#[test]
fn what_cannot_be_verified_is_told_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let report = publish(&broker, "t", folder.path(), &[]);
    let text = fs::read_to_string(&report).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    for (path, topic, words) in [
        (folder.path().join("absent"), "t", "--report"),
        (report.clone(), "nowhere", "line 1 is about topic t, not nowhere"),
        (about(&report, "t", "nowhere"), "nowhere", "UNKNOWN_TOPIC_OR_PARTITION"),
        (write("older", &text.replace("digest", "other")), "t", "line 1 has no digest"),
        (write("text", "hello\n"), "t", "line 1 is no line of a report"),
    ] {
        let ended = verify(&broker, topic, &path, &[]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(run(["verify", "--topic", "t"]).code, 2);

    // A report whose writer was killed: what it says is still proven.
    let cut = write("cut", &text[..text.len() - 10]);
    let outcome = assert_proven(&verify(&broker, "t", &cut, &[]), RECORDS - 1);
    assert_eq!((&outcome["report_cut_short"], &outcome["unclaimed"]), (&true.into(), &1.into()));
    assert_proven(&verify(&broker, "t", &write("empty", ""), &[]), 0);

    // For people.
    let arguments = ["verify", "--bootstrap-server", broker.address(), "--topic", "t", "--report"];
    let ended = run(arguments.iter().chain(&[report.to_str().unwrap()]));
    let first = "300 records acknowledged in topic t: all there once, in order, byte for byte\n";
    assert!(ended.stdout.starts_with(first), "{ended:?}");
}
