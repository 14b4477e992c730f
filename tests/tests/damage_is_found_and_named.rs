//! Whatever file of the data directory is missing or damaged: it is rebuilt from the log, or the broker says in one sentence
//! which file it cannot do without. Damage in the log itself costs its partition, is named, and touches no other.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gapless_common::error_code::ErrorCode;
use gapless_tests::{
    batch::{Stamp, batch},
    broker::Broker,
    http,
    raw::RawClient,
};
use tempfile::TempDir;

const RECORDS: i32 = 40;
const PARTITIONS: i32 = 2;
/// Two segments a partition, so that there are files of one that is sealed.
const SEGMENT_BYTES: &str = "1MiB";

/// Values of some size, so that a segment rolls.
fn value(partition: i32, number: i32) -> Vec<u8> {
    let mut value = format!("{partition}-{number}-").into_bytes();
    value.resize(40_000, b'x');
    value
}

/// A data directory with records of an idempotent producer in each partition; gives the directory and the producer.
fn filled(clean_stop: bool) -> (TempDir, i64, i16) {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::builder()
        .data_dir(folder.path().join("data"))
        .flag("--partitions", PARTITIONS)
        .flag("--segment-bytes", SEGMENT_BYTES)
        .start();
    let mut client = RawClient::connect(broker.address());
    client.create_topic("kept");
    let (id, epoch) = client.init_producer_id();
    for number in 0..RECORDS {
        for partition in 0..PARTITIONS {
            let stamp = Stamp { id, epoch, sequence: number };
            let answer = client.produce("kept", partition, batch(&[&value(partition, number)], Some(stamp)));
            assert_eq!(answer.error_code, ErrorCode::NONE);
        }
    }
    if clean_stop {
        drop(broker.stop())
    } else {
        broker.kill()
    }
    (folder, id, epoch)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Everything is served, and the producer goes on where it was, repeat and all.
fn assert_whole(broker: &Broker, id: i64, epoch: i16, what: &str) {
    let mut client = RawClient::connect(broker.address());
    for partition in 0..PARTITIONS {
        let wanted: Vec<_> =
            (0..RECORDS).map(|number| (i64::from(number), value(partition, number))).collect();
        assert!(client.fetch_all("kept", partition) == wanted, "{what}: partition {partition} has changed");
        let send = |client: &mut RawClient, sequence: i32| {
            let stamp = Some(Stamp { id, epoch, sequence });
            let answer = client.produce("kept", partition, batch(&[&value(partition, sequence)], stamp));
            (answer.error_code, answer.base_offset)
        };
        let last = RECORDS - 1;
        assert_eq!(send(&mut client, last), (ErrorCode::NONE, i64::from(last)), "{what}: a repeat");
        assert_eq!(send(&mut client, last + 2).0, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, "{what}: a gap");
        assert_eq!(send(&mut client, last + 1), (ErrorCode::NONE, i64::from(last) + 1), "{what}: the next");
    }
}

fn damage(path: &Path, how: &str) {
    let content = fs::read(path).unwrap();
    match how {
        "missing" => fs::remove_file(path).unwrap(),
        "empty" => fs::write(path, b"").unwrap(),
        "halved" => fs::write(path, &content[..content.len() / 2]).unwrap(),
        _ => {
            let mut flipped = content;
            let middle = flipped.len() / 2;
            if let Some(byte) = flipped.get_mut(middle) {
                *byte ^= 0x10;
            }
            fs::write(path, flipped).unwrap();
        }
    }
}

fn any_small_file(clean_stop: bool) {
    let (folder, id, epoch) = filled(clean_stop);
    let data = folder.path().join("data");
    let small: Vec<_> = files(&data)
        .into_iter()
        .map(|path| path.strip_prefix(&data).unwrap().to_owned())
        .filter(|path| path.extension().is_none_or(|extension| extension != "log"))
        .filter(|path| path.file_name().is_some_and(|name| name != ".lock"))
        .collect();
    assert!(small.len() > 4, "{small:?}");
    for file in small {
        for how in ["missing", "empty", "halved", "flipped"] {
            let what = format!("{} {how}", file.display());
            let place = tempfile::tempdir().unwrap();
            let copied = place.path().join("data");
            copy(&data, &copied);
            damage(&copied.join(&file), how);
            match Broker::builder().data_dir(&copied).try_start() {
                Ok(broker) => assert_whole(&broker, id, epoch, &what),
                Err(ended) => {
                    // These two hold what no log says: ids, names, settings.
                    let name = file.file_name().unwrap().to_str().unwrap();
                    assert!(["meta.json", "topic.json"].contains(&name), "{what}: {ended:?}");
                    assert_eq!(ended.code, 1, "{what}: {ended:?}");
                    let said = ended.stderr.lines().last().unwrap_or_default();
                    assert!(said.contains(name), "{what} is not named: {said}");
                }
            }
        }
    }
}

#[test]
fn any_small_file_may_be_missing_or_damaged_after_a_clean_stop() {
    any_small_file(true);
}

#[test]
fn any_small_file_may_be_missing_or_damaged_after_kill_9() {
    any_small_file(false);
}

#[test]
fn a_flipped_bit_costs_its_partition_from_there_on_and_no_other() {
    let (folder, id, epoch) = filled(true);
    let data = folder.path().join("data");
    let segment = files(&data)
        .into_iter()
        .find(|path| {
            path.parent().is_some_and(|parent| parent.ends_with("0"))
                && path.to_string_lossy().ends_with(".log")
        })
        .expect("partition 0 has a segment");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    // As after a crash, when the log is read.
    let _ = fs::remove_file(data.join("clean"));

    let broker = Broker::builder().data_dir(&data).start();
    let mut client = RawClient::connect(broker.address());
    let (mut served, mut next) = (0, 0);
    let code = loop {
        match client.try_fetch("kept", 0, next) {
            Ok((_, records)) => {
                for batch in gapless_common::records::batches(records) {
                    let (header, batch) = batch.unwrap();
                    assert!(gapless_common::records::check_crc(&batch), "a bad batch is never served");
                    next = header.next_offset().0;
                    served += 1;
                }
            }
            Err(code) => break code,
        }
        assert!(next < i64::from(RECORDS), "the bad batch was served");
    };
    assert_eq!(code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert!(served > 0, "what lies below the damage is served");
    let stamp = Stamp { id, epoch, sequence: RECORDS };
    let answer = client.produce("kept", 0, batch(&[b"x"], Some(stamp)));
    assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR, "it takes no writes");

    let other = client.fetch_all("kept", 1);
    assert_eq!(other.len(), RECORDS as usize, "the other partition is whole");
    assert_eq!(client.produce("kept", 1, batch(&[b"x"], Some(stamp))).error_code, ErrorCode::NONE);

    let ready = http::get(broker.http_address(), "/readyz").unwrap();
    assert_eq!(ready.status, 200, "the others are served");
    let file = segment.file_name().unwrap().to_string_lossy().into_owned();
    for word in ["kept-0", &file, "position"] {
        assert!(ready.body.contains(word), "{word} is not in {}", ready.body);
        assert!(broker.log().contains(word), "{word} is not in the log");
    }
    assert_eq!(broker.metric("gapless_broker_partitions_quarantined", &[]), 1.0);
}
