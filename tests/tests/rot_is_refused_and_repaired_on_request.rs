//! A bit flips in an old segment while nobody looks: its batch is never served, everything else is, and the operator gets
//! the partition back by the offline tools.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use gapless_common::error_code::ErrorCode;
use gapless_tests::{
    batch::batch,
    binaries,
    broker::{Broker, clean_environment},
    http, librdkafka,
    raw::RawClient,
    terminal,
};

const RECORDS: usize = 60;

fn value(number: usize) -> Vec<u8> {
    let mut value = format!("{number:03}-").into_bytes();
    value.resize(40_000, b'x');
    value
}

fn start(data: &Path) -> Broker {
    Broker::builder().data_dir(data).flag("--segment-bytes", "1MiB").flag("--scrub-rate", 0).start()
}

fn log_tool(arguments: &[&str]) -> (Option<i32>, String) {
    ended(log_command(arguments).output().unwrap())
}

fn log_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries::path("gapless-broker"));
    clean_environment(&mut command);
    command.arg("log").args(arguments);
    command
}

fn ended(Output { status, stdout, stderr }: Output) -> (Option<i32>, String) {
    (status.code(), [String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()].concat())
}

/// The segments of a partition, by their first offsets.
fn segments(data: &Path, topic: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("topics").join(topic).join("0")).unwrap();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    found.sort();
    found
}

fn first_offset(segment: &Path) -> usize {
    segment.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// Flips one bit in the batch `nth` of a segment, all of whose batches have one size; gives its position and offset.
fn rot(segment: &Path, next: &Path, nth: usize) -> (usize, usize) {
    let mut bytes = fs::read(segment).unwrap();
    let size = bytes.len() / (first_offset(next) - first_offset(segment));
    bytes[nth * size + size / 2] ^= 4;
    fs::write(segment, bytes).unwrap();
    (nth * size, first_offset(segment) + nth)
}

/// What librdkafka reads is exactly these, in order.
fn assert_read(broker: &Broker, topic: &str, numbers: impl Iterator<Item = usize>) {
    let read: Vec<Vec<u8>> = librdkafka::consume(broker.address(), topic, 1)
        .into_iter()
        .map(|record| record.value.unwrap())
        .collect();
    let expected: Vec<Vec<u8>> = numbers.map(value).collect();
    assert_eq!(read.len(), expected.len(), "{topic}");
    assert!(read == expected, "{topic}: the records are those, once each");
}

#[test]
fn a_flipped_bit_costs_its_batch_and_the_operator_decides_about_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let dir = data.to_str().unwrap();
    let mut broker = start(&data);
    let mut client = RawClient::connect(broker.address());
    for topic in ["rotten", "sound"] {
        client.create_topic(topic);
        for number in 0..RECORDS {
            assert_eq!(client.produce(topic, 0, batch(&[&value(number)], None)).error_code, ErrorCode::NONE);
        }
    }
    let (code, text) = log_tool(&["check", dir]);
    assert!(code == Some(1) && text.contains("a broker runs on this data directory"), "{text}");
    broker.stop();
    let (code, text) = log_tool(&["check", dir]);
    assert_eq!(code, Some(0), "{text}");

    let files = segments(&data, "rotten");
    assert!(files.len() >= 3, "{files:?}");
    let (position, lost) = rot(&files[0], &files[1], 7);
    let mut broker = start(&data);
    assert_read(&broker, "sound", 0..RECORDS);
    let mut client = RawClient::connect(broker.address());
    let refused = client.try_fetch("rotten", 0, lost as i64).unwrap_err();
    assert_eq!(refused, ErrorCode::KAFKA_STORAGE_ERROR);
    let below = client.try_fetch("rotten", 0, lost as i64 - 1).unwrap();
    assert!(!below.1.is_empty(), "what lies below is served");
    assert_eq!(client.produce("rotten", 0, batch(&[b"x"], None)).error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(client.produce("sound", 0, batch(&[&value(RECORDS)], None)).error_code, ErrorCode::NONE);
    let ready = http::get(broker.http_address(), "/readyz").unwrap();
    assert_eq!(ready.status, 200);
    let name = files[0].file_name().unwrap().to_str().unwrap();
    for part in ["rotten-0", name, &format!("at position {position}"), "gapless-broker log repair"] {
        assert!(ready.body.contains(part), "{part}: {}", ready.body);
    }
    broker.stop();

    let (code, text) = log_tool(&["check", dir]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("{name} at position {position}, offset {lost}")), "{text}");
    let repair = |way| ["repair", dir, "--topic", "rotten", "--partition", "0", way, "--yes"];
    let set_aside = repair("--set-aside");
    let unasked = &set_aside[..7];
    assert_eq!(log_tool(unasked).0, Some(1), "nobody said yes");
    for no in ["n", "", "what?"] {
        let (code, text) = ended(terminal::answer(&mut log_command(unasked), no));
        assert!(text.contains("Go on? [y/N]") && text.contains("nothing was changed"), "{no}: {text}");
        assert_eq!((code, log_tool(&["check", dir]).0), (Some(1), Some(1)), "{no}: {text}");
    }
    let (code, text) = ended(terminal::answer(&mut log_command(unasked), "y"));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(log_tool(&["check", dir]).0, Some(0));
    let mut broker = start(&data);
    assert_read(&broker, "rotten", (0..RECORDS).filter(|number| *number != lost));
    assert_read(&broker, "sound", 0..=RECORDS);
    broker.stop();

    let files = segments(&data, "rotten");
    let last = files.len() - 1;
    let (_, cut) = rot(&files[last - 1], &files[last], 3);
    let (code, text) = log_tool(&repair("--truncate"));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(log_tool(&["check", dir]).0, Some(0));
    let mut broker = start(&data);
    assert_read(&broker, "rotten", (0..cut).filter(|number| *number != lost));
    let mut client = RawClient::connect(broker.address());
    let answer = client.produce("rotten", 0, batch(&[&value(cut)], None));
    assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, cut as i64));
    assert_eq!(broker.stop().code, 0);
    assert!(fs::read_dir(data.join("torn/rotten")).unwrap().count() >= 2, "what was taken out is kept");
}
